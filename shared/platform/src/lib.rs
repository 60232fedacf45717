//! What every Lambda needs: AWS clients, configuration, clock, logs and metrics, deadline, calls to
//! partners, and secrets. This crate contains nothing about orders or single services.

pub mod aws;
pub mod config;
pub mod deadline;
pub mod endpoint;
pub mod json;
pub mod outbound;
pub mod runtime;
pub mod secret;
pub mod telemetry;

/// An error that is only ever logged, never shown.
pub type Source = Box<dyn std::error::Error + Send + Sync>;
