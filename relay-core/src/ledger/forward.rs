//! Copying forward: what pins a log file that holds little else moves to the file being
//! written, so that its file can be used again.
//!
//! Without it one pinned pack in every file (a peer that is gone, the deadletter) would
//! hold the whole log. A batch is appended and synced, then its rows name the new places
//! in one transaction; a crash in between leaves records that no row names. The source is
//! let go of by the ordinary rule, once no row is left in it that pins. A pack that cannot
//! be read keeps its file where it is: it is damage, and not made worse. One free file is
//! kept as the destination, so that a full log can still be cleaned.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::bodies::Loaded;
use super::counters::{Deltas, Home, bump, pins_key};
use super::error::{LedgerError, ReadError};
use super::held::Held;
use super::log::RECORD;
use super::place::{IN_FILE, PACK, PackRow, move_pack, read_pack};
use super::{Ledger, LedgerResult};
use crate::id::PackNo;
use crate::time::Unix;

/// Packs copied in one transaction.
const BATCH: usize = 256;
/// Bytes copied in one: whoever waits for the ledger waits for them to be synced.
const BATCH_BYTES: u64 = 4 << 20;
/// Pages such a transaction may write: a row and its share of the indexes each.
const BATCH_PAGES: u64 = 2 * BATCH as u64 + 64;
/// Eighths of a file that may be pinned for it to be worth copying.
const WORTH: u64 = 6;
/// Eighths of the ceiling in use from which files are cleaned before they are needed.
const RELIEF: u64 = 6;

/// What is known of files that are pinned, each named by its generation: no other use of
/// any file has it.
#[derive(Debug, Default)]
pub(super) struct Forward {
    /// The file that is being cleaned, and what was used before.
    source: Option<(u64, u64)>,
    /// Bytes that pin each file, as measured when it had so many pins.
    live: BTreeMap<u64, (u64, u64)>,
    /// How many rows pinned the log when cleaning last won nothing: records do not split,
    /// and what is left behind the last one of each file may be all there is to win.
    stalled: Option<u64>,
    /// Files that hold a pinned pack which cannot be read.
    damaged: BTreeSet<u64>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A batch was copied; there may be more.
    Copied,
    /// A file is free.
    Freed,
    /// Nothing is worth copying, or there is nowhere to copy to.
    Nothing,
}

