//! Every file of tests/cases and the shipped rules pass their own `tests:`, run as a user runs
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn test(config: &Path) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("foghorn").unwrap();
    for name in [
        "SLACK_WEBHOOK_URL",
        "TEAMS_WEBHOOK_URL",
        "MIST_WEBHOOK_SECRET",
        "FOGHORN_CONFIG",
    ] {
        command.env_remove(name);
    }
    command.arg("--config").arg(config).arg("test").assert()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_case_passes() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root("tests/cases"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    assert!(files.len() >= 9, "where are the cases? {files:?}");
    for file in files {
        let run = test(&file);
        let output = run.get_output();
        assert!(
            output.status.success(),
            "{}:\n{}",
            file.display(),
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn the_shipped_rules_keep_their_promises() {
    test(&root("rules.yaml")).success();
}

#[test]
fn every_shipped_rule_speaks_in_a_test() {
    let text = std::fs::read_to_string(root("rules.yaml")).unwrap();
    let (rules, tests) = text.split_once("\ntests:").unwrap();
    for name in rules
        .lines()
        .filter_map(|line| line.strip_prefix("  - name: "))
    {
        let name = name.trim_matches('"');
        let said = [format!("rule: {name},"), format!("rule: \"{name}\",")]
            .iter()
            .any(|rule| tests.contains(rule));
        assert!(said, "no test expects a message of the rule {name:?}");
    }
}

#[test]
fn a_wrong_expectation_exits_4_and_shows_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let text = "\
rules:
  - name: AP unreachable
    match: {condition: ap_offline}
    for: 3m
tests:
  - name: told too soon
    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-1}]
    expect: [{at: 10s, rule: AP unreachable, reason: first}]
  - name: told at all
    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-1}, {at: 1m, type: AP_CONNECTED, device: ap-1}]
    expect: [{reason: first}]
  - name: a blip
    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-1}, {at: 1m, type: AP_CONNECTED, device: ap-1}]
    expect: []
  - name: a silence of what is not open
    events:
      - {at: 0s, silence: {name: roof, match: {device: ap-1}, until: resolved}}
      - {at: 1m, type: AP_DISCONNECTED, device: ap-1}
    until: 10m
    expect: []
";
    std::fs::write(&file, text).unwrap();
    let run = test(&file).code(4);
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    for part in [
        "FAILED  told too soon (line 6)",
        "DIFFERS in at: 3m10s",
        "expected  at: 10s, rule: AP unreachable, reason: first",
        "actual    at: 3m10s, rule: AP unreachable, reason: first",
        "FAILED  told at all",
        "MISSING: nothing was said",
        "ok      a blip",
        "silence roof is over before it began: nothing that it waits for is open",
        "1 passed, 3 failed",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}
