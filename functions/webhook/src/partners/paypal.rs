//! PayPal's webhooks. PayPal signs them ("Integrate webhooks", self-verification) by RSA with
//! SHA-256 over
//! `<transmission id>|<transmission time>|<webhook id>|<CRC-32 of the body, in decimal>`.
//!
//! The request itself names the certificate's URL. The certificate is trusted because it is fetched
//! over TLS from PayPal's own API and from nowhere else.
//!
//! The time is part of the signed text and has no limit. Nothing guarantees that PayPal, which
//! retries a webhook for three days, signs each retry anew, and a limit would refuse all retries if
//! it does not. A limit would also gain nothing: an old webhook is a hint like a new one, and each
//! event's ID counts only once.
//!
//! A forged webhook may name any certificate. The number of fetches is therefore limited
//! (`certificates.rs`). Once the budget is spent, a webhook with an unknown certificate gets 503,
//! and PayPal's retries, over three days, are accepted when the flood has ended.
//!
//! A CRC is easily forged: an attacker who sees a signed webhook can create another body that
//! matches its signature. Such a body has no more effect than any other, because the worker asks
//! PayPal.

mod certificates;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{InvoiceId, OrderId, PartnerName, Timestamp};
use lambda_http::http::HeaderMap;
use messages::PartnerReference;
use partner::PathSegment;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, HttpsCall, HttpsError, Secret};
use platform::runtime::Runtime;
use platform::secret::{Keys, SecretError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;
use service::error::{Counterpart, Dependency, Error, Outcome};
use tokio::sync::Mutex as Turn;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

use super::{News, PartnerEvent, SignatureError, header, reject, verify_with_newest};
use certificates::{Certificates, Known};

/// The addresses of PayPal's API ("API requests") and of its certificates.
const LIVE: [&str; 2] = ["https://api-m.paypal.com", "https://api.paypal.com"];
const SANDBOX: [&str; 2] = [
    "https://api-m.sandbox.paypal.com",
    "https://api.sandbox.paypal.com",
];

/// The path of all certificates.
const CERTIFICATES: &str = "/v1/notifications/certs/";

/// The time limit for fetching a certificate.
const LIMIT: Duration = Duration::from_secs(3);

/// Verifies PayPal's signatures.
#[derive(Clone, Debug)]
pub struct PayPalSigner {
    webhook_id: Keys<Secret>,
    https: Https,
    /// The addresses that a request may name for certificates. They are fetched from the first one.
    addresses: Vec<String>,
    certificates: Arc<Mutex<Certificates>>,
    /// The task that holds it fetches; the others wait for the result.
    turn: Arc<Turn<()>>,
    runtime: Runtime,
}

/// Why a signature could not be verified or is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unverified {
    /// It is not PayPal's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The webhook's ID is not known.
    #[error(transparent)]
    NoId(#[from] SecretError),
    /// Too many certificates were fetched recently.
    #[error("too many unknown certificates are named")]
    TooMany,
    /// The certificate could not be fetched.
    #[error("PayPal's certificate could not be fetched")]
    NoCertificate(#[source] HttpsError),
    /// PayPal did not return a certificate.
    #[error("PayPal answered {0} for its certificate")]
    Refused(u16),
}

impl From<Unverified> for Error {
    /// PayPal retries a webhook that is not answered with success, so one that cannot be verified
    /// now returns.
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Signature(error) => reject("paypal", error),
            Unverified::NoId(error) => Error::without_keys(Counterpart::BillingPartner, error),
            other => Self::Unavailable {
                dependency: Dependency::BillingPartner,
                outcome: Outcome::NothingDone,
                source: other.into(),
            },
        }
    }
}

impl PayPalSigner {
    /// A verifier for the webhook that PayPal shows under `webhook_id`, with the certificates of
    /// the live API, which `https` calls.
    #[must_use]
    pub fn new(webhook_id: Keys<Secret>, https: Https, runtime: Runtime) -> Self {
        Self {
            webhook_id,
            https,
            addresses: addresses(LIVE[0]),
            certificates: Arc::default(),
            turn: Arc::default(),
            runtime,
        }
    }

