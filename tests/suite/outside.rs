//! Refunds that were made outside this service, and refunds that fail late: the partner is asked,
//! the result is recorded and counted, and a reversed charge stops the shipment.

use std::time::Duration;

use domain::{
    Dispute, DisputeState, Money, OpenParcel, OrderId, Refund, RefundId, RefundName, RefundState,
};
use messages::queue::Queue;
use messages::{Message, MessageKind, PartnerReference};
use payment::partners::RefundStatus;
use serde_json::{Value, json};
use store::{NotedDispute, Purchase, Settlement, Shipping};
use tests::partners::{Mishap, Operation};

use crate::contract::{shipping, text};
use crate::metrics::Metrics;
use crate::paypal::{Invoiced, invoiced};
use crate::paypal_webhooks::{capture, deliver, shown, tell};
use crate::shop::{PlayedShop, Shop, played};
use crate::webhooks::{StripeShop, shop};

const VISA: &str = "pm_card_visa";
const REFUND: &str = "/api/order/refund.json";
const SHIPPING: &str = "/api/order/shipping.json";

async fn paid() -> StripeShop {
    let shop = shop(VISA).await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    shop
}

/// A charge whose confirmation was lost: the order does not show it yet.
async fn charged_unnoticed() -> StripeShop {
    let shop = shop(VISA).await;
    shop.partner.plan(Operation::Confirm, Mishap::AnswerLost);
    assert_eq!(shop.pay().await.status, 503);
    shop.cloud.lose_stream();
    shop
}

async fn shipped() -> StripeShop {
    let shop = paid().await;
    let reply = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    shop.cloud.lose_stream();
    shop
}

/// Stripe reports the order's charge, and the message is delivered to the worker.
async fn tell_stripe(shop: &StripeShop, event: &str, kind: &str) {
    let charge = json!({"id": "ch_1", "object": "charge", "amount_refunded": 1,
        "metadata": {"order_id": shop.order}});
    shop.cloud.pass(Duration::from_mins(1));
    assert_eq!(shop.tell(event, kind, &charge).await.status, 200);
    for (queue, message) in shop.cloud.queues.take() {
        assert_eq!(queue, Queue::Payment);
        assert!(shop.cloud.deliver(queue, &message).await);
    }
}

/// Amount, status, and source of each refund.
fn refunds(order: &Value) -> Vec<[String; 3]> {
    let refunds = order["payment"]["refunds"].as_array();
    let shown = |refund: &Value| {
        [
            refund["amount"].to_string(),
            text(&refund["status"]).to_owned(),
            text(&refund["source"]).to_owned(),
        ]
    };
    refunds.into_iter().flatten().map(shown).collect()
}

fn one(amount: &str, status: &str, source: &str) -> [String; 3] {
    [amount, status, source].map(str::to_owned)
}

#[tokio::test]
async fn a_charge_that_is_refunded_in_the_dashboard_stops_the_shipment() {
    let metrics = Metrics::start();
    let shop = paid().await;
    shop.partner.refund_by_hand(20_000);
    for event in ["evt_1", "evt_1", "evt_2"] {
        tell_stripe(&shop, event, "charge.refunded").await;
    }
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "cancelled");
    assert_eq!(shown["cancelReason"], "refunded");
    assert_eq!(shown["payment"]["state"], "refunded");
    assert_eq!(refunds(&shown), [one("200.0", "refunded", "partner")]);
    assert_eq!(shown["payment"]["refundedAmount"].to_string(), "200.0");
    assert_eq!(metrics.of("RefundedOutside"), 1);
    let reply = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(reply.code(), "wrong_state");
    assert_eq!(shop.cancel().await.status, 200);
    assert_eq!(shop.partner.given_back(), [20_000]);
    // The bank returns it: the shop has the money of a cancelled order.
    shop.partner.fail_refunds("unknown");
    tell_stripe(&shop, "evt_3", "refund.failed").await;
    let shown = shop.shown().await;
    assert_eq!(shown["payment"]["state"], "refund_failed");
    assert_eq!(refunds(&shown), [one("200.0", "failed", "partner")]);
    assert!(metrics.of("RefundFailed") >= 1);
    assert_eq!(shop.cancel().await.status, 200);
    assert_eq!(shop.partner.given_back(), [20_000]);
}

