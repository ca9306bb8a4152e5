//! Why deliveries do not move: what is asked, and the pictures that answer.

use serde::{Deserialize, Serialize};

use crate::{Id, Moment, State};

/// Why does this segment not move?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayWhy {
    /// An id, or a unique prefix of one.
    pub segment: String,
    /// Only to this peer.
    pub peer: Option<String>,
}

/// Why the deliveries of one segment stand where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    /// The segment.
    pub segment_id: Id,
    /// Each delivery that was asked about.
    pub items: Vec<DeliveryWhy>,
    /// When this was so.
    pub queried_at: Moment,
}

/// Why one delivery stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryWhy {
    /// To whom.
    pub peer_id: String,
    /// In which lane.
    pub lane: String,
    /// How far it is.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// One sentence: the most binding reason, or what is under way.
    pub sentence: String,
    /// All that keeps it, the most binding first; empty when it does not wait.
    pub reasons: Vec<ReasonView>,
    /// What goes before it, while it waits.
    pub ahead: Option<AheadView>,
    /// What the last failed attempt said.
    pub error: Option<String>,
}

/// One thing that keeps a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// One of the names of `waiting_on`.
    pub waiting_on: String,
    /// When it ends by itself, where known.
    pub until: Option<Moment>,
    /// One sentence.
    pub text: String,
}

/// What goes before a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AheadView {
    /// Deliveries.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether some of these may come after it.
    pub at_most: bool,
}

/// What blocks how much of all that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedView {
    /// The first reason that holds.
    pub waiting_on: String,
    /// To whom.
    pub peer_id: String,
    /// How many deliveries.
    pub deliveries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it ends by itself, where known.
    pub until: Option<Moment>,
    /// One sentence.
    pub text: String,
}