impl Ledger {
    /// Cleans a little while the ledger fills up; whether another call would do more.
    /// With room to spare it does nothing.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn relieve(&mut self, now: Unix) -> LedgerResult<bool> {
        self.alive()?;
        let space = self.measured_space();
        if space.disk_full || space.used < space.ceiling / 8 * RELIEF {
            return Ok(false);
        }
        let result = match self.forward_step(now) {
            // What is asked for needs the room more: nothing was renamed.
            Err(error) if error.is_full() => {
                self.forward.source = None;
                Ok(Step::Nothing)
            }
            other => other,
        };
        Ok(self.guard(result)? != Step::Nothing)
    }

    /// Frees a log file by copying what pins it; `false` if none is worth it.
    pub(super) fn copy_forward(&mut self, now: Unix) -> LedgerResult<bool> {
        loop {
            match self.forward_step(now)? {
                Step::Copied => {}
                Step::Freed => return Ok(true),
                Step::Nothing => return Ok(false),
            }
        }
    }

    /// One batch.
    fn forward_step(&mut self, now: Unix) -> LedgerResult<Step> {
        if self.has_stalled() {
            return Ok(Step::Nothing);
        }
        let Some((no, held)) = self.source()? else {
            return Ok(Step::Nothing);
        };
        let packs = pinned(&self.conn, no, held)?;
        if !packs.is_empty() {
            return self.copy(no, held, packs);
        }
        let source = self.forward.source.take();
        if self.counters.pins(Home::Log(no)) > 0 {
            // By rows that cannot be read.
            self.forward.damaged.insert(held.generation);
            return Ok(Step::Copied);
        }
        self.retire_log(no, held, now)?;
        let least = self.options.log_file_bytes / 8;
        let used = self.measured_space().used;
        if source.is_some_and(|(_, before)| used + least > before) {
            self.forward.stalled = Some(self.counters.log_pins());
        }
        Ok(Step::Freed)
    }

    /// Whether cleaning won nothing, and too little has been settled since for that to
    /// have changed.
    fn has_stalled(&mut self) -> bool {
        let Some(then) = self.forward.stalled else {
            return false;
        };
        let pins = self.counters.log_pins();
        let still = pins * 16 >= then * 15;
        self.forward.stalled = still.then_some(then.max(pins));
        still
    }

    /// The file that is being cleaned, or the emptiest that is worth it.
    fn source(&mut self) -> LedgerResult<Option<(u32, Held)>> {
        let order = self.log.settled_order();
        if let Some((generation, _)) = self.forward.source {
            let begun = |(_, held): &&(u32, Held)| held.generation == generation;
            if let Some(found) = order.iter().find(begun) {
                return Ok(Some(*found));
            }
        }
        let known: BTreeSet<u64> = order.iter().map(|(_, held)| held.generation).collect();
        self.forward.live.retain(|of, _| known.contains(of));
        self.forward.damaged.retain(|of| known.contains(of));
        let mut best: Option<(u64, u32, Held)> = None;
        for (no, held) in order {
            // What nothing pins is room already.
            let settled = self.counters.pins(Home::Log(no)) == 0;
            if settled || self.forward.damaged.contains(&held.generation) {
                continue;
            }
            let live = self.live_bytes(no, held)?;
            let worth = live <= self.options.log_file_bytes / 8 * WORTH;
            if worth && best.is_none_or(|(least, ..)| live < least) {
                best = Some((live, no, held));
            }
        }
        let used = self.measured_space().used;
        let found = best.map(|(_, no, held)| (no, held));
        self.forward.source = found.map(|(_, held)| (held.generation, used));
        Ok(found)
    }

    /// Bytes that pin a file: counted anew once an eighth of what pinned it has gone.
    fn live_bytes(&mut self, no: u32, held: Held) -> LedgerResult<u64> {
        let pins = self.counters.pins(Home::Log(no));
        if let Some((then, live)) = self.forward.live.get(&held.generation)
            && pins <= *then
            && pins * 8 > then * 7
        {
            return Ok(*live);
        }
        let live = pinned_bytes(&self.conn, no, held)?;
        self.forward.live.insert(held.generation, (pins, live));
        Ok(live)
    }

    fn copy(&mut self, no: u32, held: Held, packs: Vec<PackRow>) -> LedgerResult<Step> {
        let (mut moved, mut step) = (Vec::with_capacity(packs.len()), Step::Nothing);
        let mut bytes_moved = 0;
        for pack in packs {
            if bytes_moved >= BATCH_BYTES {
                break;
            }
            let bytes = match self.bodies.load(&pack) {
                Ok(Loaded::Memory { bytes, .. }) => bytes,
                // It may be read another time.
                Err(ReadError::Io { .. } | ReadError::Sql(_)) => break,
                Ok(Loaded::File { .. }) | Err(ReadError::Corrupt(_) | ReadError::Missing) => {
                    self.damaged += 1;
                    self.forward.damaged.insert(held.generation);
                    step = Step::Copied;
                    break;
                }
            };
            if !self.log.fits(bytes.len() as u64) {
                let free = match self.log.first_free() {
                    Some(free) => Some(free),
                    None => self.new_file()?,
                };
                let Some(free) = free else { break };
                self.log.activate(free, PackNo(self.placed_upto.0 + 1))?;
                if !self.log.fits(bytes.len() as u64) {
                    break;
                }
            }
            let place = self.log.append_moved(pack.no, &bytes)?;
            bytes_moved += bytes.len() as u64;
            moved.push(PackRow { place, ..pack });
        }
        if moved.is_empty() {
            self.forward.source = None;
            return Ok(step);
        }
        self.log.flush()?;
        self.log.sync()?;
        self.synced(|ledger| ledger.rename(no, &moved))?;
        Ok(Step::Copied)
    }

    /// Rows name the new places.
    fn rename(&mut self, from: u32, moved: &[PackRow]) -> LedgerResult<()> {
        self.make_wal_room(BATCH_PAGES)?;
        self.bound_database()?;
        let mut deltas = Deltas::new();
        let change = self.conn.unchecked_transaction()?;
        for pack in moved {
            let pins: i64 = change
                .prepare_cached("SELECT count(*) FROM owed WHERE pack = ?1 AND state != 3")?
                .query_row([pack.no.0 as i64], |row| row.get(0))?;
            bump(&mut deltas, pins_key(Home::Log(from)), -pins);
            bump(&mut deltas, pins_key(super::retire::home(pack)), pins);
            move_pack(&change, pack)?;
        }
        self.log.write_rows(&change)?;
        self.counters.write(&change, &deltas)?;
        change
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        self.counters.merge(&deltas);
        self.measure()
    }
}

/// What pins a pack.
const PINNED: &str = "EXISTS (SELECT 1 FROM owed o WHERE o.pack = p.no AND o.state != 3)";

fn pinned_bytes(conn: &Connection, no: u32, held: Held) -> LedgerResult<u64> {
    let sql = format!(
        "SELECT coalesce(sum(p.table_len + p.bytes + {RECORD}), 0) FROM pack p
         WHERE {IN_FILE} AND {PINNED}"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let live: i64 = query.query_row(held.range(no), |row| row.get(0))?;
    Ok(live as u64)
}

/// The first few; rows that are damaged stay where they are, with their file.
fn pinned(conn: &Connection, no: u32, held: Held) -> LedgerResult<Vec<PackRow>> {
    let sql = format!("SELECT {PACK} FROM pack p WHERE {IN_FILE} AND {PINNED} LIMIT {BATCH}");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(held.range(no))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Ok(pack) = read_pack(row, 0) {
            found.push(pack);
        }
    }
    Ok(found)
}
