//! The client: its requests, and how it handles each answer.

use std::sync::Arc;
use std::time::Duration;

use domain::{Agreement, PartnerName};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, RefundStatus,
    STRIPE_VERSION, Stripe,
};
use platform::outbound::{Https, Secret};
use serde_json::{Value, json};
use tests::Options;
use tests::partners::{
    DoubleReply, Mishap, Operation, Outcome, StripeCall, StripeDouble, StripeRefusal,
};

use super::{
    Bench, CUSTOMER, POOR, VISA, agreement, bench, clock, declined, invoiced, is_captured,
    is_unanswered, is_unavailable, shop, token,
};
use crate::contract::{cart_with_checkout, text};

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
    use Mishap::{AnswerLost, BrokenOff, FailedAfterwards, NotJson, RequestLost};
    for how in [
        RequestLost,
        AnswerLost,
        FailedAfterwards,
        NotJson,
        BrokenOff,
    ] {
        for operation in [Operation::Open, Operation::Confirm] {
            let (cloud, played) = shop(Options::default(), VISA).await;
            let (order, body) = invoiced(&cloud).await;
            played.plan(operation, how.clone());
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
    // Within the lifetime of the key and after it.
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
    use Mishap::{AnswerLost, BrokenOff, Enormous, NotJson};
    for how in [AnswerLost, NotJson, Enormous, BrokenOff] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.plan(Operation::Confirm, how.clone());
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
    bench.played.plan(Operation::Confirm, Mishap::Dripped);
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
    let played = StripeDouble::new(runtime.clone());
    played.attach(CUSTOMER, VISA);
    let front = played.front();
    let url = "https://stripe.test";
    let https = Https::with_connector(front.connector(), url);
    let key = Secret::new(StripeDouble::api_key());
    let bench = Bench {
        stripe: Stripe::new(https, key, runtime.clone()),
        front,
        url: url.to_owned(),
        time: Arc::default(),
        played,
        runtime,
    };
    let charge = bench.opened(VISA).await;
    for how in [Mishap::Dripped, Mishap::AnswerLost] {
        bench.played.plan(Operation::Confirm, how);
        assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
    }
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.played.captured(), [20_000]);
}

#[tokio::test]
async fn a_failure_that_the_key_keeps_delays_a_confirmation_and_does_not_block_it_for_a_day() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench.played.plan(Operation::Confirm, Mishap::Failed);
    // The second confirmation gets the stored failure. The first may still be in progress, so
    // nothing is risked.
    for _ in 0..2 {
        assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
        let status = bench.stripe.look_up(&charge).await.unwrap();
        assert_eq!(status, ChargeStatus::Unconfirmed);
    }
    // Stripe's own clients wait 80 s for an answer; nothing is in progress after 90 s.
    bench.pass(Duration::from_millis(89_999));
    assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
    bench.pass(Duration::from_millis(1));
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
        .plan(Operation::Confirm, Mishap::FailedAfterwards);
    assert!(is_captured(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.played.captured(), [20_000]);
    let calls = [Operation::Open, Operation::Confirm, Operation::LookUp];
    assert_eq!(bench.played.operations(), calls);
}

#[tokio::test]
async fn opening_is_repeated_once_at_once_where_it_can_help() {
    use Mishap::Failed;
    for how in [
        StripeDouble::rate_limited(),
        StripeDouble::locked(),
        StripeDouble::key_in_use(),
        Failed,
    ] {
        let bench = bench(VISA);
        bench.played.plan(Operation::Open, how.clone());
        let charge = bench.opened(VISA).await;
        assert_eq!(bench.played.operations(), [Operation::Open; 2], "{how:?}");
        assert!(is_captured(&bench.stripe.confirm(&charge).await));

        let request = bench.request(VISA, "200", "USD");
        bench.played.plan(Operation::Open, how.clone());
        bench.played.plan(Operation::Open, how.clone());
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
    for how in [
        StripeDouble::rate_limited(),
        StripeDouble::locked(),
        StripeDouble::key_in_use(),
    ] {
        let bench = bench(VISA);
        let charge = bench.opened(VISA).await;
        bench.played.plan(Operation::Confirm, how.clone());
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
    bench.played.plan(Operation::Open, Mishap::AnswerLost);
    assert!(is_unanswered(&bench.stripe.open(&request).await));
    let found = bench.stripe.open(&request).await.unwrap();
    assert_eq!(bench.played.intents(), [(found, "requires_confirmation")]);

    // The customer has approved another card in between, and that card is charged.
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
    // Another customer's method, and one that does not exist.
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
    let refused = bench.stripe.confirm(&charge).await;
    assert!(
        matches!(&refused, Err(PartnerError::Refused { code }) if code == "refused"),
        "{refused:?}"
    );
    let status = bench.stripe.cancel(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Cancelled);
    // If Stripe also detaches it from the intent.
    let charge = opened_and_left_without_a_method(&bench).await;
    let expected = declined("payment_method_missing", false);
    assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), expected);
}

