//! The billing Lambdas: the endpoint and its queue's worker.

use billing::Billing;
use platform::config::{Environment, Shop, carrier};
use service::lambda::{Started, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started { store, runtime, .. } =
        Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let billing = Billing::new(store, Shop::from_environment(environment)?, runtime);
    let billing = billing.shipping_with(carrier(environment)?);
    serve(billing, environment).await
}
