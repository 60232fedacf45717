//! The only place that turns an error into an answer: `application/problem+json` (RFC 9457).

use std::time::Duration;

use domain::Money;
use lambda_http::http::header::RETRY_AFTER;
use lambda_http::http::{HeaderMap, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::{Map, Value, json};

use super::RequestId;
use super::answer::{json_response, mark_replayed};
use super::next_action::NextActionBody;
use crate::error::{CardPlace, Counterpart, Dependency, Error, Missing, Outcome, RequestPart};

/// `Retry-After` when a dependency failed.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(5);

/// `Retry-After` when keys are missing, so that an operator can add them first.
const RETRY_NOT_CONFIGURED: Duration = Duration::from_mins(1);

/// `Retry-After` for a payment that the partner settles later.
const RETRY_PENDING: Duration = Duration::from_secs(30);

const WEBHOOK_SIGNATURE: &str = "The signature is missing, invalid, or outside the five-minute tolerance. Sign \
     the body with the webhook's secret.";

const REFUND_FAILED: &str = "The billing partner rejected the refund, or the refund failed later: the \
     customer does not have the money. Fix the cause at the partner, then send this request again.";

const REFUND_REJECTED: &str = "The billing partner rejected the refund, or the refund failed later. Fix the \
     cause at the partner, then send the request with a new Idempotency-Key.";

const KEY_REQUIRED: &str = "This request needs the header Idempotency-Key: without it a repeat would be another \
     refund. Send a new key for each refund, and the same key with each repeat.";

const NO_AGREEMENT: &str = "The customer has not agreed to be charged by this shop's billing partner, or \
     the partner no longer knows the customer or payment method of the agreement. Send POST \
     /api/customer/billing.json with tokens that it knows first.";

const REFERENCE_TAKEN: &str = "You have placed an order with this reference before; orderId names it. \
     Use another reference, or update that order's cart.";

const CARD_NUMBER: &str = "Never send card numbers to this API; send the billing partner's token for the \
     card. errors lists each value that looks like a card number. If one is an ID, put a letter between its digits.";

/// Whether the service can recognize a repeat of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// By its idempotency key.
    Keyed,
    /// It has no key: a repeat counts as another request.
    Unkeyed,
}

impl Repeat {
    /// Whether the request has an idempotency key.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        if headers.contains_key("idempotency-key") {
            Self::Keyed
        } else {
            Self::Unkeyed
        }
    }
}

const MAIL_NOT_CONFIGURED: &str = "This deployment sends no mails. Deploy it with the parameter \
     SenderEmail, then send this request again.";

const MAIL_UNCONFIRMED: &str =
    "Whether this mail was sent is unknown. It is not sent again automatically.";

impl Error {
    /// The HTTP status of the case.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::EmptyBody
            | Self::KeyRequired
            | Self::NotJson { .. }
            | Self::ReservedName { .. }
            | Self::RepeatedName { .. }
            | Self::MalformedRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::WebhookSignature => StatusCode::UNAUTHORIZED,
            Self::BackendOnly => StatusCode::FORBIDDEN,
            Self::Declined(_) | Self::ActionRequired(_) | Self::NoAgreement => {
                StatusCode::PAYMENT_REQUIRED
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongState { .. }
            | Self::Mismatch(_)
            | Self::ReferenceTaken { .. }
            | Self::CurrencyMismatch { .. }
            | Self::InProgress { .. }
            | Self::PaymentPending
            | Self::RefundPending
            | Self::RefundFailed
            | Self::RefundTooLarge { .. }
            | Self::TooManyRefunds
            | Self::RefundRejected { .. }
            | Self::TooManyAttempts
            | Self::MailNotConfigured
            | Self::MailUnconfirmed => StatusCode::CONFLICT,
            Self::BodyTooLarge | Self::WebhookTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MalformedKey
            | Self::Invalid(_)
            | Self::CardNumber(_)
            | Self::KeyReused
            | Self::AddressRejected => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PaymentUnknown | Self::Unavailable { .. } | Self::NotConfigured { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Replayed(first) => first.status(),
            Self::NoQueue | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InProgress { retry_after } => Some(*retry_after),
            Self::PaymentPending | Self::RefundPending => Some(RETRY_PENDING),
            Self::PaymentUnknown | Self::Unavailable { .. } => Some(RETRY_UNAVAILABLE),
            Self::NotConfigured { .. } => Some(RETRY_NOT_CONFIGURED),
            _ => None,
        }
    }

