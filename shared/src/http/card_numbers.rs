//! The one place that looks for card numbers, in whatever a request carries. They are refused before
//! anything is stored or logged: this service works with the billing partner's tokens.
//!
//! What looks like a card number: 12 to 19 digits that pass the Luhn check (ISO/IEC 7812-1, "Luhn
//! formula"), in one piece or in groups with a single blank or dash between them. Of a longer run of
//! groups, as a card number with its expiry date behind it, the parts that are grouped as on a card
//! are looked at too.
//!
//! What does not: digits that touch a letter or `_` (our own ids, a partner's tokens, `ean_4006…`),
//! UUIDs, and in a field named `phone` an international number with its `+` (ITU-T E.164: at most 15
//! digits). One in ten of all other numbers of that length passes the Luhn check by chance; they are
//! refused too, because nobody can tell them apart.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::error::CardPlace;

/// How many digits a card number has (ISO/IEC 7812-1; the shortest ones in use have 12).
const LENGTHS: RangeInclusive<usize> = 12..=19;

/// Every value and every field name of a JSON body that looks like a card number.
pub(super) fn in_body(body: &Value) -> Vec<CardPlace> {
    let mut places = Vec::new();
    walk(body, "", String::new(), &mut places);
    places
}

fn walk(value: &Value, name: &str, pointer: String, places: &mut Vec<CardPlace>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) if name == "phone" && is_international_phone(text) => {}
        Value::String(text) => {
            if holds_card_number(text) {
                places.push(CardPlace::Value(pointer));
            }
        }
        Value::Number(number) => {
            if holds_card_number(&written_out(number.as_str())) {
                places.push(CardPlace::Value(pointer));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, name, format!("{pointer}/{index}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if holds_card_number(name) {
                    // Not its own pointer, nor one of what is below it: that would show the number.
                    places.push(CardPlace::Name(pointer.clone()));
                    continue;
                }
                let escaped = name.replace('~', "~0").replace('/', "~1");
                walk(value, name, format!("{pointer}/{escaped}"), places);
            }
        }
    }
}

/// Whether a text holds what looks like a card number.
pub(super) fn holds_card_number(text: &str) -> bool {
    let text: String = text.chars().map(ascii_digit).collect();
    runs(&text).iter().any(|run| is_card(run))
}

/// A JSON number without its exponent.
fn written_out(number: &str) -> Cow<'_, str> {
    if number.contains(['e', 'E'])
        && let Ok(decimal) = Decimal::from_scientific(number)
    {
        return decimal.normalize().to_string().into();
    }
    number.into()
}

/// The digits of other keyboards (full width, Arabic, Persian) as ASCII.
fn ascii_digit(character: char) -> char {
    let zero = match character {
        '\u{ff10}'..='\u{ff19}' => '\u{ff10}',
        '\u{660}'..='\u{669}' => '\u{660}',
        '\u{6f0}'..='\u{6f9}' => '\u{6f0}',
        other => return other,
    };
    let digit = u32::from(character) - u32::from(zero);
    char::from_digit(digit, 10).unwrap_or(character)
}

/// The groups of digits in a text, those together that have one blank or dash between them. A group
/// is a whole word: digits that touch a letter or `_` are none.
fn runs(text: &str) -> Vec<Vec<&str>> {
    let mut runs: Vec<Vec<&str>> = Vec::new();
    let (mut is_after_group, mut is_joined) = (false, false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !is_of_word(first) {
            is_joined = is_after_group && is_separator(first);
            is_after_group = false;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, tail) = rest.split_at(word_length(rest));
        is_after_group = word.bytes().all(|byte| byte.is_ascii_digit());
        if is_after_group {
            match runs.last_mut() {
                Some(run) if is_joined => run.push(word),
                _ => runs.push(vec![word]),
            }
        }
        is_joined = false;
        rest = tail;
    }
    runs
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Blanks and dashes as people and word processors write them.
fn is_separator(character: char) -> bool {
    matches!(
        character,
        ' ' | '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}' | '-' | '\u{2010}'
            ..='\u{2015}' | '\u{2212}'
    )
}

/// The bytes of the word that a text begins with. A UUID (RFC 9562, section 4) is one word.
fn word_length(text: &str) -> usize {
    const UUID: usize = 36;
    let is_uuid = text.get(..UUID).is_some_and(|head| {
        head.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }) && !text[UUID..].starts_with(is_of_word)
    });
    if is_uuid {
        return UUID;
    }
    text.find(|character| !is_of_word(character))
        .unwrap_or(text.len())
}

