//! Hears what partners tell by themselves.
//!
//! `POST /api/partner/{partner}/webhook`
//!
//! A webhook is only a hint, like every message here: it is believed as to which order it is about,
//! never as to amounts. Stripe's news of a charge or refund is passed to the payment queue, whose
//! worker asks Stripe what became of it under the same claim as any request; so a webhook that comes
//! first, late, twice or beside a request changes nothing that the request would not. A dispute is
//! flagged on the order.

mod event;
mod signature;

use lambda_http::{Body, Request, RequestExt};
use serde_json::json;
use shared::aws::Aws;
use shared::config::{Authentication, ConfigError, Environment};
use shared::domain::{Dispute, EventType, Order, Status, digest_hex};
use shared::error::{Error, FieldError, Missing};
use shared::event::Message;
use shared::http::{Answer, Call};
use shared::https::Secret;
use shared::lambda::{Consumed, Function};
use shared::queue::{EventQueue, Queue};
use shared::runtime::Runtime;
use shared::secrets::{PartnerSecret, SecretError};
use shared::store::Store;
use shared::telemetry;

use event::{EasyPostEvent, News, StripeEvent};

/// Bodies above this many bytes are refused before they are looked at.
const MAX_BODY: usize = 256 * 1024;

/// What partners sign with; one without a secret does not exist here.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Stripe's, with `whsec_`.
    pub stripe: Option<Secret>,
    /// The one that EasyPost was told.
    pub easypost: Option<Secret>,
}

impl Secrets {
    /// Reads the secrets of the partners that `BILLING_PARTNER` and `CARRIER` name.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
    ) -> Result<Self, SecretError> {
        let mut secrets = Self::default();
        if environment.required("BILLING_PARTNER")? == "stripe" {
            let secret =
                PartnerSecret::read(environment, aws, "PARTNER_SECRET", "PARTNER_SECRET_ARN")
                    .await?;
            secrets.stripe = Some(secret.field("webhookSecret", &["whsec_"])?);
        }
        if environment.required("CARRIER")? == "easypost" {
            let secret =
                PartnerSecret::read(environment, aws, "CARRIER_SECRET", "CARRIER_SECRET_ARN")
                    .await?;
            let secret = secret.field("webhookSecret", &[])?;
            // EasyPost normalises the secret (NFKD) before it signs; ASCII stays as it is.
            if !secret.expose().is_ascii() {
                return Err(ConfigError::Wrong {
                    name: "CARRIER_SECRET_ARN",
                    expected: "webhookSecret in its secret must be ASCII".to_owned(),
                }
                .into());
            }
            secrets.easypost = Some(secret);
        }
        Ok(secrets)
    }
}

/// The webhook service.
#[derive(Clone, Debug)]
pub struct Webhooks<Q> {
    store: Store,
    queue: Q,
    secrets: Secrets,
    stage: String,
    runtime: Runtime,
}

