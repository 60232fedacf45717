//! Where messages go.

use std::future::Future;

use crate::aws::AwsFailure;
use crate::event::Message;

/// The four queues between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// Orders whose invoice is to be issued.
    Billing,
    /// Invoices to be charged.
    Payment,
    /// Paid orders to be shipped.
    Shipping,
    /// Mails to be sent.
    Email,
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
    /// A message could not be written as JSON.
    #[error("a message could not be written as JSON")]
    Encoding,
    /// This function was not told the queue's URL.
    #[error("no URL is configured for the {0:?} queue")]
    NotConfigured(Queue),
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

/// SQS standard queues.
#[cfg(feature = "sqs")]
#[derive(Clone, Debug)]
pub struct Sqs {
    client: aws_sdk_sqs::Client,
    urls: Vec<(Queue, String)>,
}

#[cfg(feature = "sqs")]
mod sqs {
    use aws_sdk_sqs::types::SendMessageBatchRequestEntry as Entry;

    use super::{EventQueue, Message, Queue, QueueError, Sqs};
    use crate::aws::AwsFailure;
    use crate::config::Environment;

    /// SQS takes ten messages in a call ("Amazon SQS message quotas")…
    const MAX_ENTRIES: usize = 10;
    /// …of together at most 256 KiB, kept to with room for the envelope.
    const MAX_BYTES: usize = 240 * 1024;

    impl Sqs {
        /// Queues at these URLs.
        #[must_use]
        pub fn new(client: aws_sdk_sqs::Client, urls: Vec<(Queue, String)>) -> Self {
            Self { client, urls }
        }

        /// Reads `BILLING_QUEUE_URL`, `PAYMENT_QUEUE_URL`, `SHIPPING_QUEUE_URL`,
        /// `EMAIL_QUEUE_URL`; a function has those that it may send to.
        #[must_use]
        pub fn from_environment(client: aws_sdk_sqs::Client, environment: Environment<'_>) -> Self {
            let names = [
                (Queue::Billing, "BILLING_QUEUE_URL"),
                (Queue::Payment, "PAYMENT_QUEUE_URL"),
                (Queue::Shipping, "SHIPPING_QUEUE_URL"),
                (Queue::Email, "EMAIL_QUEUE_URL"),
            ];
            let urls = names
                .into_iter()
                .filter_map(|(queue, name)| Some((queue, environment.optional(name)?)))
                .collect();
            Self::new(client, urls)
        }

        async fn send_entries(&self, url: &str, entries: Vec<Entry>) -> Result<(), QueueError> {
            let sent = entries.len();
            let result = self
                .client
                .send_message_batch()
                .queue_url(url)
                .set_entries(Some(entries))
                .send()
                .await
                .map_err(|error| AwsFailure::new("SendMessageBatch", &error))?;
            match result.failed().len() {
                0 => Ok(()),
                refused => Err(QueueError::Partial { refused, sent }),
            }
        }
    }

    impl EventQueue for Sqs {
        async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
            let (_, url) = self
                .urls
                .iter()
                .find(|(name, _)| *name == queue)
                .ok_or(QueueError::NotConfigured(queue))?;
            let mut entries = Vec::new();
            let mut bytes = 0;
            for message in messages {
                let body = message.to_json().map_err(|_| QueueError::Encoding)?;
                if entries.len() == MAX_ENTRIES || bytes + body.len() > MAX_BYTES {
                    if !entries.is_empty() {
                        self.send_entries(url, std::mem::take(&mut entries)).await?;
                    }
                    bytes = 0;
                }
                bytes += body.len();
                let entry = Entry::builder()
                    .id(entries.len().to_string())
                    .message_body(body)
                    .build()
                    .map_err(|_| QueueError::Encoding)?;
                entries.push(entry);
            }
            if entries.is_empty() {
                Ok(())
            } else {
                self.send_entries(url, entries).await
            }
        }
    }
}

impl From<QueueError> for crate::error::Error {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Aws(_) | QueueError::Partial { .. } => Self::Unavailable {
                dependency: crate::error::Dependency::Queue,
                source: error.into(),
            },
            QueueError::Encoding | QueueError::NotConfigured(_) => Self::Internal(error.into()),
        }
    }
}
