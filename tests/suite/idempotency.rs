//! A repeat gets the same status and bytes as the first request; a key is bound to one body.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Cloud, Reply, request};

use crate::contract::{cart, invoice, payment, shipping, text};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";
const REPLAYED: &str = "idempotent-replayed";

/// Checks that the second reply equals the first and is marked as a replay.
fn same(first: &Reply, second: &Reply) {
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(second.header(REPLAYED), "true", "{}", second.text);
}

/// Checks that these concurrent replies to the same request are equal, and that exactly one is not
/// a replay.
fn one_is_first(replies: &[Reply]) {
    for reply in replies {
        assert_eq!(
            (reply.status, &reply.text),
            (replies[0].status, &replies[0].text)
        );
        assert!(reply.status < 300, "{}", reply.text);
    }
    let first = replies
        .iter()
        .filter(|reply| reply.header(REPLAYED).is_empty());
    assert_eq!(first.count(), 1);
}

#[tokio::test]
async fn every_step_repeated_gets_the_same_answer_with_and_without_a_key() {
    for key in [None, Some("key-1")] {
        let cloud = Cloud::start().await;
        let send = async |path: &str, body: &Value| match key {
            Some(key) => cloud.post_with_key(path, key, body).await,
            None => cloud.post(path, body).await,
        };
        let placed = send(CART, &cart()).await;
        if key.is_some() {
            same(&placed, &send(CART, &cart()).await);
        }
        let order = text(&placed.body["orderId"]).to_owned();
        let mut steps = Vec::new();
        let invoiced = send(INVOICE, &invoice(&order)).await;
        steps.push((INVOICE, invoice(&order), invoiced.clone()));
        let body = payment(text(&invoiced.body["invoiceId"]));
        steps.push((PAYMENT, body.clone(), send(PAYMENT, &body).await));
        steps.push((
            SHIPPING,
            shipping(&order),
            send(SHIPPING, &shipping(&order)).await,
        ));
        for (path, body, first) in &steps {
            assert_eq!(first.status, 201, "{path}: {}", first.text);
            cloud.pass(std::time::Duration::from_hours(1));
            same(first, &send(path, body).await);
        }
        if key.is_some() {
            same(&placed, &send(CART, &cart()).await);
        }
    }
}

#[tokio::test]
async fn a_key_with_another_body_is_422_at_every_endpoint() {
    let cloud = Cloud::start().await;
    let order = cloud.post_with_key(CART, "k", &cart()).await;
    let order = text(&order.body["orderId"]).to_owned();
    let mail = json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"});
    let invoice_id = order.replace("ord_", "inv_");
    for (path, body, changed) in [
        (CART, cart(), "/items/0/quantity"),
        (INVOICE, invoice(&order), "/name"),
        (PAYMENT, payment(&invoice_id), "/totalAmount"),
        (SHIPPING, shipping(&order), "/phone"),
        (EMAIL, mail, "/name"),
    ] {
        let first = cloud.post_with_key(path, "k", &body).await;
        assert!(first.status < 300, "{path}: {}", first.text);
        let mut other = body.clone();
        let value = other.pointer_mut(changed).unwrap();
        *value = if value.is_string() {
            "other".into()
        } else {
            7.into()
        };
        let reply = cloud.post_with_key(path, "k", &other).await;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "idempotency_key_reused"),
            "{path}"
        );
        same(&first, &cloud.post_with_key(path, "k", &body).await);
    }
}

