//! Shows an order, finds orders, and shows that the API is available.
//!
//! `GET /api/order/{orderId}`, `GET /api/orders`, `GET /api/health`

mod cursor;
mod search;

use std::collections::BTreeMap;

use domain::{
    ChargeState, Dispute, EventType, MailTopic, Money, NextAction, Order, OrderId, OrderReference,
    PartnerName, Refund, RefundName, Text, TrackingNumber,
};
use platform::runtime::Runtime;
use serde::Serialize;
use serde_json::Number;
use service::error::{Error, Missing};
use service::http::{Answer, Call, Caller, ItemBody, NextActionBody, Route, item_bodies};
use service::lambda::Function;
use store::{EmailState, Store};

/// The order service.
#[derive(Clone, Debug)]
pub struct Orders {
    store: Store,
    runtime: Runtime,
}

/// The summary of an order, as shown alone and in a search.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SummaryBody<'a> {
    order_id: String,
    customer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    status: &'static str,
    currency: &'a str,
    tax: Number,
    sub_total_amount: Number,
    total_amount: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice_id: Option<String>,
}

impl<'a> SummaryBody<'a> {
    fn from_order(order: &'a Order) -> Self {
        let metadata = order.metadata.iter();
        Self {
            order_id: order.id.to_string(),
            customer_id: order.customer.as_str(),
            reference: order.reference.as_ref().map(OrderReference::as_str),
            metadata: metadata.map(|(key, text)| (key, text.as_str())).collect(),
            status: order.status.as_str(),
            currency: order.currency.code(),
            tax: order.amounts.tax.to_amount_json(),
            sub_total_amount: order.amounts.sub_total.to_amount_json(),
            total_amount: order.amounts.total.to_amount_json(),
            invoice_id: order.invoice().map(|invoice| invoice.to_string()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderBody<'a> {
    #[serde(flatten)]
    summary: SummaryBody<'a>,
    items: Vec<ItemBody<'a>>,
    /// The shipped items, if refunds took some items off the shipment.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipped_items: Option<Vec<ItemBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<PaymentBody<'a>>,
    #[serde(rename = "tracking_number", skip_serializing_if = "Option::is_none")]
    tracking_number: Option<TrackingNumber>,
    /// The URL of the label; for the back end only.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_url: Option<&'a str>,
    /// Why the carrier refused the parcel, until it accepts this parcel or another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_refusal: Option<ShippingRefusalBody<'a>>,
    /// The delivery state of the parcel, once the carrier has reported one.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryBody>,
    /// Why the order was cancelled, if a reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<&'a str>,
    emails: Vec<EmailBody>,
    timeline: Vec<TimelineBody>,
    /// The next step, if the order is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DueBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentBody<'a> {
    state: &'static str,
    attempt: u32,
    /// The partner of the charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<&'static str>,
    /// The partner's ID of the charge.
    reference: Option<&'a str>,
    transaction_id: Option<u64>,
    brand: Option<&'a str>,
    last_digits: Option<&'a str>,
    /// Why the payment waits for the customer, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    /// The action that the customer must take before the charge can continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<NextActionBody<'a>>,
    /// The state of the refund, unless it completed immediately.
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundBody<'a>>,
    /// The amount that was refunded or is on its way, if there is a refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded_amount: Option<Number>,
    /// All refunds, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refunds: Vec<NamedRefundBody<'a>>,
    /// The dispute of the charge. With several disputes, the most important one.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispute: Option<DisputeBody>,
    /// All disputes, the most important first, if there are two or more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disputes: Vec<NamedDisputeBody<'a>>,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    state: &'static str,
    /// The partner's code, if the refund failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// When the service requested the state from the partner.
    at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedRefundBody<'a> {
    refund_id: String,
    amount: Number,
    status: &'static str,
    /// The partner's code, if the refund failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// `shop` for a request to this service, `partner` for a refund that was made at the partner.
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<RefundedItemBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// When it was requested, or first seen at the partner.
    at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefundedItemBody<'a> {
    product_id: &'a str,
    quantity: u32,
}

impl<'a> NamedRefundBody<'a> {
    fn from_refund(refund: &'a Refund) -> Self {
        let items = refund.items.iter().map(|item| RefundedItemBody {
            product_id: item.product_id.as_str(),
            quantity: item.quantity.get(),
        });
        Self {
            refund_id: refund.name.to_string(),
            amount: refund.amount.to_amount_json(),
            status: refund.state.as_str(),
            code: refund.state.code(),
            source: match refund.name {
                RefundName::Ours(_) => "shop",
                RefundName::Partners(_) => "partner",
            },
            items: items.collect(),
            reason: refund.reason.as_ref().map(Text::as_str),
            at: refund.at.to_string(),
        }
    }
}

#[derive(Serialize)]
struct DisputeBody {
    state: &'static str,
    /// When the state changed, by the partner's clock if known, otherwise by this service's.
    at: String,
}

#[derive(Serialize)]
struct NamedDisputeBody<'a> {
    /// The partner's ID of the dispute.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(flatten)]
    dispute: DisputeBody,
    /// When this service first recorded this state.
    since: String,
}

impl DisputeBody {
    fn from_dispute(dispute: &Dispute) -> Self {
        Self {
            state: dispute.state.as_str(),
            at: dispute.at.to_string(),
        }
    }
}

#[derive(Serialize)]
struct ShippingRefusalBody<'a> {
    /// The carrier's code, or this service's.
    code: &'a str,
    at: String,
}

#[derive(Serialize)]
struct DeliveryBody {
    state: &'static str,
    /// When the state changed, by the carrier's clock.
    at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmailBody {
    event: &'static str,
    /// The partial refund that the mail is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<String>,
    status: &'static str,
}

#[derive(Serialize)]
struct TimelineBody {
    event: &'static str,
    at: String,
}

#[derive(Serialize)]
struct DueBody {
    step: &'static str,
    /// When the sweep next checks the order.
    at: String,
    /// How many times the sweep has checked the order.
    tries: u32,
}

impl Orders {
    /// Builds the service over its store.
    #[must_use]
    pub fn new(store: Store, runtime: Runtime) -> Self {
        Self { store, runtime }
    }
}

fn disputes(disputes: &[Dispute]) -> Vec<NamedDisputeBody<'_>> {
    if disputes.len() < 2 {
        return Vec::new();
    }
    let named = disputes.iter().map(|dispute| NamedDisputeBody {
        id: dispute.id.as_deref(),
        dispute: DisputeBody::from_dispute(dispute),
        since: dispute.since.to_string(),
    });
    named.collect()
}

/// The action that the customer must take at the partner, as far as the caller may read it.
fn next_action(order: &Order, caller: &Caller) -> Option<NextAction> {
    let payment = order.payment.as_ref()?;
    let action = payment.next_action.clone();
    let action = action.filter(|_| payment.state == ChargeState::ActionRequired)?;
    Some(if caller.only().is_none() {
        action
    } else {
        action.for_customer()
    })
}

fn payment<'a>(order: &'a Order, next_action: Option<&'a NextAction>) -> Option<PaymentBody<'a>> {
    let payment = order.payment.as_ref()?;
    let card = payment.charge.as_ref().map(|charge| &charge.card);
    let decline = payment
        .declines
        .last()
        .filter(|_| payment.state == ChargeState::Declined);
    let reason = payment
        .wait_reason
        .filter(|_| payment.state == ChargeState::ActionRequired);
    Some(PaymentBody {
        state: payment.state.as_str(),
        attempt: payment.attempt,
        partner: payment.partner.as_ref().map(PartnerName::as_str),
        reference: payment.reference.as_deref(),
        transaction_id: payment.charge.as_ref().map(|charge| charge.transaction_id),
        brand: card.and_then(|card| card.brand.as_deref()),
        last_digits: card.and_then(|card| card.last_digits.as_deref()),
        reason: reason.map(Into::into),
        decline_code: decline.map(|decline| decline.code.as_str()),
        retryable: decline.map(|decline| decline.retryable),
        next_action: next_action.and_then(NextActionBody::from_action),
        refund: payment.refund.as_ref().map(|refund| RefundBody {
            state: refund.status.as_str(),
            code: refund.status.code(),
            at: refund.at.to_string(),
        }),
        refunded_amount: refunded_amount(order),
        refunds: order
            .refunds
            .iter()
            .map(NamedRefundBody::from_refund)
            .collect(),
        dispute: order.disputes.first().map(DisputeBody::from_dispute),
        disputes: disputes(&order.disputes),
    })
}

/// Shown to the back end only: a label shows the name and the address, and whoever has it can use
/// it.
fn label_url<'a>(call: &Call, order: &'a Order) -> Option<&'a str> {
    let shipment = order.shipment.as_ref()?;
    let is_backend = call.caller.only().is_none();
    shipment.label_url.as_deref().filter(|_| is_backend)
}

