//! The callers in a history: a shop's back end for each order, a second caller, and the customer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::ends::REFUSED_DOMAIN;
use super::scenario::{Act, Extent, Keys, Mailing, Price, Scenario, Stranger};
use crate::cloud::START;
use crate::services::{Reply, customer_request, request};

/// The path of refunds.
pub(super) const REFUND: &str = "/api/order/refund.json";

/// The address of every order; every carrier accepts it.
pub(super) const ADDRESS: &str = "17 Boulevard, 123 apt 6, Brooklyn, NY 11201";

/// The expected answer to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expects {
    /// The endpoint's answer to a valid request.
    Answer,
    /// 422: the key was used with another body.
    KeyReused,
}

/// One request that a client makes.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) key: Option<String>,
    pub(super) body: Value,
    pub(super) expects: Expects,
    /// The customer's act that the request carries out.
    pub(super) act: Option<Act>,
}

impl Wish {
    /// The request as API Gateway passes it.
    pub(super) fn event(&self, customer: &str) -> Value {
        let mut event = if self.method == "DELETE" {
            customer_request("DELETE", customer, "")
        } else {
            request(&self.path, &self.body)
        };
        match &self.key {
            Some(key) => event["headers"]["idempotency-key"] = key.as_str().into(),
            None => {
                if let Some(headers) = event["headers"].as_object_mut() {
                    headers.remove("idempotency-key");
                }
            }
        }
        event
    }

    /// Identifies the wish among the answers.
    fn place(&self) -> (String, String) {
        let key = self.key.clone().unwrap_or_default();
        (self.path.clone(), format!("{key} {}", self.body))
    }
}

/// The role in which a client makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Shop,
    Rival,
    Customer,
    Mailer,
    Refunder,
    OtherRefunder,
}

impl Role {
    pub(super) const ALL: [Self; 6] = [
        Self::Shop,
        Self::Rival,
        Self::Customer,
        Self::Mailer,
        Self::Refunder,
        Self::OtherRefunder,
    ];
}

/// Makes one request after another.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) wishes: VecDeque<Wish>,
    pub(super) next_at: i64,
    pub(super) busy: u32,
    pub(super) failures: u32,
}

/// A client that places one order, with the other callers of that order.
pub(super) struct Client {
    pub(super) scenario: Scenario,
    pub(super) number: usize,
    pub(super) callers: [Caller; 6],
    /// The customer's future acts, with their times.
    pub(super) acts: VecDeque<(i64, Act)>,
    /// The future events at the partner, with their times.
    pub(super) outside: VecDeque<(i64, Stranger)>,
    declines: u32,
    /// The order, once the cart was answered.
    pub(super) order: Option<String>,
    /// The total in the answer to the cart or its last update.
    pub(super) total: Value,
    /// The currencies of the shops that received the cart or its update, by path and key.
    pub(super) currencies: BTreeMap<(String, String), BTreeSet<&'static str>>,
    /// The final answers, by path and key.
    pub(super) answers: BTreeMap<(String, String), (u64, String)>,
    /// Pairs of different answers to the same wish, and valid requests that were refused.
    pub(super) contradictions: Vec<String>,
    /// Whether a changed parameter has made a request impossible.
    pub(super) is_disturbed: bool,
    /// The addresses to which a mail was promised.
    pub(super) promised: Vec<String>,
}

impl Client {
    pub(super) fn new(number: usize, scenario: &Scenario) -> Self {
        let caller = |_| Caller {
            wishes: VecDeque::new(),
            next_at: START,
            busy: 0,
            failures: 0,
        };
        let mut client = Self {
            scenario: scenario.clone(),
            number,
            callers: Role::ALL.map(caller),
            acts: VecDeque::new(),
            outside: VecDeque::new(),
            declines: 0,
            order: None,
            total: Value::Null,
            currencies: BTreeMap::new(),
            answers: BTreeMap::new(),
            contradictions: Vec::new(),
            is_disturbed: false,
            promised: Vec::new(),
        };
        let body = client.cart(2);
        client.wish(Role::Shop, "/api/order/cart.json", body);
        client
    }

    pub(super) fn caller(&mut self, role: Role) -> &mut Caller {
        &mut self.callers[role as usize]
    }

    /// Whether the customer's current act is unfinished.
    pub(super) fn is_acting(&self) -> bool {
        let caller = &self.callers[Role::Customer as usize];
        caller.busy > 0 || !caller.wishes.is_empty()
    }

    /// The customer's ID. A customer who acts has no other order.
    pub(super) fn customer(&self) -> String {
        let customer = self.scenario.customer;
        if self.scenario.acts.iter().any(Option::is_some) {
            format!("{customer}.{}", self.number)
        } else {
            customer.to_owned()
        }
    }

