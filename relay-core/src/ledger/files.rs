//! The set of log files: which is written, which are free, which hold rows.
//!
//! Files have one fixed length, are filled with zeros once, and are used again
//! when their last row has durably gone. A zero-filled file syncs in half the
//! time of a growing one (`performance.md`), so the next one is filled ahead, a
//! little with each group. Whether a file may be used again is decided by
//! [`super::room`]; this file only does as told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use rusqlite::Connection;

use super::LedgerResult;
use super::error::LedgerError;
use super::filling::Filling;
use super::held::{self, Held, OPEN_END};
use super::log::{self, FIRST_RECORD, RECORD};
use super::place::Place;
use crate::id::{LedgerId, PackNo};

/// Where the next record goes.
#[derive(Clone, Copy, Debug)]
struct Current {
    file: u32,
    generation: u64,
    at: u64,
}

/// The log files of one ledger.
pub(super) struct LogFiles {
    dir: PathBuf,
    ledger: LedgerId,
    length: u64,
    open: BTreeMap<u32, (File, u64)>,
    held: BTreeMap<u32, Held>,
    free: BTreeSet<u32>,
    current: Option<Current>,
    filling: Option<Filling>,
    /// Records not yet written, and where they begin in the current file.
    pending: BytesMut,
    pending_at: u64,
    unsynced: BTreeSet<u32>,
    /// Files whose row in the database is behind.
    touched: BTreeSet<u32>,
    /// Files that hold records of the group in progress.
    fresh: BTreeSet<u32>,
    generation: u64,
}

/// Records gathered before they are written with one call.
const WRITE_BYTES: usize = 1 << 20;
impl LogFiles {
    /// Opens what lies in `dir`; files that hold no row are free, half-filled
    /// ones are removed.
    pub(super) fn open(
        dir: &Path,
        conn: &Connection,
        ledger: LedgerId,
        length: u64,
    ) -> LedgerResult<Self> {
        fs::create_dir_all(dir).map_err(LedgerError::io("create", dir))?;
        let mut files = Self {
            dir: dir.to_path_buf(),
            ledger,
            length,
            open: BTreeMap::new(),
            held: held::load(conn)?,
            free: BTreeSet::new(),
            current: None,
            filling: None,
            pending: BytesMut::new(),
            pending_at: 0,
            unsynced: BTreeSet::new(),
            touched: BTreeSet::new(),
            fresh: BTreeSet::new(),
            generation: 0,
        };
        files.generation = files
            .held
            .values()
            .map(|held| held.generation)
            .max()
            .unwrap_or(0);
        for no in log::numbers_in(dir)? {
            files.adopt(no)?;
        }
        files.resume(conn)?;
        Ok(files)
    }

