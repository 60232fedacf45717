//! Checks the functions' messages against their description, `api/asyncapi.yaml`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use messages::queue::Queue;
use serde_json::Value;

use crate::description::Description;

/// The parsed description and its schemas.
#[derive(Debug)]
pub struct AsyncApi(Description);

impl AsyncApi {
    /// The description, parsed once.
    #[must_use]
    pub fn get() -> &'static Self {
        static ASYNCAPI: LazyLock<AsyncApi> = LazyLock::new(|| {
            let yaml = include_str!("../../api/asyncapi.yaml");
            AsyncApi(Description::parse("urn:orderflow:asyncapi", yaml))
        });
        &ASYNCAPI
    }

    /// The description as a JSON value.
    #[must_use]
    pub fn document(&self) -> &Value {
        self.0.document()
    }

    /// The queue's name in the description.
    #[must_use]
    pub fn channel(queue: Queue) -> &'static str {
        match queue {
            Queue::Billing => "billing",
            Queue::Payment => "payment",
            Queue::Shipment => "shipment",
            Queue::Email => "email",
        }
    }

    /// Panics unless the description allows this message in this queue.
    pub fn assert_allows(&self, queue: Queue, message: &str) {
        let misfits = self.misfits(queue, &crate::services::parse(message));
        assert!(
            misfits.is_empty(),
            "api/asyncapi.yaml does not allow this message to the {queue:?} queue:\n{misfits}{message}"
        );
    }

    /// Why a message matches none of the messages of its queue; empty if it matches one.
    #[must_use]
    pub fn misfits(&self, queue: Queue, message: &Value) -> String {
        let channel = format!("/channels/{}/messages", Self::channel(queue));
        let messages = self.0.at(&channel).as_object().into_iter().flatten();
        let mut misfits = String::new();
        for (name, _) in messages {
            let payload = format!("/components/messages/{name}/payload");
            let misfit = self.0.misfit(&payload, message);
            if misfit.is_empty() {
                return misfit;
            }
            let _ = write!(misfits, " as {name}:\n{misfit}");
        }
        misfits
    }
}
