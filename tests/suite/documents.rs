//! The samples in the documents match what the code writes and reads.

use std::collections::HashMap;
use std::path::Path;

use messages::Message;
use payment::partners::Sandbox;
use platform::config::Environment;
use serde_json::Value;
use shipment::carriers::EasyPostSettings;
use tests::{Cloud, Reply, customer_request, request, search};

const API: &str = include_str!("../../docs/api.md");
const MESSAGES: &str = include_str!("../../docs/design/messages.md");

/// The JSON code blocks of a document.
fn json_blocks(document: &str) -> impl Iterator<Item = &str> {
    document
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
}

#[test]
fn every_sample_message_is_read_and_would_be_written_as_it_is_printed() {
    let samples: Vec<_> = json_blocks(MESSAGES)
        .filter(|block| block.contains("\"specversion\""))
        .collect();
    assert!(!samples.is_empty());
    for sample in samples {
        let message = Message::from_json(sample).unwrap();
        let written: Value = serde_json::from_str(&message.to_json().unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(sample).unwrap());
    }
}

#[tokio::test]
async fn the_sample_of_invalid_fields_is_answered_as_it_is_printed() {
    let (_, errors) = API.split_once("\n## Errors\n").unwrap();
    let (_, call) = errors.split_once("-d '").unwrap();
    let (body, _) = call.split_once('\'').unwrap();
    let printed = json_blocks(errors).next().unwrap();

    let body: Value = serde_json::from_str(body).unwrap();
    let reply = Cloud::start()
        .await
        .post("/api/order/cart.json", &body)
        .await;

    assert_eq!(reply.body, serde_json::from_str::<Value>(printed).unwrap());
}

/// A code block: its language and its text.
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let mut fences = document.split("\n```");
    fences.next();
    let mut blocks = Vec::new();
    while let (Some(block), Some(_)) = (fences.next(), fences.next()) {
        blocks.extend(block.split_once('\n'));
    }
    blocks
}

/// A printed value, with marks for everything that differs between machines: IDs, numbers from a
/// partner or a carrier, and times.
fn marked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let marked = fields.iter().map(|(name, value)| {
                let differs =
                    ["transactionId", "tracking_number", "requestId"].contains(&name.as_str());
                let value = if differs { "#".into() } else { marked(value) };
                (name.clone(), value)
            });
            Value::Object(marked.collect())
        }
        Value::Array(items) => items.iter().map(marked).collect(),
        Value::String(text) => {
            let is_id = |prefix: &str| text.starts_with(prefix);
            let is_time = text.len() == 25 && text.as_bytes()[10] == b'T';
            if is_time
                || ["ord_", "inv_", "rfd_", "sandbox_inv_"]
                    .into_iter()
                    .any(is_id)
            {
                "#".into()
            } else {
                value.clone()
            }
        }
        other => other.clone(),
    }
}

/// Expands a word as a shell does: its variables, and quotes that close before one and reopen after
/// it.
fn filled(word: &str, variables: &HashMap<&str, String>) -> String {
    let mut filled = word.replace("'$", "$");
    for (name, value) in variables {
        filled = filled.replace(&format!("${name}'"), value);
        filled = filled.replace(&format!("${name}"), value);
    }
    filled
}

/// Sends the call of one `curl` command.
async fn call(
    cloud: &Cloud<Sandbox>,
    curl: &str,
    variables: &HashMap<&str, String>,
    key: &str,
) -> Reply {
    let url = curl.split_once('$').unwrap().1;
    let url = url.split(['"', ' ', '\n', ')']).next().unwrap();
    if let Some(query) = url.strip_prefix("ORDERS?") {
        return cloud.send(&search(query)).await;
    }
    let (service, path) = url.split_once('/').unwrap();
    let path = filled(path, variables);
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    if service == "CUSTOMER" && path != "billing.json" {
        let method = if curl.contains("-X DELETE") {
            "DELETE"
        } else {
            "GET"
        };
        let customer = path.strip_suffix("/billing").unwrap();
        return cloud.send(&customer_request(method, customer, query)).await;
    }
    if path.starts_with("ord_") {
        return cloud.get(path).await;
    }
    let folder = if service == "API" {
        "order"
    } else {
        "customer"
    };
    let (_, body) = curl.split_once("-d '").unwrap();
    let end = body.rfind("}'").unwrap();
    let body = filled(&body[..=end], variables);
    let body: Value = serde_json::from_str(&body).unwrap();
    let mut event = request(&format!("/api/{folder}/{path}"), &body);
    event["headers"]["idempotency-key"] = key.into();
    cloud.send(&event).await
}

/// Runs every `curl` of every shell block, and compares each printed answer with the latest ones.
#[tokio::test]
async fn every_example_of_the_api_is_answered_as_it_is_printed() {
    let cloud = Cloud::start().await;
    let mut variables = HashMap::from([("ORDER", String::new()), ("INVOICE", String::new())]);
    let mut replies: Vec<Value> = Vec::new();
    let (mut calls, mut compared) = (0, 0);
    for (language, text) in blocks(API) {
        if language == "json" {
            let printed: Vec<Value> = serde_json::Deserializer::from_str(text)
                .into_iter()
                .map(Result::unwrap)
                .collect();
            let latest = &replies[replies.len() - printed.len()..];
            for (printed, answered) in printed.iter().zip(latest) {
                compared += 1;
                assert_eq!(marked(answered), marked(printed), "{text}");
            }
            continue;
        }
        for curl in text.split("curl -s ").skip(1) {
            let key = format!("example-{calls}");
            let reply = call(&cloud, curl, &variables, &key).await;
            assert!(reply.status < 500, "{curl}: {}", reply.text);
            for (name, field) in [("ORDER", "orderId"), ("INVOICE", "invoiceId")] {
                if let (true, Some(id)) = (curl.contains("sed"), reply.body[field].as_str()) {
                    variables.insert(name, id.to_owned());
                }
            }
            replies.push(reply.body);
            calls += 1;
            if curl.contains("sleep") {
                cloud.settle().await;
            }
        }
    }
    assert!(
        calls >= 12 && compared >= 11,
        "{calls} calls, {compared} answers"
    );
}

/// The other JSON in the book is read by the same code as in the deployment.
#[test]
fn the_printed_settings_of_the_carrier_are_taken() {
    let deploying = include_str!("../../docs/deploying.md");
    let printed: Vec<&str> = json_blocks(deploying).flat_map(str::lines).collect();
    let [sender, parcel] = printed[..] else {
        panic!("{printed:?}")
    };
    let read = |name: &str| match name {
        "SHIP_FROM" => Some(sender.to_owned()),
        "PARCEL" => Some(parcel.to_owned()),
        _ => None,
    };
    EasyPostSettings::from_environment(Environment::new(&read)).unwrap();
}

/// Each page of the book with a JSON block has a test here.
#[test]
fn no_other_page_prints_json() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![root.join("docs")];
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut printing: Vec<_> = pages
        .iter()
        .filter(|page| {
            json_blocks(&std::fs::read_to_string(page).unwrap())
                .next()
                .is_some()
        })
        .map(|page| page.strip_prefix(root).unwrap().to_str().unwrap())
        .collect();
    printing.sort_unstable();
    assert_eq!(
        printing,
        [
            "docs/api.md",
            "docs/deploying.md",
            "docs/design/messages.md"
        ]
    );
}
