//! The billing partner of a history: the abstract one, or a real client that calls its double over
//! a wire on which every request is an effect.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use domain::{NextAction, PartnerAccount, PartnerName};
use messages::PartnerReference;
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, PayPal, RefundStatus, ShownRefund, Stripe,
};
use platform::outbound::Secret;
use platform::runtime::Runtime;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::ends::Outside;
use super::scenario::{Method, Plan, Share};
use super::wire;
use super::world::{Protocol, Taking, World};
use crate::partners::{
    BookedCharge, BookedRefund, DoubleReply, DoubleRequest, PartnerDouble, PayPalDouble,
    PayPalOutcome, StripeDouble,
};

/// The account whose credentials a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    First,
    Second,
}

/// The billing partners of a history: the original one, and the one that a deployment changes to.
#[derive(Clone, Debug)]
pub(super) struct Doubles {
    pub(super) first: Double,
    pub(super) second: Option<Double>,
}

impl Doubles {
    pub(super) fn new(plan: &Plan, runtime: &Runtime) -> Self {
        let double = |partner, protocol| Double::new(partner, protocol, runtime);
        let other = plan.partner.map(|partner| match partner {
            PartnerName::Stripe => PartnerName::PayPal,
            PartnerName::PayPal | PartnerName::Sandbox => PartnerName::Stripe,
        });
        let changes = plan.change.is_some_and(|change| change.other_partner);
        Self {
            first: double(plan.partner, plan.protocol),
            second: changes.then(|| double(other, plan.protocol.other())),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Double> {
        iter::once(&self.first).chain(&self.second)
    }

    /// The books of all of them.
    pub(super) fn charges(&self, world: &World) -> Vec<BookedCharge> {
        self.all().flat_map(|each| each.charges(world)).collect()
    }

    /// The double that holds the charge.
    pub(super) fn of(&self, world: &World, reference: &str) -> Option<&Double> {
        let has = |double: &&Double| {
            let charges = double.charges(world);
            charges.iter().any(|charge| charge.reference == reference)
        };
        self.all().find(has)
    }
}

/// The partner that holds a history's charges.
#[derive(Clone, Debug)]
pub(super) enum Double {
    /// The abstract partner, whose books are in the world.
    Played(Protocol),
    /// Stripe's double on the wire.
    Stripe(StripeDouble),
    /// PayPal's double on the wire.
    PayPal(Arc<PayPalDouble>),
}

const CUSTOMER: &str = "cus_played";

/// The amount of a partial refund by hand; every order costs more.
const BY_HAND: u64 = 7;

/// Stripe's test token of that kind ("Test payment methods").
fn stripe_token(method: Method) -> &'static str {
    match method {
        Method::Good => "pm_card_visa",
        Method::Other => "pm_card_mastercard",
        Method::Bad => "pm_card_chargeDeclined",
    }
}

impl Double {
    /// The double of that partner, with this clock.
    pub(super) fn new(partner: Option<PartnerName>, protocol: Protocol, runtime: &Runtime) -> Self {
        match partner {
            None => Self::Played(protocol),
            Some(PartnerName::Sandbox) => unreachable!("the sandbox has no double"),
            Some(PartnerName::Stripe) => {
                let stripe = StripeDouble::new(runtime.clone());
                for method in [Method::Good, Method::Other, Method::Bad] {
                    let token = stripe_token(method);
                    stripe.attach(CUSTOMER, token);
                }
                Self::Stripe(stripe)
            }
            Some(PartnerName::PayPal) => {
                let paypal = PayPalDouble::new(runtime.clone());
                paypal.vault_card("vault_good", []);
                paypal.vault_card("vault_other", []);
                let refused = || PayPalOutcome::Refused("INSTRUMENT_DECLINED");
                paypal.vault_card("vault_bad", (0..1_000).map(|_| refused()));
                Self::PayPal(Arc::new(paypal))
            }
        }
    }

    /// An agreement of the customer with that ID, as the body of a request.
    pub(super) fn agreement(&self, customer: &str, method: Method) -> Option<Value> {
        let with_stripe = |token: &str| {
            Some(json!({
                "customerId": customer, "partner": "stripe",
                "partnerCustomerId": CUSTOMER, "paymentMethodId": token
            }))
        };
        let with_paypal = |token: &str| {
            Some(json!({
                "customerId": customer, "partner": "paypal", "paymentMethodId": token
            }))
        };
        let vaulted = match method {
            Method::Good => "vault_good",
            Method::Other => "vault_other",
            Method::Bad => "vault_bad",
        };
        let played = match method {
            Method::Good => "played_good",
            Method::Other => "played_other",
            Method::Bad => "played_bad",
        };
        match self {
            Self::Played(Protocol::Everybody) => None,
            Self::Played(Protocol::Intents) => with_stripe(played),
            Self::Played(Protocol::Orders) | Self::PayPal(_) => with_paypal(vaulted),
            Self::Stripe(_) => with_stripe(stripe_token(method)),
        }
    }

