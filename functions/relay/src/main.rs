//! The relay's Lambdas: the stream's consumer and the sweep.

use domain::UnpaidOrders;
use messages::queue::Sqs;
use platform::config::Environment;
use relay::Relay;
use service::lambda::Started;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        stage,
        runtime,
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    // The stream's consumer has no table and does not check orders.
    let unpaid = match environment.optional("ORDERS_TABLE") {
        Some(_) => environment.parsed("UNPAID_ORDER_DAYS")?,
        None => UnpaidOrders::NEVER_EXPIRE,
    };
    let queues = Sqs::from_environment(aws.sqs(), environment);
    let relay = Relay::new(store, queues, stage, runtime).expiring(unpaid);
    let relay = match environment.optional("MAIL_RETRY_DAYS") {
        Some(_) => relay.with_mail_retry_days(environment.parsed("MAIL_RETRY_DAYS")?),
        None => relay,
    };
    relay.run().await
}
