//! EasyPost as the carrier: one label for each order, whatever is lost, and answers that can be
//! acted on.

use std::sync::Arc;
use std::time::Duration;

use domain::{OrderId, Text};
use futures_util::future::join;
use messages::queue::Queue;
use payment::partners::Sandbox;
use platform::config::Environment;
use platform::outbound::{Https, Secret};
use serde_json::{Value, json};
use shipment::carriers::{
    Carrier, CarrierError, EasyPost, EasyPostSettings, Label, Opened, Parcel,
};
use tests::partners::{
    DoubleReply, DoubleRequest, EasyPostDouble, EasyPostTrouble, Front, Gate, Mishap, Offer,
    PartnerDouble,
};
use tests::{Cloud, Options, Reply};

use crate::contract::{cart_with_checkout, shipping, text};

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

/// The client, what is between, and the other side.
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
    /// The calls that were sent, without the ids in their paths.
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

// ---------------------------------------------------------------- on the wire

#[tokio::test]
async fn what_is_sent_is_the_parcel_and_nothing_else() {
    let sides = sides();
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.carrier.buy(&reference).await.unwrap();
    let seen = sides.front.seen();
    for request in &seen {
        // The key and an empty password.
        assert_eq!(
            request.header("authorization"),
            Some("Basic RVpUS3BsYXllZDo=")
        );
    }
    let body = |index: usize| -> Value {
        assert_eq!(seen[index].header("content-type"), Some("application/json"));
        serde_json::from_slice(&seen[index].body).unwrap()
    };
    assert_eq!(
        sides.calls(),
        [
            "POST /v2/addresses",
            "POST /v2/shipments",
            "GET /v2/shipments/{id}",
            "POST /v2/shipments/{id}/buy"
        ]
    );
    assert_eq!(
        body(0),
        json!({
            "address": {
                "name": "Lital Hay", "phone": "0545870006", "street1": "17 Boulevard",
                "street2": "123 apt 6", "city": "Brooklyn", "state": "NY", "zip": "11201",
                "country": "US"
            },
            "verify": true
        })
    );
    let shipment = sides.double.shipment(&reference).unwrap();
    assert_eq!(
        body(1),
        json!({"shipment": {
            "to_address": {"id": shipment["to_address"]["id"]},
            "from_address": {
                "company": "Shop", "street1": "388 Townsend St", "city": "San Francisco",
                "state": "CA", "zip": "94107", "country": "US", "phone": "4155550100"
            },
            "parcel": {"length": 10, "width": 8, "height": 4,
                "weight": serde_json::from_str::<Value>("15.4").unwrap()},
            "reference": parcel(ADDRESS).order.to_string()
        }})
    );
    assert_eq!(
        body(3),
        json!({"rate": {"id": shipment["selected_rate"]["id"]}})
    );
}

/// `name:type` of each field of an object, sorted.
fn shape(value: &Value) -> String {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fields = value.as_object().unwrap();
    let mut fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}:{}", kind(value)))
        .collect();
    fields.sort();
    fields.join(" ")
}

