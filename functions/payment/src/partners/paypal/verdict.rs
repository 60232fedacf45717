//! What PayPal's words mean: statuses, the issues of refused calls, processors' codes.
//!
//! Sources: PayPal's API specifications "Orders" 2.13, "Payments" 2.5 and "Disputes" 1.10, and
//! "Processor Response Code" of its server SDK. A word that is not listed there is never guessed at: it
//! reads as `None`, and the charge's outcome counts as unknown.

use std::fmt;

use domain::{DisputeState, RefundStatus};
use partner::{self, Alphabet, FromReach as _, Reach, Unusable, sanitize};

use super::client::Failure;
use super::wire::{Problem, WireCapture, WireOrder};
use super::{ChargeStatus, PartnerError, Refunds};

/// How PayPal says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not accept the client's credentials, or a token that was made with them.
    Credentials,
    /// It asks for less; nothing happened.
    RateLimited,
    /// It names an issue. What that proves depends on the call.
    Issue {
        issue: String,
        /// Whether the payment source is what is wrong.
        about_the_source: bool,
    },
    /// It failed, or names no issue.
    Unexplained,
}

impl partner::Refusal for Refusal {
    fn from_answer(status: u16, body: &[u8]) -> Self {
        let explained = matches!(status, 400 | 403 | 404 | 409 | 415 | 422);
        match status {
            401 => Self::Credentials,
            429 => Self::RateLimited,
            _ if explained => Self::from_problem(body).unwrap_or(Self::Unexplained),
            _ => Self::Unexplained,
        }
    }

    fn reach(&self, _: u16) -> Reach {
        match self {
            Self::Credentials => Reach::NotConfigured,
            Self::RateLimited => Reach::NothingDone,
            Self::Issue { .. } | Self::Unexplained => Reach::Unknown,
        }
    }
}

impl Refusal {
    fn from_problem(body: &[u8]) -> Option<Self> {
        let problem: Problem = platform::json::read(body).ok()?;
        Some(Self::Issue {
            issue: sanitized(problem.issue()?),
            about_the_source: problem.is_about_the_source(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "the client's credentials are refused",
            Self::RateLimited => "too many requests",
            Self::Issue { issue, .. } => issue,
            Self::Unexplained => "no issue",
        })
    }
}

/// A word of PayPal's, as it may be shown.
fn sanitized(word: &str) -> String {
    let word = sanitize(word, Alphabet::UpperSnake);
    word.unwrap_or("illegible").to_owned()
}

pub(super) fn unknown_word(field: &str, word: &str) -> Unusable {
    Unusable::new(format!("{field} is unknown: {}", sanitized(word)))
}

pub(super) fn contradiction() -> Unusable {
    Unusable::new("PayPal's capture and order contradict each other")
}

/// Nothing happened, and nothing will until somebody mends the shop's account, its rights or this
/// program.
pub(super) fn not_allowed(failure: Failure) -> PartnerError {
    tracing::error!(%failure, "paypal does not let this account do that");
    PartnerError::unavailable(failure)
}

/// An issue that is not listed proves nothing.
pub(super) fn unknown_issue(failure: Failure) -> PartnerError {
    tracing::error!(%failure, "paypal has an issue that we do not know");
    PartnerError::unanswered(failure)
}

/// Where an order stands (`order.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderStatus {
    /// Opened; nobody has paid.
    Created,
    /// Opened and kept for later.
    Saved,
    /// The payer has agreed; nobody has paid.
    Approved,
    /// Can never be captured.
    Voided,
    /// Captured, or the capture was refused: what the capture says counts.
    Completed,
    /// The payer must act.
    PayerActionRequired,
}

impl OrderStatus {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "CREATED" => Self::Created,
            "SAVED" => Self::Saved,
            "APPROVED" => Self::Approved,
            "VOIDED" => Self::Voided,
            "COMPLETED" => Self::Completed,
            "PAYER_ACTION_REQUIRED" => Self::PayerActionRequired,
            _ => return None,
        })
    }
}

