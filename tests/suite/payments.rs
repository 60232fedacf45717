//! One charge, despite crashes, repeats, and concurrency.

use std::time::Duration;

use domain::{ChargeState, PartnerAccount, PartnerName, Timestamp};
use futures_util::future::join_all;
use messages::queue::Queue;
use payment::partners::{ChargeStatus, OpenCharge};
use serde_json::json;
use store::{Claim, Confirmation, DeclinedCharge, Fence, OpenedCharge, Settlement};

use crate::shop::{PlayedShop, Shop, played};

/// A charge with that reference at the scripted partner, as stored once it was opened.
fn opened_charge(reference: &str, at: Timestamp) -> OpenedCharge<'_> {
    OpenedCharge {
        reference,
        partner: PartnerName::Sandbox,
        account: PartnerAccount::new(PartnerName::Sandbox, ""),
        method: None,
        at,
    }
}

impl PlayedShop {
    /// Claims the payment like a function that dies right afterwards.
    async fn claim(&self) -> Fence {
        let now = self.cloud.runtime.now();
        match self
            .cloud
            .store
            .claim_payment(&self.id(), None, None, payment::LEASE, now)
            .await
        {
            Ok(Claim::Held(_, fence)) => fence,
            other => panic!("not claimed: {other:?}"),
        }
    }

    fn lease_ends(&self) {
        self.cloud.pass(payment::LEASE + Duration::from_secs(1));
    }

    /// Checks that the order is paid by one charge of its total.
    async fn assert_charged_once(&self) {
        let captured: Vec<String> = self
            .partner
            .captured()
            .iter()
            .map(domain::Money::to_amount_text)
            .collect();
        assert_eq!(captured, ["200.0"]);
        assert_eq!(self.cloud.get(&self.order).await.body["status"], "paid");
    }
}

#[tokio::test]
async fn requests_and_messages_at_once_make_one_charge() {
    let test = Shop::at(played).invoiced().await;
    test.cloud.relay_stream().await;
    let messages: Vec<_> = test
        .cloud
        .queues
        .take()
        .into_iter()
        .filter(|(queue, _)| *queue == Queue::Payment)
        .collect();
    assert_eq!(messages.len(), 1);
    let (queue, message) = &messages[0];
    let requests = join_all((0..5).map(|_| test.pay()));
    let deliveries = join_all((0..5).map(|_| test.cloud.deliver(*queue, message)));
    let (replies, _) = futures_util::future::join(requests, deliveries).await;
    for reply in replies {
        assert!(
            matches!(
                (reply.status, reply.code()),
                (201, "") | (409, "in_progress")
            ),
            "{}",
            reply.text
        );
    }
    assert!(test.cloud.deliver(*queue, message).await);
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
    assert_eq!(test.partner.calls(), ["open", "confirm"]);
}

#[tokio::test]
async fn a_crash_before_the_charge_is_opened_is_mended() {
    let test = Shop::at(played).invoiced().await;
    test.claim().await;
    assert_eq!(test.pay().await.code(), "in_progress");
    test.lease_ends();
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_crash_between_opening_and_storing_the_reference_is_mended() {
    let test = Shop::at(played).invoiced().await;
    test.partner.lose_answer("open");
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.state().await, "due");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_crash_after_storing_the_reference_is_mended_by_asking_for_it() {
    let test = Shop::at(played).invoiced().await;
    let fence = test.claim().await;
    let now = test.cloud.runtime.now();
    // The charge is opened and its reference stored; then the function dies.
    let opened = open(&test).await;
    test.cloud
        .store
        .charge_opened(&test.id(), fence, &opened_charge(&opened, now))
        .await
        .unwrap();
    test.lease_ends();
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.partner.calls(), ["open", "look_up", "confirm"]);
    test.assert_charged_once().await;
}

async fn open(test: &PlayedShop) -> String {
    use payment::partners::BillingPartner as _;
    let order = test.cloud.store.order(&test.id()).await.unwrap().unwrap();
    test.partner.open(&request(&order)).await.unwrap()
}

