//! What a customer has agreed to: to be charged by a billing partner without being asked again.

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

    /// The partners that customers agree with.
    pub const WITH_AGREEMENTS: [Self; 2] = [Self::Stripe, Self::PayPal];

    /// The name in requests, configuration and the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// The partner whose form a charge's reference has; `None` if the form proves none. `PayPal`'s
    /// IDs have no mark.
    #[must_use]
    pub fn of_reference(reference: &str) -> Option<Self> {
        let forms = [("pi_", Self::Stripe), ("sandbox_", Self::Sandbox)];
        let mut forms = forms.into_iter();
        let (_, partner) = forms.find(|(prefix, _)| reference.starts_with(prefix))?;
        Some(partner)
    }

    /// The partner of that name, if customers agree with it.
    pub fn with_agreements(name: &str) -> Result<Self, NoAgreementPartner> {
        let partner = name.parse().map_err(|UnknownPartner| NoAgreementPartner)?;
        if Self::WITH_AGREEMENTS.contains(&partner) {
            Ok(partner)
        } else {
            Err(NoAgreementPartner)
        }
    }
}

/// A text that names no billing partner with which customers agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be stripe or paypal")]
pub struct NoAgreementPartner;

/// A text that names no billing partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sandbox, stripe, or paypal")]
pub struct UnknownPartner;

impl UnknownPartner {
    fn new(_: &str) -> Self {
        Self
    }
}

/// A partner's token for a customer or a payment method: 1 to 255 letters, digits, `_` and `-`, as
/// `cus_…` or `pm_…`. Never a card number.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerToken(String);

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a token from the partner: 1–255 letters, digits, _ or -")]
pub struct PartnerTokenError;

impl PartnerToken {
    /// Checks length and characters. That it is no card number is checked for every body at once.
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

impl Agreement {
    /// What tells it from every other agreement.
    #[must_use]
    pub fn fingerprint(&self) -> MethodFingerprint {
        let customer = self.partner_customer.as_ref();
        let customer = customer.map(PartnerToken::as_str).unwrap_or_default();
        let method = self.payment_method.as_str();
        let digest = digest_hex(&["agreement", self.partner.as_str(), customer, method]);
        MethodFingerprint(digest[..16].to_owned())
    }
}

/// Tells which payment method a charge is asked for by, without naming it: whoever reads it can
/// charge nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodFingerprint(String);

impl MethodFingerprint {
    /// Reads what [`MethodFingerprint::as_str`] gave; `None` for any other text.
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

/// An account at a billing partner. A charge belongs to the account that opened it: what another one
/// does not find proves nothing about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerAccount(String);

impl PartnerAccount {
    /// The account that `identity` names at that partner.
    #[must_use]
    pub fn new(partner: PartnerName, identity: &str) -> Self {
        let digest = digest_hex(&["account", partner.as_str(), identity]);
        Self(format!("{partner}:{}", &digest[..16]))
    }

    /// Reads what [`PartnerAccount::as_str`] gave; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (partner, digest) = text.split_once(':')?;
        let is_valid = partner.bytes().all(|b| b.is_ascii_lowercase())
            && digest.len() == 16
            && digest.bytes().all(|b| b.is_ascii_hexdigit());
        (is_valid && !partner.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The partner's name, `:` and 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose account it is; `None` for a partner that this version does not know.
    #[must_use]
    pub fn partner(&self) -> Option<PartnerName> {
        let (partner, _) = self.0.split_once(':')?;
        partner.parse().ok()
    }
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