/// A webhook tells of the order's charge, and the worker hears of it.
async fn tell_played(shop: &PlayedShop) {
    let message = Message {
        id: "webhook/stripe/evt_1".to_owned(),
        kind: MessageKind::Charge,
        order: Some(shop.id()),
        time: shop.cloud.runtime.now(),
        traceparent: None,
        mail: None,
    };
    assert!(shop.cloud.deliver(Queue::Payment, &message).await);
}

#[tokio::test]
async fn a_customer_whose_charge_is_gone_gets_one_mail_about_the_cancellation() {
    let shop = Shop::at(played).paid().await;
    shop.cloud.lose_stream();
    shop.partner
        .refund_by_hand(Money::from_stored("200").unwrap());
    for _ in 0..2 {
        tell_played(&shop).await;
        shop.cloud.settle().await;
    }
    assert_eq!(shop.shown().await["status"], "cancelled");
    assert_eq!(shop.mails(), ["Your order … is cancelled"]);
}

#[tokio::test]
async fn a_part_that_is_refunded_in_the_dashboard_is_shown_and_cannot_be_refunded_again() {
    let metrics = Metrics::start();
    for shop in [paid().await, shipped().await] {
        let status = shop.shown().await["status"].clone();
        shop.partner.refund_by_hand(5_000);
        for event in ["evt_1", "evt_2"] {
            tell_stripe(&shop, event, "charge.refunded").await;
        }
        let shown = shop.shown().await;
        assert_eq!(shown["status"], status);
        assert_eq!(refunds(&shown), [one("50.0", "refunded", "partner")]);
        let body = json!({"customerId": "8080", "orderId": shop.order, "amount": 150.01});
        let reply = shop.cloud.post_with_key(REFUND, "k1", &body).await;
        assert_eq!(reply.code(), "refund_exceeds_payment");
        // The next one counts alone.
        shop.partner.refund_by_hand(2_500);
        tell_stripe(&shop, "evt_3", "charge.refunded").await;
        assert_eq!(refunds(&shop.shown().await).len(), 2);
    }
    assert_eq!(metrics.of("RefundedOutside"), 4);
}

#[tokio::test]
async fn a_shipped_order_whose_charge_is_refunded_outside_stays_shipped_and_counts() {
    let metrics = Metrics::start();
    let shop = shipped().await;
    shop.partner.refund_by_hand(20_000);
    tell_stripe(&shop, "evt_1", "charge.refunded").await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "shipped");
    assert_eq!(refunds(&shown), [one("200.0", "refunded", "partner")]);
    assert_eq!(metrics.of("RefundedOutside"), 1);
    let body = json!({"customerId": "8080", "orderId": shop.order});
    let reply = shop.cloud.post_with_key(REFUND, "k1", &body).await;
    assert_eq!(reply.code(), "refund_exceeds_payment");
}

/// The order's parcel is registered with a remote carrier, and its label is being bought.
async fn register_parcel(shop: &StripeShop) {
    let contact = domain::Text::parse("L").unwrap();
    let parcel = OpenParcel {
        reference: "shp_1".to_owned(),
        carrier: "easypost".to_owned(),
        name: contact.clone(),
        phone: contact.clone(),
        shipping_address: contact,
    };
    let purchase = Purchase {
        name: "p1",
        at: shop.cloud.runtime.now(),
    };
    let opened = shop
        .cloud
        .store
        .open_parcel(&shop.id(), &parcel, purchase)
        .await;
    assert!(matches!(opened.unwrap(), Shipping::Open(_)));
}

