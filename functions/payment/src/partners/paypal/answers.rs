//! Every code that PayPal publishes about orders, captures, refunds, and disputes, with its
//! meaning.
//!
//! Sources: PayPal's API descriptions "Orders" 2.13, "Payments" 2.5, and "Disputes" 1.10 (the
//! issues of each endpoint and status, and the statuses of each object), the enumerations of its
//! server SDK, and the error pages of its reference. The codes in `REPORTED` are in no endpoint's
//! list, but live answers contain them, as PayPal's own modules and bug reports show.

use super::super::answers::{Meaning, Words};

/// Malformed requests, and features of an order that this service never uses.
const FEATURES: &str = "
    AMOUNT_MISMATCH APPLE_PAY_AMOUNT_MISMATCH BANK_NOT_SUPPORTED_FOR_VERIFICATION
    BILLING_ADDRESS_INVALID BLIK_ONE_CLICK_MISSING_REQUIRED_PARAMETER CANCEL_URL_REQUIRED
    CARD_EXPIRY_REQUIRED CARD_NUMBER_REQUIRED CITY_REQUIRED CRYPTOGRAM_REQUIRED
    CURRENCY_NOT_SUPPORTED_FOR_BANK DONATION_ITEMS_NOT_SUPPORTED DUPLICATE_REFERENCE_ID
    EMV_DATA_REQUIRED GOOGLE_PAY_GATEWAY_MERCHANT_ID_MISMATCH IBAN_COUNTRY_NOT_SUPPORTED
    INVALID_ARRAY_MAX_ITEMS INVALID_ARRAY_MIN_ITEMS INVALID_COUNTRY_CODE INVALID_EXPIRY_DATE
    INVALID_FX_RATE_ID INVALID_GOOGLE_PAY_TOKEN INVALID_IBAN INVALID_PAYER_ID
    INVALID_PICKUP_ADDRESS INVALID_PLATFORM_FEES_AMOUNT INVALID_PREVIOUS_TRANSACTION_REFERENCE
    INVALID_SECURITY_CODE_LENGTH ITEM_TOTAL_MISMATCH ITEM_TOTAL_REQUIRED MALFORMED_REQUEST_JSON
    MERCHANT_INITIATED_WITH_AUTHENTICATION_RESULTS
    MERCHANT_INITIATED_WITH_MULTIPLE_PURCHASE_UNITS MERCHANT_INITIATED_WITH_SECURITY_CODE
    MISSING_CRYPTOGRAM MISSING_PICKUP_ADDRESS MISSING_PREVIOUS_REFERENCE
    MISSING_REQUIRED_PARAMETER MULTIPLE_ITEM_CATEGORIES MULTIPLE_SHIPPING_ADDRESS_NOT_SUPPORTED
    MULTIPLE_SHIPPING_OPTION_SELECTED MULTIPLE_SHIPPING_TYPE_NOT_SUPPORTED MULTI_CURRENCY_ORDER
    NOT_SUPPORTED ONE_OF_PARAMETERS_REQUIRED ONLY_ONE_BANK_SOURCE_ALLOWED
    ORDER_COMPLETE_ON_PAYMENT_APPROVAL PAYEE_FX_RATE_ID_CURRENCY_MISMATCH
    PAYEE_FX_RATE_ID_EXPIRED PAYMENT_SOURCE_MISMATCH PAYMENT_SOURCE_NOT_SUPPORTED
    PAYPAL_REQUEST_ID_REQUIRED PAYPAL_TRANSACTION_ID_EXPIRED PAYPAL_TRANSACTION_ID_NOT_FOUND
    PLATFORM_FEE_PAYEE_CANNOT_BE_SAME_AS_PAYER PNREF_EXPIRED PNREF_NOT_FOUND
    POSTAL_CODE_REQUIRED PREFERRED_PAYMENT_SOURCE_MISMATCH
    PREFERRED_SHIPPING_OPTION_AMOUNT_MISMATCH REFERENCE_ID_REQUIRED
    REQUIRED_PARAMETER_FOR_CUSTOMER_INITIATED_PAYMENT RETURN_URL_REQUIRED
    SHIPPING_ADDRESS_INVALID SHIPPING_OPTIONS_NOT_SUPPORTED SHIPPING_OPTION_NOT_SELECTED
    TAX_TOTAL_MISMATCH TAX_TOTAL_REQUIRED UNSUPPORTED_INTENT UNSUPPORTED_PAYMENT_INSTRUCTION
    UNSUPPORTED_PROCESSING_INSTRUCTION UNSUPPORTED_SHIPPING_TYPE VAULT_INSTRUCTION_DUPLICATED
    VAULT_INSTRUCTION_REQUIRED
