//! The shipment Lambdas: the endpoint and its queue's worker.

use domain::CarrierName;
use messages::queue::Sqs;
use platform::config::{Environment, TrackingMails, carrier};
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
    let tracking_mails = TrackingMails::from_environment(environment)?;
    match carrier(environment)? {
        CarrierName::Own => {
            let shipments = Shipments::new(store, Own, queue, runtime);
            serve(shipments.mailing(tracking_mails), environment).await
        }
        CarrierName::EasyPost => {
            let carrier = EasyPost::from_environment(environment, &aws, runtime.clone()).await?;
            let shipments = Shipments::new(store, carrier, queue, runtime);
            serve(shipments.mailing(tracking_mails), environment).await
        }
    }
}
