//! Each step: what arrives goes where the routes say, told a second time and more
//! plainly ([`crate::scenario::routes`]). At rest: who acked something has it once.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::aim::To;
use relay_core::change::{Change, Nack, OwedRow, ReceiptRow};
use relay_core::event::{Ack, Put};
use relay_core::id::{NodeNo, PackNo, ReceiptNo, SegmentId, StagedId};
use relay_core::route::Routing;
use relay_core::segment::PackInfo;

use super::Oracle;
use crate::node::Node;
use crate::scenario::routes::{Way, first, may_bring, onward, topic_of, way};
use crate::scenario::{Plan, node_index, node_name};

impl Oracle {
    /// What arrived is filed: each pack goes one way, and it is the right one.
    pub(super) fn arrival_asked(&mut self, n: usize, changes: &[Change], nodes: &[Node]) {
        let Some(receipt) = changes.iter().find_map(receipt_of) else {
            return;
        };
        let watch = &self.watches[n];
        let from = watch.peers[&receipt.peer];
        let packs = changes.iter().filter(|c| matches!(c, Change::Pack { .. }));
        if packs.count() > 1 {
            self.tally.count("filed as several");
        }
        for change in changes {
            if let Change::Pack { no, staged, info } = change {
                let rows = changes.iter().filter_map(row_of);
                let rows: Vec<&OwedRow> = rows.filter(|row| row.due.pack == *no).collect();
                self.judge_way(n, from, (*no, *staged, info), &rows, nodes);
                self.judge_places(n, from, (*staged, info), nodes);
            }
        }
    }

    fn judge_way(
        &mut self,
        n: usize,
        from: usize,
        (no, staged, info): (PackNo, StagedId, &PackInfo),
        rows: &[&OwedRow],
        nodes: &[Node],
    ) {
        let watch = &self.watches[n];
        let origin = watch.peers[&info.origin];
        let none = Routing::default();
        let routing = self.routing.get(n).unwrap_or(&none);
        assert!(
            may_bring(routing, from, origin) && origin != n,
            "[step] n{n} takes what n{origin} put from n{from}"
        );
        assert!(
            info.hops <= self.limits.hops,
            "[step] n{n} takes {no} after {} relays",
            info.hops
        );
        let lane = &watch.lanes[&info.lane];
        let gone: Vec<usize> = nodes[n].removed.iter().copied().collect();
        let members = &nodes[n].staged[&staged].members;
        let ways: Vec<Way> = members
            .iter()
            .map(|body| {
                let topic = topic_of(body.id);
                onward(routing, (topic.as_ref(), lane, origin), from, &gone)
            })
            .collect();
        for wanted in &ways {
            let told = told(rows, members.len());
            let named: Vec<usize> = told.0.iter().map(|no| watch.peers[no]).collect();
            assert_eq!(
                (&named, told.1, told.2),
                (&wanted.peers, wanted.need, wanted.local),
                "[step] n{n} files {no} from n{from}, put by n{origin}: peers, how many must, the inbox"
            );
        }
        let Some(wanted) = ways.first() else { return };
        self.tally.count(match (wanted.peers.len(), wanted.local) {
            (0, _) => "filed here",
            (_, true) => "filed here and onward",
            (_, false) => "filed onward",
        });
        if from != origin && !wanted.peers.is_empty() {
            self.tally.count("forwarded twice");
        }
    }

    /// Counts what an ack says about the way of what came.
    pub(super) fn count_ack(&mut self, n: usize, sender: usize, origin: usize, ack: &Ack) {
        let said = |wanted| ack.refused.iter().any(|(_, nack)| *nack == wanted);
        let none = Routing::default();
        let routing = self.routing.get(n).unwrap_or(&none);
        let known = ack.receipt == ReceiptNo(0) && ack.refused.is_empty() && sender != origin;
        if said(Nack::HopLimit) {
            self.tally.count("refused: hop limit");
        } else if !may_bring(routing, sender, origin) && origin != n {
            assert!(
                ack.refused.len() as u32 == ack.count,
                "[step] n{n} lets n{sender} speak for n{origin}"
            );
            self.tally.count("refused: speaks for another");
        } else if origin == n {
            self.tally.count("came home");
        } else if known {
            self.tally.count("known by another way");
        }
    }

