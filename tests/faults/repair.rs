//! Damaged databases: refused with the way out, and what is whole is saved.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Chat, Foghorn, PATIENCE, SECRET, binary, device_event};
use crate::world::{Chance, rules, told, until_quiet, until_told, untold};

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
    assert_eq!(
        run(
            dir.path(),
            &["silence", "add", "device=ap-quiet", "--for", "2h"]
        )
        .0,
        Some(0)
    );
    for n in 5..40 {
        down(n).await;
    }
    foghorn
        .until_metric("foghorn_message_fates", "queued", |queued| queued >= 35.0)
        .await;
    assert_eq!(foghorn.stop().await, Some(0));
    // The log would undo the damage done to the file.
    let database = rusqlite::Connection::open(dir.path().join("data/foghorn.db")).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    dir
}

/// A running Foghorn whose writes all stay in SQLite's log: the database file stays as it was before
/// it started. The reader causes it. It must live until the folder is copied: its end puts the log
/// away.
async fn with_all_in_its_log(chat: &Chat) -> (tempfile::TempDir, Foghorn, rusqlite::Connection) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(chat, 100)).unwrap();
    assert_eq!(Foghorn::start_in(dir.path()).await.stop().await, Some(0));
    let reader = rusqlite::Connection::open(dir.path().join("data/foghorn.db")).unwrap();
    // Whether the stop put the log away is chance; with it put away, the file has a whole schema.
    reader
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); BEGIN; SELECT count(*) FROM journal")
        .unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    (dir, foghorn, reader)
}

/// A command in that folder: exit code, and all it said.
fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    // What should be refused may serve instead: not for ever.
    command
        .arg(PATIENCE.as_secs().to_string())
        .arg(binary().get_program())
        .args(args)
        .current_dir(dir)
        .env("MIST_WEBHOOK_SECRET", SECRET);
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (
        done.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let done = Command::new("cp")
        .arg("-r")
        .arg(from.join("."))
        .arg(to.path())
        .status()
        .unwrap();
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

/// The numbers a report of `repair` says before and after this word.
fn counted(said: &str, before: &str, after: &str) -> u64 {
    let rest = said
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("no {before:?}: {said}"));
    rest.split(after)
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap_or_else(|e| panic!("{before:?} {e}: {said}"))
}

