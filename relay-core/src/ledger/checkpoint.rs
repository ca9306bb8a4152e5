//! SQLite's log is bounded, and checkpointed by us.
//!
//! Past half its bound it is copied back as far as readers let it; at the bound it begins
//! anew, which waits for our own readers to finish a call. A snapshot that somebody else
//! holds (a shell of `sqlite3`, a backup) ends when they please: after one wait in vain the
//! log grows beyond its bound, what it takes counts under the ceiling like anything else,
//! and a wait is tried again after each quarter of the bound. [`Ledger::tend_log`] begins it
//! anew as soon as nobody holds it, and gives back what it took.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::schema::{BUSY, PAGE};
use super::{DATABASE, Ledger, LedgerError, LedgerResult, Options};

/// A frame of the log: a page and its header.
const FRAME: u64 = PAGE + 24;
/// How long the log's bound waits for readers. A call of ours takes far less.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a log must have grown by for another wait, if that is more than a quarter of its
/// bound: a wait is a pause in everything that is written.
const AGAIN: u64 = 4 << 20;
/// How long it waits when nothing needs it at once.
const GLANCE: Duration = Duration::from_millis(20);

/// SQLite's log as last measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Log {
    /// Frames since it last began anew.
    frames: u64,
    /// Frames when the last wait for readers was in vain.
    held: Option<u64>,
}

/// SQLite's log is longer than its bound, since somebody holds a snapshot open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overgrown {
    /// The log.
    pub path: PathBuf,
    /// Bytes it takes.
    pub bytes: u64,
    /// Bytes it should take at most.
    pub bound: u64,
}

/// The bound on the log: two log files of packs, at most 64 MiB (semantics 9).
pub(super) fn bound(options: &Options) -> u64 {
    (2 * options.log_file_bytes).clamp(1 << 20, 64 << 20)
}

/// The index of a log of so many bytes: 32 KiB for each 4,096 frames begun.
pub(super) const fn index_bytes(log: u64) -> u64 {
    (log / FRAME / 4096 + 2) * (32 << 10)
}

/// The log of the database in `dir`.
fn path(dir: &Path) -> PathBuf {
    dir.join(format!("{DATABASE}-wal"))
}

impl Ledger {
    /// What log and index take of the ceiling: their bounds, or more if they are longer.
    pub(super) fn checkpoint_bytes(&self) -> u64 {
        let log = bound(&self.options).max(self.sqlite_log.frames * FRAME);
        log + index_bytes(log)
    }

    /// The log's length, if somebody holds it well beyond its bound.
    #[must_use]
    pub fn overgrown(&self) -> Option<Overgrown> {
        let (bytes, bound) = (self.sqlite_log.frames * FRAME, bound(&self.options));
        let held = self.sqlite_log.held.is_some() && bytes > bound;
        held.then(|| Overgrown {
            path: path(&self.dir),
            bytes,
            bound,
        })
    }

    /// Whether a wait for readers of the log was in vain, and none since was not.
    #[must_use]
    pub const fn log_is_held(&self) -> bool {
        self.sqlite_log.held.is_some()
    }

    /// At a start: a log that a kill left beyond its bound is cut, if nobody holds it.
    pub(super) fn cut_log(&mut self) -> LedgerResult<()> {
        let frames = self.sqlite_log.frames;
        if frames * FRAME <= bound(&self.options) {
            return Ok(());
        }
        let cut = match self.checkpoint("TRUNCATE", GLANCE) {
            // What is owed may be delivered all the same, and make room.
            Err(error) if error.is_full() => {
                self.on_no_room(&error)?;
                false
            }
            other => other?,
        };
        self.sqlite_log.held = (!cut).then_some(frames);
        Ok(())
    }

    /// Begins a log that was held anew if nobody holds it any more, and gives back what it
    /// took.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn tend_log(&mut self) -> LedgerResult<()> {
        self.alive()?;
        if self.log_is_held() {
            let result = self.checkpoint("TRUNCATE", GLANCE);
            if self.guard(result)? {
                self.sqlite_log = Log::default();
            }
        }
        Ok(())
    }

    /// Makes sure that `pages` more fit the log, or that it cannot be helped.
    pub(super) fn make_wal_room(&mut self, pages: u64) -> LedgerResult<()> {
        let bound = bound(&self.options);
        if self.disk_is_full() && self.sqlite_log.frames > 0 {
            // What the log has taken of the disk is written over.
            self.checkpoint("PASSIVE", Duration::ZERO)?;
        }
        let Log { frames, held } = self.sqlite_log;
        if frames == 0 || (frames + pages) * FRAME <= bound {
            if frames * FRAME > bound / 2 {
                self.checkpoint("PASSIVE", Duration::ZERO)?;
            }
            return Ok(());
        }
        let again = AGAIN.max(bound / 4);
        let due = held.is_none_or(|then| frames.saturating_sub(then) * FRAME > again);
        if !due {
            self.checkpoint("PASSIVE", Duration::ZERO)?;
        } else if !self.checkpoint("RESTART", PATIENCE)? {
            self.sqlite_log.held = Some(frames);
        }
        Ok(())
    }

    /// Copies the log back; whether all of it is in the database and, but for `PASSIVE`,
    /// nobody reads it any more: the next write begins it anew.
    fn checkpoint(&mut self, how: &str, wait: Duration) -> LedgerResult<bool> {
        self.conn.busy_timeout(wait)?;
        let sql = format!("PRAGMA wal_checkpoint({how})");
        let answer = self.conn.prepare_cached(&sql)?.query_row([], |row| {
            let (busy, frames) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
            Ok((busy, frames, row.get::<_, i64>(2)?))
        });
        self.conn.busy_timeout(BUSY)?;
        let (busy, frames, copied) = match answer {
            // What finds no room in the database stays in the log.
            Err(error) if self.disk_is_full() && LedgerError::is_disk_full(&error) => {
                return Ok(false);
            }
            other => other?,
        };
        let done = busy == 0 && frames == copied;
        if done {
            self.sqlite_log.frames = 0;
        }
        Ok(done)
    }

    /// Reads how long the log is.
    pub(super) fn measure_log(&mut self) -> LedgerResult<()> {
        let mut query = self.conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
        let frames = query.query_row([], |row| row.get::<_, i64>(1))? as u64;
        drop(query);
        self.sqlite_log.frames = frames;
        // Shorter than it was: it has begun anew.
        if self.sqlite_log.held.is_some_and(|then| frames < then) {
            self.sqlite_log.held = None;
        }
        Ok(())
    }
}
