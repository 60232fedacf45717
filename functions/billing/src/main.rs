//! The billing Lambdas: the endpoint and its queue's worker.

use billing::Billing;
use shared::config::{Environment, Shop};
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        store,
        runtime,
        authentication,
        ..
    } = Started::from_environment(environment)?;
    let billing = Billing::new(store, Shop::from_environment(environment)?, runtime);
    Handler::new(billing, authentication).run().await
}
