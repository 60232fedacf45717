//! Stripe's paths, forms, and objects.

use serde_json::{Value, json};

use super::ledger::{Ledger, Refund};
use super::{Operation, StripeMethod};

/// A form or a query.
pub(super) type Fields = Vec<(String, String)>;

/// The operation of a call, and the ID of its intent.
pub(super) fn route<'a>(method: &str, path_and_query: &'a str) -> Option<(Operation, &'a str)> {
    let path = path_and_query
        .split_once('?')
        .map_or(path_and_query, |(path, _)| path);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("POST", ["v1", "customers"]) => Some((Operation::NewCustomer, "")),
        ("POST", ["v1", "payment_methods", id, "attach"]) => Some((Operation::Attach, id)),
        ("POST", ["v1", "payment_intents"]) => Some((Operation::Open, "")),
        ("POST", ["v1", "payment_intents", id, "confirm"]) => Some((Operation::Confirm, id)),
        ("POST", ["v1", "payment_intents", id, "cancel"]) => Some((Operation::Cancel, id)),
        ("GET", ["v1", "payment_intents", id]) => Some((Operation::LookUp, id)),
        ("GET", ["v1", "refunds"]) => Some((Operation::ListRefunds, "")),
        ("POST", ["v1", "refunds"]) => Some((Operation::Refund, "")),
        ("GET", ["v1", "disputes", id]) => Some((Operation::Dispute, id)),
        _ => None,
    }
}

/// Parses the fields of a form or a query.
pub(super) fn fields(text: &str) -> Fields {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next().unwrap_or(b'0')).to_digit(16);
                let value = digit().unwrap_or(0) * 16 + digit().unwrap_or(0);
                u8::try_from(value).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(each, _)| each == name);
    found.map(|(_, value)| value.as_str())
}

pub(super) fn expands_charge(fields: &Fields) -> bool {
    expands(fields, "latest_charge")
}

pub(super) fn expands(fields: &Fields, object: &str) -> bool {
    fields
        .iter()
        .any(|(name, value)| name.starts_with("expand[") && value == object)
}

/// `metadata[order_id]=…` as `{"order_id": "…"}`.
pub(super) fn metadata(fields: &Fields) -> Value {
    let mut values = json!({});
    for (name, value) in fields {
        let inner = name.strip_prefix("metadata[");
        if let Some(name) = inner.and_then(|rest| rest.strip_suffix(']')) {
            values[name] = value.as_str().into();
        }
    }
    values
}

/// Fields of an intent to which this service never gives a value.
const UNUSED_BY_INTENTS: &str = "
    application application_fee_amount automatic_payment_methods customer_account
    excluded_payment_method_types on_behalf_of payment_method_configuration_details review source
    statement_descriptor statement_descriptor_suffix transfer_group";

/// Fields of a charge to which this service never gives a value.
const UNUSED_BY_CHARGES: &str = "
    application application_fee application_fee_amount balance_transaction
    calculated_statement_descriptor description failure_balance_transaction on_behalf_of
    receipt_email receipt_number review shipping source source_transfer statement_descriptor
    statement_descriptor_suffix transfer_data transfer_group";

/// Fields of a refund to which this service never gives a value.
const UNUSED_BY_REFUNDS: &str = "customer customer_account payment_method";

fn and_null(mut object: Value, names: &str) -> Value {
    for name in names.split_whitespace() {
        object[name] = Value::Null;
    }
    object
}

impl Ledger {
    /// The intent as JSON ("The `PaymentIntent` object").
    pub(super) fn intent(&self, id: &str, expand: bool) -> Value {
        let intent = &self.intents[id];
        let received = if intent.status == "succeeded" {
            intent.amount
        } else {
            0
        };
        let charge = match &intent.latest_charge {
            Some(charge) if expand => self.charge_json(charge),
            other => json!(other),
        };
        let next_action = match (intent.status, &intent.return_url) {
            ("requires_action", Some(return_url)) => json!({
                "type": "redirect_to_url",
                "redirect_to_url": {
                    "url": format!("https://hooks.stripe.com/redirect/authenticate/{id}_played"),
                    "return_url": return_url,
                },
            }),
            ("requires_action", None) => json!({"type": "use_stripe_sdk", "use_stripe_sdk": {}}),
            _ => Value::Null,
        };
        let shown = json!({
            "id": id, "object": "payment_intent",
            "amount": intent.amount, "amount_capturable": 0, "amount_details": { "tip": {} },
            "amount_received": received, "managed_payments": { "enabled": false },
            "canceled_at": null, "cancellation_reason": intent.cancellation_reason,
            "capture_method": "automatic", "client_secret": format!("{id}_secret_played"),
            "confirmation_method": "automatic", "created": 1_795_428_725, "currency": intent.currency,
            "customer": intent.customer, "description": null,
            "last_payment_error": intent.last_error, "latest_charge": charge, "livemode": false,
            "metadata": intent.metadata, "next_action": next_action, "payment_method": intent.method,
            "payment_method_options": {}, "payment_method_types": ["card"], "processing": null,
            "receipt_email": null, "setup_future_usage": null, "shipping": null,
            "status": intent.status, "transfer_data": null,
        });
        and_null(shown, UNUSED_BY_INTENTS)
    }

