//! `foghorn doctor` from outside: what it finds, and that it posts and shows nothing.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, reason = "waits for another process")]

mod support;

use std::net::TcpListener;
use std::path::Path;

use serde_json::json;
use support::{Chat, Foghorn, SECRET, binary, device_event, eventually};

/// `foghorn doctor ARGS` in this folder: exit code, and what it printed.
async fn doctor(folder: &Path, args: &[&str]) -> (i32, String) {
    let mut command = binary();
    command
        .arg("doctor")
        .args(args)
        .current_dir(folder)
        .env("MIST_WEBHOOK_SECRET", SECRET.repeat(2));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

fn rules(port: u16, destinations: &str) -> String {
    format!(
        "server: {{listen: \"127.0.0.1:{port}\"}}\nsources: {{mist: {{secrets: [\"env:MIST_WEBHOOK_SECRET\"]}}}}\n\
         destinations:\n{destinations}rules:\n  - {{name: down, match: {{condition: ap_offline}}}}\n"
    )
}

/// A port that nobody listens on.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn has(said: &str, mark: &str, text: &str) {
    let found = said
        .lines()
        .any(|line| line.starts_with(mark) && line.contains(text));
    assert!(found, "no `{mark}` with {text:?} in\n{said}");
}

#[tokio::test]
async fn what_is_alive_is_told_from_what_is_dead_and_nothing_is_posted() {
    let chat = Chat::start().await;
    let (dead, folder) = (free(), tempfile::tempdir().unwrap());
    let destinations = format!(
        "  alive: {{webhook: {{url: \"{}\"}}}}\n  dead: {{webhook: {{url: \"http://127.0.0.1:{dead}/canary\"}}}}\n\
         \x20 nowhere: {{webhook: {{url: \"https://canary.invalid/canary\"}}}}\n  untrusted: {{webhook: {{url: \"https://{}/canary\"}}}}\n",
        chat.url("/canary/canary"),
        chat.address,
    );
    std::fs::write(
        folder.path().join("rules.yaml"),
        rules(free(), &destinations),
    )
    .unwrap();
    let (code, said) = doctor(folder.path(), &[]).await;
    assert_eq!(code, 3, "{said}");
    has(&said, "ok", "destination alive: reachable");
    has(
        &said,
        "PROBLEM",
        "destination dead: TCP: connection refused",
    );
    has(&said, "PROBLEM", "destination nowhere: DNS: ");
    has(&said, "PROBLEM", "destination untrusted: TLS or HTTP: ");
    has(&said, "warning", "data folder: data does not exist yet");
    has(&said, "warning", "server: none runs");
    assert!(!said.contains("canary"), "{said}");
    assert!(
        !folder.path().join("data").exists(),
        "it looks, and makes nothing"
    );
    let asked = chat.all();
    assert!(
        asked
            .iter()
            .all(|one| one.body.is_null() && !one.path.contains("canary")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_does_well_is_said_to_and_its_refusals_are_counted() {
    let chat = Chat::start().await;
    let destination = format!("  chat: {{webhook: {{url: \"{}\"}}}}\n", chat.url("/x"));
    let foghorn = Foghorn::start(&rules(0, &destination)).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    let dir = foghorn.dir.clone();
    let (code, said) = doctor(&dir, &[]).await;
    assert_eq!(code, 0, "{said}");
    has(&said, "ok", "server: 127.0.0.1:");
    has(
        &said,
        "ok",
        "signatures: none rejected since the start; 1 post accepted",
    );
    has(&said, "ok", "posts of `mist`: ");
    has(&said, "ok", "port: the server listens");

    let client = foghorn::wire::direct().unwrap();
    let forged = client
        .post(format!("{}/mist", foghorn.address))
        .header("x-mist-signature-v2", "00")
        .body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
    has(
        &doctor(&dir, &[]).await.1,
        "warning",
        "signatures: 1 post rejected since the start, 1 accepted",
    );

    assert_eq!(doctor(&dir, &["--quick"]).await.0, 0);
    let keep = foghorn.kill();
    // The lock goes with the process.
    eventually("the lock to go", || {
        (!foghorn::store::sqlite::is_held(&dir.join("data"))).then_some(())
    })
    .await;
    let (code, said) = doctor(&dir, &["--quick"]).await;
    assert_eq!(code, 3, "{said}");
    has(&said, "PROBLEM", "server: none runs");
    drop(keep);
}

#[tokio::test]
async fn a_destination_that_takes_nothing_is_said_with_what_waits() {
    let chat = Chat::start().await;
    chat.down(404, "no_service");
    let destination = format!(
        "  chat: {{webhook: {{url: \"{}\"}}, retry: {{first: 20ms, max: 100ms}}}}\n",
        chat.url("/x")
    );
    let rules =
        rules(0, &destination).replace("match: {", "group_by: [device], group_wait: 0s, match: {");
    let foghorn = Foghorn::start(&rules).await;
    for n in 0..3 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let (code, said) = doctor(&foghorn.dir, &[]).await;
        if said
            .lines()
            .any(|line| line.starts_with("PROBLEM  messages to chat: it refuses all messages; "))
        {
            assert!(
                code == 3 && said.contains("404") && said.contains("foghorn send-test chat"),
                "{said}"
            );
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{said}");
    }
    chat.up();
    foghorn.stop().await;
}

#[tokio::test]
async fn files_that_root_left_are_found_and_a_repair_leaves_none() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let chat = Chat::start().await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let destination = format!("  chat: {{webhook: {{url: \"{}\"}}}}\n", chat.url("/x"));
    std::fs::write(dir.join("rules.yaml"), rules(0, &destination)).unwrap();
    let foghorn = Foghorn::start_in(&dir).await;
    foghorn
        .post("device-events", json!([device_event("AP_DISCONNECTED", 1)]))
        .await;
    foghorn.stop().await;
    let data = dir.join("data");
    let owners = || -> Vec<u32> {
        let files = std::fs::read_dir(&data)
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap());
        files
            .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))
            .collect()
    };
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    let (code, said) = doctor(&dir, &[]).await;
    assert_eq!(code, 3, "{said}");
    has(
        &said,
        "PROBLEM",
        "data folder: the service runs as nobody here, but that user cannot read and write data/foghorn.db",
    );
    assert!(said.contains("sudo chown -R 65534:65534 data "), "{said}");
    // Spoiled: the command is the owner's.
    let database = rusqlite::Connection::open(data.join("foghorn.db")).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(database);
    let sound = std::fs::read(data.join("foghorn.db")).unwrap();
    for file in std::fs::read_dir(&data).unwrap() {
        std::os::unix::fs::chown(file.unwrap().path(), Some(65_534), Some(65_534)).unwrap();
    }
    std::fs::write(data.join("foghorn.db"), "spoiled").unwrap();
    let (_, said) = doctor(&dir, &[]).await;
    assert!(
        said.contains("`sudo -u nobody foghorn repair --data data`"),
        "{said}"
    );
    assert!(!said.contains("the service runs as nobody"), "{said}");
    // Repaired by root all the same: into its place, and into a new folder.
    std::fs::write(data.join("foghorn.db"), sound).unwrap();
    for args in [&["repair", "--to", "new"][..], &["repair"]] {
        let done = binary()
            .args(args)
            .current_dir(&dir)
            .env("MIST_WEBHOOK_SECRET", SECRET)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        println!("{said}{}", String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success());
        assert!(owners().iter().all(|uid| *uid == 65_534), "{:?}", owners());
    }
    let of = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    for path in [
        "new",
        "new/foghorn.db",
        "new/foghorn.lock",
        "new/foghorn.marker",
    ] {
        assert_eq!(of(&dir.join(path)), 65_534, "{path}");
    }
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "rules.yaml",
        &rules(port, "  c: {webhook: {url: \"env:CANARY\"}}\n"),
    );
    std::fs::create_dir(folder.path().join("data")).unwrap();
    write("data/foghorn.marker", "");
    let (code, said) = doctor(folder.path(), &[]).await;
    assert_eq!(code, 3, "{said}");
    has(
        &said,
        "PROBLEM",
        "the environment variable CANARY, which is not set",
    );
    has(
        &said,
        "PROBLEM",
        &format!("port: cannot listen on 127.0.0.1:{port}"),
    );
    has(&said, "PROBLEM", "journal: ");
    has(
        &said,
        "warning",
        "destination c: not checked: its URL is missing",
    );

    // As the service has it, with a file of variables.
    write(
        "env",
        &format!("CANARY=\"http://127.0.0.1:{}/canary\"\n", free()),
    );
    let (_, said) = doctor(folder.path(), &["--env-file", "env"]).await;
    has(&said, "PROBLEM", "destination c: TCP: connection refused");
    has(
        &said,
        "warning",
        "the file of variables, env, can be read by everyone",
    );
    assert!(!said.contains("/canary"), "{said}");
    assert_eq!(doctor(folder.path(), &["--env-file", "gone"]).await.0, 2);
}

