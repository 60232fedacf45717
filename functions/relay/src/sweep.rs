//! Publishes overdue work again.
//!
//! A check moves its order's due mark before it publishes. Whatever fails afterwards, no order
//! stays at the head of its shard, and one queue's refusal does not resend what another accepted.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::ops::AddAssign;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{
    ChargeState, Due, DueStep, EventType, MailTopic, Order, Status, Timestamp, UnpaidOrders,
};
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use messages::MessageKind;
use messages::queue::{EventQueue, Queue};
use platform::deadline;
use platform::runtime::Runtime;
use service::error::Error;
use store::{Corrupt, DueCursor, DueMark, DueOrder, EmailState, Store};
use tokio::time::error::Elapsed;
use tracing::Instrument as _;

use crate::mails::MailReport;
use crate::publish::{
    Dispatch, closing_refund_dispatch, dispatches, mail_dispatch, refund_dispatch, send,
};
use crate::queues::Sparing;

/// How many orders of one index partition are checked concurrently.
const PAGE: i32 = 25;

/// How many index partitions are read concurrently. A step that has stopped fills its four.
const LANES: usize = 4;

/// An order checked this often without effect is overdue: manual action may be needed.
pub(crate) const OVERDUE_TRIES: u32 = 3;

/// How long cancelling an expired order may take: PayPal's orders live for hours and cannot be
/// closed. After that, manual action may be needed.
const EXPIRY_TAKES: Duration = Duration::from_hours(24);

/// Time reserved at the end of the invocation to report the sweep.
const RESERVE: Duration = Duration::from_secs(2);

/// Outcome of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Orders whose events were published again to at least one queue.
    pub published: u64,
    /// Orders that no longer wait for anything.
    pub settled: u64,
    /// Orders checked for the third time or more, except payments that wait for their customer.
    pub overdue: u64,
    /// Orders that could not be read or whose events a queue refused, and index partitions that
    /// could not be read. The next check retries them.
    pub failed: u64,
    /// Index partitions not finished in time; the next sweep continues with them.
    pub unfinished: u64,
    /// Mails of orders that ended as `failed` because SES did not accept them for days.
    pub mails_given_up: u64,
    /// The report on promised mails.
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

/// The next check of an order that was checked `tries` times: 2, 4, 8 … minutes later, at most an
/// hour.
pub(crate) fn next_check(now: Timestamp, tries: u32) -> Timestamp {
    let minutes = 1_u64 << tries.clamp(1, 6);
    now.plus(Duration::from_secs(60 * minutes.min(60)))
}

/// The event that led to the order's status.
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

/// A position in one partition of the index.
#[derive(Clone, Debug)]
struct Place {
    step: DueStep,
    shard: u8,
    after: Option<DueCursor>,
}

impl Place {
    fn is_same_partition(&self, other: &Self) -> bool {
        (self.step, self.shard) == (other.step, other.shard)
    }
}

/// Where this instance's last sweep stopped and the next one continues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unfinished(Arc<Mutex<Vec<Place>>>);

impl Unfinished {
    fn take(&self) -> Vec<Place> {
        std::mem::take(&mut *lock(&self.0))
    }

    fn keep(&self, places: Vec<Place>) {
        *lock(&self.0) = places;
    }
}

/// Where the last sweep stopped, then the start of every other partition. The first partition
/// rotates each minute, so that new instances do not always reach the same one last.
fn places(now: Timestamp, unfinished: Vec<Place>) -> VecDeque<Place> {
    let shards = |step| {
        (0..DueStep::SHARDS).map(move |shard| Place {
            step,
            shard,
            after: None,
        })
    };
    let mut places: VecDeque<Place> = DueStep::ALL.iter().copied().flat_map(shards).collect();
    let minute = usize::try_from(now.millis() / 60_000).unwrap_or_default();
    places.rotate_left(minute % places.len());
    places.retain(|place| !unfinished.iter().any(|each| each.is_same_partition(place)));
    unfinished.into_iter().chain(places).collect()
}

