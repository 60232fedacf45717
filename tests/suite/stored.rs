//! Data that earlier versions have stored and sent: this version reads it and shows the same.
//!
//! `stored/items.jsonl` contains an item of each shape that 60 random histories of the simulator
//! left in the tables, shipped orders with a delivery, a dispute, and a dispute without an ID, and
//! orders with refunds, a next action, a refused parcel, and a parcel whose delivery was announced.
//! `stored/messages.jsonl` contains a message of each shape that was queued. The files are never
//! regenerated: a change to the stored format adds lines.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventType, MailTopic, OrderId, Timestamp};
use messages::Message;
use payment::partners::Sandbox;
use serde_json::Value;
use store::{EmailState, KeyUse};
use tests::{Cloud, SentWrite, customer_request};

const ITEMS: &str = include_str!("stored/items.jsonl");
const MESSAGES: &str = include_str!("stored/messages.jsonl");

/// A month after the items were written.
const LATER: Timestamp = Timestamp::from_millis(1_798_000_000_000);

/// The items of one table.
fn items(table: &str) -> Vec<Value> {
    let items = ITEMS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    items
        .filter(|item: &Value| item["TableName"] == table)
        .collect()
}

async fn cloud_with(item: Value) -> Cloud<Sandbox> {
    let cloud = Cloud::start().await;
    let put = SentWrite::new("PutItem", item);
    assert!(cloud.database.arrive_late(&put));
    cloud
}

fn text<'a>(item: &'a Value, attribute: &str) -> &'a str {
    item["Item"][attribute]["S"].as_str().unwrap()
}

#[tokio::test]
async fn every_stored_order_is_shown_as_it_was() {
    let mut shown = String::new();
    for item in items("OrdersTable") {
        let id = text(&item, "orderId").to_owned();
        let status = text(&item, "status").to_owned();
        let reply = cloud_with(item).await.get(&id).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.body["status"], *status);
        writeln!(shown, "{}", reply.text).unwrap();
    }
    insta::assert_snapshot!(shown);
}

/// Earlier versions hashed a body's numbers as they were written.
#[tokio::test]
async fn a_key_of_an_earlier_version_knows_its_body() {
    let cloud = Cloud::start().await;
    let body = r#"{"customerId":"8080","items":[{"price":50.0,"productId":"1","quantity":2}]}"#;
    let body: Value = serde_json::from_str(body).unwrap();
    let earlier =
        r#"{"customerId":"8080","items":[{"price":50.0,"productId":"1","quantity":2,},],}"#;
    let placed = cloud
        .post_with_key("/api/order/cart.json", "k", &body)
        .await;
    let id = placed.body["orderId"].as_str().unwrap();
    let hash = AttributeValue::S(domain::digest_hex(&[earlier]));
    let update = cloud.database.client.update_item();
    let update = update
        .table_name("OrdersTable")
        .key("orderId", AttributeValue::S(id.to_owned()))
        .update_expression("SET requestHash = :hash")
        .expression_attribute_values(":hash", hash);
    update.send().await.unwrap();
    cloud.pass(Duration::from_hours(8 * 24));
    let again = cloud
        .post_with_key("/api/order/cart.json", "k", &body)
        .await;
    assert_eq!((again.status, &again.text), (201, &placed.text));
}

/// Earlier versions accepted texts without a visible character and addresses that SES rejects.
#[tokio::test]
async fn an_order_with_a_contact_that_is_refused_today_is_shown_and_its_mail_ends() {
    let stored = items("OrdersTable").into_iter();
    let with_contact = |item: &Value| item["Item"]["contact"]["M"]["email"].is_object();
    for mut item in stored.filter(with_contact) {
        let contact = &mut item["Item"]["contact"]["M"];
        contact["name"]["S"] = "\u{200b}".into();
        contact["phone"]["S"] = "\u{3164}".into();
        contact["shippingAddress"]["S"] = "\u{2800}".into();
        contact["email"]["S"] = "do..t@-b.1".into();
        item["Item"]["customerId"]["S"] = "8080\u{200b}".into();
        item["Item"]["lines"]["L"][0]["M"]["productId"]["S"] = "\u{ad}1".into();
        let id = text(&item, "orderId").to_owned();
        let cloud = cloud_with(item).await;
        assert_eq!(cloud.get(&id).await.status, 200);
    }
    let mut message = Message::from_json(MESSAGES.lines().next().unwrap()).unwrap();
    message.order = None;
    let data = message.mail.get_or_insert_default();
    (data.name, data.email) = ("\u{200b}".to_owned(), "do..t@-b.1".to_owned());
    message.kind = messages::MessageKind::Event(EventType::InvoiceCreated);
    let cloud = Cloud::start().await;
    cloud.mailer.fail_next(
        platform::aws::FailureKind::Refused,
        Some("BadRequestException"),
    );
    assert!(cloud.deliver(messages::queue::Queue::Email, &message).await);
    assert!(cloud.deliver(messages::queue::Queue::Email, &message).await);
    assert!(cloud.mailer.taken().is_empty());
}

