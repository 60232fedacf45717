//! The customer's next action: the answer names it, and once the customer takes it at the partner,
//! the payment completes without another request.

use std::time::Duration;

use payment::partners::{BillingPartner, Partners};
use platform::aws::Aws;
use platform::config::Environment;
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{Mishap, Operation, Outcome, PayPalDouble, PayPalOutcome};
use tests::{Cloud, Reply, question, request};

use crate::contract::{cart_with_checkout, text};
use crate::errors::{as_customer, assert_problem};
use crate::paypal_webhooks::{Signed, event as paypal_event};
use crate::privacy::Log;
use crate::sequences::{
    AUTHENTICATES, AtPayPal, AtStripe, FIRST, VISA, at_paypal, at_stripe, paypal_client,
    stripe_client,
};
use crate::shop::{self, Shop};
use crate::webhooks::{event as stripe_event, signature, webhook};

const RETURN_URL: &str = "https://shop.example/paid";

impl AtStripe {
    /// The same shop, whose customers return to its own page.
    fn returning(self) -> Self {
        let client = stripe_client(&self.front, self.shop.cloud.runtime.clone());
        let client = client.returning_to(RETURN_URL.parse().ok());
        Self {
            shop: self.shop.redeployed(client),
            ..self
        }
    }

    /// Stripe reports the payment; the chain does the rest.
    async fn tell_and_settle(&self, kind: &str) {
        let intent = json!({"id": "pi_1", "object": "payment_intent",
            "metadata": {"order_id": self.shop.order}});
        let body = stripe_event("evt_1", kind, &intent);
        let header = signature(self.shop.cloud.runtime.now().seconds(), &body);
        let request = webhook("stripe", ("stripe-signature", &header), &body);
        assert_eq!(self.shop.cloud.send(&request).await.status, 200);
        self.shop.cloud.settle().await;
    }
}

async fn pay_as_customer<P: BillingPartner>(shop: &Shop<P, ()>) -> Reply {
    let event = request("/api/order/payment.json", &shop::payment(&shop.order));
    shop.cloud.send(&as_customer(event, "8080")).await
}

/// The next action in the answer to a payment and in GET, as shown to the back end and to the
/// customer.
async fn shown<P: BillingPartner>(shop: &Shop<P, ()>) -> [Value; 4] {
    let paid = shop.pay().await;
    assert_problem(&paid, 402, "payment_action_required");
    let paid_by_customer = pay_as_customer(shop).await;
    assert_problem(&paid_by_customer, 402, "payment_action_required");
    let own = as_customer(question(&shop.order), "8080");
    let own = shop.cloud.send(&own).await;
    [
        paid.body["nextAction"].clone(),
        shop.shown().await["payment"]["nextAction"].clone(),
        paid_by_customer.body["nextAction"].clone(),
        own.body["payment"]["nextAction"].clone(),
    ]
}

/// Checks that the order is shipped and shows no action for the customer.
async fn assert_shipped<P: BillingPartner>(shop: &Shop<P, ()>) {
    shop.assert_paid().await;
    assert!(shop.shown().await["payment"]["nextAction"].is_null());
    let item = shop.item().await;
    assert!(!item["payment"].as_m().unwrap().contains_key("nextAction"));
}

#[tokio::test]
async fn a_customer_who_must_authenticate_is_sent_to_the_bank_and_the_order_ships_from_there() {
    for by_webhook in [true, false] {
        let test = at_stripe(AUTHENTICATES).await.returning();
        let log = Log::default();
        let listens = log.listen();
        let [answered, got, answered_customer, got_customer] = shown(&test.shop).await;
        drop(listens);
        assert_eq!(answered, got);
        assert_eq!(answered["type"], "redirect");
        let url = text(&answered["redirectUrl"]);
        assert!(url.starts_with("https://hooks.stripe.com/"), "{url}");
        let secret = text(&answered["clientSecret"]);
        assert!(secret.contains("_secret_"), "{secret}");
        // With the customer's own token, only the page is shown.
        let page = json!({"type": "redirect", "redirectUrl": url});
        assert_eq!((&answered_customer, &got_customer), (&page, &page));
        for hidden in [url, secret] {
            assert!(!log.text().contains(hidden), "{hidden}");
        }
        assert_eq!(test.intents(), ["requires_action"]);
        assert!(test.played.captured().is_empty());
        // Another request creates no other page.
        assert_eq!(test.shop.sweep().await, 0);
        assert_eq!(test.shop.shown().await["payment"]["nextAction"], got);

        test.played.authenticate(true);
        if by_webhook {
            test.tell_and_settle("payment_intent.succeeded").await;
        } else {
            test.shop.sweep().await;
        }
        assert_shipped(&test.shop).await;
        assert_eq!(test.played.charged_methods(), [AUTHENTICATES]);
    }
}