#[tokio::test]
async fn the_last_part_that_goes_back_here_cancels_an_order_of_which_a_part_went_back_outside() {
    let shop = Shop::at(played).paid().await;
    shop.cloud.lose_stream();
    let pending = [RefundStatus::Pending, RefundStatus::Pending];
    shop.partner.script_refunds(pending);
    let body = json!({"customerId": "8080", "orderId": shop.order, "amount": 150});
    let reply = shop.cloud.post_with_key(REFUND, "k1", &body).await;
    assert_eq!(reply.code(), "refund_pending");
    shop.partner
        .refund_by_hand(Money::from_stored("50").unwrap());
    tell_played(&shop).await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "paid");
    let known = [
        one("150.0", "pending", "shop"),
        one("50.0", "refunded", "partner"),
    ];
    assert_eq!(refunds(&shown), known);
    shop.cloud.lose_stream();
    shop.cloud.pass(Duration::from_mins(3));
    shop.cloud.sweep().await;
    for (queue, message) in shop.cloud.queues.take() {
        shop.cloud.deliver(queue, &message).await;
    }
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "cancelled", "{shown}");
    assert_eq!(shown["cancelReason"], "refunded");
    let reply = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(reply.code(), "wrong_state");
}

/// The order was read before its parcel was registered.
#[tokio::test]
async fn no_refund_takes_items_off_a_parcel_that_has_just_been_registered() {
    let shop = paid().await;
    let before = shop.cloud.store.order(&shop.id()).await.unwrap().unwrap();
    register_parcel(&shop).await;
    let refund = |unshipped| Refund {
        name: RefundName::Ours(RefundId::of_cancellation(&before.id)),
        amount: Money::from_stored("50").unwrap(),
        state: RefundState::Requested,
        items: Vec::new(),
        unshipped,
        closes: false,
        reason: None,
        at: shop.cloud.runtime.now(),
        told: None,
        request_hash: None,
        key: 0,
    };
    let now = shop.cloud.runtime.now();
    let store = &shop.cloud.store;
    let requested = store.request_part(&before, refund(true), now).await;
    assert!(matches!(requested.unwrap(), Settlement::Overtaken(_)));
    let requested = store.request_part(&before, refund(false), now).await;
    assert!(matches!(requested.unwrap(), Settlement::Written(_)));
}

#[tokio::test]
async fn a_parcel_that_is_registered_is_not_stopped_by_a_refund_outside() {
    let shop = paid().await;
    register_parcel(&shop).await;
    shop.partner.refund_by_hand(20_000);
    tell_stripe(&shop, "evt_1", "charge.refunded").await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "paid");
    assert_eq!(refunds(&shown), [one("200.0", "refunded", "partner")]);
}

#[tokio::test]
async fn a_refund_of_a_part_that_fails_late_is_shown_counted_once_and_free_again() {
    let metrics = Metrics::start();
    let shop = shipped().await;
    let body = |amount: u32| json!({"customerId": "8080", "orderId": shop.order, "amount": amount});
    let first = shop.cloud.post_with_key(REFUND, "k1", &body(180)).await;
    assert_eq!(first.status, 201);
    shop.partner.fail_refunds("lost_or_stolen_card");
    for (event, kind) in [
        ("evt_1", "refund.failed"),
        ("evt_2", "charge.refund.updated"),
    ] {
        tell_stripe(&shop, event, kind).await;
    }
    let shown = shop.shown().await;
    assert_eq!(refunds(&shown), [one("180.0", "failed", "shop")]);
    assert_eq!(
        shown["payment"]["refunds"][0]["code"],
        "lost_or_stolen_card"
    );
    assert_eq!(metrics.of("RefundFailed"), 1);
    // Its repeat gets the first answer, and another request refunds the money.
    let again = shop.cloud.post_with_key(REFUND, "k1", &body(180)).await;
    assert_eq!((again.status, again.text), (201, first.text));
    let second = shop.cloud.post_with_key(REFUND, "k2", &body(200)).await;
    assert_eq!(second.status, 201, "{}", second.text);
    assert_eq!(shop.partner.given_back(), [20_000]);
}

