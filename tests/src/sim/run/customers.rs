//! The customers and the shop's back end: what they ask for, and what they make of the answers.

use std::collections::BTreeMap;

use domain::Status;
use serde_json::json;

use super::{Outcome, ParseId as _, Purpose, Simulation};
use crate::services::{Reply, question, request};
use crate::sim::carrier::RealCarrier;
use crate::sim::client::{Expects, Role, Wish};
use crate::sim::fleet::Lambda;
use crate::sim::scenario::{Act, Approvals, Method};
use crate::sim::world::Saying;

impl Simulation {
    /// Every customer agrees to be charged, before anything goes wrong.
    pub(super) async fn agree(&self) {
        for client in &self.clients {
            let customer = client.customer();
            let is_bad = self.plan.partner.is_some() && client.scenario.customer == "declined";
            let method = if is_bad { Method::Bad } else { Method::Good };
            let Some(body) = self.double.agreement(&customer, method) else {
                continue;
            };
            let reply = self
                .honest
                .send(&request("/api/customer/billing.json", &body))
                .await;
            assert_eq!(reply.status, 201, "{}", reply.text);
            let saying = Saying {
                until: None,
                method: body["paymentMethodId"].as_str().map(str::to_owned),
            };
            let mut state = self.world.state();
            state.sayings.entry(customer).or_default().push(saying);
        }
    }

    /// What every placed order answers to the question where it stands.
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
        // Some clients are impatient and send the same twice.
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

    /// From the moment at which it is sent, an approval may hold.
    fn say(&self, customer: &str, act: Act, wish: &Wish) {
        if !matches!(act, Act::Approve(_)) {
            return;
        }
        let saying = Saying {
            until: None,
            method: wish.body["paymentMethodId"].as_str().map(str::to_owned),
        };
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        sayings.push(saying);
    }

    /// Once it is answered, nothing that was said before holds any more.
    fn said(&self, customer: &str, act: Act, wish: &Wish) {
        let now = self.world.now();
        let method = wish.body["paymentMethodId"].as_str();
        let mut state = self.world.state();
        let sayings = state.sayings.entry(customer.to_owned()).or_default();
        for saying in sayings {
            let is_this = matches!(act, Act::Approve(_)) && saying.method.as_deref() == method;
            if !is_this && saying.until.is_none() {
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
            // The page is that of the charge that the order names.
            Act::PayOnPage => {
                let order = self.store.order(&order.parse_id()).await.ok().flatten();
                let reference = order.and_then(|order| order.payment?.reference);
                if let Some(reference) = reference {
                    self.double.pay_on_page(&self.world, &reference);
                }
                return;
            }
            Act::Approve(method) => {
                let Some(body) = self.double.agreement(&customer, method) else {
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
                if self.double.agreement(&customer, Method::Good).is_none() {
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

    /// The shop looks at its orders, and has each refused parcel replaced.
    pub(super) async fn let_shop_mend(&mut self, number: usize) {
        if self.plan.carrier != Some(RealCarrier::EasyPostThatRefuses)
            || !self.clients[number].caller(Role::Shop).wishes.is_empty()
        {
            return;
        }
        let Some(order) = &self.clients[number].order else {
            return;
        };
        let order = self.store.order(&order.parse_id()).await.ok().flatten();
        let is_refused = order.is_some_and(|order| {
            order.status == Status::Paid
                && order.parcel.is_some()
                && order.shipping_refusal.is_some()
        });
        if is_refused {
            self.clients[number].want_shipped();
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