#[tokio::test]
async fn a_repeat_is_marked_and_a_first_answer_is_not() {
    let cloud = Cloud::start().await;
    let send = async |path: &str, key: Option<&str>, body: &Value| match key {
        Some(key) => cloud.post_with_key(path, key, body).await,
        None => cloud.post(path, body).await,
    };
    let first = async |path: &str, key: Option<&str>, body: &Value| {
        let reply = send(path, key, body).await;
        assert!(reply.status < 300, "{path}: {}", reply.text);
        assert_eq!(reply.header(REPLAYED), "", "{path}: {}", reply.text);
        reply
    };
    for key in [None, Some("k")] {
        let key = |step: &str| key.map(|key| format!("{key}-{step}"));
        let mut steps: Vec<(&str, Option<String>, Value)> = Vec::new();
        let placed = first(CART, key("cart").as_deref(), &cart()).await;
        if let Some(key) = key("cart") {
            same(&placed, &send(CART, Some(&key), &cart()).await);
        }
        let order = text(&placed.body["orderId"]).to_owned();
        let invoice_id = order.replace("ord_", "inv_");
        let about = |event: &str| json!({"event": event, "name": "L", "email": "l@example.com", "orderId": order});
        steps.push((INVOICE, key("invoice"), invoice(&order)));
        steps.push((EMAIL, key("mail"), about("InvoiceCreated")));
        steps.push((PAYMENT, key("payment"), payment(&invoice_id)));
        steps.push((SHIPPING, key("promise"), about("PaymentProcessed")));
        steps.push((SHIPPING, key("shipping"), shipping(&order)));
        for (path, key, body) in steps {
            let key = key.as_deref();
            let reply = first(path, key, &body).await;
            same(&reply, &send(path, key, &body).await);
            // With another key, the step is also found done.
            let other = format!("other-{}", cloud.runtime.token());
            same(&reply, &send(path, Some(&other), &body).await);
        }
        let placed = first(CART, None, &cart()).await;
        let order = text(&placed.body["orderId"]).to_owned();
        let body = json!({"customerId": "8080", "orderId": order});
        let reply = first(CANCEL, key("cancel").as_deref(), &body).await;
        same(&reply, &send(CANCEL, key("cancel").as_deref(), &body).await);
    }
    // These are done again for each request without a key, and once with one.
    let placed = cloud.post(CART, &cart()).await;
    let mut update = cart();
    update["orderId"] = placed.body["orderId"].clone();
    let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
    let agreement = crate::agreements::agreement();
    for (path, body) in [
        (CART, &update),
        (EMAIL, &mail),
        (SHIPPING, &mail),
        (AGREEMENT, &agreement),
    ] {
        first(path, None, body).await;
        first(path, None, body).await;
        let key = Some(path);
        let reply = first(path, key, body).await;
        same(&reply, &send(path, key, body).await);
    }
    // An unsuccessful answer is computed again, too.
    let missing = json!({"customerId": "8080", "orderId": "ord_1"});
    for _ in 0..2 {
        let reply = send(CANCEL, Some("missing"), &missing).await;
        assert_eq!((reply.status, reply.header(REPLAYED)), (404, ""));
    }
}

/// The chain did the step first; a request finds it done.
#[tokio::test]
async fn a_step_that_the_chain_has_done_is_a_repeat() {
    let cloud = Cloud::start().await;
    let placed = cloud
        .post(CART, &crate::contract::cart_with_checkout())
        .await;
    cloud.settle().await;
    let order = text(&placed.body["orderId"]).to_owned();
    for (path, body) in [
        (INVOICE, invoice(&order)),
        (PAYMENT, payment(&order.replace("ord_", "inv_"))),
        (SHIPPING, shipping(&order)),
    ] {
        let reply = cloud.post(path, &body).await;
        assert_eq!(
            (reply.status, reply.header(REPLAYED)),
            (201, "true"),
            "{path}"
        );
    }
}

