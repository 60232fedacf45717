//! A shop's settings for its parcels.

use std::fmt;
use std::str::FromStr;

use domain::{is_state, is_zip};
use platform::config::{ConfigError, Environment};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The origin, the size, and the service of every parcel.
#[derive(Clone, Debug)]
pub struct EasyPostSettings {
    pub(super) from: Sender,
    pub(super) size: Size,
    pub(super) goods: Goods,
    pub(super) service: Option<Service>,
}

/// The shop's own address, in EasyPost's fields.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sender {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    street1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    street2: Option<String>,
    city: String,
    state: String,
    zip: String,
    country: String,
    phone: String,
}

const SENDER: &str = r#"it must be JSON such as {"company":"Shop","street1":"388 Townsend St","city":"San Francisco","state":"CA","zip":"94107","country":"US","phone":"4155550100"}, with name or company, and street2 if there is one"#;

/// Length, width, and height in inches; weight in ounces.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Size {
    length: Number,
    width: Number,
    height: Number,
    weight: Number,
}

impl Size {
    pub(super) fn weight(&self) -> &Number {
        &self.weight
    }
}

/// The customs declaration of the goods.
#[derive(Clone, Debug)]
pub(super) struct Goods {
    pub(super) contents: String,
    pub(super) origin_country: String,
    pub(super) tariff_number: Option<String>,
}

/// `PARCEL` as written in the environment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParcelSettings {
    length: Number,
    width: Number,
    height: Number,
    weight: Number,
    contents: Option<String>,
    origin_country: Option<String>,
    hs_tariff_number: Option<String>,
}

const SIZE: &str = r#"it must be JSON such as {"length":10,"width":8,"height":4,"weight":15.4}: inches and ounces, each above 0; for customs it may have contents (1 to 100 characters), origin_country (two letters) and hs_tariff_number"#;

/// A carrier and one of its services by EasyPost's names, case-insensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    carrier: String,
    name: String,
}

impl Service {
    pub(super) fn is(&self, carrier: &str, name: &str) -> bool {
        self.carrier.eq_ignore_ascii_case(carrier) && self.name.eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.carrier, self.name)
    }
}

impl FromStr for Service {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((carrier, name)) if !carrier.is_empty() && !name.is_empty() => Ok(Self {
                carrier: carrier.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("it must be a carrier and its service, such as USPS/Priority"),
        }
    }
}

impl EasyPostSettings {
    /// Reads `SHIP_FROM`, `PARCEL`, and the optional `CARRIER_SERVICE`; without that, the cheapest
    /// rate is used.
    ///
    /// The shop and all its recipients must be in the United States: other countries' customs
    /// require more data than an order has. The customs data for military addresses and territories
    /// is in `PARCEL`.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let from: Sender = json(environment, "SHIP_FROM", SENDER)?;
        from.check().map_err(|what| wrong("SHIP_FROM", what))?;
        let (size, goods) = json::<ParcelSettings>(environment, "PARCEL", SIZE)?.checked()?;
        let service = match environment.optional("CARRIER_SERVICE") {
            Some(_) => Some(environment.parsed("CARRIER_SERVICE")?),
            None => None,
        };
        Ok(Self {
            from,
            size,
            goods,
            service,
        })
    }
}

impl Sender {
    /// EasyPost accepts nearly any sender and reports its errors only when a label is bought. That
    /// is too late, so they are reported here.
    fn check(&self) -> Result<(), &'static str> {
        let is_blank = |text: &&String| text.trim().is_empty();
        let named = [&self.name, &self.company];
        if !named.into_iter().flatten().any(|text| !is_blank(&text)) {
            return Err("it must have name or company");
        }
        if [&self.street1, &self.city, &self.phone]
            .iter()
            .any(is_blank)
        {
            return Err("street1, city and phone must not be empty");
        }
        if !is_state(&self.state) {
            return Err("state must be the two letters of a state of the United States");
        }
        if !is_zip(&self.zip) {
            return Err("zip must be a ZIP code such as 94107 or 94107-1670");
        }
        if self.country != "US" {
            return Err("country must be US: parcels are sent within the United States only");
        }
        Ok(())
    }
}

impl Sender {
    /// The person who signs the customs declaration.
    pub(super) fn signer(&self) -> &str {
        let named = [&self.name, &self.company].into_iter().flatten();
        let mut named = named.filter(|text| !text.trim().is_empty());
        named.next().map_or("", String::as_str)
    }
}

