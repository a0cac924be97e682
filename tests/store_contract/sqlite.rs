//! What only SQLite has: files, schemas, a log, retention.

use std::path::Path;
use std::time::Duration;

use foghorn::clock::Clock;
use foghorn::model::{
    EventId, EventOutcome, Name, OutcomeChange, Record, Seq, Timestamp, WaitsWith,
};
use foghorn::store::sqlite::{JournalReader, Sqlite};
use foghorn::store::{
    ActionResult, Archive, Attempt, DeliveryId, DeliveryState, Desk, Doc, Duty, Error, Journal,
    Leases, MessageFates, Next, Outbox, Reached, Recovered, Retention, Step, Steps, Totals,
};

use super::{Bench, World, attempt, every_case, message, post, row, step, suite};

/// A data folder.
struct Folder(tempfile::TempDir);

impl Bench for Folder {
    type Store = Sqlite;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self, clock: Clock) -> Sqlite {
        Sqlite::open(self.0.path(), clock, Retention::default()).unwrap()
    }
}

every_case!(Folder);

fn open(dir: &Path) -> Sqlite {
    Sqlite::open(dir, Clock::system(), Retention::default()).unwrap()
}

fn refused(dir: &Path) -> String {
    match Sqlite::open(dir, Clock::system(), Retention::default()) {
        Err(Error::Fatal(why)) => why,
        other => panic!("opened, or only for now: {other:?}"),
    }
}

async fn recover(store: &Sqlite) -> Recovered {
    let judge = store.acquire(Duty::Judge).await.unwrap();
    store.recover(&judge).await.unwrap()
}

/// Commits from where the cursor is.
async fn commit(store: &Sqlite, step: Step) -> Result<(), Error> {
    let judge = store.acquire(Duty::Judge).await.unwrap();
    let from = store.recover(&judge).await.unwrap().cursor;
    store.commit(&judge, from, step).await
}

async fn settle(store: &Sqlite, id: DeliveryId, attempt: Attempt) {
    let lane = store.acquire(Duty::Lane("ops".into())).await.unwrap();
    store.settle(&lane, id, attempt).await.unwrap();
}

async fn titles(store: &Sqlite, to: &str) -> Vec<String> {
    let queued = store
        .queued(&to.into(), DeliveryId(0), 10_000)
        .await
        .unwrap();
    queued
        .into_iter()
        .map(|delivery| delivery.message.title.clone())
        .collect()
}

#[tokio::test]
async fn a_reader_sees_what_is_stored_also_where_nobody_serves() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..3 {
        store.append(post(n.to_string())).await.unwrap();
    }
    let all = store.read(Seq(0), 9).await.unwrap();
    let entries = || {
        JournalReader::open(dir.path())
            .unwrap()
            .entries(Seq(0))
            .collect()
    };
    let read: Result<Vec<_>, _> = entries();
    assert_eq!(read.unwrap(), all);
    drop(store);
    let read: Result<Vec<_>, _> = entries();
    assert_eq!(read.unwrap(), all);
}

