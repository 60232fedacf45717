//! Ships paid orders, once each.
//!
//! With a remote carrier, the service *registers* the parcel without buying anything, stores its
//! reference once, and *buys* the label of that reference. After a crash the next worker finds the
//! reference and looks the parcel up.
//!
//! `POST /api/order/shipping.json`, or automatically on `PaymentProcessed`; event `OrderShipped`. A
//! body with `event` requests a mail instead: the service records it in the ledger and sends it to
//! the email queue. When a carrier reports news of a parcel, the service requests its current
//! state; with `TrackingMails`, the states that matter to the customer are events of the order:
//! `ParcelOutForDelivery`, `ParcelAvailableForPickup`, `ParcelDelivered`, and `ParcelReturned`.

pub mod carriers;
mod delivery;
mod request;

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{
    Command, Contact, DueStep, OpenParcel, Order, OrderId, Refusal, Shipment, ShippingRefusal,
    Status, TrackingNumber,
};
use messages::queue::{EventQueue, Queue};
use messages::{Message, MessageKind};
use platform::config::TrackingMails;
use platform::runtime::Runtime;
use serde::Serialize;
use service::claims::claim_key;
use service::error::{Counterpart, Dependency, Error, Missing, Outcome};
use service::http::{Answer, Call, Effect, MailRequest, Route};
use service::lambda::{Consumed, Function, count_dependency};
use store::{Promise, Purchase, Shipping, Store, StoreError, TRIES};

use carriers::{Carrier, CarrierError, CarrierRefusal, Label, Opened, Parcel, Worth};
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
    tracking_mails: TrackingMails,
}

/// How long a purchase whose answer was lost may still take effect: longer than a request can be on
/// its way after the function that sent it was frozen.
const PURCHASE_MAY_TAKE: Duration = Duration::from_mins(30);

/// Who requests the shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The shop, with a recipient of its choice.
    Request,
    /// The chain. It does not request a refused parcel again.
    Chain,
}

