//! Partial refunds: each one is made once, never more than was captured, and each with its mail.

use std::time::Duration;

use domain::{Money, TaxMode};
use futures_util::future::join;
use messages::queue::Queue;
use payment::partners::{BillingPartner, RefundStatus, Sandbox};
use serde_json::{Value, json};
use store::Settlement;
use tests::partners::{Mishap, Operation};
use tests::{Cloud, Options, Reply};

use crate::contract::{cart, cart_with_checkout, shipping, text};
use crate::metrics::Metrics;
use crate::paypal::invoiced;
use crate::shop::{PlayedShop, Shop, place, played};
use crate::webhooks::shop;

const REFUND: &str = "/api/order/refund.json";
const PART_MAIL: &str = "Your refund for order … is on its way";

fn money(text: &str) -> Money {
    Money::from_stored(text).unwrap()
}

/// The body of a refund, with these additional fields.
fn refund_of(order: &str, more: &Value) -> Value {
    let mut body = json!({"customerId": "8080", "orderId": order});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

impl<P: BillingPartner, D> Shop<P, D> {
    async fn refund(&self, key: &str, more: &Value) -> Reply {
        let body = refund_of(&self.order, more);
        self.cloud.post_with_key(REFUND, key, &body).await
    }
}

async fn paid() -> PlayedShop {
    let shop = Shop::at(played).paid().await;
    shop.cloud.lose_stream();
    shop
}

async fn shipped() -> PlayedShop {
    let shop = Shop::at(played).paid().await;
    shop.cloud.settle().await;
    assert_eq!(shop.shown().await["status"], "shipped");
    shop
}

/// The refunds that the order shows: amounts and statuses.
fn refunds(order: &Value) -> Vec<(String, String)> {
    let refunds = order["payment"]["refunds"].as_array();
    let refunds = refunds.into_iter().flatten();
    let shown = |refund: &Value| {
        let status = text(&refund["status"]).to_owned();
        (refund["amount"].to_string(), status)
    };
    refunds.map(shown).collect()
}

fn made(amounts: &[&str]) -> Vec<(String, String)> {
    let made = |amount: &&str| ((*amount).to_owned(), "refunded".to_owned());
    amounts.iter().map(made).collect()
}

#[tokio::test]
async fn a_shipped_order_is_refunded_in_parts_and_each_repeat_is_answered_as_the_first() {
    let test = shipped().await;
    let first = test
        .refund("k1", &json!({"amount": 25.5, "reason": "late"}))
        .await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(
        first.header("location"),
        format!("/api/order/{}", test.order)
    );
    let refund = text(&first.body["refundId"]).to_owned();
    assert!(refund.starts_with("rfd_"));
    assert_eq!(
        first.text,
        format!(
            r#"{{"orderId":"{}","refundId":"{refund}","amount":25.5,"refundedAmount":25.5,"status":"refunded"}}"#,
            test.order
        )
    );
    let second = test.refund("k2", &json!({"amount": 50})).await;
    assert_eq!(second.body["refundedAmount"].to_string(), "75.5");
    let again = test
        .refund("k1", &json!({"amount": 25.5, "reason": "late"}))
        .await;
    let replayed = |reply: &Reply| reply.header("idempotent-replayed").to_owned();
    assert_eq!(
        (replayed(&first), replayed(&again)),
        (String::new(), "true".to_owned())
    );
    assert_eq!((again.status, again.text), (201, first.text));
    assert_eq!(test.partner.parts(), [money("25.5"), money("50")]);

    let shown = test.shown().await;
    assert_eq!(refunds(&shown), made(&["25.5", "50.0"]));
    assert_eq!(shown["payment"]["refundedAmount"].to_string(), "75.5");
    assert_eq!(shown["payment"]["refunds"][0]["reason"], "late");
    assert_eq!(shown["payment"]["refunds"][0]["source"], "shop");
    assert_eq!(
        (&shown["status"], &shown["payment"]["state"]),
        (&json!("shipped"), &json!("captured"))
    );
    test.cloud.settle().await;
    let mails = test.mails();
    assert_eq!(mails.iter().filter(|mail| *mail == PART_MAIL).count(), 2);
    let shown = test.shown().await;
    let told = shown["emails"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .filter(|mail| mail["event"] == "PaymentRefunded")
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|mail| mail["status"] == "sent"));
    test.cloud.pass(Duration::from_mins(3));
    test.cloud.sweep().await;
    assert_eq!(test.shown().await.get("due"), None);

    // The rest, and then nothing more.
    let rest = test.refund("k3", &json!({})).await;
    assert_eq!(rest.body["amount"].to_string(), "124.5");
    assert_eq!(rest.body["refundedAmount"].to_string(), "200.0");
    assert_eq!(test.shown().await["status"], "shipped");
    let none = test.refund("k4", &json!({})).await;
    assert_eq!((none.status, none.code()), (409, "refund_exceeds_payment"));
}

