//! What all tasks share: clock, random numbers, faults, and the ledgers of the other side.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use payment::partners::ChargeStatus;
use shared::domain::{Money, Timestamp};
use shared::queue::Queue;
use shared::runtime::Runtime;
use shipment::carriers::Label;

use super::Random;
use crate::cloud::START;

/// How often what goes wrong, in permille of the effects; all zero is a world without faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The process is killed before the effect.
    pub crash: u32,
    /// The process stands still for up to ten minutes before the effect.
    pub freeze: u32,
    /// The effect is carried out, its answer never comes, and Lambda ends the function.
    pub timeout: u32,
    /// A request is lost before it arrives.
    pub lost_request: u32,
    /// An answer is lost after the effect was carried out.
    pub lost_answer: u32,
    /// AWS or a partner asks for less.
    pub throttle: u32,
    /// DynamoDB answers `TransactionConflict`.
    pub conflict: u32,
    /// A message is stored twice.
    pub duplicate: u32,
    /// A message that was accepted vanishes.
    pub vanish: u32,
    /// A message is delivered late, by up to ten minutes.
    pub delay: u32,
    /// The relay's checkpoint falls back, so that records come again.
    pub replay: u32,
}

/// What happens to one effect on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    RequestLost,
    AnswerLost,
    Throttled,
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
    pub(super) invoice: String,
    pub(super) amount: Money,
    pub(super) status: ChargeStatus,
    /// What it becomes once `settles_at` is reached.
    pub(super) settles: Option<(i64, ChargeStatus)>,
    /// How often money was taken; more than once is the partner's own bug, and would be ours.
    pub(super) captures: u32,
    /// How often it was given back.
    pub(super) refunds: u32,
}

/// A parcel at the carrier.
#[derive(Clone, Debug)]
pub(super) struct LedgerParcel {
    pub(super) order: String,
    /// The label, once it was bought.
    pub(super) label: Option<Label>,
}

/// The other side's books, and what is on its way.
#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) faults: Faults,
    /// Effects so far.
    pub(super) effects: u64,
    /// Writes so far that left an event on an order.
    pub(super) events: u64,
    /// Kill whoever comes to these effects.
    pub(super) crash_at: Vec<u64>,
    /// Let whoever comes to these effects wait for their answers until Lambda ends it.
    pub(super) timeout_at: Vec<u64>,
    /// Lose the answers of these effects.
    pub(super) lost_answer_at: Vec<u64>,
    /// Answer these effects with a wish for less.
    pub(super) throttled_at: Vec<u64>,
    /// Lambda ends the task that runs now before its next effect.
    pub(super) timed_out: bool,
    /// The task that runs now was killed.
    pub(super) killed: bool,
    /// The task that runs now stands still until then.
    pub(super) frozen_until: Option<i64>,
    pub(super) queues: BTreeMap<Queue, Vec<Queued>>,
    pub(super) dead_letters: Vec<(Queue, String)>,
    pub(super) next_message: u64,
    /// Charges by reference.
    pub(super) charges: BTreeMap<String, LedgerCharge>,
    /// References by idempotency key, and when the key was first used.
    pub(super) charge_keys: BTreeMap<String, (String, i64)>,
    /// How long the partner remembers an idempotency key, in milliseconds.
    pub(super) partner_memory: i64,
    /// Until when the partner is out.
    pub(super) partner_out_until: i64,
    /// Parcels by reference.
    pub(super) parcels: BTreeMap<String, LedgerParcel>,
    /// Mails taken, by their text's subject and address.
    pub(super) mails: BTreeMap<(String, String), u32>,
    pub(super) trace: bool,
}

/// Shared by all tasks of one simulation.
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
            Queue::Shipping,
            Queue::Email,
        ];
        Self {
            now: Arc::new(AtomicI64::new(START)),
            state: Arc::new(Mutex::new(State {
                random: Random::new(seed),
                faults,
                effects: 0,
                events: 0,
                crash_at: Vec::new(),
                timeout_at: Vec::new(),
                lost_answer_at: Vec::new(),
                throttled_at: Vec::new(),
                timed_out: false,
                killed: false,
                frozen_until: None,
                queues: queues
                    .into_iter()
                    .map(|queue| (queue, Vec::new()))
                    .collect(),
                dead_letters: Vec::new(),
                next_message: 0,
                charges: BTreeMap::new(),
                charge_keys: BTreeMap::new(),
                partner_memory: 24 * 3_600_000,
                partner_out_until: 0,
                parcels: BTreeMap::new(),
                mails: BTreeMap::new(),
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

    /// The clock and random bytes of an instance whose clock is wrong by `skew` milliseconds.
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

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let state = self.state();
        if state.trace {
            let (now, effects) = (self.now() - START, state.effects);
            drop(state);
            #[expect(clippy::print_stdout, reason = "a trace that was asked for")]
            {
                println!("{:>12.3} {effects:>5} {}", Duration(now), text());
            }
        }
    }

    /// Comes before everything that leaves the process: others may run, this task may freeze or be
    /// killed here. What happens to the effect itself is drawn once it is reached.
    pub(super) async fn effect(&self, name: &str) -> Fate {
        Yield(false).await;
        let (answer_is_lost, is_throttled) = {
            let mut state = self.state();
            state.effects += 1;
            let effect = state.effects;
            let faults = state.faults;
            let planned = state.crash_at.contains(&effect);
            let times_out = state.timeout_at.contains(&effect);
            let answer_is_lost = state.lost_answer_at.contains(&effect);
            let is_throttled = state.throttled_at.contains(&effect);
            if planned || state.random.chance(faults.crash) {
                state.killed = true;
            } else if times_out || state.random.chance(faults.timeout) {
                state.timed_out = true;
            } else if state.random.chance(faults.freeze) {
                let until = self.now() + state.random.millis(600_000);
                state.frozen_until = Some(until);
            }
            drop(state);
            self.note(|| name.to_owned());
            (answer_is_lost, is_throttled)
        };
        // A killed task is dropped here; a frozen one goes on when it is woken.
        let is_stopped = {
            let state = self.state();
            state.killed || state.frozen_until.is_some()
        };
        if is_stopped {
            Yield(false).await;
        }
        let mut state = self.state();
        let faults = state.faults;
        if state.timed_out {
            drop(state);
            self.note(|| format!("  {name}: carried out, and the function timed out"));
            return Fate::Done;
        }
        let fate = if state.random.chance(faults.lost_request) {
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

/// Milliseconds, shown as seconds.
struct Duration(i64);

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// How long a function runs before Lambda ends it: as long as the longest of `template.yaml`.
pub(super) const FUNCTION_TIMEOUT: i64 = 30_000;

/// Lets the scheduler decide who goes on.
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