/// Outcome of one try to ship.
enum Step {
    /// The order is shipped.
    Done(Box<Shipment>, Effect),
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
            tracking_mails: TrackingMails::Off,
        }
    }

    /// The same service, with or without mails about the parcel's delivery.
    #[must_use]
    pub fn mailing(self, tracking_mails: TrackingMails) -> Self {
        Self {
            tracking_mails,
            ..self
        }
    }

    /// Ships the order unless it is already shipped. The first recorded tracking number wins. If
    /// the order changes concurrently, the service continues with the changed order.
    async fn ship(
        &self,
        mut order: Order,
        contact: &Contact,
        origin: Origin,
    ) -> Result<(Shipment, Effect), Error> {
        for _ in 0..TRIES {
            match self.try_to_ship(order, contact, origin).await? {
                Step::Done(shipment, effect) => return Ok((*shipment, effect)),
                Step::Again(changed) => order = *changed,
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn try_to_ship(
        &self,
        order: Order,
        contact: &Contact,
        origin: Origin,
    ) -> Result<Step, Error> {
        match order.status.apply(Command::Ship) {
            Ok(_) => {}
            Err(Refusal::AlreadyDone) => return recorded(&order, Effect::Before),
            Err(Refusal::TooEarly) => return Err(not_paid(order.status)),
            Err(Refusal::TooLate) => {
                return Err(Error::WrongState {
                    status: order.status,
                    detail: "it can no longer be shipped",
                });
            }
        }
        match (&order.parcel, &order.shipping_refusal) {
            (None, _) => self.open(order, contact).await,
            // A previous worker registered the parcel. Its label may already be bought.
            (Some(parcel), None) => {
                let parcel = parcel.clone();
                self.buy_again(order, &parcel).await
            }
            (Some(parcel), Some(_)) => {
                let parcel = parcel.clone();
                self.mend(order, &parcel, origin).await
            }
        }
    }

    /// Registers a parcel and buys its label.
    async fn open(&self, order: Order, contact: &Contact) -> Result<Step, Error> {
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
        let opened = match self.carrier.open(&parcel).await {
            Err(CarrierError::Refused(refusal)) => {
                let refused = self.refusal(&order, &refusal);
                let refused = self.store.refuse_parcel(&order.id, &refused).await?;
                return match standing(refused)? {
                    Step::Again(_) => Err(Error::Invalid(refusal.errors)),
                    done @ Step::Done(..) => Ok(done),
                };
            }
            opened => opened.map_err(carrier_failed)?,
        };
        match opened {
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
                let name = self.runtime.token();
                let purchase = self.purchase(&name);
                let opened = self.store.open_parcel(&order.id, &parcel, purchase).await?;
                let order = match standing(opened)? {
                    Step::Again(order) => order,
                    done @ Step::Done(..) => return Ok(done),
                };
                // Another worker's reference may already have its label.
                let purchases = order.purchases.as_ref();
                let is_ours = purchases.is_some_and(|purchases| purchases.contains_key(&name));
                let shipped = if is_ours {
                    self.buy(*order, &parcel, &name).await
                } else {
                    Ok(Step::Again(order))
                };
                // Once the reference is stored, the request has taken effect.
                shipped.map_err(Error::after_an_effect)
            }
        }
    }

    fn purchase<'a>(&self, name: &'a str) -> Purchase<'a> {
        Purchase {
            name,
            at: self.runtime.now(),
        }
    }

    /// The refusal as stored on the order.
    fn refusal(&self, order: &Order, refusal: &CarrierRefusal) -> ShippingRefusal {
        let code = refusal.code.clone();
        let pointers = refusal.errors.iter().map(|error| error.pointer.as_str());
        let fields = pointers.collect::<Vec<_>>().join(", ");
        tracing::warn!(order_id = %order.id, code, fields, "the carrier refuses the parcel");
        ShippingRefusal {
            code,
            at: self.runtime.now(),
        }
    }

    /// Only the carrier that registered the parcel knows its reference; no other is called.
    fn check_carrier(&self, order: &Order, parcel: &OpenParcel) -> Result<(), Error> {
        if parcel.carrier != self.carrier.name() {
            let (carrier, code) = (parcel.carrier.as_str(), "parcel_of_another_carrier");
            tracing::error!(order_id = %order.id, carrier, code, "not shipped");
            return Err(carrier_failed(CarrierError::Unavailable(code.into())));
        }
        Ok(())
    }

    /// Looks the label up, and buys it unless it is already bought.
    async fn buy_again(&self, order: Order, parcel: &OpenParcel) -> Result<Step, Error> {
        self.check_carrier(&order, parcel)?;
        match self.carrier.look_up(&parcel.reference).await {
            Ok(Some(label)) => return self.finish_with(&order, parcel, label).await,
            Ok(None) => {}
            // The label was bought and refunded: it cannot be used, and the shipment gets no other.
            Err(CarrierError::Refused(refusal)) => return self.refuse(&order, &[], refusal).await,
            Err(error) => return Err(carrier_failed(error)),
        }
        let name = self.runtime.token();
        let expired = self.expired(&order);
        let begun = self
            .store
            .begin_purchase(&order, self.purchase(&name), &expired)
            .await?;
        let order = match standing(begun)? {
            Step::Again(order) => order,
            done @ Step::Done(..) => return Ok(done),
        };
        let purchases = order.purchases.as_ref();
        if purchases.is_some_and(|purchases| purchases.contains_key(&name)) {
            self.buy(*order, parcel, &name).await
        } else {
            Ok(Step::Again(order))
        }
    }

    /// Buys the label of the order's parcel; the purchase was stored under this name.
    async fn buy(&self, order: Order, parcel: &OpenParcel, name: &str) -> Result<Step, Error> {
        match self.carrier.buy(&parcel.reference).await {
            Ok(label) => self.finish_with(&order, parcel, label).await,
            Err(CarrierError::Refused(refusal)) => {
                self.refuse(&order, &[name.to_owned()], refusal).await
            }
            Err(error @ CarrierError::Unanswered(_)) => Err(carrier_failed(error)),
            Err(error) => {
                // The label was provably not bought. If this write fails, the purchase counts as
                // open for a while, which does no harm.
                let names = [name.to_owned()];
                let now = self.runtime.now();
                let ended = self.store.end_purchases(&order, &names, now).await;
                if let Err(error) = ended {
                    tracing::warn!(order_id = %order.id, %error, "the purchase is left open");
                }
                Err(carrier_failed(error))
            }
        }
    }

    /// Records that the label was refused.
    async fn refuse(
        &self,
        order: &Order,
        names: &[String],
        refusal: CarrierRefusal,
    ) -> Result<Step, Error> {
        let refused = self.refusal(order, &refusal);
        let refused = self.store.refuse_purchase(order, names, &refused).await?;
        match standing(refused)? {
            Step::Again(order) if order.shipping_refusal.is_some() => {
                Err(Error::Invalid(refusal.errors))
            }
            other => Ok(other),
        }
    }

    /// The order's purchases that can no longer take effect.
    fn expired(&self, order: &Order) -> Vec<String> {
        let now = self.runtime.now();
        let purchases = order.purchases.iter().flatten();
        let expired = purchases.filter(|(_, at)| at.plus(PURCHASE_MAY_TAKE) < now);
        expired.map(|(name, _)| name.clone()).collect()
    }

    /// Continues an order whose label was refused: the label may have been bought by hand, or by a
    /// purchase that took effect late. If it provably was not and never will be, a request of the
    /// shop gives the parcel up for another one.
    async fn mend(&self, order: Order, parcel: &OpenParcel, origin: Origin) -> Result<Step, Error> {
        let expired = self.expired(&order);
        let open = order.purchases.as_ref().map(BTreeMap::len);
        if open != Some(0) || parcel.carrier == self.carrier.name() {
            self.check_carrier(&order, parcel)?;
            match self.carrier.look_up(&parcel.reference).await {
                Ok(Some(label)) => return self.finish_with(&order, parcel, label).await,
                Ok(None) | Err(CarrierError::Refused(_)) => {}
                Err(error) => return Err(carrier_failed(error)),
            }
        }
        if origin == Origin::Chain {
            if !expired.is_empty() {
                let now = self.runtime.now();
                standing(self.store.end_purchases(&order, &expired, now).await?)?;
            }
            return Err(Error::WrongState {
                status: order.status,
                detail: "the carrier has refused its parcel",
            });
        }
        if open.is_none_or(|open| open > expired.len()) {
            return Err(Error::InProgress {
                retry_after: Duration::from_mins(1),
            });
        }
        standing(self.store.give_up_parcel(&order).await?)
    }

    async fn finish_with(
        &self,
        order: &Order,
        parcel: &OpenParcel,
        label: Label,
    ) -> Result<Step, Error> {
        let shipment = Shipment {
            tracking_number: label.tracking_number,
            label_url: label.url,
            carrier: parcel.carrier.clone(),
            name: parcel.name.clone(),
            phone: parcel.phone.clone(),
            shipping_address: parcel.shipping_address.clone(),
        };
        let finished = self.finish(order, &shipment).await;
        finished.map_err(Error::after_an_effect)
    }

    /// Records the shipment.
    async fn finish(&self, order: &Order, shipment: &Shipment) -> Result<Step, Error> {
        let shipped = self.store.ship(order, shipment, self.runtime.now()).await?;
        if matches!(shipped, Shipping::Shipped(_)) {
            tracing::info!(order_id = %order.id, "order shipped");
        }
        match standing(shipped)? {
            Step::Done(shipment, _) => Ok(Step::Done(shipment, Effect::Now)),
            again @ Step::Again(_) => Ok(again),
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
        let promise = promise.await?;
        if matches!(promise, Promise::Kept | Promise::KeptBefore) {
            let email_id = message.email_id();
            if let Err(error) = self.queue.send(Queue::Email, &[message]).await {
                tracing::warn!(email_id, %error, "not queued; left to the sweep");
            }
        }
        let effect = match promise {
            Promise::Kept => Effect::Now,
            Promise::KeptBefore | Promise::Ended(_) => Effect::Before,
        };
        Ok(Answer::ok(&MailTakenBody { status: "OK" })?.with_effect(effect))
    }
}

