//! Stripe: the real client against a double that speaks the wire format and keeps a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::{Agreement, Money, PartnerName, PartnerToken, Timestamp};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, RefundStatus,
    STRIPE_VERSION, Stripe,
};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, HttpsCall, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{Front, Misbehaviour, Operation, Outcome, PlayedStripe, StripeCall};
use tests::{Cloud, Options};

use crate::contract::{cart, cart_with_checkout, invoice, payment, text};

const CUSTOMER: &str = "cus_played";
const VISA: &str = "pm_card_visa";
const POOR: &str = "pm_card_chargeDeclinedInsufficientFunds";

/// A clock that the test moves, and random bytes that are the same in every run.
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
    played: PlayedStripe,
    front: Front,
    url: String,
    stripe: Stripe,
    runtime: Runtime,
    time: Arc<AtomicI64>,
}

fn bench(method: &str) -> Bench {
    let (runtime, time) = clock();
    let played = PlayedStripe::new(runtime.clone());
    played.attach(CUSTOMER, method);
    let front = played.front();
    let url = front.serve();
    let key = Secret::new(PlayedStripe::api_key());
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
pub(crate) async fn open(stripe: &Stripe, runtime: &Runtime, request: ChargeRequest) -> OpenCharge {
    let reference = stripe.open(&request).await.unwrap();
    OpenCharge::new(request, reference, stripe.account(), runtime.now())
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

    /// A charge of 200 dollars, opened.
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

/// A shop that bills by the double over loopback, and whose customer has agreed to it.
async fn shop(options: Options, method: &str) -> (Cloud<Stripe>, PlayedStripe) {
    let played = PlayedStripe::new(clock().0);
    played.attach(CUSTOMER, method);
    let base = played.front().serve();
    let key = Secret::new(PlayedStripe::api_key());
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

/// The seed's order, invoiced; returns it and the body that pays it.
async fn invoiced(cloud: &Cloud<Stripe>) -> (String, Value) {
    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let reply = cloud
        .post("/api/order/invoice.json", &invoice(&order))
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    (order, payment(text(&reply.body["invoiceId"])))
}

const PAYMENT: &str = "/api/order/payment.json";

#[tokio::test]
async fn the_seeds_payment_is_answered_with_the_card_that_stripe_charged() {
    let (cloud, played) = shop(Options::default(), VISA).await;
    played.change(VISA, |method| {
        method.name = Some("Bob Norman");
        method.iin = Some("42424242");
    });
    let (_, body) = invoiced(&cloud).await;
    let reply = cloud.post(PAYMENT, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(
        reply.body["credit_card"],
        json!({
            "first_name": "Bob", "last_name": "Norman",
            "first_digits": "424242", "last_digits": "4242", "brand": "visa",
            "expiry_month": 8, "expiry_year": 2030, "customer_id": 8080,
        })
    );
    assert_eq!(reply.body["payment"]["amount"], "200.0");
    assert_eq!(cloud.post(PAYMENT, &body).await.text, reply.text);
    assert_eq!(played.captured(), [20_000]);
}

#[tokio::test]
async fn an_order_is_charged_once_whichever_answer_of_stripes_is_lost() {
    use Misbehaviour::{AnswerLost, BreaksOff, FailsAfterwards, Malformed, RequestLost};
    for how in [
        RequestLost,
        AnswerLost,
        FailsAfterwards,
        Malformed,
        BreaksOff,
    ] {
        for operation in [Operation::Open, Operation::Confirm] {
            let (cloud, played) = shop(Options::default(), VISA).await;
            let (order, body) = invoiced(&cloud).await;
            played.misbehave(operation, how.clone());
            let first = cloud.post(PAYMENT, &body).await;
            assert!(matches!(first.status, 201 | 503), "{how:?}: {}", first.text);
            let second = cloud.post(PAYMENT, &body).await;
            assert_eq!(second.status, 201, "{how:?} {operation:?}: {}", second.text);
            assert_eq!(played.captured(), [20_000], "{how:?} {operation:?}");
            assert_eq!(cloud.get(&order).await.body["status"], "paid");
        }
    }
}

#[tokio::test]
async fn after_a_decline_an_explicit_attempt_is_charged_by_an_intent_of_its_own() {
    let (cloud, played) = shop(Options::default(), POOR).await;
    let (_, body) = invoiced(&cloud).await;
    let first = cloud.post_with_key(PAYMENT, "first", &body).await;
    assert_eq!(first.status, 402, "{}", first.text);
    assert_eq!(first.body["decline_code"], "insufficient_funds");
    assert_eq!(first.body["retryable"], true);
    played.change(POOR, |method| method.outcome = Outcome::Succeeds);
    let again = cloud.post_with_key(PAYMENT, "first", &body).await;
    assert_eq!((again.status, &again.text), (402, &first.text));
    let second = cloud.post_with_key(PAYMENT, "second", &body).await;
    assert_eq!(second.status, 201, "{}", second.text);
    assert_eq!(played.captured(), [20_000]);
    let states: Vec<&str> = played
        .intents()
        .into_iter()
        .map(|(_, state)| state)
        .collect();
    assert_eq!(states, ["canceled", "succeeded"]);
}

#[tokio::test]
async fn an_amount_that_stripe_cannot_take_is_a_decline_and_not_an_endless_retry() {
    let options = Options {
        currency: "KWD",
        ..Options::default()
    };
    let (cloud, played) = shop(options, VISA).await;
    let mut cart = cart_with_checkout();
    cart["checkout"]["currency"] = "KWD".into();
    cart["items"] = json!([{"productId": "1", "quantity": 1, "price": 5.124}]);
    let reply = cloud.post("/api/order/cart.json", &cart).await;
    cloud.settle().await;
    let order = cloud.get(text(&reply.body["orderId"])).await;
    assert_eq!(order.body["payment"]["state"], "declined", "{}", order.text);
    let body: Value = serde_json::from_str(&format!(
        r#"{{"customerId":"8080","invoiceId":"{}","totalAmount":5.124}}"#,
        text(&order.body["invoiceId"])
    ))
    .unwrap();
    let reply = cloud.post(PAYMENT, &body).await;
    assert_eq!(reply.status, 402, "{}", reply.text);
    assert_eq!(reply.body["decline_code"], "amount_too_precise");
    assert_eq!(reply.body["retryable"], false);
    assert!(played.asked().is_empty());
}

#[tokio::test]
async fn what_is_sent_names_the_order_and_pins_the_version_and_its_keys_name_no_customer() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    let asked = bench.played.asked();
    let (invoice, order) = (charge.request.invoice, charge.request.invoice.order());
    let StripeCall { headers, body, .. } = &asked[0];
    let header = |name: &str| {
        let mut found = headers.iter().filter(|(each, _)| each == name);
        found.next().map(|(_, value)| value.clone())
    };
    assert_eq!(header("stripe-version").as_deref(), Some(STRIPE_VERSION));
    let key = format!("{invoice}-1-open");
    assert_eq!(header("idempotency-key"), Some(key));
    assert_eq!(
        *body,
        format!(
            "amount=20000&currency=usd&customer={CUSTOMER}&payment_method={VISA}\
             &payment_method_types%5B%5D=card&confirm=false&capture_method=automatic\
             &metadata%5Border_id%5D={order}&metadata%5Binvoice_id%5D={invoice}\
             &metadata%5Battempt%5D=1"
        )
    );
    let StripeCall { headers, body, .. } = &asked[1];
    assert_eq!(*body, "off_session=true&expand%5B%5D=latest_charge");
    let key = format!("{invoice}-1-confirm-{}", charge.reference);
    assert!(headers.contains(&("idempotency-key".to_owned(), key)));
}

#[tokio::test]
async fn currencies_are_charged_in_the_unit_that_stripe_counts_in() {
    for (amount, currency, sent) in [("200", "JPY", 200), ("5.12", "KWD", 5_120)] {
        let bench = bench(VISA);
        let charge = bench.open(bench.request(VISA, amount, currency)).await;
        assert!(is_captured(&bench.stripe.confirm(&charge).await));
        assert_eq!(bench.played.captured(), [sent]);
    }
}

#[tokio::test]
async fn a_decline_names_its_reason_and_says_whether_to_try_again() {
    for (method, code, retryable) in [
        ("pm_card_chargeDeclined", "generic_decline", false),
        (POOR, "insufficient_funds", true),
        ("pm_card_chargeDeclinedLostCard", "lost_card", false),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", false),
        (
            "pm_card_chargeDeclinedProcessingError",
            "processing_error",
            true,
        ),
    ] {
        let bench = bench(method);
        let charge = bench.opened(method).await;
        let expected = declined(code, retryable);
        assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
        assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), expected);
        assert!(bench.played.captured().is_empty());
    }
    let bench = bench("pm_card_chargeDeclined");
    bench.played.change("pm_card_chargeDeclined", |method| {
        method.outcome = Outcome::Declines {
            code: "card_declined",
            decline_code: Some("generic_decline"),
            advice_code: Some("try_again_later"),
        };
    });
    let charge = bench.opened("pm_card_chargeDeclined").await;
    let advised = declined("generic_decline", true);
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), advised);
}

