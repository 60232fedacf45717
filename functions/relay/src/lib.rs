//! Turns the events recorded on orders into messages for the steps.
//!
//! **Relay**: the stream of the Orders table delivers every write. A write with an event becomes
//! messages to the queues that need it. **Sweep**: once a minute, the same code publishes overdue
//! orders and promised mails again. A dead stream, a lost message, and an expired dead letter
//! therefore all recover: the order records what is due, and a message is only a hint.

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
