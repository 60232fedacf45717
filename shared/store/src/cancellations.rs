//! Cancels orders and requests their refunds.

use domain::{ChargeState, Command, Order, Refund, Status, Text, Timestamp};

use super::item::{n, s};
use super::payments::CLAIM;
use super::refunds::with_refund;
use super::transition::{OrderWrite, Transition};
use super::{Fence, Settlement, Store, StoreError};

/// What guarantees that no worker charges the order while it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelBasis {
    /// The order is pending: there is no invoice to charge.
    Pending,
    /// The payment is claimed under this fence, and its charge, if any, was cancelled at the
    /// partner.
    Claimed(Fence),
    /// The payment is declined, as it was read, and the declined charge was cancelled at the
    /// partner.
    Declined,
}

impl Store {
    /// Cancels an unpaid order, with its `OrderCancelled` event; one write.
    pub async fn cancel_order(
        &self,
        order: &Order,
        basis: CancelBasis,
        reason: Option<&Text>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let cancelled = self.transition(order, Command::Cancel, now);
        let unpaid = s(ChargeState::Cancelled.as_str());
        let cancelled = match basis {
            CancelBasis::Pending => cancelled.when("attribute_not_exists(payment)"),
            CancelBasis::Claimed(fence) => cancelled
                .when_claimed(fence)
                .set("payment.state", unpaid)
                .remove(CLAIM),
            CancelBasis::Declined => cancelled.when_declined(order).set("payment.state", unpaid),
        };
        let cancelled = because(cancelled, reason);
        let stands_already = |order: &Order| order.status == Status::Cancelled;
        self.settled(cancelled, stands_already).await
    }

    /// Cancels an order that was paid without a charge, with its `OrderCancelled` event; one write.
    /// Refused under the same conditions as [`Store::request_refund`].
    pub async fn cancel_free_order(
        &self,
        order: &Order,
        reason: Option<&Text>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let cancelled = unless_shipped(self.transition(order, Command::CancelFree, now))
            .when_is("payment.state", s(ChargeState::Free.as_str()))
            .set("payment.state", s(ChargeState::Cancelled.as_str()));
        let stands_already = |order: &Order| order.status == Status::Cancelled;
        self.settled(because(cancelled, reason), stands_already)
            .await
    }

    /// Marks a paid order as refunding, with its `RefundRequested` event; one write. Refused once
    /// its parcel is registered with a carrier, because it is then being shipped, unless the
    /// carrier has refused the label and no purchase of it is open. `closing` is the refund of the
    /// remaining amount, if any remains.
    pub async fn request_refund(
        &self,
        order: &Order,
        closing: Option<Refund>,
        reason: Option<&Text>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let requested = unless_shipped(self.transition(order, Command::RequestRefund, now));
        let requested = match closing {
            Some(closing) => with_refund(requested, order, closing),
            None => requested,
        };
        self.settled(because(requested, reason), |order| {
            matches!(order.status, Status::Refunding | Status::Cancelled)
        })
        .await
    }

    /// Marks an order as cancelled after its refund, with its `PaymentRefunded` and
    /// `OrderCancelled` events; one write.
    pub async fn finish_refund(
        &self,
        order: &Order,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let finished = self
            .transition(order, Command::FinishRefund, now)
            .set("payment.state", s(ChargeState::Refunded.as_str()))
            // The earlier answers about the refund are obsolete: it is done.
            .remove(["payment.refund"]);
        let stands_already = |order: &Order| order.status == Status::Cancelled;
        self.settled(finished, stands_already).await
    }
}

/// Refused while the label of the order's parcel may be bought.
pub(super) fn unless_shipped<Kind>(write: OrderWrite<Kind>) -> OrderWrite<Kind> {
    write
        .when(
            "attribute_not_exists(parcel) \
             OR (attribute_exists(shippingRefusal) AND size(purchases) = :none)",
        )
        .value(":none", n(0))
}

fn because(write: Transition, reason: Option<&Text>) -> Transition {
    match reason {
        Some(reason) => write.set("cancelReason", s(reason.as_str())),
        None => write,
    }
}
