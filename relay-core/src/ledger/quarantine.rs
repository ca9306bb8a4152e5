//! What was damaged and taken out of the way of the rest, one row each.
//!
//! A row says what it was, where it lay and why it is not believed, how many segments
//! that costs and whom they were owed to. The books count the same segments as
//! `quarantined`. Rows stay: they are few, and the only trace.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::ReadError;
use super::reader::Reader;
use super::sums::{self, QUARANTINE, int, maybe, text};
use crate::id::{LaneNo, NodeNo, PackNo};
use crate::time::Unix;

/// Something damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// When it was found, by the age clock; 0 where no clock was to be believed.
    pub at: Unix,
    /// What it was: `owed`, `pack`, `delivery` …
    pub what: String,
    /// Where it lay.
    pub place: String,
    /// Why it is not believed.
    pub why: String,
    /// The pack, if the row said one.
    pub pack: Option<PackNo>,
    /// The member of it, or -1 for the rest, if the row said one.
    pub part: Option<i64>,
    /// To whom it was owed, if that is known.
    pub peer: Option<NodeNo>,
    /// In which lane.
    pub lane: Option<LaneNo>,
    /// Deliveries that will not happen for it.
    pub segments: u64,
    /// Their bytes, as far as known.
    pub bytes: u64,
}

impl Quarantined {
    /// Something of which nobody will miss a segment.
    pub(super) fn new(what: &str, place: String, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            place,
            why: why.to_owned(),
            ..Self::default()
        }
    }
}

/// Writes `found` behind what is there.
pub(super) fn write(conn: &Connection, found: &[Quarantined]) -> rusqlite::Result<()> {
    let last: Option<i64> =
        conn.query_row("SELECT max(no) FROM quarantine", [], |row| row.get(0))?;
    for (no, entry) in (last.unwrap_or(0) + 1..).zip(found) {
        set(conn, no, entry)?;
    }
    Ok(())
}

/// Whether rows of packs were taken out since entries were last dated: by this start, or
/// by one that was cut short before it looked after their files.
pub(super) fn has_new_packs(conn: &Connection) -> rusqlite::Result<bool> {
    let mut query = conn.prepare("SELECT 1 FROM quarantine WHERE what = 'pack' AND at = 0")?;
    query.exists([])
}

/// Gives rows without a moment this one.
pub(super) fn date(conn: &Connection, at: Unix) -> rusqlite::Result<()> {
    let undated: Vec<(i64, Quarantined)> = {
        let mut query = conn.prepare("SELECT * FROM quarantine WHERE at = 0")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, read(row)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    for (no, entry) in undated {
        set(conn, no, &Quarantined { at, ..entry })?;
    }
    Ok(())
}

fn set(conn: &Connection, no: i64, entry: &Quarantined) -> rusqlite::Result<()> {
    let row: [ValueRef<'_>; 11] = [
        int(no),
        int(entry.at.0 as i64),
        text(&entry.what),
        text(&entry.place),
        text(&entry.why),
        maybe(entry.pack.map(|pack| pack.0 as i64)),
        maybe(entry.part),
        maybe(entry.peer.map(|peer| peer.0.into())),
        maybe(entry.lane.map(|lane| lane.0.into())),
        int(entry.segments as i64),
        int(entry.bytes as i64),
    ];
    sums::set(conn, QUARANTINE, &row)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Quarantined> {
    Ok(Quarantined {
        at: Unix(row.get::<_, i64>(1)? as u64),
        what: row.get(2)?,
        place: row.get(3)?,
        why: row.get(4)?,
        pack: row.get::<_, Option<i64>>(5)?.map(|no| PackNo(no as u64)),
        part: row.get(6)?,
        peer: row.get::<_, Option<u32>>(7)?.map(NodeNo),
        lane: row.get::<_, Option<u16>>(8)?.map(LaneNo),
        segments: row.get::<_, i64>(9)? as u64,
        bytes: row.get::<_, i64>(10)? as u64,
    })
}

/// A page of quarantine, and sums over all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantinePage {
    /// Entries with their numbers, newest first.
    pub entries: Vec<(u64, Quarantined)>,
    /// All entries there are.
    pub total: u64,
    /// Deliveries that will not happen for them.
    pub segments: u64,
    /// Their bytes, as far as known.
    pub bytes: u64,
}

impl Reader {
    /// What is in quarantine, newest first, at most `limit`; behind number `before`, if
    /// one is given.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn quarantine_page(
        &mut self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<QuarantinePage, ReadError> {
        let mut query = self
            .conn
            .prepare_cached("SELECT * FROM quarantine WHERE no < ?1 ORDER BY no DESC LIMIT ?2")?;
        let most = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let before = before.map_or(i64::MAX, most);
        let rows = query.query_map((before, most(limit as u64)), |row| {
            Ok((row.get::<_, i64>(0)? as u64, read(row)?))
        })?;
        let entries = rows.collect::<Result<_, _>>()?;
        let sums = "SELECT count(*), coalesce(sum(segments), 0), coalesce(sum(bytes), 0)
            FROM quarantine";
        let mut sums = self.conn.prepare_cached(sums)?;
        let sum = |at: usize, row: &rusqlite::Row<'_>| row.get::<_, i64>(at).map(|n| n as u64);
        Ok(sums.query_row([], |row| {
            Ok(QuarantinePage {
                entries,
                total: sum(0, row)?,
                segments: sum(1, row)?,
                bytes: sum(2, row)?,
            })
        })?)
    }
}
