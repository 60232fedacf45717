//! How much time an invocation has left.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::task_local;
use tokio::time::Instant;

task_local! {
    static DEADLINE: Instant;
}

/// Runs `work` as part of an invocation that Lambda ends at `deadline`; the epoch stands for none.
pub(crate) async fn until<T>(deadline: SystemTime, work: impl Future<Output = T>) -> T {
    if deadline == SystemTime::UNIX_EPOCH {
        return work.await;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "Lambda tells its deadline by the machine's clock; a test's clock has no part in it"
    )]
    let left = deadline
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    DEADLINE.scope(Instant::now() + left, work).await
}

/// What is left of this invocation; `None` outside of one.
#[must_use]
pub fn remaining() -> Option<Duration> {
    DEADLINE
        .try_with(|deadline| deadline.saturating_duration_since(Instant::now()))
        .ok()
}
