//! Prices a customer's cart and stores it as a pending order.
//!
//! `POST /api/order/cart.json`; event `CartUpdated`.

mod request;

use domain::{Amounts, CarrierName, Order, OrderId, OrderLines, OrderReference, Status};
use platform::config::Shop;
use platform::runtime::Runtime;
use platform::telemetry;
use serde::Serialize;
use serde_json::Number;
use service::claims::{claim_key, own_order, recorded_answer};
use service::error::{Difference, Error, FieldError, Missing};
use service::http::{Answer, Call, Effect, ItemBody, Route, item_bodies, unusable_fields};
use service::lambda::Function;
use store::{
    BodyHash, CartContents, CartUpdate, CreateOrder, KeyRecord, NewOrder, OwnReference, Store,
};

use request::{CartRequest, order_named_by};

/// Scope of idempotency keys, for both creating and updating a cart.
const ENDPOINT: &str = "cart";

/// The cart service.
#[derive(Clone, Debug)]
pub struct Cart {
    store: Store,
    shop: Shop,
    carrier: CarrierName,
    runtime: Runtime,
}

/// The answer's body, as the contract defines it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CartBody<'a> {
    order_id: String,
    tax: Number,
    sub_total_amount: Number,
    total_amount: Number,
    items: Vec<ItemBody<'a>>,
    status: &'static str,
}

impl<'a> CartBody<'a> {
    fn new(id: OrderId, lines: &'a OrderLines, amounts: &Amounts) -> Self {
        Self {
            order_id: id.to_string(),
            tax: amounts.tax.to_amount_json(),
            sub_total_amount: amounts.sub_total.to_amount_json(),
            total_amount: amounts.total.to_amount_json(),
            items: item_bodies(lines),
            // Only a pending order answers as a cart; a repeat receives the first answer.
            status: Status::Pending.as_str(),
        }
    }
}

impl Cart {
    /// Builds the service over its store.
    #[must_use]
    pub fn new(store: Store, shop: Shop, runtime: Runtime) -> Self {
        Self {
            store,
            shop,
            carrier: CarrierName::Own,
            runtime,
        }
    }

    /// The same service, with a carrier that may not accept every address.
    #[must_use]
    pub fn shipping_with(self, carrier: CarrierName) -> Self {
        Self { carrier, ..self }
    }

    async fn create(&self, call: &Call, request: CartRequest) -> Result<Answer, Error> {
        let (id, body) = match &call.key {
            Some(key) => {
                let id = OrderId::from_key(call.caller.id(), &request.customer, key.as_str());
                (id, Some(call.body_hash()?))
            }
            None => (self.runtime.order_id(), None),
        };
        telemetry::about_order(&id);
        let new = NewOrder {
            id,
            contents: self.price(&request),
            reference: request.reference.map(|reference| OwnReference {
                reference,
                caller: call.caller.id().to_owned(),
            }),
            customer: request.customer,
            request_hash: body.as_ref().map(|body| body.as_str().to_owned()),
            traceparent: call.traceparent.clone(),
        };
        let (order, effect) = match self.store.create_order(new, self.runtime.now()).await? {
            CreateOrder::Created(order) => {
                tracing::info!(order_id = %order.id, "order created");
                (order, Effect::Now)
            }
            CreateOrder::Existed(order) if is_of(&order, body.as_ref()) => (order, Effect::Before),
            CreateOrder::Existed(_) => return Err(Error::KeyReused),
            CreateOrder::ReferenceTaken(order) => return Err(Error::ReferenceTaken { order }),
        };
        let (lines, amounts) = match &order.first {
            Some((lines, amounts)) => (lines, amounts),
            None => (&order.lines, &order.amounts),
        };
        let body = CartBody::new(id, lines, amounts);
        Ok(Answer::created(&body, format!("/api/order/{id}"))?.with_effect(effect))
    }

    async fn update(
        &self,
        call: &Call,
        id: OrderId,
        request: CartRequest,
    ) -> Result<Answer, Error> {
        if let Some(key) = &call.key
            && OrderId::from_key(call.caller.id(), &request.customer, key.as_str()) == id
        {
            // This key created the order, even if its row has since expired. An update is a
            // different body.
            return Err(Error::KeyReused);
        }
        let contents = self.price(&request);
        let answer = Answer::ok(&CartBody::new(id, &contents.lines, &contents.amounts))?;
        let hash = call.body_hash()?;
        let key = call.key_id(ENDPOINT);
        let record = key.as_deref().map(|key| KeyRecord {
            key,
            body: &hash,
            answer: answer.body(),
        });
        let (customer, named) = (&request.customer, request.reference.as_ref());
        match self
            .store
            .update_cart(&id, customer, &contents, named, record, self.runtime.now())
            .await?
        {
            CartUpdate::Updated => {
                tracing::info!(order_id = %id, "cart updated");
                Ok(answer)
            }
            CartUpdate::NotFound => Err(Error::NotFound(Missing::Order)),
            CartUpdate::Refused(status) => Err(Error::WrongState {
                status,
                detail: "a cart can be changed only until its invoice is issued",
            }),
            CartUpdate::OtherCurrency(order) => Err(Error::CurrencyMismatch {
                order,
                shop: self.shop.currency(),
            }),
            CartUpdate::OtherReference(stored) => Err(other_reference(named, stored.as_ref())),
            CartUpdate::Answered(answer) => Ok(Answer::recorded(answer)),
            CartUpdate::KeyReused => Err(Error::KeyReused),
        }
    }

