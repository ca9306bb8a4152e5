//! Pictures of segments, deliveries, attempts and arrivals, plain enough for a
//! socket, a table and JSON.
//!
//! These are not the relay's own types: the daemon turns the one into the other in a
//! single file. Field names are the JSON names of `surface.md`, section 3, and so a
//! contract. Words that may gain members (`cause`, `waiting_on`) are text in
//! `snake_case`. No `skip_serializing_if` here: postcard has no names to skip by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Id, LeaseState, Moment, Outcome, State};

/// One portion of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Pass as `after` for the next portion; `None` at the end.
    pub next: Option<String>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentView {
    /// Its name.
    pub segment_id: Id,
    /// The node that made it.
    pub origin: String,
    /// Its lane.
    pub lane: String,
    /// Its topic, if any.
    pub topic: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of payload.
    pub len: u64,
    /// BLAKE3 of the payload.
    pub digest: Digest,
    /// When it was put or arrived here.
    pub queued_at: Moment,
    /// When it stops being worth delivering, as the clock stands.
    pub expires_at: Option<Moment>,
    /// Whether its bytes are still kept.
    pub payload_kept: bool,
    /// `all_peers`, `one_peer` or a count.
    pub success_condition: String,
    /// Each peer it goes to and how far it is.
    pub peers: Vec<PeerStateView>,
}

/// How far a segment is towards one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStateView {
    /// The peer.
    pub peer_id: String,
    /// How far.
    pub state: State,
}

/// One segment and all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDetail {
    /// The segment.
    pub segment: SegmentView,
    /// Each delivery with its attempts.
    pub deliveries: Vec<DeliveryDetail>,
}

/// One delivery with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: DeliveryView,
    /// Its attempts, first to last.
    pub attempts: Vec<AttemptView>,
}

/// One (segment, peer) pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// The segment.
    pub segment_id: Id,
    /// The peer.
    pub peer_id: String,
    /// The node that made the segment.
    pub origin: String,
    /// Its lane.
    pub lane: String,
    /// Its topic, if any.
    pub topic: Option<String>,
    /// How far it is.
    pub state: State,
    /// Why it is deadlettered.
    pub cause: Option<String>,
    /// All it waits on, most binding first; empty when it waits on nothing.
    pub waiting_on: Vec<String>,
    /// The latest moment at which any of that is known to end.
    pub waiting_until: Option<Moment>,
    /// Attempts so far that count against the budget.
    pub attempt_count: u32,
    /// Bytes of payload.
    pub len: u64,
    /// When it was first queued.
    pub first_queued: Moment,
    /// When it last changed.
    pub last_updated: Moment,
    /// Whether an attempt of it was found open at start.
    pub rescued: bool,
}

/// One try to move a delivery's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// From 1.
    pub number: u32,
    /// The boot it was made in.
    pub boot_epoch: u64,
    /// When it began.
    pub started_at: Moment,
    /// When it ended; `None` while it runs.
    pub completed_at: Option<Moment>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// What was found.
    pub error: Option<String>,
    /// Bytes handed to the transport.
    pub bytes_sent: u64,
}

/// One arrival for a local consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxView {
    /// Its name.
    pub segment_id: Id,
    /// The node that made it.
    pub origin: String,
    /// The peer it came from.
    pub via: String,
    /// Its lane.
    pub lane: String,
    /// The origin's count on that lane, to order by.
    pub lane_sequence: u64,
    /// Its topic, if any.
    pub topic: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of payload.
    pub len: u64,
    /// BLAKE3 of the payload.
    pub digest: Digest,
    /// When it was durable here.
    pub received_at: Moment,
    /// Where it stands.
    pub state: LeaseState,
    /// When its lease runs out.
    pub leased_until: Option<Moment>,
    /// How often it has been taken.
    pub takes: u32,
}
