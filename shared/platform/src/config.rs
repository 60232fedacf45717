//! The only place that reads the environment. `template.yaml` sets every variable except
//! `LOG_LEVEL` (default `info`) and the local-only `AUTHENTICATION` and `SANDBOX_LEDGER`.

use std::str::FromStr;

use domain::{CarrierName, ChargeLimits, Currency, PartnerName, TaxMode, TaxPolicy, Unit};
use rust_decimal::Decimal;

use crate::endpoint::Endpoint;

/// A missing or invalid variable. Found at start, so that a misconfigured deployment accepts no
/// work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set or empty.
    #[error("set the environment variable {0}; it is missing or empty")]
    Missing(&'static str),
    /// The variable has an invalid value.
    #[error("correct the environment variable {name}: {expected}")]
    Wrong {
        /// The variable's name.
        name: &'static str,
        /// What is required.
        expected: String,
    },
}

/// Reads variables by name, from the process or from a test.
#[derive(Clone, Copy)]
pub struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'static> {
    /// The process's environment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is that one place")]
    pub fn process() -> Self {
        Self(&|name| std::env::var(name).ok())
    }
}

impl<'a> Environment<'a> {
    /// Variables from a function.
    #[must_use]
    pub fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(read)
    }

    /// The variable; `None` if it is not set or empty.
    #[must_use]
    pub fn optional(&self, name: &'static str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The variable; an error if it is not set or empty.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing(name))
    }

    /// The required variable, parsed.
    pub fn parsed<T>(&self, name: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.required(name)?
            .parse()
            .map_err(|error: T::Err| ConfigError::Wrong {
                name,
                expected: error.to_string(),
            })
    }
}

/// The shop's currency, what can be charged in it, and its tax.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    /// The limits of the billing partner (`BILLING_PARTNER`) in the currency of all new orders
    /// (`CURRENCY`).
    pub limits: ChargeLimits,
    /// How tax is computed: `TAX_MODE`, `TAX_RATE`.
    pub tax: TaxPolicy,
}

impl Shop {
    /// Reads `CURRENCY`, `BILLING_PARTNER`, `TAX_MODE`, and `TAX_RATE`. A currency in which the
    /// billing partner does not charge is an error.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let rate: Decimal = environment.parsed("TAX_RATE")?;
        let mode: TaxMode = environment.parsed("TAX_MODE")?;
        let tax = TaxPolicy::new(mode, rate).map_err(|error| ConfigError::Wrong {
            name: "TAX_RATE",
            expected: error.to_string(),
        })?;
        let partner = match environment.required("BILLING_PARTNER")?.as_str() {
            "sandbox" => None,
            name => Some(
                name.parse::<PartnerName>()
                    .map_err(|_| ConfigError::Wrong {
                        name: "BILLING_PARTNER",
                        expected: "must be sandbox, stripe, or paypal".to_owned(),
                    })?,
            ),
        };
        let limits =
            ChargeLimits::of(partner, environment.parsed("CURRENCY")?).map_err(|error| {
                ConfigError::Wrong {
                    name: "CURRENCY",
                    expected: error.to_string(),
                }
            })?;
        Ok(Self { limits, tax })
    }

    /// The currency of all new orders.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.unit().currency()
    }

    /// The unit of all prices and amounts of new orders.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.limits.unit()
    }
}

/// The carrier: `CARRIER`; `own` if it is not set.
pub fn carrier(environment: Environment<'_>) -> Result<CarrierName, ConfigError> {
    let Some(name) = environment.optional("CARRIER") else {
        return Ok(CarrierName::Own);
    };
    name.parse().map_err(|_| ConfigError::Wrong {
        name: "CARRIER",
        expected: "must be own or easypost".to_owned(),
    })
}

/// Whether the customer gets mails about the parcel's delivery: `TRACKING_MAILS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackingMails {
    /// The parcel's state is recorded and shown only.
    #[default]
    Off,
    /// Each state that matters to the customer is also mailed, once for each order.
    On,
}

impl TrackingMails {
    /// Reads `TRACKING_MAILS` (`on` or `off`); `off` if it is not set.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        match environment.optional("TRACKING_MAILS").as_deref() {
            None | Some("off") => Ok(Self::Off),
            Some("on") => Ok(Self::On),
            Some(_) => Err(ConfigError::Wrong {
                name: "TRACKING_MAILS",
                expected: "must be on or off".to_owned(),
            }),
        }
    }
}

