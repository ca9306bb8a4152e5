//! Links that come and go: dialling, greeting, duplicates, interruption.

use super::Scheduler;
use crate::delivery::Outcome;
use crate::event::{CloseWhy, Effect, Greeting};
use crate::id::{LinkId, NodeId, NodeNo, ReceiptNo};
use crate::link::{Link, Verdict, judge};
use crate::peer::{Peer, Phase, SettleLine};
use crate::queue::Key;
use crate::time::{Mono, Now};
use crate::turn::ByClass;

impl Scheduler {
    /// When `peer` is to be dialled, if it is to be.
    pub(super) fn redial_at(&self, peer: &Peer) -> Option<Mono> {
        match peer.link {
            Link::Down { redial }
                if peer.dial && self.draining.is_none() && self.wants_link(peer) =>
            {
                Some(redial)
            }
            Link::Down { .. } | Link::Dialing | Link::Up { .. } => None,
        }
    }

    /// Dials `no` if it is time to.
    pub(super) fn redial(&mut self, now: Now, no: NodeNo) {
        let due = self
            .redial_at(&self.peers[&no])
            .is_some_and(|at| at <= now.mono);
        if due {
            let peer = self.peer_mut(no);
            peer.link = Link::Dialing;
            let name = peer.name.clone();
            self.effects.push_back(Effect::Dial(name));
        }
    }

    pub(super) fn on_link_up(&mut self, now: Now, name: &NodeId, link: LinkId, greeting: Greeting) {
        let known = self.settings.peers.contains_key(name);
        if !known && !self.settings.admit_any || *name == self.settings.node {
            return self.effects.push_back(Effect::Close {
                link,
                why: CloseWhy::UnknownPeer,
            });
        }
        if self.draining.is_some() {
            return self.effects.push_back(Effect::Close {
                link,
                why: CloseWhy::Draining,
            });
        }
        let Some(no) = self.node_number(name) else {
            return self.effects.push_back(Effect::Close {
                link,
                why: CloseWhy::UnknownPeer,
            });
        };
        let ours = self.settings.node.clone();
        let longest = self.settings.redial.longest;
        let peer = self.peer_entry(no, now);
        if !peer.runs.hear(greeting.ledger, greeting.epoch, now.mono) {
            peer.last_error = Some(format!("identity_cloned: {}", peer.runs.words()));
            let held = peer.link.up();
            for link in held.into_iter().chain([link]) {
                let why = CloseWhy::IdentityCloned;
                self.effects.push_back(Effect::Close { link, why });
            }
            if let Some(held) = held {
                self.drop_link(now, no, held);
            }
            // Dialled on, rarely: who answers tells when one of them is gone.
            let redial = now.mono + longest;
            self.peer_mut(no).link = Link::Down { redial };
            self.dirty.insert(no);
            return;
        }
        if let Link::Up {
            link: held,
            greeting: held_greeting,
        } = &peer.link
        {
            let held = *held;
            let verdict = judge(&ours, name, held_greeting, &greeting);
            let loser = match verdict {
                Verdict::Keep => link,
                Verdict::Replace => held,
            };
            self.effects.push_back(Effect::Close {
                link: loser,
                why: CloseWhy::Duplicate,
            });
            match verdict {
                Verdict::Keep => return,
                Verdict::Replace => self.drop_link(now, no, held),
            }
        }
        self.links.insert(link, no);
        let peer = self.peer_mut(no);
        peer.link = Link::Up { link, greeting };
        peer.last_error = None;
        peer.last_heard = now.mono;
        peer.since = now.mono;
        peer.busy = None;
        (peer.away, peer.looked) = (None, false);
        self.recall(no);
        self.dirty.insert(no);
    }

    pub(super) fn on_link_down(
        &mut self,
        now: Now,
        name: &NodeId,
        link: Option<LinkId>,
        why: String,
    ) {
        let Some(no) = self
            .nodes
            .number(name)
            .filter(|no| self.peers.contains_key(no))
        else {
            return;
        };
        let drawn = self.draw();
        let backoff = self.settings.redial;
        if let Some(link) = link {
            self.let_go_link(now, link);
        }
        match link {
            None => {
                let peer = self.peer_mut(no);
                if peer.link == Link::Dialing {
                    peer.last_error = Some(why);
                    let redial = peer.breaker.fail(&backoff, now.mono, drawn);
                    peer.link = Link::Down { redial };
                }
            }
            Some(link) if self.peers[&no].link.up() == Some(link) => {
                self.drop_link(now, no, link);
                let peer = self.peer_mut(no);
                peer.last_error = Some(why);
                if now.mono.since(peer.since) >= backoff.longest {
                    peer.breaker.reset();
                }
                let redial = peer.breaker.fail(&backoff, now.mono, drawn);
                peer.link = Link::Down { redial };
            }
            Some(link) => {
                self.links.remove(&link);
            }
        }
        if let Some(link) = link {
            let up = self.peers[&no].link.up().is_some();
            self.meters.link_ended(no, link, up);
        }
        self.dirty.insert(no);
    }

    /// Forgets a link: what was on it returns to the queue, unspent.
    pub(super) fn drop_link(&mut self, now: Now, no: NodeNo, link: LinkId) {
        self.links.remove(&link);
        self.meters.link_ending(no, link);
        self.forget_arrivals(link);
        self.forget_covers(no);
        let peer = self.peer_mut(no);
        peer.unsent = ByClass::default();
        peer.unsent_chunks = ByClass::default();
        peer.starved = None;
        peer.line = SettleLine::default();
        peer.unsettled.recalling = None;
        peer.unsettled.said = ReceiptNo(0);
        peer.unsettled.held.clear();
        peer.link = Link::Down { redial: now.mono };
        (peer.away, peer.looked) = (Some(now.mono), false);
        let flying: Vec<Key> = peer
            .parcels
            .values()
            .filter(|parcel| parcel.is_flying() && parcel.phase != Phase::Storing)
            .map(crate::peer::Parcel::key)
            .collect();
        for key in flying {
            self.interrupt(now, no, key);
        }
    }

    /// Returns a parcel in flight to its queue: nothing is spent.
    pub(super) fn interrupt(&mut self, now: Now, no: NodeNo, key: Key) {
        self.give_back(now, no, key, Outcome::Interrupted);
    }

    /// Closes every link for good: the daemon goes down.
    pub(super) fn close_all(&mut self, now: Now) {
        let links: Vec<(LinkId, NodeNo)> = self.links.iter().map(|(l, n)| (*l, *n)).collect();
        for (link, no) in links {
            self.effects.push_back(Effect::Close {
                link,
                why: CloseWhy::Draining,
            });
            self.drop_link(now, no, link);
        }
    }

    /// The mark of `key` is durable: if it still flies on `link`, it may be sent.
    pub(super) fn on_marked(
        &mut self,
        now: Now,
        ticket: crate::id::Ticket,
        no: NodeNo,
        link: LinkId,
        key: Key,
    ) {
        if self.peers[&no].link.up() != Some(link) {
            return;
        }
        let parcel = self.peers[&no].parcels.get(&key);
        if parcel.is_some_and(|parcel| parcel.phase == Phase::Marking(ticket)) {
            self.enter_outbox(now, no, key);
        }
        self.dirty.insert(no);
    }
}
