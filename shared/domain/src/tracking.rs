//! The number by which a customer tracks a parcel.

use std::fmt;

use serde::{Serialize, Serializer};

/// A carrier's tracking number: 1 to 64 visible ASCII characters. Not all carriers use digits only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingNumber(String);

/// The text is not a tracking number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1–64 visible ASCII characters")]
pub struct TrackingNumberError;

impl TrackingNumber {
    /// Checks the length and the characters.
    pub fn parse(text: &str) -> Result<Self, TrackingNumberError> {
        let is_valid = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(TrackingNumberError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u64> for TrackingNumber {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for TrackingNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serialized as the contract requires: a JSON number if it is a canonical integer below 2^53,
/// which every JSON reader keeps exact (RFC 8259, section 6), otherwise a string.
impl Serialize for TrackingNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u64>() {
            Ok(number) if number < 1 << 53 && number.to_string() == self.0 => {
                serializer.serialize_u64(number)
            }
            _ => serializer.serialize_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracking_number_is_a_json_number_only_where_nothing_is_lost() {
        let json = |text: &str| {
            let number = TrackingNumber::parse(text).unwrap();
            serde_json::to_string(&number).unwrap()
        };
        assert_eq!(json("12345678"), "12345678");
        assert_eq!(json("9400100000000000000000"), "\"9400100000000000000000\"");
        assert_eq!(json("EZ1000000001"), "\"EZ1000000001\"");
        assert_eq!(json("007"), "\"007\"");
        assert_eq!(json("9007199254740992"), "\"9007199254740992\"");
        assert_eq!(TrackingNumber::parse(""), Err(TrackingNumberError));
        assert_eq!(TrackingNumber::parse("a b"), Err(TrackingNumberError));
    }
}
