//! EasyPost, which buys labels of many carriers (<https://docs.easypost.com>).
//!
//! | step | calls | costs |
//! | --- | --- | --- |
//! | open | `POST /v2/addresses` with `verify`, `POST /v2/shipments` | nothing |
//! | buy | `GET /v2/shipments/{id}`, `POST /v2/shipments/{id}/buy` | the postage, once |
//! | look up, track | `GET /v2/shipments/{id}` | nothing |
//!
//! EasyPost has no idempotency keys, and the `reference` of a shipment is not unique. But a
//! shipment is bought only once: a second purchase is answered with `SHIPMENT.POSTAGE.EXISTS`. The
//! shipment's ID is therefore this carrier's reference, and a purchase with an unknown outcome is
//! only ever retried on the same ID. EasyPost also offers to buy while creating, but a lost answer
//! would then leave no ID to look up.
//!
//! **Which rate.** The rate of `CARRIER_SERVICE`, or else the cheapest one in dollars. Rates are
//! unsorted and may expire: the shipment's rates are read again before it is bought, and requested
//! again if EasyPost answers that they are gone.
//!
//! **Addresses.** The order stores one text. [`domain::PostalAddress`] parses it, and cart and
//! invoice refuse what it cannot parse. EasyPost then checks whether the address is deliverable,
//! and adds the ZIP code if the city and the state suffice. That happens before the reference is
//! stored: a caller that sends a bad address gets `422` with the errors, and ships by sending a
//! better one.
//!
//! EasyPost's answers are untrusted: an answer without the documented form does not count as one.
//! Its sentences may quote the customer, so only codes and field names leave this module.

mod client;
pub mod published;
mod settings;
mod verdict;
mod wire;

use domain::{CarrierName, PostalAddress};
use messages::PartnerReference;
use partner::CallFailure::Refused;
use partner::{FromReach as _, Unusable};
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use platform::secret::Keys;
use service::error::FieldError;

use super::{Carrier, CarrierError, CarrierRefusal, Label, Opened, Parcel, Tracked};
use client::{Client, ShipmentId, shipment_id};
use published::{Meaning, is_given_back};
use verdict::{choose, is_stale, label, meaning_of, refused, refused_or, tracked};
use wire::{
    ById, Code, Consignment, CustomsInfo, Fault, KnownAddress, NewAddress, NewShipment, Rate,
    Recipient, Shipment,
};

pub use settings::EasyPostSettings;

/// EasyPost as a carrier.
#[derive(Clone, Debug)]
pub struct EasyPost {
    client: Client,
    settings: EasyPostSettings,
}

impl EasyPost {
    /// The carrier over its API at `https` with a secret key, which selects EasyPost's test mode or
    /// real labels.
    #[must_use]
    pub fn new(https: Https, key: &Secret, settings: EasyPostSettings) -> Self {
        Self {
            client: Client::new(https, Keys::fixed(key.clone())),
            settings,
        }
    }

