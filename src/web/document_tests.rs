//! The OpenAPI document, and what holds an answer to it.

use serde_json::Value;

pub(super) const SPEC: &str = include_str!("../../docs/openapi.json");

/// Holds an answer to the document: every required field is there, every field is of its type,
/// and none is there that it does not name.
pub(super) fn conforms(path: &str, body: &Value) {
    conforms_as("get", path, "200", body);
}

/// As [`conforms`], for another method and status.
pub(crate) fn conforms_as(method: &str, path: &str, status: &str, body: &Value) {
    let spec: Value = serde_json::from_str(SPEC).unwrap();
    let bare = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (a, b): (Vec<&str>, Vec<&str>) =
            (template.split('/').collect(), bare.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.starts_with('{') || a == b)
    };
    let paths = spec["paths"].as_object().unwrap();
    // What is written out is meant before what has a place for anything.
    let fitting = paths
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.contains('{'));
    let (_, item) = fitting.unwrap_or_else(|| panic!("{bare} is not documented"));
    let responses = &item[method]["responses"];
    let response = responses.get(status).unwrap_or(&responses["default"]);
    let schema = &response["content"]["application/json"]["schema"];
    assert!(
        schema.is_object(),
        "{method} {bare} -> {status} is not documented"
    );
    check(&spec, schema, body, path);
}

fn check(spec: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix('#').unwrap();
        return check(
            spec,
            spec.pointer(name).unwrap_or_else(|| panic!("{name}")),
            value,
            at,
        );
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        kinds.contains(&kind),
        "{at} is {kind}, not {kinds:?}: {value}"
    );
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let (Some(fields), Some(map)) = (schema["properties"].as_object(), value.as_object()) {
        let required = schema["required"].as_array();
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            assert!(map.contains_key(name), "{at}.{name} is missing");
        }
        for (name, field) in fields {
            if let Some(value) = map.get(name) {
                check(spec, field, value, &format!("{at}.{name}"));
            }
        }
        let strangers: Vec<_> = map
            .keys()
            .filter(|name| !fields.contains_key(*name))
            .collect();
        assert!(strangers.is_empty(), "{at}: not documented: {strangers:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(spec, &schema["items"], item, &format!("{at}[]"));
    }
}