/// The refunded amount, if a refund is known.
fn refunded_amount(order: &Order) -> Option<Number> {
    let amount = order.refunded_amount();
    let is_known = !order.refunds.is_empty() || amount != Money::ZERO;
    is_known.then(|| amount.to_amount_json())
}

/// The items to ship, if refunds took some of the order's items off the shipment.
fn shipped_items(order: &Order) -> Option<Vec<ItemBody<'_>>> {
    let is_smaller = order.refunds.iter().any(|refund| refund.unshipped);
    is_smaller.then(|| {
        let left = order.lines_to_ship();
        let places = left.iter().filter_map(|line| {
            let mut lines = order.lines.iter();
            let own =
                lines.find(|own| own.product_id == line.product_id && own.price == line.price)?;
            Some(ItemBody::of(own, line.quantity))
        });
        places.collect()
    })
}

fn emails(order: &Order, states: impl Fn(MailTopic) -> Option<EmailState>) -> Vec<EmailBody> {
    if order.email().is_none() {
        return Vec::new();
    }
    let topics = order.mail_topics();
    topics
        .map(|topic| EmailBody {
            event: topic.event.as_str(),
            refund_id: topic.refund.map(|refund| refund.to_string()),
            status: states(topic).unwrap_or(EmailState::Queued).as_str(),
        })
        .collect()
}

