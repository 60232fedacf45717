//! The events of the relay's Lambdas: stream records or the schedule's tick.

use std::time::Duration;

use domain::UnpaidOrders;
use futures_util::future::join;
use lambda_runtime::{LambdaEvent, service_fn};
use messages::queue::EventQueue;
use platform::deadline;
use platform::runtime::Runtime;
use platform::telemetry;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use store::Store;
use tracing::Instrument as _;

use crate::mails::{MailReport, sweep_mails};
use crate::queues::Persistent;
use crate::relay::{RelayFailures, relay};
use crate::sweep::{SweepReport, Unfinished, sweep};

/// The relay and the sweep.
#[derive(Clone, Debug)]
pub struct Relay<Q> {
    store: Store,
    queues: Q,
    unpaid: UnpaidOrders,
    stage: String,
    runtime: Runtime,
    unfinished: Unfinished,
    mail_retry: Duration,
}

fn days(count: u32) -> Duration {
    Duration::from_hours(24) * count
}

/// The fields that tell the two kinds of events apart.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, rename = "Records")]
    records: Option<Vec<&'a RawValue>>,
}

impl<Q: EventQueue + Clone + 'static> Relay<Q> {
    /// The relay over its queues and, for the sweep, the store. `stage` names the deployment in
    /// metrics.
    #[must_use]
    pub fn new(store: Store, queues: Q, stage: String, runtime: Runtime) -> Self {
        Self {
            store,
            queues,
            unpaid: UnpaidOrders::NEVER_EXPIRE,
            stage,
            runtime,
            unfinished: Unfinished::default(),
            mail_retry: days(3),
        }
    }

    /// Retries a mail that SES does not accept for `count` days instead of the default of three.
    #[must_use]
    pub fn with_mail_retry_days(self, count: u32) -> Self {
        Self {
            mail_retry: days(count),
            ..self
        }
    }

    /// Publishes orders that stay unpaid for longer than `unpaid` to the payment queue.
    #[must_use]
    pub fn expiring(self, unpaid: UnpaidOrders) -> Self {
        Self { unpaid, ..self }
    }

    /// Serves Lambda until it ends the process.
    pub async fn run(self) -> Result<(), lambda_runtime::Error> {
        lambda_runtime::run(service_fn(move |event| {
            let relay = self.clone();
            // Boxed: the whole state machine exceeds the compiler's depth limit.
            Box::pin(async move {
                relay
                    .handle(event)
                    .await
                    .map_err(lambda_runtime::Error::from)
            })
        }))
        .await
    }

    /// Handles one event: the answer to records lists those that failed, the answer to a tick
    /// reports the sweep.
    pub async fn handle(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<Box<RawValue>, serde_json::Error> {
        let span = tracing::error_span!("invocation", request_id = %event.context.request_id);
        let answer = self.answer(&event.payload).instrument(span);
        deadline::until(event.context.deadline(), answer).await
    }

    async fn answer(&self, payload: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        let probe: Probe<'_> = serde_json::from_str(payload.get())?;
        if let Some(records) = probe.records {
            return to_raw_value(&self.relay(&records).await);
        }
        let report = self.sweep().await;
        to_raw_value(&serde_json::json!({
            "published": report.published,
            "settled": report.settled,
            "overdue": report.overdue,
            "failed": report.failed,
            "unfinished": report.unfinished,
        }))
    }

    /// Publishes the events that the records carry.
    pub async fn relay(&self, records: &[&RawValue]) -> RelayFailures {
        let queues = Persistent::new(&self.queues, &self.runtime);
        let relayed = relay(&queues, records, self.store.sends_mails()).await;
        if relayed.deferred > 0 {
            self.count("RelayDeferred", relayed.deferred);
        }
        relayed.failures
    }

    /// Publishes overdue work again, orders and promised mails concurrently, and counts the overdue
    /// and the failed ones.
    pub async fn sweep(&self) -> SweepReport {
        let mails = Box::pin(self.sweep_mails());
        let (orders, mails) = join(Box::pin(self.sweep_orders()), mails).await;
        self.count("EmailFailed", orders.mails_given_up + mails.given_up);
        SweepReport { mails, ..orders }
    }

    async fn sweep_mails(&self) -> MailReport {
        let report = sweep_mails(&self.store, &self.queues, &self.runtime, self.mail_retry).await;
        self.count("MailsOverdue", report.overdue);
        report
    }

    async fn sweep_orders(&self) -> SweepReport {
        let report = sweep(
            &self.store,
            &self.queues,
            self.unpaid,
            &self.runtime,
            self.mail_retry,
            &self.unfinished,
        )
        .await;
        self.count("OrdersOverdue", report.overdue);
        self.count("SweepFailed", report.failed + report.unfinished);
        tracing::info!(
            published = report.published,
            settled = report.settled,
            overdue = report.overdue,
            failed = report.failed,
            unfinished = report.unfinished,
            "swept"
        );
        report
    }

    fn count(&self, metric: &'static str, value: u64) {
        telemetry::count(&self.stage, metric, value, self.runtime.now());
    }
}
