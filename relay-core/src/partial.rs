//! Beginnings of large segments that outlive their link: what is kept of one, and
//! how far what arrives may run ahead of the journal.
//!
//! A segment that is cut off goes on where the receiver left it, not at its first
//! byte: after a lost link from what the process holds, after a crash from what the
//! journal says (semantics 10). Which one is resumed and which one is dropped is the
//! scheduler's; here stand the fact and the pace.

use std::time::Duration;

use crate::id::{NodeNo, PartialNo, SegmentId};
use crate::segment::Digest;
use crate::time::Unix;

/// What the ledger keeps of a segment of which only the beginning is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialRow {
    /// Its number here, which names its file.
    pub no: PartialNo,
    /// Who sends it.
    pub peer: NodeNo,
    /// Whose segment it is.
    pub origin: NodeNo,
    /// Which.
    pub id: SegmentId,
    /// The digest of the whole.
    pub digest: Digest,
    /// The length of the whole, for which room is kept.
    pub length: u64,
    /// Bytes on stable storage, from the first on.
    pub bytes: u64,
    /// When there was progress last.
    pub at: Unix,
}

impl PartialNo {
    /// The name of its file in the payload folder.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:016x}.part", self.0)
    }

    /// The number in a name that [`PartialNo::file_name`] made.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".part")?;
        let no = u64::from_str_radix(digits, 16).ok().map(Self)?;
        (no.file_name() == name).then_some(no)
    }
}

/// How what arrives of a large segment is written, synced and journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Nothing is kept of a segment up to this length: repeating it whole costs no
    /// more than what a lost link may cost, 64 KiB.
    pub keep_over: u64,
    /// One up to this length waits in memory while its link lasts, unless it takes
    /// longer than `every`; a longer one is written to a file from its first byte.
    pub in_memory: u64,
    /// Bytes written since the last sync that make another one due. Half of `ahead`,
    /// so that bytes go on arriving while a sync is under way.
    pub step: u64,
    /// A sync is due after this long if anything was written since the last.
    pub every: Duration,
    /// Bytes that may be here and not in the journal: what a kill repeats.
    pub ahead: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            keep_over: 64 << 10,
            in_memory: 1 << 20,
            step: 512 << 10,
            every: Duration::from_secs(5),
            ahead: 1 << 20,
        }
    }
}

impl Pace {
    /// Whether the beginning of a segment of this length is worth keeping.
    #[must_use]
    pub const fn keeps(&self, length: u64) -> bool {
        length > self.keep_over
    }

    /// Whether a segment of this length is written to a file from the start.
    #[must_use]
    pub const fn files(&self, length: u64) -> bool {
        length > self.in_memory
    }

    /// Whether a sync is due with `held` bytes written, `synced` of them synced or
    /// being synced, the last sync begun `since` ago.
    #[must_use]
    pub fn sync_is_due(&self, held: u64, synced: u64, since: Duration) -> bool {
        held > synced && (held - synced >= self.step || since >= self.every)
    }

    /// How many bytes may be taken in with `held` here and `journaled` durable.
    #[must_use]
    pub const fn room(&self, held: u64, journaled: u64) -> u64 {
        (journaled + self.ahead).saturating_sub(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_leads_back_to_its_number() {
        let no = PartialNo(0x0000_0007_0000_0021);

        assert_eq!(PartialNo::of_file_name(&no.file_name()), Some(no));
        for other in ["0000000700000021.seg", "700000021.part", "x.part", ".part"] {
            assert_eq!(PartialNo::of_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_sync_is_due_after_a_step_or_after_a_while() {
        let pace = Pace::default();
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(5));

        assert!(pace.sync_is_due(pace.step, 0, soon));
        assert!(!pace.sync_is_due(pace.step - 1, 0, soon));
        assert!(pace.sync_is_due(1, 0, late));
        assert!(!pace.sync_is_due(9, 9, late), "nothing was written");
    }

    #[test]
    fn no_more_than_a_mebibyte_is_here_and_not_journaled() {
        let pace = Pace::default();

        assert_eq!(pace.room(0, 0), 1 << 20);
        assert_eq!(pace.room(3 << 20, 2 << 20), 0);
        assert_eq!(pace.room(5 << 20, 2 << 20), 0);
    }
}
