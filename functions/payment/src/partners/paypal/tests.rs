//! The pure parts: codes, amounts, IDs, and bodies.

use domain::{Card, Money, OrderId, Timestamp};
use serde_json::Value;

use super::verdict::processor_reason;
use super::*;

fn order(body: &Value) -> WireOrder {
    serde_json::from_value(body.clone()).unwrap()
}

/// An order with that status and captures of those statuses.
fn with(status: &str, captures: &[&str]) -> WireOrder {
    let captures: Vec<Value> = captures
        .iter()
        .map(|status| json!({"id": "2GG279541U471931P", "status": status}))
        .collect();
    order(&json!({
        "id": "5O190127TN364715T",
        "status": status,
        "purchase_units": [{"reference_id": "default", "payments": {"captures": captures}}],
    }))
}

fn charge(reference: &str, attempt: u32) -> OpenCharge {
    let id = OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001").unwrap();
    OpenCharge {
        request: ChargeRequest {
            invoice: id.invoice(),
            attempt,
            customer: domain::CustomerId::parse("8080").unwrap(),
            amount: Money::from_stored("200").unwrap(),
            currency: "USD".parse().unwrap(),
            agreement: None,
            replaces: None,
        },
        reference: reference.to_owned(),
        opened_at: Timestamp::from_millis(0),
        partner: Some(PartnerName::PayPal),
        account: None,
        method: None,
        unanswered_since: None,
    }
}

fn token(text: &str) -> PartnerToken {
    PartnerToken::parse(text).unwrap()
}

#[test]
fn an_order_that_may_be_captured_is_unconfirmed_and_a_dead_one_is_not() {
    let declined = |code: &str| ChargeStatus::Declined {
        code: code.to_owned(),
        retryable: true,
    };
    let captured = ChargeStatus::Captured(Card::default());
    let cases = [
        ("CREATED", &[][..], ChargeStatus::Unconfirmed),
        ("SAVED", &[], ChargeStatus::Unconfirmed),
        ("APPROVED", &[], ChargeStatus::Unconfirmed),
        ("VOIDED", &[], ChargeStatus::Cancelled),
        ("PAYER_ACTION_REQUIRED", &[], ChargeStatus::ActionRequired),
        ("COMPLETED", &["COMPLETED"], captured.clone()),
        ("COMPLETED", &["PARTIALLY_REFUNDED"], captured.clone()),
        ("COMPLETED", &["REFUNDED"], captured.clone()),
        ("COMPLETED", &["PENDING"], ChargeStatus::Pending),
        ("COMPLETED", &["DECLINED"], declined("declined")),
        ("COMPLETED", &["FAILED"], declined("failed")),
        // One source was refused; another may still be accepted.
        ("APPROVED", &["DECLINED"], ChargeStatus::Unconfirmed),
        ("APPROVED", &["DECLINED", "COMPLETED"], captured.clone()),
        ("COMPLETED", &["COMPLETED", "DECLINED"], captured),
    ];
    for (status, captures, expected) in cases {
        let standing = standing(&with(status, captures), &charge("", 1).request).unwrap();
        assert_eq!(standing, expected, "{status} {captures:?}");
    }
}

#[test]
fn words_that_paypal_does_not_document_are_never_guessed_at() {
    assert!(standing(&with("INVENTED", &[]), &charge("", 1).request).is_err());
    assert!(standing(&with("COMPLETED", &["INVENTED"]), &charge("", 1).request).is_err());
    assert!(standing(&with("COMPLETED", &[]), &charge("", 1).request).is_err());
    assert!(outcome(&with("INVENTED", &[]), &charge("", 1).request).is_err());
    assert_eq!(RefundWord::from_word("INVENTED"), None);
    assert_eq!(processor_reason("ZZZZ"), None);
}

