//! The one place that builds AWS clients: lean, because their construction is most of a cold start.
//!
//! One HTTP stack; TLS by rustls with ring, which needs no entropy warm-up; Amazon's own roots
//! embedded, because every AWS endpoint chains to them ("Amazon Trust Services") and reading the
//! system's file costs more than all the rest; region and credentials from Lambda's environment, so
//! no provider chain.

mod answers;
mod tries;

use std::time::Duration;

use answers::{Said, WholeAnswers, said, said_by};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use tries::{AllTries, InTime, Patience};

use crate::config::{ConfigError, Environment, aws_endpoint};
use crate::endpoint::Endpoint;

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
    endpoint: Option<Endpoint>,
    http: SharedHttpClient,
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
    /// Lambda sets them, and `AWS_ENDPOINT_URL`, which may be plain http on this machine alone.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let credentials = Credentials::new(
            environment.required("AWS_ACCESS_KEY_ID")?,
            environment.required("AWS_SECRET_ACCESS_KEY")?,
            environment.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = aws_endpoint(environment)?;
        let region = environment.required("AWS_REGION")?;
        Ok(Self::new(region, credentials, endpoint))
    }

    /// Clients for that region and endpoint.
    #[must_use]
    pub fn new(region: String, credentials: Credentials, endpoint: Option<Endpoint>) -> Self {
        let http = http_client(HttpClientBuilder::new(), endpoint.as_ref());
        Self {
            region: Region::new(region),
            credentials,
            endpoint,
            http,
        }
    }

    fn endpoint_url(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref();
        endpoint.map(|endpoint| endpoint.as_str().to_owned())
    }

    /// DynamoDB, with [`patient_dynamodb`] for its tries.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone());
        let mut config = patient_dynamodb(config);
        config.set_endpoint_url(self.endpoint_url());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// SQS: up to four tries with jitter inside seven seconds.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let most = Duration::from_secs(7);
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .interceptor(AllTries)
            .interceptor(WholeAnswers)
            .interceptor(InTime { most })
            .retry_classifier(Patience)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(4)
                    // The default's pauses, of seconds, outlast the relay's patience.
                    .with_initial_backoff(Duration::from_millis(100)),
            )
            .timeout_config(timeouts(Duration::from_secs(2), most));
        config.set_endpoint_url(self.endpoint_url());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Secrets Manager, which is asked at start and every few minutes: up to three tries.
    #[must_use]
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(timeouts(Duration::from_secs(2), Duration::from_secs(7)));
        config.set_endpoint_url(self.endpoint_url());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }

    /// SES: one try, because SES does not recognise a repeated mail, on a connection of its own. An
    /// idle connection may have ended while the function was frozen ("Best practices for working with
    /// AWS Lambda functions"), and a request that it loses cannot be told from one that was carried
    /// out.
    #[must_use]
    pub fn ses(&self) -> aws_sdk_sesv2::Client {
        let unpooled = HttpClientBuilder::new().pool_max_idle_per_host(0);
        let unpooled = http_client(unpooled, self.endpoint.as_ref());
        let mut config = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(unpooled)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(Duration::from_secs(10), Duration::from_secs(10)));
        config.set_endpoint_url(self.endpoint_url());
        aws_sdk_sesv2::Client::from_conf(config.build())
    }
}

/// Adds how often and how long a call to `DynamoDB` is tried: with jitter, for about two seconds where
/// it is refused at once and four where it is not answered, and never into the last moments of an
/// invocation, so that a handler answers 503 itself.
#[must_use]
pub fn patient_dynamodb(
    config: aws_sdk_dynamodb::config::Builder,
) -> aws_sdk_dynamodb::config::Builder {
    let most = Duration::from_secs(4);
    config
        .interceptor(AllTries)
        .interceptor(WholeAnswers)
        .interceptor(InTime { most })
        .retry_classifier(Patience)
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(8)
                .with_initial_backoff(Duration::from_millis(50))
                .with_max_backoff(Duration::from_secs(1)),
        )
        .timeout_config(timeouts(Duration::from_millis(1500), most))
}

/// Without TLS for a plain-http endpoint.
fn http_client(builder: HttpClientBuilder, endpoint: Option<&Endpoint>) -> SharedHttpClient {
    if endpoint.is_some_and(Endpoint::is_plain) {
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

/// What is known of a request that a dependency has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It provably changed nothing: the call was not sent, was throttled, met a conflict, or was a
    /// read.
    NothingDone,
    /// The call was not answered, or others before it took effect: it may have been carried out, in
    /// part or in full. A repeat goes on from there.
    Unknown,
}

/// How far a failed AWS call got, with all of its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It never left: no connection, or it could not be built.
    NotSent,
    /// It was sent and no usable answer came: it may have been carried out.
    Unanswered,
    /// AWS asked for less, or it met other calls; it was not carried out.
    Throttled,
    /// AWS refused it (4xx); it was not carried out. A repeat is refused too, until an operator mends
    /// what is wrong.
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

    /// A call that was given up before it was answered.
    #[must_use]
    pub fn timed_out(operation: &'static str) -> Self {
        Self {
            operation,
            kind: FailureKind::Unanswered,
            code: None,
            request_id: None,
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
            // The reasons of a cancelled transaction stand in its body alone.
            SdkError::ServiceError(service) => match code.as_deref() {
                Some("TransactionCanceledException") => said(service.raw()).into(),
                code => said_by(service.raw().status().as_u16(), code).into(),
            },
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

impl From<Said> for FailureKind {
    fn from(said: Said) -> Self {
        match said {
            Said::Busy => Self::Throttled,
            Said::Refused | Said::Explained => Self::Refused,
            Said::Failed => Self::ServerFault,
            Said::Unreadable => Self::Unanswered,
        }
    }
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
