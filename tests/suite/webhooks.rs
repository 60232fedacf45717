//! Webhooks: partners' signed requests, at any time and in any order.

use std::time::Duration;

use domain::{Dispute, DisputeState, Money, OrderId};
use messages::PartnerReference;
use messages::queue::Queue;
use payment::partners::Stripe;
use platform::aws::Aws;
use platform::config::Environment;
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use store::NotedDispute;
use tests::partners::{Operation, StripeDouble};
use tests::{EASYPOST_WEBHOOK_SECRET, Reply, STRIPE_WEBHOOK_SECRET, hmac_sha256_hex};
use webhook::Signers;

use crate::contract::{cart, shipping};
use crate::shop::Shop;

const CUSTOMER: &str = "cus_played";
const FIVE_MINUTES: Duration = Duration::from_mins(5);

/// A shop that bills through Stripe's double.
pub(crate) type StripeShop = Shop<Stripe, StripeDouble>;

/// A shop with an invoiced order of 200 dollars by a customer who has approved that payment method.
pub(crate) async fn shop(method: &str) -> StripeShop {
    let stripe = |runtime: Runtime| {
        let played = StripeDouble::new(runtime.clone());
        played.attach(CUSTOMER, method);
        let https = Https::new(played.front().serve());
        let key = Secret::new(StripeDouble::api_key());
        (Stripe::new(https, key, runtime), played)
    };
    let agreement = json!({
        "customerId": "8080", "partner": "stripe",
        "partnerCustomerId": CUSTOMER, "paymentMethodId": method
    });
    let opening = Shop::at(stripe).cart(cart()).approved(agreement);
    let shop = opening.invoiced().await;
    shop.cloud.lose_stream();
    shop
}

/// The request of `events/webhook.json` with another partner, headers, and body.
pub(crate) fn webhook_with(partner: &str, signature: &[(&str, &str)], body: &str) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("../../events/webhook.json")).unwrap();
    let path = format!("/api/partner/{partner}/webhook");
    event["rawPath"] = path.as_str().into();
    event["requestContext"]["http"]["path"] = path.into();
    event["pathParameters"]["partner"] = partner.into();
    let headers = event["headers"].as_object_mut().unwrap();
    headers.remove("stripe-signature");
    for (name, value) in signature {
        headers.insert((*name).to_owned(), (*value).into());
    }
    event["body"] = body.into();
    event
}

/// Does the same with the single header that its partner signs with.
pub(crate) fn webhook(partner: &str, header: (&str, &str), body: &str) -> Value {
    webhook_with(partner, &[header], body)
}

/// Stripe's header for a body signed this many seconds after the cloud's time.
pub(crate) fn signature(seconds: i64, body: &str) -> String {
    signature_with(STRIPE_WEBHOOK_SECRET, seconds, body)
}

pub(crate) fn signature_with(secret: &str, seconds: i64, body: &str) -> String {
    let signed = format!("{seconds}.{body}");
    let hex = hmac_sha256_hex(secret, signed.as_bytes());
    format!("t={seconds},v1={hex}")
}

pub(crate) fn event(id: &str, kind: &str, object: &Value) -> String {
    json!({"id": id, "object": "event", "type": kind, "created": 4_242_424_242_424_242_u64,
        "data": {"object": object}})
    .to_string()
}

impl StripeShop {
    pub(crate) async fn tell(&self, id: &str, kind: &str, object: &Value) -> Reply {
        let body = event(id, kind, object);
        let header = signature(self.cloud.runtime.now().seconds(), &body);
        let request = webhook("stripe", ("stripe-signature", &header), &body);
        self.cloud.send(&request).await
    }

    fn intent(&self) -> Value {
        json!({"id": "pi_1", "object": "payment_intent", "amount": 1, "status": "succeeded",
            "metadata": {"order_id": self.order}})
    }

    /// Stripe reports a dispute, and the message is delivered to the worker.
    pub(crate) async fn dispute(&self, event: &str, kind: &str, id: &str, status: &str) {
        let object = json!({"id": id, "object": "dispute", "status": status,
            "charge": "ch_1", "payment_intent": "pi_1", "metadata": {}});
        let reply = self.tell(event, kind, &object).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let messages = self.cloud.queues.take();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].0, Queue::Payment);
        assert!(self.cloud.deliver(Queue::Payment, &messages[0].1).await);
    }
}

