//! The edges of limits and times: the last value that counts, and the first that does not. A rule
//! with a neighboring edge fails here.

use std::time::Duration;

use domain::{Card, ChargeState, Dispute, DisputeState, Money, Timestamp};
use messages::PartnerReference;
use messages::queue::Queue;
use payment::partners::{BillingPartner as _, ChargeRequest, OpenCharge};
use serde_json::json;
use store::{BodyHash, Claim, Confirmation, KeyUse, MAX_PAYMENT_KEYS, NotedDispute, Released};
use tests::{Cloud, PlayedPartner};

use crate::contract::{cart, cart_with_checkout};
use crate::errors::assert_problem;
use crate::shop::{PlayedShop, Shop, payment as pays, place, played};

const PAYMENT: &str = "/api/order/payment.json";
const MILLISECOND: Duration = Duration::from_millis(1);

fn hash(text: &str) -> BodyHash {
    BodyHash::from(text.to_owned())
}

#[tokio::test]
async fn a_lease_holds_to_its_last_millisecond() {
    let shop = Shop::at(played).invoiced().await;
    let (store, id, now) = (&shop.cloud.store, shop.id(), shop.cloud.runtime.now());
    let claims = async |at: Timestamp| {
        let claim = store.claim_payment(&id, None, None, payment::LEASE, at);
        matches!(claim.await.unwrap(), Claim::Held(..))
    };
    assert!(claims(now).await);
    assert!(!claims(now.plus(payment::LEASE)).await);
    assert!(claims(now.plus(payment::LEASE + MILLISECOND)).await);
}

/// If a payment has no keys, the first key's claim takes another code path, but the lease limits it
/// in the same way.
#[tokio::test]
async fn a_lease_holds_to_its_last_millisecond_against_a_key_too() {
    let shop = Shop::at(played).invoiced().await;
    let (store, id, now) = (&shop.cloud.store, shop.id(), shop.cloud.runtime.now());
    let claims = async |key: Option<&str>, at: Timestamp| {
        let claim = store.claim_payment(&id, None, key, payment::LEASE, at);
        matches!(claim.await.unwrap(), Claim::Held(..))
    };
    assert!(claims(None, now).await);
    assert!(!claims(Some("k"), now.plus(payment::LEASE)).await);
    assert!(claims(Some("k"), now.plus(payment::LEASE + MILLISECOND)).await);
}

#[tokio::test]
async fn a_key_is_remembered_for_seven_days_to_the_second() {
    let cloud = Cloud::start().await;
    let (store, now) = (&cloud.store, cloud.runtime.now());
    let kept = store.use_key("k", &hash("body"), now).await.unwrap();
    assert_eq!(kept, KeyUse::Fits);
    let last = now.plus(Duration::from_hours(7 * 24));
    assert!(store.is_key_used("k", last).await.unwrap());
    let found = store.key_use("k", &hash("other"), last).await.unwrap();
    assert_eq!(found, KeyUse::OtherBody);
    let used = store.use_key("k", &hash("other"), last).await.unwrap();
    assert_eq!(used, KeyUse::OtherBody);
    let over = last.plus(Duration::from_secs(1));
    assert!(!store.is_key_used("k", over).await.unwrap());
    let found = store.key_use("k", &hash("other"), over).await.unwrap();
    assert_eq!(found, KeyUse::Fits);
    let used = store.use_key("k", &hash("other"), over).await.unwrap();
    assert_eq!(used, KeyUse::Fits);
}

#[tokio::test]
async fn a_payment_remembers_a_hundred_keys_and_refuses_the_next_one() {
    let shop = Shop::at(played).invoiced().await;
    let (store, id) = (&shop.cloud.store, shop.id());
    for index in 0..MAX_PAYMENT_KEYS {
        let now = shop.cloud.runtime.now();
        let key = format!("key-{index}");
        let claim = store.claim_payment(&id, None, Some(&key), payment::LEASE, now);
        let Claim::Held(order, fence) = claim.await.unwrap() else {
            panic!("key {index} is refused")
        };
        let (due, before) = (Released::As(ChargeState::Due), Confirmation::AsBefore);
        let released = store.release_payment(&order, fence, due, before, now);
        released.await.unwrap();
    }
    let body = pays(&shop.order);
    let reply = shop.cloud.post_with_key(PAYMENT, "one-more", &body).await;
    assert_problem(&reply, 409, "too_many_payment_attempts");
    assert!(shop.partner.calls().is_empty());
    // A payment without a key still succeeds.
    assert_eq!(shop.cloud.post(PAYMENT, &body).await.status, 201);
}

