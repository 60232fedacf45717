//! The shop's credentials at partners. A secret is read on first use and again regularly, so that
//! an operator can add or rotate keys while the functions run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{PartnerName, Timestamp};
use tokio::sync::Mutex as Turn;

use crate::aws::{Aws, AwsFailure, FailureKind};
use crate::config::{ConfigError, Environment};
use crate::outbound::Secret;
use crate::runtime::Runtime;

/// The content of a new secret in `template.yaml`, which the operator replaces.
const PLACEHOLDER: &str = "REPLACE-ME";

/// How long keys are used before the secret is read again.
const FRESH: Duration = Duration::from_mins(5);

/// The pause after a failed read, if the secret has no keys or older keys are still available.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The pause before a refusal may cause another read. Anyone can send a webhook with a bad
/// signature, and a wrong key is refused on every call.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// Time limit of a read while older keys are available.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);

/// A partner's secret: named texts, such as `apiKey`. `Debug` does not print it.
#[derive(Clone)]
pub struct PartnerSecret {
    /// The variable that supplied it, for error messages.
    variable: &'static str,
    fields: BTreeMap<String, Secret>,
}

impl fmt::Debug for PartnerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartnerSecret")
    }
}

/// Why there are no keys. Never quotes the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The secret has no keys or invalid ones.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Secrets Manager did not return the secret.
    #[error("the secret named by environment variable {variable} cannot be read")]
    Unreadable {
        /// The variable with the secret's name.
        variable: &'static str,
        /// Secrets Manager's error.
        #[source]
        source: AwsFailure,
    },
}

impl SecretError {
    /// Whether only the operator can correct it: the keys, a permission, or the secret's name.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Unreadable { source, .. } => source.kind == FailureKind::Refused,
        }
    }
}

/// The two variables that can supply a secret.
#[derive(Clone, Copy, Debug)]
pub struct SecretVariables {
    /// Contains the secret itself, as JSON; for local runs.
    pub text: &'static str,
    /// Contains the ARN of a secret in Secrets Manager with the same JSON.
    pub arn: &'static str,
}

/// The secrets of the deployment's billing partners.
#[derive(Clone, Copy, Debug)]
pub struct PartnerSecrets {
    /// The secret of the partner for new charges.
    pub current: SecretVariables,
    /// The secret of the former partner, if it has its own.
    pub former: SecretVariables,
}

/// The billing partners' API keys.
pub const PARTNER: PartnerSecrets = PartnerSecrets {
    current: SecretVariables {
        text: "PARTNER_SECRET",
        arn: "PARTNER_SECRET_ARN",
    },
    former: SecretVariables {
        text: "FORMER_PARTNER_SECRET",
        arn: "FORMER_PARTNER_SECRET_ARN",
    },
};

/// The carrier's API key.
pub const CARRIER: SecretVariables = SecretVariables {
    text: "CARRIER_SECRET",
    arn: "CARRIER_SECRET_ARN",
};

/// The keys that verify the billing partners' webhooks.
pub const PARTNER_WEBHOOK: PartnerSecrets = PartnerSecrets {
    current: SecretVariables {
        text: "PARTNER_WEBHOOK_SECRET",
        arn: "PARTNER_WEBHOOK_SECRET_ARN",
    },
    former: SecretVariables {
        text: "FORMER_PARTNER_WEBHOOK_SECRET",
        arn: "FORMER_PARTNER_WEBHOOK_SECRET_ARN",
    },
};

/// The keys that verify the carrier's webhooks.
pub const CARRIER_WEBHOOK: SecretVariables = SecretVariables {
    text: "CARRIER_WEBHOOK_SECRET",
    arn: "CARRIER_WEBHOOK_SECRET_ARN",
};

/// The partner of new charges, then the former partner, if there is one, each with its secret.
#[derive(Clone, Copy, Debug)]
pub struct BillingPartners {
    /// `BILLING_PARTNER`: opens all new charges.
    pub current: (PartnerName, SecretVariables),
    /// `FORMER_BILLING_PARTNER`: keeps the charges that it opened.
    pub former: Option<(PartnerName, SecretVariables)>,
}

