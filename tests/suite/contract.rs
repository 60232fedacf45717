//! The contract: each request of the contract gets its answer, field for field and type for type,
//! except for IDs and times.

use serde_json::{Value, json};
use tests::Cloud;

pub(crate) fn cart() -> Value {
    json!({
        "customerId": "8080",
        "items": [
            {"productId": "1234", "quantity": 2, "price": 50},
            {"productId": "2345", "quantity": 1, "price": 100}
        ]
    })
}

pub(crate) fn checkout() -> Value {
    json!({
        "name": "Lital Hay",
        "phone": "0545870006",
        "email": "lital.naory@gmail.com",
        "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY",
        "currency": "USD"
    })
}

pub(crate) fn cart_with_checkout() -> Value {
    let mut cart = cart();
    cart["checkout"] = checkout();
    cart
}

pub(crate) fn invoice(order: &str) -> Value {
    serde_json::from_str(&format!(
        r#"{{
            "customerId": "8080", "orderId": "{order}",
            "tax": 36.0, "subTotalAmount": 164.0, "totalAmount": 200.0, "currency": "USD",
            "items": [
                {{"productId": "1", "quantity": 2, "price": 50}},
                {{"productId": "2", "quantity": 1, "price": 100}}
            ],
            "name": "Lital Hay", "phone": "0545870006",
            "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"
        }}"#
    ))
    .unwrap()
}

pub(crate) fn payment(invoice: &str) -> Value {
    let text =
        format!(r#"{{"customerId": "8080", "invoiceId": "{invoice}", "totalAmount": 200.0}}"#);
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn shipping(order: &str) -> Value {
    json!({
        "orderId": order,
        "name": "Lital Hay",
        "phone": "0545870006",
        "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"
    })
}

/// The same cart, with everything that its order needs to be shipped.
pub(crate) fn with_checkout(mut cart: Value, currency: &str) -> Value {
    cart["checkout"] = checkout();
    cart["checkout"]["currency"] = currency.into();
    cart
}

/// The invoice request for an order, from the answer to its cart.
pub(crate) fn bills(cart: &Value, currency: &str) -> Value {
    let mut body = json!({
        "customerId": "8080", "orderId": cart["orderId"], "currency": currency,
        "items": cart["items"], "name": "Lital Hay", "phone": "0545870006",
        "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"
    });
    for name in ["tax", "subTotalAmount", "totalAmount"] {
        body[name] = cart[name].clone();
    }
    body
}

/// The payment request for an order, from the answer to its cart.
pub(crate) fn pays(cart: &Value) -> Value {
    json!({
        "customerId": "8080",
        "invoiceId": text(&cart["orderId"]).replace("ord_", "inv_"),
        "totalAmount": cart["totalAmount"]
    })
}

pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
}

#[tokio::test]
async fn the_seeds_calls_get_the_seeds_answers() {
    let cloud = Cloud::start().await;

    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let order = text(&reply.body["orderId"]).to_owned();
    assert_eq!(reply.header("location"), format!("/api/order/{order}"));
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(
        reply.text,
        format!(
            "{{\"orderId\":\"{order}\",\"tax\":36.0,\"subTotalAmount\":164.0,\"totalAmount\":200.0,\
             \"items\":[{{\"productId\":\"1234\",\"quantity\":2,\"price\":50}},\
             {{\"productId\":\"2345\",\"quantity\":1,\"price\":100}}],\"status\":\"pending\"}}"
        )
    );

    let reply = cloud
        .post("/api/order/invoice.json", &invoice(&order))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let invoice = text(&reply.body["invoiceId"]).to_owned();
    assert_eq!(
        reply.text,
        format!(
            "{{\"invoiceId\":\"{invoice}\",\"orderId\":\"{order}\",\"customerId\":\"8080\",\
             \"totalAmount\":200.0}}"
        )
    );

    let reply = cloud
        .post("/api/order/payment.json", &payment(&invoice))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let transaction = reply.body["transactionId"].as_u64().expect("a number");
    assert_eq!(
        reply.text,
        format!(
            "{{\"transactionId\":{transaction},\"credit_card\":{{\"first_name\":\"Bob\",\
             \"last_name\":\"Norman\",\"first_digits\":\"424242\",\"last_digits\":\"4242\",\
             \"brand\":\"visa\",\"expiry_month\":9,\"expiry_year\":2024,\"customer_id\":8080}},\
             \"payment\":{{\"completed_at\":\"2026-11-23T10:12:05+00:00\",\
             \"created_at\":\"2026-11-23T10:12:05+00:00\",\"currency\":\"USD\",\
             \"customer_id\":8080,\"amount\":\"200.0\"}}}}"
        )
    );

    let reply = cloud
        .post("/api/order/shipping.json", &shipping(&order))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let tracking = reply.body["tracking_number"].as_u64().expect("a number");
    assert_eq!(reply.text, format!("{{\"tracking_number\":{tracking}}}"));

    let mail =
        json!({"event": "OrderShipped", "name": "Lital Hay", "email": "lital.naory@gmail.com"});
    let reply = cloud.post("/api/order/email.json", &mail).await;
    assert_eq!(
        (reply.status, reply.text.as_str()),
        (200, "{\"status\":\"OK\"}")
    );
    assert_eq!(cloud.mailer.taken().len(), 1);
}
