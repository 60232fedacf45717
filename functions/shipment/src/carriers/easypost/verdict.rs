//! The meaning of EasyPost's answers.

use domain::{Delivery, DeliveryState, OrderId, Timestamp, TrackingNumber};
use partner::CallFailure::Refused;
use partner::{self, Reach, Unusable};
use rust_decimal::Decimal;
use service::error::FieldError;

use super::client::Failure;
use super::published::{Meaning, TRACKER_STATUSES, meaning};
use super::settings::Service;
use super::wire::{Fault, Rate, Refusal, Shipment};
use crate::carriers::{CarrierError, CarrierRefusal, Label, Tracked};

/// Postage within the United States is in dollars. A rate in another currency cannot be compared
/// and is never used.
const CURRENCY: &str = "USD";

const ADDRESS: &str = "/shipping_address";

impl partner::Refusal for Refusal {
    fn from_answer(_: u16, body: &[u8]) -> Self {
        Self::from_body(body)
    }

    fn reach(&self, status: u16) -> Reach {
        match meaning(status, self.code()) {
            Meaning::Key => Reach::NotConfigured,
            Meaning::Operator
            | Meaning::Later
            | Meaning::RatesGone
            | Meaning::RateReplaced
            | Meaning::ShopsTurn => Reach::NothingDone,
            Meaning::Bought | Meaning::Unknown => Reach::Unknown,
        }
    }
}

/// The meaning of EasyPost's answer, if it is a refusal.
pub(super) fn meaning_of(failure: &Failure) -> Option<Meaning> {
    match failure {
        Refused(status, refusal) => Some(meaning(*status, refusal.code())),
        _ => None,
    }
}

/// Whether the chosen rate can no longer be bought.
pub(super) fn is_stale(bought: &Result<Shipment, Failure>) -> bool {
    let failure = bought.as_ref().err();
    let meaning = failure.and_then(meaning_of);
    matches!(meaning, Some(Meaning::RatesGone | Meaning::RateReplaced))
}

/// The error for a failed call: a refusal if the shop must act, otherwise the error from
/// `from_call`.
pub(super) fn refused_or(
    failure: Failure,
    detail: &str,
    from_call: impl FnOnce(Failure) -> CarrierError,
) -> CarrierError {
    match (meaning_of(&failure), &failure) {
        (Some(Meaning::ShopsTurn), Refused(status, refusal)) => {
            let code = match refusal.code() {
                "" => format!("status_{status}"),
                code => code.to_owned(),
            };
            let faults = Fault::list(&refusal.faults);
            let found = if faults.is_empty() { &code } else { &faults };
            refused(&code, format!("{detail} ({found})"))
        }
        _ => from_call(failure),
    }
}

/// The carrier refuses the parcel.
pub(super) fn refused(code: &str, detail: String) -> CarrierError {
    CarrierError::Refused(CarrierRefusal {
        code: code.to_owned(),
        errors: vec![FieldError {
            pointer: ADDRESS.to_owned(),
            detail,
        }],
    })
}

/// The label, if it is bought.
pub(super) fn label(shipment: &Shipment) -> Result<Option<Label>, Unusable> {
    match (&shipment.tracking_code, &shipment.postage_label) {
        (None, None) => Ok(None),
        (Some(code), Some(label)) => {
            let tracking_number = TrackingNumber::parse(code)
                .map_err(|_| Unusable::new("the tracking code is invalid"))?;
            let url = label.label_url.as_deref().filter(|url| is_address(url));
            Ok(Some(Label {
                tracking_number,
                url: url.map(str::to_owned),
            }))
        }
        // The label may be in preparation.
        _ => Err(Unusable::new("the label or its tracking code is missing")),
    }
}

/// Whether a text can be shown as the URL of a label.
fn is_address(url: &str) -> bool {
    url.starts_with("https://") && url.len() <= 2_048 && url.bytes().all(|b| b.is_ascii_graphic())
}

/// The rate to buy: the cheapest one of the wanted service, or of all. Between equal ones, the
/// first by carrier, service, and ID, so that the same rates always lead to the same choice.
pub(super) fn choose<'a>(
    rates: &'a [Rate],
    wanted: Option<&Service>,
) -> Result<Option<&'a Rate>, Unusable> {
    let mut candidates = Vec::new();
    for rate in rates {
        let is_wanted = wanted.is_none_or(|wanted| wanted.is(&rate.carrier, &rate.service));
        if is_wanted && rate.currency == CURRENCY {
            let price = Decimal::from_str_exact(&rate.price)
                .ok()
                .filter(|price| *price >= Decimal::ZERO)
                .ok_or_else(|| Unusable::new("a rate has no price"))?;
            candidates.push((price, &rate.carrier, &rate.service, &rate.id, rate));
        }
    }
    let cheapest = candidates
        .into_iter()
        .min_by(|a, b| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3)));
    Ok(cheapest.map(|(.., rate)| rate))
}

