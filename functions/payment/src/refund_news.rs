//! Late outcomes of a refund: a bank may return one days after the partner made it.

use domain::{ChargeState, Money, Order, OrderId, RefundNews, RefundStatus, Status, Timestamp};
use platform::telemetry;
use service::error::Error;
use store::Noted;

use super::partners::BillingPartner;
use super::{Payments, partner_failed};

impl<P: BillingPartner> Payments<P> {
    /// Reads a cancelled order's refund from the partner and records it on the order; `false` if
    /// the order has no completed refund. A webhook is trusted only to say that there may be news.
    pub(super) async fn check_refund(&self, id: &OrderId) -> Result<bool, Error> {
        let Some(order) = self.store.order(id).await? else {
            return Ok(false);
        };
        if order.status == Status::Refunding {
            return Ok(false);
        }
        let order = self.continue_parts(order).await?;
        if !order.is_paid_back() {
            return Ok(matches!(order.status, Status::Paid | Status::Shipped));
        }
        self.check_paid_back(&order).await?;
        Ok(true)
    }

    /// Records the status of the refund that has closed the order, if there is one.
    pub(super) async fn check_paid_back(&self, order: &Order) -> Result<(), Error> {
        if !order.is_paid_back() {
            return Ok(());
        }
        let (charge, asked) = (self.paid_charge(order)?, self.runtime.now());
        let answer = self.partner.refund_status(&charge).await;
        if let Some(status) = answer.map_err(partner_failed)? {
            self.record_refund_news(order, &status, asked).await?;
        } else {
            // The partner's replica may lag behind, so this proves no failure.
            tracing::warn!(order_id = %order.id, code = "refund_not_shown", "the partner shows no refund");
        }
        Ok(())
    }

    /// Requests the refund of a cancelled order again if it has since failed. Returns the order if
    /// the refund is done or pending.
    pub(super) async fn refund_again(&self, order: Order) -> Result<Order, Error> {
        let payment = order.payment.as_ref();
        if payment.map(|payment| payment.state) != Some(ChargeState::RefundFailed) {
            return Ok(order);
        }
        let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
        let status = self.partner.refund(&charge).await.map_err(partner_failed)?;
        self.record_refund_news(&order, &status, asked).await?;
        match status {
            RefundStatus::Refunded | RefundStatus::Pending => Ok(order),
            RefundStatus::Failed { .. } => Err(Error::RefundFailed),
        }
    }

    /// Records the state of a cancelled order's refund, and counts a new failure for the alarm.
    pub(super) async fn record_refund_news(
        &self,
        order: &Order,
        status: &RefundStatus,
        asked: Timestamp,
    ) -> Result<(), Error> {
        let kept = match status {
            RefundStatus::Failed { .. } => self.kept_refunds(order).await?,
            RefundStatus::Refunded | RefundStatus::Pending => None,
        };
        if !self.note_refund(order, status, kept, asked).await? {
            return Ok(());
        }
        match status {
            RefundStatus::Failed { code } => {
                tracing::error!(order_id = %order.id, code, "refund failed after completion");
                telemetry::count(&self.stage, "RefundFailed", 1, asked);
            }
            RefundStatus::Refunded | RefundStatus::Pending => {
                let state = status.as_str();
                tracing::info!(order_id = %order.id, state, "refund state changed");
            }
        }
        Ok(())
    }

    /// The sum of the refunds that the partner shows and that have not failed, at most the total.
    async fn kept_refunds(&self, order: &Order) -> Result<Option<Money>, Error> {
        let charge = self.paid_charge(order)?;
        let shown = self.partner.shown_refunds(&charge).await;
        Ok(shown.map_err(partner_failed)?.map(|shown| {
            let kept = shown.iter();
            let kept = kept.filter(|each| !each.status.has_failed());
            let kept = kept.map(|each| each.amount.decimal()).sum();
            let kept = Money::new(kept).expect("a sum of non-negative numbers is not negative");
            kept.min(order.amounts.total)
        }))
    }

    /// Records the partner's answer to a request made at `asked`. Returns whether it was written
    /// and differs from the last one.
    pub(super) async fn note_refund(
        &self,
        order: &Order,
        status: &RefundStatus,
        kept: Option<Money>,
        asked: Timestamp,
    ) -> Result<bool, Error> {
        let news = RefundNews {
            status: status.clone(),
            at: asked,
            kept,
        };
        let noted = self.store.note_refund(order, &news).await?;
        Ok(noted == Noted::Written && last_word(order).as_ref() != Some(status))
    }
}

/// The last recorded state of the refund.
fn last_word(order: &Order) -> Option<RefundStatus> {
    let payment = order.payment.as_ref();
    let noted = payment.and_then(|payment| payment.refund.as_ref());
    let noted = noted.map(|refund| refund.status.clone());
    // A cancelled order's refund is complete.
    noted.or_else(|| (order.status == Status::Cancelled).then_some(RefundStatus::Refunded))
}