/// The request for the first attempt at an order.
fn request(order: &domain::Order) -> payment::partners::ChargeRequest {
    payment::partners::ChargeRequest {
        invoice: order.id.invoice(),
        attempt: 1,
        customer: order.customer.clone(),
        amount: order.amounts.total,
        currency: order.currency,
        agreement: None,
        replaces: None,
    }
}

#[tokio::test]
async fn an_answer_lost_after_the_money_moved_is_unknown_not_declined_and_then_found() {
    let test = Shop::at(played).invoiced().await;
    test.partner.lose_answer("confirm");
    let reply = test.pay().await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "payment_outcome_unknown")
    );
    assert_eq!(test.state().await, "unknown");
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.partner.calls(), ["open", "confirm", "look_up"]);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_partner_that_cannot_be_asked_leaves_the_payment_unknown_until_it_can() {
    let test = Shop::at(played).invoiced().await;
    test.partner.lose_answer("confirm");
    test.pay().await;
    test.partner.lose_answer("look_up");
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.state().await, "unknown");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_after_its_lease_changes_nothing() {
    let test = Shop::at(played).invoiced().await;
    let frozen = test.claim().await;
    let order = test.cloud.store.order(&test.id()).await.unwrap().unwrap();
    test.lease_ends();
    assert_eq!(test.pay().await.status, 201);
    let paid = test.cloud.get(&test.order).await.text;

    let (store, id, now) = (&test.cloud.store, test.id(), test.cloud.runtime.now());
    let charge = domain::Charge {
        transaction_id: 1,
        created_at: now,
        completed_at: now,
        card: domain::Card::default(),
    };
    let decline = domain::Decline {
        attempt: 1,
        code: "late".to_owned(),
        retryable: true,
    };
    for settlement in [
        store
            .charge_opened(&id, frozen, &opened_charge("other", now))
            .await
            .unwrap(),
        store
            .charge_declined(&order, frozen, &decline, DeclinedCharge::Dead, now)
            .await
            .unwrap(),
        store
            .release_payment(
                &order,
                frozen,
                ChargeState::Due.into(),
                Confirmation::Answered,
                now,
            )
            .await
            .unwrap(),
    ] {
        assert!(
            matches!(settlement, Settlement::Overtaken(_)),
            "{settlement:?}"
        );
    }
    let settlement = store
        .charge_captured(&order, frozen, &charge, now)
        .await
        .unwrap();
    let Settlement::Written(standing) = settlement else {
        panic!("{settlement:?}")
    };
    assert_ne!(standing.payment.unwrap().charge.unwrap().transaction_id, 1);
    assert_eq!(test.cloud.get(&test.order).await.text, paid);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_worker_that_was_overtaken_cannot_write_under_its_old_fence() {
    let test = Shop::at(played).invoiced().await;
    let old = test.claim().await;
    test.lease_ends();
    let new = test.claim().await;
    assert_ne!(old, new);
    let (store, id, now) = (&test.cloud.store, test.id(), test.cloud.runtime.now());
    let settlement = store
        .charge_opened(&id, old, &opened_charge("theirs", now))
        .await
        .unwrap();
    assert!(matches!(settlement, Settlement::Overtaken(_)));
    let settlement = store
        .charge_opened(&id, new, &opened_charge("ours", now))
        .await
        .unwrap();
    let Settlement::Written(order) = settlement else {
        panic!("{settlement:?}")
    };
    assert_eq!(order.payment.unwrap().reference.as_deref(), Some("ours"));
}

#[tokio::test]
async fn only_an_explicit_request_tries_again_after_a_decline_and_its_repeat_does_not() {
    let test = Shop::at(played).invoiced().await;
    let declined = |code: &str| ChargeStatus::Declined {
        code: code.to_owned(),
        retryable: true,
    };
    test.partner.script([declined("first"), declined("second")]);
    test.cloud.settle().await;
    assert_eq!(test.state().await, "declined");

    let second = test.pay_with("second-try").await;
    assert_eq!(
        (second.status, &second.body["decline_code"]),
        (402, &json!("second"))
    );
    let calls = test.partner.calls();
    // Each declined charge is closed before another one is opened.
    assert_eq!(
        calls,
        [
            "open", "confirm", "cancel", "cancel", "open", "confirm", "cancel"
        ]
    );
    // The same key identifies the same request: it gets the same answer and starts nothing.
    let repeat = test.pay_with("second-try").await;
    assert_eq!((repeat.status, &repeat.text), (402, &second.text));
    assert_eq!(test.partner.calls(), calls);

    assert_eq!(test.pay_with("third-try").await.status, 201);
    assert_eq!(
        test.cloud.get(&test.order).await.body["payment"]["attempt"],
        3
    );
    // Even after the payment.
    assert_eq!(test.pay_with("second-try").await.text, second.text);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_worker_frozen_before_confirming_a_declined_attempt_cannot_charge_it_later() {
    use payment::partners::{BillingPartner, OpenCharge};
    let test = Shop::at(played).invoiced().await;
    let declined = ChargeStatus::Declined {
        code: "card_declined".to_owned(),
        retryable: true,
    };
    test.partner.script([declined]);
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.pay().await.status, 201);
    // It wakes and confirms the first attempt's reference.
    let order = test.cloud.store.order(&test.id()).await.unwrap().unwrap();
    let charge = OpenCharge::new(
        request(&order),
        "charge_1".to_owned(),
        &test.partner,
        test.cloud.runtime.now(),
    );
    assert_eq!(
        test.partner.confirm(&charge).await.unwrap(),
        ChargeStatus::Cancelled
    );
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_charge_cancelled_at_the_partner_counts_as_declined() {
    let test = Shop::at(played).invoiced().await;
    test.partner.script([ChargeStatus::ActionRequired]);
    assert_eq!(test.pay().await.code(), "payment_action_required");
    assert_eq!(test.state().await, "action_required");
    test.partner.set_all(&ChargeStatus::Cancelled);
    let reply = test.pay().await;
    assert_eq!(
        (reply.status, &reply.body["decline_code"]),
        (402, &json!("cancelled_at_partner"))
    );
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn once_the_customer_has_acted_the_same_charge_goes_on() {
    let test = Shop::at(played).invoiced().await;
    test.partner.script([ChargeStatus::ActionRequired]);
    test.cloud.settle().await;
    assert_eq!(test.state().await, "action_required");
    test.partner
        .set_all(&ChargeStatus::Captured(domain::Card::default()));
    test.cloud.pass(Duration::from_secs(130));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(test.cloud.get(&test.order).await.body["status"], "shipped");
    assert_eq!(test.partner.captured().len(), 1);
}

#[tokio::test]
async fn an_invoice_has_twenty_attempts_at_most() {
    let test = Shop::at(played).invoiced().await;
    let declined = ChargeStatus::Declined {
        code: "card_declined".to_owned(),
        retryable: true,
    };
    test.partner.script(vec![declined; 30]);
    for attempt in 1..=20 {
        assert_eq!(test.pay().await.code(), "payment_declined", "{attempt}");
    }
    let mut calls = test.partner.calls();
    let reply = test.pay().await;
    assert_eq!(
        (reply.status, reply.code()),
        (409, "too_many_payment_attempts")
    );
    // The last declined charge is closed once more, and nothing else is requested.
    calls.push("cancel");
    assert_eq!(test.partner.calls(), calls);
}

#[tokio::test]
async fn news_of_a_closed_decline_is_kept_while_the_partner_cannot_be_asked() {
    let test = Shop::at(played).invoiced().await;
    test.cloud.relay_stream().await;
    let mut messages = test.cloud.queues.take().into_iter();
    let (queue, message) = messages
        .find(|(queue, _)| *queue == Queue::Payment)
        .unwrap();
    test.partner.script([ChargeStatus::Declined {
        code: "card_declined".to_owned(),
        retryable: true,
    }]);
    assert_eq!(test.pay().await.status, 402);
    // The partner's staff capture a charge that was closed, and nothing is due.
    test.partner
        .set_all(&ChargeStatus::Captured(domain::Card::default()));
    test.partner.set_out(true);
    assert!(!test.cloud.deliver(queue, &message).await);
    test.partner.set_out(false);
    assert!(test.cloud.deliver(queue, &message).await);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn the_amount_comes_from_the_order_whatever_a_message_says() {
    let test = Shop::at(played).invoiced().await;
    test.cloud.relay_stream().await;
    let (queue, mut message) = test
        .cloud
        .queues
        .take()
        .into_iter()
        .find(|(queue, _)| *queue == Queue::Payment)
        .unwrap();
    message.mail = Some(messages::MailData {
        total: Some("1".parse().unwrap()),
        ..messages::MailData::default()
    });
    assert!(test.cloud.deliver(queue, &message).await);
    test.assert_charged_once().await;
}

#[test]
fn the_lease_and_the_mails_claim_outlast_every_function_that_holds_them() {
    let template: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
    let timeout = |function: &str| {
        let seconds = &template["Resources"][function]["Properties"]["Timeout"];
        Duration::from_secs(
            seconds
                .as_u64()
                .unwrap_or_else(|| panic!("{function} has a timeout")),
        )
    };
    for function in ["PaymentFunction", "PaymentWorker"] {
        assert!(timeout(function) * 2 < payment::LEASE, "{function}");
    }
    for function in ["EmailFunction", "EmailWorker"] {
        assert!(
            timeout(function) * 2 < email::CLAIM_STALE_AFTER,
            "{function}"
        );
    }
}

#[tokio::test]
async fn a_partner_that_asks_for_less_is_asked_again_and_charges_once() {
    for operation in ["open", "confirm"] {
        let test = Shop::at(played).invoiced().await;
        for _ in 0..3 {
            test.partner.refuse(operation);
            let reply = test.pay().await;
            assert_eq!(reply.code(), "billing_partner_unavailable", "{operation}");
            assert_eq!(reply.header("retry-after"), "5");
            assert!(test.partner.captured().is_empty());
        }
        assert_eq!(test.pay().await.status, 201);
        test.assert_charged_once().await;
    }
}

#[tokio::test]
async fn a_partner_that_is_out_for_30_hours_after_the_charge_was_opened_charges_once_afterwards() {
    let test = Shop::at(played).invoiced().await;
    test.partner.lose_answer("confirm");
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    test.partner.set_out(true);
    for hour in 1..=30 {
        test.cloud.pass(Duration::from_hours(1));
        test.cloud.sweep().await;
        test.cloud.settle_once().await;
        assert_eq!(test.state().await, "unknown", "hour {hour}");
    }
    test.partner.set_out(false);
    test.cloud.pass(Duration::from_hours(1));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(test.partner.captured().len(), 1);
    assert_eq!(test.cloud.get(&test.order).await.body["status"], "shipped");
}

#[tokio::test]
async fn two_workers_that_confirm_the_same_charge_take_the_money_once() {
    use payment::partners::BillingPartner as _;
    let test = Shop::at(played).invoiced().await;
    let reference = open(&test).await;
    let fence = test.claim().await;
    let now = test.cloud.runtime.now();
    let kept = test
        .cloud
        .store
        .charge_opened(&test.id(), fence, &opened_charge(&reference, now))
        .await;
    assert!(matches!(kept.unwrap(), Settlement::Written(_)));
    // The first worker is frozen before its confirmation for longer than its lease.
    test.lease_ends();
    assert_eq!(test.pay().await.status, 201);
    let order = test.cloud.store.order(&test.id()).await.unwrap().unwrap();
    let charge = OpenCharge::new(request(&order), reference, &test.partner, now);
    let again = test.partner.confirm(&charge).await.unwrap();
    assert!(matches!(again, ChargeStatus::Captured(_)));
    test.assert_charged_once().await;
}
