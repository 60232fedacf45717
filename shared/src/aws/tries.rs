//! What all tries of a call come to.

use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    FinalizerInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::{failed_to_connect, is_throttling};

/// Makes a call unanswered whose last try was throttled, or not sent, after an earlier one that may
/// have been carried out: the SDK tells of the last try alone. A refusal that explains how things
/// stand, such as a condition that does not hold, stays what it is.
#[derive(Debug)]
pub struct AllTries;

/// An earlier try may have been carried out.
#[derive(Debug)]
struct MayBeDone;

impl Storable for MayBeDone {
    type Storer = StoreReplace<Self>;
}

/// How far one try got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    /// Provably not carried out, and may be tried again.
    NotDone,
    /// It may have been carried out.
    MayBeDone,
    /// Answered.
    Explained,
}

fn outcome<E>(error: &OrchestratorError<E>, response: Option<&HttpResponse>) -> Try {
    if let Some(connector) = error.as_connector_error() {
        return if failed_to_connect(connector) {
            Try::NotDone
        } else {
            Try::MayBeDone
        };
    }
    if !error.is_operation_error() {
        return Try::MayBeDone;
    }
    let Some(response) = response else {
        return Try::Explained;
    };
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    if status == 429 || is_throttling(&String::from_utf8_lossy(body)) {
        Try::NotDone
    } else if status >= 500 {
        Try::MayBeDone
    } else {
        Try::Explained
    }
}

impl Intercept for AllTries {
    fn name(&self) -> &'static str {
        "AllTries"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error()
            && outcome(error, context.response()) == Try::MayBeDone
        {
            config.interceptor_state().store_put(MayBeDone);
        }
        Ok(())
    }

    fn modify_before_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_hidden = match context.output_or_error() {
            Some(Err(error)) => outcome(error, context.response()) == Try::NotDone,
            _ => false,
        };
        if is_hidden
            && config.load::<MayBeDone>().is_some()
            && let Some(result) = context.output_or_error_mut()
        {
            let why = "an earlier try was not answered";
            *result = Err(OrchestratorError::timeout(why.into()));
        }
        Ok(())
    }
}
