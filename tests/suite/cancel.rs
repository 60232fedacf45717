//! Cancellations: an open charge is closed first, and a captured one is refunded once.

use std::time::Duration;

use domain::Card;
use payment::partners::{ChargeStatus, RefundStatus};
use serde_json::{Value, json};
use tests::Reply;

use crate::contract::{invoice, shipping};
use crate::shop::{PlayedShop, Shop, played};

const CANCEL: &str = "/api/order/cancel.json";

/// An invoiced order whose first charge was declined.
async fn declined() -> PlayedShop {
    let test = Shop::at(played).invoiced().await;
    let code = "insufficient_funds".to_owned();
    test.partner.script([ChargeStatus::Declined {
        code,
        retryable: true,
    }]);
    assert_eq!(test.pay().await.status, 402);
    test
}

impl PlayedShop {
    async fn ship(&self) -> Reply {
        let body = shipping(&self.order);
        self.cloud.post("/api/order/shipping.json", &body).await
    }

    fn body(&self) -> Value {
        json!({"customerId": "8080", "orderId": self.order, "reason": "too late"})
    }

    async fn cancel_too_late(&self) -> Reply {
        self.cloud.post(CANCEL, &self.body()).await
    }

    /// Checks that the order is cancelled whatever is still delivered, with these mails, and that a
    /// repeat gets the same answer.
    async fn assert_cancelled(&self, mails: &[&str]) {
        let answer = format!(
            "{{\"orderId\":\"{}\",\"status\":\"cancelled\"}}",
            self.order
        );
        for _ in 0..2 {
            let reply = self.cancel_too_late().await;
            assert_eq!((reply.status, reply.text), (200, answer.clone()));
        }
        self.cloud.settle().await;
        self.cloud.pass(Duration::from_hours(2));
        self.cloud.sweep().await;
        self.cloud.settle().await;
        let standing = self.shown().await;
        assert_eq!(standing["status"], "cancelled");
        assert_eq!(standing["cancelReason"], "too late");
        assert_eq!(standing.get("due"), None);
        assert_eq!(self.mails(), mails);
        // The order does not continue from here.
        assert_eq!(self.ship().await.code(), "wrong_state");
        self.cloud.settle().await;
        assert_eq!(self.shown().await["status"], "cancelled");
    }

    fn kept(&self) -> usize {
        self.partner.captured().len() - self.partner.refunded().len()
    }
}

#[tokio::test]
async fn a_pending_order_is_cancelled_and_never_invoiced() {
    let test = Shop::at(played).placed().await;
    assert_eq!(test.cancel_too_late().await.status, 200);
    test.assert_cancelled(&["Your order … is cancelled"]).await;
    assert!(test.partner.calls().is_empty());
    assert_eq!(test.pay().await.code(), "invoice_not_found");
    let reply = test
        .cloud
        .post("/api/order/invoice.json", &invoice(&test.order))
        .await;
    assert_eq!((reply.status, reply.code()), (409, "wrong_state"));
}

#[tokio::test]
async fn an_invoiced_order_is_cancelled_and_never_charged() {
    let test = Shop::at(played).invoiced().await;
    assert_eq!(test.cancel_too_late().await.status, 200);
    test.assert_cancelled(&["Your invoice for order …", "Your order … is cancelled"])
        .await;
    assert!(test.partner.calls().is_empty());
    assert_eq!(test.pay().await.code(), "wrong_state");
    // The invoice stays unchanged.
    test.invoice().await;
}

#[tokio::test]
async fn an_open_charge_is_cancelled_at_the_partner_first() {
    let test = Shop::at(played).invoiced().await;
    test.partner.script([ChargeStatus::ActionRequired]);
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.cancel_too_late().await.status, 200);
    assert_eq!(test.partner.calls(), ["open", "confirm", "cancel"]);
    test.assert_cancelled(&["Your invoice for order …", "Your order … is cancelled"])
        .await;
    assert_eq!(test.kept(), 0);
}

#[tokio::test]
async fn a_charge_that_was_captured_unknown_to_us_is_found_and_refunded() {
    let test = Shop::at(played).invoiced().await;
    test.partner.lose_answer("confirm");
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    assert_eq!(test.cancel_too_late().await.status, 200);
    assert_eq!(test.partner.captured().len(), 1);
    test.assert_cancelled(&[
        "We received your payment for order …",
        "Your invoice for order …",
        "Your order … is cancelled",
        "Your refund for order … is on its way",
    ])
    .await;
    assert_eq!(test.kept(), 0);
}

#[tokio::test]
async fn a_declined_order_is_cancelled() {
    let test = declined().await;
    assert_eq!(test.cancel_too_late().await.status, 200);
    test.assert_cancelled(&["Your invoice for order …", "Your order … is cancelled"])
        .await;
    assert_eq!(test.pay().await.code(), "wrong_state");
}

#[tokio::test]
async fn a_declined_charge_that_was_captured_all_the_same_is_found_and_refunded() {
    let test = declined().await;
    test.partner
        .set_all(&ChargeStatus::Captured(Card::default()));
    assert_eq!(test.cancel_too_late().await.status, 200);
    assert_eq!((test.partner.captured().len(), test.kept()), (1, 0));
    assert_eq!(test.shown().await["payment"]["state"], "refunded");
}

