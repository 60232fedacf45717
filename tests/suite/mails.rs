//! Requested mails: each has its own row, and a promised one is sent.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::OrderId;
use messages::Message;
use messages::queue::Queue;
use platform::aws::FailureKind;
use platform::config::{Authentication, Tables};
use relay::MailReport;
use serde_json::{Value, json};
use service::lambda::Handler;
use shipment::Shipments;
use shipment::carriers::Own as OwnCarrier;
use store::Store;
use tests::{Cloud, Database, Options, invoke, request};

use crate::contract::{cart, cart_with_checkout, text};
use crate::shop;

const CART: &str = "/api/order/cart.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";

/// The address of `cart_with_checkout`.
const OWN: &str = "lital.naory@gmail.com";

/// Longer than the time until the sweep's first check.
const OVERDUE: Duration = Duration::from_secs(130);

type TestCloud = Cloud<payment::partners::Sandbox>;
type Row = HashMap<String, AttributeValue>;

fn mail(order: &str, address: &str) -> Value {
    json!({"event": "InvoiceCreated", "name": "Lital Hay", "email": address, "orderId": order})
}

fn mail_of_no_order() -> Value {
    json!({"event": "InvoiceCreated", "name": "Lital Hay", "email": "gift@example.com"})
}

/// An invoiced order whose messages were all lost.
async fn invoiced(cloud: &TestCloud, cart: &Value) -> String {
    let order = shop::place(cloud, cart).await;
    shop::invoice(cloud, &order).await;
    cloud.lose_stream();
    order
}

fn addresses(cloud: &TestCloud) -> Vec<String> {
    let taken = cloud.mailer.taken();
    let mut addresses: Vec<_> = taken.into_iter().map(|sent| sent.to).collect();
    addresses.sort();
    addresses
}

/// The rows of the ledger.
async fn rows(cloud: &TestCloud) -> Vec<Row> {
    let scan = cloud.database.client.scan().table_name("EmailsTable");
    scan.send().await.unwrap().items.unwrap_or_default()
}

/// Delivers the messages of the email queue, each one `times` times.
async fn deliver_mails(cloud: &TestCloud, times: usize) {
    for (queue, message) in cloud.queues.take() {
        if queue == Queue::Email {
            for _ in 0..times {
                cloud.deliver(queue, &message).await;
            }
        }
    }
}

