//! The pure parts: words, amounts, ids and bodies.

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
        account: None,
        method: None,
        unanswered_since: None,
    }
}

fn token(text: &str) -> PartnerToken {
    PartnerToken::parse(text).unwrap()
}

/// Every issue in the lists of "Orders" 2.13 for creating, reading and capturing.
const CHARGE_ISSUES: &str = "
    AGREEMENT_ALREADY_CANCELLED ALIAS_DECLINED_BY_PROCESSOR AMOUNT_MISMATCH
    APPLE_PAY_AMOUNT_MISMATCH AUTH_CAPTURE_NOT_ENABLED BANK_NOT_SUPPORTED_FOR_VERIFICATION
    BILLING_ADDRESS_INVALID BILLING_AGREEMENT_ID_MISMATCH BILLING_AGREEMENT_NOT_FOUND
    BLIK_ONE_CLICK_MISSING_REQUIRED_PARAMETER CANCEL_URL_REQUIRED CANNOT_BE_NEGATIVE
    CANNOT_BE_ZERO_OR_NEGATIVE CARD_BRAND_NOT_SUPPORTED CARD_EXPIRED CARD_EXPIRY_REQUIRED
    CARD_NUMBER_REQUIRED CITY_REQUIRED COMPLIANCE_VIOLATION CONSENT_NEEDED
    CRYPTOGRAM_REQUIRED CURRENCY_NOT_SUPPORTED_FOR_BANK DECIMAL_PRECISION
    DECLINED_DUE_TO_RELATED_TXN DOMESTIC_TRANSACTION_REQUIRED DONATION_ITEMS_NOT_SUPPORTED
    DUPLICATE_INVOICE_ID DUPLICATE_REFERENCE_ID EMV_DATA_REQUIRED
    GOOGLE_PAY_GATEWAY_MERCHANT_ID_MISMATCH IBAN_COUNTRY_NOT_SUPPORTED IDENTIFIER_NOT_FOUND
    INCOMPATIBLE_PARAMETER_VALUE INSTRUMENT_DECLINED INVALID_ACCOUNT_STATUS
    INVALID_ARRAY_MAX_ITEMS INVALID_ARRAY_MIN_ITEMS INVALID_COUNTRY_CODE
    INVALID_CURRENCY_CODE INVALID_EXPIRY_DATE INVALID_FX_RATE_ID INVALID_GOOGLE_PAY_TOKEN
    INVALID_IBAN INVALID_PARAMETER_SYNTAX INVALID_PARAMETER_VALUE
    INVALID_PAYEE_PRICING_TIER_ID INVALID_PAYER_ID INVALID_PICKUP_ADDRESS
    INVALID_PLATFORM_FEES_ACCOUNT INVALID_PLATFORM_FEES_AMOUNT
    INVALID_PREVIOUS_TRANSACTION_REFERENCE INVALID_RESOURCE_ID INVALID_SECURITY_CODE_LENGTH
    INVALID_STRING_LENGTH ITEM_TOTAL_MISMATCH ITEM_TOTAL_REQUIRED MALFORMED_REQUEST_JSON
    MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED MAX_VALUE_EXCEEDED
    MERCHANT_INITIATED_WITH_AUTHENTICATION_RESULTS
    MERCHANT_INITIATED_WITH_MULTIPLE_PURCHASE_UNITS MERCHANT_INITIATED_WITH_SECURITY_CODE
    MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE MISSING_CRYPTOGRAM MISSING_PICKUP_ADDRESS
    MISSING_PREVIOUS_REFERENCE MISSING_REQUIRED_PARAMETER MULTIPLE_ITEM_CATEGORIES
    MULTIPLE_SHIPPING_ADDRESS_NOT_SUPPORTED MULTIPLE_SHIPPING_OPTION_SELECTED
    MULTIPLE_SHIPPING_TYPE_NOT_SUPPORTED MULTI_CURRENCY_ORDER
    NOT_ELIGIBLE_FOR_PAYPAL_TRANSACTION_ID_PROCESSING NOT_ELIGIBLE_FOR_PNREF_PROCESSING
    NOT_ELIGIBLE_FOR_TOKEN_PROCESSING NOT_ENABLED_FOR_APPLE_PAY
    NOT_ENABLED_FOR_BANK_PROCESSING NOT_ENABLED_FOR_CARD_PROCESSING
    NOT_ENABLED_FOR_GOOGLE_PAY NOT_ENABLED_TO_VAULT_PAYMENT_SOURCE NOT_SUPPORTED
    ONE_OF_PARAMETERS_REQUIRED ONLY_ONE_BANK_SOURCE_ALLOWED ORDER_ALREADY_CAPTURED
    ORDER_COMPLETE_ON_PAYMENT_APPROVAL ORDER_COMPLETION_IN_PROGRESS ORDER_NOT_APPROVED
    PAYEE_ACCOUNT_INVALID PAYEE_ACCOUNT_LOCKED_OR_CLOSED PAYEE_ACCOUNT_NOT_VERIFIED
    PAYEE_ACCOUNT_RESTRICTED PAYEE_BLOCKED_TRANSACTION PAYEE_FX_RATE_ID_CURRENCY_MISMATCH
    PAYEE_FX_RATE_ID_EXPIRED PAYEE_NOT_ENABLED_FOR_BANK_PROCESSING
    PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING PAYEE_PRICING_TIER_ID_NOT_ENABLED
    PAYER_ACCOUNT_LOCKED_OR_CLOSED PAYER_ACCOUNT_RESTRICTED PAYER_ACTION_REQUIRED
    PAYER_CANNOT_PAY PAYMENT_SOURCE_CANNOT_BE_USED PAYMENT_SOURCE_DECLINED_BY_PROCESSOR
    PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED PAYMENT_SOURCE_MISMATCH
    PAYMENT_SOURCE_NOT_SUPPORTED PAYPAL_REQUEST_ID_REQUIRED PAYPAL_TRANSACTION_ID_EXPIRED
    PAYPAL_TRANSACTION_ID_NOT_FOUND PERMISSION_DENIED PERMISSION_DENIED_FOR_DONATION_ITEMS
    PLATFORM_FEES_NOT_SUPPORTED PLATFORM_FEE_PAYEE_CANNOT_BE_SAME_AS_PAYER PNREF_EXPIRED
    PNREF_NOT_FOUND POSTAL_CODE_REQUIRED PREFERRED_PAYMENT_SOURCE_MISMATCH
    PREFERRED_SHIPPING_OPTION_AMOUNT_MISMATCH PREVIOUS_TRANSACTION_REFERENCE_HAS_CHARGEBACK
    PREVIOUS_TRANSACTION_REFERENCE_VOIDED REDIRECT_PAYER_FOR_ALTERNATE_FUNDING
    REFERENCED_CARD_EXPIRED REFERENCE_ID_REQUIRED
    REQUIRED_PARAMETER_FOR_CUSTOMER_INITIATED_PAYMENT RETURN_URL_REQUIRED
    SETUP_ERROR_FOR_BANK SHIPPING_ADDRESS_INVALID SHIPPING_OPTIONS_NOT_SUPPORTED
    SHIPPING_OPTION_NOT_SELECTED SHIPPING_TYPE_NOT_SUPPORTED_FOR_CLIENT TAX_TOTAL_MISMATCH
    TAX_TOTAL_REQUIRED TOKEN_EXPIRED TOKEN_ID_NOT_FOUND TRANSACTION_BLOCKED_BY_PAYEE
    TRANSACTION_LIMIT_EXCEEDED TRANSACTION_RECEIVING_LIMIT_EXCEEDED TRANSACTION_REFUSED
    UNSUPPORTED_INTENT UNSUPPORTED_PAYMENT_INSTRUCTION UNSUPPORTED_PROCESSING_INSTRUCTION
    UNSUPPORTED_SHIPPING_TYPE VAULT_INSTRUCTION_DUPLICATED VAULT_INSTRUCTION_REQUIRED
