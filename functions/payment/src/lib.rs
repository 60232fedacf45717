//! Charges the customer for an issued invoice, once, and gives it back, once.
//!
//! `POST /api/order/payment.json`, or by itself when `InvoiceCreated` arrives; event
//! `PaymentProcessed`. `POST /api/order/cancel.json`, or by itself when `RefundRequested` arrives;
//! events `PaymentRefunded`, `OrderCancelled`. And when the partner reports a dispute, it is asked how
//! that stands.
//!
//! The order is claimed under a lease and a fence; the charge is *opened* at the partner without
//! moving money; its reference is stored under the fence; that reference is *confirmed*; the outcome
//! is written under the fence. Whoever comes after a crash finds the reference and asks the partner
//! what became of it. A reference can be confirmed once only, and an order has one reference per
//! attempt, so however many workers meet, the customer pays once.

mod cancel;
mod dispute;
pub mod partners;
mod request;

use std::time::Duration;

use shared::config::Shop;
use shared::domain::{
    Agreement, Charge, ChargeState, Decline, Order, OrderId, Payment, Status, number_from_digest,
};
use shared::error::{Dependency, Difference, Error, Missing, Outcome};
use shared::event::{Message, MessageKind};
use shared::http::{Answer, Call};
use shared::lambda::{Consumed, Function};
use shared::runtime::Runtime;
use shared::store::{Claim, ClaimRefusal, Fence, NextCharge, PaymentTerms, Settlement, Store};
use shared::telemetry;

use partners::{BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError};
use request::{PaymentBody, PaymentRequest, invoice_named_by};

/// How long a claim holds: longer than any payment function runs (template.yaml: 30 s), so that a
/// claim that has run out was left by one that is dead or frozen.
pub const LEASE: Duration = Duration::from_secs(90);

/// When to ask again while another call holds the claim.
const RETRY_IN_PROGRESS: Duration = Duration::from_secs(2);

/// How many attempts an invoice has: cards are not to be tried out here.
const MAX_ATTEMPTS: u32 = 20;

/// The payment service.
#[derive(Clone, Debug)]
pub struct Payments<P> {
    store: Store,
    partner: P,
    shop: Shop,
    stage: String,
    runtime: Runtime,
}

/// Who asks for the payment.
enum Wish<'a> {
    /// A message: charges what is due, but never tries again after a decline.
    Message,
    /// A request: may start another attempt after a decline.
    Request {
        terms: &'a PaymentTerms,
        key: Option<&'a str>,
    },
}

impl<'a> Wish<'a> {
    fn terms(&self) -> Option<&'a PaymentTerms> {
        match self {
            Self::Message => None,
            Self::Request { terms, .. } => Some(terms),
        }
    }

    fn key(&self) -> Option<&'a str> {
        match self {
            Self::Message => None,
            Self::Request { key, .. } => *key,
        }
    }
}

impl<P: BillingPartner> Payments<P> {
    /// The service over its store and partner; `stage` names the deployment in metrics.
    #[must_use]
    pub fn new(store: Store, partner: P, shop: Shop, stage: String, runtime: Runtime) -> Self {
        Self {
            store,
            partner,
            shop,
            stage,
            runtime,
        }
    }

    /// Reads the request: its amount in the shop's currency, or else in that of the order, which may
    /// have been placed before the shop changed to another.
    async fn read(&self, call: &Call) -> Result<PaymentRequest, Error> {
        let body = call.body()?;
        let request = match PaymentRequest::read(body, self.shop.currency) {
            Ok(request) => request,
            Err(error) => {
                let Some((customer, invoice)) = invoice_named_by(body) else {
                    return Err(error);
                };
                let id = invoice.order();
                match call.own_order(&self.store, &customer, &id).await? {
                    Some(order) => PaymentRequest::read(body, order.currency)?,
                    None => return Err(error),
                }
            }
        };
        call.caller
            .check(&request.terms.customer, Missing::Invoice)?;
        Ok(request)
    }

    /// Charges the order unless it is charged; returns it paid.
    async fn pay(&self, id: &OrderId, wish: Wish<'_>) -> Result<Order, Error> {
        let now = self.runtime.now();
        let claim = self
            .store
            .claim_payment(id, wish.terms(), wish.key(), LEASE, now)
            .await?;
        match claim {
            Claim::Held(order, fence) => self.charge(*order, fence).await,
            Claim::Refused(ClaimRefusal::NotFound) => Err(Error::NotFound(Missing::Invoice)),
            Claim::Refused(ClaimRefusal::Standing(order)) => self.without_claim(*order, wish).await,
        }
    }

