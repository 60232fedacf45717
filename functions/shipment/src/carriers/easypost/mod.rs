//! EasyPost, which buys labels of many carriers (<https://docs.easypost.com>).
//!
//! | step | calls | costs |
//! | --- | --- | --- |
//! | open | `POST /v2/addresses` with `verify`, `POST /v2/shipments` | nothing |
//! | buy | `GET /v2/shipments/{id}`, `POST /v2/shipments/{id}/buy` | the postage, once |
//! | look up, track | `GET /v2/shipments/{id}` | nothing |
//!
//! EasyPost knows no idempotency key, and the `reference` of a shipment is not unique. But one
//! shipment is bought once: a second purchase is `SHIPMENT.POSTAGE.EXISTS`. So the shipment's id is
//! this carrier's reference, and a purchase of unknown outcome is only ever tried again on the same
//! id. Buying while creating, which EasyPost also offers, would leave no id to ask for.
//!
//! **Which rate.** `CARRIER_SERVICE`, or else the cheapest one in dollars. Rates come in no order
//! and may grow stale: those of the shipment are read anew before it is bought, and asked for again
//! where EasyPost says that they are gone.
//!
//! **Addresses.** The order holds one text. `address.rs` splits it, for the United States only, and
//! EasyPost then checks whether anything can be delivered there. Both happen before the reference is
//! stored, since the parcel's address is settled from then on: who sends a bad address gets `422`
//! with what is wrong with it, and ships by sending a better one. The contract's own example
//! address has no ZIP code and is refused so.
//!
//! What EasyPost answers is read with suspicion: whatever is not of the documented shape is no
//! answer. Its sentences may quote the customer, so that only codes and names of fields get out of
//! here.

mod address;
mod settings;
mod wire;

use std::time::Duration;

use messages::PartnerReference;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::json;
use platform::outbound::{Https, HttpsAnswer, HttpsCall, HttpsError, Secret};
use platform::runtime::Runtime;
use platform::secret::{self, Keys, PartnerSecret, SecretError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::error::{FieldError, Source};

use super::{Carrier, CarrierError, Label, Opened, Parcel, Tracked};
use wire::{
    ById, Consignment, KnownAddress, NewAddress, NewShipment, Purchase, Rate, Rated, Recipient,
    Refusal, Senseless, Shipment, choose, listed,
};

pub use settings::EasyPostSettings;

/// Where EasyPost answers.
const API: &str = "https://api.easypost.com";

/// The longest a call may take. A rate and a purchase wait for the carriers behind EasyPost.
const LIMIT: Duration = Duration::from_secs(8);

/// The shipment has its label.
const BOUGHT_BEFORE: &str = "SHIPMENT.POSTAGE.EXISTS";

/// The rates cannot be bought any more; nothing was.
const RATES_GONE: [&str; 2] = ["SHIPMENT.RATES.UNAVAILABLE", "SHIPMENT.MISSING_RATE"];

/// The carrier does not take the parcel; nothing was bought, and trying again would change nothing.
const CARRIER_REFUSES: &str = "SHIPMENT.POSTAGE.FAILURE";

/// EasyPost found fault with the request itself; nothing was bought.
const NOT_BOUGHT: [&str; 2] = ["SHIPMENT.INVALID_PARAMS", "SHIPMENT.PURCHASE.FAILURE"];

const ADDRESS: &str = "/shipping_address";

/// EasyPost as a carrier.
#[derive(Clone, Debug)]
pub struct EasyPost {
    https: Https,
    keys: Keys<Secret>,
    settings: EasyPostSettings,
}

/// Why a call brought no answer that can be used. Names no customer: it may be logged.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    NoKey(#[from] SecretError),
    #[error("{0}")]
    Call(HttpsError),
    #[error("EasyPost answered {} {}", .0.status, .0.code())]
    Refused(Refusal),
    #[error("EasyPost's answer is not understood: {0}")]
    Unreadable(String),
    #[error("the reference is none of EasyPost's")]
    Foreign,
    #[error("EasyPost has no rate and gives no reason")]
    NoRates,
    #[error("EasyPost cannot check addresses now")]
    NoVerification,
}

impl From<Senseless> for Failure {
    fn from(senseless: Senseless) -> Self {
        Self::Unreadable(senseless.0.to_owned())
    }
}

impl Failure {
    /// Of a call that cannot buy anything.
    fn harmless(self) -> CarrierError {
        match self {
            Self::NoKey(error) => error.into(),
            Self::Refused(refusal) if is_of_the_key(&refusal) => {
                CarrierError::NotConfigured(Source::from(Self::Refused(refusal)))
            }
            other => CarrierError::Unavailable(Source::from(other)),
        }
    }

