//! `match`: a map of fields and tests. An event must pass all of them.

use std::fmt;

use serde_json::Value;

use super::pattern::{Pattern, fold};
use crate::model::{Event, Field, plain};

/// A map of tests, all of which must hold. The empty matcher matches everything.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// Tests that must hold.
    pub tests: Vec<(Field, Test)>,
    /// Tests none of which may hold.
    pub not: Vec<(Field, Test)>,
}

/// A test on one field.
#[derive(Clone, Debug)]
pub enum Test {
    /// One of these patterns.
    OneOf(Vec<Pattern>),
    /// A number within these bounds.
    Number {
        /// Greater than.
        gt: Option<f64>,
        /// At least.
        gte: Option<f64>,
        /// Less than.
        lt: Option<f64>,
        /// At most.
        lte: Option<f64>,
    },
    /// Present (`true`) or missing (`false`).
    Exists(bool),
    /// One of these tests: a list with more than values.
    AnyOf(Vec<Test>),
}

/// The test that an event failed, for explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The field.
    pub field: Field,
    /// True if the test is under `not`.
    pub negated: bool,
    /// The event's value.
    pub found: String,
    /// The expected value; empty if that is long, or no value.
    pub wanted: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            negated,
            found,
            wanted,
        } = self;
        // Long lists are left out; the rule shows them.
        let wanted = if wanted.is_empty() {
            String::new()
        } else {
            format!(", not {wanted}")
        };
        match (negated, found.is_empty()) {
            (false, true) => write!(f, "it has no {field}"),
            (false, false) => write!(f, "its {field} is {found}{wanted}"),
            (true, _) => write!(f, "`not` excludes its {field}, {found}"),
        }
    }
}

impl Matcher {
    /// Returns whether the event passes every test, and none under `not`.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.tests
            .iter()
            .all(|(field, test)| test.holds(event, field))
            && !self
                .not
                .iter()
                .any(|(field, test)| test.holds(event, field))
    }

    /// Returns the first test that the event fails; `None` if it matches.
    #[must_use]
    pub fn mismatch(&self, event: &Event) -> Option<Mismatch> {
        let failed = self
            .tests
            .iter()
            .find(|(field, test)| !test.holds(event, field))
            .map(|(field, test)| (field, Some(test)));
        // The tests under `not` matter only if all others hold.
        let excluded = || {
            self.not
                .iter()
                .find(|(field, test)| test.holds(event, field))
                .map(|(field, _)| (field, None))
        };
        let (field, failed) = failed.or_else(excluded)?;
        // People compare the shown values with the rule, so all of them are listed.
        let found: Vec<String> = event
            .values(field)
            .iter()
            .map(|value| plain(value))
            .collect();
        let wanted = failed.map(Test::wanted).unwrap_or_default();
        Some(Mismatch {
            field: field.clone(),
            negated: failed.is_none(),
            found: found.join(", "),
            wanted,
        })
    }

    /// Returns whether `match.topic` names this topic literally.
    #[must_use]
    pub fn names_topic(&self, topic: &str) -> bool {
        let folded = fold(topic);
        self.tests.iter().any(|(field, test)| {
            *field == Field::Topic
                && test
                    .literals()
                    .is_some_and(|mut literals| literals.any(|l| l == folded))
        })
    }

    /// Returns whether the tests on these fields hold for the given values. The catalogue is
    /// searched this way for openings of a condition that could match. Tests on other fields are
    /// assumed to hold.
    #[must_use]
    pub fn could_match(&self, known: &[(Field, &str)]) -> bool {
        let lookup = |field: &Field| {
            known
                .iter()
                .find(|(f, _)| f == field)
                .map(|(_, value)| *value)
        };
        let holds = |field: &Field, test: &Test| lookup(field).map(|value| test.holds_for(value));
        self.tests
            .iter()
            // An unknown field must not exclude an opening, in either direction.
            .all(|(field, test)| holds(field, test).unwrap_or(true))
            && !self
                .not
                .iter()
                .any(|(field, test)| holds(field, test).unwrap_or(false))
    }
}

