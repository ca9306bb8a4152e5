//! What is counted over time and outlives a restart: bytes and attempts of a
//! rolling span, and admissions that limits delayed or refused.
//!
//! A meter keeps one amount a minute of the age clock ([`Meter::span`] minutes
//! of them), or, without a span, one amount for ever.

use crate::id::{LaneNo, NodeNo};
use crate::time::Unix;

/// Minutes in a day.
const DAY: u64 = 24 * 60;
/// Minutes in an hour.
const HOUR: u64 = 60;
/// A minute of the age clock.
const MINUTE_MS: u64 = 60_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meter {
    /// UDP bytes this node sent to its peers, 28 a datagram added.
    Node,
    /// Those of them that went to one peer.
    Peer(NodeNo),
    /// Stream bytes admitted in a lane, over all peers.
    LaneBytes(LaneNo),
    /// Attempts begun in a lane, over all peers.
    LaneAttempts(LaneNo),
    /// Admissions to a peer that a rate delayed.
    Throttled(NodeNo),
    /// Admissions to a peer that a quota refused.
    QuotaDrops(NodeNo),
    /// Since when the two above count, in milliseconds of the wall clock.
    Since,
}

impl Meter {
    /// How many minutes an amount counts; `None`: for ever, in minute 0.
    #[must_use]
    pub const fn span(self) -> Option<u64> {
        match self {
            Self::Node | Self::Peer(_) | Self::LaneBytes(_) => Some(DAY),
            Self::LaneAttempts(_) => Some(HOUR),
            Self::Throttled(_) | Self::QuotaDrops(_) | Self::Since => None,
        }
    }

    /// The first minute whose amount may still count when `minute` is written.
    #[must_use]
    pub const fn oldest(self, minute: u64) -> u64 {
        match self.span() {
            Some(span) => minute.saturating_sub(span),
            None => 0,
        }
    }
}

/// The minute of the age clock that `at` lies in.
#[must_use]
pub const fn minute_of(at: Unix) -> u64 {
    at.0 / MINUTE_MS
}

/// When `minute` begins.
#[must_use]
pub const fn start_of(minute: u64) -> Unix {
    Unix(minute.saturating_mul(MINUTE_MS))
}

/// The amount of one minute, as the ledger keeps it: 0 is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metered {
    /// Of what.
    pub meter: Meter,
    /// In which minute.
    pub minute: u64,
    /// How much.
    pub amount: u64,
}
