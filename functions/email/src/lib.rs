//! Sends mails to the customer: one per order, event, and address.
//!
//! `POST /api/order/email.json`, or automatically on each event in [`EventType::MAILED`].
//!
//! A mail waits for its turn, the ledger row is claimed, SES is called once, and the row is
//! settled. SES does not recognize a repeat, so a mail with an unknown outcome is parked as
//! `unconfirmed` and never sent again automatically. A mail that SES refuses because of the sending
//! rate was provably not accepted: it waits for another turn, without a claim, while the invocation
//! has time.

mod feedback;
pub mod mail;
pub mod mailer;
pub mod pace;

use std::sync::Arc;
use std::time::Duration;

use domain::{Currency, Email, EventType, Money, Order};
use messages::{MailData, Message, MessageKind};
use platform::aws::AwsFailure;
use platform::runtime::Runtime;
use platform::telemetry;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Number;
use service::error::{Dependency, Error, FieldError, Outcome};
use service::http::{Answer, Call, Effect, MAILS, MailRequest, Route};
use service::lambda::{Consumed, Function};
use store::{EmailClaim, EmailState, Feedback, Store};

use feedback::Notification;
use mail::{Mail, MailAmounts, MailCard, MailFacts, MailKind, MailLine};
use mailer::{Mailer, MailerError};
use pace::Pace;

/// A claim older than this was left by a crashed function. Longer than any email function runs
/// (template.yaml: 60 s), with clocks up to five minutes apart.
pub const CLAIM_STALE_AFTER: Duration = Duration::from_mins(7);

/// `Retry-After` while another call sends the mail.
const RETRY_IN_PROGRESS: Duration = Duration::from_secs(2);

/// The email service.
#[derive(Clone, Debug)]
pub struct Emails<M> {
    store: Store,
    mailer: Option<M>,
    pace: Arc<Pace>,
    stage: String,
    runtime: Runtime,
}

/// Outcome of one attempt to send a mail.
enum Attempt {
    Ended(Result<Effect, Error>),
    /// SES refused it because of the sending rate; the claim is released.
    OverRate(AwsFailure),
    /// SES refuses it for hours; the claim is released.
    Later(AwsFailure),
}

/// Outcome of sending a mail, when it is not an error.
enum Sending {
    Ended(Effect),
    /// SES refuses it for hours: the account's 24-hour quota is used up, or a person must change
    /// something first.
    Later(AwsFailure),
}

#[derive(Serialize)]
struct SentBody {
    status: &'static str,
}

impl<M: Mailer> Emails<M> {
    /// `pace` limits the calls to the mailer; without a mailer the service sends nothing. `stage`
    /// names the deployment in metrics.
    #[must_use]
    pub fn new(
        store: Store,
        mailer: Option<M>,
        pace: Pace,
        stage: String,
        runtime: Runtime,
    ) -> Self {
        Self {
            store,
            mailer,
            pace: Arc::new(pace),
            stage,
            runtime,
        }
    }

    /// Sends the mail that the message requests, unless it was already sent.
    async fn send(&self, message: &Message) -> Result<Sending, Error> {
        let mailer = self.mailer.as_ref().ok_or(Error::MailNotConfigured)?;
        let Some(data) = &message.mail else {
            return Err(Error::Internal("the message has no mail data".into()));
        };
        let bad_address = |_| {
            let detail = "must be an email address".to_owned();
            Error::Invalid(vec![FieldError {
                pointer: "/email".to_owned(),
                detail,
            }])
        };
        let to = Email::from_stored(&data.email).map_err(bad_address)?;
        let mail =
            mail::render(&facts(message, data)?).map_err(|error| Error::Internal(error.into()))?;
        let mut refusals = 0;
        loop {
            let turn = self.pace.turn().await.map_err(not_taken)?;
            let attempt = self.attempt(mailer, message, &to, &mail).await?;
            drop(turn);
            match attempt {
                Attempt::Ended(result) => return result.map(Sending::Ended),
                Attempt::Later(failure) => return Ok(Sending::Later(failure)),
                Attempt::OverRate(failure) => {
                    refusals += 1;
                    if !self.pace.hold_back(refusals, &self.runtime) {
                        return Err(not_taken(MailerError::OverRate(failure)));
                    }
                }
            }
        }
    }

