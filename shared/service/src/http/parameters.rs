//! The parameters of a query.

use super::Call;
use crate::error::{Error, FieldError};

/// The query's parameters, each at most once, and the errors in them.
#[derive(Debug)]
pub struct Parameters<'a> {
    values: Vec<(&'a str, &'a str)>,
    errors: Vec<FieldError>,
}

impl<'a> Parameters<'a> {
    /// The parameters of the call's query. One that is not `known` is refused, so that a typing
    /// error does not change what the others mean.
    #[must_use]
    pub fn from_call(call: &'a Call, known: &[&str]) -> Self {
        let mut parameters = Self {
            values: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value) in call.query() {
            if !known.contains(&name) {
                let known = known.join(", ");
                parameters.refuse(name, format!("unknown parameter; expected one of: {known}"));
            } else if parameters.value(name).is_some() {
                parameters.refuse(name, "must be given once".to_owned());
            } else {
                parameters.values.push((name, value));
            }
        }
        parameters
    }

    /// The text of a parameter; `None` if it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values.iter();
        values
            .find(|(its, _)| *its == name)
            .map(|(_, value)| *value)
    }

    /// Adds an error of a parameter.
    pub fn refuse(&mut self, name: &str, detail: String) {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        // A parameter that occurs three times is one error.
        if !self.errors.iter().any(|error| error.pointer == pointer) {
            self.errors.push(FieldError { pointer, detail });
        }
    }

    /// Parses a parameter, and adds an error if that fails; `None` if it is absent or wrong.
    pub fn read<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.value(name)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    /// All errors, if there are any.
    pub fn finish(self) -> Result<(), Error> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.errors))
        }
    }
}