/// Where a capture stands (`capture_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureStatus {
    /// The money was taken.
    Completed,
    /// It was not.
    Declined,
    /// It was taken, and a part of it went back.
    PartiallyRefunded,
    /// It is not known yet.
    Pending,
    /// It was taken, and all of it went back.
    Refunded,
    /// It was not taken, by an error of PayPal's.
    Failed,
}

impl CaptureStatus {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "COMPLETED" => Self::Completed,
            "DECLINED" => Self::Declined,
            "PARTIALLY_REFUNDED" => Self::PartiallyRefunded,
            "PENDING" => Self::Pending,
            "REFUNDED" => Self::Refunded,
            "FAILED" => Self::Failed,
            _ => return None,
        })
    }
}

/// Where a refund stands (`refund_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefundWord {
    Cancelled,
    Failed,
    Pending,
    Completed,
}

impl RefundWord {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "CANCELLED" => Self::Cancelled,
            "FAILED" => Self::Failed,
            "PENDING" => Self::Pending,
            "COMPLETED" => Self::Completed,
            _ => return None,
        })
    }

    pub(super) fn status(self) -> RefundStatus {
        match self {
            Self::Cancelled => refund_failed("refund_cancelled"),
            Self::Failed => refund_failed("refund_failed"),
            Self::Pending => RefundStatus::Pending,
            Self::Completed => RefundStatus::Refunded,
        }
    }
}

/// How a dispute stands, by its status and the code of its outcome (`dispute.status`,
/// `dispute_outcome.outcome_code`).
pub(super) fn dispute_state(status: &str, outcome: Option<&str>) -> Option<DisputeState> {
    Some(match (status, outcome) {
        ("OPEN" | "WAITING_FOR_BUYER_RESPONSE" | "WAITING_FOR_SELLER_RESPONSE", _) => {
            DisputeState::Open
        }
        ("UNDER_REVIEW" | "OTHER", _) => DisputeState::Open,
        // The shop has accepted the claim, or PayPal found for the customer.
        ("RESOLVED", Some("RESOLVED_BUYER_FAVOUR" | "ACCEPTED")) => DisputeState::Lost,
        // With a payout PayPal pays the customer itself.
        (
            "RESOLVED",
            Some(
                "RESOLVED_SELLER_FAVOUR" | "RESOLVED_WITH_PAYOUT" | "CANCELED_BY_BUYER" | "DENIED",
            ),
        ) => DisputeState::Won,
        // It says that it is over and not how: somebody has to look.
        ("RESOLVED", Some("NONE") | None) => DisputeState::Open,
        _ => return None,
    })
}

/// What the issue of a refused call says about the charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issue {
    /// The payer's side refuses; whether the same source may be accepted later.
    Declined { retryable: bool },
    /// The payer must act.
    ActionRequired,
    /// The order has its one capture: what it says counts.
    AlreadyCaptured,
    /// Another call is at it, or a payment for this invoice exists that we do not know: what becomes
    /// of it must be looked up.
    Doubtful,
    /// PayPal does not know the token, or its owner has withdrawn it.
    NoAgreement,
    /// The token is known and names another kind of source than the call.
    OtherSource,
    /// The charge itself is not possible at PayPal, and never will be.
    Refused,
    /// The call or one of its values is malformed; its field says whose fault that is.
    Malformed,
    /// The shop's account, its rights or this program: nothing happens until somebody mends it.
    Ours,
    /// PayPal knows no such order or capture, or no more.
    Gone,
}

