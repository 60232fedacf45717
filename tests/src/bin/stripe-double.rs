//! Stripe's double as a separate process, for `make run PARTNER=stripe`. Prints its address, and
//! then each call that it receives, with the form in its body.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::time::Duration;

use platform::runtime::Runtime;
use tests::partners::StripeDouble;

/// Stripe's names of test payment methods.
const METHODS: [&str; 6] = [
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
    "pm_pending",
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let stripe = StripeDouble::new(Runtime::system());
    for method in METHODS {
        stripe.attach("cus_played", method);
    }
    println!("{}", stripe.front().serve());
    let mut seen = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let calls = stripe.asked();
        for call in &calls[seen..] {
            println!("{:?} {}", call.operation, call.body);
        }
        seen = calls.len();
    }
}