/// The repaired folder serves: what waited is told, what was told is not told again, what comes is
/// told.
async fn serves(dir: &Path, chat: &Chat, waited: &BTreeSet<String>) {
    let before = told(chat);
    chat.up();
    let foghorn = Foghorn::start_in(dir).await;
    let lost = until_told(chat, waited).await;
    assert!(lost.is_empty(), "these waited and are not told: {lost:?}");
    foghorn
        .post(
            "device-events",
            json!([device_event("AP_DISCONNECTED", 77)]),
        )
        .await;
    assert!(until_told(chat, &devices(77..78)).await.is_empty());
    for name in devices(0..5) {
        assert_eq!(
            told(chat).get(&name),
            before.get(&name),
            "{name} was told before the damage"
        );
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

    // What is lost is no row of ours: everything is there.
    let dir = copy(sound.path());
    let mut spoiled = bytes.clone();
    for (name, root) in roots(&file(sound.path())) {
        if ["outbox_queued", "outbox_settled", "fates", "told_delivery"].contains(&name.as_str()) {
            spoiled[(root - 1) * 8_192..root * 8_192].fill(0);
        }
    }
    std::fs::write(file(dir.path()), &spoiled).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("damaged") && said.contains("foghorn repair"),
        "{said}"
    );
    let (code, said) = run(dir.path(), &["repair"]);
    println!("{said}");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("queued 35, delivered 5")
            && said.contains("lost: 0 journal entries, 0 stored"),
        "{said}"
    );
    assert_eq!(
        std::fs::read(dir.path().join("data/foghorn.db.damaged")).unwrap(),
        spoiled,
        "kept as it was"
    );
    serves(dir.path(), &chat, &all).await;
    let foghorn = Foghorn::start_in(dir.path()).await;
    let (_, silences) = run(dir.path(), &["silence", "list"]);
    assert!(
        silences.contains("ap-quiet"),
        "a silence outlives the damage: {silences}"
    );
    assert_eq!(
        run(dir.path(), &["repair"]).0,
        Some(5),
        "not while it is served"
    );
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
                spoiled[8_192 + chance.below(bytes.len() as u64 - 8_192) as usize] ^=
                    1 << chance.below(8);
            }
        }
        std::fs::write(file(dir.path()), &spoiled).unwrap();
        let (code, said) = run(dir.path(), &["repair"]);
        println!("damage {round}: {said}");
        assert_eq!(code, Some(0), "{said}");
        let kept = counted(&said, "kept: ", " journal entries");
        let (messages, lost) = (
            counted(said.split("rules)\n").nth(1).unwrap(), "kept: ", " message"),
            counted(&said, "entries, ", " stored"),
        );
        assert!(messages + lost <= 40, "of 40 messages: {said}");
        // A flipped bit spoils one row, or all of a page of a few.
        if round > 0 {
            assert!(
                kept >= 10 && messages >= 10,
                "hardly anything was kept: {said}"
            );
        } else {
            assert!(
                kept + messages >= 10,
                "hardly anything was kept of the half that is there: {said}"
            );
        }
        serves(dir.path(), &chat, &BTreeSet::new()).await;
    }

    // Nothing to save: nothing is changed, and it is said how to begin anew.
    // The first page is the schema: without it SQLite can read nothing.
    let mut headless = bytes.clone();
    headless[..8_192].fill(0);
    for nothing in [
        &b""[..],
        b"this was never a database, whatever its name says",
        &headless,
    ] {
        let dir = copy(sound.path());
        std::fs::write(file(dir.path()), nothing).unwrap();
        assert!(refused(dir.path()).contains("to begin anew"));
        let (code, said) = run(dir.path(), &["repair"]);
        assert!(
            code == Some(1)
                && said.contains("nothing was changed")
                && said.contains("to begin anew"),
            "{said}"
        );
        assert_eq!(std::fs::read(file(dir.path())).unwrap(), nothing);
        // And so it is done.
        for name in ["foghorn.db", "foghorn.marker"] {
            std::fs::rename(dir.path().join("data").join(name), dir.path().join(name)).unwrap();
        }
        Foghorn::start_in(dir.path()).await.stop().await;
    }

    // Of a newer release: what this one does not know of would be lost.
    let dir = copy(sound.path());
    rusqlite::Connection::open(file(dir.path()))
        .unwrap()
        .pragma_update(None, "user_version", 5)
        .unwrap();
    let before = std::fs::read(file(dir.path())).unwrap();
    for said in [
        refused(dir.path()),
        run(dir.path(), &["repair"]).1,
        run(dir.path(), &["repair", "--to", "new"]).1,
    ] {
        assert!(
            said.contains("newer Foghorn (schema 5") && said.contains("Nothing was changed"),
            "{said}"
        );
    }
    assert_eq!(run(dir.path(), &["repair"]).0, Some(5));
    assert!(
        std::fs::read(file(dir.path())).unwrap() == before,
        "not a byte was changed"
    );
    assert!(
        !dir.path().join("new").exists() && !dir.path().join("data/foghorn.db.damaged").exists()
    );

    // A table that is gone: without it all would be taken and nothing told.
    for table in ["outbox", "events", "attempts"] {
        let dir = copy(sound.path());
        let database = rusqlite::Connection::open(file(dir.path())).unwrap();
        database
            .execute_batch(&format!(
                "DROP TABLE {table}; PRAGMA wal_checkpoint(TRUNCATE)"
            ))
            .unwrap();
        drop(database);
        let said = refused(dir.path());
        assert!(
            said.contains(&format!("is damaged: its table `{table}`"))
                && said.contains("foghorn repair"),
            "{said}"
        );
    }
}

