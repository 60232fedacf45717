//! Stripe's client against localstripe, a third-party Stripe emulator: whether it accepts the
//! client's requests, whether the client can read its answers, and what its books show afterwards.
//! `tests/wire` starts it and runs these tests. All of them share its books; each one has its own
//! customer.
//!
//! localstripe supports less than Stripe: its charges have no card details, its refusals have no
//! code except for a decline, its declines are not a `card_error`, and it has no idempotency keys.
//! The following are therefore tested against the double: card details, reasons of declines,
//! refusals that make the client look up, and stored answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use domain::{Agreement, Card, CustomerId, Money, PartnerName, PartnerToken};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, RefundStatus, Stripe,
};
use platform::config::Environment;
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{DoubleReply, DoubleRequest, Front, Mishap, PartnerDouble};

use crate::contract::text;
use crate::stripe::{ask, is_unanswered, open, token};

/// localstripe accepts any key with the prefix of a secret one.
const KEY: &str = "sk_test_localstripe";
const VISA: &str = "pm_card_visa";
const INTENTS: &str = "/v1/payment_intents";

/// The books' entry of a completed intent, charge, or refund of 200 dollars.
const DONE: &str = "20000 usd succeeded";

/// Parameters that Stripe documents and localstripe refuses as unexpected, by the end of the path.
/// Everything else is passed on as the client sent it.
const UNKNOWN: [(&str, &str); 2] = [
    // The customer is not present to authenticate. With this parameter, Stripe reports an issuer's
    // request for authentication as a decline; without it, as the status `requires_action`, as
    // localstripe does.
    ("/confirm", "off_session"),
    // A note for people who look at the intent; it has no effect.
    ("/cancel", "cancellation_reason"),
];

/// localstripe in place of a double.
#[derive(Debug)]
struct Localstripe {
    /// `127.0.0.1:…`
    address: String,
}

impl PartnerDouble for Localstripe {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        let mut request = request.clone();
        for (end, parameter) in UNKNOWN {
            if request.path.ends_with(end) {
                request.body = without(&request.body, parameter);
            }
        }
        self.exchange(&request).unwrap()
    }
}

impl Localstripe {
    /// One request on one connection. It blocks the test, which has nothing else to do.
    fn exchange(&self, request: &DoubleRequest) -> std::io::Result<DoubleReply> {
        let mut headers = request.headers.clone();
        headers.insert("connection".to_owned(), "close".to_owned());
        if let Some(length) = headers.get_mut("content-length") {
            *length = request.body.len().to_string();
        }
        let first = format!("{} {} HTTP/1.1", request.method, request.path);
        let fields = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let lines: Vec<String> = [first].into_iter().chain(fields).collect();
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&[head.as_bytes(), &request.body].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, body) = answer.split_at(end.unwrap() + 4);
        let status = str::from_utf8(head).unwrap().split(' ').nth(1).unwrap();
        Ok(DoubleReply::new(status.parse().unwrap(), body))
    }
}

/// The form without that field.
fn without(form: &[u8], name: &str) -> Vec<u8> {
    let form = str::from_utf8(form).unwrap();
    let fields = form
        .split('&')
        .filter(|field| field.split('=').next() != Some(name));
    fields.collect::<Vec<_>>().join("&").into_bytes()
}

/// The client, with localstripe behind a front, and a bare client of localstripe.
struct Bench {
    stripe: Stripe,
    front: Front,
    localstripe: Https,
    runtime: Runtime,
}

fn bench() -> Bench {
    let url = Environment::process().required("LOCALSTRIPE_URL").unwrap();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let front = Front::new(Arc::new(Localstripe { address }));
    let runtime = Runtime::system();
    Bench {
        stripe: Stripe::new(Https::new(front.serve()), Secret::new(KEY), runtime.clone()),
        front,
        localstripe: Https::new(url),
        runtime,
    }
}

/// localstripe's entries for one invoice, each as `amount currency status`.
#[derive(Debug, PartialEq, Eq)]
struct Books {
    intents: Vec<String>,
    charges: Vec<String>,
    refunds: Vec<String>,
}

impl Bench {
    async fn ask(&self, method: &'static str, path: &str, body: &str) -> (u16, Value) {
        ask(&self.localstripe, &Secret::new(KEY), method, path, body).await
    }

    /// The ID of a new object.
    async fn made(&self, path: &str, body: &str) -> PartnerToken {
        let (status, made) = self.ask("POST", path, body).await;
        assert_eq!(status, 200, "{made}");
        token(text(&made["id"]))
    }

