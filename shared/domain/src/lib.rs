//! Orders, money, identifiers, and the state machine: pure values and rules, no I/O.

mod agreement;
mod carrier;
mod charge_limits;
mod delivery;
mod dispute;
mod ids;
mod metadata;
mod money;
mod next_action;
mod number;
mod order;
mod postal;
mod refund;
mod state;
mod tax;
mod text;
mod time;
mod tracking;
mod unpaid;

pub use agreement::{
    Agreement, AgreementRecord, AgreementState, MethodFingerprint, NoAgreementPartner,
    PartnerAccount, PartnerName, PartnerToken, PartnerTokenError, UnknownPartner,
};
pub use carrier::{CarrierName, Recipient, RecipientFault};
pub use charge_limits::{ChargeLimits, Unchargeable, UnsupportedCurrency};
pub use delivery::{Delivery, DeliveryState};
pub use dispute::{Dispute, DisputeState};
pub use ids::{
    CustomerId, IdError, InvoiceId, OrderId, OrderReference, ProductId, RefundId, digest,
    digest_hex, number_from_digest,
};
pub use metadata::{Metadata, MetadataError};
pub use money::{Currency, CurrencyError, Money, MoneyError, SignedAmountError, Unit};
pub use next_action::{ClientSecret, NextAction, RedirectUrl, RedirectUrlError};
pub use number::ExactNumber;
pub use order::{
    Amounts, Card, Charge, ChargeState, Contact, Decline, Due, DueStep, EventMark, EventRecord,
    Line, OpenParcel, Order, OrderLines, Payment, Quantity, QuantityError, Shipment,
    ShippingRefusal, WaitReason,
};
pub use postal::{AddressPart, PostalAddress, Unreadable, is_state, is_zip};
pub use refund::{
    MailTopic, NotRefundable, Refund, RefundName, RefundNews, RefundState, RefundStatus,
    RefundedItem,
};
pub use state::{Command, EventType, NextStep, Refusal, Status};
pub use tax::{TaxMode, TaxModeError, TaxPolicy, TaxRateError};
pub use text::{Email, EmailError, Text, TextError, is_blank, is_visible};
pub use time::{Timestamp, TimestampError};
pub use tracking::{TrackingNumber, TrackingNumberError};
pub use unpaid::{UnpaidOrders, UnpaidOrdersError};
