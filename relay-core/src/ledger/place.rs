//! Rows of packs as values: what a pack is and where its bytes lie.
//!
//! Like every deciding row they carry a checksum; one that does not match is
//! [`Damaged`].

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::rows::{Damaged, Sum, column};
use crate::id::{LaneNo, NodeNo, PackNo, SegmentId, Sequence};
use crate::segment::{Digest, PackInfo};
use crate::time::Unix;

/// Where the bytes of a pack lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A record of the log.
    Log {
        /// The file.
        file: u32,
        /// The file's generation when it was written.
        generation: u64,
        /// Where the record begins.
        start: u64,
    },
    /// A file of its own; the table lies in the row.
    Payload {
        /// Its name in the payload folder.
        name: String,
        /// The table.
        table: Bytes,
    },
    /// Nowhere any longer; the table lies in the row.
    GivenUp(Bytes),
}

/// A row of `pack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackRow {
    /// Its number.
    pub(super) no: PackNo,
    /// What it is.
    pub(super) info: PackInfo,
    /// Where it lies.
    pub(super) place: Place,
}

/// The columns [`read_pack`] takes, in its order and the table's, of a table named `p`.
pub(super) const PACK: &str = "p.no, p.lane, p.origin, p.hops, p.count, p.bytes, p.table_len, \
     p.digest, p.id_first, p.id_last, p.created, p.expires, p.file, p.generation, p.start, \
     p.name, p.head, p.sum, p.moved, p.via, p.sequence";

/// How many they are.
pub(super) const PACK_WIDTH: usize = 21;

/// Which rows of a table named `p` lie in the log file `?3`: those written to it, whose
/// numbers are `?1` to `?2`, and those moved to it.
pub(super) const IN_FILE: &str = "(p.no BETWEEN ?1 AND ?2 AND p.file = ?3 AND p.moved IS NULL \
     OR p.no IN (SELECT no FROM pack WHERE moved IS NOT NULL AND file = ?3))";

fn pack_sum(pack: &PackRow) -> i64 {
    let info = &pack.info;
    let sum = Sum::default()
        .num(pack.no.0 as i64)
        .num(i64::from(info.lane.0))
        .num(i64::from(info.origin.0))
        .num(i64::from(info.hops))
        .num(i64::from(info.count))
        .num(info.bytes as i64)
        .num(i64::from(info.table_len))
        .bytes(&info.table.0)
        .bytes(&info.first.0)
        .bytes(&info.last.0)
        .num(info.created.0 as i64)
        .maybe(info.expires.map(|at| at.0 as i64));
    // Rows of the first schema had neither, and keep the sum they have.
    let sum = if info.via.0 > 0 || info.sequence.0 > 0 {
        sum.num(i64::from(info.via.0)).num(info.sequence.0 as i64)
    } else {
        sum
    };
    match &pack.place {
        Place::Log {
            file,
            generation,
            start,
        } => sum
            .num(i64::from(*file))
            .num(*generation as i64)
            .num(*start as i64)
            .end(),
        Place::Payload { name, table: _ } => sum.bytes(name.as_bytes()).end(),
        Place::GivenUp(_) => sum.end(),
    }
}

/// Writes a row of `pack`; one of the same number is replaced.
pub(super) fn write_pack(conn: &Connection, pack: &PackRow) -> rusqlite::Result<()> {
    let mut write = conn.prepare_cached(
        "INSERT OR REPLACE INTO pack VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, NULL, ?19, ?20)",
    )?;
    let info = &pack.info;
    let (file, generation, start, name, head) = match &pack.place {
        Place::Log {
            file,
            generation,
            start,
        } => (
            Some(*file),
            Some(*generation as i64),
            Some(*start as i64),
            None,
            None,
        ),
        Place::Payload { name, table } => (None, None, None, Some(name), Some(table.as_ref())),
        Place::GivenUp(table) => (None, None, None, None, Some(table.as_ref())),
    };
    write.execute(params![
        pack.no.0 as i64,
        info.lane.0,
        info.origin.0,
        info.hops,
        info.count,
        info.bytes as i64,
        info.table_len,
        info.table.0,
        info.first.0,
        info.last.0,
        info.created.0 as i64,
        info.expires.map(|at| at.0 as i64),
        file,
        generation,
        start,
        name,
        head,
        pack_sum(pack),
        info.via.0,
        info.sequence.0 as i64
    ])?;
    Ok(())
}

/// Writes where a pack lies in the log now; it is not among those that were written to
/// its file in order.
pub(super) fn move_pack(conn: &Connection, pack: &PackRow) -> rusqlite::Result<()> {
    let Place::Log {
        file,
        generation,
        start,
    } = &pack.place
    else {
        return write_pack(conn, pack);
    };
    conn.prepare_cached(
        "UPDATE pack SET file = ?2, generation = ?3, start = ?4, sum = ?5, moved = 1 WHERE no = ?1",
    )?
    .execute(params![
        pack.no.0 as i64,
        *file,
        *generation as i64,
        *start as i64,
        pack_sum(pack)
    ])
    .map(drop)
}

/// Reads the columns [`PACK`] that begin at `at`.
pub(super) fn read_pack(row: &Row<'_>, at: usize) -> Result<PackRow, Damaged> {
    let number = |n: usize| column::<i64>(row, at + n);
    let maybe = |n: usize| column::<Option<i64>>(row, at + n);
    let small = |n: usize| number(n).and_then(|v| u32::try_from(v).map_err(|_| Damaged));
    let place = match (maybe(12)?, maybe(13)?, maybe(14)?) {
        (Some(file), Some(generation), Some(start)) => Place::Log {
            file: u32::try_from(file).map_err(|_| Damaged)?,
            generation: generation as u64,
            start: start as u64,
        },
        (None, None, None) => {
            let table = column::<Vec<u8>>(row, at + 16)?.into();
            match column(row, at + 15)? {
                Some(name) => Place::Payload { name, table },
                None => Place::GivenUp(table),
            }
        }
        _ => return Err(Damaged),
    };
    let pack = PackRow {
        no: PackNo(number(0)? as u64),
        info: PackInfo {
            lane: LaneNo(u16::try_from(number(1)?).map_err(|_| Damaged)?),
            origin: NodeNo(small(2)?),
            via: NodeNo(small(19)?),
            hops: u8::try_from(number(3)?).map_err(|_| Damaged)?,
            sequence: Sequence(number(20)? as u64),
            count: small(4)?,
            bytes: number(5)? as u64,
            table_len: small(6)?,
            table: Digest(column(row, at + 7)?),
            first: SegmentId(column(row, at + 8)?),
            last: SegmentId(column(row, at + 9)?),
            created: Unix(number(10)? as u64),
            expires: maybe(11)?.map(|at| Unix(at as u64)),
        },
        place,
    };
    if pack_sum(&pack) == number(17)? {
        Ok(pack)
    } else {
        Err(Damaged)
    }
}
