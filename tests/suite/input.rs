//! Input from customers and their programs: numbers in any notation, lines in any order, texts
//! without visible characters, and addresses that SES does not accept.

use std::fmt::Write as _;

use payment::partners::Sandbox;
use proptest::prelude::*;
use serde_json::{Value, json};
use tests::{Cloud, Reply, request};
use tokio::runtime::Runtime;

use crate::agreements::agreement;
use crate::contract::{cart, cart_with_checkout, invoice, payment, shipping, text};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";

/// A number as it is written.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn started() -> (Runtime, Cloud<Sandbox>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cloud = runtime.block_on(Cloud::start());
    (runtime, cloud)
}

fn mail() -> Value {
    json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"})
}

fn cancel(order: &str) -> Value {
    json!({"customerId": "8080", "orderId": order, "reason": "ordered twice"})
}

fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    let field = body.pointer_mut(pointer);
    *field.unwrap_or_else(|| panic!("{pointer} is in the body")) = value;
    body
}

/// Whether a body with one changed value is accepted; if not, only that value may be reported.
async fn takes(cloud: &Cloud<Sandbox>, path: &str, body: &Value, pointer: &str) -> bool {
    let reply = cloud.post(path, body).await;
    if reply.code() == "invalid_fields" {
        assert_eq!(reply.pointers(), [pointer], "{path}: {}", reply.text);
        return false;
    }
    assert!(reply.status < 500, "{path}: {}", reply.text);
    true
}

async fn place(cloud: &Cloud<Sandbox>) -> String {
    let reply = cloud.post(CART, &cart()).await;
    text(&reply.body["orderId"]).to_owned()
}

#[tokio::test]
async fn a_quantity_is_judged_by_its_value() {
    let cloud = Cloud::start().await;
    let zeros = "0".repeat(50_000);
    let (long, tail) = (format!("2{zeros}e-50000"), format!("2.{zeros}"));
    for (written, taken) in [
        ("2", true),
        ("2.0", true),
        ("2e0", true),
        ("2E+0", true),
        ("20e-1", true),
        ("0.2e1", true),
        ("0.00002e5", true),
        ("2000e-3", true),
        ("2e-0", true),
        (&long, true),
        (&tail, true),
        ("2.5", false),
        ("2e1", false),
        ("2.00000000000000000000000000000000000000000000001", false),
        ("-2", false),
        ("2e99999999999999999999", false),
        ("2e-99999999999999999999", false),
        ("0e99999999999999999999", false),
        ("10001e0", false),
        ("1e400", false),
        ("18446744073709551618", false),
        ("\"2\"", false),
    ] {
        let shown = &written[..written.len().min(60)];
        let body = with(&cart(), "/items/0/quantity", number(written));
        let reply = cloud.post(CART, &body).await;
        if taken || written == "2e1" {
            assert_eq!(reply.status, 201, "{shown}: {}", reply.text);
            let expected = if taken { "2" } else { "20" };
            assert_eq!(reply.body["items"][0]["quantity"].to_string(), expected);
        } else {
            assert_eq!(reply.pointers(), ["/items/0/quantity"], "{shown}");
            assert!(reply.text.contains("a whole number from 1 to 10000"));
        }
        let order = place(&cloud).await;
        let body = with(&invoice(&order), "/items/0/quantity", number(written));
        let reply = cloud.post(INVOICE, &body).await;
        let expected = match (taken, written) {
            (true, _) => 201,
            (false, "2e1") => 409,
            _ => 422,
        };
        assert_eq!(reply.status, expected, "{shown}: {}", reply.text);
    }
}

