//! What goes over the wire and what comes back. Only what is used is read; where that is missing or
//! of another type, the answer is not understood as a whole, and nothing is made of the rest.

use std::fmt;

use domain::{Delivery, DeliveryState, OrderId, Timestamp, TrackingNumber};
use platform::json;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::address::Address;
use super::settings::{Sender, Service, Size};
use crate::carriers::{Label, Tracked};

/// What the customers' addresses and the shop's have in common.
pub(super) const COUNTRY: &str = "US";

/// Postage within the United States is stated in dollars. A rate in another currency cannot be
/// compared and is never taken.
const CURRENCY: &str = "USD";

/// The body of `POST /v2/addresses`.
#[derive(Serialize)]
pub(super) struct NewAddress<'a> {
    pub(super) address: Recipient<'a>,
    /// Asks whether anything can be delivered there; the answer says so and is no error.
    pub(super) verify: bool,
}

#[derive(Serialize)]
pub(super) struct Recipient<'a> {
    name: &'a str,
    phone: &'a str,
    street1: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    street2: Option<&'a str>,
    city: &'a str,
    state: &'a str,
    zip: &'a str,
    country: &'a str,
}

impl<'a> Recipient<'a> {
    pub(super) fn new(name: &'a str, phone: &'a str, address: &'a Address) -> Self {
        Self {
            name,
            phone,
            street1: &address.street1,
            street2: address.street2.as_deref(),
            city: &address.city,
            state: address.state,
            zip: &address.zip,
            country: COUNTRY,
        }
    }
}

/// The body of `POST /v2/shipments`.
#[derive(Serialize)]
pub(super) struct NewShipment<'a> {
    pub(super) shipment: Consignment<'a>,
}

#[derive(Serialize)]
pub(super) struct Consignment<'a> {
    pub(super) to_address: ById<'a>,
    pub(super) from_address: &'a Sender,
    pub(super) parcel: &'a Size,
    /// For people who search in EasyPost's dashboard, and for [`Shipment::tracked`].
    pub(super) reference: &'a str,
}

/// The body of `POST /v2/shipments/{id}/buy`.
#[derive(Serialize)]
pub(super) struct Purchase<'a> {
    pub(super) rate: ById<'a>,
}

#[derive(Serialize)]
pub(super) struct ById<'a> {
    pub(super) id: &'a str,
}

/// An address that EasyPost keeps.
#[derive(Deserialize)]
pub(super) struct KnownAddress {
    pub(super) id: String,
    pub(super) verifications: Verifications,
}

#[derive(Deserialize)]
pub(super) struct Verifications {
    pub(super) delivery: Verification,
}

#[derive(Deserialize)]
pub(super) struct Verification {
    pub(super) success: bool,
    errors: Option<Vec<Value>>,
}

impl Verification {
    pub(super) fn faults(&self) -> Vec<Fault> {
        let errors = self.errors.as_deref().unwrap_or_default();
        errors.iter().map(Fault::of).collect()
    }
}

/// A shipment: before its label is bought `tracking_code` and `postage_label` are there and null.
#[derive(Deserialize)]
pub(super) struct Shipment {
    pub(super) id: String,
    pub(super) rates: Vec<Rate>,
    messages: Option<Vec<Value>>,
    #[serde(deserialize_with = "present")]
    tracking_code: Option<String>,
    #[serde(deserialize_with = "present")]
    postage_label: Option<PostageLabel>,
    // A label that is there is there, whatever is written about its way: read only by `tracked`.
    #[serde(default)]
    reference: Value,
    #[serde(default)]
    tracker: Value,
}

