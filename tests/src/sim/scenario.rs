//! What a history is made of: who wants what, and what goes wrong.

use std::time::Duration;

use domain::{PartnerName, UnpaidOrders};
use messages::queue::Queue;

use super::carrier::RealCarrier;
use super::world::{Faults, Protocol};
use crate::cloud::Options;

/// How long a partner remembers an idempotency key: 24 hours, as Stripe does.
const PARTNER_MEMORY: i64 = 24 * 3_600_000;

/// A payment method that a customer may agree to have charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It can be charged.
    Good,
    /// Another one that can be charged.
    Other,
    /// Its every charge is declined.
    Bad,
}

/// What a customer does about being charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Agrees to have that method charged from now on.
    Approve(Method),
    /// Takes the agreement back.
    Revoke,
    /// Pays on the partner's own page, where the partner has one for the charge.
    PayOnPage,
}

/// How much of a payment a refund is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This much.
    Amount(u32),
    /// So many of the order's product.
    Items(u32),
    /// All that is left.
    Rest,
}

/// How much somebody gives back by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// What is left.
    Whole,
    /// A small part.
    Part,
}

/// What happens to a charge at the partner that nobody here asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A person gives money back in the partner's dashboard.
    Refunds(Share),
    /// The bank sends every refund back.
    FailsRefunds,
    /// The customer disputes the charge, and the bank decides some time later.
    Disputes,
}

/// A mail that the shop's back end asks for besides those of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailing {
    /// At the email path, about the order, to an address that SES refuses.
    Refused,
    /// At the shipping path, about the order, to a friend.
    Friend,
}

/// Whether approvals carry idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approvals {
    /// Each has one.
    Keyed,
    /// None has.
    Unkeyed,
}

/// What else the keys of a client's requests are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// For repeats only.
    Kept,
    /// For other bodies too, which is to be refused.
    Misused,
}

/// What a cart costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Its items have prices.
    Usual,
    /// All its items have the price 0.
    Nothing,
}

/// A customer's wish: one POST after the other, each repeated until it is answered for good.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides what becomes of the charge; see the played partner.
    pub customer: &'static str,
    /// What the cart costs.
    pub price: Price,
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
    /// How long after the cart was answered a second caller pays the order under keys of its own, in
    /// milliseconds.
    pub rival_after: Option<i64>,
    /// The refunds that are asked for, and how long after the cart was answered, in milliseconds: the
    /// second one by another caller, at the same time as the others.
    pub refunds: [Option<(i64, Extent)>; 3],
    /// What happens at the partner, and how long after the cart was answered, in milliseconds.
    pub outside: [Option<(i64, Stranger)>; 2],
    /// What the customer does, and how long after the cart was answered, in milliseconds.
    pub acts: [Option<(i64, Act)>; 3],
    /// Whether the customer's approvals carry idempotency keys.
    pub approvals: Approvals,
    /// A mail that is asked for.
    pub mailing: Option<Mailing>,
    /// What else idempotency keys are used for.
    pub keys: Keys,
    /// How many minutes the shop waits for its customers; with 0 it waits for ever.
    pub unpaid_minutes: u64,
}

