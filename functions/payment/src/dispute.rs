//! Notes on an order that its customer disputes the charge.

use domain::Dispute;
use messages::PartnerReference;
use platform::telemetry;
use service::error::Error;
use store::NotedDispute;

use super::partners::BillingPartner;
use super::{Payments, partner_failed};

impl<P: BillingPartner> Payments<P> {
    /// Asks the partner how a dispute stands and notes that on the order. Whoever reported it is
    /// believed in nothing but that there may be one. Each dispute counts once, in whatever state it is
    /// first heard of.
    pub(super) async fn hear_of_dispute(&self, id: &PartnerReference) -> Result<(), Error> {
        let asked = self.runtime.now();
        let disputed = self.partner.dispute(id).await.map_err(partner_failed)?;
        let Some(disputed) = disputed else {
            tracing::info!(code = "dispute_ignored", "it is of no charge of ours");
            return Ok(());
        };
        let order = disputed.order;
        let news = Dispute {
            id: Some(id.as_str().to_owned()),
            state: disputed.state,
            at: disputed.at.unwrap_or(asked),
            since: asked,
        };
        let state = news.state.as_str();
        let noted = self
            .store
            .note_dispute(&order, &disputed.reference, id, &news)
            .await?;
        match noted {
            NotedDispute::New => {
                tracing::warn!(order_id = %order, state, "charge disputed");
                telemetry::count(&self.stage, "ChargeDisputed", 1, asked);
            }
            NotedDispute::Full => {
                tracing::error!(order_id = %order, state, code = "dispute_not_kept", "charge disputed");
                telemetry::count(&self.stage, "ChargeDisputed", 1, asked);
            }
            NotedDispute::Changed => {
                tracing::warn!(order_id = %order, state, "dispute has another state");
            }
            NotedDispute::Known => {}
            NotedDispute::Foreign => {
                tracing::info!(order_id = %order, code = "dispute_ignored", "it is of another charge");
            }
        }
        Ok(())
    }
}
