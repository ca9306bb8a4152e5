//! The way down: nothing new begins, what is in flight may be answered, then the
//! links are closed and the last ticket is waited for.

use std::time::Duration;

use super::Scheduler;
use crate::event::Effect;
use crate::time::Now;

/// How long a drain waits for acks of what is already in flight.
const DRAIN: Duration = Duration::from_secs(2);

impl Scheduler {
    pub(super) fn on_drain(&mut self, now: Now) {
        self.draining.get_or_insert(now.mono + DRAIN);
        self.refuse_orders();
        self.dirty.extend(self.peers.keys());
    }

    /// Ends a drain: once nothing is in flight or time is up, links are closed,
    /// and once every ticket is durable, the daemon may end.
    pub(super) fn finish_drain(&mut self, now: Now) {
        let Some(until) = self.draining else { return };
        if self.drained {
            return;
        }
        let flying = self
            .peers
            .values()
            .any(|peer| peer.lanes.values().any(|l| l.flying > 0));
        if !flying || now.mono >= until {
            self.close_all(now);
            self.save_all_meters(now);
            self.flush();
        }
        if self.links.is_empty() && self.durable == self.issued {
            self.drained = true;
            self.effects.push_back(Effect::Drained);
        }
    }
}
