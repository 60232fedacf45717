//! Records a parcel's delivery state on its order, and tells the customer.

use domain::{Command, Delivery, Order, OrderId, Refusal};
use messages::PartnerReference;
use messages::queue::EventQueue;
use platform::config::TrackingMails;
use platform::telemetry;
use service::error::Error;
use service::lambda::Consumed;
use store::{Noted, Settlement, StoreError, TRIES};

use super::carriers::Carrier;
use super::{Shipments, carrier_failed};

/// Outcome of recording a parcel's news.
enum Reported {
    /// It is recorded, with an event that tells the customer.
    Told,
    /// It is handled without telling the customer.
    Noted(Noted),
    /// The customer is to be told, but the order is not shipped yet.
    TooEarly,
}

impl<C: Carrier, Q: EventQueue> Shipments<C, Q> {
    /// Reads the parcel's state from the carrier and records it on the order. A webhook is trusted
    /// only to say that there may be news. News that the customer is told of waits until the order
    /// is shipped.
    pub(super) async fn record_delivery(
        &self,
        parcel: &PartnerReference,
    ) -> Result<Consumed, Error> {
        let tracked = self.carrier.track(parcel).await.map_err(carrier_failed)?;
        let Some(tracked) = tracked else {
            tracing::info!(
                code = "delivery_ignored",
                "the news is about an unknown parcel"
            );
            return Ok(Consumed::Done);
        };
        let (order, delivery) = (tracked.order, tracked.delivery);
        telemetry::about_order(&order);
        let state = delivery.state.as_str();
        match self.report(&order, parcel.as_str(), delivery).await? {
            Reported::Told => tracing::info!(order_id = %order, state, "parcel tracked and told"),
            Reported::Noted(Noted::Written) => {
                tracing::info!(order_id = %order, state, "parcel tracked");
            }
            Reported::Noted(Noted::Known) => {}
            Reported::Noted(Noted::Foreign) => {
                tracing::info!(order_id = %order, code = "delivery_ignored", "the news is about a different parcel");
            }
            Reported::TooEarly => return Ok(Consumed::NotYet),
        }
        Ok(Consumed::Done)
    }

    /// Records the news, and tells the customer the first time that the parcel reaches a mailed
    /// state. If the shop does not send such mails at that time, the state is not mailed later
    /// either.
    async fn report(
        &self,
        id: &OrderId,
        reference: &str,
        delivery: Delivery,
    ) -> Result<Reported, Error> {
        for _ in 0..TRIES {
            let Some((order, command)) = self.untold(id, reference, delivery).await? else {
                let carrier = self.carrier.name();
                let noted = self.store.note_delivery(id, carrier, reference, delivery);
                return Ok(Reported::Noted(noted.await?));
            };
            if order.status.apply(command) == Err(Refusal::TooEarly) {
                return Ok(Reported::TooEarly);
            }
            let now = self.runtime.now();
            let told = self.store.report_delivery(&order, delivery, command, now);
            match told.await? {
                Settlement::Written(_) => return Ok(Reported::Told),
                // The order has changed since it was read.
                Settlement::Overtaken(_) | Settlement::NotFound => {}
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The order, and the command that tells its customer of the news; `None` if the customer is
    /// not to be told.
    async fn untold(
        &self,
        id: &OrderId,
        reference: &str,
        delivery: Delivery,
    ) -> Result<Option<(Order, Command)>, Error> {
        let is_silent = self.tracking_mails == TrackingMails::Off || !self.store.sends_mails();
        if is_silent || delivery.state.report().is_none() {
            return Ok(None);
        }
        let order = self.store.order(id).await?;
        let order = order.filter(|order| order.has_parcel(self.carrier.name(), reference));
        Ok(order.and_then(|order| {
            let command = order.report_of(&delivery)?;
            let is_late = order.status.apply(command) == Err(Refusal::TooLate);
            (!is_late).then_some((order, command))
        }))
    }
}
