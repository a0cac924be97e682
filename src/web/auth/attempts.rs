//! Limits on password guesses, per address and in total.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Time for which a guess counts.
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum number of wrong guesses of one address in that time.
const OF_ONE: usize = 5;
/// Maximum number of wrong guesses in total; few enough for a list.
const OF_ALL: usize = 30;

/// Guesses of the last minute that were wrong or are still being checked.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    made: VecDeque<Guess>,
    next: u64,
}

#[derive(Debug)]
struct Guess {
    number: u64,
    at: Duration,
    from: Vec<IpAddr>,
}

impl Attempts {
    /// Records a guess for each of these addresses. It counts as wrong until [`Attempts::forgive`],
    /// so a client that hangs up early has guessed too.
    ///
    /// # Errors
    ///
    /// Time to wait before the next guess.
    pub(super) fn begin(&mut self, from: &[IpAddr], now: Duration) -> Result<u64, Duration> {
        while self
            .made
            .front()
            .is_some_and(|first| first.at + MINUTE <= now)
        {
            self.made.pop_front();
        }
        let from: Vec<IpAddr> = from.iter().copied().map(household).collect();
        // Returns the time of the guess that must expire before another one is allowed.
        let oldest = |made: &[&Guess], most: usize| {
            let index = made.len().checked_sub(most)?;
            made.get(index).map(|attempt| attempt.at)
        };
        let everyone: Vec<&Guess> = self.made.iter().collect();
        let all = oldest(&everyone, OF_ALL);
        let ones = from.iter().filter_map(|one| {
            let own = everyone.iter().filter(|attempt| attempt.from.contains(one));
            oldest(&own.copied().collect::<Vec<_>>(), OF_ONE)
        });
        if let Some(until) = all.into_iter().chain(ones).max() {
            return Err((until + MINUTE).saturating_sub(now));
        }
        self.next += 1;
        self.made.push_back(Guess {
            number: self.next,
            at: now,
            from,
        });
        Ok(self.next)
    }

    /// Removes a guess that was right or never checked.
    pub(super) fn forgive(&mut self, number: u64) {
        self.made.retain(|attempt| attempt.number != number);
    }
}

/// Returns the address that guesses count for. An IPv6 customer has at least a /64, so only that
/// part counts.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(attempts: &mut Attempts, from: &str, at: u64) -> Result<u64, u64> {
        attempts
            .begin(&[from.parse().unwrap()], Duration::from_secs(at))
            .map_err(|wait| wait.as_secs())
    }

    #[test]
    fn five_wrong_ones_a_minute_and_right_ones_cost_nothing() {
        let mut attempts = Attempts::default();
        for n in 0..40 {
            let right = guess(&mut attempts, "192.0.2.1", n / 4).unwrap();
            attempts.forgive(right);
        }
        for second in 10..15 {
            assert!(guess(&mut attempts, "192.0.2.1", second).is_ok());
        }
        assert_eq!(guess(&mut attempts, "192.0.2.1", 15), Err(55));
        assert_eq!(
            guess(&mut attempts, "::ffff:192.0.2.1", 69),
            Err(1),
            "the same in other clothes"
        );
        assert!(guess(&mut attempts, "192.0.2.2", 15).is_ok(), "another");
        assert!(guess(&mut attempts, "192.0.2.1", 70).is_ok());
        assert_eq!(guess(&mut attempts, "192.0.2.1", 70), Err(1));
    }

    #[test]
    fn a_whole_network_is_one_and_all_together_have_thirty() {
        let mut attempts = Attempts::default();
        for n in 0..5 {
            assert!(guess(&mut attempts, &format!("2001:db8::{n}"), 0).is_ok());
        }
        assert_eq!(guess(&mut attempts, "2001:db8::ffff:1", 0), Err(60));
        for n in 0..25 {
            assert!(
                guess(&mut attempts, &format!("2001:db8:0:{}::1", n + 1), n).is_ok(),
                "{n}"
            );
        }
        assert_eq!(guess(&mut attempts, "192.0.2.1", 24), Err(36));
        assert!(guess(&mut attempts, "192.0.2.1", 60).is_ok());
    }

    #[test]
    fn a_guess_counts_for_each_address_it_may_be_of() {
        let mut attempts = Attempts::default();
        let mut guess = |from: [&str; 2]| {
            attempts
                .begin(&from.map(|one| one.parse().unwrap()), Duration::ZERO)
                .is_ok()
        };
        for n in 0..5 {
            assert!(guess(["10.0.0.7", &format!("192.0.2.{n}")]), "{n}");
        }
        assert!(!guess(["10.0.0.7", "192.0.2.9"]));
        assert!(guess(["10.0.0.8", "192.0.2.9"]));
    }
}