";

/// The shop's account and its permissions.
const OPERATOR: &str = "
    AUTH_CAPTURE_NOT_ENABLED INVALID_ACCOUNT_STATUS INVALID_PAYEE_PRICING_TIER_ID
    INVALID_PLATFORM_FEES_ACCOUNT NOT_ELIGIBLE_FOR_PAYPAL_TRANSACTION_ID_PROCESSING
    NOT_ELIGIBLE_FOR_PNREF_PROCESSING NOT_ELIGIBLE_FOR_TOKEN_PROCESSING
    NOT_ENABLED_FOR_APPLE_PAY NOT_ENABLED_FOR_BANK_PROCESSING NOT_ENABLED_FOR_CARD_PROCESSING
    NOT_ENABLED_FOR_GOOGLE_PAY NOT_ENABLED_TO_VAULT_PAYMENT_SOURCE PAYEE_ACCOUNT_INVALID
    PAYEE_ACCOUNT_LOCKED_OR_CLOSED PAYEE_ACCOUNT_RESTRICTED
    PAYEE_NOT_ENABLED_FOR_BANK_PROCESSING PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING
    PAYEE_PRICING_TIER_ID_NOT_ENABLED PERMISSION_DENIED PERMISSION_DENIED_FOR_DONATION_ITEMS
    PLATFORM_FEES_NOT_SUPPORTED SETUP_ERROR_FOR_BANK
    SHIPPING_TYPE_NOT_SUPPORTED_FOR_CLIENT TRANSACTION_RECEIVING_LIMIT_EXCEEDED
";

/// The issue of a refused call that opens, reads, or captures an order. A malformed parameter's
/// value may be the customer's.
pub const CHARGE: Words = Words::new(&[
    (
        Meaning::DeclinedForNow,
        "
        DECLINED_DUE_TO_RELATED_TXN INSTRUMENT_DECLINED MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED
        PAYMENT_SOURCE_DECLINED_BY_PROCESSOR",
    ),
    (
        Meaning::Declined,
        "
        ALIAS_DECLINED_BY_PROCESSOR CARD_BRAND_NOT_SUPPORTED CARD_EXPIRED COMPLIANCE_VIOLATION
        DOMESTIC_TRANSACTION_REQUIRED PAYEE_BLOCKED_TRANSACTION PAYER_ACCOUNT_LOCKED_OR_CLOSED
        PAYER_ACCOUNT_RESTRICTED PAYER_CANNOT_PAY PAYMENT_SOURCE_CANNOT_BE_USED
        PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED PREVIOUS_TRANSACTION_REFERENCE_HAS_CHARGEBACK
        PREVIOUS_TRANSACTION_REFERENCE_VOIDED REDIRECT_PAYER_FOR_ALTERNATE_FUNDING
        REFERENCED_CARD_EXPIRED TOKEN_EXPIRED TRANSACTION_BLOCKED_BY_PAYEE
        TRANSACTION_LIMIT_EXCEEDED TRANSACTION_REFUSED",
    ),
    (
        Meaning::CustomerMustAct,
        "ORDER_NOT_APPROVED PAYER_ACTION_REQUIRED",
    ),
    (
        Meaning::NoAgreement,
        "
        AGREEMENT_ALREADY_CANCELLED BILLING_AGREEMENT_ID_MISMATCH BILLING_AGREEMENT_NOT_FOUND
        CONSENT_NEEDED IDENTIFIER_NOT_FOUND TOKEN_ID_NOT_FOUND",
    ),
    (
        Meaning::OtherSource,
        "MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE",
    ),
    (
        Meaning::Refused,
        "
        CANNOT_BE_NEGATIVE CANNOT_BE_ZERO_OR_NEGATIVE DECIMALS_NOT_SUPPORTED DECIMAL_PRECISION
        INVALID_CURRENCY_CODE MAX_VALUE_EXCEEDED",
    ),
    (Meaning::Refused, FEATURES),
    (
        Meaning::Malformed,
        "
        INCOMPATIBLE_PARAMETER_VALUE INVALID_PARAMETER_SYNTAX INVALID_PARAMETER_VALUE
        INVALID_STRING_LENGTH",
    ),
    // Another order of this invoice may have been paid, or another request may have paid this one.
    (Meaning::RefusedUnlessDone, "DUPLICATE_INVOICE_ID"),
    (Meaning::LookUp, "ORDER_ALREADY_CAPTURED"),
    (Meaning::Gone, "INVALID_RESOURCE_ID"),
    (
        Meaning::InDoubt,
        "ORDER_COMPLETION_IN_PROGRESS PREVIOUS_REQUEST_IN_PROGRESS",
    ),
    (Meaning::Operator, OPERATOR),
]);

