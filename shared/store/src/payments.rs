//! The payment of an invoice: claimed under a lease, written under a fence.
//!
//! A claim raises the fence; every later write names the fence it was made under and is refused
//! once somebody else has claimed. So a worker that was frozen and wakes up after its lease can
//! still not overwrite what the next one did.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    Charge, ChargeState, CustomerId, Decline, DueStep, EventRecord, EventType, MethodFingerprint,
    Money, Order, OrderId, PartnerAccount, Payment, Status, Timestamp,
};

use super::attributes::{charge_value, decline_value, event_value, money, n, record_value, s};
use super::orders::{DUE_AFTER, conditional};
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
    /// Claims an invoiced order for charging; one write. `#status = :invoiced` is
    /// `Command::CapturePayment`'s row of the state table. A declined payment is not claimed: see
    /// [`Store::claim_next_attempt`].
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
        let holder = self.runtime.token();
        let mut expression = "SET payment.fence = payment.fence + :one, payment.holder = :holder, \
             payment.leaseUntil = :until, payment.claimedFrom = payment.#state, \
             payment.#state = :processing"
            .to_owned();
        let mut condition = "#status = :invoiced AND payment.#state <> :declined \
             AND (attribute_not_exists(payment.leaseUntil) OR payment.leaseUntil < :now)"
            .to_owned();
        let mut update = self
            .payment_update(id)?
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":holder", s(&holder))
            .expression_attribute_values(":until", n(now.plus(lease).millis()))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str()))
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()));
        match key {
            None => {}
            // A key stands for the attempt that it claimed first, and claims no other.
            Some(KeptKey::Joins(key)) => {
                expression += ", payment.#keys.#key = payment.attempt";
                condition += " AND (payment.#keys.#key = payment.attempt \
                     OR (attribute_not_exists(payment.#keys.#key) AND size(payment.#keys) < :most))";
                update = update
                    .expression_attribute_names("#keys", "keys")
                    .expression_attribute_names("#key", key)
                    .expression_attribute_values(":most", n(MAX_PAYMENT_KEYS));
            }
            Some(KeptKey::First(key, payment)) => {
                expression += ", payment.#keys = :keys";
                condition += " AND payment.fence = :fence";
                update = update
                    .expression_attribute_names("#keys", "keys")
                    .expression_attribute_values(":keys", first_key(key, payment.attempt))
                    .expression_attribute_values(":fence", n(payment.fence));
            }
        }
        if let Some(terms) = terms {
            condition += " AND customerId = :customer AND #total = :total";
            update = update
                .expression_attribute_names("#total", "total")
                .expression_attribute_values(":customer", s(terms.customer.as_str()))
                .expression_attribute_values(":total", money(terms.total));
        }
        expression += " REMOVE #event";
        claimed(
            update
                .update_expression(expression)
                .condition_expression(condition),
            &holder,
        )
        .await
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
        let holder = self.runtime.token();
        let attempt = payment.attempt + 1;
        let mut set = ", payment.attempt = :attempt, payment.waitingSince = :now".to_owned();
        let mut remove = Vec::new();
        let mut update = self
            .declined_update(order, payment, &holder, lease, now)?
            .expression_attribute_values(":attempt", n(attempt))
            .expression_attribute_values(":now", n(now.millis()));
        if let Some(key) = key {
            update = update.expression_attribute_names("#keys", "keys");
            // The fence tells that no key was added since.
            if payment.keys.is_empty() {
                set += ", payment.#keys = :keys";
                update = update.expression_attribute_values(":keys", first_key(key, attempt));
            } else {
                set += ", payment.#keys.#key = :attempt";
                update = update.expression_attribute_names("#key", key);
            }
        }
        if next == NextCharge::Another {
            remove.extend(FORGOTTEN_WITH_A_CHARGE);
            update = named_charge(update);
        }
        claimed(reclaiming(update, &set, remove), &holder).await
    }

    /// Claims a declined payment, as it was read, whose charge took the money all the same, or may
    /// yet, so that this is written down; one write. The attempt stays the same.
    pub async fn claim_declined(
        &self,
        order: &Order,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let Some(payment) = &order.payment else {
            return Ok(Claim::Refused(ClaimRefusal::Standing(Box::new(
                order.clone(),
            ))));
        };
        let holder = self.runtime.token();
        let update = self.declined_update(order, payment, &holder, lease, now)?;
        claimed(reclaiming(update, "", Vec::new()), &holder).await
    }

    /// An update of a declined payment as it was read: refused once anybody has claimed it since.
    fn declined_update(
        &self,
        order: &Order,
        payment: &Payment,
        holder: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .payment_update(&order.id)?
            .condition_expression(AS_DECLINED)
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":holder", s(holder))
            .expression_attribute_values(":until", n(now.plus(lease).millis()))
            .expression_attribute_values(":step", s(DueStep::Payment.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str()))
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
            .expression_attribute_values(":fence", n(payment.fence)))
    }

    /// Keeps the partner's name for the opened charge, its account and by which method it is charged,
    /// before it is confirmed; one write. From then on a confirmation may be carried out, until
    /// [`Store::release_payment`] says that it was answered.
    pub async fn charge_opened(
        &self,
        id: &OrderId,
        fence: Fence,
        opened: &OpenedCharge<'_>,
    ) -> Result<Settlement, StoreError> {
        let mut expression = "SET payment.#reference = :reference, payment.openedAt = :at, \
             payment.#account = :account, payment.unansweredSince = :at, \
             payment.waitingSince = :at"
            .to_owned();
        let mut update = named_charge(self.fenced_update(id, fence)?)
            .expression_attribute_values(":reference", s(opened.reference))
            .expression_attribute_values(":account", s(opened.account.as_str()))
            .expression_attribute_values(":at", n(opened.at.millis()));
        match &opened.method {
            Some(method) => {
                expression += ", payment.#method = :method REMOVE #event";
                update = update.expression_attribute_values(":method", s(method.as_str()));
            }
            None => expression += " REMOVE payment.#method, #event",
        }
        settled(update.update_expression(expression), |_| false).await
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
        let mut expression = "SET payment.unansweredSince = :now".to_owned();
        if method != before {
            expression += ", payment.waitingSince = :now";
        }
        let mut update = self
            .fenced_update(&order.id, fence)?
            .expression_attribute_values(":now", n(now.millis()));
        if let Some(method) = method {
            expression += ", payment.#method = :method";
            update = update
                .expression_attribute_names("#method", "method")
                .expression_attribute_values(":method", s(method.as_str()));
        }
        expression += " REMOVE #event";
        settled(update.update_expression(expression), |_| false).await
    }

    /// Marks the order paid, with its `PaymentProcessed` event; one write.
    pub async fn charge_captured(
        &self,
        order: &Order,
        fence: Fence,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let version = order.version + 1;
        let update = self
            .fenced_update(&order.id, fence)?
            .update_expression(
                "SET #status = :paid, version = :version, payment.#state = :captured, \
                 payment.charge = :charge, #event = :event, events.#kind = :record, \
                 dueStep = :step, dueAt = :due, dueTries = :zero \
                 REMOVE payment.holder, payment.leaseUntil, payment.unansweredSince, \
                 payment.waitingSince",
            )
            .expression_attribute_names("#kind", EventType::PaymentProcessed.as_str())
            .expression_attribute_values(":paid", s(Status::Paid.as_str()))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":captured", s(ChargeState::Captured.as_str()))
            .expression_attribute_values(":charge", charge_value(charge))
            .expression_attribute_values(
                ":event",
                event_value(&order.event_id(version), EventType::PaymentProcessed),
            )
            .expression_attribute_values(":record", record_value(&EventRecord { version, at: now }))
            .expression_attribute_values(":step", s(DueStep::Shipping.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":zero", n(0));
        settled(update, |order| order.charge().is_some()).await
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
        let set = "SET payment.#state = :declined, \
             payment.declines = list_append(payment.declines, :decline), \
             payment.waitingSince = if_not_exists(payment.waitingSince, :since)";
        let remove = "payment.holder, payment.leaseUntil, payment.unansweredSince, #event";
        let update = self
            .fenced_update(&order.id, fence)?
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
            .expression_attribute_values(":decline", Value::L(vec![decline_value(decline)]))
            .expression_attribute_values(":since", waited_since(order, now));
        let step = match charge {
            DeclinedCharge::Open => Some(DueStep::Payment),
            DeclinedCharge::Dead => self.mail_step(order),
        };
        let due = step.map(|step| (step, now.plus(DUE_AFTER)));
        settled(with_due(update, order, due, set, remove), |order| {
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
        let fence = order.payment.as_ref().map_or(0, |payment| payment.fence);
        let update = self
            .payment_update(&order.id)?
            .condition_expression(AS_DECLINED)
            .expression_attribute_values(":declined", s(ChargeState::Declined.as_str()))
            .expression_attribute_values(":fence", n(fence));
        let soon = now.plus(DUE_AFTER);
        let due = match (end, self.mail_step(order)) {
            (DeclinedEnd::Dead { .. }, Some(step)) => Some((step, soon)),
            (DeclinedEnd::Dead { expires }, None) => {
                expires.map(|at| (DueStep::Payment, at.max(soon)))
            }
            (DeclinedEnd::GivenUp, _) => None,
        };
        settled(with_due(update, order, due, "", "#event"), |_| false).await
    }

    /// Gives the claim back with the charge in `state`, neither captured nor declined; one write.
    /// What is due stays due: the sweep asks again. From the first release on that leaves it to the
    /// customer, the customer is waited for, until money may be moving.
    pub async fn release_payment(
        &self,
        order: &Order,
        fence: Fence,
        state: ChargeState,
        confirmation: Confirmation,
        now: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let mut update = self
            .fenced_update(&order.id, fence)?
            .expression_attribute_values(":new", s(state.as_str()));
        let mut expression = "SET payment.#state = :new".to_owned();
        if state == ChargeState::ActionRequired {
            expression += ", payment.waitingSince = if_not_exists(payment.waitingSince, :since)";
            update = update.expression_attribute_values(":since", waited_since(order, now));
        }
        expression += " REMOVE payment.holder, payment.leaseUntil, #event";
        if confirmation == Confirmation::Answered {
            expression += ", payment.unansweredSince";
        }
        if state == ChargeState::Pending || confirmation == Confirmation::Unanswered {
            expression += ", payment.waitingSince";
        }
        settled(update.update_expression(expression), |order| {
            order
                .payment
                .as_ref()
                .is_some_and(|payment| payment.fence == fence.0 && payment.lease_until.is_none())
        })
        .await
    }

    pub(super) fn payment_update(
        &self,
        id: &OrderId,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .order_update(id)?
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":invoiced", s(Status::Invoiced.as_str())))
    }

    /// An update that only the holder of the current claim carries out.
    pub(super) fn fenced_update(
        &self,
        id: &OrderId,
        fence: Fence,
    ) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .payment_update(id)?
            .condition_expression(
                "#status = :invoiced AND payment.fence = :fence AND payment.#state = :processing",
            )
            .expression_attribute_values(":fence", n(fence.0))
            .expression_attribute_values(":processing", s(ChargeState::Processing.as_str())))
    }
}

