//! The shop's own carrier.

use shared::domain::number_from_digest;

use super::{Carrier, CarrierError, Parcel};

/// Numbers parcels by their order: 53 bits of a hash of its id. The same order always has the same
/// number; that two of a million orders share one has a chance of 1 in 18 000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own;

impl Carrier for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    async fn take(&self, parcel: &Parcel) -> Result<u64, CarrierError> {
        Ok(number_from_digest(&["parcel", &parcel.order.to_string()]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use shared::domain::{OrderId, Text};

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
            };
            let number = Own.take(&parcel).await.unwrap();
            assert_eq!(Own.take(&parcel).await.unwrap(), number);
            assert!(numbers.insert(number));
        }
    }
}
