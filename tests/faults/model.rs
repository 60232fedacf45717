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
    /// A declined attempt is not cancelled, and not taken over, before the next one is opened.
    NoCancel,
    /// Whoever finds a reference opens another charge.
    NoLookUp,
}

/// How the partner ends a declined attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partner {
    /// It cancels the attempt's charge, and the next attempt opens another, as at Stripe.
    Cancels,
    /// It cannot. The next attempt goes on with the same charge, unless that one is dead: a charge
    /// expires at any moment, and a decline may be its end. As at PayPal.
    CannotCancel,
}

/// Who plays, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Game {
    partner: Partner,
    flaw: Flaw,
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
    fn next(&self, game: Game) -> Vec<Self> {
        let mut worlds = Vec::new();
        if game.partner == Partner::CannotCancel {
            worlds.extend(self.expire());
        }
        if self.leased {
            worlds.push(self.with(|world| world.leased = false));
        }
        for worker in 0..self.workers.len() {
            let step = self.workers[worker];
            if !matches!(step, Step::Idle | Step::Dead) {
                worlds.push(self.with(|world| world.workers[worker] = Step::Dead));
            }
            worlds.extend(self.act(worker, step, game));
        }
        worlds
    }

    /// Each charge that took no money, dead.
    fn expire(&self) -> Vec<Self> {
        let alive =
            |index: &usize| matches!(self.charges[*index], Charge::Unconfirmed | Charge::Declined);
        let dead = |index| self.with(|world| world.charges[index] = Charge::Cancelled);
        (0..self.charges.len()).filter(alive).map(dead).collect()
    }

    fn act(&self, worker: usize, step: Step, game: Game) -> Vec<Self> {
        let flaw = game.flaw;
        match step {
            Step::Idle | Step::Dead => self.claim(worker),
            Step::Claimed { fence, reference } => {
                self.look_up_or_open(worker, fence, reference, game)
            }
            Step::Opened { fence, charge } if flaw == Flaw::ConfirmBeforeStoring => {
                self.confirm(worker, fence, charge, game)
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
            Step::Stored { fence, charge } => self.confirm(worker, fence, charge, game),
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
        .chain(self.retry(worker, step, game))
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

    /// An explicit request after a decline: cancel or take over, then claim the next attempt.
    fn retry(&self, worker: usize, step: Step, game: Game) -> Vec<Self> {
        let is_free = matches!(step, Step::Idle | Step::Dead);
        if !is_free
            || self.state != State::Declined
            || self.retries_left == 0
            || self.fence >= MAX_FENCE
        {
            return Vec::new();
        }
        let mut world = self.clone();
        let mut reference = None;
        if game.flaw != Flaw::NoCancel
            && let Some(old) = world.reference
        {
            let charge = &mut world.charges[usize::from(old)];
            match (game.partner, *charge) {
                // It took the money after all: the next attempt finds it.
                (_, Charge::Captured) => reference = Some(old),
                (_, Charge::Cancelled) => {}
                (Partner::Cancels, _) => *charge = Charge::Cancelled,
                (Partner::CannotCancel, _) => reference = Some(old),
            }
        }
        world.retries_left -= 1;
        world.attempt += 1;
        world.state = State::Due;
        world.reference = reference;
        world.fence += 1;
        world.leased = true;
        world.workers[worker] = Step::Claimed {
            fence: world.fence,
            reference,
        };
        vec![world]
    }

    fn look_up_or_open(
        &self,
        worker: usize,
        fence: u8,
        reference: Option<u8>,
        game: Game,
    ) -> Vec<Self> {
        if let Some(charge) = reference.filter(|_| game.flaw != Flaw::NoLookUp) {
            return vec![self.with(|world| {
                world.workers[worker] = match (world.charges[usize::from(charge)], game.partner) {
                    (Charge::Unconfirmed, _) => Step::Stored { fence, charge },
                    // What it refused once, it may still take.
                    (Charge::Declined, Partner::CannotCancel) => Step::Stored { fence, charge },
                    (outcome, _) => Step::Knows { fence, outcome },
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
    fn confirm(&self, worker: usize, fence: u8, charge: u8, game: Game) -> Vec<Self> {
        let index = usize::from(charge);
        let may_decline = self.declines_left > 0;
        let outcomes: &[Charge] = match self.charges[index] {
            Charge::Captured => &[Charge::Captured],
            Charge::Cancelled => &[Charge::Cancelled],
            Charge::Unconfirmed | Charge::Declined => match (game.partner, may_decline) {
                (_, false) => &[Charge::Captured],
                (Partner::Cancels, true) => &[Charge::Captured, Charge::Declined],
                (Partner::CannotCancel, true) => {
                    &[Charge::Captured, Charge::Declined, Charge::Cancelled]
                }
            },
        };
        let worlds = outcomes.iter().map(|outcome| {
            self.with(|world| {
                let is_refusal = matches!(outcome, Charge::Declined | Charge::Cancelled);
                let was_alive = self.charges[index] != Charge::Cancelled;
                world.declines_left -= u8::from(is_refusal && was_alive);
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
fn search(game: Game) -> Result<usize, World> {
    let mut seen = BTreeSet::from([World::start()]);
    let mut open = VecDeque::from([World::start()]);
    while let Some(world) = open.pop_front() {
        if world.captured() > 1 {
            return Err(world);
        }
        for next in world.next(game) {
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

const PARTNERS: [Partner; 2] = [Partner::Cancels, Partner::CannotCancel];

#[test]
fn no_order_of_steps_charges_twice() {
    for partner in PARTNERS {
        let flaw = Flaw::None;
        let worlds = search(Game { partner, flaw }).unwrap();
        println!("{worlds} worlds where the partner {partner:?}");
        assert!(worlds > 1_000, "the search is not trivial: {worlds}");
    }
}

#[test]
fn the_search_notices_what_the_protocol_needs() {
    for partner in PARTNERS {
        for flaw in [
            Flaw::ConfirmBeforeStoring,
            Flaw::NoCancel,
            Flaw::NoLookUp,
            Flaw::NoFence,
        ] {
            let found = search(Game { partner, flaw });
            assert!(found.is_err(), "{flaw:?} was not noticed where {partner:?}");
        }
    }
}
