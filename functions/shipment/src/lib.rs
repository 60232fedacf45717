//! Ships paid orders, once each.
//!
//! `POST /api/order/shipping.json`, or by itself when `PaymentProcessed` arrives; event
//! `OrderShipped`. A body with `event` is a request for a mail and goes to the email queue.

pub mod carriers;
mod request;

use serde::Serialize;
use shared::domain::{Command, Contact, Order, OrderId, Refusal, Shipment, Status};
use shared::error::{Dependency, Error, Missing};
use shared::event::Message;
use shared::http::{Answer, Call, MailRequest};
use shared::lambda::{Consumed, Function};
use shared::queue::{EventQueue, Queue};
use shared::runtime::Runtime;
use shared::store::{Shipping, Store};

use carriers::{Carrier, Parcel};
use request::ShippingRequest;

/// The shipment service.
#[derive(Clone, Debug)]
pub struct Shipments<C, Q> {
    store: Store,
    carrier: C,
    queue: Q,
    runtime: Runtime,
}

/// What the seed answers.
#[derive(Serialize)]
struct TrackingBody {
    tracking_number: u64,
}

#[derive(Serialize)]
struct MailTakenBody {
    status: &'static str,
}

impl<C: Carrier, Q: EventQueue> Shipments<C, Q> {
    /// The service over its store, its carrier and the email queue.
    #[must_use]
    pub fn new(store: Store, carrier: C, queue: Q, runtime: Runtime) -> Self {
        Self {
            store,
            carrier,
            queue,
            runtime,
        }
    }

    /// Ships the order unless it is shipped. The number is the one that was recorded first.
    async fn ship(&self, order: &Order, contact: &Contact) -> Result<Shipment, Error> {
        match order.status.apply(Command::Ship) {
            Ok(_) => {}
            Err(Refusal::AlreadyDone) => return recorded(order),
            Err(Refusal::TooEarly | Refusal::TooLate) => return Err(not_paid(order.status)),
        }
        let parcel = Parcel {
            order: order.id,
            name: contact.name.clone(),
            phone: contact.phone.clone(),
            shipping_address: contact.shipping_address.clone(),
        };
        let tracking_number =
            self.carrier
                .take(&parcel)
                .await
                .map_err(|error| Error::Unavailable {
                    dependency: Dependency::Carrier,
                    source: error.into(),
                })?;
        let shipment = Shipment {
            tracking_number,
            carrier: self.carrier.name().to_owned(),
            name: parcel.name,
            phone: parcel.phone,
            shipping_address: parcel.shipping_address,
        };
        match self
            .store
            .ship(order, &shipment, self.runtime.now())
            .await?
        {
            Shipping::Shipped(order) => {
                tracing::info!(order_id = %order.id, "order shipped");
                recorded(&order)
            }
            Shipping::Refused(status) => Err(not_paid(status)),
            Shipping::NotFound => Err(Error::NotFound(Missing::Order)),
        }
    }

    async fn find(&self, id: &OrderId) -> Result<Order, Error> {
        self.store
            .order(id)
            .await?
            .ok_or(Error::NotFound(Missing::Order))
    }

    async fn queue_mail(&self, call: &Call, request: MailRequest) -> Result<Answer, Error> {
        let message = request
            .into_message(call, &self.store, &self.runtime)
            .await?;
        self.queue.send(Queue::Email, &[message]).await?;
        Answer::ok(&MailTakenBody { status: "OK" })
    }
}

fn recorded(order: &Order) -> Result<Shipment, Error> {
    let shipment = order.shipment.clone();
    shipment.ok_or_else(|| Error::Internal("a shipped order has no shipment".into()))
}

fn not_paid(status: Status) -> Error {
    Error::WrongState {
        status,
        detail: "it can be shipped only once it is paid",
    }
}

impl<C: Carrier, Q: EventQueue + 'static> Function for Shipments<C, Q> {
    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (id, contact) = match ShippingRequest::read(call.body()?)? {
            ShippingRequest::Ship { order, contact } => (order, contact),
            ShippingRequest::Mail(request) => return self.queue_mail(&call, request).await,
        };
        call.claim_key(&self.store, "shipping", self.runtime.now())
            .await?;
        let order = self.find(&id.or_missing(Missing::Order)?).await?;
        call.caller.check(&order.customer, Missing::Order)?;
        let shipment = self.ship(&order, &contact).await?;
        let body = TrackingBody {
            tracking_number: shipment.tracking_number,
        };
        Answer::created(&body, format!("/api/order/{}", order.id))
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        let id = message.order.ok_or(Error::NotFound(Missing::Order))?;
        let order = self.find(&id).await?;
        let Some(contact) = &order.contact else {
            return Err(not_paid(order.status));
        };
        match self.ship(&order, contact).await {
            Ok(_) => Ok(Consumed::Done),
            Err(Error::WrongState { .. }) => Ok(Consumed::NotYet),
            Err(error) => Err(error),
        }
    }
}
