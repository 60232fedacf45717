//! PayPal, by its Orders API, version 2.
//!
//! | step | call |
//! | --- | --- |
//! | open | `POST /v2/checkout/orders` **without** a payment source, so that nothing is charged |
//! | confirm | `POST /v2/checkout/orders/{id}/capture` with the customer's vaulted source |
//! | look up | `GET /v2/checkout/orders/{id}`; the capture's status counts, not the order's |
//! | refund | `POST /v2/payments/captures/{id}/refund` |
//! | partial refund | the same, with an amount and the name as `invoice_id` |
//! | refund's status | `GET /v2/checkout/orders/{id}` |
//! | dispute | `GET /v1/customer/disputes/{id}`, then `GET /v2/payments/captures/{id}` of what is disputed |
//!
//! # One charge
//!
//! An order with intent `CAPTURE` has one capture. PayPal answers a second one with
//! `ORDER_ALREADY_CAPTURED`, whoever requests it, with whatever key, and however late. Confirming a
//! reference therefore captures the money only once, and safety does not depend on how long PayPal
//! keeps a `PayPal-Request-Id` (6 hours for orders).
//!
//! PayPal cannot cancel an order that waits for its capture, and an order remains capturable after
//! a refused capture. A worker that was frozen before its capture and resumes after the decline
//! could therefore still capture the money, and a second order for the next attempt would capture
//! it twice. So `cancel` returns the state of the order, and as long as the order may be captured,
//! the next attempt continues with **the same order**. Another order is opened only if that one is
//! provably dead: it is voided, its capture was finally declined, or it has expired. All attempts
//! and workers share one order, and that order is captured once.
//!
//! An order that is not captured expires three hours after it was created. PayPal can set a longer
//! time for an account, never a shorter one. From then on PayPal answers 404. An earlier 404 proves
//! nothing (a replica may lag behind) and counts as no answer, and so does a 404 to another
//! account. While a capture is unanswered, a 404 to a look-up proves nothing either. The capture
//! itself is requested once more, which is safe because an order has one capture, and only its
//! answer proves that the order is gone. `cancel` requests no capture: there, an order that is gone
//! counts as expired once no capture can still arrive, because a captured order stays readable.
//!
//! # A decline is final for its attempt
//!
//! For 6 hours, a repeat with the same `PayPal-Request-Id` gets the outcome of the first request;
//! the order lives for 3. A repeat of a declined attempt therefore gets the same decline or a dead
//! order. An account whose orders live longer than 6 hours would lose this guarantee: a worker that
//! is frozen that long could capture what counts as declined. It would still be the only capture,
//! and the next attempt would find it.
//!
//! # Retries
//!
//! Only a call that was refused because of an expired token is repeated: it had no effect.
//! Everything else is requested again by the next claim, which looks the order up first.

pub mod answers;
mod client;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

use std::time::Duration;

use domain::{
    Agreement, Money, NextAction, PartnerAccount, PartnerName, PartnerToken, RedirectUrl,
    RefundName, digest_hex,
};
use messages::PartnerReference;
use partner::CallFailure::Refused;
use partner::FromReach as _;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::{Keys, SecretVariables};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::answers::{Meaning, Words};
use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, RefundStatus, Refunds, ShownRefund, named,
};
use client::{Client, Credentials, Failure, path_id};
use verdict::{
    CHARGES, CaptureStatus, OrderStatus, REFUNDS, RefundWord, Refusal, contradiction,
    dispute_state, meaning, not_allowed, outcome, refund_failed, refunds, refused, standing,
    unknown_word,
};
use wire::{Source, WireCapture, WireOrder, amount_text};

/// The code of a refund that is not made because nothing of the capture is left.
const FULLY_REFUNDED: &str = "capture_fully_refunded";

/// The minimum lifetime of an order that is not captured ("Orders", `links`).
const ORDER_LIVES: Duration = Duration::from_hours(3);

