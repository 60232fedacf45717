//! The Orders stream and the mapping that delivers it to the relay: shards out of step,
//! checkpoints, and batches that are delivered again, bisected, or given up.

use serde_json::Value;

use super::World;
use crate::StreamReader;
use crate::services::carries_event;

/// How long a stream keeps its records, in milliseconds.
const RETENTION: i64 = 24 * 3_600_000;

/// One shard's records, and how far they were relayed.
#[derive(Debug, Default)]
struct Shard {
    records: Vec<(i64, Value)>,
    relayed: usize,
    is_busy: bool,
    /// How many times the batch failed. Its next delivery comes later each time, up to a minute.
    failures: u32,
    next_at: i64,
    /// The maximum number of records in the next batch, after one that failed.
    bisected: Option<usize>,
}

/// The stream as the mapping sees it.
pub(super) struct Stream {
    reader: StreamReader,
    shards: Vec<Shard>,
    /// The number of events and the time of the last read of the stream.
    read_at: (u64, i64),
}

/// A batch on its way to the relay.
#[derive(Clone, Debug)]
pub(super) struct RelayBatch {
    pub(super) shard: usize,
    from: usize,
    numbers: Vec<String>,
}

fn number(record: &Value) -> String {
    let number = record["dynamodb"]["SequenceNumber"].as_str();
    number.unwrap_or_default().to_owned()
}

fn shard_of(record: &Value, shards: usize) -> usize {
    let order = record["dynamodb"]["Keys"]["orderId"]["S"].as_str();
    let sum: usize = order.unwrap_or_default().bytes().map(usize::from).sum();
    sum % shards
}

impl Stream {
    pub(super) fn new(reader: StreamReader, shards: usize, now: i64) -> Self {
        Self {
            reader,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            read_at: (0, now),
        }
    }

    /// Reads the new records. A dead stream is read rarely, only to know the age of its records.
    pub(super) fn read(&mut self, world: &World, is_dead: bool) {
        let now = world.now();
        let events = world.state().events;
        let is_worth_a_look = !is_dead || now >= self.read_at.1 + 3_600_000;
        if !is_worth_a_look || self.read_at.0 == events {
            return;
        }
        self.read_at = (events, now);
        let mut fresh = self.reader.read_new();
        // Filters like the mapping.
        fresh.retain(carries_event);
        let count = self.shards.len();
        for record in fresh {
            self.shards[shard_of(&record, count)]
                .records
                .push((now, record));
        }
    }

    /// The next batch of each shard that is idle.
    pub(super) fn batches(&mut self, world: &World) -> Vec<(RelayBatch, Vec<Value>)> {
        let now = world.now();
        let mut batches = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if shard.is_busy || shard.next_at > now {
                continue;
            }
            // Records older than a day are gone.
            while shard
                .records
                .get(shard.relayed)
                .is_some_and(|(at, _)| now - at > RETENTION)
            {
                shard.relayed += 1;
            }
            let waiting = shard.records.get(shard.relayed..).unwrap_or_default();
            if waiting.is_empty() {
                continue;
            }
            let most = 1 + world.state().random.below(10);
            let most = shard.bisected.unwrap_or(most).min(waiting.len());
            let records: Vec<Value> = waiting[..most]
                .iter()
                .map(|(_, each)| each.clone())
                .collect();
            shard.is_busy = true;
            let batch = RelayBatch {
                shard: index,
                from: shard.relayed,
                numbers: records.iter().map(number).collect(),
            };
            batches.push((batch, records));
        }
        batches
    }

    /// When the failed batches are delivered again.
    pub(super) fn next_looks(&self) -> impl Iterator<Item = i64> {
        let waiting = self.shards.iter();
        waiting
            .filter(|shard| !shard.is_busy && shard.relayed < shard.records.len())
            .map(|shard| shard.next_at)
    }

    /// Handles the end of a batch; `None` if its function was killed or timed out.
    pub(super) fn ended(&mut self, batch: &RelayBatch, failures: Option<&[String]>, world: &World) {
        let shard = &mut self.shards[batch.shard];
        shard.is_busy = false;
        let faults = world.state().faults;
        shard.failures += 1;
        let first = match failures {
            None => Some(0),
            Some(failures) => batch
                .numbers
                .iter()
                .position(|number| failures.contains(number)),
        };
        let mut state = world.state();
        match first {
            None => {
                shard.relayed = batch.from + batch.numbers.len();
                shard.bisected = None;
                shard.failures = 0;
                if state.random.chance(faults.replay) {
                    let back = state.random.below(10);
                    shard.relayed = shard.relayed.saturating_sub(back);
                }
            }
            // Too many tries, or too old: the mapping continues after the batch.
            Some(_) if state.random.chance(faults.give_up) => {
                shard.relayed = batch.from + batch.numbers.len();
                shard.bisected = None;
            }
            Some(first) => {
                shard.relayed = batch.from + first;
                shard.next_at = world.now() + (500 << shard.failures.min(7)).min(60_000);
                shard.bisected = Some((batch.numbers.len() - first).div_ceil(2));
            }
        }
    }
}
