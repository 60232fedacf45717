//! The services, wired as the template wires them.

use std::num::NonZeroU32;

use billing::Billing;
use cart::Cart;
use customer::Customers;
use domain::CarrierName;
use email::Emails;
use email::mailer::Mailer;
use email::pace::Pace;
use lambda_runtime::{Context, LambdaEvent};
use messages::queue::{EventQueue, Queue};
use order::Orders;
use payment::Payments;
use payment::partners::{BillingPartner, Partners};
use platform::config::Authentication;
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::Keys;
use relay::Relay;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use service::http::Route;
use service::lambda::{EventError, Function, Handler};
use shipment::Shipments;
use shipment::carriers::Carrier;
use store::Store;
use webhook::{PayPalSigner, Signers, Webhooks};

use crate::cloud::Options;
use crate::openapi::OpenApi;
use crate::partners::{Front, PAYPAL_WEBHOOK_ID};

/// The secret with which Stripe signs webhooks in every test.
pub const STRIPE_WEBHOOK_SECRET: &str = "whsec_test_secret";

/// The secret with which EasyPost signs webhooks in every test.
pub const EASYPOST_WEBHOOK_SECRET: &str = "easypost-test-secret";

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u64,
    /// The headers; names in lower case.
    pub headers: Value,
    /// The body's exact text.
    pub text: String,
    /// The body, parsed.
    pub body: Value,
}

impl Reply {
    /// A header's value, or an empty text if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }

    /// The problem's code, or an empty text if there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The pointers of all reported fields.
    #[must_use]
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .collect()
    }
}

/// The external services of the functions, except the database.
#[derive(Clone, Debug)]
pub struct Ends<P, C, Q, M> {
    /// The billing partners.
    pub partners: Partners<P>,
    /// The carrier.
    pub carrier: C,
    /// The queues.
    pub queues: Q,
    /// The mailer.
    pub mailer: M,
    /// The server of PayPal's certificate.
    pub certificates: Front,
}

/// One instance of each function.
#[derive(Debug)]
pub struct Services<P, C, Q, M> {
    cart: Handler<Cart>,
    billing: Handler<Billing>,
    payment: Handler<Payments<P>>,
    shipment: Handler<Shipments<C, Q>>,
    email: Handler<Emails<M>>,
    order: Handler<Orders>,
    customer: Handler<Customers>,
    webhook: Handler<Webhooks<Q>>,
    /// The stream's consumer and the sweep.
    pub relay: Relay<Q>,
}

