//! An HTTP request after the checks that every endpoint shares.

use domain::{ExactNumber, InvoiceId, OrderId, digest_hex};
use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt};
use platform::config::Authentication;
use platform::json;
use serde_json::Value;
use store::BodyHash;

use super::{Caller, Route, card_numbers};
use crate::error::{CardPlace, Error, Missing};

/// The maximum body size, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// An `Idempotency-Key`: 1 to 255 visible ASCII characters
/// (draft-ietf-httpapi-idempotency-key-header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Parses the header's value.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::MalformedKey)
        }
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request from an authenticated caller.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller.
    pub caller: Caller,
    /// The idempotency key, if one was sent.
    pub key: Option<IdempotencyKey>,
    /// The W3C trace context, if one was sent.
    pub traceparent: Option<String>,
    route: Route,
    path: String,
    path_parameters: QueryMap,
    query: QueryMap,
    body: Option<Value>,
}

impl Call {
    /// Checks the caller, the route, the caller's right to the route, the key, the content type,
    /// the size, and the JSON of the body, and refuses anything that looks like a card number.
    pub fn from_request(
        request: &Request,
        route: Option<Route>,
        authentication: &Authentication,
    ) -> Result<Self, Error> {
        let caller = Caller::from_context(request.request_context_ref(), authentication)?;
        let route = route.ok_or(Error::NotFound(Missing::Route))?;
        caller.may_call(route)?;
        let header = |name: &str| request.headers().get(name);
        let key = header("idempotency-key")
            .map(|value| value.to_str().map_err(|_| Error::MalformedKey))
            .transpose()?
            .map(IdempotencyKey::parse)
            .transpose()?;
        let body = body(request)?;
        let places = card_places(request, key.as_ref(), body.as_ref());
        if !places.is_empty() {
            return Err(Error::CardNumber(places));
        }
        Ok(Self {
            caller,
            key,
            traceparent: traceparent(request),
            route,
            path: request.raw_http_path().to_owned(),
            path_parameters: request.path_parameters(),
            query: request.query_string_parameters(),
            body,
        })
    }

    /// The JSON body; an error if there is none.
    pub fn body(&self) -> Result<&Value, Error> {
        self.body.as_ref().ok_or(Error::EmptyBody)
    }

    /// The route that was called.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// A parameter of the route's path, percent-decoded.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path_parameters.first(name)
    }

    /// The query's parameters, as names and values.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter()
    }

    /// The last segment of the path, percent-decoded.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The order that the request names, by its own ID or by its invoice's.
    #[must_use]
    pub fn order(&self) -> Option<OrderId> {
        let named = |name: &str| self.body.as_ref()?.get(name)?.as_str();
        let in_path = || OrderId::parse(self.last_segment()).ok();
        let by_invoice = || Some(InvoiceId::parse(named("invoiceId")?).ok()?.order());
        named("orderId")
            .and_then(|id| OrderId::parse(id).ok())
            .or_else(by_invoice)
            .or_else(in_path)
    }

    /// A hash of the body's values. White space, the order of fields, and the notation of numbers
    /// do not change it.
    pub fn body_hash(&self) -> Result<BodyHash, Error> {
        let hash = |notation| {
            let mut text = String::new();
            canonical(self.body()?, notation, &mut text);
            Ok::<_, Error>(digest_hex(&[&text]))
        };
        Ok(BodyHash::new(
            hash(Notation::Canonical)?,
            hash(Notation::AsWritten)?,
        ))
    }

    /// The hash of this caller's key at `endpoint`; `None` without a key.
    #[must_use]
    pub fn key_id(&self, endpoint: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(digest_hex(&[
            "key",
            self.caller.id(),
            endpoint,
            key.as_str(),
        ]))
    }

    /// Builds an unchecked call with a JSON body, for tests.
    #[must_use]
    pub fn new(
        route: Route,
        caller: Caller,
        key: Option<IdempotencyKey>,
        body: Option<Value>,
    ) -> Self {
        Self {
            caller,
            key,
            traceparent: None,
            route,
            path: String::new(),
            path_parameters: QueryMap::default(),
            query: QueryMap::default(),
            body,
        }
    }
}

/// Every place in a request that looks like a card number.
fn card_places(
    request: &Request,
    key: Option<&IdempotencyKey>,
    body: Option<&Value>,
) -> Vec<CardPlace> {
    let is_card = card_numbers::holds_card_number;
    let mut places = body.map(card_numbers::in_body).unwrap_or_default();
    if key.is_some_and(|key| is_card(key.as_str())) {
        places.push(CardPlace::Key);
    }
    let parameters = request.path_parameters();
    if is_card(request.raw_http_path()) || parameters.iter().any(|(_, value)| is_card(value)) {
        places.push(CardPlace::Path);
    }
    let query = request.query_string_parameters();
    if query
        .iter()
        .any(|(name, value)| is_card(name) || is_card(value))
    {
        places.push(CardPlace::Query);
    }
    places
}

