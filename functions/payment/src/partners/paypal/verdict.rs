//! The meaning of PayPal's statuses, issues of refused calls, and processor codes.
//!
//! The codes are in [`super::answers`]. A status that is not listed there is never guessed: it
//! reads as `None`, and the charge's outcome counts as unknown. An issue that is not listed is
//! decided by what its status proves.

use std::fmt;

use domain::{DisputeState, Money, RefundStatus};
use partner::{self, Alphabet, FromReach as _, Reach, Unusable, sanitize};

use rust_decimal::Decimal;

use super::super::answers::{Meaning, Words};
use super::answers::{ADVICE, CHARGE, PROCESSOR, REASONS, REFUND, REPORTED, REPORTED_REFUND};
use super::client::Failure;
use super::wire::{Problem, WireCapture, WireOrder};
use super::{ChargeRequest, ChargeStatus, PartnerError, Refunds};

/// A refusal by PayPal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// PayPal rejects the client's credentials, or a token made with them.
    Credentials,
    /// PayPal throttles the client; nothing happened.
    RateLimited,
    /// PayPal did not do what was requested. What that proves depends on its status and on the
    /// call.
    Issue {
        /// The issue, sanitized; `refused` if there is none.
        issue: String,
        /// Whether the problem is the payment source.
        about_the_source: bool,
    },
    /// PayPal failed: anything may have happened.
    Failed,
}

impl partner::Refusal for Refusal {
    fn from_answer(status: u16, body: &[u8]) -> Self {
        match status {
            401 => Self::Credentials,
            429 => Self::RateLimited,
            408 | 424 => Self::Failed,
            400..=499 => Self::from_problem(body),
            _ => Self::Failed,
        }
    }

    /// For reads and for tokens. A call that may change something uses its own table.
    fn reach(&self, status: u16) -> Reach {
        match self {
            Self::Credentials => Reach::NotConfigured,
            Self::RateLimited => Reach::NothingDone,
            Self::Issue { issue, .. } => match meaning(CHARGES, status, issue) {
                Meaning::Operator => Reach::NotConfigured,
                Meaning::InDoubt => Reach::Unknown,
                _ => Reach::NothingDone,
            },
            Self::Failed => Reach::Unknown,
        }
    }
}

impl Refusal {
    fn from_problem(body: &[u8]) -> Self {
        let problem = platform::json::read::<Problem>(body).ok();
        let issue = problem.as_ref().and_then(Problem::issue);
        Self::Issue {
            issue: issue.map_or_else(|| "refused".to_owned(), sanitized),
            about_the_source: problem.is_some_and(|problem| problem.is_about_the_source()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials => "the client's credentials are refused",
            Self::RateLimited => "too many requests",
            Self::Issue { issue, .. } => issue,
            Self::Failed => "it failed",
        })
    }
}

/// The tables of the calls that charge.
pub(super) const CHARGES: [Words; 2] = [CHARGE, REPORTED];

/// The tables of the call that refunds.
pub(super) const REFUNDS: [Words; 2] = [REFUND, REPORTED_REFUND];

/// The meaning of a refused call. If no table has the issue, the status decides: it alone proves
/// that nothing happened, and shows whether waiting helps.
pub(super) fn meaning(tables: [Words; 2], status: u16, issue: &str) -> Meaning {
    let listed = tables.iter().find_map(|words| words.meaning(issue));
    listed.unwrap_or(match status {
        403 => Meaning::Operator,
        404 => Meaning::Gone,
        409 => Meaning::InDoubt,
        _ => Meaning::RefusedUnlessDone,
    })
}

/// A code of PayPal's, sanitized.
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

/// Nothing happened, and nothing will until the operator corrects the shop's account or its
/// permissions.
pub(super) fn not_allowed(failure: Failure) -> PartnerError {
    tracing::error!(%failure, "paypal does not let this account do that");
    PartnerError::from_reach(Reach::NotConfigured, failure.into())
}

/// Nothing happened, and waiting changes nothing: the customer must act. Logged as an error,
/// because this program may also be sending something that PayPal does not accept.
pub(super) fn refused(failure: &Failure, issue: &str) -> PartnerError {
    tracing::error!(%failure, "paypal refuses a charge");
    PartnerError::refused(&issue.to_ascii_lowercase())
}

/// The status of an order (`order.status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderStatus {
    /// Opened; not paid.
    Created,
    /// Opened and saved for later.
    Saved,
    /// The payer has approved; not paid.
    Approved,
    /// It can never be captured.
    Voided,
    /// Captured, or the capture was refused: the capture's status decides.
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

/// The status of a capture (`capture_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureStatus {
    /// The money was captured.
    Completed,
    /// The money was not captured.
    Declined,
    /// The money was captured, and a part of it was refunded.
    PartiallyRefunded,
    /// The outcome is not known yet.
    Pending,
    /// The money was captured, and all of it was refunded.
    Refunded,
    /// The money was not captured, because of an error at PayPal.
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

/// The status of a refund (`refund_status`).
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

