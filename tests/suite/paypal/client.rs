//! Payments through the real client.

use std::time::Duration;

use domain::{OrderId, Timestamp};
use futures_util::future::join;
use payment::partners::{BillingPartner, PartnerError, RefundStatus};
use platform::outbound::Https;
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{DoubleReply, Gate, Habits, Mishap, PayPalCall, PayPalDouble, PayPalOutcome};

use super::{
    Agreed, CARD, DEFAULT, MINUTE, ORDERS, Setting, declined, invoiced, invoiced_with, json_of,
    paypal, request,
};
use crate::contract::text;
use crate::late::cancel_paypal;
use crate::paypal_webhooks::shown;

#[tokio::test]
async fn the_seeds_payment_is_opened_without_a_source_and_captured_with_it() {
    let test = invoiced([]).await;
    let reply = test.pay().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(reply.body["transactionId"].is_u64());
    assert_eq!(
        reply.body["credit_card"],
        json!({
            "first_name": "Bob", "last_name": "Norman", "first_digits": null,
            "last_digits": "9855", "brand": "visa", "expiry_month": 12, "expiry_year": 2040,
            "customer_id": 8080,
        })
    );
    assert_eq!(reply.body["payment"]["amount"], "200.0");
    test.assert_charged_once().await;
    assert_eq!(test.pay().await.text, reply.text);
    test.assert_charged_once().await;

    let seen = test.front.seen();
    let [token, open, capture] = &*seen else {
        panic!("{seen:?}");
    };
    assert_eq!(token.path, "/v1/oauth2/token");
    assert_eq!((&*open.method, &*open.path), ("POST", ORDERS));
    let invoice = text(&test.body["invoiceId"]);
    assert_eq!(
        json_of(&open.body),
        json!({"intent": "CAPTURE", "purchase_units": [{
            "reference_id": invoice, "custom_id": invoice, "invoice_id": format!("{invoice}-1"),
            "amount": {"currency_code": "USD", "value": "200.00"},
        }]})
    );
    assert_eq!(
        json_of(&capture.body),
        json!({"payment_source": {"card": {"vault_id": CARD, "stored_credential": {
            "payment_initiator": "MERCHANT", "payment_type": "UNSCHEDULED",
            "usage": "SUBSEQUENT",
        }}}})
    );
    for request in [open, capture] {
        assert_eq!(request.header("prefer"), Some("return=representation"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let id = request.header("paypal-request-id").unwrap();
        assert!((1..=108).contains(&id.len()), "{id}");
    }
    assert_ne!(
        open.header("paypal-request-id"),
        capture.header("paypal-request-id")
    );
}

#[tokio::test]
async fn a_decline_is_told_by_its_code_and_takes_nothing() {
    let cases = [
        (
            PayPalOutcome::Refused("INSTRUMENT_DECLINED"),
            "instrument_declined",
            true,
        ),
        (
            PayPalOutcome::Refused("CARD_EXPIRED"),
            "card_expired",
            false,
        ),
        (
            PayPalOutcome::Refused("PAYER_ACCOUNT_RESTRICTED"),
            "payer_account_restricted",
            false,
        ),
        (PayPalOutcome::Declined("5120"), "insufficient_funds", true),
        (PayPalOutcome::Declined("9500"), "suspected_fraud", false),
        (PayPalOutcome::Status("FAILED"), "failed", true),
        // A charge that PayPal can never make is also declined finally.
        (
            PayPalOutcome::Refused("MAX_VALUE_EXCEEDED"),
            "max_value_exceeded",
            false,
        ),
    ];
    for (outcome, code, retryable) in cases {
        let test = invoiced([outcome]).await;
        let reply = test.pay().await;
        let expected = (402, "payment_declined", code, retryable);
        assert_eq!(declined(&reply), expected, "{}", reply.text);
        assert!(test.double.taken().is_empty());
        assert_eq!(test.state().await, "declined");
    }
}

#[tokio::test]
async fn what_only_the_shop_can_mend_is_no_decline_of_the_customers() {
    for issue in [
        "PAYEE_ACCOUNT_RESTRICTED",
        "PERMISSION_DENIED",
        "NOT_ENABLED_FOR_CARD_PROCESSING",
    ] {
        let test = invoiced([]).await;
        test.double.refuse(PayPalCall::Capture, Some((422, issue)));
        assert_eq!(test.pay().await.code(), "billing_partner_not_configured");
        assert_eq!(test.state().await, "due");
        assert!(test.double.taken().is_empty());
        test.double.refuse(PayPalCall::Capture, None);
        // Once the cause is corrected, the attempt continues, although PayPal would repeat its
        // refusal for the same ID.
        assert_eq!(test.pay().await.status, 201, "{issue}");
        test.assert_charged_once().await;
    }
}

#[tokio::test]
async fn a_status_that_paypal_does_not_document_is_unknown_and_never_a_decline() {
    let test = invoiced([PayPalOutcome::Status("INVENTED")]).await;
    for _ in 0..2 {
        assert_eq!(test.pay().await.status, 503);
        assert_eq!(test.state().await, "unknown");
    }
    assert!(test.double.taken().is_empty());
}

#[tokio::test]
async fn a_capture_that_paypal_refuses_in_whatever_words_is_the_customers_turn() {
    for (issue, code) in [
        ("PAYMENT_DENIED", "payment_denied"),
        ("A_NEWER_ISSUE", "a_newer_issue"),
        ("Jenny Rosen may not pay", "illegible"),
        // Another order of this invoice was paid, but no order of this shop shows it.
        ("DUPLICATE_INVOICE_ID", "duplicate_invoice_id"),
    ] {
        let test = invoiced([PayPalOutcome::Refused(issue)]).await;
        let expected = (402, "payment_declined", code, false);
        assert_eq!(declined(&test.pay().await), expected, "{issue}");
        assert_eq!(test.state().await, "declined");
        assert!(test.double.taken().is_empty());
        assert_eq!(test.pay().await.status, 201);
        test.assert_charged_once().await;
    }
}

#[tokio::test]
async fn a_wallet_is_charged_and_has_no_card() {
    for (token, source) in [("wallet_1", "paypal"), ("B-1AB23456CD789012E", "token")] {
        let test = invoiced_with(Setting {
            token: Some(token),
            ..DEFAULT
        })
        .await;
        test.double.vault_wallet("wallet_1", []);
        test.double.vault_agreement("B-1AB23456CD789012E", []);
        let reply = test.pay().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let card = &reply.body["credit_card"];
        for field in [
            "first_name",
            "last_name",
            "last_digits",
            "brand",
            "expiry_year",
        ] {
            assert_eq!(card[field], Value::Null, "{field}");
        }
        test.assert_charged_once().await;
        let captures = test.captures();
        let body = json_of(&captures.last().unwrap().body);
        assert!(body["payment_source"][source].is_object(), "{body}");
    }
}

#[tokio::test]
async fn nobody_is_charged_who_has_not_agreed_or_has_withdrawn() {
    let none = invoiced_with(Setting {
        token: None,
        ..DEFAULT
    })
    .await;
    assert_eq!(none.pay().await.code(), "billing_agreement_missing");
    assert!(none.front.seen().is_empty());

    let unknown = invoiced_with(Setting {
        token: Some("unknown"),
        ..DEFAULT
    })
    .await;
    assert_eq!(unknown.pay().await.code(), "billing_agreement_missing");
    assert_eq!(unknown.state().await, "action_required");
    assert!(unknown.double.taken().is_empty());

    let withdrawn = invoiced([]).await;
    let refusal = Some((422, "AGREEMENT_ALREADY_CANCELLED"));
    withdrawn.double.refuse(PayPalCall::Capture, refusal);
    assert_eq!(withdrawn.pay().await.code(), "billing_agreement_missing");
}

#[tokio::test]
async fn a_payer_who_must_act_is_charged_once_after_acting() {
    let test = invoiced([PayPalOutcome::PayerMustAct]).await;
    for _ in 0..2 {
        assert_eq!(test.pay().await.code(), "payment_action_required");
        assert_eq!(test.state().await, "action_required");
    }
    test.double.payers_act();
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_payer_who_never_acts_is_declined_once_the_order_has_expired() {
    let test = invoiced([PayPalOutcome::PayerMustAct]).await;
    assert_eq!(test.pay().await.code(), "payment_action_required");
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    let expected = (402, "payment_declined", "cancelled_at_partner", true);
    assert_eq!(declined(&test.pay().await), expected);
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_pending_capture_is_paid_or_declined_once_it_settles() {
    let after = Duration::from_hours(5);
    for (becomes, status) in [("COMPLETED", 201), ("DECLINED", 402)] {
        let as_ = becomes;
        let test = invoiced([PayPalOutcome::Pending { after, as_ }]).await;
        for _ in 0..2 {
            assert_eq!(test.pay().await.code(), "payment_pending");
            assert_eq!(test.state().await, "pending");
        }
        test.cloud.pass(after);
        assert_eq!(test.pay().await.status, status);
        assert_eq!(test.captures().len(), 1);
        assert_eq!(test.double.taken().len(), usize::from(status == 201));
    }
}

#[tokio::test]
async fn a_capture_of_another_amount_ships_nothing_and_ends_once_it_is_refunded() {
    for value in ["0.01", "199.99", "200.01"] {
        let test = invoiced([PayPalOutcome::Refused("INSTRUMENT_DECLINED")]).await;
        assert_eq!(test.pay().await.status, 402);
        test.double.change_amounts(value);
        for _ in 0..2 {
            let reply = test.pay().await;
            assert_eq!(reply.status, 503, "{}", reply.text);
            test.cloud.pass(MINUTE);
        }
        assert_eq!(test.state().await, "unknown", "{value}");
        test.cloud.settle().await;
        assert_eq!(shown(&test).await["status"], "invoiced");
        assert_eq!(test.captures().len(), 2);
        // The operator gives it back. The charge is dead, and the order can be cancelled.
        test.double.refund_by_hand();
        assert_eq!(cancel_paypal(&test).await.status, 200);
        assert_eq!(shown(&test).await["payment"]["state"], "cancelled");
    }
}

#[tokio::test]
async fn a_second_attempt_goes_on_with_the_order_that_is_alive() {
    let test = invoiced([PayPalOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 1);
    test.assert_charged_once().await;
    let ids = test.captures();
    assert_ne!(
        ids[0].header("paypal-request-id"),
        ids[1].header("paypal-request-id")
    );
}

#[tokio::test]
async fn a_second_attempt_opens_another_order_if_the_first_is_dead() {
    let test = invoiced([PayPalOutcome::Declined("5120")]).await;
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

/// When the frozen worker wakes.
#[derive(Clone, Copy, Debug)]
enum Wakes {
    AfterTheDecline,
    DuringTheSecondAttempt,
    AfterTheSecondAttempt,
}

#[tokio::test]
async fn a_worker_that_wakes_late_before_its_capture_never_makes_a_second_charge() {
    for first in [
        PayPalOutcome::Refused("INSTRUMENT_DECLINED"),
        PayPalOutcome::Declined("5120"),
    ] {
        for refusals_are_repeated in [true, false] {
            for wakes in [
                Wakes::AfterTheDecline,
                Wakes::DuringTheSecondAttempt,
                Wakes::AfterTheSecondAttempt,
            ] {
                let case = format!("{first:?} {refusals_are_repeated} {wakes:?}");
                println!("{case}");
                late_worker(first.clone(), refusals_are_repeated, wakes).await;
            }
        }
    }
}

async fn late_worker(first: PayPalOutcome, refusals_are_repeated: bool, wakes: Wakes) {
    // A dead order cannot be captured, and PayPal repeats a refusal that it remembers.
    let it_takes_the_money = matches!(first, PayPalOutcome::Refused(_)) && !refusals_are_repeated;
    let test = invoiced([first]).await;
    // The test does not even rely on an account that accepts an invoice ID only once.
    test.double.set_habits(Habits {
        refusals_are_repeated,
        invoices_are_unique: false,
        ..Habits::default()
    });
    let frozen = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(frozen.clone()));
    let others = async {
        frozen.arrived().await;
        test.lease_ends();
        assert_eq!(test.pay().await.status, 402);
        match wakes {
            Wakes::AfterTheDecline => {
                frozen.open();
                tokio::task::yield_now().await;
                assert_eq!(test.double.taken().len(), usize::from(it_takes_the_money));
                assert_eq!(test.pay().await.status, 201);
            }
            Wakes::DuringTheSecondAttempt => {
                let second = Gate::default();
                test.front
                    .plan("POST", "/capture", Mishap::Held(second.clone()));
                let wake = async {
                    second.arrived().await;
                    frozen.open();
                    tokio::task::yield_now().await;
                    second.open();
                };
                let (reply, ()) = join(test.pay(), wake).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
            }
            Wakes::AfterTheSecondAttempt => {
                assert_eq!(test.pay().await.status, 201);
                frozen.open();
            }
        }
    };
    let (reply, ()) = join(test.pay(), others).await;
    assert!(matches!(reply.status, 201 | 409), "{}", reply.text);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn yen_are_charged_without_decimals() {
    let test = invoiced_with(Setting {
        currency: "JPY",
        ..DEFAULT
    })
    .await;
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.taken(), ["200 JPY"]);
}

#[tokio::test]
async fn forints_are_charged_in_whole_units_or_not_at_all() {
    let whole = Setting {
        currency: "HUF",
        ..DEFAULT
    };
    let test = invoiced_with(whole).await;
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.taken(), ["200 HUF"]);

    let test = invoiced_with(Setting {
        price: "50.25",
        ..whole
    })
    .await;
    let expected = (402, "payment_declined", "amount_not_supported", false);
    assert_eq!(declined(&test.pay().await), expected);
    assert!(test.front.seen().is_empty());
    assert_eq!(declined(&test.pay().await), expected);
}

#[tokio::test]
async fn one_token_serves_many_calls_until_shortly_before_its_end() {
    let test = invoiced([]).await;
    test.double.set_habits(Habits {
        token_lives: Duration::from_hours(1),
        ..Habits::default()
    });
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    test.cloud.pass(54 * MINUTE);
    test.partner.look_up(&charge).await.unwrap();
    assert_eq!(test.double.tokens(), 1);
    test.cloud.pass(2 * MINUTE);
    test.partner.look_up(&charge).await.unwrap();
    assert_eq!(test.double.tokens(), 2);
    let mut asked = test.front.seen();
    asked.retain(|request| request.path == "/v1/oauth2/token");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_flight_is_replaced_and_the_charge_made_once() {
    let test = invoiced([]).await;
    let gate = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(gate.clone()));
    let expire = async {
        gate.arrived().await;
        test.double.expire_tokens();
        gate.open();
    };
    let (reply, ()) = join(test.pay(), expire).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let captures = test.captures();
    assert_eq!(captures.len(), 2);
    assert_eq!(
        captures[0].header("paypal-request-id"),
        captures[1].header("paypal-request-id")
    );
    test.assert_charged_once().await;
}

#[tokio::test]
async fn credentials_that_paypal_refuses_charge_nobody_and_decline_nobody() {
    let test = invoiced([]).await;
    let refused = DoubleReply::new(401, r#"{"error":"invalid_client"}"#);
    test.front.plan("POST", "oauth2", Mishap::Instead(refused));
    assert_eq!(test.pay().await.code(), "billing_partner_not_configured");
    assert_eq!(test.state().await, "due");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_rate_limit_delays_the_charge_and_nothing_else() {
    let limit = || {
        let body = r#"{"name":"RATE_LIMIT_REACHED","message":"Too many requests."}"#;
        Mishap::Instead(DoubleReply::new(429, body))
    };
    let test = invoiced([]).await;
    for part in ["oauth2", ORDERS, "/capture"] {
        test.front.plan("POST", part, limit());
        assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
        assert_eq!(test.state().await, "due");
    }
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

/// Every way in which an answer may not arrive.
fn mishaps() -> Vec<Mishap> {
    let fault = || {
        let body = r#"{"name":"INTERNAL_SERVER_ERROR","debug_id":"90957fca61718"}"#;
        DoubleReply::new(500, body)
    };
    vec![
        Mishap::RequestLost,
        Mishap::AnswerLost,
        Mishap::BrokenOff,
        Mishap::Instead(fault()),
        Mishap::Garbled(fault()),
        Mishap::Garbled(DoubleReply::new(503, "<html>try again later</html>")),
        Mishap::Garbled(DoubleReply::new(201, "{\"id\":")),
        Mishap::Garbled(DoubleReply::new(201, "")),
        Mishap::Garbled(DoubleReply::new(422, "<html>no</html>")),
        Mishap::Garbled(DoubleReply::new(201, vec![b' '; 3 * 1024 * 1024])),
    ]
}

#[tokio::test]
async fn an_answer_that_is_lost_or_garbled_at_any_step_leads_to_one_capture() {
    for over_sockets in [false, true] {
        for mishap in mishaps() {
            for part in ["oauth2", ORDERS, "/capture"] {
                let test = invoiced_with(Setting {
                    over_sockets,
                    ..DEFAULT
                })
                .await;
                test.front.plan("POST", part, mishap.clone());
                let reply = test.pay().await;
                let state = test.state().await;
                let is_refused = matches!(&mishap, Mishap::Garbled(reply) if reply.status == 422);
                let expected = match (part, is_refused) {
                    ("oauth2", true) => ("billing_partner_not_configured", "due"),
                    (ORDERS, true) => ("payment_declined", "declined"),
                    // The order shows that it was captured nevertheless.
                    (_, true) => ("", "captured"),
                    ("/capture", false) => ("payment_outcome_unknown", "unknown"),
                    (_, false) => ("billing_partner_unavailable", "due"),
                };
                let code = if reply.status == 201 {
                    ""
                } else {
                    reply.code()
                };
                assert_eq!((code, &*state), expected, "{part}, {mishap:?}");
                assert_eq!(test.pay().await.status, 201, "{part}, {mishap:?}");
                test.assert_charged_once().await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_after_eight_seconds() {
    let test = invoiced_with(Setting {
        over_sockets: true,
        ..DEFAULT
    })
    .await;
    test.front.plan("POST", "/capture", Mishap::Dripped);
    let began = tokio::time::Instant::now();
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    let took = began.elapsed();
    assert!((7..12).contains(&took.as_secs()), "{took:?}");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_lost_look_up_changes_nothing() {
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    for mishap in mishaps() {
        test.front.plan("GET", ORDERS, mishap);
        assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
        assert_eq!(test.state().await, "unknown");
    }
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.captures().len(), 1);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_order_that_expired_uncaptured_is_replaced_by_another_within_the_attempt() {
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", Mishap::RequestLost);
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_declined_order_that_expired_lets_the_next_attempt_open_another() {
    let test = invoiced([PayPalOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_order_that_is_not_found_too_early_is_not_taken_for_dead() {
    let not_found = || {
        let body = r#"{"name":"RESOURCE_NOT_FOUND","details":[{"issue":"INVALID_RESOURCE_ID"}]}"#;
        Mishap::Instead(DoubleReply::new(404, body))
    };
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", not_found());
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    test.front.plan("GET", ORDERS, not_found());
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_opening_is_found_again_unless_its_order_has_aged() {
    let test = invoiced([]).await;
    test.front.plan("POST", ORDERS, Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 1);

    let test = invoiced([]).await;
    test.front.plan("POST", ORDERS, Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    // Its ID is still kept, but its order is dead.
    test.cloud.pass(Duration::from_hours(4));
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_made_once() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    for mishap in mishaps() {
        test.front.plan("POST", "/refund", mishap.clone());
        match test.partner.refund(&charge).await {
            Err(PartnerError::Unanswered(_)) | Ok(RefundStatus::Refunded) => {}
            other => panic!("{mishap:?}: {other:?}"),
        }
    }
    for _ in 0..2 {
        let refund = test.partner.refund(&charge).await.unwrap();
        assert_eq!(refund, RefundStatus::Refunded);
        assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
        // Longer than PayPal keeps a refund's ID.
        test.cloud.pass(Duration::from_hours(46 * 24));
    }
}

#[tokio::test]
async fn two_refunds_at_once_give_the_money_back_once() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    let gate = Gate::default();
    test.front
        .plan("POST", "/refund", Mishap::Held(gate.clone()));
    let other = async {
        gate.arrived().await;
        let refund = test.partner.refund(&charge).await.unwrap();
        // The IDs are no longer kept when the held request arrives.
        test.cloud.pass(Duration::from_hours(46 * 24));
        gate.open();
        refund
    };
    let (late, refund) = join(test.partner.refund(&charge), other).await;
    assert_eq!(refund, RefundStatus::Refunded);
    // Its token has expired in between, and PayPal answers that nothing is left.
    assert_eq!(late.unwrap(), RefundStatus::Refunded);
    assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
}

#[tokio::test]
async fn a_refund_that_pends_or_fails_is_told_so() {
    for (word, expected) in [
        ("PENDING", RefundStatus::Pending),
        ("FAILED", refund_failed("refund_failed")),
        ("CANCELLED", refund_failed("refund_cancelled")),
    ] {
        let test = invoiced([]).await;
        assert_eq!(test.pay().await.status, 201);
        test.double.refunds_end_as(word);
        let charge = test.charge().await;
        for _ in 0..2 {
            assert_eq!(
                test.partner.refund(&charge).await.unwrap(),
                expected,
                "{word}"
            );
        }
    }
    let test = invoiced([PayPalOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    let charge = test.charge().await;
    let refund = test.partner.refund(&charge).await.unwrap();
    assert_eq!(refund, refund_failed("not_captured"));
}

fn refund_failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_has_charged_nobody() {
    let runtime = Runtime::new(|| Timestamp::from_millis(0), |_| {});
    // The discard port of loopback is not listened on.
    let partner = Agreed {
        paypal: paypal(Https::new("http://127.0.0.1:9"), runtime),
        token: Some(CARD),
    };
    let order = OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001").unwrap();
    let opened = partner.open(&request(&order, 1)).await;
    assert!(matches!(opened, Err(PartnerError::Unavailable(_))));
}

#[test]
fn the_client_never_prints_its_secret() {
    let runtime = Runtime::new(|| Timestamp::from_millis(0), |_| {});
    let client = paypal(Https::new("http://127.0.0.1:9"), runtime);
    assert!(!format!("{client:?}").contains(PayPalDouble::SECRET));
}
