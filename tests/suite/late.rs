//! Late news about money: refunds that fail days after they succeeded, and disputes that are
//! appealed, reopened, or reported in any order.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Dispute, DisputeState, Money, RefundNews, RefundStatus, Status, Timestamp};
use futures_util::future::join;
use messages::PartnerReference;
use messages::queue::Queue;
use serde_json::{Value, json};
use store::{Noted, NotedDispute};
use tests::Reply;
use tests::partners::{Gate, Mishap, Operation, StripeDouble};

use crate::contract::{cart, text};
use crate::metrics::Metrics;
use crate::paypal::{Invoiced, invoiced};
use crate::paypal_webhooks::{capture, deliver, shown, tell};
use crate::shop::{PlayedShop, Shop, played};
use crate::webhooks::{StripeShop, shop};

const CANCEL: &str = "/api/order/cancel.json";
const VISA: &str = "pm_card_visa";
const MINUTE: Duration = Duration::from_mins(1);

/// An order that was paid with Stripe, cancelled, and refunded.
async fn refunded() -> StripeShop {
    let shop = shop(VISA).await;
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(shop.cancel().await.status, 200);
    shop.cloud.settle().await;
    assert_eq!(shop.shown().await["payment"]["state"], "refunded");
    shop
}

/// Stripe reports a refund of the order, and everything that is passed on is delivered to the
/// worker.
async fn tell_of_refund(shop: &StripeShop, event: &str, kind: &str) {
    let refund = json!({"id": "re_1", "object": "refund", "status": "failed", "payment_intent": "pi_1",
        "metadata": {"order_id": shop.order}});
    shop.cloud.pass(MINUTE);
    assert_eq!(shop.tell(event, kind, &refund).await.status, 200);
    for (queue, message) in shop.cloud.queues.take() {
        assert_eq!(queue, Queue::Payment);
        assert!(shop.cloud.deliver(queue, &message).await);
    }
}