/// PayPal, for one account.
#[derive(Clone, Debug)]
pub struct PayPal {
    client: Client,
    return_url: Option<RedirectUrl>,
    runtime: Runtime,
}

/// PayPal's answer to a requested refund.
enum Refunding {
    /// There is a refund, with this status.
    Made(RefundStatus),
    /// There is no refund, because of this issue.
    Refused(String),
    /// There is no refund until the operator corrects the shop's account.
    NotAllowed(Failure),
}

impl Refunding {
    fn into_status(self) -> Result<RefundStatus, PartnerError> {
        match self {
            Self::Made(status) => Ok(status),
            Self::Refused(issue) => Ok(refund_failed(&issue.to_ascii_lowercase())),
            Self::NotAllowed(failure) => Err(not_allowed(failure)),
        }
    }
}

/// Outcome of opening an order.
enum Opened {
    /// The order's PayPal ID.
    As(String),
    /// Nothing happened. As with a capture, the attempt continues once the cause is corrected.
    Kept(PartnerError),
}

/// Outcome of a capture.
enum Captured {
    Status(ChargeStatus),
    /// The token belongs to another kind of source; nothing happened.
    OtherSource,
    /// Nothing happened. The attempt continues once the cause is corrected, but PayPal may repeat
    /// this answer for the same ID even then.
    Kept(PartnerError),
}

impl PayPal {
    /// A client for the account of `client_id` and `secret`; `https` selects live or sandbox.
    #[must_use]
    pub fn new(https: Https, client_id: String, secret: Secret, runtime: Runtime) -> Self {
        let keys = Keys::fixed(Credentials { client_id, secret });
        Self {
            client: Client::new(https, keys, runtime.clone()),
            return_url: None,
            runtime,
        }
    }

    /// Sends payers to that URL after they have acted.
    #[must_use]
    pub fn returning_to(self, return_url: Option<RedirectUrl>) -> Self {
        Self { return_url, ..self }
    }

