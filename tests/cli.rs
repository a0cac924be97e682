//! Commands from outside: exit codes, and what they say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const RULE: &str = "rules:\n  - {name: down, match: {condition: ap_offline}, for: 3m}\n";

/// Runs `foghorn ARGS` in a folder with this rules.yaml: exit code, and what it printed to both
/// outputs.
fn run(folder: &Path, rules: Option<&str>, args: &[&str], input: &str) -> (i32, String, String) {
    if let Some(rules) = rules {
        std::fs::write(folder.join("rules.yaml"), rules).unwrap();
    }
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
        .write_stdin(input)
        .timeout(std::time::Duration::from_secs(300));
    let output = output.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The same, in a folder of its own; both outputs as one text.
fn alone(rules: Option<&str>, args: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = run(folder.path(), rules, args, "");
    (code, out + &err)
}

#[test]
fn with_nothing_configured_the_built_in_rules_are_fine() {
    let (code, said) = alone(None, &["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("no ./rules.yaml here, so the built-in rules apply"),
        "{said}"
    );
    assert_eq!(alone(None, &["test"]).0, 0);
}

#[test]
fn a_wrong_command_line_exits_2() {
    for args in [
        &["bogus"][..],
        &["replay"],
        &["replay", "-", "--until", "soon"],
        &["send-test", "nobody"],
    ] {
        assert_eq!(alone(Some(RULE), args).0, 2, "{args:?}");
    }
}

#[test]
fn options_of_serve_are_not_dropped_silently_before_another_command() {
    let (code, said) = alone(Some(RULE), &["--data", "elsewhere", "check"]);
    assert!(
        code == 2 && said.contains("write `--data` after the command"),
        "{code}: {said}"
    );
    let (code, said) = alone(
        Some(RULE),
        &["--data", "/dev/null/no", "serve", "--listen", "127.0.0.1:0"],
    );
    assert!(code == 5 && said.contains("/dev/null/no"), "{code}: {said}");
}

#[test]
fn one_rule_is_one_rule_and_a_file_without_tests_says_so() {
    let (code, said) = alone(Some(RULE), &["check"]);
    assert!(
        code == 0
            && said.contains("no problems, 1 warning. 1 rule, 0 tests; destinations: console."),
        "{code}: {said}"
    );
    assert!(
        said.contains("rules.yaml: warning: no rule has a test"),
        "{said}"
    );
    let (code, said) = alone(Some(RULE), &["test"]);
    assert!(
        code == 0 && said.contains("rules.yaml has no `tests:`"),
        "{code}: {said}"
    );
}

#[test]
fn a_config_with_problems_exits_3_and_names_them_all() {
    let broken =
        "rules:\n  - {name: a, macth: {type: X}, for: 3, template: nope, notify: [nobody]}\n";
    for command in [&["check"][..], &["test"], &["serve"], &["replay", "-"]] {
        let (code, said) = alone(Some(broken), command);
        assert_eq!(code, 3, "{command:?}: {said}");
        for part in [
            "rules.yaml:2:",
            "did you mean \"match\"?",
            "`3` is not a duration",
            "nobody",
            "\"nope\"",
        ] {
            assert!(
                said.contains(part),
                "{command:?}: {part:?} is not in:\n{said}"
            );
        }
    }
    let (code, said) = alone(None, &["--config", "/nowhere/rules.yaml", "check"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("/nowhere/rules.yaml"), "{said}");
}

#[test]
fn a_template_that_does_not_exist_is_a_problem_of_check() {
    let (code, said) = alone(
        Some("rules:\n  - {name: a, match: {type: AP_RESTARTED}, template: rebot}\n"),
        &["check"],
    );
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("there is no template \"rebot\"")
            && said.contains("did you mean \"reboot\"?"),
        "{said}"
    );
}

#[test]
fn what_cannot_start_exits_5_and_names_itself() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = alone(Some(RULE), &["serve", "--listen", &address]);
    assert!(code == 5 && said.contains(&address), "{code}: {said}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let (code, _, said) = run(
        folder.path(),
        Some(RULE),
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            file.to_str().unwrap(),
        ],
        "",
    );
    assert!(code == 5 && said.contains("a-file"), "{code}: {said}");
}

#[test]
fn a_damaged_database_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("foghorn.db"), [0x5a; 8192]).unwrap();
    let data = data.to_str().unwrap();
    let (code, _, said) = run(
        folder.path(),
        Some(RULE),
        &["serve", "--listen", "127.0.0.1:0", "--data", data],
        "",
    );
    assert!(code == 5 && said.contains("foghorn.db"), "{code}: {said}");
    let (code, _, said) = run(
        folder.path(),
        Some(RULE),
        &["replay", "--stored", "--data", data],
        "",
    );
    assert!(code == 1 && said.contains(data), "{code}: {said}");
}

