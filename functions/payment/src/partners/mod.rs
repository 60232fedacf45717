//! The billing partners: who moves the money.

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

/// One attempt at charging one invoice.
#[derive(Clone, Debug)]
pub struct ChargeRequest {
    /// What is billed.
    pub invoice: InvoiceId,
    /// Which attempt, from 1. Invoice and attempt together name the charge.
    pub attempt: u32,
    /// Who pays.
    pub customer: CustomerId,
    /// How much, in units of the currency.
    pub amount: Money,
    /// In what.
    pub currency: Currency,
    /// What the customer has agreed to at the partner, as it is now: another than the charge was
    /// opened with, if the customer has approved anew since. Given to `open` and `confirm` of a
    /// partner with [`BillingPartner::agreement_with`], `None` otherwise.
    pub agreement: Option<Agreement>,
    /// The reference of this attempt's charge that was closed and whose place the next one takes; `None`
    /// for the first. It belongs to what a partner knows a repeat by: without it a customer who returns
    /// to an earlier payment method would be given the charge that was closed then.
    pub replaces: Option<String>,
}

impl ChargeRequest {
    /// What tells the agreement from others, where the partner needs one.
    #[must_use]
    pub fn method(&self) -> Option<MethodFingerprint> {
        self.agreement.as_ref().map(Agreement::fingerprint)
    }
}

/// How long a confirmation that was not answered may take to arrive: until then the charge is
/// confirmed by no other payment method, and one that the partner no longer finds does not count as
/// closed.
const ON_ITS_WAY: Duration = Duration::from_mins(15);

/// A charge that was opened at the partner.
#[derive(Clone, Debug)]
pub struct OpenCharge {
    /// What it is for.
    pub request: ChargeRequest,
    /// The partner's name for it.
    pub reference: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The partner that opened it; `None` for one that this version does not know. No other partner is
    /// ever asked about the charge.
    pub partner: Option<PartnerName>,
    /// The account that opened it; `None` where that is not known.
    pub account: Option<PartnerAccount>,
    /// The payment method that it was opened with or asked for by last, where the partner needs an
    /// agreement.
    pub method: Option<MethodFingerprint>,
    /// Since when a confirmation is unanswered: it may still be carried out.
    pub unanswered_since: Option<Timestamp>,
}

impl OpenCharge {
    /// Whether a confirmation that was not answered may still arrive at the partner.
    #[must_use]
    pub fn confirmation_may_arrive(&self, now: Timestamp) -> bool {
        let since = self.unanswered_since;
        since.is_some_and(|since| now < since.plus(ON_ITS_WAY))
    }

    /// A charge that `partner` has just opened, by its last call. Its confirmation may be on its way from
    /// now on.
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

    /// The request for the charge that takes its place, once it is closed.
    #[must_use]
    pub fn replacement(&self) -> ChargeRequest {
        ChargeRequest {
            replaces: Some(self.reference.clone()),
            ..self.request.clone()
        }
    }

    /// Whether its last confirmation, if there was one, named another payment method than the
    /// customer has agreed to now.
    #[must_use]
    pub fn has_other_method(&self) -> bool {
        self.method != self.request.method()
    }
}

/// Where an opened charge stands at the partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeStatus {
    /// Opened, not confirmed: no money moves until it is.
    Unconfirmed,
    /// The money was taken.
    Captured(Card),
    /// Confirmed; the partner settles it later.
    Pending,
    /// The customer must act at the partner.
    ActionRequired,
    /// Refused, for good as far as this attempt goes.
    Declined {
        /// The partner's reason, such as `insufficient_funds`.
        code: String,
        /// Whether another attempt with the same card may succeed.
        retryable: bool,
    },
    /// Cancelled at the partner; it can never be confirmed.
    Cancelled,
    /// Nobody confirmed it in time; it can never be confirmed.
    Expired,
}

/// A customer's dispute of a charge, as the partner shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disputed {
    /// Whose charge it is.
    pub order: OrderId,
    /// The partner's name for that charge: [`OpenCharge::reference`].
    pub reference: String,
    /// How it stands.
    pub state: DisputeState,
    /// Whether it is about the whole charge.
    pub takes_all: bool,
    /// Since when, by the partner's clock; `None` where the partner does not tell.
    pub at: Option<Timestamp>,
}

