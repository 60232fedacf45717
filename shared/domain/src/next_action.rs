//! The action that a customer must take at the partner before a charge can continue.

use std::fmt;
use std::str::FromStr;

/// A URL that a customer's browser is sent to: `https`, at most 2048 visible ASCII characters. It
/// may let its bearer act for the customer, so `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectUrl(String);

/// The text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an https:// address of at most 2048 visible ASCII characters")]
pub struct RedirectUrlError;

impl RedirectUrl {
    const MAX_LENGTH: usize = 2048;

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedirectUrl {
    type Err = RedirectUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("https://").unwrap_or_default();
        let has_host = !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':', '@']);
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if has_host && is_visible && text.len() <= Self::MAX_LENGTH {
            Ok(Self(text.to_owned()))
        } else {
            Err(RedirectUrlError)
        }
    }
}

impl fmt::Debug for RedirectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedirectUrl")
    }
}

/// Lets the customer's browser confirm one charge in the partner's own library. `Debug` does not
/// print it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Checks length and characters; `None` if they are invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=255).contains(&text.len()) && is_visible).then(|| Self(text.to_owned()))
    }

    /// The secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret")
    }
}

/// The action that the customer must take, in one or both of its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextAction {
    /// The page where the customer confirms the payment.
    pub redirect_url: Option<RedirectUrl>,
    /// For the shop's back end only, which passes it to the customer's browser.
    pub client_secret: Option<ClientSecret>,
}

impl NextAction {
    /// The part that the customer's own token may read.
    #[must_use]
    pub fn for_customer(self) -> Self {
        Self {
            client_secret: None,
            ..self
        }
    }

    /// Whether neither form is present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.redirect_url.is_none() && self.client_secret.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_sent_to_https_addresses_only() {
        for good in [
            "https://www.paypal.com/checkoutnow?token=5O190127TN364715T",
            "https://hooks.stripe.com/redirect/authenticate/src_1?client_secret=src_2",
        ] {
            assert_eq!(good.parse::<RedirectUrl>().unwrap().as_str(), good);
        }
        let long = format!("https://a/{}", "x".repeat(2048));
        for bad in [
            "",
            "https://",
            "https:///x",
            "http://a",
            "javascript:alert(1)",
            "//a",
            "https://a b",
            "https://é",
            &long,
        ] {
            assert_eq!(bad.parse::<RedirectUrl>(), Err(RedirectUrlError), "{bad}");
        }
    }

    #[test]
    fn neither_way_prints_itself_and_the_customer_gets_no_secret() {
        let action = NextAction {
            redirect_url: "https://canary.example".parse().ok(),
            client_secret: ClientSecret::parse("pi_1_secret_canary"),
        };
        assert!(!format!("{action:?}").contains("canary"));
        let shown = action.for_customer();
        assert!(shown.redirect_url.is_some() && shown.client_secret.is_none());
        assert!(!shown.is_empty() && NextAction::default().is_empty());
    }
}
