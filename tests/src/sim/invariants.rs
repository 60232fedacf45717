//! The invariants of every history: during it, whenever money or a parcel has moved, and at its
//! end.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    ChargeState, DisputeState, InvoiceId, Line, Order, OrderId, PartnerAccount, PartnerName,
    RefundName, RefundState, RefundStatus, Status,
};
use messages::queue::Queue;
use messages::{Message, MessageKind, email_id};
use rust_decimal::Decimal;
use serde_json::Value;
use store::{EmailState, Store};

use super::carrier::BookedLabel;
use super::client::{ADDRESS, Client, REFUND};
use super::scenario::{Act, Mailing, Method, Plan};
use super::stored::Stored;
use super::world::{Protocol, World};
use crate::Reply;
use crate::partners::{BookedCharge, BookedRefund, PayPalDouble};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The history did not finish.
    Endless(String),
    /// An order was charged more than once.
    ChargedTwice(String),
    /// A cancelled order was charged.
    ChargedAfterCancelled(String),
    /// A payment method was charged that the customer had revoked or never approved.
    ChargedAnotherMethod(String),
    /// A charge was refunded more than once, without a capture, or not completely.
    RefundedWrongly(String),
    /// The refunds of an order differ from those in the partner's books.
    RefundsDiffer(String),
    /// An order whose money was refunded is still to be shipped.
    ShipsWhatIsGone(String),
    /// The content of a shipment changed after the shipment.
    ShipmentChanged(String),
    /// A partner was asked about a charge of another partner.
    AskedAnotherPartner(String),
    /// An order was refunded although nobody cancelled it.
    RefundedUnasked(String),
    /// A partner was requested to charge an order that costs nothing.
    ChargedNothing(String),
    /// The amount or the currency of a charge differs from the invoice.
    WrongAmount(String),
    /// The invoice's document does not match its order.
    WrongInvoice(String),
    /// An order has more than one label.
    ShippedTwice(String),
    /// A label was bought for an order that was not paid.
    ShippedUnpaid(String),
    /// A parcel went to another address than the customer's.
    ShippedElsewhere(String),
    /// A mail was sent twice.
    MailedTwice(String),
    /// A mail was sent to an address that no request named.
    MailedElsewhere(String),
    /// An order is paid without a charge, or charged and not paid.
    PaidUnlikeCharged(String),
    /// The ledger's total differs from that of the paid orders.
    SumsDiffer(String),
    /// A label belongs to no shipped order.
    LabelsDiffer(String),
    /// An order did not reach its expected end.
    Stuck(String),
    /// A success that cannot be read back.
    Forgotten(String),
    /// A search does not find an order whose cart was answered, or finds one that it must not.
    NotFound(String),
    /// Two answers to the same request differ, or a valid request was refused.
    Contradiction(String),
    /// A dead letter whose order does not show what is due.
    HiddenDeadLetter(String),
    /// A mail that did not end, or that was given up although SES had no fault.
    MailLost(String),
    /// An agreement differs from the customer's last request.
    WrongAgreement(String),
}

/// The books of the external services, and the invoice documents.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) charges: Vec<BookedCharge>,
    pub(super) labels: Vec<BookedLabel>,
    pub(super) invoices: BTreeMap<String, Value>,
    /// The orders with a parked mail.
    pub(super) unconfirmed: BTreeSet<String>,
}

/// The observations of the external services so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The number of captures and refunds, by reference.
    moved: BTreeMap<String, (u32, u32)>,
    /// The observed refunds, with their charges' references.
    refunds: BTreeSet<(String, RefundName)>,
    labels: BTreeSet<String>,
    /// The lines to ship when the order was first seen as shipped.
    shipped: BTreeMap<OrderId, Vec<Line>>,
}

