//! What OrderFlow promises, tested through the real handlers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreements;
mod cancel;
mod chain;
mod contract;
mod cost;
mod documents;
mod easypost;
mod easypost_webhooks;
mod errors;
mod glue;
mod idempotency;
mod keys;
mod late;
mod localstripe;
mod mails;
mod obligations;
mod parameters;
mod payments;
mod paypal;
mod paypal_webhooks;
mod privacy;
mod sequences;
mod ses;
mod store;
mod stripe;
mod sweep;
mod webhooks;
