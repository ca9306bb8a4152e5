//! Nodes that panic: what was in hand is written down as the process dies, and handed
//! in when it starts again.

use relay_core::event::{Effect, Input};
use relay_core::id::SegmentId;
use relay_core::poison::{Panic, Touched};

use super::{Event, World};
use crate::scenario::SECOND;

/// Panics that the file keeps.
const KEPT: usize = 4;

impl World {
    /// Node `n` dies with `touched` in hand, which is these segments.
    pub fn panics(&mut self, n: usize, touched: Touched, ids: &[SegmentId]) {
        let node = &mut self.nodes[n];
        if std::mem::replace(&mut node.panicking, true) {
            return;
        }
        self.tally.count("fault: panic");
        let at = node.clock(self.now).unix;
        let panic = Panic {
            epoch: node.disk.epoch,
            at,
            touched: Some(touched),
            said: "it was poison".to_owned(),
        };
        node.panics.push(panic);
        let beyond = node.panics.len().saturating_sub(KEPT);
        node.panics.drain(..beyond);
        let run = node.run;
        self.note(&format!("n{n} panics with {touched:?} in hand"));
        self.oracle.panicked(n, ids, &self.plan, at);
        self.after(0, Event::Panic(n, run));
    }

    /// The process is gone; it starts again soon.
    pub(super) fn die_of_panic(&mut self, n: usize) {
        let time = self.dice.spread(1_000, SECOND);
        self.crash_for(n, true, time);
    }

    /// What earlier runs died of is the first a run hears of.
    pub fn hand_in_panics(&mut self, n: usize) {
        self.nodes[n].panicking = false;
        self.nodes[n].shunned.clear();
        let panics = self.nodes[n].panics.clone();
        if !panics.is_empty() {
            self.hear(n, Input::Panicked(panics));
        }
    }

    /// Whether `n` dies as it performs `effect`, which sends these segments.
    pub fn dies_sending(&mut self, n: usize, effect: &Effect, ids: &[SegmentId]) -> bool {
        let poison = |id: &SegmentId| self.plan.poison.kills_sender(n, *id);
        let dies = ids.iter().any(poison);
        if let Some(touched) = Touched::by_effect(effect).filter(|_| dies) {
            self.panics(n, touched, ids);
        }
        dies
    }

    /// Whether `n` dies as these segments arrive; the first that kills is named.
    pub fn dies_taking(&mut self, n: usize, ids: &[SegmentId]) -> bool {
        let shunned = &self.nodes[n].shunned;
        let kills =
            |id: &&SegmentId| !shunned.contains(id) && self.plan.poison.kills_receiver(n, **id);
        let Some(id) = ids.iter().find(kills).copied() else {
            return false;
        };
        self.panics(n, Touched::Arriving(id), &[id]);
        true
    }
}