#[tokio::test]
async fn a_refund_needs_a_key_and_a_key_belongs_to_one_body() {
    let test = shipped().await;
    let body = refund_of(&test.order, &json!({"amount": 10}));
    let reply = test.cloud.post(REFUND, &body).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "idempotency_key_required")
    );
    assert_eq!(test.refund("k1", &json!({"amount": 10})).await.status, 201);
    let other = test.refund("k1", &json!({"amount": 11})).await;
    assert_eq!(
        (other.status, other.code()),
        (422, "idempotency_key_reused")
    );
    // A key's row is kept for a week. The refund itself stays bound to its body.
    test.cloud.pass(Duration::from_hours(8 * 24));
    assert_eq!(test.refund("k1", &json!({"amount": 10})).await.status, 201);
    test.cloud.pass(Duration::from_hours(8 * 24));
    for other in [
        json!({"amount": 11}),
        json!({"amount": 10, "reason": "late"}),
        json!({}),
    ] {
        let reply = test.refund("k1", &other).await;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "idempotency_key_reused")
        );
    }
    assert_eq!(test.partner.parts(), [money("10")]);
}

#[tokio::test]
async fn a_refund_that_cannot_be_is_refused_before_anything_is_kept() {
    let test = shipped().await;
    for (more, status, code) in [
        (json!({"amount": 200.01}), 409, "refund_exceeds_payment"),
        (json!({"amount": 0}), 422, "invalid_fields"),
        (json!({"amount": -1}), 422, "invalid_fields"),
        (json!({"amount": 1.005}), 422, "invalid_fields"),
        (json!({"amount": "1"}), 422, "invalid_fields"),
        (json!({"sum": 1}), 422, "invalid_fields"),
        (
            json!({"amount": 1, "reason": "expired"}),
            422,
            "invalid_fields",
        ),
        (
            json!({"amount": 1, "reason": "disputed"}),
            422,
            "invalid_fields",
        ),
        (json!({"items": []}), 422, "invalid_fields"),
        (
            json!({"amount": 1, "items": [{"productId": "1234", "quantity": 1}]}),
            422,
            "invalid_fields",
        ),
        (
            json!({"items": [{"productId": "1234", "quantity": 3}]}),
            409,
            "mismatch",
        ),
        (
            json!({"items": [{"productId": "none", "quantity": 1}]}),
            409,
            "mismatch",
        ),
        (
            json!({"items": [{"productId": "1234", "quantity": 1}, {"productId": "1234", "quantity": 2}]}),
            409,
            "mismatch",
        ),
        (json!({"customerId": "8081"}), 404, "order_not_found"),
        (json!({"orderId": "ord_1"}), 404, "order_not_found"),
    ] {
        let key = digest(&more);
        let reply = test.refund(&key, &more).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{more}");
    }
    assert!(test.partner.parts().is_empty());
    assert_eq!(refunds(&test.shown().await), []);
    // Nothing is paid yet, or nothing is left.
    let unpaid = Shop::at(played).invoiced().await;
    let reply = unpaid.refund("k", &json!({"amount": 1})).await;
    assert_eq!((reply.status, reply.code()), (409, "wrong_state"));
    let cancelled = paid().await;
    assert_eq!(cancelled.cancel().await.status, 200);
    let reply = cancelled.refund("k", &json!({"amount": 1})).await;
    assert_eq!((reply.status, reply.code()), (409, "wrong_state"));
}