    /// Of a purchase: what may have been carried out was not answered.
    fn of_purchase(self) -> CarrierError {
        match self {
            Self::NoKey(_) => self.harmless(),
            Self::Call(error) if error.is_harmless() => Self::Call(error).harmless(),
            Self::Refused(refusal) if refusal.code() == CARRIER_REFUSES => {
                CarrierError::Refused(vec![at(
                    ADDRESS,
                    format!(
                        "EasyPost's carrier takes no parcel for this address \
                         ({CARRIER_REFUSES}); EasyPost shows its reason with the order's shipment"
                    ),
                )])
            }
            Self::Refused(refusal) if is_not_bought(&refusal) => Self::Refused(refusal).harmless(),
            other => CarrierError::Unanswered(Source::from(other)),
        }
    }
}

/// Whether EasyPost refuses the key, and nothing else ("Errors", `APIKEY.…`).
fn is_of_the_key(refusal: &Refusal) -> bool {
    refusal.status == 401 || refusal.code().starts_with("APIKEY.")
}

/// Whether an answer proves that a purchase did not take place. An unknown code proves nothing.
fn is_not_bought(refusal: &Refusal) -> bool {
    let code = refusal.code();
    // No funds, no right, no such shipment, not now.
    matches!(refusal.status, 401 | 402 | 403 | 404 | 429)
        || RATES_GONE.contains(&code)
        || NOT_BOUGHT.contains(&code)
}

fn at(pointer: &str, detail: String) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        detail,
    }
}

fn refused(detail: String) -> CarrierError {
    CarrierError::Refused(vec![at(ADDRESS, detail)])
}

/// The id of a shipment; safe in a path.
fn shipment_id(reference: &str) -> Result<&str, Failure> {
    let rest = reference.strip_prefix("shp_").unwrap_or_default();
    let fits = (1..=60).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits {
        Ok(reference)
    } else {
        Err(Failure::Foreign)
    }
}

impl EasyPost {
    /// The carrier over its API at `https` with a secret key, which decides between EasyPost's test
    /// mode and real labels.
    #[must_use]
    pub fn new(https: Https, key: &Secret, settings: EasyPostSettings) -> Self {
        Self {
            https,
            keys: Keys::fixed(key.clone()),
            settings,
        }
    }

