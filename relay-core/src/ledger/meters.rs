//! What was used, as rows: one for each minute in which something was.
//!
//! Writing a minute removes those of the same meter that no longer count, so the
//! table holds no more than a day of each.

use rusqlite::Connection;

use super::LedgerResult;
use super::sums::{self, int};
use crate::id::{LaneNo, NodeNo};
use crate::meter::{Meter, Metered};

/// How a row names a meter.
const fn code(meter: Meter) -> (i64, i64) {
    match meter {
        Meter::Node => (1, 0),
        Meter::Peer(no) => (2, no.0 as i64),
        Meter::LaneBytes(no) => (3, no.0 as i64),
        Meter::LaneAttempts(no) => (4, no.0 as i64),
        Meter::Throttled(no) => (5, no.0 as i64),
        Meter::QuotaDrops(no) => (6, no.0 as i64),
        Meter::Since => (7, 0),
    }
}

fn meter(kind: i64, who: i64) -> Option<Meter> {
    let node = || u32::try_from(who).ok().map(NodeNo);
    let lane = || u16::try_from(who).ok().map(LaneNo);
    match kind {
        1 => Some(Meter::Node),
        2 => node().map(Meter::Peer),
        3 => lane().map(Meter::LaneBytes),
        4 => lane().map(Meter::LaneAttempts),
        5 => node().map(Meter::Throttled),
        6 => node().map(Meter::QuotaDrops),
        7 => Some(Meter::Since),
        _ => None,
    }
}

/// Sets what was used in one minute; nothing used is no row.
pub(super) fn write(conn: &Connection, row: Metered) -> rusqlite::Result<()> {
    let (kind, who) = code(row.meter);
    if row.amount == 0 {
        conn.prepare_cached("DELETE FROM meter WHERE kind = ?1 AND who = ?2 AND minute = ?3")?
            .execute((kind, who, row.minute as i64))?;
    } else {
        let row = [kind, who, row.minute as i64, row.amount as i64].map(int);
        sums::set(conn, sums::METER, &row)?;
    }
    let oldest = row.meter.oldest(row.minute);
    if oldest > 0 {
        conn.prepare_cached("DELETE FROM meter WHERE kind = ?1 AND who = ?2 AND minute < ?3")?
            .execute((kind, who, oldest as i64))?;
    }
    Ok(())
}

/// Every row whose meter this release knows.
pub(super) fn read(conn: &Connection) -> LedgerResult<Vec<Metered>> {
    let mut query =
        conn.prepare("SELECT kind, who, minute, amount FROM meter ORDER BY kind, who, minute")?;
    let rows = query.query_map([], |row| {
        let (minute, amount): (i64, i64) = (row.get(2)?, row.get(3)?);
        let found = meter(row.get(0)?, row.get(1)?);
        Ok(found.map(|meter| Metered {
            meter,
            minute: minute as u64,
            amount: amount as u64,
        }))
    })?;
    let rows: Vec<Option<Metered>> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}
