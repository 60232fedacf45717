//! The order and its parts.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::{
    Currency, CustomerId, Delivery, Dispute, Email, EventType, InvoiceId, Metadata,
    MethodFingerprint, Money, NextAction, OrderId, OrderReference, PartnerAccount, PartnerName,
    ProductId, Recipient, Refund, RefundNews, Status, Text, Timestamp, TrackingNumber,
};

/// How many of a product: 1 to 10 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(u32);

/// A quantity outside 1 to 10 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 10000")]
pub struct QuantityError;

impl Quantity {
    /// Checks the range.
    pub fn new(quantity: u32) -> Result<Self, QuantityError> {
        if (1..=10_000).contains(&quantity) {
            Ok(Self(quantity))
        } else {
            Err(QuantityError)
        }
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: Quantity,
    /// For one.
    pub price: Money,
}

impl Line {
    /// Quantity × price.
    #[must_use]
    pub fn total(&self) -> Money {
        Money::new(Decimal::from(self.quantity.get()) * self.price.decimal())
            .expect("a product of two non-negative numbers is not negative")
    }
}

/// One to 100 lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderLines(Vec<Line>);

impl OrderLines {
    /// The most lines that an order has.
    pub const MAX: usize = 100;

    /// Checks the number of lines; `None` for none or over 100.
    #[must_use]
    pub fn new(lines: Vec<Line>) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&lines.len())
            .then_some(Self(lines))
    }

    /// What all lines cost.
    #[must_use]
    pub fn sum(&self) -> Money {
        let sum = self.0.iter().map(|line| line.total().decimal()).sum();
        Money::new(sum).expect("a sum of non-negative numbers is not negative")
    }
}

impl std::ops::Deref for OrderLines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.0
    }
}

/// What an order costs; `sub_total + tax = total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// Without tax.
    pub sub_total: Money,
    /// The tax.
    pub tax: Money,
    /// What the customer pays.
    pub total: Money,
}

/// Who gets the goods and the mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The person.
    pub name: Text,
    /// How to reach them.
    pub phone: Text,
    /// Where mails go; without it none are sent.
    pub email: Option<Email>,
    /// Where the goods go.
    pub shipping_address: Text,
}

impl Contact {
    /// Whom the goods go to.
    #[must_use]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient {
            name: &self.name,
            phone: &self.phone,
            shipping_address: &self.shipping_address,
        }
    }
}

/// How far the charge of an invoice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ChargeState {
    /// Nothing was tried yet.
    Due,
    /// A function holds it, or one that held it died; the lease tells which.
    Processing,
    /// The partner took the charge and will settle it later.
    Pending,
    /// The customer must act at the partner before the charge can go on.
    ActionRequired,
    /// The partner's answer was lost; it is asked by reference.
    Unknown,
    /// Refused; only an explicit request starts another attempt.
    Declined,
    /// The money was taken.
    Captured,
    /// The order costs nothing: it is paid, and no partner is asked.
    Free,
    /// The order was cancelled; nothing can be charged any more.
    Cancelled,
    /// The money was taken and has gone back.
    Refunded,
    /// The money was taken and was to go back: the partner refused the refund, or said later that it
    /// failed. The customer does not have the money.
    RefundFailed,
}

/// What an order waits for from its customer while its charge is [`ChargeState::ActionRequired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WaitReason {
    /// The customer has not agreed to be charged by the billing partner, has revoked the agreement, or
    /// the partner no longer accepts it.
    AgreementMissing,
    /// The customer must confirm this charge with the bank or at the partner.
    ConfirmationRequired,
}

