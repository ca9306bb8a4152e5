//! One peer: its link, its lanes, and the parcels of it that are in memory.
//!
//! A parcel is what is moved together: the members of one pack that share their
//! fate, or one member that left the happy path. In memory are all parcels in
//! flight, those whose last change is not yet durable, and a bounded part of
//! those that wait; the rest is in the ledger and counted only.

mod lanes;
mod parcel;
mod parcels;
mod receipts;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bandwidth::Bucket;
use crate::breaker::Breaker;
use crate::change::{Depth, Due, OwedRow, Part};
use crate::clones::Runs;
use crate::delivery::{Move, StateName, step};
use crate::event::BusyWhy;
use crate::id::{LaneNo, NodeId, NodeNo, PackNo};
use crate::link::Link;
use crate::queue::{Key, Lane};
use crate::segment::{Class, LaneRule};
use crate::time::Mono;
use crate::turn::{ByClass, Turns};
pub use lanes::Lanes;
pub use parcel::{Judgement, Parcel, Phase, exceptions};
pub use parcels::Parcels;
pub use receipts::{SettleLine, Unsettled};

/// One peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its number.
    pub no: NodeNo,
    /// Its name.
    pub name: NodeId,
    /// Whether it is in the config; otherwise its deliveries wait.
    pub configured: bool,
    /// Whether we have an address to dial.
    pub dial: bool,
    /// After how long without use its link ends; `None`: it is kept.
    pub lets_go: Option<Duration>,
    /// When its link was last of use.
    pub used: Mono,
    /// The link.
    pub link: Link,
    /// How far it is trusted after an outage.
    pub breaker: Breaker,
    /// The ledgers heard under its name.
    pub runs: Runs,
    /// Why the last link ended or dial failed.
    pub last_error: Option<String>,
    /// Its rate.
    pub bucket: Bucket,
    /// Its lanes.
    pub lanes: Lanes,
    /// Their numbers, the most urgent first.
    pub by_class: Vec<(Class, LaneNo)>,
    /// Whose turn it is among them.
    pub turns: Turns,
    /// Its parcels in memory.
    pub parcels: Parcels,
    /// What stands where, by lane and state.
    pub depth: BTreeMap<(LaneNo, StateName), Depth>,
    /// Parcels that await an ack, oldest first.
    pub awaiting: BTreeSet<(Mono, Key)>,
    /// Parcels that rest, soonest first.
    pub resting: BTreeSet<(Mono, Key)>,
    /// When the link came up.
    pub since: Mono,
    /// When a byte for it was last admitted, or began to wait.
    pub admitted: Mono,
    /// What flew came back because no byte was admitted: nothing begins until then,
    /// or until one is.
    pub starved: Option<Mono>,
    /// When it last answered.
    pub last_heard: Mono,
    /// It asked to be left alone until then.
    pub busy: Option<(Mono, BusyWhy)>,
    /// Bytes with the transport that the connection has not taken.
    pub unsent: ByClass,
    /// Chunks of these.
    pub unsent_chunks: ByClass,
    /// Slots taken by large parcels in flight.
    pub large: ByClass,
    /// Its receipts for our packs.
    pub line: SettleLine,
    /// Our receipts for its packs.
    pub unsettled: Unsettled,
    /// Since when it has no link, if it has none.
    pub away: Option<Mono>,
    /// Whether what it holds up has been looked through since.
    pub looked: bool,
    /// Reads of our own bytes under way, for an answer of its.
    pub judging: usize,
}

impl Peer {
    /// A peer with no link and no work.
    #[must_use]
    pub fn new(no: NodeNo, name: NodeId, bucket: Bucket, now: Mono) -> Self {
        Self {
            no,
            name,
            configured: false,
            dial: false,
            lets_go: None,
            used: now,
            link: Link::Down { redial: now },
            breaker: Breaker::default(),
            runs: Runs::default(),
            last_error: None,
            bucket,
            lanes: Lanes::default(),
            by_class: Vec::new(),
            turns: Turns::default(),
            parcels: Parcels::default(),
            depth: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            resting: BTreeSet::new(),
            since: now,
            admitted: now,
            starved: None,
            last_heard: now,
            busy: None,
            unsent: ByClass::default(),
            unsent_chunks: ByClass::default(),
            large: ByClass::default(),
            line: SettleLine::default(),
            unsettled: Unsettled::default(),
            away: Some(now),
            looked: false,
            judging: 0,
        }
    }

    /// The lane, made idle if it was not there.
    pub fn lane(&mut self, no: LaneNo, rule: LaneRule, _now: Mono) -> &mut Lane {
        let by_class = &mut self.by_class;
        self.lanes.or_insert_with(no, || {
            by_class.push((rule.class, no));
            by_class.sort_unstable();
            Lane::new(rule, 0)
        })
    }

