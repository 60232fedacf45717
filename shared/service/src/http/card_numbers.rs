//! The only place that searches requests for card numbers. They are refused before anything is
//! stored or logged: this service works with the billing partner's tokens.
//!
//! A card number has a length that its brand issues, starts with that brand's digits, and passes
//! the Luhn check (ISO/IEC 7812-1, "Luhn formula"). Its digits may be of any script and may be
//! separated by anything except visible letters. In a longer run of groups, such as a number
//! followed by its expiry date, the parts grouped as on a card are checked too.
//!
//! Letters before and after the digits hide nothing. A letter between them ends the number, so
//! hexadecimal IDs, ULIDs, and partners' tokens pass. UUIDs and IBANs also pass; their dashes and
//! groups of four would otherwise look like those of a card.

use std::ops::RangeInclusive;

use domain::is_visible;
use serde_json::Value;

use crate::error::CardPlace;

/// One brand's numbers: their first six digits and their lengths.
struct Issued {
    iins: RangeInclusive<u32>,
    lengths: &'static [usize],
}

const fn issued(first: u32, last: u32, lengths: &'static [usize]) -> Issued {
    Issued {
        iins: first..=last,
        lengths,
    }
}

/// The numbers that brands issue. Sources: Wikipedia, "Payment card number" (table of issuer
/// identification numbers); the patterns of Braintree's `credit-card-type`.
///
/// No brand issues 13 digits any more, so EANs and times in milliseconds pass; the one old Visa
/// test number that `PayPal` still prints is listed. Maestro's many ranges count at their usual
/// lengths only. UATP's numbers continue with an airline's code; codes up to 299 count, and 354,
/// which test numbers use.
const ISSUED: &[Issued] = &[
    // Visa.
    issued(400_000, 499_999, &[16, 18, 19]),
    issued(422_222, 422_222, &[13]),
    // Mastercard.
    issued(510_000, 559_999, &[16]),
    issued(222_100, 272_099, &[16]),
    // American Express.
    issued(340_000, 349_999, &[15]),
    issued(370_000, 379_999, &[15]),
    // Discover; Troy and Elo share 65.
    issued(601_100, 601_199, &[16, 17, 18, 19]),
    issued(644_000, 659_999, &[16, 17, 18, 19]),
    // Diners Club.
    issued(300_000, 305_999, &[14, 16, 19]),
    issued(309_500, 309_599, &[14, 16, 19]),
    issued(360_000, 369_999, &[14, 16, 19]),
    issued(380_000, 399_999, &[14, 16, 19]),
    // JCB, with its older ranges.
    issued(352_800, 358_999, &[16, 17, 18, 19]),
    issued(308_800, 309_499, &[16]),
    issued(309_600, 310_299, &[16]),
    issued(311_200, 312_099, &[16]),
    issued(315_800, 315_999, &[16]),
    issued(333_700, 334_999, &[16]),
    // UnionPay.
    issued(620_000, 629_999, &[16, 17, 18, 19]),
    issued(810_000, 817_999, &[16, 17, 18, 19]),
    // Maestro, Bancontact, Dankort, Elo, Verve, Hiper, InterPayment.
    issued(500_000, 509_999, &[16, 18, 19]),
    issued(560_000, 589_999, &[16, 18, 19]),
    issued(630_000, 639_999, &[16, 18, 19]),
    issued(670_000, 679_999, &[16, 18, 19]),
    issued(501_800, 501_899, &[12, 14, 15, 17]),
    issued(502_000, 502_099, &[12, 14, 15, 17]),
    issued(503_300, 503_399, &[12, 14, 15, 17]),
    issued(503_800, 503_899, &[12, 14, 15, 17]),
    issued(589_300, 589_399, &[12, 14, 15, 17]),
    issued(630_400, 630_499, &[12, 14, 15, 17]),
    issued(675_900, 676_399, &[12, 14, 15, 17]),
    // RuPay, Hipercard, Forbrugsforeningen; Codensa.
    issued(600_000, 609_999, &[16]),
    issued(820_000, 829_999, &[16]),
    issued(590_700, 590_799, &[16]),
    // Mir.
    issued(220_000, 220_499, &[16, 17, 18, 19]),
    // Troy, Uzcard, Humo, Belkart, Napas.
    issued(979_200, 979_299, &[16]),
    issued(860_000, 860_099, &[16]),
    issued(986_000, 986_099, &[16]),
    issued(911_200, 911_299, &[16]),
    issued(970_400, 970_499, &[16, 19]),
    // UATP.
    issued(100_100, 129_999, &[15]),
    issued(135_400, 135_499, &[15]),
];

