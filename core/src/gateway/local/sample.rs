//! A small JSON value that obeys a schema, for the built-in model's tool calls and structured
//! output.

use serde_json::{Map, Value, json};

use crate::base::RawJson;

/// Nesting beyond this gets `null`; a schema may refer to itself.
const DEPTH_MAX: usize = 8;

/// A value for `schema`, as compact JSON text; `{}` without one.
pub(super) fn of_schema(schema: Option<&RawJson>) -> String {
    let schema = schema.and_then(|schema| serde_json::from_slice(schema.text()).ok());
    let root = schema.unwrap_or_else(|| json!({"type": "object"}));
    sample(&root, &root, 0).to_string()
}

fn sample(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| sample(target, root, depth + 1));
    }
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|all| all.get(0)) {
        return first.clone();
    }
    for way in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(way).and_then(|all| all.get(0)) {
            return sample(first, root, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None => None,
    };
    match kind {
        Some("string") => json!("demo"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("array") => match schema.get("items") {
            Some(items) => Value::Array(vec![sample(items, root, depth + 1)]),
            None => json!([]),
        },
        Some("object") => object(schema, root, depth),
        _ => Value::Null,
    }
}

/// An object with its required properties; with all of them where none is required.
fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let mut object = Map::new();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Value::Object(object);
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, property) in properties {
        if required.is_empty() || required.contains(&name.as_str()) {
            object.insert(name.clone(), sample(property, root, depth + 1));
        }
    }
    Value::Object(object)
}
