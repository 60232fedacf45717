//! Classifies AWS's answers and refuses damaged ones.

use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use serde::Deserialize;

/// DynamoDB returns at most 16 MB of items per call (`BatchGetItem`); JSON makes them longer.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// What an unsuccessful answer says about its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Throttled or in conflict: it was not carried out; retry later.
    Busy,
    /// Refused until an operator corrects something: it was not carried out.
    Refused,
    /// Its condition failed: it was not carried out, or an earlier try carried it out.
    ConditionFailed,
    /// AWS failed (5xx): it may have been carried out.
    Failed,
    /// Not an answer from AWS: an intermediary answered, or the answer was damaged. It may have
    /// been carried out.
    Unreadable,
}

/// An error in AWS's JSON protocols.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(default, rename = "CancellationReasons")]
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Code")]
    code: Option<String>,
}

/// Classifies the answer to an unsuccessful call.
pub(super) fn classify(response: &HttpResponse) -> Verdict {
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    let error = serde_json::from_slice::<ErrorBody>(body).ok();
    let code = error.as_ref().map(|error| {
        let name = error.kind.rsplit('#').next();
        name.unwrap_or_default()
    });
    match (code, &error) {
        (Some("TransactionCanceledException"), Some(error)) => cancelled(&error.reasons),
        (code, _) => classify_code(status, code),
    }
}

/// Classifies a status and an error code. A 200 that is not a success is unreadable.
pub(super) fn classify_code(status: u16, code: Option<&str>) -> Verdict {
    match code {
        _ if status == 429 => Verdict::Busy,
        Some(code) if is_busy(code) => Verdict::Busy,
        _ if status >= 500 => Verdict::Failed,
        None => Verdict::Unreadable,
        Some(_) if status < 400 => Verdict::Unreadable,
        Some("ConditionalCheckFailedException") => Verdict::ConditionFailed,
        Some(_) => Verdict::Refused,
    }
}

/// Classifies a cancelled transaction by its `CancellationReasons`.
fn cancelled(reasons: &[Reason]) -> Verdict {
    let codes = reasons.iter().filter_map(|reason| reason.code.as_deref());
    let mut codes = codes.filter(|code| *code != "None").peekable();
    if codes.clone().any(|code| code == "ConditionalCheckFailed") {
        Verdict::ConditionFailed
    } else if codes.peek().is_some() && codes.all(is_busy) {
        Verdict::Busy
    } else {
        Verdict::Refused
    }
}

/// Whether an error code or cancellation reason calls for a later retry.
fn is_busy(code: &str) -> bool {
    [
        "Throttl",
        "TooManyRequests",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "TransactionConflict",
        "TransactionInProgress",
    ]
    .iter()
    .any(|each| code.contains(each))
}

/// Refuses answers longer than AWS's longest, or whose `x-amz-crc32` does not match ("DynamoDB
/// low-level API", response headers).
#[derive(Debug)]
pub(super) struct WholeAnswers;

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let length = response.headers().get("content-length");
        let length = length.and_then(|length| length.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX_ANSWER) {
            return Err("the answer is too long to be from AWS".into());
        }
        if response.body().bytes().is_none() {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let checksum = response.headers().get("x-amz-crc32");
        let checksum = checksum.and_then(|checksum| checksum.parse::<u32>().ok());
        match (checksum, response.body().bytes()) {
            (Some(checksum), Some(body)) if crc32fast::hash(body) != checksum => {
                Err("the answer does not match its checksum".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
    }

    #[test]
    fn an_answer_is_read_by_its_code_and_a_cancelled_transaction_by_its_reasons() {
        let cancelled = |codes: &[&str]| {
            let reasons: Vec<_> = codes
                .iter()
                .map(|code| format!(r#"{{"Code":"{code}"}}"#))
                .collect();
            let reasons = reasons.join(",");
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            classify(&response(
                400,
                &format!(r#"{{"__type":"{kind}","CancellationReasons":[{reasons}]}}"#),
            ))
        };
        for (codes, expected) in [
            (&["None", "TransactionConflict"][..], Verdict::Busy),
            (&["ThrottlingError", "TransactionConflict"], Verdict::Busy),
            (&["ProvisionedThroughputExceeded"], Verdict::Busy),
            (
                &["ConditionalCheckFailed", "TransactionConflict"],
                Verdict::ConditionFailed,
            ),
            (
                &["TransactionConflict", "ValidationError"],
                Verdict::Refused,
            ),
            (&["ItemCollectionSizeLimitExceeded"], Verdict::Refused),
            (&["None"], Verdict::Refused),
        ] {
            assert_eq!(cancelled(codes), expected, "{codes:?}");
        }
        for (status, code, expected) in [
            (400, "TransactionConflictException", Verdict::Busy),
            (400, "ThrottlingException", Verdict::Busy),
            (503, "ThrottlingException", Verdict::Busy),
            (
                400,
                "ConditionalCheckFailedException",
                Verdict::ConditionFailed,
            ),
            (400, "AccessDeniedException", Verdict::Refused),
            (500, "InternalServerError", Verdict::Failed),
            (200, "ThisIsNoError", Verdict::Unreadable),
        ] {
            let body = format!(r#"{{"__type":"com.amazonaws.played#{code}"}}"#);
            assert_eq!(
                classify(&response(status, &body)),
                expected,
                "{status} {code}"
            );
        }
        for (status, expected) in [
            (200, Verdict::Unreadable),
            (403, Verdict::Unreadable),
            (502, Verdict::Failed),
            (429, Verdict::Busy),
        ] {
            assert_eq!(classify(&response(status, "<html>")), expected, "{status}");
        }
    }
}