/// What EasyPost's word says ("The Tracker object", `status`); `None` for `unknown`, `error` and
/// words that are new.
fn delivery_state(status: &str) -> Option<DeliveryState> {
    Some(match status {
        "pre_transit" => DeliveryState::PreTransit,
        "in_transit" => DeliveryState::InTransit,
        "out_for_delivery" => DeliveryState::OutForDelivery,
        "available_for_pickup" => DeliveryState::AvailableForPickup,
        "delivered" => DeliveryState::Delivered,
        "return_to_sender" => DeliveryState::ReturnToSender,
        "failure" => DeliveryState::Failed,
        "cancelled" => DeliveryState::Cancelled,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct PostageLabel {
    label_url: Option<String>,
}

/// A price for a shipment.
#[derive(Deserialize)]
pub(super) struct Rate {
    pub(super) id: String,
    carrier: String,
    service: String,
    /// A decimal as text.
    #[serde(rename = "rate")]
    price: String,
    currency: String,
}

/// What `POST /v2/shipments/{id}/rerate` is asked for.
#[derive(Deserialize)]
pub(super) struct Rated {
    pub(super) id: String,
    pub(super) rates: Vec<Rate>,
}

/// An answer that is JSON of the right types and still makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Senseless(pub(super) &'static str);

/// A field that must be there, even if it is null.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

impl Shipment {
    /// How many carriers gave a reason instead of a rate.
    pub(super) fn reasons(&self) -> usize {
        self.messages.as_ref().map_or(0, Vec::len)
    }

    /// Where it is and what it is for; `None` where nothing is known, or it is none of ours.
    pub(super) fn tracked(&self) -> Option<Tracked> {
        let tracker = |field: &str| self.tracker.get(field)?.as_str();
        Some(Tracked {
            order: OrderId::parse(self.reference.as_str()?).ok()?,
            delivery: Delivery {
                state: delivery_state(tracker("status")?)?,
                at: Timestamp::parse(tracker("updated_at")?).ok()?,
            },
        })
    }

    /// The label, once it is bought.
    pub(super) fn label(&self) -> Result<Option<Label>, Senseless> {
        match (&self.tracking_code, &self.postage_label) {
            (None, None) => Ok(None),
            (Some(code), Some(label)) => {
                let tracking_number = TrackingNumber::parse(code)
                    .map_err(|_| Senseless("the tracking code cannot be one"))?;
                let url = label.label_url.as_deref().filter(|url| is_address(url));
                Ok(Some(Label {
                    tracking_number,
                    url: url.map(str::to_owned),
                }))
            }
            // It may be in the making.
            _ => Err(Senseless("a label without a tracking code, or one without")),
        }
    }
}

/// Whether a text can be shown as the address of a label.
fn is_address(url: &str) -> bool {
    url.starts_with("https://") && url.len() <= 2_048 && url.bytes().all(|b| b.is_ascii_graphic())
}

/// The rate to be taken: of the wanted service, or of all, the cheapest; of equal ones the first by
/// carrier, service and id, so that whoever chooses among the same rates chooses the same one.
pub(super) fn choose<'a>(
    rates: &'a [Rate],
    wanted: Option<&Service>,
) -> Result<Option<&'a Rate>, Senseless> {
    let mut candidates = Vec::new();
    for rate in rates {
        let is_wanted = wanted.is_none_or(|wanted| wanted.is(&rate.carrier, &rate.service));
        if is_wanted && rate.currency == CURRENCY {
            let price = Decimal::from_str_exact(&rate.price)
                .ok()
                .filter(|price| *price >= Decimal::ZERO)
                .ok_or(Senseless("a rate has no price"))?;
            candidates.push((price, &rate.carrier, &rate.service, &rate.id, rate));
        }
    }
    let cheapest = candidates
        .into_iter()
        .min_by(|a, b| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3)));
    Ok(cheapest.map(|(.., rate)| rate))
}

