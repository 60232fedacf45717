//! Messages between the steps: CloudEvents 1.0 in JSON ("CloudEvents - JSON event format").

use std::fmt;

use domain::{
    Email, EventType, Line, MailTopic, Money, Order, OrderId, PartnerName, Refund, RefundName,
    Text, Timestamp, digest_hex,
};
use platform::json::{self, JsonError};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// One message. It only hints that a step may be due; the order, or the partner, decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `orderId/version`; for a mail to an address other than the order's, the key of its ledger
    /// row; for a mail about no order, `request/` and the request's hash; for a webhook,
    /// `webhook/`, the partner, and its event's ID.
    pub id: String,
    /// What the message is about.
    pub kind: MessageKind,
    /// The order, if it is known.
    pub order: Option<OrderId>,
    /// When it happened.
    pub time: Timestamp,
    /// W3C trace context of the request that started it.
    pub traceparent: Option<String>,
    /// The content of the mail; only in messages to the email queue.
    pub mail: Option<MailData>,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// An order has, or may have, changed status.
    Event(EventType),
    /// The billing partner has news of the order's charge.
    Charge,
    /// The billing partner has news of the dispute with this ID.
    Dispute(PartnerName, PartnerReference),
    /// The carrier has news of the parcel with this reference.
    Delivery(PartnerReference),
}

impl MessageKind {
    const CHARGE: &'static str = "ChargeReported";
    const DISPUTE: &'static str = "DisputeReported";
    const DELIVERY: &'static str = "DeliveryReported";

    /// The `type` of the message.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Event(kind) => kind.as_str(),
            Self::Charge => Self::CHARGE,
            Self::Dispute(..) => Self::DISPUTE,
            Self::Delivery(_) => Self::DELIVERY,
        }
    }

    /// The partner's reference, if only the partner knows the order.
    fn reference(&self) -> Option<&PartnerReference> {
        match self {
            Self::Event(_) | Self::Charge => None,
            Self::Dispute(_, reference) | Self::Delivery(reference) => Some(reference),
        }
    }

    /// The billing partner that has the news.
    fn partner(&self) -> Option<PartnerName> {
        match self {
            Self::Dispute(partner, _) => Some(*partner),
            Self::Event(_) | Self::Charge | Self::Delivery(_) => None,
        }
    }
}

/// A partner's ID of one of its objects: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerReference(String);

impl PartnerReference {
    /// Checks length and characters; `None` if they are invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid =
            (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The ID, as the partner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The known data of a mail. Amounts are decimals in the currency's units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailData {
    /// The recipient's name.
    pub name: String,
    /// The recipient's address.
    pub email: String,
    /// The currency, as an ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The order's lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<MailLine>,
    /// The total without tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_total: Option<Number>,
    /// The tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<Number>,
    /// The total with tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
    /// The invoice ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// The charged card's brand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_brand: Option<String>,
    /// The charged card's last four digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_last_digits: Option<String>,
    /// The tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    /// The address that the parcel is shipped to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<String>,
    /// Why the order was cancelled automatically: [`Order::EXPIRED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// The refunded amount, if it is a part of the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_amount: Option<Number>,
}

/// One line of the order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MailLine {
    /// The product's ID.
    pub product_id: String,
    /// The quantity.
    pub quantity: u32,
    /// The unit price.
    pub price: Number,
    /// Quantity × price.
    pub total: Number,
}

impl MailData {
    /// The data of the mail about this topic of `order`; `None` if the order has no address.
    #[must_use]
    pub fn of_order(order: &Order, topic: MailTopic) -> Option<Self> {
        let contact = order.contact.as_ref()?;
        let email = contact.email.as_ref()?;
        Some(Self {
            name: contact.name.as_str().to_owned(),
            email: email.as_str().to_owned(),
            ..Self::about_order(order, topic)
        })
    }

