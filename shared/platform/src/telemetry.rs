//! JSON lines on standard output, in one format for all functions.
//!
//! Fields: order ID, invoice ID, event ID, request ID, error codes, counts. Never names, addresses,
//! emails, card data, secrets, or bodies. All fields are at the top level of the line, including
//! those of its request, message, or check: `order_id` is in every line about an order.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit, display};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::runtime::Runtime;

/// The target of metrics. No crate has this name, so no log filter passes them as lines.
const METRICS: &str = "metrics";

/// The shared crates. Their lines, like the service's own, are logged at the configured level.
const SHARED: [&str; 6] = [
    "domain", "messages", "partner", "platform", "service", "store",
];

/// Starts logging. `level` is `LOG_LEVEL` (`error`, `warn`, `info`, `debug`; default `info`).
/// `service` is the crate that is logged in addition to the shared ones; `stage` names the
/// deployment in metrics.
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
    let lines = Lines {
        writer: writer.clone(),
    };
    let metrics = Metrics { stage, writer };
    let counted = Targets::new().with_target(METRICS, LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(metrics.with_filter(counted))
}

/// Adds the order's ID to every later line of the current request, message, or check. It MUST be
/// about this order only; the span has the empty field `order_id`.
pub fn about_order(order: &impl Display) {
    Span::current().record("order_id", display(order));
}

/// Counts in CloudWatch's embedded metric format (namespace `OrderFlow`, dimension `Stage`): a log
/// line that becomes a metric without a call, at any `LOG_LEVEL`.
pub fn count(stage: &str, metric: &'static str, value: u64, at: domain::Timestamp) {
    tracing::info!(target: METRICS, stage, metric, value, at = at.millis());
}

/// Counts an internal fault: an answer or message that ended in `internal_error`.
pub fn count_fault() {
    count_failure("InternalErrors");
}

/// Counts a failure of the dependency that the metric names.
pub fn count_failure(metric: &'static str) {
    tracing::info!(target: METRICS, metric, value = 1_u64);
}

/// Writes events, one JSON line each, with the fields of the spans around them. An inner field
/// replaces an outer one of the same name.
struct Lines<W> {
    writer: W,
}

/// The fields of an event or of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

/// The order of a line's fields.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    message: Option<Value>,
    #[serde(flatten)]
    fields: Map<String, Value>,
    target: &'a str,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                own.0.extend(fields.0.clone());
            }
        }
        event.record(&mut own);
        let mut timestamp = String::new();
        // Writing to a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let line = Line {
            timestamp,
            level: event.metadata().level().as_str(),
            message: own.0.remove("message"),
            fields: own.0,
            target: event.metadata().target(),
        };
        write_line(&self.writer, &line);
    }
}

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        // The line's own field names, and those that `log` adds.
        let name = field.name();
        if !matches!(name, "timestamp" | "level" | "target") && !name.starts_with("log.") {
            self.0.insert(name.to_owned(), value.into());
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

/// In one write, so that lines of several threads do not mix. A failed write cannot be reported.
fn write_line<W>(writer: &W, line: &impl Serialize)
where
    W: for<'a> MakeWriter<'a>,
{
    if let Ok(mut text) = serde_json::to_string(line) {
        text.push('\n');
        let _ = writer.make_writer().write_all(text.as_bytes());
    }
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
        write_line(&self.writer, &line);
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
            // As in the test suite: with a single dispatcher, the first thread would determine the
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
    fn every_line_about_an_order_has_its_id_at_the_top_at_every_level() {
        for level in [Some("error"), Some("info"), Some("debug")] {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = subscriber(&["platform"], level, "dev".to_owned(), move || {
                writer.clone()
            });
            let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
            tracing::subscriber::with_default(subscriber, || {
                let request = tracing::error_span!(
                    "invocation",
                    request_id = "r-1",
                    order_id = tracing::field::Empty
                );
                let _entered = request.enter();
                tracing::error!("before it is known");
                about_order(&"ord_1");
                tracing::error!(code = "refused", count = 2, is_late = true, "after it");
                tracing::error!(order_id = "ord_2", "of another one");
                let message =
                    tracing::error_span!("event", order_id = "ord_3", event_id = "ord_3/1");
                message.in_scope(|| tracing::error!(error = %"no answer", "within"));
                tracing::error!("after it again");
            });
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let ids: Vec<_> = lines.iter().map(|line| line["order_id"].as_str()).collect();
            assert_eq!(
                ids,
                [
                    None,
                    Some("ord_1"),
                    Some("ord_2"),
                    Some("ord_3"),
                    Some("ord_1")
                ]
            );
            assert!(
                lines.iter().all(|line| line["request_id"] == "r-1"),
                "{text}"
            );
            assert_eq!(lines[1]["message"], "after it");
            assert_eq!(
                (&lines[1]["code"], &lines[1]["count"], &lines[1]["is_late"]),
                (&"refused".into(), &2.into(), &true.into())
            );
            assert_eq!(
                (&lines[3]["error"], &lines[3]["event_id"]),
                (&"no answer".into(), &"ord_3/1".into())
            );
            for line in text.lines() {
                assert!(line.starts_with("{\"timestamp\":\"20"), "{line}");
                assert!(
                    line.contains("\"level\":\"ERROR\"") && !line.contains("\"span\""),
                    "{line}"
                );
            }
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
