//! The tools that show what rules do to traffic, from outside: `replay --diff`, `tune`, `test`,
//! `explain`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use foghorn::clock::Clock;
use foghorn::model::{Name, Record, RulesRecord, Severity, Silence, SourceKind, Timestamp, Until};
use foghorn::store::sqlite::Sqlite;
use foghorn::store::{Journal, Retention};
use serde_json::{Value, json};

/// Monday, 5 January 2026, midnight UTC, in seconds.
const MONDAY: u64 = 1_767_571_200;
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

const RULES: &str = "\
# ours
destinations: {chat: {console: {}}}
rules:
  - name: AP unreachable   # the wifi
    match: {condition: ap_offline}
    # as agreed with Ann
    severity: warning
  - {name: Switch unreachable, match: {condition: switch_offline}, for: 1m, severity: critical}
  - name: Reboot
    match:
      type: AP_RESTARTED
      not: {reason: [\"*upgrade*\"]} # not the planned ones
    by: [device_mac]
";

/// What one POST brings, seconds after the beginning.
fn event(at: u64, kind: &str, device: &str) -> (u64, Value) {
    let mac = format!(
        "5c5b35{:06x}",
        device
            .bytes()
            .fold(7_u32, |sum, b| (sum * 31 + u32::from(b)) % 0xff_ffff)
    );
    let event = json!({
        "type": kind, "mac": mac, "device_name": device, "site_id": "s", "site_name": "Home", "timestamp": MONDAY + at,
    });
    (at, json!({"topic": "device-events", "events": [event]}))
}

fn outage(at: u64, seconds: u64, device: &str, kind: &str) -> [(u64, Value); 2] {
    [
        event(at, &format!("{kind}_DISCONNECTED"), device),
        event(at + seconds, &format!("{kind}_CONNECTED"), device),
    ]
}

fn traffic(events: impl IntoIterator<Item = (u64, Value)>) -> String {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_by_key(|(at, _)| *at);
    let line = |(at, body): (u64, Value)| {
        let (day, hour, minute, second) = (
            5 + at / 86_400,
            at % 86_400 / HOUR,
            at % HOUR / MINUTE,
            at % MINUTE,
        );
        let at = format!("2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        format!("{}\n", json!({"received_at": at, "body": body}))
    };
    events.into_iter().map(line).collect()
}

/// A week: blips that end by themselves, three real outages of APs, one short one of a switch, an
/// AP that reboots.
fn week() -> String {
    let blips =
        (0..30).flat_map(|n| outage(n * 5 * HOUR, 20 + n * 4, &format!("ap-{}", n % 4), "AP"));
    let real = [20, 60, 101]
        .into_iter()
        .flat_map(|hour| outage(hour * HOUR + 1_000, 30 * MINUTE, "ap-9", "AP"));
    let reboots = (0..20).map(|n| event(n * 8 * HOUR + 99, "AP_RESTARTED", "ap-lab"));
    traffic(
        blips
            .chain(real)
            .chain(outage(99 * HOUR, 4 * MINUTE, "sw-garage", "SW"))
            .chain(reboots),
    )
}

/// Runs `foghorn ARGS` in this folder: exit code, and what it printed.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("foghorn").unwrap();
    for name in [
        "SLACK_WEBHOOK_URL",
        "TEAMS_WEBHOOK_URL",
        "MIST_WEBHOOK_SECRET",
        "FOGHORN_CONFIG",
    ] {
        command.env_remove(name);
    }
    let output = command
        .current_dir(folder)
        .args(args)
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_diff_says_what_other_rules_would_have_missed() {
    let other = RULES
        .replace("for: 1m", "for: 5m")
        .replace("  - name: Reboot", "    for: 3m\n  - name: Rebooted");
    let other = other
        .replace("severity: critical}\n    for: 3m", "severity: critical}")
        .replace(
            "    severity: warning\n",
            "    severity: warning\n    for: 3m\n",
        );
    let folder = folder(&[
        ("rules.yaml", RULES),
        ("other.yaml", &other),
        ("week", &week()),
    ]);
    let (code, out, err) = run(folder.path(), &["replay", "week", "--diff", "other.yaml"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!("diff", out);

    let (code, out, err) = run(
        folder.path(),
        &["replay", "week", "--diff", "other.yaml", "--format", "json"],
    );
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["missed"].as_array().unwrap().len(), 31);
    assert_eq!(
        (&found["before"]["messages"], &found["after"]["messages"]),
        (&json!(88), &json!(26))
    );
    insta::assert_json_snapshot!(
        "diff_json",
        json!({"later": found["later"][0], "rules": found["rules"]})
    );
    // The same rules differ in nothing, and the numbers are those of a plain replay.
    let (_, out, _) = run(folder.path(), &["replay", "week", "--diff", "rules.yaml"]);
    assert!(
        out.contains("88 -> 88 messages; would have missed nothing"),
        "{out}"
    );
    let (_, out, _) = run(folder.path(), &["replay", "week", "--format", "json"]);
    assert_eq!(out.lines().count(), 88);
}

#[test]
fn a_diff_with_a_broken_file_names_its_problems() {
    let folder = folder(&[
        ("rules.yaml", RULES),
        ("other.yaml", "rules:\n  - {name: a, macth: {}}\n"),
        ("week", ""),
    ]);
    let (code, _, err) = run(folder.path(), &["replay", "week", "--diff", "other.yaml"]);
    assert!(
        code == 3 && err.contains("other.yaml:2:") && err.contains("macth"),
        "{code}: {err}"
    );
}

#[test]
fn tune_finds_the_noise_and_its_patch_does_what_it_says() {
    let folder = folder(&[("rules.yaml", RULES), ("week", &week())]);
    let (code, out, err) = run(folder.path(), &["tune", "week"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!("tune", out);

    let (code, patch, err) = run(folder.path(), &["tune", "week", "--patch"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.trim_end().ends_with(patch.trim_end()), "{patch}");
    let tuned = apply(&patch, RULES);
    for line in RULES.lines() {
        assert!(
            tuned.lines().any(|new| new == line),
            "the patch takes {line:?} away"
        );
    }
    std::fs::write(folder.path().join("tuned.yaml"), tuned).unwrap();
    let (code, out, err) = run(
        folder.path(),
        &[
            "--config",
            "tuned.yaml",
            "replay",
            "week",
            "--format",
            "json",
        ],
    );
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 9, "{out}");
    let real = out
        .lines()
        .filter(|line| line.contains("\"ap-9\"") && line.contains("\"first\""))
        .count();
    assert_eq!(real, 3, "{out}");
}

#[test]
fn rules_that_say_little_are_left_alone() {
    let quiet = traffic(
        [20, 60, 101]
            .into_iter()
            .flat_map(|hour| outage(hour * HOUR, 30 * MINUTE, "ap-9", "AP")),
    );
    let folder = folder(&[("rules.yaml", RULES), ("quiet", &quiet), ("nothing", "")]);
    let (code, out, _) = run(folder.path(), &["tune", "quiet"]);
    assert!(code == 0 && out.contains("No suggestions"), "{out}");
    assert_eq!(
        run(folder.path(), &["tune", "quiet", "--patch"]),
        (0, String::new(), String::new())
    );
    let (code, out, _) = run(folder.path(), &["tune", "nothing"]);
    assert!(code == 0 && out.contains("0 messages"), "{out}");
}

#[test]
fn a_failing_test_shows_the_decisions_that_led_there() {
    let rules = "\
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    for: 3m
  - name: Switches
    match: {condition: switch_offline, site: Home}
  - name: Reboots
    match: {type: AP_RESTARTED}
    threshold: {count: 3, window: 1h}
tests:
  - name: a blip is told
    events:
      - {at: 0s, type: AP_DISCONNECTED, device: ap-1}
      - {at: 81s, type: AP_CONNECTED, device: ap-1}
      - {at: 90s, type: SW_DISCONNECTED, device: sw-1, site: Home}
    expect:
      - {rule: AP unreachable, reason: first}
      - {rule: Switches}
  - name: told sooner
    events:
      - {at: 0s, type: AP_DISCONNECTED, device: ap-1}
      - {at: 1m, type: AP_DISCONNECTED, device: ap-2}
    expect:
      - {at: 1m, reason: first}
      - {reason: new-events}
  - name: two reboots are enough
    events: [{at: 0s, type: AP_RESTARTED, device: ap-1}, {at: 1m, type: AP_RESTARTED, device: ap-1}]
    expect: [{rule: Reboots}]
  - name: another site
    events: [{at: 0s, type: SW_DISCONNECTED, device: sw-1, site: Work}]
    expect: [{rule: Switches}]
  - name: any message
    events: [{at: 0s, type: AP_CONFIGURED, device: ap-1}]
    expect: [{contains: ap-1}]
";
    let folder = folder(&[("rules.yaml", rules)]);
    let (code, out, err) = run(folder.path(), &["test"]);
    assert_eq!(code, 4, "{err}");
    insta::assert_snapshot!("test", out);
}

fn posted(events: impl IntoIterator<Item = (u64, Value)>) -> Vec<(u64, Record)> {
    let record = |body: Value| Record::Received {
        source: "mist".into(),
        kind: SourceKind::default(),
        cursor: None,
        body: body.to_string().into(),
    };
    events
        .into_iter()
        .map(|(at, body)| (at, record(body)))
        .collect()
}

/// A data folder as `serve` leaves it: these rules, these records, and a tick at the end.
async fn store(folder: &Path, rules: &str, mut records: Vec<(u64, Record)>, end: u64) {
    let wall = Timestamp::from_millis(i64::try_from(MONDAY * 1_000).unwrap());
    let store = Sqlite::open(
        &folder.join("data"),
        Clock::pinned(wall),
        Retention::default(),
    )
    .unwrap();
    let destinations = vec![(Name::new("chat"), Severity::Warning)];
    store
        .append(Record::Rules(RulesRecord {
            text: rules.to_owned(),
            destinations,
            start: true,
        }))
        .await
        .unwrap();
    records.sort_by_key(|(at, _)| *at);
    let mut now = 0;
    for (at, record) in records {
        tokio::time::advance(Duration::from_secs(at - now)).await;
        now = at;
        store.append(record).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(end - now)).await;
    store.append(Record::Tick).await.unwrap();
}

const STORED: &str = "\
destinations: {chat: {console: {}, min_severity: warning}}
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    for: 3m
  - name: Kitchen reboots
    match: {type: AP_RESTARTED, device: ap-kitchen}
  - name: Reboots
    match: {type: AP_RESTARTED, not: {device: ap-kitchen}}
    threshold: {count: 3, window: 1h}
  - {name: Radar, match: {type: AP_RADAR_DETECTED}, severity: info}
";

#[tokio::test(start_paused = true)]
async fn explain_says_what_was_decided_and_what_was_lacking() {
    let folder = folder(&[("rules.yaml", STORED)]);
    let events = [
        outage(60, 81, "ap-1", "AP").to_vec(),
        outage(HOUR, 10 * MINUTE, "ap-2", "AP").to_vec(),
        vec![
            event(2 * HOUR, "AP_RESTARTED", "ap-1"),
            event(2 * HOUR, "AP_RESTARTED", "ap-1"),
        ],
        vec![
            event(3 * HOUR, "AP_CONFIGURED", "ap-3"),
            event(3 * HOUR + 1, "SW_RESTARTED", "ap-kitchen"),
        ],
        vec![
            event(3 * HOUR + 2, "AP_CONNECTED", "ap-3"),
            event(3 * HOUR + 3, "AP_RADAR_DETECTED", "ap-3"),
        ],
    ]
    .concat();
    store(folder.path(), STORED, posted(events), 4 * HOUR).await;
    let explain = |what: &str| {
        let (code, out, err) = run(folder.path(), &["explain", what]);
        assert_eq!(code, 0, "{what}: {err}");
        out
    };
    insta::assert_snapshot!("explain_short", explain("2.1"));
    let long = explain("4.1");
    let id = long
        .split("    message ")
        .nth(1)
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .to_owned();
    insta::assert_snapshot!("explain_told", long);
    let message = explain(&id);
    for part in [
        "event 4.1: AP_DISCONNECTED of ap-2",
        "message ",
        "notify chat: first",
        "notify chat: resolved",
    ] {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
    assert!(explain("6.1").contains("1 of 3 events within 1 h: 2 more would be needed"));
    assert!(explain("7.1").contains("the same event had come before, as 6.1"));
    assert!(explain("8.1").contains("no rule looks for it"));
    let nearly = explain("9.1");
    assert!(
        nearly.contains("nearest: Kitchen reboots (rules.yaml:6), but its type is SW_RESTARTED, not ap_restarted"),
        "{nearly}"
    );
    assert!(explain("10.1").contains("it ends something, but no rule had it open"));
    assert!(
        explain("11.1")
            .contains("nobody is told: it is info, and its destinations take warning or worse")
    );

    let (code, out, err) = run(
        folder.path(),
        &["explain", "--device", "ap-1", "--since", "3000d"],
    );
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("2.1") && out.contains("6.1") && !out.contains("ap-2"),
        "{out}"
    );
    let (code, out, err) = run(folder.path(), &["explain", "4.1", "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let verdicts: Vec<&str> = found["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["pending", "firing", "notify", "ended", "notify"]);
    assert_eq!(found["decisions"][0]["line"], 3);
    assert_eq!(
        found["decisions"][2]["message"]["id"].as_str(),
        Some(id.as_str())
    );
    for (what, code) in [("99.1", 2), ("zzzzzz", 2), ("what?", 2)] {
        assert_eq!(run(folder.path(), &["explain", what]).0, code, "{what}");
    }
}

const QUIET: &str = "\
destinations:
  chat: {console: {}}
  mor: {digest: {at: \"08:00\", zone: UTC, into: [chat]}}
time_intervals:
  nights: {times: \"22:00-06:00\", zone: UTC}
maintenance:
  - {name: works, match: {device: ap-w}, from: \"2025-12-01T00:00:00Z\", until: \"2030-01-01T00:00:00Z\"}
inhibit_rules:
  - {source: {condition: switch_offline}, target: {condition: ap_offline, device: ap-1}, equal: [site]}
rules:
  - {name: APs, match: {condition: ap_offline, not: {device: [ap-m]}}, for: 1m, notify: [chat]}
  - {name: Sleepers, match: {condition: ap_offline, device: ap-m}, mute_time_intervals: [nights], during_mute: drop, notify: [chat]}
  - {name: Switches, match: {condition: switch_offline}, for: 3m, notify: [chat]}
  - name: Reboot
    match: {type: AP_RESTARTED}
    when: \"event.audit_id is not defined\"
  - {name: Power, match: {type: AP_RESTARTED, device: ap-7}}
  - {name: Configs, match: {type: AP_CONFIGURED}, notify: [mor]}
  - {name: Radars, match: {type: AP_RADAR_DETECTED}, threshold: {count: 3, window: 1h, distinct: device_mac}}
  - {name: Work only, match: {site: Work}}
";

#[tokio::test(start_paused = true)]
async fn explain_says_what_kept_it_quiet_where_that_stands_and_until_when() {
    let folder = folder(&[("rules.yaml", QUIET)]);
    let mut planned = event(20, "AP_RESTARTED", "ap-5");
    planned.1["events"][0]["audit_id"] = json!("a");
    let mut old = event(60, "AP_CONFIGURED", "ap-old");
    old.1["events"][0]["timestamp"] = json!(1_000_000_000);
    let events = vec![
        event(0, "SW_DISCONNECTED", "sw-hall"),
        event(10, "AP_DISCONNECTED", "ap-1"),
        planned,
        event(30, "AP_DISCONNECTED", "ap-m"),
        event(40, "AP_CONFIGURED", "ap-2"),
        event(50, "AP_RADAR_DETECTED", "ap-2"),
        old,
        event(70, "SW_SOMETHING", "sw-other"),
        event(HOUR, "SW_CONNECTED", "sw-hall"),
        event(HOUR + 60, "AP_DISCONNECTED", "ap-w"),
    ];
    store(folder.path(), QUIET, posted(events), 10 * HOUR).await;
    for (event, parts) in [
        (
            "3.1",
            &[
                "event 3.1: AP_DISCONNECTED of ap-1",
                "kept quiet: sw-hall explains it (rule Switches), by `inhibit_rules`, line 9",
            ][..],
        ),
        (
            "4.1",
            &[
                "no rule looks for it; nearest: Reboot (rules.yaml:14) matches, but its `when` says no: event.audit_id is not defined; Power (rules.yaml:17), but its device is ap-5",
            ],
        ),
        (
            "5.1",
            &[
                "outside of its rule's hours: it is mute within nights; dropped (`during_mute: drop`)",
            ],
        ),
        ("6.1", &["kept for mor, which tells at 5 Jan 08:00:00"]),
        (
            "7.1",
            &["1 of 3 devices within 1 h: 2 more would be needed"],
        ),
        ("8.1", &["of 9 Sep 2001 01:46:40"]),
        (
            "9.1",
            &["nearest: Work only (rules.yaml:20), but its site is Home"],
        ),
        (
            "11.1",
            &["kept quiet until 1 Jan 2030 00:00:00: maintenance works (line 7)"],
        ),
    ] {
        let (code, out, err) = run(folder.path(), &["explain", event]);
        assert_eq!(code, 0, "{event}: {err}");
        let mut rest = out.as_str();
        for part in parts {
            let found = rest.split_once(part);
            rest = found
                .unwrap_or_else(|| panic!("{event}: {part:?} is not there, or not below:\n{out}"))
                .1;
        }
    }
}

#[test]
fn a_diff_lists_what_a_digest_and_a_maintenance_list_and_nothing_else() {
    let twice = [
        outage(5 * HOUR, MINUTE, "ap-1", "AP"),
        outage(7 * HOUR, MINUTE, "ap-1", "AP"),
    ]
    .concat();
    let file = |more: &str| {
        format!(
            "destinations:\n  con: {{console: {{}}}}\n  dg: {{digest: {{at: \"08:00\", zone: UTC, into: [con]}}}}\n{more}"
        )
    };
    let digest = file("rules:\n  - {name: A, match: {condition: ap_offline}, notify: [dg]}\n");
    let maintenance = file(
        "maintenance:\n  - {name: works, match: {device: \"ap-*\"}, from: \"2026-01-05T04:00:00Z\", until: \"2026-01-05T08:00:00Z\"}\n\
         rules:\n  - {name: A, match: {condition: ap_offline}, notify: [con]}\n",
    );
    let slow =
        file("rules:\n  - {name: A, match: {condition: ap_offline}, for: 3m, notify: [con]}\n");
    let at_once = file("rules:\n  - {name: A, match: {condition: ap_offline}, notify: [con]}\n");
    // Nothing comes after the digest is due: it counts all the same.
    for rest in [vec![], vec![event(9 * HOUR, "AP_CONFIGURED", "ap-1")]] {
        for first in [&digest, &maintenance] {
            let events = traffic(twice.iter().cloned().chain(rest.clone()));
            let files = [
                ("rules.yaml", first.as_str()),
                ("slow.yaml", &slow),
                ("at-once.yaml", &at_once),
                ("traffic", &events),
            ];
            let folder = folder(&files);
            let (_, out, err) = run(folder.path(), &["replay", "traffic", "--diff", "slow.yaml"]);
            let missed = "would have missed: ap-1 5 Jan 05:00 (1 min), ap-1 5 Jan 07:00 (1 min)\n";
            assert!(
                out.contains(missed) && !out.contains(", by dg"),
                "{out}{err}"
            );
            let (_, out, _) = run(
                folder.path(),
                &["replay", "traffic", "--diff", "at-once.yaml"],
            );
            assert!(
                out.contains("would have missed nothing") && !out.contains("Told by"),
                "{out}"
            );
            let (_, out, _) = run(
                folder.path(),
                &[
                    "--config",
                    "at-once.yaml",
                    "replay",
                    "traffic",
                    "--diff",
                    "rules.yaml",
                ],
            );
            assert!(out.contains("would have missed nothing"), "{out}");
        }
    }
}

#[test]
fn tune_says_which_tests_its_patch_breaks() {
    let test = "tests:\n  - name: told at once\n    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-x}, {at: 1m, type: AP_CONNECTED, device: ap-x}]\n    expect: [{reason: first}, {reason: resolved}]\n  - name: a switch\n    events: [{at: 0s, type: SW_DISCONNECTED, device: sw-x}]\n    expect: [{reason: first}]\n";
    let rules = format!("{RULES}{test}");
    let folder = folder(&[("rules.yaml", &rules), ("week", &week())]);
    let (code, out, err) = run(folder.path(), &["tune", "week"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("Note: 1 test of the file will fail with these changes: \"told at once\""),
        "{out}"
    );
    let (_, out, err) = run(folder.path(), &["tune", "week", "--patch"]);
    assert!(
        !out.contains("Mind") && err.contains("\"told at once\""),
        "{out}{err}"
    );
}

/// `replay --stored` and `tune` say what `serve` said: nothing of what was silenced.
#[tokio::test(start_paused = true)]
async fn what_was_silenced_stays_silenced_when_it_is_judged_again() {
    let silence = |at: u64, id: &str, device: &str| {
        let created = Timestamp::from_millis(i64::try_from((MONDAY + at) * 1_000).unwrap());
        let silence = Silence {
            id: id.to_owned(),
            matches: json!({"device": device}),
            until: Until::At(created + Duration::from_secs(2 * HOUR)),
            author: "anna".to_owned(),
            comment: String::new(),
            created,
        };
        (at, Record::Silence(silence))
    };
    let outages = [
        outage(HOUR, 10 * MINUTE, "ap-1", "AP"),     // silenced
        outage(HOUR, 10 * MINUTE, "ap-2", "AP"),     // its silence was ended before
        outage(4 * HOUR, 10 * MINUTE, "ap-1", "AP"), // its silence is over
    ];
    let mut records = posted(outages.concat());
    records.extend([
        silence(30, "aaaaaaaa", "ap-1"),
        silence(31, "bbbbbbbb", "ap-2"),
    ]);
    records.push((
        MINUTE,
        Record::Expire {
            id: "bbbbbbbb".to_owned(),
            author: "anna".to_owned(),
        },
    ));
    let folder = folder(&[("rules.yaml", STORED)]);
    store(folder.path(), STORED, records, 5 * HOUR).await;
    let (code, out, err) = run(folder.path(), &["replay", "--stored", "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let told = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap();
        (
            message["at"].as_str().unwrap()[11..16].to_owned(),
            message["subjects"][0]["device"].clone(),
        )
    };
    let told: Vec<_> = out.lines().map(told).collect();
    let expected = [
        ("01:03", "ap-2"),
        ("01:10", "ap-2"),
        ("04:03", "ap-1"),
        ("04:10", "ap-1"),
    ];
    assert_eq!(
        told,
        expected.map(|(at, device)| (at.to_owned(), json!(device)))
    );
    let (code, out, err) = run(folder.path(), &["tune", "--stored"]);
    assert!(
        code == 0 && out.contains(": 4 messages by rules.yaml."),
        "{out}{err}"
    );
    let (code, out, err) = run(
        folder.path(),
        &["replay", "--stored", "--diff", "rules.yaml"],
    );
    assert!(
        code == 0 && out.contains(": 4 -> 4 messages;"),
        "{out}{err}"
    );
    let (_, out, _) = run(folder.path(), &["export"]);
    assert_eq!(out.lines().count(), 6, "a traffic file holds POSTs");
}

#[tokio::test]
async fn explain_beside_a_running_server_says_where_a_message_went() {
    let chat = support::Chat::start().await;
    let rules = format!(
        "destinations: {{slack: {{slack: {{url: \"{}\"}}}}}}\nrules:\n  - {{name: down, match: {{condition: ap_offline}}, group_wait: 0s}}\n",
        chat.url("/services/T0/B0/canary")
    );
    let server = support::Foghorn::start(&rules).await;
    server
        .post(
            "device-events",
            json!([support::device_event("AP_DISCONNECTED", 1)]),
        )
        .await;
    chat.wait_for(1).await;
    let dir = server.dir.clone();
    let said = support::eventually("the delivery", || {
        let (code, out, _) = run(&dir, &["explain", "--device", "ap-1"]);
        (code == 0 && out.contains("slack: delivered")).then_some(out)
    });
    let said = said.await;
    assert!(
        said.contains("down (rules.yaml:3): fires") && said.contains("notify slack: first"),
        "{said}"
    );
    server.stop().await;
}

/// Each kind of noise has its own cure, and every cure is measured.
#[test]
fn tune_knows_a_cure_for_each_kind_of_noise() {
    let rule = |more: &str| {
        format!("destinations: {{chat: {{console: {{}}}}}}\nrules:\n  - name: it\n{more}")
    };
    let down = "    match: {condition: ap_offline}\n";
    // Down for 20 min, again 5 min after it was back: one outage of a site with an old power
    // supply.
    let again = (0..30).flat_map(|n| {
        outage(
            n * 3 * HOUR / 2 + (n % 2) * 40 * MINUTE,
            20 * MINUTE + n,
            "ap-1",
            "AP",
        )
    });
    // Each down for half an hour, but one of them all the time.
    let lab = (0..60).flat_map(|n| outage(n * 2 * HOUR, 30 * MINUTE, "ap-lab", "AP"));
    let others =
        (0..4).flat_map(|n| outage(n * 30 * HOUR + 99, 30 * MINUTE, &format!("ap-{n}"), "AP"));
    // Many devices, each once in a while.
    let single = (0..24).map(|n| event(n * 6 * HOUR, "AP_RESTARTED", &format!("ap-{n}")));
    let burst = (0..4).map(|n| event(50 * HOUR + n * 5 * MINUTE, "AP_RESTARTED", "ap-sick"));
    let cases = [
        (
            "began again",
            rule(down),
            traffic(again),
            "keep_firing_for: 30m",
        ),
        (
            "one device",
            rule(down),
            traffic(lab.chain(others)),
            "match.not.device: [ap-lab]",
        ),
        (
            "single ones",
            rule("    match: {type: AP_RESTARTED}\n"),
            traffic(single.chain(burst)),
            "threshold: {count: 3, window: 1h}",
        ),
    ];
    for (name, rules, traffic, cure) in cases {
        let folder = folder(&[("rules.yaml", &rules), ("traffic", &traffic)]);
        let (code, out, err) = run(folder.path(), &["tune", "traffic"]);
        assert_eq!(code, 0, "{name}: {err}");
        assert!(out.contains(cure), "{name}: {cure:?} is not in:\n{out}");
        let lossy = !cure.starts_with("keep");
        assert_eq!(
            out.contains("Lost alerts that may matter"),
            lossy,
            "{name}:\n{out}"
        );
    }
}

/// What `patch` would do.
fn apply(patch: &str, text: &str) -> String {
    let old: Vec<&str> = text.lines().collect();
    let (mut new, mut at) = (Vec::new(), 0);
    for line in patch.lines().skip(2) {
        if let Some(place) = line.strip_prefix("@@ -") {
            let start: usize = place.split(',').next().unwrap().parse().unwrap();
            new.extend(old[at..start - 1].iter().map(|l| (*l).to_owned()));
            at = start - 1;
            continue;
        }
        let (mark, rest) = line.split_at(1);
        if mark != "+" {
            assert_eq!(old[at], rest, "the patch does not fit");
            at += 1;
        }
        if mark != "-" {
            new.push(rest.to_owned());
        }
    }
    new.extend(old[at..].iter().map(|l| (*l).to_owned()));
    new.join("\n") + "\n"
}
