//! The partner and the customer: changes to the charge that no worker makes.

use super::world::{Broken, Charge, Late, Method, Standing, World};
use super::{Game, Partner};

/// The answer of `cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The charge can no longer be confirmed.
    Dead,
    Captured,
    /// The charge could not be cancelled.
    Open,
}

impl World {
    /// Every world that the partner, the customer, or the network leads to.
    pub(super) fn outside(&self, game: Game) -> Vec<Self> {
        let mut worlds = self.change_agreement();
        match game.partner {
            Partner::Cancels => worlds.extend(self.turn(
                |standing| standing == Standing::Declined,
                // The customer pays on the partner's own page.
                Standing::Captured,
            )),
            Partner::CannotCancel => {
                worlds.extend(self.turn(Standing::is_alive, Standing::Dead));
            }
        }
        if let Some(late) = self.late {
            let gone = self.with(|world| world.late = None);
            let arrived = gone.confirmed(late, game);
            worlds.extend(arrived.into_iter().map(|(world, _)| world));
            worlds.push(gone);
        }
        worlds
    }

    /// The customer revokes the method or approves another one.
    fn change_agreement(&self) -> Vec<Self> {
        let changes: &[Option<Method>] = match self.agreed {
            Some(Method::Old) => &[None, Some(Method::New)],
            None => &[Some(Method::New)],
            Some(Method::New) => &[],
        };
        let changed = |agreed: &_| self.with(|world| world.agreed = *agreed);
        changes.iter().map(changed).collect()
    }

    /// Changes each charge with such a standing to the other one.
    fn turn(&self, from: impl Fn(Standing) -> bool, to: Standing) -> Vec<Self> {
        let turns = |index: &usize| from(self.charges[*index].standing);
        let turned = |index: usize| self.with(|world| world.charges[index].standing = to);
        (0..self.charges.len()).filter(turns).map(turned).collect()
    }

    /// Opens a charge. The partner may have forgotten the idempotency key, so each charge is a new
    /// one.
    pub(super) fn open(&mut self, method: Method, game: Game) -> u8 {
        self.charges.push(Charge {
            standing: Standing::Unconfirmed,
            bound: (game.partner == Partner::Cancels).then_some(method),
        });
        u8::try_from(self.charges.len() - 1).unwrap()
    }

    /// The answer of `look_up`. PayPal shows an order that refused one source as waiting.
    pub(super) fn look_up(&self, charge: u8, game: Game) -> Standing {
        match (self.standing(charge), game.partner) {
            (Standing::Declined, Partner::CannotCancel) => Standing::Unconfirmed,
            (standing, _) => standing,
        }
    }

    /// Carries `cancel` out.
    pub(super) fn cancel(&mut self, charge: u8, game: Game) -> Cancelled {
        let standing = &mut self.charges[usize::from(charge)].standing;
        match (*standing, game.partner) {
            (Standing::Captured, _) => Cancelled::Captured,
            (Standing::Dead, _) => Cancelled::Dead,
            (_, Partner::CannotCancel) => Cancelled::Open,
            (_, Partner::Cancels) => {
                *standing = Standing::Dead;
                Cancelled::Dead
            }
        }
    }

    /// Carries out a confirmation: each possible outcome, with the charge's standing afterwards. A
    /// charge that was declined once may be captured the next time, like a `PaymentIntent` and a
    /// PayPal order.
    pub(super) fn confirmed(&self, asked: Late, game: Game) -> Vec<(Self, Standing)> {
        let index = usize::from(asked.ask.charge);
        let standing = self.charges[index].standing;
        if !standing.is_alive() {
            return vec![(self.clone(), standing)];
        }
        let ends: &[Standing] = match (game.partner, self.left.declines) {
            (_, 0) => &[Standing::Captured],
            (Partner::Cancels, _) => &[Standing::Captured, Standing::Declined],
            (Partner::CannotCancel, _) => &[Standing::Captured, Standing::Declined, Standing::Dead],
        };
        let ended = |end: &Standing| {
            let world = self.with(|world| {
                world.charges[index].standing = *end;
                if *end != Standing::Captured {
                    world.left.declines -= 1;
                } else if asked.ask.method == Method::Old && asked.claim.is_after_change {
                    world.broken = Some(Broken::RevokedMethodCharged);
                }
            });
            (world, *end)
        };
        ends.iter().map(ended).collect()
    }
}
