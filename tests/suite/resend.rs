//! The writes of `make ops-overdue RESEND=…` and `SEEN=…`, and how the functions handle them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue as Value, TransactWriteItem, Update};
use messages::queue::Queue;
use platform::aws::FailureKind;
use tests::Cloud;

use crate::contract::cart_with_checkout;
use crate::shop;

type TestCloud = Cloud<payment::partners::Sandbox>;

/// The address of `cart_with_checkout`.
const OWN: &str = "lital.naory@gmail.com";

/// Longer than the sweep's first check.
const OVERDUE: Duration = Duration::from_secs(130);

fn number(value: i64) -> Value {
    Value::N(value.to_string())
}

fn text(value: &str) -> Value {
    Value::S(value.to_owned())
}

async fn item(cloud: &TestCloud, table: &str, key: &str, id: &str) -> HashMap<String, Value> {
    let get = cloud.database.client.get_item().table_name(table);
    let answer = get.key(key, text(id)).send().await.unwrap();
    answer.item.unwrap_or_default()
}

async fn row(cloud: &TestCloud, mail: &str) -> HashMap<String, Value> {
    item(cloud, "EmailsTable", "emailId", mail).await
}

/// The transaction of `ops/mails.py`: the row, as read, becomes `queued`, and its order due.
fn transaction(
    cloud: &TestCloud,
    order: &str,
    mail: &str,
    read: &HashMap<String, Value>,
    is_due: bool,
) -> Vec<TransactWriteItem> {
    let now = cloud.runtime.now().millis();
    let mut queued = Update::builder()
        .table_name("EmailsTable")
        .key("emailId", text(mail))
        .update_expression(
            "SET #state = :queued, resentAt = :now REMOVE settledAt, holder, messageId, feedback, feedbackAt, bounceType, seenAt ADD resends :one",
        )
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(":state", read["state"].clone())
        .expression_attribute_values(":queued", text("queued"))
        .expression_attribute_values(":now", number(now))
        .expression_attribute_values(":one", number(1));
    let mut condition = "#state = :state".to_owned();
    for (name, same, absent) in [
        (
            "claimedAt",
            "claimedAt = :claimedAt",
            "attribute_not_exists(claimedAt)",
        ),
        (
            "settledAt",
            "settledAt = :settledAt",
            "attribute_not_exists(settledAt)",
        ),
        (
            "feedbackAt",
            "feedbackAt = :feedbackAt",
            "attribute_not_exists(feedbackAt)",
        ),
    ] {
        condition += " AND ";
        condition += if read.contains_key(name) {
            same
        } else {
            absent
        };
        if let Some(value) = read.get(name) {
            queued = queued.expression_attribute_values(format!(":{name}"), value.clone());
        }
    }
    let mut due = Update::builder()
        .table_name("OrdersTable")
        .key("orderId", text(order))
        .expression_attribute_names("#event", "event")
        .expression_attribute_names("#contact", "contact")
        .expression_attribute_values(":now", number(now));
    due = if is_due {
        due.update_expression("SET dueAt = :now, requeuedAt = :now REMOVE #event")
            .condition_expression("attribute_exists(dueStep) AND attribute_exists(#contact.email)")
    } else {
        let last = order.bytes().last().unwrap();
        due.update_expression(
            "SET dueStep = :step, dueAt = :now, dueTries = :none, requeuedAt = :now REMOVE #event",
        )
        .condition_expression("attribute_not_exists(dueStep) AND attribute_exists(#contact.email)")
        .expression_attribute_values(":step", text(&format!("email#{}", last % 4)))
        .expression_attribute_values(":none", number(0))
    };
    let updates = [queued.condition_expression(condition).build(), due.build()];
    updates
        .map(|update| TransactWriteItem::builder().update(update.unwrap()).build())
        .into()
}

/// Resends a mail as the tool does; returns whether the transaction was carried out.
async fn resend(
    cloud: &TestCloud,
    order: &str,
    event: &str,
    read: &HashMap<String, Value>,
) -> bool {
    let mail = format!("{order}/{event}");
    for is_due in [true, false] {
        let items = transaction(cloud, order, &mail, read, is_due);
        let write = cloud.database.client.transact_write_items();
        if write.set_transact_items(Some(items)).send().await.is_ok() {
            return true;
        }
    }
    false
}

async fn deliver_mails(cloud: &TestCloud, times: usize) {
    for (queue, message) in cloud.queues.take() {
        if queue == Queue::Email {
            for _ in 0..times {
                cloud.deliver(queue, &message).await;
            }
        }
    }
}

