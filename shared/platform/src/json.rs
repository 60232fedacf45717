//! Reads untrusted JSON.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The prefix of the names by which `serde_json` passes numbers and raw texts to itself. In
/// untrusted JSON, an object with such a name would be read as a number, or as a text whose nesting
/// is counted from zero.
const RESERVED: &str = "$serde_json::private::";

/// Why a text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or not of the expected form.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    /// A field name is reserved by `serde_json`.
    #[error("reserved field name at line {line} column {column}")]
    Reserved {
        /// The line of the name, from 1.
        line: usize,
        /// The column of the name, from 1.
        column: usize,
    },
    /// An object has a field name twice.
    #[error("repeated field name at line {line} column {column}")]
    Repeated {
        /// The line of the second name, from 1.
        line: usize,
        /// The column of the end of the second name, from 1.
        column: usize,
    },
}

impl JsonError {
    /// The line where parsing stopped, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Malformed(error) => error.line(),
            Self::Reserved { line, .. } | Self::Repeated { line, .. } => *line,
        }
    }

    /// The column where parsing stopped, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        match self {
            Self::Malformed(error) => error.column(),
            Self::Reserved { column, .. } | Self::Repeated { column, .. } => *column,
        }
    }
}

/// Reads a text and refuses `serde_json`'s reserved names at any depth and in any escaping.
pub fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, JsonError> {
    if let Some(place) = reserved_name(json) {
        let before = &json[..place];
        let line_start = before.iter().rposition(|byte| *byte == b'\n');
        return Err(JsonError::Reserved {
            line: before.split(|byte| *byte == b'\n').count(),
            column: 1 + place - line_start.map_or(0, |end| end + 1),
        });
    }
    Ok(serde_json::from_slice(json)?)
}

