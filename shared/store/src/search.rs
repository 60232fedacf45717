//! Finds orders, newest first, with `Query` only.
//!
//! The indexes `byCustomer` and `byTime` contain only keys that never change: when an order was
//! placed, and either its customer or one of [`SHARDS`] shards of all orders. An order therefore
//! costs two write units when it is placed and none later. What is shown and filtered by is the
//! order itself, read by its key.

use std::collections::{HashMap, VecDeque};

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{CustomerId, Order, OrderId, OrderReference, Status, Timestamp};

use super::item::{Corrupt, Item, Reader, n, order_from_item, s};
use super::orders::keys;
use super::references::reference_holders;
use super::{Store, StoreError, damaged, failed};

/// The number of partitions of `byTime`. Each takes 1000 new orders per second (`DynamoDB`
/// developer guide, "Partitions and data distribution").
const SHARDS: u8 = 4;

/// How many orders a filtered page reads at a time; `BatchGetItem` accepts no more keys.
const READ_AT_ONCE: usize = 100;

/// The maximum number of orders that a page reads to find matches.
const MOST_READ: usize = 500;

/// The maximum number of queries for a page.
const MOST_QUERIES: u32 = 20;

/// The partition of `byTime` that an order belongs to.
pub(super) fn time_shard(order: &OrderId) -> String {
    let last = order.to_string().bytes().last().unwrap_or_default();
    (last % SHARDS).to_string()
}

/// The search criteria. An order must match all that are given.
#[derive(Clone, Debug, Default)]
pub struct OrderSearch {
    /// The customer.
    pub customer: Option<CustomerId>,
    /// The number in the books of the caller that placed the order.
    pub reference: Option<OrderReference>,
    /// The current status.
    pub status: Option<Status>,
    /// Placed at this time or later.
    pub from: Option<Timestamp>,
    /// Placed before this time.
    pub to: Option<Timestamp>,
    /// Whether the search may read the customer's own orders only, so that its duration does not
    /// depend on the orders of others.
    pub touches_own_alone: bool,
}

/// A position in a list of orders, after which the list continues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the last passed order was placed.
    pub at: Timestamp,
    /// The last passed order.
    pub order: OrderId,
}

/// How far one of the lists that a search merges has been passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was passed.
    Start,
    /// The list continues after this place.
    Behind(Place),
    /// The list was passed to its end.
    End,
}

/// A page of a search.
#[derive(Debug)]
pub struct FoundOrders {
    /// The orders, newest first. Fewer than the limit does not mean that there are no more.
    pub orders: Vec<Order>,
    /// Where each list continues; `None` if all lists have ended.
    pub next: Option<Vec<Progress>>,
    /// Orders that this version cannot read; they were skipped.
    pub unreadable: Vec<(OrderId, Corrupt)>,
}

/// The source of a list.
enum Source<'a> {
    Index {
        name: &'static str,
        key: &'static str,
        value: String,
    },
    Reference(&'a OrderReference),
}

/// One of the lists that are merged.
struct List<'a> {
    source: Source<'a>,
    /// The place after which the next query begins.
    behind: Option<Place>,
    /// Orders placed after this time did not exist when the first page was read.
    newest: Timestamp,
    is_read_up: bool,
    waiting: VecDeque<Place>,
    passed: Progress,
}

impl List<'_> {
    fn is_dry(&self) -> bool {
        self.waiting.is_empty() && !self.is_read_up
    }

    fn progress(&self) -> Progress {
        match (&self.behind, self.waiting.is_empty()) {
            (_, true) if self.is_read_up => Progress::End,
            (Some(behind), true) => Progress::Behind(behind.clone()),
            _ => self.passed.clone(),
        }
    }
}

