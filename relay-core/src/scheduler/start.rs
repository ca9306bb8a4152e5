//! Taking up what earlier runs left: names, peers, and how much waits where.

use std::collections::BTreeSet;

use super::{PeerRule, Scheduler};
use crate::bandwidth::Bucket;
use crate::change::{Change, Snapshot};
use crate::delivery::StateName;
use crate::id::{LaneName, LaneNo, NodeId, NodeNo};
use crate::peer::Peer;
use crate::segment::{Class, LaneRule};
use crate::setting::Setting;
use crate::time::Now;
use crate::units::Rate;

/// A lane a peer names and we do not: ordinary.
const UNKNOWN_LANE: LaneRule = LaneRule {
    class: match Class::new(4) {
        Some(class) => class,
        None => panic!(),
    },
    weight: 1,
    budget: 8,
};

impl Scheduler {
    pub(super) fn lane_rule(&self, no: LaneNo) -> LaneRule {
        let name = self.lanes.name(no);
        name.and_then(|name| self.settings.lanes.get(name))
            .copied()
            .unwrap_or(UNKNOWN_LANE)
    }

    /// The number of a lane, given now if it has none; `None`: the table is full.
    pub(super) fn lane_number(&mut self, name: &LaneName) -> Option<LaneNo> {
        if let Some(no) = self.lanes.number(name) {
            return Some(no);
        }
        let no = self.lanes.add(name, |given| LaneNo(given as u16 + 1))?;
        self.batch.push(Change::Lane(no, name.clone()));
        self.note_lane_limits(no);
        Some(no)
    }

    /// The number of a node, given now if it has none; `None`: the table is full.
    pub(super) fn node_number(&mut self, name: &NodeId) -> Option<NodeNo> {
        if let Some(no) = self.nodes.number(name) {
            return Some(no);
        }
        let no = self.nodes.add(name, |given| NodeNo(given as u32))?;
        self.batch.push(Change::Node(no, name.clone()));
        Some(no)
    }

    /// Takes up what earlier runs left: names, peers, and how much waits where.
    pub(super) fn take_up(&mut self, snapshot: &Snapshot, now: Now) {
        assert_eq!(
            self.nodes.name(NodeNo::LOCAL),
            Some(&self.settings.node),
            "number 0 is this node"
        );
        let configured: Vec<(NodeId, PeerRule)> = self
            .settings
            .peers
            .iter()
            .map(|(name, rule)| (name.clone(), *rule))
            .collect();
        for (name, rule) in configured {
            let no = self
                .node_number(&name)
                .expect("the config names fewer nodes than the table holds");
            let bucket = Bucket::new(rule.rate, now.mono);
            let mut peer = Peer::new(no, name, bucket, now.mono);
            (peer.configured, peer.dial, peer.lets_go) = (true, rule.dial, rule.lets_go);
            self.peers.insert(no, peer);
        }
        for (no, lane, state, depth) in &snapshot.depths {
            if *no == NodeNo::LOCAL {
                continue;
            }
            let rule = self.lane_rule(*lane);
            let peer = self.peer_entry(*no, now);
            let lane_state = peer.lane(*lane, rule, now.mono);
            if matches!(state, StateName::Scheduled | StateName::Failed) {
                lane_state.unloaded += depth.parcels;
            }
            peer.depth.insert((*lane, *state), *depth);
        }
        let mut shelved = BTreeSet::new();
        for row in &snapshot.shelved {
            let rule = self.lane_rule(row.lane);
            let lane = self
                .peer_entry(row.peer, now)
                .lane(row.lane, rule, now.mono);
            lane.unloaded = lane.unloaded.saturating_sub(row.depth.parcels);
            shelved.insert(row.peer);
        }
        self.stuck.rows = snapshot.stuck;
        // The ceiling may be another one than before.
        self.stuck.room_back = snapshot.stuck > 0;
        if let Some(at) = snapshot.expires {
            self.note_expiry(now, at);
        }
        for (no, count) in &snapshot.unsettled {
            self.peer_entry(*no, now).unsettled.unread = *count;
        }
        self.apply_limits(now);
        self.seek_poison();
        for no in shelved {
            self.walk(no, true);
        }
        self.resume_dropping(now, snapshot);
    }

    /// The peer, made without a place in the config if it has none.
    pub(super) fn peer_entry(&mut self, no: NodeNo, now: Now) -> &mut Peer {
        if !self.peers.contains_key(&no) {
            let name = self.nodes.name(no).expect("a numbered node has a name");
            let rate = Rate(self.bound(Setting::Rate(Some(no))).value);
            let bucket = Bucket::new(rate, now.mono);
            let peer = Peer::new(no, name.clone(), bucket, now.mono);
            self.peers.insert(no, peer);
            self.note_peer_limits(no);
            self.look_at_limits(now);
        }
        self.peer_mut(no)
    }
}
