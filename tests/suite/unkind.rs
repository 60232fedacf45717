//! Each call of each step meets each refusal of AWS. If the refusal occurs once, the call is
//! retried; if it persists, the answer is a 503 that loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use messages::queue::Queue;
use platform::deadline;
use relay::SweepReport;
use serde_json::{Value, json};
use tests::unkind::{
    Effect, Extent, Function, Garbage, Idle, Ledgers, Loss, Refusal, Server, UnkindAws, UnkindShop,
};
use tests::{Reply, customer_request, question, request};
use tokio::time::Instant;

use crate::contract::{cart, cart_with_checkout, invoice, payment, shipping, text};
use crate::webhooks::{event, signature, webhook};

/// A function's work for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cart,
    CartUpdate,
    Invoice,
    Payment,
    CancelPending,
    CancelInvoiced,
    CancelPaid,
    Shipping,
    PromiseMail,
    SendMail,
    Get,
    Approve,
    ListAgreements,
    Revoke,
    Webhook,
    Worker(Queue),
    Relay,
    Sweep,
}

/// The state of the order before the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Placed,
    Invoiced,
    Paid,
}

/// The result of a step.
#[derive(Clone, Debug)]
enum Done {
    Replied(Reply),
    /// Whether the message, or the records, are finished.
    Consumed(bool),
    Swept(SweepReport),
}

impl Done {
    /// Whether both are the same to the caller, except for times.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Replied(one), Self::Replied(other)) => {
                let location = |reply: &Reply| reply.header("location").to_owned();
                (one.status, location(one), timeless(one))
                    == (other.status, location(other), timeless(other))
            }
            (Self::Consumed(one), Self::Consumed(other)) => one == other,
            (Self::Swept(one), Self::Swept(other)) => one == other,
            _ => false,
        }
    }

    /// Whether the result loses nothing: retry later, keep the message, or check again.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Replied(reply) => {
                let codes = [
                    "database_unavailable",
                    "queue_unavailable",
                    "payment_outcome_unknown",
                ];
                reply.status == 503
                    && codes.contains(&reply.code())
                    && reply.header("content-type") == "application/problem+json"
                    && reply.header("retry-after") == "5"
            }
            Self::Consumed(is_done) => !is_done,
            Self::Swept(report) => report.failed + report.mails.failed > 0,
        }
    }
}

fn timeless(reply: &Reply) -> Value {
    let mut body = reply.body.clone();
    tests::unkind::without_times(&mut body);
    body
}

/// A shop before a step.
struct Scene {
    shop: UnkindShop,
    step: Step,
    order: String,
    message: Option<String>,
}

fn keyed(path: &str, key: &str, body: &Value) -> Value {
    let mut event = request(path, body);
    event["headers"]["idempotency-key"] = key.into();
    event
}

fn pays(order: &str) -> Value {
    payment(&order.replace("ord_", "inv_"))
}

fn agreement() -> Value {
    json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": "8kk8451t"})
}

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const CANCEL: &str = "/api/order/cancel.json";
const EMAIL: &str = "/api/order/email.json";
const AGREEMENT: &str = "/api/customer/billing.json";

impl Step {
    fn stage(self) -> Stage {
        match self {
            Self::Cart | Self::SendMail | Self::PromiseMail => Stage::Nothing,
            Self::Approve | Self::ListAgreements | Self::Revoke => Stage::Nothing,
            Self::CartUpdate | Self::Invoice | Self::CancelPending | Self::Get => Stage::Placed,
            Self::Payment | Self::CancelInvoiced | Self::Webhook => Stage::Invoiced,
            Self::CancelPaid | Self::Shipping => Stage::Paid,
            Self::Worker(_) | Self::Relay | Self::Sweep => Stage::Nothing,
        }
    }
}

