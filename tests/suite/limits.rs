//! Each field's limits: which values are accepted, which are refused, and with which pointer.

use proptest::prelude::*;
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
const CANCEL: &str = "/api/order/cancel.json";
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

/// Sends a valid body with one changed value. Returns whether it was accepted; if not, only that
/// value may be reported.
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

    let cancel = json!({"customerId": "8080", "orderId": "ord_1", "reason": "ordered twice"});

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
        (CANCEL, &cancel, "/customerId"),
        (CANCEL, &cancel, "/orderId"),
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

    // Texts: 1 to 500 characters; line breaks in addresses only.
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
        (CANCEL, &cancel, "/reason"),
    ] {
        for (value, taken) in [
            (json!("x".repeat(500)), true),
            (json!("x".repeat(501)), false),
            (json!(""), false),
            (json!(7), false),
            (
                json!("a\nb"),
                pointer.ends_with("address") || pointer.ends_with("reason"),
            ),
        ] {
            assert_eq!(
                takes(&cloud, path, body, pointer, value.clone()).await,
                taken,
                "{path} {pointer} {value}"
            );
        }
    }

    // Quantities from 1 to 10,000; prices from 0 to 1,000,000,000 with the currency's decimals.
    for (path, body) in [(CART, &cart), (INVOICE, &invoice)] {
        for (value, taken) in [
            ("1", true),
            ("10000", true),
            ("10001", false),
            ("0", false),
            ("-1", false),
            ("1.0", true),
            ("1.5", false),
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
        (SHIPPING, &mail, "/email"),
    ] {
        for (value, taken) in [
            ("a@b.example", true),
            ("a@b", false),
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

/// An agreement without its optional field.
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
        (
            SHIPPING,
            json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"}),
        ),
        (AGREEMENT, without_name(agreement())),
        (CANCEL, json!({"customerId": "8080", "orderId": "ord_1"})),
    ] {
        for name in body.as_object().unwrap().keys() {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(name);
            let reply = cloud.post(path, &without).await;
            assert_problem(&reply, 422, "invalid_fields");
            if name == "event" && path == SHIPPING {
                // Without it, the body is a shipment's.
                continue;
            }
            assert_eq!(reply.pointers(), [format!("/{name}")], "{path}");
            let mut null = body.clone();
            null[name] = Value::Null;
            assert_eq!(cloud.post(path, &null).await.text, reply.text, "{path}");
        }
        let mut with = body.clone();
        with["surprise/~"] = 1.into();
        let reply = cloud.post(path, &with).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), ["/surprise~1~0"], "{path}");
    }
}

/// A shipment request has no email address, and a mail request no postal address.
#[tokio::test]
async fn the_two_bodies_of_the_shipping_path_do_not_mix() {
    let cloud = Cloud::start().await;
    let mut body = shipping("ord_1");
    body["event"] = Value::Null;
    assert_problem(&cloud.post(SHIPPING, &body).await, 404, "order_not_found");
    body["email"] = "l@example.com".into();
    let reply = cloud.post(SHIPPING, &body).await;
    assert_eq!(reply.pointers(), ["/email"]);
    let mut body = shipping("ord_1");
    body["email"] = "l@example.com".into();
    assert_eq!(cloud.post(SHIPPING, &body).await.pointers(), ["/email"]);
}

/// A random value in a field is either accepted or reported, and nothing else is reported.
#[test]
fn a_random_value_is_taken_or_named() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cloud = runtime.block_on(Cloud::start());
    let mut invoice = invoice("ord_1");
    invoice["email"] = "l@example.com".into();
    let bodies = [
        (CART, cart_with_checkout()),
        (INVOICE, invoice),
        (PAYMENT, payment("inv_1")),
        (SHIPPING, shipping("ord_1")),
        (
            EMAIL,
            json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"}),
        ),
        (AGREEMENT, agreement()),
        (
            CANCEL,
            json!({"customerId": "8080", "orderId": "ord_1", "reason": "x"}),
        ),
    ];
    let mut fields = Vec::new();
    for (path, body) in &bodies {
        let mut pointers = Vec::new();
        leaves(body, "", &mut pointers);
        fields.extend(
            pointers
                .into_iter()
                .map(|pointer| (*path, body.clone(), pointer)),
        );
    }
    let value = prop_oneof![
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
        any::<i64>().prop_map(Value::from),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?"
            .prop_map(|number| serde_json::from_str(&number).unwrap()),
        "\\PC{0,70}".prop_map(Value::from),
        ".{0,70}".prop_map(Value::from),
        proptest::sample::select(vec![499_usize, 500, 501, 64, 65, 255, 256])
            .prop_map(|length| Value::from("\u{e9}".repeat(length))),
    ];
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    };
    proptest!(config, |((path, body, pointer) in proptest::sample::select(fields), value in value)| {
        let mut changed = body.clone();
        *changed.pointer_mut(&pointer).unwrap() = value.clone();
        let reply = runtime.block_on(cloud.post(path, &changed));
        prop_assert!(reply.status < 500, "{}", reply.text);
        if reply.code() == "invalid_fields" {
            let is_below = |named: &&str| named.starts_with(&*pointer);
            prop_assert!(reply.pointers().iter().all(is_below), "{} {}: {}", path, pointer, reply.text);
        }
        let text = value.as_str();
        let is_text = ["/name", "/phone", "/checkout/name", "/checkout/phone"].contains(&&*pointer);
        if let (true, Some(text)) = (is_text, text) {
            let length = text.chars().count();
            let fits = (1..=500).contains(&length)
                && !text.chars().any(char::is_control)
                && text.chars().any(domain::is_visible);
            let is_taken = reply.code() != "invalid_fields";
            prop_assert!(reply.code() == "card_number_refused" || is_taken == fits, "{}", reply.text);
        }
    });
}

/// The pointers to all leaves of a value.
fn leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{pointer}/{index}"), found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

#[tokio::test]
async fn keys_and_bodies_have_their_lengths() {
    let cloud = Cloud::start().await;
    for (key, taken) in [
        ("k".to_owned(), true),
        ("k".repeat(255), true),
        ("~!\"#$%&'()*+,/:;<=>?@[]^_`{|}".to_owned(), true),
        ("k".repeat(256), false),
        (String::new(), false),
        ("a b".to_owned(), false),
        ("k\u{e9}".to_owned(), false),
        ("k\u{200b}".to_owned(), false),
    ] {
        let reply = cloud.post_with_key(CART, &key, &cart()).await;
        if taken {
            assert_eq!(reply.status, 201, "{key}: {}", reply.text);
        } else {
            assert_problem(&reply, 422, "malformed_idempotency_key");
        }
    }
    let body = cart().to_string();
    for (length, status) in [(65_536, 201), (65_537, 413)] {
        let mut event = tests::request(CART, &cart());
        event["body"] = format!("{body}{}", " ".repeat(length - body.len())).into();
        assert_eq!(cloud.send(&event).await.status, status, "{length}");
    }
}
