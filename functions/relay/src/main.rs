//! The relay's Lambdas: the stream's consumer and the sweep.

use relay::Relay;
use shared::aws::Aws;
use shared::config::{Environment, Tables};
use shared::domain::UnpaidOrders;
use shared::queue::Sqs;
use shared::runtime::Runtime;
use shared::store::Store;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let stage = environment.required("STAGE")?;
    telemetry::start(environment.optional("LOG_LEVEL").as_deref(), stage.clone());
    let aws = Aws::from_environment(environment)?;
    let runtime = Runtime::system();
    let tables = Tables::from_environment(environment);
    // The stream's consumer has no table and checks no order.
    let unpaid = match tables.orders {
        Some(_) => environment.parsed("UNPAID_ORDER_DAYS")?,
        None => UnpaidOrders::NEVER_EXPIRE,
    };
    let sender = environment.optional("SENDER_EMAIL");
    let store = Store::new(aws.dynamodb(), tables, runtime.clone()).with_sender(sender.as_deref());
    let queues = Sqs::from_environment(aws.sqs(), environment);
    let relay = Relay::new(store, queues, stage, runtime).expiring(unpaid);
    let relay = match environment.optional("MAIL_RETRY_DAYS") {
        Some(_) => relay.with_mail_retry_days(environment.parsed("MAIL_RETRY_DAYS")?),
        None => relay,
    };
    relay.run().await
}
