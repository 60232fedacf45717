//! The scheduler: who acts next, who is killed, what arrives when.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use domain::{ChargeState, Order, OrderId};
use dynoxide::Database as Engine;
use messages::queue::Queue;
use serde_json::{Value, json};
use store::{EmailState, Store};

use super::carrier::{Depot, Shipper};
use super::client::{Client, Expects, Role, Wish};
use super::database::honest_client;
use super::ends::Outside;
use super::fleet::{Fleet, Instance, Lambda};
use super::invariants::{self, Books, Violation, Watch, check};
use super::partner::{Double, Partner};
use super::scenario::{Act, Approvals, Method, Plan};
use super::stream::{RelayBatch, Stream};
use super::webhooks;
use super::world::{FUNCTION_TIMEOUT, Faults, Queued, Saying, Stopped, World};
use crate::cloud::{Options, START};
use crate::database::engine_with_tables;
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Reply, Services, batch, question, request};
use crate::{Database, StreamReader};

/// The queues' visibility timeout.
const VISIBILITY: i64 = 180_000;

/// Receives after which a message goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// No history needs more scheduling decisions; one that does is stuck.
const MAX_STEPS: u32 = 60_000;

/// For how long an operator moves things by hand, in milliseconds: what nobody can mend would be moved
/// for ever.
const OPERATOR_WORKS: i64 = 36 * 3_600_000;

/// How often a partner repeats a webhook that was not acknowledged.
const MAX_DELIVERIES: u32 = 20;

/// What a task was started for.
#[derive(Clone, Debug)]
enum Purpose {
    Request {
        client: usize,
        role: Role,
        wish: Wish,
    },
    Batch {
        queue: Queue,
        ids: Vec<u64>,
    },
    Relay(RelayBatch),
    Webhook(Webhook),
    Sweep,
}

enum Outcome {
    Reply(Reply),
    Failures(Vec<String>),
    Swept,
}

/// A webhook on its way.
#[derive(Clone, Debug)]
struct Webhook {
    at: i64,
    deliveries: u32,
    event: Value,
}

struct Task {
    purpose: Purpose,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    woken: Arc<Woken>,
    since: i64,
    frozen_until: Option<i64>,
}

impl Task {
    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One history as it unfolds.
pub struct Simulation {
    plan: Plan,
    world: World,
    double: Double,
    depot: Depot,
    fleet: Fleet,
    honest: Instance,
    pub(super) store: Store,
    engine: Engine,
    stream: Stream,
    watch: Watch,
    tasks: Vec<Task>,
    clients: Vec<Client>,
    webhooks: Vec<Webhook>,
    told: u64,
    next_sweep: i64,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// A history that has not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let world = World::new(plan.seed, plan.faults, plan.trace);
        {
            let mut state = world.state();
            state.crash_at.clone_from(&plan.crash_at);
            state.timeout_at.clone_from(&plan.timeout_at);
            state.lost_answer_at.clone_from(&plan.lost_answer_at);
            state.late_at.clone_from(&plan.late_at);
            state.partner_out_until = START + plan.partner_out;
            state.mailer_out_until = START + plan.mailer_out;
            state.queue_out = plan.queue_out.map(|(queue, lasts)| (queue, START + lasts));
            let frozen = plan.database_frozen;
            state.database_frozen = frozen.map(|(from, until)| (START + from, START + until));
            state.partner_memory = plan.partner_memory;
            state.protocol = plan.protocol;
            state.refunds_fail = plan.refunds_fail;
        }
        let engine = engine_with_tables();
        let double = Double::new(plan.partner, plan.protocol, &world.runtime(0));
        let depot = Depot::new(plan.carrier);
        let fleet = Fleet::new(&plan, &engine, &world, &double, &depot);
        let runtime = world.runtime(0);
        let store = Store::new(honest_client(&engine), Database::tables(), runtime.clone());
        let calm = || Outside(World::new(0, Faults::default(), false));
        let ends = Ends {
            partner: Partner::Played(calm()),
            carrier: Shipper::Played(calm()),
            queues: calm(),
            mailer: calm(),
            certificates: Front::new(Arc::new(PayPalCertificates)),
        };
        let honest = Services::new(&store, Options::default(), &runtime, ends);
        let clients = plan
            .scenarios
            .iter()
            .enumerate()
            .map(|(number, each)| Client::new(number, each));
        let simulation = Self {
            clients: clients.collect(),
            double,
            depot,
            fleet,
            honest,
            store,
            stream: Stream::new(StreamReader::new(engine.clone()), plan.relay_shards, START),
            engine,
            watch: Watch::default(),
            tasks: Vec::new(),
            webhooks: Vec::new(),
            told: 0,
            next_sweep: START + 60_000,
            world,
            plan,
        };
        simulation.let_strangers_in();
        simulation
    }

