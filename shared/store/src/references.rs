//! References: the numbers of orders in their callers' books.
//!
//! Each reference has one row in the `IdempotencyKeys` table, which does not expire. The row holds
//! one order for each caller that has used the reference. A reference thus identifies one order of
//! a caller, and the back end finds the orders of all callers with one read.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue as Value, TransactWriteItem};
use domain::{Order, OrderId, OrderReference, digest_hex};

use super::item::{Corrupt, Item, Reader, n, s};
use super::search::Place;
use super::update::{Target, Write};
use super::{Store, StoreError, damaged};

/// A reference in the books of one caller.
#[derive(Clone, Debug)]
pub struct OwnReference {
    /// The reference.
    pub reference: OrderReference,
    /// The caller's ID, which also scopes its idempotency keys.
    pub caller: String,
}

impl OwnReference {
    /// The attribute that holds the caller's order.
    fn attribute(&self) -> String {
        format!("order/{}", digest_hex(&["caller", &self.caller]))
    }
}

/// The target type of an update of a reference's row.
enum ReferenceRow {}

impl Target for ReferenceRow {
    fn table(store: &Store) -> Result<&str, StoreError> {
        store.idempotency_table()
    }
}

fn row_key(reference: &OrderReference) -> String {
    format!("reference/{}", digest_hex(&[reference.as_str()]))
}

impl Store {
    /// The row of a reference, if any order has it; a consistent read.
    pub(super) async fn reference_row(
        &self,
        reference: &OrderReference,
    ) -> Result<Option<Item>, StoreError> {
        let key = [("keyId", s(row_key(reference)))];
        self.item(self.idempotency_table()?, key).await
    }

    /// Assigns the reference to the order, unless the caller has already assigned it to one.
    pub(super) fn take_reference(
        &self,
        own: &OwnReference,
        order: &Order,
    ) -> Result<TransactWriteItem, StoreError> {
        let holder = Value::M(HashMap::from([
            ("orderId".to_owned(), s(order.id.to_string())),
            ("createdAt".to_owned(), n(order.created_at.millis())),
        ]));
        let update = Write::<ReferenceRow>::new([("keyId", s(row_key(&own.reference)))])
            .when("attribute_not_exists(#own)")
            .name("#own", &own.attribute())
            .set("#own", holder)
            .into_update(ReferenceRow::table(self)?);
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// The caller's order in a reference's row.
pub(super) fn reference_holder(row: &Item, own: &OwnReference) -> Result<OrderId, StoreError> {
    let holder = row.get(&own.attribute()).ok_or(Corrupt("order"));
    let holder = holder.and_then(place).map_err(damaged("IdempotencyKeys"))?;
    Ok(holder.order)
}

/// The orders of all callers in a reference's row.
pub(super) fn reference_holders(row: &Item) -> Result<Vec<Place>, StoreError> {
    let holders = row.iter().filter(|(name, _)| name.starts_with("order/"));
    let places = holders.map(|(_, holder)| place(holder));
    let places: Result<_, Corrupt> = places.collect();
    places.map_err(damaged("IdempotencyKeys"))
}

fn place(holder: &Value) -> Result<Place, Corrupt> {
    let holder = Reader(holder.as_m().map_err(|_| Corrupt("order"))?);
    Ok(Place {
        at: holder.required_time("createdAt")?,
        order: holder.required("orderId", |id| OrderId::parse(id).ok())?,
    })
}
