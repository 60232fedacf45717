//! PayPal's webhooks: their signature is verified with a certificate from PayPal only, and they are
//! only hints.

use std::time::Duration;

use domain::Timestamp;
use messages::queue::Queue;
use serde_json::{Value, json};
use tests::Reply;
use tests::partners::{
    DoubleReply, Mishap, PAYPAL_CERTIFICATE, PAYPAL_WEBHOOK_ID, PayPalOutcome, paypal_signature,
};

use crate::contract::{shipping, text};
use crate::paypal::{Invoiced, invoiced};
use crate::webhooks::webhook_with;

const TRANSMISSION: &str = "69cd13f0-d67a-11e5-baa3-778b53f4ae55";
const COMPLETED: &str = "PAYMENT.CAPTURE.COMPLETED";

/// The headers that PayPal sends with a body.
pub(crate) struct Signed {
    id: String,
    time: String,
    algorithm: String,
    certificate: String,
    signature: String,
}

impl Signed {
    pub(crate) fn new(at: Timestamp, body: &str) -> Self {
        let time = at.to_string();
        let time = time.replace("+00:00", "Z");
        let signature = paypal_signature(TRANSMISSION, &time, PAYPAL_WEBHOOK_ID, body.as_bytes());
        Self {
            id: TRANSMISSION.to_owned(),
            time,
            algorithm: "SHA256withRSA".to_owned(),
            certificate: PAYPAL_CERTIFICATE.to_owned(),
            signature,
        }
    }

    /// Names the certificate's URL at another address of PayPal's API, as a test uses it.
    pub(crate) fn is_at(&mut self, address: &str) {
        self.certificate = PAYPAL_CERTIFICATE.replace("https://api.paypal.com", address);
    }

    /// Names another certificate.
    fn naming(&mut self, certificate: &str) -> &Self {
        self.certificate = format!("https://api.paypal.com/v1/notifications/certs/{certificate}");
        self
    }

    pub(crate) fn request(&self, body: &str) -> Value {
        let headers = [
            ("paypal-transmission-id", &*self.id),
            ("paypal-transmission-time", &*self.time),
            ("paypal-auth-algo", &*self.algorithm),
            ("paypal-cert-url", &*self.certificate),
            ("paypal-transmission-sig", &*self.signature),
        ];
        webhook_with("paypal", &headers, body)
    }
}

pub(crate) fn event(id: &str, kind: &str, resource: &Value) -> String {
    json!({"id": id, "event_version": "1.0", "create_time": "2026-11-23T10:12:05Z",
        "resource_type": "capture", "event_type": kind, "summary": "Payment completed for $ 1.0 USD",
        "resource": resource, "links": []})
    .to_string()
}

pub(crate) async fn tell(test: &Invoiced, id: &str, kind: &str, resource: &Value) -> Reply {
    let body = event(id, kind, resource);
    let request = Signed::new(test.cloud.runtime.now(), &body).request(&body);
    test.cloud.send(&request).await
}

/// The capture in an event, with a wrong amount.
pub(crate) fn capture(test: &Invoiced) -> Value {
    let invoice = test.order.replacen("ord_", "inv_", 1);
    json!({"id": "3C679366HH908993F", "status": "COMPLETED", "custom_id": invoice,
        "invoice_id": format!("{invoice}-1"), "amount": {"currency_code": "USD", "value": "1.00"}})
}

pub(crate) async fn shown(test: &Invoiced) -> Value {
    test.cloud.get(&test.order).await.body
}

/// Delivers the one message that waits for the payment worker.
pub(crate) async fn deliver(test: &Invoiced) {
    let messages = test.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Queue::Payment);
    assert!(test.cloud.deliver(Queue::Payment, &messages[0].1).await);
}

