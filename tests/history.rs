//! What became of each event, against the engine's own counts: the rows' sums are these, whatever
//! came.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use foghorn::config::{Config, rules_from_record};
use foghorn::fold::Fold;
use foghorn::history::{Added, History};
use foghorn::model::{
    EventFates, EventOutcome, Journaled, Name, OutcomeChange, Record, RulesRecord, Seq, Severity,
    Silence, SourceKind, Timestamp, Until,
};
use foghorn::rules::RuleSet;
use foghorn::simulate::{Options, Preset, simulate};
use foghorn::store::EventRow;
use proptest::prelude::*;
use serde_json::json;

/// Monday, 5 January 2026, midnight.
const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// Rules of each make, so that random traffic meets every path.
const RULES: &str = r#"
server: {listen: 127.0.0.1:0}
destinations:
  all: {webhook: {url: "http://127.0.0.1:9/"}}
  urgent: {webhook: {url: "http://127.0.0.1:9/"}, min_severity: critical}
time_intervals:
  night: [{times: ["00:00-00:20"]}]
digests:
  daily: {at: "00:40", into: all}
inhibit_rules:
  - {source: {condition: switch_offline}, target: {condition: ap_offline}, equal: [site]}
rules:
  - {name: patient, match: {condition: ap_offline}, for: 60s, group_by: [device]}
  - {name: plain, match: {condition: ap_offline, device: [ap-1, ap-2]}}
  - {name: sticky, match: {condition: ap_offline, device: ap-3}, keep_firing_for: 90s, group_wait: 0s, notify: [urgent]}
  - {name: mass, match: {condition: ap_offline}, threshold: {count: 2, within: 5m, distinct: device_mac}, severity: critical}
  - {name: switches, match: {condition: switch_offline}, flapping: {changes: 4, within: 10m, stable: 5m}}
  - {name: radar, match: {type: AP_RADAR_DETECTED}, cooldown: 100s}
  - {name: often, match: {type: AP_RADAR_DETECTED}, threshold: {count: 3, within: 2m}}
  - {name: nightly, match: {type: AP_CONFIGURED}, mute_time_intervals: [night], during_mute: drop}
  - {name: digested, match: {type: AP_RESTARTED}, notify: [daily]}
"#;

fn compiled(text: &str) -> (Arc<RuleSet>, RulesRecord) {
    let destinations = vec![
        (Name::new("all"), Severity::Info),
        (Name::new("urgent"), Severity::Critical),
    ];
    let record = RulesRecord {
        text: text.to_owned(),
        destinations,
        start: true,
    };
    let problem = || {
        Config::parse(text, None, &|_| None)
            .map(|_| ())
            .unwrap_err()
    };
    let rules = rules_from_record(&record).unwrap_or_else(|| panic!("{:?}", problem()));
    (Arc::new(rules), record)
}

/// The rows as a store would keep them.
#[derive(Default)]
struct Rows {
    rows: Vec<EventRow>,
}

impl Rows {
    fn add(&mut self, added: Added) {
        self.rows.extend(added.rows);
        for OutcomeChange {
            waits,
            upto,
            outcome,
            by,
        } in added.changes
        {
            for row in self
                .rows
                .iter_mut()
                .filter(|row| row.waits == Some(waits) && row.id <= upto)
            {
                (row.outcome, row.waits, row.told) =
                    (outcome.clone(), None, by.iter().cloned().collect());
            }
        }
    }

    fn sums(&self) -> EventFates {
        let mut sums = EventFates {
            total: self.rows.len() as u64,
            ..EventFates::default()
        };
        for row in &self.rows {
            match &row.outcome {
                EventOutcome::Pending => sums.pending += 1,
                EventOutcome::Notified => sums.told += 1,
                EventOutcome::Unmatched => sums.unmatched += 1,
                EventOutcome::Duplicate => sums.duplicate += 1,
                EventOutcome::Suppressed(why) => {
                    *sums.suppressed.entry(why.to_string()).or_default() += 1
                }
            }
            assert_eq!(
                row.outcome == EventOutcome::Pending,
                row.waits.is_some(),
                "{row:?}"
            );
            assert!(
                row.told.iter().all(|rule| row.rules.contains(rule)),
                "{row:?}"
            );
            assert!(
                row.outcome == EventOutcome::Notified || row.told.is_empty(),
                "{row:?}"
            );
        }
        sums
    }
}

/// Folds entries and holds the rows against the counts; `cut` restarts from a snapshot there.
fn agree(rules: &Arc<RuleSet>, entries: &[Journaled], cut: Option<usize>) -> EventFates {
    let mut fold = Fold::new(Arc::clone(rules), rules_from_record);
    let mut history = History::default();
    let mut rows = Rows::default();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        if cut == Some(n) {
            seen.push(fold.take_seen());
            let snapshot = fold.snapshot();
            let known = seen.iter().map(Vec::as_slice);
            fold = Fold::restore(&snapshot, known, rules, rules_from_record).unwrap();
            history = History::after(Seq(entry.seq.0 - 1));
        }
        history.add(&mut fold.apply(entry));
        rows.add(history.take());
        if n % 16 == 0 || n + 1 == entries.len() {
            assert_eq!(&rows.sums(), fold.fates(), "after entry {}", entry.seq);
        }
    }
    fold.fates().clone()
}

