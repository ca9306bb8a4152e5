//! The words of operators: what they order, and what became of it.
//!
//! One struct a verb of `surface.md`, section 3, and the answers they share. Only
//! root, the daemon's own user and operators may give orders; each is audited, and
//! answered once it is durable.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Response;
use crate::{DeliveryDetail, DeliveryView, Id, Moment, SegmentView};

/// What is paused or resumed: a peer, a lane, a lane of a peer, or everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    /// This peer alone.
    pub peer: Option<String>,
    /// This lane alone.
    pub lane: Option<String>,
}

/// What a pause does to what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pausing {
    /// It runs on; nothing new begins.
    #[default]
    Drain,
    /// It returns to its queue at once; no attempt is spent.
    Now,
}

/// When a pause ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// So many seconds from now, as the daemon's clock stands.
    After(u64),
    /// At this moment.
    At(Moment),
}

/// Begin nothing new in a scope. Answered [`Response::Paused`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayPause {
    /// Where.
    pub scope: Scope,
    /// What becomes of what is in flight.
    pub how: Pausing,
    /// When it ends by itself; `None`: when somebody resumes.
    pub until: Option<Until>,
}

/// End a pause of exactly this scope. Answered [`Response::Changed`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayResume {
    /// Where.
    pub scope: Scope,
}

/// How long a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Standing {
    /// In the ledger, over the config, until it is reset.
    #[default]
    Stored,
    /// Until the daemon starts again.
    Ephemeral,
    /// No longer: the config holds again.
    Reset,
}

/// A new rate, a new quota. Answered [`Response::Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayBandwidth {
    /// For this peer; `None`: for the node.
    pub peer: Option<String>,
    /// 0 is unlimited; `None` leaves it.
    pub bytes_per_second: Option<u64>,
    /// Of a rolling day, 0 is unlimited; `None` leaves it.
    pub daily_quota_bytes: Option<u64>,
    /// How long it holds.
    pub standing: Standing,
    /// Only say what it would do.
    pub dry_run: bool,
}

/// A new budget of a lane. Answered [`Response::Limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneBudget {
    /// Which.
    pub lane: String,
    /// 0 is unlimited; `None` leaves it.
    pub bytes_per_day: Option<u64>,
    /// 0 is unlimited; `None` leaves it.
    pub attempts_per_hour: Option<u64>,
    /// Only say what it would do.
    pub dry_run: bool,
}

/// What is done to deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Keep them from being sent.
    Hold,
    /// Let them go again.
    Release,
    /// Call them back: to the deadletter as `cancelled`.
    Cancel,
    /// Park them: to the deadletter as `forced`.
    Force,
    /// Put deadlettered ones back to work.
    Retry {
        /// A new time to live from now; an expired one needs it.
        ttl_seconds: Option<u64>,
    },
    /// Remove deadlettered ones for good.
    Purge,
}

/// Deadlettered deliveries by what they are. Each narrows; `None` lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Only to this peer.
    pub peer: Option<String>,
    /// Only of this lane.
    pub lane: Option<String>,
    /// Only deadlettered for this cause.
    pub cause: Option<String>,
    /// Only deadlettered longer ago.
    pub older_than_seconds: Option<u64>,
    /// Only of at least so many bytes.
    pub least_bytes: Option<u64>,
    /// Only of at most so many bytes.
    pub most_bytes: Option<u64>,
}

/// Which deliveries an order is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// A segment's, to one peer or to all it goes to.
    One {
        /// An id or a unique prefix of one.
        segment: String,
        /// `None`: every peer.
        peer: Option<String>,
    },
    /// All deadlettered ones that match: for [`Verb::Retry`] and [`Verb::Purge`].
    All(Selection),
}

/// Do something to deliveries. Answered any number of [`Response::Acting`], so that a long
/// order shows progress, and then [`Response::Acted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayAct {
    /// What.
    pub verb: Verb,
    /// To which.
    pub which: Which,
    /// Only say to which.
    pub dry_run: bool,
}

/// One deadlettered delivery; the look is audited. Answered [`Response::Deadletter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadletterInspect {
    /// An id or a unique prefix of one.
    pub segment: String,
    /// Its peer.
    pub peer: String,
}

/// End a peer's link; it is dialled anew. Answered [`Response::Changed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKick {
    /// Which.
    pub peer: String,
}

/// Deadletter all that is owed to a peer which the config no longer names. Answered
/// [`Response::Changed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerDrop {
    /// Which.
    pub peer: String,
}

/// What became of an order that is not about single deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// Deliveries, links or settings it changed; 0: it held already.
    pub changed: u64,
}

/// What became of a pause.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Paused {
    /// 0: it was paused so already.
    pub changed: u64,
    /// When it ends by itself.
    pub until: Option<Moment>,
}

/// What limits were, and what they are or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitsChanged {
    /// Whether it holds now; false for a dry run.
    pub applied: bool,
    /// Each limit spoken of.
    pub limits: Vec<LimitView>,
}

/// One limit that an order spoke of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitView {
    /// Its key in the config.
    pub name: String,
    /// What held; 0 is no limit.
    pub before: u64,
    /// What holds now, or would; 0 is no limit.
    pub after: u64,
}

/// What became of an order about deliveries, so far or in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acted {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Deliveries it is about; those skipped are not among them.
    pub matched: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Deliveries it changed.
    pub changed: u64,
    /// Deliveries passed over because their cause was not named, per cause.
    pub skipped: Vec<Skipped>,
    /// Deliveries it could not be done to; the first hundred.
    pub refused: Vec<RefusedView>,
    /// How many it could not be done to.
    pub refused_total: u64,
    /// The first of those it is about.
    pub first: Vec<DeliveryView>,
}

/// Deliveries a bulk order passes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Their cause.
    pub cause: String,
    /// How many.
    pub count: u64,
}

/// A delivery to which an order could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// The peer.
    pub peer_id: String,
    /// The segment; `None` when the refusal is about all that share a row.
    pub segment_id: Option<Id>,
    /// Stable, `snake_case`.
    pub code: String,
    /// What was found.
    pub message: String,
}

/// One deadlettered delivery in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadletterView {
    /// Its segment.
    pub segment: SegmentView,
    /// It, and its attempts.
    pub entry: DeliveryDetail,
}
