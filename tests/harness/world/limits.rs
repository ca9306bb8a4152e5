//! Limits, carried out: what links put on the wire and when they say so, and what
//! operators set.

use relay_core::event::{Bandwidth, Input, LaneBudget, Order, Standing};
use relay_core::units::Rate;

use super::{Event, World};
use crate::scenario::limits::LimitAct;
use crate::scenario::{SECOND, node_name};

/// In the calm windows go after so long.
const LIFT: u64 = 3_000 * SECOND;
/// What every message costs beside its bytes: a frame and its share of a datagram.
const FRAME: u64 = 60;
/// What a datagram holds, and what its headers add.
const DATAGRAM: (u64, u64) = (1_200, 28);

impl World {
    pub(super) fn limit_act(&mut self, act: LimitAct) {
        match act {
            LimitAct::Bandwidth { node, .. } | LimitAct::Lane { node, .. }
                if self.nodes[node].scheduler.is_none() => {}
            // Whether a peer that left the config has a number depends on its debts.
            LimitAct::Bandwidth {
                node,
                peer: Some(peer),
                ..
            } if self.nodes[node].removed.contains(&peer) => {}
            LimitAct::Bandwidth {
                node,
                peer,
                rate,
                quota,
                standing,
                dry_run,
            } => {
                self.tally.count(match standing {
                    _ if dry_run => "verb: set bandwidth, dry run",
                    Standing::Stored => "verb: set bandwidth, stored",
                    Standing::Ephemeral => "verb: set bandwidth, ephemeral",
                    Standing::Reset => "verb: reset bandwidth",
                });
                let change = Bandwidth {
                    peer: peer.map(node_name),
                    rate,
                    daily_quota: quota,
                    standing,
                };
                self.order(node, Order::Bandwidth { change, dry_run });
            }
            LimitAct::Lane {
                node,
                lane,
                bytes,
                attempts,
            } => {
                self.tally.count("verb: set lane budget");
                let change = LaneBudget {
                    lane: lane.parse().expect("a short name is a name"),
                    bytes_per_day: bytes,
                    attempts_per_hour: attempts,
                };
                let dry_run = false;
                self.order(node, Order::LaneBudget { change, dry_run });
            }
        }
    }

    /// `side` of a link puts a message with `bytes` of bodies on the wire.
    pub fn on_wire(&mut self, link: usize, side: usize, bytes: u64) {
        if !self.plan.limiting.on {
            return;
        }
        let resent = bytes * self.plan.limiting.resent / 1_000;
        let all = bytes + resent + FRAME;
        let end = &mut self.wire.links[link].ends[side];
        end.unreported += all + all.div_ceil(DATAGRAM.0) * DATAGRAM.1;
        end.bodies += bytes;
        let (n, first) = (end.node, !std::mem::replace(&mut end.reporting, true));
        let peer = self.wire.links[link].ends[1 - side].node;
        self.oracle.on_wire(n, peer, bytes);
        if first {
            self.after(self.plan.limiting.report, Event::Report(link, side));
        }
    }

    /// A link tells its node what it has sent since it last did.
    pub fn report(&mut self, link: usize, side: usize) {
        let peer = self.wire.links[link].ends[1 - side].node;
        let end = &mut self.wire.links[link].ends[side];
        end.reporting = false;
        let bytes = std::mem::take(&mut end.unreported);
        let bodies = std::mem::take(&mut end.bodies);
        let (n, run, told) = (end.node, end.run, end.told);
        if bytes > 0 && !told && self.nodes[n].is_run(run) {
            self.oracle.bodies_reported(n, peer, bodies);
            let peer = node_name(peer);
            self.hear(n, Input::SentOnWire { peer, bytes });
        }
    }

    /// Windows that open only tomorrow are waited for no longer than this.
    pub(super) fn lift_later(&mut self, n: usize) {
        if self.nodes[n]
            .bounds
            .peers
            .values()
            .any(|p| !p.windows.is_empty())
        {
            self.after(LIFT, Event::Lift(n));
        }
    }

    pub(super) fn lift_windows(&mut self, n: usize) {
        self.tally.count("windows lifted");
        let peers = self.nodes[n].bounds.peers.values_mut();
        peers.for_each(|bounds| bounds.windows.clear());
        self.crash(n, true);
    }

    /// Operators raise what would keep the rest of a world waiting for weeks.
    pub fn limits_calm(&mut self, n: usize) {
        if !self.calm || !self.plan.limiting.on || self.nodes[n].scheduler.is_none() {
            return;
        }
        let rows = self.nodes[n].disk.owed.values();
        let waits = rows.filter(|row| !row.state.name().is_terminal());
        let enough = 1_000_000 + waits.map(|row| row.bytes + 1_000).sum::<u64>();
        let now = self.nodes[n].clock(self.now);
        let Some(picture) = self.nodes[n].scheduler.as_ref().map(|s| s.picture(now)) else {
            return;
        };
        let low = |value: u64| value > 0 && value < enough;
        let mut quotas = vec![(None, picture.bandwidth.quota.value)];
        let peers = picture.peers.iter().filter(|peer| peer.configured);
        quotas.extend(peers.map(|peer| (Some(peer.name.clone()), peer.bandwidth.quota.value)));
        for (peer, _) in quotas.into_iter().filter(|(_, quota)| low(*quota)) {
            let change = Bandwidth {
                peer,
                rate: None::<Rate>,
                daily_quota: Some(enough),
                standing: Standing::Stored,
            };
            let dry_run = false;
            self.order(n, Order::Bandwidth { change, dry_run });
        }
        for lane in picture.lanes {
            let bytes = low(lane.bytes_per_day.value).then_some(enough);
            let few = (1..100).contains(&lane.attempts_per_hour.value);
            if bytes.is_some() || few {
                let change = LaneBudget {
                    lane: lane.name,
                    bytes_per_day: bytes,
                    attempts_per_hour: few.then_some(100),
                };
                let dry_run = false;
                self.order(n, Order::LaneBudget { change, dry_run });
            }
        }
    }
}
