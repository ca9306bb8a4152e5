//! Every bound in the system, each with its reason.
//!
//! What an operator may change stands in [`Limits`]; what the formats fix are
//! the constants. Reaching a bound is an answer, never a stall.

use std::time::Duration;

use crate::partial::Pace;

/// The longest segment, 4 GiB (semantics 1).
pub const MAX_SEGMENT: u64 = 4 << 30;
/// A segment up to this length travels inside packs; a longer one is offered
/// first, so that what the peer has is not sent (semantics 5 and 10).
pub const SMALL_SEGMENT: u64 = 16 << 10;
/// A pack is closed before its table and bodies pass this (semantics 1).
pub const PACK_BYTES: u64 = 64 << 10;
/// Members of a pack: empty segments have no bytes to bound them, and a member
/// is named by 16 bits.
pub const PACK_MEMBERS: u32 = 1024;
/// The ids of a pack lie within this many milliseconds, so that the packs that
/// may hold an id are found by a short range of the index.
pub const PACK_ID_SPAN_MS: u64 = 1_000;
/// A put above this goes to a file of its own while it arrives (semantics 9).
pub const PUT_IN_MEMORY: u64 = 4 << 20;

/// The longest put that is taken in memory where log files have this length: a record
/// must leave a file room for others.
#[must_use]
pub const fn put_in_memory(log_file: u64) -> u64 {
    let share = log_file / 4;
    if share < PUT_IN_MEMORY {
        share
    } else {
        PUT_IN_MEMORY
    }
}
/// An arrival above this goes to a partial file (semantics 10).
pub const ARRIVAL_IN_MEMORY: u64 = 1 << 20;
/// Relays a segment may pass (semantics 6).
pub const MAX_HOPS: u8 = 8;
/// Batches of changes whose room is kept for the next: about as many as one group
/// commits while the next gathers.
pub const KEPT_BATCHES: usize = 64;
/// The longest of them, in changes: what is longer is an order's or a page's, and rare.
pub const KEPT_BATCH: usize = 64;
/// Lanes a ledger may name: each may hold a window open per peer.
pub const MAX_LANES: usize = 64;
/// Lanes that one peer may name first in one run of this daemon: it must not use up
/// those of the others.
pub const LANES_OF_PEER: usize = 16;
/// Nodes a ledger may name, so that a peer cannot fill it with origins.
pub const MAX_NODES: usize = 65_536;
/// An idempotency key is at most this long (semantics 2.7).
pub const MAX_KEY: usize = 128;
/// The slots a long segment takes of those its peer has for large ones; workers
/// are counted in such segments.
pub const LONGEST_SLOTS: usize = 8;
/// Acks that wait for one row to be read back: a pack is acked once for each receipt
/// it has, and members that left it by the same.
pub const ACKS_OF_ONE: usize = 32;
/// Parcels of all lanes of all peers that wait in memory: what one lane may keep is its
/// share, so that neither memory nor what a decision costs grows with the fleet (INV-07,
/// P5). So many stay in a core's cache.
pub const ACTIVE_OF_ALL: usize = 8_192;
/// A lane's least share: four pages of four rows hide one read of the index, and 512
/// lanes that share a link's pace come to their next page seconds later.
pub const LEAST_ACTIVE: usize = 16;
/// Parcels of all peers that rest after failures, shared as [`ACTIVE_OF_ALL`] is.
pub const RESTING_OF_ALL: usize = 32_768;
/// A peer's least share of them: as many as all its lanes may have failing at once.
pub const LEAST_RESTING: usize = 256;
/// Parcels of all lanes of all peers in flight, shared likewise.
pub const FLYING_OF_ALL: usize = 32_768;
/// A lane's least window: 64 packs of 64 KiB are 4 MiB under way.
pub const LEAST_WINDOW: usize = 64;
/// Deliveries that one order names: bulk verbs run in transactions of so many
/// rows (semantics 8).
pub const ORDER_TARGETS: usize = 1_000;
/// A frame of words on the wire: a pack's header, an ack with refusals.
pub const MAX_FRAME: usize = 64 << 10;
/// A node that was away longer than this ages by this much: a wall clock set wrong
/// by years costs at most a month of every lifetime (semantics 6).
pub const LONGEST_GAP: Duration = Duration::from_secs(30 * 86_400);

