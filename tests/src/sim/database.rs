//! The embedded DynamoDB behind a connector that loses requests and answers.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{AsyncSleep, BehaviorVersion, Region, Sleep};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use dynoxide::Database as Engine;
use platform::aws::patient_dynamodb;
use serde_json::{Value, json};

use super::world::{Fate, Indexes};
use super::{Faults, World};
use crate::database::call_engine;

/// Calls the engine in this process, as the SDK would call DynamoDB over the network.
#[derive(Clone)]
struct Connector {
    engine: Engine,
    world: World,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.answer(&request).await })
    }
}

impl Connector {
    async fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        let lost = |what: &str| Err(ConnectorError::io(what.into()));
        let fate = self.world.effect(operation).await;
        let late = {
            let (connector, operation) = (self.clone(), operation.to_owned());
            let body = body.to_vec();
            move || {
                connector.carry_out(&operation, &body);
            }
        };
        if let Some(thaws_at) = self.frozen_until() {
            // The client waits in vain, but its request takes effect when the database thaws.
            self.world.pass(1_000);
            self.world.arrive_at(thaws_at, operation.to_owned(), late);
            return lost("played: the database is frozen");
        }
        match fate {
            Fate::RequestLost => {
                self.world.lose(operation, late);
                return lost("played: the request was lost");
            }
            Fate::Throttled => {
                self.note_refusal(body);
                return Ok(refused("ThrottlingException"));
            }
            Fate::AnswerLost => {
                self.carry_out(operation, body);
                return lost("played: the answer was lost");
            }
            Fate::Done => {}
        }
        if matches!(
            operation,
            "TransactWriteItems" | "PutItem" | "UpdateItem" | "GetItem"
        ) {
            let is_conflict = {
                let mut state = self.world.state();
                let conflict = state.faults.conflict;
                state.random.chance(conflict)
            };
            if is_conflict {
                self.note_refusal(body);
                return Ok(match operation {
                    "TransactWriteItems" => conflicting(body),
                    _ => refused("TransactionConflictException"),
                });
            }
        }
        Ok(self.carry_out(operation, body))
    }

    /// Counts the refusals of a write to a mail's row: the client sends the same body with each
    /// try.
    fn note_refusal(&self, body: &[u8]) {
        let is_mail = body.windows(13).any(|bytes| bytes == br#""EmailsTable""#);
        if is_mail {
            let refused = &mut self.world.state().refused_mail_writes;
            *refused.entry(body.to_vec()).or_default() += 1;
        }
    }

    fn frozen_until(&self) -> Option<i64> {
        let now = self.world.now();
        let frozen = self.world.state().database_frozen;
        let (_, until) = frozen.filter(|(from, until)| (*from..*until).contains(&now))?;
        Some(until)
    }

    fn carry_out(&self, operation: &str, body: &[u8]) -> HttpResponse {
        if !matches!(operation, "GetItem" | "BatchGetItem" | "Query") {
            self.world.state().note_write(body);
        }
        let (status, mut answer) = call_engine(&self.engine, operation, body);
        if operation == "Query" && self.world.state().indexes == Indexes::Behind {
            answer = behind(body, &answer);
        }
        if status == 200 && carries_event(operation, body) {
            self.world.state().events += 1;
        }
        response(status, answer)
    }
}

/// A page of an index that does not contain every second new order yet. It ends at the same place,
/// so it may be short.
fn behind(query: &[u8], page: &str) -> String {
    let query: Value = serde_json::from_slice(query).unwrap_or_default();
    let mut page: Value = serde_json::from_str(page).unwrap_or_default();
    if matches!(query["IndexName"].as_str(), Some("byCustomer" | "byTime"))
        && let Some(items) = page["Items"].as_array_mut()
    {
        items.retain(|item| {
            let id = item["orderId"]["S"].as_str().unwrap_or_default();
            id.bytes().map(u32::from).sum::<u32>().is_multiple_of(2)
        });
        page["Count"] = items.len().into();
    }
    page.to_string()
}

/// Whether the write leaves an event on the order, so that the relay's mapping lets it through.
fn carries_event(operation: &str, body: &[u8]) -> bool {
    let body = std::str::from_utf8(body).unwrap_or_default();
    match operation {
        "PutItem" => body.contains(r#""event":{"M""#),
        "UpdateItem" | "TransactWriteItems" => body.contains(r#"":event""#),
        _ => false,
    }
}

fn response(status: u16, body: String) -> HttpResponse {
    let status = status
        .try_into()
        .expect("the engine answers with HTTP statuses");
    let mut response = HttpResponse::new(status, body.into());
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}

fn refused(code: &str) -> HttpResponse {
    let body = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
        "message": "played"
    });
    response(400, body.to_string())
}

