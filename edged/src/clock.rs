//! The only reader of the operating system's clocks.

use nix::time::{ClockId, clock_gettime};
use relay_core::time::{Mono, Now, Unix};

/// Both clocks, read once: CLOCK_BOOTTIME, which counts suspended time, for
/// timers, and the wall clock for rows and people.
#[must_use]
pub fn now() -> Now {
    let mono = read(ClockId::CLOCK_BOOTTIME);
    let wall = read(ClockId::CLOCK_REALTIME);
    let wall = Unix(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    Now {
        mono: Mono(u64::try_from(mono.as_micros()).unwrap_or(u64::MAX)),
        unix: wall,
        wall,
    }
}

/// How long this machine has been awake (CLOCK_MONOTONIC): what it lacks to the timer
/// clock of [`now`] it slept.
#[must_use]
pub fn awake() -> Mono {
    let awake = read(ClockId::CLOCK_MONOTONIC);
    Mono(u64::try_from(awake.as_micros()).unwrap_or(u64::MAX))
}

/// A clock the kernel always has; one that stands before 1970 reads as 1970.
fn read(clock: ClockId) -> std::time::Duration {
    clock_gettime(clock).map_or(std::time::Duration::ZERO, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        std::time::Duration::new(seconds, u32::try_from(time.tv_nsec()).unwrap_or(0))
    })
}
