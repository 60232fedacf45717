//! What OrderFlow promises, tested through the real handlers.

mod chain;
mod contract;
mod errors;
mod idempotency;
