//! The edge of a service: a request becomes a checked call, an error becomes an answer, and each
//! message of a batch gets its outcome. This crate contains nothing about single services.

pub mod claims;
pub mod error;
pub mod http;
pub mod lambda;