#[test]
fn replay_prints_one_json_line_per_destination() {
    let rules = "destinations: {a: {console: {}}, b: {console: {}}, quiet: {console: {}, min_severity: critical}}\n"
        .to_owned()
        + RULE;
    let event = |kind: &str, at: u64, topic: &str| {
        format!(
            "{{\"received_at\": \"2026-01-05T00:{:02}:01Z\", \"body\": {{\"topic\": \"{topic}\", \"events\": [{{\"type\": \"{kind}\", \
             \"mac\": \"5C:5B:35:00:00:01\", \"device_name\": \"ap-1\", \"site_id\": \"s\", \"site_name\": \"Home\", \
             \"timestamp\": {}}}]}}}}\n",
            at / 60,
            1_767_571_200 + at
        )
    };
    let traffic = event("AP_DISCONNECTED", 0, "device-events")
        + &event("AP_DISCONNECTED", 0, "device-updowns")
        + "{\"topic\": \"alarms\", \"events\": \"not a list\"}\n\n[]\n"
        + &event("AP_CONNECTED", 600, "device-updowns");
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = run(
        folder.path(),
        Some(&rules),
        &["replay", "--format", "json", "-"],
        &traffic,
    );
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|l| {
            (
                l["at"].as_str().unwrap(),
                l["destination"].as_str().unwrap(),
                l["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("2026-01-05T00:03:11Z", "a", "first"),
        ("2026-01-05T00:03:11Z", "b", "first"),
        ("2026-01-05T00:10:01Z", "a", "resolved"),
        ("2026-01-05T00:10:01Z", "b", "resolved"),
    ];
    assert_eq!(told, expected);
    let subject = &lines[3]["subjects"][0];
    assert_eq!(subject["device_mac"], "5c5b35000001");
    assert_eq!(
        (subject["starts_at"].as_str(), subject["ends_at"].as_str()),
        (Some("2026-01-05T00:00:00Z"), Some("2026-01-05T00:10:00Z"))
    );
    assert_eq!(lines[0]["incident"], lines[3]["incident"]);
}

#[test]
fn a_line_that_is_no_post_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = run(
        folder.path(),
        Some(RULE),
        &["replay", "-"],
        "{\"topic\": \"ping\", \"events\": []}\nnonsense\n",
    );
    assert!(
        code == 1 && said.contains("line 2 is not a POST: expected ident (column 2)"),
        "{code}: {said}"
    );
    let (code, _, said) = run(folder.path(), Some(RULE), &["replay", "no-such-file"], "");
    assert!(code == 1 && said.contains("no-such-file"), "{code}: {said}");
}

#[test]
fn a_line_with_nothing_to_judge_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"foo": 1}"#,
        "[1, 2]",
        r#"{"received_at": "2026-01-05T00:00:00Z"}"#,
        r#"{"body": "str"}"#,
        r#"{"topic": "device-events", "events": [{"type": "AP_RESTARTED"}]}"#,
        r#"[{"topic": "device-events", "events": [{"type": "AP_RESTARTED"}]}]"#,
        r#"{"events": [{"type": "AP_RESTARTED"}]}"#,
    ];
    let (code, _, said) = run(
        folder.path(),
        Some(RULE),
        &["replay", "-"],
        &lines.join("\n"),
    );
    assert_eq!(code, 0, "{said}");
    for part in [
        "line 1: there is no `events`",
        "line 2: the body is not",
        "line 3:",
        "line 4:",
        "line 6:",
        "in 1 more lines either",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains("line 5"), "{said}");
}

#[test]
fn files_are_read_by_the_time_of_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let post = |minute: u64, kind: &str, bare: bool| {
        let time = 1_767_571_200 + minute * 60;
        let body = format!(
            r#"{{"topic": "device-events", "events": [{{"type": "{kind}", "ap": "5c5b35000001", "timestamp": {time}}}]}}"#
        );
        if bare {
            body
        } else {
            format!(r#"{{"received_at": "2026-01-05T00:{minute:02}:00Z", "body": {body}}}"#)
        }
    };
    std::fs::write(
        folder.path().join("a"),
        post(0, "AP_DISCONNECTED", false) + "\n" + &post(20, "AP_DISCONNECTED", true),
    )
    .unwrap();
    std::fs::write(folder.path().join("b"), post(10, "AP_CONNECTED", false)).unwrap();
    let replay = |files: &[&str]| {
        run(
            folder.path(),
            Some(RULE),
            &[&["replay"], files].concat(),
            "",
        )
    };
    let (code, in_order, said) = replay(&["a", "b"]);
    assert_eq!(
        (code, in_order.matches("-> console").count()),
        (0, 3),
        "{in_order}{said}"
    );
    assert_eq!(replay(&["b", "a"]).1, in_order);
    let (_, early, said) = replay(&["a", "b", "--until", "2026-01-05T00:05:00Z"]);
    assert!(
        said.contains("is before the last line") && early.contains("3 posts"),
        "{early}{said}"
    );
}

