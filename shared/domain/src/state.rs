//! The order's state machine: one table, without I/O. The store makes the condition of each write
//! that carries a command out from its rows, because two functions can hold the same order.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::DueStep;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// The cart is stored and may still change.
    Pending,
    /// The invoice is issued; contents and amounts are final.
    Invoiced,
    /// The customer was charged.
    Paid,
    /// The goods are on their way.
    Shipped,
    /// Cancelled after it was paid; the money is on its way back.
    Refunding,
    /// Cancelled; whatever was charged has been refunded.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in answers and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// What can be asked of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Command {
    /// Replace the contents of the cart.
    UpdateCart,
    /// Issue the invoice.
    IssueInvoice,
    /// Charge the customer.
    CapturePayment,
    /// Ship the goods.
    Ship,
    /// Cancel what is not paid.
    Cancel,
    /// Cancel what was paid without a charge: no money is to go back.
    CancelFree,
    /// Cancel what is paid: the money is to go back first.
    RequestRefund,
    /// Finish the cancellation: the money has gone back.
    FinishRefund,
    /// Give back a part of what was paid.
    RefundPart,
    /// Record that the part has gone back.
    FinishPart,
    /// Cancel what is paid, or is being refunded, and whose whole money went back outside.
    CancelRefunded,
    /// Tell the customer that the parcel is out for delivery.
    ReportOutForDelivery,
    /// Tell the customer that the parcel can be picked up.
    ReportAvailableForPickup,
    /// Tell the customer that the parcel was delivered.
    ReportDelivered,
    /// Tell the customer that the parcel is coming back to the shop.
    ReportReturned,
}

impl Command {
    /// Every command.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The event that tells that it was done.
    #[must_use]
    pub fn event(&self) -> EventType {
        match self {
            Self::UpdateCart => EventType::CartUpdated,
            Self::IssueInvoice => EventType::InvoiceCreated,
            Self::CapturePayment => EventType::PaymentProcessed,
            Self::Ship => EventType::OrderShipped,
            Self::Cancel | Self::CancelFree | Self::FinishRefund | Self::CancelRefunded => {
                EventType::OrderCancelled
            }
            Self::RequestRefund | Self::RefundPart => EventType::RefundRequested,
            Self::FinishPart => EventType::PaymentRefunded,
            Self::ReportOutForDelivery => EventType::ParcelOutForDelivery,
            Self::ReportAvailableForPickup => EventType::ParcelAvailableForPickup,
            Self::ReportDelivered => EventType::ParcelDelivered,
            Self::ReportReturned => EventType::ParcelReturned,
        }
    }

    /// An event that goes into the order's history with [`Command::event`] and is not told.
    #[must_use]
    pub fn untold_event(&self) -> Option<EventType> {
        match self {
            Self::FinishRefund => Some(EventType::PaymentRefunded),
            Self::UpdateCart
            | Self::IssueInvoice
            | Self::CapturePayment
            | Self::Ship
            | Self::Cancel
            | Self::CancelFree
            | Self::RequestRefund
            | Self::RefundPart
            | Self::FinishPart
            | Self::CancelRefunded
            | Self::ReportOutForDelivery
            | Self::ReportAvailableForPickup
            | Self::ReportDelivered
            | Self::ReportReturned => None,
        }
    }

    /// What an order waits for once it was done.
    #[must_use]
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::UpdateCart => NextStep::AtCheckout(DueStep::Billing),
            Self::IssueInvoice | Self::RequestRefund => NextStep::Always(DueStep::Payment),
            Self::CapturePayment => NextStep::Always(DueStep::Shipping),
            Self::Ship
            | Self::Cancel
            | Self::CancelFree
            | Self::FinishRefund
            | Self::CancelRefunded => NextStep::WithMails(DueStep::Email),
            Self::RefundPart
            | Self::FinishPart
            | Self::ReportOutForDelivery
            | Self::ReportAvailableForPickup
            | Self::ReportDelivered
            | Self::ReportReturned => NextStep::OfStatus,
        }
    }

    /// Its rows of the table: from which status it leads to which. All lead to the same one, or each
    /// to its own.
    pub fn rows(self) -> impl Iterator<Item = (Status, Status)> {
        let row = move |from: Status| Some((from, from.apply(self).ok()?));
        Status::ALL.iter().copied().filter_map(row)
    }
}