#[tokio::test]
async fn a_pending_capture_settles_as_soon_as_paypal_tells_and_only_as_paypal_says() {
    let test = invoiced([PayPalOutcome::Pending {
        after: Duration::from_hours(1),
        as_: "COMPLETED",
    }])
    .await;
    assert_eq!(test.pay().await.code(), "payment_pending");
    test.cloud.lose_stream();
    // The event is too early: the worker asks PayPal and finds the actual capture.
    let resource = capture(&test);
    let reply = tell(&test, "WH-1", COMPLETED, &resource).await;
    assert_eq!((reply.status, &*reply.text), (200, r#"{"received":true}"#));
    deliver(&test).await;
    assert_eq!(shown(&test).await["status"], "invoiced");

    test.cloud.pass(Duration::from_hours(1));
    for _ in 0..2 {
        assert_eq!(tell(&test, "WH-2", COMPLETED, &resource).await.status, 200);
    }
    deliver(&test).await;
    assert_eq!(shown(&test).await["payment"]["state"], "captured");
    assert_eq!(test.double.taken(), ["200.00 USD"]);
    // A late event: there is nothing left to ask.
    assert_eq!(tell(&test, "WH-3", COMPLETED, &resource).await.status, 200);
    assert!(test.cloud.queues.take().is_empty());
}

#[tokio::test]
async fn a_payer_who_has_acted_is_charged_as_soon_as_paypal_tells() {
    let test = invoiced([PayPalOutcome::PayerMustAct, PayPalOutcome::Captured]).await;
    assert_eq!(test.pay().await.code(), "payment_action_required");
    test.cloud.lose_stream();
    test.double.payers_act();
    let order = json!({"id": "5O190127TN364715T", "status": "APPROVED",
        "purchase_units": [{"reference_id": "default", "custom_id": capture(&test)["custom_id"]}]});
    let reply = tell(&test, "WH-1", "CHECKOUT.ORDER.APPROVED", &order).await;
    assert_eq!(reply.status, 200);
    deliver(&test).await;
    assert_eq!(shown(&test).await["payment"]["state"], "captured");
    assert_eq!(test.double.taken(), ["200.00 USD"]);
}

#[tokio::test]
async fn a_pending_refund_ends_as_soon_as_paypal_tells() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.double.refunds_end_as("PENDING");
    let cancel = json!({"customerId": "8080", "orderId": test.order});
    let reply = test.cloud.post("/api/order/cancel.json", &cancel).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_pending"));
    test.cloud.lose_stream();
    test.double.settle_refunds();
    let refund = json!({"id": "1JU08902781691411", "status": "COMPLETED",
        "custom_id": capture(&test)["custom_id"]});
    let reply = tell(&test, "WH-1", "PAYMENT.CAPTURE.REFUNDED", &refund).await;
    assert_eq!(reply.status, 200);
    deliver(&test).await;
    assert_eq!(shown(&test).await["status"], "cancelled");
    assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
}

#[tokio::test]
async fn a_dispute_is_shown_as_paypal_has_it_whatever_the_webhook_says() {
    for (outcome, state) in [
        ("RESOLVED_SELLER_FAVOUR", "won"),
        ("RESOLVED_BUYER_FAVOUR", "lost"),
    ] {
        let test = invoiced([]).await;
        assert_eq!(test.pay().await.status, 201);
        let body = shipping(&test.order);
        let reply = test.cloud.post("/api/order/shipping.json", &body).await;
        assert_eq!(reply.status, 201);
        test.cloud.lose_stream();
        let before = shown(&test).await;
        test.double.dispute();
        let ids = test.double.disputes();
        let claims = json!({"dispute_id": ids[0], "status": "RESOLVED",
            "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"}});
        let reply = tell(&test, "WH-1", "CUSTOMER.DISPUTE.CREATED", &claims).await;
        assert_eq!(reply.status, 200);
        deliver(&test).await;
        assert_eq!(shown(&test).await["payment"]["dispute"]["state"], "open");
        test.double.set_disputes("RESOLVED", Some(outcome));
        let reply = tell(&test, "WH-2", "CUSTOMER.DISPUTE.RESOLVED", &claims).await;
        assert_eq!(reply.status, 200);
        deliver(&test).await;
        let mut after = shown(&test).await;
        assert_eq!(after["payment"]["dispute"]["state"], state);
        after["payment"].as_object_mut().unwrap().remove("dispute");
        assert_eq!(after, before);
        // PayPal is asked about an unknown dispute, and it has none.
        let unknown = json!({"dispute_id": "PP-D-NONE"});
        let reply = tell(&test, "WH-3", "CUSTOMER.DISPUTE.CREATED", &unknown).await;
        assert_eq!(reply.status, 200);
        deliver(&test).await;
    }
}

