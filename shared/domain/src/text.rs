//! Texts typed by people.

use std::fmt;

/// Whether nothing of a text can be seen: it is empty, or all of its characters are spaces, control
/// characters, or invisible.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    !text.chars().any(is_visible)
}

/// Whether a character is visible.
///
/// White space and control characters are not, nor are the code points that programs do not display
/// (Unicode 16, `DerivedCoreProperties.txt`, `Default_Ignorable_Code_Point`): among them zero-width
/// characters, the soft hyphen, Hangul fillers, variation selectors, direction controls, and tags.
/// The following also count as invisible because their glyphs are blank or stand for missing
/// content: the braille blank, Khitan filler, null notehead, annotation marks, and the object
/// replacement character.
#[must_use]
pub fn is_visible(character: char) -> bool {
    !(character.is_whitespace()
        || character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffc}'
                | '\u{16fe4}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        ))
}

/// A text of 1 to 500 characters without control characters, of which at least one is visible.
/// Invisible characters beside visible ones are kept, because scripts and emoji need joiners and
/// selectors.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

/// Why a text is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is empty, has no visible character, or is longer than 500 characters.
    #[error("must be 1–500 characters, at least one of them visible")]
    Length,
    /// It contains a control character.
    #[error("must not contain control characters")]
    Control,
}

impl Text {
    /// Parses a one-line text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        Self::checked(text, char::is_control)
    }

    /// Parses a text that may have line breaks, such as a postal address.
    pub fn parse_lines(text: &str) -> Result<Self, TextError> {
        Self::checked(text, |c| c.is_control() && c != '\n' && c != '\r')
    }

    /// Reads a stored text. An earlier version may have accepted it without a visible character.
    pub fn from_stored(text: &str) -> Result<Self, TextError> {
        if text.is_empty() || text.chars().count() > 500 {
            return Err(TextError::Length);
        }
        Ok(Self(text.to_owned()))
    }

    fn checked(text: &str, refused: impl Fn(char) -> bool) -> Result<Self, TextError> {
        if is_blank(text) || text.chars().count() > 500 {
            return Err(TextError::Length);
        }
        if text.chars().any(refused) {
            return Err(TextError::Control);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Redacted, so that a customer's text never reaches a log by accident.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

/// An email address that SES accepts: at most 254 ASCII characters, in the form of RFC 5321,
/// section 4.1.2, without quoted local parts and address literals.
///
/// - Local part: 1 to 64 characters of RFC 5322's `atext` (section 3.2.3), with single dots between
///   them.
/// - Domain: at least two labels of 1 to 63 letters, digits, and inner hyphens (RFC 1035, section
///   2.3.1). The last label has at least two letters or is Punycode (`xn--…`): every top-level
///   domain does (RFC 3696, section 2), and an IP address does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// The text is not an accepted email address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an email address such as name@example.com, at most 254 ASCII characters")]
pub struct EmailError;

impl Email {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        if text.len() <= 254 && is_local_part(local) && is_domain(domain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EmailError)
        }
    }

    /// Reads a stored address. An earlier version accepted some that SES rejects, such as
    /// `a..b@example.com`. A mail to such an address ends as rejected.
    pub fn from_stored(text: &str) -> Result<Self, EmailError> {
        let allowed = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        let parts_fit = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
        if text.len() <= 254 && parts_fit && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EmailError)
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with its domain in lower case, for comparing addresses. The case of the local
    /// part may matter to the receiving server (RFC 5321, section 2.4).
    #[must_use]
    pub fn mailbox(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or((&self.0, ""));
        format!("{local}@{}", domain.to_ascii_lowercase())
    }
}

fn is_local_part(local: &str) -> bool {
    let is_atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_atext);
    local.len() <= 64 && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, top)) = domain.rsplit_once('.') else {
        return false;
    };
    let is_punycode = top
        .get(..4)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
    let is_name = top.len() >= 2 && top.chars().all(|c| c.is_ascii_alphabetic());
    (is_name || is_punycode) && domain.split('.').all(is_label)
}

