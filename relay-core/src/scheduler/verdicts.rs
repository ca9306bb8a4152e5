//! What a peer says about our packs: acked, refused in part, wanted, silent.

use std::sync::Arc;

use super::{Scheduler, paging};
use crate::change::{Due, Part};
use crate::delivery::{Cause, Outcome};
use crate::event::{Ack, Effect, SendTrouble};
use crate::id::{LinkId, NodeNo, ReceiptNo, Ticket};
use crate::peer::{Judgement, Phase};
use crate::queue::Key;
use crate::time::Now;

/// What is said of bytes that a send could not read.
const UNREADABLE: &str = "its bytes could not be read to be sent";

impl Scheduler {
    pub(super) fn on_acked(&mut self, now: Now, link: LinkId, ack: Ack) {
        let Some(no) = self.peer_on(link) else { return };
        let peer = self.peer_mut(no);
        peer.last_heard = now.mono;
        peer.line.hear(ack.receipt);
        self.note_answer(no, (ack.pack, ack.part));
        self.judge_ack(now, no, ack);
    }

    /// An answer to something in flight: the peer takes deliveries.
    fn note_answer(&mut self, no: NodeNo, key: Key) {
        let peer = self.peer_mut(no);
        if peer
            .parcels
            .get(&key)
            .is_some_and(crate::peer::Parcel::is_flying)
        {
            peer.breaker.answered();
            self.dirty.insert(no);
        }
    }

    /// Acts on an ack, whatever the parcel it names is doing.
    pub(super) fn judge_ack(&mut self, now: Now, no: NodeNo, ack: Ack) {
        let key = (ack.pack, ack.part);
        let (receipt, durable) = (ack.receipt, self.durable);
        let most = self.settings.limits.late_acks;
        let parcel = self.peers[&no].parcels.get(&key);
        let put_off = parcel.is_some_and(|parcel| self.is_put_off(parcel));
        let peer = self.peer_mut(no);
        let Some(parcel) = peer.parcels.get_mut(&key) else {
            return self.ask(
                Due {
                    peer: no,
                    pack: key.0,
                    part: key.1,
                },
                paging::Ask::Ack(ack),
            );
        };
        let over = parcel.row.state.name().is_terminal();
        match parcel.phase {
            Phase::Settling(ticket) if over => {
                return self.ack_of_past(now, no, key, (ack, ticket));
            }
            Phase::Spared(ticket) => return peer.line.settle(receipt, ticket),
            // Not durable here, so never sent: the peer speaks of another life.
            Phase::Storing | Phase::Woken(_) => return peer.line.settle(receipt, durable),
            Phase::Judging(_) if !put_off => {
                // Heard again once the row is read, by when this is decided: an
                // answer forgotten here would hold up all receipts after it.
                let due = parcel.row.due;
                return self.ask(due, paging::Ask::Ack(ack));
            }
            Phase::Ready
            | Phase::Marking(_)
            | Phase::Outbox
            | Phase::Offered
            | Phase::Leaving
            | Phase::Sent
            | Phase::Judging(_)
            | Phase::Settling(_)
            | Phase::Resting(_) => {}
        }
        let sound = ack.table == parcel.info.table && ack.refused.is_empty();
        if !sound && !parcel.is_flying() && peer.judging >= most {
            let due = parcel.row.due;
            self.ask_later(due, paging::Ask::Ack(ack));
        } else if sound {
            let (except, rest) = (Arc::clone(&parcel.except), parcel.row.count);
            let ticket = self.settle(now, no, key);
            self.cover(now, no, ack, (&except, rest), ticket);
        } else {
            self.look_at(no, key, Judgement::Answer(ack));
        }
    }

    pub(super) fn on_send_failed(&mut self, link: LinkId, due: Due, trouble: SendTrouble) {
        let Some(no) = self.peer_on(link).filter(|no| *no == due.peer) else {
            return;
        };
        let key = (due.pack, due.part);
        let phase = self.peers[&no]
            .parcels
            .get(&key)
            .map(|parcel| parcel.phase.clone());
        if let Some(Phase::Outbox | Phase::Offered | Phase::Leaving | Phase::Sent) = phase {
            self.judge_by(no, key, Judgement::Trouble(trouble));
            match trouble {
                // Once more, and not at once.
                SendTrouble::Unreadable => {
                    self.on_verify_unread(self.heard_at, due, UNREADABLE);
                }
                SendTrouble::Missing | SendTrouble::Corrupt => {
                    self.effects.push_back(Effect::Verify(due));
                }
            }
        }
    }

