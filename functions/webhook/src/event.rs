//! What partners tell, as far as it is read: which event it is, and what it is about.

use domain::{InvoiceId, OrderId};
use messages::PartnerReference;
use platform::json::{self, JsonError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::error::{Error, FieldError};

/// What an event may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The outcome of the order's charge may be known now.
    Charge(OrderId),
    /// The order's refund may stand differently now, also long after it was done.
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
    json::read(body).map_err(|error| match error {
        JsonError::Malformed(error) if error.is_data() => Error::Invalid(vec![FieldError {
            pointer: String::new(),
            detail: "must be an event as the partner's API documents it".to_owned(),
        }]),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "ord_01JDB4XK00EXAMP0E0RDER0001";
    const INVOICE: &str = "inv_01JDB4XK00EXAMP0E0RDER0001";

    fn order() -> OrderId {
        OrderId::parse(ORDER).unwrap()
    }

    fn named(text: &str) -> PartnerReference {
        PartnerReference::parse(text).unwrap()
    }

    fn stripe(kind: &str, object: &str) -> Option<News> {
        let body = format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{object}}}}}"#);
        read::<StripeEvent>(body.as_bytes()).unwrap().news()
    }

    fn paypal(kind: &str, resource: &str) -> Option<News> {
        let body = format!(r#"{{"id":"WH-1","event_type":"{kind}","resource":{resource}}}"#);
        read::<PayPalEvent>(body.as_bytes()).unwrap().news()
    }

    #[test]
    fn each_type_of_stripes_tells_what_it_may_have_changed() {
        let ours = format!(r#"{{"id":"du_1","metadata":{{"order_id":"{ORDER}"}}}}"#);
        for (kind, news) in [
            ("payment_intent.succeeded", Some(News::Charge(order()))),
            ("payment_intent.payment_failed", Some(News::Charge(order()))),
            ("payment_intent.canceled", Some(News::Charge(order()))),
            ("payment_intent.created", None),
            ("charge.refunded", Some(News::Refund(order()))),
            ("charge.refund.updated", Some(News::Refund(order()))),
            ("refund.created", Some(News::Refund(order()))),
            ("refund.updated", Some(News::Refund(order()))),
            ("refund.failed", Some(News::Refund(order()))),
            ("charge.dispute.created", Some(News::Dispute(named("du_1")))),
            ("charge.dispute.updated", Some(News::Dispute(named("du_1")))),
            ("charge.dispute.closed", Some(News::Dispute(named("du_1")))),
            (
                "charge.dispute.funds_withdrawn",
                Some(News::Dispute(named("du_1"))),
            ),
            (
                "charge.dispute.funds_reinstated",
                Some(News::Dispute(named("du_1"))),
            ),
            ("charge.dispute.newer", None),
            ("plan.created", None),
        ] {
            assert_eq!(stripe(kind, &ours), news, "{kind}");
        }
        assert_eq!(stripe("payment_intent.succeeded", "{}"), None);
        assert_eq!(stripe("charge.dispute.created", r#"{"id":7}"#), None);
    }

    #[test]
    fn each_type_of_paypals_tells_what_it_may_have_changed() {
        let ours = format!(r#"{{"dispute_id":"PP-D-1","custom_id":"{INVOICE}"}}"#);
        for (kind, news) in [
            ("CHECKOUT.ORDER.APPROVED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.COMPLETED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.DECLINED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.DENIED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.PENDING", None),
            ("PAYMENT.CAPTURE.REFUNDED", Some(News::Refund(order()))),
            ("PAYMENT.CAPTURE.REVERSED", Some(News::Refund(order()))),
            ("PAYMENT.REFUND.PENDING", Some(News::Refund(order()))),
            ("PAYMENT.REFUND.FAILED", Some(News::Refund(order()))),
            (
                "CUSTOMER.DISPUTE.CREATED",
                Some(News::Dispute(named("PP-D-1"))),
            ),
            (
                "CUSTOMER.DISPUTE.UPDATED",
                Some(News::Dispute(named("PP-D-1"))),
            ),
            (
                "CUSTOMER.DISPUTE.RESOLVED",
                Some(News::Dispute(named("PP-D-1"))),
            ),
            ("BILLING.PLAN.CREATED", None),
        ] {
            assert_eq!(paypal(kind, &ours), news, "{kind}");
        }
        let order_resource = format!(r#"{{"purchase_units":[{{"custom_id":"{INVOICE}"}}]}}"#);
        assert_eq!(
            paypal("CHECKOUT.ORDER.APPROVED", &order_resource),
            Some(News::Charge(order()))
        );
        assert_eq!(paypal("PAYMENT.CAPTURE.COMPLETED", "{}"), None);
    }

    #[test]
    fn easyposts_own_example_is_of_a_tracker_that_no_shipment_has() {
        let example = include_bytes!("easypost_event.json");
        let event: EasyPostEvent = read(example).unwrap();
        assert_eq!((event.id(), event.news()), ("evt_1", None));
        let ours = String::from_utf8_lossy(example)
            .replace(r#""shipment_id":null"#, r#""shipment_id":"shp_1""#);
        let event: EasyPostEvent = read(ours.as_bytes()).unwrap();
        assert_eq!(event.news(), Some(News::Delivery(named("shp_1"))));
        let other = ours.replace("tracker.updated", "batch.updated");
        let event: EasyPostEvent = read(other.as_bytes()).unwrap();
        assert_eq!(event.news(), None);
    }
}