    /// The order's number in the shop's books; every second order has one.
    pub(super) fn reference(&self) -> Option<String> {
        self.number
            .is_multiple_of(2)
            .then(|| format!("shop-{}", self.number))
    }

    fn wish(&mut self, role: Role, path: &str, body: Value) {
        // Wishes that are still to be sent have keys of their own.
        let number = self.answers.len() + self.caller(role).wishes.len();
        let key = format!("client-{}-{role:?}-{path}-{number}", self.number);
        let wish = Wish {
            method: "POST",
            path: path.to_owned(),
            key: Some(key),
            body,
            expects: Expects::Answer,
            act: None,
        };
        self.caller(role).wishes.push_back(wish);
    }

    /// Whether this client cancels its order.
    pub(super) fn wants_cancelled(&self) -> bool {
        self.scenario.cancel_after.is_some()
    }

    /// Records the shop's currency for a wish that names amounts.
    pub(super) fn asks(&mut self, wish: &Wish, currency: &'static str) {
        if wish.path == "/api/order/cart.json" {
            self.currencies
                .entry(wish.place())
                .or_default()
                .insert(currency);
        }
    }

    pub(super) fn email(&self) -> String {
        format!("customer-{}@example.com", self.number)
    }

    fn cart(&self, quantity: u32) -> Value {
        let price = match self.scenario.price {
            Price::Usual => 50 + self.number,
            Price::Nothing => 0,
        };
        let mut cart = json!({
            "customerId": self.customer(),
            "items": [{"productId": "1234", "quantity": quantity, "price": price}]
        });
        if let Some(reference) = self.reference() {
            cart["reference"] = reference.into();
            cart["metadata"] = json!({"quantity": quantity.to_string()});
        }
        if self.scenario.checkout {
            cart["checkout"] = json!({
                "name": "Lital Hay", "phone": "0545870006", "email": self.email(),
                "shipping_address": ADDRESS
            });
        }
        cart
    }

    /// Uses the same key with another body.
    fn misuse(&mut self, wish: &Wish, body: Value) {
        let misuse = Wish {
            body,
            expects: Expects::KeyReused,
            ..wish.clone()
        };
        self.caller(Role::Rival).wishes.push_back(misuse);
    }

    /// Plans the wishes that follow the answer to `wish`.
    pub(super) fn answered(&mut self, wish: &Wish, reply: &Reply, now: i64) {
        if wish.expects == Expects::KeyReused {
            return;
        }
        let body = &reply.body;
        match wish.path.as_str() {
            "/api/order/cart.json" if self.order.is_none() => {
                let order = body["orderId"].as_str().unwrap_or_default().to_owned();
                self.total = body["totalAmount"].clone();
                self.order = Some(order);
                self.cart_answered(wish, body, now);
            }
            "/api/order/cart.json" => {
                if reply.status < 300 {
                    self.total = body["totalAmount"].clone();
                    if self.scenario.keys == Keys::Misused {
                        let mut other = self.cart(4);
                        other["customerId"] = "9090".into();
                        self.misuse(wish, other);
                    }
                }
                self.want_invoice(body);
            }
            "/api/order/invoice.json" => {
                let payment = json!({
                    "customerId": self.customer(),
                    "invoiceId": body["invoiceId"],
                    "totalAmount": body["totalAmount"]
                });
                self.wish(Role::Shop, "/api/order/payment.json", payment);
            }
            "/api/order/payment.json"
                if reply.status == 402 && self.declines < self.scenario.retries_after_decline =>
            {
                self.declines += 1;
                self.wish(Role::Shop, "/api/order/payment.json", wish.body.clone());
            }
            REFUND if reply.status < 300 && self.scenario.keys == Keys::Misused => {
                let mut other = wish.body.clone();
                other["reason"] = "another one".into();
                self.misuse(wish, other);
            }
            "/api/order/payment.json" if reply.status == 402 => {}
            "/api/order/payment.json" => self.want_shipped(),
            "/api/order/shipping.json" if wish.body.get("event").is_some() => {
                let to = wish.body["email"].as_str().unwrap_or_default();
                self.promised.push(to.to_owned());
            }
            _ => {}
        }
    }

    /// The shop requests the shipment, or has a refused parcel replaced.
    pub(super) fn want_shipped(&mut self) {
        let shipping = json!({
            "orderId": self.order, "name": "Lital Hay", "phone": "0545870006",
            "shipping_address": ADDRESS
        });
        self.wish(Role::Shop, "/api/order/shipping.json", shipping);
    }

    /// The shop cancels the order.
    pub(super) fn want_cancelled(&mut self) {
        let cancel = json!({
            "customerId": self.customer(), "orderId": self.order, "reason": "changed my mind"
        });
        self.wish(Role::Shop, "/api/order/cancel.json", cancel);
    }