    /// The carrier from a shop's environment: `EASYPOST_URL` (EasyPost's own address if not set),
    /// the settings that [`EasyPostSettings::from_environment`] reads, and the current key, field
    /// `apiKey` of the secret in `CARRIER_SECRET` or of the one that `CARRIER_SECRET_ARN` names.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        let settings = EasyPostSettings::from_environment(environment)?;
        Ok(Self {
            client: Client::from_environment(environment, aws, runtime).await?,
            settings,
        })
    }

    /// The shipment with that reference.
    async fn shipment<'a>(
        &self,
        reference: &'a str,
    ) -> Result<(ShipmentId<'a>, Shipment), CarrierError> {
        let id = shipment_id(reference).map_err(CarrierError::from_harmless)?;
        let shipment = self.client.shipment(id).await;
        Ok((id, shipment.map_err(CarrierError::from_harmless)?))
    }

    fn choose<'a>(&self, rates: &'a [Rate]) -> Result<Option<&'a Rate>, CarrierError> {
        choose(rates, self.settings.service.as_ref()).map_err(CarrierError::unavailable)
    }

    /// The ID of the address at EasyPost, if it is deliverable.
    async fn verified(
        &self,
        parcel: &Parcel,
        address: &PostalAddress,
    ) -> Result<String, CarrierError> {
        let body = NewAddress {
            address: Recipient::new(parcel.name.as_str(), parcel.phone.as_str(), address),
            verify: true,
        };
        let faults = match self.client.create_address(&body).await {
            Ok(KnownAddress { id, verifications }) if verifications.delivery.success => {
                // Such as a flat's missing number.
                let faults = Fault::list(&verifications.delivery.faults());
                if !faults.is_empty() {
                    tracing::warn!(order_id = %parcel.order, faults, "easypost delivers to an address with faults");
                }
                return Ok(id);
            }
            Ok(KnownAddress { verifications, .. }) => verifications.delivery.faults(),
            Err(failure) => {
                return Err(refused_or(
                    failure,
                    "is not found by EasyPost; correct it and ship again",
                    CarrierError::from_harmless,
                ));
            }
        };
        if faults.iter().any(Fault::is_outage) {
            return Err(CarrierError::unavailable(
                "EasyPost cannot check addresses now",
            ));
        }
        let found = Fault::list(&faults);
        tracing::info!(order_id = %parcel.order, faults = found, "easypost does not find the address");
        let code = faults.iter().find_map(|fault| fault.code.as_ref());
        let code = code.map_or("address_not_found", Code::as_str);
        let found = if found.is_empty() {
            "nothing can be delivered there".to_owned()
        } else {
            found
        };
        Err(refused(
            code,
            format!("is not found by EasyPost: {found}; correct it and ship again"),
        ))
    }

    /// Returns the refusal only if the shipment itself shows that it has no label.
    async fn unless_bought(
        &self,
        id: ShipmentId<'_>,
        refusal: CarrierError,
    ) -> Result<Label, CarrierError> {
        let shipment = self.client.shipment(id).await;
        let shipment = shipment.map_err(CarrierError::unanswered)?;
        label_of(&shipment, CarrierError::unanswered)?.ok_or(refusal)
    }
}

/// The label of a shipment. A label that was refunded cannot be used, and the shipment gets no
/// other.
fn label_of(
    shipment: &Shipment,
    unusable: impl FnOnce(Unusable) -> CarrierError,
) -> Result<Option<Label>, CarrierError> {
    let found = label(shipment).map_err(unusable)?;
    let is_gone = shipment.refund_status.as_str().is_some_and(is_given_back);
    if found.is_some() && is_gone {
        return Err(refused(
            "label_given_back",
            "has a label that was refunded at EasyPost; ship again, or cancel the order".to_owned(),
        ));
    }
    Ok(found)
}

/// The parsed address, if EasyPost can use the recipient.
fn readable(parcel: &Parcel) -> Result<PostalAddress, CarrierError> {
    let faults = CarrierName::EasyPost.faults(parcel.recipient());
    match PostalAddress::read(parcel.shipping_address.as_str()) {
        Ok(address) if faults.is_empty() => Ok(address),
        _ => Err(CarrierError::Refused(CarrierRefusal {
            code: "recipient_unusable".to_owned(),
            errors: faults
                .into_iter()
                .map(|fault| FieldError {
                    pointer: format!("/{}", fault.field),
                    detail: fault.detail,
                })
                .collect(),
        })),
    }
}

/// The refusal if no rate can be bought, whatever the reason: waiting for a rate might never end.
fn no_rates(settings: &EasyPostSettings) -> CarrierError {
    let offer = match &settings.service {
        Some(service) => format!("{service} offers no rate"),
        None => "no carrier offers a rate".to_owned(),
    };
    refused(
        "no_rates",
        format!(
            "{offer} for a parcel to it; if it is right, check the carrier accounts and the \
             parcel's size"
        ),
    )
}

