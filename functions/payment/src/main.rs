//! The payment Lambdas: the endpoint and its queue's worker.

use payment::Payments;
use payment::partners::Partners;
use platform::config::{Environment, Shop};
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
    let partners = Partners::from_environment(environment, &aws, &runtime).await?;
    let payments = Payments::new(store, partners, shop, stage, runtime).expiring(unpaid);
    serve(payments, environment).await
}
