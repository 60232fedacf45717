//! PayPal's objects.

use domain::Timestamp;
use serde_json::{Value, json};

use super::books::{Books, Capture, Kind, Order, Refund};
use super::errors::not_found;

impl Books {
    pub(super) fn show_order(&self, id: &str) -> Value {
        let order = &self.orders[id];
        let base = "https://api-m.sandbox.paypal.com/v2";
        let link = |rel: &str, method: &str, path: &str| {
            json!({"href": format!("{base}/checkout/orders/{id}{path}"), "rel": rel,
                "method": method})
        };
        let mut unit = order.unit.clone();
        if unit["reference_id"].is_null() {
            unit["reference_id"] = "default".into();
        }
        if let Some(capture) = &order.capture {
            unit["payments"] = show_payments(order, capture);
        }
        let mut body = json!({
            "id": order.id,
            "intent": "CAPTURE",
            "status": order.status,
            "purchase_units": [unit],
            "create_time": time(order.created),
            "links": [link("self", "GET", "")],
        });
        let page = |rel: &str| {
            json!({"href": format!("https://www.sandbox.paypal.com/checkoutnow?token={id}"),
                "rel": rel, "method": "GET"})
        };
        if order.status == "PAYER_ACTION_REQUIRED" {
            body["links"] = json!([link("self", "GET", ""), page("payer-action")]);
        } else if order.capture.is_none() {
            body["links"] = json!([
                link("self", "GET", ""),
                page("approve"),
                link("update", "PATCH", ""),
                link("capture", "POST", "/capture"),
            ]);
        }
        match order.source {
            Some(Kind::Card) => {
                body["payment_source"] = json!({"card": {"name": "Bob Norman",
                    "last_digits": "9855", "expiry": "2040-12", "brand": "VISA",
                    "type": "CREDIT"}});
            }
            Some(Kind::Wallet | Kind::BillingAgreement) => {
                body["payment_source"] = json!({"paypal": {
                    "email_address": "payer@example.com", "account_id": "QYR5Z8XDVJNXQ",
                    "name": {"given_name": "Bob", "surname": "Norman"}}});
            }
            None => {}
        }
        body
    }

    pub(super) fn show_capture(&self, id: &str) -> (u16, Value) {
        let found = self.orders.values().find_map(|order| {
            let capture = order.capture.as_ref()?;
            (capture.id == id).then_some((order, capture))
        });
        let Some((order, capture)) = found else {
            return not_found();
        };
        let mut shown = show_payments(order, capture)["captures"][0].clone();
        shown["supplementary_data"] = json!({"related_ids": {"order_id": order.id}});
        (200, shown)
    }

    pub(super) fn show_dispute(&self, id: &str) -> (u16, Value) {
        let Some(dispute) = self.disputes.get(id) else {
            return not_found();
        };
        let order = self.orders.values().find(|order| {
            let capture = order.capture.as_ref();
            capture.is_some_and(|capture| capture.id == dispute.capture)
        });
        let order = order.expect("a dispute is about a capture in the books");
        let mut shown = json!({
            "dispute_id": id, "create_time": time(dispute.opened),
            "update_time": time(dispute.updated),
            "disputed_transactions": [{
                "seller_transaction_id": dispute.capture, "create_time": time(order.created),
                "transaction_status": "COMPLETED", "gross_amount": order.unit["amount"],
                "buyer": {"name": "Bob Norman"}, "seller": {"merchant_id": "QYR5Z8XDVJNXQ"},
            }],
            "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED", "status": dispute.status,
            "dispute_amount": order.unit["amount"], "dispute_life_cycle_stage": "CHARGEBACK",
            "dispute_channel": "INTERNAL", "messages": [],
            "links": [{
                "href": format!("https://api-m.sandbox.paypal.com/v1/customer/disputes/{id}"),
                "rel": "self", "method": "GET"
            }],
        });
        if let Some(code) = dispute.outcome {
            let mut refunded = order.unit["amount"].clone();
            if let Some(part) = &dispute.part {
                refunded["value"] = json!(part);
            }
            shown["dispute_outcome"] = json!({"outcome_code": code, "amount_refunded": refunded});
        }
        (200, shown)
    }

    pub(super) fn show_refund(&self, id: &str) -> Value {
        let captures = self
            .orders
            .values()
            .filter_map(|order| order.capture.as_ref());
        let mut refunds = captures.flat_map(|capture| &capture.refunds);
        let found = refunds.find(|refund| refund.id == id);
        found.map_or(Value::Null, one_refund)
    }
}

/// A refund ("Payments", `refund`), in the same form as in its order ("Orders",
/// `payments.refunds`).
fn one_refund(refund: &Refund) -> Value {
    let href = format!(
        "https://api-m.sandbox.paypal.com/v2/payments/refunds/{}",
        refund.id
    );
    let mut shown = json!({
        "id": refund.id, "status": refund.status,
        "amount": {"currency_code": refund.currency, "value": refund.value},
        "create_time": time(refund.made), "update_time": time(refund.made),
        "links": [{"href": href, "rel": "self", "method": "GET"}],
    });
    for (field, value) in [
        ("invoice_id", &refund.invoice),
        ("custom_id", &refund.custom),
    ] {
        if let Some(value) = value {
            shown[field] = value.as_str().into();
        }
    }
    shown
}

pub(super) fn show_payments(order: &Order, capture: &Capture) -> Value {
    let base = "https://api-m.sandbox.paypal.com/v2";
    let href = format!("{base}/payments/captures/{}", capture.id);
    let mut shown = json!({
        "id": capture.id,
        "status": capture.status,
        "amount": order.unit["amount"],
        "final_capture": true,
        "seller_protection": {"status": "NOT_ELIGIBLE"},
        "links": [
            {"href": href, "rel": "self", "method": "GET"},
            {"href": format!("{href}/refund"), "rel": "refund", "method": "POST"},
            {"href": format!("{base}/checkout/orders/{}", order.id), "rel": "up", "method": "GET"},
        ],
        "create_time": time(order.created),
        "update_time": time(order.created),
    });
    for field in ["custom_id", "invoice_id"] {
        if !order.unit[field].is_null() {
            shown[field] = order.unit[field].clone();
        }
    }
    if let Some(code) = capture.response_code {
        shown["processor_response"] =
            json!({"avs_code": "A", "cvv_code": "M", "response_code": code});
    }
    if let Some(reason) = capture.reason
        && matches!(capture.status, "PENDING" | "DECLINED")
    {
        shown["status_details"] = json!({"reason": reason});
    }
    let mut payments = json!({"captures": [shown]});
    if !capture.refunds.is_empty() {
        payments["refunds"] = capture.refunds.iter().map(one_refund).collect();
    }
    payments
}

pub(super) fn time(at: Timestamp) -> String {
    at.to_string().replace("+00:00", "Z")
}
