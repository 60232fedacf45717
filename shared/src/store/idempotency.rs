//! Idempotency keys: which body a caller's key was first used with.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::Put;

use super::attributes::{Reader, n, s};
use super::{Store, StoreError, failed};
use crate::domain::Timestamp;
use std::time::Duration;

/// How long a key is remembered: seven days. After that it counts as new; the domain's own rules
/// (one invoice, charge, shipment and mail of each kind per order) hold for ever.
const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A key's row is taken by whoever comes first, or by the same body again, or once it has expired
/// (DynamoDB deletes expired items only within days).
const CONDITION: &str = "attribute_not_exists(keyId) OR bodyHash = :body OR expiresAt < :now";

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// New, or used with the same body before.
    Fits,
    /// Used with another body.
    OtherBody,
}

impl Store {
    /// Remembers that `key` goes with a body; one write.
    pub async fn use_key(
        &self,
        key: &str,
        body_hash: &str,
        now: Timestamp,
    ) -> Result<KeyUse, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(self.idempotency_table()?)
            .item("keyId", s(key))
            .item("bodyHash", s(body_hash))
            .item("expiresAt", n(now.plus(RETENTION).seconds()))
            .condition_expression(CONDITION)
            .expression_attribute_values(":body", s(body_hash))
            .expression_attribute_values(":now", n(now.seconds()));
        match put.send().await {
            Ok(_) => Ok(KeyUse::Fits),
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    PutItemError::ConditionalCheckFailedException(_)
                ) =>
            {
                Ok(KeyUse::OtherBody)
            }
            Err(error) => Err(failed("PutItem", &error)),
        }
    }

    /// Whether `key` was remembered and has not expired; a consistent read.
    pub async fn is_key_used(&self, key: &str, now: Timestamp) -> Result<bool, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(self.idempotency_table()?)
            .key("keyId", s(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", &error))?;
        let Some(item) = output.item else {
            return Ok(false);
        };
        let expires_at: i64 = Reader(&item)
            .required_number("expiresAt")
            .map_err(|source| StoreError::Corrupt {
                table: "IdempotencyKeys",
                source,
            })?;
        Ok(expires_at >= now.seconds())
    }

    /// As [`Store::use_key`], as part of a transaction that only the key's first use carries out, together with
    /// the answer that every later use gets.
    pub(super) fn first_key_use(
        &self,
        key: &str,
        body_hash: &str,
        answer: &str,
        now: Timestamp,
    ) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(self.idempotency_table()?)
            .item("keyId", s(key))
            .item("bodyHash", s(body_hash))
            .item("answer", s(answer))
            .item("expiresAt", n(now.plus(RETENTION).seconds()))
            .condition_expression("attribute_not_exists(keyId) OR expiresAt < :now")
            .expression_attribute_values(":now", n(now.seconds()))
            .return_values_on_condition_check_failure(
                aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld,
            )
            .build()
            .map_err(|_| StoreError::NotConfigured("IdempotencyKeys"))
    }
}
