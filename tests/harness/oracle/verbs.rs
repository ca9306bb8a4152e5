//! Each step: what an operator was told is true on disk, what is held is not sent,
//! and what the peer may have forgotten is never sent again.

use std::collections::{BTreeMap, BTreeSet};

use relay_core::change::{Due, OwedRow, Part};
use relay_core::delivery::StateName;
use relay_core::event::{Done, Order, OrderId, OrderRefused, Target};
use relay_core::id::{NodeNo, PackNo};

use super::Oracle;
use crate::node::Node;

/// What operators of one node asked of deliveries.
#[derive(Debug, Default)]
pub(super) struct Verbs {
    cancelled: BTreeSet<Due>,
    forced: BTreeSet<Due>,
    /// The latest order that named something of a pack.
    latest: BTreeMap<(NodeNo, PackNo), OrderId>,
    /// Members whose acks the peer may forget, while they are parked here.
    told: BTreeMap<(NodeNo, PackNo), BTreeSet<u16>>,
}

impl Verbs {
    /// Whether a cancel named the row or a member of it.
    pub(super) fn cancels(&self, due: Due) -> bool {
        names(&self.cancelled, due)
    }

    /// Whether a force did.
    pub(super) fn forces(&self, due: Due) -> bool {
        names(&self.forced, due)
    }

    /// The peer may forget its ack of a member that is parked here.
    pub(super) fn tell(&mut self, peer: NodeNo, pack: PackNo, member: u16) {
        self.told.entry((peer, pack)).or_default().insert(member);
    }
}

/// A member that is the last of its pack's rest is named by the rest.
fn names(set: &BTreeSet<Due>, due: Due) -> bool {
    let last = Due {
        part: Part::Rest,
        ..due
    };
    let of_pack = |named: &&Due| (named.peer, named.pack) == (due.peer, due.pack);
    set.contains(&due)
        || set.contains(&last)
        || due.part == Part::Rest && set.iter().any(|named| of_pack(&named))
}

fn targets(order: &Order) -> &[Target] {
    match order {
        Order::Hold(targets)
        | Order::Release(targets)
        | Order::Cancel(targets)
        | Order::Force(targets)
        | Order::Retry { targets, .. }
        | Order::Purge(targets) => targets,
        Order::Bandwidth { .. }
        | Order::LaneBudget { .. }
        | Order::Pause { .. }
        | Order::Resume(_)
        | Order::Kick(_)
        | Order::Drop(_)
        | Order::Configure { .. }
        | Order::PruneAudit { .. }
        | Order::Note(_) => &[],
    }
}

impl Oracle {
    /// An operator of `n` orders something about deliveries.
    pub(super) fn verb_given(&mut self, n: usize, id: OrderId, order: &Order) {
        let watch = &mut self.watches[n];
        for target in targets(order) {
            let due = target.due;
            watch.named.insert(due);
            watch.verbs.latest.insert((due.peer, due.pack), id);
            match order {
                Order::Cancel(_) => drop(watch.verbs.cancelled.insert(due)),
                Order::Force(_) => drop(watch.verbs.forced.insert(due)),
                Order::Hold(_)
                | Order::Release(_)
                | Order::Retry { .. }
                | Order::Purge(_)
                | Order::Bandwidth { .. }
                | Order::LaneBudget { .. }
                | Order::Pause { .. }
                | Order::Resume(_)
                | Order::Kick(_)
                | Order::Drop(_)
                | Order::Configure { .. }
                | Order::PruneAudit { .. }
                | Order::Note(_) => {}
            }
        }
    }

