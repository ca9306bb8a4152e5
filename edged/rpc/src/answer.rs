//! The words of the daemon: every answer, and how it says no.
//!
//! One variant of [`Response`] each; the enum only grows at its end and no struct
//! grows (see [`crate::VERSION`]). What raw frames follow which answer stands at the
//! [`crate::Request`] that asked for it.

use serde::{Deserialize, Serialize};

use crate::{
    Acted, AuditPruned, AuditSums, AuditVerdict, AuditView, BlockedView, Changed, CountersView,
    DeadletterView, DeliveryView, Digest, Durability, Id, Ids, InboxView, KeyView, LaneView,
    LimitsChanged, Page, Paused, PeerDetail, PeerView, QuarantineView, RelayConfigView, ReloadView,
    SegmentDetail, SegmentView, StatusReport, VersionView, WhyReport,
};

/// All the daemon can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// No, and why. The conversation goes on.
    Error(RpcError),
    /// A stream has ended as it should.
    Done,
    /// The bytes of a put may come.
    Go,
    /// A put is stored.
    Accepted(Accepted),
    /// A batch is stored, or most of it.
    AcceptedBatch(AcceptedBatch),
    /// A page of segments, newest first.
    Segments(Page<SegmentView>),
    /// One segment; its bytes follow.
    Segment(SegmentView),
    /// One segment and all that happened to it.
    SegmentDetail(SegmentDetail),
    /// A page of the inbox, oldest first: the order in which it is taken.
    Inbox(Page<InboxView>),
    /// Inbox items whose bytes follow, in this order.
    Items(Vec<InboxView>),
    /// What became of a confirmation.
    Confirmed(Confirmed),
    /// The whole picture.
    Status(StatusReport),
    /// A page of deliveries, newest first.
    Deliveries(Page<DeliveryView>),
    /// A page of peers, by id.
    Peers(Page<PeerView>),
    /// Who answers.
    Version(VersionView),
    /// Counts since the ledger was made.
    Counters(CountersView),
    /// What became of an order that is not about single deliveries.
    Changed(Changed),
    /// What became of a pause.
    Paused(Paused),
    /// What limits were and are.
    Limits(LimitsChanged),
    /// How far an order about deliveries is; more follows.
    Acting(Acted),
    /// What became of an order about deliveries.
    Acted(Acted),
    /// One deadletter entry.
    Deadletter(DeadletterView),
    /// One peer in full.
    PeerDetail(PeerDetail),
    /// A page of lanes, most urgent first.
    Lanes(Page<LaneView>),
    /// How the relay is set.
    RelayConfig(RelayConfigView),
    /// A page of config keys, by name.
    Config(Page<KeyView>),
    /// What a reload changed, or would.
    Reload(ReloadView),
    /// A page of audit entries.
    Audit(Page<AuditView>),
    /// Counts of audit entries.
    AuditSums(AuditSums),
    /// Whether the audit chain holds.
    AuditVerdict(AuditVerdict),
    /// What pruning the audit removed, or would.
    AuditPruned(AuditPruned),
    /// Why the deliveries of one segment stand where they stand.
    Why(WhyReport),
    /// What blocks how much of all that waits, the most first.
    Blocked(Page<BlockedView>),
    /// A page of what was damaged, newest first.
    Quarantine(Page<QuarantineView>),
}

/// A segment is on stable storage and will be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its name from here on.
    pub segment_id: Id,
    /// What "stored" means here.
    pub durability: Durability,
    /// BLAKE3 of the bytes as stored.
    pub digest: Digest,
    /// Whether the key was known: this is the first put's id and nothing new was stored.
    pub known: bool,
}

/// What became of each member of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedBatch {
    /// One per member, in order; [`Id::NIL`] for a refused one.
    pub ids: Ids,
    /// What "stored" means here.
    pub durability: Durability,
    /// Who was refused, and why; equal reasons stand together.
    pub refused: Vec<Refusal>,
}

/// Members of a batch refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Their places in the batch, from 0.
    pub members: Vec<u32>,
    /// Why.
    pub error: RpcError,
}

/// What became of a confirmation; all of it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confirmed {
    /// Newly confirmed.
    pub confirmed: u32,
    /// Confirmed before.
    pub already: u32,
    /// Named, but not in the inbox.
    pub unknown: Vec<String>,
}

/// What kind of no; decides the exit code of `edgectl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request is fine, the answer is no (limits, states, rules). Exit 1.
    Refused,
    /// There is no such segment, peer, lane or route. Exit 4.
    NotFound,
    /// The caller may not. Exit 5.
    Permission,
    /// This daemon cannot do that, or cannot yet. Exit 1.
    Unsupported,
    /// The request breaks a rule of its own. Exit 2.
    Invalid,
    /// The daemon ran into trouble; the message names it. Exit 1.
    Failed,
}

/// A refusal in words for people and a code for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// What kind of no.
    pub kind: ErrorKind,
    /// Stable, `snake_case`: `outbox_full`, `no_such_segment`.
    pub code: String,
    /// What was found, lower-case, no final dot.
    pub message: String,
    /// What to try next; may be empty.
    pub hint: String,
}

impl RpcError {
    /// A refusal without a hint.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            hint: String::new(),
        }
    }

    /// The same with what to try next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}
