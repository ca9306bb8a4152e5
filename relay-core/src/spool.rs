//! Files that producers drop into a folder: what is known of one, and what is to be
//! done with it.
//!
//! A file is put, and in the transaction of its put a [`SpooledRow`] says that it was;
//! then it is removed, its folder synced, and the row goes. So whatever a crash leaves
//! is told apart: a file with a row is removed and never put again, one without is put.
//! A file is known by its inode, length and time of change, not by its name: one that
//! was written anew is another file. Looking, reading and removing are the shell's.

use std::sync::Arc;

use crate::event::Refusal;
use crate::id::SegmentId;

/// What tells a file of one folder from every other that is or was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMark {
    /// Its inode.
    pub inode: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When its content changed last, nanoseconds since 1970.
    pub modified: i64,
}

/// Which file a put is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// The folder as the config names it.
    pub folder: Arc<str>,
    /// The file in it.
    pub file: FileMark,
}

/// What the ledger keeps of a file that was put, until it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledRow {
    /// The segment that was made of it.
    pub segment: SegmentId,
    /// Which file.
    pub from: Spooled,
}

/// What kind of thing a name in the folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; where it leads is nobody's business.
    Link,
    /// A pipe, a socket, a device.
    Special,
}

/// A name in the folder, as one look at it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it stands for.
    pub kind: Kind,
    /// Under how many names it is known.
    pub links: u64,
    /// Which file it is.
    pub mark: FileMark,
    /// Whether we may take its name away.
    pub removable: bool,
}

/// Why a file stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Reading through it would leave the folder.
    #[error("it is a symbolic link, and only regular files are taken")]
    Link,
    /// Reading it might never end.
    #[error("it is a pipe, socket or device, and only regular files are taken")]
    Special,
    /// Whoever has the other name could change it while it is read.
    #[error("it has {0} hard links, and a file must have one name to be taken")]
    Links(u64),
    /// Longer than this node takes.
    #[error("it has {length} B, and this node takes at most {most} (raise storage.max_bytes)")]
    TooLarge {
        /// What it has.
        length: u64,
        /// What it may have.
        most: u64,
    },
    /// It would be put, and then lie there.
    #[error("this daemon may not remove it (its folder is sticky or not writable for our user)")]
    NotRemovable,
}

/// What is to be done with a name in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is none of ours.
    Leave,
    /// Its bytes are put.
    Put,
    /// It was put: it is removed.
    Remove,
    /// A removal that a crash cut off had moved it aside, and it was never put: it gets
    /// a name again.
    Restore,
    /// It cannot be put as it is.
    PassOver(Fault),
}

/// A name under which a file is moved aside before it is removed.
#[must_use]
pub fn aside_name(inode: u64) -> String {
    format!("{ASIDE}{inode:016x}")
}

/// The inode in a name that [`aside_name`] made.
#[must_use]
pub fn of_aside_name(name: &[u8]) -> Option<u64> {
    let digits = name.strip_prefix(ASIDE.as_bytes())?;
    let inode = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (aside_name(inode).as_bytes() == name).then_some(inode)
}

/// Hidden, so that nobody takes it for a file to be put.
const ASIDE: &str = ".edged-taken-";

/// Judges `name`, which is what was `seen`; `known`: a row says that it was put; files
/// up to `most` bytes are taken.
#[must_use]
pub fn judge(name: &[u8], seen: &Seen, known: bool, most: u64) -> Verdict {
    let is_file = seen.kind == Kind::File;
    if is_file && of_aside_name(name) == Some(seen.mark.inode) {
        return if known {
            Verdict::Remove
        } else {
            Verdict::Restore
        };
    }
    if name.starts_with(b".") {
        return Verdict::Leave;
    }
    match seen.kind {
        Kind::Folder => Verdict::Leave,
        Kind::Link => Verdict::PassOver(Fault::Link),
        Kind::Special => Verdict::PassOver(Fault::Special),
        Kind::File if known => Verdict::Remove,
        Kind::File if seen.links != 1 => Verdict::PassOver(Fault::Links(seen.links)),
        Kind::File if seen.mark.length > most => Verdict::PassOver(Fault::TooLarge {
            length: seen.mark.length,
            most,
        }),
        Kind::File if !seen.removable => Verdict::PassOver(Fault::NotRemovable),
        Kind::File => Verdict::Put,
    }
}

/// Whether we may take away names in a folder, as its mode and owners say: `writable`
/// by access(2), and where the sticky bit is set only what is ours or lies in our folder.
#[must_use]
pub fn may_remove(writable: bool, sticky: bool, (us, folder, file): (u32, u32, u32)) -> bool {
    writable && (!sticky || us == 0 || us == folder || us == file)
}

