//! A cloud in one process for the tests: the real handlers over the real store on an embedded
//! DynamoDB whose tables are created from `template.yaml`, with a clock that the test controls.
//!
//! Only external services have doubles: queues, mailer, and, if a test requests it, the billing
//! partner.

mod asyncapi;
mod cloud;
mod database;
mod description;
mod ends;
mod openapi;
pub mod partners;
mod services;
mod ses;
pub mod sim;
pub mod unkind;

pub use asyncapi::AsyncApi;
pub use cloud::{Cloud, Options};
pub use database::{Capacity, Database, SentWrite, SentWrites, StreamReader};
pub use ends::{PlayedMailer, PlayedPartner, PlayedQueues, SentMail};
pub use openapi::OpenApi;
pub use services::{
    EASYPOST_WEBHOOK_SECRET, Ends, REQUEST_ID, Reply, STRIPE_WEBHOOK_SECRET, Services, batch,
    customer_request, hmac_sha256_hex, invoke, invoke_relay, question, request, search,
    unlimited_pace,
};
pub use ses::{Idle, SesDouble, SesRefusal, TakenMail};
