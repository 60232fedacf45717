//! The service: what `payment` and `store::payments` do, one effect for each step.

use super::partner::Cancelled;
use super::world::{
    Ask, Broken, Claim, Late, Method, Next, Reference, Standing, State, Step, Wish, World,
};
use super::{Flaw, Game, Partner};

impl World {
    /// Every world that this worker's next step leads to.
    pub(super) fn act(&self, worker: usize, game: Game) -> Vec<Self> {
        let step = self.workers[worker];
        let worlds = match step {
            Step::Idle => {
                let starts = self.message(worker, game);
                return starts
                    .into_iter()
                    .chain(self.request(worker, game))
                    .collect();
            }
            Step::LooksAgain => match self.message(worker, game) {
                Some(world) => vec![world],
                None => vec![self.to(worker, Step::Idle)],
            },
            Step::Claimed(claim, reference) => vec![self.charge(worker, claim, reference, game)],
            Step::Opens(claim, method) => vec![self.with(|world| {
                let charge = world.open(method, game);
                world.workers[worker] = Step::Opened(claim, Ask { charge, method });
            })],
            Step::Opened(claim, ask) if game.lacks(Flaw::ConfirmBeforeStoring) => {
                self.confirm(worker, claim, ask, game)
            }
            Step::Opened(claim, ask) | Step::Asks(claim, ask) => {
                vec![self.store_reference(worker, claim, ask, game)]
            }
            Step::ChangesMethod(claim, reference, method) => {
                self.change_method(worker, claim, reference, method, game)
            }
            Step::Confirms(claim, ask) => self.confirm(worker, claim, ask, game),
            Step::Knows(claim, charge, Standing::Declined) => {
                self.close(worker, claim, charge, game)
            }
            Step::Knows(claim, _, Standing::Captured) => {
                vec![self.captured_by(worker, claim, game)]
            }
            Step::Knows(claim, ..) => vec![self.decline(worker, claim, false, game)],
            Step::Declines(claim, is_open) => vec![self.decline(worker, claim, is_open, game)],
            Step::Cancels {
                is_current,
                charge,
                wish,
            } => self.cancel_declined(worker, is_current, charge, wish, game),
            Step::Closes { is_current } => vec![self.with(|world| {
                world.workers[worker] = Step::Idle;
                if world.is_as_declined(is_current, game) {
                    world.order.due = false;
                }
            })],
            Step::TakesUp { is_current, charge } => {
                vec![self.take_up(worker, is_current, charge, game)]
            }
            Step::TriesAgain { is_current, next } => {
                vec![self.claim_next_attempt(worker, is_current, next, game)]
            }
        };
        if matches!(step, Step::Knows(_, _, Standing::Captured)) {
            return worlds.into_iter().map(|it| it.drops(worker)).collect();
        }
        worlds
    }

    /// A worker that knew of a capture must not leave a decline behind.
    fn drops(mut self, worker: usize) -> Self {
        if self.workers[worker] == Step::Idle && self.order.state == State::Declined {
            self.broken = Some(Broken::CaptureDropped);
        }
        self
    }

    fn to(&self, worker: usize, step: Step) -> Self {
        self.with(|world| world.workers[worker] = step)
    }

    /// The condition of `when_claimed`.
    fn holds(&self, claim: Claim, game: Game) -> bool {
        (claim.is_current || game.lacks(Flaw::NoFence)) && self.order.state == State::Due
    }

    /// The condition of `when_declined`.
    fn is_as_declined(&self, is_current: bool, game: Game) -> bool {
        (is_current || game.lacks(Flaw::NoFence)) && self.order.state == State::Declined
    }

    /// `release_payment` with `Confirmation::AsBefore`: what is due stays due.
    fn release(&self, worker: usize, claim: Claim, game: Game) -> Self {
        self.with(|world| {
            world.workers[worker] = Step::Idle;
            if world.holds(claim, game) {
                world.order.leased = false;
            }
        })
    }

    /// `pay` for a message, from the sweep or a webhook, or for a request before any decline.
    fn message(&self, worker: usize, game: Game) -> Option<Self> {
        match self.order.state {
            State::Due if !self.order.leased => Some(self.with(|world| {
                let claim = world.claim();
                world.workers[worker] = Step::Claimed(claim, world.order.reference);
            })),
            State::Declined if !game.lacks(Flaw::NewsIgnored) => {
                let charge = self.order.reference?.charge;
                let step = Step::Cancels {
                    is_current: true,
                    charge,
                    wish: Wish::Message,
                };
                Some(self.to(worker, step))
            }
            State::Due | State::Declined | State::Paid => None,
        }
    }

