//! Texts from partners, which may contain anything.

use std::fmt;

/// The characters in which a partner writes its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `insufficient_funds`
    LowerSnake,
    /// `INSTRUMENT_DECLINED`
    UpperSnake,
    /// `E.ADDRESS.NOT_FOUND`, `street1`; at least one letter.
    Dotted,
}

impl Alphabet {
    fn allows(self, text: &str) -> bool {
        let all = |is_allowed: fn(u8) -> bool| text.bytes().all(is_allowed);
        match self {
            Self::LowerSnake => all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')),
            Self::UpperSnake => all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_')),
            Self::Dotted => {
                all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                    && text.bytes().any(|b| b.is_ascii_alphabetic())
            }
        }
    }
}

/// A machine-readable code for logs, orders, and answers: 1 to 100 characters of the alphabet.
/// Returns `None` for anything else, because a person may have written it. The longest code that a
/// partner publishes has 65 characters.
#[must_use]
pub fn sanitize(text: &str, alphabet: Alphabet) -> Option<&str> {
    ((1..=100).contains(&text.len()) && alphabet.allows(text)).then_some(text)
}

/// A partner's ID that is safe as one path segment: 1 to 255 letters, digits, `_`, and `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathSegment<'a>(&'a str);

impl<'a> PathSegment<'a> {
    /// Checks the length and the characters.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        ((1..=255).contains(&text.len()) && text.bytes().all(is_allowed)).then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for PathSegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_is_no_code() {
        use Alphabet::{Dotted, LowerSnake, UpperSnake};
        for (code, alphabet) in [
            ("lost_card", LowerSnake),
            ("INSTRUMENT_DECLINED", UpperSnake),
            ("5120", UpperSnake),
            ("E.HOUSE_NUMBER.MISSING", Dotted),
            ("street1", Dotted),
        ] {
            assert_eq!(sanitize(code, alphabet), Some(code));
        }
        let long = "x".repeat(101);
        for alphabet in [LowerSnake, UpperSnake, Dotted] {
            for text in ["", "Jenny Rosen", "a\nb", "10451 ", "Ünal", &long] {
                assert_eq!(sanitize(text, alphabet), None, "{text}");
            }
        }
        assert_eq!(sanitize("Jenny", LowerSnake), None);
        assert_eq!(sanitize("Jenny", UpperSnake), None);
        assert_eq!(sanitize("10451", Dotted), None);
    }

    #[test]
    fn a_path_segment_leads_nowhere_else() {
        for id in ["pi_1", "5O190127TN364715T", "PP-D-1", "shp_16578f"] {
            assert_eq!(PathSegment::parse(id).map(PathSegment::as_str), Some(id));
        }
        let long = "9".repeat(256);
        for id in [
            "",
            "..",
            "../payments",
            "a/b",
            "a?b",
            "a#b",
            "a%2fb",
            "a b",
            &long,
        ] {
            assert_eq!(PathSegment::parse(id), None, "{id}");
        }
    }
}
