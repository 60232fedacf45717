//! Calls to EasyPost.

use partner::{self, Call, CallFailure, KeyScheme, KeyedApi, PathSegment, Unusable};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::{self, Keys, PartnerSecret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{
    ById, Fault, KnownAddress, NewAddress, NewShipment, Purchase, Rate, Rated, Refusal, Shipment,
};

/// EasyPost's address.
const ADDRESS: &str = "https://api.easypost.com";

/// A call to EasyPost without a usable answer.
pub(super) type Failure = CallFailure<Refusal>;

/// EasyPost's API, for one account.
#[derive(Clone, Debug)]
pub(super) struct Client(KeyedApi);

impl Client {
    pub(super) fn new(https: Https, keys: Keys<Secret>) -> Self {
        Self(KeyedApi::new(https, keys, KeyScheme::BasicUser))
    }

    pub(super) async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let address = Https::address(environment, "EASYPOST_URL", ADDRESS)?;
        let pick = |secret: &PartnerSecret| secret.field("apiKey", &["EZAK", "EZTK"]);
        let keys = Keys::of(environment, aws, secret::CARRIER, pick, runtime).await?;
        Ok(Self::new(Https::new(address), keys))
    }

    pub(super) async fn create_address(
        &self,
        body: &NewAddress<'_>,
    ) -> Result<KnownAddress, Failure> {
        self.post("/v2/addresses".to_owned(), body).await
    }

    pub(super) async fn create_shipment(
        &self,
        body: &NewShipment<'_>,
    ) -> Result<Shipment, Failure> {
        self.post("/v2/shipments".to_owned(), body).await
    }

    pub(super) async fn shipment(&self, id: ShipmentId<'_>) -> Result<Shipment, Failure> {
        let shipment: Shipment = self.call(Call::get(path(id, ""))).await?;
        Unusable::unless_same(&shipment.id, id.as_str())?;
        Ok(shipment)
    }

    pub(super) async fn buy(&self, id: ShipmentId<'_>, rate: &Rate) -> Result<Shipment, Failure> {
        let body = Purchase {
            rate: ById { id: &rate.id },
        };
        let shipment: Shipment = self.post(path(id, "/buy"), &body).await?;
        Unusable::unless_same(&shipment.id, id.as_str())?;
        Ok(shipment)
    }

    /// The shipment's current rates; the call buys nothing.
    pub(super) async fn rerate(&self, id: ShipmentId<'_>) -> Result<Vec<Rate>, Failure> {
        let body = serde_json::Map::new();
        let rated: Rated = self.post(path(id, "/rerate"), &body).await?;
        Unusable::unless_same(&rated.id, id.as_str())?;
        Ok(rated.rates)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Call::post_json(path, body)).await
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let answer = match self.0.send(&call).await {
            Ok(answer) => partner::read(&answer),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &answer {
            log(&call, failure);
        }
        answer
    }
}

/// Logs a failed call. The path contains at most IDs, and no customer data.
fn log(call: &Call, failure: &Failure) {
    let path = call.path();
    match failure {
        // Only the operator can correct the key and the funds.
        CallFailure::Refused(status @ 401..=403, refusal) => {
            tracing::error!(
                path,
                status,
                code = refusal.code(),
                "easypost refuses the key"
            );
        }
        CallFailure::Refused(status, refusal) => {
            let (code, faults) = (refusal.code(), Fault::list(&refusal.faults));
            tracing::warn!(path, status, code, faults, "easypost refuses");
        }
        failure => tracing::warn!(path, %failure, "easypost gives no answer that can be used"),
    }
}

/// The ID of a shipment.
pub(super) type ShipmentId<'a> = PathSegment<'a>;

/// The ID of a shipment, safe in a path.
pub(super) fn shipment_id(reference: &str) -> Result<ShipmentId<'_>, Failure> {
    let rest = reference.strip_prefix("shp_").unwrap_or_default();
    match PathSegment::parse(reference) {
        Some(id) if !rest.is_empty() => Ok(id),
        _ => Err(CallFailure::BadReference),
    }
}

fn path(id: ShipmentId<'_>, rest: &str) -> String {
    format!("/v2/shipments/{id}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shipments_id_gets_into_a_path() {
        assert!(shipment_id("shp_16578f588f9546ec914afd2474e24ff5").is_ok());
        for reference in [
            "",
            "shp_",
            "parcel_1",
            "shp_../addresses",
            "shp_1/buy",
            "shp_1?x=1",
            "shp_1 ",
        ] {
            assert!(shipment_id(reference).is_err(), "{reference}");
        }
    }
}
