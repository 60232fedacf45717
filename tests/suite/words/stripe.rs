//! Stripe's codes.

use domain::{Agreement, DisputeState, PartnerName, PartnerToken};
use messages::PartnerReference;
use payment::partners::answers::Meaning;
use payment::partners::stripe_answers::{ADVICE, CHARGE, DECLINES, REFUND};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, RefundStatus, Stripe,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use tests::partners::{DoubleReply, Mishap, Operation, Outcome, StripeDouble, StripeRefusal};

use super::{
    Came, OPERATORS, PASSING, Published, REFUSALS, WITHOUT_A_WORD, assert_same, came, captured,
    published, request,
};
use crate::stripe::{clock, open};

const LIST: &str = include_str!("../../published/stripe.tsv");
const CUSTOMER: &str = "cus_played";
const VISA: &str = "pm_card_visa";

pub(super) struct Bench {
    pub(super) double: StripeDouble,
    pub(super) stripe: Stripe,
    runtime: Runtime,
}

pub(super) fn bench() -> Bench {
    let (runtime, _) = clock();
    let double = StripeDouble::new(runtime.clone());
    double.attach(CUSTOMER, VISA);
    let https = Https::with_connector(double.front().connector(), "http://stripe.test");
    let key = Secret::new(StripeDouble::api_key());
    Bench {
        stripe: Stripe::new(https, key, runtime.clone()),
        double,
        runtime,
    }
}

impl Bench {
    pub(super) fn request(&self) -> ChargeRequest {
        let agreement = Agreement {
            partner: PartnerName::Stripe,
            partner_customer: Some(PartnerToken::parse(CUSTOMER).unwrap()),
            payment_method: PartnerToken::parse(VISA).unwrap(),
        };
        request(&self.runtime, agreement)
    }

    pub(super) async fn opened(&self) -> OpenCharge {
        open(&self.stripe, &self.runtime, self.request()).await
    }

    pub(super) async fn captured(&self) -> OpenCharge {
        captured(&self.stripe, self.opened().await).await
    }

    async fn dispute(&self) -> PartnerReference {
        self.captured().await;
        self.double.dispute();
        PartnerReference::parse(&self.double.disputes()[0]).unwrap()
    }
}

fn declined(code: &str, retryable: bool) -> ChargeStatus {
    ChargeStatus::Declined {
        code: code.to_owned(),
        retryable,
    }
}

/// The refusal with this code, about that parameter.
fn refusal(row: &Published, param: &'static str) -> StripeRefusal {
    StripeRefusal {
        status: row.status,
        kind: if row.status == 402 {
            "card_error"
        } else {
            "invalid_request_error"
        },
        code: Some(row.word),
        param: Some(param),
    }
}

fn codes() -> Vec<Published> {
    let mut rows = published(LIST);
    rows.retain(|row| row.place == "code");
    rows
}

#[test]
fn every_word_of_stripes_has_a_meaning_and_no_other_has() {
    let list = published(LIST);
    assert_same(&list, &["code"], &[CHARGE]);
    assert_same(&list, &["code"], &[REFUND]);
    assert_same(&list, &["decline"], &[DECLINES]);
    assert_same(&list, &["advice"], &[ADVICE]);
}