/// The types of the fields are those of exchanges that EasyPost's own client library has recorded.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one conversation, in the order in which it is led"
)]
fn the_double_answers_in_the_shapes_that_easypost_was_recorded_with() {
    let double = EasyPostDouble::new(KEY);
    let ask = |method: &str, path: &str, body: Value| {
        let authorization = Secret::basic_authorization(KEY, &Secret::new(""));
        let reply = double.handle(&DoubleRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: [(
                "authorization".to_owned(),
                authorization.expose().to_owned(),
            )]
            .into(),
            body: body.to_string().into_bytes(),
        });
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status, body)
    };
    let home = json!({
        "name": "Ann Other", "street1": "1 Main St", "city": "Troy", "state": "NY",
        "zip": "12180", "country": "US", "phone": "5185550100", "email": "ann@example.com"
    });
    let parcel = json!({"length": 1, "width": 2, "height": 3, "weight": 4});
    let wish = json!({"shipment": {
        "to_address": home, "from_address": home, "parcel": parcel, "reference": "a"
    }});

    let (status, made) = ask("POST", "/v2/shipments", wish.clone());
    let before = "batch_id:null batch_message:null batch_status:null buyer_address:object \
        created_at:string customs_info:null fees:array forms:array from_address:object id:string \
        insurance:null is_return:bool messages:array mode:string object:string options:object \
        order_id:null parcel:object postage_label:null rates:array reference:string \
        refund_status:null return_address:object scan_form:null selected_rate:null status:string \
        to_address:object tracker:null tracking_code:null updated_at:string usps_zone:number";
    assert_eq!((status, shape(&made).as_str()), (201, before));
    let address = "carrier_facility:null city:string company:null country:string \
        created_at:string email:string federal_tax_id:null id:string mode:string name:string \
        object:string phone:string residential:null state:string state_tax_id:null street1:string \
        street2:null updated_at:string verifications:object zip:string";
    assert_eq!(shape(&made["to_address"]), address);
    let rate = "billing_type:string carrier:string carrier_account_id:string created_at:string \
        currency:string delivery_date:null delivery_date_guaranteed:bool delivery_days:number \
        est_delivery_days:number id:string list_currency:string list_rate:string mode:string \
        object:string rate:string retail_currency:string retail_rate:string service:string \
        shipment_id:string updated_at:string";
    assert_eq!(shape(&made["rates"][0]), rate);
    let kept = "created_at:string height:number id:string length:number mode:string \
        object:string predefined_package:null updated_at:string weight:number width:number";
    assert_eq!(shape(&made["parcel"]), kept);

    let path = format!("/v2/shipments/{}", text(&made["id"]));
    let choice = json!({"rate": {"id": made["rates"][0]["id"]}});
    let (status, bought) = ask("POST", &format!("{path}/buy"), choice.clone());
    let after = before
        .replace("postage_label:null", "postage_label:object")
        .replace("selected_rate:null", "selected_rate:object")
        .replace("tracker:null", "tracker:object")
        .replace("tracking_code:null", "tracking_code:string");
    assert_eq!((status, shape(&bought)), (200, after));
    assert_eq!(shape(&bought["selected_rate"]), rate);
    let label = "created_at:string date_advance:number id:string integrated_form:string \
        label_date:string label_epl2_url:null label_file:null label_file_type:string \
        label_pdf_url:null label_resolution:number label_size:string label_type:string \
        label_url:string label_zpl_url:null object:string updated_at:string";
    assert_eq!(shape(&bought["postage_label"]), label);
    let tracker = "carrier:string carrier_detail:null created_at:string est_delivery_date:null \
        fees:array id:string mode:string object:string public_url:string shipment_id:string \
        signed_by:null status:string status_detail:string tracking_code:string \
        tracking_details:array updated_at:string weight:null";
    assert_eq!(shape(&bought["tracker"]), tracker);
    let fee = "amount:string charged:bool object:string refunded:bool type:string";
    assert_eq!(shape(&bought["fees"][1]), fee);
    assert_eq!(bought["fees"][1]["amount"], "34.15000");
    // It is normalised, so that it must not be compared with what was sent.
    assert_eq!(bought["to_address"]["name"], "ANN OTHER");
    assert_eq!(bought["to_address"]["zip"], "12180-2506");

    assert_eq!(ask("GET", &path, Value::Null), (200, bought.clone()));
    let tracker = format!("/v2/trackers/{}", text(&bought["tracker"]["id"]));
    assert_eq!(
        ask("GET", &tracker, Value::Null),
        (200, bought["tracker"].clone())
    );
    let (_, again) = ask("POST", &format!("{path}/buy"), choice);
    assert_eq!(again["error"]["code"], "SHIPMENT.POSTAGE.EXISTS");
    assert_eq!(double.bought().len(), 1);

    // A reference is not unique, and a repeat makes another shipment.
    let (status, other) = ask("POST", "/v2/shipments", wish);
    assert!(status == 201 && other["id"] != made["id"] && other["reference"] == "a");

    let (status, blank) = ask("POST", "/v2/shipments", json!({"shipment": {}}));
    assert_eq!(
        (status, &blank["error"]["code"]),
        (422, &json!("PARAMETER.REQUIRED"))
    );
    assert_eq!(
        blank["error"]["errors"],
        json!([{"field": "shipment", "message": "cannot be blank"}])
    );
    let (status, unchecked) = ask(
        "POST",
        "/v2/addresses",
        json!({"address": {"street1": "x"}}),
    );
    assert_eq!(
        (status, &unchecked["country"], &unchecked["verifications"]),
        (201, &json!("US"), &json!({}))
    );
    let nowhere = json!({"address": {"street1": "x"}, "verify": true});
    let (status, checked) = ask("POST", "/v2/addresses", nowhere);
    let verification = &checked["verifications"]["delivery"];
    assert_eq!((status, &verification["success"]), (201, &json!(false)));
    assert_eq!(verification["errors"][0]["code"], "E.ADDRESS.NOT_FOUND");
    assert_eq!(ask("GET", "/v2/shipments/shp_0", Value::Null).0, 404);
}

