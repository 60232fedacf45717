//! The payment of an invoice: claimed under a lease, written under a fence.
//!
//! A claim raises the fence. Every later write names the fence that it was made under and is
//! refused once another worker has claimed the payment. A worker that was frozen and resumes after
//! its lease can therefore not overwrite what the next one did.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    Charge, ChargeState, Command, CustomerId, Decline, Due, DueStep, MethodFingerprint, Money,
    NextAction, Order, OrderId, PartnerAccount, PartnerName, Payment, Status, Timestamp,
    WaitReason,
};

use super::item::{charge_value, decline_value, money, n, next_action_value, s};
use super::transition::{Change, DUE_AFTER, OrderWrite};
use super::{Store, StoreError};

/// The maximum number of idempotency keys that a payment stores, so that its item does not grow
/// without limit.
pub const MAX_PAYMENT_KEYS: usize = 100;

/// The fence of the claim that a write is made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub(super) u64);

/// The terms of an explicit request to pay.
#[derive(Clone, Debug)]
pub struct PaymentTerms {
    /// The invoice's customer.
    pub customer: CustomerId,
    /// The invoice's total.
    pub total: Money,
}

/// Outcome of a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The caller may charge the order until the lease ends.
    Held(Box<Order>, Fence),
    /// The claim was refused.
    Refused(ClaimRefusal),
}

/// Why a claim was refused.
#[derive(Clone, Debug)]
pub enum ClaimRefusal {
    /// The order does not exist.
    NotFound,
    /// The current order: it has other terms or another state, or another worker holds the claim.
    Standing(Box<Order>),
}

/// The charge that the next attempt at a declined payment uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCharge {
    /// A new charge: the declined one can no longer be confirmed.
    Another,
    /// The declined attempt's charge, because that one could not be cancelled.
    Same,
}

/// A charge that was opened at the partner.
#[derive(Clone, Debug)]
pub struct OpenedCharge<'a> {
    /// The partner's reference of the charge.
    pub reference: &'a str,
    /// The partner.
    pub partner: PartnerName,
    /// The account that it belongs to.
    pub account: PartnerAccount,
    /// The payment method that is charged, if the partner needs an agreement.
    pub method: Option<MethodFingerprint>,
    /// When it was opened.
    pub at: Timestamp,
}

/// How a claim stores its idempotency key.
enum KeptKey<'a> {
    /// It is added to the payment's keys.
    Joins(&'a str),
    /// The payment, as it was read, has no keys, and no map for them if an earlier version issued
    /// its invoice. A claim that adds a key raises the fence, so a matching fence proves that there
    /// are still none.
    First(&'a str, &'a Payment),
}

/// Whether the charge of a declined attempt can still be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclinedCharge {
    /// It may still be captured.
    Open,
    /// It can never be captured, or there is none.
    Dead,
}

/// Why a declined charge is no longer checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclinedEnd {
    /// It can no longer be confirmed.
    Dead {
        /// When the order expires, if it does.
        expires: Option<Timestamp>,
    },
    /// The partner never proved it, and is not asked again.
    GivenUp,
}

/// Whether the partner has answered every confirmation of the charge that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// No confirmation is unanswered.
    Answered,
    /// Unchanged: one may be unanswered from before this claim.
    AsBefore,
    /// A confirmation was sent under this claim, and its answer was lost.
    Unanswered,
}

/// How a claim is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// With the charge in this state.
    As(ChargeState),
    /// The order waits for its customer, for this reason.
    ToCustomer(WaitReason),
}

impl Released {
    fn state(self) -> ChargeState {
        match self {
            Self::As(state) => state,
            Self::ToCustomer(_) => ChargeState::ActionRequired,
        }
    }
}

impl From<ChargeState> for Released {
    fn from(state: ChargeState) -> Self {
        Self::As(state)
    }
}

impl From<WaitReason> for Released {
    fn from(reason: WaitReason) -> Self {
        Self::ToCustomer(reason)
    }
}

