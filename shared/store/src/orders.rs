//! Orders: carts, transitions that need no transaction, and reads.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{
    AttributeValue as Value, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use domain::{
    Amounts, Command, Contact, Currency, CustomerId, EventType, MailTopic, Metadata, Order,
    OrderId, OrderLines, OrderReference, Status, Timestamp,
};
use messages::email_id;

use super::emails::{EmailState, email_state};
use super::idempotency::{BodyHash, key_use};
use super::item::{Item, contact_value, lines_value, metadata_value, money, new_order_item, s};
use super::references::{OwnReference, reference_holder};
use super::refused::{complete, unless_refused};
use super::transition::{Transition, read};
use super::{KeyUse, Store, StoreError, TRIES, damaged, failed};

/// No order has this ID yet.
const NO_ORDER: &str = "attribute_not_exists(orderId)";

/// The priced contents of a cart.
#[derive(Clone, Debug)]
pub struct CartContents {
    /// The currency of its prices and amounts.
    pub currency: Currency,
    /// The lines.
    pub lines: OrderLines,
    /// The amounts.
    pub amounts: Amounts,
    /// The recipient. With one, the chain issues the invoice automatically.
    pub checkout: Option<Contact>,
    /// The shop's own data about the order.
    pub metadata: Metadata,
}

/// A cart that becomes an order.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// A new ID, or one derived from the idempotency key.
    pub id: OrderId,
    /// The customer.
    pub customer: CustomerId,
    /// The contents.
    pub contents: CartContents,
    /// Its number in the caller's books.
    pub reference: Option<OwnReference>,
    /// The hash of the body, if it came with an idempotency key.
    pub request_hash: Option<String>,
    /// The request's trace context.
    pub traceparent: Option<String>,
}

/// Outcome of creating an order.
#[derive(Clone, Debug)]
pub enum CreateOrder {
    /// The order was written.
    Created(Box<Order>),
    /// An order with this ID exists: from the same request, or from another body with the same key.
    Existed(Box<Order>),
    /// The caller has already given its reference to this order; nothing was written.
    ReferenceTaken(OrderId),
}

/// The answer to record for an idempotency key, for a write that is not idempotent itself.
#[derive(Clone, Debug)]
pub struct KeyRecord<'a> {
    /// The key's hash.
    pub key: &'a str,
    /// The body's hash.
    pub body: &'a BodyHash,
    /// The answer for this and every later use.
    pub answer: &'a str,
}

/// Outcome of a cart update.
#[derive(Clone, Debug)]
pub enum CartUpdate {
    /// The update was written.
    Updated,
    /// The order does not exist or belongs to another customer.
    NotFound,
    /// The order is no longer pending.
    Refused(Status),
    /// The order is in this currency, but the contents are in another.
    OtherCurrency(Currency),
    /// The order has this reference, or none, but the request has another one.
    OtherReference(Option<OrderReference>),
    /// The key already has this answer; nothing was written.
    Answered(String),
    /// The key was used with another body.
    KeyReused,
}

impl Store {
    /// Writes a new order with its `CartUpdated` event, unless one with this ID exists. Costs one
    /// write, or a transaction that also takes the order's reference.
    pub async fn create_order(
        &self,
        new: NewOrder,
        now: Timestamp,
    ) -> Result<CreateOrder, StoreError> {
        let checkout = new.contents.checkout.is_some();
        let cart = Order {
            id: new.id,
            customer: new.customer,
            reference: new.reference.as_ref().map(|own| own.reference.clone()),
            metadata: new.contents.metadata,
            status: Status::Pending,
            version: 0,
            currency: new.contents.currency,
            lines: new.contents.lines,
            amounts: new.contents.amounts,
            first: None,
            request_hash: new.request_hash,
            contact: new.contents.checkout,
            checkout,
            payment: None,
            disputes: Vec::new(),
            refunds: Vec::new(),
            refunds_revision: 0,
            delivery: None,
            parcel: None,
            purchases: None,
            shipping_refusal: None,
            cancel_reason: None,
            shipment: None,
            event: None,
            events: BTreeMap::new(),
            created_at: now,
            due: None,
            traceparent: new.traceparent,
        };
        let order = self.placed(cart, now);
        if let Some(own) = &new.reference {
            return self.create_with_reference(order, own).await;
        }
        let put = self
            .client
            .put_item()
            .table_name(self.orders_table()?)
            .set_item(Some(new_order_item(&order)))
            .condition_expression(NO_ORDER)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(match unless_refused(put.send().await)? {
            Ok(_) => CreateOrder::Created(Box::new(order)),
            Err(standing) => CreateOrder::Existed(Box::new(read(&standing.unwrap_or_default())?)),
        })
    }

