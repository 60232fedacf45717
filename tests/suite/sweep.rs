//! The sweep and the relay when something fails for one order, for one queue, or completely.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, StreamSpecification, WriteRequest};
use domain::{DueStep, OrderId};
use lambda_runtime::{Context, LambdaEvent};
use messages::Message;
use messages::queue::{EventQueue, Queue, QueueError};
use platform::config::Environment;
use relay::{Relay, SweepReport};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use store::Store;
use tests::{Cloud, Database, PlayedQueues};

use crate::contract::{cart, cart_with_checkout, invoice, payment, text};
use crate::shop;

type TestCloud = Cloud<payment::partners::Sandbox>;
type Item = HashMap<String, AttributeValue>;

/// Longer than the time until the sweep's first check.
const OVERDUE: Duration = Duration::from_secs(130);
const MINUTE: Duration = Duration::from_mins(1);

async fn place(cloud: &TestCloud, customer: &str) -> String {
    let mut cart = cart_with_checkout();
    cart["customerId"] = customer.into();
    shop::place(cloud, &cart).await
}

async fn item(cloud: &TestCloud, order: &str) -> Item {
    let get = cloud.database.client.get_item().table_name("OrdersTable");
    let get = get.key("orderId", AttributeValue::S(order.to_owned()));
    let output = get.consistent_read(true).send().await.unwrap();
    output.item.expect("the order is there")
}

async fn put(cloud: &TestCloud, table: &str, item: Item) {
    let put = cloud.database.client.put_item().table_name(table);
    put.set_item(Some(item)).send().await.unwrap();
}

fn number(item: &Item, name: &str) -> i64 {
    item[name].as_n().unwrap().parse().unwrap()
}

/// The `number`th ID beside `order`; the last character determines the shard.
fn sibling(order: &str, number: usize, last: char) -> String {
    format!("{}{number:05}{last}", &order[..24])
}

/// Writes a copy of an order with another ID and with `change` applied.
async fn copy(cloud: &TestCloud, of: &Item, id: &str, change: impl FnOnce(&mut Item)) {
    let mut item = of.clone();
    let step = DueStep::from_partition(item["dueStep"].as_s().unwrap()).unwrap();
    let partition = step.partition_of(&OrderId::parse(id).unwrap());
    item.insert("orderId".to_owned(), AttributeValue::S(id.to_owned()));
    item.insert("dueStep".to_owned(), AttributeValue::S(partition));
    change(&mut item);
    put(cloud, "OrdersTable", item).await;
}

/// Makes an item unreadable for this version in one of four ways.
fn damage(item: &mut Item, way: usize) {
    let of_a_newer_version = || AttributeValue::S("teleported".to_owned());
    match way % 4 {
        0 => item.insert("status".to_owned(), of_a_newer_version()),
        1 => item.insert("total".to_owned(), of_a_newer_version()),
        2 => item.insert("dueTries".to_owned(), of_a_newer_version()),
        _ => item.remove("events"),
    };
}

/// The orders in the messages of `queue`, each with its number of messages.
fn subjects(messages: &[(Queue, Message)], queue: Queue) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for (at, message) in messages {
        if *at == queue {
            let order = message.order.expect("the message is about an order");
            *found.entry(order.to_string()).or_default() += 1;
        }
    }
    found
}