/// Issues of the same calls that are in none of their lists.
pub const REPORTED: Words = Words::new(&[
    (
        Meaning::Declined,
        "
        CARD_CLOSED CARD_TYPE_NOT_SUPPORTED CREDIT_CARD_NUMBER_IS_INVALID CURRENCY_NOT_SUPPORTED
        CURRENCY_NOT_SUPPORTED_FOR_CARD_TYPE CURRENCY_NOT_SUPPORTED_FOR_COUNTRY
        PAYER_COUNTRY_NOT_SUPPORTED PAYMENT_DENIED",
    ),
    (
        Meaning::NoAgreement,
        "PAYER_CONSENT_REQUIRED TOKEN_NOT_FOUND",
    ),
    (Meaning::Gone, "ORDER_EXPIRED RESOURCE_NOT_FOUND"),
    (
        Meaning::Operator,
        "
        NOT_AUTHORIZED PAYEE_ACCOUNT_NOT_SUPPORTED PAYEE_ACCOUNT_NOT_VERIFIED
        PAYEE_NOT_CONSENTED PERMISSION_NOT_GRANTED TRANSACTION_AMOUNT_EXCEEDS_MONTHLY_MAX_LIMIT",
    ),
]);

/// The issue of a refused call that refunds a capture.
pub const REFUND: Words = Words::new(&[
    (Meaning::LookUp, "CAPTURE_FULLY_REFUNDED"),
    // The account's balance may be too low: the operator adds funds and retries.
    (
        Meaning::Refused,
        "
        CANNOT_BE_NEGATIVE CANNOT_BE_ZERO_OR_NEGATIVE CURRENCY_MISMATCH DECIMALS_NOT_SUPPORTED
        DECIMAL_PRECISION DUPLICATE_INVOICE_ID INVALID_CURRENCY_CODE INVALID_PARAMETER_SYNTAX
        INVALID_STRING_LENGTH MAX_NUMBER_OF_REFUNDS_EXCEEDED MISSING_REQUIRED_PARAMETER
        PARTIAL_REFUND_NOT_ALLOWED PAYER_ACCOUNT_LOCKED_OR_CLOSED PLATFORM_FEE_EXCEEDED
        REFUND_AMOUNT_EXCEEDED REFUND_AMOUNT_TOO_LOW REFUND_CAPTURE_CURRENCY_MISMATCH
        REFUND_FAILED_INSUFFICIENT_FUNDS REFUND_IS_RESTRICTED REFUND_NOT_ALLOWED
        REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK REFUND_TIME_LIMIT_EXCEEDED TRANSACTION_DISPUTED",
    ),
    (Meaning::InDoubt, "PREVIOUS_REQUEST_IN_PROGRESS"),
    (Meaning::Later, "PENDING_CAPTURE"),
    (
        Meaning::Operator,
        "INVALID_ACCOUNT_STATUS INVALID_RESOURCE_ID PAYEE_ACCOUNT_LOCKED_OR_CLOSED PAYEE_ACCOUNT_RESTRICTED PERMISSION_DENIED PLATFORM_FEE_NOT_ENABLED",
    ),
]);

