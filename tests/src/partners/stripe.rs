//! A small Stripe with a ledger: customers, payment methods, payment intents, charges, refunds and
//! idempotency keys, behind the wire format of API version `2026-07-29.dahlia`.
//!
//! What a payment method does when it is charged follows from its token ([`PlayedMethod::of`]), as
//! with Stripe's own test tokens, until a test plans otherwise. Messages are worded here; fields,
//! codes and statuses are Stripe's. It sends no webhooks: tests send them as they please.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use domain::Timestamp;
use payment::partners::STRIPE_VERSION;
use platform::runtime::Runtime;
use serde_json::{Value, json};

use super::BookedCharge;
use super::front::{DoubleReply, DoubleRequest, Front, Mishap, PartnerDouble, Passage};

/// How long a key is remembered ("Idempotent requests").
const KEY_LIFE: Duration = Duration::from_hours(24);

/// The secret key that the double accepts.
const API_KEY: &str = "sk_test_played";

/// What happens when a payment method is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken.
    Succeeds,
    /// The bank takes it and says later what became of it.
    Pends,
    /// Refused.
    Declines {
        /// `error.code`
        code: &'static str,
        /// `error.decline_code`
        decline_code: Option<&'static str>,
        /// `error.advice_code`
        advice_code: Option<&'static str>,
    },
    /// The issuer wants the customer to authenticate.
    WantsAuthentication,
}

/// A payment method.
#[derive(Clone, Debug)]
pub struct PlayedMethod {
    /// `card.brand`
    pub brand: &'static str,
    /// `card.last4`
    pub last4: &'static str,
    /// `card.iin`, where the account gets it.
    pub iin: Option<&'static str>,
    /// `billing_details.name`
    pub name: Option<&'static str>,
    /// What happens when it is charged.
    pub outcome: Outcome,
}