    /// What a request or message gets from an order that it could not claim.
    async fn without_claim(&self, order: Order, wish: Wish<'_>) -> Result<Order, Error> {
        if let Some(terms) = wish.terms() {
            check_terms(&order, terms)?;
        }
        let Some(payment) = &order.payment else {
            return Err(match wish {
                Wish::Message => Error::WrongState {
                    status: order.status,
                    detail: "its invoice must be issued first",
                },
                Wish::Request { .. } => Error::NotFound(Missing::Invoice),
            });
        };
        if let Some(decline) = past_decline(payment, wish.key()) {
            return Err(Error::Declined(decline.clone()));
        }
        if order.status == Status::Refunding && matches!(wish, Wish::Message) {
            return self.refund(order).await;
        }
        if order.charge().is_some() {
            return Ok(order);
        }
        if order.status == Status::Cancelled {
            return match wish {
                Wish::Message => Ok(order),
                Wish::Request { .. } => Err(Error::WrongState {
                    status: order.status,
                    detail: "it cannot be paid any more",
                }),
            };
        }
        if payment.state != ChargeState::Declined {
            return Err(Error::InProgress {
                retry_after: RETRY_IN_PROGRESS,
            });
        }
        match wish {
            Wish::Message => Err(declined(payment)),
            Wish::Request { key, .. } => self.try_again(&order, payment, key).await,
        }
    }

    /// Starts another attempt at a declined payment.
    async fn try_again(
        &self,
        order: &Order,
        payment: &Payment,
        key: Option<&str>,
    ) -> Result<Order, Error> {
        if payment.attempt >= MAX_ATTEMPTS {
            return Err(Error::TooManyAttempts);
        }
        // Whoever still holds the declined attempt must not be able to confirm it beside the next
        // one: it is cancelled, or the next attempt has no charge but that one.
        let next = match open_charge(order, payment) {
            None => NextCharge::Another,
            Some(charge) => match self.partner.cancel(&charge).await.map_err(partner_failed)? {
                ChargeStatus::Cancelled | ChargeStatus::Declined { .. } => NextCharge::Another,
                ChargeStatus::Unconfirmed
                | ChargeStatus::Captured(_)
                | ChargeStatus::Pending
                | ChargeStatus::ActionRequired => NextCharge::Same,
            },
        };
        match self
            .store
            .claim_next_attempt(order, next, key, LEASE, self.runtime.now())
            .await?
        {
            Claim::Held(order, fence) => self.charge(*order, fence).await,
            Claim::Refused(_) => Err(Error::InProgress {
                retry_after: RETRY_IN_PROGRESS,
            }),
        }
    }

    /// Charges an order under our claim.
    async fn charge(&self, order: Order, fence: Fence) -> Result<Order, Error> {
        let Some(payment) = &order.payment else {
            return Err(Error::Internal("an invoiced order has no payment".into()));
        };
        let (charge, status) = if let Some(mut charge) = open_charge(&order, payment) {
            // Somebody came this far and died, or the partner settles later: ask what became of it.
            // If the money moved, it did whatever the customer has revoked since.
            match self.partner.look_up(&charge).await {
                Ok(ChargeStatus::Unconfirmed) => {
                    charge.request.agreement = self.agreement(&order, fence).await?;
                    (charge, ChargeStatus::Unconfirmed)
                }
                Ok(status) => (charge, status),
                Err(error) => {
                    self.release(&order, fence, ChargeState::Unknown).await?;
                    return Err(partner_failed(error));
                }
            }
        } else {
            let mut request = charge_request(&order, payment);
            request.agreement = self.agreement(&order, fence).await?;
            let charge = self.open(&order, request, fence).await?;
            (charge, ChargeStatus::Unconfirmed)
        };
        let status = match status {
            ChargeStatus::Unconfirmed => match self.partner.confirm(&charge).await {
                Ok(status) => status,
                Err(PartnerError::Refused { code }) => ChargeStatus::Declined {
                    code,
                    retryable: false,
                },
                Err(error @ (PartnerError::Unavailable(_) | PartnerError::NoAgreement)) => {
                    self.release(&order, fence, state_after(&error)).await?;
                    return Err(partner_failed(error));
                }
                Err(PartnerError::Unanswered(source)) => {
                    tracing::warn!(order_id = %order.id, %source, "the charge's outcome is unknown");
                    telemetry::count(&self.stage, "PaymentUnknown", 1, self.runtime.now());
                    self.release(&order, fence, ChargeState::Unknown).await?;
                    return Err(Error::PaymentUnknown);
                }
            },
            status => status,
        };
        self.settle(&order, fence, &charge, status).await
    }

