//! How the functions run on Lambda: batches, streams, schedules, and every event in `events/`.

use std::collections::BTreeSet;

use domain::OrderId;
use messages::Message;
use messages::queue::Queue;
use platform::config::Authentication;
use serde_json::{Value, json};
use service::error::Error;
use service::http::{Answer, Call, Route};
use service::lambda::{Consumed, Function, Handler};
use shipment::Shipments;
use shipment::carriers::Own;
use tests::{Cloud, batch, invoke};

use crate::contract::{cart, cart_with_checkout, invoice, text};
use crate::shop;

/// The real service, except that one order makes it panic.
struct PanicsOn<F>(F, OrderId);

impl<F: Function> Function for PanicsOn<F> {
    const ROUTES: &'static [Route] = F::ROUTES;

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        assert!(call.key.is_none(), "a request with a key makes this panic");
        self.0.answer(call).await
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        assert!(message.order != Some(self.1), "this order makes it panic");
        self.0.consume(message).await
    }
}

async fn place(cloud: &Cloud<payment::partners::Sandbox>) -> String {
    shop::place(cloud, &cart()).await
}

/// Places and pays an order; returns its ID and the message that requests its shipment.
async fn paid(cloud: &Cloud<payment::partners::Sandbox>) -> (String, String) {
    let order = place(cloud).await;
    shop::invoice(cloud, &order).await;
    assert_eq!(shop::pay(cloud, &order).await.status, 201);
    cloud.relay_stream().await;
    let (_, message) = cloud
        .queues
        .take()
        .into_iter()
        .find(|(queue, _)| *queue == Queue::Shipment)
        .expect("a paid order is to be shipped");
    (order, message.to_json().unwrap())
}

#[tokio::test]
async fn in_a_batch_of_ten_a_bad_a_panicking_and_an_early_message_fail_alone() {
    let cloud = Cloud::start().await;
    let mut orders = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..8 {
        let (order, message) = paid(&cloud).await;
        orders.push(order);
        bodies.push(message);
    }
    let early = place(&cloud).await;
    bodies.push(bodies[7].replace(&orders[7], &early));
    bodies.push("{\"not\": \"an event\"}".to_owned());
    let panicking = OrderId::parse(&orders[3]).unwrap();

    let queues = cloud.queues.clone();
    let real = Shipments::new(cloud.store.clone(), Own, queues, cloud.runtime.clone());
    let handler = Handler::new(PanicsOn(real, panicking), Authentication::None);
    let answer = invoke(&handler, &batch(&bodies)).await;
    assert_eq!(
        answer,
        json!({"batchItemFailures": [
            {"itemIdentifier": "3"}, {"itemIdentifier": "8"}, {"itemIdentifier": "9"}
        ]})
    );
    for (index, order) in orders.iter().enumerate() {
        let expected = if index == 3 { "paid" } else { "shipped" };
        assert_eq!(cloud.get(order).await.body["status"], expected, "{index}");
    }
    assert_eq!(cloud.get(&early).await.body["status"], "pending");
}

#[tokio::test]
async fn a_request_that_panics_is_a_500_that_shows_nothing() {
    let cloud = Cloud::start().await;
    let queues = cloud.queues.clone();
    let real = Shipments::new(cloud.store.clone(), Own, queues, cloud.runtime.clone());
    let none = OrderId::from_time(0, [0; 10]);
    let handler = Handler::new(PanicsOn(real, none), Authentication::None);
    let mut event = tests::request("/api/order/shipping.json", &json!({}));
    event["headers"]["idempotency-key"] = "k".into();
    let answer = invoke(&handler, &event).await;
    assert_eq!(answer["statusCode"], 500);
    let body = text(&answer["body"]);
    assert!(
        body.contains("internal_error") && !body.contains("panic"),
        "{body}"
    );
}

#[tokio::test]
async fn an_empty_batch_has_no_failures() {
    let cloud = Cloud::start().await;
    let empty = json!({"Records": []});
    for queue in [
        Queue::Billing,
        Queue::Payment,
        Queue::Shipment,
        Queue::Email,
    ] {
        assert!(cloud.deliver_batch(queue, &empty).await.is_empty());
    }
}

#[tokio::test]
async fn a_queue_that_refuses_holds_back_no_record_and_its_messages_are_left_to_the_sweep() {
    let cloud = Cloud::start().await;
    // A cart needs the billing queue, an invoice without an address the payment queue.
    let carted = cloud
        .post("/api/order/cart.json", &cart_with_checkout())
        .await;
    let invoiced = place(&cloud).await;
    cloud
        .post("/api/order/invoice.json", &invoice(&invoiced))
        .await;
    cloud.queues.set_down(&[Queue::Billing]);
    assert_eq!(cloud.relay_stream().await, [""; 0]);
    let taken = cloud.queues.take();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, Queue::Payment);

    cloud.queues.set_down(&[]);
    cloud.pass(std::time::Duration::from_secs(130));
    cloud.sweep().await;
    let published = cloud.queues.take();
    let of_cart = published
        .iter()
        .filter(|(queue, _)| *queue == Queue::Billing);
    let of_cart: Vec<_> = of_cart.filter_map(|(_, message)| message.order).collect();
    let order = OrderId::parse(text(&carted.body["orderId"])).unwrap();
    assert_eq!(of_cart, [order]);
}

