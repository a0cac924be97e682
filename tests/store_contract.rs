//! What every store promises, in cases. SQLite is the one there is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use foghorn::clock::Clock;
use foghorn::model::{
    Message, Name, Notification, Reason, Record, RulesRecord, Seq, Severity, Silence, Timestamp,
    Until,
};
use foghorn::store::{
    Act, Acted, Acts, Attempt, AttemptRow, DeliveryId, DeliveryState, Error, MessageFates, Next,
    Outgoing, Reached, Reader, Retention, Sqlite, Step, Store,
};
use foghorn::store::{
    Doc, EventFate, EventId, EventRow, FateChange, Past, RowQuery, Term, WaitsWith, Wanted,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn open(dir: &Path) -> Sqlite {
    Sqlite::open(dir, Clock::system(), Retention::default()).unwrap()
}

fn refused(dir: &Path) -> String {
    match Sqlite::open(dir, Clock::system(), Retention::default()) {
        Err(Error::Fatal(why)) => why,
        other => panic!("opened, or only for now: {other:?}"),
    }
}

fn post(body: impl Into<String>) -> Record {
    Record::Post {
        source: "mist".into(),
        body: body.into().into(),
    }
}

fn message(incident: &str, to: &[&str]) -> Message {
    let about = Notification {
        id: incident.to_owned(),
        at: Timestamp::EPOCH,
        to: to.iter().copied().map(Name::new).collect(),
        source: "mist".into(),
        rule: "devices".into(),
        template: None,
        reason: Reason::First,
        incident: incident.to_owned(),
        severity: Severity::Warning,
        topic: "alarms".into(),
        kind: "device_down".into(),
        condition: None,
        group: vec![],
        subjects: vec![],
        firing: 1,
        more: 0,
        more_since: 0,
        started: Timestamp::EPOCH,
        duration_ms: None,
        why: None,
        detail: None,
        event: serde_json::Value::Null,
        insight: Default::default(),
        collected: None,
    };
    Message {
        title: incident.to_owned(),
        text: String::new(),
        facts: vec![],
        links: vec![],
        about,
        folded: vec![],
    }
}

fn outgoing(messages: impl IntoIterator<Item = (Message, Vec<u64>)>) -> Arc<Vec<Outgoing>> {
    let one = |(message, alerts)| Outgoing { message, alerts };
    Arc::new(messages.into_iter().map(one).collect())
}

fn step(seq: u64, messages: Vec<Message>) -> Step {
    Step {
        seq: Seq(seq),
        outgoing: outgoing(messages.into_iter().map(|message| (message, vec![]))),
        at: Timestamp::from_millis(1_000),
        ..Step::default()
    }
}

/// An attempt that led to this.
fn attempt(at: Timestamp, next: Next) -> Attempt {
    Attempt {
        at,
        status: Some(410),
        reply: "gone".to_owned(),
        next,
    }
}

async fn titles(store: &Sqlite, to: &str) -> Vec<String> {
    let queued = store
        .queued(&to.into(), DeliveryId(0), 10_000)
        .await
        .unwrap();
    queued
        .into_iter()
        .map(|delivery| delivery.message.title)
        .collect()
}

#[tokio::test]
async fn every_record_is_there_after_a_restart_in_order_and_time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rules = RulesRecord {
        text: "rules: []".into(),
        destinations: vec![("ops".into(), Severity::Critical)],
        start: false,
    };
    let silence = |id: &str, until| Silence {
        id: id.into(),
        matches: serde_json::json!({"site": ["Home", "Büro"], "not": {"device": "sw-*"}}),
        until,
        author: "anna".into(),
        comment: "WAN \"work\"".into(),
        created: Timestamp::from_millis(7),
    };
    let records = [
        post("{}"),
        Record::Tick,
        Record::Rules(rules),
        Record::Clock { offset_ms: -7 },
        Record::Silence(silence("a", Until::At(Timestamp::from_millis(9)))),
        Record::Silence(silence("b", Until::Resolved)),
        Record::Expire {
            id: "a".into(),
            author: "b".into(),
        },
    ];
    {
        let store = open(dir.path());
        for (n, record) in records.iter().enumerate() {
            assert_eq!(
                store.append(record.clone()).await.unwrap(),
                Seq(n as u64 + 1)
            );
        }
    }
    // The wall clock was set back to 1970 meanwhile.
    let store = Sqlite::open(
        dir.path(),
        Clock::pinned(Timestamp::EPOCH),
        Retention::default(),
    )
    .unwrap();
    assert_eq!(store.append(Record::Tick).await.unwrap(), Seq(8));
    let read = store.read(Seq(0), 100).await.unwrap();
    assert_eq!(
        read.iter()
            .map(|e| e.record.clone())
            .take(7)
            .collect::<Vec<_>>(),
        records
    );
    assert!(
        read.windows(2)
            .all(|pair| pair[0].at <= pair[1].at && pair[0].seq.0 + 1 == pair[1].seq.0)
    );
    assert_eq!(store.read(Seq(3), 1).await.unwrap()[0].seq, Seq(4));
    assert_eq!(*store.appended().borrow(), Seq(8));

    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        reader
            .entries(Seq(0))
            .collect::<Result<Vec<_>, _>>()
            .unwrap(),
        read
    );
    drop((store, reader));
    assert_eq!(
        Reader::open(dir.path()).unwrap().entries(Seq(0)).count(),
        8,
        "also where nobody serves"
    );
}

