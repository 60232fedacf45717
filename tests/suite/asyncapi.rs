//! `api/asyncapi.yaml` describes the messages that the functions send. In addition to these tests,
//! the queues of the tests and of the simulator check each message against it.

use std::collections::BTreeSet;

use domain::EventType;
use messages::Message;
use messages::queue::Queue;
use serde_json::Value;
use tests::AsyncApi;

use crate::contract::text;

fn members(pointer: &str) -> impl Iterator<Item = (&'static String, &'static Value)> {
    let document = AsyncApi::get().document();
    let members = document.pointer(pointer).and_then(Value::as_object);
    members.into_iter().flatten()
}

#[test]
fn the_version_is_the_projects() {
    let version = &AsyncApi::get().document()["info"]["version"];
    assert_eq!(*version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_queue_is_described_and_no_other() {
    let described: BTreeSet<_> = members("/channels")
        .map(|(name, _)| name.as_str())
        .collect();
    let queues: BTreeSet<_> = Queue::ALL.map(AsyncApi::channel).into();
    assert_eq!(described, queues);
}

#[test]
fn every_type_of_message_is_described_and_no_other() {
    let types = |schema: &str| {
        let pointer = format!("/components/schemas/{schema}/properties/type/enum");
        let types = AsyncApi::get().document().pointer(&pointer).unwrap();
        let types = types.as_array().unwrap().iter().map(text);
        types.collect::<BTreeSet<_>>()
    };
    let events: BTreeSet<_> = EventType::ALL.iter().map(EventType::as_str).collect();
    assert_eq!(types("OrderEvent"), events);
    let mailed: BTreeSet<_> = EventType::MAILED.iter().map(EventType::as_str).collect();
    assert_eq!(types("MailRequest"), mailed);
    let reports = BTreeSet::from(["DeliveryReported", "DisputeReported"]);
    assert_eq!(types("PartnerReport"), reports);
    let charge = "/components/schemas/ChargeReport/properties/type/const";
    let charge = AsyncApi::get().document().pointer(charge).unwrap();
    assert_eq!(charge, "ChargeReported");
}

#[test]
fn every_example_is_read_and_would_be_written_as_it_is_shown() {
    let mut shown = 0;
    for queue in Queue::ALL {
        for (name, _) in members(&format!("/channels/{}/messages", AsyncApi::channel(queue))) {
            let pointer = format!("/components/messages/{name}/examples/0/payload");
            let example = AsyncApi::get().document().pointer(&pointer).unwrap();
            assert_eq!(AsyncApi::get().misfits(queue, example), "", "{name}");
            let read = Message::from_json(&example.to_string()).unwrap();
            let written: Value = serde_json::from_str(&read.to_json().unwrap()).unwrap();
            assert_eq!(written, *example, "{name}");
            shown += 1;
        }
    }
    assert_eq!(shown, members("/components/messages").count());
}

#[test]
fn the_sample_messages_fit_the_description() {
    for (queue, sample) in [
        (
            Queue::Billing,
            include_str!("../../events/billing-queue.json"),
        ),
        (
            Queue::Payment,
            include_str!("../../events/payment-queue.json"),
        ),
        (
            Queue::Shipment,
            include_str!("../../events/shipment-queue.json"),
        ),
        (Queue::Email, include_str!("../../events/email-queue.json")),
    ] {
        let batch: Value = serde_json::from_str(sample).unwrap();
        for record in batch["Records"].as_array().unwrap() {
            AsyncApi::get().assert_allows(queue, text(&record["body"]));
        }
    }
}

/// Queues keep messages for days, so a deployment meets the messages of the previous version.
#[test]
fn the_messages_of_earlier_versions_fit_the_description() {
    for line in include_str!("stored/messages.jsonl").lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let misfits = Queue::ALL.map(|queue| AsyncApi::get().misfits(queue, &message));
        assert!(
            misfits.iter().any(String::is_empty),
            "{line}\n{}",
            misfits.concat()
        );
    }
}

#[test]
fn a_message_that_is_not_described_is_noticed() {
    let batch = include_str!("../../events/payment-queue.json");
    let batch: Value = serde_json::from_str(batch).unwrap();
    let message: Value = serde_json::from_str(text(&batch["Records"][0]["body"])).unwrap();
    let misfits = |message: &Value| AsyncApi::get().misfits(Queue::Payment, message);
    assert_eq!(misfits(&message), "");
    assert_ne!(AsyncApi::get().misfits(Queue::Billing, &message), "");
    for (name, value) in [
        ("data", serde_json::json!({"total": 1})),
        ("type", "CartUpdated".into()),
        ("subject", "456".into()),
        ("timemillis", 1.into()),
        ("priority", "high".into()),
    ] {
        let mut changed = message.clone();
        changed[name] = value;
        assert_ne!(misfits(&changed), "", "{name}");
    }
}