/// Whether a run, or a part of it that is grouped as on a card, is a card number.
fn is_card(run: &[&str]) -> bool {
    let is_number = |groups: &[&str]| {
        let digits = groups.concat();
        LENGTHS.contains(&digits.len()) && passes_luhn(&digits)
    };
    is_number(run)
        || (0..run.len()).any(|start| {
            // No card number has more groups than digits.
            let end = run.len().min(start + LENGTHS.end());
            (start + 1..=end).any(|end| {
                let part = &run[start..end];
                is_grouped_as_on_a_card(part) && is_number(part)
            })
        })
}

/// One piece; fours with a shorter end; 4-6-5 (American Express), 4-6-4 (Diners Club), 6-13
/// (`UnionPay`, Maestro).
fn is_grouped_as_on_a_card(groups: &[&str]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    match lengths[..] {
        [_] | [4, 6, 4 | 5] | [6, 13] => true,
        // At least four groups: the first twelve digits of a longer number are no number.
        [ref fours @ .., last] => {
            fours.len() >= 3 && fours.iter().all(|length| *length == 4) && last <= 4
        }
        [] => false,
    }
}

fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            match place % 2 {
                0 => digit,
                // Twice the digit, its own digits added up.
                _ => digit * 2 / 10 + digit * 2 % 10,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+` and 7 to 15 digits, grouped in any way.
fn is_international_phone(text: &str) -> bool {
    let Some(number) = text.trim().strip_prefix('+') else {
        return false;
    };
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    (7..=15).contains(&digits)
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || is_separator(c) || "().".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Published test numbers of the card networks.
    const CARDS: [&str; 14] = [
        "4242424242424242",
        "4000056655665556",
        "4222222222222",
        "4917610000000000003",
        "5555555555554444",
        "2223003122003222",
        "5200828282828210",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "30569309025904",
        "3566002020360505",
        "6200000000000005",
        "630495060000000000",
    ];

    #[test]
    fn card_numbers_are_found_however_people_type_them() {
        for card in CARDS {
            assert!(holds_card_number(card), "{card}");
            let fours: Vec<&str> = (0..card.len())
                .step_by(4)
                .map(|start| &card[start..card.len().min(start + 4)])
                .collect();
            for separator in [" ", "-", "\u{a0}", "\u{2013}"] {
                let grouped = fours.join(separator);
                for text in [
                    grouped.clone(),
                    format!("Lital Hay, {grouped}!"),
                    format!("card:{grouped}"),
                    format!("card-{grouped}"),
                    format!("{grouped} 09/26"),
                    format!("12 {grouped}"),
                    format!("({grouped})"),
                ] {
                    assert!(holds_card_number(&text), "{text}");
                }
            }
        }
        for text in [
            "3782 822463 10005",
            "3056 930902 5904",
            "620550 0000000000004",
            "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
            "42-42 42-42 42-42 42-42",
            "4242 4242 4242 4242 09 26 123",
            "4242 4242 4242 4242\n123",
            "４２４２４２４２４２４２４２４２",
            "٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢",
            "000000000000",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_card_number_passes() {
        for text in [
            "",
            "0545870006",
            "17 boulevard, 123 apt 6 Brooklyn NY",
            "17 boulevard, 123 apt 6, Brooklyn NY 11201",
            // 11 and 20 digits that pass the Luhn check.
            "42424242424",
            "42424242424242424242",
            // One digit off, two digits swapped.
            "4242424242424243",
            "4242 4242 4242 2442",
            "4242 4242 4242 4243",
            "4242-4242-4242-4243, 09/26",
            // Two separators, or others.
            "4242  4242  4242  4242",
            "4242.4242.4242.4242",
            "4242/4242/4242/4242",
            // Ids.
            "ord_01JDB4XK00EXAMPVE0RDER0001",
            "inv_4242424242424242424242424Z",
            "ord_00000000000000000000000000",
            "pm_4242424242424242",
            "ean4242424242424242",
            "4242424242424242x",
            "42424242-4242-4242-4242-424242424242",
            "f47ac10b-5812-4372-4242-0e02b2c3d479",
            "507f1f77bcf86cd799439011",
            "2026-11-23T10:12:05+00:00",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_whatever_their_notation() {
        for (number, is_card) in [
            ("4242424242424242", true),
            ("-4242424242424242", true),
            ("4242424242424242.0", true),
            ("4.242424242424242e15", true),
            ("42424242424242420E-1", true),
            ("4242424242424243", false),
            ("1e15", false),
            ("1e300", false),
            ("200.0", false),
            ("19.99", false),
        ] {
            let value: Value = serde_json::from_str(number).unwrap();
            assert_eq!(!in_body(&value).is_empty(), is_card, "{number}");
        }
    }

    #[test]
    fn every_place_in_a_body_is_named_and_no_number_shown() {
        let card = "4242424242424242";
        let body = json!({
            "name": card,
            "items": [{"productId": "1234"}, {"productId": "4242-4242-4242-4242", "price": 4_242_424_242_424_242_u64}],
            "a/b~": [[card]],
            "checkout": {card: {"deep": card}, "phone": "+972 54 587 0006"}
        });
        let places = in_body(&body);
        let value = |pointer: &str| CardPlace::Value(pointer.to_owned());
        let mut expected = vec![
            value("/name"),
            value("/items/1/productId"),
            value("/items/1/price"),
            value("/a~1b~0/0/0"),
            CardPlace::Name("/checkout".to_owned()),
        ];
        let order = |place: &CardPlace| format!("{place:?}");
        expected.sort_by_key(order);
        let mut found = places.clone();
        found.sort_by_key(order);
        assert_eq!(found, expected);
        assert!(!format!("{places:?}").contains("4242"));
    }

    #[test]
    fn an_international_phone_number_is_no_card_and_a_card_is_no_phone_number() {
        // Without the brackets, each passes the Luhn check.
        for (phone, is_taken) in [
            ("+972545870008", true),
            ("+97 254-587 (0008)", true),
            ("972545870008", false),
            ("+4242424242424242", false),
            ("+4242 4242 4242 4242", false),
            ("4242424242424242", false),
        ] {
            assert!(holds_card_number(&phone.replace(['(', ')'], "")), "{phone}");
            let is_refused = !in_body(&json!({"phone": phone})).is_empty();
            assert_eq!(is_refused, !is_taken, "{phone}");
            assert!(!in_body(&json!({"name": phone.replace(['(', ')'], "")})).is_empty());
        }
    }

    proptest! {
        #[test]
        fn our_own_ids_are_never_taken_for_cards(millis: u64, random: [u8; 10]) {
            let id = crate::domain::OrderId::from_time(millis, random);
            prop_assert!(!holds_card_number(&id.to_string()));
            prop_assert!(!holds_card_number(&id.invoice().to_string()));
        }

        #[test]
        fn one_in_ten_numbers_passes_the_check_and_no_neighbour_of_one_does(
            digits in "[0-9]{11,18}", wrong in 1_u32..10,
        ) {
            let check = (0..10).filter(|check| passes_luhn(&format!("{digits}{check}")));
            let check: Vec<u32> = check.collect();
            prop_assert_eq!(check.len(), 1);
            let other = (check[0] + wrong) % 10;
            let (card, near) = (format!("{digits}{}", check[0]), format!("{digits}{other}"));
            prop_assert!(holds_card_number(&card));
            prop_assert!(!holds_card_number(&near));
        }
    }
}
