//! The automatic path from cart to shipment, and its recovery when something on the way is lost.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventType, OrderId};
use futures_util::future::join_all;
use messages::queue::Queue;
use messages::{Message, MessageKind};
use platform::aws::FailureKind;
use serde_json::{Value, json};
use tests::{Cloud, Database};

use crate::contract::{cart, cart_with_checkout, invoice, payment, text};

const CART: &str = "/api/order/cart.json";

/// Longer than the time until the sweep's first check.
const OVERDUE: Duration = Duration::from_secs(130);

async fn place(cloud: &Cloud<payment::partners::Sandbox>, customer: &str) -> String {
    let mut cart = cart_with_checkout();
    cart["customerId"] = customer.into();
    let reply = cloud.post(CART, &cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    text(&reply.body["orderId"]).to_owned()
}

async fn status(cloud: &Cloud<payment::partners::Sandbox>, order: &str) -> String {
    text(&cloud.get(order).await.body["status"]).to_owned()
}

fn subjects(cloud: &Cloud<payment::partners::Sandbox>) -> Vec<String> {
    let mut subjects: Vec<_> = cloud
        .mailer
        .taken()
        .into_iter()
        .map(|sent| sent.mail.subject)
        .collect();
    subjects.sort();
    subjects
}

fn assert_three_mails(cloud: &Cloud<payment::partners::Sandbox>, order: &str) {
    assert_eq!(
        subjects(cloud),
        [
            format!("We received your payment for order {order}"),
            format!("Your invoice for order {order}"),
            format!("Your order {order} is on its way"),
        ]
    );
}

#[tokio::test]
async fn a_cart_with_checkout_goes_all_the_way_and_the_customer_gets_three_mails() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    cloud.settle().await;

    let body = cloud.get(&order).await.body;
    let tracking = body["tracking_number"].as_u64().expect("a number");
    let transaction = body["payment"]["transactionId"].as_u64().expect("a number");
    let invoice_id = order.replace("ord_", "inv_");
    let at = "2026-11-23T10:12:05+00:00";
    assert_eq!(
        body,
        json!({
            "orderId": order, "customerId": "8080", "status": "shipped", "currency": "USD",
            "tax": serde_json::from_str::<Value>("36.0").unwrap(),
            "subTotalAmount": serde_json::from_str::<Value>("164.0").unwrap(),
            "totalAmount": serde_json::from_str::<Value>("200.0").unwrap(),
            "items": [
                {"productId": "1234", "quantity": 2, "price": 50},
                {"productId": "2345", "quantity": 1, "price": 100}
            ],
            "invoiceId": invoice_id,
            "payment": {
                "state": "captured", "attempt": 1, "partner": "sandbox", "reference": format!("sandbox_{invoice_id}_1"),
                "transactionId": transaction, "brand": "visa", "lastDigits": "4242"
            },
            "tracking_number": tracking,
            "emails": [
                {"event": "InvoiceCreated", "status": "sent"},
                {"event": "PaymentProcessed", "status": "sent"},
                {"event": "OrderShipped", "status": "sent"}
            ],
            "timeline": [
                {"event": "CartUpdated", "at": at},
                {"event": "InvoiceCreated", "at": at},
                {"event": "PaymentProcessed", "at": at},
                {"event": "OrderShipped", "at": at}
            ],
            "due": {"step": "email", "at": "2026-11-23T10:14:05+00:00", "tries": 0}
        })
    );
    assert_three_mails(&cloud, &order);
    let mails = cloud.mailer.taken();
    for sent in &mails {
        assert_eq!(sent.to, "lital.naory@gmail.com");
        for shown in ["Lital Hay", "1234", "2345", "200.00", "36.00"] {
            assert!(
                sent.mail.html.contains(shown),
                "{shown} in {}",
                sent.mail.html
            );
            assert!(
                sent.mail.text.contains(shown),
                "{shown} in {}",
                sent.mail.text
            );
        }
    }
    assert!(mails[2].mail.text.contains(&tracking.to_string()));

    // The sweep finds that every mail has ended, so the order no longer waits for anything.
    cloud.pass(OVERDUE);
    assert_eq!(cloud.sweep().await.settled, 1);
    assert_eq!(cloud.get(&order).await.body.get("due"), None);
    assert_eq!(cloud.sweep().await, relay::SweepReport::default());
}

