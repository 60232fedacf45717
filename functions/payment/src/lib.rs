//! Charges the customer once for an issued invoice, and refunds the charge once.
//!
//! `POST /api/order/payment.json`, or automatically on `InvoiceCreated`; event `PaymentProcessed`.
//! `POST /api/order/cancel.json`, or automatically on `RefundRequested`; events `PaymentRefunded`
//! and `OrderCancelled`. `POST /api/order/refund.json` makes a partial refund. When the partner
//! reports a dispute or a late failure of a refund, the service requests the current state from the
//! partner.
//!
//! A worker claims the order under a lease and a fence, *opens* the charge at the partner without
//! moving money, stores its reference under the fence, *confirms* that reference, and writes the
//! outcome under the fence. After a crash, the next worker finds the reference and looks the charge
//! up. The partner captures a reference only once, and only one reference of an order can be
//! captured at a time, so the customer pays once.

mod cancel;
mod charge_news;
mod dispute;
pub mod partners;
mod refund;
mod refund_news;
mod request;

use std::time::Duration;

use domain::{
    Agreement, Card, Charge, ChargeState, Decline, DueStep, EventType, InvoiceId, NextAction,
    Order, OrderId, Payment, Status, Timestamp, UnpaidOrders, WaitReason, digest_hex,
    number_from_digest,
};
use messages::{Message, MessageKind};
use platform::config::Shop;
use platform::runtime::Runtime;
use platform::telemetry;
use service::claims::{claim_key, own_order};
use service::error::{Counterpart, Dependency, Difference, Error, Missing, Outcome};
use service::http::{Answer, Call, Caller, Effect, Route};
use service::lambda::{Consumed, Function, count_dependency};
use store::{
    CancelBasis, Claim, ClaimRefusal, Confirmation, DeclinedCharge, DeclinedEnd, Fence,
    MAX_PAYMENT_KEYS, NextCharge, OpenedCharge, PaymentTerms, Released, Settlement, Store,
};

use cancel::Closing;
use partners::{
    AfterClosing, BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, Partners,
};
use request::{PaymentBody, PaymentRequest, invoice_named_by};

/// How long a claim holds. Longer than any payment function runs (template.yaml: 30 s), so the
/// holder of an expired lease is dead or frozen.
pub const LEASE: Duration = Duration::from_secs(90);

/// `Retry-After` while another call holds the claim.
const RETRY_IN_PROGRESS: Duration = Duration::from_secs(2);

/// How long the sweep checks a declined charge that the partner cannot close, first after the
/// decline and again from the order's expiry. PayPal's orders live for hours; a charge still open
/// after this time is at an account that this deployment no longer uses.
const DECLINED_IS_WATCHED: Duration = Duration::from_hours(7 * 24);

/// Attempts per invoice. The limit prevents card testing.
const MAX_ATTEMPTS: u32 = 20;

/// The payment service.
#[derive(Clone, Debug)]
pub struct Payments<P> {
    store: Store,
    partner: Partners<P>,
    shop: Shop,
    unpaid: UnpaidOrders,
    stage: String,
    runtime: Runtime,
}

/// What requests the payment.
#[derive(Clone, Copy)]
enum Trigger<'a> {
    /// A message. It charges what is due, but never starts another attempt after a decline.
    Message,
    /// A request. It may start another attempt after a decline.
    Request {
        terms: &'a PaymentTerms,
        key: Option<&'a str>,
    },
}

impl<'a> Trigger<'a> {
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
    /// `stage` names the deployment in metrics.
    #[must_use]
    pub fn new(
        store: Store,
        partners: impl Into<Partners<P>>,
        shop: Shop,
        stage: String,
        runtime: Runtime,
    ) -> Self {
        Self {
            store,
            partner: partners.into(),
            shop,
            unpaid: UnpaidOrders::NEVER_EXPIRE,
            stage,
            runtime,
        }
    }

    /// Cancels orders that stay unpaid for longer than `unpaid`.
    #[must_use]
    pub fn expiring(self, unpaid: UnpaidOrders) -> Self {
        Self { unpaid, ..self }
    }

    /// Reads the amount in the shop's currency, or else in the order's: the shop's currency may
    /// have changed since the order was placed.
    async fn read(&self, call: &Call) -> Result<PaymentRequest, Error> {
        let body = call.body()?;
        let request = match PaymentRequest::read(body, self.shop.currency()) {
            Ok(request) => request,
            Err(error) => {
                let Some((customer, invoice)) = invoice_named_by(body) else {
                    return Err(error);
                };
                let id = invoice.order();
                match own_order(&self.store, call, &customer, &id).await? {
                    Some(order) => PaymentRequest::read(body, order.currency)?,
                    None => return Err(error),
                }
            }
        };
        call.caller
            .check(&request.terms.customer, Missing::Invoice)?;
        Ok(request)
    }

