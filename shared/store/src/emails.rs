//! The ledger of mails: one row for each order, event, and address, so that each mail is sent only
//! once.
//!
//! The row of a promised mail also holds its message, and a mark in the index `due`, until the mail
//! has ended. The write that ends it removes both, so that no personal data stays.

use std::time::Duration;

use domain::{DueStep, Email, OrderId, Timestamp, digest, digest_hex};
use messages::Message;
use strum::{EnumString, IntoStaticStr};

use super::item::{Corrupt, Item, Reader, n, s};
use super::transition::DUE_AFTER;
use super::update::{Target, Write};
use super::{Store, StoreError, TRIES, damaged, failed};

/// The attributes that only the row of a promised mail has.
const PROMISED: [&str; 5] = ["message", "keptAt", "dueShard", "dueAt", "dueTries"];

/// An update of a mail's row.
type RowWrite = Write<EmailRow>;

#[derive(Debug)]
enum EmailRow {}

impl Target for EmailRow {
    fn table(store: &Store) -> Result<&str, StoreError> {
        store.emails_table()
    }
}

impl RowWrite {
    fn row(id: &str) -> Self {
        Self::new([("emailId", s(id))])
    }

    fn state(self, state: EmailState) -> Self {
        self.set("state", s(state.as_str()))
    }

    /// Sets the order that the mail is about.
    fn about(self, order: Option<&OrderId>) -> Self {
        match order {
            Some(order) => self.set("orderId", s(order.to_string())),
            None => self,
        }
    }
}

/// The state of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EmailState {
    /// SES provably did not accept it. Any worker may claim it.
    Queued,
    /// A worker is about to call SES, or died during the call.
    Sending,
    /// SES accepted it.
    Sent,
    /// SES may or may not have accepted it. The mail is parked and is never sent again
    /// automatically.
    Unconfirmed,
    /// SES rejected the address.
    Rejected,
    /// SES did not accept it for days, and the sweep stopped retrying. A new request may claim it.
    Failed,
    /// Its address bounced or complained earlier, so SES was not called.
    Suppressed,
    /// SES accepted it, but it could not be delivered.
    Bounced,
    /// It was delivered, and its recipient marked it as spam.
    Complained,
}

impl EmailState {
    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Whether the state does not change automatically any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
    }
}

/// SES's feedback on a mail that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It could not be delivered. `is_permanent` means that no later mail to the address can be.
    Bounced {
        /// False for a temporary cause, such as a full mailbox or a server that is down.
        is_permanent: bool,
    },
    /// The recipient marked it as spam.
    Complained,
}

impl Feedback {
    /// The state that this feedback puts the mail in.
    #[must_use]
    pub fn state(&self) -> EmailState {
        match self {
            Self::Bounced { .. } => EmailState::Bounced,
            Self::Complained => EmailState::Complained,
        }
    }

    /// Whether the address gets no further mail.
    #[must_use]
    pub fn ends_mails(&self) -> bool {
        match self {
            Self::Bounced { is_permanent } => *is_permanent,
            Self::Complained => true,
        }
    }
}

/// Outcome of claiming a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailClaim {
    /// The caller holds the claim: call SES once, then settle the mail with this token.
    Yours(String),
    /// Another worker claimed it a moment ago.
    InProgress,
    /// The mail was settled before.
    Settled(EmailState),
    /// The worker that had claimed it died around the call to SES. The mail was just parked as
    /// [`EmailState::Unconfirmed`].
    Parked,
}

/// Outcome of promising a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The ledger keeps the mail until it has ended.
    Kept,
    /// The ledger already kept it.
    KeptBefore,
    /// The mail has already ended; nothing is kept.
    Ended(EmailState),
}

/// A promised mail that is due, as the index shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEmail {
    /// The key of its row.
    pub id: String,
    /// How many times the sweep has checked it.
    pub tries: u32,
    at: Timestamp,
}

/// A page of due promised mails, oldest first.
#[derive(Clone, Debug)]
pub struct DueEmails {
    /// The mails.
    pub emails: Vec<DueEmail>,
    /// The start of the next page, if there is one.
    pub next: Option<Item>,
}