// ---------------------------------------------------------------- the carrier by itself

#[tokio::test]
async fn a_label_is_bought_once_and_given_again() {
    let sides = sides();
    let reference = sides.open(ADDRESS).await.unwrap();
    assert!(matches!(sides.carrier.look_up(&reference).await, Ok(None)));
    assert_first_label(sides.carrier.buy(&reference).await);
    assert_first_label(sides.carrier.buy(&reference).await);
    let found = sides.carrier.look_up(&reference).await.unwrap();
    assert_first_label(Ok(found.unwrap()));
    assert_eq!(sides.double.bought().len(), 1);
}

#[tokio::test]
async fn the_cheapest_rate_is_bought_or_the_one_that_the_shop_wants() {
    for (service, bought) in [
        (None, "GroundAdvantage"),
        (Some("usps/priority"), "Priority"),
    ] {
        let sides = sides_with(service);
        let reference = sides.open(ADDRESS).await.unwrap();
        sides.carrier.buy(&reference).await.unwrap();
        assert_eq!(sides.double.bought()[0].service, bought);
    }
    // A rate in another currency is no bargain.
    let sides = sides();
    let offer = |service, price, currency| Offer {
        carrier: "USPS",
        service,
        price,
        currency,
    };
    sides.double.offer([
        offer("Abroad", "1.00", "CAD"),
        offer("Slow", "10.05", "USD"),
        offer("Quick", "9.95", "USD"),
    ]);
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.carrier.buy(&reference).await.unwrap();
    assert_eq!(sides.double.bought()[0].service, "Quick");
}

#[tokio::test]
async fn rates_that_are_gone_are_asked_for_again() {
    let sides = sides();
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.double.let_rates_expire();
    assert_first_label(sides.carrier.buy(&reference).await);
    assert_eq!(
        sides.calls()[2..],
        [
            "GET /v2/shipments/{id}",
            "POST /v2/shipments/{id}/buy",
            "POST /v2/shipments/{id}/rerate",
            "POST /v2/shipments/{id}/buy"
        ]
    );
    assert_eq!(sides.double.bought().len(), 1);
}

/// Answers that say nothing, all with a status that promises something.
fn nonsense(reference: &str) -> Vec<DoubleReply> {
    let half = json!({
        "id": reference, "rates": [], "messages": [], "tracking_code": "9400",
        "postage_label": null
    });
    let other = json!({
        "id": "shp_0", "rates": [], "messages": [], "tracking_code": "9400",
        "postage_label": {"label_url": "https://files.example/1.png"},
        "verifications": {"delivery": {"success": "yes"}}
    });
    let bodies = [
        String::new(),
        "<html>busy</html>".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        format!("{{\"id\":\"{reference}\""),
        half.to_string(),
        other.to_string(),
        " ".repeat(2 * 1024 * 1024),
    ];
    let replies = bodies.map(|body| DoubleReply::new(200, body));
    replies.into_iter().collect()
}

#[tokio::test]
async fn a_purchase_with_a_senseless_answer_is_unanswered_and_its_label_is_found() {
    for index in 0..nonsense("").len() {
        let sides = sides();
        let reference = sides.open(ADDRESS).await.unwrap();
        let reply = nonsense(&reference).swap_remove(index);
        sides
            .front
            .plan("POST", "/buy", Mishap::Garbled(reply.clone()));
        let first = sides.carrier.buy(&reference).await;
        assert_eq!(outcome(&first), "unanswered", "{index}");
        // As little is made of it where it is looked up.
        sides
            .front
            .plan("GET", "/shipments", Mishap::Instead(reply));
        let found = sides.carrier.look_up(&reference).await;
        assert_eq!(outcome(&found), "unavailable", "{index}");
        assert_first_label(sides.carrier.buy(&reference).await);
        assert_eq!(sides.double.bought().len(), 1);
    }
}