/// Does the same, and refuses objects with a repeated name, of whose values each reader chooses
/// another one (RFC 8259, section 4).
pub fn read_unambiguous<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, JsonError> {
    let read = read(json)?;
    match serde_json::from_slice::<Unambiguous>(json) {
        Ok(Unambiguous) => Ok(read),
        Err(error) if error.is_data() => Err(JsonError::Repeated {
            line: error.line(),
            column: error.column(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Any value of which no object has a name twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while let Some(Self) = values.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name.starts_with(RESERVED) {
                // A number, as `serde_json` passes it to itself.
                fields.next_value::<IgnoredAny>()?;
            } else if names.insert(name) {
                fields.next_value::<Self>()?;
            } else {
                return Err(A::Error::custom("repeated field name"));
            }
        }
        Ok(self)
    }
}

/// The position of the first reserved name. Invalid JSON is searched up to its error.
fn reserved_name(json: &[u8]) -> Option<usize> {
    // Shortcut: `$` is written as itself or escaped, and most texts have neither.
    if !json.contains(&b'$') && !json.contains(&b'\\') {
        return None;
    }
    let mut place = 0;
    loop {
        let start = place + json[place..].iter().position(|byte| *byte == b'"')?;
        let end = end_of_string(json, start)?;
        let behind = json[end..].trim_ascii_start();
        if behind.first() == Some(&b':') && is_reserved(&json[start..end]) {
            return Some(start);
        }
        place = end;
    }
}

/// The text after the closing quote of the string that begins at `start`.
fn end_of_string(json: &[u8], start: usize) -> Option<usize> {
    let mut place = start + 1;
    loop {
        match json.get(place)? {
            b'"' => return Some(place + 1),
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
}

fn is_reserved(name: &[u8]) -> bool {
    serde_json::from_slice::<String>(name).is_ok_and(|name| name.starts_with(RESERVED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const NAMES: [&str; 5] = [
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
        r"\u0024serde_json::private::Number",
        r"$serde\u005fjson::private::Number",
        r"\u0024\u0073\u0065\u0072\u0064\u0065_json::private::RawValue",
    ];

    fn is_refused(json: &str) -> bool {
        matches!(
            read::<Value>(json.as_bytes()),
            Err(JsonError::Reserved { .. })
        )
    }

    #[test]
    fn reserved_names_are_refused_at_any_depth() {
        for name in NAMES {
            for object in [
                format!(r#"{{"{name}":"2"}}"#),
                format!("{{ \"{name}\" \n: \"2\"}}"),
                format!(r#"{{"a":1,"{name}":"2"}}"#),
                format!(r#"{{"{name}":"2","{name}":"3"}}"#),
                format!(r#"{{"a\\":"\"","b":"\\","{name}":[]}}"#),
            ] {
                for depth in 0..100 {
                    let arrays = format!("{}{object}{}", "[".repeat(depth), "]".repeat(depth));
                    assert!(is_refused(&arrays), "{arrays}");
                    let objects =
                        format!("{}{object}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
                    assert!(is_refused(&objects), "{objects}");
                }
            }
        }
        let nested = format!(
            r#"{{"$serde_json::private::RawValue":"{}"}}"#,
            "[".repeat(10_000)
        );
        assert!(is_refused(&nested));
    }

    #[test]
    fn the_place_of_a_reserved_name_is_told() {
        let json = "{\n  \"a\": {\"$serde_json::private::Number\": \"2\"}\n}";
        let error = read::<Value>(json.as_bytes()).unwrap_err();
        assert_eq!((error.line(), error.column()), (2, 9));
        assert!(matches!(error, JsonError::Reserved { .. }));
    }

    #[test]
    fn other_names_and_all_values_pass() {
        for json in [
            r#"{"$":"$serde_json::private::Number"}"#,
            r#"{"name":"\"$serde_json::private::Number\":"}"#,
            r#"["$serde_json::private::Number", "\u0024serde_json::private::Number"]"#,
            r#"{"$serde_json":1,"x$serde_json::private::Number":1.50}"#,
            r#"{"a\\":"\u0041"}"#,
        ] {
            assert!(read::<Value>(json.as_bytes()).is_ok(), "{json}");
        }
        assert!(matches!(
            read::<Value>(b"{\"a$"),
            Err(JsonError::Malformed(_))
        ));
    }

    #[test]
    fn a_name_that_an_object_repeats_is_refused_at_any_depth_and_its_place_is_told() {
        for (json, place) in [
            (r#"{"a":1,"a":2}"#, (1, 10)),
            (r#"{"a":1,"\u0061":1}"#, (1, 15)),
            ("{\"a\":{\n\"b\":[],\n\"b\":[]}}", (3, 3)),
            (r#"[{"a":[{"b":null,"c":1.50,"b":true}]}]"#, (1, 29)),
            (r#"{"":1,"":2}"#, (1, 8)),
        ] {
            let error = read_unambiguous::<Value>(json.as_bytes()).unwrap_err();
            assert!(matches!(error, JsonError::Repeated { .. }), "{json}");
            assert_eq!((error.line(), error.column()), place, "{json}");
            assert!(read::<Value>(json.as_bytes()).is_ok());
        }
        for json in [
            r#"{"a":{"a":1},"b":{"a":2},"A":[{"a":-1e400},{"a":123456789012345678901234567890}]}"#,
            r#""a""#,
            "[1,1,true,null]",
        ] {
            let plain: Value = read(json.as_bytes()).unwrap();
            assert_eq!(read_unambiguous::<Value>(json.as_bytes()).unwrap(), plain);
        }
        let cut = read_unambiguous::<Value>(br#"{"a":1,"a":2"#);
        assert!(matches!(cut, Err(JsonError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"{".to_vec()), Just(b"}".to_vec()), Just(b"\"".to_vec()), Just(b":".to_vec()),
                    Just(b",".to_vec()), Just(b"\\".to_vec()), Just(b"\\u0024".to_vec()),
                    Just(b"$serde_json::private::Number".to_vec()), Just(b"1".to_vec()),
                    Just(b" ".to_vec()), any::<u8>().prop_map(|byte| vec![byte]),
                ],
                0..40,
            ),
        ) {
            let bytes = bytes.concat();
            let plain = serde_json::from_slice::<Value>(&bytes).ok();
            match read::<Value>(&bytes) {
                Ok(value) => prop_assert_eq!(Some(value), plain),
                Err(JsonError::Malformed(_)) => prop_assert_eq!(None, plain),
                Err(JsonError::Reserved { .. }) => {}
                Err(JsonError::Repeated { .. }) => prop_assert!(false, "repeats are allowed"),
            }
        }
    }
}
