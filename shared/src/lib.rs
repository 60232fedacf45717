//! What two or more functions of OrderFlow use: the domain, the store, the glue to HTTP, SQS and
//! Lambda, configuration and telemetry. It knows no service by name.

pub mod aws;
pub mod config;
pub mod domain;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod http;
#[cfg(feature = "https")]
pub mod https;
pub mod json;
pub mod lambda;
#[cfg(feature = "secrets")]
pub mod partner;
pub mod queue;
pub mod runtime;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod store;
pub mod telemetry;