impl WaitReason {
    /// The name in answers, in logs, and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

impl ChargeState {
    /// Every state.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// The payment of an invoice, across all attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// How far the current attempt is.
    pub state: ChargeState,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// Grows with every claim; a write under an older fence is refused.
    pub fence: u64,
    /// How far the charge was when the current or last claim was made; earlier versions did not keep
    /// it.
    pub claimed_from: Option<ChargeState>,
    /// Random token of the claim that holds the lease.
    pub holder: Option<String>,
    /// Until when that claim holds.
    pub lease_until: Option<Timestamp>,
    /// The idempotency keys that have claimed the payment, hashed, each with the attempt that it
    /// claimed: its repeat gets that attempt's outcome and no other.
    pub keys: BTreeMap<String, u32>,
    /// The partner's name for the current attempt's charge.
    pub reference: Option<String>,
    /// When the current attempt's charge was opened.
    pub opened_at: Option<Timestamp>,
    /// The partner that the current attempt's charge was opened at; earlier versions did not keep
    /// it.
    pub partner: Option<PartnerName>,
    /// The account at the partner that the charge belongs to.
    pub account: Option<PartnerAccount>,
    /// The payment method that the charge was opened with, or is asked for by now.
    pub method: Option<MethodFingerprint>,
    /// Since when a confirmation of the charge is unanswered: it may still be carried out.
    pub unanswered_since: Option<Timestamp>,
    /// Since when the customer is waited for, while that is so: since the last attempt, or since there
    /// was no agreement to charge by. Earlier versions did not keep it.
    pub waiting_since: Option<Timestamp>,
    /// What the customer was last waited for. Earlier versions did not keep it.
    pub wait_reason: Option<WaitReason>,
    /// What the customer must do at the partner, while the charge waits for that.
    pub next_action: Option<NextAction>,
    /// Past and current refusals, oldest first.
    pub declines: Vec<Decline>,
    /// The captured charge; of an order that costs nothing, its number and times.
    pub charge: Option<Charge>,
    /// What the partner last said of its refund, where that is more than that the money went back at
    /// once.
    pub refund: Option<RefundNews>,
}

impl Payment {
    /// The partner of the current attempt's charge: the stored one, or else the one that the account
    /// or the form of the reference proves. Without any proof, an earlier version opened the charge at
    /// `configured`. `None` for an account at a partner that this version does not know.
    #[must_use]
    pub fn partner_or(&self, configured: PartnerName) -> Option<PartnerName> {
        if self.partner.is_some() {
            return self.partner;
        }
        if let Some(account) = &self.account {
            return account.partner();
        }
        let reference = self.reference.as_deref();
        Some(
            reference
                .and_then(PartnerName::of_reference)
                .unwrap_or(configured),
        )
    }
}

/// A refused attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The partner's reason, such as `insufficient_funds`.
    pub code: String,
    /// Whether the same card may work later.
    pub retryable: bool,
}

/// A captured charge, as the partner confirmed it, or the payment of an order that costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Our number of the transaction: positive, exact in JSON.
    pub transaction_id: u64,
    /// When the charge was opened.
    pub created_at: Timestamp,
    /// When the partner captured it.
    pub completed_at: Timestamp,
    /// What the partner tells of the card; what it does not tell is `None`.
    pub card: Card,
}

/// A card as far as a partner shows it: never the whole number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// The holder's first name.
    pub first_name: Option<String>,
    /// The holder's last name.
    pub last_name: Option<String>,
    /// The first six digits.
    pub first_digits: Option<String>,
    /// The last four digits.
    pub last_digits: Option<String>,
    /// Lower case, such as `visa`.
    pub brand: Option<String>,
    /// 1 to 12.
    pub expiry_month: Option<u32>,
    /// Four digits.
    pub expiry_year: Option<u32>,
}

/// A parcel that was registered with a carrier and whose label may be bought: what the label says is
/// fixed here, and the reference is the only one that this order ever has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenParcel {
    /// The carrier's name for it.
    pub reference: String,
    /// Who carries it.
    pub carrier: String,
    /// To whom.
    pub name: Text,
    /// How to reach them.
    pub phone: Text,
    /// Where it goes.
    pub shipping_address: Text,
}

/// Why the carrier does not take the parcel of a paid order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippingRefusal {
    /// The carrier's code, or the service's own, such as `no_rates`.
    pub code: String,
    /// When it answered so.
    pub at: Timestamp,
}

/// What the carrier took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// What the customer follows it by.
    pub tracking_number: TrackingNumber,
    /// Where the label can be fetched, if the carrier gives one.
    pub label_url: Option<String>,
    /// Who carries it.
    pub carrier: String,
    /// To whom and where.
    pub name: Text,
    /// How to reach them.
    pub phone: Text,
    /// Where it goes.
    pub shipping_address: Text,
}

