//! What can go wrong in a ledger: errors of the writer and of its readers.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::{NodeId, StagedId};

/// Why the ledger cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file was written by a later release.
    #[error("{path}: schema {found} is newer than {known}, the newest this release knows; {way}",
        path = path.display(), way = way_back(copy.as_deref()))]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
        /// The newest copy of a schema we know, if one was kept.
        copy: Option<PathBuf>,
    },
    /// An earlier release wrote the ledger, and there is no room to change that. It is as
    /// it was.
    #[error(
        "no room to take the ledger from schema {from} to {to}: it is as it was; make room on its disk, or run the release that wrote it"
    )]
    NoRoomToMigrate {
        /// The schema it has.
        from: i64,
        /// Ours.
        to: i64,
    },
    /// The ledger was made by a node of another name.
    #[error("ledger belongs to node {found}, not to {given}")]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        given: NodeId,
    },
    /// A row without which the ledger means nothing is missing or unreadable.
    #[error("ledger: {0} is unreadable")]
    Unreadable(&'static str),
    /// A change names staged bytes that the shell does not hold. Nothing of the
    /// group is kept.
    #[error("staged bytes {0} are not held")]
    Unstaged(StagedId),
    /// The staged bytes are not as long as the pack they are said to be.
    #[error("staged bytes {staged} are {found} B, the pack is {wanted} B")]
    StagedLength {
        /// Which.
        staged: StagedId,
        /// How long they are.
        found: u64,
        /// How long the pack is.
        wanted: u64,
    },
    /// The file system answered with an error before anything was promised.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// SQLite answered with an error; the transaction was rolled back.
    #[error("ledger: {0}")]
    Sql(#[from] rusqlite::Error),
    /// A sync or COMMIT answered with an error: whether the group is durable is
    /// decided by the disk at the next open. The ledger takes nothing more.
    #[error("outcome unknown: {what}: {source}")]
    OutcomeUnknown {
        /// What was tried.
        what: &'static str,
        /// The answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier call ended with an error after which nothing may be written.
    #[error("ledger takes nothing more after an earlier error")]
    Poisoned,
}

/// Why the bytes of a pack cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such pack, or its bytes are gone.
    #[error("pack is not here")]
    Missing,
    /// The bytes are not those that were written.
    #[error("pack is damaged: {0}")]
    Corrupt(&'static str),
    /// The file system answered with an error.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// On which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// SQLite answered with an error.
    #[error("ledger: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// What an operator can do about a database that is too new.
fn way_back(copy: Option<&Path>) -> String {
    match copy {
        Some(copy) => format!(
            "run the release that wrote it, or go back to the copy {} (docs/OPERATIONS.md, \"Going back to an earlier release\")",
            copy.display()
        ),
        None => "run the release that wrote it: no copy of an earlier schema is kept here".into(),
    }
}

impl LedgerError {
    /// An [`io::Error`] with what was tried, and on what.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// An error after which the disk alone knows what holds.
    pub(super) fn unknown<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::OutcomeUnknown {
            what,
            source: Box::new(source),
        }
    }

    /// An error of COMMIT. One that found the disk full is known to have kept nothing: the
    /// last frame of a transaction is what makes it one, and it is written last.
    pub(super) fn commit(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| {
            if Self::is_disk_full(&source) {
                Self::Sql(source)
            } else {
                Self::unknown(what)(source)
            }
        }
    }

    /// An error met after a COMMIT: nobody may take a full disk for "nothing was done".
    pub(super) fn after_commit(self) -> Self {
        if self.is_full() {
            Self::unknown("after a commit")(self)
        } else {
            self
        }
    }

    pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
        error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }

    /// Whether what is read may not be what the disk holds, or ever will.
    pub(super) fn doubts_disk(&self) -> bool {
        match self {
            Self::OutcomeUnknown { .. } => true,
            Self::Io { .. } | Self::Sql(_) => !self.is_full(),
            Self::TooNew { .. }
            | Self::NoRoomToMigrate { .. }
            | Self::OtherNode { .. }
            | Self::Unreadable(_)
            | Self::Unstaged(_)
            | Self::StagedLength { .. }
            | Self::Poisoned => false,
        }
    }

    /// Whether the disk or the ceiling is full, and nothing else is wrong.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            Self::Sql(error) => Self::is_disk_full(error),
            Self::NoRoomToMigrate { .. } => true,
            Self::TooNew { .. }
            | Self::OtherNode { .. }
            | Self::Unreadable(_)
            | Self::Unstaged(_)
            | Self::StagedLength { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Poisoned => false,
        }
    }
}
