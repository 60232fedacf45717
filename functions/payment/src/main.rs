//! The payment Lambdas: the endpoint and its queue's worker.

use payment::Payments;
use payment::partners::{Ledger, PayPal, Sandbox, Stripe};
use platform::config::{ConfigError, Environment, Shop};
use service::lambda::{Started, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        stage,
        runtime,
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let shop = Shop::from_environment(environment)?;
    let unpaid = environment.parsed("UNPAID_ORDER_DAYS")?;
    match environment.required("BILLING_PARTNER")?.as_str() {
        "sandbox" => {
            let mut partner = Sandbox::new(runtime.clone());
            if let Some(directory) = environment.optional("SANDBOX_LEDGER") {
                partner = partner.with_ledger(Ledger::new(directory)?);
            }
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            serve(payments, environment).await
        }
        "stripe" => {
            let partner = Stripe::from_environment(environment, &aws, runtime.clone()).await?;
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            serve(payments, environment).await
        }
        "paypal" => {
            let partner = PayPal::from_environment(environment, &aws, runtime.clone()).await?;
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            serve(payments, environment).await
        }
        _ => Err(ConfigError::Wrong {
            name: "BILLING_PARTNER",
            expected: "must be sandbox, stripe, or paypal".to_owned(),
        }
        .into()),
    }
}
