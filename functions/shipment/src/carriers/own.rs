//! The shop's own carrier.

use domain::{OrderId, number_from_digest};
use messages::PartnerReference;

use super::{Carrier, CarrierError, Label, Opened, Parcel, Tracked};

/// Numbers parcels by their order: 53 bits of a hash of its ID. The same order always has the same
/// number. The probability that any two of a million orders share one is 1 in 18,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own;

/// The label of an order's only parcel.
fn label(order: &OrderId) -> Label {
    Label {
        tracking_number: number_from_digest(&["parcel", &order.to_string()]).into(),
        url: None,
    }
}

impl Carrier for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        Ok(Opened::Labelled(label(&parcel.order)))
    }

    async fn buy(&self, _reference: &str) -> Result<Label, CarrierError> {
        Err(registers_nothing())
    }

    async fn look_up(&self, _reference: &str) -> Result<Option<Label>, CarrierError> {
        Err(registers_nothing())
    }

    /// This carrier reports no deliveries.
    async fn track(&self, _reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        Ok(None)
    }
}

/// The reference belongs to a carrier that the shop no longer uses.
fn registers_nothing() -> CarrierError {
    CarrierError::Unavailable("the own carrier registers nothing; this parcel is another's".into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use domain::{Money, OrderId, Text};

    use super::super::Worth;
    use super::*;

    #[tokio::test]
    async fn every_order_has_its_own_number_and_keeps_it() {
        let text = |text| Text::parse(text).unwrap();
        let mut numbers = HashSet::new();
        for millis in 0..1_000 {
            let parcel = Parcel {
                order: OrderId::from_time(millis, [0; 10]),
                name: text("Lital Hay"),
                phone: text("0545870006"),
                shipping_address: text("17 boulevard, 123 apt 6 Brooklyn NY"),
                worth: Worth {
                    amount: Money::from_stored("200").unwrap(),
                    currency: "USD".parse().unwrap(),
                },
            };
            let Opened::Labelled(label) = Own.open(&parcel).await.unwrap() else {
                panic!("nothing is to be bought")
            };
            let again = Own.open(&parcel).await.unwrap();
            assert_eq!(again, Opened::Labelled(label.clone()));
            assert!(numbers.insert(label.tracking_number.to_string()));
        }
    }
}
