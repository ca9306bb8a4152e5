//! Rows of large segments of which only the beginning is here, and the room kept for
//! the rest of each.
//!
//! The shell writes and syncs the file before a row says how much of it there is. From
//! its first row on the whole length counts as taken; the row goes with the commit that
//! makes the file a pack's, or the file goes with the row. A number is never given twice
//! (the boot epoch is in it), so nothing begins under one that ended in the same commit.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::LedgerResult;
use super::payload::Payloads;
use super::rows::Sum;
use crate::change::Change;
use crate::id::{NodeNo, PartialNo, SegmentId};
use crate::partial::PartialRow;
use crate::segment::Digest;
use crate::time::Unix;

/// Which there are, and how long each will be.
#[derive(Default)]
pub(super) struct Partials {
    lengths: BTreeMap<PartialNo, u64>,
}

impl Partials {
    /// Every row whose file is there and long enough. The others go, and what is left
    /// of their files with them: one without a file was about to be dropped, the rest
    /// is damage, and counted.
    pub(super) fn load(
        conn: &Connection,
        payloads: &Payloads,
    ) -> LedgerResult<(Self, Vec<PartialRow>, u64)> {
        let mut query = conn.prepare("SELECT * FROM partial ORDER BY no")?;
        let mut rows = query.query([])?;
        let (mut sound, mut unsound, mut damaged) = (Vec::new(), Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let no = PartialNo(row.get::<_, i64>(0)? as u64);
            let length = payloads.length(&no.file_name());
            let found = read(row).unwrap_or(None);
            match found.filter(|row| length >= Some(row.bytes)) {
                Some(row) => sound.push(row),
                None => {
                    damaged += u64::from(length.is_some());
                    unsound.push(no);
                }
            }
        }
        for no in &unsound {
            remove(conn, *no)?;
            payloads.discard(&no.file_name());
        }
        let lengths = sound.iter().map(|row| (row.no, row.length)).collect();
        Ok((Self { lengths }, sound, damaged))
    }

    /// Room taken.
    pub(super) fn bytes(&self) -> u64 {
        self.lengths.values().sum()
    }

    /// Whether the room of this file is counted here.
    pub(super) fn holds(&self, name: &str) -> bool {
        PartialNo::of_file_name(name).is_some_and(|no| self.lengths.contains_key(&no))
    }

    /// What `changes`, which are durable, bring; answers the room that was reserved for
    /// it.
    pub(super) fn begun<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> u64 {
        let mut reserved = 0;
        for change in changes {
            if let Change::Partial(row) = change
                && self.lengths.insert(row.no, row.length).is_none()
            {
                reserved += row.length;
            }
        }
        reserved
    }

    /// What `changes`, which are durable, end; `is_adopted` says of which files a pack
    /// has been made. The others are removed.
    pub(super) fn ended<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
        is_adopted: impl Fn(&str) -> bool,
        payloads: &Payloads,
    ) {
        for change in changes {
            if let Change::PartialGone(no) = change
                && self.lengths.remove(no).is_some()
                && !is_adopted(&no.file_name())
            {
                payloads.discard(&no.file_name());
            }
        }
    }
}

/// Sets a row.
pub(super) fn write(conn: &Connection, row: &PartialRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO partial VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        row.no.0 as i64,
        row.peer.0,
        row.origin.0,
        row.id.0,
        row.digest.0,
        row.length as i64,
        row.bytes as i64,
        row.at.0 as i64,
        sum(row),
    ])
    .map(drop)
}

/// Removes a row.
pub(super) fn remove(conn: &Connection, no: PartialNo) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM partial WHERE no = ?1")?
        .execute([no.0 as i64])
        .map(drop)
}

/// Whether a row names this file.
pub(super) fn names(conn: &Connection, file: &str) -> LedgerResult<bool> {
    let Some(no) = PartialNo::of_file_name(file) else {
        return Ok(false);
    };
    let mut query = conn.prepare_cached("SELECT 1 FROM partial WHERE no = ?1")?;
    Ok(query.exists([no.0 as i64])?)
}

/// The row, if it is as it was written.
fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<PartialRow>> {
    let number = |at| row.get::<_, i64>(at).map(|n| n as u64);
    let found = PartialRow {
        no: PartialNo(number(0)?),
        peer: NodeNo(row.get(1)?),
        origin: NodeNo(row.get(2)?),
        id: SegmentId(row.get(3)?),
        digest: Digest(row.get(4)?),
        length: number(5)?,
        bytes: number(6)?,
        at: Unix(number(7)?),
    };
    let sound = sum(&found) == row.get::<_, i64>(8)? && found.bytes <= found.length;
    Ok(sound.then_some(found))
}

fn sum(row: &PartialRow) -> i64 {
    Sum::default()
        .num(row.no.0 as i64)
        .num(i64::from(row.peer.0))
        .num(i64::from(row.origin.0))
        .bytes(&row.id.0)
        .bytes(&row.digest.0)
        .num(row.length as i64)
        .num(row.bytes as i64)
        .num(row.at.0 as i64)
        .end()
}

/// Whether a row of the table is as it was written.
pub(super) fn is_sound(row: &rusqlite::Row<'_>) -> bool {
    matches!(read(row), Ok(Some(_)))
}