    /// Orders that this version cannot read, due in each shard of the step `payment`, before all others:
    /// every other one was written by a newer version, and every other one is damaged.
    fn let_strangers_in(&self) {
        for shard in 0..4_u8 {
            for number in 0..self.plan.strangers {
                let millis = u64::try_from(START).unwrap_or_default() + number as u64;
                let id = OrderId::from_time(millis, [shard; 10]);
                let (status, version, tries) = match number % 2 {
                    0 => (
                        json!({"S": "returned"}),
                        json!({"N": "9"}),
                        json!({"N": "0"}),
                    ),
                    _ => (json!({"N": "1"}), json!({"S": "?"}), json!({"S": "many"})),
                };
                let put = json!({"TableName": "OrdersTable", "Item": {
                    "orderId": {"S": id.to_string()}, "status": status, "version": version,
                    "dueTries": tries, "dueStep": {"S": format!("payment#{shard}")},
                    "dueAt": {"N": (START - 60_000).to_string()}
                }});
                let put = serde_json::from_value(put).expect("it is a PutItem");
                self.engine
                    .put_item(put)
                    .expect("any item with a key is taken");
            }
        }
    }

    /// Sends one event to the API while all goes wrong as the plan says; returns the answer, how many
    /// effects it took, and how many items the tables hold afterwards.
    pub async fn send_once(&self, event: &Value) -> (Reply, u64, usize) {
        let reply = self.fleet.first().send(event).await;
        let effects = self.world.state().effects;
        (reply, effects, self.items())
    }

    /// After the next `calm` effects, loses the answers of the `lost` ones that follow, and throttles
    /// the `throttled` ones after those.
    pub fn strike(&self, calm: u64, lost: u64, throttled: u64) {
        let mut state = self.world.state();
        let first = state.effects + calm + 1;
        state.lost_answer_at = (first..first + lost).collect();
        state.throttled_at = (first + lost..first + lost + throttled).collect();
    }

    /// All that somebody outside could see of a request: what is stored, but for claims and keys, and
    /// what the other side has in its books.
    #[must_use]
    pub fn seen(&self) -> String {
        let mut seen = Vec::new();
        for table in ["OrdersTable", "InvoicesTable", "CustomersTable"] {
            let request = serde_json::from_value(json!({ "TableName": table }))
                .expect("a scan needs a table's name only");
            let scan = self.engine.scan(request).expect("the table is there");
            let mut scan = json!(scan);
            for item in scan["Items"].as_array_mut().into_iter().flatten() {
                let charge = item["payment"]["M"]["charge"].take();
                item["payment"] = charge;
                item["event"] = Value::Null;
            }
            seen.push(scan["Items"].to_string());
        }
        let state = self.world.state();
        let charges = state.charges.iter();
        let moved =
            charges.map(|(reference, charge)| (reference, charge.captures, &charge.refunds));
        let moved: Vec<_> = moved.filter(|(_, captures, _)| *captures > 0).collect();
        let labels = state.parcels.values().filter_map(|each| each.label.clone());
        let labels: Vec<_> = labels.collect();
        let queued: Vec<_> = state.queues.values().map(Vec::len).collect();
        seen.push(format!("{moved:?} {labels:?} {:?} {queued:?}", state.mails));
        seen.join("\n")
    }

    /// How many items the tables hold.
    fn items(&self) -> usize {
        [
            "OrdersTable",
            "InvoicesTable",
            "EmailsTable",
            "IdempotencyTable",
        ]
        .map(|table| {
            let request = serde_json::from_value(json!({ "TableName": table }))
                .expect("a scan needs a table's name only");
            let scan = self.engine.scan(request).expect("the table is there");
            scan.count
        })
        .into_iter()
        .sum()
    }

