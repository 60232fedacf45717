//! What OrderFlow promises, tested through the real handlers.

mod contract;
mod errors;
