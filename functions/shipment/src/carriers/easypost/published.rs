//! EasyPost's published answers to the calls of this service, and their meaning. The client, its
//! double, and the tests share this list.
//!
//! Codes: "Errors", List of Error Codes (<https://docs.easypost.com/docs/errors>), those of
//! addresses, customs, parcels, shipments, and accounts. Statuses: "Errors Guide" and recorded
//! exchanges of EasyPost's client libraries; 422 if none was recorded.

use domain::DeliveryState;

/// The meaning of an answer, and how long it may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The key is refused. Lasts until the operator replaces it.
    Key,
    /// Nothing happened. Lasts until the operator corrects the account or its funds.
    Operator,
    /// Nothing happened. Lasts minutes.
    Later,
    /// Nothing happened, and the same request would be refused again. The shop must send another
    /// address or parcel, or cancel the order.
    ShopsTurn,
    /// Nothing was bought. The shipment's rates are requested again at once.
    RatesGone,
    /// Nothing was bought, because new rates have been requested since. The current rates are
    /// requested again at once; if that happens twice in a row, it lasts minutes.
    RateReplaced,
    /// The label was bought before. Permanent; the label is looked up.
    Bought,
    /// It may have been carried out, or may still be. Lasts minutes; the shipment is looked up.
    Unknown,
}

/// A call that this service makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Any call.
    Any,
    /// `POST /v2/addresses`
    Address,
    /// `POST /v2/shipments`
    Shipment,
    /// `POST /v2/shipments/{id}/buy`, and `rerate` before it.
    Buy,
}

/// A published answer.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The call that it answers.
    pub endpoint: Endpoint,
    /// The HTTP status.
    pub status: u16,
    /// The error's `code`.
    pub code: &'static str,
    /// The meaning.
    pub meaning: Meaning,
}

const fn any(status: u16, code: &'static str, meaning: Meaning) -> Published {
    Published {
        endpoint: Endpoint::Any,
        status,
        code,
        meaning,
    }
}

const fn of(endpoint: Endpoint, code: &'static str, meaning: Meaning) -> Published {
    Published {
        endpoint,
        status: 422,
        code,
        meaning,
    }
}

use Endpoint::{Address, Buy, Shipment};
use Meaning::{Bought, Key, Later, Operator, RateReplaced, RatesGone, ShopsTurn, Unknown};

/// All published answers.
pub const PUBLISHED: &[Published] = &[
    any(400, "BAD_REQUEST", ShopsTurn),
    any(401, "UNAUTHORIZED", Key),
    any(401, "MODE.UNAUTHORIZED", Key),
    any(401, "USER.UNAUTHORIZED", Key),
    any(402, "PAYMENT_REQUIRED", Operator),
    any(403, "APIKEY.INACTIVE", Key),
    any(403, "FORBIDDEN", Operator),
    any(404, "NOT_FOUND", Operator),
    any(406, "NOT_ACCEPTABLE", ShopsTurn),
    any(422, "MODE.CONFLICT", Operator),
    any(422, "PARAMETER.FORBIDDEN", ShopsTurn),
    any(422, "PARAMETER.REQUIRED", ShopsTurn),
    any(429, "RATE_LIMITED", Later),
    any(500, "INTERNAL_SERVER_ERROR", Unknown),
    any(503, "SERVICE_UNAVAILABLE", Unknown),
    of(Address, "ADDRESS.PARAMETERS.INVALID_CHARACTER", ShopsTurn),
    of(Address, "ADDRESS.PARAMETERS.INVALID", ShopsTurn),
    of(Address, "ADDRESS.COUNTRY.INVALID", ShopsTurn),
    of(Address, "ADDRESS.VERIFICATION.NOT_FOUND", ShopsTurn),
    of(Address, "ADDRESS.VERIFICATION.FAILURE", ShopsTurn),
    of(Address, "ADDRESS.VERIFICATION.INVALID", ShopsTurn),
    of(Address, "ADDRESS.VERIFY.FAILURE", ShopsTurn),
    of(Address, "ADDRESS.VERIFY.UNAVAILABLE", Later),
    of(Address, "ADDRESS.VERIFY.UPSTREAM_UNAVAILABLE", Later),
    of(Address, "ADDRESS.VERIFY.CARRIER_INVALID", Operator),
    of(Address, "ADDRESS.VERIFY.ONLY_US", ShopsTurn),
    of(Address, "ADDRESS.VERIFY.INTL_NOT_ENABLED", ShopsTurn),
    of(Address, "ADDRESS.VERIFY.MISSING_STREET", ShopsTurn),
    of(Address, "ADDRESS.VERIFY.MISSING_CITY_STATE_ZIP", ShopsTurn),
    of(Shipment, "CARRIER_ACCOUNT.INVALID", Operator),
    of(Shipment, "CUSTOMS_INFO.PARAMETERS.INVALID", ShopsTurn),
    of(Shipment, "CUSTOMS_ITEM.ORIGIN_COUNTRY.REQUIRED", ShopsTurn),
    of(
        Shipment,
        "CUSTOMS_ITEM.CURRENCY.ONE_CURRENCY_SUPPORTED",
        ShopsTurn,
    ),
    of(Shipment, "CUSTOMS_ITEM.PARAMETERS.INVALID", ShopsTurn),
    of(Shipment, "PARCEL.PREDEFINED_PACKAGE.INVALID", ShopsTurn),
    of(Shipment, "PARCEL.PARAMETERS.INVALID", ShopsTurn),
    of(Shipment, "SHIPMENT.CARRIER_ACCOUNTS.CONFLICT", Operator),
    of(
        Shipment,
        "SHIPMENT.CUSTOMS_INFO.DESCRIPTION_REQUIRED",
        ShopsTurn,
    ),
    of(Shipment, "SHIPMENT.CUSTOMS_INFO.REQUIRED", ShopsTurn),
    of(Shipment, "SHIPMENT.INVALID", ShopsTurn),
    of(Shipment, "SHIPMENT.INVALID_PARAMS", ShopsTurn),
    of(Shipment, "SHIPMENT.MISSING_INFORMATION", ShopsTurn),
    of(Shipment, "SHIPMENT.OPTIONS.INVALID", ShopsTurn),
    of(Buy, "BANK_ACCOUNT.CHARGE.FAILURE", Operator),
    of(Buy, "CREDIT_CARD.CHARGE.FAILURE", Operator),
    of(Buy, "CREDIT_CARD.INVALID", Operator),
    of(Buy, "PAYMENT_GATEWAY.ERROR", Operator),
    of(Buy, "SHIPMENT.MISSING_RATE", RateReplaced),
    of(Buy, "SHIPMENT.POSTAGE.ASCII", ShopsTurn),
    of(Buy, "SHIPMENT.POSTAGE.EXISTS", Bought),
    of(Buy, "SHIPMENT.POSTAGE.FAILURE", ShopsTurn),
    of(Buy, "SHIPMENT.POSTAGE.FORMAT_UNAVAILABLE", ShopsTurn),
    of(Buy, "SHIPMENT.POSTAGE.INVALID_FORMAT", ShopsTurn),
    of(Buy, "SHIPMENT.POSTAGE.NO_RESPONSE", Unknown),
    of(Buy, "SHIPMENT.POSTAGE.REQUIRED", ShopsTurn),
    of(Buy, "SHIPMENT.POSTAGE.TIMED_OUT", Unknown),
    of(Buy, "SHIPMENT.PURCHASE.FAILURE", ShopsTurn),
    of(Buy, "SHIPMENT.PURCHASE.IN_PROGRESS", Unknown),
    of(Buy, "SHIPMENT.RATE.BARCODE_UNAVAILABLE", ShopsTurn),
    of(Buy, "SHIPMENT.RATE.CARRIER_ACCOUNT_INVALID", RatesGone),
    of(Buy, "SHIPMENT.RATE.EXPIRED", RateReplaced),
    of(Buy, "SHIPMENT.RATE.STAMP_UNAVAILABLE", ShopsTurn),
    of(Buy, "SHIPMENT.RATES.UNAVAILABLE", RatesGone),
];