#[tokio::test]
async fn what_paypal_has_not_signed_for_this_webhook_changes_nothing() {
    let test = invoiced([]).await;
    let body = event("WH-1", COMPLETED, &capture(&test));
    let now = test.cloud.runtime.now();
    let good = || Signed::new(now, &body);
    let signed_for = |webhook: &str| {
        let signed = good();
        let signature = paypal_signature(TRANSMISSION, &signed.time, webhook, body.as_bytes());
        Signed {
            signature,
            ..signed
        }
    };
    let other = |change: fn(&mut Signed)| {
        let mut signed = good();
        change(&mut signed);
        signed
    };
    // Refused before the certificate is fetched.
    for (why, signed) in [
        ("no time", other(|signed| signed.time = "now".to_owned())),
        ("two ids", other(|signed| signed.id = "a|b".to_owned())),
        (
            "other scheme",
            other(|signed| signed.algorithm = "SHA1withRSA".to_owned()),
        ),
        (
            "no base 64",
            other(|signed| signed.signature = "?".to_owned()),
        ),
        (
            "certificate of somebody else",
            other(|signed| {
                signed.certificate = signed.certificate.replace("paypal.com", "paypal.example");
            }),
        ),
    ] {
        let reply = test.cloud.send(&signed.request(&body)).await;
        let got = (reply.status, reply.code());
        assert_eq!(got, (401, "webhook_signature_invalid"), "{why}");
    }
    assert!(test.cloud.certificates.seen().is_empty());
    for (why, signed, body) in [
        ("another webhook", signed_for("0AB00000AA000000A"), &body),
        (
            "another id",
            other(|signed| signed.id = "a".to_owned()),
            &body,
        ),
        ("another body", good(), &body.replacen("WH-1", "WH-2", 1)),
        (
            "another time",
            other(|signed| signed.time = signed.time.replace('Z', "+00:00")),
            &body,
        ),
        (
            "no signature",
            other(|signed| signed.signature.clear()),
            &body,
        ),
        (
            "unknown certificate",
            other(|signed| signed.certificate.push('2')),
            &body,
        ),
    ] {
        let reply = test.cloud.send(&signed.request(body)).await;
        let got = (reply.status, reply.code());
        assert_eq!(got, (401, "webhook_signature_invalid"), "{why}");
    }
    for header in [
        "paypal-transmission-id",
        "paypal-transmission-time",
        "paypal-auth-algo",
        "paypal-cert-url",
        "paypal-transmission-sig",
    ] {
        let mut request = good().request(&body);
        request["headers"].as_object_mut().unwrap().remove(header);
        assert_eq!(test.cloud.send(&request).await.status, 401, "{header}");
    }
    test.cloud.lose_stream();
    assert!(test.cloud.queues.take().is_empty());
    // None of them has used up the event's ID, so the genuine one still counts, even minutes later.
    let request = good().request(&body);
    test.cloud.pass(Duration::from_mins(5));
    assert_eq!(test.cloud.send(&request).await.status, 200);
    assert_eq!(test.cloud.queues.take().len(), 1);
}

#[tokio::test]
async fn the_certificate_is_fetched_once_and_while_it_cannot_be_the_webhook_comes_again() {
    let test = invoiced([]).await;
    test.cloud.lose_stream();
    let certificates = &test.cloud.certificates;
    certificates.plan("GET", "/certs/", Mishap::RequestLost);
    certificates.plan("GET", "/certs/", Mishap::Instead(DoubleReply::new(503, "")));
    let garbage = DoubleReply::new(200, "-----BEGIN CERTIFICATE-----");
    certificates.plan("GET", "/certs/", Mishap::Instead(garbage));
    let resource = capture(&test);
    for _ in 0..3 {
        let reply = tell(&test, "WH-1", COMPLETED, &resource).await;
        let got = (reply.status, reply.code());
        assert_eq!(got, (503, "billing_partner_unavailable"));
        assert_ne!(reply.header("retry-after"), "");
    }
    assert!(test.cloud.queues.take().is_empty());
    for id in ["WH-1", "WH-2", "WH-3"] {
        assert_eq!(tell(&test, id, COMPLETED, &resource).await.status, 200);
    }
    let seen = certificates.seen();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert!(PAYPAL_CERTIFICATE.ends_with(&request.path));
        // No key of ours is sent to an address that a stranger named.
        let names: Vec<&str> = request.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["user-agent"]);
    }
    // The webhook that could not be verified at first was accepted later.
    assert_eq!(test.cloud.queues.take().len(), 3);
}

/// A forged webhook: its signature is for another body.
fn forged(now: Timestamp, body: &str) -> Signed {
    Signed::new(now, &body.replacen("WH-", "XX-", 1))
}

