//! The scheduler: who acts next, who is killed, what arrives when.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use dynoxide::Database as Engine;
use serde_json::{Value, json};
use shared::domain::PartnerName;
use shared::queue::Queue;
use shared::store::Store;

use super::carrier::{Depot, RealCarrier, Shipper};
use super::database::{client, honest_client};
use super::ends::Outside;
use super::invariants::{Books, Violation, check};
use super::partner::{Double, Partner};
use super::world::{FUNCTION_TIMEOUT, Faults, World};
use crate::cloud::{Options, START};
use crate::database::engine_with_tables;
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Reply, Services, batch, carries_event, question, request};
use crate::{Database, StreamReader};

/// The queues' visibility timeout.
const VISIBILITY: i64 = 180_000;

/// Receives after which a message goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// How long a partner remembers an idempotency key: 24 hours, as Stripe does.
const PARTNER_MEMORY: i64 = 24 * 3_600_000;

/// How long a stream keeps its records.
const STREAM_RETENTION: i64 = 24 * 3_600_000;

/// No history needs more scheduling decisions; one that does is stuck.
const MAX_STEPS: u32 = 20_000;

/// Where every order goes; every carrier takes it.
const ADDRESS: &str = "17 Boulevard, 123 apt 6, Brooklyn, NY 11201";

/// A customer's wish: one POST after the other, each repeated until it is answered for good.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides what becomes of the charge; see the played partner.
    pub customer: &'static str,
    /// Whether the cart carries `checkout`.
    pub checkout: bool,
    /// Whether the client also makes the later calls itself.
    pub explicit: bool,
    /// Whether the cart is updated once.
    pub update: bool,
    /// How often a declined payment is tried again by an explicit request.
    pub retries_after_decline: u32,
    /// How long after the cart was answered the order is cancelled, in milliseconds.
    pub cancel_after: Option<i64>,
}

impl Scenario {
    /// The cart goes all the way by itself.
    pub const CHECKOUT: Self = Self {
        customer: "8080",
        checkout: true,
        explicit: false,
        update: false,
        retries_after_decline: 0,
        cancel_after: None,
    };

    /// Every step is called, while the chain does the same.
    pub const EXPLICIT: Self = Self {
        checkout: false,
        explicit: true,
        ..Self::CHECKOUT
    };

    /// The cart carries `checkout`, and every step is called all the same.
    pub const BOTH: Self = Self {
        explicit: true,
        ..Self::CHECKOUT
    };

    /// The cart is updated before the rest is called.
    pub const UPDATED: Self = Self {
        update: true,
        ..Self::EXPLICIT
    };

    /// The first attempt is declined, an explicit second one succeeds.
    pub const DECLINED_ONCE: Self = Self {
        customer: "declined-once",
        retries_after_decline: 2,
        ..Self::BOTH
    };

    /// Declined for good.
    pub const DECLINED: Self = Self {
        customer: "declined",
        ..Self::CHECKOUT
    };

    /// The partner settles hours later.
    pub const PENDING: Self = Self {
        customer: "pending",
        ..Self::CHECKOUT
    };

    /// The partner refuses hours later.
    pub const PENDING_THEN_DECLINED: Self = Self {
        customer: "pending-then-declined",
        ..Self::CHECKOUT
    };

    /// The customer acts at the bank, later.
    pub const ACTS_LATER: Self = Self {
        customer: "acts-later",
        ..Self::CHECKOUT
    };

    /// The customer never acts.
    pub const MUST_ACT: Self = Self {
        customer: "must-act",
        ..Self::CHECKOUT
    };

    /// Cancelled at once.
    pub const CANCELLED_AT_ONCE: Self = Self {
        cancel_after: Some(0),
        ..Self::CHECKOUT
    };

    /// Cancelled while the charge is on its way.
    pub const CANCELLED_WHILE_CHARGED: Self = Self {
        cancel_after: Some(130),
        ..Self::CHECKOUT
    };

    /// Cancelled about when it is paid.
    pub const CANCELLED_WHEN_PAID: Self = Self {
        cancel_after: Some(200),
        ..Self::CHECKOUT
    };

    /// Declined, then cancelled.
    pub const DECLINED_THEN_CANCELLED: Self = Self {
        customer: "declined",
        cancel_after: Some(10_000),
        ..Self::CHECKOUT
    };

