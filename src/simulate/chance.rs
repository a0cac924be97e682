//! Random numbers from a seed: the same seed gives the same network and the same week in every
//! release.

use std::time::Duration;

/// SplitMix64. It is written out because no crate promises the same numbers in all versions, and
/// the regression tests name their weeks by seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Returns the sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a separate sequence for a part, so that a change in one part leaves the others
    /// unchanged.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        let mixed = name
            .bytes()
            .fold(self.0 ^ 0x005e_ed0f_f06b_0a11, |hash, byte| {
                (hash ^ u64::from(byte))
                    .wrapping_mul(0x0000_0100_0000_01b3)
                    .rotate_left(23)
            });
        Self(mixed)
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.number() % most.saturating_sub(least).saturating_add(1).max(1)
    }

    /// Returns a duration from `least` to `most`, in milliseconds.
    pub fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.between(millis(least), millis(most)))
    }

    /// Returns a duration like [`Chance::span`], in seconds.
    pub fn seconds(&mut self, least: u64, most: u64) -> Duration {
        self.span(Duration::from_secs(least), Duration::from_secs(most))
    }

    /// Returns a duration like [`Chance::span`], in minutes.
    pub fn minutes(&mut self, least: u64, most: u64) -> Duration {
        self.seconds(least * 60, most * 60)
    }

    /// Returns true with this probability in percent.
    pub fn percent(&mut self, of_a_hundred: u64) -> bool {
        self.between(1, 100) <= of_a_hundred
    }

    /// Returns one of the items; `None` if there are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.number() % (from.len().max(1) as u64)).unwrap_or(0);
        from.get(at)
    }

    /// Returns one of the texts; an empty one if there are none.
    pub fn word<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.pick(from).copied().unwrap_or_default()
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = usize::try_from(self.between(0, last as u64)).unwrap_or(0);
            all.swap(last, other);
        }
    }

    /// Returns an id in Mist's form.
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_for_ever() {
        let mut chance = Chance::new(7);
        assert_eq!(
            [chance.number(), chance.number()],
            [0x63cb_e1e4_5932_0dd7, 0x044c_3cd7_f43c_661c]
        );
        assert_ne!(
            Chance::new(7).part("noise").number(),
            Chance::new(7).part("faults").number()
        );
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut chance = Chance::new(1);
        for _ in 0..1_000 {
            assert!((3..=5).contains(&chance.between(3, 5)));
        }
        assert_eq!(chance.between(4, 4), 4);
        assert_eq!(chance.pick::<u8>(&[]), None);
        let mut all: Vec<u8> = (0..50).collect();
        chance.shuffle(&mut all);
        assert_ne!(all, (0..50).collect::<Vec<u8>>());
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<u8>>());
        assert_eq!(chance.uuid().len(), 36);
    }
}
