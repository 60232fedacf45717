//! Stripe, by its Payment Intents API.
//!
//! | here | there |
//! | --- | --- |
//! | open | `POST /v1/payment_intents`, unconfirmed |
//! | confirm | `POST /v1/payment_intents/{id}/confirm`, off session |
//! | look up | `GET /v1/payment_intents/{id}` |
//! | cancel | `POST /v1/payment_intents/{id}/cancel` |
//! | refund | `GET /v1/refunds?payment_intent={id}`, then `POST /v1/refunds` |
//! | refund's status | `GET /v1/refunds?payment_intent={id}` |
//! | dispute | `GET /v1/disputes/{id}` |
//!
//! **Why a charge is made at most once.** An intent is confirmed at most once, and this does not rest
//! on idempotency keys. It is opened with its payment method, and a confirmation never names one.
//! Before the only confirmation the intent stands at `requires_confirmation`; that confirmation takes
//! it to success, to the customer or to the bank, where another is refused; or it is declined, which
//! takes the payment method off the intent, and another is refused for want of one
//! (`payment_intent_unexpected_state` each time). So a worker that was frozen before it confirmed and
//! wakes after a decline cannot charge the card of an order that is already shown as declined.
//!
//! **Which card is charged.** The one that the intent was opened with, so an intent is confirmed only
//! while that is the one the customer has agreed to. After another approval the intent is cancelled
//! and another one is opened.
//!
//! The keys are a second lock on the same door. They come from the invoice and the attempt, and for a
//! day Stripe answers a key as it did the first time, failures (5xx) included. A failure would
//! therefore block an order for that day: see [`Stripe::confirm`].
//!
//! **Refunds** that succeeded may fail days later ("Refund and cancel payments", "Failed refunds"): the
//! money is then the account's again, and the charge can be refunded again. The key of a refund counts
//! those that failed before it.

mod amount;
mod refusal;
mod wire;

use std::time::Duration;

use domain::{Agreement, PartnerAccount, PartnerName, PartnerToken};
use messages::PartnerReference;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::json;
use platform::outbound::{Https, HttpsAnswer, HttpsCall, HttpsError, Secret, form};
use platform::runtime::Runtime;
use platform::secret::{self, Keys, PartnerSecret, SecretError};
use serde::de::DeserializeOwned;

use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartnerError, RefundStatus,
};
use refusal::{CardRefusal, Refusal};
use wire::{Code, Dispute, Intent, IntentStatus, Refund, RefundList, WireRefundStatus};

/// The API's version that this client was written for ("API versioning").
pub const API_VERSION: &str = "2026-07-29.dahlia";

/// Where Stripe is, but for tests.
const ADDRESS: &str = "https://api.stripe.com";

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(8);

/// After this time nothing of an earlier confirmation runs at Stripe any more: its own clients wait
/// 80 s for an answer.
const CONFIRMATION_IS_OVER: Duration = Duration::from_secs(90);

/// Stripe's code for a charge of which nothing is left to refund.
const ALREADY_REFUNDED: &str = "charge_already_refunded";

/// As many refunds as one page takes.
const PAGE: usize = 100;

/// Charges customers by Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    https: Https,
    keys: Keys<Secret>,
    runtime: Runtime,
}

