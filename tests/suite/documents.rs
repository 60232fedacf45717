//! The documents' samples are what the code writes and reads.

use serde_json::Value;
use shared::event::Message;

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