async fn opened_and_left_without_a_method(bench: &Bench) -> OpenCharge {
    bench.played.attach(CUSTOMER, VISA);
    let charge = bench.opened(VISA).await;
    bench.played.set_status("requires_payment_method");
    charge
}

#[tokio::test]
async fn a_card_that_was_taken_away_is_declined_and_the_next_one_is_charged() {
    let (cloud, played) = shop(Options::default(), VISA).await;
    let (order, body) = invoiced(&cloud).await;
    played.detach(VISA);
    for _ in 0..2 {
        let reply = cloud.post(PAYMENT, &body).await;
        assert_eq!(reply.status, 402, "{}", reply.text);
        assert_eq!(reply.code(), "payment_declined");
        assert_eq!(reply.body["decline_code"], "refused");
        assert_eq!(reply.body["retryable"], false);
        assert_eq!(cloud.get(&order).await.body["payment"]["state"], "declined");
    }
    played.attach(CUSTOMER, "pm_card_mastercard");
    let agreement = json!({
        "customerId": "8080", "partner": "stripe",
        "partnerCustomerId": CUSTOMER, "paymentMethodId": "pm_card_mastercard"
    });
    let reply = cloud.post("/api/customer/billing.json", &agreement).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let reply = cloud.post(PAYMENT, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(played.captured(), [20_000]);
}

#[tokio::test]
async fn what_only_the_shop_can_mend_at_stripe_is_said_so_and_declines_nobody() {
    for (status, code) in [
        (403, Some("secret_key_required")),
        (403, None),
        (400, Some("testmode_charges_only")),
        (400, Some("payment_method_unactivated")),
    ] {
        for operation in [Operation::Open, Operation::Confirm] {
            let (cloud, played) = shop(Options::default(), VISA).await;
            let (order, body) = invoiced(&cloud).await;
            let kind = "invalid_request_error";
            let param = None;
            let refusal = StripeRefusal {
                status,
                kind,
                code,
                param,
            };
            played.refuse(operation, Some(refusal));
            let reply = cloud.post(PAYMENT, &body).await;
            let got = (reply.status, reply.code());
            assert_eq!(got, (503, "billing_partner_not_configured"), "{code:?}");
            assert_eq!(cloud.get(&order).await.body["payment"]["state"], "due");
            played.refuse(operation, None);
            let reply = cloud.post(PAYMENT, &body).await;
            assert_eq!(reply.status, 201, "{code:?} {operation:?}: {}", reply.text);
            assert_eq!(played.captured(), [20_000]);
        }
    }
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
    // An error's type may be unknown: its code and status suffice.
    let newer = r#"{"error":{"type":"newer_error","code":"card_declined"}}"#;
    bench.played.plan(
        Operation::Confirm,
        Mishap::Instead(DoubleReply::new(402, newer)),
    );
    let expected = declined("card_declined", false);
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), expected);
}

#[tokio::test]
async fn what_is_cancelled_can_never_be_confirmed() {
    let bench = bench(VISA);
    let charge = bench.opened(VISA).await;
    bench.played.plan(Operation::Cancel, Mishap::AnswerLost);
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
    use Mishap::{AnswerLost, BrokenOff, Enormous, Failed, FailedAfterwards, NotJson};
    for how in [
        AnswerLost,
        BrokenOff,
        Enormous,
        Failed,
        FailedAfterwards,
        NotJson,
    ] {
        let (bench, charge) = captured().await;
        bench.played.plan(Operation::Refund, how.clone());
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
        .plan(Operation::Refund, StripeDouble::rate_limited());
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
    bench.played.plan(
        Operation::Refund,
        Mishap::Instead(DoubleReply::new(400, already)),
    );
    // Stripe's answer contradicts its list of refunds: a later call decides.
    assert!(is_unanswered(&bench.stripe.refund(&charge).await));
    let late = bench.stripe.clone();
    bench.played.plan(
        Operation::ListRefunds,
        Mishap::Instead(DoubleReply::new(200, EMPTY)),
    );
    bench.played.refund_by_hand(20_000);
    let status = late.refund(&charge).await.unwrap();
    assert_eq!(status, RefundStatus::Refunded);
    assert_eq!(bench.played.refunds(), 1);
}

const EMPTY: &str = r#"{"object":"list","data":[],"has_more":false,"url":"/v1/refunds"}"#;
