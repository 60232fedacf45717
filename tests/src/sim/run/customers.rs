//! The customers and the shop's back end: their requests, and how they handle the answers.

use std::collections::BTreeMap;
use std::rc::Rc;

use domain::{ChargeState, Order, PartnerName, Status};
use serde_json::json;

use super::{Outcome, ParseId as _, Purpose, Simulation};
use crate::partners::BookedCharge;
use crate::services::{Reply, question, request};
use crate::sim::client::{Expects, Role, Wish};
use crate::sim::fleet::Lambda;
use crate::sim::partner::Double;
use crate::sim::scenario::{Act, Approvals, Method, Stranger};
use crate::sim::world::{News, Saying};

impl Simulation {
    /// All customers agree to be charged before any fault occurs.
    pub(super) async fn agree(&self) {
        for client in &self.clients {
            let customer = client.customer();
            let is_bad = self.plan.partner.is_some() && client.scenario.customer == "declined";
            let method = if is_bad { Method::Bad } else { Method::Good };
            for double in self.doubles.all() {
                let Some(body) = double.agreement(&customer, method) else {
                    continue;
                };
                let reply = self
                    .honest
                    .send(&request("/api/customer/billing.json", &body))
                    .await;
                assert_eq!(reply.status, 201, "{}", reply.text);
                let mut state = self.world.state();
                let sayings = state.sayings.entry(customer.clone()).or_default();
                sayings.push(Saying::of(&body));
            }
        }
    }

    /// The answers to a request for each placed order.
    pub(super) async fn answers(&self) -> BTreeMap<String, Reply> {
        let mut answers = BTreeMap::new();
        for client in &self.clients {
            if let Some(order) = &client.order {
                answers.insert(order.clone(), self.honest.send(&question(order)).await);
            }
        }
        answers
    }

    pub(super) fn start_requests(&mut self, number: usize, role: Role, now: i64) {
        let caller = self.clients[number].caller(role);
        if caller.busy > 0 || caller.next_at > now || caller.wishes.is_empty() {
            return;
        }
        self.start_request(number, role);
        // Some clients are impatient and send a request twice.
        let twice = self.plan.faults_last > 0 && self.world.state().random.chance(100);
        if twice {
            self.start_request(number, role);
        }
    }

    fn start_request(&mut self, number: usize, role: Role) {
        let client = &mut self.clients[number];
        let customer = client.customer();
        let caller = client.caller(role);
        let Some(wish) = caller.wishes.front().cloned() else {
            return;
        };
        caller.busy += 1;
        if let Some(act) = wish.act {
            self.say(&customer, act, &wish);
        }
        let event = wish.event(&customer);
        let configured = self.fleet.pick(Lambda::of_path(&wish.path), &self.world);
        self.clients[number].asks(&wish, configured.currency);
        let purpose = Purpose::Request {
            client: number,
            role,
            wish,
        };
        self.start(purpose, async move {
            Outcome::Reply(configured.instance.send(&event).await)
        });
    }

    /// From the moment that it is sent, an approval may be in force.
    fn say(&self, customer: &str, act: Act, wish: &Wish) {
        if !matches!(act, Act::Approve(_)) {
            return;
        }
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        sayings.push(Saying::of(&wish.body));
    }

    /// Once it is answered, earlier requests no longer apply. An approval affects only those about
    /// the same partner.
    fn said(&self, customer: &str, act: Act, wish: &Wish) {
        let now = self.world.now();
        let method = wish.body["paymentMethodId"].as_str();
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        for saying in sayings {
            let approves = matches!(act, Act::Approve(_));
            let is_this = approves && saying.method.as_deref() == method;
            let is_elsewhere = approves && wish.body["partner"] != saying.partner.as_str();
            if !is_this && !is_elsewhere && saying.until.is_none() {
                saying.until = Some(now);
            }
        }
    }

