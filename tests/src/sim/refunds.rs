//! The abstract partner's refunds and disputes: requested ones, those made by the partner's own
//! staff and the customers' banks, and their later outcomes.

use domain::{DisputeState, Money, OrderId, RefundName, Timestamp};
use payment::partners::{Disputed, PartRefund, RefundStatus, ShownRefund};
use rust_decimal::Decimal;

use super::World;
use super::world::{LedgerCharge, LedgerDispute, LedgerRefund, News, State};

/// The maximum time that a refund is pending, in milliseconds.
const PENDING: i64 = 6 * 3_600_000;

/// The maximum time until a bank returns a refund, or decides a dispute, in milliseconds.
const BANK: i64 = 10 * 24 * 3_600_000;

fn failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

impl LedgerRefund {
    /// Whether the refund is done or pending.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.status, RefundStatus::Failed { .. })
    }
}

impl LedgerCharge {
    /// The amount that is neither refunded nor pending.
    fn rest(&self) -> Decimal {
        let holding = self.refunds.iter().filter(|refund| refund.holds());
        let given: Decimal = holding.map(|refund| refund.amount).sum();
        self.amount.decimal() - given
    }

    /// The status of the refund of the whole charge, if all of it is refunded or pending.
    fn whole(&self) -> Option<RefundStatus> {
        if self.rest() > Decimal::ZERO {
            return None;
        }
        let mut refunds = self.refunds.iter();
        let is_pending = refunds.any(|refund| refund.status == RefundStatus::Pending);
        Some(if is_pending {
            RefundStatus::Pending
        } else {
            RefundStatus::Refunded
        })
    }

    fn has_failed(&self) -> bool {
        self.refunds.iter().any(|refund| !refund.holds())
    }
}

impl State {
    /// Whether a bank has the charge's money.
    fn is_disputed(&self, reference: &str) -> bool {
        let mut disputes = self.disputes.values();
        disputes.any(|dispute| dispute.reference == reference && dispute.state != DisputeState::Won)
    }

    /// Records a change to a charge that this service did not request.
    fn news(&mut self, reference: &str) {
        self.touched = true;
        if let Some(charge) = self.charges.get(reference) {
            *self.outside.entry(charge.invoice.clone()).or_default() += 1;
        }
    }
}

impl World {
    /// Refunds the whole of a charge once, and again after a failure.
    pub(super) fn refund_charge(&self, reference: &str) -> RefundStatus {
        let mut state = self.state();
        state.touched = true;
        if state.is_disputed(reference) {
            return failed("charge_disputed");
        }
        let Some(charge) = state.charges.get(reference) else {
            return failed("nothing_captured");
        };
        if charge.captures == 0 {
            return failed("nothing_captured");
        }
        let (rest, number) = (charge.rest(), charge.refunds.len() + 1);
        if rest > Decimal::ZERO {
            drop(state);
            let name = RefundName::Partners(format!("rest_{number}"));
            self.enter_refund(reference, name, rest);
            state = self.state();
        }
        let charge = state.charges.get(reference);
        charge
            .and_then(LedgerCharge::whole)
            .unwrap_or_else(|| failed("nothing_captured"))
    }

    /// Refunds a part of a charge, once for its name and not more than is left. A refused refund
    /// stays refused, as with a partner's idempotency key.
    pub(super) fn refund_part(&self, reference: &str, part: &PartRefund) -> RefundStatus {
        let mut state = self.state();
        state.touched = true;
        let name = RefundName::Ours(part.id);
        let is_disputed = state.is_disputed(reference);
        let Some(charge) = state.charges.get_mut(reference) else {
            return failed("nothing_captured");
        };
        if let Some(known) = charge.refunds.iter().find(|refund| refund.name == name) {
            return known.status.clone();
        }
        if let Some((_, code)) = charge.refused.iter().find(|(refused, _)| *refused == name) {
            return failed(code);
        }
        let refusal = if charge.captures == 0 {
            Some("nothing_captured")
        } else if is_disputed {
            Some("charge_disputed")
        } else if part.amount.decimal() > charge.rest() {
            Some("more_than_is_left")
        } else {
            None
        };
        if let Some(code) = refusal {
            charge.refused.push((name, code));
            return failed(code);
        }
        drop(state);
        self.enter_refund(reference, name.clone(), part.amount.decimal());
        let state = self.state();
        let charge = state.charges.get(reference);
        let made = charge.and_then(|each| each.refunds.iter().find(|each| each.name == name));
        made.map_or_else(|| failed("nothing_captured"), |made| made.status.clone())
    }

    /// Records a refund. Some are pending for hours, and some fail: pending ones at their end,
    /// others days after they succeeded.
    fn enter_refund(&self, reference: &str, name: RefundName, amount: Decimal) {
        let now = self.now();
        let mut state = self.state();
        let (pends, fails) = (state.refunds_pend, state.refunds_fail);
        let pends = state.random.chance(pends);
        let fails = state.random.chance(fails);
        let wait = state.random.millis(if pends { PENDING } else { BANK });
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        // Only once for each charge: the next refund lasts.
        let fails = fails && !charge.has_failed();
        charge.refunds.push(LedgerRefund {
            name: name.clone(),
            amount,
            status: if pends {
                RefundStatus::Pending
            } else {
                RefundStatus::Refunded
            },
            by_hand: false,
        });
        drop(state);
        let (world, reference) = (self.clone(), reference.to_owned());
        if pends || fails {
            let end = move || world.end_refund(&reference, &name, fails);
            self.arrive_at(now + wait, "the refund's end".to_owned(), end);
        }
    }