#[tokio::test]
async fn a_lost_dispute_of_the_whole_charge_stops_the_shipment() {
    let shop = paid().await;
    shop.partner.dispute();
    let id = shop.partner.disputes().remove(0);
    shop.dispute("evt_1", "charge.dispute.created", &id, "needs_response")
        .await;
    assert_eq!(shop.shown().await["status"], "paid");
    shop.partner.set_dispute(&id, "lost");
    for event in ["evt_2", "evt_3"] {
        shop.dispute(event, "charge.dispute.closed", &id, "lost")
            .await;
    }
    let shown = shop.shown().await;
    assert_eq!(
        (&shown["status"], &shown["cancelReason"]),
        (&json!("cancelled"), &json!("disputed"))
    );
    assert_eq!(shown["payment"]["dispute"]["state"], "lost");
    // A shipped order, and one whose dispute is won, continue.
    for (shop, status) in [(shipped().await, "lost"), (paid().await, "won")] {
        let before = shop.shown().await["status"].clone();
        shop.partner.dispute();
        let id = shop.partner.disputes().remove(0);
        shop.partner.set_dispute(&id, status);
        shop.dispute("evt_1", "charge.dispute.closed", &id, status)
            .await;
        assert_eq!(shop.shown().await["status"], before);
    }
}

#[tokio::test]
async fn an_order_in_cancellation_whose_charge_the_bank_takes_is_cancelled_without_a_refund() {
    for is_lost_first in [false, true] {
        let shop = paid().await;
        shop.partner.dispute();
        let id = shop.partner.disputes().remove(0);
        shop.dispute("evt_1", "charge.dispute.created", &id, "needs_response")
            .await;
        if !is_lost_first {
            // The bank holds the money.
            assert_eq!(shop.cancel().await.code(), "refund_failed");
            assert_eq!(shop.shown().await["status"], "refunding");
        }
        shop.partner.set_dispute(&id, "lost");
        if is_lost_first {
            assert_eq!(shop.cancel().await.code(), "refund_failed");
        }
        shop.dispute("evt_2", "charge.dispute.closed", &id, "lost")
            .await;
        let shown = shop.shown().await;
        assert_eq!(
            (&shown["status"], &shown["payment"]["state"]),
            (&json!("cancelled"), &json!("refunded"))
        );
        assert_eq!(shop.cancel().await.status, 200);
        assert!(shop.partner.given_back().is_empty());
    }
}

#[tokio::test]
async fn a_cancellation_ends_an_order_whose_lost_dispute_was_only_noted() {
    let shop = paid().await;
    shop.partner.dispute();
    let dispute = shop.partner.disputes().remove(0);
    shop.partner.set_dispute(&dispute, "lost");
    // The worker died between its two writes.
    let (store, id) = (&shop.cloud.store, OrderId::parse(&shop.order).unwrap());
    let order = store.order(&id).await.unwrap().unwrap();
    let charge = order.payment.unwrap().reference.unwrap();
    let name = PartnerReference::parse(&dispute).unwrap();
    let now = shop.cloud.runtime.now();
    let lost = Dispute {
        id: Some(dispute),
        state: DisputeState::Lost,
        amount: Money::from_stored("200").unwrap(),
        at: now,
        since: now,
    };
    let noted = store.note_dispute(&id, &charge, &name, &lost).await;
    assert_eq!(noted.unwrap(), NotedDispute::New);
    let reply = shop.cancel().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let shown = shop.shown().await;
    assert_eq!(
        (&shown["status"], &shown["payment"]["state"]),
        (&json!("cancelled"), &json!("refunded"))
    );
    assert!(shop.partner.given_back().is_empty());
}