    /// Reads the request in the shop's unit, or else in the currency of the order that it updates
    /// or created, because the shop's parameters may have changed since the order was placed. Also
    /// returns the reason, if there is one, why only a repeat of an earlier request can be
    /// answered.
    async fn read(&self, call: &Call) -> Result<(CartRequest, Option<Error>), Error> {
        let body = call.body()?;
        let (request, objection) = match CartRequest::read(body, self.shop.unit()) {
            Ok(request) => {
                let faults = [self.recipient_faults(&request), self.total_faults(&request)];
                (request, invalid(faults.concat()))
            }
            Err(error) => {
                let Some((customer, id)) = order_named_by(call)? else {
                    return Err(error);
                };
                match own_order(&self.store, call, &customer, &id).await? {
                    Some(order) => {
                        let request = CartRequest::read(body, order.currency.into())?;
                        let objection = if order.currency == self.shop.currency() {
                            Some(error)
                        } else {
                            invalid(self.recipient_faults(&request))
                        };
                        (request, objection)
                    }
                    None => return Err(error),
                }
            }
        };
        call.caller.check(&request.customer, Missing::Order)?;
        Ok((request, objection))
    }

    /// Why the carrier could not deliver the checkout's parcel.
    fn recipient_faults(&self, request: &CartRequest) -> Vec<FieldError> {
        let contact = request.checkout.as_ref();
        contact.map_or_else(Vec::new, |contact| {
            unusable_fields(self.carrier, contact, "/checkout")
        })
    }

    /// Why the billing partner never charges the total. A cart with checkout is charged as it is;
    /// one without may still grow.
    fn total_faults(&self, request: &CartRequest) -> Vec<FieldError> {
        if request.checkout.is_none() {
            return Vec::new();
        }
        let total = self.price(request).amounts.total;
        let fault = self.shop.limits.check(total).err();
        let fault = fault.map(|error| FieldError {
            pointer: "/items".to_owned(),
            detail: error.to_string(),
        });
        fault.into_iter().collect()
    }

    /// Whether this request repeats one that was already accepted, so that it is answered whatever
    /// the shop's parameters are now: its answer is recorded, or its key has created the order.
    async fn is_promised(&self, call: &Call, request: &CartRequest) -> Result<bool, Error> {
        let now = self.runtime.now();
        if recorded_answer(&self.store, call, ENDPOINT, now)
            .await?
            .is_some()
        {
            return Ok(true);
        }
        let (Some(key), None) = (&call.key, &request.order) else {
            return Ok(false);
        };
        let id = OrderId::from_key(call.caller.id(), &request.customer, key.as_str());
        Ok(self.store.order(&id).await?.is_some())
    }

    fn price(&self, request: &CartRequest) -> CartContents {
        CartContents {
            currency: self.shop.currency(),
            amounts: self.shop.tax.amounts(&request.lines, self.shop.unit()),
            lines: request.lines.clone(),
            checkout: request.checkout.clone(),
            metadata: request.metadata.clone(),
        }
    }
}

fn invalid(faults: Vec<FieldError>) -> Option<Error> {
    (!faults.is_empty()).then_some(Error::Invalid(faults))
}

/// A reference is given when the order is placed, and cannot be changed.
fn other_reference(named: Option<&OrderReference>, stored: Option<&OrderReference>) -> Error {
    let text = |reference: Option<&OrderReference>| {
        let text = reference.map(|reference| reference.as_str().to_owned());
        text.unwrap_or_else(|| "none".to_owned())
    };
    Error::Mismatch(vec![Difference {
        pointer: "/reference".to_owned(),
        expected: text(stored),
        actual: text(named),
    }])
}

/// Whether a request with this body created the order; `None` stands for a request without a key.
fn is_of(order: &Order, body: Option<&BodyHash>) -> bool {
    match (order.request_hash.as_deref(), body) {
        (Some(stored), Some(body)) => body.is(stored),
        (stored, body) => stored.is_none() && body.is_none(),
    }
}

impl Function for Cart {
    const ROUTES: &'static [Route] = &[Route::Cart];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (request, objection) = self.read(&call).await?;
        let now = self.runtime.now();
        if let Some(objection) = objection
            && !self.is_promised(&call, &request).await?
        {
            return Err(objection);
        }
        if let Some(answer) = claim_key(&self.store, &call, ENDPOINT, now).await? {
            return Ok(Answer::recorded(answer));
        }
        match request.order {
            Some(named) => {
                let id = named.or_missing(Missing::Order)?;
                self.update(&call, id, request).await
            }
            None => self.create(&call, request).await,
        }
    }
}
