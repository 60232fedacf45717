//! An order waits for its customer only for a limited time. Then the chain cancels it, after
//! closing whatever is open at the partner.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventType, Order, OrderId, PartnerName, UnpaidOrders};
use futures_util::future::{join, join_all};
use messages::Message;
use messages::queue::Queue;
use payment::partners::{BillingPartner, ChargeStatus, Sandbox};
use serde_json::{Value, json};
use shipment::carriers::Own;
use tests::partners::{Habits, Mishap, Operation};
use tests::{Cloud, Options, PlayedPartner};

use crate::agreements::agreement;
use crate::contract::{cart, cart_with_checkout, invoice};
use crate::errors::assert_problem;
use crate::sequences::{self, at_paypal, at_stripe, with_paypal, with_stripe};
use crate::shop::{self, PlayedShop, Shop};

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// `UnpaidOrderDays`, as it is by default.
const TIME: Duration = Duration::from_hours(14 * 24);

fn days(days: u64) -> Options {
    Options {
        unpaid: UnpaidOrders::expire_after(DAY * u32::try_from(days).unwrap()),
        ..Options::default()
    }
}

/// What an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Its charge was declined.
    AnotherCard,
    /// The customer must act at the partner.
    Action,
    /// The customer has not agreed to be charged.
    Agreement,
}

const ANYTHING: [For; 3] = [For::AnotherCard, For::Action, For::Agreement];

fn declined() -> ChargeStatus {
    ChargeStatus::Declined {
        code: "insufficient_funds".to_owned(),
        retryable: true,
    }
}

/// An order that begins to wait now.
async fn waits(what: For, options: Options) -> PlayedShop {
    let partner = PlayedPartner::default();
    match what {
        For::AnotherCard => partner.script([declined()]),
        For::Action => partner.script([ChargeStatus::ActionRequired]),
        For::Agreement => partner.needs_agreement(PartnerName::Stripe),
    }
    waiting(partner, options, cart_with_checkout()).await
}

/// The order after everything that the chain does automatically.
async fn waiting(partner: PlayedPartner, options: Options, cart: Value) -> PlayedShop {
    let played = |_| (partner.clone(), partner);
    let shop = Shop::at(played).with(options).cart(cart).placed().await;
    shop.cloud.settle().await;
    shop
}

impl PlayedShop {
    async fn stored(&self) -> Order {
        stored(&self.cloud, &self.order).await
    }

    async fn look(&self) {
        look(&self.cloud, &self.order).await;
    }

    async fn sweep(&self) -> u64 {
        let report = self.cloud.sweep().await;
        self.cloud.settle().await;
        report.overdue
    }

    async fn assert_expired(&self) {
        assert_expired(&self.cloud, &self.order).await;
        assert!(self.partner.captured().is_empty());
    }
}

async fn stored<P: BillingPartner>(cloud: &Cloud<P>, order: &str) -> Order {
    let id = OrderId::parse(order).unwrap();
    cloud.store.order(&id).await.unwrap().unwrap()
}

/// The message that the sweep or a webhook would publish: the payment worker checks the order now.
async fn message<P: BillingPartner>(cloud: &Cloud<P>, order: &str) -> Message {
    let order = stored(cloud, order).await;
    Message::of_order(&order, EventType::InvoiceCreated).unwrap()
}

async fn look<P: BillingPartner>(cloud: &Cloud<P>, order: &str) {
    let message = message(cloud, order).await;
    assert!(cloud.deliver(Queue::Payment, &message).await);
}

/// The number of mails that say that the order was cancelled because it was not paid.
fn farewells<P: BillingPartner>(cloud: &Cloud<P>, order: &str) -> usize {
    let subject = format!("Your order {order} is cancelled");
    let taken = cloud.mailer.taken();
    let told = taken.iter().filter(|sent| {
        sent.mail.subject == subject && sent.mail.text.contains("because it was not paid in time")
    });
    told.count()
}

