//! Packs and offers of peers: new, being looked up, being persisted, known.
//!
//! A pack of the sender's own above the highest number heard of its ledger in
//! its lane is new without a look-up. Everything else is looked up by id, after
//! all earlier arrivals of that peer are durable, and never while another
//! question about one of its ids is open: so nothing is stored twice, whatever
//! is repeated, and however often (semantics 2.5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Scheduler;
use super::heard::Heard;
use super::ladder::Rung;
use super::question::{Item, Question};
use crate::change::{Nack, Part, Refused, Sent, Snapshot};
use crate::event::{Arrival, BusyWhy, Effect, Ids, Known, Offer};
use crate::id::{LaneNo, LinkId, NodeId, NodeNo, SegmentId, Ticket};
use crate::time::Now;

/// Arrivals on their way to disk.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) heard: Heard,
    pub(super) waiting: BTreeMap<NodeNo, VecDeque<Question>>,
    pub(super) open: BTreeMap<u64, Question>,
    /// Ids being looked up or stored after a look-up.
    asked: BTreeSet<(NodeNo, SegmentId)>,
    pub(super) wanted: BTreeMap<(LinkId, Sent), Question>,
    /// The ticket of the latest arrival of each peer.
    pub(super) latest: BTreeMap<NodeNo, Ticket>,
}

impl Arrivals {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            heard: Heard::new(snapshot),
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            asked: BTreeSet::new(),
            wanted: BTreeMap::new(),
            latest: BTreeMap::new(),
        }
    }

    pub(super) fn release(&mut self, origin: NodeNo, ids: &Ids) {
        for (id, _) in ids.iter() {
            self.asked.remove(&(origin, *id));
        }
    }

    /// Whether bytes that we wanted are to come on `link`.
    pub(super) fn wants_on(&self, link: LinkId) -> bool {
        self.wanted.keys().any(|(on, _)| *on == link)
    }

    fn holds_any(&self, origin: NodeNo, ids: &Ids) -> bool {
        ids.iter()
            .any(|(id, _)| self.asked.contains(&(origin, *id)))
    }

    pub(super) fn hold(&mut self, origin: NodeNo, ids: &Ids) {
        self.asked.extend(ids.iter().map(|(id, _)| (origin, *id)));
    }
}

impl Scheduler {
    pub(super) fn on_arrived(&mut self, now: Now, link: LinkId, arrival: Arrival) {
        let sent = arrival.heading.sent;
        let partial = self.end_partial(link, sent);
        let Some(peer) = self.peer_on(link) else {
            self.effects.push_back(Effect::Discard(arrival.staged));
            self.partial_gone(partial);
            return self.release_stale(link, sent);
        };
        if let Some(mut question) = self.arrivals.wanted.remove(&(link, sent)) {
            // Its ids were asked about when it was offered, and are still held.
            question.refused.extend(arrival.refused.iter().copied());
            let offered = question.ids().clone();
            question.item = Item::Pack(Box::new(arrival));
            if question.shape().count == 0 {
                self.arrivals.release(question.origin, &offered);
                self.partial_gone(partial);
                return self.answer(question);
            }
            let all: Vec<u16> = (0..question.ids().len() as u16).collect();
            return self.file(now, question, &all, (Some(offered), partial));
        }
        let refused = arrival.refused.clone();
        if let Some(question) = self.admit(now, peer, link, Item::Pack(Box::new(arrival)), refused)
        {
            self.take_in(now, question);
        }
    }

    pub(super) fn on_offered(&mut self, now: Now, link: LinkId, offer: Offer) {
        let Some(peer) = self.peer_on(link) else {
            return;
        };
        self.let_go_earlier(peer, (link, offer.heading.sent));
        if let Some(question) =
            self.admit(now, peer, link, Item::Offer(Box::new(offer)), Vec::new())
        {
            self.take_in(now, question);
        }
    }

    /// A peer that offers something again has let go of the offer before, and so has
    /// the shell: that one is not answered, or the answer would be taken for this one's.
    fn let_go_earlier(&mut self, peer: NodeNo, name: (LinkId, Sent)) {
        let same = |question: &Question| {
            let offered = matches!(question.item, Item::Offer(_));
            offered && (question.link, question.heading().sent) == name
        };
        if let Some(waiting) = self.arrivals.waiting.get_mut(&peer) {
            waiting.retain(|question| !same(question));
        }
        let open = self.arrivals.open.values_mut();
        open.filter(|question| same(question))
            .for_each(|question| question.let_go = true);
    }

