//! The carriers: who takes the goods.

mod own;

use std::future::Future;

use shared::domain::{OrderId, Text};
use shared::error::Source;

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
}

/// Why a carrier did not take a parcel.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// It did not answer, or asked for less.
    #[error("the carrier is unavailable")]
    Unavailable(#[source] Source),
}

/// Takes parcels.
pub trait Carrier: Send + Sync + 'static {
    /// The carrier's name, as it is kept on the order.
    fn name(&self) -> &'static str;

    /// Takes a parcel and gives its tracking number: positive, at most 2^53 − 1.
    ///
    /// MUST give the same number for the same order, however often it is asked, and different ones
    /// for different orders.
    fn take(&self, parcel: &Parcel) -> impl Future<Output = Result<u64, CarrierError>> + Send;
}
