//! A function as a process, for tests that freeze it as Lambda does: `function cart`, `function
//! shipment`. It runs the same code as the function's own `main`.

use cart::Cart;
use messages::queue::Sqs;
use platform::config::{Environment, Shop};
use service::lambda::{Started, serve};
use shipment::Shipments;
use shipment::carriers::Own;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        ..
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    match std::env::args().nth(1).as_deref() {
        Some("cart") => {
            let cart = Cart::new(store, Shop::from_environment(environment)?, runtime);
            let cart = cart.shipping_with(platform::config::carrier(environment)?);
            serve(cart, environment).await
        }
        Some("shipment") => {
            let queue = Sqs::from_environment(aws.sqs(), environment);
            let shipments = Shipments::new(store, Own, queue, runtime);
            serve(shipments, environment).await
        }
        _ => Err("name a function: cart or shipment".into()),
    }
}