/// A row of the first event of an entry; it waits with an alert when that is named.
fn row(seq: u64, waits: Option<u64>) -> EventRow {
    EventRow {
        id: EventId::new(Seq(seq), 1),
        received: Timestamp::from_millis(1_000),
        fate: if waits.is_some() {
            EventFate::Pending
        } else {
            EventFate::Unmatched
        },
        waits: waits.map(WaitsWith::Alert),
        rules: vec!["a rule, odd\"'".into(), "another".into()],
        alerts: waits.into_iter().collect(),
        told: vec![],
    }
}

fn query(fate: Option<Wanted>, terms: Vec<Term>) -> RowQuery {
    RowQuery {
        before: EventId::LAST,
        after: EventId(-1),
        limit: 10_000,
        terms,
        fate,
    }
}

async fn fates(store: &Sqlite) -> Vec<(u64, EventFate)> {
    let rows = store.rows(query(None, vec![])).await.unwrap().rows;
    rows.into_iter()
        .rev()
        .map(|row| (row.id.seq().0, row.fate))
        .collect()
}

#[tokio::test]
async fn rows_come_with_their_step_and_a_refold_changes_none() {
    let dir = tempfile::tempdir().unwrap();
    let change = |alert, upto, fate| FateChange {
        waits: WaitsWith::Alert(alert),
        upto: EventId::new(Seq(upto), 1),
        fate,
        by: None,
    };
    let first = Step {
        events: vec![row(1, Some(5)), row(2, None), row(3, Some(6))].into(),
        ..step(3, vec![])
    };
    let second = Step {
        events: vec![row(4, Some(5))].into(),
        fates: vec![
            change(5, 3, EventFate::Told),
            change(6, 3, EventFate::Suppressed("inhibited".into())),
        ],
        outgoing: outgoing([(message("a", &["ops", "boss"]), vec![5])]),
        ..step(4, vec![])
    };
    {
        let store = open(dir.path());
        store.commit(first.clone()).await.unwrap();
        assert_eq!(
            store.row(row(3, None).id).await.unwrap(),
            Some(row(3, Some(6)))
        );
        // A fault in the second step: nothing of it is there.
        let other = rusqlite::Connection::open(dir.path().join("foghorn.db")).unwrap();
        other
            .execute_batch(
                "CREATE TRIGGER t BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
            )
            .unwrap();
        assert!(matches!(
            store.commit(second.clone()).await,
            Err(Error::Transient(_))
        ));
        assert_eq!(fates(&store).await.len(), 3);
        other.execute_batch("DROP TRIGGER t").unwrap();
        store.commit(second.clone()).await.unwrap();
    }
    let store = open(dir.path());
    let kept = [
        (1, EventFate::Told),
        (2, EventFate::Unmatched),
        (3, EventFate::Suppressed("inhibited".into())),
        (4, EventFate::Pending),
    ];
    assert_eq!(fates(&store).await, kept);
    for again in [first, second] {
        store.commit(again).await.unwrap();
    }
    assert_eq!(fates(&store).await, kept, "a refold changes nothing");
    let wanted = |fate| query(Some(fate), vec![]);
    for (fate, found) in [
        (Wanted::Suppressed, 1),
        (
            Wanted::Exactly(EventFate::Suppressed("inhibited".into())),
            1,
        ),
        (Wanted::Exactly(EventFate::Suppressed("muted".into())), 0),
        (Wanted::Exactly(EventFate::Told), 1),
    ] {
        assert_eq!(store.rows(wanted(fate)).await.unwrap().rows.len(), found);
    }
    let sent = store.sent(vec![5]).await.unwrap();
    assert_eq!(
        sent.iter()
            .map(|sent| (sent.to.as_str(), sent.state))
            .collect::<Vec<_>>(),
        [
            ("ops", DeliveryState::Queued),
            ("boss", DeliveryState::Queued)
        ]
    );
    assert!(store.sent(vec![6]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_is_credited_with_what_it_told_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let one: Arc<str> = "a rule, odd\"'".into();
    let told = EventRow {
        fate: EventFate::Told,
        told: vec![one.clone()],
        ..row(1, None)
    };
    let change = FateChange {
        waits: WaitsWith::Alert(5),
        upto: row(2, None).id,
        fate: EventFate::Told,
        by: Some("another".into()),
    };
    store
        .commit(Step {
            events: vec![told, row(2, Some(5))].into(),
            ..step(2, vec![])
        })
        .await
        .unwrap();
    let noise = store.noise(Timestamp::EPOCH, 60_000).await.unwrap();
    assert_eq!(
        noise.rules,
        [(one.to_string(), 1, 0), ("another".to_owned(), 0, 1)],
        "what is pending is not counted"
    );
    store
        .commit(Step {
            events: vec![row(3, None)].into(),
            fates: vec![change],
            ..step(3, vec![])
        })
        .await
        .unwrap();
    // As an older release left it: who told is not known.
    let old = EventRow {
        fate: EventFate::Told,
        ..row(4, None)
    };
    store
        .commit(Step {
            events: vec![old].into(),
            ..step(4, vec![])
        })
        .await
        .unwrap();
    let noise = store.noise(Timestamp::EPOCH, 60_000).await.unwrap();
    assert_eq!(
        noise.rules,
        [(one.to_string(), 2, 2), ("another".to_owned(), 2, 2)]
    );
    assert_eq!(
        noise
            .spans
            .iter()
            .map(|(_, told, quiet)| (*told, *quiet))
            .collect::<Vec<_>>(),
        [(3, 1)]
    );
    let by = async |rule: &str| {
        let rows = store
            .rows(query(Some(Wanted::ToldBy(rule.to_owned())), vec![]))
            .await
            .unwrap()
            .rows;
        rows.iter().map(|row| row.id.seq().0).collect::<Vec<_>>()
    };
    assert_eq!(
        (by("ANOTHER").await, by(&one).await, by("third").await),
        (vec![4, 2], vec![4, 1], vec![4])
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        store.row(row(2, None).id).await.unwrap().unwrap().told,
        ["another".into()],
        "it is kept"
    );
    assert_eq!(
        store.noise(Timestamp::EPOCH, 60_000).await.unwrap(),
        noise,
        "counted anew it is the same"
    );
    let later = Timestamp::from_millis(60_000);
    assert_eq!(
        store.noise(later, 60_000).await.unwrap(),
        foghorn::store::Noise::default(),
        "nothing came since"
    );
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
        store.commit(snapshot(seq, work)).await.unwrap();
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
        store.recover().await.unwrap().snapshot.unwrap().0,
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

#[tokio::test]
async fn a_floods_rows_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rows: Vec<EventRow> = (1..=3_500).map(|seq| row(seq, None)).collect();
    store
        .commit(Step {
            events: rows.into(),
            ..step(3_500, vec![])
        })
        .await
        .unwrap();
    assert_eq!(
        (store.count().await.unwrap(), fates(&store).await.len()),
        (3_500, 3_500)
    );
}

#[tokio::test]
async fn events_are_found_by_words_and_an_index_that_is_lost_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let docs = || {
        vec![
            Doc {
                id: row(1, None).id,
                words: words(&["ap", "kitchen", "\u{e000}t01"]),
            },
            Doc {
                id: row(3, None).id,
                words: words(&["ap", "küche", "near", "not"]),
            },
        ]
    };
    {
        let store = open(dir.path());
        let events = vec![row(1, None), row(2, None), row(3, None)].into();
        store
            .commit(Step {
                events,
                ..step(3, vec![])
            })
            .await
            .unwrap();
        store.index(docs(), row(3, None).id).await.unwrap();
        let found = async |terms: &[Term]| {
            let rows = store.rows(query(None, terms.to_vec())).await.unwrap().rows;
            rows.iter().map(|row| row.id.seq().0).collect::<Vec<_>>()
        };
        let begins = |word: &str| Term::Begins(word.to_owned());
        assert_eq!(found(&[begins("a")]).await, [3, 1]);
        assert_eq!(found(&[begins("ap"), begins("kü")]).await, [3]);
        assert_eq!(found(&[Term::Is("\u{e000}t01".to_owned())]).await, [1]);
        assert_eq!(
            found(&[begins("near"), begins("not")]).await,
            [3],
            "its words are nobody's language"
        );
        assert_eq!(found(&[Term::Is("k".to_owned())]).await, Vec::<u64>::new());
    }
    std::fs::write(
        dir.path().join("search.db"),
        b"not a database, and long enough to be read as one",
    )
    .unwrap();
    let store = open(dir.path());
    assert_eq!(store.indexed(), EventId(0));
    store.index(docs(), row(3, None).id).await.unwrap();
    assert_eq!(store.indexed(), row(3, None).id);
}

/// A data folder as an older release left it.
fn left_by_schema(version: u32, dir: &Path) {
    let old = match version {
        1 => include_str!("fixtures/store/v1.sql"),
        _ => include_str!("fixtures/store/v2.sql"),
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
        let before = Reader::open(dir.path())
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
            let recovered = store.recover().await.unwrap();
            assert_eq!(
                (recovered.cursor, recovered.snapshot.is_some()),
                (Seq(entries + round), true)
            );
            assert_eq!(store.fates_of(&"console".into()).delivered, delivered);
            assert_eq!(
                store.count().await.unwrap(),
                events + round,
                "what became of events is kept from now on"
            );
            let next = entries + 1;
            store
                .commit(Step {
                    events: vec![row(next, None)].into(),
                    ..step(next, vec![])
                })
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
        Acted::Stands(DeliveryState::Queued)
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
        Acted::Done(vec![(console, DeliveryId(4))]),
        "it is sent once more, although the release that made it did not know how"
    );
    assert_eq!(
        store.fates_of(&gone),
        MessageFates {
            total: 1,
            queued: 1,
            ..MessageFates::default()
        }
    );
}

#[tokio::test]
async fn a_read_stops_past_four_mebibytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..7 {
        store.append(post("x".repeat(1 << 20))).await.unwrap();
    }
    assert_eq!(store.read(Seq(0), 100).await.unwrap().len(), 5);
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
    assert!(refused(dir.path()).contains("damaged or no database"));
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
        store
            .commit(step(1, vec![message("a", &["ops"])]))
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
            store.fates_of(&"ops".into()),
            fates,
            "a damaged message holds up no other, and is counted"
        );
    }
    spoil("DELETE FROM journal WHERE seq = 3");
    assert!(Reader::open(dir.path()).unwrap().read(Seq(1), 10).is_err());
    spoil("DELETE FROM journal WHERE seq = 4");
    assert!(refused(dir.path()).contains("journal ends at 2, not at 4"));
}

