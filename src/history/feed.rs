//! The live feed of events: one channel for all watchers, so that many cost no more than one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast;

use crate::model::{Event, EventId, EventOutcome, OutcomeChange, Timestamp, WaitsWith};
use crate::store::EventRow;

/// Maximum number of events sent per second; more than anyone reads.
const A_SECOND: usize = 20;
/// Number of frames a watcher may be behind before it loses some: about ten seconds.
const BEHIND: usize = 256;
/// Number of pending events whose outcome is followed: the newest.
const FOLLOWED: usize = 300;

/// One message of the feed, made once for all watchers.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `event`, `fate`, `count` or `state`.
    pub kind: &'static str,
    /// Id of the event, if it is about one.
    pub id: Option<String>,
    /// JSON, one line.
    pub data: String,
}

/// Sends to watchers. Clones share the same watchers.
#[derive(Clone, Debug)]
pub struct Feed {
    frames: broadcast::Sender<Arc<Frame>>,
    /// Beginning of the current second, and number of events sent in it.
    paced: Arc<Mutex<(Timestamp, usize)>>,
    followed: Arc<Mutex<Followed>>,
}

/// The newest pending events, and the outcomes still to be sent.
#[derive(Debug, Default)]
struct Followed {
    waiting: VecDeque<(EventId, WaitsWith)>,
    due: VecDeque<(EventId, EventOutcome)>,
    /// Outcomes sent in this second.
    told: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            frames: broadcast::Sender::new(BEHIND),
            paced: Arc::default(),
            followed: Arc::default(),
        }
    }
}

impl Feed {
    /// Subscribes to the feed. A watcher that falls too far behind is notified instead of receiving
    /// the frames it missed.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.frames.subscribe()
    }

    /// Returns the number of watchers.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.frames.receiver_count()
    }

    /// Returns the number of events that may be sent now.
    #[must_use]
    pub fn room(&self, now: Timestamp) -> usize {
        // Without watchers nothing is sampled or rendered.
        if self.watchers() == 0 {
            return 0;
        }
        let mut paced = self.paced.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(paced.0) >= Duration::from_secs(1) {
            *paced = (now, 0);
        }
        A_SECOND - paced.1.min(A_SECOND)
    }

    /// Sends events.
    pub fn tell(&self, shown: &[(EventRow, Arc<Event>)]) {
        if shown.is_empty() {
            return;
        }
        // The count comes first, so that `room` is right for the next batch.
        self.paced.lock().unwrap_or_else(PoisonError::into_inner).1 += shown.len();
        for (row, event) in shown {
            let data = super::shown(row, event).to_string();
            self.send(Frame {
                kind: "event",
                id: Some(row.id.to_string()),
                data,
            });
        }
    }

    /// Follows pending events, and sends outcomes of earlier ones. Those beyond the limit are sent
    /// by [`Feed::catch_up`].
    pub fn follow(&self, judged: &[EventRow], changes: &[OutcomeChange]) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Followed { waiting, due, .. } = &mut *followed;
        // The newest are taken from the end, but stored in order.
        let new = judged
            .iter()
            .rev()
            .filter_map(|row| row.waits.map(|waits| (row.id, waits)))
            .take(FOLLOWED);
        let new: Vec<_> = new.collect();
        waiting.extend(new.into_iter().rev());
        for change in changes {
            waiting.retain(|(id, waits)| {
                let changed = *waits == change.waits && *id <= change.upto;
                if changed {
                    due.push_back((*id, change.outcome.clone()));
                }
                !changed
            });
        }
        let old = waiting.len().saturating_sub(FOLLOWED);
        waiting.drain(..old);
        let old = due.len().saturating_sub(FOLLOWED);
        due.drain(..old);
        self.tell_fates(&mut followed);
    }

    /// Sends the outcomes that were beyond the limit; called once a second while anyone watches.
    pub fn catch_up(&self) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.told = 0;
        self.tell_fates(&mut followed);
    }

    fn tell_fates(&self, followed: &mut Followed) {
        if self.watchers() == 0 {
            // A new watcher loads the present state first.
            return followed.due.clear();
        }
        let room = A_SECOND - followed.told.min(A_SECOND);
        for (id, fate) in followed.due.drain(..room.min(followed.due.len())) {
            followed.told += 1;
            let data =
                json!({"id": id.to_string(), "fate": fate.word(), "why": fate.why()}).to_string();
            // Without an id of the stream a watcher does not ask for frames it missed.
            self.send(Frame {
                kind: "fate",
                id: None,
                data,
            });
        }
    }

    /// Sends a frame.
    pub fn send(&self, frame: Frame) {
        // Without watchers the send fails, which is fine.
        let _ = self.frames.send(Arc::new(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, EventOutcome, Name, Seq};

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
            outcome: EventOutcome::Notified,
            waits: None,
            rules: vec![],
            alerts: vec![],
            told: vec![],
        };
        let event = Arc::new(Event::nothing(Name::new("mist"), at(0)));
        feed.tell(&vec![(row, event); 15]);
        assert_eq!((feed.room(at(999)), feed.room(at(1_000))), (5, 20));
    }

    #[test]
    fn what_became_of_what_waited_is_told_once_and_twenty_a_second() {
        let feed = Feed::default();
        let row = |seq: u64, waits| EventRow {
            id: EventId::new(Seq(seq), 1),
            received: Timestamp::EPOCH,
            outcome: EventOutcome::Pending,
            waits,
            rules: vec![],
            alerts: vec![],
            told: vec![],
        };
        let alert = |n| Some(WaitsWith::Alert(n));
        let change = |n, upto: u64, outcome| OutcomeChange {
            waits: WaitsWith::Alert(n),
            upto: EventId::new(Seq(upto), 9),
            outcome,
            by: None,
        };
        let told = |frames: &mut broadcast::Receiver<Arc<Frame>>| {
            std::iter::from_fn(|| frames.try_recv().ok())
                .map(|frame| frame.data.clone())
                .collect::<Vec<_>>()
        };
        feed.follow(&[row(1, alert(7))], &[change(7, 1, EventOutcome::Notified)]);
        let mut frames = feed.watch();
        feed.catch_up();
        assert_eq!(
            told(&mut frames),
            Vec::<String>::new(),
            "nobody watched then"
        );

        feed.follow(
            &[
                row(2, alert(7)),
                row(3, None),
                row(4, alert(8)),
                row(5, alert(7)),
            ],
            &[],
        );
        let suppressed = EventOutcome::Suppressed("ended_untold".into());
        feed.follow(
            &[],
            &[
                change(7, 4, EventOutcome::Notified),
                change(8, 9, suppressed),
                change(8, 9, EventOutcome::Notified),
            ],
        );
        assert_eq!(
            told(&mut frames),
            [
                r#"{"fate":"told","id":"2.1","why":null}"#,
                r#"{"fate":"suppressed","id":"4.1","why":"ended_untold"}"#
            ],
        );

        let flood: Vec<EventRow> = (10..1_000).map(|seq| row(seq, alert(9))).collect();
        feed.follow(&flood, &[change(9, 2_000, EventOutcome::Notified)]);
        assert_eq!(told(&mut frames).len(), 18);
        let mut all = 18;
        for _ in 0..20 {
            feed.catch_up();
            let some = told(&mut frames).len();
            assert!(some <= 20);
            all += some;
        }
        // The one that still waited went when the flood came.
        assert_eq!(all, 300);
    }
}