/// The order and the delivery state of a shipment; `None` if nothing is known, or if this service
/// did not create it.
pub(super) fn tracked(shipment: &Shipment) -> Option<Tracked> {
    let tracker = |field: &str| shipment.tracker.get(field)?.as_str();
    Some(Tracked {
        order: OrderId::parse(shipment.reference.as_str()?).ok()?,
        delivery: Delivery {
            state: delivery_state(tracker("status")?)?,
            at: Timestamp::parse(tracker("updated_at")?).ok()?,
        },
    })
}

/// The state for a status of EasyPost; `None` for a status that tells nothing, or is not listed.
fn delivery_state(status: &str) -> Option<DeliveryState> {
    let mut words = TRACKER_STATUSES.iter();
    words.find(|(word, _)| *word == status)?.1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use partner::{FromReach as _, Refusal as _};
    use platform::outbound::HttpsError;
    use serde_json::{Value, json};

    use super::super::published::PUBLISHED;
    use super::*;

    const URL: &str = "https://files.example/label.png";

    fn rate(id: &str, service: &str, price: &str, currency: &str) -> Value {
        json!({
            "id": id, "object": "Rate", "carrier": "USPS", "service": service, "rate": price,
            "currency": currency, "retail_rate": null, "delivery_days": null
        })
    }

    fn shipment(code: &Value, label: &Value) -> Value {
        json!({
            "id": "shp_1", "object": "Shipment", "status": "unknown", "reference": null,
            "rates": [rate("rate_1", "Priority", "7.42", "USD")], "messages": [],
            "tracking_code": code, "postage_label": label, "selected_rate": null, "fees": []
        })
    }

    fn read(value: &Value) -> Result<Shipment, serde_json::Error> {
        serde_json::from_str(&value.to_string())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a table of cases reads better"
    )]
    fn label(code: Value, label: Value) -> Result<Option<Label>, Unusable> {
        super::label(&read(&shipment(&code, &label)).unwrap())
    }

    #[test]
    fn a_shipment_has_a_label_once_it_has_both_a_tracking_code_and_one() {
        assert_eq!(label(json!(null), json!(null)), Ok(None));
        let bought = label(
            json!("9400100208303109505657"),
            json!({"id": "pl_1", "label_url": URL}),
        );
        let bought = bought.unwrap().unwrap();
        assert_eq!(bought.tracking_number.as_str(), "9400100208303109505657");
        assert_eq!(bought.url.as_deref(), Some(URL));
        for (code, half) in [
            (json!("9400100208303109505657"), json!(null)),
            (json!(null), json!({"label_url": URL})),
            (json!(""), json!({"label_url": URL})),
            (json!("9400 1002"), json!({"label_url": URL})),
            (json!("9".repeat(65)), json!({"label_url": URL})),
        ] {
            assert!(label(code.clone(), half).is_err(), "{code}");
        }
    }

    #[test]
    fn an_address_of_a_label_that_cannot_be_shown_is_left_out_and_the_label_is_kept() {
        for url in [
            json!(null),
            json!("javascript:alert(1)"),
            json!("https://a b"),
            json!(format!("https://{}", "x".repeat(3_000))),
        ] {
            let found = label(json!("1Z1"), json!({ "label_url": url })).unwrap();
            assert_eq!(found.unwrap().url, None);
        }
    }

    fn chosen(rates: &[Value], wanted: Option<&str>) -> Result<Option<String>, Unusable> {
        let rates: Vec<Rate> = serde_json::from_value(rates.into()).unwrap();
        let wanted = wanted.map(|text| text.parse::<Service>().unwrap());
        Ok(choose(&rates, wanted.as_ref())?.map(|rate| rate.id.clone()))
    }

    #[test]
    fn the_cheapest_rate_in_dollars_is_chosen_whatever_their_order() {
        let mut rates = [
            rate("rate_a", "Express", "34.15", "USD"),
            rate("rate_b", "Priority", "7.42", "USD"),
            rate("rate_c", "Ground", "10.07", "USD"),
            rate("rate_d", "Abroad", "1.00", "CAD"),
        ];
        for _ in 0..4 {
            rates.rotate_left(1);
            assert_eq!(chosen(&rates, None), Ok(Some("rate_b".to_owned())));
            let wanted = chosen(&rates, Some("usps/express"));
            assert_eq!(wanted, Ok(Some("rate_a".to_owned())));
        }
        assert_eq!(chosen(&rates, Some("UPS/Ground")), Ok(None));
        assert_eq!(chosen(&rates, Some("USPS/Abroad")), Ok(None));
        assert_eq!(chosen(&[], None), Ok(None));
    }

    #[test]
    fn of_equal_rates_everyone_chooses_the_same() {
        let mut rates = [
            rate("rate_b", "Priority", "7.42", "USD"),
            rate("rate_a", "Priority", "7.420", "USD"),
            rate("rate_c", "Express", "7.42", "USD"),
        ];
        for _ in 0..3 {
            rates.rotate_left(1);
            assert_eq!(chosen(&rates, None), Ok(Some("rate_c".to_owned())));
            let wanted = chosen(&rates, Some("USPS/Priority"));
            assert_eq!(wanted, Ok(Some("rate_a".to_owned())));
        }
    }

    #[test]
    fn a_rate_without_a_price_is_no_bargain() {
        for price in ["", "free", "-1", "1e2", "NaN", "7,42"] {
            let rates = [
                rate("rate_a", "Priority", "7.42", "USD"),
                rate("rate_b", "Ground", price, "USD"),
            ];
            assert!(chosen(&rates, None).is_err(), "{price}");
        }
    }

    fn outcome(failure: Failure) -> &'static str {
        match refused_or(failure, "is refused", CarrierError::from_write) {
            CarrierError::NotConfigured(_) => "not configured",
            CarrierError::Unavailable(_) => "unavailable",
            CarrierError::Unanswered(_) => "unanswered",
            CarrierError::Refused(_) => "refused",
        }
    }

    fn answered(status: u16, code: &str) -> &'static str {
        let body = json!({"error": {"code": code, "message": "17 Boulevard", "errors": []}});
        let refusal = Refusal::from_answer(status, body.to_string().as_bytes());
        outcome(Refused(status, refusal))
    }

    #[test]
    fn every_published_answer_is_understood_as_the_list_says() {
        for answer in PUBLISHED {
            let expected = match answer.meaning {
                Meaning::Key => "not configured",
                Meaning::Operator | Meaning::Later | Meaning::RatesGone | Meaning::RateReplaced => {
                    "unavailable"
                }
                Meaning::ShopsTurn => "refused",
                Meaning::Bought | Meaning::Unknown => "unanswered",
            };
            let found = answered(answer.status, answer.code);
            assert_eq!(found, expected, "{} {}", answer.status, answer.code);
        }
    }

    #[test]
    fn what_no_list_holds_is_decided_by_what_it_proves() {
        for (status, code, expected) in [
            (401, "", "not configured"),
            (403, "APIKEY.SOMETHING", "not configured"),
            (402, "", "unavailable"),
            (403, "", "unavailable"),
            (404, "", "unavailable"),
            (429, "", "unavailable"),
            // A refusal, even without a code.
            (400, "", "refused"),
            (422, "", "refused"),
            (422, "SOMETHING.NEW", "refused"),
            (406, "SOMETHING.NEW", "refused"),
            // Proves nothing.
            (408, "", "unanswered"),
            (409, "SOMETHING.NEW", "unanswered"),
            (422, "SHIPMENT.LABEL.TIMED_OUT", "unanswered"),
            (422, "SHIPMENT.POSTAGE.IN_PROGRESS", "unanswered"),
            (500, "SOMETHING.NEW", "unanswered"),
            (503, "", "unanswered"),
            (302, "", "unanswered"),
        ] {
            assert_eq!(answered(status, code), expected, "{status} {code}");
        }
        let late = HttpsError::TimedOut(Duration::from_secs(8));
        assert_eq!(outcome(Failure::NoAnswer(late)), "unanswered");
        assert_eq!(
            outcome(Failure::NoAnswer(HttpsError::NoTime)),
            "unavailable"
        );
    }

    #[test]
    fn a_refusal_names_its_fields_and_quotes_nothing() {
        let body = json!({"error": {"code": "SHIPMENT.INVALID_PARAMS", "message": "17 Boulevard",
            "errors": [{"to_address": "17 Boulevard"}, {"field": "zip", "message": "x"}]}});
        let refusal = Refusal::from_answer(422, body.to_string().as_bytes());
        let error = refused_or(
            Refused(422, refusal),
            "is refused",
            CarrierError::from_write,
        );
        let CarrierError::Refused(refusal) = error else {
            panic!("it is a refusal")
        };
        assert_eq!(refusal.code, "SHIPMENT.INVALID_PARAMS");
        assert_eq!(refusal.errors[0].detail, "is refused (to_address, zip)");
    }
}
