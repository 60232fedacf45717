//! The shipment Lambdas: the endpoint and its queue's worker.

use messages::queue::Sqs;
use platform::config::{ConfigError, Environment};
use service::lambda::{Started, serve};
use shipment::Shipments;
use shipment::carriers::{EasyPost, Own};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        ..
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let queue = Sqs::from_environment(aws.sqs(), environment);
    match environment.required("CARRIER")?.as_str() {
        "own" => {
            let shipments = Shipments::new(store, Own, queue, runtime);
            serve(shipments, environment).await
        }
        "easypost" => {
            let carrier = EasyPost::from_environment(environment, &aws, runtime.clone()).await?;
            let shipments = Shipments::new(store, carrier, queue, runtime);
            serve(shipments, environment).await
        }
        _ => Err(ConfigError::Wrong {
            name: "CARRIER",
            expected: "must be own or easypost".to_owned(),
        }
        .into()),
    }
}
