//! The follower: folds the journal in order and writes nothing. Any process that can read the
//! journal may run one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::{Fullness, IncidentState, SilenceState};
use crate::fold::{Conclusions, Fold};
use crate::history::History;
use crate::model::{Journaled, Record, Seq, Timestamp};
use crate::store::{Journal, Result};

/// Maximum number of entries read at once.
pub(crate) const BATCH: usize = 2_048;
/// Number of entries in one read from which judging gives way to ingest.
const BUSY: usize = 16;
/// Time of one wait for further entries; it is repeated while as many arrive.
const GATHER: Duration = Duration::from_millis(5);
/// Maximum time of all these waits.
const GATHER_MOST: Duration = Duration::from_secs(2);
/// Time after which the effect of silences is computed again.
pub(crate) const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of incidents published.
const INCIDENTS: usize = 500;

/// The public state of the fold.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The last position folded.
    pub folded: Seq,
    /// The silences in force; the numbers of alerts they match may be a second old.
    pub silences: Arc<Vec<SilenceState>>,
    /// Open incidents and their total number; may be a second old.
    pub incidents: Arc<(Vec<IncidentState>, usize)>,
    /// Use of the limit of open alerts; may be a second old.
    pub fullness: Arc<Fullness>,
}

/// Folds the journal as it grows, and publishes the open incidents.
pub struct Follower<S> {
    store: S,
    fold: Fold,
    history: History,
    /// The last position folded.
    folded: Seq,
    published: watch::Sender<Published>,
    /// Time of the last look at silences and incidents, and whether anything was folded since.
    looked: (Timestamp, bool),
}

impl<S: Journal> Follower<S> {
    /// Continues from a fold of everything up to `folded`.
    #[must_use]
    pub fn new(store: S, fold: Fold, folded: Seq) -> Self {
        let published = watch::Sender::new(Published {
            folded,
            silences: Arc::new(fold.silences()),
            incidents: Arc::new(fold.incidents(INCIDENTS)),
            fullness: Arc::new(fold.fullness()),
        });
        Self {
            // Everything up to `folded` was published above, so nothing is stale.
            looked: (store.clock().now(), false),
            history: History::after(folded),
            store,
            fold,
            folded,
            published,
        }
    }

    /// Returns a receiver of the public state.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Returns the last position folded.
    #[must_use]
    pub fn folded(&self) -> Seq {
        self.folded
    }

    /// Returns the fold.
    pub fn fold(&mut self) -> &mut Fold {
        &mut self.fold
    }

    /// Returns the outcomes of the events folded.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// Returns the next entries; none if everything is folded.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub async fn read(&self) -> Result<Vec<Journaled>> {
        self.store.read(self.folded, BATCH).await
    }

    /// Returns whether there are more entries to fold.
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

    /// Publishes the position after these entries. Silences and incidents are computed again if a
    /// person changed a silence, or after a while: with many silences and many alerts that is
    /// expensive.
    pub fn publish(&mut self, entries: &[Journaled]) {
        let is_act = |e: &Journaled| matches!(e.record, Record::Silence(_) | Record::Expire { .. });
        let at = self.store.clock().now();
        let look = entries.iter().any(is_act) || at.since(self.looked.0) >= LOOK_AFTER;
        // All three come from the same state, so that the page never contradicts itself.
        let silences = look.then(|| Arc::new(self.fold.silences()));
        let incidents = look.then(|| Arc::new(self.fold.incidents(INCIDENTS)));
        let fullness = look.then(|| Arc::new(self.fold.fullness()));
        self.looked = if look {
            (at, false)
        } else {
            (self.looked.0, true)
        };
        // One modification notifies watchers once.
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

    /// Returns whether the published incidents may be older than the fold.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.looked.1
    }

    /// Waits during a flood, after `entries` arrived at once. Posts are answered first, and fewer
    /// steps delay them.
    pub async fn give_way(&self, entries: usize) {
        // A full batch means that the follower is far behind: waiting would make it worse.
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
