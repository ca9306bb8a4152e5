//! What operators set at run time and what must outlive a restart beside the
//! work itself: limits, pauses, budgets, what panics have named.
//!
//! A setting has a name and a value; the ledger keeps the value as postcard and
//! does not look into it. Where one is set, it goes before the config.

use serde::{Deserialize, Serialize};

use crate::event::Pausing;
use crate::id::{LaneNo, NodeNo};
use crate::poison::Touched;
use crate::time::Unix;

/// Which setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Setting {
    /// The rate of a peer, or of the node.
    Rate(Option<NodeNo>),
    /// The quota of a peer, or of the node.
    Quota(Option<NodeNo>),
    /// A pause of a peer, a lane, a lane of a peer, or everything.
    Pause(Option<NodeNo>, Option<LaneNo>),
    /// The bytes a day of a lane.
    LaneBytes(LaneNo),
    /// The attempts an hour of a lane.
    LaneAttempts(LaneNo),
    /// How often panics have named this.
    Panicked(Touched),
    /// The last run whose panic was counted.
    PanicsCounted,
    /// All that is owed to this peer is being deadlettered.
    Dropping(NodeNo),
}

/// What it is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A number of bytes, bytes a second or attempts, where 0 is no limit; a run.
    Number(u64),
    /// A pause.
    Pause {
        /// What becomes of what is in flight.
        how: Pausing,
        /// Since when.
        since: Unix,
        /// When it ends by itself.
        until: Option<Unix>,
    },
    /// See [`crate::poison::Mark`].
    Panics {
        /// So often as it stands.
        count: u32,
        /// Whether it was named before it was taken apart.
        whole: bool,
        /// When last.
        at: Unix,
    },
    /// Who ordered it.
    By {
        /// Proven by the kernel.
        uid: u32,
    },
}