    /// Charges the order unless it is already charged, and returns it paid. A message cancels an
    /// expired order instead of charging it.
    async fn pay(&self, id: &OrderId, trigger: Trigger<'_>) -> Result<(Order, Effect), Error> {
        let now = self.runtime.now();
        let claim = self
            .store
            .claim_payment(id, trigger.terms(), trigger.key(), LEASE, now)
            .await?;
        let mut effect = Effect::Now;
        let paid = match claim {
            Claim::Held(order, fence)
                if matches!(trigger, Trigger::Message) && self.unpaid.is_over(&order, now) =>
            {
                self.expire_claimed(&order, fence).await?
            }
            Claim::Held(order, fence) => self.charge(*order, fence).await?,
            Claim::Refused(ClaimRefusal::NotFound) => {
                return Err(Error::NotFound(Missing::Invoice));
            }
            Claim::Refused(ClaimRefusal::Standing(order)) => {
                if order.charge().is_some() {
                    effect = Effect::Before;
                }
                self.without_claim(*order, trigger).await?
            }
        };
        // An overtaken worker may find that a later attempt was paid, although its own was
        // declined.
        let payment = paid.payment.as_ref();
        match payment.and_then(|payment| past_decline(payment, trigger.key())) {
            Some(decline) => Err(Error::Declined(decline.clone())),
            None => Ok((paid, effect)),
        }
    }

    /// The result for a request or message that could not claim the order.
    async fn without_claim(&self, order: Order, trigger: Trigger<'_>) -> Result<Order, Error> {
        if let Some(terms) = trigger.terms() {
            check_terms(&order, terms)?;
        }
        let Some(payment) = &order.payment else {
            return Err(match trigger {
                Trigger::Message => Error::WrongState {
                    status: order.status,
                    detail: "its invoice must be issued first",
                },
                Trigger::Request { .. } => Error::NotFound(Missing::Invoice),
            });
        };
        if let Some(decline) = past_decline(payment, trigger.key()) {
            return Err(Error::Declined(decline.clone()).replayed());
        }
        if order.status == Status::Refunding && matches!(trigger, Trigger::Message) {
            return self.continue_refund(order).await;
        }
        if order.charge().is_some() {
            return Ok(order);
        }
        if order.status == Status::Cancelled {
            return match trigger {
                Trigger::Message => Ok(order),
                Trigger::Request { .. } => Err(Error::WrongState {
                    status: order.status,
                    detail: "it can no longer be paid",
                }),
            };
        }
        if payment.state != ChargeState::Declined {
            let is_new = trigger
                .key()
                .is_some_and(|key| !payment.keys.contains_key(key));
            return Err(if is_new && payment.keys.len() >= MAX_PAYMENT_KEYS {
                Error::TooManyAttempts
            } else {
                in_progress()
            });
        }
        match trigger {
            Trigger::Message => self.check_declined(&order, payment).await,
            Trigger::Request { key, .. } => self.start_next_attempt(&order, payment, key).await,
        }
    }

    /// Whether the payment is due before the order expires. A payment whose charge is closed is due
    /// only at expiry.
    fn is_watched(&self, order: &Order) -> bool {
        let expires = self.unpaid.expires_at(order);
        let due = order.due.filter(|due| due.step == DueStep::Payment);
        due.is_some_and(|due| Some(due.at) != expires)
    }

    /// Closes and looks up the charge of a declined payment. A charge that was captured despite the
    /// decline is recorded; a closed charge is not looked up again. If the partner cannot answer, a
    /// due order stays due, so the message need not be kept. Once the charge is closed, an expired
    /// order is cancelled.
    async fn check_declined(&self, order: &Order, payment: &Payment) -> Result<Order, Error> {
        let now = self.runtime.now();
        let expires = self.unpaid.expires_at(order);
        let is_over = self.unpaid.is_over(order, now);
        let is_watched = self.is_watched(order);
        let is_closed = match self.close(order).await {
            Ok(Closing::Settles(charge, status)) => {
                return self.resume_declined(order, &charge, status).await;
            }
            Ok(Closing::Closed) => true,
            Ok(Closing::StillOpen) => false,
            Err(error) if !is_watched && !is_over => return Err(error),
            Err(error) => {
                let code = error.code();
                tracing::warn!(order_id = %order.id, code, "a declined charge may still be open");
                false
            }
        };
        if is_closed && is_over {
            return self.expire(order, CancelBasis::Declined).await;
        }
        let is_old = |since: Timestamp| now >= since.plus(DECLINED_IS_WATCHED);
        let is_given_up =
            !is_closed && payment.opened_at.is_some_and(is_old) && expires.is_none_or(is_old);
        if is_watched && is_given_up {
            tracing::error!(
                order_id = %order.id,
                code = "declined_charge_not_closed",
                "the partner never closed the declined charge; it is no longer checked"
            );
        }
        if is_watched && (is_closed || is_given_up) {
            let end = match expires {
                Some(_) if is_given_up => DeclinedEnd::GivenUp,
                expires => DeclinedEnd::Dead { expires },
            };
            self.store.declined_charge_closed(order, end, now).await?;
        }
        Err(declined(payment))
    }

