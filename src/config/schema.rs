//! The JSON Schema of rules.yaml, written from the same keys that parse it.

use serde_json::{Map, Value, json};

use super::keys::{BOUNDS, FILE};
use crate::model::{Field, Setting, Shape};

/// The schema, draft 2020-12, as pretty JSON: what editors complete and check rules.yaml by.
#[must_use]
pub fn schema() -> String {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    let fields: Vec<&str> = Field::NAMED.iter().map(|(name, _)| *name).collect();
    let mut tests: Map<String, Value> = fields
        .iter()
        .map(|name| ((*name).to_owned(), json!({"$ref": "#/$defs/test"})))
        .collect();
    let mut not = map(&[]);
    set(&mut not, "properties", Value::Object(tests.clone()));
    let raw = json!({r"^event\.": {"$ref": "#/$defs/test"}});
    set(&mut not, "patternProperties", raw.clone());
    tests.insert("not".to_owned(), not);
    let mut root = map(FILE);
    for (key, value) in [
        (
            "$schema",
            json!("https://json-schema.org/draft/2020-12/schema"),
        ),
        ("title", json!("Foghorn's rules.yaml")),
        ("required", json!(["rules"])),
        (
            "$defs",
            json!({
                "scalar": scalar,
                "duration": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"},
                "field": {"anyOf": [{"enum": fields}, {"type": "string", "pattern": r"^event\."}]},
                "test": {"anyOf": [
                    {"$ref": "#/$defs/scalar"},
                    {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/scalar"}, map(BOUNDS)]}, "minItems": 1},
                    map(BOUNDS),
                ]},
                "match": {
                    "type": "object",
                    "properties": tests,
                    "patternProperties": raw,
                    "additionalProperties": false,
                },
            }),
        ),
    ] {
        set(&mut root, key, value);
    }
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}

fn map(keys: &[Setting]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut value = shape(key.shape);
            set(&mut value, "description", json!(key.doc));
            (key.name.to_owned(), value)
        })
        .collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn shape(of: Shape) -> Value {
    let one_or_many = |one: Value| json!({"anyOf": [one, {"type": "array", "items": one}]});
    match of {
        Shape::Text | Shape::Secret => json!({"$ref": "#/$defs/scalar"}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Duration => json!({"$ref": "#/$defs/duration"}),
        Shape::DurationOrNever => {
            json!({"anyOf": [{"$ref": "#/$defs/duration"}, {"const": "never"}]})
        }
        Shape::Size => {
            json!({"type": ["string", "integer"], "pattern": "^[0-9]+ ?([KMGkmg]i?[Bb]?|[Bb])?$"})
        }
        Shape::Count => json!({"type": "integer", "minimum": 1}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::Field => json!({"$ref": "#/$defs/field"}),
        Shape::Fields => one_or_many(json!({"$ref": "#/$defs/field"})),
        Shape::Texts | Shape::Secrets => one_or_many(json!({"$ref": "#/$defs/scalar"})),
        Shape::Match => json!({"$ref": "#/$defs/match"}),
        Shape::Resolve => json!({"anyOf": [{"$ref": "#/$defs/match"}, {"const": "never"}]}),
        Shape::Map(keys) => map(keys),
        Shape::ListOf(keys) => json!({"type": "array", "items": map(keys)}),
        Shape::Named(keys) => {
            let mut of = map(keys);
            set(&mut of, "type", json!(["object", "null"]));
            json!({"type": "object", "additionalProperties": of})
        }
        Shape::Headers => {
            json!({"type": "object", "additionalProperties": {"$ref": "#/$defs/scalar"}})
        }
        Shape::Open => json!({"type": ["object", "null"], "additionalProperties": false}),
        Shape::Any => json!({}),
        Shape::Either(shapes) => {
            json!({"anyOf": shapes.iter().map(|of| shape(*of)).collect::<Vec<_>>()})
        }
        Shape::List(of) => json!({"type": "array", "items": shape(*of)}),
        Shape::Each(of) => json!({"type": "object", "additionalProperties": shape(*of)}),
    }
}
