//! Stripe's refusals in their format ("Errors"). Stripe publishes each code.

use domain::{ChargeLimits, PartnerName};
use payment::partners::stripe_answers;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::front::{DoubleReply, Mishap};
use super::wire::Fields;

/// An answer, and whether its key keeps it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) kept: bool,
}

impl Answer {
    pub(super) fn done(body: Value) -> Self {
        Self {
            status: 200,
            body,
            kept: true,
        }
    }

    /// A refusal of an executed request. Its key keeps it, like a success.
    pub(super) fn refused(status: u16, error: Value) -> Self {
        let mut body = json!({});
        body["error"] = error;
        Self {
            status,
            body,
            kept: true,
        }
    }

    /// A refusal before the execution. Its key does not keep it.
    pub(super) fn not_begun(status: u16, error: Value) -> Self {
        Self {
            kept: false,
            ..Self::refused(status, error)
        }
    }

    pub(super) fn invalid(code: Option<&str>, param: Option<&str>, message: &str) -> Self {
        Self::not_begun(400, invalid_request(code, param, message))
    }

    /// The object that the path names does not exist.
    pub(super) fn missing(what: &str, id: &str, param: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        let error = invalid_request(Some("resource_missing"), Some(param), &message);
        Self::not_begun(404, error)
    }

    /// An object that a parameter names does not exist.
    pub(super) fn missing_parameter(what: &str, id: &str, param: &str) -> Self {
        Self {
            status: 400,
            ..Self::missing(what, id, param)
        }
    }

    /// A payment method that no longer belongs to the customer. Live answers have neither `code`
    /// nor `param` (getlago/lago-api #3826, liberapay #2686).
    pub(super) fn detached() -> Self {
        let message =
            "Played: this PaymentMethod was detached from a Customer and may not be used again.";
        Self::refused(400, invalid_request(None, None, message))
    }
}

/// An error of type `invalid_request_error`; members that are null are left out.
pub(super) fn invalid_request(code: Option<&str>, param: Option<&str>, message: &str) -> Value {
    let mut error = json!({ "type": "invalid_request_error", "message": message });
    if let Some(code) = code {
        assert!(
            stripe_answers::CHARGE.meaning(code).is_some(),
            "Stripe publishes no code {code}"
        );
        error["code"] = code.into();
        error["doc_url"] = doc_url(code).into();
    }
    if let Some(param) = param {
        error["param"] = param.into();
    }
    error
}

pub(super) fn doc_url(code: &str) -> String {
    format!(
        "https://stripe.com/docs/error-codes/{}",
        code.replace('_', "-")
    )
}

/// Nothing is done, and no key keeps this answer.
pub(super) fn put_off(status: u16, code: &str) -> Mishap {
    let error = invalid_request(Some(code), None, "Played: come back later.");
    let answer = Answer::not_begun(status, error);
    Mishap::Instead(DoubleReply::new(status, answer.body.to_string()))
}

/// The error for the first unknown field of the operation.
pub(super) fn unknown_field(fields: &Fields, known: &[&str]) -> Option<Answer> {
    let strange = fields.iter().find(|(name, _)| {
        let name = name.split('[').next().unwrap_or_default();
        !known.contains(&name)
    });
    strange.map(|(name, _)| {
        Answer::invalid(
            Some("parameter_unknown"),
            Some(name),
            &format!("There is no parameter {name} here."),
        )
    })
}

/// The error for an amount that its currency does not allow; payouts are in the same currency.
pub(super) fn amount_error(amount: u64, currency: &str) -> Option<Answer> {
    let invalid = |code| Answer::invalid(Some(code), Some("amount"), "The amount cannot be taken.");
    let named = currency.to_ascii_uppercase().parse().ok();
    let limits = named.and_then(|named| ChargeLimits::of(Some(PartnerName::Stripe), named).ok());
    let Some(limits) = limits else {
        let text = format!("Invalid currency: {currency}.");
        return Some(Answer::invalid(None, Some("currency"), &text));
    };
    let step = 10_u64.pow(limits.sent_decimals() - limits.unit().decimals());
    if amount == 0 || !amount.is_multiple_of(step) {
        return Some(invalid("parameter_invalid_integer"));
    }
    let value = Decimal::from_i128_with_scale(amount.into(), limits.sent_decimals());
    if value > limits.maximum().decimal() {
        return Some(invalid("amount_too_large"));
    }
    (value < limits.minimum().decimal()).then(|| invalid("amount_too_small"))
}