#[tokio::test]
async fn a_cart_without_checkout_waits_for_its_invoice() {
    let cloud = Cloud::start().await;
    let reply = cloud.post(CART, &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    cloud.settle().await;
    cloud.pass(OVERDUE);
    assert_eq!(cloud.sweep().await, relay::SweepReport::default());
    assert_eq!(status(&cloud, &order).await, "pending");

    // The invoice starts the chain; without an address, no mails are sent.
    assert_eq!(
        cloud
            .post("/api/order/invoice.json", &invoice(&order))
            .await
            .status,
        201
    );
    cloud.settle().await;
    let body = cloud.get(&order).await.body;
    assert_eq!(
        (&body["status"], &body["emails"]),
        (&json!("shipped"), &json!([]))
    );
    assert_eq!(body.get("due"), None);
    assert!(cloud.mailer.taken().is_empty());
}

#[tokio::test]
async fn an_invoice_keeps_the_address_of_the_carts_checkout() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    assert_eq!(
        cloud
            .post("/api/order/invoice.json", &invoice(&order))
            .await
            .status,
        201
    );
    cloud.settle().await;
    assert_three_mails(&cloud, &order);
}

#[tokio::test]
async fn a_cart_updated_without_checkout_is_not_invoiced_by_itself() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let mut update = cart();
    update["orderId"] = order.as_str().into();
    assert_eq!(cloud.post(CART, &update).await.status, 200);
    cloud.settle().await;
    assert_eq!(status(&cloud, &order).await, "pending");
}

#[tokio::test]
async fn with_a_dead_stream_the_sweep_brings_an_order_on_step_by_step() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    for expected in ["invoiced", "paid", "shipped", "shipped"] {
        cloud.lose_stream();
        cloud.pass(OVERDUE);
        assert_eq!(cloud.sweep().await.published, 1, "{expected}");
        for (queue, message) in cloud.queues.take() {
            assert!(cloud.deliver(queue, &message).await);
        }
        assert_eq!(status(&cloud, &order).await, expected);
    }
    assert_three_mails(&cloud, &order);
}

#[tokio::test]
async fn mails_of_steps_that_were_called_while_the_stream_was_dead_go_out_in_the_end() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    cloud
        .post("/api/order/invoice.json", &invoice(&order))
        .await;
    let body = payment(&order.replace("ord_", "inv_"));
    cloud.post("/api/order/payment.json", &body).await;
    cloud
        .post(
            "/api/order/shipping.json",
            &crate::contract::shipping(&order),
        )
        .await;
    assert_eq!(status(&cloud, &order).await, "shipped");
    cloud.lose_stream();
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    cloud.settle().await;
    assert_three_mails(&cloud, &order);
}

#[tokio::test]
async fn every_lost_message_is_published_again_and_doubled_ones_do_nothing() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    // Every message is lost once and then arrives twice.
    for _ in 0..12 {
        cloud.relay_stream().await;
        drop(cloud.queues.take());
        cloud.pass(Duration::from_secs(3_700));
        cloud.sweep().await;
        for (queue, message) in cloud.queues.take() {
            for _ in 0..2 {
                assert!(cloud.deliver(queue, &message).await, "{queue:?}");
            }
        }
    }
    assert_three_mails(&cloud, &order);
    let body = cloud.get(&order).await.body;
    assert_eq!(
        (&body["status"], body.get("due")),
        (&json!("shipped"), None)
    );
}

#[tokio::test]
async fn a_sweep_that_helps_nothing_looks_rarer_and_reports_the_order_overdue() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-outage").await;
    cloud.settle().await;
    assert_eq!(status(&cloud, &order).await, "invoiced");
    let mut overdue = Vec::new();
    for _ in 0..4 {
        cloud.pass(Duration::from_secs(3_700));
        overdue.push(cloud.sweep().await.overdue);
        cloud.settle().await;
    }
    assert_eq!(overdue, [0, 0, 1, 1]);
    let due = cloud.get(&order).await.body["due"].clone();
    assert_eq!(
        (&due["step"], &due["tries"]),
        (&json!("payment"), &json!(4))
    );
    // It was published a moment ago and is not checked again yet.
    cloud.pass(Duration::from_mins(1));
    assert_eq!(cloud.sweep().await.published, 0);
}

