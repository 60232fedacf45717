//! Every error a caller can meet, free of any transport. `http::problem` turns it into an answer;
//! `lambda::batch` decides whether to keep the message.

use std::time::Duration;

use domain::{Currency, Decline, Money, NextAction, OrderId, Status};
use messages::queue::QueueError;
use platform::aws::FailureKind;
use platform::json::JsonError;
use platform::secret::SecretError;
use store::StoreError;

pub use platform::Source;
pub use platform::aws::Outcome;

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field.
    pub pointer: String,
    /// What is wrong and what is required.
    pub detail: String,
}

/// The place in a request of what looks like a card number. It never contains the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardPlace {
    /// In the body, at this JSON pointer (RFC 6901).
    Value(String),
    /// As the name of a field of the body's object at this JSON pointer.
    Name(String),
    /// As the idempotency key.
    Key,
    /// In the path.
    Path,
    /// In the query.
    Query,
}

/// A part of an API Gateway event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPart {
    /// The method or the authorizer.
    Context,
    /// The path or a parameter in it.
    Path,
    /// The query.
    Query,
    /// The names and values of headers.
    Headers,
    /// The body or its encoding.
    Body,
}

/// A value that differs from the stored one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) to the field of the request.
    pub pointer: String,
    /// The stored value, as text.
    pub expected: String,
    /// The request's value, as text.
    pub actual: String,
}

/// The resource that a request named but that does not exist, or not for this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An order.
    Order,
    /// An invoice.
    Invoice,
    /// A customer.
    Customer,
    /// A customer's agreement with a billing partner.
    Agreement,
    /// A partner whose webhooks this deployment accepts.
    Partner,
    /// A route of this function.
    Route,
}

/// What this service depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// DynamoDB.
    Database,
    /// SQS.
    Queue,
    /// SES.
    Mail,
    /// The billing partner.
    BillingPartner,
    /// The carrier.
    Carrier,
}

/// A partner to whom this service authenticates with the operator's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counterpart {
    /// The billing partner.
    BillingPartner,
    /// The carrier.
    Carrier,
}

