//! Each metric that an alarm uses is counted when its failure happens, and only then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{DueStep, Email};
use email::mail::Mail;
use email::mailer::{Mailer, MailerError};
use futures_util::future::join;
use lambda_runtime::{Context, LambdaEvent};
use messages::queue::Queue;
use payment::partners::{ChargeStatus, RefundStatus};
use platform::aws::{AwsFailure, FailureKind};
use platform::config::{Authentication, Tables};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use service::lambda::Handler;
use store::Store;
use tests::partners::EasyPostHabits;
use tests::{Cloud, Database, Options, PlayedPartner, invoke, request, unlimited_pace};
use tokio::sync::Notify;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

use crate::contract::{cart, cart_with_checkout, invoice, text};
use crate::easypost;
use crate::privacy::Log;
use crate::shop::{self, Shop, played};
use crate::webhooks;

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const CANCEL: &str = "/api/order/cancel.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";

/// Longer than the time until the sweep's first check, and until each check after one without
/// effect.
const OVERDUE: Duration = Duration::from_mins(61);

/// Each metric that an alarm of `template.yaml` uses, with the tests that cause its failure. A new
/// alarm needs a row, and a row needs an alarm.
const TROUBLES: &[(&str, &[&str])] = &[
    (
        "BillingPartnerFailed",
        &["a_dependency_that_cannot_be_used_is_counted_each_time"],
    ),
    (
        "CarrierFailed",
        &["a_carrier_that_cannot_be_used_is_counted_each_time"],
    ),
    (
        "ChargeDisputed",
        &[
            "every_new_dispute_counts_once_whatever_is_heard_of_it_first_and_the_gravest_is_shown",
            "a_dispute_is_counted_and_nothing_else",
        ],
    ),
    (
        "EmailBounced",
        &["a_bounce_and_a_complaint_are_recorded_and_end_the_mails_to_their_address"],
    ),
    (
        "EmailComplained",
        &["a_bounce_and_a_complaint_are_recorded_and_end_the_mails_to_their_address"],
    ),
    (
        "EmailFailed",
        &["a_promised_mail_that_is_given_up_is_counted_once"],
    ),
    (
        "EmailRejected",
        &["a_mail_to_an_address_that_ses_rejects_ends_and_is_counted_once"],
    ),
    (
        "EmailUnconfirmed",
        &[
            "a_mail_whose_answer_is_lost_is_counted_once",
            "a_mail_whose_sender_died_is_counted_once",
            "a_mail_that_is_parked_by_two_is_counted_once",
        ],
    ),
    (
        "InternalErrors",
        &[
            "a_table_that_is_missing_is_counted_as_a_fault_of_ours",
            "a_message_that_meets_a_fault_of_ours_is_counted",
        ],
    ),
    (
        "MailServiceFailed",
        &["a_dependency_that_cannot_be_used_is_counted_each_time"],
    ),
    (
        "MailsOverdue",
        &["a_promised_mail_is_overdue_from_its_third_look_on"],
    ),
    (
        "OrdersOverdue",
        &["an_order_is_overdue_from_its_third_look_on"],
    ),
    (
        "PaymentUnknown",
        &["a_charge_whose_answer_is_lost_is_counted"],
    ),
    (
        "RefundFailed",
        &[
            "a_refund_that_is_refused_is_counted_each_time",
            "a_refund_that_fails_after_it_had_succeeded_is_shown_and_counted_once",
        ],
    ),
    (
        "RefundedOutside",
        &["a_charge_that_is_refunded_in_the_dashboard_stops_the_shipment"],
    ),
    (
        "SweepFailed",
        &[
            "an_order_that_a_queue_refuses_fails_its_sweep",
            "an_order_that_cannot_be_read_fails_its_sweep",
            "a_sweep_without_time_is_counted_as_one_that_failed",
        ],
    ),
];

