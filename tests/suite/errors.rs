//! Every row of the error table.

use std::time::Duration;

use messages::queue::Queue;
use platform::aws::FailureKind;
use serde_json::{Value, json};
use tests::{Cloud, Options, Reply, request};

use crate::agreements::agreement;
use crate::contract::{cart, cart_with_checkout, invoice, payment, shipping, text};
use crate::shop::place;

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const SHIPPING: &str = "/api/order/shipping.json";
const CANCEL: &str = "/api/order/cancel.json";
const EMAIL: &str = "/api/order/email.json";
const AGREEMENT: &str = "/api/customer/billing.json";

/// An order ID that was never issued.
const UNKNOWN: &str = "00000000000000000000000000";

pub(crate) fn assert_problem(reply: &Reply, status: u64, code: &str) {
    assert_eq!(
        (reply.status, reply.code()),
        (status, code),
        "{}",
        reply.text
    );
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.body["status"], status);
    assert!(
        reply.body["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty())
    );
    assert!(
        reply.body["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty())
    );
}

async fn raw_body(cloud: &Cloud<payment::partners::Sandbox>, body: &str) -> Reply {
    let mut event = request(CART, &Value::Null);
    event["body"] = body.into();
    cloud.send(&event).await
}

#[tokio::test]
async fn a_body_that_is_empty_or_no_json_is_400() {
    let cloud = Cloud::start().await;
    assert_problem(&raw_body(&cloud, "").await, 400, "empty_body");
    assert_problem(&raw_body(&cloud, " \n").await, 400, "empty_body");
    let reply = raw_body(&cloud, "{\"customerId\": \"8080\",\n oops}").await;
    assert_problem(&reply, 400, "malformed_json");
    assert!(
        text(&reply.body["detail"]).contains("line 2"),
        "{}",
        reply.text
    );
    // Readers differ in which value of a repeated field counts.
    for body in [
        r#"{"customerId": "8080", "items": [], "customerId": "8081"}"#,
        r#"{"customerId": "8080", "items": [{"price": 1, "price": 2}]}"#,
        r#"{"customerId": "8080", "metadata": {"a": "1", "\u0061": "2"}}"#,
    ] {
        let reply = raw_body(&cloud, body).await;
        assert_problem(&reply, 400, "malformed_json");
        assert!(
            text(&reply.body["detail"]).contains("gives a field twice"),
            "{}",
            reply.text
        );
    }
}

#[tokio::test]
async fn every_endpoint_refuses_a_call_without_a_token_with_401() {
    let cloud = Cloud::start().await;
    let paths = [CART, INVOICE, PAYMENT, SHIPPING, EMAIL, AGREEMENT];
    for path in paths
        .into_iter()
        .chain(["/api/order/ord_1", "/api/customer/8080/billing"])
    {
        let mut event = request(path, &cart());
        event["requestContext"]
            .as_object_mut()
            .unwrap()
            .remove("authorizer");
        assert_problem(&cloud.send(&event).await, 401, "unauthenticated");
    }
}

/// The same request, sent with a customer's own token.
pub(crate) fn as_customer(mut event: Value, customer: &str) -> Value {
    event["requestContext"]["authorizer"]["jwt"]["claims"] =
        json!({"client_id": "shop-app", "sub": customer, "scope": "openid"});
    event
}

#[tokio::test]
async fn a_token_without_a_customer_and_without_the_backend_scope_is_401() {
    let cloud = Cloud::start().await;
    let mut event = request(CART, &cart());
    event["requestContext"]["authorizer"]["jwt"]["claims"] =
        json!({"client_id": "somebody", "scope": "orderflow/backend2"});
    assert_problem(&cloud.send(&event).await, 401, "unauthenticated");
}

#[tokio::test]
async fn somebody_elses_order_reads_as_404_everywhere() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    let invoice_id = order.replace("ord_", "inv_");
    let cancel = json!({"customerId": "8080", "orderId": order});
    for (path, body, code) in [
        (PAYMENT, payment(&invoice_id), "invoice_not_found"),
        (CANCEL, cancel, "order_not_found"),
    ] {
        let reply = cloud.send(&as_customer(request(path, &body), "666")).await;
        assert_problem(&reply, 404, code);
    }
    let event = tests::question(&order);
    assert_problem(
        &cloud.send(&as_customer(event.clone(), "666")).await,
        404,
        "order_not_found",
    );
    assert_eq!(cloud.send(&as_customer(event, "8080")).await.status, 200);
    assert!(cloud.mailer.taken().is_empty() && cloud.queues.take().is_empty());
}

