//! The ledger of mails: one row for each order and event, so that each mail is sent once.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::attributes::{Corrupt, Item, Reader, n, s};
use super::{Store, StoreError, failed};
use crate::domain::{OrderId, Timestamp};
use std::time::Duration;

/// How far a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl EmailState {
    const ALL: [Self; 5] = [
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Unconfirmed,
        Self::Rejected,
    ];

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Unconfirmed => "unconfirmed",
            Self::Rejected => "rejected",
        }
    }

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
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

impl Store {
    /// Claims the right to send a mail. A claim older than `stale` was left by somebody who died
    /// around the call to SES: nobody can know whether the mail went out, so it is parked.
    pub async fn claim_email(
        &self,
        email_id: &str,
        order: Option<&OrderId>,
        now: Timestamp,
        stale: Duration,
    ) -> Result<EmailClaim, StoreError> {
        let holder = self.runtime.token();
        let mut put = self
            .client
            .put_item()
            .table_name(self.emails_table()?)
            .item("emailId", s(email_id))
            .item("state", s(EmailState::Sending.as_str()))
            .item("holder", s(&holder))
            .item("claimedAt", n(now.millis()))
            .condition_expression("attribute_not_exists(emailId) OR #state = :queued")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":queued", s(EmailState::Queued.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(order) = order {
            put = put.item("orderId", s(order.to_string()));
        }
        let old = match put.send().await {
            Ok(_) => return Ok(EmailClaim::Yours(holder)),
            Err(SdkError::ServiceError(error)) => match error.err() {
                PutItemError::ConditionalCheckFailedException(refused) => {
                    refused.item().cloned().unwrap_or_default()
                }
                _ => return Err(failed("PutItem", &SdkError::ServiceError(error))),
            },
            Err(error) => return Err(failed("PutItem", &error)),
        };
        let reader = Reader(&old);
        let row = || {
            let state = state(&reader)?;
            Ok((
                state,
                reader.text("holder")?,
                reader.required_time("claimedAt")?,
            ))
        };
        let (state, claimed_by, claimed_at) = row().map_err(damaged)?;
        if state != EmailState::Sending {
            return Ok(EmailClaim::Settled(state));
        }
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

    /// Writes how the mail that `holder` claimed ended, or gives the claim back
    /// ([`EmailState::Queued`]). A mail that is settled stays as it is; tells whether it was not.
    pub async fn settle_email(
        &self,
        email_id: &str,
        holder: &str,
        state: EmailState,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut update = self
            .client
            .update_item()
            .table_name(self.emails_table()?)
            .key("emailId", s(email_id))
            .update_expression("SET #state = :state, settledAt = :now")
            .condition_expression("#state = :sending AND holder = :holder")
            .expression_attribute_values(":holder", s(holder))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(state.as_str()))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":sending", s(EmailState::Sending.as_str()));
        if let Some(message_id) = message_id {
            update = update
                .update_expression("SET #state = :state, settledAt = :now, messageId = :message")
                .expression_attribute_values(":message", s(message_id));
        }
        match update.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    UpdateItemError::ConditionalCheckFailedException(_)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("UpdateItem", &error)),
        }
    }
}

fn damaged(source: Corrupt) -> StoreError {
    StoreError::Corrupt {
        table: "Emails",
        source,
    }
}

/// The state in a ledger row.
pub(super) fn email_state(row: &Item) -> Result<EmailState, Corrupt> {
    state(&Reader(row))
}

fn state(reader: &Reader<'_>) -> Result<EmailState, Corrupt> {
    reader.required("state", |text| {
        EmailState::ALL.into_iter().find(|s| s.as_str() == text)
    })
}
