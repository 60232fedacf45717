//! For which repeated calls the key stays the same, and for which it changes
//! (docs/design/clients.md, "Keys of repeated calls").

use std::time::Duration;

use domain::PartnerToken;
use payment::partners::{BillingPartner, ChargeRequest, ChargeStatus, OpenCharge};
use tests::partners::{Mishap, Operation, PayPalCall, PayPalOutcome, StripeDouble, StripeRefusal};

use super::{paypal, stripe};

/// Whether the last call had the same key as the one before it.
fn kept(keys: &[String]) -> bool {
    let [.., before, last] = keys else {
        panic!("two calls were made: {keys:?}")
    };
    before == last
}

fn at_stripe(bench: &stripe::Bench, operation: Operation) -> Vec<String> {
    let calls = bench.double.asked().into_iter();
    let calls = calls.filter(|call| call.operation == operation);
    let keys = calls.map(|call| {
        let mut headers = call.headers.into_iter();
        let key = headers.find(|(name, _)| name == "idempotency-key");
        key.map_or_else(String::new, |(_, key)| key)
    });
    keys.collect()
}

fn at_paypal(bench: &paypal::Bench, path_ends: &str) -> Vec<String> {
    let calls = bench.front.seen().into_iter();
    let calls = calls.filter(|call| call.method == "POST" && call.path.ends_with(path_ends));
    let keys = calls.map(|call| call.header("paypal-request-id").unwrap().to_owned());
    keys.collect()
}

/// A refusal that had no effect and that its key keeps.
const REFUSED: StripeRefusal = StripeRefusal {
    status: 400,
    kind: "invalid_request_error",
    code: Some("testmode_charges_only"),
    param: None,
};

#[tokio::test(start_paused = true)]
async fn the_key_of_opening_at_stripe_changes_with_what_is_opened_and_with_a_kept_answer() {
    let bench = stripe::bench();
    let request = bench.request();
    let opened = async |request: &ChargeRequest| {
        bench.stripe.open(request).await.ok();
        kept(&at_stripe(&bench, Operation::Open))
    };
    for lost in [Mishap::RequestLost, Mishap::AnswerLost] {
        bench.double.plan(Operation::Open, lost.clone());
        bench.stripe.open(&request).await.ok();
        assert!(opened(&request).await, "{lost:?}");
    }
    bench
        .double
        .plan(Operation::Open, StripeDouble::rate_limited());
    assert!(opened(&request).await, "put off");
    let second = ChargeRequest {
        attempt: 2,
        ..request.clone()
    };
    assert!(!opened(&second).await, "another attempt");
    let third = ChargeRequest {
        attempt: 3,
        ..request.clone()
    };
    bench.double.plan(Operation::Open, Mishap::Failed);
    assert!(!opened(&third).await, "a failure is kept");
    let replaces = Some("pi_closed".to_owned());
    let replacement = ChargeRequest { replaces, ..third };
    assert!(!opened(&replacement).await, "in the place of a closed one");
    bench.double.attach("cus_played", "pm_card_mastercard");
    let mut other = second;
    let agreement = other.agreement.as_mut().unwrap();
    agreement.payment_method = PartnerToken::parse("pm_card_mastercard").unwrap();
    assert!(!opened(&other).await, "the key was used for another card");
    bench.double.refuse(Operation::Open, Some(REFUSED));
    let fourth = ChargeRequest {
        attempt: 4,
        ..request
    };
    assert!(!opened(&fourth).await, "a refusal is kept");
}

