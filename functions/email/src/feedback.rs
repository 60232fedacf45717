//! SES's feedback about mails it accepted: "Contents of event data that Amazon SES publishes to
//! Amazon SNS". The queue delivers it unwrapped (raw message delivery).

use std::collections::BTreeMap;

use domain::Email;
use serde::Deserialize;
use store::Feedback;

/// The tag that links feedback to its mail.
pub(crate) const TAG: &str = "emailId";

/// SES publishes this text to test its permission on a new topic.
const PROBE: &str = "Successfully validated SNS topic";

/// A notification from SES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    /// A mail bounced, or its recipient complained.
    Feedback {
        /// The mail's ledger ID, unless it was sent without one.
        email_id: Option<String>,
        /// A bounce or a complaint.
        feedback: Feedback,
        /// The recipients it is about.
        addresses: Vec<Email>,
    },
    /// No action follows from it.
    Ignored,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "eventType")]
    kind: String,
    mail: Mail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
}

#[derive(Deserialize)]
struct Mail {
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounced_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(rename = "complaintFeedbackType")]
    kind: Option<String>,
    #[serde(default)]
    complained_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
}

/// The tag's value for a mail. Tags may have ASCII letters, digits, `_`, and `-` ("`MessageTag`");
/// ledger IDs have slashes and no `-`. `None` for an ID with other characters or over 256 bytes.
pub(crate) fn tag_for(email_id: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/');
    let is_valid = email_id.len() <= 256 && email_id.chars().all(is_allowed);
    is_valid.then(|| email_id.replace('/', "-"))
}

/// Reads a text from the queue; `None` if SES did not write it.
pub(crate) fn read(text: &str) -> Option<Notification> {
    if text.starts_with(PROBE) {
        return Some(Notification::Ignored);
    }
    let event: Event = platform::json::read(text.as_bytes()).ok()?;
    let (feedback, recipients) = match (event.kind.as_str(), event.bounce, event.complaint) {
        ("Bounce", Some(bounce), _) => {
            let is_permanent = bounce.bounce_type == "Permanent";
            let feedback = Feedback::Bounced { is_permanent };
            (feedback, bounce.bounced_recipients)
        }
        // The provider takes a complaint back ("Complaint object", `complaintFeedbackType`).
        ("Complaint", _, Some(complaint)) if complaint.kind.as_deref() == Some("not-spam") => {
            return Some(Notification::Ignored);
        }
        ("Complaint", _, Some(complaint)) => {
            (Feedback::Complained, complaint.complained_recipients)
        }
        _ => return Some(Notification::Ignored),
    };
    let tags = event.mail.tags.get(TAG);
    let email_id = tags
        .and_then(|values| values.first())
        .map(|value| value.replace('-', "/"));
    let addresses = recipients.iter();
    let addresses = addresses.filter_map(|each| Email::from_stored(&each.email_address).ok());
    Some(Notification::Feedback {
        email_id,
        feedback,
        addresses: addresses.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Examples of event data that Amazon SES publishes to Amazon SNS", shortened.
    fn bounce(kind: &str) -> String {
        format!(
            r#"{{"eventType":"Bounce","bounce":{{"bounceType":"{kind}","bounceSubType":"General",
            "bouncedRecipients":[{{"emailAddress":"recipient@example.com","action":"failed",
            "status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}}],
            "timestamp":"2017-08-05T00:41:02.669Z","feedbackId":"f","reportingMTA":"dsn; mta"}},
            "mail":{{"timestamp":"2017-08-05T00:40:02.012Z","messageId":"m",
            "destination":["recipient@example.com"],
            "tags":{{"ses:configuration-set":["c"],"emailId":["ord_1-OrderShipped-00ff"]}}}}}}"#
        )
    }

    #[test]
    fn a_bounce_names_its_mail_and_whether_it_is_for_good() {
        for (kind, is_permanent) in [
            ("Permanent", true),
            ("Transient", false),
            ("Undetermined", false),
        ] {
            let expected = Notification::Feedback {
                email_id: Some("ord_1/OrderShipped/00ff".to_owned()),
                feedback: Feedback::Bounced { is_permanent },
                addresses: vec![Email::parse("recipient@example.com").unwrap()],
            };
            assert_eq!(read(&bounce(kind)), Some(expected));
        }
    }

    #[test]
    fn other_news_is_nothing_and_other_texts_are_not_from_ses() {
        let delivery = r#"{"eventType":"Delivery","mail":{},"delivery":{}}"#;
        let probe = "Successfully validated SNS topic for Amazon SES event publishing.";
        let taken_back = r#"{"eventType":"Complaint","complaint":{"complainedRecipients":
            [{"emailAddress":"recipient@example.com"}],"complaintFeedbackType":"not-spam"},"mail":{}}"#;
        for text in [delivery, probe, taken_back] {
            assert_eq!(read(text), Some(Notification::Ignored));
        }
        for text in ["", "{}", "no", r#"{"eventType":"Bounce"}"#] {
            assert_eq!(read(text), None);
        }
    }

    #[test]
    fn an_id_survives_as_a_tag() {
        let id = format!(
            "ord_01JDB4XK00EXAMPVE0RDER0001/PaymentProcessed/{}",
            "0f".repeat(32)
        );
        let tag = tag_for(&id).unwrap();
        assert_eq!(tag.replace('-', "/"), id);
        for id in ["request/a-b", "request/é", &"a".repeat(257)] {
            assert_eq!(tag_for(id), None);
        }
    }
}
