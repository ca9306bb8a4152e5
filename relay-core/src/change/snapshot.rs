//! What is read back: the state at start-up, and pieces of the work itself.

use super::OwedRow;
#[cfg(doc)]
use super::{Due, Part};
use crate::delivery::{StateName, WaitingOn};
use crate::id::{BootEpoch, LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo, ReceiptNo};
use crate::meter::Metered;
use crate::partial::PartialRow;
use crate::segment::PackInfo;
use crate::setting::{Setting, Value};
use crate::spool::SpooledRow;
use crate::time::Unix;

/// What waits or lies in one (peer, lane), summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Depth {
    /// Rows ([`Due`]s).
    pub parcels: u64,
    /// Deliveries.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Waiting rows of one peer, lane and state that no page of work shows, for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelved {
    /// To whom.
    pub peer: NodeNo,
    /// In which lane.
    pub lane: LaneNo,
    /// Scheduled or failed.
    pub state: StateName,
    /// The first that holds of held, standby, and stuck before a full deadletter.
    pub on: WaitingOn,
    /// How many.
    pub depth: Depth,
}

/// What start-up reads back: everything but the work itself, which is paged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// This ledger.
    pub ledger: LedgerId,
    /// This run.
    pub epoch: BootEpoch,
    /// Numbered nodes; number 0 is this node.
    pub nodes: Vec<(NodeNo, NodeId)>,
    /// Numbered lanes.
    pub lanes: Vec<(LaneNo, LaneName)>,
    /// The greatest pack number given.
    pub last_pack: PackNo,
    /// The greatest receipt number given.
    pub last_receipt: ReceiptNo,
    /// The highest pack number stored from each ledger in each lane.
    pub heard: Vec<(LedgerId, LaneNo, PackNo)>,
    /// Receipts not yet settled, counted per peer.
    pub unsettled: Vec<(NodeNo, u64)>,
    /// What stands where, per peer and lane. No row is in flight: recovery has
    /// returned them.
    pub depths: Vec<(NodeNo, LaneNo, StateName, Depth)>,
    /// Deliveries recovery returned from an open attempt.
    pub rescued: u64,
    /// What operators have set.
    pub settings: Vec<(Setting, Value)>,
    /// What was used, minute by minute.
    pub meters: Vec<Metered>,
    /// Waiting rows that are shelved: they are among `depths` and in no page.
    pub shelved: Vec<Shelved>,
    /// Rows that are stuck: failed, with no room for them in the deadletter.
    pub stuck: u64,
    /// When the first waiting row stops being worth sending.
    pub expires: Option<Unix>,
    /// Large segments of which only the beginning is here.
    pub partials: Vec<PartialRow>,
    /// Files that are put and were not seen to be gone: the shell removes them.
    pub spooled: Vec<SpooledRow>,
}

/// A piece of work read back from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedRow {
    /// The row.
    pub row: OwedRow,
    /// The pack it belongs to.
    pub info: PackInfo,
    /// With [`Part::Rest`]: members that have a row of their own for this peer,
    /// ascending.
    pub except: Vec<u16>,
    /// Whether enough other peers have it, by its [`Place`](crate::aim::Place).
    pub met: bool,
}
