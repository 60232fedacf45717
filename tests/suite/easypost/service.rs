//! The complete service with EasyPost as its carrier.

use std::time::Duration;

use domain::OrderId;
use futures_util::future::join;
use messages::queue::Queue;
use payment::partners::Sandbox;
use serde_json::{Value, json};
use shipment::carriers::{Carrier, CarrierError, EasyPost, Label, Opened, Parcel};
use tests::partners::{EasyPostHabits, Gate, Mishap};
use tests::{Cloud, Options, Reply};

use super::{ADDRESS, CART, FIRST_CODE, SHIPPING, Sides, sides};
use crate::contract::{cart_with_checkout, shipping, text};

pub(crate) struct Shop {
    pub(crate) cloud: Cloud<Sandbox, EasyPost>,
    pub(crate) sides: Sides,
    pub(crate) order: String,
}

/// A paid order of a customer at this address; its message to the shipment queue is available.
pub(crate) async fn paid(address: &str) -> Shop {
    paid_with(Options::default(), &cart_with_checkout(), address).await
}

/// Does the same for another shop and cart.
pub(crate) async fn paid_with(options: Options, cart: &Value, address: &str) -> Shop {
    let sides = sides();
    let cloud = Cloud::with_ends(options, Sandbox::new, sides.carrier.clone()).await;
    let order = order_of(&cloud, cart.clone(), address).await;
    let until_paid = [Queue::Billing, Queue::Payment];
    cloud.settle_through(&until_paid).await;
    assert_eq!(cloud.get(&order).await.body["status"], "paid");
    Shop {
        cloud,
        sides,
        order,
    }
}

/// Does the same for a customer whose address only the shop's own carrier accepts, which EasyPost
/// has replaced since.
pub(crate) async fn paid_under_own(address: &str) -> Shop {
    let sides = sides();
    let cloud = Cloud::start().await;
    let order = order_to(&cloud, address).await;
    cloud
        .settle_through(&[Queue::Billing, Queue::Payment])
        .await;
    let partner = Sandbox::new(cloud.runtime.clone());
    let cloud = cloud.redeployed(Options::default(), partner, sides.carrier.clone());
    assert_eq!(cloud.get(&order).await.body["status"], "paid");
    Shop {
        cloud,
        sides,
        order,
    }
}

/// An order with checkout to this address.
async fn order_to<C: Carrier>(cloud: &Cloud<Sandbox, C>, address: &str) -> String {
    order_of(cloud, cart_with_checkout(), address).await
}

