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
//! | partial refund | the same, with an amount and the name in `metadata[refund_id]` |
//! | refund's status | `GET /v1/refunds?payment_intent={id}` |
//! | dispute | `GET /v1/disputes/{id}` |
//!
//! **Why a charge is captured at most once.** An intent is confirmed without the customer at most
//! once, and this does not depend on idempotency keys. It is opened with its payment method, and
//! the confirmation without the customer names none. Before this only confirmation, the intent is
//! `requires_confirmation`. If the confirmation succeeds or leads to the customer or the bank,
//! another one is refused. If it is declined, the decline detaches the payment method from the
//! intent, and another one is refused because there is none (`payment_intent_unexpected_state` each
//! time). A worker that was frozen before it confirmed and resumes after a decline therefore cannot
//! charge the card of an order that is already shown as declined.
//!
//! **The customer's confirmation.** If a card's issuer requires the customer, the card is refused
//! off session (`authentication_required`), and its intent waits without a payment method. If the
//! deployment has a `return_url`, the intent is then confirmed a second time, with the customer
//! present and with the same card. It gets a page where the customer authenticates
//! (`next_action.redirect_to_url`), and Stripe completes the payment there. Without a `return_url`,
//! the shop's page completes it with the client secret and Stripe's library. An intent is captured
//! once, whoever confirms it.
//!
//! **Which card is charged.** The card that the intent was opened with is charged, so an intent is
//! confirmed only while the customer's agreement is for that card. After another approval the
//! intent is cancelled, and another one is opened.
//!
//! The idempotency keys are a second safeguard. They are derived from the invoice and the attempt.
//! For a day Stripe repeats its first answer to a key, including failures (5xx). A failure would
//! therefore block an order for that day: see [`Stripe::confirm`].
//!
//! **Refunds** that succeeded may fail days later ("Refund and cancel payments", "Failed refunds"):
//! the money then returns to the account, and the charge can be refunded again. The key of a refund
//! counts the failed ones before it.

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

/// The code of a refund that is not made because nothing of the charge is left.
const ALREADY_MADE: &str = "charge_already_refunded";

/// After this time, no earlier confirmation is still being processed at Stripe: its own clients
/// wait 80 s for an answer.
const CONFIRMATION_IS_OVER: Duration = Duration::from_secs(90);

/// Charges customers through Stripe.
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

    /// Sends customers to that URL after they have authenticated at their bank.
    #[must_use]
    pub fn returning_to(self, return_url: Option<RedirectUrl>) -> Self {
        Self { return_url, ..self }
    }

    /// Uses the account's current secret key, field `apiKey` of `secret`, at `STRIPE_URL`; Stripe's
    /// own address if that is not set.
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

    /// An unused key, for an operation whose own key is spent.
    fn new_key(&self, key: &str) -> String {
        format!("{key}-{}", self.runtime.token())
    }

    /// Waits 0.1 to 0.36 s, so that calls that were refused together do not retry together.
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

    /// Confirms a charge whose confirmation was refused for an unlisted reason, or for one that the
    /// operator corrects. The intent shows whether anything happened. If nothing did, Stripe may
    /// repeat the refusal for the key, so the confirmation is requested once more under an unused
    /// key.
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

    /// The refunds that Stripe shows for the charge.
    async fn refunds(&self, charge: &OpenCharge) -> Result<Refunds, PartnerError> {
        let list = self.client.refunds(&charge.reference).await?;
        let (amount, currency) = (charge.request.amount, charge.request.currency);
        let whole = amount::minor_units(amount, currency).unwrap_or(u64::MAX);
        refunds(&list, whole)
    }

    /// The status of the refund with that name, if Stripe shows one.
    async fn part_status(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let shown = self.shown_refunds(charge).await?.unwrap_or_default();
        Ok(named(&shown, part.id))
    }

    /// The status of the charge's refunds after one was requested.
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

/// The idempotency key of an operation that happens once for each attempt. It contains no customer
/// data.
fn key(request: &ChargeRequest, operation: &str) -> String {
    format!("{}-{}-{operation}", request.invoice, request.attempt)
}

/// The key for opening an intent: one for each attempt, and another one for each intent that
/// replaces a closed one.
fn opening_key(request: &ChargeRequest) -> String {
    let key = key(request, "open");
    match &request.replaces {
        None => key,
        Some(closed) => format!("{key}-{closed}"),
    }
}

/// The key for the one confirmation of an intent. An attempt may have several intents, one after
/// another.
fn confirmation_key(charge: &OpenCharge) -> String {
    format!("{}-{}", key(&charge.request, "confirm"), charge.reference)
}

/// The customer and the payment method at Stripe, if the agreement has both.
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
    /// An intent that is opened twice moves no money, so this is the only call that is retried at
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
            // Also if the customer has agreed to another card since the key was first used.
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
            // Opening an intent charges nothing: a refusal of the card is final for this attempt,
            // and a failure has moved no money.
            Err(Refused(_, Refusal::Card(refusal))) => Err(PartnerError::refused(match &refusal {
                CardRefusal::Declined { code, .. } => code.as_str(),
                CardRefusal::Authentication => "authentication_required",
            })),
            Err(Refused(_, Refusal::AskTheIntent(code))) => {
                Err(PartnerError::refused(code.as_str()))
            }
            // The request names no other objects than the customer and the payment method.
            Err(Refused(_, Refusal::Missing)) => Err(PartnerError::NoAgreement),
            Err(failure @ Refused(_, Refusal::Failed)) => {
                tracing::warn!(%failure, "Stripe opens no charge");
                Err(PartnerError::unavailable(failure))
            }
            Err(failure) => Err(refused_charge(failure)),
        }
    }

    /// For a day Stripe repeats a failure (5xx) for its key, even after a look-up has shown the
    /// intent as unconfirmed. A failure therefore proves nothing here: the intent is looked up. If
    /// it is still unconfirmed, and an earlier confirmation can no longer be processed, it is
    /// confirmed under an unused key. That cannot charge twice, because an intent is confirmed at
    /// most once, whatever the key.
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

    /// The second confirmation, with the customer present, has one key for each intent.
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
                // Declined, or it cannot be confirmed this way: the intent shows its state.
                Err(Refused(..)) => self.client.intent(reference).await?,
                Err(failure) => return Err(failure.into()),
            };
        }
        Ok((status_of(&intent, charge), intent.next_action()))
    }

    /// Reads this charge's refunds from Stripe first, so that the guarantee outlives the
    /// idempotency keys. A refund names no amount and therefore takes what is left: two of them,
    /// under whatever keys, cannot refund more than was paid.
    ///
    /// Stripe may repeat a refusal for a day, even after its cause is corrected. A refusal has no
    /// effect, so the refund is requested again under an unused key.
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

    /// Reads this charge's refunds from Stripe first and searches them for the name in their
    /// metadata. A key that Stripe has answered with a failure (5xx) repeats it for a day. Only the
    /// worker that got that answer gives the key up, so no other worker that holds the key can
    /// still make a refund.
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

    /// Keys are rotated and do not identify an account; an intent that is not found proves nothing.
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

    /// Sent without a key: another cancellation is refused and then looked up, and a failure is not
    /// stored.
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

    /// A dispute does not carry our metadata, but its intent does.
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
