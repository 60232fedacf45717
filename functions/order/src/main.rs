//! The order Lambda.

use order::Orders;
use platform::config::Environment;
use service::lambda::{Started, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started { store, runtime, .. } =
        Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    serve(Orders::new(store, runtime), environment).await
}
