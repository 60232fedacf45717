//! How a service meets the world: a request becomes a checked call, an error an answer, a batch of
//! messages the fate of each. It knows no service by name.

pub mod claims;
pub mod error;
pub mod http;
pub mod lambda;
