//! The mailer.

use std::future::Future;

use aws_sdk_sesv2::error::ProvideErrorMetadata as _;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageTag};
use domain::Email;
use platform::aws::{AwsFailure, FailureKind};

use crate::feedback::{TAG, tag_for};
use crate::mail::Mail;

/// Why a mail was not sent, by what the caller may do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailerError {
    /// Over the account's rate per second. The mail was not accepted; retry in a moment.
    #[error("over the account's sending rate per second")]
    OverRate(#[source] AwsFailure),
    /// Over the account's 24-hour quota. The mail was not accepted; retry in hours.
    #[error("over the account's 24-hour sending quota")]
    OverQuota(#[source] AwsFailure),
    /// SES accepts no such mail until a person has changed something: the sender or, in SES's
    /// sandbox, the recipient is not verified, sending is paused, or a right is missing. The mail
    /// was not accepted; retry in hours.
    #[error("SES refuses the mail")]
    Refused(#[source] AwsFailure),
    /// The mail was provably not accepted; a retry is safe.
    #[error("the mail was not accepted")]
    NotTaken(#[source] AwsFailure),
    /// SES rejected the address; a retry cannot succeed.
    #[error("the address was rejected")]
    AddressRejected(#[source] AwsFailure),
    /// The mail may have been accepted; it must not be sent again.
    #[error("the mail's outcome is unknown")]
    Unknown(#[source] AwsFailure),
}

/// Sends mails.
pub trait Mailer: Send + Sync + 'static {
    /// Sends one mail and returns the mailer's ID of it.
    ///
    /// MUST make at most one attempt, on a fresh connection. MUST return [`MailerError::OverRate`],
    /// [`MailerError::OverQuota`], [`MailerError::Refused`], and [`MailerError::NotTaken`] only with
    /// proof that the mail was not accepted. SHOULD include `email_id` in later feedback about the
    /// mail.
    fn send(
        &self,
        email_id: &str,
        to: &Email,
        mail: &Mail,
    ) -> impl Future<Output = Result<String, MailerError>> + Send;
}

/// Amazon SES, API version 2.
#[derive(Clone, Debug)]
pub struct Ses {
    client: aws_sdk_sesv2::Client,
    sender: String,
    configuration: Option<String>,
}

impl Ses {
    /// `sender` is an address or domain that SES has verified. The client must not retry: SES does
    /// not recognize a repeated mail.
    #[must_use]
    pub fn new(client: aws_sdk_sesv2::Client, sender: String) -> Self {
        Self {
            client,
            sender,
            configuration: None,
        }
    }

    /// Sends with this configuration set, which publishes bounces and complaints.
    #[must_use]
    pub fn with_configuration(self, configuration: Option<String>) -> Self {
        Self {
            configuration,
            ..self
        }
    }
}

fn tags(email_id: &str) -> Option<Vec<MessageTag>> {
    let tag = MessageTag::builder().name(TAG).value(tag_for(email_id)?);
    Some(vec![tag.build().ok()?])
}

fn content(text: &str) -> Result<Content, MailerError> {
    Content::builder()
        .data(text)
        .charset("UTF-8")
        .build()
        .map_err(|_| {
            MailerError::NotTaken(AwsFailure {
                operation: "SendEmail",
                kind: FailureKind::NotSent,
                code: None,
                request_id: None,
            })
        })
}

impl Mailer for Ses {
    async fn send(&self, email_id: &str, to: &Email, mail: &Mail) -> Result<String, MailerError> {
        let body = Body::builder()
            .text(content(&mail.text)?)
            .html(content(&mail.html)?)
            .build();
        let message = Message::builder()
            .subject(content(&mail.subject)?)
            .body(body)
            .build();
        let result = self
            .client
            .send_email()
            .from_email_address(&self.sender)
            .destination(Destination::builder().to_addresses(to.as_str()).build())
            .content(EmailContent::builder().simple(message).build())
            .set_configuration_set_name(self.configuration.clone())
            .set_email_tags(tags(email_id))
            .send()
            .await;
        match result {
            Ok(output) => Ok(output.message_id.unwrap_or_default()),
            Err(error) => {
                let failure = AwsFailure::new("SendEmail", &error);
                Err(if is_over_quota(error.message()) {
                    MailerError::OverQuota(failure)
                } else {
                    classify(failure)
                })
            }
        }
    }
}

/// Whether SES refused a mail for the 24-hour quota. Only the message tells the two limits apart
/// ("Errors related to the sending quotas for your Amazon SES account").
fn is_over_quota(message: Option<&str>) -> bool {
    message.is_some_and(|message| message.contains("Daily message quota exceeded"))
}

/// What a failed call proves ("Amazon SES API v2 reference, `SendEmail`, Errors").
#[must_use]
pub fn classify(failure: AwsFailure) -> MailerError {
    match (failure.kind, failure.code.as_deref()) {
        (FailureKind::Refused, Some("BadRequestException")) => {
            MailerError::AddressRejected(failure)
        }
        (FailureKind::Throttled, _) => MailerError::OverRate(failure),
        (FailureKind::Refused, Some("LimitExceededException")) => MailerError::OverQuota(failure),
        (FailureKind::Refused, _) => MailerError::Refused(failure),
        (FailureKind::NotSent, _) => MailerError::NotTaken(failure),
        (FailureKind::Unanswered | FailureKind::ServerFault, _) => MailerError::Unknown(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(kind: FailureKind, code: Option<&str>) -> MailerError {
        classify(AwsFailure {
            operation: "SendEmail",
            kind,
            code: code.map(str::to_owned),
            request_id: None,
        })
    }

    #[test]
    fn only_proof_that_ses_did_not_take_it_allows_another_try() {
        use FailureKind::{NotSent, Refused, ServerFault, Throttled, Unanswered};
        assert!(matches!(
            fate(Throttled, Some("TooManyRequestsException")),
            MailerError::OverRate(_)
        ));
        assert!(matches!(fate(NotSent, None), MailerError::NotTaken(_)));
        for code in [
            "MessageRejected",
            "MailFromDomainNotVerifiedException",
            "SendingPausedException",
            "AccessDeniedException",
        ] {
            let fate = fate(Refused, Some(code));
            assert!(matches!(fate, MailerError::Refused(_)), "{code}");
        }
        for (kind, code) in [
            (Unanswered, None),
            (ServerFault, Some("InternalServiceErrorException")),
        ] {
            assert!(
                matches!(fate(kind, code), MailerError::Unknown(_)),
                "{kind:?} {code:?}"
            );
        }
        assert!(matches!(
            fate(Refused, Some("BadRequestException")),
            MailerError::AddressRejected(_)
        ));
    }
}