fn entry(seq: usize, at: Timestamp, record: Record) -> Journaled {
    Journaled {
        seq: Seq(seq as u64 + 1),
        at,
        record,
    }
}

/// One thing of a random history: after how long, which, of what device.
type Happening = (u64, u8, u8);

fn entries(happenings: &[Happening], record: &RulesRecord) -> Vec<Journaled> {
    let mut at = START;
    let mut made = vec![entry(0, at, Record::Rules(record.clone()))];
    for (n, (after, what, device)) in happenings.iter().enumerate() {
        at = at.shifted(i64::try_from(*after).unwrap());
        let kind = match what {
            0..=3 => "AP_DISCONNECTED",
            4..=6 => "AP_CONNECTED",
            7 => "SW_DISCONNECTED",
            8 => "SW_CONNECTED",
            9 | 10 => "AP_RADAR_DETECTED",
            11 => "AP_CONFIGURED",
            12 => "AP_RESTARTED",
            _ => "SOMETHING_ELSE",
        };
        let record = match what {
            14 => Record::Tick,
            15 => Record::Silence(Silence {
                id: format!("s{}", device),
                matches: json!({"device": format!("ap-{device}")}),
                until: if device % 2 == 0 {
                    Until::Resolved
                } else {
                    Until::At(at.shifted(200_000))
                },
                author: "a".into(),
                comment: String::new(),
                created: at,
            }),
            16 => Record::Expire {
                id: format!("s{device}"),
                author: "a".into(),
            },
            17 => Record::Rules(RulesRecord {
                text: match device {
                    0 => RULES.replace("name: radar", "name: radio"),
                    // Alerts of one device each become one.
                    1 => RULES.replace("name: patient,", "name: patient, by: [site],"),
                    _ => RULES.to_owned(),
                },
                start: false,
                ..record.clone()
            }),
            _ => {
                let (name, of) = if kind.starts_with("SW") {
                    ("sw", "switch")
                } else {
                    ("ap", "ap")
                };
                let event = |device: u8| {
                    json!({"type": kind, "timestamp": at.seconds(), "mac": format!("5c5b3500{:02x}{device:02x}", name.len() + usize::from(of == "ap")),
                           "device_name": format!("{name}-{device}"), "device_type": of, "site_id": format!("site-{}", device % 2), "n": n % 7})
                };
                let body = json!({"topic": "device-events", "events": [event(*device), event((device + 1) % 4)]});
                Record::Received {
                    source: "mist".into(),
                    kind: SourceKind::default(),
                    cursor: None,
                    body: body.to_string().into(),
                }
            }
        };
        made.push(entry(n + 1, at, record));
    }
    made
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn the_rows_add_up_to_the_engines_counts(
        happenings in prop::collection::vec((prop_oneof![3 => 0..20_000_u64, 1 => 0..400_000_u64], 0..18_u8, 0..4_u8), 1..100),
        cut in prop::option::of(0..100_usize),
    ) {
        let (rules, record) = compiled(RULES);
        agree(&rules, &entries(&happenings, &record), cut);
    }
}

/// Rules that looked at what another told did not tell it.
#[test]
fn who_told_an_event_is_noted() {
    let text = r#"
server: {listen: 127.0.0.1:0}
destinations: {all: {webhook: {url: "http://127.0.0.1:9/"}}}
rules:
  - {name: each, match: {type: AP_RESTARTED}, cooldown: 1s}
  - {name: often, match: {type: AP_RESTARTED}, threshold: {count: 9, within: 1h}}
  - {name: soon, match: {condition: ap_offline}, for: 1m}
  - {name: late, match: {condition: ap_offline}, for: 1h}
"#;
    let (rules, record) = compiled(text);
    let mut fold = Fold::new(Arc::clone(&rules), rules_from_record);
    let (mut history, mut rows) = (History::default(), Rows::default());
    let event = |kind: &str, second: i64| {
        let body = json!({"topic": "device-events", "events": [{"type": kind, "device_type": "ap", "device_name": "ap-1",
            "mac": "5c5b35000001", "site_name": "Home", "timestamp": START.seconds() + second}]});
        Record::Received {
            source: "mist".into(),
            kind: SourceKind::default(),
            cursor: None,
            body: body.to_string().into(),
        }
    };
    let came = [
        (0, "AP_RESTARTED"),
        (60, "AP_RESTARTED"),
        (120, "AP_DISCONNECTED"),
        (300, "AP_CONNECTED"),
        (600, ""),
    ];
    let start = std::iter::once((START, Record::Rules(record)));
    let came = came.map(|(second, kind)| {
        let record = if kind.is_empty() {
            Record::Tick
        } else {
            event(kind, second)
        };
        (START.shifted(second * 1_000), record)
    });
    for (n, (at, record)) in start.chain(came).enumerate() {
        history.add(&mut fold.apply(&entry(n, at, record)));
        rows.add(history.take());
    }
    let told = rows.rows.iter().map(|row| {
        (
            row.rules.len(),
            row.told.iter().map(|rule| &**rule).collect::<Vec<_>>(),
        )
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (2, vec!["each"]),
            (2, vec!["each"]),
            (2, vec!["soon"]),
            (2, vec!["soon"])
        ]
    );
}

