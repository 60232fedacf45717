//! Partners as their side of the wire behaves: a ledger behind the real format, so that the real
//! clients are tested to their last byte, and fronts that lose, delay and garble.

mod easypost;
mod front;
mod paypal;
mod paypal_webhook;
mod secrets_manager;
mod stripe;

/// A charge in a partner's books, whatever the partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedCharge {
    /// The partner's name for it.
    pub reference: String,
    /// What it is for.
    pub invoice: String,
    /// A decimal, in units of the currency.
    pub amount: rust_decimal::Decimal,
    /// ISO 4217.
    pub currency: String,
    /// How often money was taken.
    pub captures: u32,
    /// By which payment method it was taken the last time.
    pub method: Option<String>,
    /// How often it was given back.
    pub refunds: u32,
    /// What was given back in all, a decimal.
    pub refunded: rust_decimal::Decimal,
    /// Every refund, also those that failed.
    pub each: Vec<BookedRefund>,
}

/// A refund in a partner's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedRefund {
    /// As the client gave it, or as the partner names it.
    pub name: domain::RefundName,
    /// A decimal, in units of the currency.
    pub amount: rust_decimal::Decimal,
    /// Whether the money has gone back or is on its way.
    pub holds: bool,
    /// Whether somebody made it in the partner's dashboard.
    pub by_hand: bool,
}

pub use easypost::{BoughtLabel, EasyPostDouble, EasyPostHabits, Offer};
pub(crate) use front::read_request;
pub use front::{
    DoubleReply, DoubleRequest, Failing, Front, Gate, Idle, Mishap, PartnerDouble, Passage,
};
pub use paypal::{Habits, Outcome as PayPalOutcome, PayPalCall, PayPalDouble};
pub use paypal_webhook::{
    PAYPAL_CERTIFICATE, PAYPAL_WEBHOOK_ID, PayPalCertificates, paypal_signature,
};
pub use secrets_manager::{SecretMishap, SecretsManagerDouble};
pub use stripe::{
    Operation, Outcome, StripeCall, StripeCharge, StripeDouble, StripeMethod, StripeRefusal,
};
