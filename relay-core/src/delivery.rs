//! A delivery's states, outcomes and causes, and the one table of legal moves.
//!
//! A delivery is one segment owed to one peer. Members of a pack that share
//! their fate are moved together; the table is the same. [`step`] is the only
//! function that answers which state follows which; everything else is refused
//! with both ends named (semantics 3).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::BootEpoch;
use crate::time::Unix;

/// Where a delivery stands. Exactly these five names everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Durable, waiting its turn.
    Scheduled,
    /// Bytes are moving, or an ack is awaited.
    Inflight,
    /// The last attempt failed; rests until `until`.
    Failed {
        /// When its backoff is over.
        until: Unix,
    },
    /// Stored by the peer, digest checked. Terminal.
    Acked,
    /// Parked with a cause; only an operator moves it. Terminal.
    Deadletter {
        /// Why it was parked.
        cause: Cause,
    },
}

/// A [`State`] without what it carries: for tables, counters and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateName {
    /// See [`State::Scheduled`].
    Scheduled,
    /// See [`State::Inflight`].
    Inflight,
    /// See [`State::Failed`].
    Failed,
    /// See [`State::Acked`].
    Acked,
    /// See [`State::Deadletter`].
    Deadletter,
}

impl State {
    /// The bare name.
    #[must_use]
    pub const fn name(self) -> StateName {
        match self {
            Self::Scheduled => StateName::Scheduled,
            Self::Inflight => StateName::Inflight,
            Self::Failed { .. } => StateName::Failed,
            Self::Acked => StateName::Acked,
            Self::Deadletter { .. } => StateName::Deadletter,
        }
    }
}

impl StateName {
    /// All five, in the order they are shown.
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Inflight,
        Self::Acked,
        Self::Failed,
        Self::Deadletter,
    ];

    /// The name in code, CLI, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Inflight => "inflight",
            Self::Failed => "failed",
            Self::Acked => "acked",
            Self::Deadletter => "deadletter",
        }
    }

    /// Whether only an operator or retention moves it on.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Acked | Self::Deadletter)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a delivery is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Attempts spent = budget.
    RetriesExhausted,
    /// Its bytes are gone.
    SegmentMissing,
    /// Our own bytes are bad.
    Corrupt,
    /// The peer refused it for good.
    Rejected,
    /// Its TTL ran out.
    Expired,
    /// An operator parked it.
    Forced,
    /// An operator or its producer called it back.
    Cancelled,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::RetriesExhausted,
        Self::SegmentMissing,
        Self::Corrupt,
        Self::Rejected,
        Self::Expired,
        Self::Forced,
        Self::Cancelled,
    ];

    /// The name in code, CLI, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "retries_exhausted",
            Self::SegmentMissing => "segment_missing",
            Self::Corrupt => "corrupt",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Forced => "forced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The peer has it on stable storage.
    Acked,
    /// The peer answered with trouble about this segment.
    Failed,
    /// No ack in time.
    Timeout,
    /// The peer refused it for good.
    Rejected,
    /// Its bytes were gone when they were to be sent.
    SegmentMissing,
    /// Our own bytes were bad.
    Corrupt,
    /// Left open by an earlier run of the daemon.
    Abandoned,
    /// The link went, or the daemon was asked to stop.
    Interrupted,
    /// The peer was busy.
    Deferred,
}

impl Outcome {
    /// The name in attempt histories, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "ACKED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Rejected => "REJECTED",
            Self::SegmentMissing => "SEGMENT_MISSING",
            Self::Corrupt => "CORRUPT",
            Self::Abandoned => "ABANDONED",
            Self::Interrupted => "INTERRUPTED",
            Self::Deferred => "DEFERRED",
        }
    }

    /// Whether such an attempt counts against the budget.
    #[must_use]
    pub const fn spends_budget(self) -> bool {
        match self {
            Self::Failed | Self::Timeout => true,
            Self::Acked
            | Self::Rejected
            | Self::SegmentMissing
            | Self::Corrupt
            | Self::Abandoned
            | Self::Interrupted
            | Self::Deferred => false,
        }
    }
}

