//! PayPal as the sender of webhooks: it signs them, and serves its certificate.

use aws_smithy_types::base64;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::front::{DoubleReply, DoubleRequest, PartnerDouble};

/// The ID of the shop's webhook at PayPal, in every test.
pub const PAYPAL_WEBHOOK_ID: &str = "1JE4291016473214C";

/// The URL of the certificate.
pub const PAYPAL_CERTIFICATE: &str =
    "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-00000001";

/// A self-signed certificate, followed by another one as in a chain, and the first one's key.
const CERTIFICATES: &str = include_str!("paypal_webhook/certificate.pem");
const KEY: &str = include_str!("paypal_webhook/key.pem");

/// Serves the certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct PayPalCertificates;

impl PartnerDouble for PayPalCertificates {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        if PAYPAL_CERTIFICATE.ends_with(&request.path) && request.method == "GET" {
            DoubleReply::new(200, CERTIFICATES)
        } else {
            DoubleReply::new(404, "{}")
        }
    }
}

/// What PayPal signs: `<transmission id>|<time>|<webhook id>|<CRC-32 of the body>`, in base 64.
#[must_use]
pub fn paypal_signature(id: &str, time: &str, webhook: &str, body: &[u8]) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).expect("the test's key is PEM");
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("the test's key is RSA");
    let signed = format!("{id}|{time}|{webhook}|{}", crc32fast::hash(body));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .expect("a key of 2048 bits signs");
    base64::encode(signature)
}
