//! Late news of a refund: banks give refunds back days after a partner has made them.

use domain::{ChargeState, Order, OrderId, RefundNews, RefundStatus, Status, Timestamp};
use platform::telemetry;
use service::error::Error;
use store::Noted;

use super::partners::BillingPartner;
use super::{Payments, partner_failed};

impl<P: BillingPartner> Payments<P> {
    /// Asks the partner how the refund of a cancelled order stands and notes that on the order; `false`
    /// for an order whose refund is not done. Whoever reported it is believed in nothing but that there
    /// may be news.
    pub(super) async fn hear_of_refund(&self, id: &OrderId) -> Result<bool, Error> {
        let order = self.store.order(id).await?;
        let Some(order) = order.filter(Order::is_paid_back) else {
            return Ok(false);
        };
        let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
        let standing = self.partner.refund_status(&charge).await;
        if let Some(status) = standing.map_err(partner_failed)? {
            self.keep_refund_news(&order, &status, asked).await?;
        } else {
            // A partner's copy may lag behind: that proves no failure.
            tracing::warn!(order_id = %id, code = "refund_not_shown", "the partner shows no refund");
        }
        Ok(true)
    }

    /// Makes the refund of a cancelled order once more if it has failed since; returns the order if the
    /// money has gone back or is on its way.
    pub(super) async fn refund_again(&self, order: Order) -> Result<Order, Error> {
        let payment = order.payment.as_ref();
        if payment.map(|payment| payment.state) != Some(ChargeState::RefundFailed) {
            return Ok(order);
        }
        let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
        let status = self.partner.refund(&charge).await.map_err(partner_failed)?;
        self.keep_refund_news(&order, &status, asked).await?;
        match status {
            RefundStatus::Refunded | RefundStatus::Pending => Ok(order),
            RefundStatus::Failed { .. } => Err(Error::RefundFailed),
        }
    }

    /// Notes what the partner says of the refund of a cancelled order, and raises the alarm if that is
    /// a new failure.
    async fn keep_refund_news(
        &self,
        order: &Order,
        status: &RefundStatus,
        asked: Timestamp,
    ) -> Result<(), Error> {
        if !self.note_refund(order, status, asked).await? {
            return Ok(());
        }
        match status {
            RefundStatus::Failed { code } => {
                tracing::error!(order_id = %order.id, code, "refund failed after it was made");
                telemetry::count(&self.stage, "RefundFailed", 1, asked);
            }
            RefundStatus::Refunded | RefundStatus::Pending => {
                let state = status.as_str();
                tracing::info!(order_id = %order.id, state, "refund has another state");
            }
        }
        Ok(())
    }

    /// Notes the partner's answer to a question of that time; tells whether it was written and is
    /// another one than before.
    pub(super) async fn note_refund(
        &self,
        order: &Order,
        status: &RefundStatus,
        asked: Timestamp,
    ) -> Result<bool, Error> {
        let news = RefundNews {
            status: status.clone(),
            at: asked,
        };
        let noted = self.store.note_refund(order, &news).await?;
        Ok(noted == Noted::Written && last_word(order).as_ref() != Some(status))
    }
}

/// What the partner said last, as far as the order tells.
fn last_word(order: &Order) -> Option<RefundStatus> {
    let payment = order.payment.as_ref();
    let noted = payment.and_then(|payment| payment.refund.as_ref());
    let noted = noted.map(|refund| refund.status.clone());
    // An order is cancelled once its money has gone back.
    noted.or_else(|| (order.status == Status::Cancelled).then_some(RefundStatus::Refunded))
}
