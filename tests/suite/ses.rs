//! SES's real client against its double.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{OrderId, Timestamp};
use email::Emails;
use email::mailer::Ses;
use email::pace::Pace;
use futures_util::future::join_all;
use messages::Message;
use messages::queue::Queue;
use platform::config::Authentication;
use platform::runtime::Runtime;
use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;
use service::lambda::Handler;
use store::{EmailClaim, EmailState, Store};
use tests::sim::client_within_the_process;
use tests::{Cloud, Database, Idle, SesDouble, TakenMail, batch, invoke, unlimited_pace};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::sweep::invocation;

const SENDER: &str = "orders@example.com";

type Worker = Handler<Emails<Ses>>;

fn worker(store: &Store, runtime: &Runtime, client: aws_sdk_sesv2::Client, pace: Pace) -> Worker {
    let ses = Ses::new(client, SENDER.to_owned());
    let ses = ses.with_configuration(Some("feedback".to_owned()));
    let (stage, runtime) = ("test".to_owned(), runtime.clone());
    let emails = Emails::new(store.clone(), Some(ses), pace, stage, runtime);
    Handler::new(emails, Authentication::None)
}

/// A worker on a cloud's ledger.
fn worker_of<P: payment::partners::BillingPartner>(cloud: &Cloud<P>, ses: &SesDouble) -> Worker {
    worker(&cloud.store, &cloud.runtime, ses.client(), unlimited_pace())
}

/// The message that requests the mail about an order, as in `events/email-queue.json`.
fn message(number: usize) -> String {
    let event: Value = serde_json::from_str(include_str!("../../events/email-queue.json")).unwrap();
    let body = event["Records"][0]["body"].as_str().unwrap();
    let order = format!("ord_01JDB4XK00EXAMPVE0RDER{number:04}");
    body.replace("ord_01JDB4XK00EXAMPVE0RDER0001", &order)
        .replace("lital.naory@gmail.com", &address(number))
}

fn address(number: usize) -> String {
    format!("customer{number}@example.com")
}

/// The number of mails in each state in the ledger.
async fn states(client: &Client) -> Value {
    let mut states = json!({});
    let scan = client.scan().table_name("EmailsTable");
    for row in scan.send().await.unwrap().items.unwrap_or_default() {
        let state = row["state"].as_s().unwrap().as_str();
        states[state] = (states[state].as_u64().unwrap_or_default() + 1).into();
    }
    states
}

/// Checks that each of the first `count` customers got one mail.
fn assert_each_once(ses: &SesDouble, count: usize) {
    let mut sent: Vec<_> = ses.taken().into_iter().map(|mail| mail.to).collect();
    let mut expected: Vec<_> = (0..count).map(address).collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
}

/// An earlier version accepted such addresses, and their messages may still exist.
#[tokio::test]
async fn a_mail_to_an_address_that_ses_rejects_ends_and_is_counted_once() {
    for bad in ["do..t@example.com", "a@-b.com", ".a@example.com"] {
        let (cloud, ses, metrics) = (Cloud::start().await, SesDouble::default(), Metrics::start());
        let worker = worker_of(&cloud, &ses);
        let message = message(0).replace(&address(0), bad);
        for _ in 0..2 {
            let answer = invoke(&worker, &batch(std::slice::from_ref(&message))).await;
            assert_eq!(answer, json!({"batchItemFailures": []}));
        }
        assert_eq!(states(&cloud.database.client).await, json!({"rejected": 1}));
        assert_eq!(ses.calls(), 1, "{bad}");
        metrics.assert_only("EmailRejected", 1);
    }
}

#[tokio::test]
async fn a_mail_after_an_idle_moment_is_sent_once_however_the_connection_has_ended() {
    for idle in [
        Idle::Reset,
        Idle::Silent,
        Idle::ClosedOnUse,
        Idle::Closed,
        Idle::Kept,
    ] {
        let cloud = Cloud::start().await;
        let ses = SesDouble::default();
        ses.set_idle(idle);
        let worker = worker_of(&cloud, &ses);
        let mut sent = 0;
        for count in [1, 1, 10, 10] {
            let bodies: Vec<String> = (sent..sent + count).map(message).collect();
            let answer = invoke(&worker, &batch(&bodies)).await;
            sent += count;
            assert_eq!(answer, json!({"batchItemFailures": []}), "{idle:?}");
            let states = states(&cloud.database.client).await;
            assert_eq!(states, json!({ "sent": sent }), "{idle:?}");
        }
        assert_each_once(&ses, sent);
        assert_eq!(ses.connections(), sent as u64, "each mail has its own");
    }
}

/// The template's settings of the email queue and its consumer.
struct Mapping {
    workers: u32,
    batch: usize,
    receives: u64,
    hidden: Duration,
    timeout: Duration,
}