    /// `start_next_attempt`, for an explicit request after a decline.
    fn request(&self, worker: usize, game: Game) -> Option<Self> {
        if self.order.state != State::Declined || self.left.retries == 0 {
            return None;
        }
        let is_current = true;
        let step = match self.order.reference {
            Some(Reference { charge, .. }) if !game.lacks(Flaw::NoCancel) => Step::Cancels {
                is_current,
                charge,
                wish: Wish::Request,
            },
            _ => Step::TriesAgain {
                is_current,
                next: Next::Another,
            },
        };
        let mut world = self.to(worker, step);
        world.left.retries -= 1;
        Some(world)
    }

    /// `charge`: opens a charge, or looks up the stored one and continues from its standing. It
    /// also reads the agreement.
    fn charge(
        &self,
        worker: usize,
        claim: Claim,
        reference: Option<Reference>,
        game: Game,
    ) -> Self {
        let Some(reference) = reference.filter(|_| !game.lacks(Flaw::NoLookUp)) else {
            return match self.agreed {
                Some(method) => self.to(worker, Step::Opens(claim, method)),
                None => self.release(worker, claim, game),
            };
        };
        let charge = reference.charge;
        let standing = self.look_up(charge, game);
        if standing != Standing::Unconfirmed {
            return self.to(worker, Step::Knows(claim, charge, standing));
        }
        let agreed = if game.lacks(Flaw::MethodNotCompared) {
            Some(reference.method)
        } else {
            self.agreed
        };
        let Some(method) = agreed else {
            return self.release(worker, claim, game);
        };
        let ask = Ask { charge, method };
        let step = if reference.method != method {
            Step::ChangesMethod(claim, reference, method)
        } else if reference.unanswered {
            Step::Confirms(claim, ask)
        } else {
            Step::Asks(claim, ask)
        };
        self.to(worker, step)
    }

    /// `charge_opened` and `charge_asked`.
    fn store_reference(&self, worker: usize, claim: Claim, ask: Ask, game: Game) -> Self {
        if !self.holds(claim, game) {
            return self.to(worker, Step::Idle);
        }
        self.with(|world| {
            world.order.reference = Some(Reference {
                charge: ask.charge,
                method: ask.method,
                unanswered: true,
            });
            world.workers[worker] = Step::Confirms(claim, ask);
        })
    }

    /// `change_method`. `ON_ITS_WAY` may have passed whenever no confirmation is on its way: a
    /// request arrives before that, or never.
    fn change_method(
        &self,
        worker: usize,
        claim: Claim,
        reference: Reference,
        method: Method,
        game: Game,
    ) -> Vec<Self> {
        let charge = reference.charge;
        let released = self.release(worker, claim, game);
        let mut next = self.clone();
        let step = match next.cancel(charge, game) {
            Cancelled::Dead => Step::Opens(claim, method),
            Cancelled::Captured => Step::Knows(claim, charge, Standing::Captured),
            Cancelled::Open => {
                let is_over = self.late.is_none_or(|late| late.ask.charge != charge)
                    || game.lacks(Flaw::OtherMethodWhileUnanswered);
                if reference.unanswered && !is_over {
                    return vec![released];
                }
                Step::Asks(claim, Ask { charge, method })
            }
        };
        // Or the claim is released: that time has not passed, or the partner does not answer.
        vec![released, next.to(worker, step)]
    }

    /// `try_confirm`, and `confirm`'s second charge if the first has expired.
    fn confirm(&self, worker: usize, claim: Claim, ask: Ask, game: Game) -> Vec<Self> {
        let bound = self.charges[usize::from(ask.charge)].bound;
        if bound.is_some_and(|bound| bound != ask.method) {
            // `OtherMethod`
            return vec![self.release(worker, claim, game)];
        }
        let asked = Late { ask, claim };
        let mut worlds = Vec::new();
        for (world, standing) in self.confirmed(asked, game) {
            if standing == Standing::Dead && game.partner == Partner::CannotCancel {
                worlds.push(world.to(worker, Step::Opens(claim, ask.method)));
            }
            worlds.push(world.to(worker, Step::Knows(claim, ask.charge, standing)));
        }
        if self.left.losses > 0 {
            let mut world = self.release(worker, claim, game);
            world.left.losses -= 1;
            world.late = Some(asked);
            worlds.push(world);
        }
        worlds
    }

