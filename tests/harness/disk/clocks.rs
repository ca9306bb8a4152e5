//! What the model keeps of the node's clocks, with each group and at each start.

use relay_core::age::Stamp;

use super::Disk;

/// What is durable, and what the next group makes so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// What a start reads back.
    pub(super) durable: Option<Stamp>,
    /// What the clocks said last.
    pub(super) next: Option<Stamp>,
}

impl Kept {
    /// A group is durable.
    pub(super) const fn commit(&mut self) {
        self.durable = self.next;
    }
}

impl Disk {
    /// What a start reads back of the clocks.
    #[must_use]
    pub const fn stamp(&self) -> Option<Stamp> {
        self.clocks.durable
    }

    /// The next group keeps this.
    pub const fn keep_time(&mut self, stamp: Stamp) {
        self.clocks.next = Some(stamp);
    }
}
