//! `TrackingMails`: the customer gets one mail for each important delivery state.

use std::time::Duration;

use domain::{Command, OrderId, Timestamp};
use futures_util::future::join;
use messages::queue::Queue;
use messages::{Message, MessageKind, PartnerReference};
use payment::partners::Sandbox;
use platform::config::TrackingMails;
use serde_json::{Value, json};
use store::Settlement;
use tests::partners::Mishap;
use tests::{Cloud, Options, Reply, SentWrite};

use crate::contract::{cart, cart_with_checkout, text};
use crate::easypost::{ADDRESS, Shop, paid_with, sides};
use crate::easypost_webhooks::tell;
use crate::errors::assert_problem;
use crate::shop::{invoice, pay};

const EMAIL: &str = "/api/order/email.json";

/// The mailed states, each with its event and the subject of its mail.
const MAILED: [(&str, &str, &str); 4] = [
    (
        "out_for_delivery",
        "ParcelOutForDelivery",
        "Your order … is out for delivery",
    ),
    (
        "available_for_pickup",
        "ParcelAvailableForPickup",
        "Your order … is ready for pickup",
    ),
    ("delivered", "ParcelDelivered", "Your order … was delivered"),
    (
        "return_to_sender",
        "ParcelReturned",
        "Your order … is being returned to us",
    ),
];

fn options(tracking_mails: TrackingMails) -> Options {
    Options {
        tracking_mails,
        ..Options::default()
    }
}

/// An order that was shipped with EasyPost, and whose customer got the mail about it.
async fn shipped(tracking_mails: TrackingMails) -> Shop {
    let shop = paid_with(options(tracking_mails), &cart_with_checkout(), ADDRESS).await;
    assert_eq!(shop.ship().await.status, 201);
    shop.cloud.settle().await;
    shop
}

/// The same shop, deployed again with this parameter.
fn redeployed(shop: Shop, tracking_mails: TrackingMails) -> Shop {
    let partner = Sandbox::new(shop.cloud.runtime.clone());
    let carrier = shop.sides.carrier.clone();
    Shop {
        cloud: shop
            .cloud
            .redeployed(options(tracking_mails), partner, carrier),
        ..shop
    }
}

/// The carrier scans the parcel at this second of a minute.
async fn scan(shop: &Shop, word: &str, second: u32) {
    let at = format!("2026-11-24T08:00:{second:02}Z");
    let reference = shop.reference().await;
    shop.sides.double.scan(&reference, word, &at);
}

/// EasyPost reports the parcel, and the message is delivered to the worker; returns whether the
/// worker has finished with it.
async fn hear(shop: &Shop, event: &str) -> bool {
    let shipment = shop.reference().await.into();
    let reply = tell(shop, event, "tracker.updated", &shipment).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut is_done = true;
    for (queue, message) in shop.cloud.queues.take() {
        assert_eq!(queue, Queue::Shipment);
        is_done &= shop.cloud.deliver(queue, &message).await;
    }
    is_done
}

/// The message that the parcel's webhook queues.
async fn news(shop: &Shop) -> Message {
    let reference = PartnerReference::parse(&shop.reference().await).unwrap();
    Message {
        id: "webhook/easypost/evt_1".to_owned(),
        kind: MessageKind::Delivery(reference),
        order: None,
        time: shop.cloud.runtime.now(),
        traceparent: None,
        mail: None,
    }
}

/// The subjects of the mails about the parcel, in the order sent.
fn parcel_mails(shop: &Shop) -> Vec<String> {
    let subjects = shop.cloud.mailer.taken().into_iter();
    let subjects = subjects.map(|sent| sent.mail.subject.replace(&shop.order, "…"));
    subjects
        .filter(|subject| MAILED.iter().any(|(_, _, known)| subject == known))
        .collect()
}

async fn shown(shop: &Shop) -> Value {
    shop.cloud.get(&shop.order).await.body
}

async fn stored(shop: &Shop) -> domain::Order {
    let id = OrderId::parse(&shop.order).unwrap();
    shop.cloud.store.order(&id).await.unwrap().unwrap()
}

/// The parcel's events that the order shows under `name`.
fn parcel_events(order: &Value, name: &str) -> Vec<String> {
    let entries = order[name].as_array().into_iter().flatten();
    let events = entries.map(|entry| text(&entry["event"]).to_owned());
    events.filter(|event| event.starts_with("Parcel")).collect()
}

