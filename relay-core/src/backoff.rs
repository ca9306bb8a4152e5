//! How long to wait after a failure.
//!
//! Delays double from [`Backoff::first`] up to [`Backoff::longest`], and each is
//! spread over its upper half so that relays that failed together do not return
//! together. The spread is applied after the cap, so it never vanishes, and is
//! drawn by the caller: this file owns no randomness.

use std::time::Duration;

/// A doubling wait with a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (from 1), given one
    /// drawn number; between half of the capped wait and all of it.
    #[must_use]
    pub fn wait(&self, failures: u32, drawn: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(40);
        let grown = self
            .first
            .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let capped = grown.min(self.longest);
        let micros = u64::try_from(capped.as_micros()).unwrap_or(u64::MAX);
        let half = micros / 2;
        Duration::from_micros(micros - half + drawn % (half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
    };

    #[test]
    fn waits_double_up_to_the_longest_and_keep_their_spread_there() {
        for (failures, full) in [
            (1, 1),
            (2, 2),
            (5, 16),
            (9, 256),
            (10, 300),
            (4_000_000, 300),
        ] {
            let full = Duration::from_secs(full);
            let drawn = [0, 1, 12_345_678_901, u64::MAX];
            let waits = drawn.map(|drawn| BACKOFF.wait(failures, drawn));
            assert!(
                waits.iter().all(|w| *w >= full / 2 && *w <= full),
                "{failures}: {waits:?}"
            );
            assert_eq!(waits[0], full / 2);
            assert!(waits.iter().any(|w| *w != waits[0]));
        }
    }
}