impl<Q: EventQueue + 'static> Webhooks<Q> {
    /// The service over its store and queue; `stage` names the deployment in metrics.
    #[must_use]
    pub fn new(store: Store, queue: Q, secrets: Secrets, stage: String, runtime: Runtime) -> Self {
        Self {
            store,
            queue,
            secrets,
            stage,
            runtime,
        }
    }

    async fn hear(&self, request: &Request) -> Result<Answer, Error> {
        let parameters = request.path_parameters();
        let partner = parameters.first("partner").unwrap_or_default();
        let header = |name: &str| {
            let value = request.headers().get(name)?;
            // What is no text cannot be a signature.
            Some(value.to_str().unwrap_or_default())
        };
        let now = self.runtime.now();
        match partner {
            "stripe" => {
                let secret = known(self.secrets.stripe.as_ref())?;
                let body = body(request)?;
                signature::stripe(header("stripe-signature"), body, secret, now)
                    .map_err(|error| unsigned("stripe", error))?;
                self.stripe(body).await?;
            }
            "easypost" => {
                let secret = known(self.secrets.easypost.as_ref())?;
                let body = body(request)?;
                signature::easypost(header("x-hmac-signature"), body, secret)
                    .map_err(|error| unsigned("easypost", error))?;
                let event: EasyPostEvent = event::read(body)?;
                // A tracker names EasyPost's shipment and not our order.
                self.once("easypost", &event.id, body, async { Ok(false) })
                    .await?;
            }
            _ => return Err(Error::NotFound(Missing::Partner)),
        }
        Answer::ok(&json!({"received": true}))
    }

    async fn stripe(&self, body: &[u8]) -> Result<(), Error> {
        let event: StripeEvent = event::read(body)?;
        self.once("stripe", &event.id, body, self.tell(&event))
            .await
    }

    /// Carries out `effect` unless the event was heard before. The effect comes first and is
    /// harmless when done twice: if this ends in between, the partner's repeat does it again.
    async fn once(
        &self,
        partner: &'static str,
        event: &str,
        body: &[u8],
        effect: impl Future<Output = Result<bool, Error>>,
    ) -> Result<(), Error> {
        if !(1..=255).contains(&event.len()) || !event.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Invalid(vec![FieldError {
                pointer: "/id".to_owned(),
                detail: "must have 1 to 255 visible ASCII characters".to_owned(),
            }]));
        }
        let now = self.runtime.now();
        let key = format!("webhook/{partner}/{event}");
        if self.store.is_key_used(&key, now).await? {
            return Ok(());
        }
        if !effect.await? {
            tracing::info!(partner, code = "webhook_ignored", "nothing waits for it");
            telemetry::count(&self.stage, "WebhookIgnored", 1, now);
        }
        let body = String::from_utf8_lossy(body);
        // Beside us the same event may have come with another body (a partner counts its tries
        // there): it is the same event.
        self.store
            .use_key(&key, &digest_hex(&[&body]), now)
            .await
            .map(|_| ())?;
        Ok(())
    }

    /// Does what the event is good for; `false` where that is nothing.
    async fn tell(&self, event: &StripeEvent) -> Result<bool, Error> {
        let (Some(news), Some(id)) = (event.news(), event.order()) else {
            return Ok(false);
        };
        let Some(order) = self.store.order(&id).await? else {
            return Ok(false);
        };
        let kind = match news {
            News::Charge => EventType::InvoiceCreated,
            News::Refund => EventType::RefundRequested,
            News::Dispute(state) => {
                let ours = order
                    .payment
                    .as_ref()
                    .and_then(|payment| payment.reference.as_deref());
                let Some(reference) = ours.filter(|ours| event.intent() == Some(*ours)) else {
                    return Ok(false);
                };
                let at = self.runtime.now();
                self.store
                    .flag_dispute(&id, reference, Dispute { state, at })
                    .await?;
                return Ok(true);
            }
        };
        if !waits_for(&order, news) {
            return Ok(true);
        }
        let Some(message) = Message::of_order(&order, kind) else {
            return Ok(false);
        };
        self.queue.send(Queue::Payment, &[message]).await?;
        tracing::info!(order_id = %id, "the payment is looked at");
        Ok(true)
    }
}

/// Whether the worker has anything to ask Stripe for.
fn waits_for(order: &Order, news: News) -> bool {
    match news {
        News::Charge => order.status == Status::Invoiced,
        News::Refund => order.status == Status::Refunding,
        News::Dispute(_) => true,
    }
}

/// The secret of a partner that this deployment works with.
fn known(secret: Option<&Secret>) -> Result<&Secret, Error> {
    secret.ok_or(Error::NotFound(Missing::Partner))
}

fn unsigned(partner: &'static str, error: signature::SignatureError) -> Error {
    tracing::info!(partner, code = error.code(), "not believed");
    Error::WebhookSignature
}

/// The body's bytes as they were signed.
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
    /// Partners have no tokens of ours, and their ids may look like card numbers: the signature
    /// stands for all checks of other endpoints.
    async fn respond(
        &self,
        request: &Request,
        _authentication: &Authentication,
    ) -> Result<Answer, Error> {
        Box::pin(self.hear(request)).await
    }

    async fn answer(&self, _call: Call) -> Result<Answer, Error> {
        Err(Error::NotFound(Missing::Partner))
    }

    async fn consume(&self, _message: Message) -> Result<Consumed, Error> {
        Err(Error::NoQueue)
    }
}
