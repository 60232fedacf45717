//! PayPal as it is seen on the wire: OAuth tokens, orders, captures, refunds and disputes (its
//! specifications "Orders" 2.13, "Payments" 2.5 and "Disputes" 1.10), over books that count what was
//! taken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Timestamp, digest_hex};
use platform::outbound::Secret;
use platform::runtime::Runtime;
use serde_json::{Value, json};

use super::BookedCharge;
use super::front::{DoubleReply, DoubleRequest, PartnerDouble};

/// The currencies that PayPal has ("Currency codes").
const CURRENCIES: [&str; 25] = [
    "AUD", "BRL", "CAD", "CNY", "CZK", "DKK", "EUR", "HKD", "HUF", "ILS", "JPY", "MYR", "MXN",
    "TWD", "NZD", "NOK", "PHP", "PLN", "GBP", "SGD", "SEK", "CHF", "THB", "USD", "RUB",
];

/// Those of them that take no decimals.
const WHOLE_UNITS_ONLY: [&str; 3] = ["HUF", "JPY", "TWD"];

/// What becomes of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken.
    Captured,
    /// 422 with this issue; the order may still be captured.
    Refused(&'static str),
    /// 201 with a capture that was declined for this processor's code; the order is done with.
    Declined(&'static str),
    /// 422 `PAYER_ACTION_REQUIRED`, and the order waits for its payer.
    PayerMustAct,
    /// 201 with a capture that is pending, and becomes that later.
    Pending {
        /// When it settles.
        after: Duration,
        /// As what: `COMPLETED` or `DECLINED`.
        as_: &'static str,
    },
    /// 201 with a capture in this status, documented or not.
    Status(&'static str),
}

/// What PayPal, or the account, may do one way or another.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How long an order that nobody captured lives.
    pub order_lives: Duration,
    /// How long a `PayPal-Request-Id` is kept, for orders.
    pub ids_kept: Duration,
    /// Whether a refusal is repeated to a repeat, as a success is.
    pub refusals_are_repeated: bool,
    /// Whether the account takes one payment for an invoice id.
    pub invoices_are_unique: bool,
    /// How long an access token is good.
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

/// A status and a body that say no.
type Refusal = (u16, Value);

/// Whose orders they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    First,
    Other,
}

/// What a vaulted token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Card,
    Wallet,
    BillingAgreement,
}

#[derive(Debug)]
struct Vaulted {
    kind: Kind,
    outcomes: VecDeque<Outcome>,
}

#[derive(Clone, Debug)]
struct Refund {
    id: String,
    value: String,
    status: &'static str,
}

impl Refund {
    /// Whether the money has gone back or is on its way.
    fn holds(&self) -> bool {
        matches!(self.status, "COMPLETED" | "PENDING")
    }
}

#[derive(Clone, Debug)]
struct Capture {
    id: String,
    status: &'static str,
    response_code: Option<&'static str>,
    settles: Option<(Timestamp, &'static str)>,
    refunds: Vec<Refund>,
}

#[derive(Clone, Debug)]
struct Order {
    id: String,
    account: Account,
    status: &'static str,
    unit: Value,
    created: Timestamp,
    source: Option<Kind>,
    /// The vaulted token that paid it.
    token: Option<String>,
    capture: Option<Capture>,
}

impl Order {
    fn text(&self, field: &str) -> &str {
        self.unit[field].as_str().unwrap_or_default()
    }

