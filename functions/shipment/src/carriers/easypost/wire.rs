//! EasyPost's JSON. Only the fields that are used are read. If one of them is missing or has
//! another type, the whole answer is unusable.

use std::fmt;

use partner::{Alphabet, sanitize};
use platform::json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use domain::PostalAddress;

use super::settings::{EasyPostSettings, Goods, Sender, Size};
use crate::carriers::Worth;

/// The body of `POST /v2/addresses`.
#[derive(Serialize)]
pub(super) struct NewAddress<'a> {
    pub(super) address: Recipient<'a>,
    /// Requests a check whether the address is deliverable. The result is in the answer and is not
    /// an error.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zip: Option<&'a str>,
    country: &'a str,
}

impl<'a> Recipient<'a> {
    pub(super) fn new(name: &'a str, phone: &'a str, address: &'a PostalAddress) -> Self {
        Self {
            name,
            phone,
            street1: &address.street1,
            street2: address.street2.as_deref(),
            city: &address.city,
            state: address.state.as_deref(),
            zip: address.zip.as_deref(),
            country: address.country,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customs_info: Option<CustomsInfo<'a>>,
    /// For people who search EasyPost's dashboard, and for [`super::verdict::tracked`].
    pub(super) reference: &'a str,
}

/// The declaration to customs ("Customs Guide").
#[derive(Serialize)]
pub(super) struct CustomsInfo<'a> {
    contents_type: &'static str,
    customs_certify: bool,
    customs_signer: &'a str,
    /// Up to 2,500 dollars, no export filing is needed.
    eel_pfc: &'static str,
    non_delivery_option: &'static str,
    restriction_type: &'static str,
    customs_items: [CustomsItem<'a>; 1],
}

#[derive(Serialize)]
struct CustomsItem<'a> {
    description: &'a str,
    quantity: u32,
    /// In ounces.
    weight: &'a serde_json::Number,
    value: String,
    currency: &'a str,
    origin_country: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hs_tariff_number: Option<&'a str>,
}

impl<'a> CustomsInfo<'a> {
    pub(super) fn new(settings: &'a EasyPostSettings, worth: &'a Worth) -> Self {
        let Goods {
            contents,
            origin_country,
            tariff_number,
        } = &settings.goods;
        Self {
            contents_type: "merchandise",
            customs_certify: true,
            customs_signer: settings.from.signer(),
            eel_pfc: "NOEEI 30.37(a)",
            non_delivery_option: "return",
            restriction_type: "none",
            customs_items: [CustomsItem {
                description: contents,
                quantity: 1,
                weight: settings.size.weight(),
                value: worth.amount.to_text(),
                currency: worth.currency.code(),
                origin_country,
                hs_tariff_number: tariff_number.as_deref(),
            }],
        }
    }
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

/// An address that EasyPost stores.
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
        errors.iter().map(Fault::from_value).collect()
    }
}

/// A shipment. Before its label is bought, `tracking_code` and `postage_label` are present and
/// null.
#[derive(Deserialize)]
pub(super) struct Shipment {
    pub(super) id: String,
    pub(super) rates: Vec<Rate>,
    pub(super) messages: Option<Vec<Value>>,
    #[serde(deserialize_with = "present")]
    pub(super) tracking_code: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) postage_label: Option<PostageLabel>,
    // A label counts whatever these fields contain, so their form is not checked here.
    #[serde(default)]
    pub(super) reference: Value,
    #[serde(default)]
    pub(super) refund_status: Value,
    #[serde(default)]
    pub(super) tracker: Value,
}

#[derive(Deserialize)]
pub(super) struct PostageLabel {
    pub(super) label_url: Option<String>,
}

/// A price for a shipment.
#[derive(Deserialize)]
pub(super) struct Rate {
    pub(super) id: String,
    pub(super) carrier: String,
    pub(super) service: String,
    /// A decimal number as text.
    #[serde(rename = "rate")]
    pub(super) price: String,
    pub(super) currency: String,
}

/// The answer of `POST /v2/shipments/{id}/rerate`.
#[derive(Deserialize)]
pub(super) struct Rated {
    pub(super) id: String,
    pub(super) rates: Vec<Rate>,
}

/// A field that must be present, even if it is null.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

impl Shipment {
    /// The number of carriers that gave a reason instead of a rate.
    pub(super) fn reasons(&self) -> usize {
        self.messages.as_ref().map_or(0, Vec::len)
    }
}

/// A code or a field's name: nothing that could quote a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    fn from_value(value: &Value) -> Option<Self> {
        let code = sanitize(value.as_str()?, Alphabet::Dotted)?;
        Some(Self(code.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One error that EasyPost finds in a request. Its sentence is left out, because it may quote the
/// customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `street1`, `address`, `to_address`, …
    pub(super) field: Option<Code>,
    /// `E.ADDRESS.NOT_FOUND`, …
    pub(super) code: Option<Code>,
}

impl Fault {
    /// `{"field", "code", "message"}`, or `{"to_address": "Required and missing."}`.
    fn from_value(value: &Value) -> Self {
        let keys = value
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys);
        let named = ["field", "code", "message", "suggestion"];
        let mut others = keys.filter(|key| !named.contains(&key.as_str()));
        let alone = others.next().map(|key| Value::from(key.as_str()));
        Self {
            field: Code::from_value(&value["field"])
                .or_else(|| Code::from_value(alone.as_ref().unwrap_or(&Value::Null))),
            code: Code::from_value(&value["code"]),
        }
    }

    /// Whether the error is an outage at EasyPost and says nothing about the address.
    pub(super) fn is_outage(&self) -> bool {
        self.code
            .as_ref()
            .is_some_and(|code| code.0.ends_with("UNAVAILABLE"))
    }

    /// Several errors in one text.
    pub(super) fn list(faults: &[Self]) -> String {
        let texts: Vec<_> = faults.iter().map(Self::to_string).collect();
        texts.join(", ")
    }
}

/// `street1 (E.HOUSE_NUMBER.MISSING)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.field, &self.code) {
            (Some(field), Some(code)) => write!(f, "{} ({})", field.0, code.0),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one.0),
            (None, None) => f.write_str("unspecified"),
        }
    }
}

/// A refusal by EasyPost: `{"error": {"code", "message", "errors": [{"field", "message",
/// "code"}]}}`. Each part may be missing or have another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Option<Code>,
    pub(super) faults: Vec<Fault>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Refusal {
    pub(super) fn from_body(body: &[u8]) -> Self {
        let body: Value = json::read(body).unwrap_or_default();
        let error = &body["error"];
        let faults = error["errors"].as_array().map(Vec::as_slice);
        Self {
            code: Code::from_value(&error["code"]),
            faults: faults
                .unwrap_or_default()
                .iter()
                .map(Fault::from_value)
                .collect(),
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

    #[test]
    fn an_answer_that_lacks_what_is_used_is_not_understood() {
        let rate = json!({
            "id": "rate_1", "carrier": "USPS", "service": "Priority", "rate": "7.42", "currency": "USD"
        });
        let whole = json!({
            "id": "shp_1", "rates": [rate], "tracking_code": null, "postage_label": null
        });
        let read = |value: &Value| serde_json::from_str::<Shipment>(&value.to_string());
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

    #[test]
    fn errors_are_read_in_all_their_shapes_and_nothing_of_their_sentences_is_kept() {
        let refusal = |body: Value| Refusal::from_body(body.to_string().as_bytes());
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
            Fault::list(&read.faults),
            "street1 (E.HOUSE_NUMBER.MISSING), address, unspecified, unspecified"
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
        assert_eq!(Refusal::from_body(b"<html>").code(), "");
    }
}
