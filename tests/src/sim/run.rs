//! The scheduler: decides which task runs next, which is killed, and when requests arrive.

mod customers;
mod once;
mod searches;
mod time;
mod webhooks;
mod workers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use domain::OrderId;
use dynoxide::Database as Engine;
use messages::queue::Queue;
use serde_json::json;
use store::Store;

use self::webhooks::Webhook;
use super::carrier::{Depot, Shipper};
use super::client::{Client, Role, Wish};
use super::database::honest_client;
use super::ends::Outside;
use super::fleet::{Fleet, Instance, Lambda};
use super::invariants::{Books, Violation, Watch, check};
use super::partner::{Doubles, Partner};
use super::scenario::Plan;
use super::stored::Stored;
use super::stream::{RelayBatch, Stream};
use super::world::{FUNCTION_TIMEOUT, Faults, Stopped, World};
use crate::cloud::{Options, START};
use crate::database::engine_with_tables;
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Reply, Services};
use crate::{Database, StreamReader};

/// A history that needs more scheduling decisions is stuck.
const MAX_STEPS: u32 = 60_000;

/// The purpose of a task.
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

impl Outcome {
    fn reply(self) -> Option<Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Failures(_) | Self::Swept => None,
        }
    }
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

/// A history in progress.
pub struct Simulation {
    plan: Plan,
    world: World,
    doubles: Doubles,
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
    /// The number of events when the orders were last checked.
    looked_at: u64,
    stored: Stored,
    /// When the first mail is checked next, and the number of writes of mails when this was read.
    mail_due: (u64, Option<i64>),
    /// Whether the operator has redriven the dead letters of partners' hints at the end.
    redriven: bool,
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
            state.refunds_pend = plan.refunds_pend;
            state.refunds_fail = plan.refunds_fail;
        }
        let engine = engine_with_tables();
        let doubles = Doubles::new(&plan, &world.runtime(0));
        let depot = Depot::new(plan.carrier);
        let fleet = Fleet::new(&plan, &engine, &world, &doubles, &depot);
        let runtime = world.runtime(0);
        let store = Store::new(honest_client(&engine), Database::tables(), runtime.clone());
        let calm = || Outside::of(&World::new(0, Faults::default(), false));
        let ends = Ends {
            partners: Partner::Played(calm()).into(),
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
            doubles,
            depot,
            fleet,
            honest,
            stored: Stored::new(&store, &world),
            store,
            stream: Stream::new(StreamReader::new(engine.clone()), plan.relay_shards, START),
            engine,
            watch: Watch::default(),
            tasks: Vec::new(),
            webhooks: Vec::new(),
            told: 0,
            looked_at: 0,
            mail_due: (0, None),
            redriven: false,
            next_sweep: START + 60_000,
            world,
            plan,
        };
        simulation.let_strangers_in();
        simulation
    }

    /// Adds orders that this version cannot read. They are due in each shard of the step `payment`
    /// before all others; half were written by a newer version, and half are damaged.
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

    /// Runs the history to its end; returns the number of its effects.
    ///
    /// # Errors
    ///
    /// The first promise that was broken.
    pub async fn run(mut self) -> Result<u64, Violation> {
        self.agree().await;
        let faults_end = START + self.plan.faults_last.max(self.plan.stream_dead);
        for _ in 0..MAX_STEPS {
            if self.world.now() >= faults_end {
                self.world.state().faults = Faults::default();
            }
            let has_gone_on =
                self.step().await || self.jump().await || self.redrive_hints(faults_end);
            self.look().await?;
            if !has_gone_on {
                let effects = self.world.state().effects;
                let answers = self.answers().await;
                self.search(&answers).await?;
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
        let charges = self.doubles.charges(&self.world);
        Err(Violation::Endless(format!("{waiting:?} {charges:?}")))
    }

    fn books(&self) -> Books {
        Books {
            charges: self.doubles.charges(&self.world),
            labels: self.depot.labels(&self.world),
            invoices: super::database::invoices(&self.engine),
            unconfirmed: super::database::unconfirmed(&self.engine),
        }
    }

    /// Checks the invariants of every step whenever money or a parcel may have moved.
    async fn look(&mut self) -> Result<(), Violation> {
        let events = self.world.state().events;
        if std::mem::replace(&mut self.looked_at, events) != events {
            self.watch
                .look_at_orders(&mut self.stored, &self.clients)
                .await?;
        }
        if !std::mem::take(&mut self.world.state().touched) {
            return Ok(());
        }
        let charges = self.doubles.charges(&self.world);
        let labels = self.depot.labels(&self.world);
        let told = self.watch.look(&mut self.stored, &charges, &labels).await?;
        self.tell_news(&told);
        Ok(())
    }

    /// Starts or continues a task; returns false if no task can run now.
    async fn step(&mut self) -> bool {
        let was_late = self.world.carry_out_late();
        self.start_what_is_due().await;
        let mut runnable = self.runnable();
        if runnable.is_empty() {
            if self.tasks.iter().all(Task::is_woken) {
                return was_late;
            }
            // A task pauses before a retry: tokio's clock is virtual and jumps there.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            runnable = self.runnable();
            if runnable.is_empty() {
                // All remaining tasks are frozen: only a jump in time thaws them.
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

    /// The tasks that can continue now.
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
                // The answer itself can be lost: its caller sees a crash.
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
            self.let_strangers_act(number, now);
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
            if self.may_be_due(now).await {
                let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
                self.start(Purpose::Sweep, async move {
                    instance.relay.sweep().await;
                    Outcome::Swept
                });
            }
        }
    }

    /// Handles the end of a task; `None` if it was killed or its answer was lost.
    fn ended(&mut self, purpose: &Purpose, outcome: Option<Outcome>) {
        match (purpose, outcome) {
            (Purpose::Request { client, role, wish }, outcome) => {
                let reply = outcome.and_then(Outcome::reply);
                self.replied(*client, *role, wish, reply.as_ref());
            }
            (Purpose::Batch { queue, ids }, Some(Outcome::Failures(failures))) => {
                self.settle_batch(*queue, ids, &failures);
            }
            (Purpose::Relay(batch), outcome) => {
                let failures = match &outcome {
                    Some(Outcome::Failures(failures)) => Some(failures.as_slice()),
                    _ => None,
                };
                self.stream.ended(batch, failures, &self.world);
            }
            (Purpose::Webhook(webhook), outcome) => {
                let reply = outcome.and_then(Outcome::reply);
                self.settle_webhook(webhook, reply.as_ref());
            }
            _ => {}
        }
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