/// What an order waits for after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// This step.
    Always(DueStep),
    /// This step, if the cart came with whom it goes to; else nothing.
    AtCheckout(DueStep),
    /// This step, if the shop sends mails and the customer has an address; else nothing. An order with
    /// an open refund waits for its payment.
    WithMails(DueStep),
    /// What its status waits for.
    OfStatus,
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
    ///
    /// ```
    /// use domain::{Command, Refusal, Status};
    ///
    /// assert_eq!(Status::Paid.apply(Command::Ship), Ok(Status::Shipped));
    /// assert_eq!(Status::Invoiced.apply(Command::Ship), Err(Refusal::TooEarly));
    /// assert_eq!(Status::Shipped.apply(Command::Ship), Err(Refusal::AlreadyDone));
    /// assert_eq!(Status::Refunding.apply(Command::Ship), Err(Refusal::TooLate));
    /// ```
    pub fn apply(self, command: Command) -> Result<Self, Refusal> {
        use Command::{
            Cancel, CancelFree, CancelRefunded, CapturePayment, FinishPart, FinishRefund,
            IssueInvoice, RefundPart, ReportAvailableForPickup, ReportDelivered,
            ReportOutForDelivery, ReportReturned, RequestRefund, Ship, UpdateCart,
        };
        use Refusal::{AlreadyDone, TooEarly, TooLate};
        use Status::{Cancelled, Invoiced, Paid, Pending, Refunding, Shipped};
        match (self, command) {
            (Pending, UpdateCart) => Ok(Pending),
            (Invoiced | Paid | Shipped | Refunding | Cancelled, UpdateCart) => Err(TooLate),

            (Pending, IssueInvoice) => Ok(Invoiced),
            (Invoiced | Paid | Shipped | Refunding, IssueInvoice) => Err(AlreadyDone),
            (Cancelled, IssueInvoice) => Err(TooLate),

            (Pending, CapturePayment) => Err(TooEarly),
            (Invoiced, CapturePayment) => Ok(Paid),
            (Paid | Shipped | Refunding, CapturePayment) => Err(AlreadyDone),
            (Cancelled, CapturePayment) => Err(TooLate),

            (Pending | Invoiced, Ship) => Err(TooEarly),
            (Paid, Ship) => Ok(Shipped),
            (Shipped, Ship) => Err(AlreadyDone),
            (Refunding | Cancelled, Ship) => Err(TooLate),

            (Pending | Invoiced, Cancel) => Ok(Cancelled),
            (Paid | Shipped | Refunding, Cancel) => Err(TooLate),
            (Cancelled, Cancel | CancelFree | RequestRefund | FinishRefund) => Err(AlreadyDone),

            (Pending | Invoiced, CancelFree) => Err(TooEarly),
            (Paid, CancelFree) => Ok(Cancelled),
            (Shipped | Refunding, CancelFree) => Err(TooLate),

            (Pending | Invoiced, RequestRefund) => Err(TooEarly),
            (Paid, RequestRefund) => Ok(Refunding),
            (Refunding, RequestRefund) => Err(AlreadyDone),

            (Pending | Invoiced | Paid, FinishRefund) => Err(TooEarly),
            (Refunding, FinishRefund) => Ok(Cancelled),
            (Shipped, RequestRefund | FinishRefund) => Err(TooLate),

            (Pending | Invoiced, RefundPart | FinishPart | CancelRefunded) => Err(TooEarly),
            (Paid, RefundPart | FinishPart) => Ok(Paid),
            (Shipped, RefundPart | FinishPart) => Ok(Shipped),
            // What its cancellation gives back holds the rest.
            (Refunding, RefundPart) => Err(TooLate),
            (Refunding, FinishPart) => Ok(Refunding),
            (Cancelled, RefundPart | FinishPart) => Err(TooLate),
            (Paid | Refunding, CancelRefunded) => Ok(Cancelled),
            (Shipped, CancelRefunded) => Err(TooLate),
            (Cancelled, CancelRefunded) => Err(AlreadyDone),

            (
                Pending | Invoiced | Paid,
                ReportOutForDelivery | ReportAvailableForPickup | ReportDelivered | ReportReturned,
            ) => Err(TooEarly),
            (
                Shipped,
                ReportOutForDelivery | ReportAvailableForPickup | ReportDelivered | ReportReturned,
            ) => Ok(Shipped),
            (
                Refunding | Cancelled,
                ReportOutForDelivery | ReportAvailableForPickup | ReportDelivered | ReportReturned,
            ) => Err(TooLate),
        }
    }
}