fn refund_of(order: &Value) -> (&str, &str, &str) {
    let payment = &order["payment"];
    (
        payment["state"].as_str().unwrap_or_default(),
        payment["refund"]["state"].as_str().unwrap_or_default(),
        payment["refund"]["code"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_refund_that_fails_after_it_had_succeeded_is_shown_and_counted_once() {
    let metrics = Metrics::start();
    let shop = refunded().await;
    let mut before = shop.shown().await;
    shop.partner.fail_refunds("lost_or_stolen_card");
    // The event arrives twice, and Stripe has two types for it.
    for (event, kind) in [
        ("evt_1", "refund.failed"),
        ("evt_1", "refund.failed"),
        ("evt_2", "charge.refund.updated"),
    ] {
        tell_of_refund(&shop, event, kind).await;
    }
    let mut after = shop.shown().await;
    let expected = ("refund_failed", "failed", "lost_or_stolen_card");
    assert_eq!(refund_of(&after), expected);
    assert_eq!(metrics.of("RefundFailed"), 1);
    assert!(metrics.log.text().contains(r#""level":"ERROR""#));
    // It is informational: nothing else has changed, and no mail is sent.
    for order in [&mut before, &mut after] {
        let payment = order["payment"].as_object_mut().unwrap();
        for field in ["state", "refund", "refunds", "refundedAmount"] {
            payment.remove(field);
        }
    }
    assert_eq!(after, before);
    shop.cloud.relay_stream().await;
    assert!(shop.cloud.queues.take().is_empty());
    assert!(shop.partner.given_back().is_empty());
}

#[tokio::test]
async fn a_refund_that_is_made_again_by_hand_is_shown_and_one_that_fails_again_is_counted_again() {
    let metrics = Metrics::start();
    let shop = refunded().await;
    shop.partner.fail_refunds("expired_or_canceled_card");
    tell_of_refund(&shop, "evt_1", "refund.failed").await;
    shop.partner.refund_by_hand(20_000);
    tell_of_refund(&shop, "evt_2", "charge.refunded").await;
    assert_eq!(refund_of(&shop.shown().await), ("refunded", "refunded", ""));
    assert_eq!(metrics.of("RefundFailed"), 1);
    shop.partner.fail_refunds("unknown");
    tell_of_refund(&shop, "evt_3", "refund.failed").await;
    let expected = ("refund_failed", "failed", "unknown");
    assert_eq!(refund_of(&shop.shown().await), expected);
    assert_eq!(metrics.of("RefundFailed"), 2);
}

#[tokio::test]
async fn what_a_webhook_says_of_a_refund_is_believed_in_nothing() {
    let metrics = Metrics::start();
    let shop = refunded().await;
    tell_of_refund(&shop, "evt_1", "refund.failed").await;
    assert_eq!(shop.shown().await["payment"]["state"], "refunded");
    // Orders that were never refunded: a paid one, and one that was cancelled before payment.
    let paid = crate::webhooks::shop(VISA).await;
    assert_eq!(paid.pay().await.status, 201);
    paid.cloud.lose_stream();
    let unpaid = crate::webhooks::shop(VISA).await;
    assert_eq!(unpaid.cancel().await.status, 200);
    unpaid.cloud.lose_stream();
    for (shop, questions) in [(&paid, 1), (&unpaid, 0)] {
        let before = shop.shown().await;
        let asked = shop.partner.asked().len();
        tell_of_refund(shop, "evt_2", "refund.failed").await;
        assert_eq!(shop.shown().await, before);
        assert_eq!(shop.partner.asked().len(), asked + questions);
    }
    assert_eq!(metrics.of("RefundFailed"), 0);
}

#[tokio::test]
async fn news_of_a_failed_refund_waits_until_stripe_can_be_asked() {
    let shop = refunded().await;
    shop.partner.fail_refunds("unknown");
    let refund = json!({"id": "re_1", "object": "refund", "metadata": {"order_id": shop.order}});
    let reply = shop.tell("evt_1", "refund.failed", &refund).await;
    assert_eq!(reply.status, 200);
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    let message = &messages[0].1;
    shop.partner
        .plan(Operation::ListRefunds, StripeDouble::rate_limited());
    assert!(!shop.cloud.deliver(Queue::Payment, message).await);
    assert!(shop.cloud.deliver(Queue::Payment, message).await);
    assert_eq!(shop.shown().await["payment"]["state"], "refund_failed");
}

#[tokio::test]
async fn a_failed_refund_is_made_once_more_when_the_cancellation_is_repeated() {
    use Mishap::{AnswerLost, BrokenOff, Failed, FailedAfterwards, NotJson, RequestLost};
    for how in [
        None,
        Some(AnswerLost),
        Some(BrokenOff),
        Some(Failed),
        Some(FailedAfterwards),
        Some(NotJson),
        Some(RequestLost),
    ] {
        let shop = refunded().await;
        shop.partner.fail_refunds("lost_or_stolen_card");
        tell_of_refund(&shop, "evt_1", "refund.failed").await;
        let before = shop.shown().await;
        if let Some(how) = &how {
            shop.partner.plan(Operation::Refund, how.clone());
            let reply = shop.cancel().await;
            assert!(matches!(reply.status, 200 | 503), "{how:?}: {}", reply.text);
        }
        for _ in 0..2 {
            let reply = shop.cancel().await;
            assert_eq!(reply.status, 200, "{how:?}: {}", reply.text);
            assert_eq!(shop.partner.given_back(), [20_000], "{how:?}");
        }
        let mut after = shop.shown().await;
        assert_eq!(refund_of(&after).0, "refunded", "{how:?}");
        after["payment"] = before["payment"].clone();
        assert_eq!(after, before, "{how:?}");
    }
}

#[tokio::test]
async fn two_callers_who_repeat_a_failed_refund_make_it_once() {
    let shop = refunded().await;
    shop.partner.fail_refunds("lost_or_stolen_card");
    tell_of_refund(&shop, "evt_1", "refund.failed").await;
    let (one, other) = join(shop.cancel(), shop.cancel()).await;
    assert_eq!((one.status, other.status), (200, 200), "{}", other.text);
    assert_eq!(shop.partner.given_back(), [20_000]);
    // Including the workers that got the same list from Stripe.
    let asked = shop.partner.asked();
    let refunds = asked
        .iter()
        .filter(|call| call.operation == Operation::Refund);
    let keys: Vec<_> = refunds
        .flat_map(|call| call.headers.iter())
        .filter(|(name, _)| name == "idempotency-key")
        .map(|(_, key)| key.as_str())
        .collect();
    assert_ne!(keys[0], keys[1]);
    assert!(keys[1..].iter().all(|key| *key == keys[1]), "{keys:?}");
}

#[tokio::test]
async fn a_refund_that_fails_again_is_409_until_it_has_gone_back_or_is_on_its_way() {
    let shop = refunded().await;
    shop.partner.set_refund_status("failed");
    tell_of_refund(&shop, "evt_1", "refund.failed").await;
    let reply = shop.cancel().await;
    assert_eq!((reply.status, reply.code()), (409, "refund_failed"));
    assert!(text(&reply.body["detail"]).contains("send this request again"));
    shop.partner.set_refund_status("pending");
    for _ in 0..2 {
        assert_eq!(shop.cancel().await.status, 200);
        assert_eq!(shop.partner.given_back(), [20_000]);
        let shown = shop.shown().await;
        assert_eq!(refund_of(&shown), ("refund_failed", "pending", ""));
        shop.cloud.pass(MINUTE);
    }
    shop.partner.set_refund_status("succeeded");
    tell_of_refund(&shop, "evt_2", "refund.updated").await;
    assert_eq!(refund_of(&shop.shown().await).0, "refunded");
}

#[tokio::test]
async fn a_pending_refund_that_fails_is_shown_and_made_again_only_when_somebody_asks() {
    let metrics = Metrics::start();
    let shop = shop(VISA).await;
    assert_eq!(shop.pay().await.status, 201);
    shop.partner.set_refund_status("pending");
    assert_eq!(shop.cancel().await.code(), "refund_pending");
    shop.cloud.lose_stream();
    assert_eq!(refund_of(&shop.shown().await), ("captured", "pending", ""));
    shop.partner.fail_refunds("expired_or_canceled_card");
    tell_of_refund(&shop, "evt_1", "refund.failed").await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "refunding");
    let expected = ("refund_failed", "failed", "expired_or_canceled_card");
    assert_eq!(refund_of(&shown), expected);
    assert_eq!(metrics.of("RefundFailed"), 1);
    // The sweep publishes it again but repeats nothing.
    shop.cloud.pass(Duration::from_hours(1));
    shop.cloud.sweep().await;
    shop.cloud.settle().await;
    assert_eq!(shop.partner.refunds(), 1);
    assert_eq!(shop.cancel().await.code(), "refund_pending");
    assert_eq!(shop.partner.given_back(), [20_000]);
    shop.partner.set_refund_status("succeeded");
    assert_eq!(shop.cancel().await.status, 200);
    assert_eq!(shop.partner.given_back(), [20_000]);
    assert_eq!(refund_of(&shop.shown().await), ("refunded", "", ""));
}

#[tokio::test]
async fn a_refund_that_was_refused_is_asked_for_under_a_key_that_does_not_repeat_the_refusal() {
    for by_the_sweep in [false, true] {
        let shop = shop(VISA).await;
        assert_eq!(shop.pay().await.status, 201);
        shop.partner.dispute();
        for _ in 0..2 {
            assert_eq!(shop.cancel().await.code(), "refund_failed");
        }
        let shown = shop.shown().await;
        let expected = ("refund_failed", "failed", "charge_disputed");
        assert_eq!(refund_of(&shown), expected);
        // Its cause is corrected within the day for which Stripe repeats its answer to a key.
        shop.partner.set_dispute(&shop.partner.disputes()[0], "won");
        if by_the_sweep {
            shop.cloud.lose_stream();
            shop.cloud.pass(Duration::from_hours(1));
            shop.cloud.sweep().await;
            shop.cloud.settle().await;
        }
        assert_eq!(shop.cancel().await.status, 200);
        assert_eq!(shop.partner.given_back(), [20_000]);
    }
}

/// The same with PayPal.
async fn refunded_by_paypal() -> Invoiced {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(cancel_paypal(&test).await.status, 200);
    test.cloud.settle().await;
    test
}

pub(crate) async fn cancel_paypal(test: &Invoiced) -> Reply {
    let body = json!({"customerId": "8080", "orderId": test.order});
    test.cloud.post(CANCEL, &body).await
}

async fn tell_paypals(test: &Invoiced, id: &str, kind: &str) {
    let refund = json!({"id": "1JU08902781691411", "status": "FAILED",
        "custom_id": capture(test)["custom_id"]});
    test.cloud.pass(MINUTE);
    assert_eq!(tell(test, id, kind, &refund).await.status, 200);
}

#[tokio::test]
async fn a_refund_that_paypal_takes_back_is_shown_counted_once_and_made_once_more() {
    let metrics = Metrics::start();
    let test = refunded_by_paypal().await;
    test.double.fail_refunds();
    for id in ["WH-1", "WH-2"] {
        tell_paypals(&test, id, "PAYMENT.REFUND.FAILED").await;
        deliver(&test).await;
    }
    let expected = ("refund_failed", "failed", "refund_failed");
    assert_eq!(refund_of(&shown(&test).await), expected);
    assert_eq!(metrics.of("RefundFailed"), 1);
    test.front.plan("POST", "/refund", Mishap::AnswerLost);
    assert_eq!(cancel_paypal(&test).await.status, 503);
    let (one, other) = join(cancel_paypal(&test), cancel_paypal(&test)).await;
    assert_eq!((one.status, other.status), (200, 200));
    let expected = ["200.00 FAILED", "200.00 COMPLETED"];
    assert_eq!(test.double.given_back(), expected);
    assert_eq!(refund_of(&shown(&test).await).0, "refunded");
    // Late: it was refunded again since.
    tell_paypals(&test, "WH-3", "PAYMENT.REFUND.FAILED").await;
    deliver(&test).await;
    assert_eq!(refund_of(&shown(&test).await).0, "refunded");
    assert_eq!(metrics.of("RefundFailed"), 1);
}

#[tokio::test]
async fn a_failed_refund_of_paypals_is_shown_once_it_was_made_by_hand() {
    let test = refunded_by_paypal().await;
    test.double.fail_refunds();
    tell_paypals(&test, "WH-1", "PAYMENT.REFUND.FAILED").await;
    deliver(&test).await;
    test.double.refund_by_hand();
    tell_paypals(&test, "WH-2", "PAYMENT.CAPTURE.REFUNDED").await;
    deliver(&test).await;
    assert_eq!(refund_of(&shown(&test).await).0, "refunded");
}

/// PayPal's webhook about it is lost.
#[tokio::test]
async fn a_repeated_refund_that_pends_is_asked_about_until_it_has_ended() {
    for (ends_as, state) in [("COMPLETED", "refunded"), ("FAILED", "refund_failed")] {
        let test = refunded_by_paypal().await;
        test.double.fail_refunds();
        tell_paypals(&test, "WH-1", "PAYMENT.REFUND.FAILED").await;
        deliver(&test).await;
        test.double.refunds_end_as("PENDING");
        assert_eq!(cancel_paypal(&test).await.status, 200);
        for _ in 0..2 {
            assert_eq!(refund_of(&shown(&test).await).1, "pending");
            test.cloud.pass(10 * MINUTE);
            test.cloud.sweep().await;
            test.cloud.settle().await;
        }
        if ends_as == "COMPLETED" {
            test.double.settle_refunds();
        } else {
            test.double.fail_refunds();
        }
        for _ in 0..2 {
            test.cloud.pass(20 * MINUTE);
            test.cloud.sweep().await;
            test.cloud.settle().await;
        }
        let order = shown(&test).await;
        assert_eq!(refund_of(&order).0, state, "{order}");
        assert_eq!(order.get("due"), None, "{order}");
    }
}

#[tokio::test]
async fn a_cancelled_order_shows_what_was_refunded_although_a_part_of_it_failed_later() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let part = json!({"customerId": "8080", "orderId": test.order, "amount": 60});
    let reply = test
        .cloud
        .post_with_key("/api/order/refund.json", "k1", &part)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(cancel_paypal(&test).await.status, 200);
    test.cloud.lose_stream();
    let payment = async || shown(&test).await["payment"].clone();
    assert_eq!(payment().await["refundedAmount"].to_string(), "200.0");
    test.double.fail_first_refunds();
    tell_paypals(&test, "WH-1", "PAYMENT.REFUND.FAILED").await;
    deliver(&test).await;
    let failed = payment().await;
    assert_eq!(failed["state"], "refund_failed", "{failed}");
    assert_eq!(failed["refundedAmount"].to_string(), "140.0");
    let states: Vec<_> = failed["refunds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refund| {
            (
                refund["amount"].to_string(),
                text(&refund["status"]).to_owned(),
            )
        })
        .collect();
    let expected = [("60.0", "failed"), ("140.0", "refunded")];
    assert_eq!(
        states,
        expected.map(|(amount, state)| (amount.to_owned(), state.to_owned()))
    );
    assert_eq!(cancel_paypal(&test).await.status, 200);
    let paid_back = payment().await;
    assert_eq!(paid_back["state"], "refunded");
    assert_eq!(paid_back["refundedAmount"].to_string(), "200.0");
}

#[tokio::test]
async fn news_of_a_refund_that_paypal_never_made_is_ignored() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.lose_stream();
    let before = shown(&test).await;
    tell_paypals(&test, "WH-1", "PAYMENT.REFUND.FAILED").await;
    deliver(&test).await;
    assert_eq!(shown(&test).await, before);
}

#[tokio::test]
async fn a_refund_that_paypal_refused_for_want_of_funds_is_made_once_there_are_some() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let issue = "REFUND_FAILED_INSUFFICIENT_FUNDS";
    test.double.refuse_refunds(Some(issue));
    for _ in 0..2 {
        assert_eq!(cancel_paypal(&test).await.code(), "refund_failed");
    }
    let expected = (
        "refund_failed",
        "failed",
        "refund_failed_insufficient_funds",
    );
    assert_eq!(refund_of(&shown(&test).await), expected);
    test.double.refuse_refunds(None);
    assert_eq!(cancel_paypal(&test).await.status, 200);
    assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
}