/// Redacted, so that no address reaches a log by accident.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_1_to_500_characters_counted_not_in_bytes() {
        assert!(Text::parse(&"ü".repeat(500)).is_ok());
        assert_eq!(Text::parse(&"x".repeat(501)), Err(TextError::Length));
        assert_eq!(Text::parse("  "), Err(TextError::Length));
    }

    #[test]
    fn a_text_shows_something_and_keeps_what_is_invisible_beside_it() {
        for invisible in [
            "\u{200b}",
            "\u{ad}",
            "\u{115f}",
            "\u{1160}",
            "\u{3164}",
            "\u{ffa0}",
            "\u{2800}",
            "\u{fe0f}",
            "\u{202e}",
            "\u{2066}",
            "\u{e0041}",
            "\u{e0100}",
            "\u{180e}",
            "\u{feff}",
            "\u{fffc}",
            "\u{34f}",
            "\u{17b4}",
            "\u{2065}",
            "\u{206f}",
            "\u{a0}",
            "\u{3000}",
            "\u{2028}",
        ] {
            for blank in [
                invisible.to_owned(),
                format!(" {invisible}\u{200d} {invisible}"),
            ] {
                assert_eq!(Text::parse(&blank), Err(TextError::Length), "{blank:?}");
                assert_eq!(
                    Text::parse_lines(&blank),
                    Err(TextError::Length),
                    "{blank:?}"
                );
                assert!(Text::from_stored(&blank).is_ok(), "{blank:?}");
            }
            let beside = format!("{invisible}a{invisible}");
            assert_eq!(Text::parse(&beside).unwrap().as_str(), beside);
        }
        for visible in [
            "-",
            ".",
            "\u{301}",
            "\u{1f600}",
            "\u{5d0}",
            "\u{fffd}",
            "\u{600}",
        ] {
            assert!(Text::parse(visible).is_ok(), "{visible:?}");
        }
    }

    #[test]
    fn only_addresses_may_break_lines() {
        assert_eq!(Text::parse("a\nb"), Err(TextError::Control));
        assert!(Text::parse_lines("17 boulevard\nBrooklyn NY").is_ok());
        assert_eq!(Text::parse_lines("a\u{0}b"), Err(TextError::Control));
    }

    #[test]
    fn addresses_that_ses_rejects_are_refused() {
        let long = |length| "a".repeat(length);
        let longest = format!("{}@{}.{}.example", long(64), long(63), long(63));
        let filled = format!("{}@{}.{}.{}.co", long(64), long(63), long(63), long(58));
        assert_eq!(filled.len(), 254);
        for good in [
            "lital.naory@gmail.com",
            "a+b@x-y.example",
            "o'neil@mail.co",
            "!#$%&*+-/=?^_`{|}~@example.com",
            "a@1.example",
            "a@1-2.example.COM",
            "a@xn--bcher-kva.example",
            "a@xn--90a3ac.xn--p1ai",
            "a@ab--cd.example",
            "_@example.com",
            &longest,
            &filled,
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
            assert!(Email::from_stored(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a b@c.de",
            "a@b..co",
            "a@b.co\r\nBcc: x@y.zz",
            "a@b@c.de",
            "ü@b.co",
            "a@b\u{fc}cher.example",
            "Bob <a@b.co>",
            ".do@example.com",
            "do.@example.com",
            "do..t@example.com",
            "\"a b\"@example.com",
            "\"a\"@example.com",
            "a@-b.com",
            "a@b-.com",
            "a@b.-com",
            "a@b.com-",
            "a@.b.com",
            "a@b.com.",
            "a@b_c.com",
            "a@1.2.3.4",
            "a@[1.2.3.4]",
            "a@b.c",
            "a@b.123",
            "a@b.c0m",
            "a@b.xn--",
            &format!("{}@example.com", long(65)),
            &format!("a@{}.com", long(64)),
            &format!("{filled}m"),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        for stored in ["do..t@example.com", "a@-b.com", "a@1.2.3.4", ".a@b.c"] {
            assert!(Email::from_stored(stored).is_ok(), "{stored}");
        }
        for damaged in ["", "a", "a@b\r\n.co", "a@b@c.co"] {
            assert!(Email::from_stored(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn the_case_of_a_domain_does_not_count_and_that_of_a_local_part_may() {
        let mailbox = |text| Email::parse(text).unwrap().mailbox();
        assert_eq!(mailbox("a@B.Example"), mailbox("a@b.example"));
        assert_ne!(mailbox("A@b.example"), mailbox("a@b.example"));
    }
}