/// Why a partner did not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum PartnerError {
    /// The customer has not agreed to be charged by this partner, or has agreed to what it does not
    /// know; nothing happened.
    #[error("the customer has no billing agreement at the partner")]
    NoAgreement,
    /// The charge is bound to another payment method than the one that holds now; nothing happened.
    #[error("the charge was opened with another payment method")]
    OtherMethod,
    /// It will never do what it was asked, such as charge an amount that it cannot express; nothing
    /// happened. Final for this attempt, as a decline is.
    #[error("the billing partner refuses this for good: {code}")]
    Refused {
        /// Why, such as `amount_too_small`.
        code: String,
    },
    /// Nothing happened: this deployment has no keys for it, or keys that it refuses, or its account may not
    /// do this. Only the shop's operator can change that.
    #[error("the billing partner's keys are missing or refused")]
    NotConfigured(#[source] Source),
    /// It provably did nothing: no connection, asked for less, or is down.
    #[error("the billing partner is unavailable")]
    Unavailable(#[source] Source),
    /// Its answer was lost; it may have done what it was asked.
    #[error("the billing partner's answer was lost")]
    Unanswered(#[source] Source),
}

impl PartnerError {
    /// Refused for good, as far as this attempt goes.
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

/// A refund of a part of a captured charge, as it is requested of a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRefund {
    /// Its name: the partner keeps it with the refund and shows it again.
    pub id: RefundId,
    /// How much, in units of the charge's currency.
    pub amount: Money,
    /// Which of the partner's keys for it, from 0.
    pub key: u32,
}

/// What a partner answers to the request for a refund of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartAnswer {
    /// It stands like this.
    Stands(RefundStatus),
    /// The partner failed, shows no refund of that name, and repeats its failure for this key:
    /// the next request needs the next key.
    KeyIsSpent,
}

/// A refund of a charge, as its partner shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRefund {
    /// The name that this service gave it, or the partner's.
    pub name: RefundName,
    /// How much, in units of the charge's currency.
    pub amount: Money,
    /// How it stands.
    pub status: RefundStatus,
}

/// How the refund of that name stands; of several the one that holds.
fn named(shown: &[ShownRefund], id: RefundId) -> Option<RefundStatus> {
    let name = RefundName::Ours(id);
    let named = || shown.iter().filter(|refund| refund.name == name);
    let holding = named().find(|refund| !matches!(refund.status, RefundStatus::Failed { .. }));
    let refund = holding.or_else(|| named().next())?;
    Some(refund.status.clone())
}

/// What a partner shows of a charge's refunds.
struct Refunds {
    /// Whether the whole of it went back or is on its way; `None` where at least a part is not.
    standing: Option<RefundStatus>,
    /// How many of them failed.
    failed: usize,
    /// One of those: the latest, where the partner tells.
    failure: Option<RefundStatus>,
}

impl Refunds {
    /// The key of the next refund: the same for all who see the same refunds, and another one than that
    /// of a refund that has failed, for which the partner repeats its first answer for a while.
    fn next_key(&self, key: String) -> String {
        match self.failed {
            0 => key,
            failed => format!("{key}-{failed}"),
        }
    }
}

