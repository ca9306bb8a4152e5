//! Which packs a log file holds, as its row says.
//!
//! The row is written when a file begins and when it ends, not with each group:
//! while a file is written its last pack is [`OPEN_END`].

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::LedgerResult;
use super::place::IN_FILE;
use super::sums::{self, int};
use crate::id::PackNo;

/// A file that holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Raised at each use of any file, so that the newest is the current one.
    pub(super) generation: u64,
    /// The smallest pack number in it.
    pub(super) first: PackNo,
    /// The greatest, or a bound above it.
    pub(super) last: PackNo,
}

impl Held {
    /// What [`IN_FILE`](super::place::IN_FILE) asks for of file `no`.
    pub(super) const fn range(&self, no: u32) -> (i64, i64, u32) {
        (self.first.0 as i64, self.last.0 as i64, no)
    }

    /// Where the last pack in file `no` that a row names ends, its record's head not counted.
    pub(super) fn end(&self, conn: &Connection, no: u32) -> rusqlite::Result<Option<i64>> {
        conn.query_row(
            &format!("SELECT max(p.start + p.table_len + p.bytes) FROM pack p WHERE {IN_FILE}"),
            self.range(no),
            |row| row.get(0),
        )
    }
}

/// The `last` of a file that is still written.
pub(super) const OPEN_END: u64 = i64::MAX as u64;

/// Every file that holds rows.
pub(super) fn load(conn: &Connection) -> LedgerResult<BTreeMap<u32, Held>> {
    let mut query = conn.prepare("SELECT no, generation, first, last FROM log_file")?;
    let rows = query.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(|n| n as u64);
        let held = Held {
            generation: number(1)?,
            first: PackNo(number(2)?),
            last: PackNo(number(3)?),
        };
        Ok((row.get(0)?, held))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets the row of a file.
pub(super) fn write(conn: &Connection, no: u32, held: Held) -> rusqlite::Result<()> {
    let numbers = [held.generation, held.first.0, held.last.0];
    let [generation, first, last] = numbers.map(|number| int(number as i64));
    sums::set(
        conn,
        sums::LOG_FILE,
        &[int(no.into()), generation, first, last],
    )
}
