//! The services, wired as the template wires them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use billing::Billing;
use cart::Cart;
use email::Emails;
use lambda_runtime::{Context, LambdaEvent};
use order::Orders;
use payment::Payments;
use payment::partners::{BillingPartner, Sandbox};
use relay::{Relay, SweepReport};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use shared::config::{Authentication, Environment, Shop};
use shared::domain::{TaxMode, TaxPolicy, Timestamp};
use shared::event::Message;
use shared::lambda::{Function, Handler};
use shared::queue::Queue;
use shared::runtime::Runtime;
use shared::store::Store;
use shipment::Shipments;
use shipment::carriers::Own;

use crate::{Database, PlayedMailer, PlayedQueues};

/// When every test begins: 2026-11-23T10:12:05Z.
const START: i64 = 1_795_428_725_000;

/// How a test's shop differs from the default.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// ISO 4217.
    pub currency: &'static str,
    /// How tax is computed.
    pub tax_mode: TaxMode,
    /// As a decimal.
    pub tax_rate: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            currency: "USD",
            tax_mode: TaxMode::OfTotal,
            tax_rate: "0.18",
        }
    }
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u64,
    /// The headers, names in lower case.
    pub headers: Value,
    /// The body's exact text.
    pub text: String,
    /// The body, parsed.
    pub body: Value,
}

impl Reply {
    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }

    /// The problem's code, or an empty text.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The pointers of all reported fields.
    #[must_use]
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .collect()
    }
}