/// The stored data of a promised mail.
#[derive(Clone, PartialEq, Eq)]
pub struct PromisedEmail {
    /// The state of the mail.
    pub state: EmailState,
    /// When it was promised.
    pub kept_at: Timestamp,
    /// The serialized message that requests it.
    pub message: String,
}

/// Redacted, so that the message never reaches a log by accident.
impl std::fmt::Debug for PromisedEmail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromisedEmail")
            .field("state", &self.state)
            .field("kept_at", &self.kept_at)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Stores the message of a promised mail, so that it is published again until the mail has
    /// ended. Costs one write, and another if the mail is being sent right now. A message that is
    /// already stored stays, because it requests the same mail. A mail that ended as
    /// [`EmailState::Failed`] is queued again.
    pub async fn promise_email(
        &self,
        message: &Message,
        now: Timestamp,
    ) -> Result<Promise, StoreError> {
        for attempt in 1..=TRIES {
            for state in [EmailState::Queued, EmailState::Sending] {
                let Err(row) = self.keep_message(message, state, now).await? else {
                    return Ok(Promise::Kept);
                };
                let found = self::state(&Reader(&row)).map_err(damaged("Emails"))?;
                if found.is_final() && found != EmailState::Failed {
                    return Ok(Promise::Ended(found));
                }
                if row.contains_key("message") {
                    return Ok(Promise::KeptBefore);
                }
            }
            // A worker claimed the mail or released its claim between the two writes.
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Stores the message in a row that has none and is in `state` (`Queued` or `Sending`); for
    /// `Queued`, also in a new row and in a failed one. Otherwise returns the row as it is.
    async fn keep_message(
        &self,
        message: &Message,
        state: EmailState,
        now: Timestamp,
    ) -> Result<Result<Item, Item>, StoreError> {
        let id = message.email_id();
        let json = message
            .to_json()
            .map_err(|_| damaged("Emails")(Corrupt("message")))?;
        let is_new = match state {
            EmailState::Queued => {
                "attribute_not_exists(emailId) OR #state = :failed \
                 OR (#state = :state AND attribute_not_exists(message))"
            }
            _ => "#state = :state AND attribute_not_exists(message)",
        };
        let mut row = RowWrite::row(&id)
            .when(is_new)
            .value(":state", s(state.as_str()))
            .state(state)
            .set("message", s(json))
            .set("keptAt", n(now.millis()))
            .set("dueShard", s(shard_of(&id)))
            .set("dueAt", n(now.plus(DUE_AFTER).millis()))
            .set("dueTries", n(0))
            .about(message.order.as_ref());
        if state == EmailState::Queued {
            row = row.value(":failed", s(EmailState::Failed.as_str()));
        }
        self.row(row).await
    }

    /// The promised mails of one shard that are due: at most `limit`, after `start`.
    pub async fn due_emails(
        &self,
        shard: u8,
        now: Timestamp,
        start: Option<Item>,
        limit: i32,
    ) -> Result<DueEmails, StoreError> {
        let output = self
            .client
            .query()
            .table_name(self.emails_table()?)
            .index_name("due")
            .key_condition_expression("dueShard = :shard AND dueAt <= :now")
            .expression_attribute_values(":shard", s(shard.to_string()))
            .expression_attribute_values(":now", n(now.millis()))
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(|error| failed("Query", &error))?;
        let emails = output.items().iter().map(|item| {
            let reader = Reader(item);
            Ok(DueEmail {
                id: reader.required_text("emailId")?.to_owned(),
                at: reader.required_time("dueAt")?,
                // A row that cannot be read is checked as rarely as possible.
                tries: reader.required_number("dueTries").unwrap_or(u32::MAX),
            })
        });
        let emails = emails
            .collect::<Result<_, Corrupt>>()
            .map_err(damaged("Emails"))?;
        Ok(DueEmails {
            emails,
            next: output.last_evaluated_key,
        })
    }

    /// Moves the next check of a promised mail to `next` and returns its stored data; one write.
    /// Returns `None` if the mail has ended or was checked since the index was read.
    ///
    /// The time moves whatever the row contains, even if the row cannot be read.
    pub async fn look_at_email(
        &self,
        due: &DueEmail,
        next: Timestamp,
    ) -> Result<Option<PromisedEmail>, StoreError> {
        let looked_at = RowWrite::row(&due.id)
            .when_is("dueAt", n(due.at.millis()))
            .set("dueAt", n(next.millis()))
            .set("dueTries", n(due.tries.saturating_add(1)));
        let Ok(row) = self.row(looked_at).await? else {
            return Ok(None);
        };
        let reader = Reader(&row);
        let read = || {
            Ok(PromisedEmail {
                state: state(&reader)?,
                kept_at: reader.required_time("keptAt")?,
                message: reader.required_text("message")?.to_owned(),
            })
        };
        read().map(Some).map_err(damaged("Emails"))
    }

    /// Ends a mail that SES has not accepted as [`EmailState::Failed`]; one write. The own mail of
    /// an `order` has no row before it is first claimed. Returns false if the mail is claimed or
    /// has ended otherwise.
    pub async fn give_up_email(
        &self,
        id: &str,
        order: Option<&OrderId>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_open = match order {
            Some(_) => "#state = :queued OR attribute_not_exists(emailId)",
            None => "#state = :queued",
        };
        let given_up = RowWrite::row(id)
            .when(is_open)
            .value(":queued", s(EmailState::Queued.as_str()))
            .state(EmailState::Failed)
            .set("settledAt", n(now.millis()))
            .about(order)
            .remove(PROMISED);
        let Err(row) = self.row(given_up).await? else {
            return Ok(true);
        };
        // This may be our own write, whose first answer was lost.
        let reader = Reader(&row);
        let ended = reader.time("settledAt").map_err(damaged("Emails"))?;
        Ok(ended == Some(now) && state(&reader).map_err(damaged("Emails"))? == EmailState::Failed)
    }

    /// The row after the write, or the row as it was when the condition failed.
    async fn row(&self, write: RowWrite) -> Result<Result<Item, Item>, StoreError> {
        let row = self.update(write).await?;
        Ok(row.map_err(Option::unwrap_or_default))
    }

    /// Claims the right to send a mail; one write, which keeps the message of a promised mail. A
    /// claim older than `stale` belongs to a worker that died around the call to SES. Its outcome
    /// cannot be known, so the mail is parked.
    pub async fn claim_email(
        &self,
        email_id: &str,
        order: Option<&OrderId>,
        now: Timestamp,
        stale: Duration,
    ) -> Result<EmailClaim, StoreError> {
        let holder = self.runtime.token();
        let claim = RowWrite::row(email_id)
            .when("attribute_not_exists(emailId) OR #state = :queued OR #state = :failed")
            .value(":queued", s(EmailState::Queued.as_str()))
            .value(":failed", s(EmailState::Failed.as_str()))
            .state(EmailState::Sending)
            .set("holder", s(&holder))
            .set("claimedAt", n(now.millis()))
            .about(order);
        let Err(old) = self.row(claim).await? else {
            return Ok(EmailClaim::Yours(holder));
        };
        let reader = Reader(&old);
        let found = state(&reader).map_err(damaged("Emails"))?;
        if found != EmailState::Sending {
            return Ok(EmailClaim::Settled(found));
        }
        let claim = || {
            let by = reader.text("holder")?;
            Ok((by, reader.required_time("claimedAt")?))
        };
        let (claimed_by, claimed_at) = claim().map_err(damaged("Emails"))?;
        if claimed_by == Some(holder.as_str()) {
            // Our own write, whose first answer was lost.
            return Ok(EmailClaim::Yours(holder));
        }
        if now < claimed_at.plus(stale) {
            return Ok(EmailClaim::InProgress);
        }
        let dead = claimed_by.unwrap_or_default();
        let is_parked = self
            .settle_email(email_id, dead, EmailState::Unconfirmed, None, now)
            .await?;
        // Not parked: its holder has just settled it or released the claim. The caller retries.
        Ok(if is_parked {
            EmailClaim::Parked
        } else {
            EmailClaim::InProgress
        })
    }

    /// Records SES's feedback on a mail, even if the mail is not settled yet; one write. A
    /// complaint is never overwritten. Returns false if there is no such mail or the feedback was
    /// recorded before.
    pub async fn record_feedback(
        &self,
        id: &str,
        feedback: Feedback,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let told = s(feedback.state().as_str());
        let row = RowWrite::row(id)
            .when("attribute_exists(emailId)")
            .set("feedback", told.clone())
            .set("feedbackAt", n(now.millis()));
        let row = match feedback {
            Feedback::Bounced { is_permanent } => {
                let kind = if is_permanent {
                    "permanent"
                } else {
                    "transient"
                };
                row.when("attribute_not_exists(feedback)")
                    .set("bounceType", s(kind))
            }
            Feedback::Complained => row
                .when("attribute_not_exists(feedback) OR feedback <> :told")
                .value(":told", told),
        };
        Ok(self.row(row).await?.is_ok())
    }

    /// Suppresses all further mail to the address; one write. Only a hash of the address is stored.
    pub async fn suppress_address(
        &self,
        address: &Email,
        feedback: Feedback,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let suppressed = RowWrite::row(&suppression_id(address))
            .when("attribute_not_exists(emailId)")
            .set("suppressedAt", n(now.millis()))
            .set("feedback", s(feedback.state().as_str()));
        // If the address was suppressed before, the first time stays.
        let _ = self.row(suppressed).await?;
        Ok(())
    }

    /// Whether mail to the address is suppressed; one consistent read.
    pub async fn is_suppressed(&self, address: &Email) -> Result<bool, StoreError> {
        let key = [("emailId", s(suppression_id(address)))];
        let row = self.item(self.emails_table()?, key).await?;
        Ok(row.is_some())
    }

    /// Records how the mail that `holder` claimed ended, or releases the claim
    /// ([`EmailState::Queued`]). A final state also removes the stored data of a promised mail. A
    /// mail that was settled otherwise stays as it is. Returns whether the mail is settled as
    /// requested.
    pub async fn settle_email(
        &self,
        email_id: &str,
        holder: &str,
        state: EmailState,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut settled = RowWrite::row(email_id)
            .when_is("state", s(EmailState::Sending.as_str()))
            .when_is("holder", s(holder))
            .state(state)
            .set("settledAt", n(now.millis()));
        if let Some(message_id) = message_id {
            settled = settled.set("messageId", s(message_id));
        }
        if state.is_final() {
            settled = settled.remove(PROMISED);
        }
        Ok(match self.row(settled).await? {
            Ok(_) => true,
            // This may be our own write: its first answer was lost, and the SDK retried it. Another
            // worker that parked the same mail did so at another time.
            Err(row) => {
                let is = |name: &str, value| row.get(name) == Some(&value);
                is("state", s(state.as_str()))
                    && is("holder", s(holder))
                    && is("settledAt", n(now.millis()))
            }
        })
    }
}

/// The key of the row that suppresses mail to an address.
fn suppression_id(address: &Email) -> String {
    format!("address/{}", digest_hex(&["address", &address.mailbox()]))
}

/// The partition of the index that a mail belongs to.
fn shard_of(email_id: &str) -> String {
    let [first, ..] = digest(&[email_id]);
    (first % DueStep::SHARDS).to_string()
}

/// The state in a ledger row.
pub(super) fn email_state(row: &Item) -> Result<EmailState, Corrupt> {
    state(&Reader(row))
}

/// SES's feedback counts once the mail is no longer being sent, because it may arrive before the
/// row is settled. It also proves that SES accepted an unconfirmed mail.
fn state(reader: &Reader<'_>) -> Result<EmailState, Corrupt> {
    let named = |text: &str| text.parse().ok();
    let state = reader.required("state", named)?;
    Ok(match (state, reader.text("feedback")?.and_then(named)) {
        (EmailState::Sent | EmailState::Unconfirmed, Some(told)) => told,
        _ => state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_that_are_stored() {
        for (name, state) in [
            ("queued", EmailState::Queued),
            ("sending", EmailState::Sending),
            ("sent", EmailState::Sent),
            ("unconfirmed", EmailState::Unconfirmed),
            ("rejected", EmailState::Rejected),
            ("failed", EmailState::Failed),
            ("suppressed", EmailState::Suppressed),
            ("bounced", EmailState::Bounced),
            ("complained", EmailState::Complained),
        ] {
            assert_eq!((state.as_str(), name.parse()), (name, Ok(state)));
        }
    }
}