#[tokio::test]
async fn orders_that_cannot_be_read_hold_back_nobody_behind_them() {
    for count in [25, 60] {
        let cloud = Cloud::start().await;
        let order = place(&cloud, "8080").await;
        let whole = item(&cloud, &order).await;
        let last = order.chars().last().unwrap();
        let mut damaged = Vec::new();
        for index in 0..count {
            let id = sibling(&order, index, last);
            copy(&cloud, &whole, &id, |item| {
                damage(item, index);
                let before = number(item, "dueAt") - 1_000;
                item.insert("dueAt".to_owned(), AttributeValue::N(before.to_string()));
            })
            .await;
            damaged.push((id.clone(), item(&cloud, &id).await));
        }
        cloud.lose_stream();
        cloud.pass(OVERDUE);
        let report = cloud.sweep().await;
        assert_eq!((report.published, report.failed), (1, count as u64));
        let published = subjects(&cloud.queues.take(), Queue::Billing);
        assert_eq!(published.into_keys().collect::<Vec<_>>(), [order.as_str()]);

        // Only each order's next check has moved, and its event, which is not published.
        for (id, mut before) in damaged {
            let mut after = item(&cloud, &id).await;
            assert_eq!(number(&after, "dueTries"), 1, "{id}");
            let minutes = number(&after, "dueAt") - cloud.runtime.now().millis();
            assert_eq!(minutes, 2 * 60_000, "{id}");
            for name in ["dueAt", "dueTries", "event"] {
                before.remove(name);
                after.remove(name);
            }
            assert_eq!(before, after);
        }
        cloud.pass(MINUTE);
        assert_eq!(cloud.sweep().await, SweepReport::default());
        cloud.pass(MINUTE);
        // An unreadable count becomes 1: these orders are published with the readable one.
        let mended = (0..count).filter(|index| index % 4 == 2).count();
        let report = cloud.sweep().await;
        assert_eq!(
            (report.published, report.failed),
            (1 + mended as u64, (count - mended) as u64)
        );
        let again = item(&cloud, &sibling(&order, 0, last)).await;
        assert_eq!(number(&again, "dueTries"), 2);
        let minutes = number(&again, "dueAt") - cloud.runtime.now().millis();
        assert_eq!(minutes, 4 * 60_000);
    }
}

#[tokio::test]
async fn one_queue_that_is_out_for_hours_delays_what_it_does_not_take_and_nothing_else() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    shop::invoice(&cloud, &order).await;
    let whole = item(&cloud, &order).await;
    let mut orders = BTreeSet::from([order.clone()]);
    for index in 1..160 {
        let last = ['0', '1', '2', '3'][index % 4];
        let id = sibling(&order, index, last);
        copy(&cloud, &whole, &id, |_| {}).await;
        orders.insert(id);
    }
    cloud.lose_stream();
    cloud.queues.set_down(&[Queue::Email]);
    cloud.pass(OVERDUE);
    let report = cloud.sweep().await;
    assert_eq!((report.published, report.failed), (160, 160));
    let published = subjects(&cloud.queues.take(), Queue::Payment);
    assert!(published.values().all(|count| *count == 1));
    assert_eq!(published.into_keys().collect::<BTreeSet<_>>(), orders);

    cloud.pass(MINUTE);
    cloud.sweep().await;
    assert_eq!(
        cloud.queues.take(),
        [],
        "what was published is not at once again"
    );

    // For four hours, each order at its checks, at growing intervals.
    let mut looks = BTreeMap::new();
    for _ in 0..24 {
        cloud.pass(10 * MINUTE);
        cloud.sweep().await;
        for (order, count) in subjects(&cloud.queues.take(), Queue::Payment) {
            *looks.entry(order).or_insert(0) += count;
        }
    }
    assert!(looks.values().all(|count| *count <= 8), "{looks:?}");

    cloud.queues.set_down(&[]);
    cloud.pass(60 * MINUTE);
    assert_eq!(cloud.sweep().await.failed, 0);
    let mails = subjects(&cloud.queues.take(), Queue::Email);
    assert_eq!(mails.into_keys().collect::<BTreeSet<_>>(), orders);
}

