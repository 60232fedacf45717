//! The carrier of a history: the abstract one, or a real client that calls its double over a wire
//! on which every request is an effect.

use std::sync::Arc;

use messages::PartnerReference;
use platform::config::Environment;
use platform::outbound::Secret;
use serde_json::json;
use shipment::carriers::{
    Carrier, CarrierError, EasyPost, EasyPostSettings, Label, Opened, Own, Parcel, Tracked,
};

use super::ends::Outside;
use super::wire;
use super::world::World;
use crate::partners::EasyPostDouble;

const KEY: &str = "EZTKplayed";

const TOO_MANY: &str =
    r#"{"error":{"code":"RATE_LIMITED","message":"Too many requests.","errors":[]}}"#;

/// A carrier whose real client is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealCarrier {
    /// EasyPost in its usual behavior.
    EasyPost,
    /// EasyPost, where a shipment's first rates expire before its label is bought.
    EasyPostWithStaleRates,
    /// EasyPost, whose carrier refuses the label of each order's first shipment.
    EasyPostThatRefuses,
}

/// The carrier that holds a history's shipments.
#[derive(Clone, Debug)]
pub(super) enum Depot {
    /// The abstract carrier, whose books are in the world.
    Played,
    /// EasyPost's double on the wire.
    EasyPost(EasyPostDouble),
}

/// A label in any carrier's books.
#[derive(Clone, Debug)]
pub(super) struct BookedLabel {
    /// The carrier's reference of the parcel.
    pub(super) reference: String,
    /// The order.
    pub(super) order: String,
    pub(super) tracking_number: String,
    /// The address; `None` if the books do not contain it.
    pub(super) address: Option<String>,
}

impl Depot {
    /// The double of that carrier.
    pub(super) fn new(carrier: Option<RealCarrier>) -> Self {
        let Some(carrier) = carrier else {
            return Self::Played;
        };
        let double = EasyPostDouble::new(KEY);
        match carrier {
            RealCarrier::EasyPost => {}
            RealCarrier::EasyPostWithStaleRates => double.let_first_rates_expire(),
            RealCarrier::EasyPostThatRefuses => double.refuse_first_labels(),
        }
        Self::EasyPost(double)
    }

    /// A client of the carrier in one process of `world`.
    pub(super) fn client(&self, world: &World) -> Shipper {
        match self {
            Self::Played => Shipper::Played(Outside::of(world)),
            Self::EasyPost(double) => {
                let double = Arc::new(double.clone());
                let https = wire::https(world, double, "https://api.easypost.com", TOO_MANY);
                let client = EasyPost::new(https, &Secret::new(KEY), settings());
                Shipper::EasyPost(Box::new(client))
            }
        }
    }

    /// All bought labels; the abstract carrier's are in `world`.
    pub(super) fn labels(&self, world: &World) -> Vec<BookedLabel> {
        match self {
            Self::EasyPost(double) => {
                let bought = double.bought().into_iter();
                let booked = bought.map(|label| BookedLabel {
                    reference: label.shipment,
                    order: label.reference.unwrap_or_default(),
                    tracking_number: label.tracking_code,
                    address: None,
                });
                booked.collect()
            }
            Self::Played => {
                let state = world.state();
                let parcels = state.parcels.iter();
                let booked = parcels.filter_map(|(reference, parcel)| {
                    let label = parcel.label.as_ref()?;
                    Some(BookedLabel {
                        reference: reference.clone(),
                        order: parcel.order.clone(),
                        tracking_number: label.tracking_number.as_str().to_owned(),
                        address: Some(parcel.address.clone()),
                    })
                });
                booked.collect()
            }
        }
    }
}

/// A shop that ships within the United States with the cheapest service.
fn settings() -> EasyPostSettings {
    let read = |name: &str| {
        let value = match name {
            "SHIP_FROM" => json!({
                "company": "Shop", "street1": "388 Townsend St", "city": "San Francisco",
                "state": "CA", "zip": "94107", "country": "US", "phone": "4155550100"
            }),
            "PARCEL" => json!({"length": 10, "width": 8, "height": 4, "weight": 15}),
            _ => return None,
        };
        Some(value.to_string())
    };
    EasyPostSettings::from_environment(Environment::new(&read)).expect("the shop is well described")
}

/// A client of the history's carrier.
#[derive(Clone, Debug)]
pub(super) enum Shipper {
    Played(Outside),
    EasyPost(Box<EasyPost>),
    Own,
}

impl Carrier for Shipper {
    fn name(&self) -> &'static str {
        match self {
            Self::Played(carrier) => Carrier::name(carrier),
            Self::EasyPost(carrier) => carrier.name(),
            Self::Own => Own.name(),
        }
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        match self {
            Self::Played(carrier) => Carrier::open(carrier, parcel).await,
            Self::EasyPost(carrier) => carrier.open(parcel).await,
            Self::Own => Own.open(parcel).await,
        }
    }

    async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
        match self {
            Self::Played(carrier) => carrier.buy(reference).await,
            Self::EasyPost(carrier) => carrier.buy(reference).await,
            Self::Own => Own.buy(reference).await,
        }
    }

    async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
        match self {
            Self::Played(carrier) => Carrier::look_up(carrier, reference).await,
            Self::EasyPost(carrier) => carrier.look_up(reference).await,
            Self::Own => Own.look_up(reference).await,
        }
    }

    async fn track(&self, reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        match self {
            Self::Played(carrier) => carrier.track(reference).await,
            Self::EasyPost(carrier) => carrier.track(reference).await,
            Self::Own => Own.track(reference).await,
        }
    }
}