/// Metrics without an alarm: the sweep handles what was deferred, and what is ignored is harmless.
const WITHOUT_ALARM: [&str; 3] = ["OrdersExpired", "RelayDeferred", "WebhookIgnored"];

/// The metrics that this thread counts while this value lives.
pub(crate) struct Metrics {
    pub(crate) log: Log,
    _listening: (DefaultGuard, Dispatch),
}

impl Metrics {
    pub(crate) fn start() -> Self {
        let log = Log::default();
        let listening = log.listen();
        Self {
            log,
            _listening: listening,
        }
    }

    /// Every value that was written, with its metric, as CloudWatch reads it ("Specification:
    /// Embedded metric format"). Anything in another format is not a metric.
    fn written(&self) -> Vec<(String, u64)> {
        let log = self.log.text();
        let lines = log.lines().filter(|line| line.contains("\"_aws\""));
        lines
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                let [directive] = &**line["_aws"]["CloudWatchMetrics"].as_array().unwrap() else {
                    panic!("{line}");
                };
                assert!(line["_aws"]["Timestamp"].as_i64().unwrap() > 0, "{line}");
                assert_eq!(directive["Namespace"], "OrderFlow");
                assert_eq!(directive["Dimensions"], json!([["Stage"]]));
                assert_eq!(line["Stage"], "test");
                let [metric] = &**directive["Metrics"].as_array().unwrap() else {
                    panic!("{line}");
                };
                assert_eq!(metric["Unit"], "Count");
                let name = text(&metric["Name"]);
                (name.to_owned(), line[name].as_u64().unwrap())
            })
            .collect()
    }

    /// How many times that metric was written, except zeros.
    pub(crate) fn of(&self, metric: &str) -> usize {
        let written = self.written().into_iter();
        written
            .filter(|(name, value)| name == metric && *value > 0)
            .count()
    }

    /// The sum of each metric, except zeros.
    fn counted(&self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        for (metric, value) in self.written() {
            if value > 0 {
                *counted.entry(metric).or_default() += value;
            }
        }
        counted
    }

    /// Checks that only that metric was counted, with this value.
    #[track_caller]
    pub(crate) fn assert_only(&self, metric: &str, value: u64) {
        assert_eq!(self.counted(), BTreeMap::from([(metric.to_owned(), value)]));
    }

    #[track_caller]
    fn assert_none(&self) {
        assert_eq!(self.counted(), BTreeMap::new());
    }
}

/// This service's metrics that the template's alarms use.
fn alarmed() -> BTreeSet<String> {
    let template = include_str!("../../template.yaml");
    let template: serde_yaml_ng::Value = serde_yaml_ng::from_str(template).unwrap();
    let resources = template["Resources"].as_mapping().unwrap();
    resources
        .values()
        .map(|resource| &resource["Properties"])
        .filter(|properties| properties["Namespace"].as_str() == Some("OrderFlow"))
        .map(|properties| properties["MetricName"].as_str().unwrap().to_owned())
        .collect()
}

/// The names with which the functions' sources call `count`.
fn named_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_in(&path, names);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        for call in source.split("count(").skip(1) {
            let arguments = call.split(';').next().unwrap_or_default();
            let literal = arguments.split('"').nth(1).unwrap_or_default();
            let is_name = literal.starts_with(char::is_uppercase)
                && literal.chars().all(char::is_alphanumeric);
            if is_name {
                names.insert(literal.to_owned());
            }
        }
    }
}

#[test]
fn every_metric_with_an_alarm_has_a_test_that_makes_its_trouble_happen() {
    let shown: BTreeSet<_> = TROUBLES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(alarmed(), shown);
    let sources = [
        include_str!("metrics.rs"),
        include_str!("late.rs"),
        include_str!("outside.rs"),
        include_str!("ses.rs"),
    ];
    let sources = sources.concat();
    for test in TROUBLES.iter().flat_map(|(_, tests)| *tests) {
        assert!(sources.contains(&format!("async fn {test}()")), "{test}");
    }
}

