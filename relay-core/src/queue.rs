//! One lane of one peer: what waits in it, and which of that begins next.
//!
//! The oldest begins first. While a backlog is being worked off, what was put
//! since goes beside it, one for one, so that neither waits for the other: such
//! fresh parcels are kept in memory, a bounded number of them, though older ones
//! wait in the ledger. A lane knows names and sizes only; the parcels themselves
//! are [`crate::peer`]'s, and whose turn it is among lanes is [`crate::turn`]'s.

use std::collections::VecDeque;

use crate::change::Part;
use crate::id::PackNo;
use crate::limits::Limits;
use crate::ordered::Ordered;
use crate::segment::LaneRule;

/// A parcel's place in its peer: packs rise with age, so the order is oldest
/// first.
pub type Key = (PackNo, Part);

/// One lane of one peer.
#[derive(Clone, Debug)]
pub struct Lane {
    /// How it is served.
    pub rule: LaneRule,
    /// Scheduled parcels in memory that share packs.
    pub ready: Ordered<Key>,
    /// Scheduled parcels in memory that travel by offer.
    pub ready_large: Ordered<Key>,
    /// Scheduled parcels in memory that were put while older ones wait in the
    /// ledger, of either kind.
    pub fresh: Ordered<Key>,
    /// Parcels put and kept in memory that wait here once they are durable.
    pub coming: usize,
    /// Whether the next to begin is a fresh one, if there are both.
    pub turn_of_fresh: bool,
    /// Settled parcels that could not be let go of while a page was under way.
    pub lingering: Vec<Key>,
    /// Parcels whose in-flight mark is durable, to be cut into chunks.
    pub outbox: VecDeque<Key>,
    /// Parcels in flight.
    pub flying: usize,
    /// Their bytes.
    pub flying_bytes: u64,
    /// Durable waiting parcels that are in the ledger alone.
    pub unloaded: u64,
    /// Packs put but not yet durable that are not kept in memory.
    pub storing: Ordered<PackNo>,
    /// All waiting parcels up to here are in memory.
    pub cursor: Option<Key>,
    /// How many were unloaded when the page under way was asked for.
    pub paging: Option<u64>,
    /// Whether the round of pages under way brought anything, or something joined what it
    /// is about.
    pub brought: bool,
    /// Whether something left memory since that it may show as it was.
    pub page_is_stale: bool,
    /// What it was given, over its weight.
    given: Given,
}

/// Bytes over weight, in parts so small that no weight is rounded away.
pub type Given = u128;

/// How many of such parts make a byte.
const PARTS: u128 = 1 << 32;

impl Lane {
    /// An idle lane.
    #[must_use]
    pub const fn new(rule: LaneRule, unloaded: u64) -> Self {
        Self {
            rule,
            ready: Ordered::new(),
            ready_large: Ordered::new(),
            fresh: Ordered::new(),
            coming: 0,
            turn_of_fresh: false,
            lingering: Vec::new(),
            outbox: VecDeque::new(),
            flying: 0,
            flying_bytes: 0,
            unloaded,
            storing: Ordered::new(),
            cursor: None,
            paging: None,
            brought: false,
            page_is_stale: false,
            given: 0,
        }
    }

