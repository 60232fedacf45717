//! Stripe's books, and the effect of each call on them.

use std::collections::{BTreeMap, VecDeque};

use domain::Timestamp;
use serde_json::{Value, json};

use super::super::front::Mishap;
use super::errors::{Answer, amount_error, doc_url, invalid_request, unknown_field};
use super::wire::{Fields, expands, expands_charge, field, fields, metadata, route};
use super::{Operation, Outcome, StripeCall, StripeCharge, StripeMethod, StripeRefusal};

#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) seen: StripeCharge,
    pub(super) method: String,
    pub(super) failure: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) customer: String,
    pub(super) method: Option<String>,
    pub(super) status: &'static str,
    pub(super) last_error: Option<Value>,
    pub(super) latest_charge: Option<String>,
    pub(super) metadata: Value,
    pub(super) cancellation_reason: Option<String>,
    /// The URL to which the customer returns from the bank's page.
    pub(super) return_url: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Refund {
    pub(super) id: String,
    pub(super) intent: String,
    pub(super) charge: String,
    pub(super) amount: u64,
    pub(super) currency: String,
    pub(super) status: &'static str,
    pub(super) failure_reason: Option<&'static str>,
    pub(super) reason: Option<String>,
    pub(super) metadata: Value,
}

impl Refund {
    /// Whether the refund is done or pending.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.status, "failed" | "canceled")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Dispute {
    pub(super) amount: Option<u64>,
    pub(super) intent: String,
    pub(super) charge: String,
    pub(super) status: &'static str,
    /// Whether Stripe refunded the customer to prevent it.
    pub(super) is_resolved: bool,
    pub(super) created: Timestamp,
}

impl Dispute {
    /// Whether the bank holds the money.
    pub(super) fn takes_money(&self) -> bool {
        self.is_resolved
            || !matches!(self.status, "won" | "prevented") && !self.status.starts_with("warning_")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) asked: String,
    pub(super) answer: (u16, String),
    pub(super) at: Timestamp,
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) customers: BTreeMap<String, Vec<String>>,
    pub(super) methods: BTreeMap<String, StripeMethod>,
    pub(super) intents: BTreeMap<String, Intent>,
    pub(super) charges: BTreeMap<String, Charge>,
    pub(super) refunds: Vec<Refund>,
    pub(super) disputes: BTreeMap<String, Dispute>,
    pub(super) keys: BTreeMap<String, Kept>,
    pub(super) planned: VecDeque<(Operation, Mishap)>,
    pub(super) refund_status: Option<&'static str>,
    pub(super) rolled_key: Option<&'static str>,
    pub(super) detached: Vec<String>,
    pub(super) refusals: Vec<(Operation, StripeRefusal)>,
    pub(super) asked: Vec<StripeCall>,
}

impl Ledger {
    pub(super) fn attach(&mut self, customer: &str, method: &str) {
        let methods = self.customers.entry(customer.to_owned()).or_default();
        methods.push(method.to_owned());
        self.detached.retain(|each| each != method);
        self.methods
            .insert(method.to_owned(), StripeMethod::from_token(method));
    }

    pub(super) fn execute(&mut self, method: &str, path_and_query: &str, body: &str) -> Answer {
        let Some((operation, id)) = route(method, path_and_query) else {
            let error = invalid_request(None, None, "There is no such address.");
            return Answer::not_begun(404, error);
        };
        let query = path_and_query
            .split_once('?')
            .map_or("", |(_, query)| query);
        let fields = fields(if method == "GET" { query } else { body });
        let mut refusals = self.refusals.iter();
        if let Some((_, refusal)) = refusals.find(|(each, _)| *each == operation) {
            let (status, error) = (refusal.status, refusal.error());
            // Keys and permissions are checked, and other requests awaited, before the execution
            // begins.
            return match status {
                401 | 403 | 409 | 429 => Answer::not_begun(status, error),
                _ => Answer::refused(status, error),
            };
        }
        match operation {
            Operation::NewCustomer => {
                let id = format!("cus_Played{:06}", self.customers.len() + 1);
                self.customers.insert(id.clone(), Vec::new());
                Answer::done(json!({ "id": id, "object": "customer" }))
            }
            Operation::Attach => {
                let customer = field(&fields, "customer").unwrap_or_default();
                if !self.customers.contains_key(customer) {
                    return Answer::missing_parameter("customer", customer, "customer");
                }
                self.attach(customer, id);
                Answer::done(self.method(id))
            }
            Operation::Open => self.open(&fields),
            Operation::Confirm => self.confirm(id, &fields),
            Operation::LookUp => match unknown_field(&fields, &["expand"]) {
                Some(error) => error,
                None if !self.intents.contains_key(id) => {
                    Answer::missing("payment_intent", id, "intent")
                }
                None => Answer::done(self.intent(id, expands_charge(&fields))),
            },
            Operation::Cancel => self.cancel(id, &fields),
            Operation::ListRefunds => self.list_refunds(&fields),
            Operation::Refund => self.ask_refund(&fields),
            Operation::Dispute => match unknown_field(&fields, &["expand"]) {
                Some(error) => error,
                None if !self.disputes.contains_key(id) => {
                    Answer::missing("dispute", id, "dispute")
                }
                None => Answer::done(self.dispute(id, expands(&fields, "payment_intent"))),
            },
        }
    }

