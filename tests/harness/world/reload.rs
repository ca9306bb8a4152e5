//! A config that is read again while its node runs, carried out.

use std::collections::BTreeMap;

use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::event::{Band, Caller, Configured, Order};

use super::World;
use crate::scenario::reload::{ReloadAct, rate, retry, rule};
use crate::scenario::{ingest, node_name};
use crate::seeds::Dice;

impl World {
    pub(super) fn reload_act(&mut self, act: ReloadAct) {
        let n = act.node;
        if self.nodes[n].scheduler.is_none() {
            return;
        }
        self.tally.count("verb: config reload");
        self.redraw(n, act.seed);
        let at = self.nodes[n].clock(self.now).wall;
        let event = AuditEvent::ConfigReloaded;
        let name = node_name(n).to_string();
        let order = Order::Configure {
            new: Box::new(self.nodes[n].configured()),
            audit: Box::new(AuditRecord::by(
                &Caller::default(),
                at,
                event,
                "config",
                name,
            )),
        };
        self.order(n, order);
    }

    /// The config file of `n` says something else from here on.
    fn redraw(&mut self, n: usize, seed: u64) {
        let dice = &mut Dice::new(seed);
        let limits_intake = !self.plan.ingest.is_empty();
        let (slow, limited) = (self.plan.small_only, self.plan.limiting.on);
        let peers: Vec<usize> = self.plan.peers(n).collect();
        let node = &mut self.nodes[n];
        if dice.chance(500) {
            node.rate = rate(dice, slow);
        }
        for peer in peers {
            if dice.chance(300) {
                node.peer_rates.insert(peer, rate(dice, slow));
            }
            if limited && dice.chance(300) {
                let own = node.bounds.peers.entry(node_name(peer)).or_default();
                own.quota = dice.spread(20_000, 5_000_000);
            }
        }
        if limited && dice.chance(300) {
            node.bounds.quota = dice.spread(20_000, 5_000_000);
        }
        for (name, held) in &mut node.lanes {
            let before = *held;
            *held = rule(dice, name, before);
            if held.class != before.class {
                self.tally.count("lane changes its class");
            }
            if limited && name.as_str() != "control" && dice.chance(200) {
                let bytes = dice.spread(5_000, 500_000);
                node.bounds.lane_bytes.insert(name.clone(), bytes);
            }
        }
        if dice.chance(500) {
            node.retry = retry(dice);
        }
        node.note_rates();
        if limits_intake {
            node.bounds.ingest = ingest::redraw(seed, slow);
        }
    }
}

impl crate::node::Node {
    /// What of its config holds at once when it is read again.
    #[must_use]
    pub fn configured(&self) -> Configured {
        let bounds = self.config_bounds();
        let rates = self.config_rates();
        let mut peers: BTreeMap<_, Band> = BTreeMap::new();
        for (peer, rate) in &rates {
            peers.entry(node_name(*peer)).or_default().rate = *rate;
        }
        for (name, own) in &bounds.peers {
            peers.entry(name.clone()).or_default().quota = own.quota;
        }
        let lanes = self.lanes.iter().map(|(name, rule)| {
            let bytes = bounds.lane_bytes.get(name).copied().unwrap_or(0);
            (name.clone(), (*rule, bytes))
        });
        Configured {
            node: Band {
                rate: self.rate,
                quota: bounds.quota,
            },
            peers,
            any: Band::default(),
            lanes: lanes.collect(),
            retry: self.retry,
            ingest: self.config_bounds().ingest,
        }
    }

    /// The slowest rate that ever held here.
    pub fn note_rates(&mut self) {
        let rates = self.peer_rates.values().chain([&self.rate]);
        let slowest = rates.filter(|rate| !rate.is_unlimited()).map(|rate| rate.0);
        let slowest = slowest.min().unwrap_or(u64::MAX);
        self.slowest = self.slowest.min(slowest);
    }
}
