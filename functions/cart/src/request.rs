//! The request of a cart.

use domain::{Contact, Currency, CustomerId, Metadata, OrderId, OrderLines, OrderReference, Unit};
use serde_json::Value;
use service::error::Error;
use service::http::{
    Call, EmailField, Fields, Named, Report, as_currency, as_id, as_own_id, read_contact,
    read_items,
};

/// `{customerId, items, orderId?, checkout?, reference?, metadata?}`
pub(crate) struct CartRequest {
    pub(crate) customer: CustomerId,
    /// The pending order to update.
    pub(crate) order: Option<Named<OrderId>>,
    pub(crate) lines: OrderLines,
    pub(crate) checkout: Option<Contact>,
    pub(crate) reference: Option<OrderReference>,
    pub(crate) metadata: Metadata,
}

impl CartRequest {
    pub(crate) fn read(body: &Value, unit: Unit) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let order = fields.optional("orderId", as_own_id(OrderId::parse));
            let lines = read_items(&fields, unit);
            let checkout = match fields.value("checkout") {
                None => Some(None),
                Some(value) => report
                    .object(value, fields.pointer("checkout"))
                    .and_then(|checkout| read_checkout(checkout, unit.currency()))
                    .map(Some),
            };
            let reference = fields.optional("reference", as_id(OrderReference::parse));
            let metadata = fields.metadata("metadata");
            fields.close();
            Some(Self {
                customer: customer?,
                order: order?,
                lines: lines?,
                checkout: checkout?,
                reference: reference?,
                metadata: metadata?,
            })
        });
        report.finish(request)
    }
}

/// The customer, and the order that the request updates or its key created, read without validating
/// the rest of the body.
pub(crate) fn order_named_by(call: &Call) -> Result<Option<(CustomerId, OrderId)>, Error> {
    let body = call.body()?;
    let customer = body.get("customerId").and_then(Value::as_str);
    let Some(customer) = customer.and_then(|id| CustomerId::parse(id).ok()) else {
        return Ok(None);
    };
    let named = body.get("orderId").and_then(Value::as_str);
    let id = match (named, &call.key) {
        (Some(id), _) => OrderId::parse(id).ok(),
        (None, Some(key)) => Some(OrderId::from_key(call.caller.id(), &customer, key.as_str())),
        (None, None) => None,
    };
    Ok(id.map(|id| (customer, id)))
}

/// `{name, phone, email, shipping_address, currency?}`
fn read_checkout(fields: Fields<'_>, currency: Currency) -> Option<Contact> {
    let contact = read_contact(&fields, EmailField::Required);
    let currency = fields.optional("currency", as_currency(currency));
    fields.close();
    currency?;
    contact
}
