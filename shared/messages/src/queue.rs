//! Where messages go.

mod sqs;

use std::future::Future;

use platform::aws::{AwsFailure, Outcome};

use crate::Message;

pub use sqs::Sqs;

/// The four queues between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// Orders whose invoice is to be issued.
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

/// Why messages were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The call failed.
    #[error(transparent)]
    Aws(#[from] AwsFailure),
    /// The queue took the call but not every message.
    #[error("{refused} of {sent} messages were not taken")]
    Partial {
        /// How many were refused.
        refused: usize,
        /// How many were sent.
        sent: usize,
    },
    /// The queue did not answer in the time that there was.
    #[error("the queue did not answer in time")]
    TimedOut,
    /// A message could not be written as JSON.
    #[error("a message could not be written as JSON")]
    Encoding,
    /// This function was not told the queue's URL.
    #[error("no URL is configured for the {0:?} queue")]
    NotConfigured(Queue),
}

impl QueueError {
    /// What is known of the messages.
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

/// Takes messages for the steps.
pub trait EventQueue: Send + Sync {
    /// Sends all messages to `queue`.
    ///
    /// `Ok` MUST mean that every one of them is durably stored there. On an error any subset may
    /// have been: the caller sends all again, and consumers do nothing for a repeat.
    fn send(
        &self,
        queue: Queue,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), QueueError>> + Send;
}