/// DynamoDB's refusal of a transaction that conflicted with another one
/// (`TransactionCanceledException`).
fn conflicting(request: &[u8]) -> HttpResponse {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let items = request["TransactItems"].as_array().map_or(1, Vec::len);
    let reasons = (0..items).map(|index| match index {
        0 => json!({"Code": "TransactionConflict", "Message": "played"}),
        _ => json!({"Code": "None"}),
    });
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "played",
        "CancellationReasons": reasons.collect::<Vec<_>>()
    });
    response(400, body.to_string())
}

/// The SDK's pauses between its tries take no time here: the scheduler chooses who continues.
#[derive(Debug)]
struct NoPause;

impl AsyncSleep for NoPause {
    fn sleep(&self, _duration: std::time::Duration) -> Sleep {
        Sleep::new(std::future::ready(()))
    }
}

/// How often a call is tried: fewer times than by functions, so that histories reach the last try.
pub(super) const TRIES: u32 = 4;

/// A client for `engine` whose calls are effects of `world`.
pub(super) fn client(engine: &Engine, world: &World) -> Client {
    let connector = Connector {
        engine: engine.clone(),
        world: world.clone(),
    };
    let http = http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone()));
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        // No signature is checked here, and signing costs more than the call.
        .allow_no_auth()
        .http_client(http);
    let config = patient_dynamodb(config)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        // Its own retry budget, as each instance has one. The default budget belongs to the whole
        // process, so that one history would use up another's.
        .retry_partition(
            RetryPartition::custom("instance")
                .token_bucket(TokenBucket::default())
                .build(),
        )
        .timeout_config(TimeoutConfig::disabled())
        .sleep_impl(NoPause)
        .build();
    Client::from_conf(config)
}

/// A client whose calls always succeed, for checks of the stored data.
pub(super) fn honest_client(engine: &Engine) -> Client {
    client(engine, &World::new(0, Faults::default(), false))
}

/// Pauses by tokio's clock, which a test has stopped.
#[derive(Debug)]
struct Stopped;

impl AsyncSleep for Stopped {
    fn sleep(&self, duration: std::time::Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}

/// The template's tables, empty, for a test that stops the clock.
#[must_use]
pub fn client_within_the_process() -> Client {
    let client = honest_client(&crate::database::engine_with_tables());
    Client::from_conf(client.config().to_builder().sleep_impl(Stopped).build())
}

fn scan(engine: &Engine, table: &str) -> Vec<Value> {
    let scan = serde_json::from_value(json!({ "TableName": table }))
        .expect("a scan needs a table's name only");
    let scan = engine.scan(scan).expect("the table is there");
    json!(scan)["Items"].as_array().cloned().unwrap_or_default()
}

fn text(item: &Value, attribute: &str) -> String {
    item[attribute]["S"].as_str().unwrap_or_default().to_owned()
}

/// All invoice documents, by ID.
pub(super) fn invoices(engine: &Engine) -> BTreeMap<String, Value> {
    let items = scan(engine, "InvoicesTable").into_iter();
    items.map(|item| (text(&item, "invoiceId"), item)).collect()
}

/// The orders with a mail that may or may not have been accepted.
pub(super) fn unconfirmed(engine: &Engine) -> BTreeSet<String> {
    let rows = scan(engine, "EmailsTable").into_iter();
    let parked = rows.filter(|row| row["state"]["S"] == "unconfirmed");
    parked.map(|row| text(&row, "orderId")).collect()
}

/// When the first of the promised mails is checked next.
pub(super) fn first_mail_due(engine: &Engine) -> Option<i64> {
    let rows = scan(engine, "EmailsTable").into_iter();
    let due = rows.filter_map(|row| row["dueAt"]["N"].as_str()?.parse().ok());
    due.min()
}

/// Makes the sweep check an order at once, as the operator's tool does.
pub(super) fn requeue(engine: &Engine, order: &str, now: i64) {
    let update = json!({
        "TableName": "OrdersTable", "Key": {"orderId": {"S": order}},
        "UpdateExpression": "SET dueAt = :now REMOVE #event",
        "ConditionExpression": "attribute_exists(dueStep) AND dueAt > :now",
        "ExpressionAttributeNames": {"#event": "event"},
        "ExpressionAttributeValues": {":now": {"N": now.to_string()}}
    });
    let update = serde_json::from_value(update).expect("it is an UpdateItem");
    // Refused if nothing is due.
    engine.update_item(update).ok();
}
