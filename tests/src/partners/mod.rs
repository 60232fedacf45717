//! Partners as their side of the wire behaves: a ledger behind the real format, so that the real
//! clients are tested to their last byte.

mod loopback;
mod stripe;

pub use loopback::{Delivery, Loopback};
pub use stripe::{
    Misbehaviour, Operation, Outcome, PlayedMethod, PlayedStripe, StripeCall, StripeCharge,
};