/// What was used is written down at most this often: a crash forgets at most so
/// much of it, 2 % of a quota that lasts four minutes.
pub const SAVE_METERS: Duration = Duration::from_secs(5);
/// Bytes used that are written down though nothing else is: an idle link sends
/// about 10 KiB an hour.
pub const UNSAVED_BYTES: u64 = 64 << 10;
/// What panics have named, and what failed at which peer, is remembered of so many
/// segments: a daemon that panics a thousand times has another trouble.
pub const POISON_MARKS: usize = 1024;
/// For so long a panic is held against what it names: a newer daemon may take it.
pub const KEEP_MARKS: Duration = Duration::from_secs(24 * 60 * 60);
/// What a link has sent is told within this: it says so four times a second while
/// anything moves, and a busy node may hear it late.
pub const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// A contact window that was not seen to change is looked at anew after this long: a
/// change is seen two weeks ahead.
pub const LOOK_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// A contact window looks at the wall clock this often: it may be put.
pub const LOOK_AT_WALL: Duration = Duration::from_secs(30);

/// What could not be read is asked again after this: a bus that was reset answers by then.
pub const READ_AGAIN: Duration = Duration::from_secs(1);
/// And at least this often, so that a disk that answers again is heard within a minute.
pub const READ_AGAIN_LONGEST: Duration = Duration::from_secs(60);
/// The audit says at most this often that something could not be read.
pub const NOTE_UNREADABLE: Duration = Duration::from_secs(60 * 60);

/// The bounds the scheduler keeps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parcels of one peer and lane kept in memory beyond those in flight; the
    /// rest waits in the ledger. 512 hide one read of the index at 3,000 packs
    /// a second. Where many lanes share memory it is less: [`for_fleet`](Self::for_fleet).
    pub active: usize,
    /// Parcels of one peer that may rest in memory after a failure before no more
    /// are paged in: four times `active`, so that what fails holds up what is
    /// sound only when most of it fails.
    pub resting: usize,
    /// Rows asked for at once, a quarter of `active`, so that the next page is
    /// under way while this one is sent.
    pub page: usize,
    /// Parcels of one peer and lane in flight.
    pub window_parcels: usize,
    /// Bytes of one peer and lane in flight; one parcel always fits.
    pub window_bytes: u64,
    /// Slots for large segments of one peer in flight: [`LONGEST_SLOTS`] for each
    /// of `[relay] workers`. One segment always fits.
    pub large: usize,
    /// Bytes given to one link and not yet taken by its connection.
    pub unsent_bytes: u64,
    /// Chunks given to one link and not yet taken: empty segments have no bytes
    /// to bound them.
    pub unsent_chunks: u32,
    /// The longest chunk of a large segment when no rate binds.
    pub chunk: u64,
    /// Packs stored from one peer that it has not yet settled (semantics 2.5).
    pub unsettled: u64,
    /// Arrivals of one peer being persisted or looked up.
    pub arrivals: usize,
    /// Acks waiting for their row to be read back.
    pub late_acks: usize,
    /// Orders of operators that wait for their rows to be read back: each holds as
    /// many rows in memory as it has targets.
    pub orders: usize,
    /// What the deadletter may hold, each delivery counted with its length; one
    /// always fits (semantics 8).
    pub deadletter_bytes: u64,
    /// How long an ack may take once every byte is out (semantics 3).
    pub ack_timeout: Duration,
    /// A class with work is served at least this often (semantics 5).
    pub max_starvation: Duration,
    /// The largest put, a quarter of the ceiling (semantics 9).
    pub max_put: u64,
    /// Relays a segment may have passed on its way here (semantics 6).
    pub hops: u8,
    /// A peer without a link for this long no longer counts as one that will do
    /// for a success condition (semantics 3).
    pub standby_after: Duration,
    /// Lanes of ledgers of which the highest number that was heard is remembered: a row
    /// each, for good. A fleet of a thousand nodes with four lanes fits; beyond, packs
    /// are looked up by id.
    pub heard: usize,
    /// A peer told `busy` without a time asks again after this.
    pub busy_retry: Duration,
    /// What is in flight returns after so long without a byte admitted by the rates
    /// (semantics 3).
    pub unadmitted: Duration,
    /// Rows of one transaction of a bulk verb, so that nothing else is held up by
    /// it (semantics 8).
    pub bulk_rows: usize,
    /// How what arrives of a large segment is written and journaled.
    pub pace: Pace,
    /// Beginnings of large segments kept for one peer (semantics 10).
    pub partials: usize,
    /// How long one is kept without progress (semantics 10).
    pub keep_partials: Duration,
    /// Bytes that could not be read for so long are given up as corrupt: a disk that is
    /// put back within the hour costs nothing.
    pub unreadable: Duration,
}

