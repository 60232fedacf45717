//! An embedded DynamoDB with the template's tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use dynoxide::Database as Engine;
use dynoxide::actions::{
    describe_stream::DescribeStreamRequest, get_records::GetRecordsRequest,
    get_shard_iterator::GetShardIteratorRequest, list_streams::ListStreamsRequest,
};
use platform::aws::Aws;
use platform::config::Tables;
use serde_json::{Value, json};

/// The cost of each kind of call, as the database itself reports it.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    calls: Arc<Mutex<BTreeMap<String, (u64, f64)>>>,
    writes: Arc<Mutex<BTreeMap<String, f64>>>,
}

impl Capacity {
    /// The number of calls and the consumed capacity units since the last [`Capacity::reset`], by
    /// operation.
    #[must_use]
    pub fn by_operation(&self) -> BTreeMap<String, (u64, f64)> {
        self.calls
            .lock()
            .expect("no test panics while it counts")
            .clone()
    }

    /// The write units since the last [`Capacity::reset`], by table, and by table and index.
    #[must_use]
    pub fn write_units(&self) -> BTreeMap<String, f64> {
        self.writes
            .lock()
            .expect("no test panics while it counts")
            .clone()
    }

    fn count_writes(&self, consumed: &Value) {
        let mut writes = self.writes.lock().expect("no test panics while it counts");
        let mut count = |place: String, units: &Value| {
            *writes.entry(place).or_default() += units.as_f64().unwrap_or_default();
        };
        let table = consumed["TableName"].as_str().unwrap_or_default();
        count(table.to_owned(), &consumed["Table"]["CapacityUnits"]);
        let indexes = consumed["GlobalSecondaryIndexes"].as_object();
        for (index, units) in indexes.into_iter().flatten() {
            count(format!("{table}/{index}"), &units["CapacityUnits"]);
        }
    }

    /// Resets the counts.
    pub fn reset(&self) {
        self.writes
            .lock()
            .expect("no test panics while it counts")
            .clear();
        self.calls
            .lock()
            .expect("no test panics while it counts")
            .clear();
    }
}

/// A write as it was sent to the database.
#[derive(Clone, Debug)]
pub struct SentWrite {
    /// The API operation.
    pub operation: String,
    body: Value,
}

/// The writes that were sent, whether or not they were carried out.
#[derive(Clone, Debug, Default)]
pub struct SentWrites(Arc<Mutex<Vec<SentWrite>>>);

impl SentWrites {
    /// Takes all writes since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<SentWrite> {
        std::mem::take(&mut *self.0.lock().expect("no test panics while it records"))
    }
}

impl SentWrite {
    /// A write by another client.
    #[must_use]
    pub fn new(operation: &str, body: Value) -> Self {
        Self {
            operation: operation.to_owned(),
            body,
        }
    }
}

/// Requests the consumed capacity with each call, adds it up, and records the writes.
struct Meter {
    capacity: Capacity,
    writes: SentWrites,
    slipped_in: Arc<Mutex<Option<(usize, SentWrite)>>>,
    engine: Engine,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let bytes = request.body().bytes().unwrap_or_default();
        let mut body: Value = serde_json::from_slice(bytes)?;
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        if matches!(&*operation, "PutItem" | "UpdateItem" | "TransactWriteItems") {
            let slot = &self.slipped_in;
            let mut slot = slot.lock().expect("no test panics while it slips in");
            match slot.take() {
                Some((0, write)) => assert!(carry_out(&self.engine, &write), "{write:?}"),
                Some((left, write)) => *slot = Some((left - 1, write)),
                None => {}
            }
            let mut writes = self
                .writes
                .0
                .lock()
                .expect("no test panics while it records");
            writes.push(SentWrite {
                operation,
                body: body.clone(),
            });
        }
        body["ReturnConsumedCapacity"] = "INDEXES".into();
        let bytes = serde_json::to_vec(&body)?;
        request
            .headers_mut()
            .insert("content-length", bytes.len().to_string());
        *request.body_mut() = bytes.into();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map(|call| call.name().to_owned());
        let operation = operation.unwrap_or_default();
        let body: Value =
            serde_json::from_slice(context.response().body().bytes().unwrap_or_default())?;
        let units = |capacity: &Value| capacity["CapacityUnits"].as_f64().unwrap_or_default();
        let tables = match &body["ConsumedCapacity"] {
            Value::Array(tables) => tables.as_slice(),
            single => std::slice::from_ref(single),
        };
        let consumed = tables.iter().map(units).sum::<f64>();
        if matches!(&*operation, "PutItem" | "UpdateItem" | "TransactWriteItems") {
            for table in tables {
                self.capacity.count_writes(table);
            }
        }
        let mut calls = self
            .capacity
            .calls
            .lock()
            .expect("no test panics while it counts");
        let entry = calls.entry(operation).or_default();
        entry.0 += 1;
        entry.1 += consumed;
        Ok(())
    }
}

