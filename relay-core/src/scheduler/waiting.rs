//! Waiting for an ack, and for the first byte to be admitted: what a peer that is
//! slow is granted, and what one that is silent is not (semantics 3).
//!
//! An ack is awaited from the moment QUIC at the peer has acknowledged the last
//! byte: until then bytes wait for congestion, a window or a repetition, and a
//! healthy slow link takes as long as it takes. From there any ack, nack or `busy`
//! of that peer begins the time anew. An offer has no such moment, since its stream
//! goes on: its time begins anew as long as bytes before it are not acknowledged.
//!
//! What is in flight and gets no byte admitted for a while returns, unspent, with
//! its offset where the receiver kept one; it goes again once bytes are admitted. A
//! pack that has begun stays: it would begin anew each time.

use super::Scheduler;
use crate::change::Due;
use crate::delivery::Outcome;
use crate::id::{LinkId, NodeNo};
use crate::peer::{Parcel, Peer, Phase};
use crate::queue::{Key, Lane};
use crate::time::{Mono, Now};

impl Scheduler {
    /// Every byte of these is at the peer: an ack is awaited from here on.
    pub(super) fn on_delivered(&mut self, now: Now, link: LinkId, dues: &[Due]) {
        let Some(no) = self.peer_on(link) else { return };
        let peer = self.peer_mut(no);
        for due in dues.iter().filter(|due| due.peer == no) {
            let key = (due.pack, due.part);
            let parcel = peer.parcels.get_mut(&key);
            // One heard before may have been of an attempt that is over.
            let flies = |p: &&mut Parcel| matches!(p.phase, Phase::Leaving | Phase::Sent);
            let Some(parcel) = parcel.filter(|p| flies(p) && p.chunks == 0) else {
                continue;
            };
            parcel.phase = Phase::Sent;
            peer.await_ack(key, now.mono);
        }
    }

    /// Fails what has awaited an ack too long, while the peer said nothing.
    pub(super) fn time_out(&mut self, now: Now, no: NodeNo) {
        let timeout = self.settings.limits.ack_timeout;
        let over = |at: Mono| now.mono.since(at) >= timeout;
        while let Some((since, key)) = self.peers[&no].awaiting.first().copied() {
            if !over(since) || !over(self.peers[&no].last_heard) {
                break;
            }
            let peer = self.peer_mut(no);
            if peer.parcels[&key].phase == Phase::Offered && has_bytes_under_way(peer) {
                peer.await_ack(key, now.mono);
                continue;
            }
            peer.breaker.doubt();
            self.fail(now, no, key, Outcome::Timeout, "no ack in time");
        }
    }

    /// Returns what got no byte admitted for too long.
    pub(super) fn give_up_waiting(&mut self, now: Now, no: NodeNo) {
        let due = self.unadmitted_at(&self.peers[&no]);
        if due.is_none_or(|at| at > now.mono) {
            return;
        }
        let opens = self.bucket.opens().max(self.peers[&no].bucket.opens());
        let later = now.mono + self.settings.limits.unadmitted;
        self.peer_mut(no).starved = Some(opens.unwrap_or(later).max(now.mono));
        for key in self.waiting(&self.peers[&no]).collect::<Vec<_>>() {
            self.interrupt(now, no, key);
        }
    }

    /// When what waits in the outboxes of `peer` has waited long enough for a byte.
    pub(super) fn unadmitted_at(&self, peer: &Peer) -> Option<Mono> {
        let waits = |lane: &Lane| {
            // The last to come in was looked at just now, and is the least likely to have begun.
            let mut keys = lane.outbox.iter().rev();
            !lane.outbox.is_empty()
                && !self.is_clogged(peer, lane.rule.class)
                && keys.any(|key| may_return(peer, key))
        };
        let waits = peer.lanes.values().any(waits);
        waits.then(|| peer.admitted + self.settings.limits.unadmitted)
    }

    /// What waits for a byte to be admitted and may return: not a pack begun on a
    /// stream it shares, which would begin anew each time and never end.
    fn waiting(&self, peer: &Peer) -> impl Iterator<Item = Key> {
        let open = |lane: &&Lane| !self.is_clogged(peer, lane.rule.class);
        let all = peer
            .lanes
            .values()
            .filter(open)
            .flat_map(|lane| lane.outbox.iter());
        all.copied().filter(|key| may_return(peer, key))
    }

    /// Whether bytes are still not admitted to a peer that was given up on.
    pub(super) fn is_starved(&self, now: Now, no: NodeNo) -> bool {
        let peer = &self.peers[&no];
        let ready = self.bucket.ready(now.mono).is_ok() && peer.bucket.ready(now.mono).is_ok();
        peer.starved.is_some_and(|until| now.mono < until) && !ready
    }
}

/// Whether what waits in an outbox is not a pack begun.
fn may_return(peer: &Peer, key: &Key) -> bool {
    let parcel = &peer.parcels[key];
    parcel.info.is_large() || parcel.sent == 0
}

/// Whether bytes of other parcels are on their way, or wait to be.
fn has_bytes_under_way(peer: &Peer) -> bool {
    let leaving = |parcel: &Parcel| parcel.phase == Phase::Leaving || parcel.chunks > 0;
    peer.parcels.values().any(leaving)
}
