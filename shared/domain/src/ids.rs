//! Identifiers, one type for each kind.

use std::fmt;

use sha2::{Digest, Sha256};

use super::text::is_visible;

/// Crockford's base 32 has no I, L, O, or U, so that an ID can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a text is not a valid identifier of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty, is longer than 64 characters, contains control characters, or begins or
    /// ends with an invisible character.
    #[error(
        "must be 1–64 characters, with no control characters and no leading or trailing spaces or invisible characters"
    )]
    Malformed,
    /// This service did not issue the identifier.
    #[error("was not given out by this service")]
    NotOurs,
}

fn check(text: &str) -> Result<&str, IdError> {
    let text = check_stored(text)?;
    // Otherwise two IDs that look the same could be two customers.
    if !text.starts_with(is_visible) || !text.ends_with(is_visible) {
        return Err(IdError::Malformed);
    }
    Ok(text)
}

/// Applies the rules of earlier versions.
fn check_stored(text: &str) -> Result<&str, IdError> {
    let length = text.chars().count();
    if length == 0 || length > 64 || text.chars().any(char::is_control) || text.trim() != text {
        return Err(IdError::Malformed);
    }
    Ok(text)
}

macro_rules! outside_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// Parses 1 to 64 characters, without control characters, visible at both ends.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text).map(|text| Self(text.to_owned()))
            }

            /// Reads a stored ID. An earlier version may have accepted it with invisible characters
            /// at its ends.
            pub fn from_stored(text: &str) -> Result<Self, IdError> {
                check_stored(text).map(|text| Self(text.to_owned()))
            }

            /// The ID as the caller wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

outside_id! {
    /// The shop's ID of a customer.
    CustomerId
}
outside_id! {
    /// The shop's ID of a product.
    ProductId
}

outside_id! {
    /// An order's number in the shop's own books.
    OrderReference
}

impl CustomerId {
    /// The ID as a JSON value: a number if it is a canonical non-negative integer of at most 2^53,
    /// which every JSON reader keeps exact; otherwise a string.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self.0.parse::<u64>() {
            Ok(number) if number <= 1 << 53 && number.to_string() == self.0 => number.into(),
            _ => self.0.clone().into(),
        }
    }
}

/// The 26 characters that an order and its invoice share: 128 bits in Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Body([u8; 26]);

impl Body {
    fn encode(bits: u128) -> Self {
        let mut text = [0; 26];
        for (index, place) in text.iter_mut().enumerate() {
            let shift = 5 * (25 - index);
            let digit = (bits >> shift) & 31;
            *place = ALPHABET[usize::try_from(digit).expect("five bits fit a usize")];
        }
        Self(text)
    }

    /// The first 128 bits of the parts' digest.
    fn of(parts: &[&str]) -> Self {
        let bits: [u8; 16] = digest(parts)[..16]
            .try_into()
            .expect("a SHA-256 digest has 32 bytes");
        Self::encode(u128::from_be_bytes(bits))
    }

