//! The writes of an order. A [`Transition`] carries out a command: its condition, next status,
//! version, event, record, and due mark follow from the state table. A [`Change`] is any other
//! write. Only this module writes the attributes in [`GOVERNED`].

use std::marker::PhantomData;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue as Value, TransactWriteItem};
use domain::{
    Command, Due, DueStep, EventMark, EventRecord, EventType, NextStep, Order, OrderId, Status,
    Timestamp,
};

use super::item::{Item, event_value, n, order_from_item, record_value, s};
use super::update::{Target, Write};
use super::{Settlement, Store, StoreError, damaged};

/// How long after a transition the sweep checks whether the next step was done.
pub(super) const DUE_AFTER: Duration = Duration::from_mins(2);

/// The attributes that the state table and the sweep decide; no step writes them directly.
const GOVERNED: [&str; 7] = [
    "status", "version", "event", "events", "dueStep", "dueAt", "dueTries",
];

/// The write that carries out a command.
pub(super) type Transition = OrderWrite<ByTheTable>;

/// A write that is not a transition: it changes neither status nor version and carries no event, so
/// the relay publishes nothing.
pub(super) type Change = OrderWrite<BesideTheTable>;

pub(super) type OrderWrite<Kind> = Write<OfOrder<Kind>>;

#[derive(Debug)]
pub(super) enum ByTheTable {}

#[derive(Debug)]
pub(super) enum BesideTheTable {}

#[derive(Debug)]
pub(super) struct OfOrder<Kind>(PhantomData<Kind>);

impl<Kind> Target for OfOrder<Kind> {
    const GOVERNED: &'static [&'static str] = &GOVERNED;

    fn table(store: &Store) -> Result<&str, StoreError> {
        store.orders_table()
    }
}

/// The path of a governed attribute, which only this module can create.
#[derive(Clone, Copy, Debug)]
pub(super) struct Governed<'a>(&'a str);

impl<'a> Governed<'a> {
    pub(super) fn path(self) -> &'a str {
        self.0
    }
}

impl<Kind> OrderWrite<Kind> {
    fn for_order(id: &str) -> Self {
        Self::new([("orderId", s(id))])
    }

    /// Sets the due mark for what the order waits for next, or removes it.
    fn mark(self, order: &OrderId, due: Option<Due>) -> Self {
        let Some(due) = due else {
            return self.take(["dueStep", "dueAt", "dueTries"].map(Governed));
        };
        self.put(Governed("dueStep"), ":step")
            .value(":step", s(due.step.partition_of(order)))
            .put(Governed("dueAt"), ":due")
            .value(":due", n(due.at.millis()))
            .put(Governed("dueTries"), ":tries")
            .value(":tries", n(due.tries))
    }
}

impl Change {
    /// Adds the condition that the order is in this status.
    pub(super) fn when_status(self, status: Status) -> Self {
        self.when_is("status", s(status.as_str()))
    }

    /// Sets what the order waits for next, if anything.
    pub(super) fn due(self, order: &OrderId, due: Option<Due>) -> Self {
        self.mark(order, due)
    }

    /// Moves the next check, whatever the order waits for.
    pub(super) fn postponed(self, at: Timestamp, tries: Option<u32>) -> Self {
        let change = self
            .put(Governed("dueAt"), ":due")
            .value(":due", n(at.millis()));
        match tries {
            Some(tries) => change
                .put(Governed("dueTries"), ":tries")
                .value(":tries", n(tries)),
            None => change,
        }
    }
}

/// The result of applying the state table to an order as it was read.
struct Outcome {
    status: Status,
    event: EventMark,
    record: EventRecord,
    untold: Option<EventType>,
    due: Option<Due>,
}

impl Outcome {
    fn kinds(&self) -> impl Iterator<Item = EventType> + use<> {
        [Some(self.event.kind), self.untold].into_iter().flatten()
    }
}