/// Returns whether the write was carried out.
fn carry_out(engine: &Engine, write: &SentWrite) -> bool {
    let mut body = write.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("ClientRequestToken");
    }
    macro_rules! run {
        ($method:ident) => {{
            let request = serde_json::from_value(body).expect("a write that DynamoDB can read");
            engine.$method(request).is_ok()
        }};
    }
    match write.operation.as_str() {
        "PutItem" => run!(put_item),
        "UpdateItem" => run!(update_item),
        "TransactWriteItems" => run!(transact_write_items),
        other => panic!("{other} is no write"),
    }
}

/// The engine, its tables, and a real client for it over loopback.
#[derive(Clone)]
pub struct Database {
    engine: Engine,
    /// The client that the store uses.
    pub client: Client,
    /// The cost of the calls.
    pub capacity: Capacity,
    /// The writes that were sent.
    pub writes: SentWrites,
    slipped_in: Arc<Mutex<Option<(usize, SentWrite)>>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}

impl Database {
    /// Starts an empty database with the tables of `template.yaml` and serves it on loopback for as
    /// long as the test's runtime lives.
    pub async fn start() -> Self {
        let engine = engine_with_tables();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        tokio::spawn(dynoxide::server::serve_on(listener, engine.clone()));
        let credentials = Credentials::new("test", "test", None, None, "test");
        let endpoint = format!("http://{address}");
        let endpoint = endpoint.parse().expect("loopback is safe");
        let client = Aws::new("eu-central-1".to_owned(), credentials, Some(endpoint)).dynamodb();
        let capacity = Capacity::default();
        let writes = SentWrites::default();
        let slipped_in = Arc::default();
        let meter = Meter {
            capacity: capacity.clone(),
            writes: writes.clone(),
            slipped_in: Arc::clone(&slipped_in),
            engine: engine.clone(),
        };
        let metered = client.config().to_builder().interceptor(meter).build();
        Self {
            engine,
            client: Client::from_conf(metered),
            capacity,
            writes,
            slipped_in,
        }
    }

    /// Carries out another client's write after the next `writes` writes and just before the one
    /// that follows them: between a function's read and its write.
    pub fn slip_in(&self, writes: usize, write: SentWrite) {
        *self
            .slipped_in
            .lock()
            .expect("no test panics while it slips in") = Some((writes, write));
    }

    /// Delivers a copy of a write once more, like one that the network delayed; returns whether it
    /// was carried out. A transaction is delivered without the token by which DynamoDB recognizes
    /// it for ten minutes.
    #[must_use]
    pub fn arrive_late(&self, write: &SentWrite) -> bool {
        carry_out(&self.engine, write)
    }

    /// All five tables.
    #[must_use]
    pub fn tables() -> Tables {
        Tables {
            orders: Some("OrdersTable".to_owned()),
            invoices: Some("InvoicesTable".to_owned()),
            emails: Some("EmailsTable".to_owned()),
            idempotency: Some("IdempotencyTable".to_owned()),
            customers: Some("CustomersTable".to_owned()),
        }
    }

    /// The records of the Orders stream after the first `seen`, as Lambda delivers them.
    #[must_use]
    pub fn stream_records(&self, seen: usize) -> Vec<Value> {
        let mut records = StreamReader::new(self.engine.clone()).read_new();
        records.split_off(seen.min(records.len()))
    }
}

/// Reads the Orders stream from its beginning, and continues where it stopped.
#[derive(Clone)]
pub struct StreamReader {
    engine: Engine,
    iterator: Option<String>,
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamReader")
    }
}

