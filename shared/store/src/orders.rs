//! Orders: carts, transitions that need no transaction, and reads.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue as Value, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use domain::{
    Amounts, Command, Contact, Currency, CustomerId, Due, DueStep, EventMark, EventRecord,
    EventType, OpenParcel, Order, OrderId, OrderLines, Shipment, Status, Timestamp,
};
use messages::email_id;

use super::attributes::{
    Item, contact_value, event_value, lines_value, money, n, new_order_item, order_from_item,
    parcel_value, record_value, s, shipment_value,
};
use super::emails::{EmailState, email_state};
use super::idempotency::key_use;
use super::{KeyUse, Store, StoreError, TRIES, failed, is_condition_refused};

/// How long after a transition the sweep looks whether the next step was done.
pub(super) const DUE_AFTER: Duration = Duration::from_mins(2);

/// What a cart holds, priced.
#[derive(Clone, Debug)]
pub struct CartContents {
    /// What its prices and amounts are in.
    pub currency: Currency,
    /// What was ordered.
    pub lines: OrderLines,
    /// What it costs.
    pub amounts: Amounts,
    /// Whom it goes to; with it the chain issues the invoice by itself.
    pub checkout: Option<Contact>,
}

/// A cart that becomes an order.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// New, or derived from the idempotency key.
    pub id: OrderId,
    /// Whose.
    pub customer: CustomerId,
    /// What it holds.
    pub contents: CartContents,
    /// The hash of the body, when it came with an idempotency key.
    pub request_hash: Option<String>,
    /// The request's trace context.
    pub traceparent: Option<String>,
}

/// What became of a new order.
#[derive(Clone, Debug)]
pub enum CreateOrder {
    /// It was written.
    Created(Box<Order>),
    /// One with this id was there: the same request came before, or its key with another body.
    Existed(Box<Order>),
}

/// The answer to an idempotency key's request for a write that is not idempotent by itself.
#[derive(Clone, Debug)]
pub struct KeyRecord<'a> {
    /// The key's hash.
    pub key: &'a str,
    /// The body's hash.
    pub body_hash: &'a str,
    /// The answer for this and every later use.
    pub answer: &'a str,
}

/// What became of a cart update.
#[derive(Clone, Debug)]
pub enum CartUpdate {
    /// It was written.
    Updated,
    /// No such order, or another customer's.
    NotFound,
    /// The order is no longer pending.
    Refused(Status),
    /// The order is in this currency, and the contents are in another.
    OtherCurrency(Currency),
    /// Its key was answered before with this; nothing was written.
    Answered(String),
    /// Its key was used with another body.
    KeyReused,
}

/// What became of a shipment.
#[derive(Clone, Debug)]
pub enum Shipping {
    /// It is shipped, now or before: this is the order as it stands.
    Shipped(Box<Order>),
    /// It is paid and not shipped; from [`Store::open_parcel`], with its parcel, now or before.
    Open(Box<Order>),
    /// The order is not paid.
    Refused(Status),
    /// No such order.
    NotFound,
}

impl Store {
    /// Writes a new order and its `CartUpdated` event unless one with this id exists; one write.
    pub async fn create_order(
        &self,
        new: NewOrder,
        now: Timestamp,
    ) -> Result<CreateOrder, StoreError> {
        let checkout = new.contents.checkout.is_some();
        let mut order = Order {
            id: new.id,
            customer: new.customer,
            status: Status::Pending,
            version: 1,
            currency: new.contents.currency,
            lines: new.contents.lines,
            amounts: new.contents.amounts,
            first: None,
            request_hash: new.request_hash,
            contact: new.contents.checkout,
            checkout,
            payment: None,
            disputes: Vec::new(),
            delivery: None,
            parcel: None,
            cancel_reason: None,
            shipment: None,
            event: None,
            events: BTreeMap::from([(
                EventType::CartUpdated,
                EventRecord {
                    version: 1,
                    at: now,
                },
            )]),
            created_at: now,
            due: checkout.then(|| Due {
                step: DueStep::Billing,
                at: now.plus(DUE_AFTER),
                tries: 0,
                by_operator: false,
            }),
            traceparent: new.traceparent,
        };
        order.event = Some(EventMark {
            id: order.event_id(1),
            kind: EventType::CartUpdated,
        });
        let put = self
            .client
            .put_item()
            .table_name(self.orders_table()?)
            .set_item(Some(new_order_item(&order)))
            .condition_expression("attribute_not_exists(orderId)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(CreateOrder::Created(Box::new(order))),
            Err(SdkError::ServiceError(error)) => match error.err() {
                PutItemError::ConditionalCheckFailedException(refused) => {
                    let item = refused.item().cloned().unwrap_or_default();
                    Ok(CreateOrder::Existed(Box::new(read(&item)?)))
                }
                _ => Err(failed("PutItem", &SdkError::ServiceError(error))),
            },
            Err(error) => Err(failed("PutItem", &error)),
        }
    }

