//! The text of every error answer, so that a changed text is noticed at once.

use std::fmt::Write as _;
use std::time::Duration;

use domain::{ClientSecret, Decline, Money, NextAction, OrderId, Status};
use serde_json::Value;
use service::error::{
    CardPlace, Counterpart, Dependency, Difference, Error, FieldError, Missing, Outcome,
    RequestPart, Source,
};
use service::http::{Repeat, RequestId};

/// Examples of every variant of a type: a variant without an example does not compile, or fails
/// this test.
macro_rules! examples {
    ($type:ty { $($pattern:pat_param => $examples:expr),+ $(,)? }) => {{
        const _: fn(&$type) = |value| match value { $($pattern)|+ => {} };
        let mut examples: Vec<$type> = Vec::new();
        $(
            let before = examples.len();
            examples.extend($examples);
            let added = &examples[before..];
            assert!(!added.is_empty());
            assert!(added.iter().all(|example| matches!(example, $pattern)));
        )+
        examples
    }};
}

/// Every variant of an enum without data.
macro_rules! every {
    ($type:ident: $($variant:ident),+) => {
        examples!($type { $($type::$variant => [$type::$variant]),+ })
    };
}

fn missing() -> Vec<Missing> {
    every!(Missing: Order, Invoice, Customer, Agreement, Partner, Route)
}

fn parts() -> Vec<RequestPart> {
    every!(RequestPart: Context, Path, Query, Headers, Body)
}

fn outcomes() -> Vec<Outcome> {
    every!(Outcome: NothingDone, Unknown)
}

fn dependencies() -> Vec<Dependency> {
    every!(Dependency: Database, Queue, Mail, BillingPartner, Carrier)
}

fn counterparts() -> Vec<Counterpart> {
    every!(Counterpart: BillingPartner, Carrier)
}

fn card_places() -> Vec<CardPlace> {
    examples!(CardPlace {
        CardPlace::Value(_) => [CardPlace::Value("/items/0/productId".to_owned())],
        CardPlace::Name(_) => [CardPlace::Name("/checkout".to_owned())],
        CardPlace::Key => [CardPlace::Key],
        CardPlace::Path => [CardPlace::Path],
        CardPlace::Query => [CardPlace::Query],
    })
}

fn source() -> Source {
    "never shown".into()
}

fn declined(retryable: bool) -> Error {
    Error::Declined(Decline {
        attempt: 1,
        code: "insufficient_funds".to_owned(),
        retryable,
    })
}

fn unavailable(dependency: Dependency, outcome: Outcome) -> Error {
    Error::Unavailable {
        dependency,
        outcome,
        source: source(),
    }
}

fn not_configured(counterpart: Counterpart, outcome: Outcome) -> Error {
    Error::NotConfigured {
        counterpart,
        outcome,
        source: source(),
    }
}

/// Every one of `whose`, with every outcome.
fn with_outcomes<T: Copy>(whose: Vec<T>, error: fn(T, Outcome) -> Error) -> Vec<Error> {
    let with_outcomes = |whose| {
        outcomes()
            .into_iter()
            .map(move |outcome| error(whose, outcome))
    };
    whose.into_iter().flat_map(with_outcomes).collect()
}

