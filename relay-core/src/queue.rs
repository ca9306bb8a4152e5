//! Which delivery goes next: the lanes of one peer.
//!
//! Strict priority between classes, except that a class left unserved for
//! `max_starvation` goes first; inside a class the lane that has had the least
//! for its weight; inside a lane the oldest. A lane knows names and sizes only:
//! the parcels themselves are [`crate::peer`]'s.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::change::Part;
use crate::id::PackNo;
use crate::limits::Limits;
use crate::segment::LaneRule;
use crate::time::Mono;

/// A parcel's place in its peer: packs rise with age, so the order is oldest
/// first.
pub type Key = (PackNo, Part);

/// One lane of one peer.
#[derive(Clone, Debug)]
pub struct Lane {
    /// How it is served.
    pub rule: LaneRule,
    /// Scheduled parcels in memory that share packs.
    pub ready: BTreeSet<Key>,
    /// Scheduled parcels in memory that travel by offer.
    pub ready_large: BTreeSet<Key>,
    /// Parcels whose in-flight mark is durable, to be cut into chunks.
    pub outbox: VecDeque<Key>,
    /// Parcels in flight.
    pub flying: usize,
    /// Their bytes.
    pub flying_bytes: u64,
    /// Durable waiting parcels that are in the ledger alone.
    pub unloaded: u64,
    /// Packs put but not yet durable that are not kept in memory.
    pub storing: BTreeSet<PackNo>,
    /// All waiting parcels up to here are in memory.
    pub cursor: Option<Key>,
    /// How many were unloaded when the page under way was asked for.
    pub paging: Option<u64>,
    /// Bytes served over weight, for fair shares.
    served: u64,
    /// When it last had a turn, or last had none to take.
    since: Mono,
}

impl Lane {
    /// An idle lane.
    #[must_use]
    pub const fn new(rule: LaneRule, unloaded: u64, now: Mono) -> Self {
        Self {
            rule,
            ready: BTreeSet::new(),
            ready_large: BTreeSet::new(),
            outbox: VecDeque::new(),
            flying: 0,
            flying_bytes: 0,
            unloaded,
            storing: BTreeSet::new(),
            cursor: None,
            paging: None,
            served: 0,
            since: now,
        }
    }

    /// Whether nothing older waits outside memory, so that a fresh parcel may be
    /// kept in it.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.unloaded == 0 && self.storing.is_empty() && self.paging.is_none()
    }

    /// Whether its window has room for one parcel more; one always fits.
    #[must_use]
    pub const fn is_open(&self, limits: &Limits) -> bool {
        self.flying == 0
            || (self.flying < limits.window_parcels && self.flying_bytes < limits.window_bytes)
    }

    /// Scheduled parcels in memory.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.ready.len() + self.ready_large.len()
    }

    /// Joins the lanes with work: it starts level with `floor`, so that idling
    /// saves nothing up.
    pub fn enter(&mut self, key: Key, floor: u64, now: Mono) {
        if self.outbox.is_empty() {
            self.served = self.served.max(floor);
            self.since = now;
        }
        self.outbox.push_back(key);
    }

    /// Notes a turn of `bytes`.
    pub fn serve(&mut self, bytes: u64, now: Mono) {
        self.served += bytes.max(1).div_ceil(u64::from(self.rule.weight.max(1)));
        self.since = now;
    }

    /// What it was given so far, over its weight.
    #[must_use]
    pub const fn served(&self) -> u64 {
        self.served
    }
}

/// The index, among `lanes`, of the lane whose outbox goes next.
pub fn next_lane<'a, N: Copy>(
    lanes: impl Iterator<Item = (N, &'a Lane)>,
    max_starvation: Duration,
    now: Mono,
) -> Option<N> {
    let rank = |lane: &Lane| {
        let starving = now.since(lane.since) >= max_starvation;
        let first = if starving {
            (0, lane.since.0)
        } else {
            (1, u64::from(lane.rule.class.level()))
        };
        (first, lane.served)
    };
    lanes
        .filter(|(_, lane)| !lane.outbox.is_empty())
        .min_by_key(|(_, lane)| rank(lane))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Class;

    const NOW: Mono = Mono(1_000_000_000);

    fn lane(class: u8, weight: u32) -> Lane {
        let class = Class::new(class).expect("a class");
        let mut lane = Lane::new(
            LaneRule {
                class,
                weight,
                budget: 8,
            },
            0,
            NOW,
        );
        lane.enter((PackNo(1), Part::Rest), 0, NOW);
        lane
    }

    fn next(lanes: &[Lane], now: Mono) -> Option<usize> {
        next_lane(lanes.iter().enumerate(), Duration::from_secs(30), now)
    }

    #[test]
    fn the_most_urgent_class_goes_first() {
        let lanes = [lane(6, 1), lane(1, 1), lane(4, 1)];

        assert_eq!(next(&lanes, NOW), Some(1));
    }

    #[test]
    fn a_starving_class_goes_before_a_more_urgent_one() {
        let mut lanes = [lane(6, 1), lane(1, 1)];
        let later = NOW + Duration::from_secs(30);
        lanes[1].serve(1, later);

        assert_eq!(next(&lanes, later), Some(0));
        lanes[0].serve(1, later);
        assert_eq!(next(&lanes, later), Some(1));
    }

    #[test]
    fn weights_share_a_class() {
        let mut lanes = [lane(4, 1), lane(4, 3)];
        let mut turns = [0, 0];

        for _ in 0..400 {
            let n = next(&lanes, NOW).expect("both have work");
            turns[n] += 1;
            lanes[n].serve(1_000, NOW);
        }

        assert_eq!(turns[0] + turns[1], 400);
        assert!((99..=101).contains(&turns[0]), "{turns:?}");
    }
}