#[tokio::test]
async fn a_damaged_record_fails_alone() {
    let cloud = Cloud::start().await;
    cloud
        .post("/api/order/cart.json", &cart_with_checkout())
        .await;
    let good = cloud.database.stream_records(0).remove(0);
    let mut damaged = good.clone();
    damaged["dynamodb"]["SequenceNumber"] = "7".into();
    damaged["dynamodb"]["NewImage"]["total"] = json!({"S": "a lot"});
    let mut shapeless = good.clone();
    shapeless["dynamodb"] = json!({"SequenceNumber": "8", "NewImage": 5});
    let mut removed = good.clone();
    removed["dynamodb"]
        .as_object_mut()
        .unwrap()
        .remove("NewImage");
    let records: Vec<_> = [damaged, removed, shapeless, good]
        .iter()
        .map(|record| serde_json::value::to_raw_value(record).unwrap())
        .collect();
    let records: Vec<_> = records.iter().map(AsRef::as_ref).collect();
    let failures = cloud.relay().relay(&records).await;
    assert_eq!(failures.sequence_numbers(), ["7", "8"]);
    assert_eq!(cloud.queues.take().len(), 1);
}

#[tokio::test]
async fn only_transitions_pass_the_streams_filter() {
    let cloud = Cloud::start().await;
    let (_, _) = paid(&cloud).await;
    let records = cloud.database.stream_records(0);
    let with_event =
        |record: &&Value| record["dynamodb"]["NewImage"]["event"]["M"]["id"]["S"].is_string();
    // Cart, invoice, claim, reference, payment: five writes, three transitions.
    assert_eq!(
        (records.len(), records.iter().filter(with_event).count()),
        (5, 3)
    );
}

#[tokio::test]
async fn every_event_of_the_events_folder_is_understood() {
    let cloud = Cloud::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
    let mut seen = BTreeSet::new();
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let event: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        match name.as_str() {
            "orders-stream" | "schedule" => {
                let payload = serde_json::value::to_raw_value(&event).unwrap();
                let event =
                    lambda_runtime::LambdaEvent::new(payload, lambda_runtime::Context::default());
                let answer = cloud.relay().handle(event).await.unwrap();
                let expected = if name == "schedule" {
                    "published"
                } else {
                    "batchItemFailures"
                };
                let answer: Value = serde_json::from_str(answer.get()).unwrap();
                assert!(answer.get(expected).is_some(), "{name}: {answer}");
                if name == "orders-stream" {
                    let queues: Vec<_> = cloud
                        .queues
                        .take()
                        .into_iter()
                        .map(|(queue, _)| queue)
                        .collect();
                    assert_eq!(queues, [Queue::Payment, Queue::Email]);
                }
            }
            "billing-queue" | "payment-queue" | "shipment-queue" => {
                let queue = match name.as_str() {
                    "billing-queue" => Queue::Billing,
                    "payment-queue" => Queue::Payment,
                    _ => Queue::Shipment,
                };
                // The order is not in this database: the message is kept and not lost.
                assert_eq!(cloud.deliver_batch(queue, &event).await.len(), 1, "{name}");
            }
            // The mail is not in this database, so there is nothing to record.
            "email-feedback-queue" => {
                assert!(cloud.deliver_batch(Queue::Email, &event).await.is_empty());
            }
            "email-queue" => {
                assert!(cloud.deliver_batch(Queue::Email, &event).await.is_empty());
                assert!(
                    cloud
                        .mailer
                        .taken()
                        .iter()
                        .any(|sent| sent.mail.subject.contains("ord_"))
                );
            }
            _ => {
                let expected = match name.as_str() {
                    "cart" => (201, ""),
                    "email" | "customer-get" | "webhook" | "health" | "orders" => (200, ""),
                    "customer-post" => (201, ""),
                    "payment" => (404, "invoice_not_found"),
                    "invoice" | "shipping" | "order" | "cancel" | "refund" => {
                        (404, "order_not_found")
                    }
                    "customer-delete" => (404, "billing_agreement_not_found"),
                    other => panic!("events/{other}.json has no test"),
                };
                let reply = cloud.send(&event).await;
                assert_eq!(
                    (reply.status, reply.code()),
                    expected,
                    "{name}: {}",
                    reply.text
                );
            }
        }
        seen.insert(name);
    }
    assert_eq!(seen.len(), 21, "{seen:?}");
}
