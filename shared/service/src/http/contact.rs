//! The fields of a recipient, shared by several requests.

use domain::{CarrierName, Contact};

use super::{Fields, as_email, as_text, as_text_lines};
use crate::error::FieldError;

/// Whether a recipient's object has the field `email`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailField {
    /// It is required.
    Required,
    /// It is optional.
    Optional,
    /// It is not accepted: there it is an unknown field.
    Absent,
}

/// Reads `name`, `phone`, `shipping_address`, and `email` of an object.
pub fn read_contact(fields: &Fields<'_>, email: EmailField) -> Option<Contact> {
    let name = fields.required("name", as_text);
    let phone = fields.required("phone", as_text);
    let email = match email {
        EmailField::Required => fields.required("email", as_email).map(Some),
        EmailField::Optional => fields.optional("email", as_email),
        EmailField::Absent => Some(None),
    };
    let shipping_address = fields.required("shipping_address", as_text_lines);
    Some(Contact {
        name: name?,
        phone: phone?,
        email: email?,
        shipping_address: shipping_address?,
    })
}

/// The fields that the carrier cannot use in a contact read from the object at `pointer`.
#[must_use]
pub fn unusable_fields(carrier: CarrierName, contact: &Contact, pointer: &str) -> Vec<FieldError> {
    let faults = carrier.faults(contact.recipient()).into_iter();
    faults
        .map(|fault| FieldError {
            pointer: format!("{pointer}/{}", fault.field),
            detail: fault.detail,
        })
        .collect()
}