#[tokio::test(start_paused = true)]
async fn each_code_of_stripes_has_its_outcome_where_a_charge_is_opened() {
    for row in codes() {
        let bench = bench();
        let request = bench.request();
        let refused = refusal(&row, "payment_method");
        bench.double.refuse(Operation::Open, Some(refused));
        let meaning = CHARGE.meaning(row.word).unwrap();
        let expected = match (row.status, meaning) {
            (401, _) | (_, Meaning::Operator) => Came::Operator,
            (_, Meaning::NoAgreement) => Came::NoAgreement,
            (_, Meaning::Later) => Came::Unavailable,
            _ => Came::Refused(row.word.to_owned()),
        };
        let opened = came(bench.stripe.open(&request).await);
        assert_eq!(opened, expected, "{}", row.word);
        // The same attempt continues once the cause is corrected, whatever its key has stored.
        bench.double.refuse(Operation::Open, None);
        if !matches!(opened, Came::Refused(_)) {
            bench.stripe.open(&request).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_code_of_stripes_has_its_outcome_where_a_charge_is_confirmed() {
    for row in codes() {
        let bench = bench();
        let charge = bench.opened().await;
        let refused = refusal(&row, "payment_method");
        bench.double.refuse(Operation::Confirm, Some(refused));
        let word = row.word;
        let expected = match (row.status, CHARGE.meaning(word).unwrap()) {
            (401, _) | (_, Meaning::Operator) => Came::Operator,
            (_, Meaning::DeclinedForNow) => Came::To(declined(word, true)),
            (_, Meaning::Declined) => Came::To(declined(word, false)),
            (_, Meaning::CustomerMustAct) => Came::To(ChargeStatus::ActionRequired),
            (_, Meaning::NoAgreement) => Came::To(declined("payment_method_missing", false)),
            (_, Meaning::LookUp) => Came::To(ChargeStatus::Unconfirmed),
            (_, Meaning::Later) => Came::Unavailable,
            _ => Came::Refused(word.to_owned()),
        };
        let confirmed = came(bench.stripe.confirm(&charge).await);
        assert_eq!(confirmed, expected, "{word}");
        assert!(bench.double.charges().is_empty(), "{word}");
        bench.double.refuse(Operation::Confirm, None);
        if matches!(confirmed, Came::Operator | Came::Unavailable) {
            let status = bench.stripe.confirm(&charge).await.unwrap();
            assert!(matches!(status, ChargeStatus::Captured(_)), "{word}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_code_of_stripes_decides_nothing_where_it_is_only_asked() {
    for row in codes() {
        let bench = bench();
        let charge = bench.opened().await;
        let for_operator = row.status == 401
            || matches!(
                CHARGE.meaning(row.word),
                Some(Meaning::Operator | Meaning::NoAgreement)
            );
        bench
            .double
            .refuse(Operation::LookUp, Some(refusal(&row, "intent")));
        let looked = came(bench.stripe.look_up(&charge).await);
        assert_eq!(looked == Came::Operator, for_operator, "{}", row.word);
        assert!(for_operator || looked.is_for_later(), "{looked:?}");

        let param = "payment_intent";
        bench
            .double
            .refuse(Operation::ListRefunds, Some(refusal(&row, param)));
        let listed = came(bench.stripe.refund_status(&charge).await);
        assert_eq!(listed == Came::Operator, for_operator, "{}", row.word);
        assert!(for_operator || listed.is_for_later(), "{listed:?}");

        // The intent itself shows whether it was cancelled.
        bench.double.refuse(Operation::LookUp, None);
        bench
            .double
            .refuse(Operation::Cancel, Some(refusal(&row, "intent")));
        let cancelled = came(bench.stripe.cancel(&charge).await);
        let expected = match (for_operator, CHARGE.meaning(row.word).unwrap()) {
            (true, _) => Came::Operator,
            (_, Meaning::Later) => Came::Unavailable,
            _ => Came::To(ChargeStatus::Unconfirmed),
        };
        assert_eq!(cancelled, expected, "{}", row.word);
    }
}

#[tokio::test(start_paused = true)]
async fn each_code_of_stripes_has_its_outcome_where_a_charge_is_refunded() {
    for row in codes() {
        let bench = bench();
        let charge = bench.captured().await;
        let refused = refusal(&row, "payment_intent");
        bench.double.refuse(Operation::Refund, Some(refused));
        let word = row.word;
        let expected = match (row.status, REFUND.meaning(word).unwrap()) {
            (401, _) | (_, Meaning::Operator) => Came::Operator,
            (_, Meaning::Later) => Came::Unavailable,
            // The answer says that it was made, but it is not shown.
            (_, Meaning::LookUp) => Came::Unanswered,
            (_, Meaning::Refused) => Came::To(RefundStatus::Failed {
                code: word.to_owned(),
            }),
            (_, other) => panic!("{word}: {other:?}"),
        };
        assert_eq!(came(bench.stripe.refund(&charge).await), expected, "{word}");
        assert_eq!(bench.double.refunds(), 0, "{word}");
        bench.double.refuse(Operation::Refund, None);
        if expected != Came::Unanswered {
            let again = came(bench.stripe.refund(&charge).await);
            assert_eq!(again, Came::To(RefundStatus::Refunded), "{word}");
            assert_eq!(bench.double.given_back(), [20_000], "{word}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_code_of_stripes_leaves_a_dispute_open_but_one_that_says_that_there_is_none() {
    for row in codes() {
        let bench = bench();
        let id = bench.dispute().await;
        bench
            .double
            .refuse(Operation::Dispute, Some(refusal(&row, "dispute")));
        let asked = came(bench.stripe.dispute(&id).await);
        let expected = match CHARGE.meaning(row.word).unwrap() {
            Meaning::NoAgreement => matches!(asked, Came::To(None)),
            Meaning::Operator => asked == Came::Operator,
            _ => asked.is_for_later(),
        };
        assert!(expected || row.status == 401, "{}: {asked:?}", row.word);
    }
}

#[tokio::test(start_paused = true)]
async fn each_decline_and_each_advice_of_stripes_is_told_as_it_is_meant() {
    let decline = async |decline_code, advice_code| {
        let bench = bench();
        bench.double.change(VISA, |method| {
            method.outcome = Outcome::Declines {
                code: "card_declined",
                decline_code: Some(decline_code),
                advice_code,
            };
        });
        let charge = bench.opened().await;
        let status = bench.stripe.confirm(&charge).await.unwrap();
        assert_eq!(bench.stripe.look_up(&charge).await.unwrap(), status);
        status
    };
    let expected = |code: &str, meaning: Meaning| match meaning {
        Meaning::DeclinedForNow => declined(code, true),
        Meaning::Declined => declined(code, false),
        Meaning::CustomerMustAct => ChargeStatus::ActionRequired,
        other => panic!("{other:?}"),
    };
    for row in published(LIST) {
        match row.place {
            "decline" => {
                let meaning = DECLINES.meaning(row.word).unwrap();
                let status = decline(row.word, None).await;
                assert_eq!(status, expected(row.word, meaning), "{}", row.word);
            }
            "advice" => {
                let meaning = ADVICE.meaning(row.word).unwrap();
                let status = decline("generic_decline", Some(row.word)).await;
                assert_eq!(status, expected("generic_decline", meaning), "{}", row.word);
            }
            _ => {}
        }
    }
    assert_eq!(
        decline("a_newer_one", None).await,
        declined("a_newer_one", false)
    );
}

#[tokio::test(start_paused = true)]
async fn each_status_of_stripes_objects_is_understood() {
    for row in published(LIST) {
        let bench = bench();
        match row.place {
            "intent.status" => {
                let charge = bench.opened().await;
                bench.double.set_status(row.word);
                let status = bench.stripe.look_up(&charge).await;
                assert!(status.is_ok(), "{}: {status:?}", row.word);
            }
            "refund.status" => {
                let charge = bench.captured().await;
                bench.double.set_refund_status(row.word);
                let expected = match row.word {
                    "succeeded" => RefundStatus::Refunded,
                    "pending" | "requires_action" => RefundStatus::Pending,
                    "failed" => failed("expired_or_canceled_card"),
                    _ => failed("refund_failed"),
                };
                let status = bench.stripe.refund(&charge).await.unwrap();
                assert_eq!(status, expected, "{}", row.word);
            }
            "refund.failure_reason" => {
                let charge = bench.captured().await;
                bench.stripe.refund(&charge).await.unwrap();
                bench.double.fail_refunds(row.word);
                let status = bench.stripe.refund_status(&charge).await.unwrap();
                assert_eq!(status, Some(failed(row.word)));
            }
            "dispute.status" => {
                let id = bench.dispute().await;
                bench.double.set_dispute_status(row.word);
                let expected = match row.word {
                    "lost" => DisputeState::Lost,
                    "won" | "warning_closed" | "prevented" => DisputeState::Won,
                    _ => DisputeState::Open,
                };
                let dispute = bench.stripe.dispute(&id).await.unwrap().unwrap();
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

/// The results of opening and confirming if Stripe gives this answer, once or at each try.
async fn answered(status: u16, body: &str) -> (Came<String>, Came<ChargeStatus>) {
    let bench = bench();
    let reply = || Mishap::Instead(DoubleReply::new(status, body));
    let charge = bench.opened().await;
    for operation in [Operation::Open, Operation::Confirm] {
        bench.double.plan(operation, reply());
        bench.double.plan(operation, reply());
    }
    let opened = came(bench.stripe.open(&bench.request()).await);
    let confirmed = came(bench.stripe.confirm(&charge).await);
    assert!(bench.double.charges().is_empty(), "{status} {body}");
    (opened, confirmed)
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_stripes_without_a_word_is_decided_by_what_it_proves() {
    for body in WITHOUT_A_WORD {
        for status in REFUSALS.into_iter().chain([404]) {
            let (opened, confirmed) = answered(status, body).await;
            let refused = matches!(opened, Came::Refused(_));
            assert!(refused, "{status} {body}: {opened:?}");
            let refused = matches!(confirmed, Came::Refused(_));
            assert!(refused, "{status} {body}: {confirmed:?}");
        }
        for status in OPERATORS {
            let came = answered(status, body).await;
            assert_eq!(came, (Came::Operator, Came::Operator), "{status} {body}");
        }
        for status in PASSING {
            let (opened, confirmed) = answered(status, body).await;
            assert_eq!(opened, Came::Unavailable, "{status} {body}");
            assert!(confirmed.is_for_later(), "{status} {body}: {confirmed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_word_is_asked_about_where_the_charge_was_made_all_the_same() {
    for body in WITHOUT_A_WORD {
        let bench = bench();
        let charge = bench.opened().await;
        let garbled = Mishap::Garbled(DoubleReply::new(400, body));
        bench.double.plan(Operation::Confirm, garbled);
        let status = bench.stripe.confirm(&charge).await.unwrap();
        assert!(matches!(status, ChargeStatus::Captured(_)), "{body}");
        assert_eq!(bench.double.captured(), [20_000]);
        // It is asked about, not confirmed once more.
        let operations = bench.double.operations().into_iter();
        let confirmations = operations.filter(|each| *each == Operation::Confirm);
        assert_eq!(confirmations.count(), 1, "{body}");
    }
}
