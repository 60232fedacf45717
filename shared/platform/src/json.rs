//! Reads untrusted JSON.

use serde::Deserialize;

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
}

impl JsonError {
    /// The line where parsing stopped, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Malformed(error) => error.line(),
            Self::Reserved { line, .. } => *line,
        }
    }

    /// The column where parsing stopped, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        match self {
            Self::Malformed(error) => error.column(),
            Self::Reserved { column, .. } => *column,
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
            }
        }
    }
}