/// The lengths of IBANs, each with its countries (ISO 13616; SWIFT, "IBAN registry").
const IBANS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HN HU LB NI PL SV"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// The lengths of card numbers, in digits.
const LENGTHS: RangeInclusive<usize> = 12..=19;

/// Brands may issue this length but do not print it in groups of its own, and order numbers with
/// 3-7-7 digits have it.
const UNGROUPED: usize = 17;

/// The zero of every script's decimal digits, each followed by its nine others (Unicode 16, general
/// category `Nd`).
const ZEROS: [char; 74] = [
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{ff10}',
    '\u{104a0}',
    '\u{10d30}',
    '\u{10d40}',
    '\u{11066}',
    '\u{110f0}',
    '\u{11136}',
    '\u{111d0}',
    '\u{112f0}',
    '\u{11450}',
    '\u{114d0}',
    '\u{11650}',
    '\u{116c0}',
    '\u{116d0}',
    '\u{116da}',
    '\u{11730}',
    '\u{118e0}',
    '\u{11950}',
    '\u{11bf0}',
    '\u{11c50}',
    '\u{11d50}',
    '\u{11da0}',
    '\u{11f50}',
    '\u{16a60}',
    '\u{16ac0}',
    '\u{16b50}',
    '\u{16d70}',
    '\u{1ccf0}',
    '\u{1d7ce}',
    '\u{1d7d8}',
    '\u{1d7e2}',
    '\u{1d7ec}',
    '\u{1d7f6}',
    '\u{1e140}',
    '\u{1e2f0}',
    '\u{1e4f0}',
    '\u{1e5f1}',
    '\u{1e950}',
    '\u{1fbf0}',
];

/// Every value and every field name of a JSON body that looks like a card number.
pub(super) fn in_body(body: &Value) -> Vec<CardPlace> {
    let mut places = Vec::new();
    walk(body, String::new(), &mut places);
    places
}

fn walk(value: &Value, pointer: String, places: &mut Vec<CardPlace>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => {
            if holds_card_number(text) {
                places.push(CardPlace::Value(pointer));
            }
        }
        Value::Number(number) => {
            let number = number.as_str();
            if holds_card_number(number)
                || written_out(number).is_some_and(|number| holds_card_number(&number))
            {
                places.push(CardPlace::Value(pointer));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{pointer}/{index}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if holds_card_number(name) {
                    // Omit the pointer of this name and of anything below it: they contain the
                    // number.
                    places.push(CardPlace::Name(pointer.clone()));
                    continue;
                }
                let escaped = name.replace('~', "~0").replace('/', "~1");
                walk(value, format!("{pointer}/{escaped}"), places);
            }
        }
    }
}

/// A JSON number without its exponent, if it has one; `None` for more digits than a card number
/// has.
fn written_out(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E'])?;
    let exponent: i64 = exponent.parse().ok()?;
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let length = usize::try_from(point).ok()?.checked_sub(zeros)?;
    let significant = &digits[zeros..];
    LENGTHS
        .contains(&length)
        .then(|| match significant.split_at_checked(length) {
            Some((whole, fraction)) => format!("{whole}.{fraction}"),
            None => format!("{significant:0<length$}"),
        })
}

