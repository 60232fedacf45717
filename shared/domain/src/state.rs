//! The order's state machine: one table, without I/O. The store derives the condition of each write
//! that carries out a command from the table's rows, because two functions can work on the same
//! order.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::DueStep;

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// The cart is stored and may still change.
    Pending,
    /// The invoice is issued; lines and amounts are final.
    Invoiced,
    /// The customer was charged.
    Paid,
    /// The goods are on their way.
    Shipped,
    /// The order was cancelled after payment; the refund is in progress.
    Refunding,
    /// The order was cancelled; everything that was charged has been refunded.
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

/// A change that can be requested of an order.
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
    /// Cancel an unpaid order.
    Cancel,
    /// Cancel an order that was paid without a charge. There is no money to refund.
    CancelFree,
    /// Cancel a paid order. Its money must be refunded first.
    RequestRefund,
    /// Finish the cancellation: the money was refunded.
    FinishRefund,
    /// Refund a part of what was paid.
    RefundPart,
    /// Record that the part was refunded.
    FinishPart,
    /// Cancel an order that is paid or being refunded, and whose whole amount was returned by other
    /// means than its cancellation: by partial refunds, in the partner's dashboard, or by a
    /// dispute.
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

    /// The event that announces that the command was carried out.
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

    /// An event that is recorded in the history together with [`Command::event`] but is not
    /// published.
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

    /// The step that an order waits for after the command.
    #[must_use]
    pub fn next_step(&self) -> NextStep {
        match self {
            Self::UpdateCart => NextStep::AtCheckout,
            Self::IssueInvoice | Self::RequestRefund => NextStep::Always(DueStep::Payment),
            Self::CapturePayment => NextStep::Always(DueStep::Shipping),
            Self::Ship
            | Self::Cancel
            | Self::CancelFree
            | Self::FinishRefund
            | Self::CancelRefunded => NextStep::WithMails,
            Self::RefundPart
            | Self::FinishPart
            | Self::ReportOutForDelivery
            | Self::ReportAvailableForPickup
            | Self::ReportDelivered
            | Self::ReportReturned => NextStep::OfStatus,
        }
    }

    /// The command's rows of the table: each status that it applies to, and the status that it
    /// leads to. Either all rows lead to the same status, or each one keeps its own.
    pub fn rows(self) -> impl Iterator<Item = (Status, Status)> {
        let row = move |from: Status| Some((from, from.apply(self).ok()?));
        Status::ALL.iter().copied().filter_map(row)
    }
}

/// The step that an order waits for after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Always this step.
    Always(DueStep),
    /// Its invoice, if the cart was placed with a contact; otherwise none.
    AtCheckout,
    /// Its mails, if the shop sends mails and the customer has an address; otherwise none. An order
    /// with an open refund waits for its payment step.
    WithMails,
    /// The step that belongs to its status.
    OfStatus,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was carried out before. The recorded result is the answer.
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
            // The refund of its cancellation takes the rest.
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

/// An event in an order's history.
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
    /// The carrier is delivering the parcel.
    ParcelOutForDelivery,
    /// The parcel can be picked up by the customer.
    ParcelAvailableForPickup,
    /// The customer has the parcel.
    ParcelDelivered,
    /// The parcel is on its way back to the shop.
    ParcelReturned,
    /// The order was cancelled after it was paid, or a part is to be refunded.
    RefundRequested,
    /// The money was refunded.
    PaymentRefunded,
    /// The order was cancelled.
    OrderCancelled,
}

impl EventType {
    /// Every event.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The events that the customer gets a mail about.
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

    /// Whether a carrier reports it about a parcel on its way.
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

    /// The name in messages, in requests, and in the store.
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
        // Columns: update, invoice, capture, ship, cancel, cancel a free order, request a refund,
        // finish it, refund a part, finish it, cancel an order whose money was returned otherwise.
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
            NextStep::AtCheckout,
            NextStep::Always(DueStep::Payment),
            NextStep::Always(DueStep::Shipping),
            NextStep::WithMails,
            NextStep::WithMails,
            NextStep::WithMails,
            NextStep::Always(DueStep::Payment),
            NextStep::WithMails,
            NextStep::OfStatus,
            NextStep::OfStatus,
            NextStep::WithMails,
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
