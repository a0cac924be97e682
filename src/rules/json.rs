//! Matchers as JSON: the `match` of a silence, which is not in a file. Its meaning is that of
//! `match` in rules.yaml.

use serde_json::{Map, Value, json};

use super::{Matcher, Pattern, Test};
use crate::model::{Field, plain};

impl Matcher {
    /// Reads a map of fields to a value, a list of values, `{exists: …}` or bounds; and `not`.
    ///
    /// # Errors
    /// Fails with one line that says what is wrong.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or("`match` must be a map of fields")?;
        let mut matcher = Self::default();
        for (key, value) in map {
            if key == "not" {
                // `not` cannot be nested, which keeps explanations simple.
                for (key, value) in value.as_object().ok_or("`not` must be a map of fields")? {
                    matcher.not.push(one_test(key, value)?);
                }
            } else {
                matcher.tests.push(one_test(key, value)?);
            }
        }
        Ok(matcher)
    }

    /// Returns the JSON that [`Self::from_json`] reads, for matchers that outlive their rule.
    #[must_use]
    pub fn json(&self) -> Value {
        let written = |tests: &[(Field, Test)]| -> Map<String, Value> {
            let one = |(field, test): &(Field, Test)| (field.to_string(), written_test(test));
            tests.iter().map(one).collect()
        };
        let mut map = written(&self.tests);
        if !self.not.is_empty() {
            map.insert("not".to_owned(), Value::Object(written(&self.not)));
        }
        Value::Object(map)
    }
}

fn written_test(test: &Test) -> Value {
    match test {
        Test::OneOf(patterns) => patterns.iter().map(Pattern::written).collect(),
        Test::Exists(wanted) => json!({"exists": wanted}),
        Test::Number { gt, gte, lt, lte } => {
            let bounds = [("gt", gt), ("gte", gte), ("lt", lt), ("lte", lte)];
            let given =
                |(word, bound): (&str, &Option<f64>)| Some((word.to_owned(), json!((*bound)?)));
            Value::Object(bounds.into_iter().filter_map(given).collect())
        }
        Test::AnyOf(tests) => {
            // A list holds values and maps side by side, so nested lists become one.
            let each = tests.iter().map(written_test).flat_map(|test| match test {
                Value::Array(values) => values,
                one => vec![one],
            });
            each.collect()
        }
    }
}

fn one_test(key: &str, value: &Value) -> Result<(Field, Test), String> {
    let field = Field::parse(key).ok_or_else(|| format!("events have no field `{key}`"))?;
    let test = match value {
        Value::Null => {
            return Err(format!(
                "`{key}` has no value: to ask whether it is there, write {{exists: true}}"
            ));
        }
        Value::Object(bounds) => number_or_presence(key, bounds)?,
        // An empty list is a mistake in nearly all cases.
        Value::Array(items) if items.is_empty() => {
            return Err(format!("`{key}` is an empty list: it can never match"));
        }
        Value::Array(items) => any_of(&field, key, items)?,
        one => Test::OneOf(vec![pattern(&field, key, one)?]),
    };
    Ok((field, test))
}

fn any_of(field: &Field, key: &str, items: &[Value]) -> Result<Test, String> {
    let (maps, values): (Vec<&Value>, Vec<&Value>) =
        // A list may mix values and bounds.
        items.iter().partition(|item| item.is_object());
    let values = values
        .into_iter()
        .map(|item| pattern(field, key, item))
        .collect::<Result<Vec<_>, _>>()?;
    let maps = maps
        .into_iter()
        .filter_map(Value::as_object)
        .map(|map| number_or_presence(key, map));
    Ok(Test::any_of(values, maps.collect::<Result<_, _>>()?))
}

