//! The services over an AWS with faults, with a clock that the test controls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Money, Timestamp};
use messages::queue::{Queue, Sqs};
use platform::config::Environment;
use platform::runtime::Runtime;
use relay::SweepReport;
use serde_json::{Value, json};
use shipment::carriers::Own;
use store::Store;

use super::UnkindAws;
use crate::cloud::START;
use crate::database::StreamReader;
use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Reply, Services, batch, question};
use crate::{Database, Options, PlayedMailer, PlayedPartner, SentMail};

/// The services, with an AWS, a partner, and a mailer that keep ledgers.
#[derive(Debug)]
pub struct UnkindShop {
    /// `DynamoDB` and SQS.
    pub aws: UnkindAws,
    /// The billing partner.
    pub partner: PlayedPartner,
    /// The clock and random bytes.
    pub runtime: Runtime,
    mailer: PlayedMailer,
    services: Services<PlayedPartner, Own, Sqs, PlayedMailer>,
    clock: Arc<AtomicI64>,
    relayed: AtomicUsize,
}

/// The state when nothing changes any more: each effect exists once.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledgers {
    /// The orders as `GET` shows them, without times.
    pub orders: Vec<Value>,
    /// The number of items in each table.
    pub items: Vec<(String, usize)>,
    /// The captures.
    pub captured: Vec<String>,
    /// The refunds.
    pub refunded: Vec<String>,
    /// The mails, by address and subject.
    pub mails: Vec<(String, String)>,
}

impl UnkindShop {
    /// A shop within the process.
    #[must_use]
    pub fn open() -> Self {
        let aws = UnkindAws::default();
        let clients = aws.clients();
        Self::over(aws, clients)
    }

    /// A shop whose functions use these clients to reach `aws`.
    #[must_use]
    pub fn over(
        aws: UnkindAws,
        (dynamodb, sqs): (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client),
    ) -> Self {
        // To see the logs of a failing test: TEST_LOG=info cargo test …
        static LOG: std::sync::Once = std::sync::Once::new();
        if let Ok(level) = Environment::process().required("TEST_LOG") {
            LOG.call_once(|| platform::telemetry::start("tests", Some(&level), "test".to_owned()));
        }
        let clock = Arc::new(AtomicI64::new(START));
        let (now, drawn) = (Arc::clone(&clock), AtomicU64::new(0));
        let runtime = Runtime::new(
            move || Timestamp::from_millis(now.load(Ordering::SeqCst)),
            move |bytes| {
                let draw = drawn.fetch_add(1, Ordering::SeqCst);
                let digest = domain::digest(&["random", &draw.to_string()]);
                bytes.copy_from_slice(&digest[..bytes.len()]);
            },
        );
        let store = Store::new(dynamodb, Database::tables(), runtime.clone());
        let urls = Queue::ALL.map(|queue| (queue, format!("http://localhost/1/{queue:?}")));
        let partner = PlayedPartner::default();
        let mailer = PlayedMailer::default();
        let ends = Ends {
            partners: partner.clone().into(),
            carrier: Own,
            queues: Sqs::new(sqs, urls.to_vec()),
            mailer: mailer.clone(),
            certificates: Front::new(Arc::new(PayPalCertificates)),
        };
        Self {
            services: Services::new(&store, Options::default(), &runtime, ends),
            aws,
            partner,
            runtime,
            mailer,
            clock,
            relayed: AtomicUsize::new(0),
        }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("a test's time is short");
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    /// Passes an API Gateway v2 event to the function for its path.
    pub async fn send(&self, event: &Value) -> Reply {
        self.services.send(event).await
    }

    /// Delivers one message; returns whether the worker has finished with it.
    pub async fn deliver(&self, queue: Queue, body: &str) -> bool {
        let batch = batch(&[body.to_owned()]);
        self.services.deliver_batch(queue, &batch).await.is_empty()
    }

    /// Passes the stream's records since [`UnkindShop::checkpoint`] to the relay; returns whether
    /// it accepted all of them.
    pub async fn relay(&self) -> bool {
        let records = self.records();
        let seen = self.relayed.load(Ordering::SeqCst);
        let failed = self.services.relay_records(&records[seen..]).await;
        failed.is_empty()
    }

    /// Marks all records of the stream as relayed.
    pub fn checkpoint(&self) {
        self.relayed.store(self.records().len(), Ordering::SeqCst);
    }

    fn records(&self) -> Vec<Value> {
        StreamReader::new(self.aws.engine.clone()).read_new()
    }

    /// Runs the sweep.
    pub async fn sweep(&self) -> SweepReport {
        self.services.relay.sweep().await
    }

    /// Takes the messages of the queues.
    #[must_use]
    pub fn messages(&self) -> Vec<(Queue, String)> {
        let taken = self.aws.take_messages().into_iter();
        let named = taken.filter_map(|(url, body)| {
            let is = |queue: &Queue| url.ends_with(&format!("/{queue:?}"));
            Some((Queue::ALL.into_iter().find(is)?, body))
        });
        named.collect()
    }

    /// Relays, delivers, and sweeps until nothing changes.
    pub async fn settle(&self) {
        for _ in 0..40 {
            self.relay().await;
            self.checkpoint();
            let messages = self.messages();
            let is_quiet = messages.is_empty();
            for (queue, message) in messages {
                for _ in 0..3 {
                    if self.deliver(queue, &message).await {
                        break;
                    }
                }
            }
            self.pass(Duration::from_mins(10));
            if self.sweep().await == SweepReport::default() && is_quiet {
                return;
            }
        }
        panic!("the queues never ran empty");
    }

    /// The current state, with these orders.
    pub async fn ledgers(&self, orders: &[String]) -> Ledgers {
        let mut shown = Vec::new();
        for order in orders {
            let mut body = self.send(&question(order)).await.body;
            without_times(&mut body);
            shown.push(body);
        }
        let captured = self.partner.captured();
        let mut mails: Vec<_> = self.mailer.taken().iter().map(named).collect();
        mails.sort();
        Ledgers {
            orders: shown,
            items: self.aws.items(),
            captured: captured.iter().map(Money::to_text).collect(),
            refunded: self.partner.refunded(),
            mails,
        }
    }
}

fn named(sent: &SentMail) -> (String, String) {
    (sent.to.clone(), sent.mail.subject.clone())
}

/// Removes all times.
pub fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let is_time = matches!(
                    &**name,
                    "at" | "approvedAt" | "completed_at" | "created_at" | "revokedAt" | "tries"
                );
                if is_time {
                    *field = json!(null);
                }
                without_times(field);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}
