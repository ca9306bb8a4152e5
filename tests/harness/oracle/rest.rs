//! At rest: nothing lost, nothing doubled, nothing left open.

use std::collections::BTreeMap;

use relay_core::change::Part;
use relay_core::delivery::StateName;
use relay_core::id::{NodeNo, SegmentId};

use super::Oracle;
use super::books::Seat;
use crate::node::Node;
use crate::scenario::{Plan, node_index};

/// How often each segment of each origin lies in an inbox.
type Inbox = BTreeMap<(usize, SegmentId), u32>;

pub(super) fn judge(oracle: &Oracle, nodes: &[Node], plan: &Plan) {
    let inboxes: Vec<Inbox> = nodes.iter().map(inbox).collect();
    for (n, inbox) in inboxes.iter().enumerate() {
        let mut doubles = inbox.iter().filter(|(_, times)| **times > 1);
        let double = doubles.find(|((origin, id), _)| !lied_about(oracle, nodes, *origin, n, *id));
        assert!(
            double.is_none(),
            "[rest] n{n} holds {double:?} in its inbox"
        );
    }
    for (n, watch) in oracle.watches.iter().enumerate() {
        let open = watch.puts.keys().next();
        assert!(open.is_none(), "[rest] n{n} never answered {open:?}");
        oracle.no_order_open(n);
        oracle.no_partial_left(n, nodes);
        oracle.conditions_are_met(n, &nodes[n]);
        let disk = &nodes[n].disk;
        for row in disk
            .owed
            .values()
            .filter(|row| row.due.peer != NodeNo::LOCAL)
        {
            assert!(
                row.state.name() != StateName::Inflight,
                "[rest] n{n} {row:?}"
            );
        }
        for ((peer, pack), seats) in &watch.seats {
            let target = node_index(&disk.nodes[peer]);
            let members = &disk.packs[pack].content.members;
            for (body, seat) in members.iter().zip(seats) {
                let times = inboxes[target].get(&(n, body.id)).copied().unwrap_or(0);
                let refused = plan.refuses(target, body.id);
                match seat {
                    Seat::Waiting => panic!("[rest] n{n} {pack} waits for n{target}"),
                    Seat::Acked if watch.lied.contains(&(target, *pack)) => assert!(times > 0),
                    Seat::Acked => {
                        assert_eq!(times, 1, "[rest] n{n} {} is acked by n{target}", body.id)
                    }
                    Seat::Deadletter | Seat::Purged | Seat::NotNeeded => {}
                }
                assert!(
                    !refused || times == 0,
                    "[rest] n{target} took {}, which it refuses",
                    body.id
                );
            }
        }
    }
}

/// Whether `n` once acked the pack of this segment with a wrong digest.
fn lied_about(oracle: &Oracle, nodes: &[Node], origin: usize, n: usize, id: SegmentId) -> bool {
    let packs = &nodes[origin].disk.packs;
    let lied = &oracle.watches[origin].lied;
    let of = |pack| {
        packs
            .get(pack)
            .is_some_and(|s| s.content.members.iter().any(|b| b.id == id))
    };
    lied.iter().any(|(peer, pack)| *peer == n && of(pack))
}

fn inbox(node: &Node) -> Inbox {
    let mut inbox = Inbox::new();
    let disk = &node.disk;
    for row in disk
        .owed
        .values()
        .filter(|row| row.due.peer == NodeNo::LOCAL)
    {
        let stored = &disk.packs[&row.due.pack];
        let origin = node_index(&disk.nodes[&stored.info.origin]);
        let split = disk.except(NodeNo::LOCAL, row.due.pack);
        for (index, body) in (0u16..).zip(&stored.content.members) {
            let covered = match row.due.part {
                Part::Rest => !split.contains(&index),
                Part::Member(own) => own == index,
            };
            *inbox.entry((origin, body.id)).or_default() += u32::from(covered);
        }
    }
    inbox
}