impl Watch {
    /// Checks each new movement against the order as currently stored; returns the invoices of all
    /// charges that moved.
    pub(super) async fn look(
        &mut self,
        stored: &mut Stored,
        charges: &[BookedCharge],
        labels: &[BookedLabel],
    ) -> Result<Vec<String>, Violation> {
        let mut told = Vec::new();
        for charge in charges {
            let now = (charge.captures, charge.refunds);
            let before = self.moved.insert(charge.reference.clone(), now);
            let (captures, refunds) = before.unwrap_or_default();
            if before != Some(now) {
                told.push(charge.invoice.clone());
            }
            if now == (captures, refunds) {
                continue;
            }
            let invoice = InvoiceId::parse(&charge.invoice).ok();
            let order = match invoice {
                Some(invoice) => stored.order(&invoice.order()).await,
                None => None,
            };
            let Some(order) = order else {
                return Err(Violation::PaidUnlikeCharged(format!("{charge:?}")));
            };
            if charge.captures > captures && order.status == Status::Cancelled {
                let what = format!("{charge:?} {order:?}");
                return Err(Violation::ChargedAfterCancelled(what));
            }
            for refund in charge.each.iter().filter(|refund| !refund.by_hand) {
                let name = (charge.reference.clone(), refund.name.clone());
                if !self.refunds.insert(name) {
                    continue;
                }
                let is_asked_for = match refund.name {
                    RefundName::Ours(_) => order.refund(&refund.name).is_some(),
                    RefundName::Partners(_) => {
                        matches!(order.status, Status::Refunding | Status::Cancelled)
                    }
                };
                if !is_asked_for {
                    return Err(Violation::RefundedUnasked(format!("{charge:?} {order:?}")));
                }
            }
            if charge.refunded > charge.amount * Decimal::from(charge.captures) {
                return Err(Violation::RefundedWrongly(format!("{charge:?} {order:?}")));
            }
        }
        for label in labels {
            if !self.labels.insert(label.reference.clone()) {
                continue;
            }
            let order = OrderId::parse(&label.order).ok();
            let order = match order {
                Some(order) => stored.order(&order).await,
                None => None,
            };
            let status = order.as_ref().map(|order| order.status);
            if !matches!(status, Some(Status::Paid | Status::Shipped)) {
                return Err(Violation::ShippedUnpaid(format!("{label:?} {order:?}")));
            }
            if label.address.as_deref().is_some_and(|to| to != ADDRESS) {
                return Err(Violation::ShippedElsewhere(format!("{label:?}")));
            }
        }
        Ok(told)
    }
}

impl Watch {
    /// Checks every order that is refunded. If all its money is gone, the same write that records
    /// this must stop it, unless its shipment had begun. The content of a shipment must not change.
    pub(super) async fn look_at_orders(
        &mut self,
        stored: &mut Stored,
        clients: &[Client],
    ) -> Result<(), Violation> {
        for client in clients
            .iter()
            .filter(|client| client.scenario.moves_money())
        {
            let id = client.order.as_deref().map(OrderId::parse);
            let Some(Ok(id)) = id else { continue };
            let Some(order) = stored.order(&id).await else {
                continue;
            };
            let refunds = order.refunds.iter();
            let done = refunds
                .filter(|refund| refund.state == RefundState::Answered(RefundStatus::Refunded));
            let gone: Decimal = done.map(|refund| refund.amount.decimal()).sum();
            let total = order.amounts.total.decimal();
            let is_open = order.status == Status::Paid && !order.is_being_shipped();
            if is_open && !total.is_zero() && gone >= total {
                return Err(Violation::ShipsWhatIsGone(format!("{order:?}")));
            }
            if order.status == Status::Shipped {
                let lines = order.lines_to_ship();
                let first = self.shipped.entry(id).or_insert_with(|| lines.clone());
                if *first != lines {
                    return Err(Violation::ShipmentChanged(format!("{first:?} {order:?}")));
                }
            }
        }
        Ok(())
    }
}

