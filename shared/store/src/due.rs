//! The index of what is due. Whatever an order holds, its mark in the index can be moved: that needs
//! nothing but the index's own keys.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{Due, DueStep, MailTopic, Order, Timestamp};

use super::emails::{EmailState, email_state};
use super::item::{Corrupt, Item, Reader, n, order_from_item, s};
use super::transition::Change;
use super::{Store, StoreError, damaged, failed};

/// An order's place in the index, as the index shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct DueMark {
    order: String,
    partition: Value,
    at: Value,
}

impl DueMark {
    /// The order's id.
    #[must_use]
    pub fn order(&self) -> &str {
        &self.order
    }
}

/// Where a page of the index ends.
#[derive(Clone, Debug, PartialEq)]
pub struct DueCursor(Item);

/// Some of the orders that are due in one shard, oldest first.
#[derive(Clone, Debug)]
pub struct DuePage {
    /// Their marks.
    pub marks: Vec<DueMark>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<DueCursor>,
}

/// A due order with its mails, as far as this version can read them.
#[derive(Debug)]
pub enum DueOrder {
    /// There is no such order.
    Gone,
    /// The order, and how far each of its mails is. A mail whose row cannot be read stands alone.
    Read(Box<Order>, BTreeMap<MailTopic, Result<EmailState, Corrupt>>),
    /// It is damaged, or a newer version wrote it.
    Unreadable {
        /// How often the sweep has looked, as far as that can be read.
        tries: u32,
        /// What is wrong.
        source: Corrupt,
    },
}

impl Store {
    /// Orders of one shard of `step` whose time had come at `until`, oldest first, at most `limit`,
    /// behind `after`.
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

    /// The order of that mark and its mails; one consistent call, and another one where mails tell of
    /// refunds of a part or of the parcel's way.
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

    /// Moves the time of the next look at what an order waits for, or at what it waits for next, or
    /// ends the waiting (`None`); one write. Nothing happens when the order has moved on, or waits for
    /// something else, since it was read; tells whether something did.
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

    /// Moves the time of the next look at an order of which nothing is known but its mark; one write.
    /// `tries` is kept with it where it is known. Nothing happens when the mark is another one by
    /// now; tells whether something did.
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

    /// Whether the mark stands where the change moves it (`None`: nowhere). One that stood there when
    /// the condition refused it was moved by our own write, whose first answer was lost on the way.
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
