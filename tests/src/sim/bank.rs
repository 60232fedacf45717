//! The abstract partner's own side: a ledger that carries out what it is asked, whoever still waits
//! for the answer.

use std::time::Duration;

use domain::{Card, Money, RefundName};
use payment::partners::{
    ChargeRequest, ChargeStatus, OpenCharge, PartRefund, PartnerError, RefundStatus, ShownRefund,
};
use rust_decimal::Decimal;

use super::World;
use super::world::{LedgerCharge, Protocol, State, Taking};

/// How long an order lives that nobody captured ("Orders" of PayPal).
const ORDER_LIVES: Duration = Duration::from_hours(3);

fn captured() -> ChargeStatus {
    ChargeStatus::Captured(Card::default())
}

fn declined() -> ChargeStatus {
    ChargeStatus::Declined {
        code: "insufficient_funds".to_owned(),
        retryable: true,
    }
}

/// What becomes of a charge that is confirmed, and later: the payment method tells, else the
/// customer's id and chance.
fn decide(
    state: &mut State,
    now: i64,
    customer: &str,
    attempt: u32,
    method: &str,
) -> (ChargeStatus, Option<(i64, ChargeStatus)>) {
    let mut later = |most| Some((now + state.random.millis(most), captured()));
    // A customer who acts has a number behind the id.
    match customer.split('.').next().unwrap_or_default() {
        _ if method.ends_with("bad") => (declined(), None),
        "declined" => (declined(), None),
        "declined-once" if attempt == 1 => (declined(), None),
        "pending" => (ChargeStatus::Pending, later(6 * 3_600_000)),
        "pending-then-declined" => (ChargeStatus::Pending, Some((now + 3_600_000, declined()))),
        "must-act" => (ChargeStatus::ActionRequired, None),
        "acts-later" => (ChargeStatus::ActionRequired, later(3_600_000)),
        _ => (captured(), None),
    }
}

fn failed() -> RefundStatus {
    RefundStatus::Failed {
        code: "lost_or_stolen_card".to_owned(),
    }
}

impl LedgerCharge {
    /// What has not gone back.
    fn rest(&self) -> Decimal {
        let given: Decimal = self.refunds.iter().map(|(_, amount)| amount).sum();
        self.amount.decimal() - given
    }

    /// What was waited for has come, if its time has.
    fn settle(&mut self, protocol: Protocol, now: i64) {
        if let Some((_, status)) = self.settles.take_if(|(at, _)| now >= *at) {
            self.captures += u32::from(matches!(status, ChargeStatus::Captured(_)));
            self.status = status;
        }
        let lives = i64::try_from(ORDER_LIVES.as_millis()).unwrap_or(i64::MAX);
        let is_open = matches!(
            self.status,
            ChargeStatus::Unconfirmed | ChargeStatus::ActionRequired
        );
        if protocol == Protocol::Orders && is_open && now >= self.opened_at + lives {
            self.status = ChargeStatus::Expired;
            self.settles = None;
        }
    }
}

impl World {
    /// Opens a charge, or finds the one that was opened under the same key.
    pub(super) fn open_charge(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        let now = self.now();
        let mut state = self.state();
        let agreed = request.agreement.as_ref();
        let agreed = agreed.map(|agreement| agreement.payment_method.as_str().to_owned());
        let method = match state.protocol {
            Protocol::Everybody => Some("any".to_owned()),
            Protocol::Intents => Some(agreed.ok_or(PartnerError::NoAgreement)?),
            Protocol::Orders => None,
        };
        let (attempt, replaces) = (request.attempt, &request.replaces);
        let key = format!("{}/{attempt}/{method:?}/{replaces:?}", request.invoice);
        let memory = state.partner_memory;
        let known = state.charge_keys.get(&key);
        let known = known.filter(|(_, since)| now - since < memory);
        if let Some((reference, _)) = known {
            return Ok(reference.clone());
        }
        let reference = format!("charge_{}", state.charges.len() + 1);
        state.charge_keys.insert(key, (reference.clone(), now));
        let charge = LedgerCharge {
            invoice: request.invoice.to_string(),
            amount: request.amount,
            currency: request.currency,
            method,
            opened_at: now,
            status: ChargeStatus::Unconfirmed,
            settles: None,
            captures: 0,
            refunds: Vec::new(),
            failed_refunds: 0,
            failed: Vec::new(),
        };
        state.charges.insert(reference.clone(), charge);
        Ok(reference)
    }