    /// What may come in at all; everything else is answered here.
    fn admit(
        &mut self,
        now: Now,
        peer: NodeNo,
        link: LinkId,
        item: Item,
        refused: Vec<Refused>,
    ) -> Option<Question> {
        let mut question = Question {
            peer,
            link,
            origin: peer,
            lane: LaneNo(0),
            item,
            after: self.arrivals.latest.get(&peer).copied().unwrap_or_default(),
            refused,
            let_go: false,
            ways: Vec::new(),
        };
        if let Some(why) = self.busy_with(peer) {
            self.send_busy(&question, why);
            return None;
        }
        let heading = question.heading().clone();
        if heading.origin.as_ref() == Some(&self.settings.node) {
            // It went in a circle: this node has it, or had it.
            self.answer(question);
            return None;
        }
        if let Err(wait) = self.may_take_in(now, peer) {
            self.say_busy(&question, BusyWhy::IngestQuota, wait);
            return None;
        }
        self.note_taken_in(now, &question);
        let origin = self.origin_of(peer, heading.origin.as_ref());
        let max = self.settings.limits.max_put;
        let lane = self.lane_from(peer, &heading.lane);
        let mut ids = question.ids().iter();
        let shunned = ids.any(|(id, _)| self.poison.shuns(*id));
        let why = if shunned && matches!(question.item, Item::Offer(_)) {
            // Two panics named it as it came in: its bytes are not touched again. Of a
            // pack the shell has left it out.
            Some(Nack::Malformed)
        } else if origin.is_none() {
            Some(Nack::NotAllowed)
        } else if heading.hops > self.settings.limits.hops {
            Some(Nack::HopLimit)
        } else if question.shape().bytes > max {
            Some(Nack::TooLarge)
        } else if lane.is_none() {
            Some(Nack::NotAllowed)
        } else {
            None
        };
        question.lane = lane.unwrap_or_default();
        question.origin = origin.unwrap_or(peer);
        if let Some(why) = why {
            question.refuse_all(why);
            self.answer(question);
            return None;
        }
        if question.shape().count == 0 {
            self.answer(question);
            return None;
        }
        Some(question)
    }

    /// The number of an origin whose segments `peer` may hand us.
    fn origin_of(&mut self, peer: NodeNo, origin: Option<&NodeId>) -> Option<NodeNo> {
        let Some(origin) = origin else {
            return Some(peer);
        };
        let sender = self.nodes.name(peer).expect("a numbered node has a name");
        if sender == origin {
            return Some(peer);
        }
        let may = self.settings.routing.may_forward(sender, origin);
        may.then(|| self.node_number(origin)).flatten()
    }

    fn busy_with(&self, peer: NodeNo) -> Option<BusyWhy> {
        let limits = &self.settings.limits;
        let waiting = self.arrivals.waiting.get(&peer).map_or(0, VecDeque::len);
        if self.draining.is_some() {
            Some(BusyWhy::Draining)
        } else if self.peers[&peer].unsettled.count() >= limits.unsettled
            || waiting >= limits.arrivals
        {
            Some(BusyWhy::Unsettled)
        } else if self.cannot_recall(peer) {
            Some(BusyWhy::Io)
        } else if self.space.inbox >= self.space.inbox_ceiling {
            Some(BusyWhy::InboxFull)
        } else if Rung::of(&self.space) == Rung::Full {
            Some(BusyWhy::StorageFull)
        } else {
            None
        }
    }

    /// New without a look-up, or a question.
    fn take_in(&mut self, now: Now, question: Question) {
        let sent = question.heading().sent;
        let (of, most) = ((sent.ledger, question.lane), self.settings.limits.heard);
        // A number says that something is new only of the sender's own, and only while
        // that cannot have come another way.
        let sender = self.nodes.name(question.peer);
        let round = sender.is_some_and(|name| self.settings.routing.has_ways_round(name));
        let own = question.origin == question.peer && !round;
        let rising = self.arrivals.heard.is_rising(of, sent.pack, most);
        let new = own && sent.part == Part::Rest && rising;
        if !new || self.arrivals.holds_any(question.origin, question.ids()) {
            self.arrivals
                .waiting
                .entry(question.peer)
                .or_default()
                .push_back(question);
            return self.pump_arrivals();
        }
        if matches!(question.item, Item::Offer(_)) {
            self.arrivals.hold(question.origin, question.ids());
            return self.want(now, question);
        }
        let all: Vec<u16> = (0..question.ids().len() as u16).collect();
        self.file(now, question, &all, (None, None));
    }

