//! The order and its parts.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::{
    Currency, CustomerId, Delivery, Dispute, Email, EventType, InvoiceId, Metadata,
    MethodFingerprint, Money, NextAction, OrderId, OrderReference, PartnerAccount, PartnerName,
    ProductId, Recipient, Refund, RefundNews, Status, Text, Timestamp, TrackingNumber,
};

/// The number of items of a product: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(u32);

/// The quantity is outside 1 to 10,000.
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
    /// The product.
    pub product_id: ProductId,
    /// The number of items.
    pub quantity: Quantity,
    /// The price of one item.
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
    /// The maximum number of lines of an order.
    pub const MAX: usize = 100;

    /// Checks the number of lines. Returns `None` for an empty list or more than 100 lines.
    #[must_use]
    pub fn new(lines: Vec<Line>) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&lines.len())
            .then_some(Self(lines))
    }

    /// The sum of all lines.
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

/// The amounts of an order; `sub_total + tax = total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// The amount without tax.
    pub sub_total: Money,
    /// The tax.
    pub tax: Money,
    /// What the customer pays.
    pub total: Money,
}

/// The recipient of the goods and the mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The person's name.
    pub name: Text,
    /// The phone number.
    pub phone: Text,
    /// The address for mails. Without one, no mails are sent.
    pub email: Option<Email>,
    /// The address to ship to.
    pub shipping_address: Text,
}

impl Contact {
    /// The recipient of the goods.
    #[must_use]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient {
            name: &self.name,
            phone: &self.phone,
            shipping_address: &self.shipping_address,
        }
    }
}

/// The state of an invoice's charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ChargeState {
    /// No attempt has begun.
    Due,
    /// A function has claimed it, or one that had claimed it died. The lease shows which.
    Processing,
    /// The partner accepted the charge and will settle it later.
    Pending,
    /// The customer must act at the partner before the charge can continue.
    ActionRequired,
    /// The partner's answer was lost. The partner is asked again by reference.
    Unknown,
    /// The attempt was declined. Only an explicit request starts another one.
    Declined,
    /// The money was captured.
    Captured,
    /// The order costs nothing. It is paid, and no partner is asked.
    Free,
    /// The order was cancelled. It can no longer be charged.
    Cancelled,
    /// The money was captured and then refunded.
    Refunded,
    /// The money was captured and was to be refunded, but the partner refused the refund or
    /// reported later that it failed. The customer does not have the money.
    RefundFailed,
}

/// What an order needs from its customer while its charge is [`ChargeState::ActionRequired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum WaitReason {
    /// The customer has not agreed to be charged by the billing partner, has revoked the agreement,
    /// or the partner no longer accepts it.
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
    /// The state of the current attempt.
    pub state: ChargeState,
    /// The number of the current attempt, from 1.
    pub attempt: u32,
    /// Raised by every claim. A write under an older fence is refused.
    pub fence: u64,
    /// The charge's state before the current or last claim. Earlier versions did not store it.
    pub claimed_from: Option<ChargeState>,
    /// The random token of the claim that holds the lease.
    pub holder: Option<String>,
    /// When that claim's lease expires.
    pub lease_until: Option<Timestamp>,
    /// The idempotency keys, hashed, that have claimed the payment, each with the attempt that it
    /// claimed. A repeat with the same key gets the outcome of that attempt only.
    pub keys: BTreeMap<String, u32>,
    /// The partner's reference of the current attempt's charge.
    pub reference: Option<String>,
    /// When the current attempt's charge was opened.
    pub opened_at: Option<Timestamp>,
    /// The partner at which the current attempt's charge was opened. Earlier versions did not store
    /// it.
    pub partner: Option<PartnerName>,
    /// The account at the partner that the charge belongs to.
    pub account: Option<PartnerAccount>,
    /// The payment method that the charge was opened with, or that it is to be confirmed with now.
    pub method: Option<MethodFingerprint>,
    /// Since when a confirmation of the charge has gone unanswered. The partner may still carry it
    /// out.
    pub unanswered_since: Option<Timestamp>,
    /// Whether a worker is closing the charge at the partner to open another one in its place. If
    /// the partner then shows it as closed, nobody has declined anything.
    pub is_being_replaced: bool,
    /// Since when the order has been waiting for its customer, while it waits: since the last
    /// attempt, or since no agreement was available to charge. Earlier versions did not store it.
    pub waiting_since: Option<Timestamp>,
    /// The latest reason for waiting for the customer. Earlier versions did not store it.
    pub wait_reason: Option<WaitReason>,
    /// The action that the customer must take at the partner, while the charge waits for it.
    pub next_action: Option<NextAction>,
    /// All declines, oldest first.
    pub declines: Vec<Decline>,
    /// The captured charge. For an order that costs nothing, its transaction number and times.
    pub charge: Option<Charge>,
    /// The partner's latest answer about the charge's refund, unless it was just that the money was
    /// refunded at once.
    pub refund: Option<RefundNews>,
}