/// A declined payment as it was read: nobody has claimed it since.
const AS_DECLINED: &str =
    "#status = :invoiced AND payment.#state = :declined AND payment.fence = :fence";

/// The keys of a payment that had none.
fn first_key(key: &str, attempt: u32) -> Value {
    Value::M(HashMap::from([(key.to_owned(), n(attempt))]))
}

/// What belongs to a charge and goes with it.
const FORGOTTEN_WITH_A_CHARGE: [&str; 5] = [
    "payment.#reference",
    "payment.openedAt",
    "payment.#account",
    "payment.#method",
    "payment.unansweredSince",
];

fn named_charge(update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_names("#reference", "reference")
        .expression_attribute_names("#account", "account")
        .expression_attribute_names("#method", "method")
}

/// Adds what every claim of a declined payment writes.
fn reclaiming(
    update: UpdateItemFluentBuilder,
    set: &str,
    remove: Vec<&str>,
) -> UpdateItemFluentBuilder {
    let mut expression = format!(
        "SET payment.fence = payment.fence + :one, payment.holder = :holder, \
         payment.leaseUntil = :until, payment.claimedFrom = payment.#state, \
         payment.#state = :processing, dueStep = :step, dueAt = :due, dueTries = :zero{set} REMOVE #event"
    );
    for attribute in remove {
        expression += ", ";
        expression += attribute;
    }
    update.update_expression(expression)
}

