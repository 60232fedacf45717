//! A cloud in one process, for tests that proceed step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::{ChargeLimits, PartnerName, TaxMode, TaxPolicy, Timestamp, UnpaidOrders};
use messages::Message;
use messages::queue::Queue;
use payment::partners::{BillingPartner, Partners, Sandbox};
use platform::config::{Environment, Shop, TrackingMails};
use platform::runtime::Runtime;
use relay::{Relay, SweepReport};
use serde_json::Value;
use shipment::carriers::{Carrier, Own};
use store::Store;

use crate::partners::{Front, PayPalCertificates};
use crate::services::{Ends, Reply, Services, batch, question, request};
use crate::{Database, PlayedMailer, PlayedQueues};

/// The time at which every test begins: 2026-11-23T10:12:05Z.
pub(crate) const START: i64 = 1_795_428_725_000;

/// The settings in which a test's shop differs from the default.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The currency, as an ISO 4217 code.
    pub currency: &'static str,
    /// The partner whose limits apply to charges; without one, the sandbox's.
    pub partner: Option<PartnerName>,
    /// How tax is computed.
    pub tax_mode: TaxMode,
    /// The tax rate, a decimal.
    pub tax_rate: &'static str,
    /// How long an order waits for its customer before it expires.
    pub unpaid: UnpaidOrders,
    /// Whether it has a sender.
    pub sends_mails: bool,
    /// Whether the customer gets mails about the parcel's delivery.
    pub tracking_mails: TrackingMails,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            currency: "USD",
            partner: None,
            tax_mode: TaxMode::OfTotal,
            tax_rate: "0.18",
            unpaid: UnpaidOrders::expire_after(Duration::from_hours(14 * 24)),
            sends_mails: true,
            tracking_mails: TrackingMails::Off,
        }
    }
}

impl Options {
    fn sender(&self) -> Option<&'static str> {
        self.sends_mails.then_some("orders@example.com")
    }

    /// The shop with these settings.
    #[must_use]
    pub fn shop(&self) -> Shop {
        let rate = self
            .tax_rate
            .parse()
            .expect("a test's tax rate is a decimal");
        let currency = self.currency.parse().expect("a test's currency is one");
        Shop {
            limits: ChargeLimits::of(self.partner, currency)
                .expect("a test's billing partner charges in its currency"),
            tax: TaxPolicy::new(self.tax_mode, rate).expect("a test's tax rate is one"),
        }
    }
}

/// The complete cloud.
#[derive(Debug)]
pub struct Cloud<P, C = Own> {
    /// The database.
    pub database: Database,
    /// The store on the database.
    pub store: Store,
    /// The clock and random bytes of all parts.
    pub runtime: Runtime,
    /// The queues.
    pub queues: PlayedQueues,
    /// The mailer.
    pub mailer: PlayedMailer,
    /// The server of PayPal's certificate.
    pub certificates: Front,
    services: Services<P, C, PlayedQueues, PlayedMailer>,
    clock: Arc<AtomicI64>,
    relayed: AtomicU64,
}

impl Cloud<Sandbox> {
    /// The default shop with the sandbox.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A shop with the sandbox.
    pub async fn with(options: Options) -> Self {
        Self::with_partner(options, Sandbox::new).await
    }
}

impl<P: BillingPartner> Cloud<P> {
    /// A shop with a billing partner made for its clock.
    pub async fn with_partner(options: Options, partner: impl FnOnce(Runtime) -> P) -> Self {
        Self::with_ends(options, partner, Own).await
    }
}

impl<P: BillingPartner, C: Carrier> Cloud<P, C> {
    /// The functions.
    pub fn services(&self) -> &Services<P, C, PlayedQueues, PlayedMailer> {
        &self.services
    }

    /// A shop with a billing partner made for its clock, and a carrier.
    pub async fn with_ends(
        options: Options,
        partner: impl FnOnce(Runtime) -> P,
        carrier: C,
    ) -> Self {
        // To see the logs of a failing test: TEST_LOG=info cargo test …
        static LOG: std::sync::Once = std::sync::Once::new();
        if let Ok(level) = Environment::process().required("TEST_LOG") {
            LOG.call_once(|| platform::telemetry::start("tests", Some(&level), "test".to_owned()));
        }
        let database = Database::start().await;
        let clock = Arc::new(AtomicI64::new(START));
        let drawn = AtomicU64::new(0);
        let now = Arc::clone(&clock);
        let runtime = Runtime::new(
            move || Timestamp::from_millis(now.load(Ordering::SeqCst)),
            move |bytes| {
                // Different for each draw, and the same in every run.
                let draw = drawn.fetch_add(1, Ordering::SeqCst);
                let digest = domain::digest(&["random", &draw.to_string()]);
                bytes.copy_from_slice(&digest[..bytes.len()]);
            },
        );
        let store = Store::new(database.client.clone(), Database::tables(), runtime.clone())
            .with_sender(options.sender());
        let queues = PlayedQueues::default();
        let mailer = PlayedMailer::default();
        let certificates = Front::new(Arc::new(PayPalCertificates));
        let ends = Ends {
            partners: partner(runtime.clone()).into(),
            carrier,
            queues: queues.clone(),
            mailer: mailer.clone(),
            certificates: certificates.clone(),
        };
        Self {
            services: Services::new(&store, options, &runtime, ends),
            database,
            store,
            runtime,
            queues,
            mailer,
            certificates,
            clock,
            relayed: AtomicU64::new(0),
        }
    }

