//! The billing partners, which charge and refund customers.

pub mod answers;
mod configured;
mod paypal;
mod sandbox;
mod stripe;

use std::future::Future;
use std::time::Duration;

use domain::{
    Agreement, Card, Currency, CustomerId, DisputeState, InvoiceId, MethodFingerprint, Money,
    NextAction, OrderId, PartnerAccount, PartnerName, RefundId, RefundName, Timestamp,
};
use messages::PartnerReference;
use partner::{FromReach, Reach};
use service::error::Source;

pub use configured::{PartnerClient, Partners};
pub use domain::RefundStatus;
pub use paypal::PayPal;
pub use paypal::answers as paypal_answers;
pub use sandbox::{Entry, Ledger, Sandbox};
pub use stripe::answers as stripe_answers;
pub use stripe::{API_VERSION as STRIPE_VERSION, Stripe};

/// One attempt to charge an invoice.
#[derive(Clone, Debug)]
pub struct ChargeRequest {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The number of the attempt, from 1. Invoice and attempt together identify the charge.
    pub attempt: u32,
    /// The customer who pays.
    pub customer: CustomerId,
    /// The amount, in units of the currency.
    pub amount: Money,
    /// The currency.
    pub currency: Currency,
    /// The customer's current agreement with the partner. It differs from the one that the charge
    /// was opened with if the customer has approved another since. Given to `open` and `confirm` of
    /// a partner with [`BillingPartner::agreement_with`], `None` otherwise.
    pub agreement: Option<Agreement>,
    /// The reference of this attempt's previous charge, which was closed and which this one
    /// replaces; `None` for the first. It is part of the idempotency key. Without it, a customer
    /// who returns to an earlier payment method would get the charge that was closed then.
    pub replaces: Option<String>,
}

impl ChargeRequest {
    /// The fingerprint of the agreement, if the partner needs one.
    #[must_use]
    pub fn method(&self) -> Option<MethodFingerprint> {
        self.agreement.as_ref().map(Agreement::fingerprint)
    }
}

/// How long an unanswered confirmation may take to arrive. Until then the charge is not confirmed
/// with another payment method, and a charge that the partner no longer finds does not count as
/// closed.
const ON_ITS_WAY: Duration = Duration::from_mins(15);

/// A charge that was opened at the partner.
#[derive(Clone, Debug)]
pub struct OpenCharge {
    /// The request that it was opened for.
    pub request: ChargeRequest,
    /// The partner's reference of it.
    pub reference: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The partner that opened it; `None` for one that this version does not know. No other partner
    /// is ever asked about the charge.
    pub partner: Option<PartnerName>,
    /// The account that opened it; `None` if it is not known.
    pub account: Option<PartnerAccount>,
    /// The payment method that it was last opened or confirmed with, if the partner needs an
    /// agreement.
    pub method: Option<MethodFingerprint>,
    /// Since when a confirmation is unanswered. The partner may still carry it out.
    pub unanswered_since: Option<Timestamp>,
}

impl OpenCharge {
    /// Whether an unanswered confirmation may still arrive at the partner.
    #[must_use]
    pub fn confirmation_may_arrive(&self, now: Timestamp) -> bool {
        let since = self.unanswered_since;
        since.is_some_and(|since| now < since.plus(ON_ITS_WAY))
    }

    /// A charge that `partner` has just opened with its last call. From now on its confirmation
    /// counts as possibly sent.
    #[must_use]
    pub fn new(
        request: ChargeRequest,
        reference: String,
        partner: &impl BillingPartner,
        opened_at: Timestamp,
    ) -> Self {
        Self {
            method: request.method(),
            request,
            reference,
            opened_at,
            partner: Some(partner.name()),
            account: Some(partner.account()),
            unanswered_since: Some(opened_at),
        }
    }

    /// The request for a charge that replaces this one once it is closed.
    #[must_use]
    pub fn replacement(&self) -> ChargeRequest {
        ChargeRequest {
            replaces: Some(self.reference.clone()),
            ..self.request.clone()
        }
    }

    /// Whether the charge was last opened or confirmed with another payment method than the
    /// customer has agreed to now.
    #[must_use]
    pub fn has_other_method(&self) -> bool {
        self.method != self.request.method()
    }
}

/// The state of an opened charge at the partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeStatus {
    /// Opened but not confirmed: no money moves until it is confirmed.
    Unconfirmed,
    /// Captured.
    Captured(Card),
    /// Confirmed; the partner will settle it later.
    Pending,
    /// The customer must act at the partner.
    ActionRequired,
    /// Declined; final for this attempt.
    Declined {
        /// The partner's reason, such as `insufficient_funds`.
        code: String,
        /// Whether another attempt with the same card may succeed.
        retryable: bool,
    },
    /// Cancelled at the partner; it can never be confirmed.
    Cancelled,
    /// Not confirmed in time; it can never be confirmed.
    Expired,
}

/// What a charge's status means after the partner was asked to close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AfterClosing {
    /// It can no longer be confirmed.
    Closed,
    /// It was captured, or is about to be.
    Settles(ChargeStatus),
    /// The partner could not close it; it may still be confirmed.
    StillOpen(ChargeStatus),
}

