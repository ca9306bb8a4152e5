//! How much room there is, and how more is made.
//!
//! Allocated space is log files at their full length, payload files, partial files at
//! the length they will have, the database file, SQLite's log and its index at their bounds ([`super::checkpoint`]), what callers have reserved,
//! and the reserve, held or given up.
//! It never passes `max_bytes`: before a group is taken, room is made by using
//! settled log files again, oldest first, by making new ones while the ceiling
//! allows, by dropping settled payload files, and by copying forward what pins files
//! that hold little else. What finds none is refused. A
//! slack is kept for settling, deletes and checkpoints, which need no log space.

use std::path::Path;
use std::{fs, io};

use rusqlite::Connection;

use super::counters::Home;
use super::error::LedgerError;
use super::schema::PAGE;
use super::{Durability, Ledger, LedgerResult, Options, aside, checkpoint};
use crate::event::Space;
use crate::id::PackNo;
use crate::time::Unix;

/// Log files made before settled ones are used again: a quarter of the usual 32,
/// so that acked packs stay to be inspected while room is plenty.
const FILES_KEPT: u64 = 8;
/// What one change adds to the database, with its share of every index: the mean
/// of a pack row and an owed row is below half of it.
pub(super) const CHANGE_BYTES: u64 = 1024;

/// The database as last measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Pages of the database.
    pub(super) pages: u64,
    /// Those of them that hold nothing.
    pub(super) free: u64,
    /// The page bound SQLite was told.
    told: u64,
}

/// What settling, deletes and checkpoints may always take.
fn slack(options: &Options) -> u64 {
    (options.max_bytes / 64).clamp(256 << 10, 16 << 20)
}

/// What the ceiling leaves for a copy of a database of `database` bytes, before the rest
/// of the ledger is opened; never more than a quarter of it.
pub(super) fn for_copy(dir: &Path, options: &Options, database: u64) -> LedgerResult<u64> {
    let log = checkpoint::bound(options) + checkpoint::index_bytes(checkpoint::bound(options));
    let mut taken = database + log + options.reserve + slack(options);
    for folder in ["log", "payload", aside::FOLDER].map(|name| dir.join(name)) {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LedgerError::io("list", &folder)(error)),
        };
        for entry in entries {
            let length = entry.and_then(|entry| entry.metadata());
            taken += length.map_err(LedgerError::io("list", &folder))?.len();
        }
    }
    let left = options.max_bytes.saturating_sub(taken);
    Ok(left.min(options.max_bytes / 4))
}

impl Ledger {
    fn slack(&self) -> u64 {
        slack(&self.options)
    }

    fn outside_database(&self) -> u64 {
        let files = self.log.allocated() + self.payloads.bytes() + self.partials.bytes();
        let kept = self.reserved + self.set_aside + self.reserve.state().wanted();
        files + kept + self.checkpoint_bytes()
    }

    /// What the ceiling leaves unallocated.
    fn unallocated(&self) -> u64 {
        let taken = self.outside_database() + self.size.pages * PAGE;
        self.options.max_bytes.saturating_sub(taken)
    }

    /// Whether `bytes` more may be allocated without touching the slack; of a full disk
    /// nothing is.
    fn may_grow(&self, bytes: u64) -> bool {
        !self.disk_is_full() && self.unallocated() >= bytes + self.slack()
    }

    /// Whether the database may take rows of `bytes` without touching the slack.
    pub(super) fn rows_fit(&self, bytes: u64) -> bool {
        self.unallocated() + self.size.free * PAGE >= bytes + self.slack()
    }

    pub(super) fn measured_space(&self) -> Space {
        let file = self.options.log_file_bytes;
        let held = self.log.held_count();
        let current_pinned = self
            .log
            .current()
            .is_some_and(|no| self.counters.pins(Home::Log(no)) > 0);
        let settled = held
            .saturating_sub(self.counters.pinned_logs())
            .saturating_sub(u64::from(self.log.current().is_some() && !current_pinned));
        let filling = if self.log.is_filling() { file } else { 0 };
        let whole = self.unallocated().saturating_sub(self.slack())
            + (self.log.free_count() + settled) * file
            + self.counters.settled_payloads();
        // One file is kept to copy forward into.
        let loose = (whole + filling + self.log.left()).saturating_sub(file);
        Space {
            used: self.options.max_bytes.saturating_sub(loose),
            ceiling: self.options.max_bytes,
            inbox: self.counters.inbox_bytes(),
            inbox_ceiling: self.options.inbox_max_bytes,
            disk_full: self.disk_is_full(),
            clear: whole.saturating_sub(file),
            longest: self.counters.longest_pinned(),
            unit: file,
        }
    }

    /// Reads how large database and WAL are.
    pub(super) fn measure(&mut self) -> LedgerResult<()> {
        let number = |conn: &Connection, sql: &str| -> rusqlite::Result<u64> {
            conn.prepare_cached(sql)?
                .query_row([], |row| row.get::<_, i64>(0))
                .map(|n| n as u64)
        };
        self.size.pages = number(&self.conn, "PRAGMA page_count")?;
        self.size.free = number(&self.conn, "PRAGMA freelist_count")?;
        self.measure_log()
    }

    /// What is set aside goes, oldest first, as far as it takes what settling and retiring
    /// need: a node that could do neither would never have room again.
    pub(super) fn fit_set_aside(&mut self) -> LedgerResult<()> {
        let taken = self.outside_database() + self.size.pages * PAGE + self.slack();
        let over = taken.saturating_sub(self.options.max_bytes);
        if over > 0 && self.set_aside > 0 {
            let most = self.set_aside.saturating_sub(over);
            self.set_aside = aside::bounded(&self.dir, most)?;
        }
        Ok(())
    }