#[tokio::test]
async fn a_step_is_all_or_nothing_and_makes_its_messages_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit(step(
            3,
            vec![message("a", &["ops", "boss"]), message("b", &["ops"])],
        ))
        .await
        .unwrap();
    for late in [2, 3] {
        store
            .commit(step(late, vec![message("again", &["ops"])]))
            .await
            .unwrap();
    }
    assert_eq!(titles(&store, "ops").await, ["a", "b"]);
    assert_eq!(*store.outbox().borrow(), DeliveryId(3));
    assert_eq!(store.recover().await.unwrap().cursor, Seq(3));

    // A fault in the middle of a step: a trigger that refuses its second message.
    let other = rusqlite::Connection::open(dir.path().join("foghorn.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON outbox WHEN new.dest = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    let bad = Step {
        snapshot: Some([1].into()),
        ..step(4, vec![message("c", &["ops"]), message("d", &["bad"])])
    };
    let (failed, kept) = tokio::join!(store.commit(bad), store.append(post("{}")));
    assert!(matches!(failed, Err(Error::Transient(_))));
    assert_eq!(kept.unwrap(), Seq(1), "another caller is not made to fail");
    assert_eq!(titles(&store, "ops").await, ["a", "b"]);
    let recovered = store.recover().await.unwrap();
    assert_eq!((recovered.cursor, recovered.snapshot), (Seq(3), None));
    assert_eq!(
        store.fates_of(&"ops".into()),
        MessageFates {
            total: 2,
            queued: 2,
            ..MessageFates::default()
        }
    );
}