#[tokio::test]
async fn a_worker_that_wakes_after_a_decline_cannot_charge_the_card_any_more() {
    let bench = bench(POOR);
    let charge = bench.opened(POOR).await;
    let expected = declined("insufficient_funds", true);
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
    bench
        .played
        .change(POOR, |method| method.outcome = Outcome::Succeeds);
    // Within the life of the key and after it.
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
    bench.pass(Duration::from_hours(25));
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
    assert!(bench.played.captured().is_empty());
    assert_eq!(bench.played.charges().len(), 1);
}

#[tokio::test]
async fn however_often_a_charge_is_confirmed_it_is_made_once() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    for wait in [0, 1, 25, 50] {
        bench.pass(Duration::from_hours(wait));
        assert!(is_captured(&bench.stripe.confirm(&charge).await));
    }
    assert_eq!(bench.played.captured(), [20_000]);
    assert_eq!(bench.played.charges().len(), 1);
}

#[tokio::test]
async fn a_customer_who_must_authenticate_is_waited_for() {
    let method = "pm_card_authenticationRequired";
    let bench = bench(method);
    let charge = bench.opened(method).await;
    for _ in 0..2 {
        let status = bench.stripe.confirm(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::ActionRequired);
        let status = bench.stripe.look_up(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::ActionRequired);
        bench.pass(Duration::from_hours(25));
    }
    assert_eq!(bench.played.charges().len(), 1);
    assert!(bench.played.captured().is_empty());
}

