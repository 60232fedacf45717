//! Records disputes of a charge on its order.

use domain::{Dispute, DisputeState, OrderId, PartnerName, Status};
use messages::PartnerReference;
use platform::telemetry;
use service::error::Error;
use store::NotedDispute;

use super::partners::{BillingPartner, Disputed};
use super::{Payments, Trigger, needs_no_message, partner_failed};

impl<P: BillingPartner> Payments<P> {
    /// Records the dispute and what it means for its order. A webhook is trusted only to say that
    /// there may be a dispute.
    pub(super) async fn record_dispute(
        &self,
        at: PartnerName,
        id: &PartnerReference,
    ) -> Result<(), Error> {
        let Some(disputed) = self.note_dispute(at, id).await? else {
            return Ok(());
        };
        if disputed.state == DisputeState::Lost {
            self.record_capture(&disputed.order).await?;
        }
        self.follow_disputes(&disputed.order, &disputed.reference)
            .await
    }

    /// Reads the dispute from the partner and records it on the order; `None` if it is about no
    /// charge of this service. Each dispute is counted once, whatever its first known state.
    pub(super) async fn note_dispute(
        &self,
        at: PartnerName,
        id: &PartnerReference,
    ) -> Result<Option<Disputed>, Error> {
        let asked = self.runtime.now();
        let disputed = self.partner.dispute(at, id).await.map_err(partner_failed)?;
        let Some(disputed) = disputed else {
            tracing::info!(
                code = "dispute_ignored",
                "the dispute is about an unknown charge"
            );
            return Ok(None);
        };
        let order = disputed.order;
        telemetry::about_order(&order);
        let news = Dispute {
            id: Some(id.as_str().to_owned()),
            state: disputed.state,
            amount: disputed.amount,
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
                tracing::warn!(order_id = %order, state, "dispute state changed");
            }
            NotedDispute::Known => {}
            NotedDispute::Foreign => {
                tracing::info!(order_id = %order, code = "dispute_ignored", "the dispute is about a different charge");
            }
        }
        Ok((noted != NotedDispute::Foreign).then_some(disputed))
    }

    /// Records the order's capture, if it is not recorded yet.
    async fn record_capture(&self, id: &OrderId) -> Result<(), Error> {
        let order = self.reread(id).await?;
        if order.status != Status::Invoiced {
            return Ok(());
        }
        match self.pay(id, Trigger::Message).await {
            Err(error) if !needs_no_message(&error) => Err(error),
            _ => Ok(()),
        }
    }
}