/// Checks every order that is due at the start, several partitions concurrently, one page of each
/// in turn, until the invocation ends. Returns the report even if the sweep is cut off or panics.
pub(crate) async fn sweep(
    store: &Store,
    queues: &impl EventQueue,
    unpaid: UnpaidOrders,
    runtime: &Runtime,
    mail_retry: Duration,
    unfinished: &Unfinished,
) -> SweepReport {
    let began = runtime.now();
    let progress = Progress::new(places(began, unfinished.take()));
    let sweeper = Sweeper {
        store,
        queues: Sparing::new(queues),
        unpaid,
        runtime,
        mail_retry,
    };
    let lanes = (0..LANES).map(|_| Box::pin(progress.go_on(&sweeper, began)));
    let whole = AssertUnwindSafe(join_all(lanes)).catch_unwind();
    // An order that is cut off here has moved its mark, or the next sweep finds it again.
    if let Ok(Err(_)) = in_time(whole).await {
        tracing::error!(code = "internal_error", "the sweep panicked");
        progress.count(SweepReport {
            failed: 1,
            ..SweepReport::default()
        });
    }
    let (report, left) = progress.end();
    unfinished.keep(left);
    report
}

/// The result of `work`, unless the invocation's time runs out first.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Elapsed> {
    match deadline::remaining() {
        Some(left) => tokio::time::timeout(left.saturating_sub(RESERVE), work).await,
        None => Ok(work.await),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct State {
    /// Positions not finished, the next page first.
    waiting: VecDeque<Place>,
    /// Positions whose pages are in progress.
    held: Vec<Place>,
    report: SweepReport,
}

struct Progress(Mutex<State>);

impl Progress {
    fn new(waiting: VecDeque<Place>) -> Self {
        Self(Mutex::new(State {
            waiting,
            ..State::default()
        }))
    }

    fn count(&self, report: SweepReport) {
        lock(&self.0).report += report;
    }

    /// The report and the positions not finished.
    fn end(self) -> (SweepReport, Vec<Place>) {
        let state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let left: Vec<Place> = state.held.into_iter().chain(state.waiting).collect();
        let report = SweepReport {
            unfinished: left.len() as u64,
            ..state.report
        };
        (report, left)
    }

    fn take(&self) -> Option<Place> {
        let mut state = lock(&self.0);
        let place = state.waiting.pop_front()?;
        state.held.push(place.clone());
        Some(place)
    }

    fn done(&self, place: &Place, next: Option<Place>) {
        let mut state = lock(&self.0);
        state.held.retain(|held| !held.is_same_partition(place));
        state.waiting.extend(next);
    }

    /// One lane: one page after the other, from whichever partition is next.
    async fn go_on(&self, sweeper: &Sweeper<'_, impl EventQueue>, until: Timestamp) {
        while let Some(place) = self.take() {
            let next = self.page(sweeper, &place, until).await;
            self.done(&place, next);
        }
    }

    /// Checks a page of orders; returns where the next one begins.
    async fn page(
        &self,
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
                self.count(SweepReport {
                    failed: 1,
                    ..SweepReport::default()
                });
                return None;
            }
        };
        let checks = page.marks.iter().map(|mark| Box::pin(sweeper.check(mark)));
        let mut checks: FuturesUnordered<_> = checks.collect();
        while let Some(report) = checks.next().await {
            self.count(report);
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
    unpaid: UnpaidOrders,
    runtime: &'a Runtime,
    mail_retry: Duration,
}

impl<Q: EventQueue> Sweeper<'_, Q> {
    /// Checks one order. A failure affects only this order and moves its next check.
    async fn check(&self, mark: &DueMark) -> SweepReport {
        let span = tracing::error_span!("check", order_id = mark.order());
        self.check_within(mark).instrument(span).await
    }

    async fn check_within(&self, mark: &DueMark) -> SweepReport {
        let checked = AssertUnwindSafe(self.try_check(mark)).catch_unwind().await;
        let checked = checked.unwrap_or_else(|_| Err(Error::Internal("the check panicked".into())));
        match checked {
            Ok(report) => report,
            Err(error) => {
                self.check_failed(mark, &error).await;
                SweepReport {
                    failed: 1,
                    ..SweepReport::default()
                }
            }
        }
    }

    async fn try_check(&self, mark: &DueMark) -> Result<SweepReport, Error> {
        match self.store.due_order(mark).await? {
            DueOrder::Gone => Ok(SweepReport::default()),
            DueOrder::Read(order, mails) => self.revive(&order, &mails).await,
            DueOrder::Unreadable { tries, source } => {
                let tries = tries.saturating_add(1);
                let at = next_check(self.runtime.now(), tries);
                let order_id = mark.order();
                tracing::error!(order_id, tries, %source, "cannot be read; checked again later");
                self.store.postpone(mark, at, Some(tries)).await?;
                Ok(SweepReport {
                    failed: 1,
                    ..SweepReport::default()
                })
            }
        }
    }

    async fn check_failed(&self, mark: &DueMark, error: &Error) {
        let (order_id, code) = (mark.order(), error.code());
        match error {
            Error::Internal(source) => {
                tracing::error!(order_id, code, %source, "could not be checked");
            }
            Error::Unavailable { source, .. } => {
                tracing::warn!(order_id, code, %source, "could not be checked");
            }
            _ => tracing::warn!(order_id, code, "could not be checked"),
        }
        // The check has moved the mark, unless reading the order or the write failed.
        let at = next_check(self.runtime.now(), 1);
        if let Err(error) = self.store.postpone(mark, at, None).await {
            tracing::warn!(order_id, %error, "the next check could not be moved");
        }
    }

    /// Moves an order's next check and publishes again what the order waits for.
    async fn revive(
        &self,
        order: &Order,
        mails: &BTreeMap<MailTopic, Result<EmailState, Corrupt>>,
    ) -> Result<SweepReport, Error> {
        let now = self.runtime.now();
        // The index lags behind; the order itself records what is due.
        let Some(due) = order.due.filter(|due| due.at <= now) else {
            return Ok(SweepReport::default());
        };
        let order_id = order.id.to_string();
        let expires = self.unpaid.expires_at(order);
        let step = match expires {
            Some(at) if at <= now => DueStep::Payment,
            Some(_) | None => due.step,
        };
        let (wanted, mails_given_up) = self.wanted(order, step, due, mails).await?;
        let unreadable = mails.values().filter(|mail| mail.is_err()).count();
        if wanted.is_empty() && unreadable == 0 {
            if let Some(at) = expires {
                return self.wait_for_customer(order, at).await;
            }
            tracing::info!(order_id, "nothing is due");
            let is_settled = self.store.set_due(order, None).await?;
            return Ok(SweepReport {
                settled: u64::from(is_settled),
                mails_given_up,
                ..SweepReport::default()
            });
        }
        let tries = due.tries.saturating_add(u32::from(!due.by_operator));
        let next = Due {
            step,
            at: next_check(now, tries),
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
                "the state of the order's mails cannot be read"
            );
        }
        let refused = send(&self.queues, &wanted).await;
        for (queue, error) in &refused {
            tracing::warn!(order_id, ?queue, %error, "not published; the next check retries");
        }
        let is_refused = |each: &Dispatch| refused.iter().any(|(queue, _)| *queue == each.queue);
        let is_published = wanted.iter().any(|each| !is_refused(each));
        if is_published {
            tracing::info!(order_id, %step, tries, mails = ?missing(&wanted), "published again");
        }
        Ok(SweepReport {
            published: u64::from(is_published),
            overdue: u64::from(tries >= OVERDUE_TRIES && !self.waits_for_customer(order, step)),
            failed: u64::from(!refused.is_empty() || unreadable > 0),
            mails_given_up,
            ..SweepReport::default()
        })
    }

    /// The messages that an order waits for, and how many of its mails were given up.
    async fn wanted(
        &self,
        order: &Order,
        step: DueStep,
        due: Due,
        mails: &BTreeMap<MailTopic, Result<EmailState, Corrupt>>,
    ) -> Result<(Vec<Dispatch>, u64), Error> {
        let mut given_up = 0;
        let mut wanted = Vec::new();
        for each in wanted_of(order, step, mails) {
            let is_mail = each.queue == Queue::Email;
            // A shop without a sender waits for no mail.
            if is_mail && !self.store.sends_mails() {
                continue;
            }
            if is_mail && self.is_hopeless(order, due, &each) {
                let id = each.message.email_id();
                let now = self.runtime.now();
                if self.store.give_up_email(&id, Some(&order.id), now).await? {
                    tracing::error!(email_id = id, "mail given up");
                    given_up += 1;
                    continue;
                }
            }
            wanted.push(each);
        }
        Ok((wanted, given_up))
    }

    /// Whether SES has not accepted the mail for days, despite retries. A check that an operator
    /// requested always tries again.
    fn is_hopeless(&self, order: &Order, due: Due, mail: &Dispatch) -> bool {
        let MessageKind::Event(kind) = mail.message.kind else {
            return false;
        };
        let since = order.events.get(&kind).map(|record| record.at);
        due.tries >= OVERDUE_TRIES
            && !due.by_operator
            && since.is_some_and(|since| since.plus(self.mail_retry) <= self.runtime.now())
    }
}

