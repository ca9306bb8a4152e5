//! Links on demand, and the network's changes.
//!
//! A peer whose links are not kept (`keep_alive = "0s"`) is dialled while something
//! waits for it, and its link ends once it has been of no use for a while. When the
//! network has changed, whoever is down is dialled at once.

use super::Scheduler;
use crate::delivery::StateName;
use crate::event::{CloseWhy, Effect, Input};
use crate::id::{LinkId, NodeNo};
use crate::link::Link;
use crate::peer::Peer;
use crate::time::{Mono, Now};

impl Scheduler {
    /// Whether `peer` is to have a link: it is kept, or something waits for it.
    pub(super) fn wants_link(&self, peer: &Peer) -> bool {
        let waits = |state: StateName| !state.is_terminal();
        let mut depths = peer.depth.iter();
        // Receipts to be said again, bytes that are under way to us.
        let link = peer.link.up();
        let owes = peer.unsettled.count() > 0 || link.is_some_and(|l| self.arrivals.wants_on(l));
        peer.lets_go.is_none()
            || owes
            || depths.any(|((_, state), depth)| waits(*state) && depth.count > 0)
    }

    /// What is heard on a link shows that it is of use.
    pub(super) fn note_use(&mut self, now: Now, input: &Input) {
        let Some(no) = link_of(input).and_then(|link| self.peer_on(link)) else {
            return;
        };
        if self.peers[&no].lets_go.is_some() {
            self.peer_mut(no).used = now.mono;
        }
    }

    /// When the link of `peer` will have been of no use for long enough.
    pub(super) fn lets_go_at(&self, peer: &Peer) -> Option<Mono> {
        let after = peer.lets_go.filter(|_| !self.wants_link(peer))?;
        peer.link.up()?;
        let since = peer.used.max(peer.since).max(peer.admitted);
        Some(since + after)
    }

    /// Ends the link of `no` if it is of no use.
    pub(super) fn let_go(&mut self, now: Now, no: NodeNo) {
        let peer = &self.peers[&no];
        let over = self.lets_go_at(peer).is_some_and(|at| at <= now.mono);
        if let Some(link) = peer.link.up().filter(|_| over) {
            let why = CloseWhy::Idle;
            self.effects.push_back(Effect::Close { link, why });
            self.drop_link(now, no, link);
        }
    }

    /// Whoever is down is dialled at once.
    pub(super) fn on_network_changed(&mut self, now: Now) {
        let all: Vec<NodeNo> = self.peers.keys().copied().collect();
        for no in all {
            if matches!(self.peers[&no].link, Link::Down { .. }) {
                let peer = self.peer_mut(no);
                peer.link = Link::Down { redial: now.mono };
                peer.breaker.reset();
                self.redial(now, no);
            }
        }
    }
}

/// The link an input is about, where it shows that the link is of use.
const fn link_of(input: &Input) -> Option<LinkId> {
    match input {
        Input::Arrived { link, .. }
        | Input::Offered { link, .. }
        | Input::OfferLost { link, .. }
        | Input::Wanted { link, .. }
        | Input::Acked { link, .. }
        | Input::PeerBusy { link, .. }
        | Input::PeerSettled { link, .. }
        | Input::Taken { link, .. }
        | Input::Delivered { link, .. }
        | Input::SendFailed { link, .. } => Some(*link),
        Input::Announced { .. }
        | Input::Put(_)
        | Input::KeyFound { .. }
        | Input::Persisted(..)
        | Input::PersistRefused(..)
        | Input::Paged { .. }
        | Input::Owing { .. }
        | Input::Fetched { .. }
        | Input::LookedUp { .. }
        | Input::Unread { .. }
        | Input::Recalled { .. }
        | Input::LinkUp { .. }
        | Input::LinkDown { .. }
        | Input::NetworkChanged
        | Input::SentOnWire { .. }
        | Input::Verified { .. }
        | Input::Divided { .. }
        | Input::Grouped { .. }
        | Input::Walked { .. }
        | Input::Ordered { .. }
        | Input::Expired { .. }
        | Input::Stuck { .. }
        // What is on stable storage is a file's, whichever link brought it: a late word
        // of a link that is gone is true of the same file.
        | Input::Progressed { .. }
        | Input::Kept { .. }
        | Input::Panicked(_)
        | Input::Unspooled(_)
        | Input::Drain
        | Input::Wake => None,
    }
}