    /// Claims the mail and calls SES once.
    async fn attempt(
        &self,
        mailer: &M,
        message: &Message,
        to: &Email,
        mail: &Mail,
    ) -> Result<Attempt, Error> {
        let id = message.email_id();
        let is_suppressed = self.store.is_suppressed(to).await?;
        let now = self.runtime.now();
        let order = message.order.as_ref();
        let claim = self
            .store
            .claim_email(&id, order, now, CLAIM_STALE_AFTER)
            .await?;
        Ok(match claim {
            EmailClaim::InProgress => Attempt::Ended(Err(Error::InProgress {
                retry_after: RETRY_IN_PROGRESS,
            })),
            EmailClaim::Settled(state) => Attempt::Ended(settled_before(state)),
            EmailClaim::Parked => {
                self.count_unconfirmed();
                Attempt::Ended(Err(Error::MailUnconfirmed))
            }
            EmailClaim::Yours(holder) if is_suppressed => {
                let suppressed = EmailState::Suppressed;
                let settled = self.store.settle_email(&id, &holder, suppressed, None, now);
                settled.await?;
                Attempt::Ended(outcome(suppressed).map(|()| Effect::Now))
            }
            EmailClaim::Yours(holder) => {
                let sent = mailer.send(&id, to, mail).await;
                self.settle(&id, &holder, sent).await?
            }
        })
    }

    async fn settle(
        &self,
        id: &str,
        holder: &str,
        sent: Result<String, MailerError>,
    ) -> Result<Attempt, Error> {
        let (state, message_id) = match &sent {
            Ok(message_id) => (EmailState::Sent, Some(message_id.as_str())),
            Err(
                MailerError::OverRate(_)
                | MailerError::OverQuota(_)
                | MailerError::Refused(_)
                | MailerError::NotTaken(_),
            ) => (EmailState::Queued, None),
            Err(MailerError::AddressRejected(_)) => (EmailState::Rejected, None),
            Err(MailerError::Unknown(_)) => (EmailState::Unconfirmed, None),
        };
        let is_settled = self
            .store
            .settle_email(id, holder, state, message_id, self.runtime.now())
            .await
            .map_err(|error| Error::from(error).after_an_effect())?;
        if !is_settled {
            // The row was parked concurrently; every repeat reports its state.
            return Ok(Attempt::Ended(Err(Error::MailUnconfirmed)));
        }
        // Count only what was written: a row parked later is counted then.
        if state == EmailState::Unconfirmed {
            self.count_unconfirmed();
        }
        if let Err(MailerError::AddressRejected(failure)) = &sent {
            tracing::warn!(email_id = id, %failure, "SES rejected the address");
            self.count("EmailRejected");
        }
        Ok(match sent {
            Err(MailerError::OverRate(failure)) => Attempt::OverRate(failure),
            Err(MailerError::OverQuota(failure) | MailerError::Refused(failure)) => {
                Attempt::Later(failure)
            }
            Err(error @ MailerError::NotTaken(_)) => Attempt::Ended(Err(not_taken(error))),
            _ => Attempt::Ended(outcome(state).map(|()| Effect::Now)),
        })
    }

    /// Records SES's feedback about a mail, and suppresses the addresses that must receive no more.
    async fn record(
        &self,
        email_id: Option<&str>,
        feedback: Feedback,
        addresses: &[Email],
    ) -> Result<Consumed, Error> {
        if let Some(order) = email_id.and_then(messages::order_of_email) {
            telemetry::about_order(&order);
        }
        let now = self.runtime.now();
        if feedback.ends_mails() {
            for address in addresses {
                self.store.suppress_address(address, feedback, now).await?;
            }
        }
        let is_new = match email_id {
            Some(id) => self.store.record_feedback(id, feedback, now).await?,
            None => false,
        };
        let state = feedback.state().as_str();
        if is_new {
            tracing::warn!(email_id, state, "SES reported a mail");
            match feedback {
                Feedback::Bounced { .. } => self.count("EmailBounced"),
                Feedback::Complained => self.count("EmailComplained"),
            }
        } else {
            tracing::info!(
                email_id,
                state,
                "SES reported an unknown mail or repeated a report"
            );
        }
        Ok(Consumed::Done)
    }

    fn count_unconfirmed(&self) {
        self.count("EmailUnconfirmed");
    }

    fn count(&self, metric: &'static str) {
        telemetry::count(&self.stage, metric, 1, self.runtime.now());
    }
}

