//! Stripe: the real client against a double that speaks the wire format and keeps a ledger.

mod client;
mod double;
mod secrets;

pub(crate) use double::ask;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::{Agreement, Money, PartnerName, PartnerToken, Timestamp};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, Stripe,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{Front, StripeDouble};
use tests::{Cloud, Options};

use crate::contract::{cart, invoice, payment, text};

const CUSTOMER: &str = "cus_played";
const VISA: &str = "pm_card_visa";
const POOR: &str = "pm_card_chargeDeclinedInsufficientFunds";

/// A clock that the test controls, and random bytes that are the same in every run.
pub(crate) fn clock() -> (Runtime, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(1_795_428_725_000));
    let drawn = AtomicU64::new(0);
    let now = Arc::clone(&time);
    let runtime = Runtime::new(
        move || Timestamp::from_millis(now.load(Ordering::SeqCst)),
        move |bytes| {
            let draw = drawn.fetch_add(1, Ordering::SeqCst).to_string();
            bytes.copy_from_slice(&domain::digest(&["stripe", &draw])[..bytes.len()]);
        },
    );
    (runtime, time)
}

pub(crate) fn token(text: &str) -> PartnerToken {
    PartnerToken::parse(text).unwrap()
}

fn agreement(method: &str) -> Agreement {
    Agreement {
        partner: PartnerName::Stripe,
        partner_customer: Some(token(CUSTOMER)),
        payment_method: token(method),
    }
}

/// The client, the double that it calls over loopback, and the clock of both.
struct Bench {
    played: StripeDouble,
    front: Front,
    url: String,
    stripe: Stripe,
    runtime: Runtime,
    time: Arc<AtomicI64>,
}

fn bench(method: &str) -> Bench {
    let (runtime, time) = clock();
    let played = StripeDouble::new(runtime.clone());
    played.attach(CUSTOMER, method);
    let front = played.front();
    let url = front.serve();
    let key = Secret::new(StripeDouble::api_key());
    Bench {
        stripe: Stripe::new(Https::new(&*url), key, runtime.clone()),
        played,
        front,
        url,
        runtime,
        time,
    }
}

/// The charge as it is once its reference is stored.
pub(crate) async fn open<P: BillingPartner>(
    partner: &P,
    runtime: &Runtime,
    request: ChargeRequest,
) -> OpenCharge {
    let reference = partner.open(&request).await.unwrap();
    OpenCharge::new(request, reference, partner, runtime.now())
}

impl Bench {
    fn request(&self, method: &str, amount: &str, currency: &str) -> ChargeRequest {
        ChargeRequest {
            invoice: self.runtime.order_id().invoice(),
            attempt: 1,
            customer: domain::CustomerId::parse("8080").unwrap(),
            amount: Money::from_stored(amount).unwrap(),
            currency: currency.parse().unwrap(),
            agreement: Some(agreement(method)),
            replaces: None,
        }
    }

    async fn open(&self, request: ChargeRequest) -> OpenCharge {
        open(&self.stripe, &self.runtime, request).await
    }

    /// An opened charge of 200 dollars.
    async fn opened(&self, method: &str) -> OpenCharge {
        self.open(self.request(method, "200", "USD")).await
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.time.fetch_add(millis, Ordering::SeqCst);
    }
}

fn is_captured(result: &Result<ChargeStatus, PartnerError>) -> bool {
    matches!(result, Ok(ChargeStatus::Captured(_)))
}

pub(crate) fn is_unanswered<T>(result: &Result<T, PartnerError>) -> bool {
    matches!(result, Err(PartnerError::Unanswered(_)))
}

pub(crate) fn is_unavailable<T>(result: &Result<T, PartnerError>) -> bool {
    matches!(result, Err(PartnerError::Unavailable(_)))
}

fn declined(code: &str, retryable: bool) -> ChargeStatus {
    ChargeStatus::Declined {
        code: code.to_owned(),
        retryable,
    }
}

/// A shop that bills through the double over loopback, and whose customer has an agreement.
async fn shop(options: Options, method: &str) -> (Cloud<Stripe>, StripeDouble) {
    let played = StripeDouble::new(clock().0);
    played.attach(CUSTOMER, method);
    let base = played.front().serve();
    let key = Secret::new(StripeDouble::api_key());
    let partner = |runtime| Stripe::new(Https::new(base), key, runtime);
    let cloud = Cloud::with_partner(options, partner).await;
    let agreement = json!({
        "customerId": "8080", "partner": "stripe",
        "partnerCustomerId": CUSTOMER, "paymentMethodId": method
    });
    let reply = cloud.post("/api/customer/billing.json", &agreement).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    (cloud, played)
}

/// The contract's order, invoiced; returns it and the body that pays it.
async fn invoiced(cloud: &Cloud<Stripe>) -> (String, Value) {
    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let reply = cloud
        .post("/api/order/invoice.json", &invoice(&order))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    (order, payment(text(&reply.body["invoiceId"])))
}
