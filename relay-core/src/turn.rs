//! Whose turn it is: the lanes of one peer.
//!
//! Strict priority between classes, except that a class with work which was left
//! unserved for its longest wait goes first, the longest waiting of such before
//! the others. So a class waits at most its longest wait and one chunk of each
//! class that starves beside it.
//!
//! Inside a class each lane is given bytes in proportion to its weight. Deficit
//! round robin promises that two lanes with work never differ by more than a
//! quantum each; counting what each was given over its weight, and serving the
//! least, promises the same with one chunk as the quantum, without a round to
//! wait for: `|given(a)/weight(a) - given(b)/weight(b)| <= chunk/weight(a) +
//! chunk/weight(b)`. A lane that comes back with work starts level with the least
//! of those that have some, so that idling saves nothing up.

use std::time::Duration;

use crate::queue::Lane;
use crate::segment::Class;
use crate::time::Mono;

/// When each class last had a turn, or last began to have work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turns {
    since: [Mono; Class::COUNT],
}

impl Turns {
    /// `class` had no work, and has some.
    pub const fn begin(&mut self, class: Class, now: Mono) {
        self.since[class.level() as usize] = now;
    }

    /// `class` had a turn.
    pub const fn serve(&mut self, class: Class, now: Mono) {
        self.since[class.level() as usize] = now;
    }

    /// Since when `class` has had no turn though it has work.
    #[must_use]
    pub const fn since(&self, class: Class) -> Mono {
        self.since[class.level() as usize]
    }

    /// The lane whose outbox goes next; those for which `open` is false have no
    /// turn to take. Equals go in the order of `lanes`.
    pub fn next<'a, N: Copy>(
        &self,
        lanes: impl Iterator<Item = (N, &'a Lane)>,
        open: impl Fn(Class) -> bool,
        longest: Duration,
        now: Mono,
    ) -> Option<N> {
        let rank = |lane: &Lane| {
            let class = lane.rule.class;
            let since = self.since(class);
            let first = if now.since(since) >= longest {
                (0, since.0)
            } else {
                (1, u64::from(class.level()))
            };
            (first, class, lane.given())
        };
        lanes
            .filter(|(_, lane)| !lane.outbox.is_empty() && open(lane.rule.class))
            .min_by_key(|(_, lane)| rank(lane))
            .map(|(name, _)| name)
    }
}

/// How much of something bounded each class holds.
///
/// A class is held to the bound together with those more urgent, and not by those
/// less urgent: bulk that fills its bound holds up bulk, never an alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass([u64; Class::COUNT]);

impl ByClass {
    /// `class` holds this much more.
    pub const fn add(&mut self, class: Class, much: u64) {
        self.0[class.level() as usize] += much;
    }

    /// `class` holds this much less; nothing at the least.
    pub const fn take(&mut self, class: Class, much: u64) {
        let held = &mut self.0[class.level() as usize];
        *held = held.saturating_sub(much);
    }

    /// What counts against the bound for `class`: its own and all more urgent.
    #[must_use]
    pub fn against(&self, class: Class) -> u64 {
        self.0[..=class.level() as usize].iter().sum()
    }

    /// What all classes hold.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::change::Part;
    use crate::id::PackNo;
    use crate::segment::LaneRule;

    const NOW: Mono = Mono(1_000_000_000);
    const LONGEST: Duration = Duration::from_secs(30);

    fn class(level: u8) -> Class {
        Class::new(level).expect("a class")
    }

    fn lane(level: u8, weight: u32) -> Lane {
        let rule = LaneRule {
            class: class(level),
            weight,
            budget: 8,
        };
        let mut lane = Lane::new(rule, 0);
        lane.enter((PackNo(1), Part::Rest), 0);
        lane
    }

    fn begun(lanes: &[Lane]) -> Turns {
        let mut turns = Turns::default();
        for lane in lanes {
            turns.begin(lane.rule.class, NOW);
        }
        turns
    }

    fn next(turns: &Turns, lanes: &[Lane], now: Mono) -> Option<usize> {
        turns.next(lanes.iter().enumerate(), |_| true, LONGEST, now)
    }

    #[test]
    fn the_most_urgent_class_goes_first() {
        let lanes = [lane(6, 1), lane(1, 1), lane(4, 1)];

        assert_eq!(next(&begun(&lanes), &lanes, NOW), Some(1));
    }

    #[test]
    fn a_class_that_is_not_open_has_no_turn() {
        let lanes = [lane(6, 1), lane(1, 1)];
        let open = |of: Class| of != class(1);
        let lanes = lanes.iter().enumerate();

        let next = begun(&[]).next(lanes, open, LONGEST, Mono(0));

        assert_eq!(next, Some(0));
    }