    /// Asks about what waits, peer by peer, in order.
    pub(super) fn pump_arrivals(&mut self) {
        let peers: Vec<NodeNo> = self.arrivals.waiting.keys().copied().collect();
        for peer in peers {
            while let Some(front) = self.arrivals.waiting.get(&peer).and_then(VecDeque::front) {
                let held = self.arrivals.holds_any(front.origin, front.ids());
                if held || front.after > self.durable {
                    break;
                }
                let queue = self
                    .arrivals
                    .waiting
                    .get_mut(&peer)
                    .expect("it has a front");
                let question = queue.pop_front().expect("it has a front");
                self.arrivals.hold(question.origin, question.ids());
                self.questions += 1;
                let number = self.questions;
                let (origin, ids) = (question.origin, question.ids().clone());
                self.effects.push_back(Effect::LookUp {
                    question: number,
                    origin,
                    ids,
                });
                self.arrivals.open.insert(number, question);
            }
            if self
                .arrivals
                .waiting
                .get(&peer)
                .is_some_and(VecDeque::is_empty)
            {
                self.arrivals.waiting.remove(&peer);
            }
        }
    }

    pub(super) fn on_looked_up(&mut self, now: Now, number: u64, known: &[Known]) {
        let Some(mut question) = self.arrivals.open.remove(&number) else {
            return;
        };
        if question.let_go || self.peer_on(question.link) != Some(question.peer) {
            return self.drop_question(&question);
        }
        let conflicts = known
            .iter()
            .enumerate()
            .filter(|(_, k)| **k == Known::Other);
        let conflicts: Vec<Refused> = conflicts
            .map(|(m, _)| (question.index(m), Nack::IdConflict))
            .collect();
        question.refused.extend(conflicts);
        let keep: Vec<u16> = (0u16..)
            .zip(known)
            .filter(|(_, k)| **k == Known::No)
            .map(|(m, _)| m)
            .collect();
        if keep.is_empty() {
            let ids = question.ids().clone();
            self.arrivals.release(question.origin, &ids);
            self.answer(question);
            return self.pump_arrivals();
        }
        match &question.item {
            Item::Offer(_) => self.want(now, question),
            Item::Pack(_) => {
                let ids = question.ids().clone();
                self.file(now, question, &keep, (Some(ids), None));
            }
        }
    }

    fn want(&mut self, now: Now, question: Question) {
        let (link, sent) = (question.link, question.heading().sent);
        // Others may have been admitted since it was offered.
        if let Err(wait) = self.may_take_in_body(now, question.peer) {
            self.say_busy(&question, BusyWhy::IngestQuota, wait);
            return self.drop_question(&question);
        }
        // A peer that offers two things under one name is heard once.
        let twice = self.arrivals.wanted.contains_key(&(link, sent));
        let begun = match twice {
            true => Err(BusyWhy::Io),
            false => self.begin_partial(now, &question),
        };
        let (from, partial) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                self.send_busy(&question, why);
                return self.drop_question(&question);
            }
        };
        let rest = question.shape().bytes.saturating_sub(from);
        let charged = self.take_in_body(now, question.peer, rest);
        self.partials.charged(partial, charged);
        self.effects.push_back(Effect::Want {
            link,
            sent,
            from,
            partial,
        });
        self.arrivals.wanted.insert((link, sent), question);
    }

    /// Answers without storing anything.
    fn answer(&mut self, question: Question) {
        match &question.item {
            Item::Pack(arrival) => self.effects.push_back(Effect::Discard(arrival.staged)),
            Item::Offer(offer) => {
                let (link, sent) = (question.link, offer.heading.sent);
                self.effects.push_back(Effect::Have { link, sent });
            }
        }
        self.acknowledge(question.peer, question.link, question.receipt());
    }

    pub(super) fn send_busy(&mut self, question: &Question, why: BusyWhy) {
        self.say_busy(question, why, self.settings.limits.busy_retry);
    }

    fn say_busy(&mut self, question: &Question, why: BusyWhy, retry_after: Duration) {
        if let Item::Pack(arrival) = &question.item {
            self.effects.push_back(Effect::Discard(arrival.staged));
        }
        let (link, sent) = (question.link, question.heading().sent);
        self.effects.push_back(Effect::Busy {
            link,
            sent,
            why,
            retry_after,
        });
    }
}