    /// The partner that customers have agreements with.
    pub(super) fn agreement_with(&self) -> Option<PartnerName> {
        match self {
            Self::Played(Protocol::Everybody) => None,
            Self::Played(Protocol::Intents) | Self::Stripe(_) => Some(PartnerName::Stripe),
            Self::Played(Protocol::Orders) | Self::PayPal(_) => Some(PartnerName::PayPal),
        }
    }

    /// The customer pays on the partner's own page, if there is one.
    pub(super) fn pay_on_page(&self, world: &World, reference: &str) {
        world.state().touched = true;
        match self {
            Self::Played(_) => world.pay_on_page(reference),
            Self::Stripe(double) => double.pay_on_page(reference),
            Self::PayPal(double) => double.payers_act(),
        }
    }

    /// A person refunds the remaining amount of a charge, or a small part of it, in the partner's
    /// dashboard.
    pub(super) fn refund_by_hand(&self, world: &World, reference: &str, share: Share) {
        match (self, share) {
            (Self::Played(_), Share::Whole) => world.refund_by_hand(reference, None),
            (Self::Played(_), Share::Part) => {
                world.refund_by_hand(reference, Some(Decimal::from(BY_HAND)));
            }
            (Self::Stripe(double), Share::Whole) => double.refund_one_by_hand(reference, None),
            (Self::Stripe(double), Share::Part) => {
                double.refund_one_by_hand(reference, Some(BY_HAND * 100));
            }
            (Self::PayPal(double), Share::Whole) => double.refund_one_by_hand(reference, None),
            (Self::PayPal(double), Share::Part) => {
                let value = format!("{BY_HAND}.00");
                double.refund_one_by_hand(reference, Some(&value));
            }
        }
    }

    /// The bank returns every refund of a charge.
    pub(super) fn fail_refunds(&self, world: &World, reference: &str) {
        match self {
            Self::Played(_) => world.fail_refunds(reference),
            Self::Stripe(double) => double.fail_refunds_of(reference),
            Self::PayPal(double) => double.fail_refunds_of(reference),
        }
    }

    /// A client of it in one process of `world`.
    pub(super) fn client(&self, world: &World, runtime: &Runtime, account: Account) -> Partner {
        match self {
            Self::Played(protocol) => Partner::Played(Outside(world.clone(), *protocol)),
            Self::Stripe(double) => {
                let double = self.watched(world, Arc::new(double.clone()));
                let too_many = r#"{"error":{"type":"invalid_request_error","code":"rate_limit"}}"#;
                let https = wire::https(world, double, "https://api.stripe.com", too_many);
                let key = Secret::new(StripeDouble::api_key());
                Partner::Stripe(Stripe::new(https, key, runtime.clone()))
            }
            Self::PayPal(double) => {
                let too_many = r#"{"name":"RATE_LIMIT_REACHED"}"#;
                let double = self.watched(world, double.clone());
                let https = wire::https(world, double, "https://api-m.paypal.com", too_many);
                let secret = Secret::new(PayPalDouble::SECRET);
                let client = match account {
                    Account::First => PayPalDouble::CLIENT,
                    Account::Second => PayPalDouble::OTHER_CLIENT,
                };
                let client = client.to_owned();
                Partner::PayPal(PayPal::new(https, client, secret, runtime.clone()))
            }
        }
    }

    /// The same double, which also records in the world's books the methods of our captures.
    fn watched(&self, world: &World, double: Arc<dyn PartnerDouble>) -> Arc<dyn PartnerDouble> {
        Arc::new(Watched {
            world: world.clone(),
            books: self.clone(),
            double,
        })
    }