/// One try to move a delivery's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1, rising with each try.
    pub number: u32,
    /// The run of the daemon that made it.
    pub epoch: BootEpoch,
    /// When it began.
    pub started: Unix,
    /// When it ended and how; `None` while it is open.
    pub ended: Option<(Unix, Outcome)>,
}

/// A row of the table of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Move {
    /// (new) → scheduled: put, or route of an inbound segment.
    Enqueue,
    /// scheduled → inflight: chosen and admitted.
    Send,
    /// inflight → acked.
    Ack,
    /// scheduled, failed → acked: an ack that came late.
    AckLate,
    /// inflight → failed: nack about this segment, ack timeout.
    Fail,
    /// inflight → scheduled: link lost, peer busy, shutdown, restart.
    Return,
    /// failed → scheduled: backoff over.
    Wake,
    /// failed → deadletter: attempts spent = budget.
    Exhaust,
    /// scheduled, inflight, failed → deadletter, for every other cause.
    Park,
    /// deadletter → scheduled: an operator's retry.
    Retry,
    /// deadletter, acked → (gone): purge, retention.
    Remove,
    /// scheduled, inflight, failed → (gone): others have met the success condition.
    Spare,
}

impl Move {
    /// Every row.
    pub const ALL: [Self; 12] = [
        Self::Enqueue,
        Self::Send,
        Self::Ack,
        Self::AckLate,
        Self::Fail,
        Self::Return,
        Self::Wake,
        Self::Exhaust,
        Self::Park,
        Self::Retry,
        Self::Remove,
        Self::Spare,
    ];
}

/// A move the table does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery may not {wanted:?} from {from:?}")]
pub struct IllegalMove {
    /// Where it stands; `None` before it exists.
    pub from: Option<StateName>,
    /// What was asked.
    pub wanted: Move,
}

/// The state after `wanted`, starting in `from`; `Ok(None)` means gone.
///
/// # Errors
/// [`IllegalMove`], naming both ends, for whatever the table does not list.
pub const fn step(from: Option<StateName>, wanted: Move) -> Result<Option<StateName>, IllegalMove> {
    use StateName as S;
    let to = match (from, wanted) {
        (None, Move::Enqueue) => Some(S::Scheduled),
        (Some(S::Scheduled), Move::Send) => Some(S::Inflight),
        (Some(S::Inflight), Move::Ack) => Some(S::Acked),
        (Some(S::Scheduled | S::Failed), Move::AckLate) => Some(S::Acked),
        (Some(S::Inflight), Move::Fail) => Some(S::Failed),
        (Some(S::Inflight), Move::Return) => Some(S::Scheduled),
        (Some(S::Failed), Move::Wake) => Some(S::Scheduled),
        (Some(S::Failed), Move::Exhaust) => Some(S::Deadletter),
        (Some(S::Scheduled | S::Inflight | S::Failed), Move::Park) => Some(S::Deadletter),
        (Some(S::Deadletter), Move::Retry) => Some(S::Scheduled),
        (Some(S::Deadletter | S::Acked), Move::Remove) => None,
        (Some(S::Scheduled | S::Inflight | S::Failed), Move::Spare) => None,
        (
            None | Some(S::Scheduled | S::Inflight | S::Failed | S::Acked | S::Deadletter),
            Move::Enqueue
            | Move::Send
            | Move::Ack
            | Move::AckLate
            | Move::Fail
            | Move::Return
            | Move::Wake
            | Move::Exhaust
            | Move::Park
            | Move::Retry
            | Move::Remove
            | Move::Spare,
        ) => return Err(IllegalMove { from, wanted }),
    };
    Ok(to)
}

