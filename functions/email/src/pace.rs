//! The sending rate of one instance.
//!
//! SES limits an account's mails per second ("Managing your Amazon SES sending limits") and refuses
//! the excess. Each instance uses its share: calls begin evenly spaced, a few at a time, so a burst
//! waits here instead of being refused.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use platform::config::{ConfigError, Environment};
use platform::deadline;
use platform::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

/// The time an invocation reserves for a mail once its turn comes: claim and settlement in the
/// ledger (at most four seconds each) and the call to SES (at most ten seconds).
const RESERVE: Duration = Duration::from_secs(18);

/// The maximum number of calls in flight, whatever the rate.
const MOST_CALLS: u32 = 10;

/// The maximum wait before a call that SES refused because of the sending rate is retried. It
/// doubles with each consecutive refusal.
const PAUSE: Duration = Duration::from_secs(1);

/// The upper bound of that wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// One instance's share of the account's rate.
#[derive(Debug)]
pub struct Pace {
    calls: Semaphore,
    interval: Duration,
    next: Mutex<Instant>,
}

/// The right to one call, released on drop.
#[derive(Debug)]
pub struct Turn<'a> {
    _call: SemaphorePermit<'a>,
}

/// The invocation ends before the mail's turn.
#[derive(Debug, thiserror::Error)]
#[error("the invocation ends before the mail's turn comes")]
pub struct NoTurn;

impl Pace {
    /// `rate` is in mails per second, shared by `workers` instances. As many calls may be in flight
    /// as begin within a second, and at least one.
    #[must_use]
    pub fn new(rate: NonZeroU32, workers: NonZeroU32) -> Self {
        let calls = rate.get().div_ceil(workers.get()).min(MOST_CALLS);
        Self {
            calls: Semaphore::new(usize::try_from(calls).unwrap_or(1)),
            interval: Duration::from_secs(1) * workers.get() / rate.get(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Reads `MAILS_PER_SECOND` and, for a function with several concurrent senders,
    /// `MAIL_WORKERS`.
    pub fn from_environment(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let workers = match environment.optional("MAIL_WORKERS") {
            Some(_) => environment.parsed("MAIL_WORKERS")?,
            None => NonZeroU32::MIN,
        };
        Ok(Self::new(environment.parsed("MAILS_PER_SECOND")?, workers))
    }

    /// Waits until the next call may begin.
    pub async fn turn(&self) -> Result<Turn<'_>, NoTurn> {
        let Some(patience) = patience() else {
            let call = self.calls.acquire().await.map_err(|_| NoTurn)?;
            sleep_until(self.slot(None)?).await;
            return Ok(Turn { _call: call });
        };
        let last = Instant::now() + patience;
        let call = timeout(patience, self.calls.acquire()).await;
        let call = call.map_err(|_| NoTurn)?.map_err(|_| NoTurn)?;
        sleep_until(self.slot(Some(last))?).await;
        Ok(Turn { _call: call })
    }

    /// Reserves the next start time, unless it is after `last`.
    fn slot(&self, last: Option<Instant>) -> Result<Instant, NoTurn> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (*next).max(Instant::now());
        if last.is_some_and(|last| slot > last) {
            return Err(NoTurn);
        }
        *next = slot + self.interval;
        Ok(slot)
    }

    /// Pauses all calls after SES refused one because of the sending rate; `refusals` counts the
    /// consecutive refusals. Returns whether the invocation has time for a retry.
    #[must_use]
    pub fn hold_back(&self, refusals: u32, runtime: &Runtime) -> bool {
        let most = PAUSE
            .saturating_mul(2_u32.saturating_pow(refusals.saturating_sub(1)))
            .min(LONGEST_PAUSE);
        let pause = self.interval + runtime.jitter(most);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now() + pause);
        patience().is_some_and(|patience| patience > pause)
    }
}

/// How long a mail may wait for its turn; `None` outside an invocation.
fn patience() -> Option<Duration> {
    deadline::remaining().map(|left| left.saturating_sub(RESERVE))
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    fn pace(rate: u32, workers: u32) -> Pace {
        Pace::new(
            NonZeroU32::new(rate).unwrap(),
            NonZeroU32::new(workers).unwrap(),
        )
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda states its deadline by the system clock"
    )]
    async fn within<T>(left: Duration, work: impl Future<Output = T>) -> T {
        deadline::until(std::time::SystemTime::now() + left, work).await
    }

    #[tokio::test(start_paused = true)]
    async fn calls_begin_evenly_spaced() {
        let (pace, began) = (pace(14, 5), Instant::now());
        for _ in 0..29 {
            drop(pace.turn().await.unwrap());
        }
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_are_in_flight() {
        for (rate, workers, calls) in [(1, 2, 1), (14, 5, 3), (200, 40, 5), (500, 1, 10)] {
            assert_eq!(pace(rate, workers).calls.available_permits(), calls);
        }
        let pace = pace(1, 2);
        let first = pace.turn().await.unwrap();
        let second = within(Duration::from_mins(1), pace.turn()).await;
        assert!(second.is_err(), "the first is still in flight");
        drop(first);
        assert!(pace.turn().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_waited_for_and_none_is_used_up() {
        let (pace, began) = (pace(1, 40), Instant::now());
        drop(pace.turn().await.unwrap());
        let late = within(Duration::from_secs(30), pace.turn()).await;
        assert!(late.is_err() && began.elapsed() < Duration::from_secs(1));
        drop(pace.turn().await.unwrap());
        assert_eq!(began.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_holds_back_every_call_longer_and_longer_while_time_is_left() {
        let runtime = Runtime::new(|| Timestamp::from_millis(0), |bytes| bytes.fill(u8::MAX));
        let pace = pace(10, 1);
        for (refusals, tenths) in [(1, 11), (2, 21), (3, 41), (4, 81), (9, 81)] {
            let began = Instant::now();
            let is_time_left = within(Duration::from_mins(1), async {
                pace.hold_back(refusals, &runtime)
            });
            assert!(is_time_left.await);
            drop(pace.turn().await.unwrap());
            assert_eq!(began.elapsed().as_millis() / 100, tenths);
        }
        let soon = within(Duration::from_secs(20), async {
            pace.hold_back(9, &runtime)
        });
        assert!(!soon.await);
        assert!(!pace.hold_back(1, &runtime), "outside of an invocation");
    }
}