    /// Lets the history unfold until nothing is left to happen; returns how many effects it had.
    ///
    /// # Errors
    ///
    /// The first promise that it broke.
    pub async fn run(mut self) -> Result<u64, Violation> {
        self.agree().await;
        let faults_end = START + self.plan.faults_last.max(self.plan.stream_dead);
        for _ in 0..MAX_STEPS {
            if self.world.now() >= faults_end {
                self.world.state().faults = Faults::default();
            }
            let has_gone_on = self.step().await || self.jump().await;
            self.look().await?;
            if !has_gone_on {
                let effects = self.world.state().effects;
                let answers = self.answers().await;
                let books = self.books();
                check(
                    &self.world,
                    &self.store,
                    &self.plan,
                    &self.clients,
                    &answers,
                    &books,
                )
                .await?;
                return Ok(effects);
            }
        }
        let mut waiting = Vec::new();
        for order in self
            .clients
            .iter()
            .filter_map(|client| client.order.as_deref())
        {
            let id = OrderId::parse(order).expect("the cart answers with an order's id");
            waiting.extend(self.store.order(&id).await.ok().flatten());
        }
        waiting.retain(|order| order.due.is_some());
        let charges = self.double.charges(&self.world);
        Err(Violation::Endless(format!("{waiting:?} {charges:?}")))
    }

    fn books(&self) -> Books {
        Books {
            charges: self.double.charges(&self.world),
            labels: self.depot.labels(&self.world),
            invoices: super::database::invoices(&self.engine),
            unconfirmed: super::database::unconfirmed(&self.engine),
        }
    }

    /// What must hold at every step is looked at whenever money or a parcel may have moved.
    async fn look(&mut self) -> Result<(), Violation> {
        if !std::mem::take(&mut self.world.state().touched) {
            return Ok(());
        }
        let charges = self.double.charges(&self.world);
        let labels = self.depot.labels(&self.world);
        let told = self.watch.look(&self.store, &charges, &labels).await?;
        if self.plan.webhooks > 0 {
            for invoice in told {
                self.tell(&invoice);
            }
        }
        let news = std::mem::take(&mut self.world.state().news);
        for invoice in news {
            self.told += 1;
            let event = webhooks::refund_failed(self.told, &invoice);
            self.send_webhook(event, 7_200_000);
        }
        Ok(())
    }

    /// The partner tells of a charge: not at all, at once, late, or twice.
    fn tell(&mut self, invoice: &str) {
        while self.world.state().random.chance(self.plan.webhooks) {
            self.told += 1;
            let most = [1, 60_000, 7_200_000][self.world.state().random.below(3)];
            let event = webhooks::about_charge(self.told, invoice);
            self.send_webhook(event, most);
        }
    }

    /// Has a webhook arrive within so many milliseconds.
    fn send_webhook(&mut self, event: Value, most: i64) {
        let at = self.world.now() + self.world.state().random.millis(most);
        self.webhooks.push(Webhook {
            at,
            deliveries: 0,
            event,
        });
    }

    /// Every customer agrees to be charged, before anything goes wrong.
    async fn agree(&self) {
        for client in &self.clients {
            let customer = client.customer();
            let is_bad = self.plan.partner.is_some() && client.scenario.customer == "declined";
            let method = if is_bad { Method::Bad } else { Method::Good };
            let Some(body) = self.double.agreement(&customer, method) else {
                continue;
            };
            let reply = self
                .honest
                .send(&request("/api/customer/billing.json", &body))
                .await;
            assert_eq!(reply.status, 201, "{}", reply.text);
            let saying = Saying {
                until: None,
                method: body["paymentMethodId"].as_str().map(str::to_owned),
            };
            let mut state = self.world.state();
            state.sayings.entry(customer).or_default().push(saying);
        }
    }

    /// What every placed order answers to the question where it stands.
    async fn answers(&self) -> BTreeMap<String, Reply> {
        let mut answers = BTreeMap::new();
        for client in &self.clients {
            if let Some(order) = &client.order {
                answers.insert(order.clone(), self.honest.send(&question(order)).await);
            }
        }
        answers
    }

