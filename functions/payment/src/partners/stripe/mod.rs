//! Stripe, by its Payment Intents API.
//!
//! | here | there |
//! | --- | --- |
//! | open | `POST /v1/payment_intents`, unconfirmed |
//! | confirm | `POST /v1/payment_intents/{id}/confirm`, off session |
//! | ask the customer | `POST /v1/payment_intents/{id}/confirm`, on session, with `return_url` |
//! | look up | `GET /v1/payment_intents/{id}` |
//! | cancel | `POST /v1/payment_intents/{id}/cancel` |
//! | refund | `GET /v1/refunds?payment_intent={id}`, then `POST /v1/refunds` |
//! | refund of a part | the same, with an amount and the name in `metadata[refund_id]` |
//! | refund's status | `GET /v1/refunds?payment_intent={id}` |
//! | dispute | `GET /v1/disputes/{id}` |
//!
//! **Why a charge is made at most once.** An intent is confirmed at most once, and this does not rest
//! on idempotency keys. It is opened with its payment method, and the confirmation without the customer
//! names none.
//! Before the only confirmation the intent stands at `requires_confirmation`; that confirmation takes
//! it to success, to the customer or to the bank, where another is refused; or it is declined, which
//! takes the payment method off the intent, and another is refused for want of one
//! (`payment_intent_unexpected_state` each time). So a worker that was frozen before it confirmed and
//! wakes after a decline cannot charge the card of an order that is already shown as declined.
//!
//! **The customer's part.** A card whose issuer wants the customer is refused off session
//! (`authentication_required`), and its intent waits without a payment method. If the deployment has a
//! `return_url`, the intent is then confirmed a second time, with the customer present and by the same
//! card: it gets a page where the customer authenticates (`next_action.redirect_to_url`), and Stripe
//! completes the payment there. Without one, the shop's page completes it with the client secret and
//! Stripe's library. An intent takes the money once, whoever confirms it.
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
pub mod answers;
mod client;
mod verdict;
mod wire;

use std::time::Duration;

use domain::{Agreement, NextAction, PartnerAccount, PartnerName, PartnerToken, RedirectUrl};
use messages::PartnerReference;
use partner::CallFailure::{NoAnswer, Refused};
use partner::{FromReach as _, PathSegment};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, HttpsError, Secret};
use platform::runtime::Runtime;
use platform::secret::{Keys, SecretVariables};

use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, RefundStatus, Refunds, ShownRefund, named,
};
use client::Client;
use verdict::{
    CardRefusal, Confirmation, RefundRefusal, Refusal, refund_status, refunds, refused_charge,
    status_of, unanswered,
};

use wire::IntentStatus;

pub use client::API_VERSION;

/// Why a refund is not made of a charge of which nothing is left.
const ALREADY_MADE: &str = "charge_already_refunded";

/// After this time nothing of an earlier confirmation runs at Stripe any more: its own clients wait
/// 80 s for an answer.
const CONFIRMATION_IS_OVER: Duration = Duration::from_secs(90);

/// Charges customers by Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    client: Client,
    return_url: Option<RedirectUrl>,
    runtime: Runtime,
}

impl Stripe {
    /// Stripe at `https`, with the account's secret key.
    #[must_use]
    pub fn new(https: Https, key: Secret, runtime: Runtime) -> Self {
        Self {
            client: Client::new(https, Keys::fixed(key)),
            return_url: None,
            runtime,
        }
    }

    /// Customers who authenticate at their bank come back to that address.
    #[must_use]
    pub fn returning_to(self, return_url: Option<RedirectUrl>) -> Self {
        Self { return_url, ..self }
    }

    /// With the account's secret key of now, field `apiKey` of `secret`, at `STRIPE_URL`, Stripe's own
    /// address without it.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        secret: SecretVariables,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            client: Client::from_environment(environment, aws, secret, &runtime).await?,
            return_url: None,
            runtime,
        })
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
        match self.client.confirm_intent(&charge.reference, key).await {
            Ok(intent) => Ok(Confirmation::Stands(status_of(&intent, charge))),
            Err(failure) => Confirmation::from_failure(failure),
        }
    }

    /// Confirms a charge whose confirmation was refused for no listed reason, or for one that the
    /// operator mends. The intent shows whether anything happened. If nothing did, the refusal may be
    /// one that the key keeps, so it is asked for once more under a key that was never used.
    async fn confirm_refused(
        &self,
        charge: &OpenCharge,
        key: &str,
    ) -> Result<ChargeStatus, PartnerError> {
        let status = self.look_up(charge).await?;
        if status != ChargeStatus::Unconfirmed {
            return Ok(status);
        }
        match self.try_confirm(charge, &self.new_key(key)).await? {
            Confirmation::Stands(status) => Ok(status),
            Confirmation::AskTheIntent => self.look_up(charge).await.map_err(unanswered),
            Confirmation::KeyIsSpent(failure) => Err(unanswered(failure)),
            Confirmation::Refused(failure) => Err(refused_charge(failure)),
        }
    }

    /// What Stripe shows of the charge's refunds.
    async fn refunds(&self, charge: &OpenCharge) -> Result<Refunds, PartnerError> {
        let list = self.client.refunds(&charge.reference).await?;
        let (amount, currency) = (charge.request.amount, charge.request.currency);
        let whole = amount::minor_units(amount, currency).unwrap_or(u64::MAX);
        refunds(&list, whole)
    }

    /// How the refund of that name stands, if Stripe shows one.
    async fn part_status(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let shown = self.shown_refunds(charge).await?.unwrap_or_default();
        Ok(named(&shown, part.id))
    }

    /// What stands of the charge's refunds after one was asked for.
    async fn standing_refund(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let refunds = self.refunds(charge).await.map_err(unanswered)?;
        Ok(refunds.standing)
    }
}

