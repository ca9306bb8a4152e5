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
    Arrival(Box<filing::Stored>),
    Marked {
        peer: NodeNo,
        link: LinkId,
        key: Key,
    },
    Settled {
        peer: NodeNo,
        key: Key,
    },
    /// A part of a drop.
    Dropped(NodeNo),
    Order(OrderId, Box<Result<Done, OrderRefused>>),
    Partial(PartialNo, u64),
}

impl Scheduler {
    pub(super) fn on_persisted(&mut self, now: Now, ticket: Ticket, space: Space) {
        self.note_space(now, space);
        self.durable = self.durable.max(ticket);
        while self.pending.front().is_some_and(|(at, _)| *at <= ticket) {
            let (at, pending) = self.pending.pop_front().expect("it was just there");
            match pending {
                Pending::Put(stored) => self.on_put_stored(now, stored),
                Pending::Arrival(stored) => self.on_arrival_stored(now, *stored),
                Pending::Marked { peer, link, key } => self.on_marked(now, at, peer, link, key),
                Pending::Settled { peer, key } => self.on_settled(now, at, peer, key),
                Pending::Dropped(peer) => self.on_dropped(peer),
                Pending::Order(id, outcome) => self.effects.push_back(Effect::Answer(id, *outcome)),
                Pending::Partial(partial, bytes) => {
                    self.effects.push_back(Effect::Journaled { partial, bytes });
                }
            }
        }
        self.resume_drops();
        self.relieve();
        self.pump_arrivals();
    }

    pub(super) fn on_persist_refused(&mut self, now: Now, ticket: Ticket, space: Space) {
        self.note_space(now, space);
        let first = self.pending.partition_point(|(at, _)| *at < ticket);
        let past = self.pending.partition_point(|(at, _)| *at <= ticket);
        let refused: Vec<(Ticket, Pending)> = self.pending.drain(first..past).collect();
        for (_, pending) in refused {
            match pending {
                Pending::Put(stored) => self.on_put_refused(stored),
                Pending::Arrival(stored) => self.on_arrival_refused(*stored),
                // An order that changed nothing waits for whatever came before it.
                Pending::Order(id, outcome) => self.effects.push_back(Effect::Answer(id, *outcome)),
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
        self.pending.push_back((self.issued, pending));
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
        let empty = self.empty_batch();
        let changes = std::mem::replace(&mut self.batch, empty);
        let ticket = self.issue(changes);
        let pending = self.batch_pending.drain(..);
        self.pending
            .extend(pending.map(|pending| (ticket, pending)));
    }

    /// Asks for `changes` alone: they may be refused without the rest.
    pub(super) fn persist_alone(&mut self, changes: Vec<Change>, pending: Pending) -> Ticket {
        self.flush();
        let ticket = self.issue(changes);
        self.pending.push_back((ticket, pending));
        ticket
    }

    fn issue(&mut self, changes: Vec<Change>) -> Ticket {
        self.issued = self.batch_ticket();
        self.effects
            .push_back(Effect::Persist(self.issued, changes));
        self.issued
    }
}