#[tokio::test]
async fn a_pending_charge_is_found_captured_once_the_bank_has_decided() {
    let bench = bench("pm_pending");
    let charge = bench.opened("pm_pending").await;
    let status = bench.stripe.confirm(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Pending);
    let status = bench.stripe.look_up(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Pending);
    bench.played.settle();
    assert!(is_captured(&bench.stripe.look_up(&charge).await));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_an_unknown_outcome_and_looking_up_tells_it() {
    use Misbehaviour::{AnswerLost, BreaksOff, Enormous, Malformed};
    for how in [AnswerLost, Malformed, Enormous, BreaksOff] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.misbehave(Operation::Confirm, how.clone());
        assert!(
            is_unanswered(&bench.stripe.confirm(&charge).await),
            "{how:?}"
        );
        assert!(is_captured(&bench.stripe.look_up(&charge).await), "{how:?}");
        assert_eq!(bench.played.captured(), [20_000], "{how:?}");
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_in_time_and_is_an_unknown_outcome() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench
        .played
        .misbehave(Operation::Confirm, Misbehaviour::Drips);
    let nine_seconds = async {
        bench.front.dripped().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(9)).await;
        tokio::time::resume();
    };
    let confirm = bench.stripe.confirm(&charge);
    let (result, ()) = futures_util::future::join(confirm, nine_seconds).await;
    assert!(is_unanswered(&result), "{result:?}");
    assert!(is_captured(&bench.stripe.look_up(&charge).await));
}