    /// Records that the charge of a declined payment was captured after all, or still may be.
    pub(crate) async fn resume_declined(
        &self,
        order: &Order,
        charge: &OpenCharge,
        status: ChargeStatus,
    ) -> Result<Order, Error> {
        let now = self.runtime.now();
        match self.store.claim_declined(order, LEASE, now).await? {
            Claim::Held(order, fence) => {
                tracing::error!(order_id = %order.id, "a declined charge was captured");
                self.settle(&order, fence, charge, status).await
            }
            Claim::Refused(_) => Err(in_progress()),
        }
    }

    /// Starts another attempt at a declined payment.
    async fn start_next_attempt(
        &self,
        order: &Order,
        payment: &Payment,
        key: Option<&str>,
    ) -> Result<Order, Error> {
        // The declined attempt must not be confirmed alongside the next one. If its charge cannot
        // be closed, the next attempt continues with that same charge.
        let next = match self.close(order).await? {
            Closing::Closed => NextCharge::Another,
            Closing::Settles(charge, status) => {
                return self.resume_declined(order, &charge, status).await;
            }
            Closing::StillOpen => NextCharge::Same,
        };
        if payment.attempt >= MAX_ATTEMPTS || payment.keys.len() >= MAX_PAYMENT_KEYS {
            return Err(Error::TooManyAttempts);
        }
        match self
            .store
            .claim_next_attempt(order, next, key, LEASE, self.runtime.now())
            .await?
        {
            Claim::Held(order, fence) => self.charge(*order, fence).await,
            Claim::Refused(_) => Err(in_progress()),
        }
    }

    /// Charges an order under this worker's claim.
    async fn charge(&self, order: Order, fence: Fence) -> Result<Order, Error> {
        let Some(payment) = &order.payment else {
            return Err(Error::Internal("an invoiced order has no payment".into()));
        };
        if order.costs_nothing() {
            return self.pay_free(&order, fence, payment.attempt).await;
        }
        let Some(mut charge) = self.charge_of(&order, payment) else {
            let mut request = charge_request(&order, payment);
            let permission = self.permission(&order, fence, self.partner.current());
            request.agreement = self.require(&order, fence, permission.await?).await?;
            let charge = self.open(&order, request, fence).await?;
            return self.confirm(&order, fence, &charge).await;
        };
        // A previous worker crashed after opening the charge, or the partner settles it later: look
        // it up. A captured charge counts even if the customer has since revoked the agreement.
        let status = match self.partner.look_up(&charge).await {
            Ok(status) => status,
            Err(error) => return self.look_up_failed(&order, fence, error).await,
        };
        let is_settled = matches!(
            status,
            ChargeStatus::Captured(_) | ChargeStatus::Declined { .. } | ChargeStatus::Pending
        );
        if is_settled {
            return self.settle(&order, fence, &charge, status).await;
        }
        let opener = self.partner.of(&charge).map_err(partner_failed)?;
        let permission = self.permission(&order, fence, opener).await?;
        // A worker that was replacing the charge closed it and did not get further.
        let was_replaced = payment.is_being_replaced
            && matches!(status, ChargeStatus::Cancelled | ChargeStatus::Expired);
        if self.partner.is_former(&charge)
            && (was_replaced
                || status == ChargeStatus::ActionRequired
                || permission.is_other_than(&charge))
        {
            return self.change_partner(&order, fence, &charge, status).await;
        }
        charge.request.agreement = self.require(&order, fence, permission).await?;
        if was_replaced || charge.has_other_method() {
            return self.change_method(&order, fence, charge).await;
        }
        if status != ChargeStatus::Unconfirmed {
            return self.settle(&order, fence, &charge, status).await;
        }
        if charge.unanswered_since.is_none() {
            self.record_confirmation(&order, fence, &mut charge).await?;
        }
        self.confirm(&order, fence, &charge).await
    }