#[tokio::test]
async fn recovery_gives_the_memory_the_snapshot_had() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let at = Timestamp::from_millis;
    let block = |seq: u64, snapshot: Option<&[u8]>, until: Option<i64>| Step {
        seen: vec![seq as u8],
        seen_until: until.map(at),
        snapshot: snapshot.map(Into::into),
        at: at(seq as i64 * 10),
        ..step(seq, vec![])
    };
    store.commit(block(1, None, None)).await.unwrap();
    store.commit(block(2, Some(b"two"), None)).await.unwrap();
    store.commit(block(3, None, Some(10))).await.unwrap();
    drop(store);
    let store = open(dir.path());
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.snapshot, Some((Seq(2), b"two".to_vec())));
    assert_eq!(
        recovered.seen,
        [[1], [2]],
        "neither what came after the snapshot, nor less than it had"
    );
    store
        .commit(block(4, Some(b"four"), Some(10)))
        .await
        .unwrap();
    store.commit(block(2, Some(b"old"), None)).await.unwrap();
    let recovered = store.recover().await.unwrap();
    assert_eq!(
        (recovered.cursor, recovered.snapshot),
        (Seq(4), Some((Seq(4), b"four".to_vec())))
    );
    assert_eq!(
        recovered.seen,
        [[2], [4]],
        "the block of step 3 went with the first recovery"
    );
}