    /// Starts or continues something; false when nothing can be done now.
    async fn step(&mut self) -> bool {
        let was_late = self.world.carry_out_late();
        self.start_what_is_due().await;
        let mut runnable = self.runnable();
        if runnable.is_empty() {
            if self.tasks.iter().all(Task::is_woken) {
                return was_late;
            }
            // Somebody pauses before another try: tokio's clock is virtual and jumps there.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            runnable = self.runnable();
            if runnable.is_empty() {
                // Whoever could go on is frozen: only a jump thaws it.
                return was_late;
            }
        }
        let pick = {
            let mut state = self.world.state();
            runnable[state.random.below(runnable.len())]
        };
        let millis = self.world.state().random.millis(20);
        self.world.pass(millis);
        self.poll(pick);
        true
    }

    /// The tasks that can go on now.
    fn runnable(&self) -> Vec<usize> {
        let now = self.world.now();
        let tasks = self.tasks.iter().enumerate();
        let can_go_on = tasks.filter(|(_, task)| {
            task.is_woken() && task.frozen_until.is_none_or(|until| until <= now)
        });
        can_go_on.map(|(index, _)| index).collect()
    }

    fn poll(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.frozen_until = None;
        task.woken.0.store(false, Ordering::SeqCst);
        self.world.state().task_since = task.since;
        let waker = Waker::from(Arc::clone(&task.woken));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (is_killed, timed_out, frozen_until) = {
            let mut state = self.world.state();
            (
                state.stopped == Some(Stopped::Killed),
                state.stopped == Some(Stopped::TimedOut),
                state.frozen_until.take(),
            )
        };
        self.world.state().stopped = None;
        if timed_out {
            self.world.pass(FUNCTION_TIMEOUT);
        }
        if is_killed || timed_out {
            let task = self.tasks.swap_remove(index);
            self.world.note(|| format!("  killed: {:?}", task.purpose));
            self.ended(&task.purpose, None);
            return;
        }
        match polled {
            Poll::Ready(outcome) => {
                let task = self.tasks.swap_remove(index);
                // The answer itself can be lost: whoever waits for it sees a crash.
                let is_lost = {
                    let mut state = self.world.state();
                    state.effects += 1;
                    let effect = state.effects;
                    let crash = state.faults.crash;
                    state.crash_at.contains(&effect) || state.random.chance(crash)
                };
                self.world
                    .note(|| format!("  ended (lost: {is_lost}): {:?}", task.purpose));
                self.ended(&task.purpose, if is_lost { None } else { Some(outcome) });
            }
            Poll::Pending => self.tasks[index].frozen_until = frozen_until,
        }
    }

    fn start(&mut self, purpose: Purpose, future: impl Future<Output = Outcome> + 'static) {
        self.world.note(|| format!("start {purpose:?}"));
        self.tasks.push(Task {
            purpose,
            future: Box::pin(future),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            since: self.world.now(),
            frozen_until: None,
        });
    }

    async fn start_what_is_due(&mut self) {
        let now = self.world.now();
        for number in 0..self.clients.len() {
            self.let_customer_act(number, now).await;
            for role in Role::ALL {
                self.start_requests(number, role, now);
            }
        }
        for queue in [
            Queue::Billing,
            Queue::Payment,
            Queue::Shipment,
            Queue::Email,
        ] {
            if self.tasks.len() < 12 {
                self.start_batch(queue, now);
            }
        }
        self.start_relay(now);
        self.start_webhooks(now);
        if self.next_sweep <= now {
            self.next_sweep = now + 60_000;
            self.operate(now);
            let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
            self.start(Purpose::Sweep, async move {
                instance.relay.sweep().await;
                Outcome::Swept
            });
        }
    }

    fn start_requests(&mut self, number: usize, role: Role, now: i64) {
        let caller = self.clients[number].caller(role);
        if caller.busy > 0 || caller.next_at > now || caller.wishes.is_empty() {
            return;
        }
        self.start_request(number, role);
        // Some clients are impatient and send the same twice.
        let twice = self.plan.faults_last > 0 && self.world.state().random.chance(100);
        if twice {
            self.start_request(number, role);
        }
    }

