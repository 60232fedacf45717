//! The fields of a recipient, shared by several requests.

use domain::Contact;

use super::{Fields, as_email, as_text, as_text_lines};

/// Reads `name`, `phone`, `shipping_address`, and `email` of an object.
pub fn read_contact(fields: &Fields<'_>, email_required: bool) -> Option<Contact> {
    let name = fields.required("name", as_text);
    let phone = fields.required("phone", as_text);
    let email = if email_required {
        fields.required("email", as_email).map(Some)
    } else {
        fields.optional("email", as_email)
    };
    let shipping_address = fields.required("shipping_address", as_text_lines);
    Some(Contact {
        name: name?,
        phone: phone?,
        email: email?,
        shipping_address: shipping_address?,
    })
}
