//! No event makes a function panic, whatever it contains. Random places of API Gateway's events,
//! SQS batches, and stream batches are changed. `SEED=n` makes other choices, `FUZZ_CASES=n` more
//! of them.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use payment::partners::Sandbox;
use platform::config::Environment;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use tests::{Cloud, STRIPE_WEBHOOK_SECRET, hmac_sha256_hex, invoke_relay};
use tokio::runtime::Runtime;

use crate::contract::{cart, text};

/// A change at a place of an event.
#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Remove,
    Add(String, Value),
}

/// A change and its place. Places are counted in the event or, if its body is JSON text, in the
/// body.
#[derive(Clone, Debug)]
struct Mutation {
    place: usize,
    is_in_body: bool,
    change: Change,
}

fn hostile_text() -> impl Strategy<Value = String> {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let escaped = r#"{"$serde_json::private::RawValue":"[[[1]]]"}"#;
    let known = [
        "",
        " ",
        "a b",
        "\u{0}",
        "\n",
        "\u{7f}",
        "\u{e9}",
        "\u{fffd}",
        "%",
        "%zz",
        "%ff",
        "%7C",
        "//",
        "?",
        "#",
        "://",
        "https,http",
        "[::",
        "a:b@c",
        "..",
        "null",
        "true",
        "{}",
        "[]",
        "\"",
        "1e400",
        "-0",
        "18446744073709551616",
        "e30=",
        "A",
        "POST",
        "GET /",
        "ord_",
        "4242424242424242",
        "$serde_json::private::Number",
        escaped,
    ];
    prop_oneof![
        4 => proptest::sample::select(known.map(str::to_owned).to_vec()),
        1 => Just(nested(200)),
        1 => Just(nested(20_000)),
        1 => Just("x".repeat(70_000)),
        3 => ".{0,20}",
        2 => "\\PC{0,20}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::sample::select(vec![
            "1e400",
            "-0.0",
            "1.50",
            "123456789012345678901234567890"
        ])
        .prop_map(|number| serde_json::from_str(number).unwrap()),
        hostile_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((hostile_text(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let change = prop_oneof![
        4 => value().prop_map(Change::Replace),
        2 => Just(Change::Remove),
        1 => (hostile_text(), value()).prop_map(|(name, value)| Change::Add(name, value)),
    ];
    let mutation =
        (any::<usize>(), any::<bool>(), change).prop_map(|(place, is_in_body, change)| Mutation {
            place,
            is_in_body,
            change,
        });
    proptest::collection::vec(mutation, 1..4)
}

/// The pointers to everything in a value except itself.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let mut visit = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{pointer}/{name}");
        places(value, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| visit(name, value)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| visit(&index.to_string(), value));
        }
        _ => {}
    }
}

fn apply(event: &mut Value, mutation: &Mutation) {
    let mut found = Vec::new();
    places(event, "", &mut found);
    if mutation.is_in_body {
        let bodies: Vec<_> = found
            .iter()
            .filter(|place| place.ends_with("/body"))
            .collect();
        let body = bodies
            .first()
            .and_then(|place| event.pointer_mut(place.as_str()));
        if let Some(Value::String(text)) = body
            && let Ok(mut inner) = serde_json::from_str(text)
        {
            let mutation = Mutation {
                is_in_body: false,
                ..mutation.clone()
            };
            apply(&mut inner, &mutation);
            *text = inner.to_string();
            return;
        }
    }
    if found.is_empty() {
        return;
    }
    let place = &found[mutation.place % found.len()];
    match &mutation.change {
        Change::Replace(value) => {
            if let Some(old) = event.pointer_mut(place) {
                *old = value.clone();
            }
        }
        Change::Remove => {
            let (parent, name) = place.rsplit_once('/').unwrap_or_default();
            match event.pointer_mut(parent) {
                Some(Value::Object(fields)) => {
                    fields.remove(&name.replace("~1", "/").replace("~0", "~"));
                }
                Some(Value::Array(items)) => {
                    items.remove(name.parse().unwrap());
                }
                _ => {}
            }
        }
        Change::Add(name, value) => match event.pointer_mut(place) {
            Some(Value::Object(fields)) => {
                fields.insert(name.clone(), value.clone());
            }
            Some(Value::Array(items)) => items.push(value.clone()),
            _ => {}
        },
    }
}

