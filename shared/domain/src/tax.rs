//! Computes the tax from the prices.

use rust_decimal::Decimal;
use strum::EnumString;

use super::{Amounts, Money, OrderLines, Unit};

/// The amount that the rate applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case", parse_err_ty = TaxModeError, parse_err_fn = TaxModeError::new)]
pub enum TaxMode {
    /// Prices contain the tax; tax = total × rate.
    OfTotal,
    /// Prices contain the tax; tax = total × rate / (1 + rate).
    Included,
    /// Prices are net; total = net × (1 + rate).
    Added,
}

/// The tax mode does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tax mode is one of of-total, included, added")]
pub struct TaxModeError;

impl TaxModeError {
    fn new(_: &str) -> Self {
        Self
    }
}

/// The tax rate is outside 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tax rate is a decimal from 0 to 1, such as 0.18")]
pub struct TaxRateError;

/// The shop's tax rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxPolicy {
    mode: TaxMode,
    rate: Decimal,
}

impl TaxPolicy {
    /// Creates a policy; the rate is a fraction from 0 to 1 (0.18 is 18%).
    pub fn new(mode: TaxMode, rate: Decimal) -> Result<Self, TaxRateError> {
        if rate < Decimal::ZERO || rate > Decimal::ONE {
            return Err(TaxRateError);
        }
        Ok(Self { mode, rate })
    }

