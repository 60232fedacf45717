//! What partners tell, as far as it is read: which event it is, and which order it is about.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::domain::{DisputeState, OrderId};
use shared::error::{Error, FieldError};

/// Stripe's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct StripeEvent {
    pub(crate) id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The object is one of many types, so it is only looked into where its type is known.
    #[serde(default)]
    data: Value,
}

/// EasyPost's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct EasyPostEvent {
    pub(crate) id: String,
}

/// What an event may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The charge's outcome may be known now.
    Charge,
    /// The refund's outcome may be known now.
    Refund,
    /// The customer's bank disputes the charge, or has decided.
    Dispute(DisputeState),
}

impl StripeEvent {
    /// What this type of event may change; `None` where nothing here waits for it. An intent that
    /// was made, is processing or wants the customer was told so to us when we confirmed it.
    pub(crate) fn news(&self) -> Option<News> {
        Some(match self.kind.as_str() {
            "payment_intent.succeeded"
            | "payment_intent.payment_failed"
            | "payment_intent.canceled" => News::Charge,
            "charge.refunded"
            | "charge.refund.updated"
            | "refund.created"
            | "refund.updated"
            | "refund.failed" => News::Refund,
            "charge.dispute.created" => News::Dispute(DisputeState::Open),
            "charge.dispute.closed" => News::Dispute(match self.text("/status")? {
                "won" | "warning_closed" | "prevented" => DisputeState::Won,
                "lost" => DisputeState::Lost,
                _ => return None,
            }),
            _ => return None,
        })
    }

    /// The order that it is about, where the event names one: the payment function writes it into
    /// the metadata of each intent and refund, and an intent may stand whole inside of its dispute.
    pub(crate) fn order(&self) -> Option<OrderId> {
        ["/metadata/order_id", "/payment_intent/metadata/order_id"]
            .into_iter()
            .find_map(|pointer| OrderId::parse(self.text(pointer)?).ok())
    }

    /// The payment intent of a dispute: our reference of the charge.
    pub(crate) fn intent(&self) -> Option<&str> {
        self.text("/payment_intent")
            .or_else(|| self.text("/payment_intent/id"))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.data.get("object")?.pointer(pointer)?.as_str()
    }
}

/// Reads a signed body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Error::Invalid(vec![FieldError {
                pointer: String::new(),
                detail: "must be an event as the partner's API documents it".to_owned(),
            }])
        } else {
            Error::NotJson {
                line: error.line(),
                column: error.column(),
            }
        }
    })
}
