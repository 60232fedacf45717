//! Issues the invoice of a pending order.
//!
//! `POST /api/order/invoice.json`, or automatically on `CartUpdated` if the cart has `checkout`;
//! event `InvoiceCreated`.

mod request;

use domain::{CarrierName, Command, Contact, Order, OrderId, Refusal, Status};
use messages::Message;
use platform::config::Shop;
use platform::runtime::Runtime;
use serde::Serialize;
use serde_json::Number;
use service::claims::{claim_key, own_order};
use service::error::{Error, FieldError, Missing};
use service::http::{Answer, Call, Effect, Named, Route, unusable_fields};
use service::lambda::{Consumed, Function};
use store::{InvoiceIssue, Store, StoreError, TRIES};

use request::{InvoiceRequest, order_named_by};

/// The billing service.
#[derive(Clone, Debug)]
pub struct Billing {
    store: Store,
    shop: Shop,
    carrier: CarrierName,
    runtime: Runtime,
}

/// The answer's body, as the contract defines it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvoiceBody<'a> {
    invoice_id: String,
    order_id: String,
    customer_id: &'a str,
    total_amount: Number,
}

impl Billing {
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

    /// Reads the request in the shop's unit. An order that is already invoiced is answered in its
    /// own currency, even if the shop's parameters have since changed.
    async fn read(&self, call: &Call) -> Result<InvoiceRequest, Error> {
        let body = call.body()?;
        let request = match InvoiceRequest::read(body, self.shop.unit()) {
            Ok(request) => request,
            Err(error) => {
                let Some((currency, customer, id)) = order_named_by(body) else {
                    return Err(error);
                };
                let order = own_order(&self.store, call, &customer, &id).await?;
                let is_issued = order
                    .is_some_and(|order| order.invoice().is_some() && order.currency == currency);
                if !is_issued {
                    return Err(error);
                }
                InvoiceRequest::read(body, currency.into())?
            }
        };
        call.caller.check(&request.customer, Missing::Order)?;
        self.check_recipient(call, &request).await?;
        Ok(request)
    }

    /// Refuses an invoice whose parcel the carrier could not deliver, before anything is promised.
    /// An issued invoice remains the answer, even if the shop's carrier has since changed.
    async fn check_recipient(&self, call: &Call, request: &InvoiceRequest) -> Result<(), Error> {
        let errors = unusable_fields(self.carrier, &request.contact, "");
        if errors.is_empty() {
            return Ok(());
        }
        if let Named::Ours(id) = &request.order {
            let order = own_order(&self.store, call, &request.customer, id).await?;
            if order.is_some_and(|order| order.invoice().is_some()) {
                return Ok(());
            }
        }
        Err(Error::Invalid(errors))
    }

    /// Refuses to invoice a total that the billing partner never charges. The chain does not check
    /// this: it invoices what its cart was accepted for, and the charge is declined if the partner
    /// has changed since.
    fn check_total(&self, order: &Order) -> Result<(), Error> {
        if order.invoice().is_some() {
            return Ok(());
        }
        let total = order.amounts.total;
        self.shop.limits.check(total).map_err(|error| {
            Error::Invalid(vec![FieldError {
                pointer: "/totalAmount".to_owned(),
                detail: error.to_string(),
            }])
        })
    }

    /// Issues the invoice unless the order has one. `contact` returns the recipient, `None` to
    /// wait, or an error; it is called again whenever the order has changed.
    async fn issue(
        &self,
        id: &OrderId,
        contact: impl Fn(&Order) -> Result<Option<Contact>, Error>,
    ) -> Result<Option<(Order, Effect)>, Error> {
        for _ in 0..TRIES {
            let order = self
                .store
                .order(id)
                .await?
                .ok_or(Error::NotFound(Missing::Order))?;
            let Some(contact) = contact(&order)? else {
                return Ok(None);
            };
            match order.status.apply(Command::IssueInvoice) {
                Ok(_) => {}
                // The recorded invoice is the answer, even if the order has since been cancelled.
                Err(Refusal::AlreadyDone) => return Ok(Some((order, Effect::Before))),
                Err(_) if order.invoice().is_some() => return Ok(Some((order, Effect::Before))),
                Err(Refusal::TooEarly | Refusal::TooLate) => {
                    return Err(Error::WrongState {
                        status: order.status,
                        detail: "it can no longer be invoiced",
                    });
                }
            }
            match self
                .store
                .issue_invoice(&order, &contact, self.runtime.now())
                .await?
            {
                InvoiceIssue::Issued => {
                    tracing::info!(order_id = %id, invoice_id = %id.invoice(), "invoice issued");
                    return Ok(Some((order, Effect::Now)));
                }
                // The cart was updated or the invoice issued after the order was read.
                InvoiceIssue::Raced => {}
            }
        }
        Err(StoreError::Conflict.into())
    }
}

impl Function for Billing {
    const ROUTES: &'static [Route] = &[Route::Invoice];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let request = self.read(&call).await?;
        claim_key(&self.store, &call, "invoice", self.runtime.now()).await?;
        let id = request.order.or_missing(Missing::Order)?;
        let check = |order: &Order| {
            if order.customer != request.customer {
                return Err(Error::NotFound(Missing::Order));
            }
            let differences = request.differences(order);
            if !differences.is_empty() {
                return Err(Error::Mismatch(differences));
            }
            self.check_total(order)?;
            let mut contact = request.contact.clone();
            if contact.email.is_none() {
                // Fall back to the address from the cart's checkout.
                contact.email = order.email().cloned();
            }
            Ok(Some(contact))
        };
        let (order, effect) = self
            .issue(&id, check)
            .await?
            .ok_or(Error::NotFound(Missing::Order))?;
        let body = InvoiceBody {
            invoice_id: id.invoice().to_string(),
            order_id: id.to_string(),
            customer_id: order.customer.as_str(),
            total_amount: order.amounts.total.to_amount_json(),
        };
        Ok(Answer::created(&body, format!("/api/order/{id}"))?.with_effect(effect))
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        let id = message.order.ok_or(Error::NotFound(Missing::Order))?;
        // A cart without checkout waits for an explicit request.
        let from_checkout = |order: &Order| {
            let wanted = order.checkout || order.status != Status::Pending;
            Ok(order.contact.clone().filter(|_| wanted))
        };
        match self.issue(&id, from_checkout).await {
            // The order was cancelled before it was invoiced.
            Ok(_) | Err(Error::WrongState { .. }) => Ok(Consumed::Done),
            Err(error) => Err(error),
        }
    }
}
