//! What a customer has agreed to: to be charged by a billing partner without being asked again.

use std::fmt;
use std::str::FromStr;

use super::{Text, Timestamp};

/// A billing partner that customers agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartnerName {
    /// Stripe.
    Stripe,
    /// PayPal.
    PayPal,
}

impl PartnerName {
    /// Every partner.
    pub const ALL: [Self; 2] = [Self::Stripe, Self::PayPal];

    /// The name in requests, configuration and the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::PayPal => "paypal",
        }
    }
}

impl fmt::Display for PartnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no billing partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be stripe or paypal")]
pub struct UnknownPartner;

impl FromStr for PartnerName {
    type Err = UnknownPartner;

    fn from_str(text: &str) -> Result<Self, UnknownPartner> {
        Self::ALL
            .into_iter()
            .find(|partner| partner.as_str() == text)
            .ok_or(UnknownPartner)
    }
}

/// A partner's token for a customer or a payment method: 1 to 255 letters, digits, `_` and `-`, as
/// `cus_…` or `pm_…`. Never a card number.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerToken(String);

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a token of the partner: 1 to 255 letters, digits, _ and -")]
pub struct PartnerTokenError;

impl PartnerToken {
    /// Checks length and characters. That it is no card number is checked for every body at once.
    pub fn parse(text: &str) -> Result<Self, PartnerTokenError> {
        let fits = (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(PartnerTokenError)
        }
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whoever has the token and the shop's key can charge the customer.
impl fmt::Debug for PartnerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartnerToken")
    }
}

/// A customer's standing permission to be charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// With whom.
    pub partner: PartnerName,
    /// The partner's name for the customer, where it has one.
    pub partner_customer: Option<PartnerToken>,
    /// The partner's name for what is charged.
    pub payment_method: PartnerToken,
}

/// What became of a customer's permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementState {
    /// It holds.
    Approved(Agreement),
    /// It was taken back; nothing is left to charge with.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl AgreementState {
    /// The name of [`AgreementState::Approved`] in answers and in the store.
    pub const APPROVED: &'static str = "approved";
    /// The name of [`AgreementState::Revoked`].
    pub const REVOKED: &'static str = "revoked";

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Approved(_) => Self::APPROVED,
            Self::Revoked { .. } => Self::REVOKED,
        }
    }
}

/// What is kept of a customer and a billing partner: the latest approval, and whether it still
/// holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementRecord {
    /// With whom.
    pub partner: PartnerName,
    /// When it was approved, the last time that it was.
    pub approved_at: Timestamp,
    /// Who approved it, if that was said and it holds.
    pub name: Option<Text>,
    /// Whether it holds.
    pub state: AgreementState,
}