/// A code or a field's name, and nothing that could quote a customer: what has a blank, is longer
/// than 64 characters, or has anything but letters, digits, dots, dashes and underscores, is left
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    fn of(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        let fits = (1..=64).contains(&text.len())
            && text.bytes().any(|b| b.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing that EasyPost finds wrong with a request. Its sentence is left out: it may quote the
/// customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `street1`, `address`, `to_address`, …
    pub(super) field: Option<Code>,
    /// `E.ADDRESS.NOT_FOUND`, …
    pub(super) code: Option<Code>,
}

impl Fault {
    fn of(value: &Value) -> Self {
        Self {
            field: Code::of(&value["field"]),
            code: Code::of(&value["code"]),
        }
    }

    /// Whether it is EasyPost's own trouble and says nothing about the address.
    pub(super) fn is_outage(&self) -> bool {
        self.code
            .as_ref()
            .is_some_and(|code| code.0.ends_with("UNAVAILABLE"))
    }
}

/// `street1 (E.HOUSE_NUMBER.MISSING)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.field, &self.code) {
            (Some(field), Some(code)) => write!(f, "{} ({})", field.0, code.0),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one.0),
            (None, None) => f.write_str("not said"),
        }
    }
}

/// A list of faults in one text.
pub(super) fn listed(faults: &[Fault]) -> String {
    let texts: Vec<_> = faults.iter().map(Fault::to_string).collect();
    texts.join(", ")
}

/// An answer that says no: `{"error": {"code", "message", "errors": [{"field", "message", "code"}]}}`,
/// where all but the status may be missing or of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Option<Code>,
    pub(super) faults: Vec<Fault>,
}

impl Refusal {
    pub(super) fn of(status: u16, body: &[u8]) -> Self {
        let body: Value = json::read(body).unwrap_or_default();
        let error = &body["error"];
        let faults = error["errors"].as_array().map(Vec::as_slice);
        Self {
            status,
            code: Code::of(&error["code"]),
            faults: faults.unwrap_or_default().iter().map(Fault::of).collect(),
        }
    }

    pub(super) fn code(&self) -> &str {
        self.code.as_ref().map_or("", Code::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn label(code: Value, label: Value) -> Result<Option<Label>, Senseless> {
        read(&shipment(&code, &label)).unwrap().label()
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

    #[test]
    fn an_answer_that_lacks_what_is_used_is_not_understood() {
        let whole = shipment(&json!(null), &json!(null));
        assert!(read(&whole).is_ok());
        for field in ["id", "rates", "tracking_code", "postage_label"] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(read(&less).is_err(), "{field}");
            let mut other = whole.clone();
            other[field] = json!(17);
            assert!(read(&other).is_err(), "{field}");
        }
        for text in ["", "{}", "[]", "null", "<html>", "\"shp_1\""] {
            assert!(serde_json::from_str::<Shipment>(text).is_err(), "{text}");
        }
    }

    fn chosen(rates: &[Value], wanted: Option<&str>) -> Result<Option<String>, Senseless> {
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

    #[test]
    fn errors_are_read_in_all_their_shapes_and_nothing_of_their_sentences_is_kept() {
        let refusal = |body: Value| Refusal::of(422, body.to_string().as_bytes());
        let read = refusal(json!({"error": {
            "code": "ADDRESS.VERIFY.FAILURE",
            "message": "17 Boulevard was not found",
            "errors": [
                {"code": "E.HOUSE_NUMBER.MISSING", "field": "street1", "message": "17 Boulevard"},
                {"field": "address", "message": "17 Boulevard", "suggestion": null},
                {"field": "17 Boulevard", "code": ["x"]},
                "17 Boulevard was not found",
            ]
        }}));
        assert_eq!(read.code(), "ADDRESS.VERIFY.FAILURE");
        assert_eq!(
            listed(&read.faults),
            "street1 (E.HOUSE_NUMBER.MISSING), address, not said, not said"
        );
        assert!(!format!("{read:?}").contains("Boulevard"));
        for body in [
            json!({}),
            json!([]),
            json!({"error": "no"}),
            json!({"error": {"code": 7, "errors": {"a": "b"}}}),
            json!({"error": {"code": "17 Boulevard", "message": ["a"]}}),
        ] {
            let read = refusal(body);
            assert_eq!((read.code(), read.faults.len()), ("", 0));
        }
        assert_eq!(Refusal::of(502, b"<html>").code(), "");
    }
}
