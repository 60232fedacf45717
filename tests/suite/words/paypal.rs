//! PayPal's codes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{Agreement, DisputeState, PartnerName, PartnerToken};
use messages::PartnerReference;
use payment::partners::answers::{Meaning, Words};
use payment::partners::paypal_answers::{
    ADVICE, CHARGE, PROCESSOR, REASONS, REFUND, REPORTED, REPORTED_REFUND,
};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PayPal, RefundStatus,
};
use platform::outbound::Https;
use platform::runtime::Runtime;
use tests::partners::{DoubleReply, Front, Mishap, PayPalCall, PayPalDouble, PayPalOutcome};

use super::{
    Came, OPERATORS, PASSING, Published, REFUSALS, WITHOUT_A_WORD, assert_same, came, captured,
    published, request,
};
use crate::paypal::paypal;
use crate::stripe::{clock, open};

const LIST: &str = include_str!("../../published/paypal.tsv");
const CARD: &str = "8kk8451t";

pub(super) struct Bench {
    pub(super) double: Arc<PayPalDouble>,
    pub(super) front: Front,
    pub(super) paypal: PayPal,
    runtime: Runtime,
    time: Arc<AtomicI64>,
}

pub(super) fn bench() -> Bench {
    let (runtime, time) = clock();
    let double = Arc::new(PayPalDouble::new(runtime.clone()));
    double.vault_card(CARD, []);
    let front = Front::new(double.clone());
    let https = Https::with_connector(front.connector(), "http://paypal.test");
    Bench {
        paypal: paypal(https, runtime.clone()),
        double,
        front,
        runtime,
        time,
    }
}

impl Bench {
    pub(super) fn request(&self) -> ChargeRequest {
        let agreement = Agreement {
            partner: PartnerName::PayPal,
            partner_customer: None,
            payment_method: PartnerToken::parse(CARD).unwrap(),
        };
        request(&self.runtime, agreement)
    }

    pub(super) async fn opened(&self) -> OpenCharge {
        open(&self.paypal, &self.runtime, self.request()).await
    }

    pub(super) async fn captured(&self) -> OpenCharge {
        captured(&self.paypal, self.opened().await).await
    }

    async fn dispute(&self) -> PartnerReference {
        self.captured().await;
        self.double.dispute();
        PartnerReference::parse(&self.double.disputes()[0]).unwrap()
    }

    pub(super) fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.time.fetch_add(millis, Ordering::SeqCst);
    }
}

fn declined(word: &str, retryable: bool) -> ChargeStatus {
    ChargeStatus::Declined {
        code: word.to_ascii_lowercase(),
        retryable,
    }
}

fn refused<T>(word: &str) -> Came<T> {
    Came::Refused(word.to_ascii_lowercase())
}

fn charge_meaning(word: &str) -> Meaning {
    let listed = CHARGE.meaning(word).or_else(|| REPORTED.meaning(word));
    listed.unwrap()
}

/// The published refusals of an endpoint. PayPal's 401 is about the token: see the client's tests.
fn issues(place: &str) -> Vec<Published> {
    let mut rows = published(LIST);
    rows.retain(|row| row.place == place && row.status != 401);
    rows
}

#[test]
fn every_word_of_paypals_has_a_meaning_and_no_other_has() {
    let list = published(LIST);
    let charges = ["open", "look_up", "capture", "read_capture"];
    assert_same(&list, &charges, &[CHARGE, REPORTED]);
    assert_same(&list, &["refund"], &[REFUND, REPORTED_REFUND]);
    assert_same(&list, &["capture.reason"], &[REASONS]);
    assert_same(&list, &["advice"], &[ADVICE]);
    let of = |place| list.iter().filter(move |row| row.place == place);
    let published: BTreeSet<_> = of("processor").map(|row| row.word).collect();
    let known: BTreeSet<_> = PROCESSOR.iter().map(|(code, ..)| *code).collect();
    assert_eq!(published, known);
    assert_eq!(PROCESSOR.len(), known.len(), "a code is listed twice");
    // Each code has one meaning.
    for tables in [[CHARGE, REPORTED], [REFUND, REPORTED_REFUND]] {
        let all: Vec<_> = tables.iter().flat_map(Words::all).collect();
        let words: BTreeSet<_> = all.iter().map(|(word, _)| word).collect();
        assert_eq!(all.len(), words.len());
    }
}

