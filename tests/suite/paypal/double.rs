//! The double compared with the published wire format.

use domain::Timestamp;
use platform::outbound::Secret;
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{DoubleRequest, PartnerDouble, PayPalDouble};

use super::{CARD, ORDERS, json_of};
use crate::contract::text;

/// The double alone, with requests as in PayPal's documents.
struct Wire {
    double: PayPalDouble,
    token: String,
}

impl Wire {
    fn new() -> Self {
        let runtime = Runtime::new(|| Timestamp::from_millis(1_795_428_725_000), |_| {});
        let double = PayPalDouble::new(runtime);
        double.vault_card(CARD, []);
        let mut wire = Self {
            double,
            token: String::new(),
        };
        let basic =
            Secret::basic_authorization(PayPalDouble::CLIENT, &Secret::new(PayPalDouble::SECRET));
        let (status, body) = wire.ask(
            "POST",
            "/v1/oauth2/token",
            &[("authorization", basic.expose())],
            b"grant_type=client_credentials",
        );
        assert_eq!(status, 200);
        assert_eq!(body["token_type"], "Bearer");
        assert!(body["expires_in"].is_u64());
        wire.token = format!("Bearer {}", text(&body["access_token"]));
        wire
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut headers: std::collections::BTreeMap<String, String> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        headers
            .entry("authorization".to_owned())
            .or_insert_with(|| self.token.clone());
        headers.insert("content-type".to_owned(), "application/json".to_owned());
        let reply = self.double.handle(&DoubleRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: body.to_vec(),
        });
        (reply.status, json_of(&reply.body))
    }

    fn post(&self, path: &str, id: &str, body: &Value) -> (u16, Value) {
        let headers = [
            ("paypal-request-id", id),
            ("prefer", "return=representation"),
        ];
        self.ask("POST", path, &headers, body.to_string().as_bytes())
    }

    fn open(&self) -> String {
        let body = json!({"intent": "CAPTURE", "purchase_units": [
            {"custom_id": "1111", "amount": {"currency_code": "USD", "value": "45.00"}}]});
        let (status, order) = self.post(ORDERS, "open", &body);
        assert_eq!((status, &order["status"]), (201, &json!("CREATED")));
        text(&order["id"]).to_owned()
    }
}

fn vaulted() -> Value {
    json!({"payment_source": {"card": {"vault_id": CARD, "stored_credential": {
        "payment_initiator": "MERCHANT", "payment_type": "UNSCHEDULED", "usage": "SUBSEQUENT"}}}})
}

