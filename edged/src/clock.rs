//! The only reader of the operating system's clocks.
//!
//! A [`Clock`] is a moment at which the age clock was set; from there it follows
//! CLOCK_BOOTTIME, which counts suspended time and never jumps, whatever becomes of
//! the wall clock. [`start`] sets that of this process, once, before anything runs;
//! who asks earlier is told the wall clock, as at a first start.
//!
//! A test that wants a week to pass says so with [`sleep_for`]: nothing else in this
//! crate does, and no key, flag, variable or word on a socket leads there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use relay_core::age::{self, Gap, Stamp};
use relay_core::time::{Mono, Now, Unix};

/// No build of this source is older: a wall clock that stands before it is wrong.
/// `SOURCE_DATE_EPOCH`, in seconds, raises it to the day of the build.
const FLOOR: Unix = match option_env!("SOURCE_DATE_EPOCH") {
    Some(seconds) => match u64::from_str_radix(seconds, 10) {
        Ok(seconds) => Unix(seconds.saturating_mul(1_000)),
        Err(_) => panic!("SOURCE_DATE_EPOCH is a number of seconds since 1970"),
    },
    // 2025-01-01.
    None => Unix(1_735_689_600_000),
};

/// The clock of this process. Set once: what has aged does not grow younger.
static CLOCK: OnceLock<Clock> = OnceLock::new();
/// Milliseconds by which this process takes its machine to have slept beyond what it
/// did: 0 outside tests.
static SLEPT: AtomicU64 = AtomicU64::new(0);

/// An age clock: where it stood when, and how fast the rest is (one second a second).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    since: Mono,
    age: Unix,
}

impl Clock {
    /// The age clock that stood at `age` when the timer clock stood at `since`.
    #[must_use]
    pub const fn set(since: Mono, age: Unix) -> Self {
        Self { since, age }
    }

    /// All clocks, given what the system's two say.
    #[must_use]
    pub fn read(self, mono: Mono, wall: Unix) -> Now {
        Now {
            mono,
            unix: self.age + mono.since(self.since),
            wall,
        }
    }
}

/// Sets this process's age clock to go on from what the last run kept, and answers
/// how long it was away and what to keep of this moment. Only the first call sets it.
pub fn start(last: Option<Stamp>) -> (Gap, Now) {
    let (mono, wall) = system();
    let (age, gap) = age::resume(last, wall, FLOOR);
    let clock = *CLOCK.get_or_init(|| Clock::set(mono, age));
    (gap, clock.read(mono, wall))
}

/// All clocks, read once.
#[must_use]
pub fn now() -> Now {
    let (mono, wall) = system();
    let clock = CLOCK.get().copied();
    clock.unwrap_or(Clock::set(mono, wall)).read(mono, wall)
}

/// What to keep of `now` for the next start.
#[must_use]
pub fn stamp(now: Now) -> Stamp {
    Stamp::of(now, FLOOR)
}

/// For tests: takes the machine to have slept for so long just now. All clocks of this
/// process go on from there, [`awake`] as it was. The shell of a test calls it
/// (`tests/node.rs`); `tests/tidy.rs` sees to it that no program we ship can.
pub fn sleep_for(time: Duration) {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    SLEPT.fetch_add(millis, Ordering::SeqCst);
}

/// CLOCK_BOOTTIME, for timers, and the wall clock.
fn system() -> (Mono, Unix) {
    let slept = Duration::from_millis(SLEPT.load(Ordering::SeqCst));
    let mono = read(ClockId::CLOCK_BOOTTIME) + slept;
    let wall = read(ClockId::CLOCK_REALTIME) + slept;
    (
        Mono(u64::try_from(mono.as_micros()).unwrap_or(u64::MAX)),
        Unix(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    )
}

/// How long this machine has been awake (CLOCK_MONOTONIC): what it lacks to the timer
/// clock of [`now`] it slept.
#[must_use]
pub fn awake() -> Mono {
    let awake = read(ClockId::CLOCK_MONOTONIC);
    Mono(u64::try_from(awake.as_micros()).unwrap_or(u64::MAX))
}

/// A clock the kernel always has; one that stands before 1970 reads as 1970.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec()).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_wall_clock_that_jumps_ages_nothing() {
        let clock = Clock::set(Mono(5_000_000), Unix(1_000 * HOUR));
        let later = Mono(5_000_000 + HOUR * 1_000);

        for wall in [0, 1_001 * HOUR, 90_000 * HOUR] {
            let now = clock.read(later, Unix(wall));
            assert_eq!((now.unix, now.wall), (Unix(1_001 * HOUR), Unix(wall)));
        }
    }

    #[test]
    fn the_first_to_set_the_clock_of_a_process_sets_it_for_good() {
        let kept = |age| {
            Some(Stamp {
                age: Unix(age),
                wall: None,
            })
        };

        let (_, first) = start(kept(7 * HOUR));
        let (_, second) = start(kept(9_000 * HOUR));

        assert!(second.unix >= first.unix);
        assert!(second.unix.0 - first.unix.0 < HOUR);
        assert!(now().unix >= second.unix);
    }
}