    /// Our own bytes are read again before a bad word about them is believed.
    pub(super) fn look_at(&mut self, no: NodeNo, key: Key, judgement: Judgement) {
        self.judge_by(no, key, judgement);
        self.effects
            .push_back(Effect::Verify(Self::due_of(no, key)));
    }

    /// Takes a parcel out of whatever it is in, until its bytes were read.
    fn judge_by(&mut self, no: NodeNo, key: Key, judgement: Judgement) {
        self.stop_sending(no, key);
        let peer = self.peer_mut(no);
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a judged parcel is in memory");
        let flying = parcel.is_flying();
        if !flying {
            peer.unwait(key);
        } else if parcel.phase == Phase::Outbox {
            let lane = parcel.row.lane;
            peer.lanes
                .get_mut(&lane)
                .expect("a parcel's lane is there")
                .outbox
                .retain(|k| *k != key);
        }
        let parcel = peer
            .parcels
            .get_mut(&key)
            .expect("a judged parcel is in memory");
        parcel.phase = Phase::Judging(Box::new(judgement));
        if let Some(since) = parcel.awaiting.take() {
            peer.awaiting.remove(&(since, key));
        }
        peer.judging += 1;
    }

    pub(super) fn on_verified(&mut self, now: Now, due: Due, bad: &[u16], lengths: &[u64]) {
        let (no, key) = (due.peer, (due.pack, due.part));
        let Some(peer) = self.peers.get_mut(&no) else {
            return;
        };
        peer.judging = peer.judging.saturating_sub(1);
        let Some(parcel) = peer.parcels.get(&key) else {
            return;
        };
        let Phase::Judging(judgement) = parcel.phase.clone() else {
            return;
        };
        let judgement = *judgement;
        let ours: Vec<u16> = match due.part {
            Part::Rest => bad
                .iter()
                .copied()
                .filter(|m| !parcel.except.contains(m))
                .collect(),
            Part::Member(member) => bad.iter().copied().filter(|m| *m == member).collect(),
        };
        let receipt = match &judgement {
            Judgement::Answer(ack) => ack.receipt,
            Judgement::Trouble(_) | Judgement::Suspect => ReceiptNo(0),
        };
        let answer = match &judgement {
            Judgement::Answer(ack) if ack.table == parcel.info.table => Some(ack.clone()),
            Judgement::Answer(_) | Judgement::Trouble(_) | Judgement::Suspect => None,
        };
        let over = parcel.row.state.name().is_terminal();
        let ticket = match (over, lengths.is_empty()) {
            (true, _) => self.note_part(now, no, key, answer.as_ref(), lengths),
            (false, true) => self.lose(now, no, key, &judgement),
            (false, false) => self.decide(now, no, key, judgement, &ours, lengths),
        };
        self.resume_drops();
        self.dirty.insert(no);
        self.ask_overdue();
        let Some(ack) = answer else {
            return self.peer_mut(no).line.settle(receipt, ticket);
        };
        let parcel = &self.peers[&no].parcels[&key];
        let (except, rest) = (Arc::clone(&parcel.except), parcel.row.count);
        self.cover(now, no, ack, (&except, rest), ticket);
    }

    /// The whole pack cannot be read.
    fn lose(&mut self, now: Now, no: NodeNo, key: Key, judgement: &Judgement) -> Ticket {
        let unread = self.gives_up(Self::due_of(no, key));
        let corrupt = unread || matches!(judgement, Judgement::Trouble(SendTrouble::Corrupt));
        let (cause, outcome) = if corrupt {
            (Cause::Corrupt, Outcome::Corrupt)
        } else {
            (Cause::SegmentMissing, Outcome::SegmentMissing)
        };
        self.park(
            now,
            no,
            key,
            cause,
            outcome,
            Some("its bytes cannot be read here"),
        )
    }

