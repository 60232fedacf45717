//! The order's state machine: one table, without I/O. The store repeats each row as the condition
//! of the write that carries it out, because two functions can hold the same order.

use std::fmt;
use std::str::FromStr;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// The cart is stored and may still change.
    Pending,
    /// The invoice is issued; contents and amounts are final.
    Invoiced,
    /// The customer was charged.
    Paid,
    /// The goods are on their way.
    Shipped,
}

impl Status {
    /// Every status, in the order that an order reaches them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Invoiced, Self::Paid, Self::Shipped];

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Invoiced => "invoiced",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names no order status")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

/// What can be asked of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Replace the contents of the cart.
    UpdateCart,
    /// Issue the invoice.
    IssueInvoice,
    /// Charge the customer.
    CapturePayment,
    /// Ship the goods.
    Ship,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 4] = [
        Self::UpdateCart,
        Self::IssueInvoice,
        Self::CapturePayment,
        Self::Ship,
    ];

    /// The event that tells that it was done.
    #[must_use]
    pub fn event(&self) -> EventType {
        match self {
            Self::UpdateCart => EventType::CartUpdated,
            Self::IssueInvoice => EventType::InvoiceCreated,
            Self::CapturePayment => EventType::PaymentProcessed,
            Self::Ship => EventType::OrderShipped,
        }
    }
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was carried out before; what was recorded then is the answer.
    #[error("it was done before")]
    AlreadyDone,
    /// An earlier step is missing.
    #[error("an earlier step is missing")]
    TooEarly,
    /// The order has moved on.
    #[error("the order has moved on")]
    TooLate,
}

impl Status {
    /// The status that `command` leads to, or why it is refused.
    pub fn apply(self, command: Command) -> Result<Self, Refusal> {
        use Command::{CapturePayment, IssueInvoice, Ship, UpdateCart};
        use Refusal::{AlreadyDone, TooEarly, TooLate};
        use Status::{Invoiced, Paid, Pending, Shipped};
        match (self, command) {
            (Pending, UpdateCart) => Ok(Pending),
            (Invoiced | Paid | Shipped, UpdateCart) => Err(TooLate),

            (Pending, IssueInvoice) => Ok(Invoiced),
            (Invoiced | Paid | Shipped, IssueInvoice) => Err(AlreadyDone),

            (Pending, CapturePayment) => Err(TooEarly),
            (Invoiced, CapturePayment) => Ok(Paid),
            (Paid | Shipped, CapturePayment) => Err(AlreadyDone),

            (Pending | Invoiced, Ship) => Err(TooEarly),
            (Paid, Ship) => Ok(Shipped),
            (Shipped, Ship) => Err(AlreadyDone),
        }
    }

    /// The events that every order in this status has had and that the customer is written about.
    #[must_use]
    pub fn mailed_events(self) -> &'static [EventType] {
        const ALL: [EventType; 3] = [
            EventType::InvoiceCreated,
            EventType::PaymentProcessed,
            EventType::OrderShipped,
        ];
        match self {
            Self::Pending => &ALL[..0],
            Self::Invoiced => &ALL[..1],
            Self::Paid => &ALL[..2],
            Self::Shipped => &ALL,
        }
    }
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// The cart was stored or replaced.
    CartUpdated,
    /// The invoice was issued.
    InvoiceCreated,
    /// The customer was charged.
    PaymentProcessed,
    /// The goods were handed to the carrier.
    OrderShipped,
}

impl EventType {
    /// Every event.
    pub const ALL: [Self; 4] = [
        Self::CartUpdated,
        Self::InvoiceCreated,
        Self::PaymentProcessed,
        Self::OrderShipped,
    ];

    /// The name in messages, requests and the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::CartUpdated => "CartUpdated",
            Self::InvoiceCreated => "InvoiceCreated",
            Self::PaymentProcessed => "PaymentProcessed",
            Self::OrderShipped => "OrderShipped",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names no event")]
pub struct UnknownEvent;

impl FromStr for EventType {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL
            .into_iter()
            .find(|event| event.as_str() == text)
            .ok_or(UnknownEvent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_status_and_command_has_its_answer() {
        use Refusal::{AlreadyDone, TooEarly, TooLate};
        use Status::{Invoiced, Paid, Pending, Shipped};
        let expected = [
            (
                Pending,
                [Ok(Pending), Ok(Invoiced), Err(TooEarly), Err(TooEarly)],
            ),
            (
                Invoiced,
                [Err(TooLate), Err(AlreadyDone), Ok(Paid), Err(TooEarly)],
            ),
            (
                Paid,
                [
                    Err(TooLate),
                    Err(AlreadyDone),
                    Err(AlreadyDone),
                    Ok(Shipped),
                ],
            ),
            (
                Shipped,
                [
                    Err(TooLate),
                    Err(AlreadyDone),
                    Err(AlreadyDone),
                    Err(AlreadyDone),
                ],
            ),
        ];
        assert_eq!(expected.map(|(status, _)| status), Status::ALL);
        for (status, row) in expected {
            assert_eq!(
                Command::ALL.map(|command| status.apply(command)),
                row,
                "{status}"
            );
        }
    }

    #[test]
    fn names_round_trip() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for event in EventType::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert_eq!("Paid".parse::<Status>(), Err(UnknownStatus));
        assert_eq!("paid".parse::<EventType>(), Err(UnknownEvent));
    }
}
