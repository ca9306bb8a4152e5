//! Acks of the rest of a pack that answer for members which have left it since.
//!
//! A member may leave the rest (held, cancelled, refused) while the pack is under
//! way. The ack counts the members it answers for, and a row remembers how many
//! the rest was when its member left ([`crate::change::OwedRow::is_covered`]): so
//! it is known whom an ack means. The receipt is settled when all of them are
//! decided and durable, never before: the peer may forget them then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Scheduler, paging};
use crate::change::{Due, Part};
use crate::delivery::StateName;
use crate::event::Ack;
use crate::id::{NodeNo, Ticket};
use crate::peer::{Judgement, Phase};
use crate::queue::Key;
use crate::time::Now;

/// Acks whose members are being read back.
#[derive(Debug, Default)]
pub(super) struct Covers {
    given: u64,
    open: BTreeMap<u64, Cover>,
}

#[derive(Debug)]
struct Cover {
    peer: NodeNo,
    ack: Arc<Ack>,
    /// Members not yet decided.
    left: usize,
    /// What makes those decided true.
    ticket: Ticket,
}

impl Scheduler {
    /// An ack of what is acked, parked or purged, true with `ticket`: what is parked
    /// notes it.
    pub(super) fn ack_of_past(
        &mut self,
        now: Now,
        no: NodeNo,
        key: Key,
        (ack, ticket): (Ack, Ticket),
    ) {
        let parcel = &self.peers[&no].parcels[&key];
        let (except, rest) = (Arc::clone(&parcel.except), parcel.row.count);
        if ack.table != parcel.info.table {
            return self.peer_mut(no).line.settle(ack.receipt, ticket);
        }
        let parked = parcel.row.state.name() == StateName::Deadletter;
        if parked && !parcel.gone && !parcel.row.acked_late && !ack.refused.is_empty() {
            // Members are parted by their lengths, which only the bytes know.
            if self.peers[&no].judging >= self.settings.limits.late_acks {
                let due = Self::due_of(no, key);
                self.ask_later(due, paging::Ask::Ack(ack));
                return;
            }
            return self.look_at(no, key, Judgement::Answer(ack));
        }
        let ticket = self.note_acked(now, no, key);
        self.cover(now, no, ack, (&except, rest), ticket);
    }

    /// An ack that refuses some members of a parcel which is parked: the others
    /// note it. `lengths` is empty if the pack cannot be read, and then nothing of
    /// it will ever be sent.
    pub(super) fn note_part(
        &mut self,
        now: Now,
        no: NodeNo,
        key: Key,
        answer: Option<&Ack>,
        lengths: &[u64],
    ) -> Ticket {
        let refused = answer.map_or(&[][..], |ack| &ack.refused);
        let mut refuses_all = answer.is_none() || lengths.is_empty();
        for (member, _) in refused {
            match self.single_out(no, key, *member, lengths) {
                Some(part) if part == key => refuses_all = true,
                Some(part) => drop(self.retire(no, part)),
                None => {}
            }
        }
        if refuses_all {
            self.shelve(no, key);
            self.batch_ticket()
        } else {
            self.note_acked(now, no, key)
        }
    }

    /// Acts on a sound ack for the members in `except`, which are not among the
    /// `rest` members still together; what became of those is true with `ticket`.
    pub(super) fn cover(
        &mut self,
        now: Now,
        no: NodeNo,
        ack: Ack,
        (except, rest): (&[u16], u32),
        ticket: Ticket,
    ) {
        let receipt = ack.receipt;
        if ack.part != Part::Rest || except.is_empty() || ack.count <= rest {
            return self.peer_mut(no).line.settle(receipt, ticket);
        }
        let (mut ticket, mut unread) = (ticket, Vec::new());
        for member in except {
            if ack.refused.iter().any(|(refused, _)| refused == member) {
                continue;
            }
            let key = (ack.pack, Part::Member(*member));
            match self.cover_one(now, no, key, ack.count) {
                Some(at) => ticket = ticket.max(at),
                None => unread.push(Self::due_of(no, key)),
            }
        }
        if unread.is_empty() {
            return self.peer_mut(no).line.settle(receipt, ticket);
        }
        self.covers.given += 1;
        let name = self.covers.given;
        let cover = Cover {
            peer: no,
            ack: Arc::new(ack),
            left: unread.len(),
            ticket,
        };
        self.covers.open.insert(name, cover);
        for due in unread {
            self.ask(due, paging::Ask::Covered(name));
        }
    }

    /// What the ack of the rest makes of one member: the ticket that makes it true,
    /// or `None` if its row is to be read first.
    fn cover_one(&mut self, now: Now, no: NodeNo, key: Key, count: u32) -> Option<Ticket> {
        let parcel = self.peers[&no].parcels.get(&key)?;
        match parcel.phase {
            // Decided by the time the row is read.
            Phase::Judging(_) | Phase::Storing | Phase::Woken(_) => return None,
            Phase::Spared(ticket) => return Some(ticket),
            Phase::Settling(_)
            | Phase::Ready
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered
            | Phase::Leaving
            | Phase::Sent
            | Phase::Resting(_) => {}
        }
        if parcel.gone || !parcel.row.is_covered(count) {
            return Some(Ticket(0));
        }
        let over = parcel.row.state.name().is_terminal();
        Some(if over {
            self.note_acked(now, no, key)
        } else {
            self.settle(now, no, key)
        })
    }

    /// The row of a covered member was read; it is in memory if there is one.
    pub(super) fn on_covered(&mut self, now: Now, due: Due, name: u64) {
        let key = (due.pack, due.part);
        let Some(cover) = self.covers.open.get(&name) else {
            return;
        };
        let count = cover.ack.count;
        let here = self.peers[&due.peer].parcels.contains_key(&key);
        let decided = if here {
            self.cover_one(now, due.peer, key, count)
        } else {
            Some(Ticket(0))
        };
        let Some(at) = decided else {
            return self.ask(due, paging::Ask::Covered(name));
        };
        let cover = self.covers.open.get_mut(&name);
        let cover = cover.expect("it was just there");
        (cover.left, cover.ticket) = (cover.left - 1, cover.ticket.max(at));
        if cover.left == 0 {
            let cover = self.covers.open.remove(&name).expect("it was just there");
            let line = &mut self.peer_mut(cover.peer).line;
            line.settle(cover.ack.receipt, cover.ticket);
        }
    }

    /// A link is gone: its acks are repeated on the next one.
    pub(super) fn forget_covers(&mut self, no: NodeNo) {
        self.covers.open.retain(|_, cover| cover.peer != no);
    }
}
