//! Journal -> engine -> render -> commit, in order, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::engine::{DUPLICATE_MEMORY, IncidentState, SilenceState, Verdict};
use crate::fold::{Applied, Compile, Fold, Remark};
use crate::history::{Added, Feed, History};
use crate::metrics::Metrics;
use crate::model::{Record, Seq, Timestamp};
use crate::notify::Pulse;
use crate::render::Templates;
use crate::rules::RuleSet;
use crate::store::{Duty, Journal, Lease, Leases, Outgoing, Reached, Step, Steps};

/// How many entries one step holds at most.
const BATCH: usize = 2_048;
/// … and how many events, about: a post may hold thousands.
const ROWS: usize = 10_000;
/// … and how many messages, about: each takes some KiB until it is on the disk.
const MESSAGES: usize = 256;
/// While so many entries come at once, judging gives way to ingest: …
const BUSY: usize = 16;
/// … it waits this long for more of them, again and again while as many go on coming, …
const GATHER: Duration = Duration::from_millis(5);
/// … but not longer than this in all.
const GATHER_MOST: Duration = Duration::from_secs(2);
/// A snapshot is written after so many entries when all is judged, …
const SNAPSHOT_ENTRIES: u64 = 1_000;
/// … after so many times more while catching up, …
const SNAPSHOT_BEHIND: u64 = 20;
/// … but not before there are so many entries for each KiB of it, which is some 10 KiB unpacked:
/// writing snapshots must not cost more than judging, …
const SNAPSHOT_ENTRIES_PER_KIB: u64 = 20;
/// … after so many events, whatever entries they came in: whoever looks back folds from one of
/// them, …
const SNAPSHOT_EVENTS: u64 = 20_000;
/// … and after so long in any case, when anything happened.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(30);
/// What silences match is looked at again after so long.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// The wall clock is looked at again after so long, though nothing happens: what comes then is not
/// judged by a clock that was put right meanwhile.
const CLOCK_AFTER: Duration = Duration::from_secs(2);
/// A wall clock further off than this is journaled.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// What others may know of the fold.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Everything up to here is folded.
    pub folded: Seq,
    /// The silences in force; what they match may be a second old.
    pub silences: Arc<Vec<SilenceState>>,
    /// What lasts, and how much of that there is; may be a second old.
    pub incidents: Arc<(Vec<IncidentState>, usize)>,
}

/// Incidents published at most.
const INCIDENTS: usize = 500;

/// Reads the journal in order and turns it into messages. One of these runs per store.
pub struct Processor<S> {
    store: S,
    lease: Lease,
    templates: watch::Receiver<Arc<Templates>>,
    metrics: Metrics,
    ready: watch::Sender<bool>,
    fold: Fold,
    history: History,
    feed: Feed,
    pulse: Pulse,
    /// Everything up to here is folded.
    folded: Seq,
    /// The cursor: everything up to here was committed, also before the restart. Its messages
    /// exist.
    committed: Seq,
    snapshot: Taken,
    snapshot_entries: u64,
    published: watch::Sender<Published>,
    /// When the silences were looked at, and whether anything was folded since.
    looked: (Timestamp, bool),
}

/// When the last snapshot was taken.
struct Taken {
    seq: Seq,
    /// How many events were judged by then.
    events: u64,
    at: Timestamp,
    /// Its size in bytes.
    size: u64,
}

impl<S: Journal + Steps + Leases> Processor<S> {
    /// Restores the fold from the store's last snapshot. `rules` stand in where the journal names
    /// none this release can read; `ready` becomes true once everything journaled before the
    /// start is judged.
    ///
    /// # Errors
    /// When the store cannot be read. A snapshot that cannot be read is an error too: folding from
    /// nothing would tell again what was told.
    pub async fn restore(
        store: S,
        rules: &Arc<RuleSet>,
        compile: Compile,
        templates: watch::Receiver<Arc<Templates>>,
        metrics: Metrics,
        ready: watch::Sender<bool>,
    ) -> Result<Self, crate::store::Error> {
        let lease = store.acquire(Duty::Judge).await?;
        let recovered = store.recover(&lease).await?;
        let (fold, folded) = match &recovered.snapshot {
            None => (Fold::new(Arc::clone(rules), compile), Seq::default()),
            Some((seq, bytes)) => {
                let seen = recovered.seen.iter().map(Vec::as_slice);
                let fold = Fold::restore(bytes, seen, rules, compile)
                    .map_err(crate::store::Error::Fatal)?;
                (fold, *seq)
            }
        };
        let size = recovered
            .snapshot
            .as_ref()
            .map_or(0, |(_, bytes)| bytes.len() as u64);
        let snapshot = Taken {
            seq: folded,
            events: fold.fates().total,
            at: store.clock().now(),
            size,
        };
        let published = watch::Sender::new(Published {
            folded,
            silences: Arc::new(fold.silences()),
            incidents: Arc::new(fold.incidents(INCIDENTS)),
        });
        let history = fold.history(folded);
        metrics.judged_by(store.clock().clock().wall(), fold.fates().total);
        let looked = (snapshot.at, false);
        Ok(Self {
            store,
            lease,
            templates,
            metrics,
            ready,
            fold,
            history,
            feed: Feed::default(),
            pulse: Pulse::default(),
            folded,
            committed: recovered.cursor,
            snapshot,
            snapshot_entries: SNAPSHOT_ENTRIES,
            published,
            looked,
        })
    }