impl Store {
    /// The write that carries out `command` on the order as it was read. It is refused in a status
    /// for which the table has no row, and once the order has another version.
    pub(super) fn transition(&self, order: &Order, command: Command, now: Timestamp) -> Transition {
        let outcome = self.outcome(order, command, now);
        let mut write = Write::for_order(&order.id.to_string());
        let mut statuses = Vec::new();
        for (from, _) in command.rows() {
            statuses.push(format!("#status = :{from}"));
            write = write.value(&format!(":{from}"), s(from.as_str()));
        }
        let next = format!(":{}", outcome.status);
        write = write
            .when(&statuses.join(" OR "))
            .when_is("version", n(order.version))
            .put(Governed("status"), &next)
            .value(&next, s(outcome.status.as_str()))
            .put(Governed("version"), ":version")
            .value(":version", n(outcome.record.version))
            .put(Governed("event"), ":event")
            .value(":event", event_value(&outcome.event.id, outcome.event.kind))
            .value(":record", record_value(&outcome.record));
        for kind in outcome.kinds() {
            write = write.put(Governed(&format!("events.{kind}")), ":record");
        }
        write.mark(&order.id, outcome.due)
    }

    /// A write of this order that is not a transition.
    pub(super) fn change(order: &OrderId) -> Change {
        Self::change_at(&order.to_string())
    }

    /// Does the same by the key of an item that may be unreadable.
    pub(super) fn change_at(order: &str) -> Change {
        Write::for_order(order).take([Governed("event")])
    }

    /// A new order: its cart, at version 0 so far, is put where no item exists.
    pub(super) fn placed(&self, cart: Order, now: Timestamp) -> Order {
        let outcome = self.outcome(&cart, Command::UpdateCart, now);
        let records = outcome.kinds().map(|kind| (kind, outcome.record.clone()));
        Order {
            status: outcome.status,
            version: outcome.record.version,
            events: records.collect(),
            event: Some(outcome.event),
            due: outcome.due,
            ..cart
        }
    }

    fn outcome(&self, order: &Order, command: Command, now: Timestamp) -> Outcome {
        let mut rows = command.rows();
        let (_, first) = rows.next().expect("the table has a row of every command");
        let status = order.status.apply(command).unwrap_or(first);
        let version = order.version + 1;
        let step = self.step_after(command, order);
        Outcome {
            status,
            event: EventMark {
                id: order.event_id(version),
                kind: command.event(),
            },
            record: EventRecord { version, at: now },
            untold: command.untold_event(),
            due: step.map(|step| Due::new(step, now.plus(DUE_AFTER))),
        }
    }

    fn step_after(&self, command: Command, order: &Order) -> Option<DueStep> {
        match command.next_step() {
            NextStep::Always(step) => Some(step),
            NextStep::AtCheckout => order.checkout.then_some(DueStep::Billing),
            NextStep::WithMails => self.step_with_mails(order),
            NextStep::OfStatus => match order.status {
                Status::Paid => Some(DueStep::Shipping),
                Status::Refunding => Some(DueStep::Payment),
                Status::Pending | Status::Invoiced | Status::Shipped | Status::Cancelled => {
                    self.step_with_mails(order)
                }
            },
        }
    }

    fn step_with_mails(&self, order: &Order) -> Option<DueStep> {
        if order.open_refunds().next().is_some() {
            return Some(DueStep::Payment);
        }
        self.mail_step(order)
    }

