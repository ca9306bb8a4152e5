//! What waits for something that could not be read, and who is told.
//!
//! The gate `storage` stands here: a delivery says it while a question about it, or the
//! page it is to come in, has had no answer. Bytes that cannot be read take their parcel
//! out of flight; an operator may move it all the same, unless an answer of its peer
//! hangs on them. Those stay in memory; once they are `late_acks`, nothing more begins
//! to go to that peer.

use std::time::Duration;

use super::rereading::Reading;
use super::{Gate, Scheduler, paging};
use crate::change::{Due, OwedRow, Sent};
use crate::delivery::{Move, Outcome, State, WaitingOn};
use crate::event::{BusyWhy, Effect, Refusal};
use crate::id::{LaneNo, LinkId, NodeNo, PutId};
use crate::peer::{Judgement, Parcel, Peer, Phase};
use crate::time::Now;

impl Scheduler {
    /// The parcel of this name, if it waits for its bytes to be checked.
    pub(super) fn judged(&self, due: Due) -> Option<&Parcel> {
        let peer = self.peers.get(&due.peer)?;
        let parcel = peer.parcels.get(&(due.pack, due.part))?;
        matches!(parcel.phase, Phase::Judging(_)).then_some(parcel)
    }

    /// Whether the bytes of this parcel are to be checked, and could not be read: it
    /// waits for them, out of flight.
    pub(super) fn is_unreadable(&self, parcel: &Parcel) -> bool {
        let due = parcel.row.due;
        matches!(parcel.phase, Phase::Judging(_))
            && !parcel.is_flying()
            && self.rereading.has(Reading::Verify(due))
    }

    /// Whether what is lost is lost since it could not be read for too long.
    pub(super) fn gives_up(&self, due: Due) -> bool {
        self.rereading.has(Reading::Verify(due))
    }

    /// Whether such a parcel may be moved all the same: no answer of its peer hangs on it.
    pub(super) fn is_put_off(&self, parcel: &Parcel) -> bool {
        !is_answered(parcel) && self.is_unreadable(parcel)
    }

    /// The gate of a peer of which so much could not be read that no more begins: what
    /// cannot be read stays in memory until it is.
    pub(super) fn unread_peer(&self, peer: &Peer) -> Option<Gate> {
        let full = peer.judging >= self.settings.limits.late_acks;
        let ill = full && self.rereading.has_bytes_of(peer.no);
        ill.then(|| Gate::new(WaitingOn::Storage, None))
    }

    /// What a row waits for that could not be read.
    pub(super) fn unread_gate(&self, row: &OwedRow, parcel: Option<&Parcel>) -> Option<Gate> {
        let reading = self.unread_of(row, parcel)?;
        let until = self.rereading.unread(reading)?.again;
        Some(Gate::new(WaitingOn::Storage, until))
    }

    /// What was said when it could not be read.
    pub(super) fn unread_words(&self, row: &OwedRow, parcel: Option<&Parcel>) -> Option<String> {
        let reading = self.unread_of(row, parcel)?;
        Some(self.rereading.unread(reading)?.said.clone())
    }

    fn unread_of(&self, row: &OwedRow, parcel: Option<&Parcel>) -> Option<Reading> {
        if self.rereading.is_empty() {
            return None;
        }
        let due = row.due;
        let judged = parcel.filter(|parcel| self.is_unreadable(parcel));
        let paged = Reading::Page(due.peer, row.lane);
        let all = [
            judged.map(|_| Reading::Verify(due)),
            parcel.is_none().then_some(Reading::Fetch(due)),
            (parcel.is_none() && !row.is_shelved()).then_some(paged),
            row.place.map(|_| Reading::Group(due.pack)),
        ];
        let mut all = all.into_iter().flatten();
        all.find(|reading| self.rereading.has(*reading))
    }

    /// The gate of what of `lane` is in the ledger alone, if no page of it can be read
    /// and memory holds nothing that waits.
    pub(super) fn unread_lane(&self, no: NodeNo, lane: LaneNo) -> Option<Gate> {
        let unread = self.rereading.unread(Reading::Page(no, lane))?;
        let loaded = self.peers.get(&no)?.lanes.get(&lane)?.loaded();
        (loaded == 0).then(|| Gate::new(WaitingOn::Storage, unread.again))
    }

    /// What was said when no page of `lane` could be read.
    pub(super) fn unread_lane_words(&self, no: NodeNo, lane: LaneNo) -> Option<String> {
        let unread = self.rereading.unread(Reading::Page(no, lane))?;
        Some(unread.said.clone())
    }

    /// Fetches `due`, though not before its bytes are asked for again: until then
    /// nothing can be decided about it.
    pub(super) fn fetch(&mut self, due: Due) {
        let judged = self.rereading.unread(Reading::Verify(due));
        let judged = judged.and_then(|unread| Some((unread.again?, unread.said.clone())));
        match judged {
            Some((at, said)) => {
                let now = self.heard_at.mono;
                self.rereading
                    .put_off(Reading::Fetch(due), Effect::Fetch(due), at, (now, &said));
            }
            None => self.effects.push_back(Effect::Fetch(due)),
        }
    }