    /// Starts all other callers.
    fn cart_answered(&mut self, wish: &Wish, body: &Value, now: i64) {
        let order = body["orderId"].clone();
        if let Some(after) = self.scenario.cancel_after {
            self.want_cancelled();
            self.caller(Role::Shop).next_at = now + after;
        }
        if self.scenario.update {
            let mut update = self.cart(3);
            update["orderId"] = order.clone();
            self.wish(Role::Shop, "/api/order/cart.json", update);
        } else {
            self.want_invoice(body);
        }
        if self.scenario.keys == Keys::Misused {
            let mut other = self.cart(4);
            other["customerId"] = "9090".into();
            self.misuse(wish, other);
            let mut update = self.cart(4);
            update["orderId"] = order.clone();
            self.misuse(wish, update);
        }
        if let Some(after) = self.scenario.rival_after {
            let invoice = order
                .as_str()
                .unwrap_or_default()
                .replacen("ord_", "inv_", 1);
            let payment = json!({
                "customerId": self.customer(), "invoiceId": invoice,
                "totalAmount": body["totalAmount"]
            });
            self.wish(Role::Rival, "/api/order/payment.json", payment);
            self.caller(Role::Rival).next_at = now + after;
        }
        let refunders = [Role::Refunder, Role::OtherRefunder, Role::Refunder];
        for (role, refund) in refunders.into_iter().zip(self.scenario.refunds) {
            let Some((after, extent)) = refund else {
                continue;
            };
            let mut refund = json!({"customerId": self.customer(), "orderId": order});
            match extent {
                Extent::Amount(amount) => refund["amount"] = amount.into(),
                Extent::Items(quantity) => {
                    refund["items"] = json!([{"productId": "1234", "quantity": quantity}]);
                }
                Extent::Rest => {}
            }
            if self.caller(role).wishes.is_empty() {
                self.caller(role).next_at = now + after;
            }
            self.wish(role, REFUND, refund);
        }
        let outside = self.scenario.outside.iter().flatten();
        let mut outside: Vec<_> = outside.map(|(after, act)| (now + after, *act)).collect();
        outside.sort_by_key(|(at, _)| *at);
        self.outside = outside.into();
        let acts = self.scenario.acts.iter().flatten();
        self.acts = acts.map(|(after, act)| (now + after, *act)).collect();
        match self.scenario.mailing {
            None => {}
            Some(Mailing::Refused) => {
                let mail = json!({
                    "event": "InvoiceCreated", "name": "Lital Hay", "orderId": order,
                    "email": format!("customer-{}{REFUSED_DOMAIN}", self.number)
                });
                self.wish(Role::Mailer, "/api/order/email.json", mail);
            }
            Some(Mailing::Friend) => {
                let mail = json!({
                    "event": "InvoiceCreated", "name": "A Friend", "orderId": order,
                    "email": format!("friend-{}@example.com", self.number)
                });
                self.wish(Role::Mailer, "/api/order/shipping.json", mail);
            }
        }
    }

    fn want_invoice(&mut self, cart: &Value) {
        if !self.scenario.explicit {
            return;
        }
        let invoice = json!({
            "customerId": self.customer(), "orderId": cart["orderId"],
            "tax": cart["tax"], "subTotalAmount": cart["subTotalAmount"],
            "totalAmount": cart["totalAmount"], "currency": "USD", "items": cart["items"],
            "name": "Lital Hay", "phone": "0545870006", "email": self.email(),
            "shipping_address": ADDRESS
        });
        self.wish(Role::Shop, "/api/order/invoice.json", invoice);
    }

    /// Handles an answer, or its loss (`None`). `may_disturb` says whether a parameter changes in
    /// this history.
    pub(super) fn replied(
        &mut self,
        role: Role,
        wish: &Wish,
        reply: Option<&Reply>,
        now: i64,
        pause: i64,
        may_disturb: bool,
    ) {
        let caller = self.caller(role);
        caller.busy -= 1;
        // The pause grows with each failure, up to an hour.
        caller.failures += 1;
        caller.next_at = now + pause + (1_000 << caller.failures.min(12)).min(3_600_000);
        let Some(reply) = reply else { return };
        // A caller that waits for the payment retries quickly at first.
        if wish.path == REFUND && reply.code() == "wrong_state" && caller.failures < 60 {
            caller.next_at = now + pause % 40;
        }
        match verdict(wish, reply, may_disturb) {
            Verdict::Later
                if wish.path == REFUND
                    && reply.code() == "wrong_state"
                    && self.caller(role).failures < 100 => {}
            // A caller stops waiting for something that may never happen.
            Verdict::Later if reply.status < 500 && self.caller(role).failures > 40 => {
                self.caller(role).wishes.clear();
            }
            // It also stops waiting for an account that the shop no longer has.
            Verdict::Later
                if may_disturb
                    && reply.code() == "billing_partner_unavailable"
                    && self.caller(role).failures > 200 =>
            {
                self.caller(role).wishes.clear();
            }
            Verdict::Later => {}
            Verdict::Final => self.is_final(role, wish, reply, now, pause),
            Verdict::Void => self.is_over(role, wish, now, pause),
            Verdict::ChainGoesOn => self.caller(role).wishes.clear(),
            Verdict::Disturbed => {
                self.is_disturbed = true;
                self.caller(role).wishes.clear();
            }
            Verdict::Refused => {
                self.contradictions
                    .push(format!("refused: {wish:?} {} {}", reply.status, reply.text));
                self.caller(role).wishes.clear();
            }
        }
    }

