//! Each endpoint has one namespace of idempotency keys, whatever its requests are about.

use futures_util::future::join_all;
use payment::partners::Sandbox;
use serde_json::{Value, json};
use service::http::{Call, Caller, IdempotencyKey, Route};
use store::{BodyHash, KeyUse};
use tests::{Cloud, Reply};

use crate::agreements::agreement;
use crate::contract::{cart, cart_with_checkout, invoice, shipping};
use crate::errors::assert_problem;
use crate::shop;

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";

type TestCloud = Cloud<Sandbox>;

async fn place(cloud: &TestCloud) -> String {
    shop::place(cloud, &cart()).await
}

async fn invoiced(cloud: &TestCloud) -> String {
    let order = place(cloud).await;
    shop::invoice(cloud, &order).await;
    order
}

async fn paid(cloud: &TestCloud) -> String {
    let order = invoiced(cloud).await;
    let reply = shop::pay(cloud, &order).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    order
}

fn with(mut body: Value, pointer: &str, value: impl Into<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value.into();
    body
}

fn updates(order: &str, quantity: u32) -> Value {
    with(
        with(cart(), "/orderId", order),
        "/items/0/quantity",
        quantity,
    )
}

fn cancels(order: &str) -> Value {
    json!({"customerId": "8080", "orderId": order})
}

fn mail(name: &str) -> Value {
    json!({"event": "OrderShipped", "name": name, "email": "l@example.com"})
}

fn mail_about(order: &str) -> Value {
    with(
        with(mail("L"), "/event", "InvoiceCreated"),
        "/orderId",
        order,
    )
}

/// All kinds of requests to an endpoint, with bodies that may be sent in any order.
async fn variants(cloud: &TestCloud) -> Vec<(&'static str, Vec<Value>)> {
    let (first, second) = (place(cloud).await, place(cloud).await);
    let (bill, other_bill) = (place(cloud).await, place(cloud).await);
    let (owed, other_owed) = (invoiced(cloud).await, invoiced(cloud).await);
    let (ship, other_ship) = (paid(cloud).await, paid(cloud).await);
    let (cancel, other_cancel) = (place(cloud).await, paid(cloud).await);
    vec![
        (
            CART,
            vec![
                cart(),
                with(cart(), "/items/0/quantity", 3),
                with(cart(), "/customerId", "8081"),
                cart_with_checkout(),
                updates(&first, 2),
                updates(&first, 3),
                updates(&second, 2),
            ],
        ),
        (
            INVOICE,
            vec![
                invoice(&bill),
                with(invoice(&bill), "/name", "Other"),
                invoice(&other_bill),
            ],
        ),
        (
            PAYMENT,
            vec![shop::payment(&owed), shop::payment(&other_owed)],
        ),
        (
            SHIPPING,
            vec![
                shipping(&ship),
                with(shipping(&ship), "/name", "Other"),
                shipping(&other_ship),
                mail("L"),
                mail("Other"),
                mail_about(&ship),
            ],
        ),
        (
            EMAIL,
            vec![mail("L"), mail("Other"), mail_about(&other_ship)],
        ),
        (
            CANCEL,
            vec![
                cancels(&cancel),
                with(cancels(&cancel), "/reason", "twice"),
                cancels(&other_cancel),
            ],
        ),
        (
            AGREEMENT,
            vec![
                agreement(),
                with(agreement(), "/paymentMethodId", "pm_Other"),
                with(agreement(), "/customerId", "8081"),
                with(agreement(), "/partner", "paypal"),
            ],
        ),
    ]
}

fn same(first: &Reply, second: &Reply) {
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!(first.header("location"), second.header("location"));
}

#[tokio::test]
async fn a_key_goes_with_one_body_of_an_endpoint_whatever_the_bodies_are_about() {
    let cloud = Cloud::start().await;
    let mut pairs = 0;
    for (path, bodies) in variants(&cloud).await {
        for (first, body) in bodies.iter().enumerate() {
            for (second, other) in bodies.iter().enumerate() {
                if first == second {
                    continue;
                }
                pairs += 1;
                let key = format!("pair-{pairs}");
                let about = format!("{path}: {body} and then {other}");
                let reply = cloud.post_with_key(path, &key, body).await;
                assert!(reply.status < 300, "{about}: {}", reply.text);
                let written = cloud.database.stream_records(0).len();
                let refused = cloud.post_with_key(path, &key, other).await;
                let got = (refused.status, refused.code());
                assert_eq!(got, (422, "idempotency_key_reused"), "{about}");
                same(&reply, &cloud.post_with_key(path, &key, body).await);
                let records = cloud.database.stream_records(0).len();
                assert_eq!(records, written, "{about}: an order was written");
            }
        }
    }
    println!("{pairs} pairs");
}