/// Outcome of a write under a fence.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It was written; this is the current order.
    Written(Box<Order>),
    /// Another worker has since claimed or finished it; this is the current order.
    Overtaken(Box<Order>),
    /// The order does not exist.
    NotFound,
}

impl Store {
    /// Claims an invoiced order to charge it; one write. A declined payment cannot be claimed this
    /// way: see [`Store::claim_next_attempt`].
    ///
    /// `lease` MUST be longer than a function can run.
    pub async fn claim_payment(
        &self,
        id: &OrderId,
        terms: Option<&PaymentTerms>,
        key: Option<&str>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let Some(key) = key else {
            return self.try_claim(id, terms, None, lease, now).await;
        };
        let joins = Some(KeptKey::Joins(key));
        let claim = self.try_claim(id, terms, joins, lease, now).await?;
        let Claim::Refused(ClaimRefusal::Standing(order)) = &claim else {
            return Ok(claim);
        };
        let free = |payment: &&Payment| payment.lease_until.is_none_or(|until| until < now);
        match order.payment.as_ref().filter(free) {
            Some(payment) if payment.keys.is_empty() => {
                let first = Some(KeptKey::First(key, payment));
                self.try_claim(id, terms, first, lease, now).await
            }
            Some(_) | None => Ok(claim),
        }
    }

    async fn try_claim(
        &self,
        id: &OrderId,
        terms: Option<&PaymentTerms>,
        key: Option<KeptKey<'_>>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let (claim, holder) = self.claim(id, lease, now);
        let mut claim = claim
            .when_status(Status::Invoiced)
            .when("payment.#state <> :declined")
            .value(":declined", s(ChargeState::Declined.as_str()))
            .when("attribute_not_exists(payment.leaseUntil) OR payment.leaseUntil < :now")
            .value(":now", n(now.millis()));
        claim = match key {
            None => claim,
            // A key stands for the attempt that it claimed first and cannot claim another one.
            Some(KeptKey::Joins(key)) => claim
                .when(
                    "payment.#keys.#key = payment.attempt \
                     OR (attribute_not_exists(payment.#keys.#key) AND size(payment.#keys) < :most)",
                )
                .name("#key", key)
                .value(":most", n(MAX_PAYMENT_KEYS))
                .assign("payment.keys.#key", "payment.attempt"),
            Some(KeptKey::First(key, payment)) => claim
                .when_is("payment.fence", n(payment.fence))
                .set("payment.keys", first_key(key, payment.attempt)),
        };
        if let Some(terms) = terms {
            claim = claim
                .when_is("customerId", s(terms.customer.as_str()))
                .when_is("total", money(terms.total));
        }
        self.claimed(claim, &holder).await
    }

    /// Claims the next attempt at a declined payment, as it was read; one write. With
    /// [`NextCharge::Another`], the declined attempt's charge MUST have been cancelled at the
    /// partner, so that it can no longer be confirmed.
    pub async fn claim_next_attempt(
        &self,
        order: &Order,
        next: NextCharge,
        key: Option<&str>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let Some(payment) = &order.payment else {
            return Ok(Claim::Refused(ClaimRefusal::Standing(Box::new(
                order.clone(),
            ))));
        };
        let attempt = payment.attempt + 1;
        let (claim, holder) = self.claim_anew(order, lease, now);
        let mut claim = claim
            .set("payment.attempt", n(attempt))
            .set("payment.waitingSince", n(now.millis()));
        if let Some(key) = key {
            // The condition on the fence proves that no key was added since.
            claim = if payment.keys.is_empty() {
                claim.set("payment.keys", first_key(key, attempt))
            } else {
                claim.name("#key", key).set("payment.keys.#key", n(attempt))
            };
        }
        if next == NextCharge::Another {
            claim = claim.remove(FORGOTTEN_WITH_A_CHARGE);
        }
        self.claimed(claim, &holder).await
    }

