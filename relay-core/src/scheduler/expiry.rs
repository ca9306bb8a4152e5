//! Time to live: what is no longer worth sending goes to the deadletter, in
//! bounded time, in memory or not, its peer up or down.
//!
//! The moment of the first expiry is among the deadlines. When it comes, what is in
//! memory is looked through and the ledger is asked by its index of moments for
//! names; each is fetched like any other row. That happens at most once every
//! [`STEP`], so that many moments cost no more than one. What a connection already
//! has runs on, and its ack decides.

use std::time::Duration;

use super::{Scheduler, paging};
use crate::change::Due;
use crate::delivery::{Cause, Outcome};
use crate::event::Effect;
use crate::id::NodeNo;
use crate::peer::{Parcel, Phase};
use crate::queue::Key;
use crate::time::{Mono, Now, Unix};

/// How much later than its moment something may expire, beyond the time reads take.
const STEP: Duration = Duration::from_secs(1);

/// What is known of moments to come.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When to look.
    pub(super) at: Option<Mono>,
    /// While the ledger is asked: by which moment.
    asking: Option<Unix>,
    /// The first moment heard of since it was asked.
    fresh: Option<Unix>,
    /// Rows that the ledger named and that are being read.
    reading: usize,
    /// Where the ledger's names go on.
    after: Option<(Unix, Due)>,
}

impl Scheduler {
    /// Something waits that expires at `at`.
    pub(super) fn note_expiry(&mut self, now: Now, at: Unix) {
        let expiry = &mut self.expiry;
        if expiry.asking.is_some() {
            expiry.fresh = Some(expiry.fresh.map_or(at, |first| first.min(at)));
        } else {
            let when = now.mono + paging::left(at, now.unix);
            expiry.at = Some(expiry.at.map_or(when, |first| first.min(when)));
        }
    }

    /// Looks for what has expired, if it is time to.
    pub(super) fn expire(&mut self, now: Now) {
        let due = self.expiry.at.is_some_and(|at| at <= now.mono);
        if !due || self.expiry.asking.is_some() || self.draining.is_some() {
            return;
        }
        self.expiry = Expiry {
            asking: Some(now.unix),
            ..Expiry::default()
        };
        let over = |parcel: &&Parcel| parcel.row.has_expired(&parcel.info, now.unix);
        let keys: Vec<(NodeNo, Key)> = self
            .peers
            .values()
            .flat_map(|peer| peer.parcels.values().filter(over))
            .map(|parcel| (parcel.row.due.peer, parcel.key()))
            .collect();
        for (no, key) in keys {
            self.expire_one(now, no, key);
        }
        self.ask_expired();
    }

    /// Parks a parcel that is over its time, unless a connection has it or it is
    /// about to be decided; then it is looked at again when it waits.
    pub(super) fn expire_one(&mut self, now: Now, no: NodeNo, key: Key) {
        let parcel = &self.peers[&no].parcels[&key];
        let waits = match parcel.phase {
            Phase::Ready
            | Phase::Resting(_)
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered => true,
            Phase::Leaving | Phase::Sent => !parcel.is_handed_over(),
            Phase::Settling(_) => !parcel.row.state.name().is_terminal(),
            Phase::Judging(_) => self.is_put_off(parcel),
            Phase::Storing | Phase::Spared(_) | Phase::Woken(_) => false,
        };
        if waits {
            let cause = Cause::Expired;
            self.park(now, no, key, cause, Outcome::Interrupted, None);
        }
    }

    /// Whether a parcel is no longer worth sending.
    pub(super) fn is_over(&self, now: Now, no: NodeNo, key: Key) -> bool {
        let parcel = &self.peers[&no].parcels[&key];
        parcel.row.has_expired(&parcel.info, now.unix)
    }

    fn ask_expired(&mut self) {
        let (limit, after) = (self.settings.limits.page, self.expiry.after);
        let by = self.expiry.asking.expect("it is being asked");
        self.effects
            .push_back(Effect::FindExpired { by, after, limit });
    }

    pub(super) fn on_expired(&mut self, now: Now, dues: &[(Unix, Due)], next: Option<Unix>) {
        self.expiry.after = dues.last().copied();
        if dues.len() < self.settings.limits.page {
            self.expiry.after = None;
            if let Some(next) = next {
                self.note_expiry(now, next);
            }
        }
        for (_, due) in dues {
            let here = self.peers.get(&due.peer);
            let here = here.is_some_and(|p| p.parcels.contains_key(&(due.pack, due.part)));
            // What is in memory was looked at, or is where it may be.
            if here {
                continue;
            }
            if self.try_ask(*due, paging::Ask::Expired) {
                self.expiry.reading += 1;
            } else {
                self.note_expiry(now, now.unix);
            }
        }
        self.go_on_expiring(now);
    }

    /// A row that had expired was read: it was parked as it was taken up.
    pub(super) fn on_expired_read(&mut self, now: Now) {
        self.expiry.reading -= 1;
        self.go_on_expiring(now);
    }

    fn go_on_expiring(&mut self, now: Now) {
        if self.expiry.reading > 0 {
            return;
        }
        if self.expiry.after.is_some() {
            return self.ask_expired();
        }
        self.expiry.asking = None;
        if let Some(at) = self.expiry.fresh.take() {
            let when = now.mono + paging::left(at, now.unix);
            self.expiry.at = Some(when.max(now.mono + STEP));
        }
    }
}