impl Test {
    /// Creates the test of a list: one of its values, or of the tests in it.
    #[must_use]
    pub fn any_of(values: Vec<Pattern>, mut tests: Vec<Self>) -> Self {
        if tests.is_empty() {
            return Self::OneOf(values);
        }
        if !values.is_empty() {
            tests.insert(0, Self::OneOf(values));
        }
        Self::AnyOf(tests)
    }

    fn holds(&self, event: &Event, field: &Field) -> bool {
        let values = event.values(field);
        match self {
            Self::OneOf(patterns) => values
                .iter()
                .any(|value| patterns.iter().any(|p| p.fits(value))),
            // A field without any value does not exist.
            Self::Exists(wanted) => values.is_empty() != *wanted,
            Self::Number { .. } => values
                .iter()
                .any(|value| number(value).is_some_and(|n| self.within(n))),
            Self::AnyOf(tests) => tests.iter().any(|test| test.holds(event, field)),
        }
    }

    /// Returns the expected values if they are few.
    fn wanted(&self) -> String {
        match self {
            Self::OneOf(patterns) if patterns.len() <= 3 => patterns
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or "),
            Self::OneOf(_) | Self::Number { .. } | Self::Exists(_) | Self::AnyOf(_) => {
                String::new()
            }
        }
    }

    /// Returns whether it holds for this value of a field.
    #[must_use]
    pub fn holds_for(&self, value: &str) -> bool {
        match self {
            Self::OneOf(patterns) => patterns.iter().any(|p| p.fits_text(value)),
            Self::Exists(wanted) => *wanted,
            Self::Number { .. } => value.trim().parse().is_ok_and(|n| self.within(n)),
            Self::AnyOf(tests) => tests.iter().any(|test| test.holds_for(value)),
        }
    }

    fn within(&self, n: f64) -> bool {
        match self {
            Self::Number { gt, gte, lt, lte } => {
                gt.is_none_or(|bound| n > bound)
                    && gte.is_none_or(|bound| n >= bound)
                    && lt.is_none_or(|bound| n < bound)
                    && lte.is_none_or(|bound| n <= bound)
            }
            Self::OneOf(_) | Self::Exists(_) | Self::AnyOf(_) => false,
        }
    }

