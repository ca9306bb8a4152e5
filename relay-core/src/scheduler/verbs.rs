//! What an operator may do to a delivery, and where it stands in the way: one
//! table, by verb and state.

use std::time::Duration;

use crate::audit::AuditEvent;
use crate::change::OwedRow;
use crate::delivery::{Cause, State};
use crate::event::OrderRefused;
use crate::segment::PackInfo;
use crate::time::Unix;

/// What is to be done to each target of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Keep it from being sent.
    Hold,
    /// Let it go again.
    Release,
    /// Call it back.
    Cancel,
    /// Park it.
    Force,
    /// Put it back to work.
    Retry {
        /// With this time to live.
        ttl: Option<Duration>,
    },
    /// Remove it for good.
    Purge,
}

impl Verb {
    /// The name of it in the audit.
    pub(super) const fn event(&self) -> AuditEvent {
        match self {
            Self::Hold => AuditEvent::Held,
            Self::Release => AuditEvent::Released,
            Self::Cancel => AuditEvent::SegmentCancelled,
            Self::Force => AuditEvent::DeadletterForced,
            Self::Retry { .. } => AuditEvent::DeadletterRetried,
            Self::Purge => AuditEvent::DeadletterPurged,
        }
    }
}

/// Whether `verb` changes a delivery of this row; `Ok(false)`: it holds already.
///
/// # Errors
/// Why the verb does not apply to it.
pub(super) fn may(
    verb: &Verb,
    row: &OwedRow,
    info: &PackInfo,
    now: Unix,
) -> Result<bool, OrderRefused> {
    let open = !row.state.name().is_terminal();
    let wrong = OrderRefused::WrongState(row.state.name());
    match (verb, row.state) {
        (Verb::Hold, _) if open => Ok(!row.held),
        (Verb::Release, _) if open => Ok(row.held),
        (Verb::Cancel | Verb::Force, _) if open => Ok(true),
        (Verb::Retry { .. }, _) if open => Ok(false),
        (
            Verb::Cancel,
            State::Deadletter {
                cause: Cause::Cancelled,
            },
        )
        | (
            Verb::Force,
            State::Deadletter {
                cause: Cause::Forced,
            },
        ) => Ok(false),
        (Verb::Retry { ttl }, State::Deadletter { cause }) => {
            // What the peer has needs neither time nor bytes.
            if row.acked_late {
                Ok(true)
            } else if row.evicted {
                Err(OrderRefused::Evicted)
            } else if ttl.is_some() {
                Ok(true)
            } else if cause == Cause::Expired {
                Err(OrderRefused::Cause(cause))
            } else if row.has_expired(info, now) {
                let why = "its time to live is over (try it with a new one)";
                Err(OrderRefused::Malformed(why.to_owned()))
            } else {
                Ok(true)
            }
        }
        (Verb::Purge, State::Deadletter { .. } | State::Acked) => Ok(true),
        (
            Verb::Hold
            | Verb::Release
            | Verb::Cancel
            | Verb::Force
            | Verb::Retry { .. }
            | Verb::Purge,
            State::Scheduled
            | State::Inflight
            | State::Failed { .. }
            | State::Acked
            | State::Deadletter { .. },
        ) => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Due, Part};
    use crate::id::{LaneNo, NodeNo, PackNo, SegmentId};
    use crate::segment::{Came, Digest, Shape};

    const NOW: Unix = Unix(1_000);

    fn info() -> PackInfo {
        let shape = Shape {
            count: 1,
            bytes: 10,
            table_len: 56,
            table: Digest::default(),
            first: SegmentId([0; 16]),
            last: SegmentId([0; 16]),
        };
        shape.info(LaneNo(1), Came::here(PackNo(1)), NOW, None)
    }

    fn row(state: State) -> OwedRow {
        let due = Due {
            peer: NodeNo(1),
            pack: PackNo(1),
            part: Part::Rest,
        };
        OwedRow {
            state,
            ..OwedRow::new(due, &info(), NOW)
        }
    }

    fn word(verb: Verb, row: &OwedRow) -> &'static str {
        match may(&verb, row, &info(), NOW) {
            Ok(true) => "done",
            Ok(false) => "holds",
            Err(OrderRefused::WrongState(_)) => "state",
            Err(OrderRefused::Cause(_)) => "cause",
            Err(OrderRefused::Evicted) => "evicted",
            Err(OrderRefused::Malformed(_)) => "ttl",
            Err(
                OrderRefused::NotFound
                | OrderRefused::UnknownPeer(_)
                | OrderRefused::UnknownLane(_)
                | OrderRefused::StillConfigured(_)
                | OrderRefused::Unreadable
                | OrderRefused::Draining,
            ) => "other",
        }
    }

    #[test]
    fn every_verb_has_an_answer_in_every_state() {
        let parked = |cause| row(State::Deadletter { cause });
        let until = NOW;
        let held = |state| OwedRow {
            held: true,
            ..row(state)
        };
        let late = OwedRow {
            acked_late: true,
            ..parked(Cause::Expired)
        };
        let evicted = OwedRow {
            evicted: true,
            ..parked(Cause::Expired)
        };
        let old = OwedRow {
            expires: Some(NOW),
            ..parked(Cause::Rejected)
        };
        let ttl = Some(Duration::from_secs(1));
        let verbs = [
            Verb::Hold,
            Verb::Release,
            Verb::Cancel,
            Verb::Force,
            Verb::Retry { ttl: None },
            Verb::Retry { ttl },
            Verb::Purge,
        ];
        // The verbs above, in their order.
        let open = ["done", "holds", "done", "done", "holds", "holds", "state"];
        let shut = ["holds", "done", "done", "done", "holds", "holds", "state"];
        let over = ["state", "state", "state", "state", "done", "done", "done"];
        let with = |at: usize, word| {
            let mut all = over;
            all[at] = word;
            all
        };
        let table = [
            (row(State::Scheduled), open),
            (row(State::Inflight), open),
            (row(State::Failed { until }), open),
            (held(State::Scheduled), shut),
            (held(State::Inflight), shut),
            (held(State::Failed { until }), shut),
            (
                row(State::Acked),
                ["state", "state", "state", "state", "state", "state", "done"],
            ),
            (parked(Cause::RetriesExhausted), over),
            (parked(Cause::SegmentMissing), over),
            (parked(Cause::Corrupt), over),
            (parked(Cause::Rejected), over),
            (parked(Cause::Expired), with(4, "cause")),
            (parked(Cause::Forced), with(3, "holds")),
            (parked(Cause::Cancelled), with(2, "holds")),
            (old, with(4, "ttl")),
            (late, over),
        ];
        for (row, wanted) in table {
            for (verb, wanted) in verbs.into_iter().zip(wanted) {
                assert_eq!(word(verb, &row), wanted, "{verb:?} of {row:?}");
            }
        }
        for verb in [Verb::Retry { ttl: None }, Verb::Retry { ttl }] {
            assert_eq!(word(verb, &evicted), "evicted");
        }
    }
}