fn timeline(order: &Order) -> Vec<TimelineBody> {
    let mut records: Vec<_> = order.events.iter().collect();
    records.sort_by_key(|(_, record)| record.version);
    let event = |(kind, record): (&EventType, &domain::EventRecord)| TimelineBody {
        event: kind.as_str(),
        at: record.at.to_string(),
    };
    records.into_iter().map(event).collect()
}

impl Function for Orders {
    const ROUTES: &'static [Route] = &[Route::Order, Route::Orders, Route::Health];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        match call.route() {
            Route::Orders => self.find(&call).await,
            _ => self.show(&call).await,
        }
    }
}

impl Orders {
    async fn show(&self, call: &Call) -> Result<Answer, Error> {
        let missing = || Error::NotFound(Missing::Order);
        let id = OrderId::parse(call.last_segment()).map_err(|_| missing())?;
        let (order, states) = self
            .store
            .order_and_emails(&id)
            .await?
            .ok_or_else(missing)?;
        call.caller.check(&order.customer, Missing::Order)?;
        let next_action = next_action(&order, &call.caller);
        Answer::ok(&OrderBody {
            summary: SummaryBody::from_order(&order),
            items: item_bodies(&order.lines),
            shipped_items: shipped_items(&order),
            payment: payment(&order, next_action.as_ref()),
            tracking_number: order
                .shipment
                .as_ref()
                .map(|shipment| shipment.tracking_number.clone()),
            label_url: label_url(call, &order),
            shipping_refusal: order
                .shipping_refusal
                .as_ref()
                .map(|refusal| ShippingRefusalBody {
                    code: &refusal.code,
                    at: refusal.at.to_string(),
                }),
            delivery: order.delivery.map(|delivery| DeliveryBody {
                state: delivery.state.as_str(),
                at: delivery.at.to_string(),
            }),
            cancel_reason: order.cancel_reason.as_ref().map(Text::as_str),
            emails: if self.store.sends_mails() {
                emails(&order, |topic| states.get(&topic).copied())
            } else {
                Vec::new()
            },
            timeline: timeline(&order),
            due: order.due.map(|due| DueBody {
                step: due.step.as_str(),
                at: due.at.to_string(),
                tries: due.tries,
            }),
        })
    }
}