pub(super) async fn check(
    world: &World,
    store: &Store,
    plan: &Plan,
    clients: &[Client],
    answers: &BTreeMap<String, Reply>,
    books: &Books,
) -> Result<(), Violation> {
    if let Some(reference) = world.state().misdirected.first() {
        return Err(Violation::AskedAnotherPartner(reference.clone()));
    }
    let Books {
        charges,
        labels,
        invoices,
        unconfirmed,
    } = books;
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
        let standing = Standing::of(world, &order);
        check_charges(charges, &order, plan, standing)?;
        check_refunds(charges, &order, plan, standing)?;
        check_shown(&order, answers)?;
        check_invoice(invoices, &order, client)?;
        check_labels(labels, &order)?;
        check_end(&order, client, plan)?;
        check_answers(&order, client, answers)?;
        let is_parked = unconfirmed.contains(name);
        check_mails(world, store, plan, &order, client, is_parked).await?;
        check_agreement(store, plan, client, &order).await?;
        let state = order.payment.as_ref().map(|payment| payment.state);
        let is_owed = state == Some(ChargeState::RefundFailed);
        if is_owed || !standing.is_known() || is_out_of_reach(&order, plan) {
            let invoice = order.id.invoice().to_string();
            let own = charges.iter().filter(|charge| charge.invoice == invoice);
            paid_sum += own.map(kept).sum::<Decimal>();
        } else if is_paid(&order) {
            let refunded = order.refunded_amount().decimal();
            paid_sum += order.amounts.total.decimal() - refunded;
        }
        shipped += usize::from(order.status == Status::Shipped);
    }
    check_methods(world, plan, clients)?;
    check_addresses(world, clients)?;
    let ledger_sum: Decimal = charges.iter().map(kept).sum();
    if ledger_sum != paid_sum {
        return Err(Violation::SumsDiffer(format!(
            "ledger {ledger_sum}, orders {paid_sum}"
        )));
    }
    let remote = labels.len();
    let own = clients.len().saturating_sub(remote);
    let ships_itself = plan.change.is_some_and(|change| change.own_carrier);
    let most = if ships_itself { remote + own } else { remote };
    if !(remote..=most).contains(&shipped) {
        return Err(Violation::LabelsDiffer(format!(
            "{shipped} orders shipped, {labels:?}"
        )));
    }
    check_dead_letters(world, store).await
}

/// Whether the order's charge belongs to an account whose credentials are gone. Its state cannot be
/// read then, so the order shows it as unknown and is never charged again.
pub(super) fn is_out_of_reach(order: &Order, plan: &Plan) -> bool {
    let ours = PartnerAccount::new(PartnerName::PayPal, PayPalDouble::CLIENT);
    let account = order
        .payment
        .as_ref()
        .and_then(|payment| payment.account.as_ref());
    plan.change.is_some_and(|change| change.other_account)
        && !matches!(order.status, Status::Paid | Status::Shipped)
        && account.is_some_and(|account| *account != ours)
}

/// Whether the shop has the customer's money.
fn is_paid(order: &Order) -> bool {
    matches!(order.status, Status::Paid | Status::Shipped)
}

/// The captured amount less the refunds.
fn kept(charge: &BookedCharge) -> Decimal {
    charge.amount * Decimal::from(charge.captures) - charge.refunded
}

/// Changes to an order's charge that this service did not request.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Whether webhooks have reported all of them.
    is_heard: bool,
    /// Whether the bank reversed the charge.
    is_lost: bool,
}

impl Standing {
    fn of(world: &World, order: &Order) -> Self {
        let state = world.state();
        let invoice = order.id.invoice().to_string();
        let mut disputes = state.disputes.values();
        Self {
            is_heard: state.outside.get(&invoice) <= state.heard.get(&invoice),
            is_lost: disputes
                .any(|dispute| dispute.invoice == invoice && dispute.state == DisputeState::Lost),
        }
    }

    /// Whether the order can match the books.
    fn is_known(self) -> bool {
        self.is_heard && !self.is_lost
    }
}

/// Each refund of the order must match the books, and the books must contain no other.
fn check_refunds(
    charges: &[BookedCharge],
    order: &Order,
    plan: &Plan,
    standing: Standing,
) -> Result<(), Violation> {
    if is_out_of_reach(order, plan) {
        return Ok(());
    }
    let invoice = order.id.invoice().to_string();
    let mut taken = charges.iter();
    let taken = taken.find(|charge| charge.invoice == invoice && charge.captures > 0);
    let differ = |what: &str| {
        let text = format!("{what}: {order:?} {taken:?} {standing:?}");
        Err(Violation::RefundsDiffer(text))
    };
    let booked = taken
        .map(|charge| charge.each.as_slice())
        .unwrap_or_default();
    for refund in order.refunds.iter().filter(|refund| !refund.closes) {
        let made: Vec<_> = booked
            .iter()
            .filter(|each| each.name == refund.name)
            .collect();
        let held: Vec<_> = made.iter().filter(|each| each.holds).collect();
        let is_exact = |each: &BookedRefund| each.amount == refund.amount.decimal();
        let is_ours = matches!(refund.name, RefundName::Ours(_));
        let is_right = match &refund.state {
            RefundState::Requested | RefundState::Answered(RefundStatus::Pending) => false,
            RefundState::Answered(RefundStatus::Refunded) => match held.as_slice() {
                [one] => is_exact(one) && (refund.told.is_some() || !is_ours),
                // It has failed since, and no webhook reported it.
                [] => !standing.is_heard && made.iter().any(|each| is_exact(each)),
                _ => false,
            },
            RefundState::Answered(RefundStatus::Failed { .. }) => held.is_empty(),
        };
        if !is_right {
            return differ(&refund.name.to_string());
        }
    }
    let is_open = matches!(order.status, Status::Paid | Status::Shipped);
    for each in booked {
        let is_kept = order.refund(&each.name).is_some();
        let is_told = each.by_hand && each.holds && is_open && standing.is_heard;
        if !is_kept && (is_told || matches!(each.name, RefundName::Ours(_))) {
            return differ("one is not on the order");
        }
    }
    let state = order.payment.as_ref().map(|payment| payment.state);
    let is_owed = state == Some(ChargeState::RefundFailed);
    let refunded = taken.map(|charge| charge.refunded).unwrap_or_default();
    if standing.is_known() && !is_owed && order.refunded_amount().decimal() != refunded {
        return differ("the sums");
    }
    Ok(())
}

