//! Refunds of a captured charge: their names and their state at the partner.
//!
//! An order stores a refund before it is requested from the partner. The amounts of all refunds
//! that have not failed never exceed the captured amount.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use super::{
    ChargeState, EventType, Line, Money, Order, OrderLines, ProductId, Quantity, RefundId, Status,
    Text, Timestamp, Unit,
};

/// The status of a refund at the partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundStatus {
    /// The money was refunded to the customer.
    Refunded,
    /// The partner accepted the refund and will settle it later.
    Pending,
    /// The partner refused it, or it failed later. The customer does not have the money, and an
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

    /// Whether the customer does not have the money.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// The partner's reason, if the refund failed.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed { code } => Some(code),
            Self::Refunded | Self::Pending => None,
        }
    }

    /// The status with that name; `code` is kept for a failed one.
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

/// The partner's answer when it was last asked about a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNews {
    /// The status in the answer.
    pub status: RefundStatus,
    /// When the partner was asked, taken before the call. The answer to the later question wins.
    pub at: Timestamp,
    /// After a failure, the amount of the charge that was or is being refunded all the same; `None`
    /// if it is not known.
    pub kept: Option<Money>,
}

/// The name of a refund.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefundName {
    /// It was requested from this service.
    Ours(RefundId),
    /// It was made elsewhere, such as in the partner's dashboard. The text is the partner's ID of
    /// it.
    Partners(String),
}

impl RefundName {
    /// Parses the output of [`fmt::Display`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        RefundId::parse(text).map_or_else(|_| Self::Partners(text.to_owned()), Self::Ours)
    }
}

impl fmt::Display for RefundName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(id) => id.fmt(f),
            Self::Partners(id) => f.write_str(id),
        }
    }
}

/// The state of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// It is stored; the partner has not answered, or its answer was lost.
    Requested,
    /// The partner has answered.
    Answered(RefundStatus),
}

impl RefundState {
    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Answered(status) => status.as_str(),
        }
    }

    /// The state with that name; `code` is kept for a failed one.
    #[must_use]
    pub fn from_name(name: &str, code: &str) -> Option<Self> {
        match name {
            "requested" => Some(Self::Requested),
            _ => RefundStatus::from_name(name, code).map(Self::Answered),
        }
    }

    /// The partner's reason, if the refund failed.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Requested => None,
            Self::Answered(status) => status.code(),
        }
    }
}

/// A refunded product and its quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundedItem {
    /// The product.
    pub product_id: ProductId,
    /// The number of items.
    pub quantity: Quantity,
}

/// One refund of an order's captured charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its name.
    pub name: RefundName,
    /// In the order's currency; above zero.
    pub amount: Money,
    /// The state. For the refund that closes its order, it follows from the payment's state.
    pub state: RefundState,
    /// The items that it is for, if any.
    pub items: Vec<RefundedItem>,
    /// Whether its items are left out of the shipment: they had not been shipped when the refund
    /// was requested, and the refund had not failed when the shipment began.
    pub unshipped: bool,
    /// Whether it refunds all that is left and cancels the order.
    pub closes: bool,
    /// The reason, if one was given.
    pub reason: Option<Text>,
    /// When it was requested, or first seen at the partner.
    pub at: Timestamp,
    /// The order's version whose event announced the refund. It stays if the refund fails later.
    pub told: Option<u64>,
    /// The hash of the request for it. Earlier versions did not store it, and a refund that nobody
    /// requested by itself has none.
    pub request_hash: Option<String>,
    /// The number of the partner's idempotency key for this refund. A key for which the partner has
    /// stored a failure is replaced.
    pub key: u32,
}

impl Refund {
    /// The maximum number of refunds that this service makes for an order.
    pub const MOST: usize = 50;

    /// Whether its amount counts as refunded or promised.
    #[must_use]
    pub fn holds(&self) -> bool {
        !matches!(
            self.state,
            RefundState::Answered(RefundStatus::Failed { .. })
        )
    }

