//! The state of the model: the order, the partner's charges, the customer's agreement, a late
//! confirmation, and two workers.
//!
//! Only changes from outside are limited ([`Left`]). Fences only grow, so all that matters about a
//! worker's fence is whether it is still the order's. A charge that no part of the state names any
//! more, and that has no money, is dropped.

use super::Game;

/// A payment method of the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Method {
    /// The first agreed method, which is never agreed to again once it was revoked.
    Old,
    /// The method that replaces it.
    New,
}

/// The stored payment's state; `Due` stands for every state that allows a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum State {
    Due,
    Declined,
    Paid,
}

/// The stored charge: the reference, the method that it was last opened or confirmed with, and
/// whether a confirmation may be on its way (`unansweredSince`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) charge: u8,
    pub(super) method: Method,
    pub(super) unanswered: bool,
}

/// The contents of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) state: State,
    /// Whether the sweep sends messages about the payment.
    pub(super) due: bool,
    pub(super) leased: bool,
    pub(super) reference: Option<Reference>,
}

/// The standing of a charge at the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Standing {
    Unconfirmed,
    Captured,
    /// Declined but open: it may be confirmed again.
    Declined,
    /// Cancelled, expired, or finally declined.
    Dead,
}

impl Standing {
    pub(super) fn is_alive(self) -> bool {
        matches!(self, Self::Unconfirmed | Self::Declined)
    }
}

/// A charge at the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Charge {
    pub(super) standing: Standing,
    /// The method that it was opened with, if the partner charges no other.
    pub(super) bound: Option<Method>,
}

/// A worker's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Claim {
    /// Whether its fence is still the order's.
    pub(super) is_current: bool,
    /// Whether the customer had revoked the old method before the claim.
    pub(super) is_after_change: bool,
}

/// A charge, and the method to confirm it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ask {
    pub(super) charge: u8,
    pub(super) method: Method,
}

/// A confirmation whose caller has given up, on its way to the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Late {
    pub(super) ask: Ask,
    /// The claim that it was sent under, as it was then.
    pub(super) claim: Claim,
}

/// The next attempt's charge after a declined one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Next {
    /// `NextCharge::Another`.
    Another,
    /// `NextCharge::Same`.
    Same,
}

/// The origin of a check of a declined order: `Wish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Wish {
    Message,
    Request,
}

/// The position of a worker. For a declined order that was read, `is_current` means that no worker
/// has claimed it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    /// Not started, ended, or dead: another function may start.
    Idle,
    /// Holds a claim, with the order's charge when it was claimed.
    Claimed(Claim, Option<Reference>),
    /// Is about to open a charge with this method.
    Opens(Claim, Method),
    /// Has opened this charge.
    Opened(Claim, Ask),
    /// Has found an unconfirmed charge with another method than this one, which is the agreed one.
    ChangesMethod(Claim, Reference, Method),
    /// Is about to record that it confirms a charge that was opened earlier.
    Asks(Claim, Ask),
    /// Is about to confirm a charge whose reference is stored.
    Confirms(Claim, Ask),
    /// Knows the charge's standing, and is about to write it, or to close a declined charge first.
    Knows(Claim, u8, Standing),
    /// Is about to write a decline; the flag says whether its charge may still be confirmed.
    Declines(Claim, bool),
    /// Was overtaken by another claim while it held a capture: it starts again, as a message does.
    LooksAgain,
    /// Has read a declined order with this charge, and is about to request its cancellation.
    Cancels {
        is_current: bool,
        charge: u8,
        wish: Wish,
    },
    /// Knows that the declined charge is dead, and is about to record it.
    Closes { is_current: bool },
    /// Knows that the declined charge was captured, and is about to claim the order to record it.
    TakesUp { is_current: bool, charge: u8 },
    /// Is about to claim the next attempt.
    TriesAgain { is_current: bool, next: Next },
}

impl Step {
    fn charge_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Claimed(_, reference) => reference.as_mut().map(|it| &mut it.charge),
            Self::ChangesMethod(_, reference, _) => Some(&mut reference.charge),
            Self::Opened(_, ask) | Self::Asks(_, ask) | Self::Confirms(_, ask) => {
                Some(&mut ask.charge)
            }
            Self::Knows(_, charge, _)
            | Self::Cancels { charge, .. }
            | Self::TakesUp { charge, .. } => Some(charge),
            Self::Idle
            | Self::Opens(..)
            | Self::Declines(..)
            | Self::LooksAgain
            | Self::Closes { .. }
            | Self::TriesAgain { .. } => None,
        }
    }

    /// Another worker has claimed the order.
    fn overtake(&mut self) {
        match self {
            Self::Claimed(claim, _)
            | Self::Opens(claim, _)
            | Self::Opened(claim, _)
            | Self::ChangesMethod(claim, ..)
            | Self::Asks(claim, _)
            | Self::Confirms(claim, _)
            | Self::Knows(claim, ..)
            | Self::Declines(claim, _) => claim.is_current = false,
            Self::Cancels { is_current, .. }
            | Self::Closes { is_current }
            | Self::TakesUp { is_current, .. }
            | Self::TriesAgain { is_current, .. } => *is_current = false,
            Self::Idle | Self::LooksAgain => {}
        }
    }
}

