//! A 503 states what is known about the request: that it changed nothing, or that its outcome is
//! unknown.

use serde_json::{Value, json};
use tests::request;
use tests::sim::{Plan, Scenario, Simulation};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const EMAIL: &str = "/api/order/email.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";

/// The state of the order before the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Placed,
    Invoiced,
    Paid,
}

const ADDRESS: &str = "17 boulevard, 123 apt 6 Brooklyn NY";

fn cart() -> Value {
    json!({"customerId": "8080", "items": [{"productId": "1234", "quantity": 1, "price": 100}]})
}

fn referring() -> Value {
    let mut body = cart();
    body["reference"] = "A-1".into();
    body
}

fn bill(order: &str) -> Value {
    json!({
        "customerId": "8080", "orderId": order, "currency": "USD",
        "tax": 18, "subTotalAmount": 82, "totalAmount": 100,
        "items": [{"productId": "1", "quantity": 1, "price": 100}],
        "name": "Lital Hay", "phone": "0545870006", "shipping_address": ADDRESS
    })
}

fn pays(order: &str) -> Value {
    let invoice = order.replace("ord_", "inv_");
    json!({"customerId": "8080", "invoiceId": invoice, "totalAmount": 100})
}

fn ships(order: &str) -> Value {
    json!({"orderId": order, "name": "L", "phone": "0545870006", "shipping_address": ADDRESS})
}

fn mail() -> Value {
    json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"})
}

fn cancels(order: &str) -> Value {
    json!({"customerId": "8080", "orderId": order})
}

fn updates(order: &str) -> Value {
    let mut body = cart();
    body["orderId"] = order.into();
    body["items"][0]["quantity"] = 2.into();
    body
}

fn approves() -> Value {
    json!({"customerId": "8080", "partner": "paypal", "paymentMethodId": "8kk8451t"})
}

/// A request and its target.
type Asked = (&'static str, Stage, fn(&str) -> Value);

const ASKED: [Asked; 11] = [
    (CART, Stage::Nothing, |_| cart()),
    (CART, Stage::Nothing, |_| referring()),
    (CART, Stage::Placed, updates),
    (INVOICE, Stage::Placed, bill),
    (PAYMENT, Stage::Invoiced, pays),
    (SHIPPING, Stage::Paid, ships),
    (SHIPPING, Stage::Nothing, |_| mail()),
    (EMAIL, Stage::Nothing, |_| mail()),
    (CANCEL, Stage::Placed, cancels),
    (CANCEL, Stage::Paid, cancels),
    (AGREEMENT, Stage::Nothing, |_| approves()),
];

/// An order at that stage, and its simulation.
async fn at(stage: Stage) -> (Simulation, String) {
    let simulation = Simulation::new(Plan::calm(Scenario::CHECKOUT));
    let mut order = String::new();
    for (path, reached) in [
        (CART, Stage::Placed),
        (INVOICE, Stage::Invoiced),
        (PAYMENT, Stage::Paid),
    ] {
        if reached > stage {
            break;
        }
        let body = match reached {
            Stage::Placed | Stage::Nothing => cart(),
            Stage::Invoiced => bill(&order),
            Stage::Paid => pays(&order),
        };
        let (reply, _, _) = simulation.send_once(&request(path, &body)).await;
        assert_eq!(reply.status, 201, "{path}: {}", reply.text);
        if reached == Stage::Placed {
            reply.body["orderId"]
                .as_str()
                .unwrap()
                .clone_into(&mut order);
        }
    }
    (simulation, order)
}

/// Lost answers, throttled calls, and a lost answer before the further tries are throttled. The
/// database's client tries four times.
const STRIKES: [(u64, u64); 3] = [(4, 0), (0, 4), (1, 3)];

#[tokio::test(start_paused = true)]
async fn a_503_that_says_that_nothing_was_changed_is_true() {
    let (mut harmless, mut unknown) = (0, 0);
    for (path, stage, body) in ASKED {
        for key in [None, Some("k")] {
            for (lost, throttled) in STRIKES {
                for calm in 0..12 {
                    let (simulation, order) = at(stage).await;
                    let mut event = request(path, &body(&order));
                    if let Some(key) = key {
                        event["headers"]["idempotency-key"] = key.into();
                    }
                    let before = simulation.seen();
                    simulation.strike(calm, lost, throttled);
                    let (reply, _, _) = simulation.send_once(&event).await;
                    if reply.status != 503 || reply.code() == "payment_outcome_unknown" {
                        continue;
                    }
                    let detail = reply.body["detail"].as_str().unwrap();
                    let about = format!(
                        "{path} {stage:?} {key:?}, {calm} calm, {lost} lost, {throttled} throttled: {detail}"
                    );
                    if detail.contains("Nothing") {
                        harmless += 1;
                        assert_eq!(simulation.seen(), before, "{about}");
                        assert!(detail.contains("Nothing was changed"), "{about}");
                        continue;
                    }
                    unknown += 1;
                    assert!(detail.contains("is unknown"), "{about}");
                    match key {
                        Some(_) => assert!(detail.contains("the same Idempotency-Key"), "{about}"),
                        None => assert!(detail.contains("Check the order"), "{about}"),
                    }
                }
            }
        }
    }
    println!("{harmless} changed nothing, of {unknown} nobody knows");
    assert!(harmless >= 50 && unknown >= 100, "{harmless} {unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_503_of_unanswered_writes_says_so_at_every_endpoint() {
    for (path, stage, body) in ASKED {
        for key in [None, Some("k")] {
            let mut told = 0;
            for calm in 0..6 {
                let (simulation, order) = at(stage).await;
                let mut event = request(path, &body(&order));
                if let Some(key) = key {
                    event["headers"]["idempotency-key"] = key.into();
                }
                simulation.strike(calm, 4, 0);
                let (reply, _, _) = simulation.send_once(&event).await;
                let detail = reply.body["detail"].as_str().unwrap_or_default();
                told += usize::from(reply.status == 503 && detail.contains("is unknown"));
            }
            assert!(told > 0, "{path} {stage:?} {key:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_changed_nothing() {
    let (simulation, order) = at(Stage::Placed).await;
    simulation.strike(0, 4, 0);
    let (reply, _, _) = simulation.send_once(&tests::question(&order)).await;
    assert_eq!((reply.status, reply.code()), (503, "database_unavailable"));
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("Nothing was changed"), "{detail}");
}

/// Not even the key of its cursor, which it may have created, is visible to a caller.
#[tokio::test(start_paused = true)]
async fn a_search_that_fails_changed_nothing() {
    let mut failed = 0;
    for query in ["limit=1", "customerId=8080&limit=1", "reference=A-1"] {
        for (lost, throttled) in STRIKES {
            for calm in 0..8 {
                let (simulation, _) = at(Stage::Placed).await;
                let (reply, _, _) = simulation.send_once(&request(CART, &referring())).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
                simulation.strike(calm, lost, throttled);
                let (reply, _, _) = simulation.send_once(&tests::search(query)).await;
                if reply.status == 200 {
                    continue;
                }
                failed += 1;
                assert_eq!((reply.status, reply.code()), (503, "database_unavailable"));
                let detail = reply.body["detail"].as_str().unwrap();
                assert!(detail.contains("Nothing was changed"), "{query}: {detail}");
            }
        }
    }
    assert!(failed >= 20, "{failed}");
}