/// Findings without a line that says what to do.
fn helpless(said: &str) -> Vec<&str> {
    let lines: Vec<&str> = said.lines().collect();
    let grave = |line: &str| line.starts_with("PROBLEM ") || line.starts_with("warning ");
    let without = |n: &usize| {
        !lines
            .get(n + 1)
            .is_some_and(|next| next.starts_with("         = "))
    };
    (0..lines.len())
        .filter(|n| grave(lines[*n]))
        .filter(without)
        .map(|n| lines[n])
        .collect()
}

#[tokio::test]
async fn each_finding_says_what_to_do() {
    let chat = Chat::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    let fine = rules(
        free(),
        &format!("  c: {{webhook: {{url: \"{}\"}}}}\n", chat.url("/x")),
    );
    let said = async |args: &[&str], code: i32, mark: &str, text: &str, help: &str| {
        let (found, said) = doctor(folder.path(), args).await;
        assert_eq!(found, code, "{said}");
        has(&said, mark, text);
        assert!(said.contains(help), "no {help:?} in\n{said}");
        assert_eq!(helpless(&said), [""; 0], "{said}");
    };
    said(
        &["--config", "gone.yaml"],
        3,
        "PROBLEM",
        "config: gone.yaml",
        "--config",
    )
    .await;
    write("rules.yaml", b"rules: [");
    said(&[], 3, "PROBLEM", "config: rules.yaml", "foghorn check").await;
    write(
        "rules.yaml",
        rules(free(), "  c: {webhook: {url: \"env:CANARY\"}}\n").as_bytes(),
    );
    said(
        &[],
        3,
        "warning",
        "destination c: not checked",
        "--env-file",
    )
    .await;
    write("rules.yaml", fine.as_bytes());
    said(
        &["--quick"],
        3,
        "PROBLEM",
        "server: none runs",
        "systemctl start foghorn",
    )
    .await;

    // What stands where the data folder should be.
    write("data", b"");
    said(
        &[],
        3,
        "PROBLEM",
        "data folder: data is not a folder",
        "--data",
    )
    .await;
    said(&[], 3, "warning", "server: none can run on data", "--data").await;
    said(&[], 3, "ok", "port: ", "is free").await;
    std::fs::remove_file(folder.path().join("data")).unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    write("data/token", b"");
    said(
        &[],
        3,
        "PROBLEM",
        "token: data/token: this is no token",
        "delete it",
    )
    .await;
    std::fs::remove_file(folder.path().join("data/token")).unwrap();
    write("data/foghorn.db", &[0x5a; 8_192]);
    said(&[], 3, "PROBLEM", "journal: ", "foghorn repair --data data").await;
    std::fs::remove_file(folder.path().join("data/foghorn.db")).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("data/foghorn.db")).unwrap();
    other.execute_batch("CREATE TABLE other (x)").unwrap();
    drop(other);
    said(
        &[],
        3,
        "PROBLEM",
        "not a Foghorn database",
        "the file belongs to another program",
    )
    .await;
}

#[tokio::test]
async fn an_address_that_leads_to_another_program_is_no_foghorn() {
    // It answers "ok" to everything, as many do.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap();
    tokio::spawn(
        warp::serve(warp::Filter::map(warp::any(), || "ok"))
            .incoming(listener)
            .run(),
    );
    let chat = Chat::start().await;
    let destination = format!("  chat: {{webhook: {{url: \"{}\"}}}}\n", chat.url("/x"));
    let to = |url: &str| {
        rules(0, &destination).replacen(
            "server: {",
            &format!("server: {{public_url: \"{url}\", "),
            1,
        )
    };
    let foghorn = Foghorn::start(&to(&format!("http://{other}"))).await;
    has(
        &doctor(&foghorn.dir, &[]).await.1,
        "warning",
        "answers 200, but not like Foghorn",
    );
    std::fs::write(foghorn.dir.join("rules.yaml"), to(&foghorn.address)).unwrap();
    has(&doctor(&foghorn.dir, &[]).await.1, "ok", "leads to Foghorn");
    foghorn.stop().await;
}