fn dispute_of(order: &Value) -> &str {
    text(&order["payment"]["dispute"]["state"])
}

#[tokio::test]
async fn a_dispute_stands_as_the_partner_says_now_also_after_an_appeal() {
    let metrics = Metrics::start();
    let shop = shop(VISA).await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    shop.partner.dispute();
    let id = shop.partner.disputes()[0].clone();
    for (index, (status, state)) in [
        ("needs_response", "open"),
        ("won", "won"),
        ("lost", "lost"),
        ("won", "won"),
        ("under_review", "open"),
    ]
    .into_iter()
    .enumerate()
    {
        shop.cloud.pass(MINUTE);
        shop.partner.set_dispute(&id, status);
        let event = format!("evt_{index}");
        shop.dispute(&event, "charge.dispute.updated", &id, "lost")
            .await;
        let shown = shop.shown().await;
        assert_eq!(dispute_of(&shown), state);
        assert_eq!(shown["payment"].get("disputes"), None);
    }
    assert_eq!(metrics.of("ChargeDisputed"), 1);
}

#[tokio::test]
async fn every_new_dispute_counts_once_whatever_is_heard_of_it_first_and_the_gravest_is_shown() {
    let metrics = Metrics::start();
    let shop = shop(VISA).await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    shop.partner.dispute();
    shop.partner.dispute();
    let ids = shop.partner.disputes();
    let [first, second] = &*ids else {
        panic!("{ids:?}");
    };
    let mut events = 0;
    let mut hear = async |id: &str, status| {
        shop.cloud.pass(MINUTE);
        shop.partner.set_dispute(id, status);
        events += 1;
        shop.dispute(&format!("evt_{events}"), "charge.dispute.closed", id, "won")
            .await;
        shop.shown().await
    };
    // It was not reported while it was open.
    assert_eq!(dispute_of(&hear(first, "lost").await), "lost");
    assert_eq!(metrics.of("ChargeDisputed"), 1);
    let shown = hear(second, "needs_response").await;
    assert_eq!(dispute_of(&shown), "open");
    assert_eq!(metrics.of("ChargeDisputed"), 2);
    let listed = shown["payment"]["disputes"].as_array().unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|dispute| (text(&dispute["id"]), text(&dispute["state"])))
        .collect();
    assert_eq!(listed, [(&**second, "open"), (&**first, "lost")]);
    assert_eq!(dispute_of(&hear(second, "won").await), "lost");
    assert_eq!(dispute_of(&hear(first, "won").await), "won");
    assert_eq!(metrics.of("ChargeDisputed"), 2);
}