/// Moves money.
///
/// The sequence is open, store the reference, confirm, so that a crash at any point is mended by
/// asking for the reference: safety does not rest on how long a partner keeps idempotency keys.
pub trait BillingPartner: Send + Sync + 'static {
    /// Opens a charge without moving money and returns the partner's reference.
    ///
    /// MUST NOT move money. MAY be called again for the same invoice and attempt after its answer
    /// was lost; a second charge that is opened then is never confirmed. MUST open another charge where
    /// the request replaces one.
    fn open(
        &self,
        request: &ChargeRequest,
    ) -> impl Future<Output = Result<String, PartnerError>> + Send;

    /// Moves the money of an opened charge, by the payment method of the request's agreement or not
    /// at all: a charge that is bound to the method it was opened with MUST answer
    /// [`PartnerError::OtherMethod`] where that is another one.
    ///
    /// MUST take effect at most once for a reference, however often and by however many it is
    /// called. MUST return [`PartnerError::Unanswered`], never a decline, when the outcome is not
    /// known.
    fn confirm(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Tells where a charge stands, without changing it.
    ///
    /// MUST NOT answer [`ChargeStatus::Expired`] because the partner does not find the charge, where
    /// another account opened it or a confirmation of it is unanswered.
    fn look_up(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Has the customer confirm a charge that stands at [`ChargeStatus::ActionRequired`], and tells
    /// where it stands then and what the customer must do, if the partner tells.
    ///
    /// MAY ask the partner for the customer's page, also by a confirmation with the customer present,
    /// if the request has the agreement that the charge was opened with: that confirmation MUST take
    /// effect at most once for a reference, as every other. Otherwise it MUST NOT change anything.
    fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<(ChargeStatus, NextAction), PartnerError>> + Send;

    /// Gives the whole of a captured charge back, also where an earlier refund of it was refused or
    /// has failed.
    ///
    /// MUST take effect at most once for a charge as long as no refund of it fails, however often and
    /// by however many it is called; after one that failed, at most once more. MUST return the
    /// partner's present answer, never one that it kept from an earlier refusal. MUST return
    /// [`PartnerError::Unanswered`] when it is not known whether it was taken.
    fn refund(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<RefundStatus, PartnerError>> + Send;

    /// Gives a part of a captured charge back.
    ///
    /// MUST take effect at most once for a name, however often, by however many and with whatever key it
    /// is called, and MUST NOT give back more than was captured. MUST return
    /// [`RefundStatus::Failed`] only where it provably made no refund of that name, and
    /// [`PartnerError::Unanswered`] when that is not known. After [`PartAnswer::KeyIsSpent`] it is called
    /// with the next key, and with no earlier one.
    fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> impl Future<Output = Result<PartAnswer, PartnerError>> + Send;

    /// Every refund of a captured charge, whoever made it; `None` where the partner keeps none.
    ///
    /// MUST NOT change anything. MUST name a refund that this service asked for as it was named.
    fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<Option<Vec<ShownRefund>>, PartnerError>> + Send;

    /// Tells where the refund of a captured charge stands, by the partner's present word: a refund that
    /// succeeded may fail days later, and another one may be made by hand.
    ///
    /// MUST NOT ask for a refund or change anything. MUST NOT answer [`RefundStatus::Refunded`] while
    /// a part of the money is the shop's: a refund that failed counts for nothing.
    /// [`RefundStatus::Failed`] says that one has failed and that none since has given the money back
    /// or is on its way. `None` where the partner shows no refund of the whole charge and none that
    /// failed: also where it refused one, or does not show yet what it has just made.
    fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<Option<RefundStatus>, PartnerError>> + Send;

    /// Which partner this is: stored with each charge, so that nobody asks another partner for it.
    fn name(&self) -> PartnerName;

    /// Whose account this is: stored with each charge, so that nobody asks another account for it. MUST
    /// be the one that the last call was made for, as long as nothing else was awaited since: keys may
    /// be replaced at any time. A new key of the same account MUST NOT make it another one.
    fn account(&self) -> PartnerAccount;

    /// The partner whose [`Agreement`] a customer must have; `None` where everybody is charged.
    fn agreement_with(&self) -> Option<PartnerName>;

    /// Makes sure that an attempt which was declined can never be confirmed any more, and tells
    /// where it stands.
    ///
    /// MUST NOT answer with [`ChargeStatus::Cancelled`], [`ChargeStatus::Expired`] or
    /// [`ChargeStatus::Declined`] while anybody could still confirm it: the next attempt then opens
    /// another charge. A confirmation that may still arrive ([`OpenCharge::confirmation_may_arrive`])
    /// counts, an older one does not: a charge that is gone by then is [`ChargeStatus::Expired`], also
    /// if the confirmation's answer was lost. Any other answer says that it could not be cancelled, or
    /// took the money after all: the next attempt then goes on with this very reference, which can take
    /// the money once whatever attempt asks for it.
    fn cancel(
        &self,
        charge: &OpenCharge,
    ) -> impl Future<Output = Result<ChargeStatus, PartnerError>> + Send;

    /// Tells how a dispute stands and whose charge it is about, by the partner's own name for the
    /// dispute, which came from outside: an implementer MUST NOT put it into a path unchecked.
    /// `None` where there is no such dispute, or it is of no charge that this service has opened.
    fn dispute(
        &self,
        id: &PartnerReference,
    ) -> impl Future<Output = Result<Option<Disputed>, PartnerError>> + Send;
}
