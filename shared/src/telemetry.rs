//! JSON lines on standard output, one shape for all functions.
//!
//! Fields: order id, invoice id, event id, request id, error codes, counts. Never names, addresses,
//! emails, card data, secrets or bodies.

use tracing::Subscriber;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The crates whose lines are ours.
const OURS: [&str; 10] = [
    "billing", "cart", "customer", "email", "order", "payment", "relay", "shared", "shipment",
    "webhook",
];

/// Starts logging; `LOG_LEVEL` (`error`, `warn`, `info`, `debug`) sets how much, default `info`.
pub fn start(level: Option<&str>) {
    subscriber(level, std::io::stdout).init();
}

/// What [`start`] starts, writing elsewhere.
///
/// Libraries tell warnings at most, whatever the level: below that they quote requests and answers,
/// in which there are names, addresses and keys.
pub fn subscriber<W>(level: Option<&str>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = level
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    let ours = OURS.into_iter().map(|name| (name, level));
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(ours);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        .with_writer(writer);
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// Writes one value in CloudWatch's embedded metric format (namespace `OrderFlow`, dimension
/// `Stage`), which becomes a metric with no call of our own. It also logs it at `debug`.
#[expect(
    clippy::print_stdout,
    reason = "the format is a raw line on standard output"
)]
pub fn count(stage: &str, metric: &'static str, value: u64, at: crate::domain::Timestamp) {
    let line = serde_json::json!({
        "_aws": {
            "Timestamp": at.millis(),
            "CloudWatchMetrics": [{
                "Namespace": "OrderFlow",
                "Dimensions": [["Stage"]],
                "Metrics": [{ "Name": metric, "Unit": "Count" }],
            }],
        },
        "Stage": stage,
        metric: value,
    });
    println!("{line}");
    tracing::debug!(metric, value, "counted");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_heard() {
        let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions");
        let mut crates: Vec<String> = std::fs::read_dir(functions)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        crates.push("shared".to_owned());
        crates.sort();
        assert_eq!(crates, OURS);
    }
}
