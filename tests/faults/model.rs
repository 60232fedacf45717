//! The smallest model of the charge's protocol, searched exhaustively.
//!
//! Two workers, messages at any time, and one explicit retry act on one invoice. At any moment a
//! lease can end, and a worker can freeze or die. The partner may decline once. One call to it may
//! go unanswered, and its confirmation may then still be carried out at any time. The customer may
//! revoke the payment method, approve another one, and pay on the partner's own page. Every order
//! of the steps is tried; each step does what `payment` and `store::payments` do.

mod partner;
mod worker;
mod world;

use std::collections::{HashMap, VecDeque};

use world::{Broken, State, Step, World};

/// A part of the protocol that is left out, to prove that the search would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Writes do not name the fence that they were made under.
    NoFence,
    /// The charge is confirmed before its reference is stored.
    ConfirmBeforeStoring,
    /// A declined attempt's charge is neither cancelled nor continued before the next one is
    /// opened.
    NoCancel,
    /// A worker that finds a reference opens another charge.
    NoLookUp,
    /// A worker whose write of a capture was overtaken does not look the charge up again.
    CaptureForgotten,
    /// A declined order whose charge may still be confirmed is not due.
    DeclineNotDue,
    /// A declined charge is not cancelled but counts as dead.
    DeclineNotClosed,
    /// A charge is confirmed with its own method, whatever the customer has agreed to since.
    MethodNotCompared,
    /// A message does nothing for a declined order.
    NewsIgnored,
    /// A charge is confirmed with another method while a confirmation may be on its way.
    OtherMethodWhileUnanswered,
}

/// How the partner ends a declined attempt, and which method it charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partner {
    /// It cancels the attempt's charge, and the next attempt opens another. A charge keeps the
    /// method that it was opened with; only the customer can pay a declined one with another
    /// method, on the partner's own page. Like Stripe.
    Cancels,
    /// It cannot cancel. The next attempt continues with the same charge unless that one is dead: a
    /// charge expires at any moment, and a decline may end it. Each confirmation names its method.
    /// Like PayPal.
    CannotCancel,
}

/// The partner, the flaws, and the rules of a search.
#[derive(Clone, Copy, Debug)]
struct Game {
    partner: Partner,
    /// No worker dies, and no lease ends.
    is_calm: bool,
    flaws: &'static [Flaw],
}

impl Game {
    fn new(partner: Partner, flaws: &'static [Flaw]) -> Self {
        Self {
            partner,
            is_calm: false,
            flaws,
        }
    }

    fn lacks(self, flaw: Flaw) -> bool {
        self.flaws.contains(&flaw)
    }
}

impl World {
    /// Every world that is one step away.
    fn next(&self, game: Game) -> Vec<Self> {
        if self.broken.is_some() {
            return vec![self.with(|world| world.broken = None)];
        }
        let mut worlds = self.outside(game);
        if self.order.leased && !game.is_calm {
            worlds.push(self.with(|world| world.order.leased = false));
        }
        for worker in 0..self.workers.len() {
            if self.workers[worker] != Step::Idle && !game.is_calm {
                worlds.push(self.with(|world| world.workers[worker] = Step::Idle));
            }
            worlds.extend(self.act(worker, game));
        }
        worlds.into_iter().map(Self::tidy).collect()
    }
}

/// Searches every world that can be reached from `start`. Returns their number, or the path to the
/// first one that breaks such a promise.
fn search(
    start: World,
    game: Game,
    is_wanted: impl Fn(Broken) -> bool,
) -> Result<usize, (Broken, Vec<World>)> {
    let mut came_from = HashMap::from([(start.clone(), None)]);
    let mut open = VecDeque::from([start]);
    while let Some(world) = open.pop_front() {
        let broken = world.broken(game);
        if let Some(broken) = broken.filter(|broken| is_wanted(*broken)) {
            let way = std::iter::successors(Some(world), |world| came_from[world].clone());
            let mut way: Vec<World> = way.collect();
            way.reverse();
            return Err((broken, way));
        }
        // From there, the number of charges is unlimited.
        if broken == Some(Broken::ChargedTwice) {
            continue;
        }
        for next in world.next(game) {
            came_from.entry(next).or_insert_with_key(|next| {
                open.push_back(next.clone());
                Some(world.clone())
            });
        }
    }
    Ok(came_from.len())
}