    /// The carrier of a shop's environment: `EASYPOST_URL` (EasyPost's own address without), what
    /// [`EasyPostSettings::from_environment`] reads, and the key of now, field `apiKey` of the secret in
    /// `CARRIER_SECRET` or of the one that `CARRIER_SECRET_ARN` names.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let settings = EasyPostSettings::from_environment(environment)?;
        let address = Https::address(environment, "EASYPOST_URL", API)?;
        let pick = |secret: &PartnerSecret| secret.field("apiKey", &["EZAK", "EZTK"]);
        Ok(Self {
            https: Https::new(address),
            keys: Keys::of(environment, aws, secret::CARRIER, pick, runtime).await?,
            settings,
        })
    }

    async fn get<A: DeserializeOwned>(&self, path: String) -> Result<A, Failure> {
        self.call("GET", path, Vec::new()).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: String,
        body: &impl Serialize,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|_| Failure::Unreadable("the request cannot be written".to_owned()))?;
        self.call("POST", path, body).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: &'static str,
        path: String,
        body: Vec<u8>,
    ) -> Result<A, Failure> {
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type", Secret::new("application/json")));
        }
        // Ids at most: no path holds anything of the customer's.
        let shown = path.clone();
        let call = HttpsCall {
            method,
            path,
            headers,
            body,
        };
        let key = self.keys.now().await?;
        let mut answer = self.call_with(call.clone(), &key).await?;
        // A refused key has done nothing, so the call may be made again with the one that replaced it.
        if matches!(answer.status, 401 | 403)
            && let Some(newer) = self.keys.newer_than(&key).await
        {
            answer = self.call_with(call, &newer).await?;
        }
        if (200..300).contains(&answer.status) {
            return json::read(&answer.body).map_err(|error| {
                let what = format!("line {}, column {}", error.line(), error.column());
                tracing::warn!(path = shown, what, "easypost's answer is not understood");
                Failure::Unreadable(what)
            });
        }
        let refusal = Refusal::of(answer.status, &answer.body);
        let (status, code, faults) = (refusal.status, refusal.code(), listed(&refusal.faults));
        // The key and the funds are the operator's to mend.
        if matches!(status, 401..=403) {
            tracing::error!(path = shown, status, code, "easypost refuses the key");
        } else {
            tracing::warn!(path = shown, status, code, faults, "easypost refuses");
        }
        Err(Failure::Refused(refusal))
    }

    async fn call_with(&self, mut call: HttpsCall, key: &Secret) -> Result<HttpsAnswer, Failure> {
        // The key is the user's name, and the password is empty.
        let authorization = Secret::basic_authorization(key.expose(), &Secret::new(""));
        call.headers.push(("authorization", authorization));
        let path = call.path.clone();
        self.https.call(call, LIMIT).await.map_err(|error| {
            tracing::warn!(path, %error, "easypost gives no answer");
            Failure::Call(error)
        })
    }

    async fn shipment(&self, id: &str) -> Result<Shipment, Failure> {
        let shipment: Shipment = self.get(format!("/v2/shipments/{id}")).await?;
        ours(&shipment.id, id)?;
        Ok(shipment)
    }

    async fn purchase(&self, id: &str, rate: &Rate) -> Result<Shipment, Failure> {
        let body = Purchase {
            rate: ById { id: &rate.id },
        };
        let shipment: Shipment = self.post(format!("/v2/shipments/{id}/buy"), &body).await?;
        ours(&shipment.id, id)?;
        Ok(shipment)
    }

    fn choose<'a>(&self, rates: &'a [Rate]) -> Result<Option<&'a Rate>, Failure> {
        Ok(choose(rates, self.settings.service.as_ref())?)
    }

    /// The rates of today; nothing is bought by asking.
    async fn new_rates(&self, id: &str) -> Result<Vec<Rate>, Failure> {
        let path = format!("/v2/shipments/{id}/rerate");
        let rated: Rated = self.post(path, &serde_json::Map::new()).await?;
        ours(&rated.id, id)?;
        Ok(rated.rates)
    }

    /// The address as EasyPost keeps it, once it is found deliverable.
    async fn verified(&self, parcel: &Parcel) -> Result<String, CarrierError> {
        let address = address::split(parcel.shipping_address.as_str())
            .map_err(|incomplete| refused(incomplete.to_string()))?;
        let body = NewAddress {
            address: Recipient::new(parcel.name.as_str(), parcel.phone.as_str(), &address),
            verify: true,
        };
        let faults = match self.post("/v2/addresses".to_owned(), &body).await {
            Ok(KnownAddress { id, verifications }) if verifications.delivery.success => {
                return Ok(id);
            }
            Ok(KnownAddress { verifications, .. }) => verifications.delivery.faults(),
            Err(Failure::Refused(Refusal {
                status: 400 | 422,
                code: Some(code),
                faults,
            })) if !code.as_str().ends_with("UNAVAILABLE") => faults,
            Err(failure) => return Err(failure.harmless()),
        };
        if faults.iter().any(wire::Fault::is_outage) {
            return Err(Failure::NoVerification.harmless());
        }
        let found = listed(&faults);
        tracing::info!(order_id = %parcel.order, faults = found, "easypost does not find the address");
        let found = if found.is_empty() {
            "nothing can be delivered there".to_owned()
        } else {
            found
        };
        Err(refused(format!(
            "is not found by EasyPost: {found}; correct it and ship again"
        )))
    }
}

/// An answer must be about what was asked.
fn ours(answered: &str, asked: &str) -> Result<(), Failure> {
    if answered == asked {
        Ok(())
    } else {
        Err(Failure::Unreadable("another shipment's id".to_owned()))
    }
}