/// The write of `make ops-overdue REQUEUE=…` (`ops/actions.py`).
async fn requeue(cloud: &Cloud<payment::partners::Sandbox>, order: &str) {
    let write = cloud.database.client.update_item();
    write
        .table_name(Database::tables().orders.unwrap())
        .key("orderId", AttributeValue::S(order.to_owned()))
        .update_expression("SET dueAt = :now, requeuedAt = :now REMOVE #event")
        .condition_expression("attribute_exists(dueStep) AND dueAt > :now")
        .expression_attribute_names("#event", "event")
        .expression_attribute_values(
            ":now",
            AttributeValue::N(cloud.runtime.now().millis().to_string()),
        )
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_look_that_an_operator_asked_for_publishes_and_counts_as_no_try() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-outage").await;
    cloud.settle().await;
    for _ in 0..6 {
        requeue(&cloud, &order).await;
        let report = cloud.sweep().await;
        assert_eq!((report.published, report.overdue), (1, 0));
        cloud.settle().await;
    }
    assert_eq!(cloud.get(&order).await.body["due"]["tries"], 0);
    // The sweep's regular check comes as early as without the operator's request, and counts.
    cloud.pass(OVERDUE);
    assert_eq!(cloud.sweep().await.published, 1);
    assert_eq!(cloud.get(&order).await.body["due"]["tries"], 1);
}

#[tokio::test]
async fn an_order_that_waits_for_its_customer_is_looked_at_but_not_overdue() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-action-required").await;
    cloud.settle().await;
    for _ in 0..4 {
        cloud.pass(Duration::from_secs(3_700));
        let report = cloud.sweep().await;
        assert_eq!((report.published, report.overdue), (1, 0));
        cloud.settle().await;
    }
    let body = cloud.get(&order).await.body;
    assert_eq!(body["payment"]["state"], "action_required");
}

#[tokio::test]
async fn a_declined_payment_stays_declined_whatever_is_delivered_and_its_mail_still_goes_out() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-stolen-card").await;
    cloud.relay_stream().await;
    for (queue, message) in cloud.queues.take() {
        assert!(cloud.deliver(queue, &message).await);
    }
    cloud.relay_stream().await;
    for (queue, message) in cloud.queues.take() {
        if queue == Queue::Payment {
            for _ in 0..5 {
                assert!(
                    cloud.deliver(queue, &message).await,
                    "final: the message is done"
                );
            }
        }
        // The mail's message is lost.
    }
    let body = cloud.get(&order).await.body;
    assert_eq!(body["status"], "invoiced");
    assert_eq!(body["payment"]["state"], "declined");
    assert_eq!(body["payment"]["attempt"], 1);
    assert_eq!(body["payment"]["declineCode"], "stolen_card");
    assert_eq!(body["due"]["step"], "email");
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    cloud.settle().await;
    assert_eq!(
        subjects(&cloud),
        [format!("Your invoice for order {order}")]
    );
}

#[tokio::test]
async fn a_pending_payment_is_captured_once_the_partner_has_settled_it() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-pending").await;
    cloud.settle().await;
    assert_eq!(cloud.get(&order).await.body["payment"]["state"], "pending");
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    cloud.settle().await;
    assert_eq!(status(&cloud, &order).await, "shipped");
    assert_three_mails(&cloud, &order);
}

#[tokio::test]
async fn a_mail_that_is_refused_or_unconfirmed_ends_and_the_order_waits_for_nothing() {
    let cloud = Cloud::start().await;
    cloud
        .mailer
        .fail_next(FailureKind::Refused, Some("BadRequestException"));
    cloud.mailer.fail_next(FailureKind::ServerFault, None);
    let order = place(&cloud, "8080").await;
    cloud.settle().await;
    let body = cloud.get(&order).await.body;
    assert_eq!(
        body["emails"],
        json!([
            {"event": "InvoiceCreated", "status": "rejected"},
            {"event": "PaymentProcessed", "status": "unconfirmed"},
            {"event": "OrderShipped", "status": "sent"}
        ])
    );
    cloud.pass(OVERDUE);
    assert_eq!(cloud.sweep().await.settled, 1);
    assert_eq!(cloud.mailer.taken().len(), 1);
}

