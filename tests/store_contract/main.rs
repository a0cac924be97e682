//! What every store promises: one suite, run on each that there is. What only SQLite has (files,
//! schemas, a log) is in `sqlite`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail it"
)]

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use foghorn::clock::Clock;
use foghorn::model::{
    EventId, EventOutcome, Message, Name, Notification, Reason, Record, Seq, Severity, SourceKind,
    Timestamp, WaitsWith,
};
use foghorn::store::{
    Archive, Attempt, Desk, Duty, EventRow, Journal, Lease, Leases, Next, Outbox, Outgoing, Result,
    RowQuery, Step, Steps, Term, Wanted,
};

mod cases;
mod model;
mod sqlite;

/// A place where one store is opened, again and again.
trait Bench {
    type Store: Journal + Steps + Outbox + Archive + Desk + Leases;

    /// A new, empty place.
    fn new() -> Self;

    /// Opens the store there; the one opened before is gone.
    async fn open(&self, clock: Clock) -> Self::Store;
}

/// A store under test and what its users hold.
struct World<B: Bench> {
    bench: B,
    /// `None` only while it is opened anew.
    store: Option<B::Store>,
    judge: Lease,
    lane: Lease,
    cursor: Cell<Seq>,
}

impl<B: Bench> World<B> {
    async fn new() -> Self {
        Self::on(B::new()).await
    }

    async fn on(bench: B) -> Self {
        let store = bench.open(Clock::system()).await;
        let judge = store.acquire(Duty::Judge).await.unwrap();
        let lane = store.acquire(Duty::Lane("ops".into())).await.unwrap();
        Self {
            bench,
            judge,
            lane,
            store: Some(store),
            cursor: Cell::default(),
        }
    }

    /// As after a restart.
    async fn reopen(&mut self) {
        self.reopen_by(Clock::system()).await;
    }

    async fn reopen_by(&mut self, clock: Clock) {
        self.store = None;
        let store = self.bench.open(clock).await;
        self.judge = store.acquire(Duty::Judge).await.unwrap();
        self.lane = store.acquire(Duty::Lane("ops".into())).await.unwrap();
        self.store = Some(store);
    }

    /// Commits as the only judge does.
    async fn commit(&self, step: Step) -> Result<()> {
        let (from, to) = (self.cursor.get(), step.seq);
        Steps::commit(&**self, &self.judge, from, step).await?;
        self.cursor.set(from.max(to));
        Ok(())
    }

    async fn recover(&self) -> foghorn::store::Recovered {
        Steps::recover(&**self, &self.judge).await.unwrap()
    }

    async fn settle(&self, id: i64, at: Timestamp, next: Next) {
        let id = foghorn::store::DeliveryId(id);
        Outbox::settle(&**self, &self.lane, id, attempt(at, next))
            .await
            .unwrap();
    }

    async fn summarise(&self, to: &Name, folded: Vec<i64>, summary: Message, at: Timestamp) {
        let folded = folded.into_iter().map(foghorn::store::DeliveryId).collect();
        Outbox::summarise(&**self, &self.lane, to, folded, vec![summary], at)
            .await
            .unwrap();
    }

    async fn titles(&self, to: &str) -> Vec<String> {
        let all = foghorn::store::DeliveryId(0);
        let queued = self.queued(&to.into(), all, 10_000).await.unwrap();
        queued
            .into_iter()
            .map(|one| one.message.title.clone())
            .collect()
    }

    async fn outcomes(&self) -> Vec<(u64, EventOutcome)> {
        let rows = self.rows(query(None, vec![])).await.unwrap().rows;
        let one = |row: EventRow| (row.id.seq().0, row.outcome);
        rows.into_iter().rev().map(one).collect()
    }
}

impl<B: Bench> Deref for World<B> {
    type Target = B::Store;

    fn deref(&self) -> &B::Store {
        self.store.as_ref().unwrap()
    }
}

fn post(body: impl Into<String>) -> Record {
    Record::Received {
        source: "mist".into(),
        kind: SourceKind::default(),
        cursor: None,
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
        receipt: None,
    }
}

/// A row of the first event of an entry; it waits with an alert when that is named.
fn row(seq: u64, waits: Option<u64>) -> EventRow {
    EventRow {
        id: EventId::new(Seq(seq), 1),
        received: Timestamp::from_millis(1_000),
        outcome: if waits.is_some() {
            EventOutcome::Pending
        } else {
            EventOutcome::Unmatched
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

/// Runs every case on a store.
macro_rules! suite {
    ($bench:ty: $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::cases::$case::<$bench>().await;
            }
        )*

        #[test]
        fn the_store_agrees_with_a_model_across_crashes() {
            crate::model::agrees_across_crashes::<$bench>();
        }
    };
}

/// The suite, on this store.
macro_rules! every_case {
    ($bench:ty) => {
        suite! { $bench:
           every_record_is_there_after_a_restart_in_order_and_time_never_goes_back
        a_cursor_is_stored_with_its_bodies_and_outlives_them
           rows_come_with_their_step_and_a_refold_changes_none
           a_rule_is_credited_with_what_it_told_alone
           a_floods_rows_are_all_there
           events_are_found_by_their_words
           a_read_stops_past_four_mebibytes
           a_step_makes_its_messages_once
           recovery_gives_the_memory_the_snapshot_had
           settling_and_summarising_move_each_message_once
           a_receipt_comes_back_for_its_incident_while_its_message_is_kept
           a_dead_letter_is_sent_again_or_put_away_once_and_a_message_any_time
           a_step_from_another_place_is_lost
        }
    };
}

use {every_case, suite};
