//! The Lambda that partners tell their news to.

use shared::config::Environment;
use shared::lambda::{Handler, Started};
use shared::queue::Sqs;
use webhook::{Signers, Webhooks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        authentication,
    } = Started::from_environment(environment)?;
    let signers = Signers::from_environment(environment, &aws, &runtime).await?;
    let queue = Sqs::from_environment(aws.sqs(), environment);
    let stage = environment.required("STAGE")?;
    let webhooks = Webhooks::new(store, queue, signers, stage, runtime);
    Handler::new(webhooks, authentication).run().await
}
