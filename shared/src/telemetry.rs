//! JSON lines on standard output, one shape for all functions.
//!
//! Fields: order id, invoice id, event id, request id, error codes, counts. Never names, addresses,
//! emails, card data, secrets or bodies.

use tracing_subscriber::filter::LevelFilter;

/// Starts logging; `LOG_LEVEL` (`error`, `warn`, `info`, `debug`) sets how much, default `info`.
pub fn start(level: Option<&str>) {
    let level = level
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        .with_max_level(level)
        .init();
}

/// Writes one value in CloudWatch's embedded metric format (namespace `OrderFlow`, dimension
/// `Stage`), which becomes a metric with no call of our own.
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
}
