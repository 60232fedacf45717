//! The functions' instances, and the deployments that replace them.

use std::sync::Arc;

use dynoxide::Database as Engine;
use messages::queue::Queue;
use payment::partners::Partners;
use store::Store;

use super::World;
use super::carrier::{Depot, Shipper};
use super::database::client;
use super::ends::Outside;
use super::partner::{Account, Double, Doubles, Partner};
use super::scenario::{Change, Plan};
use crate::Database;
use crate::cloud::{Options, START};
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Services};

pub(super) type Instance = Services<Partner, Shipper, Outside, Outside>;

/// The time until all functions of a deployment are replaced, in milliseconds.
const ROLLOUT: i64 = 300_000;

/// How long a function's old instance receives events beside the new ones, in milliseconds.
const OVERLAP: i64 = 60_000;

/// A Lambda function, as far as deployments distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lambda {
    Cart,
    Billing,
    Payment,
    Shipment,
    Other,
    Worker(Queue),
}

impl Lambda {
    pub(super) fn of_path(path: &str) -> Self {
        match path {
            "/api/order/cart.json" => Self::Cart,
            "/api/order/invoice.json" => Self::Billing,
            "/api/order/payment.json" | "/api/order/cancel.json" | "/api/order/refund.json" => {
                Self::Payment
            }
            "/api/order/shipping.json" => Self::Shipment,
            _ => Self::Other,
        }
    }

    /// The time in a rollout at which it is replaced, in milliseconds.
    fn replaced_after(self, seed: u64) -> i64 {
        let number = match self {
            Self::Cart => 1,
            Self::Billing => 2,
            Self::Payment => 3,
            Self::Shipment => 4,
            Self::Other => 5,
            Self::Worker(Queue::Billing) => 6,
            Self::Worker(Queue::Payment) => 7,
            Self::Worker(Queue::Shipment) => 8,
            Self::Worker(Queue::Email) => 9,
        };
        super::Random::new(seed ^ (number << 32)).millis(ROLLOUT)
    }
}

/// An instance and its configuration.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) instance: Arc<Instance>,
    pub(super) currency: &'static str,
}

/// All instances that may receive an event.
#[derive(Debug)]
pub(super) struct Fleet {
    seed: u64,
    usual: Vec<Configured>,
    changed: Vec<Configured>,
    /// After the rollback: the original configuration, with the partner of the change as the former
    /// one.
    rolled_back: Vec<Configured>,
    change: Option<Change>,
}

impl Fleet {
    pub(super) fn new(
        plan: &Plan,
        engine: &Engine,
        world: &World,
        doubles: &Doubles,
        depot: &Depot,
    ) -> Self {
        type Billing<'a> = (&'a Double, Option<&'a Double>, Account);
        let instance = |skew: i64, shop: Options, own_carrier: bool, billing: Billing<'_>| {
            let (current, former, account) = billing;
            let runtime = world.runtime(skew);
            let store = Store::new(client(engine, world), Database::tables(), runtime.clone());
            let outside = || Outside::of(world);
            let partner = |double: &Double| double.client(world, &runtime, account);
            let partners = Partners::from(partner(current));
            let partners = match former {
                Some(former) => partners.and_former(partner(former)),
                None => partners,
            };
            let carrier = if own_carrier {
                Shipper::Own
            } else {
                depot.client(world)
            };
            let ends = Ends {
                partners,
                carrier,
                queues: outside(),
                mailer: outside(),
                certificates: Front::new(Arc::new(PayPalCertificates)),
            };
            Configured {
                instance: Arc::new(Services::new(&store, shop, &runtime, ends)),
                currency: shop.currency,
            }
        };
        let shop = Options {
            unpaid: plan.unpaid,
            ..Options::default()
        };
        let (first, second) = (&doubles.first, doubles.second.as_ref());
        let usual = |skew: &i64| instance(*skew, shop, false, (first, None, Account::First));
        let rolled_back =
            |skew: &i64| instance(*skew, shop, false, (first, second, Account::First));
        let changed = plan.change.map(|change| {
            let account = if change.other_account {
                Account::Second
            } else {
                Account::First
            };
            let shop = Options {
                unpaid: change.unpaid.unwrap_or(plan.unpaid),
                ..change.shop
            };
            let skews = plan.skews.iter();
            let billing = match second {
                Some(second) => (second, Some(first), account),
                None => (first, None, account),
            };
            let changed = skews.map(|skew| instance(*skew, shop, change.own_carrier, billing));
            changed.collect()
        });
        Self {
            seed: plan.seed,
            usual: plan.skews.iter().map(usual).collect(),
            changed: changed.unwrap_or_default(),
            rolled_back: plan.skews.iter().map(rolled_back).collect(),
            change: plan.change,
        }
    }

    /// One of the instances that currently receive events for that function.
    pub(super) fn pick(&self, lambda: Lambda, world: &World) -> Configured {
        let mut state = world.state();
        let since = world.now() - START;
        let instances = match self.change {
            None => &self.usual,
            Some(change) => {
                let after = lambda.replaced_after(self.seed);
                let (from, until) = (change.from + after, change.until + after);
                let overlaps = |at: i64| (at..at + OVERLAP).contains(&since);
                let is_old = (overlaps(from) || overlaps(until)) && state.random.chance(500);
                // An old instance existed before the last change.
                let at = if is_old { since - OVERLAP } else { since };
                if at < from {
                    &self.usual
                } else if at < until {
                    &self.changed
                } else {
                    &self.rolled_back
                }
            }
        };
        instances[state.random.below(instances.len())].clone()
    }

    /// When the last rollback has finished.
    pub(super) fn settled_at(&self) -> i64 {
        let last = self
            .change
            .map_or(0, |change| change.until + ROLLOUT + OVERLAP);
        START + last
    }

    /// The first instance, for a test that makes one call.
    pub(super) fn first(&self) -> &Arc<Instance> {
        &self.usual[0].instance
    }
}
