//! What a call claims in the store before its service does anything: its idempotency key, and orders
//! that it says are its caller's.

use domain::{CustomerId, Order, OrderId, Timestamp};
use store::{KeyUse, Store};

use crate::error::{Error, Missing};
use crate::http::Call;

/// Remembers that the caller's key at `endpoint` goes with this body; refuses another body, whatever
/// that is about. One write, and only when a key was sent. It comes before anything that the key is
/// for, and after what needs the body alone: a body that cannot be read uses no key up.
///
/// Gives the answer that was recorded for the key, if its request has one.
pub async fn claim_key(
    store: &Store,
    call: &Call,
    endpoint: &str,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let Some(key) = call.key_id(endpoint) else {
        return Ok(None);
    };
    match store.use_key(&key, &call.body_hash()?, now).await? {
        KeyUse::Fits => Ok(None),
        KeyUse::Answered(answer) => Ok(Some(answer)),
        KeyUse::OtherBody => Err(Error::KeyReused),
    }
}

/// The order, if it is that customer's and the caller acts for that customer; a read.
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
