//! The billing partner of a history: the abstract one, or a real client that talks to its double over
//! a wire on which every request is an effect.

use std::sync::Arc;

use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartnerError, PayPal,
    RefundStatus, Stripe,
};
use serde_json::{Value, json};
use shared::domain::PartnerName;
use shared::event::PartnerReference;
use shared::https::Secret;
use shared::runtime::Runtime;

use super::ends::Outside;
use super::wire;
use super::world::World;
use crate::partners::{BookedCharge, PayPalDouble, PlayedStripe, VaultOutcome};

/// The other side of a history's charges.
#[derive(Clone, Debug)]
pub(super) enum Double {
    /// The abstract partner, whose books are the world's.
    Played,
    /// Stripe on the wire.
    Stripe(PlayedStripe),
    /// PayPal on the wire.
    PayPal(Arc<PayPalDouble>),
}

const CUSTOMER: &str = "cus_played";

impl Double {
    /// The double of that partner, by this clock.
    pub(super) fn new(partner: Option<PartnerName>, runtime: &Runtime) -> Self {
        match partner {
            None => Self::Played,
            Some(PartnerName::Stripe) => {
                let stripe = PlayedStripe::new(runtime.clone());
                for token in ["pm_card_visa", "pm_card_chargeDeclined"] {
                    stripe.attach(CUSTOMER, token);
                }
                Self::Stripe(stripe)
            }
            Some(PartnerName::PayPal) => {
                let paypal = PayPalDouble::new(runtime.clone());
                paypal.vault_card("vault_good", []);
                let refused = || VaultOutcome::Refused("INSTRUMENT_DECLINED");
                paypal.vault_card("vault_bad", (0..1_000).map(|_| refused()));
                Self::PayPal(Arc::new(paypal))
            }
        }
    }

    /// What a customer of that id agrees to, as the body of a request.
    pub(super) fn agreement(&self, customer: &str) -> Option<Value> {
        let is_bad = customer == "declined";
        match self {
            Self::Played => None,
            Self::Stripe(_) => {
                let method = if is_bad {
                    "pm_card_chargeDeclined"
                } else {
                    "pm_card_visa"
                };
                Some(json!({
                    "customerId": customer, "partner": "stripe",
                    "partnerCustomerId": CUSTOMER, "paymentMethodId": method
                }))
            }
            Self::PayPal(_) => {
                let token = if is_bad { "vault_bad" } else { "vault_good" };
                Some(json!({
                    "customerId": customer, "partner": "paypal", "paymentMethodId": token
                }))
            }
        }
    }

    /// A client of it in one process of `world`.
    pub(super) fn client(&self, world: &World, runtime: &Runtime) -> Partner {
        match self {
            Self::Played => Partner::Played(Outside(world.clone())),
            Self::Stripe(double) => {
                let double = Arc::new(double.clone());
                let too_many = r#"{"error":{"type":"invalid_request_error","code":"rate_limit"}}"#;
                let https = wire::https(world, double, "https://api.stripe.com", too_many);
                let key = Secret::new(PlayedStripe::api_key());
                Partner::Stripe(Stripe::new(https, key, runtime.clone()))
            }
            Self::PayPal(double) => {
                let too_many = r#"{"name":"RATE_LIMIT_REACHED"}"#;
                let https =
                    wire::https(world, double.clone(), "https://api-m.paypal.com", too_many);
                let secret = Secret::new(PayPalDouble::SECRET);
                let client = PayPalDouble::CLIENT.to_owned();
                Partner::PayPal(PayPal::new(https, client, secret, runtime.clone()))
            }
        }
    }

    /// The books; the abstract partner's are in `world`.
    pub(super) fn charges(&self, world: &World) -> Vec<BookedCharge> {
        match self {
            Self::Stripe(double) => double.books(),
            Self::PayPal(double) => double.charges(),
            Self::Played => {
                let state = world.state();
                let charges = state.charges.iter();
                let booked = charges.map(|(reference, charge)| BookedCharge {
                    reference: reference.clone(),
                    invoice: charge.invoice.clone(),
                    amount: charge.amount.decimal(),
                    captures: charge.captures,
                    refunds: charge.refunds,
                });
                booked.collect()
            }
        }
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

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        match self {
            Self::Played(partner) => partner.refund(charge).await,
            Self::Stripe(partner) => partner.refund(charge).await,
            Self::PayPal(partner) => partner.refund(charge).await,
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
