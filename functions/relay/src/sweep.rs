//! What has waited too long.
//!
//! A look moves its order's mark before it publishes. So whatever fails then, no order stays at the
//! head of its shard, and what one queue took is not sent again because another refused.

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use shared::domain::{ChargeState, Due, DueStep, EventType, Order, Status, Timestamp};
use shared::error::Error;
use shared::event::MessageKind;
use shared::lambda::deadline;
use shared::queue::{EventQueue, Queue};
use shared::runtime::Runtime;
use shared::store::{Corrupt, DueCursor, DueMark, DueOrder, EmailState, Store};

use crate::mails::MailReport;
use crate::publish::{Dispatch, dispatches, mail_dispatch, send};
use crate::queues::Sparing;

/// How many orders of one index partition are looked at together.
const PAGE: i32 = 25;

/// An order that was looked at this often without effect is overdue: manual action may be needed.
pub(crate) const OVERDUE_TRIES: u32 = 3;

/// What is kept of the invocation for saying what was done.
const RESERVE: Duration = Duration::from_secs(2);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Orders whose events were published again, to one queue at least.
    pub published: u64,
    /// Orders that turned out to wait for nothing.
    pub settled: u64,
    /// Orders that were looked at for the third time or more, except payments that wait for their
    /// customer.
    pub overdue: u64,
    /// Orders that could not be read, or whose events not every queue took, and index partitions
    /// that could not be read. Their next look tries again.
    pub failed: u64,
    /// Index partitions that there was no time left for; the next sweep goes on with them.
    pub unfinished: u64,
    /// Mails of orders that ended as `failed`, because SES did not take them for days.
    pub mails_given_up: u64,
    /// The promised mails, which are looked at beside the orders.
    pub mails: MailReport,
}

impl AddAssign for SweepReport {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.settled += other.settled;
        self.overdue += other.overdue;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        self.mails_given_up += other.mails_given_up;
    }
}

/// When an order that was looked at `tries` times is looked at again: 2, 4, 8 … minutes later, at
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

/// How far the sweep is in one partition of the index.
#[derive(Clone, Debug)]
struct Place {
    step: DueStep,
    shard: u8,
    after: Option<DueCursor>,
}

/// The beginning of every partition. Each minute begins with another one, so that none is always the
/// last.
fn places(now: Timestamp) -> VecDeque<Place> {
    let shards = |step| {
        (0..DueStep::SHARDS).map(move |shard| Place {
            step,
            shard,
            after: None,
        })
    };
    let mut places: VecDeque<Place> = DueStep::ALL.into_iter().flat_map(shards).collect();
    let minute = usize::try_from(now.millis() / 60_000).unwrap_or_default();
    places.rotate_left(minute % places.len());
    places
}

/// Looks at every order whose time had come when it began, a page of each partition in turn, for as
/// long as the invocation lasts.
pub(crate) async fn sweep(
    store: &Store,
    queues: &impl EventQueue,
    runtime: &Runtime,
    mail_retry: Duration,
) -> SweepReport {
    let began = runtime.now();
    let mut progress = Progress {
        places: places(began),
        report: SweepReport::default(),
    };
    let sweeper = Sweeper {
        store,
        queues: Sparing::new(queues),
        runtime,
        mail_retry,
    };
    let whole = Box::pin(progress.go_on(&sweeper, began));
    match deadline::remaining() {
        // What is cut off here has moved its mark, or is found again where it was.
        Some(left) => drop(tokio::time::timeout(left.saturating_sub(RESERVE), whole).await),
        None => whole.await,
    }
    progress.report.unfinished = progress.places.len() as u64;
    progress.report
}

struct Progress {
    /// What is not looked at to its end.
    places: VecDeque<Place>,
    report: SweepReport,
}

impl Progress {
    async fn go_on(&mut self, sweeper: &Sweeper<'_, impl EventQueue>, until: Timestamp) {
        while let Some(place) = self.places.front().cloned() {
            let next = self.page(sweeper, &place, until).await;
            self.places.pop_front();
            self.places.extend(next);
        }
    }

