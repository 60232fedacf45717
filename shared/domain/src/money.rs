//! Exact amounts of money.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};

use super::ExactNumber;

/// The shop's currency: its ISO 4217 code and the number of decimals of its minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: [u8; 3],
    minor_digits: u32,
}

/// The code does not name a currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the ISO 4217 code of a currency in use, such as USD")]
pub struct CurrencyError;

impl Currency {
    /// The ISO 4217 code.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).expect("a currency is built from ASCII letters only")
    }

    /// The number of decimals of the minor unit: 0, 2, 3, or 4.
    #[must_use]
    pub fn minor_digits(&self) -> u32 {
        self.minor_digits
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(code: &str) -> Result<Self, CurrencyError> {
        // Metals, test codes, and similar entries have no minor unit.
        let listed = iso_currency::Currency::from_code(code).ok_or(CurrencyError)?;
        let minor_digits = listed.exponent().ok_or(CurrencyError)?;
        Ok(Self {
            code: code.as_bytes().try_into().map_err(|_| CurrencyError)?,
            minor_digits: minor_digits.into(),
        })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The smallest amount that amounts are counted in: a currency's minor unit, or a coarser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    currency: Currency,
    decimals: u32,
}

impl Unit {
    /// The unit with that many decimals, but never finer than the currency's minor unit.
    #[must_use]
    pub fn of(currency: Currency, decimals: u32) -> Self {
        let decimals = decimals.min(currency.minor_digits());
        Self { currency, decimals }
    }

    /// Its currency.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The maximum number of decimals of an amount.
    #[must_use]
    pub fn decimals(&self) -> u32 {
        self.decimals
    }

    /// One unit.
    #[must_use]
    pub fn amount(&self) -> Money {
        Money(Decimal::new(1, self.decimals))
    }

    /// Whether the amount is a multiple of the unit.
    #[must_use]
    pub fn divides(&self, amount: Money) -> bool {
        amount.0.normalize().scale() <= self.decimals
    }

    /// The nearest multiple of the unit. Half a unit is rounded away from zero.
    #[must_use]
    pub fn round(&self, value: Decimal) -> Decimal {
        value.round_dp_with_strategy(self.decimals, RoundingStrategy::MidpointAwayFromZero)
    }
}

impl From<Currency> for Unit {
    fn from(currency: Currency) -> Self {
        Self::of(currency, currency.minor_digits())
    }
}

/// Formats the unit as a price: `0.01 USD`, `1 JPY`.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency)
    }
}

/// An amount of money: exact, never negative, in units of the currency (not minor units).
///
/// Trailing zeros carry no meaning: `19.90` and `19.9` are the same value.
///
/// ```
/// use domain::{Currency, Money, MoneyError};
///
/// let dollars: Currency = "USD".parse()?;
/// let price = Money::parse("19.90", dollars, Money::MAX_PRICE)?;
/// assert_eq!(price, Money::from_stored("19.9")?);
/// assert_eq!(price.to_text(), "19.9");
///
/// // An amount is never rounded.
/// let refused = Money::parse("19.905", dollars, Money::MAX_PRICE);
/// assert_eq!(refused, Err(MoneyError::TooPrecise { unit: dollars.into() }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(Decimal);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is not a JSON number, or it is a stored one that does not fit in 28 digits.
    #[error("is not a decimal number of at most 28 digits")]
    NotADecimal,
    /// It is below zero.
    #[error("must not be negative")]
    Negative,
    /// It is not a multiple of the unit.
    #[error("must be a multiple of {unit}, the smallest unit that can be charged")]
    TooPrecise {
        /// The unit that amounts are counted in.
        unit: Unit,
    },
    /// It is above the limit.
    #[error("is more than {limit}")]
    TooLarge {
        /// The largest amount allowed.
        limit: Money,
    },
}

/// A computed amount fell below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount cannot be negative")]
pub struct SignedAmountError;

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The highest price of one item: 1,000,000,000.
    pub const MAX_PRICE: Self = Self(Decimal::from_parts(1_000_000_000, 0, 0, false, 0));

    /// The highest sum: 10,000,000,000,000,000. It is more than 100 lines of 10,000 items can cost
    /// with tax, and small enough that every amount is exact to three decimals.
    pub const MAX_AMOUNT: Self = Self(Decimal::from_parts(1_874_919_424, 2_328_306, 0, false, 0));

    /// Parses the text of a JSON number (`50`, `19.90`, `2e3`) as an amount in `unit` of at most
    /// `limit`. More decimals than the unit has are an error and are never rounded.
    pub fn parse(text: &str, unit: impl Into<Unit>, limit: Self) -> Result<Self, MoneyError> {
        let unit = unit.into();
        let number = ExactNumber::parse(text).ok_or(MoneyError::NotADecimal)?;
        if number.is_negative() {
            return Err(MoneyError::Negative);
        }
        if number.decimals() > u64::from(unit.decimals()) {
            return Err(MoneyError::TooPrecise { unit });
        }
        match number.to_decimal() {
            Some(value) if value <= limit.0 => Ok(Self(value)),
            _ => Err(MoneyError::TooLarge { limit }),
        }
    }

    /// Reads the output of [`Money::to_text`].
    pub fn from_stored(text: &str) -> Result<Self, MoneyError> {
        let value = Decimal::from_str_exact(text).map_err(|_| MoneyError::NotADecimal)?;
        Self::new(value).map_err(|SignedAmountError| MoneyError::Negative)
    }

    /// An amount from a computed decimal.
    pub fn new(value: Decimal) -> Result<Self, SignedAmountError> {
        if value.is_sign_negative() && !value.is_zero() {
            return Err(SignedAmountError);
        }
        Ok(Self(value.normalize().abs()))
    }

    /// The amount as a decimal.
    #[must_use]
    pub fn decimal(&self) -> Decimal {
        self.0
    }

    /// The shortest exact form: `50`, `19.9`, `19.99`. It is also the stored form.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.to_string()
    }

    /// With at least one decimal, as computed amounts appear in answers: `36.0`, `19.99`.
    #[must_use]
    pub fn to_amount_text(&self) -> String {
        if self.0.scale() == 0 {
            format!("{}.0", self.0)
        } else {
            self.0.to_string()
        }
    }

    /// With the currency's decimals, for people: `36.00`, or `3600` in a currency without decimals.
    #[must_use]
    pub fn to_display_text(&self, currency: Currency) -> String {
        let mut value = self.0;
        value.rescale(currency.minor_digits());
        value.to_string()
    }

    /// [`Money::to_text`] as a JSON number.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Number {
        number(&self.to_text())
    }

    /// [`Money::to_amount_text`] as a JSON number.
    #[must_use]
    pub fn to_amount_json(&self) -> serde_json::Number {
        number(&self.to_amount_text())
    }
}

