//! Taking up a config that was read again: rates, quotas, lanes and the backoff.
//!
//! What operators have set stays in front of it. Debt is carried, as with any change of
//! a rate; a delivery that rests goes on resting as long as it was told to.

use std::collections::BTreeMap;

use super::Scheduler;
use crate::audit::AuditRecord;
use crate::change::Change;
use crate::event::{Configured, Done, OrderId};
use crate::id::LaneNo;
use crate::segment::LaneRule;
use crate::time::Now;

impl Scheduler {
    pub(super) fn configure(&mut self, now: Now, id: OrderId, new: Configured, audit: AuditRecord) {
        let settings = &mut self.settings;
        (settings.rate, settings.bounds.quota) = (new.node.rate, new.node.quota);
        (settings.bounds.any_rate, settings.bounds.any.quota) = (new.any.rate, new.any.quota);
        for (name, band) in new.peers {
            let Some(rule) = settings.peers.get_mut(&name) else {
                continue;
            };
            rule.rate = band.rate;
            settings.bounds.peers.entry(name).or_default().quota = band.quota;
        }
        for (name, (rule, bytes)) in new.lanes {
            let Some(known) = settings.lanes.get_mut(&name) else {
                continue;
            };
            *known = rule;
            settings.bounds.lane_bytes.insert(name, bytes);
        }
        settings.retry = new.retry;
        self.set_ingest(now, new.ingest);
        self.renew_lanes(now);
        self.apply_limits(now);
        self.batch.push(Change::Audit(audit));
        let done = Done {
            changed: 1,
            ..Done::default()
        };
        self.answer_order(id, Ok(done));
    }

    /// Gives the lanes of every peer the rules that hold.
    fn renew_lanes(&mut self, now: Now) {
        let lanes = self
            .peers
            .values()
            .flat_map(|peer| peer.lanes.keys().copied());
        let mut all: Vec<LaneNo> = lanes.collect();
        all.sort_unstable();
        all.dedup();
        let rules: BTreeMap<LaneNo, LaneRule> =
            all.into_iter().map(|no| (no, self.lane_rule(no))).collect();
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            self.peer_mut(peer).renew(&rules, now.mono);
        }
    }
}