/// The amounts that callers see must add up.
fn check_shown(order: &Order, answers: &BTreeMap<String, Reply>) -> Result<(), Violation> {
    let Some(shown) = answers.get(&order.id.to_string()) else {
        return Ok(());
    };
    let payment = &shown.body["payment"];
    let number = |value: &Value| value.to_string().parse::<Decimal>().unwrap_or_default();
    let refunds = payment["refunds"].as_array();
    let counted = refunds.into_iter().flatten();
    let counted = counted.filter(|refund| refund["status"] != "failed");
    let sum: Decimal = counted.map(|refund| number(&refund["amount"])).sum();
    let refunded = number(&payment["refundedAmount"]);
    let is_closed = payment["state"] == "refunded" || payment["state"] == "refund_failed";
    if refunded != sum && !is_closed {
        let text = shown.text.clone();
        return Err(Violation::RefundsDiffer(text));
    }
    let units = |items: &Value| -> u64 {
        let items = items.as_array().into_iter().flatten();
        items.filter_map(|item| item["quantity"].as_u64()).sum()
    };
    let left_out = order.refunds.iter().filter(|refund| refund.unshipped);
    let left_out = left_out.flat_map(|refund| &refund.items);
    let left_out: u64 = left_out.map(|item| u64::from(item.quantity.get())).sum();
    let ordered = units(&shown.body["items"]);
    let ships = &shown.body["shippedItems"];
    let has_failed = order.refunds.iter().any(|refund| !refund.holds());
    let is_right = ships.is_null() || has_failed || units(ships) + left_out == ordered;
    if order.status == Status::Shipped && !is_right {
        return Err(Violation::RefundsDiffer(shown.text.clone()));
    }
    Ok(())
}