    /// Claims a declined payment, as it was read, to record that its charge was captured after all
    /// or may still be; one write. The attempt stays the same.
    pub async fn claim_declined(
        &self,
        order: &Order,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        if order.payment.is_none() {
            let standing = Box::new(order.clone());
            return Ok(Claim::Refused(ClaimRefusal::Standing(standing)));
        }
        let (claim, holder) = self.claim_anew(order, lease, now);
        self.claimed(claim, &holder).await
    }

    /// The part of the write that all claims share, with the claim's holder.
    fn claim(&self, id: &OrderId, lease: Duration, now: Timestamp) -> (Change, String) {
        let holder = self.runtime.token();
        let claim = Self::change(id)
            .assign("payment.fence", "payment.fence + :one")
            .value(":one", n(1))
            .set("payment.holder", s(&holder))
            .set("payment.leaseUntil", n(now.plus(lease).millis()))
            .assign("payment.claimedFrom", "payment.#state")
            .set("payment.state", s(ChargeState::Processing.as_str()))
            // The worker that releases the claim stores the customer's action again.
            .remove(["payment.nextAction"]);
        (claim, holder)
    }

    /// The part of the write that all claims of a declined payment, as it was read, share, with the
    /// claim's holder.
    fn claim_anew(&self, order: &Order, lease: Duration, now: Timestamp) -> (Change, String) {
        let (claim, holder) = self.claim(&order.id, lease, now);
        let due = Due::new(DueStep::Payment, now.plus(DUE_AFTER));
        let claim = claim
            .when_status(Status::Invoiced)
            .when_declined(order)
            .due(&order.id, Some(due));
        (claim, holder)
    }

    /// Stores the opened charge before it is confirmed: its partner, reference, account, and
    /// payment method; one write. From then on a confirmation counts as possibly carried out, until
    /// [`Store::release_payment`] records that it was answered.
    pub async fn charge_opened(
        &self,
        id: &OrderId,
        fence: Fence,
        opened: &OpenedCharge<'_>,
    ) -> Result<Settlement, StoreError> {
        let at = n(opened.at.millis());
        let change = under(id, fence)
            .set("payment.reference", s(opened.reference))
            .set("payment.openedAt", at.clone())
            .set("payment.partner", s(opened.partner.as_str()))
            .set("payment.account", s(opened.account.as_str()))
            .set("payment.unansweredSince", at.clone())
            .set("payment.waitingSince", at)
            .remove(["payment.replacing"]);
        let change = match &opened.method {
            Some(method) => change.set("payment.method", s(method.as_str())),
            None => change.remove(["payment.method"]),
        };
        self.settled(change, |_| false).await
    }

    /// Records that a charge that was opened earlier is about to be confirmed with this payment
    /// method; one write. A different method than before counts as another attempt by the customer.
    pub async fn charge_asked(
        &self,
        order: &Order,
        fence: Fence,
        method: Option<&MethodFingerprint>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let before = order.payment.as_ref();
        let before = before.and_then(|payment| payment.method.as_ref());
        let mut change = under(&order.id, fence)
            .set("payment.unansweredSince", n(now.millis()))
            .remove(["payment.replacing"]);
        if method != before {
            change = change.set("payment.waitingSince", n(now.millis()));
        }
        if let Some(method) = method {
            change = change.set("payment.method", s(method.as_str()));
        }
        self.settled(change, |_| false).await
    }

    /// Records that the charge is about to be closed at the partner and replaced by another one;
    /// one write. A worker that later finds it closed replaces it, whatever else has changed.
    pub async fn charge_replaced(
        &self,
        order: &Order,
        fence: Fence,
    ) -> Result<Settlement, StoreError> {
        let change = under(&order.id, fence).set("payment.replacing", Value::Bool(true));
        self.settled(change, |_| false).await
    }

