//! Webhooks of a history: hints in Stripe's format and with its signature, whoever the partner is.

use serde_json::{Value, json};

use crate::services::{STRIPE_WEBHOOK_SECRET, hmac_sha256_hex, parse};

/// An event about the invoice's charge.
pub(super) fn about_charge(number: u64, invoice: &str) -> Value {
    let kind = match number % 2 {
        0 => "payment_intent.succeeded",
        _ => "payment_intent.payment_failed",
    };
    event(number, kind, invoice)
}

/// An event of that type about a refund of the invoice's charge.
pub(super) fn about_refund(kind: &str, number: u64, invoice: &str) -> Value {
    event(number, kind, invoice)
}

/// An event about that dispute.
pub(super) fn about_dispute(number: u64, dispute: &str) -> Value {
    json!({
        "id": format!("evt_{number}"), "object": "event", "type": "charge.dispute.updated",
        "data": {"object": {"id": dispute, "object": "dispute"}}
    })
}

fn event(number: u64, kind: &str, invoice: &str) -> Value {
    let order = invoice.replacen("inv_", "ord_", 1);
    json!({
        "id": format!("evt_{number}"), "object": "event", "type": kind,
        "data": {"object": {"metadata": {"order_id": order}}}
    })
}

/// The request that delivers the event, signed at `now`, in milliseconds.
pub(super) fn signed(event: &Value, now: i64) -> Value {
    let body = event.to_string();
    let seconds = now / 1_000;
    let signed = format!("{seconds}.{body}");
    let hex = hmac_sha256_hex(STRIPE_WEBHOOK_SECRET, signed.as_bytes());
    let mut request: Value = parse(include_str!("../../../events/webhook.json"));
    request["rawPath"] = "/api/partner/stripe/webhook".into();
    request["requestContext"]["http"]["path"] = "/api/partner/stripe/webhook".into();
    request["pathParameters"]["partner"] = "stripe".into();
    request["headers"]["stripe-signature"] = format!("t={seconds},v1={hex}").into();
    request["body"] = body.into();
    request
}
