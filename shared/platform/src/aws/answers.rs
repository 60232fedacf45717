//! What an answer of AWS says, and whether it is one.

use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use serde::Deserialize;

/// DynamoDB brings at most 16 MB of items in one call (`BatchGetItem`); JSON makes them longer.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// What an answer that is no success says of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Come back later; it was not carried out.
    Busy,
    /// Refused, until an operator mends something; it was not carried out.
    Refused,
    /// How things stand: its condition does not hold. It was not carried out, or was by an earlier try.
    Explained,
    /// AWS failed (5xx): it may have been carried out.
    Failed,
    /// Not a word of AWS: something between answered, or the answer was damaged. It may have been
    /// carried out.
    Unreadable,
}

/// What errors look like in AWS's JSON protocols.
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

/// What the answer to a call that did not succeed says.
pub(super) fn said(response: &HttpResponse) -> Said {
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    let error = serde_json::from_slice::<ErrorBody>(body).ok();
    let code = error.as_ref().map(|error| {
        let name = error.kind.rsplit('#').next();
        name.unwrap_or_default()
    });
    match (code, &error) {
        (Some("TransactionCanceledException"), Some(error)) => cancelled(&error.reasons),
        (code, _) => said_by(status, code),
    }
}

/// What that status and error code say. An answer 200 that is no success cannot be read.
pub(super) fn said_by(status: u16, code: Option<&str>) -> Said {
    match code {
        _ if status == 429 => Said::Busy,
        Some(code) if is_busy(code) => Said::Busy,
        _ if status >= 500 => Said::Failed,
        None => Said::Unreadable,
        Some(_) if status < 400 => Said::Unreadable,
        Some("ConditionalCheckFailedException") => Said::Explained,
        Some(_) => Said::Refused,
    }
}

/// Why a transaction was cancelled (`CancellationReasons`).
fn cancelled(reasons: &[Reason]) -> Said {
    let codes = reasons.iter().filter_map(|reason| reason.code.as_deref());
    let mut codes = codes.filter(|code| *code != "None").peekable();
    if codes.clone().any(|code| code == "ConditionalCheckFailed") {
        Said::Explained
    } else if codes.peek().is_some() && codes.all(is_busy) {
        Said::Busy
    } else {
        Said::Refused
    }
}

/// Whether an error code, or the reason of a cancelled transaction, asks to come back later.
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

/// Takes no answer that is longer than any of AWS, or whose `x-amz-crc32` is that of another text
/// ("DynamoDB low-level API", response headers).
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
            return Err("the answer is longer than any of AWS".into());
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
        let told = response.headers().get("x-amz-crc32");
        let told = told.and_then(|told| told.parse::<u32>().ok());
        match (told, response.body().bytes()) {
            (Some(told), Some(body)) if crc32fast::hash(body) != told => {
                Err("the answer was changed on its way".into())
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
            said(&response(
                400,
                &format!(r#"{{"__type":"{kind}","CancellationReasons":[{reasons}]}}"#),
            ))
        };
        for (codes, expected) in [
            (&["None", "TransactionConflict"][..], Said::Busy),
            (&["ThrottlingError", "TransactionConflict"], Said::Busy),
            (&["ProvisionedThroughputExceeded"], Said::Busy),
            (
                &["ConditionalCheckFailed", "TransactionConflict"],
                Said::Explained,
            ),
            (&["TransactionConflict", "ValidationError"], Said::Refused),
            (&["ItemCollectionSizeLimitExceeded"], Said::Refused),
            (&["None"], Said::Refused),
        ] {
            assert_eq!(cancelled(codes), expected, "{codes:?}");
        }
        for (status, code, expected) in [
            (400, "TransactionConflictException", Said::Busy),
            (400, "ThrottlingException", Said::Busy),
            (503, "ThrottlingException", Said::Busy),
            (400, "ConditionalCheckFailedException", Said::Explained),
            (400, "AccessDeniedException", Said::Refused),
            (500, "InternalServerError", Said::Failed),
            (200, "ThisIsNoError", Said::Unreadable),
        ] {
            let body = format!(r#"{{"__type":"com.amazonaws.played#{code}"}}"#);
            assert_eq!(said(&response(status, &body)), expected, "{status} {code}");
        }
        for (status, expected) in [
            (200, Said::Unreadable),
            (403, Said::Unreadable),
            (502, Said::Failed),
            (429, Said::Busy),
        ] {
            assert_eq!(said(&response(status, "<html>")), expected, "{status}");
        }
    }
}
