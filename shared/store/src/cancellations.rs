//! Cancelling an order, and giving back what was charged.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use domain::{ChargeState, DueStep, EventRecord, EventType, Order, Status, Text, Timestamp};

use super::attributes::{event_value, n, record_value, s};
use super::orders::DUE_AFTER;
use super::payments::settled;
use super::{Fence, Settlement, Store, StoreError};

/// What makes sure that nobody charges the order while it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelBasis {
    /// It is pending: there is no invoice to be charged.
    Pending,
    /// Its payment is claimed under this fence, and its charge, if it has one, is cancelled at the
    /// partner.
    Claimed(Fence),
    /// Its payment is declined, as it was read, and the declined charge is cancelled at the partner.
    Declined,
}

impl Store {
    /// Cancels an order that is not paid, with its `OrderCancelled` event; one write. The conditions
    /// are `Command::Cancel`'s rows of the state table.
    pub async fn cancel_order(
        &self,
        order: &Order,
        basis: CancelBasis,
        reason: Option<&Text>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let base = match basis {
            CancelBasis::Pending => self
                .order_update(&order.id)?
                .condition_expression("#status = :pending AND version = :old")
                .expression_attribute_values(":pending", s(Status::Pending.as_str()))
                .expression_attribute_values(":old", n(order.version)),
            CancelBasis::Claimed(fence) => self.fenced_update(&order.id, fence)?,
            CancelBasis::Declined => self
                .payment_update(&order.id)?
                .condition_expression(
                    "#status = :invoiced AND payment.#state = :declined \
                     AND payment.fence = :fence",
                )
                .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
                .expression_attribute_values(
                    ":fence",
                    n(order.payment.as_ref().map_or(0, |payment| payment.fence)),
                ),
        };
        let mut set = String::new();
        let mut update = base;
        if basis != CancelBasis::Pending {
            set += ", payment.#state = :unpaid";
            update =
                update.expression_attribute_values(":unpaid", s(ChargeState::Cancelled.as_str()));
        }
        if let Some(reason) = reason {
            set += ", cancelReason = :reason";
            update = update.expression_attribute_values(":reason", s(reason.as_str()));
        }
        let mut remove = Vec::new();
        if matches!(basis, CancelBasis::Claimed(_)) {
            remove.extend(["payment.holder", "payment.leaseUntil"]);
        }
        settled(
            cancelled(update, order, self.mail_step(order), &set, remove, now),
            |order| order.status == Status::Cancelled,
        )
        .await
    }

    /// Marks a paid order as to be refunded, with its `RefundRequested` event; one write. Refused
    /// once its parcel is registered with a carrier: then it is being shipped.
    /// `#status = :paid` is `Command::RequestRefund`'s row of the state table.
    pub async fn request_refund(
        &self,
        order: &Order,
        reason: Option<&Text>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let version = order.version + 1;
        let mut expression = "SET #status = :refunding, version = :version, #event = :event, \
             events.#kind = :record, dueStep = :step, dueAt = :due, dueTries = :zero"
            .to_owned();
        let event = EventType::RefundRequested;
        let mut update = self
            .order_update(&order.id)?
            .condition_expression(
                "#status = :paid AND version = :old AND attribute_not_exists(parcel)",
            )
            .expression_attribute_names("#kind", event.as_str())
            .expression_attribute_values(":paid", s(Status::Paid.as_str()))
            .expression_attribute_values(":refunding", s(Status::Refunding.as_str()))
            .expression_attribute_values(":old", n(order.version))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":event", event_value(&order.event_id(version), event))
            .expression_attribute_values(":record", record_value(&EventRecord { version, at: now }))
            .expression_attribute_values(":step", s(DueStep::Payment.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":zero", n(0));
        if let Some(reason) = reason {
            expression += ", cancelReason = :reason";
            update = update.expression_attribute_values(":reason", s(reason.as_str()));
        }
        settled(update.update_expression(expression), |order| {
            matches!(order.status, Status::Refunding | Status::Cancelled)
        })
        .await
    }

    /// Marks an order cancelled whose money has gone back, with its `PaymentRefunded` and
    /// `OrderCancelled` events; one write. `#status = :refunding` is `Command::FinishRefund`'s row
    /// of the state table.
    pub async fn finish_refund(
        &self,
        order: &Order,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let record = EventRecord {
            version: order.version + 1,
            at: now,
        };
        let update = self
            .order_update(&order.id)?
            .condition_expression("#status = :refunding AND version = :old")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#refunded", EventType::PaymentRefunded.as_str())
            .expression_attribute_values(":refunding", s(Status::Refunding.as_str()))
            .expression_attribute_values(":old", n(order.version))
            .expression_attribute_values(":back", s(ChargeState::Refunded.as_str()))
            .expression_attribute_values(":refunded", record_value(&record));
        let set = ", payment.#state = :back, events.#refunded = :refunded";
        // What was said of the refund on the way is over: the money has gone back.
        let remove = vec!["payment.refund"];
        settled(
            cancelled(update, order, self.mail_step(order), set, remove, now),
            |order| order.status == Status::Cancelled,
        )
        .await
    }
}

/// Adds what every cancellation writes: status, version, event and what is due (`step`).
fn cancelled(
    update: UpdateItemFluentBuilder,
    order: &Order,
    step: Option<DueStep>,
    set: &str,
    mut remove: Vec<&str>,
    now: Timestamp,
) -> UpdateItemFluentBuilder {
    let version = order.version + 1;
    let event = EventType::OrderCancelled;
    let mut expression = format!(
        "SET #status = :cancelled, version = :version, #event = :event, events.#kind = :record{set}"
    );
    let mut update = update
        .expression_attribute_names("#kind", event.as_str())
        .expression_attribute_values(":cancelled", s(Status::Cancelled.as_str()))
        .expression_attribute_values(":version", n(version))
        .expression_attribute_values(":event", event_value(&order.event_id(version), event))
        .expression_attribute_values(":record", record_value(&EventRecord { version, at: now }));
    if let Some(step) = step {
        expression += ", dueStep = :step, dueAt = :due, dueTries = :zero";
        update = update
            .expression_attribute_values(":step", s(step.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":zero", n(0));
    } else {
        remove.extend(["dueStep", "dueAt", "dueTries"]);
    }
    if !remove.is_empty() {
        expression += " REMOVE ";
        expression += &remove.join(", ");
    }
    update.update_expression(expression)
}
