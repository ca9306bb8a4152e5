//! One peer: its link, its lanes, and the parcels of it that are in memory.
//!
//! A parcel is what is moved together: the members of one pack that share their
//! fate, or one member that left the happy path. In memory are all parcels in
//! flight, those whose last change is not yet durable, and a bounded part of
//! those that wait; the rest is in the ledger and counted only.

mod receipts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bandwidth::Bucket;
use crate::breaker::Breaker;
use crate::change::{Depth, Due, OwedRow, Part};
use crate::clones::Runs;
use crate::delivery::{Move, StateName, step};
use crate::event::{Ack, BusyWhy, SendTrouble};
use crate::id::{LaneNo, NodeId, NodeNo, PackNo, Ticket};
use crate::link::Link;
use crate::queue::{Key, Lane};
use crate::segment::{LaneRule, PackInfo};
use crate::time::Mono;
pub use receipts::{SettleLine, Unsettled};

/// What a parcel in memory is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Put, and not yet durable.
    Storing,
    /// Scheduled, in its lane's ready set.
    Ready,
    /// In flight, its mark becoming durable with this ticket.
    Marking(Ticket),
    /// In flight, in its lane's outbox; `sent` bytes are with the transport.
    Outbox,
    /// In flight, offered, no answer yet.
    Offered,
    /// In flight, every byte with the transport; not all taken by the connection.
    Leaving,
    /// In flight, every byte taken; an ack is awaited since then.
    Sent,
    /// Our own bytes are being checked before its answer is believed.
    Judging(Judgement),
    /// Failed; rests until then.
    Resting(Mono),
    /// Its last change becomes durable with this ticket; then it leaves memory.
    Settling(Ticket),
}

/// What made us look at our own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The peer's answer.
    Answer(Ack),
    /// The transport could not read them.
    Trouble(SendTrouble),
}

/// Members of one pack that are moved together.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its row, as last asked to be made durable.
    pub row: OwedRow,
    /// Its pack.
    pub info: PackInfo,
    /// Members of the pack with rows of their own.
    pub except: Arc<[u16]>,
    /// What it is doing.
    pub phase: Phase,
    /// Whether a large one was offered on this link and is wanted.
    pub wanted: bool,
    /// Whether its next chunk was already counted as delayed by a rate.
    pub throttled: bool,
    /// Bytes given to the transport in this attempt.
    pub sent: u64,
    /// Of these, taken by the connection.
    pub taken: u64,
    /// Chunks of these not yet taken.
    pub chunks: u32,
    /// When the ack began to be awaited; orders the timeouts.
    pub awaiting: Option<Mono>,
}

impl Parcel {
    /// A parcel as read back or put, in `phase`.
    #[must_use]
    pub const fn new(row: OwedRow, info: PackInfo, except: Arc<[u16]>, phase: Phase) -> Self {
        Self {
            row,
            info,
            except,
            phase,
            wanted: false,
            throttled: false,
            sent: 0,
            taken: 0,
            chunks: 0,
            awaiting: None,
        }
    }

    /// Its place in its peer.
    #[must_use]
    pub const fn key(&self) -> Key {
        (self.row.due.pack, self.row.due.part)
    }

    /// Whether it holds a place in the window of its lane.
    #[must_use]
    pub fn is_flying(&self) -> bool {
        self.row.state.name() == StateName::Inflight
    }

    /// What it weighs in the window: a large one fills it no further than a MiB.
    #[must_use]
    pub fn weight(&self) -> u64 {
        (u64::from(self.info.table_len) + self.row.bytes).min(1 << 20)
    }
}

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
    pub lanes: BTreeMap<LaneNo, Lane>,
    /// Its parcels in memory.
    pub parcels: BTreeMap<Key, Parcel>,
    /// What stands where, by lane and state.
    pub depth: BTreeMap<(LaneNo, StateName), Depth>,
    /// Parcels that await an ack, oldest first.
    pub awaiting: BTreeSet<(Mono, Key)>,
    /// Parcels that rest, soonest first.
    pub resting: BTreeSet<(Mono, Key)>,
    /// When the link came up.
    pub since: Mono,
    /// When it last answered.
    pub last_heard: Mono,
    /// It asked to be left alone until then.
    pub busy: Option<(Mono, BusyWhy)>,
    /// Bytes and chunks with the transport that the connection has not taken.
    pub unsent: (u64, u32),
    /// Slots taken by large parcels in flight.
    pub large: usize,
    /// Its receipts for our packs.
    pub line: SettleLine,
    /// Our receipts for its packs.
    pub unsettled: Unsettled,
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
            link: Link::Down { redial: now },
            breaker: Breaker::default(),
            runs: Runs::default(),
            last_error: None,
            bucket,
            lanes: BTreeMap::new(),
            parcels: BTreeMap::new(),
            depth: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            resting: BTreeSet::new(),
            since: now,
            last_heard: now,
            busy: None,
            unsent: (0, 0),
            large: 0,
            line: SettleLine::default(),
            unsettled: Unsettled::default(),
        }
    }

    /// The lane, made idle if it was not there.
    pub fn lane(&mut self, no: LaneNo, rule: LaneRule, now: Mono) -> &mut Lane {
        self.lanes
            .entry(no)
            .or_insert_with(|| Lane::new(rule, 0, now))
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

    /// Whether a large segment that takes `slots` may begin to fly.
    #[must_use]
    pub const fn has_slots(&self, slots: usize, limit: usize) -> bool {
        self.large == 0 || self.large + slots <= limit
    }

    /// Puts a parcel that begins to fly into its lane's window.
    pub fn take_off(&mut self, lane: LaneNo, weight: u64, slots: usize) {
        let lane = self.lanes.get_mut(&lane).expect("a parcel's lane is there");
        lane.flying += 1;
        lane.flying_bytes += weight;
        self.large += slots;
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
        self.large -= parcel.info.slots();
        if let Some(since) = parcel.awaiting.take() {
            self.awaiting.remove(&(since, key));
        }
        // What the connection did not take of it holds no place there.
        self.unsent.0 = self.unsent.0.saturating_sub(parcel.sent - parcel.taken);
        self.unsent.1 = self.unsent.1.saturating_sub(parcel.chunks);
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
        lane.ready.remove(&key);
        lane.ready_large.remove(&key);
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