/// The event that the last write carried; absent when the last write was no transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMark {
    /// `orderId/version`.
    pub id: String,
    /// What happened.
    pub kind: EventType,
}

/// An event in the order's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The order's version that the event made.
    pub version: u64,
    /// When.
    pub at: Timestamp,
}

/// Which step an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DueStep {
    /// The invoice.
    Billing,
    /// The charge.
    Payment,
    /// The shipment.
    Shipping,
    /// The mails of all that happened so far.
    Email,
}

impl DueStep {
    /// Every step.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Over how many index partitions a step's orders are spread.
    pub const SHARDS: u8 = 4;

    /// The name in the index.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// The index partition of one shard of this step.
    #[must_use]
    pub fn partition(&self, shard: u8) -> String {
        format!("{}#{shard}", self.as_str())
    }

    /// The index partition that `order` belongs to in this step.
    #[must_use]
    pub fn partition_of(&self, order: &OrderId) -> String {
        let last = order.to_string().bytes().last().unwrap_or_default();
        self.partition(last % Self::SHARDS)
    }

    /// The step of an index partition.
    #[must_use]
    pub fn from_partition(partition: &str) -> Option<Self> {
        let (name, _) = partition.split_once('#')?;
        name.parse().ok()
    }
}

/// What an order waits for, and since when it is worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The missing step.
    pub step: DueStep,
    /// When the sweep looks at it.
    pub at: Timestamp,
    /// How often the sweep has looked at it.
    pub tries: u32,
    /// Whether an operator asked for the look at `at`; that look does not count as a try.
    pub by_operator: bool,
}

impl Due {
    /// A step that the sweep has not looked at yet.
    #[must_use]
    pub fn new(step: DueStep, at: Timestamp) -> Self {
        Self {
            step,
            at,
            tries: 0,
            by_operator: false,
        }
    }
}

/// An order, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose it is.
    pub customer: CustomerId,
    /// Its number in the books of the caller who placed it. Never changes.
    pub reference: Option<OrderReference>,
    /// What the shop keeps with it.
    pub metadata: Metadata,
    /// Where it stands.
    pub status: Status,
    /// Grows with every transition, from 1.
    pub version: u64,
    /// What it is billed in.
    pub currency: Currency,
    /// What was ordered.
    pub lines: OrderLines,
    /// What it costs.
    pub amounts: Amounts,
    /// The cart's first lines and amounts, kept once it was updated: a repeat of the first request
    /// is answered with them.
    pub first: Option<(OrderLines, Amounts)>,
    /// The hash of the request that made it, when it came with an idempotency key.
    pub request_hash: Option<String>,
    /// Whom it goes to, once known.
    pub contact: Option<Contact>,
    /// Whether the chain issues the invoice by itself.
    pub checkout: bool,
    /// The payment, from the invoice on.
    pub payment: Option<Payment>,
    /// The customer's disputes of the charge, at most [`Dispute::MOST`], in the order of
    /// [`Dispute::sort`].
    pub disputes: Vec<Dispute>,
    /// The refunds of the charge, oldest first. Earlier versions kept none.
    pub refunds: Vec<Refund>,
    /// Counts the writes of `refunds`.
    pub refunds_revision: u64,
    /// The parcel at a remote carrier, once it was registered there.
    pub parcel: Option<OpenParcel>,
    /// When each purchase of that parcel's label was asked for whose outcome is not proven, by the
    /// purchase's random name; `None` for a parcel that an earlier version registered.
    pub purchases: Option<BTreeMap<String, Timestamp>>,
    /// Why the carrier refused the parcel, if that was its last answer. With a parcel, its label was
    /// refused, and nobody asks for it any more.
    pub shipping_refusal: Option<ShippingRefusal>,
    /// The shipment, once shipped.
    pub shipment: Option<Shipment>,
    /// Where its parcel is, once a remote carrier has told.
    pub delivery: Option<Delivery>,
    /// Why it was cancelled, once it was and if somebody said.
    pub cancel_reason: Option<Text>,
    /// The event that the last write carried.
    pub event: Option<EventMark>,
    /// The latest event of each type.
    pub events: BTreeMap<EventType, EventRecord>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it waits for.
    pub due: Option<Due>,
    /// W3C trace context of the request that made it.
    pub traceparent: Option<String>,
}