#[tokio::test]
async fn an_amount_is_judged_by_its_value() {
    let cloud = Cloud::start().await;
    let zeros = format!("50.{}", "0".repeat(50_000));
    for (written, expected) in [
        ("5e1", Some("50")),
        ("500e-1", Some("50")),
        ("0.5E+2", Some("50")),
        (&*zeros, Some("50")),
        ("50.10", Some("50.1")),
        ("5010e-2", Some("50.1")),
        ("0e999999999", Some("0")),
        ("-0", Some("0")),
        ("-0.0e5", Some("0")),
        ("50.001", None),
        ("5e-99999999999999999999", None),
        ("5e99999999999999999999", None),
        ("1e10", None),
        ("-1e-2", None),
    ] {
        let shown = &written[..written.len().min(60)];
        let body = with(&cart(), "/items/0/price", number(written));
        let reply = cloud.post(CART, &body).await;
        if let Some(expected) = expected {
            assert_eq!(
                reply.body["items"][0]["price"].to_string(),
                expected,
                "{shown}"
            );
        } else {
            assert_eq!(reply.pointers(), ["/items/0/price"], "{shown}");
        }
    }
    let order = place(&cloud).await;
    let mut body = invoice(&order);
    for (name, written) in [
        ("tax", "360e-1"),
        ("subTotalAmount", "1.64e2"),
        ("totalAmount", "2E2"),
    ] {
        body[name] = number(written);
    }
    let reply = cloud.post(INVOICE, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let body = with(
        &payment(text(&reply.body["invoiceId"])),
        "/totalAmount",
        number("0.2e3"),
    );
    assert_eq!(cloud.post(PAYMENT, &body).await.status, 201);
}

/// A quantity from 1 to 4 and a price in cents: few enough that lines are often equal.
fn some_lines() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((1_u32..5, 0_u32..4), 1..7)
}

/// A whole number with a random notation.
fn written(value: u32, notation: u32) -> Value {
    number(&match notation % 5 {
        0 => value.to_string(),
        1 => format!("{value}.0"),
        2 => format!("{value}e0"),
        3 => format!("{}e-2", value * 100),
        _ => format!("0.{value:04}E+4"),
    })
}

fn items(lines: &[(u32, u32)], ids: &str, notation: u32) -> Value {
    let lines = lines.iter().zip(1..).map(|((quantity, price), index)| {
        json!({
            "productId": format!("{ids}{index}"),
            "quantity": written(*quantity, notation + index),
            "price": written(*price, notation + 2 * index),
        })
    });
    lines.collect()
}

fn invoice_of(placed: &Reply, items: Value) -> Value {
    let mut body = invoice(text(&placed.body["orderId"]));
    for name in ["tax", "subTotalAmount", "totalAmount"] {
        body[name] = placed.body[name].clone();
    }
    body["items"] = items;
    body
}