#[tokio::test]
async fn a_paid_order_is_refunded_once_and_then_cancelled() {
    let test = Shop::at(played).invoiced().await;
    let paid = test.pay().await;
    assert_eq!(paid.status, 201);
    assert_eq!(test.cancel_too_late().await.status, 200);
    test.assert_cancelled(&[
        "We received your payment for order …",
        "Your invoice for order …",
        "Your order … is cancelled",
        "Your refund for order … is on its way",
    ])
    .await;
    // The message that requests the refund arrives late and finds it done.
    let calls = ["open", "confirm", "refund", "refund_status"];
    assert_eq!(test.partner.calls(), calls);
    assert_eq!(test.kept(), 0);
    assert_eq!(test.shown().await["payment"]["state"], "refunded");
    // The receipt stays unchanged.
    assert_eq!(test.pay().await.text, paid.text);
}

#[tokio::test]
async fn messages_that_arrive_after_the_cancellation_are_done_with_and_do_nothing() {
    let test = Shop::at(played).invoiced().await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.relay_stream().await;
    let messages = test.cloud.queues.take();
    assert_eq!(test.cancel_too_late().await.status, 200);
    for (queue, message) in &messages {
        assert!(test.cloud.deliver(*queue, message).await, "{queue:?}");
    }
    assert_eq!(test.shown().await["status"], "cancelled");
    assert_eq!(test.kept(), 0);
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_finished_by_the_chain_itself() {
    let test = Shop::at(played).invoiced().await;
    assert_eq!(test.pay().await.status, 201);
    test.partner.lose_answer("refund");
    let reply = test.cancel_too_late().await;
    assert_eq!(reply.code(), "billing_partner_unavailable");
    assert_eq!(reply.status, 503);
    assert_eq!(test.shown().await["status"], "refunding");
    test.cloud.settle().await;
    assert_eq!(test.shown().await["status"], "cancelled");
    assert_eq!(test.kept(), 0);
}

#[tokio::test]
async fn a_refund_that_the_partner_settles_later_is_looked_at_until_it_has() {
    let test = Shop::at(played).invoiced().await;
    assert_eq!(test.pay().await.status, 201);
    // One for the request, and two for the messages that are still queued.
    test.partner
        .script_refunds((0..3).map(|_| RefundStatus::Pending));
    let reply = test.cancel_too_late().await;
    assert_eq!((reply.status, reply.code()), (409, "refund_pending"));
    assert_eq!(reply.header("retry-after"), "30");
    test.cloud.settle().await;
    assert_eq!(test.shown().await["status"], "refunding");
    test.cloud.pass(Duration::from_hours(1));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(test.shown().await["status"], "cancelled");
}

#[tokio::test]
async fn a_refund_that_the_partner_refuses_stays_visible_until_somebody_has_looked() {
    let test = Shop::at(played).invoiced().await;
    assert_eq!(test.pay().await.status, 201);
    let refused = || RefundStatus::Failed {
        code: "charge_disputed".to_owned(),
    };
    test.partner.script_refunds((0..20).map(|_| refused()));
    let reply = test.cancel_too_late().await;
    assert_eq!((reply.status, reply.code()), (409, "refund_failed"));
    let mut overdue = 0;
    for _ in 0..4 {
        test.cloud.pass(Duration::from_hours(2));
        overdue = test.cloud.sweep().await.overdue;
        test.cloud.settle().await;
    }
    assert_eq!(overdue, 1);
    assert_eq!(test.shown().await["status"], "refunding");
}

#[tokio::test]
async fn a_shipped_order_cannot_be_cancelled() {
    let test = Shop::at(played).placed().await;
    test.cloud.settle().await;
    assert_eq!(test.shown().await["status"], "shipped");
    let reply = test.cancel_too_late().await;
    assert_eq!((reply.status, reply.code()), (409, "wrong_state"));
    assert_eq!(test.kept(), 1);
}

#[tokio::test]
async fn an_order_whose_charge_the_partner_settles_later_cannot_be_cancelled_meanwhile() {
    let test = Shop::at(played).invoiced().await;
    test.partner.script([ChargeStatus::Pending]);
    assert_eq!(test.pay().await.code(), "payment_pending");
    test.partner.keep_pending();
    let reply = test.cancel_too_late().await;
    assert_eq!((reply.status, reply.code()), (409, "payment_pending"));
    test.partner
        .set_all(&ChargeStatus::Captured(Card::default()));
    assert_eq!(test.cancel_too_late().await.status, 200);
    assert_eq!(test.kept(), 0);
}

#[tokio::test]
async fn somebody_elses_order_and_bad_fields_are_refused() {
    let test = Shop::at(played).placed().await;
    let other = json!({"customerId": "9090", "orderId": test.order});
    let reply = test.cloud.post(CANCEL, &other).await;
    assert_eq!((reply.status, reply.code()), (404, "order_not_found"));
    let bad = json!({"customerId": 8080, "reason": "", "why": 1});
    let reply = test.cloud.post(CANCEL, &bad).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    let mut pointers = reply.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/customerId", "/orderId", "/reason", "/why"]);
    let (key, body) = ("cancel-1", test.body());
    assert_eq!(
        test.cloud.post_with_key(CANCEL, key, &body).await.status,
        200
    );
    let reply = test.cloud.post_with_key(CANCEL, key, &other).await;
    assert_eq!(reply.code(), "idempotency_key_reused");
}
