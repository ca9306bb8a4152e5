//! Reading a pack's bytes back from where its row says they lie.
//!
//! Used by readers and by the writer alike. Handles are kept open; one that does
//! not hold what the row names is opened anew once, since its file may have been
//! given back and made again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::ReadError;
use super::log::{self, RecordError};
use super::place::{PackRow, Place};
use crate::pack::Table;
use crate::segment::Digest;

/// The bytes of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Table and bodies, contiguous, as they were staged.
    Memory {
        /// Both.
        bytes: Bytes,
        /// How much of them is the table.
        table_len: u32,
    },
    /// The table; the body is the whole of a file.
    File {
        /// The table.
        table: Bytes,
        /// The body.
        path: PathBuf,
        /// How long the body is.
        len: u64,
    },
}

/// Open handles to log files, and where payload files lie.
#[derive(Debug)]
pub(super) struct Bodies {
    logs: PathBuf,
    payloads: PathBuf,
    open: BTreeMap<u32, File>,
}

/// Handles kept open; a ledger has about 32 log files.
const HANDLES: usize = 128;

impl Bodies {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            logs: dir.join("log"),
            payloads: dir.join("payload"),
            open: BTreeMap::new(),
        }
    }

    /// The bytes `pack` names.
    pub(super) fn load(&mut self, pack: &PackRow) -> Result<Loaded, ReadError> {
        match &pack.place {
            Place::Log {
                file,
                generation,
                start,
            } => {
                let bytes = self.record(pack, *file, *generation, *start)?;
                // A log of another ledger has sound records of the same numbers.
                let table = &bytes[..(pack.info.table_len as usize).min(bytes.len())];
                if Digest::of(table) != pack.info.table {
                    return Err(ReadError::Corrupt("table does not match its digest"));
                }
                Ok(Loaded::Memory {
                    bytes,
                    table_len: pack.info.table_len,
                })
            }
            Place::GivenUp(_) => Err(ReadError::Missing),
            Place::Payload { name, table } => {
                let path = self.payloads.join(name);
                match fs::metadata(&path) {
                    Ok(found) if found.len() == pack.info.bytes => Ok(Loaded::File {
                        table: table.clone(),
                        path,
                        len: pack.info.bytes,
                    }),
                    Ok(_) => Err(ReadError::Corrupt("payload file has another length")),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Err(ReadError::Missing)
                    }
                    Err(source) => Err(ReadError::Io { path, source }),
                }
            }
        }
    }

    /// The table of `pack`, checked against the digest in its row.
    pub(super) fn table(&mut self, pack: &PackRow) -> Result<Table, ReadError> {
        let bytes = match &pack.place {
            Place::Log {
                file,
                generation,
                start,
            } => {
                let all = self.record(pack, *file, *generation, *start)?;
                all.slice(..(pack.info.table_len as usize).min(all.len()))
            }
            Place::Payload { table, .. } | Place::GivenUp(table) => table.clone(),
        };
        if Digest::of(&bytes) != pack.info.table {
            return Err(ReadError::Corrupt("table does not match its digest"));
        }
        Table::parse(bytes, pack.info.count).map_err(|_| ReadError::Corrupt("table is malformed"))
    }

    fn record(
        &mut self,
        pack: &PackRow,
        no: u32,
        generation: u64,
        start: u64,
    ) -> Result<Bytes, ReadError> {
        let known = self.open.contains_key(&no);
        let first = self.try_record(pack, no, generation, start);
        if known && matches!(first, Err(ReadError::Corrupt(_))) {
            self.open.remove(&no);
            return self.try_record(pack, no, generation, start);
        }
        first
    }

    fn try_record(
        &mut self,
        pack: &PackRow,
        no: u32,
        generation: u64,
        start: u64,
    ) -> Result<Bytes, ReadError> {
        let path = log::path(&self.logs, no);
        if self.open.len() >= HANDLES && !self.open.contains_key(&no) {
            self.open.clear();
        }
        let file = match self.open.entry(no) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(slot) => slot.insert(File::open(&path).map_err(|source| {
                if source.kind() == io::ErrorKind::NotFound {
                    ReadError::Missing
                } else {
                    ReadError::Io {
                        path: path.clone(),
                        source,
                    }
                }
            })?),
        };
        log::read_record(file, start, generation, pack.no, pack.info.length()).map_err(|error| {
            match error {
                RecordError::Io(source) => ReadError::Io { path, source },
                RecordError::Other(what) => ReadError::Corrupt(what),
            }
        })
    }
}