/// Checks that the order is cancelled for that reason, the customer got one mail, and nothing is
/// due.
async fn assert_expired<P: BillingPartner>(cloud: &Cloud<P>, order: &str) {
    for _ in 0..2 {
        cloud.settle().await;
        cloud.pass(2 * HOUR);
        cloud.sweep().await;
    }
    let shown = cloud.get(order).await.body;
    assert_eq!(shown["status"], "cancelled", "{shown}");
    assert_eq!(shown["cancelReason"], "expired");
    assert_eq!(shown["payment"]["state"], "cancelled");
    assert_eq!(shown.get("due"), None);
    let cancelled = shown["timeline"].as_array().unwrap();
    let cancelled = cancelled
        .iter()
        .filter(|each| each["event"] == "OrderCancelled");
    assert_eq!(cancelled.count(), 1, "{shown}");
    assert_eq!(farewells(cloud, order), 1);
}

#[tokio::test]
async fn an_order_that_waits_for_its_customer_expires_to_the_millisecond_and_is_closed_first() {
    for what in ANYTHING {
        println!("{what:?}");
        let test = waits(what, Options::default()).await;
        let before = test.state().await;
        test.cloud.pass(TIME.saturating_sub(MILLISECOND));
        test.look().await;
        assert_eq!(test.state().await, before);
        let asked = test.partner.calls().len();
        test.cloud.pass(MILLISECOND);
        test.look().await;
        assert_eq!(test.state().await, "cancelled");
        // Nothing is opened or confirmed any more.
        match what {
            For::Agreement => assert_eq!(test.partner.calls().len(), asked),
            For::AnotherCard | For::Action => {
                assert_eq!(test.partner.calls()[asked..], ["cancel"]);
            }
        }
        test.assert_expired().await;
        let reply = test.pay_with("too-late").await;
        assert_problem(&reply, 409, "wrong_state");
    }
}

#[tokio::test]
async fn the_sweep_alone_brings_every_waiting_order_to_its_end() {
    for what in ANYTHING {
        let test = waits(what, Options::default()).await;
        for _ in 0..27 {
            test.cloud.pass(12 * HOUR);
            assert_eq!(test.sweep().await, 0);
        }
        assert_eq!(test.shown().await["status"], "invoiced", "{what:?}");
        let asked = test.partner.calls().len();
        test.cloud.pass(12 * HOUR);
        assert_eq!(test.sweep().await, 0);
        // A declined charge that is closed is not looked up in between.
        if what == For::AnotherCard {
            assert!(asked < 10, "{asked}");
        }
        test.assert_expired().await;
    }
}