#[tokio::test]
async fn what_is_refunded_outside_before_its_capture_is_recorded_stops_the_shipment() {
    let shop = charged_unnoticed().await;
    shop.partner.refund_by_hand(20_000);
    tell_stripe(&shop, "evt_1", "charge.refunded").await;
    let shown = shop.shown().await;
    assert_eq!(
        (&shown["status"], &shown["cancelReason"]),
        (&json!("cancelled"), &json!("refunded")),
        "{shown}"
    );
}

#[tokio::test]
async fn a_dispute_that_is_lost_before_the_capture_is_recorded_stops_the_shipment() {
    let shop = charged_unnoticed().await;
    shop.partner.dispute();
    let id = shop.partner.disputes().remove(0);
    shop.partner.set_dispute(&id, "lost");
    shop.dispute("evt_1", "charge.dispute.closed", &id, "lost")
        .await;
    let shown = shop.shown().await;
    assert_eq!(
        (&shown["status"], &shown["cancelReason"]),
        (&json!("cancelled"), &json!("disputed")),
        "{shown}"
    );
    let reply = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(reply.code(), "wrong_state");
}

#[tokio::test]
async fn what_was_shipped_stays_when_a_refund_of_items_fails_afterwards() {
    let shop = paid().await;
    let items = json!([{"productId": "1234", "quantity": 1}]);
    let body = json!({"customerId": "8080", "orderId": shop.order, "items": items});
    let reply = shop.cloud.post_with_key(REFUND, "k1", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    // If a refund fails before the shipment, its items are shipped after all.
    shop.partner.fail_refunds("lost_or_stolen_card");
    tell_stripe(&shop, "evt_1", "refund.failed").await;
    assert_eq!(shop.shown().await.get("shippedItems"), None);
    let reply = shop.cloud.post_with_key(REFUND, "k2", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let left = shop.shown().await["shippedItems"].clone();
    let reply = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    shop.cloud.lose_stream();
    shop.partner.fail_refunds("lost_or_stolen_card");
    tell_stripe(&shop, "evt_2", "refund.failed").await;
    let shown = shop.shown().await;
    assert_eq!(shown["payment"]["refunds"][1]["status"], "failed");
    assert_eq!(shown["shippedItems"], left);
}

#[tokio::test]
async fn a_lost_dispute_of_a_part_leaves_the_order() {
    let shop = paid().await;
    shop.partner.dispute_part(5_000);
    let id = shop.partner.disputes().remove(0);
    shop.partner.set_dispute(&id, "lost");
    shop.dispute("evt_1", "charge.dispute.closed", &id, "lost")
        .await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "paid");
    assert_eq!(shown["payment"]["dispute"]["state"], "lost");
}

/// `dispute` has this status, and its webhook is delivered.
async fn decide(shop: &StripeShop, dispute: &str, event: &str, status: &'static str) {
    shop.cloud.pass(Duration::from_mins(1));
    shop.partner.set_dispute(dispute, status);
    shop.dispute(event, "charge.dispute.closed", dispute, status)
        .await;
}

#[tokio::test]
async fn a_refund_and_a_lost_dispute_of_the_rest_stop_the_shipment() {
    for is_lost_first in [false, true] {
        let shop = paid().await;
        shop.partner.dispute_part(15_000);
        let id = shop.partner.disputes().remove(0);
        let body = json!({"customerId": "8080", "orderId": shop.order, "amount": 50});
        if is_lost_first {
            decide(&shop, &id, "evt_1", "lost").await;
        } else {
            // Stripe refunds nothing of a charge while it is disputed.
            shop.partner.set_dispute(&id, "won");
        }
        let reply = shop.cloud.post_with_key(REFUND, "k1", &body).await;
        if is_lost_first {
            assert_eq!(reply.code(), "refund_rejected");
            assert_eq!(shop.shown().await["status"], "paid");
            continue;
        }
        assert_eq!(reply.status, 201, "{}", reply.text);
        decide(&shop, &id, "evt_2", "lost").await;
        let shown = shop.shown().await;
        assert_eq!(
            (&shown["status"], &shown["cancelReason"]),
            (&json!("cancelled"), &json!("disputed"))
        );
    }
}

/// The shop has the money again, and the customer has neither the goods nor the money.
#[tokio::test]
async fn an_appeal_that_returns_the_money_of_a_cancelled_order_counts_as_a_failed_refund() {
    let metrics = Metrics::start();
    let shop = paid().await;
    shop.partner.dispute();
    let id = shop.partner.disputes().remove(0);
    let state = async || shop.shown().await["payment"]["state"].clone();
    decide(&shop, &id, "evt_1", "lost").await;
    assert_eq!(state().await, "refunded");
    for event in ["evt_2", "evt_3"] {
        decide(&shop, &id, event, "won").await;
        assert_eq!(state().await, "refund_failed");
    }
    assert_eq!(metrics.of("RefundFailed"), 1);
    let shown = shop.shown().await;
    assert_eq!(shown["payment"]["refund"]["code"], "dispute_won", "{shown}");
    decide(&shop, &id, "evt_4", "lost").await;
    assert_eq!(state().await, "refunded");
    decide(&shop, &id, "evt_5", "won").await;
    assert_eq!(state().await, "refund_failed");
    assert!(shop.partner.given_back().is_empty());
    assert_eq!(shop.cancel().await.status, 200);
    assert_eq!(state().await, "refunded");
    assert_eq!(shop.partner.given_back().len(), 1);
    // The customer has the money: the dispute that was won is no news.
    decide(&shop, &id, "evt_6", "won").await;
    assert_eq!(state().await, "refunded");
}

#[tokio::test]
async fn a_dispute_that_stripe_resolves_by_a_refund_stops_the_shipment() {
    let shop = paid().await;
    shop.partner.dispute();
    let id = shop.partner.disputes().remove(0);
    decide(&shop, &id, "evt_1", "prevented").await;
    assert_eq!(shop.shown().await["status"], "paid");
    shop.cloud.pass(Duration::from_mins(1));
    shop.partner.resolve_disputes();
    shop.dispute("evt_2", "charge.dispute.closed", &id, "prevented")
        .await;
    let shown = shop.shown().await;
    assert_eq!(
        (&shown["status"], &shown["cancelReason"]),
        (&json!("cancelled"), &json!("disputed"))
    );
}

/// A worker that read the partner's answer before the appeal, and died or was slow, decides nothing.
#[tokio::test]
async fn a_dispute_is_followed_as_the_order_stores_it() {
    let shop = paid().await;
    shop.partner.dispute();
    let id = shop.partner.disputes().remove(0);
    let name = PartnerReference::parse(&id).unwrap();
    let (store, order) = (&shop.cloud.store, OrderId::parse(&shop.order).unwrap());
    let charge = store.order(&order).await.unwrap().unwrap();
    let charge = charge.payment.unwrap().reference.unwrap();
    let later = shop.cloud.runtime.now().plus(Duration::from_mins(5));
    let won = Dispute {
        id: Some(id.clone()),
        state: DisputeState::Won,
        amount: Money::from_stored("200").unwrap(),
        at: later,
        since: later,
    };
    let noted = store.note_dispute(&order, &charge, &name, &won).await;
    assert_eq!(noted.unwrap(), NotedDispute::New);
    decide(&shop, &id, "evt_1", "lost").await;
    assert_eq!(shop.shown().await["status"], "paid");
}

#[tokio::test]
async fn a_dispute_that_paypal_settles_for_a_part_takes_that_part_only() {
    for (part, status) in [("50.00", "paid"), ("200.00", "cancelled")] {
        let test = paid_by_paypal().await;
        test.double.dispute();
        let id = test.double.disputes().remove(0);
        test.double.accept_offer(&id, part);
        let claims = json!({"dispute_id": id});
        let reply = tell(&test, "WH-1", "CUSTOMER.DISPUTE.RESOLVED", &claims).await;
        assert_eq!(reply.status, 200);
        deliver(&test).await;
        let order = shown(&test).await;
        assert_eq!(order["status"], status, "{order}");
        assert_eq!(order["payment"]["dispute"]["state"], "lost");
    }
}

async fn paid_by_paypal() -> Invoiced {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.lose_stream();
    test
}

#[tokio::test]
async fn what_paypal_refunds_or_takes_back_outside_stops_the_shipment() {
    for (kind, how) in [
        ("PAYMENT.CAPTURE.REFUNDED", "by hand"),
        ("PAYMENT.CAPTURE.REVERSED", "REFUNDED"),
        ("PAYMENT.CAPTURE.DENIED", "DECLINED"),
    ] {
        let test = paid_by_paypal().await;
        match how {
            "by hand" => test.double.refund_by_hand(),
            status => test.double.set_captures(status),
        }
        assert_eq!(tell(&test, "WH-1", kind, &capture(&test)).await.status, 200);
        deliver(&test).await;
        let order = shown(&test).await;
        assert_eq!(order["status"], "cancelled", "{kind}");
        assert_eq!(refunds(&order), [one("200.0", "refunded", "partner")]);
    }
}

#[tokio::test]
async fn a_part_that_paypal_refunds_outside_is_shown_and_one_that_fails_counts() {
    let metrics = Metrics::start();
    let test = paid_by_paypal().await;
    let body = json!({"customerId": "8080", "orderId": test.order, "amount": 20});
    assert_eq!(
        test.cloud.post_with_key(REFUND, "k1", &body).await.status,
        201
    );
    test.cloud.lose_stream();
    test.double.refund_part_by_hand("30.00");
    tell(&test, "WH-1", "PAYMENT.CAPTURE.REFUNDED", &capture(&test)).await;
    deliver(&test).await;
    let expected = [
        one("20.0", "refunded", "shop"),
        one("30.0", "refunded", "partner"),
    ];
    assert_eq!(refunds(&shown(&test).await), expected);
    test.double.fail_refunds();
    tell(&test, "WH-2", "PAYMENT.REFUND.FAILED", &capture(&test)).await;
    deliver(&test).await;
    let order = shown(&test).await;
    let expected = [
        one("20.0", "failed", "shop"),
        one("30.0", "failed", "partner"),
    ];
    assert_eq!(refunds(&order), expected);
    assert_eq!(order["status"], "paid");
    assert_eq!(metrics.of("RefundFailed"), 2);
}

#[tokio::test]
async fn a_webhook_about_a_charge_that_has_not_changed_changes_nothing() {
    let shop = shipped().await;
    let before = shop.shown().await;
    for kind in ["charge.refunded", "refund.failed", "refund.updated"] {
        tell_stripe(&shop, kind, kind).await;
    }
    assert_eq!(shop.shown().await, before);
}

#[test]
fn a_message_about_a_charge_is_read_as_it_is_written() {
    let message = r#"{"specversion":"1.0","id":"webhook/stripe/evt_1","source":"/orderflow",
        "type":"ChargeReported","subject":"ord_01JDB4XK00EXAMPVE0RDER0001",
        "time":"2026-11-23T10:12:05+00:00","timemillis":"1795428725000"}"#;
    let read = Message::from_json(message).unwrap();
    assert_eq!(Message::from_json(&read.to_json().unwrap()).unwrap(), read);
    let without = message.replace(r#""subject":"ord_01JDB4XK00EXAMPVE0RDER0001","#, "");
    assert!(Message::from_json(&without).is_err());
}
