//! Files that were put and may still lie in their folder, as rows.
//!
//! A row that cannot be read is skipped and counted: its file would be put once more.

use rusqlite::{Connection, params};

use super::LedgerResult;
use super::rows::Sum;
use crate::id::SegmentId;
use crate::spool::{FileMark, Spooled, SpooledRow};

/// Sets a row.
pub(super) fn write(conn: &Connection, row: &SpooledRow) -> rusqlite::Result<()> {
    let file = row.from.file;
    conn.prepare_cached("INSERT OR REPLACE INTO spooled VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            row.segment.0,
            &row.from.folder[..],
            file.inode as i64,
            file.length as i64,
            file.modified,
            sum(row),
        ])
        .map(drop)
}

/// Removes a row.
pub(super) fn remove(conn: &Connection, segment: SegmentId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM spooled WHERE segment = ?1")?
        .execute([segment.0])
        .map(drop)
}

/// Every row that can be read, and how many cannot.
pub(super) fn read(conn: &Connection) -> LedgerResult<(Vec<SpooledRow>, u64)> {
    let mut query = conn.prepare("SELECT * FROM spooled ORDER BY segment")?;
    let mut rows = query.query([])?;
    let (mut found, mut damaged) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        match read_row(row) {
            Ok(Some(row)) => found.push(row),
            Ok(None) | Err(_) => damaged += 1,
        }
    }
    Ok((found, damaged))
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<SpooledRow>> {
    let number = |at| row.get::<_, i64>(at).map(|n| n as u64);
    let folder: String = row.get(1)?;
    let file = FileMark {
        inode: number(2)?,
        length: number(3)?,
        modified: row.get(4)?,
    };
    let found = SpooledRow {
        segment: SegmentId(row.get(0)?),
        from: Spooled {
            folder: folder.into(),
            file,
        },
    };
    let sound = sum(&found) == row.get::<_, i64>(5)?;
    Ok(sound.then_some(found))
}

fn sum(row: &SpooledRow) -> i64 {
    let file = row.from.file;
    Sum::default()
        .bytes(&row.segment.0)
        .bytes(row.from.folder.as_bytes())
        .num(file.inode as i64)
        .num(file.length as i64)
        .num(file.modified)
        .end()
}

/// Whether a row of the table is as it was written.
pub(super) fn is_sound(row: &rusqlite::Row<'_>) -> bool {
    matches!(read_row(row), Ok(Some(_)))
}