#[tokio::test]
async fn a_function_that_died_around_ses_leaves_a_mail_that_is_parked_not_sent_again() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let id = domain::OrderId::parse(&order).unwrap();
    // A worker claims the first mail and dies; it is unknown whether SES was called.
    let email = format!("{order}/InvoiceCreated");
    let stale = email::CLAIM_STALE_AFTER;
    cloud
        .store
        .claim_email(&email, Some(&id), cloud.runtime.now(), stale)
        .await
        .unwrap();
    cloud.settle().await;
    assert_eq!(cloud.mailer.taken().len(), 2, "the other two");
    cloud.pass(stale);
    cloud.sweep().await;
    cloud.settle().await;
    let emails = cloud.get(&order).await.body["emails"].clone();
    assert_eq!(emails[0]["status"], "unconfirmed");
    assert_eq!(cloud.mailer.taken().len(), 2);
}

#[tokio::test]
async fn five_copies_of_every_message_at_once_and_one_late_have_one_effect() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let mut seen = Vec::new();
    while status(&cloud, &order).await != "shipped" || seen.len() < 6 {
        cloud.relay_stream().await;
        let messages = cloud.queues.take();
        assert!(!messages.is_empty(), "the chain goes on by itself");
        for (queue, message) in messages {
            let copies = (0..5).map(|_| cloud.deliver(queue, &message));
            let done = join_all(copies).await;
            assert!(done.contains(&true), "{queue:?}");
            seen.push((queue, message));
        }
    }
    assert_three_mails(&cloud, &order);
    let before = cloud.get(&order).await.text;
    cloud.pass(Duration::from_hours(30));
    for (queue, message) in &seen {
        assert!(cloud.deliver(*queue, message).await, "{queue:?}");
    }
    assert_three_mails(&cloud, &order);
    assert_eq!(cloud.get(&order).await.text, before);
}

#[tokio::test]
async fn dead_letters_that_are_redriven_after_the_order_is_shipped_do_nothing() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let mut dead = Vec::new();
    for _ in 0..6 {
        // No published message arrives; the sweep publishes them again.
        cloud.relay_stream().await;
        dead.extend(cloud.queues.take());
        cloud.pass(Duration::from_secs(3_700));
        cloud.sweep().await;
        cloud.settle().await;
    }
    assert_eq!(status(&cloud, &order).await, "shipped");
    assert_three_mails(&cloud, &order);
    assert!(!dead.is_empty());
    let before = cloud.get(&order).await.text;
    for (queue, message) in &dead {
        assert!(cloud.deliver(*queue, message).await, "{queue:?}");
    }
    assert_three_mails(&cloud, &order);
    assert_eq!(cloud.get(&order).await.text, before);
}

#[tokio::test]
async fn a_shipment_that_comes_before_its_payment_is_kept_until_it_can_be_done() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let id = OrderId::parse(&order).unwrap();
    let early = Message {
        id: format!("{order}/3"),
        kind: MessageKind::Event(EventType::PaymentProcessed),
        order: Some(id),
        time: cloud.runtime.now(),
        traceparent: None,
        mail: None,
    };
    assert!(!cloud.deliver(Queue::Shipment, &early).await);
    assert_eq!(status(&cloud, &order).await, "pending");
    cloud.settle().await;
    assert!(cloud.deliver(Queue::Shipment, &early).await);
    assert_eq!(status(&cloud, &order).await, "shipped");
    assert_three_mails(&cloud, &order);
}

#[tokio::test]
async fn a_mail_of_a_sender_that_is_not_verified_waits_and_goes_out_once_it_is() {
    let cloud = Cloud::start().await;
    for _ in 0..3 {
        cloud.mailer.fail_next(
            FailureKind::Refused,
            Some("MailFromDomainNotVerifiedException"),
        );
    }
    let order = place(&cloud, "8080").await;
    cloud.settle().await;
    let body = cloud.get(&order).await.body;
    assert_eq!(body["status"], "shipped");
    assert_eq!(body["emails"][0]["status"], "queued");
    assert!(cloud.mailer.taken().is_empty());
    // From here on the sender is verified.
    cloud.pass(Duration::from_secs(3_700));
    cloud.sweep().await;
    cloud.settle().await;
    assert_three_mails(&cloud, &order);
}