    /// The books; the abstract partner's are in `world`.
    pub(super) fn charges(&self, world: &World) -> Vec<BookedCharge> {
        match self {
            Self::Stripe(double) => double.books(),
            Self::PayPal(double) => double.charges(),
            Self::Played(protocol) => {
                let state = world.state();
                let charges = state.charges.iter();
                let own = charges.filter(|(_, charge)| charge.protocol == *protocol);
                let booked = own.map(|(reference, charge)| BookedCharge {
                    reference: reference.clone(),
                    invoice: charge.invoice.clone(),
                    amount: charge.amount.decimal(),
                    currency: charge.currency.code().to_owned(),
                    captures: charge.captures,
                    method: None,
                    refunds: charge
                        .refunds
                        .iter()
                        .map(|each| u32::from(each.holds()))
                        .sum(),
                    refunded: (charge.refunds.iter())
                        .filter(|refund| refund.holds())
                        .map(|refund| refund.amount)
                        .sum(),
                    each: (charge.refunds.iter())
                        .map(|refund| BookedRefund {
                            name: refund.name.clone(),
                            amount: refund.amount,
                            holds: refund.holds(),
                            by_hand: refund.by_hand,
                        })
                        .collect(),
                });
                booked.collect()
            }
        }
    }
}

/// A double that records the captures of each request.
#[derive(Debug)]
struct Watched {
    world: World,
    books: Double,
    double: Arc<dyn PartnerDouble>,
}

impl Watched {
    /// The captures so far: the charge's reference, its invoice, and the payment method.
    fn taken(&self) -> BTreeMap<String, (String, Option<String>)> {
        let charges = self.books.charges(&self.world).into_iter();
        let taken = charges.filter(|charge| charge.captures > 0);
        taken
            .map(|charge| (charge.reference, (charge.invoice, charge.method)))
            .collect()
    }
}

impl PartnerDouble for Watched {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        let before = self.taken();
        let reply = self.double.handle(request);
        let mut state = self.world.state();
        for (reference, (invoice, method)) in self.taken() {
            if before.contains_key(&reference) {
                continue;
            }
            let asked_since = state.task_since;
            state.takings.push(Taking {
                invoice,
                method: method.unwrap_or_default(),
                asked_since,
            });
        }
        reply
    }
}

/// A client of the history's partner.
#[derive(Clone, Debug)]
pub(super) enum Partner {
    Played(Outside),
    Stripe(Stripe),
    PayPal(PayPal),
}

impl BillingPartner for Partner {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        match self {
            Self::Played(partner) => partner.open(request).await,
            Self::Stripe(partner) => partner.open(request).await,
            Self::PayPal(partner) => partner.open(request).await,
        }
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self {
            Self::Played(partner) => partner.confirm(charge).await,
            Self::Stripe(partner) => partner.confirm(charge).await,
            Self::PayPal(partner) => partner.confirm(charge).await,
        }
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self {
            Self::Played(partner) => partner.look_up(charge).await,
            Self::Stripe(partner) => partner.look_up(charge).await,
            Self::PayPal(partner) => partner.look_up(charge).await,
        }
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        match self {
            Self::Played(partner) => partner.ask_customer(charge).await,
            Self::Stripe(partner) => partner.ask_customer(charge).await,
            Self::PayPal(partner) => partner.ask_customer(charge).await,
        }
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        match self {
            Self::Played(partner) => partner.refund(charge).await,
            Self::Stripe(partner) => partner.refund(charge).await,
            Self::PayPal(partner) => partner.refund(charge).await,
        }
    }

    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        match self {
            Self::Played(partner) => partner.refund_part(charge, part).await,
            Self::Stripe(partner) => partner.refund_part(charge, part).await,
            Self::PayPal(partner) => partner.refund_part(charge, part).await,
        }
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        match self {
            Self::Played(partner) => partner.shown_refunds(charge).await,
            Self::Stripe(partner) => partner.shown_refunds(charge).await,
            Self::PayPal(partner) => partner.shown_refunds(charge).await,
        }
    }

    fn name(&self) -> PartnerName {
        match self {
            Self::Played(partner) => partner.name(),
            Self::Stripe(partner) => partner.name(),
            Self::PayPal(partner) => partner.name(),
        }
    }

    fn account(&self) -> PartnerAccount {
        match self {
            Self::Played(partner) => partner.account(),
            Self::Stripe(partner) => partner.account(),
            Self::PayPal(partner) => partner.account(),
        }
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        match self {
            Self::Played(partner) => partner.refund_status(charge).await,
            Self::Stripe(partner) => partner.refund_status(charge).await,
            Self::PayPal(partner) => partner.refund_status(charge).await,
        }
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        match self {
            Self::Played(partner) => partner.agreement_with(),
            Self::Stripe(partner) => partner.agreement_with(),
            Self::PayPal(partner) => partner.agreement_with(),
        }
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self {
            Self::Played(partner) => partner.cancel(charge).await,
            Self::Stripe(partner) => partner.cancel(charge).await,
            Self::PayPal(partner) => partner.cancel(charge).await,
        }
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        match self {
            Self::Played(partner) => partner.dispute(id).await,
            Self::Stripe(partner) => partner.dispute(id).await,
            Self::PayPal(partner) => partner.dispute(id).await,
        }
    }
}
