//! EasyPost as the carrier: one label for each order, whatever is lost, and errors that tell the
//! caller what to do.

mod addresses;
mod carrier;
mod refusals;
mod service;
mod wire;

pub(crate) use service::{Shop, paid, paid_with};

use std::sync::Arc;

use domain::{Money, OrderId, Text};
use platform::config::Environment;
use platform::outbound::{Https, Secret};
use serde_json::json;
use shipment::carriers::{
    Carrier, CarrierError, EasyPost, EasyPostSettings, Label, Opened, Parcel, Worth,
};
use tests::partners::{DoubleRequest, EasyPostDouble, Front};

pub(crate) const KEY: &str = "EZTKplayed";
const CART: &str = "/api/order/cart.json";
const SHIPPING: &str = "/api/order/shipping.json";
pub(crate) const ADDRESS: &str = "17 Boulevard, 123 apt 6, Brooklyn, NY 11201";
const FIRST_CODE: &str = "9400100208303109500001";

pub(crate) fn settings(service: Option<&'static str>) -> EasyPostSettings {
    let read = move |name: &str| match name {
        "SHIP_FROM" => Some(
            json!({
                "company": "Shop", "street1": "388 Townsend St", "city": "San Francisco",
                "state": "CA", "zip": "94107", "country": "US", "phone": "4155550100"
            })
            .to_string(),
        ),
        "PARCEL" => Some(r#"{"length":10,"width":8,"height":4,"weight":15.4}"#.to_owned()),
        "CARRIER_SERVICE" => service.map(str::to_owned),
        _ => None,
    };
    EasyPostSettings::from_environment(Environment::new(&read)).unwrap()
}

/// The client, the front, and the double.
pub(crate) struct Sides {
    pub(crate) carrier: EasyPost,
    front: Front,
    pub(crate) double: EasyPostDouble,
}

fn sides_with(service: Option<&'static str>) -> Sides {
    let double = EasyPostDouble::new(KEY);
    let front = Front::new(Arc::new(double.clone()));
    let https = Https::with_connector(front.connector(), "https://api.easypost.com");
    Sides {
        carrier: EasyPost::new(https, &Secret::new(KEY), settings(service)),
        front,
        double,
    }
}

pub(crate) fn sides() -> Sides {
    sides_with(None)
}

impl Sides {
    /// The calls that were sent, without the IDs in their paths.
    fn calls(&self) -> Vec<String> {
        let seen = self.front.seen();
        let short = |request: &DoubleRequest| {
            let path = request.path.split('/').map(|step| {
                if step.starts_with("shp_") {
                    "{id}"
                } else {
                    step
                }
            });
            format!("{} {}", request.method, path.collect::<Vec<_>>().join("/"))
        };
        seen.iter().map(short).collect()
    }

    /// A person buys the label of a registered parcel.
    pub(crate) async fn buy(&self, reference: &str) {
        self.carrier.buy(reference).await.unwrap();
    }

    async fn open(&self, address: &str) -> Result<String, CarrierError> {
        match self.carrier.open(&parcel(address)).await? {
            Opened::Registered(reference) => Ok(reference),
            Opened::Labelled(label) => panic!("nothing is bought yet: {label:?}"),
        }
    }
}

pub(crate) fn parcel(address: &str) -> Parcel {
    Parcel {
        order: OrderId::from_time(1_795_428_725_000, [7; 10]),
        name: Text::parse("Lital Hay").unwrap(),
        phone: Text::parse("0545870006").unwrap(),
        shipping_address: Text::parse_lines(address).unwrap(),
        worth: Worth {
            amount: Money::from_stored("200").unwrap(),
            currency: "USD".parse().unwrap(),
        },
    }
}

fn outcome<T>(result: &Result<T, CarrierError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(CarrierError::NotConfigured(_)) => "not configured",
        Err(CarrierError::Unavailable(_)) => "unavailable",
        Err(CarrierError::Unanswered(_)) => "unanswered",
        Err(CarrierError::Refused(_)) => "refused",
    }
}

fn assert_first_label(result: Result<Label, CarrierError>) {
    let label = result.unwrap();
    assert_eq!(label.tracking_number.as_str(), FIRST_CODE);
    assert!(label.url.unwrap().starts_with("https://"));
}