#[tokio::test]
async fn a_request_of_a_route_that_is_not_there_is_404() {
    let cloud = Cloud::start().await;
    for path in ["/api/order/ord_1", "/api/order/cart.json/", "/api/orders"] {
        let reply = cloud.send(&request(path, &cart())).await;
        assert_problem(&reply, 404, "route_not_found");
    }
}

#[tokio::test]
async fn unknown_orders_and_invoices_are_404() {
    let cloud = Cloud::start().await;
    for id in [
        "456".to_owned(),
        format!("ord_{UNKNOWN}"),
        format!("inv_{UNKNOWN}"),
    ] {
        let mut update = cart();
        update["orderId"] = id.as_str().into();
        assert_problem(&cloud.post(CART, &update).await, 404, "order_not_found");
        assert_problem(
            &cloud.post(INVOICE, &invoice(&id)).await,
            404,
            "order_not_found",
        );
        assert_problem(
            &cloud.post(SHIPPING, &shipping(&id)).await,
            404,
            "order_not_found",
        );
        assert_problem(
            &cloud.post(PAYMENT, &payment(&id)).await,
            404,
            "invoice_not_found",
        );
        assert_problem(&cloud.get(&id).await, 404, "order_not_found");
    }
}

#[tokio::test]
async fn an_invoice_that_is_not_issued_yet_is_404() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    let reply = cloud
        .post(PAYMENT, &payment(&order.replace("ord_", "inv_")))
        .await;
    assert_problem(&reply, 404, "invoice_not_found");
}

#[tokio::test]
async fn a_wrong_state_is_409_and_says_what_must_come_first() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    assert_problem(
        &cloud.post(SHIPPING, &shipping(&order)).await,
        409,
        "wrong_state",
    );
    let mail = json!({
        "event": "OrderShipped", "name": "L", "email": "l@example.com", "orderId": order
    });
    assert_problem(&cloud.post(EMAIL, &mail).await, 409, "wrong_state");
    assert_eq!(cloud.post(INVOICE, &invoice(&order)).await.status, 201);
    assert_problem(
        &cloud.post(SHIPPING, &shipping(&order)).await,
        409,
        "wrong_state",
    );
    let mut update = cart();
    update["orderId"] = order.into();
    let reply = cloud.post(CART, &update).await;
    assert_problem(&reply, 409, "wrong_state");
    assert!(
        text(&reply.body["detail"]).contains("invoiced"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn an_invoice_that_differs_from_its_order_is_409_naming_each_difference() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    let mut body = invoice(&order);
    body["tax"] = json!(35);
    body["totalAmount"] = serde_json::from_str("199.99").unwrap();
    body["items"][1]["quantity"] = 2.into();
    body["items"][0]["price"] = 51.into();
    let reply = cloud.post(INVOICE, &body).await;
    assert_problem(&reply, 409, "mismatch");
    assert_eq!(
        reply.pointers(),
        [
            "/tax",
            "/totalAmount",
            "/items/0/price",
            "/items/1/quantity"
        ]
    );
    body = invoice(&order);
    body["items"].as_array_mut().unwrap().pop();
    let reply = cloud.post(INVOICE, &body).await;
    assert_problem(&reply, 409, "mismatch");
    assert_eq!(reply.pointers(), ["/items"]);
    assert_eq!(cloud.get(&order).await.body["status"], "pending");
}

#[tokio::test]
async fn a_payment_of_another_amount_is_409_and_charges_nothing() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    let invoice_id = cloud.post(INVOICE, &invoice(&order)).await.body["invoiceId"].clone();
    let mut body = payment(text(&invoice_id));
    body["totalAmount"] = json!(199);
    let reply = cloud.post(PAYMENT, &body).await;
    assert_problem(&reply, 409, "mismatch");
    assert_eq!(reply.pointers(), ["/totalAmount"]);
    body = payment(text(&invoice_id));
    body["customerId"] = "8081".into();
    assert_problem(&cloud.post(PAYMENT, &body).await, 404, "invoice_not_found");
    assert_eq!(cloud.get(&order).await.body["payment"]["state"], "due");
}

#[tokio::test]
async fn a_body_over_64_kib_is_413_and_one_of_64_kib_is_read() {
    let cloud = Cloud::start().await;
    let body = cart().to_string();
    let padded = |size: usize| format!("{}{body}", " ".repeat(size - body.len()));
    assert_problem(
        &raw_body(&cloud, &padded(65_537)).await,
        413,
        "body_too_large",
    );
    assert_eq!(raw_body(&cloud, &padded(65_536)).await.status, 201);
}

