//! Addresses in other countries, by the formats of their postal codes.

use super::places::{AUSTRALIAN, COUNTIES, COUNTRIES, PROVINCES};
use super::words::{Parts, before_name, has_digit, text};
use super::{AddressPart, PostalAddress, Unreadable, american, street};

/// Parses an address in that country, whose name was already removed.
pub(super) fn read(
    mut parts: Parts<'_>,
    aside: &[String],
    country: &'static str,
) -> Result<PostalAddress, Unreadable> {
    let format = format_of(country);
    let mut zip = take_zip(&mut parts, country);
    let state = take_state(&mut parts, country);
    zip = zip.or_else(|| take_zip(&mut parts, country));
    let city = take_city(&mut parts);
    let (street1, street2) = street::lines(&parts.0, aside);
    let needs_zip = !matches!(format, "" | "?");
    let missing: Vec<_> = [
        (AddressPart::Street, street1.is_none()),
        (AddressPart::City, city.is_none()),
        (AddressPart::Zip, zip.is_none() && needs_zip),
    ]
    .into_iter()
    .filter_map(|(part, is_missing)| is_missing.then_some(part))
    .collect();
    match (street1, city) {
        (Some(street1), Some(city)) if missing.is_empty() => Ok(PostalAddress {
            street1,
            street2,
            city,
            state,
            zip,
            country,
        }),
        _ => Err(Unreadable(missing)),
    }
}

/// The country that the postal code alone determines: Canada, the United Kingdom, or the one whose
/// code precedes it (`D-10117`).
pub(super) fn by_postal_code(parts: &Parts<'_>) -> Option<&'static str> {
    let prefixed = parts.0.iter().rev().take(2).find_map(|words| {
        let (prefix, digits) = words.first()?.split_once('-')?;
        let country = match prefix {
            "D" => "DE",
            "A" => "AT",
            "F" => "FR",
            "B" => "BE",
            "L" => "LU",
            "I" => "IT",
            "S" => "SE",
            "FIN" => "FI",
            "DE" | "AT" | "CH" | "FR" | "BE" | "LU" | "IT" | "DK" | "SE" | "FI" | "CZ" | "SK" => {
                prefix
            }
            _ => return None,
        };
        let is_number = digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit());
        let mut codes = COUNTRIES.iter().map(|(code, ..)| *code);
        is_number.then(|| codes.find(|code| *code == country))?
    });
    prefixed.or_else(|| {
        if american::ends_in_a_state(parts) {
            return None;
        }
        let mut told = ["CA", "GB"].into_iter();
        told.find(|country| zip_place(parts, country).is_some())
    })
}

/// Whether the parts contain a postal code of that country and no state before it. Only the first
/// `left` words of the last part count.
pub(super) fn is_in(parts: &Parts<'_>, left: usize, country: &str) -> bool {
    let mut rest = Parts(parts.0.clone());
    rest.take_last(|_| Some(((), left)));
    zip_place(&rest, country).is_some() && !american::ends_in_a_state(&rest)
}

fn format_of(country: &str) -> &'static str {
    let found = COUNTRIES.iter().find(|(code, ..)| *code == country);
    found.map_or("", |(.., format)| format)
}

/// The position of a postal code: its part, its first word, and the number of words.
struct Place {
    part: usize,
    start: usize,
    count: usize,
    zip: String,
}

/// Finds the postal code at the end or the beginning of the last part or the one before it.
fn zip_place(parts: &Parts<'_>, country: &str) -> Option<Place> {
    let mut last = parts.0.iter().enumerate().rev().take(2);
    last.find_map(|(part, words)| {
        let counts = (1..=words.len().min(2)).rev();
        counts.into_iter().find_map(|count| {
            [words.len() - count, 0].into_iter().find_map(|start| {
                let zip = zip_of(words.get(start..start + count)?, country)?;
                Some(Place {
                    part,
                    start,
                    count,
                    zip,
                })
            })
        })
    })
}

