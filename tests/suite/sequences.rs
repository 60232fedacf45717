//! Sequences of requests, lost answers, and late arrivals that once lost track of money, charged a
//! revoked payment method, or charged twice. Each runs with its variants through the real handlers
//! and the real clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join;
use messages::queue::Queue;
use payment::partners::{BillingPartner, PayPal, Sandbox, Stripe};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{
    DoubleRequest, Front, Gate, Habits, Mishap, Operation, Outcome, PartnerDouble, PayPalDouble,
    PayPalOutcome, StripeDouble,
};
use tests::{Cloud, Reply};

use crate::errors::assert_problem;
use crate::paypal_webhooks::{Signed, event as paypal_event};
use crate::shop::Shop;
use crate::webhooks::{event as stripe_event, signature, webhook};

const MINUTE: Duration = Duration::from_mins(1);
/// How long an unanswered confirmation keeps other payment methods away.
const ON_ITS_WAY: Duration = Duration::from_mins(15);

pub(crate) const FIRST: &str = "card_one";
pub(crate) const OTHER: &str = "card_two";
pub(crate) const REFUSED: PayPalOutcome = PayPalOutcome::Refused("INSTRUMENT_DECLINED");

pub(crate) const CUSTOMER: &str = "cus_played";
pub(crate) const VISA: &str = "pm_card_visa";
pub(crate) const MASTERCARD: &str = "pm_card_mastercard";
pub(crate) const POOR: &str = "pm_card_chargeDeclinedInsufficientFunds";
pub(crate) const AUTHENTICATES: &str = "pm_card_authenticationRequired";

impl<P: BillingPartner> Shop<P, ()> {
    /// The step that is due, or an empty text.
    pub(crate) async fn due(&self) -> String {
        let shown = self.shown().await;
        shown["due"]["step"].as_str().unwrap_or_default().to_owned()
    }

    /// The order's item as stored.
    pub(crate) async fn item(&self) -> HashMap<String, AttributeValue> {
        let item = self.cloud.database.client.get_item();
        let key = AttributeValue::S(self.order.clone());
        let item = item.table_name("OrdersTable").key("orderId", key);
        item.consistent_read(true)
            .send()
            .await
            .unwrap()
            .item
            .unwrap()
    }

    /// Runs the sweep and delivers everything that it publishes. Returns how many orders it counts
    /// as overdue.
    pub(crate) async fn sweep(&self) -> u64 {
        self.cloud.pass(61 * MINUTE);
        let report = self.cloud.sweep().await;
        self.cloud.settle().await;
        report.overdue
    }

    /// Checks that the payment is recorded, the customer gets the mail, and the order ships.
    pub(crate) async fn assert_paid(&self) {
        assert_eq!(self.state().await, "captured");
        self.cloud.settle().await;
        let shown = self.shown().await;
        assert_eq!(shown["status"], "shipped", "{shown}");
        let told = "We received your payment for order …".to_owned();
        assert!(self.mails().contains(&told), "{:?}", self.mails());
    }
}

/// PayPal's double and its wire.
pub(crate) struct AtPayPal {
    pub(crate) shop: Shop<PayPal, ()>,
    pub(crate) double: Arc<PayPalDouble>,
    pub(crate) front: Front,
}

pub(crate) fn with_paypal(token: &str) -> Value {
    json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": token})
}

pub(crate) fn paypal_client(front: &Front, client: &str, runtime: Runtime) -> PayPal {
    let https = Https::with_connector(front.connector(), "http://paypal.test");
    let secret = Secret::new(PayPalDouble::SECRET);
    PayPal::new(https, client.to_owned(), secret, runtime)
}

/// PayPal with two cards of the customer, whose captures have these outcomes and then succeed.
pub(crate) fn paypal_with(
    runtime: Runtime,
    first: impl IntoIterator<Item = PayPalOutcome>,
    other: impl IntoIterator<Item = PayPalOutcome>,
) -> (Arc<PayPalDouble>, Front) {
    let double = Arc::new(PayPalDouble::new(runtime));
    double.vault_card(FIRST, first);
    double.vault_card(OTHER, other);
    let front = Front::new(double.clone());
    (double, front)
}

/// An order of a customer who has approved the first card.
pub(crate) async fn at_paypal(
    first: impl IntoIterator<Item = PayPalOutcome>,
    other: impl IntoIterator<Item = PayPalOutcome>,
) -> AtPayPal {
    let paypal = |runtime: Runtime| {
        let (double, front) = paypal_with(runtime.clone(), first, other);
        let client = paypal_client(&front, PayPalDouble::CLIENT, runtime);
        (client, (double, front))
    };
    let opening = Shop::at(paypal).approved(with_paypal(FIRST));
    let (shop, (double, front)) = opening.invoiced().await.apart();
    shop.cloud.lose_stream();
    AtPayPal {
        shop,
        double,
        front,
    }
}

