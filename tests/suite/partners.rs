//! Deployments that change their billing partner: each charge stays with the partner that opened
//! it, and new charges open at the new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use payment::partners::{BillingPartner, PartnerClient, Partners};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::runtime::Runtime;
use serde_json::json;
use tests::partners::{Front, Habits, Mishap, Operation, PayPalDouble, StripeDouble};

use crate::errors::assert_problem;
use crate::paypal_webhooks::{Signed, event as paypal_event};
use crate::sequences::{
    AUTHENTICATES, AtPayPal, AtStripe, CUSTOMER, FIRST, MASTERCARD, POOR, REFUSED, VISA, at_paypal,
    at_stripe, paypal_client, paypal_with, stripe_client, with_paypal, with_stripe,
};
use crate::shop::Shop;
use crate::webhooks::{event as stripe_event, signature, webhook};

/// A shop with both partners configured.
struct Both {
    shop: Shop<PartnerClient, ()>,
    stripe: StripeDouble,
    to_stripe: Front,
    paypal: Arc<PayPalDouble>,
    to_paypal: Front,
}

/// The partner that opens new charges.
#[derive(Clone, Copy, Debug)]
enum Bills {
    Stripe,
    PayPal,
}

impl Both {
    /// The clients; `bills` opens new charges.
    fn partners(&self, bills: Bills) -> Partners<PartnerClient> {
        let runtime = || self.shop.cloud.runtime.clone();
        let stripe = PartnerClient::Stripe(stripe_client(&self.to_stripe, runtime()));
        let paypal = paypal_client(&self.to_paypal, PayPalDouble::CLIENT, runtime());
        let paypal = PartnerClient::PayPal(paypal);
        match bills {
            Bills::Stripe => Partners::from(stripe).and_former(paypal),
            Bills::PayPal => Partners::from(paypal).and_former(stripe),
        }
    }

    fn redeployed(self, bills: Bills) -> Self {
        let partners = self.partners(bills);
        Self {
            shop: self.shop.redeployed_with(partners),
            ..self
        }
    }

    /// The number of captures at each partner.
    fn taken(&self) -> (usize, usize) {
        (self.stripe.captured().len(), self.paypal.taken().len())
    }

    /// The number of refunds at each partner.
    fn given_back(&self) -> (usize, usize) {
        let (stripe, paypal) = (self.stripe.given_back(), self.paypal.given_back());
        (stripe.len(), paypal.len())
    }

    /// The stored partner of the order's charge.
    async fn partner(&self) -> String {
        let item = self.shop.item().await;
        let payment = item["payment"].as_m().unwrap();
        payment["partner"].as_s().unwrap().clone()
    }
}

impl AtStripe {
    /// The shop changes to PayPal and keeps Stripe for its open charges. The customer also has an
    /// agreement with PayPal.
    async fn changed(self) -> Both {
        let both = self.changed_without_agreement();
        both.shop.approve(&with_paypal(FIRST)).await;
        both
    }

    fn changed_without_agreement(self) -> Both {
        let runtime = self.shop.cloud.runtime.clone();
        let (paypal, to_paypal) = paypal_with(runtime.clone(), [], []);
        let current = paypal_client(&to_paypal, PayPalDouble::CLIENT, runtime.clone());
        let former = stripe_client(&self.front, runtime);
        let partners = Partners::from(PartnerClient::PayPal(current));
        let partners = partners.and_former(PartnerClient::Stripe(former));
        Both {
            shop: self.shop.redeployed_with(partners),
            stripe: self.played,
            to_stripe: self.front,
            paypal,
            to_paypal,
        }
    }
}

impl AtPayPal {
    /// The shop changes to Stripe and keeps PayPal for its open charges. The customer also has an
    /// agreement with Stripe.
    async fn changed(self) -> Both {
        let runtime = self.shop.cloud.runtime.clone();
        let stripe = StripeDouble::new(runtime.clone());
        stripe.attach(CUSTOMER, VISA);
        let to_stripe = stripe.front();
        let current = stripe_client(&to_stripe, runtime.clone());
        let former = paypal_client(&self.front, PayPalDouble::CLIENT, runtime);
        let partners = Partners::from(PartnerClient::Stripe(current));
        let partners = partners.and_former(PartnerClient::PayPal(former));
        let both = Both {
            shop: self.shop.redeployed_with(partners),
            stripe,
            to_stripe,
            paypal: self.double,
            to_paypal: self.front,
        };
        both.shop.approve(&with_stripe(VISA)).await;
        both
    }
}

