//! The meaning of Stripe's answers.

use std::fmt;

use partner::CallFailure::Refused;
use partner::{self, FromReach as _, Reach};
use service::error::Source;

use super::super::answers::Meaning;
use super::answers::{ADVICE, CHARGE, DECLINES, REFUND};
use super::client::Failure;
use super::wire::{
    Code, ErrorKind, ErrorObject, Intent, IntentStatus, Refund, RefundList, WireRefundStatus,
};
use super::{ChargeStatus, OpenCharge, PartnerError, RefundStatus, Refunds};

/// A refusal by Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The issuer or Stripe's own checks refuse the card.
    Card(CardRefusal),
    /// Stripe does not know the customer or the payment method; nothing happened.
    UnknownCustomer,
    /// Nothing happened, and waiting changes nothing: because of the values, the payment method, or
    /// a reason that Stripe does not name.
    Refused(Code),
    /// The intent is in another state than the call needs, or knows the outcome itself: look it up.
    AskTheIntent(Code),
    /// The idempotency key was used with other parameters; nothing happened.
    KeyReused,
    /// Stripe throttles the calls, or is busy with the same object or key; nothing happened.
    Busy(Code),
    /// Stripe failed (5xx, or 424 for one of its dependencies). It may have done what was
    /// requested, and repeats the answer under the same key for a day.
    Failed,
    /// Stripe does not accept our key; nothing happened.
    Key,
    /// Our key lacks the permission; nothing happened. Stripe checks that first.
    Forbidden(Code),
    /// The account is not set up for this; nothing happened.
    Account(Code),
    /// There is no such object for this account; nothing happened.
    Missing,
    /// The answer is not one of an API: anything may have happened.
    Unreadable,
}

/// A refusal of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CardRefusal {
    /// The issuer requires the customer to authenticate.
    Authentication,
    /// Declined.
    Declined {
        /// `decline_code`, or `code` if there is none.
        code: Code,
        /// Whether another attempt with the same card may succeed.
        retryable: bool,
    },
}