#[tokio::test]
async fn opening_with_a_senseless_answer_is_tried_again_and_buys_nothing() {
    for path in ["/addresses", "/shipments"] {
        for (index, reply) in nonsense("shp_1").into_iter().enumerate() {
            let sides = sides();
            sides.front.plan("POST", path, Mishap::Garbled(reply));
            let result = sides.open(ADDRESS).await;
            assert_eq!(outcome(&result), "unavailable", "{path} {index}");
            assert!(sides.open(ADDRESS).await.is_ok());
            assert!(sides.double.bought().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_takes_longer_than_eight_seconds() {
    let sides = sides();
    let limit = Duration::from_secs(8);
    for path in ["/addresses", "/shipments"] {
        sides.front.plan("POST", path, Mishap::Dripped);
        let start = tokio::time::Instant::now();
        assert_eq!(outcome(&sides.open(ADDRESS).await), "unavailable");
        assert_eq!(start.elapsed().as_secs(), limit.as_secs(), "{path}");
    }
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.front.plan("POST", "/buy", Mishap::Dripped);
    let start = tokio::time::Instant::now();
    let result = sides.carrier.buy(&reference).await;
    assert_eq!(outcome(&result), "unanswered");
    assert_eq!(start.elapsed().as_secs(), limit.as_secs());
    assert_first_label(sides.carrier.buy(&reference).await);
    assert_eq!(sides.double.bought().len(), 1);
}

#[tokio::test]
async fn over_a_socket_a_label_is_found_after_its_answer_broke_off() {
    let double = EasyPostDouble::new(KEY);
    let front = Front::new(Arc::new(double.clone()));
    let https = Https::new(front.serve());
    let carrier = EasyPost::new(https, &Secret::new(KEY), settings(None));
    let Opened::Registered(reference) = carrier.open(&parcel(ADDRESS)).await.unwrap() else {
        panic!("nothing is bought yet")
    };
    front.plan("POST", "/buy", Mishap::BrokenOff);
    assert_eq!(outcome(&carrier.buy(&reference).await), "unanswered");
    front.plan("GET", "/shipments", Mishap::AnswerLost);
    assert_eq!(outcome(&carrier.look_up(&reference).await), "unavailable");
    let found = carrier.look_up(&reference).await.unwrap();
    assert_first_label(Ok(found.unwrap()));
    assert_eq!(double.bought().len(), 1);
}

#[tokio::test]
async fn what_easypost_refuses_for_now_is_unavailable_and_nothing_is_bought() {
    let sides = sides();
    let reference = sides.open(ADDRESS).await.unwrap();
    for (status, expected) in [
        (401, "not configured"),
        (402, "unavailable"),
        (403, "unavailable"),
        (404, "unavailable"),
        (429, "unavailable"),
    ] {
        let refusal = || Mishap::Instead(DoubleReply::new(status, "{\"error\":{}}"));
        for (method, path) in [("GET", "/shipments/"), ("POST", "/buy")] {
            sides.front.plan(method, path, refusal());
            let result = sides.carrier.buy(&reference).await;
            assert_eq!(outcome(&result), expected, "{status} {path}");
        }
        sides.front.plan("GET", "/shipments/", refusal());
        let result = sides.carrier.look_up(&reference).await;
        assert_eq!(outcome(&result), expected, "never `not bought`: {status}");
        for path in ["/addresses", "/shipments"] {
            sides.front.plan("POST", path, refusal());
            let result = sides.open(ADDRESS).await;
            assert_eq!(outcome(&result), expected, "{status} {path}");
        }
    }
    assert!(sides.double.bought().is_empty());
    assert_first_label(sides.carrier.buy(&reference).await);
}

#[tokio::test]
async fn a_reference_of_another_carrier_is_not_asked_for() {
    let sides = sides();
    for reference in ["parcel_1", "shp_1/../../addresses", ""] {
        assert_eq!(outcome(&sides.carrier.buy(reference).await), "unavailable");
        assert_eq!(
            outcome(&sides.carrier.look_up(reference).await),
            "unavailable"
        );
    }
    assert!(sides.front.seen().is_empty());
}

#[tokio::test]
async fn no_error_quotes_the_customer_though_easyposts_own_messages_do() {
    let sides = sides();
    let mut errors = vec![
        sides
            .open("17 boulevard, 123 apt 6 Brooklyn NY")
            .await
            .unwrap_err(),
    ];
    for trouble in [
        EasyPostTrouble {
            unserved: true,
            ..EasyPostTrouble::default()
        },
        EasyPostTrouble {
            verification_down: true,
            ..EasyPostTrouble::default()
        },
    ] {
        sides.double.set_trouble(trouble);
        errors.push(sides.open(ADDRESS).await.unwrap_err());
    }
    sides.double.set_trouble(EasyPostTrouble::default());
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.double.set_trouble(EasyPostTrouble {
        carrier_refuses: true,
        ..EasyPostTrouble::default()
    });
    errors.push(sides.carrier.buy(&reference).await.unwrap_err());
    sides.double.set_trouble(EasyPostTrouble::default());
    sides.double.forget_street("Boulevard");
    errors.push(sides.open(ADDRESS).await.unwrap_err());
    for error in errors {
        let shown = format!("{error:?} {error}");
        // The example that every field error may show is ours.
        let shown = shown
            .replace("`17 Boulevard, Apt 6, Brooklyn, NY 11201`", "")
            .to_lowercase();
        for private in ["boulevard", "brooklyn", "lital", "0545870006", "11201", KEY] {
            assert!(
                !shown.contains(&private.to_lowercase()),
                "{private} in {shown}"
            );
        }
    }
}

// ---------------------------------------------------------------- the whole service

pub(crate) struct Shop {
    pub(crate) cloud: Cloud<Sandbox, EasyPost>,
    pub(crate) sides: Sides,
    pub(crate) order: String,
}

/// A paid order of a customer at this address, whose message to the shipment queue is at hand.
pub(crate) async fn paid(address: &str) -> Shop {
    let sides = sides();
    let cloud = Cloud::with_ends(Options::default(), Sandbox::new, sides.carrier.clone()).await;
    let mut cart = cart_with_checkout();
    cart["checkout"]["shipping_address"] = address.into();
    let reply = cloud.post(CART, &cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let order = text(&reply.body["orderId"]).to_owned();
    let until_paid = [Queue::Billing, Queue::Payment];
    cloud.settle_through(&until_paid).await;
    assert_eq!(cloud.get(&order).await.body["status"], "paid");
    Shop {
        cloud,
        sides,
        order,
    }
}

impl Shop {
    async fn ship_to(&self, address: &str) -> Reply {
        let mut body = shipping(&self.order);
        body["shipping_address"] = address.into();
        self.cloud.post(SHIPPING, &body).await
    }

    pub(crate) async fn ship(&self) -> Reply {
        self.ship_to(ADDRESS).await
    }

    pub(crate) async fn reference(&self) -> String {
        let id = OrderId::parse(&self.order).unwrap();
        let order = self.cloud.store.order(&id).await.unwrap().unwrap();
        order.parcel.unwrap().reference
    }

    /// The answer, GET and the mail all show the one label that was bought.
    async fn assert_shipped_once(&self, reply: &Reply) {
        assert_eq!(reply.status, 201, "{}", reply.text);
        let expected = format!("{{\"tracking_number\":\"{FIRST_CODE}\"}}");
        assert_eq!(reply.text, expected);
        self.cloud.settle().await;
        let shown = self.cloud.get(&self.order).await.body;
        assert_eq!(shown["status"], "shipped");
        assert_eq!(shown["tracking_number"], FIRST_CODE);
        let bought = self.sides.double.bought();
        assert_eq!(bought.len(), 1, "{bought:?}");
        assert_eq!(bought[0].reference.as_deref(), Some(self.order.as_str()));
        assert_eq!(bought[0].tracking_code, FIRST_CODE);
        let mails = self.cloud.mailer.taken();
        let mails = mails
            .iter()
            .filter(|sent| sent.mail.text.contains(FIRST_CODE));
        assert_eq!(mails.count(), 1);
    }
}

#[tokio::test]
async fn the_seeds_shipping_call_gives_easyposts_tracking_code_in_answer_order_and_mail() {
    let shop = paid(ADDRESS).await;
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
    // A repeat gets the same and asks nobody.
    let calls = shop.sides.calls().len();
    assert_eq!(shop.ship().await.text, reply.text);
    assert_eq!(shop.sides.calls().len(), calls);
}

#[tokio::test]
async fn an_order_goes_through_easypost_by_itself() {
    let shop = paid(ADDRESS).await;
    shop.cloud.settle().await;
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn an_answer_lost_on_the_way_back_buys_no_second_label() {
    for (method, path, registered) in [
        ("POST", "/addresses", 1),
        ("POST", "/shipments", 2),
        ("GET", "/shipments/", 1),
        ("POST", "/buy", 1),
    ] {
        let shop = paid(ADDRESS).await;
        shop.sides.front.plan(method, path, Mishap::AnswerLost);
        let reply = shop.ship().await;
        assert_eq!(
            (reply.status, reply.code()),
            (503, "carrier_unavailable"),
            "{path}"
        );
        assert!(!reply.header("retry-after").is_empty());
        let reply = shop.ship().await;
        shop.assert_shipped_once(&reply).await;
        assert_eq!(shop.sides.double.registered(), registered, "{path}");
    }
}

#[tokio::test]
async fn two_workers_that_ship_at_once_buy_one_label() {
    for (method, path) in [
        ("POST", "/addresses"),
        ("POST", "/shipments"),
        ("GET", "/shipments/"),
        ("POST", "/buy"),
    ] {
        let shop = paid(ADDRESS).await;
        let gate = Gate::default();
        shop.sides
            .front
            .plan(method, path, Mishap::Held(gate.clone()));
        let late = shop.ship();
        let quick = async {
            gate.arrived().await;
            let reply = shop.ship().await;
            gate.open();
            reply
        };
        let (late, quick) = join(late, quick).await;
        assert_eq!((late.status, &late.text), (201, &quick.text), "{path}");
        shop.assert_shipped_once(&late).await;
    }
}

#[tokio::test]
async fn a_label_bought_by_a_function_that_died_before_it_wrote_it_down_is_found() {
    let shop = paid(ADDRESS).await;
    shop.sides.front.plan("POST", "/buy", Mishap::RequestLost);
    assert_eq!(shop.ship().await.status, 503);
    // The reference is stored. Another function buys, and dies.
    let reference = shop.reference().await;
    shop.sides.carrier.buy(&reference).await.unwrap();
    assert_eq!(shop.cloud.get(&shop.order).await.body["status"], "paid");
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn an_address_that_is_refused_keeps_the_order_overdue_until_a_better_one_is_sent() {
    let example = "17 boulevard, 123 apt 6 Brooklyn NY";
    let shop = paid(example).await;
    let cloud = &shop.cloud;
    cloud.relay_stream().await;
    let messages = cloud.queues.take();
    let (queue, message) = messages
        .iter()
        .find(|(queue, _)| *queue == Queue::Shipment)
        .unwrap();
    // Every delivery is kept: the last one goes to the dead letters.
    for _ in 0..5 {
        assert!(!cloud.deliver(*queue, message).await);
    }
    let reply = shop.ship_to(example).await;
    assert_eq!((reply.status, reply.code()), (422, "invalid_fields"));
    assert_eq!(reply.pointers(), ["/shipping_address"]);
    let detail = text(&reply.body["errors"][0]["detail"]);
    assert!(
        detail.contains("a ZIP code") && detail.contains("a city"),
        "{detail}"
    );
    assert!(shop.sides.front.seen().is_empty(), "nobody was asked");

    let mut overdue = Vec::new();
    for _ in 0..3 {
        cloud.pass(Duration::from_secs(3_700));
        overdue.push(cloud.sweep().await.overdue);
        for (queue, message) in cloud.queues.take() {
            let is_done = cloud.deliver(queue, &message).await;
            assert_eq!(is_done, queue == Queue::Email, "{queue:?}");
        }
    }
    assert_eq!(overdue, [0, 0, 1]);
    let shown = cloud.get(&shop.order).await.body;
    assert_eq!(
        (&shown["status"], &shown["due"]["step"]),
        (&json!("paid"), &json!("shipping"))
    );

    let reply = shop.ship().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    // What is left in the queue finds it done.
    assert!(cloud.deliver(*queue, message).await);
    assert_eq!(shop.sides.double.bought().len(), 1);
    let id = OrderId::parse(&shop.order).unwrap();
    let order = cloud.store.order(&id).await.unwrap().unwrap();
    assert_eq!(order.shipment.unwrap().shipping_address.as_str(), ADDRESS);
}

#[tokio::test]
async fn an_address_that_easypost_does_not_find_is_a_field_error_with_its_codes() {
    let shop = paid(ADDRESS).await;
    shop.sides.double.forget_street("Nowhere");
    for (address, codes) in [
        (
            "1 Nowhere Rd, Brooklyn, NY 11201",
            vec!["address (E.ADDRESS.NOT_FOUND)"],
        ),
        (
            "Boulevard, Brooklyn, NY 11201",
            vec!["street1 (E.HOUSE_NUMBER.MISSING)"],
        ),
        (
            "Nowhere Rd, Brooklyn, NY 11201",
            vec![
                "address (E.ADDRESS.NOT_FOUND)",
                "street1 (E.HOUSE_NUMBER.MISSING)",
            ],
        ),
    ] {
        let reply = shop.ship_to(address).await;
        assert_eq!(
            (reply.status, reply.pointers()),
            (422, vec!["/shipping_address"])
        );
        let detail = text(&reply.body["errors"][0]["detail"]);
        for code in codes {
            assert!(detail.contains(code), "{detail}");
        }
        assert!(
            !detail.contains("good enough"),
            "EasyPost's own sentence: {detail}"
        );
    }
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn where_no_carrier_goes_the_address_is_refused_and_nothing_is_settled() {
    let shop = paid(ADDRESS).await;
    shop.sides.double.set_trouble(EasyPostTrouble {
        unserved: true,
        ..EasyPostTrouble::default()
    });
    let reply = shop.ship_to("1 Main St, Agana, GU 96910").await;
    assert_eq!(
        (reply.status, reply.pointers()),
        (422, vec!["/shipping_address"])
    );
    shop.sides.double.set_trouble(EasyPostTrouble {
        verification_down: true,
        ..EasyPostTrouble::default()
    });
    let reply = shop.ship().await;
    assert_eq!((reply.status, reply.code()), (503, "carrier_unavailable"));
    shop.sides.double.set_trouble(EasyPostTrouble::default());
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn a_parcel_that_the_carrier_refuses_at_the_counter_ships_once_it_was_bought_by_hand() {
    let shop = paid(ADDRESS).await;
    shop.sides.double.set_trouble(EasyPostTrouble {
        carrier_refuses: true,
        ..EasyPostTrouble::default()
    });
    for _ in 0..2 {
        let reply = shop.ship().await;
        assert_eq!(
            (reply.status, reply.pointers()),
            (422, vec!["/shipping_address"])
        );
    }
    assert!(shop.sides.double.bought().is_empty());
    shop.sides.double.buy_by_hand(&shop.reference().await);
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

/// A parcel that another carrier has, while `Carrier` changes.
mod two_carriers {
    use domain::{OpenParcel, Text};
    use service::http::{Call, Caller, Route};
    use service::lambda::Function;
    use shipment::Shipments;
    use shipment::carriers::Own;
    use store::Shipping;

    use super::*;

    fn own(shop: &Shop) -> Shipments<Own, tests::PlayedQueues> {
        let queues = shop.cloud.queues.clone();
        Shipments::new(
            shop.cloud.store.clone(),
            Own,
            queues,
            shop.cloud.runtime.clone(),
        )
    }

    async fn stored(shop: &Shop) -> domain::Order {
        let id = OrderId::parse(&shop.order).unwrap();
        shop.cloud.store.order(&id).await.unwrap().unwrap()
    }

    fn parcel(carrier: &str) -> OpenParcel {
        let text = |text| Text::parse(text).unwrap();
        OpenParcel {
            reference: "shp_other".to_owned(),
            carrier: carrier.to_owned(),
            name: text("Lital Hay"),
            phone: text("0545870006"),
            shipping_address: text("17 boulevard"),
        }
    }

    #[tokio::test]
    async fn a_carrier_ships_no_parcel_of_another_carriers() {
        // Registered at EasyPost, and the own carrier comes along: by request and by message.
        let shop = paid(ADDRESS).await;
        let order = stored(&shop).await;
        let opened = shop
            .cloud
            .store
            .open_parcel(&order.id, &parcel("easypost"))
            .await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        let call = Call::new(
            Route::Shipping,
            Caller::backend("x"),
            None,
            Some(shipping(&shop.order)),
        );
        let error = own(&shop).answer(call).await.unwrap_err();
        assert_eq!(error.code(), "carrier_unavailable");
        shop.cloud.relay_stream().await;
        let (_, message) = shop.cloud.queues.take().pop().unwrap();
        let error = Box::pin(own(&shop).consume(message)).await.unwrap_err();
        assert_eq!(error.code(), "carrier_unavailable");
        assert_eq!(stored(&shop).await.status.as_str(), "paid");

        // Another carrier's, and EasyPost's client comes along: it asks nothing.
        let shop = paid(ADDRESS).await;
        let order = stored(&shop).await;
        let opened = shop
            .cloud
            .store
            .open_parcel(&order.id, &parcel("acme"))
            .await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        let calls = shop.sides.calls().len();
        let reply = shop.ship().await;
        assert_eq!((reply.status, reply.code()), (503, "carrier_unavailable"));
        assert_eq!(shop.sides.calls().len(), calls, "it was asked");
        assert!(shop.sides.double.bought().is_empty());
    }

    /// The own carrier, beside which EasyPost's worker registers its parcel.
    struct Beside(store::Store);

    impl shipment::carriers::Carrier for Beside {
        fn name(&self) -> &'static str {
            Own.name()
        }

        async fn open(&self, own: &Parcel) -> Result<Opened, CarrierError> {
            let opened = self.0.open_parcel(&own.order, &parcel("easypost")).await;
            assert!(matches!(opened.unwrap(), Shipping::Open(_)));
            Own.open(own).await
        }

        async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
            panic!("{reference} is another carrier's")
        }

        async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
            panic!("{reference} is another carrier's")
        }

        async fn track(
            &self,
            reference: &messages::PartnerReference,
        ) -> Result<Option<shipment::carriers::Tracked>, CarrierError> {
            Own.track(reference).await
        }
    }

    #[tokio::test]
    async fn a_parcel_that_another_carrier_registers_meanwhile_is_left_to_it() {
        let shop = paid(ADDRESS).await;
        shop.cloud.relay_stream().await;
        let (_, message) = shop.cloud.queues.take().pop().unwrap();
        let store = shop.cloud.store.clone();
        let (queues, runtime) = (shop.cloud.queues.clone(), shop.cloud.runtime.clone());
        let beside = Shipments::new(store.clone(), Beside(store), queues, runtime);
        let error = Box::pin(beside.consume(message)).await.unwrap_err();
        assert_eq!(error.code(), "carrier_unavailable");
        let order = stored(&shop).await;
        assert_eq!((order.status.as_str(), order.shipment), ("paid", None));
    }

    #[tokio::test]
    async fn the_first_parcel_that_is_registered_stays() {
        let shop = paid(ADDRESS).await;
        let (store, order) = (&shop.cloud.store, stored(&shop).await);
        let first = parcel("easypost");
        // As registered by a worker that read the order before the first parcel was stored.
        let second = OpenParcel {
            reference: "shp_second".to_owned(),
            ..parcel("easypost")
        };
        for registered in [&first, &second] {
            let opened = store.open_parcel(&order.id, registered).await.unwrap();
            let Shipping::Open(order) = opened else {
                panic!("{opened:?}")
            };
            assert_eq!(order.parcel.as_ref(), Some(&first));
        }
        assert_eq!(stored(&shop).await.parcel, Some(first));
    }

    #[tokio::test]
    async fn a_label_is_written_only_for_the_parcel_that_it_was_bought_for() {
        let shop = paid(ADDRESS).await;
        let before = stored(&shop).await;
        let shipment = domain::Shipment {
            tracking_number: 5.into(),
            label_url: None,
            carrier: "own".to_owned(),
            name: parcel("x").name,
            phone: parcel("x").phone,
            shipping_address: parcel("x").shipping_address,
        };
        let (store, now) = (&shop.cloud.store, shop.cloud.runtime.now());
        let opened = store.open_parcel(&before.id, &parcel("easypost")).await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        // As the order was read: without a parcel, with another reference, at another carrier.
        let mut other = stored(&shop).await;
        other.parcel = Some(OpenParcel {
            reference: "shp_second".to_owned(),
            ..parcel("easypost")
        });
        let mut elsewhere = stored(&shop).await;
        elsewhere.parcel = Some(parcel("acme"));
        for stale in [before, other, elsewhere] {
            let shipped = store.ship(&stale, &shipment, now).await.unwrap();
            let Shipping::Open(standing) = shipped else {
                panic!("{shipped:?}")
            };
            assert_eq!(standing.parcel, Some(parcel("easypost")));
        }
        let order = stored(&shop).await;
        let shipped = store.ship(&order, &shipment, now).await.unwrap();
        assert!(matches!(shipped, Shipping::Shipped(_)));
    }
}
