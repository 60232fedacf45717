//! The index of due orders. An order's mark in the index can be moved whatever the order's item
//! contains: that needs only the index's own keys.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{Due, DueStep, MailTopic, Order, Timestamp};

use super::emails::{EmailState, email_state};
use super::item::{Corrupt, Item, Reader, n, order_from_item, s};
use super::transition::Change;
use super::{Store, StoreError, damaged, failed};

/// An order's entry in the index.
#[derive(Clone, Debug, PartialEq)]
pub struct DueMark {
    order: String,
    partition: Value,
    at: Value,
}

impl DueMark {
    /// The order's ID.
    #[must_use]
    pub fn order(&self) -> &str {
        &self.order
    }
}

/// The end of a page of the index.
#[derive(Clone, Debug, PartialEq)]
pub struct DueCursor(Item);

/// One page of the orders that are due in one shard, oldest first.
#[derive(Clone, Debug)]
pub struct DuePage {
    /// Their entries.
    pub marks: Vec<DueMark>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<DueCursor>,
}

/// A due order with its mails, as far as this version can read them.
#[derive(Debug)]
pub enum DueOrder {
    /// The order does not exist.
    Gone,
    /// The order, and the state of each of its mails. A mail whose row cannot be read does not
    /// affect the others.
    Read(Box<Order>, BTreeMap<MailTopic, Result<EmailState, Corrupt>>),
    /// The item is damaged, or a newer version wrote it.
    Unreadable {
        /// How many times the sweep has checked it; 0 if that cannot be read.
        tries: u32,
        /// The attribute that cannot be read.
        source: Corrupt,
    },
}

impl Store {
    /// The orders of one shard of `step` that were due at `until`, oldest first: at most `limit`,
    /// after the cursor `after`.
    pub async fn due_orders(
        &self,
        step: DueStep,
        shard: u8,
        until: Timestamp,
        limit: i32,
        after: Option<DueCursor>,
    ) -> Result<DuePage, StoreError> {
        let output = self
            .client
            .query()
            .table_name(self.orders_table()?)
            .index_name("due")
            .key_condition_expression("dueStep = :step AND dueAt <= :until")
            .expression_attribute_values(":step", s(step.partition(shard)))
            .expression_attribute_values(":until", n(until.millis()))
            .set_exclusive_start_key(after.map(|DueCursor(key)| key))
            .limit(limit)
            .send()
            .await
            .map_err(|error| failed("Query", &error))?;
        let marks = output.items().iter().map(mark).collect::<Result<_, _>>();
        Ok(DuePage {
            marks: marks.map_err(damaged("Orders"))?,
            next: output.last_evaluated_key.map(DueCursor),
        })
    }

    /// The order of that mark and its mails. One consistent call, and another one if there may be
    /// mails about partial refunds or about the parcel's delivery.
    pub async fn due_order(&self, mark: &DueMark) -> Result<DueOrder, StoreError> {
        let (item, mut rows) = self.items_of(&mark.order).await?;
        let Some(item) = item else {
            return Ok(DueOrder::Gone);
        };
        Ok(match order_from_item(&item) {
            Ok(order) => {
                rows.extend(self.later_mails(&order).await?);
                let states = rows.iter().map(|(topic, row)| (*topic, email_state(row)));
                DueOrder::Read(Box::new(order), states.collect())
            }
            Err(source) => DueOrder::Unreadable {
                tries: Reader(&item)
                    .number("dueTries")
                    .ok()
                    .flatten()
                    .unwrap_or_default(),
                source,
            },
        })
    }

    /// Moves the next check of what an order waits for, changes what it waits for, or ends the
    /// waiting (`None`); one write. Does nothing if the order has changed, or waits for something
    /// else, since it was read. Returns whether the mark was moved.
    pub async fn set_due(&self, order: &Order, due: Option<Due>) -> Result<bool, StoreError> {
        let Some(read) = &order.due else {
            return Ok(false);
        };
        let change = Self::change(&order.id)
            .when_is("version", n(order.version))
            .when_is("dueStep", s(read.step.partition_of(&order.id)))
            .when_is("dueAt", n(read.at.millis()))
            .due(&order.id, due);
        self.moved(change, due.map(|due| due.at)).await
    }

    /// Moves the next check of an order of which only its mark is known; one write. `tries`, if
    /// known, is stored with it. Does nothing if the mark has changed. Returns whether the mark was
    /// moved.
    pub async fn postpone(
        &self,
        mark: &DueMark,
        at: Timestamp,
        tries: Option<u32>,
    ) -> Result<bool, StoreError> {
        let change = Self::change_at(&mark.order)
            .when_is("dueStep", mark.partition.clone())
            .when_is("dueAt", mark.at.clone())
            .postponed(at, tries);
        self.moved(change, Some(at)).await
    }

    /// Whether the mark is where the change moves it (`None`: removed). If it was already there
    /// when the condition failed, it was this call's own write, whose first answer was lost.
    async fn moved(&self, change: Change, to: Option<Timestamp>) -> Result<bool, StoreError> {
        Ok(match self.update(change).await? {
            Ok(_) => true,
            Err(standing) => {
                let stands_at = standing.and_then(|mut item| item.remove("dueAt"));
                stands_at == to.map(|at| n(at.millis()))
            }
        })
    }
}

fn mark(item: &HashMap<String, Value>) -> Result<DueMark, Corrupt> {
    let key = |name: &'static str| item.get(name).cloned().ok_or(Corrupt(name));
    Ok(DueMark {
        order: Reader(item).required_text("orderId")?.to_owned(),
        partition: key("dueStep")?,
        at: key("dueAt")?,
    })
}
