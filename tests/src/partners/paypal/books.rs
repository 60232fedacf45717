//! PayPal's books, and the effect of each call on them.

use std::collections::{BTreeMap, VecDeque};

use domain::{Timestamp, digest_hex};
use platform::outbound::Secret;
use rust_decimal::Decimal;
use serde_json::Value;

use super::errors::{check_source, check_value, not_found, refusal, unlisted_refusal};
use super::{Habits, Outcome, PayPalCall};

/// The status and body of a refusal.
pub(super) type Refusal = (u16, Value);

/// The account that orders belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    First,
    Other,
}

/// The kind of payment source that a vaulted token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Card,
    Wallet,
    BillingAgreement,
}

#[derive(Debug)]
pub(super) struct Vaulted {
    pub(super) kind: Kind,
    pub(super) outcomes: VecDeque<Outcome>,
}

#[derive(Clone, Debug)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) value: String,
    pub(super) currency: String,
    pub(super) status: &'static str,
    /// `invoice_id` and `custom_id`, if they were given.
    pub(super) invoice: Option<String>,
    pub(super) custom: Option<String>,
    pub(super) made: Timestamp,
}

impl Refund {
    /// Whether the refund is done or pending.
    pub(super) fn holds(&self) -> bool {
        matches!(self.status, "COMPLETED" | "PENDING")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) response_code: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) settles: Option<(Timestamp, &'static str)>,
    pub(super) refunds: Vec<Refund>,
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) account: Account,
    pub(super) status: &'static str,
    pub(super) unit: Value,
    pub(super) created: Timestamp,
    pub(super) source: Option<Kind>,
    /// The vaulted token that paid.
    pub(super) token: Option<String>,
    pub(super) capture: Option<Capture>,
}

impl Capture {
    /// The amount that was refunded or is pending.
    pub(super) fn given_back(&self) -> Decimal {
        let holding = self.refunds.iter().filter(|refund| refund.holds());
        let values = holding.filter_map(|refund| refund.value.parse::<Decimal>().ok());
        values.sum()
    }

    /// Its status by its refunds, once it was captured ("Payments", `capture_status`).
    pub(super) fn count_refunds(&mut self, whole: &str) {
        let given_back = self.given_back();
        let whole: Decimal = whole.parse().unwrap_or_default();
        self.status = if given_back.is_zero() {
            "COMPLETED"
        } else if given_back < whole {
            "PARTIALLY_REFUNDED"
        } else {
            "REFUNDED"
        };
    }
}

impl Order {
    pub(super) fn text(&self, field: &str) -> &str {
        self.unit[field].as_str().unwrap_or_default()
    }

    /// The first `most` completed and pending refunds fail.
    pub(super) fn fail_refunds(&mut self, most: usize) {
        let whole = self.amount().1.to_owned();
        let Some(capture) = &mut self.capture else {
            return;
        };
        let mut failed = false;
        let holding = capture.refunds.iter_mut().filter(|refund| refund.holds());
        for refund in holding.take(most) {
            refund.status = "FAILED";
            failed = true;
        }
        if failed {
            capture.count_refunds(&whole);
        }
    }

    pub(super) fn amount(&self) -> (&str, &str) {
        let amount = &self.unit["amount"];
        let text = |field: &str| amount[field].as_str().unwrap_or_default();
        (text("currency_code"), text("value"))
    }
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) count: u64,
    /// The access tokens, each with its expiry and its account.
    pub(super) tokens: BTreeMap<String, (Timestamp, Account)>,
    pub(super) vault: BTreeMap<String, Vaulted>,
    pub(super) orders: BTreeMap<String, Order>,
    /// The outcomes by path and request ID, each with its time: the ID of the created object, or
    /// the refusal.
    pub(super) ids: BTreeMap<(String, String), (Timestamp, Result<String, Refusal>)>,
    pub(super) habits: Habits,
    /// The client's credentials, if its secret was replaced.
    pub(super) authorization: Option<Secret>,
    pub(super) refunds_end_as: Option<&'static str>,
    pub(super) refunds_are_refused: Option<&'static str>,
    pub(super) refusals: Vec<(PayPalCall, u16, &'static str)>,
    /// The disputes by ID.
    pub(super) disputes: BTreeMap<String, Dispute>,
}

/// A customer's dispute of a capture.
#[derive(Clone, Debug)]
pub(super) struct Dispute {
    pub(super) capture: String,
    pub(super) status: &'static str,
    pub(super) outcome: Option<&'static str>,
    /// The customer accepted this part of the disputed amount.
    pub(super) part: Option<String>,
    pub(super) opened: Timestamp,
    /// `update_time`
    pub(super) updated: Timestamp,
}

impl Books {
    /// The refusal that a test has set for this call.
    pub(super) fn refused(&self, call: PayPalCall) -> Result<(), Refusal> {
        let mut refusals = self.refusals.iter();
        match refusals.find(|(each, ..)| *each == call) {
            Some((_, status, issue)) => Err(refusal(*status, issue, None)),
            None => Ok(()),
        }
    }

    /// 17 capital letters and digits.
    pub(super) fn next_id(&mut self) -> String {
        self.count += 1;
        let digest = digest_hex(&["paypal double", &self.count.to_string()]);
        digest[..17].to_ascii_uppercase()
    }

    /// Whether the order exists and was captured or has not expired.
    pub(super) fn alive(&self, id: &str, now: Timestamp) -> bool {
        let order = self.orders.get(id);
        order.is_some_and(|order| {
            order.capture.is_some() || now < order.created.plus(self.habits.order_lives)
        })
    }