/// A shipped order whose last mail is `unconfirmed`.
async fn shipped_with_unconfirmed_mail(cloud: &TestCloud) -> String {
    let order = shop::place(cloud, &cart_with_checkout()).await;
    cloud
        .settle_through(&[Queue::Billing, Queue::Payment, Queue::Shipment])
        .await;
    cloud.lose_stream();
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    // SES accepts two and never answers about the third.
    let messages = cloud.queues.take();
    for (queue, message) in messages {
        if message.email_id().ends_with("OrderShipped") {
            cloud.mailer.fail_next(FailureKind::Unanswered, None);
        }
        cloud.deliver(queue, &message).await;
    }
    cloud.pass(Duration::from_mins(10));
    cloud.sweep().await;
    let body = cloud.get(&order).await.body;
    assert!(body["due"].is_null(), "{body}");
    order
}

#[tokio::test]
async fn a_mail_that_an_operator_resends_goes_out_once_more_by_the_orders_own_contact() {
    let cloud = Cloud::start().await;
    let order = shipped_with_unconfirmed_mail(&cloud).await;
    let id = format!("{order}/OrderShipped");
    let (read, sent) = (row(&cloud, &id).await, cloud.mailer.taken().len());
    assert_eq!(read["state"], text("unconfirmed"));

    assert!(resend(&cloud, &order, "OrderShipped", &read).await);
    // The tool is run twice: the row has changed since it was read.
    assert!(!resend(&cloud, &order, "OrderShipped", &read).await);
    // The write is not a transition, so the relay publishes nothing.
    cloud.relay_stream().await;
    assert!(cloud.queues.take().is_empty());
    for _ in 0..3 {
        cloud.sweep().await;
        deliver_mails(&cloud, 3).await;
        cloud.pass(OVERDUE);
    }
    let taken = cloud.mailer.taken();
    assert_eq!(taken.len(), sent + 1);
    let mail = taken.last().unwrap();
    assert_eq!(mail.to, OWN);
    // The mail with its order and tracking number.
    assert!(mail.mail.text.contains(&order), "{}", mail.mail.text);
    let resent = row(&cloud, &id).await;
    assert_eq!(
        (&resent["state"], &resent["resends"]),
        (&text("sent"), &number(1))
    );
    let body = cloud.get(&order).await.body;
    assert!(body["due"].is_null(), "{body}");
    assert_eq!(body["status"], "shipped");
}

#[tokio::test]
async fn a_resent_mail_of_an_old_order_that_is_still_due_is_tried_and_not_given_up_at_once() {
    let cloud = Cloud::start().await;
    let mut cart = cart_with_checkout();
    cart["customerId"] = "sandbox-outage".into();
    let order = shop::place(&cloud, &cart).await;
    cloud.settle_through(&[Queue::Billing]).await;
    let id = format!("{order}/InvoiceCreated");
    let order_id = domain::OrderId::parse(&order).unwrap();
    let now = cloud.runtime.now();
    assert!(
        cloud
            .store
            .give_up_email(&id, Some(&order_id), now)
            .await
            .unwrap()
    );
    // The partner is down for days.
    for _ in 0..100 {
        cloud.pass(Duration::from_hours(1));
        cloud.sweep().await;
        drop(cloud.queues.take());
    }
    assert!(resend(&cloud, &order, "InvoiceCreated", &row(&cloud, &id).await).await);
    assert_eq!(cloud.sweep().await.mails_given_up, 0);
    deliver_mails(&cloud, 2).await;
    assert_eq!(row(&cloud, &id).await["state"], text("sent"));
    assert_eq!(cloud.mailer.taken().len(), 1);
}

#[tokio::test]
async fn a_mail_that_was_seen_is_kept_as_it_was_and_shown_as_before() {
    let cloud = Cloud::start().await;
    let order = shipped_with_unconfirmed_mail(&cloud).await;
    let (before, sent) = (cloud.get(&order).await.body, cloud.mailer.taken().len());
    let seen = cloud.database.client.update_item();
    let seen = seen
        .table_name("EmailsTable")
        .key("emailId", text(&format!("{order}/OrderShipped")))
        .update_expression("SET seenAt = :now")
        .expression_attribute_values(":now", number(cloud.runtime.now().millis()));
    seen.send().await.unwrap();
    assert_eq!(cloud.get(&order).await.body, before);
    // No mail was sent because of it.
    assert_eq!(cloud.mailer.taken().len(), sent);
}
