//! The ledger of mails: one row for each order, event and address, so that each mail is sent once.
//!
//! The row of a promised mail holds its message, and a mark in the index `due`, until the mail has
//! ended. The write that ends it removes both, so that nothing personal stays.

use std::time::Duration;

use domain::{DueStep, Email, OrderId, Timestamp, digest, digest_hex};
use messages::Message;
use strum::{EnumString, IntoStaticStr};

use super::item::{Corrupt, Item, Reader, n, s};
use super::transition::DUE_AFTER;
use super::update::{Target, Write};
use super::{Store, StoreError, TRIES, damaged, failed};

/// What only the row of a promised mail has.
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

    /// The order that the mail is about.
    fn about(self, order: Option<&OrderId>) -> Self {
        match order {
            Some(order) => self.set("orderId", s(order.to_string())),
            None => self,
        }
    }
}

/// How far a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EmailState {
    /// SES provably did not take it; anybody may claim it.
    Queued,
    /// Somebody is about to call SES, or died doing so.
    Sending,
    /// SES took it.
    Sent,
    /// SES may or may not have taken it; parked, never sent again by itself.
    Unconfirmed,
    /// SES refuses the address.
    Rejected,
    /// SES did not take it for days, and the sweep stopped retrying; a new request may claim it.
    Failed,
    /// Its address bounced or complained before: SES was not called.
    Suppressed,
    /// SES took it, and it could not be delivered.
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

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
    }
}

/// What SES tells of a mail that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It could not be delivered; `is_permanent` where no further mail to the address can be.
    Bounced {
        /// As opposed to a mailbox that is full, or a server that is out.
        is_permanent: bool,
    },
    /// Its recipient marked it as spam.
    Complained,
}

impl Feedback {
    /// The state that it brings the mail into.
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

/// What became of the wish to send a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailClaim {
    /// The row is yours: call SES once, then settle it under this token.
    Yours(String),
    /// Somebody claimed it a moment ago.
    InProgress,
    /// The mail was settled before.
    Settled(EmailState),
    /// Whoever claimed it died around the call to SES: parked just now as
    /// [`EmailState::Unconfirmed`].
    Parked,
}

/// What became of the promise to send a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The ledger keeps the mail until it has ended.
    Kept,
    /// The ledger kept it before.
    KeptBefore,
    /// The mail ended before; nothing is kept.
    Ended(EmailState),
}

/// A promised mail whose time has come, as the index shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEmail {
    /// The key of its row.
    pub id: String,
    /// How often the sweep has looked at it.
    pub tries: u32,
    at: Timestamp,
}

/// A page of promised mails whose time has come, oldest first.
#[derive(Clone, Debug)]
pub struct DueEmails {
    /// The mails.
    pub emails: Vec<DueEmail>,
    /// Where the next page begins, if there is one.
    pub next: Option<Item>,
}

/// What the ledger keeps of a promised mail.
#[derive(Clone, PartialEq, Eq)]
pub struct PromisedEmail {
    /// How far it is.
    pub state: EmailState,
    /// When it was promised.
    pub kept_at: Timestamp,
    /// The message that asks for it, as it travels.
    pub message: String,
}

/// The message never reaches a log by accident.
impl std::fmt::Debug for PromisedEmail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromisedEmail")
            .field("state", &self.state)
            .field("kept_at", &self.kept_at)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Keeps the message of a mail that is promised to a caller, to be published again until the
    /// mail has ended; one write, and another where the mail is being sent right now. A message that
    /// is kept already stays: it asks for the same mail.
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
            // It was claimed or given back between the two writes.
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Keeps the message in a row that is then in `state`, `Queued` or `Sending`, and has none; else
    /// brings the row as it is.
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

    /// Promised mails of one shard whose time has come, at most `limit`, after `start`.
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
                // What cannot be read is looked at as rarely as can be.
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

    /// Moves the next look at a promised mail to `next` and brings what is kept of it; one write.
    /// `None` where it has ended, or been looked at, since the index was read.
    ///
    /// The time moves whatever the row holds, also where the row cannot be read.
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

    /// Ends a mail that SES has not taken as [`EmailState::Failed`]; one write. An `order`'s own mail
    /// has no row before it is first claimed. False if the mail is claimed or has ended otherwise.
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
        // Our own write: its first answer was lost on the way.
        let reader = Reader(&row);
        let ended = reader.time("settledAt").map_err(damaged("Emails"))?;
        Ok(ended == Some(now) && state(&reader).map_err(damaged("Emails"))? == EmailState::Failed)
    }

    /// The row after the write, or as it stood when the condition refused it.
    async fn row(&self, write: RowWrite) -> Result<Result<Item, Item>, StoreError> {
        let row = self.update(write).await?;
        Ok(row.map_err(Option::unwrap_or_default))
    }

    /// Claims the right to send a mail; one write, which leaves the message of a promised one where
    /// it is. A claim older than `stale` was left by somebody who died
    /// around the call to SES: nobody can know whether the mail went out, so it is parked.
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
            // Our own write: its first answer was lost on the way.
            return Ok(EmailClaim::Yours(holder));
        }
        if now < claimed_at.plus(stale) {
            return Ok(EmailClaim::InProgress);
        }
        let dead = claimed_by.unwrap_or_default();
        let is_parked = self
            .settle_email(email_id, dead, EmailState::Unconfirmed, None, now)
            .await?;
        // Not parked: whoever held it came back just now; ask again.
        Ok(if is_parked {
            EmailClaim::Parked
        } else {
            EmailClaim::InProgress
        })
    }

    /// Records what SES tells of a mail, also of one that is not settled yet; one write. A complaint
    /// stays what it is. False if there is no such mail, or it was recorded before.
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

    /// Sends no further mail to the address; one write. Only a hash of the address is kept.
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
        // Suppressed before: the first time stays.
        let _ = self.row(suppressed).await?;
        Ok(())
    }

    /// Whether the address gets no further mail; one consistent read.
    pub async fn is_suppressed(&self, address: &Email) -> Result<bool, StoreError> {
        let key = [("emailId", s(suppression_id(address)))];
        let row = self.item(self.emails_table()?, key).await?;
        Ok(row.is_some())
    }

    /// Writes how the mail that `holder` claimed ended, or gives the claim back
    /// ([`EmailState::Queued`]). What was kept of a promised mail goes with its end. A mail that is
    /// settled otherwise stays as it is; tells whether this holds.
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
            // Our own write: its first answer was lost on the way, and the SDK tried again. Whoever else
            // parked the same mail did it at another time.
            Err(row) => {
                let is = |name: &str, value| row.get(name) == Some(&value);
                is("state", s(state.as_str()))
                    && is("holder", s(holder))
                    && is("settledAt", n(now.millis()))
            }
        })
    }
}

/// The key of the row that ends mails to an address.
fn suppression_id(address: &Email) -> String {
    format!("address/{}", digest_hex(&["address", &address.mailbox()]))
}

/// Over which of the index's partitions a mail goes.
fn shard_of(email_id: &str) -> String {
    let [first, ..] = digest(&[email_id]);
    (first % DueStep::SHARDS).to_string()
}

/// The state in a ledger row.
pub(super) fn email_state(row: &Item) -> Result<EmailState, Corrupt> {
    state(&Reader(row))
}

/// What SES told counts once the sending has ended: it may tell before the row is settled. It also
/// proves that an unconfirmed mail was taken.
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