#[tokio::test(start_paused = true)]
async fn the_double_serves_a_client_in_this_process_too() {
    let (runtime, _) = clock();
    let played = PlayedStripe::new(runtime.clone());
    played.attach(CUSTOMER, VISA);
    let front = played.front();
    let url = "https://stripe.test";
    let https = Https::with_connector(front.connector(), url);
    let key = Secret::new(PlayedStripe::api_key());
    let bench = Bench {
        stripe: Stripe::new(https, key, runtime.clone()),
        front,
        url: url.to_owned(),
        time: Arc::default(),
        played,
        runtime,
    };
    let charge = bench.opened(VISA).await;
    for how in [Misbehaviour::Drips, Misbehaviour::AnswerLost] {
        bench.played.misbehave(Operation::Confirm, how);
        assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
    }
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.played.captured(), [20_000]);
}

#[tokio::test]
async fn a_failure_that_the_key_keeps_delays_a_confirmation_and_does_not_block_it_for_a_day() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench
        .played
        .misbehave(Operation::Confirm, Misbehaviour::Fails);
    // The second gets the kept failure. Something of the first may still run: nothing is risked.
    for _ in 0..2 {
        assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
        let status = bench.stripe.look_up(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::Unconfirmed);
    }
    bench.pass(Duration::from_secs(91));
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.played.captured(), [20_000]);
    assert_eq!(bench.played.charges().len(), 1);
}

#[tokio::test]
async fn a_failure_after_the_money_was_taken_is_found_out_at_once() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench
        .played
        .misbehave(Operation::Confirm, Misbehaviour::FailsAfterwards);
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.played.captured(), [20_000]);
    let calls = [Operation::Open, Operation::Confirm, Operation::LookUp];
    assert_eq!(bench.played.operations(), calls);
}

#[tokio::test]
async fn opening_is_repeated_once_at_once_where_it_can_help() {
    use Misbehaviour::{Fails, KeyInUse, Locked, RateLimited};
    for how in [RateLimited, Locked, KeyInUse, Fails] {
        let bench = bench(VISA);
        bench.played.misbehave(Operation::Open, how.clone());
        let charge = bench.opened(VISA).await;
        assert_eq!(bench.played.operations(), [Operation::Open; 2], "{how:?}");
        assert!(is_captured(&bench.stripe.confirm(&charge).await));

        let request = bench.request(VISA, "200", "USD");
        bench.played.misbehave(Operation::Open, how.clone());
        bench.played.misbehave(Operation::Open, how.clone());
        let refused = bench.stripe.open(&request).await;
        assert!(is_unavailable(&refused), "{how:?}: {refused:?}");
        assert_eq!(bench.played.intents().len(), 1, "{how:?}");
    }
}

#[tokio::test]
async fn where_nobody_listens_stripe_is_unavailable() {
    let (runtime, _) = clock();
    let bench = bench(VISA);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let stripe = Stripe::new(Https::new(base), Secret::new("sk_test"), runtime);
    let opened = stripe.open(&bench.request(VISA, "200", "USD")).await;
    assert!(is_unavailable(&opened), "{opened:?}");
    let charge = bench.opened(VISA).await;
    assert!(is_unavailable(&stripe.confirm(&charge).await));
    assert!(is_unavailable(&stripe.look_up(&charge).await));
}

#[tokio::test]
async fn a_confirmation_that_stripe_puts_off_is_left_for_later() {
    use Misbehaviour::{KeyInUse, Locked, RateLimited};
    for how in [RateLimited, Locked, KeyInUse] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.misbehave(Operation::Confirm, how.clone());
        let put_off = bench.stripe.confirm(&charge).await;
        assert!(is_unavailable(&put_off), "{how:?}: {put_off:?}");
        assert!(bench.played.charges().is_empty(), "{how:?}");
        assert!(is_captured(&bench.stripe.confirm(&charge).await));
    }
}

