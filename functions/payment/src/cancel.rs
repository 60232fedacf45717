//! Cancels an order. A captured charge is refunded first; an open charge is closed first.

use domain::{
    ChargeState, CustomerId, Money, NextAction, Order, OrderId, Refund, RefundId, RefundName,
    RefundState, RefundStatus, Status, Text, Timestamp,
};
use platform::telemetry;
use serde::Serialize;
use serde_json::Value;
use service::claims::claim_key;
use service::error::{Error, Missing};
use service::http::{Answer, Call, Effect, Named, Report, as_id, as_own_id};
use store::{CancelBasis, Claim, ClaimRefusal, Confirmation, Fence, Settlement, StoreError, TRIES};

use super::partners::{AfterClosing, BillingPartner, ChargeStatus, OpenCharge};
use super::request::as_reason;
use super::{LEASE, Payments, in_progress, partner_failed};

/// `{customerId, orderId, reason?}`
struct CancelRequest {
    customer: CustomerId,
    order: Named<OrderId>,
    reason: Option<Text>,
}

impl CancelRequest {
    fn read(body: &Value) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let order = fields.required("orderId", as_own_id(OrderId::parse));
            let reason = fields.optional("reason", as_reason);
            fields.close();
            Some(Self {
                customer: customer?,
                order: order?,
                reason: reason?,
            })
        });
        report.finish(request)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelledBody {
    order_id: String,
    status: &'static str,
}

/// Outcome of closing a charge.
pub(super) enum Closing {
    /// The charge can no longer be confirmed, or there is none.
    Closed,
    /// The partner cannot close it now; it may still be confirmed.
    StillOpen,
    /// The charge was captured or is about to be.
    Settles(Box<OpenCharge>, ChargeStatus),
}

/// Outcome of one try to cancel.
enum Step {
    /// The order is cancelled.
    Done(Box<Order>),
    /// The order has changed concurrently: read it again.
    Again,
}

impl<P: BillingPartner> Payments<P> {
    pub(super) async fn answer_cancel(&self, call: &Call) -> Result<Answer, Error> {
        let request = CancelRequest::read(call.body()?)?;
        call.caller.check(&request.customer, Missing::Order)?;
        claim_key(&self.store, call, "cancel", self.runtime.now()).await?;
        let id = request.order.or_missing(Missing::Order)?;
        let reason = request.reason.as_ref();
        let cancelled = self.cancel(&id, &request.customer, reason).await;
        // An error in this step does not undo the steps before it.
        let (order, effect) = cancelled.map_err(Error::after_an_effect)?;
        let body = CancelledBody {
            order_id: order.id.to_string(),
            status: order.status.as_str(),
        };
        Ok(Answer::ok(&body)?.with_effect(effect))
    }

