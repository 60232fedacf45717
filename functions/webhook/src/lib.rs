//! Receives partner webhooks.
//!
//! `POST /api/partner/{partner}/webhook`
//!
//! Like every message, a webhook is a hint: it is trusted to say *what* changed, never *what it
//! changed to*. It becomes a message to the worker that has the partner's client. That worker asks
//! the partner, under the same claims and conditions as for any request. A webhook that arrives
//! first, late, twice, or at the same time as a request therefore changes nothing that the request
//! would not.

mod partners;

use std::iter;

use domain::{CarrierName, EventType, Order, OrderId, PartnerName, Status, digest_hex};
use lambda_http::{Body, Request, RequestExt};
use messages::queue::{EventQueue, Queue};
use messages::{Message, MessageKind, PartnerReference};
use platform::aws::Aws;
use platform::config::{self, ConfigError, Environment};
use platform::outbound::Secret;
use platform::runtime::Runtime;
use platform::secret::{self, BillingPartners, Keys, Pick};
use platform::telemetry;
use serde_json::json;
use service::error::{Error, FieldError, Missing};
use service::http::{Answer, Route};
use service::lambda::Function;
use store::Store;

use partners::easypost::{self, EasyPostEvent};
use partners::paypal::PayPalEvent;
use partners::stripe::{self, StripeEvent};
use partners::{News, PartnerEvent};

pub use partners::PayPalSigner;

/// Bodies with more bytes are refused unread.
const MAX_BODY: usize = 256 * 1024;

/// The secrets that verify webhooks, by partner. A partner without one does not exist for this
/// deployment.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    /// Stripe's secret, including `whsec_`.
    pub stripe: Option<Keys<Secret>>,
    /// The verifier of PayPal's webhooks.
    pub paypal: Option<PayPalSigner>,
    /// The secret that EasyPost was given.
    pub easypost: Option<Keys<Secret>>,
}

impl Signers {
    /// The signers of the partners that `BILLING_PARTNER`, `FORMER_BILLING_PARTNER`, and `CARRIER`
    /// name. Their secrets contain nothing else.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: &Runtime,
    ) -> Result<Self, ConfigError> {
        let mut signers = Self::default();
        let billing = BillingPartners::from_environment(environment, secret::PARTNER_WEBHOOK)?;
        for (partner, secret) in iter::once(billing.current).chain(billing.former) {
            let of = |pick| Keys::of(environment, aws, secret, pick, runtime.clone());
            match partner {
                PartnerName::Sandbox => {}
                PartnerName::Stripe => {
                    let pick: Pick<Secret> = |secret| secret.field("webhookSecret", &["whsec_"]);
                    signers.stripe = Some(of(pick).await?);
                }
                PartnerName::PayPal => {
                    let pick: Pick<Secret> = |secret| secret.field("webhookId", &[]);
                    let id = of(pick).await?;
                    let signer = PayPalSigner::from_environment(environment, id, runtime.clone())?;
                    signers.paypal = Some(signer);
                }
            }
        }
        if config::carrier(environment)? == CarrierName::EasyPost {
            let (carrier, pick) = (secret::CARRIER_WEBHOOK, easypost::pick_secret);
            let secrets = Keys::of(environment, aws, carrier, pick, runtime.clone()).await?;
            signers.easypost = Some(secrets);
        }
        Ok(signers)
    }
}

/// The webhook service.
#[derive(Clone, Debug)]
pub struct Webhooks<Q> {
    store: Store,
    queue: Q,
    signers: Signers,
    stage: String,
    runtime: Runtime,
}

