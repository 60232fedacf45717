//! Late news about a captured charge: refunds that were made elsewhere or have failed, and charges
//! that were reversed.
//!
//! The partner is asked for all refunds of the charge, and the order stores them. If the whole
//! amount is gone, a shipment that has not begun is stopped: the order is cancelled.

use domain::{
    DisputeState, Money, Order, OrderId, Refund, RefundName, RefundState, RefundStatus, Status,
    Timestamp,
};
use messages::PartnerReference;
use platform::telemetry;
use service::error::Error;
use store::{Settlement, StoreError};

use super::partners::{BillingPartner, Disputed, ShownRefund};
use super::refund::stands_at;
use super::{Payments, partner_failed};

/// How many times an order that changes concurrently is read again.
const TRIES: u32 = 4;

impl<P: BillingPartner> Payments<P> {
    /// Reads all refunds of the order's charge from the partner and records them. Returns `false`
    /// if the order's own refund is still to be made, or if the charge is not recorded as captured
    /// yet. A webhook is trusted only to say that there may be news.
    pub(super) async fn check_charge(&self, id: &OrderId) -> Result<bool, Error> {
        let Some(order) = self.store.order(id).await? else {
            return Ok(true);
        };
        if order.charge().is_none() {
            return Ok(order.status != Status::Invoiced);
        }
        if order.amounts.total == Money::ZERO {
            return Ok(true);
        }
        if order.status == Status::Refunding {
            return Ok(false);
        }
        let order = self.continue_parts(order).await?;
        self.check_paid_back(&order).await?;
        self.record_shown_refunds(order).await?;
        Ok(true)
    }

