//! What Stripe's answers mean.

use std::fmt;

use partner::CallFailure::Refused;
use partner::{self, FromReach as _, Reach};
use service::error::Source;

use super::client::Failure;
use super::wire::{
    Code, ErrorKind, ErrorObject, Intent, IntentStatus, Refund, RefundList, WireRefundStatus,
};
use super::{ChargeStatus, OpenCharge, PartnerError, RefundStatus, Refunds};

/// Stripe's code for a charge of which nothing is left to refund.
pub(super) const ALREADY_REFUNDED: &str = "charge_already_refunded";

/// What Stripe's refusal says about what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The issuer or Stripe's own checks refuse the card.
    Card(CardRefusal),
    /// Stripe does not know the customer or the payment method; nothing happened.
    UnknownCustomer,
    /// It will never do this with these values; nothing happened.
    Never(Code),
    /// The intent is elsewhere than this needs, or says itself what became of it: ask for it.
    AskTheIntent,
    /// The idempotency key was used with other parameters; nothing happened.
    KeyReused,
    /// It asks for less, or is busy with the same object or key; nothing happened.
    Busy(Code),
    /// It failed (5xx): it may have done what was asked, and answers the same under the same key
    /// for a day.
    Failed,
    /// Our key is not accepted; nothing happened.
    Key,
    /// Our key may not do this; nothing happened.
    Account(Code),
    /// It finds the request wrong; nothing happened.
    Invalid(Code),
    /// It cannot be read: anything may have happened.
    Unreadable,
}

/// A refusal of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CardRefusal {
    /// The issuer wants the customer to authenticate.
    Authentication,
    /// Declined.
    Declined {
        /// `decline_code`, or `code` where there is none.
        code: Code,
        /// Whether another attempt with the same card may succeed.
        retryable: bool,
    },
}

impl CardRefusal {
    pub(super) fn from_error(error: &ErrorObject) -> Self {
        let code = error.decline_code.as_ref().or(error.code.as_ref());
        let code = code.cloned().unwrap_or_else(|| Code::new("declined"));
        if needs_customer(code.as_str()) {
            return Self::Authentication;
        }
        let retryable = match error.advice_code.as_ref().map(Code::as_str) {
            Some("try_again_later") => true,
            Some("do_not_try_again" | "confirm_card_data") => false,
            // Without advice, or with one that is new: what the decline itself says.
            _ => may_succeed_later(code.as_str()),
        };
        Self::Declined { code, retryable }
    }

    pub(super) fn into_status(self) -> ChargeStatus {
        match self {
            Self::Authentication => ChargeStatus::ActionRequired,
            Self::Declined { code, retryable } => ChargeStatus::Declined {
                code: code.as_str().to_owned(),
                retryable,
            },
        }
    }
}

/// Declines that ask for the customer ("Decline codes").
fn needs_customer(code: &str) -> bool {
    matches!(
        code,
        "authentication_required"
            | "authentication_not_handled"
            | "mobile_device_authentication_required"
    )
}

/// Declines after which the same card may be tried again: those whose next step is a new attempt,
/// and those whose cause passes by itself, such as a limit or an empty account ("Decline codes").
/// The list of codes is open; one that is not known is not tried again.
fn may_succeed_later(code: &str) -> bool {
    matches!(
        code,
        "approve_with_id"
            | "card_velocity_exceeded"
            | "insufficient_funds"
            | "issuer_not_available"
            | "processing_error"
            | "reenter_transaction"
            | "try_again_later"
            | "withdrawal_count_limit_exceeded"
    )
}

impl partner::Refusal for Refusal {
    fn from_answer(status: u16, body: &[u8]) -> Self {
        let error = ErrorObject::from_body(body);
        let code = error
            .as_ref()
            .and_then(|error| error.code.clone())
            .unwrap_or_else(|| Code::new("no_code"));
        match (status, error) {
            // Whoever answers with these statuses, Stripe or something before it, has done nothing.
            (401, _) => Self::Key,
            (403, _) => Self::Account(code),
            (409, _) => Self::Busy(code),
            (500..=599, _) => Self::Failed,
            // Also with 429: a card that was declined too often.
            (400 | 402 | 429, Some(error)) if error.kind == ErrorKind::CardError => {
                Self::Card(CardRefusal::from_error(&error))
            }
            (429, _) => Self::Busy(code),
            (400 | 404, Some(error)) => match error.kind {
                ErrorKind::IdempotencyError => Self::KeyReused,
                ErrorKind::InvalidRequestError => Self::from_invalid_request(&error, code),
                ErrorKind::ApiError | ErrorKind::CardError => Self::Unreadable,
            },
            _ => Self::Unreadable,
        }
    }

