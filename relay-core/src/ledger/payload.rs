//! The payload folder: one file for each large segment.
//!
//! Files are written and fsynced by the shell (or here, for a pack too long for
//! the log) before a row names them, and unlinked after the commit that removes
//! the row. A file that no row names is what a crash left, and goes at open; unless rows
//! of packs were damaged.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::care::Care;
use super::counters::Counters;
use super::error::LedgerError;
use super::files::sync_dir;
use super::{LedgerResult, aside, partial, quarantine};
use crate::id::PackNo;

/// The folder and what it holds.
pub(super) struct Payloads {
    dir: PathBuf,
    bytes: u64,
}

impl Payloads {
    /// Opens the folder; what no row names is removed, what one of a pack names is
    /// noted. Where rows of packs were damaged it may be theirs, and is set aside.
    pub(super) fn open(
        dir: &Path,
        conn: &Connection,
        counters: &mut Counters,
        care: &mut Care,
    ) -> LedgerResult<Self> {
        fs::create_dir_all(dir).map_err(LedgerError::io("create", dir))?;
        let lost_packs = care.lost_packs() || quarantine::has_new_packs(conn)?;
        let mut bytes = 0;
        for entry in fs::read_dir(dir).map_err(LedgerError::io("list", dir))? {
            let entry = entry.map_err(LedgerError::io("list", dir))?;
            let path = entry.path();
            let named: Option<i64> = match entry.file_name().to_str() {
                None => None,
                Some(name) => conn
                    .prepare_cached("SELECT no FROM pack WHERE name = ?1")?
                    .query_row([name], |row| row.get(0))
                    .optional()?,
            };
            if let Some(pack) = named {
                let length = entry
                    .metadata()
                    .map_err(LedgerError::io("read", &path))?
                    .len();
                counters.note_payload(PackNo(pack as u64), length);
                bytes += length;
            } else if partial::names(conn, &entry.file_name().to_string_lossy())? {
                continue;
            } else if lost_packs {
                let store = dir.parent().unwrap_or(dir);
                care.set_aside.push(aside::take(store, &path)?);
            } else if is_named_after_all(conn, &entry.file_name())? {
                return Err(LedgerError::Unreadable("an index of packs"));
            } else {
                fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            bytes,
        })
    }

    /// How long a file is, if it is there.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        let file = fs::metadata(self.dir.join(name)).ok()?;
        Some(file.len())
    }

    /// Bytes of files that rows of packs name.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name the ledger gives a file it writes itself.
    pub(super) fn own_name(pack: PackNo) -> String {
        format!("pack-{pack}.seg")
    }

    /// Writes and syncs a file; a failed one is removed again.
    pub(super) fn write(&self, name: &str, body: &[u8]) -> LedgerResult<()> {
        let path = self.dir.join(name);
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(body)?;
            file.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&path);
            LedgerError::io("write", &path)(source)
        })?;
        sync_dir(&self.dir)
    }

    /// A row names a file of `length` bytes.
    pub(super) const fn adopted(&mut self, length: u64) {
        self.bytes += length;
    }

    /// The row that named a file of `length` bytes has durably gone.
    pub(super) fn remove(&mut self, name: &str, length: u64) -> LedgerResult<()> {
        self.bytes = self.bytes.saturating_sub(length);
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(LedgerError::io("remove", &path)(error)),
        }
    }

    /// Removes a file no row came to name.
    pub(super) fn discard(&self, name: &str) {
        // What stays is found unnamed at the next open.
        let _ = fs::remove_file(self.dir.join(name));
    }
}

/// Whether a row names the file and its index does not say so.
pub(super) fn is_named_after_all(conn: &Connection, name: &OsStr) -> LedgerResult<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM pack NOT INDEXED WHERE name = ?1")?;
    Ok(query.exists([name.to_string_lossy()])?)
}
