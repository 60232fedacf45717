//! A customer is charged only with an agreement that is in force.

use std::time::Duration;

use domain::{OrderId, PartnerName};
use payment::partners::Sandbox;
use serde_json::{Value, json};
use store::{Claim, OpenedCharge, Settlement};
use tests::{Cloud, customer_request};

use crate::contract::text;
use crate::errors::{as_customer, assert_problem};
use crate::shop::{PlayedShop, Shop, played};

const AGREEMENT: &str = "/api/customer/billing.json";

pub(crate) fn agreement() -> Value {
    json!({
        "customerId": "8080",
        "partner": "stripe",
        "partnerCustomerId": "cus_OfCustomer8080",
        "paymentMethodId": "pm_FirstCard",
        "name": "Lital Hay"
    })
}

fn with_method(method: &str) -> Value {
    let mut body = agreement();
    body["paymentMethodId"] = method.into();
    body
}

/// An invoiced order at a partner that requires an agreement.
async fn shop() -> PlayedShop {
    let wants_agreement = |runtime| {
        let (client, partner) = played(runtime);
        partner.needs_agreement(PartnerName::Stripe);
        (client, partner)
    };
    Shop::at(wants_agreement).invoiced().await
}

impl PlayedShop {
    /// Opens the charge with `pm_FirstCard`, stores its reference, and dies; its lease ends.
    async fn die_before_confirming(&self) {
        use payment::partners::{BillingPartner, ChargeRequest};
        let (store, now) = (&self.cloud.store, self.cloud.runtime.now());
        let id = OrderId::parse(&self.order).unwrap();
        let claim = store
            .claim_payment(&id, None, None, payment::LEASE, now)
            .await
            .unwrap();
        let Claim::Held(order, fence) = claim else {
            panic!("{claim:?}")
        };
        let request = ChargeRequest {
            invoice: order.id.invoice(),
            attempt: 1,
            customer: order.customer.clone(),
            amount: order.amounts.total,
            currency: order.currency,
            agreement: store
                .approved_agreement(&order.customer, PartnerName::Stripe)
                .await
                .unwrap(),
            replaces: None,
        };
        let reference = self.partner.open(&request).await.unwrap();
        let opened = OpenedCharge {
            reference: &reference,
            partner: self.partner.name(),
            account: self.partner.account(),
            method: request.method(),
            at: now,
        };
        let settlement = store.charge_opened(&id, fence, &opened).await.unwrap();
        assert!(matches!(settlement, Settlement::Written(_)));
        self.cloud.pass(payment::LEASE + Duration::from_secs(1));
    }
}

