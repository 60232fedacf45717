//! The shipment Lambdas: the endpoint and its queue's worker.

use shared::config::{ConfigError, Environment};
use shared::lambda::{Handler, Started};
use shared::queue::Sqs;
use shipment::Shipments;
use shipment::carriers::{EasyPost, Own};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        authentication,
    } = Started::from_environment(environment)?;
    let queue = Sqs::from_environment(aws.sqs(), environment);
    match environment.required("CARRIER")?.as_str() {
        "own" => {
            let shipments = Shipments::new(store, Own, queue, runtime);
            Handler::new(shipments, authentication).run().await
        }
        "easypost" => {
            let carrier = EasyPost::from_environment(environment, &aws, runtime.clone()).await?;
            let shipments = Shipments::new(store, carrier, queue, runtime);
            Handler::new(shipments, authentication).run().await
        }
        _ => Err(ConfigError::Wrong {
            name: "CARRIER",
            expected: "own or easypost".to_owned(),
        }
        .into()),
    }
}