    /// Marks an order that costs nothing as paid. No partner is asked, and no agreement is needed.
    async fn pay_free(&self, order: &Order, fence: Fence, attempt: u32) -> Result<Order, Error> {
        let now = self.runtime.now();
        let payment = Charge {
            transaction_id: transaction_number(&order.id.invoice(), attempt),
            created_at: now,
            completed_at: now,
            card: Card::default(),
        };
        let paid = self.store.paid_free(order, fence, &payment, now).await?;
        if let Settlement::Written(order) = &paid {
            tracing::info!(order_id = %order.id, "order paid free of charge");
        }
        order_after(paid)
    }

    /// Continues with a charge whose payment method the customer has replaced: closes it and opens
    /// another. A charge that the partner cannot close stays the attempt's only charge; it is
    /// confirmed with the new method once no confirmation with the old one can still arrive.
    async fn change_method(
        &self,
        order: &Order,
        fence: Fence,
        mut charge: OpenCharge,
    ) -> Result<Order, Error> {
        self.record_replacement(order, fence).await?;
        match self.partner.cancel(&charge).await.map(AfterClosing::from) {
            Ok(AfterClosing::Closed) => {
                let charge = self.replace(order, fence, &charge).await?;
                self.confirm(order, fence, &charge).await
            }
            Ok(AfterClosing::Settles(status)) => self.settle(order, fence, &charge, status).await,
            Ok(AfterClosing::StillOpen(_)) => {
                if charge.confirmation_may_arrive(self.runtime.now()) {
                    self.release(order, fence, ChargeState::Unknown, Confirmation::AsBefore)
                        .await?;
                    return Err(Error::PaymentUnknown);
                }
                self.record_confirmation(order, fence, &mut charge).await?;
                self.confirm(order, fence, &charge).await
            }
            Err(error) => self.look_up_failed(order, fence, error).await,
        }
    }

    /// Moves a charge that waits for the customer away from a former partner: closes it there and
    /// opens another one at the current partner, if the customer may be charged there. A charge
    /// that the former partner cannot close stays the attempt's only charge.
    async fn change_partner(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
        status: ChargeStatus,
    ) -> Result<Order, Error> {
        let permission = self
            .permission(order, fence, self.partner.current())
            .await?;
        if matches!(permission, Permission::Missing) && status == ChargeStatus::ActionRequired {
            return self.settle(order, fence, charge, status).await;
        }
        self.require(order, fence, permission).await?;
        self.record_replacement(order, fence).await?;
        match self.partner.cancel(charge).await.map(AfterClosing::from) {
            Ok(AfterClosing::Closed) => {
                let charge = self.replace(order, fence, charge).await?;
                self.confirm(order, fence, &charge).await
            }
            Ok(AfterClosing::Settles(status) | AfterClosing::StillOpen(status)) => {
                self.settle(order, fence, charge, status).await
            }
            Err(error) => self.look_up_failed(order, fence, error).await,
        }
    }

    /// Records that the charge is about to be closed for another one. Its closing may go unanswered,
    /// and the agreement or the partner may change again before the next worker finds it closed.
    async fn record_replacement(&self, order: &Order, fence: Fence) -> Result<(), Error> {
        let payment = order.payment.as_ref();
        if payment.is_some_and(|payment| payment.is_being_replaced) {
            return Ok(());
        }
        written(&self.store.charge_replaced(order, fence).await?)
    }

    /// Opens a charge at the current partner in place of a closed one.
    async fn replace(
        &self,
        order: &Order,
        fence: Fence,
        closed: &OpenCharge,
    ) -> Result<OpenCharge, Error> {
        let mut request = closed.replacement();
        if self.partner.is_former(closed) {
            // Another partner need not see the former partner's reference.
            request.replaces = Some(digest_hex(&["replaces", &closed.reference])[..16].to_owned());
            let permission = self.permission(order, fence, self.partner.current());
            request.agreement = self.require(order, fence, permission.await?).await?;
        }
        self.open(order, request, fence).await
    }

    /// Records that the charge is about to be confirmed with the current payment method.
    async fn record_confirmation(
        &self,
        order: &Order,
        fence: Fence,
        charge: &mut OpenCharge,
    ) -> Result<(), Error> {
        let (method, now) = (charge.request.method(), self.runtime.now());
        let asked = self
            .store
            .charge_asked(order, fence, method.as_ref(), now)
            .await?;
        written(&asked)?;
        charge.method = method;
        charge.unanswered_since = Some(now);
        Ok(())
    }

    /// Confirms a charge whose reference is stored. A charge that expired before it was confirmed
    /// is replaced once, because the customer has declined nothing.
    async fn confirm(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
    ) -> Result<Order, Error> {
        let status = self.try_confirm(order, fence, charge).await?;
        if status != ChargeStatus::Expired {
            return self.settle(order, fence, charge, status).await;
        }
        let charge = self.replace(order, fence, charge).await?;
        let status = self.try_confirm(order, fence, &charge).await?;
        self.settle(order, fence, &charge, status).await
    }