/// The shop's account and its rights, and what this program never sends or always does.
const OURS: &str = "
    AMOUNT_MISMATCH APPLE_PAY_AMOUNT_MISMATCH AUTH_CAPTURE_NOT_ENABLED
    BANK_NOT_SUPPORTED_FOR_VERIFICATION BILLING_ADDRESS_INVALID
    BLIK_ONE_CLICK_MISSING_REQUIRED_PARAMETER CANCEL_URL_REQUIRED CARD_EXPIRY_REQUIRED
    CARD_NUMBER_REQUIRED CITY_REQUIRED CONSENT_NEEDED CRYPTOGRAM_REQUIRED
    CURRENCY_NOT_SUPPORTED_FOR_BANK DONATION_ITEMS_NOT_SUPPORTED DUPLICATE_REFERENCE_ID
    EMV_DATA_REQUIRED GOOGLE_PAY_GATEWAY_MERCHANT_ID_MISMATCH IBAN_COUNTRY_NOT_SUPPORTED
    INVALID_ACCOUNT_STATUS INVALID_ARRAY_MAX_ITEMS INVALID_ARRAY_MIN_ITEMS INVALID_COUNTRY_CODE
    INVALID_EXPIRY_DATE INVALID_FX_RATE_ID INVALID_GOOGLE_PAY_TOKEN INVALID_IBAN
    INVALID_PAYEE_PRICING_TIER_ID INVALID_PAYER_ID INVALID_PICKUP_ADDRESS
    INVALID_PLATFORM_FEES_ACCOUNT INVALID_PLATFORM_FEES_AMOUNT
    INVALID_PREVIOUS_TRANSACTION_REFERENCE INVALID_SECURITY_CODE_LENGTH ITEM_TOTAL_MISMATCH
    ITEM_TOTAL_REQUIRED MALFORMED_REQUEST_JSON MERCHANT_INITIATED_WITH_AUTHENTICATION_RESULTS
    MERCHANT_INITIATED_WITH_MULTIPLE_PURCHASE_UNITS MERCHANT_INITIATED_WITH_SECURITY_CODE
    MISSING_CRYPTOGRAM MISSING_PICKUP_ADDRESS MISSING_PREVIOUS_REFERENCE
    MISSING_REQUIRED_PARAMETER MULTIPLE_ITEM_CATEGORIES MULTIPLE_SHIPPING_ADDRESS_NOT_SUPPORTED
    MULTIPLE_SHIPPING_OPTION_SELECTED MULTIPLE_SHIPPING_TYPE_NOT_SUPPORTED MULTI_CURRENCY_ORDER
    NOT_ELIGIBLE_FOR_PAYPAL_TRANSACTION_ID_PROCESSING NOT_ELIGIBLE_FOR_PNREF_PROCESSING
    NOT_ELIGIBLE_FOR_TOKEN_PROCESSING NOT_ENABLED_FOR_APPLE_PAY NOT_ENABLED_FOR_BANK_PROCESSING
    NOT_ENABLED_FOR_CARD_PROCESSING NOT_ENABLED_FOR_GOOGLE_PAY
    NOT_ENABLED_TO_VAULT_PAYMENT_SOURCE NOT_SUPPORTED ONE_OF_PARAMETERS_REQUIRED
    ONLY_ONE_BANK_SOURCE_ALLOWED ORDER_COMPLETE_ON_PAYMENT_APPROVAL PAYEE_ACCOUNT_INVALID
    PAYEE_ACCOUNT_LOCKED_OR_CLOSED PAYEE_ACCOUNT_NOT_VERIFIED PAYEE_ACCOUNT_RESTRICTED
    PAYEE_FX_RATE_ID_CURRENCY_MISMATCH PAYEE_FX_RATE_ID_EXPIRED
    PAYEE_NOT_ENABLED_FOR_BANK_PROCESSING PAYEE_NOT_ENABLED_FOR_CARD_PROCESSING
    PAYEE_PRICING_TIER_ID_NOT_ENABLED PAYMENT_SOURCE_MISMATCH PAYMENT_SOURCE_NOT_SUPPORTED
    PAYPAL_REQUEST_ID_REQUIRED PAYPAL_TRANSACTION_ID_EXPIRED PAYPAL_TRANSACTION_ID_NOT_FOUND
    PERMISSION_DENIED PERMISSION_DENIED_FOR_DONATION_ITEMS PLATFORM_FEES_NOT_SUPPORTED
    PLATFORM_FEE_PAYEE_CANNOT_BE_SAME_AS_PAYER PNREF_EXPIRED PNREF_NOT_FOUND
    POSTAL_CODE_REQUIRED PREFERRED_PAYMENT_SOURCE_MISMATCH
    PREFERRED_SHIPPING_OPTION_AMOUNT_MISMATCH REFERENCE_ID_REQUIRED
    REQUIRED_PARAMETER_FOR_CUSTOMER_INITIATED_PAYMENT RETURN_URL_REQUIRED SETUP_ERROR_FOR_BANK
    SHIPPING_ADDRESS_INVALID SHIPPING_OPTIONS_NOT_SUPPORTED SHIPPING_OPTION_NOT_SELECTED
    SHIPPING_TYPE_NOT_SUPPORTED_FOR_CLIENT TAX_TOTAL_MISMATCH TAX_TOTAL_REQUIRED
    TRANSACTION_RECEIVING_LIMIT_EXCEEDED UNSUPPORTED_INTENT UNSUPPORTED_PAYMENT_INSTRUCTION
    UNSUPPORTED_PROCESSING_INSTRUCTION UNSUPPORTED_SHIPPING_TYPE VAULT_INSTRUCTION_DUPLICATED
    VAULT_INSTRUCTION_REQUIRED
