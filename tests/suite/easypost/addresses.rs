//! Addresses are checked before any payment: cart and invoice refuse what EasyPost cannot use.

use payment::partners::Sandbox;
use serde_json::{Value, json};
use shipment::carriers::{EasyPost, Own};
use tests::{Cloud, Options};

use super::service::{paid, paid_under_own};
use super::{ADDRESS, CART, sides};
use crate::contract::{cart, cart_with_checkout, invoice, text};

const INVOICE: &str = "/api/order/invoice.json";
const README: &str = "17 boulevard, 123 apt 6 Brooklyn NY";

async fn with_easypost() -> Cloud<Sandbox, EasyPost> {
    Cloud::with_ends(Options::default(), Sandbox::new, sides().carrier).await
}

fn checkout(field: &str, value: &str) -> Value {
    let mut cart = cart_with_checkout();
    cart["checkout"]["shipping_address"] = ADDRESS.into();
    cart["checkout"][field] = value.into();
    cart
}

#[tokio::test]
async fn a_cart_refuses_whom_easypost_cannot_deliver_to_and_says_what_to_write() {
    let cloud = with_easypost().await;
    for (field, value, says) in [
        ("shipping_address", "17 Boulevard, Brooklyn", "a ZIP code"),
        ("shipping_address", "17 Boulevard, NY 11201", "a city"),
        ("shipping_address", "Brooklyn, NY 11201", "a street"),
        ("shipping_address", "somewhere", "a state"),
        (
            "shipping_address",
            "10 Downing Street, London SW1A 2AA",
            "(GB)",
        ),
        (
            "shipping_address",
            "Hauptstr. 5, 10117 Berlin, Germany",
            "(DE)",
        ),
        (
            "shipping_address",
            "350 Sparks St, Ottawa, ON K1R 7S8",
            "(CA)",
        ),
        ("name", "ליטל", "Latin letters"),
        ("phone", "none", "7–15 digits"),
    ] {
        let reply = cloud.post(CART, &checkout(field, value)).await;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "invalid_fields"),
            "{value}"
        );
        assert_eq!(reply.pointers(), [format!("/checkout/{field}")], "{value}");
        let detail = text(&reply.body["errors"][0]["detail"]);
        assert!(detail.contains(says), "{value}: {detail}");
    }
    // An update of a cart is checked in the same way.
    let reply = cloud.post(CART, &cart()).await;
    let mut update = checkout("shipping_address", "somewhere");
    update["orderId"] = reply.body["orderId"].clone();
    let reply = cloud.post(CART, &update).await;
    assert_eq!(reply.pointers(), ["/checkout/shipping_address"]);
    // Nothing was placed, and the key of a refused request can be used for a better one.
    let bad = checkout("shipping_address", "somewhere");
    assert_eq!(cloud.post_with_key(CART, "k", &bad).await.status, 422);
    let good = checkout("shipping_address", README);
    assert_eq!(cloud.post_with_key(CART, "k", &good).await.status, 201);
}

#[tokio::test]
async fn an_invoice_refuses_whom_easypost_cannot_deliver_to() {
    let cloud = with_easypost().await;
    let order = cloud.post(CART, &cart()).await;
    let order = text(&order.body["orderId"]).to_owned();
    let mut body = invoice(&order);
    for (field, value) in [
        ("shipping_address", "17 Boulevard, Brooklyn"),
        ("shipping_address", "10 Downing Street, London SW1A 2AA"),
        ("name", "!"),
        ("phone", "0"),
    ] {
        let mut bad = body.clone();
        bad[field] = value.into();
        let reply = cloud.post_with_key(INVOICE, "i", &bad).await;
        assert_eq!(
            (reply.status, reply.pointers()),
            (422, vec![format!("/{field}").as_str()]),
            "{value}"
        );
    }
    assert_eq!(cloud.get(&order).await.body["status"], "pending");
    body["shipping_address"] = README.into();
    assert_eq!(cloud.post_with_key(INVOICE, "i", &body).await.status, 201);
}