impl Carrier for EasyPost {
    fn name(&self) -> &'static str {
        "easypost"
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        let read = readable(parcel)?;
        let address = self.verified(parcel, &read).await?;
        let customs_info = read
            .needs_customs()
            .then(|| CustomsInfo::new(&self.settings, &parcel.worth));
        let body = NewShipment {
            shipment: Consignment {
                to_address: ById { id: &address },
                from_address: &self.settings.from,
                parcel: &self.settings.size,
                customs_info,
                reference: &parcel.order.to_string(),
            },
        };
        let shipment = self.client.create_shipment(&body).await;
        let shipment = shipment.map_err(|failure| {
            refused_or(
                failure,
                "was rejected by EasyPost; correct the recipient or the parcel's settings and ship \
                 again",
                CarrierError::from_harmless,
            )
        })?;
        let id = shipment_id(&shipment.id).map_err(CarrierError::from_harmless)?;
        if label_of(&shipment, CarrierError::unavailable)?.is_some() {
            return Err(CarrierError::unavailable("a new shipment has a label"));
        }
        let rate = self.choose(&shipment.rates)?;
        if rate.is_some() {
            return Ok(Opened::Registered(id.as_str().to_owned()));
        }
        let (rates, reasons) = (shipment.rates.len(), shipment.reasons());
        tracing::error!(order_id = %parcel.order, shipment = %id, rates, reasons, "easypost has no rate");
        Err(no_rates(&self.settings))
    }

    async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
        let (id, shipment) = self.shipment(reference).await?;
        if let Some(label) = label_of(&shipment, CarrierError::unanswered)? {
            return Ok(label);
        }
        let first = match self.choose(&shipment.rates)? {
            Some(rate) => Some(self.client.buy(id, rate).await),
            None => None,
        };
        let bought = match first {
            Some(bought) if !is_stale(&bought) => bought,
            _ => {
                let rates = self.client.rerate(id).await;
                let rates = rates.map_err(CarrierError::from_harmless)?;
                match self.choose(&rates)? {
                    Some(rate) => self.client.buy(id, rate).await,
                    None => return self.unless_bought(id, no_rates(&self.settings)).await,
                }
            }
        };
        let failure = match bought {
            Ok(shipment) => {
                let label = label_of(&shipment, CarrierError::unanswered)?;
                return label.ok_or_else(|| CarrierError::unanswered("no label was made"));
            }
            Err(failure) => failure,
        };
        match meaning_of(&failure) {
            // Another worker's purchase, or an earlier one of ours whose answer was lost.
            Some(Meaning::Bought) => {
                let missing = CarrierError::unanswered("no label was made");
                self.unless_bought(id, missing).await
            }
            Some(Meaning::ShopsTurn) => {
                let refusal = refused_or(
                    failure,
                    "is refused by EasyPost's carrier, which shows its reason with the order's \
                     shipment; ship again with a better address or parcel, or cancel the order",
                    CarrierError::from_write,
                );
                self.unless_bought(id, refusal).await
            }
            // The rates were gone twice in a row. A rate that was only replaced is decided by the
            // last arm, which retries later: another worker has requested new rates in between.
            Some(Meaning::RatesGone) => self.unless_bought(id, no_rates(&self.settings)).await,
            _ => Err(CarrierError::from_write(failure)),
        }
    }

    async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
        let (_, shipment) = self.shipment(reference).await?;
        label_of(&shipment, CarrierError::unavailable)
    }

    /// The shipment's own `reference` names the order. It is not unique and need not be: an order
    /// with another shipment ignores the news.
    async fn track(&self, reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        let Ok(id) = shipment_id(reference.as_str()) else {
            return Ok(None);
        };
        match self.client.shipment(id).await {
            Ok(shipment) => Ok(tracked(&shipment)),
            Err(Refused(404, _)) => Ok(None),
            Err(failure) => Err(CarrierError::from_harmless(failure)),
        }
    }
}