    fn adopt(&mut self, no: u32) -> LedgerResult<()> {
        let path = log::path(&self.dir, no);
        let file = log::open_file(&path).map_err(LedgerError::io("open", &path))?;
        let length = file
            .metadata()
            .map_err(LedgerError::io("read", &path))?
            .len();
        if self.held.contains_key(&no) {
            self.open.insert(no, (file, length));
        } else if length == self.length {
            self.open.insert(no, (file, length));
            self.free.insert(no);
        } else {
            fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Goes on in the newest file, behind the last record a row names.
    fn resume(&mut self, conn: &Connection) -> LedgerResult<()> {
        let newest = self.held.iter().max_by_key(|(_, held)| held.generation);
        let Some((&no, &held)) = newest else {
            return Ok(());
        };
        if held.last.0 != OPEN_END || self.open.get(&no).is_none_or(|(_, l)| *l != self.length) {
            return Ok(());
        }
        let at = held
            .end(conn, no)?
            .map_or(FIRST_RECORD, |end| end as u64 + RECORD as u64);
        self.current = Some(Current {
            file: no,
            generation: held.generation,
            at,
        });
        self.pending_at = at;
        Ok(())
    }

    /// Whether a record of `length` bytes fits the current file.
    pub(super) fn fits(&self, length: u64) -> bool {
        self.current
            .is_some_and(|c| c.at + RECORD as u64 + length <= self.length)
    }

    /// The longest record any file takes; longer packs get a file of their own,
    /// so that what is left at the end of a file stays small.
    pub(super) const fn longest(&self) -> u64 {
        self.length / 2
    }

    /// Appends a record of the group in progress; [`LogFiles::fits`] was asked first.
    pub(super) fn append(&mut self, pack: PackNo, bytes: &[u8]) -> LedgerResult<Place> {
        let place = self.append_moved(pack, bytes)?;
        if let Some(current) = self.current {
            self.fresh.insert(current.file);
            let held = self.held.get_mut(&current.file);
            let held = held.expect("the current file holds rows");
            if pack < held.first {
                held.first = pack;
                self.touched.insert(current.file);
            }
        }
        Ok(place)
    }

    /// Appends a record that lay in another file: the range of this one does not grow by it.
    pub(super) fn append_moved(&mut self, pack: PackNo, bytes: &[u8]) -> LedgerResult<Place> {
        let current = self
            .current
            .as_mut()
            .expect("a record is appended after it fits");
        let place = Place::Log {
            file: current.file,
            generation: current.generation,
            start: current.at,
        };
        log::put_record(&mut self.pending, current.generation, pack, bytes);
        current.at += (RECORD + bytes.len()) as u64;
        if self.pending.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(place)
    }

    /// Hands pending records to the file system.
    pub(super) fn flush(&mut self) -> LedgerResult<()> {
        let Some(current) = self.current.filter(|_| !self.pending.is_empty()) else {
            return Ok(());
        };
        let (file, _) = self
            .open
            .get(&current.file)
            .expect("the current file is open");
        file.write_all_at(&self.pending, self.pending_at)
            .map_err(LedgerError::io(
                "write",
                &log::path(&self.dir, current.file),
            ))?;
        self.pending_at += self.pending.len() as u64;
        self.pending.clear();
        self.unsynced.insert(current.file);
        Ok(())
    }

    /// Waits until every record written is on stable storage.
    pub(super) fn sync(&mut self) -> LedgerResult<()> {
        for no in &self.unsynced {
            let (file, _) = self.open.get(no).expect("a file written to is open");
            file.sync_data()
                .map_err(LedgerError::unknown("sync payload log"))?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Makes a free file the current one; `first` is the pack it will begin with.
    pub(super) fn activate(&mut self, no: u32, first: PackNo) -> LedgerResult<()> {
        self.flush()?;
        if let Some(old) = self.current.take() {
            let held = self
                .held
                .get_mut(&old.file)
                .expect("the current file holds rows");
            held.last = PackNo(first.0.max(held.first.0));
            self.touched.insert(old.file);
        }
        self.generation += 1;
        let generation = self.generation;
        let (file, _) = self.open.get(&no).expect("a free file is open");
        log::write_header(file, self.ledger, no, generation)
            .map_err(LedgerError::io("write", &log::path(&self.dir, no)))?;
        self.free.remove(&no);
        self.held.insert(
            no,
            Held {
                generation,
                first,
                last: PackNo(OPEN_END),
            },
        );
        self.touched.insert(no);
        self.current = Some(Current {
            file: no,
            generation,
            at: FIRST_RECORD,
        });
        self.pending_at = FIRST_RECORD;
        Ok(())
    }

    /// A free file, if there is one.
    pub(super) fn first_free(&self) -> Option<u32> {
        self.free.first().copied()
    }

    /// Ends what [`LogFiles::fill_ahead`] began, or fills a whole new file.
    pub(super) fn create(&mut self) -> LedgerResult<u32> {
        if self.filling.is_none() {
            self.begin_filling()?;
        }
        self.fill(self.length)?;
        self.first_free()
            .ok_or(LedgerError::Unreadable("a log file just made"))
    }

    /// Whether a file is being filled ahead.
    pub(super) const fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// Begins the next file.
    pub(super) fn begin_filling(&mut self) -> LedgerResult<()> {
        let no = (1..)
            .find(|no| !self.open.contains_key(no) && !self.held.contains_key(no))
            .expect("numbers do not run out");
        self.filling = Some(Filling::begin(&self.dir, no, self.length)?);
        Ok(())
    }

    /// Fills at most `bytes` more of the file begun; at its end it is free.
    pub(super) fn fill(&mut self, bytes: u64) -> LedgerResult<()> {
        let Some(mut filling) = self.filling.take() else {
            return Ok(());
        };
        if filling.fill(bytes)? {
            sync_dir(&self.dir)?;
            self.free.insert(filling.no);
            self.open
                .insert(filling.no, (filling.into_file(), self.length));
        } else {
            self.filling = Some(filling);
        }
        Ok(())
    }

    /// A file whose last row has durably gone is free, or removed if it is of
    /// another length.
    pub(super) fn release(&mut self, no: u32) -> LedgerResult<()> {
        self.held.remove(&no);
        self.touched.remove(&no);
        if self
            .open
            .get(&no)
            .is_some_and(|(_, length)| *length == self.length)
        {
            self.free.insert(no);
        } else if self.open.remove(&no).is_some() {
            let path = log::path(&self.dir, no);
            fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Gives a free file back to the file system; whether there was one.
    pub(super) fn drop_free(&mut self) -> LedgerResult<bool> {
        let Some(no) = self.free.pop_last() else {
            return Ok(false);
        };
        self.open.remove(&no);
        let path = log::path(&self.dir, no);
        fs::remove_file(&path).map_err(LedgerError::io("remove", &path))?;
        Ok(true)
    }

    /// Files that hold rows and are not written, oldest first, with what
    /// [`Held`] says of each.
    pub(super) fn settled_order(&self) -> Vec<(u32, Held)> {
        let current = self.current.map(|current| current.file);
        let held = self.held.iter().map(|(no, held)| (*no, *held));
        let mut all: Vec<(u32, Held)> = held
            .filter(|(no, _)| Some(*no) != current && !self.fresh.contains(no))
            .collect();
        all.sort_unstable_by_key(|(_, held)| held.generation);
        all
    }

    /// Writes the rows of files that changed, inside a transaction.
    pub(super) fn write_rows(&self, conn: &Connection) -> rusqlite::Result<()> {
        for no in &self.touched {
            held::write(conn, *no, self.held[no])?;
        }
        Ok(())
    }

    /// The group whose records were appended is durable.
    pub(super) fn committed(&mut self) {
        self.touched.clear();
        self.fresh.clear();
    }

    /// Bytes the files take, one being filled at its full length.
    pub(super) fn allocated(&self) -> u64 {
        let open: u64 = self.open.values().map(|(_, length)| length).sum();
        open + if self.filling.is_some() {
            self.length
        } else {
            0
        }
    }

    /// Files on disk, one being filled included.
    pub(super) fn count(&self) -> u64 {
        self.open.len() as u64 + u64::from(self.filling.is_some())
    }

    /// Free files.
    pub(super) fn free_count(&self) -> u64 {
        self.free.len() as u64
    }

    /// Files that hold rows.
    pub(super) fn held_count(&self) -> u64 {
        self.held.len() as u64
    }

    /// Bytes left in the current file.
    pub(super) fn left(&self) -> u64 {
        self.current
            .map_or(0, |current| self.length.saturating_sub(current.at))
    }

    /// The file being written.
    pub(super) fn current(&self) -> Option<u32> {
        self.current.map(|current| current.file)
    }
}

/// Makes the names in `dir` and its folders durable, and its own where that may be: what is
/// synced is lost with its name, and a run that was killed may not have come to this.
pub(super) fn sync_names(dir: &Path) -> LedgerResult<()> {
    for folder in [dir.join("log"), dir.join("payload")] {
        sync_dir(&folder)?;
    }
    sync_dir(dir)?;
    match dir.parent().map(File::open) {
        Some(Ok(parent)) => parent.sync_all().map_err(LedgerError::io("sync", dir)),
        Some(Err(_)) | None => Ok(()),
    }
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> LedgerResult<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(LedgerError::io("sync", dir))
}
