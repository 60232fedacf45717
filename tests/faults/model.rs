//! Claim, lease and fence, as small as they can be, searched exhaustively.
//!
//! Two workers and one explicit retry meet at one invoice. A lease can end at any moment, a worker
//! can stand still or die at any moment, and the partner may decline. Every order of the steps is
//! tried; what the real code does at each step is what `payment` and `store::payments` do.

use std::collections::{BTreeSet, VecDeque};

/// What is left out of the protocol, to show that the search would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Writes do not name the fence they were made under.
    NoFence,
    /// The charge is confirmed before its reference is stored.
    ConfirmBeforeStoring,
    /// A declined attempt is not cancelled before the next one is opened.
    NoCancel,
    /// Whoever finds a reference opens another charge.
    NoLookUp,
}

/// Where a charge stands at the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Charge {
    Unconfirmed,
    Captured,
    Declined,
    Cancelled,
}

/// The stored payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Due,
    Declined,
    Paid,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Idle,
    /// Holds a claim under this fence; knows this reference, if one was stored.
    Claimed {
        fence: u8,
        reference: Option<u8>,
    },
    /// Has opened this charge.
    Opened {
        fence: u8,
        charge: u8,
    },
    /// Is about to confirm a charge whose reference is stored.
    Stored {
        fence: u8,
        charge: u8,
    },
    /// Knows what became of the charge.
    Knows {
        fence: u8,
        outcome: Charge,
    },
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    state: State,
    fence: u8,
    leased: bool,
    attempt: u8,
    reference: Option<u8>,
    charges: Vec<Charge>,
    workers: [Step; 2],
    retries_left: u8,
    declines_left: u8,
}

const MAX_CHARGES: usize = 5;
const MAX_FENCE: u8 = 5;

impl World {
    fn start() -> Self {
        Self {
            state: State::Due,
            fence: 0,
            leased: false,
            attempt: 1,
            reference: None,
            charges: Vec::new(),
            workers: [Step::Idle; 2],
            retries_left: 1,
            declines_left: 1,
        }
    }

