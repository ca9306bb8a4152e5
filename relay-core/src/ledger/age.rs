//! The clocks of the last group, for the next start to go on from.
//!
//! Two rows among the counters, whose pages every group writes: keeping time costs
//! no page of its own. A wall clock that was not to be believed has no row.

use rusqlite::{Connection, OptionalExtension};

use super::LedgerResult;
use super::counters::CLOCKS;
use crate::age::Stamp;
use crate::time::Unix;

const AGE: i64 = 0;
const WALL: i64 = 1;

/// What the last run kept.
pub(super) fn read(conn: &Connection) -> LedgerResult<Option<Stamp>> {
    let at = |which| -> rusqlite::Result<Option<Unix>> {
        let mut query = conn
            .prepare("SELECT value FROM counter WHERE kind = ?1 AND a = ?2 AND b = 0 AND c = 0")?;
        let found = query.query_row((CLOCKS, which), |row| row.get::<_, i64>(0));
        Ok(found.optional()?.map(|value| Unix(value as u64)))
    };
    let Some(age) = at(AGE)? else {
        return Ok(None);
    };
    Ok(Some(Stamp {
        age,
        wall: at(WALL)?,
    }))
}

/// Keeps `stamp`, inside a transaction.
pub(super) fn write(conn: &Connection, stamp: Stamp) -> rusqlite::Result<()> {
    let set = |which, at: Unix| super::counters::set(conn, [CLOCKS, which, 0, 0], at.0 as i64);
    set(AGE, stamp.age)?;
    if let Some(wall) = stamp.wall {
        set(WALL, wall)?;
    } else {
        conn.prepare_cached("DELETE FROM counter WHERE kind = ?1 AND a = ?2")?
            .execute((CLOCKS, WALL))?;
    }
    Ok(())
}