impl Order {
    /// The reason of a cancellation whose customer let the time to pay pass.
    pub const EXPIRED: &str = "expired";

    /// Why an order was cancelled whose money went back otherwise than by its cancellation.
    pub const REFUNDED: &str = "refunded";

    /// Whether its label may be bought: then it cannot be cancelled. A parcel whose label was refused
    /// may no longer be bought once every purchase is answered.
    #[must_use]
    pub fn is_being_shipped(&self) -> bool {
        let is_answered = self.purchases.as_ref().is_some_and(BTreeMap::is_empty);
        self.parcel.is_some() && !(self.shipping_refusal.is_some() && is_answered)
    }

    /// Its invoice, once issued.
    #[must_use]
    pub fn invoice(&self) -> Option<InvoiceId> {
        self.payment.is_some().then(|| self.id.invoice())
    }

    /// Since when it waits for its customer to pay or to agree; `None` where it does not. A claim does
    /// not end the waiting. An order that an earlier version left waiting has waited since its
    /// invoice.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        let payment = self.payment.as_ref()?;
        let state = match payment.state {
            ChargeState::Processing => payment.claimed_from?,
            state => state,
        };
        let invoiced = || Some(self.events.get(&EventType::InvoiceCreated)?.at);
        match state {
            ChargeState::Declined | ChargeState::ActionRequired => {
                payment.waiting_since.or_else(invoiced)
            }
            ChargeState::Due
            | ChargeState::Processing
            | ChargeState::Pending
            | ChargeState::Unknown
            | ChargeState::Captured
            | ChargeState::Free
            | ChargeState::Cancelled
            | ChargeState::Refunded
            | ChargeState::RefundFailed => None,
        }
    }

    /// Whether it was cancelled because its customer let the time to pay pass.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        let state = self.payment.as_ref().map(|payment| payment.state);
        let reason = self.cancel_reason.as_ref().map(Text::as_str);
        state == Some(ChargeState::Cancelled) && reason == Some(Self::EXPIRED)
    }

    /// Whether it costs nothing: it is paid without a charge.
    #[must_use]
    pub fn costs_nothing(&self) -> bool {
        self.amounts.total == Money::ZERO
    }

    /// Whether it was paid without a charge: there is nothing to refund.
    #[must_use]
    pub fn is_paid_free(&self) -> bool {
        let state = self.payment.as_ref().map(|payment| payment.state);
        self.status == Status::Paid && state == Some(ChargeState::Free)
    }

    /// What it was paid by, if it ever was: the captured charge, or the record that nothing was to be
    /// charged.
    #[must_use]
    pub fn charge(&self) -> Option<&Charge> {
        self.payment.as_ref()?.charge.as_ref()
    }

    /// Whether it was cancelled after it was paid and its refund was done, whatever became of that
    /// since.
    #[must_use]
    pub fn is_paid_back(&self) -> bool {
        let payment = self.payment.as_ref();
        self.status == Status::Cancelled
            && payment.is_some_and(|payment| {
                matches!(
                    payment.state,
                    ChargeState::Refunded | ChargeState::RefundFailed
                )
            })
    }

    /// What has happened to it that the customer is written about.
    pub fn mailed_events(&self) -> impl Iterator<Item = EventType> {
        let happened = |event: &EventType| self.events.contains_key(event);
        EventType::MAILED.into_iter().filter(happened)
    }

    /// Where mails about it go.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        self.contact.as_ref()?.email.as_ref()
    }

    /// `orderId/version`: the id of the event that made `version`.
    #[must_use]
    pub fn event_id(&self, version: u64) -> String {
        format!("{}/{version}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_states_and_steps_have_the_names_that_are_stored() {
        let states = ChargeState::ALL.iter().map(ChargeState::as_str);
        assert!(states.eq([
            "due",
            "processing",
            "pending",
            "action_required",
            "unknown",
            "declined",
            "captured",
            "free",
            "cancelled",
            "refunded",
            "refund_failed",
        ]));
        let steps = DueStep::ALL.iter().map(DueStep::as_str);
        assert!(steps.eq(["billing", "payment", "shipping", "email"]));
        assert_eq!(
            DueStep::from_partition("shipping#3"),
            Some(DueStep::Shipping)
        );
    }
}