fn digest(value: &Value) -> String {
    domain::digest_hex(&[&value.to_string()])
}

#[tokio::test]
async fn two_callers_who_refund_at_once_never_get_more_than_was_captured() {
    let test = shipped().await;
    let (one, other) = (json!({"amount": 150}), json!({"amount": 100}));
    let (one, other) = join(test.refund("k1", &one), test.refund("k2", &other)).await;
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", one.text, other.text);
    assert_eq!(test.partner.parts().len(), 1);
    // Two requests with one key make one refund.
    let fifty = json!({"amount": 50});
    let (one, other) = join(test.refund("k3", &fifty), test.refund("k3", &fifty)).await;
    assert_eq!((one.status, other.status), (201, 201), "{}", other.text);
    assert_eq!(one.text, other.text);
    assert_eq!(test.partner.parts().len(), 2);
}

#[tokio::test]
async fn a_refund_without_an_answer_is_made_once_and_continued_by_the_sweep() {
    let test = shipped().await;
    test.partner.lose_answer("refund_part");
    let reply = test.refund("k1", &json!({"amount": 30})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "billing_partner_unavailable")
    );
    let shown = test.shown().await;
    assert_eq!(shown["payment"]["refunds"][0]["status"], "requested");
    assert_eq!(shown["due"]["step"], "payment");
    // A requested refund already counts.
    let more = test.refund("k2", &json!({"amount": 170.01})).await;
    assert_eq!(more.code(), "refund_exceeds_payment");
    test.cloud.lose_stream();
    test.cloud.pass(Duration::from_mins(3));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(refunds(&test.shown().await), made(&["30.0"]));
    assert_eq!(test.partner.parts(), [money("30")]);
    let again = test.refund("k1", &json!({"amount": 30})).await;
    assert_eq!(again.status, 201);
    assert_eq!(test.partner.parts(), [money("30")]);
    assert_eq!(
        test.mails()
            .iter()
            .filter(|mail| *mail == PART_MAIL)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_refund_of_a_paid_order_is_continued_beside_its_shipment() {
    let test = paid().await;
    test.partner.refuse("refund_part");
    let reply = test.refund("k1", &json!({"amount": 30})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "billing_partner_unavailable")
    );
    test.cloud.lose_stream();
    test.cloud.pass(Duration::from_mins(3));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    let shown = test.shown().await;
    assert_eq!(shown["status"], "shipped");
    assert_eq!(refunds(&shown), made(&["30.0"]));
    test.cloud.pass(Duration::from_hours(1));
    test.cloud.sweep().await;
    assert_eq!(test.shown().await.get("due"), None);
}

#[tokio::test]
async fn a_rejected_refund_is_told_counted_and_frees_its_amount() {
    let metrics = Metrics::start();
    let test = shipped().await;
    let code = "insufficient_funds".to_owned();
    test.partner.script_refunds([RefundStatus::Failed { code }]);
    for _ in 0..2 {
        let reply = test.refund("k1", &json!({"amount": 200})).await;
        assert_eq!((reply.status, reply.code()), (409, "refund_rejected"));
    }
    assert_eq!(metrics.of("RefundFailed"), 1);
    let shown = test.shown().await;
    let refund = &shown["payment"]["refunds"][0];
    assert_eq!(
        (&refund["status"], &refund["code"]),
        (&json!("failed"), &json!("insufficient_funds"))
    );
    assert_eq!(shown["payment"]["refundedAmount"].to_string(), "0.0");
    assert_eq!(test.refund("k2", &json!({"amount": 200})).await.status, 201);
    assert_eq!(test.partner.parts(), [money("200")]);
}

#[tokio::test]
async fn a_pending_refund_is_waited_for() {
    let test = shipped().await;
    test.partner.script_refunds([RefundStatus::Pending]);
    let reply = test.refund("k1", &json!({"amount": 20})).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_pending"));
    let shown = test.shown().await;
    assert_eq!(shown["payment"]["refunds"][0]["status"], "pending");
    assert_eq!(shown["payment"]["refundedAmount"].to_string(), "20.0");
    test.cloud.lose_stream();
    test.cloud.pass(Duration::from_mins(3));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(refunds(&test.shown().await), made(&["20.0"]));
    assert_eq!(test.partner.parts(), [money("20")]);
}

