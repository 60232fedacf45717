//! Idempotency keys: the body that a caller's key was first used with.

use std::time::Duration;

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use domain::Timestamp;

use super::item::{Item, Reader, n, s};
use super::refused::{complete, unless_refused};
use super::{KeyRecord, Store, StoreError, damaged};

/// How long a key is remembered: seven days from its first use. After that it counts as new. The
/// domain's own rules (one invoice, charge, shipment, and mail of each kind per order) hold
/// permanently.
const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A key's row is written by its first use, or once the row has expired (DynamoDB deletes expired
/// items only after days). It is not overwritten before that, because it may hold an answer.
const FIRST_USE: &str = "attribute_not_exists(keyId) OR expiresAt < :now";

/// The answer is recorded once, in the row with the body that it answers.
const ANSWERED: &str = "attribute_not_exists(keyId) OR expiresAt < :now \
     OR ((bodyHash = :body OR bodyHash = :written) AND attribute_not_exists(answer))";

/// The hash of a body, by which a key recognizes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyHash {
    by_value: String,
    as_written: String,
}

impl BodyHash {
    /// Bodies with the same values have the same hash. Earlier versions hashed numbers as they were
    /// written; `as_written` matches the hashes that they stored.
    #[must_use]
    pub fn new(by_value: String, as_written: String) -> Self {
        Self {
            by_value,
            as_written,
        }
    }

    /// The hash to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.by_value
    }

    /// Whether a stored hash is of this body.
    #[must_use]
    pub fn is(&self, stored: &str) -> bool {
        stored == self.by_value || stored == self.as_written
    }
}

/// The hash of a text that has only one notation.
impl From<String> for BodyHash {
    fn from(hash: String) -> Self {
        Self::new(hash.clone(), hash)
    }
}

/// How a key's row relates to a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// The key is new, or was used with the same body before and has no recorded answer.
    Fits,
    /// The key was used with the same body before, and this is the recorded answer.
    Answered(String),
    /// The key was used with another body.
    OtherBody,
}

impl Store {
    /// Binds `key` to a body; one write.
    pub async fn use_key(
        &self,
        key: &str,
        body: &BodyHash,
        now: Timestamp,
    ) -> Result<KeyUse, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(self.idempotency_table()?)
            .item("keyId", s(key))
            .item("bodyHash", s(body.as_str()))
            .item("expiresAt", n(now.plus(RETENTION).seconds()))
            .condition_expression(FIRST_USE)
            .expression_attribute_values(":now", n(now.seconds()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match unless_refused(put.send().await)? {
            Ok(_) => Ok(KeyUse::Fits),
            Err(row) => key_use(&row.unwrap_or_default(), body),
        }
    }

    /// How `key` has been used so far; a consistent read.
    pub async fn key_use(
        &self,
        key: &str,
        body: &BodyHash,
        now: Timestamp,
    ) -> Result<KeyUse, StoreError> {
        match self.key_row(key, now).await? {
            Some(row) => key_use(&row, body),
            None => Ok(KeyUse::Fits),
        }
    }

    /// Whether `key` was used and has not expired; a consistent read.
    pub async fn is_key_used(&self, key: &str, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.key_row(key, now).await?.is_some())
    }

    /// The row of a key that has not expired.
    async fn key_row(&self, key: &str, now: Timestamp) -> Result<Option<Item>, StoreError> {
        let table = self.idempotency_table()?;
        let Some(row) = self.item(table, [("keyId", s(key))]).await? else {
            return Ok(None);
        };
        let expires_at: i64 = Reader(&row)
            .required_number("expiresAt")
            .map_err(damaged("IdempotencyKeys"))?;
        Ok((expires_at >= now.seconds()).then_some(row))
    }

    /// Records the answer for a key as part of the transaction that carries out its request. Of all
    /// requests with that key, one is carried out, and every later one gets its answer.
    pub(super) fn key_answer(
        &self,
        record: &KeyRecord<'_>,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(self.idempotency_table()?)
            .item("keyId", s(record.key))
            .item("bodyHash", s(record.body.as_str()))
            .item("answer", s(record.answer))
            .item("expiresAt", n(now.plus(RETENTION).seconds()))
            .condition_expression(ANSWERED)
            .expression_attribute_values(":now", n(now.seconds()))
            .expression_attribute_values(":body", s(record.body.as_str()))
            .expression_attribute_values(":written", s(&record.body.as_written))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = complete(put.build());
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// How a key's row that refused a write relates to a body.
pub(super) fn key_use(row: &Item, body: &BodyHash) -> Result<KeyUse, StoreError> {
    let reader = Reader(row);
    let read = || {
        if !body.is(reader.required_text("bodyHash")?) {
            return Ok(KeyUse::OtherBody);
        }
        let answer = reader.text("answer")?;
        Ok(answer.map_or(KeyUse::Fits, |answer| KeyUse::Answered(answer.to_owned())))
    };
    read().map_err(damaged("IdempotencyKeys"))
}