    /// Tells SQLite how far the database may grow.
    pub(super) fn bound_database(&mut self) -> LedgerResult<()> {
        let limit = self
            .options
            .max_bytes
            .saturating_sub(self.outside_database())
            / PAGE;
        let limit = limit.max(self.size.pages);
        if limit != self.size.told {
            self.conn
                .pragma_update_and_check(None, "max_page_count", limit as i64, |_| Ok(()))?;
            self.size.told = limit;
        }
        Ok(())
    }

    /// Makes the current log file one that `length` more bytes of `pack` fit;
    /// `false` when there is no room.
    pub(super) fn make_log_room(
        &mut self,
        pack: PackNo,
        length: u64,
        now: Unix,
    ) -> LedgerResult<bool> {
        while !self.log.fits(length) {
            match self.usable_free() {
                Some(no) => {
                    self.log.activate(no, pack)?;
                    return Ok(self.log.fits(length));
                }
                None if self.free_one(now)? => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A free file. The last one is kept to copy forward into, unless there is room for
    /// another.
    fn usable_free(&self) -> Option<u32> {
        let spare = self.log.free_count() > 1 || self.may_grow(self.options.log_file_bytes);
        self.log.first_free().filter(|_| spare)
    }

    /// Gives a free file back to the file system, but for the last one.
    pub(super) fn drop_spare(&mut self) -> LedgerResult<bool> {
        Ok(self.log.free_count() > 1 && self.log.drop_free()?)
    }

    /// Brings a log file nearer to being free; `false` if none can be.
    fn free_one(&mut self, now: Unix) -> LedgerResult<bool> {
        let few = self.log.is_filling() || self.log.count() < FILES_KEPT;
        Ok((few && self.new_file()?.is_some())
            || self.retire_oldest_log(now)?
            || self.new_file()?.is_some()
            || self.retire_oldest_payload(now)?
            || self.copy_forward(now)?)
    }

    pub(super) fn new_file(&mut self) -> LedgerResult<Option<u32>> {
        let may = self.log.is_filling() || self.may_grow(self.options.log_file_bytes);
        if self.disk_is_full() || !may {
            return Ok(None);
        }
        match self.log.create() {
            Ok(no) => Ok(Some(no)),
            Err(error) if error.is_full() => {
                self.on_no_room(&error)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Fills the next log file ahead, a little more than the group has used, when
    /// the current one is past its middle and a new one will be wanted.
    pub(super) fn fill_ahead(&mut self, used: u64) -> LedgerResult<()> {
        let length = self.options.log_file_bytes;
        if self.disk_is_full() || self.log.left() > length / 2 || self.log.free_count() > 0 {
            return Ok(());
        }
        let mut begun = Ok(());
        if !self.log.is_filling() {
            if self.log.count() >= FILES_KEPT || !self.may_grow(length) {
                return Ok(());
            }
            begun = self.log.begin_filling();
        }
        match begun.and_then(|()| self.log.fill(4 * used)) {
            // The group is durable: the next one hears of it.
            Err(error) if error.is_full() => self.on_no_room(&error),
            other => other,
        }
    }

    /// Makes sure that rows of `bytes` fit the database, retiring what is settled.
    pub(super) fn make_row_room(&mut self, bytes: u64, now: Unix) -> LedgerResult<bool> {
        while !self.rows_fit(bytes) {
            if self.drop_spare()? {
                continue;
            }
            if !self.retire_oldest_log(now)? && !self.retire_oldest_payload(now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets `bytes` aside for a payload file that the shell is about to write,
    /// giving settled files back as needed; `false` when there is no room. What
    /// was set aside is used up by the commit that names the file, or given back
    /// by [`Ledger::unreserve`].
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn reserve(&mut self, bytes: u64, now: Unix) -> LedgerResult<bool> {
        self.alive()?;
        let result = self.make_free_room(bytes, now);
        let room = self.guard(result)?;
        if room {
            self.reserved += bytes;
        }
        Ok(room)
    }

    /// [`Ledger::reserve`] for a put that is `length` bytes long so far: it is refused, too,
    /// where it would not [leave way](Space::leaves_way) for arrivals.
    ///
    /// # Errors
    /// As for [`Ledger::reserve`].
    pub fn reserve_put(&mut self, bytes: u64, length: u64, now: Unix) -> LedgerResult<bool> {
        let way = self.measured_space().leaves_way(length, bytes);
        Ok(way && self.reserve(bytes, now)?)
    }

    /// Gives back what [`Ledger::reserve`] set aside and no commit has used.
    pub const fn unreserve(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    fn make_free_room(&mut self, bytes: u64, now: Unix) -> LedgerResult<bool> {
        while !self.may_grow(bytes) {
            if self.drop_spare()? || self.retire_oldest_payload(now)? {
                continue;
            }
            if !self.retire_oldest_log(now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs `work` with every commit on stable storage: what it deletes is about
    /// to be written over.
    pub(super) fn synced<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> LedgerResult<T>,
    ) -> LedgerResult<T> {
        match self.options.durability {
            Durability::Synced => work(self),
            Durability::Written => {
                self.conn.pragma_update(None, "synchronous", "FULL")?;
                let done = work(self);
                self.conn.pragma_update(None, "synchronous", "NORMAL")?;
                done
            }
        }
    }
}
