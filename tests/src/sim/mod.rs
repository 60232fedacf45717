//! A seeded, deterministic simulation of the whole service: the real handlers over the real store
//! on an embedded DynamoDB, the real relay and sweep, under a virtual clock. Everything that leaves
//! a process is an *effect*. Before each effect, the scheduler may run another task, freeze this
//! one, or kill it. The effect's request or its answer may be lost.

mod alone;
mod bank;
mod carrier;
mod client;
mod database;
mod ends;
mod fleet;
mod invariants;
mod partner;
mod random;
mod refunds;
mod run;
mod scenario;
mod stored;
mod stream;
mod webhooks;
mod wire;
mod world;

pub use alone::AbstractPartner;
pub use carrier::RealCarrier;
pub use database::client_within_the_process;
pub use invariants::Violation;
pub use random::Random;
pub use run::Simulation;
pub use scenario::{
    Act, Approvals, Change, Extent, Histories, Keys, Mailing, Method, Plan, Price, Scenario,
    Stranger,
};
pub use world::{Faults, Protocol, World};