    /// Confirms the charge at the partner; releases the claim if the outcome is unknown.
    async fn try_confirm(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
    ) -> Result<ChargeStatus, Error> {
        match self.partner.confirm(charge).await {
            Ok(status) => Ok(status),
            Err(PartnerError::Refused { code }) => Ok(ChargeStatus::Declined {
                code,
                retryable: false,
            }),
            Err(
                error @ (PartnerError::Unavailable(_)
                | PartnerError::NotConfigured(_)
                | PartnerError::NoAgreement
                | PartnerError::OtherMethod),
            ) => {
                // This confirmation had no effect, but an earlier one may still arrive.
                self.release(order, fence, state_after(&error), Confirmation::AsBefore)
                    .await?;
                Err(partner_failed(error))
            }
            Err(PartnerError::Unanswered(source)) => {
                tracing::warn!(order_id = %order.id, %source, "the charge's outcome is unknown");
                telemetry::count(&self.stage, "PaymentUnknown", 1, self.runtime.now());
                self.release(order, fence, ChargeState::Unknown, Confirmation::Unanswered)
                    .await?;
                Err(Error::PaymentUnknown)
            }
        }
    }

    /// Releases the claim after a failed look-up of the charge.
    async fn look_up_failed(
        &self,
        order: &Order,
        fence: Fence,
        error: PartnerError,
    ) -> Result<Order, Error> {
        self.release(order, fence, ChargeState::Unknown, Confirmation::AsBefore)
            .await?;
        Err(partner_failed(error))
    }

    /// The customer's permission to be charged at that partner. It is read before anything is
    /// opened or confirmed under it. A revocation answered before this read is honored; one during
    /// the claim may be too late.
    async fn permission(
        &self,
        order: &Order,
        fence: Fence,
        partner: &P,
    ) -> Result<Permission, Error> {
        let Some(name) = partner.agreement_with() else {
            return Ok(Permission::NotNeeded);
        };
        let agreement = self.store.approved_agreement(&order.customer, name);
        match agreement.await {
            Ok(Some(agreement)) => Ok(Permission::By(agreement)),
            Ok(None) => Ok(Permission::Missing),
            Err(error) => {
                self.release(order, fence, ChargeState::Due, Confirmation::AsBefore)
                    .await?;
                Err(error.into())
            }
        }
    }

    /// The agreement of that permission. Without it, the claim is released as `ActionRequired`, and
    /// a later request continues from there.
    async fn require(
        &self,
        order: &Order,
        fence: Fence,
        permission: Permission,
    ) -> Result<Option<Agreement>, Error> {
        match permission {
            Permission::NotNeeded => Ok(None),
            Permission::By(agreement) => Ok(Some(agreement)),
            Permission::Missing => {
                let waits = WaitReason::AgreementMissing;
                self.release(order, fence, waits, Confirmation::AsBefore)
                    .await?;
                Err(Error::NoAgreement)
            }
        }
    }

    /// Opens the charge and stores its reference before anything can be confirmed.
    async fn open(
        &self,
        order: &Order,
        request: ChargeRequest,
        fence: Fence,
    ) -> Result<OpenCharge, Error> {
        let partner = self.partner.current();
        let reference = match partner.open(&request).await {
            Ok(reference) => reference,
            Err(PartnerError::Refused { code }) => {
                let decline = Decline {
                    attempt: request.attempt,
                    code,
                    retryable: false,
                };
                let dead = DeclinedCharge::Dead;
                let declined = self.decline(order, fence, decline, dead).await;
                // Another worker has since claimed this payment; its outcome wins.
                return Err(declined.err().unwrap_or_else(in_progress));
            }
            // Whether or not the charge was opened, an unconfirmed charge moves no money.
            Err(error) => {
                self.release(order, fence, state_after(&error), Confirmation::AsBefore)
                    .await?;
                return Err(partner_failed(error));
            }
        };
        let (account, at) = (partner.account(), self.runtime.now());
        let charge = OpenCharge::new(request, reference, partner, at);
        let opened = OpenedCharge {
            reference: &charge.reference,
            partner: partner.name(),
            account,
            method: charge.method.clone(),
            at,
        };
        written(&self.store.charge_opened(&order.id, fence, &opened).await?)?;
        Ok(charge)
    }

