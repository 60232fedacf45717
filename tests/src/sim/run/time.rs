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

    /// The clients' orders as they are stored.
    async fn stored_orders(&mut self) -> Vec<Option<Rc<Order>>> {
        let mut orders = Vec::new();
        for client in &self.clients {
            orders.push(match &client.order {
                Some(order) => self.stored.order(&order.parse_id()).await,
                None => None,
            });
        }
        orders
    }

    /// When the first order or mail that can still continue is due; `i64::MAX` if there is none.
    async fn first_due(&mut self, orders: &[Option<Rc<Order>>]) -> i64 {
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
            first_due = first_due.min(self.first_mail_due().unwrap_or(i64::MAX));
        }
        first_due
    }

    /// Whether a sweep that starts now can find anything. One that cannot is skipped: it reads every
    /// index partition and changes nothing.
    pub(super) async fn may_be_due(&mut self, now: i64) -> bool {
        let ahead = self.plan.skews.iter().max().copied().unwrap_or_default();
        let until = now + ahead;
        let orders = self.stored_orders().await;
        // An order can be stored before its customer knows it.
        let is_known = self.plan.strangers == 0 && orders.iter().all(Option::is_some);
        let due = orders.iter().flatten().filter_map(|order| order.due);
        let mail_due = self.first_mail_due();
        !is_known
            || due.map(|due| due.at.millis()).any(|at| at <= until)
            || mail_due.is_some_and(|at| at <= until)
    }

    /// When the first of the promised mails is checked next. Read again only after a write of a mail.
    fn first_mail_due(&mut self) -> Option<i64> {
        let writes = self.world.state().mail_writes;
        if self.mail_due.0 != writes {
            let due = crate::sim::database::first_mail_due(&self.engine);
            self.mail_due = (writes, due);
        }
        self.mail_due.1
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

    /// Whether the customer has agreed to be charged where the order is, or, once the shop is back
    /// at its first partner, would be.
    async fn has_agreed(&self, order: &Order) -> bool {
        let payment = order.payment.as_ref();
        let is_open = payment.is_some_and(|payment| payment.reference.is_some());
        let asked = self.doubles.all().take(if is_open { 2 } else { 1 });
        for double in asked {
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