impl Payment {
    /// The partner of the current attempt's charge: the stored one, or else the one that the
    /// account or the prefix of the reference proves. Without any proof, an earlier version opened
    /// the charge at `configured`. Returns `None` for an account at a partner that this version
    /// does not know.
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

/// A declined attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The partner's reason, such as `insufficient_funds`.
    pub code: String,
    /// Whether the same card may succeed later.
    pub retryable: bool,
}

/// A captured charge, as the partner confirmed it, or the payment record of an order that costs
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// This service's number of the transaction: positive, exact in JSON.
    pub transaction_id: u64,
    /// When the charge was opened.
    pub created_at: Timestamp,
    /// When the partner captured it.
    pub completed_at: Timestamp,
    /// The card details that the partner reports; `None` for each that it does not.
    pub card: Card,
}

/// A card as the partner shows it: never the full number.
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
    /// The brand in lower case, such as `visa`.
    pub brand: Option<String>,
    /// From 1 to 12.
    pub expiry_month: Option<u32>,
    /// Four digits.
    pub expiry_year: Option<u32>,
}

/// A parcel that was registered with a carrier and whose label may be bought. The label's data is
/// fixed here, and the order never has another reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenParcel {
    /// The carrier's ID of the parcel.
    pub reference: String,
    /// The name of the carrier.
    pub carrier: String,
    /// The recipient's name.
    pub name: Text,
    /// The recipient's phone number.
    pub phone: Text,
    /// The address to ship to.
    pub shipping_address: Text,
}

/// The carrier's refusal of a paid order's parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShippingRefusal {
    /// The carrier's code, or one of this service, such as `no_rates`.
    pub code: String,
    /// When the carrier refused it.
    pub at: Timestamp,
}

/// A parcel that the carrier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// The number by which the customer tracks the parcel.
    pub tracking_number: TrackingNumber,
    /// The URL of the label, if the carrier gives one.
    pub label_url: Option<String>,
    /// The name of the carrier.
    pub carrier: String,
    /// The recipient's name.
    pub name: Text,
    /// The recipient's phone number.
    pub phone: Text,
    /// The address to ship to.
    pub shipping_address: Text,
}

/// The event of the last write; absent if the last write was not a transition.
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
    /// The version of the order that the event produced.
    pub version: u64,
    /// The time of the event.
    pub at: Timestamp,
}

/// The step that an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DueStep {
    /// The invoice.
    Billing,
    /// The charge.
    Payment,
    /// The shipment.
    Shipping,
    /// The mails about all events so far.
    Email,
}

impl DueStep {
    /// Every step.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The number of index partitions that the orders of a step are spread over.
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

    /// The index partition of `order` in this step.
    #[must_use]
    pub fn partition_of(&self, order: &OrderId) -> String {
        let last = order.to_string().bytes().last().unwrap_or_default();
        self.partition(last % Self::SHARDS)
    }

    /// Parses the step from an index partition.
    #[must_use]
    pub fn from_partition(partition: &str) -> Option<Self> {
        let (name, _) = partition.split_once('#')?;
        name.parse().ok()
    }
}

/// The step that an order waits for, and when the sweep checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The missing step.
    pub step: DueStep,
    /// When the sweep checks the order next.
    pub at: Timestamp,
    /// How many times the sweep has checked it.
    pub tries: u32,
    /// Whether an operator requested the check at `at`. That check does not count as a try.
    pub by_operator: bool,
}