impl AtPayPal {
    /// All requested captures.
    fn captures(&self) -> Vec<DoubleRequest> {
        let mut seen = self.front.seen();
        seen.retain(|request| request.path.ends_with("/capture"));
        seen
    }

    /// The first capture has not arrived when its client gives up. The customer then approves the
    /// other card.
    async fn first_capture_is_slow(&self) {
        self.front.plan("POST", "/capture", Mishap::RequestLost);
        let reply = self.shop.pay_with("k1").await;
        assert_problem(&reply, 503, "payment_outcome_unknown");
        self.shop.approve(&with_paypal(OTHER)).await;
    }

    /// The first capture arrives and takes effect.
    fn first_capture_arrives(&self) {
        let reply = self.double.handle(&self.captures()[0]);
        assert_eq!(reply.status, 201);
        assert_eq!(self.double.charged_tokens(), [FIRST]);
    }

    /// PayPal sends a webhook about the capture; the payment worker gets its message.
    async fn tell(&self) {
        let invoice = self.shop.order.replacen("ord_", "inv_", 1);
        let resource = json!({"id": "3C679366HH908993F", "custom_id": invoice});
        let body = paypal_event("WH-1", "PAYMENT.CAPTURE.COMPLETED", &resource);
        let request = Signed::new(self.shop.cloud.runtime.now(), &body).request(&body);
        assert_eq!(self.shop.cloud.send(&request).await.status, 200);
        deliver(&self.shop.cloud).await;
    }

    /// Checks that the order is paid once, with that card.
    async fn assert_paid_by(&self, token: &str) {
        self.shop.assert_paid().await;
        assert_eq!(self.double.taken(), ["200.00 USD"]);
        assert_eq!(self.double.charged_tokens(), [token]);
    }
}

/// Delivers the one message that waits for the payment worker.
async fn deliver<P: BillingPartner>(cloud: &Cloud<P>) {
    let messages = cloud.queues.take();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Queue::Payment);
    assert!(cloud.deliver(Queue::Payment, &messages[0].1).await);
}

/// The request or message that checks the order after the capture.
#[derive(Clone, Copy, Debug)]
enum Looks {
    Sweep,
    Webhook,
    SameKey,
    OtherKey,
}

const ANYBODY: [Looks; 4] = [
    Looks::Sweep,
    Looks::Webhook,
    Looks::SameKey,
    Looks::OtherKey,
];

impl AtPayPal {
    async fn look(&self, who: Looks) {
        match who {
            Looks::Sweep => assert_eq!(self.shop.sweep().await, 0),
            Looks::Webhook => self.tell().await,
            Looks::SameKey => assert_eq!(self.shop.pay_with("k1").await.status, 201),
            Looks::OtherKey => assert_eq!(self.shop.pay_with("k2").await.status, 201),
        }
    }
}

#[tokio::test]
async fn while_a_capture_is_unanswered_no_other_card_is_charged_and_its_outcome_is_found() {
    for who in ANYBODY {
        println!("{who:?}");
        let test = at_paypal([], [REFUSED]).await;
        test.first_capture_is_slow().await;
        for _ in 0..2 {
            let reply = test.shop.pay_with("k2").await;
            assert_problem(&reply, 503, "payment_outcome_unknown");
            assert_eq!(test.captures().len(), 1);
            assert_eq!(test.shop.state().await, "unknown");
            test.shop.cloud.pass(7 * MINUTE);
        }
        test.first_capture_arrives();
        test.look(who).await;
        test.assert_paid_by(FIRST).await;
        assert_eq!(test.captures().len(), 1);
    }
}

#[tokio::test]
async fn the_customers_first_card_is_asked_for_again_under_its_own_id() {
    let test = at_paypal([], [REFUSED]).await;
    test.first_capture_is_slow().await;
    assert_eq!(test.shop.pay_with("k2").await.status, 503);
    // Back to the first card: the same capture is requested under the same ID.
    test.shop.approve(&with_paypal(FIRST)).await;
    assert_eq!(test.shop.pay_with("k3").await.status, 201);
    let ids = test.captures();
    let id = |request: &DoubleRequest| request.header("paypal-request-id").map(str::to_owned);
    assert_eq!((ids.len(), id(&ids[0])), (2, id(&ids[1])));
    // The first request arrives late and gets the answer of the second.
    assert_eq!(test.double.handle(&ids[0]).status, 200);
    test.assert_paid_by(FIRST).await;
}

/// The fate of the worker that requested the first capture.
#[derive(Clone, Copy, Debug)]
enum First {
    GaveUp,
    DiedFrozen,
}

