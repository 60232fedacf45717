//! Secrets: functions start without them, use them as soon as they are stored, and follow their
//! replacement. Secrets Manager is a double on a real socket, called by the real client.

use std::sync::Arc;
use std::time::Duration;

use domain::PartnerName;
use messages::queue::Queue;
use messages::{Message, MessageKind, PartnerReference};
use payment::partners::{BillingPartner, PayPal, Stripe};
use platform::aws::Aws;
use platform::config::{Authentication, Environment};
use platform::runtime::Runtime;
use platform::secret;
use serde_json::{Value, json};
use service::lambda::Handler;
use shipment::carriers::{Carrier, EasyPost, Own};
use tests::partners::{
    EasyPostDouble, Front, Gate, Mishap, PAYPAL_WEBHOOK_ID, PayPalDouble, SecretMishap,
    SecretsManagerDouble, StripeDouble,
};
use tests::{
    Cloud, EASYPOST_WEBHOOK_SECRET, Options, PlayedQueues, Reply, STRIPE_WEBHOOK_SECRET, invoke,
};
use webhook::{Signers, Webhooks};

use crate::contract::{cart, invoice, payment, shipping, text};
use crate::easypost_webhooks::signed as easypost_signed;
use crate::paypal_webhooks::{Signed, event as paypal_event};
use crate::shop;
use crate::webhooks::{event, signature_with, webhook};

const PARTNER: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:partner-a1b2c3";
const CARRIER: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:carrier-a1b2c3";
const PARTNER_WEBHOOK: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:signed-a1b2";
const CARRIER_WEBHOOK: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:parcel-a1b2";

/// How long a secret without keys is not read again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How long a refused key causes no other read.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// How long keys are used before the secret is read again.
const FRESH: Duration = Duration::from_mins(5);

const SHIP_FROM: &str = r#"{"company":"Shop","street1":"388 Townsend St","city":"San Francisco",
    "state":"CA","zip":"94107","country":"US","phone":"4155550100"}"#;
const PARCEL: &str = r#"{"length":10,"width":8,"height":4,"weight":15.4}"#;

/// A cloud whose functions get their credentials from the double.
struct Shop<P, C = Own> {
    cloud: Cloud<P, C>,
    secrets: SecretsManagerDouble,
    order: String,
}

/// The environment of a function as in the template, with these addresses instead of AWS's and the
/// partner's.
fn variable(aws: &str, partner: &str, billing: &str, name: &str) -> Option<String> {
    let value = match name {
        "AWS_ENDPOINT_URL" => aws,
        "AWS_REGION" => "eu-central-1",
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "played",
        "BILLING_PARTNER" => billing,
        "CARRIER" => "easypost",
        "PARTNER_SECRET_ARN" => PARTNER,
        "CARRIER_SECRET_ARN" => CARRIER,
        "PARTNER_WEBHOOK_SECRET_ARN" => PARTNER_WEBHOOK,
        "CARRIER_WEBHOOK_SECRET_ARN" => CARRIER_WEBHOOK,
        "STRIPE_URL" | "EASYPOST_URL" | "PAYPAL_URL" => partner,
        "SHIP_FROM" => SHIP_FROM,
        "PARCEL" => PARCEL,
        _ => "",
    };
    (!value.is_empty()).then(|| value.to_owned())
}

fn placeholders() -> SecretsManagerDouble {
    let secrets = SecretsManagerDouble::default();
    for arn in [PARTNER, CARRIER, PARTNER_WEBHOOK, CARRIER_WEBHOOK] {
        secrets.put(arn, "REPLACE-ME");
    }
    secrets
}

fn serve(secrets: &SecretsManagerDouble) -> String {
    Front::new(Arc::new(secrets.clone())).serve()
}

