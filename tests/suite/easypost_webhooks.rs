//! EasyPost's webhooks: the order shows the delivery state that EasyPost reports.

use std::time::Duration;

use domain::{Delivery, DeliveryState, OrderId, Timestamp};
use messages::queue::Queue;
use serde_json::{Value, json};
use store::Noted;
use tests::{EASYPOST_WEBHOOK_SECRET, Reply, hmac_sha256_hex};

use crate::contract::text;
use crate::easypost::{ADDRESS, Shop, paid};
use crate::webhooks::webhook;

/// An order that was shipped with EasyPost.
async fn shipped() -> Shop {
    let shop = paid(ADDRESS).await;
    assert_eq!(shop.ship().await.status, 201);
    shop.cloud.lose_stream();
    shop
}

/// EasyPost reports a tracker; the event claims that the parcel is delivered.
pub(crate) async fn tell(shop: &Shop, id: &str, kind: &str, shipment: &Value) -> Reply {
    let body = json!({"id": id, "object": "Event", "mode": "test", "description": kind,
        "result": {"id": "trk_1", "object": "Tracker", "status": "delivered",
            "updated_at": "2030-01-01T00:00:00Z", "shipment_id": shipment}})
    .to_string();
    shop.cloud
        .send(&signed(EASYPOST_WEBHOOK_SECRET, &body))
        .await
}

/// A webhook from EasyPost, signed with this secret.
pub(crate) fn signed(secret: &str, body: &str) -> Value {
    let hex = hmac_sha256_hex(secret, body.as_bytes());
    let header = format!("hmac-sha256-hex={hex}");
    webhook("easypost", ("x-hmac-signature", &header), body)
}

/// Reports the shop's parcel, and delivers the message to the worker.
async fn track(shop: &Shop, id: &str) {
    let shipment = shop.reference().await.into();
    let reply = tell(shop, id, "tracker.updated", &shipment).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Queue::Shipment);
    assert!(shop.cloud.deliver(Queue::Shipment, &messages[0].1).await);
}

async fn shown(shop: &Shop) -> Value {
    shop.cloud.get(&shop.order).await.body
}

#[tokio::test]
async fn a_parcel_is_shown_where_easypost_has_it_whatever_the_webhook_says() {
    let shop = shipped().await;
    let before = shown(&shop).await;
    let shipment = shop.reference().await;
    // Nothing is known about its delivery yet.
    track(&shop, "evt_0").await;
    assert_eq!(shown(&shop).await, before);
    for (number, (word, state)) in [
        ("pre_transit", "pre_transit"),
        ("in_transit", "in_transit"),
        ("out_for_delivery", "out_for_delivery"),
        ("available_for_pickup", "available_for_pickup"),
        ("delivered", "delivered"),
        ("return_to_sender", "return_to_sender"),
        ("failure", "failed"),
        ("cancelled", "cancelled"),
    ]
    .into_iter()
    .enumerate()
    {
        let at = format!("2026-11-24T08:00:0{number}Z");
        shop.sides.double.scan(&shipment, word, &at);
        track(&shop, &format!("evt_{}", number + 1)).await;
        let delivery = &shown(&shop).await["delivery"];
        let at = at.replace('Z', "+00:00");
        assert_eq!(*delivery, json!({"state": state, "at": at}));
    }
    // An unknown status is ignored.
    shop.sides
        .double
        .scan(&shipment, "lost_in_space", "2026-11-25T08:00:00Z");
    track(&shop, "evt_99").await;
    let mut after = shown(&shop).await;
    assert_eq!(after["delivery"]["state"], "cancelled");
    after.as_object_mut().unwrap().remove("delivery");
    assert_eq!(after, before);
    // The customer gets no mail about it.
    shop.cloud.relay_stream().await;
    assert!(shop.cloud.queues.take().is_empty());
}

#[tokio::test]
async fn of_two_pieces_of_news_the_later_one_holds_in_whatever_order_they_come() {
    let shop = shipped().await;
    let id = OrderId::parse(&shop.order).unwrap();
    let reference = shop.reference().await;
    let news = |state, seconds: u64| Delivery {
        state,
        at: Timestamp::from_millis(0).plus(Duration::from_secs(seconds)),
    };
    let store = &shop.cloud.store;
    for (delivery, expected) in [
        (news(DeliveryState::Delivered, 5), Noted::Written),
        (news(DeliveryState::InTransit, 4), Noted::Known),
        (news(DeliveryState::Delivered, 5), Noted::Known),
        (news(DeliveryState::ReturnToSender, 6), Noted::Written),
    ] {
        let noted = store
            .note_delivery(&id, "easypost", &reference, delivery)
            .await;
        assert_eq!(noted.unwrap(), expected, "{delivery:?}");
    }
    for (carrier, reference) in [("easypost", "shp_other"), ("acme", &*reference)] {
        let late = news(DeliveryState::Failed, 7);
        let other = store.note_delivery(&id, carrier, reference, late);
        assert_eq!(other.await.unwrap(), Noted::Foreign, "{carrier}");
    }
    assert_eq!(shown(&shop).await["delivery"]["state"], "return_to_sender");
}

#[tokio::test]
async fn each_event_is_heard_once_and_news_of_other_parcels_changes_nothing() {
    let shop = shipped().await;
    let shipment = shop.reference().await;
    shop.sides
        .double
        .scan(&shipment, "in_transit", "2026-11-24T08:00:00Z");
    track(&shop, "evt_1").await;
    let before = shown(&shop).await;
    assert_eq!(text(&before["delivery"]["state"]), "in_transit");
    shop.sides
        .double
        .scan(&shipment, "delivered", "2026-11-25T08:00:00Z");
    // The same event again, trackers without a shipment, and other types.
    for (id, kind, shipment) in [
        ("evt_1", "tracker.updated", &json!(shipment)),
        ("evt_2", "tracker.updated", &Value::Null),
        ("evt_3", "refund.successful", &json!(shipment)),
    ] {
        assert_eq!(tell(&shop, id, kind, shipment).await.status, 200, "{id}");
        assert!(shop.cloud.queues.take().is_empty(), "{id}");
    }
    // A parcel that EasyPost does not know, and an ID that leads elsewhere.
    for (id, name) in [("evt_4", "shp_none"), ("evt_5", "../addresses")] {
        let reply = tell(&shop, id, "tracker.updated", &name.into()).await;
        assert_eq!(reply.status, 200);
        for (queue, message) in shop.cloud.queues.take() {
            assert!(shop.cloud.deliver(queue, &message).await);
        }
    }
    assert_eq!(shown(&shop).await, before);
}