#[tokio::test]
async fn items_that_are_refunded_before_the_shipment_are_not_shipped() {
    let test = paid().await;
    let items = json!({"items": [{"productId": "1234", "quantity": 1}]});
    let reply = test.refund("k1", &items).await;
    assert_eq!(reply.body["amount"].to_string(), "50.0", "{}", reply.text);
    let shown = test.shown().await;
    assert_eq!(
        shown["shippedItems"],
        json!([{"productId": "1234", "quantity": 1, "price": 50},
            {"productId": "2345", "quantity": 1, "price": 100}])
    );
    assert_eq!(shown["payment"]["refunds"][0]["items"], items["items"]);
    test.cloud.settle().await;
    test.cloud.pass(Duration::from_mins(3));
    test.cloud.sweep().await;
    test.cloud.settle().await;
    assert_eq!(test.shown().await["status"], "shipped");
    let taken = test.cloud.mailer.taken();
    let about = |subject: &str| {
        let mut mails = taken.iter();
        let sent = mails.find(|sent| sent.mail.subject.contains(subject));
        sent.unwrap().mail.text.clone()
    };
    let shipped = about("is on its way");
    assert!(about("Your order").contains("1 x 50.00"), "{shipped}");
    // Items that are refunded after the shipment were shipped.
    let later = json!({"items": [{"productId": "1234", "quantity": 1}]});
    assert_eq!(test.refund("k2", &later).await.status, 201);
    assert_eq!(test.shown().await["shippedItems"], shown["shippedItems"]);
}

#[tokio::test]
async fn a_refund_of_all_that_has_not_begun_to_ship_cancels_the_order() {
    let test = paid().await;
    let first = json!({"items": [{"productId": "1234", "quantity": 2}]});
    assert_eq!(test.refund("k1", &first).await.status, 201);
    let last = json!({"items": [{"productId": "2345", "quantity": 1}]});
    let reply = test.refund("k2", &last).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.body["refundedAmount"].to_string(), "200.0");
    let again = test.refund("k2", &last).await;
    assert_eq!(again.text, reply.text);
    test.cloud.settle().await;
    let shown = test.shown().await;
    assert_eq!(shown["status"], "cancelled");
    assert_eq!(shown["payment"]["state"], "refunded");
    assert_eq!(refunds(&shown), made(&["100.0", "100.0"]));
    let reply = test
        .cloud
        .post("/api/order/shipping.json", &shipping(&test.order))
        .await;
    assert_eq!(reply.code(), "wrong_state");
    assert_eq!(
        test.mails(),
        ["Your order … is cancelled", PART_MAIL, PART_MAIL]
    );
}

#[tokio::test]
async fn a_cancellation_gives_back_what_earlier_refunds_have_left() {
    let test = paid().await;
    assert_eq!(test.refund("k1", &json!({"amount": 60})).await.status, 201);
    // A refund whose answer is lost is completed before the rest.
    test.partner.lose_answer("refund_part");
    assert_eq!(test.refund("k2", &json!({"amount": 40})).await.status, 503);
    assert_eq!(test.cancel().await.status, 200);
    let shown = test.shown().await;
    assert_eq!(shown["status"], "cancelled");
    assert_eq!(refunds(&shown), made(&["60.0", "40.0", "100.0"]));
    assert_eq!(shown["payment"]["refundedAmount"].to_string(), "200.0");
    assert_eq!(test.partner.parts(), [money("60"), money("40")]);
}

