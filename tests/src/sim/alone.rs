//! The abstract partner without a history, for tests of the obligations of every partner.

use std::time::Duration;

use domain::Timestamp;
use payment::partners::BillingPartner;

use super::ends::Outside;
use super::world::{Faults, Protocol, World};

/// The abstract partner and its books, in a world without faults except requested ones.
#[derive(Clone, Debug)]
pub struct AbstractPartner(World, Protocol);

impl AbstractPartner {
    /// A partner with this protocol.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self(World::new(0, Faults::default(), false), protocol)
    }

    /// A client of the partner.
    #[must_use]
    pub fn client(&self) -> impl BillingPartner + use<> {
        Outside(self.0.clone(), self.1)
    }

    /// The partner's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now())
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0
            .pass(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    }

    /// The next request is carried out, but its answer is lost.
    pub fn lose_answer(&self) {
        let mut state = self.0.state();
        let next = state.effects + 1;
        state.lost_answer_at.push(next);
    }

    /// The payment methods of all captures, one entry for each.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        let state = self.0.state();
        let takings = state.takings.iter();
        takings.map(|taking| taking.method.clone()).collect()
    }

    /// The number of refunds.
    #[must_use]
    pub fn given_back(&self) -> usize {
        let state = self.0.state();
        let charges = state.charges.values();
        let refunds = charges.flat_map(|charge| &charge.refunds);
        refunds.filter(|refund| refund.holds()).count()
    }
}
