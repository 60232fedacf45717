//! What a customer must do, as answers show it.

use domain::NextAction;
use serde::Serialize;
use serde_json::{Value, json};

/// `{"type": "redirect", "redirectUrl"}`, or `{"type": "confirm"}` without such a page; for the back end
/// with the partner's `clientSecret`, if there is one.
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

/// It does not print itself.
#[derive(Serialize)]
#[serde(transparent)]
struct Hidden<'a>(&'a str);

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

impl<'a> NextActionBody<'a> {
    /// The body of all that `action` holds; `None` if it holds nothing.
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
