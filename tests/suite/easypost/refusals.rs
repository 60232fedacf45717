//! After a refusal by the carrier, the shop must act. The refusal is shown, and a better parcel or
//! a cancellation may follow once the first label provably was never bought.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Dispute, DisputeState, Money, Order, OrderId, ShippingRefusal, Status};
use futures_util::future::join;
use messages::PartnerReference;
use messages::queue::Queue;
use serde_json::{Value, json};
use shipment::carriers::Carrier;
use shipment::carriers::easypost::published::{Endpoint, Meaning, PUBLISHED, Published};
use store::{NotedDispute, Shipping};
use tests::Reply;
use tests::partners::{DoubleReply, EasyPostHabits, Gate, Mishap};

use super::service::{Shop, paid};
use super::{ADDRESS, outcome, sides};

const BETTER: &str = "18 Boulevard, Brooklyn, NY 11201";

const REFUSES: EasyPostHabits = EasyPostHabits {
    verification_down: false,
    unserved: false,
    carrier_refuses: true,
};

fn refuse_all(shop: &Shop) {
    shop.sides.double.set_trouble(REFUSES);
}

fn accept_all(shop: &Shop) {
    shop.sides.double.set_trouble(EasyPostHabits::default());
}

/// A paid order whose label was refused.
async fn refused() -> Shop {
    let shop = paid(ADDRESS).await;
    refuse_all(&shop);
    let reply = shop.ship().await;
    assert_eq!(
        (reply.status, reply.code()),
        (422, "invalid_fields"),
        "{}",
        reply.text
    );
    assert_eq!(reply.pointers(), ["/shipping_address"]);
    shop
}

async fn cancel(shop: &Shop) -> Reply {
    let body = json!({"customerId": "8080", "orderId": shop.order});
    shop.cloud.post("/api/order/cancel.json", &body).await
}

async fn shown(shop: &Shop) -> Value {
    shop.cloud.get(&shop.order).await.body
}

async fn assert_cancelled(shop: &Shop) {
    let reply = cancel(shop).await;
    assert_eq!(reply.body["status"], "cancelled", "{}", reply.text);
    assert_eq!(shown(shop).await["payment"]["state"], "refunded");
    accept_all(shop);
    assert_eq!(shop.ship().await.code(), "wrong_state");
    assert!(shop.sides.double.bought().is_empty());
}

#[tokio::test]
async fn a_refused_label_is_shown_and_a_better_address_starts_another_parcel() {
    let shop = refused().await;
    let first = shop.reference().await;
    let refusal = &shown(&shop).await["shippingRefusal"];
    assert_eq!(refusal["code"], "SHIPMENT.POSTAGE.FAILURE");
    assert_eq!(refusal["at"], "2026-11-23T10:12:05+00:00");
    accept_all(&shop);
    let reply = shop.ship_to(BETTER).await;
    shop.assert_shipped_once(&reply).await;
    let second = shop.reference().await;
    assert_ne!(first, second);
    assert_eq!(shop.sides.double.bought()[0].shipment, second);
    let after = shown(&shop).await;
    assert_eq!(after["shippingRefusal"], Value::Null);
    let shipment = shop.sides.double.shipment(&second).unwrap();
    assert_eq!(shipment["to_address"]["street1"], "18 BOULEVARD");
}

#[tokio::test]
async fn a_refused_label_lets_the_order_be_cancelled_and_paid_back() {
    let shop = refused().await;
    assert_cancelled(&shop).await;
}