/// A recovery that leaves enough others down decides nothing, and still belongs to what was sent.
#[test]
fn who_notified_of_one_of_several_is_noted() {
    let text = r#"
server: {listen: 127.0.0.1:0}
destinations: {all: {webhook: {url: "http://127.0.0.1:9/"}}}
rules:
  - {name: mass, match: {condition: ap_offline}, threshold: {count: 2, within: 5m}}
"#;
    let (rules, record) = compiled(text);
    let mut fold = Fold::new(Arc::clone(&rules), rules_from_record);
    let (mut history, mut rows) = (History::default(), Rows::default());
    let event = |kind: &str, ap: u8, second: i64| {
        let body = json!({"topic": "device-events", "events": [{"type": kind, "device_type": "ap",
            "device_name": format!("ap-{ap}"), "mac": format!("5c5b3500000{ap}"),
            "site_name": "Home", "timestamp": START.seconds() + second}]});
        Record::Received {
            source: "mist".into(),
            kind: SourceKind::default(),
            cursor: None,
            body: body.to_string().into(),
        }
    };
    let came = [
        (0, Record::Rules(record)),
        (1, event("AP_DISCONNECTED", 1, 1)),
        (2, event("AP_DISCONNECTED", 2, 2)),
        (3, event("AP_DISCONNECTED", 3, 3)),
        (200, Record::Tick),
        (300, event("AP_CONNECTED", 1, 300)),
    ];
    for (n, (second, record)) in came.into_iter().enumerate() {
        let entry = entry(n, START.shifted(second * 1_000), record);
        history.add(&mut fold.apply(&entry));
        rows.add(history.take());
    }
    assert_eq!(&rows.sums(), fold.fates());
    let row = rows.rows.last().unwrap();
    assert_eq!(row.outcome, EventOutcome::Notified);
    assert_eq!(row.told, ["mass".into()]);
}

/// Alerts that a reload makes one: the events of both are decided with it.
#[test]
fn events_of_an_alert_that_was_taken_over_are_decided() {
    let text = r#"
server: {listen: 127.0.0.1:0}
destinations: {all: {webhook: {url: "http://127.0.0.1:9/"}}}
rules:
  - {name: aps, match: {condition: ap_offline}, for: 10m}
"#;
    let (rules, record) = compiled(text);
    let merged = RulesRecord {
        text: text.replace("name: aps,", "name: aps, by: [site],"),
        start: false,
        ..record.clone()
    };
    let mut fold = Fold::new(Arc::clone(&rules), rules_from_record);
    let (mut history, mut rows) = (History::default(), Rows::default());
    let down = |ap: u8| {
        let body = json!({"topic": "device-events", "events": [{"type": "AP_DISCONNECTED",
            "device_type": "ap", "device_name": format!("ap-{ap}"), "site_name": "Home",
            "mac": format!("5c5b3500000{ap}"), "timestamp": START.seconds() + i64::from(ap)}]});
        Record::Received {
            source: "mist".into(),
            kind: SourceKind::default(),
            cursor: None,
            body: body.to_string().into(),
        }
    };
    let came = [
        (0, Record::Rules(record)),
        (1, down(1)),
        (2, down(2)),
        (60, Record::Rules(merged)),
        (900, Record::Tick),
    ];
    for (n, (second, record)) in came.into_iter().enumerate() {
        let entry = entry(n, START.shifted(second * 1_000), record);
        history.add(&mut fold.apply(&entry));
        rows.add(history.take());
    }
    assert_eq!(&rows.sums(), fold.fates());
    for row in &rows.rows {
        assert_eq!(row.outcome, EventOutcome::Notified, "{row:?}");
    }
}

#[test]
fn the_rows_of_a_simulated_week_add_up() {
    let config = Config::load_offline(None, &|_| None).unwrap();
    let options = Options {
        preset: Preset::Home,
        seed: 3,
        start: START,
        days: 3,
        lossy: true,
        site_webhooks: true,
    };
    let posts = simulate(options).posts;
    let posts = posts.into_iter().enumerate().map(|(n, post)| {
        let body: bytes::Bytes = post.body.clone().into();
        entry(
            n,
            post.received_at,
            Record::Received {
                source: "mist".into(),
                kind: SourceKind::default(),
                cursor: None,
                body,
            },
        )
    });
    let fates = agree(&config.rules, &posts.collect::<Vec<_>>(), Some(500));
    let kinds: BTreeMap<_, _> = fates.suppressed.clone();
    assert!(
        fates.told > 0 && fates.duplicate > 0 && !kinds.is_empty(),
        "{fates:?}"
    );
}