impl PlayedMethod {
    /// What a token stands for; `pm_pending` is this double's own.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let declined = |decline_code| Outcome::Declines {
            code: "card_declined",
            decline_code: Some(decline_code),
            advice_code: None,
        };
        let of_its_own = |code| Outcome::Declines {
            code,
            decline_code: None,
            advice_code: None,
        };
        let (brand, last4, outcome) = match token {
            "pm_card_mastercard" => ("mastercard", "4444", Outcome::Succeeds),
            "pm_card_amex" => ("amex", "0005", Outcome::Succeeds),
            "pm_card_chargeDeclined" | "pm_card_chargeCustomerFail" => {
                ("visa", "0002", declined("generic_decline"))
            }
            "pm_card_chargeDeclinedInsufficientFunds" => {
                ("visa", "9995", declined("insufficient_funds"))
            }
            "pm_card_chargeDeclinedLostCard" => ("visa", "9987", declined("lost_card")),
            "pm_card_chargeDeclinedStolenCard" => ("visa", "9979", declined("stolen_card")),
            "pm_card_chargeDeclinedExpiredCard" => ("visa", "0069", of_its_own("expired_card")),
            "pm_card_chargeDeclinedIncorrectCvc" => ("visa", "0127", of_its_own("incorrect_cvc")),
            "pm_card_chargeDeclinedProcessingError" => {
                ("visa", "0119", of_its_own("processing_error"))
            }
            "pm_card_authenticationRequired" => ("visa", "3184", Outcome::WantsAuthentication),
            "pm_pending" => ("visa", "4242", Outcome::Pends),
            _ => ("visa", "4242", Outcome::Succeeds),
        };
        Self {
            brand,
            last4,
            iin: None,
            name: None,
            outcome,
        }
    }
}

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /v1/customers`
    NewCustomer,
    /// `POST /v1/payment_methods/{token}/attach`
    Attach,
    /// `POST /v1/payment_intents`
    Open,
    /// `POST /v1/payment_intents/{id}/confirm`
    Confirm,
    /// `GET /v1/payment_intents/{id}`
    LookUp,
    /// `POST /v1/payment_intents/{id}/cancel`
    Cancel,
    /// `GET /v1/refunds`
    ListRefunds,
    /// `POST /v1/refunds`
    Refund,
    /// `GET /v1/disputes/{id}`
    Dispute,
}

/// How one call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// The request never arrives.
    RequestLost,
    /// It is carried out, and the connection closes without an answer.
    AnswerLost,
    /// 500 and nothing done; the key keeps that answer.
    Fails,
    /// Carried out, and 500 all the same; the key keeps that answer.
    FailsAfterwards,
    /// 429, nothing done, nothing kept.
    RateLimited,
    /// 429 because the object is in use, nothing done, nothing kept.
    Locked,
    /// 409: another request with this key runs.
    KeyInUse,
    /// This status and body, nothing done, nothing kept.
    Says(u16, &'static str),
    /// Carried out; the answer is no JSON.
    Malformed,
    /// Carried out; the answer is 600 KiB long.
    Enormous,
    /// Carried out; the answer comes by one byte a second.
    Drips,
    /// Carried out; the answer breaks off.
    BreaksOff,
}

/// A charge in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeCharge {
    /// Its intent.
    pub intent: String,
    /// In the currency's minor unit.
    pub amount: u64,
    /// Lower case.
    pub currency: String,
    /// `succeeded`, `pending` or `failed`.
    pub status: &'static str,
    /// What of it went back, or is on its way.
    pub refunded: u64,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct StripeCall {
    /// What was asked for.
    pub operation: Operation,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The form, encoded.
    pub body: String,
}

#[derive(Clone, Debug)]
struct Charge {
    seen: StripeCharge,
    method: String,
    failure: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
struct Intent {
    amount: u64,
    currency: String,
    customer: String,
    method: Option<String>,
    status: &'static str,
    last_error: Option<Value>,
    latest_charge: Option<String>,
    metadata: Value,
    cancellation_reason: Option<String>,
}

#[derive(Clone, Debug)]
struct Refund {
    id: String,
    intent: String,
    charge: String,
    amount: u64,
    currency: String,
    status: &'static str,
    failure_reason: Option<&'static str>,
    reason: Option<String>,
    metadata: Value,
}

impl Refund {
    /// Whether the money has gone back or is on its way.
    fn holds(&self) -> bool {
        !matches!(self.status, "failed" | "canceled")
    }
}

#[derive(Clone, Debug)]
struct Dispute {
    intent: String,
    charge: String,
    status: &'static str,
    created: Timestamp,
}

impl Dispute {
    /// Whether the bank holds the money.
    fn takes_money(&self) -> bool {
        !matches!(self.status, "won" | "prevented") && !self.status.starts_with("warning_")
    }
}

#[derive(Clone, Debug)]
struct Kept {
    asked: String,
    answer: (u16, String),
    at: Timestamp,
}

#[derive(Default)]
struct Ledger {
    customers: BTreeMap<String, Vec<String>>,
    methods: BTreeMap<String, PlayedMethod>,
    intents: BTreeMap<String, Intent>,
    charges: BTreeMap<String, Charge>,
    refunds: Vec<Refund>,
    disputes: BTreeMap<String, Dispute>,
    keys: BTreeMap<String, Kept>,
    faults: VecDeque<(Operation, Misbehaviour)>,
    refund_status: Option<&'static str>,
    rolled_key: Option<&'static str>,
    asked: Vec<StripeCall>,
}

/// The double. Clones share one ledger.
#[derive(Clone)]
pub struct PlayedStripe {
    ledger: Arc<Mutex<Ledger>>,
    runtime: Runtime,
}

impl fmt::Debug for PlayedStripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlayedStripe")
    }
}

impl PartnerDouble for PlayedStripe {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        self.answer_to(request, None)
    }
}

/// Notes every call, and has go wrong what [`PlayedStripe::misbehave`] planned.
impl Passage for PlayedStripe {
    fn fate<'a>(
        &'a self,
        request: &'a DoubleRequest,
    ) -> Pin<Box<dyn Future<Output = Option<Mishap>> + Send + 'a>> {
        let fault = self.note(request);
        let mishap = fault.map(|how| self.mishap(request, &how));
        Box::pin(std::future::ready(mishap))
    }
}

type Fields = Vec<(String, String)>;

/// An answer, and whether a key keeps it.
struct Answer {
    status: u16,
    body: Value,
    kept: bool,
}

impl Answer {
    fn done(body: Value) -> Self {
        Self {
            status: 200,
            body,
            kept: true,
        }
    }

    /// What execution itself refuses is kept by the key, as its successes are.
    fn refused(status: u16, error: Value) -> Self {
        let mut body = json!({});
        body["error"] = error;
        Self {
            status,
            body,
            kept: true,
        }
    }

    /// What never comes to execution is not.
    fn not_begun(status: u16, error: Value) -> Self {
        Self {
            kept: false,
            ..Self::refused(status, error)
        }
    }

    fn invalid(code: Option<&str>, param: Option<&str>, message: &str) -> Self {
        Self::not_begun(400, invalid_request(code, param, message))
    }

    fn missing(what: &str, id: &str, param: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        let error = invalid_request(Some("resource_missing"), Some(param), &message);
        Self::not_begun(404, error)
    }
}

/// An error of type `invalid_request_error`; members that are null are left out.
fn invalid_request(code: Option<&str>, param: Option<&str>, message: &str) -> Value {
    let mut error = json!({ "type": "invalid_request_error", "message": message });
    if let Some(code) = code {
        error["code"] = code.into();
        error["doc_url"] = doc_url(code).into();
    }
    if let Some(param) = param {
        error["param"] = param.into();
    }
    error
}

fn doc_url(code: &str) -> String {
    format!(
        "https://stripe.com/docs/error-codes/{}",
        code.replace('_', "-")
    )
}

impl PlayedStripe {
    /// An empty account with this clock.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self {
            ledger: Arc::default(),
            runtime,
        }
    }

    /// The account's secret key.
    #[must_use]
    pub fn api_key() -> &'static str {
        API_KEY
    }

    /// Replaces the account's secret key at once, as "Roll API keys" does without an overlap.
    pub fn roll_key(&self, key: &'static str) {
        self.ledger().rolled_key = Some(key);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Attaches a payment method to a customer; both are made where they are not there.
    pub fn attach(&self, customer: &str, method: &str) {
        self.ledger().attach(customer, method);
    }

    /// Detaches it, as the customer does who takes a card away.
    pub fn detach(&self, method: &str) {
        let mut ledger = self.ledger();
        ledger.methods.remove(method);
        for methods in ledger.customers.values_mut() {
            methods.retain(|each| each != method);
        }
        for intent in ledger.intents.values_mut() {
            if intent.status == "requires_confirmation" && intent.method.as_deref() == Some(method)
            {
                intent.method = None;
                intent.status = "requires_payment_method";
            }
        }
    }

    /// Changes what is attached under this token.
    pub fn change(&self, method: &str, change: impl FnOnce(&mut PlayedMethod)) {
        change(
            self.ledger()
                .methods
                .get_mut(method)
                .expect("a test changes what it has attached"),
        );
    }

    /// The next call of this operation that is not yet planned goes wrong like this.
    pub fn misbehave(&self, operation: Operation, how: Misbehaviour) {
        self.ledger().faults.push_back((operation, how));
    }

    /// The bank has decided about all pending charges: the money is taken.
    pub fn settle(&self) {
        let mut ledger = self.ledger();
        for intent in ledger.intents.values_mut() {
            if intent.status == "processing" {
                intent.status = "succeeded";
            }
        }
        for charge in ledger.charges.values_mut() {
            if charge.seen.status == "pending" {
                charge.seen.status = "succeeded";
            }
        }
    }

    /// Every charge is charged back, and once more if it was before.
    pub fn dispute(&self) {
        let created = self.runtime.now();
        let mut ledger = self.ledger();
        for (charge, entry) in ledger.charges.clone() {
            let id = format!("du_3Played{:06}", ledger.disputes.len() + 1);
            let dispute = Dispute {
                intent: entry.seen.intent,
                charge,
                status: "needs_response",
                created,
            };
            ledger.disputes.insert(id, dispute);
        }
    }

    /// The ids of all disputes, in the order of their making.
    #[must_use]
    pub fn disputes(&self) -> Vec<String> {
        self.ledger().disputes.keys().cloned().collect()
    }

    /// From now on the dispute of this id has this status.
    pub fn set_dispute(&self, id: &str, status: &'static str) {
        let mut ledger = self.ledger();
        let dispute = ledger.disputes.get_mut(id);
        dispute.expect("a test changes what it has opened").status = status;
    }

    /// From now on all disputes have this status.
    pub fn set_dispute_status(&self, status: &'static str) {
        for dispute in self.ledger().disputes.values_mut() {
            dispute.status = status;
        }
    }

    /// From now on refunds begin with this status, and those that hold get it too: one that has failed
    /// stays so.
    pub fn set_refund_status(&self, status: &'static str) {
        let mut ledger = self.ledger();
        ledger.refund_status = Some(status);
        let reason = (status == "failed").then_some("expired_or_canceled_card");
        ledger.move_refunds(status, reason);
    }

    /// The bank gives back every refund that it had taken, days later: each fails with this
    /// `failure_reason`, and its amount is again the account's. Later refunds succeed ("Refund and
    /// cancel payments", section "Failed refunds"; "The Refund object", `failure_reason`).
    pub fn fail_refunds(&self, reason: &'static str) {
        self.ledger().move_refunds("failed", Some(reason));
    }

    /// The refunds that hold: those whose money went back or is on its way.
    #[must_use]
    pub fn given_back(&self) -> Vec<u64> {
        let ledger = self.ledger();
        let refunds = ledger.refunds.iter().filter(|refund| refund.holds());
        refunds.map(|refund| refund.amount).collect()
    }

    /// The account's people give a part back by hand.
    pub fn refund_by_hand(&self, amount: u64) {
        let mut ledger = self.ledger();
        let intents: Vec<String> = ledger.intents.keys().cloned().collect();
        for intent in intents {
            ledger.refund(&intent, Some(amount), None, json!({}));
        }
    }

    /// Every intent gets this status, whether or not Stripe has such a one.
    pub fn set_status(&self, status: &'static str) {
        for intent in self.ledger().intents.values_mut() {
            intent.status = status;
        }
    }

    /// Every charge, in the order of their making.
    #[must_use]
    pub fn charges(&self) -> Vec<StripeCharge> {
        let ledger = self.ledger();
        ledger
            .charges
            .values()
            .map(|charge| charge.seen.clone())
            .collect()
    }

    /// Its books, of a currency with two decimals.
    #[must_use]
    pub fn books(&self) -> Vec<BookedCharge> {
        let ledger = self.ledger();
        let booked = |(id, intent): (&String, &Intent)| {
            let charges = ledger.charges.values();
            let taken = charges
                .filter(|charge| charge.seen.intent == *id && charge.seen.status == "succeeded");
            let method = taken
                .clone()
                .next_back()
                .map(|charge| charge.method.clone());
            let refunds = ledger.refunds.iter();
            let refunds = refunds.filter(|refund| refund.intent == *id && refund.holds());
            let invoice = intent.metadata["invoice_id"].as_str().unwrap_or_default();
            let decimal =
                |minor: u64| rust_decimal::Decimal::new(i64::try_from(minor).unwrap_or(0), 2);
            BookedCharge {
                reference: id.clone(),
                invoice: invoice.to_owned(),
                amount: decimal(intent.amount),
                currency: intent.currency.to_ascii_uppercase(),
                captures: u32::try_from(taken.count()).unwrap_or(u32::MAX),
                method,
                refunds: u32::try_from(refunds.clone().count()).unwrap_or(u32::MAX),
                refunded: decimal(refunds.map(|refund| refund.amount).sum()),
            }
        };
        ledger.intents.iter().map(booked).collect()
    }

    /// The customer pays the intent on a page of Stripe's, with another card ("Accept a payment": a
    /// client secret confirms an intent until it succeeds or is canceled).
    pub fn pay_on_page(&self, intent: &str) {
        let mut ledger = self.ledger();
        let waits = [
            "requires_payment_method",
            "requires_confirmation",
            "requires_action",
        ];
        let status = ledger.intents.get(intent).map(|intent| intent.status);
        if status.is_some_and(|status| waits.contains(&status)) {
            ledger.charge(intent, "pm_card_visa", "succeeded", "succeeded");
        }
    }

    /// Which payment methods have been charged, in order.
    #[must_use]
    pub fn charged_methods(&self) -> Vec<String> {
        let ledger = self.ledger();
        let charges = ledger.charges.values();
        let taken = charges.filter(|charge| charge.seen.status == "succeeded");
        taken.map(|charge| charge.method.clone()).collect()
    }

    /// The amounts that were taken.
    #[must_use]
    pub fn captured(&self) -> Vec<u64> {
        let taken = |charge: &StripeCharge| charge.status == "succeeded";
        let charges = self.charges().into_iter();
        charges.filter(taken).map(|charge| charge.amount).collect()
    }

    /// How many refunds there are, failed ones included.
    #[must_use]
    pub fn refunds(&self) -> usize {
        self.ledger().refunds.len()
    }

    /// The ids of all intents with their status.
    #[must_use]
    pub fn intents(&self) -> Vec<(String, &'static str)> {
        let ledger = self.ledger();
        let intents = ledger.intents.iter();
        intents
            .map(|(id, intent)| (id.clone(), intent.status))
            .collect()
    }

    /// Every call so far.
    #[must_use]
    pub fn asked(&self) -> Vec<StripeCall> {
        self.ledger().asked.clone()
    }

    /// The operations of every call so far.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.asked()
            .into_iter()
            .map(|call| call.operation)
            .collect()
    }

    /// The whole of it without a network: what a well-behaved Stripe answers. Names of headers are in
    /// lower case.
    #[must_use]
    pub fn handle(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> (u16, String) {
        self.answer(method, path_and_query, headers, body, None)
    }

    /// A front where what was planned goes wrong.
    #[must_use]
    pub fn front(&self) -> Front {
        Front::with_passage(Arc::new(self.clone()), Arc::new(self.clone()))
    }

    /// Notes the call; returns what was planned for it.
    fn note(&self, request: &DoubleRequest) -> Option<Misbehaviour> {
        let (operation, _) = route(&request.method, &request.path)?;
        let mut ledger = self.ledger();
        ledger.asked.push(StripeCall {
            operation,
            headers: request.headers.clone().into_iter().collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let mut faults = ledger.faults.iter();
        let planned = faults.position(|(each, _)| *each == operation)?;
        ledger.faults.remove(planned).map(|(_, how)| how)
    }

    /// The misbehaviour as the front plays it. An answer that follows from it and the books is made
    /// here.
    fn mishap(&self, request: &DoubleRequest, how: &Misbehaviour) -> Mishap {
        match how {
            Misbehaviour::RequestLost => Mishap::RequestLost,
            Misbehaviour::AnswerLost => Mishap::AnswerLost,
            Misbehaviour::Drips => Mishap::Dripped,
            Misbehaviour::BreaksOff => Mishap::BrokenOff,
            Misbehaviour::Malformed => Mishap::Instead(DoubleReply {
                body: b"{\"id\":".to_vec(),
                ..self.answer_to(request, None)
            }),
            Misbehaviour::Enormous => {
                let mut reply = self.answer_to(request, None);
                let filler = format!("\"x\":\"{}\",", "x".repeat(600 * 1024));
                // Behind the opening brace.
                reply.body.splice(1..1, filler.into_bytes());
                Mishap::Instead(reply)
            }
            Misbehaviour::Fails
            | Misbehaviour::FailsAfterwards
            | Misbehaviour::RateLimited
            | Misbehaviour::Locked
            | Misbehaviour::KeyInUse
            | Misbehaviour::Says(..) => Mishap::Instead(self.answer_to(request, Some(how))),
        }
    }

    fn answer_to(&self, request: &DoubleRequest, fault: Option<&Misbehaviour>) -> DoubleReply {
        let headers: Vec<_> = request.headers.clone().into_iter().collect();
        let body = String::from_utf8_lossy(&request.body);
        let (status, body) = self.answer(&request.method, &request.path, &headers, &body, fault);
        DoubleReply::new(status, body)
    }

    fn answer(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(String, String)],
        body: &str,
        fault: Option<&Misbehaviour>,
    ) -> (u16, String) {
        let header = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let written = |answer: Answer| (answer.status, answer.body.to_string());
        let key = self.ledger().rolled_key.unwrap_or(API_KEY);
        if header("authorization") != format!("Bearer {key}") {
            let error = invalid_request(None, None, "The API key is not one of this account.");
            return written(Answer::not_begun(401, error));
        }
        if header("stripe-version") != STRIPE_VERSION {
            let error = invalid_request(None, None, "The double speaks one version only.");
            return written(Answer::not_begun(400, error));
        }
        match fault {
            Some(Misbehaviour::RateLimited) => {
                return written(Answer::not_begun(429, busy("rate_limit")));
            }
            Some(Misbehaviour::Locked) => {
                return written(Answer::not_begun(429, busy("lock_timeout")));
            }
            Some(Misbehaviour::KeyInUse) => {
                return written(Answer::not_begun(409, busy("idempotency_key_in_use")));
            }
            Some(Misbehaviour::Says(status, text)) => return (*status, (*text).to_owned()),
            _ => {}
        }
        let key = header("idempotency-key").to_owned();
        let asked = format!("{method} {path_and_query} {body}");
        let now = self.runtime.now();
        let mut ledger = self.ledger();
        ledger.keys.retain(|_, kept| now < kept.at.plus(KEY_LIFE));
        if key.len() > 255 {
            return written(Answer::invalid(
                None,
                None,
                "The idempotency key is too long.",
            ));
        }
        if let Some(kept) = ledger.keys.get(&key) {
            if kept.asked != asked {
                let error = json!({
                    "type": "idempotency_error",
                    "message": "This key was used with other parameters before.",
                });
                return written(Answer::not_begun(400, error));
            }
            return kept.answer.clone();
        }
        let failed = || Answer::refused(500, json!({ "type": "api_error", "message": "Played." }));
        let answer = match fault {
            Some(Misbehaviour::Fails) => failed(),
            Some(Misbehaviour::FailsAfterwards) => {
                ledger.execute(method, path_and_query, body);
                failed()
            }
            _ => ledger.execute(method, path_and_query, body),
        };
        let kept = answer.kept && method == "POST" && !key.is_empty();
        let answer = written(answer);
        if kept {
            let answer = answer.clone();
            let at = now;
            ledger.keys.insert(key, Kept { asked, answer, at });
        }
        answer
    }
}

/// What a call asks for, and of which intent.
fn route<'a>(method: &str, path_and_query: &'a str) -> Option<(Operation, &'a str)> {
    let path = path_and_query
        .split_once('?')
        .map_or(path_and_query, |(path, _)| path);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("POST", ["v1", "customers"]) => Some((Operation::NewCustomer, "")),
        ("POST", ["v1", "payment_methods", id, "attach"]) => Some((Operation::Attach, id)),
        ("POST", ["v1", "payment_intents"]) => Some((Operation::Open, "")),
        ("POST", ["v1", "payment_intents", id, "confirm"]) => Some((Operation::Confirm, id)),
        ("POST", ["v1", "payment_intents", id, "cancel"]) => Some((Operation::Cancel, id)),
        ("GET", ["v1", "payment_intents", id]) => Some((Operation::LookUp, id)),
        ("GET", ["v1", "refunds"]) => Some((Operation::ListRefunds, "")),
        ("POST", ["v1", "refunds"]) => Some((Operation::Refund, "")),
        ("GET", ["v1", "disputes", id]) => Some((Operation::Dispute, id)),
        _ => None,
    }
}

fn busy(code: &str) -> Value {
    invalid_request(Some(code), None, "Played: come back later.")
}

/// The fields of a form or a query.
fn fields(text: &str) -> Fields {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next().unwrap_or(b'0')).to_digit(16);
                let value = digit().unwrap_or(0) * 16 + digit().unwrap_or(0);
                u8::try_from(value).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(each, _)| each == name);
    found.map(|(_, value)| value.as_str())
}

fn expands_charge(fields: &Fields) -> bool {
    expands(fields, "latest_charge")
}

fn expands(fields: &Fields, object: &str) -> bool {
    fields
        .iter()
        .any(|(name, value)| name.starts_with("expand[") && value == object)
}

/// `metadata[order_id]=…` as `{"order_id": "…"}`.
fn metadata(fields: &Fields) -> Value {
    let mut values = json!({});
    for (name, value) in fields {
        let inner = name.strip_prefix("metadata[");
        if let Some(name) = inner.and_then(|rest| rest.strip_suffix(']')) {
            values[name] = value.as_str().into();
        }
    }
    values
}

/// The first field that the operation does not have.
fn unknown(fields: &Fields, known: &[&str]) -> Option<Answer> {
    let strange = fields.iter().find(|(name, _)| {
        let name = name.split('[').next().unwrap_or_default();
        !known.contains(&name)
    });
    strange.map(|(name, _)| {
        Answer::invalid(
            Some("parameter_unknown"),
            Some(name),
            &format!("There is no parameter {name} here."),
        )
    })
}

/// What an amount must be in its currency.
fn amount_error(amount: u64, currency: &str) -> Option<Answer> {
    let invalid = |code| Answer::invalid(Some(code), Some("amount"), "The amount cannot be taken.");
    let step = match currency {
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
        "isk" | "ugx" => 100,
        _ => 1,
    };
    if amount == 0 || !amount.is_multiple_of(step) {
        return Some(invalid("parameter_invalid_integer"));
    }
    if amount > 99_999_999 {
        return Some(invalid("amount_too_large"));
    }
    (amount < 50).then(|| invalid("amount_too_small"))
}

impl Ledger {
    fn attach(&mut self, customer: &str, method: &str) {
        let methods = self.customers.entry(customer.to_owned()).or_default();
        methods.push(method.to_owned());
        self.methods
            .insert(method.to_owned(), PlayedMethod::of(method));
    }

    fn execute(&mut self, method: &str, path_and_query: &str, body: &str) -> Answer {
        let Some((operation, id)) = route(method, path_and_query) else {
            let error = invalid_request(None, None, "There is no such address.");
            return Answer::not_begun(404, error);
        };
        let query = path_and_query
            .split_once('?')
            .map_or("", |(_, query)| query);
        let fields = fields(if method == "GET" { query } else { body });
        match operation {
            Operation::NewCustomer => {
                let id = format!("cus_Played{:06}", self.customers.len() + 1);
                self.customers.insert(id.clone(), Vec::new());
                Answer::done(json!({ "id": id, "object": "customer" }))
            }
            Operation::Attach => {
                let customer = field(&fields, "customer").unwrap_or_default();
                if !self.customers.contains_key(customer) {
                    return Answer::missing("customer", customer, "customer");
                }
                self.attach(customer, id);
                Answer::done(self.method(id))
            }
            Operation::Open => self.open(&fields),
            Operation::Confirm => self.confirm(id, &fields),
            Operation::LookUp => match unknown(&fields, &["expand"]) {
                Some(error) => error,
                None if !self.intents.contains_key(id) => {
                    Answer::missing("payment_intent", id, "intent")
                }
                None => Answer::done(self.intent(id, expands_charge(&fields))),
            },
            Operation::Cancel => self.cancel(id, &fields),
            Operation::ListRefunds => self.list_refunds(&fields),
            Operation::Refund => self.ask_refund(&fields),
            Operation::Dispute => match unknown(&fields, &["expand"]) {
                Some(error) => error,
                None if !self.disputes.contains_key(id) => {
                    Answer::missing("dispute", id, "dispute")
                }
                None => Answer::done(self.dispute(id, expands(&fields, "payment_intent"))),
            },
        }
    }

    fn open(&mut self, fields: &Fields) -> Answer {
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
        if let Some(error) = unknown(fields, &known) {
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
            return Answer::missing("customer", &customer, "customer");
        };
        if !methods.contains(&method) {
            return Answer::missing("PaymentMethod", &method, "payment_method");
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
        };
        self.intents.insert(id.clone(), intent);
        Answer::done(self.intent(&id, expands_charge(fields)))
    }

    fn confirm(&mut self, id: &str, fields: &Fields) -> Answer {
        if let Some(error) = unknown(fields, &["expand", "off_session", "payment_method"]) {
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
        let Some(outcome) = self.methods.get(&method).map(|each| each.outcome.clone()) else {
            return Answer::missing("PaymentMethod", &method, "payment_method");
        };
        let off_session = field(fields, "off_session") == Some("true");
        match outcome {
            Outcome::Succeeds => self.charge(id, &method, "succeeded", "succeeded"),
            Outcome::Pends => self.charge(id, &method, "processing", "pending"),
            Outcome::WantsAuthentication if !off_session => {
                if let Some(intent) = self.intents.get_mut(id) {
                    intent.status = "requires_action";
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

    /// Enters a charge and what it makes of its intent.
    fn charge(
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

    /// A decline takes the payment method off the intent.
    fn decline(
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

    fn unexpected(&self, id: &str, verb: &str) -> Answer {
        let status = self.intents[id].status;
        let message = format!("Played: not possible to {verb} a charge at {status}.");
        let mut error = invalid_request(Some("payment_intent_unexpected_state"), None, &message);
        error["payment_intent"] = self.intent(id, false);
        Answer::refused(400, error)
    }

    fn cancel(&mut self, id: &str, fields: &Fields) -> Answer {
        if let Some(error) = unknown(fields, &["cancellation_reason", "expand"]) {
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

    fn list_refunds(&self, fields: &Fields) -> Answer {
        if let Some(error) = unknown(fields, &["expand", "limit", "payment_intent"]) {
            return error;
        }
        let id = field(fields, "payment_intent").unwrap_or_default();
        if !self.intents.contains_key(id) {
            return Answer::missing("payment_intent", id, "payment_intent");
        }
        let refunds = self.refunds.iter().rev().filter(|each| each.intent == id);
        let data: Vec<Value> = refunds.map(Refund::json).collect();
        Answer::done(json!({
            "object": "list", "data": data, "has_more": false, "url": "/v1/refunds",
        }))
    }

    fn ask_refund(&mut self, fields: &Fields) -> Answer {
        let known = ["amount", "expand", "metadata", "payment_intent", "reason"];
        if let Some(error) = unknown(fields, &known) {
            return error;
        }
        let id = field(fields, "payment_intent")
            .unwrap_or_default()
            .to_owned();
        let Some(intent) = self.intents.get(&id) else {
            return Answer::missing("payment_intent", &id, "payment_intent");
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

    fn refund(
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

    /// Moves every refund that holds to this status, and each charge's `amount_refunded` with it.
    fn move_refunds(&mut self, status: &'static str, failure_reason: Option<&'static str>) {
        for refund in self.refunds.iter_mut().filter(|refund| refund.holds()) {
            (refund.status, refund.failure_reason) = (status, failure_reason);
            if let Some(entry) = self.charges.get_mut(&refund.charge)
                && !refund.holds()
            {
                entry.seen.refunded -= refund.amount;
            }
        }
    }

    /// Whether a dispute has taken the charge's money: then it cannot be refunded.
    fn is_taken_back(&self, charge: &str) -> bool {
        let mut disputes = self.disputes.values();
        disputes.any(|dispute| dispute.charge == charge && dispute.takes_money())
    }

    /// The intent as JSON ("The `PaymentIntent` object").
    fn intent(&self, id: &str, expand: bool) -> Value {
        let intent = &self.intents[id];
        let received = if intent.status == "succeeded" {
            intent.amount
        } else {
            0
        };
        let charge = match &intent.latest_charge {
            Some(charge) if expand => self.charge_json(charge),
            other => json!(other),
        };
        json!({
            "id": id, "object": "payment_intent",
            "amount": intent.amount, "amount_capturable": 0, "amount_received": received,
            "canceled_at": null, "cancellation_reason": intent.cancellation_reason,
            "capture_method": "automatic", "client_secret": format!("{id}_secret_played"),
            "confirmation_method": "automatic", "created": 1_795_428_725, "currency": intent.currency,
            "customer": intent.customer, "description": null,
            "last_payment_error": intent.last_error, "latest_charge": charge, "livemode": false,
            "metadata": intent.metadata, "next_action": null, "payment_method": intent.method,
            "payment_method_options": {}, "payment_method_types": ["card"], "processing": null,
            "receipt_email": null, "setup_future_usage": null, "shipping": null,
            "status": intent.status, "transfer_data": null,
        })
    }

    /// The charge as JSON ("The Charge object").
    fn charge_json(&self, id: &str) -> Value {
        let charge = &self.charges[id];
        let method = self.methods.get(&charge.method).cloned();
        let method = method.unwrap_or_else(|| PlayedMethod::of(&charge.method));
        let taken = charge.seen.status == "succeeded";
        let outcome = match charge.failure {
            None => json!({
                "network_status": "approved_by_network", "reason": null,
                "seller_message": "Played.", "type": "authorized",
            }),
            Some((_, reason)) => json!({
                "network_status": "declined_by_network", "reason": reason, "risk_level": "normal",
                "seller_message": "Played.", "type": "issuer_declined",
            }),
        };
        json!({
            "id": id, "object": "charge", "amount": charge.seen.amount,
            "amount_captured": if taken { charge.seen.amount } else { 0 },
            "amount_refunded": charge.seen.refunded,
            "billing_details": {
                "address": {
                    "city": null, "country": null, "line1": null, "line2": null,
                    "postal_code": null, "state": null,
                },
                "email": null, "name": method.name, "phone": null, "tax_id": null,
            },
            "captured": taken, "created": 1_795_428_725, "currency": charge.seen.currency,
            "customer": self.intents[&charge.seen.intent].customer,
            "disputed": self.disputes.values().any(|dispute| dispute.charge == id),
            "failure_code": charge.failure.map(|(code, _)| code), "failure_message": null,
            "livemode": false, "metadata": {}, "outcome": outcome,
            "paid": charge.seen.status != "failed", "payment_intent": charge.seen.intent,
            "payment_method": charge.method,
            "payment_method_details": { "card": card_json(&method), "type": "card" },
            "receipt_url": null, "refunded": charge.seen.refunded == charge.seen.amount,
            "status": charge.seen.status,
        })
    }

    /// A dispute as JSON ("The Dispute object").
    fn dispute(&self, id: &str, expand: bool) -> Value {
        let dispute = &self.disputes[id];
        let charge = &self.charges[&dispute.charge].seen;
        let intent = if expand {
            self.intent(&dispute.intent, false)
        } else {
            json!(dispute.intent)
        };
        json!({
            "id": id, "object": "dispute", "amount": charge.amount, "balance_transactions": [],
            "charge": dispute.charge, "created": dispute.created.seconds(),
            "currency": charge.currency, "enhanced_eligibility_types": [], "evidence": {},
            "evidence_details": {
                "due_by": 1_796_428_725, "enhanced_eligibility": {}, "has_evidence": false,
                "past_due": false, "submission_count": 0,
            },
            "is_charge_refundable": !dispute.takes_money(), "livemode": false, "metadata": {},
            "payment_intent": intent,
            "payment_method_details": {
                "card": {
                    "brand": "visa", "case_type": "chargeback", "network": "visa",
                    "network_reason_code": "10.4",
                },
                "type": "card",
            },
            "reason": "fraudulent", "status": dispute.status,
        })
    }

    /// A payment method as JSON, as far as errors show it.
    fn method(&self, id: &str) -> Value {
        let method = self.methods.get(id).cloned();
        let method = method.unwrap_or_else(|| PlayedMethod::of(id));
        json!({ "id": id, "object": "payment_method", "card": card_json(&method), "type": "card" })
    }
}

fn card_json(method: &PlayedMethod) -> Value {
    let mut card = json!({
        "brand": method.brand, "checks": { "cvc_check": "pass" }, "country": "US",
        "exp_month": 8, "exp_year": 2030, "fingerprint": "played", "funding": "credit",
        "last4": method.last4, "network": method.brand, "network_token": { "used": false },
        "three_d_secure": null, "wallet": null,
    });
    if let Some(iin) = method.iin {
        card["iin"] = iin.into();
    }
    card
}

impl Refund {
    /// As JSON ("The Refund object").
    fn json(&self) -> Value {
        let mut refund = json!({
            "id": self.id, "object": "refund", "amount": self.amount, "balance_transaction": null,
            "charge": self.charge, "created": 1_795_428_725, "currency": self.currency,
            "metadata": self.metadata, "payment_intent": self.intent, "reason": self.reason,
            "receipt_number": null, "source_transfer_reversal": null, "status": self.status,
            "transfer_reversal": null,
        });
        if let Some(reason) = self.failure_reason {
            refund["failure_reason"] = reason.into();
            refund["failure_balance_transaction"] = "txn_played".into();
        }
        refund
    }
}