/// Checks that everything promised has ended, so that the order waits for nothing.
async fn assert_settled(shop: &Shop) {
    for _ in 0..2 {
        shop.cloud.settle().await;
        shop.cloud.pass(Duration::from_mins(10));
        shop.cloud.sweep().await;
    }
    shop.cloud.settle().await;
    assert_eq!(shown(shop).await.get("due"), None);
}

#[tokio::test]
async fn each_state_that_matters_is_mailed_once_whatever_is_told_again() {
    let shop = shipped(TrackingMails::On).await;
    let mut second = 0;
    let mut told = 0;
    for (word, expected) in [
        ("pre_transit", 0),
        ("in_transit", 0),
        ("out_for_delivery", 1),
        ("in_transit", 1),
        ("out_for_delivery", 1),
        ("failure", 1),
        ("available_for_pickup", 2),
        ("delivered", 3),
        ("return_to_sender", 4),
        ("cancelled", 4),
        ("delivered", 4),
    ] {
        // The carrier's clock advances with each repeat.
        for _ in 0..2 {
            second += 1;
            scan(&shop, word, second).await;
            told += 1;
            assert!(hear(&shop, &format!("evt_{told}")).await);
            shop.cloud.settle().await;
        }
        assert_eq!(parcel_mails(&shop).len(), expected, "{word}");
    }
    let subjects = MAILED.map(|(_, _, subject)| subject.to_owned());
    assert_eq!(parcel_mails(&shop), subjects);
    let order = shown(&shop).await;
    let events = MAILED.map(|(_, event, _)| event.to_owned());
    assert_eq!(parcel_events(&order, "timeline"), events);
    assert_eq!(parcel_events(&order, "emails"), events);
    let mails = order["emails"].as_array().unwrap().iter();
    let mails = mails.filter(|mail| text(&mail["event"]).starts_with("Parcel"));
    assert!(mails.clone().all(|mail| mail["status"] == "sent"));
    assert_eq!(order["status"], "shipped");
    assert_eq!(order["delivery"]["state"], "delivered");
    let mails = shop.cloud.mailer.taken().into_iter();
    for sent in mails.filter(|sent| sent.mail.subject.contains("out for delivery")) {
        assert_eq!(sent.to, "lital.naory@gmail.com");
        let number = text(&order["tracking_number"]);
        for part in [&sent.mail.text, &sent.mail.html] {
            assert!(
                part.contains(number) && part.contains("17 Boulevard"),
                "{part}"
            );
        }
    }
    assert_settled(&shop).await;
    assert_eq!(parcel_mails(&shop), subjects);
}

#[tokio::test]
async fn a_shop_without_tracking_mails_promises_none_and_turning_them_on_mails_nothing_of_the_past()
{
    let shop = shipped(TrackingMails::Off).await;
    let mut version = stored(&shop).await.version;
    for (number, (word, _, _)) in (1..).zip(MAILED) {
        scan(&shop, word, number).await;
        assert!(hear(&shop, &format!("evt_{number}")).await);
        assert_eq!(shown(&shop).await["delivery"]["state"], word);
    }
    assert_settled(&shop).await;
    assert_eq!(stored(&shop).await.version, version);

    let shop = redeployed(shop, TrackingMails::On);
    // The same news again, and the same state with a later time.
    assert!(hear(&shop, "evt_5").await);
    scan(&shop, "return_to_sender", 5).await;
    assert!(hear(&shop, "evt_6").await);
    assert_settled(&shop).await;
    assert_eq!(stored(&shop).await.version, version);
    assert_eq!(parcel_mails(&shop), Vec::<String>::new());
    // Later states are mailed.
    scan(&shop, "delivered", 6).await;
    assert!(hear(&shop, "evt_7").await);
    shop.cloud.settle().await;
    assert_eq!(parcel_mails(&shop), ["Your order … was delivered"]);
    version = stored(&shop).await.version;

    // A promised mail is sent, even if the mails are turned off in between.
    scan(&shop, "available_for_pickup", 7).await;
    assert!(hear(&shop, "evt_8").await);
    let shop = redeployed(shop, TrackingMails::Off);
    scan(&shop, "out_for_delivery", 8).await;
    assert!(hear(&shop, "evt_9").await);
    assert_settled(&shop).await;
    assert_eq!(stored(&shop).await.version, version + 1);
    let pickup = "Your order … is ready for pickup";
    assert_eq!(parcel_mails(&shop)[1..], [pickup]);
}

