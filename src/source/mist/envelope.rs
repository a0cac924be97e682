//! What can be said of a body before it is journaled: that it is JSON, not too deep, and its topic.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::source::Rejected;

/// The deepest nesting that can be read again later: serde_json stops at 128.
const DEEPEST: usize = 127;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Events {
    // A list of `IgnoredAny` takes no memory.
    events: Vec<IgnoredAny>,
}

/// Checks that a body is JSON of bearable depth, in one pass that keeps nothing, and gives its
/// topic, normalised.
///
/// # Errors
/// [`Rejected::NotJson`], then [`Rejected::TooDeep`].
pub fn check(body: &[u8]) -> Result<Option<String>, Rejected> {
    let text = std::str::from_utf8(body).map_err(|_| Rejected::NotJson)?;
    // serde would also read the struct from a list.
    let object = text.trim_ascii_start().starts_with('{');
    let topic = match serde_json::from_str::<Head>(text) {
        Ok(head) if object => head
            .topic
            .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()),
        _ => {
            // The body may still be JSON of another shape, or have a key twice; it is stored then.
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| Rejected::NotJson)?;
            None
        }
    };
    if too_deep(body) {
        Err(Rejected::TooDeep)
    } else {
        Ok(topic.map(|topic| normalise_topic(&topic)))
    }
}

/// How many events a body carries; none when it has no list of them.
#[must_use]
pub fn count_events(body: &[u8]) -> u64 {
    serde_json::from_slice::<Events>(body).map_or(0, |body| body.events.len() as u64)
}

/// Mist's documentation spells some topics with underscores; the real ones have hyphens.
#[must_use]
pub fn normalise_topic(topic: &str) -> String {
    topic.trim().to_ascii_lowercase().replace('_', "-")
}

/// Of bytes known to be JSON: whether they nest deeper than can be read again.
fn too_deep(json: &[u8]) -> bool {
    let mut depth = 0_usize;
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let not_json: &[&[u8]] = &[
            b"",
            b" ",
            b"{",
            b"{}{}",
            b"{} x",
            b"nul",
            b"NaN",
            b"'a'",
            b"{\"a\":}",
            b"[1,]",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"01",
            b"\"\n\"",
            b"{\"topic\":\"a\"",
        ];
        for body in not_json {
            assert_eq!(check(body), Err(Rejected::NotJson), "{body:?}");
        }
        assert_eq!(
            check("[".repeat(100_000).as_bytes()),
            Err(Rejected::NotJson)
        );
    }

    #[test]
    fn any_json_passes_whatever_its_shape() {
        for body in [
            "[]",
            "1",
            "null",
            "\"x\"",
            "[\"location\"]",
            "{}",
            "{\"topic\":1}",
            "{\"topic\":null,\"events\":2}",
        ] {
            assert_eq!(check(body.as_bytes()), Ok(None), "{body}");
        }
        // JSON by its grammar; that serde_json cannot hold them is said when they are read.
        for body in ["1e400", "{\"a\":1e400}", "\"\\ud800\"", "{\"\\ud800\":1}"] {
            assert_eq!(check(body.as_bytes()), Ok(None), "{body}");
        }
    }

    #[test]
    fn the_topic_is_normalised() {
        let topic = |body: &str| check(body.as_bytes()).unwrap();
        assert_eq!(
            topic(r#" {"events":[],"topic":"device_events"}"#).as_deref(),
            Some("device-events")
        );
        assert_eq!(
            topic(r#"{"topic":"Cli\u0065nt-join"}"#).as_deref(),
            Some("client-join")
        );
        assert_eq!(
            topic(r#"{"topic":"location","topic":"alarms"}"#),
            None,
            "which one it is, parsing says"
        );
    }

    #[test]
    fn events_are_counted_without_being_read() {
        assert_eq!(
            count_events(br#"{"topic":"location","events":[{},[1],3]}"#),
            3
        );
        assert_eq!(count_events(br#"{"topic":"location","events":"3"}"#), 0);
        assert_eq!(count_events(b"nothing"), 0);
    }

    #[test]
    fn the_depth_that_passes_is_the_depth_that_parses() {
        assert_eq!(check(nested(127).as_bytes()), Ok(None));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(127)).is_ok());
        assert_eq!(check(nested(128).as_bytes()), Err(Rejected::TooDeep));
        assert_eq!(check(nested(100_000).as_bytes()), Err(Rejected::TooDeep));
        let deep = format!(r#"{{"topic":"alarms","events":{}}}"#, nested(127));
        assert_eq!(check(deep.as_bytes()), Err(Rejected::TooDeep));
        let text = format!(r#"["\"{}"]"#, "[".repeat(500));
        assert_eq!(
            check(text.as_bytes()),
            Ok(None),
            "brackets in text are text"
        );
    }

    proptest! {
        #[test]
        fn whatever_serde_json_can_hold_passes(text in r#"[\[\]{}":,a1\\u\- ]{0,24}"#) {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(check(text.as_bytes()).is_ok());
            }
        }
    }
}