impl AtPayPal {
    /// The first capture is unanswered for fifteen minutes. The other card is then tried and
    /// declined: the order shows `declined`.
    async fn declined_by_the_other_card(&self, first: First) {
        match first {
            First::GaveUp => self.first_capture_is_slow().await,
            First::DiedFrozen => {
                let gate = Gate::default();
                let held = Mishap::Held(gate.clone());
                self.front.plan("POST", "/capture", held);
                tokio::select! {
                    reply = self.shop.pay_with("k1") => panic!("{}", reply.text),
                    () = gate.arrived() => {}
                }
                self.shop.approve(&with_paypal(OTHER)).await;
                self.shop.cloud.pass(payment::LEASE);
                self.shop.cloud.pass(MINUTE);
                let reply = self.shop.pay_with("k2").await;
                assert_problem(&reply, 503, "payment_outcome_unknown");
            }
        }
        self.shop.cloud.pass(ON_ITS_WAY);
        let reply = self.shop.pay_with("k2").await;
        assert_problem(&reply, 402, "payment_declined");
        assert_eq!(self.captures().len(), 2);
        assert_eq!(self.shop.due().await, "payment");
    }
}

#[tokio::test]
async fn money_captured_after_a_decline_is_recorded_by_the_sweep_alone() {
    for first in [First::GaveUp, First::DiedFrozen] {
        println!("{first:?}");
        let test = at_paypal([], [REFUSED]).await;
        test.declined_by_the_other_card(first).await;
        // It stays due and does not count as overdue: it waits for the customer.
        assert_eq!(test.shop.sweep().await, 0);
        assert_eq!(test.shop.state().await, "declined");
        assert_eq!(test.shop.due().await, "payment");
        test.first_capture_arrives();
        assert_eq!(test.shop.sweep().await, 0);
        test.assert_paid_by(FIRST).await;
    }
}

#[tokio::test]
async fn money_captured_after_a_decline_is_recorded_by_a_webhook_or_a_request() {
    for who in [Looks::Webhook, Looks::OtherKey] {
        println!("{who:?}");
        let test = at_paypal([], [REFUSED]).await;
        test.declined_by_the_other_card(First::GaveUp).await;
        test.first_capture_arrives();
        match who {
            // A key of the declined attempt gets the decline; a new key finds the payment.
            Looks::OtherKey => {
                let reply = test.shop.pay_with("k2").await;
                assert_problem(&reply, 402, "payment_declined");
                assert_eq!(test.shop.pay_with("k3").await.status, 201);
            }
            who => test.look(who).await,
        }
        test.assert_paid_by(FIRST).await;
        assert_eq!(test.captures().len(), 2);
    }
}

#[tokio::test]
async fn a_capture_overtaken_by_a_decline_is_recorded_at_once() {
    let test = at_paypal([], [REFUSED]).await;
    let frozen = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(frozen.clone()));
    let others = async {
        frozen.arrived().await;
        test.shop.approve(&with_paypal(OTHER)).await;
        test.shop.cloud.pass(payment::LEASE);
        test.shop.cloud.pass(MINUTE);
        let reply = test.shop.pay_with("k2").await;
        assert_problem(&reply, 503, "payment_outcome_unknown");
        test.shop.cloud.pass(ON_ITS_WAY);
        let reply = test.shop.pay_with("k2").await;
        assert_problem(&reply, 402, "payment_declined");
        frozen.open();
    };
    let (reply, ()) = join(test.shop.pay_with("k1"), others).await;
    // The attempt counts as declined for every key that claimed it, whichever request captured the
    // money.
    assert_problem(&reply, 402, "payment_declined");
    test.assert_paid_by(FIRST).await;
    assert_eq!(test.shop.pay_with("k1").await.text, reply.text);
    assert_eq!(test.shop.pay_with("k3").await.status, 201);
}

#[tokio::test]
async fn a_key_whose_attempt_was_declined_meanwhile_is_not_answered_by_the_next_attempt() {
    let test = at_paypal([REFUSED], []).await;
    let frozen = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(frozen.clone()));
    let others = async {
        frozen.arrived().await;
        test.shop.cloud.pass(payment::LEASE);
        test.shop.cloud.pass(MINUTE);
        let reply = test.shop.pay_with("k2").await;
        assert_problem(&reply, 402, "payment_declined");
        assert_eq!(test.shop.pay_with("k3").await.status, 201);
        frozen.open();
    };
    let (reply, ()) = join(test.shop.pay_with("k1"), others).await;
    assert_problem(&reply, 402, "payment_declined");
    let repeat = test.shop.pay_with("k1").await;
    assert_eq!((repeat.status, repeat.text), (402, reply.text));
    test.assert_paid_by(FIRST).await;
}