    /// The same data without a recipient.
    #[must_use]
    pub fn about_order(order: &Order, topic: MailTopic) -> Self {
        let kind = topic.event;
        let card = order
            .payment
            .as_ref()
            .and_then(|payment| Some(&payment.charge.as_ref()?.card));
        let paid = matches!(
            kind,
            EventType::PaymentProcessed | EventType::PaymentRefunded
        );
        let is_of_shipment = kind == EventType::OrderShipped || kind.is_parcel_news();
        let shipment = order.shipment.as_ref().filter(|_| is_of_shipment);
        let part = part_of(order, topic);
        let lines = match &part {
            Some(part) => refunded_lines(order, part),
            None if is_of_shipment => mail_lines(&order.lines_to_ship()),
            None => mail_lines(&order.lines),
        };
        // The order's amounts do not apply to a partial refund, nor to a partial shipment.
        let is_whole =
            part.is_none() && (!is_of_shipment || *order.lines == *order.lines_to_ship());
        let whole = |amount: Money| is_whole.then(|| amount.to_json());
        Self {
            name: String::new(),
            email: String::new(),
            currency: Some(order.currency.code().to_owned()),
            lines,
            sub_total: whole(order.amounts.sub_total),
            tax: whole(order.amounts.tax),
            total: whole(order.amounts.total),
            invoice_id: order.invoice().map(|invoice| invoice.to_string()),
            card_brand: card.filter(|_| paid).and_then(|card| card.brand.clone()),
            card_last_digits: card
                .filter(|_| paid)
                .and_then(|card| card.last_digits.clone()),
            tracking_number: shipment.map(|shipment| shipment.tracking_number.to_string()),
            shipping_address: shipment
                .map(|shipment| shipment.shipping_address.as_str().to_owned()),
            cancel_reason: (kind == EventType::OrderCancelled && order.is_expired())
                .then(|| Order::EXPIRED.to_owned()),
            refund_amount: part.map(|part| part.amount.to_json()),
        }
    }
}

/// The refund that the topic is about, if it is less than the order's total.
fn part_of(order: &Order, topic: MailTopic) -> Option<&Refund> {
    let closing = || order.refunds.iter().find(|refund| refund.closes);
    let refund = match (topic.event, topic.refund) {
        (_, Some(id)) => order.refund(&RefundName::Ours(id)),
        (EventType::PaymentRefunded, None) => closing(),
        (_, None) => None,
    };
    refund.filter(|refund| refund.amount != order.amounts.total)
}

/// The lines of the refunded items.
fn refunded_lines(order: &Order, refund: &Refund) -> Vec<MailLine> {
    let lines = refund.items.iter().filter_map(|item| {
        let mut lines = order.lines.iter();
        let line = lines.find(|line| line.product_id == item.product_id)?;
        Some(Line {
            quantity: item.quantity,
            ..line.clone()
        })
    });
    mail_lines(&lines.collect::<Vec<_>>())
}

fn mail_lines(lines: &[Line]) -> Vec<MailLine> {
    let lines = lines.iter().map(|line| MailLine {
        product_id: line.product_id.as_str().to_owned(),
        quantity: line.quantity.get(),
        price: line.price.to_json(),
        total: line.total().to_json(),
    });
    lines.collect()
}

impl Message {
    /// The message that announces the event `kind` of `order`; `None` if it has not happened.
    #[must_use]
    pub fn of_order(order: &Order, kind: EventType) -> Option<Self> {
        let record = order.events.get(&kind)?;
        Some(Self {
            id: order.event_id(record.version),
            kind: MessageKind::Event(kind),
            order: Some(order.id),
            time: record.at,
            traceparent: order.traceparent.clone(),
            mail: None,
        })
    }

    /// The message that requests the mail about this topic; `None` if the order has no address or
    /// the topic's event has not happened.
    #[must_use]
    pub fn mail_of_order(order: &Order, topic: MailTopic) -> Option<Self> {
        let mail = MailData::of_order(order, topic)?;
        Some(Self {
            mail: Some(mail),
            ..Self::of_topic(order, topic)?
        })
    }

