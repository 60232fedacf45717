//! Late news about a captured charge: refunds that were made elsewhere or have failed, and charges
//! that were reversed.
//!
//! The partner is asked for all refunds of the charge, and the order stores them. If the whole
//! amount is gone, a shipment that has not begun is stopped: the order is cancelled.

use domain::{
    ChargeState, DisputeState, Money, Order, OrderId, Refund, RefundName, RefundState,
    RefundStatus, Status, Text, Timestamp,
};
use messages::PartnerReference;
use platform::telemetry;
use service::error::Error;
use store::{Settlement, StoreError, TRIES};

use super::partners::{BillingPartner, ShownRefund};
use super::refund::stands_at;
use super::{Payments, partner_failed};

/// The reason of a refund that failed because an appeal was won.
const DISPUTE_WON: &str = "dispute_won";

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

    /// Returns the order, cancelled, if disputes that were lost earlier took what was left of the
    /// charge: it can then no longer be refunded.
    pub(super) async fn taken_by_dispute(&self, order: &Order) -> Result<Option<Order>, Error> {
        let lost = order.disputes.iter();
        let lost = lost.filter(|dispute| dispute.state == DisputeState::Lost);
        let ids = lost.filter_map(|dispute| PartnerReference::parse(dispute.id.as_deref()?));
        let Some(partner) = self.paid_charge(order)?.partner else {
            return Ok(None);
        };
        for id in ids {
            if let Some(disputed) = self.note_dispute(partner, &id).await? {
                self.follow_disputes(&disputed.order, &disputed.reference)
                    .await?;
            }
        }
        let order = self.reread(&order.id).await?;
        Ok((order.status == Status::Cancelled).then_some(order))
    }

    /// Cancels an order if lost disputes took what was left of its charge and it has not begun to
    /// ship or is refunding. If an appeal returns the money of an order that was cancelled for that
    /// reason, its refund counts as failed: the customer has neither the goods nor the money.
    ///
    /// Decides by the disputes that the order stores, because this worker's may be older.
    pub(super) async fn follow_disputes(&self, id: &OrderId, charge: &str) -> Result<(), Error> {
        for _ in 0..TRIES {
            let order = self.store.order(id).await?;
            let is_its_charge = |order: &Order| {
                let payment = order.payment.as_ref();
                payment.and_then(|payment| payment.reference.as_deref()) == Some(charge)
            };
            let Some(order) = order.filter(is_its_charge) else {
                return Ok(());
            };
            let (refunds, now) = (order.refunds.clone(), self.runtime.now());
            if order.status == Status::Cancelled {
                return match self.refund_after_disputes(&order).await? {
                    Some(status) => self.record_refund_news(&order, &status, now).await,
                    None => Ok(()),
                };
            }
            // Money that the bank has taken is not refunded a second time.
            let may_end = order.may_be_stopped() || order.status == Status::Refunding;
            let Some(reason @ Order::DISPUTED) = order.loss(&refunds).filter(|_| may_end) else {
                return Ok(());
            };
            match self.cancel_gone(&order, &refunds, reason, now).await? {
                Settlement::Written(_) | Settlement::NotFound => return Ok(()),
                Settlement::Overtaken(_) => {}
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The state of the refund of an order that was cancelled because of disputes, if their latest
    /// decisions change it.
    async fn refund_after_disputes(&self, order: &Order) -> Result<Option<RefundStatus>, Error> {
        let reason = order.cancel_reason.as_ref().map(Text::as_str);
        let Some(payment) = order
            .payment
            .as_ref()
            .filter(|_| reason == Some(Order::DISPUTED))
        else {
            return Ok(None);
        };
        let is_lost = order.loss(&order.refunds).is_some();
        let known = payment.refund.as_ref().map(|refund| &refund.status);
        Ok(match (payment.state, known) {
            (ChargeState::Refunded, known) if !is_lost => {
                // The refund may have been requested since an earlier appeal.
                let charge = self.paid_charge(order)?;
                let made = match known {
                    None => None,
                    Some(_) => self
                        .partner
                        .refund_status(&charge)
                        .await
                        .map_err(partner_failed)?,
                };
                made.is_none().then(|| RefundStatus::Failed {
                    code: DISPUTE_WON.to_owned(),
                })
            }
            (ChargeState::RefundFailed, Some(RefundStatus::Failed { code }))
                if is_lost && code == DISPUTE_WON =>
            {
                Some(RefundStatus::Refunded)
            }
            _ => None,
        })
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
                request_hash: None,
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
        && !shown.status.has_failed()
        && shown.amount != Money::ZERO
}
