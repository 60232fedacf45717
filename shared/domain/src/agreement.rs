//! A customer's agreement to be charged by a billing partner without being asked again.

use std::fmt;

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::{Text, Timestamp, digest_hex};

/// A billing partner.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownPartner, parse_err_fn = UnknownPartner::new)]
pub enum PartnerName {
    /// The sandbox, which moves no money and needs no agreement.
    Sandbox,
    /// Stripe.
    Stripe,
    /// PayPal.
    PayPal,
}

impl PartnerName {
    /// Every partner.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The partners that require an agreement.
    pub const WITH_AGREEMENTS: [Self; 2] = [Self::Stripe, Self::PayPal];

    /// The name in requests, in the configuration, and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// The partner that issued a charge's reference, by the reference's prefix. Returns `None` if
    /// the prefix proves nothing: `PayPal`'s IDs have none.
    #[must_use]
    pub fn of_reference(reference: &str) -> Option<Self> {
        let forms = [("pi_", Self::Stripe), ("sandbox_", Self::Sandbox)];
        let mut forms = forms.into_iter();
        let (_, partner) = forms.find(|(prefix, _)| reference.starts_with(prefix))?;
        Some(partner)
    }

    /// Parses the name of a partner that requires an agreement.
    pub fn with_agreements(name: &str) -> Result<Self, NoAgreementPartner> {
        let partner = name.parse().map_err(|UnknownPartner| NoAgreementPartner)?;
        if Self::WITH_AGREEMENTS.contains(&partner) {
            Ok(partner)
        } else {
            Err(NoAgreementPartner)
        }
    }
}

/// The text does not name a billing partner that requires an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be stripe or paypal")]
pub struct NoAgreementPartner;

/// The text does not name a billing partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sandbox, stripe, or paypal")]
pub struct UnknownPartner;

impl UnknownPartner {
    fn new(_: &str) -> Self {
        Self
    }
}

/// A partner's token for a customer or a payment method, such as `cus_…` or `pm_…`: 1 to 255
/// letters, digits, `_`, and `-`. Never a card number.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerToken(String);

/// The text is not a valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a token from the partner: 1–255 letters, digits, _ or -")]
pub struct PartnerTokenError;

impl PartnerToken {
    /// Checks the length and the characters. A separate check rejects card numbers anywhere in a
    /// body.
    pub fn parse(text: &str) -> Result<Self, PartnerTokenError> {
        let is_valid = (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if is_valid {
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

/// Redacted: whoever has the token and the shop's key can charge the customer.
impl fmt::Debug for PartnerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartnerToken")
    }
}

/// A customer's standing permission to be charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The billing partner.
    pub partner: PartnerName,
    /// The partner's token for the customer, where it has one.
    pub partner_customer: Option<PartnerToken>,
    /// The partner's token for the payment method to charge.
    pub payment_method: PartnerToken,
}

impl Agreement {
    /// Identifies the partner, the customer, and the payment method together.
    #[must_use]
    pub fn fingerprint(&self) -> MethodFingerprint {
        let customer = self.partner_customer.as_ref();
        let customer = customer.map(PartnerToken::as_str).unwrap_or_default();
        let method = self.payment_method.as_str();
        let digest = digest_hex(&["agreement", self.partner.as_str(), customer, method]);
        MethodFingerprint(digest[..16].to_owned())
    }
}

/// Identifies the payment method of a charge without revealing it: a fingerprint cannot be used to
/// charge anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodFingerprint(String);

impl MethodFingerprint {
    /// Parses the output of [`MethodFingerprint::as_str`]. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_valid.then(|| Self(text.to_owned()))
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An account at a billing partner. A charge belongs to the account that opened it: if another
/// account does not find a charge, that proves nothing about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerAccount(String);

impl PartnerAccount {
    /// The account with this identity at `partner`.
    #[must_use]
    pub fn new(partner: PartnerName, identity: &str) -> Self {
        let digest = digest_hex(&["account", partner.as_str(), identity]);
        Self(format!("{partner}:{}", &digest[..16]))
    }

    /// Parses the output of [`PartnerAccount::as_str`]. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (partner, digest) = text.split_once(':')?;
        let is_valid = partner.bytes().all(|b| b.is_ascii_lowercase())
            && digest.len() == 16
            && digest.bytes().all(|b| b.is_ascii_hexdigit());
        (is_valid && !partner.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The partner's name, `:`, and 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account's partner. Returns `None` for a partner that this version does not know.
    #[must_use]
    pub fn partner(&self) -> Option<PartnerName> {
        let (partner, _) = self.0.split_once(':')?;
        partner.parse().ok()
    }
}

/// The state of a customer's agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementState {
    /// The agreement is in force.
    Approved(Agreement),
    /// The agreement was revoked; its payment method is no longer stored.
    Revoked {
        /// When it was revoked.
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

/// The stored record of a customer's agreement with a billing partner: the latest approval, and
/// whether it is still in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementRecord {
    /// The billing partner.
    pub partner: PartnerName,
    /// The time of the latest approval.
    pub approved_at: Timestamp,
    /// The name of the person who approved it, if one was given and the agreement is in force.
    pub name: Option<Text>,
    /// Whether it is in force.
    pub state: AgreementState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_have_the_names_that_are_stored() {
        let names = PartnerName::ALL.iter().map(PartnerName::as_str);
        assert!(names.eq(["sandbox", "stripe", "paypal"]));
        assert_eq!("paypal".parse(), Ok(PartnerName::PayPal));
        assert_eq!("PayPal".parse::<PartnerName>(), Err(UnknownPartner));
    }

    #[test]
    fn customers_agree_with_real_partners_only() {
        let paypal = PartnerName::with_agreements("paypal");
        assert_eq!(paypal, Ok(PartnerName::PayPal));
        for name in ["sandbox", "square", ""] {
            let partner = PartnerName::with_agreements(name);
            assert_eq!(partner, Err(NoAgreementPartner), "{name}");
        }
    }

    #[test]
    fn an_account_names_its_partner() {
        let account = PartnerAccount::new(PartnerName::PayPal, "client");
        assert_eq!(account.partner(), Some(PartnerName::PayPal));
        let unknown = PartnerAccount::parse("square:0123456789abcdef").unwrap();
        assert_eq!(unknown.partner(), None);
    }
}
