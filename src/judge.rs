//! The judge: a follower with the lease that renders the engine's decisions and commits them step
//! by step.

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

/// Approximate maximum number of events per step; a post may hold thousands.
const ROWS: usize = 10_000;
/// Approximate maximum number of messages per step; each takes some KiB until it is on the disk.
const MESSAGES: usize = 256;
/// Number of entries after which a snapshot is written if there are no more entries to judge.
const SNAPSHOT_ENTRIES: u64 = 1_000;
/// Factor on that number while there are more.
const SNAPSHOT_BEHIND: u64 = 20;
/// Minimum number of entries for each KiB of the last snapshot, which is some 10 KiB unpacked.
/// Writing snapshots must not cost more than judging.
const SNAPSHOT_ENTRIES_PER_KIB: u64 = 20;
/// Number of events after which a snapshot is written, whatever entries they came in. `explain`
/// folds from one of them.
const SNAPSHOT_EVENTS: u64 = 20_000;
/// Time after which a snapshot is written if anything happened.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(30);
/// Time after which an idle judge checks the wall clock, so that a corrected clock applies before
/// the next event.
const CLOCK_AFTER: Duration = Duration::from_secs(2);
/// Difference of the wall clock from which it is journaled.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

/// Follows the journal and turns it into messages. The lease allows one judge per store.
pub struct Judge<S> {
    store: S,
    lease: Lease,
    follower: Follower<S>,
    templates: watch::Receiver<Arc<Templates>>,
    metrics: Metrics,
    ready: watch::Sender<bool>,
    feed: Feed,
    pulse: Pulse,
    /// The cursor: the last position committed, also before the restart. Its messages exist.
    committed: Seq,
    snapshot: Taken,
    snapshot_entries: u64,
}

/// The last snapshot.
struct Taken {
    seq: Seq,
    /// Number of events judged by then.
    events: u64,
    at: Timestamp,
    /// Size in bytes.
    size: u64,
}

impl<S: Journal + Steps + Leases> Judge<S> {
    /// Takes the lease and restores the fold from the store's last snapshot. `rules` apply if this
    /// release cannot read those in the journal. `ready` becomes true once everything journaled
    /// before the start is judged.
    ///
    /// # Errors
    /// Fails if the store or its snapshot cannot be read. Folding without the snapshot would send
    /// old messages again.
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
        // A new store begins at position 0; otherwise the entries after the snapshot are folded
        // again.
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

    /// Sets the number of entries between snapshots, for tests with few entries.
    #[must_use]
    pub fn with_snapshot_every(self, entries: u64) -> Self {
        Self {
            snapshot_entries: entries,
            ..self
        }
    }

    /// Sends events to this feed as they are judged.
    #[must_use]
    pub fn with_feed(self, feed: Feed) -> Self {
        Self { feed, ..self }
    }

    /// Notifies the watchdog with every step, and as often as it requires while idle.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// Returns a receiver of the public state.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.follower.published()
    }

    /// Runs until cancelled, and then writes a snapshot.
    ///
    /// # Errors
    /// Fails if the store is damaged, or another process judges. If the store cannot write now, the
    /// judge tries again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        // The subscription begins before the first read, or an entry between the two would be
        // missed.
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
                // Messages up to the cursor were committed before the restart.
                if entry.seq > self.committed {
                    made.extend(self.render(conclusions));
                }
                let judged = self.follower.history().judged();
                // A large batch is committed in parts, to bound the memory.
                if judged >= ROWS || made.len() >= MESSAGES {
                    self.commit(std::mem::take(&mut made), true, false).await?;
                    self.pulse.beat();
                }
            }
            let behind = self.follower.is_behind();
            self.commit(made, behind, false).await?;
            self.follower.publish(&entries);
            if stop.is_cancelled() {
                // The remaining entries are folded after the restart.
                break;
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
                    // A body is never logged, since it may hold personal data.
                    self.metrics.malformed(&source, count);
                    warn!(source = %source, entry = seq.0, count, "of a post of `{source}` not all was understood; it is kept: {why}");
                }
                Remark::RulesUnreadable => {
                    warn!("journaled rules cannot be read by this release; those before stay")
                }
            }
        }
        // One set of templates renders the whole batch, even if a reload replaces it meanwhile.
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

    /// Returns whether a snapshot is due: at the end, or when folding from the last one would take
    /// long.
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

    /// Commits the folded entries.
    async fn commit(&mut self, made: Vec<Outgoing>, behind: bool, last: bool) -> Result<()> {
        let (at, folded) = (self.store.clock().now(), self.follower.folded());
        if folded == self.snapshot.seq && made.is_empty() {
            return Ok(());
        }
        let judged = self.follower.fold().fates().total;
        let due = self.is_snapshot_due(at, judged, behind, last);
        // The history is taken once per step: rows belong to the step that judged them.
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
            // Older hashes can no longer make a duplicate, so the store may drop them.
            seen_until: Some(at - DUPLICATE_MEMORY),
            snapshot: due.then(|| fold.snapshot()),
            reached: Reached {
                work: judged + folded.0,
                alert: fold.newest(),
            },
            at,
        };
        // The feed and the counters follow the commit: what they show survives a restart.
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

    /// Stores a step, and tries again while the store cannot write.
    async fn store_step(&self, step: &Step) -> Result<()> {
        let mut wait = Duration::from_millis(100);
        loop {
            let step = step.clone();
            match self.store.commit(&self.lease, self.committed, step).await {
                Err(Error::Transient(why)) => {
                    warn!(why, "the store cannot write; judging waits");
                    // The watchdog must not restart the process: a new one could not write, either.
                    self.pulse.beat();
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
                // The outcome may also be unknown; a restart finds out how far the step came.
                done => return done,
            }
        }
    }

    /// Reports that everything journaled is judged, and journals a wall clock that differs.
    async fn caught_up(&mut self) -> Result<()> {
        if self.follower.is_stale() {
            self.follower.publish(&[]);
        }
        // Watchers of `ready` wake up only at the first time.
        self.ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
        // Journal time does not follow the wall clock, so the difference is an input of its own.
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

    /// Waits for an entry, or journals a tick if a timer of the engine is due.
    async fn wait(
        &mut self,
        news: &mut watch::Receiver<Seq>,
        stop: &CancellationToken,
    ) -> Result<()> {
        // An entry may have arrived between the last read and this call.
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
            // If the entry was stored after all, it does no harm.
            Err(Error::Transient(why) | Error::Unknown(why)) => {
                warn!(why, "the store cannot write; timers wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
                Ok(())
            }
            Err(fatal) => Err(fatal),
        }
    }
}
