//! The one way in which a function meets Lambda: it answers API Gateway events and consumes SQS
//! batches, whichever arrives.

mod batch;
pub mod deadline;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Body, Request, Response};
use lambda_runtime::tower::Service as _;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::Instrument as _;

pub use batch::Consumed;

use crate::aws::Aws;
use crate::config::{Authentication, ConfigError, Environment, Tables};
use crate::error::Error;
use crate::event::Message;
use crate::http::{Answer, Call, Repeat};
use crate::runtime::Runtime;
use crate::store::Store;
use crate::telemetry;

/// What every function starts with.
#[derive(Debug)]
pub struct Started {
    /// For further clients.
    pub aws: Aws,
    /// The tables.
    pub store: Store,
    /// Clock and random bytes.
    pub runtime: Runtime,
    /// How callers are known.
    pub authentication: Authentication,
}

impl Started {
    /// Starts logging and makes what every function needs from its environment.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        telemetry::start(environment.optional("LOG_LEVEL").as_deref());
        let aws = Aws::from_environment(environment)?;
        let runtime = Runtime::system();
        Ok(Self {
            store: Store::new(
                aws.dynamodb(),
                Tables::from_environment(environment),
                runtime.clone(),
            )
            .with_sender(environment.optional("SENDER_EMAIL").as_deref()),
            aws,
            runtime,
            authentication: Authentication::from_environment(environment)?,
        })
    }
}

/// What one of the services does with what arrives.
pub trait Function: Send + Sync + 'static {
    /// Answers an HTTP request as it came: by the checks that all endpoints share, and then by
    /// [`Function::answer`]. Only an endpoint whose callers are no callers of ours has another way;
    /// it MUST know by itself who calls.
    fn respond(
        &self,
        request: &Request,
        authentication: &Authentication,
    ) -> impl Future<Output = Result<Answer, Error>> + Send {
        async move {
            let call = Call::from_request(request, authentication)?;
            self.answer(call).await
        }
    }

    /// Answers an HTTP request.
    fn answer(&self, call: Call) -> impl Future<Output = Result<Answer, Error>> + Send;

    /// Carries out what a text asks for that is no message of ours; `None` where it asks for nothing
    /// that is known here. The same holds as for [`Function::consume`].
    fn consume_foreign(
        &self,
        text: &str,
    ) -> impl Future<Output = Option<Result<Consumed, Error>>> + Send {
        let _ = text;
        async { None }
    }

    /// Carries out what a message hints at. It MUST be harmless when done twice, and an `Err` MUST
    /// leave everything so that the same message can be tried again.
    fn consume(&self, message: Message) -> impl Future<Output = Result<Consumed, Error>> + Send;
}

/// A service together with what it needs to meet Lambda.
#[derive(Debug)]
pub struct Handler<F> {
    function: Arc<F>,
    authentication: Arc<Authentication>,
}

impl<F> Clone for Handler<F> {
    fn clone(&self) -> Self {
        Self {
            function: Arc::clone(&self.function),
            authentication: Arc::clone(&self.authentication),
        }
    }
}

/// An event that this function has no use for.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Neither an API Gateway v2 event nor an SQS batch.
    #[error("the event is neither an HTTP API request nor an SQS batch")]
    Unknown(#[source] serde_json::Error),
    /// The answer could not be written.
    #[error("the answer could not be written")]
    Answer(#[source] serde_json::Error),
}

/// Just enough of an event to tell its kind.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
}

impl<F: Function> Handler<F> {
    /// Wraps a service.
    pub fn new(function: F, authentication: Authentication) -> Self {
        Self {
            function: Arc::new(function),
            authentication: Arc::new(authentication),
        }
    }

    /// Serves Lambda until it ends the process.
    pub async fn run(self) -> Result<(), lambda_runtime::Error> {
        lambda_runtime::run(service_fn(move |event| {
            let handler = self.clone();
            async move {
                handler
                    .handle(event)
                    .await
                    .map_err(lambda_runtime::Error::from)
            }
        }))
        .await
    }

