//! What partners tell of an order after they were asked: disputes, refunds of cancelled orders and
//! deliveries. Each is a note for people, written beside the state machine: no version is raised and
//! no event is told. Only a delivery that the customer is told of is a transition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    ChargeState, Command, Delivery, Dispute, Order, OrderId, RefundNews, RefundStatus, Status,
    Timestamp,
};
use messages::PartnerReference;

use super::item::{delivery_value, dispute_value, n, refund_value, s};
use super::transition::{Change, OrderWrite};
use super::{Settlement, Store, StoreError, TRIES};

/// What became of a piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is on the order now.
    Written,
    /// The order says so already, or says something later.
    Known,
    /// There is no such order, or it does not have this reference.
    Foreign,
}

/// What became of news of a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotedDispute {
    /// Nobody knew of the dispute before; it is on the order now.
    New,
    /// It was known, and stands differently now.
    Changed,
    /// The order says so already, or says something later.
    Known,
    /// The order has [`Dispute::MOST`] others and does not keep it.
    Full,
    /// There is no such order, or it does not have this reference.
    Foreign,
}

impl Store {
    /// Notes how the dispute that the partner knows by `id` stands, if its charge is the one with this
    /// reference; a read and a write. By `news.at` the latest news of a dispute holds, in whatever
    /// order they come. A dispute that is known keeps its `since`.
    ///
    /// A dispute without an id, which only earlier versions wrote, gives way to the first one with an
    /// id: the two cannot be told apart, and the partner's word is newer.
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
            standing = match self.conditional(update).await? {
                Ok(_) => return Ok(outcome),
                // Our own write: its first answer was lost on the way, and the SDK tried again.
                Err(Some(order)) if order.disputes.contains(&wanted) => return Ok(outcome),
                Err(standing) => standing,
            };
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Notes what the partner says of the refund of an order that is refunding or cancelled, as it was
    /// read; one write. By `news.at` the latest answer holds. The charge's state follows: a refund that
    /// failed makes it [`ChargeState::RefundFailed`], one that is done [`ChargeState::Refunded`], and a
    /// pending one leaves it as it is.
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
        Ok(match self.conditional(noted).await? {
            Ok(_) => Noted::Written,
            Err(Some(order)) if has_news(&order, news) => Noted::Written,
            Err(Some(order)) if has_charge(&order, reference) => Noted::Known,
            Err(_) => Noted::Foreign,
        })
    }

    /// Notes where the parcel with this reference at that carrier is; one write. By the carrier's clock the latest
    /// news holds, in whatever order they come.
    pub async fn note_delivery(
        &self,
        id: &OrderId,
        carrier: &str,
        reference: &str,
        delivery: Delivery,
    ) -> Result<Noted, StoreError> {
        let noted = of_parcel(Store::change(id), carrier, reference);
        let noted = with_delivery(noted, delivery);
        Ok(match self.conditional(noted).await? {
            Ok(_) => Noted::Written,
            Err(Some(order)) if order.has_parcel(carrier, reference) => Noted::Known,
            Err(_) => Noted::Foreign,
        })
    }

    /// The same of an order as it was read, with the event of `command`, which tells the customer
    /// ([`Order::report_of`]); one write.
    pub async fn report_delivery(
        &self,
        order: &Order,
        delivery: Delivery,
        command: Command,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let told = self.transition(order, command, now);
        let told = match &order.parcel {
            None => told.when("attribute_not_exists(parcel)"),
            Some(parcel) => of_parcel(told, &parcel.carrier, &parcel.reference),
        };
        let told = with_delivery(told, delivery);
        let stands_already = |order: &Order| {
            order.delivery == Some(delivery) && order.events.contains_key(&command.event())
        };
        self.settled(told, stands_already).await
    }
}

/// The same write, refused where the order has another parcel.
fn of_parcel<Kind>(write: OrderWrite<Kind>, carrier: &str, reference: &str) -> OrderWrite<Kind> {
    write
        .when_is("parcel.reference", s(reference))
        .when_is("parcel.carrier", s(carrier))
}

/// The same write, with where the parcel is; refused where later news of it is recorded.
fn with_delivery<Kind>(write: OrderWrite<Kind>, delivery: Delivery) -> OrderWrite<Kind> {
    write
        .when("attribute_not_exists(delivery) OR delivery.#at < :at")
        .value(":at", n(delivery.at.millis()))
        .set("delivery", delivery_value(&delivery))
}

/// Writes a dispute that is not known. DynamoDB sets an entry only in a map that is there.
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

/// Writes how a dispute that is known stands, unless later news of it was written.
fn later_news(order: &Order, reference: &str, id: &PartnerReference, dispute: &Dispute) -> Change {
    disputed(order, reference)
        .when("disputes.#id.#at <= :at")
        .name("#id", id.as_str())
        .value(":at", n(dispute.at.millis()))
        .set("disputes.#id.state", s(dispute.state.as_str()))
        .assign("disputes.#id.at", ":at")
}

/// What every news of a dispute writes: that of earlier versions gives way.
fn disputed(order: &Order, reference: &str) -> Change {
    Store::change(&order.id)
        .when_is("payment.reference", s(reference))
        .remove(["dispute"])
}

/// How many disputes the order keeps by their ids.
fn named(order: &Order) -> usize {
    let disputes = order.disputes.iter();
    disputes.filter(|dispute| dispute.id.is_some()).count()
}

fn has_charge(order: &Order, reference: &str) -> bool {
    let payment = order.payment.as_ref();
    payment.and_then(|payment| payment.reference.as_deref()) == Some(reference)
}

/// Whether this very news was written: our own write, whose first answer was lost on the way.
fn has_news(order: &Order, news: &RefundNews) -> bool {
    let payment = order.payment.as_ref();
    payment.and_then(|payment| payment.refund.as_ref()) == Some(news)
}