    async fn create_with_reference(
        &self,
        order: Order,
        own: &OwnReference,
    ) -> Result<CreateOrder, StoreError> {
        let put = Put::builder()
            .table_name(self.orders_table()?)
            .set_item(Some(new_order_item(&order)))
            .condition_expression(NO_ORDER)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = TransactWriteItem::builder().put(complete(put.build()));
        let items = vec![put.build(), self.take_reference(own, &order)?];
        let Err(refusals) = self.transact(items).await? else {
            return Ok(CreateOrder::Created(Box::new(order)));
        };
        // A repeated request finds its own order, which already has the reference.
        match (refusals.get(0), refusals.get(1)) {
            (Some(standing), _) => Ok(CreateOrder::Existed(Box::new(read(standing)?))),
            (None, Some(row)) => Ok(CreateOrder::ReferenceTaken(reference_holder(row, own)?)),
            (None, None) => Err(StoreError::Conflict),
        }
    }

    /// Replaces the contents of a pending order. Costs a read and a transaction, which also records
    /// the answer in the key's row if there is a key.
    ///
    /// The order's original contents are stored separately, because a repeat of the request that
    /// created it is answered with them.
    pub async fn update_cart(
        &self,
        id: &OrderId,
        customer: &CustomerId,
        contents: &CartContents,
        reference: Option<&OrderReference>,
        key: Option<KeyRecord<'_>>,
        now: Timestamp,
    ) -> Result<CartUpdate, StoreError> {
        for attempt in 1..=TRIES {
            // The event's ID contains the version, and only a read can provide it: `SET` cannot
            // concatenate texts.
            let Some(order) = self.order(id).await? else {
                return Ok(CartUpdate::NotFound);
            };
            if order.customer != *customer {
                return Ok(CartUpdate::NotFound);
            }
            let is_repeat_possible = key.is_some();
            if let Err(_refused) = order.status.apply(Command::UpdateCart)
                && !is_repeat_possible
            {
                return Ok(CartUpdate::Refused(order.status));
            }
            if order.currency != contents.currency {
                return Ok(CartUpdate::OtherCurrency(order.currency));
            }
            if reference.is_some_and(|reference| order.reference.as_ref() != Some(reference)) {
                return Ok(CartUpdate::OtherReference(order.reference));
            }
            let mut items = vec![self.transact_item(self.cart_update(&order, contents, now))?];
            if let Some(key) = &key {
                items.push(self.key_answer(key, now)?);
            }
            let Err(refusals) = self.transact(items).await? else {
                return Ok(CartUpdate::Updated);
            };
            if let (Some(row), Some(key)) = (refusals.get(1), &key) {
                match key_use(row, key.body)? {
                    KeyUse::Answered(answer) => return Ok(CartUpdate::Answered(answer)),
                    KeyUse::OtherBody => return Ok(CartUpdate::KeyReused),
                    KeyUse::Fits => {}
                }
            }
            if refusals.get(0).is_some() && order.status != Status::Pending {
                return Ok(CartUpdate::Refused(order.status));
            }
            // The order has changed since it was read.
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    fn cart_update(&self, order: &Order, contents: &CartContents, now: Timestamp) -> Transition {
        let checkout = contents.checkout.is_some();
        let replaced = Order {
            checkout,
            ..order.clone()
        };
        let update = self
            .transition(&replaced, Command::UpdateCart, now)
            // The new amounts are in this currency.
            .when_is("currency", s(contents.currency.code()))
            .assign("firstLines", "if_not_exists(#firstLines, #lines)")
            .assign("firstSubTotal", "if_not_exists(#firstSubTotal, #subTotal)")
            .assign("firstTax", "if_not_exists(#firstTax, #tax)")
            .assign("firstTotal", "if_not_exists(#firstTotal, #total)")
            .set("lines", lines_value(&contents.lines))
            .set("subTotal", money(contents.amounts.sub_total))
            .set("tax", money(contents.amounts.tax))
            .set("total", money(contents.amounts.total))
            .set("checkout", Value::Bool(checkout));
        let update = if contents.metadata.is_empty() {
            update.remove(["metadata"])
        } else {
            update.set("metadata", metadata_value(&contents.metadata))
        };
        match &contents.checkout {
            Some(contact) => update.set("contact", contact_value(contact)),
            None => update.remove(["contact"]),
        }
    }

    /// The current order; a consistent read.
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        let key = [("orderId", s(id.to_string()))];
        let item = self.item(self.orders_table()?, key).await?;
        item.as_ref().map(read).transpose()
    }

    /// The order and the state of its mails. One consistent call, and another one if there may be
    /// mails about partial refunds or about the parcel's delivery.
    pub async fn order_and_emails(
        &self,
        id: &OrderId,
    ) -> Result<Option<(Order, BTreeMap<MailTopic, EmailState>)>, StoreError> {
        let (order, mut rows) = self.items_of(&id.to_string()).await?;
        let Some(order) = order else {
            return Ok(None);
        };
        let order = read(&order)?;
        rows.extend(self.later_mails(&order).await?);
        let states = rows.into_iter().map(|(topic, row)| {
            let state = email_state(&row).map_err(damaged("Emails"));
            Ok::<_, StoreError>((topic, state?))
        });
        let states = states.collect::<Result<_, _>>()?;
        Ok(Some((order, states)))
    }

    /// The unparsed items of an order and of the mails that most orders have; one consistent call.
    pub(super) async fn items_of(
        &self,
        order: &str,
    ) -> Result<(Option<Item>, BTreeMap<MailTopic, Item>), StoreError> {
        let orders = self.orders_table()?;
        let topics = EventType::MAILED.into_iter();
        let topics = topics
            .filter(|event| !event.is_parcel_news())
            .map(MailTopic::of);
        let mailed = mail_ids(&order, topics);
        let mut wanted = self.mail_keys(&mailed)?;
        wanted.insert(orders.to_owned(), keys(vec![("orderId", order.to_owned())]));
        let mut found = self.batch(wanted).await?;
        let item = found.remove(orders).and_then(|mut items| items.pop());
        Ok((item, self.by_topic(found, mailed)?))
    }

    /// The unparsed rows of the mails about partial refunds and about the parcel's delivery; one
    /// consistent call, if there are any.
    pub(super) async fn later_mails(
        &self,
        order: &Order,
    ) -> Result<BTreeMap<MailTopic, Item>, StoreError> {
        let parcel = order.mailed_events().filter(EventType::is_parcel_news);
        let topics = parcel.map(MailTopic::of).chain(order.told_refunds());
        let mailed = mail_ids(&order.id, topics);
        if mailed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.batch(self.mail_keys(&mailed)?).await?;
        self.by_topic(found, mailed)
    }

    fn mail_keys(
        &self,
        mailed: &BTreeMap<String, MailTopic>,
    ) -> Result<HashMap<String, KeysAndAttributes>, StoreError> {
        let rows = mailed.keys().map(|id| ("emailId", id.clone()));
        let emails = self.emails_table()?.to_owned();
        Ok(HashMap::from([(emails, keys(rows.collect()))]))
    }

    fn by_topic(
        &self,
        mut found: HashMap<String, Vec<Item>>,
        mut mailed: BTreeMap<String, MailTopic>,
    ) -> Result<BTreeMap<MailTopic, Item>, StoreError> {
        let rows = found.remove(self.emails_table()?).unwrap_or_default();
        let rows = rows.into_iter().filter_map(|row| {
            let topic = mailed.remove(row.get("emailId")?.as_s().ok()?)?;
            Some((topic, row))
        });
        Ok(rows.collect())
    }

    /// The items with these keys, by table.
    pub(super) async fn batch(
        &self,
        mut wanted: HashMap<String, KeysAndAttributes>,
    ) -> Result<HashMap<String, Vec<Item>>, StoreError> {
        let mut found: HashMap<String, Vec<Item>> = HashMap::new();
        for attempt in 1..=TRIES {
            let output = self
                .client
                .batch_get_item()
                .set_request_items(Some(std::mem::take(&mut wanted)))
                .send()
                .await
                .map_err(|error| failed("BatchGetItem", &error))?;
            for (table, items) in output.responses.unwrap_or_default() {
                found.entry(table).or_default().extend(items);
            }
            wanted = output.unprocessed_keys.unwrap_or_default();
            if wanted.is_empty() {
                return Ok(found);
            }
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }
}

/// The topic of each mail, by the key of its row.
fn mail_ids(
    order: &impl std::fmt::Display,
    topics: impl Iterator<Item = MailTopic>,
) -> BTreeMap<String, MailTopic> {
    topics
        .map(|topic| (email_id(order, topic), topic))
        .collect()
}

pub(super) fn keys(keys: Vec<(&str, String)>) -> KeysAndAttributes {
    let keys = keys.into_iter().fold(
        KeysAndAttributes::builder().consistent_read(true),
        |builder, (name, id)| builder.keys(HashMap::from([(name.to_owned(), s(id))])),
    );
    complete(keys.build())
}
