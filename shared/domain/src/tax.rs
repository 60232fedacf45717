//! How tax follows from the prices.

use rust_decimal::{Decimal, RoundingStrategy};
use strum::EnumString;

use super::{Amounts, Currency, Money, OrderLines};

/// What the rate applies to.
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

/// A tax mode that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tax mode is one of of-total, included, added")]
pub struct TaxModeError;

impl TaxModeError {
    fn new(_: &str) -> Self {
        Self
    }
}

/// A tax rate outside 0 to 1.
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
    /// A policy; the rate is a fraction from 0 to 1 (0.18 is 18 %).
    pub fn new(mode: TaxMode, rate: Decimal) -> Result<Self, TaxRateError> {
        if rate < Decimal::ZERO || rate > Decimal::ONE {
            return Err(TaxRateError);
        }
        Ok(Self { mode, rate })
    }

    /// Tax, subtotal and total of `lines`: rounded once, half away from zero, to the currency's
    /// minor unit, so that subtotal + tax = total always.
    #[must_use]
    pub fn amounts(&self, lines: &OrderLines, currency: Currency) -> Amounts {
        let sum = lines.sum().decimal();
        let (sub_total, tax, total) = match self.mode {
            TaxMode::OfTotal => {
                let tax = round(sum * self.rate, currency);
                (sum - tax, tax, sum)
            }
            TaxMode::Included => {
                let tax = round(sum * self.rate / (Decimal::ONE + self.rate), currency);
                (sum - tax, tax, sum)
            }
            TaxMode::Added => {
                let tax = round(sum * self.rate, currency);
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

fn round(value: Decimal, currency: Currency) -> Decimal {
    value.round_dp_with_strategy(
        currency.minor_digits(),
        RoundingStrategy::MidpointAwayFromZero,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Line, ProductId, Quantity};
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
            .amounts(&lines(of), "USD".parse().unwrap());
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

    #[test]
    fn a_rate_outside_zero_to_one_is_refused() {
        assert!(TaxPolicy::new(TaxMode::Added, Decimal::from(18)).is_err());
        assert!(TaxPolicy::new(TaxMode::Added, Decimal::from(-1)).is_err());
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
            let amounts = policy.amounts(&lines, currency);
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
