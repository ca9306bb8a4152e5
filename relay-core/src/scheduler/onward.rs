//! What arrives and goes on: each member takes the first route that matches it.
//!
//! A pack is stored as it came where all of its members go the same way; otherwise it
//! is divided into one pack for each way, and where fewer than all peers of a route
//! must have it, into packs of one. Nothing goes back to the peer it came from, nor
//! to its origin. What no route takes, or has nobody left to go to, is for the inbox.

use smallvec::SmallVec;

use super::Scheduler;
use super::binding::Bound;
use super::question::{Item, Question};
use crate::event::{Effect, Ids, Shape};
use crate::id::{NodeId, NodeNo, PartialNo, StagedId};
use crate::route::Route;
use crate::segment::Topic;
use crate::time::Now;

impl Scheduler {
    /// Has the members `keep` of an arrival stored, as one pack or as several.
    pub(super) fn file(
        &mut self,
        now: Now,
        mut question: Question,
        keep: &[u16],
        (ids, partial): (Option<Ids>, Option<PartialNo>),
    ) {
        let Item::Pack(arrival) = &question.item else {
            unreachable!("only what is here is stored")
        };
        let (staged, shape) = (arrival.staged, arrival.shape);
        let ways = self.ways(&question, keep);
        if let [(_, bound)] = &ways[..]
            && keep.len() == shape.count as usize
        {
            let parts = [(staged, shape, bound.clone())];
            return self.store_arrival(now, question, (ids, partial), &parts);
        }
        // What begins as a partial is one segment, and goes one way.
        self.partial_gone(partial);
        if ids.is_none() {
            // Until it is stored nothing else tells that it came.
            let ids = question.ids().clone();
            self.arrivals.hold(question.origin, &ids);
        }
        let (parts, bounds) = ways.into_iter().unzip();
        question.ways = bounds;
        self.questions += 1;
        let number = self.questions;
        self.effects.push_back(Effect::Divide {
            question: number,
            staged,
            shape,
            parts,
        });
        self.arrivals.open.insert(number, question);
    }

    /// The packs of what was to be divided are here.
    pub(super) fn on_divided(&mut self, now: Now, number: u64, parts: Vec<(StagedId, Shape)>) {
        if self.on_put_divided(now, number, &parts) {
            return;
        }
        let discards = |parts: &[(StagedId, Shape)]| -> Vec<Effect> {
            let staged = parts.iter().map(|(staged, _)| Effect::Discard(*staged));
            staged.collect()
        };
        let Some(mut question) = self.arrivals.open.remove(&number) else {
            return self.effects.extend(discards(&parts));
        };
        let ids = question.ids().clone();
        if self.peer_on(question.link) != Some(question.peer) {
            self.effects.extend(discards(&parts));
            self.arrivals.release(question.origin, &ids);
            return self.pump_arrivals();
        }
        let bounds = std::mem::take(&mut question.ways);
        let parts = parts.into_iter().zip(bounds);
        let parts = parts.map(|((staged, shape), bound)| (staged, shape, bound));
        let parts: Vec<_> = parts.collect();
        self.store_arrival(now, question, (Some(ids), None), &parts);
    }

    /// Which members go which way, in the order of the first of each.
    fn ways(&self, question: &Question, keep: &[u16]) -> Vec<(Vec<u16>, Bound)> {
        let Item::Pack(arrival) = &question.item else {
            return Vec::new();
        };
        let origin = self
            .nodes
            .name(question.origin)
            .expect("a numbered node has a name");
        let mut ways: Vec<(Option<&Route>, Vec<u16>)> = Vec::new();
        for member in keep {
            let topic = arrival.topics.get(usize::from(*member));
            let topic: Option<&Topic> = topic.and_then(Option::as_ref);
            let routing = &self.settings.routing;
            let route = routing.first(topic, &arrival.heading.lane, origin);
            let same = |other: &Option<&Route>| other.map(|r| &r.name) == route.map(|r| &r.name);
            match ways.iter_mut().find(|(other, _)| same(other)) {
                Some((_, members)) => members.push(*member),
                None => ways.push((route, vec![*member])),
            }
        }
        let mut packs = Vec::with_capacity(ways.len());
        for (route, members) in ways {
            let bound = self.bind_onward(question, route);
            if bound.is_partial() {
                let single = |member| (vec![member], bound.clone());
                packs.extend(members.into_iter().map(single));
            } else {
                packs.push((members, bound));
            }
        }
        packs
    }

    fn bind_onward(&self, question: &Question, route: Option<&Route>) -> Bound {
        let mut bound = Bound {
            lane: question.lane,
            peers: SmallVec::new(),
            need: 0,
            local: true,
        };
        let Some(route) = route else { return bound };
        let onward = |no: &NodeNo| *no != question.peer && *no != question.origin;
        let named = self.numbered(&route.peers).filter(onward);
        bound.peers = named.filter(|no| self.peers[no].configured).collect();
        let named = bound.peers.len();
        bound.need = route.success.needs(named).min(named);
        bound.local = route.local || bound.peers.is_empty();
        bound
    }

    /// The peers of these names that have a place in the table, each once.
    pub(super) fn numbered<'a>(&'a self, names: &'a [NodeId]) -> impl Iterator<Item = NodeNo> + 'a {
        let first = |at: usize| !names[..at].contains(&names[at]);
        let once = names.iter().enumerate().filter(move |(at, _)| first(*at));
        let known = once.filter_map(|(_, name)| self.nodes.number(name));
        known.filter(|no| self.peers.contains_key(no))
    }
}
