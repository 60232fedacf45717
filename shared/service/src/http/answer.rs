//! Successful answers.

use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::error::Error;

/// Present with `true` on an answer to a repeat, successful or not.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Whether this request had the effect that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This request had the effect.
    Now,
    /// An earlier request or the chain had the effect. The answer is marked as a replay.
    Before,
}

/// A successful answer: 201 with `Location` for a new resource, else 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    body: String,
    location: Option<String>,
    effect: Effect,
}

impl Answer {
    /// 200 with a JSON body.
    pub fn ok(body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            body: json(body)?,
            location: None,
            effect: Effect::Now,
        })
    }

    /// 201 with a JSON body; `location` is the new resource's path.
    pub fn created(body: &impl Serialize, location: String) -> Result<Self, Error> {
        Ok(Self {
            body: json(body)?,
            location: Some(location),
            effect: Effect::Now,
        })
    }

    /// 200 with a recorded body, as a replay.
    #[must_use]
    pub fn recorded(body: String) -> Self {
        Self {
            body,
            location: None,
            effect: Effect::Before,
        }
    }

    /// The same answer, marked as a replay if the effect occurred earlier.
    #[must_use]
    pub fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = json_response(StatusCode::OK, "application/json", self.body);
        if let Some(location) = self.location
            && let Ok(location) = HeaderValue::from_str(&location)
        {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(LOCATION, location);
        }
        if self.effect == Effect::Before {
            mark_replayed(&mut response);
        }
        response
    }
}

/// Marks an answer as one to a repeat.
pub(super) fn mark_replayed(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
}

fn json(body: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(body).map_err(|error| Error::Internal(error.into()))
}

/// A JSON answer that must not be cached.
pub(super) fn json_response(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