impl StreamReader {
    /// A reader at the beginning of the stream.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            iterator: None,
        }
    }

    fn beginning(&self) -> Option<String> {
        let list = ListStreamsRequest {
            table_name: Some("OrdersTable".to_owned()),
            ..Default::default()
        };
        let streams = self
            .engine
            .list_streams(list)
            .expect("the table has a stream")
            .streams;
        let stream_arn = streams
            .first()
            .expect("the table has a stream")
            .stream_arn
            .clone();
        let describe = DescribeStreamRequest {
            stream_arn: stream_arn.clone(),
            ..Default::default()
        };
        let description = self
            .engine
            .describe_stream(describe)
            .expect("the stream is there");
        // The engine has one shard for each stream.
        let shard = description.stream_description.shards.into_iter().next()?;
        let request = GetShardIteratorRequest {
            stream_arn,
            shard_id: shard.shard_id,
            shard_iterator_type: "TRIM_HORIZON".to_owned(),
            sequence_number: None,
        };
        self.engine
            .get_shard_iterator(request)
            .expect("the shard is there")
            .shard_iterator
    }

    /// The records since the last call, as Lambda delivers them.
    pub fn read_new(&mut self) -> Vec<Value> {
        let mut records = Vec::new();
        let mut iterator = self.iterator.take().or_else(|| self.beginning());
        while let Some(shard_iterator) = iterator {
            let request = GetRecordsRequest {
                shard_iterator: shard_iterator.clone(),
                limit: None,
            };
            let page = self
                .engine
                .get_records(request)
                .expect("the iterator is fresh");
            // The API's maximum ("GetRecords"): a page with fewer records is the last one for now.
            let is_last = page.records.len() < 1000;
            records.extend(page.records.iter().map(|record| json!(record)));
            iterator = page.next_shard_iterator;
            if is_last {
                iterator = iterator.or(Some(shard_iterator));
                break;
            }
        }
        self.iterator = iterator;
        records
    }
}

/// Carries out a call of the store; returns the HTTP status and the body of the answer.
pub(crate) fn call_engine(engine: &Engine, operation: &str, body: &[u8]) -> (u16, String) {
    macro_rules! run {
        ($method:ident) => {{
            let request =
                serde_json::from_slice(body).expect("the engine reads what the SDK sends");
            engine
                .$method(request)
                .map(|answer| serde_json::to_string(&answer).unwrap_or_default())
        }};
    }
    let answer = match operation {
        "PutItem" => run!(put_item),
        "GetItem" => run!(get_item),
        "UpdateItem" => run!(update_item),
        "TransactWriteItems" => run!(transact_write_items),
        "BatchGetItem" => run!(batch_get_item),
        "Query" => run!(query),
        other => panic!("the store does not call {other}"),
    };
    answer.map_or_else(
        |error| (error.status_code(), error.to_json()),
        |answer| (200, answer),
    )
}

/// An empty engine with the template's tables.
pub(crate) fn engine_with_tables() -> Engine {
    static REQUESTS: std::sync::LazyLock<Vec<Value>> = std::sync::LazyLock::new(table_requests);
    let engine = Engine::memory().expect("an in-memory database needs nothing");
    for request in REQUESTS.iter() {
        let request =
            serde_json::from_value(request.clone()).expect("the template's tables are valid");
        engine
            .create_table(request)
            .expect("the template's tables can be made");
    }
    engine
}

/// The template's tables as `CreateTable` requests, named by their logical IDs.
fn table_requests() -> Vec<Value> {
    let template = include_str!("../../template.yaml");
    let template: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(template).expect("the template is YAML");
    let resources = template["Resources"]
        .as_mapping()
        .expect("the template has resources");
    let mut requests = Vec::new();
    for (name, resource) in resources {
        if resource["Type"].as_str() != Some("AWS::DynamoDB::Table") {
            continue;
        }
        let properties = &resource["Properties"];
        let mut request = json!({ "TableName": name.as_str() });
        for field in [
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "BillingMode",
        ] {
            if let Some(value) = properties.get(field) {
                request[field] = serde_json::to_value(value).expect("plain YAML is JSON");
            }
        }
        if let Some(stream) = properties.get("StreamSpecification") {
            request["StreamSpecification"] = json!({
                "StreamEnabled": true,
                "StreamViewType": stream["StreamViewType"].as_str(),
            });
        }
        requests.push(request);
    }
    assert_eq!(requests.len(), 5, "the template has five tables");
    requests
}