#[test]
fn every_metric_that_is_counted_has_an_alarm_or_needs_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = BTreeSet::from(["InternalErrors".to_owned()]);
    named_in(&root.join("functions"), &mut named);
    let dependencies = ["BillingPartnerFailed", "CarrierFailed", "MailServiceFailed"];
    named.extend(dependencies.map(str::to_owned));
    let mut known = alarmed();
    known.extend(WITHOUT_ALARM.map(str::to_owned));
    assert_eq!(named, known);
}

async fn place<P: payment::partners::BillingPartner>(cloud: &Cloud<P>) -> String {
    shop::place(cloud, &cart_with_checkout()).await
}

fn mail() -> Value {
    json!({"event": "InvoiceCreated", "name": "Lital Hay", "email": "gift@example.com"})
}

/// An invoiced order at a scripted partner.
async fn invoiced() -> (Cloud<PlayedPartner>, PlayedPartner, String) {
    let shop = Shop::at(played).invoiced().await;
    (shop.cloud, shop.partner, shop.order)
}

fn cancel(order: &str) -> Value {
    json!({"customerId": "8080", "orderId": order})
}

/// Puts another value into an order, as a newer version of this service could have done.
async fn damage<P: payment::partners::BillingPartner>(cloud: &Cloud<P>, order: &str) {
    let update = cloud
        .database
        .client
        .update_item()
        .table_name("OrdersTable");
    let update = update
        .key("orderId", AttributeValue::S(order.to_owned()))
        .update_expression("SET #status = :newer")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":newer", AttributeValue::S("teleported".to_owned()));
    update.send().await.unwrap();
}

#[tokio::test]
async fn orders_that_go_well_or_fail_for_their_callers_reasons_count_no_trouble() {
    let metrics = Metrics::start();
    let (cloud, partner, paid) = invoiced().await;
    // One order is completed, one is paid and cancelled, one is declined, and invalid requests are
    // refused.
    let shipped = place(&cloud).await;
    cloud.settle().await;
    assert_eq!(cloud.get(&shipped).await.body["status"], "shipped");
    let (declined, code) = (place(&cloud).await, "insufficient_funds".to_owned());
    cloud.post(INVOICE, &invoice(&declined)).await;
    partner.script([ChargeStatus::Declined {
        code,
        retryable: true,
    }]);
    assert_eq!(shop::pay(&cloud, &declined).await.status, 402);
    let cancelled = place(&cloud).await;
    cloud.post(INVOICE, &invoice(&cancelled)).await;
    assert_eq!(shop::pay(&cloud, &cancelled).await.status, 201);
    assert_eq!(cloud.post(CANCEL, &cancel(&cancelled)).await.status, 200);
    assert_eq!(cloud.post(CANCEL, &cancel(&shipped)).await.status, 409);
    assert_eq!(cloud.post(CART, &json!({})).await.status, 422);
    assert_eq!(cloud.get("ord_none").await.status, 404);
    assert_eq!(cloud.post(SHIPPING, &mail()).await.status, 200);
    assert_eq!(cloud.post(EMAIL, &mail()).await.status, 200);
    cloud.settle().await;
    for _ in 0..5 {
        cloud.pass(OVERDUE);
        cloud.sweep().await;
        cloud.settle().await;
    }
    assert_eq!(cloud.get(&paid).await.body["status"], "shipped");
    assert!(metrics.log.text().contains("\"SweepFailed\":0"), "it runs");
    metrics.assert_none();
}

#[tokio::test]
async fn an_order_is_overdue_from_its_third_look_on() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    place(&cloud).await;
    cloud.lose_stream();
    for look in 1..=3 {
        metrics.assert_none();
        cloud.pass(OVERDUE);
        assert_eq!(cloud.sweep().await.published, 1, "look {look}");
        drop(cloud.queues.take());
    }
    metrics.assert_only("OrdersOverdue", 1);
}

