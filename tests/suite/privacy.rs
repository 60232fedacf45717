//! What leaves the process but by the answer to its caller: nothing that names a person, nothing
//! that is secret, at any level of logging.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use payment::partners::Stripe;
use serde_json::json;
use shared::https::{Https, Secret};
use tests::partners::PlayedStripe;
use tests::{Cloud, Options};
use tracing_subscriber::fmt::MakeWriter;

use crate::contract::text;

/// Everything that was logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
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

/// Values that must turn up nowhere: the customer's, the partner's tokens, the shop's key.
const CANARIES: [&str; 7] = [
    "Canaria Byrd",
    "0545551234",
    "canary@example.com",
    "12 Canary Wharf",
    "cus_canary",
    "pm_canary",
    "canary reason",
];

#[tokio::test]
async fn no_flow_logs_a_person_a_token_or_a_key_at_any_level() {
    let log = Log::default();
    let subscriber = shared::telemetry::subscriber(Some("trace"), log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);

    let played = PlayedStripe::new(shared::runtime::Runtime::system());
    played.attach("cus_canary", "pm_canary");
    let url = played.front().serve();
    let key = || Secret::new(PlayedStripe::api_key());
    let partner = |runtime| Stripe::new(Https::new(&*url), key(), runtime);
    let cloud = Cloud::with_partner(Options::default(), partner).await;
    let agreement = json!({
        "customerId": "8080", "partner": "stripe", "name": "Canaria Byrd",
        "partnerCustomerId": "cus_canary", "paymentMethodId": "pm_canary"
    });
    let cart = json!({
        "customerId": "8080",
        "items": [{"productId": "1234", "quantity": 2, "price": 50}],
        "checkout": {
            "name": "Canaria Byrd", "phone": "0545551234", "email": "canary@example.com",
            "shipping_address": "12 Canary Wharf", "currency": "USD"
        }
    });
    let mut answers = Vec::new();
    for customer in ["unknown", "8080"] {
        // The first has not agreed; its order waits.
        if customer == "8080" {
            answers.push(cloud.post("/api/customer/billing.json", &agreement).await);
        }
        let mut cart = cart.clone();
        cart["customerId"] = customer.into();
        let reply = cloud.post("/api/order/cart.json", &cart).await;
        let order = text(&reply.body["orderId"]).to_owned();
        cloud.settle().await;
        answers.push(cloud.get(&order).await);
        let cancel = json!({
            "customerId": customer, "orderId": order, "reason": "canary reason"
        });
        answers.push(cloud.post("/api/order/cancel.json", &cancel).await);
    }
    // Bad input is quoted nowhere either.
    let mut bad = cart.clone();
    bad["checkout"]["email"] = "canary@example.com canary@example.com".into();
    bad["Canaria Byrd"] = 1.into();
    let reply = cloud.post("/api/order/cart.json", &bad).await;
    assert_eq!(reply.status, 422, "{}", reply.text);

    assert!(cloud.mailer.taken().len() >= 4, "the flow ran");
    assert_eq!(played.captured().len(), 1);
    let log = log.text();
    assert!(log.contains("payment captured"), "the log is the flow's");
    for canary in CANARIES.iter().chain(&[PlayedStripe::api_key()]) {
        let line = log.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} was logged");
    }
    for answer in &answers {
        for canary in ["cus_canary", "pm_canary", PlayedStripe::api_key()] {
            assert!(!answer.text.contains(canary), "{}", answer.text);
        }
    }
}