    /// Whether the partner has made or accepted it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.holds() && self.state != RefundState::Requested
    }

    /// Whether its outcome is still open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            RefundState::Requested | RefundState::Answered(RefundStatus::Pending)
        )
    }
}

/// The subject of a mail to the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailTopic {
    /// The event that the mail is about.
    pub event: EventType,
    /// The refund that the event announced; `None` for an event that an order has only once.
    pub refund: Option<RefundId>,
}

impl MailTopic {
    /// The topic of an event that an order has only once.
    #[must_use]
    pub fn of(event: EventType) -> Self {
        Self {
            event,
            refund: None,
        }
    }

    /// The topic of a partial refund.
    #[must_use]
    pub fn of_refund(refund: RefundId) -> Self {
        Self {
            event: EventType::PaymentRefunded,
            refund: Some(refund),
        }
    }
}

/// Why items cannot be refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("item {item} asks for more than the {left} that are left")]
pub struct NotRefundable {
    /// The index of the item, from 0.
    pub item: usize,
    /// How many items of its product can still be refunded.
    pub left: u32,
}

/// The price of the first `units` items of a product, counted over its lines in order.
fn price_of(lines: &OrderLines, product: &ProductId, units: u32) -> Decimal {
    let mut left = units;
    let own = lines.iter().filter(|line| line.product_id == *product);
    own.map(|line| {
        let taken = left.min(line.quantity.get());
        left -= taken;
        Decimal::from(taken) * line.price.decimal()
    })
    .sum()
}