#[test]
fn the_lines_of_an_invoice_are_compared_as_a_multiset_of_quantity_and_price() {
    let (runtime, cloud) = started();
    let cases = (
        some_lines(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0_u32..5,
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    };
    proptest!(config, |((lines, turn, changed, notation) in cases)| {
        let body = with(&cart(), "/items", items(&lines, "p", 0));
        let placed = runtime.block_on(cloud.post(CART, &body));
        let mut sent = lines.clone();
        sent.rotate_left(turn.index(lines.len()));
        if notation > 2 {
            sent.reverse();
        }
        // A line that is unlike all others.
        let index = changed.index(sent.len());
        let mut wrong = sent.clone();
        wrong[index].0 += 100;
        let reply = runtime.block_on(cloud.post(INVOICE, &invoice_of(&placed, items(&wrong, "q", notation))));
        prop_assert_eq!(reply.status, 409, "{}", reply.text);
        let pointers = reply.pointers();
        prop_assert!(pointers.contains(&&*format!("/items/{index}/quantity")), "{}", reply.text);
        let of_that_line = |pointer: &&str| pointer.starts_with(&format!("/items/{index}/"));
        prop_assert!(pointers.iter().all(of_that_line), "{}", reply.text);
        // One of them twice.
        let mut more = sent.clone();
        more.push(sent[index]);
        let reply = runtime.block_on(cloud.post(INVOICE, &invoice_of(&placed, items(&more, "q", notation))));
        prop_assert_eq!(reply.pointers(), ["/items"]);

        let reply = runtime.block_on(cloud.post(INVOICE, &invoice_of(&placed, items(&sent, "q", notation))));
        prop_assert_eq!(reply.status, 201, "{}", reply.text);
    });
}

#[tokio::test]
async fn lines_that_differ_are_named_with_the_stored_line_that_is_left() {
    let cloud = Cloud::start().await;
    let order = place(&cloud).await;
    // Stored: 2 × 50, 1 × 100.
    for (sent, expected) in [
        (
            json!([{"productId": "1", "quantity": 1, "price": 100}, {"productId": "2", "quantity": 3, "price": 50}]),
            &[("/items/1/quantity", "is 3, but the stored value is 2")][..],
        ),
        (
            json!([{"productId": "1", "quantity": 2, "price": 50}, {"productId": "2", "quantity": 2, "price": 50}]),
            &[
                ("/items/1/quantity", "is 2, but the stored value is 1"),
                ("/items/1/price", "is 50, but the stored value is 100"),
            ],
        ),
        (
            json!([{"productId": "1", "quantity": 1, "price": 100}]),
            &[("/items", "is 1 entries, but the stored value is 2 entries")],
        ),
    ] {
        let reply = cloud
            .post(INVOICE, &with(&invoice(&order), "/items", sent))
            .await;
        assert_eq!((reply.status, reply.code()), (409, "mismatch"));
        let errors = reply.body["errors"].as_array().unwrap();
        let found: Vec<_> = errors
            .iter()
            .map(|error| (text(&error["pointer"]), text(&error["detail"])))
            .collect();
        assert_eq!(found, expected);
    }
}

/// All fields that contain a text or an ID.
fn text_fields() -> Vec<(&'static str, Value, &'static str)> {
    let cart = cart_with_checkout();
    let invoice = with_email(&invoice("ord_1"));
    vec![
        (CART, cart.clone(), "/checkout/name"),
        (CART, cart.clone(), "/checkout/phone"),
        (CART, cart.clone(), "/checkout/shipping_address"),
        (CART, cart.clone(), "/customerId"),
        (CART, cart, "/items/0/productId"),
        (INVOICE, invoice.clone(), "/name"),
        (INVOICE, invoice.clone(), "/phone"),
        (INVOICE, invoice.clone(), "/shipping_address"),
        (INVOICE, invoice.clone(), "/customerId"),
        (INVOICE, invoice.clone(), "/orderId"),
        (INVOICE, invoice, "/items/1/productId"),
        (PAYMENT, payment("inv_1"), "/customerId"),
        (PAYMENT, payment("inv_1"), "/invoiceId"),
        (SHIPPING, shipping("ord_1"), "/orderId"),
        (SHIPPING, shipping("ord_1"), "/name"),
        (SHIPPING, shipping("ord_1"), "/phone"),
        (SHIPPING, shipping("ord_1"), "/shipping_address"),
        (SHIPPING, mail(), "/name"),
        (EMAIL, mail(), "/name"),
        (CANCEL, cancel("ord_1"), "/customerId"),
        (CANCEL, cancel("ord_1"), "/orderId"),
        (CANCEL, cancel("ord_1"), "/reason"),
        (AGREEMENT, agreement(), "/customerId"),
        (AGREEMENT, agreement(), "/name"),
    ]
}

fn with_email(body: &Value) -> Value {
    let mut body = body.clone();
    body["email"] = "lital@example.com".into();
    body
}

/// Unicode 16: white space, and characters that programs do not display.
const INVISIBLE: &[(u32, u32)] = &[
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x1680, 0x1680),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0001, 0xe0001),
    (0xe0020, 0xe007f),
    (0xe0100, 0xe01ef),
];

