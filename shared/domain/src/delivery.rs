//! Where a parcel is on its way, as its carrier tells.

use super::Timestamp;

/// How far a parcel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub const ALL: [Self; 8] = [
        Self::PreTransit,
        Self::InTransit,
        Self::OutForDelivery,
        Self::AvailableForPickup,
        Self::Delivered,
        Self::ReturnToSender,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PreTransit => "pre_transit",
            Self::InTransit => "in_transit",
            Self::OutForDelivery => "out_for_delivery",
            Self::AvailableForPickup => "available_for_pickup",
            Self::Delivered => "delivered",
            Self::ReturnToSender => "return_to_sender",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
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
