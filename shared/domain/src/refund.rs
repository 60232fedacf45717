//! How a refund stands at the partner.

use super::Timestamp;

/// Where the refund of a captured charge stands at the partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundStatus {
    /// The whole charge goes back to the customer.
    Refunded,
    /// The partner took the refund and settles it later.
    Pending,
    /// The partner refused it, or it failed later: the customer does not have the money, and an
    /// operator must act.
    Failed {
        /// The partner's reason, such as `expired_or_canceled_card`.
        code: String,
    },
}

impl RefundStatus {
    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refunded => "refunded",
            Self::Pending => "pending",
            Self::Failed { .. } => "failed",
        }
    }

    /// The partner's reason, where it failed.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed { code } => Some(code),
            Self::Refunded | Self::Pending => None,
        }
    }

    /// The status of that name; `code` is kept where it failed.
    #[must_use]
    pub fn from_name(name: &str, code: &str) -> Option<Self> {
        Some(match name {
            "refunded" => Self::Refunded,
            "pending" => Self::Pending,
            "failed" => Self::Failed {
                code: code.to_owned(),
            },
            _ => return None,
        })
    }
}

/// What the partner said when it was last asked about a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNews {
    /// What it said.
    pub status: RefundStatus,
    /// When it was asked, taken before the call: of two answers the one to the later question holds.
    pub at: Timestamp,
}
