//! The age clock across a restart: how much older everything is (semantics 6).
//!
//! What ages (TTL, backoff, retention, keys, leases) runs on a clock that looks
//! like the wall clock and does not jump. While a node runs it is a fixed point
//! plus the time since, counted by a clock that never jumps; only at a start must
//! somebody say how long the node was away, and the wall clock is all there is to
//! ask. [`resume`] believes it as far as it can be believed: never backwards,
//! never more than [`LONGEST_GAP`], and not at all when it stands before what is
//! known to be past.
//!
//! A [`Stamp`] is what is kept for the next start, with each group that commits:
//! an idle node writes nothing, so its age may stand back by that much if its wall
//! clock is then not to be believed.

use std::time::Duration;

use crate::limits::LONGEST_GAP;
use crate::time::{Now, Unix};

/// Both clocks at one moment, as kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The age clock.
    pub age: Unix,
    /// The wall clock; `None` when it was not to be believed then, so that no gap
    /// is measured from it.
    pub wall: Option<Unix>,
}

impl Stamp {
    /// What to keep of `now`, if no sound wall clock stands before `floor`.
    #[must_use]
    pub fn of(now: Now, floor: Unix) -> Self {
        Self {
            age: now.unix,
            wall: (now.wall >= floor).then_some(now.wall),
        }
    }
}

/// What was made of the time between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// There was no earlier run.
    First,
    /// The wall clock says so long.
    Passed(Duration),
    /// The wall clock says longer than [`LONGEST_GAP`], which is what counts.
    Clamped,
    /// The wall clock cannot be believed: no time has passed.
    Untrusted,
}

/// Where the age clock goes on from, given what the last run kept and what the
/// wall clock says; no sound wall clock stands before `floor`.
#[must_use]
pub fn resume(last: Option<Stamp>, wall: Unix, floor: Unix) -> (Unix, Gap) {
    let Some(Stamp { age, wall: before }) = last else {
        return (wall.max(floor), Gap::First);
    };
    let Some(before) = before.filter(|before| wall >= floor && wall >= *before) else {
        return (age, Gap::Untrusted);
    };
    let passed = Duration::from_millis(wall.0 - before.0);
    if passed > LONGEST_GAP {
        (age + LONGEST_GAP, Gap::Clamped)
    } else {
        (age + passed, Gap::Passed(passed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Unix = Unix(1_700_000_000_000);
    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    const fn stamp(age: u64, wall: u64) -> Option<Stamp> {
        Some(Stamp {
            age: Unix(age),
            wall: Some(Unix(wall)),
        })
    }

    #[test]
    fn a_first_start_looks_like_the_wall_clock_and_never_like_the_past() {
        let later = Unix(FLOOR.0 + HOUR);

        assert_eq!(resume(None, later, FLOOR), (later, Gap::First));
        assert_eq!(resume(None, Unix(0), FLOOR), (FLOOR, Gap::First));
    }

    #[test]
    fn time_away_counts_up_to_a_month() {
        let last = stamp(5, FLOOR.0);
        let month = LONGEST_GAP.as_millis() as u64;
        let at = |gap: u64| resume(last, Unix(FLOOR.0 + gap), FLOOR);

        let hour = Gap::Passed(Duration::from_millis(HOUR));
        assert_eq!(at(HOUR), (Unix(5 + HOUR), hour));
        assert_eq!(at(month).1, Gap::Passed(LONGEST_GAP));
        assert_eq!(at(month + 1), (Unix(5 + month), Gap::Clamped));
        assert_eq!(at(10 * YEAR), (Unix(5 + month), Gap::Clamped));
    }

    #[test]
    fn a_wall_clock_that_stands_in_the_past_counts_for_nothing() {
        let last = stamp(9 * HOUR, FLOOR.0 + YEAR);
        let stays = (Unix(9 * HOUR), Gap::Untrusted);

        assert_eq!(resume(last, Unix(FLOOR.0 + YEAR - 1), FLOOR), stays);
        assert_eq!(resume(last, Unix(0), FLOOR), stays);
        // Before the floor, even if later than what was kept.
        assert_eq!(resume(stamp(9 * HOUR, 1), Unix(FLOOR.0 - 1), FLOOR), stays);
    }

    #[test]
    fn no_gap_is_measured_from_a_clock_that_was_wrong_when_it_was_kept() {
        // A board without a battery: 1970 at boot, the right year after NTP.
        let now = Now {
            unix: Unix(FLOOR.0 + HOUR),
            wall: Unix(20_000),
            ..Now::default()
        };

        let kept = Stamp::of(now, FLOOR);

        assert_eq!(kept.wall, None);
        let (age, gap) = resume(Some(kept), Unix(FLOOR.0 + YEAR), FLOOR);
        assert_eq!((age, gap), (now.unix, Gap::Untrusted));
    }

    /// One run: how long it lasts, how the wall clock jumps in it and after it,
    /// how long the node is then away. All in milliseconds.
    #[derive(Clone, Copy, Debug)]
    struct Run {
        lasts: u64,
        jump: i64,
        away: u64,
        jump_away: i64,
    }

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        let jump = || prop_oneof![3 => Just(0), 1 => -(10 * YEAR as i64)..10 * YEAR as i64];
        let run = (0..40 * 24 * HOUR, jump(), 0..40 * 24 * HOUR, jump());
        let run = run.prop_map(|(lasts, jump, away, jump_away)| Run {
            lasts,
            jump,
            away,
            jump_away,
        });
        proptest::collection::vec(run, 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_the_wall_clock_does_a_start_ages_by_no_time_or_the_wall_time_up_to_a_month(runs in runs()) {
            let month = LONGEST_GAP.as_millis() as u64;
            let (mut truth, mut ahead, mut last) = (FLOOR.0 + YEAR, 0i64, None);
            for run in runs {
                let wall = Unix(truth.saturating_add_signed(ahead));
                let (base, _) = resume(last, wall, FLOOR);
                if let Some(Stamp { age, wall: before }) = last {
                    let gained = base.0.checked_sub(age.0).expect("it never goes back");
                    let honest = before.and_then(|before| wall.0.checked_sub(before.0));
                    let honest = honest.filter(|_| wall >= FLOOR);
                    prop_assert_eq!(gained, honest.unwrap_or(0).min(month));
                }
                truth += run.lasts;
                ahead += run.jump;
                let now = Now {
                    unix: Unix(base.0 + run.lasts),
                    wall: Unix(truth.saturating_add_signed(ahead)),
                    ..Now::default()
                };
                last = Some(Stamp::of(now, FLOOR));
                truth += run.away;
                ahead += run.jump_away;
            }
        }
    }
}