#[tokio::test]
async fn settling_and_folding_move_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ops = Name::new("ops");
    store
        .commit(step(
            1,
            ["a", "b", "c", "d"]
                .map(|title| message(title, &["ops"]))
                .to_vec(),
        ))
        .await
        .unwrap();
    let at = Timestamp::from_millis(5);
    let again = Next::Again {
        due: Timestamp::from_millis(9),
        plain: true,
    };
    store
        .settle(DeliveryId(1), attempt(at, again))
        .await
        .unwrap();
    let tried = store
        .queued(&ops, DeliveryId(0), 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (
            tried.attempts,
            tried.first_try,
            tried.due.millis(),
            tried.plain
        ),
        (1, Some(at), 9, true)
    );
    for _ in 0..2 {
        store
            .settle(DeliveryId(2), attempt(at, Next::Delivered))
            .await
            .unwrap();
        store
            .settle(DeliveryId(1), attempt(at, Next::Dead))
            .await
            .unwrap();
        store
            .fold(
                &ops,
                vec![DeliveryId(2), DeliveryId(3), DeliveryId(4)],
                vec![message("digest", &["ops"])],
                at,
            )
            .await
            .unwrap();
    }
    store.enqueue(message("own", &["ops"]), at).await.unwrap();
    assert_eq!(titles(&store, "ops").await, ["digest", "own"]);
    assert_eq!(
        store.fates_of(&ops),
        MessageFates {
            total: 6,
            delivered: 1,
            digested: 2,
            dead: 1,
            queued: 2,
            ..MessageFates::default()
        }
    );
    drop(store);
    let store = open(dir.path());
    let dead = store.dead_letters(9).await.unwrap();
    assert_eq!(
        (
            dead.len(),
            dead[0].why.as_str(),
            dead[0].delivery.message.title.as_str()
        ),
        (1, "gone", "a")
    );
    assert_eq!(
        store.fates_of(&ops),
        MessageFates {
            total: 6,
            delivered: 1,
            digested: 2,
            dead: 1,
            queued: 2,
            ..MessageFates::default()
        }
    );
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
    store
        .commit(step(
            10,
            ["a", "b", "c"]
                .map(|title| message(title, &["ops"]))
                .to_vec(),
        ))
        .await
        .unwrap();
    store
        .settle(DeliveryId(1), attempt(start, Next::Delivered))
        .await
        .unwrap();
    store
        .settle(DeliveryId(2), attempt(start, Next::Dead))
        .await
        .unwrap();
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
    store
        .commit(Step {
            snapshot: Some([].into()),
            seen: vec![1],
            ..step(2_000, vec![])
        })
        .await
        .unwrap();
    store.retain(later).await.unwrap();
    assert_eq!(first(&store).await, Seq(2_001));
    drop(store);

    let small = Retention { age, size: 1 };
    let store = Sqlite::open(dir.path(), Clock::pinned(start), small).unwrap();
    store
        .commit(Step {
            snapshot: Some([].into()),
            ..step(2_500, vec![message("d", &["ops"])])
        })
        .await
        .unwrap();
    store
        .settle(DeliveryId(3), attempt(start, Next::Dead))
        .await
        .unwrap();
    store.retain(start).await.unwrap();
    assert_eq!(first(&store).await, Seq(2_500), "the newest entry stays");
    assert_eq!(
        (
            titles(&store, "ops").await,
            store.dead_letters(9).await.unwrap().len()
        ),
        (vec!["d".to_owned()], 1)
    );
    assert_eq!(store.recover().await.unwrap().seen, [[1]]);
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
        size < (5 << 20) + 8 * 8_192,
        "the file shrank to its 4 MiB reserve: {size}"
    );
}

