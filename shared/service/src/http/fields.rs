//! Reads a JSON body into checked values and reports every invalid field at once.

use std::cell::RefCell;

use domain::{Currency, Email, IdError, Metadata, MetadataError, Money, Text, Unit};
use serde_json::{Map, Value};

use crate::error::{Error, FieldError, Missing};

/// Why a value is invalid: a phrase that says what is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl<E: std::error::Error> From<E> for Invalid {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Collects the errors of a body.
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<Vec<FieldError>>,
}

impl Report {
    /// Starts reading the body, which must be an object.
    pub fn body<'a>(&'a self, body: &'a Value) -> Option<Fields<'a>> {
        self.object(body, String::new())
    }

    /// Starts reading an object at `pointer`.
    pub fn object<'a>(&'a self, value: &'a Value, pointer: String) -> Option<Fields<'a>> {
        if let Value::Object(object) = value {
            Some(Fields {
                report: self,
                object,
                pointer,
                known: RefCell::default(),
            })
        } else {
            self.add(pointer, "must be an object".to_owned());
            None
        }
    }

    /// Records that the value at `pointer` is invalid.
    pub fn add(&self, pointer: String, detail: String) {
        self.errors
            .borrow_mut()
            .push(FieldError { pointer, detail });
    }

    /// The value, or all recorded errors. A `None` always comes with a recorded error, because
    /// every reader that returns it records one.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        let errors = self.errors.into_inner();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(Error::Invalid(errors)),
        }
    }
}

/// The fields of one object.
///
/// Every field is read before any `?`, so that all bad ones are reported:
///
/// ```
/// use serde_json::json;
/// use domain::CustomerId;
/// use service::error::Error;
/// use service::http::{Report, as_email, as_id};
///
/// let body = json!({"customerId": "8080", "email": "none", "sender": "shop"});
/// let report = Report::default();
/// let read = report.body(&body).and_then(|fields| {
///     let customer = fields.required("customerId", as_id(CustomerId::parse));
///     let email = fields.optional("email", as_email);
///     fields.close();
///     Some((customer?, email?))
/// });
/// let Err(Error::Invalid(errors)) = report.finish(read) else {
///     panic!("must be refused")
/// };
/// let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
/// assert_eq!(pointers, ["/email", "/sender"]);
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    report: &'a Report,
    object: &'a Map<String, Value>,
    pointer: String,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The JSON pointer to a field of this object.
    #[must_use]
    pub fn pointer(&self, name: &str) -> String {
        format!(
            "{}/{}",
            self.pointer,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    /// The report that collects this object's errors.
    #[must_use]
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The raw value of an optional field; `null` counts as absent.
    #[must_use]
    pub fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Reads a required field.
    pub fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        if let Some(value) = self.value(name) {
            self.read(name, value, read)
        } else {
            self.report
                .add(self.pointer(name), "is required".to_owned());
            None
        }
    }

    /// Reads an optional field: `Some(None)` if absent, `None` if invalid.
    pub fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match self.value(name) {
            Some(value) => self.read(name, value, read).map(Some),
            None => Some(None),
        }
    }

    /// Reads an array of `limits.0` to `limits.1` objects with `read`.
    pub fn objects<T>(
        &self,
        name: &'static str,
        limits: (usize, usize),
        read: impl Fn(Fields<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(value) = self.value(name) else {
            self.report
                .add(self.pointer(name), "is required".to_owned());
            return None;
        };
        let (min, max) = limits;
        let Value::Array(items) = value else {
            self.report
                .add(self.pointer(name), "must be an array".to_owned());
            return None;
        };
        if !(min..=max).contains(&items.len()) {
            self.report
                .add(self.pointer(name), format!("must have {min}–{max} entries"));
            return None;
        }
        // Read every entry, so that all invalid ones are reported.
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                self.report
                    .object(item, format!("{}/{index}", self.pointer(name)))
                    .and_then(&read)
            })
            .collect();
        read.into_iter().collect()
    }

    /// Reads an optional object with the shop's own data; entries that are `null` count as absent.
    pub fn metadata(&self, name: &'static str) -> Option<Metadata> {
        let mut metadata = Metadata::default();
        let Some(value) = self.value(name) else {
            return Some(metadata);
        };
        let entries = self.report.object(value, self.pointer(name))?;
        let mut is_valid = true;
        let given = entries.object.iter().filter(|(_, value)| !value.is_null());
        for (key, value) in given {
            let (pointer, detail) = match as_text_lines(value) {
                Err(Invalid(detail)) => (entries.pointer(key), detail),
                Ok(text) => match metadata.insert(key, text) {
                    Ok(()) => continue,
                    Err(error @ MetadataError::Full) => {
                        self.report.add(self.pointer(name), error.to_string());
                        return None;
                    }
                    Err(error @ MetadataError::Key) => (entries.pointer(key), error.to_string()),
                },
            };
            self.report.add(pointer, detail);
            is_valid = false;
        }
        is_valid.then_some(metadata)
    }

    fn read<T>(
        &self,
        name: &'static str,
        value: &Value,
        read: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        match read(value) {
            Ok(value) => Some(value),
            Err(Invalid(detail)) => {
                self.report.add(self.pointer(name), detail);
                None
            }
        }
    }

    /// Reports every unknown field. Call it after reading the last field.
    pub fn close(self) {
        let known = self.known.borrow();
        for name in self.object.keys() {
            if !known.contains(&name.as_str()) {
                let detail = format!("unknown field; expected one of: {}", known.join(", "));
                self.report.add(self.pointer(name), detail);
            }
        }
    }
}

