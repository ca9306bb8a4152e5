//! What the daemon is set to: config keys and where they come from, lanes, one peer.
//!
//! Asking is free to every member of the socket's group; `config reload` is an order.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::Response;
use crate::{BandwidthView, ByState, Moment, Paging, PeerView};

/// Effective keys of the config, by name. Answered [`Response::Config`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigShow {
    /// The portion.
    pub page: Paging,
}

/// Whether a file would do in place of the daemon's own. Answered [`Response::Reload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigCheck {
    /// What messages call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// One effective key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its full name: `relay.retry.first`, `peers[0].id`.
    pub key: String,
    /// Its value, with its unit; empty where nothing is set.
    pub value: String,
    /// Who decided it: `built-in`, a line, a variable, a flag, or `ledger` for what an
    /// operator stored.
    pub origin: String,
}

/// What a reload changed, or would.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReloadView {
    /// Whether it holds now; false for a check.
    pub applied: bool,
    /// Keys that differ and hold at once.
    pub changed: Vec<KeyChange>,
    /// Keys that differ and hold from the next start.
    pub restart: Vec<KeyChange>,
    /// Keys that differ and are shadowed by what an operator stored.
    pub shadowed: Vec<String>,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Its full name.
    pub key: String,
    /// What holds; empty where nothing is set.
    pub before: String,
    /// What was read.
    pub after: String,
}

/// How the relay is set. Answered [`Response::RelayConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayConfigView {
    /// Whether it runs at all.
    pub enabled: bool,
    /// Workers configured.
    pub workers: u32,
    /// `all_peers`, `one_peer` or a count.
    pub success_condition: String,
    /// How long a dial may take, in milliseconds.
    pub dial_timeout_ms: u64,
    /// How long an ack may take once every byte is out, in milliseconds.
    pub ack_timeout_ms: u64,
    /// Rate and quota as they hold now.
    pub bandwidth: BandwidthView,
    /// What operators stored over the config, by key.
    pub overrides: Vec<KeyView>,
}

/// Lanes, most urgent first. Answered [`Response::Lanes`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaneList {
    /// The portion.
    pub page: Paging,
}

/// One lane: what it is set to, what lies in it, what it has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneView {
    /// Its name.
    pub lane: String,
    /// 0, most urgent, to 7.
    pub class: u8,
    /// Its share within its class.
    pub weight: u32,
    /// How long its segments are worth delivering; `None`: for ever.
    pub ttl_seconds: Option<u64>,
    /// Attempts of one delivery before it is deadlettered.
    pub budget: u32,
    /// Its deliveries, by state.
    pub depth: ByState,
    /// Their bytes, by state.
    pub bytes: ByState,
    /// Bytes of a rolling day; 0 is unlimited.
    pub bytes_per_day: u64,
    /// Used of them.
    pub bytes_used: u64,
    /// Attempts of a rolling hour; 0 is unlimited.
    pub attempts_per_hour: u64,
    /// Used of them.
    pub attempts_used: u64,
    /// When its budget opens again, if it is used up.
    pub opens_at: Option<Moment>,
    /// Whether an operator has paused it for all peers.
    pub paused: bool,
}

/// One peer in full. Answered [`Response::PeerDetail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInspect {
    /// Which.
    pub peer: String,
}

/// One peer: its link, its limits, what waits for it in each lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerDetail {
    /// As in lists.
    pub peer: PeerView,
    /// Whether the config names it.
    pub configured: bool,
    /// Every address of the config.
    pub addresses: Vec<String>,
    /// When it is dialled next, if it is down.
    pub redial_at: Option<Moment>,
    /// It asked to be left alone until then.
    pub busy_until: Option<Moment>,
    /// Why it did.
    pub busy_why: Option<String>,
    /// Its rate and quota.
    pub bandwidth: BandwidthView,
    /// Its contact windows, as the config has them; none: always.
    pub windows: Vec<String>,
    /// Packs of it that it has not settled.
    pub unsettled: u64,
    /// What lies in each lane for it.
    pub lanes: Vec<PeerLaneView>,
}

/// What lies in one lane for one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLaneView {
    /// The lane.
    pub lane: String,
    /// Deliveries, by state.
    pub depth: ByState,
    /// Their bytes, by state.
    pub bytes: ByState,
}