    /// Looks at a page of orders; returns where the next one begins.
    async fn page(
        &mut self,
        sweeper: &Sweeper<'_, impl EventQueue>,
        place: &Place,
        until: Timestamp,
    ) -> Option<Place> {
        let Place { step, shard, after } = place.clone();
        let page = sweeper
            .store
            .due_orders(step, shard, until, PAGE, after)
            .await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%step, shard, %error, "the index could not be read");
                self.report.failed += 1;
                return None;
            }
        };
        let looks = page.marks.iter().map(|mark| Box::pin(sweeper.look(mark)));
        let mut looks: FuturesUnordered<_> = looks.collect();
        while let Some(look) = looks.next().await {
            self.report += look;
        }
        page.next.map(|after| Place {
            step,
            shard,
            after: Some(after),
        })
    }
}

struct Sweeper<'a, Q> {
    store: &'a Store,
    queues: Sparing<'a, Q>,
    runtime: &'a Runtime,
    mail_retry: Duration,
}

impl<Q: EventQueue> Sweeper<'_, Q> {
    /// Looks at one order. Whatever fails fails for it alone, and its next look comes later.
    async fn look(&self, mark: &DueMark) -> SweepReport {
        let looked = AssertUnwindSafe(self.try_look(mark)).catch_unwind().await;
        let looked = looked.unwrap_or_else(|_| Err(Error::Internal("the look panicked".into())));
        match looked {
            Ok(report) => report,
            Err(error) => {
                self.look_failed(mark, &error).await;
                SweepReport {
                    failed: 1,
                    ..SweepReport::default()
                }
            }
        }
    }

    async fn try_look(&self, mark: &DueMark) -> Result<SweepReport, Error> {
        match self.store.due_order(mark).await? {
            DueOrder::Gone => Ok(SweepReport::default()),
            DueOrder::Read(order, mails) => self.revive(&order, &mails).await,
            DueOrder::Unreadable { tries, source } => {
                let tries = tries.saturating_add(1);
                let at = next_look(self.runtime.now(), tries);
                let order_id = mark.order();
                tracing::error!(order_id, tries, %source, "cannot be read; looked at again later");
                self.store.postpone(mark, at, Some(tries)).await?;
                Ok(SweepReport {
                    failed: 1,
                    ..SweepReport::default()
                })
            }
        }
    }

    async fn look_failed(&self, mark: &DueMark, error: &Error) {
        let (order_id, code) = (mark.order(), error.code());
        match error {
            Error::Internal(source) => {
                tracing::error!(order_id, code, %source, "could not be looked at");
            }
            Error::Unavailable { source, .. } => {
                tracing::warn!(order_id, code, %source, "could not be looked at");
            }
            _ => tracing::warn!(order_id, code, "could not be looked at"),
        }
        // Moved already, unless the order could not be asked or moved by what was read of it.
        let at = next_look(self.runtime.now(), 1);
        if let Err(error) = self.store.postpone(mark, at, None).await {
            tracing::warn!(order_id, %error, "its look could not be moved");
        }
    }

    /// Moves an order's next look, and publishes again what it waits for.
    async fn revive(
        &self,
        order: &Order,
        mails: &BTreeMap<EventType, Result<EmailState, Corrupt>>,
    ) -> Result<SweepReport, Error> {
        let now = self.runtime.now();
        // The index lags behind: the order itself says what is due.
        let Some(due) = order.due.filter(|due| due.at <= now) else {
            return Ok(SweepReport::default());
        };
        let order_id = order.id.to_string();
        let (wanted, mails_given_up) = self.wanted(order, due, mails).await?;
        let unreadable = mails.values().filter(|mail| mail.is_err()).count();
        if wanted.is_empty() && unreadable == 0 {
            tracing::info!(order_id, "nothing is due any more");
            let is_settled = self.store.set_due(order, None).await?;
            return Ok(SweepReport {
                settled: u64::from(is_settled),
                mails_given_up,
                ..SweepReport::default()
            });
        }
        let tries = due.tries.saturating_add(u32::from(!due.by_operator));
        let next = Due {
            step: due.step,
            at: next_look(now, tries),
            tries,
            by_operator: false,
        };
        if !self.store.set_due(order, Some(next)).await? {
            return Ok(SweepReport {
                mails_given_up,
                ..SweepReport::default()
            });
        }
        if unreadable > 0 {
            tracing::error!(
                order_id,
                unreadable,
                "the state of its mails cannot be read"
            );
        }
        let refused = send(&self.queues, &wanted).await;
        for (queue, error) in &refused {
            tracing::warn!(order_id, ?queue, %error, "not published; the next look tries again");
        }
        let is_refused = |each: &Dispatch| refused.iter().any(|(queue, _)| *queue == each.queue);
        let is_published = wanted.iter().any(|each| !is_refused(each));
        if is_published {
            tracing::info!(order_id, step = %due.step, tries, mails = ?missing(&wanted), "published again");
        }
        Ok(SweepReport {
            published: u64::from(is_published),
            overdue: u64::from(tries >= OVERDUE_TRIES && !waits_for_customer(order, due.step)),
            failed: u64::from(!refused.is_empty() || unreadable > 0),
            mails_given_up,
            ..SweepReport::default()
        })
    }

    /// The messages that an order waits for, and how many of its mails were given up instead.
    async fn wanted(
        &self,
        order: &Order,
        due: Due,
        mails: &BTreeMap<EventType, Result<EmailState, Corrupt>>,
    ) -> Result<(Vec<Dispatch>, u64), Error> {
        let mut given_up = 0;
        let mut wanted = Vec::new();
        for each in wanted_of(order, due.step, mails) {
            if each.queue != Queue::Email {
                wanted.push(each);
            } else if !self.store.sends_mails() {
                // No sender: no order waits for a mail.
            } else if self.is_hopeless(order, due, &each) {
                let id = each.message.email_id();
                let now = self.runtime.now();
                let is_given_up = self.store.give_up_email(&id, Some(&order.id), now).await?;
                if is_given_up {
                    tracing::error!(email_id = id, "mail given up");
                    given_up += 1;
                } else {
                    wanted.push(each);
                }
            } else {
                wanted.push(each);
            }
        }
        Ok((wanted, given_up))
    }

    /// Whether SES has not taken the mail for days, though it was asked again and again.
    fn is_hopeless(&self, order: &Order, due: Due, mail: &Dispatch) -> bool {
        let MessageKind::Event(kind) = mail.message.kind else {
            return false;
        };
        let since = order.events.get(&kind).map(|record| record.at);
        due.tries >= OVERDUE_TRIES
            && since.is_some_and(|since| since.plus(self.mail_retry) <= self.runtime.now())
    }
}

