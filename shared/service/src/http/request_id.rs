//! The ID by which callers and operators identify a request.

use std::fmt;

use lambda_http::http::HeaderValue;
use lambda_http::http::header::HeaderName;
use lambda_http::{Body, Response};

/// The header of every answer. API Gateway's own answers have `apigw-requestid` instead.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Lambda's ID of the invocation: `request_id` in each of its log lines, and `requestId` in
/// Lambda's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Wraps Lambda's ID unchanged.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self(id)
    }

    /// The ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds the ID to the request's answer. It is empty only in tests.
    pub(crate) fn name(&self, response: &mut Response<Body>) {
        let value = HeaderValue::from_str(&self.0);
        if let Ok(value) = value
            && !value.is_empty()
        {
            response.headers_mut().insert(HEADER, value);
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
