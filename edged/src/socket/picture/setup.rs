//! How the relay is set, lane by lane and peer by peer, with what lies there.

use std::collections::BTreeMap;

use edged_rpc::{
    BandwidthView, ByState, KeyView, Ladder, LaneView, PauseView, Pausing, PeerDetail,
    PeerLaneView, StorageView,
};
use relay_core::change::Depth;
use relay_core::delivery::StateName;
use relay_core::event;
use relay_core::id::{LaneName, NodeId};
use relay_core::scheduler::{BandwidthPicture, Bound, LanePicture, PausePicture, Rung, SetBy};
use relay_core::time::Mono;

use super::{Oldest, Painter, add};
use crate::config::{Peer, PeerName};

impl Painter<'_> {
    /// Rate and quota of the node or of a peer.
    pub(in crate::socket) fn bandwidth(&self, of: &BandwidthPicture) -> BandwidthView {
        BandwidthView {
            unlimited: of.rate.value == 0,
            bytes_per_second: of.rate.value,
            burst_bytes: of.burst,
            available_tokens: of.tokens,
            daily_quota_bytes: of.quota.value,
            daily_used_bytes: of.used,
            quota_opens_at: of.opens_at.map(|at| self.moment(at)),
            throttle_count: of.throttled,
            quota_drops: of.quota_drops,
            rate_set_by: of.rate.by.as_str().to_owned(),
            quota_set_by: of.quota.by.as_str().to_owned(),
            since: of.since.map(|at| self.moment(at)),
        }
    }

    /// What operators have set over the config, by key.
    pub(in crate::socket) fn overrides(&self) -> Vec<KeyView> {
        let mut views = Vec::new();
        let mut view = |key: String, bound: Bound| {
            let origin = match bound.by {
                SetBy::Config => return,
                SetBy::Ledger => "ledger (set by an operator)",
                SetBy::Ephemeral => "operator (until the next start)",
            };
            views.push(KeyView {
                key,
                value: bound.value.to_string(),
                origin: origin.to_owned(),
            });
        };
        let node = &self.node.bandwidth;
        view("bandwidth.bytes_per_second".to_owned(), node.rate);
        view("bandwidth.daily_quota_bytes".to_owned(), node.quota);
        for peer in &self.node.peers {
            let named = |at: &Peer| at.id.to_string() == peer.name.as_str();
            let place = self.desk.config.peers.iter().position(named);
            let place = place.map_or_else(|| peer.name.to_string(), |n| n.to_string());
            view(
                format!("peers[{place}].bytes_per_second"),
                peer.bandwidth.rate,
            );
            view(
                format!("peers[{place}].daily_quota_bytes"),
                peer.bandwidth.quota,
            );
        }
        for lane in &self.node.lanes {
            view(
                format!("lanes.{}.bytes_per_day", lane.name),
                lane.bytes_per_day,
            );
            let key = format!("lanes.{}.attempts_per_hour", lane.name);
            view(key, lane.attempts_per_hour);
        }
        views
    }

    /// What operators have paused, with times as the wall clock says them.
    pub(super) fn pauses(&self) -> Vec<PauseView> {
        let pauses = self.node.pauses.iter().map(|pause| PauseView {
            scope: edged_rpc::Scope {
                peer: pause.scope.peer.as_ref().map(ToString::to_string),
                lane: pause.scope.lane.as_ref().map(ToString::to_string),
            },
            how: match pause.how {
                event::Pausing::Drain => Pausing::Drain,
                event::Pausing::Now => Pausing::Now,
            },
            since: self.moment(pause.since),
            until: pause.until.map(|until| self.moment(until)),
        });
        pauses.collect()
    }

    /// How full the node is.
    pub(super) fn storage(&self) -> StorageView {
        let space = &self.node.space;
        let ladder = match Rung::of(space) {
            Rung::Full if space.disk_full => Ladder::DiskFull,
            Rung::Full => Ladder::Full,
            Rung::PutsRefused => Ladder::PutsRefused,
            Rung::BulkRefused | Rung::Open if space.inbox >= space.inbox_ceiling => {
                Ladder::InboxFull
            }
            Rung::BulkRefused => Ladder::BulkRefused,
            Rung::Open => Ladder::Open,
        };
        StorageView {
            used_bytes: space.used,
            ceiling_bytes: space.ceiling,
            inbox_bytes: space.inbox,
            inbox_ceiling_bytes: space.inbox_ceiling,
            ladder,
        }
    }

    /// Every lane of the config, most urgent first, then by name; behind them lanes that
    /// have gone from the config and still hold something.
    pub(in crate::socket) fn lanes(&self) -> Vec<LaneView> {
        let sums = sums(self.node.peers.iter().flat_map(|peer| &peer.depths));
        let known = self.node.lanes.iter().map(|lane| self.lane(lane, &sums));
        let mut views: Vec<LaneView> = known.collect();
        views.sort_by(|a, b| (a.class, &a.lane).cmp(&(b.class, &b.lane)));
        for (name, (depth, bytes)) in &sums {
            if !views.iter().any(|view| view.lane == name.as_str()) {
                views.push(gone(name, *depth, *bytes));
            }
        }
        views
    }

    fn lane(&self, lane: &LanePicture, sums: &Sums<'_>) -> LaneView {
        let config = self.desk.config.lanes.get(&lane.name);
        let (depth, bytes) = sums.get(&lane.name).copied().unwrap_or_default();
        let whole = |pause: &PausePicture| {
            pause.scope.lane.as_ref() == Some(&lane.name) && pause.scope.peer.is_none()
        };
        LaneView {
            lane: lane.name.to_string(),
            class: lane.class,
            weight: lane.weight,
            ttl_seconds: config.and_then(|lane| lane.ttl).map(|ttl| ttl.as_secs()),
            budget: lane.budget,
            depth,
            bytes,
            bytes_per_day: match (lane.bytes_per_day.by, config) {
                // The core bounds a lane from its first segment on.
                (SetBy::Config, Some(config)) => config.bytes_per_day.0,
                (SetBy::Config | SetBy::Ledger | SetBy::Ephemeral, _) => lane.bytes_per_day.value,
            },
            bytes_used: lane.bytes_used,
            attempts_per_hour: lane.attempts_per_hour.value,
            attempts_used: lane.attempts_used,
            opens_at: lane.opens_at.map(|at| self.moment(at)),
            paused: self.node.pauses.iter().any(whole),
        }
    }

    /// One peer of the config or with work.
    pub(in crate::socket) fn peer_detail(
        &self,
        name: &NodeId,
        oldest: &Oldest,
    ) -> Option<PeerDetail> {
        let peer = self.peers.get(name.as_str())?;
        let config = self.configured(name);
        let at = |mono: Mono| self.moment(self.now.unix + mono.since(self.now.mono));
        let windows = config.map(|config| config.windows.iter().map(ToString::to_string));
        let lanes = sums(&peer.depths).into_iter();
        Some(PeerDetail {
            peer: self.peer(peer, oldest),
            configured: peer.configured,
            addresses: config
                .map(|config| config.addresses.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            redial_at: peer.redial.map(at),
            busy_until: peer.busy.map(|(until, _)| at(until)),
            busy_why: peer.busy.map(|(_, why)| why.as_str().to_owned()),
            bandwidth: self.bandwidth(&peer.bandwidth),
            windows: windows.map(Iterator::collect).unwrap_or_default(),
            unsettled: peer.unsettled,
            lanes: lanes
                .map(|(lane, (depth, bytes))| PeerLaneView {
                    lane: lane.to_string(),
                    depth,
                    bytes,
                })
                .collect(),
        })
    }

    /// A peer as the config has it, by its own entry or by that of any node.
    pub(super) fn configured(&self, name: &NodeId) -> Option<&Peer> {
        let peers = &self.desk.config.peers;
        let named = |peer: &&Peer| match &peer.id {
            PeerName::Node(id) => id == name,
            PeerName::Any => false,
        };
        let any = || peers.iter().find(|peer| peer.id == PeerName::Any);
        peers.iter().find(named).or_else(any)
    }
}

/// A lane that has gone from the config.
fn gone(name: &LaneName, depth: ByState, bytes: ByState) -> LaneView {
    LaneView {
        lane: name.to_string(),
        class: 4,
        weight: 1,
        ttl_seconds: None,
        budget: 8,
        depth,
        bytes,
        bytes_per_day: 0,
        bytes_used: 0,
        attempts_per_hour: 0,
        attempts_used: 0,
        opens_at: None,
        paused: false,
    }
}

/// Deliveries and bytes per lane.
type Sums<'a> = BTreeMap<&'a LaneName, (ByState, ByState)>;

fn sums<'a>(depths: impl IntoIterator<Item = &'a (LaneName, StateName, Depth)>) -> Sums<'a> {
    let mut sums = Sums::new();
    for (lane, state, depth) in depths {
        let (count, bytes) = sums.entry(lane).or_default();
        add(count, *state, depth.count);
        add(bytes, *state, depth.bytes);
    }
    sums
}
