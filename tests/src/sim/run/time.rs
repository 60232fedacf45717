//! Time: when the next event can happen, and when none ever will.

use std::rc::Rc;

use domain::{ChargeState, Order};
use store::EmailState;

use super::{ParseId as _, Simulation};
use crate::cloud::START;
use crate::sim::client::Client;
use crate::sim::invariants;

impl Simulation {
    /// Advances the time to the next possible event; returns false if none will ever happen.
    pub(super) async fn jump(&mut self) -> bool {
        let now = self.world.now();
        let orders = self.stored_orders().await;
        self.let_shops_mend(&orders, now);
        let mut next: Vec<i64> = Vec::new();
        next.extend(self.tasks.iter().filter_map(|task| task.frozen_until));
        next.extend(self.webhooks.iter().map(|webhook| webhook.at));
        if now >= START + self.plan.stream_dead {
            next.extend(self.stream.next_looks());
        }
        for client in &self.clients {
            let callers = client.callers.iter();
            next.extend(
                callers
                    .filter(|caller| !caller.wishes.is_empty())
                    .map(|caller| caller.next_at),
            );
            next.extend(client.outside.front().map(|(at, _)| (*at).max(now + 1)));
            // Its time may have passed while the customer did something else.
            if !client.is_acting() {
                next.extend(client.acts.front().map(|(at, _)| (*at).max(now + 1)));
            }
        }
        {
            let state = self.world.state();
            let queued = state.queues.values().flatten();
            next.extend(queued.map(|message| message.visible_at));
            next.extend(state.late.iter().map(|late| late.at));
        }
        if now < START + self.plan.stream_dead {
            next.push(START + self.plan.stream_dead);
        }
        let first_due = self.first_due(&orders).await;
        // A sweep before anything is due would find nothing and is skipped.
        if first_due < i64::MAX {
            self.next_sweep = self.next_sweep.max(first_due);
            next.push(self.next_sweep.max(now + 1));
        }
        // Events whose time has come wait for a frozen task.
        let Some(next) = next.into_iter().filter(|at| *at > now).min() else {
            return false;
        };
        self.world.pass_until(next);
        true
    }

    /// The clients' orders as stored. They are read again only after a write.
    async fn stored_orders(&mut self) -> Rc<[Option<Order>]> {
        let writes = self.world.state().writes;
        if self.stored.0 != writes {
            let mut orders = Vec::new();
            for client in &self.clients {
                orders.push(match &client.order {
                    Some(order) => self.store.order(&order.parse_id()).await.ok().flatten(),
                    None => None,
                });
            }
            // Until every client knows its order, the orders are read each time.
            let all_known = self.clients.iter().all(|client| client.order.is_some());
            self.stored = (if all_known { writes } else { 0 }, orders.into());
        }
        Rc::clone(&self.stored.1)
    }

    /// When the first order or mail that can still continue is due; `i64::MAX` if there is none.
    async fn first_due(&self, orders: &[Option<Order>]) -> i64 {
        let mut first_due = i64::MAX;
        for (client, order) in self.clients.iter().zip(orders) {
            if let Some(order) = order
                && let Some(due) = order.due
                && !self.is_parked(client, order).await
            {
                first_due = first_due.min(due.at.millis());
            }
        }
        if self
            .clients
            .iter()
            .any(|client| !client.promised.is_empty())
        {
            let mail = crate::sim::database::first_mail_due(&self.engine);
            first_due = first_due.min(mail.unwrap_or(i64::MAX));
        }
        first_due
    }

    /// Whether only the customer can continue the order and will not; the sweep then checks it
    /// indefinitely.
    async fn is_parked(&self, client: &Client, order: &Order) -> bool {
        if invariants::is_out_of_reach(order, &self.plan) {
            return order.due.is_some_and(|due| due.tries >= 3)
                && self.world.now() >= self.fleet.settled_at();
        }
        let waits = !self.plan.surely_expires()
            && order
                .payment
                .as_ref()
                .is_some_and(|payment| payment.state == ChargeState::ActionRequired);
        let is_tired = order.due.is_some_and(|due| due.tries >= 3);
        if !waits || !is_tired || self.world.now() < self.fleet.settled_at() {
            return false;
        }
        // The money may be captured by now, while its mails are missing.
        let invoice = order.id.invoice().to_string();
        let charges = self.doubles.charges(&self.world);
        let mut charges = charges.iter().filter(|charge| charge.invoice == invoice);
        if charges.any(|charge| charge.captures > 0) || !self.is_mailed(order).await {
            return false;
        }
        client.scenario.customer == "must-act" || !self.has_agreed(order).await
    }

    async fn is_mailed(&self, order: &Order) -> bool {
        let stored = self.store.order_and_emails(&order.id).await.ok().flatten();
        stored.is_some_and(|(order, states)| {
            let mut mailed = order.mail_topics();
            order.email().is_none()
                || mailed.all(|topic| states.get(&topic).is_some_and(EmailState::is_final))
        })
    }

    async fn has_agreed(&self, order: &Order) -> bool {
        for double in self.doubles.all() {
            let Some(partner) = double.agreement_with() else {
                return true;
            };
            let agreed = self.store.approved_agreement(&order.customer, partner);
            if agreed.await.is_ok_and(|agreement| agreement.is_some()) {
                return true;
            }
        }
        false
    }
}
