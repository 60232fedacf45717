//! Streets, and boxes and units within them.

use super::words::{Parts, has_digit, plain, text};

/// The names of units within a building (USPS Publication 28, Appendix C2), including those that
/// need no number.
const UNITS: [&str; 21] = [
    "apt",
    "apartment",
    "bldg",
    "building",
    "dept",
    "department",
    "fl",
    "flat",
    "floor",
    "lot",
    "rm",
    "room",
    "slip",
    "spc",
    "space",
    "ste",
    "suite",
    "trlr",
    "trailer",
    "unit",
    "wohnung",
];
const LONE_UNITS: [&str; 6] = ["basement", "bsmt", "lobby", "lbby", "penthouse", "ph"];

/// The street types that a city may follow. Words that begin or end the names of cities (park,
/// lake, hill) are not among them.
const KINDS: [&str; 42] = [
    "street",
    "st",
    "str",
    "avenue",
    "ave",
    "av",
    "road",
    "rd",
    "drive",
    "dr",
    "lane",
    "ln",
    "boulevard",
    "blvd",
    "court",
    "ct",
    "circle",
    "cir",
    "place",
    "pl",
    "terrace",
    "ter",
    "terr",
    "way",
    "highway",
    "hwy",
    "parkway",
    "pkwy",
    "trail",
    "trl",
    "square",
    "sq",
    "plaza",
    "plz",
    "turnpike",
    "tpke",
    "pike",
    "expressway",
    "expy",
    "alley",
    "aly",
    "row",
];
const DIRECTIONS: [&str; 8] = ["n", "s", "e", "w", "ne", "nw", "se", "sw"];
const LONG_DIRECTIONS: [&str; 8] = [
    "north",
    "south",
    "east",
    "west",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
];

/// Words that no city's name begins with.
const LINKS: [&str; 7] = ["of", "the", "and", "&", "du", "des", "der"];

fn is(words: &[&str], index: usize, list: &[&str]) -> bool {
    words
        .get(index)
        .is_some_and(|word| list.contains(&plain(word).as_str()))
}

/// Whether the word can number a unit or a box: it has a digit, or is one or two characters.
fn is_number(word: &str) -> bool {
    let plain = plain(word);
    has_digit(&[word]) || (1..=2).contains(&plain.chars().count())
}

fn is_short_number(word: &str) -> bool {
    has_digit(&[word]) && word.len() < 5
}

/// The end of a unit that begins at `start`.
fn unit_end(words: &[&str], start: usize) -> Option<usize> {
    let first = words.get(start)?;
    if first.starts_with('#') {
        let is_whole = first.len() > 1;
        return if is_whole {
            Some(start + 1)
        } else {
            words.get(start + 1).map(|_| start + 2)
        };
    }
    if is(words, start, &LONE_UNITS) {
        return Some(start + 1);
    }
    // 2nd Floor
    if is_short_number(first) && is(words, start + 1, &["floor", "fl"]) {
        return Some(start + 2);
    }
    if !is(words, start, &UNITS) {
        return None;
    }
    // Apt # 6, Apt 6
    let mark = usize::from(words.get(start + 1) == Some(&"#"));
    let number = words.get(start + 1 + mark)?;
    // FL also stands for Florida.
    if is(words, start, &["fl"]) && !is_short_number(number) {
        return None;
    }
    (number.starts_with('#') || is_number(number)).then_some(start + 2 + mark)
}

/// Whether the words consist of units only: `Bldg 4 Apt 6`.
fn is_unit(words: &[&str]) -> bool {
    let mut at = 0;
    while let Some(end) = unit_end(words, at) {
        if end >= words.len() {
            return true;
        }
        at = end;
    }
    false
}

/// Whether the words begin with a unit.
pub(super) fn begins_with_unit(words: &[&str]) -> bool {
    unit_end(words, 0).is_some()
}

/// Removes the parts that consist of units only, wherever they are.
pub(super) fn take_units(parts: &mut Parts<'_>) -> Vec<String> {
    let parts = &mut parts.0;
    if parts.len() < 2 {
        return Vec::new();
    }
    let units = parts.iter().filter(|words| is_unit(words));
    let units = units.map(|words| text(words)).collect();
    parts.retain(|words| !is_unit(words));
    units
}

/// The start of the city in words with a street, a box, or a unit before it. Returns `None` if
/// there is none, or if the words have two readings.
pub(super) fn city_start(words: &[&str]) -> Option<usize> {
    let start = after_unit(words)
        .or_else(|| after_box(words))
        .or_else(|| after_kind(words))?;
    let city = words.get(start..)?;
    let begins_well =
        !is(city, 0, &LINKS) && city.first().is_some_and(|word| plain(word).len() > 1);
    (begins_well && !has_digit(city)).then_some(start)
}

/// The position after the last unit.
fn after_unit(words: &[&str]) -> Option<usize> {
    let ends = (0..words.len()).filter_map(|start| unit_end(words, start));
    ends.max()
}

/// The position after the last `Box 12`.
fn after_box(words: &[&str]) -> Option<usize> {
    let boxes = (0..words.len()).filter(|index| is(words, *index, &["box", "pob"]));
    let ends = boxes.filter_map(|index| is_number(words.get(index + 1)?).then_some(index + 2));
    ends.max()
}

/// The position after the street type and what belongs to it: `Ave NW`, `Highway 61`, `Avenue A`.
fn after_kind(words: &[&str]) -> Option<usize> {
    if is(words, 1, &["broadway"]) {
        return Some(2);
    }
    let is_kind = |index: usize| is(words, index, &KINDS);
    // A street has a name before its type, except for one like `17 Boulevard`.
    let named = (2..words.len()).find(|index| is_kind(*index));
    let kind = named.or_else(|| (is_kind(1) && !is(words, 1, &["st"])).then_some(1))?;
    let mut end = kind + 1;
    let numbered = |word: &&str| has_digit(&[word]) || plain(word).len() == 1;
    while words.get(end).is_some_and(numbered) || is(words, end, &DIRECTIONS) {
        end += 1;
    }
    let city = words.get(end..)?;
    // `St Paul` begins a city. With any other street type, the end of the street is ambiguous.
    let doubtful = (0..city.len())
        .any(|index| is(city, index, &KINDS) && !(index == 0 && is(city, 0, &["st"])));
    let is_directed = is(city, 0, &LONG_DIRECTIONS);
    (!doubtful && !is_directed).then_some(end)
}

/// The first and the second line of the street.
pub(super) fn lines(parts: &[Vec<&str>], aside: &[String]) -> (Option<String>, Option<String>) {
    let is_numbered = |words: &&Vec<&str>| {
        has_digit(words)
            && !is_unit(words)
            && !plain(words.first().unwrap_or(&"")).starts_with("c/o")
    };
    let main = parts.iter().find(is_numbered).or_else(|| parts.first());
    let Some(main) = main else {
        return (None, None);
    };
    let others = parts.iter().filter(|words| !std::ptr::eq(*words, main));
    let others = others.map(|words| text(words)).chain(aside.iter().cloned());
    let second = others.collect::<Vec<_>>().join(", ");
    (
        Some(text(main)),
        Some(second).filter(|second| !second.is_empty()),
    )
}
