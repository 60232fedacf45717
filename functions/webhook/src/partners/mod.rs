//! The partners' webhooks, one file for each partner: how they are signed, over the body's exact
//! bytes, and what each event means.

pub(crate) mod easypost;
pub(crate) mod paypal;
pub(crate) mod stripe;

use domain::{OrderId, PartnerName};
use hmac::{Hmac, KeyInit, Mac};
use lambda_http::http::HeaderMap;
use messages::PartnerReference;
use platform::json::{self, JsonError};
use platform::outbound::Secret;
use platform::secret::Keys;
use serde::de::DeserializeOwned;
use service::error::{Counterpart, Error, FieldError};
use sha2::Sha256;

pub use paypal::PayPalSigner;

/// The change that an event may report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The outcome of the order's charge may be known now.
    Charge(OrderId),
    /// Money of the order's charge may have been refunded or returned, even long after the payment.
    Refund(OrderId),
    /// The order's charge was denied, before or after it was paid.
    Denied(OrderId),
    /// This partner has news of the dispute with this ID.
    Dispute(PartnerName, PartnerReference),
    /// The parcel with this reference may have a new delivery state.
    Delivery(PartnerReference),
}

/// An event in a partner's documented form.
pub(crate) trait PartnerEvent: DeserializeOwned {
    /// The partner's ID of the event. Each event is handled once.
    fn id(&self) -> &str;

    /// The change that it may report; `None` if no service waits for its type, or if it is about
    /// nothing of this service.
    fn news(&self) -> Option<News>;
}

/// Parses a signed body.
pub(crate) fn read<T: PartnerEvent>(body: &[u8]) -> Result<T, Error> {
    json::read(body).map_err(|error| match error {
        JsonError::Malformed(error) if error.is_data() => Error::Invalid(vec![FieldError {
            pointer: String::new(),
            detail: "must be an event as the partner's API documents it".to_owned(),
        }]),
        error => error.into(),
    })
}

/// Why a webhook is not trusted. The code is logged; the caller cannot tell the cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("there is no signature")]
    Missing,
    #[error("the signature's header is malformed")]
    Malformed,
    #[error("the signature's time is outside the tolerance")]
    AnotherTime,
    #[error("the signature does not match")]
    Wrong,
}

impl SignatureError {
    /// The stable name of the case, for logs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Malformed => "signature_malformed",
            Self::AnotherTime => "signature_of_another_time",
            Self::Wrong => "signature_wrong",
        }
    }
}

/// The error for the caller: it says only that the webhook is not trusted.
fn reject(partner: &'static str, error: SignatureError) -> Error {
    tracing::info!(partner, code = error.code(), "webhook rejected");
    Error::WebhookSignature
}

/// A header's value. A value that is not text cannot be a signature.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, SignatureError> {
    let value = headers.get(name).ok_or(SignatureError::Missing)?;
    value.to_str().map_err(|_| SignatureError::Malformed)
}

/// Verifies with the current secret, and if that does not match, with the one that has replaced it.
async fn verify_with_newest(
    secrets: &Keys<Secret>,
    now: Secret,
    verify: impl Fn(&Secret) -> Result<(), SignatureError>,
) -> Result<(), SignatureError> {
    match verify(&now) {
        Err(SignatureError::Wrong) => match secrets.newer_than(&now).await {
            Some(newer) => verify(&newer),
            None => Err(SignatureError::Wrong),
        },
        verified => verified,
    }
}

/// Does the same for a partner that signs with a dedicated secret.
async fn verify_with_secret(
    partner: &'static str,
    counterpart: Counterpart,
    secrets: &Keys<Secret>,
    verify: impl Fn(&Secret) -> Result<(), SignatureError>,
) -> Result<(), Error> {
    let now = secrets.now().await;
    let now = now.map_err(|error| Error::without_keys(counterpart, error))?;
    let verified = verify_with_newest(secrets, now, verify).await;
    verified.map_err(|error| reject(partner, error))
}

/// Whether the signature is the HMAC-SHA256 of the parts; compares in constant time.
fn verify_hmac(secret: &Secret, parts: &[&[u8]], signature: &[u8; 32]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

/// The signature in 64 hexadecimal digits.
fn signature_in(digits: &str) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    hex::decode_to_slice(digits, &mut signature).ok()?;
    Some(signature)
}

#[cfg(test)]
mod tests {
    use lambda_http::http::HeaderValue;

    use super::*;

    #[test]
    fn a_webhook_without_a_signature_says_so() {
        let mut headers = HeaderMap::new();
        for name in ["stripe-signature", "x-hmac-signature"] {
            assert_eq!(header(&headers, name), Err(SignatureError::Missing));
            headers.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
            assert_eq!(header(&headers, name), Err(SignatureError::Malformed));
        }
    }
}
