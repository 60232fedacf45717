//! EasyPost's webhooks.

use lambda_http::http::HeaderMap;
use messages::PartnerReference;
use platform::config::ConfigError;
use platform::outbound::Secret;
use platform::secret::{Keys, PartnerSecret};
use serde::Deserialize;
use serde_json::Value;
use service::error::{Counterpart, Error};

use super::{
    News, PartnerEvent, SignatureError, header, signature_in, verify_hmac, verify_with_secret,
};

/// The secret that EasyPost signs with. EasyPost normalizes it (NFKD) before it signs; ASCII stays
/// unchanged.
pub(crate) fn pick_secret(secret: &PartnerSecret) -> Result<Secret, ConfigError> {
    let text = secret.field("webhookSecret", &[])?;
    if text.expose().is_ascii() {
        return Ok(text);
    }
    Err(secret.wrong("webhookSecret in its secret must be ASCII"))
}

/// Verifies `X-Hmac-Signature` with the secret that EasyPost was given.
pub(crate) async fn verify(
    secrets: &Keys<Secret>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Error> {
    let verify =
        |secret: &Secret| verify_header(header(headers, "x-hmac-signature")?, body, secret);
    verify_with_secret("easypost", Counterpart::Carrier, secrets, verify).await
}

/// Verifies `X-Hmac-Signature: hmac-sha256-hex=<hex>`, which signs the body. It contains no time,
/// so only the event's ID stops a replayed webhook.
fn verify_header(header: &str, body: &[u8], secret: &Secret) -> Result<(), SignatureError> {
    let signature = header
        .trim()
        .strip_prefix("hmac-sha256-hex=")
        .and_then(signature_in)
        .ok_or(SignatureError::Malformed)?;
    if verify_hmac(secret, &[body], &signature) {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

/// EasyPost's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct EasyPostEvent {
    id: String,
    #[serde(rename = "description")]
    kind: String,
    #[serde(default)]
    result: Value,
}

impl PartnerEvent for EasyPostEvent {
    fn id(&self) -> &str {
        &self.id
    }

    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            "tracker.created" | "tracker.updated" => {
                let shipment = self.result.get("shipment_id")?.as_str()?;
                PartnerReference::parse(shipment).map(News::Delivery)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const EASYPOST: &[u8] = include_bytes!("easypost_event.json");

    #[test]
    fn easyposts_own_example_is_accepted_and_nothing_beside_it() {
        // EasyPost's example has a non-ASCII secret, in Unicode's form NFKD.
        let secret = Secret::new("se\u{301}cret");
        let hex = "38f3f53c103713df81616a0a186d77141957323ec21d5fe9363db93840f527db";
        let header = format!("hmac-sha256-hex={hex}");
        assert_eq!(verify_header(&header, EASYPOST, &secret), Ok(()));
        let longer = [EASYPOST, b"\n"].concat();
        assert_eq!(
            verify_header(&header, &longer, &secret),
            Err(SignatureError::Wrong)
        );
        let composed = Secret::new("s\u{e9}cret");
        assert_eq!(
            verify_header(&header, EASYPOST, &composed),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            verify_header(hex, EASYPOST, &secret),
            Err(SignatureError::Malformed)
        );
    }

    fn named(text: &str) -> PartnerReference {
        PartnerReference::parse(text).unwrap()
    }

    #[test]
    fn easyposts_own_example_is_of_a_tracker_that_no_shipment_has() {
        let event: EasyPostEvent = read(EASYPOST).unwrap();
        assert_eq!((event.id(), event.news()), ("evt_1", None));
        let ours = String::from_utf8_lossy(EASYPOST)
            .replace(r#""shipment_id":null"#, r#""shipment_id":"shp_1""#);
        let event: EasyPostEvent = read(ours.as_bytes()).unwrap();
        assert_eq!(event.news(), Some(News::Delivery(named("shp_1"))));
        let other = ours.replace("tracker.updated", "batch.updated");
        let event: EasyPostEvent = read(other.as_bytes()).unwrap();
        assert_eq!(event.news(), None);
    }
}