#[tokio::test]
async fn a_key_means_nothing_at_another_endpoint() {
    let cloud = Cloud::start().await;
    let mut seen = Vec::new();
    for (path, bodies) in variants(&cloud).await {
        let first = cloud.post_with_key(path, "k", &bodies[0]).await;
        assert!(first.status < 300, "{path}: {}", first.text);
        seen.push((path, bodies[0].clone(), first));
    }
    for (path, body, first) in &seen {
        same(first, &cloud.post_with_key(path, "k", body).await);
    }
    // The same body at two endpoints: each one answers it, and it remains one mail.
    for path in [EMAIL, SHIPPING] {
        let reply = cloud.post_with_key(path, "mail", &mail("L")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    cloud.settle().await;
    let mails = cloud.mailer.taken();
    let keyed = mails.iter().filter(|sent| sent.mail.text.contains('L'));
    assert_eq!(keyed.count(), mails.len());
    // One mail under `k` at the email endpoint, and one under `mail` at both.
    assert_eq!(mails.len(), 2);
}

/// The ID of the row for a key of the tests' caller.
fn key_id(endpoint: &str, key: &str) -> String {
    let key = IdempotencyKey::parse(key).unwrap();
    let call = Call::new(
        Route::Cart,
        Caller::backend("7f3k2example"),
        Some(key),
        None,
    );
    call.key_id(endpoint).unwrap()
}

fn body_hash(body: &Value) -> BodyHash {
    let call = Call::new(Route::Cart, Caller::backend("x"), None, Some(body.clone()));
    call.body_hash().unwrap()
}

#[tokio::test]
async fn a_crash_between_a_keys_row_and_what_it_is_for_is_mended_by_the_repeat() {
    let cloud = Cloud::start().await;
    let mut crashes = 0;
    for (path, endpoint, bodies) in
        variants(&cloud)
            .await
            .into_iter()
            .filter_map(|(path, bodies)| match path {
                CART => Some((path, "cart", bodies)),
                AGREEMENT => Some((path, "agreement", bodies)),
                _ => None,
            })
    {
        for body in &bodies {
            crashes += 1;
            let key = format!("crash-{crashes}");
            let (id, now) = (key_id(endpoint, &key), cloud.runtime.now());
            let used = cloud.store.use_key(&id, &body_hash(body), now).await;
            assert_eq!(used.unwrap(), KeyUse::Fits);
            let first = cloud.post_with_key(path, &key, body).await;
            assert!(first.status < 300, "{path} {body}: {}", first.text);
            same(&first, &cloud.post_with_key(path, &key, body).await);
        }
    }
}

#[tokio::test]
async fn an_answered_update_is_not_written_again_by_its_repeats_at_once_or_late() {
    let cloud = Cloud::start().await;
    let order = place(&cloud).await;
    let body = updates(&order, 3);
    let replies = join_all((0..5).map(|_| cloud.post_with_key(CART, "once", &body))).await;
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text);
        same(&replies[0], reply);
    }
    assert_eq!(cloud.database.stream_records(0).len(), 2, "cart and update");
    let later = cloud
        .post_with_key(CART, "later", &updates(&order, 4))
        .await;
    assert_eq!(later.status, 200, "{}", later.text);
    same(&replies[0], &cloud.post_with_key(CART, "once", &body).await);
    let shown = cloud.get(&order).await;
    assert_eq!(shown.body["items"][0]["quantity"], 4);
    // Also once the order has moved on.
    let mut bill = invoice(&order);
    bill["items"][0]["quantity"] = 4.into();
    for (name, amount) in [
        ("tax", "54"),
        ("subTotalAmount", "246"),
        ("totalAmount", "300"),
    ] {
        bill[name] = serde_json::from_str(amount).unwrap();
    }
    let reply = cloud.post(INVOICE, &bill).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    same(&replies[0], &cloud.post_with_key(CART, "once", &body).await);
}

#[tokio::test]
async fn a_refused_body_leaves_its_key_with_that_body() {
    let cloud = Cloud::start().await;
    let order = invoiced(&cloud).await;
    for _ in 0..2 {
        let reply = cloud.post_with_key(CART, "k", &updates(&order, 3)).await;
        assert_problem(&reply, 409, "wrong_state");
    }
    let reply = cloud.post_with_key(CART, "k", &cart()).await;
    assert_problem(&reply, 422, "idempotency_key_reused");
    // A request that is not even parsed uses up no key.
    let unread = with(cart(), "/customerId", 8080);
    let reply = cloud.post_with_key(CART, "unread", &unread).await;
    assert_problem(&reply, 422, "invalid_fields");
    let reply = cloud.post_with_key(CART, "unread", &cart()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}