#[tokio::test]
async fn the_shops_own_carrier_takes_any_address_and_what_was_promised_then_holds() {
    let cloud = Cloud::start().await;
    let elsewhere = checkout("shipping_address", "somewhere");
    let placed = cloud.post_with_key(CART, "k", &elsewhere).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    let order = cloud.post(CART, &cart()).await;
    let mut body = invoice(text(&order.body["orderId"]));
    body["shipping_address"] = "somewhere".into();
    let issued = cloud.post(INVOICE, &body).await;
    assert_eq!(issued.status, 201, "{}", issued.text);
    let partner = Sandbox::new(cloud.runtime.clone());
    let cloud = cloud.redeployed(Options::default(), partner, sides().carrier);
    // A repeat gets its first answer; a new request is refused.
    let again = cloud.post_with_key(CART, "k", &elsewhere).await;
    assert_eq!((again.status, &again.text), (201, &placed.text));
    let again = cloud.post(INVOICE, &body).await;
    assert_eq!((again.status, &again.text), (201, &issued.text));
    assert_eq!(cloud.post_with_key(CART, "l", &elsewhere).await.status, 422);
}

#[tokio::test]
async fn an_order_from_another_carriers_days_is_mended_or_cancelled_and_paid_back() {
    let shop = paid_under_own("somewhere").await;
    let reply = shop.ship_to("somewhere").await;
    assert_eq!(reply.pointers(), ["/shipping_address"]);
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;

    let shop = paid_under_own("somewhere").await;
    assert_eq!(shop.ship_to("somewhere").await.status, 422);
    let body = json!({"customerId": "8080", "orderId": shop.order});
    let reply = shop.cloud.post("/api/order/cancel.json", &body).await;
    assert_eq!(reply.body["status"], "cancelled", "{}", reply.text);
    assert_eq!(
        shop.cloud.get(&shop.order).await.body["payment"]["state"],
        "refunded"
    );
    assert!(shop.sides.double.bought().is_empty());
    // And back: an order that waits for an address that EasyPost can use ships with the shop's own
    // carrier.
    let shop = paid_under_own("somewhere").await;
    let partner = Sandbox::new(shop.cloud.runtime.clone());
    let cloud = shop.cloud.redeployed(Options::default(), partner, Own);
    cloud.settle().await;
    assert_eq!(cloud.get(&shop.order).await.body["status"], "shipped");
}

#[tokio::test]
async fn the_readmes_own_address_ships_and_its_zip_code_comes_from_easypost() {
    let shop = paid(README).await;
    let reply = shop.ship_to(README).await;
    shop.assert_shipped_once(&reply).await;
    let sent: Value = serde_json::from_slice(&shop.sides.front.seen()[0].body).unwrap();
    assert_eq!(
        sent["address"],
        json!({"name": "Lital Hay", "phone": "0545870006", "street1": "17 boulevard",
            "street2": "123 apt 6", "city": "Brooklyn", "state": "NY", "country": "US"})
    );
    let shipment = shop.sides.double.shipment(&shop.reference().await).unwrap();
    assert_eq!(shipment["to_address"]["zip"], "11201-2506");
}

#[tokio::test]
async fn a_parcel_to_the_military_or_a_territory_is_declared_to_customs() {
    for (address, is_declared) in [
        ("PSC 3 Box 1, APO AE 09021", true),
        ("Unit 45013, APO AP 96338", true),
        ("1 Marine Corps Dr, Tamuning, Guam 96913", true),
        ("150 Calle Luna, San Juan, PR 00901", false),
        (ADDRESS, false),
    ] {
        let shop = paid(address).await;
        let reply = shop.ship_to(address).await;
        shop.assert_shipped_once(&reply).await;
        let shipment = shop.sides.double.shipment(&shop.reference().await).unwrap();
        let declared = &shipment["customs_info"];
        assert_eq!(declared.is_object(), is_declared, "{address}");
        if is_declared {
            assert_eq!(
                *declared,
                json!({
                    "contents_type": "merchandise", "customs_certify": true,
                    "customs_signer": "Shop", "eel_pfc": "NOEEI 30.37(a)",
                    "non_delivery_option": "return", "restriction_type": "none",
                    "customs_items": [{
                        "description": "Merchandise", "quantity": 1,
                        "weight": serde_json::from_str::<Value>("15.4").unwrap(),
                        "value": "200", "currency": "USD", "origin_country": "US"
                    }]
                })
            );
        }
    }
}
