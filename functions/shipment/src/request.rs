//! The two requests that the shipping path accepts.

use domain::{Contact, OrderId};
use serde_json::Value;
use service::error::Error;
use service::http::{EmailField, MailRequest, Named, Report, as_own_id, read_contact};

/// A request to the shipping path.
pub(crate) enum ShippingRequest {
    /// `{orderId, name, phone, shipping_address}`: ship this order.
    Ship {
        order: Named<OrderId>,
        contact: Contact,
    },
    /// `{event, name, email, orderId?}`: request a mail. The contract also prints this path for the
    /// email service.
    Mail(MailRequest),
}

impl ShippingRequest {
    pub(crate) fn read(body: &Value) -> Result<Self, Error> {
        if body.get("event").is_some_and(|event| !event.is_null()) {
            return MailRequest::read(body).map(Self::Mail);
        }
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let order = fields.required("orderId", as_own_id(OrderId::parse));
            let contact = read_contact(&fields, EmailField::Absent);
            // `event` is `null` here; any other value makes the body a request for a mail.
            let _ = fields.value("event");
            fields.close();
            Some(Self::Ship {
                order: order?,
                contact: contact?,
            })
        });
        report.finish(request)
    }
}