    /// Cancels the order unless it is already cancelled, and returns the cancelled order.
    async fn cancel(
        &self,
        id: &OrderId,
        customer: &CustomerId,
        reason: Option<&Text>,
    ) -> Result<(Order, Effect), Error> {
        for _ in 0..TRIES {
            let order = self.store.order(id).await?;
            let order = order
                .filter(|order| order.customer == *customer)
                .ok_or(Error::NotFound(Missing::Order))?;
            let step = match order.status {
                Status::Cancelled => {
                    let effect = match &order.payment {
                        Some(payment) if payment.state == ChargeState::RefundFailed => Effect::Now,
                        _ => Effect::Before,
                    };
                    return Ok((self.refund_again(order).await?, effect));
                }
                Status::Refunding => return Ok((self.refund(order).await?, Effect::Now)),
                Status::Shipped => return Err(too_late(&order)),
                Status::Pending => {
                    let now = self.runtime.now();
                    let pending = CancelBasis::Pending;
                    step(
                        self.store
                            .cancel_order(&order, pending, reason, now)
                            .await?,
                    )?
                }
                Status::Invoiced => self.cancel_invoiced(order, reason).await?,
                // Its label was refused, but an earlier purchase of it is not settled yet.
                Status::Paid if order.is_being_shipped() && order.shipping_refusal.is_some() => {
                    return Err(in_progress());
                }
                Status::Paid if order.is_being_shipped() => return Err(too_late(&order)),
                Status::Paid if order.is_paid_free() => {
                    let now = self.runtime.now();
                    step(self.store.cancel_free_order(&order, reason, now).await?)?
                }
                Status::Paid => {
                    let now = self.runtime.now();
                    let closing = closing_refund(&order, reason, now);
                    let requested = self.store.request_refund(&order, closing, reason, now);
                    match requested.await? {
                        Settlement::Written(order) => {
                            tracing::info!(order_id = %id, "refund requested");
                            return Ok((self.refund(*order).await?, Effect::Now));
                        }
                        Settlement::Overtaken(_) => Step::Again,
                        Settlement::NotFound => return Err(Error::NotFound(Missing::Order)),
                    }
                }
            };
            if let Step::Done(order) = step {
                tracing::info!(order_id = %id, "order cancelled");
                return Ok((*order, Effect::Now));
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Closes the open charge at the partner, so that it cannot be captured any more, then cancels.
    async fn cancel_invoiced(&self, order: Order, reason: Option<&Text>) -> Result<Step, Error> {
        let Some(payment) = &order.payment else {
            return Err(Error::Internal("an invoiced order has no payment".into()));
        };
        if payment.state == ChargeState::Declined {
            // The declined attempt must no longer be confirmed.
            return match self.close(&order).await? {
                Closing::Closed => {
                    let (declined, now) = (CancelBasis::Declined, self.runtime.now());
                    let cancelled = self.store.cancel_order(&order, declined, reason, now);
                    step(cancelled.await?)
                }
                // Once recorded, it is refunded like any other charge.
                Closing::Settles(charge, status) => {
                    match self.resume_declined(&order, &charge, status).await {
                        Ok(_) | Err(Error::InProgress { .. }) => Ok(Step::Again),
                        Err(error) => Err(error),
                    }
                }
                Closing::StillOpen => {
                    tracing::warn!(order_id = %order.id, "a declined charge may still be open");
                    Err(in_progress())
                }
            };
        }
        let now = self.runtime.now();
        let claim = self.store.claim_payment(&order.id, None, None, LEASE, now);
        let (order, fence) = match claim.await? {
            Claim::Held(order, fence) => (*order, fence),
            Claim::Refused(ClaimRefusal::NotFound) => return Err(Error::NotFound(Missing::Order)),
            Claim::Refused(ClaimRefusal::Standing(order))
                if order.status == Status::Invoiced
                    && order.payment.as_ref().map(|payment| payment.state)
                        != Some(ChargeState::Declined) =>
            {
                // Another worker is charging the order.
                return Err(in_progress());
            }
            Claim::Refused(ClaimRefusal::Standing(_)) => return Ok(Step::Again),
        };
        match self.close(&order).await {
            Ok(Closing::Closed) => self.cancel_claimed(&order, fence, reason).await,
            // The next round refunds what was captured.
            Ok(Closing::Settles(charge, status)) => {
                self.settle(&order, fence, &charge, status).await?;
                Ok(Step::Again)
            }
            Ok(Closing::StillOpen) => {
                self.release_unknown(&order, fence).await?;
                Err(in_progress())
            }
            Err(error) => {
                self.release_unknown(&order, fence).await?;
                Err(error)
            }
        }
    }

    /// Closes the current attempt's charge at the partner, so that it cannot be confirmed any more.
    pub(super) async fn close(&self, order: &Order) -> Result<Closing, Error> {
        let payment = order.payment.as_ref();
        let Some(charge) = payment.and_then(|payment| self.charge_of(order, payment)) else {
            return Ok(Closing::Closed);
        };
        let status = self.partner.cancel(&charge).await.map_err(partner_failed)?;
        Ok(match AfterClosing::from(status) {
            AfterClosing::Closed => Closing::Closed,
            AfterClosing::Settles(status) => Closing::Settles(Box::new(charge), status),
            AfterClosing::StillOpen(_) => Closing::StillOpen,
        })
    }

    /// Closes the charge of an expired order under this worker's claim, then cancels the order. If
    /// the charge stays open, the claim is released as `ActionRequired`.
    pub(super) async fn expire_claimed(&self, order: &Order, fence: Fence) -> Result<Order, Error> {
        let error = match self.close(order).await {
            Ok(Closing::Closed) => return self.expire(order, CancelBasis::Claimed(fence)).await,
            Ok(Closing::Settles(charge, status)) => {
                return self.settle(order, fence, &charge, status).await;
            }
            Ok(Closing::StillOpen) => Error::ActionRequired(NextAction::default()),
            Err(error) => error,
        };
        let (waits, as_before) = (ChargeState::ActionRequired, Confirmation::AsBefore);
        self.release(order, fence, waits, as_before).await?;
        Err(error)
    }

    /// Cancels an expired order whose charge is closed.
    pub(super) async fn expire(&self, order: &Order, basis: CancelBasis) -> Result<Order, Error> {
        let reason = Text::parse(Order::EXPIRED).expect("the constant is a valid text");
        let now = self.runtime.now();
        match self
            .store
            .cancel_order(order, basis, Some(&reason), now)
            .await?
        {
            Settlement::Written(order) => {
                tracing::info!(order_id = %order.id, "order expired");
                telemetry::count(&self.stage, "OrdersExpired", 1, now);
                Ok(*order)
            }
            Settlement::Overtaken(_) => Err(in_progress()),
            Settlement::NotFound => Err(Error::NotFound(Missing::Order)),
        }
    }

    async fn release_unknown(&self, order: &Order, fence: Fence) -> Result<(), Error> {
        let unknown = ChargeState::Unknown;
        self.release(order, fence, unknown, Confirmation::AsBefore)
            .await
    }

    async fn cancel_claimed(
        &self,
        order: &Order,
        fence: Fence,
        reason: Option<&Text>,
    ) -> Result<Step, Error> {
        let (claimed, now) = (CancelBasis::Claimed(fence), self.runtime.now());
        step(self.store.cancel_order(order, claimed, reason, now).await?)
    }

    /// The charge of a paid order.
    pub(super) fn paid_charge(&self, order: &Order) -> Result<OpenCharge, Error> {
        let payment = order.payment.as_ref();
        let charge = payment.and_then(|payment| self.charge_of(order, payment));
        charge.ok_or_else(|| Error::Internal("a paid order has no charge".into()))
    }

    /// Refunds the charge and returns the order cancelled. The partner refunds a charge once,
    /// however often it is requested, so a retry after a crash is safe. A failed refund is
    /// requested once more.
    pub(super) async fn refund(&self, order: Order) -> Result<Order, Error> {
        let order = self.continue_parts(order).await?;
        let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
        let status = self.partner.refund(&charge).await.map_err(partner_failed)?;
        self.settle_refund(order, status, asked).await
    }

    /// Continues a refund for a message. A failed refund stays failed: only a request starts
    /// another one.
    pub(super) async fn continue_refund(&self, order: Order) -> Result<Order, Error> {
        let order = self.continue_parts(order).await?;
        let (charge, asked) = (self.paid_charge(&order)?, self.runtime.now());
        let answer = self.partner.refund_status(&charge).await;
        let status = match answer.map_err(partner_failed)? {
            // The failure may belong to an earlier partial refund, and this refund may never have
            // been requested.
            Some(RefundStatus::Failed { .. }) if may_be_of_a_part(&order) => {
                self.partner.refund(&charge).await.map_err(partner_failed)?
            }
            Some(status) => status,
            None => self.partner.refund(&charge).await.map_err(partner_failed)?,
        };
        self.settle_refund(order, status, asked).await
    }

    /// Records the outcome of the refund of a `refunding` order.
    async fn settle_refund(
        &self,
        order: Order,
        status: RefundStatus,
        asked: Timestamp,
    ) -> Result<Order, Error> {
        if status != RefundStatus::Refunded {
            self.note_refund(&order, &status, None, asked).await?;
        }
        match status {
            RefundStatus::Refunded => {}
            RefundStatus::Pending => return Err(Error::RefundPending),
            RefundStatus::Failed { code } => {
                if let Some(order) = self.taken_by_dispute(&order).await? {
                    return Ok(order);
                }
                tracing::error!(order_id = %order.id, code, "refund rejected");
                telemetry::count(&self.stage, "RefundFailed", 1, self.runtime.now());
                return Err(Error::RefundFailed);
            }
        }
        match self.store.finish_refund(&order, self.runtime.now()).await? {
            Settlement::Written(order) => {
                tracing::info!(order_id = %order.id, "payment refunded, order cancelled");
                Ok(*order)
            }
            Settlement::Overtaken(_) => Err(in_progress()),
            Settlement::NotFound => Err(Error::NotFound(Missing::Order)),
        }
    }
}

/// The refund of the remaining amount, which cancels the order; `None` if nothing remains.
fn closing_refund(order: &Order, reason: Option<&Text>, now: Timestamp) -> Option<Refund> {
    let amount = order.refundable_amount();
    (amount != Money::ZERO).then(|| Refund {
        name: RefundName::Ours(RefundId::of_cancellation(&order.id)),
        amount,
        state: RefundState::Requested,
        items: Vec::new(),
        unshipped: true,
        closes: true,
        reason: reason.cloned(),
        at: now,
        told: None,
        request_hash: None,
        key: 0,
    })
}

/// Whether a failed refund of a refunding order may be a partial one: the partner has not yet
/// answered about the refund that closes the order.
fn may_be_of_a_part(order: &Order) -> bool {
    let payment = order.payment.as_ref();
    let is_unanswered = payment.is_some_and(|payment| payment.refund.is_none());
    let mut refunds = order.refunds.iter();
    is_unanswered && refunds.any(|refund| !refund.closes && !refund.holds())
}

fn step(settlement: Settlement) -> Result<Step, Error> {
    match settlement {
        Settlement::Written(order) => Ok(Step::Done(order)),
        Settlement::Overtaken(_) => Ok(Step::Again),
        Settlement::NotFound => Err(Error::NotFound(Missing::Order)),
    }
}

fn too_late(order: &Order) -> Error {
    Error::WrongState {
        status: order.status,
        detail: "it is on its way and can no longer be cancelled",
    }
}
