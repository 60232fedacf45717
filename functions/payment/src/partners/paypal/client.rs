//! Calls to PayPal, and the access token for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{InvoiceId, PartnerAccount, PartnerName, RefundId, Timestamp};
use partner::CallFailure::{BadReference, NoToken, Refused};
use partner::{Call, CallFailure, PathSegment, Reach, Unusable, read, send};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::{Keys, PartnerSecret, SecretVariables};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::verdict::Refusal;
use super::wire::{DisputedCapture, WireDispute, WireOrder, WireRefund, WireToken};

/// The live API.
const ADDRESS: &str = "https://api-m.paypal.com";

/// How long before its expiry a token is no longer used.
const TOKEN_MARGIN: Duration = Duration::from_mins(5);

/// A call to PayPal without a usable answer.
pub(super) type Failure = CallFailure<Refusal>;

/// PayPal's API, for one account.
#[derive(Clone, Debug)]
pub(super) struct Client {
    https: Https,
    keys: Keys<Credentials>,
    runtime: Runtime,
    token: Arc<Mutex<Option<Token>>>,
}

/// The credentials of a REST app at PayPal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) client_id: String,
    pub(super) secret: Secret,
}

impl Credentials {
    fn pick(secret: &PartnerSecret) -> Result<Self, ConfigError> {
        Ok(Self {
            client_id: secret.field("clientId", &[])?.expose().to_owned(),
            secret: secret.field("clientSecret", &[])?,
        })
    }

    fn account(&self) -> PartnerAccount {
        PartnerAccount::new(PartnerName::PayPal, &self.client_id)
    }
}

#[derive(Clone, Debug)]
struct Token {
    /// The account that the token belongs to.
    account: PartnerAccount,
    /// The complete value of the header.
    authorization: Secret,
    good_until: Timestamp,
}

impl Client {
    pub(super) fn new(https: Https, keys: Keys<Credentials>, runtime: Runtime) -> Self {
        Self {
            https,
            keys,
            runtime,
            token: Arc::default(),
        }
    }