#[tokio::test]
async fn opening_again_after_a_lost_answer_finds_the_same_intent_or_one_that_is_never_confirmed() {
    let bench = bench(VISA);
    bench.played.attach(CUSTOMER, "pm_card_mastercard");
    let mut request = bench.request(VISA, "200", "USD");
    bench
        .played
        .misbehave(Operation::Open, Misbehaviour::AnswerLost);
    assert!(is_unanswered(&bench.stripe.open(&request).await));
    let found = bench.stripe.open(&request).await.unwrap();
    assert_eq!(bench.played.intents(), [(found, "requires_confirmation")]);

    // The customer has agreed to another card meanwhile: that is the one that is charged.
    request.agreement = Some(agreement("pm_card_mastercard"));
    let charge = bench.open(request).await;
    let status = bench.stripe.confirm(&charge).await.unwrap();
    let ChargeStatus::Captured(card) = status else {
        panic!("{status:?}")
    };
    assert_eq!(card.brand.as_deref(), Some("mastercard"));
    assert_eq!(card.first_name, None);
    assert_eq!(bench.played.captured(), [20_000]);
}

#[tokio::test]
async fn nobody_is_charged_without_an_agreement_that_stripe_knows() {
    let bench = bench(VISA);
    let request = bench.request(VISA, "200", "USD");
    let with = |agreement: Option<Agreement>| ChargeRequest {
        agreement,
        ..request.clone()
    };
    let paypal = Agreement {
        partner: PartnerName::PayPal,
        ..agreement(VISA)
    };
    let nameless = Agreement {
        partner_customer: None,
        ..agreement(VISA)
    };
    for request in [with(None), with(Some(paypal)), with(Some(nameless))] {
        let refused = bench.stripe.open(&request).await;
        assert!(
            matches!(refused, Err(PartnerError::NoAgreement)),
            "{refused:?}"
        );
    }
    assert!(bench.played.asked().is_empty());
    let stranger = Agreement {
        partner_customer: Some(token("cus_stranger")),
        ..agreement(VISA)
    };
    let other = agreement("pm_of_somebody_else");
    for request in [with(Some(stranger)), with(Some(other))] {
        let refused = bench.stripe.open(&request).await;
        assert!(
            matches!(refused, Err(PartnerError::NoAgreement)),
            "{refused:?}"
        );
    }
    assert!(bench.played.intents().is_empty());
}

#[tokio::test]
async fn an_attempt_whose_card_was_taken_away_is_declined_so_that_another_can_begin() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench.played.detach(VISA);
    let expected = declined("payment_method_missing", false);
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
    assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), expected);
}

#[tokio::test]
async fn an_amount_that_stripe_refuses_is_refused_for_good() {
    let bench = bench(VISA);
    for (amount, code) in [
        ("0.49", "amount_too_small"),
        ("1000000", "amount_too_large"),
    ] {
        let refused = bench.stripe.open(&bench.request(VISA, amount, "USD")).await;
        assert!(
            matches!(&refused, Err(PartnerError::Refused { code: why }) if why == code),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_stripe_does_not_accept_declines_nobody_and_is_not_shown() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    let (runtime, _) = clock();
    let key = Secret::new("sk_live_canary");
    let stripe = Stripe::new(Https::new(&*bench.url), key, runtime);
    let request = bench.request(VISA, "200", "USD");
    for refused in [
        stripe
            .open(&request)
            .await
            .map(|_| ChargeStatus::Unconfirmed),
        stripe.confirm(&charge).await,
        stripe.look_up(&charge).await,
        stripe.cancel(&charge).await,
    ] {
        let is_of_the_key = matches!(refused, Err(PartnerError::NotConfigured(_)));
        assert!(is_of_the_key, "{refused:?}");
        assert!(!format!("{refused:?} {stripe:?}").contains("canary"));
    }
    let refused = stripe.refund(&charge).await;
    assert!(matches!(refused, Err(PartnerError::NotConfigured(_))));
}

#[tokio::test]
async fn a_status_that_is_new_is_an_unknown_outcome() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench.played.set_status("requires_source");
    assert!(is_unanswered(&bench.stripe.look_up(&charge).await));
    assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
    let newer = r#"{"error":{"type":"newer_error","code":"card_declined"}}"#;
    bench
        .played
        .misbehave(Operation::Confirm, Misbehaviour::Says(402, newer));
    assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
}

#[tokio::test]
async fn what_is_cancelled_can_never_be_confirmed() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench
        .played
        .misbehave(Operation::Cancel, Misbehaviour::AnswerLost);
    assert!(is_unanswered(&bench.stripe.cancel(&charge).await));
    for _ in 0..2 {
        let status = bench.stripe.cancel(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::Cancelled);
        let status = bench.stripe.confirm(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::Cancelled);
        bench.pass(Duration::from_hours(25));
    }
    assert!(bench.played.charges().is_empty());
}