/// Checks that `actual` has every field of the published answer, with the same type.
fn assert_shaped_like(actual: &Value, published: &Value, at: &str) {
    match (actual, published) {
        (Value::Object(actual), Value::Object(published)) => {
            for (name, value) in published {
                let at = format!("{at}/{name}");
                let field = actual
                    .get(name)
                    .unwrap_or_else(|| panic!("{at} is missing"));
                assert_shaped_like(field, value, &at);
            }
        }
        (Value::Array(actual), Value::Array(published)) => {
            for (index, value) in published.iter().enumerate() {
                let at = format!("{at}/{index}");
                let element = actual
                    .get(index)
                    .unwrap_or_else(|| panic!("{at} is missing"));
                assert_shaped_like(element, value, &at);
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(actual),
            std::mem::discriminant(published),
            "{at}"
        ),
    }
}

#[test]
fn the_double_answers_in_the_shapes_that_paypal_publishes() {
    let wire = Wire::new();
    let order = wire.open();
    let path = format!("{ORDERS}/{order}");
    // A captured card, as in PayPal's guide to its account updater.
    let published = json!({
        "id": "7YS401589T475863H", "status": "COMPLETED",
        "payment_source": {"card": {"last_digits": "9855", "expiry": "2040-12", "brand": "VISA",
            "type": "CREDIT"}},
        "purchase_units": [{"reference_id": "default", "payments": {"captures": [{
            "id": "1MJ8142177130444J", "status": "COMPLETED",
            "amount": {"currency_code": "USD", "value": "45.00"}, "final_capture": true,
            "seller_protection": {"status": "NOT_ELIGIBLE"}, "custom_id": "1111",
            "links": [{"href": "h", "rel": "self", "method": "GET"}],
            "create_time": "2023-03-12T17:53:18Z", "update_time": "2023-03-12T17:53:18Z",
            "processor_response": {"avs_code": "A", "cvv_code": "M", "response_code": "0000"},
        }]}}],
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    let (status, captured) = wire.post(&format!("{path}/capture"), "capture", &vaulted());
    assert_eq!(status, 201);
    assert_shaped_like(&captured, &published, "");
    let (status, again) = wire.post(&format!("{path}/capture"), "capture", &vaulted());
    assert_eq!((status, &again), (200, &captured));
    let (status, read) = wire.ask("GET", &path, &[], b"");
    assert_eq!((status, &read), (200, &captured));

    // A second capture, and a missing order, as in the specification and in live logs.
    let error = json!({
        "name": "n", "message": "m", "debug_id": "d",
        "details": [{"issue": "i", "description": "d"}],
        "links": [{"href": "h", "rel": "information_link", "method": "GET"}],
    });
    let (status, refused) = wire.post(&format!("{path}/capture"), "other", &vaulted());
    assert_shaped_like(&refused, &error, "");
    assert_eq!(
        (status, &refused["name"], &refused["details"][0]["issue"]),
        (
            422,
            &json!("UNPROCESSABLE_ENTITY"),
            &json!("ORDER_ALREADY_CAPTURED")
        )
    );
    let (status, missing) = wire.ask("GET", &format!("{ORDERS}/5O190127TN364715T"), &[], b"");
    assert_shaped_like(&missing, &error, "");
    assert_eq!(
        (status, &missing["name"], &missing["details"][0]["issue"]),
        (
            404,
            &json!("RESOURCE_NOT_FOUND"),
            &json!("INVALID_RESOURCE_ID")
        )
    );

    let capture = text(&captured["purchase_units"][0]["payments"]["captures"][0]["id"]);
    let path = format!("/v2/payments/captures/{capture}/refund");
    let (status, refund) = wire.post(&path, "refund", &json!({}));
    let published = json!({"id": "i", "status": "COMPLETED",
        "links": [{"href": "h", "rel": "self", "method": "GET"}]});
    assert_eq!(status, 201);
    assert_shaped_like(&refund, &published, "");
}

#[test]
fn the_double_shows_a_dispute_and_its_capture_as_paypal_publishes_them() {
    let wire = Wire::new();
    let order = wire.open();
    let (_, paid) = wire.post(&format!("{ORDERS}/{order}/capture"), "capture", &vaulted());
    let capture = text(&paid["purchase_units"][0]["payments"]["captures"][0]["id"]);
    wire.double.dispute();
    wire.double
        .set_disputes("RESOLVED", Some("RESOLVED_BUYER_FAVOUR"));
    let path = format!("/v1/customer/disputes/{}", wire.double.disputes()[0]);
    let (status, dispute) = wire.ask("GET", &path, &[], b"");
    // The specification's fields that every dispute of a capture has.
    let published = json!({
        "dispute_id": "PP-D-27803", "create_time": "t", "update_time": "t",
        "disputed_transactions": [{
            "seller_transaction_id": "i", "create_time": "t", "transaction_status": "COMPLETED",
            "gross_amount": {"currency_code": "USD", "value": "1"},
            "buyer": {"name": "n"}, "seller": {"merchant_id": "m"},
        }],
        "reason": "r", "status": "RESOLVED",
        "dispute_amount": {"currency_code": "USD", "value": "1"},
        "dispute_outcome": {"outcome_code": "c",
            "amount_refunded": {"currency_code": "USD", "value": "1"}},
        "dispute_life_cycle_stage": "CHARGEBACK", "dispute_channel": "INTERNAL",
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    assert_eq!(status, 200);
    assert_shaped_like(&dispute, &published, "");
    let disputed = &dispute["disputed_transactions"][0]["seller_transaction_id"];
    assert_eq!(*disputed, capture);
    let path = format!("/v2/payments/captures/{capture}");
    let (status, shown) = wire.ask("GET", &path, &[], b"");
    let published = json!({
        "id": "i", "status": "COMPLETED", "amount": {"currency_code": "USD", "value": "45.00"},
        "custom_id": "1111", "final_capture": true,
        "supplementary_data": {"related_ids": {"order_id": "o"}},
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    assert_eq!(status, 200);
    assert_shaped_like(&shown, &published, "");
    let related = &shown["supplementary_data"]["related_ids"];
    assert_eq!(
        (&shown["custom_id"], &related["order_id"]),
        (&json!("1111"), &json!(order))
    );
}

#[test]
fn the_double_is_as_strict_as_paypal() {
    let wire = Wire::new();
    let issue = |reply: &(u16, Value)| {
        let issue = reply.1["details"][0]["issue"].as_str().unwrap_or_default();
        (reply.0, issue.to_owned())
    };
    let open = |currency: &str, value: &str| {
        let body = json!({"intent": "CAPTURE", "purchase_units": [
            {"amount": {"currency_code": currency, "value": value}}]});
        issue(&wire.post(ORDERS, &format!("{currency}{value}"), &body))
    };
    for (currency, value, expected) in [
        ("JPY", "500.00", "DECIMAL_PRECISION"),
        ("HUF", "500.00", "DECIMAL_PRECISION"),
        ("TWD", "500.00", "DECIMAL_PRECISION"),
        ("USD", "5.001", "DECIMAL_PRECISION"),
        ("KWD", "5.001", "INVALID_CURRENCY_CODE"),
        ("USD", "0.00", "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("USD", "1000000000000000.00", "MAX_VALUE_EXCEEDED"),
    ] {
        assert_eq!(open(currency, value), (422, expected.to_owned()));
    }
    let order = wire.open();
    let path = format!("{ORDERS}/{order}/capture");
    let ask = |id: &str, body: Value| issue(&wire.post(&path, id, &body));
    assert_eq!(ask("none", json!({})), (422, "ORDER_NOT_APPROVED".into()));
    let card = |source: Value| json!({"payment_source": {"card": source}});
    assert_eq!(
        ask("bare", card(json!({"vault_id": CARD}))),
        (400, "INVALID_PARAMETER_VALUE".into())
    );
    let long = "x".repeat(109);
    assert_eq!(ask(&long, vaulted()), (400, "INVALID_STRING_LENGTH".into()));
    let wrong = wire.ask("GET", &path, &[("authorization", "Bearer made-up")], b"");
    assert_eq!((wrong.0, &wrong.1["error"]), (401, &json!("invalid_token")));
    assert!(wire.double.taken().is_empty());

    // An order that is created with a source is paid at once, so this is never used to open one.
    let mut body = vaulted();
    body["intent"] = "CAPTURE".into();
    body["purchase_units"] = json!([{"amount": {"currency_code": "USD", "value": "45.00"}}]);
    let (_, paid) = wire.post(ORDERS, "single step", &body);
    assert_eq!(paid["status"], "COMPLETED");
    assert_eq!(wire.double.taken(), ["45.00 USD"]);
}