#[tokio::test]
async fn a_fault_within_a_step_leaves_nothing_of_it() {
    let store = World::<Folder>::new().await;
    let other = rusqlite::Connection::open(store.bench.0.path().join("foghorn.db")).unwrap();
    let first = Step {
        events: vec![row(1, Some(5))].into(),
        ..step(3, vec![message("a", &["ops"])])
    };
    store.commit(first).await.unwrap();
    for trigger in ["INSERT ON outbox WHEN new.dest = 'bad'", "UPDATE ON events"] {
        other
            .execute_batch(&format!(
                "CREATE TRIGGER t BEFORE {trigger} BEGIN SELECT RAISE(ABORT, 'no'); END"
            ))
            .unwrap();
        let bad = Step {
            snapshot: Some([1].into()),
            outcomes: vec![OutcomeChange {
                waits: WaitsWith::Alert(5),
                upto: EventId::LAST,
                outcome: EventOutcome::Notified,
                by: None,
            }],
            ..step(4, vec![message("c", &["ops"]), message("d", &["bad"])])
        };
        let before = store.last();
        let (failed, kept) = tokio::join!(store.commit(bad), store.append(post("{}")));
        assert!(matches!(failed, Err(Error::Transient(_))), "{failed:?}");
        let next = Seq(before.0 + 1);
        assert_eq!(kept.unwrap(), next, "another caller is not made to fail");
        assert_eq!(store.titles("ops").await, ["a"]);
        assert_eq!(store.outcomes().await, [(1, EventOutcome::Pending)]);
        let recovered = store.recover().await;
        assert_eq!((recovered.cursor, recovered.snapshot), (Seq(3), None));
        let totals = MessageFates {
            total: 1,
            queued: 1,
            ..MessageFates::default()
        };
        assert_eq!(store.totals_of(&"ops".into()).await.unwrap(), totals);
        other.execute_batch("DROP TRIGGER t").unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_lost_begins_anew() {
    let mut store = World::<Folder>::new().await;
    let docs = || {
        vec![Doc {
            id: row(1, None).id,
            words: vec!["ap".to_owned()],
        }]
    };
    let events = vec![row(1, None)].into();
    store
        .commit(Step {
            events,
            ..step(1, vec![])
        })
        .await
        .unwrap();
    store.index(docs(), row(1, None).id).await.unwrap();
    store.store = None;
    let text = b"not a database, and long enough to be read as one";
    std::fs::write(store.bench.0.path().join("search.db"), text).unwrap();
    store.reopen().await;
    assert_eq!(store.indexed(), EventId(0));
    store.index(docs(), row(1, None).id).await.unwrap();
    assert_eq!(store.indexed(), row(1, None).id);
}

#[tokio::test]
async fn older_snapshots_are_kept_some_way_apart_and_go_with_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let start = Timestamp::from_millis(1_700_000_000_000);
    let retention = Retention {
        age: Duration::from_secs(3_600),
        size: 64 << 20,
    };
    let store = Sqlite::open(dir.path(), Clock::pinned(start), retention).unwrap();
    for _ in 0..10 {
        store.append(post("{}")).await.unwrap();
    }
    let snapshot = |seq: u64, work: u64| Step {
        snapshot: Some(vec![u8::try_from(seq).unwrap(); 1 << 20].into()),
        reached: Reached {
            work,
            alert: seq * 10,
        },
        ..step(seq, vec![])
    };
    for (seq, work) in [
        (1, 100),
        (2, 20_000),
        (3, 39_999),
        (4, 60_000),
        (5, 90_000),
        (6, 120_000),
        (7, 150_000),
    ] {
        commit(&store, snapshot(seq, work)).await.unwrap();
    }
    let mark = async |entry, alert| {
        store
            .mark(Seq(entry), alert)
            .await
            .unwrap()
            .map(|mark| mark.seq.0)
    };
    let all = async || {
        let mut found = Vec::new();
        let mut before = 100;
        while let Some(seq) = mark(before, u64::MAX).await {
            (before, found) = (seq, [found, vec![seq]].concat());
        }
        found
    };
    assert_eq!(
        all().await,
        [7, 6, 5, 4, 2],
        "not those that are near to the one before"
    );
    assert_eq!(
        (
            mark(7, u64::MAX).await,
            mark(7, 60).await,
            mark(7, 20).await
        ),
        (Some(6), Some(5), None)
    );
    assert_eq!(
        store
            .mark(Seq(7), u64::MAX)
            .await
            .unwrap()
            .unwrap()
            .snapshot,
        vec![6; 1 << 20]
    );
    assert_eq!(
        recover(&store).await.snapshot.unwrap().0,
        Seq(7),
        "a restart takes the newest"
    );
    store.retain(start).await.unwrap();
    assert_eq!(all().await.len(), 4, "a sixteenth of the store at most");
    assert!(
        all().await.contains(&7) && all().await.contains(&2),
        "the ends stay"
    );
    let other = rusqlite::Connection::open(dir.path().join("foghorn.db")).unwrap();
    other
        .execute_batch("UPDATE marks SET crc = crc + 1 WHERE seq = 7")
        .unwrap();
    assert_eq!(mark(8, u64::MAX).await, None, "a damaged one is none");
    store
        .retain(start + Duration::from_secs(7_200))
        .await
        .unwrap();
    assert_eq!(store.read(Seq(0), 1).await.unwrap()[0].seq, Seq(8));
    let left = |sql: &str| {
        other
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let left = (
        left("SELECT count(*) FROM marks"),
        left("SELECT min(seq) FROM marks"),
    );
    assert_eq!(left, (1, 7), "what the journal does not follow is gone");
}

/// A data folder as an older release left it.
fn left_by_schema(version: u32, dir: &Path) {
    let old = match version {
        1 => include_str!("../fixtures/store/v1.sql"),
        _ => include_str!("../fixtures/store/v2.sql"),
    };
    rusqlite::Connection::open(dir.join("foghorn.db"))
        .unwrap()
        .execute_batch(old)
        .unwrap();
}

#[tokio::test]
async fn a_database_of_an_older_schema_is_taken_over_as_it_is() {
    // Schema; entries of the journal; messages delivered; events whose fate is known.
    for (version, entries, delivered, events) in [(1, 5, 1, 0), (2, 3, 2, 6)] {
        let dir = tempfile::tempdir().unwrap();
        left_by_schema(version, dir.path());
        let before = JournalReader::open(dir.path())
            .unwrap()
            .entries(Seq(0))
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        assert_eq!(before.len() as u64, entries);
        for round in 0..2 {
            let store = open(dir.path());
            assert_eq!(
                store.read(Seq(0), 100).await.unwrap(),
                before,
                "schema {version}: the journal is the same"
            );
            let recovered = recover(&store).await;
            assert_eq!(
                (recovered.cursor, recovered.snapshot.is_some()),
                (Seq(entries + round), true)
            );
            assert_eq!(
                store.totals_of(&"console".into()).await.unwrap().delivered,
                delivered
            );
            assert_eq!(
                store.count().await.unwrap(),
                events + round,
                "what became of events is kept from now on"
            );
            let next = entries + 1;
            commit(
                &store,
                Step {
                    events: vec![row(next, None)].into(),
                    ..step(next, vec![])
                },
            )
            .await
            .unwrap();
            assert_eq!(store.count().await.unwrap(), events + 1);
        }
    }
}

#[tokio::test]
async fn what_waited_in_an_older_schema_waits_on_and_is_found_by_its_short_name() {
    let dir = tempfile::tempdir().unwrap();
    left_by_schema(2, dir.path());
    // Later releases of that schema noted the status behind the reason.
    rusqlite::Connection::open(dir.path().join("foghorn.db"))
        .unwrap()
        .execute_batch(
            "INSERT INTO attempts VALUES (2, 2, 1795495334376, 0, 'asked to wait 30 s (HTTP 429)');
             UPDATE attempts SET why = '200 ok' WHERE delivery = 1",
        )
        .unwrap();
    let (store, gone) = (open(dir.path()), Name::new("gone"));
    assert_eq!(titles(&store, "gone").await, ["3 APs are offline at Home"]);
    assert_eq!(
        store.again("f2m59x", vec![gone.clone()]).await.unwrap(),
        ActionResult::OtherState(DeliveryState::Queued)
    );
    let sent = store.sent(vec![1]).await.unwrap();
    let statuses: Vec<Vec<_>> = sent
        .iter()
        .map(|sent| sent.attempts.iter().map(|row| row.status).collect())
        .collect();
    assert_eq!(
        statuses,
        [vec![Some(200)], vec![Some(404), Some(429)]],
        "the status is read out of what was noted then"
    );
    let console = Name::new("console");
    assert_eq!(
        store.again("f2m59x", vec![console.clone()]).await.unwrap(),
        ActionResult::Done(vec![(console, DeliveryId(4))]),
        "it is sent once more, although the release that made it did not know how"
    );
    assert_eq!(
        store.totals_of(&gone).await.unwrap(),
        MessageFates {
            total: 1,
            queued: 1,
            ..MessageFates::default()
        }
    );
}

#[tokio::test]
async fn a_second_process_is_refused_by_name_and_the_folder_is_free_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let why = refused(dir.path());
    assert!(
        why.ends_with(&format!("is in use by process {}", std::process::id())),
        "{why}"
    );
    drop(store);
    open(dir.path());
}

#[tokio::test]
async fn a_vanished_emptied_foreign_or_newer_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("foghorn.db");
    drop(open(dir.path()));
    rusqlite::Connection::open(&database)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(refused(dir.path()).contains("newer Foghorn"));
    std::fs::write(&database, b"").unwrap();
    assert!(refused(dir.path()).contains("missing or empty"));
    std::fs::remove_file(&database).unwrap();
    assert!(refused(dir.path()).contains("missing or empty"));
    std::fs::write(&database, vec![b'x'; 8_192]).unwrap();
    assert!(refused(dir.path()).contains("damaged or not a database"));
    std::fs::remove_file(&database).unwrap();
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    assert!(refused(dir.path()).contains("not a Foghorn database"));
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(refused(&file).contains("cannot make it"));
}

