//! Packs in the log that no row names: a group that a crash cut short, or more, where the
//! database is older than its log.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use super::{LedgerResult, held, log};
use crate::id::PackNo;

/// Counts what the log holds behind the last record that a row names.
pub(super) fn count(conn: &Connection, store: &Path) -> LedgerResult<u64> {
    let (pack, newest): (Option<i64>, Option<i64>) = conn.query_row(
        "SELECT (SELECT max(no) FROM pack), (SELECT max(generation) FROM log_file)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let noted = super::meta(conn, "last_pack")?;
    let pack = PackNo(pack.max(noted).unwrap_or(0) as u64);
    let newest = newest.unwrap_or(0) as u64;
    let held = held::load(conn)?;
    let end = match held.iter().max_by_key(|(_, held)| held.generation) {
        Some((no, held)) => held.end(conn, *no)?,
        None => None,
    };
    let folder = store.join("log");
    let mut found = 0;
    for no in log::numbers_in(&folder).unwrap_or_default() {
        // What cannot be opened says nothing here; who reads it will be told.
        let Ok(file) = File::open(log::path(&folder, no)) else {
            continue;
        };
        found += match log::generation(&file) {
            Some(generation) if generation == newest => {
                let at = end.map_or(log::FIRST_RECORD, |end| end as u64 + log::RECORD as u64);
                log::records_above(&file, generation, at, pack)
            }
            Some(generation) if generation > newest => {
                log::records_above(&file, generation, log::FIRST_RECORD, pack)
            }
            Some(_) | None => 0,
        };
    }
    Ok(found)
}
