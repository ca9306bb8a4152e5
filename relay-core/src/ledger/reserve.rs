//! The reserve as a file: [`crate::reserve`] says what is done with it, here it is done.
//!
//! It lies beside the database, zeros that were really written. What cannot be cut or
//! looked at is an error like any other; what finds no room is the answer to a question.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::{Ledger, LedgerResult};
use crate::reserve::{Reserve, Step};

/// Zeros written at once: whoever waits for the ledger waits for them.
const PIECE: u64 = 1 << 20;
/// The unit in which a file's blocks are counted.
const BLOCK: u64 = 512;

/// The file and what is known of it.
pub(super) struct ReserveFile {
    path: PathBuf,
    state: Reserve,
}

impl ReserveFile {
    /// Takes up what is in `dir`, of which `wanted` bytes shall be kept, before anything
    /// else is written there: on a full disk the start itself needs room.
    pub(super) fn open(dir: &Path, wanted: u64) -> LedgerResult<Self> {
        let path = dir.join("reserve");
        let held = match fs::metadata(&path) {
            Ok(file) => file.len().min(file.blocks() * BLOCK),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(LedgerError::io("read", &path)(error)),
        };
        if wanted == 0 && held > 0 {
            fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
        }
        let state = Reserve::found(wanted, held.min(wanted));
        let mut file = Self { path, state };
        // A kill may have left any part of it on a disk that is full.
        if wanted > 0 && !file.has_more()? {
            file.give_up()?;
            file.cut(0)?;
        }
        Ok(file)
    }

    /// The rule and what it knows.
    pub(super) const fn state(&self) -> &Reserve {
        &self.state
    }

    /// Whether the disk takes a piece more; it gets it back.
    fn has_more(&self) -> LedgerResult<bool> {
        let held = self.state.held();
        let more = match self.write(held, held + PIECE) {
            Ok(()) => true,
            Err(error) if error.is_full() => false,
            Err(error) => return Err(error),
        };
        self.cut(held)?;
        Ok(more)
    }

    /// The disk has no room: the file gives back what it holds.
    fn give_up(&mut self) -> LedgerResult<()> {
        match self.state.on_full() {
            Some(step) => self.perform(step),
            None => Ok(()),
        }
    }

    /// Writes a piece of what is missing; whether there is more to write at once.
    fn fill(&mut self) -> LedgerResult<bool> {
        let Some(step) = self.state.next(PIECE) else {
            return Ok(false);
        };
        match self.perform(step) {
            Ok(()) => Ok(self.state.next(PIECE).is_some()),
            Err(error) if error.is_full() => {
                self.give_up()?;
                // Even what was begun of a piece is wanted elsewhere.
                self.cut(0)?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn perform(&mut self, step: Step) -> LedgerResult<()> {
        match step {
            Step::Cut(to) => self.cut(to),
            Step::Fill { from, to } => {
                self.write(from, to)?;
                match self.state.on_filled(to) {
                    Some(step) => self.perform(step),
                    None => Ok(()),
                }
            }
        }
    }

    fn write(&self, from: u64, to: u64) -> LedgerResult<()> {
        let zeros = vec![0; (to - from) as usize];
        let write = || self.file()?.write_all_at(&zeros, from);
        write().map_err(LedgerError::io("write", &self.path))
    }

    fn cut(&self, to: u64) -> LedgerResult<()> {
        let cut = || self.file()?.set_len(to);
        cut().map_err(LedgerError::io("cut", &self.path))
    }

    fn file(&self) -> io::Result<File> {
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(false);
        open.open(&self.path)
    }
}

impl Ledger {
    /// Whether the disk itself is full: the reserve is given up, and nothing that brings
    /// bytes is taken.
    #[must_use]
    pub const fn disk_is_full(&self) -> bool {
        self.reserve.state().is_full()
    }

    /// Writes a piece of the reserve, if some is missing; whether there is more to write
    /// at once. On a full disk it is what finds out that there is room again.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn tend_reserve(&mut self) -> LedgerResult<bool> {
        self.alive()?;
        let result = self.reserve.fill();
        self.guard(result)
    }

    /// `error` found no room: of the disk, or for rows under the ceiling. SQLite has one
    /// word for both, and a piece more than the reserve shows which it was.
    pub(super) fn on_no_room(&mut self, error: &LedgerError) -> LedgerResult<()> {
        let of_rows = matches!(error, LedgerError::Sql(_)) && !self.disk_is_full();
        if of_rows && self.reserve.has_more()? {
            return Ok(());
        }
        self.reserve.give_up()
    }
}
