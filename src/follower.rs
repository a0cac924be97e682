//! Journal -> engine, in order, without writing anything but ticks: what any process may do that
//! sees the journal.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::{Fullness, IncidentState, SilenceState};
use crate::fold::{Conclusions, Fold};
use crate::history::History;
use crate::model::{Journaled, Record, Seq, Timestamp};
use crate::store::{Journal, Result};

/// Most entries that are read at once.
pub(crate) const BATCH: usize = 2_048;
/// While so many entries come at once, judging gives way to ingest.
const BUSY: usize = 16;
/// It waits this long for more of them, again and again while as many go on coming.
const GATHER: Duration = Duration::from_millis(5);
/// It waits no longer than this in all.
const GATHER_MOST: Duration = Duration::from_secs(2);
/// What silences match is looked at again after so long.
pub(crate) const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Incidents published at most.
const INCIDENTS: usize = 500;

/// What others may know of the fold.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Everything up to here is folded.
    pub folded: Seq,
    /// The silences in force; what they match may be a second old.
    pub silences: Arc<Vec<SilenceState>>,
    /// What lasts, and how much of that there is; may be a second old.
    pub incidents: Arc<(Vec<IncidentState>, usize)>,
    /// How many alerts are open of those that can be followed; may be a second old.
    pub fullness: Arc<Fullness>,
}

/// Folds the journal as it grows, and publishes what lasts.
pub struct Follower<S> {
    store: S,
    fold: Fold,
    history: History,
    /// Everything up to here is folded.
    folded: Seq,
    published: watch::Sender<Published>,
    /// When the silences were looked at, and whether anything was folded since.
    looked: (Timestamp, bool),
}

impl<S: Journal> Follower<S> {
    /// Goes on from a fold of everything up to `folded`.
    #[must_use]
    pub fn new(store: S, fold: Fold, folded: Seq) -> Self {
        let published = watch::Sender::new(Published {
            folded,
            silences: Arc::new(fold.silences()),
            incidents: Arc::new(fold.incidents(INCIDENTS)),
            fullness: Arc::new(fold.fullness()),
        });
        Self {
            looked: (store.clock().now(), false),
            history: History::after(folded),
            store,
            fold,
            folded,
            published,
        }
    }

    /// How far it is, and what lasts.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Everything up to here is folded.
    #[must_use]
    pub fn folded(&self) -> Seq {
        self.folded
    }

    /// The engine, and what stands between it and the journal.
    pub fn fold(&mut self) -> &mut Fold {
        &mut self.fold
    }

    /// What became of the events folded.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// The next entries; none once everything is folded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(&self) -> Result<Vec<Journaled>> {
        self.store.read(self.folded, BATCH).await
    }

    /// Whether there is more to fold.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.store.last() > self.folded
    }

    /// Folds the next entry.
    pub fn apply(&mut self, entry: &Journaled) -> Conclusions {
        self.folded = entry.seq;
        let mut conclusions = self.fold.apply(entry);
        self.history.add(&mut conclusions);
        conclusions
    }

    /// Publishes how far it is, after these entries. What lasts is looked at when they change what
    /// people silenced, else when it was not for a while: many silences and many alerts make that
    /// dear.
    pub fn publish(&mut self, entries: &[Journaled]) {
        let is_act = |e: &Journaled| matches!(e.record, Record::Silence(_) | Record::Expire { .. });
        let at = self.store.clock().now();
        let look = entries.iter().any(is_act) || at.since(self.looked.0) >= LOOK_AFTER;
        let silences = look.then(|| Arc::new(self.fold.silences()));
        let incidents = look.then(|| Arc::new(self.fold.incidents(INCIDENTS)));
        let fullness = look.then(|| Arc::new(self.fold.fullness()));
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
            if let Some(fullness) = fullness {
                published.fullness = fullness;
            }
        });
    }

    /// Whether what is published of what lasts may be older than what is folded.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.looked.1
    }

    /// Waits while a flood goes on, after so many entries came at once: whoever posts is answered
    /// first, and fewer steps stand in the way.
    pub async fn give_way(&self, entries: usize) {
        if !(BUSY..BATCH).contains(&entries) {
            return;
        }
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
}