#[tokio::test]
async fn every_stored_order_that_is_due_is_looked_after() {
    for item in items("OrdersTable") {
        let is_due = item["Item"]["dueAt"].is_object();
        let cloud = cloud_with(item).await;
        let (now, later) = (cloud.runtime.now().millis(), LATER.millis());
        cloud.pass(Duration::from_millis(later.abs_diff(now)));
        let report = cloud.sweep().await;
        assert_eq!((report.failed, report.unfinished), (0, 0), "{report:?}");
        let looked_after = report.published + report.settled > 0;
        assert_eq!(looked_after, is_due, "{report:?}");
    }
}

#[tokio::test]
async fn every_stored_mail_is_known() {
    for item in items("EmailsTable") {
        let order = OrderId::parse(text(&item, "orderId")).unwrap();
        let (row, state) = (
            text(&item, "emailId").to_owned(),
            text(&item, "state").to_owned(),
        );
        let cloud = Cloud::start().await;
        let orders = items("OrdersTable").into_iter();
        let mut owner = orders.last().unwrap();
        owner["Item"]["orderId"]["S"] = order.to_string().into();
        for item in [owner, item] {
            assert!(cloud.database.arrive_late(&SentWrite::new("PutItem", item)));
        }
        let (_, mails) = cloud.store.order_and_emails(&order).await.unwrap().unwrap();
        let event = row.split('/').nth(1).unwrap().parse::<EventType>().unwrap();
        let known = mails.get(&MailTopic::of(event)).map(EmailState::as_str);
        // A mail to another address is not shown on the order.
        let is_own = row.split('/').count() == 2;
        assert_eq!(known, is_own.then_some(&*state), "{row}");
    }
}

#[tokio::test]
async fn every_stored_agreement_is_known() {
    for item in items("CustomersTable") {
        let (id, state) = (
            text(&item, "customerId").to_owned(),
            text(&item, "state").to_owned(),
        );
        let cloud = cloud_with(item).await;
        let reply = cloud.send(&customer_request("GET", &id, "")).await;
        assert_eq!(
            reply.body["agreements"][0]["status"], *state,
            "{}",
            reply.text
        );
    }
}

#[tokio::test]
async fn every_stored_key_answers_again() {
    let now = Timestamp::from_millis(1_795_428_725_000);
    for item in items("IdempotencyTable") {
        let (key, hash) = (
            text(&item, "keyId").to_owned(),
            text(&item, "bodyHash").to_owned(),
        );
        let answer = item["Item"]["answer"]["S"].as_str().map(str::to_owned);
        let cloud = cloud_with(item).await;
        let known = cloud.store.use_key(&key, &hash.into(), now).await.unwrap();
        match (known, answer) {
            (KeyUse::Answered(known), Some(answer)) => assert_eq!(known, answer),
            (KeyUse::Fits, None) => {}
            (known, answer) => panic!("{known:?} instead of {answer:?}"),
        }
        let other = cloud
            .store
            .use_key(&key, &"another".to_owned().into(), now)
            .await
            .unwrap();
        assert!(matches!(other, KeyUse::OtherBody), "{other:?}");
    }
}

#[test]
fn every_sent_message_is_read_and_written_as_it_was() {
    for line in MESSAGES.lines() {
        let message = Message::from_json(line).unwrap();
        let written: Value = serde_json::from_str(&message.to_json().unwrap()).unwrap();
        let mut expected: Value = serde_json::from_str(line).unwrap();
        // An earlier version named the partner of a dispute only in the message's ID.
        if expected["id"] == "webhook/stripe/evt_1" && expected["type"] == "DisputeReported" {
            expected["partner"] = "stripe".into();
        }
        assert_eq!(written, expected);
    }
}
