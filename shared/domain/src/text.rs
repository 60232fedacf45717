//! Texts that people typed.

use std::fmt;

/// One to 500 characters without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Empty, only blanks, or over 500 characters.
    #[error("must be 1–500 characters")]
    Length,
    /// Holds a control character.
    #[error("must not contain control characters")]
    Control,
}

impl Text {
    /// Checks a one-line text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        Self::checked(text, char::is_control)
    }

    /// Checks a text that may have line breaks, such as a postal address.
    pub fn parse_lines(text: &str) -> Result<Self, TextError> {
        Self::checked(text, |c| c.is_control() && c != '\n' && c != '\r')
    }

    fn checked(text: &str, refused: impl Fn(char) -> bool) -> Result<Self, TextError> {
        if text.trim().is_empty() || text.chars().count() > 500 {
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

/// A customer's text never reaches a log by accident.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

/// An email address: at most 254 ASCII characters, one `@`, a domain with a dot (a practical subset
/// of RFC 5321; SES takes no other).
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// A text that is no email address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an email address such as name@example.com, at most 254 ASCII characters")]
pub struct EmailError;

impl Email {
    /// Checks an address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let allowed = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        let labels_fit = domain.contains('.')
            && domain.split('.').all(|label| {
                !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            });
        let is_valid = text.len() <= 254
            && !local.is_empty()
            && local.len() <= 64
            && local.chars().all(allowed)
            && labels_fit;
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(EmailError)
        }
    }

    /// The address itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with its domain in lower case, by which two addresses are compared. The case of
    /// the local part may matter to the receiving server (RFC 5321, section 2.4).
    #[must_use]
    pub fn mailbox(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or((&self.0, ""));
        format!("{local}@{}", domain.to_ascii_lowercase())
    }
}

/// An address never reaches a log by accident.
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
    fn only_addresses_may_break_lines() {
        assert_eq!(Text::parse("a\nb"), Err(TextError::Control));
        assert!(Text::parse_lines("17 boulevard\nBrooklyn NY").is_ok());
        assert_eq!(Text::parse_lines("a\u{0}b"), Err(TextError::Control));
    }

    #[test]
    fn email_addresses_are_checked_enough_to_be_safe_in_a_header() {
        for good in ["lital.naory@gmail.com", "a+b@x-y.example", "o'neil@mail.co"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b",
            "a b@c.d",
            "a@b..c",
            "a@b.c\r\nBcc: x@y.z",
            "a@b@c.d",
            "ü@b.c",
            "Bob <a@b.c>",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_case_of_a_domain_does_not_count_and_that_of_a_local_part_may() {
        let mailbox = |text| Email::parse(text).unwrap().mailbox();
        assert_eq!(mailbox("a@B.Example"), mailbox("a@b.example"));
        assert_ne!(mailbox("A@b.example"), mailbox("a@b.example"));
    }
}