#[tokio::test]
async fn of_two_answers_about_a_dispute_the_later_one_by_paypals_time_holds() {
    let metrics = Metrics::start();
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.lose_stream();
    test.double.dispute();
    let id = test.double.disputes()[0].clone();
    let claims = json!({"dispute_id": id});
    let hint = async |event: &str| {
        let reply = tell(&test, event, "CUSTOMER.DISPUTE.UPDATED", &claims).await;
        assert_eq!(reply.status, 200);
        test.cloud.queues.take().remove(0).1
    };
    test.double
        .set_dispute(&id, "RESOLVED", Some("RESOLVED_SELLER_FAVOUR"));
    test.cloud.pass(MINUTE);
    // A worker has read that it is won and is held up; then it is appealed and lost.
    let gate = Gate::default();
    test.front
        .plan("GET", "/captures/", Mishap::Held(gate.clone()));
    let slow = hint("WH-1").await;
    let fast = hint("WH-2").await;
    let appealed = async {
        gate.arrived().await;
        test.cloud.pass(MINUTE);
        test.double
            .set_dispute(&id, "RESOLVED", Some("RESOLVED_BUYER_FAVOUR"));
        assert!(test.cloud.deliver(Queue::Payment, &fast).await);
        gate.open();
    };
    let (done, ()) = join(test.cloud.deliver(Queue::Payment, &slow), appealed).await;
    assert!(done);
    assert_eq!(dispute_of(&shown(&test).await), "lost");
    assert_eq!(metrics.of("ChargeDisputed"), 1);
    test.double.dispute();
    let second = json!({"dispute_id": test.double.disputes()[1]});
    let reply = tell(&test, "WH-3", "CUSTOMER.DISPUTE.CREATED", &second).await;
    assert_eq!(reply.status, 200);
    deliver(&test).await;
    assert_eq!(dispute_of(&shown(&test).await), "open");
    assert_eq!(metrics.of("ChargeDisputed"), 2);
}

