//! The edge of a service: a request becomes a checked call, an error becomes an answer, and each
//! message of a batch gets its outcome. This crate knows no service by name.

pub mod claims;
pub mod error;
pub mod http;
pub mod lambda;