    /// Records the outcome of the charge.
    pub(crate) async fn settle(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
        status: ChargeStatus,
    ) -> Result<Order, Error> {
        let attempt = charge.request.attempt;
        match status {
            ChargeStatus::Captured(card) => self.captured(order, fence, charge, card).await,
            ChargeStatus::Declined { code, retryable } => {
                let decline = Decline {
                    attempt,
                    code,
                    retryable,
                };
                self.close_and_decline(order, fence, charge, decline).await
            }
            ChargeStatus::Cancelled | ChargeStatus::Expired => {
                let decline = Decline {
                    attempt,
                    code: "cancelled_at_partner".to_owned(),
                    retryable: true,
                };
                self.decline(order, fence, decline, DeclinedCharge::Dead)
                    .await
            }
            ChargeStatus::ActionRequired => self.leave_to_customer(order, fence, charge).await,
            ChargeStatus::Pending => {
                self.release(order, fence, ChargeState::Pending, Confirmation::Answered)
                    .await?;
                Err(Error::PaymentPending)
            }
            ChargeStatus::Unconfirmed => {
                self.release(order, fence, ChargeState::Unknown, Confirmation::AsBefore)
                    .await?;
                Err(Error::PaymentUnknown)
            }
        }
    }

    /// Records the action that the customer must take. Once the customer has taken it at the
    /// partner, the webhook or the sweep completes the payment.
    async fn leave_to_customer(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
    ) -> Result<Order, Error> {
        let (action, confirmation) = match self.partner.ask_customer(charge).await {
            Ok((ChargeStatus::ActionRequired | ChargeStatus::Unconfirmed, action)) => {
                (action, Confirmation::Answered)
            }
            Ok((status, _)) => return Box::pin(self.settle(order, fence, charge, status)).await,
            Err(error) => {
                tracing::warn!(order_id = %order.id, %error, "what the customer must do is unknown");
                (NextAction::default(), Confirmation::AsBefore)
            }
        };
        let now = self.runtime.now();
        let released = self
            .store
            .require_action(order, fence, &action, confirmation, now)
            .await?;
        if let Settlement::Written(_) = released {
            log_waiting(order, WaitReason::ConfirmationRequired);
        }
        Err(Error::ActionRequired(action))
    }

    async fn captured(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
        card: Card,
    ) -> Result<Order, Error> {
        let now = self.runtime.now();
        let attempt = charge.request.attempt;
        let captured = Charge {
            transaction_id: transaction_number(&charge.request.invoice, attempt),
            created_at: charge.opened_at,
            completed_at: now,
            card,
        };
        match self
            .store
            .charge_captured(order, fence, &captured, now)
            .await?
        {
            Settlement::Written(order) => {
                tracing::info!(order_id = %order.id, attempt, "payment captured");
                Ok(*order)
            }
            Settlement::Overtaken(standing) if standing.charge().is_some() => Ok(*standing),
            // The worker that has since claimed this payment does not know of the capture. Look the
            // charge up again now.
            Settlement::Overtaken(standing) => {
                tracing::warn!(order_id = %order.id, attempt, "a capture was overtaken");
                let (paid, _) = Box::pin(self.pay(&standing.id, Trigger::Message)).await?;
                Ok(paid)
            }
            Settlement::NotFound => Err(Error::NotFound(Missing::Invoice)),
        }
    }

    /// Closes the charge, then records the decline, so that the charge cannot take money
    /// afterwards. If the partner cannot close it, the payment stays due.
    async fn close_and_decline(
        &self,
        order: &Order,
        fence: Fence,
        charge: &OpenCharge,
        decline: Decline,
    ) -> Result<Order, Error> {
        let declined = match self.partner.cancel(charge).await.map(AfterClosing::from) {
            Ok(AfterClosing::Closed) => DeclinedCharge::Dead,
            Ok(AfterClosing::Settles(status)) => {
                return Box::pin(self.settle(order, fence, charge, status)).await;
            }
            Ok(AfterClosing::StillOpen(_)) => DeclinedCharge::Open,
            Err(error) => {
                tracing::warn!(order_id = %order.id, %error, "a declined charge may still be open");
                DeclinedCharge::Open
            }
        };
        self.decline(order, fence, decline, declined).await
    }

    async fn decline(
        &self,
        order: &Order,
        fence: Fence,
        decline: Decline,
        charge: DeclinedCharge,
    ) -> Result<Order, Error> {
        let now = self.runtime.now();
        // Without a mail the order would not be due, so keep the payment due: the sweep's next
        // check then schedules the expiry.
        let charge = if order.email().is_none() && self.unpaid != UnpaidOrders::NEVER_EXPIRE {
            DeclinedCharge::Open
        } else {
            charge
        };
        match self
            .store
            .charge_declined(order, fence, &decline, charge, now)
            .await?
        {
            Settlement::Written(order) => {
                let (attempt, code) = (decline.attempt, decline.code.as_str());
                tracing::info!(order_id = %order.id, attempt, code, "payment declined");
                Err(Error::Declined(decline))
            }
            overtaken => order_after(overtaken),
        }
    }

