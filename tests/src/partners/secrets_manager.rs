//! AWS Secrets Manager, as far as a function reads from it: JSON 1.1, with the errors and statuses
//! in the API reference of `GetSecretValue`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::front::{DoubleReply, DoubleRequest, PartnerDouble};

/// A refusal by Secrets Manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretMishap {
    /// The role lacks the permission, possibly only for the moment.
    AccessDenied,
    /// The secret's encryption key cannot be used.
    DecryptionFailure,
    /// The caller is throttled.
    Throttled,
    /// Secrets Manager failed.
    InternalServiceError,
}

impl SecretMishap {
    fn reply(self) -> DoubleReply {
        match self {
            Self::AccessDenied => refusal(400, "AccessDeniedException"),
            Self::DecryptionFailure => refusal(400, "DecryptionFailure"),
            Self::Throttled => refusal(400, "ThrottlingException"),
            Self::InternalServiceError => refusal(500, "InternalServiceError"),
        }
    }
}

/// The double. Clones share its secrets.
#[derive(Clone, Debug, Default)]
pub struct SecretsManagerDouble(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    values: BTreeMap<String, String>,
    trouble: Option<SecretMishap>,
    read: Vec<String>,
}

impl SecretsManagerDouble {
    /// Stores a value and replaces the current one, as `put-secret-value` does.
    pub fn put(&self, arn: &str, value: &str) {
        let mut held = self.held();
        held.values.insert(arn.to_owned(), value.to_owned());
    }

    /// From now on every read is refused like this; `None` ends this.
    pub fn trouble(&self, trouble: Option<SecretMishap>) {
        self.held().trouble = trouble;
    }

    /// The ARNs of all requested reads, in order.
    #[must_use]
    pub fn read(&self) -> Vec<String> {
        self.held().read.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartnerDouble for SecretsManagerDouble {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        if request.header("x-amz-target") != Some("secretsmanager.GetSecretValue") {
            return refusal(400, "UnknownOperationException");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let arn = body["SecretId"].as_str().unwrap_or_default().to_owned();
        let mut held = self.held();
        held.read.push(arn.clone());
        if let Some(trouble) = held.trouble {
            return trouble.reply();
        }
        match held.values.get(&arn) {
            Some(value) => {
                let body = json!({"ARN": arn, "Name": "played", "SecretString": value,
                    "VersionStages": ["AWSCURRENT"]});
                DoubleReply::new(200, body.to_string())
            }
            // Also for a secret that has no value yet.
            None => refusal(400, "ResourceNotFoundException"),
        }
    }
}

fn refusal(status: u16, kind: &str) -> DoubleReply {
    let body = json!({"__type": kind, "Message": "played"});
    DoubleReply::new(status, body.to_string())
}