    /// The tax, subtotal, and total of `lines`, rounded once to `unit`, half away from zero, so
    /// that subtotal + tax = total always holds. The prices are multiples of the unit.
    #[must_use]
    pub fn amounts(&self, lines: &OrderLines, unit: Unit) -> Amounts {
        let sum = lines.sum().decimal();
        let (sub_total, tax, total) = match self.mode {
            TaxMode::OfTotal => {
                let tax = unit.round(sum * self.rate);
                (sum - tax, tax, sum)
            }
            TaxMode::Included => {
                let tax = unit.round(sum * self.rate / (Decimal::ONE + self.rate));
                (sum - tax, tax, sum)
            }
            TaxMode::Added => {
                let tax = unit.round(sum * self.rate);
                (sum, tax, sum + tax)
            }
        };
        let money =
            |value| Money::new(value).expect("a rate from 0 to 1 of a sum never exceeds that sum");
        Amounts {
            sub_total: money(sub_total),
            tax: money(tax),
            total: money(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Currency, Line, ProductId, Quantity};
    use proptest::prelude::*;

    fn lines(of: &[(u32, &str)]) -> OrderLines {
        OrderLines::new(
            of.iter()
                .map(|(quantity, price)| Line {
                    product_id: ProductId::parse("1").unwrap(),
                    quantity: Quantity::new(*quantity).unwrap(),
                    price: Money::from_stored(price).unwrap(),
                })
                .collect(),
        )
        .unwrap()
    }

    fn amounts(mode: TaxMode, rate: &str, of: &[(u32, &str)]) -> [String; 3] {
        let amounts = TaxPolicy::new(mode, rate.parse().unwrap())
            .unwrap()
            .amounts(&lines(of), "USD".parse::<Currency>().unwrap().into());
        [amounts.sub_total, amounts.tax, amounts.total].map(|money| money.to_amount_text())
    }

    #[test]
    fn modes_have_the_names_of_the_parameter() {
        assert_eq!("of-total".parse(), Ok(TaxMode::OfTotal));
        assert_eq!("included".parse(), Ok(TaxMode::Included));
        assert_eq!("added".parse(), Ok(TaxMode::Added));
        assert_eq!("OfTotal".parse::<TaxMode>(), Err(TaxModeError));
    }

    #[test]
    fn the_contracts_example_is_18_percent_of_the_total() {
        assert_eq!(
            amounts(TaxMode::OfTotal, "0.18", &[(2, "50"), (1, "100")]),
            ["164.0", "36.0", "200.0"]
        );
    }

    #[test]
    fn included_and_added_tax_follow_their_formulas() {
        assert_eq!(
            amounts(TaxMode::Included, "0.25", &[(1, "125")]),
            ["100.0", "25.0", "125.0"]
        );
        assert_eq!(
            amounts(TaxMode::Added, "0.18", &[(2, "50"), (1, "100")]),
            ["200.0", "36.0", "236.0"]
        );
    }

    #[test]
    fn half_a_cent_rounds_away_from_zero_and_only_once() {
        // 3 × 0.25 × 0.18 = 0.135; rounding each line would give 0.15.
        assert_eq!(
            amounts(TaxMode::OfTotal, "0.18", &[(3, "0.25")]),
            ["0.61", "0.14", "0.75"]
        );
    }

    /// Other plausible ways to compute the tax.
    #[derive(Clone, Copy, Debug)]
    enum Neighbour {
        HalfToEven,
        HalfDown,
        Truncated,
        Up,
        /// Each line is rounded separately.
        ByLine,
        /// Rounded to one more decimal first, and then to the unit.
        Twice,
        /// The subtotal is rounded, and the tax is the rest.
        BySubtotal,
    }

    impl Neighbour {
        const ALL: [Self; 7] = [
            Self::HalfToEven,
            Self::HalfDown,
            Self::Truncated,
            Self::Up,
            Self::ByLine,
            Self::Twice,
            Self::BySubtotal,
        ];

        fn tax(self, mode: TaxMode, rate: Decimal, lines: &OrderLines, unit: Unit) -> Decimal {
            use rust_decimal::RoundingStrategy::{
                MidpointAwayFromZero, MidpointNearestEven, MidpointTowardZero, ToPositiveInfinity,
                ToZero,
            };
            let exact = |sum: Decimal| match mode {
                TaxMode::OfTotal | TaxMode::Added => sum * rate,
                TaxMode::Included => sum * rate / (Decimal::ONE + rate),
            };
            let sum = lines.sum().decimal();
            let decimals = unit.decimals();
            let by = |strategy| exact(sum).round_dp_with_strategy(decimals, strategy);
            match self {
                Self::HalfToEven => by(MidpointNearestEven),
                Self::HalfDown => by(MidpointTowardZero),
                Self::Truncated => by(ToZero),
                Self::Up => by(ToPositiveInfinity),
                Self::ByLine => lines
                    .iter()
                    .map(|line| unit.round(exact(line.total().decimal())))
                    .sum(),
                Self::Twice => {
                    let first =
                        exact(sum).round_dp_with_strategy(decimals + 1, MidpointAwayFromZero);
                    unit.round(first)
                }
                Self::BySubtotal => sum - unit.round(sum - exact(sum)),
            }
        }
    }

    /// Without such a row, another rule could replace the contract's rule unnoticed.
    #[test]
    fn each_mode_and_unit_has_amounts_at_which_any_other_rule_gives_another_tax() {
        // In hundredths of 100 units: 25 is 0.25 USD, 25 JPY, and 0.025 KWD.
        let sales: [(TaxMode, &str, &[i64], i64); 10] = [
            (TaxMode::OfTotal, "0.18", &[25], 5),
            (TaxMode::OfTotal, "0.18", &[25, 25, 25], 14),
            (TaxMode::OfTotal, "0.18", &[47], 8),
            (TaxMode::Included, "0.6", &[12], 5),
            (TaxMode::Included, "0.6", &[12, 12, 12], 14),
            (TaxMode::Included, "0.18", &[3], 0),
            (TaxMode::Added, "0.18", &[25], 5),
            (TaxMode::Added, "0.18", &[25, 25, 25], 14),
            (TaxMode::Added, "0.18", &[47], 8),
            (TaxMode::Added, "0.18", &[50], 9),
        ];
        // The last three are units of partners that charge coarser amounts than the minor unit.
        for (code, decimals) in [
            ("USD", 2),
            ("JPY", 0),
            ("KWD", 3),
            ("KWD", 2),
            ("HUF", 0),
            ("MGA", 0),
        ] {
            let unit = Unit::of(code.parse().unwrap(), decimals);
            for mode in [TaxMode::OfTotal, TaxMode::Included, TaxMode::Added] {
                let mut untold: Vec<_> = Neighbour::ALL.to_vec();
                for (_, rate, prices, expected) in sales.iter().filter(|sale| sale.0 == mode) {
                    let prices = prices.iter().map(|price| Decimal::new(*price, decimals));
                    let prices: Vec<_> = prices.map(|price| price.to_string()).collect();
                    let prices: Vec<_> = prices.iter().map(|price| (1, price.as_str())).collect();
                    let (lines, rate) = (lines(&prices), rate.parse().unwrap());
                    let tax = TaxPolicy::new(mode, rate)
                        .unwrap()
                        .amounts(&lines, unit)
                        .tax;
                    let expected = Decimal::new(*expected, decimals);
                    assert_eq!(tax.decimal(), expected, "{unit} {mode:?} {prices:?}");
                    untold.retain(|rule| rule.tax(mode, rate, &lines, unit) == expected);
                }
                assert!(untold.is_empty(), "{unit} {mode:?}: {untold:?}");
            }
        }
    }

    /// Rounding to the currency's minor unit first gives another amount.
    #[test]
    fn tax_is_rounded_once_to_the_partners_unit_and_not_to_the_minor_unit_before() {
        let cents = Unit::of("KWD".parse().unwrap(), 2);
        let policy = TaxPolicy::new(TaxMode::Added, "0.18".parse().unwrap()).unwrap();
        let amounts = policy.amounts(&lines(&[(1, "0.47")]), cents);
        assert_eq!(
            amounts.tax.to_text(),
            "0.08",
            "0.0846, by way of 0.085 it were 0.09"
        );
        assert_eq!(amounts.total.to_text(), "0.55");
    }

    #[test]
    fn a_rate_outside_zero_to_one_is_refused() {
        for (rate, is_valid) in [
            ("0", true),
            ("1", true),
            ("1.000001", false),
            ("-0.000001", false),
            ("18", false),
        ] {
            let policy = TaxPolicy::new(TaxMode::Added, rate.parse().unwrap());
            assert_eq!(policy.is_ok(), is_valid, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn subtotal_plus_tax_is_the_total_and_nothing_is_negative(
            lines in prop::collection::vec((1u32..=10_000, 0i64..=1_000_000_000_000), 1..=100),
            rate in 0i64..=10_000,
            mode in prop::sample::select(vec![TaxMode::OfTotal, TaxMode::Included, TaxMode::Added]),
            code in prop::sample::select(vec!["USD", "JPY", "KWD"]),
        ) {
            let currency: Currency = code.parse().unwrap();
            let lines = OrderLines::new(lines.into_iter().map(|(quantity, minor)| Line {
                product_id: ProductId::parse("p").unwrap(),
                quantity: Quantity::new(quantity).unwrap(),
                price: Money::new(Decimal::new(minor, currency.minor_digits()))
                    .unwrap()
                    .min(Money::MAX_PRICE),
            }).collect()).unwrap();
            let policy = TaxPolicy::new(mode, Decimal::new(rate, 4)).unwrap();
            let amounts = policy.amounts(&lines, currency.into());
            prop_assert_eq!(
                amounts.sub_total.decimal() + amounts.tax.decimal(),
                amounts.total.decimal()
            );
            for amount in [amounts.sub_total, amounts.tax, amounts.total] {
                prop_assert!(amount >= Money::ZERO);
                prop_assert!(amount.decimal().scale() <= currency.minor_digits());
                prop_assert!(amount <= Money::MAX_AMOUNT);
            }
        }
    }
}
