//! Which tries of a call are retried, and their combined outcome.

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

use super::answers::{Verdict, classify};
use super::failed_to_connect;
use crate::deadline;

/// Time reserved for the function's own answer.
const RESERVE: Duration = Duration::from_millis(500);

/// The last try must begin with at least this much time left: a pause and an unanswered try would
/// use up anything less.
const LAST_TRY: Duration = Duration::from_millis(2500);

/// Retries, after a pause, every call that can succeed a moment later. In addition to the errors
/// that the SDK retries itself, these are: writes and transactions that conflicted with another
/// transaction, throttled transactions, and unreadable answers.
///
/// DynamoDB answers these with 400, which the SDK treats as final ("Error handling with DynamoDB";
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
        // An answer that no interceptor of this service refused.
        if error.is_interceptor_error() && context.response().is_some() {
            return RetryAction::transient_error();
        }
        let Some(response) = context.response().filter(|_| error.is_operation_error()) else {
            return RetryAction::NoActionIndicated;
        };
        match classify(response) {
            Verdict::Busy => RetryAction::throttling_error(),
            Verdict::Unreadable => RetryAction::transient_error(),
            Verdict::Failed | Verdict::ConditionFailed | Verdict::Refused => {
                RetryAction::NoActionIndicated
            }
        }
    }

    fn name(&self) -> &'static str {
        "Patience"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Ends a call before Lambda ends the invocation, so that the function can still answer.
#[derive(Debug)]
pub(super) struct InTime {
    /// The maximum time per call.
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

/// Reports a call as unanswered if its last try was provably not carried out, or refused, after an
/// earlier one that may have been: the SDK reports the last try only. An answer with a failed
/// condition keeps its meaning.
#[derive(Debug)]
pub(super) struct AllTries;

/// Present once a try may have been carried out.
#[derive(Debug)]
struct MayBeDone;

impl Storable for MayBeDone {
    type Storer = StoreReplace<Self>;
}

/// The outcome of one try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    /// Provably not carried out.
    NotDone,
    /// It may have been carried out.
    MayBeDone,
    /// The condition failed.
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
    match classify(response) {
        Verdict::Busy | Verdict::Refused => Try::NotDone,
        Verdict::Failed | Verdict::Unreadable => Try::MayBeDone,
        Verdict::ConditionFailed => Try::Explained,
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
