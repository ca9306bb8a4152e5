//! What an operator may want, and what became of it.
//!
//! An order is carried out, audited and made durable as one change; only then is
//! it answered (semantics 7, 8; surface 3 and 7). Who may give which order is the
//! shell's affair: here it has been allowed.

use std::time::Duration;

use crate::audit::AuditRecord;
use crate::change::Due;
use crate::delivery::{Cause, StateName};
use crate::event::Configured;
use crate::id::{LaneName, NodeId};
use crate::segment::Digest;
use crate::time::Unix;
use crate::units::Rate;

/// Names an order until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// Who gives an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Proven by the kernel.
    pub uid: u32,
    /// A label beside it.
    pub operator: Option<String>,
    /// The operator's own words.
    pub reason: Option<String>,
}

/// The deliveries of one order: all members without a row of their own, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which. A member that shares its pack's row is split from it.
    pub due: Due,
    /// The length of the member; not looked at for [`crate::change::Part::Rest`].
    pub length: u64,
}

/// A new rate, a new quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// For whom; `None` is the node.
    pub peer: Option<NodeId>,
    /// The rate; `None` leaves it.
    pub rate: Option<Rate>,
    /// Bytes a rolling day, 0 without a bound; `None` leaves it.
    pub daily_quota: Option<u64>,
    /// How long it holds.
    pub standing: Standing,
}

/// How long a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the ledger, over the config, until it is reset.
    Stored,
    /// Until the next start.
    Ephemeral,
    /// No longer: the config holds again.
    Reset,
}

/// A new budget of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBudget {
    /// Which.
    pub lane: LaneName,
    /// Bytes a rolling day, 0 without a bound; `None` leaves it.
    pub bytes_per_day: Option<u64>,
    /// Attempts a rolling hour, 0 without a bound; `None` leaves it.
    pub attempts_per_hour: Option<u64>,
}

/// What is paused or resumed: a peer, a lane, a lane of a peer, or everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// This peer alone.
    pub peer: Option<NodeId>,
    /// This lane alone.
    pub lane: Option<LaneName>,
}

/// What a pause does to what is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Pausing {
    /// It runs on; nothing new begins.
    #[default]
    Drain,
    /// It returns to its queue at once, unspent.
    Now,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Change a rate or quota; with `dry_run` only say what it would do.
    Bandwidth {
        /// What.
        change: Bandwidth,
        /// Whether nothing is to be changed.
        dry_run: bool,
    },
    /// Change a lane's budget; with `dry_run` only say what it would do.
    LaneBudget {
        /// What.
        change: LaneBudget,
        /// Whether nothing is to be changed.
        dry_run: bool,
    },
    /// Begin nothing new in `scope`.
    Pause {
        /// Where.
        scope: Scope,
        /// What becomes of what is in flight.
        how: Pausing,
        /// When it ends by itself, on the clock of [`crate::time::Now::unix`].
        until: Option<Unix>,
    },
    /// End a pause of exactly this scope.
    Resume(Scope),
    /// Keep these from being sent until they are released.
    Hold(Vec<Target>),
    /// Let these go again.
    Release(Vec<Target>),
    /// Call these back: to the deadletter as `cancelled`.
    Cancel(Vec<Target>),
    /// Park these: to the deadletter as `forced`.
    Force(Vec<Target>),
    /// Put deadlettered ones back to work.
    Retry {
        /// Which.
        targets: Vec<Target>,
        /// A new time to live, counted from now; an expired one needs it.
        ttl: Option<Duration>,
    },
    /// Remove deadlettered ones for good.
    Purge(Vec<Target>),
    /// End a peer's link; it is dialled anew.
    Kick(NodeId),
    /// Deadletter all that is owed to a peer which the config no longer names.
    Drop(NodeId),
    /// Remove the oldest audit entries; one entry says so.
    PruneAudit {
        /// The last entry to go.
        upto: u64,
        /// How many there are up to it.
        count: u64,
        /// Its hash.
        last_hash: Digest,
    },
    /// Something the shell saw or did that belongs in the audit.
    Note(AuditRecord),
    /// Take up a config that was read again and checked.
    Configure {
        /// What of it holds at once.
        new: Box<Configured>,
        /// What the audit keeps of it.
        audit: Box<AuditRecord>,
    },
}

/// What became of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Deliveries, peers or settings it changed; 0: it held already.
    pub changed: u64,
    /// Targets it could not be done to.
    pub refused: Vec<(Due, Refused)>,
    /// What a limit was and what it is (or would be), by the names of the config.
    pub limits: Vec<Limit>,
}

/// One limit that an order spoke of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its key in the config: `bytes_per_second`, `daily_quota_bytes`,
    /// `bytes_per_day`, `attempts_per_hour`.
    pub name: &'static str,
    /// What held; 0 is no limit.
    pub before: u64,
    /// What holds now; 0 is no limit.
    pub after: u64,
}

/// Why an order, or one target of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such peer in the config or with work.
    #[error("no peer {0} in the config or with work (try edgectl peer list)")]
    UnknownPeer(NodeId),
    /// No such lane.
    #[error("no lane {0} (try edgectl lane list)")]
    UnknownLane(LaneName),
    /// No such delivery.
    #[error("no such delivery")]
    NotFound,
    /// The delivery stands where this order does not apply.
    #[error("the delivery is {0}")]
    WrongState(StateName),
    /// It was parked for this cause, which this order does not undo as asked.
    #[error("it was deadlettered as {}", .0.as_str())]
    Cause(Cause),
    /// Its bytes are no longer here.
    #[error("its bytes are no longer here")]
    Evicted,
    /// Its row or its bytes cannot be read just now.
    #[error("it cannot be read just now")]
    Unreadable,
    /// The peer is still in the config.
    #[error("peer {0} is still in the config (remove it there first)")]
    StillConfigured(NodeId),
    /// The order makes no sense as given.
    #[error("{0}")]
    Malformed(String),
    /// The daemon is going down.
    #[error("the daemon is going down")]
    Draining,
}