impl Scene {
    async fn of(step: Step) -> Self {
        let mut scene = Self {
            shop: UnkindShop::open(),
            step,
            order: String::new(),
            message: None,
        };
        scene.reach(step.stage()).await;
        match step {
            Step::ListAgreements | Step::Revoke => {
                let reply = scene.shop.send(&request(AGREEMENT, &agreement())).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
            }
            Step::Worker(queue) => {
                scene.place(&cart_with_checkout()).await;
                scene.message = Some(scene.message_for(queue).await);
            }
            Step::Relay | Step::Sweep => {
                scene.place(&cart_with_checkout()).await;
            }
            _ => {}
        }
        if step == Step::Sweep {
            scene.shop.checkpoint();
            scene.shop.pass(Duration::from_mins(3));
        }
        let _ = scene.shop.aws.take_calls();
        scene
    }

    async fn place(&mut self, cart: &Value) {
        let reply = self.shop.send(&keyed(CART, "placed", cart)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        text(&reply.body["orderId"]).clone_into(&mut self.order);
    }

    async fn reach(&mut self, stage: Stage) {
        if stage >= Stage::Placed {
            self.place(&cart()).await;
        }
        for (reached, path, body) in [
            (Stage::Invoiced, INVOICE, invoice(&self.order)),
            (Stage::Paid, PAYMENT, pays(&self.order)),
        ] {
            if stage >= reached {
                let reply = self.shop.send(&keyed(path, "reached", &body)).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
            }
        }
    }

    /// Advances the order of a cart with `checkout` until there is a message for that queue.
    async fn message_for(&self, wanted: Queue) -> String {
        for _ in 0..4 {
            assert!(self.shop.relay().await);
            self.shop.checkpoint();
            let messages = self.shop.messages();
            if let Some((_, body)) = messages.iter().find(|(queue, _)| *queue == wanted) {
                return body.clone();
            }
            for (queue, body) in messages {
                assert!(self.shop.deliver(queue, &body).await, "{queue:?}");
            }
        }
        panic!("no message for {wanted:?}");
    }

    async fn act(&self) -> Done {
        let order = &self.order;
        let key = format!("{:?}", self.step);
        let keyed = |path: &str, body: &Value| keyed(path, &key, body);
        let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
        let event = match self.step {
            Step::Cart => keyed(CART, &cart()),
            Step::CartUpdate => {
                let mut body = cart();
                body["orderId"] = order.as_str().into();
                keyed(CART, &body)
            }
            Step::Invoice => keyed(INVOICE, &invoice(order)),
            Step::Payment => keyed(PAYMENT, &pays(order)),
            Step::CancelPending | Step::CancelInvoiced | Step::CancelPaid => {
                let body = json!({"customerId": "8080", "orderId": order});
                keyed(CANCEL, &body)
            }
            Step::Shipping => keyed(SHIPPING, &shipping(order)),
            Step::PromiseMail => keyed(SHIPPING, &mail),
            Step::SendMail => keyed(EMAIL, &mail),
            Step::Get => question(order),
            Step::Approve => keyed(AGREEMENT, &agreement()),
            Step::ListAgreements => customer_request("GET", "8080", ""),
            Step::Revoke => customer_request("DELETE", "8080", "partner=paypal"),
            Step::Webhook => {
                let object = json!({"id": "pi_1", "object": "payment_intent",
                    "status": "succeeded", "metadata": {"order_id": order}});
                let body = event("evt_1", "payment_intent.succeeded", &object);
                let header = signature(self.shop.runtime.now().seconds(), &body);
                webhook("stripe", ("stripe-signature", &header), &body)
            }
            Step::Worker(queue) => {
                let message = self.message.as_deref().unwrap();
                return Done::Consumed(self.shop.deliver(queue, message).await);
            }
            Step::Relay => return Done::Consumed(self.shop.relay().await),
            Step::Sweep => return Done::Swept(self.shop.sweep().await),
        };
        Done::Replied(self.shop.send(&event).await)
    }

    /// The final state of all ledgers.
    async fn ledgers(&self) -> Ledgers {
        self.shop.settle().await;
        let order = Some(self.order.clone()).filter(|order| !order.is_empty());
        self.shop.ledgers(order.as_slice()).await
    }
}

/// Whether the step continues without that call: the sweep publishes what a queue does not accept.
fn is_tolerated(step: Step, operation: &str) -> bool {
    matches!(step, Step::PromiseMail | Step::Relay) && operation == "SendMessageBatch"
}

/// Whether a mail's row says that it is being sent and its outcome is unknown. After seven minutes
/// it is parked, because SES may have accepted it, and never sent again automatically.
fn is_parked(step: Step, shown: &Value) -> bool {
    matches!(step, Step::SendMail | Step::Worker(Queue::Email))
        && shown.to_string().contains("unconfirmed")
}

/// The run of a step without faults, to which the others are compared.
struct Clean {
    step: Step,
    answer: Done,
    calls: Vec<String>,
    ledgers: Ledgers,
}

impl Clean {
    async fn of(step: Step) -> Self {
        let scene = Scene::of(step).await;
        let answer = scene.act().await;
        if let Done::Replied(reply) = &answer {
            assert!(reply.status < 300, "{step:?}: {}", reply.text);
        }
        let calls = scene.shop.aws.take_calls();
        Self {
            step,
            answer,
            calls,
            ledgers: scene.ledgers().await,
        }
    }

