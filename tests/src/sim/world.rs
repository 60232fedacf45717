//! The state that all tasks share: clock, random numbers, faults, and the ledgers of the external
//! services.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use domain::{Currency, DisputeState, Money, PartnerName, RefundName, Timestamp};
use messages::queue::Queue;
use payment::partners::{ChargeStatus, RefundStatus};
use platform::runtime::Runtime;
use rust_decimal::Decimal;
use serde_json::Value;
use shipment::carriers::Label;

use super::Random;
use crate::cloud::START;

/// The rates of all faults, in permille of the effects; all zero is a world without faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The process is killed before the effect.
    pub crash: u32,
    /// The process is frozen for up to ten minutes before the effect.
    pub freeze: u32,
    /// The effect is carried out, but its answer never arrives, and Lambda ends the function.
    pub timeout: u32,
    /// A request is lost before it arrives.
    pub lost_request: u32,
    /// How many of the lost requests still arrive, up to ten minutes after their callers gave up.
    pub late: u32,
    /// An answer is lost after the effect was carried out.
    pub lost_answer: u32,
    /// AWS or a partner throttles the request.
    pub throttle: u32,
    /// DynamoDB answers `TransactionConflict`.
    pub conflict: u32,
    /// A message is stored twice.
    pub duplicate: u32,
    /// An accepted message is lost.
    pub vanish: u32,
    /// A message is delivered late, by up to ten minutes.
    pub delay: u32,
    /// The relay's checkpoint falls back, so that records are delivered again.
    pub replay: u32,
    /// The mapping gives up a batch of the stream after a failure.
    pub give_up: u32,
}

/// The fate of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    RequestLost,
    AnswerLost,
    Throttled,
}

/// How a task ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Killed before its effect.
    Killed,
    /// Ended by Lambda after its effect.
    TimedOut,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) id: u64,
    pub(super) body: String,
    pub(super) visible_at: i64,
    pub(super) receives: u32,
}

/// A charge at the partner.
#[derive(Clone, Debug)]
pub(super) struct LedgerCharge {
    /// The protocol of the abstract partner that holds it.
    pub(super) protocol: Protocol,
    pub(super) invoice: String,
    pub(super) amount: Money,
    pub(super) currency: Currency,
    /// The payment method that it was opened with, until a decline detaches it.
    pub(super) method: Option<String>,
    pub(super) opened_at: i64,
    pub(super) status: ChargeStatus,
    /// When the status changes, and to which one.
    pub(super) settles: Option<(i64, ChargeStatus)>,
    /// The number of captures; more than one is a bug of the partner, and would be one of this
    /// service.
    pub(super) captures: u32,
    /// All refunds, whoever made them.
    pub(super) refunds: Vec<LedgerRefund>,
    /// The refused refunds, with the reasons.
    pub(super) refused: Vec<(RefundName, &'static str)>,
}

/// A refund in the abstract partner's books.
#[derive(Clone, Debug)]
pub(super) struct LedgerRefund {
    pub(super) name: RefundName,
    pub(super) amount: Decimal,
    pub(super) status: RefundStatus,
    /// Whether a person made it in the partner's dashboard.
    pub(super) by_hand: bool,
}

/// A dispute of a whole charge.
#[derive(Clone, Debug)]
pub(super) struct LedgerDispute {
    pub(super) invoice: String,
    pub(super) reference: String,
    pub(super) state: DisputeState,
    pub(super) since: i64,
}

/// News that the partner always reports by webhook.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Refunds of this invoice's charge.
    Refund(String),
    /// The dispute with this ID.
    Dispute(String),
}

/// A capture by the partner with a payment method.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub(super) invoice: String,
    pub(super) method: String,
    /// When the function that requested it began. A method that the customer revoked before that
    /// must not be charged.
    pub(super) asked_since: i64,
}

/// A customer's request about being charged.
#[derive(Clone, Debug)]
pub(super) struct Saying {
    /// The partner's name, as in requests.
    pub(super) partner: String,
    /// When another request was answered.
    pub(super) until: Option<i64>,
    /// The method that may be charged until then.
    pub(super) method: Option<String>,
}

impl Saying {
    /// The content of an approval request.
    pub(super) fn of(approval: &Value) -> Self {
        let text = |field: &str| approval[field].as_str().map(str::to_owned);
        Self {
            partner: text("partner").unwrap_or_default(),
            until: None,
            method: text("paymentMethodId"),
        }
    }
}