/// A decline and a rejected mail are also replayed.
#[tokio::test]
async fn a_repeat_of_a_final_refusal_is_marked() {
    let cloud = Cloud::start().await;
    let mut body = cart();
    body["customerId"] = "sandbox-stolen-card".into();
    let placed = cloud.post(CART, &body).await;
    let order = text(&placed.body["orderId"]).to_owned();
    let mut issued = invoice(&order);
    issued["customerId"] = "sandbox-stolen-card".into();
    cloud.post(INVOICE, &issued).await;
    let mut pay = payment(&order.replace("ord_", "inv_"));
    pay["customerId"] = "sandbox-stolen-card".into();
    let declined = cloud.post_with_key(PAYMENT, "p", &pay).await;
    assert_eq!((declined.status, declined.header(REPLAYED)), (402, ""));
    same(&declined, &cloud.post_with_key(PAYMENT, "p", &pay).await);

    let refused = domain_failure();
    cloud.mailer.fail_next(refused.0, refused.1);
    let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
    let rejected = cloud.post_with_key(EMAIL, "m", &mail).await;
    assert_eq!((rejected.status, rejected.header(REPLAYED)), (422, ""));
    assert_eq!(rejected.code(), "address_rejected");
    same(&rejected, &cloud.post_with_key(EMAIL, "m", &mail).await);
}

/// SES's rejection of an address.
fn domain_failure() -> (platform::aws::FailureKind, Option<&'static str>) {
    (
        platform::aws::FailureKind::Refused,
        Some("BadRequestException"),
    )
}

/// A program that repeats a request may write its numbers in another notation.
#[tokio::test]
async fn a_body_is_the_same_whatever_the_notation_of_its_numbers() {
    let cloud = Cloud::start().await;
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let placed = cloud.post_with_key(CART, "k", &cart()).await;
    let mut again = cart();
    again["items"][0]["quantity"] = number("2.0");
    again["items"][0]["price"] = number("5e1");
    same(&placed, &cloud.post_with_key(CART, "k", &again).await);
    let order = text(&placed.body["orderId"]).to_owned();
    let mut update = again.clone();
    update["orderId"] = order.as_str().into();
    let updated = cloud.post_with_key(CART, "u", &update).await;
    update["items"][0]["quantity"] = number("20e-1");
    same(&updated, &cloud.post_with_key(CART, "u", &update).await);
    let issued = cloud.post_with_key(INVOICE, "k", &invoice(&order)).await;
    let mut again = invoice(&order);
    again["totalAmount"] = number("2e2");
    same(&issued, &cloud.post_with_key(INVOICE, "k", &again).await);
    again["totalAmount"] = number("2e3");
    let reply = cloud.post_with_key(INVOICE, "k", &again).await;
    assert_eq!(reply.code(), "idempotency_key_reused");
}

#[tokio::test]
async fn a_key_belongs_to_its_caller() {
    let cloud = Cloud::start().await;
    let as_client = |client: &str| {
        let mut event = request(CART, &cart());
        event["headers"]["idempotency-key"] = "k".into();
        event["requestContext"]["authorizer"]["jwt"]["claims"]["client_id"] = client.into();
        event
    };
    let first = cloud.send(&as_client("shop")).await;
    let second = cloud.send(&as_client("other-shop")).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_ne!(first.body["orderId"], second.body["orderId"]);
}

#[tokio::test]
async fn a_key_used_for_one_order_is_refused_for_another() {
    let cloud = Cloud::start().await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let reply = cloud.post(CART, &cart()).await;
        orders.push(text(&reply.body["orderId"]).to_owned());
    }
    assert_eq!(
        cloud
            .post_with_key(INVOICE, "k", &invoice(&orders[0]))
            .await
            .status,
        201
    );
    let reply = cloud
        .post_with_key(INVOICE, "k", &invoice(&orders[1]))
        .await;
    assert_eq!(reply.code(), "idempotency_key_reused");
    assert_eq!(cloud.get(&orders[1]).await.body["status"], "pending");
}