#[tokio::test]
async fn an_open_charge_is_asked_for_and_confirmed_at_its_own_partner_after_a_change() {
    for lost in [Mishap::AnswerLost, Mishap::RequestLost] {
        for by_sweep in [false, true] {
            let at_stripe = at_stripe(VISA).await;
            at_stripe.played.plan(Operation::Confirm, lost.clone());
            assert_eq!(at_stripe.shop.pay_with("k1").await.status, 503);
            let test = at_stripe.changed().await;
            if by_sweep {
                assert_eq!(test.shop.sweep().await, 0);
            } else {
                assert_eq!(test.shop.pay_with("k2").await.status, 201);
            }
            test.shop.assert_paid().await;
            assert_eq!(test.taken(), (1, 0));
            assert_eq!(test.partner().await, "stripe");
            assert!(test.to_paypal.seen().is_empty());
        }
    }
    let at_paypal = at_paypal([], []).await;
    at_paypal.front.plan("POST", "/capture", Mishap::AnswerLost);
    assert_eq!(at_paypal.shop.pay_with("k1").await.status, 503);
    let test = at_paypal.changed().await;
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    test.shop.assert_paid().await;
    assert_eq!(test.taken(), (0, 1));
    assert_eq!(test.partner().await, "paypal");
    assert!(test.to_stripe.seen().is_empty());
}

#[tokio::test]
async fn a_charge_is_given_back_by_the_partner_that_took_it() {
    let at_stripe = at_stripe(VISA).await;
    assert_eq!(at_stripe.shop.pay().await.status, 201);
    at_stripe.shop.cloud.lose_stream();
    let test = at_stripe.changed().await;
    assert_eq!(test.shop.cancel().await.status, 200);
    assert_eq!((test.taken(), test.given_back()), ((1, 0), (1, 0)));
    assert!(test.to_paypal.seen().is_empty());

    let at_paypal = at_paypal([], []).await;
    assert_eq!(at_paypal.shop.pay().await.status, 201);
    at_paypal.shop.cloud.lose_stream();
    let test = at_paypal.changed().await;
    assert_eq!(test.shop.cancel().await.status, 200);
    assert_eq!((test.taken(), test.given_back()), ((0, 1), (0, 1)));
    assert!(test.to_stripe.seen().is_empty());
}

#[tokio::test]
async fn the_attempt_after_a_decline_opens_at_the_new_partner_once_the_old_charge_is_closed() {
    let at_stripe = at_stripe(POOR).await;
    assert_eq!(at_stripe.shop.pay_with("k1").await.status, 402);
    let test = at_stripe.changed().await;
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    test.shop.assert_paid().await;
    assert_eq!(test.taken(), (0, 1));
    assert_eq!(test.partner().await, "paypal");

    // PayPal cannot close an order: the next attempt continues with it until it expires.
    for wait in [Duration::from_mins(1), Habits::default().order_lives] {
        let at_paypal = at_paypal([REFUSED], []).await;
        assert_eq!(at_paypal.shop.pay_with("k1").await.status, 402);
        let test = at_paypal.changed().await;
        test.shop.cloud.pass(wait);
        assert_eq!(test.shop.pay_with("k2").await.status, 201);
        test.shop.assert_paid().await;
        let (taken, partner) = if wait < Habits::default().order_lives {
            ((0, 1), "paypal")
        } else {
            ((1, 0), "stripe")
        };
        assert_eq!((test.taken(), &*test.partner().await), (taken, partner));
    }
}

#[tokio::test]
async fn an_agreement_with_the_old_partner_does_not_count_for_a_new_charge() {
    let test = at_stripe(VISA).await.changed_without_agreement();
    let reply = test.shop.pay_with("k1").await;
    assert_problem(&reply, 402, "billing_agreement_missing");
    assert_eq!(test.taken(), (0, 0));
    test.shop.approve(&with_paypal(FIRST)).await;
    assert_eq!(test.shop.pay_with("k2").await.status, 201);
    assert_eq!(test.taken(), (0, 1));
}

/// Why a charge at the former partner does not continue there.
#[derive(Clone, Copy, Debug)]
enum Stands {
    /// The customer must authenticate and does not.
    ActionRequired,
    /// The customer has revoked the agreement.
    Revoked,
    /// The customer has approved another card.
    OtherCard,
}

