//! Pictures of the relay as a whole: status, peers, books, counters.
//!
//! Field names are the JSON names of `relay.status/1` (`surface.md`, section 3).
//! The daemon fills them in; nothing here adds up.

use serde::{Deserialize, Serialize};

use crate::{Durability, KeepingView, LinkState, Moment, Pausing, Scope};

/// What `relay status` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The picture.
    pub status: StatusView,
    /// The books, when asked for.
    pub books: Option<Vec<BookView>>,
    /// Damage, spools and sink.
    pub keeping: KeepingView,
}

/// The relay at one moment (`relay.status/1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Whether the relay runs at all.
    pub enabled: bool,
    /// This node.
    pub node: String,
    /// Raised by one at each start.
    pub boot_epoch: u64,
    /// Workers configured.
    pub workers: u32,
    /// `all_peers`, `one_peer` or a count.
    pub success_condition: String,
    /// The weakest promise now in force.
    pub durability: Durability,
    /// Deliveries kept now, by state.
    pub queue_depth: ByState,
    /// Their bytes, by state.
    pub queue_bytes: ByState,
    /// Age of the oldest that waits.
    pub oldest_age_seconds: Option<u64>,
    /// Attempts found open at start.
    pub rescued_at_start: u64,
    /// Rate and quota.
    pub bandwidth: BandwidthView,
    /// Each peer, by id.
    pub peers: Vec<PeerView>,
    /// Whether an operator has paused the whole relay.
    pub paused: bool,
    /// Everything an operator has paused.
    pub pauses: Vec<PauseView>,
    /// How full the node is.
    pub storage: StorageView,
    /// When this was true.
    pub queried_at: Moment,
}

/// Something an operator has paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// Where.
    pub scope: Scope,
    /// What became of what was in flight.
    pub how: Pausing,
    /// Since when.
    pub since: Moment,
    /// When it ends by itself.
    pub until: Option<Moment>,
}

/// How full the node is, and what that keeps from coming in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageView {
    /// Bytes that hold something that may not go.
    pub used_bytes: u64,
    /// The ceiling.
    pub ceiling_bytes: u64,
    /// Bytes the inbox holds.
    pub inbox_bytes: u64,
    /// What the inbox may hold.
    pub inbox_ceiling_bytes: u64,
    /// The step of the ladder it stands on.
    pub ladder: Ladder,
}

/// The steps between room and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ladder {
    /// Everything is taken.
    #[default]
    Open,
    /// Arrivals for the inbox are answered `busy(inbox_full)`.
    InboxFull,
    /// Local puts are refused.
    PutsRefused,
    /// Whatever comes is answered `busy(storage_full)`.
    Full,
    /// Local puts of class 6 and 7 are refused.
    BulkRefused,
    /// The disk itself is full: as [`Ladder::Full`], however much is used.
    DiskFull,
}

/// A number for each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ByState {
    /// Waiting.
    pub scheduled: u64,
    /// Moving.
    pub inflight: u64,
    /// Stored by the peer.
    pub acked: u64,
    /// In backoff.
    pub failed: u64,
    /// Parked.
    pub deadletter: u64,
    /// All of these.
    pub total: u64,
}

/// Rate and quota, global.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BandwidthView {
    /// No rate is set.
    pub unlimited: bool,
    /// The rate; 0 when unlimited.
    pub bytes_per_second: u64,
    /// The bucket's size.
    pub burst_bytes: u64,
    /// What is in it; negative in debt; `None` when unlimited.
    pub available_tokens: Option<i64>,
    /// The quota of a rolling day; 0 when unlimited.
    pub daily_quota_bytes: u64,
    /// Used of it.
    pub daily_used_bytes: u64,
    /// When it opens again, if it is shut.
    pub quota_opens_at: Option<Moment>,
    /// Admissions delayed by the rate.
    pub throttle_count: u64,
    /// Admissions refused by the quota.
    pub quota_drops: u64,
    /// Who set the rate: `config`, `ledger` or `ephemeral`.
    pub rate_set_by: String,
    /// Who set the quota.
    pub quota_set_by: String,
    /// Since when these two count.
    pub since: Option<Moment>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// The peer.
    pub peer_id: String,
    /// Its link.
    pub state: LinkState,
    /// Where it is, or was last.
    pub address: Option<String>,
    /// Round trip of the live link.
    pub rtt_ms: Option<f64>,
    /// Deliveries scheduled or failed.
    pub waiting: u64,
    /// Deliveries moving.
    pub inflight: u64,
    /// Deliveries acked and still kept.
    pub acked: u64,
    /// Deliveries parked.
    pub deadletter: u64,
    /// Age of the oldest that waits.
    pub oldest_age_seconds: Option<u64>,
    /// What was last found wrong with the link.
    pub last_error: Option<String>,
    /// What its next delivery waits on, most binding first.
    pub waiting_on: Vec<String>,
}

/// The books of one peer and lane, from persistent counters:
/// put = acked + deadletter + waiting + not_needed + purged + quarantined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BookView {
    /// The peer.
    pub peer_id: String,
    /// The lane.
    pub lane: String,
    /// Deliveries ever owed.
    pub put: u64,
    /// Stored by the peer.
    pub acked: u64,
    /// Parked.
    pub deadletter: u64,
    /// Scheduled, in flight or failed.
    pub waiting: u64,
    /// Others met the success condition.
    pub not_needed: u64,
    /// Removed by an operator.
    pub purged: u64,
    /// Rows found damaged.
    pub quarantined: u64,
    /// Whether the equation holds, as the daemon finds it.
    pub holds: bool,
}

/// Cheap counts, read from memory: for benches and dashboards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountersView {
    /// Raised by one at each start.
    pub boot_epoch: u64,
    /// Outgoing, per peer and lane.
    pub books: Vec<BookView>,
    /// Incoming, per origin and lane.
    pub received: Vec<ReceivedView>,
}

/// What came in from one origin on one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReceivedView {
    /// The node that made them.
    pub origin: String,
    /// Their lane.
    pub lane: String,
    /// Segments stored.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that came again and were only acknowledged.
    pub repeats: u64,
    /// Segments confirmed by a consumer.
    pub confirmed: u64,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// The daemon's own version.
    pub version: String,
    /// The newest version of this conversation it speaks.
    pub rpc_version: u16,
    /// This node.
    pub node: String,
    /// Raised by one at each start.
    pub boot_epoch: u64,
    /// When it started.
    pub started_at: Moment,
}
