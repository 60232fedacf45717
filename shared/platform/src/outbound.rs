//! Plain HTTPS calls to partners, on the HTTP stack that the AWS SDK already links.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use secrecy::{ExposeSecret, SecretString};

use crate::aws::failed_to_connect;
use crate::config::{ConfigError, Environment};
use crate::deadline;
use crate::endpoint::Endpoint;

/// Timeout for connecting.
const CONNECT: Duration = Duration::from_secs(2);

/// Time reserved after a call to record its outcome.
const RESERVE: Duration = Duration::from_secs(5);

/// The maximum length of a partner's answer; a longer one is not read to the end.
const MAX_ANSWER: usize = 512 * 1024;

/// A key, token, or password. `Debug` does not print it, and its memory is overwritten on drop.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// Keeps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The value of an `authorization` header for this user and password (RFC 7617).
    #[must_use]
    pub fn basic_authorization(user: &str, password: &Self) -> Self {
        let pair = Self::new(format!("{user}:{}", password.expose()));
        let pair = aws_smithy_types::base64::encode(pair.expose());
        Self::new(format!("Basic {pair}"))
    }

    /// The text, for sending it or verifying a signature with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Detects that the shop's keys were replaced. Callers' input is never compared with a secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

/// A call to a partner.
#[derive(Clone, Debug)]
pub struct HttpsCall {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// The path with its query, such as `/v1/refunds?limit=1`.
    pub path: String,
    /// Names in lower case. Values may be secrets and are not printed.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

/// A partner's answer, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpsAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The complete body.
    pub body: Vec<u8>,
}

/// How far an unanswered call got.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// No byte was sent.
    #[error("no connection to the partner")]
    NotSent(#[source] ConnectorError),
    /// It was sent, but the answer was lost: it may have been carried out.
    #[error("the partner's answer was lost")]
    Unanswered(#[source] ConnectorError),
    /// No complete answer came in time: it may have been carried out.
    #[error("the partner did not answer in {0:?}")]
    TimedOut(Duration),
    /// The answer is too long or was cut off: it may have been carried out.
    #[error("the partner's answer is too long or was cut off")]
    Unreadable,
    /// The invocation has too little time left; nothing was sent.
    #[error("the invocation has no time left for the call")]
    NoTime,
    /// The call is malformed; nothing was sent.
    #[error("the call is malformed")]
    Malformed,
}

impl HttpsError {
    /// Whether the partner provably did nothing.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::NoTime | Self::Malformed)
    }
}

/// A client for one partner.
#[derive(Clone, Debug)]
pub struct Https {
    connector: SharedHttpConnector,
    base: String,
}