#[tokio::test]
async fn a_mail_whose_row_cannot_be_read_holds_back_nothing_else_of_its_order() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    shop::invoice(&cloud, &order).await;
    let row = json!({"emailId": format!("{order}/InvoiceCreated"), "state": "teleported"});
    let row = row.as_object().unwrap().iter();
    let row = row.map(|(name, value)| (name.clone(), AttributeValue::S(text(value).to_owned())));
    put(&cloud, "EmailsTable", row.collect()).await;
    cloud.lose_stream();
    cloud.pass(OVERDUE);
    let report = cloud.sweep().await;
    assert_eq!((report.published, report.failed), (1, 1));
    let messages = cloud.queues.take();
    assert_eq!(subjects(&messages, Queue::Payment).len(), 1);
    assert_eq!(messages.len(), 1, "nobody could send that mail");
    // Once it is shipped, the order does not count as settled because of that mail.
    for (queue, message) in messages {
        assert!(cloud.deliver(queue, &message).await);
    }
    cloud.settle().await;
    assert_eq!(cloud.get(&order).await.status, 500);
    cloud.pass(OVERDUE);
    let report = cloud.sweep().await;
    assert_eq!((report.settled, report.failed), (0, 1));
    assert!(item(&cloud, &order).await.contains_key("dueStep"));
}

/// Fails every call of that kind that names that order.
#[derive(Debug)]
struct FailsFor {
    operation: &'static str,
    order: String,
}

impl Intercept for FailsFor {
    fn name(&self) -> &'static str {
        "FailsFor"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = std::str::from_utf8(request.body().bytes().unwrap_or_default())?;
        if target.ends_with(self.operation) && body.contains(&self.order) {
            return Err("played: it fails for this order".into());
        }
        Ok(())
    }
}

/// The relay and sweep of a cloud whose database fails every such call.
fn relay_that_fails(cloud: &TestCloud, fails: FailsFor) -> Relay<PlayedQueues> {
    let config = cloud.database.client.config().to_builder();
    let client = aws_sdk_dynamodb::Client::from_conf(config.interceptor(fails).build());
    let (runtime, queues) = (cloud.runtime.clone(), cloud.queues.clone());
    let store = Store::new(client, Database::tables(), runtime.clone());
    Relay::new(store, queues, "test".to_owned(), runtime)
}

/// An order, and 40 others after it in its shard; the messages from the stream are lost.
async fn forty_behind_one(cloud: &TestCloud) -> String {
    let order = place(cloud, "8080").await;
    let whole = item(cloud, &order).await;
    let last = order.chars().last().unwrap();
    for index in 0..40 {
        let id = sibling(&order, index, last);
        copy(cloud, &whole, &id, |item| {
            let behind = number(item, "dueAt") + 1_000;
            item.insert("dueAt".to_owned(), AttributeValue::N(behind.to_string()));
        })
        .await;
    }
    cloud.lose_stream();
    cloud.pass(OVERDUE);
    order
}

#[tokio::test]
async fn an_order_whose_read_or_write_fails_holds_back_nobody_behind_it() {
    for operation in ["BatchGetItem", "UpdateItem"] {
        let cloud = Cloud::start().await;
        let order = forty_behind_one(&cloud).await;
        let fails = FailsFor {
            operation,
            order: order.clone(),
        };
        let relay = relay_that_fails(&cloud, fails);
        let report = relay.sweep().await;
        assert_eq!((report.published, report.failed), (40, 1), "{operation}");
        let published = subjects(&cloud.queues.take(), Queue::Billing);
        assert_eq!(published.len(), 40);
        assert!(!published.contains_key(&order));
        cloud.pass(MINUTE);
        let again = relay.sweep().await;
        // Without a write, no mark can move, and the failure is counted each time.
        let failed = u64::from(operation == "UpdateItem");
        assert_eq!((again.published, again.failed), (0, failed), "{operation}");
        // Once it works again, the order continues.
        cloud.pass(MINUTE + MINUTE);
        cloud.sweep().await;
        let published = subjects(&cloud.queues.take(), Queue::Billing);
        assert!(published.contains_key(&order), "{operation}");
    }
}