    /// Whether `peer` refuses for good what `n` hands it, whatever it is.
    pub(super) fn turns_away(
        &self,
        peer: usize,
        n: usize,
        info: &PackInfo,
        nodes: &[Node],
    ) -> bool {
        let none = Routing::default();
        let routing = self.routing.get(peer).unwrap_or(&none);
        let origin = node_index(&nodes[n].disk.nodes[&info.origin]);
        let far = info.hops >= self.limits.hops;
        origin != peer && (far || !may_bring(routing, n, origin))
    }

    /// To whom a put goes that was accepted.
    pub(super) fn way_of(&self, n: usize, put: &Put) -> Way {
        let none = Routing::default();
        let routing = self.routing.get(n).unwrap_or(&none);
        let To {
            peers,
            route,
            topic,
            success,
        } = &*put.to;
        let named = route.as_ref().map(|name| {
            routing
                .named(name)
                .expect("[step] an accepted put has a route")
        });
        let found = match (named, peers.is_empty()) {
            (None, true) => first(routing, topic.as_ref(), &put.lane, &node_name(n)),
            (named, _) => named,
        };
        let mut found = match found {
            Some(route) => way(route, &[]),
            None => {
                let mut once: Vec<usize> = Vec::new();
                for peer in peers.iter().map(node_index) {
                    if !once.contains(&peer) {
                        once.push(peer);
                    }
                }
                let need = self.success.needs(once.len()).min(once.len());
                Way {
                    peers: once,
                    need,
                    local: false,
                }
            }
        };
        if let Some(asked) = success {
            found.need = asked.needs(found.peers.len());
        }
        found
    }
}

/// What the first rows of a pack say: to whom in order, how many must have it, and
/// whether it is in the inbox.
fn told(rows: &[&OwedRow], members: usize) -> (Vec<NodeNo>, usize, bool) {
    let local = rows.iter().any(|row| row.due.peer == NodeNo::LOCAL);
    let mut others: Vec<&&OwedRow> = rows
        .iter()
        .filter(|row| row.due.peer != NodeNo::LOCAL)
        .collect();
    others.sort_by_key(|row| row.place.map(|place| place.rank));
    let need = others.first().map_or(0, |row| match row.place {
        Some(place) => {
            assert_eq!(members, 1, "[step] {row:?} has a place and many members");
            usize::from(place.need)
        }
        None => others.len(),
    });
    (others.iter().map(|row| row.due.peer).collect(), need, local)
}

fn receipt_of(change: &Change) -> Option<&ReceiptRow> {
    if let Change::Receipt(row) = change {
        Some(row)
    } else {
        None
    }
}

fn row_of(change: &Change) -> Option<&OwedRow> {
    if let Change::Owed(row) = change {
        Some(row)
    } else {
        None
    }
}

/// How often each segment of each origin is kept at a node, in packs that came.
pub(super) fn kept(node: &Node) -> BTreeMap<(usize, SegmentId), u32> {
    let mut kept = BTreeMap::new();
    let came = node.disk.packs.values();
    for stored in came.filter(|stored| stored.info.origin != NodeNo::LOCAL) {
        let origin = node_index(&node.disk.nodes[&stored.info.origin]);
        for body in &stored.content.members {
            *kept.entry((origin, body.id)).or_default() += 1;
        }
    }
    kept
}

/// What came to a node again after its marks had gone, where there are ways round:
/// by one way then, by another now (semantics 2.5 leaves that uncovered).
pub(super) fn came_again(node: &Node, plan: &Plan) -> BTreeSet<(usize, SegmentId)> {
    let again = node.disk.again.iter().filter(|_| !plan.routing.is_empty());
    again
        .map(|(origin, id)| (node_index(&node.disk.nodes[origin]), *id))
        .collect()
}