/// A call without a successful answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// There is no key to ask with; nothing was sent.
    #[error(transparent)]
    NoKey(#[from] SecretError),
    /// There is none, or not a whole one.
    #[error(transparent)]
    NoAnswer(#[from] HttpsError),
    /// It says that it was done, and cannot be read.
    #[error("Stripe's answer cannot be read")]
    Malformed,
    /// Stripe refused or failed.
    #[error("Stripe answered {status}: {refusal:?}")]
    Refused { status: u16, refusal: Refusal },
}

impl Failure {
    /// For questions and for what is asked again by the same code: what the failure means when
    /// nothing more is to be made of it.
    fn into_error(self) -> PartnerError {
        match &self {
            Self::NoKey(error) => error.clone().into(),
            Self::NoAnswer(error) if error.is_harmless() => self.unavailable(),
            Self::NoAnswer(_) | Self::Malformed => self.unanswered(),
            Self::Refused { status, refusal } => match refusal {
                Refusal::UnknownCustomer => PartnerError::NoAgreement,
                Refusal::Never(code) => PartnerError::Refused {
                    code: code.as_str().to_owned(),
                },
                Refusal::Busy(_) | Refusal::KeyReused => self.unavailable(),
                Refusal::Key => {
                    tracing::error!(status, "Stripe refuses the key");
                    PartnerError::NotConfigured(self.into())
                }
                Refusal::Account(code) | Refusal::Invalid(code) => {
                    tracing::error!(status, %code, "Stripe does not accept what we send");
                    self.unavailable()
                }
                Refusal::Card(_)
                | Refusal::AskTheIntent
                | Refusal::Failed
                | Refusal::Unreadable => self.unanswered(),
            },
        }
    }

    /// Nothing happened. Logged here, with codes only: nobody further up knows Stripe's.
    fn unavailable(self) -> PartnerError {
        tracing::warn!(failure = %self, "Stripe is unavailable");
        PartnerError::Unavailable(self.into())
    }

    /// It may have been carried out. Logged here too.
    fn unanswered(self) -> PartnerError {
        tracing::warn!(failure = %self, "what Stripe did is unknown");
        PartnerError::Unanswered(self.into())
    }
}

impl From<Failure> for PartnerError {
    fn from(failure: Failure) -> Self {
        failure.into_error()
    }
}

/// What became of one call to confirm.
enum Confirmation {
    /// Stripe says where the charge stands.
    Stands(ChargeStatus),
    /// Only the intent itself can say.
    AskTheIntent,
    /// The answer may be one that this key gets for a day, whatever becomes of the intent.
    KeyIsSpent(Failure),
}

/// What Stripe shows of a charge's refunds.
struct Refunds {
    /// Whether the whole of it went back or is on its way; `None` where at least a part is not.
    standing: Option<RefundStatus>,
    /// How many of them failed.
    failed: usize,
    /// The latest of those.
    last_failure: Option<RefundStatus>,
}

impl Refunds {
    /// The key of the next refund: the same for all who see the same refunds, and another one than that
    /// of a refund that has failed, for which Stripe repeats its first answer for a day.
    fn next_key(&self, request: &ChargeRequest) -> String {
        let key = key(request, "refund");
        match self.failed {
            0 => key,
            failed => format!("{key}-{failed}"),
        }
    }
}

impl Stripe {
    /// Stripe at `https`, with the account's secret key.
    #[must_use]
    pub fn new(https: Https, key: Secret, runtime: Runtime) -> Self {
        Self {
            https,
            keys: Keys::fixed(key),
            runtime,
        }
    }

    /// With the account's secret key of now, field `apiKey` of the secret in `PARTNER_SECRET` or of the
    /// one that `PARTNER_SECRET_ARN` names, at `STRIPE_URL`, Stripe's own address without it.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "STRIPE_URL", ADDRESS)?;
        let pick = |secret: &PartnerSecret| secret.field("apiKey", &["sk_", "rk_"]);
        let keys = Keys::of(environment, aws, secret::PARTNER, pick, runtime.clone()).await?;
        Ok(Self {
            https: Https::new(address),
            keys,
            runtime,
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Failure> {
        self.call("GET", path, Vec::new(), String::new()).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: String,
        key: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let mut headers = vec![(
            "content-type",
            Secret::new("application/x-www-form-urlencoded"),
        )];
        headers.extend(key.map(|key| ("idempotency-key", Secret::new(key))));
        self.call("POST", path, headers, form(fields)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: String,
        mut headers: Vec<(&'static str, Secret)>,
        body: String,
    ) -> Result<T, Failure> {
        headers.push(("stripe-version", Secret::new(API_VERSION)));
        let call = HttpsCall {
            method,
            path,
            headers,
            body: body.into_bytes(),
        };
        let key = self.keys.now().await?;
        let mut answer = self.call_with(call.clone(), &key).await?;
        // A refused key has done nothing, so the call may be made again with the one that replaced it.
        if matches!(answer.status, 401 | 403)
            && let Some(newer) = self.keys.newer_than(&key).await
        {
            answer = self.call_with(call, &newer).await?;
        }
        if (200..300).contains(&answer.status) {
            return json::read(&answer.body).map_err(|_| {
                let status = wire::told_status(&answer.body);
                let status = status.as_ref().map(Code::as_str);
                tracing::error!(status, "Stripe's answer is none that this client knows");
                Failure::Malformed
            });
        }
        let (status, refusal) = (answer.status, Refusal::of(answer.status, &answer.body));
        Err(Failure::Refused { status, refusal })
    }

    async fn call_with(
        &self,
        mut call: HttpsCall,
        key: &Secret,
    ) -> Result<HttpsAnswer, HttpsError> {
        let bearer = Secret::new(format!("Bearer {}", key.expose()));
        call.headers.push(("authorization", bearer));
        self.https.call(call, LIMIT).await
    }

    /// A key that was never used, for an operation whose own key is spent.
    fn new_key(&self, key: &str) -> String {
        format!("{key}-{}", self.runtime.token())
    }

    /// Waits 0.1 to 0.36 s, so that those who were refused together do not come back together.
    async fn pause(&self) {
        let token = self.runtime.token();
        let jitter = u64::from_str_radix(token.get(..2).unwrap_or_default(), 16);
        tokio::time::sleep(Duration::from_millis(100 + jitter.unwrap_or_default())).await;
    }

    /// Confirms once, under this key.
    async fn try_confirm(
        &self,
        charge: &OpenCharge,
        key: &str,
    ) -> Result<Confirmation, PartnerError> {
        let path = intent_path(charge, "/confirm");
        // No payment method: see above.
        let fields = [("off_session", "true"), ("expand[]", "latest_charge")];
        let failure = match self.post(path, Some(key), &fields).await {
            Ok(intent) => return status_of(&intent, charge).map(Confirmation::Stands),
            Err(failure) => failure,
        };
        match failure {
            Failure::Refused {
                refusal: Refusal::Card(card),
                ..
            } => Ok(Confirmation::Stands(card.into_status())),
            // The intent keeps the payment method that it was opened with: only another attempt can
            // use what the customer agrees to now.
            Failure::Refused {
                refusal: Refusal::UnknownCustomer,
                ..
            } => Ok(Confirmation::Stands(method_missing())),
            Failure::Refused {
                refusal: Refusal::AskTheIntent,
                ..
            } => Ok(Confirmation::AskTheIntent),
            Failure::Refused {
                refusal: Refusal::Failed | Refusal::KeyReused,
                ..
            } => Ok(Confirmation::KeyIsSpent(failure)),
            failure => Err(failure.into()),
        }
    }

    /// What Stripe shows of the charge's refunds.
    async fn refunds(&self, charge: &OpenCharge) -> Result<Refunds, PartnerError> {
        let path = format!(
            "/v1/refunds?payment_intent={}&limit={PAGE}",
            charge.reference
        );
        let list: RefundList = self.get(path).await?;
        let of = |wanted: &[WireRefundStatus]| -> u64 {
            let refunds = list
                .data
                .iter()
                .filter(|each| wanted.contains(&each.status));
            refunds.map(|refund| refund.amount).sum()
        };
        let done = of(&[WireRefundStatus::Succeeded]);
        let on_its_way = of(&[WireRefundStatus::Pending, WireRefundStatus::RequiresAction]);
        let whole = amount::minor_units(charge.request.amount, charge.request.currency).ok();
        let whole = whole.unwrap_or(u64::MAX);
        let standing = if done >= whole {
            Some(RefundStatus::Refunded)
        } else if done.saturating_add(on_its_way) >= whole {
            Some(RefundStatus::Pending)
        } else if list.has_more {
            return Err(PartnerError::Unanswered(
                "the charge has more refunds than one page shows".into(),
            ));
        } else {
            None
        };
        let failed = list.data.iter().filter(|refund| {
            matches!(
                refund.status,
                WireRefundStatus::Failed | WireRefundStatus::Canceled
            )
        });
        Ok(Refunds {
            standing,
            failed: failed.clone().count(),
            // Stripe lists the latest first.
            last_failure: failed.map(refund_status).next(),
        })
    }

    /// What stands of the charge's refunds after one was asked for.
    async fn standing_refund(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let refunds = self.refunds(charge).await.map_err(unanswered)?;
        Ok(refunds.standing)
    }

    /// Asks for the refund of what is left of the charge, under this key.
    async fn try_refund(&self, charge: &OpenCharge, key: &str) -> Result<RefundStatus, Failure> {
        let order = charge.request.invoice.order().to_string();
        let invoice = charge.request.invoice.to_string();
        let fields = [
            ("payment_intent", charge.reference.as_str()),
            ("metadata[order_id]", &order),
            ("metadata[invoice_id]", &invoice),
        ];
        let refund: Refund = self
            .post("/v1/refunds".to_owned(), Some(key), &fields)
            .await?;
        Ok(refund_status(&refund))
    }
}

/// The idempotency key of what is done once for an attempt: nothing of the customer's is in it.
fn key(request: &ChargeRequest, operation: &str) -> String {
    format!("{}-{}-{operation}", request.invoice, request.attempt)
}

/// The key of opening an intent: once for an attempt, and once more in the place of each one that was
/// closed.
fn opening_key(request: &ChargeRequest) -> String {
    let key = key(request, "open");
    match &request.replaces {
        None => key,
        Some(closed) => format!("{key}-{closed}"),
    }
}

/// The same for the one confirmation of an intent: an attempt may have several intents, one after
/// the other.
fn confirmation_key(charge: &OpenCharge) -> String {
    format!("{}-{}", key(&charge.request, "confirm"), charge.reference)
}

fn intent_path(charge: &OpenCharge, rest: &str) -> String {
    format!("/v1/payment_intents/{}{rest}", charge.reference)
}

/// The customer and the payment method at Stripe, where the agreement names both.
fn agreed(request: &ChargeRequest) -> Option<(&PartnerToken, &PartnerToken)> {
    match request.agreement.as_ref()? {
        Agreement {
            partner: PartnerName::Stripe,
            partner_customer: Some(customer),
            payment_method,
        } => Some((customer, payment_method)),
        Agreement { .. } => None,
    }
}

/// Where the charge stands, by its intent.
fn status_of(intent: &Intent, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
    if intent.id != charge.reference {
        tracing::error!(
            invoice_id = %charge.request.invoice,
            "Stripe's answer is about another charge"
        );
        return Err(Failure::Malformed.into());
    }
    Ok(match intent.status {
        // A decline closes its intent: what the decline said is still there.
        IntentStatus::Canceled => match intent.last_payment_error.as_ref().map(CardRefusal::of) {
            Some(declined @ CardRefusal::Declined { .. }) => declined.into_status(),
            Some(CardRefusal::Authentication) | None => ChargeStatus::Cancelled,
        },
        IntentStatus::Processing => ChargeStatus::Pending,
        IntentStatus::RequiresAction => ChargeStatus::ActionRequired,
        IntentStatus::RequiresConfirmation => ChargeStatus::Unconfirmed,
        IntentStatus::Succeeded => ChargeStatus::Captured(intent.card()),
        IntentStatus::RequiresCapture => {
            // Never asked for: somebody has to look before the authorization lapses.
            tracing::error!(
                invoice_id = %charge.request.invoice,
                "Stripe holds a charge that nobody captures"
            );
            ChargeStatus::Pending
        }
        IntentStatus::RequiresPaymentMethod => match &intent.last_payment_error {
            Some(error) => CardRefusal::of(error).into_status(),
            // It was opened with one, which was taken away since: nothing can be charged by it.
            None => method_missing(),
        },
    })
}

/// The payment method that the attempt was opened with is gone.
fn method_missing() -> ChargeStatus {
    ChargeStatus::Declined {
        code: "payment_method_missing".to_owned(),
        retryable: false,
    }
}

fn refund_status(refund: &Refund) -> RefundStatus {
    match refund.status {
        WireRefundStatus::Succeeded => RefundStatus::Refunded,
        WireRefundStatus::Pending | WireRefundStatus::RequiresAction => RefundStatus::Pending,
        WireRefundStatus::Failed | WireRefundStatus::Canceled => {
            let code = refund.failure_reason.as_ref().map(Code::as_str);
            RefundStatus::Failed {
                code: code.unwrap_or("refund_failed").to_owned(),
            }
        }
    }
}

/// Why Stripe refuses to refund the charge; `None` where it says something else.
fn refused_refund(failure: &Failure) -> Option<&Code> {
    match failure {
        Failure::Refused {
            refusal: Refusal::Invalid(code) | Refusal::Never(code),
            ..
        } => {
            let elsewhere = [ALREADY_REFUNDED, "resource_missing"];
            Some(code).filter(|code| !elsewhere.contains(&code.as_str()))
        }
        Failure::Refused { .. } | Failure::NoKey(_) | Failure::NoAnswer(_) | Failure::Malformed => {
            None
        }
    }
}

/// An error after something else was tried: whatever is known of the second call, the first one may
/// have been carried out.
fn unanswered(error: PartnerError) -> PartnerError {
    PartnerError::Unanswered(error.into())
}

impl BillingPartner for Stripe {
    /// An intent that is opened twice moves no money, so this is the one call that is repeated at
    /// once: under the same key if nothing happened, under a new one if the first is spent.
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        let (customer, method) = agreed(request).ok_or(PartnerError::NoAgreement)?;
        let amount = amount::minor_units(request.amount, request.currency).map_err(|why| {
            PartnerError::Refused {
                code: why.code().to_owned(),
            }
        })?;
        let amount = amount.to_string();
        let currency = request.currency.code().to_ascii_lowercase();
        let (order, invoice) = (
            request.invoice.order().to_string(),
            request.invoice.to_string(),
        );
        let attempt = request.attempt.to_string();
        let fields = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("customer", customer.as_str()),
            ("payment_method", method.as_str()),
            ("payment_method_types[]", "card"),
            ("confirm", "false"),
            ("capture_method", "automatic"),
            ("metadata[order_id]", &order),
            ("metadata[invoice_id]", &invoice),
            ("metadata[attempt]", &attempt),
        ];
        let path = || "/v1/payment_intents".to_owned();
        let key = opening_key(request);
        let opened: Result<Intent, Failure> = match self.post(path(), Some(&key), &fields).await {
            Err(
                Failure::NoAnswer(HttpsError::NotSent(_))
                | Failure::Refused {
                    refusal: Refusal::Busy(_),
                    ..
                },
            ) => {
                self.pause().await;
                self.post(path(), Some(&key), &fields).await
            }
            // Also when the customer has agreed to another card since the key was first used.
            Err(Failure::Refused {
                refusal: Refusal::Failed | Refusal::KeyReused,
                ..
            }) => {
                self.pause().await;
                self.post(path(), Some(&self.new_key(&key)), &fields).await
            }
            first => first,
        };
        match opened {
            Ok(intent) => intent.reference().ok_or_else(|| Failure::Malformed.into()),
            // Nothing is charged by opening: a refusal of the card is one for good, as far as this
            // attempt goes, and a failure has moved no money.
            Err(Failure::Refused {
                refusal: Refusal::Card(CardRefusal::Declined { code, .. }),
                ..
            }) => Err(PartnerError::Refused {
                code: code.as_str().to_owned(),
            }),
            Err(
                failure @ Failure::Refused {
                    refusal: Refusal::Failed,
                    ..
                },
            ) => Err(failure.unavailable()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// A failure (5xx) is answered again for a day under its key, also after the intent was looked up
    /// and found unconfirmed. So it counts for nothing here: the intent is asked, and if it is still
    /// unconfirmed and nothing of the failed call can be running any more, it is confirmed under a
    /// key of its own. That cannot charge twice: an intent is confirmed at most once, by whatever
    /// key.
    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        if charge.has_other_method() {
            return Err(PartnerError::OtherMethod);
        }
        let key = confirmation_key(charge);
        let failure = match self.try_confirm(charge, &key).await? {
            Confirmation::Stands(status) => return Ok(status),
            Confirmation::AskTheIntent => {
                return self.look_up(charge).await.map_err(unanswered);
            }
            Confirmation::KeyIsSpent(failure) => failure,
        };
        let status = self.look_up(charge).await.map_err(unanswered)?;
        if status != ChargeStatus::Unconfirmed {
            return Ok(status);
        }
        if self.runtime.now() < charge.opened_at.plus(CONFIRMATION_IS_OVER) {
            return Err(failure.unanswered());
        }
        let again = self.try_confirm(charge, &self.new_key(&key)).await;
        match again.map_err(unanswered)? {
            Confirmation::Stands(status) => Ok(status),
            Confirmation::AskTheIntent => self.look_up(charge).await.map_err(unanswered),
            Confirmation::KeyIsSpent(failure) => Err(failure.unanswered()),
        }
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let path = intent_path(charge, "?expand[]=latest_charge");
        let intent: Intent = self.get(path).await?;
        status_of(&intent, charge)
    }

    /// What Stripe has of this charge's refunds is asked first, so that this holds longer than keys
    /// do. A refund names no amount and therefore takes what is left: two of them, under whatever
    /// keys, cannot give more back than was paid.
    ///
    /// A refusal may be one that Stripe repeats for a day, also once its cause is mended. It did
    /// nothing, so it is asked again under a key that was never used.
    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        let refunds = self.refunds(charge).await?;
        if let Some(status) = refunds.standing {
            return Ok(status);
        }
        let key = refunds.next_key(&charge.request);
        let mut result = self.try_refund(charge, &key).await;
        let mut first_is_known = true;
        match &result {
            Err(Failure::Refused {
                refusal: Refusal::Failed | Refusal::KeyReused,
                ..
            }) => {
                if let Some(status) = self.standing_refund(charge).await? {
                    return Ok(status);
                }
                first_is_known = false;
                result = self.try_refund(charge, &self.new_key(&key)).await;
            }
            Err(failure) if refused_refund(failure).is_some() => {
                result = self.try_refund(charge, &self.new_key(&key)).await;
            }
            Ok(_) | Err(_) => {}
        }
        match result {
            Ok(status) => Ok(status),
            Err(Failure::Refused {
                refusal: Refusal::Invalid(code),
                ..
            }) if code.as_str() == ALREADY_REFUNDED => {
                let standing = self.standing_refund(charge).await?;
                standing.ok_or_else(|| {
                    PartnerError::Unanswered("a refunded charge shows no refund".into())
                })
            }
            Err(failure) => match refused_refund(&failure) {
                Some(code) => Ok(RefundStatus::Failed {
                    code: code.as_str().to_owned(),
                }),
                None if first_is_known => Err(failure.into()),
                None => Err(unanswered(failure.into())),
            },
        }
    }

    /// Keys are rolled and name no account; nothing is concluded from an intent that is not found.
    fn account(&self) -> PartnerAccount {
        PartnerAccount::new("stripe", "")
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let refunds = self.refunds(charge).await?;
        Ok(refunds.standing.or(refunds.last_failure))
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        Some(PartnerName::Stripe)
    }

    /// Without a key: cancelling again is refused and then looked up, and a failure is not kept.
    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let fields = [("cancellation_reason", "abandoned")];
        match self
            .post(intent_path(charge, "/cancel"), None, &fields)
            .await
        {
            Ok(intent) => status_of(&intent, charge),
            Err(Failure::Refused {
                refusal: Refusal::AskTheIntent,
                ..
            }) => self.look_up(charge).await,
            Err(failure) => Err(failure.into()),
        }
    }

    /// A dispute has none of our metadata; its intent has.
    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        let Ok(id) = PartnerToken::parse(id.as_str()) else {
            return Ok(None);
        };
        let path = format!("/v1/disputes/{}?expand[]=payment_intent", id.as_str());
        match self.get::<Dispute>(path).await {
            Ok(dispute) => Ok(dispute.into_disputed()),
            Err(Failure::Refused {
                refusal: Refusal::Invalid(code),
                ..
            }) if code.as_str() == "resource_missing" => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }
}
