//! Plain HTTPS calls to partners, on the HTTP stack that the AWS SDK has linked already.

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

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// What is left of an invocation for what follows a call: writing down what became of it.
const RESERVE: Duration = Duration::from_secs(5);

/// No partner's answer is longer; one that is, is not read to its end.
const MAX_ANSWER: usize = 512 * 1024;

/// A secret: a key, a token, a password. It cannot be printed, and its memory is overwritten when it
/// is dropped.
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

    /// The text, for the one place that sends it or checks a signature with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Tells whether the shop's keys were replaced. What callers send is never compared with a secret.
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
    /// From the root, with its query: `/v1/refunds?limit=1`.
    pub path: String,
    /// Names in lower case. A value may hold a secret, so that they are not printed.
    pub headers: Vec<(&'static str, Secret)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// A partner's answer, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpsAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// How far a call got that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Not a byte of it went out.
    #[error("no connection to the partner")]
    NotSent(#[source] ConnectorError),
    /// It went out and the answer was lost: it may have been carried out.
    #[error("the partner's answer was lost")]
    Unanswered(#[source] ConnectorError),
    /// No whole answer came in time: it may have been carried out.
    #[error("the partner did not answer in {0:?}")]
    TimedOut(Duration),
    /// The answer is too long or breaks off: it may have been carried out.
    #[error("the partner's answer cannot be read to its end")]
    Unreadable,
    /// Too little is left of this invocation to begin; nothing went out.
    #[error("no time is left for the call")]
    NoTime,
    /// The call itself is malformed; nothing went out.
    #[error("the call cannot be made")]
    Malformed,
}

impl HttpsError {
    /// Whether the partner provably did nothing.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::NoTime | Self::Malformed)
    }
}

/// Calls one partner.
#[derive(Clone, Debug)]
pub struct Https {
    connector: SharedHttpConnector,
    base: String,
}

impl Https {
    /// For an API at `base`, such as `https://api.stripe.com`. TLS trusts the roots of the system,
    /// which Lambda's runtime keeps current: partners change their certificate authorities without
    /// asking. `http://` is for tests and laptops.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let base = base.into();
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT)
            .build();
        // A connection that was idle while the function was frozen may be dead, and a charge that is
        // sent over it is of unknown outcome. So each call has its own: one more handshake, of two round
        // trips, is cheap beside a charge of unknown outcome.
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

    /// An API's address: the variable `name`, or else `default`. A partner is called by `https://`
    /// alone; `http://` is for this machine.
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

    /// The same over a connector of the caller's choice, for tests that lose requests and answers.
    #[must_use]
    pub fn with_connector(connector: SharedHttpConnector, base: impl Into<String>) -> Self {
        Self {
            connector,
            base: base.into(),
        }
    }

    /// Makes one call, without a retry. From the first byte sent to the last one read it takes at
    /// most `limit`, and less where the invocation has less time left.
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
