//! The email Lambdas: the endpoint and its queue's worker.

use email::Emails;
use email::mailer::Ses;
use email::pace::Pace;
use platform::config::Environment;
use service::lambda::{Started, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        stage,
        runtime,
    } = Started::from_environment(environment, env!("CARGO_CRATE_NAME"))?;
    let sender = environment.optional("SENDER_EMAIL");
    let configuration = environment.optional("MAIL_CONFIGURATION");
    let mailer = sender.map(|sender| Ses::new(aws.ses(), sender).with_configuration(configuration));
    let pace = Pace::from_environment(environment)?;
    let emails = Emails::new(store, mailer, pace, stage, runtime);
    serve(emails, environment).await
}
