//! Everything that leaves the process, except the answer to its caller, contains no personal data
//! and no secrets, at any log level.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use messages::queue::Queue;
use payment::partners::{BillingPartner, Stripe};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::telemetry;
use serde_json::{Value, json};
use shipment::carriers::Carrier;
use tests::partners::{Front, PAYPAL_WEBHOOK_ID, PayPalDouble, StripeDouble};
use tests::{
    Cloud, EASYPOST_WEBHOOK_SECRET, Options, Reply, STRIPE_WEBHOOK_SECRET, hmac_sha256_hex,
};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

use crate::contract::text;
use crate::easypost::{self, KEY as EASYPOST_KEY};
use crate::paypal_webhooks::{self, Signed};
use crate::{paypal, webhooks};

/// The crates that a deployment logs in addition to the shared ones.
const SERVICES: [&str; 9] = [
    "billing", "cart", "customer", "email", "order", "payment", "relay", "shipment", "webhook",
];

/// Everything that was logged by this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Records what this thread logs at any level, until the value is dropped.
    pub(crate) fn listen(&self) -> (DefaultGuard, Dispatch) {
        // With a single dispatcher, the thread that logs a line first determines its interest
        // permanently, and that may be another test's thread (tracing-core's `callsite`).
        let second = Dispatch::new(NoSubscriber::default());
        let (level, stage) = (Some("trace"), "test".to_owned());
        let subscriber = telemetry::subscriber(&SERVICES, level, stage, self.clone());
        (tracing::subscriber::set_default(subscriber), second)
    }

    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Customer data that must appear in no log.
const PERSONAL: [&str; 5] = [
    "Canaria Byrd",
    "0545551234",
    "canary@example.com",
    "12 Canary Wharf",
    "canary reason",
];

/// Values that must appear in neither a log nor an answer: tokens, keys, and webhook secrets.
const SECRET: [&str; 10] = [
    "cus_canary",
    "pm_canary",
    "vault-canary",
    "sk_test_played",
    PayPalDouble::SECRET,
    EASYPOST_KEY,
    STRIPE_WEBHOOK_SECRET,
    EASYPOST_WEBHOOK_SECRET,
    PAYPAL_WEBHOOK_ID,
    "Bearer ",
];

/// Sends an order that is completed, one that waits for its customer's agreement, one that is paid
/// and cancelled, and invalid input; returns all answers and the first order.
async fn drive<P: BillingPartner, C: Carrier>(
    cloud: &Cloud<P, C>,
    agreement: &Value,
) -> (Vec<Reply>, String) {
    let checkout = json!({
        "name": "Canaria Byrd", "phone": "0545551234", "email": "canary@example.com",
        "shipping_address": "12 Canary Wharf, Brooklyn, NY 11201", "currency": "USD"
    });
    let cart = json!({
        "customerId": "8080",
        "items": [{"productId": "1234", "quantity": 2, "price": 50}],
        "checkout": checkout
    });
    let cancel = |customer: &str, order: &str| json!({"customerId": customer, "orderId": order, "reason": "canary reason"});
    let mut answers = vec![cloud.post("/api/customer/billing.json", agreement).await];
    let mut orders = Vec::new();
    for customer in ["8080", "unknown"] {
        let mut cart = cart.clone();
        cart["customerId"] = customer.into();
        let reply = cloud.post("/api/order/cart.json", &cart).await;
        let order = text(&reply.body["orderId"]).to_owned();
        cloud.settle().await;
        answers.push(cloud.get(&order).await);
        let cancel = cancel(customer, &order);
        answers.push(cloud.post("/api/order/cancel.json", &cancel).await);
        cloud.settle().await;
        orders.push(order);
    }
    // Cancelled between payment and shipment.
    let reply = cloud.post("/api/order/cart.json", &cart).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let until_paid = [Queue::Billing, Queue::Payment];
    cloud.settle_through(&until_paid).await;
    let cancel = cancel("8080", &order);
    let reply = cloud.post("/api/order/cancel.json", &cancel).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    answers.push(reply);
    cloud.settle().await;
    // A mail that is promised while its queue is down, and cannot be published at first.
    let mail = json!({
        "event": "OrderShipped", "name": "Canaria Byrd", "email": "canary@example.com"
    });
    cloud.queues.set_down(&[Queue::Email]);
    let reply = cloud.post("/api/order/shipping.json", &mail).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    answers.push(reply);
    cloud.pass(Duration::from_mins(5));
    assert_eq!(cloud.sweep().await.mails.failed, 1);
    cloud.queues.set_down(&[]);
    cloud.pass(Duration::from_mins(5));
    assert_eq!(cloud.sweep().await.mails.published, 1);
    cloud.settle().await;
    // Invalid input is not quoted either.
    let mut bad = cart.clone();
    bad["checkout"]["email"] = "canary@example.com canary@example.com".into();
    bad["Canaria Byrd"] = 1.into();
    let reply = cloud.post("/api/order/cart.json", &bad).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    // An address that no carrier can find.
    let mut nowhere = cart;
    nowhere["checkout"]["shipping_address"] = "12 Canary Wharf".into();
    cloud.post("/api/order/cart.json", &nowhere).await;
    cloud.settle().await;
    assert!(cloud.mailer.taken().len() >= 6, "the flow ran");
    (answers, orders.swap_remove(0))
}