/// Why a request or message was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is empty but required.
    #[error("the body is empty")]
    EmptyBody,
    /// The body is not JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    NotJson {
        /// The line where parsing stopped, from 1.
        line: usize,
        /// The column where parsing stopped, from 1.
        column: usize,
    },
    /// A part of the request's event cannot be read.
    #[error("the request is malformed: {0:?}")]
    MalformedRequest(RequestPart),
    /// A field name of the body is reserved by the JSON reader.
    #[error("the body has a reserved name: line {line}, column {column}")]
    ReservedName {
        /// The line of the name, from 1.
        line: usize,
        /// The column of the name, from 1.
        column: usize,
    },
    /// An object of the body has a field name twice.
    #[error("the body repeats a name: line {line}, column {column}")]
    RepeatedName {
        /// The line of the second name, from 1.
        line: usize,
        /// The column of the end of the second name, from 1.
        column: usize,
    },
    /// The body is over 64 KiB.
    #[error("the body is over 64 KiB")]
    BodyTooLarge,
    /// A webhook is over its limit.
    #[error("the webhook is too large")]
    WebhookTooLarge,
    /// The webhook's signature is missing, invalid, or outside the tolerance.
    #[error("the webhook's signature is invalid")]
    WebhookSignature,
    /// The content type is not JSON.
    #[error("the content type is not JSON")]
    UnsupportedMediaType,
    /// The request has no valid token.
    #[error("the request carries no valid token")]
    Unauthenticated,
    /// The route is for the back end only.
    #[error("only the back end may call this")]
    BackendOnly,
    /// The `Idempotency-Key` header is not 1 to 255 visible ASCII characters.
    #[error("the idempotency key is malformed")]
    MalformedKey,
    /// The request needs an `Idempotency-Key`: without one a repeat counts as another request.
    #[error("an idempotency key is required")]
    KeyRequired,
    /// All fields that are missing, mistyped, unknown, or out of range.
    #[error("{} fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// All places that look like card numbers.
    #[error("{} values look like card numbers", .0.len())]
    CardNumber(Vec<CardPlace>),
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// It does not exist or does not belong to this caller.
    #[error("{0:?} not found")]
    NotFound(Missing),
    /// The order's status does not allow it.
    #[error("not possible while the order is {status}")]
    WrongState {
        /// The order's status.
        status: Status,
        /// What must happen first, or why it is too late.
        detail: &'static str,
    },
    /// All differences from what is stored.
    #[error("{} values differ from what is stored", .0.len())]
    Mismatch(Vec<Difference>),
    /// The caller has placed another order with this reference.
    #[error("the reference is that of another order")]
    ReferenceTaken {
        /// The order that has it.
        order: OrderId,
    },
    /// The shop's currency has changed since the order was placed.
    #[error("the order is in {order}, the shop sells in {shop}")]
    CurrencyMismatch {
        /// The order's currency.
        order: Currency,
        /// The shop's currency.
        shop: Currency,
    },
    /// Another call is in progress.
    #[error("already in progress")]
    InProgress {
        /// When to retry.
        retry_after: Duration,
    },
    /// The partner settles the charge later.
    #[error("the payment is pending at the partner")]
    PaymentPending,
    /// The partner declined the charge.
    #[error("the payment was declined")]
    Declined(Decline),
    /// The customer must act at the partner. Contains only what this caller may read.
    #[error("the customer must act")]
    ActionRequired(NextAction),
    /// The customer has not agreed to be charged by the shop's billing partner.
    #[error("the customer has no billing agreement")]
    NoAgreement,
    /// The partner completes the refund later.
    #[error("the refund is pending at the partner")]
    RefundPending,
    /// The partner rejected the refund, or it failed later. A repeat of the request starts another
    /// one.
    #[error("the refund was rejected or has failed")]
    RefundFailed,
    /// The refund exceeds what is left of the captured amount.
    #[error("only {left} can be refunded")]
    RefundTooLarge {
        /// The maximum that can be refunded.
        left: Money,
    },
    /// The order has the maximum number of refunds that this service makes.
    #[error("no further refund is possible")]
    TooManyRefunds,
    /// The partner rejected a partial refund, or it failed later. A new request may start another
    /// one.
    #[error("the refund of a part was rejected or has failed")]
    RefundRejected {
        /// The partner's reason.
        code: String,
    },
    /// The invoice has no attempts left.
    #[error("no payment attempt is left")]
    TooManyAttempts,
    /// The charge's outcome is unknown so far.
    #[error("the payment's outcome is unknown")]
    PaymentUnknown,
    /// The mail service rejected the address.
    #[error("the mail address was rejected")]
    AddressRejected,
    /// The shop has no sender and sends no mails.
    #[error("this deployment sends no mails")]
    MailNotConfigured,
    /// The mail may have been sent; it is not sent again.
    #[error("the mail's outcome is unknown")]
    MailUnconfirmed,
    /// A dependency did not answer or throttled the call.
    #[error("{dependency:?} is unavailable")]
    Unavailable {
        /// The dependency.
        dependency: Dependency,
        /// The outcome of the request.
        outcome: Outcome,
        /// The dependency's error, for the log.
        #[source]
        source: Source,
    },
    /// The operator must add keys, or replace rejected ones.
    #[error("{counterpart:?} is not configured")]
    NotConfigured {
        /// The owner of the keys.
        counterpart: Counterpart,
        /// The outcome of the request.
        outcome: Outcome,
        /// Which secret and why, for the log.
        #[source]
        source: Source,
    },
    /// An earlier request with the same key, or for the same mail, was answered with this error.
    #[error("answered before: {0}")]
    Replayed(Box<Self>),
    /// A message reached a function that has no queue.
    #[error("this function consumes no queue")]
    NoQueue,
    /// A bug or an inconsistency in this service.
    #[error("internal error")]
    Internal(#[source] Source),
}

impl Error {
    /// The error for missing keys of `counterpart`; the request has changed nothing.
    #[must_use]
    pub fn without_keys(counterpart: Counterpart, error: SecretError) -> Self {
        let outcome = Outcome::NothingDone;
        if error.needs_operator() {
            return Self::NotConfigured {
                counterpart,
                outcome,
                source: error.into(),
            };
        }
        Self::Unavailable {
            dependency: match counterpart {
                Counterpart::BillingPartner => Dependency::BillingPartner,
                Counterpart::Carrier => Dependency::Carrier,
            },
            outcome,
            source: error.into(),
        }
    }

    /// The same error after the request has taken effect elsewhere: it no longer reports that
    /// nothing changed.
    #[must_use]
    pub fn after_an_effect(self) -> Self {
        match self {
            Self::Unavailable {
                dependency, source, ..
            } => Self::Unavailable {
                dependency,
                outcome: Outcome::Unknown,
                source,
            },
            Self::NotConfigured {
                counterpart,
                source,
                ..
            } => Self::NotConfigured {
                counterpart,
                outcome: Outcome::Unknown,
                source,
            },
            other => other,
        }
    }