impl From<ChargeStatus> for AfterClosing {
    fn from(status: ChargeStatus) -> Self {
        match status {
            ChargeStatus::Cancelled | ChargeStatus::Expired | ChargeStatus::Declined { .. } => {
                Self::Closed
            }
            ChargeStatus::Captured(_) | ChargeStatus::Pending => Self::Settles(status),
            ChargeStatus::ActionRequired | ChargeStatus::Unconfirmed => Self::StillOpen(status),
        }
    }
}

/// A customer's dispute of a charge, as the partner shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disputed {
    /// The order whose charge is disputed.
    pub order: OrderId,
    /// The partner's reference of that charge: [`OpenCharge::reference`].
    pub reference: String,
    /// The state of the dispute.
    pub state: DisputeState,
    /// The disputed amount; once the dispute is lost, the amount that it took. Zero if the partner
    /// does not say.
    pub amount: Money,
    /// The time of that state by the partner's clock; `None` if the partner does not report it.
    pub at: Option<Timestamp>,
}

/// Why a partner did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum PartnerError {
    /// The customer has not agreed to be charged by this partner, or the partner does not know the
    /// agreed customer or payment method. Nothing happened.
    #[error("the customer has no billing agreement at the partner")]
    NoAgreement,
    /// The charge is bound to a payment method other than the agreed one. Nothing happened.
    #[error("the charge was opened with another payment method")]
    OtherMethod,
    /// The partner can never do what was requested, such as charge an amount that it does not
    /// support. Nothing happened. Final for this attempt, like a decline.
    #[error("the billing partner refuses this for good: {code}")]
    Refused {
        /// The reason, such as `amount_too_small`.
        code: String,
    },
    /// Nothing happened: this deployment has no keys for the partner, the partner rejects them, or
    /// its account lacks a permission. Only the shop's operator can change that.
    #[error("the billing partner's keys are missing or refused")]
    NotConfigured(#[source] Source),
    /// The partner provably did nothing: it could not be reached, throttled the call, or is down.
    #[error("the billing partner is unavailable")]
    Unavailable(#[source] Source),
    /// The partner's answer was lost. It may have done what was requested.
    #[error("the billing partner's answer was lost")]
    Unanswered(#[source] Source),
}

impl PartnerError {
    /// A refusal that is final for this attempt.
    fn refused(code: &str) -> Self {
        Self::Refused {
            code: code.to_owned(),
        }
    }
}

impl FromReach for PartnerError {
    fn from_reach(reach: Reach, source: Source) -> Self {
        match reach {
            Reach::NotConfigured => Self::NotConfigured(source),
            Reach::NothingDone => Self::Unavailable(source),
            Reach::Unknown => Self::Unanswered(source),
        }
    }
}

/// A partial refund of a captured charge, as requested from a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRefund {
    /// Its name. The partner stores it with the refund and shows it again.
    pub id: RefundId,
    /// The amount, in units of the charge's currency.
    pub amount: Money,
    /// The number of the partner's idempotency key for it, from 0.
    pub key: u32,
}

/// A partner's answer to the request for a partial refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartAnswer {
    /// The refund has this status.
    Stands(RefundStatus),
    /// The partner failed, shows no refund with that name, and repeats its failure for this key.
    /// The next request needs the next key.
    KeyIsSpent,
}

/// A refund of a charge, as its partner shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRefund {
    /// The name that this service gave it, or the partner's.
    pub name: RefundName,
    /// The amount, in units of the charge's currency.
    pub amount: Money,
    /// Its status.
    pub status: RefundStatus,
}

/// The status of the refund with that name. Of several, one that has not failed wins.
fn named(shown: &[ShownRefund], id: RefundId) -> Option<RefundStatus> {
    let name = RefundName::Ours(id);
    let named = || shown.iter().filter(|refund| refund.name == name);
    let holding = named().find(|refund| !refund.status.has_failed());
    let refund = holding.or_else(|| named().next())?;
    Some(refund.status.clone())
}

/// The refunds that a partner shows for a charge.
struct Refunds {
    /// Whether the whole charge was refunded or its refund is in progress; `None` if at least a
    /// part is not refunded.
    standing: Option<RefundStatus>,
    /// The number of failed refunds.
    failed: usize,
    /// The failure of one of them: the latest, if the partner shows their order.
    failure: Option<RefundStatus>,
}

impl Refunds {
    /// The idempotency key of the next refund. Everyone who sees the same refunds gets the same
    /// key, but never that of a failed refund, for which the partner repeats its first answer for a
    /// while.
    fn next_key(&self, key: String) -> String {
        match self.failed {
            0 => key,
            failed => format!("{key}-{failed}"),
        }
    }
}

