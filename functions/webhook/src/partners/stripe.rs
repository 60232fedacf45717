//! Stripe's webhooks.

use std::time::Duration;

use domain::{OrderId, PartnerName, Timestamp};
use lambda_http::http::HeaderMap;
use messages::PartnerReference;
use platform::outbound::Secret;
use platform::secret::Keys;
use serde::Deserialize;
use serde_json::Value;
use service::error::{Counterpart, Error};

use super::{
    News, PartnerEvent, SignatureError, header, signature_in, verify_hmac, verify_with_secret,
};

/// How far the time of Stripe's signature may be from ours, in either direction ("Resolve webhook
/// signature verification errors" has five minutes for the past; a future time is no better).
/// Stripe signs each delivery anew, so its retries pass. PayPal's and EasyPost's signatures have no
/// limit.
const TOLERANCE: Duration = Duration::from_mins(5);

/// Verifies `Stripe-Signature` with the endpoint's secret.
pub(crate) async fn verify(
    secrets: &Keys<Secret>,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    let verify =
        |secret: &Secret| verify_header(header(headers, "stripe-signature")?, body, secret, now);
    verify_with_secret("stripe", Counterpart::BillingPartner, secrets, verify).await
}

/// Verifies `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]`, which signs `<t>.<body>`. One
/// matching `v1` is enough, because there are two while a secret is rotated; other schemes do not
/// count.
fn verify_header(
    header: &str,
    body: &[u8],
    secret: &Secret,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let items = header.split(',');
    let mut time = None;
    let mut signatures = Vec::new();
    for (name, value) in items.filter_map(|item| item.trim().split_once('=')) {
        match name {
            // With two times, it would be unclear which one is signed.
            "t" if time.is_some() => return Err(SignatureError::Malformed),
            "t" => time = Some(value),
            "v1" => signatures.extend(signature_in(value)),
            _ => {}
        }
    }
    let time = time.ok_or(SignatureError::Malformed)?;
    let seconds = Some(time)
        .filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|time| time.parse().ok())
        .ok_or(SignatureError::Malformed)?;
    if !is_fresh(seconds, now) {
        return Err(SignatureError::AnotherTime);
    }
    let parts = [time.as_bytes(), b".", body];
    if signatures
        .iter()
        .any(|each| verify_hmac(secret, &parts, each))
    {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}

fn is_fresh(seconds: i64, now: Timestamp) -> bool {
    now.seconds().abs_diff(seconds) <= TOLERANCE.as_secs()
}

/// Stripe's event ("The Event object").
#[derive(Deserialize)]
pub(crate) struct StripeEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The object has one of many types, so it is read only if its type is known.
    #[serde(default)]
    data: Value,
}

impl StripeEvent {
    fn text(&self, field: &str) -> Option<&str> {
        self.data.get("object")?.pointer(field)?.as_str()
    }

    /// The payment function writes it into the metadata of each intent and refund, and Stripe
    /// copies it from an intent to its charge.
    fn order(&self) -> Option<OrderId> {
        OrderId::parse(self.text("/metadata/order_id")?).ok()
    }
}

impl PartnerEvent for StripeEvent {
    fn id(&self) -> &str {
        &self.id
    }

    /// Events of an intent that was created, is processing, or requires the customer are ignored:
    /// the answer to our confirmation already said so.
    fn news(&self) -> Option<News> {
        match self.kind.as_str() {
            "payment_intent.succeeded"
            | "payment_intent.payment_failed"
            | "payment_intent.canceled" => self.order().map(News::Charge),
            "charge.refunded"
            | "charge.refund.updated"
            | "refund.created"
            | "refund.updated"
            | "refund.failed" => self.order().map(News::Refund),
            "charge.dispute.created"
            | "charge.dispute.updated"
            | "charge.dispute.closed"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated" => PartnerReference::parse(self.text("/id")?)
                .map(|id| News::Dispute(PartnerName::Stripe, id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    const ORDER: &str = "ord_01JDB4XK00EXAMP0E0RDER0001";

    const BODY: &[u8] = br#"{"id":"evt_test_webhook","object":"event"}"#;
    const SIGNED: &str = "d95c6b7477fbd7e9f90b1b0ef5f9c7ac25abca5382460e0d988c2b2a5b71b990";
    const ROLLED: &str = "7548122dce5e2b728b67327c07959ace6ce459f5ca13822932dac476fc4e0005";

    /// Verifies a webhook that was signed at second 1700000000, this many seconds later.
    fn check(header: &str, body: &[u8], later: i64) -> Result<(), SignatureError> {
        let now = Timestamp::from_millis((1_700_000_000 + later) * 1000);
        verify_header(header, body, &Secret::new("whsec_test_secret"), now)
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

    fn order() -> OrderId {
        OrderId::parse(ORDER).unwrap()
    }

    fn named(text: &str) -> PartnerReference {
        PartnerReference::parse(text).unwrap()
    }

    fn stripe(kind: &str, object: &str) -> Option<News> {
        let body = format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{object}}}}}"#);
        read::<StripeEvent>(body.as_bytes()).unwrap().news()
    }

    #[test]
    fn each_type_of_stripes_tells_what_it_may_have_changed() {
        let ours = format!(r#"{{"id":"du_1","metadata":{{"order_id":"{ORDER}"}}}}"#);
        for (kind, news) in [
            ("payment_intent.succeeded", Some(News::Charge(order()))),
            ("payment_intent.payment_failed", Some(News::Charge(order()))),
            ("payment_intent.canceled", Some(News::Charge(order()))),
            ("payment_intent.created", None),
            ("charge.refunded", Some(News::Refund(order()))),
            ("charge.refund.updated", Some(News::Refund(order()))),
            ("refund.created", Some(News::Refund(order()))),
            ("refund.updated", Some(News::Refund(order()))),
            ("refund.failed", Some(News::Refund(order()))),
            (
                "charge.dispute.created",
                Some(News::Dispute(PartnerName::Stripe, named("du_1"))),
            ),
            (
                "charge.dispute.updated",
                Some(News::Dispute(PartnerName::Stripe, named("du_1"))),
            ),
            (
                "charge.dispute.closed",
                Some(News::Dispute(PartnerName::Stripe, named("du_1"))),
            ),
            (
                "charge.dispute.funds_withdrawn",
                Some(News::Dispute(PartnerName::Stripe, named("du_1"))),
            ),
            (
                "charge.dispute.funds_reinstated",
                Some(News::Dispute(PartnerName::Stripe, named("du_1"))),
            ),
            ("charge.dispute.newer", None),
            ("plan.created", None),
        ] {
            assert_eq!(stripe(kind, &ours), news, "{kind}");
        }
        assert_eq!(stripe("payment_intent.succeeded", "{}"), None);
        assert_eq!(stripe("charge.dispute.created", r#"{"id":7}"#), None);
    }
}
