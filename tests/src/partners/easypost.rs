//! EasyPost's double on the wire, with a ledger. Formats and codes are those of recorded exchanges.
//! If none was recorded (the statuses of refused purchases), the double uses a likely one, and the
//! client must not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform::outbound::Secret;
use serde_json::{Value, json};

use super::{DoubleReply, DoubleRequest, PartnerDouble};

const NOW: &str = "2026-11-23T10:12:05Z";
const ADDRESS_NOW: &str = "2026-11-23T10:12:05+00:00";

/// The maximum weight with a rate: 70 pounds, in ounces.
const HEAVIEST: f64 = 1_120.0;

/// A carrier's rate for a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The carrier, such as `USPS`.
    pub carrier: &'static str,
    /// The service, such as `Priority`.
    pub service: &'static str,
    /// The price, a decimal.
    pub price: &'static str,
    /// The currency, as an ISO 4217 code.
    pub currency: &'static str,
}

/// A label that was paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoughtLabel {
    /// The shipment that it is for.
    pub shipment: String,
    /// The shop's reference of the shipment.
    pub reference: Option<String>,
    /// The service.
    pub service: String,
    /// The number by which the customer tracks the parcel.
    pub tracking_code: String,
}

/// What fails at EasyPost until a test changes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct EasyPostHabits {
    /// Addresses cannot be checked.
    pub verification_down: bool,
    /// No carrier returns a rate; each returns a reason.
    pub unserved: bool,
    /// The carrier refuses each parcel when its label is bought.
    pub carrier_refuses: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    drawn: u64,
    addresses: BTreeMap<String, Value>,
    shipments: BTreeMap<String, Value>,
    trackers: BTreeMap<String, Value>,
    stale: BTreeSet<String>,
    starts_stale: bool,
    refuses_first: bool,
    first: BTreeMap<String, String>,
    bought: Vec<BoughtLabel>,
    offers: Vec<Offer>,
    unknown_streets: Vec<&'static str>,
    trouble: EasyPostHabits,
}

/// The double. Copies share the ledger.
#[derive(Clone, Debug)]
pub struct EasyPostDouble {
    authorization: Arc<Mutex<Secret>>,
    ledger: Arc<Mutex<Ledger>>,
}

impl EasyPostDouble {
    /// A double that accepts this key.
    #[must_use]
    pub fn new(key: &str) -> Self {
        let usps = |service, price| Offer {
            carrier: "USPS",
            service,
            price,
            currency: "USD",
        };
        let ledger = Ledger {
            offers: vec![
                usps("Express", "34.15"),
                usps("Priority", "7.42"),
                usps("GroundAdvantage", "6.07"),
            ],
            ..Ledger::default()
        };
        Self {
            authorization: Arc::new(Mutex::new(Self::authorization(key))),
            ledger: Arc::new(Mutex::new(ledger)),
        }
    }

    /// From now on this key is accepted, and the previous one no longer is.
    pub fn replace_key(&self, key: &str) {
        let mut kept = self.authorization.lock();
        let kept = kept
            .as_deref_mut()
            .expect("no test panics while it holds this");
        *kept = Self::authorization(key);
    }

    fn authorization(key: &str) -> Secret {
        Secret::basic_authorization(key, &Secret::new(""))
    }

    /// Every label that was paid for.
    #[must_use]
    pub fn bought(&self) -> Vec<BoughtLabel> {
        self.ledger().bought.clone()
    }

