//! `peer kick`: an operator ends a peer's link, and it is dialled at once.
//!
//! What was in flight returns, unspent. It is also the word by which an operator
//! trusts a peer again after two machines were heard under its name.

use super::Scheduler;
use crate::audit::{AuditEvent, AuditRecord};
use crate::change::Change;
use crate::event::{Caller, CloseWhy, Done, Effect, OrderId, OrderRefused};
use crate::id::NodeId;
use crate::link::Link;
use crate::time::Now;

impl Scheduler {
    pub(super) fn kick(&mut self, now: Now, id: OrderId, caller: &Caller, name: &NodeId) {
        if self.draining.is_some() {
            return self.answer_order(id, Err(OrderRefused::Draining));
        }
        let known = self.nodes.number(name);
        let Some(no) = known.filter(|no| self.peers.contains_key(no)) else {
            return self.answer_order(id, Err(OrderRefused::UnknownPeer(name.clone())));
        };
        let peer = self.peer_mut(no);
        let cloned = peer.runs.is_cloned();
        peer.runs.forgive();
        peer.breaker.reset();
        let up = peer.link.up();
        match up {
            Some(link) => {
                let why = CloseWhy::Kicked;
                self.effects.push_back(Effect::Close { link, why });
                self.drop_link(now, no, link);
            }
            None if peer.link != Link::Dialing => peer.link = Link::Down { redial: now.mono },
            None => {}
        }
        self.redial(now, no);
        self.dirty.insert(no);
        let event = AuditEvent::PeerKicked;
        let record = AuditRecord::by(caller, now.wall, event, "peer", name.to_string())
            .with("was_up", up.is_some())
            .with("was_untrusted", cloned);
        self.batch.push(Change::Audit(record));
        let done = Done {
            changed: 1,
            ..Done::default()
        };
        self.answer_order(id, Ok(done));
    }
}
