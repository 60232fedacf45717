//! The exchange between a client and AWS.

use serde_json::Value;

use super::refusal::Loss;

/// The length of an oversized answer, in bytes.
pub(super) const OVERSIZE: usize = 64 * 1024 * 1024;

/// A call as received.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: String,
    pub(super) body: Value,
}

/// A call's answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// How an answer is delivered.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    Whole(Reply),
    /// Its head and half of its body.
    Half(Reply),
    /// Its body, followed by 64 MiB of spaces.
    Oversized(Reply),
    Lost(Loss),
}

impl Reply {
    /// An answer in AWS's JSON protocol, with the checksum that DynamoDB sends.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        let checksum = crc32fast::hash(&body).to_string();
        let headers = vec![
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-crc32", checksum),
            ("x-amzn-requestid", "PLAYED".to_owned()),
        ];
        Self {
            status,
            headers,
            body,
        }
    }
}
