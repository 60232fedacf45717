//! The double compared with the wire format, and with Stripe itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::{Agreement, Money, PartnerName};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, RefundStatus,
    STRIPE_VERSION, Stripe,
};
use platform::config::Environment;
use platform::outbound::{Https, HttpsCall, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{Operation, Outcome, StripeDouble};

use super::{CUSTOMER, POOR, VISA, bench, clock, token};
use crate::contract::text;

/// Checks that `actual` contains everything in `example`: `*` stands for any text, a number for any
/// number, and everything else for itself.
fn check_shape(example: &Value, actual: &Value, at: &str) {
    match (example, actual) {
        (Value::Object(example), Value::Object(actual)) => {
            for (name, value) in example {
                let found = actual.get(name);
                let found = found.unwrap_or_else(|| panic!("{at} has no {name}"));
                check_shape(value, found, &format!("{at}.{name}"));
            }
        }
        (Value::Array(example), Value::Array(actual)) => {
            for (index, value) in example.iter().enumerate() {
                check_shape(value, &actual[index], &format!("{at}[{index}]"));
            }
        }
        (Value::String(any), Value::String(_)) if any == "*" => {}
        (Value::Number(_), Value::Number(_)) => {}
        (example, actual) => assert_eq!(example, actual, "{at}"),
    }
}

/// The double with a bare client.
struct Wire(StripeDouble);

impl Wire {
    fn new(method: &str) -> Self {
        let played = StripeDouble::new(clock().0);
        played.attach(CUSTOMER, method);
        Self(played)
    }

    fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
        let headers: Vec<(String, String)> = [
            ("authorization", "Bearer sk_test_played"),
            ("stripe-version", STRIPE_VERSION),
            ("idempotency-key", key),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (status, body) = self.0.handle(method, path, &headers, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn open(&self, method: &str) -> String {
        let (status, intent) = self.ask(
            "POST",
            "/v1/payment_intents",
            "open",
            &format!(
                "amount=1099&currency=usd&customer={CUSTOMER}&payment_method={method}&confirm=false\
                 &capture_method=automatic&payment_method_types[]=card&metadata[order_id]=42"
            ),
        );
        assert_eq!(status, 200, "{intent}");
        text(&intent["id"]).to_owned()
    }

    fn confirm(&self, id: &str, key: &str, body: &str) -> (u16, Value) {
        let path = format!("/v1/payment_intents/{id}/confirm");
        self.ask("POST", &path, key, body)
    }
}

/// An intent as in the published fixtures.
fn intent_shape(status: &str) -> Value {
    json!({
        "id": "*", "object": "payment_intent", "amount": 0, "amount_capturable": 0,
        "amount_received": 0, "canceled_at": null, "capture_method": "automatic",
        "client_secret": "*", "confirmation_method": "automatic", "created": 0, "currency": "usd",
        "description": null, "livemode": false, "metadata": {}, "next_action": null,
        "payment_method_options": {}, "payment_method_types": ["card"], "processing": null,
        "receipt_email": null, "setup_future_usage": null, "shipping": null, "status": status,
        "transfer_data": null,
    })
}

#[test]
fn an_opened_and_a_captured_intent_have_the_published_shape() {
    let wire = Wire::new(VISA);
    let id = wire.open(VISA);
    let path = format!("/v1/payment_intents/{id}");
    let (_, intent) = wire.ask("GET", &path, "", "");
    check_shape(&intent_shape("requires_confirmation"), &intent, "intent");
    assert_eq!(intent["payment_method"], VISA);
    assert_eq!(intent["latest_charge"], Value::Null);

    let (status, intent) = wire.confirm(&id, "confirm", "off_session=true&expand[]=latest_charge");
    assert_eq!(status, 200);
    check_shape(&intent_shape("succeeded"), &intent, "intent");
    check_shape(
        &json!({
            "amount_received": 1099, "last_payment_error": null, "payment_method": VISA,
            "latest_charge": {
                "id": "*", "object": "charge", "amount": 0, "amount_captured": 0,
                "amount_refunded": 0, "captured": true, "currency": "usd", "disputed": false,
                "failure_code": null, "failure_message": null, "livemode": false, "paid": true,
                "billing_details": {
                    "address": {
                        "city": null, "country": null, "line1": null, "line2": null,
                        "postal_code": null, "state": null
                    },
                    "email": null, "name": null, "phone": null
                },
                "outcome": {
                    "network_status": "approved_by_network", "type": "authorized",
                    "seller_message": "*"
                },
                "payment_intent": "*", "payment_method": VISA,
                "payment_method_details": {
                    "card": {
                        "brand": "visa", "checks": {"cvc_check": "pass"}, "country": "US",
                        "exp_month": 0, "exp_year": 0, "fingerprint": "*", "funding": "credit",
                        "last4": "4242", "network": "visa", "network_token": {"used": false},
                        "three_d_secure": null, "wallet": null
                    },
                    "type": "card"
                },
                "refunded": false, "status": "succeeded"
            }
        }),
        &intent,
        "intent",
    );
    let (_, plain) = wire.ask("GET", &path, "", "");
    assert_eq!(plain["latest_charge"], intent["latest_charge"]["id"]);
}

#[test]
fn each_object_has_the_published_fields_and_no_other() {
    let wire = Wire::new(VISA);
    let id = wire.open(VISA);
    let (_, intent) = wire.confirm(&id, "confirm", "off_session=true&expand[]=latest_charge");
    wire.0.dispute();
    let path = format!("/v1/disputes/{}", wire.0.disputes()[0]);
    let (_, dispute) = wire.ask("GET", &path, "", "");
    wire.0.set_dispute_status("won");
    let body = format!("payment_intent={id}");
    let (_, refund) = wire.ask("POST", "/v1/refunds", "refund", &body);
    let published = include_str!("../../published/stripe_objects.tsv");
    let mut objects = published.lines().filter(|line| !line.starts_with('#'));
    for (name, shown) in [
        ("payment_intent", &intent),
        ("charge", &intent["latest_charge"]),
        ("refund", &refund),
        ("dispute", &dispute),
    ] {
        let (object, fields) = objects.next().unwrap().split_once('\t').unwrap();
        assert_eq!(object, name);
        let mut shown: Vec<&str> = shown
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        shown.sort_unstable();
        let published: Vec<&str> = fields.split(' ').collect();
        assert_eq!(shown, published, "{name}");
    }
}

#[test]
fn a_decline_has_the_recorded_shape_and_takes_the_payment_method_off_the_intent() {
    for (method, code, decline_code) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        (
            "pm_card_authenticationRequired",
            "authentication_required",
            "authentication_required",
        ),
    ] {
        let wire = Wire::new(method);
        let id = wire.open(method);
        let (status, body) = wire.confirm(&id, "confirm", "off_session=true");
        assert_eq!(status, 402);
        let card = json!({"id": method, "object": "payment_method", "card": {"brand": "visa", "last4": "*"}});
        check_shape(
            &json!({"error": {
                "charge": "*", "code": code, "decline_code": decline_code, "doc_url": "*",
                "message": "*", "payment_method": card, "request_log_url": "*",
                "type": "card_error",
                "payment_intent": {
                    "object": "payment_intent", "amount": 0, "amount_received": 0,
                    "latest_charge": "*", "payment_method": null,
                    "status": "requires_payment_method",
                    "last_payment_error": {
                        "charge": "*", "code": code, "decline_code": decline_code,
                        "message": "*", "payment_method": card, "type": "card_error"
                    }
                }
            }}),
            &body,
            "body",
        );
        let path = format!("/v1/payment_intents/{id}?expand[]=latest_charge");
        let (_, intent) = wire.ask("GET", &path, "", "");
        check_shape(
            &json!({
                "status": "failed", "paid": false, "captured": false, "failure_code": code,
                "outcome": {
                    "network_status": "declined_by_network", "reason": decline_code,
                    "risk_level": "normal", "seller_message": "*", "type": "issuer_declined"
                }
            }),
            &intent["latest_charge"],
            "charge",
        );
    }
}

#[test]
fn what_an_intent_does_not_allow_is_refused_in_the_recorded_shape() {
    let wire = Wire::new(VISA);
    let id = wire.open(VISA);
    wire.confirm(&id, "one", "off_session=true");
    let refused = json!({"error": {
        "code": "payment_intent_unexpected_state", "doc_url": "*", "message": "*",
        "payment_intent": {"id": id, "status": "succeeded"}, "type": "invalid_request_error"
    }});
    let (status, body) = wire.confirm(&id, "two", "off_session=true");
    assert_eq!(status, 400);
    check_shape(&refused, &body, "confirm");
    let path = format!("/v1/payment_intents/{id}/cancel");
    let (status, body) = wire.ask("POST", &path, "", "cancellation_reason=abandoned");
    assert_eq!(status, 400);
    check_shape(&refused, &body, "cancel");
}

#[test]
fn refunds_and_their_refusals_have_the_recorded_shape() {
    let wire = Wire::new(VISA);
    let id = wire.open(VISA);
    wire.confirm(&id, "confirm", "off_session=true");
    let ask = |key: &str, rest: &str| {
        let body = format!("payment_intent={id}&reason=requested_by_customer{rest}");
        wire.ask("POST", "/v1/refunds", key, &body)
    };
    let (status, body) = ask("one", "&amount=250");
    assert_eq!(status, 200);
    let refund = json!({
        "id": "*", "object": "refund", "amount": 250, "balance_transaction": null, "charge": "*",
        "created": 0, "currency": "usd", "metadata": {}, "payment_intent": id,
        "reason": "requested_by_customer", "receipt_number": null,
        "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null
    });
    check_shape(&refund, &body, "refund");
    let (_, list) = wire.ask("GET", &format!("/v1/refunds?payment_intent={id}"), "", "");
    let shape =
        json!({"object": "list", "data": [refund], "has_more": false, "url": "/v1/refunds"});
    check_shape(&shape, &list, "list");
    assert_eq!(ask("two", "&amount=850").0, 400);
    let (_, rest) = ask("three", "");
    assert_eq!(rest["amount"], json!(849));
    let refused = |code: &str| {
        json!({"error": {
            "code": code, "doc_url": "*", "message": "*", "request_log_url": "*",
            "type": "invalid_request_error"
        }})
    };
    let (status, body) = ask("four", "");
    assert_eq!(status, 400);
    check_shape(&refused("charge_already_refunded"), &body, "twice");
    wire.0.dispute();
    let (status, body) = ask("five", "");
    assert_eq!(status, 400);
    check_shape(&refused("charge_disputed"), &body, "disputed");
}

#[test]
fn a_dispute_has_the_published_shape() {
    let wire = Wire::new(VISA);
    let id = wire.open(VISA);
    wire.confirm(&id, "confirm", "off_session=true");
    wire.0.dispute();
    let path = format!("/v1/disputes/{}", wire.0.disputes()[0]);
    let (status, body) = wire.ask("GET", &path, "", "");
    assert_eq!(status, 200);
    let mut dispute = json!({
        "id": "*", "object": "dispute", "amount": 0, "balance_transactions": [], "charge": "*",
        "created": 0, "currency": "usd", "evidence": {},
        "evidence_details": {
            "due_by": 0, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0
        },
        "is_charge_refundable": false, "livemode": false, "metadata": {}, "payment_intent": id,
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "*", "network": "visa",
                "network_reason_code": "10.4"},
            "type": "card"
        },
        "reason": "*", "status": "needs_response", "enhanced_eligibility_types": []
    });
    check_shape(&dispute, &body, "dispute");
    let (_, body) = wire.ask("GET", &format!("{path}?expand[]=payment_intent"), "", "");
    dispute["payment_intent"] = json!({"id": id, "object": "payment_intent", "metadata": {}});
    check_shape(&dispute, &body, "expanded");
    let (status, body) = wire.ask("GET", "/v1/disputes/du_none", "", "");
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("resource_missing"))
    );
}

