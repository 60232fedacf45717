//! Converts API Gateway's event into an HTTP request and an answer into its response (Amazon API
//! Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format
//! version 2.0).
//!
//! Each part is read separately and cannot panic; an unreadable part is refused by name.
//! `lambda_http`'s own conversion builds a URL from the header `x-forwarded-proto` and the query,
//! and panics if that fails.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequestContext, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Base64Data;
use aws_lambda_events::query_map::QueryMap;
use lambda_http::http::header::HeaderName;
use lambda_http::http::{HeaderMap, HeaderValue};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, RequestPart};

/// The fields of an event or of a record, each read separately.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// A field that is present and not `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let field = self.fields.get(name).copied();
        field.filter(|field| field.get() != "null")
    }

    /// Reads a field; an absent one is its type's default.
    fn read<T: Deserialize<'a> + Default>(
        &self,
        name: &str,
        part: RequestPart,
    ) -> Result<T, Error> {
        self.get(name).map_or_else(
            || Ok(T::default()),
            |field| serde_json::from_str(field.get()).map_err(|_| Error::MalformedRequest(part)),
        )
    }

    /// The request, with the extensions in which `lambda_http` passes what HTTP lacks.
    pub(super) fn request(&self) -> Result<Request, Error> {
        let context: Option<ApiGatewayV2httpRequestContext> =
            self.read("requestContext", RequestPart::Context)?;
        let context = context.ok_or(Error::MalformedRequest(RequestPart::Context))?;
        let encoding = PathEncoding::from_context(&context);
        let path: String = self.read("rawPath", RequestPart::Path)?;
        let parameters: HashMap<String, String> = self.read("pathParameters", RequestPart::Path)?;
        let parameters = parameters
            .into_iter()
            .map(|(name, value)| Ok((name, encoding.decode(&value)?.into_owned())))
            .collect::<Result<HashMap<String, String>, Error>>()?;
        let mut request = Request::new(self.body()?);
        *request.method_mut() = context.http.method.clone();
        *request.headers_mut() = self.headers()?;
        Ok(request
            .with_raw_http_path(encoding.decode(&path)?)
            .with_path_parameters(parameters)
            .with_query_string_parameters(self.query()?)
            .with_request_context(RequestContext::ApiGatewayV2(context)))
    }

    fn query(&self) -> Result<QueryMap, Error> {
        let query: String = self.read("rawQueryString", RequestPart::Query)?;
        query.parse().map_err(|never: Infallible| match never {})
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let malformed = || Error::MalformedRequest(RequestPart::Headers);
        let read: BTreeMap<String, String> = self.read("headers", RequestPart::Headers)?;
        let mut headers = HeaderMap::new();
        for (name, value) in read {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
            let value = HeaderValue::try_from(value).map_err(|_| malformed())?;
            // `HeaderMap` limits the number of headers.
            headers.try_append(name, value).map_err(|_| malformed())?;
        }
        Ok(headers)
    }

    fn body(&self) -> Result<Body, Error> {
        if self.read("isBase64Encoded", RequestPart::Body)? {
            let body: Option<Base64Data> = self.read("body", RequestPart::Body)?;
            return Ok(body.map_or(Body::Empty, |body| Body::Binary(body.0)));
        }
        let body: Option<String> = self.read("body", RequestPart::Body)?;
        Ok(body.map_or(Body::Empty, Body::Text))
    }
}

/// The encoding of the event's path and path parameters.
#[derive(Clone, Copy)]
enum PathEncoding {
    /// API Gateway decodes both.
    Decoded,
    /// `cargo lambda watch` leaves both percent-encoded.
    Percent,
}

impl PathEncoding {
    /// Only API Gateway sets an API ID.
    fn from_context(context: &ApiGatewayV2httpRequestContext) -> Self {
        match context.apiid {
            Some(_) => Self::Decoded,
            None => Self::Percent,
        }
    }

    fn decode(self, text: &str) -> Result<Cow<'_, str>, Error> {
        match self {
            Self::Decoded => Ok(text.into()),
            Self::Percent => percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| Error::MalformedRequest(RequestPart::Path)),
        }
    }
}

