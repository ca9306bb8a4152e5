//! All the scheduler can hear, and all it can ask for.
//!
//! Bytes stay in the shell; what moves here are their names.

use std::sync::Arc;

use crate::change::{Change, Due, KeyName, KeyRow, PagedRow, Part, ReceiptRow, Refused, Sent};
use crate::id::{
    BootEpoch, LaneName, LaneNo, LedgerId, LinkId, NodeId, NodeNo, PackNo, PutId, ReceiptNo,
    SegmentId, StagedId, Ticket,
};
pub use crate::segment::Shape;
use crate::segment::{Digest, PackInfo};
use crate::time::Mono;
use crate::units::Rate;

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
    /// The peers asked for.
    pub peers: Arc<[NodeId]>,
    /// How long it stays worth sending.
    pub ttl: Option<std::time::Duration>,
    /// Its key and the digest of its only member.
    pub key: Option<(KeyName, Digest)>,
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
}

/// Why a send came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTrouble {
    /// The bytes are gone.
    Missing,
    /// The bytes do not match their digest.
    Corrupt,
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
    /// The daemon is going down.
    Draining,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client will put `length` bytes, and wants to know before it sends them.
    Announced {
        /// Whom to answer.
        put: PutId,
        /// How many bytes.
        length: u64,
        /// The lane asked for.
        lane: LaneName,
        /// The peers asked for.
        peers: Arc<[NodeId]>,
    },
    /// A pack of puts is here.
    Put(Put),
    /// What the ledger holds for a key asked about.
    KeyFound {
        /// For which put.
        put: PutId,
        /// The row, if the key is taken.
        row: Option<KeyRow>,
    },
    /// All tickets up to this one are durable.
    Persisted(Ticket, Space),
    /// This ticket alone found no room; nothing of it is durable.
    PersistRefused(Ticket, Space),
    /// Work read back from the ledger, in the order asked for.
    Paged {
        /// Of which peer.
        peer: NodeNo,
        /// In which lane.
        lane: LaneNo,
        /// Scheduled and failed rows; empty at the end.
        rows: Vec<PagedRow>,
    },
    /// One row read back from the ledger.
    Fetched {
        /// Which.
        due: Due,
        /// It, if it is there.
        row: Option<Box<PagedRow>>,
    },
    /// What the ledger knows of an arrival or offer asked about.
    LookedUp {
        /// Of which question.
        question: u64,
        /// An answer for each id, in order.
        known: Vec<Known>,
    },
    /// Receipts read back for a peer, rising; fewer than asked for at the end.
    Recalled {
        /// The number of the question.
        question: u64,
        /// Whose.
        peer: NodeNo,
        /// The rows.
        rows: Vec<ReceiptRow>,
    },
    /// A peer said Hello on a new link.
    LinkUp {
        /// Its proven name.
        peer: NodeId,
        /// The link.
        link: LinkId,
        /// What it said.
        greeting: Greeting,
    },
    /// A link is gone, or a dial came to nothing (`link` is `None`).
    LinkDown {
        /// Whose.
        peer: NodeId,
        /// Which.
        link: Option<LinkId>,
        /// Why, for people.
        why: String,
    },
    /// A pack is here.
    Arrived {
        /// On which link.
        link: LinkId,
        /// It.
        arrival: Box<Arrival>,
    },
    /// A peer offers a large segment.
    Offered {
        /// On which link.
        link: LinkId,
        /// It.
        offer: Box<Offer>,
    },
    /// The transport gave up on the bytes of an offer we wanted.
    OfferLost {
        /// On which link.
        link: LinkId,
        /// Which.
        sent: Sent,
    },
    /// A peer wants the bytes of a large segment, from here on.
    Wanted {
        /// On which link.
        link: LinkId,
        /// Which.
        due: Due,
        /// First byte of the body wanted.
        from: u64,
    },
    /// A peer answered a pack.
    Acked {
        /// On which link.
        link: LinkId,
        /// What it said.
        ack: Ack,
    },
    /// A peer cannot take a pack just now.
    PeerBusy {
        /// On which link.
        link: LinkId,
        /// Which pack of ours.
        pack: PackNo,
        /// Which members.
        part: Part,
        /// Why.
        why: BusyWhy,
        /// When to ask again.
        retry_after: std::time::Duration,
    },
    /// A peer has settled all our receipts up to this one.
    PeerSettled {
        /// On which link.
        link: LinkId,
        /// The last of them.
        receipt: ReceiptNo,
    },
    /// The connection has taken these bytes.
    Taken {
        /// On which link.
        link: LinkId,
        /// Of which parcel.
        due: Due,
        /// How many.
        bytes: u64,
    },
    /// A send came to nothing because of our own bytes.
    SendFailed {
        /// On which link.
        link: LinkId,
        /// Of which parcel.
        due: Due,
        /// Why.
        trouble: SendTrouble,
    },
    /// Our own bytes of a pack were read again and checked.
    Verified {
        /// Which pack.
        due: Due,
        /// Members whose bytes are bad, by index.
        bad: Vec<u16>,
        /// The length of every member of the pack, by index; empty if the pack
        /// cannot be read at all.
        lengths: Vec<u64>,
    },
    /// A staged arrival was cut down to the members that are new.
    Trimmed {
        /// For which question.
        question: u64,
        /// The new bytes; the old ones are dropped.
        staged: StagedId,
        /// What they are.
        shape: Shape,
    },
    /// An operator retries a deadlettered delivery.
    Retry(Due),
    /// An operator removes a deadlettered delivery.
    Purge(Due),
    /// A rate is set: globally, or for one peer.
    SetRate {
        /// For whom; `None` is all.
        peer: Option<NodeId>,
        /// The rate.
        rate: Rate,
    },
    /// The daemon was asked to stop.
    Drain,
    /// The deadline has come.
    Wake,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the client that its bytes are welcome.
    Admit(PutId),
    /// Tell the client that its put is durable.
    Accept(PutId),
    /// Tell the client that its key already named this segment; nothing stored.
    AcceptAs(PutId, SegmentId, Digest),
    /// Tell the client no; nothing of its put is kept.
    Refuse(PutId, Refusal),
    /// Drop staged bytes that nothing will name.
    Discard(StagedId),
    /// Look a key up in the ledger; answer [`Input::KeyFound`].
    FindKey(PutId, KeyName),
    /// Make these facts durable, in the order of tickets.
    Persist(Ticket, Vec<Change>),
    /// Read back scheduled and failed rows above `after`; answer [`Input::Paged`].
    Page {
        /// Of which peer.
        peer: NodeNo,
        /// In which lane.
        lane: LaneNo,
        /// Above this place in the order (pack, part).
        after: Option<(PackNo, Part)>,
        /// At most so many.
        limit: usize,
    },
    /// Read back one row; answer [`Input::Fetched`].
    Fetch(Due),
    /// Ask which of these ids are known here; answer [`Input::LookedUp`].
    LookUp {
        /// The number of the question.
        question: u64,
        /// Their origin.
        origin: NodeNo,
        /// They.
        ids: Ids,
    },
    /// Cut a staged arrival down to these members, by index in it; answer
    /// [`Input::Trimmed`].
    Trim {
        /// The number of the question.
        question: u64,
        /// The bytes.
        staged: StagedId,
        /// What they are.
        shape: Shape,
        /// Members to keep, ascending.
        keep: Vec<u16>,
    },
    /// Read back unsettled receipts above `after`; answer [`Input::Recalled`].
    Recall {
        /// The number of the question.
        question: u64,
        /// Of which peer.
        peer: NodeNo,
        /// Above this one.
        after: ReceiptNo,
        /// At most so many.
        limit: usize,
    },
    /// Open a link.
    Dial(NodeId),
    /// End a link.
    Close {
        /// Which.
        link: LinkId,
        /// Why, as the peer will read it.
        why: CloseWhy,
    },
    /// Offer a large segment; its bytes follow once wanted.
    Offer {
        /// On which link.
        link: LinkId,
        /// Which.
        parcel: Parcel,
    },
    /// Put these bytes on the wire.
    Send {
        /// On which link.
        link: LinkId,
        /// Which pack and members.
        parcel: Parcel,
        /// First byte of the bodies of these members.
        from: u64,
        /// How many bytes; all of them for a small pack without a rate.
        bytes: u64,
        /// Whether these are the last.
        last: bool,
    },
    /// Stop sending a parcel whose stream is its own.
    Reset {
        /// On which link.
        link: LinkId,
        /// Which.
        due: Due,
    },
    /// Read our bytes of a pack again; answer [`Input::Verified`].
    Verify(Due),
    /// Ask for the bytes of an offer.
    Want {
        /// On which link.
        link: LinkId,
        /// Which.
        sent: Sent,
        /// First byte of the body wanted.
        from: u64,
    },
    /// Answer an offer whose segment is here: no bytes, the ack follows.
    Have {
        /// On which link.
        link: LinkId,
        /// Which.
        sent: Sent,
    },
    /// Answer a pack.
    Ack {
        /// On which link.
        link: LinkId,
        /// The number here; 0 when nothing of it was stored.
        receipt: ReceiptNo,
        /// Which pack of the peer's.
        sent: Sent,
        /// The digest of the table as received.
        table: Digest,
        /// Members answered for.
        count: u32,
        /// Members refused.
        refused: Vec<Refused>,
    },
    /// Tell a peer to hold a pack back for a while.
    Busy {
        /// On which link.
        link: LinkId,
        /// Which pack of the peer's.
        sent: Sent,
        /// Why.
        why: BusyWhy,
        /// When to ask again.
        retry_after: std::time::Duration,
    },
    /// Tell a peer that its receipts up to this one are settled for good.
    Settle {
        /// On which link.
        link: LinkId,
        /// The last of them.
        receipt: ReceiptNo,
    },
    /// Everything asked for is done; the daemon may end.
    Drained,
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
}

/// Where the scheduler stands, for status and simulator alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Mono,
    /// Why.
    pub why: Why,
}