    /// Cancelled while the partner settles.
    pub const PENDING_THEN_CANCELLED: Self = Self {
        customer: "pending",
        cancel_after: Some(10_000),
        ..Self::CHECKOUT
    };

    /// Two instances whose clocks are five minutes apart, and one that is right, in milliseconds.
    pub const CLOCKS_APART: [i64; 3] = [0, 150_000, -150_000];

    /// Every scenario.
    pub const ALL: [Self; 15] = [
        Self::CHECKOUT,
        Self::EXPLICIT,
        Self::BOTH,
        Self::UPDATED,
        Self::DECLINED_ONCE,
        Self::DECLINED,
        Self::PENDING,
        Self::PENDING_THEN_DECLINED,
        Self::ACTS_LATER,
        Self::MUST_ACT,
        Self::CANCELLED_AT_ONCE,
        Self::CANCELLED_WHILE_CHARGED,
        Self::CANCELLED_WHEN_PAID,
        Self::DECLINED_THEN_CANCELLED,
        Self::PENDING_THEN_CANCELLED,
    ];

    /// The same, but cancelled sooner or later if it is cancelled, so that it meets every step.
    #[must_use]
    pub fn cancelled_at_random(mut self, random: &mut super::Random) -> Self {
        if let Some(after) = &mut self.cancel_after {
            let most = [400, 5_000, 600_000][random.below(3)];
            *after = random.millis(most);
        }
        self
    }
}

/// What one history is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Who wants what.
    pub scenarios: Vec<Scenario>,
    /// What goes wrong while faults last.
    pub faults: Faults,
    /// For how long faults last, in milliseconds.
    pub faults_last: i64,
    /// The stream is dead from the beginning for that long, in milliseconds.
    pub stream_dead: i64,
    /// The partner is out from the beginning for that long, in milliseconds.
    pub partner_out: i64,
    /// How long the partner remembers an idempotency key, in milliseconds.
    pub partner_memory: i64,
    /// Kill whoever comes to these effects, counted from 1.
    pub crash_at: Vec<u64>,
    /// Let Lambda end whoever comes to these effects, once they are carried out.
    pub timeout_at: Vec<u64>,
    /// Carry these effects out and lose their answers.
    pub lost_answer_at: Vec<u64>,
    /// How wrong the instances' clocks are, in milliseconds.
    pub skews: [i64; 3],
    /// The real client that charges, over a wire to its double; `None` for the abstract partner.
    pub partner: Option<PartnerName>,
    /// The real client that ships, over a wire to its double; `None` for the abstract carrier.
    pub carrier: Option<RealCarrier>,
    /// Print every effect.
    pub trace: bool,
}

impl Plan {
    /// One order in a world without faults.
    #[must_use]
    pub fn calm(scenario: Scenario) -> Self {
        Self {
            seed: 1,
            scenarios: vec![scenario],
            faults: Faults::default(),
            faults_last: 0,
            stream_dead: 0,
            partner_out: 0,
            partner_memory: PARTNER_MEMORY,
            crash_at: Vec::new(),
            timeout_at: Vec::new(),
            lost_answer_at: Vec::new(),
            skews: [0; 3],
            partner: None,
            carrier: None,
            trace: false,
        }
    }
}

/// Random plans, one a seed.
#[derive(Clone, Copy, Debug)]
pub struct Histories;

impl Histories {
    /// The plan of that seed.
    #[must_use]
    pub fn plan(seed: u64) -> Plan {
        let mut random = super::Random::new(seed ^ 0x5eed);
        let orders = 1 + random.below(4);
        let scenarios = (0..orders)
            .map(|_| {
                let scenario = Scenario::ALL[random.below(Scenario::ALL.len())].clone();
                scenario.cancelled_at_random(&mut random)
            })
            .collect();
        // Each kind of fault is absent in half of the histories, so that the others show.
        let mut rate = |most: usize| -> u32 {
            if random.chance(500) {
                0
            } else {
                u32::try_from(random.below(most)).unwrap_or(0)
            }
        };
        let faults = Faults {
            crash: rate(60),
            freeze: rate(40),
            timeout: rate(40),
            lost_request: rate(80),
            lost_answer: rate(80),
            throttle: rate(80),
            conflict: rate(300),
            duplicate: rate(300),
            vanish: rate(200),
            delay: rate(300),
            replay: rate(100),
        };
        let hours = |random: &mut super::Random, permille, hours: i64| {
            if random.chance(permille) {
                hours * 3_600_000
            } else {
                0
            }
        };
        let forgets = random.chance(300);
        let skewed = random.chance(500);
        Plan {
            seed,
            scenarios,
            faults,
            faults_last: random.millis(3_600_000),
            stream_dead: hours(&mut random, 150, 25),
            partner_out: hours(&mut random, 100, 30),
            partner_memory: if forgets { 0 } else { PARTNER_MEMORY },
            crash_at: Vec::new(),
            timeout_at: Vec::new(),
            lost_answer_at: Vec::new(),
            skews: if skewed {
                Scenario::CLOCKS_APART
            } else {
                [0; 3]
            },
            partner: None,
            carrier: None,
            trace: false,
        }
    }
}

