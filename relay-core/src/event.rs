//! All the scheduler can hear, and all it can ask for.
//!
//! Bytes stay in the shell; what moves here are their names. What is heard is
//! [`Input`], what is asked for is [`Effect`], what an operator wants is
//! [`Order`]; the words they share stand here.

mod configured;
mod effect;
mod input;
mod order;

use std::sync::Arc;

use crate::aim::To;
use crate::change::{Change, Due, KeyName, KeyRow, PagedRow, Part, ReceiptRow, Refused, Sent};
use crate::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, PartialNo, PutId,
    ReceiptNo, SegmentId, Sequence, StagedId, Ticket,
};
pub use crate::segment::Shape;
use crate::segment::{Digest, PackInfo, Topic};
use crate::spool::Spooled;
use crate::time::{Mono, Unix};
pub use configured::{Band, Configured, Ingest};
pub use effect::Effect;
pub use input::Input;
pub use order::{
    Bandwidth, Caller, Done, LaneBudget, Limit, Order, OrderId, Pausing, Refused as OrderRefused,
    Scope, Standing, Target,
};

/// A pack's table in short: what receipt needs to know of each member.
pub type Ids = Arc<[(SegmentId, Digest)]>;

/// A pack that local clients put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Whom to answer.
    pub put: PutId,
    /// Its bytes.
    pub staged: StagedId,
    /// What they are.
    pub shape: Shape,
    /// The lane asked for.
    pub lane: LaneName,
    /// Where it is to go.
    pub to: Arc<To>,
    /// How long it stays worth sending.
    pub ttl: Option<std::time::Duration>,
    /// Its key and the digest of its only member.
    pub key: Option<(KeyName, Digest)>,
    /// The file that its only member is made of, if it is made of one.
    pub spooled: Option<Box<Spooled>>,
}

/// What a peer says with the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its ledger.
    pub ledger: LedgerId,
    /// Its run.
    pub epoch: BootEpoch,
    /// Whether we dialled.
    pub dialled: bool,
    /// The longest segment it takes.
    pub max_segment: u64,
}

/// The words before a pack on the wire, as heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// How the sender names it.
    pub sent: Sent,
    /// The lane, by name.
    pub lane: LaneName,
    /// The origin, by name; `None` is the sender itself.
    pub origin: Option<NodeId>,
    /// Where the least id that came stands in the origin's lane.
    pub sequence: Sequence,
    /// Relays passed so far, the sender included.
    pub hops: u8,
    /// How long it stays worth sending.
    pub ttl: Option<std::time::Duration>,
}

/// A pack whose every byte is here, checked against its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The words before it.
    pub heading: Heading,
    /// The bytes of the members sent, table rebuilt over them alone.
    pub staged: StagedId,
    /// What they are.
    pub shape: Shape,
    /// The digest of the table as received, for the ack.
    pub table: Digest,
    /// The members' ids and digests.
    pub ids: Ids,
    /// The index each member had in the pack as sent; `None` when all were.
    pub indexes: Option<Arc<[u16]>>,
    /// Members whose bytes are bad, by index in the pack as sent; they are not
    /// in `staged`.
    pub refused: Vec<Refused>,
    /// The members' topics, as `ids` has them; empty where no route asks for one.
    pub topics: Arc<[Option<Topic>]>,
}

/// A large segment announced by a peer, before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The words before it.
    pub heading: Heading,
    /// What it will be.
    pub shape: Shape,
    /// Its id and digest.
    pub ids: Ids,
}

/// What the ledger knows of the members asked about, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// No such id.
    No,
    /// The same id and digest.
    Same,
    /// The same id with another digest.
    Other,
}

/// An answer to one pack, as heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The receiver's number for it; 0 when it stored nothing of it.
    pub receipt: ReceiptNo,
    /// Which pack of ours.
    pub pack: PackNo,
    /// Which members.
    pub part: Part,
    /// The digest of the table as received.
    pub table: Digest,
    /// Members answered for.
    pub count: u32,
    /// Members refused.
    pub refused: Vec<Refused>,
}

/// Why a peer cannot take more just now.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum BusyWhy {
    /// Its disk budget is used up.
    StorageFull,
    /// Its inbox is.
    InboxFull,
    /// We send faster than it admits.
    IngestQuota,
    /// It is going down.
    Draining,
    /// Its disk errs.
    Io,
    /// Too many packs stored that we have not settled.
    Unsettled,
}

impl BusyWhy {
    /// The name in logs, CLI and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StorageFull => "storage_full",
            Self::InboxFull => "inbox_full",
            Self::IngestQuota => "ingest_quota",
            Self::Draining => "draining",
            Self::Io => "io",
            Self::Unsettled => "unsettled",
        }
    }
}

/// How full the node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that hold something that may not go.
    pub used: u64,
    /// The ceiling.
    pub ceiling: u64,
    /// Bytes the inbox holds.
    pub inbox: u64,
    /// What the inbox may hold.
    pub inbox_ceiling: u64,
    /// Whether the disk itself is full, however far below its ceiling the node is.
    pub disk_full: bool,
    /// What one more file could take if everything settled went.
    pub clear: u64,
    /// The longest segment that has a file of its own and may not go; 0: none has.
    pub longest: u64,
    /// The length of a log file.
    pub unit: u64,
}

impl Space {
    /// Whether a segment of `length` lies in a file of its own, for which room is taken
    /// before its bytes come.
    #[must_use]
    pub fn has_own_file(&self, length: u64) -> bool {
        length > crate::limits::put_in_memory(self.unit)
    }

