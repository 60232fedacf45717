//! Orders as DynamoDB items. Money and counters are `N`, written from their exact text and never
//! through a float.

mod read;
mod write;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::Money;

pub(super) use read::Reader;
pub use read::order_from_item;
pub(super) use write::{
    charge_value, contact_value, decline_value, delivery_value, dispute_value, event_value,
    lines_value, metadata_value, new_order_item, new_payment_value, next_action_value,
    parcel_value, purchases_value, record_value, refund_value, refunds_value, shipment_value,
    shipping_refusal_value,
};

pub(super) type Item = HashMap<String, Value>;

/// The attribute with this name is missing or does not have the form that this service writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0} is missing or malformed")]
pub struct Corrupt(pub &'static str);

pub(super) fn s(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

#[expect(clippy::needless_pass_by_value, reason = "numbers are copied")]
pub(super) fn n(number: impl ToString) -> Value {
    Value::N(number.to_string())
}

pub(super) fn money(amount: Money) -> Value {
    Value::N(amount.to_text())
}
