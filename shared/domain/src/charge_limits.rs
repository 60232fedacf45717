//! The unit, the minimum, and the maximum of what a billing partner charges in a currency.
//!
//! The clients, their doubles, and the tests share these tables. Where a partner publishes two
//! limits for the same thing, the stricter one is used.

use rust_decimal::Decimal;

use super::{Currency, Money, PartnerName, Unit};

/// A partner's limits for one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeLimits {
    unit: Unit,
    sent_decimals: u32,
    minimum: Money,
    maximum: Money,
}

/// The partner does not charge in the currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{partner} does not charge in {currency}; choose a currency that it supports, or another billing partner"
)]
pub struct UnsupportedCurrency {
    /// The billing partner.
    pub partner: PartnerName,
    /// The currency.
    pub currency: Currency,
}

/// The reason why a partner can never charge a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchargeable {
    /// It is not a multiple of the unit.
    #[error(
        "the total is not a multiple of {0}, the smallest unit that can be charged; update the cart"
    )]
    TooPrecise(Unit),
    /// It is above 0 and below the minimum.
    #[error(
        "the total is below the billing partner's minimum of {}; add items to the cart",
        text(minimum, *currency)
    )]
    BelowMinimum {
        /// The smallest amount that the partner charges.
        minimum: Money,
        /// The currency of the minimum.
        currency: Currency,
    },
    /// It is above the maximum.
    #[error(
        "the total is above the billing partner's maximum of {}; split the cart into several orders",
        text(maximum, *currency)
    )]
    AboveMaximum {
        /// The largest amount that the partner charges.
        maximum: Money,
        /// The currency of the maximum.
        currency: Currency,
    },
}

fn text(amount: &Money, currency: Currency) -> String {
    format!("{} {currency}", amount.to_display_text(currency))
}

impl Unchargeable {
    /// The name of the case: Stripe's published error code, where one exists.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooPrecise(_) => "amount_too_precise",
            Self::BelowMinimum { .. } => "amount_too_small",
            Self::AboveMaximum { .. } => "amount_too_large",
        }
    }
}

impl ChargeLimits {
    /// The limits of `partner` in `currency`. `None` stands for the sandbox, which charges any
    /// amount.
    pub fn of(
        partner: Option<PartnerName>,
        currency: Currency,
    ) -> Result<Self, UnsupportedCurrency> {
        let limits = match partner {
            None | Some(PartnerName::Sandbox) => Some(Self::sandbox(currency)),
            Some(PartnerName::Stripe) => Self::stripe(currency),
            Some(PartnerName::PayPal) => Self::paypal(currency),
        };
        match (limits, partner) {
            (Some(limits), _) => Ok(limits),
            (None, Some(partner)) => Err(UnsupportedCurrency { partner, currency }),
            (None, None) => Ok(Self::sandbox(currency)),
        }
    }

    fn sandbox(currency: Currency) -> Self {
        Self {
            unit: currency.into(),
            sent_decimals: currency.minor_digits(),
            minimum: Money::ZERO,
            maximum: Money::MAX_AMOUNT,
        }
    }

    fn stripe(currency: Currency) -> Option<Self> {
        let code = currency.code();
        // How many decimals are sent, and how many of them may be non-zero.
        let (sent_decimals, decimals) = if STRIPE_WHOLE.contains(&code) {
            (0, 0)
        } else if STRIPE_WHOLE_IN_HUNDREDTHS.contains(&code) {
            (2, 0)
        } else if STRIPE_THOUSANDTHS.contains(&code) {
            (3, 2)
        } else if STRIPE_HUNDREDTHS.contains(&code) {
            (2, 2)
        } else {
            return None;
        };
        let unit = Unit::of(currency, decimals);
        let listed = STRIPE_MINIMA.iter().find(|(each, _)| *each == code);
        let minimum = listed.map_or(unit.amount(), |(_, hundredths)| {
            money(Decimal::new(*hundredths, 2))
        });
        let listed = STRIPE_DIGITS.iter().find(|(each, _)| *each == code);
        let digits = listed.map_or(8, |(_, digits)| *digits);
        // In the unit that is sent: 999,999.99 USD, 99,999,999 JPY, 99,999.99 KWD.
        let most = Decimal::new(10_i64.pow(digits) - 1, sent_decimals);
        Some(Self {
            unit,
            sent_decimals,
            minimum,
            maximum: money(most.trunc_with_scale(unit.decimals())),
        })
    }