async fn order_of<C: Carrier>(cloud: &Cloud<Sandbox, C>, mut cart: Value, address: &str) -> String {
    cart["checkout"]["shipping_address"] = address.into();
    let reply = cloud.post(CART, &cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    text(&reply.body["orderId"]).to_owned()
}

impl Shop {
    pub(crate) async fn ship_to(&self, address: &str) -> Reply {
        let mut body = shipping(&self.order);
        body["shipping_address"] = address.into();
        self.cloud.post(SHIPPING, &body).await
    }

    pub(crate) async fn ship(&self) -> Reply {
        self.ship_to(ADDRESS).await
    }

    /// The next call of that kind to EasyPost meets this mishap.
    pub(crate) fn lose(&self, method: &'static str, path: &'static str, mishap: Mishap) {
        self.sides.front.plan(method, path, mishap);
    }

    pub(crate) async fn reference(&self) -> String {
        let id = OrderId::parse(&self.order).unwrap();
        let order = self.cloud.store.order(&id).await.unwrap().unwrap();
        order.parcel.unwrap().reference
    }

    /// Checks that the answer, GET, and the mail all show the only label that was bought.
    pub(crate) async fn assert_shipped_once(&self, reply: &Reply) {
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
    // A repeat gets the same answer without a call to the carrier.
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
    // The reference is stored. Another function buys the label and dies.
    let reference = shop.reference().await;
    shop.sides.carrier.buy(&reference).await.unwrap();
    assert_eq!(shop.cloud.get(&shop.order).await.body["status"], "paid");
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn an_address_that_is_refused_keeps_the_order_overdue_until_a_better_one_is_sent() {
    let example = "17 boulevard, Brooklyn";
    let shop = paid_under_own(example).await;
    let cloud = &shop.cloud;
    cloud.relay_stream().await;
    let messages = cloud.queues.take();
    let (queue, message) = messages
        .iter()
        .find(|(queue, _)| *queue == Queue::Shipment)
        .unwrap();
    // Every delivery is kept: the last one becomes a dead letter.
    for _ in 0..5 {
        assert!(!cloud.deliver(*queue, message).await);
    }
    let reply = shop.ship_to(example).await;
    assert_eq!((reply.status, reply.code()), (422, "invalid_fields"));
    assert_eq!(reply.pointers(), ["/shipping_address"]);
    let detail = text(&reply.body["errors"][0]["detail"]);
    assert!(
        detail.contains("a ZIP code") && detail.contains("a state"),
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
    // The messages left in the queue find it done.
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
    shop.sides.double.set_trouble(EasyPostHabits {
        unserved: true,
        ..EasyPostHabits::default()
    });
    let reply = shop.ship_to("1 Main St, Agana, GU 96910").await;
    assert_eq!(
        (reply.status, reply.pointers()),
        (422, vec!["/shipping_address"])
    );
    shop.sides.double.set_trouble(EasyPostHabits {
        verification_down: true,
        ..EasyPostHabits::default()
    });
    let reply = shop.ship().await;
    assert_eq!((reply.status, reply.code()), (503, "carrier_unavailable"));
    shop.sides.double.set_trouble(EasyPostHabits::default());
    let reply = shop.ship().await;
    shop.assert_shipped_once(&reply).await;
}

#[tokio::test]
async fn a_parcel_that_the_carrier_refuses_at_the_counter_ships_once_it_was_bought_by_hand() {
    let shop = paid(ADDRESS).await;
    shop.sides.double.set_trouble(EasyPostHabits {
        carrier_refuses: true,
        ..EasyPostHabits::default()
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

/// A parcel of another carrier, while `Carrier` changes.
mod two_carriers {
    use domain::{OpenParcel, Text};
    use service::http::{Call, Caller, Route};
    use service::lambda::Function;
    use shipment::Shipments;
    use shipment::carriers::Own;
    use store::{Purchase, Shipping};

    use super::*;

    const PURCHASE: Purchase<'_> = Purchase {
        name: "first",
        at: domain::Timestamp::from_millis(1_795_428_725_000),
    };

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
        // Registered at EasyPost, then tried by the shop's own carrier: by request and by message.
        let shop = paid(ADDRESS).await;
        let order = stored(&shop).await;
        let opened = shop
            .cloud
            .store
            .open_parcel(&order.id, &parcel("easypost"), PURCHASE)
            .await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        let call = Call::new(
            Route::Shipping,
            Caller::backend("x"),
            None,
            Some(shipping(&shop.order)),
        );
        let error = Box::pin(own(&shop).answer(call)).await.unwrap_err();
        assert_eq!(error.code(), "carrier_unavailable");
        shop.cloud.relay_stream().await;
        let (_, message) = shop.cloud.queues.take().pop().unwrap();
        let error = Box::pin(own(&shop).consume(message)).await.unwrap_err();
        assert_eq!(error.code(), "carrier_unavailable");
        assert_eq!(stored(&shop).await.status.as_str(), "paid");

        // Registered at another carrier, then tried by EasyPost's client: it makes no call.
        let shop = paid(ADDRESS).await;
        let order = stored(&shop).await;
        let opened = shop
            .cloud
            .store
            .open_parcel(&order.id, &parcel("acme"), PURCHASE)
            .await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        let calls = shop.sides.calls().len();
        let reply = shop.ship().await;
        assert_eq!((reply.status, reply.code()), (503, "carrier_unavailable"));
        assert_eq!(shop.sides.calls().len(), calls, "it was asked");
        assert!(shop.sides.double.bought().is_empty());
    }

    /// The shop's own carrier, concurrent with EasyPost's worker that registers the parcel.
    struct Beside(store::Store);

    impl shipment::carriers::Carrier for Beside {
        fn name(&self) -> &'static str {
            Own.name()
        }

        async fn open(&self, own: &Parcel) -> Result<Opened, CarrierError> {
            let opened = self
                .0
                .open_parcel(&own.order, &parcel("easypost"), PURCHASE)
                .await;
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
            let opened = store
                .open_parcel(&order.id, registered, PURCHASE)
                .await
                .unwrap();
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
        let opened = store
            .open_parcel(&before.id, &parcel("easypost"), PURCHASE)
            .await;
        assert!(matches!(opened.unwrap(), Shipping::Open(_)));
        // The order as read: without a parcel, with another reference, or at another carrier.
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
