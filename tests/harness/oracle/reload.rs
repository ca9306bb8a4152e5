//! A config that is read again: what holds from that step on, and what stays.

use std::collections::BTreeMap;

use relay_core::backoff::Backoff;
use relay_core::event::{Configured, Order};
use relay_core::id::LaneName;
use relay_core::segment::LaneRule;
use relay_core::units::Rate;

use super::Oracle;
use super::truth::Key;
use crate::node::Node;
use crate::scenario::node_index;

/// What the config of a node says of lanes and failures.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) lanes: BTreeMap<LaneName, LaneRule>,
    pub(super) retry: Option<Backoff>,
    /// The largest budget that each lane ever had.
    pub(super) most: BTreeMap<LaneName, u32>,
}

impl Rules {
    fn note(&mut self) {
        for (name, rule) in &self.lanes {
            let most = self.most.entry(name.clone()).or_default();
            *most = (*most).max(rule.budget);
        }
    }
}

impl Oracle {
    /// Node `n` starts with what its config says.
    pub(super) fn rules_started(&mut self, n: usize, nodes: &[Node]) {
        let rules = &mut self.watches[n].rules;
        rules.lanes = nodes[n].lanes.clone();
        rules.retry = Some(nodes[n].retry);
        rules.note();
    }

    /// The config of `n` is read again.
    pub(super) fn reload_given(&mut self, n: usize, order: &Order) {
        let Order::Configure { new, .. } = order else {
            return;
        };
        let new: &Configured = new;
        let before: BTreeMap<Key, u64> = self.rates_of(n);
        let watch_rules = &mut self.watches[n].rules;
        watch_rules.retry = Some(new.retry);
        for (name, (rule, _)) in &new.lanes {
            watch_rules.lanes.insert(name.clone(), *rule);
        }
        watch_rules.note();
        let truth = &mut self.watches[n].truth;
        truth.rate = new.node.rate;
        truth.config.quota = new.node.quota;
        for (name, band) in &new.peers {
            truth.rates.insert(node_index(name), band.rate);
            let own = truth.config.peers.entry(name.clone()).or_default();
            own.quota = band.quota;
        }
        for (name, (_, bytes)) in &new.lanes {
            truth.config.lane_bytes.insert(name.clone(), *bytes);
        }
        let after = self.rates_of(n);
        let now = self.now;
        for (key, rate) in after {
            if let (Key::Rate(peer), true) = (&key, before.get(&key) != Some(&rate)) {
                self.rate_set(n, *peer, Rate(rate), now);
            }
        }
        self.classes_changed(n);
        self.ingest_set(n, new.ingest);
    }

    fn rates_of(&self, n: usize) -> BTreeMap<Key, u64> {
        let truth = &self.watches[n].truth;
        let peers = truth.rates.keys().map(|peer| Key::Rate(Some(*peer)));
        let all = peers.chain([Key::Rate(None)]);
        all.map(|key| {
            let rate = truth.holds(&key);
            (key, rate)
        })
        .collect()
    }
}