    /// The class of a lane that is there.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn class(&self, lane: LaneNo) -> Class {
        self.lanes[&lane].rule.class
    }

    /// The full name of a parcel.
    #[must_use]
    pub const fn due(&self, key: Key) -> Due {
        Due {
            peer: self.no,
            pack: key.0,
            part: key.1,
        }
    }

    /// Moves `count` deliveries of `bytes` along the table, in one row.
    ///
    /// # Panics
    /// If the table does not hold the move: a broken invariant of our own.
    pub fn shift(
        &mut self,
        lane: LaneNo,
        from: Option<StateName>,
        wanted: Move,
        moved: Depth,
    ) -> Option<StateName> {
        let to = step(from, wanted).unwrap_or_else(|illegal| panic!("{illegal}"));
        if let Some(from) = from {
            let depth = self.depth.entry((lane, from)).or_default();
            depth.parcels -= moved.parcels;
            depth.count -= moved.count;
            depth.bytes -= moved.bytes;
        }
        if let Some(to) = to {
            let depth = self.depth.entry((lane, to)).or_default();
            depth.parcels += moved.parcels;
            depth.count += moved.count;
            depth.bytes += moved.bytes;
        }
        to
    }

    /// Parcels in flight, over all lanes.
    #[must_use]
    pub fn flying(&self) -> usize {
        self.lanes.values().map(|lane| lane.flying).sum()
    }

    /// Whether the breaker lets one more begin to fly.
    #[must_use]
    pub fn may_take_off(&self) -> bool {
        self.breaker
            .bound()
            .is_none_or(|bound| self.flying() < bound)
    }

    /// Whether more flies than the breaker lets: the link went and came back while
    /// rows became durable.
    #[must_use]
    pub fn flies_too_much(&self) -> bool {
        self.breaker
            .bound()
            .is_some_and(|bound| self.flying() > bound)
    }

    /// Whether it has been without a link for `long`.
    #[must_use]
    pub fn is_long_away(&self, now: Mono, long: Duration) -> bool {
        self.away.is_some_and(|since| now.since(since) >= long)
    }

    /// Whether a large segment of `class` that takes `slots` may begin to fly: less
    /// urgent ones do not count, and one always fits.
    #[must_use]
    pub fn has_slots(&self, class: Class, slots: usize, limit: usize) -> bool {
        let taken = self.large.against(class);
        taken == 0 || taken + slots as u64 <= limit as u64
    }

    /// Puts a parcel that begins to fly into its lane's window.
    pub fn take_off(&mut self, lane: LaneNo, weight: u64, slots: usize) {
        let lane = self.lanes.get_mut(&lane).expect("a parcel's lane is there");
        lane.flying += 1;
        lane.flying_bytes += weight;
        self.large.add(lane.rule.class, slots as u64);
    }

    /// Takes a parcel out of flight: window, outbox and timers forget it. The
    /// row still says `inflight`; the caller moves it on.
    ///
    /// # Panics
    /// If the parcel is not in memory.
    pub fn land(&mut self, key: Key) {
        let parcel = self
            .parcels
            .get_mut(&key)
            .expect("a landing parcel is in memory");
        let lane = self
            .lanes
            .get_mut(&parcel.row.lane)
            .expect("a parcel's lane is there");
        if matches!(parcel.phase, Phase::Outbox) {
            lane.outbox.retain(|other| *other != key);
        }
        lane.flying -= 1;
        lane.flying_bytes -= parcel.weight();
        let class = lane.rule.class;
        self.large.take(class, parcel.info.slots() as u64);
        if let Some(since) = parcel.awaiting.take() {
            self.awaiting.remove(&(since, key));
        }
        // What the connection did not take of it holds no place there.
        self.unsent.take(class, parcel.sent - parcel.taken);
        self.unsent_chunks.take(class, u64::from(parcel.chunks));
        parcel.wanted = false;
        (parcel.sent, parcel.taken, parcel.chunks) = (0, 0, 0);
    }

    /// Puts a scheduled parcel into its lane's ready set.
    ///
    /// # Panics
    /// If the parcel is not in memory.
    pub fn make_ready(&mut self, key: Key) {
        let parcel = self
            .parcels
            .get_mut(&key)
            .expect("a ready parcel is in memory");
        parcel.phase = Phase::Ready;
        let lane = self
            .lanes
            .get_mut(&parcel.row.lane)
            .expect("a parcel's lane is there");
        if parcel.info.is_large() {
            lane.ready_large.insert(key);
        } else {
            lane.ready.insert(key);
        }
    }

    /// Puts a parcel just put, before which others wait in the ledger, where it goes
    /// beside them: it is durable.
    ///
    /// # Panics
    /// If the parcel is not in memory.
    pub fn make_fresh(&mut self, key: Key) {
        let parcel = self
            .parcels
            .get_mut(&key)
            .expect("a fresh parcel is in memory");
        parcel.phase = Phase::Ready;
        let lane = self.lanes.get_mut(&parcel.row.lane);
        lane.expect("a parcel's lane is there").fresh.insert(key);
    }

    /// Takes a parcel out of whatever it waits in: the ready set or its rest.
    ///
    /// # Panics
    /// If the parcel is not in memory.
    pub fn unwait(&mut self, key: Key) {
        let parcel = self
            .parcels
            .get(&key)
            .expect("a waiting parcel is in memory");
        let lane = self
            .lanes
            .get_mut(&parcel.row.lane)
            .expect("a parcel's lane is there");
        lane.remove(key);
        if let Phase::Resting(until) = parcel.phase {
            self.resting.remove(&(until, key));
        }
    }

    /// Starts the ack timer of a parcel.
    ///
    /// # Panics
    /// If the parcel is not in memory.
    pub fn await_ack(&mut self, key: Key, now: Mono) {
        let parcel = self
            .parcels
            .get_mut(&key)
            .expect("an awaited parcel is in memory");
        if let Some(since) = parcel.awaiting.replace(now) {
            self.awaiting.remove(&(since, key));
        }
        self.awaiting.insert((now, key));
    }

    /// What a whole parcel counts for in the depths.
    #[must_use]
    pub const fn depth_of(row: &OwedRow) -> Depth {
        Depth {
            parcels: 1,
            count: row.count as u64,
            bytes: row.bytes,
        }
    }
}

/// The smallest key of a pack.
#[must_use]
pub const fn rest_of(pack: PackNo) -> Key {
    (pack, Part::Rest)
}