/// Each table and index with the page it begins at.
fn roots(file: &Path) -> Vec<(String, usize)> {
    let database = rusqlite::Connection::open(file).unwrap();
    let mut rows = database
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0")
        .unwrap();
    let root = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, u32>(1)? as usize));
    rows.query_map([], root)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_nobody_would_read_is_refused_too() {
    const PAGE: usize = 8_192;
    let chat = Chat::start().await;
    let sound = life(&chat).await;
    let file = |dir: &Path| dir.join("data/foghorn.db");
    let (bytes, roots) = (
        std::fs::read(file(sound.path())).unwrap(),
        roots(&file(sound.path())),
    );
    assert!(roots.len() > 12, "{roots:?}");
    let spoil = |root: usize, with: &[u8]| {
        let (dir, mut spoiled) = (copy(sound.path()), bytes.clone());
        spoiled[(root - 1) * PAGE..root * PAGE].copy_from_slice(with);
        std::fs::write(file(dir.path()), &spoiled).unwrap();
        dir
    };
    for (name, root) in &roots {
        let dir = spoil(*root, &[0; PAGE]);
        let (code, said) = run(dir.path(), &["doctor"]);
        assert!(
            code == Some(3) && said.contains("foghorn repair"),
            "{name}: {said}"
        );
        let said = refused(dir.path());
        assert!(
            said.contains("damaged") && said.contains("foghorn repair"),
            "{name}: {said}"
        );
    }
    // Sound to SQLite, and empty: a page that was never written to.
    for name in [
        "outbox",
        "outbox_queued",
        "fates",
        "journal",
        "heads",
        "told_delivery",
    ] {
        let root = roots.iter().find(|(found, _)| found == name).unwrap().1;
        let kind = if matches!(bytes[(root - 1) * PAGE], 0x0d | 0x05) {
            0x0d
        } else {
            0x0a
        };
        let mut page = [0; PAGE];
        (page[0], page[5]) = (kind, 0x20);
        let dir = spoil(root, &page);
        let said = refused(dir.path());
        assert!(
            said.contains("damaged") && said.contains("foghorn repair"),
            "{name}: {said}"
        );
        if name == "outbox_queued" {
            assert_eq!(run(dir.path(), &["repair"]).0, Some(0));
            serves(dir.path(), &chat, &devices(5..40)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_a_flipped_bit_is_refused_and_what_came_before_it_is_saved() {
    let chat = Chat::start().await;
    chat.down(503, "no");
    let (dir, foghorn, reader) = with_all_in_its_log(&chat).await;
    for n in 0..30 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    foghorn.kill();
    let dir = copy(dir.path());
    drop(reader);
    let bytes = std::fs::read(dir.path().join("data/foghorn.db-wal")).unwrap();
    // What is behind the frames of this log is of an older one.
    let frames = bytes[32..]
        .chunks_exact(24 + 8_192)
        .take_while(|frame| frame[8..16] == bytes[16..24])
        .count();
    let size = 32 + frames * (24 + 8_192);
    assert!(frames > 30, "{frames} of {} bytes", bytes.len());
    for (what, range) in [
        ("head", 0..32),
        ("beginning", 0..20_000),
        ("quarter", size / 4..size / 4 + 1),
        ("most", size * 4 / 5..size * 4 / 5 + 1),
    ] {
        let (dir, mut spoiled) = (copy(dir.path()), bytes.clone());
        if range.len() == 1 {
            spoiled[range.start] ^= 4
        } else {
            spoiled[range].fill(0)
        }
        std::fs::write(dir.path().join("data/foghorn.db-wal"), &spoiled).unwrap();
        let (code, said) = run(dir.path(), &["doctor"]);
        assert!(
            code == Some(3) && said.contains("its log") && said.contains("foghorn repair"),
            "{what}: {said}"
        );
        let said = refused(dir.path());
        assert!(
            said.contains("follow one with a wrong checksum") && said.contains("foghorn repair"),
            "{what}: {said}"
        );
        let (code, said) = run(dir.path(), &["repair"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("of SQLite's log that follow a damaged one"),
            "{what}: {said}"
        );
        chat.up();
        let foghorn = Foghorn::start_in(dir.path()).await;
        foghorn
            .post(
                "device-events",
                json!([device_event("AP_DISCONNECTED", 77)]),
            )
            .await;
        until_quiet(&foghorn).await;
        // What came before the damage is there.
        let missing = untold(&chat, &devices(0..30));
        let most = match what {
            "most" => 15,
            "quarter" => 29,
            _ => 30,
        };
        assert!(missing.len() <= most, "{what}: {missing:?} {said}");
        assert!(untold(&chat, &devices(77..78)).is_empty(), "{what}");
        foghorn.stop().await;
        chat.forget();
        chat.down(503, "no");
    }
    // Without its log, and its log without it.
    let alone = copy(dir.path());
    std::fs::remove_file(alone.path().join("data/foghorn.db")).unwrap();
    let said = refused(alone.path());
    let (way, anew) = (
        said.find("`foghorn repair").unwrap(),
        said.find("to begin anew").unwrap(),
    );
    assert!(
        said.contains("its log foghorn.db-wal exists") && way < anew,
        "{said}"
    );
    let (_, said) = run(alone.path(), &["doctor"]);
    assert!(
        said.contains("foghorn repair --data data") && !said.contains("= restore a backup"),
        "{said}"
    );
    let (code, said) = run(alone.path(), &["repair"]);
    assert_eq!(code, Some(0), "{said}");
    chat.up();
    let foghorn = Foghorn::start_in(alone.path()).await;
    foghorn
        .post(
            "device-events",
            json!([device_event("AP_DISCONNECTED", 77)]),
        )
        .await;
    until_quiet(&foghorn).await;
    assert!(untold(&chat, &devices(77..78)).is_empty());
    // What had left the log is with the database: it is said to be lost, be it as a message or as
    // an entry.
    let missing = untold(&chat, &devices(0..30));
    let is_said = !said.contains("lost: 0 journal entries, 0 stored")
        || said.contains("more without a trace")
        || said.contains("or that are lost too");
    assert!(missing.is_empty() || is_said, "{missing:?}: {said}");
    println!("of its log alone: all but {} of 30", missing.len());
    foghorn.stop().await;
    let alone = copy(dir.path());
    for name in ["foghorn.db", "foghorn.db-wal", "foghorn.db-shm"] {
        std::fs::remove_file(alone.path().join("data").join(name)).unwrap();
    }
    // As the file is before its log was ever put away.
    let empty = rusqlite::Connection::open(alone.path().join("data/foghorn.db")).unwrap();
    empty
        .execute_batch("PRAGMA journal_mode = WAL; VACUUM")
        .unwrap();
    drop(empty);
    let said = refused(alone.path());
    assert!(
        said.contains("it is empty, but there was a journal") && said.contains("foghorn repair"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_pages_are_gone_is_lost_and_named() {
    let chat = Chat::start().await;
    let sound = life(&chat).await;
    let file = |dir: &Path| dir.join("data/foghorn.db");
    let bytes = std::fs::read(file(sound.path())).unwrap();
    // Where a long message goes on: pages that begin with the number of the next one, and hold
    // nothing but its text.
    let goes_on: Vec<usize> = (1..bytes.len() / 8_192)
        .filter(|page| {
            bytes[page * 8_192 + 4..(page + 1) * 8_192]
                .iter()
                .filter(|byte| **byte == b'x')
                .count()
                > 8_000
        })
        .filter(|page| bytes[page * 8_192..page * 8_192 + 4] != [0; 4])
        .collect();
    let mut named = 0;
    for page in &goes_on {
        let (dir, mut spoiled) = (copy(sound.path()), bytes.clone());
        spoiled[page * 8_192..(page + 1) * 8_192].fill(0);
        std::fs::write(file(dir.path()), &spoiled).unwrap();
        assert!(refused(dir.path()).contains("foghorn repair"));
        let (code, said) = run(dir.path(), &["repair"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("that retention removed"), "{said}");
        let (entries, messages) = (
            counted(&said, "lost: ", " journal"),
            counted(&said, "entries, ", " stored"),
        );
        assert_eq!(entries + messages, 1, "{said}");
        if messages == 1 {
            named += 1;
            assert!(
                said.contains("lost before it was sent: for sink: ") && said.contains("ap-"),
                "{said}"
            );
        }
        if named == 2 {
            break;
        }
    }
    assert!(named > 0, "of {} pages none is a message's", goes_on.len());

    // A page of messages that is gone: nobody says that retention took them.
    let outbox = roots(&file(sound.path()))
        .into_iter()
        .find(|(name, _)| name == "outbox")
        .unwrap()
        .1
        - 1;
    let root = &bytes[outbox * 8_192..(outbox + 1) * 8_192];
    assert_eq!(root[0], 5, "more than one page");
    let cell = usize::from(u16::from_be_bytes([root[12 + 2], root[12 + 3]]));
    let leaf = u32::from_be_bytes(root[cell..cell + 4].try_into().unwrap()) as usize - 1;
    let (dir, mut spoiled) = (copy(sound.path()), bytes.clone());
    spoiled[leaf * 8_192..(leaf + 1) * 8_192].fill(0);
    std::fs::write(file(dir.path()), &spoiled).unwrap();
    let (code, said) = run(dir.path(), &["repair"]);
    let kept = counted(said.split("rules)\n").nth(1).unwrap(), "kept: ", " message");
    assert!(
        code == Some(0) && said.contains(&format!("lost: {} message", 40 - kept)),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_in_an_entry_is_met_while_it_serves_and_said_with_the_way_out() {
    let chat = Chat::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules(&chat, 100)).unwrap();
    let foghorn = Foghorn::start_in(dir.path()).await;
    for n in 0..20 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    chat.wait_for(20).await;
    // Killed: what was judged since the last snapshot is read again.
    foghorn.kill();
    let file = dir.path().join("data/foghorn.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(database);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(7)
        .position(|part| part == b"\"ap-15\"")
        .unwrap();
    bytes[at + 5] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("has a wrong checksum") && said.contains("foghorn repair --data data"),
        "{said}"
    );
    let (code, said) = run(dir.path(), &["doctor"]);
    assert!(
        code == Some(3)
            && said.contains("wrong checksum")
            && said.contains("foghorn repair --data data"),
        "{said}"
    );
    let (code, said) = run(dir.path(), &["repair"]);
    assert!(
        code == Some(0) && said.contains("lost: 1 journal entries"),
        "{said}"
    );
    let before = told(&chat);
    let foghorn = Foghorn::start_in(dir.path()).await;
    foghorn
        .post(
            "device-events",
            json!([device_event("AP_DISCONNECTED", 77)]),
        )
        .await;
    assert!(until_told(&chat, &devices(77..78)).await.is_empty());
    assert_eq!(told(&chat)["ap-3"], before["ap-3"]);
    foghorn.stop().await;
}

/// How many posts the journal has, as SQLite sees it.
fn entries(dir: &Path) -> i64 {
    let database = rusqlite::Connection::open(dir.join("data/foghorn.db")).unwrap();
    let tables: i64 = database
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    let posts = || {
        database
            .query_row("SELECT count(*) FROM journal WHERE kind = 0", [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    if tables == 0 { 0 } else { posts() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cut_gives_all_that_came_before_the_cut() {
    let chat = Chat::start().await;
    let (dir, foghorn, reader) = with_all_in_its_log(&chat).await;
    for n in 0..5 {
        foghorn
            .post("device-events", json!([device_event("AP_DISCONNECTED", n)]))
            .await;
    }
    chat.wait_for(5).await;
    foghorn.kill();
    let dir = copy(dir.path());
    drop(reader);
    let log = dir.path().join("data/foghorn.db-wal");
    let bytes = std::fs::read(&log).unwrap();
    for (part, of) in [(9, 10), (1, 2)] {
        let dir = copy(dir.path());
        std::fs::write(
            dir.path().join("data/foghorn.db-wal"),
            &bytes[..bytes.len() * part / of],
        )
        .unwrap();
        let known = entries(dir.path());
        println!("{part} of {of} of the log: {known} posts are there");
        assert!(part < of - 1 || known >= 1, "most of the log is whole");
        let before = told(&chat);
        let foghorn = Foghorn::start_in(dir.path()).await;
        assert_eq!(entries(dir.path()), known, "what was there is still there");
        foghorn
            .post(
                "device-events",
                json!([device_event("AP_DISCONNECTED", 50 + part as u32)]),
            )
            .await;
        let new = devices(50 + part as u32..51 + part as u32);
        assert!(until_told(&chat, &new).await.is_empty());
        until_quiet(&foghorn).await;
        // A message whose settling was cut off is sent again; none is more than once.
        for (name, times) in told(&chat)
            .into_iter()
            .filter(|(name, _)| !new.contains(name))
        {
            let again = times - before.get(&name).copied().unwrap_or_default();
            assert!(again <= 1, "{name} was told {again} times more");
        }
        foghorn.stop().await;
    }
}