    /// Takes the money of an opened charge, or refuses.
    pub(super) fn confirm_charge(&self, asked: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let status = self.charge_status(&asked.reference);
        if status != ChargeStatus::Unconfirmed {
            return Ok(status);
        }
        let now = self.now();
        let mut state = self.state();
        state.touched = true;
        let protocol = state.protocol;
        let opened_with = state
            .charges
            .get(&asked.reference)
            .and_then(|charge| charge.method.clone());
        let agreed = asked.request.agreement.as_ref();
        let agreed = agreed.map(|agreement| agreement.payment_method.as_str().to_owned());
        let method = match protocol {
            Protocol::Orders => agreed,
            // As the client of Stripe does.
            Protocol::Intents if agreed != opened_with => return Err(PartnerError::OtherMethod),
            Protocol::Everybody | Protocol::Intents => opened_with,
        };
        let method = method.ok_or(PartnerError::NoAgreement)?;
        // A repeat gets the outcome of the first time.
        let key = format!("{}/{}/{method}", asked.reference, asked.request.attempt);
        let memory = state.partner_memory;
        let known = state.capture_keys.get(&key);
        if let Some((outcome, _)) = known.filter(|(_, since)| now - since < memory) {
            return Ok(outcome.clone());
        }
        let customer = asked.request.customer.as_str();
        let (decided, settles) = decide(&mut state, now, customer, asked.request.attempt, &method);
        state.capture_keys.insert(key, (decided.clone(), now));
        if matches!(decided, ChargeStatus::Captured(_) | ChargeStatus::Pending) {
            let taking = Taking {
                invoice: asked.request.invoice.to_string(),
                method,
                asked_since: state.task_since,
            };
            state.takings.push(taking);
        }
        if let Some(charge) = state.charges.get_mut(&asked.reference) {
            charge.captures += u32::from(matches!(decided, ChargeStatus::Captured(_)));
            charge.settles = settles;
            let is_refused = matches!(decided, ChargeStatus::Declined { .. });
            match protocol {
                // The order may still be captured.
                Protocol::Orders if is_refused => {}
                Protocol::Everybody | Protocol::Intents | Protocol::Orders => {
                    charge.status = decided.clone();
                }
            }
            if is_refused {
                charge.method = None;
            }
        }
        Ok(decided)
    }

    /// Where the charge stands now.
    pub(super) fn charge_status(&self, reference: &str) -> ChargeStatus {
        let now = self.now();
        let mut state = self.state();
        let protocol = state.protocol;
        let Some(charge) = state.charges.get_mut(reference) else {
            return ChargeStatus::Cancelled;
        };
        charge.settle(protocol, now);
        charge.status.clone()
    }

    /// Closes the charge where the protocol can, and tells where it stands.
    pub(super) fn cancel_charge(&self, reference: &str) -> ChargeStatus {
        let status = self.charge_status(reference);
        let mut state = self.state();
        let can_cancel = state.protocol != Protocol::Orders;
        if can_cancel
            && !matches!(status, ChargeStatus::Captured(_))
            && let Some(charge) = state.charges.get_mut(reference)
        {
            charge.status = ChargeStatus::Cancelled;
            charge.settles = None;
            return ChargeStatus::Cancelled;
        }
        status
    }