/// Queues that misbehave for one order's messages.
#[derive(Clone, Debug)]
struct Odd {
    queues: PlayedQueues,
    order: OrderId,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Panics,
    NeverAnswers,
}

impl EventQueue for Odd {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        if messages.iter().any(|each| each.order == Some(self.order)) {
            match self.how {
                How::Panics => panic!("played"),
                How::NeverAnswers => std::future::pending::<()>().await,
            }
        }
        self.queues.send(queue, messages).await
    }
}

fn odd(cloud: &TestCloud, order: &str, how: How) -> Relay<Odd> {
    let queues = Odd {
        queues: cloud.queues.clone(),
        order: OrderId::parse(order).unwrap(),
        how,
    };
    let (store, runtime) = (cloud.store.clone(), cloud.runtime.clone());
    Relay::new(store, queues, "test".to_owned(), runtime)
}

#[tokio::test]
async fn an_order_that_makes_the_sweep_panic_fails_alone() {
    let cloud = Cloud::start().await;
    let order = forty_behind_one(&cloud).await;
    let relay = odd(&cloud, &order, How::Panics);
    let report = relay.sweep().await;
    assert_eq!((report.published, report.failed), (40, 1));
    cloud.pass(MINUTE);
    assert_eq!(relay.sweep().await, SweepReport::default());
}

/// An invocation that Lambda ends in `left`.
pub(crate) fn invocation(event: &Value, left: Duration) -> LambdaEvent<Box<RawValue>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda tells its deadline by this clock"
    )]
    let now = std::time::SystemTime::now();
    let deadline = (now + left).duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut context = Context::default();
    context.deadline = u64::try_from(deadline.as_millis()).unwrap();
    LambdaEvent::new(to_raw_value(event).unwrap(), context)
}

#[tokio::test]
async fn a_sweep_that_is_stuck_ends_before_it_is_cut_off_and_says_what_it_did() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    let mut update = invoice(&order);
    update["customerId"] = "8080".into();
    let other = place(&cloud, "8080").await;
    cloud.post("/api/order/invoice.json", &update).await;
    cloud.lose_stream();
    cloud.pass(OVERDUE);
    // The first order is stuck in its payment; the other partitions do not wait for it.
    let relay = odd(&cloud, &order, How::NeverAnswers);
    let left = Duration::from_millis(3_300);
    let event = json!({"detail-type": "Scheduled Event"});
    let answer = tokio::time::timeout(left, relay.handle(invocation(&event, left))).await;
    let answer = answer.expect("it ends in time").unwrap();
    let answer: Value = serde_json::from_str(answer.get()).unwrap();
    assert!(answer["unfinished"].as_u64().unwrap() >= 1, "{answer}");
    // Its next check has moved: the next sweep reaches the orders after it.
    cloud.pass(MINUTE);
    relay.sweep().await;
    let billing = subjects(&cloud.queues.take(), Queue::Billing);
    assert!(billing.contains_key(&other));
}

/// Panics at every query of the index.
#[derive(Debug)]
struct PanicsAtQueries;

impl Intercept for PanicsAtQueries {
    fn name(&self) -> &'static str {
        "PanicsAtQueries"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target");
        assert!(!target.unwrap_or_default().ends_with("Query"), "played");
        Ok(())
    }
}

#[tokio::test]
async fn a_sweep_that_panics_says_what_it_did_and_begins_there_the_next_time() {
    let cloud = Cloud::start().await;
    let config = cloud.database.client.config().to_builder();
    let config = config.interceptor(PanicsAtQueries).build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let (runtime, queues) = (cloud.runtime.clone(), cloud.queues.clone());
    let store = Store::new(client, Database::tables(), runtime.clone());
    let relay = Relay::new(store, queues, "test".to_owned(), runtime);
    for _ in 0..2 {
        let report = relay.sweep().await;
        assert_eq!((report.failed, report.unfinished), (1, 16));
        assert_eq!(report.mails.failed, 1);
    }
}