/// Sends a partner's webhooks about an order, genuine and forged, and delivers their messages.
async fn hear<P: BillingPartner, C: Carrier>(
    cloud: &Cloud<P, C>,
    webhooks: impl IntoIterator<Item = Value>,
) -> Vec<Reply> {
    let mut answers = Vec::new();
    for mut webhook in webhooks {
        let reply = cloud.send(&webhook).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        answers.push(reply);
        let body = format!("{} ", text(&webhook["body"]));
        webhook["body"] = body.into();
        let reply = cloud.send(&webhook).await;
        assert_eq!(reply.status, 401, "{}", reply.text);
        answers.push(reply);
    }
    cloud.settle().await;
    answers
}

/// Checks every logged line and every answer.
fn assert_nothing_leaks(log: &Log, answers: &[Reply]) {
    let log = log.text();
    for told in [
        "payment captured",
        "order shipped",
        "payment refunded",
        "mail could not be published again",
        "mail published again",
    ] {
        assert!(log.contains(told), "the log is the flow's: {told}");
    }
    for canary in PERSONAL.iter().chain(&SECRET) {
        let line = log.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} was logged");
    }
    for answer in answers {
        for canary in SECRET {
            assert!(!answer.text.contains(canary), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn no_flow_through_stripe_shows_a_person_a_token_or_a_key_at_any_level() {
    let log = Log::default();
    let _listening = log.listen();

    let played = StripeDouble::new(Runtime::system());
    played.attach("cus_canary", "pm_canary");
    let url = played.front().serve();
    let key = Secret::new(StripeDouble::api_key());
    let partner = |runtime| Stripe::new(Https::new(&*url), key, runtime);
    let cloud = Cloud::with_partner(Options::default(), partner).await;
    let agreement = json!({
        "customerId": "8080", "partner": "stripe", "name": "Canaria Byrd",
        "partnerCustomerId": "cus_canary", "paymentMethodId": "pm_canary"
    });
    let (mut answers, order) = drive(&cloud, &agreement).await;
    played.dispute();
    let dispute = json!({"id": played.disputes()[0], "object": "dispute",
        "evidence": {"customer_name": "Canaria Byrd", "customer_email_address": "canary@example.com"}});
    let intent = json!({"id": "pi_1", "object": "payment_intent", "receipt_email":
        "canary@example.com", "metadata": {"order_id": order}});
    let now = cloud.runtime.now().seconds();
    let webhooks = [
        ("evt_1", "charge.dispute.created", &dispute),
        ("evt_2", "payment_intent.succeeded", &intent),
    ]
    .map(|(id, kind, object)| {
        let body = webhooks::event(id, kind, object);
        let header = webhooks::signature(now, &body);
        webhooks::webhook("stripe", ("stripe-signature", &header), &body)
    });
    answers.extend(hear(&cloud, webhooks).await);
    answers.push(cloud.get(&order).await);
    assert_eq!(played.captured().len(), 3);
    assert!(log.text().contains("charge disputed"));
    assert_nothing_leaks(&log, &answers);
}

#[tokio::test]
async fn no_flow_through_paypal_and_easypost_shows_a_person_a_token_or_a_key_at_any_level() {
    let log = Log::default();
    let _listening = log.listen();

    let sides = easypost::sides();
    let mut made = None;
    let partner = |runtime: Runtime| {
        let double = Arc::new(PayPalDouble::new(runtime.clone()));
        double.vault_card("vault-canary", []);
        let url = Front::new(double.clone()).serve();
        made = Some(double);
        paypal::paypal(Https::new(url), runtime)
    };
    let cloud = Cloud::with_ends(Options::default(), partner, sides.carrier.clone()).await;
    let double = made.unwrap();
    let agreement = json!({
        "customerId": "8080", "partner": "paypal", "name": "Canaria Byrd",
        "paymentMethodId": "vault-canary"
    });
    let (mut answers, order) = drive(&cloud, &agreement).await;
    double.dispute();
    let shipment = sides.double.bought()[0].shipment.clone();
    sides
        .double
        .scan(&shipment, "delivered", "2026-11-24T08:00:00Z");
    let mut hints = Vec::new();
    for (number, id) in double.disputes().iter().enumerate() {
        let buyer = json!({"dispute_id": id, "messages": [{"content": "12 Canary Wharf"}],
            "disputed_transactions": [{"buyer": {"name": "Canaria Byrd"}}]});
        let event_id = format!("WH-{number}");
        let body = paypal_webhooks::event(&event_id, "CUSTOMER.DISPUTE.CREATED", &buyer);
        hints.push(Signed::new(cloud.runtime.now(), &body).request(&body));
    }
    let body = json!({"id": "evt_1", "object": "Event", "description": "tracker.updated",
        "result": {"shipment_id": shipment, "signed_by": "Canaria Byrd"}})
    .to_string();
    let hex = hmac_sha256_hex(EASYPOST_WEBHOOK_SECRET, body.as_bytes());
    let header = format!("hmac-sha256-hex={hex}");
    let tracker = webhooks::webhook("easypost", ("x-hmac-signature", &header), &body);
    hints.push(tracker);
    answers.extend(hear(&cloud, hints).await);
    let shown = cloud.get(&order).await;
    assert_eq!(shown.body["delivery"]["state"], "delivered");
    assert_eq!(shown.body["payment"]["dispute"]["state"], "open");
    answers.push(shown);
    assert_eq!(double.given_back().len(), 1);
    let logged = log.text();
    for told in ["charge disputed", "parcel tracked"] {
        assert!(logged.contains(told), "{told}");
    }
    assert_nothing_leaks(&log, &answers);
}

#[test]
fn every_function_is_listened_to() {
    let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions");
    let functions = std::fs::read_dir(functions).unwrap();
    let mut crates: Vec<String> = functions
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    crates.sort();
    assert_eq!(crates, SERVICES);
}
