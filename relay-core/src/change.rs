//! Facts that must survive a crash, and what start-up reads back.
//!
//! A [`Change`] sets a row to what it says; applying one twice is applying it
//! once. Groups of changes are committed in the order of their tickets, all or
//! nothing. Both the SQLite ledger and the simulator's model of a disk
//! understand exactly these and nothing else.

mod snapshot;

pub use snapshot::{Depth, PagedRow, Shelved, Snapshot};

use crate::aim::Place;
use crate::audit::AuditRecord;
use crate::delivery::{Attempt, Outcome, State, WaitingOn};
use crate::id::{
    LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo, PartialNo, ReceiptNo, SegmentId, StagedId,
};
use crate::meter::Metered;
use crate::partial::PartialRow;
use crate::segment::{Digest, PackInfo};
use crate::setting::{Setting, Value};
use crate::spool::SpooledRow;
use crate::time::Unix;

/// Which members of a pack a row speaks for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Part {
    /// All members that have no row of their own.
    Rest,
    /// The member at this index alone: it left the happy path.
    Member(u16),
}

/// One thing owed: a pack, or one member of it, to one peer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Due {
    /// To whom; [`NodeNo::LOCAL`] is the inbox.
    pub peer: NodeNo,
    /// What.
    pub pack: PackNo,
    /// Which members.
    pub part: Part,
}

/// What the ledger keeps for one [`Due`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedRow {
    /// The key.
    pub due: Due,
    /// The pack's lane, so that work is found by (peer, lane).
    pub lane: LaneNo,
    /// Members this row speaks for.
    pub count: u32,
    /// The sum of their lengths.
    pub bytes: u64,
    /// Where they stand.
    pub state: State,
    /// Attempts counted against the budget.
    pub spent: u32,
    /// The latest attempt, open or ended; `None` before the first.
    pub attempt: Option<Attempt>,
    /// Whether a restart found an attempt open here.
    pub rescued: bool,
    /// Whether an operator keeps it from being sent.
    pub held: bool,
    /// Whether it waits for another peer's delivery to fall short (semantics 3).
    pub standby: bool,
    /// Whether its budget is spent and the deadletter had no room: it is failed,
    /// and nothing more is tried (semantics 8).
    pub stuck: bool,
    /// Whether the peer acked it after it was parked: a retry settles it without
    /// bytes (semantics 2.5).
    pub acked_late: bool,
    /// Whether its bytes were given up while it lay in the deadletter as expired.
    pub evicted: bool,
    /// When it stops being worth sending.
    pub expires: Option<Unix>,
    /// With [`Part::Member`]: the members the rest spoke for when it left, itself
    /// included. An ack of the rest for at least so many answers for it too; 0 is
    /// not known. See [`OwedRow::is_covered`].
    pub left: u32,
    /// Its place among the peers of which fewer than all must have it; `None`
    /// where every peer must.
    pub place: Option<Place>,
    /// When it was first owed.
    pub queued: Unix,
    /// When this row last changed.
    pub updated: Unix,
    /// What the last failed attempt said.
    pub error: Option<String>,
}

impl OwedRow {
    /// The first row of what is owed of a whole pack: scheduled, nothing tried.
    #[must_use]
    pub const fn new(due: Due, info: &PackInfo, at: Unix) -> Self {
        Self {
            due,
            lane: info.lane,
            count: info.count,
            bytes: info.bytes,
            state: State::Scheduled,
            spent: 0,
            attempt: None,
            rescued: false,
            held: false,
            standby: false,
            stuck: false,
            acked_late: false,
            evicted: false,
            expires: info.expires,
            left: 0,
            place: None,
            queued: at,
            updated: at,
            error: None,
        }
    }

    /// Whether it is left out of pages of work until somebody moves it.
    #[must_use]
    pub const fn is_shelved(&self) -> bool {
        self.shelved_on().is_some()
    }

    /// What leaves it out of pages of work, the most binding first.
    #[must_use]
    pub const fn shelved_on(&self) -> Option<WaitingOn> {
        if self.held {
            Some(WaitingOn::Held)
        } else if self.standby {
            Some(WaitingOn::Standby)
        } else if self.stuck {
            Some(WaitingOn::DeadletterFull)
        } else {
            None
        }
    }

    /// Whether an ack of the rest of its pack for `count` members answers for it.
    ///
    /// The members of a pack leave the rest one after the other and never come
    /// back, so what was sent as the rest is told apart by how many it was: what
    /// was sent before a member left is at least as many as there were then.
    #[must_use]
    pub const fn is_covered(&self, count: u32) -> bool {
        self.left > 0 && count >= self.left
    }

    /// Whether it stops being worth sending by `at`. A row of an older ledger
    /// names no moment of its own; its pack does.
    #[must_use]
    pub fn has_expired(&self, info: &PackInfo, at: Unix) -> bool {
        self.expires.or(info.expires).is_some_and(|end| end <= at)
    }
}

/// A closed attempt that is kept for the history. An attempt that ended
/// `ACKED` lives in its [`OwedRow`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Of which delivery.
    pub due: Due,
    /// The attempt; its `ended` is set.
    pub attempt: Attempt,
    /// Body bytes handed to the transport.
    pub sent: u64,
    /// What went wrong.
    pub error: Option<String>,
}

