//! Promised mails that have not ended.
//!
//! The ledger keeps their messages. Each check first moves the mail's next check and then
//! publishes, so a mail that fails, or that this version cannot read, delays no other.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use domain::{DueStep, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use messages::queue::{EventQueue, Queue, QueueError};
use messages::{Message, MessageError, order_of_email};
use platform::runtime::Runtime;
use store::{DueEmail, EmailState, Store, StoreError};

use crate::sweep::{OVERDUE_TRIES, in_time, lock, next_check};

/// How many mails of one index partition are checked concurrently.
const PAGE: i32 = 25;

/// Maximum pages of one partition per sweep; the next sweep takes the rest.
const PAGES: usize = 40;

/// Outcome of a sweep of promised mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailReport {
    /// Mails whose messages were published again.
    pub published: u64,
    /// Mails that ended as `failed`: SES did not accept them for days, or the shop no longer sends
    /// mails.
    pub given_up: u64,
    /// Mails that were checked three times or more and still wait.
    pub overdue: u64,
    /// Mails whose check failed; they stay due.
    pub failed: u64,
}

/// Outcome of checking one mail.
enum MailCheck {
    Published,
    GivenUp,
    Unchanged,
}

/// Why the check of a mail failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored message cannot be read")]
    Message(#[from] MessageError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Checks the promised mails that are due, all partitions concurrently, so that a slow queue delays
/// no partition. A mail not accepted for `retry` ends as `failed`, and its message is removed.
/// Returns the report even if the sweep is cut off or panics.
pub(crate) async fn sweep_mails(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
    retry: Duration,
) -> MailReport {
    let sweeper = Sweeper {
        store,
        queues,
        runtime,
        retry,
        report: Mutex::default(),
    };
    let sweeper = &sweeper;
    let shards =
        (0..DueStep::SHARDS).map(|shard| Box::pin(async move { sweeper.sweep(shard).await }));
    let whole = AssertUnwindSafe(join_all(shards)).catch_unwind();
    // A mail that is cut off here has moved its mark, or the next sweep finds it again.
    if let Ok(Err(_)) = in_time(whole).await {
        tracing::error!(code = "internal_error", "the sweep of mails panicked");
        lock(&sweeper.report).failed += 1;
    }
    *lock(&sweeper.report)
}

struct Sweeper<'a, Q> {
    store: &'a Store,
    queues: &'a Q,
    runtime: &'a Runtime,
    retry: Duration,
    report: Mutex<MailReport>,
}

impl<Q: EventQueue> Sweeper<'_, Q> {
    async fn sweep(&self, shard: u8) {
        let mut start = None;
        for _ in 0..PAGES {
            let now = self.runtime.now();
            let page = match self.store.due_emails(shard, now, start, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(shard, %error, "the mail index could not be read");
                    lock(&self.report).failed += 1;
                    break;
                }
            };
            let now = self.runtime.now();
            let looks = page.emails.iter().map(|due| Box::pin(self.check(now, due)));
            for (outcome, due) in join_all(looks).await.into_iter().zip(&page.emails) {
                lock(&self.report).count(due, outcome);
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
    }

    /// Moves a mail's next check, then publishes its message again or gives the mail up.
    async fn check(&self, now: Timestamp, due: &DueEmail) -> Result<MailCheck, CheckError> {
        let next = next_check(now, due.tries.saturating_add(1));
        let Some(mail) = self.store.look_at_email(due, next).await? else {
            return Ok(MailCheck::Unchanged);
        };
        let is_hopeless = mail.kept_at.plus(self.retry) <= now || !self.store.sends_mails();
        if mail.state == EmailState::Queued && is_hopeless {
            let is_given_up = self.store.give_up_email(&due.id, None, now).await?;
            return Ok(if is_given_up {
                MailCheck::GivenUp
            } else {
                MailCheck::Unchanged
            });
        }
        let message = Message::from_json(&mail.message)?;
        self.queues.send(Queue::Email, &[message]).await?;
        Ok(MailCheck::Published)
    }
}

impl MailReport {
    fn count(&mut self, due: &DueEmail, outcome: Result<MailCheck, CheckError>) {
        let tries = due.tries.saturating_add(1);
        let order_id = order_of_email(&due.id).map(|order| order.to_string());
        match outcome {
            Ok(MailCheck::Unchanged) => return,
            Ok(MailCheck::GivenUp) => {
                tracing::error!(order_id, email_id = due.id, "mail given up");
                self.given_up += 1;
                return;
            }
            Ok(MailCheck::Published) => {
                tracing::info!(order_id, email_id = due.id, tries, "mail published again");
                self.published += 1;
            }
            Err(error) => {
                tracing::warn!(order_id, email_id = due.id, %error, "mail could not be published again");
                self.failed += 1;
            }
        }
        self.overdue += u64::from(tries >= OVERDUE_TRIES);
    }
}
