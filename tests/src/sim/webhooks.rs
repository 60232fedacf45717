//! Webhooks of a history: hints, signed as Stripe signs them, whoever the partner is.

use serde_json::{Value, json};

use crate::services::{STRIPE_WEBHOOK_SECRET, hmac_sha256_hex, parse};

/// An event that says that something happened to the invoice's charge.
pub(super) fn about_charge(number: u64, invoice: &str) -> Value {
    let kind = match number % 3 {
        0 => "payment_intent.succeeded",
        1 => "payment_intent.payment_failed",
        _ => "charge.refunded",
    };
    event(number, kind, invoice)
}

/// An event that says that a refund failed after all.
pub(super) fn refund_failed(number: u64, invoice: &str) -> Value {
    event(number, "refund.failed", invoice)
}

fn event(number: u64, kind: &str, invoice: &str) -> Value {
    let order = invoice.replacen("inv_", "ord_", 1);
    json!({
        "id": format!("evt_{number}"), "object": "event", "type": kind,
        "data": {"object": {"metadata": {"order_id": order}}}
    })
}

/// The request that brings the event, signed at `now`, in milliseconds.
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
