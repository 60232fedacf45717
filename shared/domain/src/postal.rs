//! Parses the one text that a customer writes into the fields that a carrier needs. No carrier in
//! use parses such a text, so these rules are our own, and they never guess.
//!
//! Commas and line breaks separate parts. The text is read from the end:
//!
//! 1. The country: its name or its code. Without one, a Canadian or British postal code determines
//!    it; otherwise the address is in the United States.
//! 2. The postal code: in the United States `11201` or `11201-1832`. It may be missing if there is
//!    a state, because the carrier can look it up.
//! 3. The state: its two letters, its name, or its usual abbreviation.
//! 4. The city: the words before the state in the same part, or the previous part. If street and
//!    city share a part, the city follows the unit (`123 apt 6 Brooklyn`), the box (`PO Box 12
//!    Troy`), or the street type (`5 Main St Troy`). No city has a digit in its name.
//! 5. The part with the house number is the street; the others are its second line.
//!
//! If two readings remain (`5 Main Street West Hollywood`), the city counts as missing. A comma
//! before the city resolves it.

mod abroad;
mod american;
mod places;
mod street;
mod words;

use std::fmt;

use words::Parts;

/// A postal address in a carrier's fields.
#[derive(Clone, PartialEq, Eq)]
pub struct PostalAddress {
    /// The line with the house number or the box.
    pub street1: String,
    /// The apartment, the company, or anything else that was written before the city.
    pub street2: Option<String>,
    /// The city; for a military address `APO`, `FPO`, or `DPO`.
    pub city: String,
    /// The state; in the United States and Canada, two letters.
    pub state: Option<String>,
    /// The postal code.
    pub zip: Option<String>,
    /// ISO 3166-1, two letters. The territories of the United States and military addresses count
    /// as `US`.
    pub country: &'static str,
}

/// Redacted, so that no address reaches a log by accident.
impl fmt::Debug for PostalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostalAddress(…)")
    }
}

/// A part that an address needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    /// A street with its house number, or a box.
    Street,
    /// A city.
    City,
    /// A state, or the name of another country.
    State,
    /// A postal code.
    Zip,
}

impl AddressPart {
    fn wanted(self) -> &'static str {
        match self {
            Self::Street => "a street",
            Self::City => "a city, after a comma",
            Self::State => "a state",
            Self::Zip => "a ZIP code",
        }
    }
}

/// All the parts that a text lacks to be an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub Vec<AddressPart>);

/// A sentence for the person who wrote the address. It quotes nothing of it.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted: Vec<_> = self.0.iter().map(|part| part.wanted()).collect();
        write!(
            f,
            "must have {}; write it like `17 Boulevard, Apt 6, Brooklyn, NY 11201`",
            wanted.join(", and ")
        )
    }
}

impl PostalAddress {
    /// Parses a text by the rules above.
    ///
    /// ```
    /// use domain::PostalAddress;
    ///
    /// let address = PostalAddress::read("17 boulevard, 123 apt 6 Brooklyn NY").unwrap();
    /// assert_eq!((address.city.as_str(), address.country), ("Brooklyn", "US"));
    /// assert!(PostalAddress::read("Brooklyn, NY 11201").is_err());
    /// ```
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let text = words::normal(text);
        let mut parts = Parts::of(&text);
        let aside = street::take_units(&mut parts);
        let country = places::take_country(&mut parts).or_else(|| abroad::by_postal_code(&parts));
        match country {
            Some(country) if country != places::UNITED_STATES => {
                abroad::read(parts, &aside, country)
            }
            _ => american::read(parts, &aside),
        }
    }

    /// Whether a parcel from one of the states of the United States needs a customs declaration.
    /// That is the case for military addresses, territories other than Puerto Rico, freely
    /// associated states (USPS Domestic Mail Manual, 608.2.4), and every other country.
    #[must_use]
    pub fn needs_customs(&self) -> bool {
        self.country != places::UNITED_STATES
            || self
                .state
                .as_deref()
                .is_some_and(|state| places::BEHIND_CUSTOMS.contains(&state))
    }
}

/// Whether a word is a ZIP code: five digits, or five and four.
#[must_use]
pub fn is_zip(word: &str) -> bool {
    american::zip_of(word).as_deref() == Some(word)
}

