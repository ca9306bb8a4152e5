//! Moments: what the shell reads from its clocks and hands to the core.
//!
//! [`Mono`] drives timers and never goes back; [`Unix`] is for people and for
//! rows that outlive a run. The core reads neither: every call carries a [`Now`].

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since an arbitrary start of this run, in microseconds. Counts suspended
/// time (CLOCK_BOOTTIME), never goes back, means nothing after a restart.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mono(pub u64);

/// Milliseconds since 1970-01-01 UTC: of the age clock in rows, of the wall clock
/// where it says so.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Unix(pub u64);

/// All clocks, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// For timers.
    pub mono: Mono,
    /// For rows, and all that ages: the age clock (semantics 6). It looks like the
    /// wall clock and does not jump.
    pub unix: Unix,
    /// For people, the audit and contact windows: the wall clock. It may jump.
    pub wall: Unix,
}

impl Now {
    /// What the wall clock would have said when the age clock said `at`, as far as
    /// anyone knows today. The two clocks count seconds a little differently, which
    /// is nobody's business: whole seconds between them are shown, no less.
    #[must_use]
    pub const fn on_the_wall(self, at: Unix) -> Unix {
        if self.wall.0 >= self.unix.0 {
            Unix(at.0.saturating_add(whole_seconds(self.wall.0 - self.unix.0)))
        } else {
            Unix(at.0.saturating_sub(whole_seconds(self.unix.0 - self.wall.0)))
        }
    }
}

/// The nearest whole second, in milliseconds.
const fn whole_seconds(millis: u64) -> u64 {
    millis.saturating_add(500) / 1_000 * 1_000
}

impl Mono {
    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    /// Saturates at the end of time, so that "never" stays never.
    fn add(self, wait: Duration) -> Self {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl Add<Duration> for Unix {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn apart(unix: u64, wall: u64) -> Now {
        Now {
            mono: Mono(0),
            unix: Unix(unix),
            wall: Unix(wall),
        }
    }

    #[test]
    fn a_row_shows_the_wall_clock_of_today() {
        assert_eq!(
            apart(5_000, 905_000).on_the_wall(Unix(4_321)),
            Unix(904_321)
        );
        assert_eq!(
            apart(905_000, 5_000).on_the_wall(Unix(904_321)),
            Unix(4_321)
        );
        assert_eq!(apart(905_000, 5_000).on_the_wall(Unix(1)), Unix(0));
    }

    #[test]
    fn two_looks_at_a_row_show_the_same_time() {
        for drift in 0..500 {
            assert_eq!(apart(5_000, 5_000 + drift).on_the_wall(Unix(7)), Unix(7));
            assert_eq!(apart(5_000, 5_000 - drift).on_the_wall(Unix(7)), Unix(7));
        }
    }
}
