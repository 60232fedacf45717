//! A YAML description of an interface, with its JSON schemas.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// A parsed description.
#[derive(Debug)]
pub(crate) struct Description {
    uri: &'static str,
    document: Value,
    registry: Registry<'static>,
    /// The validators by JSON pointer, compiled on first use.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Description {
    /// Parses a description; `uri` identifies it in schemas.
    pub(crate) fn parse(uri: &'static str, yaml: &str) -> Self {
        let document: Value = serde_yaml_ng::from_str(yaml)
            .unwrap_or_else(|error| panic!("{uri} is not YAML: {error}"));
        let registry = Registry::new()
            .add(uri, document.clone())
            .and_then(jsonschema::RegistryBuilder::prepare)
            .unwrap_or_else(|error| panic!("{uri} does not hold JSON schemas: {error}"));
        Self {
            uri,
            document,
            registry,
            validators: Mutex::default(),
        }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// The value at a JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        let missing = || panic!("{} has no {pointer}", self.uri);
        self.document.pointer(pointer).unwrap_or_else(missing)
    }

    /// Why a value does not match the schema at a JSON pointer; empty if it matches.
    pub(crate) fn misfit(&self, schema: &str, value: &Value) -> String {
        let mut text = String::new();
        for error in self.validator(schema).iter_errors(value) {
            let _ = writeln!(text, "  {:?}: {error}", error.instance_path().as_str());
        }
        text
    }

    fn validator(&self, pointer: &str) -> Arc<Validator> {
        let mut validators = self
            .validators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
            // A pointer as a URI's fragment (RFC 6901, section 6).
            let fragment = pointer.replace('{', "%7B").replace('}', "%7D");
            let schema = json!({ "$ref": format!("{}#{fragment}", self.uri) });
            let validator = jsonschema::options()
                .with_registry(&self.registry)
                .should_validate_formats(true)
                .build(&schema);
            Arc::new(validator.unwrap_or_else(|error| panic!("{pointer}: {error}")))
        });
        Arc::clone(validator)
    }
}