    /// The transition as part of a transaction.
    pub(super) fn transact_item(
        &self,
        transition: Transition,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = transition.into_update(self.orders_table()?);
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The order after the write, or as it was when a condition failed.
    pub(super) async fn conditional<Kind>(
        &self,
        write: OrderWrite<Kind>,
    ) -> Result<Result<Order, Option<Order>>, StoreError> {
        Ok(match self.update(write).await? {
            Ok(item) => Ok(read(&item)?),
            Err(item) => Err(item.as_ref().map(read).transpose()?),
        })
    }

    /// Does the same and returns a [`Settlement`]. `stands_already` tells from the order that
    /// refused the write whether it already has the result: from this write, whose first answer was
    /// lost, or from another one with the same effect.
    pub(super) async fn settled<Kind>(
        &self,
        write: OrderWrite<Kind>,
        stands_already: impl Fn(&Order) -> bool,
    ) -> Result<Settlement, StoreError> {
        Ok(match self.conditional(write).await? {
            Ok(order) => Settlement::Written(Box::new(order)),
            Err(None) => Settlement::NotFound,
            Err(Some(order)) if stands_already(&order) => Settlement::Written(Box::new(order)),
            Err(Some(order)) => Settlement::Overtaken(Box::new(order)),
        })
    }
}

/// The attributes in [`GOVERNED`], as a new item has them.
pub(super) fn governed_attributes(order: &Order) -> Item {
    let events = order.events.iter();
    let events = events.map(|(kind, record)| (kind.as_str().to_owned(), record_value(record)));
    let event = order.event.as_ref();
    let due = order.due.as_ref();
    let attributes = [
        ("status", Some(s(order.status.as_str()))),
        ("version", Some(n(order.version))),
        (
            "event",
            event.map(|event| event_value(&event.id, event.kind)),
        ),
        ("events", Some(Value::M(events.collect()))),
        (
            "dueStep",
            due.map(|due| s(due.step.partition_of(&order.id))),
        ),
        ("dueAt", due.map(|due| n(due.at.millis()))),
        ("dueTries", due.map(|due| n(due.tries))),
    ];
    let present = attributes.into_iter();
    let present = present.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

pub(super) fn read(item: &Item) -> Result<Order, StoreError> {
    order_from_item(item).map_err(damaged("Orders"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use aws_sdk_dynamodb::types::Update;
    use aws_sdk_dynamodb::{Client, Config};

    use super::*;
    use domain::{Money, Refund, RefundId, RefundName, RefundState};
    use platform::config::Tables;
    use platform::runtime::Runtime;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn store() -> Store {
        let config = Config::builder().behavior_version_latest().build();
        let client = Client::from_conf(config);
        Store::new(client, Tables::default(), Runtime::system())
    }

    fn map<const N: usize>(attributes: [(&str, Value); N]) -> Item {
        Item::from(attributes.map(|(name, value)| (name.to_owned(), value)))
    }

    /// An order of version 7 with an address for mails.
    fn order(status: Status) -> Order {
        let line = map([("productId", s("1")), ("quantity", n(1)), ("price", n(5))]);
        let contact = map([
            ("name", s("Lital Hay")),
            ("phone", s("0545870006")),
            ("email", s("lital@example.com")),
            ("shippingAddress", s("17 boulevard")),
        ]);
        let item = map([
            ("orderId", s(OrderId::from_time(1, [1; 10]).to_string())),
            ("customerId", s("8080")),
            ("status", s(status.as_str())),
            ("version", n(7)),
            ("currency", s("USD")),
            ("lines", Value::L(vec![Value::M(line)])),
            ("subTotal", n(5)),
            ("tax", n(0)),
            ("total", n(5)),
            ("contact", Value::M(contact)),
            ("checkout", Value::Bool(true)),
            ("events", Value::M(Item::new())),
            ("createdAt", n(0)),
        ]);
        read(&item).unwrap()
    }

    fn written(order: &Order, command: Command) -> Update {
        store()
            .transition(order, command, now())
            .into_update("Orders")
    }

    #[test]
    fn a_transition_is_its_row_of_the_state_table() {
        for &status in Status::ALL {
            for &command in Command::ALL {
                let Ok(next) = status.apply(command) else {
                    continue;
                };
                let update = written(&order(status), command);
                let condition = update.condition_expression.unwrap();
                let values = update.expression_attribute_values.unwrap();
                assert!(
                    condition.contains(&format!("#status = :{status}")),
                    "{condition}"
                );
                assert!(
                    condition.ends_with(" AND #version = :readversion"),
                    "{condition}"
                );
                assert_eq!(values[":readversion"], n(7));
                assert_eq!(values[":version"], n(8));
                assert_eq!(values[&format!(":{next}")], s(next.as_str()));
                let set = update.update_expression;
                let event = command.event();
                for part in [
                    format!("#status = :{next}"),
                    "#version = :version".to_owned(),
                    "#event = :event".to_owned(),
                    format!("#events.#{event} = :record"),
                    "#dueStep = :step, #dueAt = :due, #dueTries = :tries".to_owned(),
                ] {
                    assert!(set.contains(&part), "{part} is not in {set}");
                }
            }
        }
    }

    #[test]
    fn a_transition_names_no_status_that_the_table_refuses() {
        for &command in Command::ALL {
            let update = written(&order(Status::Pending), command);
            let condition = update.condition_expression.unwrap();
            for &status in Status::ALL {
                let is_named = condition.contains(&format!("#status = :{status}"));
                assert_eq!(
                    is_named,
                    status.apply(command).is_ok(),
                    "{command:?} {condition}"
                );
            }
        }
    }

    #[test]
    fn an_order_waits_for_what_the_command_says() {
        let store = store();
        let silent = Order {
            checkout: false,
            contact: None,
            ..order(Status::Pending)
        };
        for &command in Command::ALL {
            let (step, is_sure) = match command.next_step() {
                NextStep::Always(step) => (step, true),
                NextStep::AtCheckout => (DueStep::Billing, false),
                NextStep::WithMails => (DueStep::Email, false),
                NextStep::OfStatus => continue,
            };
            let full = order(Status::Pending);
            assert_eq!(store.step_after(command, &full), Some(step), "{command:?}");
            let awaited = is_sure.then_some(step);
            assert_eq!(store.step_after(command, &silent), awaited, "{command:?}");
            let waits = written(&silent, command)
                .update_expression
                .contains("#dueStep =");
            assert_eq!(waits, is_sure, "{command:?}");
        }
    }

    #[test]
    fn a_refund_of_a_part_and_a_parcels_news_leave_what_the_order_waits_for() {
        let store = store();
        let silent = |status| Order {
            contact: None,
            ..order(status)
        };
        for &command in Command::ALL {
            if command.next_step() != NextStep::OfStatus {
                continue;
            }
            for (status, step) in [
                (Status::Paid, Some(DueStep::Shipping)),
                (Status::Refunding, Some(DueStep::Payment)),
                (Status::Shipped, None),
            ] {
                let order = silent(status);
                assert_eq!(store.step_after(command, &order), step, "{status}");
            }
            let shipped = order(Status::Shipped);
            let mails = Some(DueStep::Email);
            assert_eq!(store.step_after(command, &shipped), mails);
        }
    }

    #[test]
    fn an_order_with_an_open_refund_waits_for_it_whatever_follows() {
        let id = order(Status::Shipped).id;
        let order = Order {
            refunds: vec![Refund {
                name: RefundName::Ours(RefundId::of_cancellation(&id)),
                amount: Money::from_stored("1").unwrap(),
                state: RefundState::Requested,
                items: Vec::new(),
                unshipped: false,
                closes: false,
                reason: None,
                at: now(),
                told: None,
                request_hash: None,
                key: 0,
            }],
            contact: None,
            ..order(Status::Shipped)
        };
        for command in [
            Command::Ship,
            Command::RefundPart,
            Command::FinishPart,
            Command::ReportDelivered,
        ] {
            let step = store().step_after(command, &order);
            assert_eq!(step, Some(DueStep::Payment), "{command:?}");
        }
    }

    #[test]
    fn a_change_takes_the_event_away_and_leaves_status_and_version() {
        let change = Store::change(&order(Status::Paid).id)
            .when_status(Status::Paid)
            .set("payment.keys.#key", n(1))
            .name("#key", "a.b");
        let update = change.into_update("Orders");
        assert_eq!(
            update.update_expression,
            "SET #payment.#keys.#key = :newpaymentkeyskey REMOVE #event"
        );
        let names = update.expression_attribute_names.unwrap();
        assert_eq!(
            (names["#key"].as_str(), names["#keys"].as_str()),
            ("a.b", "keys")
        );
    }

    #[test]
    fn no_step_writes_what_the_table_decides() {
        for path in ["status", "version", "event", "events.#kind", "#dueAt"] {
            assert!(Change::is_governed(path), "{path}");
        }
        for path in ["payment.state", "payment.#event", "shipment"] {
            assert!(!Transition::is_governed(path), "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "by itself")]
    fn a_change_that_sets_the_version_is_no_change() {
        let _ = Store::change(&order(Status::Paid).id).set("version", n(9));
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .flat_map(|path| {
                if path.is_dir() {
                    sources(&path)
                } else {
                    vec![path]
                }
            })
            .collect()
    }

    /// Every update of an order is made with a [`Write`], because no other code builds updates.
    #[test]
    fn updates_are_made_in_one_place() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let makes_updates = |path: &PathBuf| {
            let source = fs::read_to_string(path).unwrap();
            let (code, _tests) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
            code.contains(".update_item()") || code.contains("Update::builder()")
        };
        let updating: Vec<_> = sources(&folder).into_iter().filter(makes_updates).collect();
        let names = updating.iter().map(|path| path.file_name().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["update.rs"]);
    }
}