const SUCCEEDED: &str = "payment_intent.succeeded";

#[tokio::test]
async fn a_pending_charge_settles_as_soon_as_stripe_tells_and_only_as_stripe_says() {
    let shop = shop("pm_pending").await;
    assert_eq!(shop.pay().await.code(), "payment_pending");
    // The event is too early: the worker asks Stripe and finds the actual charge.
    let reply = shop.tell("evt_1", SUCCEEDED, &shop.intent()).await;
    assert_eq!((reply.status, &*reply.text), (200, r#"{"received":true}"#));
    shop.cloud.settle().await;
    assert_eq!(shop.shown().await["status"], "invoiced");

    shop.partner.settle();
    assert_eq!(
        shop.tell("evt_2", SUCCEEDED, &shop.intent()).await.status,
        200
    );
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Queue::Payment);
    assert!(shop.cloud.deliver(Queue::Payment, &messages[0].1).await);
    assert_eq!(shop.shown().await["payment"]["state"], "captured");
    assert_eq!(shop.partner.captured(), [20_000]);
}

#[tokio::test]
async fn a_webhook_that_comes_first_twice_late_or_beside_a_request_charges_nobody_again() {
    let shop = shop("pm_card_visa").await;
    let intent = shop.intent();
    let first = async {
        for id in ["evt_1", "evt_1", "evt_2"] {
            assert_eq!(shop.tell(id, SUCCEEDED, &intent).await.status, 200);
        }
    };
    // Three deliveries, two events.
    first.await;
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 2);
    let (paid, _, _) = tokio::join!(
        shop.pay(),
        shop.cloud.deliver(Queue::Payment, &messages[0].1),
        shop.cloud.deliver(Queue::Payment, &messages[1].1),
    );
    assert!(matches!(paid.status, 201 | 409), "{}", paid.text);
    assert_eq!(shop.pay().await.status, 201);
    let before = shop.shown().await;
    assert_eq!(shop.tell("evt_3", SUCCEEDED, &intent).await.status, 200);
    assert!(shop.cloud.queues.take().is_empty());
    assert_eq!(shop.shown().await, before);
    assert_eq!(shop.partner.captured(), [20_000]);
}