#[tokio::test]
async fn a_flood_of_forged_webhooks_makes_few_calls_and_keeps_no_true_one_out() {
    let test = invoiced([]).await;
    test.cloud.lose_stream();
    let body = event("WH-1", "BILLING.PLAN.CREATED", &json!({}));
    let truth = Signed::new(test.cloud.runtime.now(), &body).request(&body);
    assert_eq!(test.cloud.send(&truth).await.status, 200);
    let mut forged = forged(test.cloud.runtime.now(), &body);
    for name in 0..20_000 {
        let request = forged.naming(&format!("CERT-{name}")).request(&body);
        let reply = test.cloud.send(&request).await;
        assert!(matches!(reply.status, 401 | 503), "{}", reply.text);
        if name % 1000 == 0 {
            assert_eq!(test.cloud.send(&truth).await.status, 200, "{name}");
        }
    }
    assert_eq!(test.cloud.certificates.seen().len(), 5);
    // For an hour, it makes one call every half minute.
    for second in 0..3600 {
        let later = format!("CERT-later-{second}");
        let request = forged.naming(&later).request(&body);
        test.cloud.send(&request).await;
        test.cloud.pass(Duration::from_secs(1));
    }
    let asked = test.cloud.certificates.seen().len();
    assert!((120..=126).contains(&asked), "{asked}");
    assert_eq!(test.cloud.send(&truth).await.status, 200);
}

#[tokio::test]
async fn a_webhook_with_a_new_certificate_is_put_off_by_a_flood_and_heard_when_it_ends() {
    let test = invoiced([]).await;
    let body = event("WH-1", "BILLING.PLAN.CREATED", &json!({}));
    let now = test.cloud.runtime.now();
    let mut forged = forged(now, &body);
    for name in 0..100 {
        let request = forged.naming(&format!("CERT-{name}")).request(&body);
        test.cloud.send(&request).await;
    }
    let truth = Signed::new(now, &body).request(&body);
    let reply = test.cloud.send(&truth).await;
    // Not 401: whether PayPal signed it is unknown, and PayPal retries it.
    let got = (reply.status, reply.code());
    assert_eq!(got, (503, "billing_partner_unavailable"));
    test.cloud.pass(Duration::from_secs(30));
    assert_eq!(test.cloud.send(&truth).await.status, 200);
}

#[tokio::test]
async fn a_name_that_paypal_does_not_know_is_asked_for_once_in_a_while() {
    let test = invoiced([]).await;
    let body = event("WH-1", "BILLING.PLAN.CREATED", &json!({}));
    let mut forged = forged(test.cloud.runtime.now(), &body);
    let request = forged.naming("CERT-1").request(&body);
    for asked in [1, 2] {
        for _ in 0..20 {
            let reply = test.cloud.send(&request).await;
            assert_eq!(reply.status, 401);
        }
        assert_eq!(test.cloud.certificates.seen().len(), asked);
        test.cloud.pass(Duration::from_mins(10));
    }
}

#[tokio::test]
async fn an_event_of_another_type_or_of_nothing_of_ours_is_taken_and_changes_nothing() {
    let test = invoiced([]).await;
    test.cloud.lose_stream();
    let before = shown(&test).await;
    let foreign = json!({"id": "1", "custom_id": "somebody-elses"});
    for (id, kind, resource) in [
        ("WH-1", "BILLING.PLAN.CREATED", &json!({"id": 5})),
        ("WH-2", COMPLETED, &foreign),
        ("WH-3", COMPLETED, &json!({})),
        (
            "WH-4",
            "CUSTOMER.DISPUTE.CREATED",
            &json!({"dispute_id": 7}),
        ),
        ("WH-5", "PAYMENT.CAPTURE.REFUNDED", &capture(&test)),
    ] {
        let reply = tell(&test, id, kind, resource).await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text);
    }
    for body in ["{", "{}", "[]"] {
        let request = Signed::new(test.cloud.runtime.now(), body).request(body);
        let status = test.cloud.send(&request).await.status;
        assert!(matches!(status, 400 | 422), "{body}: {status}");
    }
    assert!(test.cloud.queues.take().is_empty());
    assert_eq!(shown(&test).await, before);
    assert_eq!(text(&before["status"]), "invoiced");
}

#[tokio::test]
async fn a_webhook_that_paypal_repeats_for_days_with_its_first_time_is_heard() {
    let test = invoiced([]).await;
    let body = event("WH-late", COMPLETED, &capture(&test));
    let signed = Signed::new(test.cloud.runtime.now(), &body);
    for days in [0, 1, 3] {
        test.cloud.pass(Duration::from_hours(days * 24));
        let reply = test.cloud.send(&signed.request(&body)).await;
        assert_eq!(reply.status, 200, "{days} days: {}", reply.text);
    }
    // Each event's ID counts once.
    let messages = test.cloud.queues.take();
    let payments = messages
        .iter()
        .filter(|(queue, _)| *queue == Queue::Payment);
    assert_eq!(payments.count(), 1);
}
