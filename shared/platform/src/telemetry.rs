//! JSON lines on standard output, in one format for all functions.
//!
//! Fields: order ID, invoice ID, event ID, request ID, error codes, counts. Never names, addresses,
//! emails, card data, secrets, or bodies.

use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::runtime::Runtime;

/// The target of metrics. No crate has this name, so no log filter passes them as lines.
const METRICS: &str = "metrics";

/// The shared crates. Their lines, and the service's own, are logged at the configured level.
const SHARED: [&str; 6] = [
    "domain", "messages", "partner", "platform", "service", "store",
];

/// Starts logging. `level` is `LOG_LEVEL` (`error`, `warn`, `info`, `debug`; default `info`).
/// `service` is the crate that is logged beside the shared ones; `stage` names the deployment in
/// metrics.
pub fn start(service: &'static str, level: Option<&str>, stage: String) {
    subscriber(&[service], level, stage, std::io::stdout).init();
}

/// The subscriber that [`start`] installs, with another writer.
///
/// Third-party crates are capped at `warn`: below it they quote requests and answers, which contain
/// names, addresses, and keys.
pub fn subscriber<W>(
    services: &[&'static str],
    level: Option<&str>,
    stage: String,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let level = level
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    let ours = services.iter().chain(&SHARED).map(|name| (*name, level));
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(ours);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        .with_writer(writer.clone());
    let metrics = Metrics { stage, writer };
    let counted = Targets::new().with_target(METRICS, LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(metrics.with_filter(counted))
}

/// Counts in CloudWatch's embedded metric format (namespace `OrderFlow`, dimension `Stage`): a log
/// line that becomes a metric without a call, at any `LOG_LEVEL`.
pub fn count(stage: &str, metric: &'static str, value: u64, at: domain::Timestamp) {
    tracing::info!(target: METRICS, stage, metric, value, at = at.millis());
}

/// Counts an internal fault: an answer or message that ended in `internal_error`.
pub fn count_fault() {
    tracing::info!(target: METRICS, metric = "InternalErrors", value = 1_u64);
}

/// Writes metrics, one raw line each, in CloudWatch's embedded metric format.
struct Metrics<W> {
    /// The stage of metrics that do not name one.
    stage: String,
    writer: W,
}

impl<S, W> Layer<S> for Metrics<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut counted = Counted::default();
        event.record(&mut counted);
        let Counted {
            stage,
            metric,
            value,
            at,
        } = counted;
        let line = serde_json::json!({
            "_aws": {
                "Timestamp": at.unwrap_or_else(|| Runtime::system().now().millis()),
                "CloudWatchMetrics": [{
                    "Namespace": "OrderFlow",
                    "Dimensions": [["Stage"]],
                    "Metrics": [{ "Name": metric, "Unit": "Count" }],
                }],
            },
            "Stage": stage.as_ref().unwrap_or(&self.stage),
            metric: value,
        });
        // In one write, so that lines of several threads do not mix. A failed write cannot be
        // reported.
        let _ = self
            .writer
            .make_writer()
            .write_all(format!("{line}\n").as_bytes());
    }
}

/// The fields of a metric.
#[derive(Default)]
struct Counted {
    stage: Option<String>,
    metric: String,
    value: u64,
    at: Option<i64>,
}

impl Visit for Counted {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "stage" => self.stage = Some(value.to_owned()),
            "metric" => value.clone_into(&mut self.metric),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "value" {
            self.value = value;
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "at" {
            self.at = Some(value);
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use domain::Timestamp;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_counted_is_written_whatever_the_level_and_nothing_beside_it() {
        for level in [Some("error"), Some("off"), None, Some("trace")] {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = subscriber(&[], level, "dev".to_owned(), move || writer.clone());
            // As in the test suite: with a single dispatcher, the first thread would decide the
            // interest.
            let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
            tracing::subscriber::with_default(subscriber, || {
                count(
                    "prod",
                    "EmailFailed",
                    3,
                    Timestamp::from_millis(1_795_428_725_000),
                );
                count_fault();
            });
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<serde_json::Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let [given, fault] = &*lines else {
                panic!("{level:?}: {text}");
            };
            assert_eq!(given["_aws"]["Timestamp"], 1_795_428_725_000_i64);
            assert_eq!(
                (&given["Stage"], &given["EmailFailed"]),
                (&"prod".into(), &3.into())
            );
            assert_eq!(
                (&fault["Stage"], &fault["InternalErrors"]),
                (&"dev".into(), &1.into())
            );
            assert!(fault["_aws"]["Timestamp"].as_i64().unwrap() > 1_700_000_000_000);
        }
    }

    #[test]
    fn every_shared_crate_is_heard() {
        let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut crates: Vec<String> = std::fs::read_dir(shared)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        crates.sort();
        assert_eq!(crates, SHARED);
    }
}
