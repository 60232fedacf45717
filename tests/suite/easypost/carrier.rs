//! The carrier alone.

use std::sync::Arc;
use std::time::Duration;

use platform::outbound::{Https, Secret};
use serde_json::json;
use shipment::carriers::{Carrier, EasyPost, Opened};
use tests::partners::{DoubleReply, EasyPostDouble, EasyPostHabits, Front, Mishap, Offer};

use super::{ADDRESS, KEY, assert_first_label, outcome, parcel, settings, sides, sides_with};

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
    // A rate in another currency is never the cheapest one.
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

/// Meaningless answers, all with a status that suggests otherwise.
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
        // A look-up of the same answer concludes just as little.
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
    let mut errors = vec![sides.open("17 boulevard, Brooklyn").await.unwrap_err()];
    for trouble in [
        EasyPostHabits {
            unserved: true,
            ..EasyPostHabits::default()
        },
        EasyPostHabits {
            verification_down: true,
            ..EasyPostHabits::default()
        },
    ] {
        sides.double.set_trouble(trouble);
        errors.push(sides.open(ADDRESS).await.unwrap_err());
    }
    sides.double.set_trouble(EasyPostHabits::default());
    let reference = sides.open(ADDRESS).await.unwrap();
    sides.double.set_trouble(EasyPostHabits {
        carrier_refuses: true,
        ..EasyPostHabits::default()
    });
    errors.push(sides.carrier.buy(&reference).await.unwrap_err());
    sides.double.set_trouble(EasyPostHabits::default());
    sides.double.forget_street("Boulevard");
    errors.push(sides.open(ADDRESS).await.unwrap_err());
    for error in errors {
        let shown = format!("{error:?} {error}");
        // The example in every field error is our own and allowed.
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
