//! The queues between the steps.

mod sqs;

use std::future::Future;

use platform::aws::{AwsFailure, Outcome};

use crate::Message;

pub use sqs::Sqs;

/// The four queues between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// Orders to be invoiced.
    Billing,
    /// Invoices to be charged.
    Payment,
    /// Paid orders to be shipped.
    Shipment,
    /// Mails to be sent.
    Email,
}

impl Queue {
    /// Every queue, in the order of the steps.
    pub const ALL: [Self; 4] = [Self::Billing, Self::Payment, Self::Shipment, Self::Email];
}

/// Why messages were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The call failed.
    #[error(transparent)]
    Aws(#[from] AwsFailure),
    /// The queue answered but refused some messages.
    #[error("{refused} of {sent} messages were not accepted")]
    Partial {
        /// How many were refused.
        refused: usize,
        /// How many were sent.
        sent: usize,
    },
    /// The queue did not answer in time.
    #[error("the queue did not answer in time")]
    TimedOut,
    /// A message could not be serialized.
    #[error("a message could not be written as JSON")]
    Encoding,
    /// The environment has no URL for the queue.
    #[error("no URL is configured for the {0:?} queue")]
    NotConfigured(Queue),
}

impl QueueError {
    /// The outcome of the send.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Aws(failure) => failure.outcome(),
            Self::Partial { refused, sent } if refused < sent => Outcome::Unknown,
            Self::TimedOut => Outcome::Unknown,
            Self::Partial { .. } | Self::Encoding | Self::NotConfigured(_) => Outcome::NothingDone,
        }
    }
}

/// Sends messages to the steps.
pub trait EventQueue: Send + Sync {
    /// Sends all messages to `queue`.
    ///
    /// `Ok` MUST mean that every message is stored durably. After an error, any subset may be
    /// stored: the caller sends all of them again, and consumers ignore repeats.
    fn send(
        &self,
        queue: Queue,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}
