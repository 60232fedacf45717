//! The cart's Lambda.

use cart::Cart;
use shared::config::{Environment, Shop};
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        store,
        runtime,
        authentication,
        ..
    } = Started::from_environment(environment)?;
    let cart = Cart::new(store, Shop::from_environment(environment)?, runtime);
    Handler::new(cart, authentication).run().await
}
