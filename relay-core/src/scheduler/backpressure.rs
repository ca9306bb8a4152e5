//! A peer that says `busy` waits for nothing it took room for.
//!
//! `busy` keeps more from beginning until its time is over. What has begun goes on: a
//! pack in the middle of the stream it shares, and the body of a large segment that the
//! peer wants, for which it has reserved the room (semantics 10). Were that held back
//! too, several large segments under a peer's ingest quota would take turns at putting
//! each other off, and none would end. What has not begun stays where it is in its outbox:
//! nothing is spent on it.

use std::time::Duration;

use super::Scheduler;
use crate::delivery::Outcome;
use crate::event::BusyWhy;
use crate::id::{LinkId, NodeNo};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::{Key, Lane};
use crate::time::{Mono, Now};

/// The longest a peer may ask us to wait.
const LONGEST: Duration = Duration::from_secs(60);

impl Scheduler {
    pub(super) fn on_peer_busy(
        &mut self,
        now: Now,
        link: LinkId,
        key: Key,
        why: BusyWhy,
        retry_after: Duration,
    ) {
        let Some(no) = self.peer_on(link) else { return };
        self.dirty.insert(no);
        let wait = match retry_after {
            Duration::ZERO => self.settings.limits.busy_retry,
            asked => asked.min(LONGEST),
        };
        let peer = self.peer_mut(no);
        peer.last_heard = now.mono;
        peer.busy = Some((now.mono + wait, why));
        let parcels = peer.parcels.iter().filter(|(other, _)| **other != key);
        let wanted = parcels.filter(|(_, p)| p.wanted && p.is_flying()).count();
        peer.breaker.hold_back(why, peer.flying(), wanted);
        let phase = peer.parcels.get(&key).map(|parcel| &parcel.phase);
        if let Some(Phase::Outbox | Phase::Offered | Phase::Leaving | Phase::Sent) = phase {
            self.give_back(now, no, key, Outcome::Deferred);
        }
    }

    /// Until when `peer` takes nothing more, and what it said.
    pub(super) fn busy_until(now: Now, peer: &Peer) -> Option<(Mono, BusyWhy)> {
        peer.busy.filter(|(until, _)| now.mono < *until)
    }

    /// While `no` is busy: in each of its outboxes, what has begun comes first.
    pub(super) fn begun_first(&mut self, now: Now, no: NodeNo) {
        let Some(peer) = self.peers.get_mut(&no) else {
            return;
        };
        if Self::busy_until(now, peer).is_none() {
            return;
        }
        let Peer { lanes, parcels, .. } = peer;
        for (_, lane) in lanes.iter_mut() {
            let begun = |key: &Key| has_begun(&parcels[key]);
            let at = lane.outbox.iter().position(begun);
            let first = at
                .filter(|at| *at > 0)
                .and_then(|at| lane.outbox.remove(at));
            first
                .into_iter()
                .for_each(|key| lane.outbox.push_front(key));
        }
    }

    /// Whether anything in an outbox may go to `peer`, busy as it may be.
    pub(super) fn may_move(now: Now, peer: &Peer, lane: &Lane) -> bool {
        let mut outbox = lane.outbox.iter();
        match Self::busy_until(now, peer) {
            None => !lane.outbox.is_empty(),
            Some(_) => outbox.any(|key| has_begun(&peer.parcels[key])),
        }
    }
}

/// Whether the peer has some of it, or room for it.
const fn has_begun(parcel: &Parcel) -> bool {
    parcel.wanted || parcel.sent > 0
}
