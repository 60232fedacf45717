//! The payment of an invoice: claimed under a lease, written under a fence.
//!
//! A claim raises the fence; every later write names the fence it was made under and is refused
//! once somebody else has claimed. So a worker that was frozen and wakes up after its lease can
//! still not overwrite what the next one did.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue as Value;

use super::attributes::{charge_value, decline_value, event_value, money, n, record_value, s};
use super::orders::{DUE_AFTER, conditional};
use super::{Store, StoreError};
use crate::domain::{
    Charge, ChargeState, CustomerId, Decline, DueStep, EventRecord, EventType, Money, Order,
    OrderId, Status, Timestamp,
};

/// The claim that a write is made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub(super) u64);

/// What an explicit request says that it pays.
#[derive(Clone, Debug)]
pub struct PaymentTerms {
    /// Whose invoice.
    pub customer: CustomerId,
    /// Its total.
    pub total: Money,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The order is yours to charge until the lease ends.
    Held(Box<Order>, Fence),
    /// It is not; the reason can be read off the order.
    Refused(ClaimRefusal),
}

/// Why a claim was refused.
#[derive(Clone, Debug)]
pub enum ClaimRefusal {
    /// No such order.
    NotFound,
    /// The order as it stands: other terms, another state, or held by somebody else.
    Standing(Box<Order>),
}

/// What the next attempt at a declined payment charges with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCharge {
    /// It opens another charge: nobody can confirm the declined one any more.
    Another,
    /// It goes on with the declined attempt's charge, because that one could not be cancelled.
    Same,
}

/// What became of a write under a fence.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It stands: this is the order now.
    Written(Box<Order>),
    /// Somebody else has claimed or finished meanwhile: this is the order now.
    Overtaken(Box<Order>),
    /// The order is gone.
    NotFound,
}