";

impl Issue {
    /// Every issue of the specifications' lists for creating, reading and capturing an order.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        const LATER: Issue = Issue::Declined { retryable: true };
        const NEVER: Issue = Issue::Declined { retryable: false };
        Some(match word {
            "INSTRUMENT_DECLINED"
            | "PAYMENT_SOURCE_DECLINED_BY_PROCESSOR"
            | "DECLINED_DUE_TO_RELATED_TXN"
            // The order takes no further attempt; once it has expired, another one does.
            | "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED" => LATER,
            "CARD_EXPIRED"
            | "REFERENCED_CARD_EXPIRED"
            | "TOKEN_EXPIRED"
            | "CARD_BRAND_NOT_SUPPORTED"
            | "PAYMENT_SOURCE_CANNOT_BE_USED"
            | "PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED"
            | "ALIAS_DECLINED_BY_PROCESSOR"
            | "PAYER_CANNOT_PAY"
            | "PAYER_ACCOUNT_LOCKED_OR_CLOSED"
            | "PAYER_ACCOUNT_RESTRICTED"
            | "PAYEE_BLOCKED_TRANSACTION"
            | "TRANSACTION_BLOCKED_BY_PAYEE"
            | "TRANSACTION_LIMIT_EXCEEDED"
            | "TRANSACTION_REFUSED"
            | "COMPLIANCE_VIOLATION"
            | "DOMESTIC_TRANSACTION_REQUIRED"
            | "PREVIOUS_TRANSACTION_REFERENCE_HAS_CHARGEBACK"
            | "PREVIOUS_TRANSACTION_REFERENCE_VOIDED"
            | "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING" => NEVER,
            "PAYER_ACTION_REQUIRED" | "ORDER_NOT_APPROVED" => Self::ActionRequired,
            "ORDER_ALREADY_CAPTURED" => Self::AlreadyCaptured,
            "ORDER_COMPLETION_IN_PROGRESS"
            | "PREVIOUS_REQUEST_IN_PROGRESS"
            | "DUPLICATE_INVOICE_ID" => Self::Doubtful,
            "AGREEMENT_ALREADY_CANCELLED"
            | "BILLING_AGREEMENT_NOT_FOUND"
            | "BILLING_AGREEMENT_ID_MISMATCH"
            | "TOKEN_ID_NOT_FOUND"
            | "IDENTIFIER_NOT_FOUND" => Self::NoAgreement,
            "MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE" => Self::OtherSource,
            "CANNOT_BE_NEGATIVE"
            | "CANNOT_BE_ZERO_OR_NEGATIVE"
            | "DECIMAL_PRECISION"
            | "DECIMALS_NOT_SUPPORTED"
            | "INVALID_CURRENCY_CODE"
            | "MAX_VALUE_EXCEEDED" => Self::Refused,
            "INVALID_PARAMETER_SYNTAX"
            | "INVALID_PARAMETER_VALUE"
            | "INVALID_STRING_LENGTH"
            | "INCOMPATIBLE_PARAMETER_VALUE" => Self::Malformed,
            "INVALID_RESOURCE_ID" => Self::Gone,
            _ if OURS.split_whitespace().any(|each| each == word) => Self::Ours,
            _ => return None,
        })
    }
}

