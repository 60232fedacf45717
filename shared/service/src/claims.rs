//! The checks of a call against the store before its service acts: its idempotency key, and the
//! ownership of the order it names.

use domain::{CustomerId, Order, OrderId, Timestamp};
use store::{KeyUse, Store};

use crate::error::{Error, Missing};
use crate::http::Call;

/// Binds the caller's key at `endpoint` to this body and refuses any other body. One write, if a
/// key was sent. Call it before anything that the key protects, but after parsing: an unreadable
/// body uses up no key.
///
/// Returns the answer recorded for the key, if its request has one.
pub async fn claim_key(
    store: &Store,
    call: &Call,
    endpoint: &str,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let Some(key) = call.key_id(endpoint) else {
        return Ok(None);
    };
    answer_of(store.use_key(&key, &call.body_hash()?, now).await?)
}

/// The answer recorded for the caller's key at `endpoint`, without using the key up. A key that was
/// used with another body is refused.
pub async fn recorded_answer(
    store: &Store,
    call: &Call,
    endpoint: &str,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let Some(key) = call.key_id(endpoint) else {
        return Ok(None);
    };
    answer_of(store.key_use(&key, &call.body_hash()?, now).await?)
}

fn answer_of(key_use: KeyUse) -> Result<Option<String>, Error> {
    match key_use {
        KeyUse::Fits => Ok(None),
        KeyUse::Answered(answer) => Ok(Some(answer)),
        KeyUse::OtherBody => Err(Error::KeyReused),
    }
}

/// Reads the order; `None` unless it belongs to the customer and the caller acts for that customer.
pub async fn own_order(
    store: &Store,
    call: &Call,
    customer: &CustomerId,
    id: &OrderId,
) -> Result<Option<Order>, Error> {
    if call.caller.check(customer, Missing::Order).is_err() {
        return Ok(None);
    }
    let order = store.order(id).await?;
    Ok(order.filter(|order| order.customer == *customer))
}