    fn start_request(&mut self, number: usize, role: Role) {
        let client = &mut self.clients[number];
        let customer = client.customer();
        let caller = client.caller(role);
        let Some(wish) = caller.wishes.front().cloned() else {
            return;
        };
        caller.busy += 1;
        if let Some(act) = wish.act {
            self.say(&customer, act, &wish);
        }
        let event = wish.event(&customer);
        let configured = self.fleet.pick(Lambda::of_path(&wish.path), &self.world);
        self.clients[number].asks(&wish, configured.currency);
        let purpose = Purpose::Request {
            client: number,
            role,
            wish,
        };
        self.start(purpose, async move {
            Outcome::Reply(configured.instance.send(&event).await)
        });
    }

    /// From the moment at which it is sent, an approval may hold.
    fn say(&self, customer: &str, act: Act, wish: &Wish) {
        if !matches!(act, Act::Approve(_)) {
            return;
        }
        let saying = Saying {
            until: None,
            method: wish.body["paymentMethodId"].as_str().map(str::to_owned),
        };
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        sayings.push(saying);
    }

    /// Once it is answered, nothing that was said before holds any more.
    fn said(&self, customer: &str, act: Act, wish: &Wish) {
        let now = self.world.now();
        let method = wish.body["paymentMethodId"].as_str();
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        for saying in sayings {
            let is_this = matches!(act, Act::Approve(_)) && saying.method.as_deref() == method;
            if !is_this && saying.until.is_none() {
                saying.until = Some(now);
            }
        }
    }

    async fn let_customer_act(&mut self, number: usize, now: i64) {
        let client = &mut self.clients[number];
        if client.is_acting() || client.acts.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let Some((_, act)) = client.acts.pop_front() else {
            return;
        };
        let customer = client.customer();
        let order = client.order.clone().unwrap_or_default();
        let keyed = client.scenario.approvals == Approvals::Keyed;
        self.world.note(|| format!("{customer}: {act:?}"));
        let wish = match act {
            // The page is that of the charge that the order names.
            Act::PayOnPage => {
                let order = self.store.order(&order.parse_id()).await.ok().flatten();
                let reference = order.and_then(|order| order.payment?.reference);
                if let Some(reference) = reference {
                    self.double.pay_on_page(&self.world, &reference);
                }
                return;
            }
            Act::Approve(method) => {
                let Some(body) = self.double.agreement(&customer, method) else {
                    return;
                };
                Wish {
                    method: "POST",
                    path: "/api/customer/billing.json".to_owned(),
                    key: keyed.then(|| format!("{customer}-says-{:x}-more", client.acts.len())),
                    body,
                    expects: Expects::Answer,
                    act: Some(act),
                }
            }
            Act::Revoke => {
                if self.double.agreement(&customer, Method::Good).is_none() {
                    return;
                }
                Wish {
                    method: "DELETE",
                    path: format!("/api/customer/{customer}/billing"),
                    key: None,
                    body: json!({"revoked at": now}),
                    expects: Expects::Answer,
                    act: Some(act),
                }
            }
        };
        let caller = self.clients[number].caller(Role::Customer);
        caller.next_at = now;
        caller.wishes.push_back(wish);
    }

    /// An operator moves dead letters back, or has the sweep look at an order at once.
    fn operate(&self, now: i64) {
        let mut state = self.world.state();
        if now > START + OPERATOR_WORKS || !state.random.chance(self.plan.operator) {
            return;
        }
        if state.random.chance(500) {
            for (queue, body) in std::mem::take(&mut state.dead_letters) {
                state.next_message += 1;
                let id = state.next_message;
                let queued = Queued {
                    id,
                    body,
                    visible_at: now,
                    receives: 0,
                };
                state.queues.entry(queue).or_default().push(queued);
            }
            return;
        }
        let pick = state.random.below(self.clients.len());
        drop(state);
        if let Some(order) = &self.clients[pick].order {
            super::database::requeue(&self.engine, order, now);
        }
    }