fn number(text: &str) -> serde_json::Number {
    text.parse()
        .expect("a decimal's digits with an optional point are a JSON number")
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    #[test]
    fn a_currency_is_one_of_iso_4217_with_its_own_minor_unit() {
        for (code, minor_digits) in [
            ("USD", 2),
            ("EUR", 2),
            ("HUF", 2),
            ("TWD", 2),
            ("MGA", 2),
            ("JPY", 0),
            ("ISK", 0),
            ("UGX", 0),
            ("XPF", 0),
            ("KWD", 3),
            ("LYD", 3),
            ("TND", 3),
            ("CLF", 4),
        ] {
            let currency: Currency = code.parse().unwrap();
            assert_eq!(
                (currency.code(), currency.minor_digits()),
                (code, minor_digits)
            );
        }
        for code in [
            "ABC",
            "usd",
            "US",
            "USDX",
            "",
            "XXX",
            "XTS",
            "XAU",
            "978",
            "U\u{15a}D",
        ] {
            assert_eq!(code.parse::<Currency>(), Err(CurrencyError), "{code}");
        }
    }

    #[test]
    fn largest_amounts_are_what_their_names_say() {
        assert_eq!(Money::MAX_PRICE.to_text(), "1000000000");
        assert_eq!(Money::MAX_AMOUNT.to_text(), "10000000000000000");
    }

    #[test]
    fn more_decimals_than_the_currency_has_are_refused_not_rounded() {
        let kwd: Currency = "KWD".parse().unwrap();
        let jpy: Currency = "JPY".parse().unwrap();
        let price = |text, currency: Currency| Money::parse(text, currency, Money::MAX_PRICE);
        assert_eq!(
            price("1.999", usd()),
            Err(MoneyError::TooPrecise { unit: usd().into() })
        );
        assert_eq!(price("1.999", kwd).unwrap().to_text(), "1.999");
        assert_eq!(
            price("1.5", jpy),
            Err(MoneyError::TooPrecise { unit: jpy.into() })
        );
        assert_eq!(price("1.500", usd()).unwrap().to_text(), "1.5");
    }

    #[test]
    fn exponents_zeros_and_limits_are_read_exactly() {
        let price = |text| Money::parse(text, usd(), Money::MAX_PRICE);
        assert_eq!(price("2e3").unwrap().to_text(), "2000");
        assert_eq!(price("199E-1").unwrap().to_text(), "19.9");
        assert_eq!(price("-0").unwrap(), Money::ZERO);
        assert_eq!(price("-0.01"), Err(MoneyError::Negative));
        assert_eq!(price("0e400").unwrap(), Money::ZERO);
        let long = format!("1.{}e0", "0".repeat(60));
        let read = Money::parse(&long, usd(), Money::MAX_PRICE).unwrap();
        assert_eq!(read.to_text(), "1");
        assert_eq!(
            price("1e-400"),
            Err(MoneyError::TooPrecise { unit: usd().into() })
        );
        assert_eq!(price("1,5"), Err(MoneyError::NotADecimal));
        assert!(matches!(price("1e400"), Err(MoneyError::TooLarge { .. })));
        assert_eq!(price("1000000000").unwrap(), Money::MAX_PRICE);
        assert!(matches!(
            price("1000000000.01"),
            Err(MoneyError::TooLarge { .. })
        ));
    }

    #[test]
    fn amounts_print_as_the_contract_shows_them() {
        let money = |text| Money::from_stored(text).unwrap();
        assert_eq!(money("36").to_amount_text(), "36.0");
        assert_eq!(money("19.99").to_amount_text(), "19.99");
        assert_eq!(money("19.90").to_text(), "19.9");
        assert_eq!(money("19.9").to_display_text(usd()), "19.90");
        assert_eq!(money("36").to_amount_json().to_string(), "36.0");
    }

    proptest! {
        #[test]
        fn amounts_of_18_digits_survive_json_and_storage(minor in 0u64..1_000_000_000_000_000_000) {
            let money = Money::new(Decimal::from_i128_with_scale(i128::from(minor), 2)).unwrap();
            let json = serde_json::to_string(&money.to_amount_json()).unwrap();
            let back: serde_json::Number = serde_json::from_str(&json).unwrap();
            let limit = Money::new(Decimal::from(u64::MAX)).unwrap();
            prop_assert_eq!(Money::parse(back.as_str(), usd(), limit), Ok(money));
            prop_assert_eq!(Money::from_stored(&money.to_text()), Ok(money));
        }
    }
}