impl Limits {
    /// These, with what is kept in memory shared among `peers` that each have `lanes`.
    #[must_use]
    pub fn for_fleet(self, peers: usize, lanes: usize) -> Self {
        let peers = peers.max(1);
        let pairs = peers.saturating_mul(lanes.max(1));
        let share = |all: usize, among: usize, least: usize, most: usize| {
            (all / among).max(least).min(most)
        };
        let active = share(ACTIVE_OF_ALL, pairs, LEAST_ACTIVE, self.active);
        Self {
            active,
            page: self.page.min(active.div_ceil(4)),
            resting: share(RESTING_OF_ALL, peers, LEAST_RESTING, self.resting),
            window_parcels: share(FLYING_OF_ALL, pairs, LEAST_WINDOW, self.window_parcels),
            ..self
        }
    }

    /// Parcels of one peer and lane kept in memory though older ones wait in the
    /// ledger: a quarter of `active`, so that what is put now goes beside a backlog
    /// at the pace at which that is paged in.
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.active.div_ceil(4)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            active: 512,
            resting: 2048,
            page: 128,
            window_parcels: 512,
            window_bytes: 16 << 20,
            large: 4 * LONGEST_SLOTS,
            unsent_bytes: 1 << 20,
            unsent_chunks: 64,
            chunk: 256 << 10,
            unsettled: 4096,
            arrivals: 1024,
            late_acks: 4096,
            orders: 16,
            deadletter_bytes: 1 << 30,
            ack_timeout: Duration::from_secs(30),
            max_starvation: Duration::from_secs(30),
            max_put: 2 << 30,
            hops: MAX_HOPS,
            standby_after: Duration::from_secs(30),
            heard: 8192,
            busy_retry: Duration::from_secs(1),
            unadmitted: Duration::from_secs(30),
            bulk_rows: 1_000,
            pace: Pace::default(),
            partials: 8,
            keep_partials: Duration::from_secs(24 * 60 * 60),
            unreadable: Duration::from_secs(60 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_few_lanes_keeps_what_one_lane_may_keep() {
        assert_eq!(Limits::default().for_fleet(4, 4), Limits::default());
        assert_eq!(Limits::default().for_fleet(0, 0), Limits::default());
    }

    #[test]
    fn what_is_in_memory_grows_with_the_fleet_only_by_the_least_shares() {
        for peers in [1, 16, 64, 1_000] {
            let lanes = 8;
            let of = Limits::default().for_fleet(peers, lanes);
            let pairs = peers * lanes;
            assert!(of.active * pairs <= ACTIVE_OF_ALL.max(pairs * LEAST_ACTIVE));
            assert!(of.resting * peers <= RESTING_OF_ALL.max(peers * LEAST_RESTING));
            assert!(of.window_parcels * pairs <= FLYING_OF_ALL.max(pairs * LEAST_WINDOW));
            assert!(of.page >= 1 && of.page * 4 <= of.active.next_multiple_of(4));
        }
    }

    #[test]
    fn bounds_set_lower_stay_as_they_are() {
        let low = Limits {
            active: 2,
            page: 1,
            resting: 3,
            window_parcels: 1,
            ..Limits::default()
        };
        assert_eq!(low.clone().for_fleet(1_000, 64), low);
    }
}