#[tokio::test]
async fn a_content_type_that_is_not_json_is_415_and_none_is_fine() {
    let cloud = Cloud::start().await;
    let with = |content_type: Option<&str>| {
        let mut event = request(CART, &cart());
        match content_type {
            Some(value) => event["headers"]["content-type"] = value.into(),
            None => drop(
                event["headers"]
                    .as_object_mut()
                    .unwrap()
                    .remove("content-type"),
            ),
        }
        event
    };
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        assert_problem(
            &cloud.send(&with(Some(wrong))).await,
            415,
            "unsupported_media_type",
        );
    }
    for right in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.a+json",
    ] {
        assert_eq!(cloud.send(&with(Some(right))).await.status, 201, "{right}");
    }
    assert_eq!(cloud.send(&with(None)).await.status, 201);
}

#[tokio::test]
async fn a_body_in_base64_is_read_like_any_other() {
    let cloud = Cloud::start().await;
    let mut event = request(CART, &Value::Null);
    // {"customerId":"8080","items":[{"productId":"1","quantity":1,"price":1}]}
    event["body"] = "eyJjdXN0b21lcklkIjoiODA4MCIsIml0ZW1zIjpbeyJwcm9kdWN0SWQiOiIxIiwicXVhbnRpdHkiOjEsInByaWNlIjoxfV19".into();
    event["isBase64Encoded"] = true.into();
    assert_eq!(cloud.send(&event).await.status, 201);
}

#[tokio::test]
async fn a_card_number_is_refused_at_every_endpoint_and_in_every_part_of_a_request() {
    const CARD: &str = "4242 4242 4242 4242";
    let cloud = Cloud::start().await;
    let refused = |reply: &Reply, pointers: &[&str]| {
        assert_problem(reply, 422, "card_number_refused");
        assert_eq!(reply.pointers(), pointers, "{}", reply.text);
        assert!(!reply.text.contains("4242"), "{}", reply.text);
        assert!(text(&reply.body["detail"]).contains("token"));
    };
    let mail = json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"});
    for (path, body) in [
        (CART, cart_with_checkout()),
        (INVOICE, invoice("ord_1")),
        (PAYMENT, payment("inv_1")),
        (SHIPPING, shipping("ord_1")),
        (EMAIL, mail),
        (AGREEMENT, agreement()),
    ] {
        for name in body.as_object().unwrap().keys() {
            let mut with = body.clone();
            with[name] = CARD.into();
            refused(&cloud.post(path, &with).await, &[&format!("/{name}")]);
            with[name] = 4_242_424_242_424_242_u64.into();
            refused(&cloud.post(path, &with).await, &[&format!("/{name}")]);
        }
        let mut with = body.clone();
        with[CARD] = 1.into();
        refused(&cloud.post(path, &with).await, &[""]);
        refused(
            &cloud
                .post_with_key(path, "4242-4242-4242-4242", &body)
                .await,
            &[],
        );
    }
    let mut nested = cart_with_checkout();
    nested["checkout"]["shipping_address"] = format!("17 boulevard\n{CARD}").into();
    nested["items"][1]["productId"] = "4242424242424242".into();
    let reply = cloud.post(CART, &nested).await;
    assert_eq!(reply.body["errors"].as_array().map(Vec::len), Some(2));
    assert_eq!(reply.code(), "card_number_refused");

    for hidden in [
        "x4242424242424242",
        "4242.4242/4242_4242",
        "٤٢٤٢\u{200b}４２４２ ४२४२-4242",
    ] {
        let mut with = cart();
        with["customerId"] = hidden.into();
        refused(&cloud.post(CART, &with).await, &["/customerId"]);
    }
    let card = "4242424242424242";
    refused(&cloud.get(card).await, &[]);
    for method in ["GET", "DELETE"] {
        refused(
            &cloud.send(&tests::customer_request(method, card, "")).await,
            &[],
        );
    }
    let query = format!("partner={card}");
    refused(
        &cloud
            .send(&tests::customer_request("DELETE", "8080", &query))
            .await,
        &[],
    );
    assert!(cloud.database.stream_records(0).is_empty());
}

