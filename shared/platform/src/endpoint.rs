//! Addresses that a client may use.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// The base address of a client: `https://` to any host or `http://` to loopback, without a path, a
/// query, or a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: String,
    is_loopback: bool,
}

/// An address that is not an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be https://… without a path, or http:// to a loopback address \
     (http://127.0.0.1:…, http://[::1]:…, http://localhost:…)"
)]
pub struct UnsafeEndpoint;

impl Endpoint {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// Whether the host is loopback: 127.0.0.0/8, `::1`, or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether the connection is unencrypted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.address.starts_with("http://")
    }
}

impl FromStr for Endpoint {
    type Err = UnsafeEndpoint;

    /// Parses the address with the HTTP client's parser, so that both see the same host.
    fn from_str(address: &str) -> Result<Self, UnsafeEndpoint> {
        let uri: Uri = address.parse().map_err(|_| UnsafeEndpoint)?;
        let authority = uri.authority().filter(|authority| is_host(authority));
        let authority = authority.ok_or(UnsafeEndpoint)?;
        let is_loopback = is_loopback(authority.host());
        match address.split_once("://") {
            Some(("https", rest)) if rest == authority.as_str() => {}
            Some(("http", rest)) if rest == authority.as_str() && is_loopback => {}
            _ => return Err(UnsafeEndpoint),
        }
        Ok(Self {
            address: address.to_owned(),
            is_loopback,
        })
    }
}

/// Whether the authority is a host with an optional port and nothing else.
fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let is_port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    match authority.as_str().strip_prefix(host) {
        None => false,
        Some("") => !host.is_empty(),
        Some(port) => !host.is_empty() && port.strip_prefix(':').is_some_and(is_port),
    }
}

fn is_loopback(host: &str) -> bool {
    let six = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match six {
        Some(six) => six
            .parse()
            .is_ok_and(|address: Ipv6Addr| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host
                    .parse()
                    .is_ok_and(|address: Ipv4Addr| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_alone() {
        for address in [
            "http://127.0.0.1",
            "http://127.0.0.1:4566",
            "http://127.8.8.8:1",
            "http://[::1]:4566",
            "http://localhost:12111",
            "http://LOCALHOST:1",
            "https://localhost:1",
        ] {
            let endpoint: Endpoint = address.parse().expect(address);
            assert!(endpoint.is_loopback(), "{address}");
            assert_eq!(endpoint.as_str(), address);
        }
        for address in [
            "https://api.stripe.com",
            "https://api.stripe.com:8443",
            "https://vpce-1.dynamodb.eu-central-1.vpce.amazonaws.com",
            "https://127.0.0.1.example.com",
            "https://0.0.0.0",
            "https://127.1",
        ] {
            let endpoint: Endpoint = address.parse().expect(address);
            assert!(!endpoint.is_loopback(), "{address}");
        }
    }

    #[test]
    fn what_only_looks_like_this_machine_is_refused() {
        for address in [
            "http://api.stripe.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://example.localhost",
            "http://localhost.",
            "http://127.0.0.1:1@example.com",
            "http://example.com@127.0.0.1",
            "https://user@example.com",
            "http://127.0.0.1\\@example.com",
            "http://127.0.0.1#@example.com",
            "http://127.0.0.1?@example.com",
            "http://127.0.0.1/",
            "http://127.0.0.1:",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:x",
            "http://127.0.0.1:+1",
            "http://127.0.0.1x:1",
            "http://127.1",
            "http://0127.0.0.1",
            "http://2130706433",
            "http://0x7f.0.0.1",
            "http://0.0.0.0",
            "http://0",
            "http://[::]",
            "http://[::ffff:127.0.0.1]",
            "http://[::1]x:1",
            "http://::1",
            "http://169.254.169.254",
            "http://128.0.0.1",
            "https://api.stripe.com/",
            "https://api.stripe.com/v1",
            "https://api.stripe.com?x",
            "https://",
            "http://",
            "https://:443",
            "HTTP://127.0.0.1",
            "ftp://127.0.0.1",
            "//127.0.0.1",
            "127.0.0.1:4566",
            "localhost",
            "api.stripe.com",
            " http://127.0.0.1",
            "http://127.0.0.1 ",
            "http://127.0.0.1\n",
            "",
        ] {
            assert_eq!(
                address.parse::<Endpoint>(),
                Err(UnsafeEndpoint),
                "{address}"
            );
        }
    }
}