    fn start_batch(&mut self, queue: Queue, now: i64) {
        let taken: Vec<(u64, String)> = {
            let mut state = self.world.state();
            let most = 1 + state.random.below(10);
            let Some(messages) = state.queues.get_mut(&queue) else {
                return;
            };
            let mut dead = Vec::new();
            messages.retain(|message| {
                let is_dead = message.visible_at <= now && message.receives >= MAX_RECEIVES;
                if is_dead {
                    dead.push((queue, message.body.clone()));
                }
                !is_dead
            });
            let visible = messages
                .iter_mut()
                .filter(|message| message.visible_at <= now);
            let taken = visible
                .take(most)
                .map(|message| {
                    message.receives += 1;
                    message.visible_at = now + VISIBILITY;
                    (message.id, message.body.clone())
                })
                .collect();
            state.dead_letters.extend(dead);
            taken
        };
        if taken.is_empty() {
            return;
        }
        let (ids, bodies): (Vec<u64>, Vec<String>) = taken.into_iter().unzip();
        let instance = self.fleet.pick(Lambda::Worker(queue), &self.world).instance;
        self.start(Purpose::Batch { queue, ids }, async move {
            Outcome::Failures(instance.deliver_batch(queue, &batch(&bodies)).await)
        });
    }

    fn start_relay(&mut self, now: i64) {
        let is_dead = now < START + self.plan.stream_dead;
        self.stream.read(&self.world, is_dead);
        if is_dead {
            return;
        }
        for (batch, records) in self.stream.batches(&self.world) {
            let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
            self.start(Purpose::Relay(batch), async move {
                Outcome::Failures(instance.relay_records(&records).await)
            });
        }
    }

    fn start_webhooks(&mut self, now: i64) {
        let (due, waiting) = std::mem::take(&mut self.webhooks)
            .into_iter()
            .partition(|webhook| webhook.at <= now);
        self.webhooks = waiting;
        let due: Vec<Webhook> = due;
        for webhook in due {
            let event = webhooks::signed(&webhook.event, now);
            let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
            self.start(Purpose::Webhook(webhook), async move {
                Outcome::Reply(instance.send(&event).await)
            });
        }
    }

    /// What follows from the end of a task; `None` when it was killed or its answer lost.
    fn ended(&mut self, purpose: &Purpose, outcome: Option<Outcome>) {
        match (purpose, outcome) {
            (Purpose::Request { client, role, wish }, outcome) => {
                let reply = match outcome {
                    Some(Outcome::Reply(reply)) => Some(reply),
                    _ => None,
                };
                self.replied(*client, *role, wish, reply.as_ref());
            }
            (Purpose::Batch { queue, ids }, Some(Outcome::Failures(failures))) => {
                let kept: Vec<u64> = failures
                    .iter()
                    .filter_map(|index| ids.get(index.parse::<usize>().ok()?).copied())
                    .collect();
                if let Some(messages) = self.world.state().queues.get_mut(queue) {
                    messages
                        .retain(|message| !ids.contains(&message.id) || kept.contains(&message.id));
                }
            }
            (Purpose::Relay(batch), outcome) => {
                let failures = match &outcome {
                    Some(Outcome::Failures(failures)) => Some(failures.as_slice()),
                    _ => None,
                };
                self.stream.ended(batch, failures, &self.world);
            }
            (Purpose::Webhook(webhook), outcome) => {
                let is_taken =
                    matches!(&outcome, Some(Outcome::Reply(reply)) if reply.status == 200);
                if !is_taken && webhook.deliveries < MAX_DELIVERIES {
                    self.webhooks.push(Webhook {
                        at: self.world.now() + 300_000,
                        deliveries: webhook.deliveries + 1,
                        ..webhook.clone()
                    });
                }
            }
            _ => {}
        }
    }

    fn replied(&mut self, number: usize, role: Role, wish: &Wish, reply: Option<&Reply>) {
        let now = self.world.now();
        let pause = self.world.state().random.millis(5_000);
        if let Some(reply) = reply {
            let (path, text) = (&wish.path, &reply.text);
            self.world
                .note(|| format!("  answer {role:?} {path} {} {text}", reply.status));
            let client = &mut self.clients[number];
            if reply.status < 300
                && let Some(act) = wish.act
            {
                let customer = client.customer();
                self.said(&customer, act, wish);
            }
        }
        let may_disturb = self.plan.change.is_some();
        self.clients[number].replied(role, wish, reply, now, pause, may_disturb);
    }