    /// What the customer has agreed to at the partner, where the partner needs that: read once for
    /// each claim, before anything is opened or confirmed under it. A revocation that was answered
    /// before this read is honoured; one that comes while the claim is carried out may be too late.
    ///
    /// Without an agreement the claim is given back as waiting for the customer, who then goes on
    /// where this one stopped.
    async fn agreement(&self, order: &Order, fence: Fence) -> Result<Option<Agreement>, Error> {
        let Some(partner) = self.partner.agreement_with() else {
            return Ok(None);
        };
        let (state, error) = match self
            .store
            .approved_agreement(&order.customer, partner)
            .await
        {
            Ok(Some(agreement)) => return Ok(Some(agreement)),
            Ok(None) => (ChargeState::ActionRequired, Error::NoAgreement),
            Err(error) => (ChargeState::Due, error.into()),
        };
        self.release(order, fence, state).await?;
        Err(error)
    }

    /// Opens the charge and stores its reference before anything can be confirmed.
    async fn open(
        &self,
        order: &Order,
        request: ChargeRequest,
        fence: Fence,
    ) -> Result<OpenCharge, Error> {
        let reference = match self.partner.open(&request).await {
            Ok(reference) => reference,
            Err(PartnerError::Refused { code }) => {
                let declined = self
                    .decline(order, fence, request.attempt, code, false)
                    .await;
                // Somebody else has claimed meanwhile, and knows better.
                let overtaken = Error::InProgress {
                    retry_after: RETRY_IN_PROGRESS,
                };
                return Err(declined.err().unwrap_or(overtaken));
            }
            // Whether it was opened or not: unconfirmed, it moves no money.
            Err(error) => {
                self.release(order, fence, state_after(&error)).await?;
                return Err(partner_failed(error));
            }
        };
        let opened_at = self.runtime.now();
        match self
            .store
            .charge_opened(&order.id, fence, &reference, opened_at)
            .await?
        {
            Settlement::Written(_) => Ok(OpenCharge {
                request,
                reference,
                opened_at,
            }),
            Settlement::Overtaken(_) => Err(Error::InProgress {
                retry_after: RETRY_IN_PROGRESS,
            }),
            Settlement::NotFound => Err(Error::NotFound(Missing::Invoice)),
        }
    }

    /// Writes what became of the charge.
    async fn settle(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
        status: ChargeStatus,
    ) -> Result<Order, Error> {
        let attempt = charge.request.attempt;
        match status {
            ChargeStatus::Captured(card) => {
                let now = self.runtime.now();
                let number = [&*charge.request.invoice.to_string(), &*attempt.to_string()];
                let captured = Charge {
                    transaction_id: number_from_digest(&number),
                    created_at: charge.opened_at,
                    completed_at: now,
                    card,
                };
                let settlement = self
                    .store
                    .charge_captured(order, fence, &captured, now)
                    .await?;
                let order = standing(settlement)?;
                tracing::info!(order_id = %order.id, attempt, "payment captured");
                Ok(order)
            }
            ChargeStatus::Declined { code, retryable } => {
                self.decline(order, fence, attempt, code, retryable).await
            }
            ChargeStatus::Cancelled => {
                self.decline(
                    order,
                    fence,
                    attempt,
                    "cancelled_at_partner".to_owned(),
                    true,
                )
                .await
            }
            ChargeStatus::ActionRequired => {
                self.release(order, fence, ChargeState::ActionRequired)
                    .await?;
                Err(Error::ActionRequired)
            }
            ChargeStatus::Pending => {
                self.release(order, fence, ChargeState::Pending).await?;
                Err(Error::PaymentPending)
            }
            ChargeStatus::Unconfirmed => {
                self.release(order, fence, ChargeState::Unknown).await?;
                Err(Error::PaymentUnknown)
            }
        }
    }

    async fn decline(
        &self,
        order: &Order,
        fence: Fence,
        attempt: u32,
        code: String,
        retryable: bool,
    ) -> Result<Order, Error> {
        let key = order
            .payment
            .as_ref()
            .and_then(|payment| payment.key.clone());
        let decline = Decline {
            attempt,
            code,
            retryable,
            key,
        };
        let now = self.runtime.now();
        match self
            .store
            .charge_declined(order, fence, &decline, now)
            .await?
        {
            Settlement::Written(order) => {
                let code = decline.code.as_str();
                tracing::info!(order_id = %order.id, attempt, code, "payment declined");
                Err(Error::Declined(decline))
            }
            overtaken => standing(overtaken),
        }
    }

    /// Gives the claim back. Where somebody else has claimed meanwhile there is nothing to give.
    async fn release(&self, order: &Order, fence: Fence, state: ChargeState) -> Result<(), Error> {
        self.store.release_payment(&order.id, fence, state).await?;
        Ok(())
    }
}

