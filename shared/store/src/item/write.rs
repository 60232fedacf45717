//! Writes orders and their parts as attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    Charge, ChargeState, Contact, Decline, Delivery, Dispute, EventRecord, EventType, Metadata,
    NextAction, OpenParcel, Order, OrderLines, Refund, RefundNews, Shipment, ShippingRefusal,
    Timestamp,
};

use super::{Item, money, n, s};
use crate::search::time_shard;
use crate::transition::governed_attributes;

/// All attributes of a new item.
pub(crate) fn new_order_item(order: &Order) -> Item {
    let mut item = governed_attributes(order);
    let mut put = |name: &str, value: Value| item.insert(name.to_owned(), value);
    put("orderId", s(order.id.to_string()));
    put("customerId", s(order.customer.as_str()));
    put("currency", s(order.currency.code()));
    put("lines", lines_value(&order.lines));
    put("subTotal", money(order.amounts.sub_total));
    put("tax", money(order.amounts.tax));
    put("total", money(order.amounts.total));
    put("checkout", Value::Bool(order.checkout));
    put("createdAt", n(order.created_at.millis()));
    put("timeShard", s(time_shard(&order.id)));
    if let Some(hash) = &order.request_hash {
        put("requestHash", s(hash));
    }
    if let Some(contact) = &order.contact {
        put("contact", contact_value(contact));
    }
    if let Some(reference) = &order.reference {
        put("reference", s(reference.as_str()));
    }
    if !order.metadata.is_empty() {
        put("metadata", metadata_value(&order.metadata));
    }
    if let Some(trace) = &order.traceparent {
        put("traceparent", s(trace));
    }
    item
}

pub(crate) fn lines_value(lines: &OrderLines) -> Value {
    Value::L(
        lines
            .iter()
            .map(|line| {
                map([
                    ("productId", Some(s(line.product_id.as_str()))),
                    ("quantity", Some(n(line.quantity.get()))),
                    ("price", Some(money(line.price))),
                ])
            })
            .collect(),
    )
}

pub(crate) fn metadata_value(metadata: &Metadata) -> Value {
    let entries = metadata.iter();
    let entries = entries.map(|(key, text)| (key.to_owned(), s(text.as_str())));
    Value::M(entries.collect())
}

pub(crate) fn contact_value(contact: &Contact) -> Value {
    map([
        ("name", Some(s(contact.name.as_str()))),
        ("phone", Some(s(contact.phone.as_str()))),
        (
            "email",
            contact.email.as_ref().map(|email| s(email.as_str())),
        ),
        (
            "shippingAddress",
            Some(s(contact.shipping_address.as_str())),
        ),
    ])
}

pub(crate) fn event_value(id: &str, kind: EventType) -> Value {
    map([("id", Some(s(id))), ("type", Some(s(kind.as_str())))])
}

pub(crate) fn record_value(record: &EventRecord) -> Value {
    map([
        ("version", Some(n(record.version))),
        ("at", Some(n(record.at.millis()))),
    ])
}

/// The payment of an invoice that was just issued.
pub(crate) fn new_payment_value() -> Value {
    map([
        ("state", Some(s(ChargeState::Due.as_str()))),
        ("attempt", Some(n(1))),
        ("fence", Some(n(0))),
        ("declines", Some(Value::L(Vec::new()))),
        ("keys", Some(Value::M(HashMap::new()))),
    ])
}

pub(crate) fn next_action_value(action: &NextAction) -> Value {
    let url = action.redirect_url.as_ref();
    let secret = action.client_secret.as_ref();
    map([
        ("redirectUrl", url.map(|url| s(url.as_str()))),
        ("clientSecret", secret.map(|secret| s(secret.expose()))),
    ])
}

pub(crate) fn decline_value(decline: &Decline) -> Value {
    map([
        ("attempt", Some(n(decline.attempt))),
        ("code", Some(s(decline.code.as_str()))),
        ("retryable", Some(Value::Bool(decline.retryable))),
    ])
}