#[test]
fn a_text_that_shows_nothing_is_blank_in_every_field() {
    let (runtime, cloud) = started();
    let invisible: Vec<char> = INVISIBLE
        .iter()
        .flat_map(|(first, last)| (*first..=*last).filter_map(char::from_u32))
        .collect();
    // All of these characters, each in one of the fields, and every kind of field many times.
    let fields = text_fields();
    for (index, character) in invisible.iter().enumerate() {
        let (path, body, pointer) = &fields[index % fields.len()];
        let blank = character.to_string().repeat(1 + index % 3);
        let body = with(body, pointer, blank.into());
        let is_taken = runtime.block_on(takes(&cloud, path, &body, pointer));
        assert!(
            !is_taken,
            "{path} {pointer} U+{:04X}",
            u32::from(*character)
        );
    }
    let cases = (
        prop::sample::select(fields),
        proptest::collection::vec(prop::sample::select(invisible), 1..20),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    proptest!(config, |(((path, body, pointer), blank) in cases)| {
        let blank: String = blank.into_iter().collect();
        let empty = with(&body, pointer, blank.as_str().into());
        prop_assert!(!runtime.block_on(takes(&cloud, path, &empty, pointer)), "{} {}", path, pointer);
        // Beside visible characters it is kept in a text, and in the middle of an ID.
        let is_id = pointer.ends_with("Id");
        let beside = if is_id { format!("a{blank}a") } else { format!("{blank}a{blank}") };
        let shown = with(&body, pointer, beside.into());
        if !blank.contains(['\u{2028}', '\u{2029}']) {
            prop_assert!(runtime.block_on(takes(&cloud, path, &shown, pointer)), "{} {}", path, pointer);
        }
        if is_id {
            let outer = with(&body, pointer, format!("a{blank}").into());
            prop_assert!(!runtime.block_on(takes(&cloud, path, &outer, pointer)), "{} {}", path, pointer);
        }
    });
}

/// A carrier and a mail get the name as typed, but a mail shows nothing in another direction.
#[tokio::test]
async fn a_name_cannot_turn_a_mail_around() {
    let cloud = Cloud::start().await;
    let name = "\u{202e}yaH latiL\u{202c} \u{5dc}\u{5d9}\u{5d8}\u{5dc}\u{200d}";
    for body in [
        with(&mail(), "/name", name.into()),
        with(&mail(), "/name", "\u{2067}\u{202d}\u{2066}Lital".into()),
    ] {
        assert_eq!(cloud.post(EMAIL, &body).await.status, 200);
    }
    let sent = cloud.mailer.taken();
    assert_eq!(sent.len(), 2);
    for sent in sent {
        let shown = [&sent.mail.subject, &sent.mail.text, &sent.mail.html];
        for part in shown {
            let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!part.contains(turns), "{part}");
        }
        assert!(sent.mail.text.contains("atiL") || sent.mail.text.contains("Lital"));
    }
}

/// All fields that contain an email address.
fn email_fields() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (CART, cart_with_checkout(), "/checkout/email"),
        (INVOICE, with_email(&invoice("ord_1")), "/email"),
        (EMAIL, mail(), "/email"),
        (SHIPPING, mail(), "/email"),
    ]
}

#[tokio::test]
async fn an_address_that_ses_rejects_is_refused_in_every_field() {
    let cloud = Cloud::start().await;
    let label = |length| "a".repeat(length);
    for (path, body, pointer) in email_fields() {
        for address in [
            "do..t@example.com",
            ".dot@example.com",
            "dot.@example.com",
            "a@-b.com",
            "a@b-.com",
            "a@b.com-",
            "a@1.2.3.4",
            "a@[127.0.0.1]",
            "a@example.123",
            "a@example.c",
            "a@b_c.com",
            "a@example..com",
            "a@example.com.",
            "a@.example.com",
            "a@localhost",
            "\"a b\"@example.com",
            "\"a\"@example.com",
            "a(b)@example.com",
            "Lital <a@example.com>",
            "a@example.com,b@example.com",
            "a@b@example.com",
            " a@example.com",
            "a@example.com ",
            "a@example.com\u{200b}",
            "\u{200b}",
            "a@b\u{fc}cher.example",
            "l\u{ef}tal@example.com",
            "@example.com",
            "a@",
            &format!("{}@example.com", label(65)),
            &format!("a@{}.com", label(64)),
            &format!("{0}@{1}.{1}.{2}.com", label(64), label(63), label(58)),
        ] {
            let changed = with(&body, pointer, address.into());
            assert!(
                !takes(&cloud, path, &changed, pointer).await,
                "{path} {address}"
            );
        }
        for address in [
            "a@example.com",
            "A.b+c_d-e@Example.COM",
            "o'neil/x=y@x-y.example",
            "a@1and1.example",
            "1@2.example",
            "a@xn--bcher-kva.example",
            "a@xn--e1afmkfd.xn--p1ai",
            &format!("{}@{}.com", label(64), label(63)),
            &format!("{0}@{1}.{1}.{2}.com", label(64), label(63), label(57)),
        ] {
            let changed = with(&body, pointer, address.into());
            assert!(
                takes(&cloud, path, &changed, pointer).await,
                "{path} {address}"
            );
        }
    }
}

