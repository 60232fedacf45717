//! Authorization: every route with every kind of token, through the real handlers.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use service::http::{Callers, Route};
use service::lambda::Function;
use tests::{Cloud, Reply, customer_request, question, request, search};

use crate::agreements::agreement;
use crate::contract::{cart, invoice, payment, shipping, text};
use crate::errors::assert_problem;

type Shop = Cloud<payment::partners::Sandbox>;

/// Claims in the format in which API Gateway's HTTP APIs pass them to a function: each value is a
/// text; a list is its elements separated by spaces, in brackets; an object is JSON; null values
/// are left out. AWS documents only that there are claims ("Control access to HTTP APIs with JWT
/// authorizers"); others measured the format (floci, `JwtClaimsWireFormatTest`; the AWS solution
/// "Claude Code with Amazon Bedrock", pull request 803). `scopes` is null for a route that requires
/// none.
fn handed_on(claims: &Value) -> Value {
    fn rendered(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(values) => {
                let values: Vec<_> = values.iter().map(rendered).collect();
                format!("[{}]", values.join(" "))
            }
            other => other.to_string(),
        }
    }
    let claims = claims.as_object().unwrap().iter();
    let claims = claims.filter(|(_, value)| !value.is_null());
    claims
        .map(|(name, value)| (name.clone(), Value::from(rendered(value))))
        .collect()
}

/// The same request with a token with these claims.
pub(crate) fn with_claims(mut event: Value, claims: &Value) -> Value {
    event["requestContext"]["authorizer"] =
        json!({"jwt": {"claims": handed_on(claims), "scopes": null}});
    event
}

/// The same request with this idempotency key.
fn keyed(mut event: Value, key: &str) -> Value {
    event["headers"]["idempotency-key"] = key.into();
    event
}

/// The bearer of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearer {
    /// The shop's back end.
    Backend,
    /// The customer 8080.
    Customer,
    /// Nobody.
    Nobody,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    ToTheBackend,
    ToTheCustomerToo,
}

struct Row {
    name: &'static str,
    open: Open,
    /// The status that an authorized caller gets, however often it calls.
    status: u64,
    event: Value,
}

/// Every route that requires a token, with a request about customer 8080 that succeeds.
async fn rows(shop: &Shop) -> Vec<Row> {
    use Open::{ToTheBackend, ToTheCustomerToo};

    let mut orders = Vec::new();
    for _ in 0..2 {
        let reply = shop.post("/api/order/cart.json", &cart()).await;
        orders.push(text(&reply.body["orderId"]).to_owned());
    }
    let (order, cancelled) = (&*orders[0], &*orders[1]);
    let cancel = json!({"customerId": "8080", "orderId": cancelled});
    let refund = json!({"customerId": "8080", "orderId": order, "amount": 1});
    let mail = json!({"event": "OrderShipped", "name": "L", "email": "l@example.com"});
    let post = |name, path: &str, open, status, body: &Value| Row {
        name,
        open,
        status,
        event: request(path, body),
    };
    let customer = |name, method: &str| Row {
        name,
        open: Open::ToTheCustomerToo,
        status: 200,
        event: customer_request(method, "8080", ""),
    };
    let invoice_id = order.replace("ord_", "inv_");
    let all = vec![
        post("cart", "/api/order/cart.json", ToTheBackend, 201, &cart()),
        post(
            "invoice",
            "/api/order/invoice.json",
            ToTheBackend,
            201,
            &invoice(order),
        ),
        post(
            "payment",
            "/api/order/payment.json",
            ToTheCustomerToo,
            201,
            &payment(&invoice_id),
        ),
        post(
            "shipping",
            "/api/order/shipping.json",
            ToTheBackend,
            201,
            &shipping(order),
        ),
        post(
            "mail at shipping",
            "/api/order/shipping.json",
            ToTheBackend,
            200,
            &mail,
        ),
        post("email", "/api/order/email.json", ToTheBackend, 200, &mail),
        post(
            "cancel",
            "/api/order/cancel.json",
            ToTheCustomerToo,
            200,
            &cancel,
        ),
        Row {
            name: "refund",
            open: ToTheBackend,
            status: 201,
            event: keyed(request("/api/order/refund.json", &refund), "refund-1"),
        },
        post(
            "approval",
            "/api/customer/billing.json",
            ToTheBackend,
            201,
            &agreement(),
        ),
        customer("agreements", "GET"),
        customer("revocation", "DELETE"),
        Row {
            name: "order",
            open: ToTheCustomerToo,
            status: 200,
            event: question(order),
        },
        Row {
            name: "orders",
            open: ToTheCustomerToo,
            status: 200,
            event: search("customerId=8080"),
        },
    ];
    for row in &all {
        let reply = shop.send(&row.event).await;
        assert_eq!(reply.status, row.status, "{}: {}", row.name, reply.text);
    }
    all
}

