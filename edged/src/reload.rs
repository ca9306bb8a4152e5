//! Reading the config again: validate, tell the parts, record it, all or nothing.

use relay_core::audit::{AuditEvent, AuditRecord};
use relay_core::backoff::Backoff;
use relay_core::event::{Band, Caller, Configured, Ingest, Order, OrderRefused};
use relay_core::id::LaneName;
use relay_core::segment::LaneRule;
use tracing::info;

use crate::clock;
use crate::config::{Config, Lane, Peer, PeerName};
use crate::desk::{Desk, GoingDown};
use crate::running::{Difference, Plan, PlanError};
use crate::telemetry;

/// Why the config that holds is still the old one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new one is refused, or there is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The daemon is going down.
    #[error(transparent)]
    GoingDown(#[from] GoingDown),
    /// The core refuses the change.
    #[error(transparent)]
    Order(#[from] OrderRefused),
}

/// Reads all layers again and makes every live key hold; the others are named in what
/// it answers. `caller` is who asked, for the audit.
///
/// # Errors
/// [`ReloadError`]; nothing has changed then.
pub async fn reload(desk: &Desk, caller: Caller) -> Result<Plan, ReloadError> {
    let plan = desk.running.plan(None)?;
    let at = clock::now().wall;
    let resource = desk.config.node.id.to_string();
    let record = AuditRecord::by(&caller, at, AuditEvent::ConfigReloaded, "config", resource)
        .with("changed", keys(&plan.changed))
        .with("restart", keys(&plan.restart));
    let new = Box::new(configured(&plan.config));
    let order = Order::Configure {
        new,
        audit: Box::new(record),
    };
    desk.order(caller, order).await??;
    telemetry::set_level(plan.config.log.level);
    desk.running.take_up(&plan);
    info!(
        changed = keys(&plan.changed),
        restart = keys(&plan.restart),
        "The config was read again"
    );
    Ok(plan)
}

/// What of a config the core takes up at once.
fn configured(config: &Config) -> Configured {
    let band = |peer: &Peer| Band {
        rate: peer.bytes_per_second,
        quota: peer.daily_quota_bytes.0,
    };
    let any = config.peers.iter().find(|peer| peer.id == PeerName::Any);
    let named = |peer: &Peer| match &peer.id {
        PeerName::Node(id) => Some((id.clone(), band(peer))),
        PeerName::Any => None,
    };
    let lane =
        |(name, lane): (&LaneName, &Lane)| (name.clone(), (lane_rule(lane), lane.bytes_per_day.0));
    Configured {
        node: Band {
            rate: config.bandwidth.bytes_per_second,
            quota: config.bandwidth.daily_quota_bytes.0,
        },
        peers: config.peers.iter().filter_map(named).collect(),
        any: any.map(band).unwrap_or_default(),
        lanes: config.lanes.iter().map(lane).collect(),
        retry: backoff(config),
        ingest: ingest(config),
    }
}

/// A lane as the core serves it.
pub(crate) const fn lane_rule(lane: &Lane) -> LaneRule {
    LaneRule {
        class: lane.class,
        weight: lane.weight,
        budget: lane.budget,
    }
}

/// What one peer may send us.
pub(crate) fn ingest(config: &Config) -> Ingest {
    Ingest {
        segments: u64::from(config.ingest.per_peer_segments_per_second),
        bytes: config.ingest.per_peer_bytes_per_second,
    }
}

/// The wait after a failed attempt.
pub(crate) const fn backoff(config: &Config) -> Backoff {
    Backoff {
        first: config.relay.retry.first,
        longest: config.relay.retry.longest,
    }
}

fn keys(differences: &[Difference]) -> String {
    let keys: Vec<&str> = differences.iter().map(|at| at.key.as_str()).collect();
    keys.join(" ")
}