    /// The text that says what is wrong and what to do. It is written here and never taken from an
    /// inner error.
    fn detail(&self, repeat: Repeat) -> String {
        match self {
            Self::EmptyBody => "The body is empty. Send a JSON object.".to_owned(),
            Self::NotJson { line, column } => {
                format!(
"The body is not JSON: parsing stopped at line {line}, column {column}. Send a JSON object."
)
            }
            Self::ReservedName { line, column } => reserved_name(*line, *column),
            Self::RepeatedName { line, column } => repeated_name(*line, *column),
            Self::MalformedRequest(part) => malformed(*part),
            Self::BodyTooLarge => "The body is larger than 64 KiB. Send a smaller one.".to_owned(),
            Self::WebhookTooLarge => "The body is larger than 256 KiB. Send a smaller one.".to_owned(),
            Self::WebhookSignature => WEBHOOK_SIGNATURE.to_owned(),
            Self::UnsupportedMediaType => {
                "The content type is not JSON. Send a JSON body with the header content-type: application/json."
.to_owned()
            }
            Self::Unauthenticated => {
                "The access token is missing or invalid. Send a valid one in the header authorization: Bearer TOKEN."
.to_owned()
            }
            Self::BackendOnly => {
                "Only the shop's back end may call this. Send a token with the back-end scope."
                    .to_owned()
            }
            Self::MalformedKey => {
                "Idempotency-Key must be 1–255 visible ASCII characters.".to_owned()
            }
            Self::KeyRequired => KEY_REQUIRED.to_owned(),
            Self::Invalid(_) => {
                "Some fields are invalid. errors lists each one by its JSON pointer.".to_owned()
            }
            Self::CardNumber(_) => CARD_NUMBER.to_owned(),
            Self::KeyReused => {
                "This Idempotency-Key was already used with another body. Use a new key.".to_owned()
            }
            Self::NotFound(missing) => not_found(*missing).to_owned(),
            Self::WrongState { status, detail } => format!("The order is {status}: {detail}."),
            Self::Mismatch(_) => {
                "The request differs from the stored order. errors lists each difference.".to_owned()
            }
            Self::ReferenceTaken { .. } => REFERENCE_TAKEN.to_owned(),
            Self::CurrencyMismatch { order, shop } => format!(
                "The order is in {order}, but the shop now sells in {shop}, so its cart cannot be \
                 changed. Place a new order."
            ),
            Self::InProgress { .. } => {
                "This request is already in progress. Retry shortly.".to_owned()
            }
            Self::PaymentPending => {
                "The billing partner will settle this payment later. Retry then.".to_owned()
            }
            Self::RefundPending => {
                "The billing partner will complete the refund later. Retry then.".to_owned()
            }
            Self::RefundFailed => REFUND_FAILED.to_owned(),
            Self::RefundTooLarge { left } => refund_too_large(*left),
            Self::TooManyRefunds => {
                "The order has reached its limit of 50 refunds. Make further ones at the billing partner.".to_owned()
            }
            Self::RefundRejected { .. } => REFUND_REJECTED.to_owned(),
            Self::NoAgreement => NO_AGREEMENT.to_owned(),
            Self::Declined(decline) if decline.retryable => {
                "The payment was declined. Another attempt may succeed.".to_owned()
            }
            Self::Declined(_) => {
                "The payment was declined. The customer needs another payment method.".to_owned()
            }
            Self::ActionRequired(action) if action.is_empty() => {
                "The customer must confirm the payment with the bank. Retry after that.".to_owned()
            }
            Self::ActionRequired(_) => {
                "The customer must confirm the payment as nextAction says. The order then continues \
                 without another call.".to_owned()
            }
            Self::TooManyAttempts => {
                "This invoice was declined too many times. Place a new order.".to_owned()
            }
            Self::PaymentUnknown => {
                "The billing partner's answer was lost, so the outcome is unknown. Retry: nothing is charged twice."
                    .to_owned()
            }
            Self::MailNotConfigured => MAIL_NOT_CONFIGURED.to_owned(),
            Self::AddressRejected => "The mail service rejected this address. Use another one.".to_owned(),
            Self::MailUnconfirmed => MAIL_UNCONFIRMED.to_owned(),
            Self::Unavailable {
                dependency,
                outcome,
                ..
            } => unavailable(*dependency, *outcome, repeat),
            Self::NotConfigured {
                counterpart,
                outcome,
                ..
            } => not_configured(*counterpart, *outcome),
            Self::Replayed(first) => first.detail(repeat),
            Self::NoQueue | Self::Internal(_) => "An internal error occurred. Retry later.".to_owned(),
        }
    }