impl<P, C, Q, M> Services<P, C, Q, M>
where
    P: BillingPartner,
    C: Carrier,
    Q: EventQueue + Clone + 'static,
    M: Mailer,
{
    /// Wires the services over one store.
    pub fn new(store: &Store, options: Options, runtime: &Runtime, ends: Ends<P, C, Q, M>) -> Self {
        let Ends {
            partners,
            carrier,
            queues,
            mailer,
            certificates,
        } = ends;
        let (shop, unpaid) = (options.shop(), options.unpaid);
        let stage = || "test".to_owned();
        let mailer = store.sends_mails().then_some(mailer);
        let (store, clock) = (|| store.clone(), || runtime.clone());
        let jwt = || Authentication::Jwt {
            backend_scope: "orderflow/backend".parse().expect("a test's scope is one"),
            customer_claim: "sub".to_owned(),
        };
        let payments = Payments::new(store(), partners, shop, stage(), clock());
        let payments = payments.expiring(unpaid);
        // A test's own carrier accepts the same recipients as the shop's.
        let ships = carrier.name().parse().unwrap_or(CarrierName::Own);
        let cart = Cart::new(store(), shop, clock());
        let billing = Billing::new(store(), shop, clock());
        let shipments = Shipments::new(store(), carrier, queues.clone(), clock());
        let shipments = shipments.mailing(options.tracking_mails);
        let certificates =
            Https::with_connector(certificates.connector(), "https://api.paypal.com");
        let signers = Signers {
            stripe: Some(Keys::fixed(Secret::new(STRIPE_WEBHOOK_SECRET))),
            paypal: Some(PayPalSigner::new(
                Keys::fixed(Secret::new(PAYPAL_WEBHOOK_ID)),
                certificates,
                clock(),
            )),
            easypost: Some(Keys::fixed(Secret::new(EASYPOST_WEBHOOK_SECRET))),
        };
        let webhooks = Webhooks::new(store(), queues.clone(), signers, stage(), clock());
        Self {
            cart: Handler::new(cart.shipping_with(ships), jwt()),
            billing: Handler::new(billing.shipping_with(ships), jwt()),
            payment: Handler::new(payments, jwt()),
            shipment: Handler::new(shipments, jwt()),
            email: Handler::new(
                Emails::new(store(), mailer, unlimited_pace(), stage(), clock()),
                jwt(),
            ),
            order: Handler::new(Orders::new(store(), clock()), jwt()),
            customer: Handler::new(Customers::new(store(), clock()), jwt()),
            webhook: Handler::new(webhooks, jwt()),
            relay: Relay::new(store(), queues, stage(), clock()).expiring(unpaid),
        }
    }

    /// Passes an API Gateway v2 event to the function of its route, or to some function if it has
    /// none. The description of the API must allow the exchange.
    pub async fn send(&self, event: &Value) -> Reply {
        let method = event["requestContext"]["http"]["method"].as_str();
        let path = event["rawPath"].as_str();
        let mut all = Route::ALL.into_iter();
        let route = Route::at(method.unwrap_or_default(), path.unwrap_or_default())
            .or_else(|| all.find(|route| event["routeKey"] == route.key()));
        let answer = match route {
            Some(Route::Cart) => invoke(&self.cart, event).await,
            Some(Route::Invoice) => invoke(&self.billing, event).await,
            Some(Route::Payment | Route::Cancel | Route::Refund) => {
                invoke(&self.payment, event).await
            }
            Some(Route::Shipping) => invoke(&self.shipment, event).await,
            Some(Route::Email) => invoke(&self.email, event).await,
            Some(Route::Approval | Route::Agreements | Route::Revocation) => {
                invoke(&self.customer, event).await
            }
            Some(Route::Webhook) => invoke(&self.webhook, event).await,
            Some(Route::Order | Route::Orders | Route::Health) | None => {
                invoke(&self.order, event).await
            }
        };
        let text = answer["body"].as_str().unwrap_or_default().to_owned();
        let reply = Reply {
            status: answer["statusCode"].as_u64().unwrap_or_default(),
            headers: answer["headers"].clone(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        };
        OpenApi::get().assert_allows(event, &reply);
        reply
    }

    /// Passes any event to a function by its name.
    pub async fn handle(&self, function: &str, event: &Value) -> Result<Value, EventError> {
        let event = lambda_event(event);
        let answer = match function {
            "cart" => self.cart.handle(event).await,
            "billing" => self.billing.handle(event).await,
            "payment" => self.payment.handle(event).await,
            "shipment" => self.shipment.handle(event).await,
            "email" => self.email.handle(event).await,
            "order" => self.order.handle(event).await,
            "customer" => self.customer.handle(event).await,
            "webhook" => self.webhook.handle(event).await,
            other => panic!("there is no function {other}"),
        };
        answer.map(|answer| parse(answer.get()))
    }

    /// Passes an SQS batch to a queue's worker; returns the IDs of the messages to keep.
    pub async fn deliver_batch(&self, queue: Queue, batch: &Value) -> Vec<String> {
        let answer = match queue {
            Queue::Billing => invoke(&self.billing, batch).await,
            Queue::Payment => invoke(&self.payment, batch).await,
            Queue::Shipment => invoke(&self.shipment, batch).await,
            Queue::Email => invoke(&self.email, batch).await,
        };
        failures(&answer)
    }

    /// Passes stream records to the relay, as far as its mapping's filter lets them through;
    /// returns the sequence numbers that it reports as failed.
    pub async fn relay_records(&self, records: &[Value]) -> Vec<String> {
        let wanted: Vec<&Value> = records
            .iter()
            .filter(|record| carries_event(record))
            .collect();
        let event = json!({ "Records": wanted });
        let answer = self
            .relay
            .handle(lambda_event(&event))
            .await
            .expect("the relay answers");
        failures(&parse(answer.get()))
    }
}

/// A pace without waiting.
#[must_use]
pub fn unlimited_pace() -> Pace {
    Pace::new(NonZeroU32::MAX, NonZeroU32::MIN)
}

/// Whether the relay's mapping lets the record through (its filter in `template.yaml`).
pub(crate) fn carries_event(record: &Value) -> bool {
    record["dynamodb"]["NewImage"]["event"]["M"]["id"]["S"].is_string()
}

fn failures(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ids = failures
        .iter()
        .filter_map(|failure| failure["itemIdentifier"].as_str());
    ids.map(str::to_owned).collect()
}

pub(crate) fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("what we wrote ourselves is JSON")
}

