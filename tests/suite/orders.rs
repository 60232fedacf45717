//! Searches of orders: who finds which ones, in which order, and where a list ends.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use payment::partners::Sandbox;
use serde_json::{Value, json};
use tests::{Cloud, Reply, SentWrite, question, search};

use crate::callers::with_claims;
use crate::contract::{cart, cart_with_checkout, text};
use crate::errors::{as_customer, assert_problem};
use crate::privacy::Log;
use crate::shop;

type Shop = Cloud<Sandbox>;

fn cart_of(customer: &str) -> Value {
    let mut cart = cart();
    cart["customerId"] = customer.into();
    cart
}

fn referring(customer: &str, reference: &str) -> Value {
    let mut cart = cart_of(customer);
    cart["reference"] = reference.into();
    cart
}

async fn find(shop: &Shop, query: &str) -> Reply {
    shop.send(&search(query)).await
}

/// The reply to a search with this customer's own token.
async fn find_as(shop: &Shop, customer: &str, query: &str) -> Reply {
    shop.send(&as_customer(search(query), customer)).await
}

fn ids(page: &Reply) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text);
    let orders = page.body["orders"].as_array().unwrap().iter();
    orders
        .map(|order| text(&order["orderId"]).to_owned())
        .collect()
}

fn cursor(page: &Reply) -> Option<String> {
    page.body["nextCursor"].as_str().map(str::to_owned)
}

fn behind(query: &str, cursor: &str) -> String {
    format!("{query}&cursor={cursor}")
}

/// All pages of a search from this one on, sent with `send`.
async fn pages_from(
    mut page: Reply,
    query: &str,
    send: impl AsyncFn(String) -> Reply,
) -> Vec<Vec<String>> {
    let mut pages = vec![ids(&page)];
    while let Some(cursor) = cursor(&page) {
        assert!(pages.len() < 100, "a list without an end");
        page = send(behind(query, &cursor)).await;
        pages.push(ids(&page));
    }
    pages
}

async fn pages(query: &str, send: impl AsyncFn(String) -> Reply) -> Vec<Vec<String>> {
    let first = send(query.to_owned()).await;
    pages_from(first, query, send).await
}

async fn all(shop: &Shop, query: &str) -> Vec<String> {
    pages(query, async |query| find(shop, &query).await)
        .await
        .concat()
}

/// Orders of these customers in turn, oldest first; three at a time are placed in the same
/// millisecond.
async fn placed(shop: &Shop, customers: &[&str], count: usize) -> Vec<String> {
    let mut orders = Vec::new();
    for number in 0..count {
        let customer = customers[number % customers.len()];
        orders.push(shop::place(shop, &cart_of(customer)).await);
        if number % 3 == 2 {
            shop.pass(Duration::from_millis(1));
        }
    }
    orders
}

#[tokio::test]
async fn orders_are_listed_newest_first_each_once_over_pages_of_any_size() {
    let shop = Cloud::start().await;
    let orders = placed(&shop, &["8080", "8080", "8081"], 60).await;
    let times: Vec<_> = orders
        .iter()
        .enumerate()
        .map(|(number, id)| (id.clone(), number / 3))
        .collect();
    let time_of = |id: &String| times.iter().find(|(its, _)| its == id).unwrap().1;
    for (query, expected) in [
        ("customerId=8080", 40),
        ("customerId=8081", 20),
        ("", 60),
        ("customerId=8082", 0),
    ] {
        for limit in [1, 2, 7, 20, 39, 40, 41, 100] {
            let query = format!("{query}&limit={limit}");
            let pages = pages(&query, async |query| find(&shop, &query).await).await;
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|page| page.len() == limit), "{query}");
            assert!(
                last.len() <= limit && (expected == 0 || !last.is_empty()),
                "{query}"
            );
            let found = pages.concat();
            assert_eq!(found.len(), expected, "{query}");
            assert_eq!(
                found.iter().collect::<BTreeSet<_>>().len(),
                expected,
                "{query}"
            );
            assert!(
                found.is_sorted_by_key(|id| std::cmp::Reverse(time_of(id))),
                "{query}"
            );
        }
    }
    assert_eq!(ids(&find(&shop, "").await).len(), 20);
}