#[tokio::test]
async fn a_charge_that_waits_for_its_customer_moves_to_the_new_partner_with_the_customer() {
    for stands in [Stands::ActionRequired, Stands::Revoked, Stands::OtherCard] {
        println!("{stands:?}");
        let at_stripe = match stands {
            Stands::ActionRequired => {
                let test = at_stripe(AUTHENTICATES).await;
                let reply = test.shop.pay_with("k1").await;
                assert_problem(&reply, 402, "payment_action_required");
                test
            }
            Stands::Revoked | Stands::OtherCard => {
                let test = at_stripe(VISA).await;
                test.played.plan(Operation::Confirm, Mishap::RequestLost);
                assert_eq!(test.shop.pay_with("k1").await.status, 503);
                test
            }
        };
        match stands {
            Stands::ActionRequired => {}
            Stands::Revoked => at_stripe.shop.revoke().await,
            Stands::OtherCard => at_stripe.shop.approve(&with_stripe(MASTERCARD)).await,
        }
        let test = at_stripe.changed_without_agreement();
        // Without an agreement with the new partner, the charge stays at the former one.
        let reply = test.shop.pay_with("k2").await;
        assert_eq!(reply.status, 402, "{}", reply.text);
        assert_eq!(test.partner().await, "stripe");
        assert!(test.to_paypal.seen().is_empty());
        test.shop.approve(&with_paypal(FIRST)).await;
        assert_eq!(test.shop.pay_with("k3").await.status, 201);
        test.shop.assert_paid().await;
        assert_eq!(test.taken(), (0, 1));
        assert_eq!(test.partner().await, "paypal");
        let statuses: Vec<_> = test
            .stripe
            .intents()
            .into_iter()
            .map(|each| each.1)
            .collect();
        assert_eq!(statuses, ["canceled"]);
    }
}

/// What happens between a closing that went unanswered and the next worker.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// Nothing: the shop bills at the new partner.
    Nothing,
    /// The shop changes back to the first partner.
    RolledBack,
    /// The customer approves the first card again.
    FirstCard,
}

/// The shop closed the charge to open another one; the customer has declined nothing.
#[tokio::test]
async fn a_charge_whose_closing_went_unanswered_is_replaced_and_never_declined() {
    let whiles = [
        Meanwhile::Nothing,
        Meanwhile::RolledBack,
        Meanwhile::FirstCard,
    ];
    for (meanwhile, by_sweep) in whiles
        .into_iter()
        .flat_map(|each| [(each, false), (each, true)])
    {
        println!("{meanwhile:?} {by_sweep}");
        let at_stripe = at_stripe(VISA).await;
        let (played, approved) = (at_stripe.played.clone(), with_stripe(VISA));
        played.plan(Operation::Confirm, Mishap::RequestLost);
        assert_eq!(at_stripe.shop.pay_with("k1").await.status, 503);
        played.plan(Operation::Cancel, Mishap::AnswerLost);
        let test = match meanwhile {
            Meanwhile::Nothing | Meanwhile::RolledBack => {
                at_stripe.shop.revoke().await;
                let test = at_stripe.changed().await;
                assert_eq!(test.shop.pay_with("k2").await.status, 503);
                test
            }
            Meanwhile::FirstCard => {
                at_stripe.shop.approve(&with_stripe(MASTERCARD)).await;
                assert_eq!(at_stripe.shop.pay_with("k2").await.status, 503);
                let test = at_stripe.changed_without_agreement();
                test.redeployed(Bills::Stripe)
            }
        };
        let taken = match meanwhile {
            Meanwhile::Nothing => (0, 1),
            Meanwhile::RolledBack | Meanwhile::FirstCard => (1, 0),
        };
        let test = match meanwhile {
            Meanwhile::Nothing => test,
            Meanwhile::RolledBack | Meanwhile::FirstCard => {
                let test = test.redeployed(Bills::Stripe);
                test.shop.approve(&approved).await;
                test
            }
        };
        if by_sweep {
            assert_eq!(test.shop.sweep().await, 0);
        } else {
            let reply = test.shop.pay_with("k3").await;
            assert_eq!(reply.status, 201, "{}", reply.text);
        }
        test.shop.assert_paid().await;
        assert_eq!(test.taken(), taken);
        assert_eq!(test.stripe.intents()[0].1, "canceled");
    }
}