/// Without their non-digits, all of them but the first pass the Luhn check.
#[tokio::test]
async fn numbers_of_other_kinds_are_no_card_numbers() {
    let cloud = Cloud::start().await;
    for number in [
        "4242424242424243",
        "4006381330060",
        "ean-5018374350046",
        "1795428725000",
        "972545870008",
        "00972545870008",
        "42424242a42424242",
        "42424242-4242-4242-4242-424242424242",
    ] {
        let mut cart = cart_with_checkout();
        cart["customerId"] = number.into();
        cart["items"][0]["productId"] = number.into();
        let reply = cloud.post(CART, &cart).await;
        assert_eq!(reply.status, 201, "{number}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_malformed_idempotency_key_is_422() {
    let cloud = Cloud::start().await;
    for key in ["", "a b", &"k".repeat(256)] {
        let reply = cloud.post_with_key(CART, key, &cart()).await;
        assert_problem(&reply, 422, "malformed_idempotency_key");
    }
    assert_eq!(
        cloud
            .post_with_key(CART, &"k".repeat(255), &cart())
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_declined_card_is_402_with_its_reason() {
    let cloud = Cloud::start().await;
    for (customer, code, retryable) in [
        ("sandbox-insufficient-funds", "insufficient_funds", true),
        ("sandbox-stolen-card", "stolen_card", false),
    ] {
        let reply = pay_as(&cloud, customer).await;
        assert_problem(&reply, 402, "payment_declined");
        assert_eq!(reply.body["decline_code"], code);
        assert_eq!(reply.body["retryable"], retryable);
    }
    let reply = pay_as(&cloud, "sandbox-action-required").await;
    assert_problem(&reply, 402, "payment_action_required");
    assert_eq!(reply.body["decline_code"], "action_required");
    assert_eq!(reply.body["retryable"], true);
}

/// Places, invoices, and pays the contract's cart as that customer; returns the payment's answer.
async fn pay_as(cloud: &Cloud<payment::partners::Sandbox>, customer: &str) -> Reply {
    let mut cart = cart();
    cart["customerId"] = customer.into();
    let order = place(cloud, &cart).await;
    let mut body = invoice(&order);
    body["customerId"] = customer.into();
    let reply = cloud.post(INVOICE, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let mut body = payment(text(&reply.body["invoiceId"]));
    body["customerId"] = customer.into();
    cloud.post(PAYMENT, &body).await
}

#[tokio::test]
async fn a_payment_that_settles_later_is_409_with_retry_after() {
    let cloud = Cloud::start().await;
    let reply = pay_as(&cloud, "sandbox-pending").await;
    assert_problem(&reply, 409, "payment_pending");
    assert_eq!(reply.header("retry-after"), "30");
}

#[tokio::test]
async fn a_partner_that_is_out_or_does_not_answer_is_503_with_retry_after() {
    let cloud = Cloud::start().await;
    let reply = pay_as(&cloud, "sandbox-outage").await;
    assert_problem(&reply, 503, "billing_partner_unavailable");
    assert_eq!(reply.header("retry-after"), "5");
    let reply = pay_as(&cloud, "sandbox-timeout").await;
    assert_problem(&reply, 503, "payment_outcome_unknown");
    assert_eq!(reply.header("retry-after"), "5");
}

#[tokio::test]
async fn mail_trouble_is_503_and_says_what_is_known() {
    let cloud = Cloud::start().await;
    let mail = json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"});
    for (kind, code) in [
        (FailureKind::Throttled, Some("TooManyRequestsException")),
        (FailureKind::NotSent, None),
        (
            FailureKind::Refused,
            Some("MailFromDomainNotVerifiedException"),
        ),
    ] {
        cloud.mailer.fail_next(kind, code);
        let reply = cloud.post_with_key(EMAIL, "mail-1", &mail).await;
        assert_problem(&reply, 503, "mail_unavailable");
        assert!(reply.text.contains("Nothing was changed"), "{}", reply.text);
        assert_eq!(reply.header("retry-after"), "5");
    }
    assert_eq!(
        cloud.post_with_key(EMAIL, "mail-1", &mail).await.status,
        200
    );
    assert_eq!(
        cloud.post_with_key(EMAIL, "mail-1", &mail).await.status,
        200
    );
    assert_eq!(cloud.mailer.taken().len(), 1);

    // The shipping path promises a mail, which needs the ledger but not the queue.
    cloud.queues.set_down(&[Queue::Email]);
    assert_eq!(cloud.post(SHIPPING, &mail).await.status, 200);
}

#[tokio::test]
async fn a_mail_that_ses_refuses_or_whose_fate_is_unknown_is_never_sent_again() {
    let cloud = Cloud::start().await;
    let mail = json!({"event": "InvoiceCreated", "name": "L", "email": "l@example.com"});
    cloud
        .mailer
        .fail_next(FailureKind::Refused, Some("BadRequestException"));
    for _ in 0..2 {
        let reply = cloud.post_with_key(EMAIL, "refused", &mail).await;
        assert_problem(&reply, 422, "address_rejected");
    }
    cloud.mailer.fail_next(FailureKind::Unanswered, None);
    for _ in 0..2 {
        let reply = cloud.post_with_key(EMAIL, "lost", &mail).await;
        assert_problem(&reply, 409, "mail_unconfirmed");
    }
    assert_eq!(cloud.mailer.taken().len(), 1);
}

#[tokio::test]
async fn a_database_that_is_gone_is_503_and_shows_nothing_of_itself() {
    use domain::{TaxMode, TaxPolicy};
    use platform::config::{Authentication, Shop};
    use platform::runtime::Runtime;
    use service::lambda::Handler;
    use store::Store;

    // A port that is no longer listened on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let credentials =
        aws_sdk_dynamodb::config::Credentials::new("test", "SECRET-CANARY", None, None, "test");
    let endpoint = Some(format!("http://127.0.0.1:{port}").parse().unwrap());
    let aws = platform::aws::Aws::new("eu-central-1".to_owned(), credentials, endpoint);
    let runtime = Runtime::system();
    let store = Store::new(aws.dynamodb(), tests::Database::tables(), runtime.clone());
    let tax = TaxPolicy::new(TaxMode::OfTotal, "0.18".parse().unwrap()).unwrap();
    let shop = Shop {
        limits: domain::ChargeLimits::of(None, "USD".parse().unwrap()).unwrap(),
        tax,
    };
    let cart_service = cart::Cart::new(store, shop, runtime);
    let handler = Handler::new(cart_service, Authentication::None);
    let answer = tests::invoke(&handler, &request(CART, &cart())).await;
    assert_eq!(answer["statusCode"], 503);
    assert_eq!(answer["headers"]["retry-after"], "5");
    let body = text(&answer["body"]);
    assert!(body.contains("database_unavailable"), "{body}");
    for secret in [
        "127.0.0.1",
        "SECRET-CANARY",
        "PutItem",
        "OrdersTable",
        "connect",
    ] {
        assert!(!body.contains(secret), "{body}");
    }
}

#[tokio::test]
async fn a_currency_without_minor_units_has_no_decimals_and_one_with_three_has_three() {
    let jpy = Cloud::with(Options {
        currency: "JPY",
        ..Options::default()
    })
    .await;
    let mut cart = cart();
    cart["items"][0]["price"] = serde_json::from_str("50.5").unwrap();
    assert_eq!(jpy.post(CART, &cart).await.pointers(), ["/items/0/price"]);
    cart["items"][0]["price"] = 333.into();
    let reply = jpy.post(CART, &cart).await;
    // 766 × 0.18 = 137.88
    assert!(
        reply
            .text
            .contains("\"tax\":138.0,\"subTotalAmount\":628.0"),
        "{}",
        reply.text
    );

    let kwd = Cloud::with(Options {
        currency: "KWD",
        ..Options::default()
    })
    .await;
    cart["items"][0]["price"] = serde_json::from_str("0.123").unwrap();
    let reply = kwd.post(CART, &cart).await;
    // 100.246 × 0.18 = 18.04428
    assert!(
        reply
            .text
            .contains("\"tax\":18.044,\"subTotalAmount\":82.202"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn a_claim_that_somebody_holds_is_409_with_retry_after() {
    let cloud = Cloud::start().await;
    let order = place(&cloud, &cart()).await;
    let reply = cloud.post(INVOICE, &invoice(&order)).await;
    let body = payment(text(&reply.body["invoiceId"]));
    // A worker claims the order and dies.
    let id = domain::OrderId::parse(&order).unwrap();
    let now = cloud.runtime.now();
    cloud
        .store
        .claim_payment(&id, None, None, payment::LEASE, now)
        .await
        .unwrap();
    let reply = cloud.post(PAYMENT, &body).await;
    assert_problem(&reply, 409, "in_progress");
    assert_eq!(reply.header("retry-after"), "2");
    cloud.pass(payment::LEASE + Duration::from_secs(1));
    assert_eq!(cloud.post(PAYMENT, &body).await.status, 201);
}
