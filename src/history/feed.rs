//! What comes, told to whoever watches: one channel for all of them, so that many cost no more than one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::model::{Event, Timestamp};
use crate::store::EventRow;

/// Events told a second at most: more than anyone reads.
const A_SECOND: usize = 20;
/// What a watcher may be behind before it is let go: some ten seconds.
const BEHIND: usize = 256;

/// One thing told, made once for all who watch.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `event`, `count` or `state`.
    pub kind: &'static str,
    /// Of an event: its id.
    pub id: Option<String>,
    /// JSON, one line.
    pub data: String,
}

/// Tells watchers. Clones tell the same ones.
#[derive(Clone, Debug)]
pub struct Feed {
    frames: broadcast::Sender<Arc<Frame>>,
    /// Since when, and how many events since then.
    paced: Arc<Mutex<(Timestamp, usize)>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { frames: broadcast::Sender::new(BEHIND), paced: Arc::default() }
    }
}

impl Feed {
    /// Watches from now on. One that falls too far behind learns so instead of a frame.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.frames.subscribe()
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.frames.receiver_count()
    }

    /// How many events may be told now.
    #[must_use]
    pub fn room(&self, now: Timestamp) -> usize {
        if self.watchers() == 0 {
            return 0;
        }
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(paced.0) >= Duration::from_secs(1) {
            *paced = (now, 0);
        }
        A_SECOND - paced.1.min(A_SECOND)
    }

    /// Tells of events.
    pub fn tell(&self, shown: &[(EventRow, Arc<Event>)]) {
        if shown.is_empty() {
            return;
        }
        self.paced.lock().unwrap_or_else(PoisonError::into_inner).1 += shown.len();
        for (row, event) in shown {
            let data = super::shown(row, event).to_string();
            self.send(Frame { kind: "event", id: Some(row.id.to_string()), data });
        }
    }

    /// Tells anything.
    pub fn send(&self, frame: Frame) {
        // Nobody watching is fine.
        let _ = self.frames.send(Arc::new(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, Seq};
    use crate::store::{EventFate, EventId};

    #[test]
    fn twenty_a_second_are_told_and_none_to_nobody() {
        let feed = Feed::default();
        let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
        assert_eq!(feed.room(at(0)), 0);
        let _watching = feed.watch();
        assert_eq!(feed.room(at(0)), 20);
        let row = EventRow {
            id: EventId::new(Seq(1), 0),
            received: at(0),
            fate: EventFate::Told,
            waits: None,
            rules: vec![],
            alerts: vec![],
        };
        let event = Arc::new(Event::nothing(Name::new("mist"), at(0)));
        feed.tell(&vec![(row, event); 15]);
        assert_eq!((feed.room(at(999)), feed.room(at(1_000))), (5, 20));
    }
}