    /// The message about this topic, without a mail.
    fn of_topic(order: &Order, topic: MailTopic) -> Option<Self> {
        let Some(id) = topic.refund else {
            return Self::of_order(order, topic.event);
        };
        // The refund that closes an order has no event of its own.
        let refund = order.refund(&RefundName::Ours(id))?;
        refund.told?;
        Some(Self {
            id: email_id(&order.id, topic),
            kind: MessageKind::Event(topic.event),
            order: Some(order.id),
            time: refund.at,
            traceparent: order.traceparent.clone(),
            mail: None,
        })
    }

    /// The message that makes the payment worker read a charge's refunds from the partner. `id`
    /// names what it is sent for.
    #[must_use]
    pub fn about_charge(order: &Order, id: String, time: Timestamp) -> Self {
        Self {
            id,
            kind: MessageKind::Charge,
            order: Some(order.id),
            time,
            traceparent: order.traceparent.clone(),
            mail: None,
        }
    }

    /// The message that requests the mail about `kind` to this recipient; `None` if `kind` has not
    /// happened.
    ///
    /// A mail to the order's own address is the customer's own mail, whoever requests it. Only a
    /// pending order can change its address, and a pending order has no mailed event.
    #[must_use]
    pub fn mail_to(order: &Order, kind: EventType, name: &Text, email: &Email) -> Option<Self> {
        let topic = order.topic_of(kind)?;
        let own = Self::of_topic(order, topic)?;
        let is_own = order
            .email()
            .is_some_and(|address| address.mailbox() == email.mailbox());
        let mail = MailData {
            name: name.as_str().to_owned(),
            email: email.as_str().to_owned(),
            ..MailData::about_order(order, topic)
        };
        Some(Self {
            id: if is_own {
                own.id
            } else {
                other_email_id(&order.id, topic, email)
            },
            mail: Some(mail),
            ..own
        })
    }

    /// The key of the mail's ledger row: one mail per order, topic, and address.
    #[must_use]
    pub fn email_id(&self) -> String {
        let (Some(order), MessageKind::Event(kind)) = (&self.order, &self.kind) else {
            return self.id.clone();
        };
        let own = email_id(order, MailTopic::of(*kind));
        let names_another = self
            .id
            .strip_prefix(&own)
            .is_some_and(|rest| rest.starts_with('/'));
        if names_another { self.id.clone() } else { own }
    }

    /// Serializes the message.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Envelope {
            specversion: "1.0".into(),
            id: self.id.as_str().into(),
            source: "/orderflow".into(),
            kind: self.kind.as_str().into(),
            subject: match self.kind.reference() {
                Some(reference) => Some(reference.as_str().into()),
                None => self.order.map(|order| order.to_string().into()),
            },
            partner: self.kind.partner().map(|partner| partner.as_str().into()),
            time: self.time.to_string().into(),
            time_millis: self.time.millis().to_string().into(),
            traceparent: self.traceparent.as_deref().map(Into::into),
            data: self.mail.clone(),
        })
    }

    /// Parses the output of [`Message::to_json`].
    pub fn from_json(json: &str) -> Result<Self, MessageError> {
        let envelope: Envelope<'_> =
            json::read(json.as_bytes()).map_err(MessageError::NotAnEvent)?;
        if envelope.specversion != "1.0" {
            return Err(MessageError::Version);
        }
        let subject = envelope.subject.as_deref();
        let reference = || {
            let reference = subject.and_then(PartnerReference::parse);
            reference.ok_or(MessageError::Subject)
        };
        let order = || {
            let order = subject.map(OrderId::parse).transpose();
            order.map_err(|_| MessageError::Subject)
        };
        let (kind, order) = match &*envelope.kind {
            MessageKind::CHARGE => {
                let order = order()?.ok_or(MessageError::Subject)?;
                (MessageKind::Charge, Some(order))
            }
            MessageKind::DISPUTE => {
                let partner = envelope.news_partner().ok_or(MessageError::Subject)?;
                (MessageKind::Dispute(partner, reference()?), None)
            }
            MessageKind::DELIVERY => (MessageKind::Delivery(reference()?), None),
            kind => {
                let kind = kind.parse().map_err(|_| MessageError::UnknownType)?;
                (MessageKind::Event(kind), order()?)
            }
        };
        Ok(Self {
            id: envelope.id.into_owned(),
            kind,
            order,
            time: Timestamp::from_millis(
                envelope
                    .time_millis
                    .parse()
                    .map_err(|_| MessageError::Time)?,
            ),
            traceparent: envelope.traceparent.map(std::borrow::Cow::into_owned),
            mail: envelope.data,
        })
    }
}

