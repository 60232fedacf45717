//! Which queue receives which event.

use domain::{EventType, MailTopic, Order};
use futures_util::future::join_all;
use messages::Message;
use messages::queue::{EventQueue, Queue, QueueError};

/// A message and its queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dispatch {
    pub(crate) queue: Queue,
    pub(crate) message: Message,
}

/// The messages about the event `kind` of `order`.
pub(crate) fn dispatches(order: &Order, kind: EventType) -> Vec<Dispatch> {
    let next = match kind {
        EventType::CartUpdated => order.checkout.then_some(Queue::Billing),
        EventType::InvoiceCreated => Some(Queue::Payment),
        EventType::PaymentProcessed => Some(Queue::Shipment),
        EventType::RefundRequested => Some(Queue::Payment),
        EventType::OrderShipped
        | EventType::ParcelOutForDelivery
        | EventType::ParcelAvailableForPickup
        | EventType::ParcelDelivered
        | EventType::ParcelReturned
        | EventType::PaymentRefunded
        | EventType::OrderCancelled => None,
    };
    let step = next.and_then(|queue| {
        Some(Dispatch {
            queue,
            message: Message::of_order(order, kind)?,
        })
    });
    // One write may carry two events: a refund and the cancellation that it completes.
    let version = order.events.get(&kind).map(|record| record.version);
    let together = order
        .mail_topics()
        .filter(|topic| order.told_at(topic) == version);
    let mails = together.filter_map(|topic| mail_dispatch(order, topic));
    step.into_iter().chain(mails).collect()
}

/// The message that makes the payment worker continue an order's open refunds.
pub(crate) fn refund_dispatch(order: &Order) -> Option<Dispatch> {
    Some(Dispatch {
        queue: Queue::Payment,
        message: Message::of_order(order, EventType::RefundRequested)?,
    })
}

/// The message that makes the payment worker ask for the pending refund of a cancelled order.
pub(crate) fn closing_refund_dispatch(order: &Order) -> Option<Dispatch> {
    let cancelled = order.events.get(&EventType::OrderCancelled)?;
    let id = order.event_id(cancelled.version);
    Some(Dispatch {
        queue: Queue::Payment,
        message: Message::about_charge(order, id, cancelled.at),
    })
}

/// The message that requests the mail about this topic; `None` if the order has no address.
pub(crate) fn mail_dispatch(order: &Order, topic: MailTopic) -> Option<Dispatch> {
    Some(Dispatch {
        queue: Queue::Email,
        message: Message::mail_of_order(order, topic)?,
    })
}

/// Sends the messages to their queues concurrently; returns the queues that refused theirs.
pub(crate) async fn send(
    queues: &impl EventQueue,
    dispatches: &[Dispatch],
) -> Vec<(Queue, QueueError)> {
    let sends = Queue::ALL.map(|queue| Box::pin(send_to(queues, queue, dispatches)));
    join_all(sends).await.into_iter().flatten().collect()
}

async fn send_to(
    queues: &impl EventQueue,
    queue: Queue,
    dispatches: &[Dispatch],
) -> Option<(Queue, QueueError)> {
    let messages: Vec<Message> = dispatches
        .iter()
        .filter(|dispatch| dispatch.queue == queue)
        .map(|dispatch| dispatch.message.clone())
        .collect();
    if messages.is_empty() {
        return None;
    }
    if let Err(error) = queues.send(queue, &messages).await {
        return Some((queue, error));
    }
    for message in &messages {
        let order_id = message.order.map(|order| order.to_string());
        tracing::info!(?queue, event_id = message.id, order_id, "published");
    }
    None
}