#[test]
fn an_issue_that_paypal_does_not_document_means_what_its_status_proves() {
    for tables in [CHARGES, REFUNDS] {
        for (status, expected) in [
            (400, Meaning::RefusedUnlessDone),
            (403, Meaning::Operator),
            (404, Meaning::Gone),
            (405, Meaning::RefusedUnlessDone),
            (409, Meaning::InDoubt),
            (422, Meaning::RefusedUnlessDone),
        ] {
            assert_eq!(meaning(tables, status, "INVENTED"), expected, "{status}");
        }
    }
    // A listed code means the same whatever its status.
    assert_eq!(meaning(CHARGES, 400, "PAYMENT_DENIED"), Meaning::Declined);
}

#[test]
fn a_declined_capture_says_why_and_whether_to_try_again() {
    let declined = |response: Value| {
        let body = json!({"id": "x", "status": "COMPLETED", "purchase_units": [{"payments":
            {"captures": [{"id": "y", "status": "DECLINED", "processor_response": response}]}}]});
        match standing(&order(&body), &charge("", 1).request).unwrap() {
            ChargeStatus::Declined { code, retryable } => (code, retryable),
            other => panic!("{other:?}"),
        }
    };
    let cases = [
        (
            json!({"response_code": "5120"}),
            ("insufficient_funds", true),
        ),
        (json!({"response_code": "9520"}), ("lost_or_stolen", false)),
        // The network's advice overrules the code.
        (
            json!({"response_code": "5120", "payment_advice_code": "03"}),
            ("insufficient_funds", false),
        ),
        (
            json!({"response_code": "0500", "payment_advice_code": "24"}),
            ("do_not_honor", true),
        ),
        (json!({"response_code": "PPZZ"}), ("processor_ppzz", false)),
        (
            json!({"response_code": "a name"}),
            ("processor_illegible", false),
        ),
        (json!({}), ("declined", true)),
    ];
    for (response, (code, retryable)) in cases {
        assert_eq!(declined(response), (code.to_owned(), retryable));
    }
}

#[test]
fn amounts_have_the_decimals_that_paypal_takes() {
    let text = |amount: &str, currency: &str| {
        amount_text(
            Money::from_stored(amount).unwrap(),
            currency.parse().unwrap(),
        )
    };
    assert_eq!(text("200", "USD").as_deref(), Some("200.00"));
    assert_eq!(text("19.9", "EUR").as_deref(), Some("19.90"));
    assert_eq!(text("500", "JPY").as_deref(), Some("500"));
    assert_eq!(text("500", "HUF").as_deref(), Some("500"));
    assert_eq!(text("500", "TWD").as_deref(), Some("500"));
    assert_eq!(text("500.5", "HUF"), None);
    assert_eq!(text("500.5", "TWD"), None);
    assert_eq!(text("500", "KWD"), None);
}

#[test]
fn the_card_is_told_as_far_as_paypal_tells_it() {
    let card = |source: Value| {
        order(&json!({"id": "x", "status": "COMPLETED", "payment_source": source})).card()
    };
    let known = card(
        json!({"card": {"name": "Mary Ann Norman", "last_digits": "9855",
        "expiry": "2040-12", "brand": "VISA", "type": "CREDIT"}}),
    );
    assert_eq!(
        known,
        Card {
            first_name: Some("Mary Ann".to_owned()),
            last_name: Some("Norman".to_owned()),
            first_digits: None,
            last_digits: Some("9855".to_owned()),
            brand: Some("visa".to_owned()),
            expiry_month: Some(12),
            expiry_year: Some(2040),
        }
    );
    let odd = card(json!({"card": {"name": "Cher", "expiry": "2040-13"}}));
    assert_eq!(odd.first_name.as_deref(), Some("Cher"));
    assert_eq!((odd.last_name, odd.expiry_month), (None, None));
    let wallet = card(json!({"paypal": {"email_address": "a@example.com"}}));
    assert_eq!(wallet, Card::default());
}

