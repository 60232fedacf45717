//! Ships paid orders, once each.
//!
//! With a remote carrier, the service *registers* the parcel without buying anything, stores its
//! reference once, and *buys* the label of that reference. After a crash the next worker finds the
//! reference and looks the parcel up.
//!
//! `POST /api/order/shipping.json`, or automatically on `PaymentProcessed`; event `OrderShipped`. A
//! body with `event` requests a mail instead: the service records it in the ledger and sends it to
//! the email queue. When a carrier reports news of a parcel, the service requests its current
//! state.

pub mod carriers;
mod delivery;
mod request;

use domain::{
    Command, Contact, DueStep, OpenParcel, Order, OrderId, Refusal, Shipment, Status,
    TrackingNumber,
};
use messages::queue::{EventQueue, Queue};
use messages::{Message, MessageKind};
use platform::runtime::Runtime;
use serde::Serialize;
use service::claims::claim_key;
use service::error::{Counterpart, Dependency, Error, Missing, Outcome};
use service::http::{Answer, Call, MailRequest, Route};
use service::lambda::{Consumed, Function, count_dependency};
use store::{Promise, Shipping, Store, StoreError};

use carriers::{Carrier, CarrierError, Opened, Parcel, Worth};
use request::ShippingRequest;

/// Scope of idempotency keys, for both shipments and mails.
const ENDPOINT: &str = "shipping";

/// The shipment service.
#[derive(Clone, Debug)]
pub struct Shipments<C, Q> {
    store: Store,
    carrier: C,
    queue: Q,
    runtime: Runtime,
}

/// How often an order that changes concurrently is read again.
const TRIES: u32 = 4;

/// Outcome of one try to ship.
enum Step {
    /// The order is shipped.
    Done(Box<Shipment>),
    /// The order has changed: retry with this one.
    Again(Box<Order>),
}

/// The answer's body, as the contract defines it.
#[derive(Serialize)]
struct TrackingBody {
    tracking_number: TrackingNumber,
}

#[derive(Serialize)]
struct MailTakenBody {
    status: &'static str,
}

impl<C: Carrier, Q: EventQueue> Shipments<C, Q> {
    /// Builds the service over its store, carrier, and email queue.
    #[must_use]
    pub fn new(store: Store, carrier: C, queue: Q, runtime: Runtime) -> Self {
        Self {
            store,
            carrier,
            queue,
            runtime,
        }
    }