impl Scenario {
    /// The cart goes all the way by itself.
    pub const CHECKOUT: Self = Self {
        customer: "8080",
        price: Price::Usual,
        checkout: true,
        explicit: false,
        update: false,
        retries_after_decline: 0,
        cancel_after: None,
        rival_after: None,
        refunds: [None; 3],
        outside: [None; 2],
        acts: [None; 3],
        approvals: Approvals::Keyed,
        mailing: None,
        keys: Keys::Kept,
        unpaid_minutes: 0,
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

    /// Declined, and cancelled once the time to pay is over.
    pub const DECLINED_THEN_EXPIRED: Self = Self {
        unpaid_minutes: 60,
        ..Self::DECLINED
    };

    /// The customer never acts, and the order is cancelled once the time to pay is over.
    pub const MUST_ACT_THEN_EXPIRED: Self = Self {
        unpaid_minutes: 60,
        ..Self::MUST_ACT
    };

    /// Declined, and paid by somebody in the very moment in which the time to pay is over.
    pub const PAID_WHEN_EXPIRED: Self = Self {
        customer: "declined-once",
        rival_after: Some(60 * 60_000 + 160),
        unpaid_minutes: 60,
        ..Self::CHECKOUT
    };

    /// It costs nothing, and everybody pays it.
    pub const FREE: Self = Self {
        price: Price::Nothing,
        rival_after: Some(130),
        ..Self::BOTH
    };

    /// It costs nothing, and is cancelled about when it is paid.
    pub const FREE_THEN_CANCELLED: Self = Self {
        price: Price::Nothing,
        cancel_after: Some(200),
        ..Self::CHECKOUT
    };

    /// Two callers refund parts of it, from when it is paid on.
    pub const REFUNDED_IN_PARTS: Self = Self {
        refunds: [
            Some((0, Extent::Amount(30))),
            Some((0, Extent::Items(1))),
            Some((0, Extent::Amount(5))),
        ],
        ..Self::CHECKOUT
    };

    /// Two callers refund all of it, from when it is paid on.
    pub const REFUNDED_WHOLLY: Self = Self {
        refunds: [Some((0, Extent::Rest)), Some((0, Extent::Rest)), None],
        ..Self::CHECKOUT
    };

    /// A part is refunded and the rest cancelled, about when it is paid.
    pub const REFUNDED_THEN_CANCELLED: Self = Self {
        refunds: [Some((0, Extent::Items(1))), None, None],
        cancel_after: Some(260),
        ..Self::CHECKOUT
    };

    /// Refunded days after it was shipped.
    pub const REFUNDED_AFTER_SHIPPING: Self = Self {
        refunds: [
            Some((3_600_000, Extent::Items(1))),
            Some((3_600_000, Extent::Amount(40))),
            Some((7_200_000, Extent::Rest)),
        ],
        ..Self::CHECKOUT
    };

    /// Two instances whose clocks are five minutes apart, and one that is right, in milliseconds.
    pub const CLOCKS_APART: [i64; 3] = [0, 150_000, -150_000];

    /// Every scenario.
    pub const ALL: [Self; 24] = [
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
        Self::DECLINED_THEN_EXPIRED,
        Self::MUST_ACT_THEN_EXPIRED,
        Self::PAID_WHEN_EXPIRED,
        Self::FREE,
        Self::FREE_THEN_CANCELLED,
        Self::REFUNDED_IN_PARTS,
        Self::REFUNDED_WHOLLY,
        Self::REFUNDED_THEN_CANCELLED,
        Self::REFUNDED_AFTER_SHIPPING,
    ];

    /// Whether money goes back otherwise than by a cancellation.
    pub(super) fn moves_money(&self) -> bool {
        self.refunds.iter().any(Option::is_some) || self.outside.iter().any(Option::is_some)
    }

    /// The same, but cancelled sooner or later if it is cancelled, so that it meets every step.
    #[must_use]
    pub fn cancelled_at_random(mut self, random: &mut super::Random) -> Self {
        if let Some(after) = &mut self.cancel_after {
            let most = [400, 5_000, 600_000][random.below(3)];
            *after = random.millis(most);
        }
        self
    }

    /// The same with others who act besides: each kind in some of the histories.
    #[must_use]
    pub fn with_others(mut self, random: &mut super::Random) -> Self {
        let soon = |random: &mut super::Random| {
            let most = [400, 20_000, 1_200_000][random.below(3)];
            random.millis(most)
        };
        if random.chance(250) && !self.update {
            self.rival_after = Some(soon(random));
        }
        if random.chance(400) {
            let mut after = 0;
            for act in &mut self.acts {
                after += soon(random);
                *act = Some((
                    after,
                    match random.below(6) {
                        0 => Act::Revoke,
                        1 | 2 => Act::Approve(Method::Bad),
                        3 => Act::PayOnPage,
                        4 => Act::Approve(Method::Good),
                        _ => Act::Approve(Method::Other),
                    },
                ));
            }
            self.approvals = [Approvals::Keyed, Approvals::Unkeyed][random.below(2)];
            self.retries_after_decline = self.retries_after_decline.max(1);
        }
        let days = |random: &mut super::Random| {
            let most = [600, 20_000, 1_200_000, 2 * 24 * 3_600_000][random.below(4)];
            random.millis(most)
        };
        if random.chance(350) {
            for refund in &mut self.refunds {
                let extent = Extent::at_random(random);
                *refund = random.chance(700).then(|| (days(random), extent));
            }
        }
        if random.chance(200) {
            for stranger in &mut self.outside {
                let act = Stranger::at_random(random);
                *stranger = random.chance(700).then(|| (days(random), act));
            }
        }
        if random.chance(200) {
            self.mailing = Some([Mailing::Refused, Mailing::Friend][random.below(2)]);
        }
        if random.chance(150) {
            self.keys = Keys::Misused;
        }
        self
    }
}

fn minutes(minutes: u64) -> UnpaidOrders {
    UnpaidOrders::expire_after(Duration::from_mins(minutes))
}

/// A deployment that changes a parameter and is rolled back later. The functions change one by one,
/// within five minutes, and old instances go on for a while.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// When the deployment begins, in milliseconds from the beginning.
    pub from: i64,
    /// When its rollback begins.
    pub until: i64,
    /// How the shop sells meanwhile.
    pub shop: Options,
    /// Whether the own carrier ships meanwhile.
    pub own_carrier: bool,
    /// Whether the billing partner is asked with another account's credentials meanwhile.
    pub other_account: bool,
    /// Whether another billing partner charges meanwhile; each serves the other's charges as the former
    /// one.
    pub other_partner: bool,
    /// How long the shop waits for its customers meanwhile, if that changes.
    pub unpaid: Option<UnpaidOrders>,
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
    /// The mailer takes nothing from the beginning for that long, in milliseconds.
    pub mailer_out: i64,
    /// That queue takes nothing from the beginning for that long, in milliseconds.
    pub queue_out: Option<(Queue, i64)>,
    /// The database is frozen from one time to the other, in milliseconds from the beginning.
    pub database_frozen: Option<(i64, i64)>,
    /// How long the partner remembers an idempotency key, in milliseconds.
    pub partner_memory: i64,
    /// How the abstract partner works.
    pub protocol: Protocol,
    /// How many orders that this version cannot read are due in each shard of the step `payment`.
    pub strangers: usize,
    /// How long the shop waits for its customers.
    pub unpaid: UnpaidOrders,
    /// A parameter that changes on the way.
    pub change: Option<Change>,
    /// Over how many shards the stream is spread.
    pub relay_shards: usize,
    /// How often a change at the partner is told by a webhook, or by two, in permille.
    pub webhooks: u32,
    /// How often a refund fails days after it succeeded, in permille. The partner tells of it by
    /// webhook, as nobody asks any more.
    pub refunds_fail: u32,
    /// How often a refund is pending for some hours, in permille; then it succeeds, or fails as often as
    /// others.
    pub refunds_pend: u32,
    /// How often an operator redrives dead letters or requeues an order, in permille of the minutes.
    pub operator: u32,
    /// Kill whoever comes to these effects, counted from 1.
    pub crash_at: Vec<u64>,
    /// Let Lambda end whoever comes to these effects, once they are carried out.
    pub timeout_at: Vec<u64>,
    /// Carry these effects out and lose their answers.
    pub lost_answer_at: Vec<u64>,
    /// Lose these effects' requests, and have them arrive ten minutes later.
    pub late_at: Vec<u64>,
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
            unpaid: minutes(scenario.unpaid_minutes),
            scenarios: vec![scenario],
            faults: Faults::default(),
            faults_last: 0,
            stream_dead: 0,
            partner_out: 0,
            mailer_out: 0,
            queue_out: None,
            database_frozen: None,
            partner_memory: PARTNER_MEMORY,
            protocol: Protocol::Everybody,
            strangers: 0,
            change: None,
            relay_shards: 1,
            webhooks: 0,
            refunds_fail: 0,
            refunds_pend: 0,
            operator: 0,
            crash_at: Vec::new(),
            timeout_at: Vec::new(),
            lost_answer_at: Vec::new(),
            late_at: Vec::new(),
            skews: [0; 3],
            partner: None,
            carrier: None,
            trace: false,
        }
    }

    /// Whether an order that waits for its customer expires, whichever instance looks at it.
    pub(super) fn surely_expires(&self) -> bool {
        let change = self.change.and_then(|change| change.unpaid);
        change.is_none() && self.unpaid != UnpaidOrders::NEVER_EXPIRE
    }

    /// Whether an order that waits for its customer may expire.
    pub(super) fn may_expire(&self) -> bool {
        let change = self.change.and_then(|change| change.unpaid);
        change.is_some() || self.unpaid != UnpaidOrders::NEVER_EXPIRE
    }

    /// How the abstract partners of the history work.
    pub(super) fn protocols(&self) -> impl Iterator<Item = Protocol> {
        let changes = self.change.is_some_and(|change| change.other_partner);
        let protocols = [Some(self.protocol), changes.then(|| self.protocol.other())];
        let is_played = self.partner.is_none();
        protocols.into_iter().flatten().filter(move |_| is_played)
    }

    /// Whether customers agree to be charged.
    pub(super) fn has_agreements(&self) -> bool {
        self.partner.is_some() || self.protocols().any(|each| each != Protocol::Everybody)
    }

    /// Whether nothing goes wrong that could keep a mail from being confirmed.
    pub(super) fn spares_mails(&self) -> bool {
        let Faults {
            crash,
            freeze,
            timeout,
            lost_request,
            lost_answer,
            ..
        } = self.faults;
        let rates = [crash, freeze, timeout, lost_request, lost_answer];
        let at = [
            &self.crash_at,
            &self.timeout_at,
            &self.lost_answer_at,
            &self.late_at,
        ];
        rates.iter().all(|rate| *rate == 0)
            && at.iter().all(|at| at.is_empty())
            && self.database_frozen.is_none()
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
        let scenarios: Vec<Scenario> = (0..orders)
            .map(|_| {
                let scenario = Scenario::ALL[random.below(Scenario::ALL.len())].clone();
                let scenario = scenario.cancelled_at_random(&mut random);
                scenario.with_others(&mut random)
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
            late: rate(1_000),
            lost_answer: rate(80),
            throttle: rate(80),
            conflict: rate(300),
            duplicate: rate(300),
            vanish: rate(200),
            delay: rate(300),
            replay: rate(100),
            give_up: rate(500),
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
        let queues = [
            Queue::Billing,
            Queue::Payment,
            Queue::Shipment,
            Queue::Email,
        ];
        let queue_out = random.chance(150).then(|| {
            let queue = queues[random.below(queues.len())];
            (queue, random.millis(4 * 3_600_000))
        });
        // So that refunds come before the shipment too.
        let queue_out = if scenarios.iter().any(Scenario::moves_money) && random.chance(300) {
            Some((Queue::Shipment, random.millis(4 * 3_600_000)))
        } else {
            queue_out
        };
        let database_frozen = random.chance(100).then(|| {
            let from = random.millis(10_000);
            (from, from + random.millis(600_000))
        });
        let protocol = [Protocol::Everybody, Protocol::Intents, Protocol::Orders][random.below(3)];
        Plan {
            seed,
            scenarios,
            faults,
            faults_last: random.millis(3_600_000),
            stream_dead: hours(&mut random, 150, 25),
            partner_out: hours(&mut random, 100, 30),
            mailer_out: hours(&mut random, 100, 1),
            queue_out,
            database_frozen,
            partner_memory: if forgets { 0 } else { PARTNER_MEMORY },
            protocol,
            strangers: if random.chance(30) { 26 } else { 0 },
            change: random.chance(150).then(|| Change::at_random(&mut random)),
            relay_shards: 1 + random.below(3),
            webhooks: if random.chance(500) { 500 } else { 0 },
            refunds_fail: if random.chance(300) { 700 } else { 0 },
            refunds_pend: if random.chance(300) { 500 } else { 0 },
            operator: if random.chance(300) { 200 } else { 0 },
            skews: if skewed {
                Scenario::CLOCKS_APART
            } else {
                [0; 3]
            },
            unpaid: minutes([0, 0, 1, 20, 60, 360][random.below(6)]),
            ..Plan::calm(Scenario::CHECKOUT)
        }
    }
}

impl Histories {
    /// The plan of that seed, in which money goes back of every order: two callers ask for it, people and
    /// banks do what they want at the partner, and the shipment waits for some of that.
    #[must_use]
    pub fn plan_of_refunds(seed: u64) -> Plan {
        let mut random = super::Random::new(seed ^ 0xbacc);
        let most = [400, 5_000, 600_000, 4 * 3_600_000][random.below(4)];
        let paid = [
            Scenario::CHECKOUT,
            Scenario::BOTH,
            Scenario::UPDATED,
            Scenario::PENDING,
            Scenario::CANCELLED_WHEN_PAID,
        ];
        let scenarios = (0..=random.below(2)).map(|_| {
            let mut scenario = paid[random.below(paid.len())].clone();
            if let Some(after) = &mut scenario.cancel_after {
                *after = random.millis(most);
            }
            for refund in &mut scenario.refunds {
                let extent = Extent::at_random(&mut random);
                *refund = random.chance(700).then(|| (random.millis(most), extent));
            }
            for stranger in &mut scenario.outside {
                let act = Stranger::at_random(&mut random);
                *stranger = random.chance(500).then(|| (random.millis(most), act));
            }
            if random.chance(300) {
                scenario.keys = Keys::Misused;
            }
            scenario
        });
        let scenarios = scenarios.collect();
        let shipment_out = random
            .chance(600)
            .then(|| (Queue::Shipment, random.millis(most)));
        let mut plan = Self::plan(seed);
        // Others last for days, and hide what happens at the same time.
        plan.stream_dead = 0;
        plan.partner_out = 0;
        plan.strangers = 0;
        Plan {
            scenarios,
            queue_out: shipment_out.or(plan.queue_out),
            webhooks: [0, 500, 900][random.below(3)],
            refunds_fail: [0, 500][random.below(2)],
            refunds_pend: [0, 500, 900][random.below(3)],
            ..plan
        }
    }
}

impl Extent {
    fn at_random(random: &mut super::Random) -> Self {
        match random.below(6) {
            0 | 1 => Self::Amount(1 + u32::try_from(random.below(60)).unwrap_or(0)),
            2 | 3 => Self::Items(1),
            4 => Self::Items(2),
            _ => Self::Rest,
        }
    }
}

impl Stranger {
    fn at_random(random: &mut super::Random) -> Self {
        match random.below(6) {
            0 | 1 => Self::Refunds(Share::Whole),
            2 | 3 => Self::Refunds(Share::Part),
            4 => Self::FailsRefunds,
            _ => Self::Disputes,
        }
    }
}

impl Change {
    /// The billing partner's credentials are replaced by another account's, for up to nine hours.
    pub fn of_account(random: &mut super::Random) -> Self {
        let from = random.millis(5_000);
        Self {
            from,
            until: from + random.millis(9 * 3_600_000),
            shop: Options::default(),
            own_carrier: false,
            other_account: true,
            other_partner: false,
            unpaid: None,
        }
    }

    /// Another billing partner charges, for up to nine hours.
    pub fn of_partner(random: &mut super::Random) -> Self {
        Self {
            other_account: false,
            other_partner: true,
            ..Self::of_account(random)
        }
    }

    fn at_random(random: &mut super::Random) -> Self {
        let from = random.millis(5_000);
        let mut change = Self {
            from,
            until: from + random.millis(1_800_000),
            shop: Options::default(),
            own_carrier: false,
            other_account: false,
            other_partner: false,
            unpaid: None,
        };
        match random.below(5) {
            0 => change.shop.currency = "JPY",
            1 => change.shop.tax_rate = "0.07",
            2 => change.unpaid = Some(minutes([0, 1, 600][random.below(3)])),
            3 => return Self::of_partner(random),
            _ => change.own_carrier = true,
        }
        change
    }
}