/// The order after a write under our fence, or as somebody else left it.
fn standing(settlement: Settlement) -> Result<Order, Error> {
    match settlement {
        Settlement::Written(order) => Ok(*order),
        Settlement::Overtaken(order) if order.charge().is_some() => Ok(*order),
        Settlement::Overtaken(_) => Err(Error::InProgress {
            retry_after: RETRY_IN_PROGRESS,
        }),
        Settlement::NotFound => Err(Error::NotFound(Missing::Invoice)),
    }
}

fn check_terms(order: &Order, terms: &PaymentTerms) -> Result<(), Error> {
    if order.customer != terms.customer {
        return Err(Error::NotFound(Missing::Invoice));
    }
    if order.payment.is_some() && order.amounts.total != terms.total {
        return Err(Error::Mismatch(vec![Difference {
            pointer: "/totalAmount".to_owned(),
            expected: order.amounts.total.to_amount_text(),
            actual: terms.total.to_amount_text(),
        }]));
    }
    Ok(())
}

/// The refusal that this very key has had: its repeat gets it again.
fn past_decline<'a>(payment: &'a Payment, key: Option<&str>) -> Option<&'a Decline> {
    let key = key?;
    payment
        .declines
        .iter()
        .find(|decline| decline.key.as_deref() == Some(key))
}

fn declined(payment: &Payment) -> Error {
    match payment.declines.last() {
        Some(decline) => Error::Declined(decline.clone()),
        None => Error::Internal("a declined payment has no decline".into()),
    }
}

/// What is charged, without the customer's agreement: only opening and confirming need that.
fn charge_request(order: &Order, payment: &Payment) -> ChargeRequest {
    ChargeRequest {
        invoice: order.id.invoice(),
        attempt: payment.attempt,
        customer: order.customer.clone(),
        amount: order.amounts.total,
        currency: order.currency,
        agreement: None,
    }
}

/// The charge that the current attempt has at the partner, if it came that far.
fn open_charge(order: &Order, payment: &Payment) -> Option<OpenCharge> {
    Some(OpenCharge {
        request: charge_request(order, payment),
        reference: payment.reference.clone()?,
        opened_at: payment.opened_at?,
    })
}

fn partner_failed(error: PartnerError) -> Error {
    match error {
        PartnerError::NoAgreement => Error::NoAgreement,
        PartnerError::Refused { .. } | PartnerError::Unavailable(_) => Error::Unavailable {
            dependency: Dependency::BillingPartner,
            outcome: Outcome::NothingDone,
            source: error.into(),
        },
        PartnerError::Unanswered(_) => Error::Unavailable {
            dependency: Dependency::BillingPartner,
            outcome: Outcome::Unknown,
            source: error.into(),
        },
    }
}

/// Of a database that fails after a claim, nobody knows here whether the money was taken before. A
/// partner's error says itself what is known.
fn begun(error: Error) -> Error {
    match error {
        Error::Unavailable {
            dependency: Dependency::Database,
            ..
        } => error.after_an_effect(),
        other => other,
    }
}

/// How the charge stands after an error that has moved no money: without an agreement only the
/// customer can bring it on.
fn state_after(error: &PartnerError) -> ChargeState {
    match error {
        PartnerError::NoAgreement => ChargeState::ActionRequired,
        PartnerError::Refused { .. }
        | PartnerError::Unavailable(_)
        | PartnerError::Unanswered(_) => ChargeState::Due,
    }
}

impl<P: BillingPartner> Function for Payments<P> {
    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        if call.last_segment() == "cancel.json" {
            return self.answer_cancel(&call).await;
        }
        let PaymentRequest { invoice, terms } = self.read(&call).await?;
        call.claim_key(&self.store, "payment", self.runtime.now())
            .await?;
        let id = invoice.or_missing(Missing::Invoice)?.order();
        let key = call.key_id("payment");
        let order = self
            .pay(
                &id,
                Wish::Request {
                    terms: &terms,
                    key: key.as_deref(),
                },
            )
            .await
            .map_err(begun)?;
        let body = PaymentBody::of(&order)
            .ok_or_else(|| Error::Internal("a paid order has no charge".into()))?;
        Answer::created(&body, format!("/api/order/{id}"))
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        if let MessageKind::Dispute(id) = &message.kind {
            self.hear_of_dispute(id).await?;
            return Ok(Consumed::Done);
        }
        let id = message.order.ok_or(Error::NotFound(Missing::Order))?;
        match self.pay(&id, Wish::Message).await {
            // What is final, what only the customer can change and what settles later needs no
            // message: the order itself remembers what is due.
            Ok(_)
            | Err(
                Error::Declined(_)
                | Error::ActionRequired
                | Error::NoAgreement
                | Error::PaymentPending
                | Error::RefundPending
                | Error::RefundFailed,
            ) => Ok(Consumed::Done),
            Err(Error::WrongState { .. } | Error::InProgress { .. }) => Ok(Consumed::NotYet),
            Err(error) => Err(error),
        }
    }
}