/// One scope of an access token (RFC 6749, section 3.3), without the characters that separate list
/// elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !br#""\,[]"#.contains(&byte);
        if !text.is_empty() && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be one scope: visible ASCII characters without \" \\ , [ ]")
        }
    }
}

/// How callers authenticate.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// By the claims that API Gateway's JWT authorizer has verified.
    Jwt {
        /// The scope that lets a caller act for every customer.
        backend_scope: Scope,
        /// The claim that names any other caller's customer.
        customer_claim: String,
    },
    /// No authentication: every request is the back end's. Allowed only with a local AWS.
    None,
}

impl Authentication {
    /// Reads `AUTHENTICATION` (`jwt`, the default, or `none`), `BACKEND_SCOPE`, and
    /// `CUSTOMER_CLAIM`.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        match environment.optional("AUTHENTICATION").as_deref() {
            None | Some("jwt") => Ok(Self::Jwt {
                backend_scope: environment.parsed("BACKEND_SCOPE")?,
                customer_claim: environment.required("CUSTOMER_CLAIM")?,
            }),
            Some("none") if aws_is_local(environment)? => Ok(Self::None),
            Some("none") => Err(ConfigError::Wrong {
                name: "AUTHENTICATION",
                expected: "must be jwt; none requires AWS_ENDPOINT_URL to be a loopback address"
                    .to_owned(),
            }),
            Some(_) => Err(ConfigError::Wrong {
                name: "AUTHENTICATION",
                expected: "must be jwt or none".to_owned(),
            }),
        }
    }
}

/// A different AWS endpoint: `AWS_ENDPOINT_URL`. Its per-service forms are not read.
pub fn aws_endpoint(environment: Environment<'_>) -> Result<Option<Endpoint>, ConfigError> {
    let name = "AWS_ENDPOINT_URL";
    match environment.optional(name) {
        None => Ok(None),
        Some(_) => environment.parsed(name).map(Some),
    }
}

/// Whether AWS is on loopback.
fn aws_is_local(environment: Environment<'_>) -> Result<bool, ConfigError> {
    let endpoint = aws_endpoint(environment)?;
    Ok(endpoint.is_some_and(|endpoint| endpoint.is_loopback()))
}

/// The tables' names. A function has the names of only those tables that it may use.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// `ORDERS_TABLE`
    pub orders: Option<String>,
    /// `INVOICES_TABLE`
    pub invoices: Option<String>,
    /// `EMAILS_TABLE`
    pub emails: Option<String>,
    /// `IDEMPOTENCY_TABLE`
    pub idempotency: Option<String>,
    /// `CUSTOMERS_TABLE`
    pub customers: Option<String>,
}