fn failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
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

impl BillingPartner for Stripe {
    /// An intent that is opened twice moves no money, so this is the one call that is repeated at
    /// once: under the same key if nothing happened, under a new one if the first is spent.
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        let (customer, method) = agreed(request).ok_or(PartnerError::NoAgreement)?;
        let amount = amount::minor_units(request.amount, request.currency)
            .map_err(|why| PartnerError::refused(why.code()))?;
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
        let key = opening_key(request);
        let opened = match self.client.create_intent(&key, &fields).await {
            Err(NoAnswer(HttpsError::NotSent(_)) | Refused(_, Refusal::Busy(_))) => {
                self.pause().await;
                self.client.create_intent(&key, &fields).await
            }
            // Also when the customer has agreed to another card since the key was first used.
            Err(Refused(_, Refusal::Failed | Refusal::KeyReused)) => {
                self.pause().await;
                let key = self.new_key(&key);
                self.client.create_intent(&key, &fields).await
            }
            Err(Refused(_, refusal)) if refusal.spends_its_key() => {
                let key = self.new_key(&key);
                self.client.create_intent(&key, &fields).await
            }
            first => first,
        };
        match opened {
            Ok(intent) => Ok(intent.id),
            // Nothing is charged by opening: a refusal of the card is one for good, as far as this
            // attempt goes, and a failure has moved no money.
            Err(Refused(_, Refusal::Card(refusal))) => Err(PartnerError::refused(match &refusal {
                CardRefusal::Declined { code, .. } => code.as_str(),
                CardRefusal::Authentication => "authentication_required",
            })),
            Err(Refused(_, Refusal::AskTheIntent(code))) => {
                Err(PartnerError::refused(code.as_str()))
            }
            // It names no other object than the customer and the payment method.
            Err(Refused(_, Refusal::Missing)) => Err(PartnerError::NoAgreement),
            Err(failure @ Refused(_, Refusal::Failed)) => {
                tracing::warn!(%failure, "Stripe opens no charge");
                Err(PartnerError::unavailable(failure))
            }
            Err(failure) => Err(refused_charge(failure)),
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
            Confirmation::Refused(_) => return self.confirm_refused(charge, &key).await,
            Confirmation::KeyIsSpent(failure) => failure,
        };
        let status = self.look_up(charge).await.map_err(unanswered)?;
        if status != ChargeStatus::Unconfirmed {
            return Ok(status);
        }
        if self.runtime.now() < charge.opened_at.plus(CONFIRMATION_IS_OVER) {
            return Err(unanswered(failure));
        }
        let again = self.try_confirm(charge, &self.new_key(&key)).await;
        match again.map_err(unanswered)? {
            Confirmation::Stands(status) => Ok(status),
            Confirmation::AskTheIntent | Confirmation::Refused(_) => {
                self.look_up(charge).await.map_err(unanswered)
            }
            Confirmation::KeyIsSpent(failure) => Err(unanswered(failure)),
        }
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let intent = self.client.intent(&charge.reference).await?;
        Ok(status_of(&intent, charge))
    }

    /// The second confirmation, with the customer present, happens under one key for an intent.
    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        let mut intent = self.client.intent(&charge.reference).await?;
        if let Some(return_url) = &self.return_url
            && let Some((_, method)) = agreed(&charge.request)
            && !charge.has_other_method()
            && intent.status == IntentStatus::RequiresPaymentMethod
            && status_of(&intent, charge) == ChargeStatus::ActionRequired
        {
            let key = format!("{}-on-session", confirmation_key(charge));
            let (reference, url) = (&charge.reference, return_url.as_str());
            let confirmed =
                self.client
                    .confirm_with_customer(reference, &key, method.as_str(), url);
            intent = match confirmed.await {
                Ok(intent) => intent,
                // Declined, or not to be confirmed so: the intent says how it stands.
                Err(Refused(..)) => self.client.intent(reference).await?,
                Err(failure) => return Err(failure.into()),
            };
        }
        Ok((status_of(&intent, charge), intent.next_action()))
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
        let key = refunds.next_key(key(&charge.request, "refund"));
        let (refunded, first_is_known) = match self.client.refund(charge, &key).await {
            Err(Refused(_, Refusal::Failed | Refusal::KeyReused)) => {
                if let Some(status) = self.standing_refund(charge).await? {
                    return Ok(status);
                }
                let key = self.new_key(&key);
                (self.client.refund(charge, &key).await, false)
            }
            Err(failure)
                if RefundRefusal::from_failure(&failure)
                    .is_some_and(|refusal| refusal.spends_its_key()) =>
            {
                let key = self.new_key(&key);
                (self.client.refund(charge, &key).await, true)
            }
            first => (first, true),
        };
        let failure = match refunded {
            Ok(refund) => return Ok(refund_status(&refund)),
            Err(failure) => failure,
        };
        match RefundRefusal::from_failure(&failure) {
            Some(RefundRefusal::Refused(code)) => Ok(RefundStatus::Failed {
                code: code.as_str().to_owned(),
            }),
            Some(RefundRefusal::AlreadyMade) => {
                let standing = self.standing_refund(charge).await?;
                standing.ok_or_else(|| unanswered("a refunded charge shows no refund"))
            }
            Some(RefundRefusal::Operator) => Err(failure.into()),
            None if first_is_known => Err(failure.into()),
            None => Err(unanswered(failure)),
        }
    }

    /// What Stripe has of this charge's refunds is asked first, by the name in their metadata. A key that
    /// Stripe has answered with a failure (5xx) repeats it for a day. It is given up only by whoever got
    /// that answer, so nobody who holds it can make a refund any more.
    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        let currency = charge.request.currency;
        let amount = match amount::minor_units(part.amount, currency) {
            Ok(amount) => amount,
            Err(why) => return Ok(PartAnswer::Stands(failed(why.code()))),
        };
        if let Some(status) = self.part_status(charge, part).await? {
            return Ok(PartAnswer::Stands(status));
        }
        let key = format!("{}-{}", part.id, part.key);
        let refunded = self.client.refund_part(charge, part.id, amount, &key);
        let failure = match refunded.await {
            Ok(refund) => return Ok(PartAnswer::Stands(refund_status(&refund))),
            Err(failure) => failure,
        };
        match &failure {
            Refused(_, Refusal::Failed | Refusal::KeyReused) => {
                let status = self.part_status(charge, part).await.map_err(unanswered)?;
                Ok(status.map_or(PartAnswer::KeyIsSpent, PartAnswer::Stands))
            }
            _ => match RefundRefusal::from_failure(&failure) {
                Some(RefundRefusal::Refused(code)) => Ok(PartAnswer::Stands(failed(code.as_str()))),
                Some(RefundRefusal::AlreadyMade) => Ok(PartAnswer::Stands(failed(ALREADY_MADE))),
                Some(refusal) if refusal.spends_its_key() => Ok(PartAnswer::KeyIsSpent),
                Some(RefundRefusal::Operator) | None => Err(failure.into()),
            },
        }
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        let list = self.client.refunds(&charge.reference).await?;
        if list.has_more {
            return Err(unanswered(
                "the charge has more refunds than one page shows",
            ));
        }
        let shown = list.data.iter().map(|refund| {
            let amount = amount::from_minor_units(refund.amount, charge.request.currency)?;
            Some(ShownRefund {
                name: refund.name(),
                amount,
                status: refund_status(refund),
            })
        });
        let shown: Option<Vec<_>> = shown.collect();
        shown
            .map(Some)
            .ok_or_else(|| unanswered("a refund has an amount that its currency does not"))
    }

    /// Keys are rolled and name no account; nothing is concluded from an intent that is not found.
    fn account(&self) -> PartnerAccount {
        PartnerAccount::new(PartnerName::Stripe, "")
    }

    fn name(&self) -> PartnerName {
        PartnerName::Stripe
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let refunds = self.refunds(charge).await?;
        Ok(refunds.standing.or(refunds.failure))
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        Some(PartnerName::Stripe)
    }

    /// Without a key: cancelling again is refused and then looked up, and a failure is not kept.
    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self.client.cancel_intent(&charge.reference).await {
            Ok(intent) => Ok(status_of(&intent, charge)),
            Err(Refused(
                _,
                Refusal::AskTheIntent(_)
                | Refusal::Card(_)
                | Refusal::UnknownCustomer
                | Refusal::Refused(_),
            )) => self.look_up(charge).await,
            Err(failure) => Err(failure.into()),
        }
    }

    /// A dispute has none of our metadata; its intent has.
    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        let Some(id) = PathSegment::parse(id.as_str()) else {
            return Ok(None);
        };
        match self.client.dispute(id).await {
            Ok(dispute) => Ok(dispute.into_disputed()),
            Err(Refused(404, _) | Refused(_, Refusal::Missing)) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }
}
