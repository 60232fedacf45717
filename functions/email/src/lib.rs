//! Writes to the customer: one mail for each order, event and address.
//!
//! `POST /api/order/email.json`, or by itself when `InvoiceCreated`, `PaymentProcessed` or
//! `OrderShipped` arrives.
//!
//! The ledger row is claimed, SES is called once, the row is settled. SES does not recognise a
//! repeat, so whatever is ambiguous is parked as `unconfirmed` and never sent again by itself.

pub mod mail;
pub mod mailer;

use std::time::Duration;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Number;
use shared::domain::{Currency, Email, EventType, Money, Order};
use shared::error::{Dependency, Error, FieldError, Outcome};
use shared::event::{MailData, Message, MessageKind};
use shared::http::{Answer, Call, MAILS, MailRequest, Route};
use shared::lambda::{Consumed, Function};
use shared::runtime::Runtime;
use shared::store::{EmailClaim, EmailState, Store};
use shared::telemetry;

use mail::{MailAmounts, MailCard, MailFacts, MailKind, MailLine};
use mailer::{Mailer, MailerError};

/// A claim older than this was left by a function that died: longer than any email function runs
/// (template.yaml: 20 s), by clocks that are five minutes apart.
pub const CLAIM_STALE_AFTER: Duration = Duration::from_mins(7);

/// When to ask again while another call sends the mail.
const RETRY_IN_PROGRESS: Duration = Duration::from_secs(2);

/// The email service.
#[derive(Clone, Debug)]
pub struct Emails<M> {
    store: Store,
    mailer: M,
    stage: String,
    runtime: Runtime,
}

#[derive(Serialize)]
struct SentBody {
    status: &'static str,
}

impl<M: Mailer> Emails<M> {
    /// The service over its ledger and mailer; `stage` names the deployment in metrics.
    #[must_use]
    pub fn new(store: Store, mailer: M, stage: String, runtime: Runtime) -> Self {
        Self {
            store,
            mailer,
            stage,
            runtime,
        }
    }

    /// Sends the mail that the message asks for, unless it was sent.
    async fn send(&self, message: &Message) -> Result<(), Error> {
        let Some(data) = &message.mail else {
            return Err(Error::Internal("the message says nothing of a mail".into()));
        };
        let bad_address = |_| {
            let detail = "must be an email address".to_owned();
            Error::Invalid(vec![FieldError {
                pointer: "/email".to_owned(),
                detail,
            }])
        };
        let to = Email::parse(&data.email).map_err(bad_address)?;
        let mail =
            mail::render(&facts(message, data)?).map_err(|error| Error::Internal(error.into()))?;
        let id = message.email_id();
        let now = self.runtime.now();
        let order = message.order.as_ref();
        match self
            .store
            .claim_email(&id, order, now, CLAIM_STALE_AFTER)
            .await?
        {
            EmailClaim::InProgress => Err(Error::InProgress {
                retry_after: RETRY_IN_PROGRESS,
            }),
            EmailClaim::Settled(state) => outcome(state),
            EmailClaim::Parked => {
                self.count_unconfirmed();
                Err(Error::MailUnconfirmed)
            }
            EmailClaim::Yours(holder) => {
                let sent = self.mailer.send(&to, &mail).await;
                self.settle(&id, &holder, sent).await
            }
        }
    }

    async fn settle(
        &self,
        id: &str,
        holder: &str,
        sent: Result<String, MailerError>,
    ) -> Result<(), Error> {
        let (state, message_id) = match &sent {
            Ok(message_id) => (EmailState::Sent, Some(message_id.as_str())),
            Err(MailerError::NotTaken(_)) => (EmailState::Queued, None),
            Err(MailerError::AddressRejected(_)) => (EmailState::Rejected, None),
            Err(MailerError::Unknown(_)) => (EmailState::Unconfirmed, None),
        };
        let is_settled = self
            .store
            .settle_email(id, holder, state, message_id, self.runtime.now())
            .await
            .map_err(|error| Error::from(error).after_an_effect())?;
        if !is_settled {
            // Parked meanwhile: what the row says is what every repeat is told.
            return Err(Error::MailUnconfirmed);
        }
        // Only what was written counts: whoever parks the mail later counts it then.
        if state == EmailState::Unconfirmed {
            self.count_unconfirmed();
        }
        match sent {
            Err(error @ MailerError::NotTaken(_)) => Err(Error::Unavailable {
                dependency: Dependency::Mail,
                outcome: Outcome::NothingDone,
                source: error.into(),
            }),
            _ => outcome(state),
        }
    }

