//! The parts of a history: the wishes, and the faults.

use std::time::Duration;

use domain::{PartnerName, UnpaidOrders};
use messages::queue::Queue;

use super::carrier::RealCarrier;
use super::world::{Faults, Protocol};
use crate::cloud::Options;

/// How long a partner remembers an idempotency key: 24 hours, as Stripe does.
const PARTNER_MEMORY: i64 = 24 * 3_600_000;

/// A payment method that a customer may agree to be charged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It can be charged.
    Good,
    /// Another one that can be charged.
    Other,
    /// Every charge of it is declined.
    Bad,
}

/// A customer's act about being charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Agrees to be charged with that method from now on.
    Approve(Method),
    /// Revokes the agreement.
    Revoke,
    /// Pays on the partner's own page, if the partner has one for the charge.
    PayOnPage,
}

/// The requested extent of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This amount.
    Amount(u32),
    /// This many items of the order's product.
    Items(u32),
    /// All that is left.
    Rest,
}

/// The extent of a refund by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The remaining amount.
    Whole,
    /// A small part.
    Part,
}

/// A change to a charge at the partner that this service did not request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A person makes a refund in the partner's dashboard.
    Refunds(Share),
    /// The bank returns every refund.
    FailsRefunds,
    /// The customer disputes the charge, and the bank decides some time later.
    Disputes,
}

/// A mail that the shop's back end requests in addition to those of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailing {
    /// At the email path, about the order, to an address that SES rejects.
    Refused,
    /// At the shipping path, about the order, to a friend.
    Friend,
}

/// Whether approvals carry idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approvals {
    /// Each has one.
    Keyed,
    /// None of them has one.
    Unkeyed,
}

/// Other uses of the idempotency keys of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// None: keys are used for repeats only.
    Kept,
    /// They are used with other bodies, too, which must be refused.
    Misused,
}

/// The price of a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Its items have prices.
    Usual,
    /// All its items have the price 0.
    Nothing,
}

/// A customer's wishes: one POST after another, each repeated until its answer is final.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Determines the outcome of the charge; see the abstract partner.
    pub customer: &'static str,
    /// The price of the cart.
    pub price: Price,
    /// Whether the cart carries `checkout`.
    pub checkout: bool,
    /// Whether the client also makes the later calls itself.
    pub explicit: bool,
    /// Whether the cart is updated once.
    pub update: bool,
    /// How many times an explicit request retries a declined payment.
    pub retries_after_decline: u32,
    /// When the order is cancelled, in milliseconds after the cart's answer.
    pub cancel_after: Option<i64>,
    /// When a second caller pays the order with keys of its own, in milliseconds after the cart's
    /// answer.
    pub rival_after: Option<i64>,
    /// The requested refunds, each with its time in milliseconds after the cart's answer. Another
    /// caller requests the second one, concurrently with the others.
    pub refunds: [Option<(i64, Extent)>; 3],
    /// The events at the partner, each with its time in milliseconds after the cart's answer.
    pub outside: [Option<(i64, Stranger)>; 2],
    /// The customer's acts, each with its time in milliseconds after the cart's answer.
    pub acts: [Option<(i64, Act)>; 3],
    /// Whether the customer's approvals carry idempotency keys.
    pub approvals: Approvals,
    /// An additional mail request.
    pub mailing: Option<Mailing>,
    /// The other uses of idempotency keys.
    pub keys: Keys,
    /// How many minutes the shop waits for its customers; with 0, orders never expire.
    pub unpaid_minutes: u64,
}

impl Scenario {
    /// The chain completes the cart automatically.
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

    /// Every step is requested, while the chain does the same.
    pub const EXPLICIT: Self = Self {
        checkout: false,
        explicit: true,
        ..Self::CHECKOUT
    };

    /// The cart has `checkout`, and every step is also requested.
    pub const BOTH: Self = Self {
        explicit: true,
        ..Self::CHECKOUT
    };

    /// The cart is updated before the other requests.
    pub const UPDATED: Self = Self {
        update: true,
        ..Self::EXPLICIT
    };