    fn captured(&self) -> usize {
        self.charges
            .iter()
            .filter(|charge| **charge == Charge::Captured)
            .count()
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    /// Every world that one step leads to.
    fn next(&self, flaw: Flaw) -> Vec<Self> {
        let mut worlds = Vec::new();
        if self.leased {
            worlds.push(self.with(|world| world.leased = false));
        }
        for worker in 0..self.workers.len() {
            let step = self.workers[worker];
            if !matches!(step, Step::Idle | Step::Dead) {
                worlds.push(self.with(|world| world.workers[worker] = Step::Dead));
            }
            worlds.extend(self.act(worker, step, flaw));
        }
        worlds
    }

    fn act(&self, worker: usize, step: Step, flaw: Flaw) -> Vec<Self> {
        match step {
            Step::Idle | Step::Dead => self.claim(worker),
            Step::Claimed { fence, reference } => {
                self.look_up_or_open(worker, fence, reference, flaw)
            }
            Step::Opened { fence, charge } if flaw == Flaw::ConfirmBeforeStoring => {
                self.confirm(worker, fence, charge)
            }
            Step::Opened { fence, charge } => {
                let holds = fence == self.fence || flaw == Flaw::NoFence;
                vec![self.with(|world| {
                    if holds && world.state == State::Due {
                        world.reference = Some(charge);
                        world.workers[worker] = Step::Stored { fence, charge };
                    } else {
                        world.workers[worker] = Step::Idle;
                    }
                })]
            }
            Step::Stored { fence, charge } => self.confirm(worker, fence, charge),
            Step::Knows { fence, outcome } => vec![self.with(|world| {
                world.workers[worker] = Step::Idle;
                let holds = fence == world.fence || flaw == Flaw::NoFence;
                if !holds || world.state != State::Due {
                    return;
                }
                world.leased = false;
                world.state = match outcome {
                    Charge::Captured => State::Paid,
                    _ => State::Declined,
                };
            })],
        }
        .into_iter()
        .chain(self.retry(worker, step, flaw))
        .collect()
    }

    fn claim(&self, worker: usize) -> Vec<Self> {
        if self.state != State::Due || self.leased || self.fence >= MAX_FENCE {
            return Vec::new();
        }
        vec![self.with(|world| {
            world.fence += 1;
            world.leased = true;
            world.workers[worker] = Step::Claimed {
                fence: world.fence,
                reference: world.reference,
            };
        })]
    }

    /// An explicit request after a decline: cancel, then claim the next attempt.
    fn retry(&self, worker: usize, step: Step, flaw: Flaw) -> Vec<Self> {
        let is_free = matches!(step, Step::Idle | Step::Dead);
        if !is_free
            || self.state != State::Declined
            || self.retries_left == 0
            || self.fence >= MAX_FENCE
        {
            return Vec::new();
        }
        let mut world = self.clone();
        if flaw != Flaw::NoCancel
            && let Some(old) = world.reference
        {
            let charge = &mut world.charges[usize::from(old)];
            if *charge == Charge::Captured {
                return Vec::new();
            }
            *charge = Charge::Cancelled;
        }
        world.retries_left -= 1;
        world.attempt += 1;
        world.state = State::Due;
        world.reference = None;
        world.fence += 1;
        world.leased = true;
        world.workers[worker] = Step::Claimed {
            fence: world.fence,
            reference: None,
        };
        vec![world]
    }

    fn look_up_or_open(
        &self,
        worker: usize,
        fence: u8,
        reference: Option<u8>,
        flaw: Flaw,
    ) -> Vec<Self> {
        if let Some(charge) = reference.filter(|_| flaw != Flaw::NoLookUp) {
            return vec![self.with(|world| {
                world.workers[worker] = match world.charges[usize::from(charge)] {
                    Charge::Unconfirmed => Step::Stored { fence, charge },
                    outcome => Step::Knows { fence, outcome },
                };
            })];
        }
        if self.charges.len() >= MAX_CHARGES {
            return Vec::new();
        }
        // The partner may have forgotten the idempotency key: every opening is a new charge.
        vec![self.with(|world| {
            let charge = u8::try_from(world.charges.len()).unwrap();
            world.charges.push(Charge::Unconfirmed);
            world.workers[worker] = Step::Opened { fence, charge };
        })]
    }

    /// The partner's side: a declined charge can be confirmed again unless it was cancelled, as a
    /// `PaymentIntent` can.
    fn confirm(&self, worker: usize, fence: u8, charge: u8) -> Vec<Self> {
        let index = usize::from(charge);
        let outcomes: &[Charge] = match self.charges[index] {
            Charge::Captured => &[Charge::Captured],
            Charge::Cancelled => &[Charge::Cancelled],
            Charge::Unconfirmed | Charge::Declined if self.declines_left > 0 => {
                &[Charge::Captured, Charge::Declined]
            }
            Charge::Unconfirmed | Charge::Declined => &[Charge::Captured],
        };
        let worlds = outcomes.iter().map(|outcome| {
            self.with(|world| {
                world.declines_left -= u8::from(*outcome == Charge::Declined);
                world.charges[index] = *outcome;
                world.workers[worker] = Step::Knows {
                    fence,
                    outcome: *outcome,
                };
            })
        });
        worlds.collect()
    }
}

/// Searches every reachable world; returns how many there are, or one that charges twice.
fn search(flaw: Flaw) -> Result<usize, World> {
    let mut seen = BTreeSet::from([World::start()]);
    let mut open = VecDeque::from([World::start()]);
    while let Some(world) = open.pop_front() {
        if world.captured() > 1 {
            return Err(world);
        }
        for next in world.next(flaw) {
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_order_of_steps_charges_twice() {
    let worlds = search(Flaw::None).unwrap();
    println!("{worlds} worlds");
    assert!(worlds > 1_000, "the search is not trivial: {worlds}");
}

#[test]
fn the_search_notices_what_the_protocol_needs() {
    for flaw in [
        Flaw::ConfirmBeforeStoring,
        Flaw::NoCancel,
        Flaw::NoLookUp,
        Flaw::NoFence,
    ] {
        assert!(search(flaw).is_err(), "{flaw:?} was not noticed");
    }
}