/// The remaining changes from outside. Changes of the agreement need no count, because it never
/// changes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Left {
    /// Explicit requests after a decline.
    pub(super) retries: u8,
    pub(super) declines: u8,
    /// Unanswered calls to the partner. A confirmation is on its way from then on; a cancellation
    /// is not carried out.
    pub(super) losses: u8,
}

/// A promise that a step or a world breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Broken {
    /// Two charges were captured.
    ChargedTwice,
    /// A charge was captured, and if every worker dies, nothing makes the order show it.
    MoneyIsLost,
    /// A worker that knew of a capture ended and left a decline behind.
    CaptureDropped,
    /// A charge was confirmed with a method that was revoked before the claim.
    RevokedMethodCharged,
    /// An order is declined and not due, although its charge can still be confirmed.
    OpenButNotDue,
    /// A decline was written while a confirmation with another method was on its way.
    DeclinedTooEarly,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) order: Order,
    pub(super) charges: Vec<Charge>,
    pub(super) agreed: Option<Method>,
    pub(super) late: Option<Late>,
    pub(super) workers: [Step; 2],
    pub(super) left: Left,
    /// The promise that the step to this world broke, if any.
    pub(super) broken: Option<Broken>,
}

impl World {
    pub(super) fn start() -> Self {
        Self {
            order: Order {
                state: State::Due,
                due: true,
                leased: false,
                reference: None,
            },
            charges: Vec::new(),
            agreed: Some(Method::Old),
            late: None,
            workers: [Step::Idle; 2],
            left: Left {
                retries: 1,
                declines: 1,
                losses: 1,
            },
            broken: None,
        }
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    pub(super) fn standing(&self, charge: u8) -> Standing {
        self.charges[usize::from(charge)].standing
    }

    pub(super) fn captured(&self) -> usize {
        let taken = |charge: &&Charge| charge.standing == Standing::Captured;
        self.charges.iter().filter(taken).count()
    }

    /// A claim by this worker: the claims of all others are overtaken.
    pub(super) fn claim(&mut self) -> Claim {
        self.workers.iter_mut().for_each(Step::overtake);
        self.order.state = State::Due;
        self.order.leased = true;
        Claim {
            is_current: true,
            is_after_change: self.agreed != Some(Method::Old),
        }
    }

    /// The promise that this world, or the step to it, breaks.
    pub(super) fn broken(&self, game: Game) -> Option<Broken> {
        if self.broken.is_some() {
            return self.broken;
        }
        let captured = self.captured();
        if captured > 1 {
            return Some(Broken::ChargedTwice);
        }
        if self.order.state == State::Declined && !self.order.due && self.can_be_confirmed() {
            return Some(Broken::OpenButNotDue);
        }
        let is_lost = captured == 1 && self.order.state != State::Paid && !self.is_found(game);
        is_lost.then_some(Broken::MoneyIsLost)
    }

    /// Whether a charge can still be captured that is stored, that a worker is about to confirm, or
    /// whose confirmation is on its way. A charge that was opened but not stored is never
    /// confirmed.
    fn can_be_confirmed(&self) -> bool {
        let stored = self.order.reference.map(|reference| reference.charge);
        let late = self.late.map(|late| late.ask.charge);
        let confirmed = self.workers.iter().map(|step| match step {
            Step::Confirms(_, ask) => Some(ask.charge),
            _ => None,
        });
        let mut named = confirmed.chain([stored, late]).flatten();
        named.any(|charge| self.standing(charge).is_alive())
    }

    /// Whether the order is eventually paid if every worker dies now, no webhook or request comes,
    /// and only the sweep's message remains, if the order is due.
    fn is_found(&self, game: Game) -> bool {
        if !self.order.due {
            return false;
        }
        let mut open = vec![self.with(|world| {
            world.workers = [Step::LooksAgain, Step::Idle];
            world.order.leased = false;
            world.left = Left {
                retries: 0,
                declines: 0,
                losses: 0,
            };
        })];
        while let Some(world) = open.pop() {
            if world.workers[0] == Step::Idle {
                if world.order.state != State::Paid {
                    return false;
                }
            } else {
                open.extend(world.act(0, game));
            }
        }
        true
    }

    /// The canonical form of the same world: charges that no part of it names and that have no
    /// money are dropped, and the order of the workers does not matter.
    pub(super) fn tidy(mut self) -> Self {
        for index in (0..self.charges.len()).rev() {
            let charge = u8::try_from(index).unwrap();
            let standing = self.charges[index].standing;
            let is_told = matches!(standing, Standing::Captured | Standing::Declined);
            if is_told || self.names_mut().any(|named| *named == charge) {
                continue;
            }
            self.charges.remove(index);
            for named in self.names_mut().filter(|named| **named > charge) {
                *named -= 1;
            }
        }
        self.workers.sort_unstable();
        self
    }

    fn names_mut(&mut self) -> impl Iterator<Item = &mut u8> {
        let stored = self.order.reference.as_mut().map(|it| &mut it.charge);
        let late = self.late.as_mut().map(|late| &mut late.ask.charge);
        let workers = self.workers.iter_mut().filter_map(Step::charge_mut);
        workers.chain(stored).chain(late)
    }
}
