//! The token bucket: bytes per second, on a clock that moves only when told.
//!
//! A bucket holds at most one second of its rate. It admits a chunk when it is
//! above zero and may go into debt by at most that chunk, so that a segment
//! larger than the burst flows and one byte a second really suspends (semantics
//! 7). governor refuses debt and cannot change a limit in place, so this bucket
//! is our own, counted in millionths of a byte: no rounding ever adds up.

use std::time::Duration;

use crate::time::Mono;
use crate::units::Rate;

const MICRO: i64 = 1_000_000;
/// The fastest rate that is still limited: above it a bucket counts as open.
const FASTEST: u64 = 1 << 42;

/// One rate, and what may be sent now.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Millionths of a byte; negative is debt.
    level: i64,
    at: Mono,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, now: Mono) -> Self {
        let mut bucket = Self {
            rate,
            level: 0,
            at: now,
        };
        bucket.level = bucket.burst();
        bucket
    }

    /// The rate in force.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Bytes that may be sent at once; 0 in debt. `None` when unlimited.
    #[must_use]
    pub fn available(&self, now: Mono) -> Option<u64> {
        if self.unlimited() {
            return None;
        }
        Some(u64::try_from(self.level_at(now) / MICRO).unwrap_or(0))
    }

    /// Bytes in it, negative in debt, rounded down; `None` when unlimited.
    #[must_use]
    pub fn level(&self, now: Mono) -> Option<i64> {
        (!self.unlimited()).then(|| self.level_at(now).div_euclid(MICRO))
    }

    /// What it holds at most; 0 when unlimited.
    #[must_use]
    pub const fn burst_bytes(&self) -> u64 {
        self.burst().unsigned_abs() / MICRO.unsigned_abs()
    }

    /// Whether a chunk may go now; if not, when it may.
    ///
    /// # Errors
    /// The moment at which the bucket rises above zero.
    pub fn ready(&self, now: Mono) -> Result<(), Mono> {
        if self.unlimited() {
            return Ok(());
        }
        let level = self.level_at(now);
        if level > 0 {
            return Ok(());
        }
        let missing = level.unsigned_abs() + 1;
        let micros = missing.div_ceil(self.rate.0);
        Err(Mono(now.0.saturating_add(micros)))
    }

    /// When the bucket rises above zero, if it is not above it as far as told.
    #[must_use]
    pub fn opens(&self) -> Option<Mono> {
        self.ready(self.at).err()
    }

    /// Takes `bytes` out, into debt if need be.
    pub fn take(&mut self, now: Mono, bytes: u64) {
        if self.unlimited() {
            return;
        }
        let charge = i64::try_from(bytes)
            .unwrap_or(i64::MAX)
            .saturating_mul(MICRO);
        self.level = self.level_at(now).saturating_sub(charge);
        self.at = self.at.max(now);
    }

    /// Puts `bytes` that were taken and not used back in, up to the burst.
    pub fn give_back(&mut self, now: Mono, bytes: u64) {
        if self.unlimited() {
            return;
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let level = self
            .level_at(now)
            .saturating_add(bytes.saturating_mul(MICRO));
        self.level = level.min(self.burst());
        self.at = self.at.max(now);
    }

    /// Changes the rate: what was saved is cut to the new burst, debt stays.
    pub fn set_rate(&mut self, now: Mono, rate: Rate) {
        let was_unlimited = self.unlimited();
        let level = self.level_at(now);
        self.rate = rate;
        self.at = self.at.max(now);
        self.level = if was_unlimited {
            self.burst()
        } else {
            level.min(self.burst())
        };
    }

    /// The longest chunk under this rate: a tenth of a second of it, between
    /// 1 KiB (or the rate itself, if less) and 64 KiB; `None` when unlimited.
    #[must_use]
    pub fn chunk(&self) -> Option<u64> {
        if self.unlimited() {
            return None;
        }
        let rate = self.rate.0;
        Some((rate / 10).clamp(rate.min(1 << 10), 64 << 10))
    }

    /// How long one such chunk takes; `None` when unlimited.
    #[must_use]
    pub fn chunk_time(&self) -> Option<Duration> {
        let micros = self.chunk()?.saturating_mul(1_000_000) / self.rate.0.max(1);
        Some(Duration::from_micros(micros))
    }

    const fn unlimited(&self) -> bool {
        self.rate.is_unlimited() || self.rate.0 >= FASTEST
    }

    const fn burst(&self) -> i64 {
        if self.unlimited() {
            0
        } else {
            self.rate.0 as i64 * MICRO
        }
    }

    fn level_at(&self, now: Mono) -> i64 {
        let elapsed = i64::try_from(now.0.saturating_sub(self.at.0)).unwrap_or(i64::MAX);
        let earned = elapsed.saturating_mul(i64::try_from(self.rate.0).unwrap_or(i64::MAX));
        self.level.saturating_add(earned).min(self.burst())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Mono = Mono(1_000_000);

    #[test]
    fn a_segment_larger_than_the_burst_flows_at_the_rate() {
        let mut bucket = Bucket::new(Rate(64 << 10), START);
        let (mut now, mut sent) = (START, 0u64);
        let chunk = bucket.chunk().expect("limited");

        while sent < 1 << 20 {
            match bucket.ready(now) {
                Ok(()) => {
                    bucket.take(now, chunk);
                    sent += chunk;
                }
                Err(later) => now = later,
            }
        }

        let took = now.since(START);
        assert!(
            took >= Duration::from_secs(14) && took <= Duration::from_secs(16),
            "{took:?}"
        );
    }

    #[test]
    fn one_byte_a_second_suspends() {
        let mut bucket = Bucket::new(Rate(1), START);
        assert_eq!(bucket.chunk(), Some(1));
        bucket.take(START, 1);

        assert_eq!(bucket.ready(START), Err(START + Duration::from_micros(1)));
        bucket.take(START, 1);
        assert!(bucket.ready(START + Duration::from_millis(999)).is_err());
    }

    #[test]
    fn a_change_cuts_savings_to_the_new_burst_and_keeps_debt() {
        let mut bucket = Bucket::new(Rate(1_000), START);
        bucket.set_rate(START, Rate(10));
        assert_eq!(bucket.available(START), Some(10));

        bucket.take(START, 1_010);
        bucket.set_rate(START, Rate(1_000));
        assert_eq!(
            bucket.ready(START),
            Err(START + Duration::from_micros(1_000_001))
        );
        bucket.set_rate(START, Rate::UNLIMITED);
        assert_eq!(bucket.ready(START), Ok(()));
    }

    /// A bucket as the contract says it, in whole numbers that never overflow here:
    /// what was sent, what was earned, what was cut.
    struct Naive {
        rate: u64,
        /// Millionths of a byte.
        level: i128,
        at: u64,
    }

    impl Naive {
        fn new(rate: u64) -> Self {
            let level = i128::from(rate) * 1_000_000;
            let at = START.0;
            Self { rate, level, at }
        }

        fn earn(&mut self, now: Mono) {
            let earned = i128::from(self.rate) * i128::from(now.0 - self.at);
            let burst = i128::from(self.rate) * 1_000_000;
            self.level = (self.level + earned).min(burst);
            self.at = now.0;
        }

        fn set(&mut self, now: Mono, rate: u64) {
            self.earn(now);
            self.rate = rate;
            self.level = self.level.min(i128::from(rate) * 1_000_000);
        }
    }

    /// Time passes, and then perhaps the rate is another.
    fn changes() -> impl Strategy<Value = Vec<(u64, Option<u64>)>> {
        let rate = proptest::option::weighted(0.3, 1u64..2_000_000);
        proptest::collection::vec((0u64..1_500_000, rate), 1..120)
    }

    proptest! {
        #[test]
        fn over_changing_rates_debt_is_carried_and_savings_are_cut(
            rate in 1u64..2_000_000,
            steps in changes(),
        ) {
            let mut bucket = Bucket::new(Rate(rate), START);
            let mut naive = Naive::new(rate);
            let mut now = START;
            for (wait, rate) in steps {
                now = now + Duration::from_micros(wait);
                if let Some(rate) = rate {
                    bucket.set_rate(now, Rate(rate));
                    naive.set(now, rate);
                }
                naive.earn(now);
                prop_assert_eq!(bucket.ready(now).is_ok(), naive.level > 0);
                prop_assert_eq!(bucket.level(now), i64::try_from(naive.level.div_euclid(1_000_000)).ok());
                if let Err(at) = bucket.ready(now) {
                    naive.earn(at);
                    prop_assert!(naive.level > 0, "it opens when it says");
                    prop_assert!(naive.level <= i128::from(naive.rate), "and no sooner");
                    now = at;
                }
                let chunk = bucket.chunk().expect("limited");
                bucket.take(now, chunk);
                naive.level -= i128::from(chunk) * 1_000_000;
            }
        }

        #[test]
        fn no_window_passes_more_than_a_burst_what_its_rates_earned_and_a_chunk(
            rate in 1u64..2_000_000,
            steps in changes(),
        ) {
            let mut bucket = Bucket::new(Rate(rate), START);
            let (mut now, mut rate) = (START, rate);
            // What each stretch that began with a send has passed and was allowed.
            let mut open: Vec<(u128, u128)> = Vec::new();
            let mut largest = bucket.chunk().expect("limited");
            for (wait, other) in steps {
                now = now + Duration::from_micros(wait);
                open.iter_mut().for_each(|(_, may)| *may += u128::from(rate) * u128::from(wait));
                if let Some(other) = other {
                    bucket.set_rate(now, Rate(other));
                    rate = other;
                }
                let chunk = bucket.chunk().expect("limited");
                largest = largest.max(chunk);
                while bucket.ready(now).is_ok() {
                    bucket.take(now, chunk);
                    open.push((0, u128::from(rate) * 1_000_000));
                    open.iter_mut().for_each(|(sent, _)| *sent += u128::from(chunk) * 1_000_000);
                }
                for (sent, may) in &open {
                    prop_assert!(*sent <= may + u128::from(largest) * 1_000_000);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_window_passes_more_than_burst_and_rate_and_one_chunk(
            rate in 1u64..10_000_000,
            steps in proptest::collection::vec(0u64..2_000_000, 1..200),
        ) {
            let mut bucket = Bucket::new(Rate(rate), START);
            let chunk = bucket.chunk().expect("limited");
            let mut now = START;
            let mut sends: Vec<(Mono, u64)> = Vec::new();
            for step in steps {
                now = now + Duration::from_micros(step);
                while bucket.ready(now).is_ok() {
                    bucket.take(now, chunk);
                    sends.push((now, chunk));
                }
            }
            for (n, (from, _)) in sends.iter().enumerate().step_by(7) {
                let mut sum = 0u128;
                for (at, bytes) in &sends[n..] {
                    sum += u128::from(*bytes);
                    let micros = u128::from(at.0 - from.0);
                    let allowed = u128::from(rate) * 1_000_000
                        + u128::from(rate) * micros
                        + u128::from(chunk) * 1_000_000;
                    prop_assert!(sum * 1_000_000 <= allowed);
                }
            }
        }
    }
}