    fn paypal(currency: Currency) -> Option<Self> {
        let code = currency.code();
        let decimals = if PAYPAL_WHOLE.contains(&code) {
            0
        } else if PAYPAL_HUNDREDTHS.contains(&code) {
            2
        } else {
            return None;
        };
        let unit = Unit::of(currency, decimals);
        Some(Self {
            unit,
            sent_decimals: decimals,
            minimum: unit.amount(),
            maximum: money(PAYPAL_MAXIMUM.trunc_with_scale(unit.decimals())),
        })
    }

    /// The unit of all amounts: the coarser of the currency's minor unit and the partner's unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The number of decimals in the partner's API. It may be more than the unit has.
    #[must_use]
    pub fn sent_decimals(&self) -> u32 {
        self.sent_decimals
    }

    /// The smallest amount above zero that the partner charges. Stripe's minimum is that of an
    /// account whose payouts are in this currency.
    #[must_use]
    pub fn minimum(&self) -> Money {
        self.minimum
    }

    /// The largest amount that the partner charges.
    #[must_use]
    pub fn maximum(&self) -> Money {
        self.maximum
    }

    /// Checks a total before it is charged. A total of 0 is never charged and therefore always
    /// passes.
    pub fn check(&self, total: Money) -> Result<(), Unchargeable> {
        let currency = self.unit.currency();
        let (minimum, maximum) = (self.minimum, self.maximum);
        if total == Money::ZERO {
            Ok(())
        } else if !self.unit.divides(total) {
            Err(Unchargeable::TooPrecise(self.unit))
        } else if total < minimum {
            Err(Unchargeable::BelowMinimum { minimum, currency })
        } else if total > maximum {
            Err(Unchargeable::AboveMaximum { maximum, currency })
        } else {
            Ok(())
        }
    }
}

fn money(value: Decimal) -> Money {
    Money::new(value).expect("a limit is not negative")
}

/// Stripe, "Zero-decimal currencies": charged in whole units, even where ISO 4217 defines a smaller
/// one (MGA).
const STRIPE_WHOLE: [&str; 15] = [
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
    "XOF", "XPF",
];

/// Stripe, "Special cases": charged in whole units, sent in hundredths. 5 ISK are sent as 500.
const STRIPE_WHOLE_IN_HUNDREDTHS: [&str; 2] = ["ISK", "UGX"];

/// Stripe, "Three-decimal currencies": sent in thousandths, of which the last digit must be 0.
const STRIPE_THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// Stripe, "Supported presentment currencies": all others, in hundredths.
#[rustfmt::skip]
const STRIPE_HUNDREDTHS: [&str; 116] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN",
    "BMD", "BND", "BOB", "BRL", "BSD", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC",
    "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GIP", "GMD",
    "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "JMD", "KES", "KGS", "KHR", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MKD", "MMK", "MNT", "MOP", "MUR", "MVR",
    "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SEK", "SGD", "SHP", "SLE", "SOS",
    "SRD", "SZL", "THB", "TJS", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "UYU", "UZS",
    "WST", "XCD", "XCG", "YER", "ZAR", "ZMW",
];

/// Stripe, "Minimum charge amount by currency", in hundredths. Any other currency is converted, and
/// only Stripe knows at which rate.
#[rustfmt::skip]
const STRIPE_MINIMA: [(&str, i64); 32] = [
    ("AED", 200), ("ARS", 50), ("AUD", 50), ("BGN", 100), ("BRL", 50), ("CAD", 50), ("CHF", 50),
    ("COP", 50), ("CZK", 1_500), ("DKK", 250), ("EUR", 50), ("GBP", 30), ("HKD", 400),
    ("HUF", 17_500), ("IDR", 50), ("ILS", 50), ("INR", 50), ("JPY", 5_000), ("KRW", 5_000),
    ("MXN", 1_000), ("MYR", 200), ("NOK", 300), ("NZD", 50), ("PHP", 50), ("PLN", 200), ("RON", 200),
    ("RUB", 50), ("SEK", 300), ("SGD", 50), ("THB", 1_000), ("USD", 50), ("ZAR", 50),
];