#[tokio::test]
async fn money_captured_after_the_twentieth_decline_is_recorded_by_the_sweep() {
    let test = at_paypal([], (0..20).map(|_| REFUSED)).await;
    test.declined_by_the_other_card(First::GaveUp).await;
    for attempt in 2..=20 {
        let reply = test.shop.pay().await;
        assert_problem(&reply, 402, "payment_declined");
        let shown = test.shop.shown().await;
        assert_eq!(shown["payment"]["attempt"], attempt);
    }
    let reply = test.shop.pay_with("k21").await;
    assert_problem(&reply, 409, "too_many_payment_attempts");
    test.first_capture_arrives();
    assert_eq!(test.shop.sweep().await, 0);
    test.assert_paid_by(FIRST).await;
}

#[tokio::test]
async fn a_declined_charge_is_due_until_it_is_dead_and_its_mails_go_out_meanwhile() {
    let test = at_paypal([REFUSED], []).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    assert_eq!(test.shop.due().await, "payment");
    for _ in 0..2 {
        assert_eq!(test.shop.sweep().await, 0);
        assert_eq!(test.shop.mails(), ["Your invoice for order …"]);
        assert_eq!(test.shop.due().await, "payment");
    }
    test.shop.cloud.pass(Habits::default().order_lives);
    // The sweep that finds it dead leaves the mails due; the next one leaves only the order's
    // expiry.
    for due in ["email", "payment"] {
        assert_eq!(test.shop.sweep().await, 0);
        assert_eq!(test.shop.due().await, due);
    }
    assert_eq!(test.shop.state().await, "declined");
    assert_eq!(test.shop.mails(), ["Your invoice for order …"]);
    let asked = test.front.seen().len();
    assert_eq!(test.shop.sweep().await, 0);
    assert_eq!(test.front.seen().len(), asked);
    // The customer may still pay with another charge.
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_paid_by(FIRST).await;
}

#[tokio::test]
async fn a_charge_that_its_decline_has_closed_is_not_due() {
    let test = at_paypal([PayPalOutcome::Declined("5120")], []).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    assert_eq!(test.shop.due().await, "email");
    let test = at_stripe(POOR).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    assert_eq!(test.shop.due().await, "email");
    assert_eq!(test.intents(), ["canceled"]);
    // The customer cannot pay it on Stripe's page either.
    test.pay_on_page();
    assert!(test.played.captured().is_empty());
}

/// Stripe's double and its wire.
pub(crate) struct AtStripe {
    pub(crate) shop: Shop<Stripe, ()>,
    pub(crate) played: StripeDouble,
    pub(crate) front: Front,
}

pub(crate) fn with_stripe(method: &str) -> Value {
    json!({
        "customerId": "8080", "partner": "stripe",
        "partnerCustomerId": CUSTOMER, "paymentMethodId": method
    })
}

pub(crate) fn stripe_client(front: &Front, runtime: Runtime) -> Stripe {
    let https = Https::with_connector(front.connector(), "http://stripe.test");
    Stripe::new(https, Secret::new(StripeDouble::api_key()), runtime)
}

/// An order of a customer who has two more cards at Stripe than the agreed one.
pub(crate) async fn at_stripe(method: &str) -> AtStripe {
    let stripe = |runtime: Runtime| {
        let played = StripeDouble::new(runtime.clone());
        for method in [method, VISA, MASTERCARD] {
            played.attach(CUSTOMER, method);
        }
        let front = played.front();
        let client = stripe_client(&front, runtime);
        (client, (played, front))
    };
    let opening = Shop::at(stripe).approved(with_stripe(method));
    let (shop, (played, front)) = opening.invoiced().await.apart();
    shop.cloud.lose_stream();
    AtStripe {
        shop,
        played,
        front,
    }
}

impl AtStripe {
    /// The status of each intent, oldest first.
    pub(crate) fn intents(&self) -> Vec<&'static str> {
        let intents = self.played.intents().into_iter();
        intents.map(|(_, status)| status).collect()
    }

    /// The customer pays the first intent on Stripe's own page.
    pub(crate) fn pay_on_page(&self) {
        let (intent, _) = self.played.intents().remove(0);
        self.played.pay_on_page(&intent);
    }

    /// Stripe sends a webhook about the payment; the payment worker gets its message.
    pub(crate) async fn tell(&self) {
        let intent = json!({"id": "pi_1", "object": "payment_intent",
            "metadata": {"order_id": self.shop.order}});
        let body = stripe_event("evt_1", "payment_intent.succeeded", &intent);
        let header = signature(self.shop.cloud.runtime.now().seconds(), &body);
        let request = webhook("stripe", ("stripe-signature", &header), &body);
        assert_eq!(self.shop.cloud.send(&request).await.status, 200);
        deliver(&self.shop.cloud).await;
    }

    /// A copy of the first confirmation arrives.
    fn first_confirmation_arrives(&self) {
        let mut seen = self.front.seen();
        seen.retain(|request| request.path.ends_with("/confirm"));
        PartnerDouble::handle(&self.played, &seen[0]);
    }

    /// Checks that the order is paid once, with that card.
    async fn assert_paid_by(&self, method: &str) {
        self.shop.assert_paid().await;
        assert_eq!(self.played.charged_methods(), [method]);
    }
}