#[tokio::test]
async fn a_found_order_is_shown_as_it_is_now() {
    let shop = Cloud::start().await;
    let mut body = cart_with_checkout();
    body["reference"] = "A-1".into();
    body["metadata"] = json!({"channel": "phone"});
    let order = shop::place(&shop, &body).await;
    shop.settle().await;
    let page = find(&shop, "customerId=8080").await;
    let shown = shop.get(&order).await.body;
    let found = &page.body["orders"][0];
    for name in [
        "orderId",
        "customerId",
        "reference",
        "metadata",
        "status",
        "currency",
        "tax",
        "subTotalAmount",
        "totalAmount",
        "invoiceId",
    ] {
        assert_eq!(found[name], shown[name], "{name}");
    }
    assert_eq!(found["status"], "shipped");
    assert_eq!(found["createdAt"], "2026-11-23T10:12:05+00:00");
    assert_eq!(found.as_object().unwrap().len(), 11);
    assert!(page.body.get("nextCursor").is_none());
}

#[tokio::test]
async fn each_parameter_narrows_the_search() {
    let shop = Cloud::start().await;
    let first = shop::place(&shop, &referring("8080", "A-1")).await;
    shop.pass(Duration::from_mins(1));
    let second = shop::place(&shop, &referring("8081", "A-2")).await;
    let claims = json!({"client_id": "erp", "sub": "erp", "scope": "orderflow/backend"});
    let other = with_claims(
        tests::request("/api/order/cart.json", &referring("8081", "A-1")),
        &claims,
    );
    shop.pass(Duration::from_mins(1));
    let third = text(&shop.send(&other).await.body["orderId"]).to_owned();
    let cancel = json!({"customerId": "8081", "orderId": second});
    assert_eq!(
        shop.post("/api/order/cancel.json", &cancel).await.status,
        200
    );
    let (first, second, third) = (&*first, &*second, &*third);
    for (query, expected) in [
        ("", &[third, second, first][..]),
        ("customerId=8081", &[third, second]),
        ("reference=A-1", &[third, first]),
        ("reference=A-1&customerId=8080", &[first]),
        ("reference=A-2", &[second]),
        ("reference=A-3", &[]),
        ("reference=a-1", &[]),
        ("status=cancelled", &[second]),
        ("status=pending", &[third, first]),
        ("status=shipped", &[]),
        ("status=cancelled&reference=A-1", &[]),
        ("status=pending&customerId=8081", &[third]),
        // `from` is inclusive, `to` is exclusive.
        ("from=2026-11-23T10:13:05Z", &[third, second]),
        ("from=2026-11-23T10:13:05.001Z", &[third]),
        ("to=2026-11-23T10:13:05Z", &[first]),
        ("to=2026-11-23T10:13:05.001Z", &[second, first]),
        (
            "from=2026-11-23T10:13:05Z&to=2026-11-23T10:14:05Z",
            &[second],
        ),
        // Whether or not a caller encodes the offset's plus sign.
        (
            "from=2026-11-23T12:13:05%2B02:00&to=2026-11-23T12:14:05+02:00",
            &[second],
        ),
        ("reference=A-1&from=2026-11-23T10:13:05Z", &[third]),
        (
            "reference=A-1&to=2026-11-23T10:13:05Z&customerId=8080",
            &[first],
        ),
        ("from=2027-01-01T00:00:00Z", &[]),
        ("to=1969-12-31T00:00:00Z&from=1900-01-01T00:00:00Z", &[]),
        ("to=1969-12-31T00:00:00Z", &[]),
    ] {
        for limit in [1, 100] {
            assert_eq!(
                all(&shop, &format!("{query}&limit={limit}")).await,
                expected,
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_that_finds_nothing_says_where_to_go_on_until_the_end() {
    let shop = Cloud::start().await;
    let oldest = shop::place(&shop, &cart()).await;
    let cancel = json!({"customerId": "8080", "orderId": oldest});
    assert_eq!(
        shop.post("/api/order/cancel.json", &cancel).await.status,
        200
    );
    shop.pass(Duration::from_millis(1));
    for _ in 0..13 {
        let cart = cart();
        join_all((0..50).map(|_| shop::place(&shop, &cart))).await;
        shop.pass(Duration::from_millis(1));
    }
    for query in [
        "status=cancelled&limit=5",
        "customerId=8080&status=cancelled&limit=1",
    ] {
        let pages = pages(query, async |query| find(&shop, &query).await).await;
        assert!(pages.len() > 1, "a page reads only so much");
        assert_eq!(pages.concat(), std::slice::from_ref(&oldest), "{query}");
    }
    let customers = pages("reference=A-1", async |query| {
        find_as(&shop, "8080", &query).await
    });
    assert!(customers.await.concat().is_empty());
    // A page of a filtered search is as full as any other.
    let pending = pages("status=pending&limit=100", async |query| {
        find(&shop, &query).await
    })
    .await;
    assert_eq!(
        pending.iter().map(Vec::len).collect::<Vec<_>>(),
        [100, 100, 100, 100, 100, 100, 50]
    );
}

#[tokio::test]
async fn an_order_that_is_placed_between_two_pages_is_on_no_later_one() {
    let shop = Cloud::start().await;
    let mut orders: BTreeSet<_> = placed(&shop, &["8080"], 12).await.into_iter().collect();
    for query in ["customerId=8080&limit=5", "limit=5"] {
        let first = find(&shop, query).await;
        shop.pass(Duration::from_millis(1));
        let new = placed(&shop, &["8080"], 8).await;
        let pages = pages_from(first, query, async |query| find(&shop, &query).await);
        let found = pages.await.concat();
        assert_eq!(found.len(), orders.len(), "{query}");
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            orders,
            "{query}"
        );
        orders.extend(new);
    }
}

#[tokio::test]
async fn a_customer_finds_its_own_orders_and_learns_of_no_others() {
    let shop = Cloud::start().await;
    let own = placed(&shop, &["8080"], 5).await;
    let own_reference = shop::place(&shop, &referring("8080", "B-1")).await;
    let searches = [
        "limit=2",
        "customerId=8080",
        "reference=A-1",
        "reference=B-1",
        "status=pending",
        "status=cancelled",
        "from=2026-11-23T10:12:05Z&to=2026-11-24T10:12:05Z",
    ];
    let seen = async || {
        let mut seen = Vec::new();
        for query in searches {
            find_as(&shop, "8080", query).await;
            shop.database.capacity.reset();
            let page = find_as(&shop, "8080", query).await;
            let cost = shop.database.capacity.by_operation();
            seen.push((query, page.text.len(), ids(&page), format!("{cost:?}")));
        }
        seen
    };
    let before = seen().await;
    assert_eq!(before[1].2.len(), 6);
    assert_eq!(before[3].2, [own_reference]);
    assert!(before[2].2.is_empty());
    // Neither an answer nor its cost depends on the orders of others.
    for number in 0..30 {
        let reference = if number == 0 {
            "A-1".to_owned()
        } else {
            format!("C-{number}")
        };
        shop::place(&shop, &referring("666", &reference)).await;
    }
    assert_eq!(seen().await, before);
    let found = pages("limit=2", async |query| {
        find_as(&shop, "8080", &query).await
    })
    .await
    .concat();
    assert!(own.iter().all(|id| found.contains(id)) && found.len() == 6);
    // No caller learns whether another customer exists or has orders.
    let existing = find_as(&shop, "8080", "customerId=666").await;
    let unknown = find_as(&shop, "8080", "customerId=667").await;
    assert_problem(&existing, 404, "customer_not_found");
    assert_eq!(existing.text, unknown.text);
    assert!(ids(&find_as(&shop, "667", "").await).is_empty());
}

#[tokio::test]
async fn a_cursor_goes_with_its_caller_and_its_search_and_with_nothing_else() {
    let shop = Cloud::start().await;
    placed(&shop, &["8080", "8081"], 20).await;
    let refused = |reply: &Reply| {
        assert_problem(reply, 422, "invalid_fields");
        assert_eq!(reply.pointers(), ["/cursor"]);
    };
    let own = cursor(&find_as(&shop, "8080", "limit=3").await).unwrap();
    let whole = cursor(&find(&shop, "limit=3").await).unwrap();
    let of_one = cursor(&find(&shop, "limit=3&customerId=8080").await).unwrap();
    assert_eq!(
        find_as(&shop, "8080", &behind("limit=3", &own))
            .await
            .status,
        200
    );
    assert_eq!(
        find_as(&shop, "8080", &behind("limit=4&customerId=8080", &own))
            .await
            .status,
        200
    );
    assert_eq!(find(&shop, &behind("limit=100", &whole)).await.status, 200);
    // Another customer's cursor, the back end's, and another back end's.
    for cursor in [&own, &whole, &of_one] {
        refused(&find_as(&shop, "8081", &behind("limit=3", cursor)).await);
    }
    for cursor in [&whole, &of_one] {
        refused(&find_as(&shop, "8080", &behind("limit=3", cursor)).await);
        refused(&find_as(&shop, "8080", &behind("customerId=8080", cursor)).await);
    }
    let claims = json!({"client_id": "erp", "sub": "erp", "scope": "orderflow/backend"});
    refused(
        &shop
            .send(&with_claims(search(&behind("limit=3", &whole)), &claims))
            .await,
    );
    // Cursors of other searches.
    for query in ["customerId=8081&limit=3", "limit=3"] {
        refused(&find(&shop, &behind(query, &of_one)).await);
    }
    for more in [
        "status=pending",
        "reference=A",
        "from=2026-11-23T10:12:05Z",
        "to=2027-11-23T10:12:05Z",
    ] {
        let query = format!("customerId=8080&{more}&limit=3");
        refused(&find(&shop, &behind(&query, &of_one)).await);
    }
    refused(&find(&shop, &behind("customerId=8080", &whole)).await);
    // Changed or invented cursors.
    for at in 0..of_one.len() {
        let mut changed = of_one.clone().into_bytes();
        changed[at] = if changed[at] == b'p' {
            b'a'
        } else {
            changed[at] + 1
        };
        let changed = String::from_utf8(changed).unwrap();
        refused(&find(&shop, &behind("limit=3&customerId=8080", &changed)).await);
    }
    let shortened = &of_one[..of_one.len() - 2];
    let long = "ab".repeat(5_000);
    for made_up in [
        "",
        "a",
        "aa",
        "0",
        "%00",
        "%ff",
        "ord_1",
        shortened,
        &long,
        &format!("{of_one}aa"),
        &of_one.to_uppercase(),
    ] {
        refused(&find(&shop, &behind("limit=3&customerId=8080", made_up)).await);
    }
}

#[tokio::test]
async fn a_cursor_outlives_its_month_and_not_its_key() {
    let shop = Cloud::start().await;
    placed(&shop, &["8080"], 10).await;
    let query = "customerId=8080&limit=3";
    let of_november = cursor(&find(&shop, query).await).unwrap();
    shop.pass(Duration::from_hours(20 * 24));
    let second = find(&shop, &behind(query, &of_november)).await;
    let of_december = cursor(&second).unwrap();
    assert_eq!(
        ids(&find(&shop, &behind(query, &of_december)).await).len(),
        3
    );
    shop.pass(Duration::from_hours(42 * 24));
    assert_eq!(find(&shop, &behind(query, &of_november)).await.status, 200);
    shop.pass(Duration::from_secs(1));
    let reply = find(&shop, &behind(query, &of_november)).await;
    assert_problem(&reply, 422, "invalid_fields");
    assert_eq!(find(&shop, &behind(query, &of_december)).await.status, 200);
}

#[tokio::test]
async fn two_functions_make_one_key_and_open_each_others_cursors() {
    let shop = Cloud::start().await;
    placed(&shop, &["8080"], 10).await;
    let query = "customerId=8080&limit=3";
    let firsts = join_all((0..20).map(|_| find(&shop, query))).await;
    let cursors: BTreeSet<_> = firsts.iter().map(|page| cursor(page).unwrap()).collect();
    assert_eq!(cursors.len(), 1);
}

#[tokio::test]
async fn wrong_parameters_are_all_refused_at_once_by_their_pointers() {
    let shop = Cloud::start().await;
    for (query, pointers) in [
        ("customerId=", &["/customerId"][..]),
        ("customerId=%20a", &["/customerId"]),
        ("reference=", &["/reference"]),
        ("status=", &["/status"]),
        ("status=PENDING", &["/status"]),
        ("status=returned", &["/status"]),
        ("from=", &["/from"]),
        ("from=2026-11-23", &["/from"]),
        ("to=1795428725000", &["/to"]),
        ("to=2026-13-23T10:12:05Z", &["/to"]),
        (
            "from=2026-11-23T10:12:05Z&to=2026-11-23T10:12:05Z",
            &["/to"],
        ),
        (
            "from=2026-11-24T10:12:05Z&to=2026-11-23T10:12:05Z",
            &["/to"],
        ),
        ("limit=", &["/limit"]),
        ("limit=0", &["/limit"]),
        ("limit=101", &["/limit"]),
        ("limit=-1", &["/limit"]),
        ("limit=%2B1", &["/limit"]),
        ("limit=1.0", &["/limit"]),
        ("limit=99999999999999999999999", &["/limit"]),
        ("cursor=x", &["/cursor"]),
        ("customerID=8080", &["/customerID"]),
        ("x~/y=1", &["/x~0~1y"]),
        ("limit=1&limit=1", &["/limit"]),
        ("limit=1&limit=2&limit=3", &["/limit"]),
        ("customerId=8080&customerId=8081", &["/customerId"]),
        (
            "limit=0&status=x&from=y&page=2",
            &["/page", "/status", "/from", "/limit"],
        ),
    ] {
        for reply in [
            find(&shop, query).await,
            find_as(&shop, "8080", query).await,
        ] {
            assert_problem(&reply, 422, "invalid_fields");
            assert_eq!(reply.pointers(), pointers, "{query}: {}", reply.text);
        }
    }
    let card = find(&shop, "reference=4242%204242%204242%204242").await;
    assert_problem(&card, 422, "card_number_refused");
    for query in [
        "limit=1",
        "limit=100",
        "limit=007",
        "",
        "&",
        "status=refunding",
    ] {
        assert_eq!(find(&shop, query).await.status, 200, "{query}");
    }
}

/// Earlier versions stored neither a shard nor a reference.
#[tokio::test]
async fn an_order_of_an_earlier_version_is_found_by_its_customer() {
    let shop = Cloud::start().await;
    let order = shop::place(&shop, &cart()).await;
    let update = shop.database.client.update_item();
    let update = update
        .table_name("OrdersTable")
        .key("orderId", AttributeValue::S(order.clone()))
        .update_expression("REMOVE timeShard");
    update.send().await.unwrap();
    assert_eq!(
        all(&shop, "customerId=8080").await,
        std::slice::from_ref(&order)
    );
    assert_eq!(all(&shop, "customerId=8080&status=pending").await, [order]);
    assert!(all(&shop, "").await.is_empty());
}

#[tokio::test]
async fn an_order_that_cannot_be_read_hides_no_other() {
    let log = Log::default();
    let _listening = log.listen();
    let shop = Cloud::start().await;
    let orders = placed(&shop, &["8080"], 3).await;
    let damaged = json!({"TableName": "OrdersTable", "Item": {
        "orderId": {"S": "ord_01JDB4XK00EXAMPVE0RDER0001"}, "customerId": {"S": "8080"},
        "createdAt": {"N": "1795428725001"}, "timeShard": {"S": "1"}, "status": {"S": "returned"}}});
    assert!(
        shop.database
            .arrive_late(&SentWrite::new("PutItem", damaged))
    );
    for query in ["customerId=8080&limit=1", "limit=1", "status=pending"] {
        let found: BTreeSet<_> = all(&shop, query).await.into_iter().collect();
        assert_eq!(found, orders.iter().cloned().collect(), "{query}");
    }
    let logged = log.text();
    let line = logged
        .lines()
        .find(|line| line.contains("could not be read"))
        .unwrap();
    assert!(
        line.contains("ERROR") && line.contains("ord_01JDB4XK00EXAMPVE0RDER0001"),
        "{line}"
    );
}

#[tokio::test]
async fn a_search_is_never_a_scan_and_says_nothing_of_its_orders_in_a_log() {
    let log = Log::default();
    let _listening = log.listen();
    let shop = Cloud::start().await;
    let mut body = referring("8080", "canary-reference");
    body["metadata"] = json!({"canary": "canary text"});
    for number in 0..3 {
        body["reference"] = format!("canary-{number}").into();
        shop::place(&shop, &body).await;
    }
    shop.database.capacity.reset();
    for query in [
        "limit=1",
        "customerId=8080&limit=1",
        "reference=canary-1",
        "status=pending",
        "canary=1",
        "status=canary",
    ] {
        find(&shop, query).await;
        find_as(&shop, "8080", query).await;
    }
    let calls: BTreeSet<_> = shop.database.capacity.by_operation().into_keys().collect();
    let expected = ["BatchGetItem", "GetItem", "PutItem", "Query"];
    assert_eq!(calls, BTreeSet::from(expected.map(str::to_owned)));
    assert!(!log.text().contains("canary"));
    let order = ids(&find(&shop, "reference=canary-1").await).remove(0);
    assert_eq!(
        shop.send(&as_customer(question(&order), "8080"))
            .await
            .status,
        200
    );
}
