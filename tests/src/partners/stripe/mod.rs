//! A small Stripe with a ledger: customers, payment methods, payment intents, charges, refunds, and
//! idempotency keys, behind the wire format of API version `2026-07-29.dahlia`.
//!
//! The outcome of charging a payment method depends on its token ([`StripeMethod::from_token`]), as
//! with Stripe's own test tokens, unless a test plans otherwise. The messages are written here;
//! fields, codes, and statuses are Stripe's. The double sends no webhooks: tests send them.

mod errors;
mod ledger;
mod wire;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use domain::RefundName;
use payment::partners::STRIPE_VERSION;
use platform::runtime::Runtime;
use serde_json::{Value, json};

use super::front::{DoubleReply, DoubleRequest, Failing, Front, Mishap, PartnerDouble, Passage};
use super::{BookedCharge, BookedRefund};
use errors::{Answer, invalid_request, put_off};
use ledger::{Dispute, Intent, Kept, Ledger};
use wire::route;

/// How long a key is remembered ("Idempotent requests").
const KEY_LIFE: Duration = Duration::from_hours(24);

/// The secret key that the double accepts.
const API_KEY: &str = "sk_test_played";

/// Outcome of charging a payment method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is captured.
    Succeeds,
    /// The bank accepts the charge and reports the outcome later.
    Pends,
    /// The charge is declined.
    Declines {
        /// `error.code`
        code: &'static str,
        /// `error.decline_code`
        decline_code: Option<&'static str>,
        /// `error.advice_code`
        advice_code: Option<&'static str>,
    },
    /// The issuer requires the customer to authenticate.
    WantsAuthentication,
}

/// A payment method.
#[derive(Clone, Debug)]
pub struct StripeMethod {
    /// `card.brand`
    pub brand: &'static str,
    /// `card.last4`
    pub last4: &'static str,
    /// `card.iin`, if the account gets it.
    pub iin: Option<&'static str>,
    /// `billing_details.name`
    pub name: Option<&'static str>,
    /// The outcome of charging it.
    pub outcome: Outcome,
}