    /// Runs the step with that call refused, and reports what is wrong.
    async fn judge(
        &self,
        call: usize,
        (number, refusal): (usize, Refusal),
        extent: Extent,
    ) -> Result<(), String> {
        let step = self.step;
        let scene = Scene::of(step).await;
        scene.shop.aws.refuse(call, refusal, extent);
        let begun = Instant::now();
        let met = scene.act().await;
        let took = begun.elapsed();
        // A sweep ends by its invocation's deadline (`sweep::`); there is none here.
        if took > Duration::from_secs(9) && step != Step::Sweep {
            return Err(format!("took {took:?}"));
        }
        let tries = scene.shop.aws.take_calls().len() - call;
        if extent == Extent::ForEver && matches!(refusal, Refusal::Busy(_)) && tries < 4 {
            return Err(format!("{tries} tries"));
        }
        let is_mended = extent == Extent::Once && refusal.passes();
        if is_mended || is_tolerated(step, &self.calls[call]) {
            if !met.is_like(&self.answer) {
                return Err(format!("{met:?}"));
            }
        } else if !met.is_unavailable() {
            return Err(format!("{met:?}"));
        }
        scene.shop.aws.be_kind();
        if met.is_unavailable() {
            scene.shop.pass(Duration::from_mins(10));
            let again = scene.act().await;
            if matches!(&again, Done::Replied(reply) if is_parked(step, &reply.body)) {
                return Ok(());
            }
            if !again.is_like(&self.answer) {
                return Err(format!("again: {again:?}"));
            }
        }
        // Settling takes most of the time, so only one in four of the runs that a retry has
        // completed is settled.
        if is_mended && !(call + number).is_multiple_of(4) {
            return Ok(());
        }
        let mut left = scene.ledgers().await;
        if left.orders.iter().any(|order| is_parked(step, order)) {
            // Each mail was sent at most once; everything else must be as usual.
            left.orders.clone_from(&self.ledgers.orders);
            let mut once = left.mails.clone();
            once.dedup();
            let is_once = once == left.mails && left.mails.len() + 1 >= self.ledgers.mails.len();
            return Self::same(&left, &self.ledgers, is_once);
        }
        Self::same(&left, &self.ledgers, left.mails == self.ledgers.mails)
    }