#[tokio::test]
async fn a_promised_mail_is_overdue_from_its_third_look_on() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    assert_eq!(cloud.post(SHIPPING, &mail()).await.status, 200);
    for look in 1..=3 {
        drop(cloud.queues.take());
        metrics.assert_none();
        cloud.pass(OVERDUE);
        assert_eq!(cloud.sweep().await.mails.published, 1, "look {look}");
    }
    metrics.assert_only("MailsOverdue", 1);
}

#[tokio::test]
async fn an_order_that_a_queue_refuses_fails_its_sweep() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    place(&cloud).await;
    cloud.lose_stream();
    cloud.queues.set_down(&[Queue::Billing]);
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    metrics.assert_only("SweepFailed", 1);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_fails_its_sweep() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    let order = place(&cloud).await;
    cloud.lose_stream();
    damage(&cloud, &order).await;
    cloud.pass(OVERDUE);
    cloud.sweep().await;
    metrics.assert_only("SweepFailed", 1);
}

#[tokio::test]
async fn a_sweep_without_time_is_counted_as_one_that_failed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda tells its deadline by this clock"
    )]
    let deadline = SystemTime::now() + Duration::from_millis(500);
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut context = Context::default();
    context.deadline = u64::try_from(deadline.as_millis()).unwrap();
    let tick = to_raw_value(&json!({"detail-type": "Scheduled Event"})).unwrap();
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    cloud
        .relay()
        .handle(LambdaEvent::new(tick, context))
        .await
        .unwrap();
    let counted = metrics.counted();
    // Each partition of the index counts that was not read.
    let partitions = usize::from(DueStep::SHARDS) * DueStep::ALL.len();
    assert!(counted["SweepFailed"] >= partitions as u64, "{counted:?}");
    assert_eq!(counted.len(), 1, "{counted:?}");
}

#[tokio::test]
async fn a_promised_mail_that_is_given_up_is_counted_once() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    assert_eq!(cloud.post(SHIPPING, &mail()).await.status, 200);
    drop(cloud.queues.take());
    for _ in 0..3 {
        cloud.pass(Duration::from_hours(73));
        cloud.sweep().await;
        drop(cloud.queues.take());
    }
    metrics.assert_only("EmailFailed", 1);
}

#[tokio::test]
async fn a_mail_whose_answer_is_lost_is_counted_once() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    // A failure that provably sent nothing is counted by another metric.
    cloud.mailer.fail_next(FailureKind::Throttled, None);
    assert_eq!(cloud.post_with_key(EMAIL, "k", &mail()).await.status, 503);
    cloud
        .mailer
        .fail_next(FailureKind::Refused, Some("BadRequestException"));
    let refused = cloud.post_with_key(EMAIL, "other", &mail()).await;
    assert_eq!(refused.status, 422);
    assert_eq!(metrics.of("MailServiceFailed"), 1);
    assert_eq!(metrics.of("EmailRejected"), 1);
    let metrics = Metrics::start();
    cloud.mailer.fail_next(FailureKind::Unanswered, None);
    for _ in 0..3 {
        assert_eq!(cloud.post_with_key(EMAIL, "k", &mail()).await.status, 409);
    }
    metrics.assert_only("EmailUnconfirmed", 1);
}

#[tokio::test]
async fn a_mail_whose_sender_died_is_counted_once() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    cloud.post(SHIPPING, &mail()).await;
    let [(queue, message)]: [_; 1] = cloud.queues.take().try_into().unwrap();
    let (now, stale) = (cloud.runtime.now(), email::CLAIM_STALE_AFTER);
    let id = message.email_id();
    cloud
        .store
        .claim_email(&id, None, now, stale)
        .await
        .unwrap();
    cloud.pass(stale);
    for _ in 0..3 {
        cloud.deliver(queue, &message).await;
    }
    metrics.assert_only("EmailUnconfirmed", 1);
}