/// A partner that charges and refunds customers.
///
/// The sequence is: open, store the reference, confirm. After a crash at any point, the charge is
/// looked up by its reference, so safety does not depend on how long a partner keeps idempotency
/// keys.
pub trait BillingPartner: Send + Sync + 'static {
    /// Opens a charge without moving money and returns the partner's reference.
    ///
    /// MUST NOT move money. MAY be called again for the same invoice and attempt after its answer
    /// was lost; a second charge that is opened then is never confirmed. MUST open another charge
    /// if the request replaces one.
    fn open(
        &self,
        request: &ChargeRequest,
    ) -> impl Future<Output = Result<String, PartnerError>> + Send;

    /// Captures an opened charge with the payment method of the request's agreement, or not at all:
    /// a charge that is bound to the method it was opened with MUST return
    /// [`PartnerError::OtherMethod`] if that is a different one.
    ///
    /// MUST take effect at most once for a reference, no matter how often and by how many workers
    /// it is called. MUST return [`PartnerError::Unanswered`], never a decline, if the outcome is
    /// not known.
    fn confirm(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Returns the state of a charge without changing it.
    ///
    /// If another account opened the charge or a confirmation of it is unanswered, MUST NOT return
    /// [`ChargeStatus::Expired`] because the partner does not find the charge.
    fn look_up(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Requests the customer's confirmation of a charge that is [`ChargeStatus::ActionRequired`].
    /// Returns its state afterwards and the action that the customer must take, if the partner
    /// provides one.
    ///
    /// MAY request the customer's page from the partner, also by a confirmation with the customer
    /// present, if the request has the agreement that the charge was opened with. Like every other,
    /// that confirmation MUST take effect at most once for a reference. Otherwise this MUST NOT
    /// change anything.
    fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<(ChargeStatus, NextAction), PartnerError>> + Send;

    /// Refunds the whole of a captured charge, even if an earlier refund of it was refused or has
    /// failed.
    ///
    /// As long as no refund of the charge fails, MUST take effect at most once, no matter how often
    /// and by how many workers it is called; after a failed one, at most once more. MUST return the
    /// partner's current answer, never one that it stored from an earlier refusal. MUST return
    /// [`PartnerError::Unanswered`] if it is not known whether the refund was accepted.
    fn refund(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<RefundStatus, PartnerError>> + Send;

    /// Refunds a part of a captured charge.
    ///
    /// MUST take effect at most once for a name, no matter how often, by how many workers, and with
    /// which key it is called, and MUST NOT refund more than was captured. MUST return
    /// [`RefundStatus::Failed`] only if it provably made no refund with that name, and
    /// [`PartnerError::Unanswered`] if that is not known. After [`PartAnswer::KeyIsSpent`] it is
    /// called with the next key and never with an earlier one.
    fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> impl Future<Output = Result<PartAnswer, PartnerError>> + Send;

    /// All refunds of a captured charge, whoever made them; `None` if the partner stores none.
    ///
    /// MUST NOT change anything. MUST return a refund that this service requested under the name
    /// that the request gave it.
    fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<Option<Vec<ShownRefund>>, PartnerError>> + Send;

    /// Returns the current status of the refund of a captured charge. A refund that succeeded may
    /// fail days later, and another one may be made by hand.
    ///
    /// MUST NOT request a refund or change anything. MUST NOT return [`RefundStatus::Refunded`]
    /// while the shop still holds a part of the money: a failed refund does not count.
    /// [`RefundStatus::Failed`] means that a refund has failed and that none since has refunded the
    /// money or is in progress. `None` means that the partner shows neither a refund of the whole
    /// charge nor a failed one, for example because it refused one or does not show yet what it has
    /// just made.
    fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<Option<RefundStatus>, PartnerError>> + Send;

    /// The partner's name. It is stored with each charge, so that no other partner is asked about
    /// it.
    fn name(&self) -> PartnerName;

    /// The account at the partner. It is stored with each charge, so that no other account is asked
    /// about it. As long as nothing else was awaited since, MUST be the account that the last call
    /// was made for, because keys may be replaced at any time. A new key of the same account MUST
    /// NOT change it.
    fn account(&self) -> PartnerAccount;

    /// The partner whose [`Agreement`] a customer must have; `None` if no agreement is needed.
    fn agreement_with(&self) -> Option<PartnerName>;

    /// Closes the charge of a declined attempt, so that it can never be confirmed any more, and
    /// returns its state.
    ///
    /// MUST NOT return [`ChargeStatus::Cancelled`], [`ChargeStatus::Expired`], or
    /// [`ChargeStatus::Declined`] while the charge can still be confirmed, because the next attempt
    /// then opens another charge. A confirmation that may still arrive
    /// ([`OpenCharge::confirmation_may_arrive`]) counts; an older one does not: a charge that the
    /// partner no longer finds by then is [`ChargeStatus::Expired`], even if the confirmation's
    /// answer was lost. Any other state means that the charge could not be cancelled or was
    /// captured after all. The next attempt then continues with the same reference, which can be
    /// captured only once, whichever attempt confirms it.
    fn cancel(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Returns the state of a dispute and the charge that it is about. `id` is the partner's and
    /// came from outside: an implementation MUST NOT put it into a path unchecked. Returns `None`
    /// if there is no such dispute, or if this service did not open its charge.
    fn dispute(
        &self,
        id: &PartnerReference,
    ) -> impl Future<Output = Result<Option<Disputed>, PartnerError>> + Send;
}