    /// A verifier for the API at `PAYPAL_URL`; PayPal's live address if that is not set.
    pub fn from_environment(
        environment: Environment<'_>,
        webhook_id: Keys<Secret>,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "PAYPAL_URL", LIVE[0])?;
        let addresses = addresses(&address);
        let https = Https::new(addresses[0].as_str());
        Ok(Self {
            addresses,
            ..Self::new(webhook_id, https, runtime)
        })
    }

    /// Verifies the body. Everything that needs no call is checked first.
    pub(crate) async fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Unverified> {
        let text = |name: &str| header(headers, name);
        let signature = text("paypal-transmission-sig")?;
        let (id, time) = (
            text("paypal-transmission-id")?,
            text("paypal-transmission-time")?,
        );
        if text("paypal-auth-algo")? != "SHA256withRSA" || !is_one_word(id) {
            return Err(SignatureError::Malformed.into());
        }
        Timestamp::parse(time).map_err(|_| SignatureError::Malformed)?;
        let signature = aws_smithy_types::base64::decode(signature);
        let signature = signature.map_err(|_| SignatureError::Malformed)?;
        let name = self.certificate_name(text("paypal-cert-url")?)?;
        let webhook = self.webhook_id.now().await?;
        let certificate = self.certificate(name).await?;
        let certificate =
            EndEntityCert::try_from(&certificate).map_err(|_| SignatureError::Malformed)?;
        let verify = |webhook: &Secret| {
            let webhook = webhook.expose();
            let signed = format!("{id}|{time}|{webhook}|{}", crc32fast::hash(body));
            let algorithm = RSA_PKCS1_2048_8192_SHA256;
            let verified = certificate.verify_signature(algorithm, signed.as_bytes(), &signature);
            verified.map_err(|_| SignatureError::Wrong)
        };
        verify_with_newest(&self.webhook_id, webhook, verify).await?;
        self.certificates().prove(name);
        Ok(())
    }

    /// The name of the certificate in the URL that the request names, if the URL is PayPal's.
    fn certificate_name<'a>(&self, url: &'a str) -> Result<&'a str, SignatureError> {
        let path = self
            .addresses
            .iter()
            .find_map(|each| url.strip_prefix(each));
        let name = path.and_then(|path| path.strip_prefix(CERTIFICATES));
        let name = name.filter(|name| is_one_word(name));
        name.ok_or(SignatureError::Malformed)
    }

    /// The certificate with that name, fetched if necessary.
    async fn certificate(&self, name: &str) -> Result<CertificateDer<'static>, Unverified> {
        if let Some(kept) = self.kept(name) {
            return kept;
        }
        let _turn = self.turn.lock().await;
        if let Some(kept) = self.kept(name) {
            return kept;
        }
        if !self.certificates().may_fetch(self.runtime.now()) {
            return Err(Unverified::TooMany);
        }
        let call = HttpsCall {
            method: "GET",
            path: format!("{CERTIFICATES}{name}"),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let answer = self.https.call(call, LIMIT).await;
        let answer = answer.map_err(Unverified::NoCertificate)?;
        match answer.status {
            200 => {}
            // PayPal does not know the name, so it is not PayPal's.
            404 => {
                self.certificates().not_found(name, self.runtime.now());
                return Err(SignatureError::Malformed.into());
            }
            status => return Err(Unverified::Refused(status)),
        }
        // The first certificate is the signer's; any others are its issuers'.
        let certificate = CertificateDer::from_pem_slice(&answer.body);
        let certificate = certificate.map_err(|_| Unverified::Refused(answer.status))?;
        self.certificates().fetched(name, certificate.clone());
        Ok(certificate)
    }

    /// The result that needs no fetch.
    fn kept(&self, name: &str) -> Option<Result<CertificateDer<'static>, Unverified>> {
        match self.certificates().find(name, self.runtime.now()) {
            Known::Certificate(certificate) => Some(Ok(certificate)),
            Known::Missing => Some(Err(SignatureError::Malformed.into())),
            Known::Nothing => None,
        }
    }

    fn certificates(&self) -> MutexGuard<'_, Certificates> {
        let certificates = self.certificates.lock();
        certificates.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses that a request may name for certificates of the API at `address`. They are fetched
/// from the first one.
fn addresses(address: &str) -> Vec<String> {
    let pairs = [LIVE, SANDBOX];
    match pairs.into_iter().find(|pair| pair.contains(&address)) {
        Some([api, certificates]) => vec![certificates.to_owned(), api.to_owned()],
        None => vec![address.to_owned()],
    }
}

/// Whether a name is a single path segment, which cannot lead elsewhere in a path and has no
/// separator of the signed text.
fn is_one_word(name: &str) -> bool {
    PathSegment::parse(name).is_some()
}

/// PayPal's event (`event`, Webhooks v1).
#[derive(Deserialize)]
pub(crate) struct PayPalEvent {
    id: String,
    #[serde(rename = "event_type")]
    kind: String,
    #[serde(default)]
    resource: Value,
}

impl PayPalEvent {
    fn text(&self, field: &str) -> Option<&str> {
        self.resource.pointer(field)?.as_str()
    }