#[tokio::test]
async fn an_unanswered_confirmation_may_arrive_for_fifteen_minutes() {
    let partner = PlayedPartner::default();
    let since = Timestamp::from_millis(1_000);
    let request = ChargeRequest {
        invoice: domain::OrderId::from_time(1, [1; 10]).invoice(),
        attempt: 1,
        customer: domain::CustomerId::parse("8080").unwrap(),
        amount: domain::Money::from_stored("200").unwrap(),
        currency: "USD".parse().unwrap(),
        agreement: None,
        replaces: None,
    };
    let reference = partner.open(&request).await.unwrap();
    let charge = OpenCharge {
        request,
        reference,
        opened_at: since,
        partner: Some(partner.name()),
        account: None,
        method: None,
        unanswered_since: Some(since),
    };
    let over = since.plus(Duration::from_mins(15));
    let last = Timestamp::from_millis(over.millis() - 1);
    assert!(charge.confirmation_may_arrive(last));
    assert!(!charge.confirmation_may_arrive(over));
}

#[tokio::test]
async fn an_order_is_swept_at_its_time_and_not_a_millisecond_before() {
    let cloud = Cloud::start().await;
    place(&cloud, &cart_with_checkout()).await;
    cloud.lose_stream();
    cloud.pass(Duration::from_millis(119_999));
    cloud.sweep().await;
    assert!(cloud.queues.take().is_empty());
    cloud.pass(MILLISECOND);
    cloud.sweep().await;
    let published = cloud.queues.take();
    assert_eq!(published.len(), 1, "{published:?}");
    assert_eq!(published[0].0, Queue::Billing);
}

async fn with_a_charge() -> PlayedShop {
    Shop::at(played).cart(cart()).paid().await
}

/// A partner's clock may show two reports with the same second: the one that was requested last
/// wins.
#[tokio::test]
async fn of_two_news_of_a_dispute_at_one_time_the_one_that_comes_last_holds() {
    let shop = with_a_charge().await;
    let (store, id) = (&shop.cloud.store, shop.id());
    let name = PartnerReference::parse("dp_1").unwrap();
    let news = |state, at| Dispute {
        id: None,
        state,
        amount: Money::ZERO,
        at: Timestamp::from_millis(at),
        since: Timestamp::from_millis(0),
    };
    for (state, at, expected) in [
        (DisputeState::Open, 60_000, NotedDispute::New),
        (DisputeState::Lost, 60_000, NotedDispute::Changed),
        (DisputeState::Won, 60_000, NotedDispute::Changed),
        (DisputeState::Lost, 59_999, NotedDispute::Known),
    ] {
        let news = news(state, at);
        let noted = store.note_dispute(&id, "charge_1", &name, &news).await;
        assert_eq!(noted.unwrap(), expected, "{state:?} {at}");
    }
    let order = store.order(&id).await.unwrap().unwrap();
    assert_eq!(order.disputes[0].state, DisputeState::Won);
    // A single dispute is shown alone; the list appears with the second one.
    let shown = shop.shown().await;
    assert_eq!(shown["payment"]["dispute"]["state"], "won", "{shown}");
    assert_eq!(shown["payment"].get("disputes"), None, "{shown}");
    let other = PartnerReference::parse("dp_2").unwrap();
    let open = news(DisputeState::Open, 60_000);
    let noted = store.note_dispute(&id, "charge_1", &other, &open).await;
    assert_eq!(noted.unwrap(), NotedDispute::New);
    let shown = shop.shown().await;
    let disputes = shown["payment"]["disputes"].as_array().map(Vec::len);
    assert_eq!(disputes, Some(2), "{shown}");
}

/// A charge without card details is shown with `null`s; no card is made up.
#[tokio::test]
async fn a_card_that_the_partner_does_not_tell_is_null() {
    let shop = Shop::at(played).invoiced().await;
    shop.partner
        .script([payment::partners::ChargeStatus::Captured(Card::default())]);
    let reply = shop.pay().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(
        reply.body["credit_card"],
        json!({
            "first_name": null, "last_name": null, "first_digits": null, "last_digits": null,
            "brand": null, "expiry_month": null, "expiry_year": null, "customer_id": 8080
        })
    );
}
