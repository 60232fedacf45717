//! The source of the key.

use payment::partners::Stripe;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::secret;

use super::clock;

#[tokio::test]
async fn on_a_laptop_the_key_comes_from_the_environment_and_its_absence_is_named() {
    let (runtime, _) = clock();
    let start = async |secret: Option<&str>, url: Option<&str>| {
        let variable = |name: &str| match name {
            "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
            "PARTNER_SECRET" => secret.map(str::to_owned),
            "STRIPE_URL" => url.map(str::to_owned),
            _ => None,
        };
        let environment = Environment::new(&variable);
        let aws = Aws::from_environment(environment).unwrap();
        Stripe::from_environment(environment, &aws, secret::PARTNER.current, runtime.clone())
            .await
            .map_err(|error| match error {
                ConfigError::Missing(name) | ConfigError::Wrong { name, .. } => name,
            })
    };
    let good = Some(r#"{"apiKey":"sk_test_x","webhookSecret":"whsec_x"}"#);
    assert!(start(good, None).await.is_ok());
    let wrong = Some("http://example.com");
    for (secret, url, named) in [
        (None, None, "PARTNER_SECRET_ARN"),
        (Some("{}"), None, "PARTNER_SECRET"),
        (good, wrong, "STRIPE_URL"),
    ] {
        assert_eq!(start(secret, url).await.unwrap_err(), named);
    }
}
