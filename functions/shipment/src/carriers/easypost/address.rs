//! From the one text that a customer writes to the fields that EasyPost wants. It has no parser for
//! such a text (its reference names none), so these rules are ours, and they never guess.
//!
//! Commas and line breaks separate parts. Read from the end:
//!
//! 1. `US`, `USA` or `United States`, if it is there, is left out.
//! 2. The ZIP code: five digits, or five and four (`11201`, `11201-1832`).
//! 3. The state: its two letters or its name.
//! 4. The city: what stands before the state in the same part, or the part before, if the state
//!    stands alone. No city has a digit in its name, so a text that does is no city alone.
//! 5. The first of the remaining parts is the street, the others are its second line.
//!
//! `17 Boulevard, Apt 6, Brooklyn, NY 11201` has all of it. The contract's own example, `17 boulevard,
//! 123 apt 6 Brooklyn NY`, has no ZIP code and no city that stands apart: it is refused, with both
//! named, and without a call. To send it as it is would leave it to chance which Brooklyn, or which
//! street, a label is bought for.

use std::fmt;

/// An address in the United States, as EasyPost wants it.
#[derive(PartialEq, Eq)]
pub(super) struct Address {
    pub(super) street1: String,
    pub(super) street2: Option<String>,
    pub(super) city: String,
    /// Two letters.
    pub(super) state: &'static str,
    pub(super) zip: String,
}

/// An address never reaches a log by accident.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// What an address must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Street,
    City,
    State,
    Zip,
}

impl Part {
    fn wanted(self) -> &'static str {
        match self {
            Self::Street => "a street",
            Self::City => "a city that stands apart from the street",
            Self::State => "a state",
            Self::Zip => "a ZIP code",
        }
    }
}

/// What a text lacks to be an address; all of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incomplete(pub(super) Vec<Part>);

/// A sentence for whoever wrote the address; it quotes nothing of it.
impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted: Vec<_> = self.0.iter().map(|part| part.wanted()).collect();
        write!(
            f,
            "must have {}; the carrier takes addresses in the United States, written like \
             `17 Boulevard, Apt 6, Brooklyn, NY 11201`",
            wanted.join(" and ")
        )
    }
}

/// Splits a text by the rules above.
pub(super) fn split(text: &str) -> Result<Address, Incomplete> {
    let mut parts: Vec<&str> = text
        .split([',', '\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    take_last(&mut parts, |part| {
        COUNTRY
            .iter()
            .find_map(|name| Some(((), without_ending(part, name)?)))
    });
    let zip = take_last(&mut parts, |part| {
        let (rest, word) = part.rsplit_once(' ').unwrap_or(("", part));
        is_zip(word).then(|| (word.to_owned(), rest.trim_end()))
    });
    let state = take_last(&mut parts, state_at_end);
    // Without a state, what stands alone may be anything.
    let is_city = |part: &str, is_alone: bool| !has_digit(part) && (state.is_some() || !is_alone);
    let city = parts.pop().filter(|part| is_city(part, parts.is_empty()));
    let (street, more) = match parts.split_first() {
        Some((first, more)) => (Some(*first), more.join(", ")),
        None => (None, String::new()),
    };
    let missing: Vec<Part> = [
        (Part::Street, street.is_none() && city.is_some()),
        (Part::City, city.is_none()),
        (Part::State, state.is_none()),
        (Part::Zip, zip.is_none()),
    ]
    .into_iter()
    .filter_map(|(part, is_missing)| is_missing.then_some(part))
    .collect();
    match (street, city, state, zip) {
        (Some(street), Some(city), Some(state), Some(zip)) => Ok(Address {
            street1: street.to_owned(),
            street2: Some(more).filter(|more| !more.is_empty()),
            city: city.to_owned(),
            state,
            zip,
        }),
        _ => Err(Incomplete(missing)),
    }
}

/// Takes something off the end of the last part, and the part with it if nothing is left.
fn take_last<'a, T>(
    parts: &mut Vec<&'a str>,
    take: impl FnOnce(&'a str) -> Option<(T, &'a str)>,
) -> Option<T> {
    let (taken, rest) = take(parts.last()?)?;
    parts.pop();
    if !rest.is_empty() {
        parts.push(rest);
    }
    Some(taken)
}

/// The text without that word or words at its end, whatever their case.
fn without_ending<'a>(text: &'a str, ending: &str) -> Option<&'a str> {
    let start = text.len().checked_sub(ending.len())?;
    let (rest, end) = (text.get(..start)?, text.get(start..)?);
    let is_word = rest.is_empty() || rest.ends_with(' ');
    (is_word && end.eq_ignore_ascii_case(ending)).then(|| rest.trim_end())
}

fn has_digit(text: &str) -> bool {
    text.chars().any(char::is_numeric)
}

/// Five digits, or five and four.
pub(super) fn is_zip(word: &str) -> bool {
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('-') {
        Some((zip, plus)) => digits(zip, 5) && digits(plus, 4),
        None => digits(word, 5),
    }
}

/// The two letters of a state, if these are its two letters or its name.
pub(super) fn state(text: &str) -> Option<&'static str> {
    state_at_end(text).and_then(|(code, rest)| rest.is_empty().then_some(code))
}

/// The state that a text ends with, and what stands before. The longest name counts: West Virginia
/// also ends with Virginia.
fn state_at_end(text: &str) -> Option<(&'static str, &str)> {
    STATES
        .iter()
        .flat_map(|(code, name)| [(*code, *code), (*code, *name)])
        .filter_map(|(code, ending)| Some((code, without_ending(text, ending)?)))
        .min_by_key(|(_, rest)| rest.len())
}

