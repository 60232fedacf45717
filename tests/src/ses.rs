//! A double of Amazon SES: over a socket on loopback, or within the process if the test stops the
//! clock. It keeps a ledger of accepted mails.
//!
//! Its answers: "Amazon SES API v2 Reference, `SendEmail`"; the texts of the two limits: "Errors
//! related to the sending quotas for your Amazon SES account".

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use platform::aws::Aws;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::partners::{DoubleRequest, read_request};

/// How long SES takes to answer.
const ANSWERS_AFTER: Duration = Duration::from_millis(100);

/// What happens to a connection after its first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// The next request on it is answered.
    #[default]
    Kept,
    /// It closes at once.
    Closed,
    /// It closes when the next request arrives.
    ClosedOnUse,
    /// The next request is answered with RST: an intermediary has forgotten the connection ("Best
    /// practices for working with AWS Lambda functions": idle connections are purged).
    Reset,
    /// The next request is never answered.
    Silent,
}

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenMail {
    /// SES's ID of the mail.
    pub id: String,
    /// The sender.
    pub from: String,
    /// The only recipient.
    pub to: String,
    /// The request's `EmailTags`.
    pub tags: BTreeMap<String, String>,
    /// The request's `ConfigurationSetName`.
    pub configuration_set: Option<String>,
}

/// An answer other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The exception's name.
    pub code: &'static str,
    /// The exception's message.
    pub message: String,
}

impl SesRefusal {
    /// More mails than the account may send per second.
    #[must_use]
    pub fn too_fast() -> Self {
        Self {
            status: 429,
            code: "TooManyRequestsException",
            message: "Maximum sending rate exceeded.".to_owned(),
        }
    }

    /// More mails than the account may send in 24 hours.
    #[must_use]
    pub fn quota_used_up() -> Self {
        Self {
            message: "Daily message quota exceeded.".to_owned(),
            ..Self::too_fast()
        }
    }

    /// An address to which SES cannot send.
    fn malformed_address() -> Self {
        Self {
            status: 400,
            code: "BadRequestException",
            message: "Domain contains illegal character".to_owned(),
        }
    }

    /// The account is in the sandbox and has not verified this identity.
    fn not_verified(address: &str) -> Self {
        Self {
            status: 400,
            code: "MessageRejected",
            message: format!(
                "Email address is not verified. The following identities failed the check in \
                 region EU-CENTRAL-1: {address}"
            ),
        }
    }
}

/// Whether SES sends to an address: a local part of ASCII characters without white space, with
/// single dots only between others, and a domain of letters, digits, and hyphens, in Punycode if it
/// is not ASCII (SES API reference, `Destination`; brave/accounts #35, 18F/identity-idp #7380).
fn is_sendable(address: &str) -> bool {
    let dots_fit = |part: &str| part.split('.').all(|each| !each.is_empty());
    let is_domain = |domain: &str| {
        let is_label = |label: &str| {
            let fits = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            fits && !label.starts_with('-') && !label.ends_with('-')
        };
        dots_fit(domain) && domain.contains('.') && domain.split('.').all(is_label)
    };
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        dots_fit(local)
            && local.chars().all(|c| c.is_ascii_graphic() && c != '@')
            && is_domain(domain)
    })
}

/// A token bucket: it holds one second's mails, and refills at the same rate.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn take(&mut self) -> bool {
        let passed = self.filled_at.elapsed().as_secs_f64();
        self.filled_at = Instant::now();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        let is_left = self.tokens >= 1.0;
        self.tokens -= if is_left { 1.0 } else { 0.0 };
        is_left
    }
}

#[derive(Debug, Default)]
struct Books {
    taken: Vec<TakenMail>,
    calls: u64,
    bucket: Option<Bucket>,
    quota: Option<usize>,
    /// The identities that an account in the sandbox has verified.
    verified: Option<BTreeSet<String>>,
    refusals: VecDeque<SesRefusal>,
    idle: Idle,
    connections: u64,
}

impl Books {
    fn send(&mut self, body: &Value) -> Result<String, SesRefusal> {
        self.calls += 1;
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(refusal);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (from, to) = (
            text(&body["FromEmailAddress"]),
            text(&body["Destination"]["ToAddresses"][0]),
        );
        if !is_sendable(&to) {
            return Err(SesRefusal::malformed_address());
        }
        if let Some(verified) = &self.verified
            && let Some(unknown) = [&from, &to]
                .into_iter()
                .find(|each| !verified.contains(*each))
        {
            return Err(SesRefusal::not_verified(unknown));
        }
        if self.quota.is_some_and(|quota| self.taken.len() >= quota) {
            return Err(SesRefusal::quota_used_up());
        }
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.take()) {
            return Err(SesRefusal::too_fast());
        }
        let tags = body["EmailTags"].as_array().into_iter().flatten();
        let id = format!("0100019a{:016x}-000000", self.taken.len());
        self.taken.push(TakenMail {
            id: id.clone(),
            from,
            to,
            tags: tags
                .map(|tag| (text(&tag["Name"]), text(&tag["Value"])))
                .collect(),
            configuration_set: body["ConfigurationSetName"].as_str().map(str::to_owned),
        });
        Ok(id)
    }
}