#[tokio::test]
async fn an_intent_left_open_and_then_paid_on_stripes_page_is_recorded() {
    for by_webhook in [true, false] {
        let test = at_stripe(POOR).await;
        test.played.plan(Operation::Cancel, Mishap::RequestLost);
        let reply = test.shop.pay_with("k1").await;
        assert_problem(&reply, 402, "payment_declined");
        assert_eq!(test.intents(), ["requires_payment_method"]);
        assert_eq!(test.shop.due().await, "payment");
        test.pay_on_page();
        if by_webhook {
            test.tell().await;
        } else {
            assert_eq!(test.shop.sweep().await, 0);
        }
        test.assert_paid_by(VISA).await;
        assert_eq!(test.intents(), ["succeeded"]);
    }
}

#[tokio::test]
async fn an_intent_left_open_is_cancelled_by_the_next_sweep() {
    let test = at_stripe(POOR).await;
    test.played.plan(Operation::Cancel, Mishap::RequestLost);
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    assert_eq!(test.shop.sweep().await, 0);
    assert_eq!(test.intents(), ["canceled"]);
    assert_eq!(test.shop.due().await, "email");
    assert_eq!(test.shop.state().await, "declined");
    test.pay_on_page();
    assert!(test.played.captured().is_empty());
}

#[tokio::test]
async fn a_card_whose_agreement_was_replaced_is_not_charged_by_stripe() {
    for revoked in [true, false] {
        let test = at_stripe(VISA).await;
        test.played.plan(Operation::Confirm, Mishap::RequestLost);
        let reply = test.shop.pay_with("k1").await;
        assert_problem(&reply, 503, "payment_outcome_unknown");
        if revoked {
            test.shop.revoke().await;
        }
        test.shop.approve(&with_stripe(MASTERCARD)).await;
        let reply = test.shop.pay_with("k2").await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        test.first_confirmation_arrives();
        test.assert_paid_by(MASTERCARD).await;
        assert_eq!(test.intents(), ["canceled", "succeeded"]);
    }
}

#[tokio::test]
async fn a_confirmation_that_arrived_is_found_though_its_agreement_was_replaced() {
    let test = at_stripe(VISA).await;
    test.played.plan(Operation::Confirm, Mishap::AnswerLost);
    assert_eq!(test.shop.pay_with("k1").await.status, 503);
    test.shop.revoke().await;
    test.shop.approve(&with_stripe(MASTERCARD)).await;
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    test.assert_paid_by(VISA).await;
    assert_eq!(test.intents(), ["succeeded"]);
}

#[tokio::test]
async fn a_customer_who_must_authenticate_may_choose_another_card_instead() {
    let test = at_stripe(AUTHENTICATES).await;
    let reply = test.shop.pay_with("k1").await;
    assert_problem(&reply, 402, "payment_action_required");
    assert_eq!(test.shop.sweep().await, 0);
    assert_eq!(test.shop.state().await, "action_required");
    test.shop.approve(&with_stripe(MASTERCARD)).await;
    assert_eq!(test.shop.sweep().await, 0);
    test.assert_paid_by(MASTERCARD).await;
    // The old intent is closed: the customer cannot pay twice.
    test.pay_on_page();
    assert_eq!(test.played.charged_methods(), [MASTERCARD]);
}

/// The customer replaced the card and declined nothing: a worker that closed the old intent, and
/// died or got no answer, must not leave a decline behind.
#[tokio::test]
async fn a_replaced_card_is_charged_though_nobody_heard_that_the_old_intent_is_closed() {
    for lost in [Mishap::AnswerLost, Mishap::RequestLost] {
        let test = at_stripe(AUTHENTICATES).await;
        let reply = test.shop.pay_with("k1").await;
        assert_problem(&reply, 402, "payment_action_required");
        test.shop.approve(&with_stripe(MASTERCARD)).await;
        test.played.plan(Operation::Cancel, lost);
        let reply = test.shop.pay_with("k2").await;
        assert_problem(&reply, 503, "billing_partner_unavailable");
        assert_eq!(test.shop.sweep().await, 0);
        test.assert_paid_by(MASTERCARD).await;
        assert_eq!(test.intents(), ["canceled", "succeeded"]);
        assert_eq!(test.shop.pay_with("k2").await.status, 201);
    }
}

