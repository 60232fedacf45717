//! How callers and operators identify a request, and how they find the logs of an order.

use std::collections::BTreeSet;

use messages::queue::Queue;
use platform::config::Authentication;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use service::lambda::Handler;
use tests::{Cloud, REQUEST_ID, request};

use crate::contract::{cart, cart_with_checkout, text};
use crate::privacy::Log;
use crate::shop;

/// The lines that are not about a single order.
const OF_NO_ORDER: [&str; 1] = ["swept"];

fn health() -> Value {
    serde_json::from_str(include_str!("../../events/health.json")).unwrap()
}

/// All lines of the log.
fn lines(log: &Log) -> Vec<Value> {
    let logged = log.text();
    let lines = logged
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    // Without the metrics, which have their own format, and without the logs of the test's
    // database.
    let is_ours =
        |line: &Value| line["_aws"].is_null() && !text(&line["target"]).starts_with("dynoxide");
    lines.filter(is_ours).collect()
}

#[tokio::test]
async fn every_answer_and_every_problem_names_its_request_as_its_log_does() {
    let cloud = Cloud::start().await;
    let log = Log::default();
    let _listening = log.listen();
    let order = shop::place(&cloud, &cart()).await;
    let mut not_json = request("/api/order/cart.json", &cart());
    not_json["body"] = "{".into();
    let mut not_readable = request("/api/order/cart.json", &cart());
    not_readable["rawPath"] = 7.into();
    let mut no_route = request("/api/order/cart.json", &cart());
    no_route["routeKey"] = "$default".into();
    no_route["requestContext"]["routeKey"] = "$default".into();
    no_route["rawPath"] = "/api/nothing".into();
    no_route["requestContext"]["http"]["path"] = "/api/nothing".into();
    let pay = json!({"customerId": "8080", "invoiceId": order.replace("ord_", "inv_"), "totalAmount": 200.0});
    let mut answers = vec![
        cloud.send(&health()).await,
        cloud.get(&order).await,
        cloud.get("ord_01JDB4XK00EXAMPVE0RDER0001").await,
        cloud
            .post("/api/order/cart.json", &json!({"items": 7}))
            .await,
        cloud.post("/api/order/payment.json", &pay).await,
        cloud.send(&not_json).await,
        cloud.send(&not_readable).await,
        cloud.send(&no_route).await,
    ];
    let item = cloud
        .database
        .client
        .delete_table()
        .table_name("OrdersTable");
    item.send().await.unwrap();
    answers.push(cloud.get(&order).await);
    let statuses: BTreeSet<u64> = answers.iter().map(|answer| answer.status).collect();
    assert!(statuses.len() >= 5, "{statuses:?}");
    for answer in answers {
        assert_eq!(answer.header("x-request-id"), REQUEST_ID, "{}", answer.text);
        if answer.status >= 400 {
            assert_eq!(answer.body["requestId"], REQUEST_ID, "{}", answer.text);
        }
    }
    for line in lines(&log) {
        assert_eq!(line["request_id"], REQUEST_ID, "{line}");
    }
}

#[tokio::test]
async fn each_request_has_the_id_of_its_own_invocation() {
    let cloud = Cloud::start().await;
    let handler = Handler::new(
        order::Orders::new(cloud.store.clone(), cloud.runtime.clone()),
        Authentication::None,
    );
    for id in ["8476a536-e9f4-11e8-9739-2dfe598c3fcd", "79104EXAMPLEB723"] {
        let mut context = lambda_runtime::Context::default();
        id.clone_into(&mut context.request_id);
        let event = lambda_runtime::LambdaEvent::new(to_raw_value(&health()).unwrap(), context);
        let answer: Value =
            serde_json::from_str(handler.handle(event).await.unwrap().get()).unwrap();
        assert_eq!(answer["headers"]["x-request-id"], id, "{answer}");
    }
}