impl<Q> Sweeper<'_, Q> {
    /// Moves an order's next check to its expiry. Until then only the customer can continue, and no
    /// charge is open.
    async fn wait_for_customer(
        &self,
        order: &Order,
        expires: Timestamp,
    ) -> Result<SweepReport, Error> {
        let due = Due {
            step: DueStep::Payment,
            at: expires,
            tries: 0,
            by_operator: false,
        };
        self.store.set_due(order, Some(due)).await?;
        Ok(SweepReport::default())
    }

    /// Whether only the customer can continue the order's payment, so that an operator cannot help.
    fn waits_for_customer(&self, order: &Order, step: DueStep) -> bool {
        let state = order.payment.as_ref().map(|payment| payment.state);
        let expires = self.unpaid.expires_at(order);
        let is_late = expires.is_some_and(|at| at.plus(EXPIRY_TAKES) <= self.runtime.now());
        step == DueStep::Payment
            && !is_late
            && matches!(
                state,
                Some(ChargeState::ActionRequired | ChargeState::Declined)
            )
    }
}

/// The messages that an order waits for: its mails that have not ended, its open refunds, and its
/// next step.
fn wanted_of(
    order: &Order,
    step: DueStep,
    mails: &BTreeMap<MailTopic, Result<EmailState, Corrupt>>,
) -> Vec<Dispatch> {
    let is_missing = |topic: &MailTopic| match mails.get(topic) {
        None => true,
        Some(Ok(state)) => !state.is_final(),
        // The email service could not read this row either.
        Some(Err(_)) => false,
    };
    let missing = order.mail_topics().filter(is_missing);
    let mut wanted: Vec<Dispatch> = missing
        .filter_map(|topic| mail_dispatch(order, topic))
        .collect();
    // The message of a refunding order covers them, too.
    if order.status != Status::Refunding && order.open_refunds().next().is_some() {
        wanted.extend(refund_dispatch(order));
    }
    if order.awaits_refund() {
        wanted.extend(closing_refund_dispatch(order));
    }
    if step != DueStep::Email {
        let next = dispatches(order, latest_event(order));
        wanted.extend(next.into_iter().filter(|each| each.message.mail.is_none()));
    }
    wanted
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
        let minutes = |tries| next_check(start, tries).millis() / 60_000;
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
            let now = Timestamp::from_millis(1_795_428_725_000 + minute * 60_000);
            let places = places(now, Vec::new());
            let visited: BTreeSet<String> = places.iter().map(name).collect();
            assert_eq!((places.len(), visited.len()), (all, all));
            firsts.extend(places.front().map(name));
        }
        assert_eq!(firsts.len(), all);
    }

    #[test]
    fn a_sweep_begins_where_the_last_one_stopped() {
        let now = Timestamp::from_millis(1_795_428_725_000);
        let stopped: Vec<Place> = places(now, Vec::new()).into_iter().skip(5).collect();
        let progress = Progress::new(stopped.into());
        let done = progress.take().unwrap();
        progress.done(&done, None);
        let held = progress.take().unwrap();
        let (report, left) = progress.end();
        let unfinished = Unfinished::default();
        unfinished.keep(left);

        let later = Timestamp::from_millis(now.millis() + 60_000);
        let places = places(later, unfinished.take());
        let all = usize::from(DueStep::SHARDS) * DueStep::ALL.len();
        assert_eq!(report.unfinished, all as u64 - 6);
        assert!(places[0].is_same_partition(&held));
        assert!(
            places
                .iter()
                .skip(all - 6)
                .any(|place| place.is_same_partition(&done))
        );
        let names: BTreeSet<String> = places
            .iter()
            .map(|place| place.step.partition(place.shard))
            .collect();
        assert_eq!((places.len(), names.len()), (all, all));
        assert!(unfinished.take().is_empty());
    }
}