    /// Records the refunds that the partner shows for an order that is not `refunding`.
    async fn record_shown_refunds(&self, mut order: Order) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
            let shown = self.partner.shown_refunds(&charge).await;
            let Some(shown) = shown.map_err(partner_failed)? else {
                return Ok(());
            };
            // A refund that is newly done gets its event and its mail.
            for done in untold(&order, &shown) {
                order = self
                    .record_part(order, &done, RefundStatus::Refunded)
                    .await?;
            }
            let refunds = merged(&order, &shown, asked);
            let written = if let Some(reason) = order.gone(&refunds) {
                self.cancel_gone(&order, &refunds, reason, asked).await?
            } else if refunds == order.refunds {
                return Ok(());
            } else {
                self.store.note_refunds(&order, &refunds).await?
            };
            match written {
                Settlement::Written(after) => {
                    self.tell_changes(&order, &after, asked);
                    return Ok(());
                }
                Settlement::Overtaken(standing) => order = *standing,
                Settlement::NotFound => return Ok(()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    pub(super) async fn cancel_gone(
        &self,
        order: &Order,
        refunds: &[Refund],
        reason: &'static str,
        now: Timestamp,
    ) -> Result<Settlement, Error> {
        let cancelled = self.store.cancel_refunded(order, refunds, reason, now);
        let cancelled = cancelled.await?;
        if let Settlement::Written(order) = &cancelled {
            tracing::warn!(order_id = %order.id, reason, "charge gone, order cancelled");
        }
        Ok(cancelled)
    }

    /// Logs and counts changes: refunds that were made elsewhere, and those that have failed.
    fn tell_changes(&self, before: &Order, after: &Order, now: Timestamp) {
        let order_id = &after.id;
        for refund in &after.refunds {
            let known = before.refund(&refund.name);
            if known.is_some_and(|known| known.state == refund.state) {
                continue;
            }
            let (refund_id, state) = (&refund.name, refund.state.as_str());
            match (&refund.state, known) {
                (RefundState::Answered(RefundStatus::Failed { code }), _) => {
                    tracing::error!(%order_id, %refund_id, code, "refund failed after completion");
                    telemetry::count(&self.stage, "RefundFailed", 1, now);
                }
                (_, None) => {
                    tracing::warn!(%order_id, %refund_id, state, "refunded outside");
                    telemetry::count(&self.stage, "RefundedOutside", 1, now);
                }
                (_, Some(_)) => {
                    tracing::info!(%order_id, %refund_id, state, "refund state changed");
                }
            }
        }
    }

    /// Returns the order, cancelled, if a dispute that was lost earlier took the whole charge: it
    /// can then no longer be refunded.
    pub(super) async fn taken_by_dispute(&self, order: &Order) -> Result<Option<Order>, Error> {
        let lost = order.disputes.iter();
        let lost = lost.filter(|dispute| dispute.state == DisputeState::Lost);
        let ids = lost.filter_map(|dispute| PartnerReference::parse(dispute.id.as_deref()?));
        let Some(partner) = self.paid_charge(order)?.partner else {
            return Ok(None);
        };
        for id in ids {
            let disputed = self.partner.dispute(partner, &id).await;
            if let Some(disputed) = disputed.map_err(partner_failed)? {
                self.follow_dispute(&disputed).await?;
            }
        }
        let order = self.reread(&order.id).await?;
        Ok((order.status == Status::Cancelled).then_some(order))
    }

    /// Cancels an order whose whole charge was taken by a lost dispute, if it has not begun to ship
    /// or is refunding.
    pub(super) async fn follow_dispute(&self, disputed: &Disputed) -> Result<(), Error> {
        if disputed.state != DisputeState::Lost || !disputed.takes_all {
            return Ok(());
        }
        for _ in 0..TRIES {
            let order = self.store.order(&disputed.order).await?;
            let is_its_charge = |order: &Order| {
                let payment = order.payment.as_ref();
                let reference = payment.and_then(|payment| payment.reference.as_deref());
                // Money that the bank has taken is not refunded a second time.
                let is_stopped = order.may_be_stopped() || order.status == Status::Refunding;
                is_stopped && reference == Some(&*disputed.reference)
            };
            let Some(order) = order.filter(is_its_charge) else {
                return Ok(());
            };
            let (refunds, now) = (order.refunds.clone(), self.runtime.now());
            match self
                .cancel_gone(&order, &refunds, Order::DISPUTED, now)
                .await?
            {
                Settlement::Written(_) | Settlement::NotFound => return Ok(()),
                Settlement::Overtaken(_) => {}
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// The order's refunds, updated from those that the partner shows. A refund that the partner does
/// not show, because it lags behind, stays as it is. The refund that closes an order follows its
/// payment.
fn merged(order: &Order, shown: &[ShownRefund], asked: Timestamp) -> Vec<Refund> {
    let mut refunds = order.refunds.clone();
    for each in shown {
        let state = RefundState::Answered(each.status.clone());
        match refunds.iter_mut().find(|refund| refund.name == each.name) {
            Some(known) if known.closes || known.state == RefundState::Requested => {}
            Some(known) => *known = stands_at(order, known, state),
            None if is_made_outside(order, each) => refunds.push(Refund {
                name: each.name.clone(),
                amount: each.amount,
                state,
                items: Vec::new(),
                unshipped: false,
                closes: false,
                reason: None,
                at: asked,
                told: None,
                key: 0,
            }),
            None => {}
        }
    }
    refunds
}

/// The partial refunds that the partner has made but no event has announced.
fn untold(order: &Order, shown: &[ShownRefund]) -> Vec<Refund> {
    let is_done = |refund: &&Refund| {
        let done =
            |each: &ShownRefund| each.name == refund.name && each.status == RefundStatus::Refunded;
        let is_ours = matches!(refund.name, RefundName::Ours(_));
        is_ours && !refund.closes && refund.told.is_none() && shown.iter().any(done)
    };
    order.refunds.iter().filter(is_done).cloned().collect()
}

/// Whether this service does not know the refund. The refund of a cancelled order itself may carry
/// no name of this service.
fn is_made_outside(order: &Order, shown: &ShownRefund) -> bool {
    matches!(order.status, Status::Paid | Status::Shipped)
        && matches!(shown.name, RefundName::Partners(_))
        && !matches!(shown.status, RefundStatus::Failed { .. })
        && shown.amount != Money::ZERO
}