async fn stripe_of(secrets: &SecretsManagerDouble, url: &str, runtime: Runtime) -> Stripe {
    let aws = serve(secrets);
    let read = |name: &str| variable(&aws, url, "stripe", name);
    let environment = Environment::new(&read);
    let aws = Aws::from_environment(environment).unwrap();
    Stripe::from_environment(environment, &aws, secret::PARTNER.current, runtime)
        .await
        .expect("it starts without keys")
}

impl<P: BillingPartner, C: Carrier> Shop<P, C> {
    /// With an invoiced order.
    async fn new(cloud: Cloud<P, C>, secrets: SecretsManagerDouble, agreement: Value) -> Self {
        let reply = cloud.post("/api/customer/billing.json", &agreement).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let order = invoiced(&cloud).await;
        Self {
            cloud,
            secrets,
            order,
        }
    }

    async fn pay(&self) -> Reply {
        shop::pay(&self.cloud, &self.order).await
    }

    async fn cancel(&self, order: &str) -> Reply {
        let body = json!({"customerId": "8080", "orderId": order});
        self.cloud.post("/api/order/cancel.json", &body).await
    }

    async fn shown(&self) -> Value {
        self.cloud.get(&self.order).await.body
    }

    fn reads(&self) -> usize {
        self.secrets.read().len()
    }
}

async fn placed<P: BillingPartner, C: Carrier>(cloud: &Cloud<P, C>) -> String {
    shop::place(cloud, &cart()).await
}

