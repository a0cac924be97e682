//! The only source of time and randomness. All other code takes time as an argument.

use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use crate::model::Timestamp;

/// Reads the wall clock and the monotonic clock. The monotonic half is tokio's, so that tests may
/// pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: tokio::time::Instant,
    pinned: Option<Timestamp>,
    speed: u32,
}

impl Clock {
    /// Returns the machine's clocks.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that may read the clock"
    )]
    pub fn system() -> Self {
        Self {
            started: tokio::time::Instant::now(),
            pinned: None,
            speed: 1,
        }
    }

    /// Returns a wall clock that starts at `wall` and follows tokio's (possibly paused) time, for
    /// tests.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that may read the clock"
    )]
    pub fn pinned(wall: Timestamp) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            pinned: Some(wall),
            speed: 1,
        }
    }

    /// Returns the same clock running `speed` times faster, for the demo.
    #[must_use]
    pub fn faster(self, speed: u32) -> Self {
        Self {
            speed: speed.max(1),
            ..self
        }
    }

    /// Waits for a time of this clock.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span / self.speed).await;
    }

    /// Converts real time, such as a wait another machine asks for, to time of this clock.
    #[must_use]
    pub fn stretch(&self, real: Duration) -> Duration {
        real.saturating_mul(self.speed)
    }

    /// Returns a number in `0.0..1.0` that spreads retries. It is random, but depends only on the
    /// time if a test controls the time.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let bits = match self.pinned {
            Some(_) => hashed(self.elapsed()),
            // std's RandomState is seeded by the operating system and differs at each call.
            None => std::hash::RandomState::new().build_hasher().finish(),
        };
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns the wall time, for people and calendars. It may jump.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that may read the clock"
    )]
    pub fn wall(&self) -> Timestamp {
        match self.pinned {
            Some(base) => base + self.elapsed(),
            None => {
                let since = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::EPOCH + since
            }
        }
    }

    /// Returns the monotonic time since this clock was created.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that may read the clock"
    )]
    pub fn elapsed(&self) -> Duration {
        self.stretch(tokio::time::Instant::now().duration_since(self.started))
    }
}

/// Runs limiters on (possibly paused) tokio time, unlike governor's own clocks.
impl governor::clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}

/// Journal time: the last entry's time plus monotonic time passed since; never goes back.
#[derive(Clone, Copy, Debug)]
pub struct JournalClock {
    clock: Clock,
    base: Timestamp,
    base_elapsed: Duration,
}

impl JournalClock {
    /// Continues a journal whose last entry was at `last_at` when the wall clock showed
    /// `last_wall`; a new journal (`None`) starts at the wall clock.
    #[must_use]
    pub fn resume(clock: Clock, last: Option<(Timestamp, Timestamp)>) -> Self {
        let wall = clock.wall();
        // The time Foghorn was down counts too, as far as the wall clock knows it.
        let base = match last {
            Some((last_at, last_wall)) => last_at + wall.since(last_wall),
            None => wall,
        };
        Self {
            clock,
            base,
            base_elapsed: clock.elapsed(),
        }
    }

    /// Returns the current journal time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base + self.clock.elapsed().saturating_sub(self.base_elapsed)
    }

    /// Returns wall time minus journal time in milliseconds.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.clock
            .wall()
            .millis()
            .saturating_sub(self.now().millis())
    }

    /// Returns the wall clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }
}

/// Formats a time for people, in this machine's time zone and with its name.
#[must_use]
pub fn local(at: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(
        |_| at.rfc3339(),
        |at| {
            at.to_zoned(zone)
                .strftime("%a %-d %b, %H:%M %Z")
                .to_string()
        },
    )
}

fn hashed(time: Duration) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    time.hash(&mut hasher);
    hasher.finish()
}

/// Returns bytes from the operating system that nobody can guess, for keys.
///
/// # Errors
///
/// When the operating system provides none.
pub fn unguessable<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_faster_clock_is_faster_in_all_it_says() {
        let start = Timestamp::from_millis(1_000);
        let clock = Clock::pinned(start).faster(90);
        let journal = JournalClock::resume(clock, None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(180));
        clock.sleep(Duration::from_secs(90)).await;
        assert_eq!(
            (clock.wall(), journal.now()),
            (
                start + Duration::from_secs(270),
                start + Duration::from_secs(270)
            )
        );
        assert_eq!(journal.offset_ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_spread_by_chance_and_in_tests_by_the_time() {
        let (test, real) = (Clock::pinned(Timestamp::EPOCH), Clock::system());
        assert_eq!(test.spread().to_bits(), test.spread().to_bits());
        let mut spread = Vec::new();
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            spread.extend([test.spread(), real.spread()]);
        }
        assert!(spread.iter().all(|number| (0.0..1.0).contains(number)));
        let all: std::collections::BTreeSet<u64> =
            spread.iter().map(|number| number.to_bits()).collect();
        assert_eq!(all.len(), 100);
    }
}