fn pattern(field: &Field, key: &str, value: &Value) -> Result<Pattern, String> {
    if value.is_null() || value.is_array() || value.is_object() {
        return Err(format!("`{key}` must be a value or a list of values"));
    }
    let text = plain(value);
    if text.is_empty() {
        return Err(format!("`{key}` is empty"));
    }
    // Mist's word for a severity counts as ours.
    if *field == Field::Severity
        && let Some(severity) = crate::model::Severity::parse(&text)
    {
        return Pattern::parse(severity.word());
    }
    Pattern::parse(&text)
}

fn number_or_presence(key: &str, map: &Map<String, Value>) -> Result<Test, String> {
    let (mut gt, mut gte, mut lt, mut lte, mut exists) = (None, None, None, None, None);
    for (word, value) in map {
        let slot = match word.as_str() {
            "gt" => &mut gt,
            "gte" => &mut gte,
            "lt" => &mut lt,
            "lte" => &mut lte,
            "exists" => {
                exists = Some(
                    value
                        .as_bool()
                        .ok_or_else(|| format!("`exists` of `{key}` must be true or false"))?,
                );
                continue;
            }
            _ => {
                return Err(format!(
                    "`{key}` has no key `{word}`: known: gt, gte, lt, lte, exists"
                ));
            }
        };
        // Mist sends some numbers as text.
        let number = value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let number = number
            .filter(|n| n.is_finite())
            .ok_or_else(|| format!("`{word}` of `{key}` must be a number"))?;
        *slot = Some(number);
    }
    let bounded = [gt, gte, lt, lte].iter().any(Option::is_some);
    match exists {
        Some(_) if bounded => Err(format!("`{key}`: `exists` stands alone")),
        Some(exists) => Ok(Test::Exists(exists)),
        None if !bounded => Err(format!("`{key}` has no value")),
        None => Ok(Test::Number { gt, gte, lt, lte }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::matcher::tests::event;
    use super::*;

    #[test]
    fn json_says_what_yaml_says() {
        for (value, matches) in [
            (json!({}), true),
            (json!({"device": "AP_Kitchen"}), true),
            (json!({"type": ["SW_*", "ap_*"], "severity": "warn"}), true),
            (json!({"event.channel": 36, "event.up": false}), true),
            (json!({"event.channel": {"gt": 35, "lte": "36"}}), true),
            (json!({"event.channel": {"gt": 36}}), false),
            (json!({"event.audit_id": {"exists": false}}), true),
            (json!({"event.channel": [{"gt": 40}, 36]}), true),
            (
                json!({"event.channel": [{"gt": 40}, {"exists": false}, "x"]}),
                false,
            ),
            (
                json!({"type": "AP_*", "not": {"reason": ["upgrade", "/power.?cycle/"]}}),
                false,
            ),
            (json!({"not": {"event.missing": "*"}}), true),
            (json!({"device_mac": "5C-5B-35-00-00-01"}), true),
            (json!({"device_mac": "5c-5b-35*"}), true),
        ] {
            let matcher = Matcher::from_json(&value).unwrap();
            assert_eq!(matcher.matches(&event()), matches, "{value}");
            let again = Matcher::from_json(&matcher.json()).unwrap();
            assert_eq!(again.matches(&event()), matches, "{}", matcher.json());
            assert_eq!(again.json(), matcher.json());
        }
    }

    #[test]
    fn what_is_no_match_is_refused() {
        for value in [
            json!([]),
            json!("x"),
            json!({"typ": "x"}),
            json!({"type": null}),
            json!({"type": ""}),
            json!({"type": []}),
            json!({"type": [["x"]]}),
            json!({"type": [{"above": 3}, "x"]}),
            json!({"type": {}}),
            json!({"type": {"gt": "x"}}),
            json!({"type": {"above": 3}}),
            json!({"type": {"exists": 1}}),
            json!({"type": {"exists": true, "gt": 1}}),
            json!({"type": "/(/"}),
            json!({"not": "x"}),
            json!({"not": {"not": {"type": "x"}}}),
        ] {
            let wrong = Matcher::from_json(&value).unwrap_err();
            assert!(
                !wrong.is_empty() && !wrong.contains('\n'),
                "{value}: {wrong}"
            );
        }
    }
}