/// News of a dispute at that minute.
fn news(state: DisputeState, minute: i64) -> Dispute {
    Dispute {
        id: None,
        state,
        amount: Money::ZERO,
        at: Timestamp::from_millis(minute * 60_000),
        since: Timestamp::from_millis(minute * 60_000 + 1),
    }
}

/// An order with the charge `charge_1`.
async fn with_a_charge() -> PlayedShop {
    Shop::at(played).cart(cart()).paid().await
}

impl PlayedShop {
    async fn note(&self, id: &str, news: &Dispute) -> NotedDispute {
        let id = PartnerReference::parse(id).unwrap();
        let store = &self.cloud.store;
        let noted = store.note_dispute(&self.id(), "charge_1", &id, news).await;
        noted.unwrap()
    }

    async fn disputes(&self) -> Vec<Dispute> {
        let order = self.cloud.store.order(&self.id()).await.unwrap();
        order.unwrap().disputes
    }
}

#[tokio::test]
async fn in_whatever_order_news_of_a_dispute_is_written_the_latest_holds() {
    let three = [
        news(DisputeState::Open, 1),
        news(DisputeState::Won, 2),
        news(DisputeState::Lost, 3),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let test = with_a_charge().await;
        let mut outcomes = Vec::new();
        for index in order {
            outcomes.push(test.note("dp_1", &three[index]).await);
        }
        let disputes = test.disputes().await;
        let kept: Vec<_> = disputes.iter().map(|each| (each.state, each.at)).collect();
        assert_eq!(kept, [(DisputeState::Lost, three[2].at)], "{order:?}");
        // Since the first report that was received.
        assert_eq!(disputes[0].since, three[order[0]].since);
        let new = outcomes.iter().filter(|each| **each == NotedDispute::New);
        assert_eq!(new.count(), 1, "{order:?}");
        assert_eq!(
            test.note("dp_1", &three[2]).await,
            NotedDispute::Known,
            "{order:?}"
        );
    }
}