    /// Replaces the contents of a pending order; a read and a transaction, which records the answer
    /// in the key's row where there is a key.
    ///
    /// The order's first contents are kept aside, because a repeat of the request that made it is
    /// answered with them. `#status = :pending` is [`Command::UpdateCart`]'s row of the state table,
    /// `currency = :currency` is what the new amounts are in.
    pub async fn update_cart(
        &self,
        id: &OrderId,
        customer: &CustomerId,
        contents: &CartContents,
        key: Option<KeyRecord<'_>>,
        now: Timestamp,
    ) -> Result<CartUpdate, StoreError> {
        for attempt in 1..=TRIES {
            // The event's id holds the version, which only a read can tell: `SET` cannot join texts.
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
            let update = self.cart_update(&order, contents, now)?;
            let mut transaction = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().update(update).build());
            if let Some(key) = &key {
                let put = self.key_answer(key, now)?;
                transaction =
                    transaction.transact_items(TransactWriteItem::builder().put(put).build());
            }
            let Err(error) = transaction.send().await else {
                return Ok(CartUpdate::Updated);
            };
            let canceled = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled))
                    if is_condition_refused(canceled) =>
                {
                    canceled
                }
                _ => return Err(failed("TransactWriteItems", &error)),
            };
            let refused = |index: usize| {
                canceled
                    .cancellation_reasons()
                    .get(index)
                    .filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
                    .map(|reason| reason.item().cloned().unwrap_or_default())
            };
            if let (Some(row), Some(key)) = (refused(1), &key) {
                match key_use(&row, key.body_hash)? {
                    KeyUse::Answered(answer) => return Ok(CartUpdate::Answered(answer)),
                    KeyUse::OtherBody => return Ok(CartUpdate::KeyReused),
                    KeyUse::Fits => {}
                }
            }
            if refused(0).is_some() && order.status != Status::Pending {
                return Ok(CartUpdate::Refused(order.status));
            }
            // The order changed since it was read.
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    fn cart_update(
        &self,
        order: &Order,
        contents: &CartContents,
        now: Timestamp,
    ) -> Result<Update, StoreError> {
        let version = order.version + 1;
        let record = EventRecord { version, at: now };
        let mut update = Update::builder()
            .table_name(self.orders_table()?)
            .key("orderId", s(order.id.to_string()))
            .condition_expression("#status = :pending AND version = :old AND currency = :currency")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#lines", "lines")
            .expression_attribute_names("#total", "total")
            .expression_attribute_names("#event", "event")
            .expression_attribute_names("#kind", EventType::CartUpdated.as_str())
            .expression_attribute_values(":pending", s(Status::Pending.as_str()))
            .expression_attribute_values(":old", n(order.version))
            .expression_attribute_values(":currency", s(contents.currency.code()))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":lines", lines_value(&contents.lines))
            .expression_attribute_values(":sub", money(contents.amounts.sub_total))
            .expression_attribute_values(":tax", money(contents.amounts.tax))
            .expression_attribute_values(":total", money(contents.amounts.total))
            .expression_attribute_values(":checkout", Value::Bool(contents.checkout.is_some()))
            .expression_attribute_values(
                ":event",
                event_value(&order.event_id(version), EventType::CartUpdated),
            )
            .expression_attribute_values(":record", record_value(&record));
        let mut set = "SET firstLines = if_not_exists(firstLines, #lines), \
             firstSubTotal = if_not_exists(firstSubTotal, subTotal), \
             firstTax = if_not_exists(firstTax, tax), \
             firstTotal = if_not_exists(firstTotal, #total), \
             #lines = :lines, subTotal = :sub, tax = :tax, #total = :total, \
             checkout = :checkout, version = :version, #event = :event, events.#kind = :record"
            .to_owned();
        if let Some(contact) = &contents.checkout {
            set += ", contact = :contact, dueStep = :step, dueAt = :due, dueTries = :zero";
            update = update
                .expression_attribute_values(":contact", contact_value(contact))
                .expression_attribute_values(":step", s(DueStep::Billing.partition_of(&order.id)))
                .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
                .expression_attribute_values(":zero", n(0));
        } else {
            set += " REMOVE contact, dueStep, dueAt, dueTries";
        }
        update
            .update_expression(set)
            .build()
            .map_err(|_| StoreError::NotConfigured("Orders"))
    }

    /// An update of an order that brings the item back: as it is after the write, or as it was when
    /// the condition refused it. `#status` and `#event` are named.
    pub(super) fn order_update(&self, id: &OrderId) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .any_update(id)?
            .expression_attribute_names("#status", "status"))
    }

    /// An update that does not depend on the order's status.
    pub(super) fn any_update(&self, id: &OrderId) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .client
            .update_item()
            .table_name(self.orders_table()?)
            .key("orderId", s(id.to_string()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#event", "event"))
    }

    /// Keeps a remote carrier's reference of a paid order's parcel, before its label is bought; one
    /// write. The first reference stays: whoever comes later is given that one.
    pub async fn open_parcel(
        &self,
        id: &OrderId,
        parcel: &OpenParcel,
    ) -> Result<Shipping, StoreError> {
        let update = self
            .order_update(id)?
            .update_expression("SET parcel = :parcel REMOVE #event")
            .condition_expression("#status = :paid AND attribute_not_exists(parcel)")
            .expression_attribute_values(":paid", s(Status::Paid.as_str()))
            .expression_attribute_values(":parcel", parcel_value(parcel));
        Ok(match conditional(update).await? {
            Ok(order) => Shipping::Open(Box::new(order)),
            Err(None) => Shipping::NotFound,
            Err(Some(order)) if order.shipment.is_some() => Shipping::Shipped(Box::new(order)),
            Err(Some(order)) if order.status == Status::Paid => Shipping::Open(Box::new(order)),
            Err(Some(order)) => Shipping::Refused(order.status),
        })
    }

    /// Ships a paid order; one write. `#status = :paid` is [`Command::Ship`]'s row of the state
    /// table. What an order that was shipped before got stays as it is.
    ///
    /// `order` is as it was read, with the parcel that the label is for: a label that needed none is
    /// refused by an order that has one. [`Shipping::Open`] is an order that is still to be shipped
    /// and has changed since it was read.
    pub async fn ship(
        &self,
        order: &Order,
        shipment: &Shipment,
        now: Timestamp,
    ) -> Result<Shipping, StoreError> {
        let version = order.version + 1;
        let record = EventRecord { version, at: now };
        let mut condition = "#status = :paid AND version = :old AND ".to_owned();
        let mut update = self.order_update(&order.id)?;
        match &order.parcel {
            None => condition += "attribute_not_exists(parcel)",
            Some(parcel) => {
                condition += "parcel.#reference = :reference AND parcel.#carrier = :carrier";
                update = update
                    .expression_attribute_names("#reference", "reference")
                    .expression_attribute_names("#carrier", "carrier")
                    .expression_attribute_values(":reference", s(&parcel.reference))
                    .expression_attribute_values(":carrier", s(&parcel.carrier));
            }
        }
        update = update
            .condition_expression(condition)
            .expression_attribute_names("#kind", EventType::OrderShipped.as_str())
            .expression_attribute_values(":paid", s(Status::Paid.as_str()))
            .expression_attribute_values(":shipped", s(Status::Shipped.as_str()))
            .expression_attribute_values(":old", n(order.version))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":shipment", shipment_value(shipment))
            .expression_attribute_values(
                ":event",
                event_value(&order.event_id(version), EventType::OrderShipped),
            )
            .expression_attribute_values(":record", record_value(&record));
        let mut expression = "SET #status = :shipped, version = :version, shipment = :shipment, \
             #event = :event, events.#kind = :record"
            .to_owned();
        if let Some(step) = self.mail_step(order) {
            expression += ", dueStep = :step, dueAt = :due, dueTries = :zero";
            update = update
                .expression_attribute_values(":step", s(step.partition_of(&order.id)))
                .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
                .expression_attribute_values(":zero", n(0));
        } else {
            expression += " REMOVE dueStep, dueAt, dueTries";
        }
        Ok(
            match conditional(update.update_expression(expression)).await? {
                Ok(order) => Shipping::Shipped(Box::new(order)),
                Err(None) => Shipping::NotFound,
                Err(Some(order)) if order.shipment.is_some() => Shipping::Shipped(Box::new(order)),
                Err(Some(order)) if order.status == Status::Paid => Shipping::Open(Box::new(order)),
                Err(Some(order)) => Shipping::Refused(order.status),
            },
        )
    }

    /// The order as it is now; a consistent read.
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(self.orders_table()?)
            .key("orderId", s(id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", &error))?;
        output.item.as_ref().map(read).transpose()
    }

    /// The order and what became of its mails; one consistent call.
    pub async fn order_and_emails(
        &self,
        id: &OrderId,
    ) -> Result<Option<(Order, BTreeMap<EventType, EmailState>)>, StoreError> {
        let (order, rows) = self.items_of(&id.to_string()).await?;
        let Some(order) = order else {
            return Ok(None);
        };
        let states = rows.into_iter().map(|(event, row)| {
            let state = email_state(&row).map_err(|source| StoreError::Corrupt {
                table: "Emails",
                source,
            });
            Ok::<_, StoreError>((event, state?))
        });
        let states = states.collect::<Result<_, _>>()?;
        Ok(Some((read(&order)?, states)))
    }

    /// The items of an order and of the mails about it, unread; one consistent call.
    pub(super) async fn items_of(
        &self,
        order: &str,
    ) -> Result<(Option<Item>, BTreeMap<EventType, Item>), StoreError> {
        let orders = self.orders_table()?;
        let emails = self.emails_table()?;
        let mut mailed: BTreeMap<String, EventType> = EventType::MAILED
            .into_iter()
            .map(|event| (email_id(&order, event), event))
            .collect();
        let rows = mailed.keys().map(|id| ("emailId", id.clone()));
        let mut wanted = HashMap::from([
            (
                orders.to_owned(),
                keys(vec![("orderId", order.to_owned())])?,
            ),
            (emails.to_owned(), keys(rows.collect())?),
        ]);
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
                let order = found.remove(orders).and_then(|mut items| items.pop());
                let rows = found.remove(emails).unwrap_or_default();
                let rows = rows.into_iter().filter_map(|row| {
                    let event = mailed.remove(row.get("emailId")?.as_s().ok()?)?;
                    Some((event, row))
                });
                return Ok((order, rows.collect()));
            }
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }
}

fn keys(keys: Vec<(&str, String)>) -> Result<KeysAndAttributes, StoreError> {
    keys.into_iter()
        .fold(
            KeysAndAttributes::builder().consistent_read(true),
            |builder, (name, id)| builder.keys(HashMap::from([(name.to_owned(), s(id))])),
        )
        .build()
        .map_err(|_| StoreError::NotConfigured("Orders"))
}

pub(super) fn read(item: &Item) -> Result<Order, StoreError> {
    order_from_item(item).map_err(|source| StoreError::Corrupt {
        table: "Orders",
        source,
    })
}

/// The order after the write, or as it stood when the condition refused it.
pub(super) async fn conditional(
    update: UpdateItemFluentBuilder,
) -> Result<Result<Order, Option<Order>>, StoreError> {
    match update.send().await {
        Ok(output) => Ok(Ok(read(&output.attributes.unwrap_or_default())?)),
        Err(SdkError::ServiceError(error)) => match error.err() {
            UpdateItemError::ConditionalCheckFailedException(refused) => {
                Ok(Err(refused.item().map(read).transpose()?))
            }
            _ => Err(failed("UpdateItem", &SdkError::ServiceError(error))),
        },
        Err(error) => Err(failed("UpdateItem", &error)),
    }
}