impl CardRefusal {
    pub(super) fn from_error(error: &ErrorObject) -> Self {
        let code = error.decline_code.as_ref().or(error.code.as_ref());
        let code = code.cloned().unwrap_or_else(|| Code::new("declined"));
        let listed = DECLINES.meaning(code.as_str());
        let meaning = listed.or_else(|| CHARGE.meaning(code.as_str()));
        if meaning == Some(Meaning::CustomerMustAct) {
            return Self::Authentication;
        }
        // Without advice, or with an unknown one, the decline's own code decides. Both lists may
        // grow; a code that is not listed is not retried.
        let advice = error.advice_code.as_ref();
        let advice = advice.and_then(|advice| ADVICE.meaning(advice.as_str()));
        let retryable = advice.or(meaning) == Some(Meaning::DeclinedForNow);
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

impl partner::Refusal for Refusal {
    fn from_answer(status: u16, body: &[u8]) -> Self {
        let error = ErrorObject::from_body(body);
        let code = error.as_ref().and_then(|error| error.code.clone());
        let code = code.unwrap_or_else(|| Code::new("refused"));
        match (status, error) {
            // Whether Stripe or something in front of it answers with these statuses, nothing was
            // done.
            (401, _) => Self::Key,
            (403, _) => Self::Forbidden(code),
            (409, _) => Self::Busy(code),
            (408 | 424 | 500..=599, _) => Self::Failed,
            // Also with 429, for a card that was declined too often.
            (400..=499, Some(error)) if error.kind == ErrorKind::CardError => {
                Self::Card(CardRefusal::from_error(&error))
            }
            (429, _) => Self::Busy(code),
            (400..=499, Some(error)) if error.kind == ErrorKind::IdempotencyError => {
                Self::KeyReused
            }
            (400..=499, Some(error)) => Self::from_error(&error, code),
            // Neither an error of Stripe's nor a success: it is a refusal, whatever the text says.
            (400..=499, None) => Self::Refused(code),
            _ => Self::Unreadable,
        }
    }

    fn reach(&self, _: u16) -> Reach {
        match self {
            Self::Key | Self::Forbidden(_) | Self::Account(_) | Self::Missing => {
                Reach::NotConfigured
            }
            Self::UnknownCustomer | Self::Refused(_) | Self::KeyReused | Self::Busy(_) => {
                Reach::NothingDone
            }
            Self::Card(_) | Self::AskTheIntent(_) | Self::Failed | Self::Unreadable => {
                Reach::Unknown
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Refusal {
    fn from_error(error: &ErrorObject, code: Code) -> Self {
        let card = || Self::Card(CardRefusal::from_error(error));
        match CHARGE.meaning(code.as_str()) {
            Some(Meaning::NoAgreement) => match error.param.as_deref() {
                Some("customer" | "payment_method") => Self::UnknownCustomer,
                _ => Self::Missing,
            },
            Some(Meaning::Declined | Meaning::DeclinedForNow | Meaning::CustomerMustAct) => card(),
            Some(Meaning::Later) => Self::Busy(code),
            Some(Meaning::LookUp) => Self::AskTheIntent(code),
            Some(Meaning::Operator) => Self::Account(code),
            // For an unlisted code, or none, the status alone proves that nothing happened.
            Some(_) | None => Self::Refused(code),
        }
    }

    /// Whether the refusal had no effect but may be an answer that Stripe repeats under this key
    /// for a day, even after its cause is corrected ("Idempotent requests": a request that was
    /// never executed is not stored).
    pub(super) fn spends_its_key(&self) -> bool {
        matches!(
            self,
            Self::UnknownCustomer | Self::Refused(_) | Self::Account(_) | Self::Missing
        )
    }
}

impl From<Failure> for PartnerError {
    /// For reads, and for calls that the same code repeats: the error if nothing more can be
    /// concluded from the failure. It is logged here, with codes only, because no caller knows
    /// Stripe's codes.
    fn from(failure: Failure) -> Self {
        match &failure {
            Refused(
                _,
                Refusal::Key
                | Refusal::Forbidden(_)
                | Refusal::Account(_)
                | Refusal::Missing
                | Refusal::Refused(_),
            ) => {
                tracing::error!(%failure, "Stripe does not accept the key or what we send");
            }
            failure => tracing::warn!(%failure, "the call to Stripe failed"),
        }
        Self::from_write(failure)
    }
}

/// The error for a refused call that opens or confirms. If waiting does not help, the customer must
/// act.
pub(super) fn refused_charge(failure: Failure) -> PartnerError {
    match failure {
        Refused(_, Refusal::UnknownCustomer) => PartnerError::NoAgreement,
        Refused(status, Refusal::Refused(code)) => {
            tracing::error!(status, code = code.as_str(), "Stripe refuses a charge");
            PartnerError::refused(code.as_str())
        }
        failure => failure.into(),
    }
}

/// An error after a second call. Whatever is known about that one, the first may have been carried
/// out.
pub(super) fn unanswered(source: impl Into<Source>) -> PartnerError {
    let source = source.into();
    tracing::warn!(%source, "what Stripe did is unknown");
    PartnerError::unanswered(source)
}

/// Outcome of one call to confirm.
pub(super) enum Confirmation {
    /// Stripe returned the state of the charge.
    Stands(ChargeStatus),
    /// Only the intent itself shows the state.
    AskTheIntent,
    /// Stripe may repeat this answer for the key for a day, whatever happens to the intent.
    KeyIsSpent(Failure),
    /// It had no effect, but Stripe may store this answer for the key, too. The intent shows
    /// whether anything happened.
    Refused(Failure),
}

impl Confirmation {
    pub(super) fn from_failure(failure: Failure) -> Result<Self, PartnerError> {
        match failure {
            Refused(_, Refusal::Card(card)) => Ok(Self::Stands(card.into_status())),
            // The intent keeps the payment method that it was opened with: only another attempt can
            // use the one that the customer agrees to now.
            Refused(_, Refusal::UnknownCustomer) => Ok(Self::Stands(method_missing())),
            Refused(_, Refusal::AskTheIntent(_)) => Ok(Self::AskTheIntent),
            Refused(_, Refusal::Failed | Refusal::KeyReused) => Ok(Self::KeyIsSpent(failure)),
            Refused(_, Refusal::Refused(_) | Refusal::Account(_)) => Ok(Self::Refused(failure)),
            failure => Err(failure.into()),
        }
    }
}

/// The state of the charge, by its intent.
pub(super) fn status_of(intent: &Intent, charge: &OpenCharge) -> ChargeStatus {
    match intent.status {
        // A decline closes its intent, and its error stays readable.
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
            // This service never requests that: an operator must act before the authorization
            // lapses.
            tracing::error!(
                invoice_id = %charge.request.invoice,
                "Stripe holds a charge that nobody captures"
            );
            ChargeStatus::Pending
        }
        IntentStatus::RequiresPaymentMethod => match &intent.last_payment_error {
            Some(error) => CardRefusal::from_error(error).into_status(),
            // It was opened with a payment method, which was removed since: it can no longer be
            // charged.
            None => method_missing(),
        },
    }
}

/// The payment method that the attempt was opened with no longer exists.
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

/// The status of the refunds of a charge of `whole` minor units.
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

/// Why a refund was not made.
pub(super) enum RefundRefusal {
    /// Stripe refuses it for this reason.
    Refused(Code),
    /// It was made before: the list of refunds shows it.
    AlreadyMade,
    /// Nothing happens until the operator corrects the account.
    Operator,
}

impl RefundRefusal {
    /// Whether Stripe may repeat this answer under this key for a day, even after its cause is
    /// corrected.
    pub(super) fn spends_its_key(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Operator => true,
            Self::AlreadyMade => false,
        }
    }

    /// `None` if the answer does not prove that nothing happened, or if the cause passes.
    pub(super) fn from_failure(failure: &Failure) -> Option<Self> {
        let Refused(_, refusal) = failure else {
            return None;
        };
        let code = match refusal {
            Refusal::Card(CardRefusal::Declined { code, .. })
            | Refusal::Refused(code)
            | Refusal::AskTheIntent(code) => code.clone(),
            Refusal::Card(CardRefusal::Authentication) => Code::new("authentication_required"),
            Refusal::Missing | Refusal::UnknownCustomer | Refusal::Account(_) => {
                return Some(Self::Operator);
            }
            Refusal::Key
            | Refusal::Forbidden(_)
            | Refusal::KeyReused
            | Refusal::Busy(_)
            | Refusal::Failed
            | Refusal::Unreadable => return None,
        };
        Some(match REFUND.meaning(code.as_str()) {
            Some(Meaning::LookUp) => Self::AlreadyMade,
            _ => Self::Refused(code),
        })
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
            // Stripe's advice on this decline overrules what is known about its code.
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
                Refusal::Busy(code("refused")),
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
                Refusal::Forbidden(code("secret_key_required")),
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
                Refusal::Missing,
            ),
            (
                400,
                invalid(r#","code":"amount_too_small""#),
                Refusal::Refused(code("amount_too_small")),
            ),
            (
                400,
                invalid(r#","code":"payment_intent_unexpected_state""#),
                Refusal::AskTheIntent(code("payment_intent_unexpected_state")),
            ),
            (
                400,
                invalid(r#","code":"parameter_unknown""#),
                Refusal::Refused(code("parameter_unknown")),
            ),
            (
                400,
                invalid(r#","code":"testmode_charges_only""#),
                Refusal::Account(code("testmode_charges_only")),
            ),
            (400, invalid(""), Refusal::Refused(code("refused"))),
            (
                422,
                invalid(r#","code":"a_newer_code""#),
                Refusal::Refused(code("a_newer_code")),
            ),
            (
                400,
                r#""type":"api_error""#.to_owned(),
                Refusal::Refused(code("refused")),
            ),
            (402, invalid(""), Refusal::Refused(code("refused"))),
            (
                402,
                r#""type":"new_error","code":"card_declined""#.to_owned(),
                declined("card_declined", false),
            ),
            (302, invalid(""), Refusal::Unreadable),
        ] {
            assert_eq!(refusal(status, &error), expected, "{status} {error}");
        }
    }

    #[test]
    fn an_answer_that_is_no_error_of_stripes_means_what_its_status_proves() {
        let code = Code::new;
        for status in [400, 402, 404, 405, 413, 422, 451] {
            let refused = Refusal::from_answer(status, b"<html>");
            assert_eq!(refused, Refusal::Refused(code("refused")), "{status}");
        }
        for status in [408, 424, 500] {
            assert_eq!(
                Refusal::from_answer(status, b""),
                Refusal::Failed,
                "{status}"
            );
        }
        assert_eq!(Refusal::from_answer(502, b"<html>"), Refusal::Failed);
        assert_eq!(
            Refusal::from_answer(429, b""),
            Refusal::Busy(code("refused"))
        );
    }
}
