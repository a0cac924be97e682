//! The tools that show what rules do to traffic, from outside: `replay --diff`, `tune`, `test`, `explain`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use assert_cmd::Command;
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
    let mac = format!("5c5b35{:06x}", device.bytes().fold(7_u32, |sum, b| (sum * 31 + u32::from(b)) % 0xff_ffff));
    let event = json!({
        "type": kind, "mac": mac, "device_name": device, "site_id": "s", "site_name": "Home", "timestamp": MONDAY + at,
    });
    (at, json!({"topic": "device-events", "events": [event]}))
}

fn outage(at: u64, seconds: u64, device: &str, kind: &str) -> [(u64, Value); 2] {
    [event(at, &format!("{kind}_DISCONNECTED"), device), event(at + seconds, &format!("{kind}_CONNECTED"), device)]
}

fn traffic(events: impl IntoIterator<Item = (u64, Value)>) -> String {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_by_key(|(at, _)| *at);
    let line = |(at, body): (u64, Value)| {
        let (day, hour, minute, second) = (5 + at / 86_400, at % 86_400 / HOUR, at % HOUR / MINUTE, at % MINUTE);
        let at = format!("2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        format!("{}\n", json!({"received_at": at, "body": body}))
    };
    events.into_iter().map(line).collect()
}

/// A week: blips that end by themselves, three real outages of APs, one short one of a switch, an AP that reboots.
fn week() -> String {
    let blips = (0..30).flat_map(|n| outage(n * 5 * HOUR, 20 + n * 4, &format!("ap-{}", n % 4), "AP"));
    let real = [20, 60, 101].into_iter().flat_map(|hour| outage(hour * HOUR + 1_000, 30 * MINUTE, "ap-9", "AP"));
    let reboots = (0..20).map(|n| event(n * 8 * HOUR + 99, "AP_RESTARTED", "ap-lab"));
    traffic(blips.chain(real).chain(outage(99 * HOUR, 4 * MINUTE, "sw-garage", "SW")).chain(reboots))
}

/// Runs `foghorn ARGS` in this folder: exit code, and what it printed.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("foghorn").unwrap();
    for name in ["SLACK_WEBHOOK_URL", "TEAMS_WEBHOOK_URL", "MIST_WEBHOOK_SECRET", "FOGHORN_CONFIG"] {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(args).timeout(std::time::Duration::from_secs(60)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
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
    let other = RULES.replace("for: 1m", "for: 5m").replace("  - name: Reboot", "    for: 3m\n  - name: Rebooted");
    let other = other
        .replace("severity: critical}\n    for: 3m", "severity: critical}")
        .replace("    severity: warning\n", "    severity: warning\n    for: 3m\n");
    let folder = folder(&[("rules.yaml", RULES), ("other.yaml", &other), ("week", &week())]);
    let (code, out, err) = run(folder.path(), &["replay", "week", "--diff", "other.yaml"]);
    assert_eq!(code, 0, "{err}");
    insta::assert_snapshot!("diff", out);

    let (code, out, err) = run(folder.path(), &["replay", "week", "--diff", "other.yaml", "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["missed"].as_array().unwrap().len(), 31);
    assert_eq!((&found["before"]["messages"], &found["after"]["messages"]), (&json!(88), &json!(26)));
    insta::assert_json_snapshot!("diff_json", json!({"later": found["later"][0], "rules": found["rules"]}));
    // The same rules differ in nothing, and the numbers are those of a plain replay.
    let (_, out, _) = run(folder.path(), &["replay", "week", "--diff", "rules.yaml"]);
    assert!(out.contains("88 -> 88 messages; would have missed nothing"), "{out}");
    let (_, out, _) = run(folder.path(), &["replay", "week", "--format", "json"]);
    assert_eq!(out.lines().count(), 88);
}

#[test]
fn a_diff_with_a_broken_file_names_its_problems() {
    let folder = folder(&[("rules.yaml", RULES), ("other.yaml", "rules:\n  - {name: a, macth: {}}\n"), ("week", "")]);
    let (code, _, err) = run(folder.path(), &["replay", "week", "--diff", "other.yaml"]);
    assert!(code == 3 && err.contains("other.yaml:2:") && err.contains("macth"), "{code}: {err}");
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
        assert!(tuned.lines().any(|new| new == line), "the patch takes {line:?} away");
    }
    std::fs::write(folder.path().join("tuned.yaml"), tuned).unwrap();
    let (code, out, err) = run(folder.path(), &["--config", "tuned.yaml", "replay", "week", "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 9, "{out}");
    let real = out.lines().filter(|line| line.contains("\"ap-9\"") && line.contains("\"first\"")).count();
    assert_eq!(real, 3, "{out}");
}

#[test]
fn rules_that_say_little_are_left_alone() {
    let quiet = traffic([20, 60, 101].into_iter().flat_map(|hour| outage(hour * HOUR, 30 * MINUTE, "ap-9", "AP")));
    let folder = folder(&[("rules.yaml", RULES), ("quiet", &quiet), ("nothing", "")]);
    let (code, out, _) = run(folder.path(), &["tune", "quiet"]);
    assert!(code == 0 && out.contains("Nothing to improve"), "{out}");
    assert_eq!(run(folder.path(), &["tune", "quiet", "--patch"]), (0, String::new(), String::new()));
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
