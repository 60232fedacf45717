//! Which tries of a call are followed by another, and what all of them come to.

use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextMut,
    FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::answers::{Said, said};
use super::failed_to_connect;
use crate::deadline;

/// What is left of an invocation for its answer.
const RESERVE: Duration = Duration::from_millis(500);

/// With less than this left, no further try begins: a pause and a try that is not answered would use
/// it up.
const LAST_TRY: Duration = Duration::from_millis(2500);

/// Tries again, after a pause, whatever can succeed a moment later: beside what the SDK tries again,
/// single writes and transactions that met another transaction, transactions that were throttled, and
/// answers that cannot be read.
///
/// DynamoDB answers these with 400, and the SDK takes them as final ("Error handling with DynamoDB";
/// `TransactionConflictException`, `TransactionCanceledException`).
#[derive(Debug)]
pub(super) struct Patience;

impl ClassifyRetry for Patience {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        if deadline::remaining().is_some_and(|left| left < LAST_TRY) {
            return RetryAction::RetryForbidden;
        }
        // An answer that was taken by none of our interceptors.
        if error.is_interceptor_error() && context.response().is_some() {
            return RetryAction::transient_error();
        }
        let Some(response) = context.response().filter(|_| error.is_operation_error()) else {
            return RetryAction::NoActionIndicated;
        };
        match said(response) {
            Said::Busy => RetryAction::throttling_error(),
            Said::Unreadable => RetryAction::transient_error(),
            Said::Failed | Said::Explained | Said::Refused => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Patience"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Ends a call before Lambda ends the invocation, so that its caller still answers by itself.
#[derive(Debug)]
pub(super) struct InTime {
    /// How long a call may take where there is more time.
    pub(super) most: Duration,
}

impl Intercept for InTime {
    fn name(&self) -> &'static str {
        "InTime"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(left) = deadline::remaining() {
            let limit = self.most.min(left.saturating_sub(RESERVE));
            let timeouts = TimeoutConfig::builder().operation_timeout(limit).build();
            config.interceptor_state().store_put(timeouts);
        }
        Ok(())
    }
}

/// Makes a call unanswered whose last try was provably not carried out, or refused, after an earlier
/// one that may have been: the SDK tells of the last try alone. An answer that explains how things
/// stand, such as a condition that does not hold, stays what it is.
#[derive(Debug)]
pub(super) struct AllTries;

/// An earlier try may have been carried out.
#[derive(Debug)]
struct MayBeDone;

impl Storable for MayBeDone {
    type Storer = StoreReplace<Self>;
}

/// How far one try got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    /// Provably not carried out.
    NotDone,
    /// It may have been carried out.
    MayBeDone,
    /// Answered with how things stand.
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
    let Some(response) = response.filter(|_| error.is_operation_error()) else {
        return Try::MayBeDone;
    };
    match said(response) {
        Said::Busy | Said::Refused => Try::NotDone,
        Said::Failed | Said::Unreadable => Try::MayBeDone,
        Said::Explained => Try::Explained,
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
