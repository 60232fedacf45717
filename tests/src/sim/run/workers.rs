//! Queues and stream: batches to the workers and the relay, dead letters, and the operator.

use messages::queue::Queue;
use messages::{Message, MessageKind};

use super::{Outcome, Purpose, Simulation};
use crate::cloud::START;
use crate::services::batch;
use crate::sim::fleet::Lambda;

/// The queues' visibility timeout.
const VISIBILITY: i64 = 180_000;

/// Receives after which a message goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// How long an operator acts, in milliseconds: an operator who never stopped would redrive an
/// unrecoverable message indefinitely.
const OPERATOR_WORKS: i64 = 36 * 3_600_000;

impl Simulation {
    /// An operator redrives dead letters, or makes the sweep check an order at once.
    pub(super) fn operate(&self, now: i64) {
        let mut state = self.world.state();
        if now > START + OPERATOR_WORKS || !state.random.chance(self.plan.operator) {
            return;
        }
        if state.random.chance(500) {
            for (queue, body) in std::mem::take(&mut state.dead_letters) {
                state.enqueue(queue, body, now);
            }
            return;
        }
        let pick = state.random.below(self.clients.len());
        drop(state);
        if let Some(order) = &self.clients[pick].order {
            crate::sim::database::requeue(&self.engine, order, now);
            self.world.state().written.insert(order.clone());
        }
    }

    /// Once everything else has finished, an operator redrives the partners' hints that became dead
    /// letters in an outage: nothing else delivers them again.
    pub(super) fn redrive_hints(&mut self, faults_end: i64) -> bool {
        if self.redriven || self.world.now() < faults_end {
            return false;
        }
        self.redriven = true;
        let now = self.world.now();
        let mut state = self.world.state();
        let is_hint = |letter: &(Queue, String)| {
            let message = Message::from_json(&letter.1);
            message.is_ok_and(|message| !matches!(message.kind, MessageKind::Event(_)))
        };
        let (hints, others) = std::mem::take(&mut state.dead_letters)
            .into_iter()
            .partition(is_hint);
        state.dead_letters = others;
        let hints: Vec<(Queue, String)> = hints;
        let any = !hints.is_empty();
        for (queue, body) in hints {
            state.enqueue(queue, body, now);
        }
        any
    }

    pub(super) fn start_batch(&mut self, queue: Queue, now: i64) {
        let taken: Vec<(u64, String)> = {
            let mut state = self.world.state();
            let most = 1 + state.random.below(10);
            let Some(messages) = state.queues.get_mut(&queue) else {
                return;
            };
            let mut dead = Vec::new();
            messages.retain(|message| {
                let is_dead = message.visible_at <= now && message.receives >= MAX_RECEIVES;
                if is_dead {
                    dead.push((queue, message.body.clone()));
                }
                !is_dead
            });
            let visible = messages
                .iter_mut()
                .filter(|message| message.visible_at <= now);
            let taken = visible
                .take(most)
                .map(|message| {
                    message.receives += 1;
                    message.visible_at = now + VISIBILITY;
                    (message.id, message.body.clone())
                })
                .collect();
            state.dead_letters.extend(dead);
            taken
        };
        if taken.is_empty() {
            return;
        }
        let (ids, bodies): (Vec<u64>, Vec<String>) = taken.into_iter().unzip();
        let instance = self.fleet.pick(Lambda::Worker(queue), &self.world).instance;
        self.start(Purpose::Batch { queue, ids }, async move {
            Outcome::Failures(instance.deliver_batch(queue, &batch(&bodies)).await)
        });
    }

    /// Removes the completed messages from their queue.
    pub(super) fn settle_batch(&self, queue: Queue, ids: &[u64], failures: &[String]) {
        let kept: Vec<u64> = failures
            .iter()
            .filter_map(|index| ids.get(index.parse::<usize>().ok()?).copied())
            .collect();
        if let Some(messages) = self.world.state().queues.get_mut(&queue) {
            messages.retain(|message| !ids.contains(&message.id) || kept.contains(&message.id));
        }
    }

    pub(super) fn start_relay(&mut self, now: i64) {
        let is_dead = now < START + self.plan.stream_dead;
        self.stream.read(&self.world, is_dead);
        if is_dead {
            return;
        }
        for (batch, records) in self.stream.batches(&self.world) {
            let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
            self.start(Purpose::Relay(batch), async move {
                Outcome::Failures(instance.relay_records(&records).await)
            });
        }
    }
}
