//! The Orders stream.

use std::collections::HashMap;
use std::panic::catch_unwind;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{EventType, Order, OrderId};
use messages::queue::{EventQueue, Queue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::order_from_item;

use crate::publish::{Dispatch, dispatches, send};

/// The fields needed of a DynamoDB stream record ("Using AWS Lambda with Amazon DynamoDB", event
/// format). Records are read one by one, so that a damaged one affects no other.
#[derive(Debug, Deserialize)]
pub struct StreamRecord {
    dynamodb: Change,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "NewImage")]
    new_image: Option<serde_dynamo::Item>,
}

/// The sequence numbers of the records to deliver again ("Reporting batch item failures"). Lambda
/// restarts from the first.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayFailures {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

/// The sequence number, which even a damaged record has.
#[derive(Deserialize)]
struct Numbered {
    dynamodb: NumberedChange,
}

#[derive(Deserialize)]
struct NumberedChange {
    #[serde(rename = "SequenceNumber")]
    sequence_number: String,
}

/// A record's sequence number, or an empty one if it has none: Lambda then retries the whole batch
/// ("Configuring partial batch response with DynamoDB and Lambda").
fn sequence_number(record: &RawValue) -> String {
    let numbered = serde_json::from_str(record.get());
    numbered.map_or_else(
        |_| String::new(),
        |numbered: Numbered| numbered.dynamodb.sequence_number,
    )
}

/// The order's ID in a record whose other parts may be damaged.
fn order_of(record: &RawValue) -> Option<String> {
    let record: Value = serde_json::from_str(record.get()).ok()?;
    let id = record.pointer("/dynamodb/NewImage/orderId/S")?.as_str()?;
    OrderId::parse(id).ok().map(|id| id.to_string())
}

impl RelayFailures {
    /// The sequence numbers of the failed records.
    #[must_use]
    pub fn sequence_numbers(&self) -> Vec<&str> {
        self.batch_item_failures
            .iter()
            .map(|failure| failure.item_identifier.as_str())
            .collect()
    }
}

/// Why a record cannot be read. Permanent: no retry can succeed.
#[derive(Debug, thiserror::Error)]
enum PoisonRecord {
    #[error("the record is not a stream record")]
    Shape,
    #[error("reading the record panicked")]
    Panicked,
    #[error("the image is not an order")]
    Image(#[from] store::Corrupt),
}

/// The order and the event of a record; `None` if the write was not a transition.
fn read(record: &RawValue) -> Result<Option<(Order, EventType)>, PoisonRecord> {
    let record: StreamRecord =
        serde_json::from_str(record.get()).map_err(|_| PoisonRecord::Shape)?;
    // A deletion has no new image.
    let Some(image) = record.dynamodb.new_image else {
        return Ok(None);
    };
    let image: HashMap<String, AttributeValue> = image.into();
    let order = order_from_item(&image)?;
    Ok(order
        .event
        .as_ref()
        .map(|event| event.kind)
        .map(|kind| (order, kind)))
}

/// A message, its record, and whether the record's order is due.
struct Wanted {
    record: usize,
    dispatch: Dispatch,
    is_due: bool,
}

/// Outcome of a batch of records.
pub(crate) struct Relayed {
    pub(crate) failures: RelayFailures,
    /// Messages left to the sweep.
    pub(crate) deferred: u64,
}

/// Publishes the events of the records.
///
/// A queue that refuses holds back no record: the write that recorded the event also marked its
/// order as due, so the sweep publishes what was refused. Only what the sweep cannot recover is
/// reported: a damaged record, and a message of an order without a due mark.
///
/// A shop that sends no mails publishes none.
pub(crate) async fn relay(
    queues: &impl EventQueue,
    records: &[&RawValue],
    sends_mails: bool,
) -> Relayed {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut failed: Vec<usize> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let read = catch_unwind(|| read(record)).unwrap_or(Err(PoisonRecord::Panicked));
        match read {
            Ok(None) => {}
            Ok(Some((order, kind))) => {
                let all = dispatches(&order, kind).into_iter();
                let asked = all.filter(|each| sends_mails || each.queue != Queue::Email);
                wanted.extend(asked.map(|dispatch| Wanted {
                    record: index,
                    dispatch,
                    is_due: order.due.is_some(),
                }));
            }
            Err(error) => {
                let order_id = order_of(record);
                tracing::error!(order_id, code = "poison_record", %error, "not published");
                failed.push(index);
            }
        }
    }
    let all: Vec<Dispatch> = wanted.iter().map(|each| each.dispatch.clone()).collect();
    let mut deferred = 0;
    for (queue, error) in send(queues, &all).await {
        let refused = wanted.iter().filter(|each| each.dispatch.queue == queue);
        let (left, kept): (Vec<&Wanted>, Vec<&Wanted>) = refused.partition(|each| each.is_due);
        tracing::warn!(?queue, %error, deferred = left.len(), failed = kept.len(), "left to the sweep");
        deferred += left.len() as u64;
        failed.extend(kept.iter().map(|each| each.record));
    }
    failed.sort_unstable();
    failed.dedup();
    let failures = failed.into_iter().map(|index| Failure {
        item_identifier: sequence_number(records[index]),
    });
    Relayed {
        failures: RelayFailures {
            batch_item_failures: failures.collect(),
        },
        deferred,
    }
}
