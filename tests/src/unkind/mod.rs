//! An AWS with faults: the embedded `DynamoDB` and a double of SQS with a ledger, called by the
//! real clients of `platform::aws`. They refuse, garble, or lose the calls that a test names. They
//! run within the process, where the test controls time, or on loopback, where connections end as
//! real ones do.

mod frozen;
mod refusal;
mod server;
mod shop;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::{Credentials, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use dynoxide::Database as Engine;
use platform::aws::Aws;
use serde_json::{Value, json};

pub use frozen::Function;
pub use refusal::{Effect, Garbage, Loss, Refusal, Share};
pub use server::{Idle, Server};
pub use shop::{Ledgers, UnkindShop, without_times};
use wire::{Call, Delivery, OVERSIZE, Reply};

use crate::database::{call_engine, engine_with_tables};

/// How long a refusal lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It affects one try.
    Once,
    /// It affects that try and every later one of its operation, until [`UnkindAws::be_kind`].
    ForEver,
}

#[derive(Debug)]
struct Plan {
    /// How many tries succeed before it.
    calm: usize,
    refusal: Refusal,
    extent: Extent,
    /// The operation that it has affected.
    operation: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    calls: Vec<String>,
    taken: Vec<(String, String)>,
}

/// `DynamoDB` and SQS. Clones share everything.
#[derive(Clone)]
pub struct UnkindAws {
    engine: Engine,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for UnkindAws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnkindAws")
    }
}

impl Default for UnkindAws {
    fn default() -> Self {
        Self {
            engine: engine_with_tables(),
            state: Arc::default(),
        }
    }
}

impl UnkindAws {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After `calm` further tries that succeed, the next one meets `refusal`.
    pub fn refuse(&self, calm: usize, refusal: Refusal, extent: Extent) {
        self.state().plan = Some(Plan {
            calm,
            refusal,
            extent,
            operation: None,
        });
    }

    /// From now on every try succeeds.
    pub fn be_kind(&self) {
        self.state().plan = None;
    }

    /// Takes the operations of all tries since the last call, in order.
    #[must_use]
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Takes the accepted messages: the queue's URL and the body.
    #[must_use]
    pub fn take_messages(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.state().taken)
    }

    /// The number of items in each table.
    #[must_use]
    pub fn items(&self) -> Vec<(String, usize)> {
        let tables = ["Orders", "Invoices", "Emails", "Idempotency", "Customers"];
        let count = |table: &str| {
            let scan = json!({"TableName": format!("{table}Table")});
            let scan = serde_json::from_value(scan).expect("a scan needs a table's name only");
            let found = self.engine.scan(scan).expect("the table is there");
            (table.to_owned(), found.count)
        };
        tables.map(count).to_vec()
    }

    /// The real clients, with this AWS within the process. They have their own retry budget, as an
    /// instance has; by default the whole process shares one.
    #[must_use]
    pub fn clients(&self) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
        let connector = SharedHttpConnector::new(self.clone());
        let http = http_client_fn(move |_, _| connector.clone());
        clients("http://localhost", Some(&http))
    }

    fn is_refused(&self, operation: &str) -> Option<Refusal> {
        let mut state = self.state();
        state.calls.push(operation.to_owned());
        let plan = state.plan.as_mut()?;
        if plan.calm > 0 {
            plan.calm -= 1;
            return None;
        }
        let refusal = plan.refusal;
        if plan.extent == Extent::Once {
            state.plan = None;
            return Some(refusal);
        }
        let met = plan.operation.get_or_insert_with(|| operation.to_owned());
        (met == operation).then_some(refusal)
    }

    fn answer(&self, call: &Call) -> Delivery {
        match self.is_refused(&call.operation) {
            Some(refusal) => refusal.answer(call, |call| self.carry_out(call)),
            None => Delivery::Whole(self.carry_out(call)),
        }
    }

    fn carry_out(&self, call: &Call) -> Reply {
        if call.operation == "SendMessageBatch" {
            return self.take(call);
        }
        let body = call.body.to_string();
        let (status, body) = call_engine(&self.engine, &call.operation, body.as_bytes());
        let body: Value = serde_json::from_str(&body).expect("the engine answers in JSON");
        Reply::json(status, &body)
    }

    /// Accepts a batch of messages (`SendMessageBatch`).
    fn take(&self, call: &Call) -> Reply {
        let url = call.body["QueueUrl"].as_str().unwrap_or_default();
        let entries = call.body["Entries"].as_array().cloned().unwrap_or_default();
        let mut state = self.state();
        let successful = entries.iter().map(|entry| {
            let body = entry["MessageBody"].as_str().unwrap_or_default();
            state.taken.push((url.to_owned(), body.to_owned()));
            let id = format!("message-{}", state.taken.len());
            // These clients do not check the digest.
            json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": "0".repeat(32)})
        });
        Reply::json(200, &json!({"Successful": successful.collect::<Vec<_>>()}))
    }
}

/// The clients of `platform::aws`, with that endpoint or that transport.
fn clients(
    endpoint: &str,
    http: Option<&SharedHttpClient>,
) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let region = "eu-central-1".to_owned();
    let endpoint = endpoint.parse().expect("it is an address of this machine");
    let aws = Aws::new(region, credentials, Some(endpoint));
    let budget = || {
        RetryPartition::custom("instance")
            .token_bucket(TokenBucket::default())
            .build()
    };
    let mut dynamodb = aws.dynamodb().config().to_builder();
    dynamodb = dynamodb.retry_partition(budget());
    let mut sqs = aws.sqs().config().to_builder();
    sqs = sqs.retry_partition(budget());
    if let Some(http) = http {
        dynamodb = dynamodb.http_client(http.clone());
        sqs = sqs.http_client(http.clone());
    }
    (
        aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
        aws_sdk_sqs::Client::from_conf(sqs.build()),
    )
}

/// The operation that the `x-amz-target` header names ("Making HTTP requests to DynamoDB").
fn operation(target: Option<&str>) -> String {
    let target = target.unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

impl HttpConnector for UnkindAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let call = Call {
            operation: operation(request.headers().get("x-amz-target")),
            body: serde_json::from_slice(body).unwrap_or_default(),
        };
        let delivery = self.answer(&call);
        HttpConnectorFuture::new(async move {
            match delivery {
                Delivery::Whole(reply) => response(reply),
                Delivery::Half(mut reply) => {
                    reply.body.truncate(reply.body.len() / 2);
                    response(reply)
                }
                Delivery::Oversized(mut reply) => {
                    // The head is sufficient.
                    let length = OVERSIZE.to_string();
                    reply.headers.push(("content-length", length));
                    response(reply)
                }
                Delivery::Lost(Loss::Silence) => std::future::pending().await,
                Delivery::Lost(Loss::Reset | Loss::Closed) => {
                    Err(ConnectorError::io("played: the connection ended".into()))
                }
            }
        })
    }
}

fn response(reply: Reply) -> Result<HttpResponse, ConnectorError> {
    let status = reply
        .status
        .try_into()
        .map_err(|_| ConnectorError::user("no HTTP status".into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(reply.body));
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
