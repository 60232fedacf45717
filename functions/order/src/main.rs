//! The Lambda that tells where an order stands.

use order::Orders;
use shared::config::Environment;
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let Started {
        store,
        authentication,
        ..
    } = Started::from_environment(Environment::process())?;
    Handler::new(Orders::new(store), authentication).run().await
}
