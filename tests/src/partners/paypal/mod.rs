//! PayPal's double on the wire: OAuth tokens, orders, captures, refunds, and disputes (PayPal's
//! specifications "Orders" 2.13, "Payments" 2.5, and "Disputes" 1.10), over books that count the
//! captured money.

mod books;
mod errors;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::RefundName;
use platform::outbound::Secret;
use platform::runtime::Runtime;
use serde_json::{Value, json};

use super::front::{DoubleReply, DoubleRequest, PartnerDouble};
use super::{BookedCharge, BookedRefund};
use books::{Account, Books, Dispute, Kind, Order, Refusal, Vaulted};
use errors::{check_order, not_found, refusal, wrong_media_type};

/// Outcome of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is captured.
    Captured,
    /// 422 with this issue; the order may still be captured.
    Refused(&'static str),
    /// 201 with a capture that was declined with this processor's code. The order is final.
    Declined(&'static str),
    /// 422 `PAYER_ACTION_REQUIRED`, and the order waits for its payer.
    PayerMustAct,
    /// 201 with a pending capture, which settles later.
    Pending {
        /// When it settles.
        after: Duration,
        /// The status then: `COMPLETED` or `DECLINED`.
        as_: &'static str,
    },
    /// 201 with a capture in this status, documented or not.
    Status(&'static str),
    /// Also 201 with a capture in this status, with this reason.
    For(&'static str, &'static str),
}

/// The calls that a client can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayPalCall {
    /// `POST /v2/checkout/orders`
    Open,
    /// `POST /v2/checkout/orders/{id}/capture`
    Capture,
    /// `GET /v2/checkout/orders/{id}`
    LookUp,
    /// `POST /v2/payments/captures/{id}/refund`
    Refund,
    /// `GET /v2/payments/captures/{id}`
    ReadCapture,
    /// `GET /v1/customer/disputes/{id}`
    Dispute,
}

/// Properties that may differ between PayPal's accounts.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// The lifetime of an order that is not captured.
    pub order_lives: Duration,
    /// How long a `PayPal-Request-Id` of an order is kept.
    pub ids_kept: Duration,
    /// Whether a repeat gets the same refusal, as it gets the same success.
    pub refusals_are_repeated: bool,
    /// Whether the account accepts only one payment for each invoice ID.
    pub invoices_are_unique: bool,
    /// The lifetime of an access token.
    pub token_lives: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            order_lives: Duration::from_hours(3),
            ids_kept: Duration::from_hours(6),
            refusals_are_repeated: true,
            invoices_are_unique: true,
            token_lives: Duration::from_hours(9),
        }
    }
}

/// The double. Its answers depend only on its books, its clock, and the request.
#[derive(Debug)]
pub struct PayPalDouble {
    books: Mutex<Books>,
    runtime: Runtime,
    authorization: Secret,
    other_authorization: Secret,
}

impl PayPalDouble {
    /// The known client.
    pub const CLIENT: &'static str = "played-client";
    /// That client's secret.
    pub const SECRET: &'static str = "played-secret";
    /// A client of another account, with the same secret.
    pub const OTHER_CLIENT: &'static str = "played-other-client";

