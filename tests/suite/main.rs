//! What OrderFlow promises, tested through the real handlers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreements;
mod callers;
mod cancel;
mod chain;
mod connections;
mod contract;
mod cost;
mod documents;
mod easypost;
mod easypost_webhooks;
mod errors;
mod events;
mod expiry;
mod glue;
mod idempotency;
mod keys;
mod late;
mod limits;
mod localstripe;
mod mails;
mod metrics;
mod obligations;
mod parameters;
mod payments;
mod paypal;
mod paypal_webhooks;
mod privacy;
mod problems;
mod requests;
mod resend;
mod secrets;
mod sequences;
mod ses;
mod shop;
mod store;
mod stored;
mod stripe;
mod sweep;
mod unkind;
mod waiting;
mod webhooks;
mod words;
