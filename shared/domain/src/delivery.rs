//! Where a parcel is on its way, as its carrier tells.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Timestamp;

/// How far a parcel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryState {
    /// The label is bought; the carrier does not have the parcel yet.
    PreTransit,
    /// The carrier has it.
    InTransit,
    /// It arrives today.
    OutForDelivery,
    /// It waits for the customer.
    AvailableForPickup,
    /// The customer has it.
    Delivered,
    /// It comes back to the shop.
    ReturnToSender,
    /// The carrier could not deliver it, or has lost it.
    Failed,
    /// The label was given back.
    Cancelled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// Where the order's parcel is. It is there for people: no step looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How far it is.
    pub state: DeliveryState,
    /// When it was so, by the carrier's clock: of two pieces of news the later one holds.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_that_are_stored() {
        let names = DeliveryState::ALL.iter().map(DeliveryState::as_str);
        assert!(names.eq([
            "pre_transit",
            "in_transit",
            "out_for_delivery",
            "available_for_pickup",
            "delivered",
            "return_to_sender",
            "failed",
            "cancelled",
        ]));
    }
}