#[tokio::test]
async fn what_was_captured_or_is_on_its_way_is_not_cancelled_and_says_so() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench.stripe.confirm(&charge).await.unwrap();
    assert!(is_captured(&bench.stripe.cancel(&charge).await));
    bench.played.attach(CUSTOMER, "pm_pending");
    let charge = bench.opened("pm_pending").await;
    bench.stripe.confirm(&charge).await.unwrap();
    let status = bench.stripe.cancel(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Pending);
}

/// A captured charge of 200 dollars.
async fn captured() -> (Bench, OpenCharge) {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    (bench, charge)
}

#[tokio::test]
async fn a_charge_is_given_back_once_whichever_answer_is_lost_and_however_late_it_is_asked_again() {
    use Misbehaviour::{AnswerLost, BreaksOff, Enormous, Fails, FailsAfterwards, Malformed};
    for how in [
        AnswerLost,
        BreaksOff,
        Enormous,
        Fails,
        FailsAfterwards,
        Malformed,
    ] {
        let (bench, charge) = captured().await;
        bench.played.misbehave(Operation::Refund, how.clone());
        let first = bench.stripe.refund(&charge).await;
        let known = matches!(first, Ok(RefundStatus::Refunded));
        assert!(known || is_unanswered(&first), "{how:?}: {first:?}");
        for wait in [0, 25, 50] {
            bench.pass(Duration::from_hours(wait));
            let again = bench.stripe.refund(&charge).await.unwrap();
            assert_eq!(again, RefundStatus::Refunded, "{how:?}");
        }
        assert_eq!(bench.played.refunds(), 1, "{how:?}");
        assert_eq!(bench.played.charges()[0].refunded, 20_000, "{how:?}");
    }
}

#[tokio::test]
async fn what_is_left_after_a_refund_by_hand_is_given_back_and_no_more() {
    let (bench, charge) = captured().await;
    bench.played.refund_by_hand(5_000);
    let status = bench.stripe.refund(&charge).await.unwrap();
    assert_eq!(status, RefundStatus::Refunded);
    assert_eq!(bench.played.charges()[0].refunded, 20_000);
    assert_eq!(bench.played.refunds(), 2);
}

#[tokio::test]
async fn a_refund_is_pending_until_it_has_succeeded_and_one_that_failed_is_repeated_when_asked_for()
{
    let (bench, charge) = captured().await;
    let standing = async || bench.stripe.refund_status(&charge).await.unwrap();
    assert_eq!(standing().await, None);
    bench.played.set_refund_status("pending");
    for _ in 0..2 {
        let status = bench.stripe.refund(&charge).await.unwrap();
        assert_eq!(status, RefundStatus::Pending);
        assert_eq!(standing().await, Some(status));
    }
    bench.played.set_refund_status("failed");
    let failed = RefundStatus::Failed {
        code: "expired_or_canceled_card".to_owned(),
    };
    assert_eq!(standing().await.as_ref(), Some(&failed));
    assert_eq!(bench.played.refunds(), 1);
    for refunds in [2, 3] {
        assert_eq!(bench.stripe.refund(&charge).await.unwrap(), failed);
        assert_eq!(bench.played.refunds(), refunds);
    }
    bench.played.set_refund_status("succeeded");
    for _ in 0..2 {
        let status = bench.stripe.refund(&charge).await.unwrap();
        assert_eq!(status, RefundStatus::Refunded);
        assert_eq!(standing().await, Some(status));
        bench.pass(Duration::from_hours(25));
    }
    assert_eq!(bench.played.given_back(), [20_000]);
}

