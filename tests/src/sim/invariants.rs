//! What must hold after every history, whatever happened in it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use shared::domain::{ChargeState, Order, OrderId, Status};
use shared::event::{Message, MessageKind, email_id};
use shared::store::{EmailState, Store};

use super::carrier::BookedLabel;
use super::run::Client;
use super::world::World;
use crate::Reply;
use crate::partners::BookedCharge;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The history did not come to rest.
    Endless,
    /// An order was charged more than once.
    ChargedTwice(String),
    /// A charge was refunded more than once, or without having been captured.
    RefundedTwice(String),
    /// A charge is not of the invoice's total.
    WrongAmount(String),
    /// An order has more than one label.
    ShippedTwice(String),
    /// A mail went out twice.
    MailedTwice(String),
    /// An order is paid and was not charged, or charged and is not paid.
    PaidUnlikeCharged(String),
    /// The ledger's sum is not that of the paid orders.
    SumsDiffer(String),
    /// There is a label that is no shipped order's.
    LabelsDiffer(String),
    /// An order did not come as far as it should.
    Stuck(String),
    /// A success that cannot be read back.
    Forgotten(String),
    /// Two answers to the same request differ, or a good request was refused.
    Contradiction(String),
    /// A dead letter whose order does not show that something is due.
    HiddenDeadLetter(String),
    /// A mail that ended nowhere.
    MailLost(String),
}

/// What the other side has written down.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) charges: Vec<BookedCharge>,
    pub(super) labels: Vec<BookedLabel>,
}

pub(super) async fn check(
    world: &World,
    store: &Store,
    clients: &[Client],
    answers: &BTreeMap<String, Reply>,
    books: &Books,
) -> Result<(), Violation> {
    let Books { charges, labels } = books;
    let mut paid_sum = Decimal::ZERO;
    let mut shipped = 0;
    for client in clients {
        if let Some(contradiction) = client.contradictions.first() {
            return Err(Violation::Contradiction(contradiction.clone()));
        }
        let Some(name) = &client.order else {
            return Err(Violation::Stuck(format!(
                "no cart was ever answered: {:?}",
                client.answers
            )));
        };
        let id = OrderId::parse(name).map_err(|_| Violation::Forgotten(name.clone()))?;
        let order = store.order(&id).await.ok().flatten();
        let order = order.ok_or_else(|| Violation::Forgotten(name.clone()))?;
        check_charges(charges, &order)?;
        check_labels(labels, &order)?;
        check_end(&order, client)?;
        check_answers(&order, client, answers)?;
        check_mails(world, store, &order).await?;
        if is_paid(&order) {
            paid_sum += order.amounts.total.decimal();
        }
        shipped += usize::from(order.status == Status::Shipped);
    }
    let ledger_sum: Decimal = charges
        .iter()
        .map(|charge| charge.amount * Decimal::from(kept(charge)))
        .sum();
    if ledger_sum != paid_sum {
        return Err(Violation::SumsDiffer(format!(
            "ledger {ledger_sum}, orders {paid_sum}"
        )));
    }
    if labels.len() != shipped {
        return Err(Violation::LabelsDiffer(format!(
            "{shipped} orders shipped, {labels:?}"
        )));
    }
    check_dead_letters(world, store).await
}

/// Whether the shop has the customer's money.
fn is_paid(order: &Order) -> bool {
    matches!(order.status, Status::Paid | Status::Shipped)
}

/// How often money was taken and not given back.
fn kept(charge: &BookedCharge) -> u32 {
    charge.captures.saturating_sub(charge.refunds)
}

fn check_charges(charges: &[BookedCharge], order: &Order) -> Result<(), Violation> {
    let invoice = order.id.invoice().to_string();
    let charges: Vec<_> = charges
        .iter()
        .filter(|charge| charge.invoice == invoice)
        .collect();
    let captures: u32 = charges.iter().map(|charge| charge.captures).sum();
    if captures > 1 {
        return Err(Violation::ChargedTwice(format!("{charges:?}")));
    }
    if charges
        .iter()
        .any(|charge| charge.captures > 0 && charge.amount != order.amounts.total.decimal())
    {
        return Err(Violation::WrongAmount(format!("{charges:?}")));
    }
    if charges
        .iter()
        .any(|charge| charge.refunds > charge.captures)
    {
        return Err(Violation::RefundedTwice(format!("{charges:?}")));
    }
    let kept: u32 = charges.iter().map(|charge| kept(charge)).sum();
    if (kept == 1) != is_paid(order) {
        return Err(Violation::PaidUnlikeCharged(format!(
            "{order:?} {charges:?}"
        )));
    }
    // What the order calls its charge is the one that was captured.
    let reference = order
        .payment
        .as_ref()
        .and_then(|payment| payment.reference.as_ref());
    let captured = charges.iter().find(|charge| charge.captures == 1);
    if captures == 1 && captured.map(|charge| &charge.reference) != reference {
        return Err(Violation::PaidUnlikeCharged(format!(
            "{order:?} {captured:?}"
        )));
    }
    Ok(())
}