/// The request for an order, as in `events/order.json`.
#[must_use]
pub fn question(order: &str) -> Value {
    let mut event = parse(include_str!("../../events/order.json"));
    let path = format!("/api/order/{order}");
    event["rawPath"] = path.as_str().into();
    event["requestContext"]["http"]["path"] = path.into();
    event["pathParameters"]["orderId"] = order.into();
    event
}

/// The request for a search of orders, as in `events/orders.json`; `query` as in a URL, without the
/// question mark.
#[must_use]
pub fn search(query: &str) -> Value {
    let mut event = parse(include_str!("../../events/orders.json"));
    event["rawQueryString"] = query.into();
    let parameters = form_urlencoded::parse(query.as_bytes());
    let parameters = parameters.map(|(name, value)| (name.into_owned(), value.into()));
    event["queryStringParameters"] = Value::Object(parameters.collect());
    event
}

/// A request about a customer's agreements, as in `events/customer-<get or delete>.json`; `query`
/// as in a URL, without the question mark.
#[must_use]
pub fn customer_request(method: &str, customer: &str, query: &str) -> Value {
    let mut event = parse(include_str!("../../events/customer-get.json"));
    let path = format!("/api/customer/{customer}/billing");
    event["rawPath"] = path.as_str().into();
    event["rawQueryString"] = query.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["requestContext"]["http"]["method"] = method.into();
    let route = format!("{method} /api/customer/{{customerId}}/billing");
    event["routeKey"] = route.as_str().into();
    event["requestContext"]["routeKey"] = route.into();
    event["pathParameters"]["customerId"] = customer.into();
    event
}

/// The request of `events/cart.json` with another path and body, and without its idempotency key.
#[must_use]
pub fn request(path: &str, body: &Value) -> Value {
    let mut event: Value = parse(include_str!("../../events/cart.json"));
    if let Some(headers) = event["headers"].as_object_mut() {
        headers.remove("idempotency-key");
    }
    event["rawPath"] = path.into();
    event["routeKey"] = format!("POST {path}").into();
    event["requestContext"]["http"]["path"] = path.into();
    event["requestContext"]["routeKey"] = format!("POST {path}").into();
    event["body"] = body.to_string().into();
    event
}

/// A partner's signature, in hexadecimal.
#[must_use]
pub fn hmac_sha256_hex(secret: &str, signed: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};

    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(signed);
    hex::encode(mac.finalize().into_bytes())
}

/// A batch as in `events/email-queue.json` with these bodies and the IDs `0`, `1`, …
#[must_use]
pub fn batch(bodies: &[String]) -> Value {
    let example: Value = parse(include_str!("../../events/email-queue.json"));
    let records = bodies.iter().enumerate().map(|(index, body)| {
        let mut record = example["Records"][0].clone();
        record["messageId"] = index.to_string().into();
        record["body"] = body.as_str().into();
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// Lambda's ID of every invocation in tests.
pub const REQUEST_ID: &str = "6bc4f3d0-5a1e-4a55-9c3e-0f7a2b1c8d9e";

fn lambda_event(event: &Value) -> LambdaEvent<Box<RawValue>> {
    let payload = to_raw_value(event).expect("a JSON value can be written");
    let mut context = Context::default();
    REQUEST_ID.clone_into(&mut context.request_id);
    LambdaEvent::new(payload, context)
}

/// Passes an event to a handler as Lambda would.
pub async fn invoke<F: Function>(handler: &Handler<F>, event: &Value) -> Value {
    let answer = handler
        .handle(lambda_event(event))
        .await
        .expect("the handler answers");
    parse(answer.get())
}

/// Passes an event to the relay as Lambda would.
pub async fn invoke_relay<Q: EventQueue + Clone + 'static>(
    relay: &Relay<Q>,
    event: &Value,
) -> Result<Value, serde_json::Error> {
    let answer = relay.handle(lambda_event(event)).await?;
    Ok(parse(answer.get()))
}