    /// Answers one event.
    pub async fn handle(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<Box<RawValue>, EventError> {
        let deadline = event.context.deadline();
        deadline::until(deadline, self.handle_in_time(event)).await
    }

    async fn handle_in_time(
        &self,
        event: LambdaEvent<Box<RawValue>>,
    ) -> Result<Box<RawValue>, EventError> {
        let LambdaEvent { payload, context } = event;
        let span = tracing::info_span!("invocation", request_id = %context.request_id);
        let probe: Probe<'_> = serde_json::from_str(payload.get()).map_err(EventError::Unknown)?;
        if probe.records.is_some() {
            let batch = serde_json::from_str(payload.get()).map_err(EventError::Unknown)?;
            let failures = self.consume_batch(batch).instrument(span).await;
            return to_raw_value(&failures).map_err(EventError::Answer);
        }
        let request: LambdaRequest =
            serde_json::from_str(payload.get()).map_err(EventError::Unknown)?;
        let mut adapter = Adapter::from(service_fn(|request: Request| {
            let handler = self.clone();
            async move { Ok::<_, Infallible>(handler.answer(request).await) }
        }));
        let Ok(response) = adapter
            .call(LambdaEvent::new(request, context))
            .instrument(span)
            .await;
        to_raw_value(&response).map_err(EventError::Answer)
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        let result = async {
            AssertUnwindSafe(self.function.respond(&request, &self.authentication))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(Error::Internal("the handler panicked".into())))
        }
        .await;
        match result {
            Ok(answer) => answer.into_response(),
            Err(error) => {
                log_failure(&error);
                error.to_response(Repeat::of(request.headers()))
            }
        }
    }
}

/// Logs a failure once, with the cause that the caller does not see.
fn log_failure(error: &Error) {
    let code = error.code();
    match error {
        Error::Internal(source) => tracing::error!(code, %source, "failed"),
        Error::NoQueue => tracing::error!(code, "a message reached a function without a queue"),
        Error::Unavailable { source, .. } => tracing::warn!(code, %source, "unavailable"),
        _ => tracing::info!(code, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;

    /// Shows and logs all that it is asked.
    struct Tells;

    impl Function for Tells {
        async fn answer(&self, call: Call) -> Result<Answer, Error> {
            tracing::info!(?call, "asked");
            Answer::ok(call.body()?)
        }

        async fn consume(&self, _message: Message) -> Result<Consumed, Error> {
            Err(Error::NoQueue)
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The answer to a request with this body and key, and what was logged meanwhile.
    async fn told(body: &str, key: &str) -> (String, String) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let event = include_str!("../../../events/cart.json");
        let mut event: Value = serde_json::from_str(event).unwrap();
        event["body"] = body.into();
        event["headers"]["idempotency-key"] = key.into();
        let event = LambdaEvent::new(
            to_raw_value(&event).unwrap(),
            lambda_runtime::Context::default(),
        );
        let answer = Handler::new(Tells, Authentication::None)
            .handle(event)
            .await
            .unwrap();
        let log = log.0.lock().unwrap().clone();
        (answer.get().to_owned(), String::from_utf8(log).unwrap())
    }

    #[tokio::test]
    async fn a_card_number_is_neither_answered_nor_logged_nor_shown_to_a_service() {
        for (body, key) in [
            (r#"{"name": "4242424242424242"}"#, "k"),
            (r#"{"4242424242424242": {"a": "4242 4242 4242 4242"}}"#, "k"),
            (r#"{"price": 4242424242424242}"#, "k"),
            (r#"{"name": "L"}"#, "4242424242424242"),
            // Not JSON: it is not read, and the error shows only where reading stopped.
            (r#"{"name": 4242424242424242x}"#, "k"),
        ] {
            let (answer, log) = told(body, key).await;
            assert!(!answer.contains("4242"), "{answer}");
            assert!(log.contains("refused") && !log.contains("4242"), "{log}");
        }
        let (answer, log) = told(r#"{"name": "4242424242424243"}"#, "k").await;
        assert!(answer.contains("4242") && log.contains("4242"), "{log}");
    }
}