#[tokio::test]
async fn a_dead_letter_is_sent_again_or_put_away_once_and_a_message_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (ops, at) = (Name::new("ops"), Timestamp::from_millis(5));
    let told = Step {
        outgoing: outgoing(
            [("a", 7), ("b", 7), ("c", 8)].map(|(t, alert)| (message(t, &["ops"]), vec![alert])),
        ),
        ..step(1, vec![])
    };
    store.commit(told).await.unwrap();
    for id in 1..=3 {
        let again = Next::Again {
            due: at,
            plain: true,
        };
        store
            .settle(DeliveryId(id), attempt(at, again))
            .await
            .unwrap();
        store
            .settle(DeliveryId(id), attempt(at, Next::Dead))
            .await
            .unwrap();
    }
    let mut outbox = store.outbox();
    outbox.mark_unchanged();
    let done = |id| Acted::Done(vec![(ops.clone(), DeliveryId(id))]);
    assert_eq!(
        store.act(Act::Resend, DeliveryId(1)).await.unwrap(),
        done(4)
    );
    assert!(outbox.has_changed().unwrap(), "who sends wakes");
    assert_eq!(
        store.act(Act::Discard, DeliveryId(2)).await.unwrap(),
        done(2)
    );
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = open(dir.path());
        }
        assert_eq!(
            store.act(Act::Resend, DeliveryId(1)).await.unwrap(),
            Acted::Missing
        );
        assert_eq!(
            store.act(Act::Resend, DeliveryId(4)).await.unwrap(),
            Acted::Stands(DeliveryState::Queued)
        );
        assert_eq!(
            store.act(Act::Resend, DeliveryId(2)).await.unwrap(),
            Acted::Stands(DeliveryState::Discarded)
        );
        assert_eq!(
            store.act(Act::Discard, DeliveryId(99)).await.unwrap(),
            Acted::Missing
        );
        let fates = MessageFates {
            total: 3,
            queued: 1,
            dead: 1,
            discarded: 1,
            ..MessageFates::default()
        };
        assert_eq!(store.fates_of(&ops), fates);
    }
    let queued = store
        .queued(&ops, DeliveryId(3), 9)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (queued.attempts, queued.first_try, queued.plain),
        (2, None, false),
        "its tries stay, its time begins anew"
    );
    let sent = store.sent(vec![7]).await.unwrap();
    let states: Vec<_> = sent
        .iter()
        .map(|s| (s.state, s.message.title.as_str(), s.attempts.len()))
        .collect();
    assert_eq!(
        states,
        [
            (DeliveryState::Discarded, "b", 2),
            (DeliveryState::Queued, "a", 2)
        ],
        "it is found with its tries"
    );
    let rows = [DeliveryState::Queued, DeliveryState::Dead].map(|state| AttemptRow {
        at,
        state,
        status: Some(410),
        reply: Some("gone".to_owned()),
    });
    assert_eq!(sent[0].attempts, rows);

    let again = async |name: &str, to: &[&str]| {
        store
            .again(name, to.iter().map(|to| Name::new(to)).collect())
            .await
            .unwrap()
    };
    assert_eq!(
        again("a", &["ops"]).await,
        Acted::Stands(DeliveryState::Queued)
    );
    assert_eq!(again("z", &["ops"]).await, Acted::Missing);
    assert_eq!(again("b", &["boss"]).await, Acted::Elsewhere);
    assert_eq!(again("b", &["ops", "boss"]).await, done(5));
    assert_eq!(
        again("b", &["ops"]).await,
        Acted::Stands(DeliveryState::Queued)
    );
    let sent = store.sent(vec![7]).await.unwrap();
    assert_eq!(
        sent.iter()
            .map(|s| (s.state, s.attempts.len()))
            .collect::<Vec<_>>(),
        [
            (DeliveryState::Discarded, 2),
            (DeliveryState::Queued, 2),
            (DeliveryState::Queued, 0)
        ]
    );
    assert_eq!(
        store.act_on_all(Act::Resend, &"boss".into()).await.unwrap(),
        0
    );
    assert_eq!(store.act_on_all(Act::Resend, &ops).await.unwrap(), 1);
    let fates = MessageFates {
        total: 4,
        queued: 3,
        discarded: 1,
        ..MessageFates::default()
    };
    assert_eq!(store.fates_of(&ops), fates);
}

