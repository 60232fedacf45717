//! `api/openapi.yaml` describes the API of the functions: no more, no less. In addition to these
//! tests, `Services::send` checks each exchange of every test and of the simulator against it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use service::http::{Callers, Repeat, Route};
use tests::{Cloud, OpenApi, Options, Reply, customer_request, question, request, search};

use crate::contract::{cart, cart_with_checkout, text};
use crate::errors::as_customer;
use crate::problems;
use crate::shop::{invoice, pay, place};
use crate::{easypost_webhooks, webhooks};

/// The 26 characters that the order in the description's examples shares with its invoice.
const DOCUMENTED: &str = "01M84J0SWCENX8AE1T464WG9MQ";

fn at<'a>(value: &'a Value, names: &[&str]) -> &'a Value {
    let mut value = value;
    for name in names {
        value = resolved(&value[*name]);
    }
    value
}

fn resolved(value: &Value) -> &Value {
    let Some(target) = value["$ref"].as_str() else {
        return value;
    };
    let pointer = target.trim_start_matches('#');
    resolved(OpenApi::get().document().pointer(pointer).unwrap())
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name, resolved(value)))
}

fn operation(route: Route) -> &'static Value {
    let (method, path) = route.key().split_once(' ').unwrap();
    let paths = &OpenApi::get().document()["paths"];
    &paths[path][method.to_lowercase()]
}

/// The codes that a problem response declares.
fn codes(response: &Value) -> BTreeSet<String> {
    let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1];
    let code = &schema["properties"]["code"];
    let listed = code["enum"].as_array().cloned();
    let codes = listed.unwrap_or_else(|| vec![code["const"].clone()]);
    let codes = codes.iter().filter_map(Value::as_str);
    codes.map(str::to_owned).collect()
}