    /// The first attempt is declined; an explicit second one succeeds.
    pub const DECLINED_ONCE: Self = Self {
        customer: "declined-once",
        retries_after_decline: 2,
        ..Self::BOTH
    };

    /// Every attempt is declined.
    pub const DECLINED: Self = Self {
        customer: "declined",
        ..Self::CHECKOUT
    };

    /// The partner settles hours later.
    pub const PENDING: Self = Self {
        customer: "pending",
        ..Self::CHECKOUT
    };

    /// The partner declines hours later.
    pub const PENDING_THEN_DECLINED: Self = Self {
        customer: "pending-then-declined",
        ..Self::CHECKOUT
    };

    /// The customer acts at the bank later.
    pub const ACTS_LATER: Self = Self {
        customer: "acts-later",
        ..Self::CHECKOUT
    };

    /// The customer never acts.
    pub const MUST_ACT: Self = Self {
        customer: "must-act",
        ..Self::CHECKOUT
    };

    /// Cancelled immediately.
    pub const CANCELLED_AT_ONCE: Self = Self {
        cancel_after: Some(0),
        ..Self::CHECKOUT
    };

    /// Cancelled while the charge is in progress.
    pub const CANCELLED_WHILE_CHARGED: Self = Self {
        cancel_after: Some(130),
        ..Self::CHECKOUT
    };

    /// Cancelled at about the time of the payment.
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

    /// Declined, and cancelled once the time to pay has ended.
    pub const DECLINED_THEN_EXPIRED: Self = Self {
        unpaid_minutes: 60,
        ..Self::DECLINED
    };

    /// The customer never acts, and the order is cancelled once the time to pay has ended.
    pub const MUST_ACT_THEN_EXPIRED: Self = Self {
        unpaid_minutes: 60,
        ..Self::MUST_ACT
    };

    /// Declined, and paid at the very moment when the time to pay ends.
    pub const PAID_WHEN_EXPIRED: Self = Self {
        customer: "declined-once",
        rival_after: Some(60 * 60_000 + 160),
        unpaid_minutes: 60,
        ..Self::CHECKOUT
    };

    /// It costs nothing, and all callers request its payment.
    pub const FREE: Self = Self {
        price: Price::Nothing,
        rival_after: Some(130),
        ..Self::BOTH
    };

    /// It costs nothing, and is cancelled at about the time of the payment.
    pub const FREE_THEN_CANCELLED: Self = Self {
        price: Price::Nothing,
        cancel_after: Some(200),
        ..Self::CHECKOUT
    };

    /// Two callers refund parts of it, beginning with its payment.
    pub const REFUNDED_IN_PARTS: Self = Self {
        refunds: [
            Some((0, Extent::Amount(30))),
            Some((0, Extent::Items(1))),
            Some((0, Extent::Amount(5))),
        ],
        ..Self::CHECKOUT
    };

    /// Two callers refund all of it, beginning with its payment.
    pub const REFUNDED_WHOLLY: Self = Self {
        refunds: [Some((0, Extent::Rest)), Some((0, Extent::Rest)), None],
        ..Self::CHECKOUT
    };

    /// A part is refunded and the rest cancelled, at about the time of the payment.
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

    /// Two instances whose clocks are five minutes apart, and one with the correct time, in
    /// milliseconds.
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

    /// Whether money is refunded by other means than a cancellation.
    pub(super) fn moves_money(&self) -> bool {
        self.refunds.iter().any(Option::is_some) || self.outside.iter().any(Option::is_some)
    }

    /// The same scenario; its cancellation, if any, comes at a random time, so that it meets every
    /// step.
    #[must_use]
    pub fn cancelled_at_random(mut self, random: &mut super::Random) -> Self {
        if let Some(after) = &mut self.cancel_after {
            let most = [400, 5_000, 600_000][random.below(3)];
            *after = random.millis(most);
        }
        self
    }