    /// Uses the current `clientId` and `clientSecret` of `secret` at `PAYPAL_URL`; PayPal's live
    /// address if that is not set.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        secret: SecretVariables,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            client: Client::from_environment(environment, aws, secret, runtime.clone()).await?,
            return_url: None,
            runtime,
        })
    }

    /// Opens an order under this ID. The customer is not involved yet, and no money moves. If
    /// waiting can help, or after a failure, a later call retries.
    async fn create_order(&self, id: &str, body: &Value) -> Result<Opened, PartnerError> {
        let failure = match self.client.create_order(id, body).await {
            Ok(order) => return Ok(Opened::As(order.id)),
            Err(failure) => failure,
        };
        let Some((meaning, issue)) = refusal(CHARGES, &failure) else {
            return Err(PartnerError::from_write(failure));
        };
        match meaning {
            Meaning::Operator => Ok(Opened::Kept(not_allowed(failure))),
            Meaning::NoAgreement => Ok(Opened::Kept(PartnerError::NoAgreement)),
            Meaning::InDoubt | Meaning::Later => Err(PartnerError::unavailable(failure)),
            Meaning::DeclinedForNow
            | Meaning::Declined
            | Meaning::CustomerMustAct
            | Meaning::OtherSource
            | Meaning::Refused
            | Meaning::Malformed
            | Meaning::RefusedUnlessDone
            | Meaning::LookUp
            | Meaning::Gone => Err(refused(&failure, &issue)),
        }
    }

    /// The current order; `None` once it has expired.
    async fn order(&self, charge: &OpenCharge) -> Result<Option<WireOrder>, PartnerError> {
        match self.client.order(&charge.reference).await {
            Ok(order) => Ok(Some(order)),
            Err(failure) if is_gone(&failure) && self.may_have_expired(charge) => Ok(None),
            Err(failure) => Err(PartnerError::from_harmless(failure)),
        }
    }

    /// Whether a 404 can mean that the order has expired: only for the account that opened it, and
    /// only after its minimum lifetime.
    fn may_have_expired(&self, charge: &OpenCharge) -> bool {
        charge.account.as_ref() == Some(&self.account())
            && self.runtime.now() >= charge.opened_at.plus(ORDER_LIVES)
    }

    /// The state of the order, unless its capture was just requested.
    async fn standing(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let order = self.order_status(charge).await?;
        Ok(order.unwrap_or(match charge.unanswered_since {
            None => ChargeStatus::Expired,
            // Only the capture's own answer tells its outcome: it is requested once more.
            Some(_) => ChargeStatus::Unconfirmed,
        }))
    }

    /// The state of the order if its capture will not be requested any more. A captured order stays
    /// readable, so one that is gone was not captured, unless the capture may still arrive.
    async fn standing_at_last(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let order = self.order_status(charge).await?;
        let may_arrive = charge.confirmation_may_arrive(self.runtime.now());
        Ok(order.unwrap_or(if may_arrive {
            ChargeStatus::Unconfirmed
        } else {
            ChargeStatus::Expired
        }))
    }

    /// The state in the order itself; `None` once it has expired.
    async fn order_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<ChargeStatus>, PartnerError> {
        let order = self.order(charge).await?;
        let status =
            order.map(|order| standing(&order, &charge.request).map_err(PartnerError::unavailable));
        status.transpose()
    }

    /// The state of the order after its capture was requested: if it cannot be read now, it is
    /// unknown.
    async fn standing_after(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing(charge).await.map_err(|error| match error {
            PartnerError::Unavailable(source) => PartnerError::Unanswered(source),
            error => error,
        })
    }

    async fn is_approved(&self, charge: &OpenCharge) -> Result<bool, PartnerError> {
        let order = self.order(charge).await?;
        let status = order.and_then(|order| OrderStatus::from_word(&order.status));
        Ok(status == Some(OrderStatus::Approved))
    }

    /// Requests the capture from that source; `again` distinguishes the second request after the
    /// payer has acted. PayPal may repeat a refusal even after its cause is corrected, so the
    /// capture is requested once more under an unused ID. An order has one capture, whatever the
    /// ID.
    async fn capture(
        &self,
        charge: &OpenCharge,
        agreement: &Agreement,
        source: Source,
        again: bool,
    ) -> Result<Captured, PartnerError> {
        let token = &agreement.payment_method;
        let id = capture_id(charge, token, source, again);
        // What the payer has approved is captured as approved.
        let body = (!again).then(|| source.body(token));
        let first = self.try_capture(charge, body.clone(), &id).await?;
        if !matches!(first, Captured::Kept(_)) {
            return Ok(first);
        }
        let id = format!("pay-{}-{}", charge.reference, self.fresh());
        self.try_capture(charge, body, &id).await
    }

    async fn try_capture(
        &self,
        charge: &OpenCharge,
        source: Option<Value>,
        id: &str,
    ) -> Result<Captured, PartnerError> {
        let failure = match self.client.capture(&charge.reference, id, source).await {
            Ok(order) => {
                let outcome = outcome(&order, &charge.request).map_err(PartnerError::unanswered)?;
                return Ok(Captured::Status(match outcome {
                    Some(status) => status,
                    None => self.settled(charge).await?,
                }));
            }
            Err(failure) => failure,
        };
        let Some((meaning, issue)) = refusal(CHARGES, &failure) else {
            return Err(PartnerError::from_write(failure));
        };
        let code = || issue.to_ascii_lowercase();
        let declined = |retryable| ChargeStatus::Declined {
            code: code(),
            retryable,
        };
        Ok(Captured::Status(match meaning {
            Meaning::DeclinedForNow => declined(true),
            Meaning::Declined => declined(false),
            Meaning::CustomerMustAct => ChargeStatus::ActionRequired,
            Meaning::LookUp => self.settled(charge).await?,
            Meaning::NoAgreement => return Ok(Captured::Kept(PartnerError::NoAgreement)),
            Meaning::OtherSource => return Ok(Captured::OtherSource),
            Meaning::Refused | Meaning::Malformed => return Err(refused(&failure, &issue)),
            Meaning::RefusedUnlessDone => match self.standing_after(charge).await? {
                ChargeStatus::Unconfirmed => return Err(refused(&failure, &issue)),
                status => status,
            },
            Meaning::Operator => return Ok(Captured::Kept(not_allowed(failure))),
            Meaning::Gone if self.may_have_expired(charge) => ChargeStatus::Expired,
            Meaning::InDoubt | Meaning::Gone => return Err(PartnerError::unanswered(failure)),
            Meaning::Later => return Err(PartnerError::unavailable(failure)),
        }))
    }

    /// A random part for an unused ID.
    fn fresh(&self) -> String {
        let token = self.runtime.token();
        token.get(..16).unwrap_or(&token).to_owned()
    }

    /// The captured order and the refunds that it shows.
    async fn refunds(&self, charge: &OpenCharge) -> Result<(WireOrder, Refunds), PartnerError> {
        // A captured order stays readable.
        let order = self.order(charge).await?;
        let order = order
            .ok_or_else(|| PartnerError::unavailable("PayPal does not find a captured order"))?;
        let refunds = refunds(&order, charge.request.amount).map_err(PartnerError::unavailable)?;
        Ok((order, refunds))
    }

    /// The state of a capture that was already made.
    async fn settled(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self.standing_after(charge).await? {
            ChargeStatus::Unconfirmed | ChargeStatus::Cancelled | ChargeStatus::Expired => {
                Err(PartnerError::unanswered(contradiction()))
            }
            status => Ok(status),
        }
    }

    /// Refunds the remaining amount of a capture. PayPal may repeat a refusal for this ID even
    /// after its cause is corrected. A refusal has no effect, so the refund is requested again
    /// under an unused ID.
    async fn refund_capture(
        &self,
        charge: &OpenCharge,
        capture: &str,
        id: &str,
    ) -> Result<RefundStatus, PartnerError> {
        let first = self.try_refund(charge, capture, id).await?;
        if matches!(first, Refunding::Made(_)) {
            return first.into_status();
        }
        let fresh = format!("{id}-{}", self.fresh());
        let again = self.try_refund(charge, capture, &fresh).await?;
        again.into_status()
    }

    async fn try_refund(
        &self,
        charge: &OpenCharge,
        capture: &str,
        id: &str,
    ) -> Result<Refunding, PartnerError> {
        let invoice = charge.request.invoice;
        let failure = match self.client.refund(capture, id, invoice).await {
            Ok(refund) => {
                return match RefundWord::from_word(&refund.status) {
                    Some(word) => Ok(Refunding::Made(word.status())),
                    None => Err(PartnerError::unanswered(unknown_word(
                        "refund.status",
                        &refund.status,
                    ))),
                };
            }
            Err(failure) => failure,
        };
        let Some((meaning, issue)) = refusal(REFUNDS, &failure) else {
            return Err(PartnerError::from_write(failure));
        };
        match meaning {
            Meaning::LookUp => {
                let standing = self.standing_refund(charge).await?;
                let standing = standing.ok_or_else(|| PartnerError::unanswered(contradiction()))?;
                Ok(Refunding::Made(standing))
            }
            Meaning::RefusedUnlessDone => {
                let standing = self.standing_refund(charge).await?;
                Ok(standing.map_or(Refunding::Refused(issue), Refunding::Made))
            }
            Meaning::InDoubt => Err(PartnerError::unanswered(failure)),
            Meaning::Later => Err(PartnerError::unavailable(failure)),
            // A capture never disappears for the account that made it.
            Meaning::Operator | Meaning::Gone => Ok(Refunding::NotAllowed(failure)),
            Meaning::DeclinedForNow
            | Meaning::Declined
            | Meaning::CustomerMustAct
            | Meaning::NoAgreement
            | Meaning::OtherSource
            | Meaning::Refused
            | Meaning::Malformed => Ok(Refunding::Refused(issue)),
        }
    }

    /// The status of the charge's refunds after one was requested.
    async fn standing_refund(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let order = self.order(charge).await.map_err(PartnerError::unanswered)?;
        let whole = charge.request.amount;
        let refunds = order.as_ref().map(|order| refunds(order, whole));
        let refunds = refunds.transpose();
        let refunds = refunds.map_err(PartnerError::unanswered)?;
        Ok(refunds.and_then(|refunds| refunds.standing))
    }
}