    /// Whether a put of `length`, of which `brings` has no room yet, leaves some for an
    /// arrival as long as the longest kept here, itself included.
    ///
    /// So of two full nodes that owe each other, the one with the longer segments can take
    /// any of the other's: whatever they are, one of the two directions moves.
    #[must_use]
    pub fn leaves_way(&self, length: u64, brings: u64) -> bool {
        let (longest, takes) = if self.has_own_file(length) {
            (self.longest.max(length), brings)
        } else {
            // A short one may be the first of a new log file.
            (self.longest, brings.max(self.unit))
        };
        longest == 0 || self.clear >= longest.saturating_add(takes)
    }
}

/// Why a send came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTrouble {
    /// The bytes are gone.
    Missing,
    /// The bytes do not match their digest.
    Corrupt,
    /// They cannot be read just now: whether they are sound is not known.
    Unreadable,
}

/// Why a put is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such peer in the config.
    UnknownPeer(NodeId),
    /// No such lane.
    UnknownLane(LaneName),
    /// The lane is the daemon's own.
    ReservedLane(LaneName),
    /// It names no peer.
    NoPeer,
    /// No route of this name.
    UnknownRoute(String),
    /// It names no peer, and no route matches it.
    NoRoute {
        /// Its topic.
        topic: Option<Topic>,
        /// Its lane.
        lane: LaneName,
    },
    /// It asks for more peers than it names.
    TooFewPeers {
        /// How many must have it.
        wanted: usize,
        /// How many are named.
        named: usize,
    },
    /// Longer than this node takes.
    TooLarge {
        /// Found.
        length: u64,
        /// Allowed.
        max: u64,
    },
    /// No room: what would free it is more acks, or a larger ceiling.
    StorageFull(Space),
    /// The key was used with another segment or other peers.
    KeyConflict {
        /// The segment it was used for.
        first: SegmentId,
    },
    /// A name table is full.
    TooManyNames,
    /// The ledger cannot be read just now.
    Unreadable,
    /// The daemon is going down.
    Draining,
}

/// What the transport needs to know to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whose, which pack, which members.
    pub due: Due,
    /// With [`Part::Rest`]: members that have a row of their own and are not
    /// meant, ascending.
    pub except: Arc<[u16]>,
    /// The pack.
    pub info: PackInfo,
    /// How urgent, for the stream's priority.
    pub class: crate::segment::Class,
    /// How long it stays worth sending.
    pub ttl: Option<std::time::Duration>,
}

/// Why we end a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseWhy {
    /// Another link to the same peer stays.
    Duplicate,
    /// The peer is not in the config.
    UnknownPeer,
    /// The peer broke the protocol.
    Protocol,
    /// The daemon goes down.
    Draining,
    /// An operator ended it; it is dialled anew.
    Kicked,
    /// Two machines were heard under the peer's name.
    IdentityCloned,
    /// It was of no use for a while; it is dialled when something waits.
    Idle,
}

/// Why the scheduler wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A peer may be dialled again.
    Redial,
    /// A backoff is over.
    Backoff,
    /// An ack is overdue.
    AckTimeout,
    /// A busy peer may be asked again.
    PeerBusy,
    /// A drain has lasted long enough.
    Drain,
    /// The bucket holds enough again.
    Tokens,
    /// A quota, a budget or a contact window may open or shut.
    Limits,
    /// What was used is to be written down.
    Meters,
    /// A pause ends by itself.
    PauseEnds,
    /// A link is of no use.
    Idle,
    /// Something in flight got no byte admitted for too long.
    Unadmitted,
    /// Another gate opens by itself.
    Gate,
    /// Something waiting stops being worth sending.
    Expiry,
    /// The beginning of a segment has waited long enough for the rest.
    Partial,
    /// A peer has been away so long that others are tried.
    Standby,
    /// What could not be read is asked again.
    Reread,
}

/// Where the scheduler stands, for status and simulator alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Mono,
    /// Why.
    pub why: Why,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A node that takes what it may of these puts, and nothing leaves.
    fn filled(ceiling: u64, puts: &[u64]) -> Space {
        let mut space = Space {
            clear: ceiling,
            ceiling,
            unit: 16,
            ..Space::default()
        };
        for length in puts {
            if *length > space.ceiling / 4 || !space.leaves_way(*length, *length) {
                continue;
            }
            if space.has_own_file(*length) {
                // What is admitted when it is announced is accepted when it is here.
                space.clear -= length;
                assert!(space.leaves_way(*length, 0), "{space:?} {length}");
                space.clear += length;
                space.clear -= length;
                space.longest = space.longest.max(*length);
            } else {
                // Each begins a log file, at worst.
                space.clear = space.clear.saturating_sub(space.unit);
            }
        }
        space
    }

    proptest! {
        #[test]
        fn of_two_full_nodes_one_can_take_any_long_segment_of_the_other(
            ceilings in [64u64..400, 64u64..400],
            puts in [
                proptest::collection::vec(1u64..100, 1..80),
                proptest::collection::vec(1u64..100, 1..80),
            ],
        ) {
            let [a, b] = [0, 1].map(|n| filled(ceilings[n], &puts[n]));

            let moves = |from: Space, to: Space| from.longest <= to.clear;
            prop_assert!(moves(a, b) || moves(b, a), "{a:?} {b:?}");
        }
    }
}
