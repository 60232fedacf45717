//! Records on an order where its parcel is.

use messages::PartnerReference;
use messages::queue::EventQueue;
use platform::telemetry;
use service::error::Error;
use store::Noted;

use super::carriers::Carrier;
use super::{Shipments, carrier_failed};

impl<C: Carrier, Q: EventQueue> Shipments<C, Q> {
    /// Reads the parcel's state from the carrier and records it on the order. A webhook is trusted
    /// only to say that there may be news.
    pub(super) async fn record_delivery(&self, parcel: &PartnerReference) -> Result<(), Error> {
        let tracked = self.carrier.track(parcel).await.map_err(carrier_failed)?;
        let Some(tracked) = tracked else {
            tracing::info!(
                code = "delivery_ignored",
                "the news is about an unknown parcel"
            );
            return Ok(());
        };
        let (order, delivery) = (tracked.order, tracked.delivery);
        telemetry::about_order(&order);
        let reference = parcel.as_str();
        let carrier = self.carrier.name();
        let noted = self
            .store
            .note_delivery(&order, carrier, reference, delivery);
        match noted.await? {
            Noted::Written => {
                let state = delivery.state.as_str();
                tracing::info!(order_id = %order, state, "parcel tracked");
            }
            Noted::Known => {}
            Noted::Foreign => {
                tracing::info!(order_id = %order, code = "delivery_ignored", "the news is about a different parcel");
            }
        }
        Ok(())
    }
}