/// What becomes of a file whose put was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It and all others of the folder wait, and are tried again.
    Wait,
    /// It alone stays; the others go on.
    PassOver,
    /// The daemon ends; the next one goes on.
    Stop,
}

/// What becomes of a file refused for `why`: nothing is ever lost for it.
#[must_use]
pub const fn after_refusal(why: &Refusal) -> Then {
    match why {
        Refusal::Draining => Then::Stop,
        Refusal::TooLarge { .. } => Then::PassOver,
        // The first two pass by themselves; the others by a config that would fit, and then
        // all files of the folder go the same way.
        Refusal::StorageFull(_)
        | Refusal::Unreadable
        | Refusal::UnknownPeer(_)
        | Refusal::UnknownLane(_)
        | Refusal::ReservedLane(_)
        | Refusal::NoPeer
        | Refusal::UnknownRoute(_)
        | Refusal::NoRoute { .. }
        | Refusal::TooFewPeers { .. }
        | Refusal::KeyConflict { .. }
        | Refusal::TooManyNames => Then::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Seen = Seen {
        kind: Kind::File,
        links: 1,
        mark: FileMark {
            inode: 7,
            length: 10,
            modified: 1,
        },
        removable: true,
    };

    fn verdict(name: &str, seen: Seen, known: bool) -> Verdict {
        judge(name.as_bytes(), &seen, known, 10)
    }

    #[test]
    fn a_whole_file_with_one_name_is_put_and_one_that_was_put_is_removed() {
        assert_eq!(verdict("a.bin", FILE, false), Verdict::Put);
        assert_eq!(verdict("a.bin", FILE, true), Verdict::Remove);
        assert_eq!(judge(b"\xff\xfe", &FILE, false, 10), Verdict::Put);
    }

    #[test]
    fn what_a_producer_still_writes_and_what_is_no_file_is_left_alone() {
        let folder = Seen {
            kind: Kind::Folder,
            ..FILE
        };

        assert_eq!(verdict(".a.bin", FILE, false), Verdict::Leave);
        assert_eq!(verdict(".a.bin", FILE, true), Verdict::Leave);
        assert_eq!(verdict("sub", folder, false), Verdict::Leave);
    }

    #[test]
    fn what_cannot_be_put_is_passed_over_with_its_reason() {
        let fault = |seen| verdict("a", seen, false);
        let (link, special) = (Kind::Link, Kind::Special);
        let long = FileMark {
            length: 11,
            ..FILE.mark
        };

        assert_eq!(
            fault(Seen { kind: link, ..FILE }),
            Verdict::PassOver(Fault::Link)
        );
        assert_eq!(
            fault(Seen {
                kind: special,
                ..FILE
            }),
            Verdict::PassOver(Fault::Special)
        );
        assert_eq!(
            fault(Seen { links: 2, ..FILE }),
            Verdict::PassOver(Fault::Links(2))
        );
        let too_large = Fault::TooLarge {
            length: 11,
            most: 10,
        };
        assert_eq!(
            fault(Seen { mark: long, ..FILE }),
            Verdict::PassOver(too_large)
        );
        assert_eq!(
            fault(Seen {
                removable: false,
                ..FILE
            }),
            Verdict::PassOver(Fault::NotRemovable)
        );
    }

    #[test]
    fn a_file_moved_aside_is_removed_if_it_was_put_and_named_again_if_not() {
        let name = aside_name(7);

        assert_eq!(verdict(&name, FILE, true), Verdict::Remove);
        assert_eq!(verdict(&name, FILE, false), Verdict::Restore);
        let other = verdict(&aside_name(8), FILE, false);
        assert_eq!(other, Verdict::Leave, "a producer may call a file so");
        assert_eq!(of_aside_name(b".edged-taken-7"), None);
        assert_eq!(of_aside_name(name.as_bytes()), Some(7));
    }

    #[test]
    fn names_in_a_sticky_folder_are_their_owners_to_remove() {
        let (us, other) = (100, 200);

        assert!(may_remove(true, false, (us, other, other)));
        assert!(!may_remove(true, true, (us, other, other)));
        assert!(may_remove(true, true, (us, us, other)));
        assert!(may_remove(true, true, (us, other, us)));
        assert!(may_remove(true, true, (0, other, other)));
        assert!(!may_remove(false, false, (us, us, us)));
    }

    #[test]
    fn a_full_node_makes_files_wait_and_a_long_file_holds_up_no_other() {
        let full = Refusal::StorageFull(crate::event::Space::default());

        assert_eq!(after_refusal(&full), Then::Wait);
        assert_eq!(
            after_refusal(&Refusal::TooLarge { length: 2, max: 1 }),
            Then::PassOver
        );
        assert_eq!(after_refusal(&Refusal::Draining), Then::Stop);
    }
}
