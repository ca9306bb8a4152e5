//! The words a delivery, an attempt, a link and an inbox item can be in.
//!
//! One enum each, as `semantics.md`, section 3, names them: the same spelling in
//! tables (`Display`) and in JSON (serde). Nothing here decides a transition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The five states of a delivery (`semantics.md`, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Durable, waiting its turn.
    Scheduled,
    /// Bytes are moving, or an ack is awaited.
    Inflight,
    /// The last attempt failed; waiting out its backoff.
    Failed,
    /// Stored by the peer, digest checked.
    Acked,
    /// Parked with a cause.
    Deadletter,
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// Stored by the peer.
    Acked,
    /// The peer could not, for now.
    Failed,
    /// No answer in time.
    Timeout,
    /// The peer never will.
    Rejected,
    /// Our own bytes were gone.
    SegmentMissing,
    /// Our own bytes were bad.
    Corrupt,
    /// Left open by an earlier boot of the daemon.
    Abandoned,
    /// The link went, or an operator stepped in.
    Interrupted,
    /// The peer was busy.
    Deferred,
}

/// One link as states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Not connected.
    Down,
    /// Connecting.
    Dialing,
    /// Both have said hello.
    Up,
    /// Finishing what is in flight.
    Draining,
    /// An operator stopped it.
    Paused,
    /// It proved to be someone else.
    Untrusted,
}

/// Where an inbox item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Free to take.
    Ready,
    /// Taken, not yet confirmed.
    Leased,
    /// Processed.
    Confirmed,
    /// A sink gave up on it.
    Refused,
}

/// What "stored" means, as promised with each answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// On stable storage.
    Synced,
    /// With the operating system; a power cut may take it.
    Written,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scheduled => "scheduled",
            Self::Inflight => "inflight",
            Self::Failed => "failed",
            Self::Acked => "acked",
            Self::Deadletter => "deadletter",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Acked => "ACKED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Rejected => "REJECTED",
            Self::SegmentMissing => "SEGMENT_MISSING",
            Self::Corrupt => "CORRUPT",
            Self::Abandoned => "ABANDONED",
            Self::Interrupted => "INTERRUPTED",
            Self::Deferred => "DEFERRED",
        })
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Down => "down",
            Self::Dialing => "dialing",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Untrusted => "untrusted",
        })
    }
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Synced => "synced",
            Self::Written => "written",
        })
    }
}