    /// Lets time pass up to the next thing that can happen; false when nothing ever will.
    async fn jump(&mut self) -> bool {
        let now = self.world.now();
        let mut next: Vec<i64> = Vec::new();
        next.extend(self.tasks.iter().filter_map(|task| task.frozen_until));
        next.extend(self.webhooks.iter().map(|webhook| webhook.at));
        if now >= START + self.plan.stream_dead {
            next.extend(self.stream.next_looks());
        }
        for client in &self.clients {
            let callers = client.callers.iter();
            next.extend(
                callers
                    .filter(|caller| !caller.wishes.is_empty())
                    .map(|caller| caller.next_at),
            );
            // Its time may have passed while the customer did something else.
            if !client.is_acting() {
                next.extend(client.acts.front().map(|(at, _)| (*at).max(now + 1)));
            }
        }
        {
            let state = self.world.state();
            let queued = state.queues.values().flatten();
            next.extend(queued.map(|message| message.visible_at));
            next.extend(state.late.iter().map(|late| late.at));
        }
        if now < START + self.plan.stream_dead {
            next.push(START + self.plan.stream_dead);
        }
        let mut first_due = i64::MAX;
        for client in &self.clients {
            let Some(order) = &client.order else { continue };
            let id = order.parse_id();
            if let Ok(Some(order)) = self.store.order(&id).await
                && let Some(due) = order.due
                && !self.is_parked(client, &order).await
            {
                first_due = first_due.min(due.at.millis());
            }
        }
        if self
            .clients
            .iter()
            .any(|client| !client.promised.is_empty())
        {
            let mail = super::database::first_mail_due(&self.engine);
            first_due = first_due.min(mail.unwrap_or(i64::MAX));
        }
        // A sweep before anything is due would find nothing: it is passed over.
        if first_due < i64::MAX {
            self.next_sweep = self.next_sweep.max(first_due);
            next.push(self.next_sweep.max(now + 1));
        }
        // What could have happened by now waits for somebody who stands still.
        let Some(next) = next.into_iter().filter(|at| *at > now).min() else {
            return false;
        };
        self.world.pass_until(next);
        true
    }

    /// Whether only the customer can bring the order on, who does nothing more; it is looked at again
    /// for ever.
    async fn is_parked(&self, client: &Client, order: &Order) -> bool {
        if invariants::is_out_of_reach(order, &self.plan) {
            return order.due.is_some_and(|due| due.tries >= 3)
                && self.world.now() >= self.fleet.settled_at();
        }
        let waits = !self.plan.surely_expires()
            && order
                .payment
                .as_ref()
                .is_some_and(|payment| payment.state == ChargeState::ActionRequired);
        let is_tired = order.due.is_some_and(|due| due.tries >= 3);
        if !waits || !is_tired || self.world.now() < self.fleet.settled_at() {
            return false;
        }
        // The money may be there by now, and its mails may not be.
        let invoice = order.id.invoice().to_string();
        let charges = self.double.charges(&self.world);
        let mut charges = charges.iter().filter(|charge| charge.invoice == invoice);
        if charges.any(|charge| charge.captures > 0) || !self.is_mailed(order).await {
            return false;
        }
        client.scenario.customer == "must-act" || !self.has_agreed(order).await
    }

    async fn is_mailed(&self, order: &Order) -> bool {
        let stored = self.store.order_and_emails(&order.id).await.ok().flatten();
        stored.is_some_and(|(order, states)| {
            let mut mailed = order.mailed_events();
            order.email().is_none()
                || mailed.all(|event| states.get(&event).is_some_and(EmailState::is_final))
        })
    }

    async fn has_agreed(&self, order: &Order) -> bool {
        let Some(partner) = self.double.agreement_with() else {
            return true;
        };
        let agreed = self.store.approved_agreement(&order.customer, partner);
        agreed.await.is_ok_and(|agreement| agreement.is_some())
    }
}

trait ParseId {
    fn parse_id(&self) -> OrderId;
}

impl ParseId for String {
    fn parse_id(&self) -> OrderId {
        OrderId::parse(self).expect("an answered cart names an order of ours")
    }
}
