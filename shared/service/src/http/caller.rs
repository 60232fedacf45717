//! The caller, from the claims that API Gateway's JWT authorizer has verified.

use std::collections::HashMap;

use domain::CustomerId;
use lambda_http::request::RequestContext;
use platform::config::{Authentication, Scope};

use super::{Callers, Route};
use crate::error::{Error, Missing};

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    id: String,
    only: Option<CustomerId>,
}

impl Caller {
    /// A caller that acts for every customer.
    #[must_use]
    pub fn backend(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            only: None,
        }
    }

    /// A caller that acts for one customer.
    #[must_use]
    pub fn customer(id: &str, customer: CustomerId) -> Self {
        Self {
            id: id.to_owned(),
            only: Some(customer),
        }
    }

    /// The scope of the caller's idempotency keys.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks that the caller acts for `owner`. To others the order or invoice appears as missing.
    pub fn check(&self, owner: &CustomerId, missing: Missing) -> Result<(), Error> {
        match &self.only {
            Some(only) if only != owner => Err(Error::NotFound(missing)),
            _ => Ok(()),
        }
    }

    /// The only customer this caller acts for; `None` for the back end.
    #[must_use]
    pub fn only(&self) -> Option<&CustomerId> {
        self.only.as_ref()
    }

    /// Whether the caller may call the route at all. Ownership is checked once the order is known
    /// ([`Caller::check`]).
    pub(super) fn may_call(&self, route: Route) -> Result<(), Error> {
        match (route.callers(), &self.only) {
            (Callers::Backend | Callers::Customers, None) | (Callers::Customers, Some(_)) => Ok(()),
            (Callers::Backend, Some(_)) => Err(Error::BackendOnly),
            (Callers::Partners | Callers::Anyone, _) => Err(Error::NotFound(Missing::Route)),
        }
    }

    /// Reads the authorizer's claims; an error without any.
    pub(super) fn from_context(
        context: Option<&RequestContext>,
        authentication: &Authentication,
    ) -> Result<Self, Error> {
        let (backend_scope, customer_claim) = match authentication {
            Authentication::None => return Ok(Self::backend("laptop")),
            Authentication::Jwt {
                backend_scope,
                customer_claim,
            } => (backend_scope, customer_claim),
        };
        let Some(RequestContext::ApiGatewayV2(context)) = context else {
            return Err(Error::Unauthenticated);
        };
        let claims = context
            .authorizer
            .as_ref()
            .and_then(|authorizer| authorizer.jwt.as_ref())
            .map(|jwt| Claims(&jwt.claims))
            .filter(Claims::may_be_an_access_token)
            .ok_or(Error::Unauthenticated)?;
        let id = claims
            .get("client_id")
            .or_else(|| claims.get("sub"))
            .ok_or(Error::Unauthenticated)?;
        if claims.have_scope(backend_scope) {
            return Ok(Self::backend(id));
        }
        let customer = claims
            .customer(customer_claim)
            .ok_or(Error::Unauthenticated)?;
        let subject = claims.get("sub").unwrap_or(id);
        Ok(Self::customer(&format!("{id}/{subject}"), customer))
    }
}

/// A token's claims in the format of API Gateway's HTTP APIs: every value is a text, a list is its
/// elements separated by spaces in brackets, and an object is JSON (as measured in floci,
/// `JwtClaimsWireFormatTest`). The authorizer's `scopes` are not read: they exist only on routes
/// that require scopes, and come from the same claims.
struct Claims<'a>(&'a HashMap<String, String>);

impl<'a> Claims<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let value = self.0.get(name).filter(|value| !value.is_empty());
        value.map(String::as_str)
    }

    /// Whether nothing marks the token as another kind. Reliable marks are Cognito's `token_use`,
    /// Keycloak's `typ`, and the hashes of other tokens, which only an ID token has (`OpenID`
    /// Connect Core 1.0, section 3.3.2.11). An ID token without these marks has its client as the
    /// audience, which the authorizer refuses unless `JwtAudience` names that client.
    fn may_be_an_access_token(&self) -> bool {
        let is =
            |name, values: &[&str]| self.get(name).is_some_and(|value| values.contains(&value));
        let is_other = is("token_use", &["id"])
            || is("typ", &["ID", "Refresh", "Offline", "Logout"])
            || ["at_hash", "c_hash"]
                .iter()
                .any(|name| self.0.contains_key(*name));
        !is_other
    }

    /// Whether `scope` or `scp` contains the scope: in a space-separated text (RFC 9068, section
    /// 2.2.3; Entra ID) or in a list (Okta). No scope contains a space (RFC 6749, section 3.3).
    fn have_scope(&self, scope: &Scope) -> bool {
        let claims = ["scope", "scp"].into_iter();
        claims.filter_map(|name| self.get(name)).any(|value| {
            let words = list(value).unwrap_or(value);
            words.split(' ').any(|word| word == scope.as_str())
        })
    }

    /// The customer that the claim names; `None` for a list or an object.
    fn customer(&self, claim: &str) -> Option<CustomerId> {
        let value = self.get(claim)?;
        let is_object = value.starts_with('{') && value.ends_with('}');
        if is_object || list(value).is_some() {
            return None;
        }
        CustomerId::parse(value).ok()
    }
}

/// The elements of a list, separated by spaces.
fn list(value: &str) -> Option<&str> {
    value.strip_prefix('[')?.strip_suffix(']')
}