impl Carrier for EasyPost {
    fn name(&self) -> &'static str {
        "easypost"
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        let address = self.verified(parcel).await?;
        let body = NewShipment {
            shipment: Consignment {
                to_address: ById { id: &address },
                from_address: &self.settings.from,
                parcel: &self.settings.size,
                reference: &parcel.order.to_string(),
            },
        };
        let shipment: Shipment = self
            .post("/v2/shipments".to_owned(), &body)
            .await
            .map_err(Failure::harmless)?;
        let id = shipment_id(&shipment.id).map_err(Failure::harmless)?;
        let rate = self.choose(&shipment.rates).map_err(Failure::harmless)?;
        if rate.is_some() {
            return Ok(Opened::Registered(id.to_owned()));
        }
        let (rates, reasons) = (shipment.rates.len(), shipment.reasons());
        tracing::error!(order_id = %parcel.order, shipment = id, rates, reasons, "easypost has no rate");
        if rates == 0 && reasons == 0 {
            return Err(Failure::NoRates.harmless());
        }
        let offer = match &self.settings.service {
            Some(service) => format!("{service} offers no rate"),
            None => "no carrier offers a rate".to_owned(),
        };
        Err(refused(format!(
            "{offer} for a parcel to it; if it is right, see to the carrier accounts at EasyPost"
        )))
    }

    async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
        let id = shipment_id(reference).map_err(Failure::harmless)?;
        let shipment = self.shipment(id).await.map_err(Failure::harmless)?;
        if let Some(label) = label(&shipment).map_err(Failure::of_purchase)? {
            return Ok(label);
        }
        let rate = self.choose(&shipment.rates).map_err(Failure::harmless)?;
        let mut bought = match rate {
            Some(rate) => self.purchase(id, rate).await,
            None => Err(Failure::NoRates),
        };
        let is_stale = match &bought {
            Err(Failure::Refused(refusal)) => RATES_GONE.contains(&refusal.code()),
            Err(Failure::NoRates) => true,
            _ => false,
        };
        if is_stale {
            let rates = self.new_rates(id).await.map_err(Failure::harmless)?;
            let rate = self.choose(&rates).map_err(Failure::harmless)?;
            let rate = rate.ok_or_else(|| Failure::NoRates.harmless())?;
            bought = self.purchase(id, rate).await;
        }
        let shipment = match bought {
            Ok(shipment) => shipment,
            // Somebody else's purchase, or an earlier one of ours whose answer was lost.
            Err(Failure::Refused(refusal)) if refusal.code() == BOUGHT_BEFORE => {
                let found = self.shipment(id).await;
                found.map_err(|failure| CarrierError::Unanswered(failure.into()))?
            }
            Err(failure) => return Err(failure.of_purchase()),
        };
        label(&shipment)
            .and_then(|label| label.ok_or(Senseless("no label was made").into()))
            .map_err(|failure| CarrierError::Unanswered(failure.into()))
    }

    async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
        let id = shipment_id(reference).map_err(Failure::harmless)?;
        let shipment = self.shipment(id).await.map_err(Failure::harmless)?;
        label(&shipment).map_err(Failure::harmless)
    }

    /// The shipment's own `reference` names the order. It is not unique and need not be: an order that
    /// does not have this very shipment does not take the news.
    async fn track(&self, reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        let Ok(id) = shipment_id(reference.as_str()) else {
            return Ok(None);
        };
        match self.shipment(id).await {
            Ok(shipment) => Ok(shipment.tracked()),
            Err(Failure::Refused(Refusal { status: 404, .. })) => Ok(None),
            Err(failure) => Err(failure.harmless()),
        }
    }
}

fn label(shipment: &Shipment) -> Result<Option<Label>, Failure> {
    Ok(shipment.label()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_answer_that_proves_it_says_that_nothing_was_bought() {
        let outcome = |status, code: &str| {
            let body = json!({"error": {"code": code, "message": "17 Boulevard", "errors": []}});
            let refusal = Refusal::of(status, body.to_string().as_bytes());
            match Failure::Refused(refusal).of_purchase() {
                CarrierError::NotConfigured(_) => "not configured",
                CarrierError::Unavailable(_) => "unavailable",
                CarrierError::Unanswered(_) => "unanswered",
                CarrierError::Refused(_) => "refused",
            }
        };
        for (status, code, expected) in [
            (401, "UNAUTHORIZED", "not configured"),
            (402, "PAYMENT_REQUIRED", "unavailable"),
            (403, "APIKEY.INACTIVE", "not configured"),
            (403, "FORBIDDEN", "unavailable"),
            (404, "NOT_FOUND", "unavailable"),
            (429, "RATE_LIMITED", "unavailable"),
            (422, "SHIPMENT.RATES.UNAVAILABLE", "unavailable"),
            (422, "SHIPMENT.INVALID_PARAMS", "unavailable"),
            (422, "SHIPMENT.POSTAGE.FAILURE", "refused"),
            (400, "SHIPMENT.POSTAGE.FAILURE", "refused"),
            (422, "SHIPMENT.POSTAGE.TIMED_OUT", "unanswered"),
            (422, "SHIPMENT.POSTAGE.NO_RESPONSE", "unanswered"),
            (409, "SHIPMENT.PURCHASE.IN_PROGRESS", "unanswered"),
            (422, "SOMETHING.NEW", "unanswered"),
            (422, "", "unanswered"),
            (500, "INTERNAL_SERVER_ERROR", "unanswered"),
            (503, "", "unanswered"),
            (302, "", "unanswered"),
        ] {
            assert_eq!(outcome(status, code), expected, "{status} {code}");
        }
        let late = HttpsError::TimedOut(Duration::from_secs(8));
        assert!(matches!(
            Failure::Call(late).of_purchase(),
            CarrierError::Unanswered(_)
        ));
        assert!(matches!(
            Failure::Call(HttpsError::NoTime).of_purchase(),
            CarrierError::Unavailable(_)
        ));
    }

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
