//! The carriers, and the recipients that each one can deliver to.

use strum::{EnumString, IntoStaticStr};

use super::{PostalAddress, Text};

/// A carrier that a shop may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum CarrierName {
    /// The shop's own carrier. It accepts any address.
    #[default]
    Own,
    /// EasyPost, within the United States.
    EasyPost,
}

/// The recipient of a parcel, as the customer wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The person's name.
    pub name: &'a Text,
    /// The phone number.
    pub phone: &'a Text,
    /// The address to deliver to.
    pub shipping_address: &'a Text,
}

/// Part of a recipient that a carrier cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientFault {
    /// `name`, `phone`, or `shipping_address`.
    pub field: &'static str,
    /// What is wrong and how to correct it. It quotes nothing of the recipient.
    pub detail: String,
}

/// The longest name, in characters, that fits on a label.
const LONGEST_NAME: usize = 100;

impl CarrierName {
    /// The name in settings and in the store.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Everything about the recipient that this carrier cannot use.
    #[must_use]
    pub fn faults(self, recipient: Recipient<'_>) -> Vec<RecipientFault> {
        match self {
            Self::Own => Vec::new(),
            Self::EasyPost => easypost_faults(recipient),
        }
    }
}

fn easypost_faults(recipient: Recipient<'_>) -> Vec<RecipientFault> {
    let latin = "must use Latin letters, because a label shows no others";
    let faults = [
        (
            "name",
            if !is_latin(recipient.name) {
                Some(latin.to_owned())
            } else if !has_letter(recipient.name) {
                Some("must have at least one letter".to_owned())
            } else if recipient.name.as_str().chars().count() > LONGEST_NAME {
                Some(format!("must be 1–{LONGEST_NAME} characters"))
            } else {
                None
            },
        ),
        (
            "phone",
            (!is_phone(recipient.phone.as_str()))
                .then(|| "must have 7–15 digits, such as `212-555-0100`".to_owned()),
        ),
        (
            "shipping_address",
            if is_latin(recipient.shipping_address) {
                address_fault(recipient.shipping_address)
            } else {
                Some(latin.to_owned())
            },
        ),
    ];
    let found = faults.into_iter();
    found
        .filter_map(|(field, detail)| {
            Some(RecipientFault {
                field,
                detail: detail?,
            })
        })
        .collect()
}

fn address_fault(address: &Text) -> Option<String> {
    match PostalAddress::read(address.as_str()) {
        Err(unreadable) => Some(unreadable.to_string()),
        // A customs declaration needs more data than an order has.
        Ok(address) if address.country != "US" => Some(format!(
            "is in another country ({}); the carrier delivers within the United States, including \
             its territories and military addresses",
            address.country
        )),
        Ok(_) => None,
    }
}

/// Whether the text has only Latin letters, with or without diacritics, and common punctuation.
fn is_latin(text: &Text) -> bool {
    let mut signs = text.as_str().chars();
    signs.all(|c| {
        matches!(c, '\0'..='\u{24f}' | '\u{300}'..='\u{36f}' | '\u{1e00}'..='\u{1eff}'
            | '\u{2000}'..='\u{206f}' | '\u{2116}' | '\u{feff}' | '\u{ff01}'..='\u{ff5e}')
            || c.is_whitespace()
    })
}

fn has_letter(text: &Text) -> bool {
    text.as_str().chars().any(char::is_alphabetic)
}

/// 7 to 15 digits (ITU-T E.164), before an extension.
fn is_phone(phone: &str) -> bool {
    let lower = phone.to_lowercase();
    let number = lower.split('x').next().unwrap_or_default();
    let number = number.trim_end_matches('e').trim_end();
    let digits = number.chars().filter(char::is_ascii_digit).count();
    (7..=15).contains(&digits) && !number.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, phone: &str, address: &str) -> Vec<&'static str> {
        let (name, phone) = (Text::parse(name).unwrap(), Text::parse(phone).unwrap());
        let shipping_address = Text::parse_lines(address).unwrap();
        let recipient = Recipient {
            name: &name,
            phone: &phone,
            shipping_address: &shipping_address,
        };
        assert_eq!(CarrierName::Own.faults(recipient), []);
        let faults = CarrierName::EasyPost.faults(recipient).into_iter();
        faults.map(|fault| fault.field).collect()
    }

    const ADDRESS: &str = "17 Boulevard, Apt 6, Brooklyn, NY 11201";

    #[test]
    fn easypost_takes_whom_it_can_print_on_a_label_and_call() {
        assert_eq!(CarrierName::EasyPost.as_str(), "easypost");
        for (name, phone, address, faults) in [
            ("Lital Hay", "0545870006", ADDRESS, vec![]),
            ("Zoë Ñandú", "+1 (212) 555-0100 ext. 7", ADDRESS, vec![]),
            (
                "Łukasz",
                "212.555.0100 x12",
                "PSC 3 Box 1, APO AE 09021",
                vec![],
            ),
            ("7", "0545870006", ADDRESS, vec!["name"]),
            ("ליטל", "0545870006", ADDRESS, vec!["name"]),
            ("Lital 🎁", "0545870006", ADDRESS, vec!["name"]),
            (&"x".repeat(101), "0545870006", ADDRESS, vec!["name"]),
            ("Lital Hay", "call me", ADDRESS, vec!["phone"]),
            ("Lital Hay", "911", ADDRESS, vec!["phone"]),
            ("Lital Hay", "1234567890123456", ADDRESS, vec!["phone"]),
            (
                "Lital Hay",
                "0545870006",
                "somewhere",
                vec!["shipping_address"],
            ),
            (
                "Lital Hay",
                "0545870006",
                "רחוב 5, חיפה, ישראל",
                vec!["shipping_address"],
            ),
            (
                "Lital Hay",
                "0545870006",
                "10 Downing Street, London SW1A 2AA",
                vec!["shipping_address"],
            ),
            ("!", "-", "-", vec!["name", "phone", "shipping_address"]),
        ] {
            assert_eq!(
                fields(name, phone, address),
                faults,
                "{name} {phone} {address}"
            );
        }
    }
}
