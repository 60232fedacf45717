//! The customer's next action in answers.

use domain::NextAction;
use serde::Serialize;
use serde_json::{Value, json};

/// `{"type": "redirect", "redirectUrl"}`, or `{"type": "confirm"}` if there is no such page; for
/// the back end also the partner's `clientSecret`, if there is one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextActionBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<Hidden<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<Hidden<'a>>,
}

/// A text that `Debug` does not print.
#[derive(Serialize)]
#[serde(transparent)]
struct Hidden<'a>(&'a str);

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl<'a> NextActionBody<'a> {
    /// The body for everything in `action`; `None` if it is empty.
    #[must_use]
    pub fn from_action(action: &'a NextAction) -> Option<Self> {
        if action.is_empty() {
            return None;
        }
        let url = action.redirect_url.as_ref();
        let secret = action.client_secret.as_ref();
        Some(Self {
            kind: if url.is_some() { "redirect" } else { "confirm" },
            redirect_url: url.map(|url| Hidden(url.as_str())),
            client_secret: secret.map(|secret| Hidden(secret.expose())),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!(self)
    }
}