/// Names that customers give the country; the longest first.
const COUNTRY: [&str; 6] = [
    "United States of America",
    "United States",
    "U.S.A.",
    "U.S.",
    "USA",
    "US",
];

/// What USPS delivers to (USPS Publication 28, Appendix B).
const STATES: [(&str, &str); 62] = [
    ("AL", "Alabama"),
    ("AK", "Alaska"),
    ("AS", "American Samoa"),
    ("AZ", "Arizona"),
    ("AR", "Arkansas"),
    ("CA", "California"),
    ("CO", "Colorado"),
    ("CT", "Connecticut"),
    ("DE", "Delaware"),
    ("DC", "District of Columbia"),
    ("FM", "Federated States of Micronesia"),
    ("FL", "Florida"),
    ("GA", "Georgia"),
    ("GU", "Guam"),
    ("HI", "Hawaii"),
    ("ID", "Idaho"),
    ("IL", "Illinois"),
    ("IN", "Indiana"),
    ("IA", "Iowa"),
    ("KS", "Kansas"),
    ("KY", "Kentucky"),
    ("LA", "Louisiana"),
    ("ME", "Maine"),
    ("MH", "Marshall Islands"),
    ("MD", "Maryland"),
    ("MA", "Massachusetts"),
    ("MI", "Michigan"),
    ("MN", "Minnesota"),
    ("MS", "Mississippi"),
    ("MO", "Missouri"),
    ("MT", "Montana"),
    ("NE", "Nebraska"),
    ("NV", "Nevada"),
    ("NH", "New Hampshire"),
    ("NJ", "New Jersey"),
    ("NM", "New Mexico"),
    ("NY", "New York"),
    ("NC", "North Carolina"),
    ("ND", "North Dakota"),
    ("MP", "Northern Mariana Islands"),
    ("OH", "Ohio"),
    ("OK", "Oklahoma"),
    ("OR", "Oregon"),
    ("PW", "Palau"),
    ("PA", "Pennsylvania"),
    ("PR", "Puerto Rico"),
    ("RI", "Rhode Island"),
    ("SC", "South Carolina"),
    ("SD", "South Dakota"),
    ("TN", "Tennessee"),
    ("TX", "Texas"),
    ("UT", "Utah"),
    ("VT", "Vermont"),
    ("VI", "Virgin Islands"),
    ("VA", "Virginia"),
    ("WA", "Washington"),
    ("WV", "West Virginia"),
    ("WI", "Wisconsin"),
    ("WY", "Wyoming"),
    ("AA", "Armed Forces Americas"),
    ("AE", "Armed Forces Europe"),
    ("AP", "Armed Forces Pacific"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> [String; 5] {
        let address = split(text).unwrap_or_else(|lacks| panic!("{text}: {lacks:?}"));
        [
            address.street1,
            address.street2.unwrap_or_default(),
            address.city,
            address.state.to_owned(),
            address.zip,
        ]
    }

    #[test]
    fn addresses_are_split_however_they_are_laid_out() {
        let apartment = ["17 Boulevard", "Apt 6", "Brooklyn", "NY", "11201"];
        for text in [
            "17 Boulevard, Apt 6, Brooklyn, NY 11201",
            "17 Boulevard\nApt 6\nBrooklyn NY 11201",
            "17 Boulevard\r\nApt 6\r\nBrooklyn, ny, 11201\r\nUSA",
            "17 Boulevard, Apt 6, Brooklyn, New York 11201, United States",
            "17 Boulevard, Apt 6, Brooklyn New York 11201 US",
            " 17 Boulevard ,, Apt 6 , Brooklyn ,NY ,11201, ",
        ] {
            assert_eq!(fields(text), apartment, "{text}");
        }
        for (text, expected) in [
            (
                "5 W 4th St, New York, New York 10012-1119",
                ["5 W 4th St", "", "New York", "NY", "10012-1119"],
            ),
            (
                "1 Main St, Floor 2, Box 3, Charleston, West Virginia 25301",
                ["1 Main St", "Floor 2, Box 3", "Charleston", "WV", "25301"],
            ),
            (
                "PSC 3 Box 1, APO AE 09021",
                ["PSC 3 Box 1", "", "APO", "AE", "09021"],
            ),
        ] {
            assert_eq!(fields(text), expected, "{text}");
        }
    }

    #[test]
    fn what_an_address_lacks_is_named_and_nothing_is_guessed() {
        use Part::{City, State, Street, Zip};
        for (text, lacks) in [
            ("17 boulevard, 123 apt 6 Brooklyn NY", vec![City, Zip]),
            ("17 boulevard, 123 apt 6 Brooklyn NY 11201", vec![City]),
            ("17 Boulevard, Brooklyn, NY", vec![Zip]),
            ("17 Boulevard, Brooklyn 11201", vec![State]),
            ("17 Boulevard, Brooklyn, NY 112011", vec![City, State, Zip]),
            ("Brooklyn, NY 11201", vec![Street]),
            ("NY 11201", vec![City]),
            (
                "10 Downing Street, London, SW1A 2AA",
                vec![City, State, Zip],
            ),
            ("somewhere", vec![City, State, Zip]),
            ("\n,\r\n", vec![City, State, Zip]),
        ] {
            assert_eq!(split(text), Err(Incomplete(lacks)), "{text}");
        }
    }

    #[test]
    fn no_text_of_any_kind_breaks_the_split_and_it_is_never_printed() {
        use proptest::prelude::*;
        proptest!(|(text in "(\\PC|[ ,\n]|NY|11201|US){0,60}")| {
            if let Ok(address) = split(&text) {
                prop_assert!(is_zip(&address.zip) && !has_digit(&address.city));
                prop_assert_eq!(format!("{address:?}"), "Address(…)");
            }
        });
    }
}