/// A shop that changed from Stripe to `PayPal` and back while a customer was to confirm. Neither
/// partner has charged.
async fn rolled_back() -> Both {
    let at_stripe = at_stripe(AUTHENTICATES).await;
    assert_eq!(at_stripe.shop.pay_with("k1").await.status, 402);
    let test = at_stripe.changed().await;
    test.to_paypal.plan("POST", "/capture", Mishap::RequestLost);
    assert_eq!(test.shop.pay_with("k2").await.status, 503);
    assert_eq!(test.partner().await, "paypal");
    // PayPal's order expires, and the customer revokes the agreement.
    test.shop.cloud.pass(Habits::default().order_lives);
    test.shop.revoke().await;
    test.redeployed(Bills::Stripe)
}

/// An attempt that returns to a partner must not get the charge that was closed there.
#[tokio::test]
async fn a_change_that_is_rolled_back_opens_another_charge_also_for_the_same_method() {
    let test = rolled_back().await;
    test.shop.approve(&with_stripe(AUTHENTICATES)).await;
    let reply = test.shop.pay_with("k3").await;
    assert_eq!(reply.status, 402, "{}", reply.text);
    let intents = test.stripe.intents();
    let is_closed: Vec<_> = intents.iter().map(|each| each.1 == "canceled").collect();
    assert_eq!(is_closed, [true, false], "{intents:?}");
}

#[tokio::test]
async fn a_change_that_is_rolled_back_opens_another_charge_at_the_first_partner() {
    let test = rolled_back().await;
    test.stripe.attach(CUSTOMER, VISA);
    test.shop.approve(&with_stripe(VISA)).await;
    assert_eq!(test.shop.pay_with("k3").await.status, 201);
    test.shop.assert_paid().await;
    assert_eq!(test.taken(), (1, 0));
    let statuses: Vec<_> = test
        .stripe
        .intents()
        .into_iter()
        .map(|each| each.1)
        .collect();
    assert_eq!(statuses, ["canceled", "succeeded"]);
    let test = test.redeployed(Bills::PayPal);
    assert_eq!(test.shop.pay_with("k3").await.status, 201);
    assert_eq!(test.taken(), (1, 0));
}

#[tokio::test]
async fn webhooks_of_both_partners_are_heard_and_a_dispute_is_asked_for_where_it_is() {
    let at_stripe = at_stripe(VISA).await;
    assert_eq!(at_stripe.shop.pay().await.status, 201);
    at_stripe.shop.cloud.lose_stream();
    let test = at_stripe.changed().await;
    test.stripe.dispute();
    let dispute = json!({"id": test.stripe.disputes()[0], "object": "dispute"});
    let body = stripe_event("evt_1", "charge.dispute.created", &dispute);
    let now = test.shop.cloud.runtime.now();
    let header = signature(now.seconds(), &body);
    let request = webhook("stripe", ("stripe-signature", &header), &body);
    assert_eq!(test.shop.cloud.send(&request).await.status, 200);
    test.shop.cloud.settle().await;
    assert_eq!(
        test.shop.shown().await["payment"]["dispute"]["state"],
        "open"
    );
    assert!(test.to_paypal.seen().is_empty());

    let body = paypal_event("WH-1", "PAYMENT.CAPTURE.COMPLETED", &json!({"id": "1"}));
    let request = Signed::new(now, &body).request(&body);
    assert_eq!(test.shop.cloud.send(&request).await.status, 200);

    let at_paypal = at_paypal([], []).await;
    assert_eq!(at_paypal.shop.pay().await.status, 201);
    at_paypal.shop.cloud.lose_stream();
    let test = at_paypal.changed().await;
    test.paypal.dispute();
    let dispute = json!({"dispute_id": test.paypal.disputes()[0]});
    let body = paypal_event("WH-2", "CUSTOMER.DISPUTE.CREATED", &dispute);
    let request = Signed::new(test.shop.cloud.runtime.now(), &body).request(&body);
    assert_eq!(test.shop.cloud.send(&request).await.status, 200);
    test.shop.cloud.settle().await;
    assert_eq!(
        test.shop.shown().await["payment"]["dispute"]["state"],
        "open"
    );
    assert!(test.to_stripe.seen().is_empty());
}

/// Rewrites the order's item as an earlier version would have written it.
async fn rewrite<P: BillingPartner>(
    shop: &Shop<P, ()>,
    change: impl FnOnce(&mut HashMap<String, AttributeValue>),
) {
    let mut item = shop.item().await;
    let Some(AttributeValue::M(payment)) = item.get_mut("payment") else {
        panic!("the order has no payment");
    };
    change(payment);
    let put = shop.cloud.database.client.put_item();
    let put = put.table_name("OrdersTable").set_item(Some(item));
    put.send().await.unwrap();
}

