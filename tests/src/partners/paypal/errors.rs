//! PayPal's refusals in their format (`error`). PayPal publishes each issue, or live answers
//! contain it.

use domain::{ChargeLimits, Money, PartnerName};
use payment::partners::paypal_answers as answers;
use serde_json::{Value, json};

use super::books::{Kind, Refusal};

/// A refusal with one issue, in the specification's `error` format.
pub(super) fn refusal(status: u16, issue: &str, field: Option<&str>) -> Refusal {
    let tables = [
        answers::CHARGE,
        answers::REPORTED,
        answers::REFUND,
        answers::REPORTED_REFUND,
    ];
    let is_published = tables.iter().any(|words| words.meaning(issue).is_some());
    assert!(is_published, "PayPal publishes no issue {issue}");
    unlisted_refusal(status, issue, field)
}

/// A media type that PayPal does not accept has no issue.
pub(super) fn wrong_media_type() -> Refusal {
    let (status, mut body) = unlisted_refusal(415, "", None);
    body["details"] = json!([]);
    (status, body)
}

/// A refusal with an issue that need not be listed.
pub(super) fn unlisted_refusal(status: u16, issue: &str, field: Option<&str>) -> Refusal {
    let (name, message) = match status {
        400 => (
            "INVALID_REQUEST",
            "Request is not well-formed, syntactically incorrect, or violates schema.",
        ),
        403 => (
            "NOT_AUTHORIZED",
            "Authorization failed due to insufficient permissions.",
        ),
        409 => (
            "RESOURCE_CONFLICT",
            "The server has detected a conflict while processing this request.",
        ),
        401 => (
            "AUTHENTICATION_FAILURE",
            "Authentication failed due to missing authorization header, or invalid authentication \
             credentials.",
        ),
        404 => (
            "RESOURCE_NOT_FOUND",
            "The specified resource does not exist.",
        ),
        415 => (
            "UNSUPPORTED_MEDIA_TYPE",
            "The server does not support the request payload's media type.",
        ),
        _ => (
            "UNPROCESSABLE_ENTITY",
            "The requested action could not be performed, semantically incorrect, or failed \
             business validation.",
        ),
    };
    let mut detail = json!({"issue": issue, "description": "Played."});
    if let Some(field) = field {
        detail["field"] = field.into();
        detail["location"] = "body".into();
    }
    let body = json!({
        "name": name,
        "details": [detail],
        "message": message,
        "debug_id": "f7707100bc347",
        "links": [{
            "href": format!(
                "https://developer.paypal.com/api/rest/reference/orders/v2/errors/#{issue}"),
            "rel": "information_link",
            "method": "GET",
        }],
    });
    (status, body)
}

pub(super) fn not_found() -> Refusal {
    refusal(404, "INVALID_RESOURCE_ID", None)
}

/// The order's single unit, if PayPal accepts the request.
pub(super) fn check_order(body: &Value) -> Result<Value, Refusal> {
    let missing = |field| Err(refusal(400, "MISSING_REQUIRED_PARAMETER", Some(field)));
    match body["intent"].as_str() {
        Some("CAPTURE") => {}
        Some(_) => return Err(refusal(422, "UNSUPPORTED_INTENT", Some("/intent"))),
        None => return missing("/intent"),
    }
    let Some([unit]) = body["purchase_units"].as_array().map(Vec::as_slice) else {
        return missing("/purchase_units");
    };
    for (field, most) in [
        ("reference_id", 256),
        ("custom_id", 127),
        ("invoice_id", 127),
    ] {
        let length = unit[field].as_str().map_or(1, str::len);
        if !(1..=most).contains(&length) {
            return Err(refusal(400, "INVALID_STRING_LENGTH", Some(field)));
        }
    }
    let amount = |field: &str| unit["amount"][field].as_str();
    let (Some(currency), Some(value)) = (amount("currency_code"), amount("value")) else {
        return missing("/purchase_units/@reference_id=='default'/amount");
    };
    check_value(currency, value)?;
    Ok(unit.clone())
}

/// Checks that PayPal accepts the amount in this currency.
pub(super) fn check_value(currency: &str, value: &str) -> Result<(), Refusal> {
    let refuse = |issue| Err(refusal(422, issue, Some("/purchase_units/amount/value")));
    let named = currency.parse().ok();
    let limits = named.and_then(|named| ChargeLimits::of(Some(PartnerName::PayPal), named).ok());
    let Some(limits) = limits else {
        return refuse("INVALID_CURRENCY_CODE");
    };
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) {
        return Err(refusal(400, "INVALID_PARAMETER_SYNTAX", None));
    }
    let takes_none = limits.unit().decimals() == 0;
    if decimals.len() > 2 || (takes_none && value.contains('.')) {
        return refuse("DECIMAL_PRECISION");
    }
    let amount = Money::from_stored(value);
    if amount.is_ok_and(|amount| amount > limits.maximum()) || whole.len() > 15 {
        return refuse("MAX_VALUE_EXCEEDED");
    }
    if value.bytes().all(|b| b == b'0' || b == b'.') {
        return refuse("CANNOT_BE_ZERO_OR_NEGATIVE");
    }
    Ok(())
}

/// The kind and token of a payment source; `None` if there is none.
pub(super) fn check_source(source: &Value) -> Result<Option<(Kind, String)>, Refusal> {
    let Some(source) = source.as_object() else {
        return Ok(None);
    };
    let wrong = |field: &str| {
        let field = format!("/payment_source/{field}");
        Err(refusal(400, "INVALID_PARAMETER_VALUE", Some(&field)))
    };
    let mut kinds = source.iter();
    let (Some((kind, source)), None) = (kinds.next(), kinds.next()) else {
        return wrong("");
    };
    let credential = &source["stored_credential"];
    let said = |field: &str| credential[field].as_str();
    let by_merchant = said("payment_initiator") == Some("MERCHANT");
    let again = said("usage") == Some("SUBSEQUENT");
    let (kind, token) = match kind.as_str() {
        "card" => {
            let types = ["RECURRING", "UNSCHEDULED"];
            let fits = said("payment_type").is_some_and(|word| types.contains(&word));
            if !(by_merchant && again && fits) {
                return wrong("card/stored_credential");
            }
            (Kind::Card, &source["vault_id"])
        }
        "paypal" => {
            if !(by_merchant && again && credential["payment_type"].is_null()) {
                return wrong("paypal/stored_credential");
            }
            (Kind::Wallet, &source["vault_id"])
        }
        "token" if source["type"] == "BILLING_AGREEMENT" => (Kind::BillingAgreement, &source["id"]),
        _ => return wrong("token/type"),
    };
    match token.as_str() {
        Some(token) => Ok(Some((kind, token.to_owned()))),
        None => wrong("vault_id"),
    }
}
