//! The deadletter: in, out, and its ceiling.
//!
//! A delivery leaves it by an operator's word alone. An ack of one that is parked
//! is noted in its row; a retry of it then settles without a byte (semantics 2.5).
//! At the ceiling a delivery whose budget is spent stays failed and is stuck: it is
//! shelved, nothing is tried, and new work goes on. When room comes back, the
//! oldest go first.

use super::{Scheduler, paging};
use crate::change::{Book, Change, Due};
use crate::delivery::{Cause, Move, Outcome, State, StateName};
use crate::event::Effect;
use crate::id::{NodeNo, Ticket};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::Key;
use crate::time::{Now, Unix};

/// What waits before a full deadletter.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    /// Rows, in memory and in the ledger.
    pub(super) rows: u64,
    /// Whether room may have come back since it was last looked for.
    pub(super) room_back: bool,
    /// Whether the ledger is asked for stuck rows.
    asking: bool,
}

impl Scheduler {
    /// Puts a deadlettered parcel back to work: attempts start again at zero. One
    /// that the peer has acked since settles at once.
    pub(super) fn retry(&mut self, now: Now, no: NodeNo, key: Key, expires: Option<Unix>) {
        self.forgive(key.0);
        let parcel = self.parcel_mut(no, key);
        let row = &mut parcel.row;
        (row.spent, row.held, row.standby) = (0, false, false);
        row.expires = expires.or(row.expires);
        let acked = std::mem::take(&mut row.acked_late);
        let row = self.moved(now, no, key, Move::Retry, State::Scheduled, None, None);
        self.book(&row, Book::Deadletter, -i64::from(row.count));
        self.stuck.room_back = true;
        if acked {
            self.settle(now, no, key);
        } else {
            self.wait_again(now, no, key);
        }
    }

    /// Removes a parcel that is over for good.
    pub(super) fn purge(&mut self, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        let parcel = peer.parcels.get_mut(&key);
        let parcel = parcel.expect("a purged parcel is in memory");
        parcel.gone = true;
        let row = parcel.row.clone();
        let from = row.state.name();
        peer.shift(row.lane, Some(from), Move::Remove, Peer::depth_of(&row));
        self.batch.push(Change::Gone(row.due));
        if from == StateName::Deadletter {
            let by = i64::from(row.count);
            self.book(&row, Book::Deadletter, -by);
            self.book(&row, Book::Purged, by);
            self.stuck.room_back = true;
        }
        self.retire(no, key);
    }

    /// Notes that the peer has acked a parcel which is over here; answers the
    /// ticket that makes all of it true.
    pub(super) fn note_acked(&mut self, now: Now, no: NodeNo, key: Key) -> Ticket {
        let parcel = self.parcel_mut(no, key);
        let parked = parcel.row.state.name() == StateName::Deadletter;
        if let (Phase::Settling(ticket), true) = (
            &parcel.phase,
            parcel.gone || !parked || parcel.row.acked_late,
        ) {
            return *ticket;
        }
        (parcel.row.acked_late, parcel.row.updated) = (true, now.unix);
        self.say_row(no, key);
        self.retire(no, key)
    }

    /// A parcel whose budget is spent goes to the deadletter, or is stuck before it.
    pub(super) fn exhaust(&mut self, now: Now, no: NodeNo, key: Key, outcome: Outcome) {
        let bytes = self.peers[&no].parcels[&key].row.bytes;
        if self.has_deadletter_room(bytes) {
            self.park(now, no, key, Cause::RetriesExhausted, outcome, None);
            return;
        }
        self.parcel_mut(no, key).row.stuck = true;
        self.stuck.rows += 1;
        self.say_row(no, key);
        self.wait_again(now, no, key);
        let row = self.peers[&no].parcels[&key].row.clone();
        self.regroup(&row);
    }

    /// What the deadletter holds, each delivery counted with its length.
    pub(super) fn deadletter_bytes(&self) -> u64 {
        let depths = self.peers.values().flat_map(|peer| &peer.depth);
        depths
            .filter(|((_, state), _)| *state == StateName::Deadletter)
            .map(|(_, depth)| depth.bytes)
            .sum()
    }

    /// Whether a delivery of `bytes` still fits; one always does.
    fn has_deadletter_room(&self, bytes: u64) -> bool {
        let held = self.deadletter_bytes();
        held == 0 || held.saturating_add(bytes) <= self.settings.limits.deadletter_bytes
    }

    /// Looks for stuck rows, when room may have come back.
    pub(super) fn unstick(&mut self, now: Now) {
        if !self.stuck.room_back || self.stuck.asking {
            return;
        }
        self.stuck.room_back = false;
        if self.stuck.rows == 0 || !self.has_deadletter_room(1) {
            return;
        }
        // What is not yet durable is in memory, and the ledger does not show it.
        let stuck = |parcel: &&Parcel| parcel.row.stuck;
        let keys: Vec<(NodeNo, Key)> = self
            .peers
            .values()
            .flat_map(|peer| peer.parcels.values().filter(stuck))
            .map(|parcel| (parcel.row.due.peer, parcel.key()))
            .collect();
        for (no, key) in keys {
            self.let_in(now, no, key);
        }
        self.ask_stuck(None);
    }

    fn ask_stuck(&mut self, after: Option<Due>) {
        let limit = self.settings.limits.page;
        self.stuck.asking = true;
        self.effects.push_back(Effect::FindStuck { after, limit });
    }

    pub(super) fn on_stuck(&mut self, now: Now, dues: &[Due]) {
        self.stuck.asking = false;
        for due in dues {
            let key = (due.pack, due.part);
            let here = self.peers.get(&due.peer);
            if here.is_some_and(|peer| peer.parcels.contains_key(&key)) {
                self.let_in(now, due.peer, key);
            } else {
                self.ask(*due, paging::Ask::Look);
            }
        }
        let more = dues.len() >= self.settings.limits.page;
        if let Some(last) = dues.last().filter(|_| more && self.has_deadletter_room(1)) {
            self.ask_stuck(Some(*last));
        }
    }

    /// Lets a stuck parcel into the deadletter, if it is one and fits.
    pub(super) fn let_in(&mut self, now: Now, no: NodeNo, key: Key) {
        let Some(parcel) = self.peers.get(&no).and_then(|peer| peer.parcels.get(&key)) else {
            return;
        };
        let waits = matches!(parcel.phase, Phase::Settling(_)) && parcel.row.stuck;
        if waits && self.has_deadletter_room(parcel.row.bytes) {
            let cause = Cause::RetriesExhausted;
            self.park(now, no, key, cause, Outcome::Failed, None);
        }
    }

    pub(super) fn parcel_mut(&mut self, no: NodeNo, key: Key) -> &mut Parcel {
        let parcel = self.peer_mut(no).parcels.get_mut(&key);
        parcel.expect("a parcel that something is done to is in memory")
    }
}
