//! The client's requests, and the double compared with recorded exchanges.

use platform::outbound::Secret;
use serde_json::{Value, json};
use shipment::carriers::Carrier;
use tests::partners::{DoubleRequest, EasyPostDouble, PartnerDouble};

use super::{ADDRESS, KEY, parcel, sides};
use crate::contract::text;

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

/// The types of the fields match exchanges recorded by EasyPost's own client library.
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
    // EasyPost normalizes the name, so it must not be compared with what was sent.
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

    // References are not unique: a repeat creates another shipment.
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