    fn parse(text: &str) -> Result<Self, IdError> {
        let body: [u8; 26] = text.as_bytes().try_into().map_err(|_| IdError::NotOurs)?;
        // 26 × 5 = 130 bits: the first character holds the upper three of 128.
        let is_valid = body.iter().all(|c| ALPHABET.contains(c)) && body[0] <= b'7';
        if is_valid {
            Ok(Self(body))
        } else {
            Err(IdError::NotOurs)
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

macro_rules! own_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Body);

        impl $name {
            /// Parses an ID that this service issued. [`IdError::NotOurs`] means that no such ID
            /// can exist, and [`IdError::Malformed`] that the text is not an ID.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let body = check(text)?.strip_prefix($prefix).ok_or(IdError::NotOurs)?;
                Body::parse(body).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

own_id! {
    /// An order's ID: `ord_` and 26 characters.
    ///
    /// ```
    /// use domain::{IdError, InvoiceId, OrderId};
    ///
    /// let order = OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001")?;
    /// let invoice = InvoiceId::parse("inv_01JDB4XK00EXAMPVE0RDER0001")?;
    /// assert_eq!(order.invoice(), invoice);
    /// assert_eq!(invoice.order(), order);
    ///
    /// // No order has this id, so there is none to look for; an empty text is no id at all.
    /// assert_eq!(OrderId::parse("8080"), Err(IdError::NotOurs));
    /// assert_eq!(OrderId::parse(""), Err(IdError::Malformed));
    /// # Ok::<(), IdError>(())
    /// ```
    OrderId, "ord_"
}
own_id! {
    /// An invoice's ID: `inv_` and its order's 26 characters, so that an order has exactly one.
    InvoiceId, "inv_"
}
own_id! {
    /// The ID of a refund that was requested from this service: `rfd_` and 26 characters.
    RefundId, "rfd_"
}

impl OrderId {
    /// Creates an ID that sorts by time: a `UUIDv7` (RFC 9562, section 5.7) of `millis` since the
    /// epoch and ten random bytes.
    #[must_use]
    pub fn from_time(millis: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(Body::encode(u128::from_be_bytes(bytes)))
    }

    /// Derives the ID from a caller's idempotency key: the same parts give the same order.
    #[must_use]
    pub fn from_key(caller: &str, customer: &CustomerId, key: &str) -> Self {
        Self(Body::of(&["order", caller, customer.as_str(), key]))
    }

    /// The only invoice that this order can have.
    #[must_use]
    pub fn invoice(&self) -> InvoiceId {
        InvoiceId(self.0)
    }
}

impl InvoiceId {
    /// The order that this invoice bills.
    #[must_use]
    pub fn order(&self) -> OrderId {
        OrderId(self.0)
    }
}

impl RefundId {
    /// Derives the refund's ID from a caller's idempotency key.
    #[must_use]
    pub fn from_key(caller: &str, order: &OrderId, key: &str) -> Self {
        Self(Body::of(&["refund", caller, &order.to_string(), key]))
    }

    /// The ID of the refund that cancels an order.
    #[must_use]
    pub fn of_cancellation(order: &OrderId) -> Self {
        Self(Body::of(&["cancellation", &order.to_string()]))
    }
}

/// SHA-256 over the parts. Each part is preceded by its length, so that no two lists of parts
/// collide.
#[must_use]
pub fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// [`digest`] as 64 hexadecimal digits.
#[must_use]
pub fn digest_hex(parts: &[&str]) -> String {
    hex::encode(digest(parts))
}

/// Derives a positive number of at most 2^53 − 1 from the parts. It is exact in every JSON reader
/// (RFC 8259, section 6) and the same every time.
#[must_use]
pub fn number_from_digest(parts: &[&str]) -> u64 {
    let bits: [u8; 8] = digest(parts)[..8]
        .try_into()
        .expect("a SHA-256 digest has 32 bytes");
    (u64::from_be_bytes(bits) >> 11).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_invoice_names_its_order_and_back() {
        let order = OrderId::from_time(1_700_000_000_000, [7; 10]);
        assert_eq!(order.invoice().order(), order);
        assert_eq!(order.to_string()[4..], order.invoice().to_string()[4..]);
        assert_eq!(order.to_string().len(), 30);
    }

    #[test]
    fn a_key_names_one_order_of_one_caller_and_customer() {
        let customer = CustomerId::parse("8080").unwrap();
        let id = OrderId::from_key("shop", &customer, "k1");
        assert_eq!(id, OrderId::from_key("shop", &customer, "k1"));
        assert_ne!(id, OrderId::from_key("shop2", &customer, "k1"));
        assert_ne!(id, OrderId::from_key("shop", &customer, "k2"));
        let other = CustomerId::parse("808").unwrap();
        assert_ne!(
            OrderId::from_key("shop", &other, "0k1"),
            OrderId::from_key("shop", &customer, "k1")
        );
    }

    #[test]
    fn a_key_names_one_refund_of_one_caller_and_order() {
        let order = OrderId::from_time(1, [1; 10]);
        let id = RefundId::from_key("shop", &order, "k1");
        assert_eq!(id, RefundId::from_key("shop", &order, "k1"));
        assert_eq!(RefundId::parse(&id.to_string()), Ok(id));
        let other = OrderId::from_time(2, [1; 10]);
        for another in [
            RefundId::from_key("shop2", &order, "k1"),
            RefundId::from_key("shop", &order, "k2"),
            RefundId::from_key("shop", &other, "k1"),
            RefundId::of_cancellation(&order),
        ] {
            assert_ne!(id, another);
        }
    }

    #[test]
    fn ids_that_we_never_gave_out_are_told_from_malformed_ones() {
        assert_eq!(OrderId::parse("456"), Err(IdError::NotOurs));
        assert_eq!(OrderId::parse("ord_U"), Err(IdError::NotOurs));
        assert_eq!(
            OrderId::parse(&format!("ord_{}", "Z".repeat(26))),
            Err(IdError::NotOurs)
        );
        assert_eq!(OrderId::parse(""), Err(IdError::Malformed));
        assert_eq!(OrderId::parse(&"1".repeat(65)), Err(IdError::Malformed));
        assert_eq!(OrderId::parse("a\n"), Err(IdError::Malformed));
        assert!(CustomerId::parse(&"ü".repeat(64)).is_ok());
        for hidden in [
            "\u{200b}",
            "\u{200b}8080",
            "8080\u{2800}",
            "8080\u{3164}",
            " 8080",
            "8080\u{a0}",
        ] {
            assert_eq!(
                CustomerId::parse(hidden),
                Err(IdError::Malformed),
                "{hidden:?}"
            );
        }
        assert!(CustomerId::parse("80\u{200d}80").is_ok());
        assert!(CustomerId::from_stored("8080\u{200b}").is_ok());
    }

    #[test]
    fn a_customer_is_a_json_number_only_where_nothing_is_lost() {
        let json = |id: &str| CustomerId::parse(id).unwrap().to_json().to_string();
        assert_eq!(json("8080"), "8080");
        assert_eq!(json("0"), "0");
        assert_eq!(json("08080"), "\"08080\"");
        assert_eq!(json("+1"), "\"+1\"");
        assert_eq!(json("9007199254740993"), "\"9007199254740993\"");
        assert_eq!(json("bob"), "\"bob\"");
    }

    proptest! {
        #[test]
        fn ids_round_trip_and_sort_by_time(a: u32, b: u32, random: [u8; 10]) {
            let first = OrderId::from_time(u64::from(a), random);
            let second = OrderId::from_time(u64::from(b), random);
            prop_assert_eq!(OrderId::parse(&first.to_string()), Ok(first));
            prop_assert_eq!(a.cmp(&b), first.to_string().cmp(&second.to_string()));
        }

        #[test]
        fn numbers_stay_exact_in_json_readers(part: String) {
            let number = number_from_digest(&[&part]);
            prop_assert!((1..1 << 53).contains(&number));
        }
    }
}