/// Issues of refunds that are in PayPal's reference but not in its API description.
pub const REPORTED_REFUND: Words = Words::new(&[
    (
        Meaning::Refused,
        "
        CAPTURE_DISPUTED_PARTIAL_REFUND_NOT_ALLOWED INVALID_REFUND_AMOUNT
        REFUND_FAILED_BY_PAYMENT_SOURCE REFUND_REFUSED_BY_PROCESSOR",
    ),
    (Meaning::Later, "CANNOT_PROCESS_REFUNDS"),
    (Meaning::Operator, "NOT_AUTHORIZED PERMISSION_NOT_GRANTED"),
]);

/// Why a capture is pending or declined (`capture_status_details.reason`). The operator's ones wait
/// for a decision in the account; the others end automatically, an electronic check within some
/// working days.
pub const REASONS: Words = Words::new(&[
    (
        Meaning::Later,
        "
        BUYER_COMPLAINT CHARGEBACK ECHECK OTHER PENDING_REVIEW REFUNDED
        TRANSACTION_APPROVED_AWAITING_FUNDING",
    ),
    (Meaning::Declined, "DECLINED_BY_RISK_FRAUD_FILTERS"),
    (
        Meaning::Operator,
        "
        INTERNATIONAL_WITHDRAWAL RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION UNILATERAL
        VERIFICATION_REQUIRED",
    ),
]);

/// The network's advice about another attempt (`processor_response.payment_advice_code`). It
/// overrules the processor's reason.
pub const ADVICE: Words = Words::new(&[
    (Meaning::DeclinedForNow, "02 24 25 26 27 28 29 30"),
    (Meaning::Declined, "01 03 04 21 22 40 43"),
]);

