//! The cart Lambda.

use cart::Cart;
use platform::config::{Environment, Shop, carrier};
use service::lambda::{Started, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started { store, runtime, .. } =
        Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let cart = Cart::new(store, Shop::from_environment(environment)?, runtime);
    let cart = cart.shipping_with(carrier(environment)?);
    serve(cart, environment).await
}