/// Counts everything that a refused request could have changed.
fn traces(shop: &Shop) -> (usize, usize, usize) {
    let records = shop.database.stream_records(0).len();
    (records, shop.mailer.taken().len(), shop.queues.take().len())
}

fn assert_answer(row: &Row, token: &str, bearer: Bearer, reply: &Reply) {
    let name = format!("{} with {token}", row.name);
    match (bearer, row.open) {
        (Bearer::Nobody, _) => {
            assert_eq!(
                (reply.status, reply.code()),
                (401, "unauthenticated"),
                "{name}"
            );
            assert_problem(reply, 401, "unauthenticated");
        }
        (Bearer::Customer, Open::ToTheBackend) => {
            assert_eq!(
                (reply.status, reply.code()),
                (403, "backend_only"),
                "{name}"
            );
            assert_problem(reply, 403, "backend_only");
        }
        (Bearer::Backend, _) | (Bearer::Customer, Open::ToTheCustomerToo) => {
            assert_eq!(reply.status, row.status, "{name}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn every_route_that_takes_tokens_is_tried() {
    let rows = rows(&Cloud::start().await).await;
    let tried: BTreeSet<_> = rows
        .iter()
        .map(|row| text(&row.event["routeKey"]))
        .collect();
    let all = Route::ALL.into_iter();
    let is_closed =
        |route: &Route| matches!(route.callers(), Callers::Backend | Callers::Customers);
    let closed = all.filter(is_closed);
    assert_eq!(tried, closed.map(Route::key).collect());
}

/// Sends every token to every route. A refused request must leave no trace.
async fn try_all(tokens: &[(&str, Bearer, Value)]) {
    let shop = Cloud::start().await;
    let rows = rows(&shop).await;
    traces(&shop);
    for (token, bearer, claims) in tokens {
        for row in &rows {
            let before = traces(&shop);
            let reply = shop.send(&with_claims(row.event.clone(), claims)).await;
            assert_answer(row, token, *bearer, &reply);
            if reply.status >= 400 {
                assert_eq!(
                    traces(&shop),
                    (before.0, before.1, 0),
                    "{} with {token}",
                    row.name
                );
            }
        }
    }
}

#[tokio::test]
async fn the_backend_scope_counts_as_a_text_and_as_a_list_in_scope_and_in_scp_and_whole() {
    use Bearer::{Backend, Customer};
    let token = |name: &str, value: Value| json!({"client_id": "app", "sub": "8080", name: value});
    let mut tokens = Vec::new();
    for name in ["scope", "scp"] {
        for value in [
            json!("orderflow/backend"),
            json!("openid orderflow/backend email"),
            json!(" openid  orderflow/backend "),
            json!(["orderflow/backend"]),
            json!(["orderflow/backend", "openid"]),
            json!(["openid", "orderflow/backend"]),
            json!(["openid", "orderflow/backend", "email"]),
        ] {
            tokens.push(("the scope", Backend, token(name, value)));
        }
        for value in [
            json!("orderflow/backend2"),
            json!("xorderflow/backend"),
            json!("orderflow/backend/x orderflow"),
            json!("ORDERFLOW/BACKEND"),
            json!("orderflow/backend,openid"),
            json!("orderflow backend"),
            json!("\"orderflow/backend\""),
            json!("[[orderflow/backend]]"),
            json!("[orderflow/backend"),
            json!("orderflow/backend]"),
            json!(["orderflow/backend2", "xorderflow/backend"]),
            json!([["orderflow/backend"]]),
            json!({"orderflow/backend": true}),
            json!([]),
            json!(""),
            json!(null),
            json!(7),
        ] {
            tokens.push(("another scope", Customer, token(name, value)));
        }
    }
    // Values that a customer or another resource may control.
    for name in [
        "name",
        "nickname",
        "given_name",
        "email",
        "custom:scope",
        "scopes",
        "permissions",
        "roles",
        "groups",
        "cognito:groups",
        "aud",
        "azp",
        "username",
        "https://shop.example/scope",
    ] {
        for value in [json!("orderflow/backend"), json!(["orderflow/backend"])] {
            tokens.push(("the scope's name elsewhere", Customer, token(name, value)));
        }
    }
    try_all(&tokens).await;
}

#[tokio::test]
async fn what_the_authorizer_lists_as_scopes_says_nothing_that_the_claims_do_not() {
    let shop = Cloud::start().await;
    for row in rows(&shop).await {
        let claims = json!({"client_id": "app", "sub": "8080", "scope": "openid"});
        let mut event = with_claims(row.event.clone(), &claims);
        event["requestContext"]["authorizer"]["jwt"]["scopes"] = json!(["orderflow/backend"]);
        assert_answer(&row, "scopes", Bearer::Customer, &shop.send(&event).await);
    }
}

type Token = (&'static str, Bearer, Value);

/// Tokens as published by Cognito and Okta, reduced to what distinguishes them. The user is 8080.
fn of_cognito_and_okta() -> Vec<Token> {
    use Bearer::{Backend, Customer, Nobody};
    vec![
        // Amazon Cognito developer guide, "Understanding the access token", "Understanding the
        // identity (ID) token", "Scopes, M2M, and resource servers".
        (
            "Cognito, client credentials",
            Backend,
            json!({"sub": "1example23456789", "token_use": "access", "scope": "orderflow/backend",
                "auth_time": 1_676_313_851, "version": 2, "jti": "j", "client_id": "1example23456789",
                "iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_example"}),
        ),
        (
            "Cognito, user's access token",
            Customer,
            json!({"sub": "8080", "device_key": "d", "cognito:groups": ["orderflow/backend"],
                "version": 2, "client_id": "xxxxxxxxxxxxexample", "origin_jti": "o", "event_id": "e",
                "token_use": "access", "scope": "phone openid profile resourceserver.1/appclient2 email",
                "auth_time": 1_676_313_851, "exp": 1_676_317_451, "username": "my-test-user"}),
        ),
        (
            "Cognito, ID token",
            Nobody,
            json!({"sub": "8080", "cognito:groups": ["test-group-a"], "email_verified": true,
                "cognito:username": "my-test-user", "nonce": "n", "aud": "xxxxxxxxxxxxexample",
                "identities": [{"userId": "amzn1.account.EXAMPLE", "primary": "true"}],
                "token_use": "id", "auth_time": 1_676_312_777, "email": "my-test-user@example.com"}),
        ),
        (
            "Cognito, ID token with a scope of its own making",
            Nobody,
            json!({"sub": "8080", "client_id": "c", "token_use": "id", "scope": "orderflow/backend"}),
        ),
        // Okta, "OpenID Connect & OAuth 2.0 API", "Tokens and claims": scp is a list.
        (
            "Okta, client credentials",
            Backend,
            json!({"ver": 1, "jti": "AT.1", "iss": "https://example.okta.com/oauth2/default",
                "aud": "api://default", "cid": "0oa1", "sub": "0oa1", "scp": ["orderflow/backend"]}),
        ),
        (
            "Okta, user's access token",
            Customer,
            json!({"ver": 1, "jti": "AT.2", "aud": "api://default", "cid": "0oa1", "uid": "00u1",
                "scp": ["openid", "email"], "auth_time": 1_688_145_909, "sub": "8080"}),
        ),
        (
            "Okta, ID token",
            Nobody,
            json!({"sub": "8080", "name": "N", "ver": 1, "aud": "0oa1", "jti": "ID.1",
                "amr": ["pwd"], "idp": "00o1", "nonce": "n", "at_hash": "fPlsvVszI29LU2UhDyJ9vg"}),
        ),
    ]
}

/// Tokens as published by Entra ID, Auth0, and Keycloak, reduced in the same way.
fn of_entra_auth0_and_keycloak() -> Vec<Token> {
    use Bearer::{Backend, Customer, Nobody};
    vec![
        // Microsoft identity platform, "Access token claims reference", "ID token claims
        // reference": scp is a text and exists only in delegated tokens; app permissions are in
        // roles.
        (
            "Entra ID v2, delegated",
            Backend,
            json!({"aud": "6e74172b", "ver": "2.0", "azp": "6e74172b", "azpacr": "1", "oid": "o",
                "scp": "access_as_user orderflow/backend", "sub": "8080", "tid": "t", "name": "N"}),
        ),
        (
            "Entra ID v1, delegated",
            Backend,
            json!({"aud": "api://orderflow", "ver": "1.0", "appid": "6e74172b", "appidacr": "1",
                "scp": "orderflow/backend", "sub": "8080", "unique_name": "n@example.com"}),
        ),
        (
            "Entra ID v2, delegated to a customer's app",
            Customer,
            json!({"aud": "6e74172b", "ver": "2.0", "azp": "6e74172b", "scp": "access_as_user",
                "sub": "8080", "preferred_username": "orderflow/backend", "name": "orderflow/backend"}),
        ),
        (
            "Entra ID, app permission",
            Customer,
            json!({"aud": "6e74172b", "ver": "2.0", "azp": "a", "idtyp": "app", "oid": "8080",
                "roles": ["orderflow/backend"], "sub": "8080", "tid": "t"}),
        ),
        (
            "Entra ID, ID token of the hybrid flow",
            Nobody,
            json!({"aud": "6e74172b", "ver": "2.0", "sub": "8080", "oid": "o", "nonce": "n",
                "c_hash": "c", "at_hash": "a", "roles": ["r"], "name": "N"}),
        ),
        // Auth0, "Access Token Profiles", "Enable Role-Based Access Control for APIs".
        (
            "Auth0, client credentials",
            Backend,
            json!({"iss": "https://my-domain.auth0.com/", "sub": "my_client_id@clients",
                "aud": "https://example.com/orderflow", "azp": "my_client_id",
                "gty": "client-credentials", "scope": "orderflow/backend",
                "permissions": ["orderflow/backend"]}),
        ),
        (
            "Auth0, RFC 9068 profile, user",
            Customer,
            json!({"sub": "8080", "client_id": "my_client_id", "jti": "j", "scope": "openid profile",
                "aud": ["https://example.com/orderflow", "https://my-domain.auth0.com/userinfo"],
                "permissions": ["orderflow/backend"]}),
        ),
        (
            "Auth0, ID token of the hybrid flow",
            Nobody,
            json!({"sub": "8080", "aud": "my_client_id", "nonce": "n", "c_hash": "c", "name": "N"}),
        ),
        // Keycloak, server administration guide, "Client scopes"; typ is a claim there
        // (org.keycloak.util.TokenUtil).
        (
            "Keycloak, service account",
            Backend,
            json!({"jti": "j", "aud": ["orderflow", "account"], "sub": "7ddaf89f", "typ": "Bearer",
                "azp": "shop", "acr": "1", "realm_access": {"roles": ["offline_access"]},
                "scope": "email orderflow/backend profile", "client_id": "shop",
                "preferred_username": "service-account-shop"}),
        ),
        (
            "Keycloak, user's access token",
            Customer,
            json!({"sub": "8080", "typ": "Bearer", "azp": "shop", "scope": "openid email profile",
                "realm_access": {"roles": ["orderflow/backend"]}, "sid": "s", "nonce": "n"}),
        ),
        (
            "Keycloak, ID token",
            Nobody,
            json!({"sub": "8080", "typ": "ID", "azp": "shop", "aud": "shop", "nonce": "n"}),
        ),
        (
            "Keycloak, refresh token",
            Nobody,
            json!({"sub": "8080", "typ": "Refresh", "azp": "shop", "scope": "orderflow/backend"}),
        ),
    ]
}

#[tokio::test]
async fn tokens_in_the_shapes_that_their_makers_publish_are_understood() {
    try_all(&of_cognito_and_okta()).await;
    try_all(&of_entra_auth0_and_keycloak()).await;
}

#[tokio::test]
async fn a_token_that_names_no_customer_or_several_is_nobodys() {
    use Bearer::{Customer, Nobody};
    let token = |customer: Value| json!({"client_id": "app", "sub": customer, "scope": "openid"});
    let mut tokens = vec![
        ("a text", Customer, token(json!("8080"))),
        ("a number", Customer, token(json!(8080))),
        ("no claims", Nobody, json!({})),
        (
            "no subject",
            Nobody,
            json!({"client_id": "app", "scope": "openid"}),
        ),
    ];
    for bad in [
        json!(null),
        json!(""),
        json!(" "),
        json!(" 8080"),
        json!("8080 "),
        json!("80\u{0}80"),
        json!("8080\n"),
        json!(["8080"]),
        json!(["8080", "666"]),
        json!([]),
        json!({"id": "8080"}),
        json!("8".repeat(65)),
    ] {
        tokens.push(("no customer", Nobody, token(bad)));
    }
    try_all(&tokens).await;
}

#[tokio::test]
async fn without_a_token_every_route_is_closed() {
    let shop = Cloud::start().await;
    for row in rows(&shop).await {
        for authorizer in [
            json!(null),
            json!({}),
            json!({"jwt": null}),
            json!({"jwt": {"claims": {}, "scopes": null}}),
            json!({"lambda": {"scope": "orderflow/backend", "client_id": "x"}}),
        ] {
            let mut event = row.event.clone();
            event["requestContext"]["authorizer"] = authorizer;
            assert_answer(&row, "none", Bearer::Nobody, &shop.send(&event).await);
        }
        let mut event = row.event.clone();
        let context = event["requestContext"].as_object_mut().unwrap();
        context.remove("authorizer");
        assert_answer(&row, "none", Bearer::Nobody, &shop.send(&event).await);
    }
}

#[tokio::test]
async fn a_customer_reaches_its_own_and_reads_anybody_elses_as_missing() {
    let shop = Cloud::start().await;
    let stranger = json!({"client_id": "app", "sub": "666", "scope": "openid"});
    for row in rows(&shop).await {
        let reply = shop.send(&with_claims(row.event.clone(), &stranger)).await;
        match row.open {
            Open::ToTheBackend => assert_problem(&reply, 403, "backend_only"),
            Open::ToTheCustomerToo => assert_eq!(reply.status, 404, "{}: {}", row.name, reply.text),
        }
    }
}

#[tokio::test]
async fn a_customer_pays_an_invoice_that_exists_and_cannot_make_one() {
    let shop = Cloud::start().await;
    let customer = json!({"client_id": "app", "sub": "8080", "scope": "openid"});
    let reply = shop.post("/api/order/cart.json", &cart()).await;
    let order = text(&reply.body["orderId"]).to_owned();
    let body = payment(&order.replace("ord_", "inv_"));
    let pay = with_claims(request("/api/order/payment.json", &body), &customer);
    assert_problem(&shop.send(&pay).await, 404, "invoice_not_found");
    let issue = request("/api/order/invoice.json", &invoice(&order));
    let refused = shop.send(&with_claims(issue.clone(), &customer)).await;
    assert_problem(&refused, 403, "backend_only");
    assert_eq!(shop.send(&issue).await.status, 201);
    assert_eq!(shop.send(&pay).await.status, 201);
}

/// The token is checked first, then the route, then the body: an unauthorized caller learns nothing
/// about its request and uses up no key.
#[tokio::test]
async fn whoever_may_not_call_is_refused_before_its_request_is_read() {
    let shop = Cloud::start().await;
    let customer = json!({"client_id": "app", "sub": "8080", "scope": "openid"});
    for row in rows(&shop).await {
        if row.open == Open::ToTheCustomerToo {
            continue;
        }
        for body in ["", "no JSON", r#"{"name": "4242424242424242"}"#] {
            let mut event = with_claims(row.event.clone(), &customer);
            event["body"] = body.into();
            event["headers"]["idempotency-key"] = "a b".into();
            event["headers"]["content-type"] = "text/plain".into();
            assert_problem(&shop.send(&event).await, 403, "backend_only");
        }
    }
}

/// The routes of `template.yaml`, with the binary for each.
fn deployed() -> BTreeSet<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml");
    let source = std::fs::read_to_string(path).unwrap();
    let template: serde_yaml_ng::Value = serde_yaml_ng::from_str(&source).unwrap();
    let word = |value: &serde_yaml_ng::Value| value.as_str().unwrap_or_default().to_owned();
    let mut routes = BTreeSet::new();
    for (_, resource) in template["Resources"].as_mapping().unwrap() {
        let binary = word(&resource["Metadata"]["BuildProperties"]["Binary"]);
        let Some(events) = resource["Properties"]["Events"].as_mapping() else {
            continue;
        };
        for (_, event) in events {
            if event["Type"] == "HttpApi" {
                let event = &event["Properties"];
                let method = word(&event["Method"]).to_uppercase();
                routes.insert((format!("{method} {}", word(&event["Path"])), binary.clone()));
            }
        }
    }
    routes
}

#[test]
fn every_route_of_the_template_says_who_may_call_it_and_leads_to_the_function_that_answers_it() {
    use messages::queue::Sqs;
    use payment::partners::Sandbox;
    use shipment::carriers::Own;
    let mut routes = BTreeSet::new();
    let mut add = |binary: &str, its: &[Route]| {
        for route in its {
            assert!(routes.insert((route.key().to_owned(), binary.to_owned())));
        }
    };
    add("cart", cart::Cart::ROUTES);
    add("billing", billing::Billing::ROUTES);
    add("payment", payment::Payments::<Sandbox>::ROUTES);
    add("shipment", shipment::Shipments::<Own, Sqs>::ROUTES);
    add("email", email::Emails::<email::mailer::Ses>::ROUTES);
    add("order", order::Orders::ROUTES);
    add("customer", customer::Customers::ROUTES);
    add("webhook", webhook::Webhooks::<Sqs>::ROUTES);
    assert_eq!(routes, deployed());
    assert_eq!(routes.len(), Route::ALL.len());
}

#[test]
fn every_route_has_a_sample_event_which_names_it_as_the_gateway_does() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
    let mut sampled = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Some(key) = sample["routeKey"].as_str() else {
            continue;
        };
        let http = &sample["requestContext"]["http"];
        let route = Route::at(text(&http["method"]), text(&sample["rawPath"])).map(Route::key);
        assert_eq!(route, Some(key), "{}", path.display());
        assert_eq!(sample["requestContext"]["routeKey"], key);
        assert_eq!(http["path"], sample["rawPath"]);
        sampled.insert(key.to_owned());
    }
    let all = Route::ALL.map(|route| route.key().to_owned());
    assert_eq!(sampled, BTreeSet::from(all));
}

/// The contract's table "Who may call what".
#[test]
fn the_routes_are_open_to_whom_the_contract_says() {
    let of = |callers| {
        let all = Route::ALL.into_iter();
        let keys = all.filter(|route| route.callers() == callers);
        keys.map(Route::key).collect::<Vec<_>>()
    };
    assert_eq!(
        of(Callers::Customers),
        [
            "POST /api/order/payment.json",
            "POST /api/order/cancel.json",
            "GET /api/order/{orderId}",
            "GET /api/orders",
            "GET /api/customer/{customerId}/billing",
            "DELETE /api/customer/{customerId}/billing",
        ]
    );
    assert_eq!(
        of(Callers::Partners),
        ["POST /api/partner/{partner}/webhook"]
    );
    assert_eq!(of(Callers::Anyone), ["GET /api/health"]);
}

/// API Gateway names the route that it matched; `cargo lambda watch` sends `$default` or nothing,
/// so that the method and the path decide.
#[tokio::test]
async fn a_route_is_closed_whether_the_gateway_names_it_or_not() {
    let shop = Cloud::start().await;
    let customer = json!({"client_id": "app", "sub": "8080", "scope": "openid"});
    for row in rows(&shop).await {
        for key in [json!(null), json!("$default"), json!("ANY /{proxy+}")] {
            let mut event = with_claims(row.event.clone(), &customer);
            event["routeKey"] = key.clone();
            event["requestContext"]["routeKey"] = key;
            assert_answer(
                &row,
                "another key",
                Bearer::Customer,
                &shop.send(&event).await,
            );
        }
    }
}

/// If API Gateway calls a function for another function's route, the function refuses.
#[tokio::test]
async fn a_function_answers_its_own_routes_alone() {
    let shop = Cloud::start().await;
    for key in [
        "GET /api/order/{orderId}",
        "POST /api/partner/{partner}/webhook",
    ] {
        let customer = json!({"client_id": "app", "sub": "8080", "scope": "openid"});
        let mut event = with_claims(request("/api/order/cart.json", &cart()), &customer);
        event["requestContext"]["routeKey"] = key.into();
        assert_problem(&shop.send(&event).await, 404, "route_not_found");
    }
}

/// A local-only switch that is set elsewhere stops the function at its start. The error, which its
/// `main` prints, names the variable.
#[test]
fn the_switches_of_a_laptop_work_on_a_loopback_address_alone() {
    use platform::aws::Aws;
    use platform::config::{Authentication, Environment};
    use platform::outbound::Https;

    let started = |authentication: &str, endpoint: &str| {
        let read = |name: &str| {
            Some(match name {
                "AUTHENTICATION" => authentication.to_owned(),
                "AWS_ENDPOINT_URL" | "STRIPE_URL" => endpoint.to_owned(),
                _ => "x".to_owned(),
            })
        };
        let environment = Environment::new(&read);
        [
            Authentication::from_environment(environment).map(drop),
            Aws::from_environment(environment).map(drop),
            Https::address(environment, "STRIPE_URL", "https://api.stripe.com").map(drop),
        ]
        .map(|outcome| outcome.map_err(|error| error.to_string()))
    };
    let said = |outcome: &Result<(), String>, name: &str| {
        let text = outcome.as_ref().unwrap_err();
        assert!(text.contains(name) && text.contains("loopback"), "{text}");
    };
    for here in [
        "http://127.0.0.1:4566",
        "http://localhost:4566",
        "http://[::1]:4566",
    ] {
        for authentication in ["none", "jwt", ""] {
            assert_eq!(
                started(authentication, here),
                [Ok(()), Ok(()), Ok(())],
                "{here}"
            );
        }
    }
    for elsewhere in [
        "https://vpce-1.dynamodb.eu-central-1.vpce.amazonaws.com",
        "https://localhost.example.com",
    ] {
        assert_eq!(
            started("jwt", elsewhere),
            [Ok(()), Ok(()), Ok(())],
            "{elsewhere}"
        );
        let [authentication, aws, stripe] = started("none", elsewhere);
        said(&authentication, "AUTHENTICATION");
        assert_eq!([aws, stripe], [Ok(()), Ok(())], "{elsewhere}");
    }
    said(&started("none", "")[0], "AUTHENTICATION");
    for unsafe_ in [
        "http://10.0.0.7:4566",
        "http://0.0.0.0:4566",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1:4566@example.com",
        "http://host.docker.internal:4566",
    ] {
        let [authentication, aws, stripe] = started("none", unsafe_);
        said(&authentication, "AWS_ENDPOINT_URL");
        said(&aws, "AWS_ENDPOINT_URL");
        said(&stripe, "STRIPE_URL");
    }
}