#[tokio::test]
async fn a_customer_whom_the_bank_does_not_recognize_is_declined_and_may_pay_by_another_attempt() {
    let test = at_stripe(AUTHENTICATES).await.returning();
    assert_problem(
        &test.shop.pay_with("k1").await,
        402,
        "payment_action_required",
    );
    test.played.authenticate(false);
    test.tell_and_settle("payment_intent.payment_failed").await;
    let shown = test.shop.shown().await;
    assert_eq!(shown["payment"]["state"], "declined");
    assert_eq!(
        shown["payment"]["declineCode"],
        "payment_intent_authentication_failure"
    );
    assert!(shown["payment"]["nextAction"].is_null());
    assert_eq!(test.intents(), ["canceled"]);
    // The next attempt has its own page.
    let reply = test.shop.pay_with("k2").await;
    assert_problem(&reply, 402, "payment_action_required");
    test.played.authenticate(true);
    test.shop.sweep().await;
    assert_shipped(&test.shop).await;
    assert_eq!(test.played.captured().len(), 1);
}

#[tokio::test]
async fn without_a_return_address_the_shops_page_confirms_by_the_client_secret() {
    let test = at_stripe(AUTHENTICATES).await;
    let [answered, got, answered_customer, got_customer] = shown(&test.shop).await;
    assert_eq!(answered, got);
    assert_eq!(answered["type"], "confirm");
    assert!(text(&answered["clientSecret"]).contains("_secret_"));
    assert!(answered["redirectUrl"].is_null());
    assert!(answered_customer.is_null() && got_customer.is_null());
    test.pay_on_page();
    test.shop.sweep().await;
    assert_shipped(&test.shop).await;
}

#[tokio::test]
async fn a_card_that_needs_no_customer_after_all_is_charged_at_once() {
    let test = at_stripe(AUTHENTICATES).await;
    assert_problem(
        &test.shop.pay_with("k1").await,
        402,
        "payment_action_required",
    );
    let succeeds = Outcome::Succeeds;
    test.played
        .change(AUTHENTICATES, |method| method.outcome = succeeds);
    let test = test.returning();
    assert_eq!(test.shop.pay_with("k1").await.status, 201);
    assert_shipped(&test.shop).await;
    assert_eq!(test.played.charged_methods(), [AUTHENTICATES]);
}

#[tokio::test]
async fn a_bank_page_whose_answer_was_lost_is_found_by_the_next_look() {
    for lost in [Mishap::AnswerLost, Mishap::RequestLost] {
        let test = at_stripe(AUTHENTICATES).await;
        assert_problem(
            &test.shop.pay_with("k1").await,
            402,
            "payment_action_required",
        );
        let test = test.returning();
        test.played.plan(Operation::Confirm, lost);
        let reply = test.shop.pay_with("k1").await;
        assert_problem(&reply, 402, "payment_action_required");
        assert!(reply.body["nextAction"].is_null(), "{}", reply.text);
        assert_eq!(test.shop.sweep().await, 0);
        let action = &test.shop.shown().await["payment"]["nextAction"];
        assert_eq!(action["type"], "redirect");
        test.played.authenticate(true);
        test.shop.sweep().await;
        assert_shipped(&test.shop).await;
        assert_eq!(test.played.captured().len(), 1);
    }
}

#[tokio::test]
async fn a_customer_who_has_revoked_gets_no_page_and_is_not_charged() {
    let test = at_stripe(AUTHENTICATES).await;
    assert_problem(
        &test.shop.pay_with("k1").await,
        402,
        "payment_action_required",
    );
    test.shop.revoke().await;
    let test = test.returning();
    let reply = test.shop.pay_with("k2").await;
    assert_problem(&reply, 402, "billing_agreement_missing");
    assert!(test.shop.shown().await["payment"]["nextAction"].is_null());
    assert_eq!(test.intents(), ["requires_payment_method"]);
}

impl AtPayPal {
    fn returning(self) -> Self {
        let runtime = self.shop.cloud.runtime.clone();
        let client = paypal_client(&self.front, PayPalDouble::CLIENT, runtime);
        let client = client.returning_to(RETURN_URL.parse().ok());
        Self {
            shop: self.shop.redeployed(client),
            ..self
        }
    }
}

