//! Time and randomness, injected so that tests control them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{OrderId, Timestamp};

type Clock = dyn Fn() -> Timestamp + Send + Sync;
type RandomBytes = dyn Fn(&mut [u8]) + Send + Sync;

/// A source of time and random bytes.
#[derive(Clone)]
pub struct Runtime {
    now: Arc<Clock>,
    random: Arc<RandomBytes>,
}

impl Runtime {
    /// The system clock and the operating system's random bytes.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the time is injected from"
    )]
    pub fn system() -> Self {
        Self::new(
            || {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            },
            |bytes| {
                getrandom::fill(bytes).expect("Linux always has random bytes once it has booted");
            },
        )
    }

    /// A clock and random bytes chosen by the caller.
    pub fn new(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        random: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            now: Arc::new(now),
            random: Arc::new(random),
        }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A new order ID; IDs sort by time.
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        let mut random = [0; 10];
        (self.random)(&mut random);
        OrderId::from_time(
            u64::try_from(self.now().millis()).unwrap_or_default(),
            random,
        )
    }

    /// 32 random hexadecimal digits.
    #[must_use]
    pub fn token(&self) -> String {
        let mut random = [0; 16];
        (self.random)(&mut random);
        hex::encode(random)
    }

    /// A random duration below `most`: the pause before a retry, so that calls that failed together
    /// do not retry together.
    #[must_use]
    pub fn jitter(&self, most: Duration) -> Duration {
        let mut random = [0; 4];
        (self.random)(&mut random);
        most.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}
