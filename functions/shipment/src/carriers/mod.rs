//! The carriers.

pub mod easypost;
mod own;

use std::future::Future;

use domain::{Currency, Delivery, Money, OrderId, Recipient, Text, TrackingNumber};
use messages::PartnerReference;
use partner::{FromReach, Reach};
use service::error::{FieldError, Source};

pub use easypost::{EasyPost, EasyPostSettings};
pub use own::Own;

/// A parcel to ship.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The order; one parcel per order.
    pub order: OrderId,
    /// The recipient's name.
    pub name: Text,
    /// The recipient's phone number.
    pub phone: Text,
    /// The address to ship to.
    pub shipping_address: Text,
    /// The value of the goods, for customs.
    pub worth: Worth,
}

impl Parcel {
    /// The recipient of the parcel.
    #[must_use]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient {
            name: &self.name,
            phone: &self.phone,
            shipping_address: &self.shipping_address,
        }
    }
}

/// The price that a customer pays for goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// The order's total.
    pub amount: Money,
    /// The currency of the amount.
    pub currency: Currency,
}

/// The label of a parcel that a carrier accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The number by which the customer tracks the parcel.
    pub tracking_number: TrackingNumber,
    /// The URL of the label, if the carrier gives one.
    pub url: Option<String>,
}

/// Outcome of opening a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The carrier needs no registration: the same order always has the same label, and nothing
    /// remains to be bought.
    Labelled(Label),
    /// Registered under this reference; nothing is bought yet.
    Registered(String),
}

/// The delivery state of a parcel, as the carrier shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The order that the parcel is for.
    pub order: OrderId,
    /// The delivery state.
    pub delivery: Delivery,
}

/// Why a carrier did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// Nothing was bought: this deployment has no key for the carrier, or the carrier rejects it.
    /// Only the shop's operator can change that.
    #[error("the carrier's key is missing or refused")]
    NotConfigured(#[source] Source),
    /// The carrier provably bought nothing: it could not be reached, throttled the call, or is
    /// down.
    #[error("the carrier is unavailable")]
    Unavailable(#[source] Source),
    /// The carrier's answer was lost. It may have done what was requested.
    #[error("the carrier's answer was lost")]
    Unanswered(#[source] Source),
    /// The carrier refuses this parcel: nothing was bought, and the same request would be refused
    /// again.
    #[error("the carrier refuses the parcel")]
    Refused(CarrierRefusal),
}

/// Why a carrier refuses a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierRefusal {
    /// A machine-readable code that the order stores: the carrier's, or one of this service.
    pub code: String,
    /// The errors in the request, by field. They quote nothing of it.
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

/// A carrier that ships parcels.
///
/// The sequence is: open, store the reference, buy. The store keeps an order's first reference, so
/// after a crash at any point the parcel is looked up by that reference. Another reference can
/// replace it only after its label was refused and provably can no longer be bought.
pub trait Carrier: Send + Sync + 'static {
    /// The carrier's name, which is stored on the order. This carrier is never asked about a parcel
    /// that another one registered.
    fn name(&self) -> &'static str;

    /// Registers a parcel without buying anything.
    ///
    /// MAY be called again for the same order after its answer was lost; a second parcel that is
    /// registered then is never bought. [`Opened::Labelled`] MUST be the same for the same order
    /// every time, and different for different orders.
    fn open(&self, parcel: &Parcel) -> impl Future<Output = Result<Opened, CarrierError>> + Send;

    /// Buys the label of a registered parcel.
    ///
    /// MUST take effect at most once for a reference, no matter how often and by how many workers
    /// it is called; once it has taken effect, it returns that label again. MUST return
    /// [`CarrierError::Unanswered`] if it is not known whether the label was bought, and
    /// [`CarrierError::Refused`] only if it was not: the shop may then have another parcel
    /// registered.
    fn buy(&self, reference: &str) -> impl Future<Output = Result<Label, CarrierError>> + Send;

    /// The label of a registered parcel, if it was bought.
    fn look_up(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<Option<Label>, CarrierError>> + Send;

    /// Returns the delivery state of a registered parcel and its order. `reference` came from
    /// outside: an implementation MUST NOT put it into a path unchecked. Returns `None` if this
    /// service has no such parcel, or if nothing is known about its delivery yet.
    fn track(
        &self,
        reference: &PartnerReference,
    ) -> impl Future<Output = Result<Option<Tracked>, CarrierError>> + Send;
}
