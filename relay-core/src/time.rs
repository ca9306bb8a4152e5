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