/// An effect that is carried out although its caller has given up.
pub(super) struct LateArrival {
    pub(super) at: i64,
    pub(super) carry_out: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for LateArrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LateArrival({})", self.at)
    }
}

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Taken {
    /// The key of its row.
    pub(super) id: String,
    pub(super) to: String,
    pub(super) subject: String,
}

/// The protocol of an abstract partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It charges every customer without an agreement.
    Everybody,
    /// Like Stripe: a charge is opened with its payment method, is confirmed once, and can be
    /// cancelled. Until it is cancelled, the customer can pay it on the partner's page.
    Intents,
    /// Like PayPal: each capture names the payment method, and one of them succeeds. A refused
    /// capture leaves the charge open, nothing cancels it, and it expires after three hours.
    Orders,
}

impl Protocol {
    /// The partner with this protocol.
    pub(super) fn partner(self) -> PartnerName {
        match self {
            Self::Everybody => PartnerName::Sandbox,
            Self::Intents => PartnerName::Stripe,
            Self::Orders => PartnerName::PayPal,
        }
    }

    /// Another protocol.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Everybody => Self::Intents,
            Self::Intents => Self::Orders,
            Self::Orders => Self::Everybody,
        }
    }
}

/// A parcel at the carrier.
#[derive(Clone, Debug)]
pub(super) struct LedgerParcel {
    pub(super) order: String,
    /// The address.
    pub(super) address: String,
    /// The label, once it is bought.
    pub(super) label: Option<Label>,
}

/// Whether the indexes contain all new orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexes {
    CaughtUp,
    Behind,
}

/// The books of the external services, and everything on its way.
#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) faults: Faults,
    /// The number of effects so far.
    pub(super) effects: u64,
    /// The orders that writes have named, including refused writes, since [`Stored`] read them.
    ///
    /// [`Stored`]: super::stored::Stored
    pub(super) written: BTreeSet<String>,
    /// The number of writes so far that named a mail, including refused ones.
    pub(super) mail_writes: u64,
    /// The number of writes so far that left an event on an order.
    pub(super) events: u64,
    /// Kills the task before these effects.
    pub(super) crash_at: Vec<u64>,
    /// Lets the task wait at these effects for an answer until Lambda ends it.
    pub(super) timeout_at: Vec<u64>,
    /// Loses the answers of these effects.
    pub(super) lost_answer_at: Vec<u64>,
    /// Loses the requests of these effects and delivers them later.
    pub(super) late_at: Vec<u64>,
    /// Throttles these effects.
    pub(super) throttled_at: Vec<u64>,
    /// How the running task ends before its next effect, if it does.
    pub(super) stopped: Option<Stopped>,
    /// The running task is frozen until then.
    pub(super) frozen_until: Option<i64>,
    pub(super) queues: BTreeMap<Queue, Vec<Queued>>,
    pub(super) dead_letters: Vec<(Queue, String)>,
    next_message: u64,
    /// Charges by reference.
    pub(super) charges: BTreeMap<String, LedgerCharge>,
    /// References by idempotency key, and when the key was first used.
    pub(super) charge_keys: BTreeMap<String, (String, i64)>,
    /// The outcomes of captures by idempotency key, with their times.
    pub(super) capture_keys: BTreeMap<String, (ChargeStatus, i64)>,
    /// How long the partner remembers an idempotency key, in milliseconds.
    pub(super) partner_memory: i64,
    /// Until when the partner is down.
    pub(super) partner_out_until: i64,
    /// Parcels by reference.
    pub(super) parcels: BTreeMap<String, LedgerParcel>,
    /// Accepted mails, and how many times each was accepted.
    pub(super) mails: BTreeMap<Taken, u32>,
    /// The number of refused writes of mails' rows, by body.
    pub(super) refused_mail_writes: BTreeMap<Vec<u8>, u32>,
    /// Until when the mailer accepts nothing.
    pub(super) mailer_out_until: i64,
    /// The queue that accepts no messages, and until when.
    pub(super) queue_out: Option<(Queue, i64)>,
    /// The period in which the database is frozen. Requests that reach it are carried out when it
    /// thaws.
    pub(super) database_frozen: Option<(i64, i64)>,
    /// Whether the indexes contain all new orders.
    pub(super) indexes: Indexes,
    /// Whether the request that is lost now arrives later.
    pub(super) surely_late: bool,
    /// The effects that arrive late.
    pub(super) late: Vec<LateArrival>,
    /// When the running task was started.
    pub(super) task_since: i64,
    /// Whether something may have changed at the partner or the carrier since the last check.
    pub(super) touched: bool,
    /// How often a refund fails days after it succeeded, in permille.
    pub(super) refunds_fail: u32,
    /// How often a refund is pending at first, in permille.
    pub(super) refunds_pend: u32,
    pub(super) news: Vec<News>,
    /// The number of changes to an invoice's charge that this service did not request.
    pub(super) outside: BTreeMap<String, u64>,
    /// How many of those were reported by an acknowledged webhook.
    pub(super) heard: BTreeMap<String, u64>,
    /// Disputes by ID.
    pub(super) disputes: BTreeMap<String, LedgerDispute>,
    /// Charges about which a partner was asked that had not opened them.
    pub(super) misdirected: Vec<String>,
    /// The captures.
    pub(super) takings: Vec<Taking>,
    /// Customers' agreements, oldest first.
    pub(super) sayings: BTreeMap<String, Vec<Saying>>,
    pub(super) trace: bool,
}

