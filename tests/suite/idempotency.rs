//! A repeat gets the same status and bytes as the first time; a key goes with one body.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{Cloud, Reply, request};

use crate::contract::{cart, invoice, payment, shipping, text};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";

fn same(first: &Reply, second: &Reply) {
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!(first.header("location"), second.header("location"));
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
    for reply in &replies {
        same(&replies[0], reply);
    }
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
    for reply in &replies {
        assert_eq!(reply.status, 201, "{}", reply.text);
        same(&replies[0], reply);
    }
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
    // Nor does its key with another body, or the key that made the order.
    for key in ["update-1", "create"] {
        let reply = cloud.post_with_key(CART, key, &update(3)).await;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "idempotency_key_reused"),
            "{key}"
        );
    }
    // The request that made the order is answered as it was then.
    same(&placed, &cloud.post_with_key(CART, "create", &cart()).await);
    // Without a key the last update wins.
    assert_eq!(cloud.post(CART, &update(4)).await.status, 200);
    assert_eq!(
        cloud.get(&order).await.body["totalAmount"].to_string(),
        "40.0"
    );
    // Even once the order has moved on, a repeat is a repeat and anything else is too late.
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