#[tokio::test]
async fn a_key_older_than_its_retention_counts_as_new_and_the_order_still_has_one_invoice() {
    let cloud = Cloud::start().await;
    let reply = cloud.post(CART, &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let first = cloud.post_with_key(INVOICE, "k", &invoice(&order)).await;
    cloud.pass(std::time::Duration::from_hours(8 * 24));
    let mut other = invoice(&order);
    other["name"] = "Another Name".into();
    same(&first, &cloud.post_with_key(INVOICE, "k", &other).await);
}

#[tokio::test]
async fn twenty_identical_carts_at_once_make_one_order() {
    let cloud = Cloud::start().await;
    let body = cart();
    let replies = join_all((0..20).map(|_| cloud.post_with_key(CART, "burst", &body))).await;
    one_is_first(&replies);
    assert_eq!(replies[0].status, 201);
    assert_eq!(cloud.database.stream_records(0).len(), 1, "one write");
}

#[tokio::test]
async fn two_invoices_at_once_are_one() {
    let cloud = Cloud::start().await;
    let reply = cloud.post(CART, &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let body = invoice(&order);
    let replies = join_all((0..5).map(|_| cloud.post(INVOICE, &body))).await;
    one_is_first(&replies);
    assert_eq!(
        cloud.database.stream_records(0).len(),
        2,
        "the cart's write and the invoice's"
    );
}

#[tokio::test]
async fn an_updated_cart_is_answered_with_its_new_contents_and_the_first_request_with_its_first() {
    let cloud = Cloud::start().await;
    let placed = cloud.post_with_key(CART, "create", &cart()).await;
    let order = text(&placed.body["orderId"]).to_owned();
    let update = |quantity: u32| {
        let mut body = cart();
        body["orderId"] = order.as_str().into();
        body["items"] = json!([{"productId": "1234", "quantity": quantity, "price": 10}]);
        body
    };
    let first = cloud.post_with_key(CART, "update-1", &update(1)).await;
    assert_eq!(
        (first.status, &first.body["totalAmount"].to_string()[..]),
        (200, "10.0")
    );
    assert_eq!(first.header("location"), "");
    let second = cloud.post_with_key(CART, "update-2", &update(2)).await;
    assert_eq!(second.body["totalAmount"].to_string(), "20.0");

    // A late repeat of the first update changes nothing.
    same(
        &first,
        &cloud.post_with_key(CART, "update-1", &update(1)).await,
    );
    assert_eq!(
        cloud.get(&order).await.body["totalAmount"].to_string(),
        "20.0"
    );
    // The same key with another body changes nothing either, nor does the key that created the
    // order.
    for key in ["update-1", "create"] {
        let reply = cloud.post_with_key(CART, key, &update(3)).await;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "idempotency_key_reused"),
            "{key}"
        );
    }
    // The request that created the order gets its original answer.
    same(&placed, &cloud.post_with_key(CART, "create", &cart()).await);
    // Without a key the last update wins.
    assert_eq!(cloud.post(CART, &update(4)).await.status, 200);
    assert_eq!(
        cloud.get(&order).await.body["totalAmount"].to_string(),
        "40.0"
    );
    // Even after the order has moved on, a repeat gets its answer, and anything else is too late.
    let mut body = invoice(&order);
    body["items"] = json!([{"productId": "1", "quantity": 4, "price": 10}]);
    for (name, amount) in [
        ("tax", "7.2"),
        ("subTotalAmount", "32.8"),
        ("totalAmount", "40"),
    ] {
        body[name] = serde_json::from_str(amount).unwrap();
    }
    assert_eq!(cloud.post(INVOICE, &body).await.status, 201);
    same(
        &second,
        &cloud.post_with_key(CART, "update-2", &update(2)).await,
    );
    assert_eq!(
        cloud
            .post_with_key(CART, "update-3", &update(5))
            .await
            .code(),
        "wrong_state"
    );
}

#[tokio::test]
async fn a_keyed_mail_goes_out_once_whichever_path_it_was_sent_to() {
    let cloud = Cloud::start().await;
    let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
    for _ in 0..2 {
        let reply = cloud.post_with_key(SHIPPING, "m", &mail).await;
        assert_eq!(
            (reply.status, reply.text.as_str()),
            (200, "{\"status\":\"OK\"}")
        );
    }
    cloud.settle().await;
    assert_eq!(cloud.post_with_key(EMAIL, "m", &mail).await.status, 200);
    assert_eq!(cloud.mailer.taken().len(), 1);
}