impl Mapping {
    fn of(rate: u32) -> Self {
        let template: Yaml = serde_yaml_ng::from_str(include_str!("../../template.yaml")).unwrap();
        let resource = |name: &str| template["Resources"][name]["Properties"].clone();
        let (queue, worker) = (resource("EmailQueue"), resource("EmailWorker"));
        let mapping = &worker["Events"]["Queue"]["Properties"];
        let number = |value: &Yaml| value.as_u64().unwrap();
        let concurrency = &mapping["ScalingConfig"]["MaximumConcurrency"];
        assert!(matches!(concurrency, Yaml::Tagged(found) if found.tag == "FindInMap"));
        let workers = &template["Mappings"]["MailRates"][rate.to_string().as_str()]["Workers"];
        Self {
            workers: u32::try_from(number(workers)).unwrap(),
            batch: usize::try_from(number(&mapping["BatchSize"])).unwrap(),
            receives: number(&queue["RedrivePolicy"]["maxReceiveCount"]),
            hidden: Duration::from_secs(number(&queue["VisibilityTimeout"])),
            timeout: Duration::from_secs(number(&worker["Timeout"])),
        }
    }
}

struct Waiting {
    body: String,
    receives: u64,
    visible_at: Instant,
}

/// The queue and its dead letters. Each worker processes one batch after another, as its poller
/// does.
struct PlayedQueue {
    mapping: Mapping,
    waiting: Mutex<Vec<Waiting>>,
    in_flight: Mutex<usize>,
    dead: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PlayedQueue {
    fn new(mapping: Mapping, bodies: impl Iterator<Item = String>) -> Self {
        let waiting = bodies.map(|body| Waiting {
            body,
            receives: 0,
            visible_at: Instant::now(),
        });
        Self {
            mapping,
            waiting: Mutex::new(waiting.collect()),
            in_flight: Mutex::new(0),
            dead: Mutex::new(0),
        }
    }

    fn receive(&self) -> Vec<Waiting> {
        let mut waiting = lock(&self.waiting);
        let now = Instant::now();
        let (mut visible, hidden): (Vec<_>, Vec<_>) =
            waiting.drain(..).partition(|each| each.visible_at <= now);
        let rest = visible.split_off(visible.len().min(self.mapping.batch));
        waiting.extend(rest.into_iter().chain(hidden));
        *lock(&self.in_flight) += visible.len();
        visible
    }

    fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty() && *lock(&self.in_flight) == 0
    }

