//! The one place that builds AWS clients: lean, because their construction is most of a cold start.
//!
//! One HTTP stack; TLS by rustls with ring, which needs no entropy warm-up; Amazon's own roots
//! embedded, because every AWS endpoint chains to them ("Amazon Trust Services") and reading the
//! system's file costs more than all the rest; region and credentials from Lambda's environment, so
//! no provider chain.

mod tries;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use crate::config::{ConfigError, Environment};
use crate::error::Outcome;

pub use tries::AllTries;

const AMAZON_ROOTS: [&[u8]; 5] = [
    include_bytes!("aws/amazon_root_ca_1.pem"),
    include_bytes!("aws/amazon_root_ca_2.pem"),
    include_bytes!("aws/amazon_root_ca_3.pem"),
    include_bytes!("aws/amazon_root_ca_4.pem"),
    include_bytes!("aws/starfield_services_root_g2.pem"),
];

/// What every client is built from.
#[derive(Clone)]
pub struct Aws {
    region: Region,
    credentials: Credentials,
    endpoint: Option<String>,
    http: SharedHttpClient,
    /// With a connection of its own for each request.
    #[cfg(feature = "ses")]
    unpooled_http: SharedHttpClient,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Aws {
    /// Reads `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, as
    /// Lambda sets them, and `AWS_ENDPOINT_URL` for a local endpoint, which may be plain http.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let credentials = Credentials::new(
            environment.required("AWS_ACCESS_KEY_ID")?,
            environment.required("AWS_SECRET_ACCESS_KEY")?,
            environment.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = environment.optional("AWS_ENDPOINT_URL");
        let region = environment.required("AWS_REGION")?;
        Ok(Self::new(region, credentials, endpoint))
    }

    /// Clients for that region and endpoint.
    #[must_use]
    pub fn new(region: String, credentials: Credentials, endpoint: Option<String>) -> Self {
        let is_plain = endpoint
            .as_deref()
            .is_some_and(|url| url.starts_with("http://"));
        Self {
            region: Region::new(region),
            credentials,
            endpoint,
            http: http_client(HttpClientBuilder::new(), is_plain),
            #[cfg(feature = "ses")]
            unpooled_http: http_client(
                HttpClientBuilder::new().pool_max_idle_per_host(0),
                is_plain,
            ),
        }
    }

    /// DynamoDB: up to four tries with jitter inside four seconds, so that a handler that makes two
    /// calls still has time to answer 503 itself.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .interceptor(AllTries)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(4)
                    .with_initial_backoff(Duration::from_millis(50)),
            )
            .timeout_config(timeouts(
                Duration::from_millis(1500),
                Duration::from_secs(4),
            ));
        config.set_endpoint_url(self.endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// SQS: up to three tries.
    #[cfg(feature = "sqs")]
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .interceptor(AllTries)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts(Duration::from_secs(3), Duration::from_secs(10)));
        config.set_endpoint_url(self.endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Secrets Manager, which is asked once at start: up to three tries.
    #[cfg(feature = "secrets")]
    #[must_use]
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts(Duration::from_secs(2), Duration::from_secs(7)));
        config.set_endpoint_url(self.endpoint.clone());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }

    /// SES: one try, because SES does not recognise a repeated mail, on a connection of its own. An
    /// idle connection may have ended while the function was frozen ("Best practices for working with
    /// AWS Lambda functions"), and a request that it loses cannot be told from one that was carried
    /// out.
    #[cfg(feature = "ses")]
    #[must_use]
    pub fn ses(&self) -> aws_sdk_sesv2::Client {
        let mut config = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.unpooled_http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(Duration::from_secs(10), Duration::from_secs(10)));
        config.set_endpoint_url(self.endpoint.clone());
        aws_sdk_sesv2::Client::from_conf(config.build())
    }
}

/// `is_plain`: no TLS, for a local endpoint.
fn http_client(builder: HttpClientBuilder, is_plain: bool) -> SharedHttpClient {
    if is_plain {
        return builder.build_http();
    }
    let roots = AMAZON_ROOTS
        .into_iter()
        .fold(TrustStore::empty(), TrustStore::with_pem_certificate);
    let context = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .expect("a trust store is all that the context takes");
    builder
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https()
}

fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

/// How far a failed AWS call got, with all of its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It never left: no connection, or it could not be built.
    NotSent,
    /// It was sent and no usable answer came: it may have been carried out.
    Unanswered,
    /// AWS asked for less; it was not carried out.
    Throttled,
    /// AWS refused it (4xx); it was not carried out.
    Refused,
    /// AWS failed (5xx): it may have been carried out.
    ServerFault,
}

/// A failed AWS call, without the service's own text, which may quote addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed: {kind:?}, code {code:?}, AWS request id {request_id:?}")]
pub struct AwsFailure {
    /// The API operation.
    pub operation: &'static str,
    /// How far it got.
    pub kind: FailureKind,
    /// The service's error code.
    pub code: Option<String>,
    /// The service's request id.
    pub request_id: Option<String>,
}

impl AwsFailure {
    /// What is known of the call: a read changes nothing, whatever became of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.kind {
            FailureKind::NotSent | FailureKind::Throttled | FailureKind::Refused => {
                Outcome::NothingDone
            }
            FailureKind::Unanswered | FailureKind::ServerFault
                if matches!(self.operation, "GetItem" | "BatchGetItem" | "Query") =>
            {
                Outcome::NothingDone
            }
            FailureKind::Unanswered | FailureKind::ServerFault => Outcome::Unknown,
        }
    }

    /// Describes an SDK error of `operation`.
    pub fn new<E>(operation: &'static str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code().map(str::to_owned);
        let kind = match error {
            SdkError::ConstructionFailure(_) => FailureKind::NotSent,
            SdkError::DispatchFailure(failure) => {
                let connector = failure.as_connector_error();
                if connector.is_some_and(|error| failed_to_connect(error)) {
                    FailureKind::NotSent
                } else {
                    FailureKind::Unanswered
                }
            }
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                if status == 429 || code.as_deref().is_some_and(is_throttling) {
                    FailureKind::Throttled
                } else if status >= 500 {
                    FailureKind::ServerFault
                } else {
                    FailureKind::Refused
                }
            }
            // A time-out, or an answer that could not be read.
            _ => FailureKind::Unanswered,
        };
        Self {
            operation,
            kind,
            code,
            request_id: error.meta().extra("aws_request_id").map(str::to_owned),
        }
    }
}

/// Whether a service's error code, or the answer that holds it, asks for less.
fn is_throttling(code: &str) -> bool {
    [
        "Throttl",
        "TooManyRequests",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
    ]
    .iter()
    .any(|each| code.contains(each))
}

/// Whether the connection itself failed, so that not a byte of the request went out.
pub(crate) fn failed_to_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return client.is_connect();
        }
        source = error.source();
    }
    false
}