    fn amount(&self) -> (&str, &str) {
        let amount = &self.unit["amount"];
        let text = |field: &str| amount[field].as_str().unwrap_or_default();
        (text("currency_code"), text("value"))
    }
}

#[derive(Debug, Default)]
struct Books {
    count: u64,
    /// Until when each is good, and for which account.
    tokens: BTreeMap<String, (Timestamp, Account)>,
    vault: BTreeMap<String, Vaulted>,
    orders: BTreeMap<String, Order>,
    /// What became of the path and id that were asked for, and when: the id of what was made, or
    /// the refusal.
    ids: BTreeMap<(String, String), (Timestamp, Result<String, Refusal>)>,
    habits: Habits,
    /// The client's, once its secret was replaced.
    authorization: Option<Secret>,
    refunds_end_as: Option<&'static str>,
    refunds_are_refused: Option<&'static str>,
    /// By id.
    disputes: BTreeMap<String, Dispute>,
}

/// A customer's dispute of a capture.
#[derive(Clone, Debug)]
struct Dispute {
    capture: String,
    status: &'static str,
    outcome: Option<&'static str>,
    opened: Timestamp,
    /// `update_time`
    updated: Timestamp,
}

/// The double. Everything it says follows from its books, its clock and the request.
#[derive(Debug)]
pub struct PayPalDouble {
    books: Mutex<Books>,
    runtime: Runtime,
    authorization: Secret,
    other_authorization: Secret,
}

impl PayPalDouble {
    /// The client that it knows.
    pub const CLIENT: &'static str = "played-client";
    /// That client's secret.
    pub const SECRET: &'static str = "played-secret";
    /// A client of another account; its secret is the same.
    pub const OTHER_CLIENT: &'static str = "played-other-client";

    /// Empty books, by this clock.
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

    /// Gives the client another secret. The old one is refused from now on, and so are the tokens that it
    /// got.
    pub fn replace_secret(&self, secret: &str) {
        let secret = Secret::new(secret);
        let mut books = self.books();
        books.authorization = Some(Secret::basic_authorization(Self::CLIENT, &secret));
        books.tokens.clear();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it does so.
    pub fn set_habits(&self, habits: Habits) {
        self.books().habits = habits;
    }

    /// From now on refunds have this status.
    pub fn refunds_end_as(&self, status: &'static str) {
        self.books().refunds_end_as = Some(status);
    }

    /// From now on refunds are refused with this issue, or no longer.
    pub fn refuse_refunds(&self, issue: Option<&'static str>) {
        self.books().refunds_are_refused = issue;
    }

    /// Every refund that was made or is pending fails, as one to a bank account may days later
    /// ("Payments", `refund_status`; webhook `PAYMENT.REFUND.FAILED`); its capture can be refunded
    /// again.
    pub fn fail_refunds(&self) {
        let mut books = self.books();
        let captures = books.orders.values_mut();
        for capture in captures.filter_map(|order| order.capture.as_mut()) {
            let mut failed = false;
            for refund in capture.refunds.iter_mut().filter(|refund| refund.holds()) {
                refund.status = "FAILED";
                failed = true;
            }
            if failed {
                capture.status = "COMPLETED";
            }
        }
    }

    /// The account's people give back by hand what is not.
    pub fn refund_by_hand(&self) {
        let mut books = self.books();
        let captures = books.orders.values();
        let captures: Vec<String> = captures
            .filter_map(|order| Some(order.capture.as_ref()?.id.clone()))
            .collect();
        for capture in captures {
            books.refund(&capture, &Value::Null).ok();
        }
    }

    /// Vaults a card whose captures end like this, and after that in success.
    pub fn vault_card(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::Card, outcomes);
    }

    /// The same for a PayPal account.
    pub fn vault_wallet(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::Wallet, outcomes);
    }

    /// The same for a billing agreement of the old kind.
    pub fn vault_agreement(&self, token: &str, outcomes: impl IntoIterator<Item = Outcome>) {
        self.vault(token, Kind::BillingAgreement, outcomes);
    }

    fn vault(&self, token: &str, kind: Kind, outcomes: impl IntoIterator<Item = Outcome>) {
        let outcomes = outcomes.into_iter().collect();
        let vaulted = Vaulted { kind, outcomes };
        self.books().vault.insert(token.to_owned(), vaulted);
    }

    /// Every access token that was given out is no good from now on.
    pub fn expire_tokens(&self) {
        self.books().tokens.clear();
    }