    /// A charge that was not requested yet, for a new customer with that payment method.
    async fn request(&self, method: &str, amount: &str, currency: &str) -> ChargeRequest {
        let customer = self.made("/v1/customers", "").await;
        let path = format!("/v1/payment_methods/{method}/attach");
        let body = format!("customer={}", customer.as_str());
        ChargeRequest {
            invoice: self.runtime.order_id().invoice(),
            attempt: 1,
            customer: CustomerId::parse("8080").unwrap(),
            amount: Money::from_stored(amount).unwrap(),
            currency: currency.parse().unwrap(),
            agreement: Some(Agreement {
                partner: PartnerName::Stripe,
                payment_method: self.made(&path, &body).await,
                partner_customer: Some(customer),
            }),
            replaces: None,
        }
    }

    async fn open(&self, request: ChargeRequest) -> OpenCharge {
        open(&self.stripe, &self.runtime, request).await
    }

    /// An opened charge of 200 dollars.
    async fn opened(&self, method: &str) -> OpenCharge {
        let request = self.request(method, "200", "USD").await;
        self.open(request).await
    }

    /// All objects of that kind, oldest first.
    async fn all(&self, path: &str) -> Vec<Value> {
        let (status, mut list) = self.ask("GET", &format!("{path}?limit=1000"), "").await;
        assert_eq!((status, &list["has_more"]), (200, &json!(false)), "{list}");
        let Value::Array(all) = list["data"].take() else {
            panic!("{list}")
        };
        all
    }

    async fn books(&self, request: &ChargeRequest) -> Books {
        let invoice = request.invoice.to_string();
        let mut intents = self.all(INTENTS).await;
        intents.retain(|intent| intent["metadata"]["invoice_id"] == invoice.as_str());
        let of_them = |each: &Value| {
            let mut ids = intents.iter().map(|intent| &intent["id"]);
            ids.any(|id| *id == each["payment_intent"])
        };
        let line = |each: &Value| {
            let (currency, status) = (text(&each["currency"]), text(&each["status"]));
            format!("{} {currency} {status}", each["amount"])
        };
        let lines = |all: Vec<Value>| all.iter().filter(|each| of_them(each)).map(line).collect();
        Books {
            charges: lines(self.all("/v1/charges").await),
            refunds: lines(self.all("/v1/refunds").await),
            intents: intents.iter().map(line).collect(),
        }
    }
}

fn books(intents: &[&str], charges: &[&str], refunds: &[&str]) -> Books {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    Books {
        intents: lines(intents),
        charges: lines(charges),
        refunds: lines(refunds),
    }
}

