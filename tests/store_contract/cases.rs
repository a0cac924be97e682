//! The cases.

use std::sync::Arc;

use foghorn::clock::Clock;
use foghorn::model::{
    Cursor, EventId, EventOutcome, Name, OutcomeChange, Receipt, Record, RulesRecord, Seq,
    Severity, Silence, SourceKind, Timestamp, Until, WaitsWith,
};
use foghorn::store::{
    ActionResult, Archive, Attempt, AttemptRow, DeadLetterAction, DeliveryId, DeliveryState, Desk,
    Doc, Duty, Error, EventRow, Journal, Leases, MessageFates, Next, Noise, Outbox, Step, Steps,
    Term, Totals, Wanted,
};

use super::{Bench, World, attempt, message, outgoing, post, query, row, step};

pub(super) async fn every_record_is_there_after_a_restart_in_order_and_time_never_goes_back<
    B: Bench,
>() {
    let mut store = World::<B>::new().await;
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
        fetched("lab", 7, None, b"\n{}"),
        fetched("lab", 0, Some("2026-01-05 \"x\"\n"), b""),
        fetched("lab", 65_535, Some(""), b"\0\xff\n"),
    ];
    for (n, record) in records.iter().enumerate() {
        assert_eq!(
            store.append(record.clone()).await.unwrap(),
            Seq(n as u64 + 1)
        );
    }
    // The wall clock was set back to 1970 meanwhile.
    store.reopen_by(Clock::pinned(Timestamp::EPOCH)).await;
    assert_eq!(store.append(Record::Tick).await.unwrap(), Seq(11));
    let read = store.read(Seq(0), 100).await.unwrap();
    assert_eq!(
        read.iter()
            .map(|e| e.record.clone())
            .take(10)
            .collect::<Vec<_>>(),
        records
    );
    assert!(
        read.windows(2)
            .all(|pair| pair[0].at <= pair[1].at && pair[0].seq.0 + 1 == pair[1].seq.0)
    );
    assert_eq!(store.read(Seq(3), 1).await.unwrap()[0].seq, Seq(4));
    assert_eq!(*store.news().borrow(), Seq(11));
}

/// A body of a kind that this release may not know.
fn fetched(source: &str, kind: u16, cursor: Option<&str>, body: &'static [u8]) -> Record {
    Record::Received {
        source: source.into(),
        kind: SourceKind(kind),
        cursor: cursor.map(Cursor::new),
        body: body.into(),
    }
}

pub(super) async fn a_cursor_is_stored_with_its_bodies_and_outlives_them<B: Bench>() {
    let mut store = World::<B>::new().await;
    let (lab, other) = (Name::new("lab"), Name::new("other"));
    assert_eq!(store.cursor(&lab).await.unwrap(), None);
    store
        .append(fetched("lab", 0, Some("page 1"), b"{}"))
        .await
        .unwrap();
    store
        .append(fetched("lab", 0, Some("page 2"), b"{}"))
        .await
        .unwrap();
    // A body without one changes nothing, nor does another source's.
    store.append(fetched("lab", 0, None, b"{}")).await.unwrap();
    store
        .append(fetched("other", 3, Some("é"), b"{}"))
        .await
        .unwrap();
    store.reopen().await;
    assert_eq!(
        store.cursor(&lab).await.unwrap(),
        Some(Cursor::new("page 2"))
    );
    assert_eq!(store.cursor(&other).await.unwrap(), Some(Cursor::new("é")));
    let names = ["lab", "mist"].map(Name::new);
    assert_eq!(store.cursor(&names[1]).await.unwrap(), None);
}