#[tokio::test]
async fn a_damaged_or_missing_entry_is_named_not_returned() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("foghorn.db");
    let spoil = |sql: &str| {
        rusqlite::Connection::open(&database)
            .unwrap()
            .execute_batch(sql)
            .unwrap()
    };
    {
        let store = open(dir.path());
        for n in 0..4 {
            store.append(post(format!("{{\"n\":{n}}}"))).await.unwrap();
        }
        commit(&store, step(1, vec![message("a", &["ops"])]))
            .await
            .unwrap();
    }
    spoil(
        "UPDATE journal SET body = x'7b226e223a377d' WHERE seq = 2; UPDATE outbox SET body = x'7b7d'",
    );
    {
        let store = open(dir.path());
        let error = store.read(Seq(0), 10).await.unwrap_err();
        assert!(
            matches!(&error, Error::Fatal(why) if why.contains("entry 2 has a wrong checksum")),
            "{error}"
        );
        assert_eq!(store.read(Seq(2), 10).await.unwrap().len(), 2);
        assert!(
            store
                .queued(&"ops".into(), DeliveryId(0), 9)
                .await
                .unwrap()
                .is_empty()
        );
        let fates = MessageFates {
            total: 1,
            dead: 1,
            ..MessageFates::default()
        };
        assert_eq!(
            store.totals_of(&"ops".into()).await.unwrap(),
            fates,
            "a damaged message holds up no other, and is counted"
        );
    }
    spoil("DELETE FROM journal WHERE seq = 3");
    assert!(
        JournalReader::open(dir.path())
            .unwrap()
            .read(Seq(1), 10)
            .is_err()
    );
    spoil("DELETE FROM journal WHERE seq = 4");
    assert!(refused(dir.path()).contains("journal ends at 2, not at 4"));
}