#[derive(Clone, Debug)]
enum Move {
    Append(u8),
    Commit { ahead: u8, messages: Vec<bool> },
    Settle { which: u8, how: u8 },
    Fold { upto: u8 },
    Act { discard: bool, which: u8 },
    Again { which: u8 },
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => any::<u8>().prop_map(Move::Append),
        4 => (0..3_u8, prop::collection::vec(any::<bool>(), 0..4)).prop_map(|(ahead, messages)| Move::Commit { ahead, messages }),
        4 => (any::<u8>(), 0..3_u8).prop_map(|(which, how)| Move::Settle { which, how }),
        1 => (0..6_u8).prop_map(|upto| Move::Fold { upto }),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(discard, which)| Move::Act { discard, which }),
        1 => any::<u8>().prop_map(|which| Move::Again { which }),
        1 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 1..40)
}

/// What the store must hold, told by maps.
#[derive(Default)]
struct Model {
    journal: Vec<String>,
    cursor: u64,
    made: i64,
    queued: BTreeMap<i64, (Name, String)>,
    dead: BTreeMap<i64, (Name, String)>,
    fates: BTreeMap<Name, MessageFates>,
}

impl Model {
    fn queue(&mut self, to: &Name, title: &str) {
        self.made += 1;
        self.queued
            .insert(self.made, (to.clone(), title.to_owned()));
        let fates = self.fates.entry(to.clone()).or_default();
        fates.total += 1;
        fates.queued += 1;
    }
    fn leave(&mut self, id: i64, fate: impl FnOnce(&mut MessageFates) -> &mut u64) {
        if let Some((to, _)) = self.queued.remove(&id) {
            let fates = self.fates.get_mut(&to).unwrap();
            fates.queued -= 1;
            *fate(fates) += 1;
        }
    }
    fn die(&mut self, id: i64) {
        self.dead
            .extend(self.queued.get(&id).map(|message| (id, message.clone())));
        self.leave(id, |f| &mut f.dead);
    }
    fn act(&mut self, discard: bool, id: i64) -> bool {
        let Some((to, title)) = self.dead.remove(&id) else {
            return false;
        };
        let fates = self.fates.get_mut(&to).unwrap();
        fates.dead -= 1;
        if discard {
            fates.discarded += 1;
        } else {
            fates.total -= 1;
            self.queue(&to, &title);
        }
        true
    }
}

