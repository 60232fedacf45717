//! Successful answers.

use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::error::Error;

/// A successful answer: 201 with `Location` for a new resource, else 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    body: String,
    location: Option<String>,
}

impl Answer {
    /// 200 with a JSON body.
    pub fn ok(body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            body: json(body)?,
            location: None,
        })
    }

    /// 201 with a JSON body; `location` is the new resource's path.
    pub fn created(body: &impl Serialize, location: String) -> Result<Self, Error> {
        Ok(Self {
            body: json(body)?,
            location: Some(location),
        })
    }

    /// 200 with a recorded body.
    #[must_use]
    pub fn recorded(body: String) -> Self {
        Self {
            body,
            location: None,
        }
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
        response
    }
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
