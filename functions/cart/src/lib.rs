//! Prices a customer's cart and stores it as a pending order.
//!
//! `POST /api/order/cart.json`; event `CartUpdated`.

mod request;

use domain::{Amounts, CarrierName, OrderId, OrderLines, Status};
use platform::config::Shop;
use platform::runtime::Runtime;
use platform::telemetry;
use serde::Serialize;
use serde_json::Number;
use service::claims::{claim_key, own_order};
use service::error::{Error, Missing};
use service::http::{Answer, Call, ItemBody, Route, item_bodies, unusable_fields};
use service::lambda::Function;
use store::{CartContents, CartUpdate, CreateOrder, KeyRecord, NewOrder, Store};

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

    /// The same with a carrier that does not take every address.
    #[must_use]
    pub fn shipping_with(self, carrier: CarrierName) -> Self {
        Self { carrier, ..self }
    }

    async fn create(&self, call: &Call, request: CartRequest) -> Result<Answer, Error> {
        let (id, request_hash) = match &call.key {
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
            customer: request.customer,
            request_hash: request_hash.clone(),
            traceparent: call.traceparent.clone(),
        };
        let order = match self.store.create_order(new, self.runtime.now()).await? {
            CreateOrder::Created(order) => {
                tracing::info!(order_id = %order.id, "order created");
                order
            }
            CreateOrder::Existed(order) if order.request_hash == request_hash => order,
            CreateOrder::Existed(_) => return Err(Error::KeyReused),
        };
        let (lines, amounts) = match &order.first {
            Some((lines, amounts)) => (lines, amounts),
            None => (&order.lines, &order.amounts),
        };
        Answer::created(
            &CartBody::new(id, lines, amounts),
            format!("/api/order/{id}"),
        )
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
            body_hash: &hash,
            answer: answer.body(),
        });
        let customer = &request.customer;
        match self
            .store
            .update_cart(&id, customer, &contents, record, self.runtime.now())
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
                shop: self.shop.currency,
            }),
            CartUpdate::Answered(answer) => Ok(Answer::recorded(answer)),
            CartUpdate::KeyReused => Err(Error::KeyReused),
        }
    }

    /// Reads the request in the shop's currency, or else in that of the order it updates or
    /// created: the shop's currency may have changed since the order was placed.
    async fn read(&self, call: &Call) -> Result<CartRequest, Error> {
        let body = call.body()?;
        let request = match CartRequest::read(body, self.shop.currency) {
            Ok(request) => request,
            Err(error) => {
                let Some((customer, id)) = order_named_by(call)? else {
                    return Err(error);
                };
                match own_order(&self.store, call, &customer, &id).await? {
                    Some(order) => CartRequest::read(body, order.currency)?,
                    None => return Err(error),
                }
            }
        };
        call.caller.check(&request.customer, Missing::Order)?;
        self.check_recipient(call, &request).await?;
        Ok(request)
    }

    /// Refuses a checkout whose parcel the carrier could not deliver, before anything is promised. A
    /// key that was used before has its promise already, whatever the carrier is by now.
    async fn check_recipient(&self, call: &Call, request: &CartRequest) -> Result<(), Error> {
        let Some(contact) = &request.checkout else {
            return Ok(());
        };
        let errors = unusable_fields(self.carrier, contact, "/checkout");
        if errors.is_empty() {
            return Ok(());
        }
        if let Some(key) = call.key_id(ENDPOINT)
            && self.store.is_key_used(&key, self.runtime.now()).await?
        {
            return Ok(());
        }
        Err(Error::Invalid(errors))
    }

    fn price(&self, request: &CartRequest) -> CartContents {
        CartContents {
            currency: self.shop.currency,
            amounts: self.shop.tax.amounts(&request.lines, self.shop.currency),
            lines: request.lines.clone(),
            checkout: request.checkout.clone(),
        }
    }
}

impl Function for Cart {
    const ROUTES: &'static [Route] = &[Route::Cart];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let request = self.read(&call).await?;
        let now = self.runtime.now();
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