#[test]
fn keys_answer_as_they_did_for_a_day_and_only_to_the_same_request() {
    let (runtime, time) = clock();
    let wire = Wire(StripeDouble::new(runtime));
    wire.0.attach(CUSTOMER, POOR);
    let id = wire.open(POOR);
    let first = wire.confirm(&id, "confirm", "off_session=true");
    assert_eq!(first.0, 402);
    wire.0
        .change(POOR, |method| method.outcome = Outcome::Succeeds);
    assert_eq!(wire.confirm(&id, "confirm", "off_session=true"), first);
    let (status, body) = wire.confirm(&id, "confirm", "");
    assert_eq!(status, 400);
    let shape = json!({"error": {"type": "idempotency_error", "message": "*"}});
    check_shape(&shape, &body, "reused");
    // Only a confirmation that names the card again would charge it; the client's does not.
    let again = format!("off_session=true&payment_method={POOR}");
    time.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    assert_eq!(wire.confirm(&id, "confirm", "off_session=true").0, 400);
    assert_eq!(wire.confirm(&id, "new", &again).0, 200);
}

#[test]
fn what_is_missing_unknown_or_forbidden_is_refused_in_the_recorded_shape() {
    let wire = Wire::new(VISA);
    let (status, body) = wire.ask("GET", "/v1/payment_intents/pi_x", "", "");
    assert_eq!(status, 404);
    check_shape(
        &json!({"error": {
            "code": "resource_missing", "doc_url": "*", "message": "No such payment_intent: 'pi_x'",
            "param": "intent", "type": "invalid_request_error"
        }}),
        &body,
        "missing",
    );
    let (status, body) = wire.ask("POST", "/v1/payment_intents", "", "amount=1&colour=red");
    assert_eq!(status, 400);
    let shape = json!({"error": {"code": "parameter_unknown", "param": "colour"}});
    check_shape(&shape, &body, "unknown");
    // Only a confirmation can be off session.
    let (status, _) = wire.ask(
        "POST",
        "/v1/payment_intents",
        "",
        "amount=1&off_session=true",
    );
    assert_eq!(status, 400);
    let (status, body) = wire.0.handle("GET", "/v1/payment_intents/pi_x", &[], "");
    assert_eq!(status, 401);
    let shape = json!({"error": {"type": "invalid_request_error", "message": "*"}});
    check_shape(&shape, &serde_json::from_str(&body).unwrap(), "key");
}