";

/// Every issue in the lists of "Payments" 2.5 for refunding.
const REFUND_ISSUES: &str = "
    CANNOT_BE_NEGATIVE CANNOT_BE_ZERO_OR_NEGATIVE CAPTURE_FULLY_REFUNDED CURRENCY_MISMATCH
    DECIMALS_NOT_SUPPORTED DECIMAL_PRECISION DUPLICATE_INVOICE_ID INVALID_CURRENCY_CODE
    INVALID_PARAMETER_SYNTAX INVALID_STRING_LENGTH MAX_NUMBER_OF_REFUNDS_EXCEEDED
    MISSING_REQUIRED_PARAMETER PARTIAL_REFUND_NOT_ALLOWED PAYEE_ACCOUNT_LOCKED_OR_CLOSED
    PAYEE_ACCOUNT_RESTRICTED PAYER_ACCOUNT_LOCKED_OR_CLOSED PENDING_CAPTURE
    PLATFORM_FEE_EXCEEDED PLATFORM_FEE_NOT_ENABLED REFUND_AMOUNT_EXCEEDED
    REFUND_AMOUNT_TOO_LOW REFUND_CAPTURE_CURRENCY_MISMATCH REFUND_FAILED_INSUFFICIENT_FUNDS
    REFUND_IS_RESTRICTED REFUND_NOT_ALLOWED REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK
    REFUND_TIME_LIMIT_EXCEEDED TRANSACTION_DISPUTED
";

#[test]
fn every_issue_that_paypal_publishes_has_a_meaning() {
    for issue in CHARGE_ISSUES.split_whitespace() {
        assert!(Issue::from_word(issue).is_some(), "{issue}");
    }
    for issue in REFUND_ISSUES.split_whitespace() {
        assert!(RefundIssue::from_word(issue).is_some(), "{issue}");
    }
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
        // One source was refused, another may still be taken.
        ("APPROVED", &["DECLINED"], ChargeStatus::Unconfirmed),
        ("APPROVED", &["DECLINED", "COMPLETED"], captured.clone()),
        ("COMPLETED", &["COMPLETED", "DECLINED"], captured),
    ];
    for (status, captures, expected) in cases {
        let standing = standing(&with(status, captures)).unwrap();
        assert_eq!(standing, expected, "{status} {captures:?}");
    }
}

#[test]
fn words_that_paypal_does_not_document_are_never_guessed_at() {
    assert!(standing(&with("INVENTED", &[])).is_err());
    assert!(standing(&with("COMPLETED", &["INVENTED"])).is_err());
    assert!(standing(&with("COMPLETED", &[])).is_err());
    assert!(outcome(&with("INVENTED", &[])).is_err());
    assert_eq!(Issue::from_word("INVENTED"), None);
    assert_eq!(RefundIssue::from_word("INVENTED"), None);
    assert_eq!(RefundWord::from_word("INVENTED"), None);
    assert_eq!(processor_reason("ZZZZ"), None);
}

#[test]
fn a_declined_capture_says_why_and_whether_to_try_again() {
    let declined = |response: Value| {
        let body = json!({"id": "x", "status": "COMPLETED", "purchase_units": [{"payments":
            {"captures": [{"id": "y", "status": "DECLINED", "processor_response": response}]}}]});
        match standing(&order(&body)).unwrap() {
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
        // The network knows better than the code.
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
    // Another object than the card's: it has no payment type.
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