#[test]
fn every_request_id_fits_and_names_one_thing() {
    let longest = charge(&"9".repeat(64), u32::MAX);
    let id = |charge: &OpenCharge, token: &PartnerToken, source, again| {
        capture_id(charge, token, source, again)
    };
    let (card, other) = (token("8kk8451t"), token("9kk8451t"));
    assert!(id(&longest, &card, Source::BillingAgreement, true).len() <= 108);
    let first = charge("5O190127TN364715T", 1);
    let ids = [
        id(&first, &card, Source::Card, false),
        id(&first, &card, Source::Card, true),
        id(&first, &card, Source::Wallet, false),
        id(&first, &other, Source::Card, false),
        id(&charge("5O190127TN364715T", 2), &card, Source::Card, false),
        id(&charge("1LW07307UP276402J", 1), &card, Source::Card, false),
    ];
    for (index, id) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(id), "{id}");
        assert!(!id.contains("8kk8451t"), "a token is a secret: {id}");
    }
}

#[test]
fn a_source_is_charged_as_its_kind_is() {
    let (vault, agreement) = (token("8kk8451t"), token("B-1AB23456CD789012E"));
    assert_eq!(Source::candidates(&vault), [Source::Card, Source::Wallet]);
    assert_eq!(Source::candidates(&agreement), [Source::BillingAgreement]);
    let card = Source::Card.body(&vault);
    assert_eq!(
        card["card"]["stored_credential"]["payment_type"],
        "UNSCHEDULED"
    );
    let wallet = Source::Wallet.body(&vault);
    assert_eq!(
        wallet["paypal"]["stored_credential"]["payment_initiator"],
        "MERCHANT"
    );
    // A wallet's object, unlike a card's, has no payment type.
    assert_eq!(
        wallet["paypal"]["stored_credential"]["payment_type"],
        Value::Null
    );
    let token = Source::BillingAgreement.body(&agreement);
    assert_eq!(token["token"]["type"], "BILLING_AGREEMENT");
}

#[test]
fn every_status_and_outcome_of_a_dispute_is_known_and_no_other() {
    use domain::DisputeState::{Lost, Open, Won};
    let state = |status: &str, outcome| dispute_state(status, outcome);
    for status in [
        "OPEN",
        "WAITING_FOR_BUYER_RESPONSE",
        "WAITING_FOR_SELLER_RESPONSE",
        "UNDER_REVIEW",
        "OTHER",
    ] {
        assert_eq!(state(status, None), Some(Open), "{status}");
    }
    for (outcome, expected) in [
        ("RESOLVED_BUYER_FAVOUR", Some(Lost)),
        ("ACCEPTED", Some(Lost)),
        ("RESOLVED_SELLER_FAVOUR", Some(Won)),
        ("RESOLVED_WITH_PAYOUT", Some(Won)),
        ("CANCELED_BY_BUYER", Some(Won)),
        ("DENIED", Some(Won)),
        ("NONE", Some(Open)),
        ("NEWER", None),
    ] {
        assert_eq!(state("RESOLVED", Some(outcome)), expected, "{outcome}");
    }
    assert_eq!(state("RESOLVED", None), Some(Open));
    assert_eq!(state("NEWER", None), None);
}

#[test]
fn only_a_capture_that_this_service_asked_for_is_a_charge_of_ours() {
    let charge = |capture: Value| {
        let capture: wire::DisputedCapture = serde_json::from_value(capture).unwrap();
        capture.charge().map(|(_, order)| order)
    };
    let related = json!({"related_ids": {"order_id": "5O190127TN364715T"}});
    let invoice = "inv_01JDB4XK00EXAMP0E0RDER0001";
    let ours = json!({"custom_id": invoice, "supplementary_data": related});
    assert_eq!(charge(ours).as_deref(), Some("5O190127TN364715T"));
    for other in [
        json!({}),
        json!({"custom_id": null, "supplementary_data": null}),
        json!({"custom_id": invoice}),
        json!({"custom_id": "web-4711", "supplementary_data": related}),
    ] {
        assert_eq!(charge(other.clone()), None, "{other}");
    }
}

#[test]
fn only_paypals_own_ids_are_put_into_a_path() {
    assert!(path_id("5O190127TN364715T").is_some());
    for id in ["", "../payments", "a/b", "a?b", "a b", &"9".repeat(65)] {
        assert_eq!(path_id(id), None, "{id}");
    }
}
