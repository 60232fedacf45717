//! Each field's limits: what is taken, what is refused, and under which name.

use serde_json::{Value, json};
use tests::Cloud;

use crate::agreements::agreement;
use crate::contract::{cart, cart_with_checkout, checkout, invoice, payment, shipping};
use crate::errors::assert_problem;

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";
const AGREEMENT: &str = "/api/customer/billing.json";

#[tokio::test]
async fn all_bad_fields_are_reported_at_once_with_422() {
    let cloud = Cloud::start().await;
    let body = json!({
        "customerId": 8080,
        "items": [{"productId": "", "quantity": 0, "price": -1}, {"quantity": 1.5, "price": "1"}],
        "checkout": {"name": "", "email": "nobody", "shipping_address": 5, "currency": "EUR"},
        "note": "x"
    });
    let reply = cloud.post(CART, &body).await;
    assert_problem(&reply, 422, "invalid_fields");
    let mut pointers = reply.pointers();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/checkout/currency",
            "/checkout/email",
            "/checkout/name",
            "/checkout/phone",
            "/checkout/shipping_address",
            "/customerId",
            "/items/0/price",
            "/items/0/productId",
            "/items/0/quantity",
            "/items/1/price",
            "/items/1/productId",
            "/items/1/quantity",
            "/note",
        ]
    );
    assert_problem(&cloud.post(CART, &json!([])).await, 422, "invalid_fields");
}