/// The key of the ledger row of the customer's own mail about this topic of `order`.
#[must_use]
pub fn email_id(order: &impl fmt::Display, topic: MailTopic) -> String {
    let event = topic.event;
    match topic.refund {
        None => format!("{order}/{event}"),
        Some(refund) => format!("{order}/{event}/{refund}"),
    }
}

/// The order that a mail is about, by the key of its ledger row.
#[must_use]
pub fn order_of_email(id: &str) -> Option<OrderId> {
    let (order, _) = id.split_once('/')?;
    OrderId::parse(order).ok()
}

/// The key of the ledger row of a mail about this topic to another address. The hash includes the
/// order, so rows of two orders do not reveal a shared address.
fn other_email_id(order: &OrderId, topic: MailTopic, email: &Email) -> String {
    let own = email_id(order, topic);
    let digest = digest_hex(&["mail", &own, &email.mailbox()]);
    format!("{own}/{digest}")
}

/// Why a text is not a message. Permanent: no retry can succeed.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not a `CloudEvents` event in JSON.
    #[error("the message is not a CloudEvent in JSON")]
    NotAnEvent(#[source] JsonError),
    /// It has another version of CloudEvents.
    #[error("the message's specversion is not 1.0")]
    Version,
    /// Its type is unknown.
    #[error("the message's type is unknown")]
    UnknownType,
    /// Its time is not a number of milliseconds.
    #[error("the message's timemillis is not a number")]
    Time,
    /// Its subject is not an order ID, or not a valid partner reference, or it names no partner.
    #[error("the message's subject or partner does not fit its type")]
    Subject,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    specversion: std::borrow::Cow<'a, str>,
    id: std::borrow::Cow<'a, str>,
    source: std::borrow::Cow<'a, str>,
    #[serde(rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<std::borrow::Cow<'a, str>>,
    /// An extension attribute: the billing partner that reports the news.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<std::borrow::Cow<'a, str>>,
    time: std::borrow::Cow<'a, str>,
    /// An extension attribute: the same time in milliseconds. A text, because an integer attribute
    /// has only 32 bits.
    #[serde(rename = "timemillis")]
    time_millis: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<MailData>,
}