/// `make test-backlog` runs it with 100,000 orders and prints the rate.
#[tokio::test]
async fn a_backlog_is_dealt_with_though_some_of_it_is_damaged() {
    const DAMAGED_EVERY: usize = 50;
    let count = Environment::process().optional("SWEEP_ORDERS");
    let count: usize = count.map_or(10_000, |count| count.parse().unwrap());
    let cloud = Cloud::start().await;
    let order = place(&cloud, "8080").await;
    // Without a stream: the embedded database would read all its records for each write.
    let none = StreamSpecification::builder().stream_enabled(false);
    let update = cloud.database.client.update_table();
    let update = update.table_name("OrdersTable");
    let update = update.stream_specification(none.build().unwrap());
    update.send().await.unwrap();
    let whole = item(&cloud, &order).await;
    let items: Vec<WriteRequest> = (0..count)
        .map(|index| {
            // Crockford's digits 0 to 3 end up in four shards.
            let last = char::from(b"0123"[index % 4]);
            let mut item = whole.clone();
            let id = sibling(&order, index / 4, last);
            let step = DueStep::from_partition(whole["dueStep"].as_s().unwrap()).unwrap();
            let partition = step.partition_of(&OrderId::parse(&id).unwrap());
            item.insert("orderId".to_owned(), AttributeValue::S(id));
            item.insert("dueStep".to_owned(), AttributeValue::S(partition));
            let before = number(&whole, "dueAt") - i64::try_from(index).unwrap();
            item.insert("dueAt".to_owned(), AttributeValue::N(before.to_string()));
            if index % DAMAGED_EVERY == 0 {
                damage(&mut item, index / DAMAGED_EVERY);
            }
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        })
        .collect();
    for batch in items.chunks(25) {
        let write = cloud.database.client.batch_write_item();
        let write = write.request_items("OrdersTable", batch.to_vec());
        let output = write.send().await.unwrap();
        assert!(output.unprocessed_items.unwrap_or_default().is_empty());
    }
    cloud.pass(OVERDUE);
    let began = std::time::Instant::now();
    let report = cloud.sweep().await;
    let took = began.elapsed();
    let damaged = count.div_ceil(DAMAGED_EVERY);
    let expected = (1 + count - damaged, damaged, 0);
    let found = (report.published, report.failed, report.unfinished);
    assert_eq!(found, (expected.0 as u64, expected.1 as u64, expected.2));
    let published = subjects(&cloud.queues.take(), Queue::Billing);
    assert_eq!(published.len(), expected.0);
    assert!(published.values().all(|messages| *messages == 1));
    assert_eq!(cloud.sweep().await, SweepReport::default());
    let rate = count as u128 * 1_000 / took.as_millis().max(1);
    println!("{count} orders in {took:.1?}: {rate} a second");
}

#[tokio::test]
async fn a_declined_payment_that_is_due_waits_for_its_customer_and_is_not_overdue() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, "sandbox-stolen-card").await;
    cloud.settle().await;
    let mut declined = item(&cloud, &order).await;
    assert_eq!(cloud.get(&order).await.body["payment"]["state"], "declined");
    let id = OrderId::parse(&order).unwrap();
    for (step, expected) in [
        (DueStep::Payment, [0, 0, 0, 0]),
        // Only a mail is missing then, and that is for us to correct.
        (DueStep::Email, [0, 0, 1, 1]),
    ] {
        let partition = AttributeValue::S(step.partition_of(&id));
        declined.insert("dueStep".to_owned(), partition);
        put(&cloud, "OrdersTable", declined.clone()).await;
        if step == DueStep::Email {
            let row = "EmailsTable";
            let key = AttributeValue::S(format!("{order}/InvoiceCreated"));
            let delete = cloud.database.client.delete_item().table_name(row);
            delete.key("emailId", key).send().await.unwrap();
        }
        let mut overdue = Vec::new();
        for _ in 0..4 {
            cloud.pass(61 * MINUTE);
            overdue.push(cloud.sweep().await.overdue);
            drop(cloud.queues.take());
        }
        assert_eq!(overdue, expected, "{step}");
    }
}

