//! A log file being filled with zeros, ahead of its use.
//!
//! Filling happens once in a file's life; a filled file syncs in half the time of
//! a growing one (`performance.md`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LedgerResult;
use super::error::LedgerError;
use super::log;

/// Zeros written with one call.
const ZEROS: usize = 1 << 20;

/// A file that is not yet of its full length.
pub(super) struct Filling {
    /// Its number.
    pub(super) no: u32,
    file: File,
    path: PathBuf,
    done: u64,
    length: u64,
}

impl Filling {
    /// Begins file `no` in `dir`, which will be `length` long.
    pub(super) fn begin(dir: &Path, no: u32, length: u64) -> LedgerResult<Self> {
        let path = log::path(dir, no);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(LedgerError::io("create", &path))?;
        Ok(Self {
            no,
            file,
            path,
            done: 0,
            length,
        })
    }

    /// Writes at most `bytes` more; `true` once the whole file is on stable
    /// storage. A file that finds no room is removed.
    pub(super) fn fill(&mut self, bytes: u64) -> LedgerResult<bool> {
        let until = self.done.saturating_add(bytes).min(self.length);
        let zeros = vec![0u8; ZEROS.min((until - self.done) as usize)];
        while self.done < until {
            let chunk = (until - self.done).min(ZEROS as u64);
            if let Err(source) = self.file.write_all_at(&zeros[..chunk as usize], self.done) {
                return Err(self.removed("fill", source));
            }
            self.done += chunk;
        }
        if self.done < self.length {
            return Ok(false);
        }
        match self.file.sync_all() {
            Ok(()) => Ok(true),
            Err(source) => Err(self.removed("sync", source)),
        }
    }

    fn removed(&self, what: &'static str, source: io::Error) -> LedgerError {
        // What stays is found half-filled at the next open.
        let _ = fs::remove_file(&self.path);
        LedgerError::io(what, &self.path)(source)
    }

    /// The filled file.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}
