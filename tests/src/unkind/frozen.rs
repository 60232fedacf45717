//! Functions as processes behind Lambda's runtime API ("AWS Lambda runtime API"), which are frozen
//! between two invocations.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::partners::{DoubleRequest, read_request};
use crate::{Database, Reply};

/// The time limit of each operation.
const PATIENCE: Duration = Duration::from_secs(30);

/// A function's process. Dropping this ends it.
#[derive(Debug)]
pub struct Function {
    process: Child,
    events: mpsc::UnboundedSender<Value>,
    answers: mpsc::UnboundedReceiver<Value>,
}

/// The requests of the process.
#[derive(Clone)]
struct RuntimeApi {
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
    answers: mpsc::UnboundedSender<Value>,
    given: Arc<Mutex<u64>>,
}

impl Function {
    /// Starts `program` with its function's name; AWS is at `endpoint`.
    pub async fn start(program: &str, name: &str, endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has one");
        let (events, asked) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let api = RuntimeApi {
            events: Arc::new(tokio::sync::Mutex::new(asked)),
            answers: answered,
            given: Arc::default(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(api.clone().converse(stream));
            }
        });
        let tables = Database::tables();
        let tables = [
            ("ORDERS_TABLE", tables.orders),
            ("INVOICES_TABLE", tables.invoices),
            ("EMAILS_TABLE", tables.emails),
            ("IDEMPOTENCY_TABLE", tables.idempotency),
        ];
        let process = Command::new(program)
            .arg(name)
            .env_clear()
            .envs(tables.map(|(name, table)| (name, table.unwrap_or_default())))
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
                ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ])
            .envs([
                ("AWS_LAMBDA_FUNCTION_NAME", name),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "played"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "played"),
                ("AWS_REGION", "eu-central-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AUTHENTICATION", "none"),
                ("STAGE", "test"),
                ("SENDER_EMAIL", "orders@example.com"),
                ("CURRENCY", "USD"),
                ("BILLING_PARTNER", "sandbox"),
                ("TAX_RATE", "0.18"),
                ("TAX_MODE", "of-total"),
                ("EMAIL_QUEUE_URL", "http://localhost/1/Email"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the function's program is built");
        Self {
            process,
            events,
            answers,
        }
    }

    /// Passes it an event and waits for its answer.
    pub async fn invoke(&mut self, event: &Value) -> Reply {
        self.events
            .send(event.clone())
            .expect("the runtime API is up");
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        let answer = answer.expect("it answers in time").expect("it is up");
        let text = answer["body"].as_str().unwrap_or_default().to_owned();
        Reply {
            status: answer["statusCode"].as_u64().unwrap_or_default(),
            headers: answer["headers"].clone(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Stops the process where it is, as Lambda freezes an idle environment.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets the process continue.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It is our own process, even while it is frozen.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl RuntimeApi {
    async fn converse(self, mut stream: TcpStream) {
        while let Some(request) = read_request(&mut stream).await {
            let wire = if request.path.ends_with("/invocation/next") {
                let mut events = self.events.lock().await;
                let Some(event) = events.recv().await else {
                    return;
                };
                next(self.number(), &event)
            } else {
                self.hear(&request);
                "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
            };
            if stream.write_all(wire.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn number(&self) -> u64 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given += 1;
        *given
    }

    fn hear(&self, request: &DoubleRequest) {
        let answer = serde_json::from_slice(&request.body).unwrap_or_default();
        // If the receiver is gone, the test has failed already.
        let _ = self.answers.send(answer);
    }
}

/// An invocation with 10 seconds left.
fn next(number: u64, event: &Value) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda tells its deadline by this clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let deadline = now.unwrap_or_default() + Duration::from_secs(10);
    let event = event.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         lambda-runtime-aws-request-id: {number}\r\nlambda-runtime-deadline-ms: {}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:1:function:played\r\n\
         \r\n{event}",
        event.len(),
        deadline.as_millis()
    )
}