    fn count_unconfirmed(&self) {
        telemetry::count(&self.stage, "EmailUnconfirmed", 1, self.runtime.now());
    }
}

fn outcome(state: EmailState) -> Result<(), Error> {
    match state {
        EmailState::Sent => Ok(()),
        EmailState::Unconfirmed => Err(Error::MailUnconfirmed),
        EmailState::Rejected => Err(Error::AddressRejected),
        EmailState::Queued | EmailState::Failed | EmailState::Sending => Err(Error::InProgress {
            retry_after: RETRY_IN_PROGRESS,
        }),
    }
}

/// What the mail's template is given: texts, with amounts as people read them.
fn facts(message: &Message, data: &MailData) -> Result<MailFacts, Error> {
    let kind = match message.kind {
        MessageKind::Event(EventType::InvoiceCreated) => MailKind::InvoiceCreated,
        MessageKind::Event(EventType::PaymentProcessed) => MailKind::PaymentProcessed,
        MessageKind::Event(EventType::OrderShipped) => MailKind::OrderShipped,
        MessageKind::Event(EventType::PaymentRefunded) => MailKind::PaymentRefunded,
        MessageKind::Event(EventType::OrderCancelled) => MailKind::OrderCancelled,
        MessageKind::Event(EventType::CartUpdated | EventType::RefundRequested)
        | MessageKind::Dispute(_)
        | MessageKind::Delivery(_) => {
            return Err(Error::Internal("no mail tells of this event".into()));
        }
    };
    let currency: Option<Currency> = data.currency.as_deref().and_then(|code| code.parse().ok());
    let amount = |number: &Number| display(number, currency);
    let lines = data.lines.iter().map(|line| {
        Some(MailLine {
            product_id: line.product_id.clone(),
            quantity: line.quantity,
            price: amount(&line.price)?,
            total: amount(&line.total)?,
        })
    });
    let lines = lines.collect::<Option<_>>().unwrap_or_default();
    let amounts = data
        .sub_total
        .as_ref()
        .zip(data.tax.as_ref())
        .zip(data.total.as_ref());
    let amounts = amounts.and_then(|((sub_total, tax), total)| {
        Some(MailAmounts {
            sub_total: amount(sub_total)?,
            tax: amount(tax)?,
            total: amount(total)?,
        })
    });
    let card = data.card_brand.clone().zip(data.card_last_digits.clone());
    Ok(MailFacts {
        kind,
        name: data.name.clone(),
        order_id: message.order.map(|order| order.to_string()),
        invoice_id: data.invoice_id.clone(),
        currency: data.currency.clone(),
        lines,
        amounts,
        card: card.map(|(brand, last_digits)| MailCard { brand, last_digits }),
        tracking_number: data.tracking_number.clone(),
        shipping_address: data.shipping_address.clone(),
        expired: data.cancel_reason.as_deref() == Some(Order::EXPIRED),
    })
}

fn display(number: &Number, currency: Option<Currency>) -> Option<String> {
    let value = Decimal::from_str_exact(number.as_str()).ok()?;
    let money = Money::new(value).ok()?;
    Some(currency.map_or_else(
        || money.to_text(),
        |currency| money.to_display_text(currency),
    ))
}

impl<M: Mailer> Function for Emails<M> {
    const ROUTES: &'static [Route] = &[Route::Email];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let request = MailRequest::read(call.body()?)?;
        let message = request
            .into_message(&call, MAILS, &self.store, &self.runtime)
            .await?;
        self.send(&message).await?;
        Answer::ok(&SentBody { status: "OK" })
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        match self.send(&message).await {
            // Parked or refused for good: recorded in the ledger, nothing left to do.
            Ok(()) | Err(Error::MailUnconfirmed | Error::AddressRejected) => Ok(Consumed::Done),
            Err(Error::InProgress { .. }) => Ok(Consumed::NotYet),
            Err(error) => Err(error),
        }
    }
}