fn check_charges(
    charges: &[BookedCharge],
    order: &Order,
    plan: &Plan,
    standing: Standing,
) -> Result<(), Violation> {
    let invoice = order.id.invoice().to_string();
    let charges: Vec<_> = charges
        .iter()
        .filter(|charge| charge.invoice == invoice)
        .collect();
    let captures: u32 = charges.iter().map(|charge| charge.captures).sum();
    if captures > 1 {
        return Err(Violation::ChargedTwice(format!("{charges:?}")));
    }
    let is_wrong = |charge: &&BookedCharge| {
        charge.amount != order.amounts.total.decimal() || charge.currency != order.currency.code()
    };
    if charges
        .iter()
        .any(|charge| charge.captures > 0 && is_wrong(charge))
    {
        return Err(Violation::WrongAmount(format!("{charges:?}")));
    }
    if charges.iter().any(|charge| kept(charge) < Decimal::ZERO) {
        return Err(Violation::RefundedWrongly(format!("{charges:?}")));
    }
    if order.amounts.total.decimal().is_zero() {
        let payment = order.payment.as_ref();
        let is_free = payment.is_some_and(|payment| payment.state == ChargeState::Free);
        return if charges.is_empty() && is_free == is_paid(order) {
            Ok(())
        } else {
            Err(Violation::ChargedNothing(format!("{order:?} {charges:?}")))
        };
    }
    let kept: Decimal = charges.iter().map(|charge| kept(charge)).sum();
    let state = order.payment.as_ref().map(|payment| payment.state);
    let is_right = match state {
        // A refund that failed after its success left the money with the shop, and the order says
        // so.
        Some(ChargeState::RefundFailed) => captures == 1 && kept > Decimal::ZERO,
        Some(ChargeState::Refunded) => captures == 1 && kept.is_zero(),
        _ if is_paid(order) => captures == 1,
        _ => captures == 0,
    };
    let is_unheard = captures == 1 && !standing.is_known();
    if !is_right && !is_unheard && !is_out_of_reach(order, plan) {
        return Err(Violation::PaidUnlikeCharged(format!(
            "{order:?} {charges:?}"
        )));
    }
    // The order's reference must be that of the captured charge.
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

/// The document must have the order's amounts, and both must be in a currency of the shops that
/// answered.
fn check_invoice(
    invoices: &BTreeMap<String, Value>,
    order: &Order,
    client: &Client,
) -> Result<(), Violation> {
    let currency = order.currency.code();
    for (place, asked) in &client.currencies {
        let is_done = client.answers.get(place);
        let is_done = is_done.is_some_and(|(status, _)| *status < 300);
        if is_done && !asked.contains(currency) {
            return Err(Violation::WrongAmount(format!("{asked:?} {order:?}")));
        }
    }
    if order.invoice().is_none() {
        return Ok(());
    }
    let document = invoices.get(&order.id.invoice().to_string());
    let Some(document) = document else {
        return Err(Violation::WrongInvoice(format!("none: {order:?}")));
    };
    let amounts = &order.amounts;
    let expected = [
        ("total", amounts.total),
        ("tax", amounts.tax),
        ("subTotal", amounts.sub_total),
    ];
    let is_right = expected.iter().all(|(field, amount)| {
        let stored = document[*field]["N"].as_str();
        stored.and_then(|text| text.parse().ok()) == Some(amount.decimal())
    });
    let is_right = is_right
        && document["currency"]["S"] == currency
        && document["contact"]["M"]["shippingAddress"]["S"] == ADDRESS;
    if is_right {
        Ok(())
    } else {
        Err(Violation::WrongInvoice(format!("{document} {order:?}")))
    }
}

fn check_labels(labels: &[BookedLabel], order: &Order) -> Result<(), Violation> {
    let id = order.id.to_string();
    let labels: Vec<_> = labels.iter().filter(|label| label.order == id).collect();
    if labels.len() > 1 {
        return Err(Violation::ShippedTwice(format!("{order:?} {labels:?}")));
    }
    let shipment = order.shipment.as_ref();
    let is_own = shipment.is_some_and(|shipment| shipment.carrier == "own");
    if is_own {
        // No other carrier has the parcel, or is about to.
        return match order.parcel {
            None if labels.is_empty() => Ok(()),
            _ => Err(Violation::ShippedTwice(format!("{order:?} {labels:?}"))),
        };
    }
    // The order's parcel and tracking number must be those of the label.
    let booked = labels
        .first()
        .map(|label| (label.reference.as_str(), label.tracking_number.as_str()));
    let recorded = order.parcel.as_ref().zip(shipment);
    let recorded = recorded.map(|(parcel, shipment)| {
        let number = shipment.tracking_number.as_str();
        (parcel.reference.as_str(), number)
    });
    if order.status == Status::Shipped && booked != recorded {
        return Err(Violation::ShippedTwice(format!("{order:?} {labels:?}")));
    }
    if !labels.is_empty() && !is_paid(order) {
        return Err(Violation::ShippedUnpaid(format!("{order:?}")));
    }
    Ok(())
}

/// The order must be shipped, declined, or visibly waiting.
fn check_end(order: &Order, client: &Client, plan: &Plan) -> Result<(), Violation> {
    let state = order.payment.as_ref().map(|payment| payment.state);
    let is_shipped = order.status == Status::Shipped && order.due.is_none();
    let is_cancelled = order.status == Status::Cancelled && order.due.is_none();
    let is_declined = state == Some(ChargeState::Declined) && order.due.is_none();
    let waits = state == Some(ChargeState::ActionRequired) && order.due.is_some();
    let acts = || client.scenario.acts.iter().flatten().map(|(_, act)| *act);
    let has_agreements = plan.has_agreements();
    let is_paid_back = order.is_paid_back() && order.due.is_none();
    let pays_on_page = acts().any(|act| act == Act::PayOnPage);
    let revokes = has_agreements && acts().any(|act| act == Act::Revoke);
    let uses_bad = has_agreements && acts().any(|act| act == Act::Approve(Method::Bad));
    let customer = client.scenario.customer;
    let may_expire = plan.may_expire() && (waits_for_customer(customer) || revokes || uses_bad);
    let change = plan.change.as_ref();
    let days_changed = change.is_some_and(|change| change.unpaid.is_some());
    let ended = match customer {
        _ if is_out_of_reach(order, plan) => true,
        _ if client.wants_cancelled() && is_cancelled => true,
        _ if client.scenario.moves_money() && is_paid_back => true,
        _ if order.is_expired() => may_expire && is_cancelled,
        _ if plan.surely_expires() && (is_declined || waits) => false,
        // An instance whose orders expire closed the charge and died, and now no order expires.
        _ if may_expire && days_changed && is_declined => true,
        // A changed parameter kept the client from continuing.
        _ if client.is_disturbed && order.due.is_none() => true,
        _ if uses_bad && is_declined => true,
        _ if revokes && waits => true,
        // With a real client the payment method decides, and the customer may have approved a valid
        // one.
        "declined" if plan.partner.is_some() && is_shipped => acts().next().is_some(),
        "declined" | "pending-then-declined" => is_declined || (pays_on_page && is_shipped),
        // At PayPal, an order that the customer does not approve expires.
        "must-act" if is_declined && plan.protocols().any(|each| each == Protocol::Orders) => true,
        "must-act" => waits || (pays_on_page && is_shipped),
        "declined-once" => is_shipped || is_declined,
        _ => is_shipped,
    };
    if ended {
        Ok(())
    } else {
        Err(Violation::Stuck(format!("{order:?} {:?}", client.answers)))
    }
}

/// Whether an order of that customer may wait for the customer. It does not while the partner
/// settles its charge later.
fn waits_for_customer(customer: &str) -> bool {
    matches!(
        customer,
        "declined" | "declined-once" | "pending-then-declined" | "must-act" | "acts-later"
    )
}

/// No charge used a payment method that was revoked before the charging function began.
fn check_methods(world: &World, plan: &Plan, clients: &[Client]) -> Result<(), Violation> {
    let state = world.state();
    if !plan.has_agreements() {
        return Ok(());
    }
    let customer_of = |invoice: &str| {
        let mut clients = clients.iter();
        let client = clients.find(|client| {
            let order = client.order.as_deref().map(OrderId::parse);
            order.is_some_and(|order| order.is_ok_and(|id| id.invoice().to_string() == invoice))
        });
        client.map(Client::customer)
    };
    // A charge without an agreement has no method.
    let by_method = state.takings.iter().filter(|taking| taking.method != "any");
    for taking in by_method {
        let sayings = customer_of(&taking.invoice).and_then(|each| state.sayings.get(&each));
        let mut sayings = sayings.map(Vec::as_slice).unwrap_or_default().iter();
        let may_be_charged = sayings.any(|saying| {
            saying.method.as_deref() == Some(&taking.method)
                && saying.until.is_none_or(|until| until >= taking.asked_since)
        });
        if !may_be_charged {
            let what = format!("{taking:?} {:?}", state.sayings);
            return Err(Violation::ChargedAnotherMethod(what));
        }
    }
    Ok(())
}

/// Every mail went to an address that a request named.
fn check_addresses(world: &World, clients: &[Client]) -> Result<(), Violation> {
    let state = world.state();
    for mail in state.mails.keys() {
        let is_known = clients.iter().any(|client| {
            let friend = format!("friend-{}@example.com", client.number);
            let has_friend = client.scenario.mailing == Some(Mailing::Friend);
            mail.to == client.email() || (has_friend && mail.to == friend)
        });
        if !is_known {
            return Err(Violation::MailedElsewhere(format!("{mail:?}")));
        }
    }
    Ok(())
}

/// The customer's last answered request is in force.
async fn check_agreement(
    store: &Store,
    plan: &Plan,
    client: &Client,
    order: &Order,
) -> Result<(), Violation> {
    let partner = match (plan.partner, plan.protocol) {
        (Some(partner), _) => partner,
        (None, Protocol::Everybody) => return Ok(()),
        (None, Protocol::Intents) => PartnerName::Stripe,
        (None, Protocol::Orders) => PartnerName::PayPal,
    };
    let mut acts = client.scenario.acts.iter().flatten();
    let Some((_, last)) = acts.rfind(|(_, act)| *act != Act::PayOnPage) else {
        return Ok(());
    };
    let holds = store.approved_agreement(&order.customer, partner).await;
    let holds = holds.ok().flatten();
    let holds = holds.map(|agreement| agreement.payment_method.as_str().to_owned());
    let is_right = match last {
        Act::Revoke => holds.is_none(),
        Act::Approve(method) => holds.is_some_and(|holds| {
            holds.contains(match method {
                Method::Good => {
                    if plan.partner == Some(PartnerName::Stripe) {
                        "visa"
                    } else {
                        "good"
                    }
                }
                Method::Other => {
                    if plan.partner == Some(PartnerName::Stripe) {
                        "mastercard"
                    } else {
                        "other"
                    }
                }
                Method::Bad => {
                    if plan.partner == Some(PartnerName::Stripe) {
                        "Declined"
                    } else {
                        "bad"
                    }
                }
            })
        }),
        Act::PayOnPage => true,
    };
    if is_right {
        Ok(())
    } else {
        let acts = &client.scenario.acts;
        Err(Violation::WrongAgreement(format!(
            "{acts:?} {}",
            order.customer.as_str()
        )))
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
            // A mail's answer identifies nothing.
            "/api/order/shipping.json" if answer["status"] == "OK" => true,
            "/api/order/shipping.json" => answer["tracking_number"] == now.body["tracking_number"],
            "/api/order/cart.json" => answer["orderId"] == now.body["orderId"],
            REFUND => {
                let refunds = now.body["payment"]["refunds"].as_array();
                let mut refunds = refunds.into_iter().flatten();
                refunds.any(|refund| {
                    refund["refundId"] == answer["refundId"] && refund["amount"] == answer["amount"]
                })
            }
            _ => true,
        };
        if !is_kept {
            return forgotten(path, text);
        }
    }
    // The invoice must have the amounts in the answer to the cart or its last update.
    if client.total != now.body["totalAmount"] {
        return forgotten("the cart", &client.total.to_string());
    }
    Ok(())
}

