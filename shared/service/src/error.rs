//! Everything that can go wrong for a caller, free of any transport. `http::problem` turns it into
//! an answer, `lambda::batch` into the fate of a message.

use std::time::Duration;

use domain::{Currency, Decline, Status};
use messages::queue::QueueError;
use platform::aws::FailureKind;
use platform::json::JsonError;
use platform::secret::SecretError;
use store::StoreError;

pub use platform::Source;
pub use platform::aws::Outcome;

/// One bad field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Where a request holds what looks like a card number. Never the number.
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

/// A part of an HTTP request's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPart {
    /// Method and authorizer.
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

/// One value that differs from what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) to the field of the request.
    pub pointer: String,
    /// What the store holds, as text.
    pub expected: String,
    /// What the request says, as text.
    pub actual: String,
}

/// What a request named and the store does not have, or not for this caller.
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
    /// A partner whose webhooks this deployment takes.
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

/// To whom this service proves itself by keys that its operator puts in.
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
    /// No body where one is needed.
    #[error("the body is empty")]
    EmptyBody,
    /// The body is no JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    NotJson {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 1.
        column: usize,
    },
    /// A part of the request's event cannot be read.
    #[error("the request is malformed: {0:?}")]
    MalformedRequest(RequestPart),
    /// A field of the body has a name that the JSON reader keeps for itself.
    #[error("the body has a reserved name: line {line}, column {column}")]
    ReservedName {
        /// Where the name stands, from 1.
        line: usize,
        /// Where the name stands, from 1.
        column: usize,
    },
    /// The body is over 64 KiB.
    #[error("the body is over 64 KiB")]
    BodyTooLarge,
    /// A webhook is over its limit.
    #[error("the webhook is too large")]
    WebhookTooLarge,
    /// A webhook is not signed by its partner, or not now.
    #[error("the webhook's signature is invalid")]
    WebhookSignature,
    /// The content type is not JSON.
    #[error("the content type is not JSON")]
    UnsupportedMediaType,
    /// No caller is known.
    #[error("the request carries no valid token")]
    Unauthenticated,
    /// The route is the back end's, and the caller is not.
    #[error("only the back end may call this")]
    BackendOnly,
    /// The `Idempotency-Key` header is not 1 to 255 visible ASCII characters.
    #[error("the idempotency key is malformed")]
    MalformedKey,
    /// Fields are missing, mistyped, unknown or out of range: all of them.
    #[error("{} fields are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// The request holds what looks like card numbers: all of the places.
    #[error("{} values look like card numbers", .0.len())]
    CardNumber(Vec<CardPlace>),
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// Not there, or not this caller's.
    #[error("{0:?} not found")]
    NotFound(Missing),
    /// The order's status does not allow it.
    #[error("not possible while the order is {status}")]
    WrongState {
        /// Where the order stands.
        status: Status,
        /// What must be done first, or why it is too late.
        detail: &'static str,
    },
    /// The request disagrees with what is stored: every difference.
    #[error("{} values differ from what is stored", .0.len())]
    Mismatch(Vec<Difference>),
    /// The order is in another currency than the shop sells in by now.
    #[error("the order is in {order}, the shop sells in {shop}")]
    CurrencyMismatch {
        /// The order's.
        order: Currency,
        /// The shop's.
        shop: Currency,
    },
    /// Another call is doing it right now.
    #[error("already in progress")]
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The partner took the charge and settles it later.
    #[error("the payment is pending at the partner")]
    PaymentPending,
    /// The partner refused the charge.
    #[error("the payment was declined")]
    Declined(Decline),
    /// The customer must act at the partner.
    #[error("the customer must act")]
    ActionRequired,
    /// The customer has not agreed to be charged by the shop's billing partner.
    #[error("the customer has no billing agreement")]
    NoAgreement,
    /// The partner took the refund and settles it later.
    #[error("the refund is pending at the partner")]
    RefundPending,
    /// The partner refused the refund, or it failed later; a repeat of the request makes another one.
    #[error("the refund was refused or has failed")]
    RefundFailed,
    /// As many attempts were declined as an invoice allows.
    #[error("no further payment attempt is allowed")]
    TooManyAttempts,
    /// The charge's outcome is not known yet.
    #[error("the payment's outcome is unknown")]
    PaymentUnknown,
    /// The address was refused by the mail service.
    #[error("the mail address was refused")]
    AddressRejected,
    /// The shop has no sender: it sends no mails.
    #[error("no mails are sent here")]
    MailNotConfigured,
    /// Whether the mail went out cannot be known; it is not sent again.
    #[error("the mail's outcome is unknown")]
    MailUnconfirmed,
    /// Something this service needs did not answer or asked for less.
    #[error("{dependency:?} is unavailable")]
    Unavailable {
        /// Which.
        dependency: Dependency,
        /// What is known of the request.
        outcome: Outcome,
        /// Its error, for the log.
        #[source]
        source: Source,
    },
    /// This deployment has no keys for it, or keys that it refuses: its operator has to put them in.
    #[error("{counterpart:?} is not configured")]
    NotConfigured {
        /// Whose keys.
        counterpart: Counterpart,
        /// What is known of the request.
        outcome: Outcome,
        /// Which secret and why, for the log.
        #[source]
        source: Source,
    },
    /// A message reached a function that has no queue.
    #[error("this function consumes no queue")]
    NoQueue,
    /// A fault of this service.
    #[error("internal error")]
    Internal(#[source] Source),
}

impl Error {
    /// What a request gets that needs the keys of `counterpart`, which are missing; it has changed nothing.
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

    /// The same error of a request that has taken effect elsewhere before: that nothing was changed
    /// is no longer true.
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

    /// Whether AWS refused a call: retries are refused too, until an operator mends a right, a table
    /// or a key.
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

    /// The stable name of the case, for programs and logs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyBody => "empty_body",
            Self::NotJson { .. } | Self::ReservedName { .. } => "malformed_json",
            Self::MalformedRequest(_) => "malformed_request",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated => "unauthenticated",
            Self::BackendOnly => "backend_only",
            Self::WebhookSignature => "webhook_signature_invalid",
            Self::WebhookTooLarge => "body_too_large",
            Self::MalformedKey => "malformed_idempotency_key",
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
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::InProgress { .. } => "in_progress",
            Self::PaymentPending => "payment_pending",
            Self::Declined(_) => "payment_declined",
            Self::ActionRequired => "payment_action_required",
            Self::NoAgreement => "billing_agreement_missing",
            Self::RefundPending => "refund_pending",
            Self::RefundFailed => "refund_failed",
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
            // Also what AWS refuses: the caller can do no more about it than about an outage, and the
            // log calls an operator (`Error::needs_operator`).
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
        }
    }
}