/// All of it.
#[derive(Debug)]
pub struct Cloud<P> {
    /// The database under it.
    pub database: Database,
    /// The store on it.
    pub store: Store,
    /// The clock and random bytes of everything here.
    pub runtime: Runtime,
    /// The queues.
    pub queues: PlayedQueues,
    /// The mailer.
    pub mailer: PlayedMailer,
    /// The stream's consumer and the sweep.
    pub relay: Relay<PlayedQueues>,
    cart: Handler<Cart>,
    billing: Handler<Billing>,
    payment: Handler<Payments<P>>,
    shipment: Handler<Shipments<Own, PlayedQueues>>,
    email: Handler<Emails<PlayedMailer>>,
    order: Handler<Orders>,
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
        // To see what a failing test logs: TEST_LOG=info cargo test …
        static LOG: std::sync::Once = std::sync::Once::new();
        if let Ok(level) = Environment::process().required("TEST_LOG") {
            LOG.call_once(|| shared::telemetry::start(Some(&level)));
        }
        let database = Database::start().await;
        let clock = Arc::new(AtomicI64::new(START));
        let drawn = AtomicU64::new(0);
        let now = Arc::clone(&clock);
        let runtime = Runtime::new(
            move || Timestamp::from_millis(now.load(Ordering::SeqCst)),
            move |bytes| {
                // Different every time and the same in every run.
                let draw = drawn.fetch_add(1, Ordering::SeqCst);
                let digest = shared::domain::digest(&["random", &draw.to_string()]);
                bytes.copy_from_slice(&digest[..bytes.len()]);
            },
        );
        let store = Store::new(database.client.clone(), Database::tables(), runtime.clone());
        let rate = options
            .tax_rate
            .parse()
            .expect("a test's tax rate is a decimal");
        let shop = Shop {
            currency: options.currency.parse().expect("a test's currency is one"),
            tax: TaxPolicy::new(options.tax_mode, rate).expect("a test's tax rate is one"),
        };
        let authentication = Authentication::Jwt {
            backend_scope: "orderflow/backend".to_owned(),
            customer_claim: "sub".to_owned(),
        };
        let queues = PlayedQueues::default();
        let mailer = PlayedMailer::default();
        let stage = || "test".to_owned();
        Self {
            cart: Handler::new(
                Cart::new(store.clone(), shop, runtime.clone()),
                authentication.clone(),
            ),
            billing: Handler::new(
                Billing::new(store.clone(), shop, runtime.clone()),
                authentication.clone(),
            ),
            payment: Handler::new(
                Payments::new(
                    store.clone(),
                    partner(runtime.clone()),
                    shop,
                    stage(),
                    runtime.clone(),
                ),
                authentication.clone(),
            ),
            shipment: Handler::new(
                Shipments::new(store.clone(), Own, queues.clone(), runtime.clone()),
                authentication.clone(),
            ),
            email: Handler::new(
                Emails::new(store.clone(), mailer.clone(), stage(), runtime.clone()),
                authentication.clone(),
            ),
            order: Handler::new(Orders::new(store.clone()), authentication),
            relay: Relay::new(store.clone(), queues.clone(), stage(), runtime.clone()),
            database,
            store,
            runtime,
            queues,
            mailer,
            clock,
            relayed: AtomicU64::new(0),
        }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("a test's time is short");
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sends a JSON body to a path of the API as the backend.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(&request(path, body)).await
    }

    /// The same with an idempotency key.
    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Reply {
        let mut event = request(path, body);
        event["headers"]["idempotency-key"] = key.into();
        self.send(&event).await
    }

    /// Asks where an order stands.
    pub async fn get(&self, order: &str) -> Reply {
        let mut event: Value = parse(include_str!("../../events/order.json"));
        let path = format!("/api/order/{order}");
        event["rawPath"] = path.clone().into();
        event["requestContext"]["http"]["path"] = path.into();
        event["pathParameters"]["orderId"] = order.into();
        self.send(&event).await
    }

    /// Gives an API Gateway v2 event to the function that its path names.
    pub async fn send(&self, event: &Value) -> Reply {
        let path = event["rawPath"].as_str().unwrap_or_default();
        let answer = match path {
            "/api/order/cart.json" => invoke(&self.cart, event).await,
            "/api/order/invoice.json" => invoke(&self.billing, event).await,
            "/api/order/payment.json" => invoke(&self.payment, event).await,
            "/api/order/shipping.json" => invoke(&self.shipment, event).await,
            "/api/order/email.json" => invoke(&self.email, event).await,
            _ => invoke(&self.order, event).await,
        };
        let text = answer["body"].as_str().unwrap_or_default().to_owned();
        Reply {
            status: answer["statusCode"].as_u64().unwrap_or_default(),
            headers: answer["headers"].clone(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Gives an SQS batch to a queue's worker; returns the ids of the messages to be kept.
    pub async fn deliver_batch(&self, queue: Queue, batch: &Value) -> Vec<String> {
        let answer = match queue {
            Queue::Billing => invoke(&self.billing, batch).await,
            Queue::Payment => invoke(&self.payment, batch).await,
            Queue::Shipping => invoke(&self.shipment, batch).await,
            Queue::Email => invoke(&self.email, batch).await,
        };
        let failures = answer["batchItemFailures"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ids = failures
            .iter()
            .filter_map(|failure| failure["itemIdentifier"].as_str());
        ids.map(str::to_owned).collect()
    }

    /// Delivers one message; tells whether the worker was done with it.
    pub async fn deliver(&self, queue: Queue, message: &Message) -> bool {
        let body = message.to_json().expect("a message can be written");
        self.deliver_batch(queue, &batch(&[body])).await.is_empty()
    }

    /// Brings the relay what the stream has since the last time; returns what it reports as failed.
    pub async fn relay_stream(&self) -> Vec<String> {
        let seen = self.relayed.load(Ordering::SeqCst);
        let records = self
            .database
            .stream_records(usize::try_from(seen).unwrap_or(usize::MAX));
        self.relayed
            .fetch_add(records.len() as u64, Ordering::SeqCst);
        // As the event source mapping's filter lets them through.
        let wanted = records
            .into_iter()
            .filter(|record| record["dynamodb"]["NewImage"]["event"]["M"]["id"]["S"].is_string());
        let event = json!({ "Records": wanted.collect::<Vec<_>>() });
        let answer = self
            .relay
            .handle(lambda_event(&event))
            .await
            .expect("the relay answers");
        let answer: Value = parse(answer.get());
        let failures = answer["batchItemFailures"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        failures
            .iter()
            .map(|failure| failure["itemIdentifier"].to_string())
            .collect()
    }

    /// Forgets what the stream has: it was dead.
    pub fn lose_stream(&self) {
        let records = self.database.stream_records(0).len();
        self.relayed.store(records as u64, Ordering::SeqCst);
    }

    /// Runs the sweep.
    pub async fn sweep(&self) -> SweepReport {
        self.relay.sweep().await
    }

    /// Relays and delivers until nothing moves; messages that are kept come again, five times.
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

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("what we wrote ourselves is JSON")
}

/// The request of `events/cart.json` with another path and body.
#[must_use]
pub fn request(path: &str, body: &Value) -> Value {
    let mut event: Value = parse(include_str!("../../events/cart.json"));
    event["rawPath"] = path.into();
    event["routeKey"] = format!("POST {path}").into();
    event["requestContext"]["http"]["path"] = path.into();
    event["requestContext"]["routeKey"] = format!("POST {path}").into();
    event["body"] = body.to_string().into();
    event
}

/// A batch as in `events/email-queue.json` with these bodies; ids `0`, `1`, …
#[must_use]
pub fn batch(bodies: &[String]) -> Value {
    let example: Value = parse(include_str!("../../events/email-queue.json"));
    let records = bodies.iter().enumerate().map(|(index, body)| {
        let mut record = example["Records"][0].clone();
        record["messageId"] = index.to_string().into();
        record["body"] = body.as_str().into();
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

fn lambda_event(event: &Value) -> LambdaEvent<Box<serde_json::value::RawValue>> {
    let payload = to_raw_value(event).expect("a JSON value can be written");
    LambdaEvent::new(payload, Context::default())
}

/// Gives an event to a handler as Lambda would.
pub async fn invoke<F: Function>(handler: &Handler<F>, event: &Value) -> Value {
    let answer = handler
        .handle(lambda_event(event))
        .await
        .expect("the handler answers");
    parse(answer.get())
}
