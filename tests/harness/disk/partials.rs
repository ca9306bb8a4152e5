//! Files of segments of which only the beginning is here: what is written of each,
//! what is synced, what the rows say.
//!
//! A process that dies leaves what was written; a power loss leaves what was synced.
//! Room for the whole length is taken as long as the file is there.

use std::collections::BTreeMap;

use relay_core::id::{PartialNo, SegmentId};
use relay_core::partial::PartialRow;
use relay_core::segment::Digest;

use crate::node::clocks::BEGIN;

/// What must be the same in what is resumed.
pub type Whole = (usize, SegmentId, Digest, u64);

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// The sender, and the segment it belongs to: id, digest, length.
    pub of: Whole,
    /// Bytes written.
    pub held: u64,
    /// Of these, on stable storage.
    pub synced: u64,
    /// Of these, as far as the shell has heard, in the journal.
    pub journaled: u64,
    /// Whether some of them are not what they were.
    pub bad: bool,
    /// When it was last written to.
    pub at: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Partials {
    /// Files.
    pub files: BTreeMap<PartialNo, File>,
    /// Rows.
    pub rows: BTreeMap<PartialNo, PartialRow>,
}

impl Partials {
    /// Room taken on the disk.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.files.values().map(|file| file.of.3).sum()
    }

    /// Power fails: what was not synced is lost.
    pub fn lose_power(&mut self) {
        for file in self.files.values_mut() {
            file.held = file.held.min(file.synced);
        }
    }

    /// The disk spoils a file in eight: which, the clock says, so that no dice fall
    /// differently.
    pub fn rot(&mut self, now: u64) {
        for (no, file) in &mut self.files {
            file.bad |= (now ^ no.0.wrapping_mul(0x9e37_79b9)).is_multiple_of(8);
        }
    }

    /// A new run: files that no row names go, and rows whose file was dropped.
    ///
    /// # Panics
    /// If a row says more than is on the disk.
    pub fn restart(&mut self) {
        self.files.retain(|no, _| self.rows.contains_key(no));
        self.rows.retain(|no, _| self.files.contains_key(no));
        for (no, row) in &self.rows {
            let held = self.files.get(no).map(|file| file.held);
            assert!(
                held >= Some(row.bytes),
                "[step] {no}: {} B are journaled, {held:?} are there",
                row.bytes
            );
        }
        // Nobody knows of what was written after the last row.
        for (no, file) in &mut self.files {
            file.at = self.rows[no].at.0.saturating_sub(BEGIN) * 1_000;
            file.held = self.rows[no].bytes;
            file.synced = file.held;
            file.journaled = file.held;
        }
    }

    /// The row and the file go.
    pub fn remove(&mut self, no: PartialNo) {
        self.rows.remove(&no);
        self.files.remove(&no);
    }
}
