//! Each step: a segment stands in its lane where its origin put it, whichever way it
//! came and whatever left its pack on the way.

use std::collections::BTreeMap;

use relay_core::change::Change;
use relay_core::id::{NodeNo, PackNo, SegmentId, Sequence, StagedId};
use relay_core::segment::PackInfo;

use super::Oracle;
use crate::node::Node;

/// By origin and id, where the origin has it: its pack, and the how manieth of that.
pub(super) type Places = BTreeMap<(usize, SegmentId), (PackNo, u64)>;

impl Oracle {
    /// Learns where the packs that `n` puts have their members.
    pub(super) fn places_asked(&mut self, n: usize, changes: &[Change], nodes: &[Node]) {
        for change in changes {
            if let Change::Pack { no, staged, info } = change
                && info.origin == NodeNo::LOCAL
            {
                let members = &nodes[n].staged[staged].members;
                for (nth, body) in (0..).zip(members) {
                    self.places.insert((n, body.id), (*no, nth));
                }
            }
        }
    }

    /// What came from `from` and is filed at `n` says where its origin has it.
    pub(super) fn judge_places(
        &mut self,
        n: usize,
        from: usize,
        (staged, info): (StagedId, &PackInfo),
        nodes: &[Node],
    ) {
        let peers = &self.watches[n].peers;
        let (origin, via) = (peers[&info.origin], peers[&info.via]);
        assert_eq!(via, from, "[step] n{n} files what came from n{from}");
        let members = &nodes[n].staged[&staged].members;
        for body in members {
            let (pack, nth) = self.places[&(origin, body.id)];
            assert_eq!(
                info.sequence.at(info.first, body.id),
                Sequence(Sequence::of(pack).0 + nth),
                "[step] n{n} {}: member {nth} of {pack} of n{origin}, heard from n{from}",
                body.id
            );
        }
        if from != origin && !info.sequence.0.is_multiple_of(1 << 10) {
            self.tally.count("forwarded from the middle of a pack");
        }
    }
}
