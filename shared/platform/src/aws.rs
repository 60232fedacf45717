//! The only place that builds AWS clients. They are lean, because building them is most of a cold
//! start.
//!
//! One HTTP stack; TLS by rustls with ring, which needs no entropy warm-up; Amazon's own roots
//! embedded, because every AWS endpoint chains to them ("Amazon Trust Services") and reading the
//! system's file would cost more than everything else; region and credentials from Lambda's
//! environment, without a provider chain.

mod answers;
mod tries;

use std::time::Duration;

use answers::{Verdict, WholeAnswers, classify, classify_code};
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

/// The configuration that all clients share.
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
    /// Reads `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN`,
    /// which Lambda sets, and `AWS_ENDPOINT_URL`, which may be plain HTTP on loopback only.
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

    /// Clients for this region and endpoint.
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

    /// The DynamoDB client, with [`patient_dynamodb`]'s retries.
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

    /// The SQS client: up to four tries with jitter within seven seconds.
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
                    // The default pauses of seconds exceed the relay's time limit.
                    .with_initial_backoff(Duration::from_millis(100)),
            )
            .timeout_config(timeouts(Duration::from_secs(2), most));
        config.set_endpoint_url(self.endpoint_url());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// The Secrets Manager client, called at start and every few minutes: up to three tries.
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

    /// The SES client: one try, because SES does not recognize a repeated mail, on a connection of
    /// its own. An idle connection may have died while the function was frozen ("Best practices for
    /// working with AWS Lambda functions"), and a request lost on it has an unknown outcome.
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

/// Sets `DynamoDB`'s retries and timeouts: with jitter, for about two seconds if calls are refused
/// at once and four if they are not answered. They end before the invocation does, so that a
/// handler can answer 503.
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

/// An HTTP client, without TLS for a plain-HTTP endpoint.
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

/// The outcome of a request whose dependency failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It provably changed nothing: the call was not sent, was throttled, met a conflict, or was a
    /// read.
    NothingDone,
    /// The call was not answered, or earlier calls took effect: the request may have been carried
    /// out in part or in full. A repeat continues from there.
    Unknown,
}

/// How far a failed AWS call got, over all its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It was not sent: no connection, or the request could not be built.
    NotSent,
    /// It was sent, but no usable answer came: it may have been carried out.
    Unanswered,
    /// AWS throttled it, or it met a conflict; it was not carried out.
    Throttled,
    /// AWS refused it (4xx); it was not carried out. Repeats are refused too, until an operator
    /// corrects the cause.
    Refused,
    /// AWS failed (5xx): it may have been carried out.
    ServerFault,
}

/// A failed AWS call, without AWS's own message, which may quote addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct AwsFailure {
    /// The API operation.
    pub operation: &'static str,
    /// How far the call got.
    pub kind: FailureKind,
    /// AWS's error code.
    pub code: Option<String>,
    /// AWS's request ID.
    pub request_id: Option<String>,
}

/// The service that has this operation.
fn service_of(operation: &str) -> &'static str {
    match operation {
        "SendEmail" => "SES",
        "SendMessage" | "SendMessageBatch" => "SQS",
        "GetSecretValue" => "Secrets Manager",
        _ => "DynamoDB",
    }
}

impl AwsFailure {
    /// The outcome of the call. A read changes nothing, however it ended.
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

    /// What happened, for the log.
    fn text(&self) -> String {
        let (service, operation) = (service_of(self.operation), self.operation);
        let what = match self.kind {
            FailureKind::NotSent => format!("{service} could not be reached for {operation}"),
            FailureKind::Unanswered => format!("{service} did not answer {operation}"),
            FailureKind::Throttled => format!("{service} throttled {operation}"),
            FailureKind::Refused => format!("{service} refused {operation}"),
            FailureKind::ServerFault => format!("{service} failed at {operation}"),
        };
        let code = self.code.as_ref().map(|code| format!(": {code}"));
        let request = self
            .request_id
            .as_ref()
            .map(|id| format!(" (AWS request {id})"));
        what + &code.unwrap_or_default() + &request.unwrap_or_default()
    }

    /// A call abandoned before it was answered.
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
            // Only the body has a cancelled transaction's reasons.
            SdkError::ServiceError(service) => match code.as_deref() {
                Some("TransactionCanceledException") => classify(service.raw()).into(),
                code => classify_code(service.raw().status().as_u16(), code).into(),
            },
            // A timeout or an unreadable answer.
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

impl From<Verdict> for FailureKind {
    fn from(said: Verdict) -> Self {
        match said {
            Verdict::Busy => Self::Throttled,
            Verdict::Refused | Verdict::ConditionFailed => Self::Refused,
            Verdict::Failed => Self::ServerFault,
            Verdict::Unreadable => Self::Unanswered,
        }
    }
}

/// Whether the connection itself failed, so that no byte of the request was sent.
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
