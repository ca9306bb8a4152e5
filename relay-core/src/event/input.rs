//! What the scheduler hears.

use super::*;

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
        /// Where it is to go.
        to: Arc<To>,
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
    /// All that is owed to a peer and not terminal, in the order asked for; fewer
    /// than asked for at the end.
    Owing {
        /// Whose.
        peer: NodeNo,
        /// They.
        rows: Vec<PagedRow>,
    },
    /// One row read back from the ledger.
    Fetched {
        /// Which.
        due: Due,
        /// It, if it is there.
        row: Option<Box<PagedRow>>,
        /// If it is not there, and was asked for as the rest of a pack: members of
        /// that pack that have or had a row of their own, ascending.
        except: Vec<u16>,
    },
    /// Waiting rows that are no longer worth sending, as they expired, and when
    /// the next one will be.
    Expired {
        /// At most as many as asked for; fewer at the end.
        dues: Vec<(Unix, Due)>,
        /// The first moment after the one asked about.
        next: Option<Unix>,
    },
    /// Rows that are stuck before a full deadletter, oldest first.
    Stuck {
        /// At most as many as asked for; fewer at the end.
        dues: Vec<Due>,
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
    /// A question could not be read: the ledger or a file answered with an error that
    /// says nothing of what is asked about. A damaged row is no such error.
    Unread {
        /// What was asked, as it was asked.
        question: Box<Effect>,
        /// What the disk said, for people.
        why: String,
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
    /// The network changed, or the machine slept: who was out of reach may be in it.
    NetworkChanged,
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
    /// No more comes of an offer we wanted.
    OfferLost {
        /// On which link.
        link: LinkId,
        /// Which.
        sent: Sent,
        /// Our own trouble, for the sender to hear; none if it ended it, and waits for
        /// nothing.
        why: Option<BusyWhy>,
    },
    /// So many bytes of a segment that is arriving are on stable storage.
    Progressed {
        /// Of which.
        partial: PartialNo,
        /// From its first byte on.
        bytes: u64,
    },
    /// A segment was cut off, or its bytes are bad; no more of it arrives.
    Kept {
        /// Which.
        partial: PartialNo,
        /// Bytes of it that the shell holds, from its first on; 0: none.
        bytes: u64,
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
    /// QUIC at the peer has acknowledged every byte of these, all of them taken.
    Delivered {
        /// On which link.
        link: LinkId,
        /// Which parcels.
        dues: Vec<Due>,
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
    /// Staged bytes were divided into packs; the old ones are dropped.
    Divided {
        /// For which question.
        question: u64,
        /// The packs, in the order asked for.
        parts: Vec<(StagedId, Shape)>,
    },
    /// All rows of a pack owed to peers, read back.
    Grouped {
        /// Which pack.
        pack: PackNo,
        /// They, in any order.
        rows: Vec<PagedRow>,
    },
    /// Packs whose success condition may ask for something to be done.
    Walked {
        /// Of which peer.
        peer: NodeNo,
        /// See [`Effect::Walk`].
        standby: bool,
        /// They, rising.
        packs: Vec<PackNo>,
        /// Where the next page begins; `None` at the end.
        upto: Option<PackNo>,
    },
    /// An operator wants something; answered [`Effect::Answer`].
    Ordered {
        /// Whom to answer.
        id: OrderId,
        /// Who asks, for the audit.
        caller: Caller,
        /// What.
        order: Order,
    },
    /// Links to a peer have sent so many UDP bytes more, 28 a datagram added,
    /// whatever was in them. What is reported is never reported again.
    SentOnWire {
        /// To whom.
        peer: NodeId,
        /// How many.
        bytes: u64,
    },
    /// How earlier runs ended by panics, oldest first; those counted before count for
    /// nothing. Heard before anything else of a run.
    Panicked(Vec<crate::poison::Panic>),
    /// The files these segments were made of are gone for good.
    Unspooled(Vec<SegmentId>),
    /// The daemon was asked to stop.
    Drain,
    /// The deadline has come.
    Wake,
}