    /// Returns the folded literals if the test has nothing but literals, for the index.
    pub fn literals(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::OneOf(patterns) if patterns.iter().all(|p| p.literal().is_some()) => {
                Some(patterns.iter().filter_map(Pattern::literal))
            }
            _ => None,
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Index;
    use super::*;
    use crate::model::{
        Clues, Condition, Device, EventId, Name, Phase, Seq, Severity, Site, Timestamp,
    };

    pub(in crate::rules) fn event() -> Event {
        Event {
            id: EventId::new(Seq(1), 0),
            source: Name::new("mist"),
            topic: "device-events".into(),
            kind: "AP_DISCONNECTED".to_owned(),
            condition: Some(Condition {
                name: "ap_offline".into(),
                sub_id: None,
                of_site: false,
                on_port: false,
            }),
            phase: Phase::Open,
            severity: Some(Severity::Warning),
            group: None,
            status: None,
            site: Site {
                id: Some("4ac1dcf4-9d8b-7211-65c4-057819f0862b".to_owned()),
                name: Some("Home Office".to_owned()),
            },
            org_id: None,
            device: Some(Device {
                mac: Some("5c5b35000001".to_owned()),
                name: Some("ap-kitchen".to_owned()),
                kind: Some("ap".to_owned()),
                model: Some("AP43".to_owned()),
                port: None,
                note: None,
            }),
            listed: Vec::new(),
            reasons: vec!["power_cycle".to_owned(), "Lost\npower".to_owned()],
            text: Some("AP is gone".to_owned()),
            count: 1,
            more: 0,
            time: Timestamp::EPOCH,
            own_time: true,
            received: Timestamp::EPOCH,
            clues: Clues::default(),
            digest: 0,
            raw: Arc::new(json!({
                "band": "24", "channel": 36, "rssi": -61.5, "details": {"status": "open", "n": null}, "ports": ["a", "B-1"],
                "up": false, "long": 12_345_678_901_u64,
            })),
        }
    }

    fn one(field: &str, patterns: &[&str]) -> Matcher {
        let test = Test::OneOf(
            patterns
                .iter()
                .map(|p| Pattern::parse(p).unwrap())
                .collect(),
        );
        Matcher {
            tests: vec![(Field::parse(field).unwrap(), test)],
            not: Vec::new(),
        }
    }

    fn number(
        field: &str,
        gt: Option<f64>,
        gte: Option<f64>,
        lt: Option<f64>,
        lte: Option<f64>,
    ) -> Matcher {
        Matcher {
            tests: vec![(
                Field::parse(field).unwrap(),
                Test::Number { gt, gte, lt, lte },
            )],
            not: Vec::new(),
        }
    }

    #[test]
    fn values_compare_as_documented() {
        let event = event();
        for (field, pattern, fits) in [
            ("type", "AP_DISCONNECTED", true),
            ("type", "ap-disconnected", true),
            ("type", "AP_DISCONNECTE", false),
            ("type", "AP_*", true),
            ("type", "*_disconnected", true),
            ("type", "ap*ed", true),
            ("type", "*DISC", false),
            ("type", "/disc/", true),
            ("type", "/^disc/", false),
            ("topic", "device_events", true),
            ("condition", "AP-Offline", true),
            ("phase", "open", true),
            ("severity", "warning", true),
            ("site", "home office", true),
            ("site", "Home*", true),
            ("site", "Home", false),
            ("site", "4ac1dcf4-9d8b-7211-65c4-057819f0862b", true),
            ("device", "ap-kitchen", true),
            ("device", "AP_KITCHEN", true),
            ("device", "5c:5b:35:00:00:01", true),
            ("device_mac", "5C-5B-35-00-00-01", true),
            ("device_mac", "5c5b.3500.0001", true),
            ("device_mac", "5c:5b:35:00:00:02", false),
            ("device_mac", "5c5b35*", true),
            ("device_mac", "5C:5B:35:*", true),
            ("device_mac", "*-00-00-01", true),
            ("device_mac", "5c5b.35*01", true),
            ("device", "5c-5b-35-*", true),
            ("device_mac", "5c:5b:36:*", false),
            ("device", "5c:*", false),
            ("reason", "power-cycle", true),
            ("reason", "/power.?cycle/", true),
            ("reason", "/power-cycle/", true),
            ("topic", "/^device_ev/", true),
            ("topic", "/^device[_]ev/", false),
            ("reason", "lost*", true),
            ("reason", "AP is gone", false),
            ("text", "AP is gone", true),
            ("text", "power_cycle", true),
            ("event.band", "24", true),
            ("event.channel", "36", true),
            ("event.channel", "3*", true),
            ("event.channel", "36.0", false),
            ("event.rssi", "-61.5", true),
            ("event.details.status", "OPEN", true),
            ("event.details.n", "null", false),
            ("event.ports", "b_1", true),
            ("event.ports", "c", false),
            ("event.up", "false", true),
            ("event.missing", "*", false),
            ("group", "*", false),
        ] {
            assert_eq!(
                one(field, &[pattern]).matches(&event),
                fits,
                "{field}: {pattern}"
            );
        }
        assert!(
            one("type", &["X", "AP_DISCONNECTED"]).matches(&event),
            "a list is any of"
        );
    }

    #[test]
    fn numbers_and_presence() {
        let event = event();
        assert!(number("event.channel", Some(35.0), None, Some(37.0), None).matches(&event));
        assert!(number("event.channel", None, Some(36.0), None, Some(36.0)).matches(&event));
        assert!(!number("event.channel", Some(36.0), None, None, None).matches(&event));
        assert!(!number("event.channel", None, None, Some(36.0), None).matches(&event));
        assert!(
            number("event.band", None, None, None, Some(24.0)).matches(&event),
            "numbers in texts count"
        );
        assert!(
            !number("event.ports", Some(0.0), None, None, None).matches(&event),
            "words are no numbers"
        );
        let exists = |field: &str, wanted| Matcher {
            tests: vec![(Field::parse(field).unwrap(), Test::Exists(wanted))],
            not: Vec::new(),
        };
        assert!(
            exists("event.band", true).matches(&event)
                && !exists("event.band", false).matches(&event)
        );
        assert!(
            exists("event.missing", false).matches(&event)
                && !exists("group", true).matches(&event)
        );
    }

    #[test]
    fn not_excludes_if_any_of_its_keys_matches() {
        let event = event();
        let mut matcher = one("type", &["AP_*"]);
        matcher.not = [
            one("reason", &["upgrade"]).tests,
            one("event.missing", &["*"]).tests,
        ]
        .concat();
        assert!(matcher.matches(&event), "a missing field does not match");
        matcher.not.extend(one("reason", &["power-cycle"]).tests);
        assert!(!matcher.matches(&event));
        let why = matcher.mismatch(&event).unwrap();
        assert!(why.negated && why.to_string().contains("reason"), "{why}");
        assert!(
            Matcher::default().matches(&event),
            "the empty matcher matches everything"
        );
    }

    #[test]
    fn patterns_that_cannot_be_are_refused() {
        for text in ["/", "/x", "//", "/(/", "/a{1000}{1000}{1000}/"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(
            one("type", &["AP.DISCONNECTED*"])
                .mismatch(&event())
                .is_some(),
            "a glob's dot is a dot"
        );
    }

    #[test]
    fn a_topic_is_named_only_literally() {
        assert!(one("topic", &["Client_Join"]).names_topic("client-join"));
        assert!(!one("topic", &["client-*"]).names_topic("client-join"));
        assert!(!Matcher::default().names_topic("client-join"));
    }

    const WORDS: [&str; 9] = [
        "AP_X",
        "ap-x",
        "SW_Y",
        "alarms",
        "device-events",
        "device_events",
        "AP_*",
        "/a/",
        "ap_offline",
    ];

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let fields = prop::sample::select(vec!["type", "condition", "topic", "site"]);
        let test = (
            fields,
            prop::collection::vec(prop::sample::select(&WORDS[..]), 1..3),
        );
        let tests = || {
            prop::collection::vec(test.clone(), 0..3).prop_map(|tests| {
                tests
                    .into_iter()
                    .flat_map(|(field, words)| one(field, &words).tests)
                    .collect::<Vec<_>>()
            })
        };
        (tests(), tests()).prop_map(|(tests, not)| Matcher { tests, not })
    }

    proptest! {
        /// The index may name too many rules, never too few, none twice, and in order.
        #[test]
        fn the_index_never_loses_a_rule(
            matchers in prop::collection::vec(any_matcher(), 0..12),
            kind in prop::sample::select(vec!["AP_X", "ap-x", "SW_Y", "Ap_x"]),
            topic in prop::sample::select(vec!["alarms", "device-events"]),
            condition in prop::sample::select(vec![None, Some("ap_offline"), Some("AP-X")]),
        ) {
            let mut event = event();
            event.kind = kind.to_owned();
            event.topic = topic.into();
            event.condition = condition.map(|name| Condition { name: name.into(), sub_id: None, of_site: false, on_port: false });
            let index = Index::new(matchers.iter().map(Some));
            let candidates = index.candidates(topic, kind, condition);
            prop_assert!(candidates.windows(2).all(|pair| pair[0] < pair[1]), "{candidates:?}");
            for (position, matcher) in matchers.iter().enumerate() {
                prop_assert!(!matcher.matches(&event) || candidates.contains(&position), "rule {position} is lost");
                prop_assert_eq!(matcher.matches(&event), matcher.mismatch(&event).is_none());
            }
        }

        /// Spelling a literal differently changes nothing.
        #[test]
        fn case_and_hyphens_do_not_matter(text in "[a-zA-Z_-]{1,12}") {
            let other: String = text.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_uppercase() }).collect();
            let mut event = event();
            event.kind = text;
            prop_assert!(one("type", &[&other]).matches(&event));
        }

        /// No text makes reading a pattern panic.
        #[test]
        fn any_text_is_a_pattern_or_a_problem(text in "\\PC{0,20}") {
            let _ = Pattern::parse(&text);
        }
    }
}