#[tokio::test]
async fn being_put_off_has_the_recorded_shape() {
    for (how, status, code) in [
        (StripeDouble::rate_limited(), 429, "rate_limit"),
        (StripeDouble::locked(), 429, "lock_timeout"),
        (StripeDouble::key_in_use(), 409, "idempotency_key_in_use"),
    ] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.plan(Operation::Confirm, how);
        let Err(PartnerError::Unavailable(source)) = bench.stripe.confirm(&charge).await else {
            panic!("{code}")
        };
        let told = source.to_string();
        assert!(
            told.contains(&status.to_string()) && told.contains(code),
            "{told}"
        );
    }
}

#[tokio::test]
async fn the_double_confirms_an_intent_once_and_takes_a_declined_card_off_it() {
    let bench = bench(VISA);
    let key = Secret::new(StripeDouble::api_key());
    check_confirmations(&Https::new(&*bench.url), &key).await;
}

/// The assumption behind all other tests, checked in Stripe's own test mode:
/// `PARTNER_SECRET='{"apiKey":"sk_test_…"}' cargo test -p tests stripes_own -- --ignored`
#[tokio::test]
#[ignore = "needs the key of an account in test mode in PARTNER_SECRET, and the network"]
async fn stripes_own_test_mode_confirms_an_intent_once_and_takes_a_declined_card_off_it() {
    let environment = Environment::process();
    let secret = environment.required("PARTNER_SECRET").unwrap();
    let secret: Value = serde_json::from_str(&secret).unwrap();
    let key = Secret::new(text(&secret["apiKey"]));
    assert!(key.expose().starts_with("sk_test_"), "only in test mode");
    check_confirmations(&Https::new("https://api.stripe.com"), &key).await;
}