    pub(super) fn open(&mut self, fields: &Fields) -> Answer {
        let known = [
            "amount",
            "capture_method",
            "confirm",
            "currency",
            "customer",
            "description",
            "expand",
            "metadata",
            "payment_method",
            "payment_method_types",
        ];
        if let Some(error) = unknown_field(fields, &known) {
            return error;
        }
        let needed = ["amount", "currency", "customer", "payment_method"];
        if let Some(name) = needed.iter().find(|name| field(fields, name).is_none()) {
            let message = format!("Played: {name} is needed here.");
            return Answer::invalid(Some("parameter_missing"), Some(name), &message);
        }
        let text = |name| field(fields, name).unwrap_or_default().to_owned();
        let currency = text("currency");
        let Ok(amount) = text("amount").parse() else {
            let code = Some("parameter_invalid_integer");
            return Answer::invalid(code, Some("amount"), "The amount is no whole number.");
        };
        if let Some(error) = amount_error(amount, &currency) {
            return error;
        }
        if currency != currency.to_ascii_lowercase() || currency.len() != 3 {
            return Answer::invalid(None, Some("currency"), "There is no such currency.");
        }
        let chosen = field(fields, "payment_method_types[]") == Some("card")
            && field(fields, "confirm") == Some("false")
            && field(fields, "capture_method") == Some("automatic");
        if !chosen {
            return Answer::invalid(
                None,
                None,
                "The double only opens unconfirmed card charges.",
            );
        }
        let (customer, method) = (text("customer"), text("payment_method"));
        let Some(methods) = self.customers.get(&customer) else {
            return Answer::missing_parameter("customer", &customer, "customer");
        };
        if self.detached.contains(&method) {
            return Answer::detached();
        }
        if !methods.contains(&method) {
            return Answer::missing_parameter("PaymentMethod", &method, "payment_method");
        }
        let id = format!("pi_3Played{:06}", self.intents.len() + 1);
        let intent = Intent {
            amount,
            currency,
            customer,
            method: Some(method),
            status: "requires_confirmation",
            last_error: None,
            latest_charge: None,
            metadata: metadata(fields),
            cancellation_reason: None,
            return_url: None,
        };
        self.intents.insert(id.clone(), intent);
        Answer::done(self.intent(&id, expands_charge(fields)))
    }

    pub(super) fn confirm(&mut self, id: &str, fields: &Fields) -> Answer {
        let known = ["expand", "off_session", "payment_method", "return_url"];
        if let Some(error) = unknown_field(fields, &known) {
            return error;
        }
        let Some(intent) = self.intents.get_mut(id) else {
            return Answer::missing("payment_intent", id, "intent");
        };
        let confirmable = [
            "requires_confirmation",
            "requires_payment_method",
            "requires_action",
        ];
        if !confirmable.contains(&intent.status) {
            return self.unexpected(id, "confirm");
        }
        if let Some(method) = field(fields, "payment_method") {
            intent.method = Some(method.to_owned());
        }
        let Some(method) = intent.method.clone() else {
            return self.unexpected(id, "confirm");
        };
        if self.detached.contains(&method) {
            return Answer::detached();
        }
        let Some(outcome) = self.methods.get(&method).map(|each| each.outcome.clone()) else {
            return Answer::missing_parameter("PaymentMethod", &method, "payment_method");
        };
        let off_session = field(fields, "off_session") == Some("true");
        match outcome {
            Outcome::Succeeds => self.charge(id, &method, "succeeded", "succeeded"),
            Outcome::Pends => self.charge(id, &method, "processing", "pending"),
            Outcome::WantsAuthentication if !off_session => {
                if let Some(intent) = self.intents.get_mut(id) {
                    intent.status = "requires_action";
                    intent.last_error = None;
                    intent.return_url = field(fields, "return_url").map(str::to_owned);
                }
            }
            Outcome::WantsAuthentication => {
                let code = "authentication_required";
                return self.decline(id, &method, code, Some(code), None);
            }
            Outcome::Declines {
                code,
                decline_code,
                advice_code,
            } => return self.decline(id, &method, code, decline_code, advice_code),
        }
        Answer::done(self.intent(id, expands_charge(fields)))
    }