/// Whether a text contains what looks like a card number.
pub(super) fn holds_card_number(text: &str) -> bool {
    // Shortcut: most texts have too few digits of any script.
    let is_candidate = |byte: &u8| byte.is_ascii_digit() || *byte >= 0xc0;
    if text.bytes().filter(is_candidate).count() < *LENGTHS.start() {
        return false;
    }
    let mut run = Run::default();
    let mut is_in_word = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !is_in_word && let Some(behind) = behind_uuid(rest).or_else(|| behind_iban(rest)) {
            if run.is_card() {
                return true;
            }
            run.clear();
            (is_in_word, rest) = (true, behind);
            continue;
        }
        rest = &rest[character.len_utf8()..];
        match digit(character) {
            Some(digit) => run.push(digit),
            // Fillers are letters that are invisible.
            None if character.is_alphabetic() && is_visible(character) => {
                if run.is_card() {
                    return true;
                }
                run.clear();
            }
            None => run.separate(),
        }
        is_in_word = character.is_alphanumeric();
    }
    run.is_card()
}

/// The rest of a text that starts with a UUID (RFC 9562, section 4).
fn behind_uuid(text: &str) -> Option<&str> {
    const LENGTH: usize = 36;
    // Shortcut: most texts have no dash here.
    if text.as_bytes().get(8) != Some(&b'-') {
        return None;
    }
    let (head, tail) = text.split_at_checked(LENGTH)?;
    let is_uuid = head.bytes().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (is_uuid && !tail.starts_with(char::is_alphanumeric)).then_some(tail)
}

/// The rest of a text that starts with an IBAN, in one word or in groups separated by single
/// spaces. Its two check digits make the number 1 modulo 97 (ISO 13616), so hardly any card number
/// after two letters qualifies.
fn behind_iban(text: &str) -> Option<&str> {
    let country = text.get(..2)?.to_ascii_uppercase();
    if !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let has_country =
        |(_, countries): &&(usize, &str)| countries.split(' ').any(|its| its == country);
    let (length, _) = IBANS.iter().find(has_country)?;
    let mut characters = Vec::with_capacity(*length);
    let mut was_space = false;
    for (at, character) in text.char_indices() {
        if characters.len() == *length {
            break;
        }
        match character {
            ' ' if !was_space && !characters.is_empty() => was_space = true,
            _ if character.is_ascii_alphanumeric() => {
                was_space = false;
                characters.push((at, character.to_digit(36)?));
            }
            _ => return None,
        }
    }
    if characters.len() < *length {
        return None;
    }
    let (last, _) = characters.last()?;
    let behind = &text[last + 1..];
    let (head, account) = characters.split_at(4);
    let remainder = account.iter().chain(head).fold(0, |remainder, (_, value)| {
        (remainder * if *value > 9 { 100 } else { 10 } + value) % 97
    });
    (remainder == 1 && !behind.starts_with(char::is_alphanumeric)).then_some(behind)
}

/// The value of a decimal digit of any script.
fn digit(character: char) -> Option<u8> {
    if character.is_ascii() {
        return character
            .is_ascii_digit()
            .then(|| u8::try_from(character).unwrap_or_default() - b'0');
    }
    let zero = match ZEROS.binary_search(&character) {
        Ok(_) => return Some(0),
        Err(behind) => ZEROS[behind.checked_sub(1)?],
    };
    let value = u32::from(character) - u32::from(zero);
    u8::try_from(value).ok().filter(|value| *value <= 9)
}

/// Digits with no letter between them.
#[derive(Default)]
struct Run {
    digits: Vec<u8>,
    /// The start index of each group.
    starts: Vec<usize>,
    is_in_group: bool,
}

impl Run {
    fn push(&mut self, digit: u8) {
        if !self.is_in_group {
            self.starts.push(self.digits.len());
            self.is_in_group = true;
        }
        self.digits.push(digit);
    }

    fn separate(&mut self) {
        self.is_in_group = false;
    }