#[tokio::test]
async fn a_revoked_card_is_charged_by_nobody() {
    let test = at_stripe(VISA).await;
    test.played.plan(Operation::Confirm, Mishap::RequestLost);
    assert_eq!(test.shop.pay_with("k1").await.status, 503);
    test.shop.revoke().await;
    for key in ["k1", "k2"] {
        let reply = test.shop.pay_with(key).await;
        assert_problem(&reply, 402, "billing_agreement_missing");
    }
    assert_eq!(test.shop.sweep().await, 0);
    assert_eq!(test.shop.state().await, "action_required");
    assert!(test.played.charges().is_empty());
}

#[tokio::test]
async fn every_key_of_an_attempt_gets_its_decline_again_and_moves_no_money() {
    let stripe = at_stripe(POOR).await;
    stripe.played.plan(Operation::Confirm, Mishap::RequestLost);
    let good = || {
        let played = &stripe.played;
        played.change(POOR, |method| method.outcome = Outcome::Succeeds);
    };
    let asked = || stripe.played.asked().len();
    repeats_get_their_decline(&stripe.shop, good, asked).await;
    stripe.assert_paid_by(POOR).await;

    let paypal = at_paypal([REFUSED], []).await;
    paypal.front.plan("POST", "/capture", Mishap::RequestLost);
    // The card is valid after its first decline.
    let asked = || paypal.front.seen().len();
    repeats_get_their_decline(&paypal.shop, || {}, asked).await;
    paypal.assert_paid_by(FIRST).await;
}

/// `k1` claims the attempt and gets no answer; `k2` joins it and is declined. From then on the card
/// is valid.
async fn repeats_get_their_decline<P: BillingPartner>(
    shop: &Shop<P, ()>,
    card_is_good: impl Fn(),
    asked: impl Fn() -> usize,
) {
    let reply = shop.pay_with("k1").await;
    assert_problem(&reply, 503, "payment_outcome_unknown");
    let declined = shop.pay_with("k2").await;
    assert_problem(&declined, 402, "payment_declined");
    card_is_good();
    let before = asked();
    for key in ["k2", "k1", "k2", "k1"] {
        let again = shop.pay_with(key).await;
        assert_eq!((again.status, &again.text), (402, &declined.text), "{key}");
    }
    assert_eq!(asked(), before);
    assert_eq!(shop.shown().await["payment"]["attempt"], 1);
    let third = shop.pay_with("k3").await;
    assert_eq!(third.status, 201, "{}", third.text);
    assert_eq!(shop.shown().await["payment"]["attempt"], 2);
    for key in ["k1", "k2"] {
        assert_eq!(shop.pay_with(key).await.text, declined.text, "{key}");
    }
    assert_eq!(shop.pay_with("k3").await.text, third.text);
}

#[tokio::test]
async fn a_payment_takes_a_hundred_keys_and_no_more() {
    let after = Duration::from_hours(5);
    let outcome = PayPalOutcome::Pending {
        after,
        as_: "DECLINED",
    };
    let test = at_paypal([outcome], []).await;
    for number in 1..=100 {
        let reply = test.shop.pay_with(&format!("k{number}")).await;
        assert_problem(&reply, 409, "payment_pending");
    }
    let (item, asked) = (test.shop.item().await, test.front.seen().len());
    for number in 101..=103 {
        let reply = test.shop.pay_with(&format!("k{number}")).await;
        assert_problem(&reply, 409, "too_many_payment_attempts");
    }
    assert!(test.shop.item().await == item, "its item has changed");
    assert_eq!(test.front.seen().len(), asked);
    // Known keys still work.
    test.shop.cloud.pass(after);
    let declined = test.shop.pay_with("k1").await;
    assert_problem(&declined, 402, "payment_declined");
    assert_eq!(test.shop.pay_with("k100").await.text, declined.text);
    let item = test.shop.item().await;
    let reply = test.shop.pay_with("k101").await;
    assert_problem(&reply, 409, "too_many_payment_attempts");
    assert!(test.shop.item().await == item, "its item has changed");
    assert!(test.double.taken().is_empty());
}