#[tokio::test(start_paused = true)]
async fn the_key_of_confirming_at_stripe_changes_with_the_intent_and_with_a_kept_answer() {
    let bench = stripe::bench();
    let charge = bench.opened().await;
    let confirmed = async |charge: &OpenCharge| {
        bench.stripe.confirm(charge).await.ok();
        kept(&at_stripe(&bench, Operation::Confirm))
    };
    bench.double.plan(Operation::Confirm, Mishap::RequestLost);
    bench.stripe.confirm(&charge).await.ok();
    bench
        .double
        .plan(Operation::Confirm, StripeDouble::locked());
    assert!(confirmed(&charge).await, "lost");
    assert!(confirmed(&charge).await, "put off");
    let other = bench.opened().await;
    assert!(!confirmed(&other).await, "another intent");
    let refused = bench.opened().await;
    bench.double.refuse(Operation::Confirm, Some(REFUSED));
    assert!(!confirmed(&refused).await, "a refusal is kept");
    // Closing has no key: whatever it answered, closing again looks the intent up.
    bench.stripe.cancel(&refused).await.unwrap();
    assert_eq!(at_stripe(&bench, Operation::Cancel), [""]);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_refund_at_stripe_changes_with_each_that_failed_and_with_a_kept_answer() {
    let bench = stripe::bench();
    let charge = bench.captured().await;
    let refunded = async || {
        bench.stripe.refund(&charge).await.ok();
        kept(&at_stripe(&bench, Operation::Refund))
    };
    bench.double.plan(Operation::Refund, Mishap::RequestLost);
    bench.stripe.refund(&charge).await.ok();
    bench
        .double
        .plan(Operation::Refund, StripeDouble::rate_limited());
    assert!(refunded().await, "lost");
    bench.double.refuse(Operation::Refund, Some(REFUSED));
    assert!(!refunded().await, "a refusal is kept");
    bench.double.refuse(Operation::Refund, None);
    bench.stripe.refund(&charge).await.unwrap();
    for _ in 0..2 {
        bench.double.fail_refunds("expired_or_canceled_card");
        assert!(!refunded().await, "the one before has failed");
    }
}

#[tokio::test(start_paused = true)]
async fn the_id_of_opening_at_paypal_changes_with_what_is_opened_and_with_a_kept_answer() {
    let bench = paypal::bench();
    let request = bench.request();
    let opened = async |request: &ChargeRequest| {
        bench.paypal.open(request).await.ok();
        kept(&at_paypal(&bench, "/orders"))
    };
    for lost in [Mishap::RequestLost, Mishap::AnswerLost] {
        bench.front.plan("POST", "/orders", lost.clone());
        bench.paypal.open(&request).await.ok();
        assert!(opened(&request).await, "{lost:?}");
    }
    bench.pass(Duration::from_hours(1));
    assert!(!opened(&request).await, "an order lives for three hours");
    let second = ChargeRequest {
        attempt: 2,
        ..request.clone()
    };
    assert!(!opened(&second).await, "another attempt");
    let replaces = Some("5O190127TN364715T".to_owned());
    let replacement = ChargeRequest { replaces, ..second };
    assert!(!opened(&replacement).await, "in the place of a closed one");
    let refusal = Some((422, "PAYEE_ACCOUNT_RESTRICTED"));
    bench.double.refuse(PayPalCall::Open, refusal);
    let third = ChargeRequest {
        attempt: 3,
        ..request
    };
    assert!(!opened(&third).await, "a refusal is kept");
}

#[tokio::test(start_paused = true)]
async fn the_id_of_a_capture_changes_with_what_is_captured_and_with_a_kept_answer() {
    let bench = paypal::bench();
    let captured = async |charge: &OpenCharge| {
        bench.paypal.confirm(charge).await.ok();
        kept(&at_paypal(&bench, "/capture"))
    };
    let charge = bench.opened().await;
    bench.front.plan("POST", "/capture", Mishap::RequestLost);
    bench.paypal.confirm(&charge).await.ok();
    assert!(captured(&charge).await, "lost");
    assert!(!captured(&bench.opened().await).await, "another order");

    let charge = bench.opened().await;
    bench.front.plan("POST", "/capture", Mishap::RequestLost);
    bench.paypal.confirm(&charge).await.ok();
    let mut second = charge.clone();
    second.request.attempt = 2;
    bench.front.plan("POST", "/capture", Mishap::RequestLost);
    assert!(
        !captured(&second).await,
        "another attempt at the same order"
    );
    let mut other = second.clone();
    let agreement = other.request.agreement.as_mut().unwrap();
    agreement.payment_method = PartnerToken::parse("9kk8451t").unwrap();
    bench
        .double
        .vault_card("9kk8451t", [PayPalOutcome::PayerMustAct]);
    assert!(!captured(&other).await, "another token");
    bench.double.payers_act();
    assert!(!captured(&other).await, "the payer has acted");

    let charge = bench.opened().await;
    let refusal = Some((422, "PAYEE_ACCOUNT_RESTRICTED"));
    bench.double.refuse(PayPalCall::Capture, refusal);
    assert!(!captured(&charge).await, "a refusal is kept");
    bench.double.refuse(PayPalCall::Capture, None);
    let status = bench.paypal.confirm(&charge).await.unwrap();
    assert!(matches!(status, ChargeStatus::Captured(_)), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn the_id_of_a_refund_at_paypal_changes_with_each_that_failed_and_with_a_kept_answer() {
    let bench = paypal::bench();
    let charge = bench.captured().await;
    let refunded = async || {
        bench.paypal.refund(&charge).await.ok();
        kept(&at_paypal(&bench, "/refund"))
    };
    for _ in 0..2 {
        bench.front.plan("POST", "/refund", Mishap::RequestLost);
        bench.paypal.refund(&charge).await.ok();
    }
    assert!(kept(&at_paypal(&bench, "/refund")), "lost");
    let refusal = Some((422, "REFUND_FAILED_INSUFFICIENT_FUNDS"));
    bench.double.refuse(PayPalCall::Refund, refusal);
    assert!(!refunded().await, "a refusal is kept");
    bench.double.refuse(PayPalCall::Refund, None);
    bench.paypal.refund(&charge).await.unwrap();
    for _ in 0..2 {
        bench.double.fail_refunds();
        assert!(!refunded().await, "the one before has failed");
    }
}
