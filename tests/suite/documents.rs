//! The documents' samples are what the code writes and reads.

use messages::Message;
use serde_json::Value;
use tests::Cloud;

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
