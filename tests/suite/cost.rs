//! The cost of one order: the number of database calls is promised, and the capacity units are
//! reported.

use std::collections::BTreeMap;

use tests::{Cloud, search};

use crate::contract::{cart, cart_with_checkout, invoice, payment, shipping, text};

fn calls(cloud: &Cloud<payment::partners::Sandbox>) -> BTreeMap<String, u64> {
    let capacity = cloud.database.capacity.by_operation();
    cloud.database.capacity.reset();
    capacity
        .into_iter()
        .map(|(name, (calls, _))| (name, calls))
        .collect()
}

fn expected(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter()
        .map(|(name, calls)| ((*name).to_owned(), *calls))
        .collect()
}

#[tokio::test]
async fn each_step_makes_the_fewest_calls() {
    let cloud = Cloud::start().await;
    let reply = cloud.post("/api/order/cart.json", &cart()).await;
    assert_eq!(calls(&cloud), expected(&[("PutItem", 1)]));
    let order = text(&reply.body["orderId"]).to_owned();

    cloud
        .post("/api/order/invoice.json", &invoice(&order))
        .await;
    assert_eq!(
        calls(&cloud),
        expected(&[("GetItem", 1), ("TransactWriteItems", 1)])
    );

    cloud
        .post(
            "/api/order/payment.json",
            &payment(&order.replace("ord_", "inv_")),
        )
        .await;
    assert_eq!(calls(&cloud), expected(&[("UpdateItem", 3)]));

    cloud
        .post("/api/order/shipping.json", &shipping(&order))
        .await;
    assert_eq!(
        calls(&cloud),
        expected(&[("GetItem", 1), ("UpdateItem", 1)])
    );

    cloud.get(&order).await;
    assert_eq!(calls(&cloud), expected(&[("BatchGetItem", 1)]));

    cloud.send(&search("customerId=8080")).await;
    assert_eq!(
        calls(&cloud),
        expected(&[("BatchGetItem", 1), ("Query", 1)])
    );
    cloud.send(&search("")).await;
    assert_eq!(
        calls(&cloud),
        expected(&[("BatchGetItem", 1), ("Query", 4)])
    );

    let mut referring = cart();
    referring["reference"] = "A-1".into();
    cloud.post("/api/order/cart.json", &referring).await;
    assert_eq!(calls(&cloud), expected(&[("TransactWriteItems", 1)]));
    cloud.send(&search("reference=A-1")).await;
    assert_eq!(
        calls(&cloud),
        expected(&[("BatchGetItem", 1), ("GetItem", 1)])
    );
    // The first cursor of a month creates its key.
    let page = cloud.send(&search("customerId=8080&limit=1")).await;
    assert_eq!(
        calls(&cloud),
        expected(&[
            ("BatchGetItem", 1),
            ("GetItem", 1),
            ("PutItem", 1),
            ("Query", 1)
        ])
    );
    let cursor = text(&page.body["nextCursor"]);
    let rest = format!("customerId=8080&limit=1&cursor={cursor}");
    cloud.send(&search(&rest)).await;
    assert_eq!(
        calls(&cloud),
        expected(&[("BatchGetItem", 1), ("GetItem", 1), ("Query", 1)])
    );

    let mail = serde_json::json!({"event": "OrderShipped", "name": "L", "email": "l@b.example"});
    cloud.post("/api/order/email.json", &mail).await;
    assert_eq!(
        calls(&cloud),
        expected(&[("GetItem", 1), ("UpdateItem", 2)])
    );

    // Promising a mail costs one more write.
    cloud.post("/api/order/shipping.json", &mail).await;
    assert_eq!(calls(&cloud), expected(&[("UpdateItem", 1)]));
}

