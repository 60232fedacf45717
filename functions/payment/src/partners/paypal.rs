//! PayPal, by its Orders API, version 2.
//!
//! | step | call |
//! | --- | --- |
//! | open | `POST /v2/checkout/orders` **without** a payment source, so that nothing is charged |
//! | confirm | `POST /v2/checkout/orders/{id}/capture` with the customer's vaulted source |
//! | look up | `GET /v2/checkout/orders/{id}`; the capture's status counts, not the order's |
//! | refund | `POST /v2/payments/captures/{id}/refund` |
//! | refund's status | `GET /v2/checkout/orders/{id}` |
//! | dispute | `GET /v1/customer/disputes/{id}`, then `GET /v2/payments/captures/{id}` of what is disputed |
//!
//! # One charge
//!
//! An order with intent `CAPTURE` has one capture: PayPal answers the second one with
//! `ORDER_ALREADY_CAPTURED`, whoever asks, with whatever key and however late. So confirming one
//! reference takes the money once, and nothing rests on how long PayPal keeps a `PayPal-Request-Id`
//! (6 hours for orders).
//!
//! PayPal cannot cancel an order that waits for its capture, and a capture that was refused leaves
//! its order capturable. A worker that was frozen before its capture and wakes after the decline
//! could therefore still take the money, and a second order for the next attempt would take it twice.
//! So `cancel` says where the order stands, and as long as it may be captured the next attempt goes
//! on with **the same order**. Another one is opened only if that one is provably dead: it is voided,
//! it holds a declined capture for good, or it has expired. However many attempts and workers meet,
//! they share one order, and that order is captured once.
//!
//! An order that nobody captured expires three hours after it was created; PayPal can set more for an
//! account, never less. From then on it reads as 404. A 404 that comes earlier proves nothing (a replica
//! that lags behind) and counts as no answer, and so does one that another account gets. While a capture
//! is unanswered, a 404 to a look-up proves nothing either: the capture itself is asked for once more,
//! which is safe because an order has one capture, and only the answer to that says that the order is
//! gone.
//!
//! # A decline is final for its attempt
//!
//! A repeat with the same `PayPal-Request-Id` gets the outcome of the first time, for 6 hours; the
//! order lives for 3. So whoever repeats a declined attempt gets the decline again, or a dead order.
//! An account whose orders live longer than 6 hours would lose that: a worker that is frozen for so
//! long could capture what counts as declined. It would still be the only capture, and the next
//! attempt would find it.
//!
//! # Retries
//!
//! None but after an expired token: a call that was refused for its token did nothing. Everything
//! else is asked again by the next claim, which looks the order up first.

#[cfg(test)]
mod tests;
mod verdict;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{
    Agreement, Currency, Money, PartnerAccount, PartnerName, PartnerToken, Timestamp, digest_hex,
};
use messages::PartnerReference;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, HttpsAnswer, HttpsCall, HttpsError, Secret};
use platform::runtime::Runtime;
use platform::secret::{self, Keys, PartnerSecret};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartnerError, RefundStatus,
};
use verdict::{
    CaptureStatus, Issue, OrderStatus, RefundIssue, RefundWord, may_retry, processor_reason,
};
use wire::{DisputedCapture, Problem, WireCapture, WireDispute, WireOrder, WireRefund, WireToken};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(8);

/// How long an order that nobody captured lives, at least ("Orders", `links`).
const ORDER_LIVES: Duration = Duration::from_hours(3);

/// How long before its end a token is no longer used.
const TOKEN_MARGIN: Duration = Duration::from_mins(5);

/// Currencies that PayPal takes no decimals of, though their minor unit has two
/// ("Currency codes").
const WHOLE_UNITS_ONLY: [&str; 2] = ["HUF", "TWD"];

/// PayPal, for one account.
#[derive(Clone, Debug)]
pub struct PayPal {
    https: Https,
    keys: Keys<Credentials>,
    runtime: Runtime,
    token: Arc<Mutex<Option<Token>>>,
}

/// What a REST app is known by at PayPal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Credentials {
    client_id: String,
    secret: Secret,
}

impl Credentials {
    fn pick(secret: &PartnerSecret) -> Result<Self, ConfigError> {
        Ok(Self {
            client_id: secret.field("clientId", &[])?.expose().to_owned(),
            secret: secret.field("clientSecret", &[])?,
        })
    }