#[tokio::test(start_paused = true)]
async fn each_issue_of_paypals_has_its_outcome_where_an_order_is_opened() {
    for row in issues("open") {
        let bench = bench();
        let request = bench.request();
        bench
            .double
            .refuse(PayPalCall::Open, Some((row.status, row.word)));
        let expected = match charge_meaning(row.word) {
            Meaning::Operator => Came::Operator,
            Meaning::NoAgreement => Came::NoAgreement,
            Meaning::InDoubt | Meaning::Later => Came::Unavailable,
            _ => refused(row.word),
        };
        let opened = came(bench.paypal.open(&request).await);
        assert_eq!(opened, expected, "{}", row.word);
        bench.double.refuse(PayPalCall::Open, None);
        if matches!(opened, Came::Operator | Came::NoAgreement) {
            bench.paypal.open(&request).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_issue_of_paypals_has_its_outcome_where_an_order_is_captured() {
    for row in issues("capture") {
        let (bench, word) = (bench(), row.word);
        let charge = bench.opened().await;
        bench
            .double
            .refuse(PayPalCall::Capture, Some((row.status, word)));
        let meaning = charge_meaning(word);
        let expected = match meaning {
            Meaning::DeclinedForNow => Came::To(declined(word, true)),
            Meaning::Declined => Came::To(declined(word, false)),
            Meaning::CustomerMustAct => Came::To(ChargeStatus::ActionRequired),
            // The token belongs to none of the sources that are tried.
            Meaning::NoAgreement | Meaning::OtherSource => Came::NoAgreement,
            Meaning::Refused | Meaning::Malformed | Meaning::RefusedUnlessDone => refused(word),
            // The order has no capture, whatever the answer says; or it is not found long before
            // its expiry.
            Meaning::LookUp | Meaning::Gone | Meaning::InDoubt => Came::Unanswered,
            Meaning::Later => Came::Unavailable,
            Meaning::Operator => Came::Operator,
        };
        assert_eq!(
            came(bench.paypal.confirm(&charge).await),
            expected,
            "{word}"
        );
        assert!(bench.double.taken().is_empty(), "{word}");
        if meaning == Meaning::Gone {
            bench.pass(Duration::from_hours(4));
            let status = bench.paypal.confirm(&charge).await.unwrap();
            assert_eq!(status, ChargeStatus::Expired, "{word}");
            continue;
        }
        bench.double.refuse(PayPalCall::Capture, None);
        // Another kind of source cannot be corrected: the token never belongs to this one.
        if matches!(meaning, Meaning::Operator | Meaning::NoAgreement) {
            let status = bench.paypal.confirm(&charge).await.unwrap();
            assert!(matches!(status, ChargeStatus::Captured(_)), "{word}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_issue_of_paypals_decides_nothing_where_it_is_only_asked() {
    for row in issues("look_up").into_iter().chain(issues("read_capture")) {
        let bench = bench();
        let id = bench.dispute().await;
        let charge = bench.opened().await;
        let refusal = Some((row.status, row.word));
        let for_operator = charge_meaning(row.word) == Meaning::Operator;
        bench.double.refuse(PayPalCall::LookUp, refusal);
        for asked in [
            came(bench.paypal.look_up(&charge).await),
            came(bench.paypal.cancel(&charge).await),
        ] {
            assert_eq!(asked == Came::Operator, for_operator, "{}", row.word);
            assert!(for_operator || asked.is_for_later(), "{asked:?}");
        }
        let asked = came(bench.paypal.refund_status(&charge).await);
        assert!(for_operator || asked.is_for_later(), "{asked:?}");
        bench.double.refuse(PayPalCall::ReadCapture, refusal);
        let asked = came(bench.paypal.dispute(&id).await);
        let expected = if row.status == 404 {
            Came::To(None)
        } else {
            Came::Operator
        };
        assert_eq!(asked, expected, "{}", row.word);
    }
}

#[tokio::test(start_paused = true)]
async fn each_issue_of_paypals_has_its_outcome_where_a_capture_is_refunded() {
    for row in issues("refund") {
        let (bench, word) = (bench(), row.word);
        let charge = bench.captured().await;
        bench
            .double
            .refuse(PayPalCall::Refund, Some((row.status, word)));
        let listed = REFUND.meaning(word);
        let expected = match listed.or_else(|| REPORTED_REFUND.meaning(word)).unwrap() {
            Meaning::Refused => Came::To(failed(&word.to_ascii_lowercase())),
            // The answer says that it was made, but it is not shown.
            Meaning::LookUp | Meaning::InDoubt => Came::Unanswered,
            Meaning::Later => Came::Unavailable,
            Meaning::Operator => Came::Operator,
            other => panic!("{word}: {other:?}"),
        };
        assert_eq!(came(bench.paypal.refund(&charge).await), expected, "{word}");
        assert!(bench.double.given_back().is_empty(), "{word}");
        bench.double.refuse(PayPalCall::Refund, None);
        if matches!(expected, Came::To(_) | Came::Operator) {
            let again = came(bench.paypal.refund(&charge).await);
            assert_eq!(again, Came::To(RefundStatus::Refunded), "{word}");
            assert_eq!(bench.double.given_back(), ["200.00 COMPLETED"], "{word}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_reason_of_a_processor_is_told_as_it_is_meant() {
    for (code, name, meaning) in PROCESSOR {
        let bench = bench();
        bench
            .double
            .vault_card(CARD, [PayPalOutcome::Declined(code)]);
        let charge = bench.opened().await;
        let expected = declined(name, *meaning == Meaning::DeclinedForNow);
        let status = bench.paypal.confirm(&charge).await.unwrap();
        assert_eq!(status, expected, "{code}");
        assert_eq!(
            bench.paypal.look_up(&charge).await.unwrap(),
            expected,
            "{code}"
        );
        assert!(bench.double.taken().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn each_status_of_paypals_objects_is_understood() {
    for row in published(LIST) {
        let bench = bench();
        match row.place {
            "capture.status" => {
                bench
                    .double
                    .vault_card(CARD, [PayPalOutcome::Status(row.word)]);
                let charge = bench.opened().await;
                let captured = bench.paypal.confirm(&charge).await;
                assert!(captured.is_ok(), "{}: {captured:?}", row.word);
                let looked = bench.paypal.look_up(&charge).await;
                assert_eq!(looked.unwrap(), captured.unwrap(), "{}", row.word);
            }
            "capture.reason" => {
                let meaning = REASONS.meaning(row.word).unwrap();
                let (status, expected) = match meaning {
                    Meaning::Declined => ("DECLINED", declined(row.word, false)),
                    _ => ("PENDING", ChargeStatus::Pending),
                };
                let outcome = PayPalOutcome::For(status, row.word);
                bench.double.vault_card(CARD, [outcome]);
                let charge = bench.opened().await;
                assert_eq!(bench.paypal.confirm(&charge).await.unwrap(), expected);
                assert_eq!(bench.paypal.look_up(&charge).await.unwrap(), expected);
            }
            "refund.status" => {
                let charge = bench.captured().await;
                bench.double.refunds_end_as(row.word);
                let expected = match row.word {
                    "COMPLETED" => RefundStatus::Refunded,
                    "PENDING" => RefundStatus::Pending,
                    "FAILED" => failed("refund_failed"),
                    _ => failed("refund_cancelled"),
                };
                assert_eq!(bench.paypal.refund(&charge).await.unwrap(), expected);
            }
            "dispute.status" => {
                let id = bench.dispute().await;
                bench.double.set_disputes(row.word, None);
                let dispute = bench.paypal.dispute(&id).await.unwrap().unwrap();
                assert_eq!(dispute.state, DisputeState::Open, "{}", row.word);
            }
            "dispute.outcome" => {
                let id = bench.dispute().await;
                bench.double.set_disputes("RESOLVED", Some(row.word));
                let expected = match row.word {
                    "RESOLVED_BUYER_FAVOUR" | "ACCEPTED" => DisputeState::Lost,
                    "NONE" => DisputeState::Open,
                    _ => DisputeState::Won,
                };
                let dispute = bench.paypal.dispute(&id).await.unwrap().unwrap();
                assert_eq!(dispute.state, expected, "{}", row.word);
            }
            _ => {}
        }
    }
}

fn failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

/// The results of opening and capturing if PayPal gives this answer at each try.
async fn answered(status: u16, body: &str) -> (Came<String>, Came<ChargeStatus>) {
    let bench = bench();
    let charge = bench.opened().await;
    let reply = || Mishap::Instead(DoubleReply::new(status, body));
    for _ in 0..4 {
        bench.front.plan("POST", "/capture", reply());
    }
    let confirmed = came(bench.paypal.confirm(&charge).await);
    for _ in 0..4 {
        bench.front.plan("POST", "/v2/checkout/orders", reply());
    }
    let opened = came(bench.paypal.open(&bench.request()).await);
    assert!(bench.double.taken().is_empty(), "{status} {body}");
    (opened, confirmed)
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_paypals_without_a_word_is_decided_by_what_it_proves() {
    for body in WITHOUT_A_WORD {
        for status in REFUSALS {
            let (opened, confirmed) = answered(status, body).await;
            assert!(
                matches!(opened, Came::Refused(_)),
                "{status} {body}: {opened:?}"
            );
            let refused = matches!(confirmed, Came::Refused(_));
            assert!(refused, "{status} {body}: {confirmed:?}");
        }
        for status in OPERATORS {
            let came = answered(status, body).await;
            assert_eq!(came, (Came::Operator, Came::Operator), "{status} {body}");
        }
        for status in PASSING {
            let (opened, confirmed) = answered(status, body).await;
            assert!(opened.is_for_later(), "{status} {body}: {opened:?}");
            assert!(confirmed.is_for_later(), "{status} {body}: {confirmed:?}");
        }
        // An order that is not found this early may be missing from a replica.
        let (opened, confirmed) = answered(404, body).await;
        assert!(matches!(opened, Came::Refused(_)), "{body}: {opened:?}");
        assert_eq!(confirmed, Came::Unanswered, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_word_is_asked_about_where_the_capture_was_made_all_the_same() {
    for body in WITHOUT_A_WORD {
        let bench = bench();
        let charge = bench.opened().await;
        let garbled = |status| Mishap::Garbled(DoubleReply::new(status, body));
        bench.front.plan("POST", "/capture", garbled(422));
        let status = bench.paypal.confirm(&charge).await.unwrap();
        assert!(matches!(status, ChargeStatus::Captured(_)), "{body}");
        assert_eq!(bench.double.taken(), ["200.00 USD"]);
        bench.front.plan("POST", "/refund", garbled(400));
        let status = bench.paypal.refund(&charge).await.unwrap();
        assert_eq!(status, RefundStatus::Refunded, "{body}");
        assert_eq!(bench.double.given_back(), ["200.00 COMPLETED"]);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_paypal_refuses_in_any_words_are_for_the_operator() {
    for body in WITHOUT_A_WORD {
        for status in REFUSALS.into_iter().chain(OPERATORS).chain([404]) {
            let bench = bench();
            let reply = Mishap::Instead(DoubleReply::new(status, body));
            bench.front.plan("POST", "oauth2", reply);
            let opened = came(bench.paypal.open(&bench.request()).await);
            assert_eq!(opened, Came::Operator, "{status} {body}");
        }
    }
}