/// The messages that an order waits for: of its mails those that have not ended, and its next step.
fn wanted_of(
    order: &Order,
    step: DueStep,
    mails: &BTreeMap<EventType, Result<EmailState, Corrupt>>,
) -> Vec<Dispatch> {
    let is_missing = |kind: &EventType| match mails.get(kind) {
        None => true,
        Some(Ok(state)) => !state.is_final(),
        // Whoever sends it could not read it either.
        Some(Err(_)) => false,
    };
    let missing = order.mailed_events().filter(is_missing);
    let mut wanted: Vec<Dispatch> = missing
        .filter_map(|kind| mail_dispatch(order, kind))
        .collect();
    if step != DueStep::Email {
        let next = dispatches(order, latest_event(order));
        wanted.extend(next.into_iter().filter(|each| each.message.mail.is_none()));
    }
    wanted
}

/// Whether only the customer can bring the order's payment on: nobody here has anything to mend.
fn waits_for_customer(order: &Order, step: DueStep) -> bool {
    let state = order.payment.as_ref().map(|payment| payment.state);
    step == DueStep::Payment
        && matches!(
            state,
            Some(ChargeState::ActionRequired | ChargeState::Declined)
        )
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
    use std::collections::BTreeSet;

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

    #[test]
    fn every_sweep_visits_every_partition_and_each_minute_begins_with_another() {
        let name = |place: &Place| place.step.partition(place.shard);
        let all = usize::from(DueStep::SHARDS) * DueStep::ALL.len();
        let mut firsts = BTreeSet::new();
        for minute in 0..16 {
            let places = places(Timestamp::from_millis(1_795_428_725_000 + minute * 60_000));
            let visited: BTreeSet<String> = places.iter().map(name).collect();
            assert_eq!((places.len(), visited.len()), (all, all));
            firsts.extend(places.front().map(name));
        }
        assert_eq!(firsts.len(), all);
    }
}
