//! Pace of one destination: its rate limit, the pauses it asked for, and the backoff while it
//! fails.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

/// Rate limit: `limit` messages per `per`, and up to `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Number of messages; at least 1.
    pub limit: u32,
    /// Period of the limit.
    pub per: Duration,
    /// Number of messages at once after a pause; at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// Returns the interval of one message.
    pub(crate) fn period(&self) -> Duration {
        (self.per / self.limit.max(1)).max(Duration::from_nanos(1))
    }

    /// Returns the time for which a sent message counts: as long as a used burst takes to refill.
    #[must_use]
    pub fn memory(&self) -> Duration {
        self.period().saturating_mul(self.burst)
    }
}

/// Backoff: doubles from `first` to `max`, with jitter, until `give_up_after` since the first
/// attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Time after which the message becomes a dead letter.
    pub give_up_after: Duration,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Clock, StateInformationMiddleware>;

/// Pace of one destination. It only returns waiting times; the caller waits on tokio's timer.
#[derive(Debug)]
pub struct Pace {
    clock: Clock,
    limiter: Limiter,
    /// Interval of one message.
    period: Duration,
    burst: u32,
    /// Number of messages the limiter had left, and the time of that (`Clock::elapsed`).
    left: (u32, Duration),
    not_before: Duration,
}

impl Pace {
    /// Creates the pace of a destination that received `spent` messages lately (see
    /// [`RateLimit::memory`]), because the limiter itself does not survive a restart.
    #[must_use]
    pub fn new(clock: Clock, limit: RateLimit, spent: u32) -> Self {
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        let period = limit.period();
        // `Quota::per_minute(n)` would allow a burst of n, so 2n - 1 messages in the first minute.
        let quota = Quota::with_period(period)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock).with_middleware();
        let spent = spent.min(burst.get());
        if let Some(spent) = NonZeroU32::new(spent) {
            let _ = limiter.check_n(spent);
        }
        let left = (burst.get() - spent, clock.elapsed());
        Self {
            clock,
            limiter,
            period,
            burst: burst.get(),
            left,
            not_before: Duration::ZERO,
        }
    }

    /// Takes the permission to send one message now.
    ///
    /// # Errors
    ///
    /// Time to wait before the next call.
    pub fn take(&mut self) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let paused = self.paused();
        if !paused.is_zero() {
            return Err(paused);
        }
        match self.limiter.check() {
            Ok(state) => {
                self.left = (state.remaining_burst_capacity(), now);
                Ok(())
            }
            Err(not_until) => {
                self.left = (0, now);
                // A wait of zero would make the caller spin.
                Err(not_until.wait_time_from(now).max(Duration::from_millis(1)))
            }
        }
    }

    /// Pauses for this time; a longer pause stays.
    pub fn pause(&mut self, wait: Duration) {
        self.not_before = self
            .not_before
            .max(self.clock.elapsed().saturating_add(wait));
    }

    /// Returns the rest of the pause.
    #[must_use]
    pub fn paused(&self) -> Duration {
        self.not_before.saturating_sub(self.clock.elapsed())
    }

    /// Returns the time that the last of `waiting` messages would wait.
    #[must_use]
    pub fn estimate(&self, waiting: u64) -> Duration {
        let (left, at) = self.left;
        // The limiter cannot be asked without taking a permission, so its refill is computed here.
        let refilled =
            self.clock.elapsed().saturating_sub(at).as_nanos() / self.period.as_nanos().max(1);
        let free = (u128::from(left) + refilled).min(u128::from(self.burst));
        let behind = u32::try_from(u128::from(waiting).saturating_sub(free)).unwrap_or(u32::MAX);
        self.paused()
            .saturating_add(self.period.saturating_mul(behind))
    }
}

/// Returns the time to wait after the `failures`th failure in a row. It doubles from `first` to
/// `max`, and is shortened by up to a quarter so that many senders do not return at once. `random`
/// is in `0.0..1.0`.
#[must_use]
pub fn backoff(first: Duration, max: Duration, failures: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(
        1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    doubled
        .min(max)
        .mul_f64(1.0 - 0.25 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn slack(clock: Clock) -> Pace {
        Pace::new(
            clock,
            RateLimit {
                limit: 1,
                per: Duration::from_secs(1),
                burst: 5,
            },
            4,
        )
    }

    async fn sent_in(pace: &mut Pace, clock: Clock, span: Duration) -> u32 {
        let (end, mut sent) = (clock.elapsed() + span, 0);
        while clock.elapsed() < end {
            match pace.take() {
                Ok(()) => sent += 1,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_before_a_restart_counts_and_a_rested_pace_has_its_burst() {
        let clock = Clock::pinned(Timestamp::EPOCH);
        let mut pace = slack(clock);
        assert_eq!(sent_in(&mut pace, clock, Duration::from_secs(10)).await, 10);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            sent_in(&mut pace, clock, Duration::from_secs(10)).await,
            5 + 9,
            "not 60, nor 19"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_destination_has_its_whole_burst() {
        let clock = Clock::pinned(Timestamp::EPOCH);
        let mut pace = Pace::new(
            clock,
            RateLimit {
                limit: 1,
                per: Duration::from_secs(12),
                burst: 20,
            },
            0,
        );
        assert_eq!(pace.estimate(20), Duration::ZERO);
        assert_eq!(sent_in(&mut pace, clock, Duration::from_secs(1)).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn per_minute_means_per_minute() {
        let clock = Clock::pinned(Timestamp::EPOCH);
        let mut pace = Pace::new(
            clock,
            RateLimit {
                limit: 5,
                per: Duration::from_secs(60),
                burst: 1,
            },
            0,
        );
        assert_eq!(sent_in(&mut pace, clock, Duration::from_secs(60)).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone_and_the_longer_one_counts() {
        let mut pace = slack(Clock::pinned(Timestamp::EPOCH));
        pace.pause(Duration::from_secs(30));
        pace.pause(Duration::from_secs(3));
        assert_eq!(pace.take(), Err(Duration::from_secs(30)));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(pace.take(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_estimate_counts_what_the_burst_lets_through() {
        let mut pace = slack(Clock::pinned(Timestamp::EPOCH));
        assert_eq!(pace.estimate(1), Duration::ZERO);
        pace.take().unwrap();
        assert_eq!(pace.estimate(200), Duration::from_secs(200));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(pace.estimate(5), Duration::ZERO);
        assert_eq!(pace.estimate(65), Duration::from_secs(60));
    }

    #[test]
    fn backoff_doubles_to_its_limit() {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(300));
        let waits = [1, 2, 3, 9, 10, 40, u32::MAX]
            .map(|failures| backoff(first, max, failures, 0.0).as_secs());
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(backoff(first, max, 1, 1.0), Duration::from_millis(750));
    }
}