#[tokio::test]
async fn an_event_whose_effect_failed_is_done_when_the_partner_repeats_it() {
    let shop = shop("pm_card_visa").await;
    shop.cloud.queues.set_down(&[Queue::Payment]);
    let reply = shop.tell("evt_1", SUCCEEDED, &shop.intent()).await;
    assert_eq!((reply.status, reply.code()), (503, "queue_unavailable"));
    shop.cloud.queues.set_down(&[]);
    assert_eq!(
        shop.tell("evt_1", SUCCEEDED, &shop.intent()).await.status,
        200
    );
    assert_eq!(shop.cloud.queues.take().len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_now_by_this_partner_changes_nothing() {
    let shop = shop("pm_card_visa").await;
    let now = shop.cloud.runtime.now().seconds();
    let body = event("evt_1", SUCCEEDED, &shop.intent());
    let good = signature(now, &body);
    let forged = good.replace("v1=", "v1=0");
    let altered = body.replacen("evt_1", "evt_2", 1);
    let old = signature(now - 301, &body);
    let future = signature(now + 301, &body);
    let hex = hmac_sha256_hex(EASYPOST_WEBHOOK_SECRET, body.as_bytes());
    let easypost = format!("hmac-sha256-hex={hex}");
    for (partner, name, value, body) in [
        ("stripe", "x-other", "", &body),
        ("stripe", "stripe-signature", &*forged, &body),
        ("stripe", "stripe-signature", &*good, &altered),
        ("stripe", "stripe-signature", &*old, &body),
        ("stripe", "stripe-signature", &*future, &body),
        ("stripe", "x-hmac-signature", &*easypost, &body),
        ("paypal", "stripe-signature", &*good, &body),
        ("easypost", "stripe-signature", &*good, &body),
        ("easypost", "x-hmac-signature", &*easypost, &altered),
    ] {
        let reply = shop
            .cloud
            .send(&webhook(partner, (name, value), body))
            .await;
        let got = (reply.status, reply.code());
        assert_eq!(got, (401, "webhook_signature_invalid"), "{partner} {name}");
        assert!(!reply.text.contains("whsec_"), "{}", reply.text);
    }
    for partner in ["sandbox", "PayPal", "Stripe", ""] {
        let request = webhook(partner, ("stripe-signature", &good), &body);
        let reply = shop.cloud.send(&request).await;
        assert_eq!((reply.status, reply.code()), (404, "partner_not_found"));
    }
    let huge = " ".repeat(256 * 1024 + 1);
    let header = signature(now, &huge);
    let request = webhook("stripe", ("stripe-signature", &header), &huge);
    assert_eq!(shop.cloud.send(&request).await.status, 413);
    assert!(shop.cloud.queues.take().is_empty());
    // None of them has used up the event's ID, and the genuine one still counts at the last moment.
    let request = webhook("stripe", ("stripe-signature", &good), &body);
    shop.cloud.pass(FIVE_MINUTES);
    assert_eq!(shop.cloud.send(&request).await.status, 200);
    assert_eq!(shop.cloud.queues.take().len(), 1);
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_refused_and_an_unknown_event_is_taken() {
    let shop = shop("pm_card_visa").await;
    let now = shop.cloud.runtime.now().seconds();
    for (body, expected) in [("{", 400), ("", 400), ("{}", 422), ("[]", 422)] {
        let header = signature(now, body);
        let request = webhook("stripe", ("stripe-signature", &header), body);
        assert_eq!(shop.cloud.send(&request).await.status, expected, "{body}");
    }
    let before = shop.shown().await;
    let nobody = json!({"id": "pi_1", "metadata": {"order_id": "ord_none"}});
    for (id, kind, object) in [
        ("evt_1", "plan.created", &json!({"id": 5})),
        ("evt_2", SUCCEEDED, &nobody),
        ("evt_3", "charge.refunded", &shop.intent()),
    ] {
        let reply = shop.tell(id, kind, object).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text);
    }
    let body = r#"{"id":"evt_1","object":"Event","description":"batch.created","result":{}}"#;
    let hex = hmac_sha256_hex(EASYPOST_WEBHOOK_SECRET, body.as_bytes());
    let header = format!("hmac-sha256-hex={hex}");
    let request = webhook("easypost", ("x-hmac-signature", &header), body);
    for _ in 0..2 {
        assert_eq!(shop.cloud.send(&request).await.status, 200);
    }
    assert!(shop.cloud.queues.take().is_empty());
    assert_eq!(shop.shown().await, before);
}

#[tokio::test]
async fn a_dispute_is_shown_as_stripe_has_it_whatever_the_webhook_says() {
    for (status, state) in [("won", "won"), ("lost", "lost"), ("warning_closed", "won")] {
        let shop = shop("pm_card_visa").await;
        assert_eq!(shop.pay().await.status, 201);
        let body = shipping(&shop.order);
        let reply = shop.cloud.post("/api/order/shipping.json", &body).await;
        assert_eq!(reply.status, 201);
        shop.cloud.lose_stream();
        let before = shop.shown().await;
        shop.partner.dispute();
        let ids = shop.partner.disputes();
        // Like Stripe's own events, it names no order, and its claim is false.
        shop.dispute("evt_1", "charge.dispute.created", &ids[0], "lost")
            .await;
        assert_eq!(shop.shown().await["payment"]["dispute"]["state"], "open");
        shop.partner.set_dispute_status("under_review");
        shop.dispute("evt_2", "charge.dispute.updated", &ids[0], "won")
            .await;
        assert_eq!(shop.shown().await["payment"]["dispute"]["state"], "open");
        shop.partner.set_dispute_status(status);
        shop.dispute("evt_3", "charge.dispute.closed", &ids[0], "lost")
            .await;
        let mut after = shop.shown().await;
        assert_eq!(after["payment"]["dispute"]["state"], state);
        // A late event with an earlier state does not open it again.
        shop.dispute("evt_4", "charge.dispute.created", &ids[0], "needs_response")
            .await;
        assert_eq!(shop.shown().await, after);
        // Nothing else of the order has changed, and no mail was sent.
        after["payment"].as_object_mut().unwrap().remove("dispute");
        assert_eq!(after, before);
        shop.cloud.relay_stream().await;
        assert!(shop.cloud.queues.take().is_empty());
    }
}

#[tokio::test]
async fn a_dispute_that_is_none_of_the_shops_changes_nothing() {
    let shop = shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    let before = shop.shown().await;
    for (event, id) in [("evt_1", "du_none"), ("evt_2", "../v1/refunds")] {
        shop.dispute(event, "charge.dispute.created", id, "lost")
            .await;
    }
    // Two words are not an ID, so Stripe is not even asked.
    let object = json!({"id": "du 1", "object": "dispute"});
    let reply = shop.tell("evt_3", "charge.dispute.created", &object).await;
    assert_eq!(reply.status, 200);
    assert!(shop.cloud.queues.take().is_empty());
    assert_eq!(shop.shown().await, before);
    // A charge from an earlier life of this database has the same order ID and another reference.
    shop.partner.dispute();
    let ids = shop.partner.disputes();
    let id = OrderId::parse(&shop.order).unwrap();
    let news = Dispute {
        id: None,
        state: DisputeState::Open,
        amount: Money::from_stored("200").unwrap(),
        at: shop.cloud.runtime.now(),
        since: shop.cloud.runtime.now(),
    };
    let name = PartnerReference::parse(&ids[0]).unwrap();
    let store = &shop.cloud.store;
    let noted = store.note_dispute(&id, "pi_other", &name, &news).await;
    assert_eq!(noted.unwrap(), NotedDispute::Foreign);
    assert_eq!(shop.shown().await, before);
    shop.dispute("evt_4", "charge.dispute.created", &ids[0], "lost")
        .await;
    assert_eq!(shop.shown().await["payment"]["dispute"]["state"], "open");
}

#[tokio::test]
async fn a_dispute_that_stripe_cannot_be_asked_about_now_is_asked_about_later() {
    let shop = shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    shop.partner.dispute();
    let ids = shop.partner.disputes();
    let object = json!({"id": ids[0], "object": "dispute"});
    let reply = shop.tell("evt_1", "charge.dispute.created", &object).await;
    assert_eq!(reply.status, 200);
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    shop.partner
        .plan(Operation::Dispute, StripeDouble::key_in_use());
    let message = &messages[0].1;
    assert!(!shop.cloud.deliver(Queue::Payment, message).await);
    assert!(shop.cloud.deliver(Queue::Payment, message).await);
    assert_eq!(shop.shown().await["payment"]["dispute"]["state"], "open");
}

#[tokio::test]
async fn a_pending_refund_ends_as_soon_as_stripe_tells() {
    let shop = shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.partner.set_refund_status("pending");
    let cancel = json!({"customerId": "8080", "orderId": shop.order});
    let reply = shop.cloud.post("/api/order/cancel.json", &cancel).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_pending"));
    shop.cloud.lose_stream();
    let refund = json!({"id": "re_1", "object": "refund", "status": "succeeded",
        "payment_intent": "pi_1", "metadata": {"order_id": shop.order}});
    // An event that comes too early changes nothing: only Stripe's own answer counts.
    assert_eq!(
        shop.tell("evt_1", "refund.updated", &refund).await.status,
        200
    );
    shop.cloud.settle_once().await;
    assert_eq!(shop.shown().await["status"], "refunding");
    shop.partner.set_refund_status("succeeded");
    assert_eq!(
        shop.tell("evt_2", "refund.updated", &refund).await.status,
        200
    );
    let messages = shop.cloud.queues.take();
    assert_eq!(messages.len(), 1);
    assert!(shop.cloud.deliver(Queue::Payment, &messages[0].1).await);
    assert_eq!(shop.shown().await["status"], "cancelled");
    assert_eq!(shop.partner.refunds(), 1);
}

#[tokio::test]
async fn a_body_that_the_gateway_encodes_is_checked_as_the_partner_sent_it() {
    let shop = shop("pm_card_visa").await;
    let body = event("evt_1", SUCCEEDED, &shop.intent());
    let header = signature(shop.cloud.runtime.now().seconds(), &body);
    let mut request = webhook("stripe", ("stripe-signature", &header), &base64(&body));
    assert_eq!(shop.cloud.send(&request).await.status, 401);
    request["isBase64Encoded"] = true.into();
    assert_eq!(shop.cloud.send(&request).await.status, 200);
    assert_eq!(shop.cloud.queues.take().len(), 1);
}

#[tokio::test]
async fn what_partners_are_known_by_is_named_where_a_deployment_has_none() {
    let start = async |partner: &str, secret: &str, carrier: &str, carrier_secret: &str| {
        let variable = |name: &str| {
            let value = match name {
                "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "x",
                "BILLING_PARTNER" => partner,
                "PARTNER_WEBHOOK_SECRET" => secret,
                "CARRIER" => carrier,
                "CARRIER_WEBHOOK_SECRET" => carrier_secret,
                _ => "",
            };
            (!value.is_empty()).then(|| value.to_owned())
        };
        let environment = Environment::new(&variable);
        let aws = Aws::from_environment(environment).unwrap();
        Signers::from_environment(environment, &aws, &Runtime::system()).await
    };
    let none = start("sandbox", "", "own", "").await.unwrap();
    assert!(none.stripe.is_none() && none.paypal.is_none() && none.easypost.is_none());
    let keys = r#"{"apiKey":"sk_canary","webhookSecret":"whsec_canary","clientId":"canary",
        "clientSecret":"canary","webhookId":"canary"}"#;
    let carrier = r#"{"apiKey":"EZTKcanary","webhookSecret":"canary"}"#;
    let stripe = start("stripe", keys, "easypost", carrier).await.unwrap();
    assert!(stripe.stripe.is_some() && stripe.paypal.is_none() && stripe.easypost.is_some());
    let paypal = start("paypal", keys, "own", carrier).await.unwrap();
    assert!(paypal.stripe.is_none() && paypal.paypal.is_some() && paypal.easypost.is_none());
    let variable = |name: &str| {
        let value = match name {
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "x",
            "BILLING_PARTNER" => "paypal",
            "FORMER_BILLING_PARTNER" => "stripe",
            "PARTNER_WEBHOOK_SECRET" => keys,
            "CARRIER" => "own",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let environment = Environment::new(&variable);
    let aws = Aws::from_environment(environment).unwrap();
    let both = Signers::from_environment(environment, &aws, &Runtime::system()).await;
    let both = both.unwrap();
    assert!(both.stripe.is_some() && both.paypal.is_some());
    for signers in [stripe, paypal, both] {
        assert!(!format!("{signers:?}").contains("canary"), "{signers:?}");
    }
    for (partner, secret, carrier, carrier_secret, told) in [
        ("stripe", "", "own", "", "PARTNER_WEBHOOK_SECRET_ARN"),
        (
            "stripe",
            r#"{"apiKey":"canary"}"#,
            "own",
            "",
            "the field webhookSecret",
        ),
        (
            "stripe",
            r#"{"webhookSecret":"canary"}"#,
            "own",
            "",
            "begin with whsec_",
        ),
        (
            "paypal",
            r#"{"clientId":"canary"}"#,
            "own",
            "",
            "the field webhookId",
        ),
        ("square", keys, "own", "", "BILLING_PARTNER"),
        ("sandbox", "", "easypost", "", "CARRIER_WEBHOOK_SECRET_ARN"),
        (
            "sandbox",
            "",
            "easypost",
            r#"{"webhookSecret":"é"}"#,
            "must be ASCII",
        ),
    ] {
        let error = start(partner, secret, carrier, carrier_secret).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

/// The text in base 64 (RFC 4648, section 4).
fn base64(text: &str) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for bytes in text.as_bytes().chunks(3) {
        let byte = |index: usize| usize::from(bytes.get(index).copied().unwrap_or_default());
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = char::from(digits[all >> (18 - 6 * place) & 63]);
            encoded.push(if place <= bytes.len() { digit } else { '=' });
        }
    }
    encoded
}
