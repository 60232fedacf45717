//! Partners' later reports about an order: disputes, refunds of cancelled orders, and deliveries.
//! Each report is informational and is written outside the state machine: it raises no version and
//! publishes no event. Only a delivery state that the customer is told of is a transition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    ChargeState, Command, Delivery, Dispute, Due, DueStep, Order, OrderId, RefundNews,
    RefundStatus, Status, Timestamp,
};
use messages::PartnerReference;

use super::item::{delivery_value, dispute_value, money, n, refund_value, s};
use super::refunds::in_turn;
use super::transition::{Change, DUE_AFTER, OrderWrite};
use super::{Settlement, Store, StoreError, TRIES};

/// Outcome of recording a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is recorded on the order.
    Written,
    /// The order already has this report or a later one.
    Known,
    /// The order does not exist or does not have this reference.
    Foreign,
}

/// Outcome of recording a report of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotedDispute {
    /// The dispute was unknown; it is recorded on the order.
    New,
    /// The dispute was known; its state has changed.
    Changed,
    /// The order already has this report or a later one.
    Known,
    /// The order already has [`Dispute::MOST`] other disputes; this one is not stored.
    Full,
    /// The order does not exist or does not have this reference.
    Foreign,
}

impl Store {
    /// Records the state of the partner's dispute `id`, if its charge has this reference; a read
    /// and a write. The report with the latest `news.at` wins, in whatever order reports arrive. A
    /// known dispute keeps its `since`.
    ///
    /// A dispute without an ID, which only earlier versions wrote, is replaced by the first one
    /// with an ID: the two cannot be told apart, and the partner's report is newer.
    pub async fn note_dispute(
        &self,
        id: &OrderId,
        reference: &str,
        dispute: &PartnerReference,
        news: &Dispute,
    ) -> Result<NotedDispute, StoreError> {
        let mut standing = self.order(id).await?;
        for attempt in 1..=TRIES {
            let Some(order) = standing.filter(|order| has_charge(order, reference)) else {
                return Ok(NotedDispute::Foreign);
            };
            let name = Some(dispute.as_str());
            let known = order
                .disputes
                .iter()
                .find(|each| each.id.as_deref() == name);
            let outcome = match known {
                Some(known) if known.at > news.at => return Ok(NotedDispute::Known),
                Some(known) if known.state == news.state => NotedDispute::Known,
                Some(_) => NotedDispute::Changed,
                None if named(&order) >= Dispute::MOST => return Ok(NotedDispute::Full),
                None => NotedDispute::New,
            };
            let wanted = Dispute {
                id: name.map(str::to_owned),
                state: news.state,
                amount: news.amount,
                at: news.at,
                since: known.map_or(news.since, |known| known.since),
            };
            if known == Some(&wanted) {
                return Ok(NotedDispute::Known);
            }
            let update = match known {
                None => first_news(&order, reference, dispute, &wanted),
                Some(_) => later_news(&order, reference, dispute, &wanted),
            };
            // A refund, and the end of a shipment without a label, cancel an order of whose charge
            // nothing is left.
            standing = match self.conditional(in_turn(update, &order)).await? {
                Ok(_) => return Ok(outcome),
                // This may be our own write: its first answer was lost, and the SDK retried it.
                Err(Some(order)) if order.disputes.contains(&wanted) => return Ok(outcome),
                Err(standing) => standing,
            };
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Records the partner's answer about the refund of a refunding or cancelled order, as it was
    /// read; one write. The answer with the latest `news.at` wins. The charge's state follows it: a
    /// failed refund makes it [`ChargeState::RefundFailed`], a completed one
    /// [`ChargeState::Refunded`], and a pending one leaves it unchanged. A cancelled order whose
    /// refund begins to pend is due until it does not, in case the partner's webhook is lost.
    pub async fn note_refund(&self, order: &Order, news: &RefundNews) -> Result<Noted, StoreError> {
        let (Some(payment), Status::Refunding | Status::Cancelled) = (&order.payment, order.status)
        else {
            return Ok(Noted::Foreign);
        };
        let Some(reference) = payment.reference.as_deref() else {
            return Ok(Noted::Foreign);
        };
        let state = match news.status {
            RefundStatus::Refunded => ChargeState::Refunded,
            RefundStatus::Pending => payment.state,
            RefundStatus::Failed { .. } => ChargeState::RefundFailed,
        };
        let noted = Store::change(&order.id)
            .when_status(order.status)
            .when_is("payment.reference", s(reference))
            .when_is("payment.state", s(payment.state.as_str()))
            .when("attribute_not_exists(payment.refund) OR payment.refund.#at <= :at")
            .value(":at", n(news.at.millis()))
            .set("payment.state", s(state.as_str()))
            .set("payment.refund", refund_value(news));
        let pends = news.status == RefundStatus::Pending && !order.awaits_refund();
        let noted = if pends && order.status == Status::Cancelled {
            let due = Due::new(DueStep::Payment, news.at.plus(DUE_AFTER));
            noted.due(&order.id, Some(due))
        } else {
            noted
        };
        Ok(match self.conditional(noted).await? {
            Ok(_) => Noted::Written,
            Err(Some(order)) if has_news(&order, news) => Noted::Written,
            Err(Some(order)) if has_charge(&order, reference) => Noted::Known,
            Err(_) => Noted::Foreign,
        })
    }

    /// Records the delivery state of the parcel with this reference at that carrier; one write. The
    /// latest report by the carrier's clock wins, in whatever order reports arrive.
    pub async fn note_delivery(
        &self,
        id: &OrderId,
        carrier: &str,
        reference: &str,
        delivery: Delivery,
    ) -> Result<Noted, StoreError> {
        let noted = Store::change(id).when_parcel_is(carrier, reference);
        let noted = with_delivery(noted, delivery);
        Ok(match self.conditional(noted).await? {
            Ok(_) => Noted::Written,
            Err(Some(order)) if order.has_parcel(carrier, reference) => Noted::Known,
            Err(_) => Noted::Foreign,
        })
    }

    /// Does the same for an order, as it was read, and adds the event of `command`, which tells the
    /// customer ([`Order::report_of`]); one write.
    pub async fn report_delivery(
        &self,
        order: &Order,
        delivery: Delivery,
        command: Command,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let told = self.transition(order, command, now);
        let told = with_delivery(told.when_parcel(order.parcel.as_ref()), delivery);
        let stands_already = |order: &Order| {
            order.delivery == Some(delivery) && order.events.contains_key(&command.event())
        };
        self.settled(told, stands_already).await
    }
}

/// Adds the delivery state, and the condition that no later report is recorded.
fn with_delivery<Kind>(write: OrderWrite<Kind>, delivery: Delivery) -> OrderWrite<Kind> {
    write
        .when("attribute_not_exists(delivery) OR delivery.#at < :at")
        .value(":at", n(delivery.at.millis()))
        .set("delivery", delivery_value(&delivery))
}

/// Records an unknown dispute. DynamoDB can set an entry only in a map that exists.
fn first_news(order: &Order, reference: &str, id: &PartnerReference, dispute: &Dispute) -> Change {
    let value = dispute_value(dispute);
    let change = disputed(order, reference);
    if named(order) == 0 {
        let disputes = HashMap::from([(id.as_str().to_owned(), value)]);
        return change
            .when("attribute_not_exists(disputes)")
            .set("disputes", Value::M(disputes));
    }
    change
        .when("attribute_not_exists(disputes.#id) AND size(disputes) < :most")
        .name("#id", id.as_str())
        .value(":most", n(Dispute::MOST))
        .set("disputes.#id", value)
}

/// Records the state of a known dispute, unless a later report was recorded.
fn later_news(order: &Order, reference: &str, id: &PartnerReference, dispute: &Dispute) -> Change {
    disputed(order, reference)
        .when("disputes.#id.#at <= :at")
        .name("#id", id.as_str())
        .value(":at", n(dispute.at.millis()))
        .set("disputes.#id.state", s(dispute.state.as_str()))
        .set("disputes.#id.amount", money(dispute.amount))
        .assign("disputes.#id.at", ":at")
}

/// The part of the write that is common to all reports of disputes: it removes the dispute of an
/// earlier version.
fn disputed(order: &Order, reference: &str) -> Change {
    Store::change(&order.id)
        .when_is("payment.reference", s(reference))
        .remove(["dispute"])
}

/// The number of disputes that the order stores by ID.
fn named(order: &Order) -> usize {
    let disputes = order.disputes.iter();
    disputes.filter(|dispute| dispute.id.is_some()).count()
}

fn has_charge(order: &Order, reference: &str) -> bool {
    let payment = order.payment.as_ref();
    payment.and_then(|payment| payment.reference.as_deref()) == Some(reference)
}

/// Whether exactly this report is recorded, which means that it was our own write, whose first
/// answer was lost.
fn has_news(order: &Order, news: &RefundNews) -> bool {
    let payment = order.payment.as_ref();
    payment.and_then(|payment| payment.refund.as_ref()) == Some(news)
}
