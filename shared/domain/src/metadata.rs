//! The data that a shop keeps with an order for its own use.

use std::collections::BTreeMap;
use std::fmt;

use super::{Text, is_visible};

/// Up to 20 texts by their keys. This service shows them to callers and does nothing else with
/// them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, Text>);

/// Why an entry is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// There are already 20 entries.
    #[error("must have at most 20 entries")]
    Full,
    /// The key is empty, is longer than 40 characters, contains control characters, or begins or
    /// ends with an invisible character.
    #[error(
        "must have keys of 1–40 characters, with no control characters and no leading or trailing spaces or invisible characters"
    )]
    Key,
}

impl Metadata {
    /// The maximum number of entries.
    pub const MAX: usize = 20;

    /// The maximum length of a key, in characters.
    const MAX_KEY: usize = 40;

    /// Adds an entry.
    pub fn insert(&mut self, key: &str, text: Text) -> Result<(), MetadataError> {
        let is_key = (1..=Self::MAX_KEY).contains(&key.chars().count())
            && !key.chars().any(char::is_control)
            && key.starts_with(is_visible)
            && key.ends_with(is_visible);
        if !is_key {
            return Err(MetadataError::Key);
        }
        if self.0.len() == Self::MAX {
            return Err(MetadataError::Full);
        }
        self.0.insert(key.to_owned(), text);
        Ok(())
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries, sorted by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.0.iter().map(|(key, text)| (key.as_str(), text))
    }
}

/// Redacted, so that no metadata reaches a log by accident.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} entries)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Text {
        Text::parse("x").unwrap()
    }

    #[test]
    fn there_are_20_entries_with_keys_of_1_to_40_visible_characters() {
        let mut metadata = Metadata::default();
        for number in 0..20 {
            let key = format!("{number}{}", "ü".repeat(38));
            metadata.insert(&key, text()).unwrap();
        }
        assert_eq!(metadata.insert("k", text()), Err(MetadataError::Full));
        assert_eq!(metadata.iter().count(), Metadata::MAX);
        for key in ["", " a", "a ", "\u{200b}", "a\n", "a\tb", &"k".repeat(41)] {
            let refused = Metadata::default().insert(key, text());
            assert_eq!(refused, Err(MetadataError::Key), "{key:?}");
        }
    }

    #[test]
    fn a_log_shows_none_of_it() {
        let mut metadata = Metadata::default();
        metadata
            .insert("gift", Text::parse("for Bob").unwrap())
            .unwrap();
        assert_eq!(format!("{metadata:?}"), "Metadata(1 entries)");
    }
}
