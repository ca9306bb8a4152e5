//! The words of the client: greeting, and all it can ask.
//!
//! Each request is its own struct and one variant of [`Request`]; the enum only grows
//! at its end, and no struct grows (see [`crate::VERSION`]). What raw frames follow a
//! request or its answer stands beside it here. Answers are in `answer`; checking what
//! a request means is the daemon's affair.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Response;
use crate::{
    AuditAsk, AuditPrune, ConfigCheck, ConfigShow, DeadletterInspect, Ids, LaneBudget, LaneList,
    PeerDrop, PeerInspect, PeerKick, QuarantineList, RelayAct, RelayBandwidth, RelayPause,
    RelayResume, RelayWhy, RpcError, State,
};

/// Most members of one batch: its answer stays a small frame (64 KiB of ids).
pub const MAX_BATCH_MEMBERS: usize = 4_096;

/// Most batches one connection may leave unanswered: with [`WINDOW_MEMBERS`], all their
/// answers fit a socket buffer, so that neither side waits for the other to read.
pub const WINDOW_BATCHES: usize = 32;

/// Most batch members one connection may leave unanswered (128 KiB of ids).
pub const WINDOW_MEMBERS: usize = 8_192;

/// Most rows one page may be asked for. A page may be shorter: it must fit one frame.
pub const MAX_PAGE: u32 = 1_000;

/// The client's first frame. The same in every version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version the client speaks.
    pub version: u16,
    /// Program and version, for the daemon's log.
    pub software: String,
    /// A label for the audit beside the uid the kernel proves (`--operator`).
    pub operator: Option<String>,
    /// The operator's own words for the audit (`--reason`), for all this connection asks.
    pub reason: Option<String>,
}

/// The daemon's first frame. The same in every version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// The conversation goes on.
    Welcome(Welcome),
    /// The daemon talks to nobody now, or not to this caller; it closes after this.
    Refused(RpcError),
}

/// Who answers, and in which version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version spoken from here: the lower of both newest. A client that does not
    /// speak it hangs up.
    pub version: u16,
    /// The node id.
    pub node: String,
    /// Program and version of the daemon.
    pub software: String,
    /// Raised by one at each start of the daemon.
    pub boot_epoch: u64,
}