impl BillingPartners {
    /// Reads both variables. If the former partner has no secret of its own, its keys are in the
    /// current partner's secret, next to the current partner's keys.
    pub fn from_environment(
        environment: Environment<'_>,
        secrets: PartnerSecrets,
    ) -> Result<Self, ConfigError> {
        const FORMER: &str = "FORMER_BILLING_PARTNER";
        let current = environment.parsed("BILLING_PARTNER")?;
        let former = match environment.optional(FORMER) {
            None => None,
            Some(_) => Some(environment.parsed(FORMER)?),
        };
        if former == Some(current) {
            return Err(ConfigError::Wrong {
                name: FORMER,
                expected: "must not be the partner that BILLING_PARTNER names".to_owned(),
            });
        }
        let PartnerSecrets {
            current: secret,
            former: own,
        } = secrets;
        let has_own = [own.text, own.arn]
            .into_iter()
            .any(|variable| environment.optional(variable).is_some());
        Ok(Self {
            current: (current, secret),
            former: former.map(|partner| (partner, if has_own { own } else { secret })),
        })
    }
}

/// Picks the keys out of a secret.
pub type Pick<K> = fn(&PartnerSecret) -> Result<K, ConfigError>;

/// The current keys of a secret. Clones share one cache.
pub struct Keys<K>(Source<K>);

enum Source<K> {
    /// Keys that never change, for local runs and tests.
    Fixed(Arc<K>),
    Kept(Arc<Kept<K>>),
}

struct Kept<K> {
    variable: &'static str,
    client: aws_sdk_secretsmanager::Client,
    id: String,
    pick: Pick<K>,
    runtime: Runtime,
    state: Mutex<State<K>>,
    /// The holder reads the secret; the others wait for its result.
    turn: Turn<()>,
}

struct State<K> {
    keys: Option<K>,
    /// Why there are no keys, if known.
    missing: Option<SecretError>,
    /// When to read the secret again.
    stale_at: Timestamp,
    /// When a refusal may cause another read.
    next_refusal_read_at: Timestamp,
}

impl<K> Clone for Keys<K> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Source::Fixed(keys) => Source::Fixed(Arc::clone(keys)),
            Source::Kept(kept) => Source::Kept(Arc::clone(kept)),
        })
    }
}

impl<K> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl<K: Clone + PartialEq> Keys<K> {
    /// Keys that never change.
    pub fn fixed(keys: K) -> Self {
        Self(Source::Fixed(Arc::new(keys)))
    }

    /// The keys of the secret that `variables` name. A missing variable, or a text without keys, is
    /// an error. A secret in Secrets Manager is read immediately, to save the first call the time;
    /// if that fails, each call reads it until one succeeds.
    pub async fn of(
        environment: Environment<'_>,
        aws: &Aws,
        variables: SecretVariables,
        pick: Pick<K>,
        runtime: Runtime,
    ) -> Result<Self, ConfigError> {
        if let Some(json) = environment.optional(variables.text) {
            let secret = PartnerSecret::parse(&json, variables.text)?;
            return Ok(Self::fixed(pick(&secret)?));
        }
        let never = Timestamp::from_millis(i64::MIN);
        let kept = Arc::new(Kept {
            variable: variables.arn,
            client: aws.secrets(),
            id: environment.required(variables.arn)?,
            pick,
            runtime,
            state: Mutex::new(State {
                keys: None,
                missing: None,
                stale_at: never,
                next_refusal_read_at: never,
            }),
            turn: Turn::new(()),
        });
        // If this read times out, the first call repeats it.
        let _ = tokio::time::timeout(REFRESH_LIMIT, kept.now()).await;
        Ok(Self(Source::Kept(kept)))
    }

    /// The current keys. If Secrets Manager fails, older keys stay in use.
    pub async fn now(&self) -> Result<K, SecretError> {
        match &self.0 {
            Source::Fixed(keys) => Ok(K::clone(keys)),
            Source::Kept(kept) => kept.now().await,
        }
    }

    /// The keys that replace `refused`, which a partner or a signature check has just refused.
    /// Reads the secret at most once per half minute.
    pub async fn newer_than(&self, refused: &K) -> Option<K> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Kept(kept) => kept.newer_than(refused).await,
        }
    }

    /// The last keys that [`Keys::now`] returned; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<K> {
        match &self.0 {
            Source::Fixed(keys) => Some(K::clone(keys)),
            Source::Kept(kept) => kept.state().keys.clone(),
        }
    }
}

impl<K: Clone + PartialEq> Kept<K> {
    async fn now(&self) -> Result<K, SecretError> {
        if let Some(cached) = self.cached() {
            return cached;
        }
        let _turn = self.turn.lock().await;
        if let Some(cached) = self.cached() {
            return cached;
        }
        let read = self.read().await;
        self.keep(read)
    }

    async fn newer_than(&self, refused: &K) -> Option<K> {
        let _turn = self.turn.lock().await;
        let now = self.runtime.now();
        let newer = |keys: Option<K>| keys.filter(|keys| keys != refused);
        {
            let mut state = self.state();
            if state.keys.as_ref() != Some(refused) || now < state.next_refusal_read_at {
                return newer(state.keys.clone());
            }
            state.next_refusal_read_at = now.plus(AFTER_REFUSAL);
        }
        let read = self.read().await;
        newer(self.keep(read).ok())
    }

