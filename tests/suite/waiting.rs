//! A payment that waits for its customer shows the reason.

use serde_json::{Value, json};
use tests::Cloud;

use crate::contract::{cart_with_checkout, text};
use crate::privacy::Log;
use crate::{shop, webhooks};

/// The codes that the log has for orders that begin to wait.
fn codes(log: &Log) -> Vec<String> {
    let text_of = log.text();
    let lines = text_of
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let waits = lines.filter(|line| line["message"] == "waiting for the customer");
    waits.map(|line| text(&line["code"]).to_owned()).collect()
}

#[tokio::test]
async fn a_payment_that_waits_for_its_customer_says_for_what_and_its_log_once() {
    let shop = webhooks::shop("pm_card_authenticationRequired").await;
    let log = Log::default();
    let _listening = log.listen();
    let reason = async || shop.cloud.get(&shop.order).await.body["payment"]["reason"].clone();
    assert_eq!(reason().await, Value::Null);
    for _ in 0..2 {
        assert_eq!(shop.pay().await.code(), "payment_action_required");
        assert_eq!(reason().await, "confirmation_required");
    }
    shop.revoke().await;
    for _ in 0..2 {
        assert_eq!(shop.pay().await.code(), "billing_agreement_missing");
        assert_eq!(reason().await, "agreement_missing");
    }
    assert_eq!(codes(&log), ["confirmation_required", "agreement_missing"]);
}

#[tokio::test]
async fn an_order_of_the_chain_says_what_it_waits_for_until_it_waits_no_more() {
    let cloud = Cloud::start().await;
    let log = Log::default();
    let _listening = log.listen();
    let mut cart = cart_with_checkout();
    cart["customerId"] = "sandbox-action-required".into();
    let order = shop::place(&cloud, &cart).await;
    for _ in 0..3 {
        cloud.settle().await;
        let body = cloud.get(&order).await.body;
        assert_eq!(body["payment"]["reason"], "confirmation_required", "{body}");
        cloud.pass(std::time::Duration::from_hours(1));
        cloud.sweep().await;
    }
    assert_eq!(codes(&log), ["confirmation_required"]);
    let cancel = json!({"customerId": "sandbox-action-required", "orderId": order});
    assert_eq!(
        cloud.post("/api/order/cancel.json", &cancel).await.status,
        200
    );
    let body = cloud.get(&order).await.body;
    assert_eq!(body["payment"].get("reason"), None, "{body}");
}