/// All a client can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Store one segment. Answered [`Response::Go`], then the client sends raw chunks and
    /// an empty frame, then [`Response::Accepted`]. A refusal may stand in either place; after
    /// `Go` the daemon first reads on to the empty frame. A client that gives up half way
    /// hangs up, and nothing is stored.
    Put(Put),
    /// Store many small segments. Followed at once by one raw frame, the bodies end to end;
    /// answered [`Response::AcceptedBatch`], or [`Response::Error`] for all of it.
    PutBatch(PutBatch),
    /// Answered [`Response::Segments`].
    SegmentList(SegmentList),
    /// Answered [`Response::SegmentDetail`].
    SegmentInspect(SegmentInspect),
    /// Answered [`Response::Segment`], raw chunks, an empty frame, then [`Response::Done`], or
    /// [`Response::Error`] when the bytes before it are not all.
    SegmentGet(SegmentGet),
    /// Answered [`Response::Inbox`].
    InboxList(InboxList),
    /// Answered like [`Request::InboxTake`] with one item; leases nothing.
    InboxGet(InboxGet),
    /// Lease items and stream them: any number of groups, each [`Response::Items`], the
    /// bodies of the group end to end in raw chunks, and an empty frame; then
    /// [`Response::Done`], or [`Response::Error`] when the last group is cut short.
    InboxTake(InboxTake),
    /// Answered [`Response::Confirmed`]. Idempotent.
    InboxConfirm(InboxConfirm),
    /// Answered [`Response::Status`].
    RelayStatus(RelayStatus),
    /// Answered [`Response::Deliveries`].
    RelayList(RelayList),
    /// Answered [`Response::Peers`].
    PeerList(PeerList),
    /// Answered [`Response::Version`].
    Version,
    /// Answered [`Response::Counters`], from memory.
    Counters,
    /// An order. Answered [`Response::Limits`].
    RelayBandwidth(RelayBandwidth),
    /// An order. Answered [`Response::Limits`].
    LaneBudget(LaneBudget),
    /// An order. Answered [`Response::Paused`].
    RelayPause(RelayPause),
    /// An order. Answered [`Response::Changed`].
    RelayResume(RelayResume),
    /// An order. Answered [`Response::Acting`] while it runs, then [`Response::Acted`].
    RelayAct(RelayAct),
    /// Answered [`Response::Deadletter`].
    DeadletterInspect(DeadletterInspect),
    /// Answered [`Response::PeerDetail`].
    PeerInspect(PeerInspect),
    /// An order. Answered [`Response::Changed`].
    PeerKick(PeerKick),
    /// An order. Answered [`Response::Changed`].
    PeerDrop(PeerDrop),
    /// Answered [`Response::Lanes`].
    LaneList(LaneList),
    /// Answered [`Response::RelayConfig`].
    RelayConfig,
    /// Answered [`Response::Config`].
    ConfigShow(ConfigShow),
    /// An order that changes nothing. Answered [`Response::Reload`].
    ConfigCheck(ConfigCheck),
    /// An order. Answered [`Response::Reload`].
    ConfigReload,
    /// Wait for arrivals. Answered [`Response::Inbox`], at once when there are any, else when
    /// one comes or the wait is over; then the page is empty.
    InboxWait(InboxWait),
    /// Park arrivals that no consumer can use: they stay, and are not taken again. Answered
    /// [`Response::Confirmed`].
    InboxRefuse(InboxRefuse),
    /// Answered as the question says.
    Audit(AuditAsk),
    /// Answered [`Response::AuditPruned`].
    AuditPrune(AuditPrune),
    /// Answered [`Response::Why`].
    RelayWhy(RelayWhy),
    /// Answered [`Response::Blocked`].
    RelayWhyAll,
    /// Answered [`Response::Quarantine`].
    QuarantineList(QuarantineList),
}

/// Where a put goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// To these peers, in this order.
    Peers(Vec<String>),
    /// To the peers of this route.
    Route(String),
}

/// When a put counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Success {
    /// Every peer has it.
    AllPeers,
    /// One peer has it.
    OnePeer,
    /// This many peers have it.
    Count(u16),
}

/// What a put says about its segments, one or many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutOptions {
    /// Where to.
    pub target: Target,
    /// The lane, by name.
    pub lane: String,
    /// ≤ 8 levels of `[A-Za-z0-9._-]` joined by `/`, ≤ 255 bytes.
    pub topic: Option<String>,
    /// At most 16 of key (≤ 64 bytes) and value (≤ 256 bytes).
    pub labels: Vec<(String, String)>,
    /// How long it is worth delivering; `None`: as the lane says.
    pub ttl_seconds: Option<u64>,
    /// `None`: as the route or the config says.
    pub success: Option<Success>,
}

impl PutOptions {
    /// To one peer on the lane `default`, everything else as the daemon is set.
    pub fn to_peer(peer: impl Into<String>) -> Self {
        Self::to(Target::Peers(vec![peer.into()]))
    }

    /// To the peers of a route on the lane `default`, everything else as the daemon is set.
    pub fn to_route(route: impl Into<String>) -> Self {
        Self::to(Target::Route(route.into()))
    }

    /// To `target` on the lane `default`, everything else as the daemon is set.
    pub fn to(target: Target) -> Self {
        Self {
            target,
            lane: "default".to_owned(),
            topic: None,
            labels: Vec::new(),
            ttl_seconds: None,
            success: None,
        }
    }
}