    /// The result that needs no read: fresh keys, or a recent error.
    fn cached(&self) -> Option<Result<K, SecretError>> {
        let state = self.state();
        if self.runtime.now() >= state.stale_at {
            return None;
        }
        let missing = || state.missing.clone().map(Err);
        state.keys.clone().map(Ok).or_else(missing)
    }

    async fn read(&self) -> Result<K, SecretError> {
        let asked = self.client.get_secret_value().secret_id(&self.id).send();
        let unreadable = |source| SecretError::Unreadable {
            variable: self.variable,
            source,
        };
        let answer = if self.state().keys.is_some() {
            let answer = tokio::time::timeout(REFRESH_LIMIT, asked).await;
            answer.map_err(|_| unreadable(AwsFailure::timed_out("GetSecretValue")))?
        } else {
            asked.await
        };
        let answer =
            answer.map_err(|error| unreadable(AwsFailure::new("GetSecretValue", &error)))?;
        let json = answer.secret_string().unwrap_or_default();
        let secret = PartnerSecret::parse(json, self.variable)?;
        Ok((self.pick)(&secret)?)
    }

    /// Stores the result of a read. A failed read keeps the older keys.
    fn keep(&self, read: Result<K, SecretError>) -> Result<K, SecretError> {
        let now = self.runtime.now();
        let mut state = self.state();
        let error = match read {
            Ok(keys) => {
                state.keys = Some(keys.clone());
                state.missing = None;
                state.stale_at = now.plus(FRESH);
                return Ok(keys);
            }
            Err(error) => error,
        };
        let secret = self.id.as_str();
        if error.needs_operator() {
            let code = "keys_missing";
            tracing::error!(secret, code, cause = cause(&error), %error, "the secret has no usable keys");
        } else {
            tracing::warn!(secret, cause = cause(&error), %error, "the secret cannot be read");
        }
        if state.keys.is_some() || error.needs_operator() {
            state.stale_at = now.plus(AFTER_FAILURE);
        }
        state.missing = Some(error.clone());
        state.keys.clone().ok_or(error)
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Secrets Manager's error, for the log.
fn cause(error: &SecretError) -> Option<String> {
    match error {
        SecretError::Config(_) => None,
        SecretError::Unreadable { source, .. } => Some(source.to_string()),
    }
}

impl PartnerSecret {
    fn parse(json: &str, variable: &'static str) -> Result<Self, ConfigError> {
        let wrong = |expected: &str| ConfigError::Wrong {
            name: variable,
            expected: expected.to_owned(),
        };
        if json.trim() == PLACEHOLDER {
            return Err(wrong(
                "the secret still contains template.yaml's placeholder; store the partner's keys as \
                 JSON (aws secretsmanager put-secret-value)",
            ));
        }
        // Without the parser's own message, which may quote the text.
        let texts: BTreeMap<String, String> = serde_json::from_str(json)
            .map_err(|_| wrong("the secret must be a JSON object of strings"))?;
        let fields = texts.into_iter();
        Ok(Self {
            variable,
            fields: fields
                .map(|(name, text)| (name, Secret::new(text)))
                .collect(),
        })
    }

    /// An error about this secret that does not quote it.
    #[must_use]
    pub fn wrong(&self, expected: &str) -> ConfigError {
        ConfigError::Wrong {
            name: self.variable,
            expected: expected.to_owned(),
        }
    }

    /// The text `name`, which must begin with one of `prefixes` if there are any, and must not be
    /// empty.
    pub fn field(&self, name: &'static str, prefixes: &[&str]) -> Result<Secret, ConfigError> {
        let field = self.fields.get(name);
        let secret = field
            .filter(|secret| !secret.expose().is_empty())
            .ok_or_else(|| self.wrong(&format!("the secret must have the field {name}")))?;
        let has_prefix = |prefix: &&str| secret.expose().starts_with(prefix);
        if prefixes.is_empty() || prefixes.iter().any(has_prefix) {
            return Ok(secret.clone());
        }
        let prefixes = prefixes.join(" or ");
        Err(self.wrong(&format!("{name} in the secret must begin with {prefixes}")))
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
        let template = include_str!("../../../template.yaml");
        assert!(template.contains(&format!("SecretString: {PLACEHOLDER}\n")));
        let error = parse(PLACEHOLDER).unwrap_err().to_string();
        assert!(error.contains("placeholder"), "{error}");
    }
}