    /// Records a charge and its effect on the intent.
    pub(super) fn charge(
        &mut self,
        id: &str,
        method: &str,
        intent_status: &'static str,
        status: &'static str,
    ) {
        let charge = format!("ch_3Played{:06}", self.charges.len() + 1);
        let Some(intent) = self.intents.get_mut(id) else {
            return;
        };
        intent.status = intent_status;
        intent.latest_charge = Some(charge.clone());
        intent.last_error = None;
        let seen = StripeCharge {
            intent: id.to_owned(),
            amount: intent.amount,
            currency: intent.currency.clone(),
            status,
            refunded: 0,
        };
        let entry = Charge {
            seen,
            method: method.to_owned(),
            failure: None,
        };
        self.charges.insert(charge, entry);
    }

    /// A decline detaches the payment method from the intent.
    pub(super) fn decline(
        &mut self,
        id: &str,
        method: &str,
        code: &'static str,
        decline_code: Option<&'static str>,
        advice_code: Option<&'static str>,
    ) -> Answer {
        self.charge(id, method, "requires_payment_method", "failed");
        let charge = self.intents[id].latest_charge.clone().unwrap_or_default();
        let mut error = json!({
            "charge": charge,
            "code": code,
            "doc_url": doc_url(code),
            "message": "Played: the card was declined.",
            "payment_method": self.method(method),
            "type": "card_error",
        });
        for (name, value) in [("decline_code", decline_code), ("advice_code", advice_code)] {
            if let Some(value) = value {
                error[name] = value.into();
            }
        }
        if let Some(entry) = self.charges.get_mut(&charge) {
            entry.failure = Some((code, decline_code.unwrap_or(code)));
        }
        if let Some(intent) = self.intents.get_mut(id) {
            intent.method = None;
            intent.last_error = Some(error.clone());
        }
        error["payment_intent"] = self.intent(id, false);
        error["request_log_url"] = "https://dashboard.stripe.com/test/logs/req_played".into();
        Answer::refused(402, error)
    }

    /// The customer leaves the bank's page of a waiting intent, with or without success.
    pub(super) fn authenticate(&mut self, id: &str, succeeds: bool) {
        let Some(intent) = self.intents.get_mut(id) else {
            return;
        };
        let Some(method) = intent
            .method
            .clone()
            .filter(|_| intent.status == "requires_action")
        else {
            return;
        };
        if succeeds {
            return self.charge(id, &method, "succeeded", "succeeded");
        }
        intent.status = "requires_payment_method";
        intent.method = None;
        intent.last_error = Some(invalid_request(
            Some("payment_intent_authentication_failure"),
            None,
            "Played: the customer could not be authenticated.",
        ));
    }

    pub(super) fn unexpected(&self, id: &str, verb: &str) -> Answer {
        let status = self.intents[id].status;
        let message = format!("Played: not possible to {verb} a charge at {status}.");
        let mut error = invalid_request(Some("payment_intent_unexpected_state"), None, &message);
        error["payment_intent"] = self.intent(id, false);
        Answer::refused(400, error)
    }

    pub(super) fn cancel(&mut self, id: &str, fields: &Fields) -> Answer {
        if let Some(error) = unknown_field(fields, &["cancellation_reason", "expand"]) {
            return error;
        }
        let Some(intent) = self.intents.get_mut(id) else {
            return Answer::missing("payment_intent", id, "intent");
        };
        let cancelable = [
            "requires_payment_method",
            "requires_capture",
            "requires_confirmation",
            "requires_action",
        ];
        if !cancelable.contains(&intent.status) {
            return self.unexpected(id, "cancel");
        }
        intent.status = "canceled";
        intent.cancellation_reason = field(fields, "cancellation_reason").map(str::to_owned);
        Answer::done(self.intent(id, expands_charge(fields)))
    }