impl OrderSearch {
    fn sources(&self) -> Vec<Source<'_>> {
        let by_reference = self.reference.as_ref().filter(|_| !self.touches_own_alone);
        match (by_reference, &self.customer) {
            (Some(reference), _) => vec![Source::Reference(reference)],
            (None, Some(customer)) => vec![Source::Index {
                name: "byCustomer",
                key: "customerId",
                value: customer.as_str().to_owned(),
            }],
            (None, None) => {
                let shards = (0..SHARDS).map(|shard| Source::Index {
                    name: "byTime",
                    key: "timeShard",
                    value: shard.to_string(),
                });
                shards.collect()
            }
        }
    }

    /// The number of lists that the search merges.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.sources().len()
    }

    /// Whether the lists may contain orders that do not match.
    fn is_filter(&self) -> bool {
        self.status.is_some() || self.reference.is_some()
    }

    fn takes(&self, order: &Order) -> bool {
        let fits_customer = self
            .customer
            .as_ref()
            .is_none_or(|customer| order.customer == *customer);
        let fits_reference = self.reference.is_none() || order.reference == self.reference;
        let fits_status = self.status.is_none_or(|status| order.status == status);
        fits_customer && fits_reference && fits_status
    }

    /// The first and the last millisecond of the period.
    fn period(&self) -> (Timestamp, Timestamp) {
        let from = self.from.unwrap_or(Timestamp::from_millis(i64::MIN));
        let last = self.to.map_or(i64::MAX, |to| to.millis().saturating_sub(1));
        (from, Timestamp::from_millis(last))
    }

    /// The lists, each at its `progress`.
    fn begin(&self, progress: &[Progress]) -> Vec<List<'_>> {
        let passed = progress.iter().filter_map(|progress| match progress {
            Progress::Behind(place) => Some(place.at),
            Progress::Start | Progress::End => None,
        });
        let newest = passed.max().unwrap_or(Timestamp::from_millis(i64::MAX));
        let sources = self.sources().into_iter().enumerate();
        let list = |(index, source)| {
            let passed = progress.get(index).cloned().unwrap_or(Progress::Start);
            List {
                source,
                behind: match &passed {
                    Progress::Behind(place) => Some(place.clone()),
                    Progress::Start | Progress::End => None,
                },
                newest,
                is_read_up: passed == Progress::End,
                waiting: VecDeque::new(),
                passed,
            }
        };
        sources.map(list).collect()
    }
}

impl Store {
    /// A page of the matching orders, newest first: at most `limit` (1 to 100), after `progress`. A
    /// page that would have to read too much ends early and returns where to continue.
    pub async fn find_orders(
        &self,
        search: &OrderSearch,
        limit: usize,
        progress: &[Progress],
    ) -> Result<FoundOrders, StoreError> {
        let at_once = if search.is_filter() {
            READ_AT_ONCE
        } else {
            limit
        };
        let mut lists = search.begin(progress);
        let (mut orders, mut unreadable) = (Vec::new(), Vec::new());
        let (mut queries, mut read) = (0, 0);
        while orders.len() < limit && read < MOST_READ {
            let places = self
                .merge(search, &mut lists, at_once, &mut queries)
                .await?;
            if places.is_empty() {
                break;
            }
            read += places.len();
            let mut items = self.items_at(&places).await?;
            let mut places = places.into_iter();
            while orders.len() < limit
                && let Some((list, place)) = places.next()
            {
                let item = items.remove(&place.order.to_string());
                match item.as_ref().map(order_from_item) {
                    Some(Ok(order)) if search.takes(&order) => orders.push(order),
                    Some(Err(source)) => unreadable.push((place.order, source)),
                    Some(Ok(_)) | None => {}
                }
                lists[list].passed = Progress::Behind(place);
            }
            for (list, place) in places.rev() {
                lists[list].waiting.push_front(place);
            }
        }
        let next: Vec<_> = lists.iter().map(List::progress).collect();
        let is_end = next.iter().all(|progress| *progress == Progress::End);
        Ok(FoundOrders {
            orders,
            next: (!is_end).then_some(next),
            unreadable,
        })
    }

