//! Orders that cost nothing: paid without asking a partner.

use std::time::Duration;

use domain::{PartnerName, Status};
use messages::queue::Queue;
use serde_json::{Value, json};
use tests::{Cloud, PlayedPartner, Reply};

use crate::contract::{cart_with_checkout, shipping, text};
use crate::shop::{PlayedShop, Shop, played};

const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";

pub(crate) fn free_cart() -> Value {
    let mut cart = cart_with_checkout();
    cart["items"] = json!([
        {"productId": "sample", "quantity": 2, "price": 0},
        {"productId": "leaflet", "quantity": 1, "price": 0.00}
    ]);
    cart
}

/// A free order at a partner that requires an agreement; the customer has none.
async fn placed() -> PlayedShop {
    let shop = Shop::at(played).cart(free_cart()).placed().await;
    shop.partner.needs_agreement(PartnerName::Stripe);
    shop
}

fn invoice(order: &str) -> Value {
    json!({
        "customerId": "8080", "orderId": order, "tax": 0, "subTotalAmount": 0, "totalAmount": 0.0,
        "currency": "USD", "items": free_cart()["items"], "name": "Lital Hay",
        "phone": "0545870006", "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"
    })
}

fn payment(order: &str) -> Value {
    let invoice = order.replacen("ord_", "inv_", 1);
    json!({"customerId": "8080", "invoiceId": invoice, "totalAmount": 0})
}