#[tokio::test]
async fn a_shop_without_a_sender_tells_nobody_where_a_parcel_is() {
    let without = Options {
        sends_mails: false,
        ..options(TrackingMails::On)
    };
    let shop = paid_with(without, &cart_with_checkout(), ADDRESS).await;
    assert_eq!(shop.ship().await.status, 201);
    shop.cloud.settle().await;
    let version = stored(&shop).await.version;
    scan(&shop, "delivered", 1).await;
    assert!(hear(&shop, "evt_1").await);
    assert_eq!(shown(&shop).await["delivery"]["state"], "delivered");
    assert_eq!(stored(&shop).await.version, version);
    // A sender that is configured later sends no mails about earlier states.
    let shop = redeployed(shop, TrackingMails::On);
    assert!(hear(&shop, "evt_2").await);
    assert_settled(&shop).await;
    assert_eq!(parcel_mails(&shop), Vec::<String>::new());
}

#[tokio::test]
async fn news_that_is_older_than_what_is_shown_is_neither_shown_nor_mailed() {
    let shop = shipped(TrackingMails::On).await;
    scan(&shop, "delivered", 9).await;
    assert!(hear(&shop, "evt_1").await);
    // One of the carrier's servers still shows an earlier state, or another one with the same
    // second.
    for (event, word, second) in [
        ("evt_2", "out_for_delivery", 8),
        ("evt_3", "available_for_pickup", 9),
    ] {
        scan(&shop, word, second).await;
        assert!(hear(&shop, event).await);
        assert_eq!(shown(&shop).await["delivery"]["state"], "delivered");
    }
    assert_settled(&shop).await;
    assert_eq!(parcel_mails(&shop), ["Your order … was delivered"]);
}

#[tokio::test]
async fn two_workers_that_hear_of_a_parcel_at_once_have_one_mail_sent() {
    for (word, event, subject) in MAILED {
        let shop = shipped(TrackingMails::On).await;
        scan(&shop, word, 1).await;
        let news = news(&shop).await;
        let deliver = || shop.cloud.deliver(Queue::Shipment, &news);
        assert_eq!(join(deliver(), deliver()).await, (true, true), "{word}");
        assert_settled(&shop).await;
        assert_eq!(parcel_mails(&shop), [subject]);
        assert_eq!(parcel_events(&shown(&shop).await, "timeline"), [event]);
    }
}

#[tokio::test]
async fn news_that_a_later_one_overtakes_before_it_is_recorded_is_not_told() {
    let shop = shipped(TrackingMails::On).await;
    scan(&shop, "out_for_delivery", 1).await;
    let news = news(&shop).await;
    let later = Timestamp::parse("2026-11-24T08:00:02Z").unwrap();
    let at = later.millis().to_string();
    let write = json!({"TableName": "OrdersTable", "Key": {"orderId": {"S": shop.order}},
        "UpdateExpression": "SET delivery = :delivery",
        "ExpressionAttributeValues": {
            ":delivery": {"M": {"state": {"S": "in_transit"}, "at": {"N": at}}}}});
    let write = SentWrite::new("UpdateItem", write);
    shop.cloud.database.slip_in(0, write);
    assert!(shop.cloud.deliver(Queue::Shipment, &news).await);
    assert_eq!(shown(&shop).await["delivery"]["state"], "in_transit");
    assert_settled(&shop).await;
    assert_eq!(parcel_mails(&shop), Vec::<String>::new());
}

#[tokio::test]
async fn a_parcels_mail_whose_message_is_lost_is_sent_by_the_sweep() {
    for (word, _, subject) in MAILED {
        let shop = shipped(TrackingMails::On).await;
        scan(&shop, word, 1).await;
        assert!(hear(&shop, "evt_1").await);
        // The news is recorded, and the function that should have queued it dies.
        shop.cloud.lose_stream();
        assert_eq!(shown(&shop).await["due"]["step"], "email");
        shop.cloud.queues.set_down(&[Queue::Email]);
        shop.cloud.pass(Duration::from_mins(3));
        shop.cloud.sweep().await;
        assert_eq!(parcel_mails(&shop), Vec::<String>::new());
        shop.cloud.queues.set_down(&[]);
        shop.cloud.pass(Duration::from_mins(3));
        assert_settled(&shop).await;
        assert_eq!(parcel_mails(&shop), [subject]);
    }
}

