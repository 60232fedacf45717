//! The payment of an invoice: claimed under a lease, written under a fence.
//!
//! A claim raises the fence; every later write names the fence it was made under and is refused
//! once somebody else has claimed. So a worker that was frozen and wakes up after its lease can
//! still not overwrite what the next one did.

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

/// How many idempotency keys one payment remembers; its item must not grow without end.
pub const MAX_PAYMENT_KEYS: usize = 100;

/// The claim that a write is made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub(super) u64);

/// What an explicit request says that it pays.
#[derive(Clone, Debug)]
pub struct PaymentTerms {
    /// Whose invoice.
    pub customer: CustomerId,
    /// Its total.
    pub total: Money,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The order is yours to charge until the lease ends.
    Held(Box<Order>, Fence),
    /// It is not; the reason can be read off the order.
    Refused(ClaimRefusal),
}

/// Why a claim was refused.
#[derive(Clone, Debug)]
pub enum ClaimRefusal {
    /// No such order.
    NotFound,
    /// The order as it stands: other terms, another state, or held by somebody else.
    Standing(Box<Order>),
}

/// What the next attempt at a declined payment charges with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCharge {
    /// It opens another charge: nobody can confirm the declined one any more.
    Another,
    /// It goes on with the declined attempt's charge, because that one could not be cancelled.
    Same,
}

/// A charge that was opened at the partner.
#[derive(Clone, Debug)]
pub struct OpenedCharge<'a> {
    /// The partner's name for it.
    pub reference: &'a str,
    /// At which partner.
    pub partner: PartnerName,
    /// Whose it is.
    pub account: PartnerAccount,
    /// By what it is charged, where the partner needs an agreement.
    pub method: Option<MethodFingerprint>,
    /// When it was opened.
    pub at: Timestamp,
}

/// How a claim stores its idempotency key.
enum KeptKey<'a> {
    /// It joins the keys that the payment has.
    Joins(&'a str),
    /// The payment, as it was read, has no keys, and no place for them if an earlier version issued its
    /// invoice. A claim that adds a key raises the fence, so the fence that was read proves that there
    /// is still none.
    First(&'a str, &'a Payment),
}

/// Whether somebody could still confirm the charge of a declined attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclinedCharge {
    /// It may still take the money.
    Open,
    /// It never will, or there is none.
    Dead,
}

/// How looking after a declined charge ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclinedEnd {
    /// Nobody can confirm it any more.
    Dead {
        /// When the order expires, if it does.
        expires: Option<Timestamp>,
    },
    /// The partner never said so, and is not asked any more.
    GivenUp,
}

/// Whether the partner has answered every confirmation of the charge that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// None is on its way.
    Answered,
    /// One may be, as before this claim.
    AsBefore,
    /// One was sent under this claim, and its answer was lost.
    Unanswered,
}

/// How a claim is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// With the charge in this state.
    As(ChargeState),
    /// To the customer, who is waited for, for this reason.
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

/// What became of a write under a fence.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// It stands: this is the order now.
    Written(Box<Order>),
    /// Somebody else has claimed or finished meanwhile: this is the order now.
    Overtaken(Box<Order>),
    /// The order is gone.
    NotFound,
}

impl Store {
    /// Claims an invoiced order for charging; one write. A declined payment is not claimed:
    /// see [`Store::claim_next_attempt`].
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
            // A key stands for the attempt that it claimed first, and claims no other.
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
    /// [`NextCharge::Another`] the declined attempt's charge MUST have been cancelled at the partner,
    /// so that nobody can confirm it.
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
            // The fence tells that no key was added since.
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

    /// Claims a declined payment, as it was read, whose charge took the money all the same, or may
    /// yet, so that this is written down; one write. The attempt stays the same.
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

    /// What every claim writes; with its holder.
    fn claim(&self, id: &OrderId, lease: Duration, now: Timestamp) -> (Change, String) {
        let holder = self.runtime.token();
        let claim = Self::change(id)
            .assign("payment.fence", "payment.fence + :one")
            .value(":one", n(1))
            .set("payment.holder", s(&holder))
            .set("payment.leaseUntil", n(now.plus(lease).millis()))
            .assign("payment.claimedFrom", "payment.#state")
            .set("payment.state", s(ChargeState::Processing.as_str()))
            // Whoever gives the claim back says anew what the customer must do.
            .remove(["payment.nextAction"]);
        (claim, holder)
    }