type Instance = Services<Partner, Shipper, Outside, Outside>;

/// What a task was started for.
#[derive(Clone, Debug)]
enum Purpose {
    Request { client: usize, wish: Wish },
    Batch { queue: Queue, ids: Vec<u64> },
    Relay { from: usize, numbers: Vec<String> },
    Sweep,
}

enum Outcome {
    Reply(Reply),
    Failures(Vec<String>),
    Swept,
}

struct Task {
    purpose: Purpose,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    woken: Arc<Woken>,
    frozen_until: Option<i64>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One POST that a client makes.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    path: &'static str,
    key: String,
    body: Value,
}

/// A client that places one order.
pub(super) struct Client {
    scenario: Scenario,
    number: usize,
    wishes: VecDeque<Wish>,
    declines: u32,
    next_at: i64,
    busy: u32,
    failures: u32,
    /// The order, once its cart was answered.
    pub(super) order: Option<String>,
    /// Answers that were for good, by path and key.
    pub(super) answers: BTreeMap<(String, String), (u64, String)>,
    /// Two answers to the same wish that differ.
    pub(super) contradictions: Vec<String>,
}

impl Client {
    fn new(number: usize, scenario: &Scenario) -> Self {
        let mut client = Self {
            scenario: scenario.clone(),
            number,
            wishes: VecDeque::new(),
            declines: 0,
            next_at: START,
            busy: 0,
            failures: 0,
            order: None,
            answers: BTreeMap::new(),
            contradictions: Vec::new(),
        };
        let body = client.cart(2);
        client.wish("/api/order/cart.json", body);
        client
    }

    fn wish(&mut self, path: &'static str, body: Value) {
        let key = format!("client-{}-{}-{}", self.number, path, self.answers.len());
        self.wishes.push_back(Wish { path, key, body });
    }

    /// Whether this client cancels its order.
    pub(super) fn wants_cancelled(&self) -> bool {
        self.scenario.cancel_after.is_some()
    }

    fn email(&self) -> String {
        format!("customer-{}@example.com", self.number)
    }

    fn cart(&self, quantity: u32) -> Value {
        let mut cart = json!({
            "customerId": self.scenario.customer,
            "items": [{"productId": "1234", "quantity": quantity, "price": 50 + self.number}]
        });
        if self.scenario.checkout {
            cart["checkout"] = json!({
                "name": "Lital Hay", "phone": "0545870006", "email": self.email(),
                "shipping_address": ADDRESS
            });
        }
        cart
    }

    /// Plans what comes after the answer to `wish`.
    fn answered(&mut self, wish: &Wish, reply: &Reply, now: i64) {
        let body = &reply.body;
        match wish.path {
            "/api/order/cart.json" if self.order.is_none() => {
                let order = body["orderId"].as_str().unwrap_or_default().to_owned();
                self.order = Some(order.clone());
                if let Some(after) = self.scenario.cancel_after {
                    let cancel = json!({
                        "customerId": self.scenario.customer, "orderId": order,
                        "reason": "changed my mind"
                    });
                    self.wish("/api/order/cancel.json", cancel);
                    self.next_at = now + after;
                }
                if self.scenario.update {
                    let mut update = self.cart(3);
                    update["orderId"] = order.into();
                    self.wish("/api/order/cart.json", update);
                } else {
                    self.want_invoice(body);
                }
            }
            "/api/order/cart.json" => self.want_invoice(body),
            "/api/order/invoice.json" => {
                let payment = json!({
                    "customerId": self.scenario.customer,
                    "invoiceId": body["invoiceId"],
                    "totalAmount": body["totalAmount"]
                });
                self.wish("/api/order/payment.json", payment);
            }
            "/api/order/payment.json"
                if reply.status == 402 && self.declines < self.scenario.retries_after_decline =>
            {
                self.declines += 1;
                self.wish("/api/order/payment.json", wish.body.clone());
            }
            "/api/order/payment.json" if reply.status == 402 => {}
            "/api/order/payment.json" => {
                let shipping = json!({
                    "orderId": self.order, "name": "Lital Hay", "phone": "0545870006",
                    "shipping_address": ADDRESS
                });
                self.wish("/api/order/shipping.json", shipping);
            }
            _ => {}
        }
    }