/// What the issue of a refused refund says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefundIssue {
    /// Nothing of the capture is left: what the capture says counts.
    FullyRefunded,
    /// PayPal refuses it.
    Refused,
    /// Another call is at it.
    Doubtful,
    /// The shop's account or its rights: nothing happens until somebody mends it.
    Ours,
}

impl RefundIssue {
    /// Every issue of the specification's lists for refunding a capture.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "CAPTURE_FULLY_REFUNDED" => Self::FullyRefunded,
            "PREVIOUS_REQUEST_IN_PROGRESS" => Self::Doubtful,
            "CANNOT_BE_NEGATIVE"
            | "CANNOT_BE_ZERO_OR_NEGATIVE"
            | "CURRENCY_MISMATCH"
            | "DECIMALS_NOT_SUPPORTED"
            | "DECIMAL_PRECISION"
            | "DUPLICATE_INVOICE_ID"
            | "INVALID_CURRENCY_CODE"
            | "MAX_NUMBER_OF_REFUNDS_EXCEEDED"
            | "PARTIAL_REFUND_NOT_ALLOWED"
            | "PAYER_ACCOUNT_LOCKED_OR_CLOSED"
            | "PENDING_CAPTURE"
            | "PLATFORM_FEE_EXCEEDED"
            | "PLATFORM_FEE_NOT_ENABLED"
            | "REFUND_AMOUNT_EXCEEDED"
            | "REFUND_AMOUNT_TOO_LOW"
            | "REFUND_CAPTURE_CURRENCY_MISMATCH"
            // The account's balance does not cover it; somebody has to top it up and refund by hand.
            | "REFUND_FAILED_INSUFFICIENT_FUNDS"
            | "REFUND_IS_RESTRICTED"
            | "REFUND_NOT_ALLOWED"
            | "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"
            | "REFUND_TIME_LIMIT_EXCEEDED"
            | "TRANSACTION_DISPUTED" => Self::Refused,
            "INVALID_ACCOUNT_STATUS"
            | "INVALID_PARAMETER_SYNTAX"
            | "INVALID_RESOURCE_ID"
            | "INVALID_STRING_LENGTH"
            | "MALFORMED_REQUEST_JSON"
            | "MISSING_REQUIRED_PARAMETER"
            | "PAYEE_ACCOUNT_LOCKED_OR_CLOSED"
            | "PAYEE_ACCOUNT_RESTRICTED"
            | "PERMISSION_DENIED" => Self::Ours,
            _ => return None,
        })
    }
}

