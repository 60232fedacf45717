//! Parameters that change while orders are open: an order keeps the ones that it was placed with.

use domain::TaxMode;
use payment::partners::Sandbox;
use serde_json::{Value, json};
use shipment::carriers::Own;
use tests::{Cloud, Options, Reply};

use crate::contract::{bills, cart, pays, text, with_checkout};
use crate::errors::assert_problem;

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const CANCEL: &str = "/api/order/cancel.json";

type TestCloud = Cloud<Sandbox>;

fn in_currency(currency: &'static str) -> Options {
    Options {
        currency,
        ..Options::default()
    }
}

/// The shop with all its data and changed parameters.
fn changed(cloud: TestCloud, options: Options) -> TestCloud {
    let partner = Sandbox::new(cloud.runtime.clone());
    cloud.redeployed(options, partner, Own)
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A cart with one item at this price.
fn costs(price: &str) -> Value {
    let mut cart = cart();
    cart["items"] = json!([{"productId": "1", "quantity": 1, "price": number(price)}]);
    cart
}

async fn place(cloud: &TestCloud, body: &Value) -> Reply {
    let reply = cloud.post(CART, body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply
}

/// Changes from one currency to another, with prices in the first that have too many decimals in
/// the second or mean something else there.
const CHANGES: [(&str, &str, &str); 4] = [
    ("JPY", "USD", "20000"),
    ("USD", "JPY", "200"),
    ("USD", "JPY", "19.99"),
    ("KWD", "EUR", "1.125"),
];

#[tokio::test]
async fn a_cart_of_another_currency_is_not_updated() {
    for (before, after, price) in CHANGES {
        let cloud = Cloud::with(in_currency(before)).await;
        let placed = place(&cloud, &costs(price)).await;
        let order = text(&placed.body["orderId"]);
        let cloud = changed(cloud, in_currency(after));
        for key in [None, Some("k")] {
            let mut update = costs(price);
            update["orderId"] = order.into();
            let reply = match key {
                None => cloud.post(CART, &update).await,
                Some(key) => cloud.post_with_key(CART, key, &update).await,
            };
            assert_problem(&reply, 409, "currency_mismatch");
            let detail = text(&reply.body["detail"]);
            for part in [before, after, "new order"] {
                assert!(detail.contains(part), "{part} in {detail}");
            }
        }
        let shown = cloud.get(order).await;
        assert_eq!(shown.body["currency"], before);
        assert_eq!(shown.body["totalAmount"], placed.body["totalAmount"]);
        assert_eq!(shown.body["timeline"].as_array().map(Vec::len), Some(1));
        // Another customer does not learn the order's currency.
        let mut others = costs(price);
        others["orderId"] = order.into();
        others["customerId"] = "8081".into();
        assert_ne!(cloud.post(CART, &others).await.code(), "currency_mismatch");
        // The suggested correction works.
        place(&cloud, &costs("200")).await;
    }
}

#[tokio::test]
async fn a_carts_repeats_are_answered_as_the_first_time() {
    for (before, after, price) in CHANGES {
        let cloud = Cloud::with(in_currency(before)).await;
        let body = with_checkout(costs(price), before);
        let placed = cloud.post_with_key(CART, "create", &body).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        let mut update = body.clone();
        update["orderId"] = placed.body["orderId"].clone();
        update["items"][0]["quantity"] = 2.into();
        let updated = cloud.post_with_key(CART, "update", &update).await;
        assert_eq!(updated.status, 200, "{}", updated.text);
        let cloud = changed(cloud, in_currency(after));
        for (key, body, first) in [("create", &body, &placed), ("update", &update, &updated)] {
            let again = cloud.post_with_key(CART, key, body).await;
            assert_eq!((again.status, &again.text), (first.status, &first.text));
            let mut other = body.clone();
            other["items"][0]["quantity"] = 3.into();
            let reply = cloud.post_with_key(CART, key, &other).await;
            assert_problem(&reply, 422, "idempotency_key_reused");
        }
        // A new cart must be in the shop's currency.
        let reply = cloud.post(CART, &body).await;
        assert_problem(&reply, 422, "invalid_fields");
    }
}

#[tokio::test]
async fn an_order_is_not_invoiced_in_another_currency_than_its_own() {
    for (before, after, price) in CHANGES {
        let cloud = Cloud::with(in_currency(before)).await;
        let placed = place(&cloud, &costs(price)).await;
        let order = text(&placed.body["orderId"]);
        let cloud = changed(cloud, in_currency(after));
        let reply = cloud.post(INVOICE, &bills(&placed.body, before)).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert!(reply.pointers().contains(&"/currency"), "{}", reply.text);
        let mut body = bills(&placed.body, after);
        if price.contains('.') {
            // Its amounts are not valid in the shop's currency, so no such invoice can be sent.
            for name in ["tax", "subTotalAmount", "totalAmount"] {
                body[name] = 1.into();
            }
            body["items"][0]["price"] = 1.into();
        }
        let reply = cloud.post(INVOICE, &body).await;
        assert_problem(&reply, 409, "mismatch");
        assert_eq!(reply.pointers()[0], "/currency", "{}", reply.text);
        let shown = cloud.get(order).await;
        assert_eq!(shown.body["status"], "pending");
    }
}

#[tokio::test]
async fn the_chain_and_explicit_calls_go_on_in_the_orders_own_currency() {
    for (before, after, price) in CHANGES {
        let cloud = Cloud::with(in_currency(before)).await;
        let placed = place(&cloud, &with_checkout(costs(price), before)).await;
        let order = text(&placed.body["orderId"]).to_owned();
        let cloud = changed(cloud, in_currency(after));
        cloud.settle_once().await;
        let shown = cloud.get(&order).await;
        assert_eq!(shown.body["status"], "invoiced");
        // An explicit request for a step that the chain has done gets the recorded result.
        let reply = cloud.post(INVOICE, &bills(&placed.body, before)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let total = placed.body["totalAmount"].to_string();
        assert_eq!(reply.body["totalAmount"].to_string(), total);

        let mut wrong = pays(&placed.body);
        wrong["totalAmount"] = number("7");
        assert_problem(&cloud.post(PAYMENT, &wrong).await, 409, "mismatch");
        wrong["totalAmount"] = number("1.2345");
        let reply = cloud.post(PAYMENT, &wrong).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), ["/totalAmount"]);
        let mut others = pays(&placed.body);
        others["customerId"] = "8081".into();
        let reply = cloud.post(PAYMENT, &others).await;
        assert!(reply.code() == "invoice_not_found" || reply.code() == "invalid_fields");

        let paid = cloud.post(PAYMENT, &pays(&placed.body)).await;
        assert_eq!(paid.status, 201, "{}", paid.text);
        assert_eq!(paid.body["payment"]["currency"], before);
        assert_eq!(paid.body["payment"]["amount"], total);
        cloud.settle().await;
        let shown = cloud.get(&order).await;
        assert_eq!(
            (text(&shown.body["status"]), text(&shown.body["currency"])),
            ("shipped", before)
        );
        for sent in cloud.mailer.taken() {
            assert!(sent.mail.text.contains(before), "{}", sent.mail.text);
            assert!(!sent.mail.text.contains(after), "{}", sent.mail.text);
        }
    }
}

#[tokio::test]
async fn an_order_is_cancelled_and_paid_back_whatever_the_shop_sells_in_now() {
    let cloud = Cloud::with(in_currency("USD")).await;
    let placed = place(&cloud, &costs("19.99")).await;
    let bill = cloud.post(INVOICE, &bills(&placed.body, "USD")).await;
    assert_eq!(bill.status, 201, "{}", bill.text);
    let paid = cloud.post(PAYMENT, &pays(&placed.body)).await;
    assert_eq!(paid.status, 201, "{}", paid.text);
    let cloud = changed(cloud, in_currency("JPY"));
    // A repeat gets the same answer.
    assert_eq!(
        cloud.post(PAYMENT, &pays(&placed.body)).await.text,
        paid.text
    );
    let body = json!({"customerId": "8080", "orderId": placed.body["orderId"]});
    assert_eq!(cloud.post(CANCEL, &body).await.status, 200);
}

#[tokio::test]
async fn an_order_keeps_the_tax_that_its_cart_was_answered_with() {
    let taxes = [
        (TaxMode::OfTotal, "0.18"),
        (TaxMode::Added, "0.25"),
        (TaxMode::Included, "0.07"),
    ];
    for (before, rate) in taxes {
        for (after, later_rate) in taxes {
            let options = |tax_mode, tax_rate| Options {
                tax_mode,
                tax_rate,
                ..Options::default()
            };
            let cloud = Cloud::with(options(before, rate)).await;
            let placed = cloud.post_with_key(CART, "k", &costs("19.99")).await;
            let chained = place(&cloud, &with_checkout(costs("19.99"), "USD")).await;
            let cloud = changed(cloud, options(after, later_rate));
            let again = cloud.post_with_key(CART, "k", &costs("19.99")).await;
            assert_eq!(again.text, placed.text);
            let reply = cloud.post(INVOICE, &bills(&placed.body, "USD")).await;
            assert_eq!(reply.status, 201, "{}", reply.text);
            cloud.settle().await;
            for cart in [&placed.body, &chained.body] {
                let shown = cloud.get(text(&cart["orderId"])).await;
                for name in ["tax", "subTotalAmount", "totalAmount"] {
                    assert_eq!(shown.body[name], cart[name], "{name}");
                }
                assert_eq!(shown.body["payment"]["state"], "captured");
            }
        }
    }
}

#[tokio::test]
async fn a_shipment_asks_for_no_amount() {
    let cloud = Cloud::with(in_currency("USD")).await;
    let placed = place(&cloud, &with_checkout(costs("19.99"), "USD")).await;
    let order = text(&placed.body["orderId"]).to_owned();
    let until_paid = [
        messages::queue::Queue::Billing,
        messages::queue::Queue::Payment,
    ];
    cloud.settle_through(&until_paid).await;
    let cloud = changed(cloud, in_currency("JPY"));
    let reply = cloud
        .post(SHIPPING, &crate::contract::shipping(&order))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}