impl Store {
    /// Claims an invoiced order for charging; one write. `#status = :invoiced` is
    /// `Command::CapturePayment`'s row of the state table. A declined payment is not claimed: see
    /// [`Store::claim_next_attempt`].
    ///
    /// `lease` MUST be longer than a function can run.
    pub async fn claim_payment(
        &self,
        id: &OrderId,
        terms: Option<&PaymentTerms>,
        key: Option<&str>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let holder = self.runtime.token();
        let mut expression = "SET payment.fence = payment.fence + :one, payment.holder = :holder, \
             payment.leaseUntil = :until, payment.#state = :processing"
            .to_owned();
        let mut condition = "#status = :invoiced AND payment.#state <> :declined \
             AND (attribute_not_exists(payment.leaseUntil) OR payment.leaseUntil < :now)"
            .to_owned();
        let mut update = self
            .payment_update(id)?
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":holder", s(&holder))
            .expression_attribute_values(":until", n(now.plus(lease).millis()))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str()))
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()));
        if let Some(key) = key {
            expression += ", payment.#key = if_not_exists(payment.#key, :key)";
            update = update
                .expression_attribute_names("#key", "key")
                .expression_attribute_values(":key", s(key));
        }
        if let Some(terms) = terms {
            condition += " AND customerId = :customer AND #total = :total";
            update = update
                .expression_attribute_names("#total", "total")
                .expression_attribute_values(":customer", s(terms.customer.as_str()))
                .expression_attribute_values(":total", money(terms.total));
        }
        expression += " REMOVE #event";
        claimed(
            update
                .update_expression(expression)
                .condition_expression(condition),
            &holder,
        )
        .await
    }

    /// Claims the next attempt at a declined payment, as it was read; one write. With
    /// [`NextCharge::Another`] the declined attempt's charge MUST have been cancelled at the partner,
    /// so that nobody can confirm it.
    pub async fn claim_next_attempt(
        &self,
        order: &Order,
        next: NextCharge,
        key: Option<&str>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let Some(payment) = &order.payment else {
            return Ok(Claim::Refused(ClaimRefusal::Standing(Box::new(
                order.clone(),
            ))));
        };
        let holder = self.runtime.token();
        let mut expression = "SET payment.fence = payment.fence + :one, payment.holder = :holder, \
             payment.leaseUntil = :until, payment.#state = :processing, \
             payment.attempt = payment.attempt + :one, \
             dueStep = :step, dueAt = :due, dueTries = :zero"
            .to_owned();
        let mut update = self
            .payment_update(&order.id)?
            .condition_expression(
                "#status = :invoiced AND payment.#state = :declined AND payment.fence = :fence",
            )
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":holder", s(&holder))
            .expression_attribute_values(":until", n(now.plus(lease).millis()))
            .expression_attribute_values(":step", s(DueStep::Payment.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str()))
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
            .expression_attribute_values(":fence", n(payment.fence));
        if let Some(key) = key {
            expression += ", payment.#key = :key REMOVE";
            update = update.expression_attribute_values(":key", s(key));
        } else {
            expression += " REMOVE payment.#key,";
        }
        if next == NextCharge::Another {
            expression += " payment.#reference, payment.openedAt,";
            update = update.expression_attribute_names("#reference", "reference");
        }
        expression += " #event";
        claimed(update.update_expression(expression), &holder).await
    }

    /// Keeps the partner's name for the opened charge, before it is confirmed; one write.
    pub async fn charge_opened(
        &self,
        id: &OrderId,
        fence: Fence,
        reference: &str,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let update = self
            .fenced_update(id, fence)?
            .update_expression(
                "SET payment.#reference = :reference, payment.openedAt = :now REMOVE #event",
            )
            .expression_attribute_names("#reference", "reference")
            .expression_attribute_values(":reference", s(reference))
            .expression_attribute_values(":now", n(now.millis()));
        settled(update, |_| false).await
    }

    /// Marks the order paid, with its `PaymentProcessed` event; one write.
    pub async fn charge_captured(
        &self,
        order: &Order,
        fence: Fence,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let version = order.version + 1;
        let update = self
            .fenced_update(&order.id, fence)?
            .update_expression(
                "SET #status = :paid, version = :version, payment.#state = :captured, \
                 payment.charge = :charge, #event = :event, events.#kind = :record, \
                 dueStep = :step, dueAt = :due, dueTries = :zero \
                 REMOVE payment.holder, payment.leaseUntil",
            )
            .expression_attribute_names("#kind", EventType::PaymentProcessed.as_str())
            .expression_attribute_values(":paid", s(Status::Paid.as_str()))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":captured", s(ChargeState::Captured.as_str()))
            .expression_attribute_values(":charge", charge_value(charge))
            .expression_attribute_values(
                ":event",
                event_value(&order.event_id(version), EventType::PaymentProcessed),
            )
            .expression_attribute_values(":record", record_value(&EventRecord { version, at: now }))
            .expression_attribute_values(":step", s(DueStep::Shipping.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":zero", n(0));
        settled(update, |order| order.charge().is_some()).await
    }

    /// Records that the partner refused the attempt; one write. What remains due are the mails.
    pub async fn charge_declined(
        &self,
        order: &Order,
        fence: Fence,
        decline: &Decline,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let mut expression = "SET payment.#state = :declined, \
             payment.declines = list_append(payment.declines, :decline)"
            .to_owned();
        let mut update = self
            .fenced_update(&order.id, fence)?
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
            .expression_attribute_values(":decline", Value::L(vec![decline_value(decline)]));
        if order.email().is_some() {
            expression += ", dueStep = :step, dueAt = :due, dueTries = :zero REMOVE";
            update = update
                .expression_attribute_values(":step", s(DueStep::Email.partition_of(&order.id)))
                .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
                .expression_attribute_values(":zero", n(0));
        } else {
            expression += " REMOVE dueStep, dueAt, dueTries,";
        }
        expression += " payment.holder, payment.leaseUntil, #event";
        settled(update.update_expression(expression), |order| {
            order.payment.as_ref().is_some_and(|payment| {
                payment.fence == fence.0 && payment.state == ChargeState::Declined
            })
        })
        .await
    }

    /// Gives the claim back with the charge in `state`, neither captured nor declined; one write.
    /// What is due stays due: the sweep asks again.
    pub async fn release_payment(
        &self,
        id: &OrderId,
        fence: Fence,
        state: ChargeState,
    ) -> Result<Settlement, StoreError> {
        let update = self
            .fenced_update(id, fence)?
            .update_expression(
                "SET payment.#state = :new REMOVE payment.holder, payment.leaseUntil, #event",
            )
            .expression_attribute_values(":new", s(state.as_str()));
        settled(update, |order| {
            order
                .payment
                .as_ref()
                .is_some_and(|payment| payment.fence == fence.0 && payment.lease_until.is_none())
        })
        .await
    }

    pub(super) fn payment_update(
        &self,
        id: &OrderId,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .order_update(id)?
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":invoiced", s(Status::Invoiced.as_str())))
    }

    /// An update that only the holder of the current claim carries out.
    pub(super) fn fenced_update(
        &self,
        id: &OrderId,
        fence: Fence,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .payment_update(id)?
            .condition_expression(
                "#status = :invoiced AND payment.fence = :fence AND payment.#state = :processing",
            )
            .expression_attribute_values(":fence", n(fence.0))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str())))
    }
}

async fn claimed(update: UpdateItemFluentBuilder, holder: &str) -> Result<Claim, StoreError> {
    let order = match conditional(update).await? {
        Ok(order) => order,
        Err(None) => return Ok(Claim::Refused(ClaimRefusal::NotFound)),
        Err(Some(order)) => {
            let held_by = order
                .payment
                .as_ref()
                .and_then(|payment| payment.holder.as_deref());
            if held_by != Some(holder) {
                return Ok(Claim::Refused(ClaimRefusal::Standing(Box::new(order))));
            }
            // Our own write: its first answer was lost on the way, and the SDK tried again.
            order
        }
    };
    let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
    Ok(Claim::Held(Box::new(order), Fence(fence)))
}

pub(super) async fn settled(
    update: UpdateItemFluentBuilder,
    stands_already: impl Fn(&Order) -> bool,
) -> Result<Settlement, StoreError> {
    Ok(match conditional(update).await? {
        Ok(order) => Settlement::Written(Box::new(order)),
        Err(None) => Settlement::NotFound,
        Err(Some(order)) if stands_already(&order) => Settlement::Written(Box::new(order)),
        Err(Some(order)) => Settlement::Overtaken(Box::new(order)),
    })
}
