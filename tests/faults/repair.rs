//! Damaged databases: refused with the way out, and what is whole is saved.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::{Chat, Foghorn, SECRET, binary, device_event};
use crate::world::{Chance, rules, told, until_told};

/// Devices 0 to 4 were told, 5 to 39 wait for a chat that is down; one silence is in force.
async fn life(chat: &Chat) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(chat, 100)).unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    let down = async |n: u32| {
        let mut event = device_event("AP_DISCONNECTED", n);
        // Some are longer than a page.
        event["text"] = json!("x".repeat(n as usize * 700));
        foghorn.post("device-events", json!([event])).await;
    };
    for n in 0..5 {
        down(n).await;
    }
    chat.wait_for(5).await;
    chat.down(503, "no");
    assert_eq!(run(dir.path(), &["silence", "add", "device=ap-quiet", "--for", "2h"]).0, Some(0));
    for n in 5..40 {
        down(n).await;
    }
    let begun = std::time::Instant::now();
    while foghorn.metric("foghorn_message_fates", "queued").await < 35.0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(foghorn.stop().await.0, Some(0));
    // The log would undo the damage done to the file.
    let database = rusqlite::Connection::open(dir.path().join("data/foghorn.db")).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    dir
}

/// A command in that folder: exit code, and all it said.
fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    // What should be refused may serve instead: not for ever.
    command.arg("20").arg(binary().get_program()).args(args).current_dir(dir).env("MIST_WEBHOOK_SECRET", SECRET);
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-r").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(done.success());
    to
}

/// What `serve` says of a folder it refuses.
fn refused(dir: &Path) -> String {
    let (code, said) = run(dir, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(5), "{said}");
    said
}

fn devices(range: std::ops::Range<u32>) -> BTreeSet<String> {
    range.map(|n| format!("ap-{n}")).collect()
}

/// The repaired folder serves: what waited is told, what was told is not told again, what comes is told.
async fn serves(dir: &Path, chat: &Chat, waited: &BTreeSet<String>) {
    let before = told(chat);
    chat.up();
    let foghorn = Foghorn::start_in(dir).await;
    let lost = until_told(chat, waited, Duration::from_secs(20)).await;
    assert!(lost.is_empty(), "these waited and are not told: {lost:?}");
    foghorn.post("device-events", json!([device_event("AP_DISCONNECTED", 77)])).await;
    assert!(until_told(chat, &devices(77..78), Duration::from_secs(10)).await.is_empty());
    for name in devices(0..5) {
        assert_eq!(told(chat).get(&name), before.get(&name), "{name} was told before the damage");
    }
    foghorn.stop().await;
    chat.down(503, "no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_refused_and_what_is_whole_is_saved() {
    let chat = Chat::start().await;
    let sound = life(&chat).await;
    let file = |dir: &Path| dir.join("data/foghorn.db");
    let bytes = std::fs::read(file(sound.path())).unwrap();
    let all = devices(5..40);

    // The first page is the schema: without it SQLite knows nothing, and yet everything is there.
    let dir = copy(sound.path());
    let mut spoiled = bytes.clone();
    spoiled[..8_192].fill(0);
    std::fs::write(file(dir.path()), &spoiled).unwrap();
    let said = refused(dir.path());
    assert!(said.contains("damaged or no database") && said.contains("foghorn repair"), "{said}");
    let (code, said) = run(dir.path(), &["repair"]);
    println!("{said}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("queued 35, delivered 5") && said.contains("lost: 0 journal entries, 0 stored"), "{said}");
    assert_eq!(std::fs::read(dir.path().join("data/foghorn.db.damaged")).unwrap(), spoiled, "kept as it was");
    serves(dir.path(), &chat, &all).await;
    let foghorn = Foghorn::start_in(dir.path()).await;
    let (_, silences) = run(dir.path(), &["silence", "list"]);
    assert!(silences.contains("ap-quiet"), "a silence outlives the damage: {silences}");
    assert_eq!(run(dir.path(), &["repair"]).0, Some(5), "not while it is served");
    foghorn.stop().await;

    // Into another folder: the damaged one stays as it is.
    let dir = copy(sound.path());
    std::fs::write(file(dir.path()), &spoiled).unwrap();
    assert_eq!(run(dir.path(), &["repair", "--to", "saved"]).0, Some(0));
    assert_eq!(std::fs::read(file(dir.path())).unwrap(), spoiled);
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    std::fs::rename(dir.path().join("saved"), dir.path().join("data")).unwrap();
    serves(dir.path(), &chat, &BTreeSet::new()).await;

    // Cut in half, and flipped bits: what is lost is said, and what is left serves.
    let mut chance = Chance::new("damage");
    for round in 0..6 {
        let dir = copy(sound.path());
        let mut spoiled = bytes.clone();
        if round == 0 {
            spoiled.truncate(bytes.len() / 2);
        } else {
            for _ in 0..64 {
                spoiled[8_192 + chance.below(bytes.len() as u64 - 8_192) as usize] ^= 1 << chance.below(8);
            }
        }
        std::fs::write(file(dir.path()), &spoiled).unwrap();
        let (code, said) = run(dir.path(), &["repair"]);
        println!("damage {round}: {said}");
        assert_eq!(code, Some(0), "{said}");
        serves(dir.path(), &chat, &BTreeSet::new()).await;
    }

    // Nothing to save: nothing is changed, and it is said how to begin anew.
    for nothing in [&b""[..], b"this was never a database, whatever its name says"] {
        let dir = copy(sound.path());
        std::fs::write(file(dir.path()), nothing).unwrap();
        refused(dir.path());
        let (code, said) = run(dir.path(), &["repair"]);
        assert!(code == Some(1) && said.contains("nothing was changed"), "{code:?} {said}");
        assert_eq!(std::fs::read(file(dir.path())).unwrap(), nothing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cut_gives_all_that_came_before_the_cut() {
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    for n in 0..5 {
        foghorn.post("device-events", json!([device_event("AP_DISCONNECTED", n)])).await;
    }
    chat.wait_for(5).await;
    foghorn.kill();
    let log = dir.path().join("data/foghorn.db-wal");
    let bytes = std::fs::read(&log).unwrap();
    for (part, of) in [(9, 10), (1, 2)] {
        let dir = copy(dir.path());
        std::fs::write(dir.path().join("data/foghorn.db-wal"), &bytes[..bytes.len() * part / of]).unwrap();
        let before = chat.taken().len();
        let foghorn = Foghorn::start_in(dir.path()).await;
        foghorn.post("device-events", json!([device_event("AP_DISCONNECTED", 50)])).await;
        chat.wait_for(before + 1).await;
        foghorn.stop().await;
    }
}