/// The processor's reason for a declined capture (`processor_response.response_code`): the code,
/// its name, and whether the same payment source may be accepted later.
pub const PROCESSOR: &[(&str, &str, Meaning)] = &[
    ("0000", "approved", Meaning::Declined),
    (
        "00N7",
        "cvv2_failure_possible_retry_with_cvv",
        Meaning::Declined,
    ),
    ("0100", "referral", Meaning::Declined),
    ("0390", "account_not_found", Meaning::Declined),
    ("0500", "do_not_honor", Meaning::DeclinedForNow),
    ("0580", "unauthorized_transaction", Meaning::Declined),
    ("0800", "bad_response_reversal_required", Meaning::Declined),
    ("0880", "cryptographic_failure", Meaning::Declined),
    ("0890", "unacceptable_pin", Meaning::Declined),
    ("0960", "system_malfunction", Meaning::DeclinedForNow),
    ("0R00", "cancelled_payment", Meaning::Declined),
    ("1000", "partial_authorization", Meaning::Declined),
    ("10BR", "issuer_rejected", Meaning::Declined),
    ("1300", "invalid_data_format", Meaning::Declined),
    ("1310", "invalid_amount", Meaning::Declined),
    (
        "1312",
        "invalid_transaction_card_issuer_acquirer",
        Meaning::Declined,
    ),
    ("1317", "invalid_capture_date", Meaning::Declined),
    ("1320", "invalid_currency_code", Meaning::Declined),
    ("1330", "invalid_account", Meaning::Declined),
    ("1335", "invalid_account_recurring", Meaning::Declined),
    ("1340", "invalid_terminal", Meaning::Declined),
    ("1350", "invalid_merchant", Meaning::Declined),
    ("1352", "restricted_or_inactive_account", Meaning::Declined),
    ("1360", "bad_processing_code", Meaning::Declined),
    ("1370", "invalid_mcc", Meaning::Declined),
    ("1380", "invalid_expiration", Meaning::Declined),
    ("1382", "invalid_card_verification_value", Meaning::Declined),
    (
        "1384",
        "invalid_life_cycle_of_transaction",
        Meaning::Declined,
    ),
    ("1390", "invalid_order", Meaning::Declined),
    ("1393", "transaction_cannot_be_completed", Meaning::Declined),
    ("5100", "generic_decline", Meaning::DeclinedForNow),
    ("5110", "cvv2_failure", Meaning::Declined),
    ("5120", "insufficient_funds", Meaning::DeclinedForNow),
    ("5130", "invalid_pin", Meaning::Declined),
    ("5135", "declined_pin_try_exceeded", Meaning::Declined),
    ("5140", "card_closed", Meaning::Declined),
    ("5150", "pickup_card", Meaning::Declined),
    ("5160", "unauthorized_user", Meaning::Declined),
    ("5170", "avs_failure", Meaning::Declined),
    ("5180", "invalid_or_restricted_card", Meaning::Declined),
    ("5190", "soft_avs", Meaning::Declined),
    ("5200", "duplicate_transaction", Meaning::Declined),
    ("5210", "invalid_transaction", Meaning::Declined),
    ("5400", "expired_card", Meaning::Declined),
    ("5500", "incorrect_pin_reenter", Meaning::Declined),
    ("5650", "declined_sca_required", Meaning::Declined),
    ("5700", "transaction_not_permitted", Meaning::Declined),
    ("5710", "tx_attempts_exceed_limit", Meaning::Declined),
    ("5800", "reversal_rejected", Meaning::Declined),
    ("5900", "invalid_issue", Meaning::Declined),
    (
        "5910",
        "issuer_not_available_not_retriable",
        Meaning::Declined,
    ),
    (
        "5920",
        "issuer_not_available_retriable",
        Meaning::DeclinedForNow,
    ),
    ("5930", "card_not_activated", Meaning::Declined),
    ("5950", "declined_due_to_updated_account", Meaning::Declined),
    ("6300", "account_not_on_file", Meaning::Declined),
    ("7600", "approved_non_capture", Meaning::Declined),
    ("7700", "error_3ds", Meaning::Declined),
    ("7710", "authentication_failed", Meaning::Declined),
    ("7800", "bin_error", Meaning::Declined),
    ("7900", "pin_error", Meaning::Declined),
    ("8000", "processor_system_error", Meaning::DeclinedForNow),
    ("8010", "host_key_error", Meaning::Declined),
    ("8020", "configuration_error", Meaning::Declined),
    ("8030", "unsupported_operation", Meaning::Declined),
    ("8100", "fatal_communication_error", Meaning::Declined),
    (
        "8110",
        "retriable_communication_error",
        Meaning::DeclinedForNow,
    ),
    ("8220", "system_unavailable", Meaning::DeclinedForNow),
    ("9100", "declined_please_retry", Meaning::DeclinedForNow),
    ("9500", "suspected_fraud", Meaning::Declined),
    ("9510", "security_violation", Meaning::Declined),
    ("9520", "lost_or_stolen", Meaning::Declined),
    ("9530", "hold_call_center", Meaning::Declined),
    ("9540", "refused_card", Meaning::Declined),
    ("9600", "unrecognized", Meaning::Declined),
    ("PCNR", "contingencies_not_resolved", Meaning::Declined),
    ("PCVV", "cvv_failure", Meaning::Declined),
    ("PP06", "account_closed", Meaning::Declined),
    ("PPRN", "reattempt_not_permitted", Meaning::Declined),
    ("PPAD", "billing_address", Meaning::Declined),
    ("PPAB", "account_blocked_by_issuer", Meaning::Declined),
    ("PPAE", "amex_disabled", Meaning::Declined),
    ("PPAG", "adult_gaming_unsupported", Meaning::Declined),
    ("PPAI", "amount_incompatible", Meaning::Declined),
    ("PPAR", "auth_result", Meaning::Declined),
    ("PPAU", "mcc_code", Meaning::Declined),
    ("PPAV", "arc_avs", Meaning::Declined),
    ("PPAX", "amount_exceeded", Meaning::Declined),
    ("PPBG", "bad_gaming", Meaning::Declined),
    ("PPC2", "arc_cvv", Meaning::Declined),
    ("PPCE", "ce_registration_incomplete", Meaning::Declined),
    ("PPCO", "country", Meaning::Declined),
    ("PPCR", "credit_error", Meaning::Declined),
    ("PPCT", "card_type_unsupported", Meaning::Declined),
    ("PPCU", "currency_used_invalid", Meaning::Declined),
    ("PPD3", "secure_error_3ds", Meaning::Declined),
    ("PPDC", "dcc_unsupported", Meaning::Declined),
    ("PPDI", "diners_reject", Meaning::Declined),
    ("PPDV", "auth_message", Meaning::Declined),
    ("PPDT", "decline_threshold_breach", Meaning::Declined),
    ("PPEF", "expired_funding_instrument", Meaning::Declined),
    ("PPEL", "exceeds_frequency_limit", Meaning::Declined),
    ("PPER", "internal_system_error", Meaning::DeclinedForNow),
    ("PPEX", "expiry_date", Meaning::Declined),
    ("PPFE", "funding_source_already_exists", Meaning::Declined),
    ("PPFI", "invalid_funding_instrument", Meaning::Declined),
    ("PPFR", "restricted_funding_instrument", Meaning::Declined),
    ("PPFV", "field_validation_failed", Meaning::Declined),
    ("PPGR", "gaming_refund_error", Meaning::Declined),
    ("PPH1", "h1_error", Meaning::Declined),
    ("PPIF", "idempotency_failure", Meaning::Declined),
    ("PPII", "invalid_input_failure", Meaning::Declined),
    ("PPIM", "id_mismatch", Meaning::Declined),
    ("PPIT", "invalid_trace_id", Meaning::Declined),
    ("PPLR", "late_reversal", Meaning::Declined),
    ("PPLS", "large_status_code", Meaning::Declined),
    ("PPMB", "missing_business_rule_or_data", Meaning::Declined),
    ("PPMC", "blocked_mastercard", Meaning::Declined),
    ("PPMD", "ppmd", Meaning::Declined),
    ("PPNC", "not_supported_nrc", Meaning::Declined),
    ("PPNL", "exceeds_network_frequency_limit", Meaning::Declined),
    ("PPNM", "no_mid_found", Meaning::Declined),
    ("PPNT", "network_error", Meaning::DeclinedForNow),
    ("PPPH", "no_phone_for_dcc_transaction", Meaning::Declined),
    ("PPPI", "invalid_product", Meaning::Declined),
    ("PPPM", "invalid_payment_method", Meaning::Declined),
    ("PPQC", "quasi_cash_unsupported", Meaning::Declined),
    (
        "PPRE",
        "unsupported_refund_on_pending_bc",
        Meaning::Declined,
    ),
    (
        "PPRF",
        "invalid_parent_transaction_status",
        Meaning::Declined,
    ),
    ("PPRR", "merchant_not_registered", Meaning::Declined),
    ("PPS0", "bankauth_row_mismatch", Meaning::Declined),
    ("PPS1", "bankauth_row_settled", Meaning::Declined),
    ("PPS2", "bankauth_row_voided", Meaning::Declined),
    ("PPS3", "bankauth_expired", Meaning::Declined),
    ("PPS4", "currency_mismatch", Meaning::Declined),
    ("PPS5", "creditcard_mismatch", Meaning::Declined),
    ("PPS6", "amount_mismatch", Meaning::Declined),
    ("PPSC", "arc_score", Meaning::Declined),
    ("PPSD", "status_description", Meaning::Declined),
    ("PPSE", "amex_denied", Meaning::Declined),
    ("PPTE", "verification_token_expired", Meaning::Declined),
    ("PPTF", "invalid_trace_reference", Meaning::Declined),
    ("PPTI", "invalid_transaction_id", Meaning::Declined),
    ("PPTR", "verification_token_revoked", Meaning::Declined),
    ("PPTT", "transaction_type_unsupported", Meaning::Declined),
    ("PPTV", "invalid_verification_token", Meaning::Declined),
    ("PPUA", "user_not_authorized", Meaning::Declined),
    ("PPUC", "currency_code_unsupported", Meaning::Declined),
    ("PPUE", "unsupported_entity", Meaning::Declined),
    ("PPUI", "unsupported_installment", Meaning::Declined),
    ("PPUP", "unsupported_pos_flag", Meaning::Declined),
    ("PPUR", "unsupported_reversal", Meaning::Declined),
    ("PPVC", "validate_currency", Meaning::Declined),
    ("PPVE", "validation_error", Meaning::Declined),
    ("PPVT", "virtual_terminal_unsupported", Meaning::Declined),
];
