//! The functions' instances, and the deployments that replace them.

use std::sync::Arc;

use dynoxide::Database as Engine;
use messages::queue::Queue;
use store::Store;

use super::World;
use super::carrier::{Depot, Shipper};
use super::database::client;
use super::ends::Outside;
use super::partner::{Account, Double, Partner};
use super::scenario::{Change, Plan};
use crate::Database;
use crate::cloud::{Options, START};
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Services};

pub(super) type Instance = Services<Partner, Shipper, Outside, Outside>;

/// How long it takes until every function of a deployment is replaced, in milliseconds.
const ROLLOUT: i64 = 300_000;

/// How long an old instance of a function takes events beside the new ones.
const OVERLAP: i64 = 60_000;

/// A Lambda function, as far as deployments tell them apart.
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
            "/api/order/payment.json" | "/api/order/cancel.json" => Self::Payment,
            "/api/order/shipping.json" => Self::Shipment,
            _ => Self::Other,
        }
    }

    /// When in a rollout it is replaced.
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

/// An instance and how it was configured.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) instance: Arc<Instance>,
    pub(super) currency: &'static str,
}

/// Every instance that may take an event.
#[derive(Debug)]
pub(super) struct Fleet {
    seed: u64,
    usual: Vec<Configured>,
    changed: Vec<Configured>,
    change: Option<Change>,
}

impl Fleet {
    pub(super) fn new(
        plan: &Plan,
        engine: &Engine,
        world: &World,
        double: &Double,
        depot: &Depot,
    ) -> Self {
        let instance = |skew: i64, shop: Options, own_carrier: bool, account: Account| {
            let runtime = world.runtime(skew);
            let store = Store::new(client(engine, world), Database::tables(), runtime.clone());
            let outside = || Outside(world.clone());
            let carrier = if own_carrier {
                Shipper::Own
            } else {
                depot.client(world)
            };
            let ends = Ends {
                partners: double.client(world, &runtime, account).into(),
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
        let usual = |skew: &i64| instance(*skew, shop, false, Account::First);
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
            let changed = skews.map(|skew| instance(*skew, shop, change.own_carrier, account));
            changed.collect()
        });
        Self {
            seed: plan.seed,
            usual: plan.skews.iter().map(usual).collect(),
            changed: changed.unwrap_or_default(),
            change: plan.change,
        }
    }

    /// One of the instances that take an event of that function now.
    pub(super) fn pick(&self, lambda: Lambda, world: &World) -> Configured {
        let mut state = world.state();
        let since = world.now() - START;
        let is_changed = self.change.is_some_and(|change| {
            let after = lambda.replaced_after(self.seed);
            let (from, until) = (change.from + after, change.until + after);
            let overlaps = |at: i64| (at..at + OVERLAP).contains(&since);
            let is_inside = (from..until).contains(&since);
            if overlaps(from) || overlaps(until) {
                state.random.chance(500)
            } else {
                is_inside
            }
        });
        let instances = if is_changed {
            &self.changed
        } else {
            &self.usual
        };
        instances[state.random.below(instances.len())].clone()
    }

    /// When the last rollback is over.
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