    /// The error that answered an earlier request and answers this one again.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self::Replayed(self.into())
    }

    /// The underlying error, whether it is answered for the first time or replayed.
    #[must_use]
    pub fn into_first(self) -> Self {
        match self {
            Self::Replayed(first) => *first,
            other => other,
        }
    }

    /// Whether AWS refused a call. Retries fail too, until an operator corrects a permission, a
    /// table, or a key.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        let Self::Unavailable { source, .. } = self else {
            return false;
        };
        let ((Some(StoreError::Aws(failure)), _) | (_, Some(QueueError::Aws(failure)))) =
            (source.downcast_ref(), source.downcast_ref())
        else {
            return false;
        };
        failure.kind == FailureKind::Refused
    }

    /// The metric of the failed dependency, if it is outside AWS's own infrastructure.
    #[must_use]
    pub fn metric(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable {
                dependency: Dependency::BillingPartner,
                ..
            }
            | Self::NotConfigured {
                counterpart: Counterpart::BillingPartner,
                ..
            } => Some("BillingPartnerFailed"),
            Self::Unavailable {
                dependency: Dependency::Carrier,
                ..
            }
            | Self::NotConfigured {
                counterpart: Counterpart::Carrier,
                ..
            } => Some("CarrierFailed"),
            Self::Unavailable {
                dependency: Dependency::Mail,
                ..
            } => Some("MailServiceFailed"),
            _ => None,
        }
    }

    /// The stable code of the error, for programs and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyBody => "empty_body",
            Self::NotJson { .. } | Self::ReservedName { .. } | Self::RepeatedName { .. } => {
                "malformed_json"
            }
            Self::MalformedRequest(_) => "malformed_request",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated => "unauthenticated",
            Self::BackendOnly => "backend_only",
            Self::WebhookSignature => "webhook_signature_invalid",
            Self::WebhookTooLarge => "body_too_large",
            Self::MalformedKey => "malformed_idempotency_key",
            Self::KeyRequired => "idempotency_key_required",
            Self::Invalid(_) => "invalid_fields",
            Self::CardNumber(_) => "card_number_refused",
            Self::KeyReused => "idempotency_key_reused",
            Self::NotFound(Missing::Order) => "order_not_found",
            Self::NotFound(Missing::Invoice) => "invoice_not_found",
            Self::NotFound(Missing::Customer) => "customer_not_found",
            Self::NotFound(Missing::Agreement) => "billing_agreement_not_found",
            Self::NotFound(Missing::Partner) => "partner_not_found",
            Self::NotFound(Missing::Route) => "route_not_found",
            Self::WrongState { .. } => "wrong_state",
            Self::Mismatch(_) => "mismatch",
            Self::ReferenceTaken { .. } => "reference_taken",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::InProgress { .. } => "in_progress",
            Self::PaymentPending => "payment_pending",
            Self::Declined(_) => "payment_declined",
            Self::ActionRequired(_) => "payment_action_required",
            Self::NoAgreement => "billing_agreement_missing",
            Self::RefundPending => "refund_pending",
            Self::RefundFailed => "refund_failed",
            Self::RefundTooLarge { .. } => "refund_exceeds_payment",
            Self::TooManyRefunds => "too_many_refunds",
            Self::RefundRejected { .. } => "refund_rejected",
            Self::TooManyAttempts => "too_many_payment_attempts",
            Self::PaymentUnknown => "payment_outcome_unknown",
            Self::AddressRejected => "address_rejected",
            Self::MailNotConfigured => "mail_not_configured",
            Self::MailUnconfirmed => "mail_unconfirmed",
            Self::Unavailable { dependency, .. } => match dependency {
                Dependency::Database => "database_unavailable",
                Dependency::Queue => "queue_unavailable",
                Dependency::Mail => "mail_unavailable",
                Dependency::BillingPartner => "billing_partner_unavailable",
                Dependency::Carrier => "carrier_unavailable",
            },
            Self::NotConfigured { counterpart, .. } => match counterpart {
                Counterpart::BillingPartner => "billing_partner_not_configured",
                Counterpart::Carrier => "carrier_not_configured",
            },
            Self::Replayed(first) => first.code(),
            Self::NoQueue | Self::Internal(_) => "internal_error",
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Corrupt { .. } | StoreError::NotConfigured(_) => {
                Self::Internal(error.into())
            }
            // Includes calls that AWS refuses: to the caller it is an outage, and the log asks for
            // an operator (`Error::needs_operator`).
            StoreError::Aws(failure) => Self::Unavailable {
                dependency: Dependency::Database,
                outcome: failure.outcome(),
                source: error.into(),
            },
            StoreError::Conflict => Self::Unavailable {
                dependency: Dependency::Database,
                outcome: Outcome::NothingDone,
                source: error.into(),
            },
        }
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Aws(_) | QueueError::Partial { .. } | QueueError::TimedOut => {
                Self::Unavailable {
                    dependency: Dependency::Queue,
                    outcome: error.outcome(),
                    source: error.into(),
                }
            }
            QueueError::Encoding | QueueError::NotConfigured(_) => Self::Internal(error.into()),
        }
    }
}

impl From<JsonError> for Error {
    fn from(error: JsonError) -> Self {
        let (line, column) = (error.line(), error.column());
        match error {
            JsonError::Malformed(_) => Self::NotJson { line, column },
            JsonError::Reserved { .. } => Self::ReservedName { line, column },
            JsonError::Repeated { .. } => Self::RepeatedName { line, column },
        }
    }
}
