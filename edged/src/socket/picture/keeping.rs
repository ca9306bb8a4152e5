//! Damage, spools and sink, as the socket shows them.

use edged_rpc::{QuarantineView, WayState, WayView};
use relay_core::ledger::Quarantined;

use super::Painter;
use crate::ways::{At, Way};

impl Painter<'_> {
    /// One entry.
    pub(in crate::socket) fn quarantined(
        &self,
        number: u64,
        entry: &Quarantined,
    ) -> QuarantineView {
        QuarantineView {
            number,
            found_at: (entry.at.0 > 0).then(|| self.moment(entry.at)),
            what: entry.what.clone(),
            place: entry.place.clone(),
            why: entry.why.clone(),
            peer_id: entry.peer.map(|no| self.peer_name(no)),
            lane: entry.lane.map(|no| self.lane_name(no)),
            deliveries: entry.segments,
            bytes: entry.bytes,
        }
    }

    /// One spool or sink.
    pub(in crate::socket) fn way(&self, way: &Way) -> WayView {
        WayView {
            place: way.place.clone(),
            state: match way.at {
                At::Starting => WayState::Starting,
                At::Working => WayState::Working,
                At::Waiting => WayState::Waiting,
                At::Unable => WayState::Unable,
            },
            since: self.moment(way.since),
            tries: way.tries,
            in_hand: way.in_hand,
            done: way.done,
            passed_over: way.passed_over,
            last_error: way.last.as_ref().map(|(_, found)| found.clone()),
            last_error_at: way.last.as_ref().map(|(at, _)| self.moment(*at)),
        }
    }
}