impl ParcelSettings {
    fn checked(self) -> Result<(Size, Goods), ConfigError> {
        let goods = Goods {
            contents: self.contents.unwrap_or_else(|| "Merchandise".to_owned()),
            origin_country: self.origin_country.unwrap_or_else(|| "US".to_owned()),
            tariff_number: self.hs_tariff_number,
        };
        let is_short = (1..=100).contains(&goods.contents.trim().chars().count());
        let country = &goods.origin_country;
        if !is_short || country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(wrong("PARCEL", SIZE));
        }
        let size = Size {
            length: self.length,
            width: self.width,
            height: self.height,
            weight: self.weight,
        };
        size.check()?;
        Ok((size, goods))
    }
}

impl Size {
    fn check(&self) -> Result<(), ConfigError> {
        for number in [&self.length, &self.width, &self.height, &self.weight] {
            let number = Decimal::from_str_exact(number.as_str());
            if !number.is_ok_and(|number| number > Decimal::ZERO) {
                return Err(wrong("PARCEL", SIZE));
            }
        }
        Ok(())
    }
}

fn json<T: DeserializeOwned>(
    environment: Environment<'_>,
    name: &'static str,
    expected: &'static str,
) -> Result<T, ConfigError> {
    let text = environment.required(name)?;
    serde_json::from_str(&text).map_err(|error| ConfigError::Wrong {
        name,
        expected: format!("{expected} ({error})"),
    })
}

fn wrong(name: &'static str, expected: &str) -> ConfigError {
    ConfigError::Wrong {
        name,
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sender() -> Value {
        json!({
            "company": "Shop", "street1": "388 Townsend St", "city": "San Francisco",
            "state": "CA", "zip": "94107", "country": "US", "phone": "4155550100"
        })
    }

    fn size() -> Value {
        json!({"length": 10, "width": 8, "height": 4, "weight": 15.4})
    }

    fn settings(from: &str, size: &str, service: &str) -> Result<EasyPostSettings, ConfigError> {
        let read = |name: &str| match name {
            "SHIP_FROM" => Some(from.to_owned()),
            "PARCEL" => Some(size.to_owned()),
            "CARRIER_SERVICE" => Some(service.to_owned()),
            _ => None,
        };
        EasyPostSettings::from_environment(Environment::new(&read))
    }

    #[test]
    fn a_shop_is_read_and_sent_as_it_was_given() {
        let read = settings(&sender().to_string(), &size().to_string(), "").unwrap();
        assert_eq!(serde_json::to_value(&read.from).unwrap(), sender());
        assert_eq!(
            serde_json::to_string(&read.size).unwrap(),
            r#"{"length":10,"width":8,"height":4,"weight":15.4}"#
        );
        assert_eq!(read.service, None);
        let read = settings(&sender().to_string(), &size().to_string(), "USPS/Priority").unwrap();
        assert!(read.service.unwrap().is("usps", "PRIORITY"));
    }

    #[test]
    fn what_is_wrong_with_a_shop_is_said_at_start_with_the_variables_name() {
        let with = |field: &str, value: Value| {
            let mut sender = sender();
            sender[field] = value;
            settings(&sender.to_string(), &size().to_string(), "")
        };
        for (field, value) in [
            ("state", json!("California")),
            ("state", json!("ca")),
            ("zip", json!("9410")),
            ("zip", json!(94107)),
            ("country", json!("CA")),
            ("company", json!(" ")),
            ("phone", json!("")),
            ("email", json!("shop@example.com")),
        ] {
            let error = with(field, value).unwrap_err();
            assert!(
                matches!(
                    &error,
                    ConfigError::Wrong {
                        name: "SHIP_FROM",
                        ..
                    }
                ),
                "{field}: {error}"
            );
        }
        let (from, fits) = (sender().to_string(), size().to_string());
        for size in [
            "{}",
            "10x8x4",
            r#"{"length":0,"width":8,"height":4,"weight":15.4}"#,
            r#"{"length":1e9,"width":8,"height":4,"weight":15.4}"#,
            r#"{"length":10,"width":8,"height":4,"weight":-1}"#,
            r#"{"length":10,"width":8,"height":4,"weight":15.4,"unit":"kg"}"#,
            r#"{"length":10,"width":8,"height":4,"weight":15.4,"contents":" "}"#,
            r#"{"length":10,"width":8,"height":4,"weight":15.4,"origin_country":"usa"}"#,
        ] {
            let error = settings(&from, size, "").unwrap_err();
            assert!(error.to_string().contains("PARCEL"), "{size}: {error}");
        }
        for service in ["USPS", "/Priority", "USPS/"] {
            let error = settings(&from, &fits, service).unwrap_err();
            assert!(error.to_string().contains("USPS/Priority"), "{error}");
        }
        assert_eq!(
            settings("", &fits, "").unwrap_err(),
            ConfigError::Missing("SHIP_FROM")
        );
    }
}
