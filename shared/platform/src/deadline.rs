//! The time left in an invocation.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::task_local;
use tokio::time::Instant;

task_local! {
    static DEADLINE: Instant;
}

/// Runs `work` within an invocation that Lambda ends at `deadline`. A deadline already in the past
/// is ignored: Lambda never sends one, but tests do, and `cargo lambda watch` counts from the
/// epoch.
pub async fn until<T>(deadline: SystemTime, work: impl Future<Output = T>) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda states its deadline by the system clock, which a test's clock does not affect"
    )]
    let left = deadline.duration_since(SystemTime::now());
    match left {
        Ok(left) => DEADLINE.scope(Instant::now() + left, work).await,
        Err(_) => work.await,
    }
}

/// The time left in this invocation; `None` outside one.
#[must_use]
pub fn remaining() -> Option<Duration> {
    DEADLINE
        .try_with(|deadline| deadline.saturating_duration_since(Instant::now()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_ahead_limits_an_invocation_and_one_that_is_over_does_not() {
        #[expect(
            clippy::disallowed_methods,
            reason = "Lambda states its deadline by this clock"
        )]
        let now = SystemTime::now();
        let soon = now + Duration::from_secs(30);
        let left = until(soon, async { remaining() }).await.unwrap();
        assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(20));
        let constant = SystemTime::UNIX_EPOCH + Duration::from_mins(10);
        for over in [SystemTime::UNIX_EPOCH, constant] {
            assert_eq!(until(over, async { remaining() }).await, None);
        }
    }
}