impl<Q: EventQueue + 'static> Webhooks<Q> {
    /// Builds the service over its store and queues; `stage` names the deployment in metrics.
    #[must_use]
    pub fn new(store: Store, queue: Q, signers: Signers, stage: String, runtime: Runtime) -> Self {
        Self {
            store,
            queue,
            signers,
            stage,
            runtime,
        }
    }

    async fn take(&self, request: &Request) -> Result<Answer, Error> {
        let parameters = request.path_parameters();
        let headers = request.headers();
        match parameters.first("partner").unwrap_or_default() {
            "stripe" => {
                let secrets = require_partner(self.signers.stripe.as_ref())?;
                let body = body(request)?;
                stripe::verify(secrets, headers, body, self.runtime.now()).await?;
                self.once::<StripeEvent>("stripe", body).await?;
            }
            "paypal" => {
                let signer = require_partner(self.signers.paypal.as_ref())?;
                let body = body(request)?;
                signer.verify(headers, body).await?;
                self.once::<PayPalEvent>("paypal", body).await?;
            }
            "easypost" => {
                let secrets = require_partner(self.signers.easypost.as_ref())?;
                let body = body(request)?;
                easypost::verify(secrets, headers, body).await?;
                self.once::<EasyPostEvent>("easypost", body).await?;
            }
            _ => return Err(Error::NotFound(Missing::Partner)),
        }
        Answer::ok(&json!({"received": true}))
    }

    /// Passes a signed event on unless it was received before. The message is sent first, which is
    /// harmless when repeated: if this function ends before the event is recorded, the partner's
    /// retry does it again.
    async fn once<E: PartnerEvent>(&self, partner: &'static str, body: &[u8]) -> Result<(), Error> {
        let event: E = partners::read(body)?;
        let Some(id) = PartnerReference::parse(event.id()) else {
            return Err(Error::Invalid(vec![FieldError {
                pointer: "/id".to_owned(),
                detail: "must be 1–255 visible ASCII characters".to_owned(),
            }]));
        };
        let now = self.runtime.now();
        let key = format!("webhook/{partner}/{}", id.as_str());
        if self.store.is_key_used(&key, now).await? {
            return Ok(());
        }
        let passed_on = match event.news() {
            Some(news) => self.pass_on(news, &key).await?,
            None => false,
        };
        if !passed_on {
            tracing::info!(partner, code = "webhook_ignored", "nothing waits for it");
            telemetry::count(&self.stage, "WebhookIgnored", 1, now);
        }
        let body = String::from_utf8_lossy(body);
        // The same event may have been received concurrently with another body (a partner counts
        // its tries there). It is still the same event.
        self.store
            .use_key(&key, &digest_hex(&[&body]).into(), now)
            .await
            .map(|_| ())?;
        Ok(())
    }

    /// Queues a message to the worker that can ask the partner. Returns `false` if the news is
    /// about nothing of this service.
    async fn pass_on(&self, news: News, key: &str) -> Result<bool, Error> {
        match news {
            News::Charge(order) => {
                let kind = EventType::InvoiceCreated;
                let waits = |order: &Order| order.status == Status::Invoiced;
                self.look_at(&order, waits, kind).await
            }
            News::Refund(order) => self.look_at_refunds(&order, key).await,
            News::Denied(order) => {
                let kind = EventType::InvoiceCreated;
                let waits = |order: &Order| order.status == Status::Invoiced;
                self.look_at(&order, waits, kind).await?;
                self.look_at_refunds(&order, key).await
            }
            News::Dispute(partner, id) => {
                let kind = MessageKind::Dispute(partner, id);
                self.report(Queue::Payment, kind, key).await
            }
            News::Delivery(parcel) => {
                let kind = MessageKind::Delivery(parcel);
                self.report(Queue::Shipment, kind, key).await
            }
        }
    }

    /// Makes the payment worker check an order, if it still waits for this news.
    async fn look_at(
        &self,
        id: &OrderId,
        waits: impl Fn(&Order) -> bool,
        kind: EventType,
    ) -> Result<bool, Error> {
        telemetry::about_order(id);
        let Some(order) = self.store.order(id).await? else {
            return Ok(false);
        };
        if !waits(&order) {
            return Ok(true);
        }
        let Some(message) = Message::of_order(&order, kind) else {
            return Ok(false);
        };
        self.queue.send(Queue::Payment, &[message]).await?;
        tracing::info!(order_id = %id, "checking the payment");
        Ok(true)
    }

    /// Makes the payment worker read a captured charge's refunds from the partner.
    async fn look_at_refunds(&self, id: &OrderId, key: &str) -> Result<bool, Error> {
        let Some(order) = self.store.order(id).await? else {
            return Ok(false);
        };
        // A charge may be refunded before its capture is recorded here.
        let payment = order.payment.as_ref();
        let is_opened = payment.is_some_and(|payment| payment.reference.is_some());
        if order.charge().is_none() && !(is_opened && order.status == Status::Invoiced) {
            return Ok(true);
        }
        let message = Message::about_charge(&order, key.to_owned(), self.runtime.now());
        self.queue.send(Queue::Payment, &[message]).await?;
        tracing::info!(order_id = %id, "checking the charge's refunds");
        Ok(true)
    }

    /// Reports news of which only the partner knows the order.
    async fn report(&self, queue: Queue, kind: MessageKind, key: &str) -> Result<bool, Error> {
        let message = Message {
            id: key.to_owned(),
            kind,
            order: None,
            time: self.runtime.now(),
            traceparent: None,
            mail: None,
        };
        self.queue.send(queue, &[message]).await?;
        Ok(true)
    }
}

/// The partner's signer, if this deployment works with the partner.
fn require_partner<T>(signer: Option<&T>) -> Result<&T, Error> {
    signer.ok_or(Error::NotFound(Missing::Partner))
}

/// The body's bytes, as they were signed.
fn body(request: &Request) -> Result<&[u8], Error> {
    let bytes: &[u8] = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    if bytes.len() > MAX_BODY {
        return Err(Error::WebhookTooLarge);
    }
    Ok(bytes)
}

impl<Q: EventQueue + 'static> Function for Webhooks<Q> {
    const ROUTES: &'static [Route] = &[Route::Webhook];

    /// Partners have none of our tokens, and their IDs may look like card numbers: the signature
    /// replaces all checks of other endpoints.
    async fn receive_webhook(&self, request: &Request) -> Result<Answer, Error> {
        Box::pin(self.take(request)).await
    }
}
