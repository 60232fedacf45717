//! The shop's own number of an order, and the shop's own data about it.

use futures_util::future::join_all;
use payment::partners::Sandbox;
use serde_json::{Value, json};
use tests::{Cloud, Reply, request};

use crate::callers::with_claims;
use crate::contract::{cart, cart_with_checkout, text};
use crate::errors::assert_problem;
use crate::privacy::Log;
use crate::shop;

const CART: &str = "/api/order/cart.json";

type Shop = Cloud<Sandbox>;

/// The contract's cart with this reference.
fn referring(reference: &str) -> Value {
    let mut cart = cart();
    cart["reference"] = reference.into();
    cart
}

fn keeping(metadata: Value) -> Value {
    let mut cart = cart();
    cart["metadata"] = metadata;
    cart
}

fn updating(order: &str, mut cart: Value) -> Value {
    cart["orderId"] = order.into();
    cart
}

/// Sends a cart from another back end of the shop.
async fn post_as(shop: &Shop, client: &str, body: &Value) -> Reply {
    let claims = json!({"client_id": client, "sub": client, "scope": "orderflow/backend"});
    shop.send(&with_claims(request(CART, body), &claims)).await
}

#[tokio::test]
async fn an_order_shows_its_reference_and_its_metadata() {
    let shop = Cloud::start().await;
    let mut body = referring("2026-000123");
    body["metadata"] =
        json!({"channel": "phone", "gift note": "Für Bob 🎁\nwith love", "none": null});
    let reply = shop.post(CART, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    // The cart's answer follows the contract.
    assert_eq!(reply.body.as_object().unwrap().len(), 6);
    let order = text(&reply.body["orderId"]);
    let shown = shop.get(order).await.body;
    assert_eq!(shown["reference"], "2026-000123");
    let kept = json!({"channel": "phone", "gift note": "Für Bob 🎁\nwith love"});
    assert_eq!(shown["metadata"], kept);
    let plain = shop::place(&shop, &cart()).await;
    let shown = shop.get(&plain).await.body;
    assert!(shown.get("reference").is_none() && shown.get("metadata").is_none());
}

#[tokio::test]
async fn a_reference_is_that_of_one_order_of_a_caller() {
    let shop = Cloud::start().await;
    let first = shop::place(&shop, &referring("A-1")).await;
    for (customer, key) in [("8080", None), ("8081", None), ("8080", Some("k1"))] {
        let mut body = referring("A-1");
        body["customerId"] = customer.into();
        body["items"][0]["quantity"] = 7.into();
        let mut event = request(CART, &body);
        if let Some(key) = key {
            event["headers"]["idempotency-key"] = key.into();
        }
        let reply = shop.send(&event).await;
        assert_problem(&reply, 409, "reference_taken");
        assert_eq!(reply.body["orderId"], *first, "{}", reply.text);
    }
    // Nothing of the refused carts was stored: only one cart made a record.
    assert_eq!(shop.database.stream_records(0).len(), 1);
    // Even if it is cancelled, the order keeps its reference.
    let cancel = json!({"customerId": "8080", "orderId": first});
    assert_eq!(
        shop.post("/api/order/cancel.json", &cancel).await.status,
        200
    );
    assert_problem(
        &shop.post(CART, &referring("A-1")).await,
        409,
        "reference_taken",
    );
    // References are compared by their exact characters.
    for other in ["a-1", "A-1.", "A‑1", "A 1"] {
        shop::place(&shop, &referring(other)).await;
    }
    // Another caller has its own books.
    let reply = post_as(&shop, "erp", &referring("A-1")).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let again = post_as(&shop, "erp", &referring("A-1")).await;
    assert_problem(&again, 409, "reference_taken");
    assert_eq!(again.body["orderId"], reply.body["orderId"]);
}

#[tokio::test]
async fn a_repeat_of_a_cart_with_a_reference_is_answered_as_the_first_time() {
    let shop = Cloud::start().await;
    let body = referring("A-1");
    let first = shop.post_with_key(CART, "k", &body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = shop.post_with_key(CART, "k", &body).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("idempotent-replayed"), "true");
    let other = shop.post_with_key(CART, "k", &referring("A-2")).await;
    assert_problem(&other, 422, "idempotency_key_reused");
    // The refused request's reference is still free.
    shop::place(&shop, &referring("A-2")).await;
}

#[tokio::test]
async fn of_twenty_carts_with_one_reference_at_once_one_is_an_order() {
    let shop = Cloud::start().await;
    let body = referring("A-1");
    let replies = join_all((0..20).map(|_| shop.post(CART, &body))).await;
    let placed: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(placed.len(), 1);
    for reply in &replies {
        match reply.status {
            201 => {}
            409 => assert_eq!(reply.body["orderId"], placed[0].body["orderId"]),
            status => panic!("{status}: {}", reply.text),
        }
    }
}

#[tokio::test]
async fn an_update_replaces_the_metadata_and_keeps_the_reference() {
    let shop = Cloud::start().await;
    let mut body = referring("A-1");
    body["metadata"] = json!({"a": "1", "b": "2"});
    let order = shop::place(&shop, &body).await;
    let updated = async |body: Value| {
        let reply = shop.post(CART, &updating(&order, body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        shop.get(&order).await.body
    };
    let shown = updated(keeping(json!({"b": "3"}))).await;
    assert_eq!(
        (&shown["reference"], &shown["metadata"]),
        (&json!("A-1"), &json!({"b": "3"}))
    );
    let shown = updated(referring("A-1")).await;
    assert_eq!(shown["reference"], "A-1");
    assert!(shown.get("metadata").is_none(), "{shown}");
    // Another reference is refused, and so is one for an order that was placed without one.
    let plain = shop::place(&shop, &cart()).await;
    for (order, stored) in [(&order, "A-1"), (&plain, "none")] {
        let reply = shop.post(CART, &updating(order, referring("A-2"))).await;
        assert_problem(&reply, 409, "mismatch");
        assert_eq!(reply.pointers(), ["/reference"]);
        assert!(reply.text.contains(stored), "{}", reply.text);
    }
    shop::place(&shop, &referring("A-2")).await;
}

#[tokio::test]
async fn references_and_metadata_out_of_their_bounds_are_refused_by_their_pointers() {
    let shop = Cloud::start().await;
    let entries = |count: usize| {
        let entries = (0..count).map(|number| (format!("key {number}"), json!("x".repeat(500))));
        Value::Object(entries.collect())
    };
    shop::place(&shop, &keeping(entries(20))).await;
    shop::place(&shop, &keeping(json!({}))).await;
    shop::place(&shop, &keeping(json!(null))).await;
    let longest = "k".repeat(40);
    shop::place(&shop, &keeping(json!({longest: "x"}))).await;
    shop::place(&shop, &referring(&"ü".repeat(64))).await;
    let too_long = "k".repeat(41);
    for (metadata, pointers) in [
        (entries(21), vec!["/metadata"]),
        (json!([]), vec!["/metadata"]),
        (json!("text"), vec!["/metadata"]),
        (
            json!({"a": 1, "b": true, "c": {}, "d": "x"}),
            vec!["/metadata/a", "/metadata/b", "/metadata/c"],
        ),
        (
            json!({"a": "", "b": "\u{200b}", "c": "x".repeat(501)}),
            vec!["/metadata/a", "/metadata/b", "/metadata/c"],
        ),
        (json!({"": "x"}), vec!["/metadata/"]),
        (json!({" a": "x"}), vec!["/metadata/ a"]),
        (json!({"a/~": 1}), vec!["/metadata/a~1~0"]),
        (json!({"a\u{7}": "x"}), vec!["/metadata/a\u{7}"]),
        (
            json!({&*too_long: "x"}),
            vec![&*format!("/metadata/{too_long}")],
        ),
    ] {
        let reply = shop.post(CART, &keeping(metadata.clone())).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), pointers, "{metadata}");
    }
    for reference in [
        json!(""),
        json!(" A"),
        json!("A\n"),
        json!("x".repeat(65)),
        json!(7),
        json!(["A"]),
    ] {
        let mut body = cart();
        body["reference"] = reference;
        let reply = shop.post(CART, &body).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), ["/reference"]);
    }
    // Only a cart accepts them.
    let order = shop::place(&shop, &cart()).await;
    let mut invoice = crate::contract::invoice(&order);
    invoice["metadata"] = json!({});
    invoice["reference"] = "A-1".into();
    let reply = shop.post("/api/order/invoice.json", &invoice).await;
    assert_eq!(
        reply.pointers(),
        ["/metadata", "/reference"],
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn what_looks_like_a_card_number_is_refused_in_references_and_metadata() {
    let shop = Cloud::start().await;
    let card = "4242 4242 4242 4242";
    let mut referring_to_card = cart();
    referring_to_card["reference"] = card.into();
    for (body, pointer) in [
        (referring_to_card, "/reference"),
        (
            keeping(json!({"note": format!("card {card}, thanks")})),
            "/metadata/note",
        ),
        (keeping(json!({"4242424242424242": "x"})), "/metadata"),
        (
            keeping(json!({"note": {"deep": "４２４２ ４２４２ ４２４２ ４２４２"}})),
            "/metadata/note/deep",
        ),
    ] {
        for body in [
            body.clone(),
            updating("ord_01JDB4XK00EXAMPVE0RDER0001", body),
        ] {
            let reply = shop.post(CART, &body).await;
            assert_problem(&reply, 422, "card_number_refused");
            assert_eq!(reply.pointers(), [pointer], "{}", reply.text);
            assert!(!reply.text.contains("4242"), "{}", reply.text);
        }
    }
    assert!(shop.database.stream_records(0).is_empty());
}

#[tokio::test]
async fn no_log_and_no_message_has_an_orders_metadata() {
    let log = Log::default();
    let _listening = log.listen();
    let shop = Cloud::start().await;
    let mut body = cart_with_checkout();
    body["metadata"] = json!({"canary key": "canary text"});
    body["reference"] = "canary-reference".into();
    let order = shop::place(&shop, &body).await;
    shop.relay_stream().await;
    for (_, message) in shop.queues.take() {
        assert!(!message.to_json().unwrap().contains("canary"));
    }
    shop.settle().await;
    let mut wrong = updating(&order, body.clone());
    wrong["metadata"]["canary key"] = 7.into();
    shop.post(CART, &wrong).await;
    shop.post(CART, &updating(&order, body.clone())).await;
    assert_problem(&shop.post(CART, &body).await, 409, "reference_taken");
    assert_eq!(
        shop.get(&order).await.body["metadata"]["canary key"],
        "canary text"
    );
    let logged = log.text();
    assert!(logged.contains("order created") && logged.contains("refused"));
    let told = logged.lines().find(|line| line.contains("canary"));
    assert_eq!(told, None, "a log names what the shop keeps");
}
