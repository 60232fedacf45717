//! One update of an item, in `DynamoDB`'s expression syntax.

use std::collections::HashMap;
use std::marker::PhantomData;

use aws_sdk_dynamodb::types::{
    AttributeValue as Value, ReturnValue, ReturnValuesOnConditionCheckFailure, Update,
};

use super::item::Item;
use super::refused::{complete, unless_refused};
use super::transition::Governed;
use super::{Store, StoreError};

/// The kind of item that is written.
pub(super) trait Target {
    /// Attributes that no step sets or removes directly.
    const GOVERNED: &'static [&'static str] = &[];

    fn table(store: &Store) -> Result<&str, StoreError>;
}

/// One update of an item under conditions, all of which must hold. In a path, each name stands for
/// itself, even if `DynamoDB` reserves the word, or, as `#name`, for the name given to
/// [`Write::name`]. In an expression, `#name` stands for the attribute `name`.
#[derive(Debug)]
pub(super) struct Write<T> {
    key: Item,
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, Value>,
    target: PhantomData<T>,
}

impl<T: Target> Write<T> {
    pub(super) fn new<const N: usize>(key: [(&str, Value); N]) -> Self {
        Self {
            key: key.map(|(name, value)| (name.to_owned(), value)).into(),
            conditions: Vec::new(),
            sets: Vec::new(),
            removes: Vec::new(),
            names: HashMap::new(),
            values: HashMap::new(),
            target: PhantomData,
        }
    }

    /// Adds a condition.
    pub(super) fn when(mut self, condition: &str) -> Self {
        self.conditions.push(if condition.contains(" OR ") {
            format!("({condition})")
        } else {
            condition.to_owned()
        });
        self
    }

    /// Adds the condition that the attribute has this value.
    pub(super) fn when_is(self, path: &str, value: Value) -> Self {
        let placeholder = placeholder("read", path);
        self.when(&format!("{} = {placeholder}", named(path)))
            .value(&placeholder, value)
    }

    pub(super) fn set(self, path: &str, value: Value) -> Self {
        let placeholder = placeholder("new", path);
        self.assign(path, &placeholder).value(&placeholder, value)
    }

    /// Sets an attribute to the result of `expression` on the item as it was.
    pub(super) fn assign(self, path: &str, expression: &str) -> Self {
        debug_assert!(!Self::is_governed(path), "no step writes {path} by itself");
        self.set_to(path, expression)
    }

    pub(super) fn remove<const N: usize>(self, paths: [&str; N]) -> Self {
        let governed = paths.into_iter().find(|path| Self::is_governed(path));
        debug_assert_eq!(governed, None, "no step removes it by itself");
        self.without(paths)
    }

    /// Sets the value of an expression's placeholder.
    pub(super) fn value(mut self, placeholder: &str, value: Value) -> Self {
        self.values.insert(placeholder.to_owned(), value);
        self
    }

    /// Sets the name that a placeholder stands for, if it is not the placeholder's own.
    pub(super) fn name(mut self, placeholder: &str, name: &str) -> Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    /// [`Write::assign`] for a governed attribute.
    pub(super) fn put(self, path: Governed<'_>, expression: &str) -> Self {
        self.set_to(path.path(), expression)
    }

    /// [`Write::remove`] for governed attributes.
    pub(super) fn take<const N: usize>(self, paths: [Governed<'_>; N]) -> Self {
        self.without(paths.map(Governed::path))
    }

    fn set_to(mut self, path: &str, expression: &str) -> Self {
        self.sets.push(format!("{} = {expression}", named(path)));
        self
    }

    fn without<const N: usize>(mut self, paths: [&str; N]) -> Self {
        self.removes.extend(paths.map(named));
        self
    }

    pub(super) fn is_governed(path: &str) -> bool {
        let first = path.split('.').next().unwrap_or_default();
        T::GOVERNED.contains(&first.trim_start_matches('#'))
    }

    /// The update. If its condition fails, the error contains the item.
    pub(super) fn into_update(self, table: &str) -> Update {
        let clauses = [("SET", self.sets), ("REMOVE", self.removes)];
        let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
        let clauses = clauses.map(|(verb, parts)| format!("{verb} {}", parts.join(", ")));
        let expression = clauses.collect::<Vec<_>>().join(" ");
        let condition = self.conditions.join(" AND ");
        let mut names = self.names;
        for name in placeholders(&expression).chain(placeholders(&condition)) {
            let own = || name.trim_start_matches('#').to_owned();
            names.entry(name.to_owned()).or_insert_with(own);
        }
        let names = (!names.is_empty()).then_some(names);
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(self.key))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(Some(self.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        complete(update.build())
    }
}

impl Store {
    /// The item after the write, or as it was when a condition failed.
    pub(super) async fn update<T: Target>(
        &self,
        write: Write<T>,
    ) -> Result<Result<Item, Option<Item>>, StoreError> {
        let update = write.into_update(T::table(self)?);
        let request = self
            .client
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let answer = unless_refused(request.send().await)?;
        Ok(answer.map(|output| output.attributes.unwrap_or_default()))
    }
}

/// The path with a placeholder for each name.
fn named(path: &str) -> String {
    let names = path.split('.');
    let names = names.map(|name| format!("#{}", name.trim_start_matches('#')));
    names.collect::<Vec<_>>().join(".")
}

/// The placeholder for the value of a path.
fn placeholder(kind: &str, path: &str) -> String {
    let letters = path.chars().filter(char::is_ascii_alphanumeric);
    format!(":{kind}{}", letters.collect::<String>())
}

/// The name placeholders in an expression.
fn placeholders(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c == '#' || c.is_ascii_alphanumeric();
    let words = expression.split(move |c| !is_part(c));
    words.filter(|word| word.starts_with('#'))
}