#[tokio::test]
async fn parts_of_a_total_with_added_tax_are_rounded_to_the_whole() {
    let options = Options {
        tax_mode: TaxMode::Added,
        tax_rate: "0.07",
        ..Options::default()
    };
    let mut cart = cart_with_checkout();
    cart["items"] = json!([{"productId": "1234", "quantity": 3, "price": 3.33}]);
    let cloud: Cloud<Sandbox> = Cloud::with(options).await;
    let order = place(&cloud, &cart).await;
    cloud.settle().await;
    let total = cloud.get(&order).await.body["totalAmount"].to_string();
    assert_eq!(total, "10.69");
    let body = refund_of(
        &order,
        &json!({"items": [{"productId": "1234", "quantity": 1}]}),
    );
    let mut amounts = Vec::new();
    for key in ["k1", "k2", "k3"] {
        let reply = cloud.post_with_key(REFUND, key, &body).await;
        amounts.push(reply.body["amount"].to_string());
        if key == "k3" {
            assert_eq!(reply.body["refundedAmount"].to_string(), total);
        }
    }
    assert_eq!(amounts, ["3.56", "3.57", "3.56"]);
}

#[tokio::test]
async fn stripe_makes_each_part_once_however_its_answer_is_lost() {
    use Mishap::{AnswerLost, BrokenOff, Failed, FailedAfterwards, NotJson, RequestLost};
    for how in [
        AnswerLost,
        BrokenOff,
        Failed,
        FailedAfterwards,
        NotJson,
        RequestLost,
    ] {
        let shop = shop("pm_card_visa").await;
        assert_eq!(shop.pay().await.status, 201);
        shop.cloud.settle().await;
        shop.partner.plan(Operation::Refund, how.clone());
        let part = json!({"amount": 12.34});
        let first = shop.refund("k1", &part).await;
        assert!(matches!(first.status, 201 | 503), "{how:?}: {}", first.text);
        for _ in 0..2 {
            let reply = shop.refund("k1", &part).await;
            assert_eq!(reply.status, 201, "{how:?}: {}", reply.text);
        }
        assert_eq!(shop.partner.given_back(), [1_234], "{how:?}");
        let rest = shop.refund("k2", &json!({})).await;
        assert_eq!(rest.status, 201, "{how:?}: {}", rest.text);
        assert_eq!(shop.partner.given_back(), [1_234, 18_766], "{how:?}");
    }
}

#[tokio::test]
async fn a_part_that_stripe_has_made_is_not_made_again_once_its_key_is_forgotten() {
    let shop = shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.settle().await;
    shop.partner.plan(Operation::Refund, Mishap::AnswerLost);
    let part = json!({"amount": 12.34});
    assert_eq!(shop.refund("k1", &part).await.status, 503);
    // Stripe keeps an idempotency key for a day at least ("Idempotent requests").
    shop.cloud.pass(Duration::from_hours(25));
    let reply = shop.refund("k1", &part).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(shop.partner.given_back(), [1_234]);
}

#[tokio::test]
async fn stripe_refuses_more_than_is_left_and_what_is_disputed() {
    let shop = shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.settle().await;
    // A person makes a refund that this service does not know of.
    shop.partner.refund_by_hand(15_000);
    let reply = shop.refund("k1", &json!({"amount": 100})).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_rejected"));
    assert_eq!(shop.refund("k2", &json!({"amount": 20})).await.status, 201);
    shop.partner.dispute();
    let reply = shop.refund("k3", &json!({"amount": 1})).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_rejected"));
    assert_eq!(reply.body["decline_code"], "charge_disputed");
    assert_eq!(shop.partner.given_back(), [15_000, 2_000]);
}

#[tokio::test]
async fn paypal_makes_each_part_once_and_a_cancellation_the_rest() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.lose_stream();
    let refund = async |key: &str, more: &Value| {
        let body = refund_of(&test.order, more);
        test.cloud.post_with_key(REFUND, key, &body).await
    };
    for _ in 0..2 {
        let reply = refund("k1", &json!({"amount": 60})).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
    test.double
        .refuse_refunds(Some("REFUND_FAILED_INSUFFICIENT_FUNDS"));
    let reply = refund("k2", &json!({"amount": 40})).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_rejected"));
    test.double.refuse_refunds(None);
    assert_eq!(refund("k3", &json!({"amount": 40})).await.status, 201);
    test.double.refund_part_by_hand("30.00");
    let reply = refund("k4", &json!({"amount": 80})).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_rejected"));
    assert_eq!(reply.body["decline_code"], "refund_amount_exceeded");
    let cancel = json!({"customerId": "8080", "orderId": test.order});
    let reply = test.cloud.post("/api/order/cancel.json", &cancel).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        test.double.given_back(),
        [
            "60.00 COMPLETED",
            "40.00 COMPLETED",
            "30.00 COMPLETED",
            "70.00 COMPLETED"
        ]
    );
}