    pub(super) async fn let_customer_act(&mut self, number: usize, now: i64) {
        let client = &mut self.clients[number];
        if client.is_acting() || client.acts.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let Some((_, act)) = client.acts.pop_front() else {
            return;
        };
        let customer = client.customer();
        let order = client.order.clone().unwrap_or_default();
        let keyed = client.scenario.approvals == Approvals::Keyed;
        self.world.note(|| format!("{customer}: {act:?}"));
        let wish = match act {
            // The page of the charge whose reference is on the order.
            Act::PayOnPage => {
                let order = self.stored.order(&order.parse_id()).await;
                let reference = order.and_then(|order| order.payment.as_ref()?.reference.clone());
                if let Some(reference) = reference
                    && let Some(double) = self.doubles.of(&self.world, &reference)
                {
                    double.pay_on_page(&self.world, &reference);
                }
                return;
            }
            Act::Approve(method) => {
                let Some(body) = self.doubles.first.agreement(&customer, method) else {
                    return;
                };
                Wish {
                    method: "POST",
                    path: "/api/customer/billing.json".to_owned(),
                    key: keyed.then(|| format!("{customer}-says-{:x}-more", client.acts.len())),
                    body,
                    expects: Expects::Answer,
                    act: Some(act),
                }
            }
            Act::Revoke => {
                let mut all = self.doubles.all();
                if all.all(|each| each.agreement(&customer, Method::Good).is_none()) {
                    return;
                }
                Wish {
                    method: "DELETE",
                    path: format!("/api/customer/{customer}/billing"),
                    key: None,
                    body: json!({"revoked at": now}),
                    expects: Expects::Answer,
                    act: Some(act),
                }
            }
        };
        let caller = self.clients[number].caller(Role::Customer);
        caller.next_at = now;
        caller.wishes.push_back(wish);
    }

    /// The partner's staff and the customer's bank act on a charge, if it was captured.
    pub(super) fn let_strangers_act(&mut self, number: usize, now: i64) {
        let client = &mut self.clients[number];
        let Some((_, act)) = client.outside.pop_front_if(|(at, _)| *at <= now) else {
            return;
        };
        let order = client.order.clone().unwrap_or_default();
        self.world.note(|| format!("{order}: {act:?}"));
        let invoice = order.parse_id().invoice().to_string();
        for double in self.doubles.all() {
            let charges = double.charges(&self.world).into_iter();
            let own = charges.filter(|charge| charge.invoice == invoice && charge.captures > 0);
            for charge in own {
                match act {
                    Stranger::Refunds(share) => {
                        double.refund_by_hand(&self.world, &charge.reference, share);
                    }
                    Stranger::FailsRefunds => double.fail_refunds(&self.world, &charge.reference),
                    // Webhooks of a history are Stripe's.
                    Stranger::Disputes if double.agreement_with() == Some(PartnerName::Stripe) => {
                        self.world.open_dispute(&charge.reference);
                    }
                    Stranger::Disputes => {}
                }
                self.note_outside(&charge, double);
            }
        }
    }

    /// Counts a change made by hand, because the doubles of the real clients do not.
    fn note_outside(&self, before: &BookedCharge, double: &Double) {
        if matches!(double, Double::Played(_)) {
            return;
        }
        let charges = double.charges(&self.world);
        let after = charges
            .iter()
            .find(|each| each.reference == before.reference);
        if after == Some(before) {
            return;
        }
        let invoice = before.invoice.clone();
        let failed = after.is_some_and(|after| after.refunded < before.refunded);
        let mut state = self.world.state();
        state.touched = true;
        *state.outside.entry(invoice.clone()).or_default() += 1;
        if failed {
            state.news.push(News::Refund(invoice));
        }
    }

    /// While nothing else happens, the shops check their orders: within a minute they have each
    /// refused parcel replaced, and request again each refund of a cancellation that has failed.
    pub(super) fn let_shops_mend(&mut self, orders: &[Option<Rc<Order>>], now: i64) {
        for (client, order) in self.clients.iter_mut().zip(orders) {
            if !client.caller(Role::Shop).wishes.is_empty() {
                continue;
            }
            let Some(order) = order else { continue };
            let state = order.payment.as_ref().map(|payment| payment.state);
            match order.status {
                Status::Paid if order.parcel.is_some() && order.shipping_refusal.is_some() => {
                    client.want_shipped();
                }
                Status::Refunding if state == Some(ChargeState::RefundFailed) => {
                    client.want_cancelled();
                }
                _ => continue,
            }
            let shop = client.caller(Role::Shop);
            shop.next_at = shop.next_at.max(now + 60_000);
        }
    }

    pub(super) fn replied(
        &mut self,
        number: usize,
        role: Role,
        wish: &Wish,
        reply: Option<&Reply>,
    ) {
        let now = self.world.now();
        let pause = self.world.state().random.millis(5_000);
        if let Some(reply) = reply {
            let (path, text) = (&wish.path, &reply.text);
            self.world
                .note(|| format!("  answer {role:?} {path} {} {text}", reply.status));
            let client = &mut self.clients[number];
            if reply.status < 300
                && let Some(act) = wish.act
            {
                let customer = client.customer();
                self.said(&customer, act, wish);
            }
        }
        let may_disturb = self.plan.change.is_some();
        self.clients[number].replied(role, wish, reply, now, pause, may_disturb);
    }
}