    fn clear(&mut self) {
        self.digits.clear();
        self.starts.clear();
        self.is_in_group = false;
    }

    /// Whether all digits, or a part grouped as on a card, are a card number.
    fn is_card(&self) -> bool {
        if is_card_number(&self.digits) && self.digits.len() != UNGROUPED {
            return true;
        }
        let ends: Vec<usize> = (self.starts.iter().skip(1).copied())
            .chain([self.digits.len()])
            .collect();
        (0..self.starts.len()).any(|first| {
            let start = self.starts[first];
            let fitting = ends[first..]
                .iter()
                .take_while(|end| *end - start <= *LENGTHS.end());
            fitting.enumerate().any(|(more, end)| {
                is_card_number(&self.digits[start..*end])
                    && is_grouped_as_on_a_card(&self.starts[first..=first + more], *end)
            })
        })
    }
}

/// One group; groups of one length with a shorter last one; 4-6-5 (American Express), 4-6-4 (Diners
/// Club), 6-13 (`UnionPay`, Maestro).
fn is_grouped_as_on_a_card(starts: &[usize], end: usize) -> bool {
    let ends = starts.iter().skip(1).copied().chain([end]);
    let lengths: Vec<usize> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| end - start)
        .collect();
    match lengths[..] {
        [_] | [4, 6, 4 | 5] | [6, 13] => true,
        [first, ref middle @ .., last] => {
            middle.iter().all(|length| *length == first) && last <= first
        }
        [] => false,
    }
}

fn is_card_number(digits: &[u8]) -> bool {
    LENGTHS.contains(&digits.len()) && passes_luhn(digits) && is_issued(digits)
}