fn number(name: &'static str, default: u64) -> u64 {
    let given = Environment::process().optional(name);
    given.map_or(default, |number| number.parse().unwrap())
}

/// Runs `check` on changed events of `samples`, `cases` times for each.
fn fuzz(
    cases: u64,
    samples: &[(&'static str, Value)],
    check: impl Fn(&str, &Value) -> Result<(), TestCaseError>,
) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("SEED", 1).to_le_bytes());
    let config = Config {
        cases: u32::try_from(number("FUZZ_CASES", cases)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = (0..samples.len(), mutations());
    let result = runner.run(&strategy, |(sample, mutations)| {
        let (function, event) = &samples[sample];
        let mut event = event.clone();
        for mutation in &mutations {
            apply(&mut event, mutation);
        }
        if *function == "webhook" {
            sign(&mut event);
        }
        check(function, &event)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Signs a webhook's current body, so that it is accepted.
fn sign(event: &mut Value) {
    let Some(body) = event["body"].as_str() else {
        return;
    };
    let signature = hmac_sha256_hex(
        STRIPE_WEBHOOK_SECRET,
        format!("1795428725.{body}").as_bytes(),
    );
    if let Some(headers) = event.get_mut("headers").and_then(Value::as_object_mut) {
        let signature = format!("t=1795428725,v1={signature}");
        headers.insert("stripe-signature".to_owned(), signature.into());
    }
}

fn sample(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn started() -> (Runtime, Cloud<Sandbox>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cloud = runtime.block_on(Cloud::start());
    (runtime, cloud)
}

/// The result of `work`, or an error if it panicked.
fn unless_it_panics<T>(work: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| TestCaseError::fail("it panicked"))
}

#[test]
fn whatever_a_request_holds_it_is_answered() {
    let (runtime, cloud) = started();
    let samples = [
        ("cart", sample(include_str!("../../events/cart.json"))),
        ("billing", sample(include_str!("../../events/invoice.json"))),
        ("payment", sample(include_str!("../../events/payment.json"))),
        ("payment", sample(include_str!("../../events/cancel.json"))),
        ("payment", sample(include_str!("../../events/refund.json"))),
        (
            "shipment",
            sample(include_str!("../../events/shipping.json")),
        ),
        ("email", sample(include_str!("../../events/email.json"))),
        ("order", sample(include_str!("../../events/order.json"))),
        ("order", sample(include_str!("../../events/orders.json"))),
        (
            "customer",
            sample(include_str!("../../events/customer-get.json")),
        ),
        (
            "customer",
            sample(include_str!("../../events/customer-post.json")),
        ),
        (
            "customer",
            sample(include_str!("../../events/customer-delete.json")),
        ),
        ("webhook", sample(include_str!("../../events/webhook.json"))),
    ];
    fuzz(3_000, &samples, |function, event| {
        let answer =
            unless_it_panics(|| runtime.block_on(cloud.services().handle(function, event)))?;
        if !event["Records"].is_null() {
            return Ok(());
        }
        let answer = answer.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let status = answer["statusCode"].as_u64().unwrap_or_default();
        prop_assert!((200..500).contains(&status), "{}", answer);
        if status >= 400 {
            let problem: Value = serde_json::from_str(text(&answer["body"])).unwrap();
            prop_assert!(problem["code"].is_string(), "{}", answer);
        }
        Ok(())
    });
}

#[test]
fn whatever_a_batch_holds_each_message_has_its_fate() {
    let (runtime, cloud) = started();
    let two = |json: &str| {
        let mut batch = sample(json);
        let record = batch["Records"][0].clone();
        batch["Records"].as_array_mut().unwrap().push(record);
        batch["Records"][1]["messageId"] = "second".into();
        batch
    };
    let samples = [
        (
            "billing",
            two(include_str!("../../events/billing-queue.json")),
        ),
        (
            "payment",
            two(include_str!("../../events/payment-queue.json")),
        ),
        (
            "shipment",
            two(include_str!("../../events/shipment-queue.json")),
        ),
        ("email", two(include_str!("../../events/email-queue.json"))),
    ];
    fuzz(1_000, &samples, |function, event| {
        let answer =
            unless_it_panics(|| runtime.block_on(cloud.services().handle(function, event)))?;
        let Some(records) = event["Records"].as_array() else {
            return Ok(());
        };
        let answer = answer.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let failures = answer["batchItemFailures"].as_array().unwrap();
        for record in records {
            let is_message = record["body"]
                .as_str()
                .is_some_and(|body| serde_json::from_str::<Map<String, Value>>(body).is_ok());
            let id = record["messageId"].as_str().unwrap_or_default();
            let is_kept = failures
                .iter()
                .any(|failure| failure["itemIdentifier"] == id);
            prop_assert!(is_message || is_kept, "{}", answer);
        }
        Ok(())
    });
}

#[test]
fn whatever_the_stream_brings_what_cannot_be_read_is_reported() {
    let (runtime, cloud) = started();
    let mut stream = sample(include_str!("../../events/orders-stream.json"));
    let mut record = stream["Records"][0].clone();
    record["dynamodb"]["SequenceNumber"] = "2".into();
    stream["Records"].as_array_mut().unwrap().push(record);
    let samples = [("relay", stream)];
    fuzz(1_000, &samples, |_, event| {
        let answer = unless_it_panics(|| runtime.block_on(invoke_relay(cloud.relay(), event)))?;
        let Some(records) = event["Records"].as_array() else {
            return Ok(());
        };
        let answer = answer.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let failures = answer["batchItemFailures"].as_array().unwrap();
        for record in records {
            let number = record["dynamodb"]["SequenceNumber"]
                .as_str()
                .unwrap_or_default();
            let is_reported = failures
                .iter()
                .any(|failure| failure["itemIdentifier"] == number);
            prop_assert!(record["dynamodb"].is_object() || is_reported, "{}", answer);
        }
        Ok(())
    });
}

/// API Gateway passes both on as the client sent them (aws-lambda-rust-runtime #461 and #515).
#[tokio::test]
async fn a_header_or_a_query_that_makes_no_url_changes_nothing() {
    let cloud = Cloud::start().await;
    for (header, value) in [
        ("x-forwarded-proto", "https,http"),
        ("x-forwarded-proto", "://"),
        ("host", "a b"),
    ] {
        let mut event = tests::request("/api/order/cart.json", &cart());
        event["headers"][header] = value.into();
        assert_eq!(cloud.send(&event).await.status, 201, "{header}: {value}");
        let mut webhook = sample(include_str!("../../events/webhook.json"));
        webhook["headers"][header] = value.into();
        assert_eq!(cloud.send(&webhook).await.status, 200, "{header}: {value}");
    }
    for query in ["a b", "%", "a=\u{e9}", "#"] {
        let mut event = tests::request("/api/order/cart.json", &cart());
        event["rawQueryString"] = query.into();
        assert_eq!(cloud.send(&event).await.status, 201, "{query}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_problem_that_names_the_part() {
    let cloud = Cloud::start().await;
    for (part, value) in [
        ("headers", json!({"a b": "c"})),
        ("body", json!({})),
        ("isBase64Encoded", json!(true)),
        ("requestContext", json!({"http": {"method": 1}})),
        ("requestContext", json!(null)),
        ("requestContext", json!("x")),
        ("rawPath", json!(["/"])),
        ("pathParameters", json!({"orderId": null, "x": 1})),
        ("rawQueryString", json!(5)),
        ("headers", json!({"host": 5})),
        ("headers", json!("host: a")),
    ] {
        let mut event = tests::request("/api/order/cart.json", &cart());
        event[part] = value;
        let reply = cloud.send(&event).await;
        let expected = (400, "malformed_request");
        assert_eq!((reply.status, reply.code()), expected, "{part}");
    }
}

/// Whatever a client sends in them, these headers, the path, and the query do not affect the
/// answer.
#[test]
fn no_header_and_no_address_changes_an_answer() {
    let (runtime, cloud) = started();
    let names = [
        "host",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-for",
        "forwarded",
        "x-amzn-trace-id",
        "traceparent",
        "cookie",
        "accept",
        "user-agent",
        "content-length",
        "transfer-encoding",
        "expect",
        "upgrade",
        "x-amz-content-sha256",
        ":authority",
        ":path",
    ];
    let values = prop_oneof![
        hostile_text(),
        "[a-z0-9.:/,; \u{e9}%\\[\\]@-]{0,30}",
        Just("https,http".to_owned()),
        Just("a b".to_owned()),
        Just("80,443".to_owned()),
        Just("-1".to_owned()),
        Just("99999999".to_owned()),
    ];
    let mut webhook = sample(include_str!("../../events/webhook.json"));
    sign(&mut webhook);
    let get = sample(include_str!("../../events/order.json"));
    let post = tests::request("/api/order/cart.json", &cart());
    let mut encoded = post.clone();
    encoded["isBase64Encoded"] = true.into();
    encoded["body"] = "no base64 \u{e9}".into();
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let cases = (
        proptest::sample::select(vec![post, get, webhook, encoded]),
        proptest::collection::vec(
            (proptest::sample::select(names.to_vec()), values.clone()),
            0..4,
        ),
        proptest::option::of(values.clone()),
        any::<bool>(),
    );
    proptest!(config, |((event, headers, query, is_local) in cases)| {
        let mut changed = event.clone();
        for (name, value) in &headers {
            changed["headers"][*name] = value.as_str().into();
        }
        if let Some(query) = &query {
            changed["rawQueryString"] = query.as_str().into();
        }
        if is_local {
            changed["requestContext"].as_object_mut().unwrap().remove("apiId");
        }
        let plain = runtime.block_on(cloud.send(&event));
        let reply = runtime.block_on(cloud.send(&changed));
        // A value that no HTTP header can have is named; a card number in the query is refused.
        let is_header = |(name, value): (&&str, &&String)| {
            !name.starts_with(':') && !value.contains(|c: char| c.is_ascii_control() && c != '\t')
        };
        // If two values have the same name, the event carries the later one.
        let sent: HashMap<&str, &String> =
            headers.iter().map(|(name, value)| (*name, value)).collect();
        let expected = if !sent.iter().all(is_header) {
            (400, "malformed_request")
        } else if query.is_some_and(|query| query.contains("4242")) && plain.status != 200 {
            return Ok(());
        } else {
            (plain.status, plain.code())
        };
        prop_assert_eq!((reply.status, reply.code()), expected, "{}", reply.text);
    });
}

/// `serde_json` reads an object with one of its own names as a number or a raw text.
#[tokio::test]
async fn serde_jsons_own_names_are_refused_wherever_they_stand() {
    let cloud = Cloud::start().await;
    for name in [
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
        r"\u0024serde_json::private::Number",
    ] {
        let number = format!(r#"{{"{name}":"2"}}"#);
        let inner = [
            format!(
                r#"{{"customerId":"8080","items":[{{"productId":"1","quantity":{number},"price":50}}]}}"#
            ),
            number.clone(),
            format!(r#"{{"customerId":"8080","items":[],"x":{{"y":[{number}]}}}}"#),
        ];
        for body in inner {
            let mut event = tests::request("/api/order/cart.json", &json!({}));
            event["body"] = body.as_str().into();
            let reply = cloud.send(&event).await;
            assert_eq!(
                (reply.status, reply.code()),
                (400, "malformed_json"),
                "{body}"
            );
            assert!(reply.text.contains("column"), "{}", reply.text);
        }
        let mut webhook = sample(include_str!("../../events/webhook.json"));
        webhook["body"] =
            format!(r#"{{"id":"evt_1","type":"x","data":{{"object":{number}}}}}"#).into();
        sign(&mut webhook);
        let reply = cloud.send(&webhook).await;
        assert_eq!((reply.status, reply.code()), (400, "malformed_json"));
    }
    let mut batch = sample(include_str!("../../events/email-queue.json"));
    let message = text(&batch["Records"][0]["body"]);
    let price = r#""total":{"$serde_json::private::Number":"2"}"#;
    let mut message: Value = serde_json::from_str(message).unwrap();
    message["data"]["total"] = "?".into();
    let message = message.to_string().replace(r#""total":"?""#, price);
    assert!(message.contains(price), "{message}");
    batch["Records"][0]["body"] = message.into();
    let kept = cloud
        .deliver_batch(messages::queue::Queue::Email, &batch)
        .await;
    assert_eq!(kept.len(), 1, "read as a number, it would have been sent");
}
