//! Partners as their side of the wire behaves: a ledger behind the real format, so that the real
//! clients are tested to their last byte, and fronts that lose, delay and garble.

mod easypost;
mod front;
mod loopback;
mod paypal;
mod stripe;

pub use easypost::{BoughtLabel, EasyPostDouble, EasyPostTrouble, Offer};
pub use front::{DoubleReply, DoubleRequest, Front, Gate, Mishap, PartnerDouble, Passage};
pub use loopback::{Delivery, Loopback};
pub use paypal::{Habits, Outcome as VaultOutcome, PayPalDouble};
pub use stripe::{
    Misbehaviour, Operation, Outcome, PlayedMethod, PlayedStripe, StripeCall, StripeCharge,
};
