//! Reads single fields of whatever Mist sent: scalar or list, number or text, present or not.

use serde_json::{Map, Value};

use crate::model::Timestamp;

/// One item of `events[]`.
pub(super) type Item = Map<String, Value>;

/// What a device's id begins with when its last group is its MAC.
const ID_WITH_MAC: &str = "00000000-0000-0000-1000-";

/// As much of a list as anyone reads.
pub(super) const LISTED: usize = 1_000;

/// A scalar as text; none for nothing, blank text, lists and objects.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim())
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The first of these keys that holds a scalar, or a list whose first element is one.
pub(super) fn first(item: &Item, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match item.get(*key)? {
        Value::Array(list) => list.first().and_then(text),
        value => text(value),
    })
}

/// The scalars under a key, be it one or a list of them.
pub(super) fn list(item: &Item, key: &str) -> Vec<String> {
    match item.get(key) {
        Some(Value::Array(list)) => list.iter().filter_map(text).take(LISTED).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// 12 lower-case hex digits out of a MAC in any notation or a device id; other text as it is,
/// lower-cased. None for zeros only, which Mist writes for "none".
pub(super) fn mac(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix(ID_WITH_MAC).unwrap_or(&lower);
    let digits: String = lower
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.' | ' '))
        .collect();
    if digits.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let is_mac = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(if is_mac { digits } else { lower.to_owned() })
}

/// An id that is there and not all zeros.
pub(super) fn id(item: &Item, key: &str) -> Option<String> {
    first(item, &[key]).filter(|id| !id.chars().all(|c| matches!(c, '0' | '-')))
}

/// A count beyond this is no count.
const MOST_COUNTED: u64 = 1_000_000;

/// A count, whether number or text; at least 1.
pub(super) fn count(item: &Item) -> u64 {
    let count = first(item, &["count"]).and_then(|text| text.parse::<f64>().ok());
    // The cast saturates, and converts NaN to 0.
    count.map_or(1, |count| count as u64).clamp(1, MOST_COUNTED)
}

/// A time in any of Mist's forms: seconds, milliseconds, microseconds or nanoseconds since 1970, as
/// number or text, or ISO 8601 (UTC where no zone is said). None where there is no time to be had
/// of it, zero and less included.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => number.as_f64().and_then(since_1970),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => since_1970(number),
            Err(_) => iso(text.trim()),
        },
        _ => None,
    }
}

/// The unit is told by the size: 10^10 s is the year 2286.
fn since_1970(number: f64) -> Option<Timestamp> {
    let millis = match number {
        n if !n.is_finite() || n <= 0.0 => return None,
        n if n < 1e10 => n * 1e3,
        n if n < 1e13 => n,
        n if n < 1e16 => n / 1e3,
        n if n < 1e19 => n / 1e6,
        // No unit gives a plausible time; the far future is capped later.
        n => n,
    };
    Some(Timestamp::from_millis(millis.round() as i64))
}

fn iso(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let utc = || {
        text.parse::<jiff::civil::DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    let time = zoned.or_else(|| utc().map(|zoned| zoned.timestamp()))?;
    Some(Timestamp::from_millis(time.as_millisecond())).filter(|time| time.millis() > 0)
}

/// Words that say how it is, or begin saying so: what follows a word such as `peer` is no name
/// then.
const STATES: [&str; 20] = [
    "down",
    "up",
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "went",
    "goes",
    "gone",
    "lost",
    "back",
    "became",
    "state",
    "status",
    "changed",
    "failed",
    "recovered",
    "restored",
];

/// The name after `word` in a text, without the punctuation around it.
pub(super) fn word_after(text: &str, word: &str) -> Option<String> {
    let mut words = text
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', '(', ')', '[', ']', ',', ';', '!']));
    words.find(|candidate| candidate.trim_end_matches(':').eq_ignore_ascii_case(word))?;
    let found = words
        .next()?
        .trim_end_matches([':', '.', ','])
        .trim_end_matches("'s");
    let states = STATES.iter().any(|state| found.eq_ignore_ascii_case(state));
    Some(found.to_owned()).filter(|found| !found.is_empty() && !states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_in_every_form_are_read() {
        let at = Some(Timestamp::from_millis(1_695_194_041_635));
        for value in [
            json!(1_695_194_041.635_342),
            json!("1695194041.635342"),
            json!(1_695_194_041_635_u64),
            json!(1_695_194_041_635_342_u64),
            json!(1_695_194_041_635_342_123_u64),
            json!("2023-09-20T07:14:01.635Z"),
            json!("2023-09-20T09:14:01.635+02:00"),
            json!("2023-09-20T07:14:01.635"),
            json!(" 2023-09-20 07:14:01.635 "),
        ] {
            assert_eq!(time(&value), at, "{value}");
        }
        for value in [
            json!(null),
            json!(""),
            json!("soon"),
            json!(-5),
            json!(0),
            json!([1]),
            json!({}),
            json!("NaN"),
            json!("inf"),
        ] {
            assert_eq!(time(&value), None, "{value}");
        }
        assert!(time(&json!(1e300)).is_some_and(|t| t.millis() == i64::MAX));
    }

    #[test]
    fn macs_are_twelve_digits_and_other_text_stays() {
        for text in [
            "AC2316eca70b",
            "ac-23-16-ec-a7-0b",
            "AC:23:16:EC:A7:0B",
            "ac23.16ec.a70b",
            "00000000-0000-0000-1000-ac2316eca70b",
        ] {
            assert_eq!(mac(text).as_deref(), Some("ac2316eca70b"), "{text}");
        }
        assert_eq!(mac("XX2316ed6aXX").as_deref(), Some("xx2316ed6axx"));
        assert_eq!(
            mac("387804a7-3474-85ce-15a2-f9a9684c9c90").as_deref(),
            Some("387804a7-3474-85ce-15a2-f9a9684c9c90")
        );
        assert_eq!(mac("000000000000"), None);
        assert_eq!(mac(" "), None);
    }

    #[test]
    fn the_word_after_a_word_loses_its_punctuation() {
        assert_eq!(
            word_after("BGP Neighbor 10.0.0.1 (External AS 5)", "neighbor").as_deref(),
            Some("10.0.0.1")
        );
        assert_eq!(
            word_after("neighbor: \"fe80::1\", down", "neighbor").as_deref(),
            Some("fe80::1")
        );
        assert_eq!(
            word_after("lost peer hub-1.", "peer").as_deref(),
            Some("hub-1")
        );
        assert_eq!(word_after("the last word is peer", "peer"), None);
        assert_eq!(word_after("peering hub", "peer"), None);
    }
}