/// The next step after a write about the shipment.
fn standing(shipping: Shipping) -> Result<Step, Error> {
    match shipping {
        Shipping::Shipped(order) => recorded(&order, Effect::Before),
        Shipping::Open(order) => Ok(Step::Again(order)),
        Shipping::Refused(status) => Err(not_paid(status)),
        Shipping::NotFound => Err(Error::NotFound(Missing::Order)),
    }
}

fn recorded(order: &Order, effect: Effect) -> Result<Step, Error> {
    let shipment = order.shipment.clone().map(Box::new);
    shipment
        .map(|shipment| Step::Done(shipment, effect))
        .ok_or_else(|| Error::Internal("a shipped order has no shipment".into()))
}

fn carrier_failed(error: CarrierError) -> Error {
    match error {
        CarrierError::Refused(refusal) => Error::Invalid(refusal.errors),
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
        let (shipment, effect) = self.ship(order, &contact, Origin::Request).await?;
        let body = TrackingBody {
            tracking_number: shipment.tracking_number,
        };
        Ok(Answer::created(&body, location)?.with_effect(effect))
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        if let MessageKind::Delivery(reference) = &message.kind {
            return self.record_delivery(reference).await;
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
        let is_refused = order.parcel.is_some() && order.shipping_refusal.is_some();
        let is_due = order.due.is_some_and(|due| due.step == DueStep::Shipping);
        match self.ship(order, &contact, Origin::Chain).await {
            Ok(_) => Ok(Consumed::Done),
            // The shop must act. The sweep checks again, because the label may be bought by hand.
            Err(Error::WrongState { .. }) if is_refused && is_due => Ok(Consumed::Done),
            Err(Error::WrongState { .. }) => Ok(Consumed::NotYet),
            // The sweep continues the order once the keys are available, so the message need not
            // become a dead letter.
            Err(error @ Error::NotConfigured { .. }) if is_due => {
                count_dependency(&error);
                tracing::error!(order_id = %id, code = error.code(), %error, "left to the sweep");
                Ok(Consumed::Done)
            }
            Err(error) => Err(error),
        }
    }
}
