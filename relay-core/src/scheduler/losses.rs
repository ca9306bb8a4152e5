//! Arrivals that come to nothing: their offer was lost, or their link is gone.

use super::Scheduler;
use super::question::{Item, Question};
use crate::change::Sent;
use crate::event::{BusyWhy, Effect};
use crate::id::LinkId;
use crate::time::Now;

impl Scheduler {
    pub(super) fn drop_question(&mut self, question: &Question) {
        let ids = question.ids().clone();
        self.arrivals.release(question.origin, &ids);
        if let Item::Pack(arrival) = &question.item {
            self.effects.push_back(Effect::Discard(arrival.staged));
        }
        self.pump_arrivals();
    }

    pub(super) fn on_offer_lost(
        &mut self,
        now: Now,
        link: LinkId,
        sent: Sent,
        why: Option<BusyWhy>,
    ) {
        self.let_go_partial(now, link, sent);
        if let Some(question) = self.arrivals.wanted.remove(&(link, sent)) {
            // A receiver's own trouble is never the segment's: the sender waits. To a
            // sender that ended it itself there is nothing to say: it would take us for busy.
            if let Some(why) = why.filter(|_| self.peer_on(link) == Some(question.peer)) {
                self.send_busy(&question, why);
            }
            self.drop_question(&question);
        }
    }

    /// Nothing is written any longer of what was wanted on a link that has gone.
    pub(super) fn release_stale(&mut self, link: LinkId, sent: Sent) {
        if self.peer_on(link).is_some() {
            return;
        }
        if let Some(question) = self.arrivals.wanted.remove(&(link, sent)) {
            self.drop_question(&question);
        }
    }

    /// A link is gone: what was only promised on it is dropped; what is on its
    /// way to disk goes on.
    pub(super) fn forget_arrivals(&mut self, link: LinkId) {
        // What is still being written holds its ids until the shell lets go of it.
        let gone: Vec<(LinkId, Sent)> = self
            .arrivals
            .wanted
            .keys()
            .filter(|(l, sent)| *l == link && !self.partials.is_arriving(link, *sent))
            .copied()
            .collect();
        for key in gone {
            if let Some(question) = self.arrivals.wanted.remove(&key) {
                self.drop_question(&question);
            }
        }
        for queue in self.arrivals.waiting.values_mut() {
            let (stale, kept): (Vec<_>, Vec<_>) = queue.drain(..).partition(|q| q.link == link);
            queue.extend(kept);
            for question in stale {
                if let Item::Pack(arrival) = question.item {
                    self.effects.push_back(Effect::Discard(arrival.staged));
                }
            }
        }
        self.pump_arrivals();
    }
}