impl Envelope<'_> {
    /// The billing partner that reports the news. Earlier versions named it only in the ID, as
    /// `webhook/<partner>/<event id>`.
    fn news_partner(&self) -> Option<PartnerName> {
        let in_id = || self.id.strip_prefix("webhook/")?.split('/').next();
        self.partner.as_deref().or_else(in_id)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let order = OrderId::from_time(1, [1; 10]);
        Message {
            id: format!("{order}/2"),
            kind: MessageKind::Event(EventType::InvoiceCreated),
            order: Some(order),
            time: Timestamp::from_millis(1_697_108_727_123),
            traceparent: None,
            mail: Some(MailData {
                name: "Lital \"Hay\"".to_owned(),
                email: "lital.naory@gmail.com".to_owned(),
                total: Some("123456789012345.67".parse().unwrap()),
                ..MailData::default()
            }),
        }
    }

    #[test]
    fn messages_survive_the_queue_exactly() {
        let message = message();
        assert_eq!(
            Message::from_json(&message.to_json().unwrap()).unwrap(),
            message
        );
    }

    #[test]
    fn only_a_mail_to_another_address_has_a_row_behind_the_orders_own() {
        let own = message();
        let order = own.order.unwrap();
        let row = format!("{order}/InvoiceCreated");
        assert_eq!(own.email_id(), row);
        let email = Email::parse("gift@example.com").unwrap();
        let other = Message {
            id: other_email_id(&order, MailTopic::of(EventType::InvoiceCreated), &email),
            ..message()
        };
        let json = other.to_json().unwrap();
        assert_eq!(Message::from_json(&json).unwrap().email_id(), other.id);
        assert!(other.id.starts_with(&format!("{row}/")) && !other.id.contains('@'));
        // A key that only resembles the row of another order or event is not accepted as one.
        for id in [format!("{row}s/x"), format!("{order}/OrderShipped/x")] {
            assert_eq!(Message { id, ..message() }.email_id(), row);
        }
    }

    #[test]
    fn news_of_a_partner_names_what_it_is_about_as_the_partner_does() {
        let reference = PartnerReference::parse("du_1MtJUT2eZvKYlo2CNaw2HvEv").unwrap();
        for kind in [
            MessageKind::Dispute(PartnerName::Stripe, reference.clone()),
            MessageKind::Delivery(reference.clone()),
        ] {
            let news = Message {
                id: "webhook/stripe/evt_1".to_owned(),
                kind,
                order: None,
                mail: None,
                ..message()
            };
            let json = news.to_json().unwrap();
            assert_eq!(Message::from_json(&json).unwrap(), news);
            let other = json.replace(reference.as_str(), "two words");
            assert!(matches!(
                Message::from_json(&other),
                Err(MessageError::Subject)
            ));
        }
        let news = Message {
            id: "webhook/stripe/evt_1".to_owned(),
            kind: MessageKind::Dispute(PartnerName::PayPal, reference),
            order: None,
            mail: None,
            ..message()
        };
        let json = news.to_json().unwrap();
        assert_eq!(Message::from_json(&json).unwrap(), news);
        // Earlier versions named the partner only in the ID.
        let earlier = json.replace(r#""partner":"paypal","#, "");
        assert_ne!(earlier, json);
        let kind = Message::from_json(&earlier).unwrap().kind;
        assert_eq!(kind.partner(), Some(PartnerName::Stripe));
        for nameless in [
            earlier.replace("webhook/stripe/", "webhook/square/"),
            earlier.replace("webhook/stripe/", ""),
        ] {
            let read = Message::from_json(&nameless);
            assert!(matches!(read, Err(MessageError::Subject)), "{nameless}");
        }
        for text in ["", "a b", "\n", "é", &"x".repeat(256)] {
            assert_eq!(PartnerReference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_has_what_cloudevents_requires() {
        let json: serde_json::Value = serde_json::from_str(&message().to_json().unwrap()).unwrap();
        for (name, value) in [
            ("specversion", "1.0"),
            ("type", "InvoiceCreated"),
            ("source", "/orderflow"),
            ("time", "2023-10-12T11:05:27+00:00"),
        ] {
            assert_eq!(json[name], value, "{name}");
        }
    }

    #[test]
    fn what_is_no_event_of_ours_is_told_why() {
        let change = |from: &str, to: &str| {
            Message::from_json(&message().to_json().unwrap().replace(from, to)).unwrap_err()
        };
        assert!(matches!(change("{", "["), MessageError::NotAnEvent(_)));
        assert!(matches!(
            change("\"1.0\"", "\"0.3\""),
            MessageError::Version
        ));
        assert!(matches!(
            change("InvoiceCreated", "Other"),
            MessageError::UnknownType
        ));
        assert!(matches!(
            change("\"subject\":\"ord_", "\"subject\":\"x_"),
            MessageError::Subject
        ));
    }
}