impl Due {
    /// A step that the sweep has not checked yet.
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

/// A complete order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The order's ID.
    pub id: OrderId,
    /// The customer that the order belongs to.
    pub customer: CustomerId,
    /// The order's number in the books of the caller that placed it. It never changes.
    pub reference: Option<OrderReference>,
    /// The shop's own data about the order.
    pub metadata: Metadata,
    /// The status in the state machine.
    pub status: Status,
    /// Raised by every transition, from 1.
    pub version: u64,
    /// The currency that the order is billed in.
    pub currency: Currency,
    /// What was ordered.
    pub lines: OrderLines,
    /// What it costs.
    pub amounts: Amounts,
    /// The cart's original lines and amounts, stored when the cart is first updated. A repeat of
    /// the first request is answered with them.
    pub first: Option<(OrderLines, Amounts)>,
    /// The hash of the request that created the order, if it had an idempotency key.
    pub request_hash: Option<String>,
    /// The recipient, once known.
    pub contact: Option<Contact>,
    /// Whether the chain issues the invoice automatically.
    pub checkout: bool,
    /// The payment, once the invoice is issued.
    pub payment: Option<Payment>,
    /// The customer's disputes of the charge: at most [`Dispute::MOST`], sorted by
    /// [`Dispute::sort`].
    pub disputes: Vec<Dispute>,
    /// The refunds of the charge, oldest first. Earlier versions stored none.
    pub refunds: Vec<Refund>,
    /// The number of writes to `refunds`.
    pub refunds_revision: u64,
    /// The parcel at a remote carrier, once registered there.
    pub parcel: Option<OpenParcel>,
    /// The label purchases whose outcome is not proven: the purchase's random name and when it was
    /// requested. `None` for a parcel that an earlier version registered.
    pub purchases: Option<BTreeMap<String, Timestamp>>,
    /// The carrier's refusal of the parcel, if that was its last answer. If `parcel` is set, the
    /// carrier refused its label, and no worker requests it again.
    pub shipping_refusal: Option<ShippingRefusal>,
    /// The shipment, once shipped.
    pub shipment: Option<Shipment>,
    /// The delivery state of the parcel, once a remote carrier has reported one.
    pub delivery: Option<Delivery>,
    /// The reason of the cancellation, if one was given.
    pub cancel_reason: Option<Text>,
    /// The event that the last write carried.
    pub event: Option<EventMark>,
    /// The latest event of each type.
    pub events: BTreeMap<EventType, EventRecord>,
    /// When the order was created.
    pub created_at: Timestamp,
    /// The due mark, while the order waits for a step.
    pub due: Option<Due>,
    /// The W3C trace context of the request that created the order.
    pub traceparent: Option<String>,
}

impl Order {
    /// The cancellation reason of an order whose customer did not pay in time.
    pub const EXPIRED: &str = "expired";

    /// The cancellation reason of an order whose money was refunded by other means than its
    /// cancellation.
    pub const REFUNDED: &str = "refunded";

    /// The reason of a cancellation after the customer's bank took the whole charge back.
    pub const DISPUTED: &str = "disputed";

    /// Whether its label may be bought, in which case the order cannot be cancelled. Once a label
    /// was refused and every purchase is answered, it can no longer be bought.
    #[must_use]
    pub fn is_being_shipped(&self) -> bool {
        let is_answered = self.purchases.as_ref().is_some_and(BTreeMap::is_empty);
        self.parcel.is_some() && !(self.shipping_refusal.is_some() && is_answered)
    }

    /// The invoice, once issued.
    #[must_use]
    pub fn invoice(&self) -> Option<InvoiceId> {
        self.payment.is_some().then(|| self.id.invoice())
    }

    /// Since when the order has been waiting for its customer to pay or to agree; `None` if it is
    /// not. A claim does not end the waiting. An order that an earlier version left waiting has
    /// been waiting since its invoice.
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

    /// Whether it was cancelled because its customer did not pay in time.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        let state = self.payment.as_ref().map(|payment| payment.state);
        let reason = self.cancel_reason.as_ref().map(Text::as_str);
        state == Some(ChargeState::Cancelled) && reason == Some(Self::EXPIRED)
    }

    /// Whether it costs nothing, so that it is paid without a charge.
    #[must_use]
    pub fn costs_nothing(&self) -> bool {
        self.amounts.total == Money::ZERO
    }

    /// Whether it was paid without a charge, so that there is nothing to refund.
    #[must_use]
    pub fn is_paid_free(&self) -> bool {
        let state = self.payment.as_ref().map(|payment| payment.state);
        self.status == Status::Paid && state == Some(ChargeState::Free)
    }

    /// The payment of the order, if it was ever paid: the captured charge, or the record that there
    /// was nothing to charge.
    #[must_use]
    pub fn charge(&self) -> Option<&Charge> {
        self.payment.as_ref()?.charge.as_ref()
    }

    /// Whether it was cancelled after payment and its refund was completed, even if the refund
    /// failed later.
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

    /// The events of this order that the customer gets a mail about.
    pub fn mailed_events(&self) -> impl Iterator<Item = EventType> {
        let happened = |event: &EventType| self.events.contains_key(event);
        EventType::MAILED.into_iter().filter(happened)
    }

    /// The address for mails about the order.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        self.contact.as_ref()?.email.as_ref()
    }

    /// `orderId/version`: the ID of the event that produced `version`.
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
