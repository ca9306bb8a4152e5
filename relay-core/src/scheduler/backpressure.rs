//! A peer that says `busy` waits for nothing it took room for.
//!
//! `busy` keeps more from beginning until its time is over. What has begun goes on: a
//! pack in the middle of the stream it shares, and the body of a large segment that the
//! peer wants, for which it has reserved the room (semantics 10). Were that held back
//! too, several large segments under a peer's ingest quota would take turns at putting
//! each other off, and none would end.

use std::time::Duration;

use super::Scheduler;
use crate::delivery::Outcome;
use crate::event::BusyWhy;
use crate::id::{LinkId, NodeNo};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::Key;
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
        peer.breaker.hold_back(why, peer.flying());
        let phase = peer.parcels.get(&key).map(|parcel| &parcel.phase);
        if let Some(Phase::Outbox | Phase::Offered | Phase::Leaving | Phase::Sent) = phase {
            self.give_back(now, no, key, Outcome::Deferred);
        }
    }

    /// Until when `peer` takes nothing more, and what it said.
    pub(super) fn busy_until(now: Now, peer: &Peer) -> Option<(Mono, BusyWhy)> {
        peer.busy.filter(|(until, _)| now.mono < *until)
    }

    /// Returns to its queue what has not begun to go to a peer that is busy.
    pub(super) fn give_back_busy(&mut self, now: Now, no: NodeNo) {
        let peer = &self.peers[&no];
        if Self::busy_until(now, peer).is_none() {
            return;
        }
        let outboxes = peer.lanes.values().flat_map(|lane| &lane.outbox);
        let waits = |key: &&Key| !has_begun(&peer.parcels[key]);
        let back: Vec<_> = outboxes.filter(waits).copied().collect();
        for key in back {
            self.give_back(now, no, key, Outcome::Deferred);
        }
    }
}

/// Whether the peer has some of it, or room for it.
const fn has_begun(parcel: &Parcel) -> bool {
    parcel.wanted || parcel.sent > 0
}