#[tokio::test]
async fn retention_removes_what_is_old_or_too_much_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let age = Duration::from_secs(3_600);
    let start = Timestamp::from_millis(1_700_000_000_000);
    let store = Sqlite::open(
        dir.path(),
        Clock::pinned(start),
        Retention {
            age,
            size: u64::MAX,
        },
    )
    .unwrap();
    for _ in 0..2_500 {
        store.append(post("x".repeat(2_000))).await.unwrap();
    }
    commit(
        &store,
        step(
            10,
            ["a", "b", "c"]
                .map(|title| message(title, &["ops"]))
                .to_vec(),
        ),
    )
    .await
    .unwrap();
    settle(&store, DeliveryId(1), attempt(start, Next::Delivered)).await;
    settle(&store, DeliveryId(2), attempt(start, Next::Dead)).await;
    let later = start + age + age;
    let first = async |store: &Sqlite| store.read(Seq(0), 1).await.unwrap()[0].seq;

    store.retain(start + age).await.unwrap();
    assert_eq!(
        (
            first(&store).await,
            store.dead_letters(9).await.unwrap().len()
        ),
        (Seq(1), 1),
        "nothing is old yet"
    );
    store.retain(later).await.unwrap();
    assert_eq!(
        first(&store).await,
        Seq(1),
        "without a snapshot every entry is needed"
    );
    assert_eq!(
        (
            titles(&store, "ops").await,
            store.dead_letters(9).await.unwrap().len()
        ),
        (vec!["c".to_owned()], 0)
    );
    commit(
        &store,
        Step {
            snapshot: Some([].into()),
            seen: vec![1],
            ..step(2_000, vec![])
        },
    )
    .await
    .unwrap();
    store.retain(later).await.unwrap();
    assert_eq!(first(&store).await, Seq(2_001));
    drop(store);

    let small = Retention { age, size: 1 };
    let store = Sqlite::open(dir.path(), Clock::pinned(start), small).unwrap();
    commit(
        &store,
        Step {
            snapshot: Some([].into()),
            ..step(2_500, vec![message("d", &["ops"])])
        },
    )
    .await
    .unwrap();
    settle(&store, DeliveryId(3), attempt(start, Next::Dead)).await;
    store.retain(start).await.unwrap();
    assert_eq!(first(&store).await, Seq(2_500), "the newest entry stays");
    assert_eq!(
        (
            titles(&store, "ops").await,
            store.dead_letters(9).await.unwrap().len()
        ),
        (vec!["d".to_owned()], 1)
    );
    assert_eq!(recover(&store).await.seen, [[1]]);
    assert_eq!(
        store.append(Record::Tick).await.unwrap(),
        Seq(2_501),
        "numbers are not used again"
    );
    drop(store);
    let size = std::fs::metadata(dir.path().join("foghorn.db"))
        .unwrap()
        .len();
    assert!(
        size < (5 << 20) + 16 * 8_192,
        "the file shrank to its 4 MiB reserve: {size}"
    );
}