fn take_zip(parts: &mut Parts<'_>, country: &str) -> Option<String> {
    let place = zip_place(parts, country)?;
    let words = parts.0.get_mut(place.part)?;
    words.drain(place.start..place.start + place.count);
    if words.is_empty() {
        parts.0.remove(place.part);
    }
    Some(place.zip)
}

/// Parses these words as the country's postal code.
fn zip_of(words: &[&str], country: &str) -> Option<String> {
    let joined = words.join(" ").trim_end_matches('.').to_uppercase();
    // D-10117, CH-8001
    let bare = match joined.split_once('-') {
        Some((prefix, rest))
            if prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            rest
        }
        _ => joined.as_str(),
    };
    let format = format_of(country);
    match format {
        "" | "?" => None,
        "uk" => british(bare),
        _ => fitted(bare, format),
    }
}

/// The code in the given format, whatever spaces and hyphens it was written with.
fn fitted(code: &str, format: &str) -> Option<String> {
    let mut signs = code.chars().filter(|c| !matches!(c, ' ' | '-'));
    let mut fitted = String::new();
    for wanted in format.chars() {
        fitted.push(match wanted {
            'n' => signs.next().filter(char::is_ascii_digit)?,
            'a' => signs.next().filter(char::is_ascii_alphabetic)?,
            other => other,
        });
    }
    signs.next().is_none().then_some(fitted)
}

/// `SW1A 2AA`: an area of one or two letters, a district, and a digit with two letters.
fn british(code: &str) -> Option<String> {
    let signs: Vec<char> = code.chars().filter(|c| *c != ' ').collect();
    let (outward, inward) = signs.split_at_checked(signs.len().checked_sub(3)?)?;
    let inward_fits =
        inward.first()?.is_ascii_digit() && inward.iter().skip(1).all(char::is_ascii_alphabetic);
    let letters = outward
        .iter()
        .take_while(|c| c.is_ascii_alphabetic())
        .count();
    let district: Vec<_> = outward.iter().skip(letters).collect();
    let outward_fits = (1..=2).contains(&letters)
        && (1..=2).contains(&district.len())
        && district.first()?.is_ascii_digit()
        && district.iter().all(|c| c.is_ascii_alphanumeric());
    let text = |signs: &[char]| signs.iter().collect::<String>();
    (inward_fits && outward_fits).then(|| format!("{} {}", text(outward), text(inward)))
}

/// The province or state, in countries whose carriers require it.
fn take_state(parts: &mut Parts<'_>, country: &str) -> Option<String> {
    match country {
        "CA" => parts.take_last(|words| {
            let names = PROVINCES.iter().flat_map(|(code, names)| {
                let short = code.to_lowercase();
                let names = names.split(", ").map(str::to_owned);
                std::iter::once(short)
                    .chain(names)
                    .map(move |name| (*code, name))
            });
            let found = names
                .filter_map(|(code, name)| Some((code, before_name(words, &name)?)))
                .min_by_key(|(_, left)| *left);
            found.map(|(code, left)| (code.to_owned(), left))
        }),
        "AU" => parts.take_last(|words| {
            let mut found = AUSTRALIAN.iter();
            found.find_map(|name| Some((name.to_uppercase(), before_name(words, name)?)))
        }),
        "GB" if parts.0.len() > 2 => parts.take_last(|words| {
            let name = text(words);
            let lower = name.to_lowercase();
            let is_county = COUNTIES.contains(&lower.as_str()) || lower.ends_with("shire");
            is_county.then_some((name, 0))
        }),
        _ => None,
    }
}

/// The last part, or its words after the street.
fn take_city(parts: &mut Parts<'_>) -> Option<String> {
    let last = parts.0.last()?;
    let start = if has_digit(last) {
        street::city_start(last)?
    } else {
        0
    };
    parts.take_last(|words| Some((text(words.get(start..)?), start)))
}