    fn want_invoice(&mut self, cart: &Value) {
        if !self.scenario.explicit {
            return;
        }
        let invoice = json!({
            "customerId": self.scenario.customer, "orderId": cart["orderId"],
            "tax": cart["tax"], "subTotalAmount": cart["subTotalAmount"],
            "totalAmount": cart["totalAmount"], "currency": "USD", "items": cart["items"],
            "name": "Lital Hay", "phone": "0545870006", "email": self.email(),
            "shipping_address": ADDRESS
        });
        self.wish("/api/order/invoice.json", invoice);
    }
}

/// One history as it unfolds.
pub struct Simulation {
    plan: Plan,
    world: World,
    double: Double,
    depot: Depot,
    instances: Vec<Arc<Instance>>,
    honest: Instance,
    pub(super) store: Store,
    engine: Engine,
    stream: StreamReader,
    /// When each record was written.
    record_times: Vec<i64>,
    records: Vec<Value>,
    relayed: usize,
    /// After how many events, and when, the stream was read last.
    read_at: (u64, i64),
    tasks: Vec<Task>,
    clients: Vec<Client>,
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
            state.partner_out_until = START + plan.partner_out;
            state.partner_memory = plan.partner_memory;
        }
        let engine = engine_with_tables();
        let double = Double::new(plan.partner, &world.runtime(0));
        let depot = Depot::new(plan.carrier);
        let shop = Options::default().shop();
        let instance = |skew: i64| {
            let runtime = world.runtime(skew);
            let store = Store::new(client(&engine, &world), Database::tables(), runtime.clone());
            let outside = || Outside(world.clone());
            let ends = Ends {
                partner: double.client(&world, &runtime),
                carrier: depot.client(&world),
                queues: outside(),
                mailer: outside(),
                certificates: Front::new(Arc::new(PayPalCertificates)),
            };
            Arc::new(Services::new(&store, shop, &runtime, ends))
        };
        let instances = plan.skews.iter().map(|skew| instance(*skew)).collect();
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
        let honest = Services::new(&store, shop, &runtime, ends);
        let clients = plan
            .scenarios
            .iter()
            .enumerate()
            .map(|(number, each)| Client::new(number, each));
        Self {
            clients: clients.collect(),
            double,
            depot,
            world,
            instances,
            honest,
            store,
            stream: StreamReader::new(engine.clone()),
            engine,
            record_times: Vec::new(),
            records: Vec::new(),
            relayed: 0,
            read_at: (0, START),
            tasks: Vec::new(),
            next_sweep: START + 60_000,
            plan,
        }
    }

    /// Sends one event to the API while all goes wrong as the plan says; returns the answer, how many
    /// effects it took, and how many items the tables hold afterwards.
    pub async fn send_once(&self, event: &Value) -> (Reply, u64, usize) {
        let reply = self.instances[0].send(event).await;
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
        let moved = charges.map(|(reference, charge)| (reference, charge.captures, charge.refunds));
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
            if !self.step().await && !self.jump().await {
                let effects = self.world.state().effects;
                let answers = self.answers().await;
                let books = Books {
                    charges: self.double.charges(&self.world),
                    labels: self.depot.labels(&self.world),
                };
                check(&self.world, &self.store, &self.clients, &answers, &books).await?;
                return Ok(effects);
            }
        }
        Err(Violation::Endless)
    }

    /// Every customer agrees to be charged, before anything goes wrong.
    async fn agree(&self) {
        for scenario in &self.plan.scenarios {
            if let Some(body) = self.double.agreement(scenario.customer) {
                let reply = self
                    .honest
                    .send(&request("/api/customer/billing.json", &body))
                    .await;
                assert_eq!(reply.status, 201, "{}", reply.text);
            }
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
        self.start_what_is_due();
        let now = self.world.now();
        let runnable: Vec<usize> = (0..self.tasks.len())
            .filter(|index| {
                let task = &self.tasks[*index];
                task.woken.0.load(Ordering::SeqCst)
                    && task.frozen_until.is_none_or(|until| until <= now)
            })
            .collect();
        if runnable.is_empty() {
            if self
                .tasks
                .iter()
                .any(|task| !task.woken.0.load(Ordering::SeqCst))
            {
                // Somebody pauses before another try: tokio's clock is virtual and jumps there.
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                return self
                    .tasks
                    .iter()
                    .any(|task| task.woken.0.load(Ordering::SeqCst));
            }
            return false;
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

    fn poll(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.frozen_until = None;
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&task.woken));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (is_killed, timed_out, frozen_until) = {
            let mut state = self.world.state();
            (
                std::mem::take(&mut state.killed),
                std::mem::take(&mut state.timed_out),
                state.frozen_until.take(),
            )
        };
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
            frozen_until: None,
        });
    }

    fn instance(&self) -> Arc<Instance> {
        let pick = self.world.state().random.below(self.instances.len());
        Arc::clone(&self.instances[pick])
    }

    fn start_what_is_due(&mut self) {
        let now = self.world.now();
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            if client.busy == 0 && client.next_at <= now && !client.wishes.is_empty() {
                self.start_request(number);
                // Some clients are impatient and send the same twice.
                let twice = self.plan.faults_last > 0 && self.world.state().random.chance(100);
                if twice {
                    self.start_request(number);
                }
            }
        }
        for queue in [
            Queue::Billing,
            Queue::Payment,
            Queue::Shipping,
            Queue::Email,
        ] {
            if self.tasks.len() < 12 {
                self.start_batch(queue, now);
            }
        }
        self.start_relay(now);
        if self.next_sweep <= now {
            self.next_sweep = now + 60_000;
            let instance = self.instance();
            self.start(Purpose::Sweep, async move {
                instance.relay.sweep().await;
                Outcome::Swept
            });
        }
    }

    fn start_request(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(wish) = client.wishes.front().cloned() else {
            return;
        };
        client.busy += 1;
        let mut event = request(wish.path, &wish.body);
        event["headers"]["idempotency-key"] = wish.key.as_str().into();
        let instance = self.instance();
        let purpose = Purpose::Request {
            client: number,
            wish,
        };
        self.start(purpose, async move {
            Outcome::Reply(instance.send(&event).await)
        });
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
        let instance = self.instance();
        self.start(Purpose::Batch { queue, ids }, async move {
            Outcome::Failures(instance.deliver_batch(queue, &batch(&bodies)).await)
        });
    }

    fn start_relay(&mut self, now: i64) {
        let is_relaying = self
            .tasks
            .iter()
            .any(|task| matches!(task.purpose, Purpose::Relay { .. }));
        let is_dead = now < START + self.plan.stream_dead;
        // A dead stream is looked at too, to know how old its records are, but not all the time.
        let is_worth_a_look = if is_dead {
            now >= self.read_at.1 + 3_600_000
        } else {
            !is_relaying
        };
        let events = self.world.state().events;
        if is_worth_a_look && self.read_at.0 != events {
            self.read_at = (events, now);
            let mut fresh = self.stream.read_new();
            // As the mapping's filter does.
            fresh.retain(carries_event);
            self.record_times.extend(fresh.iter().map(|_| now));
            self.records.extend(fresh);
        }
        if is_dead || is_relaying {
            return;
        }
        // What is older than a day is gone.
        while self.relayed < self.records.len()
            && now - self.record_times[self.relayed] > STREAM_RETENTION
        {
            self.relayed += 1;
        }
        if self.relayed >= self.records.len() {
            return;
        }
        let most = 1 + self.world.state().random.below(10);
        let from = self.relayed;
        let to = self.records.len().min(from + most);
        let records = self.records[from..to].to_vec();
        let number = |record: &Value| {
            record["dynamodb"]["SequenceNumber"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let numbers = records.iter().map(number).collect();
        let instance = self.instance();
        self.start(Purpose::Relay { from, numbers }, async move {
            Outcome::Failures(instance.relay_records(&records).await)
        });
    }

    /// What follows from the end of a task; `None` when it was killed or its answer lost.
    fn ended(&mut self, purpose: &Purpose, outcome: Option<Outcome>) {
        let now = self.world.now();
        match (purpose, outcome) {
            (Purpose::Request { client, wish }, outcome) => {
                let reply = match outcome {
                    Some(Outcome::Reply(reply)) => Some(reply),
                    _ => None,
                };
                self.replied(*client, wish, reply.as_ref(), now);
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
            (Purpose::Relay { from, numbers }, Some(Outcome::Failures(failures))) => {
                let first = numbers.iter().position(|number| failures.contains(number));
                self.relayed = from + first.unwrap_or(numbers.len());
                let mut state = self.world.state();
                let replay = state.faults.replay;
                if state.random.chance(replay) {
                    let back = state.random.below(10);
                    self.relayed = self.relayed.saturating_sub(back);
                }
            }
            _ => {}
        }
    }

    fn replied(&mut self, number: usize, wish: &Wish, reply: Option<&Reply>, now: i64) {
        let pause = self.world.state().random.millis(5_000);
        let client = &mut self.clients[number];
        client.busy -= 1;
        // Longer with each failure, up to an hour.
        client.failures += 1;
        client.next_at = now + pause + (1_000 << client.failures.min(12)).min(3_600_000);
        let Some(reply) = reply else { return };
        self.world
            .note(|| format!("  answer {} {} {}", wish.path, reply.status, reply.text));
        let is_final = reply.status < 300
            || (reply.status == 402 && reply.code() == "payment_declined")
            // A checkout may be invoiced before its cart could be updated.
            || (reply.status == 409 && reply.code() == "wrong_state");
        if is_final {
            client.failures = 0;
            client.next_at = now + 1_000 + pause;
            let place = (wish.path.to_owned(), wish.key.clone());
            let answer = (reply.status, reply.text.clone());
            if client
                .wishes
                .front()
                .is_some_and(|front| front.key == wish.key)
            {
                client.wishes.pop_front();
            }
            match client.answers.get(&place) {
                // Why something is refused may change with the order.
                Some(first) if *first != answer && reply.status != 409 => {
                    client
                        .contradictions
                        .push(format!("{place:?}: {first:?} then {answer:?}"));
                }
                Some(_) => {}
                None => {
                    client.answers.insert(place, answer);
                    client.answered(wish, reply, now);
                    // Every answer is asked for once more, late: a repeat gets the same.
                    client.wishes.push_back(wish.clone());
                }
            }
        } else if reply.status < 500 && reply.code() != "in_progress" {
            // Pending, or the customer must act: the chain goes on without this client.
            if matches!(reply.code(), "payment_pending" | "payment_action_required") {
                client.wishes.clear();
            } else {
                client
                    .contradictions
                    .push(format!("refused: {wish:?} {}", reply.text));
                client.wishes.clear();
            }
        }
    }

    /// Lets time pass up to the next thing that can happen; false when nothing ever will.
    async fn jump(&mut self) -> bool {
        let now = self.world.now();
        let mut next: Vec<i64> = Vec::new();
        next.extend(self.tasks.iter().filter_map(|task| task.frozen_until));
        next.extend(
            self.clients
                .iter()
                .filter(|client| !client.wishes.is_empty())
                .map(|client| client.next_at),
        );
        next.extend(
            self.world
                .state()
                .queues
                .values()
                .flatten()
                .map(|message| message.visible_at),
        );
        if now < START + self.plan.stream_dead {
            next.push(START + self.plan.stream_dead);
        }
        let mut first_due = i64::MAX;
        for client in &self.clients {
            let Some(order) = &client.order else { continue };
            let id = order.parse_id();
            if let Ok(Some(order)) = self.store.order(&id).await
                && let Some(due) = order.due
                && !is_parked(&order)
            {
                first_due = first_due.min(due.at.millis());
            }
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
}

/// Whether only the customer can bring the order on; it is looked at again for ever.
fn is_parked(order: &shared::domain::Order) -> bool {
    use shared::domain::ChargeState;
    order.customer.as_str() == "must-act"
        && order
            .payment
            .as_ref()
            .is_some_and(|payment| payment.state == ChargeState::ActionRequired)
        && order.due.is_some_and(|due| due.tries >= 3)
}

trait ParseId {
    fn parse_id(&self) -> shared::domain::OrderId;
}

impl ParseId for String {
    fn parse_id(&self) -> shared::domain::OrderId {
        shared::domain::OrderId::parse(self).expect("an answered cart names an order of ours")
    }
}