    /// Drops the wish.
    fn is_over(&mut self, role: Role, wish: &Wish, now: i64, pause: i64) {
        let caller = self.caller(role);
        caller.failures = 0;
        caller.next_at = now + 1_000 + pause;
        let front = caller.wishes.front();
        if front.is_some_and(|front| front.place() == wish.place()) {
            caller.wishes.pop_front();
        }
    }

    fn is_final(&mut self, role: Role, wish: &Wish, reply: &Reply, now: i64, pause: i64) {
        let place = wish.place();
        self.is_over(role, wish, now, pause);
        let answer = (reply.status, reply.text.clone());
        match self.answers.get(&place) {
            // The reason of a refusal may change with the order: a refused parcel, for example, no
            // longer prevents a cancellation.
            Some((409, _)) if wish.path == "/api/order/cancel.json" => {}
            Some(first) if *first != answer && (reply.status != 409 || wish.path == REFUND) => {
                self.contradictions
                    .push(format!("{place:?}: {first:?} then {answer:?}"));
            }
            Some(_) => {}
            None => {
                self.answers.insert(place, answer);
                self.answered(wish, reply, now);
                // Every wish is sent once more, later: a repeat must get the same answer. A
                // customer's act is not repeated, because it would count as another one.
                if wish.act.is_none() {
                    self.caller(role).wishes.push_back(wish.clone());
                }
            }
        }
    }
}

/// The meaning of an answer for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The answer is final.
    Final,
    /// It cannot be done now. Nothing was stored, and the request is not repeated.
    Void,
    /// The request is to be repeated.
    Later,
    /// The payment is pending, or the customer must act: the chain continues without this caller.
    ChainGoesOn,
    /// A parameter has changed.
    Disturbed,
    /// A valid request was refused, or an invalid one was not.
    Refused,
}

fn verdict(wish: &Wish, reply: &Reply, may_disturb: bool) -> Verdict {
    let code = reply.code();
    if reply.status >= 500 || code == "in_progress" {
        return Verdict::Later;
    }
    if wish.expects == Expects::KeyReused {
        return match code {
            "idempotency_key_reused" => Verdict::Final,
            _ => Verdict::Refused,
        };
    }
    match (reply.status, code) {
        (200..300, _) => Verdict::Final,
        (402, "payment_declined") => Verdict::Final,
        (402, "billing_agreement_missing" | "payment_action_required") => Verdict::ChainGoesOn,
        (409, "payment_pending") => Verdict::ChainGoesOn,
        (409, "refund_failed" | "refund_pending") => Verdict::Later,
        (409, "refund_rejected") => Verdict::Final,
        (409, "refund_exceeds_payment" | "mismatch") if wish.path == REFUND => Verdict::Void,
        (409, "wrong_state") if wish.path == REFUND => {
            // The request comes too early before the payment, and too late after the cancellation.
            if reply.text.contains("its cancellation refunds") {
                Verdict::Void
            } else {
                Verdict::Later
            }
        }
        (409, "mail_unconfirmed") | (422, "address_rejected") => Verdict::Final,
        // The event that the mail is about has not happened yet, or never will.
        (409, "wrong_state") if wish.body.get("event").is_some() => Verdict::Later,
        // A checkout may be invoiced before its cart could be updated.
        (409, "wrong_state") => Verdict::Final,
        // A second caller may come before the invoice exists.
        (404, "invoice_not_found") => Verdict::Later,
        // The carrier refuses the parcel: the shop has another one registered.
        (422, "invalid_fields") if wish.path == "/api/order/shipping.json" => Verdict::Later,
        (409 | 422, "mismatch" | "invalid_fields" | "currency_mismatch") if may_disturb => {
            Verdict::Disturbed
        }
        _ => Verdict::Refused,
    }
}