async fn agrees(moves: Vec<Move>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut model) = (open(dir.path()), Model::default());
    for (n, step_taken) in moves.into_iter().enumerate() {
        let at = Timestamp::from_millis(n as i64);
        match step_taken {
            Move::Append(byte) => {
                model.journal.push(byte.to_string());
                let seq = store.append(post(byte.to_string())).await.unwrap();
                assert_eq!(seq.0 as usize, model.journal.len());
            }
            Move::Commit { ahead, messages } => {
                let seq = (model.cursor + u64::from(ahead)).saturating_sub(1);
                let names = messages.iter().map(|ops| if *ops { "ops" } else { "boss" });
                let made: Vec<_> = names.map(|to| message(&format!("{n}"), &[to])).collect();
                if seq > model.cursor {
                    model.cursor = seq;
                    made.iter()
                        .for_each(|m| model.queue(&m.about.to[0], &m.title));
                }
                store.commit(step(seq, made)).await.unwrap();
            }
            Move::Settle { which, how } => {
                let id = i64::from(which) % (model.made + 1);
                let next = match how {
                    0 => Next::Delivered,
                    1 => Next::Dead,
                    _ => Next::Again {
                        due: at,
                        plain: false,
                    },
                };
                match how {
                    0 => model.leave(id, |f| &mut f.delivered),
                    1 => model.die(id),
                    _ => {}
                }
                store
                    .settle(DeliveryId(id), attempt(at, next))
                    .await
                    .unwrap();
            }
            Move::Fold { upto } => {
                let ops = Name::new("ops");
                let ids: Vec<i64> = model
                    .queued
                    .iter()
                    .filter(|(_, (to, _))| *to == ops)
                    .map(|(id, _)| *id)
                    .take(upto.into())
                    .collect();
                ids.iter()
                    .for_each(|id| model.leave(*id, |f| &mut f.digested));
                if !ids.is_empty() {
                    model.queue(&ops, "digest");
                }
                let ids = ids.into_iter().map(DeliveryId).collect();
                store
                    .fold(&ops, ids, vec![message("digest", &["ops"])], at)
                    .await
                    .unwrap();
            }
            Move::Act { discard, which } => {
                let id = i64::from(which) % (model.made + 1);
                let act = if discard { Act::Discard } else { Act::Resend };
                let done = matches!(
                    store.act(act, DeliveryId(id)).await.unwrap(),
                    Acted::Done(_)
                );
                assert_eq!(done, model.act(discard, id));
            }
            Move::Again { which } => {
                let id = i64::from(which) % (model.made + 1);
                let Some((to, title)) = model.queued.get(&id).or(model.dead.get(&id)).cloned()
                else {
                    continue;
                };
                let queued = model
                    .queued
                    .values()
                    .any(|other| *other == (to.clone(), title.clone()));
                let done = store.again(&title, vec![to.clone()]).await.unwrap();
                assert_eq!(
                    done == Acted::Stands(DeliveryState::Queued),
                    queued,
                    "{done:?}"
                );
                if !queued {
                    model.queue(&to, &title);
                }
            }
            Move::Crash => {
                drop(store);
                store = open(dir.path());
            }
        }
        let fates = store.fates();
        for (to, f) in &fates {
            assert_eq!(
                f.total,
                f.delivered + f.digested + f.dead + f.discarded + f.queued,
                "{to}"
            );
        }
        assert_eq!(fates, model.fates.clone().into_iter().collect::<Vec<_>>());
    }
    assert_eq!(store.recover().await.unwrap().cursor, Seq(model.cursor));
    for to in ["ops", "boss"] {
        let queued: Vec<_> = store.queued(&to.into(), DeliveryId(0), 999).await.unwrap();
        let queued: Vec<_> = queued
            .into_iter()
            .map(|d| (d.id.0, (d.to, d.message.title)))
            .collect();
        let expected = model
            .queued
            .clone()
            .into_iter()
            .filter(|(_, (name, _))| name.as_str() == to);
        assert_eq!(queued, expected.collect::<Vec<_>>());
    }
    let bodies: Vec<_> = store
        .read(Seq(0), 999)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.record)
        .collect();
    assert_eq!(
        bodies,
        model.journal.into_iter().map(post).collect::<Vec<_>>()
    );
}

#[test]
fn the_store_agrees_with_a_model_across_crashes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 32,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&moves(), |moves| {
            runtime.block_on(agrees(moves));
            Ok(())
        })
        .unwrap();
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
    store
        .commit(Step {
            snapshot: Some([].into()),
            ..step(last.0, vec![])
        })
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
    store
        .commit(step(
            9,
            (0..500)
                .map(|n| message(&n.to_string(), &["ops"]))
                .collect(),
        ))
        .await
        .unwrap();
    println!("a step of 500 messages: {:?}", start.elapsed());
}