impl Order {
    /// The refund with that name.
    #[must_use]
    pub fn refund(&self, name: &RefundName) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.name == *name)
    }

    /// The partial refunds that this service makes and whose outcome is still open. Refunds made
    /// elsewhere are not included: only the partner knows about them.
    pub fn open_refunds(&self) -> impl Iterator<Item = &Refund> {
        let is_ours = |refund: &&Refund| matches!(refund.name, RefundName::Ours(_));
        let refunds = self.refunds.iter().filter(is_ours);
        refunds.filter(|refund| !refund.closes && refund.is_open())
    }

    /// The amount that was refunded or is on its way.
    #[must_use]
    pub fn refunded_amount(&self) -> Money {
        let payment = self.payment.as_ref();
        let kept = || payment?.refund.as_ref()?.kept;
        match payment.map(|payment| payment.state) {
            // The refund that closes an order takes all that the other refunds left, even if one of
            // them has failed since.
            Some(ChargeState::Refunded) => self.amounts.total,
            Some(ChargeState::RefundFailed) => {
                kept().unwrap_or_else(|| self.sum_of(Refund::is_taken))
            }
            _ => self.sum_of(Refund::is_taken),
        }
    }

    /// Whether the partner has not finished the refund of this cancelled order.
    #[must_use]
    pub fn awaits_refund(&self) -> bool {
        let payment = self.payment.as_ref();
        let news = payment.and_then(|payment| payment.refund.as_ref());
        self.status == Status::Cancelled
            && news.is_some_and(|news| news.status == RefundStatus::Pending)
    }

    /// Whether the order is paid and its shipment has not begun.
    #[must_use]
    pub fn may_be_stopped(&self) -> bool {
        self.status == Status::Paid && !self.is_being_shipped()
    }

    /// The reason to cancel an order that can still be stopped, given these refunds: they, with the
    /// lost disputes, have returned all of its money.
    #[must_use]
    pub fn gone(&self, refunds: &[Refund]) -> Option<&'static str> {
        self.may_be_stopped().then(|| self.loss(refunds))?
    }

    /// Why nothing is left of the order's charge, given these refunds: `None` if something is. The
    /// refund that closes an order does not count.
    #[must_use]
    pub fn loss(&self, refunds: &[Refund]) -> Option<&'static str> {
        let total = self.amounts.total.decimal();
        let done = |is_ours: bool| -> Decimal {
            let done = refunds.iter().filter(|refund| {
                refund.state == RefundState::Answered(RefundStatus::Refunded)
                    && !refund.closes
                    && matches!(refund.name, RefundName::Ours(_)) == is_ours
            });
            done.map(|refund| refund.amount.decimal()).sum()
        };
        let (ours, outside) = (done(true), done(false));
        let disputes = self.disputes.iter();
        let lost: Decimal = disputes
            .map(|dispute| dispute.lost_amount().decimal())
            .sum();
        if total.is_zero() {
            None
        } else if ours + outside >= total {
            Some(Self::REFUNDED)
        } else if ours + outside.max(lost) >= total {
            // A partner may also show what a dispute took as a refund that was made elsewhere.
            Some(Self::DISPUTED)
        } else {
            None
        }
    }

    /// The amount that can still be refunded: the captured amount less every refund that has not
    /// failed.
    #[must_use]
    pub fn refundable_amount(&self) -> Money {
        if self.charge().is_none() || (self.refunds.is_empty() && self.is_paid_back()) {
            return Money::ZERO;
        }
        let left = self.amounts.total.decimal() - self.sum_of(Refund::holds).decimal();
        Money::new(left.max(Decimal::ZERO)).expect("the larger of zero is not negative")
    }

    /// The total of the refunds that the order's events had announced, up to and including this
    /// one.
    #[must_use]
    pub fn refunded_up_to(&self, refund: &Refund) -> Money {
        if refund.closes {
            return self.amounts.total;
        }
        self.sum_of(|each| !each.closes && each.told.is_some_and(|told| Some(told) <= refund.told))
    }

    fn sum_of(&self, counts: impl Fn(&Refund) -> bool) -> Money {
        let refunds = self.refunds.iter().filter(|refund| counts(refund));
        let sum = refunds.map(|refund| refund.amount.decimal()).sum();
        Money::new(sum).expect("a sum of non-negative numbers is not negative")
    }

    /// How many items of a product these refunds cover.
    fn refunded_units(&self, product: &ProductId, counts: impl Fn(&Refund) -> bool) -> u32 {
        let refunds = self.refunds.iter().filter(|refund| counts(refund));
        let items = refunds.flat_map(|refund| &refund.items);
        let items = items.filter(|item| item.product_id == *product);
        items.map(|item| item.quantity.get()).sum()
    }

    /// The amount paid for these items, unless they were refunded already: their share of the
    /// total, tax included. Each share is a difference of one rounded running sum, so that all
    /// shares together are exactly the total.
    pub fn paid_for(&self, items: &[RefundedItem], unit: Unit) -> Result<Money, NotRefundable> {
        let mut products: Vec<&ProductId> = Vec::new();
        for line in self.lines.iter() {
            if !products.contains(&&line.product_id) {
                products.push(&line.product_id);
            }
        }
        let mut asked = vec![0_u32; products.len()];
        for (index, item) in items.iter().enumerate() {
            let place = products
                .iter()
                .position(|product| **product == item.product_id);
            let Some(place) = place else {
                return Err(NotRefundable {
                    item: index,
                    left: 0,
                });
            };
            let product = products[place];
            let lines = self.lines.iter();
            let lines = lines.filter(|line| line.product_id == *product);
            let ordered: u32 = lines.map(|line| line.quantity.get()).sum();
            let gone = self.refunded_units(product, Refund::holds) + asked[place];
            let left = ordered.saturating_sub(gone);
            if item.quantity.get() > left {
                return Err(NotRefundable { item: index, left });
            }
            asked[place] += item.quantity.get();
        }
        let (mut before, mut after) = (Decimal::ZERO, Decimal::ZERO);
        for (product, asked) in products.into_iter().zip(asked) {
            let gone = self.refunded_units(product, Refund::holds);
            before += price_of(&self.lines, product, gone);
            after += price_of(&self.lines, product, gone + asked);
        }
        let share = self.share_of(after, unit) - self.share_of(before, unit);
        Ok(Money::new(share).expect("a running sum does not fall"))
    }

    /// The part of the total that falls to lines of this price, rounded to the unit.
    fn share_of(&self, price: Decimal, unit: Unit) -> Decimal {
        let (total, sum) = (self.amounts.total.decimal(), self.lines.sum().decimal());
        if total == sum || sum.is_zero() {
            return price;
        }
        let share = match total.checked_mul(price) {
            Some(product) => product / sum,
            None => price / sum * total,
        };
        let away = RoundingStrategy::MidpointAwayFromZero;
        share.round_dp_with_strategy(unit.decimals(), away)
    }

    /// The lines to ship: the order's lines without the items that were refunded before the
    /// shipment.
    #[must_use]
    pub fn lines_to_ship(&self) -> Vec<Line> {
        let mut refunded: Vec<(&ProductId, u32)> = Vec::new();
        let mut left = |line: &Line, product| {
            let known = refunded.iter().position(|(each, _)| *each == product);
            let place = known.unwrap_or_else(|| {
                let units = self.refunded_units(product, |refund| refund.unshipped);
                refunded.push((product, units));
                refunded.len() - 1
            });
            let taken = refunded[place].1.min(line.quantity.get());
            refunded[place].1 -= taken;
            Quantity::new(line.quantity.get() - taken).ok()
        };
        let lines = self.lines.iter();
        let lines = lines.filter_map(|line| {
            Some(Line {
                quantity: left(line, &line.product_id)?,
                ..line.clone()
            })
        });
        lines.collect()
    }

    /// Whether the order's cancellation refunded its money.
    fn is_closed_by_refund(&self) -> bool {
        let version = |event| self.events.get(&event).map(|record| record.version);
        self.status == Status::Cancelled
            && version(EventType::PaymentRefunded) == version(EventType::OrderCancelled)
    }

    /// The topics that the customer gets a mail about.
    pub fn mail_topics(&self) -> impl Iterator<Item = MailTopic> {
        let once = self
            .mailed_events()
            .filter(|event| *event != EventType::PaymentRefunded || self.is_closed_by_refund());
        once.map(MailTopic::of).chain(self.told_refunds())
    }

    /// The partial refunds that the order's events announced.
    pub fn told_refunds(&self) -> impl Iterator<Item = MailTopic> {
        let told = self.refunds.iter();
        let told = told.filter(|refund| refund.told.is_some() && !refund.closes);
        told.filter_map(|refund| match &refund.name {
            RefundName::Ours(id) => Some(MailTopic::of_refund(*id)),
            RefundName::Partners(_) => None,
        })
    }

    /// The latest topic of that event.
    #[must_use]
    pub fn topic_of(&self, event: EventType) -> Option<MailTopic> {
        let topics = self.mail_topics().filter(|topic| topic.event == event);
        topics.max_by_key(|topic| match topic.refund {
            None => Some(u64::MAX),
            Some(id) => self.refund(&RefundName::Ours(id))?.told,
        })
    }

    /// The order's version that announced the topic.
    #[must_use]
    pub fn told_at(&self, topic: &MailTopic) -> Option<u64> {
        match topic.refund {
            Some(id) => self.refund(&RefundName::Ours(id))?.told,
            None => Some(self.events.get(&topic.event)?.version),
        }
    }

    /// Whether the partial refunds that have failed account for all that is missing.
    fn only_parts_failed(&self, news: &RefundNews) -> bool {
        let failed = self.sum_of(|refund| !refund.closes && !refund.holds());
        let missing = news
            .kept
            .map(|kept| self.amounts.total.decimal() - kept.decimal());
        missing.is_some_and(|missing| missing <= failed.decimal())
    }

    /// The state of the refund that closes the order, derived from its payment.
    #[must_use]
    pub fn closing_state(&self) -> RefundState {
        let Some(payment) = &self.payment else {
            return RefundState::Requested;
        };
        match (payment.state, &payment.refund) {
            (ChargeState::Refunded, _) => RefundState::Answered(RefundStatus::Refunded),
            (ChargeState::RefundFailed, Some(news)) if self.only_parts_failed(news) => {
                RefundState::Answered(RefundStatus::Refunded)
            }
            (_, Some(news)) => RefundState::Answered(news.status.clone()),
            (_, None) => RefundState::Requested,
        }
    }
}
