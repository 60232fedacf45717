//! The payment Lambdas: the endpoint and its queue's worker.

use payment::Payments;
use payment::partners::{Ledger, PayPal, Sandbox, Stripe};
use shared::config::{ConfigError, Environment, Shop};
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        authentication,
    } = Started::from_environment(environment)?;
    let shop = Shop::from_environment(environment)?;
    let unpaid = environment.parsed("UNPAID_ORDER_DAYS")?;
    let stage = environment.required("STAGE")?;
    match environment.required("BILLING_PARTNER")?.as_str() {
        "sandbox" => {
            let mut partner = Sandbox::new(runtime.clone());
            if let Some(directory) = environment.optional("SANDBOX_LEDGER") {
                partner = partner.with_ledger(Ledger::new(directory)?);
            }
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            Handler::new(payments, authentication).run().await
        }
        "stripe" => {
            let partner = Stripe::from_environment(environment, &aws, runtime.clone()).await?;
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            Handler::new(payments, authentication).run().await
        }
        "paypal" => {
            let partner = PayPal::from_environment(environment, &aws, runtime.clone()).await?;
            let payments = Payments::new(store, partner, shop, stage, runtime).expiring(unpaid);
            Handler::new(payments, authentication).run().await
        }
        _ => Err(ConfigError::Wrong {
            name: "BILLING_PARTNER",
            expected: "sandbox, stripe or paypal".to_owned(),
        }
        .into()),
    }
}