    /// The same scenario with additional actors: each kind in some of the histories.
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

/// A deployment that changes a parameter and is rolled back later. The functions are replaced one
/// by one within five minutes, and old instances continue for a while.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// When the deployment begins, in milliseconds from the start.
    pub from: i64,
    /// When its rollback begins, in milliseconds from the start.
    pub until: i64,
    /// The shop's settings during the change.
    pub shop: Options,
    /// Whether the shop's own carrier ships during the change.
    pub own_carrier: bool,
    /// Whether the billing partner is called with another account's credentials during the change.
    pub other_account: bool,
    /// Whether another billing partner charges during the change. Each partner serves the other's
    /// charges as the former one.
    pub other_partner: bool,
    /// How long the shop waits for its customers during the change, if that changes.
    pub unpaid: Option<UnpaidOrders>,
}

/// The parts of one history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Determines everything that is left to chance.
    pub seed: u64,
    /// The wishes.
    pub scenarios: Vec<Scenario>,
    /// The faults, as long as they last.
    pub faults: Faults,
    /// How long the faults last, in milliseconds.
    pub faults_last: i64,
    /// How long the stream is dead from the start, in milliseconds.
    pub stream_dead: i64,
    /// How long the partner is down from the start, in milliseconds.
    pub partner_out: i64,
    /// How long the mailer accepts nothing from the start, in milliseconds.
    pub mailer_out: i64,
    /// The queue that accepts no messages from the start, and for how long, in milliseconds.
    pub queue_out: Option<(Queue, i64)>,
    /// The period in which the database is frozen, in milliseconds from the start.
    pub database_frozen: Option<(i64, i64)>,
    /// How long the partner remembers an idempotency key, in milliseconds.
    pub partner_memory: i64,
    /// The protocol of the abstract partner.
    pub protocol: Protocol,
    /// How many unreadable orders are due in each shard of the step `payment`.
    pub strangers: usize,
    /// How long the shop waits for its customers.
    pub unpaid: UnpaidOrders,
    /// A parameter that changes during the history.
    pub change: Option<Change>,
    /// The number of shards of the stream.
    pub relay_shards: usize,
    /// How often a change at the partner is reported by a webhook, or by two, in permille.
    pub webhooks: u32,
    /// How often a refund fails days after it succeeded, in permille. The partner reports it by
    /// webhook, because this service no longer asks.
    pub refunds_fail: u32,
    /// How often a refund is pending for some hours, in permille. It then succeeds, or fails as
    /// often as others.
    pub refunds_pend: u32,
    /// How often an operator redrives dead letters or requeues an order, in permille of the
    /// minutes.
    pub operator: u32,
    /// Kills the task before these effects, counted from 1.
    pub crash_at: Vec<u64>,
    /// Lets Lambda end the task at these effects, once they are carried out.
    pub timeout_at: Vec<u64>,
    /// Carries these effects out and loses their answers.
    pub lost_answer_at: Vec<u64>,
    /// Loses these effects' requests, and delivers them ten minutes later.
    pub late_at: Vec<u64>,
    /// The errors of the instances' clocks, in milliseconds.
    pub skews: [i64; 3],
    /// The billing partner whose real client is used, over a wire to its double; `None` for the
    /// abstract partner.
    pub partner: Option<PartnerName>,
    /// The carrier whose real client is used, over a wire to its double; `None` for the abstract
    /// carrier.
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

    /// Whether an order that waits for its customer expires, whichever instance checks it.
    pub(super) fn surely_expires(&self) -> bool {
        let change = self.change.and_then(|change| change.unpaid);
        change.is_none() && self.unpaid != UnpaidOrders::NEVER_EXPIRE
    }

    /// Whether an order that waits for its customer may expire.
    pub(super) fn may_expire(&self) -> bool {
        let change = self.change.and_then(|change| change.unpaid);
        change.is_some() || self.unpaid != UnpaidOrders::NEVER_EXPIRE
    }

    /// The protocols of the history's abstract partners.
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

    /// Whether no fault can prevent a mail from being confirmed.
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

/// Random plans, one for each seed.
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
        // Lets refunds come before the shipment, too.
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
    /// The plan of that seed, in which every order is refunded: two callers request it, people and
    /// banks act at the partner, and some of the shipments wait for that.
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
        // These faults last for days and would hide what happens at the same time.
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
    /// Another account's credentials replace the billing partner's, for up to nine hours.
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