/// A sender that is frozen while SES accepts its mail wakes after others have parked it.
#[tokio::test]
async fn a_mail_that_is_parked_by_two_is_counted_once() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    let (frozen, thawed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mailer = FrozenMailer {
        frozen: frozen.clone(),
        thawed: thawed.clone(),
    };
    let emails = |mailer| {
        let (store, runtime) = (cloud.store.clone(), cloud.runtime.clone());
        Handler::new(
            email::Emails::new(
                store,
                Some(mailer),
                unlimited_pace(),
                "test".to_owned(),
                runtime,
            ),
            Authentication::None,
        )
    };
    let order = place(&cloud).await;
    let mut mail = mail();
    mail["orderId"] = order.as_str().into();
    let invoiced = cloud.post(INVOICE, &invoice(&order)).await;
    assert_eq!(invoiced.status, 201, "{}", invoiced.text);
    let first = emails(mailer);
    let event = request(EMAIL, &mail);
    let second = async {
        frozen.notified().await;
        cloud.pass(email::CLAIM_STALE_AFTER);
        let reply = cloud.post(EMAIL, &mail).await;
        assert_eq!(reply.code(), "mail_unconfirmed");
        cloud.pass(Duration::from_secs(1));
        thawed.notify_one();
    };
    let (answer, ()) = join(invoke(&first, &event), second).await;
    assert_eq!(answer["statusCode"], 409, "{answer}");
    metrics.assert_only("EmailUnconfirmed", 1);
}

/// A mailer whose only call goes unanswered for as long as a test wants.
struct FrozenMailer {
    frozen: Arc<Notify>,
    thawed: Arc<Notify>,
}

impl Mailer for FrozenMailer {
    async fn send(&self, _id: &str, _to: &Email, _mail: &Mail) -> Result<String, MailerError> {
        self.frozen.notify_one();
        self.thawed.notified().await;
        Err(MailerError::Unknown(AwsFailure {
            operation: "SendEmail",
            kind: FailureKind::Unanswered,
            code: None,
            request_id: None,
        }))
    }
}

#[tokio::test]
async fn a_charge_whose_answer_is_lost_is_counted() {
    let metrics = Metrics::start();
    let (cloud, partner, order) = invoiced().await;
    // A failed confirmation or look-up that changed nothing leaves nothing unknown.
    partner.refuse("confirm");
    assert_eq!(shop::pay(&cloud, &order).await.status, 503);
    metrics.assert_only("BillingPartnerFailed", 1);
    let metrics = Metrics::start();
    partner.lose_answer("confirm");
    let reply = shop::pay(&cloud, &order).await;
    assert_eq!(reply.code(), "payment_outcome_unknown");
    assert_eq!(shop::pay(&cloud, &order).await.status, 201);
    metrics.assert_only("PaymentUnknown", 1);
}

#[tokio::test]
async fn a_refund_that_is_refused_is_counted_each_time() {
    let metrics = Metrics::start();
    let (cloud, partner, order) = invoiced().await;
    assert_eq!(shop::pay(&cloud, &order).await.status, 201);
    let code = "charge_disputed".to_owned();
    partner.script_refunds([RefundStatus::Pending, RefundStatus::Failed { code }]);
    let reply = cloud.post(CANCEL, &cancel(&order)).await;
    assert_eq!(reply.code(), "refund_pending");
    metrics.assert_none();
    let reply = cloud.post(CANCEL, &cancel(&order)).await;
    assert_eq!(reply.code(), "refund_failed");
    metrics.assert_only("RefundFailed", 1);
    assert_eq!(cloud.post(CANCEL, &cancel(&order)).await.status, 200);
    metrics.assert_only("RefundFailed", 1);
}