    /// How many access tokens were given out and are kept.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.books().tokens.len()
    }

    /// The payer of every order that waits for its payer acts.
    pub fn payers_act(&self) {
        for order in self.books().orders.values_mut() {
            if order.status == "PAYER_ACTION_REQUIRED" {
                order.status = "APPROVED";
            }
        }
    }

    /// How many orders were opened.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.books().orders.len()
    }

    /// Every payment that took money, as `200.00 USD`, whether it was given back or not.
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

    /// The vaulted tokens by which money was taken, in no particular order.
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

    /// Its books.
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
            }
        };
        books.orders.values().map(booked).collect()
    }

    /// Every refund, as `200.00 COMPLETED`.
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

    /// Refunds that were pending are completed.
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

    /// The customers dispute every capture, and once more if they did before.
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
                opened: now,
                updated: now,
            };
            books.disputes.insert(id, dispute);
        }
    }

    /// The dispute of this id stands like this from now on, with that outcome if it has one.
    pub fn set_dispute(&self, id: &str, status: &'static str, outcome: Option<&'static str>) {
        let now = self.runtime.now();
        let mut books = self.books();
        let dispute = books.disputes.get_mut(id);
        let dispute = dispute.expect("a test changes what it has opened");
        (dispute.status, dispute.outcome, dispute.updated) = (status, outcome, now);
    }

    /// The ids of all disputes.
    #[must_use]
    pub fn disputes(&self) -> Vec<String> {
        self.books().disputes.keys().cloned().collect()
    }

    /// All disputes stand like this now, with that outcome if they have one.
    pub fn set_disputes(&self, status: &'static str, outcome: Option<&'static str>) {
        for id in self.disputes() {
            self.set_dispute(&id, status, outcome);
        }
    }

    /// What has waited for its time settles.
    fn settle(&self) {
        let now = self.runtime.now();
        for order in self.books().orders.values_mut() {
            if let Some(capture) = &mut order.capture
                && let Some((at, status)) = capture.settles
                && now >= at
            {
                capture.status = status;
                capture.settles = None;
            }
        }
    }

    /// The account whose token the request carries, if the token is good.
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

    /// A request that may change something: what its id has done before, or `work`.
    fn once(
        &self,
        request: &DoubleRequest,
        kept: Option<Duration>,
        work: impl FnOnce(&mut Books, &Value) -> Result<String, Refusal>,
        show: impl Fn(&Books, &str) -> Value,
    ) -> (u16, Value) {
        if request.header("content-type") != Some("application/json") {
            return refusal(415, "UNSUPPORTED_MEDIA_TYPE", None);
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
            // With a source the order is paid as it is created.
            if body["payment_source"].is_object() {
                books.capture(&id, body, now)?;
            }
            Ok(id)
        };
        self.once(request, None, work, Books::show_order)
    }

    fn capture(&self, request: &DoubleRequest, id: &str) -> (u16, Value) {
        let now = self.runtime.now();
        let work = |books: &mut Books, body: &Value| books.capture(id, body, now);
        self.once(request, None, work, Books::show_order)
    }

    fn refund(&self, request: &DoubleRequest, capture: &str) -> (u16, Value) {
        let work = |books: &mut Books, body: &Value| books.refund(capture, body);
        let days = Duration::from_hours(45 * 24);
        self.once(request, Some(days), work, Books::show_refund)
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
            // An account sees its own orders only.
            (_, ["v2", "checkout", "orders", id, ..]) if !self.owns(self.account(request), id) => {
                not_found()
            }
            ("GET", ["v2", "checkout", "orders", id]) => self.order(id),
            ("POST", ["v2", "checkout", "orders", id, "capture"]) => self.capture(request, id),
            ("POST", ["v2", "payments", "captures", id, "refund"]) => self.refund(request, id),
            ("GET", ["v2", "payments", "captures", id]) => self.books().show_capture(id),
            ("GET", ["v1", "customer", "disputes", id]) => self.books().show_dispute(id),
            _ => not_found(),
        };
        DoubleReply::new(status, body.to_string())
    }
}

impl Books {
    /// Seventeen capitals and digits.
    fn next_id(&mut self) -> String {
        self.count += 1;
        let digest = digest_hex(&["paypal double", &self.count.to_string()]);
        digest[..17].to_ascii_uppercase()
    }

    /// Whether the order is there and was captured or has not expired.
    fn alive(&self, id: &str, now: Timestamp) -> bool {
        let order = self.orders.get(id);
        order.is_some_and(|order| {
            order.capture.is_some() || now < order.created.plus(self.habits.order_lives)
        })
    }