    fn account(&self) -> PartnerAccount {
        PartnerAccount::new("paypal", &self.client_id)
    }
}

#[derive(Clone, Debug)]
struct Token {
    /// Whose it is.
    of: PartnerAccount,
    /// The whole header.
    authorization: Secret,
    good_until: Timestamp,
}

/// What PayPal said that cannot be used. Names and codes only.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("PayPal answered {status}, {issue}")]
    Refused { status: u16, issue: String },
    #[error("PayPal answered {0}")]
    Status(u16),
    #[error("PayPal's {field} is unknown: {word}")]
    Unknown { field: &'static str, word: String },
    #[error("PayPal's answer is not the JSON that it documents")]
    Illegible,
    #[error("PayPal refuses the client's credentials")]
    Credentials,
    #[error("the shop's account was replaced during the call")]
    OtherAccount,
    #[error("PayPal does not find the order before it can have expired")]
    NotFound,
    #[error("PayPal's capture and order contradict each other")]
    Contradiction,
    #[error("the stored reference is no order of PayPal's")]
    Reference,
}

impl Trouble {
    fn unknown(field: &'static str, word: &str) -> Self {
        Self::Unknown {
            field,
            word: legible(word),
        }
    }

    fn unanswered(self) -> PartnerError {
        PartnerError::Unanswered(self.into())
    }

    fn unavailable(self) -> PartnerError {
        PartnerError::Unavailable(self.into())
    }

    fn not_configured(self) -> PartnerError {
        PartnerError::NotConfigured(self.into())
    }
}

/// A machine's word, for the log; nothing that a person wrote.
fn legible(word: &str) -> String {
    let fits = (1..=80).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if fits { word } else { "illegible" }.to_owned()
}

/// A call but for its token.
struct Call {
    method: &'static str,
    path: String,
    /// `PayPal-Request-Id`: 1 to 108 characters.
    request_id: Option<String>,
    body: Vec<u8>,
}

impl Call {
    fn get(path: String) -> Self {
        Self {
            method: "GET",
            path,
            request_id: None,
            body: Vec::new(),
        }
    }

    fn post(path: String, request_id: String, body: &Value) -> Self {
        Self {
            method: "POST",
            path,
            request_id: Some(request_id),
            body: body.to_string().into_bytes(),
        }
    }

    /// What a call without a usable answer means: a question changes nothing.
    fn lost(&self, source: impl std::error::Error + Send + Sync + 'static) -> PartnerError {
        if self.method == "GET" {
            PartnerError::Unavailable(source.into())
        } else {
            PartnerError::Unanswered(source.into())
        }
    }
}

/// What PayPal says to a call.
enum Said<T> {
    Done(T),
    /// It was not carried out.
    Refused {
        status: u16,
        issue: String,
        about_the_source: bool,
    },
}

/// What the customer's token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Card,
    Wallet,
    BillingAgreement,
}

impl Source {
    /// What the token can name. Tokens of cards and wallets look alike: PayPal tells, and has then
    /// done nothing.
    fn candidates(token: &PartnerToken) -> &'static [Self] {
        if token.as_str().starts_with("B-") {
            &[Self::BillingAgreement]
        } else {
            &[Self::Card, Self::Wallet]
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Wallet => "wallet",
            Self::BillingAgreement => "agreement",
        }
    }

    /// The payment source of a charge that the shop starts and the customer has agreed to.
    fn body(self, token: &PartnerToken) -> Value {
        let token = token.as_str();
        match self {
            Self::Card => json!({"card": {
                "vault_id": token,
                "stored_credential": {
                    "payment_initiator": "MERCHANT",
                    "payment_type": "UNSCHEDULED",
                    "usage": "SUBSEQUENT",
                },
            }}),
            Self::Wallet => json!({"paypal": {
                "vault_id": token,
                "stored_credential": {
                    "payment_initiator": "MERCHANT",
                    "usage": "SUBSEQUENT",
                    "usage_pattern": "IMMEDIATE",
                },
            }}),
            Self::BillingAgreement => {
                json!({"token": {"id": token, "type": "BILLING_AGREEMENT"}})
            }
        }
    }
}

/// What PayPal says to a refund that was asked for.
enum Refunding {
    /// There is one, and it stands like this.
    Made(RefundStatus),
    /// There is none, for this issue.
    Refused(String),
}