    /// Releases the claim; does nothing if another worker has since claimed the payment. Logs once
    /// that the order begins to wait for its customer.
    async fn release(
        &self,
        order: &Order,
        fence: Fence,
        to: impl Into<Released>,
        confirmation: Confirmation,
    ) -> Result<(), Error> {
        let (to, now) = (to.into(), self.runtime.now());
        let released = self
            .store
            .release_payment(order, fence, to, confirmation, now)
            .await?;
        if let (Released::ToCustomer(reason), Settlement::Written(_)) = (to, released) {
            log_waiting(order, reason);
        }
        Ok(())
    }

    /// Handles a message that needs missing keys. The sweep continues a due order once the keys are
    /// available, so the message need not become a dead letter.
    async fn without_keys(&self, id: &OrderId, error: Error) -> Result<Consumed, Error> {
        let order = self.store.order(id).await?;
        if !order.is_some_and(|order| self.is_watched(&order)) {
            return Err(error);
        }
        count_dependency(&error);
        tracing::error!(order_id = %id, code = error.code(), %error, "left to the sweep");
        Ok(Consumed::Done)
    }

    /// The current attempt's charge, if it was opened.
    fn charge_of(&self, order: &Order, payment: &Payment) -> Option<OpenCharge> {
        Some(OpenCharge {
            request: charge_request(order, payment),
            reference: payment.reference.clone()?,
            opened_at: payment.opened_at?,
            partner: payment.partner_or(self.partner.current().name()),
            account: payment.account.clone(),
            method: payment.method.clone(),
            unanswered_since: payment.unanswered_since,
        })
    }
}

/// A customer's permission to be charged at a partner.
enum Permission {
    /// The partner needs no agreement.
    NotNeeded,
    /// The customer has this agreement.
    By(Agreement),
    /// The customer has no agreement.
    Missing,
}

impl Permission {
    /// Whether the charge was last opened or confirmed with a payment method other than this one.
    fn is_other_than(&self, charge: &OpenCharge) -> bool {
        match self {
            Self::NotNeeded => charge.method.is_some(),
            Self::By(agreement) => charge.method.as_ref() != Some(&agreement.fingerprint()),
            Self::Missing => true,
        }
    }
}

/// The number of an attempt's transaction.
fn transaction_number(invoice: &InvoiceId, attempt: u32) -> u64 {
    number_from_digest(&[&*invoice.to_string(), &*attempt.to_string()])
}

fn in_progress() -> Error {
    Error::InProgress {
        retry_after: RETRY_IN_PROGRESS,
    }
}

/// The order after a fenced write, or as another worker left it.
/// Whether this worker's write was carried out.
fn written(settlement: &Settlement) -> Result<(), Error> {
    match settlement {
        Settlement::Written(_) => Ok(()),
        Settlement::Overtaken(_) => Err(in_progress()),
        Settlement::NotFound => Err(Error::NotFound(Missing::Invoice)),
    }
}

fn order_after(settlement: Settlement) -> Result<Order, Error> {
    match settlement {
        Settlement::Written(order) => Ok(*order),
        Settlement::Overtaken(order) if order.charge().is_some() => Ok(*order),
        Settlement::Overtaken(_) => Err(in_progress()),
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

/// The decline that this idempotency key received before; a repeat receives the same one.
fn past_decline<'a>(payment: &'a Payment, key: Option<&str>) -> Option<&'a Decline> {
    let attempt = payment.keys.get(key?)?;
    let mut declines = payment.declines.iter();
    declines.find(|decline| decline.attempt == *attempt)
}

fn declined(payment: &Payment) -> Error {
    match payment.declines.last() {
        Some(decline) => Error::Declined(decline.clone()),
        None => Error::Internal("a declined payment has no decline".into()),
    }
}

/// The charge request without the customer's agreement, which only opening and confirming need.
fn charge_request(order: &Order, payment: &Payment) -> ChargeRequest {
    ChargeRequest {
        invoice: order.id.invoice(),
        attempt: payment.attempt,
        customer: order.customer.clone(),
        amount: order.amounts.total,
        currency: order.currency,
        agreement: None,
        replaces: None,
    }
}