fn check_labels(labels: &[BookedLabel], order: &Order) -> Result<(), Violation> {
    let id = order.id.to_string();
    let labels: Vec<_> = labels.iter().filter(|label| label.order == id).collect();
    if labels.len() > 1 {
        return Err(Violation::ShippedTwice(format!("{order:?} {labels:?}")));
    }
    // What the order calls its parcel and its number are those of that label.
    let booked = labels
        .first()
        .map(|label| (label.reference.as_str(), label.tracking_number.as_str()));
    let recorded = order.parcel.as_ref().zip(order.shipment.as_ref());
    let recorded = recorded.map(|(parcel, shipment)| {
        let number = shipment.tracking_number.as_str();
        (parcel.reference.as_str(), number)
    });
    if order.status == Status::Shipped && booked != recorded {
        return Err(Violation::ShippedTwice(format!("{order:?} {labels:?}")));
    }
    if !labels.is_empty() && !is_paid(order) {
        return Err(Violation::ShippedTwice(format!("not paid: {order:?}")));
    }
    Ok(())
}

/// Shipped, declined, or parked where everybody sees it.
fn check_end(order: &Order, client: &Client) -> Result<(), Violation> {
    let state = order.payment.as_ref().map(|payment| payment.state);
    let is_cancelled = order.status == Status::Cancelled && order.due.is_none();
    let ended = match order.customer.as_str() {
        _ if client.wants_cancelled() && is_cancelled => true,
        "declined" | "pending-then-declined" => state == Some(ChargeState::Declined),
        "must-act" => state == Some(ChargeState::ActionRequired) && order.due.is_some(),
        _ => order.status == Status::Shipped && order.due.is_none(),
    };
    if ended {
        Ok(())
    } else {
        Err(Violation::Stuck(format!("{order:?} {:?}", client.answers)))
    }
}

fn check_answers(
    order: &Order,
    client: &Client,
    answers: &BTreeMap<String, Reply>,
) -> Result<(), Violation> {
    let name = order.id.to_string();
    let now = answers
        .get(&name)
        .ok_or_else(|| Violation::Forgotten(name.clone()))?;
    let forgotten = |what: &str, text: &str| {
        Err(Violation::Forgotten(format!(
            "{what}: {text} but now {}",
            now.text
        )))
    };
    for ((path, _), (status, text)) in &client.answers {
        if *status >= 300 {
            continue;
        }
        let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let is_kept = match path.as_str() {
            "/api/order/invoice.json" => answer["invoiceId"] == now.body["invoiceId"],
            "/api/order/payment.json" => {
                answer["transactionId"] == now.body["payment"]["transactionId"]
            }
            "/api/order/cancel.json" => answer["status"] == now.body["status"],
            "/api/order/shipping.json" => answer["tracking_number"] == now.body["tracking_number"],
            _ => answer["orderId"] == now.body["orderId"],
        };
        if !is_kept {
            return forgotten(path, text);
        }
    }
    // The cart's last update that was answered is what was invoiced.
    let mut carts = client
        .answers
        .iter()
        .filter(|((path, _), _)| path == "/api/order/cart.json");
    if let Some((_, (200, text))) = carts.next_back() {
        let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        if answer["totalAmount"] != now.body["totalAmount"] {
            return forgotten("the update", text);
        }
    }
    Ok(())
}

async fn check_mails(world: &World, store: &Store, order: &Order) -> Result<(), Violation> {
    let twice = world
        .state()
        .mails
        .iter()
        .find(|(_, count)| **count > 1)
        .map(|(key, _)| key.clone());
    if let Some(mail) = twice {
        return Err(Violation::MailedTwice(format!("{mail:?}")));
    }
    if order.email().is_none() {
        return Ok(());
    }
    let (_, states) = store
        .order_and_emails(&order.id)
        .await
        .ok()
        .flatten()
        .ok_or_else(|| Violation::Forgotten(order.id.to_string()))?;
    for event in order.mailed_events() {
        if !states.get(&event).is_some_and(EmailState::is_final) {
            let id = email_id(&order.id, event);
            return Err(Violation::MailLost(format!(
                "{id}: {:?} {order:?}",
                states.get(&event)
            )));
        }
    }
    Ok(())
}

/// A dead letter either tells of what has happened meanwhile, or its order shows what is due.
async fn check_dead_letters(world: &World, store: &Store) -> Result<(), Violation> {
    let letters = world.state().dead_letters.clone();
    for (queue, body) in letters {
        let Some(order) = Message::from_json(&body)
            .ok()
            .and_then(|message| message.order)
        else {
            return Err(Violation::HiddenDeadLetter(body));
        };
        let Some((order, emails)) = store.order_and_emails(&order).await.ok().flatten() else {
            return Err(Violation::HiddenDeadLetter(body));
        };
        let message = Message::from_json(&body).ok();
        let is_done = match queue {
            shared::queue::Queue::Billing => order.status != Status::Pending,
            shared::queue::Queue::Payment => {
                !matches!(order.status, Status::Invoiced | Status::Refunding)
                    || order
                        .payment
                        .as_ref()
                        .is_some_and(|p| p.state == ChargeState::Declined)
            }
            shared::queue::Queue::Shipping => order.status != Status::Paid,
            shared::queue::Queue::Email => match message.map(|message| message.kind) {
                Some(MessageKind::Event(kind)) => {
                    emails.get(&kind).is_some_and(EmailState::is_final)
                }
                _ => false,
            },
        };
        if !is_done && order.due.is_none() {
            return Err(Violation::HiddenDeadLetter(format!(
                "{queue:?} {body} {order:?}"
            )));
        }
    }
    Ok(())
}