    /// Gives the whole of a charge back, once; again after it has failed.
    pub(super) fn refund_charge(&self, reference: &str) -> RefundStatus {
        let now = self.now();
        let mut state = self.state();
        state.touched = true;
        let fails_later = {
            let rate = state.refunds_fail;
            state.random.chance(rate)
        };
        let wait = state.random.millis(10 * 24 * 3_600_000);
        match state.charges.get_mut(reference) {
            Some(charge) if charge.captures > 0 => {
                let rest = charge.rest();
                if rest > Decimal::ZERO {
                    let name = RefundName::Partners(format!("rest_{}", charge.failed_refunds + 1));
                    charge.refunds.push((name, rest));
                    let fails_later = fails_later && charge.failed_refunds == 0;
                    drop(state);
                    if fails_later {
                        let (world, reference) = (self.clone(), reference.to_owned());
                        let fail = move || world.fail_refund(&reference);
                        self.arrive_at(now + wait, "the refund fails".to_owned(), fail);
                    }
                }
                RefundStatus::Refunded
            }
            _ => RefundStatus::Failed {
                code: "nothing_captured".to_owned(),
            },
        }
    }

    /// The money comes back to the shop, days after it went, and the partner tells.
    fn fail_refund(&self, reference: &str) {
        let mut state = self.state();
        state.touched = true;
        if let Some(charge) = state.charges.get_mut(reference) {
            charge.failed.append(&mut charge.refunds);
            charge.failed_refunds += 1;
            let invoice = charge.invoice.clone();
            state.news.push(invoice);
        }
    }

    /// How the refund of a charge stands; `None` where nobody has asked for one.
    pub(super) fn refund_status(&self, reference: &str) -> Option<RefundStatus> {
        let state = self.state();
        let charge = state.charges.get(reference)?;
        if charge.rest() <= Decimal::ZERO {
            return Some(RefundStatus::Refunded);
        }
        (charge.failed_refunds > 0).then(failed)
    }

    /// Gives a part of a charge back, once for its name and no more than is left.
    pub(super) fn refund_part(&self, reference: &str, part: &PartRefund) -> RefundStatus {
        let mut state = self.state();
        state.touched = true;
        let refused = |code: &str| RefundStatus::Failed {
            code: code.to_owned(),
        };
        let name = RefundName::Ours(part.id);
        match state.charges.get_mut(reference) {
            Some(charge) if charge.captures > 0 => {
                if charge.refunds.iter().any(|(each, _)| *each == name) {
                    return RefundStatus::Refunded;
                }
                if charge.failed.iter().any(|(each, _)| *each == name) {
                    return failed();
                }
                if part.amount.decimal() > charge.rest() {
                    return refused("more_than_is_left");
                }
                charge.refunds.push((name, part.amount.decimal()));
                RefundStatus::Refunded
            }
            _ => refused("nothing_captured"),
        }
    }

    /// Every refund of a charge.
    pub(super) fn shown_refunds(&self, reference: &str) -> Vec<ShownRefund> {
        let state = self.state();
        let Some(charge) = state.charges.get(reference) else {
            return Vec::new();
        };
        let shown = |(name, amount): &(RefundName, Decimal), status| ShownRefund {
            name: name.clone(),
            amount: Money::new(*amount).unwrap_or(Money::ZERO),
            status,
        };
        let made = charge.refunds.iter();
        let made = made.map(|refund| shown(refund, RefundStatus::Refunded));
        let lost = charge.failed.iter().map(|refund| shown(refund, failed()));
        made.chain(lost).collect()
    }

    /// The customer pays this charge on the partner's own page, with a card that is good.
    pub(super) fn pay_on_page(&self, reference: &str) {
        let now = self.now();
        let mut state = self.state();
        let protocol = state.protocol;
        state.touched = true;
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        charge.settle(protocol, now);
        let can_pay = match charge.status {
            ChargeStatus::ActionRequired => true,
            ChargeStatus::Unconfirmed | ChargeStatus::Declined { .. } => {
                protocol == Protocol::Intents
            }
            ChargeStatus::Captured(_)
            | ChargeStatus::Pending
            | ChargeStatus::Cancelled
            | ChargeStatus::Expired => false,
        };
        if can_pay {
            charge.status = captured();
            charge.settles = None;
            charge.captures += 1;
        }
    }
}