    /// Marks the order paid, with its `PaymentProcessed` event; one write.
    pub async fn charge_captured(
        &self,
        order: &Order,
        fence: Fence,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let captured = self
            .transition(order, Command::CapturePayment, now)
            .when_claimed(fence)
            .set("payment.state", s(ChargeState::Captured.as_str()))
            .set("payment.charge", charge_value(charge))
            .remove(CLAIM)
            .remove([
                "payment.unansweredSince",
                "payment.waitingSince",
                "payment.replacing",
            ]);
        self.settled(captured, |order| order.charge().is_some())
            .await
    }

    /// Marks an order that costs nothing as paid, with its `PaymentProcessed` event; one write. Its
    /// payment has no charge at a partner.
    pub async fn paid_free(
        &self,
        order: &Order,
        fence: Fence,
        payment: &Charge,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let paid = self
            .transition(order, Command::CapturePayment, now)
            .when_claimed(fence)
            .when_is("total", money(Money::ZERO))
            .set("payment.state", s(ChargeState::Free.as_str()))
            .set("payment.charge", charge_value(payment))
            .remove(CLAIM)
            .remove(FORGOTTEN_WITH_A_CHARGE)
            .remove(["payment.waitingSince"]);
        self.settled(paid, |order| order.charge().is_some()).await
    }

    /// Records that the partner declined the attempt; one write. While the declined charge can
    /// still be confirmed ([`DeclinedCharge::Open`]), the payment stays due, and the sweep keeps
    /// asking the partner. After that, only the mails are due. The order waits for its customer
    /// from the attempt on.
    pub async fn charge_declined(
        &self,
        order: &Order,
        fence: Fence,
        decline: &Decline,
        charge: DeclinedCharge,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let step = match charge {
            DeclinedCharge::Open => Some(DueStep::Payment),
            DeclinedCharge::Dead => self.mail_step(order),
        };
        let due = step.map(|step| Due::new(step, now.plus(DUE_AFTER)));
        let declined = waiting(under(&order.id, fence), order, now)
            .set("payment.state", s(ChargeState::Declined.as_str()))
            .assign(
                "payment.declines",
                "list_append(payment.declines, :decline)",
            )
            .value(":decline", Value::L(vec![decline_value(decline)]))
            .remove(CLAIM)
            .remove(["payment.unansweredSince", "payment.replacing"])
            .due(&order.id, due);
        self.settled(declined, |order| {
            order.payment.as_ref().is_some_and(|payment| {
                payment.fence == fence.0 && payment.state == ChargeState::Declined
            })
        })
        .await
    }

    /// Records that a declined charge is no longer checked, as the order was read; one write. After
    /// that, the mails are due, or the order's expiry if there are none. After
    /// [`DeclinedEnd::GivenUp`], nothing is due.
    pub async fn declined_charge_closed(
        &self,
        order: &Order,
        end: DeclinedEnd,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let soon = now.plus(DUE_AFTER);
        let due = match (end, self.mail_step(order)) {
            (DeclinedEnd::Dead { .. }, Some(step)) => Some(Due::new(step, soon)),
            (DeclinedEnd::Dead { expires }, None) => {
                expires.map(|at| Due::new(DueStep::Payment, at.max(soon)))
            }
            (DeclinedEnd::GivenUp, _) => None,
        };
        let closed = Self::change(&order.id)
            .when_status(Status::Invoiced)
            .when_declined(order)
            .due(&order.id, due);
        self.settled(closed, |_| false).await
    }

    /// Releases the claim, with the charge neither captured nor declined; one write. The payment
    /// stays due, so the sweep checks it again. The order waits for its customer from the first
    /// such release on, until a charge may be in progress.
    pub async fn release_payment(
        &self,
        order: &Order,
        fence: Fence,
        to: Released,
        confirmation: Confirmation,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let released = released(order, fence, to, confirmation, now);
        self.given_back(released, fence).await
    }