/// Calls Stripe as a bare client.
pub(crate) async fn ask(
    https: &Https,
    key: &Secret,
    method: &'static str,
    path: &str,
    body: &str,
) -> (u16, Value) {
    let call = HttpsCall {
        method,
        path: path.to_owned(),
        headers: vec![
            (
                "authorization",
                Secret::new(format!("Bearer {}", key.expose())),
            ),
            ("stripe-version", Secret::new(STRIPE_VERSION)),
            (
                "content-type",
                Secret::new("application/x-www-form-urlencoded"),
            ),
        ],
        body: body.as_bytes().to_vec(),
    };
    let answer = https.call(call, Duration::from_secs(30)).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

async fn check_confirmations(https: &Https, key: &Secret) {
    let runtime = Runtime::system();
    let stripe = Stripe::new(https.clone(), key.clone(), runtime.clone());
    let opened = async |method: &str| {
        let (status, customer) = ask(https, key, "POST", "/v1/customers", "").await;
        assert_eq!(status, 200, "{customer}");
        let customer = text(&customer["id"]);
        let path = format!("/v1/payment_methods/{method}/attach");
        let (status, method) =
            ask(https, key, "POST", &path, &format!("customer={customer}")).await;
        assert_eq!(status, 200, "{method}");
        let request = ChargeRequest {
            invoice: runtime.order_id().invoice(),
            attempt: 1,
            customer: domain::CustomerId::parse("8080").unwrap(),
            amount: Money::from_stored("200").unwrap(),
            currency: "USD".parse().unwrap(),
            agreement: Some(Agreement {
                partner: PartnerName::Stripe,
                partner_customer: Some(token(customer)),
                payment_method: token(text(&method["id"])),
            }),
            replaces: None,
        };
        let reference = stripe.open(&request).await.unwrap();
        OpenCharge::new(request, reference, &stripe, runtime.now())
    };
    let confirm_barely = async |charge: &OpenCharge| {
        let path = format!("/v1/payment_intents/{}/confirm", charge.reference);
        let (status, body) = ask(https, key, "POST", &path, "off_session=true").await;
        (status, body["error"]["code"].clone())
    };
    let unexpected = (400, json!("payment_intent_unexpected_state"));

    let charge = opened(VISA).await;
    let status = stripe.look_up(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Unconfirmed);
    let status = stripe.confirm(&charge).await.unwrap();
    let ChargeStatus::Captured(card) = &status else {
        panic!("{status:?}")
    };
    assert_eq!(card.last_digits.as_deref(), Some("4242"));
    assert_eq!(stripe.look_up(&charge).await.unwrap(), status);
    assert_eq!(confirm_barely(&charge).await, unexpected);
    for _ in 0..2 {
        assert_eq!(
            stripe.refund(&charge).await.unwrap(),
            RefundStatus::Refunded
        );
    }

    let charge = opened("pm_card_chargeCustomerFail").await;
    let status = stripe.confirm(&charge).await.unwrap();
    assert!(
        matches!(status, ChargeStatus::Declined { .. }),
        "{status:?}"
    );
    assert_eq!(confirm_barely(&charge).await, unexpected);
    assert_eq!(stripe.look_up(&charge).await.unwrap(), status);
    // Once closed, it still shows why it was declined.
    assert_eq!(stripe.cancel(&charge).await.unwrap(), status);
    assert_eq!(stripe.confirm(&charge).await.unwrap(), status);
}
