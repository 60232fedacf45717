//! Refunds of a captured charge: each one by its name, and how it stands at the partner.
//!
//! An order keeps a refund from before it is requested of the partner. The amounts of all refunds that
//! have not failed never exceed the captured amount.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use super::{
    ChargeState, EventType, Line, Money, Order, OrderLines, ProductId, Quantity, RefundId, Status,
    Text, Timestamp, Unit,
};

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

/// What names a refund.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefundName {
    /// It was requested of this service.
    Ours(RefundId),
    /// It was made outside, such as in the partner's dashboard: the partner's ID of it.
    Partners(String),
}

impl RefundName {
    /// The name of that text, as [`fmt::Display`] writes it.
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

/// How far a refund is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// It is stored; the partner's answer is missing or was lost.
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

    /// The state of that name; `code` is kept where it failed.
    #[must_use]
    pub fn from_name(name: &str, code: &str) -> Option<Self> {
        match name {
            "requested" => Some(Self::Requested),
            _ => RefundStatus::from_name(name, code).map(Self::Answered),
        }
    }

    /// The partner's reason, where it failed.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Requested => None,
            Self::Answered(status) => status.code(),
        }
    }
}

/// A product of a refund, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundedItem {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
}

/// One refund of an order's captured charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its name.
    pub name: RefundName,
    /// In the order's currency; above zero.
    pub amount: Money,
    /// How far it is. For a refund that closes its order, this follows from the payment's state.
    pub state: RefundState,
    /// What it is for, if it is for items.
    pub items: Vec<RefundedItem>,
    /// Whether its items are left out of the shipment: they had not been shipped when it was requested,
    /// and it had not failed when the shipment began.
    pub unshipped: bool,
    /// Whether it takes all that is left and cancels the order.
    pub closes: bool,
    /// Why, if a reason was given.
    pub reason: Option<Text>,
    /// When it was requested, or first seen at the partner.
    pub at: Timestamp,
    /// The order's version whose event told of it; it stays when the refund fails later.
    pub told: Option<u64>,
    /// Counts the partner's keys for it: a key that the partner answers with a stored failure is
    /// replaced.
    pub key: u32,
}

impl Refund {
    /// How many refunds of one order this service makes.
    pub const MOST: usize = 50;

    /// Whether its amount counts as given back, or as promised.
    #[must_use]
    pub fn holds(&self) -> bool {
        !matches!(
            self.state,
            RefundState::Answered(RefundStatus::Failed { .. })
        )
    }

    /// Whether the partner has made or taken it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.holds() && self.state != RefundState::Requested
    }

    /// Whether its outcome is still to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            RefundState::Requested | RefundState::Answered(RefundStatus::Pending)
        )
    }
}

/// What a mail to the customer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailTopic {
    /// What happened.
    pub event: EventType,
    /// The refund that the event told of; `None` for an event that an order has once.
    pub refund: Option<RefundId>,
}

impl MailTopic {
    /// An event that an order has once.
    #[must_use]
    pub fn of(event: EventType) -> Self {
        Self {
            event,
            refund: None,
        }
    }

    /// A refund of a part.
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
    /// Which item, from 0.
    pub item: usize,
    /// How many of its product are not refunded.
    pub left: u32,
}

/// What the first `units` of a product cost, over its lines in their order.
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
    /// The refund of that name.
    #[must_use]
    pub fn refund(&self, name: &RefundName) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.name == *name)
    }

    /// The refunds of a part that this service makes and whose outcome is still to come. Of those that
    /// were made outside only the partner tells.
    pub fn open_refunds(&self) -> impl Iterator<Item = &Refund> {
        let is_ours = |refund: &&Refund| matches!(refund.name, RefundName::Ours(_));
        let refunds = self.refunds.iter().filter(is_ours);
        refunds.filter(|refund| !refund.closes && refund.is_open())
    }

    /// What has gone back or is on its way.
    #[must_use]
    pub fn refunded_amount(&self) -> Money {
        // The refund that closes an order takes all that the others have left, also if one of them has
        // failed since.
        let state = self.payment.as_ref().map(|payment| payment.state);
        if state == Some(ChargeState::Refunded) {
            return self.amounts.total;
        }
        self.sum_of(Refund::is_taken)
    }

    /// Whether it is paid and its shipment has not begun.
    #[must_use]
    pub fn may_be_stopped(&self) -> bool {
        self.status == Status::Paid && !self.is_being_shipped()
    }

    /// Whether these refunds have given all of its money back while it can still be stopped.
    #[must_use]
    pub fn is_gone(&self, refunds: &[Refund]) -> bool {
        let done = refunds
            .iter()
            .filter(|refund| refund.state == RefundState::Answered(RefundStatus::Refunded));
        let sum: Decimal = done.map(|refund| refund.amount.decimal()).sum();
        let total = self.amounts.total.decimal();
        self.may_be_stopped() && !total.is_zero() && sum >= total
    }

    /// What can still be refunded: the captured amount less every refund that has not failed.
    #[must_use]
    pub fn refundable_amount(&self) -> Money {
        if self.charge().is_none() || (self.refunds.is_empty() && self.is_paid_back()) {
            return Money::ZERO;
        }
        let left = self.amounts.total.decimal() - self.sum_of(Refund::holds).decimal();
        Money::new(left.max(Decimal::ZERO)).expect("the larger of zero is not negative")
    }

    /// What was given back by the refunds that the order's events told of, up to this one.
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

    /// How many of a product these refunds were for.
    fn refunded_units(&self, product: &ProductId, counts: impl Fn(&Refund) -> bool) -> u32 {
        let refunds = self.refunds.iter().filter(|refund| counts(refund));
        let items = refunds.flat_map(|refund| &refund.items);
        let items = items.filter(|item| item.product_id == *product);
        items.map(|item| item.quantity.get()).sum()
    }

    /// What was paid for these items, as far as no refund was for them: their share of the total,
    /// tax included. The shares are differences of one rounded running sum, so that all of them
    /// together are the total and no part of them is more.
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

    /// The part of the total that belongs to lines of this price, in whole units.
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

    /// What is shipped: the order's lines without what was refunded before the shipment.
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

    /// Whether the money of its cancellation has gone back.
    fn is_closed_by_refund(&self) -> bool {
        let version = |event| self.events.get(&event).map(|record| record.version);
        self.status == Status::Cancelled
            && version(EventType::PaymentRefunded) == version(EventType::OrderCancelled)
    }

    /// What the customer gets a mail about.
    pub fn mail_topics(&self) -> impl Iterator<Item = MailTopic> {
        let once = self
            .mailed_events()
            .filter(|event| *event != EventType::PaymentRefunded || self.is_closed_by_refund());
        once.map(MailTopic::of).chain(self.told_refunds())
    }

    /// The refunds of a part that the order's events told of.
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

    /// The order's version that told of the topic.
    #[must_use]
    pub fn told_at(&self, topic: &MailTopic) -> Option<u64> {
        match topic.refund {
            Some(id) => self.refund(&RefundName::Ours(id))?.told,
            None => Some(self.events.get(&topic.event)?.version),
        }
    }

    /// The state of the refund that closes the order, by its payment.
    #[must_use]
    pub fn closing_state(&self) -> RefundState {
        let Some(payment) = &self.payment else {
            return RefundState::Requested;
        };
        match (payment.state, &payment.refund) {
            (ChargeState::Refunded, _) => RefundState::Answered(RefundStatus::Refunded),
            (_, Some(news)) => RefundState::Answered(news.status.clone()),
            (_, None) => RefundState::Requested,
        }
    }
}