/// What a delivery waits on. Computed, never stored; the first that holds, in
/// this order, is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WaitingOn {
    /// An operator holds it.
    Held,
    /// An operator paused the node, the peer or the lane.
    Paused,
    /// The peer is not in the config.
    PeerRemoved,
    /// This node has no usable identity, or the peer none that we trust.
    Certificate,
    /// This node's disk has no room to note that it is sent.
    Storage,
    /// No link to the peer.
    PeerDown,
    /// After an outage one delivery goes first, and it is under way.
    Probe,
    /// The peer said `busy`.
    PeerBusy,
    /// The peer's contact window is shut.
    Window,
    /// Other peers go first, by the success condition.
    Standby,
    /// The lane's budget is used up.
    LaneBudget,
    /// The quota of the node or the peer is used up.
    Quota,
    /// It rests after a failure.
    Backoff,
    /// Its budget is spent and the deadletter has no room.
    DeadletterFull,
    /// The rate admits no byte yet.
    Tokens,
    /// Others go first.
    Turn,
}

impl WaitingOn {
    /// Every reason, the most binding first.
    pub const ALL: [Self; 16] = [
        Self::Held,
        Self::Paused,
        Self::PeerRemoved,
        Self::Certificate,
        Self::Storage,
        Self::PeerDown,
        Self::Probe,
        Self::PeerBusy,
        Self::Window,
        Self::Standby,
        Self::LaneBudget,
        Self::Quota,
        Self::Backoff,
        Self::DeadletterFull,
        Self::Tokens,
        Self::Turn,
    ];

    /// The name in CLI and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Paused => "paused",
            Self::PeerRemoved => "peer_removed",
            Self::Certificate => "certificate",
            Self::Storage => "storage",
            Self::PeerDown => "peer_down",
            Self::Probe => "probe",
            Self::PeerBusy => "peer_busy",
            Self::Window => "window",
            Self::Standby => "standby",
            Self::LaneBudget => "lane_budget",
            Self::Quota => "quota",
            Self::Backoff => "backoff",
            Self::DeadletterFull => "deadletter_full",
            Self::Tokens => "tokens",
            Self::Turn => "turn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of semantics 3, written a second time, by hand.
    const TABLE: [(Option<&str>, Move, Option<&str>); 18] = [
        (None, Move::Enqueue, Some("scheduled")),
        (Some("scheduled"), Move::Send, Some("inflight")),
        (Some("inflight"), Move::Ack, Some("acked")),
        (Some("scheduled"), Move::AckLate, Some("acked")),
        (Some("failed"), Move::AckLate, Some("acked")),
        (Some("inflight"), Move::Fail, Some("failed")),
        (Some("inflight"), Move::Return, Some("scheduled")),
        (Some("failed"), Move::Wake, Some("scheduled")),
        (Some("failed"), Move::Exhaust, Some("deadletter")),
        (Some("scheduled"), Move::Park, Some("deadletter")),
        (Some("inflight"), Move::Park, Some("deadletter")),
        (Some("failed"), Move::Park, Some("deadletter")),
        (Some("deadletter"), Move::Retry, Some("scheduled")),
        (Some("deadletter"), Move::Remove, None),
        (Some("acked"), Move::Remove, None),
        (Some("scheduled"), Move::Spare, None),
        (Some("inflight"), Move::Spare, None),
        (Some("failed"), Move::Spare, None),
    ];

    #[test]
    fn every_move_outside_the_table_is_refused_with_both_ends() {
        let states = StateName::ALL.into_iter().map(Some).chain([None]);
        for from in states {
            for wanted in Move::ALL {
                let row = TABLE
                    .iter()
                    .find(|(f, m, _)| *f == from.map(StateName::as_str) && *m == wanted);
                match (step(from, wanted), row) {
                    (Ok(to), Some((_, _, wished))) => {
                        assert_eq!(to.map(StateName::as_str), *wished);
                    }
                    (Err(refused), None) => {
                        assert_eq!(refused, IllegalMove { from, wanted });
                    }
                    (got, row) => panic!("{from:?} {wanted:?}: {got:?}, table {row:?}"),
                }
            }
        }
    }

    #[test]
    fn terminal_states_are_left_by_operators_and_retention_only() {
        for state in StateName::ALL.into_iter().filter(|s| s.is_terminal()) {
            for wanted in Move::ALL {
                if step(Some(state), wanted).is_ok() {
                    assert!(
                        matches!(wanted, Move::Retry | Move::Remove),
                        "{state} {wanted:?}"
                    );
                }
            }
        }
    }
}