#[tokio::test]
async fn a_charge_of_an_earlier_version_is_where_its_account_or_reference_proves() {
    // The attributes that the earlier version did not write.
    for absent in [&["partner"][..], &["partner", "account"]] {
        let at_stripe = at_stripe(VISA).await;
        assert_eq!(at_stripe.shop.pay().await.status, 201);
        at_stripe.shop.cloud.lose_stream();
        let test = at_stripe.changed().await;
        rewrite(&test.shop, |payment| {
            payment.retain(|name, _| !absent.contains(&name.as_str()));
        })
        .await;
        assert_eq!(test.shop.cancel().await.status, 200, "{absent:?}");
        assert_eq!(test.given_back(), (1, 0));
        assert!(test.to_paypal.seen().is_empty());
    }
    // PayPal's references prove nothing: without an account, such a charge belongs to the
    // configured partner.
    let at_paypal = at_paypal([], []).await;
    assert_eq!(at_paypal.shop.pay().await.status, 201);
    at_paypal.shop.cloud.lose_stream();
    let test = at_paypal.changed().await.redeployed(Bills::PayPal);
    rewrite(&test.shop, |payment| {
        payment.retain(|name, _| name != "partner" && name != "account");
    })
    .await;
    assert_eq!(test.shop.cancel().await.status, 200);
    assert_eq!(test.given_back(), (0, 1));
}

#[tokio::test]
async fn a_charge_at_a_partner_that_this_version_does_not_know_is_asked_for_at_none() {
    let test = at_stripe(VISA).await;
    assert_eq!(test.shop.pay().await.status, 201);
    test.shop.cloud.lose_stream();
    let asked = test.front.seen().len();
    rewrite(&test.shop, |payment| {
        payment.remove("partner");
        let account = AttributeValue::S("square:0123456789abcdef".to_owned());
        payment.insert("account".to_owned(), account);
    })
    .await;
    let reply = test.shop.cancel().await;
    assert_problem(&reply, 503, "billing_partner_not_configured");
    assert_eq!(test.front.seen().len(), asked);
}

/// Builds the partners of a deployment with these variables, current first.
async fn deployed(given: &[(&str, &str)]) -> Result<(), ConfigError> {
    let variable = |name: &str| {
        let aws = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let mut given = given.iter();
        let value = given.find(|(given, _)| *given == name).map(|each| each.1);
        value
            .or_else(|| aws.contains(&name).then_some("x"))
            .map(str::to_owned)
    };
    let environment = Environment::new(&variable);
    let aws = Aws::from_environment(environment).unwrap();
    let runtime = Runtime::system();
    let partners = Partners::from_environment(environment, &aws, &runtime);
    partners.await.map(drop)
}

#[tokio::test]
async fn a_deployment_names_its_former_partner_and_keeps_its_keys() {
    let stripe = r#"{"apiKey":"sk_canary"}"#;
    let paypal = r#"{"clientId":"canary","clientSecret":"canary"}"#;
    let both = r#"{"apiKey":"sk_canary","clientId":"canary","clientSecret":"canary"}"#;
    let (current, former) = ("BILLING_PARTNER", "FORMER_BILLING_PARTNER");
    let (secret, own) = ("PARTNER_SECRET", "FORMER_PARTNER_SECRET");
    for good in [
        &[(current, "sandbox")][..],
        &[(current, "paypal"), (former, ""), (secret, paypal)],
        &[(current, "paypal"), (former, "stripe"), (secret, both)],
        &[
            (current, "stripe"),
            (former, "paypal"),
            (secret, stripe),
            (own, paypal),
        ],
        &[(current, "stripe"), (former, "sandbox"), (secret, stripe)],
        &[(current, "sandbox"), (former, "stripe"), (secret, stripe)],
    ] {
        assert!(deployed(good).await.is_ok(), "{good:?}");
    }
    for (bad, named) in [
        (&[(current, "square")][..], current),
        (
            &[(current, "stripe"), (former, "square"), (secret, both)],
            former,
        ),
        (
            &[(current, "stripe"), (former, "stripe"), (secret, both)],
            former,
        ),
        (
            &[(current, "stripe"), (former, "paypal"), (secret, stripe)],
            secret,
        ),
        (
            &[
                (current, "stripe"),
                (former, "paypal"),
                (secret, both),
                (own, stripe),
            ],
            own,
        ),
    ] {
        let error = deployed(bad).await.unwrap_err();
        let (ConfigError::Missing(name) | ConfigError::Wrong { name, .. }) = &error;
        assert_eq!(*name, named, "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}
