//! What a partner gave the shop to prove itself with, read once, when the function starts.

use std::collections::BTreeMap;
use std::fmt;

use crate::aws::{Aws, AwsFailure};
use crate::config::{ConfigError, Environment};
use crate::https::Secret;

/// What `template.yaml` puts into a new secret, for the operator to replace.
const PLACEHOLDER: &str = "REPLACE-ME";

/// A partner's secret: named texts, such as `apiKey` and `webhookSecret`. It cannot be printed.
#[derive(Clone)]
pub struct PartnerSecret {
    /// The variable that it came from, for messages.
    variable: &'static str,
    fields: BTreeMap<String, Secret>,
}

impl fmt::Debug for PartnerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartnerSecret")
    }
}

/// Why there is no secret; found at start, and never with a word of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable or what it leads to is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Secrets Manager does not give it.
    #[error("the secret named by environment variable {variable} cannot be read")]
    Unreadable {
        /// The variable with its name.
        variable: &'static str,
        /// How Secrets Manager refused.
        #[source]
        source: AwsFailure,
    },
}

impl PartnerSecret {
    /// Reads the secret: the variable `text` holds it as JSON, on a laptop; in the cloud the variable
    /// `name` holds the ARN of the secret in Secrets Manager, which holds that JSON.
    pub async fn read(
        environment: Environment<'_>,
        aws: &Aws,
        text: &'static str,
        name: &'static str,
    ) -> Result<Self, SecretError> {
        if let Some(json) = environment.optional(text) {
            return Ok(Self::parse(&json, text)?);
        }
        let id = environment.required(name)?;
        let answer = aws
            .secrets()
            .get_secret_value()
            .secret_id(id)
            .send()
            .await
            .map_err(|error| SecretError::Unreadable {
                variable: name,
                source: AwsFailure::new("GetSecretValue", &error),
            })?;
        Ok(Self::parse(
            answer.secret_string().unwrap_or_default(),
            name,
        )?)
    }

    fn parse(json: &str, variable: &'static str) -> Result<Self, ConfigError> {
        let wrong = |expected: &str| ConfigError::Wrong {
            name: variable,
            expected: expected.to_owned(),
        };
        if json.trim() == PLACEHOLDER {
            return Err(wrong(
                "its secret still is the placeholder of template.yaml; put the partner's keys there as \
                 JSON (aws secretsmanager put-secret-value)",
            ));
        }
        // Not with the reader's own words, which may quote the text.
        let texts: BTreeMap<String, String> = serde_json::from_str(json)
            .map_err(|_| wrong("its secret must be a JSON object of texts"))?;
        let fields = texts.into_iter();
        Ok(Self {
            variable,
            fields: fields
                .map(|(name, text)| (name, Secret::new(text)))
                .collect(),
        })
    }

    /// One of its texts, which begins with one of `prefixes`; with no prefixes, any that is not empty.
    pub fn field(&self, name: &'static str, prefixes: &[&str]) -> Result<Secret, ConfigError> {
        let wrong = |expected: String| ConfigError::Wrong {
            name: self.variable,
            expected,
        };
        let field = self.fields.get(name);
        let secret = field
            .filter(|secret| !secret.expose().is_empty())
            .ok_or_else(|| wrong(format!("its secret must have the field {name}")))?;
        let begins = |prefix: &&str| secret.expose().starts_with(prefix);
        if prefixes.is_empty() || prefixes.iter().any(begins) {
            return Ok(secret.clone());
        }
        let prefixes = prefixes.join(" or ");
        Err(wrong(format!(
            "{name} in its secret must begin with {prefixes}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLE: &str = "PARTNER_SECRET";

    fn parse(text: &str) -> Result<PartnerSecret, ConfigError> {
        PartnerSecret::parse(text, VARIABLE)
    }

    #[test]
    fn a_field_is_found_by_its_name_and_beginning() {
        let secret = parse(r#"{"apiKey":"sk_canary","webhookSecret":""}"#).unwrap();
        let key = secret.field("apiKey", &["sk_", "rk_"]).unwrap();
        assert_eq!(key.expose(), "sk_canary");
        assert_eq!(secret.field("apiKey", &[]).unwrap(), key);
        for (field, prefixes, told) in [
            ("webhookSecret", &[][..], "the field webhookSecret"),
            ("clientId", &[][..], "the field clientId"),
            ("apiKey", &["pk_", "rk_"][..], "must begin with pk_ or rk_"),
        ] {
            let error = secret.field(field, prefixes).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains(VARIABLE), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_a_word_of_the_secret() {
        for text in [
            "canary",
            r#"["canary"]"#,
            r#"{"apiKey":{"canary":1}}"#,
            r#"{"canary"#,
            "",
        ] {
            let error = format!("{:?}", parse(text).unwrap_err());
            assert!(error.contains(VARIABLE), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let secret = parse(r#"{"apiKey":"canary"}"#).unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
        let error = format!("{:?}", secret.field("apiKey", &["sk_"]).unwrap_err());
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn the_placeholder_of_the_template_is_refused_as_such() {
        let template = include_str!("../../template.yaml");
        assert!(template.contains(&format!("SecretString: {PLACEHOLDER}\n")));
        let error = parse(PLACEHOLDER).unwrap_err().to_string();
        assert!(error.contains("still is the placeholder"), "{error}");
    }
}
