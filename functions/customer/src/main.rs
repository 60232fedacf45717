//! The customers' Lambda.

use customer::Customers;
use shared::config::Environment;
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let Started {
        store,
        runtime,
        authentication,
        ..
    } = Started::from_environment(Environment::process())?;
    Handler::new(Customers::new(store, runtime), authentication)
        .run()
        .await
}