#[tokio::test]
async fn a_dispute_is_counted_and_nothing_else() {
    let metrics = Metrics::start();
    let shop = webhooks::shop("pm_card_visa").await;
    assert_eq!(shop.pay().await.status, 201);
    shop.cloud.lose_stream();
    shop.partner.dispute();
    let ids = shop.partner.disputes();
    for event in ["evt_1", "evt_2"] {
        shop.dispute(event, "charge.dispute.created", &ids[0], "needs_response")
            .await;
    }
    metrics.assert_only("ChargeDisputed", 1);
}

#[tokio::test]
async fn a_dependency_that_cannot_be_used_is_counted_each_time() {
    let cloud = Cloud::start().await;
    let mut cart = cart_with_checkout();
    cart["customerId"] = "sandbox-outage".into();
    shop::place(&cloud, &cart).await;
    let metrics = Metrics::start();
    cloud.settle_through(&[Queue::Billing]).await;
    cloud.relay_stream().await;
    for (queue, message) in cloud.queues.take() {
        if queue == Queue::Payment {
            for _ in 0..2 {
                assert!(!cloud.deliver(queue, &message).await);
            }
        }
    }
    metrics.assert_only("BillingPartnerFailed", 2);

    let metrics = Metrics::start();
    assert_eq!(cloud.post(SHIPPING, &mail()).await.status, 200);
    for (queue, message) in cloud.queues.take() {
        cloud
            .mailer
            .fail_next(FailureKind::Refused, Some("MessageRejected"));
        cloud.mailer.fail_next(FailureKind::NotSent, None);
        // Left to the sweep, and then kept.
        assert!(cloud.deliver(queue, &message).await);
        assert!(!cloud.deliver(queue, &message).await);
        assert!(cloud.deliver(queue, &message).await);
    }
    metrics.assert_only("MailServiceFailed", 2);
}

#[tokio::test]
async fn a_carrier_that_cannot_be_used_is_counted_each_time() {
    let shop = easypost::paid(easypost::ADDRESS).await;
    shop.sides.double.set_trouble(EasyPostHabits {
        verification_down: true,
        ..EasyPostHabits::default()
    });
    let metrics = Metrics::start();
    for _ in 0..2 {
        assert_eq!(shop.ship().await.code(), "carrier_unavailable");
    }
    metrics.assert_only("CarrierFailed", 2);
}

/// The function answers, so Lambda sees no error.
#[tokio::test]
async fn a_table_that_is_missing_is_counted_as_a_fault_of_ours() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    let tables = Tables {
        orders: Some("no-such-table".to_owned()),
        ..Database::tables()
    };
    let (client, runtime) = (cloud.database.client.clone(), cloud.runtime.clone());
    let store = Store::new(client, tables, runtime.clone());
    let shop = Options::default().shop();
    let handler = Handler::new(cart::Cart::new(store, shop, runtime), Authentication::None);
    let answer = invoke(&handler, &request(CART, &cart())).await;
    assert_eq!(answer["statusCode"], 503, "{answer}");
    metrics.assert_only("InternalErrors", 1);
}

#[tokio::test]
async fn a_message_that_meets_a_fault_of_ours_is_counted() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    assert_eq!(cloud.post(SHIPPING, &mail()).await.status, 200);
    let [(queue, mut message)]: [_; 1] = cloud.queues.take().try_into().unwrap();
    message.mail = None;
    assert!(!cloud.deliver(queue, &message).await);
    metrics.assert_only("InternalErrors", 1);
}

#[tokio::test]
async fn what_needs_no_alarm_is_counted_too() {
    let metrics = Metrics::start();
    let cloud = Cloud::start().await;
    place(&cloud).await;
    cloud.queues.set_down(&[Queue::Billing]);
    cloud.relay_stream().await;
    metrics.assert_only("RelayDeferred", 1);

    let metrics = Metrics::start();
    let shop = webhooks::shop("pm_card_visa").await;
    let reply = shop.tell("evt_1", "plan.created", &json!({"id": 5})).await;
    assert_eq!(reply.status, 200);
    metrics.assert_only("WebhookIgnored", 1);
}