/// Parts of codes that indicate something in progress, or a timeout.
const UNSETTLED: [&str; 6] = [
    "TIMED_OUT",
    "TIMEOUT",
    "NO_RESPONSE",
    "IN_PROGRESS",
    "UNAVAILABLE",
    "EXISTS",
];

/// The meaning of an answer with that status and code, listed or not. A 5xx proves nothing,
/// whatever its code. A code that is not listed is judged by its status: a client error is a
/// refusal, unless its code may indicate something in progress.
#[must_use]
pub fn meaning(status: u16, code: &str) -> Meaning {
    if status >= 500 {
        return Unknown;
    }
    let mut listed = PUBLISHED.iter();
    if let Some(answer) = listed.find(|answer| answer.code == code && answer.meaning != Unknown) {
        return answer.meaning;
    }
    match status {
        _ if code.starts_with("APIKEY.") => Key,
        401 => Key,
        402..=404 => Operator,
        429 => Later,
        408 | 409 => Unknown,
        _ if UNSETTLED.iter().any(|word| code.contains(word)) => Unknown,
        400..=499 => ShopsTurn,
        _ => Unknown,
    }
}

/// The tracker's statuses ("The Tracker object", `status`); `None` if the status does not tell
/// where the parcel is.
pub const TRACKER_STATUSES: &[(&str, Option<DeliveryState>)] = &[
    ("unknown", None),
    ("pre_transit", Some(DeliveryState::PreTransit)),
    ("in_transit", Some(DeliveryState::InTransit)),
    ("out_for_delivery", Some(DeliveryState::OutForDelivery)),
    ("delivered", Some(DeliveryState::Delivered)),
    (
        "available_for_pickup",
        Some(DeliveryState::AvailableForPickup),
    ),
    ("return_to_sender", Some(DeliveryState::ReturnToSender)),
    ("failure", Some(DeliveryState::Failed)),
    ("cancelled", Some(DeliveryState::Cancelled)),
    ("error", None),
];

/// The statuses of a label's refund ("Shipping Refund", `refund_status`), and whether the label may
/// still be used. Only people request such refunds.
pub const REFUND_STATUSES: &[(&str, bool)] = &[
    ("submitted", false),
    ("refunded", false),
    ("rejected", true),
    ("not_applicable", true),
];

/// Whether a label whose refund has this status can no longer be used.
#[must_use]
pub fn is_given_back(refund_status: &str) -> bool {
    REFUND_STATUSES.contains(&(refund_status, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_code_is_listed_once() {
        for (index, answer) in PUBLISHED.iter().enumerate() {
            let later = PUBLISHED.iter().skip(index + 1);
            let again = later.filter(|other| other.code == answer.code).count();
            assert_eq!(again, 0, "{}", answer.code);
        }
    }

    #[test]
    fn every_word_of_a_delivery_has_its_state_and_every_state_its_word() {
        for &state in DeliveryState::ALL {
            let words = TRACKER_STATUSES.iter();
            assert_eq!(words.filter(|(_, said)| *said == Some(state)).count(), 1);
        }
    }

    #[test]
    fn a_label_that_is_given_back_carries_nothing() {
        for (status, given_back) in [
            ("submitted", true),
            ("refunded", true),
            ("rejected", false),
            ("not_applicable", false),
            ("something new", false),
        ] {
            assert_eq!(is_given_back(status), given_back, "{status}");
        }
    }
}
