//! How a function runs on Lambda: it answers API Gateway events and consumes SQS batches.

mod batch;
mod gateway;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use lambda_http::{Body, Request, Response};
use lambda_runtime::{LambdaEvent, service_fn};
use messages::Message;
use platform::aws::Aws;
use platform::config::{Authentication, ConfigError, Environment, Tables};
use platform::runtime::Runtime;
use platform::{deadline, telemetry};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use store::Store;
use tracing::Instrument as _;
use tracing::field::Empty;

pub use batch::Consumed;
use gateway::Fields;

use crate::error::{Error, Missing};
use crate::http::{Answer, Call, Callers, Repeat, RequestId, Route};

/// What every function needs at start.
#[derive(Debug)]
pub struct Started {
    /// Builds further AWS clients.
    pub aws: Aws,
    /// The tables.
    pub store: Store,
    /// The deployment's name in metrics.
    pub stage: String,
    /// The clock and random bytes.
    pub runtime: Runtime,
}

impl Started {
    /// Starts logging and reads what every function needs from its environment. `service` is the
    /// name of the function's crate: `env!("CARGO_CRATE_NAME")`.
    pub fn from_environment(
        environment: Environment<'_>,
        service: &'static str,
    ) -> Result<Self, ConfigError> {
        let stage = environment.required("STAGE")?;
        let level = environment.optional("LOG_LEVEL");
        telemetry::start(service, level.as_deref(), stage.clone());
        let aws = Aws::from_environment(environment)?;
        let runtime = Runtime::system();
        let tables = Tables::from_environment(environment);
        let sender = environment.optional("SENDER_EMAIL");
        let store = Store::new(aws.dynamodb(), tables, runtime.clone());
        Ok(Self {
            store: store.with_sender(sender.as_deref()),
            aws,
            stage,
            runtime,
        })
    }
}

/// Serves Lambda until the process ends, with the authentication that the environment configures.
pub async fn serve(
    function: impl Function,
    environment: Environment<'_>,
) -> Result<(), lambda_runtime::Error> {
    let authentication = Authentication::from_environment(environment)?;
    Handler::new(function, authentication).run().await
}

/// A service's handling of requests and messages.
pub trait Function: Send + Sync + 'static {
    /// The routes of this function; requests to others are refused.
    const ROUTES: &'static [Route];

    /// Receives a webhook on a route of [`Callers::Partners`], unchecked. The implementation MUST
    /// verify its signature.
    fn receive_webhook(
        &self,
        _request: &Request,
    ) -> impl Future<Output = Result<Answer, Error>> + Send {
        async { Err(Error::NotFound(Missing::Route)) }
    }

    /// Answers a request from a caller who may call the route.
    fn answer(&self, _call: Call) -> impl Future<Output = Result<Answer, Error>> + Send {
        async { Err(Error::NotFound(Missing::Route)) }
    }

    /// Handles a text that is not one of this service's messages; `None` if the function does not
    /// recognize it. The obligations of [`Function::consume`] apply.
    fn consume_foreign(
        &self,
        text: &str,
    ) -> impl Future<Output = Option<Result<Consumed, Error>>> + Send {
        let _ = text;
        async { None }
    }

    /// Carries out what a message hints at. It MUST be safe to repeat, and an `Err` MUST leave the
    /// state such that a retry of the message can succeed.
    fn consume(&self, _message: Message) -> impl Future<Output = Result<Consumed, Error>> + Send {
        async { Err(Error::NoQueue) }
    }
}

/// A service with its authentication, ready to serve Lambda.
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

/// Why an event could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The event is not JSON of the expected form.
    #[error("the event cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The answer could not be serialized.
    #[error("the answer could not be written")]
    Answer(#[source] serde_json::Error),
}

impl<F: Function> Handler<F> {
    /// Builds the handler of a service.
    pub fn new(function: F, authentication: Authentication) -> Self {
        Self {
            function: Arc::new(function),
            authentication: Arc::new(authentication),
        }
    }

    /// Serves Lambda until the process ends.
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