    /// Completes a pending refund, or returns the money to the shop. The partner always reports the
    /// failure of a refund that had succeeded, and the end of the next one, because this service no
    /// longer asks about them.
    fn end_refund(&self, reference: &str, name: &RefundName, fails: bool) {
        let mut state = self.state();
        state.touched = true;
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        let (invoice, was_failed) = (charge.invoice.clone(), charge.has_failed());
        let refund = charge.refunds.iter_mut().find(|each| each.name == *name);
        let Some(refund) = refund.filter(|refund| refund.holds()) else {
            return;
        };
        refund.status = if fails {
            failed("lost_or_stolen_card")
        } else {
            RefundStatus::Refunded
        };
        if fails {
            state.news(reference);
        }
        if fails || was_failed {
            state.news.push(News::Refund(invoice));
        }
    }

    /// The status of a charge's refund; `None` if none was requested.
    pub(super) fn refund_status(&self, reference: &str) -> Option<RefundStatus> {
        let state = self.state();
        let charge = state.charges.get(reference)?;
        charge.whole().or_else(|| {
            let failed = charge.refunds.iter().rfind(|refund| !refund.holds());
            failed.map(|refund| refund.status.clone())
        })
    }

    /// All refunds of a charge.
    pub(super) fn shown_refunds(&self, reference: &str) -> Vec<ShownRefund> {
        let state = self.state();
        let Some(charge) = state.charges.get(reference) else {
            return Vec::new();
        };
        let shown = charge.refunds.iter().map(|refund| ShownRefund {
            name: refund.name.clone(),
            amount: Money::new(refund.amount).unwrap_or(Money::ZERO),
            status: refund.status.clone(),
        });
        shown.collect()
    }

    /// A person refunds the remaining amount of a charge, or this amount, by hand.
    pub(super) fn refund_by_hand(&self, reference: &str, amount: Option<Decimal>) {
        let mut state = self.state();
        if state.is_disputed(reference) {
            return;
        }
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        let rest = charge.rest();
        let amount = amount.unwrap_or(rest);
        if charge.captures == 0 || amount > rest || rest <= Decimal::ZERO {
            return;
        }
        let number = charge.refunds.len() + 1;
        charge.refunds.push(LedgerRefund {
            name: RefundName::Partners(format!("hand_{number}")),
            amount,
            status: RefundStatus::Refunded,
            by_hand: true,
        });
        state.news(reference);
    }

    /// The bank returns every refund of a charge.
    pub(super) fn fail_refunds(&self, reference: &str) {
        let mut state = self.state();
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        let invoice = charge.invoice.clone();
        let holding = charge.refunds.iter_mut().filter(|refund| refund.holds());
        let mut any = false;
        for refund in holding {
            refund.status = failed("expired_or_canceled_card");
            any = true;
        }
        if any {
            state.news(reference);
            state.news.push(News::Refund(invoice));
        }
    }

    /// The customer disputes a charge. The bank holds the whole amount until it has decided.
    pub(super) fn open_dispute(&self, reference: &str) {
        let now = self.now();
        let mut state = self.state();
        let Some(charge) = state.charges.get(reference) else {
            return;
        };
        let is_whole = charge.captures > 0 && charge.refunds.iter().all(|each| !each.holds());
        if !is_whole || state.is_disputed(reference) {
            return;
        }
        let id = format!("du_{}", state.disputes.len() + 1);
        let dispute = LedgerDispute {
            invoice: charge.invoice.clone(),
            reference: reference.to_owned(),
            state: DisputeState::Open,
            since: now,
        };
        state.disputes.insert(id.clone(), dispute);
        state.touched = true;
        state.news.push(News::Dispute(id.clone()));
        let is_lost = state.random.chance(500);
        let most = [60_000, 3_600_000, BANK][state.random.below(3)];
        let wait = state.random.millis(most);
        drop(state);
        let world = self.clone();
        self.arrive_at(now + wait, "the bank decides".to_owned(), move || {
            let now = world.now();
            let mut state = world.state();
            if let Some(dispute) = state.disputes.get_mut(&id) {
                dispute.since = now;
                dispute.state = if is_lost {
                    DisputeState::Lost
                } else {
                    DisputeState::Won
                };
            }
            state.touched = true;
            state.news.push(News::Dispute(id));
        });
    }

    /// The state of a dispute.
    pub(super) fn dispute(&self, id: &str) -> Option<Disputed> {
        let state = self.state();
        let dispute = state.disputes.get(id)?;
        let order = dispute.invoice.replacen("inv_", "ord_", 1);
        Some(Disputed {
            order: OrderId::parse(&order).ok()?,
            reference: dispute.reference.clone(),
            state: dispute.state,
            amount: state.charges.get(&dispute.reference)?.amount,
            at: Some(Timestamp::from_millis(dispute.since)),
        })
    }
}