pub(super) async fn rows_come_with_their_step_and_a_refold_changes_none<B: Bench>() {
    let mut store = World::<B>::new().await;
    let change = |alert, upto, outcome| OutcomeChange {
        waits: WaitsWith::Alert(alert),
        upto: EventId::new(Seq(upto), 1),
        outcome,
        by: None,
    };
    let first = Step {
        events: vec![row(1, Some(5)), row(2, None), row(3, Some(6))].into(),
        ..step(3, vec![])
    };
    let second = Step {
        events: vec![row(4, Some(5))].into(),
        outcomes: vec![
            change(5, 3, EventOutcome::Notified),
            change(6, 3, EventOutcome::Suppressed("inhibited".into())),
        ],
        outgoing: outgoing([(message("a", &["ops", "boss"]), vec![5])]),
        ..step(4, vec![])
    };
    store.commit(first.clone()).await.unwrap();
    assert_eq!(
        store.row(row(3, None).id).await.unwrap(),
        Some(row(3, Some(6)))
    );
    store.commit(second.clone()).await.unwrap();
    store.reopen().await;
    let kept = [
        (1, EventOutcome::Notified),
        (2, EventOutcome::Unmatched),
        (3, EventOutcome::Suppressed("inhibited".into())),
        (4, EventOutcome::Pending),
    ];
    assert_eq!(store.outcomes().await, kept);
    for again in [first, second] {
        store.commit(again).await.unwrap();
    }
    assert_eq!(store.outcomes().await, kept, "a refold changes nothing");
    let wanted = |fate| query(Some(fate), vec![]);
    for (fate, found) in [
        (Wanted::Suppressed, 1),
        (
            Wanted::Exactly(EventOutcome::Suppressed("inhibited".into())),
            1,
        ),
        (Wanted::Exactly(EventOutcome::Suppressed("muted".into())), 0),
        (Wanted::Exactly(EventOutcome::Notified), 1),
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

pub(super) async fn a_rule_is_credited_with_what_it_told_alone<B: Bench>() {
    let mut store = World::<B>::new().await;
    let one: Arc<str> = "a rule, odd\"'".into();
    let told = EventRow {
        outcome: EventOutcome::Notified,
        told: vec![one.clone()],
        ..row(1, None)
    };
    let change = OutcomeChange {
        waits: WaitsWith::Alert(5),
        upto: row(2, None).id,
        outcome: EventOutcome::Notified,
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
            outcomes: vec![change],
            ..step(3, vec![])
        })
        .await
        .unwrap();
    // As an older release left it: who told is not known.
    let old = EventRow {
        outcome: EventOutcome::Notified,
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
    store.reopen().await;
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
        Noise::default(),
        "nothing came since"
    );
}

pub(super) async fn a_floods_rows_are_all_there<B: Bench>() {
    let store = World::<B>::new().await;
    let rows: Vec<EventRow> = (1..=3_500).map(|seq| row(seq, None)).collect();
    store
        .commit(Step {
            events: rows.into(),
            ..step(3_500, vec![])
        })
        .await
        .unwrap();
    assert_eq!(
        (store.count().await.unwrap(), store.outcomes().await.len()),
        (3_500, 3_500)
    );
}

pub(super) async fn events_are_found_by_their_words<B: Bench>() {
    let store = World::<B>::new().await;
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

pub(super) async fn a_read_stops_past_four_mebibytes<B: Bench>() {
    let store = World::<B>::new().await;
    for _ in 0..7 {
        store.append(post("x".repeat(1 << 20))).await.unwrap();
    }
    assert_eq!(store.read(Seq(0), 100).await.unwrap().len(), 5);
}

pub(super) async fn a_step_makes_its_messages_once<B: Bench>() {
    let store = World::<B>::new().await;
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
    assert_eq!(store.titles("ops").await, ["a", "b"]);
    assert_eq!(*store.outbox().borrow(), DeliveryId(3));
    assert_eq!(store.recover().await.cursor, Seq(3));
}

pub(super) async fn recovery_gives_the_memory_the_snapshot_had<B: Bench>() {
    let mut store = World::<B>::new().await;
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
    store.reopen().await;
    let recovered = store.recover().await;
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
    let recovered = store.recover().await;
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

pub(super) async fn settling_and_summarising_move_each_message_once<B: Bench>() {
    let mut store = World::<B>::new().await;
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
    store.settle(1, at, again).await;
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
        store.settle(2, at, Next::Delivered).await;
        store.settle(1, at, Next::Dead).await;
        let summary = message("digest", &["ops"]);
        store.summarise(&ops, vec![2, 3, 4], summary, at).await;
    }
    store.enqueue(message("own", &["ops"]), at).await.unwrap();
    assert_eq!(store.titles("ops").await, ["digest", "own"]);
    assert_eq!(
        store.totals_of(&ops).await.unwrap(),
        MessageFates {
            total: 6,
            delivered: 1,
            digested: 2,
            dead: 1,
            queued: 2,
            ..MessageFates::default()
        }
    );
    store.reopen().await;
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
        store.totals_of(&ops).await.unwrap(),
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

pub(super) async fn a_receipt_comes_back_for_its_incident_while_its_message_is_kept<B: Bench>() {
    let mut store = World::<B>::new().await;
    let messages = vec![
        message("one", &["ops", "boss"]),
        message("two", &["ops"]),
        message("one", &["ops"]),
    ];
    store.commit(step(1, messages)).await.unwrap();
    let at = Timestamp::from_millis(2_000);
    let receipt = |ts: &str| Receipt::new(serde_json::json!({"ts": ts})).unwrap();
    // Deliveries: 1 and 2 of `one`, 3 of `two`, 4 of `one` again.
    for (id, to, next, ts) in [
        (1, "ops", Next::Delivered, Some("a")),
        (2, "boss", Next::Delivered, None),
        (3, "ops", Next::Delivered, Some("b")),
        (3, "ops", Next::Delivered, Some("not queued any more")),
        (4, "ops", Next::Dead, Some("c")),
    ] {
        let lease = store.acquire(Duty::Lane(to.into())).await.unwrap();
        let attempt = Attempt {
            receipt: ts.map(receipt),
            ..attempt(at, next)
        };
        let settled = Outbox::settle(&*store, &lease, DeliveryId(id), attempt).await;
        settled.unwrap();
    }
    for resent in [false, true] {
        store.reopen().await;
        let ops = store.acquire(Duty::Lane("ops".into())).await.unwrap();
        let boss = store.acquire(Duty::Lane("boss".into())).await.unwrap();
        let of = async |lease, incident| store.receipt(lease, incident).await.unwrap();
        assert_eq!(of(&ops, "one").await, Some(receipt("c")), "the last one");
        assert_eq!(of(&ops, "two").await, Some(receipt("b")));
        assert_eq!(of(&boss, "one").await, None, "another destination's");
        assert_eq!(of(&ops, "three").await, None);
        if !resent {
            // The dead letter gets a new number, and the receipt stays with it.
            let acted = store
                .act(DeadLetterAction::Resend, DeliveryId(4))
                .await
                .unwrap();
            assert_eq!(
                acted,
                ActionResult::Done(vec![("ops".into(), DeliveryId(5))])
            );
        }
    }
    let long = serde_json::json!("x".repeat(Receipt::MAX));
    assert_eq!(Receipt::new(long), None);
}

pub(super) async fn a_dead_letter_is_sent_again_or_put_away_once_and_a_message_any_time<
    B: Bench,
>() {
    let mut store = World::<B>::new().await;
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
        store.settle(id, at, again).await;
        store.settle(id, at, Next::Dead).await;
    }
    let mut outbox = store.outbox();
    outbox.mark_unchanged();
    let done = |id| ActionResult::Done(vec![(ops.clone(), DeliveryId(id))]);
    assert_eq!(
        store
            .act(DeadLetterAction::Resend, DeliveryId(1))
            .await
            .unwrap(),
        done(4)
    );
    assert!(outbox.has_changed().unwrap(), "who sends wakes");
    assert_eq!(
        store
            .act(DeadLetterAction::Discard, DeliveryId(2))
            .await
            .unwrap(),
        done(2)
    );
    for reopened in [false, true] {
        if reopened {
            store.reopen().await;
        }
        assert_eq!(
            store
                .act(DeadLetterAction::Resend, DeliveryId(1))
                .await
                .unwrap(),
            ActionResult::Missing
        );
        assert_eq!(
            store
                .act(DeadLetterAction::Resend, DeliveryId(4))
                .await
                .unwrap(),
            ActionResult::OtherState(DeliveryState::Queued)
        );
        assert_eq!(
            store
                .act(DeadLetterAction::Resend, DeliveryId(2))
                .await
                .unwrap(),
            ActionResult::OtherState(DeliveryState::Discarded)
        );
        assert_eq!(
            store
                .act(DeadLetterAction::Discard, DeliveryId(99))
                .await
                .unwrap(),
            ActionResult::Missing
        );
        let fates = MessageFates {
            total: 3,
            queued: 1,
            dead: 1,
            discarded: 1,
            ..MessageFates::default()
        };
        assert_eq!(store.totals_of(&ops).await.unwrap(), fates);
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
        ActionResult::OtherState(DeliveryState::Queued)
    );
    assert_eq!(again("z", &["ops"]).await, ActionResult::Missing);
    assert_eq!(again("b", &["boss"]).await, ActionResult::OtherDestination);
    assert_eq!(again("b", &["ops", "boss"]).await, done(5));
    assert_eq!(
        again("b", &["ops"]).await,
        ActionResult::OtherState(DeliveryState::Queued)
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
        store
            .act_on_all(DeadLetterAction::Resend, &"boss".into())
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store
            .act_on_all(DeadLetterAction::Resend, &ops)
            .await
            .unwrap(),
        1
    );
    let fates = MessageFates {
        total: 4,
        queued: 3,
        discarded: 1,
        ..MessageFates::default()
    };
    assert_eq!(store.totals_of(&ops).await.unwrap(), fates);
}

pub(super) async fn a_step_from_another_place_is_lost<B: Bench>() {
    let store = World::<B>::new().await;
    let first = step(3, vec![message("a", &["ops"])]);
    store.commit(first).await.unwrap();
    for from in [0, 2, 4] {
        let second = Step {
            snapshot: Some([1].into()),
            outcomes: vec![],
            ..step(5, vec![message("b", &["ops"])])
        };
        let lost = Steps::commit(&*store, &store.judge, Seq(from), second).await;
        assert!(matches!(lost, Err(Error::Lost(_))), "{from}: {lost:?}");
    }
    let recovered = store.recover().await;
    assert_eq!((recovered.cursor, recovered.snapshot), (Seq(3), None));
    assert_eq!(store.titles("ops").await, ["a"]);
    assert_eq!(*store.judge.duty(), Duty::Judge);
    assert_eq!(*store.lane.duty(), Duty::Lane("ops".into()));
}