/// An error for every variant, and for every value of the enums in it.
pub(crate) fn errors() -> Vec<Error> {
    let (line, column) = (3, 14);
    examples!(Error {
        Error::EmptyBody => [Error::EmptyBody],
        Error::NotJson { .. } => [Error::NotJson { line, column }],
        Error::MalformedRequest(_) => parts().into_iter().map(Error::MalformedRequest),
        Error::ReservedName { .. } => [Error::ReservedName { line, column }],
        Error::RepeatedName { .. } => [Error::RepeatedName { line, column }],
        Error::BodyTooLarge => [Error::BodyTooLarge],
        Error::WebhookTooLarge => [Error::WebhookTooLarge],
        Error::WebhookSignature => [Error::WebhookSignature],
        Error::UnsupportedMediaType => [Error::UnsupportedMediaType],
        Error::Unauthenticated => [Error::Unauthenticated],
        Error::BackendOnly => [Error::BackendOnly],
        Error::MalformedKey => [Error::MalformedKey],
        Error::Invalid(_) => [Error::Invalid(vec![FieldError {
            pointer: "/customerId".to_owned(),
            detail: "is required".to_owned(),
        }])],
        Error::CardNumber(_) => [Error::CardNumber(card_places())],
        Error::KeyReused => [Error::KeyReused],
        Error::KeyRequired => [Error::KeyRequired],
        Error::NotFound(_) => missing().into_iter().map(Error::NotFound),
        Error::WrongState { .. } => [Error::WrongState {
            status: Status::Shipped,
            detail: "it can no longer be paid",
        }],
        Error::Mismatch(_) => [Error::Mismatch(vec![Difference {
            pointer: "/totalAmount".to_owned(),
            expected: "199.99".to_owned(),
            actual: "200".to_owned(),
        }])],
        Error::ReferenceTaken { .. } => [Error::ReferenceTaken {
            order: OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001").unwrap(),
        }],
        Error::CurrencyMismatch { .. } => [Error::CurrencyMismatch {
            order: "USD".parse().unwrap(),
            shop: "EUR".parse().unwrap(),
        }],
        Error::InProgress { .. } => [
            Error::InProgress { retry_after: Duration::from_millis(20) },
            Error::InProgress { retry_after: Duration::from_secs(30) },
        ],
        Error::PaymentPending => [Error::PaymentPending],
        Error::Declined(_) => [declined(true), declined(false)],
        Error::ActionRequired(_) => [
            Error::ActionRequired(NextAction::default()),
            Error::ActionRequired(NextAction {
                redirect_url: "https://bank.example/approve".parse().ok(),
                client_secret: ClientSecret::parse("pi_1_secret_2"),
            }),
            Error::ActionRequired(NextAction {
                redirect_url: None,
                client_secret: ClientSecret::parse("pi_1_secret_2"),
            }),
        ],
        Error::NoAgreement => [Error::NoAgreement],
        Error::RefundPending => [Error::RefundPending],
        Error::RefundFailed => [Error::RefundFailed],
        Error::RefundTooLarge { .. } => ["0", "12.5"].map(|left| Error::RefundTooLarge {
            left: Money::from_stored(left).unwrap(),
        }),
        Error::TooManyRefunds => [Error::TooManyRefunds],
        Error::RefundRejected { .. } => [Error::RefundRejected {
            code: "charge_disputed".to_owned(),
        }],
        Error::TooManyAttempts => [Error::TooManyAttempts],
        Error::PaymentUnknown => [Error::PaymentUnknown],
        Error::AddressRejected => [Error::AddressRejected],
        Error::MailNotConfigured => [Error::MailNotConfigured],
        Error::MailUnconfirmed => [Error::MailUnconfirmed],
        Error::Unavailable { .. } => with_outcomes(dependencies(), unavailable),
        Error::NotConfigured { .. } => with_outcomes(counterparts(), not_configured),
        Error::Replayed(_) => [Error::AddressRejected.replayed()],
        Error::NoQueue => [Error::NoQueue],
        Error::Internal(_) => [Error::Internal(source())],
    })
}

const REQUEST: &str = "6bc4f3d0-5a1e-4a55-9c3e-0f7a2b1c8d9e";

/// The body that a caller gets.
pub(crate) fn body(error: &Error, repeat: Repeat) -> Value {
    let request = RequestId::new(REQUEST.to_owned());
    let response = error.to_response(repeat, &request);
    serde_json::from_slice(response.body().as_ref()).unwrap()
}

/// The complete answer to a caller: status, headers, body.
fn answer(error: &Error, repeat: Repeat) -> String {
    let request = RequestId::new(REQUEST.to_owned());
    let response = error.to_response(repeat, &request);
    let mut answer = format!("{}\n", response.status());
    for (name, value) in response.headers() {
        writeln!(answer, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    writeln!(answer, "{:#}", body(error, repeat)).unwrap();
    answer
}

#[test]
fn every_problem_has_its_text() {
    let mut shown = String::new();
    for error in errors() {
        let [keyed, unkeyed] =
            [Repeat::Keyed, Repeat::Unkeyed].map(|repeat| answer(&error, repeat));
        writeln!(shown, "## {error}\n").unwrap();
        if keyed == unkeyed {
            writeln!(shown, "{keyed}").unwrap();
        } else {
            writeln!(shown, "with a key: {keyed}\nwithout a key: {unkeyed}").unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}