#[tokio::test]
async fn an_order_keeps_20_disputes_and_those_that_it_keeps_still_change() {
    let test = with_a_charge().await;
    for index in 0..Dispute::MOST {
        let noted = test
            .note(&format!("dp_{index}"), &news(DisputeState::Open, 1))
            .await;
        assert_eq!(noted, NotedDispute::New);
    }
    let one_more = test.note("dp_more", &news(DisputeState::Open, 2)).await;
    assert_eq!(one_more, NotedDispute::Full);
    let changed = test.note("dp_7", &news(DisputeState::Lost, 2)).await;
    assert_eq!(changed, NotedDispute::Changed);
    assert_eq!(test.disputes().await.len(), Dispute::MOST);
}

#[tokio::test]
async fn a_dispute_that_was_stored_without_its_id_is_shown_until_there_is_news_of_one_with_an_id() {
    let test = with_a_charge().await;
    let number = |number: i64| AttributeValue::N(number.to_string());
    let old = [
        ("state".to_owned(), AttributeValue::S("won".to_owned())),
        ("at".to_owned(), number(60_000)),
    ];
    let update = test
        .cloud
        .database
        .client
        .update_item()
        .table_name("OrdersTable")
        .key("orderId", AttributeValue::S(test.order.clone()))
        .update_expression("SET dispute = :dispute")
        .expression_attribute_values(":dispute", AttributeValue::M(old.into()));
    update.send().await.unwrap();
    let shown = test.shown().await;
    assert_eq!(
        shown["payment"]["dispute"],
        json!({"state": "won", "at": "1970-01-01T00:01:00+00:00"})
    );
    let noted = test.note("dp_1", &news(DisputeState::Lost, 2)).await;
    assert_eq!(noted, NotedDispute::New);
    let disputes = test.disputes().await;
    assert_eq!(disputes.len(), 1);
    assert_eq!(disputes[0].id.as_deref(), Some("dp_1"));
    assert_eq!(disputes[0].state, DisputeState::Lost);
}

