//! How partners sign what they send, over the body's exact bytes: Stripe and EasyPost by HMAC-SHA256,
//! PayPal by a certificate.

mod certificates;
mod paypal;

use std::time::Duration;

use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use platform::outbound::Secret;
use platform::secret::Keys;
use service::error::Error;
use sha2::Sha256;

pub use paypal::PayPalSigner;

/// How far the time of Stripe's signature may be from ours, before or after ("Resolve webhook
/// signature verification errors" has five minutes for the past; a future one is no better). Stripe
/// signs each delivery anew, so its repeats pass; PayPal's and EasyPost's signatures have no limit.
const TOLERANCE: Duration = Duration::from_mins(5);

/// Why a webhook is not believed. It is logged by its code and never told apart for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("there is no signature")]
    Missing,
    #[error("the signature's header is malformed")]
    Malformed,
    #[error("the signature is of another time")]
    AnotherTime,
    #[error("the signature is of another secret or body")]
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

/// Checks `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]`, which signs `<t>.<body>`. One `v1`
/// that fits is enough, since while a secret is rolled there are two; other schemes do not count.
pub(crate) fn stripe(
    header: Option<&str>,
    body: &[u8],
    secret: &Secret,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let items = header.ok_or(SignatureError::Missing)?.split(',');
    let mut time = None;
    let mut signatures = Vec::new();
    for (name, value) in items.filter_map(|item| item.trim().split_once('=')) {
        match name {
            // Two times would leave open which one is signed.
            "t" if time.is_some() => return Err(SignatureError::Malformed),
            "t" => time = Some(value),
            "v1" => signatures.extend(bytes(value)),
            _ => {}
        }
    }
    let time = time.ok_or(SignatureError::Malformed)?;
    let seconds = Some(time)
        .filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|time| time.parse().ok())
        .ok_or(SignatureError::Malformed)?;
    is_of_now(seconds, now)?;
    let parts = [time.as_bytes(), b".", body];
    if signatures.iter().any(|each| fits(secret, &parts, each)) {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

/// Checks `X-Hmac-Signature: hmac-sha256-hex=<hex>`, which signs the body. It holds no time, so that
/// an old webhook sent again is only stopped by its event's id.
pub(crate) fn easypost(
    header: Option<&str>,
    body: &[u8],
    secret: &Secret,
) -> Result<(), SignatureError> {
    let signature = header
        .ok_or(SignatureError::Missing)?
        .trim()
        .strip_prefix("hmac-sha256-hex=")
        .and_then(bytes)
        .ok_or(SignatureError::Malformed)?;
    if fits(secret, &[body], &signature) {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

fn is_of_now(seconds: i64, now: Timestamp) -> Result<(), SignatureError> {
    if now.seconds().abs_diff(seconds) > TOLERANCE.as_secs() {
        return Err(SignatureError::AnotherTime);
    }
    Ok(())
}

/// What the caller gets to know: nothing but that it is not believed.
pub(crate) fn unsigned(partner: &'static str, error: SignatureError) -> Error {
    tracing::info!(partner, code = error.code(), "not believed");
    Error::WebhookSignature
}

/// Checks by the secret of now, and if that does not fit, by one that has replaced it.
pub(crate) async fn check_by(
    secrets: &Keys<Secret>,
    now: Secret,
    fits: impl Fn(&Secret) -> Result<(), SignatureError>,
) -> Result<(), SignatureError> {
    match fits(&now) {
        Err(SignatureError::Wrong) => match secrets.newer_than(&now).await {
            Some(newer) => fits(&newer),
            None => Err(SignatureError::Wrong),
        },
        checked => checked,
    }
}

/// Compares in constant time.
fn fits(secret: &Secret, parts: &[&[u8]], signature: &[u8; 32]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).is_ok()
}

/// 64 hexadecimal digits as what they stand for.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_test_webhook","object":"event"}"#;
    const SIGNED: &str = "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990";
    const ROLLED: &str = "7548122dce5e2b728b67327c07959ace6ce459f5ca13822932dac476fc4e0005";
    const EASYPOST: &[u8] = include_bytes!("easypost_event.json");

    /// Of the body above at second 1700000000, checked so many seconds later.
    fn check(header: &str, body: &[u8], later: i64) -> Result<(), SignatureError> {
        let now = Timestamp::from_millis((1_700_000_000 + later) * 1000);
        stripe(Some(header), body, &Secret::new("whsec_test_secret"), now)
    }

    #[test]
    fn stripes_signature_counts_for_five_minutes_before_and_after() {
        let header = format!("t=1700000000,v1={SIGNED}");
        for later in [0, 300, -300] {
            assert_eq!(check(&header, BODY, later), Ok(()));
        }
        for later in [301, -301, -1_700_000_001] {
            assert_eq!(
                check(&header, BODY, later),
                Err(SignatureError::AnotherTime)
            );
        }
    }

    #[test]
    fn one_of_several_signatures_of_the_right_scheme_is_enough() {
        for header in [
            format!("t=1700000000,v1={ROLLED},v1={SIGNED}"),
            format!("t=1700000000, v1={SIGNED}, v1={ROLLED}"),
            format!("v0={ROLLED},v1=bad_signature,v1={SIGNED},t=1700000000"),
        ] {
            assert_eq!(check(&header, BODY, 0), Ok(()), "{header}");
        }
        for header in [
            format!("t=1700000000,v1={ROLLED}"),
            format!("t=1700000000,v0={SIGNED}"),
            format!("t=1700000001,v1={SIGNED}"),
            format!("t=01700000000,v1={SIGNED}"),
            format!("t=1700000000,v1={}", &SIGNED[..62]),
            format!("t=1700000000,v1={SIGNED}00"),
            "t=1700000000".to_owned(),
        ] {
            assert_eq!(
                check(&header, BODY, 0),
                Err(SignatureError::Wrong),
                "{header}"
            );
        }
    }

    #[test]
    fn a_header_of_another_form_is_refused() {
        for header in [
            String::new(),
            "v1,t=1".to_owned(),
            format!("t=,v1={SIGNED}"),
            format!("v1={SIGNED}"),
            format!("t=+1700000000,v1={SIGNED}"),
            format!("t=1700000000,t=1700000000,v1={SIGNED}"),
        ] {
            let result = check(&header, BODY, 0);
            assert!(
                matches!(
                    result,
                    Err(SignatureError::Malformed | SignatureError::AnotherTime)
                ),
                "{header}"
            );
        }
        let none = stripe(None, BODY, &Secret::new("x"), Timestamp::from_millis(0));
        assert_eq!(none, Err(SignatureError::Missing));
        assert_eq!(
            easypost(None, BODY, &Secret::new("x")),
            Err(SignatureError::Missing)
        );
    }

    #[test]
    fn one_changed_byte_is_another_body() {
        let header = format!("t=1700000000,v1={SIGNED}");
        for index in 0..BODY.len() {
            let mut body = BODY.to_vec();
            body[index] ^= 1;
            assert_eq!(check(&header, &body, 0), Err(SignatureError::Wrong));
        }
    }

    #[test]
    fn easyposts_own_example_is_accepted_and_nothing_beside_it() {
        // EasyPost's example has a secret that is no ASCII, in Unicode's form NFKD.
        let secret = Secret::new("se\u{301}cret");
        let hex = "38f3f53c103713df81616a0a186d77141957323ec21d5fe9363db93840f527db";
        let header = format!("hmac-sha256-hex={hex}");
        assert_eq!(easypost(Some(&header), EASYPOST, &secret), Ok(()));
        let longer = [EASYPOST, b"\n"].concat();
        assert_eq!(
            easypost(Some(&header), &longer, &secret),
            Err(SignatureError::Wrong)
        );
        let composed = Secret::new("s\u{e9}cret");
        assert_eq!(
            easypost(Some(&header), EASYPOST, &composed),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            easypost(Some(hex), EASYPOST, &secret),
            Err(SignatureError::Malformed)
        );
    }
}