/// The mail was provably not accepted.
fn not_taken(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable {
        dependency: Dependency::Mail,
        outcome: Outcome::NothingDone,
        source: source.into(),
    }
}

fn outcome(state: EmailState) -> Result<(), Error> {
    match state {
        // Later feedback does not change the answer to a repeat.
        EmailState::Sent | EmailState::Bounced | EmailState::Complained => Ok(()),
        EmailState::Unconfirmed => Err(Error::MailUnconfirmed),
        EmailState::Rejected | EmailState::Suppressed => Err(Error::AddressRejected),
        EmailState::Queued | EmailState::Failed | EmailState::Sending => Err(Error::InProgress {
            retry_after: RETRY_IN_PROGRESS,
        }),
    }
}

/// The outcome of a mail that an earlier request or message claimed. The error for a mail that is
/// still being sent is not marked as a replay.
fn settled_before(state: EmailState) -> Result<Effect, Error> {
    match outcome(state) {
        Ok(()) => Ok(Effect::Before),
        Err(error @ Error::InProgress { .. }) => Err(error),
        Err(error) => Err(error.replayed()),
    }
}

/// The values for the mail's template, with amounts formatted for people.
fn facts(message: &Message, data: &MailData) -> Result<MailFacts, Error> {
    let kind = match message.kind {
        MessageKind::Event(EventType::InvoiceCreated) => MailKind::InvoiceCreated,
        MessageKind::Event(EventType::PaymentProcessed) => MailKind::PaymentProcessed,
        MessageKind::Event(EventType::OrderShipped) => MailKind::OrderShipped,
        MessageKind::Event(EventType::ParcelOutForDelivery) => MailKind::ParcelOutForDelivery,
        MessageKind::Event(EventType::ParcelAvailableForPickup) => {
            MailKind::ParcelAvailableForPickup
        }
        MessageKind::Event(EventType::ParcelDelivered) => MailKind::ParcelDelivered,
        MessageKind::Event(EventType::ParcelReturned) => MailKind::ParcelReturned,
        MessageKind::Event(EventType::PaymentRefunded) => MailKind::PaymentRefunded,
        MessageKind::Event(EventType::OrderCancelled) => MailKind::OrderCancelled,
        MessageKind::Event(EventType::CartUpdated | EventType::RefundRequested)
        | MessageKind::Charge
        | MessageKind::Dispute(..)
        | MessageKind::Delivery(_) => {
            return Err(Error::Internal("this event has no mail".into()));
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
        free: data.total.as_ref().is_some_and(is_zero),
        refunded_part: data.refund_amount.as_ref().and_then(&amount),
        expired: data.cancel_reason.as_deref() == Some(Order::EXPIRED),
    })
}

fn is_zero(number: &Number) -> bool {
    Decimal::from_str_exact(number.as_str()).is_ok_and(|value| value.is_zero())
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
        match self.send(&message).await? {
            Sending::Ended(effect) => {
                Ok(Answer::ok(&SentBody { status: "OK" })?.with_effect(effect))
            }
            Sending::Later(failure) => Err(not_taken(failure)),
        }
    }

    async fn consume_foreign(&self, text: &str) -> Option<Result<Consumed, Error>> {
        Some(match feedback::read(text)? {
            Notification::Ignored => Ok(Consumed::Done),
            Notification::Feedback {
                email_id,
                feedback,
                addresses,
            } => self.record(email_id.as_deref(), feedback, &addresses).await,
        })
    }

    async fn consume(&self, message: Message) -> Result<Consumed, Error> {
        match self.send(&message).await.map_err(Error::into_first) {
            // This outlasts the queue's receives, and each of them would take a turn from a mail that
            // SES accepts: the sweep publishes the mail again.
            Ok(Sending::Later(failure)) => {
                telemetry::count_failure("MailServiceFailed");
                tracing::warn!(%failure, "SES refuses the mail; left to the sweep");
                Ok(Consumed::Done)
            }
            // The mail is parked or rejected; the ledger has recorded it. A shop without a sender
            // drops the messages from when it had one.
            Ok(Sending::Ended(_))
            | Err(Error::MailUnconfirmed | Error::AddressRejected | Error::MailNotConfigured) => {
                Ok(Consumed::Done)
            }
            Err(Error::InProgress { .. }) => Ok(Consumed::NotYet),
            Err(error) => Err(error),
        }
    }
}