#[test]
fn the_version_is_the_projects() {
    let version = &OpenApi::get().document()["info"]["version"];
    assert_eq!(*version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_route_is_described_and_no_other() {
    let mut described = BTreeSet::new();
    for (path, item) in members(&OpenApi::get().document()["paths"]) {
        for (name, _) in members(item).filter(|(name, _)| *name != "parameters") {
            described.insert(format!("{} {path}", name.to_uppercase()));
        }
    }
    let routes: BTreeSet<_> = Route::ALL.map(|route| route.key().to_owned()).into();
    assert_eq!(described, routes);
}

#[test]
fn every_route_is_described_with_who_may_call_it() {
    for route in Route::ALL {
        let expected = match route.callers() {
            Callers::Backend => json!([{"backendToken": []}]),
            Callers::Customers => json!([{"backendToken": []}, {"customerToken": []}]),
            Callers::Partners | Callers::Anyone => json!([]),
        };
        let operation = operation(route);
        assert_eq!(operation["security"], expected, "{}", route.key());
        let may_be_forbidden = operation["responses"]["403"].is_object();
        let is_backends = route.callers() == Callers::Backend;
        assert_eq!(may_be_forbidden, is_backends, "{}", route.key());
    }
}

#[test]
fn every_error_code_is_described_and_no_other() {
    let schemas = &OpenApi::get().document()["components"]["schemas"];
    let described = schemas["ErrorCode"]["enum"].as_array().unwrap();
    let described: BTreeSet<_> = described.iter().map(text).collect();
    let errors = problems::errors();
    let codes: BTreeSet<_> = errors.iter().map(service::error::Error::code).collect();
    assert_eq!(described, codes);
}

#[test]
fn every_problem_fits_its_description() {
    for error in problems::errors() {
        let problem = problems::body(&error, Repeat::Unkeyed);
        let schema = match problem["status"].as_u64() {
            Some(402) => "/components/schemas/PaymentProblem",
            _ => "/components/schemas/Problem",
        };
        let misfit = OpenApi::get().misfit(schema, &problem);
        assert!(misfit.is_empty(), "{problem}\n{misfit}");
    }
}

#[test]
fn the_example_of_a_problem_is_an_answer_of_the_code() {
    let errors = problems::errors();
    let answers: Vec<_> = errors
        .iter()
        .map(|error| problems::body(error, Repeat::Unkeyed))
        .collect();
    let mut shown = BTreeSet::new();
    for (name, example) in members(&OpenApi::get().document()["components"]["examples"]) {
        let problem = &example["value"];
        assert_eq!(problem["code"], name.as_str());
        assert!(answers.contains(problem), "never answered: {problem}");
        shown.insert(name.as_str());
    }
    let codes: BTreeSet<_> = errors.iter().map(service::error::Error::code).collect();
    assert_eq!(shown, codes);
}

/// A response shows an example of each code that it declares, with the same status.
#[test]
fn every_declared_code_has_its_example_at_its_status() {
    let mut declared = BTreeSet::new();
    for route in Route::ALL {
        for (status, response) in members(&operation(route)["responses"]) {
            let content = &response["content"]["application/problem+json"];
            if content.is_null() {
                continue;
            }
            let codes = codes(response);
            let mut shown = BTreeSet::new();
            for (name, example) in members(&content["examples"]) {
                let place = format!("{} {status} {name}", route.key());
                assert_eq!(example["value"]["status"].to_string(), *status, "{place}");
                shown.insert(name.clone());
            }
            assert_eq!(codes, shown, "{} {status}", route.key());
            declared.extend(codes);
        }
    }
    let errors = problems::errors();
    let codes: BTreeSet<_> = errors.iter().map(|error| error.code().to_owned()).collect();
    assert_eq!(declared, codes);
}

/// The sample events match the description of their routes.
#[test]
fn the_sample_events_fit_the_description() {
    let mut routes = BTreeSet::new();
    for file in std::fs::read_dir("../events").unwrap() {
        let path = file.unwrap().path();
        let event = std::fs::read_to_string(&path).unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        let Some(key) = event["routeKey"].as_str() else {
            continue;
        };
        let route = Route::ALL.into_iter().find(|route| route.key() == key);
        let misfits = OpenApi::get().request_misfits(route.unwrap(), &event);
        assert!(misfits.is_empty(), "{}:\n{misfits}", path.display());
        routes.insert(key.to_owned());
    }
    assert_eq!(routes.len(), Route::ALL.len(), "{routes:?}");
}

fn sample(event: &str) -> Value {
    serde_json::from_str(event).unwrap()
}

/// One documented request, sent after the requests that it needs.
async fn documented(cloud: &Cloud<payment::partners::Sandbox>, route: Route, name: &str) -> Value {
    let order = match (route, name) {
        (Route::Cart, "cart" | "checkout" | "reference")
        | (Route::Shipping | Route::Email, "mail")
        | (Route::Health | Route::Approval | Route::Agreements | Route::Revocation, _) => None,
        (Route::Order, "shipped") => {
            let order = place(cloud, &cart_with_checkout()).await;
            cloud.settle().await;
            Some(order)
        }
        _ => Some(place(cloud, &cart()).await),
    };
    if let Some(order) = &order {
        if matches!(
            route,
            Route::Payment | Route::Refund | Route::Shipping | Route::Email
        ) {
            invoice(cloud, order).await;
        }
        if matches!(route, Route::Refund | Route::Shipping) {
            assert_eq!(pay(cloud, order).await.status, 201);
        }
    }
    if route == Route::Revocation || name == "approved" {
        let agreement = example(Route::Approval, "stripe", None);
        let reply = cloud.post("/api/customer/billing.json", &agreement).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
    let (method, path) = route.key().split_once(' ').unwrap();
    match route {
        Route::Order => question(order.as_deref().unwrap()),
        Route::Orders => search("customerId=8080"),
        Route::Health => sample(include_str!("../../events/health.json")),
        Route::Refund => {
            let mut event = request(path, &example(route, name, order.as_deref()));
            event["headers"]["idempotency-key"] = "refund".into();
            event
        }
        Route::Agreements => customer_request(method, "8081", ""),
        Route::Revocation => customer_request(method, "8081", "partner=stripe"),
        Route::Webhook => {
            let body = example(route, name, order.as_deref()).to_string();
            match name {
                "stripe" => {
                    let now = cloud.runtime.now().seconds();
                    let header = webhooks::signature(now, &body);
                    webhooks::webhook("stripe", ("stripe-signature", &header), &body)
                }
                "easypost" => easypost_webhooks::signed(tests::EASYPOST_WEBHOOK_SECRET, &body),
                other => panic!("nobody signs for {other}"),
            }
        }
        _ => request(path, &example(route, name, order.as_deref())),
    }
}

/// A documented body about this order.
fn example(route: Route, name: &str, order: Option<&str>) -> Value {
    let content = &operation(route)["requestBody"]["content"]["application/json"];
    let body = at(content, &["examples", name])["value"].to_string();
    let id = order.map_or(DOCUMENTED, |order| order.trim_start_matches("ord_"));
    serde_json::from_str(&body.replace(DOCUMENTED, id)).unwrap()
}

/// The answer with the documented order's ID, and with documented numbers in place of random ones.
fn as_documented(documented: &Value, reply: &Reply) -> Value {
    let answered = reply.text.clone();
    let ids: BTreeSet<_> = answered
        .match_indices("ord_")
        .map(|(start, _)| answered[start + 4..start + 30].to_owned())
        .collect();
    let answered = ids
        .iter()
        .fold(answered.clone(), |text, id| text.replace(id, DOCUMENTED));
    let mut answered = serde_json::from_str(&answered).unwrap();
    replace_drawn(documented, &mut answered);
    answered
}

fn replace_drawn(documented: &Value, answered: &mut Value) {
    let (Some(fields), Some(answered)) = (documented.as_object(), answered.as_object_mut()) else {
        return;
    };
    for name in ["transactionId", "tracking_number", "reference", "refundId"] {
        let same_type = |value: &&Value| {
            let other = &answered.get(name);
            other.is_some_and(|other| other.is_number() == value.is_number())
        };
        if let Some(value) = fields.get(name).filter(same_type).cloned() {
            answered.insert(name.to_owned(), value);
        }
    }
    for (name, value) in answered {
        replace_drawn(fields.get(name).unwrap_or(&Value::Null), value);
    }
}

#[tokio::test]
async fn every_documented_request_gets_its_documented_answer() {
    for route in Route::ALL {
        let mut answered = BTreeSet::new();
        let responses = &operation(route)["responses"];
        for (status, response) in members(responses).filter(|(status, _)| status.starts_with('2')) {
            let content = &response["content"]["application/json"];
            for (name, expected) in members(&content["examples"]) {
                let place = format!("{} {status} {name}", route.key());
                let cloud = Cloud::start().await;
                let event = documented(&cloud, route, name).await;
                let reply = cloud.send(&event).await;
                assert_eq!(reply.status.to_string(), *status, "{place}: {}", reply.text);
                let expected = &expected["value"];
                assert_eq!(as_documented(expected, &reply), *expected, "{place}");
                answered.insert(name.clone());
            }
        }
        let body = &operation(route)["requestBody"]["content"]["application/json"];
        let asked: BTreeSet<_> = members(&body["examples"]).map(|(name, _)| name).collect();
        let unanswered: Vec<_> = asked
            .into_iter()
            .filter(|name| !answered.contains(*name))
            .collect();
        assert!(unanswered.is_empty(), "{}: {unanswered:?}", route.key());
        assert!(!answered.is_empty(), "{}", route.key());
    }
}

/// Requests that cause an error, by its code.
async fn provoked(code: &str) -> Reply {
    const CART: &str = "/api/order/cart.json";
    const PAYMENT: &str = "/api/order/payment.json";
    const REFUND: &str = "/api/order/refund.json";
    let options = Options {
        sends_mails: code != "mail_not_configured",
        ..Options::default()
    };
    let cloud = Cloud::with(options).await;
    let unknown = "ord_00000000000000000000000000";
    let mut event = request(CART, &cart());
    let mail = example(Route::Email, "mail", None);
    match code {
        "empty_body" => event["body"] = Value::Null,
        "malformed_request" => {
            event["requestContext"]["authorizer"] = json!({"jwt": 1});
        }
        "unauthenticated" => event["requestContext"]["authorizer"] = Value::Null,
        "backend_only" => event = as_customer(event, "8080"),
        "body_too_large" => event["body"] = "x".repeat(64 * 1024 + 1).into(),
        "unsupported_media_type" => event["headers"]["content-type"] = "text/plain".into(),
        "malformed_idempotency_key" => event["headers"]["idempotency-key"] = "a b".into(),
        "idempotency_key_reused" => {
            cloud.post_with_key(CART, "k", &cart_with_checkout()).await;
            event["headers"]["idempotency-key"] = "k".into();
        }
        "invalid_fields" => {
            let items = json!({"items": cart()["items"]});
            event = request(CART, &items);
        }
        "order_not_found" => event = question(unknown),
        "invoice_not_found" => event = request(PAYMENT, &example(Route::Payment, "payment", None)),
        "customer_not_found" => {
            event = as_customer(customer_request("GET", "8080", ""), "8081");
        }
        "billing_agreement_not_found" => event = customer_request("DELETE", "8080", ""),
        "partner_not_found" => event = webhooks::webhook("adyen", ("x", "y"), "{}"),
        "webhook_signature_invalid" => event = webhooks::webhook("stripe", ("x", "y"), "{}"),
        "payment_declined" | "payment_action_required" => {
            let customer = match code {
                "payment_declined" => "sandbox-insufficient-funds",
                _ => "sandbox-action-required",
            };
            let mut cart = cart();
            cart["customerId"] = customer.into();
            let order = place(&cloud, &cart).await;
            let mut bill = example(Route::Invoice, "invoice", Some(&order));
            bill["customerId"] = customer.into();
            assert_eq!(
                cloud.post("/api/order/invoice.json", &bill).await.status,
                201
            );
            let mut pay = example(Route::Payment, "payment", Some(&order));
            pay["customerId"] = customer.into();
            event = request(PAYMENT, &pay);
        }
        "idempotency_key_required" => {
            event = request(REFUND, &example(Route::Refund, "refund", None));
        }
        "refund_exceeds_payment" => {
            let order = place(&cloud, &cart()).await;
            invoice(&cloud, &order).await;
            assert_eq!(pay(&cloud, &order).await.status, 201);
            let mut refund = example(Route::Refund, "refund", Some(&order));
            refund["amount"] = 187.5.into();
            let first = cloud.post_with_key(REFUND, "1", &refund).await;
            assert_eq!(first.status, 201, "{}", first.text);
            event = request(REFUND, &refund);
            event["headers"]["idempotency-key"] = "2".into();
        }
        "mail_not_configured" => event = request("/api/order/email.json", &mail),
        "route_not_found" => event = request("/api/order/refund", &cart()),
        other => panic!("nothing provokes {other}"),
    }
    cloud.send(&event).await
}

#[tokio::test]
async fn what_provokes_a_problem_gets_its_documented_answer() {
    let examples = &OpenApi::get().document()["components"]["examples"];
    for code in [
        "empty_body",
        "malformed_request",
        "unauthenticated",
        "backend_only",
        "body_too_large",
        "unsupported_media_type",
        "malformed_idempotency_key",
        "idempotency_key_reused",
        "invalid_fields",
        "order_not_found",
        "invoice_not_found",
        "customer_not_found",
        "billing_agreement_not_found",
        "partner_not_found",
        "webhook_signature_invalid",
        "payment_declined",
        "payment_action_required",
        "idempotency_key_required",
        "refund_exceeds_payment",
        "mail_not_configured",
        "route_not_found",
    ] {
        let mut answered = provoked(code).await.body;
        let mut documented = examples[code]["value"].clone();
        for problem in [&mut answered, &mut documented] {
            // The URL of the page is the partner's.
            if let Some(action) = problem.get_mut("nextAction") {
                *action = action["type"].clone();
            }
        }
        assert_eq!(answered, documented, "{code}");
    }
}

/// If the description allowed everything, the other tests would notice nothing.
#[tokio::test]
async fn what_is_not_described_is_noticed() {
    let cloud = Cloud::start().await;
    let event = request("/api/order/cart.json", &cart());
    let reply = cloud.send(&event).await;
    let openapi = OpenApi::get();
    assert_eq!(openapi.misfits(&event, &reply), "");

    let with = |change: &dyn Fn(&mut Reply)| {
        let mut reply = reply.clone();
        change(&mut reply);
        reply
    };
    let undescribed = BTreeMap::from([
        ("a status", with(&|reply| reply.status = 202)),
        (
            "a content type",
            with(&|reply| reply.headers["content-type"] = "text/plain".into()),
        ),
        (
            "a header",
            with(&|reply| reply.headers["x-powered-by"] = "us".into()),
        ),
        (
            "a header that is gone",
            with(&|reply| {
                reply
                    .headers
                    .as_object_mut()
                    .map(|headers| headers.remove("location"));
            }),
        ),
        ("a field", with(&|reply| reply.body["total"] = 1.into())),
        (
            "a field of an item",
            with(&|reply| reply.body["items"][0]["name"] = "a".into()),
        ),
        ("a type", with(&|reply| reply.body["tax"] = "36.0".into())),
        (
            "a field that is gone",
            with(&|reply| {
                reply
                    .body
                    .as_object_mut()
                    .map(|fields| fields.remove("tax"));
            }),
        ),
    ]);
    for (what, reply) in undescribed {
        assert_ne!(openapi.misfits(&event, &reply), "", "{what}");
    }

    let mut accepted = event.clone();
    let mut cart = cart();
    cart["coupon"] = "X".into();
    accepted["body"] = cart.to_string().into();
    assert_ne!(
        openapi.misfits(&accepted, &reply),
        "",
        "a field of a request"
    );
    let mut accepted = event.clone();
    accepted["headers"]["idempotency-key"] = "a b".into();
    assert_ne!(
        openapi.misfits(&accepted, &reply),
        "",
        "a header of a request"
    );

    let mut problem = cloud.post("/api/order/cart.json", &json!({})).await;
    assert_eq!(openapi.misfits(&event, &problem), "");
    let fields: &mut Map<_, _> = problem.body.as_object_mut().unwrap();
    fields.insert("code".to_owned(), "order_not_found".into());
    assert_ne!(
        openapi.misfits(&event, &problem),
        "",
        "a code of another status"
    );
}
