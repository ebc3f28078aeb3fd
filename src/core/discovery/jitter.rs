//! Small random numbers, so that nodes do not act in step. Nothing secret depends on them.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Three quarters to five quarters of `delay`.
    pub fn around(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(0.75 + 0.5 * self.fraction())
    }

    /// `delay` and up to a fifth more.
    pub fn beyond(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(1.0 + 0.2 * self.fraction())
    }

    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as f64 / f64::from(u32::MAX)
    }
}

/// `first`, doubled `times` times, at most `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_its_range_and_varies() {
        let mut jitter = Jitter::new(1);
        let delays: Vec<_> =
            (0..100).map(|_| jitter.around(Duration::from_secs(100)).as_secs()).collect();
        assert!(delays.iter().all(|delay| (75..=125).contains(delay)));
        assert!(delays.iter().any(|&delay| delay < 85) && delays.iter().any(|&delay| delay > 115));
        assert!((60..=72).contains(&jitter.beyond(Duration::from_secs(60)).as_secs()));
    }

    #[test]
    fn doubles_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        let delays = [0, 1, 3, 4, u32::MAX].map(|times| doubled(first, times, longest).as_secs());
        assert_eq!(delays, [1, 2, 8, 10, 10]);
    }
}