#[tokio::test]
async fn a_note_of_a_refund_that_was_overtaken_is_refused() {
    let test = shipped().await;
    assert_eq!(test.refund("k1", &json!({"amount": 10})).await.status, 201);
    let stale = test.cloud.store.order(&test.id()).await.unwrap().unwrap();
    let mut refund = stale.refunds[0].clone();
    refund.key = 1;
    let noted = test.cloud.store.note_part(&stale, refund.clone()).await;
    assert!(matches!(noted.unwrap(), Settlement::Written(_)));
    refund.key = 2;
    let noted = test.cloud.store.note_part(&stale, refund).await;
    assert!(matches!(noted.unwrap(), Settlement::Overtaken(_)));
}

#[tokio::test]
async fn a_cancellation_at_paypal_gives_back_the_rest_beside_a_pending_part() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    test.cloud.lose_stream();
    test.double.refunds_end_as("PENDING");
    let body = refund_of(&test.order, &json!({"amount": 60}));
    let reply = test.cloud.post_with_key(REFUND, "k1", &body).await;
    assert_eq!((reply.status, reply.code()), (409, "refund_pending"));
    test.double.refunds_end_as("COMPLETED");
    let cancel = json!({"customerId": "8080", "orderId": test.order});
    let reply = test.cloud.post("/api/order/cancel.json", &cancel).await;
    let given_back = test.double.given_back();
    assert_eq!(given_back, ["60.00 PENDING", "140.00 COMPLETED"]);
    assert_eq!(reply.status, 200, "{}", reply.text);
    test.double.settle_refunds();
    test.cloud.settle().await;
    test.cloud.pass(Duration::from_mins(3));
    for _ in 0..2 {
        test.cloud.sweep().await;
        test.cloud.settle().await;
        test.cloud.pass(Duration::from_hours(2));
    }
    let shown = test.cloud.get(&test.order).await.body;
    assert_eq!(refunds(&shown), made(&["60.0", "140.0"]));
    assert_eq!(shown.get("due"), None);
    assert_eq!(test.double.given_back().len(), 2);
}

#[tokio::test]
async fn a_mail_about_a_refund_to_another_address_is_sent_once_for_each() {
    let test = shipped().await;
    let mail = json!({"event": "PaymentRefunded", "name": "Friend", "email": "friend@example.com",
        "orderId": test.order});
    let ask = async || test.cloud.post("/api/order/email.json", &mail).await;
    assert_eq!(ask().await.code(), "wrong_state");
    for key in ["k1", "k2"] {
        assert_eq!(test.refund(key, &json!({"amount": 10})).await.status, 201);
        for _ in 0..2 {
            assert_eq!(ask().await.status, 200);
        }
    }
    let taken = test.cloud.mailer.taken().into_iter();
    let to_friend = taken.filter(|sent| sent.to == "friend@example.com");
    assert_eq!(to_friend.count(), 2);
}

#[tokio::test]
async fn an_order_without_an_address_is_refunded_without_a_mail() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    crate::shop::invoice(&cloud, &order).await;
    assert_eq!(crate::shop::pay(&cloud, &order).await.status, 201);
    let reply = cloud
        .post("/api/order/shipping.json", &shipping(&order))
        .await;
    assert_eq!(reply.status, 201);
    let body = refund_of(&order, &json!({"amount": 10}));
    assert_eq!(cloud.post_with_key(REFUND, "k1", &body).await.status, 201);
    let messages = cloud.relay_stream().await;
    assert!(messages.is_empty());
    let mails = cloud.queues.take();
    assert!(mails.iter().all(|(queue, _)| *queue != Queue::Email));
}
