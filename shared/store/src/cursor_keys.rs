//! The keys that sign cursors: one for each month, created by the first function that needs it.
//! They are rows of the `IdempotencyKeys` table that expire, so no operator has to enter or rotate
//! a secret.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use domain::Timestamp;

use super::item::{Item, Reader, n, s};
use super::refused::unless_refused;
use super::{Store, StoreError, damaged};

/// How long a key verifies cursors: at least a month after the end of its own.
const RETENTION: Duration = Duration::from_hours(62 * 24);

/// The secret key for one month's cursors.
#[derive(Clone)]
pub struct CursorKey(String);

impl CursorKey {
    /// The secret.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Redacted, so that a key never reaches a log by accident.
impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(…)")
    }
}

impl Store {
    /// The key with this name, unless it does not exist or has expired; a consistent read.
    pub async fn cursor_key(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<CursorKey>, StoreError> {
        let row = self.item(self.idempotency_table()?, [("keyId", s(row_key(name)))]);
        let key = row.await?.as_ref().map(read).transpose()?;
        let is_fresh = |(_, expires_at): &(CursorKey, i64)| *expires_at >= now.seconds();
        Ok(key.filter(is_fresh).map(|(key, _)| key))
    }

    /// The key with this name, created if it does not exist or has expired; a read, and a write the
    /// first time.
    pub async fn cursor_key_or_new(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<CursorKey, StoreError> {
        if let Some(key) = self.cursor_key(name, now).await? {
            return Ok(key);
        }
        let secret = format!("{}{}", self.runtime.token(), self.runtime.token());
        let put = self
            .client
            .put_item()
            .table_name(self.idempotency_table()?)
            .item("keyId", s(row_key(name)))
            .item("secret", s(&secret))
            .item("expiresAt", n(now.plus(RETENTION).seconds()))
            .condition_expression("attribute_not_exists(keyId) OR expiresAt < :now")
            .expression_attribute_values(":now", n(now.seconds()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match unless_refused(put.send().await)? {
            Ok(_) => Ok(CursorKey(secret)),
            // Another function has created it since.
            Err(row) => Ok(read(&row.unwrap_or_default())?.0),
        }
    }
}

fn row_key(name: &str) -> String {
    format!("cursor/{name}")
}

fn read(row: &Item) -> Result<(CursorKey, i64), StoreError> {
    let reader = Reader(row);
    let read = || {
        let secret = reader.required_text("secret")?.to_owned();
        Ok((CursorKey(secret), reader.required_number("expiresAt")?))
    };
    read().map_err(damaged("IdempotencyKeys"))
}
