//! Who calls, from the claims that API Gateway's JWT authorizer has checked.

use lambda_http::request::RequestContext;

use crate::config::Authentication;
use crate::domain::CustomerId;
use crate::error::{Error, Missing};

/// A known caller.
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

    /// What idempotency keys are scoped to.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Somebody else's order or invoice reads as one that is not there.
    pub fn check(&self, owner: &CustomerId, missing: Missing) -> Result<(), Error> {
        match &self.only {
            Some(only) if only != owner => Err(Error::NotFound(missing)),
            _ => Ok(()),
        }
    }

    /// The only customer this caller acts for; `None` for the backend.
    #[must_use]
    pub fn only(&self) -> Option<&CustomerId> {
        self.only.as_ref()
    }

    /// Reads the authorizer's claims; without any, nobody is known.
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
        let jwt = context
            .authorizer
            .as_ref()
            .and_then(|authorizer| authorizer.jwt.as_ref())
            .ok_or(Error::Unauthenticated)?;
        let claim = |name: &str| jwt.claims.get(name).filter(|value| !value.is_empty());
        let id = claim("client_id")
            .or_else(|| claim("sub"))
            .ok_or(Error::Unauthenticated)?;
        let subject = claim("sub").unwrap_or(id);
        let scopes = claim("scope").map(String::as_str).unwrap_or_default();
        let is_backend = scopes.split(' ').any(|scope| scope == backend_scope)
            || jwt
                .scopes
                .iter()
                .flatten()
                .any(|scope| scope == backend_scope);
        if is_backend {
            return Ok(Self::backend(id));
        }
        let customer = claim(customer_claim).ok_or(Error::Unauthenticated)?;
        let customer = CustomerId::parse(customer).map_err(|_| Error::Unauthenticated)?;
        Ok(Self::customer(&format!("{id}/{subject}"), customer))
    }
}