/// What happened to an order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum EventType {
    /// The cart was stored or replaced.
    CartUpdated,
    /// The invoice was issued.
    InvoiceCreated,
    /// The customer was charged.
    PaymentProcessed,
    /// The goods were handed to the carrier.
    OrderShipped,
    /// The carrier's driver has the parcel.
    ParcelOutForDelivery,
    /// The parcel waits for the customer.
    ParcelAvailableForPickup,
    /// The customer has the parcel.
    ParcelDelivered,
    /// The parcel comes back to the shop.
    ParcelReturned,
    /// The order was cancelled after it was paid; the money is to go back.
    RefundRequested,
    /// The money went back.
    PaymentRefunded,
    /// The order was cancelled.
    OrderCancelled,
}

impl EventType {
    /// Every event.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The events that the customer is written about.
    pub const MAILED: [Self; 9] = [
        Self::InvoiceCreated,
        Self::PaymentProcessed,
        Self::OrderShipped,
        Self::ParcelOutForDelivery,
        Self::ParcelAvailableForPickup,
        Self::ParcelDelivered,
        Self::ParcelReturned,
        Self::PaymentRefunded,
        Self::OrderCancelled,
    ];

    /// Whether a carrier reports it of a parcel on its way.
    #[must_use]
    pub fn is_parcel_news(&self) -> bool {
        match self {
            Self::ParcelOutForDelivery
            | Self::ParcelAvailableForPickup
            | Self::ParcelDelivered
            | Self::ParcelReturned => true,
            Self::CartUpdated
            | Self::InvoiceCreated
            | Self::PaymentProcessed
            | Self::OrderShipped
            | Self::RefundRequested
            | Self::PaymentRefunded
            | Self::OrderCancelled => false,
        }
    }

