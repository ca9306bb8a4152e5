//! Where a delivery that does not move stands: ready, resting, or shelved; and the
//! verbs that hold and release.
//!
//! A shelved row (held, on standby, stuck before a full deadletter) is in no page
//! of work and leaves memory once its last change is durable, so that what is held
//! costs nothing however much it is. Only a name brings it back: an order, a late
//! ack, its time to live.

use super::{Scheduler, paging};
use crate::change::{Change, Due, Part};
use crate::delivery::{Cause, Outcome, State};
use crate::id::NodeNo;
use crate::peer::Phase;
use crate::queue::Key;
use crate::time::Now;

impl Scheduler {
    /// Puts a waiting parcel, which is in no set, where its row says it belongs.
    pub(super) fn wait_again(&mut self, now: Now, no: NodeNo, key: Key) {
        let longest = self.settings.retry.longest;
        let parcel = &self.peers[&no].parcels[&key];
        if parcel.needless {
            return self.spare(no, key);
        }
        self.dirty.insert(no);
        if parcel.row.has_expired(&parcel.info, now.unix) {
            self.park(now, no, key, Cause::Expired, Outcome::Interrupted, None);
            return;
        }
        if self.isolate(now, no, key) {
            return;
        }
        let parcel = &self.peers[&no].parcels[&key];
        if let Some(at) = parcel.row.expires {
            self.note_expiry(now, at);
        }
        let parcel = &self.peers[&no].parcels[&key];
        if parcel.row.is_shelved() {
            return self.shelve(no, key);
        }
        match parcel.row.state {
            State::Failed { until } => {
                let until = now.mono + paging::left(until, now.unix).min(longest);
                let peer = self.peer_mut(no);
                peer.parcels
                    .get_mut(&key)
                    .expect("a waiting parcel is in memory")
                    .phase = Phase::Resting(until);
                peer.resting.insert((until, key));
                self.note_rest(no, key);
            }
            State::Scheduled => self.make_ready(no, key),
            State::Inflight | State::Acked | State::Deadletter { .. } => {
                panic!("only a waiting parcel waits")
            }
        }
    }

    /// A parcel with nothing to do leaves memory, as soon as what it says is durable.
    pub(super) fn shelve(&mut self, no: NodeNo, key: Key) {
        if !self.batch.is_empty() {
            self.retire(no, key);
            return;
        }
        let (last, durable) = (self.issued, self.durable);
        self.parcel_mut(no, key).phase = Phase::Settling(last);
        if last == durable {
            self.idle.push((no, key));
        } else {
            self.after_all(super::Pending::Settled { peer: no, key });
        }
    }

    /// Keeps a parcel from being sent. One in flight returns unspent, unless a
    /// connection has it: then it runs on, and its ack decides.
    pub(super) fn hold(&mut self, now: Now, no: NodeNo, key: Key) {
        self.set_held(now, no, key, true);
        let parcel = &self.peers[&no].parcels[&key];
        match (parcel.is_flying(), parcel.is_handed_over()) {
            (true, true) => self.say_row(no, key),
            (true, false) => self.give_back(now, no, key, Outcome::Interrupted),
            (false, _) => {
                self.leave(no, key);
                self.say_row(no, key);
                self.wait_again(now, no, key);
            }
        }
    }

    /// Lets a held parcel go again; what rests goes on resting.
    pub(super) fn release(&mut self, now: Now, no: NodeNo, key: Key) {
        self.set_held(now, no, key, false);
        self.say_row(no, key);
        if !self.peers[&no].parcels[&key].is_flying() {
            self.leave(no, key);
            self.wait_again(now, no, key);
        }
    }

    fn set_held(&mut self, now: Now, no: NodeNo, key: Key, held: bool) {
        let parcel = self.peer_mut(no).parcels.get_mut(&key);
        let row = &mut parcel.expect("a named parcel is in memory").row;
        (row.held, row.updated) = (held, now.unix);
    }

    /// Asks for the row of a parcel to be made durable as it stands.
    pub(super) fn say_row(&mut self, no: NodeNo, key: Key) {
        let row = self.peers[&no].parcels[&key].row.clone();
        self.batch.push(Change::Owed(row));
    }

    /// Parts one member from the rest of its pack, out of flight, so that it can be
    /// moved alone. What was handed to the transport runs on with the others: an
    /// ack of them answers for this one too.
    pub(super) fn take_out(&mut self, now: Now, no: NodeNo, key: Key, part: (u16, u64)) -> Key {
        let rest = &self.peers[&no].parcels[&key];
        if rest.phase == Phase::Outbox && rest.sent > 0 {
            // Its header told whose bodies follow: it is cut short, and sent anew.
            self.give_back(now, no, key, Outcome::Interrupted);
        }
        let settles = matches!(self.peers[&no].parcels[&key].phase, Phase::Settling(_));
        let own = self
            .split(no, key, &[part])
            .pop()
            .expect("one member is parted");
        if settles {
            self.retire(no, key);
            self.retire(no, own);
        }
        if self.peers[&no].parcels[&own].is_flying() {
            self.give_back(now, no, own, Outcome::Interrupted);
        }
        own
    }

    /// The full name of a parcel's row.
    pub(super) const fn due_of(no: NodeNo, (pack, part): (crate::id::PackNo, Part)) -> Due {
        Due {
            peer: no,
            pack,
            part,
        }
    }
}