    /// What was done to each target is on disk, unless a later order undid it.
    pub(super) fn verb_answered(
        &mut self,
        n: usize,
        id: OrderId,
        (order, done): (&Order, &Done),
        nodes: &[Node],
    ) {
        for target in targets(order) {
            let due = target.due;
            if let Some((_, why)) = done.refused.iter().find(|(refused, _)| *refused == due) {
                self.tally.count(match why {
                    OrderRefused::NotFound => "target not found",
                    OrderRefused::Cause(_) => "target expired",
                    OrderRefused::Unreadable => "target unreadable",
                    OrderRefused::UnknownPeer(_)
                    | OrderRefused::UnknownLane(_)
                    | OrderRefused::WrongState(_)
                    | OrderRefused::Evicted
                    | OrderRefused::StillConfigured(_)
                    | OrderRefused::Malformed(_)
                    | OrderRefused::Draining => "target refused",
                });
                continue;
            }
            if self.watches[n].verbs.latest[&(due.peer, due.pack)] != id {
                continue;
            }
            let own = nodes[n].disk.owed.contains_key(&due);
            let split = match due.part {
                Part::Member(m) => nodes[n].disk.except(due.peer, due.pack).contains(&m),
                Part::Rest => true,
            };
            let rest = Due {
                part: Part::Rest,
                ..due
            };
            let whose = if own || split { due } else { rest };
            let row = nodes[n].disk.owed.get(&whose);
            if own && due.part != Part::Rest {
                self.tally.count("member ordered alone");
            }
            let state = row.map(|row| row.state.name());
            let over = state.is_none_or(StateName::is_terminal);
            let held = |row: Option<&OwedRow>| row.is_some_and(|row| row.held);
            let parked = matches!(state, Some(StateName::Deadletter) | None);
            let holds = match order {
                Order::Hold(_) => over || held(row),
                Order::Release(_) => !held(row),
                Order::Cancel(_) | Order::Force(_) => parked,
                Order::Purge(_) => row.is_none(),
                // Put back to work, it may not be needed any more.
                Order::Retry { .. } => {
                    row.is_some() || self.watches[n].spared.contains(&whose) || self.purges(n, due)
                }
                Order::Bandwidth { .. }
                | Order::LaneBudget { .. }
                | Order::Pause { .. }
                | Order::Resume(_)
                | Order::Kick(_)
                | Order::Drop(_)
                | Order::Configure { .. }
                | Order::PruneAudit { .. }
                | Order::Note(_) => true,
            };
            assert!(
                holds,
                "[step] n{n} says {order:?} is done ({done:?}), {due:?} is {row:?}"
            );
        }
    }

    /// Whether an order that was not answered yet removes it.
    fn purges(&self, n: usize, due: Due) -> bool {
        let names = |order: &Order| matches!(order, Order::Purge(all) if all.iter().any(|target| target.due == due));
        self.watches[n].orders.values().any(names)
    }

    /// What goes out is not held, and not known to the peer.
    pub(super) fn verb_send(&self, n: usize, due: Due, nodes: &[Node]) {
        let watch = &self.watches[n];
        let row = watch.asked.get(&due);
        assert!(
            !row.is_some_and(|row| row.held),
            "[step] n{n} sends {due:?}, which is held"
        );
        let Some(told) = watch.verbs.told.get(&(due.peer, due.pack)) else {
            return;
        };
        let again = self.covered(n, due, nodes);
        let again: Vec<_> = again.iter().filter(|m| told.contains(m)).collect();
        assert!(
            again.is_empty(),
            "[step] n{n} sends {due:?}, of which the peer acked {again:?} and may forget it"
        );
    }

    /// Nothing that runs leaves what has expired waiting for long: a second, and
    /// what disks take that are slow.
    pub fn judge_expiry(&mut self, n: usize, node: &Node, now: u64) {
        const BOUND: u64 = 90_000;
        let clock = node.clock(now);
        if clock.mono.0 / 1_000 < BOUND || self.read_ill(n) {
            return;
        }
        let waits = |row: &&OwedRow| {
            row.due.peer != NodeNo::LOCAL
                && matches!(row.state.name(), StateName::Scheduled | StateName::Failed)
                && row.expires.is_some_and(|at| at.0 + BOUND < clock.unix.0)
        };
        let late = node.disk.owed.values().find(waits);
        assert!(
            late.is_none(),
            "[step] n{n} keeps {late:?} at {:?}",
            clock.unix
        );
    }
}
