//! Numbers, compared by value.

use rust_decimal::Decimal;

/// A JSON number (RFC 8259, section 6) without its notation: `2`, `2.0`, and `20e-1` are one value.
///
/// ```
/// use domain::ExactNumber;
///
/// assert_eq!(ExactNumber::parse("20e-1"), ExactNumber::parse("2.0"));
/// assert_eq!(ExactNumber::parse("2.5").and_then(|number| number.to_whole()), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactNumber {
    is_negative: bool,
    /// Without leading or trailing zeros; empty for zero.
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

/// Every decimal with this many digits fits.
const MAX_DIGITS: usize = 28;

/// The highest exponent, in absolute value, that is told from higher ones. No body can hold a
/// number with that many digits.
const MAX_EXPONENT: i64 = 1_000_000_000_000_000;

impl ExactNumber {
    /// Parses a JSON number. Time and memory depend on the length of the text only, not on the
    /// exponent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_decimal(whole) || !is_decimal(fraction) {
            return None;
        }
        let written = format!("{whole}{fraction}");
        let significant = written.trim_end_matches('0');
        let zeros = written.len() - significant.len();
        let digits = significant.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self {
                is_negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        Some(Self {
            is_negative,
            digits: digits.to_owned(),
            exponent: exponent + length(zeros) - length(fraction.len()),
        })
    }

    /// Whether the value is below zero; `-0` is not.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// The number of decimals that the value needs.
    #[must_use]
    pub fn decimals(&self) -> u64 {
        self.exponent.min(0).unsigned_abs()
    }

    /// The value as a decimal. Returns `None` if it does not fit in 28 digits.
    #[must_use]
    pub fn to_decimal(&self) -> Option<Decimal> {
        let zeros = usize::try_from(self.exponent).unwrap_or_default();
        let scale = u32::try_from(self.decimals()).ok()?;
        if self.digits.is_empty() {
            return Some(Decimal::ZERO);
        }
        if self.digits.len().checked_add(zeros)? > MAX_DIGITS {
            return None;
        }
        let mantissa: i128 = format!("{}{}", self.digits, "0".repeat(zeros))
            .parse()
            .ok()?;
        let signed = if self.is_negative {
            -mantissa
        } else {
            mantissa
        };
        Decimal::try_from_i128_with_scale(signed, scale).ok()
    }

    /// The value as a whole number of zero or more. Returns `None` for any other value.
    #[must_use]
    pub fn to_whole(&self) -> Option<u64> {
        if self.is_negative || self.exponent < 0 {
            return None;
        }
        u64::try_from(self.to_decimal()?).ok()
    }

    /// One canonical text for each value: a plain decimal (`200`, `19.99`) if it has at most 28
    /// digits on either side of the point, otherwise digits and an exponent.
    #[must_use]
    pub fn to_text(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let places = usize::try_from(self.exponent.unsigned_abs()).unwrap_or(usize::MAX);
        if places > MAX_DIGITS || self.digits.len() > MAX_DIGITS {
            return format!("{sign}{}e{}", self.digits, self.exponent);
        }
        if self.exponent >= 0 {
            return format!("{sign}{}{}", self.digits, "0".repeat(places));
        }
        let padded = format!("{:0>width$}", self.digits, width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        format!("{sign}{whole}.{fraction}")
    }
}

/// Parses an exponent and clamps it to [`MAX_EXPONENT`].
fn parse_exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) if text.starts_with('-') => (-1, digits),
        Some(digits) => (1, digits),
        None => (1, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    let exponent = match significant.len() {
        0 => 0,
        1..=15 => significant.parse().ok()?,
        _ => MAX_EXPONENT,
    };
    Some(sign * exponent)
}

fn length(count: usize) -> i64 {
    i64::try_from(count).expect("a text is shorter than 2^63 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> ExactNumber {
        ExactNumber::parse(text).unwrap()
    }

    #[test]
    fn a_value_has_one_form_whatever_its_notation() {
        for (same, form) in [
            (&["2", "2.0", "2e0", "20e-1", "0.2E+1", "2.000"][..], "2"),
            (&["200", "200.0", "2e2", "2E+02", "0.002e5"], "200"),
            (&["19.9", "19.90", "199e-1"], "19.9"),
            (&["-0.5", "-5e-1"], "-0.5"),
            (&["0", "-0", "0.0", "0e400", "-0e-999999999999999999"], "0"),
            (&["1e400", "10e399"], "1e400"),
        ] {
            for text in same {
                assert_eq!(number(text), number(same[0]), "{text}");
                assert_eq!(number(text).to_text(), form, "{text}");
            }
        }
        for other in [
            "", "-", ".5", "5.", "1e", "1e+", "e5", "1_0", "+1", " 1", "NaN", "1.5.2",
        ] {
            assert_eq!(ExactNumber::parse(other), None, "{other}");
        }
    }

    #[test]
    fn only_whole_numbers_are_whole() {
        for (text, whole) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("20e-1", Some(2)),
            ("2.5", None),
            ("-2", None),
            ("-0", Some(0)),
            ("1e-400", None),
            ("1e400", None),
            ("1e999999999999999999999999", None),
            ("1e-999999999999999999999999", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
        ] {
            assert_eq!(number(text).to_whole(), whole, "{text}");
        }
        let long = format!("{}e-60000", "20".to_owned() + &"0".repeat(59_999));
        assert_eq!(number(&long).to_whole(), Some(2));
    }

    proptest! {
        #[test]
        fn a_shifted_number_keeps_its_value(value in -1_000_000_000_000_i64..1_000_000_000_000, shift in 0_u32..20) {
            let plain = number(&value.to_string());
            prop_assert_eq!(&number(&format!("{value}{}e-{shift}", "0".repeat(shift as usize))), &plain);
            prop_assert_eq!(plain.to_decimal(), Some(Decimal::from(value)));
            prop_assert_eq!(plain.to_text(), value.to_string());
            let scaled = Decimal::new(value, shift);
            let exact = number(&format!("{value}e-{shift}"));
            prop_assert_eq!(exact.to_decimal(), Some(scaled));
            prop_assert_eq!(exact.to_text(), scaled.normalize().to_string());
        }
    }
}