    /// Takes a snapshot after so many entries instead of a thousand: for tests, which have few.
    #[must_use]
    pub fn with_snapshot_every(self, entries: u64) -> Self {
        Self {
            snapshot_entries: entries,
            ..self
        }
    }

    /// Tells of events as they are judged.
    #[must_use]
    pub fn with_feed(self, feed: Feed) -> Self {
        Self { feed, ..self }
    }

    /// Beats with every step, and while there is nothing to do as often as this pulse asks for.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// How far it is, and which silences are in force.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Runs until cancelled, then leaves a snapshot behind.
    ///
    /// # Errors
    /// When the store is damaged; a store that cannot write now is tried again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), crate::store::Error> {
        let mut appended = self.store.news();
        loop {
            self.pulse.beat();
            let entries = self.store.read(self.folded, BATCH).await?;
            if entries.is_empty() {
                self.caught_up().await?;
                if stop.is_cancelled() {
                    break;
                }
                self.wait(&mut appended, &stop).await?;
                continue;
            }
            let mut made: Vec<Outgoing> = Vec::new();
            self.history.show(self.feed.room(self.store.clock().now()));
            for entry in &entries {
                let applied = self.fold.apply_noted(entry, &mut self.history);
                self.folded = entry.seq;
                if entry.seq > self.committed {
                    made.extend(self.render(applied));
                }
                if self.history.judged() >= ROWS || made.len() >= MESSAGES {
                    self.commit(std::mem::take(&mut made), true, false).await?;
                    self.pulse.beat();
                }
            }
            let behind = self.store.last() > self.folded;
            self.commit(made, behind, false).await?;
            self.publish(
                entries
                    .iter()
                    .any(|e| matches!(e.record, Record::Silence(_) | Record::Expire { .. })),
            );
            if stop.is_cancelled() {
                break; // what is left is folded after the restart
            }
            if (BUSY..BATCH).contains(&entries.len()) {
                self.give_way().await;
            }
        }
        self.commit(Vec::new(), false, true).await
    }

    /// Says how far it is. What silences match is looked at `now`, else when it was not for a
    /// while: many silences and many alerts make that dear.
    fn publish(&mut self, now: bool) {
        let at = self.store.clock().now();
        let look = now || at.since(self.looked.0) >= LOOK_AFTER;
        let silences = look.then(|| Arc::new(self.fold.silences()));
        let incidents = look.then(|| Arc::new(self.fold.incidents(INCIDENTS)));
        self.looked = if look {
            (at, false)
        } else {
            (self.looked.0, true)
        };
        self.published.send_modify(|published| {
            published.folded = self.folded;
            if let Some(silences) = silences {
                published.silences = silences;
            }
            if let Some(incidents) = incidents {
                published.incidents = incidents;
            }
        });
    }

    /// Waits while a flood goes on: whoever posts is answered first, and fewer steps stand in the
    /// way.
    async fn give_way(&self) {
        let mut waited = Duration::ZERO;
        while waited < GATHER_MOST {
            let before = self.store.last().0;
            tokio::time::sleep(GATHER).await;
            waited += GATHER;
            if self.store.last().0 - before < BUSY as u64 {
                return;
            }
        }
    }

    fn render(&self, applied: Applied) -> Vec<Outgoing> {
        for remark in applied.remarks {
            match remark {
                Remark::Malformed {
                    source,
                    seq,
                    why,
                    count,
                } => {
                    self.metrics.malformed(&source, count);
                    warn!(source = %source, entry = seq.0, count, "of a post of `{source}` not all was understood; it is kept: {why}");
                }
                Remark::RulesUnreadable => {
                    warn!("journaled rules cannot be read by this release; those before stay")
                }
            }
        }
        let templates = self.templates.borrow();
        let mut outgoing = Vec::new();
        for decision in applied.decisions {
            if let Verdict::Notify(notification) = decision.verdict {
                outgoing.push(Outgoing {
                    message: templates.render(*notification),
                    alerts: decision.alerts,
                });
            }
        }
        outgoing
    }

    /// Commits what was folded; tries again while the store cannot write.
    async fn commit(
        &mut self,
        made: Vec<Outgoing>,
        behind: bool,
        last: bool,
    ) -> Result<(), crate::store::Error> {
        let at = self.store.clock().now();
        let since = self.folded.0 - self.snapshot.seq.0;
        let least = self.snapshot_entries * if behind { SNAPSHOT_BEHIND } else { 1 };
        let enough = least.max(self.snapshot.size / 1_024 * SNAPSHOT_ENTRIES_PER_KIB);
        let judged = self.fold.fates().total;
        let events = SNAPSHOT_EVENTS.max(self.snapshot.size / 1_024 * SNAPSHOT_ENTRIES_PER_KIB);
        let enough = since >= enough || judged.saturating_sub(self.snapshot.events) >= events;
        let due = enough
            || (since > 0 && (last || (!behind && at.since(self.snapshot.at) >= SNAPSHOT_AFTER)));
        if since == 0 && made.is_empty() {
            return Ok(());
        }
        let Added {
            rows,
            changes,
            shown,
        } = self.history.take();
        let step = Step {
            seq: self.folded,
            outgoing: Arc::new(made),
            events: Arc::new(rows),
            fates: changes,
            seen: self.fold.take_seen(),
            seen_until: Some(at - DUPLICATE_MEMORY),
            snapshot: due.then(|| self.fold.snapshot()),
            reached: Reached {
                work: judged + self.folded.0,
                alert: self.fold.newest(),
            },
            at,
        };
        let size = step.snapshot.as_ref().map(|snapshot| snapshot.len() as u64);
        let mut wait = Duration::from_millis(100);
        while let Err(error) = self
            .store
            .commit(&self.lease, self.committed, step.clone())
            .await
        {
            match error {
                crate::store::Error::Transient(why) => {
                    warn!(why, "the store cannot write; judging waits");
                    // A new process could not write either.
                    self.pulse.beat();
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                // After `Unknown` too: a restart finds out how far it came.
                other => return Err(other),
            }
        }
        self.committed = self.committed.max(self.folded);
        if let Some(size) = size {
            self.snapshot = Taken {
                seq: self.folded,
                events: judged,
                at,
                size,
            };
        }
        self.metrics
            .set_events(self.fold.fates().clone(), self.folded);
        self.metrics
            .judged_by(self.store.clock().clock().wall(), judged);
        self.feed.tell(&shown);
        self.feed.follow(&step.events, &step.fates);
        Ok(())
    }

    /// Everything journaled is judged: says so, and notes a wall clock that went its own way.
    async fn caught_up(&mut self) -> Result<(), crate::store::Error> {
        if self.looked.1 {
            self.publish(false);
        }
        self.ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
        let offset_ms = self.store.clock().offset_ms();
        if offset_ms.abs_diff(self.fold.offset_ms()) > CLOCK_TOLERANCE_MS {
            info!(
                offset_ms,
                "the wall clock was set; durations go on as they were"
            );
            self.append(Record::Clock { offset_ms }).await?;
        }
        Ok(())
    }

    /// Waits for an entry, or journals a tick when a timer of the engine is due.
    async fn wait(
        &mut self,
        appended: &mut watch::Receiver<Seq>,
        stop: &CancellationToken,
    ) -> Result<(), crate::store::Error> {
        if *appended.borrow_and_update() > self.folded {
            return Ok(());
        }
        let now = self.store.clock().now();
        let idle = if self.looked.1 {
            LOOK_AFTER
        } else {
            SNAPSHOT_AFTER
        }
        .min(self.pulse.every());
        let until_due = self.fold.next_wakeup().map(|due| due.since(now));
        if until_due.is_some_and(|wait| wait.is_zero()) {
            return self.append(Record::Tick).await;
        }
        let clock = self.store.clock().clock();
        tokio::select! {
            _ = appended.changed() => {}
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CLOCK_AFTER) => self.commit(Vec::new(), false, false).await?,
            () = clock.sleep(until_due.unwrap_or(idle).min(idle)) => self.commit(Vec::new(), false, false).await?,
        }
        Ok(())
    }

    async fn append(&self, record: Record) -> Result<(), crate::store::Error> {
        match self.store.append(record).await {
            Ok(_) => Ok(()),
            // Where one of them is there after all, it changes nothing.
            Err(crate::store::Error::Transient(why) | crate::store::Error::Unknown(why)) => {
                warn!(why, "the store cannot write; timers wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(())
            }
            Err(fatal) => Err(fatal),
        }
    }
}