    /// The number of registered shipments.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.ledger().shipments.len()
    }

    /// A shipment in its current state.
    #[must_use]
    pub fn shipment(&self, id: &str) -> Option<Value> {
        self.ledger().shipments.get(id).cloned()
    }

    /// Sets the rates.
    pub fn offer(&self, offers: impl IntoIterator<Item = Offer>) {
        self.ledger().offers = offers.into_iter().collect();
    }

    /// The rates of all existing shipments can no longer be bought.
    pub fn let_rates_expire(&self) {
        let mut ledger = self.ledger();
        let ids: Vec<String> = ledger.shipments.keys().cloned().collect();
        ledger.stale.extend(ids);
    }

    /// From now on the first rates of each new shipment cannot be bought.
    pub fn let_first_rates_expire(&self) {
        self.ledger().starts_stale = true;
    }

    /// From now on the label of the first shipment with each reference is refused.
    pub fn refuse_first_labels(&self) {
        self.ledger().refuses_first = true;
    }

    /// From now on streets with `part` in their name are undeliverable.
    pub fn forget_street(&self, part: &'static str) {
        self.ledger().unknown_streets.push(part);
    }

    /// The carrier has scanned the parcel of a bought shipment, at this time (RFC 3339).
    pub fn scan(&self, shipment: &str, status: &str, at: &str) {
        let mut ledger = self.ledger();
        let shipment = ledger.shipments.get_mut(shipment);
        let tracker = &mut shipment.expect("a test scans what it has bought")["tracker"];
        tracker["status"] = status.into();
        tracker["updated_at"] = at.into();
        let (id, tracker) = (tracker["id"].to_string(), tracker.clone());
        ledger
            .trackers
            .insert(id.trim_matches('"').to_owned(), tracker);
    }

    /// A person requests the refund of a label in the dashboard, and the carrier answers with this
    /// status.
    pub fn give_back(&self, shipment: &str, status: &str) {
        let mut ledger = self.ledger();
        let shipment = ledger.shipments.get_mut(shipment);
        shipment.expect("a test gives back what it has bought")["refund_status"] = status.into();
    }

    /// From now on exactly this fails.
    pub fn set_trouble(&self, trouble: EasyPostHabits) {
        self.ledger().trouble = trouble;
    }

    /// A person buys the label in EasyPost's dashboard.
    pub fn buy_by_hand(&self, shipment: &str) {
        let mut ledger = self.ledger();
        ledger.trouble.carrier_refuses = false;
        let rate = ledger.shipments[shipment]["rates"][0]["id"].clone();
        let (status, body) = ledger.buy(shipment, &json!({"rate": {"id": rate}}));
        assert_eq!(status, 200, "{body}");
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartnerDouble for EasyPostDouble {
    fn handle(&self, request: &DoubleRequest) -> DoubleReply {
        let kept = self.authorization.lock();
        let kept = kept.expect("no test panics while it holds this").clone();
        let (status, body) = if request.header("authorization") == Some(kept.expose()) {
            let body = serde_json::from_slice(&request.body).unwrap_or_default();
            let path = request.path.trim_start_matches("/v2/");
            let steps: Vec<&str> = path.split('/').collect();
            self.ledger().answer(&request.method, &steps, &body)
        } else {
            error(403, "APIKEY.INACTIVE", "This key is not active.", &[])
        };
        DoubleReply::new(status, body.to_string())
    }
}

type Answer = (u16, Value);

fn error(status: u16, code: &str, message: &str, errors: &[Value]) -> Answer {
    let error = json!({"code": code, "message": message, "errors": errors});
    (status, json!({ "error": error }))
}

fn not_found() -> Answer {
    error(404, "NOT_FOUND", "There is no such thing.", &[])
}

fn lacks(field: &str) -> Answer {
    let blank = json!({"field": field, "message": "cannot be blank"});
    let message = "A parameter is missing.";
    error(422, "PARAMETER.REQUIRED", message, &[blank])
}

fn is_blank(value: &Value) -> bool {
    value.as_str().is_none_or(|text| text.trim().is_empty())
}

impl Ledger {
    fn answer(&mut self, method: &str, steps: &[&str], body: &Value) -> Answer {
        match (method, steps) {
            ("POST", ["addresses"]) => self.create_address(body),
            ("POST", ["shipments"]) => self.create_shipment(body),
            ("GET", ["shipments", id]) => found(&self.shipments, id),
            ("POST", ["shipments", id, "buy"]) => self.buy(id, body),
            ("POST", ["shipments", id, "rerate"]) => self.rerate(id),
            ("GET", ["trackers", id]) => found(&self.trackers, id),
            _ => not_found(),
        }
    }

    /// Different for each draw, and the same in every run.
    fn draw(&mut self, prefix: &str) -> String {
        use std::fmt::Write as _;
        self.drawn += 1;
        let digest = domain::digest(&["easypost", &self.drawn.to_string()]);
        let mut id = format!("{prefix}_");
        for byte in &digest[..16] {
            write!(id, "{byte:02x}").expect("writing to a string cannot fail");
        }
        id
    }

    /// EasyPost accepts nearly any address, and reads a missing country as the United States.
    fn new_address(&mut self, given: &Value) -> Value {
        let mut address = json!({
            "id": self.draw("adr"), "object": "Address", "created_at": ADDRESS_NOW,
            "updated_at": ADDRESS_NOW, "mode": "test", "carrier_facility": null,
            "residential": null, "federal_tax_id": null, "state_tax_id": null,
            "verifications": {}
        });
        for field in [
            "name", "company", "street1", "street2", "city", "state", "zip", "country", "phone",
            "email",
        ] {
            address[field] = given[field].clone();
        }
        if address["country"].is_null() {
            address["country"] = "US".into();
        }
        address
    }

    fn create_address(&mut self, body: &Value) -> Answer {
        if !body["address"].is_object() {
            return lacks("address");
        }
        let mut address = self.new_address(&body["address"]);
        if body.get("verify").is_some() {
            let errors = self.faults(&address);
            let success = errors.is_empty();
            if success {
                normalise(&mut address);
            }
            address["verifications"] = verifications(&errors);
        }
        let id = address["id"].as_str().unwrap_or_default().to_owned();
        self.addresses.insert(id, address.clone());
        (201, address)
    }

    /// The errors that its check finds in an address.
    fn faults(&self, address: &Value) -> Vec<Value> {
        let street = address["street1"].as_str().unwrap_or_default();
        let fault = |code: &str, field: &str| {
            let message = format!("{street} is not good enough");
            json!({"code": code, "field": field, "message": message, "suggestion": null})
        };
        if self.trouble.verification_down {
            return vec![fault("E.SERVER.UNAVAILABLE", "address")];
        }
        let mut faults = Vec::new();
        let is_unknown = self
            .unknown_streets
            .iter()
            .any(|part| street.contains(part));
        // "City and state, or ZIP, are required."
        let lacks_town = is_blank(&address["city"]) || is_blank(&address["state"]);
        if is_unknown || is_blank(&address["zip"]) && lacks_town {
            faults.push(fault("E.ADDRESS.NOT_FOUND", "address"));
        }
        if !street.chars().any(|c| c.is_ascii_digit()) {
            faults.push(fault("E.HOUSE_NUMBER.MISSING", "street1"));
        }
        faults
    }

    fn rates(&mut self, shipment: &str, weight: f64) -> Vec<Value> {
        if self.trouble.unserved || weight > HEAVIEST {
            return Vec::new();
        }
        let offers = self.offers.clone();
        let rates = offers.iter().map(|offer| {
            json!({
                "id": self.draw("rate"), "object": "Rate", "created_at": NOW, "updated_at": NOW,
                "mode": "test", "service": offer.service, "carrier": offer.carrier,
                "rate": offer.price, "currency": offer.currency, "retail_rate": offer.price,
                "retail_currency": offer.currency, "list_rate": offer.price,
                "list_currency": offer.currency, "billing_type": "easypost", "delivery_days": 2,
                "delivery_date": null, "delivery_date_guaranteed": false, "est_delivery_days": 2,
                "shipment_id": shipment, "carrier_account_id": "ca_played"
            })
        });
        rates.collect()
    }

    fn address_of(&mut self, given: &Value) -> Option<Value> {
        match given["id"].as_str() {
            Some(id) => self.addresses.get(id).cloned(),
            None if given.is_object() => Some(self.new_address(given)),
            None => None,
        }
    }

    fn create_shipment(&mut self, body: &Value) -> Answer {
        let given = &body["shipment"];
        if given.as_object().is_none_or(serde_json::Map::is_empty) {
            return lacks("shipment");
        }
        let Some(to) = self.address_of(&given["to_address"]) else {
            return lacks("to_address");
        };
        let Some(from) = self.address_of(&given["from_address"]) else {
            return lacks("from_address");
        };
        let number = |field: &str| given["parcel"][field].as_f64();
        let sizes = (number("length"), number("width"), number("height"));
        let (Some(weight), (Some(length), Some(width), Some(height))) = (number("weight"), sizes)
        else {
            return lacks("parcel");
        };
        let id = self.draw("shp");
        let rates = if is_blank(&to["zip"]) {
            Vec::new()
        } else {
            self.rates(&id, weight)
        };
        let reason = json!({
            "carrier": "USPS", "carrier_account_id": "ca_played", "type": "rate_error",
            "message": format!("nothing goes to {}", to["street1"])
        });
        let messages = if rates.is_empty() {
            vec![reason]
        } else {
            Vec::new()
        };
        let parcel = json!({
            "id": self.draw("prcl"), "object": "Parcel", "created_at": NOW, "updated_at": NOW,
            "length": length, "width": width, "height": height, "weight": weight,
            "predefined_package": null, "mode": "test"
        });
        let reference = given["reference"].as_str().filter(|text| !text.is_empty());
        let shipment = json!({
            "id": id, "object": "Shipment", "created_at": NOW, "updated_at": NOW, "mode": "test",
            "status": "unknown", "is_return": false, "reference": reference,
            "options": {"currency": "USD", "payment": {"type": "SENDER"}, "date_advance": 0},
            "customs_info": given["customs_info"], "from_address": from, "return_address": from,
            "to_address": to, "buyer_address": to, "parcel": parcel, "rates": rates,
            "messages": messages, "fees": [], "forms": [], "usps_zone": 4,
            "tracking_code": null, "postage_label": null, "selected_rate": null, "tracker": null,
            "refund_status": null, "insurance": null, "scan_form": null, "batch_id": null,
            "batch_status": null, "batch_message": null, "order_id": null
        });
        if self.starts_stale {
            self.stale.insert(id.clone());
        }
        let called = reference.unwrap_or_default().to_owned();
        self.first.entry(called).or_insert_with(|| id.clone());
        self.shipments.insert(id, shipment.clone());
        (201, shipment)
    }

    fn buy(&mut self, id: &str, body: &Value) -> Answer {
        let Some(mut shipment) = self.shipments.get(id).cloned() else {
            return not_found();
        };
        if !shipment["postage_label"].is_null() {
            let message = "This shipment has its postage.";
            return error(422, "SHIPMENT.POSTAGE.EXISTS", message, &[]);
        }
        let rates = shipment["rates"].as_array().cloned().unwrap_or_default();
        let wanted = &body["rate"]["id"];
        let found = rates.into_iter().find(|rate| rate["id"] == *wanted);
        let Some(rate) = found else {
            return error(422, "SHIPMENT.MISSING_RATE", "There is no such rate.", &[]);
        };
        if self.stale.contains(id) {
            let message = "These rates are too old.";
            return error(422, "SHIPMENT.RATES.UNAVAILABLE", message, &[]);
        }
        if needs_customs(&shipment["to_address"]) && shipment["customs_info"].is_null() {
            let message = "Customs information is required.";
            return error(422, "SHIPMENT.CUSTOMS_INFO.REQUIRED", message, &[]);
        }
        let called = shipment["reference"].as_str().unwrap_or_default();
        let is_first = self.first.get(called).is_some_and(|first| first == id);
        if self.trouble.carrier_refuses || self.refuses_first && is_first {
            let message = format!("{} is not taken", shipment["to_address"]["street1"]);
            return error(422, "SHIPMENT.POSTAGE.FAILURE", &message, &[]);
        }
        let code = format!("940010020830310950{:04}", self.bought.len() + 1);
        let (label, tracker) = (self.draw("pl"), self.draw("trk"));
        let url = format!("https://files.easypost.example/postage_label/{label}.png");
        shipment["postage_label"] = json!({
            "object": "PostageLabel", "id": label, "created_at": NOW, "updated_at": NOW,
            "date_advance": 0, "integrated_form": "none", "label_date": NOW,
            "label_resolution": 300, "label_size": "4x6", "label_type": "default",
            "label_file_type": "image/png", "label_url": url, "label_pdf_url": null,
            "label_zpl_url": null, "label_epl2_url": null, "label_file": null
        });
        shipment["tracker"] = json!({
            "id": tracker, "object": "Tracker", "mode": "test", "tracking_code": code,
            "status": "unknown", "status_detail": "unknown", "created_at": NOW, "updated_at": NOW,
            "signed_by": null, "weight": null, "est_delivery_date": null, "shipment_id": id,
            "carrier": rate["carrier"], "tracking_details": [], "fees": [], "carrier_detail": null,
            "public_url": format!("https://track.easypost.example/{tracker}")
        });
        let postage = format!("{}000", rate["rate"].as_str().unwrap_or_default());
        let fee = |kind: &str, amount: &str| {
            json!({
                "object": "Fee", "type": kind, "amount": amount, "charged": true,
                "refunded": false
            })
        };
        shipment["fees"] = json!([fee("LabelFee", "0.00000"), fee("PostageFee", &postage)]);
        shipment["tracking_code"] = code.as_str().into();
        for address in ["to_address", "buyer_address"] {
            normalise(&mut shipment[address]);
            shipment[address]["verifications"] = verifications(&[]);
        }
        self.bought.push(BoughtLabel {
            shipment: id.to_owned(),
            reference: shipment["reference"].as_str().map(str::to_owned),
            service: rate["service"].as_str().unwrap_or_default().to_owned(),
            tracking_code: code,
        });
        shipment["selected_rate"] = rate;
        self.trackers.insert(tracker, shipment["tracker"].clone());
        self.shipments.insert(id.to_owned(), shipment.clone());
        (200, shipment)
    }

    fn rerate(&mut self, id: &str) -> Answer {
        let Some(mut shipment) = self.shipments.get(id).cloned() else {
            return not_found();
        };
        let weight = shipment["parcel"]["weight"].as_f64().unwrap_or_default();
        shipment["rates"] = self.rates(id, weight).into();
        self.stale.remove(id);
        self.shipments.insert(id.to_owned(), shipment.clone());
        (200, shipment)
    }
}

/// Military addresses and addresses in the territories (USPS).
fn needs_customs(address: &Value) -> bool {
    let state = address["state"].as_str().unwrap_or_default();
    ["AA", "AE", "AP", "AS", "GU", "MP", "VI"].contains(&state) || address["country"] != "US"
}

fn found(things: &BTreeMap<String, Value>, id: &str) -> Answer {
    match things.get(id) {
        Some(thing) => (200, thing.clone()),
        None => not_found(),
    }
}

fn verifications(errors: &[Value]) -> Value {
    let success = errors.is_empty();
    let details = if success {
        json!({"latitude": 40.7, "longitude": -73.9, "time_zone": "America/New_York"})
    } else {
        json!({})
    };
    json!({
        "zip4": {"success": success, "errors": errors, "details": null},
        "delivery": {"success": success, "errors": errors, "details": details}
    })
}

/// Normalizes an address as the post office does.
fn normalise(address: &mut Value) {
    for field in ["name", "street1", "street2", "city"] {
        let text = address[field].as_str().map(str::to_uppercase);
        if field == "street2" || text.is_some() {
            address[field] = text.unwrap_or_default().into();
        }
    }
    let zip = address["zip"].as_str().unwrap_or("11201");
    if zip.len() == 5 {
        address["zip"] = format!("{zip}-2506").into();
    }
    address["residential"] = false.into();
}
