//! HTTP at the edge: a request becomes a [`Call`] of checked values; a result becomes an answer.

mod answer;
mod call;
mod caller;
mod card_numbers;
mod contact;
mod fields;
mod items;
mod mail_request;
mod next_action;
mod parameters;
mod problem;
mod request_id;
mod route;

pub use answer::{Answer, Effect};
pub use call::{Call, IdempotencyKey};
pub use caller::Caller;
pub use contact::{EmailField, read_contact, unusable_fields};
pub use fields::{
    Fields, Invalid, Named, Report, as_currency, as_email, as_id, as_money, as_own_id, as_text,
    as_text_lines,
};
pub use items::{ItemBody, as_quantity, item_bodies, read_items, read_refunded_items};
pub use mail_request::{MAILS, MailRequest};
pub use next_action::NextActionBody;
pub use parameters::Parameters;
pub use problem::Repeat;
pub use request_id::RequestId;
pub use route::{Callers, Route};