pub(crate) fn charge_value(charge: &Charge) -> Value {
    let card = &charge.card;
    let card = map([
        ("firstName", card.first_name.as_ref().map(s)),
        ("lastName", card.last_name.as_ref().map(s)),
        ("firstDigits", card.first_digits.as_ref().map(s)),
        ("lastDigits", card.last_digits.as_ref().map(s)),
        ("brand", card.brand.as_ref().map(s)),
        ("expiryMonth", card.expiry_month.map(n)),
        ("expiryYear", card.expiry_year.map(n)),
    ]);
    map([
        ("transactionId", Some(n(charge.transaction_id))),
        ("createdAt", Some(n(charge.created_at.millis()))),
        ("completedAt", Some(n(charge.completed_at.millis()))),
        ("card", Some(card)),
    ])
}

pub(crate) fn refund_value(refund: &RefundNews) -> Value {
    map([
        ("state", Some(s(refund.status.as_str()))),
        ("code", refund.status.code().map(s)),
        ("at", Some(n(refund.at.millis()))),
        ("kept", refund.kept.map(money)),
    ])
}

/// Refunds by their names.
pub(crate) fn refunds_value(refunds: &[Refund]) -> Value {
    let entries = refunds.iter();
    let entries = entries.map(|refund| (refund.name.to_string(), one_refund_value(refund)));
    Value::M(entries.collect())
}

fn one_refund_value(refund: &Refund) -> Value {
    let items = refund.items.iter().map(|item| {
        map([
            ("productId", Some(s(item.product_id.as_str()))),
            ("quantity", Some(n(item.quantity.get()))),
        ])
    });
    let items: Vec<Value> = items.collect();
    map([
        ("amount", Some(money(refund.amount))),
        ("state", Some(s(refund.state.as_str()))),
        ("code", refund.state.code().map(s)),
        ("items", (!items.is_empty()).then_some(Value::L(items))),
        ("unshipped", refund.unshipped.then_some(Value::Bool(true))),
        ("closes", refund.closes.then_some(Value::Bool(true))),
        (
            "reason",
            refund.reason.as_ref().map(|reason| s(reason.as_str())),
        ),
        ("at", Some(n(refund.at.millis()))),
        ("told", refund.told.map(n)),
        ("requestHash", refund.request_hash.as_deref().map(s)),
        ("key", Some(n(refund.key))),
    ])
}

/// A dispute without its ID, which is its key in the map of disputes.
pub(crate) fn dispute_value(dispute: &Dispute) -> Value {
    map([
        ("state", Some(s(dispute.state.as_str()))),
        ("amount", Some(money(dispute.amount))),
        ("at", Some(n(dispute.at.millis()))),
        ("since", Some(n(dispute.since.millis()))),
    ])
}

pub(crate) fn shipment_value(shipment: &Shipment) -> Value {
    map([
        ("trackingNumber", Some(s(shipment.tracking_number.as_str()))),
        ("labelUrl", shipment.label_url.as_deref().map(s)),
        ("carrier", Some(s(shipment.carrier.as_str()))),
        ("name", Some(s(shipment.name.as_str()))),
        ("phone", Some(s(shipment.phone.as_str()))),
        (
            "shippingAddress",
            Some(s(shipment.shipping_address.as_str())),
        ),
    ])
}

pub(crate) fn delivery_value(delivery: &Delivery) -> Value {
    map([
        ("state", Some(s(delivery.state.as_str()))),
        ("at", Some(n(delivery.at.millis()))),
    ])
}

pub(crate) fn parcel_value(parcel: &OpenParcel) -> Value {
    map([
        ("reference", Some(s(parcel.reference.as_str()))),
        ("carrier", Some(s(parcel.carrier.as_str()))),
        ("name", Some(s(parcel.name.as_str()))),
        ("phone", Some(s(parcel.phone.as_str()))),
        ("shippingAddress", Some(s(parcel.shipping_address.as_str()))),
    ])
}

/// Purchases of a label, by their names.
pub(crate) fn purchases_value(purchases: &[(&str, Timestamp)]) -> Value {
    let values = purchases.iter();
    let values = values.map(|(name, at)| ((*name).to_owned(), n(at.millis())));
    Value::M(values.collect())
}

pub(crate) fn shipping_refusal_value(refusal: &ShippingRefusal) -> Value {
    map([
        ("code", Some(s(&refusal.code))),
        ("at", Some(n(refusal.at.millis()))),
    ])
}

fn map<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    Value::M(
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
    )
}