impl Tables {
    /// Reads the five names, each optional.
    #[must_use]
    pub fn from_environment(environment: Environment<'_>) -> Self {
        Self {
            orders: environment.optional("ORDERS_TABLE"),
            invoices: environment.optional("INVOICES_TABLE"),
            emails: environment.optional("EMAILS_TABLE"),
            idempotency: environment.optional("IDEMPOTENCY_TABLE"),
            customers: environment.optional("CUSTOMERS_TABLE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(rate: &str, mode: &str, currency: &str) -> Result<Shop, ConfigError> {
        shop_at("sandbox", rate, mode, currency)
    }

    fn shop_at(partner: &str, rate: &str, mode: &str, currency: &str) -> Result<Shop, ConfigError> {
        let read = |name: &str| {
            Some(match name {
                "TAX_RATE" => rate.to_owned(),
                "TAX_MODE" => mode.to_owned(),
                "BILLING_PARTNER" => partner.to_owned(),
                _ => currency.to_owned(),
            })
        };
        Shop::from_environment(Environment::new(&read))
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_may_be() {
        assert!(shop("0.18", "of-total", "USD").is_ok());
        for (result, name) in [
            (shop("18", "of-total", "USD"), "TAX_RATE"),
            (shop("x", "of-total", "USD"), "TAX_RATE"),
            (shop("0.18", "gross", "USD"), "TAX_MODE"),
            (shop("0.18", "added", "usd"), "CURRENCY"),
        ] {
            assert!(
                matches!(&result, Err(ConfigError::Wrong { name: wrong, .. }) if *wrong == name),
                "{result:?}"
            );
        }
        assert_eq!(
            shop("", "added", "USD").unwrap_err(),
            ConfigError::Missing("TAX_RATE")
        );
    }

    #[test]
    fn the_parcels_way_is_mailed_only_where_the_shop_turns_it_on() {
        let read = |value: Option<&str>| {
            let value = value.map(str::to_owned);
            let read = move |_: &str| value.clone();
            TrackingMails::from_environment(Environment::new(&read))
        };
        for (value, expected) in [
            (None, TrackingMails::Off),
            (Some(""), TrackingMails::Off),
            (Some("off"), TrackingMails::Off),
            (Some("on"), TrackingMails::On),
        ] {
            assert_eq!(read(value), Ok(expected), "{value:?}");
        }
        for wrong in ["ON", "yes", "true", "1", " on"] {
            let error = read(Some(wrong)).unwrap_err();
            assert!(
                matches!(&error, ConfigError::Wrong { name, .. } if *name == "TRACKING_MAILS"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_currency_that_the_billing_partner_does_not_charge_stops_the_start() {
        for (partner, currency, starts) in [
            ("sandbox", "IQD", true),
            ("stripe", "KWD", true),
            ("stripe", "IQD", false),
            ("stripe", "CLF", false),
            ("stripe", "IRR", false),
            ("paypal", "HUF", true),
            ("paypal", "KWD", false),
            ("paypal", "INR", false),
        ] {
            let started = shop_at(partner, "0.18", "added", currency);
            assert_eq!(started.is_ok(), starts, "{partner} {currency}");
            let Err(error) = started else { continue };
            assert!(
                matches!(&error, ConfigError::Wrong { name, .. } if *name == "CURRENCY"),
                "{error}"
            );
            let text = error.to_string();
            assert!(text.contains(partner) && text.contains(currency), "{text}");
        }
        for (partner, error) in [
            ("", ConfigError::Missing("BILLING_PARTNER")),
            (
                "square",
                ConfigError::Wrong {
                    name: "BILLING_PARTNER",
                    expected: "must be sandbox, stripe, or paypal".to_owned(),
                },
            ),
        ] {
            assert_eq!(shop_at(partner, "0.18", "added", "USD").unwrap_err(), error);
        }
    }

    #[test]
    fn callers_are_only_unknown_where_the_environment_says_so_and_aws_is_on_this_machine() {
        let with = |value: Option<&str>, endpoint: Option<&str>| {
            let (value, endpoint) = (value.map(str::to_owned), endpoint.map(str::to_owned));
            let read = move |name: &str| match name {
                "AUTHENTICATION" => value.clone(),
                "AWS_ENDPOINT_URL" => endpoint.clone(),
                _ => Some("x".to_owned()),
            };
            Authentication::from_environment(Environment::new(&read))
        };
        let here = Some("http://127.0.0.1:4566");
        assert!(matches!(with(None, None), Ok(Authentication::Jwt { .. })));
        assert!(matches!(with(None, here), Ok(Authentication::Jwt { .. })));
        for here in [here, Some("http://localhost:1"), Some("https://[::1]:1")] {
            let found = with(Some("none"), here);
            assert!(matches!(found, Ok(Authentication::None)), "{found:?}");
        }
        assert!(with(Some("off"), here).is_err());
        for elsewhere in [
            None,
            Some(""),
            Some("https://dynamodb.eu-central-1.amazonaws.com"),
            Some("https://127.0.0.1.example.com"),
            Some("https://0.0.0.0"),
        ] {
            let error = with(Some("none"), elsewhere).unwrap_err();
            let is_named =
                matches!(&error, ConfigError::Wrong { name, .. } if *name == "AUTHENTICATION");
            assert!(
                is_named && error.to_string().contains("loopback"),
                "{error}"
            );
        }
        for unsafe_ in ["http://10.0.0.1:4566", "http://127.0.0.1:1@example.com"] {
            let error = with(Some("none"), Some(unsafe_)).unwrap_err();
            let is_named =
                matches!(&error, ConfigError::Wrong { name, .. } if *name == "AWS_ENDPOINT_URL");
            assert!(is_named, "{error}");
        }
    }

    #[test]
    fn the_backends_scope_is_one_scope() {
        for good in [
            "orderflow/backend",
            "api://1b2c/orders.write",
            "urn:shop:backend",
            "b",
        ] {
            assert_eq!(good.parse::<Scope>().unwrap().as_str(), good);
        }
        for bad in [
            "", "a b", " a", "a\n", "[a]", "a]", "a,b", "\"a\"", "a\\", "ü", "a\u{0}",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