const PARTNERS: [Partner; 2] = [Partner::Cancels, Partner::CannotCancel];

#[test]
fn no_order_of_steps_charges_twice() {
    for partner in PARTNERS {
        let found = search(World::start(), Game::new(partner, &[]), |_| true);
        let worlds = found.unwrap_or_else(|(broken, way)| {
            panic!("{broken:?} where the partner {partner:?}: {way:#?}")
        });
        println!("{worlds} worlds where the partner {partner:?}");
        assert!(worlds > 10_000, "the search is not trivial: {worlds}");
    }
}

/// The partners for which each flaw matters, and the promise that it breaks.
const NEEDS: [(&[Flaw], &[Partner], Broken); 11] = [
    (
        &[Flaw::ConfirmBeforeStoring],
        &PARTNERS,
        Broken::ChargedTwice,
    ),
    (&[Flaw::NoCancel], &PARTNERS, Broken::ChargedTwice),
    (&[Flaw::NoLookUp], &PARTNERS, Broken::ChargedTwice),
    (&[Flaw::NoFence], &PARTNERS, Broken::ChargedTwice),
    (&[Flaw::CaptureForgotten], &PARTNERS, Broken::CaptureDropped),
    (&[Flaw::DeclineNotDue], &PARTNERS, Broken::OpenButNotDue),
    (&[Flaw::DeclineNotDue], &PARTNERS, Broken::MoneyIsLost),
    (
        &[Flaw::DeclineNotClosed],
        &[Partner::Cancels],
        Broken::OpenButNotDue,
    ),
    (
        &[Flaw::MethodNotCompared],
        &PARTNERS,
        Broken::RevokedMethodCharged,
    ),
    (&[Flaw::NewsIgnored], &PARTNERS, Broken::MoneyIsLost),
    (
        &[Flaw::OtherMethodWhileUnanswered],
        &[Partner::CannotCancel],
        Broken::DeclinedTooEarly,
    ),
];

#[test]
fn the_search_notices_what_the_protocol_needs() {
    for (flaws, partners, promise) in NEEDS {
        for partner in partners {
            let game = Game::new(*partner, flaws);
            let Err((_, way)) = search(World::start(), game, |broken| broken == promise) else {
                panic!("{flaws:?}: no {promise:?} where {partner:?}");
            };
            let steps = way.len() - 1;
            println!("{flaws:?}: {promise:?} after {steps} steps where {partner:?}");
        }
    }
}

/// The path to the first world that breaks that promise if no worker dies and no lease ends.
fn calm_way(start: World, game: Game, promise: Broken) -> Vec<World> {
    let game = Game {
        is_calm: true,
        ..game
    };
    let found = search(start, game, |broken| broken == promise);
    found.unwrap_err().1
}

/// A decline with one method while the capture with another is on its way, and a declined charge
/// that the customer pays at the partner: the money is captured in the next step, and no worker
/// looks for it.
#[test]
fn without_its_guards_a_declined_charge_that_takes_the_money_is_lost_on_a_calm_day() {
    const UNGUARDED: &[Flaw] = &[
        Flaw::CaptureForgotten,
        Flaw::DeclineNotDue,
        Flaw::DeclineNotClosed,
        Flaw::NewsIgnored,
        Flaw::OtherMethodWhileUnanswered,
    ];
    for (partner, first) in [
        (Partner::CannotCancel, Broken::DeclinedTooEarly),
        (Partner::Cancels, Broken::OpenButNotDue),
    ] {
        let game = Game::new(partner, UNGUARDED);
        let mut declined = calm_way(World::start(), game, first).pop().unwrap();
        declined.broken = None;
        let way = calm_way(declined, game, Broken::MoneyIsLost);
        let [_, lost] = &way[..] else {
            panic!("not the next step: {way:#?}");
        };
        assert_eq!(lost.order.state, State::Declined);
        assert_eq!(lost.workers, [Step::Idle; 2]);
    }
}

/// A charge is opened, the method is revoked, and the next claim confirms the charge.
#[test]
fn without_its_guard_a_revoked_method_is_charged_on_a_calm_day() {
    let game = Game::new(Partner::Cancels, &[Flaw::MethodNotCompared]);
    let way = calm_way(World::start(), game, Broken::RevokedMethodCharged);
    // Without deaths, only a lost confirmation leads to a second claim of one attempt.
    assert_eq!(way.last().unwrap().left.losses, 0);
}
