//! The memory of earlier events.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::{Event, Timestamp};

/// Time for which duplicates are recognised.
pub const MEMORY: Duration = Duration::from_secs(24 * 3_600);
/// The same for events without a time of their own.
const UNTIMED: Duration = Duration::from_secs(60);
/// Maximum number of events remembered.
const CAPACITY: usize = 1_000_000;

/// Content hashes of the events of the last 24 hours, at most a million. The additions of a step
/// can be taken as bytes and loaded after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    order: VecDeque<(Timestamp, u64)>,
    latest: HashMap<u64, Timestamp>,
    fresh: Vec<u8>,
}

impl Seen {
    /// Returns whether the event is a duplicate; remembers it if not.
    pub(super) fn is_duplicate(&mut self, event: &Event, now: Timestamp) -> bool {
        self.forget(now);
        // Without its own time, a later event of the same content is probably another one.
        let within = if event.own_time { MEMORY } else { UNTIMED };
        if self
            .latest
            .get(&event.digest)
            .is_some_and(|&before| now.since(before) <= within)
        {
            return true;
        }
        self.fresh.extend_from_slice(&event.digest.to_le_bytes());
        self.fresh.extend_from_slice(&now.millis().to_le_bytes());
        self.remember(event.digest, now);
        false
    }

    fn remember(&mut self, digest: u64, at: Timestamp) {
        self.order.push_back((at, digest));
        self.latest.insert(digest, at);
        if self.order.len() > CAPACITY {
            self.drop_oldest();
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self
            .order
            .front()
            .is_some_and(|&(at, _)| now.since(at) > MEMORY)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((at, digest)) = self.order.pop_front()
            && self.latest.get(&digest) == Some(&at)
        {
            self.latest.remove(&digest);
        }
    }

    /// Returns the additions since the last call, as bytes for [`Seen::load`].
    pub(super) fn take_fresh(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.fresh)
    }

    /// Loads bytes returned by [`Seen::take_fresh`], oldest first.
    pub(super) fn load(&mut self, bytes: &[u8]) {
        for entry in bytes.chunks_exact(16) {
            let (digest, at) = entry.split_at(8);
            let number = |part: &[u8]| part.try_into().map(u64::from_le_bytes).unwrap_or_default();
            self.remember(
                number(digest),
                Timestamp::from_millis(number(at).cast_signed()),
            );
        }
    }
}