    /// Compares everything except the mails.
    fn same(left: &Ledgers, clean: &Ledgers, are_mails_right: bool) -> Result<(), String> {
        let mut with_mails = left.clone();
        with_mails.mails.clone_from(&clean.mails);
        if are_mails_right && with_mails == *clean {
            Ok(())
        } else {
            Err(format!("{left:?} instead of {clean:?}"))
        }
    }
}

async fn show_all(steps: &[Step]) {
    let (mut shown, mut wrong) = (0, Vec::new());
    for step in steps {
        let clean = Clean::of(*step).await;
        for (call, operation) in clean.calls.iter().enumerate() {
            // The sweep queries each partition of its index in the same way.
            if *step == Step::Sweep && call > 0 && clean.calls[call - 1] == *operation {
                continue;
            }
            for (number, refusal) in Refusal::all_of(operation).into_iter().enumerate() {
                for extent in [Extent::Once, Extent::ForEver] {
                    shown += 1;
                    let judged = clean.judge(call, (number, refusal), extent);
                    if let Err(what) = judged.await {
                        let calls = &clean.calls;
                        let about = format!("{step:?}, call {call} of {calls:?}");
                        wrong.push(format!("{about}: {refusal:?} {extent:?}: {what}"));
                    }
                }
            }
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{count} of {shown}:\n{}",
        wrong.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_carts_invoices_and_reads_is_tried_again_then_503() {
    show_all(&[Step::Cart, Step::CartUpdate, Step::Invoice, Step::Get]).await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_payments_and_agreements_is_tried_again_then_503() {
    let agreements = [Step::Approve, Step::ListAgreements, Step::Revoke];
    show_all(&[Step::Payment]).await;
    show_all(&agreements).await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_cancellations_is_tried_again_then_503() {
    let steps = [Step::CancelPending, Step::CancelInvoiced, Step::CancelPaid];
    show_all(&steps).await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_shipping_mails_and_webhooks_is_tried_again_then_503() {
    let mails = [Step::PromiseMail, Step::SendMail];
    show_all(&[Step::Shipping, Step::Webhook]).await;
    show_all(&mails).await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_the_workers_loses_nothing() {
    show_all(&Queue::ALL.map(Step::Worker)).await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_each_call_of_the_relay_and_the_sweep_loses_nothing() {
    show_all(&[Step::Relay, Step::Sweep]).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_answer_is_asked_for_again() {
    for step in [Step::Cart, Step::Get, Step::Invoice] {
        let scene = Scene::of(step).await;
        let _ = scene.act().await;
        let calm = scene.shop.aws.take_calls().len();
        let scene = Scene::of(step).await;
        let changed = Refusal::Garbled(Garbage::Changed);
        scene.shop.aws.refuse(0, changed, Extent::Once);
        let _ = scene.act().await;
        assert_eq!(scene.shop.aws.take_calls().len(), calm + 1, "{step:?}");
    }
}

#[test]
fn every_operation_has_its_own_refusals() {
    let names = |operation| -> BTreeSet<String> {
        let all = Refusal::all_of(operation).into_iter();
        all.map(|refusal| format!("{refusal:?}")).collect()
    };
    assert!(names("UpdateItem").contains(r#"Busy("TransactionConflictException")"#));
    assert!(!names("BatchGetItem").contains(r#"Busy("TransactionConflictException")"#));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_silent_or_busy_is_503_before_lambda_ends_the_invocation() {
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda tells its deadline by this clock"
    )]
    let now = std::time::SystemTime::now;
    let silent = Refusal::Lost(Loss::Silence, Effect::Before);
    let busy = Refusal::Busy("ThrottlingException");
    for step in [Step::Cart, Step::Invoice, Step::Payment, Step::Get] {
        for refusal in [silent, busy] {
            for left in [1_500, 3_000, 5_000] {
                let left = Duration::from_millis(left);
                let scene = Scene::of(step).await;
                scene.shop.aws.refuse(0, refusal, Extent::ForEver);
                let begun = Instant::now();
                let done = deadline::until(now() + left, scene.act()).await;
                let took = begun.elapsed();
                assert!(took < left, "{step:?} {refusal:?} {left:?}: {took:?}");
                assert!(done.is_unavailable(), "{step:?} {refusal:?}: {done:?}");
            }
        }
    }
}

/// A shop over sockets with a placed order, so that connections are open.
async fn connected() -> (Server, Scene) {
    let aws = UnkindAws::default();
    let server = Server::start(aws.clone()).await;
    let mut scene = Scene {
        shop: UnkindShop::over(aws, server.clients()),
        step: Step::Invoice,
        order: String::new(),
        message: None,
    };
    scene.place(&cart()).await;
    (server, scene)
}

#[tokio::test]
async fn a_connection_that_ends_while_nothing_is_sent_costs_another_try_and_nothing_else() {
    for idle in [
        Idle::Closed,
        Idle::ClosedOnUse,
        Idle::ResetOnUse,
        Idle::Silent,
    ] {
        let (server, mut scene) = connected().await;
        for step in [
            Step::PromiseMail,
            Step::Invoice,
            Step::Payment,
            Step::Get,
            Step::Shipping,
        ] {
            let before = server.connections();
            server.end_connections(idle);
            scene.step = step;
            let Done::Replied(reply) = scene.act().await else {
                panic!("{step:?} replies");
            };
            assert!(reply.status < 300, "{idle:?} {step:?}: {}", reply.text);
            assert!(server.connections() > before, "{idle:?} {step:?}");
        }
        assert_eq!(scene.shop.partner.captured().len(), 1);
        let items = scene.shop.aws.items();
        assert!(items.contains(&("Orders".to_owned(), 1)), "{items:?}");
        assert!(items.contains(&("Invoices".to_owned(), 1)), "{items:?}");
        assert_eq!(scene.shop.messages().len(), 1, "{idle:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_of_aws_is_asked_for_again_over_real_sockets() {
    for step in [Step::Invoice, Step::PromiseMail] {
        for call in 0..2 {
            for refusal in Refusal::all_of("UpdateItem") {
                if !matches!(refusal, Refusal::Garbled(_) | Refusal::Lost(..)) {
                    continue;
                }
                let (server, mut scene) = connected().await;
                scene.step = step;
                scene.shop.aws.refuse(call, refusal, Extent::Once);
                let Done::Replied(reply) = scene.act().await else {
                    panic!("{step:?} replies");
                };
                let about = format!("{step:?} {call} {refusal:?}: {}", reply.text);
                assert!(reply.status < 300, "{about}");
                assert!(server.oversized() < 48 * 1024 * 1024, "{about}");
                scene.shop.aws.be_kind();
                let Done::Replied(again) = scene.act().await else {
                    panic!("{step:?} replies");
                };
                assert_eq!(again.text, reply.text, "{about}");
            }
        }
    }
}

/// When connections end, from a frozen function's point of view.
#[derive(Clone, Copy, Debug)]
enum When {
    Before,
    During,
    After,
}

#[tokio::test]
async fn a_function_that_was_frozen_answers_whatever_became_of_its_connections() {
    let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
    for (name, path, body) in [("cart", CART, cart()), ("shipment", SHIPPING, mail)] {
        let aws = UnkindAws::default();
        let server = Server::start(aws.clone()).await;
        let program = env!("CARGO_BIN_EXE_function");
        let mut function = Function::start(program, name, &server.endpoint()).await;
        let mut asked = 0;
        for idle in [
            Idle::Closed,
            Idle::ClosedOnUse,
            Idle::ResetOnUse,
            Idle::Silent,
        ] {
            for when in [When::Before, When::During, When::After] {
                asked += 1;
                let warm = keyed(path, &format!("warm-{asked}"), &body);
                assert!(function.invoke(&warm).await.status < 300);
                if matches!(when, When::Before) {
                    server.end_connections(idle);
                }
                function.freeze();
                if matches!(when, When::During) {
                    server.end_connections(idle);
                }
                function.thaw();
                if matches!(when, When::After) {
                    server.end_connections(idle);
                }
                let cold = keyed(path, &format!("cold-{asked}"), &body);
                let reply = function.invoke(&cold).await;
                assert!(
                    reply.status < 300,
                    "{name} {idle:?} {when:?}: {}",
                    reply.text
                );
            }
        }
        let (table, wanted) = match name {
            "cart" => ("Orders", 2 * asked),
            _ => ("Emails", 2 * asked),
        };
        let items = aws.items();
        assert!(items.contains(&(table.to_owned(), wanted)), "{items:?}");
    }
}
