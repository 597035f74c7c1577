//! The JSON schema of a configuration file, for editors: `roomwire check --schema`.

use std::fmt::Display;

use serde_json::{Value, json};

use super::Config;
use super::listener::ListenerConfig;
use super::setting::{Setting, Visitor};

/// The schema as indented JSON that ends in a newline.
pub(super) fn schema() -> String {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Roomwire configuration"));
    }
    let mut bounds = Bounds {
        path: Vec::new(),
        schema: &mut schema,
    };
    Config::default().visit(&mut bounds);
    if let Some(mut listener) = ListenerConfig::defaults().into_iter().next() {
        bounds.path.push("listener");
        listener.visit(&mut bounds);
    }
    format!("{schema:#}\n")
}

/// Adds to each whole number the bounds that the loader enforces.
struct Bounds<'a> {
    path: Vec<&'static str>,
    schema: &'a mut Value,
}

impl Bounds<'_> {
    /// The schema of a key, found through the references that schemars makes.
    fn property(&mut self, key: &str) -> Option<&mut Value> {
        let mut pointer = String::new();
        for part in self.path.iter().copied().chain([key]) {
            let here = self.schema.pointer(&pointer)?;
            let reference = here
                .get("$ref")
                .or_else(|| here.get("items")?.get("$ref"))
                .and_then(Value::as_str);
            if let Some(reference) = reference {
                pointer = reference.trim_start_matches('#').to_owned();
            }
            pointer.push_str(&format!("/properties/{part}"));
        }
        self.schema.pointer_mut(&pointer)
    }
}

impl Visitor for Bounds<'_> {
    fn setting<T: Setting>(&mut self, _key: &'static str, _value: &mut T) {}

    fn bounded<T: Setting + Display + PartialOrd>(
        &mut self,
        key: &'static str,
        _value: &mut T,
        min: T,
        max: T,
    ) {
        let (min, max) = (
            min.to_string().parse::<u64>(),
            max.to_string().parse::<u64>(),
        );
        if let (Ok(min), Ok(max)) = (min, max)
            && let Some(property) = self.property(key).and_then(Value::as_object_mut)
        {
            property.insert("minimum".to_owned(), json!(min));
            property.insert("maximum".to_owned(), json!(max));
        }
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        self.path.push(key);
        visit(self);
        self.path.pop();
    }

    /// What is in them has the schema of the same keys elsewhere, by reference.
    fn tables<T: Clone>(
        &mut self,
        _key: &'static str,
        _items: &mut Vec<T>,
        _new: &T,
        _visit: impl Fn(&mut T, &mut Self),
    ) {
    }
}