    pub(super) fn list_refunds(&self, fields: &Fields) -> Answer {
        if let Some(error) = unknown_field(fields, &["expand", "limit", "payment_intent"]) {
            return error;
        }
        let id = field(fields, "payment_intent").unwrap_or_default();
        if !self.intents.contains_key(id) {
            return Answer::missing_parameter("payment_intent", id, "payment_intent");
        }
        let refunds = self.refunds.iter().rev().filter(|each| each.intent == id);
        let data: Vec<Value> = refunds.map(Refund::json).collect();
        Answer::done(json!({
            "object": "list", "data": data, "has_more": false, "url": "/v1/refunds",
        }))
    }

    pub(super) fn ask_refund(&mut self, fields: &Fields) -> Answer {
        let known = ["amount", "expand", "metadata", "payment_intent", "reason"];
        if let Some(error) = unknown_field(fields, &known) {
            return error;
        }
        let id = field(fields, "payment_intent")
            .unwrap_or_default()
            .to_owned();
        let Some(intent) = self.intents.get(&id) else {
            return Answer::missing_parameter("payment_intent", &id, "payment_intent");
        };
        let charge = intent.latest_charge.clone().unwrap_or_default();
        let Some(entry) = self.charges.get(&charge) else {
            return self.unexpected(&id, "refund");
        };
        let refused = |code: &str| {
            let message = format!("Played: {code}, charge {charge}.");
            let mut error = invalid_request(Some(code), None, &message);
            error["request_log_url"] = "https://dashboard.stripe.com/test/logs/req_played".into();
            Answer::refused(400, error)
        };
        if entry.seen.status != "succeeded" {
            return self.unexpected(&id, "refund");
        }
        if self.is_taken_back(&charge) {
            return refused("charge_disputed");
        }
        if entry.seen.refunded >= entry.seen.amount {
            return refused("charge_already_refunded");
        }
        let amount = field(fields, "amount").and_then(|text| text.parse().ok());
        let left = entry.seen.amount - entry.seen.refunded;
        if amount.is_some_and(|amount| amount > left) {
            return Answer::invalid(None, Some("amount"), "Played: more than is left.");
        }
        let reason = field(fields, "reason").map(str::to_owned);
        self.refund(&id, amount, reason, metadata(fields));
        Answer::done(self.refunds.last().map(Refund::json).unwrap_or_default())
    }

    pub(super) fn refund(
        &mut self,
        intent: &str,
        amount: Option<u64>,
        reason: Option<String>,
        metadata: Value,
    ) {
        let charge = self.intents[intent].latest_charge.clone();
        let charge = charge.unwrap_or_default();
        let Some(entry) = self.charges.get_mut(&charge) else {
            return;
        };
        let amount = amount.unwrap_or(entry.seen.amount - entry.seen.refunded);
        let status = self.refund_status.unwrap_or("succeeded");
        let refund = Refund {
            id: format!("re_3Played{:06}", self.refunds.len() + 1),
            intent: intent.to_owned(),
            charge,
            amount,
            currency: entry.seen.currency.clone(),
            status,
            failure_reason: (status == "failed").then_some("expired_or_canceled_card"),
            reason,
            metadata,
        };
        if refund.holds() {
            entry.seen.refunded += amount;
        }
        self.refunds.push(refund);
    }

    /// Moves every completed or pending refund to this status, and updates each charge's
    /// `amount_refunded`.
    pub(super) fn move_refunds(
        &mut self,
        status: &'static str,
        failure_reason: Option<&'static str>,
    ) {
        self.move_refunds_of(None, status, failure_reason);
    }

    /// Does the same for the refunds of one intent.
    pub(super) fn move_refunds_of(
        &mut self,
        intent: Option<&str>,
        status: &'static str,
        failure_reason: Option<&'static str>,
    ) {
        let is_meant = |refund: &&mut Refund| {
            refund.holds() && intent.is_none_or(|intent| refund.intent == intent)
        };
        for refund in self.refunds.iter_mut().filter(is_meant) {
            (refund.status, refund.failure_reason) = (status, failure_reason);
            if let Some(entry) = self.charges.get_mut(&refund.charge)
                && !refund.holds()
            {
                entry.seen.refunded -= refund.amount;
            }
        }
    }

    /// Whether a dispute has taken the charge's money, so that it cannot be refunded.
    pub(super) fn is_taken_back(&self, charge: &str) -> bool {
        let mut disputes = self.disputes.values();
        disputes.any(|dispute| dispute.charge == charge && dispute.takes_money())
    }
}