    fn capture(&mut self, id: &str, body: &Value, now: Timestamp) -> Result<String, Refusal> {
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
        let Some((kind, token)) = source else {
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
            Outcome::Refused(issue) => return refuse(issue),
            Outcome::Declined(code) => ("DECLINED", Some(code), None),
            Outcome::PayerMustAct => {
                if let Some(order) = self.orders.get_mut(id) {
                    order.status = "PAYER_ACTION_REQUIRED";
                }
                return refuse("PAYER_ACTION_REQUIRED");
            }
            Outcome::Pending { after, as_ } => ("PENDING", None, Some((now.plus(after), as_))),
            Outcome::Status(status) => (status, None, None),
        };
        let capture = Capture {
            id: self.next_id(),
            status,
            response_code: response_code.filter(|_| kind == Kind::Card),
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

    fn refund(&mut self, capture_id: &str, body: &Value) -> Result<String, Refusal> {
        let refuse = |issue| Err(refusal(422, issue, None));
        let id = self.next_id();
        let status = self.refunds_end_as.unwrap_or("COMPLETED");
        let refused = self.refunds_are_refused;
        let order = self.orders.values_mut().find(|order| {
            let capture = order.capture.as_ref();
            capture.is_some_and(|capture| capture.id == capture_id)
        });
        let Some(order) = order else {
            return Err(not_found());
        };
        let (_, whole) = order.amount();
        let whole = whole.to_owned();
        let Some(capture) = &mut order.capture else {
            return Err(not_found());
        };
        match capture.status {
            "COMPLETED" => {}
            "REFUNDED" => return refuse("CAPTURE_FULLY_REFUNDED"),
            "PENDING" => return refuse("PENDING_CAPTURE"),
            _ => return refuse("REFUND_NOT_ALLOWED"),
        }
        if body.get("amount").is_some() {
            return refuse("PARTIAL_REFUND_NOT_ALLOWED");
        }
        if let Some(issue) = refused {
            return refuse(issue);
        }
        if matches!(status, "COMPLETED" | "PENDING") {
            capture.status = "REFUNDED";
        }
        capture.refunds.push(Refund {
            id: id.clone(),
            value: whole,
            status,
        });
        Ok(id)
    }

    fn show_order(&self, id: &str) -> Value {
        let order = &self.orders[id];
        let base = "https://api-m.sandbox.paypal.com/v2";
        let link = |rel: &str, method: &str, path: &str| {
            json!({"href": format!("{base}/checkout/orders/{id}{path}"), "rel": rel,
                "method": method})
        };
        let mut unit = order.unit.clone();
        if unit["reference_id"].is_null() {
            unit["reference_id"] = "default".into();
        }
        if let Some(capture) = &order.capture {
            unit["payments"] = show_payments(order, capture);
        }
        let mut body = json!({
            "id": order.id,
            "intent": "CAPTURE",
            "status": order.status,
            "purchase_units": [unit],
            "create_time": time(order.created),
            "links": [link("self", "GET", "")],
        });
        if order.capture.is_none() {
            body["links"] = json!([
                link("self", "GET", ""),
                {"href": format!("https://www.sandbox.paypal.com/checkoutnow?token={id}"),
                    "rel": "approve", "method": "GET"},
                link("update", "PATCH", ""),
                link("capture", "POST", "/capture"),
            ]);
        }
        match order.source {
            Some(Kind::Card) => {
                body["payment_source"] = json!({"card": {"name": "Bob Norman",
                    "last_digits": "9855", "expiry": "2040-12", "brand": "VISA",
                    "type": "CREDIT"}});
            }
            Some(Kind::Wallet | Kind::BillingAgreement) => {
                body["payment_source"] = json!({"paypal": {
                    "email_address": "payer@example.com", "account_id": "QYR5Z8XDVJNXQ",
                    "name": {"given_name": "Bob", "surname": "Norman"}}});
            }
            None => {}
        }
        body
    }

    fn show_capture(&self, id: &str) -> (u16, Value) {
        let found = self.orders.values().find_map(|order| {
            let capture = order.capture.as_ref()?;
            (capture.id == id).then_some((order, capture))
        });
        let Some((order, capture)) = found else {
            return not_found();
        };
        let mut shown = show_payments(order, capture)["captures"][0].clone();
        shown["supplementary_data"] = json!({"related_ids": {"order_id": order.id}});
        (200, shown)
    }

    fn show_dispute(&self, id: &str) -> (u16, Value) {
        let Some(dispute) = self.disputes.get(id) else {
            return not_found();
        };
        let order = self.orders.values().find(|order| {
            let capture = order.capture.as_ref();
            capture.is_some_and(|capture| capture.id == dispute.capture)
        });
        let order = order.expect("a dispute is about a capture in the books");
        let mut shown = json!({
            "dispute_id": id, "create_time": time(dispute.opened),
            "update_time": time(dispute.updated),
            "disputed_transactions": [{
                "seller_transaction_id": dispute.capture, "create_time": time(order.created),
                "transaction_status": "COMPLETED", "gross_amount": order.unit["amount"],
                "buyer": {"name": "Bob Norman"}, "seller": {"merchant_id": "QYR5Z8XDVJNXQ"},
            }],
            "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED", "status": dispute.status,
            "dispute_amount": order.unit["amount"], "dispute_life_cycle_stage": "CHARGEBACK",
            "dispute_channel": "INTERNAL", "messages": [],
            "links": [{
                "href": format!("https://api-m.sandbox.paypal.com/v1/customer/disputes/{id}"),
                "rel": "self", "method": "GET"
            }],
        });
        if let Some(code) = dispute.outcome {
            shown["dispute_outcome"] =
                json!({"outcome_code": code, "amount_refunded": order.unit["amount"]});
        }
        (200, shown)
    }

    fn show_refund(&self, id: &str) -> Value {
        let captures = self
            .orders
            .values()
            .filter_map(|order| order.capture.as_ref());
        let mut refunds = captures.flat_map(|capture| &capture.refunds);
        refunds
            .find(|refund| refund.id == id)
            .map_or(Value::Null, |refund| {
                json!({"id": refund.id, "status": refund.status, "links": [{
                    "href": format!(
                        "https://api-m.sandbox.paypal.com/v2/payments/refunds/{id}"),
                    "rel": "self", "method": "GET"}]})
            })
    }
}

fn show_payments(order: &Order, capture: &Capture) -> Value {
    let base = "https://api-m.sandbox.paypal.com/v2";
    let href = format!("{base}/payments/captures/{}", capture.id);
    let mut shown = json!({
        "id": capture.id,
        "status": capture.status,
        "amount": order.unit["amount"],
        "final_capture": true,
        "seller_protection": {"status": "NOT_ELIGIBLE"},
        "links": [
            {"href": href, "rel": "self", "method": "GET"},
            {"href": format!("{href}/refund"), "rel": "refund", "method": "POST"},
            {"href": format!("{base}/checkout/orders/{}", order.id), "rel": "up", "method": "GET"},
        ],
        "create_time": time(order.created),
        "update_time": time(order.created),
    });
    for field in ["custom_id", "invoice_id"] {
        if !order.unit[field].is_null() {
            shown[field] = order.unit[field].clone();
        }
    }
    if let Some(code) = capture.response_code {
        shown["processor_response"] =
            json!({"avs_code": "A", "cvv_code": "M", "response_code": code});
    }
    if capture.status == "PENDING" {
        shown["status_details"] = json!({"reason": "PENDING_REVIEW"});
    }
    let mut payments = json!({"captures": [shown]});
    if !capture.refunds.is_empty() {
        let refunds = capture.refunds.iter();
        payments["refunds"] = refunds
            .map(|refund| json!({"id": refund.id, "status": refund.status}))
            .collect();
    }
    payments
}

fn time(at: Timestamp) -> String {
    at.to_string().replace("+00:00", "Z")
}

/// A refusal with one issue, as the specification's `error` has it.
fn refusal(status: u16, issue: &str, field: Option<&str>) -> Refusal {
    let (name, message) = match status {
        400 => (
            "INVALID_REQUEST",
            "Request is not well-formed, syntactically incorrect, or violates schema.",
        ),
        403 => (
            "NOT_AUTHORIZED",
            "Authorization failed due to insufficient permissions.",
        ),
        404 => (
            "RESOURCE_NOT_FOUND",
            "The specified resource does not exist.",
        ),
        415 => (
            "UNSUPPORTED_MEDIA_TYPE",
            "The server does not support the request payload's media type.",
        ),
        _ => (
            "UNPROCESSABLE_ENTITY",
            "The requested action could not be performed, semantically incorrect, or failed \
             business validation.",
        ),
    };
    let mut detail = json!({"issue": issue, "description": "Played."});
    if let Some(field) = field {
        detail["field"] = field.into();
        detail["location"] = "body".into();
    }
    let body = json!({
        "name": name,
        "details": [detail],
        "message": message,
        "debug_id": "f7707100bc347",
        "links": [{
            "href": format!(
                "https://developer.paypal.com/api/rest/reference/orders/v2/errors/#{issue}"),
            "rel": "information_link",
            "method": "GET",
        }],
    });
    (status, body)
}

fn not_found() -> Refusal {
    refusal(404, "INVALID_RESOURCE_ID", None)
}

/// The order's one unit, if the request is one that PayPal takes.
fn check_order(body: &Value) -> Result<Value, Refusal> {
    let missing = |field| Err(refusal(400, "MISSING_REQUIRED_PARAMETER", Some(field)));
    match body["intent"].as_str() {
        Some("CAPTURE") => {}
        Some(_) => return Err(refusal(422, "UNSUPPORTED_INTENT", Some("/intent"))),
        None => return missing("/intent"),
    }
    let Some([unit]) = body["purchase_units"].as_array().map(Vec::as_slice) else {
        return missing("/purchase_units");
    };
    for (field, most) in [
        ("reference_id", 256),
        ("custom_id", 127),
        ("invoice_id", 127),
    ] {
        let length = unit[field].as_str().map_or(1, str::len);
        if !(1..=most).contains(&length) {
            return Err(refusal(400, "INVALID_STRING_LENGTH", Some(field)));
        }
    }
    let amount = |field: &str| unit["amount"][field].as_str();
    let (Some(currency), Some(value)) = (amount("currency_code"), amount("value")) else {
        return missing("/purchase_units/@reference_id=='default'/amount");
    };
    let refuse = |issue| Err(refusal(422, issue, Some("/purchase_units/amount/value")));
    if !CURRENCIES.contains(&currency) {
        return refuse("INVALID_CURRENCY_CODE");
    }
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return Err(refusal(400, "INVALID_PARAMETER_SYNTAX", None));
    }
    let takes_none = WHOLE_UNITS_ONLY.contains(&currency);
    if decimals.len() > 2 || (takes_none && value.contains('.')) {
        return refuse("DECIMAL_PRECISION");
    }
    if whole.len() > 15 {
        return refuse("MAX_VALUE_EXCEEDED");
    }
    if value.bytes().all(|b| b == b'0' || b == b'.') {
        return refuse("CANNOT_BE_ZERO_OR_NEGATIVE");
    }
    Ok(unit.clone())
}

/// What a payment source names; `None` where there is none.
fn check_source(source: &Value) -> Result<Option<(Kind, String)>, Refusal> {
    let Some(source) = source.as_object() else {
        return Ok(None);
    };
    let wrong = |field: &str| {
        let field = format!("/payment_source/{field}");
        Err(refusal(400, "INVALID_PARAMETER_VALUE", Some(&field)))
    };
    let mut kinds = source.iter();
    let (Some((kind, source)), None) = (kinds.next(), kinds.next()) else {
        return wrong("");
    };
    let credential = &source["stored_credential"];
    let said = |field: &str| credential[field].as_str();
    let by_merchant = said("payment_initiator") == Some("MERCHANT");
    let again = said("usage") == Some("SUBSEQUENT");
    let (kind, token) = match kind.as_str() {
        "card" => {
            let types = ["RECURRING", "UNSCHEDULED"];
            let fits = said("payment_type").is_some_and(|word| types.contains(&word));
            if !(by_merchant && again && fits) {
                return wrong("card/stored_credential");
            }
            (Kind::Card, &source["vault_id"])
        }
        "paypal" => {
            if !(by_merchant && again && credential["payment_type"].is_null()) {
                return wrong("paypal/stored_credential");
            }
            (Kind::Wallet, &source["vault_id"])
        }
        "token" if source["type"] == "BILLING_AGREEMENT" => (Kind::BillingAgreement, &source["id"]),
        _ => return wrong("token/type"),
    };
    match token.as_str() {
        Some(token) => Ok(Some((kind, token.to_owned()))),
        None => wrong("vault_id"),
    }
}