/// The meaning of a refused call by those tables, and its issue; `None` if the call failed or was
/// refused before it was read. If the malformed value is the customer's, PayPal does not know it.
fn refusal(tables: [Words; 2], failure: &Failure) -> Option<(Meaning, String)> {
    let Refused(
        status,
        Refusal::Issue {
            issue,
            about_the_source,
        },
    ) = failure
    else {
        return None;
    };
    let meaning = match meaning(tables, *status, issue) {
        Meaning::Malformed if *about_the_source => Meaning::NoAgreement,
        meaning => meaning,
    };
    Some((meaning, issue.clone()))
}

/// Whether PayPal does not know the order, or no longer does.
fn is_gone(failure: &Failure) -> bool {
    refusal(CHARGES, failure).is_some_and(|(meaning, _)| meaning == Meaning::Gone)
}

/// The capture that is not completely refunded.
fn taken(order: &WireOrder) -> Option<&WireCapture> {
    order.captures().find(|capture| {
        matches!(
            CaptureStatus::from_word(&capture.status),
            Some(CaptureStatus::Completed | CaptureStatus::PartiallyRefunded)
        )
    })
}

/// All refunds of the order. Money that PayPal has taken back without a refund is shown as another
/// one.
fn shown(order: &WireOrder, charge: &OpenCharge) -> Result<Vec<ShownRefund>, PartnerError> {
    let mut shown = Vec::new();
    for refund in order.refunds() {
        let word = RefundWord::from_word(&refund.status);
        let word = word.ok_or_else(|| {
            PartnerError::unavailable(unknown_word("refund.status", &refund.status))
        })?;
        let amount = refund
            .amount()
            .ok_or_else(|| PartnerError::unavailable("a refund shows no amount"))?;
        shown.push(ShownRefund {
            name: refund.name(),
            amount,
            status: word.status(),
        });
    }
    let holding = shown.iter().filter(|refund| !refund.status.has_failed());
    let given_back: Decimal = holding.map(|refund| refund.amount.decimal()).sum();
    // After a failure, the capture may still show its earlier status.
    let any_failed = shown.iter().any(|refund| refund.status.has_failed());
    let is_gone = |capture: &&WireCapture| match CaptureStatus::from_word(&capture.status) {
        Some(CaptureStatus::Refunded) => !any_failed,
        Some(CaptureStatus::Declined | CaptureStatus::Failed) => true,
        _ => false,
    };
    let holds_money = order.captures().any(|capture| !is_gone(&capture));
    let rest = Money::new(charge.request.amount.decimal() - given_back);
    if let (Some(capture), Ok(rest)) = (order.captures().find(is_gone), rest)
        && rest != Money::ZERO
        && !holds_money
    {
        shown.push(ShownRefund {
            name: RefundName::Partners(capture.id.clone()),
            amount: rest,
            status: RefundStatus::Refunded,
        });
    }
    Ok(shown)
}