/// Sends a valid body with one value changed; tells whether it was taken, and that nothing but that
/// value was reported otherwise.
async fn takes(
    cloud: &Cloud<payment::partners::Sandbox>,
    path: &str,
    body: &Value,
    pointer: &str,
    value: Value,
) -> bool {
    let mut body = body.clone();
    *body
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer} is in the body")) = value;
    let reply = cloud.post(path, &body).await;
    if reply.code() == "invalid_fields" {
        assert_eq!(reply.status, 422);
        assert_eq!(reply.pointers(), [pointer], "{}", reply.text);
        return false;
    }
    assert!(reply.status < 500, "{}", reply.text);
    true
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn each_field_has_its_limits() {
    let cloud = Cloud::start().await;
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let cart = cart_with_checkout();
    let invoice = {
        let mut body = invoice("ord_1");
        body["email"] = "lital.naory@gmail.com".into();
        body
    };
    let payment = payment("inv_1");
    let shipping = shipping("ord_1");
    let mail = json!({
        "event": "InvoiceCreated", "name": "L", "email": "l@example.com", "orderId": "ord_1"
    });

    // Ids: 1 to 64 characters.
    for (path, body, pointer) in [
        (CART, &cart, "/customerId"),
        (CART, &cart, "/items/0/productId"),
        (INVOICE, &invoice, "/customerId"),
        (INVOICE, &invoice, "/orderId"),
        (INVOICE, &invoice, "/items/1/productId"),
        (PAYMENT, &payment, "/customerId"),
        (PAYMENT, &payment, "/invoiceId"),
        (SHIPPING, &shipping, "/orderId"),
        (EMAIL, &mail, "/orderId"),
        (SHIPPING, &mail, "/orderId"),
        (AGREEMENT, &agreement(), "/customerId"),
    ] {
        for (value, taken) in [
            (json!("x"), true),
            (json!("ü".repeat(64)), true),
            (json!("x".repeat(65)), false),
            (json!(""), false),
            (json!("a\u{7}"), false),
            (json!(456), false),
        ] {
            assert_eq!(
                takes(&cloud, path, body, pointer, value.clone()).await,
                taken,
                "{path} {pointer} {value}"
            );
        }
    }

    // Texts: 1 to 500 characters, lines only in addresses.
    for (path, body, pointer) in [
        (CART, &cart, "/checkout/name"),
        (CART, &cart, "/checkout/phone"),
        (CART, &cart, "/checkout/shipping_address"),
        (INVOICE, &invoice, "/name"),
        (INVOICE, &invoice, "/phone"),
        (INVOICE, &invoice, "/shipping_address"),
        (SHIPPING, &shipping, "/name"),
        (SHIPPING, &shipping, "/phone"),
        (SHIPPING, &shipping, "/shipping_address"),
        (EMAIL, &mail, "/name"),
        (AGREEMENT, &agreement(), "/name"),
    ] {
        for (value, taken) in [
            (json!("x".repeat(500)), true),
            (json!("x".repeat(501)), false),
            (json!(""), false),
            (json!(7), false),
            (json!("a\nb"), pointer.ends_with("address")),
        ] {
            assert_eq!(
                takes(&cloud, path, body, pointer, value.clone()).await,
                taken,
                "{path} {pointer} {value}"
            );
        }
    }

    // Quantities 1 to 10 000; prices 0 to 1 000 000 000 with the currency's decimals.
    for (path, body) in [(CART, &cart), (INVOICE, &invoice)] {
        for (value, taken) in [
            ("1", true),
            ("10000", true),
            ("10001", false),
            ("0", false),
            ("-1", false),
            ("1.0", false),
            ("\"1\"", false),
        ] {
            let is_taken = takes(&cloud, path, body, "/items/0/quantity", number(value)).await;
            assert_eq!(is_taken, taken, "{path} quantity {value}");
        }
        for (value, taken) in [
            ("0", true),
            ("1000000000", true),
            ("1000000000.01", false),
            ("-0.01", false),
            ("0.001", false),
            ("19.990", true),
            ("1e2", true),
            ("\"1\"", false),
            ("true", false),
        ] {
            let is_taken = takes(&cloud, path, body, "/items/0/price", number(value)).await;
            assert_eq!(is_taken, taken, "{path} price {value}");
        }
    }
    for (path, body, pointer) in [
        (INVOICE, &invoice, "/tax"),
        (INVOICE, &invoice, "/subTotalAmount"),
        (INVOICE, &invoice, "/totalAmount"),
        (PAYMENT, &payment, "/totalAmount"),
    ] {
        for (value, taken) in [
            ("0", true),
            ("1e15", true),
            ("-1", false),
            ("0.001", false),
            ("null", false),
        ] {
            let is_taken = takes(&cloud, path, body, pointer, number(value)).await;
            assert_eq!(is_taken, taken, "{path} {pointer} {value}");
        }
    }

    // Emails, events, currency.
    for (path, body, pointer) in [
        (CART, &cart, "/checkout/email"),
        (INVOICE, &invoice, "/email"),
        (EMAIL, &mail, "/email"),
    ] {
        for (value, taken) in [
            ("a@b.example", true),
            ("a", false),
            ("a@b.c\r\nBcc: d@e.f", false),
            ("", false),
        ] {
            assert_eq!(
                takes(&cloud, path, body, pointer, json!(value)).await,
                taken,
                "{path} {value}"
            );
        }
    }
    for (value, taken) in [
        ("OrderShipped", true),
        ("CartUpdated", false),
        ("Nothing", false),
    ] {
        assert_eq!(
            takes(&cloud, EMAIL, &mail, "/event", json!(value)).await,
            taken,
            "{value}"
        );
    }
    for (value, taken) in [("USD", true), ("EUR", false), ("usd", false)] {
        assert_eq!(
            takes(&cloud, INVOICE, &invoice, "/currency", json!(value)).await,
            taken,
            "{value}"
        );
    }

    // A partner's tokens.
    for pointer in ["/partnerCustomerId", "/paymentMethodId"] {
        for (value, taken) in [
            (json!("x".repeat(255)), true),
            (json!("x".repeat(256)), false),
            (json!("a-b_C1"), true),
            (json!(""), false),
            (json!("a b"), false),
            (json!("ü"), false),
            (json!(7), false),
        ] {
            assert_eq!(
                takes(&cloud, AGREEMENT, &agreement(), pointer, value.clone()).await,
                taken,
                "{pointer} {value}"
            );
        }
    }
    for (value, taken) in [
        ("stripe", true),
        ("paypal", true),
        ("Stripe", false),
        ("sandbox", false),
    ] {
        assert_eq!(
            takes(&cloud, AGREEMENT, &agreement(), "/partner", json!(value)).await,
            taken,
            "{value}"
        );
    }

    // One to 100 lines.
    let line = json!({"productId": "1", "quantity": 1, "price": 1});
    for (count, taken) in [(1, true), (100, true), (101, false), (0, false)] {
        let lines = Value::Array(vec![line.clone(); count]);
        assert_eq!(
            takes(&cloud, CART, &cart, "/items", lines.clone()).await,
            taken,
            "{count}"
        );
        assert_eq!(
            takes(&cloud, INVOICE, &invoice, "/items", lines).await,
            taken,
            "{count}"
        );
    }
}

/// The optional field of an agreement left out.
fn without_name(mut agreement: Value) -> Value {
    agreement.as_object_mut().unwrap().remove("name");
    agreement
}

#[tokio::test]
async fn every_required_field_is_missed_by_name_and_every_unknown_one_is_refused() {
    let cloud = Cloud::start().await;
    let mail = json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"});
    let mut checkout_only = cart();
    checkout_only["checkout"] = checkout();
    for (path, body) in [
        (CART, cart()),
        (INVOICE, invoice("ord_1")),
        (PAYMENT, payment("inv_1")),
        (SHIPPING, shipping("ord_1")),
        (EMAIL, mail),
        (AGREEMENT, without_name(agreement())),
    ] {
        for name in body.as_object().unwrap().keys() {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(name);
            let reply = cloud.post(path, &without).await;
            assert_problem(&reply, 422, "invalid_fields");
            assert_eq!(reply.pointers(), [format!("/{name}")], "{path}");
        }
        let mut with = body.clone();
        with["surprise/~"] = 1.into();
        let reply = cloud.post(path, &with).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), ["/surprise~1~0"], "{path}");
    }
}
