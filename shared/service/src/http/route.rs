//! The routes of the API and who may call each. Authorization is decided here only.

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Only the shop's back end: prices, mail addresses, and payment tokens must come from a
    /// trusted source.
    Backend,
    /// The back end, or a customer's token for that customer's own resources.
    Customers,
    /// Partners. They have no token; the function verifies their signature.
    Partners,
    /// Anyone, without a token: the answer reveals nothing about the shop.
    Anyone,
}

/// One route: a method and a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Creates or updates a cart.
    Cart,
    /// Issues an invoice.
    Invoice,
    /// Charges an invoice.
    Payment,
    /// Cancels an order.
    Cancel,
    /// Refunds a part of an order.
    Refund,
    /// Ships an order or requests a mail.
    Shipping,
    /// Sends a mail.
    Email,
    /// Shows an order.
    Order,
    /// Finds orders.
    Orders,
    /// Stores a customer's agreement.
    Approval,
    /// Shows a customer's agreements.
    Agreements,
    /// Revokes a customer's agreements.
    Revocation,
    /// Receives a partner's webhooks.
    Webhook,
    /// Shows that the API is available.
    Health,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 14] = [
        Self::Cart,
        Self::Invoice,
        Self::Payment,
        Self::Cancel,
        Self::Refund,
        Self::Shipping,
        Self::Email,
        Self::Order,
        Self::Orders,
        Self::Approval,
        Self::Agreements,
        Self::Revocation,
        Self::Webhook,
        Self::Health,
    ];

    /// Who may call the route.
    #[must_use]
    pub fn callers(self) -> Callers {
        match self {
            Self::Cart
            | Self::Invoice
            | Self::Refund
            | Self::Shipping
            | Self::Email
            | Self::Approval => Callers::Backend,
            Self::Payment
            | Self::Cancel
            | Self::Order
            | Self::Orders
            | Self::Agreements
            | Self::Revocation => Callers::Customers,
            Self::Webhook => Callers::Partners,
            Self::Health => Callers::Anyone,
        }
    }

    /// API Gateway's route key: the method and path in `template.yaml`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Cart => "POST /api/order/cart.json",
            Self::Invoice => "POST /api/order/invoice.json",
            Self::Payment => "POST /api/order/payment.json",
            Self::Cancel => "POST /api/order/cancel.json",
            Self::Refund => "POST /api/order/refund.json",
            Self::Shipping => "POST /api/order/shipping.json",
            Self::Email => "POST /api/order/email.json",
            Self::Order => "GET /api/order/{orderId}",
            Self::Orders => "GET /api/orders",
            Self::Approval => "POST /api/customer/billing.json",
            Self::Agreements => "GET /api/customer/{customerId}/billing",
            Self::Revocation => "DELETE /api/customer/{customerId}/billing",
            Self::Webhook => "POST /api/partner/{partner}/webhook",
            Self::Health => "GET /api/health",
        }
    }

    /// The request's route, by API Gateway's route key. `cargo lambda watch` sets none, so there
    /// the method and path decide.
    #[must_use]
    pub fn from_request(request: &Request) -> Option<Self> {
        let key = match request.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => context.route_key.as_deref(),
            _ => None,
        };
        let named = |key: &str| Self::ALL.into_iter().find(|route| route.key() == key);
        key.and_then(named)
            .or_else(|| Self::at(request.method().as_str(), request.raw_http_path()))
    }

    /// The route with this method and path.
    #[must_use]
    pub fn at(method: &str, path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| {
            let (its_method, its_path) = route.key().split_once(' ').unwrap_or_default();
            method == its_method && matches_template(path, its_path)
        })
    }
}

/// Whether the path matches a template, in which `{…}` stands for one non-empty segment.
fn matches_template(path: &str, template: &str) -> bool {
    let mut segments = path.split('/');
    let all_match = template.split('/').all(|expected| {
        segments.next().is_some_and(|segment| {
            segment == expected || (expected.starts_with('{') && !segment.is_empty())
        })
    });
    all_match && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_route_and_any_other_to_none() {
        for route in Route::ALL {
            let (method, path) = route.key().split_once(' ').unwrap();
            let path = path.replace(['{', '}'], "");
            assert_eq!(Route::at(method, &path), Some(route));
            for other in [
                format!("{path}/"),
                format!("/v1{path}"),
                path[1..].to_owned(),
            ] {
                assert_eq!(Route::at(method, &other), None, "{other}");
            }
            assert_eq!(Route::at("PATCH", &path), None);
        }
        assert_eq!(Route::at("GET", "/api/customer//billing"), None);
        assert_eq!(Route::at("POST", "/api/order/ord_1"), None);
    }
}
