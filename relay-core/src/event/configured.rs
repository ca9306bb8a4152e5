//! What a reload of the config changes without a restart.

use std::collections::BTreeMap;

use crate::backoff::Backoff;
use crate::id::{LaneName, NodeId};
use crate::segment::LaneRule;
use crate::units::Rate;

/// A rate and a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Band {
    /// Stream bytes a second.
    pub rate: Rate,
    /// UDP bytes of a rolling day; 0 is no limit.
    pub quota: u64,
}

/// What one peer may send us; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingest {
    /// Segments a second.
    pub segments: u64,
    /// Bytes of bodies a second.
    pub bytes: Rate,
}

/// The part of the config that may change while the relay runs. Peers and lanes that are
/// new, or gone, wait for a start: what is not named here stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Of the node.
    pub node: Band,
    /// Of peers that have an entry of their own.
    pub peers: BTreeMap<NodeId, Band>,
    /// Of all others.
    pub any: Band,
    /// Lanes, each with the bytes it may send in a rolling day.
    pub lanes: BTreeMap<LaneName, (LaneRule, u64)>,
    /// The wait after a failed attempt.
    pub retry: Backoff,
    /// What each peer may send us.
    pub ingest: Ingest,
}