/// An invoice that an instance of an earlier version issues during a rollout has no keys.
#[tokio::test]
async fn a_payment_that_an_earlier_version_left_without_keys_takes_keys() {
    for outcomes in [vec![], vec![REFUSED]] {
        let is_declined = !outcomes.is_empty();
        let test = at_paypal(outcomes, []).await;
        if is_declined {
            let reply = test.shop.pay().await;
            assert_problem(&reply, 402, "payment_declined");
        }
        let update = test.shop.cloud.database.client.update_item();
        let key = AttributeValue::S(test.shop.order.clone());
        let update = update.table_name("OrdersTable").key("orderId", key);
        let update = update.update_expression("REMOVE payment.#keys");
        let update = update.expression_attribute_names("#keys", "keys");
        update.send().await.unwrap();
        for _ in 0..2 {
            let reply = test.shop.pay_with("k1").await;
            assert_eq!(reply.status, 201, "{}", reply.text);
        }
        let item = test.shop.item().await;
        let payment = item["payment"].as_m().unwrap();
        assert_eq!(payment["keys"].as_m().unwrap().len(), 1);
        test.assert_paid_by(FIRST).await;
    }
}

impl AtPayPal {
    /// Deploys the functions with the credentials of that client.
    fn with_credentials(self, client: &str) -> Self {
        let partner = paypal_client(&self.front, client, self.shop.cloud.runtime.clone());
        Self {
            shop: self.shop.redeployed(partner),
            ..self
        }
    }
}

#[tokio::test]
async fn what_another_account_does_not_find_is_neither_charged_again_nor_cancelled() {
    for mishap in [Mishap::AnswerLost, Mishap::RequestLost] {
        let test = at_paypal([], []).await;
        test.front.plan("POST", "/capture", mishap.clone());
        let reply = test.shop.pay_with("k1").await;
        assert_problem(&reply, 503, "payment_outcome_unknown");
        let late = matches!(mishap, Mishap::RequestLost);

        let test = test.with_credentials(PayPalDouble::OTHER_CLIENT);
        for wait in [MINUTE, Duration::from_hours(3), Duration::from_hours(24)] {
            test.shop.cloud.pass(wait);
            for key in ["k1", "k2"] {
                assert_eq!(test.shop.pay_with(key).await.status, 503);
            }
            assert_eq!(test.shop.cancel().await.status, 503);
            // The capture may arrive while its access token is valid.
            if late && wait == MINUTE {
                test.first_capture_arrives();
            }
            test.shop.cloud.sweep().await;
            test.shop.cloud.settle_once().await;
            assert_eq!(test.shop.state().await, "unknown");
            assert_eq!(test.double.taken(), ["200.00 USD"]);
            assert_eq!((test.double.opened(), test.captures().len()), (1, 1));
        }

        let test = test.with_credentials(PayPalDouble::CLIENT);
        test.shop.sweep().await;
        test.assert_paid_by(FIRST).await;
    }
}

#[tokio::test]
async fn a_declined_charge_of_another_account_is_not_taken_for_dead() {
    let test = at_paypal([REFUSED], []).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 402);
    let test = test.with_credentials(PayPalDouble::OTHER_CLIENT);
    test.shop.cloud.pass(Duration::from_hours(4));
    assert_eq!(test.shop.pay_with("k2").await.status, 503);
    assert_eq!(test.shop.cancel().await.status, 503);
    test.shop.cloud.sweep().await;
    test.shop.cloud.settle_once().await;
    assert_eq!(test.shop.due().await, "payment");
    assert_eq!(test.double.opened(), 1);
    let test = test.with_credentials(PayPalDouble::CLIENT);
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    test.assert_paid_by(FIRST).await;
}

impl AtStripe {
    /// The shop changes to PayPal, with which the customer also has an agreement.
    async fn changed_to_paypal(self) -> (AtPayPal, StripeDouble, Front) {
        let runtime = self.shop.cloud.runtime.clone();
        let (double, front) = paypal_with(runtime.clone(), [], []);
        let partner = paypal_client(&front, PayPalDouble::CLIENT, runtime);
        let shop = self.shop.redeployed(partner);
        shop.approve(&with_paypal(FIRST)).await;
        let paypal = AtPayPal {
            shop,
            double,
            front,
        };
        (paypal, self.played, self.front)
    }
}

impl AtPayPal {
    fn changed_back_to_stripe(self, played: StripeDouble, front: Front) -> AtStripe {
        let partner = stripe_client(&front, self.shop.cloud.runtime.clone());
        AtStripe {
            shop: self.shop.redeployed(partner),
            played,
            front,
        }
    }

    /// Checks that no call to PayPal is made, whatever is requested.
    async fn assert_nothing_is_asked(&self, replies: &[Reply]) {
        for reply in replies {
            assert_problem(reply, 503, "billing_partner_not_configured");
        }
        let state = self.shop.state().await;
        self.shop.cloud.pass(61 * MINUTE);
        self.shop.cloud.sweep().await;
        self.shop.cloud.settle_once().await;
        assert_eq!(self.shop.state().await, state);
        assert!(self.front.seen().is_empty());
    }
}