/// Whether these are the two letters of a state, a territory, or a military region.
#[must_use]
pub fn is_state(code: &str) -> bool {
    places::STATES.iter().any(|(state, _)| *state == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `street1 | street2 | city | state | zip | country`, for a text in which `⏎` stands for a
    /// line break and `␣` for a no-break space.
    const ADDRESSES: &str = include_str!("postal/addresses.txt");

    fn fields(text: &str) -> String {
        match PostalAddress::read(text) {
            Ok(address) => {
                let or_empty = |field: &Option<String>| field.clone().unwrap_or_default();
                [
                    address.street1.clone(),
                    or_empty(&address.street2),
                    address.city.clone(),
                    or_empty(&address.state),
                    or_empty(&address.zip),
                    address.country.to_owned(),
                ]
                .join(" | ")
            }
            Err(lacks) => format!("{lacks:?}"),
        }
    }

    #[test]
    fn every_address_of_the_list_is_read() {
        let lines = ADDRESSES.lines().filter(|line| !line.starts_with("//"));
        let mut wrong = Vec::new();
        let mut count = 0;
        for line in lines {
            let (text, expected) = line.split_once(" => ").expect("a line has both sides");
            let text = text.replace('⏎', "\n").replace('␣', "\u{a0}");
            let found = fields(&text);
            if found != expected {
                wrong.push(format!("{text}\n  expected {expected}\n  found    {found}"));
            }
            count += 1;
        }
        assert!(
            wrong.is_empty(),
            "{} of {count}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        assert!(count >= 200, "{count}");
    }

    #[test]
    fn every_state_is_in_the_list() {
        for (code, _) in places::STATES {
            let state = format!(" | {code} | ");
            assert!(
                ADDRESSES.lines().any(|line| line.contains(&state)),
                "{code}"
            );
        }
    }

    #[test]
    fn what_an_address_lacks_is_named_and_nothing_is_guessed() {
        use AddressPart::{City, State, Street, Zip};
        for (text, lacks) in [
            ("17 Boulevard, Brooklyn", vec![State, Zip]),
            ("17 Boulevard, Brooklyn 11201", vec![State]),
            ("17 Boulevard, Brooklyn, NY 112011", vec![City, State, Zip]),
            ("17 Boulevard, NY 11201", vec![City]),
            ("Brooklyn, NY 11201", vec![Street]),
            ("NY 11201", vec![Street, City]),
            ("somewhere", vec![City, State, Zip]),
            ("\n,\r\n", vec![Street, City, State, Zip]),
            // Each has two readings.
            ("100 Main Street West Hollywood CA 90069", vec![City]),
            ("5 Avenue of the Americas New York NY 10019", vec![City]),
            ("17 Boulevard␣West Hollywood", vec![City, State, Zip]),
            // The five digits fit more than one country.
            ("Hauptstr. 5, 10117 Berlin", vec![City, State, Zip]),
            ("Hauptstr. 5, Germany", vec![City, Zip]),
            ("London, UK", vec![Street, Zip]),
        ] {
            let text = text.replace('␣', "\u{a0}");
            assert_eq!(PostalAddress::read(&text), Err(Unreadable(lacks)), "{text}");
        }
    }

    #[test]
    fn customs_are_declared_for_the_military_and_the_territories() {
        for (text, needed) in [
            ("17 Boulevard, Brooklyn, NY 11201", false),
            ("1 Calle Luna, San Juan, PR 00901", false),
            ("PSC 3 Box 1, APO AE 09021", true),
            ("1 Marine Corps Dr, Hagåtña, GU 96910", true),
            ("5 Kronprindsens Gade, Charlotte Amalie, VI 00802", true),
            ("10 Downing Street, London SW1A 2AA", true),
        ] {
            let address = PostalAddress::read(text).unwrap();
            assert_eq!(address.needs_customs(), needed, "{text}");
        }
    }

    #[test]
    fn no_text_of_any_kind_breaks_the_reader_and_it_is_never_printed() {
        use proptest::prelude::*;
        proptest!(|(text in "(\\PC|[ ,\n.]|NY|11201|US|Apt 6|St|APO AE|SW1A 2AA|Germany|D-10117){0,40}")| {
            if let Ok(address) = PostalAddress::read(&text) {
                prop_assert!(!address.street1.is_empty() && !address.city.is_empty());
                prop_assert!(!address.city.contains(|c: char| c.is_ascii_digit()));
                if address.country == "US" {
                    prop_assert!(address.state.as_deref().is_some_and(is_state));
                    prop_assert!(address.zip.as_deref().is_none_or(is_zip));
                }
                prop_assert_eq!(format!("{address:?}"), "PostalAddress(…)");
            }
        });
    }
}
