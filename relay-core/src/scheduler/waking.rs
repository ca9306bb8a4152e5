//! Until when the scheduler can wait, and what happens then.
//!
//! Each peer has one moment it waits for; it is looked for anew only when the
//! peer was touched, so asking costs nothing and a large fleet at rest costs
//! nothing either. A gate that opens by itself is among these moments, whatever
//! it is: who adds a gate adds its waking.

use super::Scheduler;
use crate::delivery::WaitingOn;
use crate::event::{Deadline, Why};
use crate::id::NodeNo;
use crate::peer::Peer;
use crate::queue::Lane;
use crate::time::{Mono, Now};

impl Scheduler {
    /// If nothing happens, wake me then; `None`: there is nothing to wait for.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        let mut first: Option<Deadline> = None;
        // Of equal moments the first that is offered is named.
        let mut offer = |at: Option<Mono>, why: Why| {
            if let Some(at) = at.filter(|at| first.is_none_or(|held| *at < held.at)) {
                first = Some(Deadline { at, why });
            }
        };
        if self.draining.is_some() {
            // Once the links are closed a drain waits for tickets alone.
            offer(self.draining.filter(|_| !self.links.is_empty()), Why::Drain);
        }
        offer(self.pauses.look(), Why::PauseEnds);
        if self.draining.is_none() {
            offer(self.meters.save_at(), Why::Meters);
            offer(self.expiry.at, Why::Expiry);
            offer(self.rereading.first(), Why::Reread);
        }
        offer(self.partials.first_expiry(), Why::Partial);
        offer(self.limit_wake, Why::Limits);
        if let Some(((at, why), _)) = self.wakes.first() {
            offer(Some(at), why);
        }
        first
    }

    /// The moment has come, or was said to: whatever is due happens.
    pub(super) fn on_wake(&mut self, now: Now) {
        self.expire_partials(now);
        self.reread(now);
        while let Some(((at, _), index)) = self.wakes.first() {
            if at > now.mono {
                break;
            }
            self.wakes.set(index, None);
            let no = NodeNo(u32::try_from(index).expect("peers are indexed by their numbers"));
            self.dirty.insert(no);
        }
        let mut due = self.take_dirty();
        for no in due.iter() {
            self.peers.touch(*no);
            self.redial(now, *no);
            self.wake_resting(now, *no);
            self.look_past(now, *no);
            self.time_out(now, *no);
            self.give_up_waiting(now, *no);
            self.let_go(now, *no);
        }
        self.dirty.append(&mut due);
        self.spare.pumped = due;
        self.expire(now);
    }

    /// Looks anew for the moments of the peers that were touched. One that has come
    /// stays until [`Input::Wake`](crate::event::Input::Wake) acts on it: what it
    /// was noted for may show nowhere else any more.
    pub(super) fn note_wakes(&mut self, now: Now) {
        for n in 0..self.peers.sort_touched() {
            let no = self.peers.touched(n);
            let noted = self.wakes.at(no.0 as usize);
            if noted.is_some_and(|(at, _)| at <= now.mono) {
                continue;
            }
            let first = self.peer_wakes(now, &self.peers[&no]);
            self.wakes.set(no.0 as usize, first);
        }
        self.peers.end_touched();
    }

    /// The first moment `peer` has to be looked at though nothing happens.
    pub(super) fn peer_wakes(&self, now: Now, peer: &Peer) -> Option<(Mono, Why)> {
        let mut first: Option<(Mono, Why)> = None;
        let mut offer = |at: Mono, why: Why| {
            if first.is_none_or(|(held, _)| at < held) {
                first = Some((at, why));
            }
        };
        if let Some(at) = self.redial_at(peer) {
            offer(at, Why::Redial);
        }
        if let Some((until, _)) = peer.resting.first() {
            offer(*until, Why::Backoff);
        }
        if let Some(at) = self.look_past_at(peer) {
            offer(at, Why::Standby);
        }
        if let Some((since, _)) = peer.awaiting.first() {
            let heard = (*since).max(peer.last_heard);
            offer(heard + self.settings.limits.ack_timeout, Why::AckTimeout);
        }
        if let Some(at) = self.lets_go_at(peer) {
            offer(at, Why::Idle);
        }
        if let Some(at) = self.unadmitted_at(peer) {
            offer(at, Why::Unadmitted);
        }
        if self.draining.is_some() {
            return first;
        }
        if let Some(at) = peer.starved.filter(|at| *at > now.mono) {
            offer(at, Why::Tokens);
        }
        // Noted even when it is over: the peer is asked again only once looked at.
        if let (Some((until, _)), Some(_)) = (peer.busy, peer.link.up()) {
            offer(until, Why::PeerBusy);
        }
        let mut open = true;
        self.peer_gates(now, peer, &mut |gate| {
            open &= gate.lets_go_on();
            // One that is over and still shut would wake us without end.
            if let Some(until) = gate.until.filter(|until| *until > now.mono) {
                offer(until, why_of(gate.on));
            }
        });
        if !open {
            return first;
        }
        let gates = self.has_lane_gates();
        let waiting = |lane: &Lane| gates && (lane.loaded() > 0 || lane.unloaded > 0);
        for (no, _) in peer.lanes.iter().filter(|(_, lane)| waiting(lane)) {
            self.lane_gates(now, peer, *no, &mut |gate| {
                // Limits have a moment of their own, the same for all peers.
                let ours = gate
                    .until
                    .filter(|until| *until > now.mono && !is_limit(gate.on));
                if let Some(until) = ours {
                    offer(until, why_of(gate.on));
                }
            });
        }
        if let Some(at) = self.tokens_at(now, peer) {
            offer(at, Why::Tokens);
        }
        first
    }
}

/// Whether a gate is a limit's.
const fn is_limit(gate: WaitingOn) -> bool {
    matches!(
        gate,
        WaitingOn::Window | WaitingOn::LaneBudget | WaitingOn::Quota
    )
}

/// What is said to wait for a gate.
const fn why_of(gate: WaitingOn) -> Why {
    match gate {
        WaitingOn::PeerDown => Why::Redial,
        WaitingOn::PeerBusy => Why::PeerBusy,
        WaitingOn::Backoff => Why::Backoff,
        WaitingOn::Tokens => Why::Tokens,
        WaitingOn::Held
        | WaitingOn::Paused
        | WaitingOn::PeerRemoved
        | WaitingOn::Certificate
        | WaitingOn::Storage
        | WaitingOn::Probe
        | WaitingOn::Window
        | WaitingOn::Standby
        | WaitingOn::LaneBudget
        | WaitingOn::Quota
        | WaitingOn::DeadletterFull
        | WaitingOn::Turn => Why::Gate,
    }
}