async fn check_mails(
    world: &World,
    store: &Store,
    plan: &Plan,
    order: &Order,
    client: &Client,
    is_parked: bool,
) -> Result<(), Violation> {
    let mails = world.state().mails.clone();
    if let Some((mail, _)) = mails.iter().find(|(_, count)| **count > 1) {
        return Err(Violation::MailedTwice(format!("{mail:?}")));
    }
    let to = |address: &str| {
        let mails = mails.keys().filter(|mail| mail.to == address);
        mails.count()
    };
    // The outcome of a mail cannot be recorded while its row refuses every try.
    let are_written =
        (world.state().refused_mail_writes.values()).all(|count| *count < super::database::TRIES);
    let is_spared = plan.spares_mails() && are_written;
    // A promised mail must be accepted, unless SES may have lost it.
    for promised in &client.promised {
        if to(promised) != 1 && (is_spared || !is_parked) {
            return Err(Violation::MailLost(format!("to {promised}: {mails:?}")));
        }
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
    let mut sent = 0;
    for topic in order.mail_topics() {
        let id = email_id(&order.id, topic);
        let lost = |state: Option<&EmailState>| {
            Err(Violation::MailLost(format!("{id}: {state:?} {order:?}")))
        };
        match states.get(&topic) {
            Some(EmailState::Sent) => sent += 1,
            // After a lost answer or a crash, it cannot be known whether SES accepted it.
            Some(EmailState::Unconfirmed) if !is_spared => {}
            // No request gave an address of this order that SES rejects.
            state => return lost(state),
        }
    }
    // Mails that count as sent must have been accepted.
    if to(&client.email()) < sent {
        let what = format!("{sent} sent to {}, but {mails:?}", client.email());
        return Err(Violation::MailLost(what));
    }
    Ok(())
}

/// Every dead letter must be about something that has since happened, or its order must show what
/// is due.
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
            Queue::Billing => order.status != Status::Pending,
            Queue::Payment => {
                !matches!(order.status, Status::Invoiced | Status::Refunding)
                    || order
                        .payment
                        .as_ref()
                        .is_some_and(|p| p.state == ChargeState::Declined)
            }
            Queue::Shipment => order.status != Status::Paid,
            Queue::Email => match message.map(|message| message.kind) {
                Some(MessageKind::Event(kind)) => {
                    let mut topics = order.mail_topics().filter(|topic| topic.event == kind);
                    topics.all(|topic| emails.get(&topic).is_some_and(EmailState::is_final))
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
