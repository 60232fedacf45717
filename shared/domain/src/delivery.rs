//! The position of a parcel on its way, as reported by the carrier.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::{Command, Order, Timestamp};

/// The delivery state of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryState {
    /// The label is bought; the carrier does not have the parcel yet.
    PreTransit,
    /// The carrier has it.
    InTransit,
    /// It is to be delivered today.
    OutForDelivery,
    /// It can be picked up by the customer.
    AvailableForPickup,
    /// The customer has it.
    Delivered,
    /// It is on its way back to the shop.
    ReturnToSender,
    /// The carrier could not deliver it, or has lost it.
    Failed,
    /// The label was refunded.
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

    /// The command that tells the customer of this state. Returns `None` where the customer cannot
    /// act on it.
    #[must_use]
    pub fn report(&self) -> Option<Command> {
        match self {
            Self::OutForDelivery => Some(Command::ReportOutForDelivery),
            Self::AvailableForPickup => Some(Command::ReportAvailableForPickup),
            Self::Delivered => Some(Command::ReportDelivered),
            Self::ReturnToSender => Some(Command::ReportReturned),
            Self::PreTransit | Self::InTransit | Self::Failed | Self::Cancelled => None,
        }
    }
}

/// The delivery state of the order's parcel. It is informational: the only step that reads it is
/// the one that tells the customer of the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The state.
    pub state: DeliveryState,
    /// When the parcel reached it, by the carrier's clock. Of two reports, the later one wins.
    pub at: Timestamp,
}

impl Order {
    /// Whether the order's parcel has this reference at this carrier.
    #[must_use]
    pub fn has_parcel(&self, carrier: &str, reference: &str) -> bool {
        let parcel = self.parcel.as_ref();
        parcel.is_some_and(|parcel| parcel.reference == reference && parcel.carrier == carrier)
    }

    /// The command that tells the customer of this report. Returns `None` if the customer was
    /// already told of the state, or if the order shows the same state or a later one.
    #[must_use]
    pub fn report_of(&self, delivery: &Delivery) -> Option<Command> {
        let command = delivery.state.report()?;
        let is_new = |known: Delivery| known.state != delivery.state && known.at < delivery.at;
        let is_told = self.events.contains_key(&command.event());
        (!is_told && self.delivery.is_none_or(is_new)).then_some(command)
    }
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

    #[test]
    fn each_state_that_is_told_has_an_event_of_its_own_that_is_mailed() {
        let told = DeliveryState::ALL.iter();
        let told: Vec<_> = told.filter_map(DeliveryState::report).collect();
        let mut events: Vec<_> = told.iter().map(Command::event).collect();
        assert!(
            events.iter().all(|event| {
                event.is_parcel_news() && crate::EventType::MAILED.contains(event)
            })
        );
        events.sort();
        events.dedup();
        assert_eq!((events.len(), told.len()), (4, 4));
    }
}