#[tokio::test]
async fn a_key_costs_one_write_at_each_endpoint() {
    let cloud = Cloud::start().await;
    let placed = cloud.post("/api/order/cart.json", &cart()).await;
    let order = text(&placed.body["orderId"]).to_owned();
    let other = cloud.post("/api/order/cart.json", &cart()).await;
    let mut update = cart();
    update["orderId"] = order.as_str().into();
    let mail = serde_json::json!({"event": "OrderShipped", "name": "L", "email": "l@b.example"});
    let cancel = serde_json::json!({"customerId": "8080", "orderId": other.body["orderId"]});
    let invoice_id = order.replace("ord_", "inv_");
    for (path, body, of) in [
        ("cart", cart(), &[("PutItem", 2)][..]),
        (
            "cart",
            update,
            &[("GetItem", 1), ("PutItem", 1), ("TransactWriteItems", 1)],
        ),
        (
            "invoice",
            invoice(&order),
            &[("GetItem", 1), ("PutItem", 1), ("TransactWriteItems", 1)],
        ),
        (
            "payment",
            payment(&invoice_id),
            &[("PutItem", 1), ("UpdateItem", 3)],
        ),
        (
            "shipping",
            shipping(&order),
            &[("GetItem", 1), ("PutItem", 1), ("UpdateItem", 1)],
        ),
        (
            "shipping",
            mail.clone(),
            &[("PutItem", 2), ("UpdateItem", 1)],
        ),
        (
            "email",
            mail,
            &[("GetItem", 1), ("PutItem", 1), ("UpdateItem", 2)],
        ),
        (
            "cancel",
            cancel,
            &[("GetItem", 1), ("PutItem", 1), ("UpdateItem", 1)],
        ),
    ] {
        calls(&cloud);
        let path = format!("/api/order/{path}.json");
        let key = format!("k{}", body.get("orderId").is_some());
        let key = if body.get("event").is_some() {
            "mail"
        } else {
            &key
        };
        let reply = cloud.post_with_key(&path, key, &body).await;
        assert!(reply.status < 300, "{path}: {}", reply.text);
        assert_eq!(calls(&cloud), expected(of), "{path} {body}");
    }
}

#[tokio::test]
async fn one_order_from_cart_to_shipped_with_three_mails_makes_seventeen_calls() {
    let cloud = Cloud::start().await;
    cloud
        .post("/api/order/cart.json", &cart_with_checkout())
        .await;
    cloud.settle().await;
    let capacity = cloud.database.capacity.by_operation();
    let (mut sum, mut units) = (0, 0.0);
    for (name, (calls, consumed)) in &capacity {
        println!("{name}: {calls} calls, {consumed} units");
        sum += calls;
        units += consumed;
    }
    println!("together: {sum} calls, {units} units");
    println!("{:?}", cloud.database.capacity.write_units());
    assert_eq!(sum, 17);
    assert_eq!(cloud.mailer.taken().len(), 3);
}

/// The indexes for finding orders contain nothing that changes.
#[tokio::test]
async fn an_order_is_written_to_the_indexes_of_new_orders_once_and_its_way_costs_them_nothing() {
    let cloud = Cloud::start().await;
    let mut body = cart_with_checkout();
    body["reference"] = "A-1".into();
    body["metadata"] = serde_json::json!({"channel": "phone"});
    cloud.post("/api/order/cart.json", &body).await;
    let of_cart = cloud.database.capacity.write_units();
    for (place, units) in [
        ("OrdersTable/byCustomer", 1.0),
        ("OrdersTable/byTime", 1.0),
        ("OrdersTable/due", 1.0),
        ("OrdersTable", 2.0),
        ("IdempotencyTable", 2.0),
    ] {
        assert!((of_cart[place] - units).abs() < 0.1, "{place}: {of_cart:?}");
    }
    cloud.database.capacity.reset();
    cloud.settle().await;
    cloud.pass(std::time::Duration::from_mins(5));
    cloud.sweep().await;
    let of_rest = cloud.database.capacity.write_units();
    assert!(of_rest["OrdersTable"] > 5.0, "{of_rest:?}");
    for index in ["OrdersTable/byCustomer", "OrdersTable/byTime"] {
        assert!(!of_rest.contains_key(index), "{of_rest:?}");
    }
    let sum: f64 = of_cart.values().chain(of_rest.values()).sum();
    println!("{sum} units: {of_cart:?}, then {of_rest:?}");
    assert!(sum < 60.0);
}