#[tokio::test]
async fn a_record_of_a_parcels_news_whose_answer_is_lost_or_that_comes_late_tells_once() {
    let shop = shipped(TrackingMails::On).await;
    let before = stored(&shop).await;
    scan(&shop, "out_for_delivery", 1).await;
    let _ = shop.cloud.database.writes.take();
    assert!(hear(&shop, "evt_1").await);
    let told = stored(&shop).await;
    assert_eq!(told.version, before.version + 1);
    let writes = shop.cloud.database.writes.take();
    // The same write by a worker that read the order before: its first answer was lost.
    let again = shop
        .cloud
        .store
        .report_delivery(
            &before,
            told.delivery.unwrap(),
            Command::ReportOutForDelivery,
            shop.cloud.runtime.now(),
        )
        .await;
    assert!(matches!(again.unwrap(), Settlement::Written(order) if order.version == told.version));
    scan(&shop, "delivered", 2).await;
    assert!(hear(&shop, "evt_2").await);
    let mut records = writes.iter();
    let record = records.find(|write| write.operation == "UpdateItem");
    assert!(!shop.cloud.database.arrive_late(record.unwrap()));
    assert_settled(&shop).await;
    let subjects = [MAILED[0].2, MAILED[2].2];
    assert_eq!(parcel_mails(&shop), subjects);
}

#[tokio::test]
async fn news_of_a_parcel_whose_shipment_is_not_recorded_yet_waits_for_it() {
    let shop = paid_with(options(TrackingMails::On), &cart_with_checkout(), ADDRESS).await;
    shop.lose("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    // Another function buys the label and dies before it records it.
    shop.sides.buy(&shop.reference().await).await;
    scan(&shop, "out_for_delivery", 1).await;
    let before = stored(&shop).await;
    let _ = shop.cloud.queues.take();
    let news = news(&shop).await;
    assert!(!shop.cloud.deliver(Queue::Shipment, &news).await);
    assert_eq!(stored(&shop).await, before);
    // A state that is not mailed is shown at once.
    scan(&shop, "in_transit", 1).await;
    assert!(shop.cloud.deliver(Queue::Shipment, &news).await);
    assert_eq!(shown(&shop).await["delivery"]["state"], "in_transit");
    scan(&shop, "out_for_delivery", 2).await;
    assert!(!shop.cloud.deliver(Queue::Shipment, &news).await);
    assert_eq!(shop.ship().await.status, 201);
    assert!(shop.cloud.deliver(Queue::Shipment, &news).await);
    assert_settled(&shop).await;
    assert_eq!(parcel_mails(&shop), [MAILED[0].2]);
}

#[tokio::test]
async fn an_order_without_an_address_waits_for_no_mail_about_its_parcel() {
    let sides = sides();
    let cloud = Cloud::with_ends(
        options(TrackingMails::On),
        Sandbox::new,
        sides.carrier.clone(),
    )
    .await;
    let order = crate::shop::place(&cloud, &cart()).await;
    invoice(&cloud, &order).await;
    assert_eq!(pay(&cloud, &order).await.status, 201);
    let shop = Shop {
        cloud,
        sides,
        order,
    };
    assert_eq!(shop.ship().await.status, 201);
    shop.cloud.settle().await;
    scan(&shop, "delivered", 1).await;
    assert!(hear(&shop, "evt_1").await);
    let order = shown(&shop).await;
    assert_eq!(order.get("due"), None);
    assert_eq!(parcel_events(&order, "timeline"), ["ParcelDelivered"]);
    shop.cloud.settle().await;
    assert_eq!(parcel_mails(&shop), Vec::<String>::new());
}

#[tokio::test]
async fn a_mail_about_a_parcel_can_be_requested_once_it_has_come_that_far() {
    let shop = shipped(TrackingMails::On).await;
    let ask = async |address: &str, event: &str| -> Reply {
        let body = json!({"event": event, "name": "Lital Hay", "email": address,
            "orderId": shop.order});
        shop.cloud.post(EMAIL, &body).await
    };
    let own = "lital.naory@gmail.com";
    for (number, (word, event, _)) in (1..).zip(MAILED) {
        assert_problem(&ask("friend@example.com", event).await, 409, "wrong_state");
        scan(&shop, word, number).await;
        assert!(hear(&shop, &format!("evt_{number}")).await);
        for address in ["friend@example.com", own, own, "friend@example.com"] {
            let reply = ask(address, event).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        shop.cloud.settle().await;
        let sent = shop.cloud.mailer.taken();
        let sent = sent
            .iter()
            .skip_while(|sent| !sent.mail.subject.contains("deliver"));
        let to: Vec<_> = sent.map(|sent| &*sent.to).collect();
        assert_eq!(to.len(), 2 * number as usize, "{event}: {to:?}");
    }
    let body = json!({"event": "ParcelLost", "name": "Lital Hay", "email": own});
    assert_problem(&shop.cloud.post(EMAIL, &body).await, 422, "invalid_fields");
}
