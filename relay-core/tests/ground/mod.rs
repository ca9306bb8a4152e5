//! What every scheduler driven by hand stands on: plain settings, and a disk with room.

use std::time::Duration;

use relay_core::aim::Success;
use relay_core::backoff::Backoff;
use relay_core::event::Space;
use relay_core::id::NodeId;
use relay_core::limits::Limits;
use relay_core::route::Routing;
use relay_core::scheduler::{Bounds, PeerRule, Settings};
use relay_core::segment::{Class, LaneRule};
use relay_core::units::Rate;

/// A disk with room.
pub(crate) const SPACE: Space = Space {
    used: 0,
    ceiling: 1 << 30,
    inbox: 0,
    inbox_ceiling: 1 << 29,
    disk_full: false,
    clear: 1 << 30,
    longest: 0,
    unit: 4 << 20,
};

/// Lanes `control`, `alarm`, `default` and `bulk`, no limits, two attempts, rests of a second;
/// `dial`: whether peers are dialled, or are expected to dial.
pub(crate) fn settings(
    node: NodeId,
    peers: impl IntoIterator<Item = NodeId>,
    dial: bool,
) -> Settings {
    let lane = |class: u8| LaneRule {
        class: Class::new(class).expect("a class"),
        weight: 1,
        budget: 2,
    };
    let second = Duration::from_secs(1);
    let rests = Backoff {
        first: second,
        longest: second,
    };
    let rule = PeerRule {
        dial,
        rate: Rate::UNLIMITED,
        lets_go: None,
    };
    Settings {
        node,
        peers: peers.into_iter().map(|peer| (peer, rule)).collect(),
        admit_any: false,
        lanes: [("control", 0), ("alarm", 1), ("default", 4), ("bulk", 6)]
            .map(|(name, class)| (name.parse().expect("a lane"), lane(class)))
            .into(),
        retry: rests,
        redial: rests,
        rate: Rate::UNLIMITED,
        bounds: Bounds::default(),
        success: Success::AllPeers,
        routing: Routing::default(),
        limits: Limits::default(),
    }
}
