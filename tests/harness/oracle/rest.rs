//! At rest: nothing lost, nothing doubled, nothing left open.

use std::collections::BTreeMap;

use relay_core::change::Part;
use relay_core::delivery::StateName;
use relay_core::id::{NodeNo, SegmentId};

use super::Oracle;
use super::books::Seat;
use super::routes::{came_again, kept};
use crate::node::Node;
use crate::scenario::{Plan, node_index};

/// How often each segment of each origin lies in an inbox.
type Inbox = BTreeMap<(usize, SegmentId), u32>;

pub(super) fn judge(oracle: &Oracle, nodes: &[Node], plan: &Plan) {
    let inboxes: Vec<Inbox> = nodes.iter().map(inbox).collect();
    let stored: Vec<Inbox> = nodes.iter().map(kept).collect();
    let again: Vec<_> = nodes.iter().map(|node| came_again(node, plan)).collect();
    for (n, inbox) in inboxes.iter().enumerate() {
        let excused = |origin: usize, id: SegmentId| {
            again[n].contains(&(origin, id)) || lied_about(oracle, nodes, n, id)
        };
        let mut doubles = inbox.iter().filter(|(_, times)| **times > 1);
        let double = doubles.find(|((origin, id), _)| !excused(*origin, *id));
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
        oracle.no_file_left(n, nodes);
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
            let origin = node_index(&disk.nodes[&disk.packs[pack].info.origin]);
            for (body, seat) in members.iter().zip(seats) {
                let whose = (origin, body.id);
                let times = stored[target].get(&whose).copied().unwrap_or(0);
                let refused = plan.refuses(target, body.id);
                let twice =
                    again[target].contains(&whose) || lied_about(oracle, nodes, target, body.id);
                match seat {
                    Seat::Waiting => panic!("[rest] n{n} {pack} waits for n{target}"),
                    // It came home.
                    Seat::Acked if origin == target => {}
                    Seat::Acked if twice => assert!(times > 0),
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

/// Whether `n` once acked a pack of this segment with a wrong digest.
fn lied_about(oracle: &Oracle, nodes: &[Node], n: usize, id: SegmentId) -> bool {
    let senders = nodes.iter().zip(&oracle.watches);
    let mut lies = senders.flat_map(|(node, watch)| watch.lied.iter().map(move |lie| (node, lie)));
    lies.any(|(node, (peer, pack))| {
        let stored = node.disk.packs.get(pack).filter(|_| *peer == n);
        stored.is_some_and(|s| s.content.members.iter().any(|b| b.id == id))
    })
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