    /// Takes the next places from the lists, newest first, each with the number of its list.
    /// Returns fewer than `wanted` at the end of all lists, or after too many queries.
    async fn merge(
        &self,
        search: &OrderSearch,
        lists: &mut [List<'_>],
        wanted: usize,
        queries: &mut u32,
    ) -> Result<Vec<(usize, Place)>, StoreError> {
        let mut places = Vec::new();
        while places.len() < wanted {
            for list in &mut *lists {
                while list.is_dry() {
                    if *queries == MOST_QUERIES {
                        return Ok(places);
                    }
                    *queries += 1;
                    self.read_on(search, list, wanted).await?;
                }
            }
            let heads = lists.iter().enumerate();
            let heads = heads.filter_map(|(number, list)| Some((list.waiting.front()?, number)));
            let Some((_, newest)) = heads.max() else {
                break;
            };
            let place = lists[newest].waiting.pop_front();
            places.extend(place.map(|place| (newest, place)));
        }
        Ok(places)
    }

    /// Reads the next places of a list: one more than `wanted`, so that the end of the list is
    /// seen.
    async fn read_on(
        &self,
        search: &OrderSearch,
        list: &mut List<'_>,
        wanted: usize,
    ) -> Result<(), StoreError> {
        let (from, last) = search.period();
        let last = last.min(list.newest);
        match &list.source {
            Source::Reference(reference) => {
                let row = self.reference_row(reference).await?.unwrap_or_default();
                let mut places = reference_holders(&row)?;
                places.sort_unstable_by(|one, other| other.cmp(one));
                let is_wanted = |place: &Place| {
                    let is_behind = list.behind.as_ref().is_none_or(|behind| place < behind);
                    is_behind && (from..=last).contains(&place.at)
                };
                places.retain(is_wanted);
                list.waiting = places.into();
                list.is_read_up = true;
            }
            Source::Index { name, key, value } => {
                let start = list.behind.as_ref().map(|behind| {
                    let start = [
                        (*key, s(value)),
                        ("createdAt", n(behind.at.millis())),
                        ("orderId", s(behind.order.to_string())),
                    ];
                    start.map(|(name, value)| (name.to_owned(), value)).into()
                });
                let output = self
                    .client
                    .query()
                    .table_name(self.orders_table()?)
                    .index_name(*name)
                    .key_condition_expression("#key = :key AND createdAt BETWEEN :from AND :last")
                    .expression_attribute_names("#key", *key)
                    .expression_attribute_values(":key", s(value))
                    .expression_attribute_values(":from", n(from.millis()))
                    .expression_attribute_values(":last", n(last.millis()))
                    .scan_index_forward(false)
                    .limit(i32::try_from(wanted + 1).unwrap_or(i32::MAX))
                    .set_exclusive_start_key(start)
                    .send()
                    .await
                    .map_err(|error| failed("Query", &error))?;
                let places = output.items().iter().map(place).collect::<Result<_, _>>();
                list.waiting = places.map_err(damaged("Orders"))?;
                match &output.last_evaluated_key {
                    Some(key) => list.behind = Some(place(key).map_err(damaged("Orders"))?),
                    None => list.is_read_up = true,
                }
            }
        }
        Ok(())
    }

    /// The unparsed orders at these places, by ID; one consistent call.
    async fn items_at(
        &self,
        places: &[(usize, Place)],
    ) -> Result<HashMap<String, Item>, StoreError> {
        let table = self.orders_table()?;
        let wanted = places.iter();
        let wanted = wanted.map(|(_, place)| ("orderId", place.order.to_string()));
        let wanted = HashMap::from([(table.to_owned(), keys(wanted.collect()))]);
        let found = self.batch(wanted).await?.remove(table).unwrap_or_default();
        let by_id = found.into_iter().filter_map(|item| {
            let id = item.get("orderId")?.as_s().ok()?.clone();
            Some((id, item))
        });
        Ok(by_id.collect())
    }
}

fn place(item: &HashMap<String, Value>) -> Result<Place, Corrupt> {
    let reader = Reader(item);
    Ok(Place {
        at: reader.required_time("createdAt")?,
        order: reader.required("orderId", |id| OrderId::parse(id).ok())?,
    })
}
