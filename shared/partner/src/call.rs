//! One call to a partner.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CallFailure, Refusal, Unusable};
use platform::json;
use platform::outbound::{Https, HttpsAnswer, HttpsCall, HttpsError, Secret, form};
use platform::secret::Keys;

/// The time limit of a call. A charge, a rate, or a purchase waits for the banks and carriers
/// behind the partner.
const LIMIT: Duration = Duration::from_secs(8);

/// A call, complete except for its `authorization` header.
#[derive(Clone, Debug)]
pub struct Call(HttpsCall);

impl Call {
    /// A `GET` call: it changes nothing.
    pub fn get(path: impl Into<String>) -> Self {
        Self(HttpsCall {
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        })
    }

    /// A call that posts fields as a form.
    pub fn post_form(path: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let body = form(fields).into_bytes();
        Self::post(path, "application/x-www-form-urlencoded", body)
    }

    /// A call that posts JSON.
    ///
    /// # Panics
    ///
    /// If the body has a map with keys that are not texts.
    pub fn post_json(path: impl Into<String>, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a request has keys of text alone");
        Self::post(path, "application/json", body)
    }

    fn post(path: impl Into<String>, content_type: &str, body: Vec<u8>) -> Self {
        let call = HttpsCall {
            method: "POST",
            path: path.into(),
            headers: Vec::new(),
            body,
        };
        Self(call).header("content-type", content_type)
    }

    /// Adds a header; its name is in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, Secret::new(value)));
        self
    }

    /// The path from the root, with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

/// Makes one call, without a retry.
pub async fn send(
    https: &Https,
    call: &Call,
    authorization: Secret,
) -> Result<HttpsAnswer, HttpsError> {
    let mut call = call.0.clone();
    call.headers.push(("authorization", authorization));
    https.call(call, LIMIT).await
}

/// Parses an answer: as `T` if its status is 200 to 299, otherwise as a refusal.
pub fn read<T, R>(answer: &HttpsAnswer) -> Result<T, CallFailure<R>>
where
    T: DeserializeOwned,
    R: Refusal,
{
    if !(200..300).contains(&answer.status) {
        let refusal = R::from_answer(answer.status, &answer.body);
        return Err(CallFailure::Refused(answer.status, refusal));
    }
    json::read(&answer.body).map_err(|error| {
        // The parser's own message may quote the answer.
        Unusable::new(format!("line {}, column {}", error.line(), error.column())).into()
    })
}

/// How a partner expects its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScheme {
    /// As a bearer token (RFC 6750).
    Bearer,
    /// As a user name without a password (RFC 7617).
    BasicUser,
}

/// An API whose calls each carry a key.
#[derive(Clone, Debug)]
pub struct KeyedApi {
    https: Https,
    keys: Keys<Secret>,
    scheme: KeyScheme,
}

impl KeyedApi {
    /// The API at `https`, called with the newest of `keys`.
    #[must_use]
    pub fn new(https: Https, keys: Keys<Secret>, scheme: KeyScheme) -> Self {
        Self {
            https,
            keys,
            scheme,
        }
    }

    /// Makes a call, and repeats it once if the key was refused and has since been replaced. A call
    /// with a refused key has no effect.
    pub async fn send<R>(&self, call: &Call) -> Result<HttpsAnswer, CallFailure<R>> {
        let key = self.keys.now().await?;
        let answer = self.send_with(call, &key).await?;
        if matches!(answer.status, 401 | 403)
            && let Some(newer) = self.keys.newer_than(&key).await
        {
            return Ok(self.send_with(call, &newer).await?);
        }
        Ok(answer)
    }

    async fn send_with(&self, call: &Call, key: &Secret) -> Result<HttpsAnswer, HttpsError> {
        let authorization = match self.scheme {
            KeyScheme::Bearer => Secret::new(format!("Bearer {}", key.expose())),
            KeyScheme::BasicUser => Secret::basic_authorization(key.expose(), &Secret::new("")),
        };
        send(&self.https, call, authorization).await
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::super::Reach;
    use super::*;

    #[derive(Debug)]
    struct Status;

    impl fmt::Display for Status {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a status")
        }
    }

    impl Refusal for Status {
        fn from_answer(_: u16, _: &[u8]) -> Self {
            Self
        }

        fn reach(&self, status: u16) -> Reach {
            match status {
                401 => Reach::NotConfigured,
                429 => Reach::NothingDone,
                _ => Reach::Unknown,
            }
        }
    }

    fn answer(status: u16, body: &str) -> Result<u32, CallFailure<Status>> {
        read(&HttpsAnswer {
            status,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn an_answer_is_read_only_if_its_status_is_a_success() {
        assert_eq!(answer(200, "7").unwrap(), 7);
        assert_eq!(answer(299, "7").unwrap(), 7);
        for (status, expected) in [
            (401, Reach::NotConfigured),
            (429, Reach::NothingDone),
            (302, Reach::Unknown),
            (500, Reach::Unknown),
        ] {
            assert_eq!(
                answer(status, "7").unwrap_err().reach(),
                expected,
                "{status}"
            );
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let failure = answer(200, "\n Jenny").unwrap_err();
        assert_eq!(failure.reach(), Reach::Unknown);
        assert!(
            failure.to_string().contains("line 2, column 2"),
            "{failure}"
        );
        assert!(!format!("{failure:?}").contains("Jenny"));
    }

    #[test]
    fn no_header_of_a_call_is_printed() {
        let call = Call::get("/").header("idempotency-key", "canary");
        assert!(!format!("{call:?}").contains("canary"));
    }
}
