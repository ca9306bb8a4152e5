//! The config as the core wants it: peers, lanes, bounds and routes.

use relay_core::limits::{LONGEST_SLOTS, Limits};
use relay_core::route::{Route, Routing, Whom};
use relay_core::scheduler::{Bounds, OnExhausted, PeerBounds, PeerRule, Settings};

use super::{REDIAL, max_put};
use crate::config::{Config, Peer, PeerName};
use crate::reload;

/// The config as the core wants it.
pub(super) fn settings(config: &Config) -> Settings {
    let rule = |peer: &Peer| match &peer.id {
        PeerName::Node(id) => {
            let rule = PeerRule {
                dial: !peer.addresses.is_empty(),
                rate: peer.bytes_per_second,
                lets_go: peer.keep_alive.is_zero().then_some(peer.idle_timeout),
            };
            Some((id.clone(), rule))
        }
        PeerName::Any => None,
    };
    let lanes = config
        .lanes
        .iter()
        .map(|(name, lane)| (name.clone(), reload::lane_rule(lane)));
    let limits = Limits {
        large: config.relay.workers as usize * LONGEST_SLOTS,
        ack_timeout: config.relay.ack_timeout,
        max_starvation: config.relay.max_starvation,
        max_put: max_put(config),
        deadletter_bytes: config.storage.keep_deadletter_bytes.0,
        ..Limits::default()
    };
    let limits = limits.for_fleet(config.peers.len(), config.lanes.len());
    Settings {
        node: config.node.id.clone(),
        peers: config.peers.iter().filter_map(rule).collect(),
        admit_any: config.peers.iter().any(|peer| peer.id == PeerName::Any),
        lanes: lanes.collect(),
        retry: reload::backoff(config),
        redial: REDIAL,
        rate: config.bandwidth.bytes_per_second,
        bounds: bounds(config),
        success: config.relay.success_condition,
        routing: routing(config),
        limits,
    }
}

/// Quotas, windows and budgets as the core wants them.
fn bounds(config: &Config) -> Bounds {
    let of = |peer: &Peer| PeerBounds {
        quota: peer.daily_quota_bytes.0,
        windows: peer.windows.clone(),
    };
    let mut bounds = Bounds {
        quota: config.bandwidth.daily_quota_bytes.0,
        on_exhausted: match config.bandwidth.on_exhausted {
            crate::config::OnExhausted::Wait => OnExhausted::Wait,
            crate::config::OnExhausted::Deadletter => OnExhausted::Deadletter,
        },
        ingest: reload::ingest(config),
        ..Bounds::default()
    };
    for peer in &config.peers {
        match &peer.id {
            PeerName::Node(id) => drop(bounds.peers.insert(id.clone(), of(peer))),
            PeerName::Any => (bounds.any, bounds.any_rate) = (of(peer), peer.bytes_per_second),
        }
    }
    for (name, lane) in &config.lanes {
        bounds.lane_bytes.insert(name.clone(), lane.bytes_per_day.0);
    }
    bounds
}

/// Which way segments go, and whose segments each peer may hand us.
fn routing(config: &Config) -> Routing {
    let whom = |name: &PeerName| match name {
        PeerName::Any => Whom::Any,
        PeerName::Node(id) => Whom::Node(id.clone()),
    };
    let routes = config.routes.iter().map(|route| Route {
        name: route.name.clone(),
        topic: route.matches.topic.clone(),
        lane: route.matches.lane.clone(),
        origin: route.matches.origin.as_ref().map(whom),
        peers: route.peers.clone(),
        success: route.success,
        local: route.local,
    });
    let mut routing = Routing {
        routes: routes.collect(),
        ..Routing::default()
    };
    for peer in &config.peers {
        let origins = peer.forward_for.iter().map(whom).collect();
        match &peer.id {
            PeerName::Any => routing.forward_for_others = origins,
            PeerName::Node(id) => drop(routing.forward_for.insert(id.clone(), origins)),
        }
    }
    routing
}