#[tokio::test]
async fn a_refund_that_stripe_refuses_is_shown_and_one_that_it_puts_off_comes_again() {
    let (bench, charge) = captured().await;
    bench
        .played
        .misbehave(Operation::Refund, Misbehaviour::RateLimited);
    assert!(is_unavailable(&bench.stripe.refund(&charge).await));
    bench.played.dispute();
    let refused = RefundStatus::Failed {
        code: "charge_disputed".to_owned(),
    };
    assert_eq!(bench.stripe.refund(&charge).await.unwrap(), refused);
    assert_eq!(bench.played.refunds(), 0);
}

#[tokio::test]
async fn a_refund_that_overtook_ours_is_found() {
    let (bench, charge) = captured().await;
    let already = r#"{"error":{"type":"invalid_request_error","code":"charge_already_refunded"}}"#;
    bench
        .played
        .misbehave(Operation::Refund, Misbehaviour::Says(400, already));
    // What Stripe says and what it lists disagree: that is for later.
    assert!(is_unanswered(&bench.stripe.refund(&charge).await));
    let late = bench.stripe.clone();
    bench
        .played
        .misbehave(Operation::ListRefunds, Misbehaviour::Says(200, EMPTY));
    bench.played.refund_by_hand(20_000);
    let status = late.refund(&charge).await.unwrap();
    assert_eq!(status, RefundStatus::Refunded);
    assert_eq!(bench.played.refunds(), 1);
}

const EMPTY: &str = r#"{"object":"list","data":[],"has_more":false,"url":"/v1/refunds"}"#;

// ------------------------------------------------------------------ where the key comes from

#[tokio::test]
async fn on_a_laptop_the_key_comes_from_the_environment_and_its_absence_is_named() {
    let (runtime, _) = clock();
    let start = async |secret: Option<&str>, url: Option<&str>| {
        let variable = |name: &str| match name {
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
            "PARTNER_SECRET" => secret.map(str::to_owned),
            "STRIPE_URL" => url.map(str::to_owned),
            _ => None,
        };
        let environment = Environment::new(&variable);
        let aws = Aws::from_environment(environment).unwrap();
        Stripe::from_environment(environment, &aws, runtime.clone())
            .await
            .map_err(|error| match error {
                ConfigError::Missing(name) | ConfigError::Wrong { name, .. } => name,
            })
    };
    let good = Some(r#"{"apiKey":"sk_test_x","webhookSecret":"whsec_x"}"#);
    assert!(start(good, None).await.is_ok());
    let wrong = Some("http://example.com");
    for (secret, url, named) in [
        (None, None, "PARTNER_SECRET_ARN"),
        (Some("{}"), None, "PARTNER_SECRET"),
        (good, wrong, "STRIPE_URL"),
    ] {
        assert_eq!(start(secret, url).await.unwrap_err(), named);
    }
}

// ------------------------------------------------------------------ the double against the wire

/// Whether `actual` has everything that `example` has: `*` stands for any text, a number for any
/// number, everything else for itself.
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

/// The double as a bare client asks it.
struct Wire(PlayedStripe);

impl Wire {
    fn new(method: &str) -> Self {
        let played = PlayedStripe::new(clock().0);
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

/// An intent as the published fixtures show it.
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
    let wire = Wire(PlayedStripe::new(runtime));
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
    // A confirmation that names the card again is the one that would charge it: the client's does not.
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
    // Only a confirmation is off session.
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
        (Misbehaviour::RateLimited, 429, "rate_limit"),
        (Misbehaviour::Locked, 429, "lock_timeout"),
        (Misbehaviour::KeyInUse, 409, "idempotency_key_in_use"),
    ] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.misbehave(Operation::Confirm, how);
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

// ------------------------------------------------------------------ the double against Stripe itself

#[tokio::test]
async fn the_double_confirms_an_intent_once_and_takes_a_declined_card_off_it() {
    let bench = bench(VISA);
    let key = Secret::new(PlayedStripe::api_key());
    check_confirmations(&Https::new(&*bench.url), &key).await;
}

/// What all the rest rests on, asked of Stripe's own test mode:
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

/// Asks a Stripe as a bare client does.
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
        OpenCharge::new(request, reference, stripe.account(), runtime.now())
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
    // Closed, it still says why it was declined.
    assert_eq!(stripe.cancel(&charge).await.unwrap(), status);
    assert_eq!(stripe.confirm(&charge).await.unwrap(), status);
}
