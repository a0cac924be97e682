use std::time::Duration;

use serde_json::json;

use super::super::matcher::tests::event;
use super::*;

fn holds(text: &str) -> Result<bool, String> {
    When::compile(text)
        .unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
        .holds(&event())
}

#[test]
fn expressions_see_what_match_sees() {
    for (text, expected) in [
        ("event.audit_id is not defined", true),
        ("event.details.status == 'open'", true),
        ("event.details.n is defined", false),
        ("event.nothing.below.it is defined", false),
        (
            "event.details.status == 'open' and event.channel > 35",
            true,
        ),
        ("event.channel in [1, 36]", true),
        ("event.rssi < -60", true),
        (
            "event.ports|length == 2 and 'a' in event.ports and event.ports[1] == 'B-1'",
            true,
        ),
        (
            "event.ports|first == 'a' and event.ports|last == 'B-1'",
            true,
        ),
        ("event.up", false),
        ("not event.up", true),
        ("event.long > 2147483648", true),
        ("type in ('AP_DISCONNECTED', 'SW_DISCONNECTED')", true),
        (
            "type is startingwith('AP_') and topic == \"device-events\"",
            true,
        ),
        ("type is matching('^ap_.*ted$')", true),
        ("type is not matching 'conn.x'", true),
        ("event.channel is matching('3')", false),
        (
            "condition == 'ap_offline' and phase == 'open' and severity == 'warning'",
            true,
        ),
        (
            "site == 'Home Office' and site_id is startingwith('4ac1')",
            true,
        ),
        (
            "device == 'ap-kitchen' and device_mac == '5c5b35000001' and device_type == 'ap'",
            true,
        ),
        ("model|lower == 'ap43'", true),
        ("'power' in reason and 'gone' in text", true),
        ("group is defined or org_id is defined", false),
        (
            "event.band|int == 24 and event.missing|default('x') == 'x'",
            true,
        ),
        ("id == '1.0'", true),
    ] {
        assert_eq!(holds(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_missing_does_not_match() {
    for text in [
        "event.missing > 3",
        "event.missing < 3",
        "event.missing >= 3",
        "event.missing <= 3",
        "group < 'x'",
    ] {
        assert!(holds(text).is_err(), "{text}");
    }
    for text in [
        "event.missing == 3",
        "group == 'x'",
        "'x' in event.missing",
        "event.missing is matching('x')",
    ] {
        assert_eq!(holds(text), Ok(false), "{text}");
    }
    assert_eq!(
        holds("event.missing == 3 or type == 'AP_DISCONNECTED'"),
        Ok(true)
    );
    assert_eq!(
        holds("event.missing is not defined or event.missing < 3"),
        Ok(true)
    );
    for (text, guarded) in [
        ("a.b < 3 and c", "a.b|_given < 3 and c"),
        ("a < b or c", "a|_given < b|_given or c"),
        ("3 <= a['x'].y and z", "3 <= a['x'].y|_given and z"),
        (
            "a|int > (b or c) and d",
            "a|int|_given > (b or c)|_given and d",
        ),
        ("'a<b' in text", "'a<b' in text"),
    ] {
        assert_eq!(guard(text, &tokens(text)), guarded);
    }
    assert_eq!(
        holds("event.channel|int > 3 and 3 <= event.channel and (event.channel) < 40 and 1 < 2"),
        Ok(true)
    );
}

#[test]
fn problems_say_where() {
    for (text, part) in [
        ("event.x ==", None),
        ("event.x == == 3", Some("==")),
        ("typ == 'typ'", Some("typ")),
        ("event.typ == 3 and typ", Some("typ")),
        ("type is startswith('x')", Some("startswith")),
        ("type|urlencode", Some("urlencode")),
        ("type.startswith('x')", Some("startswith")),
        ("range(10)|length", Some("range")),
        ("{{ type }}", Some("{{")),
        ("type is matching('(')", Some("'('")),
        ("type is not matching '['", Some("'['")),
        ("'unfinished", None),
    ] {
        let problem = When::compile(text).expect_err(text);
        assert!(!problem.message.is_empty(), "{text}");
        if let Some(part) = part {
            assert_eq!(
                problem.range.clone().and_then(|range| text.get(range)),
                Some(part),
                "{text}: {problem:?}"
            );
        }
    }
    let problem = When::compile("event.typ == 3 and typ").unwrap_err();
    assert_eq!(problem.range.unwrap().start, 19);
    assert_eq!(problem.unknown.unwrap().0, "typ");
    assert!(When::compile(&"(".repeat(3_900)).is_err());
    assert!(
        When::compile(&"1+".repeat(3_000))
            .unwrap_err()
            .message
            .contains("longer")
    );
}

/// Whatever an event holds and an expression asks, judging it takes milliseconds.
#[test]
fn cost_is_bounded() {
    let mut hostile = event();
    let long = "a".repeat(1 << 20);
    let some = "a".repeat(MAX_SEARCHED);
    let list: Vec<u32> = (0..200_000).collect();
    hostile.text = Some(long.clone());
    hostile.raw = Arc::new(
        json!({"long": long, "some": some, "list": list, "regex": "(a+)+b".repeat(500), "n": 1_000_000_000}),
    );
    let many = |part: &str, by: &str| vec![part; 3_000 / (part.len() + by.len())].join(by);
    // What this thread had of the processor: however busy the machine is, that is the expression's
    // own. Linux tells it.
    let spent = || -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()?
            .split(' ')
            .next()?
            .parse()
            .ok()
    };
    for text in [
        "text is matching('(a|aa)*b')".to_owned(),
        "event.some is matching('(a{1,9}){1,9}b')".to_owned(),
        many("event.some is matching('(a|aa)*b')", " or "),
        "text is matching(event.regex)".to_owned(),
        many("'b' in text", " or "),
        many("text == event.long", " and "),
        many("text|upper == 'x'", " or "),
        many("text|lower|upper|lower|upper == 'x'", " or "),
        many("'b' in event.list", " or "),
        many("event.list|last == 3", " or "),
        many("text ~ text == 'x'", " or "),
        "text * event.n".to_owned(),
        "[1] * event.n".to_owned(),
        "2 ** event.n ** event.n".to_owned(),
        "(text * 100000)|length".to_owned(),
    ] {
        let when = When::compile(&text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
        let before = spent();
        let held = when.holds(&hostile);
        let took = Duration::from_nanos(
            spent()
                .zip(before)
                .map_or(0, |(after, before)| after - before),
        );
        let limit = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
        assert!(took < limit, "{text:.60}: {took:?}, {held:?}");
    }
}

proptest::proptest! {
    /// No text panics, when read or when judged.
    #[test]
    fn any_text_is_an_expression_or_a_problem(text in "[a-z.'\"|()\\[\\]{}<>=!~*+ 0-9-]{0,40}") {
        if let Ok(when) = When::compile(&text) {
            let _ = when.holds(&event());
        }
    }
}
