//! Where a parcel is on its way, as its carrier tells.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::{Command, Order, Timestamp};

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

    /// The command that tells the customer of it; `None` where the customer can do nothing with it.
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

/// Where the order's parcel is. It is there for people: no step looks at it but the one that tells
/// the customer of the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How far it is.
    pub state: DeliveryState,
    /// When it was so, by the carrier's clock: of two pieces of news the later one holds.
    pub at: Timestamp,
}

impl Order {
    /// Whether its parcel is the one with this reference at that carrier.
    #[must_use]
    pub fn has_parcel(&self, carrier: &str, reference: &str) -> bool {
        let parcel = self.parcel.as_ref();
        parcel.is_some_and(|parcel| parcel.reference == reference && parcel.carrier == carrier)
    }

    /// The command that tells the customer of this news: `None` where the customer was told of the
    /// state before, or the order shows it already, or shows something later.
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