/// Why a receiver refuses a member.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Nack {
    /// Not a sound segment. Permanent.
    Malformed,
    /// Longer than the receiver takes. Permanent.
    TooLarge,
    /// This sender may not offer it. Permanent.
    NotAllowed,
    /// Too many relays passed. Permanent.
    HopLimit,
    /// The id is known with another digest. Permanent.
    IdConflict,
    /// The body does not match the table's digest. Transient.
    BadDigest,
}

impl Nack {
    /// Whether trying again can never help.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        match self {
            Self::Malformed
            | Self::TooLarge
            | Self::NotAllowed
            | Self::HopLimit
            | Self::IdConflict => true,
            Self::BadDigest => false,
        }
    }

    /// The name in logs, histories and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NotAllowed => "not_allowed",
            Self::HopLimit => "hop_limit",
            Self::IdConflict => "id_conflict",
            Self::BadDigest => "bad_digest",
        }
    }
}

/// A member refused, by its index in the pack as sent.
pub type Refused = (u16, Nack);

/// How a sender names what it sent, so that an ack finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    /// The sender's ledger.
    pub ledger: LedgerId,
    /// The sender's number of the pack.
    pub pack: PackNo,
    /// Which members of it.
    pub part: Part,
}

/// What this node must be able to say again until the sender has settled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The number of this receipt here.
    pub no: ReceiptNo,
    /// Who sent.
    pub peer: NodeNo,
    /// What.
    pub sent: Sent,
    /// The digest of the table as received.
    pub table: Digest,
    /// Members answered for, refused ones included.
    pub count: u32,
    /// Members refused.
    pub refused: Vec<Refused>,
    /// Where what was new is kept.
    pub pack: PackNo,
}

/// Who claims an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// The producer's uid.
    pub uid: u32,
    /// Its key, at most 128 B.
    pub key: String,
}

/// What a key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Who and which.
    pub name: KeyName,
    /// The segment it named first.
    pub id: SegmentId,
    /// The digest of that segment.
    pub digest: Digest,
    /// To whom it went, ascending.
    pub targets: Vec<NodeNo>,
    /// When.
    pub at: Unix,
}

/// A column of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Book {
    /// Deliveries ever owed.
    Put,
    /// Deliveries ever settled by an ack.
    Acked,
    /// Deliveries in deadletter: raised on entry, lowered on retry and purge.
    Deadletter,
    /// Deliveries no longer needed: the success condition was met.
    NotNeeded,
    /// Deadlettered deliveries an operator removed.
    Purged,
    /// Deliveries whose rows or bytes were damaged.
    Quarantined,
}

/// A fact that must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node's number and name.
    Node(NodeNo, NodeId),
    /// A lane's number and name.
    Lane(LaneNo, LaneName),
    /// A pack whose bytes the shell holds as `staged` gets a number and a place.
    Pack {
        /// Its number, above every earlier one.
        no: PackNo,
        /// The bytes.
        staged: StagedId,
        /// The rest.
        info: PackInfo,
    },
    /// A row of what is owed is now this.
    Owed(OwedRow),
    /// A row of what is owed is removed.
    Gone(Due),
    /// An attempt joins the history.
    Attempt(AttemptRow),
    /// The books of (peer, lane) move by `by`.
    Book {
        /// Whose.
        peer: NodeNo,
        /// In which lane.
        lane: LaneNo,
        /// Which column.
        entry: Book,
        /// By how much.
        by: i64,
    },
    /// The highest pack number stored from this ledger in this lane.
    Heard(LedgerId, LaneNo, PackNo),
    /// A receipt to be repeated until it is settled.
    Receipt(ReceiptRow),
    /// The sender has settled all receipts up to this one.
    Settled(NodeNo, ReceiptNo),
    /// An idempotency key is taken.
    Key(KeyRow),
    /// So much is here of a large segment.
    Partial(PartialRow),
    /// Nothing is kept of it any longer, or all of it is.
    PartialGone(PartialNo),
    /// A setting is now this; `None`: it is not set.
    Set(Setting, Option<Value>),
    /// What was used in a minute is now this; older minutes that no longer count go.
    Metered(Metered),
    /// A record joins the audit chain.
    Audit(AuditRecord),
    /// The audit entries up to this one are removed.
    PruneAudit(u64),
    /// This file is put, and to be removed.
    Spooled(SpooledRow),
    /// The file that this segment was made of is gone.
    Unspooled(SegmentId),
}

/// Closes the open attempt of `row` as `outcome`; answers what the history keeps.
///
/// Used by recovery and by the scheduler alike, so that `ABANDONED` reads the
/// same everywhere.
pub fn close_attempt(row: &mut OwedRow, at: Unix, outcome: Outcome) -> Option<AttemptRow> {
    let attempt = row
        .attempt
        .as_mut()
        .filter(|attempt| attempt.ended.is_none())?;
    attempt.ended = Some((at, outcome));
    let attempt = *attempt;
    Some(AttemptRow {
        due: row.due,
        attempt,
        sent: 0,
        error: row.error.clone(),
    })
}