    /// Ships the order unless it is already shipped. The first recorded tracking number wins. If
    /// the order changes concurrently, the service continues with the changed order.
    async fn ship(&self, mut order: Order, contact: &Contact) -> Result<Shipment, Error> {
        for _ in 0..TRIES {
            match self.try_to_ship(order, contact).await? {
                Step::Done(shipment) => return Ok(*shipment),
                Step::Again(changed) => order = *changed,
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn try_to_ship(&self, order: Order, contact: &Contact) -> Result<Step, Error> {
        match order.status.apply(Command::Ship) {
            Ok(_) => {}
            Err(Refusal::AlreadyDone) => return recorded(&order),
            Err(Refusal::TooEarly) => return Err(not_paid(order.status)),
            Err(Refusal::TooLate) => {
                return Err(Error::WrongState {
                    status: order.status,
                    detail: "it can no longer be shipped",
                });
            }
        }
        if order.parcel.is_some() {
            // A previous worker registered the parcel. Its label may already be bought.
            return self.buy(order, true).await;
        }
        let parcel = Parcel {
            order: order.id,
            name: contact.name.clone(),
            phone: contact.phone.clone(),
            shipping_address: contact.shipping_address.clone(),
            worth: Worth {
                amount: order.amounts.total,
                currency: order.currency,
            },
        };
        match self.carrier.open(&parcel).await.map_err(carrier_failed)? {
            Opened::Labelled(label) => {
                let shipment = Shipment {
                    tracking_number: label.tracking_number,
                    label_url: label.url,
                    carrier: self.carrier.name().to_owned(),
                    name: parcel.name,
                    phone: parcel.phone,
                    shipping_address: parcel.shipping_address,
                };
                self.finish(&order, &shipment).await
            }
            Opened::Registered(reference) => {
                let parcel = OpenParcel {
                    reference,
                    carrier: self.carrier.name().to_owned(),
                    name: parcel.name,
                    phone: parcel.phone,
                    shipping_address: parcel.shipping_address,
                };
                match self.store.open_parcel(&order.id, &parcel).await? {
                    Shipping::Open(order) => {
                        // Another worker's reference may already have its label.
                        let is_ours = order.parcel.as_ref() == Some(&parcel);
                        let shipped = self.buy(*order, !is_ours).await;
                        // Once the reference is stored, the request has taken effect.
                        shipped.map_err(Error::after_an_effect)
                    }
                    Shipping::Shipped(order) => recorded(&order),
                    Shipping::Refused(status) => Err(not_paid(status)),
                    Shipping::NotFound => Err(Error::NotFound(Missing::Order)),
                }
            }
        }
    }

    /// Buys the label of the order's parcel unless it is already bought. Only the carrier that
    /// registered the parcel knows its reference; no other is called.
    async fn buy(&self, order: Order, may_be_bought: bool) -> Result<Step, Error> {
        let Some(parcel) = &order.parcel else {
            return Err(Error::Internal("an open parcel has no reference".into()));
        };
        if parcel.carrier != self.carrier.name() {
            let (carrier, code) = (parcel.carrier.as_str(), "parcel_of_another_carrier");
            tracing::error!(order_id = %order.id, carrier, code, "not shipped");
            return Err(carrier_failed(CarrierError::Unavailable(code.into())));
        }
        let reference = &parcel.reference;
        let bought = if may_be_bought {
            let found = self.carrier.look_up(reference).await;
            found.map_err(carrier_failed)?
        } else {
            None
        };
        let label = match bought {
            Some(label) => label,
            None => self.carrier.buy(reference).await.map_err(carrier_failed)?,
        };
        let shipment = Shipment {
            tracking_number: label.tracking_number,
            label_url: label.url,
            carrier: parcel.carrier.clone(),
            name: parcel.name.clone(),
            phone: parcel.phone.clone(),
            shipping_address: parcel.shipping_address.clone(),
        };
        let finished = self.finish(&order, &shipment).await;
        finished.map_err(Error::after_an_effect)
    }

    /// Records the shipment.
    async fn finish(&self, order: &Order, shipment: &Shipment) -> Result<Step, Error> {
        match self.store.ship(order, shipment, self.runtime.now()).await? {
            Shipping::Shipped(order) => {
                tracing::info!(order_id = %order.id, "order shipped");
                recorded(&order)
            }
            Shipping::Open(order) => Ok(Step::Again(order)),
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

    /// Promises a mail. The ledger records it before it is queued, so the sweep publishes what the
    /// queue refuses or loses.
    async fn queue_mail(&self, call: &Call, request: MailRequest) -> Result<Answer, Error> {
        let message = request
            .into_message(call, ENDPOINT, &self.store, &self.runtime)
            .await?;
        let promise = self.store.promise_email(&message, self.runtime.now());
        if promise.await? == Promise::Kept {
            let email_id = message.email_id();
            if let Err(error) = self.queue.send(Queue::Email, &[message]).await {
                tracing::warn!(email_id, %error, "not queued; left to the sweep");
            }
        }
        Answer::ok(&MailTakenBody { status: "OK" })
    }
}

fn recorded(order: &Order) -> Result<Step, Error> {
    let shipment = order.shipment.clone().map(Box::new);
    shipment
        .map(Step::Done)
        .ok_or_else(|| Error::Internal("a shipped order has no shipment".into()))
}

fn carrier_failed(error: CarrierError) -> Error {
    match error {
        CarrierError::Refused(errors) => Error::Invalid(errors),
        CarrierError::Unavailable(_) => Error::Unavailable {
            dependency: Dependency::Carrier,
            outcome: Outcome::NothingDone,
            source: error.into(),
        },
        CarrierError::NotConfigured(_) => Error::NotConfigured {
            counterpart: Counterpart::Carrier,
            outcome: Outcome::NothingDone,
            source: error.into(),
        },
        CarrierError::Unanswered(_) => Error::Unavailable {
            dependency: Dependency::Carrier,
            outcome: Outcome::Unknown,
            source: error.into(),
        },
    }
}

fn not_paid(status: Status) -> Error {
    Error::WrongState {
        status,
        detail: "it can be shipped only after it is paid",
    }
}

impl<C: Carrier, Q: EventQueue + 'static> Function for Shipments<C, Q> {
    const ROUTES: &'static [Route] = &[Route::Shipping];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (id, contact) = match ShippingRequest::read(call.body()?)? {
            ShippingRequest::Ship { order, contact } => (order, contact),
            ShippingRequest::Mail(request) => return self.queue_mail(&call, request).await,
        };
        claim_key(&self.store, &call, ENDPOINT, self.runtime.now()).await?;
        let order = self.find(&id.or_missing(Missing::Order)?).await?;
        call.caller.check(&order.customer, Missing::Order)?;
        let location = format!("/api/order/{}", order.id);
        let shipment = self.ship(order, &contact).await?;
        let body = TrackingBody {
            tracking_number: shipment.tracking_number,
        };
        Answer::created(&body, location)
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        if let MessageKind::Delivery(reference) = &message.kind {
            self.record_delivery(reference).await?;
            return Ok(Consumed::Done);
        }
        let id = message.order.ok_or(Error::NotFound(Missing::Order))?;
        let order = self.find(&id).await?;
        if order.status.apply(Command::Ship) == Err(Refusal::TooLate) {
            // The order has been cancelled.
            return Ok(Consumed::Done);
        }
        let Some(contact) = order.contact.clone() else {
            return Err(not_paid(order.status));
        };
        let is_due = order.due.is_some_and(|due| due.step == DueStep::Shipping);
        match self.ship(order, &contact).await {
            Ok(_) => Ok(Consumed::Done),
            Err(Error::WrongState { .. }) => Ok(Consumed::NotYet),
            // The sweep continues the order once the keys are there, so the message need not become
            // a dead letter.
            Err(error @ Error::NotConfigured { .. }) if is_due => {
                count_dependency(&error);
                tracing::error!(order_id = %id, code = error.code(), %error, "left to the sweep");
                Ok(Consumed::Done)
            }
            Err(error) => Err(error),
        }
    }
}
