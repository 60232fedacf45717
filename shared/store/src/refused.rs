//! Answers of the database to conditional writes.

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, TransactionCanceledException,
};

use super::item::Item;
use super::{Store, StoreError, failed};

/// The error of a write that can have a condition.
pub(super) trait WriteError: ProvideErrorMetadata + std::error::Error + 'static {
    const OPERATION: &'static str;

    /// The refusal, if the condition failed.
    fn refusal(&self) -> Option<&ConditionalCheckFailedException>;
}

impl WriteError for PutItemError {
    const OPERATION: &'static str = "PutItem";

    fn refusal(&self) -> Option<&ConditionalCheckFailedException> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl WriteError for UpdateItemError {
    const OPERATION: &'static str = "UpdateItem";

    fn refusal(&self) -> Option<&ConditionalCheckFailedException> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// The output of a write, or the item as it was when the condition failed.
pub(super) fn unless_refused<T, E: WriteError>(
    answer: Result<T, SdkError<E>>,
) -> Result<Result<T, Option<Item>>, StoreError> {
    let error = match answer {
        Ok(output) => return Ok(Ok(output)),
        Err(error) => error,
    };
    match error.as_service_error().and_then(E::refusal) {
        Some(refusal) => Ok(Err(refusal.item().cloned())),
        None => Err(failed(E::OPERATION, &error)),
    }
}

/// The items of a transaction, as they were, whose conditions failed.
#[derive(Debug)]
pub(super) struct Refusals(Vec<Option<Item>>);

impl Refusals {
    /// The item at `index`, as it was (empty if there was none), if its condition failed.
    pub(super) fn get(&self, index: usize) -> Option<&Item> {
        self.0.get(index)?.as_ref()
    }

    /// `None` unless a condition failed. The client has already retried any other cancellation.
    fn read(canceled: &TransactionCanceledException) -> Option<Self> {
        let items: Vec<_> = canceled
            .cancellation_reasons()
            .iter()
            .map(|reason| {
                let is_refused = reason.code() == Some("ConditionalCheckFailed");
                is_refused.then(|| reason.item().cloned().unwrap_or_default())
            })
            .collect();
        items.iter().any(Option::is_some).then_some(Self(items))
    }
}

impl Store {
    /// Executes all of the writes, or none if a condition fails.
    pub(super) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Result<(), Refusals>, StoreError> {
        let transaction = self.client.transact_write_items();
        let Err(error) = transaction.set_transact_items(Some(items)).send().await else {
            return Ok(Ok(()));
        };
        let refusals = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                Refusals::read(canceled)
            }
            _ => None,
        };
        let refusals = refusals.ok_or_else(|| failed("TransactWriteItems", &error))?;
        Ok(Err(refusals))
    }
}

/// Unwraps a part of a request whose required fields are all set.
pub(super) fn complete<T>(built: Result<T, BuildError>) -> T {
    built.expect("a part misses nothing but fields, and the store sets all that are required")
}