/// The orders whose events are in the stream, brought to every state.
async fn every_transition(cloud: &TestCloud) {
    for with_mail in [true, false] {
        let mut cart = if with_mail {
            cart_with_checkout()
        } else {
            cart()
        };
        let mut ids = Vec::new();
        for customer in ["8080", "8080", "8080", "sandbox-stolen-card", "8080"] {
            cart["customerId"] = customer.into();
            let reply = cloud.post("/api/order/cart.json", &cart).await;
            let order = text(&reply.body["orderId"]).to_owned();
            let mut update = cart.clone();
            update["orderId"] = order.as_str().into();
            assert_eq!(
                cloud.post("/api/order/cart.json", &update).await.status,
                200
            );
            ids.push((order, customer));
        }
        for (index, (order, customer)) in ids.iter().enumerate() {
            let cancel = json!({"customerId": customer, "orderId": order});
            let mut invoice = invoice(order);
            invoice["customerId"] = (*customer).into();
            let mut payment = payment(&order.replace("ord_", "inv_"));
            payment["customerId"] = (*customer).into();
            let steps = [
                ("/api/order/invoice.json", invoice),
                ("/api/order/payment.json", payment),
                ("/api/order/shipping.json", crate::contract::shipping(order)),
            ];
            // Cancelled when pending, invoiced, paid, and declined; one is shipped.
            let taken = [0, 1, 2, 2, 3][index];
            for (path, body) in &steps[..taken] {
                let reply = cloud.post(path, body).await;
                assert!([201, 402].contains(&reply.status), "{}", reply.text);
            }
            if taken < 3 {
                let reply = cloud.post("/api/order/cancel.json", &cancel).await;
                assert_eq!(reply.status, 200, "{}", reply.text);
            }
        }
    }
}

/// The relay may leave a message to the sweep, because the write that recorded its event also
/// marked its order as due.
#[tokio::test]
async fn every_message_of_the_relay_is_backed_by_a_due_mark() {
    let cloud = Cloud::start().await;
    every_transition(&cloud).await;
    let mut kinds = BTreeSet::new();
    let records = cloud.database.stream_records(0);
    for record in &records {
        let image = &record["dynamodb"]["NewImage"];
        let Some(kind) = image["event"]["M"]["type"]["S"].as_str() else {
            continue;
        };
        let raw = to_raw_value(record).unwrap();
        cloud.relay().relay(&[raw.as_ref()]).await;
        let messages = cloud.queues.take().len();
        let is_marked = image["dueStep"]["S"].is_string() && image["dueAt"]["N"].is_string();
        assert!(messages == 0 || is_marked, "{kind}: {image}");
        kinds.insert((kind.to_owned(), messages > 0));
    }
    let silent = kinds.iter().filter(|(_, told)| !told).count();
    assert_eq!((kinds.len() - silent, silent), (6, 3), "{kinds:?}");
}

#[tokio::test]
async fn a_message_that_no_mark_backs_is_brought_again_with_its_record() {
    let cloud = Cloud::start().await;
    place(&cloud, "8080").await;
    let mut record = cloud.database.stream_records(0).remove(0);
    let image = record["dynamodb"]["NewImage"].as_object_mut().unwrap();
    for name in ["dueStep", "dueAt", "dueTries"] {
        assert!(image.remove(name).is_some());
    }
    let raw = to_raw_value(&record).unwrap();
    cloud.queues.set_down(&[Queue::Billing]);
    let failures = cloud.relay().relay(&[raw.as_ref()]).await;
    let number = record["dynamodb"]["SequenceNumber"].as_str().unwrap();
    assert_eq!(failures.sequence_numbers(), [number]);
}