    /// A double with empty books and this clock.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self {
            books: Mutex::default(),
            runtime,
            authorization: Secret::basic_authorization(Self::CLIENT, &Secret::new(Self::SECRET)),
            other_authorization: Secret::basic_authorization(
                Self::OTHER_CLIENT,
                &Secret::new(Self::SECRET),
            ),
        }
    }

    /// Replaces the client's secret. From now on the old one, and the tokens obtained with it, are
    /// refused.
    pub fn replace_secret(&self, secret: &str) {
        let secret = Secret::new(secret);
        let mut books = self.books();
        books.authorization = Some(Secret::basic_authorization(Self::CLIENT, &secret));
        books.tokens.clear();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the account's properties.
    pub fn set_habits(&self, habits: Habits) {
        self.books().habits = habits;
    }

    /// Sets the status of all further refunds.
    pub fn refunds_end_as(&self, status: &'static str) {
        self.books().refunds_end_as = Some(status);
    }

    /// From now on each such call is refused with this status and issue, which its request ID
    /// keeps; `None` ends this.
    pub fn refuse(&self, call: PayPalCall, refusal: Option<(u16, &'static str)>) {
        let mut books = self.books();
        books.refusals.retain(|(each, ..)| *each != call);
        let refusal = refusal.map(|(status, issue)| (call, status, issue));
        books.refusals.extend(refusal);
    }

    /// From now on refunds are refused with this issue; `None` ends this.
    pub fn refuse_refunds(&self, issue: Option<&'static str>) {
        self.books().refunds_are_refused = issue;
    }

    /// All completed and pending refunds fail, as a refund to a bank account may days later
    /// ("Payments", `refund_status`; webhook `PAYMENT.REFUND.FAILED`). Their captures can be
    /// refunded again.
    pub fn fail_refunds(&self) {
        let mut books = self.books();
        for order in books.orders.values_mut() {
            order.fail_refunds(usize::MAX);
        }
    }

    /// Somebody who may change the orders gives them this amount in US dollars (`PATCH
    /// /v2/checkout/orders/{id}`; "You can update the order amount until it is captured").
    pub fn change_amounts(&self, value: &str) {
        for order in self.books().orders.values_mut() {
            order.unit["amount"]["value"] = json!(value);
        }
    }

    /// The first refund of every capture fails in the same way.
    pub fn fail_first_refunds(&self) {
        for order in self.books().orders.values_mut() {
            order.fail_refunds(1);
        }
    }

    /// A person refunds the remaining amount of every capture in the dashboard.
    pub fn refund_by_hand(&self) {
        self.refund_with(&Value::Null);
    }

    /// A person refunds this amount in US dollars in the dashboard.
    pub fn refund_part_by_hand(&self, value: &str) {
        self.refund_with(&json!({"amount": {"currency_code": "USD", "value": value}}));
    }

    /// Does the same for one order: the remaining amount, or this amount in US dollars.
    pub fn refund_one_by_hand(&self, order: &str, value: Option<&str>) {
        let body = value.map_or(
            Value::Null,
            |value| json!({"amount": {"currency_code": "USD", "value": value}}),
        );
        let now = self.runtime.now();
        let mut books = self.books();
        let order = books.orders.get(order);
        let capture = order.and_then(|order| Some(order.capture.as_ref()?.id.clone()));
        if let Some(capture) = capture {
            books.refund(&capture, &body, now).ok();
        }
    }

    /// All refunds of one order fail.
    pub fn fail_refunds_of(&self, order: &str) {
        let mut books = self.books();
        let order = books.orders.get_mut(order);
        if let Some(order) = order {
            order.fail_refunds(usize::MAX);
        }
    }

    fn refund_with(&self, body: &Value) {
        let now = self.runtime.now();
        let mut books = self.books();
        let captures = books.orders.values();
        let captures: Vec<String> = captures
            .filter_map(|order| Some(order.capture.as_ref()?.id.clone()))
            .collect();
        for capture in captures {
            books.refund(&capture, body, now).ok();
        }
    }

    /// PayPal moves every capture to this status, as it does when it reverses or denies one.
    pub fn set_captures(&self, status: &'static str) {
        let mut books = self.books();
        for capture in books
            .orders
            .values_mut()
            .filter_map(|order| order.capture.as_mut())
        {
            capture.status = status;
        }
    }

    /// Vaults a card whose next captures have these outcomes; later ones succeed.
    pub fn vault_card(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::Card, outcomes);
    }

    /// Does the same for a PayPal account.
    pub fn vault_wallet(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::Wallet, outcomes);
    }

    /// Does the same for a billing agreement of the old kind.
    pub fn vault_agreement(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::BillingAgreement, outcomes);
    }

    fn vault(&self, token: &str, kind: Kind, outcomes: impl IntoIterator<Item = Outcome>) {
        let outcomes = outcomes.into_iter().collect();
        let vaulted = Vaulted { kind, outcomes };
        self.books().vault.insert(token.to_owned(), vaulted);
    }

    /// Expires every issued access token.
    pub fn expire_tokens(&self) {
        self.books().tokens.clear();
    }

    /// The number of stored access tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.books().tokens.len()
    }

    /// The payers act on all orders that wait for them.
    pub fn payers_act(&self) {
        for order in self.books().orders.values_mut() {
            if order.status == "PAYER_ACTION_REQUIRED" {
                order.status = "APPROVED";
            }
        }
    }

    /// The number of opened orders.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.books().orders.len()
    }

    /// All captured payments, such as `200.00 USD`, even if they were refunded.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        self.settle();
        let books = self.books();
        let orders = books.orders.values().filter(|order| {
            let status = order.capture.as_ref().map(|capture| capture.status);
            matches!(
                status,
                Some("COMPLETED" | "REFUNDED" | "PARTIALLY_REFUNDED")
            )
        });
        let amounts = orders.map(Order::amount);
        amounts
            .map(|(currency, value)| format!("{value} {currency}"))
            .collect()
    }

    /// The vaulted tokens of the captured payments, in no particular order.
    #[must_use]
    pub fn charged_tokens(&self) -> Vec<String> {
        self.settle();
        let books = self.books();
        let taken = books.orders.values().filter(|order| {
            let capture = order.capture.as_ref();
            let status = capture.map(|capture| capture.status);
            matches!(
                status,
                Some("COMPLETED" | "REFUNDED" | "PARTIALLY_REFUNDED")
            )
        });
        taken.filter_map(|order| order.token.clone()).collect()
    }

    /// The books.
    #[must_use]
    pub fn charges(&self) -> Vec<BookedCharge> {
        self.settle();
        let books = self.books();
        let booked = |order: &Order| {
            let status = order.capture.as_ref().map(|capture| capture.status);
            let is_taken = matches!(
                status,
                Some("COMPLETED" | "REFUNDED" | "PARTIALLY_REFUNDED")
            );
            let refunds = order.capture.as_ref().map_or(0, |capture| {
                let refunds = capture.refunds.iter();
                refunds.filter(|refund| refund.holds()).count()
            });
            let refunded = order.capture.iter().flat_map(|capture| &capture.refunds);
            let refunded = refunded.filter(|refund| refund.holds());
            let refunded =
                refunded.filter_map(|refund| refund.value.parse::<rust_decimal::Decimal>().ok());
            BookedCharge {
                reference: order.id.clone(),
                invoice: order.text("custom_id").to_owned(),
                amount: order.amount().1.parse().unwrap_or_default(),
                currency: order.amount().0.to_owned(),
                captures: u32::from(is_taken),
                method: order.token.clone().filter(|_| is_taken),
                refunds: u32::try_from(refunds).unwrap_or(u32::MAX),
                refunded: refunded.sum(),
                each: (order.capture.iter())
                    .flat_map(|capture| &capture.refunds)
                    .map(|refund| BookedRefund {
                        name: RefundName::parse(refund.invoice.as_ref().unwrap_or(&refund.id)),
                        amount: refund.value.parse().unwrap_or_default(),
                        holds: refund.holds(),
                        by_hand: refund.invoice.is_none() && refund.custom.is_none(),
                    })
                    .collect(),
            }
        };
        books.orders.values().map(booked).collect()
    }

    /// All refunds, such as `200.00 COMPLETED`.
    #[must_use]
    pub fn given_back(&self) -> Vec<String> {
        let books = self.books();
        let captures = books
            .orders
            .values()
            .filter_map(|order| order.capture.as_ref());
        let refunds = captures.flat_map(|capture| &capture.refunds);
        refunds
            .map(|refund| format!("{} {}", refund.value, refund.status))
            .collect()
    }

    /// Completes all pending refunds.
    pub fn settle_refunds(&self) {
        let mut books = self.books();
        let captures = books.orders.values_mut();
        let captures = captures.filter_map(|order| order.capture.as_mut());
        for refund in captures.flat_map(|capture| &mut capture.refunds) {
            if refund.status == "PENDING" {
                refund.status = "COMPLETED";
            }
        }
    }

    /// The customers dispute every capture, again if they did before.
    pub fn dispute(&self) {
        let now = self.runtime.now();
        let mut books = self.books();
        let captures = books.orders.values();
        let captures: Vec<String> = captures
            .filter_map(|order| Some(order.capture.as_ref()?.id.clone()))
            .collect();
        for capture in captures {
            let id = format!("PP-D-{}", books.disputes.len() + 1);
            let dispute = Dispute {
                capture,
                status: "OPEN",
                outcome: None,
                part: None,
                opened: now,
                updated: now,
            };
            books.disputes.insert(id, dispute);
        }
    }

    /// Sets the status of the dispute with this ID, and its outcome if it has one.
    pub fn set_dispute(&self, id: &str, status: &'static str, outcome: Option<&'static str>) {
        let now = self.runtime.now();
        let mut books = self.books();
        let dispute = books.disputes.get_mut(id);
        let dispute = dispute.expect("a test changes what it has opened");
        (dispute.status, dispute.outcome, dispute.updated) = (status, outcome, now);
    }

    /// The customer accepts the shop's offer of a part, for which PayPal decides the dispute.
    pub fn accept_offer(&self, id: &str, value: &str) {
        self.set_dispute(id, "RESOLVED", Some("RESOLVED_BUYER_FAVOUR"));
        let mut books = self.books();
        let dispute = books.disputes.get_mut(id);
        let dispute = dispute.expect("a test changes what it has opened");
        dispute.part = Some(value.to_owned());
    }

    /// The IDs of all disputes.
    #[must_use]
    pub fn disputes(&self) -> Vec<String> {
        self.books().disputes.keys().cloned().collect()
    }

    /// Sets the status of all disputes, and their outcome if they have one.
    pub fn set_disputes(&self, status: &'static str, outcome: Option<&'static str>) {
        for id in self.disputes() {
            self.set_dispute(&id, status, outcome);
        }
    }

    /// Settles everything whose time has come.
    fn settle(&self) {
        let now = self.runtime.now();
        for order in self.books().orders.values_mut() {
            if let Some(capture) = &mut order.capture
                && let Some((at, status)) = capture.settles
                && now >= at
            {
                capture.status = status;
                capture.reason = None;
                capture.settles = None;
            }
        }
    }

    /// The account of the request's access token, if the token is valid.
    fn account(&self, request: &DoubleRequest) -> Option<Account> {
        let header = request.header("authorization").unwrap_or_default();
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        let (until, account) = self.books().tokens.get(token).copied()?;
        (self.runtime.now() < until).then_some(account)
    }

    fn token(&self, request: &DoubleRequest) -> (u16, Value) {
        let sent = request.header("authorization");
        let replaced = self.books().authorization.clone();
        let authorization = replaced.as_ref().unwrap_or(&self.authorization);
        let account = if sent == Some(authorization.expose()) {
            Some(Account::First)
        } else if sent == Some(self.other_authorization.expose()) {
            Some(Account::Other)
        } else {
            None
        };
        let known = account.unwrap_or(Account::First);
        if account.is_none() || request.body != b"grant_type=client_credentials" {
            let body = json!({"error": "invalid_client",
                "error_description": "Client Authentication failed"});
            return (401, body);
        }
        let mut books = self.books();
        let token = format!("A21AA{}", books.next_id());
        let lives = books.habits.token_lives;
        let until = self.runtime.now().plus(lives);
        books.tokens.insert(token.clone(), (until, known));
        let body = json!({
            "scope": "https://uri.paypal.com/services/payments/payment",
            "access_token": token,
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": lives.as_secs(),
            "nonce": "2026-11-23T10:12:05Zplayed",
        });
        (200, body)
    }

    /// Handles a request that may change something: repeats the outcome of its request ID, or does
    /// `work`.
    fn once(
        &self,
        request: &DoubleRequest,
        kept: Option<Duration>,
        work: impl FnOnce(&mut Books, &Value) -> Result<String, Refusal>,
        show: impl Fn(&Books, &str) -> Value,
    ) -> (u16, Value) {
        if request.header("content-type") != Some("application/json") {
            return wrong_media_type();
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return refusal(400, "MALFORMED_REQUEST_JSON", None);
        };
        let id = request.header("paypal-request-id");
        if id.is_some_and(|id| !(1..=108).contains(&id.len())) {
            return refusal(400, "INVALID_STRING_LENGTH", None);
        }
        let now = self.runtime.now();
        let mut books = self.books();
        let kept = kept.unwrap_or(books.habits.ids_kept);
        let key = id.map(|id| (request.path.clone(), id.to_owned()));
        let known = key.as_ref().and_then(|key| books.ids.get(key));
        let known = known.filter(|(since, _)| now < since.plus(kept));
        match known {
            Some((_, Ok(made))) => return (200, show(&books, made)),
            Some((_, Err(refused))) if books.habits.refusals_are_repeated => {
                return refused.clone();
            }
            Some(_) | None => {}
        }
        let result = work(&mut books, &body);
        if let Some(key) = key {
            books.ids.insert(key, (now, result.clone()));
        }
        match result {
            Ok(made) if request.header("prefer") == Some("return=representation") => {
                (201, show(&books, &made))
            }
            Ok(made) => {
                let whole = show(&books, &made);
                let minimal = json!({"id": whole["id"], "status": whole["status"],
                    "links": whole["links"]});
                (201, minimal)
            }
            Err(refused) => refused,
        }
    }

    fn owns(&self, account: Option<Account>, id: &str) -> bool {
        let books = self.books();
        let order = books.orders.get(id);
        order.is_none_or(|order| Some(order.account) == account)
    }

    fn open(&self, request: &DoubleRequest, account: Account) -> (u16, Value) {
        let now = self.runtime.now();
        let work = |books: &mut Books, body: &Value| {
            books.refused(PayPalCall::Open)?;
            let unit = check_order(body)?;
            let id = books.next_id();
            let order = Order {
                id: id.clone(),
                account,
                status: "CREATED",
                unit,
                created: now,
                source: None,
                token: None,
                capture: None,
            };
            books.orders.insert(id.clone(), order);
            // With a source, the order is paid when it is created.
            if body["payment_source"].is_object() {
                books.capture(&id, body, now)?;
            }
            Ok(id)
        };
        self.once(request, None, work, Books::show_order)
    }

    fn capture(&self, request: &DoubleRequest, id: &str) -> (u16, Value) {
        let now = self.runtime.now();
        let work = |books: &mut Books, body: &Value| {
            books.refused(PayPalCall::Capture)?;
            books.capture(id, body, now)
        };
        self.once(request, None, work, Books::show_order)
    }

    fn refund(&self, request: &DoubleRequest, capture: &str) -> (u16, Value) {
        let now = self.runtime.now();
        let work = |books: &mut Books, body: &Value| {
            books.refused(PayPalCall::Refund)?;
            books.refund(capture, body, now)
        };
        let days = Duration::from_hours(45 * 24);
        self.once(request, Some(days), work, Books::show_refund)
    }

    fn unless_refused(
        &self,
        call: PayPalCall,
        answer: impl FnOnce() -> (u16, Value),
    ) -> (u16, Value) {
        let refused = self.books().refused(call);
        refused.err().unwrap_or_else(answer)
    }

    fn order(&self, id: &str) -> (u16, Value) {
        let now = self.runtime.now();
        let books = self.books();
        if books.alive(id, now) {
            (200, books.show_order(id))
        } else {
            not_found()
        }
    }
}

