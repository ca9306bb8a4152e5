//! What a node says of itself beside its deliveries: damage it has put into quarantine,
//! and what its spools and its sink are at.

use serde::{Deserialize, Serialize};

use crate::{Moment, Paging};

/// Part of `relay status` (`relay.status/1`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeepingView {
    /// What was damaged.
    pub quarantine: QuarantineSums,
    /// Each folder whose files are put, as the config has them.
    pub spools: Vec<WayView>,
    /// Where arrivals go by themselves, if anywhere.
    pub sinks: Vec<WayView>,
}

/// Everything in quarantine, and the newest of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuarantineSums {
    /// Entries.
    pub entries: u64,
    /// Deliveries that will not happen.
    pub deliveries: u64,
    /// Their bytes, as far as known.
    pub bytes: u64,
    /// The newest entries, at most [`NEWEST_QUARANTINED`].
    pub newest: Vec<QuarantineView>,
}

/// Entries that `relay status` shows; [`QuarantineList`] has all.
pub const NEWEST_QUARANTINED: usize = 10;

/// Something damaged that was taken out of the way of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineView {
    /// Its number.
    pub number: u64,
    /// When it was found, if a clock was to be believed then.
    pub found_at: Option<Moment>,
    /// What it was: `owed`, `pack`, `delivery`, `payload` …
    pub what: String,
    /// Where it lay.
    pub place: String,
    /// Why it is not believed.
    pub why: String,
    /// To whom it was owed, if that is known.
    pub peer_id: Option<String>,
    /// In which lane.
    pub lane: Option<String>,
    /// Deliveries that will not happen for it.
    pub deliveries: u64,
    /// Their bytes, as far as known.
    pub bytes: u64,
}

/// Damage, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuarantineList {
    /// The portion.
    pub page: Paging,
}

/// What a spool or a sink is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayState {
    /// Nothing was tried yet.
    #[default]
    Starting,
    /// It works, or would if there were anything to do.
    Working,
    /// The node has no room for its next file; it goes on by itself.
    Waiting,
    /// It cannot be used: no folder, no program, a disk that is full. It is tried again.
    Unable,
}

impl WayState {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Unable => "unable",
        }
    }
}

/// A spool or a sink. Counts run since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WayView {
    /// The folder; of a sink `dir:` and the folder, or `exec:` and the program.
    pub place: String,
    /// What it is at.
    pub state: WayState,
    /// Since when.
    pub since: Moment,
    /// How often in a row it could not go on.
    pub tries: u32,
    /// Files that are put and still there; arrivals in hand.
    pub in_hand: u64,
    /// Files put; arrivals confirmed.
    pub done: u64,
    /// Files that the last look passed over; arrivals parked as refused.
    pub passed_over: u64,
    /// What was last found wrong, whether or not that is over.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Moment>,
}