/// Without card details: localstripe's charges have none, and none are made up.
fn captured() -> ChargeStatus {
    ChargeStatus::Captured(Card::default())
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn localstripe_has_one_charge_and_one_refund_of_what_is_charged_and_given_back() {
    let bench = bench();
    let charge = bench.opened(VISA).await;
    let status = bench.stripe.look_up(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Unconfirmed);
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), captured());
    assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), captured());
    // Refused without a code: the client looks the charge up.
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), captured());
    let charged = books(&[DONE], &[DONE], &[]);
    assert_eq!(bench.books(&charge.request).await, charged);
    // localstripe makes a refund for each request.
    for _ in 0..2 {
        let status = bench.stripe.refund(&charge).await.unwrap();
        assert_eq!(status, RefundStatus::Refunded);
    }
    let paid_back = books(&[DONE], &[DONE], &[DONE]);
    assert_eq!(bench.books(&charge.request).await, paid_back);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn without_idempotency_keys_a_lost_answer_makes_no_second_charge_or_refund_in_localstripe() {
    let bench = bench();
    let request = bench.request(VISA, "200", "USD").await;
    bench.front.plan("POST", INTENTS, Mishap::AnswerLost);
    assert!(is_unanswered(&bench.stripe.open(&request).await));
    let charge = bench.open(request).await;
    bench.front.plan("POST", "/confirm", Mishap::AnswerLost);
    assert!(is_unanswered(&bench.stripe.confirm(&charge).await));
    assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), captured());
    bench.front.plan("POST", "/refunds", Mishap::AnswerLost);
    assert!(is_unanswered(&bench.stripe.refund(&charge).await));
    let status = bench.stripe.refund(&charge).await.unwrap();
    assert_eq!(status, RefundStatus::Refunded);
    // localstripe has no keys, so opening again created another intent; the first is never
    // confirmed.
    let intents = ["20000 usd requires_confirmation", DONE];
    let expected = books(&intents, &[DONE], &[DONE]);
    assert_eq!(bench.books(&charge.request).await, expected);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn what_is_cancelled_at_localstripe_is_never_charged() {
    let bench = bench();
    let charge = bench.opened(VISA).await;
    let status = bench.stripe.cancel(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Cancelled);
    let status = bench.stripe.look_up(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Cancelled);
    // Refused without a code: the client looks the charge up.
    let status = bench.stripe.confirm(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Cancelled);
    let cancelled = books(&["20000 usd canceled"], &[], &[]);
    assert_eq!(bench.books(&charge.request).await, cancelled);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn localstripe_gets_yen_as_whole_ones() {
    let paid = ["200 jpy succeeded"];
    let bench = bench();
    let request = bench.request(VISA, "200", "JPY").await;
    let charge = bench.open(request).await;
    assert_eq!(bench.stripe.confirm(&charge).await.unwrap(), captured());
    let status = bench.stripe.refund(&charge).await.unwrap();
    assert_eq!(status, RefundStatus::Refunded);
    let expected = books(&paid, &paid, &paid);
    assert_eq!(bench.books(&charge.request).await, expected);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn a_customer_who_must_act_and_a_bank_that_has_not_decided_are_read_from_localstripes_status()
{
    let bench = bench();
    let new_method = async |body: &str| bench.made("/v1/payment_methods", body).await;
    // Stripe's test card that requires authentication for every charge.
    let card = new_method(
        "type=card&card[number]=4000002760003184&card[exp_month]=8&card[exp_year]=2030&card[cvc]=123",
    );
    let charge = bench.opened(card.await.as_str()).await;
    let status = bench.stripe.confirm(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::ActionRequired);
    let status = bench.stripe.look_up(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::ActionRequired);
    let status = bench.stripe.cancel(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Cancelled);

    // localstripe's only charge with a delayed outcome is a direct debit, which eventually fails.
    let debit = new_method("type=sepa_debit&sepa_debit[iban]=DE62370400440532013001");
    let charge = bench.opened(debit.await.as_str()).await;
    let status = bench.stripe.confirm(&charge).await.unwrap();
    assert_eq!(status, ChargeStatus::Pending);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn a_decline_that_localstripe_does_not_call_a_card_error_is_a_decline() {
    let bench = bench();
    let charge = bench.opened("pm_card_chargeCustomerFail").await;
    let confirmed = bench.stripe.confirm(&charge).await;
    let looked_up = bench.stripe.look_up(&charge).await;
    assert!(
        matches!(&confirmed, Ok(ChargeStatus::Declined { .. })) && is_unanswered(&looked_up),
        "{confirmed:?} {looked_up:?}"
    );
    let expected = books(
        &["20000 usd requires_payment_method"],
        &["20000 usd failed"],
        &[],
    );
    assert_eq!(bench.books(&charge.request).await, expected);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn what_localstripe_refuses_leaves_nothing_in_its_books() {
    let bench = bench();
    let request = bench.request(VISA, "200", "USD").await;
    let url = bench.front.serve();
    let publishable = Secret::new("pk_test_localstripe");
    let stranger = Stripe::new(Https::new(url), publishable, bench.runtime.clone());
    // A refused key is the operator's to replace.
    let refused = stranger.open(&request).await;
    assert!(matches!(
        refused,
        Err(payment::partners::PartnerError::NotConfigured(_))
    ));
    // Stripe names the method, which leads to `NoAgreement`. Without a code, the refusal is final.
    let mut gone = request.clone();
    if let Some(agreement) = &mut gone.agreement {
        agreement.payment_method = token("pm_of_nobody");
    }
    let refused = bench.stripe.open(&gone).await;
    assert!(
        matches!(
            refused,
            Err(payment::partners::PartnerError::Refused { .. })
        ),
        "{refused:?}"
    );
    let nothing = books(&[], &[], &[]);
    assert_eq!(bench.books(&request).await, nothing);
}

#[tokio::test]
#[ignore = "needs localstripe: make test-wire"]
async fn nothing_is_kept_from_localstripe_that_it_would_take() {
    let bench = bench();
    let charge = bench.opened(VISA).await;
    for (end, parameter) in UNKNOWN {
        let path = format!("{INTENTS}/{}{end}", charge.reference);
        let (status, body) = bench.ask("POST", &path, &format!("{parameter}=true")).await;
        let refused = (400, json!(format!("Unexpected {parameter}")));
        assert_eq!((status, body["error"]["message"].clone()), refused);
    }
}