fn partner_failed(error: PartnerError) -> Error {
    match error {
        PartnerError::NoAgreement => Error::NoAgreement,
        PartnerError::Refused { .. } | PartnerError::OtherMethod | PartnerError::Unavailable(_) => {
            Error::Unavailable {
                dependency: Dependency::BillingPartner,
                outcome: Outcome::NothingDone,
                source: error.into(),
            }
        }
        PartnerError::NotConfigured(_) => Error::NotConfigured {
            counterpart: Counterpart::BillingPartner,
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

/// After a claim, a failure of the database leaves the outcome unknown, because the charge may have
/// been captured. A partner's error states its own outcome.
fn after_claim(error: Error) -> Error {
    match error {
        Error::Unavailable {
            dependency: Dependency::Database,
            ..
        } => error.after_an_effect(),
        other => other,
    }
}

/// Logs the beginning of a wait once, no matter how often the charge is checked.
fn log_waiting(order: &Order, reason: WaitReason) {
    if !waits_already(order, reason) {
        let code = reason.as_str();
        tracing::info!(order_id = %order.id, code, "waiting for the customer");
    }
}

/// Whether the order was already waiting for its customer for this reason before the claim.
fn waits_already(order: &Order, reason: WaitReason) -> bool {
    order.payment.as_ref().is_some_and(|payment| {
        payment.claimed_from == Some(ChargeState::ActionRequired)
            && payment.wait_reason == Some(reason)
    })
}

/// Limits the error to what the caller may read about the customer's action.
fn as_shown_to(caller: &Caller, error: Error) -> Error {
    match error {
        Error::ActionRequired(action) if caller.only().is_some() => {
            Error::ActionRequired(action.for_customer())
        }
        other => other,
    }
}

/// The charge's state after an error that moved no money. Without an agreement, only the customer
/// can continue.
fn state_after(error: &PartnerError) -> Released {
    match error {
        PartnerError::NoAgreement => WaitReason::AgreementMissing.into(),
        PartnerError::Refused { .. }
        | PartnerError::OtherMethod
        | PartnerError::NotConfigured(_)
        | PartnerError::Unavailable(_)
        | PartnerError::Unanswered(_) => ChargeState::Due.into(),
    }
}

impl<P: BillingPartner> Function for Payments<P> {
    const ROUTES: &'static [Route] = &[Route::Payment, Route::Cancel, Route::Refund];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        match call.route() {
            Route::Cancel => return self.answer_cancel(&call).await,
            Route::Refund => return self.answer_refund(&call).await,
            _ => {}
        }
        let PaymentRequest { invoice, terms } = self.read(&call).await?;
        claim_key(&self.store, &call, "payment", self.runtime.now()).await?;
        let id = invoice.or_missing(Missing::Invoice)?.order();
        let key = call.key_id("payment");
        let (order, effect) = self
            .pay(
                &id,
                Trigger::Request {
                    terms: &terms,
                    key: key.as_deref(),
                },
            )
            .await
            .map_err(after_claim)
            .map_err(|error| as_shown_to(&call.caller, error))?;
        let body = PaymentBody::from_order(&order)
            .ok_or_else(|| Error::Internal("a paid order has no charge".into()))?;
        Ok(Answer::created(&body, format!("/api/order/{id}"))?.with_effect(effect))
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        if let MessageKind::Dispute(at, id) = &message.kind {
            return match self.record_dispute(*at, id).await {
                Ok(()) => Ok(Consumed::Done),
                Err(Error::WrongState { .. } | Error::InProgress { .. }) => Ok(Consumed::NotYet),
                Err(error) => Err(error),
            };
        }
        let id = message.order.ok_or(Error::NotFound(Missing::Order))?;
        let is_done = match message.kind {
            MessageKind::Charge => self.check_charge(&id).await?,
            MessageKind::Event(EventType::RefundRequested) => self.check_refund(&id).await?,
            _ => false,
        };
        if is_done {
            return Ok(Consumed::Done);
        }
        let paid = self.pay(&id, Trigger::Message).await;
        // The reported change may have happened before its charge was recorded here.
        if message.kind == MessageKind::Charge && paid.is_ok() {
            self.check_charge(&id).await?;
        }
        match paid {
            Ok(_) => Ok(Consumed::Done),
            Err(error) if needs_no_message(&error) => Ok(Consumed::Done),
            Err(Error::WrongState { .. } | Error::InProgress { .. }) => Ok(Consumed::NotYet),
            Err(error @ Error::NotConfigured { .. }) => self.without_keys(&id, error).await,
            Err(error) => Err(error),
        }
    }
}

/// Whether the outcome is final, needs the customer, or settles later: the order's due mark keeps
/// what is due.
fn needs_no_message(error: &Error) -> bool {
    matches!(
        error,
        Error::Declined(_)
            | Error::ActionRequired(_)
            | Error::NoAgreement
            | Error::PaymentPending
            | Error::RefundPending
            | Error::RefundFailed
    )
}