async fn invoiced<P: BillingPartner, C: Carrier>(cloud: &Cloud<P, C>) -> String {
    let order = placed(cloud).await;
    let mut body = invoice(&order);
    body["shipping_address"] = "17 Boulevard, Apt 6, Brooklyn, NY 11201".into();
    let reply = cloud.post("/api/order/invoice.json", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    order
}

/// A shop that bills through Stripe's double and has no keys yet.
async fn stripe_shop() -> (Shop<Stripe>, StripeDouble) {
    let cloud = Cloud::start().await;
    let played = StripeDouble::new(cloud.runtime.clone());
    played.attach("cus_played", "pm_card_visa");
    let url = played.front().serve();
    let secrets = placeholders();
    let stripe = stripe_of(&secrets, &url, cloud.runtime.clone()).await;
    let cloud = cloud.redeployed(Options::default(), stripe, Own);
    let agreement = json!({"customerId": "8080", "partner": "stripe",
        "partnerCustomerId": "cus_played", "paymentMethodId": "pm_card_visa"});
    (Shop::new(cloud, secrets, agreement).await, played)
}

fn stripe_keys(key: &str) -> String {
    json!({ "apiKey": key }).to_string()
}

fn assert_not_configured(reply: &Reply, code: &str) {
    assert_eq!((reply.status, reply.code()), (503, code), "{}", reply.text);
    assert!(reply.text.contains("operator"), "{}", reply.text);
    assert_eq!(reply.header("retry-after"), "60");
    for secret in ["arn:", "SECRET", "REPLACE-ME", "canary"] {
        assert!(!reply.text.contains(secret), "{}", reply.text);
    }
}

const NO_PARTNER: &str = "billing_partner_not_configured";
const NO_CARRIER: &str = "carrier_not_configured";

#[tokio::test]
async fn without_keys_a_payment_is_503_and_it_is_made_once_they_are_put_in() {
    let (shop, played) = stripe_shop().await;
    assert_not_configured(&shop.pay().await, NO_PARTNER);
    assert_eq!(shop.shown().await["payment"]["state"], "due");
    // Its message need not become a dead letter: the order stays due, and the sweep publishes it
    // again.
    let due = shop.shown().await["due"].clone();
    shop.cloud.relay_stream().await;
    let messages = shop.cloud.queues.take();
    assert!(!messages.is_empty());
    for (queue, message) in &messages {
        assert_eq!(*queue, Queue::Payment);
        assert!(shop.cloud.deliver(*queue, message).await);
    }
    assert_eq!(shop.shown().await["due"], due);
    // A message that no order remembers is kept.
    let dispute = Message {
        kind: MessageKind::Dispute(
            PartnerName::Stripe,
            PartnerReference::parse("du_1").unwrap(),
        ),
        order: None,
        ..messages[0].1.clone()
    };
    assert!(!shop.cloud.deliver(Queue::Payment, &dispute).await);
    assert!(played.asked().is_empty());

    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    shop.cloud.pass(AFTER_FAILURE);
    assert_eq!(shop.pay().await.status, 201);
    assert_eq!(played.charges().len(), 1);
}

#[tokio::test]
async fn what_needs_no_partner_is_cancelled_without_keys() {
    let (shop, played) = stripe_shop().await;
    let pending = placed(&shop.cloud).await;
    assert_eq!(shop.cancel(&pending).await.status, 200);
    assert_eq!(shop.cancel(&shop.order).await.status, 200);
    assert!(played.asked().is_empty());
}

#[tokio::test]
async fn what_only_the_operator_can_mend_says_so_and_the_rest_says_to_try_again() {
    let (shop, _) = stripe_shop().await;
    for value in [
        "REPLACE-ME",
        " REPLACE-ME\n",
        "",
        "canary",
        "{}",
        r#"{"apiKey":""}"#,
        r#"{"apiKey":"canary"}"#,
        r#"{"apiKey":5}"#,
    ] {
        shop.secrets.put(PARTNER, value);
        shop.cloud.pass(AFTER_FAILURE);
        assert_not_configured(&shop.pay().await, NO_PARTNER);
    }
    for trouble in [SecretMishap::AccessDenied, SecretMishap::DecryptionFailure] {
        shop.secrets.trouble(Some(trouble));
        shop.cloud.pass(AFTER_FAILURE);
        assert_not_configured(&shop.pay().await, NO_PARTNER);
    }
    shop.cloud.pass(AFTER_FAILURE);
    for trouble in [SecretMishap::Throttled, SecretMishap::InternalServiceError] {
        shop.secrets.trouble(Some(trouble));
        let reply = shop.pay().await;
        let got = (reply.status, reply.code());
        assert_eq!(got, (503, "billing_partner_unavailable"), "{trouble:?}");
    }
    // The secret is read again with the next call that needs it.
    shop.secrets.trouble(None);
    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    assert_eq!(shop.pay().await.status, 201);
}

#[tokio::test]
async fn a_secret_without_keys_is_not_read_for_every_call() {
    let (shop, _) = stripe_shop().await;
    let before = shop.reads();
    for _ in 0..50 {
        assert_not_configured(&shop.pay().await, NO_PARTNER);
    }
    assert_eq!(shop.reads(), before);
}

#[tokio::test]
async fn a_key_that_was_rolled_counts_from_the_first_refusal_of_the_old_one() {
    let (shop, played) = stripe_shop().await;
    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    shop.cloud.pass(AFTER_FAILURE);
    assert_eq!(shop.pay().await.status, 201);
    let reads = shop.reads();
    for (rolls, key) in ["sk_test_second", "sk_test_third"].into_iter().enumerate() {
        played.roll_key(key);
        shop.secrets.put(PARTNER, &stripe_keys(key));
        let order = invoiced(&shop.cloud).await;
        let body = payment(&order.replacen("ord_", "inv_", 1));
        let reply = shop.cloud.post("/api/order/payment.json", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        assert_eq!(shop.reads(), reads + 1 + rolls);
        assert_eq!(played.charges().len(), 2 + rolls);
        shop.cloud.pass(AFTER_REFUSAL);
    }
    // It is the same account, so it refunds charges made with another key.
    played.roll_key("sk_test_fourth");
    shop.secrets.put(PARTNER, &stripe_keys("sk_test_fourth"));
    let reply = shop.cancel(&shop.order).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(played.refunds(), 1);
}

#[tokio::test]
async fn a_key_that_stripe_refuses_makes_no_storm_and_leaves_messages_to_the_sweep() {
    let (shop, played) = stripe_shop().await;
    shop.secrets.put(PARTNER, &stripe_keys("sk_test_wrong"));
    shop.cloud.pass(AFTER_FAILURE);
    assert_not_configured(&shop.pay().await, NO_PARTNER);
    let before = shop.reads();
    for _ in 0..50 {
        assert_not_configured(&shop.pay().await, NO_PARTNER);
    }
    assert_eq!(shop.reads(), before);
    shop.cloud.relay_stream().await;
    for (queue, message) in shop.cloud.queues.take() {
        assert!(shop.cloud.deliver(queue, &message).await);
    }
    assert_eq!(shop.shown().await["due"]["step"], "payment");
    assert!(played.charges().is_empty());
}

#[tokio::test]
async fn news_of_a_closed_decline_is_kept_while_there_is_no_key() {
    let (shop, played) = stripe_shop().await;
    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    shop.cloud.pass(AFTER_FAILURE);
    played.attach("cus_played", "pm_card_chargeDeclined");
    let agreement = json!({"customerId": "8080", "partner": "stripe",
        "partnerCustomerId": "cus_played", "paymentMethodId": "pm_card_chargeDeclined"});
    let reply = shop
        .cloud
        .post("/api/customer/billing.json", &agreement)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    shop.cloud.relay_stream().await;
    let messages = shop.cloud.queues.take();
    assert_eq!(shop.pay().await.code(), "payment_declined");
    // The sweep checks once more, and then not before the order expires: only the message knows
    // about the news.
    shop.cloud.pass(Duration::from_mins(3));
    shop.cloud.sweep().await;
    for (queue, message) in shop.cloud.queues.take() {
        shop.cloud.deliver(queue, &message).await;
    }
    shop.cloud.pass(Duration::from_hours(24));
    assert_eq!(shop.cloud.sweep().await.published, 0);
    played.roll_key("sk_test_second");
    let (queue, message) = &messages[0];
    assert_eq!(*queue, Queue::Payment);
    assert!(!shop.cloud.deliver(Queue::Payment, message).await);
    shop.secrets.put(PARTNER, &stripe_keys("sk_test_second"));
    shop.cloud.pass(AFTER_REFUSAL);
    assert!(shop.cloud.deliver(Queue::Payment, message).await);
}

#[tokio::test]
async fn a_new_key_counts_within_minutes_also_while_the_old_one_is_taken() {
    let (shop, played) = stripe_shop().await;
    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    shop.cloud.pass(AFTER_FAILURE);
    assert_eq!(shop.pay().await.status, 201);
    let reads = shop.reads();
    assert_eq!(shop.cancel(&shop.order).await.status, 200);
    assert_eq!(shop.reads(), reads);
    // Whatever keys exist then are used: this one is refused at once.
    shop.secrets.put(PARTNER, &stripe_keys("sk_test_second"));
    shop.cloud.pass(FRESH);
    let next = invoiced(&shop.cloud).await;
    let shop = Shop {
        order: next,
        ..shop
    };
    assert_not_configured(&shop.pay().await, NO_PARTNER);
    played.roll_key("sk_test_second");
    assert_eq!(shop.pay().await.status, 201);
}

#[tokio::test]
async fn while_secrets_manager_is_out_the_keys_that_were_read_go_on_being_used() {
    let (shop, _) = stripe_shop().await;
    shop.secrets
        .put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    shop.cloud.pass(AFTER_FAILURE);
    assert_eq!(shop.pay().await.status, 201);
    for trouble in [
        SecretMishap::Throttled,
        SecretMishap::InternalServiceError,
        SecretMishap::AccessDenied,
    ] {
        shop.secrets.trouble(Some(trouble));
        shop.cloud.pass(FRESH);
        let order = invoiced(&shop.cloud).await;
        let body = payment(&order.replacen("ord_", "inv_", 1));
        let reply = shop.cloud.post("/api/order/payment.json", &body).await;
        assert_eq!(reply.status, 201, "{trouble:?}: {}", reply.text);
    }
    shop.secrets.trouble(None);
    shop.secrets.put(PARTNER, "REPLACE-ME");
    shop.cloud.pass(FRESH);
    assert_eq!(shop.cancel(&shop.order).await.status, 200);
}

#[tokio::test]
async fn a_secret_that_is_not_answered_holds_up_a_call_for_seconds_only() {
    let cloud = Cloud::start().await;
    let played = StripeDouble::new(cloud.runtime.clone());
    played.attach("cus_played", "pm_card_visa");
    let secrets = placeholders();
    secrets.put(PARTNER, &stripe_keys(StripeDouble::api_key()));
    let front = Front::new(Arc::new(secrets.clone()));
    let (aws, url) = (front.serve(), played.front().serve());
    let read = |name: &str| variable(&aws, &url, "stripe", name);
    let environment = Environment::new(&read);
    let aws = Aws::from_environment(environment).unwrap();
    let stripe = Stripe::from_environment(
        environment,
        &aws,
        secret::PARTNER.current,
        cloud.runtime.clone(),
    )
    .await;
    let cloud = cloud.redeployed(Options::default(), stripe.unwrap(), Own);
    let agreement = json!({"customerId": "8080", "partner": "stripe",
        "partnerCustomerId": "cus_played", "paymentMethodId": "pm_card_visa"});
    let shop = Shop::new(cloud, secrets, agreement).await;
    let silence = Gate::default();
    for _ in 0..3 {
        front.plan("POST", "/", Mishap::Held(silence.clone()));
    }
    shop.cloud.pass(FRESH);
    let begun = std::time::Instant::now();
    assert_eq!(shop.pay().await.status, 201);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_replaced_secret_of_the_same_paypal_client_is_the_same_account() {
    let cloud = Cloud::start().await;
    let double = Arc::new(PayPalDouble::new(cloud.runtime.clone()));
    double.vault_card("8kk8451t", []);
    let secrets = placeholders();
    let (aws, url) = (serve(&secrets), Front::new(double.clone()).serve());
    let read = |name: &str| variable(&aws, &url, "paypal", name);
    let environment = Environment::new(&read);
    let aws = Aws::from_environment(environment).unwrap();
    let paypal = PayPal::from_environment(
        environment,
        &aws,
        secret::PARTNER.current,
        cloud.runtime.clone(),
    )
    .await;
    let cloud = cloud.redeployed(Options::default(), paypal.unwrap(), Own);
    let agreement = json!({"customerId": "8080", "partner": "paypal",
        "paymentMethodId": "8kk8451t"});
    let shop = Shop::new(cloud, secrets, agreement).await;
    assert_not_configured(&shop.pay().await, NO_PARTNER);
    let keys = |secret: &str| {
        json!({"clientId": PayPalDouble::CLIENT, "clientSecret": secret}).to_string()
    };
    shop.secrets.put(PARTNER, &keys(PayPalDouble::SECRET));
    shop.cloud.pass(AFTER_FAILURE);
    assert_eq!(shop.pay().await.status, 201);
    // PayPal forgets the old secret and its tokens.
    double.replace_secret("played-second");
    shop.secrets.put(PARTNER, &keys("played-second"));
    let reply = shop.cancel(&shop.order).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(double.taken(), ["200.00 USD"]);
    assert_eq!(double.given_back(), ["200.00 COMPLETED"]);
}

#[tokio::test]
async fn a_shop_without_its_carriers_key_ships_once_it_is_put_in_and_follows_when_it_is_replaced() {
    let cloud = Cloud::start().await;
    let double = EasyPostDouble::new("EZTKplayed");
    let secrets = placeholders();
    let (aws, url) = (
        serve(&secrets),
        Front::new(Arc::new(double.clone())).serve(),
    );
    let read = |name: &str| variable(&aws, &url, "sandbox", name);
    let environment = Environment::new(&read);
    let aws = Aws::from_environment(environment).unwrap();
    let carrier = EasyPost::from_environment(environment, &aws, cloud.runtime.clone()).await;
    let sandbox = payment::partners::Sandbox::new(cloud.runtime.clone());
    let cloud = cloud.redeployed(Options::default(), sandbox, carrier.unwrap());
    let paid = async || {
        let order = invoiced(&cloud).await;
        let body = payment(&order.replacen("ord_", "inv_", 1));
        let reply = cloud.post("/api/order/payment.json", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        order
    };
    let ship = async |order: &str| {
        let mut body = shipping(order);
        body["shipping_address"] = "17 Boulevard, Apt 6, Brooklyn, NY 11201".into();
        cloud.post("/api/order/shipping.json", &body).await
    };
    let order = paid().await;
    assert_not_configured(&ship(&order).await, NO_CARRIER);
    cloud.relay_stream().await;
    for (queue, message) in cloud.queues.take() {
        assert!(cloud.deliver(queue, &message).await || queue == Queue::Payment);
    }
    assert_eq!(cloud.get(&order).await.body["due"]["step"], "shipping");
    let key = |key: &str| json!({ "apiKey": key }).to_string();
    secrets.put(CARRIER, &key("EZTKplayed"));
    cloud.pass(AFTER_FAILURE);
    assert_eq!(ship(&order).await.status, 201);
    double.replace_key("EZTKsecond");
    secrets.put(CARRIER, &key("EZTKsecond"));
    assert_eq!(ship(&paid().await).await.status, 201);
    assert_eq!(double.bought().len(), 2);
    // A key that EasyPost has disabled is the operator's to replace.
    double.replace_key("EZTKthird");
    assert_not_configured(&ship(&paid().await).await, NO_CARRIER);
}

/// The webhook function alone.
struct Ear {
    cloud: Cloud<payment::partners::Sandbox>,
    handler: Handler<Webhooks<PlayedQueues>>,
    secrets: SecretsManagerDouble,
    /// The address of PayPal's certificates.
    url: String,
}

async fn ear(billing: &str) -> Ear {
    let cloud = Cloud::start().await;
    let secrets = placeholders();
    let (aws, url) = (serve(&secrets), cloud.certificates.serve());
    let read = |name: &str| variable(&aws, &url, billing, name);
    let environment = Environment::new(&read);
    let aws = Aws::from_environment(environment).unwrap();
    let signers = Signers::from_environment(environment, &aws, &cloud.runtime).await;
    let (store, queues) = (cloud.store.clone(), cloud.queues.clone());
    let stage = "test".to_owned();
    let signers = signers.expect("it starts without secrets");
    let webhooks = Webhooks::new(store, queues, signers, stage, cloud.runtime.clone());
    Ear {
        handler: Handler::new(webhooks, Authentication::None),
        cloud,
        secrets,
        url,
    }
}

impl Ear {
    async fn hear(&self, request: &Value) -> (u64, String) {
        let answer = invoke(&self.handler, request).await;
        let body: Value = serde_json::from_str(text(&answer["body"])).unwrap();
        let code = body["code"].as_str().unwrap_or_default().to_owned();
        (answer["statusCode"].as_u64().unwrap(), code)
    }

    fn stripe(&self, secret: &str) -> Value {
        let body = event("evt_1", "plan.created", &json!({}));
        let header = signature_with(secret, self.cloud.runtime.now().seconds(), &body);
        webhook("stripe", ("stripe-signature", &header), &body)
    }
}

fn ok() -> (u64, String) {
    (200, String::new())
}

fn unsigned() -> (u64, String) {
    (401, "webhook_signature_invalid".to_owned())
}

#[tokio::test]
async fn webhooks_are_heard_once_their_secret_is_there_and_follow_when_it_is_rolled() {
    let ear = ear("stripe").await;
    let first = json!({"webhookSecret": STRIPE_WEBHOOK_SECRET}).to_string();
    // 503 makes the partner retry.
    let missing = ear.hear(&ear.stripe(STRIPE_WEBHOOK_SECRET)).await;
    assert_eq!(missing, (503, NO_PARTNER.to_owned()));
    ear.secrets.put(PARTNER_WEBHOOK, &first);
    ear.cloud.pass(AFTER_FAILURE);
    assert_eq!(ear.hear(&ear.stripe(STRIPE_WEBHOOK_SECRET)).await, ok());

    let second = json!({"webhookSecret": "whsec_second"}).to_string();
    ear.secrets.put(PARTNER_WEBHOOK, &second);
    assert_eq!(ear.hear(&ear.stripe("whsec_second")).await, ok());
    assert_eq!(
        ear.hear(&ear.stripe(STRIPE_WEBHOOK_SECRET)).await,
        unsigned()
    );
    // Forged webhooks do not cause a read of the secret each time.
    let reads = ear.secrets.read().len();
    for _ in 0..100 {
        assert_eq!(ear.hear(&ear.stripe("whsec_forged")).await, unsigned());
    }
    assert_eq!(ear.secrets.read().len(), reads);
    ear.cloud.pass(AFTER_REFUSAL);
    for _ in 0..100 {
        assert_eq!(ear.hear(&ear.stripe("whsec_forged")).await, unsigned());
    }
    assert_eq!(ear.secrets.read().len(), reads + 1);
}

#[tokio::test]
async fn the_carriers_and_paypals_webhooks_wait_for_their_secrets_and_follow_them() {
    let ear = ear("paypal").await;
    let parcel = || {
        let body = r#"{"id":"evt_1","description":"batch.updated","result":{}}"#;
        easypost_signed(EASYPOST_WEBHOOK_SECRET, body)
    };
    let body = paypal_event("WH-1", "BILLING.PLAN.CREATED", &json!({}));
    let mut signed = Signed::new(ear.cloud.runtime.now(), &body);
    // The function fetches from `PAYPAL_URL`, so certificates must be named there.
    signed.is_at(&ear.url);
    let paypal = || signed.request(&body);
    assert_eq!(ear.hear(&parcel()).await, (503, NO_CARRIER.to_owned()));
    assert_eq!(ear.hear(&paypal()).await, (503, NO_PARTNER.to_owned()));
    let other = json!({"webhookId": "0AB00000AA000000A"}).to_string();
    ear.secrets.put(PARTNER_WEBHOOK, &other);
    let other = json!({"webhookSecret": "another"}).to_string();
    ear.secrets.put(CARRIER_WEBHOOK, &other);
    ear.cloud.pass(AFTER_FAILURE);
    assert_eq!(ear.hear(&parcel()).await, unsigned());
    assert_eq!(ear.hear(&paypal()).await, unsigned());
    ear.cloud.pass(AFTER_REFUSAL);
    let id = json!({"webhookId": PAYPAL_WEBHOOK_ID}).to_string();
    ear.secrets.put(PARTNER_WEBHOOK, &id);
    let secret = json!({"webhookSecret": EASYPOST_WEBHOOK_SECRET}).to_string();
    ear.secrets.put(CARRIER_WEBHOOK, &secret);
    assert_eq!(ear.hear(&parcel()).await, ok());
    assert_eq!(ear.hear(&paypal()).await, ok());
}

#[tokio::test]
async fn the_webhook_function_asks_for_no_other_secret_than_its_own() {
    for (billing, asked) in [
        ("stripe", vec![PARTNER_WEBHOOK, CARRIER_WEBHOOK]),
        ("paypal", vec![PARTNER_WEBHOOK, CARRIER_WEBHOOK]),
        ("sandbox", vec![CARRIER_WEBHOOK]),
    ] {
        assert_eq!(ear(billing).await.secrets.read(), asked, "{billing}");
    }
}