    async fn serve(&self, worker: &Worker) {
        while !self.is_empty() {
            let received = self.receive();
            if received.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            let visible_at = Instant::now() + self.mapping.hidden;
            let bodies: Vec<String> = received.iter().map(|each| each.body.clone()).collect();
            let event = invocation(&batch(&bodies), self.mapping.timeout);
            let answer = tokio::time::timeout(self.mapping.timeout, worker.handle(event)).await;
            let answer = answer.expect("it ends in time").unwrap();
            let answer: Value = serde_json::from_str(answer.get()).unwrap();
            let failed = answer["batchItemFailures"].as_array().unwrap();
            *lock(&self.in_flight) -= received.len();
            for (id, each) in received.into_iter().enumerate() {
                let id = Value::from(id.to_string());
                let is_kept = failed.iter().any(|failure| failure["itemIdentifier"] == id);
                let receives = each.receives + 1;
                if is_kept && receives == self.mapping.receives {
                    *lock(&self.dead) += 1;
                } else if is_kept {
                    lock(&self.waiting).push(Waiting {
                        receives,
                        visible_at,
                        ..each
                    });
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_over_the_rate_is_sent_at_the_rate_each_mail_once_and_none_becomes_a_dead_letter() {
    for (count, rate) in [(10, 1), (200, 14), (1_000, 14), (200, 1)] {
        let client = client_within_the_process();
        let drawn = std::sync::atomic::AtomicU64::new(0);
        let began = Instant::now();
        let runtime = Runtime::new(
            move || {
                let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
                Timestamp::from_millis(1_795_428_725_000 + passed)
            },
            move |bytes| {
                let draw = drawn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let digest = domain::digest(&["random", &draw.to_string()]);
                bytes.copy_from_slice(&digest[..bytes.len()]);
            },
        );
        let store = Store::new(client.clone(), Database::tables(), runtime.clone());
        // Every second mail was promised to a caller.
        for number in (0..count).step_by(2) {
            let message = Message::from_json(&message(number)).unwrap();
            let now = runtime.now();
            store.promise_email(&message, now).await.unwrap();
        }
        let ses = SesDouble::default();
        ses.set_rate(rate);
        let mapping = Mapping::of(rate);
        let hidden = mapping.hidden;
        let workers: Vec<Worker> = (0..mapping.workers)
            .map(|_| {
                let share = NonZeroU32::new(mapping.workers).unwrap();
                let pace = Pace::new(NonZeroU32::new(rate).unwrap(), share);
                worker(&store, &runtime, ses.client_within_the_process(), pace)
            })
            .collect();
        let queue = PlayedQueue::new(mapping, (0..count).map(message));
        join_all(workers.iter().map(|worker| queue.serve(worker))).await;

        assert_eq!(*lock(&queue.dead), 0, "{count} at {rate}/s");
        assert_each_once(&ses, count);
        for number in 0..count {
            let id = Message::from_json(&message(number)).unwrap().email_id();
            let claim = store
                .claim_email(&id, None, runtime.now(), email::CLAIM_STALE_AFTER)
                .await;
            let sent = EmailClaim::Settled(EmailState::Sent);
            assert_eq!(claim.unwrap(), sent, "{id}");
        }
        let (calls, seconds) = (ses.calls(), began.elapsed().as_secs());
        let least = count as u64 / u64::from(rate);
        println!("{count} at {rate}/s: {calls} calls, {seconds} s");
        assert!(calls <= count as u64 * 3 / 2, "{calls} calls");
        // A mail that got no turn within its invocation returns once it is visible.
        let again = if calls == count as u64 {
            0
        } else {
            hidden.as_secs()
        };
        assert!(seconds <= least * 3 / 2 + 30 + again, "{seconds} s");
    }
}

#[tokio::test]
async fn mails_over_the_limit_of_24_hours_wait_for_the_sweep_and_are_no_dead_letters() {
    let cloud = Cloud::start().await;
    let ses = SesDouble::default();
    ses.set_quota(Some(3));
    let worker = worker_of(&cloud, &ses);
    for number in 0..10 {
        let body = json!({
            "event": "InvoiceCreated", "name": "Lital Hay", "email": address(number),
        });
        let reply = cloud.post("/api/order/shipping.json", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for expected in [
        json!({"sent": 3, "queued": 7}),
        json!({"sent": 3, "queued": 7}),
        json!({"sent": 10}),
    ] {
        let messages = cloud.queues.take();
        let mails = messages.iter().filter(|(queue, _)| *queue == Queue::Email);
        let bodies: Vec<String> = mails
            .map(|(_, message)| message.to_json().unwrap())
            .collect();
        for bodies in bodies.chunks(10) {
            let answer = invoke(&worker, &batch(bodies)).await;
            assert_eq!(answer, json!({"batchItemFailures": []}));
        }
        assert_eq!(states(&cloud.database.client).await, expected);
        cloud.pass(Duration::from_mins(10));
        cloud.sweep().await;
        if expected["queued"].is_u64()
            && cloud.runtime.now().millis() > 1_795_428_725_000 + 1_000_000
        {
            ses.set_quota(None);
        }
    }
    assert_each_once(&ses, 10);
}

/// The account's turns are for the mails that SES accepts.
#[tokio::test]
async fn a_mail_that_ses_refuses_waits_for_the_sweep_and_is_no_dead_letter() {
    let cloud = Cloud::start().await;
    let ses = SesDouble::default();
    ses.set_sandbox(&[SENDER, &address(0)]);
    let worker = worker_of(&cloud, &ses);
    for number in 0..2 {
        let body = json!({
            "event": "InvoiceCreated", "name": "Lital Hay", "email": address(number),
        });
        let reply = cloud.post("/api/order/shipping.json", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for (known, expected) in [
        (1, json!({"sent": 1, "queued": 1})),
        (1, json!({"sent": 1, "queued": 1})),
        (2, json!({"sent": 2})),
    ] {
        let known: Vec<String> = (0..known).map(address).collect();
        let known = known.iter().map(String::as_str);
        ses.set_sandbox(&known.chain([SENDER]).collect::<Vec<_>>());
        let bodies: Vec<String> = (cloud.queues.take().iter())
            .map(|(_, message)| message.to_json().unwrap())
            .collect();
        let answer = invoke(&worker, &batch(&bodies)).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        assert_eq!(states(&cloud.database.client).await, expected);
        cloud.pass(Duration::from_mins(10));
        cloud.sweep().await;
    }
    assert_each_once(&ses, 2);
}

/// SES's feedback about a mail in its published format ("Examples of event data that Amazon SES
/// publishes to Amazon SNS").
fn told(kind: &str, of: &TakenMail) -> String {
    let recipient = json!([{ "emailAddress": of.to }]);
    let tags: Map<String, Value> = of
        .tags
        .iter()
        .map(|(name, value)| (name.clone(), json!([value])))
        .collect();
    let mail = json!({ "messageId": of.id, "destination": [of.to], "tags": tags });
    let event = match kind {
        "complaint" => json!({
            "eventType": "Complaint",
            "complaint": { "complainedRecipients": recipient, "complaintFeedbackType": "abuse" },
            "mail": mail,
        }),
        kind => json!({
            "eventType": "Bounce",
            "bounce": { "bounceType": kind, "bouncedRecipients": recipient },
            "mail": mail,
        }),
    };
    event.to_string()
}

#[tokio::test]
async fn a_bounce_and_a_complaint_are_recorded_and_end_the_mails_to_their_address() {
    for (kind, status, is_suppressed) in [
        ("Permanent", "bounced", true),
        ("Transient", "bounced", false),
        ("Undetermined", "bounced", false),
        ("complaint", "complained", true),
    ] {
        let metrics = Metrics::start();
        let cloud = Cloud::start().await;
        let ses = SesDouble::default();
        let worker = worker_of(&cloud, &ses);
        invoke(&worker, &batch(&[message(0)])).await;
        let taken = ses.taken().remove(0);
        assert_eq!(taken.configuration_set.as_deref(), Some("feedback"));
        // It arrives twice.
        for _ in 0..2 {
            let answer = invoke(&worker, &batch(&[told(kind, &taken)])).await;
            assert_eq!(answer, json!({"batchItemFailures": []}));
        }
        let row = cloud.database.client.get_item().table_name("EmailsTable");
        let id = "ord_01JDB4XK00EXAMPVE0RDER0000/InvoiceCreated".to_owned();
        let row = row
            .key("emailId", AttributeValue::S(id))
            .send()
            .await
            .unwrap();
        let row = row.item.unwrap();
        assert_eq!(row["feedback"].as_s().unwrap(), status, "{kind}");
        let counted = match status {
            "bounced" => "EmailBounced",
            _ => "EmailComplained",
        };
        metrics.assert_only(counted, 1);

        // The same mail again, and another one to the same address.
        let other = message(1).replace(&address(1), &address(0));
        let answer = invoke(&worker, &batch(&[message(0), other])).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        assert_eq!(ses.calls(), if is_suppressed { 1 } else { 2 }, "{kind}");
        let scan = cloud.database.client.scan().table_name("EmailsTable");
        let rows = scan.send().await.unwrap().items.unwrap_or_default();
        assert!(!format!("{rows:?}").contains('@'), "no address is kept");
        let states: Vec<_> = rows.iter().filter_map(|row| row.get("state")).collect();
        let suppressed = AttributeValue::S("suppressed".to_owned());
        assert_eq!(states.contains(&&suppressed), is_suppressed, "{kind}");
    }
}

#[tokio::test]
async fn news_of_a_mail_may_come_before_it_is_settled_and_of_mails_that_nobody_knows() {
    let cloud = Cloud::start().await;
    let ses = SesDouble::default();
    let worker = worker_of(&cloud, &ses);
    let (id, order) = (
        "ord_01JDB4XK00EXAMPVE0RDER0000/InvoiceCreated",
        OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0000").unwrap(),
    );
    let now = cloud.runtime.now();
    let stale = email::CLAIM_STALE_AFTER;
    let claim = cloud.store.claim_email(id, Some(&order), now, stale);
    let EmailClaim::Yours(holder) = claim.await.unwrap() else {
        panic!("nobody else claims it");
    };
    let taken = TakenMail {
        id: "m".to_owned(),
        from: SENDER.to_owned(),
        to: address(0),
        tags: [("emailId".to_owned(), id.replace('/', "-"))].into(),
        configuration_set: None,
    };
    let unknown = TakenMail {
        tags: [("emailId".to_owned(), "ord_x-InvoiceCreated".to_owned())].into(),
        ..taken.clone()
    };
    let untagged = TakenMail {
        tags: std::collections::BTreeMap::new(),
        ..taken.clone()
    };
    let probe = "Successfully validated SNS topic for Amazon SES event publishing.".to_owned();
    let bodies = [
        told("Transient", &taken),
        told("Permanent", &unknown),
        told("complaint", &untagged),
        probe,
    ];
    let answer = invoke(&worker, &batch(&bodies)).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    // A text that is not SES's feedback is kept for an operator.
    let answer = invoke(&worker, &batch(&["{}".to_owned()])).await;
    assert_eq!(
        answer["batchItemFailures"],
        json!([{"itemIdentifier": "0"}])
    );

    let claim = cloud.store.claim_email(id, Some(&order), now, stale);
    assert_eq!(claim.await.unwrap(), EmailClaim::InProgress);
    for ended in [EmailState::Sent, EmailState::Unconfirmed] {
        let settled = cloud.store.settle_email(id, &holder, ended, None, now);
        let is_first = ended == EmailState::Sent;
        assert_eq!(settled.await.unwrap(), is_first);
        let claim = cloud.store.claim_email(id, Some(&order), now, stale);
        let bounced = EmailClaim::Settled(EmailState::Bounced);
        assert_eq!(claim.await.unwrap(), bounced);
    }
}