/// The state of a dispute, by its status and the code of its outcome (`dispute.status`,
/// `dispute_outcome.outcome_code`).
pub(super) fn dispute_state(status: &str, outcome: Option<&str>) -> Option<DisputeState> {
    Some(match (status, outcome) {
        ("OPEN" | "WAITING_FOR_BUYER_RESPONSE" | "WAITING_FOR_SELLER_RESPONSE", _) => {
            DisputeState::Open
        }
        ("UNDER_REVIEW" | "OTHER", _) => DisputeState::Open,
        // The shop has accepted the claim, or PayPal decided for the customer.
        ("RESOLVED", Some("RESOLVED_BUYER_FAVOUR" | "ACCEPTED")) => DisputeState::Lost,
        // With a payout, PayPal pays the customer itself.
        (
            "RESOLVED",
            Some(
                "RESOLVED_SELLER_FAVOUR" | "RESOLVED_WITH_PAYOUT" | "CANCELED_BY_BUYER" | "DENIED",
            ),
        ) => DisputeState::Won,
        // It says that the dispute is resolved but not how: an operator must look.
        ("RESOLVED", Some("NONE") | None) => DisputeState::Open,
        _ => return None,
    })
}

/// The processor's reason for a declined capture: its name, and whether the same source may be
/// accepted later. `None` for a code that is not listed, although the capture is declined.
pub(super) fn processor_reason(code: &str) -> Option<(&'static str, bool)> {
    let mut listed = PROCESSOR.iter();
    let (_, name, meaning) = listed.find(|(listed, ..)| *listed == code)?;
    Some((name, *meaning == Meaning::DeclinedForNow))
}

/// The network's advice about another attempt, if it overrules the processor's reason.
fn may_retry(advice: &str) -> Option<bool> {
    let meaning = ADVICE.meaning(advice)?;
    Some(meaning == Meaning::DeclinedForNow)
}

/// The state of an order, unless its capture was just requested.
pub(super) fn standing(order: &WireOrder, owed: &ChargeRequest) -> Result<ChargeStatus, Unusable> {
    let status = OrderStatus::from_word(&order.status);
    let status = status.ok_or_else(|| unknown_word("order.status", &order.status))?;
    match (captured(order, owed)?, status) {
        // PayPal refused one source and still accepts another.
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

/// The outcome of the capture that was just requested; `None` if the answer does not tell.
pub(super) fn outcome(
    order: &WireOrder,
    owed: &ChargeRequest,
) -> Result<Option<ChargeStatus>, Unusable> {
    if let Some(status) = captured(order, owed)? {
        return Ok(Some(status));
    }
    match OrderStatus::from_word(&order.status) {
        Some(OrderStatus::PayerActionRequired) => Ok(Some(ChargeStatus::ActionRequired)),
        Some(_) => Ok(None),
        None => Err(unknown_word("order.status", &order.status)),
    }
}

/// The outcome of the order's captures: a captured one wins over a pending one, and that over one
/// that was not captured.
///
/// An order's amount can be changed at PayPal until it is captured (Orders v2, "Update order"). A
/// capture of another amount pays nothing; only once it has been refunded is the charge dead.
fn captured(order: &WireOrder, owed: &ChargeRequest) -> Result<Option<ChargeStatus>, Unusable> {
    let mut pending = None;
    let mut declined = None;
    for capture in order.captures() {
        let status = CaptureStatus::from_word(&capture.status);
        let status = status.ok_or_else(|| unknown_word("capture.status", &capture.status))?;
        match status {
            CaptureStatus::Refunded if !capture.is_of(owed.amount, owed.currency) => {
                return Ok(Some(ChargeStatus::Cancelled));
            }
            CaptureStatus::Completed | CaptureStatus::PartiallyRefunded
                if !capture.is_of(owed.amount, owed.currency) =>
            {
                let message = "PayPal captured another amount than the order's";
                tracing::error!(code = "captured_amount_differs", "{message}");
                return Err(Unusable::new(message));
            }
            CaptureStatus::Completed
            | CaptureStatus::PartiallyRefunded
            | CaptureStatus::Refunded => return Ok(Some(ChargeStatus::Captured(order.card()))),
            CaptureStatus::Pending => {
                warn_of_pending(capture);
                pending = Some(ChargeStatus::Pending);
            }
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

/// Some captures wait for a decision in the shop's account and stay pending without one.
fn warn_of_pending(capture: &WireCapture) {
    let reason = capture.reason().map(sanitized);
    let Some(reason) = reason else { return };
    if REASONS.meaning(&reason) == Some(Meaning::Operator) {
        tracing::error!(
            reason,
            "paypal holds a capture until the shop's account accepts it"
        );
    }
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
        None => match capture.reason().map(sanitized) {
            Some(reason) => {
                let meaning = REASONS.meaning(&reason);
                let retryable = meaning != Some(Meaning::Declined);
                (reason.to_ascii_lowercase(), retryable)
            }
            None => ("declined".to_owned(), true),
        },
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

/// The refunds that an order of this amount shows. A pending partial refund does not count as one
/// of the whole.
pub(super) fn refunds(order: &WireOrder, whole: Money) -> Result<Refunds, Unusable> {
    let (mut pending, mut failures) = (false, Vec::new());
    let mut given_back = Decimal::ZERO;
    for refund in order.refunds() {
        let word = RefundWord::from_word(&refund.status);
        let word = word.ok_or_else(|| unknown_word("refund.status", &refund.status))?;
        let amount = refund.amount().unwrap_or(whole).decimal();
        match word.status() {
            RefundStatus::Refunded => given_back += amount,
            RefundStatus::Pending => {
                pending = true;
                given_back += amount;
            }
            failure @ RefundStatus::Failed { .. } => failures.push(failure),
        }
    }
    let all = order
        .captures()
        .any(|capture| CaptureStatus::from_word(&capture.status) == Some(CaptureStatus::Refunded));
    // After a failure, the capture may still show its earlier status.
    let standing = if pending && (all || given_back >= whole.decimal()) {
        Some(RefundStatus::Pending)
    } else if all && (failures.is_empty() || given_back >= whole.decimal()) {
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