/// A processor's reason for a declined capture: its name and whether the same source may be accepted
/// later. `None` for a code that is not listed: declined it is all the same.
pub(super) fn processor_reason(code: &str) -> Option<(&'static str, bool)> {
    Some(match code {
        "0000" => ("approved", false),
        "00N7" => ("cvv2_failure_possible_retry_with_cvv", false),
        "0100" => ("referral", false),
        "0390" => ("account_not_found", false),
        "0500" => ("do_not_honor", true),
        "0580" => ("unauthorized_transaction", false),
        "0800" => ("bad_response_reversal_required", false),
        "0880" => ("cryptographic_failure", false),
        "0890" => ("unacceptable_pin", false),
        "0960" => ("system_malfunction", true),
        "0R00" => ("cancelled_payment", false),
        "1000" => ("partial_authorization", false),
        "10BR" => ("issuer_rejected", false),
        "1300" => ("invalid_data_format", false),
        "1310" => ("invalid_amount", false),
        "1312" => ("invalid_transaction_card_issuer_acquirer", false),
        "1317" => ("invalid_capture_date", false),
        "1320" => ("invalid_currency_code", false),
        "1330" => ("invalid_account", false),
        "1335" => ("invalid_account_recurring", false),
        "1340" => ("invalid_terminal", false),
        "1350" => ("invalid_merchant", false),
        "1352" => ("restricted_or_inactive_account", false),
        "1360" => ("bad_processing_code", false),
        "1370" => ("invalid_mcc", false),
        "1380" => ("invalid_expiration", false),
        "1382" => ("invalid_card_verification_value", false),
        "1384" => ("invalid_life_cycle_of_transaction", false),
        "1390" => ("invalid_order", false),
        "1393" => ("transaction_cannot_be_completed", false),
        "5100" => ("generic_decline", true),
        "5110" => ("cvv2_failure", false),
        "5120" => ("insufficient_funds", true),
        "5130" => ("invalid_pin", false),
        "5135" => ("declined_pin_try_exceeded", false),
        "5140" => ("card_closed", false),
        "5150" => ("pickup_card", false),
        "5160" => ("unauthorized_user", false),
        "5170" => ("avs_failure", false),
        "5180" => ("invalid_or_restricted_card", false),
        "5190" => ("soft_avs", false),
        "5200" => ("duplicate_transaction", false),
        "5210" => ("invalid_transaction", false),
        "5400" => ("expired_card", false),
        "5500" => ("incorrect_pin_reenter", false),
        "5650" => ("declined_sca_required", false),
        "5700" => ("transaction_not_permitted", false),
        "5710" => ("tx_attempts_exceed_limit", false),
        "5800" => ("reversal_rejected", false),
        "5900" => ("invalid_issue", false),
        "5910" => ("issuer_not_available_not_retriable", false),
        "5920" => ("issuer_not_available_retriable", true),
        "5930" => ("card_not_activated", false),
        "5950" => ("declined_due_to_updated_account", false),
        "6300" => ("account_not_on_file", false),
        "7600" => ("approved_non_capture", false),
        "7700" => ("error_3ds", false),
        "7710" => ("authentication_failed", false),
        "7800" => ("bin_error", false),
        "7900" => ("pin_error", false),
        "8000" => ("processor_system_error", true),
        "8010" => ("host_key_error", false),
        "8020" => ("configuration_error", false),
        "8030" => ("unsupported_operation", false),
        "8100" => ("fatal_communication_error", false),
        "8110" => ("retriable_communication_error", true),
        "8220" => ("system_unavailable", true),
        "9100" => ("declined_please_retry", true),
        "9500" => ("suspected_fraud", false),
        "9510" => ("security_violation", false),
        "9520" => ("lost_or_stolen", false),
        "9530" => ("hold_call_center", false),
        "9540" => ("refused_card", false),
        "9600" => ("unrecognized", false),
        "PPAX" => ("amount_exceeded", false),
        "PPEL" => ("exceeds_frequency_limit", false),
        "PPER" => ("internal_system_error", true),
        "PPEX" => ("expiry_date", false),
        "PPIF" => ("idempotency_failure", false),
        "PPNT" => ("network_error", true),
        "PPRN" => ("reattempt_not_permitted", false),
        _ => return None,
    })
}

/// What the network advises about another attempt, where it overrules the processor's reason
/// (Mastercard, "Merchant Advice Code"; Visa's are 1 to 4 and say nothing here).
pub(super) fn may_retry(advice: &str) -> Option<bool> {
    match advice {
        "02" | "24" | "25" | "26" | "27" | "28" | "29" | "30" => Some(true),
        "01" | "03" | "21" => Some(false),
        _ => None,
    }
}

/// Where an order stands for whoever has not asked for its capture.
pub(super) fn standing(order: &WireOrder) -> Result<ChargeStatus, Unusable> {
    let status = OrderStatus::from_word(&order.status);
    let status = status.ok_or_else(|| unknown_word("order.status", &order.status))?;
    match (captured(order)?, status) {
        // It refused one source and still takes another.
        (Some(ChargeStatus::Declined { .. }), status) if status != OrderStatus::Completed => {
            Ok(without_capture(status)?)
        }
        (Some(capture), _) => Ok(capture),
        (None, status) => without_capture(status),
    }
}