    /// A put under a key is refused: whether the key is taken cannot be told.
    pub(super) fn on_key_unread(&mut self, id: PutId) {
        let Some(put) = self.take_asked(id) else {
            return;
        };
        self.refuse(put.put, &[put.staged], Refusal::Unreadable);
        if let Some((name, _)) = &put.key {
            self.release_key(name);
        }
    }

    /// A peer is asked to offer it again: whether it is known here cannot be told.
    pub(super) fn on_look_up_unread(&mut self, number: u64) {
        let Some(question) = self.arrivals.open.remove(&number) else {
            return;
        };
        if question.let_go || self.peer_on(question.link) != Some(question.peer) {
            return self.drop_question(&question);
        }
        self.send_busy(&question, BusyWhy::Io);
        let ids = question.ids().clone();
        self.arrivals.release(question.origin, &ids);
        self.pump_arrivals();
    }

    /// While receipts cannot be read no later ones may be said: who waits for one is
    /// told to wait, so that nothing times out there.
    pub(super) fn put_off_acks(&mut self, no: NodeNo) {
        let peer = self.peer_mut(no);
        let Some(link) = peer.link.up() else { return };
        for row in std::mem::take(&mut peer.unsettled.held) {
            self.put_off_ack(link, row.sent);
        }
    }

    /// What was stored is acknowledged once its receipt is read back, or as it comes again.
    pub(super) fn put_off_ack(&mut self, link: LinkId, sent: Sent) {
        let retry_after: Duration = self.settings.limits.busy_retry;
        let why = BusyWhy::Io;
        self.effects.push_back(Effect::Busy {
            link,
            sent,
            why,
            retry_after,
        });
    }

    /// Whether receipts of `no` cannot be read back.
    pub(super) fn cannot_recall(&self, no: NodeNo) -> bool {
        self.rereading.has(Reading::Recall(no))
    }

    /// A row was not read: orders are refused, everything else waits.
    pub(super) fn on_fetch_unread(&mut self, now: Now, due: Due, said: &str) {
        let Some(asks) = self.asks.remove(&due) else {
            return;
        };
        let (mut kept, mut told) = (Vec::with_capacity(asks.len()), Vec::new());
        for ask in asks {
            match ask {
                paging::Ask::Order(id) => told.push(Some(id)),
                // It is parked as it is taken up; what else expired goes on.
                paging::Ask::Expired => {
                    told.push(None);
                    let looks = |ask: &paging::Ask| matches!(ask, paging::Ask::Look);
                    if !kept.iter().any(looks) {
                        kept.push(paging::Ask::Look);
                    }
                }
                other @ (paging::Ask::Ack(_)
                | paging::Ask::Covered(_)
                | paging::Ask::Look
                | paging::Ask::Suspect) => kept.push(other),
            }
        }
        if !kept.is_empty() {
            self.asks.insert(due, kept);
        }
        self.reask(now, Reading::Fetch(due), Effect::Fetch(due), said);
        for ask in told {
            match ask {
                Some(id) => self.on_order_unread(now, id, due),
                None => self.on_expired_read(now),
            }
        }
        if !self.asks.contains_key(&due) {
            self.idle.push((due.peer, (due.pack, due.part)));
            self.ask_overdue();
        }
    }

    /// The bytes of a pack were not read: out of flight with it until they are.
    pub(super) fn on_verify_unread(&mut self, now: Now, due: Due, said: &str) {
        let (no, key) = (due.peer, (due.pack, due.part));
        let reading = Reading::Verify(due);
        let Some(parcel) = self.judged(due) else {
            self.forget_unread(reading);
            return self.read_ended(reading);
        };
        let answered = is_answered(parcel);
        let room = self.peers[&no].judging <= self.settings.limits.late_acks;
        if parcel.is_flying() && room {
            self.leave(no, key);
            let (to, outcome) = (State::Scheduled, Some(Outcome::Interrupted));
            self.moved(now, no, key, Move::Return, to, outcome, None);
            self.dirty.insert(no);
        } else if parcel.is_flying() && !answered {
            // Enough of them wait in memory: it goes again once those were read.
            self.forget_unread(reading);
            self.read_ended(reading);
            return self.give_back(now, no, key, Outcome::Interrupted);
        }
        let earlier = self.rereading.unread(reading);
        let waits = earlier.is_some_and(|unread| unread.again.is_some());
        let since = earlier.map_or(now.mono, |unread| unread.since);
        if now.mono.since(since) >= self.settings.limits.unreadable {
            // Still noted as unread, so that what is given up is given up as corrupt.
            self.on_verified(now, due, &[], &[]);
            return self.forget_unread(reading);
        }
        if waits {
            // Asked for twice: one of the two goes on.
            self.read_ended(reading);
        }
        self.reask(now, reading, Effect::Verify(due), said);
        self.resume_drops();
    }
}

/// Whether a parcel's bytes are checked since its peer answered.
fn is_answered(parcel: &Parcel) -> bool {
    matches!(&parcel.phase, Phase::Judging(of) if matches!(**of, Judgement::Answer(_)))
}
