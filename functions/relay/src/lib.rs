//! Turns what orders remember into messages for the steps.
//!
//! **Relay**: the stream of the Orders table brings every write; one that carries an event becomes
//! messages to the queues that want it. **Sweep**: once a minute, orders that have waited too long
//! are published again by the same code, and so are promised mails. So a stream that is dead, a message that is lost and a
//! dead letter that has expired all end alike: the order itself says what is due, and a message is
//! only a hint.

mod handler;
mod mails;
mod publish;
mod queues;
mod relay;
mod sweep;

pub use handler::Relay;
pub use mails::MailReport;
pub use relay::{RelayFailures, StreamRecord};
pub use sweep::SweepReport;
