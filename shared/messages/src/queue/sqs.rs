//! SQS standard queues.

use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry as Entry};
use platform::aws::AwsFailure;
use platform::config::Environment;
use platform::runtime::Runtime;

use super::{EventQueue, Message, Queue, QueueError};

/// SQS accepts ten messages per call ("Amazon SQS message quotas") …
const MAX_ENTRIES: usize = 10;
/// … of at most 256 KiB in total. Kept lower to leave room for the envelope.
const MAX_BYTES: usize = 240 * 1024;

/// The maximum pauses before refused messages are sent again.
const PAUSES: [Option<Duration>; 4] = [
    Some(Duration::from_millis(100)),
    Some(Duration::from_millis(200)),
    Some(Duration::from_millis(400)),
    None,
];

/// SQS standard queues.
#[derive(Clone, Debug)]
pub struct Sqs {
    client: aws_sdk_sqs::Client,
    urls: Vec<(Queue, String)>,
}

impl Sqs {
    /// Sends to the queues at these URLs.
    #[must_use]
    pub fn new(client: aws_sdk_sqs::Client, urls: Vec<(Queue, String)>) -> Self {
        Self { client, urls }
    }

    /// Reads `BILLING_QUEUE_URL`, `PAYMENT_QUEUE_URL`, `SHIPMENT_QUEUE_URL`, and `EMAIL_QUEUE_URL`.
    /// A function has the URLs of only those queues that it may send to.
    #[must_use]
    pub fn from_environment(client: aws_sdk_sqs::Client, environment: Environment<'_>) -> Self {
        let names = [
            (Queue::Billing, "BILLING_QUEUE_URL"),
            (Queue::Payment, "PAYMENT_QUEUE_URL"),
            (Queue::Shipment, "SHIPMENT_QUEUE_URL"),
            (Queue::Email, "EMAIL_QUEUE_URL"),
        ];
        let urls = names
            .into_iter()
            .filter_map(|(queue, name)| Some((queue, environment.optional(name)?)))
            .collect();
        Self::new(client, urls)
    }

    /// Sends one call's messages, and retries those that the queue refused through no fault of
    /// theirs ("SendMessageBatch": "a combination of successful and unsuccessful actions").
    async fn send_entries(&self, url: &str, mut entries: Vec<Entry>) -> Result<(), QueueError> {
        let sent = entries.len();
        for pause in PAUSES {
            let call = self.client.send_message_batch().queue_url(url);
            let result = call.set_entries(Some(entries.clone())).send().await;
            let answer = match result {
                Ok(answer) => answer,
                Err(_) if entries.len() < sent => break,
                Err(error) => return Err(AwsFailure::new("SendMessageBatch", &error).into()),
            };
            let failed = answer.failed();
            if failed.is_empty() {
                return Ok(());
            }
            entries.retain(|entry| failed.iter().any(|each| each.id() == entry.id()));
            // A message's own error is permanent.
            let is_permanent = failed.iter().any(BatchResultErrorEntry::sender_fault);
            let Some(most) = pause.filter(|_| !is_permanent) else {
                break;
            };
            tokio::time::sleep(Runtime::system().jitter(most)).await;
        }
        Err(QueueError::Partial {
            refused: entries.len(),
            sent,
        })
    }
}

impl EventQueue for Sqs {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        let (_, url) = self
            .urls
            .iter()
            .find(|(name, _)| *name == queue)
            .ok_or(QueueError::NotConfigured(queue))?;
        let bodies = messages
            .iter()
            .map(Message::to_json)
            .collect::<Result<Vec<_>, _>>();
        for call in calls(bodies.map_err(|_| QueueError::Encoding)?) {
            let entries = call.into_iter().enumerate().map(|(index, body)| {
                Entry::builder()
                    .id(index.to_string())
                    .message_body(body)
                    .build()
                    .map_err(|_| QueueError::Encoding)
            });
            self.send_entries(url, entries.collect::<Result<_, _>>()?)
                .await?;
        }
        Ok(())
    }
}

/// Splits bodies, in order, into as few calls as SQS's limits allow. A body over the limit gets its
/// own call, for SQS to refuse.
fn calls(bodies: Vec<String>) -> Vec<Vec<String>> {
    let mut calls: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for body in bodies {
        bytes += body.len();
        match calls.last_mut() {
            Some(call) if call.len() < MAX_ENTRIES && bytes <= MAX_BYTES => call.push(body),
            _ => {
                bytes = body.len();
                calls.push(vec![body]);
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_message_is_sent_once_in_order_within_the_limits(
            sizes in prop::collection::vec(0_usize..MAX_BYTES + 10_000, 0..40),
        ) {
            let bodies: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
            let calls = calls(bodies.clone());
            prop_assert_eq!(calls.concat(), bodies);
            for call in &calls {
                prop_assert!((1..=MAX_ENTRIES).contains(&call.len()));
                let bytes: usize = call.iter().map(String::len).sum();
                prop_assert!(bytes <= MAX_BYTES || call.len() == 1);
            }
        }

        #[test]
        fn small_messages_share_calls(count in 0_usize..100) {
            let calls = calls(vec!["x".to_owned(); count]);
            prop_assert_eq!(calls.len(), count.div_ceil(MAX_ENTRIES));
        }
    }
}