/// Stripe, "Minimum and maximum charge amounts": the maximum number of digits, where it is not 8.
/// The page now allows 12 digits for cards of most networks; the API reference of a `PaymentIntent`
/// does not.
const STRIPE_DIGITS: [(&str, u32); 6] = [
    ("COP", 12),
    ("HUF", 12),
    ("IDR", 12),
    ("INR", 9),
    ("JPY", 10),
    ("LBP", 12),
];

/// PayPal, "Currency codes": those that have no decimals.
const PAYPAL_WHOLE: [&str; 3] = ["HUF", "JPY", "TWD"];

/// PayPal, "Currency codes": all others.
#[rustfmt::skip]
const PAYPAL_HUNDREDTHS: [&str; 21] = [
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS", "MXN", "MYR", "NOK",
    "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "USD",
];

/// 9,999,999.99, from an older client library of PayPal. The newest specification of Orders v2
/// allows 15 digits before the decimal point; this constant is the stricter of the two.
const PAYPAL_MAXIMUM: Decimal = Decimal::from_parts(999_999_999, 0, 0, false, 2);

#[cfg(test)]
mod tests {
    use super::*;

    const STRIPE: Option<PartnerName> = Some(PartnerName::Stripe);
    const PAYPAL: Option<PartnerName> = Some(PartnerName::PayPal);

    fn limits(partner: Option<PartnerName>, code: &str) -> ChargeLimits {
        ChargeLimits::of(partner, code.parse().unwrap()).unwrap()
    }

    fn amount(text: &str) -> Money {
        Money::from_stored(text).unwrap()
    }

    /// Each limit as its partner's page prints it.
    #[test]
    fn the_tables_are_those_that_the_partners_publish() {
        for (partner, code, unit, sent_decimals, minimum, maximum) in [
            (STRIPE, "USD", "0.01 USD", 2, "0.5", "999999.99"),
            (STRIPE, "AED", "0.01 AED", 2, "2", "999999.99"),
            (STRIPE, "CZK", "0.01 CZK", 2, "15", "999999.99"),
            (STRIPE, "DKK", "0.01 DKK", 2, "2.5", "999999.99"),
            (STRIPE, "GBP", "0.01 GBP", 2, "0.3", "999999.99"),
            (STRIPE, "HKD", "0.01 HKD", 2, "4", "999999.99"),
            (STRIPE, "HUF", "0.01 HUF", 2, "175", "9999999999.99"),
            (STRIPE, "IDR", "0.01 IDR", 2, "0.5", "9999999999.99"),
            (STRIPE, "INR", "0.01 INR", 2, "0.5", "9999999.99"),
            (STRIPE, "TWD", "0.01 TWD", 2, "0.01", "999999.99"),
            (STRIPE, "JPY", "1 JPY", 0, "50", "9999999999"),
            (STRIPE, "KRW", "1 KRW", 0, "50", "99999999"),
            (STRIPE, "MGA", "1 MGA", 0, "1", "99999999"),
            (STRIPE, "ISK", "1 ISK", 2, "1", "999999"),
            (STRIPE, "UGX", "1 UGX", 2, "1", "999999"),
            (STRIPE, "KWD", "0.01 KWD", 3, "0.01", "99999.99"),
            (PAYPAL, "USD", "0.01 USD", 2, "0.01", "9999999.99"),
            (PAYPAL, "HUF", "1 HUF", 0, "1", "9999999"),
            (PAYPAL, "JPY", "1 JPY", 0, "1", "9999999"),
            (PAYPAL, "TWD", "1 TWD", 0, "1", "9999999"),
            (None, "KWD", "0.001 KWD", 3, "0", "10000000000000000"),
            (None, "CLF", "0.0001 CLF", 4, "0", "10000000000000000"),
        ] {
            let found = limits(partner, code);
            assert_eq!(found.unit().to_string(), unit);
            assert_eq!(found.sent_decimals(), sent_decimals, "{code}");
            assert_eq!(found.minimum(), amount(minimum), "{code}");
            assert_eq!(found.maximum(), amount(maximum), "{code}");
        }
    }