/// How many bytes these files of a folder take.
fn bytes(dir: &Path, name: &str) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    files
        .filter(|file| file.file_name().to_string_lossy().contains(name))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_beside_a_writer_that_never_pauses_and_all_files_within_retention() {
    const SIZE: u64 = 32 << 20;
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        age: Duration::from_secs(86_400),
        size: SIZE,
    };
    let store = Sqlite::open(dir.path(), Clock::system(), retention).unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    store.append(post("x".repeat(30_000))).await.unwrap();
                }
            })
        })
        .collect();
    let mut longest = 0;
    while !callers.iter().all(tokio::task::JoinHandle::is_finished) {
        longest = longest.max(bytes(dir.path(), "foghorn.db-wal"));
        tokio::task::yield_now().await;
    }
    println!("a log of {} MiB at most", longest >> 20);
    assert!(longest <= 16 << 20, "{longest}");
    let last = store.last();
    // What the search takes is room as well.
    for n in 0..20_i64 {
        let words = |id: i64| {
            (0..20)
                .map(|word| format!("{:x}", (id * 20 + word) * 7_919))
                .collect()
        };
        let docs = (n * 1_000 + 1..=n * 1_000 + 1_000)
            .map(|id| Doc {
                id: EventId(id),
                words: words(id),
            })
            .collect();
        store.index(docs, EventId(n * 1_000 + 1_000)).await.unwrap();
    }
    let beside = bytes(dir.path(), "search");
    commit(
        &store,
        Step {
            snapshot: Some([].into()),
            ..step(last.0, vec![])
        },
    )
    .await
    .unwrap();
    store.retain(Timestamp::from_millis(0)).await.unwrap();
    drop(store);
    let all = bytes(dir.path(), "");
    println!(
        "{} MiB of {}, {} of them the search's",
        all >> 20,
        SIZE >> 20,
        beside >> 20
    );
    assert!(
        beside > 4 << 20,
        "the search is big enough to matter: {beside}"
    );
    assert!(all <= SIZE * 5 / 4, "{all}");
}

/// Run by hand on a small file system: `FULL=/mnt/2m cargo test --test store_contract -- --ignored
/// full_disk`.
#[tokio::test]
#[ignore = "needs a file system of a few MiB in FULL"]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let Some(full) = std::env::var_os("FULL") else {
        return;
    };
    let dir = Path::new(&full).join("data");
    let ballast = Path::new(&full).join("ballast");
    std::fs::write(&ballast, vec![0; 512 << 10]).unwrap();
    let store = open(&dir);
    let mut taken = 0;
    let error = loop {
        match store.append(post("x".repeat(10_000))).await {
            Ok(seq) => taken = seq.0,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::Transient(_)), "{error}");
    assert!(matches!(
        store.append(post("x".repeat(100_000))).await,
        Err(Error::Transient(_))
    ));
    assert_eq!(
        store.read(Seq(taken - 1), 9).await.unwrap().len(),
        1,
        "reading still works"
    );
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(store.append(post("{}")).await.unwrap(), Seq(taken + 1));
    drop(store);
    assert_eq!(open(&dir).last(), Seq(taken + 1));
}

/// Run by hand: `cargo test --release --test store_contract -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)]
async fn appends_per_second_from_64_callers() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = open(dir.path());
    for size in [1_000, 10_000] {
        let start = std::time::Instant::now();
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..300 {
                        store.append(post("x".repeat(size))).await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        println!(
            "{size} B: {:.0} appends/s",
            64.0 * 300.0 / start.elapsed().as_secs_f64()
        );
    }
    let start = std::time::Instant::now();
    commit(
        &store,
        step(
            9,
            (0..500)
                .map(|n| message(&n.to_string(), &["ops"]))
                .collect(),
        ),
    )
    .await
    .unwrap();
    println!("a step of 500 messages: {:?}", start.elapsed());
}
