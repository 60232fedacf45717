//! Each write's condition, and exact numbers, on the real database.

use domain::{
    Command, Contact, Delivery, DeliveryState, EventType, Money, OpenParcel, Order, OrderId,
    Refund, RefundName, RefundState, Shipment, Status, TaxMode, Text, Timestamp,
};
use messages::queue::Queue;
use serde_json::Value;
use store::{
    CancelBasis, CartContents, CartUpdate, Claim, ClaimRefusal, InvoiceIssue, Settlement, Shipping,
};
use tests::{Cloud, Options};

use crate::contract::{cart, invoice, payment, shipping, text};
use crate::free::free_cart;
use crate::shop::place;

type TestCloud = Cloud<payment::partners::Sandbox>;

fn contact() -> Contact {
    let text = |text| Text::parse(text).unwrap();
    Contact {
        name: text("Lital Hay"),
        phone: text("0545870006"),
        email: None,
        shipping_address: text("17 boulevard, 123 apt 6 Brooklyn NY"),
    }
}

/// An order that was brought to `status` through the API.
async fn order_in(cloud: &TestCloud, status: Status) -> Order {
    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let steps = match status {
        Status::Pending | Status::Cancelled => 0,
        Status::Invoiced => 1,
        Status::Paid | Status::Refunding => 2,
        Status::Shipped => 3,
    };
    let posts = [
        ("/api/order/invoice.json", invoice(&order)),
        (
            "/api/order/payment.json",
            payment(&order.replace("ord_", "inv_")),
        ),
        ("/api/order/shipping.json", shipping(&order)),
    ];
    for (path, body) in &posts[..steps] {
        let reply = cloud.post(path, body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
    let id = OrderId::parse(&order).unwrap();
    let command = match status {
        Status::Refunding => Some(Command::RequestRefund),
        Status::Cancelled => Some(Command::Cancel),
        _ => None,
    };
    if let Some(command) = command {
        let read = read(cloud, &id).await;
        assert!(try_write(cloud, &read, command).await);
    }
    let order = read(cloud, &OrderId::parse(&order).unwrap()).await;
    assert_eq!(order.status, status);
    order
}

/// An order that costs nothing, paid.
async fn paid_free(cloud: &TestCloud) -> Order {
    let order = place(cloud, &free_cart()).await;
    cloud
        .settle_through(&[Queue::Billing, Queue::Payment])
        .await;
    let order = read(cloud, &OrderId::parse(&order).unwrap()).await;
    assert!(order.is_paid_free());
    order
}

async fn read(cloud: &TestCloud, id: &OrderId) -> Order {
    cloud.store.order(id).await.unwrap().unwrap()
}

/// Tries the write of `command` like a function that read the order in an earlier status and was
/// then overtaken; returns whether it was carried out.
async fn try_write(cloud: &TestCloud, order: &Order, command: Command) -> bool {
    let (store, now) = (&cloud.store, cloud.runtime.now());
    match command {
        Command::UpdateCart => {
            let contents = CartContents {
                currency: order.currency,
                lines: order.lines.clone(),
                amounts: order.amounts,
                checkout: None,
                metadata: domain::Metadata::default(),
            };
            let update = store
                .update_cart(&order.id, &order.customer, &contents, None, None, now)
                .await
                .unwrap();
            matches!(update, CartUpdate::Updated)
        }
        Command::IssueInvoice => {
            let issue = store.issue_invoice(order, &contact(), now).await.unwrap();
            issue == InvoiceIssue::Issued
        }
        Command::CapturePayment => {
            let claim = store
                .claim_payment(&order.id, None, None, payment::LEASE, now)
                .await;
            let Claim::Held(order, fence) = claim.unwrap() else {
                return false;
            };
            let charge = domain::Charge {
                transaction_id: 5,
                created_at: now,
                completed_at: now,
                card: domain::Card::default(),
            };
            let settled = store
                .charge_captured(&order, fence, &charge, now)
                .await
                .unwrap();
            matches!(settled, Settlement::Written(_))
        }
        Command::Ship => {
            let contact = contact();
            let shipment = Shipment {
                tracking_number: 5.into(),
                label_url: None,
                carrier: "own".to_owned(),
                name: contact.name,
                phone: contact.phone,
                shipping_address: contact.shipping_address,
            };
            match store.ship(order, &shipment, now).await.unwrap() {
                Shipping::Shipped(order) => order
                    .shipment
                    .is_some_and(|shipment| shipment.tracking_number == 5.into()),
                Shipping::Open(_) | Shipping::Refused(_) | Shipping::NotFound => false,
            }
        }
        Command::Cancel => {
            let claim = store
                .claim_payment(&order.id, None, None, payment::LEASE, now)
                .await;
            let (order, basis) = match claim.unwrap() {
                Claim::Held(order, fence) => (*order, CancelBasis::Claimed(fence)),
                Claim::Refused(_) => (order.clone(), CancelBasis::Pending),
            };
            let cancelled = store.cancel_order(&order, basis, None, now).await.unwrap();
            is_new(&cancelled, order.version)
        }
        Command::CancelFree => {
            let cancelled = store.cancel_free_order(order, None, now).await.unwrap();
            is_new(&cancelled, order.version)
        }
        Command::RequestRefund => {
            let requested = store.request_refund(order, None, None, now).await.unwrap();
            is_new(&requested, order.version)
        }
        Command::RefundPart => {
            let requested = store.request_part(order, part(now), now).await.unwrap();
            is_new(&requested, order.version)
        }
        Command::FinishPart => {
            let finished = store.finish_part(order, &part(now), now).await.unwrap();
            is_new(&finished, order.version)
        }
        Command::ReportOutForDelivery
        | Command::ReportAvailableForPickup
        | Command::ReportDelivered
        | Command::ReportReturned => try_report(cloud, order, command).await,
        Command::CancelRefunded => {
            let cancelled = store
                .cancel_refunded(order, &[], Order::REFUNDED, now)
                .await;
            is_new(&cancelled.unwrap(), order.version)
        }
        Command::FinishRefund => {
            let finished = store.finish_refund(order, now).await.unwrap();
            is_new(&finished, order.version)
        }
    }
}

/// Does the same for a parcel's news.
async fn try_report(cloud: &TestCloud, order: &Order, command: Command) -> bool {
    let now = cloud.runtime.now();
    let delivery = Delivery {
        state: DeliveryState::Delivered,
        at: now,
    };
    let told = cloud.store.report_delivery(order, delivery, command, now);
    is_new(&told.await.unwrap(), order.version)
}

/// A partial refund.
fn part(at: Timestamp) -> Refund {
    Refund {
        name: RefundName::Partners("re_1".to_owned()),
        amount: Money::from_stored("1").unwrap(),
        state: RefundState::Requested,
        items: Vec::new(),
        unshipped: false,
        closes: false,
        reason: None,
        at,
        told: None,
        request_hash: None,
        key: 0,
    }
}

/// Whether this call wrote it, and not an earlier one.
fn is_new(settlement: &Settlement, version: u64) -> bool {
    matches!(settlement, Settlement::Written(order) if order.version == version + 1)
}

#[tokio::test]
async fn the_database_refuses_every_write_that_the_state_table_refuses() {
    let cloud = Cloud::start().await;
    for &status in Status::ALL {
        for &command in Command::ALL {
            let order = match (status, command) {
                (Status::Paid, Command::CancelFree) => paid_free(&cloud).await,
                _ => order_in(&cloud, status).await,
            };
            let carried_out = try_write(&cloud, &order, command).await;
            let after = read(&cloud, &order.id).await;
            if let Ok(next) = status.apply(command) {
                assert!(carried_out, "{status} {command:?}");
                assert_eq!((after.status, after.version), (next, order.version + 1));
                let event = after.event.expect("a transition carries its event");
                assert_eq!(event.kind, command.event());
                assert_eq!(event.id, format!("{}/{}", order.id, after.version));
                let record = &after.events[&command.event()];
                assert_eq!(record.version, after.version);
            } else {
                assert!(!carried_out, "{status} {command:?}");
                assert_eq!(after, order, "{status} {command:?} changed something");
            }
        }
    }
}

#[tokio::test]
async fn only_a_payment_without_a_charge_is_cancelled_without_a_refund() {
    let cloud = Cloud::start().await;
    let charged = order_in(&cloud, Status::Paid).await;
    assert!(!try_write(&cloud, &charged, Command::CancelFree).await);
    assert_eq!(read(&cloud, &charged.id).await, charged);

    // Its parcel is registered with a carrier.
    let free = paid_free(&cloud).await;
    let contact = contact();
    let parcel = OpenParcel {
        reference: "shp_1".to_owned(),
        carrier: "easypost".to_owned(),
        name: contact.name,
        phone: contact.phone,
        shipping_address: contact.shipping_address,
    };
    let purchase = store::Purchase {
        name: "first",
        at: cloud.runtime.now(),
    };
    let opened = cloud.store.open_parcel(&free.id, &parcel, purchase);
    opened.await.unwrap();
    assert!(!try_write(&cloud, &free, Command::CancelFree).await);
    assert_eq!(read(&cloud, &free.id).await.status, Status::Paid);
}

#[tokio::test]
async fn a_transition_from_a_version_that_is_no_longer_current_is_refused() {
    let cloud = Cloud::start().await;
    let stale = order_in(&cloud, Status::Pending).await;
    assert!(try_write(&cloud, &stale, Command::UpdateCart).await);
    // The cart has changed since, so the invoice would be for contents that were not ordered.
    assert!(!try_write(&cloud, &stale, Command::IssueInvoice).await);
    assert_eq!(read(&cloud, &stale.id).await.status, Status::Pending);
}

#[tokio::test]
async fn only_paying_marks_an_order_as_waiting_for_its_shipment() {
    let cloud = Cloud::start().await;
    for (status, step) in [
        (Status::Pending, None),
        (Status::Invoiced, Some("payment")),
        (Status::Paid, Some("shipping")),
        (Status::Shipped, None),
    ] {
        let order = order_in(&cloud, status).await;
        assert_eq!(order.due.map(|due| due.step.as_str()), step, "{status}");
    }
}

#[tokio::test]
async fn a_claim_names_what_it_found_when_it_is_refused() {
    let cloud = Cloud::start().await;
    let now = cloud.runtime.now();
    let unknown = OrderId::from_time(1, [1; 10]);
    let claim = cloud
        .store
        .claim_payment(&unknown, None, None, payment::LEASE, now)
        .await
        .unwrap();
    assert!(matches!(claim, Claim::Refused(ClaimRefusal::NotFound)));
    let order = order_in(&cloud, Status::Pending).await;
    let claim = cloud
        .store
        .claim_payment(&order.id, None, None, payment::LEASE, now)
        .await
        .unwrap();
    let Claim::Refused(ClaimRefusal::Standing(standing)) = claim else {
        panic!("{claim:?}")
    };
    assert_eq!(*standing, order);
}

#[tokio::test]
async fn amounts_of_18_digits_come_back_from_the_database_as_they_went() {
    let cloud = Cloud::with(Options {
        tax_mode: TaxMode::Added,
        ..Options::default()
    })
    .await;
    // 99 × 10,000 × 999,999,999.99 + 7,777 × 123,456,789.37, plus 18%.
    let line = r#"{"productId": "1", "quantity": 10000, "price": 999999999.99}"#;
    let lines = vec![line; 99].join(",");
    let body = format!(
        r#"{{"customerId": "8080", "items": [{lines}, {{"productId": "2", "quantity": 7777, "price": 123456789.37}}]}}"#
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    let reply = cloud.post("/api/order/cart.json", &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let expected: [(&str, &str); 3] = [
        ("subTotalAmount", "990960123441030.49"),
        ("tax", "178372822219385.49"),
        ("totalAmount", "1169332945660415.98"),
    ];
    let again = cloud.get(text(&reply.body["orderId"])).await;
    for (name, amount) in expected {
        assert_eq!(reply.body[name].to_string(), amount);
        assert_eq!(again.body[name].to_string(), amount);
    }
    assert_eq!(again.body["items"][99]["price"].to_string(), "123456789.37");
    let stored = read(
        &cloud,
        &OrderId::parse(text(&reply.body["orderId"])).unwrap(),
    )
    .await;
    assert_eq!(
        stored.amounts.total,
        Money::from_stored("1169332945660415.98").unwrap()
    );
}

#[tokio::test]
async fn a_due_mark_that_changed_since_it_was_read_is_left_alone() {
    let cloud = Cloud::start().await;
    let read_before = order_in(&cloud, Status::Invoiced).await;
    let (store, now) = (&cloud.store, cloud.runtime.now());
    // Another sweep has checked it in between: the mark has changed.
    let due = domain::Due {
        step: domain::DueStep::Payment,
        at: now.plus(std::time::Duration::from_hours(1)),
        tries: 1,
        by_operator: false,
    };
    store.set_due(&read_before, Some(due)).await.unwrap();
    let marked = read(&cloud, &read_before.id).await;
    assert_eq!(marked.due, Some(due));
    store.set_due(&read_before, None).await.unwrap();
    assert_eq!(read(&cloud, &read_before.id).await, marked);
    store.set_due(&marked, None).await.unwrap();
    assert_eq!(read(&cloud, &read_before.id).await.due, None);
}

#[tokio::test]
async fn the_history_tells_when_each_event_happened() {
    let cloud = Cloud::start().await;
    let order = order_in(&cloud, Status::Shipped).await;
    let history: Vec<_> = order
        .events
        .iter()
        .map(|(event, record)| (*event, record.version))
        .collect();
    let expected = [
        (EventType::CartUpdated, 1),
        (EventType::InvoiceCreated, 2),
        (EventType::PaymentProcessed, 3),
        (EventType::OrderShipped, 4),
    ];
    assert_eq!(history, expected);
}

#[tokio::test]
async fn no_write_of_an_order_that_arrives_once_more_changes_anything() {
    let cloud = Cloud::start().await;
    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let mut update = cart();
    update["orderId"] = order.as_str().into();
    let path = "/api/order/cart.json";
    assert_eq!(cloud.post(path, &update).await.status, 200);
    let keyed = cloud.post_with_key(path, "k", &update).await;
    assert_eq!(keyed.status, 200, "{}", keyed.text);
    for (path, body) in [
        ("/api/order/invoice.json", invoice(&order)),
        (
            "/api/order/payment.json",
            payment(&order.replace("ord_", "inv_")),
        ),
        ("/api/order/shipping.json", shipping(&order)),
    ] {
        let reply = cloud.post_with_key(path, "k", &body).await;
        assert_eq!(reply.status, 201, "{path}: {}", reply.text);
    }
    let writes = cloud.database.writes.take();
    assert!(writes.len() >= 11, "{}", writes.len());
    let id = OrderId::parse(&order).unwrap();
    let before = read(&cloud, &id).await;
    for write in &writes {
        assert!(!cloud.database.arrive_late(write), "{write:?}");
        assert_eq!(read(&cloud, &id).await, before, "{write:?}");
    }
}