    #[test]
    fn a_bound_filled_by_bulk_holds_up_no_alarm() {
        let mut held = ByClass::default();
        held.add(class(6), 100);
        held.add(class(1), 7);

        assert_eq!(held.against(class(1)), 7);
        assert_eq!(held.against(class(4)), 7);
        assert_eq!(held.against(class(6)), 107);
        held.take(class(6), 200);
        assert_eq!(held.whole(), 7);
    }

    proptest! {
        /// Lanes of one class that always have work: shares within one chunk each.
        #[test]
        fn shares_follow_weights_within_one_chunk(
            weights in proptest::collection::vec(1u32..20, 2..6),
            chunks in proptest::collection::vec(1u64..100_000, 1..120),
        ) {
            let mut lanes: Vec<Lane> = weights.iter().map(|w| lane(4, *w)).collect();
            let turns = begun(&lanes);
            let mut given = vec![0u128; lanes.len()];
            let longest = u128::from(*chunks.iter().max().expect("some"));
            for chunk in &chunks {
                let n = next(&turns, &lanes, NOW).expect("all have work");
                lanes[n].give(*chunk);
                given[n] += u128::from(*chunk);
                for (a, wa) in weights.iter().map(|w| u128::from(*w)).enumerate() {
                    for (b, wb) in weights.iter().map(|w| u128::from(*w)).enumerate() {
                        // given(a)/wa - given(b)/wb <= chunk/wa + chunk/wb, times wa*wb.
                        prop_assert!(given[a] * wb <= given[b] * wa + longest * (wa + wb) + wa * wb);
                    }
                }
            }
        }

        /// A lane that idles and comes back has its share from then on, and takes
        /// nothing of what the others were given meanwhile.
        #[test]
        fn idling_saves_nothing_up(idle in 1u64..2_000, weight in 1u32..8) {
            let mut lanes = [lane(4, weight), lane(4, weight)];
            lanes[1].outbox.clear();
            let turns = begun(&lanes);
            for _ in 0..idle {
                lanes[0].give(1_000);
            }
            let floor = lanes[0].given();
            lanes[1].enter((PackNo(2), Part::Rest), floor);
            let mut had = [0u64; 2];
            for _ in 0..100 {
                let n = next(&turns, &lanes, NOW).expect("both have work");
                lanes[n].give(1_000);
                had[n] += 1;
            }
            prop_assert!(had[0].abs_diff(had[1]) <= 1, "{had:?}");
        }

        /// Against a model: classes with work that comes and goes, each turn one
        /// chunk long. Nobody waits longer than the bound, and none goes before a
        /// more urgent one unless it has waited that long.
        #[test]
        fn no_class_waits_beyond_its_bound(
            steps in proptest::collection::vec((0usize..8, 1u64..3_000_000), 20..300),
        ) {
            let mut lanes: Vec<Lane> = (0..8).map(|level| lane(level, 1)).collect();
            for lane in &mut lanes {
                lane.outbox.clear();
            }
            let (mut turns, mut waits): (Turns, [Option<Mono>; 8]) = (Turns::default(), [None; 8]);
            let mut now = NOW;
            let longest_turn = Duration::from_secs(3);
            for (n, micros) in steps {
                // Classes 0 to 2 always have work; the others when drawn, until served.
                for busy in [0, 1, 2, n] {
                    if lanes[busy].outbox.is_empty() {
                        lanes[busy].enter((PackNo(1), Part::Rest), 0);
                        turns.begin(lanes[busy].rule.class, now);
                        waits[busy] = Some(now);
                    }
                }
                let took = next(&turns, &lanes, now).expect("some have work");
                let waited = |waits: &[Option<Mono>; 8], n: usize| {
                    waits[n].map_or(Duration::ZERO, |since| now.since(since))
                };
                if waited(&waits, took) < LONGEST {
                    let urgent = (0..took).any(|other| waits[other].is_some());
                    prop_assert!(!urgent, "class {} went first", took);
                }
                turns.serve(lanes[took].rule.class, now);
                if took > 2 {
                    lanes[took].outbox.clear();
                    waits[took] = None;
                } else {
                    waits[took] = Some(now);
                }
                for other in 0..8 {
                    prop_assert!(
                        waited(&waits, other) <= LONGEST + longest_turn * 8,
                        "class {} waited {:?}", other, waited(&waits, other)
                    );
                }
                now = now + Duration::from_micros(micros);
            }
        }
    }
}