    /// Does the same for a charge that waits until the customer has taken this action at the
    /// partner; one write.
    pub async fn require_action(
        &self,
        order: &Order,
        fence: Fence,
        action: &NextAction,
        confirmation: Confirmation,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let waits = WaitReason::ConfirmationRequired.into();
        let released = released(order, fence, waits, confirmation, now)
            .set("payment.nextAction", next_action_value(action));
        self.given_back(released, fence).await
    }

    async fn given_back(&self, released: Change, fence: Fence) -> Result<Settlement, StoreError> {
        self.settled(released, |order| {
            order
                .payment
                .as_ref()
                .is_some_and(|payment| payment.fence == fence.0 && payment.lease_until.is_none())
        })
        .await
    }

    async fn claimed(&self, claim: Change, holder: &str) -> Result<Claim, StoreError> {
        let order = match self.conditional(claim).await? {
            Ok(order) => order,
            Err(None) => return Ok(Claim::Refused(ClaimRefusal::NotFound)),
            Err(Some(order)) => {
                let held_by = order
                    .payment
                    .as_ref()
                    .and_then(|payment| payment.holder.as_deref());
                if held_by != Some(holder) {
                    return Ok(Claim::Refused(ClaimRefusal::Standing(Box::new(order))));
                }
                // Our own write: its first answer was lost, and the SDK retried it.
                order
            }
        };
        let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
        Ok(Claim::Held(Box::new(order), Fence(fence)))
    }
}

impl<Kind> OrderWrite<Kind> {
    /// Refused unless this claim is the latest and is still held.
    pub(super) fn when_claimed(self, fence: Fence) -> Self {
        self.when_is("payment.fence", n(fence.0))
            .when_is("payment.state", s(ChargeState::Processing.as_str()))
    }

    /// Refused unless the payment is declined and was not claimed since it was read.
    pub(super) fn when_declined(self, order: &Order) -> Self {
        let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
        self.when_is("payment.state", s(ChargeState::Declined.as_str()))
            .when_is("payment.fence", n(fence))
    }
}

/// The attributes that a claim adds to a payment and its release removes.
pub(super) const CLAIM: [&str; 2] = ["payment.holder", "payment.leaseUntil"];

/// The attributes that belong to a charge and are removed with it.
const FORGOTTEN_WITH_A_CHARGE: [&str; 7] = [
    "payment.reference",
    "payment.openedAt",
    "payment.partner",
    "payment.account",
    "payment.method",
    "payment.unansweredSince",
    "payment.replacing",
];

/// A change that only the holder of the current claim can make.
fn under(id: &OrderId, fence: Fence) -> Change {
    Store::change(id)
        .when_status(Status::Invoiced)
        .when_claimed(fence)
}

/// The write that releases a claim.
fn released(
    order: &Order,
    fence: Fence,
    to: Released,
    confirmation: Confirmation,
    now: Timestamp,
) -> Change {
    let state = to.state();
    let mut released = under(&order.id, fence)
        .set("payment.state", s(state.as_str()))
        .remove(CLAIM);
    if state == ChargeState::ActionRequired {
        released = waiting(released, order, now);
    }
    if let Released::ToCustomer(reason) = to {
        released = released.set("payment.waitReason", s(reason.as_str()));
    }
    if confirmation == Confirmation::Answered {
        released = released.remove(["payment.unansweredSince"]);
    }
    if state == ChargeState::Pending || confirmation == Confirmation::Unanswered {
        released = released.remove(["payment.waitingSince"]);
    }
    released
}

/// Records that the order waits for its customer from now on, unless it is waiting already. A
/// payment of an earlier version does not store since when.
fn waiting(change: Change, order: &Order, now: Timestamp) -> Change {
    let since = order.waiting_since().unwrap_or(now);
    change
        .assign(
            "payment.waitingSince",
            "if_not_exists(payment.waitingSince, :since)",
        )
        .value(":since", n(since.millis()))
}

/// The key map of a payment that had none.
fn first_key(key: &str, attempt: u32) -> Value {
    Value::M(HashMap::from([(key.to_owned(), n(attempt))]))
}