    pub(super) fn capture(
        &mut self,
        id: &str,
        body: &Value,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        if !self.alive(id, now) {
            return Err(not_found());
        }
        let order = &self.orders[id];
        let refuse = |issue| Err(refusal(422, issue, None));
        if order.status == "COMPLETED" {
            return refuse("ORDER_ALREADY_CAPTURED");
        }
        let is_approved = order.status == "APPROVED";
        let source = check_source(&body["payment_source"])?;
        // An order that the payer has approved needs no source.
        let approved = || {
            order
                .source
                .zip(order.token.clone())
                .filter(|_| is_approved)
        };
        let Some((kind, token)) = source.or_else(approved) else {
            return refuse("ORDER_NOT_APPROVED");
        };
        let invoice = order.text("invoice_id");
        let is_paid = self.orders.values().any(|other| {
            other.text("invoice_id") == invoice
                && other
                    .capture
                    .as_ref()
                    .is_some_and(|capture| capture.status != "DECLINED")
        });
        if self.habits.invoices_are_unique && !invoice.is_empty() && is_paid {
            return refuse("DUPLICATE_INVOICE_ID");
        }
        let Some(vaulted) = self.vault.get_mut(&token) else {
            return refuse("TOKEN_ID_NOT_FOUND");
        };
        if vaulted.kind != kind {
            return refuse("MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE");
        }
        let outcome = if is_approved {
            Outcome::Captured
        } else {
            vaulted.outcomes.pop_front().unwrap_or(Outcome::Captured)
        };
        let (status, response_code, settles) = match outcome {
            Outcome::Captured => ("COMPLETED", Some("0000"), None),
            Outcome::Refused(issue) => return Err(unlisted_refusal(422, issue, None)),
            Outcome::Declined(code) => ("DECLINED", Some(code), None),
            Outcome::PayerMustAct => {
                if let Some(order) = self.orders.get_mut(id) {
                    order.status = "PAYER_ACTION_REQUIRED";
                    order.source = Some(kind);
                    order.token = Some(token);
                }
                return refuse("PAYER_ACTION_REQUIRED");
            }
            Outcome::Pending { after, as_ } => ("PENDING", None, Some((now.plus(after), as_))),
            Outcome::Status(status) | Outcome::For(status, _) => (status, None, None),
        };
        let reason = match outcome {
            Outcome::For(_, reason) => Some(reason),
            _ => (status == "PENDING").then_some("PENDING_REVIEW"),
        };
        let capture = Capture {
            id: self.next_id(),
            status,
            response_code: response_code.filter(|_| kind == Kind::Card),
            reason,
            settles,
            refunds: Vec::new(),
        };
        if let Some(order) = self.orders.get_mut(id) {
            order.status = "COMPLETED";
            order.source = Some(kind);
            order.token = Some(token);
            order.capture = Some(capture);
        }
        Ok(id.to_owned())
    }

    pub(super) fn refund(
        &mut self,
        capture_id: &str,
        body: &Value,
        made: Timestamp,
    ) -> Result<String, Refusal> {
        let refuse = |issue| Err(refusal(422, issue, None));
        let id = self.next_id();
        let status = self.refunds_end_as.unwrap_or("COMPLETED");
        let refused = self.refunds_are_refused;
        let unique = self.habits.invoices_are_unique;
        let order = self.orders.values_mut().find(|order| {
            let capture = order.capture.as_ref();
            capture.is_some_and(|capture| capture.id == capture_id)
        });
        let Some(order) = order else {
            return Err(not_found());
        };
        let (currency, whole) = order.amount();
        let (currency, whole) = (currency.to_owned(), whole.to_owned());
        let Some(capture) = &mut order.capture else {
            return Err(not_found());
        };
        match capture.status {
            "COMPLETED" | "PARTIALLY_REFUNDED" => {}
            "REFUNDED" => return refuse("CAPTURE_FULLY_REFUNDED"),
            "PENDING" => return refuse("PENDING_CAPTURE"),
            _ => return refuse("REFUND_NOT_ALLOWED"),
        }
        let left = whole.parse::<Decimal>().unwrap_or_default() - capture.given_back();
        // "If amount is not specified, an amount equal to captured amount - previous refunds is
        // refunded" ("Payments", `refund_request`).
        let value = match body.get("amount") {
            None => format!("{left}"),
            Some(amount) => {
                if amount["currency_code"].as_str() != Some(&currency) {
                    return refuse("REFUND_CAPTURE_CURRENCY_MISMATCH");
                }
                let value = amount["value"].as_str().unwrap_or_default();
                check_value(&currency, value)?;
                if value.parse::<Decimal>().unwrap_or_default() > left {
                    return refuse("REFUND_AMOUNT_EXCEEDED");
                }
                value.to_owned()
            }
        };
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let invoice = text("invoice_id");
        let is_known = |refund: &Refund| invoice.is_some() && refund.invoice == invoice;
        if unique && capture.refunds.iter().any(is_known) {
            return refuse("DUPLICATE_INVOICE_ID");
        }
        if let Some(issue) = refused {
            return refuse(issue);
        }
        capture.refunds.push(Refund {
            id: id.clone(),
            value,
            currency,
            status,
            invoice,
            custom: text("custom_id"),
            made,
        });
        capture.count_refunds(&whole);
        Ok(id)
    }
}