    /// `close_and_decline`, up to its write.
    fn close(&self, worker: usize, claim: Claim, charge: u8, game: Game) -> Vec<Self> {
        if game.partner == Partner::Cancels && game.lacks(Flaw::DeclineNotClosed) {
            return vec![self.to(worker, Step::Declines(claim, false))];
        }
        let mut worlds = Vec::new();
        if self.left.losses > 0 {
            let mut world = self.to(worker, Step::Declines(claim, true));
            world.left.losses -= 1;
            worlds.push(world);
        }
        let mut next = self.clone();
        next.workers[worker] = match next.cancel(charge, game) {
            Cancelled::Dead => Step::Declines(claim, false),
            Cancelled::Open => Step::Declines(claim, true),
            Cancelled::Captured => Step::Knows(claim, charge, Standing::Captured),
        };
        worlds.push(next);
        worlds
    }

    /// `charge_declined`.
    fn decline(&self, worker: usize, claim: Claim, is_open: bool, game: Game) -> Self {
        let mut world = self.to(worker, Step::Idle);
        if !self.holds(claim, game) {
            return world;
        }
        if self.another_method_is_on_its_way() {
            world.broken = Some(Broken::DeclinedTooEarly);
        }
        world.order.state = State::Declined;
        world.order.leased = false;
        world.order.due = is_open && !game.lacks(Flaw::DeclineNotDue);
        if let Some(reference) = &mut world.order.reference {
            reference.unanswered = false;
        }
        world
    }

    /// Whether a confirmation is on its way that can capture the stored charge with another method
    /// than the stored one. A confirmation that a worker sent after it was overtaken does not
    /// count: a frozen worker may wake at any time, and the due mark covers that.
    fn another_method_is_on_its_way(&self) -> bool {
        let (Some(late), Some(stored)) = (self.late, self.order.reference) else {
            return false;
        };
        late.claim.is_current
            && late.ask.charge == stored.charge
            && late.ask.method != stored.method
            && self.standing(stored.charge).is_alive()
    }

    /// `charge_captured`; an overtaken worker looks the charge up again.
    fn captured_by(&self, worker: usize, claim: Claim, game: Game) -> Self {
        if self.holds(claim, game) {
            return self.with(|world| {
                world.workers[worker] = Step::Idle;
                world.order.state = State::Paid;
                world.order.leased = false;
            });
        }
        let is_known = self.order.state == State::Paid || game.lacks(Flaw::CaptureForgotten);
        let step = if is_known {
            Step::Idle
        } else {
            Step::LooksAgain
        };
        self.to(worker, step)
    }

    /// The first part of `check_declined` and `start_next_attempt`: they request the cancellation
    /// from the partner.
    fn cancel_declined(
        &self,
        worker: usize,
        is_current: bool,
        charge: u8,
        wish: Wish,
        game: Game,
    ) -> Vec<Self> {
        let mut worlds = Vec::new();
        if self.left.losses > 0 {
            let mut world = self.to(worker, Step::Idle);
            world.left.losses -= 1;
            worlds.push(world);
        }
        let mut next = self.clone();
        let tries_again = |next| Step::TriesAgain { is_current, next };
        next.workers[worker] = match (next.cancel(charge, game), wish) {
            (Cancelled::Captured, _) => Step::TakesUp { is_current, charge },
            (Cancelled::Dead, Wish::Message) => Step::Closes { is_current },
            // The order stays due.
            (Cancelled::Open, Wish::Message) => Step::Idle,
            (Cancelled::Dead, Wish::Request) => tries_again(Next::Another),
            (Cancelled::Open, Wish::Request) => tries_again(Next::Same),
        };
        worlds.push(next);
        worlds
    }

    /// `resume_declined`: `claim_declined`, then `settle`.
    fn take_up(&self, worker: usize, is_current: bool, charge: u8, game: Game) -> Self {
        let mut world = self.to(worker, Step::Idle);
        if self.is_as_declined(is_current, game) {
            let claim = world.claim();
            world.order.due = true;
            world.workers[worker] = Step::Knows(claim, charge, Standing::Captured);
        }
        world
    }

    /// `claim_next_attempt`.
    fn claim_next_attempt(&self, worker: usize, is_current: bool, next: Next, game: Game) -> Self {
        let mut world = self.to(worker, Step::Idle);
        if self.is_as_declined(is_current, game) {
            let claim = world.claim();
            world.order.due = true;
            if next == Next::Another {
                world.order.reference = None;
            }
            world.workers[worker] = Step::Claimed(claim, world.order.reference);
        }
        world
    }
}
