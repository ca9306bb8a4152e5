//! A model of the network: links, streams, and what is in flight on them.
//!
//! A link has two ends and many streams. Order holds within a stream (control,
//! one per lane, one per large segment) and nowhere else; whatever is under way
//! when a link ends is lost. A link that falls dark carries nothing more, and
//! its ends learn of it late. What an end does with a message is
//! [`crate::node`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use relay_core::change::{Due, Part, Sent};
use relay_core::event::{Ack, BusyWhy, Greeting, Heading};
use relay_core::id::{LaneNo, LinkId, PackNo, ReceiptNo, SegmentId};
use relay_core::limits;

use crate::disk::content::Content;
use crate::disk::partials::Whole;
use crate::node::inflow::Inflow;

/// What keeps its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Hello, acks, busy, settled.
    Control,
    /// What QUIC says by itself.
    Quic,
    /// Packs of one lane.
    Lane(LaneNo),
    /// One large segment, its offer and the answer to it.
    Large(PackNo, Part),
}

/// What one end hears of a link.
#[derive(Clone, Debug)]
pub enum Message {
    /// The first word.
    Hello(Greeting),
    /// The link is gone.
    Down(&'static str),
    /// Of a pack as sent: who, which members, which of them rotten.
    Pack(Box<Packed>),
    /// A large segment is offered.
    Offer(Box<Packed>),
    /// So many bytes of a large segment are here.
    Piece(Sent, u64),
    /// More of a large segment may be taken in.
    More(Sent),
    /// The bytes of an offer are not to come.
    Lost(Sent),
    /// An offer is wanted from this byte on.
    Want(Sent, u64),
    /// An offer is not wanted.
    Have(Sent),
    /// A pack is answered.
    Answer(Ack),
    /// A pack is put off.
    Busy(Sent, BusyWhy, std::time::Duration),
    /// Receipts are settled up to here.
    Settle(ReceiptNo),
    /// Our own connection took bytes of a parcel.
    Took(Due, u64),
    /// QUIC at the other end acknowledged every byte of a parcel.
    Delivered(Due),
}

/// A pack on its way.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The words before it.
    pub heading: Heading,
    /// The whole pack.
    pub content: Arc<Content>,
    /// Members sent, by index, ascending.
    pub indexes: Vec<u16>,
    /// Members of these whose bytes are bad.
    pub bad: Vec<u16>,
}

impl Packed {
    /// Whether it travels on a stream of its own.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.content.shape().bytes > limits::SMALL_SEGMENT && self.content.members.len() == 1
    }

    /// The members sent.
    #[must_use]
    pub fn ids(&self) -> Vec<SegmentId> {
        let members = &self.content.members;
        let ids = self.indexes.iter().map(|at| members[usize::from(*at)].id);
        ids.collect()
    }
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It carries.
    Lit,
    /// It carries nothing, and its ends do not know yet.
    Dark,
    /// Both ends were told, or are about to be.
    Dead,
}

/// One end of a link.
#[derive(Debug)]
pub struct End {
    /// Which node.
    pub node: usize,
    /// The run of that node it belongs to.
    pub run: u32,
    /// How that node names the link.
    pub id: LinkId,
    /// Whether it heard Hello.
    pub up: bool,
    /// Whether it was told that the link is gone.
    pub told: bool,
    /// What came before Hello.
    pub early: Vec<Message>,
    /// Parcels being sent: bytes so far and the members meant.
    pub sending: BTreeMap<Due, (u64, Vec<u16>)>,
    /// Parcels of which some bytes could not be read: no more of them is sent.
    pub given_up: BTreeSet<Due>,
    /// Large segments offered here and not yet wanted.
    /// And whether the sender still stands by it.
    pub offered: BTreeMap<Sent, (Whole, bool)>,
    /// Those wanted whose bytes are not all here.
    pub inflows: BTreeMap<Sent, Inflow>,
    /// Bytes on the wire that its node was not told of.
    pub unreported: u64,
    /// Those of them that are bodies.
    pub bodies: u64,
    /// Whether it is about to tell.
    pub reporting: bool,
    taken: BTreeMap<Stream, u64>,
    arrives: BTreeMap<Stream, u64>,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// The dialling end first.
    pub ends: [End; 2],
    /// Where it stands.
    pub health: Health,
}

impl End {
    /// An end at `node`.
    #[must_use]
    pub const fn new(node: usize, run: u32, id: LinkId) -> Self {
        Self {
            node,
            run,
            id,
            up: false,
            told: false,
            early: Vec::new(),
            sending: BTreeMap::new(),
            given_up: BTreeSet::new(),
            offered: BTreeMap::new(),
            inflows: BTreeMap::new(),
            unreported: 0,
            bodies: 0,
            reporting: false,
            taken: BTreeMap::new(),
            arrives: BTreeMap::new(),
        }
    }
}

impl Link {
    /// When the connection of `side` has taken `bytes` more on `stream`.
    pub fn takes(&mut self, side: usize, stream: Stream, now: u64, bytes: u64, rate: u64) -> u64 {
        let last = self.ends[side].taken.entry(stream).or_default();
        *last = (*last).max(now) + 10 + bytes * 1_000_000 / rate.max(1);
        *last
    }

    /// When something leaving `side` at `at` arrives, after all before it on
    /// its stream.
    pub fn arrives(&mut self, side: usize, stream: Stream, at: u64) -> u64 {
        let last = self.ends[side].arrives.entry(stream).or_default();
        *last = (*last).max(at);
        *last
    }
}

/// All links ever made, and who cannot reach whom.
#[derive(Debug, Default)]
pub struct Wire {
    /// Links by number.
    pub links: Vec<Link>,
    /// Until when each pair is parted.
    pub parted: BTreeMap<(usize, usize), u64>,
}

impl Wire {
    /// Whether `a` and `b` cannot reach each other at `now`.
    #[must_use]
    pub fn is_parted(&self, a: usize, b: usize, now: u64) -> bool {
        self.parted
            .get(&(a.min(b), a.max(b)))
            .is_some_and(|until| *until > now)
    }

    /// The links that carry, by number.
    pub fn lit(&self) -> impl Iterator<Item = usize> {
        (0..self.links.len()).filter(|n| self.links[*n].health == Health::Lit)
    }
}

/// The stream on which a parcel of this shape travels.
#[must_use]
pub const fn stream_of(large: bool, lane: LaneNo, pack: PackNo, part: Part) -> Stream {
    if large {
        Stream::Large(pack, part)
    } else {
        Stream::Lane(lane)
    }
}
