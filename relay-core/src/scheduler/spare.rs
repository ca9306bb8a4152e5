//! Room that is used again, so that a decision takes none from the allocator.
//!
//! What holds something for the length of one `handle` is kept empty here between two
//! of them. The room of changes goes out with [`Effect::Persist`](crate::event::Effect)
//! and comes back by [`Scheduler::recycle`]; a bounded number is kept.

use super::Scheduler;
use crate::change::Change;
use crate::id::NodeNo;
use crate::limits;
use crate::ordered::Ordered;

/// Room with nothing in it.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// For batches to come, given back by the shell.
    batches: Vec<Vec<Change>>,
    /// For the peers that are being looked at.
    pub(super) pumped: Ordered<NodeNo>,
    /// For the peers that may take more in a round of sending.
    pub(super) round: Vec<NodeNo>,
}

impl Scheduler {
    /// Takes back the room of changes that were asked to be made durable. Nobody needs
    /// to: without it each batch takes room of its own.
    pub fn recycle(&mut self, mut changes: Vec<Change>) {
        changes.clear();
        let is_small = changes.capacity() <= limits::KEPT_BATCH;
        if is_small && self.spare.batches.len() < limits::KEPT_BATCHES {
            self.spare.batches.push(changes);
        }
    }

    /// Room for changes, if possible some that was used before.
    pub(super) fn empty_batch(&mut self) -> Vec<Change> {
        self.spare.batches.pop().unwrap_or_default()
    }

    /// The peers something happened to; what happens to them from here on counts anew.
    pub(super) fn take_dirty(&mut self) -> Ordered<NodeNo> {
        let empty = std::mem::take(&mut self.spare.pumped);
        std::mem::replace(&mut self.dirty, empty)
    }
}
