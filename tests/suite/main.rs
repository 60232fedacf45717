//! What OrderFlow promises, tested through the real handlers.

mod chain;
mod contract;
mod cost;
mod errors;
mod glue;
mod idempotency;
mod payments;
mod store;
