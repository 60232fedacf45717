//! The webhook Lambda.

use messages::queue::Sqs;
use platform::config::Environment;
use service::lambda::{Started, serve};
use webhook::{Signers, Webhooks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        stage,
        runtime,
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let signers = Signers::from_environment(environment, &aws, &runtime).await?;
    let queue = Sqs::from_environment(aws.sqs(), environment);
    let webhooks = Webhooks::new(store, queue, signers, stage, runtime);
    serve(webhooks, environment).await
}