fn body(request: &Request) -> Result<Option<Value>, Error> {
    let bytes: &[u8] = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    if bytes.len() > MAX_BODY {
        return Err(Error::BodyTooLarge);
    }
    if let Some(content_type) = request.headers().get(CONTENT_TYPE) {
        let media = content_type
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let media = media.trim().to_ascii_lowercase();
        if media != "application/json"
            && !(media.starts_with("application/") && media.ends_with("+json"))
        {
            return Err(Error::UnsupportedMediaType);
        }
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(json::read_unambiguous(bytes)?))
}

/// The caller's own trace, or else the one that X-Ray gave the invocation (AWS X-Ray developer
/// guide, "Tracing header"), as W3C Trace Context.
fn traceparent(request: &Request) -> Option<String> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if let Some(sent) = header("traceparent") {
        let mut parts = sent.split('-');
        let fits = parts.next() == Some("00")
            && parts.next().is_some_and(|trace| is_hex(trace, 32))
            && parts.next().is_some_and(|parent| is_hex(parent, 16))
            && parts.next().is_some_and(|flags| is_hex(flags, 2))
            && parts.next().is_none()
            // The value is logged. A random one looks like a card number once in thousands and is
            // dropped.
            && !card_numbers::holds_card_number(sent);
        if fits {
            return Some(sent.to_owned());
        }
    }
    let xray = header("x-amzn-trace-id")?;
    let part = |name: &str| {
        xray.split(';')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let root = part("Root")?.strip_prefix("1-")?.replace('-', "");
    let parent = part("Parent").unwrap_or("0000000000000001");
    let sampled = if part("Sampled") == Some("1") {
        "01"
    } else {
        "00"
    };
    (is_hex(&root, 32) && is_hex(parent, 16)).then(|| format!("00-{root}-{parent}-{sampled}"))
}

/// How a body's numbers are hashed.
#[derive(Clone, Copy)]
enum Notation {
    /// By their value.
    Canonical,
    /// As earlier versions did.
    AsWritten,
}

/// Writes a JSON value with sorted fields and no white space.
fn canonical(value: &Value, notation: Notation, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.keys().collect();
            names.sort();
            text.push('{');
            for name in names {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(&fields[name], notation, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, notation, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Number(number) => match (notation, ExactNumber::parse(number.as_str())) {
            (Notation::Canonical, Some(exact)) => text.push_str(&exact.to_text()),
            _ => text.push_str(number.as_str()),
        },
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hash(body: &Value) -> BodyHash {
        Call::new(Route::Cart, Caller::backend("x"), None, Some(body.clone()))
            .body_hash()
            .unwrap()
    }

    #[test]
    fn bodies_are_the_same_whatever_the_notation_of_their_numbers() {
        let body = |text| hash(&serde_json::from_str(text).unwrap());
        let plain = body(r#"{"a": [2, 200, 0.5, 0]}"#);
        let other = body(r#"{"a": [2.0, 2e2, 50e-2, -0.0]}"#);
        assert!(plain.as_str() == other.as_str() && other.is(plain.as_str()));
        for different in [r#"{"a": [2, 200, 0.5, 1]}"#, r#"{"a": ["2", 200, 0.5, 0]}"#] {
            assert!(!body(different).is(plain.as_str()));
        }
        // What an earlier version stored for the other notation; serde_json signs the exponent.
        let mut text = String::new();
        let written = serde_json::from_str(r#"{"a":[2.0,2e2,50e-2,-0.0]}"#).unwrap();
        canonical(&written, Notation::AsWritten, &mut text);
        assert_eq!(text, r#"{"a":[2.0,2e+2,50e-2,-0.0,],}"#);
        assert!(other.is(&digest_hex(&[&text])) && !plain.is(&digest_hex(&[&text])));
    }

    #[test]
    fn bodies_are_the_same_whatever_the_order_of_their_fields() {
        assert_eq!(
            hash(&json!({"a": 1, "b": [2, {"c": "d"}]})),
            hash(&json!({"b": [2, {"c": "d"}], "a": 1}))
        );
        assert_ne!(hash(&json!({"a": 1})), hash(&json!({"a": "1"})));
        assert_ne!(hash(&json!(["a", "b"])), hash(&json!(["a,b"])));
    }

    #[test]
    fn a_trace_goes_on_from_the_caller_or_from_xray() {
        let with = |name: &str, value: &str| {
            let request = lambda_http::http::Request::builder()
                .header(name, value)
                .body(Body::Empty)
                .unwrap();
            traceparent(&request)
        };
        let w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(with("traceparent", w3c).as_deref(), Some(w3c));
        assert_eq!(with("traceparent", "00-x\"y-z"), None);
        let card = "00-0af7651916cd43dd8448eb211c80319c-4242424242424242-01";
        assert_eq!(with("traceparent", card), None);
        let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(
            with("x-amzn-trace-id", xray).as_deref(),
            Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01")
        );
    }

    #[test]
    fn keys_have_1_to_255_visible_characters() {
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        for bad in ["", "a b", "ü", &"k".repeat(256)] {
            assert!(matches!(
                IdempotencyKey::parse(bad),
                Err(Error::MalformedKey)
            ));
        }
    }
}