impl PartnerDouble for PayPalDouble {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        self.settle();
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let (status, body) = match (&*request.method, &*parts) {
            ("POST", ["v1", "oauth2", "token"]) => self.token(request),
            _ if self.account(request).is_none() => {
                let body = json!({"error": "invalid_token",
                    "error_description": "Token signature verification failed"});
                (401, body)
            }
            ("POST", ["v2", "checkout", "orders"]) => {
                self.open(request, self.account(request).unwrap_or(Account::First))
            }
            // An account can see only its own orders.
            (_, ["v2", "checkout", "orders", id, ..]) if !self.owns(self.account(request), id) => {
                not_found()
            }
            ("GET", ["v2", "checkout", "orders", id]) => {
                self.unless_refused(PayPalCall::LookUp, || self.order(id))
            }
            ("POST", ["v2", "checkout", "orders", id, "capture"]) => self.capture(request, id),
            ("POST", ["v2", "payments", "captures", id, "refund"]) => self.refund(request, id),
            ("GET", ["v2", "payments", "captures", id]) => {
                self.unless_refused(PayPalCall::ReadCapture, || self.books().show_capture(id))
            }
            ("GET", ["v1", "customer", "disputes", id]) => {
                self.unless_refused(PayPalCall::Dispute, || self.books().show_dispute(id))
            }
            _ => not_found(),
        };
        DoubleReply::new(status, body.to_string())
    }
}
