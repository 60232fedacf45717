//! Doubles of the partners: ledgers behind the real wire format, so that the real clients are
//! tested to the last byte, and fronts that lose, delay, and garble requests and answers.

mod easypost;
mod front;
mod paypal;
mod paypal_webhook;
mod secrets_manager;
mod stripe;

/// A charge in any partner's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedCharge {
    /// The partner's reference.
    pub reference: String,
    /// The invoice.
    pub invoice: String,
    /// The amount in units of the currency.
    pub amount: rust_decimal::Decimal,
    /// The currency, as an ISO 4217 code.
    pub currency: String,
    /// The number of captures.
    pub captures: u32,
    /// The payment method of the latest capture.
    pub method: Option<String>,
    /// The number of refunds.
    pub refunds: u32,
    /// The total of the refunds.
    pub refunded: rust_decimal::Decimal,
    /// All refunds, including failed ones.
    pub each: Vec<BookedRefund>,
}

/// A refund in a partner's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedRefund {
    /// The name that the client gave it, or the partner's ID.
    pub name: domain::RefundName,
    /// The amount in units of the currency.
    pub amount: rust_decimal::Decimal,
    /// Whether it is done or pending.
    pub holds: bool,
    /// Whether a person made it in the partner's dashboard.
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
