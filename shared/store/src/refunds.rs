//! Partial refunds, before and after the shipment.
//!
//! An order stores all its refunds in one map, which is always written as a whole, under the
//! condition that its revision is the one that was read. Of two refunds that are requested at the
//! same time, one is therefore decided again, and their sum never exceeds the captured amount. A
//! write that ends a shipment without a label also checks and raises the revision, because it
//! cancels an order that was refunded completely.

use domain::{
    ChargeState, Command, Due, Order, Refund, RefundName, RefundState, RefundStatus, Status,
    Timestamp,
};

use super::cancellations::unless_shipped;
use super::item::{n, refunds_value, s};
use super::transition::{Change, DUE_AFTER, OrderWrite, Transition};
use super::{Settlement, Store, StoreError};

impl Store {
    /// Stores a partial refund before it is requested from the partner, with its `RefundRequested`
    /// event; one write. The order is then due until the refund's outcome is known. If the refund
    /// takes items off the shipment, it is refused once the shipment has begun.
    pub async fn request_part(
        &self,
        order: &Order,
        refund: Refund,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let (name, is_unshipped) = (refund.name.clone(), refund.unshipped);
        let replaced = replaced(order, refund);
        let requested = self.transition(&replaced, Command::RefundPart, now);
        let requested = if is_unshipped {
            unless_shipped(requested)
        } else {
            requested
        };
        let requested = with_refunds(requested, order, &replaced.refunds);
        self.settled(requested, |order| order.refund(&name).is_some())
            .await
    }

    /// Records that a partial refund is done, with its `PaymentRefunded` event; one write.
    pub async fn finish_part(
        &self,
        order: &Order,
        refund: &Refund,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let done = Refund {
            state: RefundState::Answered(RefundStatus::Refunded),
            told: Some(order.version + 1),
            ..refund.clone()
        };
        let replaced = replaced(order, done);
        let finished = self.transition(&replaced, Command::FinishPart, now);
        let finished = with_refunds(finished, order, &replaced.refunds);
        let name = &refund.name;
        let stands_already = |order: &Order| told(order, name);
        self.settled(finished, stands_already).await
    }

    /// Records that a partial refund of a cancelled order is done; one write. A cancelled order has
    /// no further events, so the sweep sends the mail: the order is due as after an event.
    pub async fn finish_part_late(
        &self,
        order: &Order,
        refund: Refund,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let refunds = replaced(order, refund.clone()).refunds;
        let due = self.mail_step(order);
        let due = due.map(|step| Due::new(step, now.plus(DUE_AFTER)));
        let finished = Self::noted(order, &refunds).when_status(Status::Cancelled);
        let finished = finished.due(&order.id, due);
        let name = &refund.name;
        self.settled(finished, |order| told(order, name)).await
    }

    /// Records the state of a refund that is not done; one write, without an event.
    pub async fn note_part(&self, order: &Order, refund: Refund) -> Result<Settlement, StoreError> {
        let name = refund.name.clone();
        let refunds = replaced(order, refund.clone()).refunds;
        let noted = Self::noted(order, &refunds);
        self.settled(noted, |order| order.refund(&name) == Some(&refund))
            .await
    }
}

impl Store {
    /// Records the refunds that the partner shows for an order, as it was read; one write, without
    /// an event.
    pub async fn note_refunds(
        &self,
        order: &Order,
        refunds: &[Refund],
    ) -> Result<Settlement, StoreError> {
        let noted = Self::noted(order, refunds);
        self.settled(noted, |order| order.refunds == refunds).await
    }

    /// A change of the refunds. Items return to the shipment only if it has not begun.
    fn noted(order: &Order, refunds: &[Refund]) -> Change {
        let noted = with_refunds(Self::change(&order.id), order, refunds);
        let comes_back = |refund: &Refund| {
            let before = order.refund(&refund.name);
            before.is_some_and(|before| before.unshipped) && !refund.unshipped
        };
        if refunds.iter().any(comes_back) {
            unless_shipped(noted.when_is("version", n(order.version)))
        } else {
            noted
        }
    }

    /// Cancels a paid or refunding order whose whole charge was refunded, with its `OrderCancelled`
    /// event; one write. Refused once its parcel is registered with a carrier, because it is then
    /// being shipped.
    pub async fn cancel_refunded(
        &self,
        order: &Order,
        refunds: &[Refund],
        reason: &'static str,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let cancelled = unless_shipped(self.gone(order, reason, now));
        let cancelled = with_refunds(cancelled, order, refunds);
        self.settled(cancelled, |order| order.status == Status::Cancelled)
            .await
    }

    /// The transition of an order whose whole charge was refunded.
    pub(super) fn gone(&self, order: &Order, reason: &'static str, now: Timestamp) -> Transition {
        self.transition(order, Command::CancelRefunded, now)
            .set("payment.state", s(ChargeState::Refunded.as_str()))
            .set("cancelReason", s(reason))
            .remove(["payment.refund"])
    }
}

/// Whether an event announced the refund with that name.
fn told(order: &Order, name: &RefundName) -> bool {
    let refund = order.refund(name);
    refund.is_some_and(|refund| refund.told.is_some())
}

/// The order with this refund added, or in place of the one with the same name.
fn replaced(order: &Order, refund: Refund) -> Order {
    let mut order = order.clone();
    match order
        .refunds
        .iter_mut()
        .find(|each| each.name == refund.name)
    {
        Some(standing) => *standing = refund,
        None => order.refunds.push(refund),
    }
    order
}

/// Adds this refund to the write.
pub(super) fn with_refund<Kind>(
    write: OrderWrite<Kind>,
    order: &Order,
    refund: Refund,
) -> OrderWrite<Kind> {
    with_refunds(write, order, &replaced(order, refund).refunds)
}

/// Replaces the refunds that were read with these.
pub(super) fn with_refunds<Kind>(
    write: OrderWrite<Kind>,
    order: &Order,
    refunds: &[Refund],
) -> OrderWrite<Kind> {
    in_turn(write, order).set("refunds", refunds_value(refunds))
}

/// Serializes the write with all writes of the refunds: it requires and raises their revision.
pub(super) fn in_turn<Kind>(write: OrderWrite<Kind>, order: &Order) -> OrderWrite<Kind> {
    let write = match order.refunds_revision {
        0 => write.when("attribute_not_exists(refundsRevision)"),
        revision => write.when_is("refundsRevision", n(revision)),
    };
    write.set("refundsRevision", n(order.refunds_revision + 1))
}