impl State {
    /// Notes which orders and whether any mail the body of a write names.
    pub(super) fn note_write(&mut self, body: &[u8]) {
        let body = std::str::from_utf8(body).unwrap_or_default();
        if body.contains(r#""EmailsTable""#) {
            self.mail_writes += 1;
        }
        if body.contains(r#""OrdersTable""#) {
            let ids = body.match_indices("ord_");
            let ids = ids.filter_map(|(at, _)| body.get(at..at + "ord_".len() + 26));
            self.written.extend(ids.map(str::to_owned));
        }
    }

    /// Adds a message to a queue, which delivers it at `visible_at` or later.
    pub(super) fn enqueue(&mut self, queue: Queue, body: String, visible_at: i64) {
        self.next_message += 1;
        let queued = Queued {
            id: self.next_message,
            body,
            visible_at,
            receives: 0,
        };
        self.queues.entry(queue).or_default().push(queued);
    }
}

/// The world that all tasks of one simulation share.
#[derive(Clone, Debug)]
pub struct World {
    now: Arc<AtomicI64>,
    state: Arc<Mutex<State>>,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, trace: bool) -> Self {
        let queues = [
            Queue::Billing,
            Queue::Payment,
            Queue::Shipment,
            Queue::Email,
        ];
        Self {
            now: Arc::new(AtomicI64::new(START)),
            state: Arc::new(Mutex::new(State {
                random: Random::new(seed),
                faults,
                effects: 0,
                written: BTreeSet::new(),
                mail_writes: 0,
                events: 0,
                crash_at: Vec::new(),
                timeout_at: Vec::new(),
                lost_answer_at: Vec::new(),
                late_at: Vec::new(),
                throttled_at: Vec::new(),
                stopped: None,
                frozen_until: None,
                queues: queues
                    .into_iter()
                    .map(|queue| (queue, Vec::new()))
                    .collect(),
                dead_letters: Vec::new(),
                next_message: 0,
                charges: BTreeMap::new(),
                charge_keys: BTreeMap::new(),
                capture_keys: BTreeMap::new(),
                partner_memory: 24 * 3_600_000,
                partner_out_until: 0,
                parcels: BTreeMap::new(),
                mails: BTreeMap::new(),
                refused_mail_writes: BTreeMap::new(),
                mailer_out_until: 0,
                queue_out: None,
                database_frozen: None,
                indexes: Indexes::CaughtUp,
                surely_late: false,
                late: Vec::new(),
                task_since: START,
                touched: false,
                refunds_fail: 0,
                refunds_pend: 0,
                news: Vec::new(),
                outside: BTreeMap::new(),
                heard: BTreeMap::new(),
                disputes: BTreeMap::new(),
                misdirected: Vec::new(),
                takings: Vec::new(),
                sayings: BTreeMap::new(),
                trace,
            })),
        }
    }

    /// Milliseconds since the epoch, by the true clock.
    pub(super) fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, millis: i64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    /// Lets time pass up to that moment.
    pub(super) fn pass_until(&self, millis: i64) {
        self.now.fetch_max(millis, Ordering::SeqCst);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The clock and random bytes of an instance whose clock deviates by `skew` milliseconds.
    pub(super) fn runtime(&self, skew: i64) -> Runtime {
        let (clock, dice) = (self.clone(), self.clone());
        Runtime::new(
            move || Timestamp::from_millis(clock.now() + skew),
            move |bytes| {
                let mut state = dice.state();
                for byte in bytes {
                    *byte = state.random.draw().to_le_bytes()[0];
                }
            },
        )
    }

    /// Loses a request whose caller gives up; it may still arrive.
    pub(super) fn lose(&self, name: &str, carry_out: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let late = state.faults.late;
        let is_planned = std::mem::take(&mut state.surely_late);
        if is_planned || state.random.chance(late) {
            let at = self.now() + state.random.millis(600_000);
            let name = name.to_owned();
            drop(state);
            self.arrive_at(at, name, carry_out);
        }
    }

    /// Carries something out at that time, even if its caller no longer waits.
    pub(super) fn arrive_at(
        &self,
        at: i64,
        name: String,
        carry_out: impl FnOnce() + Send + 'static,
    ) {
        let (world, task_since) = (self.clone(), self.state().task_since);
        let carry_out = Box::new(move || {
            world.note(|| format!("  late: {name}"));
            world.state().task_since = task_since;
            carry_out();
        });
        self.state().late.push(LateArrival { at, carry_out });
    }

    /// Carries out everything that has become due; returns whether there was anything.
    pub(super) fn carry_out_late(&self) -> bool {
        let now = self.now();
        let mut due: Vec<LateArrival> = {
            let mut state = self.state();
            let (due, waiting) = std::mem::take(&mut state.late)
                .into_iter()
                .partition(|late| late.at <= now);
            state.late = waiting;
            due
        };
        due.sort_by_key(|late| late.at);
        let any = !due.is_empty();
        for late in due {
            (late.carry_out)();
        }
        any
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let state = self.state();
        if state.trace {
            let (now, effects) = (self.now() - START, state.effects);
            drop(state);
            #[expect(clippy::print_stdout, reason = "a trace that was asked for")]
            {
                println!("{} {effects:>5} {}", Duration(now), text());
            }
        }
    }

    /// Precedes everything that leaves the process: here other tasks may run, and this one may be
    /// frozen or killed. The fate of the effect is drawn once it is reached.
    pub(super) async fn effect(&self, name: &str) -> Fate {
        Yield(false).await;
        let (answer_is_lost, is_late, is_throttled) = {
            let mut state = self.state();
            state.effects += 1;
            let effect = state.effects;
            let faults = state.faults;
            let planned = state.crash_at.contains(&effect);
            let times_out = state.timeout_at.contains(&effect);
            let answer_is_lost = state.lost_answer_at.contains(&effect);
            let is_late = state.late_at.contains(&effect);
            let is_throttled = state.throttled_at.contains(&effect);
            if planned || state.random.chance(faults.crash) {
                state.stopped = Some(Stopped::Killed);
            } else if times_out || state.random.chance(faults.timeout) {
                state.stopped = Some(Stopped::TimedOut);
            } else if state.random.chance(faults.freeze) {
                let until = self.now() + state.random.millis(600_000);
                state.frozen_until = Some(until);
            }
            drop(state);
            self.note(|| name.to_owned());
            (answer_is_lost, is_late, is_throttled)
        };
        // A killed task is dropped here; a frozen one continues when it is woken.
        let is_stopped = {
            let state = self.state();
            state.stopped == Some(Stopped::Killed) || state.frozen_until.is_some()
        };
        if is_stopped {
            Yield(false).await;
        }
        let mut state = self.state();
        let faults = state.faults;
        if state.stopped == Some(Stopped::TimedOut) {
            drop(state);
            self.note(|| format!("  {name}: carried out, and the function timed out"));
            return Fate::Done;
        }
        state.surely_late = is_late;
        let fate = if is_late || state.random.chance(faults.lost_request) {
            Fate::RequestLost
        } else if answer_is_lost || state.random.chance(faults.lost_answer) {
            Fate::AnswerLost
        } else if is_throttled || state.random.chance(faults.throttle) {
            Fate::Throttled
        } else {
            Fate::Done
        };
        drop(state);
        if fate != Fate::Done {
            self.note(|| format!("  {name}: {fate:?}"));
        }
        fate
    }
}

/// Milliseconds, displayed as seconds.
struct Duration(i64);

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// How long a function runs before Lambda ends it: the longest timeout in `template.yaml`, in
/// milliseconds.
pub(super) const FUNCTION_TIMEOUT: i64 = 30_000;

/// Yields to the scheduler.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