    fn reach(&self, _: u16) -> Reach {
        match self {
            Self::Key => Reach::NotConfigured,
            Self::UnknownCustomer
            | Self::Never(_)
            | Self::KeyReused
            | Self::Busy(_)
            | Self::Account(_)
            | Self::Invalid(_) => Reach::NothingDone,
            Self::Card(_) | Self::AskTheIntent | Self::Failed | Self::Unreadable => Reach::Unknown,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Refusal {
    fn from_invalid_request(error: &ErrorObject, code: Code) -> Self {
        match code.as_str() {
            "resource_missing" => match error.param.as_deref() {
                Some("customer" | "payment_method") => Self::UnknownCustomer,
                _ => Self::Invalid(code),
            },
            "idempotency_key_in_use" | "lock_timeout" | "rate_limit" => Self::Busy(code),
            "intent_invalid_state"
            | "payment_intent_action_required"
            | "payment_intent_authentication_failure"
            | "payment_intent_payment_attempt_failed"
            | "payment_intent_unexpected_state"
            | "payment_method_customer_decline"
            | "payment_method_not_available"
            | "payment_method_provider_decline"
            | "payment_method_provider_timeout" => Self::AskTheIntent,
            "amount_too_large"
            | "amount_too_small"
            | "charge_exceeds_transaction_limit"
            | "country_unsupported"
            | "payment_intent_incompatible_payment_method"
            | "payment_method_currency_mismatch"
            | "payment_method_unexpected_state"
            | "payment_method_unsupported_type" => Self::Never(code),
            _ => Self::Invalid(code),
        }
    }
}

impl From<Failure> for PartnerError {
    /// For questions and for what is asked again by the same code: what the failure means when nothing
    /// more is to be made of it. Logged here, with codes only: nobody further up knows Stripe's.
    fn from(failure: Failure) -> Self {
        match &failure {
            Refused(_, Refusal::UnknownCustomer) => return Self::NoAgreement,
            Refused(_, Refusal::Never(code)) => return Self::refused(code.as_str()),
            Refused(_, Refusal::Key | Refusal::Account(_) | Refusal::Invalid(_)) => {
                tracing::error!(%failure, "Stripe does not accept the key or what we send");
            }
            failure => tracing::warn!(%failure, "the call to Stripe failed"),
        }
        Self::from_write(failure)
    }
}

/// An error after something else was tried: whatever is known of the second call, the first one may
/// have been carried out.
pub(super) fn unanswered(source: impl Into<Source>) -> PartnerError {
    let source = source.into();
    tracing::warn!(%source, "what Stripe did is unknown");
    PartnerError::unanswered(source)
}

/// Outcome of one call to confirm.
pub(super) enum Confirmation {
    /// Stripe says where the charge stands.
    Stands(ChargeStatus),
    /// Only the intent itself can say.
    AskTheIntent,
    /// The answer may be one that this key gets for a day, whatever becomes of the intent.
    KeyIsSpent(Failure),
}

impl Confirmation {
    pub(super) fn from_failure(failure: Failure) -> Result<Self, PartnerError> {
        match failure {
            Refused(_, Refusal::Card(card)) => Ok(Self::Stands(card.into_status())),
            // The intent keeps the payment method that it was opened with: only another attempt can
            // use what the customer agrees to now.
            Refused(_, Refusal::UnknownCustomer) => Ok(Self::Stands(method_missing())),
            Refused(_, Refusal::AskTheIntent) => Ok(Self::AskTheIntent),
            Refused(_, Refusal::Failed | Refusal::KeyReused) => Ok(Self::KeyIsSpent(failure)),
            failure => Err(failure.into()),
        }
    }
}

/// Where the charge stands, by its intent.
pub(super) fn status_of(intent: &Intent, charge: &OpenCharge) -> ChargeStatus {
    match intent.status {
        // A decline closes its intent: what the decline said is still there.
        IntentStatus::Canceled => match intent
            .last_payment_error
            .as_ref()
            .map(CardRefusal::from_error)
        {
            Some(declined @ CardRefusal::Declined { .. }) => declined.into_status(),
            Some(CardRefusal::Authentication) | None => ChargeStatus::Cancelled,
        },
        IntentStatus::Processing => ChargeStatus::Pending,
        IntentStatus::RequiresAction => ChargeStatus::ActionRequired,
        IntentStatus::RequiresConfirmation => ChargeStatus::Unconfirmed,
        IntentStatus::Succeeded => ChargeStatus::Captured(intent.card()),
        IntentStatus::RequiresCapture => {
            // Never asked for: somebody has to look before the authorization lapses.
            tracing::error!(
                invoice_id = %charge.request.invoice,
                "Stripe holds a charge that nobody captures"
            );
            ChargeStatus::Pending
        }
        IntentStatus::RequiresPaymentMethod => match &intent.last_payment_error {
            Some(error) => CardRefusal::from_error(error).into_status(),
            // It was opened with one, which was taken away since: nothing can be charged by it.
            None => method_missing(),
        },
    }
}

/// The payment method that the attempt was opened with is gone.
fn method_missing() -> ChargeStatus {
    ChargeStatus::Declined {
        code: "payment_method_missing".to_owned(),
        retryable: false,
    }
}

pub(super) fn refund_status(refund: &Refund) -> RefundStatus {
    match refund.status {
        WireRefundStatus::Succeeded => RefundStatus::Refunded,
        WireRefundStatus::Pending | WireRefundStatus::RequiresAction => RefundStatus::Pending,
        WireRefundStatus::Failed | WireRefundStatus::Canceled => {
            let code = refund.failure_reason.as_ref().map(Code::as_str);
            RefundStatus::Failed {
                code: code.unwrap_or("refund_failed").to_owned(),
            }
        }
    }
}

/// What the refunds of a charge of `whole` minor units say.
pub(super) fn refunds(list: &RefundList, whole: u64) -> Result<Refunds, PartnerError> {
    let sum = |wanted: &[WireRefundStatus]| -> u64 {
        let refunds = list.data.iter();
        let refunds = refunds.filter(|each| wanted.contains(&each.status));
        refunds.map(|refund| refund.amount).sum()
    };
    let done = sum(&[WireRefundStatus::Succeeded]);
    let on_its_way = sum(&[WireRefundStatus::Pending, WireRefundStatus::RequiresAction]);
    let standing = if done >= whole {
        Some(RefundStatus::Refunded)
    } else if done.saturating_add(on_its_way) >= whole {
        Some(RefundStatus::Pending)
    } else if list.has_more {
        return Err(unanswered(
            "the charge has more refunds than one page shows",
        ));
    } else {
        None
    };
    let failed = list.data.iter().filter(|refund| {
        matches!(
            refund.status,
            WireRefundStatus::Failed | WireRefundStatus::Canceled
        )
    });
    Ok(Refunds {
        standing,
        failed: failed.clone().count(),
        // Stripe lists the latest first.
        failure: failed.map(refund_status).next(),
    })
}

/// Why Stripe refuses to refund the charge; `None` where it says something else.
pub(super) fn refused_refund(failure: &Failure) -> Option<&Code> {
    match failure {
        Refused(_, Refusal::Invalid(code) | Refusal::Never(code)) => {
            let elsewhere = [ALREADY_REFUNDED, "resource_missing"];
            Some(code).filter(|code| !elsewhere.contains(&code.as_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use partner::Refusal as _;

    use super::*;

    fn refusal(status: u16, error: &str) -> Refusal {
        Refusal::from_answer(status, format!(r#"{{"error":{{{error}}}}}"#).as_bytes())
    }

    fn declined(code: &str, retryable: bool) -> Refusal {
        Refusal::Card(CardRefusal::Declined {
            code: Code::new(code),
            retryable,
        })
    }

    #[test]
    fn a_decline_names_the_issuers_reason_and_whether_to_try_again() {
        let card = |rest: &str| refusal(402, &format!(r#""type":"card_error"{rest}"#));
        for (rest, expected) in [
            (
                r#","code":"card_declined","decline_code":"insufficient_funds""#,
                declined("insufficient_funds", true),
            ),
            (
                r#","code":"card_declined","decline_code":"lost_card""#,
                declined("lost_card", false),
            ),
            (r#","code":"expired_card""#, declined("expired_card", false)),
            ("", declined("declined", false)),
            // Stripe's advice on this very decline goes before what is known of its code.
            (
                r#","decline_code":"generic_decline","advice_code":"try_again_later""#,
                declined("generic_decline", true),
            ),
            (
                r#","decline_code":"insufficient_funds","advice_code":"do_not_try_again""#,
                declined("insufficient_funds", false),
            ),
            (
                r#","decline_code":"processing_error","advice_code":"confirm_card_data""#,
                declined("processing_error", false),
            ),
            (
                r#","decline_code":"processing_error","advice_code":"something_new""#,
                declined("processing_error", true),
            ),
            (
                r#","code":"authentication_required","decline_code":"authentication_required""#,
                Refusal::Card(CardRefusal::Authentication),
            ),
        ] {
            assert_eq!(card(rest), expected, "{rest}");
        }
    }

    #[test]
    fn each_status_and_type_has_its_meaning() {
        let code = Code::new;
        let invalid = |rest: &str| format!(r#""type":"invalid_request_error"{rest}"#);
        for (status, error, expected) in [
            (
                409,
                invalid(r#","code":"idempotency_key_in_use""#),
                Refusal::Busy(code("idempotency_key_in_use")),
            ),
            (
                409,
                r#""type":"idempotency_error""#.to_owned(),
                Refusal::Busy(code("no_code")),
            ),
            (
                429,
                invalid(r#","code":"lock_timeout""#),
                Refusal::Busy(code("lock_timeout")),
            ),
            (
                429,
                invalid(r#","code":"rate_limit""#),
                Refusal::Busy(code("rate_limit")),
            ),
            (
                400,
                invalid(r#","code":"lock_timeout""#),
                Refusal::Busy(code("lock_timeout")),
            ),
            (
                400,
                r#""type":"idempotency_error""#.to_owned(),
                Refusal::KeyReused,
            ),
            (401, invalid(""), Refusal::Key),
            (
                403,
                invalid(r#","code":"secret_key_required""#),
                Refusal::Account(code("secret_key_required")),
            ),
            (500, r#""type":"api_error""#.to_owned(), Refusal::Failed),
            (503, String::new(), Refusal::Failed),
            (
                404,
                invalid(r#","code":"resource_missing","param":"payment_method""#),
                Refusal::UnknownCustomer,
            ),
            (
                400,
                invalid(r#","code":"resource_missing","param":"customer""#),
                Refusal::UnknownCustomer,
            ),
            (
                404,
                invalid(r#","code":"resource_missing","param":"intent""#),
                Refusal::Invalid(code("resource_missing")),
            ),
            (
                400,
                invalid(r#","code":"amount_too_small""#),
                Refusal::Never(code("amount_too_small")),
            ),
            (
                400,
                invalid(r#","code":"payment_intent_unexpected_state""#),
                Refusal::AskTheIntent,
            ),
            (
                400,
                invalid(r#","code":"parameter_unknown""#),
                Refusal::Invalid(code("parameter_unknown")),
            ),
            (400, invalid(""), Refusal::Invalid(code("no_code"))),
            (400, r#""type":"api_error""#.to_owned(), Refusal::Unreadable),
            (402, invalid(""), Refusal::Unreadable),
            (402, r#""type":"new_error""#.to_owned(), Refusal::Unreadable),
            (302, invalid(""), Refusal::Unreadable),
        ] {
            assert_eq!(refusal(status, &error), expected, "{status} {error}");
        }
        assert_eq!(Refusal::from_answer(402, b"<html>"), Refusal::Unreadable);
        assert_eq!(Refusal::from_answer(502, b"<html>"), Refusal::Failed);
        assert_eq!(
            Refusal::from_answer(429, b""),
            Refusal::Busy(code("no_code"))
        );
    }
}