/// The agreement to charge with, if it is one with PayPal.
fn agreement(request: &ChargeRequest) -> Result<&Agreement, PartnerError> {
    let agreement = request.agreement.as_ref();
    agreement
        .filter(|agreement| agreement.partner == PartnerName::PayPal)
        .ok_or(PartnerError::NoAgreement)
}

/// A separate ID for each request that differs: by attempt, order, or source. At most 104
/// characters.
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

impl BillingPartner for PayPal {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        agreement(request)?;
        let currency = request.currency;
        let Some(value) = amount_text(request.amount, currency) else {
            return Err(PartnerError::refused("amount_not_supported"));
        };
        let (invoice, attempt) = (request.invoice.to_string(), request.attempt);
        // A repeat finds its order as long as most of the order's lifetime remains.
        let hour = self.runtime.now().seconds() / 3600;
        let id = match &request.replaces {
            None => format!("open-{invoice}-{attempt}-{hour}"),
            Some(closed) => format!("open-{invoice}-{attempt}-{hour}-{closed}"),
        };
        let mut body = json!({
            "intent": "CAPTURE",
            "purchase_units": [{
                "reference_id": invoice,
                // By this a webhook finds our order: captures and their events carry it.
                "custom_id": invoice,
                // An account may be set to accept one payment for each invoice ID; a refused
                // attempt must not use it up.
                "invoice_id": format!("{invoice}-{attempt}"),
                "amount": {"currency_code": currency.code(), "value": value},
            }],
        });
        if let Some(return_url) = &self.return_url {
            let url = return_url.as_str();
            body["application_context"] = json!({
                "return_url": url, "cancel_url": url,
                "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING",
            });
        }
        match self.create_order(&id, &body).await? {
            Opened::As(order) => Ok(order),
            Opened::Kept(_) => {
                let id = format!("open-{invoice}-{attempt}-{}", self.fresh());
                match self.create_order(&id, &body).await? {
                    Opened::As(order) => Ok(order),
                    Opened::Kept(error) => Err(error),
                }
            }
        }
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let agreement = agreement(&charge.request)?;
        for source in Source::candidates(&agreement.payment_method) {
            let status = match self.capture(charge, agreement, *source, false).await? {
                Captured::Status(status) => status,
                Captured::OtherSource => continue,
                Captured::Kept(error) => return Err(error),
            };
            if status != ChargeStatus::ActionRequired {
                return Ok(status);
            }
            // PayPal repeats that answer even after the payer has acted. The order is approved
            // then, and this is another request.
            if !self.is_approved(charge).await? {
                return Ok(ChargeStatus::ActionRequired);
            }
            return match self.capture(charge, agreement, *source, true).await? {
                Captured::Status(status) => Ok(status),
                Captured::OtherSource => Err(PartnerError::NoAgreement),
                Captured::Kept(error) => Err(error),
            };
        }
        Err(PartnerError::NoAgreement)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing(charge).await
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        match self.order(charge).await? {
            Some(order) => {
                let status =
                    standing(&order, &charge.request).map_err(PartnerError::unavailable)?;
                Ok((status, order.next_action()))
            }
            None => Ok((self.standing(charge).await?, NextAction::default())),
        }
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        let (order, refunds) = self.refunds(charge).await?;
        if let Some(status) = refunds.standing {
            return Ok(status);
        }
        let Some(capture) = taken(&order) else {
            let failure = refunds.failure;
            return Ok(failure.unwrap_or_else(|| refund_failed("not_captured")));
        };
        // PayPal repeats its answer for 45 days. With the 17 characters of a capture's ID, this is
        // far below the limit of 108.
        let id = refunds.next_key(format!("refund-{}", capture.id));
        self.refund_capture(charge, &capture.id, &id).await
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let (_, refunds) = self.refunds(charge).await?;
        Ok(refunds.standing.or(refunds.failure))
    }

    /// Reads the order's refunds first and searches them for the name, which is in their
    /// `invoice_id`. PayPal repeats its answer to an ID for 45 days.
    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        let currency = charge.request.currency;
        let Some(value) = amount_text(part.amount, currency) else {
            return Ok(PartAnswer::Stands(refund_failed("amount_not_supported")));
        };
        let (order, refunds) = self.refunds(charge).await?;
        if let Some(status) = named(&shown(&order, charge)?, part.id) {
            return Ok(PartAnswer::Stands(status));
        }
        let Some(capture) = taken(&order) else {
            let failure = refunds.standing.map_or("not_captured", |_| FULLY_REFUNDED);
            return Ok(PartAnswer::Stands(refund_failed(failure)));
        };
        let amount = json!({"currency_code": currency.code(), "value": value});
        let request_id = format!("{}-{}", part.id, part.key);
        let invoice = charge.request.invoice;
        let made = self
            .client
            .refund_part(&capture.id, part.id, &request_id, invoice, &amount);
        let failure = match made.await {
            Ok(refund) => {
                let word = RefundWord::from_word(&refund.status);
                let word = word.ok_or_else(|| {
                    PartnerError::unanswered(unknown_word("refund.status", &refund.status))
                })?;
                return Ok(PartAnswer::Stands(word.status()));
            }
            Err(failure) => failure,
        };
        let Some((meaning, issue)) = refusal(REFUNDS, &failure) else {
            return Err(PartnerError::from_write(failure));
        };
        match meaning {
            Meaning::InDoubt => Err(PartnerError::unanswered(failure)),
            Meaning::Later => Err(PartnerError::unavailable(failure)),
            // PayPal repeats this for the ID, even after the operator has corrected the cause.
            Meaning::Operator | Meaning::Gone => {
                let _ = not_allowed(failure);
                Ok(PartAnswer::KeyIsSpent)
            }
            Meaning::LookUp
            | Meaning::RefusedUnlessDone
            | Meaning::DeclinedForNow
            | Meaning::Declined
            | Meaning::CustomerMustAct
            | Meaning::NoAgreement
            | Meaning::OtherSource
            | Meaning::Refused
            | Meaning::Malformed => {
                // The account may accept a name only once, and may have accepted this one before.
                let (order, _) = self
                    .refunds(charge)
                    .await
                    .map_err(PartnerError::unanswered)?;
                let standing = named(&shown(&order, charge)?, part.id);
                let refused = || refund_failed(&issue.to_ascii_lowercase());
                Ok(PartAnswer::Stands(standing.unwrap_or_else(refused)))
            }
        }
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        let (order, _) = self.refunds(charge).await?;
        shown(&order, charge).map(Some)
    }

    /// Identified by the client ID: what another client does not find proves nothing. A new secret
    /// of the same client is the same account.
    fn account(&self) -> PartnerAccount {
        self.client.account()
    }

    fn name(&self) -> PartnerName {
        PartnerName::PayPal
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        Some(PartnerName::PayPal)
    }

    /// Changes nothing; see "One charge" above.
    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.standing_at_last(charge).await
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        let Some(id) = path_id(id.as_str()) else {
            return Ok(None);
        };
        let dispute = self.client.dispute(id).await;
        let Some(dispute) = dispute.map_err(PartnerError::from_harmless)? else {
            return Ok(None);
        };
        let state = dispute_state(&dispute.status, dispute.outcome());
        let state = state.ok_or_else(|| {
            PartnerError::unavailable(unknown_word("dispute.status", &dispute.status))
        })?;
        let Some(capture) = dispute.capture().and_then(path_id) else {
            return Ok(None);
        };
        let capture = self.client.disputed_capture(capture).await;
        let Some(capture) = capture.map_err(PartnerError::from_harmless)? else {
            return Ok(None);
        };
        Ok(capture.charge().map(|(invoice, reference)| Disputed {
            order: invoice.order(),
            reference,
            state,
            amount: dispute.amount(),
            at: dispute.updated(),
        }))
    }
}
