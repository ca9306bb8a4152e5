//! Receipts, both ways: when ours may be forgotten, and when to say that
//! theirs are settled for good (semantics 2.5).

use super::Scheduler;
use crate::change::{Change, ReceiptRow};
use crate::event::Effect;
use crate::id::{LinkId, NodeNo, ReceiptNo};

impl Scheduler {
    /// Starts to repeat what `no` has not settled, before anything new.
    pub(super) fn recall(&mut self, no: NodeNo) {
        let peer = self.peer_mut(no);
        if peer.unsettled.count() == 0 {
            return;
        }
        self.ask_recall(no, ReceiptNo(0));
    }

    fn ask_recall(&mut self, peer: NodeNo, after: ReceiptNo) {
        let limit = self.settings.limits.page;
        self.questions += 1;
        let question = self.questions;
        self.peer_mut(peer).unsettled.recalling = Some(question);
        self.effects.push_back(Effect::Recall {
            question,
            peer,
            after,
            limit,
        });
    }

    pub(super) fn on_recalled(&mut self, question: u64, no: NodeNo, rows: Vec<ReceiptRow>) {
        let limit = self.settings.limits.page;
        let Some(peer) = self.peers.get_mut(&no) else {
            return;
        };
        let Some(link) = peer.link.up() else { return };
        if peer.unsettled.recalling != Some(question) {
            // The answer to a question of an earlier link.
            return;
        }
        let more = rows.len() >= limit;
        let mut last = peer.unsettled.said;
        for row in rows {
            last = last.max(row.no);
            if peer.unsettled.known.insert(row.no) {
                peer.unsettled.unread = peer.unsettled.unread.saturating_sub(1);
            }
            self.effects.push_back(ack_of(link, row));
        }
        peer.unsettled.said = last;
        if more {
            return self.ask_recall(no, last);
        }
        peer.unsettled.recalling = None;
        // Rows that could not be read back will never be settled by name.
        peer.unsettled.unread = 0;
        let held = std::mem::take(&mut peer.unsettled.held);
        let later = held.into_iter().filter(|row| row.no > last);
        self.effects.extend(later.map(|row| ack_of(link, row)));
    }

    /// Acknowledges what came on `link`, in the order of receipts.
    pub(super) fn acknowledge(&mut self, no: NodeNo, link: LinkId, row: ReceiptRow) {
        let Some(up) = self.peers[&no].link.up() else {
            // The next link begins with what is not settled.
            return;
        };
        if up != link && row.no.0 == 0 {
            return;
        }
        // A link that replaced the one it came on may have been told what is
        // unsettled before this was durable: it is said on the new one.
        let unread = self.cannot_recall(no);
        let peer = self.peer_mut(no);
        if row.no.0 != 0 && peer.unsettled.recalling.is_some() {
            if unread {
                return self.put_off_ack(up, row.sent);
            }
            peer.unsettled.held.push_back(row);
        } else {
            self.effects.push_back(ack_of(up, row));
        }
    }

    pub(super) fn on_peer_settled(&mut self, link: LinkId, receipt: ReceiptNo) {
        let Some(no) = self.peer_on(link) else { return };
        let peer = self.peer_mut(no);
        let kept = peer
            .unsettled
            .known
            .split_off(&ReceiptNo(receipt.0.saturating_add(1)));
        let settled = std::mem::replace(&mut peer.unsettled.known, kept);
        // Only what we said on some link can be settled: no more than that is written.
        if let Some(last) = settled.last() {
            self.batch.push(Change::Settled(no, *last));
        }
    }

    /// Tells each peer how far its receipts are settled for good: those touched,
    /// and those whose first receipt waited for what has become durable.
    pub(super) fn say_settled(&mut self) {
        let durable = self.durable;
        while let Some((ticket, index)) = self.lines.first() {
            if ticket > durable {
                break;
            }
            self.lines.set(index, None);
            let no = NodeNo(u32::try_from(index).expect("peers are indexed by their numbers"));
            self.peers.touch(no);
        }
        for n in 0..self.peers.sort_touched() {
            let no = self.peers.touched(n);
            let peer = self.peer_mut(no);
            let (link, mut said) = (peer.link.up(), None);
            if link.is_some() && !peer.line.is_empty() {
                said = peer.line.say(durable);
            }
            let waits = peer.line.waits_for().filter(|_| link.is_some());
            self.lines.set(no.0 as usize, waits);
            if let (Some(link), Some(receipt)) = (link, said) {
                self.effects.push_back(Effect::Settle { link, receipt });
            }
        }
    }
}

fn ack_of(link: LinkId, row: ReceiptRow) -> Effect {
    Effect::Ack {
        link,
        receipt: row.no,
        sent: row.sent,
        table: row.table,
        count: row.count,
        refused: row.refused,
    }
}