impl StripeMethod {
    /// The payment method for a token; `pm_pending` exists only in this double.
    #[must_use]
    pub fn from_token(token: &str) -> Self {
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

/// An error of Stripe's.
#[derive(Clone, Copy, Debug)]
pub struct StripeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`
    pub kind: &'static str,
    /// `error.code`
    pub code: Option<&'static str>,
    /// `error.param`
    pub param: Option<&'static str>,
}

impl StripeRefusal {
    fn error(self) -> Value {
        let mut error = json!({ "type": self.kind, "message": "Played." });
        for (name, value) in [("code", self.code), ("param", self.param)] {
            if let Some(value) = value {
                error[name] = value.into();
            }
        }
        error
    }
}

/// The calls that a client can make.
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
    /// The amount that was refunded or is pending.
    pub refunded: u64,
}

/// A call as received.
#[derive(Clone, Debug)]
pub struct StripeCall {
    /// The operation.
    pub operation: Operation,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The form, encoded.
    pub body: String,
}

/// The double. Clones share one ledger.
#[derive(Clone)]
pub struct StripeDouble {
    ledger: Arc<Mutex<Ledger>>,
    runtime: Runtime,
}

impl fmt::Debug for StripeDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StripeDouble")
    }
}

impl PartnerDouble for StripeDouble {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        self.answer_to(request, None)
    }

    /// The key keeps that answer.
    fn fail(&self, request: &DoubleRequest, when: Failing) -> DoubleReply {
        self.answer_to(request, Some(when))
    }
}

/// Records every call, and applies the mishaps planned with [`StripeDouble::plan`].
impl Passage for StripeDouble {
    fn fate<'a>(
        &'a self,
        request: &'a DoubleRequest,
    ) -> Pin<Box<dyn Future<Output = Option<Mishap>> + Send + 'a>> {
        Box::pin(std::future::ready(self.note(request)))
    }
}

impl StripeDouble {
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

    /// Attaches a payment method to a customer; creates both if they do not exist.
    pub fn attach(&self, customer: &str, method: &str) {
        self.ledger().attach(customer, method);
    }

    /// Detaches it, as when a customer removes a card. It can never be used again.
    pub fn detach(&self, method: &str) {
        let mut ledger = self.ledger();
        for methods in ledger.customers.values_mut() {
            methods.retain(|each| each != method);
        }
        ledger.detached.push(method.to_owned());
    }

    /// From now on each call of this operation is refused like this, and its key keeps that; `None`
    /// ends this.
    pub fn refuse(&self, operation: Operation, refusal: Option<StripeRefusal>) {
        let mut ledger = self.ledger();
        ledger.refusals.retain(|(each, _)| *each != operation);
        ledger
            .refusals
            .extend(refusal.map(|refusal| (operation, refusal)));
    }

    /// Changes the payment method that is attached under this token.
    pub fn change(&self, method: &str, change: impl FnOnce(&mut StripeMethod)) {
        change(
            self.ledger()
                .methods
                .get_mut(method)
                .expect("a test changes what it has attached"),
        );
    }

    /// The next unplanned call of this operation meets this mishap.
    pub fn plan(&self, operation: Operation, mishap: Mishap) {
        self.ledger().planned.push_back((operation, mishap));
    }

    /// The bank settles all pending charges with success.
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

    /// Every charge is disputed, again if it was before.
    pub fn dispute(&self) {
        self.dispute_with(None);
    }

    /// This amount of every charge is disputed.
    pub fn dispute_part(&self, amount: u64) {
        self.dispute_with(Some(amount));
    }

    fn dispute_with(&self, amount: Option<u64>) {
        let created = self.runtime.now();
        let mut ledger = self.ledger();
        for (charge, entry) in ledger.charges.clone() {
            let id = format!("du_3Played{:06}", ledger.disputes.len() + 1);
            let dispute = Dispute {
                amount,
                intent: entry.seen.intent,
                charge,
                status: "needs_response",
                is_resolved: false,
                created,
            };
            ledger.disputes.insert(id, dispute);
        }
    }

    /// The IDs of all disputes, in the order of creation.
    #[must_use]
    pub fn disputes(&self) -> Vec<String> {
        self.ledger().disputes.keys().cloned().collect()
    }

    /// From now on the dispute with this ID has this status.
    pub fn set_dispute(&self, id: &str, status: &'static str) {
        let mut ledger = self.ledger();
        let dispute = ledger.disputes.get_mut(id);
        dispute.expect("a test changes what it has opened").status = status;
    }

    /// A rule of the shop's account refunds the customer, so that the bank opens no dispute
    /// ("Dispute prevention", resolution rules).
    pub fn resolve_disputes(&self) {
        for dispute in self.ledger().disputes.values_mut() {
            (dispute.status, dispute.is_resolved) = ("prevented", true);
        }
    }

    /// From now on all disputes have this status.
    pub fn set_dispute_status(&self, status: &'static str) {
        for dispute in self.ledger().disputes.values_mut() {
            dispute.status = status;
        }
    }

    /// From now on refunds begin with this status. Completed and pending refunds also get it; a
    /// failed one stays failed.
    pub fn set_refund_status(&self, status: &'static str) {
        let mut ledger = self.ledger();
        ledger.refund_status = Some(status);
        let reason = (status == "failed").then_some("expired_or_canceled_card");
        ledger.move_refunds(status, reason);
    }

    /// The bank returns every completed refund, days later: each fails with this `failure_reason`,
    /// and its amount returns to the account. Later refunds succeed ("Refund and cancel payments",
    /// section "Failed refunds"; "The Refund object", `failure_reason`).
    pub fn fail_refunds(&self, reason: &'static str) {
        self.ledger().move_refunds("failed", Some(reason));
    }

    /// The amounts of all completed and pending refunds.
    #[must_use]
    pub fn given_back(&self) -> Vec<u64> {
        let ledger = self.ledger();
        let refunds = ledger.refunds.iter().filter(|refund| refund.holds());
        refunds.map(|refund| refund.amount).collect()
    }

    /// A person makes a partial refund in the dashboard.
    pub fn refund_by_hand(&self, amount: u64) {
        let mut ledger = self.ledger();
        let intents: Vec<String> = ledger.intents.keys().cloned().collect();
        for intent in intents {
            ledger.refund(&intent, Some(amount), None, json!({}));
        }
    }

    /// A person refunds the remaining amount of one intent, or this amount, in the dashboard.
    pub fn refund_one_by_hand(&self, intent: &str, amount: Option<u64>) {
        let mut ledger = self.ledger();
        let charges = ledger.charges.values();
        let mut taken = charges.filter(|charge| {
            charge.seen.intent == intent
                && charge.seen.status == "succeeded"
                && charge.seen.refunded + amount.unwrap_or(1) <= charge.seen.amount
        });
        if taken.next().is_some() {
            ledger.refund(intent, amount, None, json!({}));
        }
    }

    /// The bank returns every completed refund of one intent.
    pub fn fail_refunds_of(&self, intent: &str) {
        self.ledger()
            .move_refunds_of(Some(intent), "failed", Some("unknown"));
    }

    /// Sets the status of every intent, even to one that Stripe does not have.
    pub fn set_status(&self, status: &'static str) {
        for intent in self.ledger().intents.values_mut() {
            intent.status = status;
        }
    }

    /// All charges, in the order of creation.
    #[must_use]
    pub fn charges(&self) -> Vec<StripeCharge> {
        let ledger = self.ledger();
        ledger
            .charges
            .values()
            .map(|charge| charge.seen.clone())
            .collect()
    }

    /// The books, for a currency with two decimals.
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
                each: (ledger.refunds.iter())
                    .filter(|refund| refund.intent == *id)
                    .map(|refund| BookedRefund {
                        name: RefundName::parse(
                            refund.metadata["refund_id"].as_str().unwrap_or(&refund.id),
                        ),
                        amount: decimal(refund.amount),
                        holds: refund.holds(),
                        by_hand: refund.metadata.get("order_id").is_none(),
                    })
                    .collect(),
            }
        };
        ledger.intents.iter().map(booked).collect()
    }

    /// The customer pays the intent on a page of Stripe's with another card ("Accept a payment": a
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

    /// The customers leave the bank's pages of all waiting intents, with or without success.
    pub fn authenticate(&self, succeeds: bool) {
        let mut ledger = self.ledger();
        let intents: Vec<String> = ledger.intents.keys().cloned().collect();
        for intent in intents {
            ledger.authenticate(&intent, succeeds);
        }
    }

    /// The charged payment methods, in order.
    #[must_use]
    pub fn charged_methods(&self) -> Vec<String> {
        let ledger = self.ledger();
        let charges = ledger.charges.values();
        let taken = charges.filter(|charge| charge.seen.status == "succeeded");
        taken.map(|charge| charge.method.clone()).collect()
    }

    /// The captured amounts.
    #[must_use]
    pub fn captured(&self) -> Vec<u64> {
        let taken = |charge: &StripeCharge| charge.status == "succeeded";
        let charges = self.charges().into_iter();
        charges.filter(taken).map(|charge| charge.amount).collect()
    }

    /// The number of refunds, including failed ones.
    #[must_use]
    pub fn refunds(&self) -> usize {
        self.ledger().refunds.len()
    }

    /// The IDs and statuses of all intents.
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

    /// Handles a request without a network, like a well-behaved Stripe. Header names are in lower
    /// case.
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

    /// 429: nothing is done, and no key keeps that.
    #[must_use]
    pub fn rate_limited() -> Mishap {
        put_off(429, "rate_limit")
    }

    /// 429 because the object is in use: nothing is done, and no key keeps that.
    #[must_use]
    pub fn locked() -> Mishap {
        put_off(429, "lock_timeout")
    }

    /// 409: another request with this key is in progress.
    #[must_use]
    pub fn key_in_use() -> Mishap {
        put_off(409, "idempotency_key_in_use")
    }

    /// A front that applies the planned mishaps.
    #[must_use]
    pub fn front(&self) -> Front {
        Front::with_passage(Arc::new(self.clone()), Arc::new(self.clone()))
    }

    /// Records the call; returns the mishap planned for it.
    fn note(&self, request: &DoubleRequest) -> Option<Mishap> {
        let (operation, _) = route(&request.method, &request.path)?;
        let mut ledger = self.ledger();
        ledger.asked.push(StripeCall {
            operation,
            headers: request.headers.clone().into_iter().collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let mut planned = ledger.planned.iter();
        let next = planned.position(|(each, _)| *each == operation)?;
        ledger.planned.remove(next).map(|(_, mishap)| mishap)
    }

    fn answer_to(&self, request: &DoubleRequest, failing: Option<Failing>) -> DoubleReply {
        let headers: Vec<_> = request.headers.clone().into_iter().collect();
        let body = String::from_utf8_lossy(&request.body);
        let (status, body) = self.answer(&request.method, &request.path, &headers, &body, failing);
        DoubleReply::new(status, body)
    }

    fn answer(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(String, String)],
        body: &str,
        failing: Option<Failing>,
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
        let answer = match failing {
            Some(Failing::AtOnce) => failed(),
            Some(Failing::Afterwards) => {
                ledger.execute(method, path_and_query, body);
                failed()
            }
            None => ledger.execute(method, path_and_query, body),
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
