//! Which segments are known here: by the packs that hold them, or by marks.
//!
//! The ids of a pack lie within [`limits::PACK_ID_SPAN_MS`], so the packs that may
//! hold an id begin within that span before it: one range of the index answers
//! for all ids asked about, and only packs whose own range covers one of them are
//! read. Groups in progress are the caller's to ask.

use std::collections::BTreeMap;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};

use super::error::ReadError;
use super::reader::{Read, Reader};
use super::rows::column;
use crate::event::Known;
use crate::id::{NodeNo, PackNo, SegmentId, SegmentPrefix};
use crate::limits;
use crate::segment::Digest;

/// Ids and the digests they are known with.
type Found = BTreeMap<SegmentId, Digest>;

impl Reader {
    /// An answer for each id of `origin`, in order.
    ///
    /// # Errors
    /// [`ReadError::Sql`] and [`ReadError::Io`]: what cannot be read may hold them. A
    /// candidate whose bytes are damaged is counted and knows nothing.
    pub fn look_up(
        &mut self,
        origin: NodeNo,
        ids: &[(SegmentId, Digest)],
    ) -> Result<Vec<Known>, ReadError> {
        let mut sorted: Vec<SegmentId> = ids.iter().map(|(id, _)| *id).collect();
        sorted.sort_unstable();
        let mut found = Found::new();
        for run in runs(&sorted) {
            for pack in candidates(&self.conn, PACKS, Some(origin), run)? {
                self.add_pack(pack, &mut found)?;
            }
            for mark in candidates(&self.conn, MARKS, Some(origin), run)? {
                add_mark(&self.conn, mark, &mut found)?;
            }
        }
        let answer = |(id, digest): &(SegmentId, Digest)| match found.get(id) {
            None => Known::No,
            Some(known) if known == digest => Known::Same,
            Some(_) => Known::Other,
        };
        Ok(ids.iter().map(answer).collect())
    }

    fn add_pack(&mut self, pack: PackNo, found: &mut Found) -> Read<()> {
        match self.table(pack) {
            Ok(table) => found.extend(table.members().iter().map(|m| (m.id, m.digest))),
            Err(error @ (ReadError::Sql(_) | ReadError::Io { .. })) => return Err(error),
            // Retired since the index was read: its mark answers, if it has one.
            Err(ReadError::Missing) => add_mark(&self.conn, pack, found)?,
            Err(ReadError::Corrupt(_)) => self.damaged += 1,
        }
        Ok(())
    }
}

const PACKS: &str = "SELECT p.no, p.id_first, p.id_last, p.origin FROM pack p
    WHERE p.id_first BETWEEN ?1 AND ?2 AND p.id_last >= ?3";
const MARKS: &str = "SELECT m.pack, m.id_first, m.id_last, m.origin FROM mark m
    WHERE m.id_first BETWEEN ?1 AND ?2 AND m.id_last >= ?3";

/// Packs of any origin that may hold one of `ids`, which are sorted; each once.
pub(super) fn packs_of(conn: &Connection, ids: &[SegmentId]) -> rusqlite::Result<Vec<PackNo>> {
    let mut found = Vec::new();
    for run in runs(ids) {
        found.extend(candidates(conn, PACKS, None, run)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Packs whose range of ids meets a prefix, at most `limit`.
pub(super) fn packs_between(
    conn: &Connection,
    prefix: SegmentPrefix,
    limit: usize,
) -> rusqlite::Result<Vec<PackNo>> {
    let earliest = prefix.low.unix_ms().saturating_sub(limits::PACK_ID_SPAN_MS);
    let low = SegmentId((u128::from(earliest) << 80).to_be_bytes());
    let mut query = conn.prepare_cached(&format!("{PACKS} LIMIT ?4"))?;
    let rows = query.query_map((low.0, prefix.high.0, prefix.low.0, limit as i64), |row| {
        row.get::<_, i64>(0).map(|no| PackNo(no as u64))
    })?;
    rows.collect()
}

/// Cuts sorted ids into runs that one range of the index answers for.
fn runs(sorted: &[SegmentId]) -> impl Iterator<Item = &[SegmentId]> {
    sorted.chunk_by(|a, b| b.unix_ms() - a.unix_ms() <= limits::PACK_ID_SPAN_MS)
}

/// Packs, or marks, whose range of ids covers one of `ids`, which are sorted.
fn candidates(
    conn: &Connection,
    sql: &str,
    origin: Option<NodeNo>,
    ids: &[SegmentId],
) -> rusqlite::Result<Vec<PackNo>> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Ok(Vec::new());
    };
    let earliest = first.unix_ms().saturating_sub(limits::PACK_ID_SPAN_MS);
    let low = SegmentId((u128::from(earliest) << 80).to_be_bytes());
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query((low.0, last.0, first.0))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (Some(from), Some(to)) = (id(row, 1), id(row, 2)) else {
            continue;
        };
        let next = ids.partition_point(|id| *id < from);
        let covers = ids.get(next).is_some_and(|id| *id <= to);
        if covers && origin.is_none_or(|origin| get::<u32>(row, 3) == Some(origin.0)) {
            found.extend(get::<i64>(row, 0).map(|no| PackNo(no as u64)));
        }
    }
    Ok(found)
}

fn get<T: FromSql>(row: &Row<'_>, at: usize) -> Option<T> {
    column(row, at).ok()
}

fn id(row: &Row<'_>, at: usize) -> Option<SegmentId> {
    get(row, at).map(SegmentId)
}

fn add_mark(conn: &Connection, pack: PackNo, found: &mut Found) -> Read<()> {
    let mut query = conn.prepare_cached("SELECT ids FROM mark WHERE pack = ?1")?;
    let mut rows = query.query([pack.0 as i64])?;
    while let Some(row) = rows.next()? {
        let ids: Vec<u8> = row.get(0)?;
        for entry in ids.chunks_exact(48) {
            let id: [u8; 16] = entry[..16].try_into().expect("16 of 48 bytes");
            let digest: [u8; 32] = entry[16..].try_into().expect("32 of 48 bytes");
            found.insert(SegmentId(id), Digest(digest));
        }
    }
    Ok(())
}
