//! Addresses in the United States, its territories, and its military.

use super::places::{MILITARY, STATES, UNITED_STATES};
use super::words::{Parts, before_name, has_digit, plain, text};
use super::{AddressPart, PostalAddress, Unreadable, street};

/// Parses an address whose country was already removed.
pub(super) fn read(mut parts: Parts<'_>, aside: &[String]) -> Result<PostalAddress, Unreadable> {
    let mut zip = parts.take_last(zip_at_end);
    let mut state = parts.take_last(state_at_end);
    if let Some(code) = state {
        zip = zip.or_else(|| parts.take_last(zip_at_end));
        // `San Juan, PR 00907, Puerto Rico`
        parts.take_last(|words| before_name(words, &code.to_lowercase()).map(|left| ((), left)));
    } else if let Some(first) = zip.as_deref() {
        state = military_state(&parts, first);
    }
    let city = take_city(&mut parts, state.is_some());
    let (mut street1, mut street2) = street::lines(&parts.0, aside);
    if street1.is_none() && city.as_deref().is_some_and(is_post_office) {
        // Such an address may consist of a military unit only: `Unit 45013`.
        street1 = aside.first().cloned();
        street2 =
            Some(aside.get(1..).unwrap_or_default().join(", ")).filter(|rest| !rest.is_empty());
    }
    let missing: Vec<_> = [
        (AddressPart::Street, street1.is_none()),
        (AddressPart::City, city.is_none()),
        (AddressPart::State, state.is_none()),
        (AddressPart::Zip, zip.is_none() && state.is_none()),
    ]
    .into_iter()
    .filter_map(|(part, is_missing)| is_missing.then_some(part))
    .collect();
    match (street1, city, state) {
        (Some(street1), Some(city), Some(state)) => Ok(PostalAddress {
            street1,
            street2,
            city,
            state: Some(state.to_owned()),
            zip,
            country: UNITED_STATES,
        }),
        _ => Err(Unreadable(missing)),
    }
}

/// The city: the words at the end of the last part, or the whole part.
fn take_city(parts: &mut Parts<'_>, has_state: bool) -> Option<String> {
    let last = parts.0.last()?;
    if let Some(office) = last.last().filter(|word| is_post_office(word)).copied() {
        parts.take_last(|words| Some(((), words.len() - 1)));
        return Some(plain(office).to_uppercase());
    }
    let others = parts.0.len() - 1;
    if others == 0 && !has_state {
        // Without a state, a single part could be anything.
        return None;
    }
    let is_numbered = parts.0.iter().take(others).any(|words| has_digit(words));
    let is_city = !has_digit(last) && !street::begins_with_unit(last);
    let start = if is_numbered && is_city {
        0
    } else {
        // A street may lack a number if the city is in a part of its own.
        street::city_start(last).or_else(|| is_city.then_some(0))?
    };
    parts.take_last(|words| Some((text(words.get(start..)?), start)))
}

fn is_post_office(word: &str) -> bool {
    matches!(plain(word).as_str(), "apo" | "fpo" | "dpo")
}

/// The military region by its ZIP code, if the address names only the post office.
fn military_state(parts: &Parts<'_>, zip: &str) -> Option<&'static str> {
    let is_military = is_post_office(parts.0.last()?.last()?);
    let found = MILITARY.iter().find(|(start, _)| zip.starts_with(start));
    found.filter(|_| is_military).map(|(_, code)| *code)
}

/// Five digits, or five and four: `11201` or `11201-1832`.
pub(super) fn zip_of(word: &str) -> Option<String> {
    let word = word.trim_end_matches('.');
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('-') {
        Some((zip, plus)) => (digits(zip, 5) && digits(plus, 4)).then(|| word.to_owned()),
        None if digits(word, 5) => Some(word.to_owned()),
        None if digits(word, 9) => Some(format!("{}-{}", word.get(..5)?, word.get(5..)?)),
        None => None,
    }
}

/// The ZIP code at the end of the words, and the number of words before it.
fn zip_at_end(words: &[&str]) -> Option<(String, usize)> {
    let (last, rest) = words.split_last()?;
    if let Some((before, _)) = rest.split_last()
        && let Some(zip) = zip_of(&format!("{before}-{last}"))
    {
        return Some((zip, rest.len() - 1));
    }
    zip_of(last).map(|zip| (zip, rest.len()))
}

/// The state at the end of the words, and the number of words before it. The longest name wins:
/// West Virginia also ends with Virginia.
pub(super) fn state_at_end(words: &[&str]) -> Option<(&'static str, usize)> {
    let endings = STATES.iter().flat_map(|(code, names)| {
        let short = code.to_lowercase();
        let names = names.split(", ").map(str::to_owned);
        std::iter::once(short)
            .chain(names)
            .map(move |name| (*code, name))
    });
    endings
        .filter_map(|(code, name)| Some((code, before_name(words, &name)?)))
        .min_by_key(|(_, left)| *left)
}

/// Whether the parts end with a state, with or without its ZIP code.
pub(super) fn ends_in_a_state(parts: &Parts<'_>) -> bool {
    let mut rest = Parts(parts.0.clone());
    let _zip = rest.take_last(zip_at_end);
    rest.take_last(state_at_end).is_some()
}

/// Whether the parts are a military address. Only the first `left` words of the last part count.
pub(super) fn is_military(parts: &Parts<'_>, left: usize) -> bool {
    let mut rest = Parts(parts.0.clone());
    rest.take_last(|_| Some(((), left)));
    let _zip = rest.take_last(zip_at_end);
    let _state = rest.take_last(state_at_end);
    rest.0
        .last()
        .and_then(|words| words.last())
        .is_some_and(|word| is_post_office(word))
}