async fn invoiced() -> PlayedShop {
    let shop = placed().await;
    let reply = shop.cloud.post(INVOICE, &invoice(&shop.order)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(reply.text.contains("\"totalAmount\":0.0"), "{}", reply.text);
    shop
}

async fn pay(shop: &PlayedShop) -> Reply {
    shop.cloud.post(PAYMENT, &payment(&shop.order)).await
}

fn transaction(reply: &Reply) -> u64 {
    reply.body["transactionId"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_free_order_is_paid_through_http_without_asking_a_partner() {
    let shop = invoiced().await;
    let key = "free-1";
    let body = payment(&shop.order);
    let reply = shop.cloud.post_with_key(PAYMENT, key, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(transaction(&reply) > 0);
    for field in [
        "first_name",
        "last_name",
        "first_digits",
        "last_digits",
        "brand",
        "expiry_month",
        "expiry_year",
    ] {
        assert_eq!(reply.body["credit_card"][field], Value::Null, "{field}");
        assert!(reply.body["credit_card"].get(field).is_some(), "{field}");
    }
    assert_eq!(reply.body["credit_card"]["customer_id"], 8080);
    assert_eq!(reply.body["payment"]["amount"], "0.0");

    let shown = shop.shown().await;
    assert_eq!(shown["status"], "paid");
    assert_eq!(shown["payment"]["state"], "free");
    assert_eq!(
        shown["payment"]["transactionId"],
        reply.body["transactionId"]
    );
    assert_eq!(shown["payment"]["reference"], Value::Null);

    // A repeat gets the same answer with that key, another one, or none.
    let again = shop.cloud.post_with_key(PAYMENT, key, &body).await;
    assert_eq!((again.status, &again.text), (201, &reply.text));
    let other = shop.cloud.post_with_key(PAYMENT, "free-2", &body).await;
    assert_eq!((other.status, &other.text), (201, &reply.text));
    assert_eq!(pay(&shop).await.text, reply.text);

    let shipped = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(shipped.status, 201, "{}", shipped.text);
    assert!(
        shop.partner.calls().is_empty(),
        "{:?}",
        shop.partner.calls()
    );
}

#[tokio::test]
async fn a_free_order_goes_all_the_way_by_the_queues_and_its_mails_speak_of_no_payment() {
    let shop = placed().await;
    shop.cloud.settle().await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "shipped", "{shown}");
    assert_eq!(shown["payment"]["state"], "free");
    let events: Vec<_> = shown["timeline"].as_array().unwrap().iter().collect();
    assert!(
        events
            .iter()
            .any(|each| each["event"] == "PaymentProcessed")
    );
    assert!(
        shop.partner.calls().is_empty(),
        "{:?}",
        shop.partner.calls()
    );
    assert_eq!(
        shop.mails(),
        [
            "Your invoice for order …",
            "Your order … is confirmed",
            "Your order … is on its way"
        ]
    );
    for sent in shop.cloud.mailer.taken() {
        for part in [&sent.mail.text, &sent.mail.html] {
            for word in ["payment", "we charge", "You paid", "Total paid"] {
                assert!(!part.contains(word), "{word}: {part}");
            }
        }
    }
    // The payment's message again, much later.
    shop.cloud.pass(Duration::from_hours(1));
    let paid_again = pay(&shop).await;
    assert_eq!(paid_again.status, 201);
    assert!(shop.partner.calls().is_empty());
}

#[tokio::test]
async fn a_paid_free_order_is_cancelled_straight_and_nothing_is_refunded() {
    let shop = invoiced().await;
    let paid = pay(&shop).await;
    assert_eq!(paid.status, 201);
    for _ in 0..2 {
        let reply = shop.cancel().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.body["status"], "cancelled");
    }
    shop.cloud.settle().await;
    shop.cloud.pass(Duration::from_hours(2));
    shop.cloud.sweep().await;
    shop.cloud.settle().await;
    let shown = shop.shown().await;
    assert_eq!(shown["status"], "cancelled");
    assert_eq!(shown["payment"]["state"], "cancelled");
    assert_eq!(shown.get("due"), None, "{shown}");
    let events: Vec<_> = shown["timeline"].as_array().unwrap().iter().collect();
    for event in ["RefundRequested", "PaymentRefunded"] {
        assert!(!events.iter().any(|each| each["event"] == event), "{shown}");
    }
    // A repeat of the payment gets its answer, as for every paid order.
    assert_eq!(pay(&shop).await.text, paid.text);
    let shipped = shop.cloud.post(SHIPPING, &shipping(&shop.order)).await;
    assert_eq!(shipped.code(), "wrong_state");
    assert!(
        shop.partner.calls().is_empty(),
        "{:?}",
        shop.partner.calls()
    );
}

#[tokio::test]
async fn a_free_order_is_cancelled_before_it_is_paid_and_never_after_it_is_shipped() {
    let shop = invoiced().await;
    assert_eq!(shop.cancel().await.body["status"], "cancelled");
    assert_eq!(pay(&shop).await.code(), "wrong_state");

    let shop = placed().await;
    shop.cloud.settle().await;
    assert_eq!(shop.shown().await["status"], "shipped");
    assert_eq!(shop.cancel().await.code(), "wrong_state");
}

#[tokio::test]
async fn a_lost_message_of_a_free_order_is_sent_again_and_a_doubled_one_does_nothing() {
    let shop = placed().await;
    shop.cloud.relay_stream().await;
    let messages = shop.cloud.queues.take();
    for (queue, message) in &messages {
        assert!(shop.cloud.deliver(*queue, message).await);
    }
    // The invoice's message is lost: the sweep publishes it again.
    shop.cloud.relay_stream().await;
    drop(shop.cloud.queues.take());
    shop.cloud.pass(Duration::from_mins(10));
    shop.cloud.sweep().await;
    let found = shop.cloud.queues.take();
    let payment = found.iter().find(|(queue, _)| *queue == Queue::Payment);
    let (queue, message) = payment.expect("the payment is due");
    for _ in 0..3 {
        assert!(shop.cloud.deliver(*queue, message).await);
    }
    let stored = shop.cloud.store.order(&shop.id()).await.unwrap().unwrap();
    assert_eq!(stored.status, Status::Paid);
    assert_eq!(
        stored.version, 3,
        "one transition each: cart, invoice, payment"
    );
    assert!(shop.partner.calls().is_empty());
}

/// The previous version requested a charge of 0, and Stripe declined it finally.
#[tokio::test]
async fn a_free_order_that_an_earlier_version_saw_declined_is_paid_by_the_next_request() {
    let shop = invoiced().await;
    let (store, now) = (&shop.cloud.store, shop.cloud.runtime.now());
    let id = shop.id();
    let claim = store.claim_payment(&id, None, None, payment::LEASE, now);
    let store::Claim::Held(order, fence) = claim.await.unwrap() else {
        panic!("the order is free to be claimed")
    };
    let decline = domain::Decline {
        attempt: 1,
        code: "amount_too_small".to_owned(),
        retryable: false,
    };
    let dead = store::DeclinedCharge::Dead;
    let declined = store.charge_declined(&order, fence, &decline, dead, now);
    declined.await.unwrap();
    assert_eq!(shop.state().await, "declined");
    assert_eq!(pay(&shop).await.status, 201);
    assert_eq!(shop.state().await, "free");
    assert!(shop.partner.calls().is_empty());
}

#[tokio::test]
async fn tax_of_nothing_is_nothing_in_each_mode() {
    use domain::TaxMode::{Added, Included, OfTotal};
    for tax_mode in [OfTotal, Included, Added] {
        let options = tests::Options {
            tax_mode,
            ..tests::Options::default()
        };
        let cloud = Cloud::with_partner(options, |_| PlayedPartner::default()).await;
        let reply = cloud.post("/api/order/cart.json", &free_cart()).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        assert!(reply.text.contains("\"totalAmount\":0.0"), "{}", reply.text);
        cloud.settle().await;
        let order = text(&reply.body["orderId"]);
        assert_eq!(cloud.get(order).await.body["status"], "shipped");
    }
}
