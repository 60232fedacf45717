//! Every code that the billing partners publish, sent through the real clients from the doubles.
//! The lists are `tests/published/*.tsv`, and the meaning of each code is in the clients' tables.

mod keys;
mod paypal;
mod stripe;

use std::collections::BTreeSet;

use domain::{Agreement, CustomerId, Money};
use payment::partners::answers::Words;
use payment::partners::{BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError};
use platform::runtime::Runtime;

/// A code as its partner publishes it.
struct Published {
    /// A called endpoint, or a field of an answer.
    place: &'static str,
    /// The HTTP status; 0 for a field.
    status: u16,
    word: &'static str,
}

fn published(list: &'static str) -> Vec<Published> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [place, status, word, _source] = columns[..] else {
            panic!("a row has four columns: {line}")
        };
        Published {
            place,
            status: status.parse().unwrap_or_default(),
            word,
        }
    });
    rows.collect()
}

/// The codes published for those places and the codes in those tables must be the same.
fn assert_same(list: &[Published], places: &[&str], tables: &[Words]) {
    let published = list.iter().filter(|row| places.contains(&row.place));
    let published: BTreeSet<&str> = published.map(|row| row.word).collect();
    let with_meaning = tables.iter().flat_map(Words::all);
    let with_meaning: BTreeSet<&str> = with_meaning.map(|(word, _)| word).collect();
    let without: Vec<_> = published.difference(&with_meaning).collect();
    assert!(without.is_empty(), "without a meaning: {without:?}");
    let invented: Vec<_> = with_meaning.difference(&published).collect();
    assert!(invented.is_empty(), "nobody publishes: {invented:?}");
    assert!(!published.is_empty(), "{places:?}");
}

/// The first attempt at a charge of 200 dollars.
fn request(runtime: &Runtime, agreement: Agreement) -> ChargeRequest {
    ChargeRequest {
        invoice: runtime.order_id().invoice(),
        attempt: 1,
        customer: CustomerId::parse("8080").unwrap(),
        amount: Money::from_stored("200").unwrap(),
        currency: "USD".parse().unwrap(),
        agreement: Some(agreement),
        replaces: None,
    }
}

async fn captured<P: BillingPartner>(partner: &P, charge: OpenCharge) -> OpenCharge {
    let status = partner.confirm(&charge).await.unwrap();
    assert!(matches!(status, ChargeStatus::Captured(_)), "{status:?}");
    charge
}

/// The result of an answer, as the tests compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came<T> {
    To(T),
    NoAgreement,
    Refused(String),
    Operator,
    Unavailable,
    Unanswered,
}

fn came<T>(result: Result<T, PartnerError>) -> Came<T> {
    match result {
        Ok(value) => Came::To(value),
        Err(PartnerError::NoAgreement) => Came::NoAgreement,
        Err(PartnerError::Refused { code }) => Came::Refused(code),
        Err(PartnerError::NotConfigured(_)) => Came::Operator,
        Err(PartnerError::Unavailable(_)) => Came::Unavailable,
        Err(PartnerError::Unanswered(_)) => Came::Unanswered,
        Err(error @ PartnerError::OtherMethod) => panic!("{error}"),
    }
}

impl<T> Came<T> {
    /// Whether nothing is decided, so that the same is requested later.
    fn is_for_later(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Unanswered)
    }
}

/// Error bodies without a listed code, in Stripe's or PayPal's format or neither.
const WITHOUT_A_WORD: [&str; 9] = [
    "",
    "{}",
    "[]",
    "<html><body>Access Denied</body></html>",
    "{\"error\":",
    r#"{"error":{"type":"invalid_request_error","message":"Played."}}"#,
    r#"{"error":{"type":"a_newer_type","code":"a_newer_code"}}"#,
    r#"{"name":"A_NEWER_NAME","message":"Played."}"#,
    r#"{"name":"UNPROCESSABLE_ENTITY","details":[{"issue":"A_NEWER_ISSUE"}]}"#,
];

/// Statuses that prove that nothing happened and that waiting changes nothing.
const REFUSALS: [u16; 8] = [400, 402, 405, 410, 413, 415, 422, 451];

/// Statuses that need the operator.
const OPERATORS: [u16; 2] = [401, 403];

/// Statuses whose cause passes, or that leave the outcome unknown.
const PASSING: [u16; 8] = [408, 409, 424, 429, 500, 502, 503, 504];
