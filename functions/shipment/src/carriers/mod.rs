//! The carriers: who takes the goods.

pub mod easypost;
mod own;

use std::future::Future;

use domain::{Currency, Delivery, Money, OrderId, Recipient, Text, TrackingNumber};
use messages::PartnerReference;
use partner::{FromReach, Reach};
use service::error::{FieldError, Source};

pub use easypost::{EasyPost, EasyPostSettings};
pub use own::Own;

/// A parcel to be taken.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it is for; one parcel per order.
    pub order: OrderId,
    /// To whom.
    pub name: Text,
    /// How to reach them.
    pub phone: Text,
    /// Where to.
    pub shipping_address: Text,
    /// What the goods are worth, for customs.
    pub worth: Worth,
}

impl Parcel {
    /// Whom it goes to.
    #[must_use]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient {
            name: &self.name,
            phone: &self.phone,
            shipping_address: &self.shipping_address,
        }
    }
}

/// What a customer pays for goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// The order's total.
    pub amount: Money,
    /// In which currency.
    pub currency: Currency,
}

/// What a carrier gives for a parcel that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the customer follows the parcel by.
    pub tracking_number: TrackingNumber,
    /// Where the label can be fetched, if the carrier gives one.
    pub url: Option<String>,
}

/// How far a parcel is once it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The carrier asks nobody: the same order has the same label for ever, and nothing is left to
    /// be bought.
    Labelled(Label),
    /// Registered under this reference; nothing is bought yet.
    Registered(String),
}

/// Where a parcel is, as the carrier shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// What it is for.
    pub order: OrderId,
    /// Where it is.
    pub delivery: Delivery,
}

/// Why a carrier did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// Nothing was bought: this deployment has no key for it, or one that it refuses. Only the shop's
    /// operator can change that.
    #[error("the carrier's key is missing or refused")]
    NotConfigured(#[source] Source),
    /// It provably bought nothing: no connection, asked for less, or is down.
    #[error("the carrier is unavailable")]
    Unavailable(#[source] Source),
    /// Its answer was lost; it may have done what it was asked.
    #[error("the carrier's answer was lost")]
    Unanswered(#[source] Source),
    /// It does not carry this parcel: nothing was bought, and the same request would be refused again.
    #[error("the carrier refuses the parcel")]
    Refused(CarrierRefusal),
}

/// Why a carrier does not carry a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierRefusal {
    /// A machine's word, kept on the order: the carrier's code, or one of ours.
    pub code: String,
    /// What is wrong with the request, field by field; quotes nothing.
    pub errors: Vec<FieldError>,
}

impl FromReach for CarrierError {
    fn from_reach(reach: Reach, source: Source) -> Self {
        match reach {
            Reach::NotConfigured => Self::NotConfigured(source),
            Reach::NothingDone => Self::Unavailable(source),
            Reach::Unknown => Self::Unanswered(source),
        }
    }
}

/// Takes parcels.
///
/// The sequence is open, store the reference, buy. The store keeps the first reference of an order,
/// so a crash at any point is mended by asking for that reference. Another one takes its place only
/// after its label was refused and can provably not be bought any more.
pub trait Carrier: Send + Sync + 'static {
    /// The carrier's name, as it is kept on the order. A parcel under another name is another
    /// carrier's: this one is never asked about it.
    fn name(&self) -> &'static str;

    /// Registers a parcel without buying anything.
    ///
    /// MAY be called again for the same order after its answer was lost; what is registered then is
    /// never bought. [`Opened::Labelled`] MUST be the same for the same order, however often it is
    /// asked, and different for different orders.
    fn open(&self, parcel: &Parcel) -> impl Future<Output = Result<Opened, CarrierError>> + Send;

    /// Buys the label of a registered parcel.
    ///
    /// MUST take effect at most once for a reference, however often and by however many it is
    /// called; once it has, it gives that label again. MUST return [`CarrierError::Unanswered`] when
    /// it is not known whether it was bought, and [`CarrierError::Refused`] only if it was not: the
    /// shop may then have another parcel registered.
    fn buy(&self, reference: &str) -> impl Future<Output = Result<Label, CarrierError>> + Send;

    /// The label of a registered parcel, if it was bought.
    fn look_up(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<Option<Label>, CarrierError>> + Send;

    /// Where a registered parcel is and which order it is for, by its reference, which came from
    /// outside: an implementer MUST NOT put it into a path unchecked. `None` where there is no such
    /// parcel of this service, or nothing is known of its way yet.
    fn track(
        &self,
        reference: &PartnerReference,
    ) -> impl Future<Output = Result<Option<Tracked>, CarrierError>> + Send;
}