fn methods(charged: &[(&'static str, Option<String>)]) -> Vec<(&'static str, String)> {
    charged
        .iter()
        .map(|(operation, method)| (*operation, method.clone().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn an_approval_is_201_and_shown_without_its_tokens() {
    let cloud = Cloud::start().await;
    let reply = cloud.post(AGREEMENT, &agreement()).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.header("location"), "/api/customer/8080/billing");
    assert_eq!(
        reply.text,
        r#"{"customerId":"8080","partner":"stripe","status":"approved"}"#
    );
    let repeat = cloud.post(AGREEMENT, &agreement()).await;
    assert_eq!((repeat.status, &repeat.text), (201, &reply.text));

    let paypal = json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": "8kk8451t"});
    assert_eq!(cloud.post(AGREEMENT, &paypal).await.status, 201);
    let shown = cloud.send(&customer_request("GET", "8080", "")).await;
    assert_eq!(
        (shown.status, shown.text.as_str()),
        (
            200,
            "{\"customerId\":\"8080\",\"agreements\":[\
             {\"partner\":\"paypal\",\"status\":\"approved\",\
             \"approvedAt\":\"2026-11-23T10:12:05+00:00\"},\
             {\"partner\":\"stripe\",\"status\":\"approved\",\"name\":\"Lital Hay\",\
             \"approvedAt\":\"2026-11-23T10:12:05+00:00\"}]}"
        )
    );
}

#[tokio::test]
async fn stripe_wants_its_customer_and_paypal_does_not() {
    let cloud = Cloud::start().await;
    let mut body = agreement();
    body.as_object_mut().unwrap().remove("partnerCustomerId");
    let reply = cloud.post(AGREEMENT, &body).await;
    assert_problem(&reply, 422, "invalid_fields");
    assert_eq!(reply.pointers(), ["/partnerCustomerId"]);
    body["partner"] = "paypal".into();
    assert_eq!(cloud.post(AGREEMENT, &body).await.status, 201);
}

#[tokio::test]
async fn a_revoked_agreement_stays_revoked_and_leaves_no_token_behind() {
    let cloud = Cloud::start().await;
    cloud.post(AGREEMENT, &agreement()).await;
    cloud.pass(Duration::from_mins(1));
    let revoked = cloud.send(&customer_request("DELETE", "8080", "")).await;
    assert_eq!(
        (revoked.status, revoked.text.as_str()),
        (
            200,
            "{\"customerId\":\"8080\",\"agreements\":[\
             {\"partner\":\"stripe\",\"status\":\"revoked\",\
             \"approvedAt\":\"2026-11-23T10:12:05+00:00\",\
             \"revokedAt\":\"2026-11-23T10:13:05+00:00\"}]}"
        )
    );
    // A repeat gets the same answer, including the time of the first revocation.
    cloud.pass(Duration::from_mins(1));
    for event in [
        customer_request("DELETE", "8080", "partner=stripe"),
        customer_request("DELETE", "8080", ""),
        customer_request("GET", "8080", ""),
    ] {
        let again = cloud.send(&event).await;
        assert_eq!((again.status, &again.text), (200, &revoked.text));
    }
    let rows = cloud
        .database
        .client
        .query()
        .table_name("CustomersTable")
        .key_condition_expression("customerId = :c")
        .expression_attribute_values(
            ":c",
            aws_sdk_dynamodb::types::AttributeValue::S("8080".to_owned()),
        )
        .send()
        .await
        .unwrap();
    let row = format!("{:?}", rows.items());
    for left in ["pm_FirstCard", "cus_OfCustomer8080", "Lital"] {
        assert!(!row.contains(left), "{row}");
    }
}

#[tokio::test]
async fn one_partner_can_be_revoked_alone_and_a_slip_in_the_query_revokes_nothing() {
    let cloud = Cloud::start().await;
    cloud.post(AGREEMENT, &agreement()).await;
    let paypal = json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": "8kk8451t"});
    cloud.post(AGREEMENT, &paypal).await;
    for (query, pointer) in [
        ("partner=strip", "/partner"),
        ("parnter=stripe", "/parnter"),
        ("partner=stripe&partner=stripe", "/partner"),
        ("partner=stripe&partner=paypal", "/partner"),
    ] {
        let reply = cloud.send(&customer_request("DELETE", "8080", query)).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), [pointer]);
    }
    let one = cloud
        .send(&customer_request("DELETE", "8080", "partner=paypal"))
        .await;
    assert_eq!(one.status, 200, "{}", one.text);
    let shown = cloud.send(&customer_request("GET", "8080", "")).await;
    let states: Vec<_> = shown.body["agreements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| (text(&each["partner"]), text(&each["status"])))
        .collect();
    assert_eq!(states, [("paypal", "revoked"), ("stripe", "approved")]);
}

#[tokio::test]
async fn what_was_never_approved_cannot_be_revoked_and_shows_as_nothing() {
    let cloud = Cloud::start().await;
    for query in ["", "partner=stripe"] {
        let reply = cloud.send(&customer_request("DELETE", "8080", query)).await;
        assert_problem(&reply, 404, "billing_agreement_not_found");
    }
    let shown = cloud.send(&customer_request("GET", "8080", "")).await;
    assert_eq!(
        (shown.status, shown.text.as_str()),
        (200, r#"{"customerId":"8080","agreements":[]}"#)
    );
    let too_long = customer_request("GET", &"8".repeat(65), "");
    assert_problem(&cloud.send(&too_long).await, 404, "customer_not_found");
}

#[tokio::test]
async fn somebody_elses_agreements_read_as_404_and_ones_own_do_not() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.post(AGREEMENT, &agreement()).await.status, 201);
    for event in [
        customer_request("GET", "8080", ""),
        customer_request("DELETE", "8080", ""),
    ] {
        let reply = cloud.send(&as_customer(event, "666")).await;
        assert_problem(&reply, 404, "customer_not_found");
    }
    let shown = cloud
        .send(&as_customer(customer_request("GET", "8080", ""), "8080"))
        .await;
    assert_eq!(shown.body["agreements"][0]["status"], "approved");
    let revoked = cloud
        .send(&as_customer(customer_request("DELETE", "8080", ""), "8080"))
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
}

#[tokio::test]
async fn a_late_repeat_with_its_key_is_answered_and_brings_nothing_back() {
    let cloud = Cloud::start().await;
    let first = cloud.post_with_key(AGREEMENT, "k", &agreement()).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let other = cloud
        .post_with_key(AGREEMENT, "k", &with_method("pm_Other"))
        .await;
    assert_problem(&other, 422, "idempotency_key_reused");
    cloud.send(&customer_request("DELETE", "8080", "")).await;
    let repeat = cloud.post_with_key(AGREEMENT, "k", &agreement()).await;
    assert_eq!((repeat.status, &repeat.text), (201, &first.text));
    assert_eq!(repeat.header("location"), first.header("location"));
    let shown = cloud.send(&customer_request("GET", "8080", "")).await;
    assert_eq!(shown.body["agreements"][0]["status"], "revoked");
    // A new request has a new key.
    cloud.post_with_key(AGREEMENT, "k2", &agreement()).await;
    let shown = cloud.send(&customer_request("GET", "8080", "")).await;
    assert_eq!(shown.body["agreements"][0]["status"], "approved");
}

#[tokio::test]
async fn without_an_agreement_a_payment_is_402_and_the_partner_is_not_asked() {
    let shop = shop().await;
    // An agreement with another partner, or of another customer, does not help either.
    let paypal = json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": "8kk8451t"});
    shop.approve(&paypal).await;
    let mut others = agreement();
    others["customerId"] = "8081".into();
    shop.approve(&others).await;
    for _ in 0..2 {
        let reply = shop.pay().await;
        assert_problem(&reply, 402, "billing_agreement_missing");
        assert_eq!(reply.body["decline_code"], "no_agreement");
        assert_eq!(reply.body["retryable"], true);
        assert_eq!(shop.state().await, "action_required");
    }
    assert!(shop.partner.calls().is_empty());
}

#[tokio::test]
async fn an_approval_lets_the_next_request_charge_its_payment_method() {
    let shop = shop().await;
    assert_eq!(shop.pay().await.status, 402);
    shop.approve(&agreement()).await;
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(
        methods(&shop.partner.charged_by()),
        [
            ("open", "pm_FirstCard".to_owned()),
            ("confirm", "pm_FirstCard".to_owned())
        ]
    );
    assert_eq!(shop.partner.captured().len(), 1);
}

#[tokio::test]
async fn a_later_approval_replaces_the_payment_method() {
    let shop = shop().await;
    shop.approve(&agreement()).await;
    shop.approve(&with_method("pm_SecondCard")).await;
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(
        methods(&shop.partner.charged_by())[0],
        ("open", "pm_SecondCard".to_owned())
    );
}

#[tokio::test]
async fn the_chain_waits_for_an_approval_and_goes_on_by_itself_after_it() {
    let shop = shop().await;
    shop.cloud.settle().await;
    assert_eq!(shop.state().await, "action_required");
    assert!(shop.partner.calls().is_empty());
    // There is still none at the sweep's first check.
    shop.cloud.pass(Duration::from_secs(130));
    shop.cloud.sweep().await;
    shop.cloud.settle().await;
    assert_eq!(shop.state().await, "action_required");

    shop.approve(&agreement()).await;
    shop.cloud.pass(Duration::from_secs(3700));
    shop.cloud.sweep().await;
    shop.cloud.settle().await;
    assert_eq!(shop.cloud.get(&shop.order).await.body["status"], "shipped");
    assert_eq!(shop.partner.captured().len(), 1);
}

#[tokio::test]
async fn a_revoked_agreement_is_not_charged_until_it_is_approved_again() {
    let shop = shop().await;
    shop.approve(&agreement()).await;
    shop.revoke().await;
    assert_problem(&shop.pay().await, 402, "billing_agreement_missing");
    assert!(shop.partner.calls().is_empty());
    shop.approve(&agreement()).await;
    assert_eq!(shop.pay().await.status, 201);
}

#[tokio::test]
async fn a_revocation_between_opening_and_confirming_moves_no_money() {
    let shop = shop().await;
    shop.approve(&agreement()).await;
    shop.die_before_confirming().await;
    shop.revoke().await;
    assert_problem(&shop.pay().await, 402, "billing_agreement_missing");
    assert_eq!(shop.partner.calls(), ["open", "look_up"]);
    assert!(shop.partner.captured().is_empty());

    // After another approval, the charge, which is bound to the first card, is closed, and another
    // one is opened with the second card.
    shop.approve(&with_method("pm_SecondCard")).await;
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(
        shop.partner.calls(),
        ["open", "look_up", "look_up", "cancel", "open", "confirm"]
    );
    assert_eq!(
        methods(&shop.partner.charged_by()),
        [
            ("open", "pm_FirstCard".to_owned()),
            ("open", "pm_SecondCard".to_owned()),
            ("confirm", "pm_SecondCard".to_owned())
        ]
    );
    assert_eq!(shop.partner.captured().len(), 1);
}

#[tokio::test]
async fn money_that_moved_before_a_revocation_is_found_and_the_order_is_paid() {
    let shop = shop().await;
    shop.approve(&agreement()).await;
    shop.partner.lose_answer("confirm");
    assert_eq!(shop.pay().await.code(), "payment_outcome_unknown");
    shop.revoke().await;
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(shop.partner.captured().len(), 1);
}

#[tokio::test]
async fn a_partner_that_wants_an_agreement_costs_one_read_more_and_the_sandbox_none() {
    let shop = shop().await;
    shop.approve(&agreement()).await;
    shop.cloud.database.capacity.reset();
    assert_eq!(shop.pay().await.status, 201);
    let calls = shop.cloud.database.capacity.by_operation();
    let calls: Vec<_> = calls
        .iter()
        .map(|(name, (count, _))| (name.as_str(), *count))
        .collect();
    assert_eq!(calls, [("GetItem", 1), ("UpdateItem", 3)]);
}

#[tokio::test]
async fn an_approval_is_a_read_and_a_write_and_a_key_adds_its_row_before_it() {
    let cloud: Cloud<Sandbox> = Cloud::start().await;
    let calls = || {
        let calls = cloud.database.capacity.by_operation();
        cloud.database.capacity.reset();
        let calls = calls.into_iter().map(|(name, (calls, _))| (name, calls));
        calls.collect::<Vec<_>>()
    };
    let expected = |of: &[(&str, u64)]| {
        let named = of.iter().map(|(name, calls)| ((*name).to_owned(), *calls));
        named.collect::<Vec<_>>()
    };
    calls();
    cloud.post(AGREEMENT, &agreement()).await;
    assert_eq!(calls(), expected(&[("GetItem", 1), ("PutItem", 1)]));
    cloud.post_with_key(AGREEMENT, "k", &agreement()).await;
    assert_eq!(
        calls(),
        expected(&[("GetItem", 1), ("PutItem", 1), ("TransactWriteItems", 1)])
    );
    // A repeat learns the key's use from the write that the key's row refuses.
    cloud.post_with_key(AGREEMENT, "k", &agreement()).await;
    assert_eq!(calls(), expected(&[("PutItem", 1)]));
}

#[tokio::test]
async fn a_write_that_arrives_late_brings_back_no_agreement_and_takes_none_away() {
    for key in [None, Some("k")] {
        let cloud = Cloud::start().await;
        let send = async |body: &Value| match key {
            Some(key) => cloud.post_with_key(AGREEMENT, key, body).await,
            None => cloud.post(AGREEMENT, body).await,
        };
        let status = async || {
            let shown = cloud.send(&customer_request("GET", "8080", "")).await;
            text(&shown.body["agreements"][0]["status"]).to_owned()
        };
        let _ = cloud.database.writes.take();
        assert_eq!(send(&agreement()).await.status, 201);
        let approvals = cloud.database.writes.take();
        let revoked = cloud.send(&customer_request("DELETE", "8080", "")).await;
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        let revocations = cloud.database.writes.take();
        for write in &approvals {
            let _ = cloud.database.arrive_late(write);
            assert_eq!(status().await, "revoked", "{write:?}");
        }
        let again = cloud.post_with_key(AGREEMENT, "again", &agreement()).await;
        assert_eq!(again.status, 201, "{}", again.text);
        for write in &revocations {
            assert!(!cloud.database.arrive_late(write));
            assert_eq!(status().await, "approved", "{write:?}");
        }
    }
}

/// The status of the agreement with Stripe, and its payment method.
async fn standing(cloud: &Cloud<Sandbox>) -> Option<String> {
    let customer = domain::CustomerId::parse("8080").unwrap();
    let agreement = cloud
        .store
        .approved_agreement(&customer, PartnerName::Stripe);
    let method = agreement.await.unwrap()?.payment_method;
    Some(method.as_str().to_owned())
}

/// A write by another request to the agreement with Stripe.
fn beside(expression: &str, values: &Value) -> tests::SentWrite {
    let mut body = json!({
        "TableName": "CustomersTable",
        "Key": {"customerId": {"S": "8080"}, "partner": {"S": "stripe"}},
        "UpdateExpression": expression,
        "ExpressionAttributeNames": {"#state": "state"},
        "ExpressionAttributeValues": {":one": {"N": "1"}}
    });
    for (name, value) in values.as_object().unwrap() {
        body["ExpressionAttributeValues"][name] = value.clone();
    }
    tests::SentWrite::new("UpdateItem", body)
}

fn revoked_beside() -> tests::SentWrite {
    beside(
        "SET #state = :to, revokedAt = :one, version = version + :one \
         REMOVE paymentMethodId, partnerCustomerId",
        &json!({":to": {"S": "revoked"}}),
    )
}

fn approved_beside() -> tests::SentWrite {
    beside(
        "SET #state = :to, paymentMethodId = :method, version = version + :one",
        &json!({":to": {"S": "approved"}, ":method": {"S": "pm_Beside"}}),
    )
}

#[tokio::test]
async fn an_approval_that_is_overtaken_counts_as_the_earlier_one() {
    for key in [None, Some("late")] {
        for (write, left) in [
            (revoked_beside(), None),
            (approved_beside(), Some("pm_Beside")),
        ] {
            let cloud = Cloud::start().await;
            cloud.post(AGREEMENT, &agreement()).await;
            // With a key, the key's row is written first.
            cloud.database.slip_in(usize::from(key.is_some()), write);
            let late = with_method("pm_Late");
            let reply = match key {
                Some(key) => cloud.post_with_key(AGREEMENT, key, &late).await,
                None => cloud.post(AGREEMENT, &late).await,
            };
            assert_eq!(reply.status, 201, "{}", reply.text);
            assert_eq!(standing(&cloud).await.as_deref(), left);
            if let Some(key) = key {
                let again = cloud.post_with_key(AGREEMENT, key, &late).await;
                assert_eq!((again.status, &again.text), (201, &reply.text));
                assert_eq!(standing(&cloud).await.as_deref(), left);
            }
        }
    }
}

#[tokio::test]
async fn a_revocation_takes_back_an_approval_that_comes_beside_it() {
    let cloud = Cloud::start().await;
    cloud.post(AGREEMENT, &agreement()).await;
    cloud.database.slip_in(0, approved_beside());
    let revoked = cloud.send(&customer_request("DELETE", "8080", "")).await;
    assert_eq!(revoked.body["agreements"][0]["status"], "revoked");
    assert_eq!(standing(&cloud).await, None);
}

#[tokio::test]
async fn an_agreement_from_before_versions_is_revoked_and_approved_like_any_other() {
    let cloud = Cloud::start().await;
    let old = || {
        beside(
            "SET #state = :to, paymentMethodId = :method, approvedAt = :one REMOVE version",
            &json!({":to": {"S": "approved"}, ":method": {"S": "pm_Old"}}),
        )
    };
    for _ in 0..2 {
        assert!(cloud.database.arrive_late(&old()));
        assert_eq!(standing(&cloud).await.as_deref(), Some("pm_Old"));
        let revoked = cloud.send(&customer_request("DELETE", "8080", "")).await;
        assert_eq!(revoked.body["agreements"][0]["status"], "revoked");
        assert!(cloud.database.arrive_late(&old()));
        assert_eq!(cloud.post(AGREEMENT, &agreement()).await.status, 201);
        assert_eq!(standing(&cloud).await.as_deref(), Some("pm_FirstCard"));
    }
}