#[tokio::test]
async fn an_order_without_an_address_expires_too() {
    for what in ANYTHING {
        let partner = PlayedPartner::default();
        match what {
            For::AnotherCard => partner.script([declined()]),
            For::Action => partner.script([ChargeStatus::ActionRequired]),
            For::Agreement => partner.needs_agreement(PartnerName::Stripe),
        }
        let test = waiting(partner, Options::default(), cart()).await;
        let body = invoice(&test.order);
        let reply = test.cloud.post("/api/order/invoice.json", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        test.cloud.settle().await;
        for _ in 0..15 {
            test.cloud.pass(DAY);
            assert_eq!(test.sweep().await, 0);
        }
        let shown = test.shown().await;
        assert_eq!(shown["cancelReason"], "expired", "{what:?} {shown}");
        assert_eq!(shown.get("due"), None);
        assert!(test.cloud.mailer.taken().is_empty());
    }
}

#[tokio::test]
async fn with_no_days_no_order_expires() {
    for what in ANYTHING {
        let test = waits(what, days(0)).await;
        for _ in 0..3 {
            test.cloud.pass(200 * DAY);
            assert_eq!(test.sweep().await, 0);
            test.look().await;
        }
        let shown = test.shown().await;
        assert_eq!(shown["status"], "invoiced", "{what:?}");
        // As before: a finally declined charge is not checked.
        let is_due = shown.get("due").is_some();
        assert_eq!(is_due, what != For::AnotherCard);
    }
}

#[tokio::test]
async fn what_does_not_wait_for_its_customer_never_expires() {
    // The partner settles later; the charge may be in progress.
    let partner = PlayedPartner::default();
    partner.script([ChargeStatus::Pending]);
    partner.keep_pending();
    let test = waiting(partner, Options::default(), cart_with_checkout()).await;
    // A confirmation whose answer was lost, at a partner that has been down since.
    let partner = PlayedPartner::default();
    partner.lose_answer("confirm");
    let lost = waiting(partner, Options::default(), cart_with_checkout()).await;
    lost.partner.set_out(true);
    // A charge that could never be opened.
    let partner = PlayedPartner::default();
    partner.set_out(true);
    let out = waiting(partner, Options::default(), cart_with_checkout()).await;
    // A cart that was never checked out.
    let cart = waiting(PlayedPartner::default(), Options::default(), cart()).await;
    for test in [&test, &lost, &out, &cart] {
        for _ in 0..3 {
            test.cloud.pass(100 * DAY);
            test.sweep().await;
        }
        let shown = test.shown().await;
        assert_ne!(shown["status"], "cancelled", "{shown}");
        assert!(!test.partner.calls().contains(&"cancel"), "{shown}");
    }
    assert_eq!(test.state().await, "pending");
    // Once the partner can be asked, the payment is found.
    lost.partner.set_out(false);
    lost.cloud.pass(2 * HOUR);
    lost.sweep().await;
    assert_eq!(lost.state().await, "captured");
    // The customer has the whole time from the moment that the order begins to wait, not from the
    // invoice.
    test.partner.set_all(&declined());
    test.cloud.pass(2 * HOUR);
    test.sweep().await;
    assert_eq!(test.state().await, "declined");
    test.cloud.pass(TIME.saturating_sub(SECOND));
    test.look().await;
    assert_eq!(test.state().await, "declined");
    test.cloud.pass(SECOND);
    test.look().await;
    test.assert_expired().await;
}

/// Changes an order to what earlier versions stored, which kept no time of waiting.
async fn age(test: &PlayedShop) {
    let key = AttributeValue::S(test.order.clone());
    let update = test.cloud.database.client.update_item();
    let update = update.table_name("OrdersTable").key("orderId", key);
    update
        .update_expression("REMOVE payment.waitingSince, payment.claimedFrom, #event")
        .expression_attribute_names("#event", "event")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn an_order_of_an_earlier_version_has_waited_since_its_invoice() {
    for what in ANYTHING {
        // This version's first check may come when the time has passed.
        let test = waits(what, Options::default()).await;
        test.cloud.pass(TIME);
        age(&test).await;
        test.look().await;
        test.assert_expired().await;
        // Or before that.
        let test = waits(what, Options::default()).await;
        test.cloud.pass(13 * DAY);
        age(&test).await;
        // A check that changes nothing does not restart the time.
        test.look().await;
        test.cloud.pass(DAY.saturating_sub(SECOND));
        test.look().await;
        assert_eq!(test.shown().await["status"], "invoiced", "{what:?}");
        test.cloud.pass(SECOND);
        test.look().await;
        test.assert_expired().await;
    }
}

#[tokio::test]
async fn one_late_approval_charges_no_order_that_has_waited_too_long() {
    // Whether or not the sweep has run in between.
    for sweeps in [true, false] {
        let partner = PlayedPartner::default();
        partner.needs_agreement(PartnerName::Stripe);
        let test = waiting(partner, Options::default(), cart_with_checkout()).await;
        let mut orders = vec![test.order.clone()];
        for _ in 0..2 {
            orders.push(shop::place(&test.cloud, &cart_with_checkout()).await);
        }
        test.cloud.settle().await;
        if sweeps {
            for _ in 0..15 {
                test.cloud.pass(DAY);
                test.sweep().await;
            }
        }
        test.cloud.pass(200 * DAY);
        let path = "/api/customer/billing.json";
        assert_eq!(test.cloud.post(path, &agreement()).await.status, 201);
        test.sweep().await;
        for order in &orders {
            assert_expired(&test.cloud, order).await;
        }
        assert!(test.partner.charged_by().is_empty());
    }
}

#[tokio::test]
async fn looks_and_requests_that_try_nothing_do_not_begin_the_time_anew() {
    let test = waits(For::Action, Options::default()).await;
    let since = test.stored().await.waiting_since();
    assert!(since.is_some());
    for number in 0..13 {
        test.cloud.pass(DAY);
        test.sweep().await;
        test.look().await;
        let reply = test.pay_with(&format!("look-{number}")).await;
        assert_problem(&reply, 402, "payment_action_required");
        // A check during which the partner could not be asked.
        test.partner.refuse("look_up");
        let message = message(&test.cloud, &test.order).await;
        assert!(!test.cloud.deliver(Queue::Payment, &message).await);
        assert_eq!(test.state().await, "unknown");
        test.look().await;
        assert_eq!(test.stored().await.waiting_since(), since);
    }
    test.cloud.pass(DAY);
    test.look().await;
    test.assert_expired().await;
}

#[tokio::test]
async fn an_attempt_begins_the_time_anew() {
    // Another card of a customer whose charge was declined, on the customer's request.
    let test = waits(For::AnotherCard, Options::default()).await;
    test.cloud.pass(13 * DAY);
    test.partner.script([declined()]);
    assert_eq!(test.pay_with("another-card").await.status, 402);
    // Another card of a customer who must act, tried automatically by the chain.
    let partner = PlayedPartner::default();
    partner.script([ChargeStatus::ActionRequired, ChargeStatus::ActionRequired]);
    partner.needs_agreement(PartnerName::Stripe);
    let other = waiting(partner, Options::default(), cart()).await;
    let path = "/api/customer/billing.json";
    assert_eq!(other.cloud.post(path, &agreement()).await.status, 201);
    let body = invoice(&other.order);
    let reply = other.cloud.post("/api/order/invoice.json", &body).await;
    assert_eq!(reply.status, 201);
    other.cloud.settle().await;
    assert_eq!(other.state().await, "action_required");
    other.cloud.pass(13 * DAY);
    let mut another = agreement();
    another["paymentMethodId"] = "pm_SecondCard".into();
    assert_eq!(other.cloud.post(path, &another).await.status, 201);
    other.sweep().await;
    assert_eq!(other.partner.charged_by().len(), 4);
    for test in [test, other] {
        for _ in 0..13 {
            test.cloud.pass(DAY);
            test.sweep().await;
        }
        assert_eq!(test.shown().await["status"], "invoiced");
        for _ in 0..2 {
            test.cloud.pass(DAY);
            test.sweep().await;
        }
        assert_eq!(test.shown().await["cancelReason"], "expired");
    }
}

#[tokio::test]
async fn five_copies_of_a_message_at_once_and_one_late_cancel_once() {
    for what in ANYTHING {
        let test = waits(what, Options::default()).await;
        test.cloud.pass(TIME);
        let message = message(&test.cloud, &test.order).await;
        let copies = (0..5).map(|_| test.cloud.deliver(Queue::Payment, &message));
        assert!(join_all(copies).await.contains(&true));
        test.assert_expired().await;
        assert!(test.cloud.deliver(Queue::Payment, &message).await);
        test.assert_expired().await;
    }
}

#[tokio::test]
async fn a_customer_who_comes_back_in_the_very_moment_pays_or_is_not_charged() {
    for (what, first) in ANYTHING
        .iter()
        .flat_map(|what| [(*what, true), (*what, false)])
    {
        println!("{what:?} {first}");
        let test = waits(what, Options::default()).await;
        test.cloud.pass(TIME);
        if what == For::Agreement {
            let path = "/api/customer/billing.json";
            assert_eq!(test.cloud.post(path, &agreement()).await.status, 201);
        }
        if what == For::Action {
            // The customer has acted.
            test.partner
                .set_all(&ChargeStatus::Captured(domain::Card::default()));
        }
        let message = message(&test.cloud, &test.order).await;
        let (reply, _) = if first {
            join(
                test.pay_with("now"),
                test.cloud.deliver(Queue::Payment, &message),
            )
            .await
        } else {
            let looked = test.cloud.deliver(Queue::Payment, &message);
            let (looked, reply) = join(looked, test.pay_with("now")).await;
            (reply, looked)
        };
        test.cloud.pass(2 * HOUR);
        test.sweep().await;
        let shown = test.shown().await;
        let is_paid = shown["status"] == "shipped";
        assert!(is_paid || shown["status"] == "cancelled", "{shown}");
        assert_eq!(
            test.partner.captured().len(),
            usize::from(is_paid),
            "{shown}"
        );
        assert!(reply.status != 201 || is_paid, "{shown}");
        assert_eq!(shown.get("cancelReason").is_some(), !is_paid);
        assert!(test.partner.refunded().is_empty());
    }
}

#[tokio::test]
async fn a_charge_whose_closing_is_not_answered_or_refused_is_closed_later() {
    for what in [For::AnotherCard, For::Action] {
        for trouble in ["lost", "refused", "out"] {
            let test = waits(what, Options::default()).await;
            test.cloud.pass(TIME + HOUR);
            match trouble {
                "lost" => test.partner.lose_answer("cancel"),
                "refused" => test.partner.refuse("cancel"),
                _ => test.partner.set_out(true),
            }
            test.cloud.sweep().await;
            for (queue, message) in test.cloud.queues.take() {
                test.cloud.deliver(queue, &message).await;
            }
            assert_eq!(
                test.shown().await["status"],
                "invoiced",
                "{what:?} {trouble}"
            );
            test.partner.set_out(false);
            test.cloud.pass(2 * HOUR);
            test.sweep().await;
            test.assert_expired().await;
        }
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_cancelled_in_time_counts_as_overdue() {
    for what in [For::AnotherCard, For::Action] {
        let test = waits(what, Options::default()).await;
        test.cloud.pass(TIME);
        test.partner.set_out(true);
        let mut overdue = Vec::new();
        for _ in 0..48 {
            test.cloud.pass(HOUR);
            overdue.push(test.cloud.sweep().await.overdue);
            for (queue, message) in test.cloud.queues.take() {
                test.cloud.deliver(queue, &message).await;
            }
        }
        assert_eq!(
            overdue.iter().take(20).sum::<u64>(),
            0,
            "{what:?} {overdue:?}"
        );
        assert!(
            overdue.iter().skip(24).sum::<u64>() > 10,
            "{what:?} {overdue:?}"
        );
    }
}

#[tokio::test]
async fn the_days_may_change_while_an_order_waits() {
    for what in ANYTHING {
        println!("{what:?}");
        // More days, or none.
        for after in [30, 0] {
            let test = waits(what, days(14)).await;
            test.cloud.pass(2 * HOUR);
            test.sweep().await;
            let partner = test.partner.clone();
            let cloud = test.cloud.redeployed(days(after), partner.clone(), Own);
            let test = Shop {
                cloud,
                partner,
                order: test.order,
            };
            for _ in 0..29 {
                test.cloud.pass(DAY);
                assert_eq!(test.sweep().await, 0);
            }
            assert_eq!(test.shown().await["status"], "invoiced", "{after}");
            for _ in 0..3 {
                test.cloud.pass(DAY);
                test.sweep().await;
            }
            let shown = test.shown().await;
            assert_eq!(shown["status"] == "cancelled", after == 30, "{shown}");
        }
        // Fewer days: an order that is no longer checked keeps the expiry that was scheduled.
        let test = waits(what, days(14)).await;
        test.cloud.pass(2 * HOUR);
        test.sweep().await;
        let partner = test.partner.clone();
        let cloud = test.cloud.redeployed(days(2), partner.clone(), Own);
        let test = Shop {
            cloud,
            partner,
            order: test.order,
        };
        for _ in 0..15 {
            test.cloud.pass(DAY);
            test.sweep().await;
        }
        test.assert_expired().await;
    }
}

#[tokio::test]
async fn the_sandboxs_orders_expire() {
    for customer in ["sandbox-insufficient-funds", "sandbox-action-required"] {
        let cloud = Cloud::with_partner(Options::default(), Sandbox::new).await;
        let mut cart = cart_with_checkout();
        cart["customerId"] = customer.into();
        let order = shop::place(&cloud, &cart).await;
        cloud.settle().await;
        for _ in 0..15 {
            cloud.pass(DAY);
            cloud.sweep().await;
            cloud.settle().await;
        }
        assert_expired(&cloud, &order).await;
    }
}

/// Stripe cancels an intent that waits for its customer (API reference, "Cancel a
/// `PaymentIntent`").
#[tokio::test]
async fn an_intent_that_waits_is_cancelled_at_stripe_before_its_order() {
    for method in [sequences::POOR, sequences::AUTHENTICATES] {
        let test = at_stripe(method).await;
        assert_eq!(test.shop.pay_with("k1").await.status, 402);
        test.shop.cloud.pass(TIME + HOUR);
        look(&test.shop.cloud, &test.shop.order).await;
        assert_eq!(test.intents(), ["canceled"]);
        assert_expired(&test.shop.cloud, &test.shop.order).await;
        test.pay_on_page();
        assert!(test.played.captured().is_empty());
    }
}

#[tokio::test]
async fn an_intent_that_its_customer_has_paid_at_last_is_recorded_and_not_cancelled() {
    let test = at_stripe(sequences::AUTHENTICATES).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    test.shop.cloud.pass(TIME + HOUR);
    test.pay_on_page();
    test.tell().await;
    test.shop.cloud.settle().await;
    assert_eq!(test.shop.shown().await["status"], "shipped");
    assert_eq!(test.played.captured().len(), 1);

    // The answer to the decline's own closing was lost.
    let test = at_stripe(sequences::POOR).await;
    let lost = Mishap::RequestLost;
    test.played.plan(Operation::Cancel, lost);
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    test.shop.cloud.pass(TIME + HOUR);
    test.pay_on_page();
    look(&test.shop.cloud, &test.shop.order).await;
    test.shop.cloud.settle().await;
    assert_eq!(test.shop.shown().await["status"], "shipped");
}

/// A late approval closes the charge that waits for another card, and neither card is charged.
#[tokio::test]
async fn a_card_that_is_approved_too_late_is_not_charged_by_stripe() {
    let test = at_stripe(sequences::AUTHENTICATES).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    test.shop.cloud.pass(TIME);
    test.shop.approve(&with_stripe(sequences::VISA)).await;
    look(&test.shop.cloud, &test.shop.order).await;
    assert_expired(&test.shop.cloud, &test.shop.order).await;
    assert_eq!(test.intents(), ["canceled"]);
    assert!(test.played.captured().is_empty());
}

/// PayPal cannot cancel an order; its lifetime depends on the account ("Orders v2": three hours, or
/// the time that PayPal has set).
#[tokio::test]
async fn an_order_at_paypal_is_cancelled_once_it_is_dead_and_not_before() {
    for lives in [3 * HOUR, 20 * DAY] {
        let test = at_paypal([sequences::REFUSED], []).await;
        test.double.set_habits(Habits {
            order_lives: lives,
            ..Habits::default()
        });
        assert_eq!(test.shop.pay_with("k1").await.status, 402);
        test.shop.approve(&with_paypal(sequences::OTHER)).await;
        for _ in 0..13 {
            test.shop.cloud.pass(DAY);
            test.shop.cloud.sweep().await;
            test.shop.cloud.settle().await;
        }
        assert_eq!(test.shop.state().await, "declined");
        for _ in 0..3 {
            test.shop.cloud.pass(DAY);
            test.shop.cloud.sweep().await;
            test.shop.cloud.settle().await;
        }
        let is_alive = lives > TIME;
        assert_eq!(test.shop.state().await == "declined", is_alive, "{lives:?}");
        for _ in 0..5 {
            test.shop.cloud.pass(DAY);
            test.shop.cloud.sweep().await;
            test.shop.cloud.settle().await;
        }
        assert_expired(&test.shop.cloud, &test.shop.order).await;
        assert!(test.double.taken().is_empty());
    }
}

/// A charge whose agreement was revoked is not confirmed, so the unanswered capture is not
/// requested again. It must suffice that PayPal's order is gone.
#[tokio::test]
async fn an_unanswered_capture_whose_agreement_was_revoked_keeps_no_order_alive() {
    for by_caller in [true, false] {
        let test = at_paypal([], []).await;
        test.front.plan("POST", "/capture", Mishap::RequestLost);
        assert_eq!(test.shop.pay_with("k1").await.status, 503);
        test.shop.revoke().await;
        test.shop.cloud.pass(4 * HOUR);
        look(&test.shop.cloud, &test.shop.order).await;
        assert_eq!(test.shop.state().await, "action_required");
        if by_caller {
            let body = json!({"customerId": "8080", "orderId": test.shop.order});
            let reply = test.shop.cloud.post("/api/order/cancel.json", &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(test.shop.shown().await["status"], "cancelled");
        } else {
            test.shop.cloud.pass(TIME);
            look(&test.shop.cloud, &test.shop.order).await;
            assert_expired(&test.shop.cloud, &test.shop.order).await;
        }
        assert!(test.double.taken().is_empty());
    }
}

#[tokio::test]
async fn the_words_of_a_caller_make_no_expiry() {
    let test = waits(For::AnotherCard, Options::default()).await;
    let body = json!({"customerId": "8080", "orderId": test.order, "reason": "changed my mind"});
    let reply = test.cloud.post("/api/order/cancel.json", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    test.cloud.settle().await;
    let subject = format!("Your order {} is cancelled", test.order);
    let mails = test.cloud.mailer.taken();
    assert!(mails.iter().any(|sent| sent.mail.subject == subject));
    assert_eq!(farewells(&test.cloud, &test.order), 0);
}
