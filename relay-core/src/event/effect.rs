//! What the scheduler asks for.

use super::*;

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
    /// Tell an operator what became of an order; what it says is durable.
    Answer(OrderId, Result<Done, OrderRefused>),
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
    /// Read back all that is owed to a peer and not terminal, shelved rows
    /// included, above `after`; answer [`Input::Owing`].
    Owing {
        /// Whose.
        peer: NodeNo,
        /// Above this place in the order (pack, part).
        after: Option<(PackNo, Part)>,
        /// At most so many.
        limit: usize,
    },
    /// Read back one row; answer [`Input::Fetched`].
    Fetch(Due),
    /// Find waiting rows that are not worth sending at `by`, by the moment and the
    /// name (pack, part, peer), above `after`; answer [`Input::Expired`].
    FindExpired {
        /// The moment.
        by: Unix,
        /// Above this place.
        after: Option<(Unix, Due)>,
        /// At most so many.
        limit: usize,
    },
    /// Find stuck rows by (pack, part, peer), above `after`; answer
    /// [`Input::Stuck`].
    FindStuck {
        /// Above this place.
        after: Option<Due>,
        /// At most so many.
        limit: usize,
    },
    /// Ask which of these ids are known here; answer [`Input::LookedUp`].
    LookUp {
        /// The number of the question.
        question: u64,
        /// Their origin.
        origin: NodeNo,
        /// They.
        ids: Ids,
    },
    /// Divide staged bytes into packs of these members, by index, and drop the
    /// rest; answer [`Input::Divided`].
    Divide {
        /// The number of the question.
        question: u64,
        /// The bytes.
        staged: StagedId,
        /// What they are.
        shape: Shape,
        /// The members of each pack, ascending, none empty.
        parts: Vec<Vec<u16>>,
    },
    /// Read back all rows of a pack that are owed to peers; answer
    /// [`Input::Grouped`].
    Group(PackNo),
    /// Look through rows of a peer that have a [`crate::aim::Place`] and are not
    /// settled, above pack `after`, at most `limit` of them; answer
    /// [`Input::Walked`].
    Walk {
        /// Of which peer.
        peer: NodeNo,
        /// With it, those that stand by: answered are packs that are met, or of
        /// which too few deliveries are active. Without it, those that are active:
        /// answered are packs of which some delivery stands by.
        standby: bool,
        /// Above this pack.
        after: PackNo,
        /// Rows to look at.
        limit: usize,
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
        /// First byte: of a small pack's table and the bodies of these members behind
        /// it, of a large segment's body alone.
        from: u64,
        /// How many bytes; all of them for a small pack without a rate.
        bytes: u64,
        /// Whether these are the last.
        last: bool,
    },
    /// Take back a parcel: a large one whose stream is its own, or a pack of which some
    /// bytes are sent and not the last.
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
        /// Under which number its beginning is kept if it is cut off; `None`: it is
        /// not. Answered once, [`Input::Arrived`] or [`Input::Kept`], before the link
        /// is heard to be down.
        partial: Option<PartialNo>,
    },
    /// So much of a segment is in the journal: more may arrive.
    Journaled {
        /// Of which.
        partial: PartialNo,
        /// From its first byte on.
        bytes: u64,
    },
    /// Drop what is kept of a segment; nothing is arriving of it.
    Forget(PartialNo),
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
    /// Never touch the bytes of this segment as it arrives: refuse it as
    /// [`crate::change::Nack::Malformed`]. Holds until the daemon ends.
    Shun(SegmentId),
    /// Everything asked for is done; the daemon may end.
    Drained,
}