    /// What every claim of a declined payment, as it was read, writes; with its holder.
    fn claim_anew(&self, order: &Order, lease: Duration, now: Timestamp) -> (Change, String) {
        let (claim, holder) = self.claim(&order.id, lease, now);
        let due = Due::new(DueStep::Payment, now.plus(DUE_AFTER));
        let claim = claim
            .when_status(Status::Invoiced)
            .when_declined(order)
            .due(&order.id, Some(due));
        (claim, holder)
    }

    /// Keeps the partner of the opened charge and its name for it, the account and by which method it
    /// is charged, before it is confirmed; one write. From then on a confirmation may be carried out, until
    /// [`Store::release_payment`] says that it was answered.
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
            .set("payment.waitingSince", at);
        let change = match &opened.method {
            Some(method) => change.set("payment.method", s(method.as_str())),
            None => change.remove(["payment.method"]),
        };
        self.settled(change, |_| false).await
    }

    /// Keeps that a charge which was opened before is about to be confirmed, by that method; one
    /// write. Another method than before is another attempt of the customer's.
    pub async fn charge_asked(
        &self,
        order: &Order,
        fence: Fence,
        method: Option<&MethodFingerprint>,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let before = order.payment.as_ref();
        let before = before.and_then(|payment| payment.method.as_ref());
        let mut change = under(&order.id, fence).set("payment.unansweredSince", n(now.millis()));
        if method != before {
            change = change.set("payment.waitingSince", n(now.millis()));
        }
        if let Some(method) = method {
            change = change.set("payment.method", s(method.as_str()));
        }
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
            .remove(["payment.unansweredSince", "payment.waitingSince"]);
        self.settled(captured, |order| order.charge().is_some())
            .await
    }

    /// Marks an order that costs nothing paid, with its `PaymentProcessed` event; one write. Its
    /// payment belongs to no partner's charge.
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

    /// Records that the partner refused the attempt; one write. While somebody could still confirm
    /// the refused charge ([`DeclinedCharge::Open`]), the payment stays due: the partner is asked
    /// until that is over. After that, what remains due are the mails. From the attempt on, the
    /// customer is waited for.
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
            .remove(["payment.unansweredSince"])
            .due(&order.id, due);
        self.settled(declined, |order| {
            order.payment.as_ref().is_some_and(|payment| {
                payment.fence == fence.0 && payment.state == ChargeState::Declined
            })
        })
        .await
    }

    /// Records that a declined charge is not looked after any more, as the order was read; one write.
    /// What remains due are the mails, and without any the order's expiry.
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

    /// Gives the claim back, with the charge neither captured nor declined; one write.
    /// What is due stays due: the sweep asks again. From the first release on that leaves it to the
    /// customer, the customer is waited for, until money may be moving.
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

    /// The same for a charge that waits until the customer has done this at the partner; one write.
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
                // Our own write: its first answer was lost on the way, and the SDK tried again.
                order
            }
        };
        let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
        Ok(Claim::Held(Box::new(order), Fence(fence)))
    }
}

impl<Kind> OrderWrite<Kind> {
    /// Refused unless this claim is the last one, and holds.
    pub(super) fn when_claimed(self, fence: Fence) -> Self {
        self.when_is("payment.fence", n(fence.0))
            .when_is("payment.state", s(ChargeState::Processing.as_str()))
    }

    /// Refused unless the payment is declined as it was read: nobody has claimed it since.
    pub(super) fn when_declined(self, order: &Order) -> Self {
        let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
        self.when_is("payment.state", s(ChargeState::Declined.as_str()))
            .when_is("payment.fence", n(fence))
    }
}

/// What a claim adds to a payment, until it is given back.
pub(super) const CLAIM: [&str; 2] = ["payment.holder", "payment.leaseUntil"];

/// What belongs to a charge and goes with it.
const FORGOTTEN_WITH_A_CHARGE: [&str; 6] = [
    "payment.reference",
    "payment.openedAt",
    "payment.partner",
    "payment.account",
    "payment.method",
    "payment.unansweredSince",
];

/// A change that only the holder of the current claim carries out.
fn under(id: &OrderId, fence: Fence) -> Change {
    Store::change(id)
        .when_status(Status::Invoiced)
        .when_claimed(fence)
}

/// What gives a claim back.
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

/// From now on the customer is waited for, if that is not so already. An earlier version's payment does
/// not say since when.
fn waiting(change: Change, order: &Order, now: Timestamp) -> Change {
    let since = order.waiting_since().unwrap_or(now);
    change
        .assign(
            "payment.waitingSince",
            "if_not_exists(payment.waitingSince, :since)",
        )
        .value(":since", n(since.millis()))
}

/// The keys of a payment that had none.
fn first_key(key: &str, attempt: u32) -> Value {
    Value::M(HashMap::from([(key.to_owned(), n(attempt))]))
}
