//! Each step: what is parked as poison is poison, within its bound, and says so; what
//! is innocent is left alone.
//!
//! Whoever dies with something in hand is counted here by segment, from the world's
//! own deaths. Two peers that call one member bad are known from their acks.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::change::{Due, OwedRow};
use relay_core::event::Order;
use relay_core::id::{NodeNo, SegmentId};
use relay_core::limits::KEEP_MARKS;
use relay_core::time::Unix;

use super::Oracle;
use crate::node::Node;
use crate::scenario::Plan;

/// Deaths that one segment may cost a node that takes it in.
const TAKING: u64 = 2;

/// What one node died of.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    /// So often, with each of these in hand.
    of: BTreeMap<SegmentId, u64>,
    /// Of these, so often of late; and when last, by its own age clock.
    late: BTreeMap<SegmentId, (u64, Unix)>,
    /// Segments it no longer takes in.
    shunned: BTreeSet<SegmentId>,
    /// Orders that try something again.
    retries: u64,
}

impl Oracle {
    /// Node `n` dies with these in hand.
    pub fn panicked(&mut self, n: usize, ids: &[SegmentId], plan: &Plan, at: Unix) {
        let deaths = &mut self.watches[n].deaths;
        // One naming of the pack, then one for itself; a row of its own at each peer.
        let sending = (2 + plan.nodes as u64) * (1 + deaths.retries);
        for id in ids {
            *deaths.of.entry(*id).or_default() += 1;
            let (count, last) = deaths.late.entry(*id).or_insert((0, at));
            // What was long enough ago is forgotten.
            *count = if *last + KEEP_MARKS <= at {
                1
            } else {
                *count + 1
            };
            *last = at;
            let most = if plan.poison.kills_sender(n, *id) {
                sending
            } else if plan.poison.kills_receiver(n, *id) {
                TAKING
            } else {
                u64::MAX
            };
            let both = plan.poison.kills_sender(n, *id) && plan.poison.kills_receiver(n, *id);
            let most = if both { most + TAKING } else { most };
            assert!(
                *count <= most,
                "[step] n{n} died {count} times of {id}, at most {most}"
            );
        }
    }

    /// Node `n` takes a segment in no more.
    pub(super) fn shun_asked(&mut self, n: usize, id: SegmentId) {
        self.tally.count("poison shunned");
        let deaths = &mut self.watches[n].deaths;
        let count = deaths.of.get(&id).copied().unwrap_or_default();
        assert!(
            count >= TAKING,
            "[step] n{n} shuns {id}, which killed it {count} times"
        );
        deaths.shunned.insert(id);
    }

    /// Whether `n` said that it takes this segment in no more.
    pub(super) fn shuns(&self, n: usize, id: SegmentId) -> bool {
        self.watches[n].deaths.shunned.contains(&id)
    }

    /// An operator wants something tried again.
    pub(super) fn poison_ordered(&mut self, n: usize, order: &Order) {
        if matches!(order, Order::Retry { .. }) {
            self.watches[n].deaths.retries += 1;
        }
    }

    /// Whether a row that is parked as rejected, and that its peer did not refuse, is
    /// poison, and says so.
    pub(super) fn is_poison(&mut self, n: usize, row: &OwedRow, nodes: &[Node]) -> bool {
        let due = row.due;
        let stored = &nodes[n].disk.packs[&due.pack];
        let covered = self.covered(n, due, nodes);
        let [member] = covered[..] else { return false };
        let id = stored.content.members[usize::from(member)].id;
        let said = row.error.as_deref().unwrap_or_default();
        let deaths = &self.watches[n].deaths;
        if said.contains("panics of this daemon") {
            self.tally.count("poison: it killed");
            return deaths.of.get(&id).copied().unwrap_or_default() >= 2;
        }
        if said.starts_with("poison: it fails alike") {
            self.tally.count("poison: two peers");
            let peers: Vec<NodeNo> = self.watches[n].peers.keys().copied().collect();
            let blames = |peer: &&NodeNo| {
                let at = Due {
                    peer: **peer,
                    ..due
                };
                self.blames(n, at, member, nodes)
            };
            return peers.iter().filter(blames).count() >= 2;
        }
        false
    }
}
