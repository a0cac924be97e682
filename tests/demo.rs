//! `foghorn demo`: a simulated evening, its webhooks over HTTP into this very process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;

use assert_cmd::Command;

/// Runs `foghorn ARGS` in this folder with a chat in its environment: exit code, standard output,
/// standard error.
fn run(folder: &Path, chat: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("foghorn").unwrap();
    for name in ["TEAMS_WEBHOOK_URL", "MIST_WEBHOOK_SECRET", "FOGHORN_CONFIG"] {
        command.env_remove(name);
    }
    command.env("SLACK_WEBHOOK_URL", chat).env("TMPDIR", folder);
    let output = command
        .current_dir(folder)
        .args(args)
        .timeout(std::time::Duration::from_secs(300))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn an_evening_is_told_here_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let chat = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    chat.set_nonblocking(true).unwrap();
    let url = format!(
        "http://{}/services/T0/B0/canary",
        chat.local_addr().unwrap()
    );
    let (code, said, err) = run(folder.path(), &url, &["demo", "--speed", "1000"]);
    assert_eq!(code, 0, "{said}{err}");
    let part = |part: &str| assert!(said.contains(part), "{part:?} is not in:\n{said}{err}");
    part("-- 19:02 ap-office lost power");
    part("ap-office is offline");
    part("ap-office is back after 12 min");
    part("Switch sw-hall is offline");
    part("Interference heard by ap-kitchen");
    let summary = said
        .lines()
        .find(|line| line.contains("events came in"))
        .expect("a summary");
    let figures: Vec<u32> = summary
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        figures[0] > 200 && (5..20).contains(&figures[2]),
        "{summary}"
    );
    assert_eq!(
        chat.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "nothing goes to the chat"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
    assert!(!said.contains("canary") && !err.contains("canary"));
}

#[test]
fn its_traffic_can_be_written_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, err) = run(
        folder.path(),
        "",
        &["demo", "--write", "evening.ndjson", "--seed", "2"],
    );
    assert_eq!(code, 0, "{said}{err}");
    let (code, said, err) = run(folder.path(), "", &["replay", "evening.ndjson"]);
    assert_eq!(code, 0, "{said}{err}");
    assert!(
        said.contains("ap-office is offline") && said.contains("ap-office is back after 12 min"),
        "{said}"
    );
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a-file"), "x").unwrap();
    let (code, said, err) = run(folder.path(), "", &["demo", "--keep", "a-file"]);
    assert!(code == 5 && err.contains("a-file"), "{code}: {said}{err}");
    for speed in ["0", "1001"] {
        assert_eq!(run(folder.path(), "", &["demo", "--speed", speed]).0, 2);
    }
}