#[test]
fn what_is_missing_on_the_command_line_is_named_whole() {
    for (args, part) in [
        (&["replay"][..], "FILE|--stored"),
        (&["explain"], "--device"),
        (&["silence", "add", "device=x"], "--until"),
        (&["send-test", "slack"], "SLACK_WEBHOOK_URL"),
    ] {
        let (code, said) = alone(Some(RULE), args);
        assert!(code == 2 && said.contains(part), "{args:?}: {code}: {said}");
    }
    let digest = "destinations: {d: {digest: {at: \"08:00\"}}}\nrules: [{name: a, match: {type: AP_RESTARTED}}]\n";
    let (code, said) = alone(Some(digest), &["send-test", "d"]);
    assert!(
        code == 2 && said.contains("`foghorn send-test console`"),
        "{code}: {said}"
    );
    let (code, said) = alone(Some(RULE), &["serve", "--listen", "localhost:x"]);
    assert!(
        code == 2 && said.contains("as in 127.0.0.1:8080"),
        "{code}: {said}"
    );
    let (code, said) = alone(
        Some(RULE),
        &["--data", "/dev/null/no", "serve", "--listen", "localhost:0"],
    );
    assert!(code == 5, "{code}: {said}");
}

#[test]
fn rules_are_tested_and_replayed_where_the_secrets_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "destinations:\n  chat: {slack: {url: \"env:NOT_SET_HERE\"}}\n  team: {teams: {url: \"file:missing\"}}\n\
                 rules:\n  - {name: one, match: {condition: ap_offline}}\n\
                 tests:\n  - name: told\n    events: [{at: 0s, type: AP_DISCONNECTED, device: ap-1}]\n    expect: [{at: 10s, notify: [chat, team]}]\n";
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_foghorn"));
        command
            .args(args)
            .current_dir(dir.path())
            .env_remove("NOT_SET_HERE")
            .output()
            .unwrap()
    };
    let test = run(&["test"]);
    assert_eq!(test.status.code(), Some(0), "{test:?}");
    let check = run(&["check"]);
    assert_eq!(check.status.code(), Some(3));
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(
        said.contains("NOT_SET_HERE") && said.contains("missing"),
        "{said}"
    );
}

#[test]
fn a_password_is_hashed_and_said_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |input: &str| run(folder.path(), None, &["hash-password"], input);
    let (code, made, said) = hash("correct canary\n");
    assert_eq!(
        (code, said.as_str(), made.lines().count()),
        (0, "", 1),
        "{made}"
    );
    assert!(
        made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !made.contains("canary"),
        "{made}"
    );
    assert_ne!(hash("correct canary\n").1, made, "each has its own salt");
    for (input, part) in [
        ("canary\n", "at least 8 characters"),
        ("", "this one has 0"),
        ("canary one\ncanary two\n", "one line"),
    ] {
        let (code, out, said) = hash(input);
        assert!(
            code == 2 && out.is_empty() && said.contains(part) && !said.contains("canary"),
            "{input:?}: {said}"
        );
    }
    for (value, code, part) in [
        (format!("'{}'", made.trim()), 0, "no problems"),
        (made.trim().to_owned(), 0, "no problems"),
        ("correct canary".to_owned(), 3, "foghorn hash-password"),
    ] {
        let rules = format!("server:\n  password: {value}\n{RULE}");
        let (exit, out, said) = run(folder.path(), Some(&rules), &["check"], "");
        assert!(
            exit == code && (out.clone() + &said).contains(part),
            "{out}{said}"
        );
        assert!(!(out + &said).contains("canary"), "{said}");
    }
    std::fs::write(folder.path().join("hash"), made).unwrap();
    let rules = format!("server: {{password: \"file:hash\"}}\n{RULE}");
    assert_eq!(run(folder.path(), Some(&rules), &["check"], "").0, 0);
    let rules = format!("server: {{password: \"env:NOT_HERE\"}}\n{RULE}");
    assert_eq!(
        run(folder.path(), Some(&rules), &["test"], "").0,
        0,
        "nobody logs in to a test"
    );
    assert_eq!(run(folder.path(), Some(&rules), &["check"], "").0, 3);
}

#[test]
fn the_built_in_rules_are_printed_and_have_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    let (_, printed, _) = run(dir.path(), None, &["rules"], "");
    assert_eq!(printed, include_str!("../rules.yaml"));
    let (code, _, problems) = run(dir.path(), Some(&printed), &["check"], "");
    assert_eq!(code, 0, "{problems}");
}