    #[test]
    fn a_currency_that_no_list_names_is_not_charged() {
        for (partner, codes) in [
            (STRIPE, ["IQD", "LYD", "CLF", "IRR", "CUP", "SYP"]),
            (PAYPAL, ["KWD", "INR", "KRW", "CLP", "ISK", "RUB"]),
        ] {
            for code in codes {
                let currency = code.parse().unwrap();
                let error = ChargeLimits::of(partner, currency).unwrap_err();
                assert_eq!((Some(error.partner), error.currency), (partner, currency));
            }
        }
    }

    #[test]
    fn every_listed_currency_is_one_and_is_listed_once() {
        let stripe = [
            STRIPE_WHOLE.as_slice(),
            &STRIPE_WHOLE_IN_HUNDREDTHS,
            &STRIPE_THOUSANDTHS,
        ];
        let stripe = [stripe.concat(), STRIPE_HUNDREDTHS.to_vec()].concat();
        let paypal = [PAYPAL_WHOLE.as_slice(), &PAYPAL_HUNDREDTHS].concat();
        for (partner, listed) in [(STRIPE, stripe), (PAYPAL, paypal)] {
            for code in &listed {
                let found = limits(partner, code);
                assert!(found.minimum() <= found.maximum(), "{code}");
                assert!(found.unit().divides(found.minimum()), "{code}");
                assert!(found.unit().divides(found.maximum()), "{code}");
                assert_eq!(
                    listed.iter().filter(|each| *each == code).count(),
                    1,
                    "{code}"
                );
            }
        }
        let limited = STRIPE_MINIMA.iter().map(|(code, _)| code);
        let limited = limited.chain(STRIPE_DIGITS.iter().map(|(code, _)| code));
        for code in limited {
            limits(STRIPE, code);
        }
    }

    #[test]
    fn each_limit_is_charged_and_one_unit_beyond_it_is_not() {
        for (partner, code) in [
            (STRIPE, "USD"),
            (STRIPE, "JPY"),
            (STRIPE, "KWD"),
            (PAYPAL, "HUF"),
        ] {
            let found = limits(partner, code);
            let currency = found.unit().currency();
            let unit = found.unit().amount().decimal();
            let (minimum, maximum) = (found.minimum(), found.maximum());
            assert_eq!(found.check(Money::ZERO), Ok(()));
            assert_eq!(found.check(minimum), Ok(()));
            assert_eq!(found.check(maximum), Ok(()));
            let above = money(maximum.decimal() + unit);
            assert_eq!(
                found.check(above),
                Err(Unchargeable::AboveMaximum { maximum, currency })
            );
            let below = money(minimum.decimal() - unit);
            if below != Money::ZERO {
                assert_eq!(
                    found.check(below),
                    Err(Unchargeable::BelowMinimum { minimum, currency })
                );
            }
            let finer = money(minimum.decimal() + unit / Decimal::TEN);
            assert_eq!(
                found.check(finer),
                Err(Unchargeable::TooPrecise(found.unit()))
            );
        }
    }

    #[test]
    fn a_refused_total_is_told_with_the_limit_and_what_to_do() {
        let usd = limits(STRIPE, "USD");
        let told = |text: &str| usd.check(amount(text)).unwrap_err().to_string();
        assert_eq!(
            told("0.3"),
            "the total is below the billing partner's minimum of 0.50 USD; add items to the cart"
        );
        assert_eq!(
            told("1000000"),
            "the total is above the billing partner's maximum of 999999.99 USD; split the cart into \
             several orders"
        );
        assert_eq!(
            told("1.125"),
            "the total is not a multiple of 0.01 USD, the smallest unit that can be charged; update \
             the cart"
        );
    }
}