    /// The name in messages, requests and the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_status_and_command_has_its_answer() {
        use Refusal::{AlreadyDone, TooEarly, TooLate};
        use Status::{Cancelled, Invoiced, Paid, Pending, Refunding, Shipped};
        let (done, early, late) = (Err(AlreadyDone), Err(TooEarly), Err(TooLate));
        // Update, invoice, capture, ship, cancel, cancel what is free, request a refund, finish it,
        // refund a part, finish it, cancel what was refunded outside.
        let expected = [
            (
                Pending,
                [
                    Ok(Pending),
                    Ok(Invoiced),
                    early,
                    early,
                    Ok(Cancelled),
                    early,
                    early,
                    early,
                    early,
                    early,
                    early,
                ],
            ),
            (
                Invoiced,
                [
                    late,
                    done,
                    Ok(Paid),
                    early,
                    Ok(Cancelled),
                    early,
                    early,
                    early,
                    early,
                    early,
                    early,
                ],
            ),
            (
                Paid,
                [
                    late,
                    done,
                    done,
                    Ok(Shipped),
                    late,
                    Ok(Cancelled),
                    Ok(Refunding),
                    early,
                    Ok(Paid),
                    Ok(Paid),
                    Ok(Cancelled),
                ],
            ),
            (
                Shipped,
                [
                    late,
                    done,
                    done,
                    done,
                    late,
                    late,
                    late,
                    late,
                    Ok(Shipped),
                    Ok(Shipped),
                    late,
                ],
            ),
            (
                Refunding,
                [
                    late,
                    done,
                    done,
                    late,
                    late,
                    late,
                    done,
                    Ok(Cancelled),
                    late,
                    Ok(Refunding),
                    Ok(Cancelled),
                ],
            ),
            (
                Cancelled,
                [
                    late, late, late, late, done, done, done, done, late, late, done,
                ],
            ),
        ];
        assert_eq!(expected.map(|(status, _)| status), Status::ALL);
        for (status, row) in expected {
            let answers = Command::ALL.iter().map(|command| status.apply(*command));
            assert!(answers.take(row.len()).eq(row), "{status}");
        }
    }

    #[test]
    fn a_parcel_is_reported_once_its_order_is_shipped() {
        let reports: Vec<_> = Command::ALL
            .iter()
            .filter(|command| command.event().is_parcel_news())
            .collect();
        assert_eq!(reports, Command::ALL.iter().skip(11).collect::<Vec<_>>());
        for command in reports {
            let answers = Status::ALL.iter().map(|status| status.apply(*command));
            assert!(answers.eq([
                Err(Refusal::TooEarly),
                Err(Refusal::TooEarly),
                Err(Refusal::TooEarly),
                Ok(Status::Shipped),
                Err(Refusal::TooLate),
                Err(Refusal::TooLate),
            ]));
        }
    }

    #[test]
    fn the_rows_of_a_command_lead_to_one_status_or_each_to_its_own() {
        for &command in Command::ALL {
            let mut next: Vec<_> = command.rows().map(|(_, next)| next).collect();
            next.dedup();
            let keeps = command.rows().all(|(from, next)| from == next);
            assert!(keeps || next.len() == 1, "{command:?}");
        }
    }

    #[test]
    fn every_command_says_what_the_order_waits_for_next() {
        let expected = [
            NextStep::AtCheckout(DueStep::Billing),
            NextStep::Always(DueStep::Payment),
            NextStep::Always(DueStep::Shipping),
            NextStep::WithMails(DueStep::Email),
            NextStep::WithMails(DueStep::Email),
            NextStep::WithMails(DueStep::Email),
            NextStep::Always(DueStep::Payment),
            NextStep::WithMails(DueStep::Email),
            NextStep::OfStatus,
            NextStep::OfStatus,
            NextStep::WithMails(DueStep::Email),
            NextStep::OfStatus,
            NextStep::OfStatus,
            NextStep::OfStatus,
            NextStep::OfStatus,
        ];
        assert!(Command::ALL.iter().map(Command::next_step).eq(expected));
    }

    #[test]
    fn the_names_are_those_that_are_stored() {
        let statuses = Status::ALL.iter().map(Status::as_str);
        assert!(statuses.eq([
            "pending",
            "invoiced",
            "paid",
            "shipped",
            "refunding",
            "cancelled",
        ]));
        let events = EventType::ALL.iter().map(EventType::as_str);
        assert!(events.eq([
            "CartUpdated",
            "InvoiceCreated",
            "PaymentProcessed",
            "OrderShipped",
            "ParcelOutForDelivery",
            "ParcelAvailableForPickup",
            "ParcelDelivered",
            "ParcelReturned",
            "RefundRequested",
            "PaymentRefunded",
            "OrderCancelled",
        ]));
    }

    #[test]
    fn names_round_trip() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(status.to_string(), status.as_str());
        }
        for event in EventType::ALL {
            assert_eq!(event.as_str().parse(), Ok(*event));
            assert_eq!(event.to_string(), event.as_str());
        }
        let unknown = strum::ParseError::VariantNotFound;
        assert_eq!("Paid".parse::<Status>(), Err(unknown));
        assert_eq!("paid".parse::<EventType>(), Err(unknown));
    }
}