impl Https {
    /// A client for an API at `base`, such as `https://api.stripe.com`. TLS trusts the system's
    /// roots, which Lambda's runtime updates, because partners change their certificate authorities
    /// without notice. `http://` is for tests and laptops.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let base = base.into();
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT)
            .build();
        // One connection per call. An idle connection may have died while the function was frozen,
        // and a charge sent over it has an unknown outcome. The extra handshake of two round trips
        // is cheap by comparison.
        let builder = Connector::builder()
            .connector_settings(settings)
            .pool_max_idle_per_host(0);
        let connector = if base.starts_with("http://") {
            builder.build_http()
        } else {
            builder
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(TlsContext::default())
                .build()
        };
        Self::with_connector(SharedHttpConnector::new(connector), base)
    }

    /// The address of an API: the variable `name`, or `default` if it is not set. `http://` is
    /// accepted for loopback only.
    pub fn address(
        environment: Environment<'_>,
        name: &'static str,
        default: &str,
    ) -> Result<String, ConfigError> {
        let address = environment.optional(name);
        let address = address.unwrap_or_else(|| default.to_owned());
        match address.parse::<Endpoint>() {
            Ok(endpoint) => Ok(endpoint.as_str().to_owned()),
            Err(error) => Err(ConfigError::Wrong {
                name,
                expected: error.to_string(),
            }),
        }
    }

    /// A client over the caller's connector, for tests that lose requests and answers.
    #[must_use]
    pub fn with_connector(connector: SharedHttpConnector, base: impl Into<String>) -> Self {
        Self {
            connector,
            base: base.into(),
        }
    }

    /// Makes one call, without a retry. It takes at most `limit` from the first byte sent to the
    /// last byte read, or less if the invocation has less time left.
    pub async fn call(&self, call: HttpsCall, limit: Duration) -> Result<HttpsAnswer, HttpsError> {
        let limit = match deadline::remaining() {
            None => limit,
            Some(left) => limit.min(left.saturating_sub(RESERVE)),
        };
        if limit < Duration::from_millis(500) {
            return Err(HttpsError::NoTime);
        }
        let request = self.request(call).ok_or(HttpsError::Malformed)?;
        tokio::time::timeout(limit, self.exchange(request))
            .await
            .unwrap_or(Err(HttpsError::TimedOut(limit)))
    }

    fn request(&self, call: HttpsCall) -> Option<HttpRequest> {
        let mut request = HttpRequest::new(SdkBody::from(call.body));
        request.set_method(call.method).ok()?;
        request
            .set_uri(format!("{}{}", self.base, call.path))
            .ok()?;
        let length = request.body().bytes().unwrap_or_default().len();
        let headers = request.headers_mut();
        for (name, value) in call.headers {
            headers.try_insert(name, value.expose().to_owned()).ok()?;
        }
        if length > 0 || call.method == "POST" {
            headers
                .try_insert("content-length", length.to_string())
                .ok()?;
        }
        headers.try_insert("user-agent", "OrderFlow").ok()?;
        Some(request)
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpsAnswer, HttpsError> {
        let answer = self.connector.call(request).await.map_err(|error| {
            if failed_to_connect(&error) {
                HttpsError::NotSent(error)
            } else {
                HttpsError::Unanswered(error)
            }
        })?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|_| HttpsError::Unreadable)?;
        Ok(HttpsAnswer {
            status,
            body: body.to_bytes().to_vec(),
        })
    }
}

/// Fields as `application/x-www-form-urlencoded` (URL Standard, "application/x-www-form-urlencoded
/// serializing").
#[must_use]
pub fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_escapes_what_would_break_it() {
        let text = form(&[("metadata[order]", "a b&c=ü"), ("amount", "200")]);
        assert_eq!(text, "metadata%5Border%5D=a+b%26c%3D%C3%BC&amount=200");
        assert_eq!(form(&[("all", "*-._~+%\n")]), "all=*-._%7E%2B%25%0A");
        assert_eq!(form(&[]), "");
    }

    #[test]
    fn basic_authorization_is_written_as_rfc_7617_shows_it() {
        let password = Secret::new("open sesame");
        let header = Secret::basic_authorization("Aladdin", &password);
        assert_eq!(header.expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let call = HttpsCall {
            method: "GET",
            path: "/".to_owned(),
            headers: vec![("authorization", Secret::new("canary"))],
            body: Vec::new(),
        };
        assert!(!format!("{call:?}").contains("canary"));
    }

    #[test]
    fn the_key_goes_nowhere_unencrypted_but_to_this_machine() {
        let address = |value: &str| {
            let read = |_: &str| Some(value.to_owned());
            Https::address(
                Environment::new(&read),
                "STRIPE_URL",
                "https://api.stripe.com",
            )
        };
        assert_eq!(address("").unwrap(), "https://api.stripe.com");
        assert_eq!(address("http://localhost:1").unwrap(), "http://localhost:1");
        assert!(matches!(
            address("http://127.0.0.1.example.com"),
            Err(ConfigError::Wrong {
                name: "STRIPE_URL",
                ..
            })
        ));
    }
}