#[tokio::test]
async fn the_health_route_is_open_and_reads_nothing() {
    let cloud = Cloud::start().await;
    cloud.database.capacity.reset();
    let handler = Handler::new(
        order::Orders::new(cloud.store.clone(), cloud.runtime.clone()),
        Authentication::Jwt {
            backend_scope: "orderflow/backend".parse().unwrap(),
            customer_claim: "sub".to_owned(),
        },
    );
    let answer = tests::invoke(&handler, &health()).await;
    assert_eq!(
        (&answer["statusCode"], &answer["body"]),
        (&json!(200), &json!("{\"status\":\"OK\"}"))
    );
    assert!(cloud.database.capacity.by_operation().is_empty());
    // No other method, and no other path below it.
    for (method, path) in [
        ("POST", "/api/health"),
        ("GET", "/api/health/x"),
        ("GET", "/api/health/"),
    ] {
        let mut event = health();
        event["routeKey"] = "$default".into();
        event["requestContext"]["routeKey"] = "$default".into();
        event["requestContext"]["http"]["method"] = method.into();
        event["requestContext"]["http"]["path"] = path.into();
        event["rawPath"] = path.into();
        let answer = tests::invoke(&handler, &event).await;
        assert_ne!(answer["statusCode"], 200, "{method} {path}");
    }
}

#[tokio::test]
async fn every_line_about_an_order_has_its_id_in_one_field() {
    let cloud = Cloud::start().await;
    let log = Log::default();
    let _listening = log.listen();
    let mut orders = Vec::new();
    for customer in [
        "8080",
        "sandbox-stolen-card",
        "sandbox-action-required",
        "sandbox-pending",
        "sandbox-timeout",
        "sandbox-outage",
    ] {
        let mut cart = cart_with_checkout();
        cart["customerId"] = customer.into();
        let order = shop::place(&cloud, &cart).await;
        cloud.settle().await;
        cloud.pass(std::time::Duration::from_mins(5));
        cloud.sweep().await;
        cloud.settle().await;
        for (path, body) in [
            (
                "cancel.json",
                json!({"customerId": customer, "orderId": order}),
            ),
            (
                "cancel.json",
                json!({"customerId": "another", "orderId": order}),
            ),
            (
                "shipping.json",
                json!({"orderId": order, "name": "L", "phone": "1", "shipping_address": "x"}),
            ),
            (
                "payment.json",
                json!({"customerId": customer, "invoiceId": order.replace("ord_", "inv_"), "totalAmount": 7}),
            ),
            (
                "invoice.json",
                json!({"customerId": customer, "orderId": order}),
            ),
        ] {
            cloud.post(&format!("/api/order/{path}"), &body).await;
        }
        cloud.get(&order).await;
        cloud.settle().await;
        orders.push(order);
    }
    // Nobody takes the mails of one more order, until the sweep gives them up.
    let unmailed = shop::place(&cloud, &cart_with_checkout()).await;
    cloud
        .settle_through(&[Queue::Billing, Queue::Payment, Queue::Shipment])
        .await;
    for _ in 0..80 {
        cloud.pass(std::time::Duration::from_hours(1));
        cloud.sweep().await;
        drop(cloud.queues.take());
    }
    let mut about = BTreeSet::new();
    for line in lines(&log) {
        let message = text(&line["message"]);
        if OF_NO_ORDER.contains(&message) {
            continue;
        }
        let order = line["order_id"].as_str();
        let order = order.unwrap_or_else(|| panic!("{line}")).to_owned();
        assert!(orders.contains(&order) || order == unmailed, "{line}");
        assert!(line["span"].is_null() && line["fields"].is_null(), "{line}");
        about.insert((order, message.to_owned()));
    }
    assert!(about.contains(&(unmailed, "mail given up".to_owned())));
    for order in &orders {
        for message in ["order created", "done", "published", "refused"] {
            assert!(
                about.contains(&(order.clone(), message.to_owned())),
                "{message}: {about:?}"
            );
        }
    }
}