impl Refunding {
    fn into_status(self) -> RefundStatus {
        match self {
            Self::Made(status) => status,
            Self::Refused(issue) => refund_failed(&issue.to_ascii_lowercase()),
        }
    }
}

/// How a capture ended.
enum Captured {
    Status(ChargeStatus),
    /// The token names another kind of source; nothing was done.
    OtherSource,
}

/// The live API.
const ADDRESS: &str = "https://api-m.paypal.com";

impl PayPal {
    /// For the account that `client_id` and `secret` belong to; `https` names live or sandbox.
    #[must_use]
    pub fn new(https: Https, client_id: String, secret: Secret, runtime: Runtime) -> Self {
        Self::with_keys(
            https,
            Keys::fixed(Credentials { client_id, secret }),
            runtime,
        )
    }

    /// With `clientId` and `clientSecret` of now, of the secret in `PARTNER_SECRET` or of the one that
    /// `PARTNER_SECRET_ARN` names, at `PAYPAL_URL`, PayPal's own live address without it.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "PAYPAL_URL", ADDRESS)?;
        let pick = Credentials::pick;
        let keys = Keys::of(environment, aws, secret::PARTNER, pick, runtime.clone()).await?;
        Ok(Self::with_keys(Https::new(address), keys, runtime))
    }

    fn with_keys(https: Https, keys: Keys<Credentials>, runtime: Runtime) -> Self {
        Self {
            https,
            keys,
            runtime,
            token: Arc::default(),
        }
    }

    fn cached(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is good for a while. Two workers may fetch one each: waiting for one another
    /// would let a frozen one stop them all. Credentials that PayPal refuses are tried once more with
    /// those that have replaced them.
    async fn token(&self) -> Result<Token, PartnerError> {
        let now = self.runtime.now();
        let keys = self.keys.now().await?;
        let cached = self.cached().clone();
        let is_good = |token: &Token| now < token.good_until && token.of == keys.account();
        if let Some(token) = cached.filter(is_good) {
            return Ok(token);
        }
        match self.new_token(&keys).await {
            Err(error @ PartnerError::NotConfigured(_)) => {
                let newer = self.keys.newer_than(&keys).await.ok_or(error)?;
                self.new_token(&newer).await
            }
            token => token,
        }
    }

    async fn new_token(&self, keys: &Credentials) -> Result<Token, PartnerError> {
        let now = self.runtime.now();
        let call = HttpsCall {
            method: "POST",
            path: "/v1/oauth2/token".to_owned(),
            headers: vec![
                (
                    "authorization",
                    Secret::basic_authorization(&keys.client_id, &keys.secret),
                ),
                (
                    "content-type",
                    Secret::new("application/x-www-form-urlencoded"),
                ),
                ("accept", Secret::new("application/json")),
            ],
            body: b"grant_type=client_credentials".to_vec(),
        };
        // Without a token nothing can have happened.
        let answer = self.https.call(call, LIMIT).await;
        let answer = answer.map_err(|error| PartnerError::Unavailable(error.into()))?;
        match answer.status {
            200 => {}
            400 | 401 => {
                tracing::error!(status = answer.status, "paypal refuses our credentials");
                return Err(Trouble::Credentials.not_configured());
            }
            status => return Err(Trouble::Status(status).unavailable()),
        }
        let token: WireToken =
            read(&answer.body).ok_or_else(|| Trouble::Illegible.unavailable())?;
        let lives = Duration::from_secs(token.expires_in);
        let token = Token {
            of: keys.account(),
            authorization: Secret::new(format!("Bearer {}", token.access_token)),
            good_until: now.plus(lives.saturating_sub(TOKEN_MARGIN)),
        };
        *self.cached() = Some(token.clone());
        Ok(token)
    }

    /// Makes a call, and once more with a new token if the first was not good any more.
    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<Said<T>, PartnerError> {
        let mut token = self.token().await?;
        let mut answer = self.call_with(&call, token.authorization.clone()).await?;
        if answer.status == 401 {
            let is_ours = |other: &Token| other.authorization == token.authorization;
            self.cached().take_if(|other| is_ours(other));
            token = self.token().await?;
            answer = self.call_with(&call, token.authorization.clone()).await?;
        }
        if token.of != self.account() {
            // What this answer means depends on whose it is.
            return Err(call.lost(Trouble::OtherAccount));
        }
        match answer.status {
            200 | 201 => read(&answer.body)
                .map(Said::Done)
                .ok_or_else(|| call.lost(Trouble::Illegible)),
            401 => {
                tracing::error!("paypal refuses a new token");
                Err(Trouble::Credentials.not_configured())
            }
            status @ (400 | 403 | 404 | 409 | 415 | 422) => {
                let problem: Option<Problem> = read(&answer.body);
                let issue = problem.as_ref().and_then(Problem::issue);
                let Some(issue) = issue else {
                    return Err(call.lost(Trouble::Status(status)));
                };
                Ok(Said::Refused {
                    status,
                    issue: legible(issue),
                    about_the_source: problem.as_ref().is_some_and(Problem::is_about_the_source),
                })
            }
            429 => Err(Trouble::Status(429).unavailable()),
            status => Err(call.lost(Trouble::Status(status))),
        }
    }

    async fn call_with(
        &self,
        call: &Call,
        authorization: Secret,
    ) -> Result<HttpsAnswer, PartnerError> {
        let mut headers = vec![
            ("authorization", authorization),
            ("accept", Secret::new("application/json")),
        ];
        if let Some(id) = &call.request_id {
            headers.push(("content-type", Secret::new("application/json")));
            headers.push(("prefer", Secret::new("return=representation")));
            headers.push(("paypal-request-id", Secret::new(id.as_str())));
        }
        let https = HttpsCall {
            method: call.method,
            path: call.path.clone(),
            headers,
            body: call.body.clone(),
        };
        let answer = self.https.call(https, LIMIT).await;
        answer.map_err(|error: HttpsError| {
            if error.is_harmless() {
                PartnerError::Unavailable(error.into())
            } else {
                call.lost(error)
            }
        })
    }

    /// The order as it stands; `None` once it has expired.
    async fn order(&self, charge: &OpenCharge) -> Result<Option<WireOrder>, PartnerError> {
        let id = path_id(&charge.reference).ok_or(Trouble::Reference);
        let id = id.map_err(Trouble::unavailable)?;
        let call = Call::get(format!("/v2/checkout/orders/{id}"));
        match self.call(call).await? {
            Said::Done(order) => Ok(Some(order)),
            Said::Refused { status, issue, .. } => match Issue::of_charge(&issue) {
                Some(Issue::Gone) if self.may_have_expired(charge) => Ok(None),
                Some(Issue::Gone) => Err(Trouble::NotFound.unavailable()),
                _ => Err(Trouble::Refused { status, issue }.unavailable()),
            },
        }
    }

    /// What is there, asked for by a name from outside; `None` where nothing is.
    async fn find<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, PartnerError> {
        match self.call(Call::get(path)).await? {
            Said::Done(found) => Ok(Some(found)),
            Said::Refused { status: 404, .. } => Ok(None),
            Said::Refused { status, issue, .. } => {
                Err(Trouble::Refused { status, issue }.unavailable())
            }
        }
    }

    /// Whether a 404 can say that the order has expired: only to the account that opened it.
    fn may_have_expired(&self, charge: &OpenCharge) -> bool {
        charge.account.as_ref() == Some(&self.account())
            && self.runtime.now() >= charge.opened_at.plus(ORDER_LIVES)
    }

    /// Where the order stands for whoever has not asked for its capture.
    async fn standing(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        if let Some(order) = self.order(charge).await? {
            return standing(&order).map_err(Trouble::unavailable);
        }
        Ok(match charge.unanswered_since {
            None => ChargeStatus::Expired,
            // Only the capture's own answer says what became of it: it is asked for once more.
            Some(_) => ChargeStatus::Unconfirmed,
        })
    }

    /// The same after a capture was asked for: what cannot be told now is unknown.
    async fn standing_after(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing(charge).await.map_err(|error| match error {
            PartnerError::Unavailable(source) => PartnerError::Unanswered(source),
            error => error,
        })
    }

    async fn is_approved(&self, charge: &OpenCharge) -> Result<bool, PartnerError> {
        let order = self.order(charge).await?;
        let status = order.and_then(|order| OrderStatus::of(&order.status));
        Ok(status == Some(OrderStatus::Approved))
    }

    /// Asks for the capture with that source; `again` tells apart what is asked for once more after
    /// the payer has acted.
    async fn capture(
        &self,
        charge: &OpenCharge,
        agreement: &Agreement,
        source: Source,
        again: bool,
    ) -> Result<Captured, PartnerError> {
        let id = path_id(&charge.reference).ok_or(Trouble::Reference);
        let id = id.map_err(Trouble::unavailable)?;
        let token = &agreement.payment_method;
        let call = Call::post(
            format!("/v2/checkout/orders/{id}/capture"),
            capture_id(charge, token, source, again),
            &json!({"payment_source": source.body(token)}),
        );
        let status = match self.call(call).await? {
            Said::Done(order) => match outcome(&order).map_err(Trouble::unanswered)? {
                Some(status) => status,
                None => self.settled(charge).await?,
            },
            Said::Refused {
                status,
                issue,
                about_the_source,
            } => {
                let refused = |issue| Trouble::Refused { status, issue };
                let Some(meaning) = Issue::of_charge(&issue) else {
                    tracing::error!(status, issue, "paypal has an issue that we do not know");
                    return Err(refused(issue).unanswered());
                };
                match meaning {
                    Issue::Declined { retryable } => ChargeStatus::Declined {
                        code: issue.to_ascii_lowercase(),
                        retryable,
                    },
                    Issue::ActionRequired => ChargeStatus::ActionRequired,
                    Issue::AlreadyCaptured => self.settled(charge).await?,
                    Issue::Doubtful => return Err(refused(issue).unanswered()),
                    Issue::NoAgreement => return Err(PartnerError::NoAgreement),
                    Issue::OtherSource => return Ok(Captured::OtherSource),
                    Issue::Malformed if about_the_source => return Err(PartnerError::NoAgreement),
                    Issue::Refused => {
                        return Err(PartnerError::Refused {
                            code: issue.to_ascii_lowercase(),
                        });
                    }
                    Issue::Malformed | Issue::Ours => {
                        tracing::error!(status, issue, "paypal does not let this account charge");
                        return Err(refused(issue).unavailable());
                    }
                    Issue::Gone if self.may_have_expired(charge) => ChargeStatus::Expired,
                    Issue::Gone => return Err(Trouble::NotFound.unanswered()),
                }
            }
        };
        Ok(Captured::Status(status))
    }

    /// The captured order, and what it says of its refunds.
    async fn refunds(&self, charge: &OpenCharge) -> Result<(WireOrder, Refunds), PartnerError> {
        // A captured order stays readable.
        let order = self.order(charge).await?;
        let order = order.ok_or_else(|| Trouble::NotFound.unavailable())?;
        let refunds = Refunds::of(&order).map_err(Trouble::unavailable)?;
        Ok((order, refunds))
    }

    /// What a capture that was made says.
    async fn settled(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self.standing_after(charge).await? {
            ChargeStatus::Unconfirmed | ChargeStatus::Cancelled | ChargeStatus::Expired => {
                Err(Trouble::Contradiction.unanswered())
            }
            status => Ok(status),
        }
    }

    /// Asks for the refund of what is left of a capture. A refusal may be one that PayPal repeats for
    /// this id, also once its cause is mended. It did nothing, so it is asked again under an id that
    /// was never used.
    async fn refund_capture(
        &self,
        charge: &OpenCharge,
        capture: &str,
        id: &str,
    ) -> Result<RefundStatus, PartnerError> {
        let first = self.try_refund(charge, capture, id.to_owned()).await?;
        if !matches!(first, Refunding::Refused(_)) {
            return Ok(first.into_status());
        }
        let token = self.runtime.token();
        let fresh = format!("{id}-{}", token.get(..16).unwrap_or(&token));
        let again = self.try_refund(charge, capture, fresh).await?;
        Ok(again.into_status())
    }

    async fn try_refund(
        &self,
        charge: &OpenCharge,
        capture: &str,
        id: String,
    ) -> Result<Refunding, PartnerError> {
        let capture = path_id(capture).ok_or(Trouble::Illegible);
        let capture = capture.map_err(Trouble::unavailable)?;
        let call = Call::post(
            format!("/v2/payments/captures/{capture}/refund"),
            id,
            // What a webhook finds our order by. No amount: the whole.
            &json!({"custom_id": charge.request.invoice.to_string()}),
        );
        match self.call::<WireRefund>(call).await? {
            Said::Done(refund) => match RefundWord::of(&refund.status) {
                Some(word) => Ok(Refunding::Made(word.status())),
                None => Err(Trouble::unknown("refund.status", &refund.status).unanswered()),
            },
            Said::Refused { status, issue, .. } => match RefundIssue::of(&issue) {
                Some(RefundIssue::FullyRefunded) => {
                    let order = self.order(charge).await;
                    let order = order.map_err(|_| Trouble::NotFound.unanswered())?;
                    let known = order.as_ref().map(Refunds::of).transpose();
                    let known = known.map_err(Trouble::unanswered)?;
                    let standing = known.and_then(|refunds| refunds.standing);
                    let standing = standing.ok_or_else(|| Trouble::Contradiction.unanswered())?;
                    Ok(Refunding::Made(standing))
                }
                Some(RefundIssue::Refused) => Ok(Refunding::Refused(issue)),
                Some(RefundIssue::Doubtful) => Err(Trouble::Refused { status, issue }.unanswered()),
                Some(RefundIssue::Ours) => {
                    tracing::error!(status, issue, "paypal does not let this account refund");
                    Err(Trouble::Refused { status, issue }.unavailable())
                }
                None => {
                    tracing::error!(status, issue, "paypal has an issue that we do not know");
                    Err(Trouble::Refused { status, issue }.unanswered())
                }
            },
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    platform::json::read(body).ok()
}

/// An id that may stand in a path.
fn path_id(text: &str) -> Option<&str> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then_some(text)
}

/// The agreement to charge by, if it is one with PayPal.
fn agreement(request: &ChargeRequest) -> Result<&Agreement, PartnerError> {
    let agreement = request.agreement.as_ref();
    agreement
        .filter(|agreement| agreement.partner == PartnerName::PayPal)
        .ok_or(PartnerError::NoAgreement)
}

/// One id for each thing that is asked for: another attempt, another order, another source is
/// another thing. At most 104 characters.
fn capture_id(charge: &OpenCharge, token: &PartnerToken, source: Source, again: bool) -> String {
    let token = digest_hex(&["paypal", token.as_str()]);
    let (order, attempt) = (&charge.reference, charge.request.attempt);
    let again = if again { "-again" } else { "" };
    format!(
        "pay-{order}-{attempt}-{}-{}{again}",
        &token[..8],
        source.as_str()
    )
}

/// An amount as PayPal wants it: `36.00`, `3600` for a currency without decimals. `None` where it
/// takes no such amount.
fn amount_text(amount: Money, currency: Currency) -> Option<String> {
    if currency.minor_digits() > 2 {
        return None;
    }
    if !WHOLE_UNITS_ONLY.contains(&currency.code()) {
        return Some(amount.to_display_text(currency));
    }
    (amount.decimal().normalize().scale() == 0).then(|| amount.to_text())
}

/// Where an order stands for whoever has not asked for its capture.
fn standing(order: &WireOrder) -> Result<ChargeStatus, Trouble> {
    let status = OrderStatus::of(&order.status);
    let status = status.ok_or_else(|| Trouble::unknown("order.status", &order.status))?;
    match (captured(order)?, status) {
        // It refused one source and still takes another.
        (Some(ChargeStatus::Declined { .. }), status) if status != OrderStatus::Completed => {
            Ok(without_capture(status)?)
        }
        (Some(capture), _) => Ok(capture),
        (None, status) => without_capture(status),
    }
}

fn without_capture(status: OrderStatus) -> Result<ChargeStatus, Trouble> {
    match status {
        OrderStatus::Created | OrderStatus::Saved | OrderStatus::Approved => {
            Ok(ChargeStatus::Unconfirmed)
        }
        OrderStatus::PayerActionRequired => Ok(ChargeStatus::ActionRequired),
        OrderStatus::Voided => Ok(ChargeStatus::Cancelled),
        OrderStatus::Completed => Err(Trouble::Contradiction),
    }
}

/// How the capture that was just asked for ended; `None` where the answer does not tell.
fn outcome(order: &WireOrder) -> Result<Option<ChargeStatus>, Trouble> {
    if let Some(status) = captured(order)? {
        return Ok(Some(status));
    }
    match OrderStatus::of(&order.status) {
        Some(OrderStatus::PayerActionRequired) => Ok(Some(ChargeStatus::ActionRequired)),
        Some(_) => Ok(None),
        None => Err(Trouble::unknown("order.status", &order.status)),
    }
}

/// What the order's captures say: one that took money counts before one that may, and that before
/// one that did not.
fn captured(order: &WireOrder) -> Result<Option<ChargeStatus>, Trouble> {
    let mut pending = None;
    let mut declined = None;
    for capture in order.captures() {
        let status = CaptureStatus::of(&capture.status);
        let status = status.ok_or_else(|| Trouble::unknown("capture.status", &capture.status))?;
        match status {
            CaptureStatus::Completed
            | CaptureStatus::PartiallyRefunded
            | CaptureStatus::Refunded => return Ok(Some(ChargeStatus::Captured(order.card()))),
            CaptureStatus::Pending => pending = Some(ChargeStatus::Pending),
            CaptureStatus::Declined => declined = Some(decline(capture)),
            CaptureStatus::Failed => {
                declined = Some(ChargeStatus::Declined {
                    code: "failed".to_owned(),
                    retryable: true,
                });
            }
        }
    }
    Ok(pending.or(declined))
}

fn decline(capture: &WireCapture) -> ChargeStatus {
    let response = capture.processor_response.as_ref();
    let word = response.and_then(|response| response.response_code.as_deref());
    let advice = response.and_then(|response| response.payment_advice_code.as_deref());
    let (code, retryable) = match word.map(|word| (word, processor_reason(word))) {
        Some((_, Some((name, retryable)))) => (name.to_owned(), retryable),
        Some((word, None)) => {
            let word = legible(word);
            tracing::warn!(word, "a processor's code that we do not know");
            (format!("processor_{}", word.to_ascii_lowercase()), false)
        }
        None => ("declined".to_owned(), true),
    };
    ChargeStatus::Declined {
        code,
        retryable: advice.and_then(may_retry).unwrap_or(retryable),
    }
}

fn refund_failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

/// What an order says of its refunds.
struct Refunds {
    /// Whether the whole went back or is on its way; `None` where all or a part of it did not.
    standing: Option<RefundStatus>,
    /// How many of them failed.
    failed: usize,
    /// One of those.
    failure: Option<RefundStatus>,
}

impl Refunds {
    fn of(order: &WireOrder) -> Result<Self, Trouble> {
        let (mut done, mut pending, mut failures) = (false, false, Vec::new());
        for refund in order.refunds() {
            let word = RefundWord::of(&refund.status);
            let word = word.ok_or_else(|| Trouble::unknown("refund.status", &refund.status))?;
            match word.status() {
                RefundStatus::Refunded => done = true,
                RefundStatus::Pending => pending = true,
                failure @ RefundStatus::Failed { .. } => failures.push(failure),
            }
        }
        let all = order
            .captures()
            .any(|capture| CaptureStatus::of(&capture.status) == Some(CaptureStatus::Refunded));
        let standing = if pending {
            Some(RefundStatus::Pending)
        } else if all && (done || failures.is_empty()) {
            Some(RefundStatus::Refunded)
        } else {
            None
        };
        Ok(Self {
            standing,
            failed: failures.len(),
            failure: failures.pop(),
        })
    }

    /// The id of the next refund: the same for all who see the same refunds, and another one than that
    /// of a refund that has failed, which PayPal would show again for 45 days. A capture's id has 17 characters, so it is far below
    /// the 108 that fit.
    fn next_id(&self, capture: &str) -> String {
        match self.failed {
            0 => format!("refund-{capture}"),
            failed => format!("refund-{capture}-{failed}"),
        }
    }
}

impl BillingPartner for PayPal {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        agreement(request)?;
        let currency = request.currency;
        let Some(value) = amount_text(request.amount, currency) else {
            return Err(PartnerError::Refused {
                code: "amount_not_supported".to_owned(),
            });
        };
        let (invoice, attempt) = (request.invoice.to_string(), request.attempt);
        // A repeat finds its order as long as that one has most of its life before it.
        let hour = self.runtime.now().seconds() / 3600;
        let call = Call::post(
            "/v2/checkout/orders".to_owned(),
            match &request.replaces {
                None => format!("open-{invoice}-{attempt}-{hour}"),
                Some(closed) => format!("open-{invoice}-{attempt}-{hour}-{closed}"),
            },
            &json!({
                "intent": "CAPTURE",
                "purchase_units": [{
                    "reference_id": invoice,
                    // What a webhook finds our order by: captures and their events carry it.
                    "custom_id": invoice,
                    // An account may be set to take one payment for an invoice id; an attempt that
                    // was refused must not use it up.
                    "invoice_id": format!("{invoice}-{attempt}"),
                    "amount": {"currency_code": currency.code(), "value": value},
                }],
            }),
        );
        match self.call::<WireOrder>(call).await? {
            Said::Done(order) => match path_id(&order.id) {
                Some(id) => Ok(id.to_owned()),
                None => Err(Trouble::Illegible.unanswered()),
            },
            Said::Refused { status, issue, .. } => match Issue::of_charge(&issue) {
                Some(Issue::Refused) => Err(PartnerError::Refused {
                    code: issue.to_ascii_lowercase(),
                }),
                // Nothing else is the customer's doing: nothing was asked of the customer yet.
                Some(_) => {
                    tracing::error!(status, issue, "paypal does not let this account charge");
                    Err(Trouble::Refused { status, issue }.unavailable())
                }
                None => {
                    tracing::error!(status, issue, "paypal has an issue that we do not know");
                    Err(Trouble::Refused { status, issue }.unanswered())
                }
            },
        }
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let agreement = agreement(&charge.request)?;
        for source in Source::candidates(&agreement.payment_method) {
            let status = match self.capture(charge, agreement, *source, false).await? {
                Captured::Status(status) => status,
                Captured::OtherSource => continue,
            };
            if status != ChargeStatus::ActionRequired {
                return Ok(status);
            }
            // PayPal repeats that to a repeat even after the payer has acted; then the order is
            // approved, and this is another request.
            if !self.is_approved(charge).await? {
                return Ok(ChargeStatus::ActionRequired);
            }
            return match self.capture(charge, agreement, *source, true).await? {
                Captured::Status(status) => Ok(status),
                Captured::OtherSource => Err(PartnerError::NoAgreement),
            };
        }
        Err(PartnerError::NoAgreement)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing(charge).await
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        let (order, refunds) = self.refunds(charge).await?;
        if let Some(status) = refunds.standing {
            return Ok(status);
        }
        let taken = order.captures().find(|capture| {
            matches!(
                CaptureStatus::of(&capture.status),
                Some(CaptureStatus::Completed | CaptureStatus::PartiallyRefunded)
            )
        });
        let Some(capture) = taken else {
            let failure = refunds.failure;
            return Ok(failure.unwrap_or_else(|| refund_failed("not_captured")));
        };
        let id = refunds.next_id(&capture.id);
        self.refund_capture(charge, &capture.id, &id).await
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let (_, refunds) = self.refunds(charge).await?;
        Ok(refunds.standing.or(refunds.failure))
    }

    /// By the client id: what another client does not find proves nothing. A new secret of the same
    /// client is the same account.
    fn account(&self) -> PartnerAccount {
        let keys = self.keys.last();
        // Without keys no call was made, and there is no account that could have opened anything.
        keys.map_or_else(|| PartnerAccount::new("paypal", ""), |keys| keys.account())
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        Some(PartnerName::PayPal)
    }

    /// See "One charge" above: it changes nothing.
    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing(charge).await
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        let Some(id) = path_id(id.as_str()) else {
            return Ok(None);
        };
        let path = format!("/v1/customer/disputes/{id}");
        let Some(dispute) = self.find::<WireDispute>(path).await? else {
            return Ok(None);
        };
        let state = verdict::dispute_state(&dispute.status, dispute.outcome());
        let state = state.ok_or_else(|| Trouble::unknown("dispute.status", &dispute.status));
        let state = state.map_err(Trouble::unavailable)?;
        let Some(capture) = dispute.capture().and_then(path_id) else {
            return Ok(None);
        };
        let path = format!("/v2/payments/captures/{capture}");
        let Some(capture) = self.find::<DisputedCapture>(path).await? else {
            return Ok(None);
        };
        Ok(capture.charge().map(|(invoice, reference)| Disputed {
            order: invoice.order(),
            reference,
            state,
            at: dispute.updated(),
        }))
    }
}