    /// The charge as JSON ("The Charge object").
    pub(super) fn charge_json(&self, id: &str) -> Value {
        let charge = &self.charges[id];
        let method = self.methods.get(&charge.method).cloned();
        let method = method.unwrap_or_else(|| StripeMethod::from_token(&charge.method));
        let taken = charge.seen.status == "succeeded";
        let outcome = match charge.failure {
            None => json!({
                "network_status": "approved_by_network", "reason": null,
                "seller_message": "Played.", "type": "authorized",
            }),
            Some((_, reason)) => json!({
                "network_status": "declined_by_network", "reason": reason, "risk_level": "normal",
                "seller_message": "Played.", "type": "issuer_declined",
            }),
        };
        let shown = json!({
            "id": id, "object": "charge", "amount": charge.seen.amount,
            "amount_captured": if taken { charge.seen.amount } else { 0 },
            "amount_refunded": charge.seen.refunded, "fraud_details": {},
            "billing_details": {
                "address": {
                    "city": null, "country": null, "line1": null, "line2": null,
                    "postal_code": null, "state": null,
                },
                "email": null, "name": method.name, "phone": null, "tax_id": null,
            },
            "captured": taken, "created": 1_795_428_725, "currency": charge.seen.currency,
            "customer": self.intents[&charge.seen.intent].customer,
            "disputed": self.disputes.values().any(|dispute| dispute.charge == id),
            "failure_code": charge.failure.map(|(code, _)| code), "failure_message": null,
            "livemode": false, "metadata": {}, "outcome": outcome,
            "paid": charge.seen.status != "failed", "payment_intent": charge.seen.intent,
            "payment_method": charge.method,
            "payment_method_details": { "card": card_json(&method), "type": "card" },
            "receipt_url": null, "refunded": charge.seen.refunded == charge.seen.amount,
            "status": charge.seen.status,
        });
        and_null(shown, UNUSED_BY_CHARGES)
    }

    /// A dispute as JSON ("The Dispute object").
    pub(super) fn dispute(&self, id: &str, expand: bool) -> Value {
        let dispute = &self.disputes[id];
        let charge = &self.charges[&dispute.charge].seen;
        let amount = dispute.amount.unwrap_or(charge.amount);
        let moved = if dispute.takes_money() {
            json!([{"object": "balance_transaction", "amount": -i128::from(amount), "fee": 0}])
        } else {
            json!([])
        };
        let intent = if expand {
            self.intent(&dispute.intent, false)
        } else {
            json!(dispute.intent)
        };
        json!({
            "id": id, "object": "dispute", "amount": amount, "balance_transactions": moved,
            "charge": dispute.charge, "created": dispute.created.seconds(),
            "currency": charge.currency, "enhanced_eligibility_types": [], "evidence": {},
            "evidence_details": {
                "due_by": 1_796_428_725, "enhanced_eligibility": {}, "has_evidence": false,
                "past_due": false, "submission_count": 0,
            },
            "is_charge_refundable": !dispute.takes_money(), "livemode": false, "metadata": {},
            "payment_intent": intent,
            "payment_method_details": {
                "card": {
                    "brand": "visa", "case_type": "chargeback", "network": "visa",
                    "network_reason_code": "10.4",
                },
                "type": "card",
            },
            "reason": "fraudulent", "status": dispute.status,
        })
    }

    /// A payment method as JSON, as in errors.
    pub(super) fn method(&self, id: &str) -> Value {
        let method = self.methods.get(id).cloned();
        let method = method.unwrap_or_else(|| StripeMethod::from_token(id));
        json!({ "id": id, "object": "payment_method", "card": card_json(&method), "type": "card" })
    }
}

pub(super) fn card_json(method: &StripeMethod) -> Value {
    let mut card = json!({
        "brand": method.brand, "checks": { "cvc_check": "pass" }, "country": "US",
        "exp_month": 8, "exp_year": 2030, "fingerprint": "played", "funding": "credit",
        "last4": method.last4, "network": method.brand, "network_token": { "used": false },
        "three_d_secure": null, "wallet": null,
    });
    if let Some(iin) = method.iin {
        card["iin"] = iin.into();
    }
    card
}

impl Refund {
    /// The refund as JSON ("The Refund object").
    pub(super) fn json(&self) -> Value {
        let refund = json!({
            "id": self.id, "object": "refund", "amount": self.amount, "balance_transaction": null,
            "charge": self.charge, "created": 1_795_428_725, "currency": self.currency,
            "metadata": self.metadata, "payment_intent": self.intent, "reason": self.reason,
            "receipt_number": null, "source_transfer_reversal": null, "status": self.status,
            "transfer_reversal": null,
            "destination_details": { "card": { "type": "pending" }, "type": "card" },
        });
        let mut refund = and_null(refund, UNUSED_BY_REFUNDS);
        if let Some(reason) = self.failure_reason {
            refund["failure_reason"] = reason.into();
            refund["failure_balance_transaction"] = "txn_played".into();
        }
        refund
    }
}