    /// The payment function sets the invoice as `custom_id` of each order, and the order's captures
    /// and refunds have it, too.
    fn order(&self) -> Option<OrderId> {
        let invoice = ["/custom_id", "/purchase_units/0/custom_id"]
            .into_iter()
            .find_map(|field| InvoiceId::parse(self.text(field)?).ok())?;
        Some(invoice.order())
    }
}

impl PartnerEvent for PayPalEvent {
    fn id(&self) -> &str {
        &self.id
    }

    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            // The payer has acted, and the capture can be requested again.
            "CHECKOUT.ORDER.APPROVED" => self.order().map(News::Charge),
            "PAYMENT.CAPTURE.COMPLETED" => self.order().map(News::Charge),
            "PAYMENT.CAPTURE.DECLINED" | "PAYMENT.CAPTURE.DENIED" => self.order().map(News::Denied),
            "PAYMENT.CAPTURE.REFUNDED"
            | "PAYMENT.CAPTURE.REVERSED"
            | "PAYMENT.REFUND.PENDING"
            | "PAYMENT.REFUND.FAILED" => self.order().map(News::Refund),
            "CUSTOMER.DISPUTE.CREATED"
            | "CUSTOMER.DISPUTE.UPDATED"
            | "CUSTOMER.DISPUTE.RESOLVED" => PartnerReference::parse(self.text("/dispute_id")?)
                .map(|id| News::Dispute(PartnerName::PayPal, id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const INVOICE: &str = "inv_01JDB4XK00EXAMP0E0RDER0001";

    #[test]
    fn a_certificate_is_fetched_from_paypal_and_from_nowhere_else() {
        let id = Keys::fixed(Secret::new("WH1"));
        let live = PayPalSigner::new(id, Https::new(LIVE[1]), Runtime::system());
        assert_eq!(live.addresses, [LIVE[1], LIVE[0]]);
        assert_eq!(addresses(SANDBOX[0]), [SANDBOX[1], SANDBOX[0]]);
        assert_eq!(addresses("http://127.0.0.1:1"), ["http://127.0.0.1:1"]);
        for url in [
            "https://api.paypal.com.example.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com@example.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "https://www.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
            "https://api.paypal.com/v1/notifications/certs/CERT-1?x=/",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/identity",
            "",
        ] {
            let name = live.certificate_name(url);
            assert_eq!(name, Err(SignatureError::Malformed), "{url}");
        }
    }

    fn order() -> OrderId {
        OrderId::parse("ord_01JDB4XK00EXAMP0E0RDER0001").unwrap()
    }

    fn named(text: &str) -> PartnerReference {
        PartnerReference::parse(text).unwrap()
    }

    fn paypal(kind: &str, resource: &str) -> Option<News> {
        let body = format!(r#"{{"id":"WH-1","event_type":"{kind}","resource":{resource}}}"#);
        read::<PayPalEvent>(body.as_bytes()).unwrap().news()
    }

    #[test]
    fn each_type_of_paypals_tells_what_it_may_have_changed() {
        let ours = format!(r#"{{"dispute_id":"PP-D-1","custom_id":"{INVOICE}"}}"#);
        for (kind, news) in [
            ("CHECKOUT.ORDER.APPROVED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.COMPLETED", Some(News::Charge(order()))),
            ("PAYMENT.CAPTURE.DECLINED", Some(News::Denied(order()))),
            ("PAYMENT.CAPTURE.DENIED", Some(News::Denied(order()))),
            ("PAYMENT.CAPTURE.PENDING", None),
            ("PAYMENT.CAPTURE.REFUNDED", Some(News::Refund(order()))),
            ("PAYMENT.CAPTURE.REVERSED", Some(News::Refund(order()))),
            ("PAYMENT.REFUND.PENDING", Some(News::Refund(order()))),
            ("PAYMENT.REFUND.FAILED", Some(News::Refund(order()))),
            (
                "CUSTOMER.DISPUTE.CREATED",
                Some(News::Dispute(PartnerName::PayPal, named("PP-D-1"))),
            ),
            (
                "CUSTOMER.DISPUTE.UPDATED",
                Some(News::Dispute(PartnerName::PayPal, named("PP-D-1"))),
            ),
            (
                "CUSTOMER.DISPUTE.RESOLVED",
                Some(News::Dispute(PartnerName::PayPal, named("PP-D-1"))),
            ),
            ("BILLING.PLAN.CREATED", None),
        ] {
            assert_eq!(paypal(kind, &ours), news, "{kind}");
        }
        let order_resource = format!(r#"{{"purchase_units":[{{"custom_id":"{INVOICE}"}}]}}"#);
        assert_eq!(
            paypal("CHECKOUT.ORDER.APPROVED", &order_resource),
            Some(News::Charge(order()))
        );
        assert_eq!(paypal("PAYMENT.CAPTURE.COMPLETED", "{}"), None);
    }
}
