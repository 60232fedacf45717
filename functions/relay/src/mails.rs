//! Mails that were promised to a caller and have not ended.
//!
//! The ledger keeps their messages. Each look first moves the time of the next one and then publishes,
//! so a mail that fails, or that this version cannot read, delays no other.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use shared::domain::{DueStep, Timestamp};
use shared::event::{Message, MessageError};
use shared::queue::{EventQueue, Queue, QueueError};
use shared::runtime::Runtime;
use shared::store::{DueEmail, EmailState, Store, StoreError};

use crate::sweep::{OVERDUE_TRIES, in_time, lock, next_look};

/// How many mails of one index partition are looked at together.
const PAGE: i32 = 25;

/// How many pages of one partition one sweep takes; the rest waits for the next.
const PAGES: usize = 40;

/// How long a promised mail is retried. It then ends as `failed`, and its message is removed.
const GIVE_UP_AFTER: Duration = Duration::from_hours(3 * 24);

/// What a sweep did for promised mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailReport {
    /// Those whose messages were published again.
    pub published: u64,
    /// Those that ended because SES did not take them for three days.
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
/// refuse messages delays none of the partitions. What it did is told whatever ends it.
pub(crate) async fn sweep_mails(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
) -> MailReport {
    let report = Mutex::new(MailReport::default());
    let told = &report;
    let shards = (0..DueStep::SHARDS).map(|shard| {
        Box::pin(async move { sweep_shard(store, queues, runtime, shard, told).await })
    });
    let whole = AssertUnwindSafe(join_all(shards)).catch_unwind();
    // What is cut off here has moved its mark, or is found again where it was.
    if let Ok(Err(_)) = in_time(whole).await {
        tracing::error!(code = "internal_error", "the sweep of mails panicked");
        lock(&report).failed += 1;
    }
    *lock(&report)
}

async fn sweep_shard(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
    shard: u8,
    report: &Mutex<MailReport>,
) {
    let mut start = None;
    for _ in 0..PAGES {
        let page = match store.due_emails(shard, runtime.now(), start, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(shard, %error, "the index of mails could not be read");
                lock(report).failed += 1;
                break;
            }
        };
        let looks = page
            .emails
            .iter()
            .map(|due| Box::pin(look(store, queues, runtime.now(), due)));
        for (fate, due) in join_all(looks).await.into_iter().zip(&page.emails) {
            lock(report).count(due, fate);
        }
        start = page.next;
        if start.is_none() {
            break;
        }
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

/// Moves the next look at a mail, and publishes its message again or gives it up.
async fn look(
    store: &Store,
    queues: &impl EventQueue,
    now: Timestamp,
    due: &DueEmail,
) -> Result<Fate, LookError> {
    let next = next_look(now, due.tries.saturating_add(1));
    let Some(mail) = store.look_at_email(due, next).await? else {
        return Ok(Fate::MovedOn);
    };
    if mail.state == EmailState::Queued && mail.kept_at.plus(GIVE_UP_AFTER) <= now {
        let is_given_up = store.give_up_email(&due.id, now).await?;
        return Ok(if is_given_up {
            Fate::GivenUp
        } else {
            Fate::MovedOn
        });
    }
    let message = Message::from_json(&mail.message)?;
    queues.send(Queue::Email, &[message]).await?;
    Ok(Fate::Published)
}
