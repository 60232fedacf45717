//! The email Lambdas: the endpoint and its queue's worker.

use email::Emails;
use email::mailer::Ses;
use email::pace::Pace;
use shared::config::Environment;
use shared::lambda::{Handler, Started};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::process();
    let Started {
        aws,
        store,
        runtime,
        authentication,
    } = Started::from_environment(environment)?;
    let sender = environment.optional("SENDER_EMAIL");
    let configuration = environment.optional("MAIL_CONFIGURATION");
    let mailer = sender.map(|sender| Ses::new(aws.ses(), sender).with_configuration(configuration));
    let pace = Pace::from_environment(environment)?;
    let emails = Emails::new(store, mailer, pace, environment.required("STAGE")?, runtime);
    Handler::new(emails, authentication).run().await
}
