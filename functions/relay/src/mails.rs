//! Mails that were promised to a caller and have not ended.
//!
//! The ledger keeps their messages. Each look first moves the time of the next one and then publishes,
//! so a mail that fails, or that this version cannot read, delays no other.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use domain::{DueStep, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use messages::queue::{EventQueue, Queue, QueueError};
use messages::{Message, MessageError};
use platform::runtime::Runtime;
use store::{DueEmail, EmailState, Store, StoreError};

use crate::sweep::{OVERDUE_TRIES, in_time, lock, next_look};

/// How many mails of one index partition are looked at together.
const PAGE: i32 = 25;

/// How many pages of one partition one sweep takes; the rest waits for the next.
const PAGES: usize = 40;

/// What a sweep did for promised mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailReport {
    /// Those whose messages were published again.
    pub published: u64,
    /// Those that ended as `failed`: SES did not take them for days, or mails are no longer sent.
    pub given_up: u64,
    /// Those that were looked at at least three times and still wait.
    pub overdue: u64,
    /// Those that could not be dealt with; they stay due.
    pub failed: u64,
}

/// What became of one mail.
enum Fate {
    Published,
    GivenUp,
    MovedOn,
}

/// Why a mail could not be dealt with.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the kept message cannot be read")]
    Message(#[from] MessageError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Looks at the promised mails whose time has come, in all partitions at once: a queue that is slow to
/// refuse messages delays none of the partitions. One that is not taken for `retry` ends as `failed`,
/// and its message is removed. What the sweep did is told whatever ends it.
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
    let told = &sweeper;
    let shards = (0..DueStep::SHARDS).map(|shard| Box::pin(async move { told.sweep(shard).await }));
    let whole = AssertUnwindSafe(join_all(shards)).catch_unwind();
    // What is cut off here has moved its mark, or is found again where it was.
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
                    tracing::warn!(shard, %error, "the index of mails could not be read");
                    lock(&self.report).failed += 1;
                    break;
                }
            };
            let now = self.runtime.now();
            let looks = page.emails.iter().map(|due| Box::pin(self.look(now, due)));
            for (fate, due) in join_all(looks).await.into_iter().zip(&page.emails) {
                lock(&self.report).count(due, fate);
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
    }

    /// Moves the next look at a mail, and publishes its message again or gives it up.
    async fn look(&self, now: Timestamp, due: &DueEmail) -> Result<Fate, LookError> {
        let next = next_look(now, due.tries.saturating_add(1));
        let Some(mail) = self.store.look_at_email(due, next).await? else {
            return Ok(Fate::MovedOn);
        };
        let is_hopeless = mail.kept_at.plus(self.retry) <= now || !self.store.sends_mails();
        if mail.state == EmailState::Queued && is_hopeless {
            let is_given_up = self.store.give_up_email(&due.id, None, now).await?;
            return Ok(if is_given_up {
                Fate::GivenUp
            } else {
                Fate::MovedOn
            });
        }
        let message = Message::from_json(&mail.message)?;
        self.queues.send(Queue::Email, &[message]).await?;
        Ok(Fate::Published)
    }
}

impl MailReport {
    fn count(&mut self, due: &DueEmail, fate: Result<Fate, LookError>) {
        let tries = due.tries.saturating_add(1);
        match fate {
            Ok(Fate::MovedOn) => return,
            Ok(Fate::GivenUp) => {
                tracing::error!(email_id = due.id, "mail given up");
                self.given_up += 1;
                return;
            }
            Ok(Fate::Published) => {
                tracing::info!(email_id = due.id, tries, "mail published again");
                self.published += 1;
            }
            Err(error) => {
                tracing::warn!(email_id = due.id, %error, "mail could not be published again");
                self.failed += 1;
            }
        }
        self.overdue += u64::from(tries >= OVERDUE_TRIES);
    }
}
