//! Tickets: what is asked to be made durable together, and what to do once it is.

use super::{Scheduler, filing, puts};
use crate::change::Change;
use crate::event::{Done, Effect, OrderId, OrderRefused, Space};
use crate::id::{LinkId, NodeNo, PartialNo, Ticket};
use crate::queue::Key;
use crate::time::Now;

/// What to do once a ticket is durable.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Put(puts::Stored),
    Arrival(filing::Stored),
    Marked {
        peer: NodeNo,
        link: LinkId,
        keys: Vec<Key>,
    },
    Settled {
        peer: NodeNo,
        key: Key,
    },
    /// A part of a drop.
    Dropped(NodeNo),
    Order(OrderId, Result<Done, OrderRefused>),
    Partial(PartialNo, u64),
}

impl Scheduler {
    pub(super) fn on_persisted(&mut self, now: Now, ticket: Ticket, space: Space) {
        self.note_space(now, space);
        self.durable = self.durable.max(ticket);
        while self.pending.front().is_some_and(|(at, _)| *at <= ticket) {
            let (at, all) = self.pending.pop_front().expect("it was just there");
            for pending in all {
                match pending {
                    Pending::Put(stored) => self.on_put_stored(now, stored),
                    Pending::Arrival(stored) => self.on_arrival_stored(now, stored),
                    Pending::Marked { peer, link, keys } => {
                        self.on_marked(now, at, peer, link, &keys);
                    }
                    Pending::Settled { peer, key } => self.on_settled(now, at, peer, key),
                    Pending::Dropped(peer) => self.on_dropped(peer),
                    Pending::Order(id, outcome) => {
                        self.effects.push_back(Effect::Answer(id, outcome));
                    }
                    Pending::Partial(partial, bytes) => {
                        self.effects.push_back(Effect::Journaled { partial, bytes });
                    }
                }
            }
        }
        self.resume_drops();
        self.relieve();
        self.pump_arrivals();
    }

    pub(super) fn on_persist_refused(&mut self, now: Now, ticket: Ticket, space: Space) {
        self.note_space(now, space);
        let found = self.pending.binary_search_by_key(&ticket, |(at, _)| *at);
        let refused = found.ok().and_then(|at| self.pending.remove(at));
        for pending in refused.map(|(_, all)| all).unwrap_or_default() {
            match pending {
                Pending::Put(stored) => self.on_put_refused(stored),
                Pending::Arrival(stored) => self.on_arrival_refused(stored),
                // An order that changed nothing waits for whatever came before it.
                Pending::Order(id, outcome) => {
                    self.effects.push_back(Effect::Answer(id, outcome));
                }
                // So does a parcel that is shelved as it was read.
                Pending::Settled { peer, key } => self.on_settled(now, ticket, peer, key),
                Pending::Marked { .. } | Pending::Dropped(_) | Pending::Partial(..) => {
                    panic!("only a put or an arrival may find no room")
                }
            }
        }
        self.pump_arrivals();
    }

    /// The ticket that what is in the batch will share.
    pub(super) const fn batch_ticket(&self) -> Ticket {
        Ticket(self.issued.0 + 1)
    }

    /// Does `pending` once all that was asked for so far, the batch aside, is durable.
    pub(super) fn after_all(&mut self, pending: Pending) {
        match self.pending.back_mut().filter(|(at, _)| *at == self.issued) {
            Some((_, waiting)) => waiting.push(pending),
            None => self.pending.push_back((self.issued, vec![pending])),
        }
    }

    /// Asks for what the batch holds to be made durable.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            assert!(
                self.batch_pending.is_empty(),
                "what waits for a ticket has a change in it"
            );
            return;
        }
        let changes = std::mem::take(&mut self.batch);
        let pending = std::mem::take(&mut self.batch_pending);
        self.issue(changes, pending);
    }

    /// Asks for `changes` alone: they may be refused without the rest.
    pub(super) fn persist_alone(&mut self, changes: Vec<Change>, pending: Pending) -> Ticket {
        self.flush();
        self.issue(changes, vec![pending])
    }

    pub(super) fn issue(&mut self, changes: Vec<Change>, pending: Vec<Pending>) -> Ticket {
        self.issued = self.batch_ticket();
        if !pending.is_empty() {
            self.pending.push_back((self.issued, pending));
        }
        self.effects
            .push_back(Effect::Persist(self.issued, changes));
        self.issued
    }
}