#[tokio::test]
async fn a_charge_at_another_billing_partner_is_asked_for_at_none() {
    // Unanswered, declined and open, or paid.
    let unanswered = at_stripe(VISA).await;
    unanswered
        .played
        .plan(Operation::Confirm, Mishap::AnswerLost);
    assert_eq!(unanswered.shop.pay_with("k1").await.status, 503);
    let declined = at_stripe(POOR).await;
    declined.played.plan(Operation::Cancel, Mishap::RequestLost);
    assert_eq!(declined.shop.pay_with("k1").await.status, 402);
    for (test, state) in [(unanswered, "unknown"), (declined, "declined")] {
        let (test, played, front) = test.changed_to_paypal().await;
        let replies = [test.shop.pay_with("k2").await, test.shop.cancel().await];
        assert_eq!(test.shop.state().await, state);
        test.assert_nothing_is_asked(&replies).await;
        // At the first partner it continues.
        let test = test.changed_back_to_stripe(played, front);
        test.shop.approve(&with_stripe(MASTERCARD)).await;
        assert_eq!(test.shop.pay_with("k2").await.status, 201);
        let expected = if state == "unknown" { VISA } else { MASTERCARD };
        test.assert_paid_by(expected).await;
    }
}

#[tokio::test]
async fn a_charge_at_another_billing_partner_is_given_back_by_none() {
    let test = at_stripe(VISA).await;
    assert_eq!(test.shop.pay_with("k1").await.status, 201);
    test.shop.cloud.lose_stream();
    let (test, played, front) = test.changed_to_paypal().await;
    let replies = [test.shop.cancel().await, test.shop.cancel().await];
    test.assert_nothing_is_asked(&replies).await;
    assert_eq!(test.shop.shown().await["status"], "refunding");
    let test = test.changed_back_to_stripe(played, front);
    assert_eq!(test.shop.cancel().await.status, 200);
    assert_eq!(test.played.given_back(), [20_000]);
}

/// The state of an order when the shop changes its billing partner.
#[derive(Clone, Copy, Debug)]
enum Left {
    Unanswered,
    Declined,
    Paid,
}

impl AtPayPal {
    async fn left(how: Left) -> Self {
        let (first, mishap, expected) = match how {
            Left::Unanswered => (None, Some(Mishap::AnswerLost), 503),
            Left::Declined => (Some(REFUSED), None, 402),
            Left::Paid => (None, None, 201),
        };
        let test = at_paypal(first, []).await;
        if let Some(mishap) = mishap {
            test.front.plan("POST", "/capture", mishap);
        }
        assert_eq!(test.shop.pay_with("k1").await.status, expected);
        test.shop.cloud.lose_stream();
        test
    }
}

/// The sandbox would report every charge as captured and every refund as made.
#[tokio::test]
async fn a_charge_at_paypal_is_asked_for_at_neither_the_sandbox_nor_stripe() {
    for how in [Left::Unanswered, Left::Declined, Left::Paid] {
        println!("{how:?}");
        let AtPayPal {
            shop,
            double,
            front,
        } = AtPayPal::left(how).await;
        let state = shop.state().await;
        let runtime = shop.cloud.runtime.clone();
        let taken = double.taken();

        let shop = shop.redeployed(Sandbox::new(runtime.clone()));
        assert_refused(&shop, how).await;
        let played = StripeDouble::new(runtime.clone());
        played.attach(CUSTOMER, VISA);
        let stripe = played.front();
        let shop = shop.redeployed(stripe_client(&stripe, runtime.clone()));
        shop.approve(&with_stripe(VISA)).await;
        assert_refused(&shop, how).await;
        assert!(stripe.seen().is_empty());
        assert_eq!(shop.state().await, state);
        assert_eq!(double.taken(), taken);
        assert!(double.given_back().is_empty());

        // With PayPal configured again, the order is cancelled and refunded.
        let partner = paypal_client(&front, PayPalDouble::CLIENT, runtime);
        let shop = shop.redeployed(partner);
        shop.cloud.pass(Habits::default().order_lives);
        assert_eq!(shop.cancel().await.status, 200);
        assert_eq!(double.given_back().len(), taken.len());
    }
}

async fn assert_refused<P: BillingPartner>(shop: &Shop<P, ()>, left: Left) {
    let mut replies = vec![shop.cancel().await];
    if !matches!(left, Left::Paid) {
        replies.push(shop.pay_with("k1-late").await);
        replies.push(shop.pay_with("k2").await);
    }
    for reply in replies {
        assert_problem(&reply, 503, "billing_partner_not_configured");
    }
    let state = shop.state().await;
    shop.cloud.pass(61 * MINUTE);
    shop.cloud.sweep().await;
    shop.cloud.settle_once().await;
    assert_eq!(shop.state().await, state);
}