fn string(value: &Value) -> Result<&str, Invalid> {
    value
        .as_str()
        .ok_or_else(|| Invalid("must be a string".to_owned()))
}

/// A string that is an ID, read by its type's `parse`.
pub fn as_id<T, E: std::error::Error>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<T, Invalid> {
    move |value| Ok(parse(string(value)?)?)
}

/// The ID of an order or invoice in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<T> {
    /// An ID that this service may have issued.
    Ours(T),
    /// An ID that it never issued. It is answered with 404, not as an invalid field.
    NotOurs,
}

impl<T> Named<T> {
    /// The ID, or a 404 for `missing`.
    pub fn or_missing(self, missing: Missing) -> Result<T, Error> {
        match self {
            Self::Ours(id) => Ok(id),
            Self::NotOurs => Err(Error::NotFound(missing)),
        }
    }
}

/// A string that identifies an order or invoice, read by its ID's `parse`.
pub fn as_own_id<T>(
    parse: impl Fn(&str) -> Result<T, IdError>,
) -> impl Fn(&Value) -> Result<Named<T>, Invalid> {
    move |value| match parse(string(value)?) {
        Ok(id) => Ok(Named::Ours(id)),
        Err(IdError::NotOurs) => Ok(Named::NotOurs),
        Err(error @ IdError::Malformed) => Err(error.into()),
    }
}

/// Accepts the shop's currency only.
pub fn as_currency(shop: Currency) -> impl Fn(&Value) -> Result<Currency, Invalid> {
    move |value| {
        if string(value)? == shop.code() {
            Ok(shop)
        } else {
            Err(Invalid(format!(
                "must be {shop}, the currency of this shop"
            )))
        }
    }
}

/// A single-line text.
pub fn as_text(value: &Value) -> Result<Text, Invalid> {
    Ok(Text::parse(string(value)?)?)
}

/// A text that may have line breaks.
pub fn as_text_lines(value: &Value) -> Result<Text, Invalid> {
    Ok(Text::parse_lines(string(value)?)?)
}

/// An email address.
pub fn as_email(value: &Value) -> Result<Email, Invalid> {
    Ok(Email::parse(string(value)?)?)
}

/// A JSON number that is an amount in `unit`, at most `limit`.
pub fn as_money(unit: Unit, limit: Money) -> impl Fn(&Value) -> Result<Money, Invalid> {
    move |value| match value {
        Value::Number(number) => Ok(Money::parse(number.as_str(), unit, limit)?),
        _ => Err(Invalid("must be a number".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::CustomerId;
    use serde_json::json;

    #[test]
    fn all_bad_fields_are_reported_at_once_by_their_pointers() {
        let body = json!({"id": 1, "items": [{"p": "1"}, {"p": 2, "x~/y": 3}, 4], "extra": 5});
        let report = Report::default();
        let read = report.body(&body).and_then(|fields| {
            let id = fields.required("id", as_id(CustomerId::parse));
            let name = fields.required("name", as_text);
            let items = fields.objects("items", (1, 3), |item| {
                let p = item.required("p", as_text);
                item.close();
                p
            });
            fields.close();
            Some((id?, name?, items?))
        });
        let Err(Error::Invalid(errors)) = report.finish(read) else {
            panic!("must be refused")
        };
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/id",
                "/name",
                "/items/1/p",
                "/items/1/x~0~1y",
                "/items/2",
                "/extra"
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_reported_at_the_root() {
        let body = json!([1]);
        let report = Report::default();
        let fields = report.body(&body).map(drop);
        let Err(Error::Invalid(errors)) = report.finish(fields) else {
            panic!("must be refused")
        };
        assert_eq!(errors[0].pointer, "");
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let body = json!({"a": null, "b": null});
        let report = Report::default();
        let fields = report.body(&body).unwrap();
        assert_eq!(fields.optional("a", as_text), Some(None));
        assert_eq!(fields.required("b", as_text), None);
        fields.close();
        assert!(
            matches!(report.finish(Some(())), Err(Error::Invalid(errors)) if errors.len() == 1)
        );
    }
}
