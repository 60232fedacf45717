//! Points in time.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an RFC 3339 date and time, such as 2023-10-12T11:05:27Z")]
pub struct TimestampError;

impl Timestamp {
    /// A timestamp of that many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Parses an RFC 3339 time with any offset. Anything finer than a millisecond is dropped.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError)?;
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).map(Self).map_err(|_| TimestampError)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn millis(&self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, as DynamoDB's TTL requires.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time later by `duration`.
    #[must_use]
    pub fn plus(&self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// Formats the time as RFC 3339 with seconds and a numeric offset: `2023-10-12T11:05:27+00:00`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}+00:00",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_with_a_numeric_offset() {
        let at = Timestamp::from_millis(1_697_108_727_999);
        assert_eq!(at.to_string(), "2023-10-12T11:05:27+00:00");
    }

    #[test]
    fn reads_rfc_3339_with_any_offset_and_nothing_else() {
        for (text, millis) in [
            ("2023-10-12T11:05:27Z", 1_697_108_727_000),
            ("2023-10-12T11:05:27+00:00", 1_697_108_727_000),
            ("2023-10-12T07:05:27.9996-04:00", 1_697_108_727_999),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(millis)), "{text}");
        }
        for text in ["", "now", "2023-10-12", "2023-10-12T11:05:27", "1697108727"] {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text}");
        }
    }
}