    /// Handles one event.
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
        let request_id = RequestId::new(context.request_id);
        let span = tracing::error_span!("invocation", request_id = %request_id, order_id = Empty);
        let event: Fields<'_> =
            serde_json::from_str(payload.get()).map_err(EventError::Unreadable)?;
        if let Some(records) = event.get("Records") {
            let records: Vec<&RawValue> =
                serde_json::from_str(records.get()).map_err(EventError::Unreadable)?;
            let failures = self.consume_batch(&records).instrument(span).await;
            return to_raw_value(&failures).map_err(EventError::Answer);
        }
        let mut response = match event.request() {
            // Boxed: the whole state machine exceeds the compiler's depth limit.
            Ok(request) => {
                let answer = self.answer(&request, &request_id);
                Box::pin(answer).instrument(span).await
            }
            Err(error) => span.in_scope(|| refuse(&error, Repeat::Unkeyed, &request_id)),
        };
        request_id.name(&mut response);
        to_raw_value(&gateway::response(response)).map_err(EventError::Answer)
    }

    /// Passes a request to a partner's route on unchecked, and any other through the common checks.
    async fn respond(&self, request: &Request) -> Result<Answer, Error> {
        let route = Route::from_request(request).filter(|route| F::ROUTES.contains(route));
        match route.map(Route::callers) {
            Some(Callers::Partners) => return self.function.receive_webhook(request).await,
            Some(Callers::Anyone) => return Answer::ok(&Health { status: "OK" }),
            Some(Callers::Backend | Callers::Customers) | None => {}
        }
        let call = Call::from_request(request, route, &self.authentication)?;
        if let Some(order) = call.order() {
            telemetry::about_order(&order);
        }
        self.function.answer(call).await
    }

    async fn answer(&self, request: &Request, id: &RequestId) -> Response<Body> {
        let answer = AssertUnwindSafe(self.respond(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the handler panicked".into())));
        match answer {
            Ok(answer) => answer.into_response(),
            Err(error) => refuse(&error, Repeat::from_headers(request.headers()), id),
        }
    }
}

/// The answer of an open route.
#[derive(Serialize)]
struct Health {
    status: &'static str,
}

fn refuse(error: &Error, repeat: Repeat, id: &RequestId) -> Response<Body> {
    log_failure(error);
    error.to_response(repeat, id)
}

/// Counts the failure of a dependency, if the error is such a failure.
pub fn count_dependency(error: &Error) {
    if let Some(metric) = error.metric() {
        telemetry::count_failure(metric);
    }
}

/// Logs a failure once, with the source that the caller never sees, and counts internal faults and
/// failed dependencies.
fn log_failure(error: &Error) {
    let code = error.code();
    count_dependency(error);
    if matches!(error, Error::Internal(_) | Error::NoQueue) || error.needs_operator() {
        telemetry::count_fault();
    }
    match error {
        Error::Internal(source) => tracing::error!(code, %source, "failed"),
        Error::NoQueue => tracing::error!(code, "a message reached a function without a queue"),
        Error::Unavailable { source, .. } if error.needs_operator() => {
            tracing::error!(code, %source, "refused by AWS");
        }
        Error::Unavailable { source, .. } => tracing::warn!(code, %source, "unavailable"),
        Error::NotConfigured { source, .. } => tracing::error!(code, %source, "not configured"),
        _ => tracing::info!(code, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;
    use platform::aws::{AwsFailure, FailureKind};
    use store::StoreError;

    /// Answers and logs everything it receives.
    struct Verbose;

    impl Function for Verbose {
        const ROUTES: &'static [Route] = &[Route::Cart];

        async fn answer(&self, call: Call) -> Result<Answer, Error> {
            tracing::info!(?call, "asked");
            Answer::ok(call.body()?)
        }
    }

    /// AWS's answer to a role without permission.
    struct Forbidden;

    impl Function for Forbidden {
        const ROUTES: &'static [Route] = &Route::ALL;

        async fn answer(&self, _call: Call) -> Result<Answer, Error> {
            let failure = AwsFailure {
                operation: "PutItem",
                kind: FailureKind::Refused,
                code: Some("AccessDeniedException".to_owned()),
                request_id: None,
            };
            Err(StoreError::from(failure).into())
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

    /// The answer to a request with this body and key, and the log lines of that request.
    async fn respond_to(body: &str, key: &str) -> (String, String) {
        told_by(Verbose, body, key).await
    }

    async fn told_by(function: impl Function, body: &str, key: &str) -> (String, String) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let event = include_str!("../../../../events/cart.json");
        let mut event: Value = serde_json::from_str(event).unwrap();
        event["body"] = body.into();
        event["headers"]["idempotency-key"] = key.into();
        let event = LambdaEvent::new(
            to_raw_value(&event).unwrap(),
            lambda_runtime::Context::default(),
        );
        let answer = Handler::new(function, Authentication::None)
            .handle(event)
            .await
            .unwrap();
        let log = log.0.lock().unwrap().clone();
        (answer.get().to_owned(), String::from_utf8(log).unwrap())
    }

    #[tokio::test]
    async fn what_aws_refuses_is_503_and_calls_an_operator() {
        let (answer, log) = told_by(Forbidden, "{}", "k").await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["statusCode"], 503);
        assert_eq!(answer["headers"]["retry-after"], "5");
        let body = answer["body"].as_str().unwrap();
        assert!(body.contains("Nothing was changed"), "{body}");
        assert!(!body.contains("AccessDenied"), "{body}");
        assert!(
            log.contains("ERROR") && log.contains("AccessDenied"),
            "{log}"
        );
    }

    #[tokio::test]
    async fn a_card_number_is_neither_answered_nor_logged_nor_shown_to_a_service() {
        for (body, key) in [
            (r#"{"name": "4242424242424242"}"#, "k"),
            (r#"{"4242424242424242": {"a": "4242 4242 4242 4242"}}"#, "k"),
            (r#"{"price": 4242424242424242}"#, "k"),
            (r#"{"name": "L"}"#, "4242424242424242"),
            // Not JSON: it is not parsed, and the error shows only where parsing stopped.
            (r#"{"name": 4242424242424242x}"#, "k"),
        ] {
            let (answer, log) = respond_to(body, key).await;
            assert!(!answer.contains("4242"), "{answer}");
            assert!(log.contains("refused") && !log.contains("4242"), "{log}");
        }
        let (answer, log) = respond_to(r#"{"name": "4242424242424243"}"#, "k").await;
        assert!(answer.contains("4242") && log.contains("4242"), "{log}");
    }
}
