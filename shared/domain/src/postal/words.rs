//! The parts of an address and their words.

use super::is_state;

/// Normalizes the text: every blank becomes a space, every dash a hyphen, and invisible characters
/// are removed.
pub(super) fn normal(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
            // Zero-width characters, direction marks, and the soft hyphen.
            '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => None,
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => Some('-'),
            ',' | ';' | '，' | '、' | '；' => Some(','),
            '\u{ff10}'..='\u{ff19}' => char::from_u32(u32::from(c) - 0xff10 + u32::from('0')),
            c if c.is_whitespace() => Some(' '),
            c => Some(c),
        })
        .collect()
}

/// The words of each part, none empty.
#[derive(Debug)]
pub(super) struct Parts<'a>(pub(super) Vec<Vec<&'a str>>);

impl<'a> Parts<'a> {
    /// Splits a normalized text.
    pub(super) fn of(text: &'a str) -> Self {
        let parts = text.split([',', '\n']).map(words);
        Self(parts.filter(|words| !words.is_empty()).collect())
    }

    /// Removes something from the end of the last part, and the part itself if nothing is left.
    pub(super) fn take_last<T>(
        &mut self,
        take: impl FnOnce(&[&'a str]) -> Option<(T, usize)>,
    ) -> Option<T> {
        let last = self.0.last_mut()?;
        let (taken, left) = take(last)?;
        last.truncate(left);
        if last.is_empty() {
            self.0.pop();
        }
        Some(taken)
    }
}

/// The words of a part. A final dot stays only with an abbreviation, and a lone dot is not a word.
fn words(part: &str) -> Vec<&str> {
    let words = part.split(' ').flat_map(unglued);
    words
        .filter(|word| word.chars().any(char::is_alphanumeric) || *word == "#")
        .collect()
}

/// Splits words such as `NY11201` in two.
fn unglued(word: &str) -> impl Iterator<Item = &str> {
    let split = word.split_at_checked(2).filter(|(state, zip)| {
        is_state(&state.to_uppercase())
            && zip.bytes().take(5).filter(u8::is_ascii_digit).count() == 5
    });
    let (first, second) = split.map_or((word, None), |(state, zip)| (state, Some(zip)));
    std::iter::once(first).chain(second)
}

/// The form in which words are compared: lower case, without dots, apostrophes, and parentheses.
pub(super) fn plain(word: &str) -> String {
    let letters = word
        .chars()
        .filter(|c| !matches!(c, '.' | '\'' | '’' | '(' | ')'));
    letters.flat_map(char::to_lowercase).collect()
}

/// The number of words before this name, if the words end with it. A short name may be spelled with
/// dots, `N. Y.`.
pub(super) fn before_name(words: &[&str], name: &str) -> Option<usize> {
    let names: Vec<&str> = name.split(' ').collect();
    let start = words.len().checked_sub(names.len())?;
    let ends = words.get(start..)?;
    if ends
        .iter()
        .zip(&names)
        .all(|(word, name)| plain(word) == *name)
    {
        return Some(start);
    }
    if name.len() > 3 || names.len() > 1 {
        return None;
    }
    let start = words.len().checked_sub(name.len())?;
    let letters = words.get(start..)?.iter();
    let spelled: String = letters
        .filter(|word| word.len() == 2 && word.ends_with('.'))
        .map(|word| plain(word))
        .collect();
    (spelled == name).then_some(start)
}

pub(super) fn has_digit(words: &[&str]) -> bool {
    words.iter().any(|word| word.chars().any(char::is_numeric))
}

/// Joins words to a text. Only an abbreviation keeps its final dot.
pub(super) fn text(words: &[&str]) -> String {
    let joined = words.join(" ");
    let trimmed = joined.trim_end_matches(['.', ' ']);
    let last = trimmed.rsplit(' ').next().unwrap_or_default();
    let is_abbreviation =
        last.chars().count() <= 4 && last.chars().all(char::is_alphabetic) || last.contains('.');
    if joined.len() > trimmed.len() && is_abbreviation {
        format!("{trimmed}.")
    } else {
        trimmed.to_owned()
    }
}