    /// The answer to the caller.
    #[must_use]
    pub fn to_response(&self, repeat: Repeat, request: &RequestId) -> Response<Body> {
        if let Self::Replayed(first) = self {
            let mut response = first.to_response(repeat, request);
            mark_replayed(&mut response);
            return response;
        }
        let status = self.status();
        let mut problem = Map::new();
        problem.insert("type".to_owned(), "about:blank".into());
        problem.insert(
            "title".to_owned(),
            status.canonical_reason().unwrap_or_default().into(),
        );
        problem.insert("status".to_owned(), status.as_u16().into());
        problem.insert("code".to_owned(), self.code().into());
        problem.insert("detail".to_owned(), self.detail(repeat).into());
        if !request.as_str().is_empty() {
            problem.insert("requestId".to_owned(), request.as_str().into());
        }
        match self {
            Self::Invalid(errors) => {
                let errors = errors
                    .iter()
                    .map(|error| json!({"pointer": error.pointer, "detail": error.detail}));
                problem.insert("errors".to_owned(), errors.collect());
            }
            Self::CardNumber(places) => {
                let errors = places.iter().map(card_place);
                problem.insert("errors".to_owned(), errors.collect());
            }
            Self::Mismatch(differences) => {
                let errors = differences.iter().map(|difference| {
                    let detail = format!(
                        "is {}, but the stored value is {}",
                        difference.actual, difference.expected
                    );
                    json!({"pointer": difference.pointer, "detail": detail})
                });
                problem.insert("errors".to_owned(), errors.collect());
            }
            Self::ReferenceTaken { order } => {
                problem.insert("orderId".to_owned(), order.to_string().into());
            }
            Self::Declined(decline) => {
                problem.insert("decline_code".to_owned(), decline.code.as_str().into());
                problem.insert("retryable".to_owned(), decline.retryable.into());
            }
            Self::RefundRejected { code } => {
                problem.insert("decline_code".to_owned(), code.as_str().into());
            }
            Self::NoAgreement => {
                problem.insert("decline_code".to_owned(), "no_agreement".into());
                problem.insert("retryable".to_owned(), true.into());
            }
            Self::ActionRequired(action) => {
                if let Some(action) = NextActionBody::from_action(action) {
                    problem.insert("nextAction".to_owned(), action.to_json());
                }
                problem.insert("decline_code".to_owned(), "action_required".into());
                problem.insert("retryable".to_owned(), true.into());
            }
            _ => {}
        }
        let body = Value::Object(problem).to_string();
        let mut response = json_response(status, "application/problem+json", body);
        if let Some(after) = self.retry_after() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

fn refund_too_large(left: Money) -> String {
    if left == Money::ZERO {
        return "Nothing is left to refund.".to_owned();
    }
    let left = left.to_amount_text();
    format!("At most {left} of the payment is left to refund. Request no more than that.")
}

/// The text for a resource that does not exist or is not the caller's.
fn not_found(missing: Missing) -> &'static str {
    match missing {
        Missing::Order => "There is no such order.",
        Missing::Invoice => "There is no such invoice.",
        Missing::Customer => "There is no such customer.",
        Missing::Agreement => {
            "The customer has never agreed to be charged by this billing partner."
        }
        Missing::Partner => "This deployment does not accept webhooks from that partner.",
        Missing::Route => "There is no such route. Check the method and the path.",
    }
}

fn malformed(part: RequestPart) -> String {
    let part = match part {
        RequestPart::Context => "method or authorization",
        RequestPart::Path => "path",
        RequestPart::Query => "query",
        RequestPart::Headers => "headers",
        RequestPart::Body => "body",
    };
    format!("The request's {part} cannot be read. Correct it.")
}

fn reserved_name(line: usize, column: usize) -> String {
    format!(
        "The body has a field name that begins with $serde_json::private:: at line {line}, column \
         {column}. Rename the field."
    )
}

fn repeated_name(line: usize, column: usize) -> String {
    format!(
        "The body gives a field twice, the second time at line {line}, column {column}. Send each \
         field once."
    )
}

/// The text for a request whose dependency failed: the outcome, and how to repeat the request.
fn unavailable(dependency: Dependency, outcome: Outcome, repeat: Repeat) -> String {
    let what = match dependency {
        Dependency::Database => "The database",
        Dependency::Queue => "The queue",
        Dependency::Mail => "The mail service",
        Dependency::BillingPartner => "The billing partner",
        Dependency::Carrier => "The carrier",
    };
    let unknown = "did not answer, so whether the request was carried out is unknown.";
    match (outcome, repeat) {
        (Outcome::NothingDone, _) => {
            format!("{what} is unavailable. Nothing was changed; send the request again.")
        }
        (Outcome::Unknown, Repeat::Keyed) => {
            format!("{what} {unknown} Send it again with the same Idempotency-Key.")
        }
        (Outcome::Unknown, Repeat::Unkeyed) => format!(
            "{what} {unknown} Check the order before you send it again, or use an \
             Idempotency-Key."
        ),
    }
}

/// The text for a request that needs missing keys: the outcome, and who must act.
fn not_configured(counterpart: Counterpart, outcome: Outcome) -> String {
    let whose = match counterpart {
        Counterpart::BillingPartner => "billing partner",
        Counterpart::Carrier => "carrier",
    };
    let known = match outcome {
        Outcome::NothingDone => "Nothing was changed.",
        Outcome::Unknown => "An earlier step of this request may have been carried out.",
    };
    format!(
        "This deployment has no valid keys for its {whose}, or its account there may not do this. \
         {known} The shop's operator must correct the keys in the deployment's secret or the account; \
         then send the request again."
    )
}

/// A place with a card number; `in` names a part of the request other than the body.
fn card_place(place: &CardPlace) -> Value {
    let detail = "looks like a card number";
    match place {
        CardPlace::Value(pointer) => json!({"pointer": pointer, "detail": detail}),
        CardPlace::Name(pointer) => json!({
            "pointer": pointer,
            "detail": "has a field whose name looks like a card number"
        }),
        CardPlace::Key => {
            json!({"in": "header", "detail": "Idempotency-Key looks like a card number"})
        }
        CardPlace::Path => json!({"in": "path", "detail": detail}),
        CardPlace::Query => json!({"in": "query", "detail": detail}),
    }
}
