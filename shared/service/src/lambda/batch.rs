//! SQS batches: each message is handled on its own and succeeds or fails on its own.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use futures_util::FutureExt;
use futures_util::future::join_all;
use messages::{Message, MessageError};
use serde_json::value::RawValue;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use super::gateway::Fields;
use super::{Function, Handler, log_failure};
use crate::error::Error;

/// Outcome of a message that caused no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// Carried out, now or earlier: delete it.
    Done,
    /// A prerequisite is missing: keep it and retry.
    NotYet,
}

/// What the batch response tells SQS to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Delete,
    Keep,
}

/// The required fields of a batch's message ("Using Lambda with Amazon SQS"); empty if they cannot
/// be read.
#[derive(Debug, Default)]
struct Record {
    id: String,
    body: String,
}

impl Record {
    fn read(record: &RawValue) -> Self {
        let fields: Fields<'_> = serde_json::from_str(record.get()).unwrap_or_default();
        let text = |name| -> String {
            let field = fields.get(name);
            field
                .and_then(|field| serde_json::from_str(field.get()).ok())
                .unwrap_or_default()
        };
        Self {
            id: text("messageId"),
            body: text("body"),
        }
    }
}

impl<F: Function> Handler<F> {
    /// Consumes each message. A kept message without an ID is reported by an empty one, so SQS
    /// delivers the whole batch again ("Handling errors for an SQS event source in Lambda").
    pub(super) async fn consume_batch(&self, records: &[&RawValue]) -> SqsBatchResponse {
        let records: Vec<Record> = records.iter().map(|record| Record::read(record)).collect();
        let dispositions = records.iter().map(|record| {
            let span = tracing::error_span!("message", message_id = record.id, order_id = Empty);
            self.consume_record(record).instrument(span)
        });
        let dispositions = join_all(dispositions).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = records
            .into_iter()
            .zip(dispositions)
            .filter(|(_, disposition)| *disposition == Disposition::Keep)
            .map(|(record, _)| {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = record.id;
                failure
            })
            .collect();
        response
    }

    async fn consume_record(&self, record: &Record) -> Disposition {
        let message = match Message::from_json(&record.body) {
            Ok(message) => message,
            Err(error) => return self.consume_foreign(record, &error).await,
        };
        let (event_id, kind) = (message.id.clone(), message.kind.as_str());
        let span = tracing::error_span!(
            "event",
            event_id,
            event = kind,
            order_id = Empty,
            traceparent = message.traceparent,
        );
        if let Some(order) = &message.order {
            span.record("order_id", display(order));
        }
        let consumed = AssertUnwindSafe(self.function.consume(message))
            .catch_unwind()
            .instrument(span.clone())
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the consumer panicked".into())));
        let _entered = span.entered();
        disposition(consumed)
    }

    async fn consume_foreign(&self, record: &Record, error: &MessageError) -> Disposition {
        let consumed = AssertUnwindSafe(self.function.consume_foreign(&record.body))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Some(Err(Error::Internal("the consumer panicked".into()))));
        let Some(consumed) = consumed else {
            // No retry can succeed: SQS moves it to the dead-letter queue after its last receive.
            log_poison(error);
            return Disposition::Keep;
        };
        disposition(consumed)
    }
}

fn disposition(consumed: Result<Consumed, Error>) -> Disposition {
    match consumed {
        Ok(Consumed::Done) => {
            tracing::info!("done");
            Disposition::Delete
        }
        Ok(Consumed::NotYet) => {
            tracing::info!("not yet; kept");
            Disposition::Keep
        }
        Err(error) => {
            log_failure(&error);
            Disposition::Keep
        }
    }
}

fn log_poison(error: &MessageError) {
    // The JSON error states the position, not the text.
    tracing::error!(code = "poison_message", %error, "kept for the dead-letter queue");
}
