//! What has waited too long.

use std::time::Duration;

use futures_util::future::join_all;
use shared::domain::{ChargeState, Due, DueStep, EventType, Order, OrderId, Status, Timestamp};
use shared::error::Error;
use shared::queue::EventQueue;
use shared::runtime::Runtime;
use shared::store::{Store, StoreError};

use crate::mails::MailReport;
use crate::publish::{Dispatch, dispatches, mail_dispatch, send};

/// How many orders of one index partition are looked at together.
const PAGE: i32 = 25;

/// How many pages of one partition one sweep takes; the rest waits for the next.
const PAGES: usize = 40;

/// An order that was published this often without effect is overdue: somebody should look.
pub(crate) const OVERDUE_TRIES: u32 = 3;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Orders whose events were published again.
    pub published: u64,
    /// Orders that turned out to wait for nothing.
    pub settled: u64,
    /// Of the published ones, those that had been published often before.
    pub overdue: u64,
    /// Orders that could not be dealt with; they stay due.
    pub failed: u64,
    /// The promised mails, which are looked at beside the orders.
    pub mails: MailReport,
}

/// What became of one order.
enum Fate {
    Published { overdue: bool },
    Settled,
    MovedOn,
}

/// When an order that was published `tries` times is looked at again: 2, 4, 8 … minutes later, at
/// most an hour.
pub(crate) fn next_look(now: Timestamp, tries: u32) -> Timestamp {
    let minutes = 1_u64 << tries.clamp(1, 6);
    now.plus(Duration::from_secs(60 * minutes.min(60)))
}

/// The event that brought an order where it is.
fn latest_event(order: &Order) -> EventType {
    match order.status {
        Status::Pending => EventType::CartUpdated,
        Status::Invoiced => EventType::InvoiceCreated,
        Status::Paid => EventType::PaymentProcessed,
        Status::Shipped => EventType::OrderShipped,
        Status::Refunding => EventType::RefundRequested,
        Status::Cancelled => EventType::OrderCancelled,
    }
}

pub(crate) async fn sweep(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
) -> SweepReport {
    let mut report = SweepReport::default();
    for step in DueStep::ALL {
        for shard in 0..DueStep::SHARDS {
            let swept = Box::pin(sweep_shard(
                store,
                queues,
                runtime,
                step,
                shard,
                &mut report,
            ))
            .await;
            if let Err(error) = swept {
                tracing::warn!(%step, shard, %error, "the index could not be read");
                report.failed += 1;
            }
        }
    }
    report
}

async fn sweep_shard(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
    step: DueStep,
    shard: u8,
    report: &mut SweepReport,
) -> Result<(), StoreError> {
    for _ in 0..PAGES {
        let due = store.due_orders(step, shard, runtime.now(), PAGE).await?;
        let fates = due
            .iter()
            .map(|id| Box::pin(revive(store, queues, runtime.now(), id)));
        let failed_before = report.failed;
        for (fate, id) in join_all(fates).await.into_iter().zip(&due) {
            match fate {
                Ok(Fate::Published { overdue }) => {
                    report.published += 1;
                    report.overdue += u64::from(overdue);
                }
                Ok(Fate::Settled) => report.settled += 1,
                Ok(Fate::MovedOn) => {}
                Err(error) => {
                    tracing::warn!(order_id = %id, code = error.code(), "could not be revived");
                    report.failed += 1;
                }
            }
        }
        // What failed is still due and would come again at once; the next sweep takes it.
        if due.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) || report.failed > failed_before
        {
            break;
        }
    }
    Ok(())
}

/// Publishes again what an order waits for, and looks at it again later.
async fn revive(
    store: &Store,
    queues: &impl EventQueue,
    now: Timestamp,
    id: &OrderId,
) -> Result<Fate, Error> {
    let Some((order, emails)) = store.order_and_emails(id).await? else {
        return Ok(Fate::MovedOn);
    };
    // The index lags behind: the order itself says what is due.
    let Some(due) = order.due.filter(|due| due.at <= now) else {
        return Ok(Fate::MovedOn);
    };
    let missing_mails = order
        .mailed_events()
        .filter(|kind| {
            !emails
                .get(kind)
                .is_some_and(shared::store::EmailState::is_final)
        })
        .filter_map(|kind| mail_dispatch(&order, kind));
    let mut wanted: Vec<Dispatch> = missing_mails.collect();
    if due.step != DueStep::Email {
        let step = dispatches(&order, latest_event(&order));
        wanted.extend(step.into_iter().filter(|each| each.message.mail.is_none()));
    }
    if wanted.is_empty() {
        tracing::info!(order_id = %id, "nothing is due any more");
        store.set_due(&order, None).await?;
        return Ok(Fate::Settled);
    }
    if let Some((_, error)) = send(queues, &wanted).await.into_iter().next() {
        return Err(error.into());
    }
    let tries = due.tries + 1;
    tracing::info!(order_id = %id, step = %due.step, tries, mails = ?missing(&wanted), "published again");
    let next = Due {
        step: due.step,
        at: next_look(now, tries),
        tries,
    };
    store.set_due(&order, Some(next)).await?;
    Ok(Fate::Published {
        overdue: tries >= OVERDUE_TRIES && !waits_for_customer(&order),
    })
}

/// Whether only the customer can bring the order on: nobody here has anything to mend.
fn waits_for_customer(order: &Order) -> bool {
    order
        .payment
        .as_ref()
        .is_some_and(|payment| payment.state == ChargeState::ActionRequired)
}

fn missing(wanted: &[Dispatch]) -> Vec<String> {
    wanted
        .iter()
        .filter(|dispatch| dispatch.message.mail.is_some())
        .map(|dispatch| dispatch.message.email_id())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_rarer_up_to_an_hour() {
        let start = Timestamp::from_millis(0);
        let minutes = |tries| next_look(start, tries).millis() / 60_000;
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 60].map(minutes),
            [2, 2, 4, 8, 16, 32, 60, 60]
        );
    }
}