#[tokio::test]
async fn a_payer_who_must_act_is_sent_to_paypal_and_the_order_ships_from_there() {
    for by_webhook in [true, false] {
        let test = at_paypal([PayPalOutcome::PayerMustAct], [])
            .await
            .returning();
        let [answered, got, answered_customer, got_customer] = shown(&test.shop).await;
        assert_eq!(answered["type"], "redirect");
        let url = text(&answered["redirectUrl"]);
        assert!(url.starts_with("https://www.sandbox.paypal.com/checkoutnow?token="));
        for other in [&got, &answered_customer, &got_customer] {
            assert_eq!(*other, answered);
        }
        test.double.payers_act();
        if by_webhook {
            let invoice = test.shop.order.replacen("ord_", "inv_", 1);
            let order = json!({"id": "5O190127TN364715T",
                "purchase_units": [{"reference_id": "default", "custom_id": invoice}]});
            let body = paypal_event("WH-1", "CHECKOUT.ORDER.APPROVED", &order);
            let request = Signed::new(test.shop.cloud.runtime.now(), &body).request(&body);
            assert_eq!(test.shop.cloud.send(&request).await.status, 200);
            test.shop.cloud.settle().await;
        } else {
            test.shop.sweep().await;
        }
        assert_shipped(&test.shop).await;
        assert_eq!(test.double.taken(), ["200.00 USD"]);
        assert_eq!(test.double.charged_tokens(), [FIRST]);
        // After the payer's approval, the capture names no source.
        let seen = test.front.seen();
        let mut captures = seen.iter().filter(|each| each.path.ends_with("/capture"));
        let last: Value = serde_json::from_slice(&captures.next_back().unwrap().body).unwrap();
        assert_eq!(last, json!({}));
        let opened = seen.iter().find(|each| each.path == "/v2/checkout/orders");
        let opened: Value = serde_json::from_slice(&opened.unwrap().body).unwrap();
        assert_eq!(opened["application_context"]["return_url"], RETURN_URL);
        assert_eq!(opened["application_context"]["cancel_url"], RETURN_URL);
    }
}

#[tokio::test]
async fn the_sandbox_shows_a_customer_who_must_act_and_one_who_does() {
    for (customer, ends) in [
        ("sandbox-action-required", "invoiced"),
        ("sandbox-acts-later", "shipped"),
    ] {
        let cloud = Cloud::start().await;
        let mut cart = cart_with_checkout();
        cart["customerId"] = customer.into();
        let order = shop::place(&cloud, &cart).await;
        cloud.settle().await;
        let shown = cloud.get(&order).await.body;
        assert_eq!(shown["payment"]["state"], "action_required");
        let action = &shown["payment"]["nextAction"];
        assert_eq!(action["type"], "redirect");
        assert!(text(&action["redirectUrl"]).starts_with("https://sandbox.invalid/"));
        cloud.pass(Duration::from_mins(10));
        cloud.sweep().await;
        cloud.settle().await;
        assert_eq!(cloud.get(&order).await.body["status"], ends);
    }
}

#[tokio::test]
async fn a_partner_that_shows_no_page_leaves_the_customer_without_one() {
    let test = at_stripe(AUTHENTICATES).await;
    test.played.plan(Operation::LookUp, Mishap::RequestLost);
    let reply = test.shop.pay_with("k1").await;
    assert_problem(&reply, 402, "payment_action_required");
    assert!(reply.body["nextAction"].is_null());
    assert_eq!(test.shop.sweep().await, 0);
    assert_eq!(
        test.shop.shown().await["payment"]["nextAction"]["type"],
        "confirm"
    );
}

#[tokio::test]
async fn customers_come_back_to_an_address_that_browsers_trust() {
    for (url, starts) in [
        (RETURN_URL, true),
        ("", true),
        ("http://shop.example", false),
    ] {
        let variable = |name: &str| match name {
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
            "BILLING_PARTNER" => Some("stripe".to_owned()),
            "PARTNER_SECRET" => Some(r#"{"apiKey":"sk_x"}"#.to_owned()),
            "PAYMENT_RETURN_URL" => Some(url.to_owned()),
            _ => None,
        };
        let environment = Environment::new(&variable);
        let aws = Aws::from_environment(environment).unwrap();
        let runtime = Runtime::system();
        let partners = Partners::from_environment(environment, &aws, &runtime).await;
        assert_eq!(partners.is_ok(), starts, "{url}");
    }
    // Another card that needs no confirmation redirects to no page.
    let test = at_stripe(VISA).await.returning();
    assert_eq!(test.shop.pay().await.status, 201);
}
