//! The partner's webhooks: lost, late, duplicated, and retried until they are acknowledged.

use serde_json::Value;

use super::{Outcome, Purpose, Simulation};
use crate::services::Reply;
use crate::sim::fleet::Lambda;
use crate::sim::webhooks::{about_charge, about_dispute, about_refund, signed};
use crate::sim::world::News;

/// The maximum number of deliveries of a webhook that is not acknowledged.
const MAX_DELIVERIES: u32 = 20;

/// A webhook on its way.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) at: i64,
    deliveries: u32,
    event: Value,
    /// The invoice whose charge it reports, and the number of outside changes to that charge by
    /// then.
    tells: Option<(String, u64)>,
}

impl Simulation {
    /// The partner reports charges whose money moved, and refunds that failed.
    pub(super) fn tell_news(&mut self, moved: &[String]) {
        if self.plan.webhooks > 0 {
            for invoice in moved {
                self.tell(invoice);
            }
        }
        let news = std::mem::take(&mut self.world.state().news);
        for each in news {
            // Delivered once or twice, possibly after later events.
            let twice = self.world.state().random.chance(300);
            for _ in 0..=u32::from(twice) {
                self.told += 1;
                match &each {
                    News::Refund(invoice) => {
                        let event = about_refund("refund.failed", self.told, invoice);
                        self.send_webhook(event, 7_200_000, Some(invoice));
                    }
                    News::Dispute(id) => {
                        let event = about_dispute(self.told, id);
                        self.send_webhook(event, 7_200_000, None);
                    }
                }
            }
        }
    }

    /// The partner reports a charge: not at all, at once, late, or twice.
    fn tell(&mut self, invoice: &str) {
        while self.world.state().random.chance(self.plan.webhooks) {
            self.told += 1;
            let most = [1, 60_000, 7_200_000][self.world.state().random.below(3)];
            let is_refund = self.world.state().outside.contains_key(invoice);
            let is_refund = is_refund || self.told.is_multiple_of(3);
            if is_refund {
                let event = about_refund("charge.refunded", self.told, invoice);
                self.send_webhook(event, most, Some(invoice));
            } else {
                let event = about_charge(self.told, invoice);
                self.send_webhook(event, most, None);
            }
        }
    }

    /// Delivers a webhook after at most `most` milliseconds.
    fn send_webhook(&mut self, event: Value, most: i64, about: Option<&str>) {
        let at = self.world.now() + self.world.state().random.millis(most);
        let tells = about.map(|invoice| {
            let outside = self.world.state().outside.get(invoice).copied();
            (invoice.to_owned(), outside.unwrap_or_default())
        });
        self.webhooks.push(Webhook {
            at,
            deliveries: 0,
            event,
            tells,
        });
    }

    pub(super) fn start_webhooks(&mut self, now: i64) {
        let (due, waiting) = std::mem::take(&mut self.webhooks)
            .into_iter()
            .partition(|webhook| webhook.at <= now);
        self.webhooks = waiting;
        let due: Vec<Webhook> = due;
        for webhook in due {
            let event = signed(&webhook.event, now);
            let instance = self.fleet.pick(Lambda::Other, &self.world).instance;
            self.start(Purpose::Webhook(webhook), async move {
                Outcome::Reply(instance.send(&event).await)
            });
        }
    }

    /// A partner retries a webhook that was not acknowledged.
    pub(super) fn settle_webhook(&mut self, webhook: &Webhook, reply: Option<&Reply>) {
        let is_taken = reply.is_some_and(|reply| reply.status == 200);
        if is_taken && let Some((invoice, told)) = &webhook.tells {
            let mut state = self.world.state();
            let heard = state.heard.entry(invoice.clone()).or_default();
            *heard = (*heard).max(*told);
        }
        if !is_taken && webhook.deliveries < MAX_DELIVERIES {
            self.webhooks.push(Webhook {
                at: self.world.now() + 300_000,
                deliveries: webhook.deliveries + 1,
                ..webhook.clone()
            });
        }
    }
}