#[tokio::test]
async fn the_chain_asks_for_a_refused_label_no_more_and_finds_one_that_was_bought_by_hand() {
    let shop = refused().await;
    let buys = |shop: &Shop| {
        let calls = shop.sides.calls();
        calls.iter().filter(|call| call.ends_with("/buy")).count()
    };
    let before = (buys(&shop), shop.sides.double.registered());
    for _ in 0..3 {
        shop.cloud.pass(Duration::from_secs(3_700));
        shop.cloud.sweep().await;
        for (queue, message) in shop.cloud.queues.take() {
            let is_done = shop.cloud.deliver(queue, &message).await;
            assert!(is_done, "no dead letter: {queue:?}");
        }
    }
    assert_eq!((buys(&shop), shop.sides.double.registered()), before);
    let after = shown(&shop).await;
    assert_eq!(
        (&after["status"], &after["due"]["step"]),
        (&json!("paid"), &json!("shipping"))
    );
    shop.sides.double.buy_by_hand(&shop.reference().await);
    shop.cloud.pass(Duration::from_secs(3_700));
    shop.cloud.sweep().await;
    for (queue, message) in shop.cloud.queues.take() {
        assert!(shop.cloud.deliver(queue, &message).await);
    }
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn while_a_purchase_is_unanswered_there_is_no_other_parcel_and_no_refund() {
    // The first purchase's answer is lost, and it takes effect late; another purchase is refused
    // before that.
    let shop = paid(ADDRESS).await;
    shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    assert_eq!(
        cancel(&shop).await.code(),
        "wrong_state",
        "it may be bought"
    );
    refuse_all(&shop);
    assert_eq!(shop.ship().await.status, 422);
    let first = shop.reference().await;
    let reply = shop.ship_to(BETTER).await;
    assert_eq!(
        (reply.status, reply.code()),
        (409, "in_progress"),
        "{}",
        reply.text
    );
    assert_eq!(cancel(&shop).await.code(), "in_progress");
    assert_eq!(shop.reference().await, first);
    // The late purchase arrives.
    accept_all(&shop);
    shop.sides.carrier.buy(&first).await.unwrap();
    let reply = shop.ship_to(BETTER).await;
    shop.assert_shipped_once(&reply).await;
    assert_eq!(shop.reference().await, first);

    // The late purchase never arrives.
    for ends_in_cancellation in [false, true] {
        let shop = paid(ADDRESS).await;
        shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
        assert_eq!(shop.ship().await.status, 503);
        refuse_all(&shop);
        assert_eq!(shop.ship().await.status, 422);
        shop.cloud.pass(Duration::from_mins(31));
        // Only the carrier could prove it, and the payment function does not ask the carrier.
        assert_eq!(cancel(&shop).await.code(), "in_progress");
        if ends_in_cancellation {
            shop.cloud.sweep().await;
            for (queue, message) in shop.cloud.queues.take() {
                assert!(shop.cloud.deliver(queue, &message).await);
            }
            assert_cancelled(&shop).await;
        } else {
            accept_all(&shop);
            let reply = shop.ship_to(BETTER).await;
            shop.assert_shipped_once(&reply).await;
        }
    }
}

/// An order whose label is being bought: EasyPost throttled the first attempt.
async fn throttled() -> Shop {
    let shop = paid(ADDRESS).await;
    let later = Mishap::Instead(DoubleReply::new(429, "{\"error\":{}}"));
    shop.sides.front.plan("POST", "/buy", later);
    assert_eq!(shop.ship().await.status, 503);
    shop
}

/// Refunds the whole payment of an order whose shipment has begun.
async fn refund_all(shop: &Shop) {
    let body = json!({"customerId": "8080", "orderId": shop.order});
    let reply = shop
        .cloud
        .post_with_key("/api/order/refund.json", "k1", &body)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(shown(shop).await["status"], "paid");
}

async fn assert_stopped(shop: &Shop, reason: &str) {
    let order = shown(shop).await;
    assert_eq!(order["status"], "cancelled");
    assert_eq!(order["cancelReason"], reason);
    assert_eq!(order["payment"]["refundedAmount"].to_string(), "200.0");
    accept_all(shop);
    let reply = shop.ship_to(BETTER).await;
    assert_eq!((reply.status, reply.code()), (409, "wrong_state"));
    assert!(shop.sides.double.bought().is_empty());
}

#[tokio::test]
async fn an_order_whose_money_went_back_while_it_was_shipped_is_cancelled_once_its_label_is_refused()
 {
    let shop = throttled().await;
    refund_all(&shop).await;
    refuse_all(&shop);
    let reply = shop.ship().await;
    assert_eq!(
        (reply.status, reply.code()),
        (409, "wrong_state"),
        "{}",
        reply.text
    );
    assert_stopped(&shop, "refunded").await;
}

#[tokio::test]
async fn an_order_whose_charge_the_bank_took_while_it_was_shipped_is_cancelled_once_its_label_is_refused()
 {
    let shop = throttled().await;
    let (store, id) = (&shop.cloud.store, OrderId::parse(&shop.order).unwrap());
    let before = store.order(&id).await.unwrap().unwrap();
    let charge = before.payment.as_ref().unwrap().reference.clone().unwrap();
    let lost = |amount, minute| Dispute {
        id: None,
        state: DisputeState::Lost,
        amount,
        at: shop.cloud.runtime.now().plus(Duration::from_mins(minute)),
        since: shop.cloud.runtime.now(),
    };
    let total = before.amounts.total;
    let part = Money::from_stored("1").unwrap();
    for (name, lost) in [("dp_1", lost(part, 1)), ("dp_2", lost(total, 2))] {
        let name = PartnerReference::parse(name).unwrap();
        let noted = store.note_dispute(&id, &charge, &name, &lost).await;
        assert_eq!(noted.unwrap(), NotedDispute::New);
    }
    assert_ends_cancelled(&shop, &before).await;
    assert_stopped(&shop, "disputed").await;
}

#[tokio::test]
async fn an_order_whose_money_goes_back_just_before_its_label_is_refused_is_cancelled() {
    let shop = throttled().await;
    let (store, id) = (&shop.cloud.store, OrderId::parse(&shop.order).unwrap());
    let before = store.order(&id).await.unwrap().unwrap();
    refund_all(&shop).await;
    assert_ends_cancelled(&shop, &before).await;
    assert_stopped(&shop, "refunded").await;
}

/// A worker that read the order `before` has its label refused.
async fn assert_ends_cancelled(shop: &Shop, before: &Order) {
    let refusal = ShippingRefusal {
        code: "SHIPMENT.POSTAGE.FAILURE".to_owned(),
        at: shop.cloud.runtime.now(),
    };
    let names = before.purchases.iter().flat_map(BTreeMap::keys);
    let names: Vec<String> = names.cloned().collect();
    let ended = shop
        .cloud
        .store
        .refuse_purchase(before, &names, &refusal)
        .await;
    assert!(matches!(
        ended.unwrap(),
        Shipping::Refused(Status::Cancelled)
    ));
}

#[tokio::test]
async fn an_order_whose_money_went_back_is_cancelled_once_no_purchase_of_its_refused_label_is_open()
{
    let shop = paid(ADDRESS).await;
    shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    refuse_all(&shop);
    assert_eq!(shop.ship().await.status, 422);
    refund_all(&shop).await;
    shop.cloud.pass(Duration::from_mins(31));
    shop.cloud.sweep().await;
    for (queue, message) in shop.cloud.queues.take() {
        shop.cloud.deliver(queue, &message).await;
    }
    assert_stopped(&shop, "refunded").await;
}

/// The calls during which something else may happen.
const CALLS: [(&str, &str); 4] = [
    ("GET", "/shipments/"),
    ("POST", "/addresses"),
    ("POST", "/shipments"),
    ("POST", "/buy"),
];

/// Ships to `address`, and does something else while that call is held.
async fn beside<T>(
    shop: &Shop,
    (method, path): (&'static str, &'static str),
    address: &str,
    other: impl Future<Output = T>,
) -> (Reply, T) {
    let gate = Gate::default();
    let held = Mishap::Held(gate.clone());
    shop.sides.front.plan(method, path, held);
    let other = async {
        gate.arrived().await;
        let done = other.await;
        gate.open();
        done
    };
    join(shop.ship_to(address), other).await
}

#[tokio::test]
async fn two_callers_with_better_addresses_have_one_label_bought() {
    for call in CALLS {
        let shop = refused().await;
        accept_all(&shop);
        let (late, quick) = beside(&shop, call, ADDRESS, shop.ship_to(BETTER)).await;
        assert_eq!((late.status, &late.text), (201, &quick.text), "{call:?}");
        shop.assert_shipped_once(&late).await;
    }
}

#[tokio::test]
async fn a_cancellation_beside_a_better_address_leaves_a_label_or_a_refund() {
    for call in CALLS {
        let shop = refused().await;
        accept_all(&shop);
        let (_, path) = call;
        let (shipped, cancelled) = beside(&shop, call, BETTER, cancel(&shop)).await;
        let labels = shop.sides.double.bought().len();
        let status = shown(&shop).await["status"].clone();
        match path {
            "/buy" => assert_eq!((shipped.status, labels, status), (201, 1, json!("shipped"))),
            _ => assert_eq!(
                (cancelled.status, labels, status),
                (200, 0, json!("cancelled")),
                "{path}"
            ),
        }
    }
}

#[tokio::test]
async fn an_answer_lost_at_any_call_of_the_second_parcel_buys_no_second_label() {
    for (method, path) in CALLS {
        let shop = refused().await;
        accept_all(&shop);
        shop.sides.front.plan(method, path, Mishap::AnswerLost);
        let reply = shop.ship_to(BETTER).await;
        assert_eq!(
            (reply.status, reply.code()),
            (503, "carrier_unavailable"),
            "{path}"
        );
        let reply = shop.ship_to(BETTER).await;
        shop.assert_shipped_once(&reply).await;
    }
}

#[tokio::test]
async fn a_label_that_was_refused_meanwhile_is_not_asked_for() {
    let shop = paid(ADDRESS).await;
    shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    refuse_all(&shop);
    // One worker has looked the parcel up and is about to buy; another one is refused before that.
    let gate = Gate::default();
    let held = Mishap::Held(gate.clone());
    shop.sides.front.plan("GET", "/shipments/", held);
    let late = shop.ship();
    let quick = async {
        gate.arrived().await;
        let reply = shop.ship().await;
        accept_all(&shop);
        gate.open();
        reply
    };
    let (late, quick) = join(late, quick).await;
    assert_eq!(quick.status, 422, "{}", quick.text);
    assert_eq!(
        (late.status, late.code()),
        (409, "in_progress"),
        "{}",
        late.text
    );
    assert!(shop.sides.double.bought().is_empty());
}

#[tokio::test]
async fn a_refusal_counts_only_once_the_shipment_shows_no_label() {
    // The purchase took effect, but its answer denies it.
    let shop = paid(ADDRESS).await;
    let refusal = r#"{"error":{"code":"SHIPMENT.POSTAGE.FAILURE","message":"x","errors":[]}}"#;
    let garbled = Mishap::Garbled(DoubleReply::new(422, refusal));
    shop.sides.front.plan("POST", "/buy", garbled);
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn no_rate_is_the_shops_turn_also_without_a_reason() {
    let shop = paid(ADDRESS).await;
    shop.sides.double.set_trouble(EasyPostHabits {
        unserved: true,
        ..EasyPostHabits::default()
    });
    // Before the label: no rates and, as recorded, no message.
    let answer = json!({"id": "shp_1", "rates": [], "messages": [], "tracking_code": null,
        "postage_label": null});
    let none = Mishap::Instead(DoubleReply::new(201, answer.to_string()));
    shop.sides.front.plan("POST", "/shipments", none);
    let reply = shop.ship().await;
    assert_eq!(
        (reply.status, reply.pointers()),
        (422, vec!["/shipping_address"])
    );
    assert_eq!(shown(&shop).await["shippingRefusal"]["code"], "no_rates");
    assert_cancelled(&shop).await;

    // At the label: the rates are gone, and there are no others.
    let shop = paid(ADDRESS).await;
    shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    shop.sides.double.let_rates_expire();
    shop.sides.double.set_trouble(EasyPostHabits {
        unserved: true,
        ..EasyPostHabits::default()
    });
    assert_eq!(shop.ship().await.status, 422);
    assert_eq!(shown(&shop).await["shippingRefusal"]["code"], "no_rates");
}

#[tokio::test]
async fn a_label_that_was_given_back_makes_room_for_another_parcel() {
    for status in ["submitted", "refunded"] {
        let shop = paid(ADDRESS).await;
        shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
        assert_eq!(shop.ship().await.status, 503);
        let first = shop.reference().await;
        shop.sides.carrier.buy(&first).await.unwrap();
        shop.sides.double.give_back(&first, status);
        let reply = shop.ship().await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        assert_eq!(
            shown(&shop).await["shippingRefusal"]["code"],
            "label_given_back"
        );
        shop.cloud.pass(Duration::from_mins(31));
        let reply = shop.ship_to(BETTER).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        assert_ne!(shop.reference().await, first);
    }
}

/// The outcome of a published answer to each call, as callers see it.
#[tokio::test]
async fn every_published_answer_has_its_outcome_at_every_call() {
    for answer in PUBLISHED {
        let body = json!({"error": {"code": answer.code, "message": "17 Boulevard", "errors": []}});
        let given = || Mishap::Instead(DoubleReply::new(answer.status, body.to_string()));
        let harmless = match answer.meaning {
            Meaning::Key => "not configured",
            Meaning::ShopsTurn => "refused",
            _ => "unavailable",
        };
        for (endpoint, path) in [
            (Endpoint::Address, "/addresses"),
            (Endpoint::Shipment, "/shipments"),
        ] {
            if [Endpoint::Any, endpoint].contains(&answer.endpoint) {
                let sides = sides();
                sides.front.plan("POST", path, given());
                let found = sides.open(ADDRESS).await;
                assert_eq!(outcome(&found), harmless, "{path} {}", answer.code);
            }
        }
        if [Endpoint::Any, Endpoint::Buy].contains(&answer.endpoint) {
            let sides = sides();
            let reference = sides.open(ADDRESS).await.unwrap();
            sides.front.plan("POST", "/buy", given());
            let expected = match answer.meaning {
                Meaning::Key => "not configured",
                Meaning::Operator | Meaning::Later => "unavailable",
                Meaning::ShopsTurn => "refused",
                Meaning::Bought | Meaning::Unknown => "unanswered",
                // New rates are bought at once.
                Meaning::RatesGone | Meaning::RateReplaced => "done",
            };
            let found = sides.carrier.buy(&reference).await;
            assert_eq!(outcome(&found), expected, "buy {}", answer.code);
            let labels = usize::from(expected == "done");
            assert_eq!(sides.double.bought().len(), labels, "{}", answer.code);
        }
    }
}

/// Two workers that request new rates at the same time replace each other's rates.
#[tokio::test]
async fn rates_that_another_worker_replaced_refuse_no_parcel() {
    let replaced = |answer: &&Published| answer.meaning == Meaning::RateReplaced;
    for answer in PUBLISHED.iter().filter(replaced) {
        let shop = paid(ADDRESS).await;
        let body = json!({"error": {"code": answer.code, "message": "", "errors": []}}).to_string();
        for _ in 0..2 {
            let given = Mishap::Instead(DoubleReply::new(answer.status, body.clone()));
            shop.sides.front.plan("POST", "/buy", given);
        }
        let reply = shop.ship().await;
        assert_eq!((reply.status, reply.code()), (503, "carrier_unavailable"));
        assert_eq!(shown(&shop).await["shippingRefusal"], Value::Null);
        assert_eq!(shop.ship().await.status, 201, "{}", answer.code);
        assert_eq!(shop.sides.double.bought().len(), 1);
    }
}

#[tokio::test]
async fn only_the_back_end_is_shown_where_the_label_is() {
    let shop = paid(ADDRESS).await;
    assert_eq!(shop.ship().await.status, 201);
    let label = shown(&shop).await["labelUrl"].clone();
    assert!(label.as_str().unwrap().starts_with("https://"), "{label}");
    let mut event = tests::question(&shop.order);
    let claims = &mut event["requestContext"]["authorizer"]["jwt"]["claims"];
    *claims = json!({"sub": "8080"});
    let reply = shop.cloud.send(&event).await;
    assert_eq!((reply.status, &reply.body["labelUrl"]), (200, &Value::Null));
    assert_eq!(reply.body["status"], "shipped");
    shop.cloud.settle_through(&[Queue::Email]).await;
}
