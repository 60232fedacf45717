//! Notes on an order that its customer disputes the charge.

use shared::domain::{Dispute, DisputeState};
use shared::error::Error;
use shared::event::PartnerReference;
use shared::store::Noted;
use shared::telemetry;

use super::partners::BillingPartner;
use super::{Payments, partner_failed};

impl<P: BillingPartner> Payments<P> {
    /// Asks the partner how a dispute stands and notes that on the order. Whoever reported it is
    /// believed in nothing but that there may be one.
    pub(super) async fn hear_of_dispute(&self, id: &PartnerReference) -> Result<(), Error> {
        let disputed = self.partner.dispute(id).await.map_err(partner_failed)?;
        let Some(disputed) = disputed else {
            tracing::info!(code = "dispute_ignored", "it is of no charge of ours");
            return Ok(());
        };
        let (order, state) = (disputed.order, disputed.state);
        let now = self.runtime.now();
        let noted = self
            .store
            .note_dispute(&order, &disputed.reference, Dispute { state, at: now })
            .await?;
        match noted {
            Noted::Written => {
                tracing::warn!(order_id = %order, state = state.as_str(), "charge disputed");
                if state == DisputeState::Open {
                    telemetry::count(&self.stage, "ChargeDisputed", 1, now);
                }
            }
            Noted::Known => {}
            Noted::Foreign => {
                tracing::info!(order_id = %order, code = "dispute_ignored", "it is of another charge");
            }
        }
        Ok(())
    }
}