fn without_capture(status: OrderStatus) -> Result<ChargeStatus, Unusable> {
    match status {
        OrderStatus::Created | OrderStatus::Saved | OrderStatus::Approved => {
            Ok(ChargeStatus::Unconfirmed)
        }
        OrderStatus::PayerActionRequired => Ok(ChargeStatus::ActionRequired),
        OrderStatus::Voided => Ok(ChargeStatus::Cancelled),
        OrderStatus::Completed => Err(contradiction()),
    }
}

/// How the capture that was just asked for ended; `None` where the answer does not tell.
pub(super) fn outcome(order: &WireOrder) -> Result<Option<ChargeStatus>, Unusable> {
    if let Some(status) = captured(order)? {
        return Ok(Some(status));
    }
    match OrderStatus::from_word(&order.status) {
        Some(OrderStatus::PayerActionRequired) => Ok(Some(ChargeStatus::ActionRequired)),
        Some(_) => Ok(None),
        None => Err(unknown_word("order.status", &order.status)),
    }
}

/// What the order's captures say: one that took money counts before one that may, and that before
/// one that did not.
fn captured(order: &WireOrder) -> Result<Option<ChargeStatus>, Unusable> {
    let mut pending = None;
    let mut declined = None;
    for capture in order.captures() {
        let status = CaptureStatus::from_word(&capture.status);
        let status = status.ok_or_else(|| unknown_word("capture.status", &capture.status))?;
        match status {
            CaptureStatus::Completed
            | CaptureStatus::PartiallyRefunded
            | CaptureStatus::Refunded => return Ok(Some(ChargeStatus::Captured(order.card()))),
            CaptureStatus::Pending => pending = Some(ChargeStatus::Pending),
            CaptureStatus::Declined => declined = Some(decline(capture)),
            CaptureStatus::Failed => {
                declined = Some(ChargeStatus::Declined {
                    code: "failed".to_owned(),
                    retryable: true,
                });
            }
        }
    }
    Ok(pending.or(declined))
}

fn decline(capture: &WireCapture) -> ChargeStatus {
    let response = capture.processor_response.as_ref();
    let word = response.and_then(|response| response.response_code.as_deref());
    let advice = response.and_then(|response| response.payment_advice_code.as_deref());
    let (code, retryable) = match word.map(|word| (word, processor_reason(word))) {
        Some((_, Some((name, retryable)))) => (name.to_owned(), retryable),
        Some((word, None)) => {
            let word = sanitized(word);
            tracing::warn!(word, "a processor's code that we do not know");
            (format!("processor_{}", word.to_ascii_lowercase()), false)
        }
        None => ("declined".to_owned(), true),
    };
    ChargeStatus::Declined {
        code,
        retryable: advice.and_then(may_retry).unwrap_or(retryable),
    }
}

pub(super) fn refund_failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

/// What an order says of its refunds.
pub(super) fn refunds(order: &WireOrder) -> Result<Refunds, Unusable> {
    let (mut done, mut pending, mut failures) = (false, false, Vec::new());
    for refund in order.refunds() {
        let word = RefundWord::from_word(&refund.status);
        let word = word.ok_or_else(|| unknown_word("refund.status", &refund.status))?;
        match word.status() {
            RefundStatus::Refunded => done = true,
            RefundStatus::Pending => pending = true,
            failure @ RefundStatus::Failed { .. } => failures.push(failure),
        }
    }
    let all = order
        .captures()
        .any(|capture| CaptureStatus::from_word(&capture.status) == Some(CaptureStatus::Refunded));
    let standing = if pending {
        Some(RefundStatus::Pending)
    } else if all && (done || failures.is_empty()) {
        Some(RefundStatus::Refunded)
    } else {
        None
    };
    Ok(Refunds {
        standing,
        failed: failures.len(),
        failure: failures.pop(),
    })
}