    /// The same database, clock, queues, and mailer, with functions that were deployed again: with
    /// other parameters, another billing partner, or another carrier.
    pub fn redeployed<Q: BillingPartner, D: Carrier>(
        self,
        options: Options,
        partner: Q,
        carrier: D,
    ) -> Cloud<Q, D> {
        self.redeployed_with(options, partner.into(), carrier)
    }

    /// Does the same with several billing partners.
    pub fn redeployed_with<Q: BillingPartner, D: Carrier>(
        self,
        options: Options,
        partners: Partners<Q>,
        carrier: D,
    ) -> Cloud<Q, D> {
        let ends = Ends {
            partners,
            carrier,
            queues: self.queues.clone(),
            mailer: self.mailer.clone(),
            certificates: self.certificates.clone(),
        };
        let client = self.database.client.clone();
        let store = Store::new(client, Database::tables(), self.runtime.clone())
            .with_sender(options.sender());
        Cloud {
            services: Services::new(&store, options, &self.runtime, ends),
            database: self.database,
            store,
            runtime: self.runtime,
            queues: self.queues,
            mailer: self.mailer,
            certificates: self.certificates,
            clock: self.clock,
            relayed: self.relayed,
        }
    }

    /// The stream's consumer and the sweep.
    #[must_use]
    pub fn relay(&self) -> &Relay<PlayedQueues> {
        &self.services.relay
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("a test's time is short");
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sends a JSON body to a path of the API as the back end.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(&request(path, body)).await
    }

    /// Does the same with an idempotency key.
    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Reply {
        let mut event = request(path, body);
        event["headers"]["idempotency-key"] = key.into();
        self.send(&event).await
    }

    /// Requests an order.
    pub async fn get(&self, order: &str) -> Reply {
        self.send(&question(order)).await
    }

    /// Passes an API Gateway v2 event to the function for its path.
    pub async fn send(&self, event: &Value) -> Reply {
        self.services.send(event).await
    }

    /// Passes an SQS batch to a queue's worker; returns the IDs of the messages to keep.
    pub async fn deliver_batch(&self, queue: Queue, batch: &Value) -> Vec<String> {
        self.services.deliver_batch(queue, batch).await
    }

    /// Delivers one message; returns whether the worker has finished with it.
    pub async fn deliver(&self, queue: Queue, message: &Message) -> bool {
        let body = message.to_json().expect("a message can be written");
        self.deliver_batch(queue, &batch(&[body])).await.is_empty()
    }

    /// Passes the new records of the stream to the relay; returns the ones that it reports as
    /// failed.
    pub async fn relay_stream(&self) -> Vec<String> {
        let seen = self.relayed.load(Ordering::SeqCst);
        let records = self
            .database
            .stream_records(usize::try_from(seen).unwrap_or(usize::MAX));
        self.relayed
            .fetch_add(records.len() as u64, Ordering::SeqCst);
        self.services.relay_records(&records).await
    }

    /// Drops the new records of the stream, as if the stream were dead.
    pub fn lose_stream(&self) {
        let records = self.database.stream_records(0).len();
        self.relayed.store(records as u64, Ordering::SeqCst);
    }

    /// Runs the sweep.
    pub async fn sweep(&self) -> SweepReport {
        self.relay().sweep().await
    }

    /// Relays the new records of the stream, and delivers every message once.
    pub async fn settle_once(&self) {
        self.relay_stream().await;
        for (queue, message) in self.queues.take() {
            self.deliver(queue, &message).await;
        }
    }

    /// Relays and delivers step by step, each message once, but only to these queues; messages to
    /// others are lost.
    pub async fn settle_through(&self, queues: &[Queue]) {
        for queue in queues {
            self.relay_stream().await;
            for (at, message) in self.queues.take() {
                if at == *queue {
                    assert!(self.deliver(*queue, &message).await, "{message:?}");
                }
            }
        }
    }

    /// Relays and delivers until nothing changes. Kept messages are delivered again, five times.
    pub async fn settle(&self) {
        for _ in 0..20 {
            self.relay_stream().await;
            let messages = self.queues.take();
            if messages.is_empty() {
                return;
            }
            for (queue, message) in messages {
                for _ in 0..5 {
                    if self.deliver(queue, &message).await {
                        break;
                    }
                }
            }
        }
        panic!("the queues never ran empty");
    }
}