    pub(super) async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        secret: SecretVariables,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "PAYPAL_URL", ADDRESS)?;
        let pick = Credentials::pick;
        let keys = Keys::of(environment, aws, secret, pick, runtime.clone()).await?;
        Ok(Self::new(Https::new(address), keys, runtime))
    }

    /// The account whose keys the last call used.
    pub(super) fn account(&self) -> PartnerAccount {
        let keys = self.keys.last();
        // Without keys no call was made, and no account can have opened a charge.
        keys.map_or_else(
            || PartnerAccount::new(PartnerName::PayPal, ""),
            |keys| keys.account(),
        )
    }

    /// Opens an order whose ID is safe in a path. `request_id` has at most 108 characters, here and
    /// below.
    pub(super) async fn create_order(
        &self,
        request_id: &str,
        body: &Value,
    ) -> Result<WireOrder, Failure> {
        let order: WireOrder = self.post("/v2/checkout/orders", request_id, body).await?;
        match path_id(&order.id) {
            Some(_) => Ok(order),
            None => Err(Unusable::new("the order's id cannot stand in a path").into()),
        }
    }

    pub(super) async fn order(&self, reference: &str) -> Result<WireOrder, Failure> {
        let id = path_id(reference).ok_or(BadReference)?;
        self.get(format!("/v2/checkout/orders/{id}")).await
    }

    /// Captures an order from that source, or without one, as its payer has approved.
    pub(super) async fn capture(
        &self,
        reference: &str,
        request_id: &str,
        source: Option<Value>,
    ) -> Result<WireOrder, Failure> {
        let id = path_id(reference).ok_or(BadReference)?;
        let path = format!("/v2/checkout/orders/{id}/capture");
        let body = source.map_or_else(|| json!({}), |source| json!({"payment_source": source}));
        self.post(&path, request_id, &body).await
    }

    /// Refunds the remaining amount of a capture.
    pub(super) async fn refund(
        &self,
        capture: &str,
        request_id: &str,
        invoice: InvoiceId,
    ) -> Result<WireRefund, Failure> {
        let capture = path_id(capture).ok_or(BadReference)?;
        let path = format!("/v2/payments/captures/{capture}/refund");
        // By this a webhook finds our order. Without an amount, PayPal refunds what is left.
        let body = json!({"custom_id": invoice.to_string()});
        self.post(&path, request_id, &body).await
    }

    /// Refunds a part of a capture, with that name.
    pub(super) async fn refund_part(
        &self,
        capture: &str,
        id: RefundId,
        request_id: &str,
        invoice: InvoiceId,
        amount: &Value,
    ) -> Result<WireRefund, Failure> {
        let capture = path_id(capture).ok_or(BadReference)?;
        let path = format!("/v2/payments/captures/{capture}/refund");
        let body = json!({
            "amount": amount,
            "custom_id": invoice.to_string(),
            "invoice_id": id.to_string(),
        });
        self.post(&path, request_id, &body).await
    }

    /// `None` if PayPal has no such dispute.
    pub(super) async fn dispute(
        &self,
        id: PathSegment<'_>,
    ) -> Result<Option<WireDispute>, Failure> {
        self.find(format!("/v1/customer/disputes/{id}")).await
    }

    /// `None` if PayPal has no such capture.
    pub(super) async fn disputed_capture(
        &self,
        id: PathSegment<'_>,
    ) -> Result<Option<DisputedCapture>, Failure> {
        self.find(format!("/v2/payments/captures/{id}")).await
    }

    async fn find<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, Failure> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(Refused(404, _)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Failure> {
        self.call(Call::get(path)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        request_id: &str,
        body: &Value,
    ) -> Result<T, Failure> {
        let call = Call::post_json(path, body)
            .header("prefer", "return=representation")
            .header("paypal-request-id", request_id);
        self.call(call).await
    }

    /// Makes a call, and repeats it with a new token if the first one was no longer valid.
    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let call = call.header("accept", "application/json");
        let mut token = self.token().await?;
        let mut answer = send(&self.https, &call, token.authorization.clone()).await?;
        if answer.status == 401 {
            let is_refused = |other: &mut Token| other.authorization == token.authorization;
            self.cached().take_if(is_refused);
            token = self.token().await?;
            answer = send(&self.https, &call, token.authorization.clone()).await?;
        }
        if token.account != self.account() {
            // The meaning of this answer depends on the account.
            return Err(Unusable::new("the shop's account was replaced during the call").into());
        }
        if answer.status == 401 {
            tracing::error!("paypal refuses a new token");
        }
        read(&answer)
    }

    /// An access token that stays valid for a while. Two workers may each fetch one: if they waited
    /// for each other, a frozen one would block them all. If PayPal refuses the credentials, the
    /// ones that have replaced them are tried once.
    async fn token(&self) -> Result<Token, Failure> {
        let now = self.runtime.now();
        let keys = self.keys.now().await?;
        let cached = self.cached().clone();
        let is_good = |token: &Token| now < token.good_until && token.account == keys.account();
        if let Some(token) = cached.filter(is_good) {
            return Ok(token);
        }
        let first = self.new_token(&keys).await;
        let token = match first {
            Err(failure) if failure.reach() == Reach::NotConfigured => {
                match self.keys.newer_than(&keys).await {
                    Some(newer) => self.new_token(&newer).await,
                    None => Err(failure),
                }
            }
            first => first,
        };
        token.map_err(|failure| NoToken(Box::new(failure)))
    }

    async fn new_token(&self, keys: &Credentials) -> Result<Token, Failure> {
        let now = self.runtime.now();
        let fields = [("grant_type", "client_credentials")];
        let call = Call::post_form("/v1/oauth2/token", &fields);
        let call = call.header("accept", "application/json");
        let authorization = Secret::basic_authorization(&keys.client_id, &keys.secret);
        let answer = send(&self.https, &call, authorization).await?;
        // Whatever the answer says, only other credentials or another address can change it.
        if let status @ (400..=407 | 409..=423 | 425..=428 | 430..=499) = answer.status {
            tracing::error!(status, "paypal refuses our credentials");
            return Err(Refused(status, Refusal::Credentials));
        }
        let token: WireToken = read(&answer)?;
        let lives = Duration::from_secs(token.expires_in);
        let token = Token {
            account: keys.account(),
            authorization: Secret::new(format!("Bearer {}", token.access_token)),
            good_until: now.plus(lives.saturating_sub(TOKEN_MARGIN)),
        };
        *self.cached() = Some(token.clone());
        Ok(token)
    }

    fn cached(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A PayPal ID that is safe in a path, and short enough for the IDs of the requests about it.
pub(super) fn path_id(text: &str) -> Option<PathSegment<'_>> {
    PathSegment::parse(text).filter(|id| id.as_str().len() <= 64)
}
