//! The follower that leads: it renders what the engine decided and commits it, one step at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::engine::{DUPLICATE_MEMORY, Verdict};
use crate::fold::{Compile, Conclusions, Fold, Remark};
use crate::follower::{Follower, LOOK_AFTER, Published};
use crate::history::{Added, Feed};
use crate::metrics::Metrics;
use crate::model::{Record, Seq, Timestamp};
use crate::notify::Pulse;
use crate::render::Templates;
use crate::rules::RuleSet;
use crate::store::{Duty, Error, Journal, Lease, Leases, Outgoing, Reached, Result, Step, Steps};

/// About how many events one step holds at most: a post may hold thousands.
const ROWS: usize = 10_000;
/// About how many messages one step holds at most: each takes some KiB until it is on the disk.
const MESSAGES: usize = 256;
/// A snapshot is written after so many entries when all is judged.
const SNAPSHOT_ENTRIES: u64 = 1_000;
/// While catching up it is written after so many times more.
const SNAPSHOT_BEHIND: u64 = 20;
/// It is not written before there are so many entries for each KiB of it, which is some 10 KiB
/// unpacked: writing snapshots must not cost more than judging.
const SNAPSHOT_ENTRIES_PER_KIB: u64 = 20;
/// It is written after so many events, whatever entries they came in: whoever looks back folds from
/// one of them.
const SNAPSHOT_EVENTS: u64 = 20_000;
/// It is written after so long in any case, when anything happened.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(30);
/// The wall clock is looked at again after so long, though nothing happens: what comes then is not
/// judged by a clock that was put right meanwhile.
const CLOCK_AFTER: Duration = Duration::from_secs(2);
/// A wall clock further off than this is journaled.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// Follows the journal and turns it into messages. One of these commits per store, by its lease.
pub struct Judge<S> {
    store: S,
    lease: Lease,
    follower: Follower<S>,
    templates: watch::Receiver<Arc<Templates>>,
    metrics: Metrics,
    ready: watch::Sender<bool>,
    feed: Feed,
    pulse: Pulse,
    /// The cursor: everything up to here was committed, also before the restart. Its messages
    /// exist.
    committed: Seq,
    snapshot: Taken,
    snapshot_entries: u64,
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

impl<S: Journal + Steps + Leases> Judge<S> {
    /// Takes the lease and restores the fold from the store's last snapshot. `rules` stand in where
    /// the journal names none this release can read; `ready` becomes true once everything journaled
    /// before the start is judged.
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
    ) -> Result<Self> {
        let lease = store.acquire(Duty::Judge).await?;
        let recovered = store.recover(&lease).await?;
        let (fold, folded) = match &recovered.snapshot {
            None => (Fold::new(Arc::clone(rules), compile), Seq::default()),
            Some((seq, bytes)) => {
                let seen = recovered.seen.iter().map(Vec::as_slice);
                let fold = Fold::restore(bytes, seen, rules, compile).map_err(Error::Fatal)?;
                (fold, *seq)
            }
        };
        let snapshot = recovered.snapshot.as_ref();
        let snapshot = Taken {
            seq: folded,
            events: fold.fates().total,
            at: store.clock().now(),
            size: snapshot.map_or(0, |(_, bytes)| bytes.len() as u64),
        };
        metrics.judged_by(store.clock().clock().wall(), fold.fates().total);
        Ok(Self {
            follower: Follower::new(store.clone(), fold, folded),
            store,
            lease,
            templates,
            metrics,
            ready,
            feed: Feed::default(),
            pulse: Pulse::default(),
            committed: recovered.cursor,
            snapshot,
            snapshot_entries: SNAPSHOT_ENTRIES,
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
        self.follower.published()
    }

    /// Runs until cancelled, then leaves a snapshot behind.
    ///
    /// # Errors
    /// When the store is damaged, or another process judges; a store that cannot write now is tried
    /// again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut news = self.store.news();
        loop {
            self.pulse.beat();
            let entries = self.follower.read().await?;
            if entries.is_empty() {
                self.caught_up().await?;
                if stop.is_cancelled() {
                    break;
                }
                self.wait(&mut news, &stop).await?;
                continue;
            }
            let mut made: Vec<Outgoing> = Vec::new();
            let room = self.feed.room(self.store.clock().now());
            self.follower.history().show(room);
            for entry in &entries {
                let conclusions = self.follower.apply(entry);
                if entry.seq > self.committed {
                    made.extend(self.render(conclusions));
                }
                let judged = self.follower.history().judged();
                if judged >= ROWS || made.len() >= MESSAGES {
                    self.commit(std::mem::take(&mut made), true, false).await?;
                    self.pulse.beat();
                }
            }
            let behind = self.follower.is_behind();
            self.commit(made, behind, false).await?;
            self.follower.publish(&entries);
            if stop.is_cancelled() {
                break; // what is left is folded after the restart
            }
            self.follower.give_way(entries.len()).await;
        }
        self.commit(Vec::new(), false, true).await
    }

    fn render(&self, conclusions: Conclusions) -> Vec<Outgoing> {
        for remark in conclusions.remarks {
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
        for decision in conclusions.decisions {
            if let Verdict::Notify(notification) = decision.verdict {
                outgoing.push(Outgoing {
                    message: templates.render(*notification),
                    alerts: decision.alerts,
                });
            }
        }
        outgoing
    }

    /// Whether a snapshot is due, so many events after the start: the last one before the end, else
    /// when folding from the one before would take long.
    fn is_snapshot_due(&self, at: Timestamp, judged: u64, behind: bool, last: bool) -> bool {
        let since = self.follower.folded().0 - self.snapshot.seq.0;
        let by_size = self.snapshot.size / 1_024 * SNAPSHOT_ENTRIES_PER_KIB;
        let least = self.snapshot_entries * if behind { SNAPSHOT_BEHIND } else { 1 };
        let events = judged.saturating_sub(self.snapshot.events);
        if since >= least.max(by_size) || events >= SNAPSHOT_EVENTS.max(by_size) {
            return true;
        }
        let is_old = !behind && at.since(self.snapshot.at) >= SNAPSHOT_AFTER;
        since > 0 && (last || is_old)
    }

    /// Commits what was folded.
    async fn commit(&mut self, made: Vec<Outgoing>, behind: bool, last: bool) -> Result<()> {
        let (at, folded) = (self.store.clock().now(), self.follower.folded());
        if folded == self.snapshot.seq && made.is_empty() {
            return Ok(());
        }
        let judged = self.follower.fold().fates().total;
        let due = self.is_snapshot_due(at, judged, behind, last);
        let Added {
            rows,
            changes,
            shown,
        } = self.follower.history().take();
        let fold = self.follower.fold();
        let step = Step {
            seq: folded,
            outgoing: Arc::new(made),
            events: Arc::new(rows),
            outcomes: changes,
            seen: fold.take_seen(),
            seen_until: Some(at - DUPLICATE_MEMORY),
            snapshot: due.then(|| fold.snapshot()),
            reached: Reached {
                work: judged + folded.0,
                alert: fold.newest(),
            },
            at,
        };
        self.store_step(&step).await?;
        self.committed = self.committed.max(folded);
        if let Some(snapshot) = &step.snapshot {
            self.snapshot = Taken {
                seq: folded,
                events: judged,
                at,
                size: snapshot.len() as u64,
            };
        }
        let fates = self.follower.fold().fates().clone();
        self.metrics.set_events(fates, folded);
        self.metrics
            .judged_by(self.store.clock().clock().wall(), judged);
        self.feed.tell(&shown);
        self.feed.follow(&step.events, &step.outcomes);
        Ok(())
    }

    /// Stores a step; tries again while the store cannot write.
    async fn store_step(&self, step: &Step) -> Result<()> {
        let mut wait = Duration::from_millis(100);
        loop {
            let step = step.clone();
            match self.store.commit(&self.lease, self.committed, step).await {
                Err(Error::Transient(why)) => {
                    warn!(why, "the store cannot write; judging waits");
                    // A new process could not write either.
                    self.pulse.beat();
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                // After `Unknown` too: a restart finds out how far it came.
                done => return done,
            }
        }
    }

    /// Everything journaled is judged: says so, and notes a wall clock that went its own way.
    async fn caught_up(&mut self) -> Result<()> {
        if self.follower.is_stale() {
            self.follower.publish(&[]);
        }
        self.ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
        let offset_ms = self.store.clock().offset_ms();
        if offset_ms.abs_diff(self.follower.fold().offset_ms()) > CLOCK_TOLERANCE_MS {
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
        news: &mut watch::Receiver<Seq>,
        stop: &CancellationToken,
    ) -> Result<()> {
        if *news.borrow_and_update() > self.follower.folded() {
            return Ok(());
        }
        let now = self.store.clock().now();
        let idle = if self.follower.is_stale() {
            LOOK_AFTER
        } else {
            SNAPSHOT_AFTER
        }
        .min(self.pulse.every());
        let until_due = self.follower.fold().next_wakeup().map(|due| due.since(now));
        if until_due.is_some_and(|wait| wait.is_zero()) {
            return self.append(Record::Tick).await;
        }
        let clock = self.store.clock().clock();
        tokio::select! {
            _ = news.changed() => {}
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CLOCK_AFTER) => self.commit(Vec::new(), false, false).await?,
            () = clock.sleep(until_due.unwrap_or(idle).min(idle)) => self.commit(Vec::new(), false, false).await?,
        }
        Ok(())
    }

    async fn append(&self, record: Record) -> Result<()> {
        match self.store.append(record).await {
            Ok(_) => Ok(()),
            // Where one of them is there after all, it changes nothing.
            Err(Error::Transient(why) | Error::Unknown(why)) => {
                warn!(why, "the store cannot write; timers wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(())
            }
            Err(fatal) => Err(fatal),
        }
    }
}
