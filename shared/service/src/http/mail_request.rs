//! The request for a mail. It is accepted at the email path and, as the contract prints it, at the
//! shipping path.

use domain::{Email, EventType, Order, OrderId, Text};
use messages::{MailData, Message, MessageKind};
use platform::runtime::Runtime;
use serde_json::Value;
use store::Store;

use super::{Call, Invalid, Named, Report, as_email, as_own_id, as_text};
use crate::claims::claim_key;
use crate::error::{Error, Missing};

/// Scope of idempotency keys that identify mails.
pub const MAILS: &str = "email";

/// `{event, name, email, orderId?}`
#[derive(Clone, Debug)]
pub struct MailRequest {
    event: EventType,
    name: Text,
    email: Email,
    order: Option<Named<OrderId>>,
}

impl MailRequest {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let event = fields.required("event", as_mailed_event);
            let name = fields.required("name", as_text);
            let email = fields.required("email", as_email);
            let order = fields.optional("orderId", as_own_id(OrderId::parse));
            fields.close();
            Some(Self {
                event: event?,
                name: name?,
                email: email?,
                order: order?,
            })
        });
        report.finish(request)
    }

    /// The message that requests the mail. An order that the request names must belong to the
    /// caller and must have reached the event. `endpoint` is the path that received the request.
    ///
    /// The message's ID identifies the mail: by the order, the event, and the address; otherwise by
    /// the caller's idempotency key; otherwise by a new ID for each request. A key identifies one
    /// mail at both paths that accept such requests, so it is bound to one body at both.
    pub async fn into_message(
        self,
        call: &Call,
        endpoint: &str,
        store: &Store,
        runtime: &Runtime,
    ) -> Result<Message, Error> {
        if !store.sends_mails() {
            return Err(Error::MailNotConfigured);
        }
        let now = runtime.now();
        claim_key(store, call, endpoint, now).await?;
        if endpoint != MAILS {
            claim_key(store, call, MAILS, now).await?;
        }
        let message = match self.order {
            None => self.of_no_order(call, runtime),
            Some(id) => self.about(&find(id, call, store).await?)?,
        };
        Ok(Message {
            traceparent: call.traceparent.clone().or(message.traceparent),
            ..message
        })
    }

    fn about(&self, order: &Order) -> Result<Message, Error> {
        let mail = Message::mail_to(order, self.event, &self.name, &self.email);
        mail.ok_or(Error::WrongState {
            status: order.status,
            detail: "that event has not happened yet",
        })
    }

    fn of_no_order(&self, call: &Call, runtime: &Runtime) -> Message {
        let request = call.key_id(MAILS).unwrap_or_else(|| runtime.token());
        Message {
            id: format!("request/{request}"),
            kind: MessageKind::Event(self.event),
            order: None,
            time: runtime.now(),
            traceparent: None,
            mail: Some(MailData {
                name: self.name.as_str().to_owned(),
                email: self.email.as_str().to_owned(),
                ..MailData::default()
            }),
        }
    }
}

async fn find(id: Named<OrderId>, call: &Call, store: &Store) -> Result<Order, Error> {
    let id = id.or_missing(Missing::Order)?;
    let order = store
        .order(&id)
        .await?
        .ok_or(Error::NotFound(Missing::Order))?;
    call.caller.check(&order.customer, Missing::Order)?;
    Ok(order)
}

fn as_mailed_event(value: &Value) -> Result<EventType, Invalid> {
    let mailed = EventType::MAILED;
    let named = value.as_str().and_then(|text| text.parse().ok());
    named.filter(|event| mailed.contains(event)).ok_or_else(|| {
        let names: Vec<_> = mailed.iter().map(EventType::as_str).collect();
        Invalid(format!("must be one of {}", names.join(", ")))
    })
}