    /// Each member meets its fate; answers the ticket that makes all of it true.
    fn decide(
        &mut self,
        now: Now,
        no: NodeNo,
        key: Key,
        judgement: Judgement,
        bad: &[u16],
        lengths: &[u64],
    ) -> Ticket {
        let table = self.peers[&no].parcels[&key].info.table;
        let suspect = judgement == Judgement::Suspect;
        let (whole_failed, refused) = match judgement {
            Judgement::Trouble(_) | Judgement::Suspect => (None, Vec::new()),
            Judgement::Answer(ack) if ack.table != table => {
                (Some("the peer's table digest is not ours"), Vec::new())
            }
            Judgement::Answer(ack) => (None, ack.refused),
        };
        let believed = refused.is_empty();
        for member in bad {
            if let Some(part) = self.single_out(no, key, *member, lengths) {
                self.park(
                    now,
                    no,
                    part,
                    Cause::Corrupt,
                    Outcome::Corrupt,
                    Some("its bytes are bad here"),
                );
            }
        }
        for (member, nack) in refused.iter().filter(|(member, _)| !bad.contains(member)) {
            let Some(part) = self.single_out(no, key, *member, lengths) else {
                continue;
            };
            if nack.is_permanent() {
                let said = format!("the peer refused it: {}", nack.as_str());
                self.park(
                    now,
                    no,
                    part,
                    Cause::Rejected,
                    Outcome::Rejected,
                    Some(&said),
                );
            } else {
                self.fail_or_ready(now, no, part, nack.as_str());
            }
        }
        let judged = |p: &crate::peer::Parcel| matches!(p.phase, Phase::Judging(_));
        if self.peers[&no].parcels.get(&key).is_some_and(judged) {
            if suspect {
                self.take_apart(now, no, key, lengths);
            }
            match whole_failed {
                Some(said) => self.fail_or_ready(now, no, key, said),
                None if believed => self.give_back_or_ready(now, no, key),
                None => {
                    self.settle(now, no, key);
                }
            }
        }
        self.batch_ticket()
    }

    /// The parcel that stands for `member` alone; the whole one if it is all
    /// that is left in it. `None` if the peer named a member that is not in it.
    pub(super) fn single_out(
        &mut self,
        no: NodeNo,
        key: Key,
        member: u16,
        lengths: &[u64],
    ) -> Option<Key> {
        let length = *lengths.get(usize::from(member))?;
        let parcel = self.peers[&no].parcels.get(&key)?;
        if !matches!(parcel.phase, Phase::Judging(_)) || parcel.except.contains(&member) {
            return None;
        }
        match key.1 {
            Part::Member(own) => (own == member).then_some(key),
            Part::Rest if parcel.row.count == 1 => Some(key),
            Part::Rest => self.split(no, key, &[(member, length)]).pop(),
        }
    }

    fn fail_or_ready(&mut self, now: Now, no: NodeNo, key: Key, said: &str) {
        if self.peers[&no].parcels[&key].is_flying() {
            self.fail(now, no, key, Outcome::Failed, said);
        } else {
            self.wait_again(now, no, key);
        }
    }

    fn give_back_or_ready(&mut self, now: Now, no: NodeNo, key: Key) {
        if self.peers[&no].parcels[&key].is_flying() {
            self.give_back(now, no, key, Outcome::Interrupted);
        } else {
            self.wait_again(now, no, key);
        }
    }

    pub(super) fn on_wanted(&mut self, now: Now, link: LinkId, due: Due, from: u64) {
        let Some(no) = self.peer_on(link).filter(|no| *no == due.peer) else {
            return;
        };
        let key = (due.pack, due.part);
        let peer = self.peer_mut(no);
        peer.last_heard = now.mono;
        let Some(parcel) = peer.parcels.get_mut(&key) else {
            return;
        };
        if parcel.phase != Phase::Offered || from > parcel.row.bytes {
            return;
        }
        (parcel.wanted, parcel.sent, parcel.taken) = (true, from, from);
        peer.breaker.answered();
        if let Some(since) = parcel.awaiting.take() {
            peer.awaiting.remove(&(since, key));
        }
        self.enter_outbox(now, no, key);
    }

    pub(super) fn on_taken(&mut self, link: LinkId, due: Due, bytes: u64) {
        let Some(no) = self.peer_on(link).filter(|no| *no == due.peer) else {
            return;
        };
        let key = (due.pack, due.part);
        self.dirty.insert(no);
        let peer = self.peer_mut(no);
        let Some(parcel) = peer.parcels.get_mut(&key).filter(|p| p.chunks > 0) else {
            // Of an attempt that is over: what it held was freed with it.
            return;
        };
        let bytes = bytes.min(parcel.sent - parcel.taken);
        parcel.taken += bytes;
        parcel.chunks -= 1;
        let class = peer.lanes[&parcel.row.lane].rule.class;
        peer.unsent.take(class, bytes);
        peer.unsent_chunks.take(class, 1);
    }
}
