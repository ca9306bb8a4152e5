//! What keeps deliveries from going: every reason there is, in one place.
//!
//! What decides whether a byte may go and what tells an operator why it does not
//! read the same list, so that they can never differ. A gate that opens by itself
//! says when; that moment is among the scheduler's deadlines.

use super::Scheduler;
use crate::delivery::WaitingOn;
use crate::id::{LaneNo, NodeNo};
use crate::peer::Peer;
use crate::time::{Mono, Now};

/// One reason why deliveries wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What for.
    pub on: WaitingOn,
    /// When it ends by itself, if that is known.
    pub until: Option<Mono>,
}

impl Gate {
    pub(super) const fn new(on: WaitingOn, until: Option<Mono>) -> Self {
        Self { on, until }
    }

    /// Whether what is in flight already may go on to its end.
    pub(super) const fn lets_go_on(self) -> bool {
        match self.on {
            WaitingOn::Paused | WaitingOn::Storage | WaitingOn::Probe | WaitingOn::PeerBusy => true,
            WaitingOn::Held
            | WaitingOn::PeerRemoved
            | WaitingOn::Certificate
            | WaitingOn::PeerDown
            | WaitingOn::Window
            | WaitingOn::Standby
            | WaitingOn::LaneBudget
            | WaitingOn::Quota
            | WaitingOn::Backoff
            | WaitingOn::DeadletterFull
            | WaitingOn::Tokens
            | WaitingOn::Turn => false,
        }
    }
}

impl Scheduler {
    /// Whether what is in flight to `no` may go on: a gate that only keeps
    /// deliveries from beginning lets it.
    pub(super) fn may_go_on(&self, now: Now, no: NodeNo) -> bool {
        let Some(peer) = self.peers.get(&no) else {
            return false;
        };
        let mut open = self.draining.is_none();
        self.peer_gates(now, peer, &mut |gate| open &= gate.lets_go_on());
        open
    }

    /// Whether anything may begin to go to `no` just now.
    pub(super) fn may_send(&self, now: Now, no: NodeNo) -> bool {
        let Some(peer) = self.peers.get(&no) else {
            return false;
        };
        let mut open = self.draining.is_none();
        self.peer_gates(now, peer, &mut |_| open = false);
        open
    }

    /// Every gate that is shut for all that is owed to `peer`, the most binding
    /// first (semantics 3, `waiting_on`).
    pub(super) fn peer_gates(&self, now: Now, peer: &Peer, shut: &mut impl FnMut(Gate)) {
        self.peer_pause(peer.no).into_iter().for_each(&mut *shut);
        if !peer.configured {
            shut(Gate::new(WaitingOn::PeerRemoved, None));
        }
        if peer.runs.is_cloned() {
            shut(Gate::new(WaitingOn::Certificate, None));
        }
        self.unread_peer(peer).into_iter().for_each(&mut *shut);
        if peer.link.up().is_none() {
            shut(Gate::new(WaitingOn::PeerDown, self.redial_at(peer)));
        }
        if peer.breaker.is_probing() && peer.flying() > 0 {
            shut(Gate::new(WaitingOn::Probe, None));
        }
        if let Some((until, _)) = Self::busy_until(now, peer) {
            shut(Gate::new(WaitingOn::PeerBusy, Some(until)));
        }
    }

    /// Whether there is anything that could shut a gate of a lane: with no pause, no
    /// window, no budget and no quota there is none to ask, and a decision asks often.
    pub(super) fn has_lane_gates(&self) -> bool {
        !self.pauses.is_empty() || !self.sights.is_empty() || !self.standing.is_open()
    }

    /// Every gate that is shut for all that is owed to `peer` in `lane`, beyond
    /// those of the peer.
    pub(super) fn lane_gates(
        &self,
        now: Now,
        peer: &Peer,
        lane: LaneNo,
        shut: &mut impl FnMut(Gate),
    ) {
        if !self.has_lane_gates() {
            return;
        }
        self.lane_pause(peer.no, lane)
            .into_iter()
            .for_each(&mut *shut);
        self.limit_gates(now, peer, lane, shut);
    }
}