/// SES for one account. Clones share the ledger.
#[derive(Clone, Debug, Default)]
pub struct SesDouble(Arc<Mutex<Books>>);

impl SesDouble {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what happens to connections after their first answer.
    pub fn set_idle(&self, idle: Idle) {
        self.books().idle = idle;
    }

    /// From now on at most `rate` mails per second are accepted.
    pub fn set_rate(&self, rate: u32) {
        let rate = f64::from(rate);
        self.books().bucket = Some(Bucket {
            rate,
            tokens: rate,
            filled_at: Instant::now(),
        });
    }

    /// From now on at most `quota` mails are accepted in total; `None` for no limit.
    pub fn set_quota(&self, quota: Option<usize>) {
        self.books().quota = quota;
    }

    /// From now on the account is in the sandbox and has verified only these identities.
    pub fn set_sandbox(&self, verified: &[&str]) {
        let verified = verified.iter().map(|each| (*each).to_owned());
        self.books().verified = Some(verified.collect());
    }

    /// The next call is refused like this.
    pub fn refuse_next(&self, refusal: SesRefusal) {
        self.books().refusals.push_back(refusal);
    }

    /// The mails accepted so far.
    #[must_use]
    pub fn taken(&self) -> Vec<TakenMail> {
        self.books().taken.clone()
    }

    /// The number of calls received.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.books().calls
    }

    /// The number of connections opened.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.books().connections
    }

    /// The client of `aws.rs` for a server on loopback, which lives as long as the test's runtime.
    #[must_use]
    pub fn client(&self) -> aws_sdk_sesv2::Client {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = std::net::TcpListener::bind(any_port).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has one");
        listener
            .set_nonblocking(true)
            .expect("a fresh socket takes it");
        let listener = TcpListener::from_std(listener).expect("a test has a runtime");
        let double = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                double.books().connections += 1;
                tokio::spawn(double.clone().converse(stream));
            }
        });
        let endpoint = Some(format!("http://{address}"));
        Aws::new(
            "eu-central-1".to_owned(),
            credentials(),
            endpoint.map(|each| each.parse().expect("it is an address of this machine")),
        )
        .ses()
    }

    /// The same client within the process. A stopped clock does not work with sockets, because a
    /// runtime that waits for a socket counts as idle.
    #[must_use]
    pub fn client_within_the_process(&self) -> aws_sdk_sesv2::Client {
        let aws = Aws::new("eu-central-1".to_owned(), credentials(), None);
        let connector = SharedHttpConnector::new(self.clone());
        let http: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
        let config = aws.ses().config().to_builder().http_client(http);
        aws_sdk_sesv2::Client::from_conf(config.build())
    }

    fn answer(&self, request: &DoubleRequest) -> (u16, Option<&'static str>, Vec<u8>) {
        let is_send = request.method == "POST" && request.path == "/v2/email/outbound-emails";
        assert!(is_send, "SES was asked {} {}", request.method, request.path);
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        match self.books().send(&body) {
            Ok(id) => (200, None, json!({ "MessageId": id }).to_string().into()),
            Err(refusal) => {
                let body = json!({ "message": refusal.message });
                (refusal.status, Some(refusal.code), body.to_string().into())
            }
        }
    }

    async fn converse(self, mut stream: TcpStream) {
        let mut is_first = true;
        loop {
            let idle = self.books().idle;
            match (is_first, idle) {
                (true, _) | (false, Idle::Kept) => {}
                (false, Idle::Closed) => return,
                (false, Idle::ClosedOnUse) => {
                    let _ = read_request(&mut stream).await;
                    return;
                }
                (false, Idle::Reset) => {
                    let _ = stream.read_u8().await;
                    let _ = stream.set_zero_linger();
                    return;
                }
                (false, Idle::Silent) => {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    return;
                }
            }
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            let (status, code, body) = self.answer(&request);
            let code =
                code.map_or_else(String::new, |code| format!("x-amzn-errortype: {code}\r\n"));
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n{code}\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            let wire = [head.as_bytes(), &body].concat();
            if stream.write_all(&wire).await.is_err() {
                return;
            }
            is_first = false;
        }
    }
}

impl HttpConnector for SesDouble {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let double = self.clone();
        let request = DoubleRequest::from_http(&request);
        HttpConnectorFuture::new(async move {
            let (status, code, body) = double.answer(&request);
            tokio::time::sleep(ANSWERS_AFTER).await;
            let garbled = || ConnectorError::io("played: no HTTP status".into());
            let status = status.try_into().map_err(|_| garbled())?;
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            if let Some(code) = code {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            Ok(response)
        })
    }
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}