/// Promises `count` mails and loses their messages.
async fn promised(cloud: &TestCloud, count: usize) {
    for number in 0..count {
        let key = format!("k{number}");
        let reply = cloud
            .post_with_key(SHIPPING, &key, &mail_of_no_order())
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    drop(cloud.queues.take());
}

/// Damages a row as another version of this service could have done.
async fn change(cloud: &TestCloud, row: &Row, name: &str, value: &str) {
    let update = cloud
        .database
        .client
        .update_item()
        .table_name("EmailsTable");
    let update = update
        .key("emailId", row["emailId"].clone())
        .update_expression("SET #name = :value")
        .expression_attribute_names("#name", name)
        .expression_attribute_values(":value", AttributeValue::S(value.to_owned()));
    update.send().await.unwrap();
}

/// Checks that every mail has ended and that the ledger contains no personal data.
async fn assert_nothing_is_kept(cloud: &TestCloud) {
    for row in rows(cloud).await {
        let printed = format!("{row:?}");
        assert_ne!(row["state"].as_s().unwrap(), "queued", "{printed}");
        for kept in ["message", "keptAt", "dueShard", "dueAt", "dueTries"] {
            assert!(!row.contains_key(kept), "{kept} in {printed}");
        }
        assert!(
            !printed.contains('@') && !printed.contains("Lital"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_refused_does_not_end_the_customers_own_mail() {
    for path in [EMAIL, SHIPPING] {
        let cloud = Cloud::start().await;
        let order = invoiced(&cloud, &cart_with_checkout()).await;
        let refused = (FailureKind::Refused, Some("BadRequestException"));
        cloud.mailer.fail_next(refused.0, refused.1);
        let wrong = mail(&order, "lital.naory@gmail.con");
        let reply = cloud.post(path, &wrong).await;
        let expected = if path == EMAIL { 422 } else { 200 };
        assert_eq!(reply.status, expected, "{}", reply.text);
        deliver_mails(&cloud, 1).await;
        // It is rejected finally, and no other mail is affected.
        if path == EMAIL {
            assert_eq!(cloud.post(path, &wrong).await.code(), "address_rejected");
        }
        let sent = cloud.get(&order).await.body["emails"][0].clone();
        assert_eq!(sent, json!({"event": "InvoiceCreated", "status": "queued"}));

        let right = mail(&order, "lital@example.com");
        assert_eq!(cloud.post(path, &right).await.status, 200);
        deliver_mails(&cloud, 1).await;
        cloud.pass(OVERDUE);
        cloud.sweep().await;
        deliver_mails(&cloud, 2).await;
        assert_eq!(addresses(&cloud), [OWN, "lital@example.com"], "{path}");
        let sent = cloud.get(&order).await.body["emails"][0].clone();
        assert_eq!(sent, json!({"event": "InvoiceCreated", "status": "sent"}));
        assert_nothing_is_kept(&cloud).await;
    }
}

#[tokio::test]
async fn an_address_gets_one_mail_about_an_event_whoever_asks_for_it_and_where() {
    let cloud = Cloud::start().await;
    let order = invoiced(&cloud, &cart_with_checkout()).await;
    for address in [
        OWN,
        "lital.naory@GMAIL.com",
        "gift@example.com",
        "gift@Example.COM",
    ] {
        let mut body = mail(&order, address);
        for (name, key) in [("Lital Hay", "k1"), ("L. Hay", "k2")] {
            body["name"] = name.into();
            for path in [SHIPPING, EMAIL] {
                let key = format!("{key}/{address}");
                assert_eq!(cloud.post_with_key(path, &key, &body).await.status, 200);
                assert_eq!(cloud.post(path, &body).await.status, 200);
            }
            deliver_mails(&cloud, 2).await;
        }
    }
    // The case of the local part may matter: only the receiving server knows.
    let other = mail(&order, "Gift@example.com");
    assert_eq!(cloud.post(EMAIL, &other).await.status, 200);
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    deliver_mails(&cloud, 2).await;
    assert_eq!(
        addresses(&cloud),
        ["Gift@example.com", "gift@example.com", OWN]
    );
    let greeted = cloud.mailer.taken();
    assert!(
        greeted[0].mail.text.contains("Lital Hay"),
        "the first name holds"
    );
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn an_order_without_an_address_has_no_mail_of_its_own_and_writes_to_any_other() {
    let cloud = Cloud::start().await;
    let order = shop::place(&cloud, &cart()).await;
    // Before the invoice, no mailed event has happened, so no row can exist before the order's
    // address is final.
    let early = mail(&order, OWN);
    for path in [EMAIL, SHIPPING] {
        assert_eq!(cloud.post(path, &early).await.code(), "wrong_state");
    }
    assert_eq!(rows(&cloud).await.len(), 0);
    shop::invoice(&cloud, &order).await;
    cloud.lose_stream();
    for address in [OWN, "gift@example.com"] {
        for path in [SHIPPING, EMAIL, SHIPPING] {
            assert_eq!(cloud.post(path, &mail(&order, address)).await.status, 200);
            deliver_mails(&cloud, 1).await;
        }
    }
    assert_eq!(addresses(&cloud), ["gift@example.com", OWN]);
    assert_eq!(cloud.get(&order).await.body["emails"], json!([]));
    let id = OrderId::parse(&order).unwrap();
    let (_, own) = cloud.store.order_and_emails(&id).await.unwrap().unwrap();
    assert!(own.is_empty(), "{own:?}");
}

#[tokio::test]
async fn a_mail_that_was_promised_goes_out_once_though_ses_was_in_trouble_and_its_message_is_gone()
{
    for body in [None, Some(OWN), Some("gift@example.com")] {
        let cloud = Cloud::start().await;
        let order = invoiced(&cloud, &cart_with_checkout()).await;
        let body = body.map_or_else(mail_of_no_order, |address| mail(&order, address));
        for _ in 0..5 {
            cloud
                .mailer
                .fail_next(FailureKind::Throttled, Some("TooManyRequestsException"));
        }
        assert_eq!(cloud.post_with_key(SHIPPING, "k", &body).await.status, 200);
        // Received five times, two minutes apart; then the dead letter is purged.
        let [(queue, message)] = &cloud.queues.take()[..] else {
            panic!("one message");
        };
        for _ in 0..5 {
            assert!(!cloud.deliver(*queue, message).await);
            cloud.pass(Duration::from_mins(2));
        }
        assert!(cloud.mailer.taken().is_empty());
        for _ in 0..3 {
            cloud.sweep().await;
            deliver_mails(&cloud, 2).await;
            cloud.pass(Duration::from_hours(1));
        }
        let asked_for = text(&body["email"]);
        let sent = addresses(&cloud);
        let times = sent.iter().filter(|address| *address == asked_for).count();
        assert_eq!(times, 1, "{asked_for} in {sent:?}");
        assert_nothing_is_kept(&cloud).await;
    }
}

#[tokio::test]
async fn a_mail_is_promised_while_the_email_queue_is_out_and_sent_later() {
    let cloud = Cloud::start().await;
    cloud.queues.set_down(&[Queue::Email]);
    for _ in 0..2 {
        let reply = cloud
            .post_with_key(SHIPPING, "k", &mail_of_no_order())
            .await;
        assert_eq!(
            (reply.status, &reply.text[..]),
            (200, "{\"status\":\"OK\"}")
        );
    }
    // Still down at the first check: the second is two minutes later, the third four.
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    cloud.queues.set_down(&[]);
    cloud.pass(Duration::from_secs(100));
    cloud.sweep().await;
    assert!(cloud.queues.take().is_empty(), "not looked at yet");
    cloud.pass(Duration::from_secs(30));
    cloud.sweep().await;
    deliver_mails(&cloud, 1).await;
    assert_eq!(addresses(&cloud), ["gift@example.com"]);
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn a_promised_mail_whose_message_is_lost_is_published_rarer_and_rarer_until_it_is_sent() {
    let cloud = Cloud::start().await;
    cloud
        .post_with_key(SHIPPING, "k", &mail_of_no_order())
        .await;
    drop(cloud.queues.take());
    let mut minutes = Vec::new();
    for minute in 1..=200 {
        cloud.pass(Duration::from_mins(1));
        cloud.sweep().await;
        if !cloud.queues.take().is_empty() {
            minutes.push(minute);
        }
    }
    assert_eq!(minutes, [2, 4, 8, 16, 32, 64, 124, 184]);
    // A repeat with the key requests it at once; it is the same mail.
    cloud
        .post_with_key(SHIPPING, "k", &mail_of_no_order())
        .await;
    deliver_mails(&cloud, 2).await;
    assert_eq!(addresses(&cloud), ["gift@example.com"]);
    assert_nothing_is_kept(&cloud).await;
    cloud.pass(Duration::from_hours(2));
    cloud.sweep().await;
    assert!(cloud.queues.take().is_empty());
}

#[tokio::test]
async fn a_promised_mail_stays_kept_whatever_the_email_endpoint_makes_of_it_meanwhile() {
    let cloud = Cloud::start().await;
    cloud
        .post_with_key(SHIPPING, "k", &mail_of_no_order())
        .await;
    drop(cloud.queues.take());
    cloud.mailer.fail_next(FailureKind::NotSent, None);
    let reply = cloud.post_with_key(EMAIL, "k", &mail_of_no_order()).await;
    assert_eq!(reply.code(), "mail_unavailable");
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    deliver_mails(&cloud, 2).await;
    assert_eq!(addresses(&cloud), ["gift@example.com"]);
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn a_promise_is_kept_that_is_made_while_another_call_sends_or_after_it_failed() {
    for is_sending in [true, false] {
        let cloud = Cloud::start().await;
        // The email endpoint's try comes first and will not be the last.
        cloud.mailer.fail_next(FailureKind::NotSent, None);
        let body = mail_of_no_order();
        let reply = cloud.post_with_key(EMAIL, "k", &body).await;
        assert_eq!(reply.code(), "mail_unavailable");
        let id = rows(&cloud).await[0]["emailId"].as_s().unwrap().clone();
        let now = cloud.runtime.now();
        let stale = email::CLAIM_STALE_AFTER;
        let claim = if is_sending {
            let claim = cloud.store.claim_email(&id, None, now, stale).await;
            Some(claim.unwrap())
        } else {
            None
        };
        assert_eq!(cloud.post_with_key(SHIPPING, "k", &body).await.status, 200);
        drop(cloud.queues.take());
        if let Some(store::EmailClaim::Yours(holder)) = claim {
            let queued = store::EmailState::Queued;
            let settled = cloud.store.settle_email(&id, &holder, queued, None, now);
            assert!(settled.await.unwrap());
        }
        cloud.pass(OVERDUE);
        cloud.sweep().await;
        deliver_mails(&cloud, 2).await;
        assert_eq!(addresses(&cloud), ["gift@example.com"], "{is_sending}");
        assert_nothing_is_kept(&cloud).await;
    }
}

#[tokio::test]
async fn a_promised_mail_whose_sender_died_is_parked_though_its_message_is_lost() {
    let cloud = Cloud::start().await;
    cloud.post(SHIPPING, &mail_of_no_order()).await;
    let [(_, message)]: [(Queue, Message); 1] = cloud.queues.take().try_into().unwrap();
    // A worker claims the mail and dies; it is unknown whether SES was called.
    let (now, stale) = (cloud.runtime.now(), email::CLAIM_STALE_AFTER);
    let id = message.email_id();
    cloud
        .store
        .claim_email(&id, None, now, stale)
        .await
        .unwrap();
    cloud.pass(stale);
    cloud.sweep().await;
    deliver_mails(&cloud, 2).await;
    assert!(cloud.mailer.taken().is_empty());
    assert_eq!(
        rows(&cloud).await[0]["state"].as_s().unwrap(),
        "unconfirmed"
    );
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn promised_mails_that_fail_or_cannot_be_read_hold_up_no_other_and_are_counted() {
    let cloud = Cloud::start().await;
    promised(&cloud, 250).await;
    let all = rows(&cloud).await;
    for row in &all[..120] {
        change(&cloud, row, "message", "{\"specversion\":\"2.0\"}").await;
    }
    for row in &all[120..130] {
        change(&cloud, row, "state", "translated").await;
    }
    for row in &all[130..140] {
        change(&cloud, row, "dueTries", "many").await;
    }
    let mut counts = Vec::new();
    for _ in 0..3 {
        cloud.pass(OVERDUE);
        let report = cloud.sweep().await.mails;
        counts.push((report.published, report.failed, report.overdue));
        // Mails that are still due are checked later, no matter how soon the sweep runs again.
        assert_eq!(cloud.sweep().await.mails, MailReport::default());
        drop(cloud.queues.take());
    }
    // For an unreadable row, only the next check is moved; an unreadable count is treated as a high
    // one.
    assert_eq!(counts, [(120, 130, 10), (110, 130, 0), (0, 0, 0)]);

    cloud.queues.set_down(&[Queue::Email]);
    cloud.pass(Duration::from_mins(5));
    let report = cloud.sweep().await.mails;
    assert_eq!(
        (report.published, report.failed, report.overdue),
        (0, 240, 240)
    );
    cloud.queues.set_down(&[]);
    cloud.pass(Duration::from_mins(61));
    let report = cloud.sweep().await.mails;
    assert_eq!((report.published, report.failed), (120, 130));
    deliver_mails(&cloud, 2).await;
    assert_eq!(cloud.mailer.taken().len(), 120);
}

#[tokio::test]
async fn a_promised_mail_that_ses_does_not_take_for_three_days_ends_and_nothing_is_kept() {
    let cloud = Cloud::start().await;
    promised(&cloud, 1).await;
    let row = rows(&cloud).await.remove(0);
    change(&cloud, &row, "message", "of another version").await;
    cloud.pass(Duration::from_hours(71));
    assert_eq!(cloud.sweep().await.mails.failed, 1);
    cloud.pass(Duration::from_hours(1));
    let report = cloud.sweep().await.mails;
    assert_eq!((report.given_up, report.failed, report.overdue), (1, 0, 0));
    assert_nothing_is_kept(&cloud).await;
    assert_eq!(rows(&cloud).await[0]["state"].as_s().unwrap(), "failed");
    cloud.pass(Duration::from_hours(2));
    assert_eq!(cloud.sweep().await.mails, MailReport::default());

    // SES provably did not accept it: a caller that requests it again gets a new promise.
    cloud
        .post_with_key(SHIPPING, "k0", &mail_of_no_order())
        .await;
    assert_eq!(rows(&cloud).await[0]["state"].as_s().unwrap(), "queued");
    drop(cloud.queues.take());
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    deliver_mails(&cloud, 2).await;
    assert_eq!(addresses(&cloud), ["gift@example.com"]);
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn a_mail_that_is_being_sent_is_not_given_up() {
    let cloud = Cloud::start().await;
    promised(&cloud, 1).await;
    let id = rows(&cloud).await[0]["emailId"].as_s().unwrap().clone();
    cloud.pass(Duration::from_hours(72));
    let (now, stale) = (cloud.runtime.now(), email::CLAIM_STALE_AFTER);
    cloud
        .store
        .claim_email(&id, None, now, stale)
        .await
        .unwrap();
    let report = cloud.sweep().await.mails;
    assert_eq!((report.given_up, report.published), (0, 1));
    assert!(!cloud.store.give_up_email(&id, None, now).await.unwrap());
}

#[tokio::test]
async fn a_mail_whose_end_was_written_before_its_answer_was_lost_counts_once_as_given_up() {
    let cloud = Cloud::start().await;
    promised(&cloud, 1).await;
    let id = rows(&cloud).await[0]["emailId"].as_s().unwrap().clone();
    let now = cloud.runtime.now();
    for _ in 0..2 {
        assert!(cloud.store.give_up_email(&id, None, now).await.unwrap());
    }
    let later = now.plus(Duration::from_secs(1));
    assert!(!cloud.store.give_up_email(&id, None, later).await.unwrap());
}

#[tokio::test]
async fn a_mail_is_promised_by_the_ledger_or_not_at_all() {
    let cloud = Cloud::start().await;
    let tables = Tables {
        emails: None,
        ..Database::tables()
    };
    let client = cloud.database.client.clone();
    let store = Store::new(client, tables, cloud.runtime.clone());
    let queues = cloud.queues.clone();
    let shipments = Shipments::new(store, OwnCarrier, queues, cloud.runtime.clone());
    let handler = Handler::new(shipments, Authentication::None);
    let answer = invoke(&handler, &request(SHIPPING, &mail_of_no_order())).await;
    assert_eq!(answer["statusCode"], 500);
    assert!(cloud.queues.take().is_empty());
}

/// An order's mails as shown in a mail client and to an operator.
async fn shown_mails(cloud: &TestCloud, order: &str) -> Value {
    cloud.get(order).await.body["emails"].clone()
}

#[tokio::test]
async fn a_shop_without_a_sender_sends_no_mails_and_waits_for_none() {
    let options = Options {
        sends_mails: false,
        ..Options::default()
    };
    for is_cancelled in [false, true] {
        let cloud = Cloud::with(options).await;
        let order = shop::place(&cloud, &cart_with_checkout()).await;
        if is_cancelled {
            cloud.relay_stream().await;
            let body = json!({ "orderId": order, "customerId": "8080" });
            let reply = cloud.post("/api/order/cancel.json", &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        for _ in 0..6 {
            cloud.relay_stream().await;
            for (queue, message) in cloud.queues.take() {
                assert_ne!(queue, Queue::Email, "{message:?}");
                cloud.deliver(queue, &message).await;
            }
        }
        let shown = cloud.get(&order).await.body;
        let status = if is_cancelled { "cancelled" } else { "shipped" };
        assert_eq!(shown["status"], status);
        assert_eq!(
            (&shown["emails"], &shown["due"]),
            (&json!([]), &Value::Null)
        );

        let body = mail(&order, OWN);
        for (path, body) in [
            (EMAIL, &body),
            (SHIPPING, &body),
            (EMAIL, &mail_of_no_order()),
        ] {
            let reply = cloud.post(path, body).await;
            assert_eq!((reply.status, reply.code()), (409, "mail_not_configured"));
            assert!(reply.text.contains("SenderEmail"), "{}", reply.text);
        }
        cloud.pass(OVERDUE);
        let report = cloud.sweep().await;
        assert_eq!((report.published, report.overdue), (0, 0));
        assert!(cloud.queues.take().is_empty());
        assert_eq!(rows(&cloud).await, Vec::<Row>::new());
    }
}

#[tokio::test]
async fn what_waits_for_mails_waits_no_longer_once_the_sender_is_gone() {
    let cloud = Cloud::start().await;
    promised(&cloud, 1).await;
    let order = shop::place(&cloud, &cart_with_checkout()).await;
    cloud
        .settle_through(&[Queue::Billing, Queue::Payment, Queue::Shipment])
        .await;
    cloud.relay_stream().await;
    drop(cloud.queues.take());
    assert_eq!(cloud.get(&order).await.body["due"]["step"], "email");

    let options = Options {
        sends_mails: false,
        ..Options::default()
    };
    let runtime = cloud.runtime.clone();
    let cloud = cloud.redeployed(
        options,
        payment::partners::Sandbox::new(runtime),
        OwnCarrier,
    );
    cloud.pass(OVERDUE);
    let report = cloud.sweep().await;
    assert_eq!((report.settled, report.mails.given_up), (1, 1));
    assert!(cloud.queues.take().is_empty());
    assert_eq!(cloud.get(&order).await.body["due"], Value::Null);
    assert_nothing_is_kept(&cloud).await;
}

#[tokio::test]
async fn a_mail_of_the_chain_that_ses_does_not_take_for_days_ends_and_is_counted_once() {
    for has_row in [true, false] {
        let cloud = Cloud::start().await;
        let order = shop::place(&cloud, &cart_with_checkout()).await;
        cloud
            .settle_through(&[Queue::Billing, Queue::Payment, Queue::Shipment])
            .await;
        if has_row {
            for _ in 0..3 {
                cloud
                    .mailer
                    .fail_next(FailureKind::Refused, Some("MessageRejected"));
            }
            cloud.pass(OVERDUE);
            cloud.sweep().await;
            deliver_mails(&cloud, 1).await;
        }
        let mut given_up = 0;
        let mut hours = 0;
        while cloud.get(&order).await.body["due"] != Value::Null {
            cloud.pass(Duration::from_hours(1));
            hours += 1;
            assert!(hours < 80, "it never ends");
            let report = cloud.sweep().await;
            given_up += report.mails_given_up;
            assert!(given_up == 0 || hours >= 72, "{hours} hours");
            drop(cloud.queues.take());
        }
        assert_eq!(given_up, 3);
        let failed = |event: &str| json!({"event": event, "status": "failed"});
        let expected = ["InvoiceCreated", "PaymentProcessed", "OrderShipped"].map(failed);
        assert_eq!(shown_mails(&cloud, &order).await, json!(expected));
        assert!(cloud.mailer.taken().is_empty());
        // A caller that requests it again gets it.
        assert_eq!(cloud.post(EMAIL, &mail(&order, OWN)).await.status, 200);
        assert_eq!(addresses(&cloud), [OWN]);
    }
}

#[tokio::test]
async fn a_mail_that_nobody_has_tried_to_send_is_not_given_up_after_an_outage_of_days() {
    let cloud = Cloud::start().await;
    let order = invoiced(&cloud, &cart_with_checkout()).await;
    cloud.pass(Duration::from_hours(24 * 10));
    assert_eq!(cloud.sweep().await.mails_given_up, 0);
    deliver_mails(&cloud, 1).await;
    assert_eq!(addresses(&cloud), [OWN]);
    let sent = json!({"event": "InvoiceCreated", "status": "sent"});
    assert_eq!(shown_mails(&cloud, &order).await[0], sent);
}

#[tokio::test]
async fn no_value_of_an_order_becomes_a_link_in_its_mails() {
    let cloud = Cloud::start().await;
    let mut cart = cart_with_checkout();
    let (web, address) = ("win.evil.example", "a@evil.example");
    cart["items"][0]["productId"] = web.into();
    cart["checkout"]["name"] = format!("Lital {address}").into();
    cart["checkout"]["shipping_address"] = format!("17 boulevard, see {web} or {address}").into();
    let reply = cloud.post(CART, &cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    cloud.settle().await;
    let taken = cloud.mailer.taken();
    assert_eq!(taken.len(), 3);
    for sent in taken {
        for part in [sent.mail.subject, sent.mail.html, sent.mail.text] {
            assert!(!part.contains(".evil") && !part.contains("@evil"), "{part}");
            assert!(!part.contains("evil.e"), "{part}");
        }
    }
}
