//! Messages between the steps, and the queues that carry them.

mod message;
pub mod queue;

pub use message::{
    MailData, MailLine, Message, MessageError, MessageKind, PartnerReference, email_id,
    order_of_email,
};