/// The answer in API Gateway's format.
pub(super) fn response(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = i64::from(parts.status.as_u16());
    answer.headers = parts.headers;
    answer.is_base64_encoded = matches!(body, Body::Binary(_));
    answer.body = Some(body);
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event() -> Value {
        serde_json::from_str(include_str!("../../../../events/cart.json")).unwrap()
    }

    fn request(event: &Value) -> Result<Request, Error> {
        let text = event.to_string();
        let event: Fields<'_> = serde_json::from_str(&text).unwrap();
        event.request()
    }

    #[test]
    fn an_event_is_the_request_that_it_tells_of() {
        let mut event = event();
        event["rawQueryString"] = "a=b+c&d=%7C&d=2".into();
        event["pathParameters"] = json!({"customerId": "auth0|a%7Cb"});
        let request = request(&event).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.headers()["idempotency-key"], "sample-cart-1");
        assert_eq!(request.raw_http_path(), "/api/order/cart.json");
        assert_eq!(
            request.path_parameters().first("customerId"),
            Some("auth0|a%7Cb")
        );
        let query = request.query_string_parameters();
        assert_eq!(query.first("a"), Some("b c"));
        assert_eq!(query.all("d"), Some(vec!["|", "2"]));
        assert!(request.request_context_ref().is_some());
        assert!(matches!(request.body(), Body::Text(text) if text.starts_with('{')));
    }

    #[test]
    fn what_makes_no_url_makes_a_request() {
        for (header, value) in [
            ("x-forwarded-proto", "https,http"),
            ("x-forwarded-proto", ""),
            ("x-forwarded-proto", "://"),
            ("host", "a b"),
            ("host", "[::"),
            ("host", ""),
        ] {
            let mut event = event();
            event["headers"][header] = value.into();
            assert!(request(&event).is_ok(), "{header}: {value}");
        }
        for query in [
            "a b", "a=b c", "%", "%zz", "\u{e9}", "#", "a=\u{0}", "%ff=%fe",
        ] {
            let mut event = event();
            event["rawQueryString"] = query.into();
            assert!(request(&event).is_ok(), "{query}");
        }
        for path in ["", "//", "/a b", "/\u{e9}", "?", "/%zz", "\u{0}"] {
            let mut event = event();
            event["rawPath"] = path.into();
            assert!(request(&event).is_ok(), "{path}");
        }
    }

    #[test]
    fn too_many_headers_are_refused() {
        let mut event = event();
        let headers = (0..40_000).map(|number| (format!("x-{number}"), "".into()));
        event["headers"] = Value::Object(headers.collect());
        assert!(matches!(
            request(&event),
            Err(Error::MalformedRequest(RequestPart::Headers))
        ));
    }

    #[test]
    fn a_part_that_cannot_be_read_is_named() {
        for (part, value, name) in [
            ("requestContext", json!({}), RequestPart::Context),
            ("requestContext", json!([1]), RequestPart::Context),
            (
                "requestContext",
                json!({"http": {"method": "A B"}}),
                RequestPart::Context,
            ),
            ("rawPath", json!(1), RequestPart::Path),
            ("pathParameters", json!({"a": 1}), RequestPart::Path),
            ("rawQueryString", json!({}), RequestPart::Query),
            ("headers", json!({"a": ["b"]}), RequestPart::Headers),
            ("headers", json!({"a b": "c"}), RequestPart::Headers),
            ("headers", json!({"a": "b\nc"}), RequestPart::Headers),
            ("isBase64Encoded", json!("true"), RequestPart::Body),
            ("body", json!({"a": 1}), RequestPart::Body),
        ] {
            let mut event = event();
            event[part] = value;
            let error = request(&event).unwrap_err();
            assert!(
                matches!(error, Error::MalformedRequest(found) if found == name),
                "{part}: {error}"
            );
        }
        let mut event = event();
        event["isBase64Encoded"] = true.into();
        assert!(request(&event).is_err(), "the body is no Base64");
        event["body"] = "e30=".into();
        assert!(matches!(request(&event).unwrap().body(), Body::Binary(body) if body == b"{}"));
        for part in ["cookies", "stageVariables", "version"] {
            event[part] = json!([{"any": "thing"}]);
        }
        event["body"] = Value::Null;
        assert!(matches!(request(&event).unwrap().body(), Body::Empty));
    }

    /// `cargo lambda watch` (`trigger_router.rs`) sets no API ID and passes the URL's encoding on;
    /// API Gateway's HTTP APIs decode `rawPath` and the parameters (aws-lambda-dotnet #1901).
    #[test]
    fn paths_are_decoded_once_wherever_they_come_from() {
        let mut event = event();
        event["rawPath"] = "/api/customer/auth0%7Cabc/billing".into();
        event["pathParameters"] = json!({"customerId": "auth0%7Cabc"});
        let from_gateway = request(&event).unwrap();
        let id = |request: &Request| {
            let parameters = request.path_parameters();
            parameters.first("customerId").map(str::to_owned)
        };
        assert_eq!(id(&from_gateway).as_deref(), Some("auth0%7Cabc"));
        event["requestContext"]
            .as_object_mut()
            .unwrap()
            .remove("apiId");
        let from_laptop = request(&event).unwrap();
        assert_eq!(id(&from_laptop).as_deref(), Some("auth0|abc"));
        assert_eq!(
            from_laptop.raw_http_path(),
            "/api/customer/auth0|abc/billing"
        );
        event["pathParameters"] = json!({"customerId": "%zz%"});
        assert_eq!(id(&request(&event).unwrap()).as_deref(), Some("%zz%"));
        event["pathParameters"] = json!({"customerId": "%ff"});
        assert!(matches!(
            request(&event),
            Err(Error::MalformedRequest(RequestPart::Path))
        ));
    }
}
