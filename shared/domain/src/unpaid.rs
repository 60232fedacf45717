//! How long an order waits for its customer.

use std::str::FromStr;
use std::time::Duration;

use super::{Order, Timestamp};

/// How long an order waits for its customer to pay or to agree before it expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpaidOrders(Option<Duration>);

/// The text is not a number of days from 0 to 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number of days from 0 to 365; 0 means that orders never expire")]
pub struct UnpaidOrdersError;

impl UnpaidOrders {
    /// No order expires.
    pub const NEVER_EXPIRE: Self = Self(None);

    const MAX_DAYS: u64 = 365;

    /// Orders expire after `time`; a zero duration means never.
    #[must_use]
    pub fn expire_after(time: Duration) -> Self {
        Self((!time.is_zero()).then_some(time))
    }

    /// When the order expires. Returns `None` if it is not waiting for its customer or if orders
    /// never expire.
    #[must_use]
    pub fn expires_at(&self, order: &Order) -> Option<Timestamp> {
        Some(order.waiting_since()?.plus(self.0?))
    }

    /// Whether the order has expired at `now`.
    #[must_use]
    pub fn is_over(&self, order: &Order, now: Timestamp) -> bool {
        self.expires_at(order).is_some_and(|at| at <= now)
    }
}

impl FromStr for UnpaidOrders {
    type Err = UnpaidOrdersError;

    fn from_str(text: &str) -> Result<Self, UnpaidOrdersError> {
        let days = text.parse().ok().filter(|days| *days <= Self::MAX_DAYS);
        let days: u64 = days.ok_or(UnpaidOrdersError)?;
        Ok(Self::expire_after(Duration::from_hours(24 * days)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_at_most_a_year_and_zero_is_never() {
        let days = |days: u64| Ok(UnpaidOrders(Some(Duration::from_hours(24 * days))));
        assert_eq!("14".parse(), days(14));
        assert_eq!("365".parse(), days(365));
        assert_eq!("0".parse(), Ok(UnpaidOrders::NEVER_EXPIRE));
        for text in ["", "366", "-1", "1.5", "14d", "18446744073709551616"] {
            assert_eq!(
                text.parse::<UnpaidOrders>(),
                Err(UnpaidOrdersError),
                "{text}"
            );
        }
    }
}