#[tokio::test]
async fn of_two_answers_about_a_refund_the_one_to_the_later_question_holds() {
    let test = with_a_charge().await;
    assert_eq!(test.cancel().await.status, 200);
    let store = &test.cloud.store;
    let read = async || store.order(&test.id()).await.unwrap().unwrap();
    let said = |status, minute: i64| RefundNews {
        status,
        at: Timestamp::from_millis(minute * 60_000),
        kept: None,
    };
    let failed = || RefundStatus::Failed {
        code: "unknown".to_owned(),
    };
    let before = read().await;
    let noted = store.note_refund(&before, &said(failed(), 2)).await;
    assert_eq!(noted.unwrap(), Noted::Written);
    let failed_order = read().await;
    assert_eq!(failed_order.version, before.version);
    // A worker that asked earlier writes now, having read the order before or after.
    for read_then in [&before, &failed_order] {
        let late = said(RefundStatus::Refunded, 1);
        let noted = store.note_refund(read_then, &late).await.unwrap();
        assert_eq!(noted, Noted::Known);
        assert_eq!(read().await, failed_order);
    }
    let again = said(RefundStatus::Refunded, 3);
    // The state has changed since this order was read.
    let noted = store.note_refund(&before, &again).await;
    assert_eq!(noted.unwrap(), Noted::Known);
    let noted = store.note_refund(&failed_order, &again).await;
    assert_eq!(noted.unwrap(), Noted::Written);
    // An order that is not cancelled, or has another charge, refuses such news.
    let mut other = read().await;
    other.status = Status::Paid;
    let noted = store.note_refund(&other, &said(failed(), 4)).await;
    assert_eq!(noted.unwrap(), Noted::Foreign);
    let mut other = read().await;
    if let Some(payment) = &mut other.payment {
        payment.reference = Some("charge_2".to_owned());
    }
    let noted = store.note_refund(&other, &said(failed(), 4)).await;
    assert_eq!(noted.unwrap(), Noted::Foreign);
}