/// See [`Request::Put`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Where to and how.
    pub options: PutOptions,
    /// Idempotency key, ≤ 128 bytes: a repeated put returns the first id.
    pub key: Option<String>,
    /// Bytes that will follow, when known: the daemon can refuse before they are sent,
    /// and refuses when another number came.
    pub len: Option<u64>,
}

/// See [`Request::PutBatch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBatch {
    /// Where to and how, for every member.
    pub options: PutOptions,
    /// Bytes of each member, in order; checked with [`crate::frame::check_lengths`].
    pub lengths: Vec<u32>,
}

impl PutBatch {
    /// Its place in [`Request`], for [`crate::frame::encode_batch`].
    pub(crate) const VARIANT: u32 = 1;
}

/// Which rows of a list, in what portion.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Paging {
    /// Rows wanted, 1 to [`MAX_PAGE`]; 0 asks for the count alone.
    pub limit: u32,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// Segments put here or passing through. Each filter narrows; `None` lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentList {
    /// Only of this lane.
    pub lane: Option<String>,
    /// Only with a delivery to this peer.
    pub peer: Option<String>,
    /// Only with a delivery in this state.
    pub state: Option<State>,
    /// Only with this topic (`*` one level, `**` any number).
    pub topic: Option<String>,
    /// The portion.
    pub page: Paging,
}

/// One segment, its deliveries, their attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInspect {
    /// An id or a unique prefix of one.
    pub segment: String,
}

/// One segment's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentGet {
    /// An id or a unique prefix of one.
    pub segment: String,
}

/// Which inbox items. Each filter narrows; `None` lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxFilter {
    /// Only from this node.
    pub origin: Option<String>,
    /// Only with this topic (`*` one level, `**` any number).
    pub topic: Option<String>,
    /// Only of this lane.
    pub lane: Option<String>,
}

/// Arrivals for a local consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxList {
    /// Which.
    pub filter: InboxFilter,
    /// The portion.
    pub page: Paging,
}

/// One arrival and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxGet {
    /// An id or a unique prefix of one.
    pub segment: String,
}

/// Lease the oldest ready items.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxTake {
    /// Which.
    pub filter: InboxFilter,
    /// At most this many.
    pub max: u32,
    /// For how long; `None`: as the config says (5 min). Unconfirmed items are ready again then.
    pub lease_seconds: Option<u64>,
}

/// These are processed; the daemon may forget them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxConfirm {
    /// By whole id: the way for programs.
    pub ids: Ids,
    /// By unique prefix: the way for people.
    pub prefixes: Vec<String>,
}

/// See [`Request::InboxRefuse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxRefuse {
    /// Which.
    pub ids: Ids,
}

/// The longest wait of one [`InboxWait`]: a client that is gone is noticed then at the latest.
pub const MAX_WAIT_SECONDS: u32 = 20;

/// See [`Request::InboxWait`]: how a consumer follows the inbox. It leases nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InboxWait {
    /// Which.
    pub filter: InboxFilter,
    /// Only what is free to take: whoever works off the inbox waits so. Otherwise whatever
    /// came behind `page.after`.
    pub ready: bool,
    /// At most this long, and at most [`MAX_WAIT_SECONDS`].
    pub seconds: u32,
    /// The portion.
    pub page: Paging,
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Also the books of each peer and lane.
    pub books: bool,
}

/// Deliveries. Each filter narrows; `None` lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayList {
    /// Only in this state.
    pub state: Option<State>,
    /// Only to this peer.
    pub peer: Option<String>,
    /// Only of this lane.
    pub lane: Option<String>,
    /// Only deadlettered for this cause.
    pub cause: Option<String>,
    /// Only with this topic (`*` one level, `**` any number).
    pub topic: Option<String>,
    /// Only last changed longer ago.
    pub older_than_seconds: Option<u64>,
    /// The portion.
    pub page: Paging,
}

/// Peers, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerList {
    /// The portion.
    pub page: Paging,
}