    /// Whether nothing older waits outside memory, so that a fresh parcel may be
    /// kept in it.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.unloaded == 0 && self.storing.is_empty() && self.paging.is_none()
    }

    /// Whether one more that is put before its turn may be kept in memory.
    #[must_use]
    pub fn has_room_for_fresh(&self, limits: &Limits) -> bool {
        self.fresh.len() + self.coming < limits.fresh()
    }

    /// Whether its window has room for one parcel more; one always fits.
    #[must_use]
    pub const fn is_open(&self, limits: &Limits) -> bool {
        self.flying == 0
            || (self.flying < limits.window_parcels && self.flying_bytes < limits.window_bytes)
    }

    /// Scheduled parcels in memory that are not fresh.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.ready.len() + self.ready_large.len()
    }

    /// Whether a parcel is here to begin.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.loaded() > 0 || !self.fresh.is_empty()
    }

    /// The parcel that begins next; a large one only if `fits` says so.
    pub fn next(&self, fits: impl Fn(&Key) -> bool) -> Option<Key> {
        let small = self.ready.first();
        let large = self.ready_large.first().filter(|key| fits(key));
        let old = match (small, large) {
            (Some(small), Some(large)) => Some(small.min(large)),
            (small, large) => small.or(large),
        };
        let fresh = self.fresh.first();
        let fresh_first = match (old, fresh) {
            (Some(old), Some(fresh)) => {
                // Once the backlog is done the oldest goes first again.
                self.turn_of_fresh || (fresh < old && self.is_caught_up())
            }
            (None, Some(_)) => true,
            (Some(_) | None, None) => false,
        };
        // Looked at only when its turn has come: it may be far from where we are.
        let fresh = fresh.filter(|key| fresh_first && fits(key));
        fresh.or(old).copied()
    }

    /// `key`, which [`Lane::next`] gave, begins.
    pub fn begin(&mut self, key: Key) {
        self.turn_of_fresh = !self.fresh.contains(&key);
        self.remove(key);
    }

    /// Takes a parcel out of whatever it waits in.
    pub fn remove(&mut self, key: Key) {
        let _ = self.ready.remove(&key) || self.ready_large.remove(&key) || self.fresh.remove(&key);
    }

    /// Joins the lanes with work: it starts level with `floor`, so that idling
    /// saves nothing up.
    pub fn enter(&mut self, key: Key, floor: Given) {
        if self.outbox.is_empty() {
            self.given = self.given.max(floor);
        }
        self.outbox.push_back(key);
    }

    /// Stands level with `floor`: what it was given beside other lanes says nothing here.
    pub const fn join(&mut self, floor: Given) {
        self.given = floor;
    }

    /// Notes a turn of `bytes`.
    pub fn give(&mut self, bytes: u64) {
        self.given += u128::from(bytes.max(1)) * PARTS / u128::from(self.rule.weight.max(1));
    }

    /// What it was given so far, over its weight.
    #[must_use]
    pub const fn given(&self) -> Given {
        self.given
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::segment::Class;

    fn lane() -> Lane {
        let class = Class::new(4).expect("a class");
        let rule = LaneRule {
            class,
            weight: 1,
            budget: 8,
        };
        Lane::new(rule, 0)
    }

    const fn key(pack: u64) -> Key {
        (PackNo(pack), Part::Rest)
    }

    fn starts(lane: &mut Lane) -> Vec<u64> {
        let mut starts = Vec::new();
        while let Some(key) = lane.next(|_| true) {
            lane.begin(key);
            starts.push(key.0.0);
        }
        starts
    }

    #[test]
    fn without_a_backlog_segments_start_in_put_order() {
        let mut lane = lane();
        lane.ready.extend([3, 1, 5].map(key));
        lane.ready_large.extend([2, 4].map(key));

        assert_eq!(starts(&mut lane), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn one_fresh_goes_for_one_from_the_backlog() {
        let mut lane = lane();
        lane.unloaded = 1_000;
        lane.ready.extend([1, 2, 3, 4].map(key));
        lane.fresh.extend([91, 92, 93].map(key));

        assert_eq!(starts(&mut lane), [1, 91, 2, 92, 3, 93, 4]);
    }

    #[test]
    fn once_caught_up_the_oldest_goes_first() {
        let mut lane = lane();
        lane.fresh.extend([91, 92].map(key));
        lane.ready.extend([93, 94].map(key));

        assert_eq!(starts(&mut lane), [91, 92, 93, 94]);
    }

    #[test]
    fn a_large_one_without_a_slot_holds_up_no_other() {
        let mut lane = lane();
        lane.ready_large.insert(key(1));
        lane.ready.insert(key(2));

        assert_eq!(lane.next(|key| key.0 != PackNo(1)), Some(key(2)));
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        Small,
        Large,
        Fresh,
    }

    /// What waits, of which kind, and whether what began last, while a backlog and fresh
    /// ones stood side by side, was fresh.
    #[derive(Default)]
    struct Naive {
        waits: BTreeMap<Key, Kind>,
        last: Option<bool>,
    }

    impl Naive {
        fn has(&self, fresh: bool) -> bool {
            let mut kinds = self.waits.values();
            kinds.any(|kind| (*kind == Kind::Fresh) == fresh)
        }

        /// Whether `key` may be the next to begin.
        fn allows(&self, key: Option<Key>, caught_up: bool, no_slot: u64) -> bool {
            let fits = |key: &Key, kind: Kind| kind == Kind::Small || key.0.0 % 4 != no_slot;
            let first = |fresh: bool| {
                let kin = self.waits.iter();
                let mut kin = kin.filter(|(_, kind)| (**kind == Kind::Fresh) == fresh);
                kin.find(|(key, kind)| match kind {
                    // The oldest fresh one that may not begin holds up the others.
                    Kind::Fresh => true,
                    Kind::Small | Kind::Large => fits(key, **kind),
                })
            };
            let old = first(false).map(|(key, _)| *key);
            let fresh = first(true).filter(|(key, kind)| fits(key, **kind));
            let fresh = fresh.map(|(key, _)| *key);
            match (old, fresh) {
                (Some(old), Some(fresh)) if caught_up && fresh < old => key == Some(fresh),
                (Some(_), Some(_)) => key == old || key == fresh,
                (old, fresh) => key == old.or(fresh),
            }
        }
    }

    proptest! {
        #[test]
        fn the_oldest_of_its_kind_begins_and_kinds_take_turns(
            steps in proptest::collection::vec((0u8..8, 0u64..60), 1..200),
        ) {
            let (mut lane, mut naive) = (lane(), Naive::default());
            lane.unloaded = 1;
            for (what, n) in steps {
                match what {
                    0..3 if !naive.waits.contains_key(&key(n)) => {
                        let kind = [Kind::Small, Kind::Large, Kind::Fresh][usize::from(what)];
                        match kind {
                            Kind::Small => lane.ready.insert(key(n)),
                            Kind::Large => lane.ready_large.insert(key(n)),
                            Kind::Fresh => lane.fresh.insert(key(n)),
                        };
                        naive.waits.insert(key(n), kind);
                    }
                    3 => lane.unloaded = n % 2,
                    4 => {
                        lane.remove(key(n));
                        naive.waits.remove(&key(n));
                    }
                    _ => {
                        // Of four numbers, one finds no slot for a large segment: the
                        // oldest of the large waits for it, as the fresh do.
                        let no_slot = n % 5;
                        let large = naive.waits.iter().find(|(_, kind)| **kind == Kind::Large);
                        if large.is_some_and(|(key, _)| key.0.0 % 4 == no_slot) {
                            continue;
                        }
                        let is_small = |key: &Key| naive.waits.get(key) == Some(&Kind::Small);
                        let next = lane.next(|key| is_small(key) || key.0.0 % 4 != no_slot);
                        let caught_up = lane.is_caught_up();
                        prop_assert!(naive.allows(next, caught_up, no_slot), "{next:?}");
                        let Some(next) = next else { continue };
                        let both = naive.has(true) && naive.has(false);
                        lane.begin(next);
                        let fresh = naive.waits.remove(&next) == Some(Kind::Fresh);
                        let beside = both && !caught_up && no_slot == 4;
                        let twice = beside && naive.last == Some(fresh);
                        prop_assert!(!twice, "{next:?} begins out of turn");
                        naive.last = beside.then_some(fresh);
                    }
                }
            }
            prop_assert_eq!(
                lane.loaded() + lane.fresh.len(),
                naive.waits.len(),
                "each begins once, and none is lost"
            );
        }
    }
}