/// Whether a brand issues numbers with this length and these first digits.
fn is_issued(digits: &[u8]) -> bool {
    let first = digits.iter().take(6);
    let iin = first.fold(0, |iin, digit| iin * 10 + u32::from(*digit));
    ISSUED
        .iter()
        .any(|issued| issued.iins.contains(&iin) && issued.lengths.contains(&digits.len()))
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match place % 2 {
                0 => digit,
                // The digit sum of twice the digit.
                _ => digit * 2 / 10 + digit * 2 % 10,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Published test numbers: Stripe ("Test card numbers"), `PayPal` ("Card testing", and the
    /// 13-digit one of its older pages), Braintree ("Testing and Go Live"), Adyen ("Test card
    /// numbers"), Cybersource ("Testing guide").
    const CARDS: &[&str] = &[
        // Stripe.
        "4242424242424242",
        "4000056655665556",
        "4000002500001001",
        "5555555555554444",
        "2223003122003222",
        "5200828282828210",
        "5105105105105100",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "6011000990139424",
        "6011981111111113",
        "3056930009020004",
        "36227206271667",
        "6555900000604105",
        "3566002020360505",
        "6200000000000005",
        "6200000000000047",
        "6205500000000000004",
        "4000000000000002",
        "4000000000009995",
        "4000002760003184",
        // PayPal.
        "376680816376961",
        "36461510000039",
        "36461510000013",
        "6304000000000000",
        "5063516945005047",
        "2223000048400011",
        "4005519200000004",
        "4012000033330026",
        "4012000077777777",
        "4012888888881881",
        "4217651111111119",
        "4500600000000061",
        "4772129056533503",
        "4915805038587737",
        "6200680000000004",
        "6200680000000038",
        "3636500000000260",
        "3636500000000989",
        "4868719196829038",
        "5329879707824603",
        "6507720016523241",
        "3613285017849035",
        "6011270016527338",
        "4222222222222",
        // Braintree.
        "378734493671000",
        "36259600000004",
        "6011000991300009",
        "3530111333300000",
        "4111111111111111",
        "4009348888881881",
        "6243030000000001",
        "6221261111117766",
        "6223164991230014",
        // Adyen.
        "370000000000002",
        "6703444444444449",
        "4871049999999910",
        "4035501000000008",
        "4360000001000005",
        "5019555544445555",
        "36070500001020",
        "6011601160116611",
        "6445644564456445",
        "5066991111111118",
        "6062828888666688",
        "3569990010095841",
        "6771798021000008",
        "2222400070000005",
        "2222410740360010",
        "5577000055770004",
        "5100060000000002",
        "135410014004955",
        "4988438843884305",
        "5136333333333335",
        "6007220000000004",
        // Cybersource.
        "50339619890917",
        "586824160825533338",
        "6759411100000008",
        "6759560045005727054",
        "4917610000000000003",
        "630495060000000000",
        "30569309025904",
    ];

    fn grouped(card: &str, length: usize, separator: &str) -> String {
        let groups: Vec<&str> = (0..card.len())
            .step_by(length)
            .map(|start| &card[start..card.len().min(start + length)])
            .collect();
        groups.join(separator)
    }

    #[test]
    fn card_numbers_are_found_however_people_write_them() {
        let separators = [
            " ",
            "-",
            ".",
            "/",
            "_",
            ",",
            "\u{a0}",
            "\u{2009}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0020}",
            "\u{202f}",
            "\u{200b}",
            "\u{2060}",
            "\u{feff}",
            "\u{2013}",
            "\u{2212}",
            "\n",
            "\r\n",
            "  ",
            " - ",
            "._\u{200b}",
            "+",
            "\u{b2}",
        ];
        for card in CARDS {
            assert!(holds_card_number(card), "{card}");
            for separator in separators {
                for length in [1, 2, 4, 6, 8] {
                    let grouped = grouped(card, length, separator);
                    for text in [
                        grouped.clone(),
                        format!("Lital Hay, {grouped}!"),
                        format!("card-{grouped}"),
                        format!("x{grouped}y"),
                    ] {
                        assert!(holds_card_number(&text), "{text}");
                    }
                }
                let fours = grouped(card, 4, separator);
                for text in [
                    format!("{fours} 09/26"),
                    format!("12 {fours}"),
                    format!("({fours})\n1"),
                ] {
                    assert!(holds_card_number(&text), "{text}");
                }
            }
        }
        for text in [
            "3782 822463 10005",
            "3056 930902 5904",
            "620550 0000000000004",
            "4242 4242 4242 4242 09 26 123",
            "4242 4242 4242 4242\n123",
            "SKU-4242424242424242",
            "sku_4242424242424242_blue",
            "x4242424242424242",
            "4242424242424242x",
            "pm_4242424242424242",
            "4242\u{20e3}4242\u{20e3}4242\u{20e3}4242",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn the_digits_of_every_script_count_and_so_do_mixtures() {
        for (place, zero) in ZEROS.iter().enumerate() {
            let digit = |value: u32| char::from_u32(u32::from(*zero) + value).unwrap();
            let other = ZEROS[(place + 1) % ZEROS.len()];
            let other = |value: u32| char::from_u32(u32::from(other) + value).unwrap();
            let written = |digits: [&dyn Fn(u32) -> char; 2]| -> String {
                let values = CARDS[0].chars().map(|c| c.to_digit(10).unwrap());
                let digits = values
                    .enumerate()
                    .map(|(place, value)| digits[place % 2](value));
                digits.collect()
            };
            let ascii = |value: u32| char::from_digit(value, 10).unwrap();
            for text in [
                written([&digit, &digit]),
                written([&digit, &other]),
                written([&ascii, &digit]),
                grouped(CARDS[0], 4, "-").replace('2', &digit(2).to_string()),
            ] {
                assert!(holds_card_number(&text), "{text}");
            }
            assert!(digit(0).is_numeric() && digit(9).is_numeric(), "{zero:?}");
        }
        assert!(ZEROS.is_sorted());
    }

    #[test]
    fn what_is_no_card_number_passes() {
        for text in [
            "",
            "0545870006",
            "17 boulevard, 123 apt 6 Brooklyn NY",
            "17 boulevard, 123 apt 6, Brooklyn NY 11201",
            // Numbers of no brand, and numbers of 11 and 20 digits.
            "000000000000",
            "9999999999999995",
            "42424242424",
            "42424242424242424242",
            // One wrong digit, two swapped digits.
            "4242424242424243",
            "4242 4242 4242 2442",
            "4242 4242 4242 4243",
            "4242-4242-4242-4243, 01/29",
            // Letters between the digits.
            "42424242a42424242",
            "4242 and 4242 and 4242 and 4242",
            // EANs, some of which pass the Luhn check.
            "4006381333931",
            "ean_4006381330060",
            "5018374350046",
            // Phone numbers.
            "972545870008",
            "00972545870008",
            "+97 254-587 (0008)",
            "+49 1512 3456789",
            // Ids.
            "ord_01JDB4XK00EXAMPVE0RDER0001",
            "inv_4242424242424242424242424Z",
            "ord_00000000000000000000000000",
            "42424242-4242-4242-4242-424242424242",
            "f47ac10b-5812-4372-4242-0e02b2c3d479",
            "507f1f77bcf86cd799439011",
            "2026-11-23T10:12:05+00:00",
            "2026-11-23 10:12:05.123456",
            "1Z999AA10123456784",
            // IBANs whose groups look like card numbers.
            "DE89 3704 0044 0532 0130 00",
            "refund to GB82 WEST 1234 5698 7654 32, please",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }

    /// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        fn digits(&mut self, count: usize) -> String {
            (0..count)
                .map(|_| char::from(b'0' + u8::try_from(self.below(10)).unwrap()))
                .collect()
        }

        fn of(&mut self, alphabet: &str, count: usize) -> String {
            let letters: Vec<char> = alphabet.chars().collect();
            let count_of = u64::try_from(letters.len()).unwrap();
            (0..count)
                .map(|_| letters[usize::try_from(self.below(count_of)).unwrap()])
                .collect()
        }
    }

    /// GS1 General Specifications, "Check digit calculation": an EAN's last digit.
    fn ean(random: &mut Random) -> String {
        let digits = random.digits(12);
        let sum: u32 = digits
            .bytes()
            .enumerate()
            .map(|(place, digit)| u32::from(digit - b'0') * if place % 2 == 0 { 1 } else { 3 })
            .sum();
        format!("{digits}{}", (10 - sum % 10) % 10)
    }

    /// ITU-T E.164: a country code and the number of digits after it.
    fn phone(random: &mut Random) -> String {
        let phones = [
            ("1", 10),
            ("34", 9),
            ("36", 9),
            ("39", 10),
            ("44", 10),
            ("49", 11),
            ("52", 10),
            ("55", 11),
            ("60", 10),
            ("62", 12),
            ("81", 10),
            ("86", 11),
            ("91", 10),
            ("372", 8),
            ("380", 9),
            ("972", 9),
        ];
        let (country, length) = phones[usize::try_from(random.below(16)).unwrap()];
        format!("{country}{}", random.digits(length))
    }

    /// A time from 2015 to 2035, with this many decimals of a second.
    fn time(random: &mut Random, fraction: usize) -> String {
        let (from, to) = (1_420_070_400, 2_082_758_400);
        let second = from + random.below(to - from);
        format!("{second}{}", random.digits(fraction))
    }

    fn uuid(random: &mut Random) -> String {
        [8, 4, 4, 4, 12]
            .map(|length| random.of(HEX, length))
            .join("-")
    }

    const HEX: &str = "0123456789abcdef";
    const CROCKFORD: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    type Make = fn(&mut Random) -> String;

    const OTHERS: &[(&str, Make)] = &[
        ("EAN-13", ean),
        ("EAN-14", |r| format!("{}{}", 1 + r.below(8), ean(r))),
        ("UPC-A", |r| r.digits(12)),
        ("13 digits", |r| r.digits(13)),
        ("milliseconds", |r| time(r, 3)),
        ("microseconds", |r| time(r, 6)),
        ("nanoseconds", |r| time(r, 9)),
        ("phone", phone),
        ("phone with +", |r| format!("+{}", phone(r))),
        ("phone with 00", |r| format!("00{}", phone(r))),
        ("10 digits", |r| r.digits(10)),
        ("14 digits", |r| r.digits(14)),
        ("date and number", |r| format!("20261123{}", r.digits(8))),
        ("3-7-7", |r| {
            format!("{}-{}-{}", r.digits(3), r.digits(7), r.digits(7))
        }),
        ("UUID", uuid),
        ("32 hexadecimal digits", |r| r.of(HEX, 32)),
        ("64 hexadecimal digits", |r| r.of(HEX, 64)),
        ("ULID", |r| r.of(CROCKFORD, 26)),
        ("UPS", |r| {
            format!("1Z{}{}", r.of("0123456789ABCDEF", 6), r.digits(10))
        }),
        ("USPS, 20", |r| r.digits(20)),
        ("USPS, 22", |r| format!("94{}", r.digits(20))),
        ("FedEx, 12", |r| r.digits(12)),
        ("FedEx, 15", |r| r.digits(15)),
    ];

    #[test]
    fn under_one_in_a_hundred_other_numbers_is_taken_for_a_card() {
        for (kind, make) in OTHERS {
            let mut random = Random(1);
            let taken = (0..10_000)
                .filter(|_| holds_card_number(&make(&mut random)))
                .count();
            assert!(taken < 100, "{kind}: {taken} of 10 000");
        }
    }

    #[test]
    fn numbers_are_read_whatever_their_notation() {
        for (number, is_card) in [
            ("4242424242424242", true),
            ("-4242424242424242", true),
            ("4242424242424242.0", true),
            ("4.242424242424242e15", true),
            ("-4.242424242424242E+15", true),
            ("42424242424242420E-1", true),
            ("0.00000004242424242424242e23", true),
            (
                "424242424242424200000000000000000000000000000000000e-35",
                true,
            ),
            // Numbers in other notations, including one whose plain notation is a card number.
            ("4.11111111111111111e15", true),
            ("3.782822463100050e14", true),
            ("4e15", false),
            ("4242424242424243", false),
            ("1e15", false),
            ("1e300", false),
            ("1e99999999999999999999", false),
            ("1e-9223372036854775808", false),
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
    fn a_card_number_is_found_in_a_phone_number_too() {
        for phone in ["+4242424242424242", "+378282246310005", "+36 227206 271667"] {
            assert!(!in_body(&json!({"phone": phone})).is_empty(), "{phone}");
        }
        assert!(in_body(&json!({"phone": "+972545870008"})).is_empty());
    }

    proptest! {
        #[test]
        fn our_own_ids_are_never_taken_for_cards(millis: u64, random: [u8; 10]) {
            let id = domain::OrderId::from_time(millis, random);
            prop_assert!(!holds_card_number(&id.to_string()));
            prop_assert!(!holds_card_number(&id.invoice().to_string()));
        }

        #[test]
        fn a_card_number_is_found_and_no_neighbour_of_it(digits in "4[0-9]{14}", wrong in 1_u8..10) {
            let values = |text: &str| -> Vec<u8> { text.bytes().map(|byte| byte - b'0').collect() };
            let check: Vec<u8> = (0..10)
                .filter(|check| passes_luhn(&values(&format!("{digits}{check}"))))
                .collect();
            prop_assert_eq!(check.len(), 1);
            let other = (check[0] + wrong) % 10;
            let (card, near) = (format!("{digits}{}", check[0]), format!("{digits}{other}"));
            prop_assert!(holds_card_number(&card));
            prop_assert!(!holds_card_number(&near));
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC{0,200}") {
            holds_card_number(&text);
        }
    }
}
