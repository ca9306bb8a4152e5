//! Whether a chain holds, entry by entry, in bounded memory.
//!
//! [`Chain`] is fed every entry in the order of `seq`, then told the head that is
//! kept beside them; it stops at the first thing that is wrong and says what.

use std::fmt;

use super::AuditEntry;
use crate::segment::Digest;

/// What a walk over the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every entry stands where it was written.
    Sound {
        /// How many there are.
        entries: u64,
        /// How many were pruned before them, with a record that says so.
        pruned: u64,
        /// The number of the last.
        last: u64,
        /// The hash of the last.
        head: Digest,
    },
    /// The first thing that is wrong.
    Broken {
        /// At which entry.
        seq: u64,
        /// What.
        fault: Fault,
    },
}

/// What can be wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its words do not have its hash: it was changed.
    Changed,
    /// It does not follow the entry before it: that one was replaced, or they
    /// were reordered.
    Unlinked,
    /// Entries before it are missing and no record of pruning covers them.
    Missing {
        /// The first that is missing.
        from: u64,
    },
    /// The chain ends before the head that was noted.
    Cut {
        /// The number that was noted.
        head: u64,
    },
    /// The last entry is not the one that was noted as the head.
    OtherHead,
    /// The row cannot be read.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("its words do not have its hash: it was changed"),
            Self::Unlinked => f.write_str("it does not follow the entry before it"),
            Self::Missing { from } => write!(
                f,
                "entries from {from} on are missing, and no record of pruning covers them"
            ),
            Self::Cut { head } => write!(f, "the chain ends here, entry {head} was noted as last"),
            Self::OtherHead => f.write_str("it is not the entry that was noted as last"),
            Self::Unreadable => f.write_str("its row cannot be read"),
        }
    }
}

/// A walk over a chain.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<(u64, Digest)>,
    /// The gap before the first entry, to be covered by a record of pruning.
    gap: Option<(u64, Digest)>,
    covered: bool,
    entries: u64,
}

impl Chain {
    /// The next entry.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn hear(&mut self, entry: &AuditEntry) -> Result<(), Fault> {
        match self.last {
            None if entry.seq == 1 => {
                if entry.prev != Digest::default() {
                    return Err(Fault::Unlinked);
                }
            }
            None => self.gap = Some((entry.seq.saturating_sub(1), entry.prev)),
            // Nothing follows the last number there is.
            Some((seq, _)) if seq.checked_add(1) != Some(entry.seq) => {
                let from = seq.saturating_add(1);
                return Err(Fault::Missing { from });
            }
            Some((_, hash)) if entry.prev != hash => return Err(Fault::Unlinked),
            Some(_) => {}
        }
        if entry.digest() != entry.hash {
            return Err(Fault::Changed);
        }
        if let Some((upto, hash)) = self.gap {
            let names = |name: &str, value: String| entry.field(name) == Some(value.as_str());
            self.covered |= entry.event == super::AuditEvent::AuditPruned.as_str()
                && names(UPTO, upto.to_string())
                && names(LAST_HASH, hash.to_string());
        }
        self.last = Some((entry.seq, entry.hash));
        self.entries += 1;
        Ok(())
    }

    /// No entry is left; `head` was noted as the last.
    #[must_use]
    pub fn end(self, head: Option<(u64, Digest)>) -> Verdict {
        let broken = |seq, fault| Verdict::Broken { seq, fault };
        let (last, hash) = self.last.unwrap_or_default();
        match head {
            Some((noted, _)) if noted > last => return broken(last, Fault::Cut { head: noted }),
            Some((_, noted)) if noted != hash => return broken(last, Fault::OtherHead),
            None if self.last.is_some() => return broken(last, Fault::OtherHead),
            Some(_) | None => {}
        }
        match self.gap {
            Some((upto, _)) if !self.covered => broken(upto + 1, Fault::Missing { from: 1 }),
            gap => Verdict::Sound {
                entries: self.entries,
                pruned: gap.map_or(0, |(upto, _)| upto),
                last,
                head: hash,
            },
        }
    }
}

/// The field of a record of pruning that names the last entry removed.
pub const UPTO: &str = "upto";
/// The field of a record of pruning that names the hash of that entry.
pub const LAST_HASH: &str = "last_hash";