#[test]
fn an_address_is_taken_only_with_every_part_in_form() {
    let (runtime, cloud) = started();
    let atoms = proptest::collection::vec("[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}", 1..4);
    let labels = proptest::collection::vec("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", 1..4);
    let top = prop_oneof!["[a-z]{2,8}", "xn--[a-z0-9]{2,8}"];
    let broken = prop::sample::select(vec![
        (true, ".", 0),
        (true, ".", 1),
        (true, " ", 1),
        (true, "\"", 0),
        (true, "(", 1),
        (true, "\u{e9}", 1),
        (true, "@", 1),
        (false, ".", 0),
        (false, "-", 0),
        (false, "_", 0),
        (false, "-", 1),
        (false, ".", 1),
        (false, ".7", 1),
        (false, ".x", 1),
        (false, "\u{e9}", 1),
        (false, " ", 1),
        (false, "\u{200b}", 1),
    ]);
    let cases = (
        prop::sample::select(email_fields()),
        atoms,
        labels,
        top,
        broken,
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    proptest!(config, |(((path, body, pointer), atoms, labels, top, broken) in cases)| {
        let (local, domain) = (atoms.join("."), format!("{}.{top}", labels.join(".")));
        let good = with(&body, pointer, format!("{local}@{domain}").into());
        prop_assert!(runtime.block_on(takes(&cloud, path, &good, pointer)), "{}@{}", local, domain);
        // A character at one end of one part.
        let (is_local, sign, end) = broken;
        let part = if is_local { &local } else { &domain };
        let part = if end == 0 { format!("{sign}{part}") } else { format!("{part}{sign}") };
        let address = if is_local { format!("{part}@{domain}") } else { format!("{local}@{part}") };
        let bad = with(&body, pointer, address.as_str().into());
        prop_assert!(!runtime.block_on(takes(&cloud, path, &bad, pointer)), "{}", address);
    });
}

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).fold(String::new(), |mut digits, _| {
            write!(digits, "{}", self.below(10)).unwrap();
            digits
        })
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// GS1 General Specifications, "Check digit calculation", for a GTIN of any length.
fn with_gtin_digit(digits: &str) -> String {
    let weighted = digits.bytes().rev().zip([3, 1].into_iter().cycle());
    let sum: u32 = weighted
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// The check digit of an IMEI (3GPP TS 23.003, annex B).
fn with_luhn_digit(digits: &str) -> String {
    let doubled = digits.bytes().rev().zip([2, 1].into_iter().cycle());
    let sum: u32 = doubled
        .map(|(digit, factor)| u32::from(digit - b'0') * factor)
        .map(|product| product / 10 + product % 10)
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

/// An IBAN (ISO 13616): its check digits make the number 1 modulo 97.
fn iban(country: &str, account: &str) -> String {
    let turned = format!("{account}{country}00");
    let remainder = turned.chars().fold(0, |remainder, c| {
        let value = c.to_digit(36).unwrap();
        (remainder * if value > 9 { 100 } else { 10 } + value) % 97
    });
    format!("{country}{:02}{account}", 98 - remainder)
}

fn in_fours(text: &str) -> String {
    let groups = text
        .as_bytes()
        .chunks(4)
        .map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(" ")
}

type Make = fn(&mut Random) -> String;

const OTHER_NUMBERS: &[(&str, Make)] = &[
    ("EAN-13", |r| with_gtin_digit(&r.digits(12))),
    ("EAN-8", |r| with_gtin_digit(&r.digits(7))),
    ("GTIN-14", |r| with_gtin_digit(&r.digits(13))),
    ("UPC", |r| with_gtin_digit(&r.digits(11))),
    ("EAN-13 behind SKU-", |r| {
        format!("SKU-{}", with_gtin_digit(&r.digits(12)))
    }),
    ("ISBN-13", |r| {
        let digits = with_gtin_digit(&format!("{}{}", r.of(&["978", "979"]), r.digits(9)));
        format!(
            "{}-{}-{}-{}-{}",
            &digits[..3],
            &digits[3..4],
            &digits[4..7],
            &digits[7..12],
            &digits[12..]
        )
    }),
    ("seconds", |r| {
        (1_420_070_400 + r.below(662_688_000)).to_string()
    }),
    ("milliseconds", |r| {
        (1_420_070_400_000 + r.below(662_688_000_000)).to_string()
    }),
    ("microseconds", |r| {
        (1_420_070_400_000_000 + r.below(662_688_000_000_000)).to_string()
    }),
    ("date and time", |r| {
        let fields = [
            2015 + r.below(20),
            1 + r.below(12),
            1 + r.below(28),
            r.below(24),
            r.below(60),
            r.below(60),
        ];
        let [year, month, day, hour, minute, second] = fields;
        format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
    }),
    ("RFC 3339", |r| {
        let fields = [
            2015 + r.below(20),
            1 + r.below(12),
            1 + r.below(28),
            r.below(24),
            r.below(60),
            r.below(60),
            r.below(1_000_000),
        ];
        let [year, month, day, hour, minute, second, micros] = fields;
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
    }),
    ("phone with +", |r| {
        format!(
            "+{}{}",
            r.of(&["1", "44", "49", "972", "62", "86"]),
            r.digits(10)
        )
    }),
    ("phone with 00", |r| {
        format!(
            "00{}{}",
            r.of(&["1", "44", "49", "972", "62", "86"]),
            r.digits(10)
        )
    }),
    ("phone in groups", |r| {
        let digits = r.digits(9);
        format!(
            "+{} {} {} {}",
            r.of(&["44", "49", "972", "39"]),
            &digits[..2],
            &digits[2..5],
            &digits[5..]
        )
    }),
    ("phone of the US", |r| {
        let digits = r.digits(10);
        format!("+1 ({}) {}-{}", &digits[..3], &digits[3..6], &digits[6..])
    }),
    ("two phones", |r| {
        format!("054{}, 03{}", r.digits(7), r.digits(7))
    }),
    ("order number, 8", |r| r.digits(8)),
    ("order number, 10", |r| r.digits(10)),
    ("order number, 12", |r| r.digits(12)),
    ("order number, 13", |r| r.digits(13)),
    ("order number, 14", |r| r.digits(14)),
    ("order number by day", |r| {
        format!("2026-11-{:02}-{}", 1 + r.below(28), r.digits(6))
    }),
    ("order number of a market", |r| {
        format!("{}-{}-{}", r.digits(3), r.digits(7), r.digits(7))
    }),
    ("IMEI", |r| {
        let reporting_body = r.of(&["01", "35", "86", "91", "98", "99"]);
        with_luhn_digit(&format!("{reporting_body}{}", r.digits(12)))
    }),
    ("IBAN", |r| {
        iban(r.of(&["DE", "IL", "ES", "FR"]), &r.digits(18))
    }),
    ("IBAN of Germany in fours", |r| {
        in_fours(&iban("DE", &r.digits(18)))
    }),
    ("IBAN of Spain in fours", |r| {
        in_fours(&iban("ES", &r.digits(20)))
    }),
    ("IBAN of Poland in fours", |r| {
        in_fours(&iban("PL", &r.digits(24)))
    }),
    ("IBAN of the Netherlands in fours", |r| {
        in_fours(&iban("NL", &format!("ABNA{}", r.digits(10))))
    }),
    ("IBAN of Great Britain in fours", |r| {
        in_fours(&iban("GB", &format!("NWBK{}", r.digits(14))))
    }),
    ("UUID", |r| {
        let hex: String = (0..32)
            .map(|_| char::from_digit(u32::try_from(r.below(16)).unwrap(), 16).unwrap())
            .collect();
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }),
    ("postcode and house", |r| {
        format!(
            "17 boulevard, {} apt {}, Brooklyn NY {}",
            r.digits(3),
            r.digits(2),
            r.digits(5)
        )
    }),
];

/// The reply to a body with only this field: it only matters whether the value counts as a card
/// number.
async fn is_refused(cloud: &Cloud<Sandbox>, name: &str, value: Value) -> bool {
    let reply = cloud.post(SHIPPING, &json!({ name: value })).await;
    match reply.code() {
        "card_number_refused" => true,
        "invalid_fields" => false,
        _ => panic!("{}", reply.text),
    }
}

#[tokio::test]
async fn under_one_in_a_hundred_other_numbers_is_refused_as_a_card_number() {
    let cloud = Cloud::start().await;
    for (kind, make) in OTHER_NUMBERS {
        let mut random = Random(12);
        let mut refused = Vec::new();
        for _ in 0..1_000 {
            let number = make(&mut random);
            if is_refused(&cloud, "phone", number.as_str().into()).await {
                refused.push(number);
            }
        }
        assert!(
            refused.len() < 10,
            "{kind}: {} of 1 000: {refused:?}",
            refused.len()
        );
    }
}

#[tokio::test]
async fn a_cart_of_ten_eans_is_taken() {
    let cloud = Cloud::start().await;
    let mut random = Random(1);
    for _ in 0..100 {
        let lines = (0..10).map(|_| {
            json!({"productId": with_gtin_digit(&random.digits(12)), "quantity": 1, "price": 1})
        });
        let body = with(&cart(), "/items", lines.collect());
        assert_eq!(cloud.post(CART, &body).await.status, 201);
    }
}

/// Published by Stripe ("Test card numbers"), `PayPal` ("Card testing"), Adyen ("Test card
/// numbers"), and Braintree ("Testing and Go Live").
const TEST_CARDS: &[&str] = &[
    "4242424242424242",
    "4000056655665556",
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
    "6205500000000000004",
    "4000002760003184",
    "4000000000003220",
    "4012888888881881",
    "4222222222222",
    "5063516945005047",
    "3530111333300000",
    "6243030000000001",
    "4111111111111111",
    "6304000000000000",
    "370000000000002",
    "6703444444444449",
    "4871049999999910",
    "5019555544445555",
    "5066991111111118",
    "6062828888666688",
    "6771798021000008",
    "2222400070000005",
    "135410014004955",
];

#[tokio::test]
async fn every_published_test_card_is_refused_however_it_is_grouped() {
    let cloud = Cloud::start().await;
    for card in TEST_CARDS {
        let mut forms = vec![(*card).to_owned()];
        for length in [1, 2, 3, 4, 5, 6, 8] {
            for separator in [
                " ",
                "-",
                ".",
                "\u{a0}",
                "\u{200b}",
                "\u{2060}",
                " \u{2013} ",
                "\u{3164}",
                "\u{2800}",
            ] {
                let groups = card.as_bytes().chunks(length);
                let groups: Vec<_> = groups
                    .map(|group| std::str::from_utf8(group).unwrap())
                    .collect();
                forms.push(groups.join(separator));
            }
        }
        forms.extend([
            format!("SKU-{card}"),
            format!("DE{card}"),
            format!("AT{card} 12"),
            in_fours(card) + " 12/29",
        ]);
        for form in forms {
            assert!(
                is_refused(&cloud, "name", form.as_str().into()).await,
                "{form}"
            );
        }
        assert!(is_refused(&cloud, "price", number(card)).await, "{card}");
        assert!(
            is_refused(&cloud, "price", number(&format!("{card}.0e0"))).await,
            "{card}"
        );
        let mut event = request(SHIPPING, &json!({}));
        event["headers"]["idempotency-key"] = (*card).into();
        assert_eq!(cloud.send(&event).await.code(), "card_number_refused");
    }
}
