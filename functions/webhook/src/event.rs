//! What partners tell, as far as it is read: which event it is, and what it is about.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::domain::{InvoiceId, OrderId};
use shared::error::{Error, FieldError};
use shared::event::PartnerReference;

/// What an event may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The outcome of the order's charge may be known now.
    Charge(OrderId),
    /// The outcome of the order's refund may be known now.
    Refund(OrderId),
    /// The customer's bank or PayPal has news of this dispute.
    Dispute(PartnerReference),
    /// The parcel of this reference may be elsewhere.
    Delivery(PartnerReference),
}

/// An event as a partner documents it.
pub(crate) trait PartnerEvent: DeserializeOwned {
    /// The partner's name for the event: each one is heard once.
    fn id(&self) -> &str;

    /// What it may have changed; `None` where nothing here waits for its type, or it is about nothing
    /// of ours.
    fn news(&self) -> Option<News>;
}

/// Stripe's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct StripeEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The object is one of many types, so it is only looked into where its type is known.
    #[serde(default)]
    data: Value,
}

impl StripeEvent {
    fn text(&self, field: &str) -> Option<&str> {
        self.data.get("object")?.pointer(field)?.as_str()
    }

    /// The payment function writes it into the metadata of each intent and refund, and Stripe copies
    /// it from an intent to its charge.
    fn order(&self) -> Option<OrderId> {
        OrderId::parse(self.text("/metadata/order_id")?).ok()
    }
}

impl PartnerEvent for StripeEvent {
    fn id(&self) -> &str {
        &self.id
    }

    /// An intent that was made, is processing or wants the customer was told so to us when we
    /// confirmed it.
    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            "payment_intent.succeeded"
            | "payment_intent.payment_failed"
            | "payment_intent.canceled" => self.order().map(News::Charge),
            "charge.refunded"
            | "charge.refund.updated"
            | "refund.created"
            | "refund.updated"
            | "refund.failed" => self.order().map(News::Refund),
            "charge.dispute.created"
            | "charge.dispute.updated"
            | "charge.dispute.closed"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated" => {
                PartnerReference::parse(self.text("/id")?).map(News::Dispute)
            }
            _ => None,
        }
    }
}

/// PayPal's event (`event`, Webhooks v1).
#[derive(Deserialize)]
pub(crate) struct PayPalEvent {
    id: String,
    #[serde(rename = "event_type")]
    kind: String,
    #[serde(default)]
    resource: Value,
}

impl PayPalEvent {
    fn text(&self, field: &str) -> Option<&str> {
        self.resource.pointer(field)?.as_str()
    }

    /// The payment function gives each order the invoice as `custom_id`, and its captures and refunds
    /// have it too.
    fn order(&self) -> Option<OrderId> {
        let invoice = ["/custom_id", "/purchase_units/0/custom_id"]
            .into_iter()
            .find_map(|field| InvoiceId::parse(self.text(field)?).ok())?;
        Some(invoice.order())
    }
}

impl PartnerEvent for PayPalEvent {
    fn id(&self) -> &str {
        &self.id
    }

    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            // The payer has acted, and the capture can be asked for again.
            "CHECKOUT.ORDER.APPROVED" => self.order().map(News::Charge),
            "PAYMENT.CAPTURE.COMPLETED" | "PAYMENT.CAPTURE.DECLINED" | "PAYMENT.CAPTURE.DENIED" => {
                self.order().map(News::Charge)
            }
            "PAYMENT.CAPTURE.REFUNDED"
            | "PAYMENT.CAPTURE.REVERSED"
            | "PAYMENT.REFUND.PENDING"
            | "PAYMENT.REFUND.FAILED" => self.order().map(News::Refund),
            "CUSTOMER.DISPUTE.CREATED"
            | "CUSTOMER.DISPUTE.UPDATED"
            | "CUSTOMER.DISPUTE.RESOLVED" => {
                PartnerReference::parse(self.text("/dispute_id")?).map(News::Dispute)
            }
            _ => None,
        }
    }
}

/// EasyPost's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct EasyPostEvent {
    id: String,
    #[serde(rename = "description")]
    kind: String,
    #[serde(default)]
    result: Value,
}

impl PartnerEvent for EasyPostEvent {
    fn id(&self) -> &str {
        &self.id
    }

    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            "tracker.created" | "tracker.updated" => {
                let shipment = self.result.get("shipment_id")?.as_str()?;
                PartnerReference::parse(shipment).map(News::Delivery)
            }
            _ => None,
        }
    }
}

/// Reads a signed body.
pub(crate) fn read<T: PartnerEvent>(body: &[u8]) -> Result<T, Error> {
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
