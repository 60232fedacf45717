//! Amounts in Stripe's units. Stripe's table differs from ISO 4217, and a wrong row is wrong by a
//! factor of a hundred.

use domain::{ChargeLimits, Currency, Money, PartnerName};
use rust_decimal::Decimal;

/// Why Stripe can never charge an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchargeable {
    /// The amount is zero.
    Nothing,
    /// The amount has more decimals than Stripe accepts in this currency.
    TooPrecise,
    /// The amount has more digits than Stripe accepts in this currency.
    TooLarge,
    /// Stripe does not charge in this currency.
    Currency,
}

impl Unchargeable {
    /// The name of the case: Stripe's own code, if there is one.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Nothing => "amount_too_small",
            Self::TooPrecise => "amount_too_precise",
            Self::TooLarge => "amount_too_large",
            Self::Currency => "currency_not_supported",
        }
    }
}

/// The amount for a count of Stripe's units of the currency.
pub(super) fn from_minor_units(minor: u64, currency: Currency) -> Option<Money> {
    let limits = ChargeLimits::of(Some(PartnerName::Stripe), currency).ok()?;
    let scale = limits.sent_decimals();
    let amount = Decimal::try_from_i128_with_scale(i128::from(minor), scale).ok()?;
    Money::new(amount).ok()
}

/// The amount in Stripe's unit of the currency.
pub(super) fn minor_units(amount: Money, currency: Currency) -> Result<u64, Unchargeable> {
    let limits = ChargeLimits::of(Some(PartnerName::Stripe), currency)
        .map_err(|_| Unchargeable::Currency)?;
    if !limits.unit().divides(amount) {
        return Err(Unchargeable::TooPrecise);
    }
    let mut sent = amount.decimal();
    sent.rescale(limits.sent_decimals());
    match u64::try_from(sent.mantissa()) {
        Ok(0) => Err(Unchargeable::Nothing),
        Ok(minor) => Ok(minor),
        Err(_) => Err(Unchargeable::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(amount: &str, currency: &str) -> Result<u64, Unchargeable> {
        let amount = Money::from_stored(amount).unwrap();
        minor_units(amount, currency.parse().unwrap())
    }

    #[test]
    fn amounts_are_sent_in_the_unit_that_stripe_counts_in() {
        for (amount, currency, sent) in [
            ("200", "USD", 20_000),
            ("19.9", "USD", 1_990),
            ("0.5", "EUR", 50),
            ("200", "JPY", 200),
            ("19", "MGA", 19),
            ("700", "XPF", 700),
            ("5", "ISK", 500),
            ("5", "UGX", 500),
            ("175", "HUF", 17_500),
            ("5.12", "KWD", 5_120),
            ("5", "KWD", 5_000),
            ("10000000000000000", "KWD", 10_000_000_000_000_000_000),
        ] {
            assert_eq!(minor(amount, currency), Ok(sent), "{amount} {currency}");
        }
    }

    #[test]
    fn an_amount_that_stripe_cannot_take_is_never_rounded() {
        for (amount, currency, why) in [
            ("5.124", "KWD", Unchargeable::TooPrecise),
            ("0.001", "TND", Unchargeable::TooPrecise),
            ("19.9", "MGA", Unchargeable::TooPrecise),
            ("0", "USD", Unchargeable::Nothing),
            ("0", "ISK", Unchargeable::Nothing),
            ("5", "IQD", Unchargeable::Currency),
            ("5", "LYD", Unchargeable::Currency),
            ("1000000000000000000000", "USD", Unchargeable::TooLarge),
        ] {
            assert_eq!(minor(amount, currency), Err(why), "{amount} {currency}");
        }
    }
}
