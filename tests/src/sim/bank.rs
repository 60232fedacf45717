//! The abstract partner's ledger. It carries out requests even if their callers no longer wait for
//! the answers.

use std::time::Duration;

use domain::Card;
use payment::partners::{ChargeRequest, ChargeStatus, OpenCharge, PartnerError};

use super::World;
use super::world::{LedgerCharge, Protocol, State, Taking};

/// The lifetime of an order that is not captured ("Orders" of PayPal).
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

/// The outcome of confirming a charge, now and later. The payment method decides, or else the
/// customer's ID and chance.
fn decide(
    state: &mut State,
    now: i64,
    customer: &str,
    attempt: u32,
    method: &str,
) -> (ChargeStatus, Option<(i64, ChargeStatus)>) {
    let mut later = |most| Some((now + state.random.millis(most), captured()));
    // A customer who acts has an ID with a number appended.
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

impl LedgerCharge {
    /// Applies the scheduled outcome, if its time has come.
    fn settle(&mut self, now: i64) {
        if let Some((_, status)) = self.settles.take_if(|(at, _)| now >= *at) {
            self.captures += u32::from(matches!(status, ChargeStatus::Captured(_)));
            self.status = status;
        }
        let lives = i64::try_from(ORDER_LIVES.as_millis()).unwrap_or(i64::MAX);
        let is_open = matches!(
            self.status,
            ChargeStatus::Unconfirmed | ChargeStatus::ActionRequired
        );
        if self.protocol == Protocol::Orders && is_open && now >= self.opened_at + lives {
            self.status = ChargeStatus::Expired;
            self.settles = None;
        }
    }
}

impl World {
    /// Opens a charge, or returns the one that was opened under the same key.
    pub(super) fn open_charge(
        &self,
        protocol: Protocol,
        request: &ChargeRequest,
    ) -> Result<String, PartnerError> {
        let now = self.now();
        let mut state = self.state();
        let agreed = request.agreement.as_ref();
        let agreed = agreed.map(|agreement| agreement.payment_method.as_str().to_owned());
        let method = match protocol {
            Protocol::Everybody => Some("any".to_owned()),
            Protocol::Intents => Some(agreed.ok_or(PartnerError::NoAgreement)?),
            Protocol::Orders => None,
        };
        let (attempt, replaces) = (request.attempt, &request.replaces);
        let key = format!(
            "{protocol:?}/{}/{attempt}/{method:?}/{replaces:?}",
            request.invoice
        );
        let memory = state.partner_memory;
        let known = state.charge_keys.get(&key);
        let known = known.filter(|(_, since)| now - since < memory);
        if let Some((reference, _)) = known {
            return Ok(reference.clone());
        }
        let reference = format!("charge_{}", state.charges.len() + 1);
        state.charge_keys.insert(key, (reference.clone(), now));
        let charge = LedgerCharge {
            protocol,
            invoice: request.invoice.to_string(),
            amount: request.amount,
            currency: request.currency,
            method,
            opened_at: now,
            status: ChargeStatus::Unconfirmed,
            settles: None,
            captures: 0,
            refunds: Vec::new(),
            refused: Vec::new(),
        };
        state.charges.insert(reference.clone(), charge);
        Ok(reference)
    }

    /// Captures an opened charge, or refuses.
    pub(super) fn confirm_charge(&self, asked: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let status = self.charge_status(&asked.reference);
        if status != ChargeStatus::Unconfirmed {
            return Ok(status);
        }
        let now = self.now();
        let mut state = self.state();
        state.touched = true;
        let charge = state.charges.get(&asked.reference);
        let opened_with = charge.and_then(|charge| charge.method.clone());
        let protocol = charge.map_or(Protocol::Everybody, |charge| charge.protocol);
        let agreed = asked.request.agreement.as_ref();
        let agreed = agreed.map(|agreement| agreement.payment_method.as_str().to_owned());
        let method = match protocol {
            Protocol::Orders => agreed,
            // As Stripe's client does.
            Protocol::Intents if agreed != opened_with => return Err(PartnerError::OtherMethod),
            Protocol::Everybody | Protocol::Intents => opened_with,
        };
        let method = method.ok_or(PartnerError::NoAgreement)?;
        // A repeat gets the outcome of the first request.
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

    /// The current state of the charge.
    pub(super) fn charge_status(&self, reference: &str) -> ChargeStatus {
        let now = self.now();
        let mut state = self.state();
        let Some(charge) = state.charges.get_mut(reference) else {
            return ChargeStatus::Cancelled;
        };
        charge.settle(now);
        charge.status.clone()
    }

    /// Closes the charge if the protocol can, and returns its state.
    pub(super) fn cancel_charge(&self, reference: &str) -> ChargeStatus {
        let status = self.charge_status(reference);
        let mut state = self.state();
        if !matches!(status, ChargeStatus::Captured(_))
            && let Some(charge) = state.charges.get_mut(reference)
            && charge.protocol != Protocol::Orders
        {
            charge.status = ChargeStatus::Cancelled;
            charge.settles = None;
            return ChargeStatus::Cancelled;
        }
        status
    }

    /// The customer pays this charge on the partner's own page with a valid card.
    pub(super) fn pay_on_page(&self, reference: &str) {
        let now = self.now();
        let mut state = self.state();
        state.touched = true;
        let Some(charge) = state.charges.get_mut(reference) else {
            return;
        };
        charge.settle(now);
        let can_pay = match charge.status {
            ChargeStatus::ActionRequired => true,
            ChargeStatus::Unconfirmed | ChargeStatus::Declined { .. } => {
                charge.protocol == Protocol::Intents
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