/// Since when the customer has been waited for, where the payment does not say so itself.
fn waited_since(order: &Order, now: Timestamp) -> Value {
    n(order.waiting_since().unwrap_or(now).millis())
}

/// Adds what is due from now on and when, or that nothing is.
fn with_due(
    mut update: UpdateItemFluentBuilder,
    order: &Order,
    due: Option<(DueStep, Timestamp)>,
    set: &str,
    remove: &str,
) -> UpdateItemFluentBuilder {
    let expression = if let Some((step, at)) = due {
        update = update
            .expression_attribute_values(":step", s(step.partition_of(&order.id)))
            .expression_attribute_values(":due", n(at.millis()))
            .expression_attribute_values(":zero", n(0));
        let set = if set.is_empty() {
            "SET".to_owned()
        } else {
            format!("{set},")
        };
        format!("{set} dueStep = :step, dueAt = :due, dueTries = :zero REMOVE {remove}")
    } else {
        format!("{set} REMOVE {remove}, dueStep, dueAt, dueTries")
    };
    update.update_expression(expression)
}

async fn claimed(update: UpdateItemFluentBuilder, holder: &str) -> Result<Claim, StoreError> {
    let order = match conditional(update).await? {
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

pub(super) async fn settled(
    update: UpdateItemFluentBuilder,
    stands_already: impl Fn(&Order) -> bool,
) -> Result<Settlement, StoreError> {
    Ok(match conditional(update).await? {
        Ok(order) => Settlement::Written(Box::new(order)),
        Err(None) => Settlement::NotFound,
        Err(Some(order)) if stands_already(&order) => Settlement::Written(Box::new(order)),
        Err(Some(order)) => Settlement::Overtaken(Box::new(order)),
    })
}
