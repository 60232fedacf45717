//! Calls to Stripe.

use domain::RefundId;
use partner::{self, Call, CallFailure, KeyScheme, KeyedApi, PathSegment, Unusable};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::{Keys, PartnerSecret, SecretVariables};
use serde::de::DeserializeOwned;

use super::OpenCharge;
use super::verdict::Refusal;
use super::wire::{self, Code, Dispute, Intent, Refund, RefundList};

/// The API's version that this client was written for ("API versioning").
pub const API_VERSION: &str = "2026-07-29.dahlia";

/// Stripe's address, except in tests.
const ADDRESS: &str = "https://api.stripe.com";

/// The maximum number of refunds on one page.
const PAGE: usize = 100;

/// A call to Stripe without a usable answer.
pub(super) type Failure = CallFailure<Refusal>;

/// Stripe's API, for one account.
#[derive(Clone, Debug)]
pub(super) struct Client(KeyedApi);

impl Client {
    pub(super) fn new(https: Https, keys: Keys<Secret>) -> Self {
        Self(KeyedApi::new(https, keys, KeyScheme::Bearer))
    }

    pub(super) async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        secret: SecretVariables,
        runtime: &Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "STRIPE_URL", ADDRESS)?;
        let pick = |secret: &PartnerSecret| secret.field("apiKey", &["sk_", "rk_"]);
        let keys = Keys::of(environment, aws, secret, pick, runtime.clone()).await?;
        Ok(Self::new(Https::new(address), keys))
    }

    /// Opens an intent whose ID is safe in a path.
    pub(super) async fn create_intent(
        &self,
        key: &str,
        fields: &[(&str, &str)],
    ) -> Result<Intent, Failure> {
        let call = Call::post_form("/v1/payment_intents", fields).header("idempotency-key", key);
        let intent: Intent = self.call(call).await?;
        match PathSegment::parse(&intent.id) {
            Some(_) => Ok(intent),
            None => Err(Unusable::new("the intent's id cannot stand in a path").into()),
        }
    }

    /// Confirms an intent without the customer, using the payment method that it was opened with.
    /// The confirmation does not name the method.
    pub(super) async fn confirm_intent(
        &self,
        reference: &str,
        key: &str,
    ) -> Result<Intent, Failure> {
        let fields = [("off_session", "true"), ("expand[]", "latest_charge")];
        let call = Call::post_form(intent_path(reference, "/confirm")?, &fields);
        self.call_intent(reference, call.header("idempotency-key", key))
            .await
    }

    /// Confirms, with the customer present, an intent that the issuer refused without the customer.
    /// The issuer may then request authentication, and the customer returns to `return_url`. The
    /// refusal detached the payment method from the intent, so this call names it.
    pub(super) async fn confirm_with_customer(
        &self,
        reference: &str,
        key: &str,
        payment_method: &str,
        return_url: &str,
    ) -> Result<Intent, Failure> {
        let fields = [
            ("payment_method", payment_method),
            ("return_url", return_url),
            ("expand[]", "latest_charge"),
        ];
        let call = Call::post_form(intent_path(reference, "/confirm")?, &fields);
        self.call_intent(reference, call.header("idempotency-key", key))
            .await
    }

    pub(super) async fn intent(&self, reference: &str) -> Result<Intent, Failure> {
        let path = intent_path(reference, "?expand[]=latest_charge")?;
        self.call_intent(reference, Call::get(path)).await
    }

    pub(super) async fn cancel_intent(&self, reference: &str) -> Result<Intent, Failure> {
        let fields = [("cancellation_reason", "abandoned")];
        let call = Call::post_form(intent_path(reference, "/cancel")?, &fields);
        self.call_intent(reference, call).await
    }

    pub(super) async fn refunds(&self, reference: &str) -> Result<RefundList, Failure> {
        let intent = segment(reference)?;
        let path = format!("/v1/refunds?payment_intent={intent}&limit={PAGE}");
        self.call(Call::get(path)).await
    }

    /// Refunds the remaining amount of the charge.
    pub(super) async fn refund(&self, charge: &OpenCharge, key: &str) -> Result<Refund, Failure> {
        self.refund_with(charge, key, &[]).await
    }

    /// Refunds a part of the charge, in Stripe's unit, with that name.
    pub(super) async fn refund_part(
        &self,
        charge: &OpenCharge,
        id: RefundId,
        amount: u64,
        key: &str,
    ) -> Result<Refund, Failure> {
        let (id, amount) = (id.to_string(), amount.to_string());
        let fields = [
            ("amount", amount.as_str()),
            ("metadata[refund_id]", id.as_str()),
        ];
        self.refund_with(charge, key, &fields).await
    }

    async fn refund_with(
        &self,
        charge: &OpenCharge,
        key: &str,
        more: &[(&str, &str)],
    ) -> Result<Refund, Failure> {
        let order = charge.request.invoice.order().to_string();
        let invoice = charge.request.invoice.to_string();
        let fields = [
            ("payment_intent", charge.reference.as_str()),
            ("metadata[order_id]", &order),
            ("metadata[invoice_id]", &invoice),
        ];
        let fields = [&fields, more].concat();
        let call = Call::post_form("/v1/refunds", &fields);
        self.call(call.header("idempotency-key", key)).await
    }

    pub(super) async fn dispute(&self, id: PathSegment<'_>) -> Result<Dispute, Failure> {
        let path = format!("/v1/disputes/{id}?expand[]=payment_intent");
        self.call(Call::get(path)).await
    }

    async fn call_intent(&self, reference: &str, call: Call) -> Result<Intent, Failure> {
        let intent: Intent = self.call(call).await?;
        Unusable::unless_same(&intent.id, reference)?;
        Ok(intent)
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let call = call.header("stripe-version", API_VERSION);
        let answer = self.0.send(&call).await?;
        let read = partner::read(&answer);
        if let Err(CallFailure::Unusable(_)) = &read {
            let status = wire::told_status(&answer.body);
            let status = status.as_ref().map(Code::as_str);
            tracing::error!(status, "Stripe's answer cannot be read");
        }
        read
    }
}

fn segment(reference: &str) -> Result<PathSegment<'_>, Failure> {
    PathSegment::parse(reference).ok_or(CallFailure::BadReference)
}

fn intent_path(reference: &str, rest: &str) -> Result<String, Failure> {
    let id = segment(reference)?;
    Ok(format!("/v1/payment_intents/{id}{rest}"))
}
