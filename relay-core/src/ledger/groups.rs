//! Reading what a success condition asks about: the rows of one pack for every
//! peer, and which packs of a peer need to be looked at.

use rusqlite::{Connection, OptionalExtension};

use super::error::ReadError;
use super::place::{PACK, read_pack};
use super::reader::{Reader, except_of};
use super::rows::{OWED, OWED_WIDTH, column, read_owed};
use crate::change::{OwedRow, PagedRow};
use crate::id::{NodeNo, PackNo};

/// Whether enough other peers have what `row` is about.
pub(super) fn is_met(conn: &Connection, row: &OwedRow) -> rusqlite::Result<bool> {
    let Some(place) = row.place else {
        return Ok(false);
    };
    let mut query = conn.prepare_cached(
        "SELECT count(*) FROM owed WHERE pack = ?1 AND place IS NOT NULL AND state = 3",
    )?;
    let acked: i64 = query.query_row([row.due.pack.0 as i64], |row| row.get(0))?;
    Ok(acked >= i64::from(place.need))
}

/// Rows of a peer above a pack that stand by, of packs that are met or of which too
/// few deliveries are active; and the last pack looked at.
const STANDBY: &str = "
WITH page AS (
  SELECT o.pack, o.place FROM owed o INDEXED BY owed_placed
  WHERE o.peer = ?1 AND o.place IS NOT NULL AND o.state IN (0, 1, 2) AND o.pack > ?2
    AND o.flags & 4 != 0
  ORDER BY o.pack LIMIT ?3
)
SELECT pack,
  (SELECT count(*) FROM owed q
   WHERE q.pack = page.pack AND q.place IS NOT NULL AND q.state = 3) AS acked,
  (SELECT count(*) FROM owed q
   WHERE q.pack = page.pack AND q.place IS NOT NULL AND q.state < 3 AND q.flags & 4 = 0) AS live,
  place >> 16 AS need
FROM page ORDER BY pack";

/// Active rows of a peer above a pack, and whether others stand by.
const ACTIVE: &str = "
WITH page AS (
  SELECT o.pack, o.place FROM owed o INDEXED BY owed_placed
  WHERE o.peer = ?1 AND o.place IS NOT NULL AND o.state IN (0, 1, 2) AND o.pack > ?2
    AND o.flags & 4 = 0
  ORDER BY o.pack LIMIT ?3
)
SELECT pack, 0 AS acked,
  NOT EXISTS (SELECT 1 FROM owed q
   WHERE q.pack = page.pack AND q.place IS NOT NULL AND q.state < 3 AND q.flags & 4 != 0) AS live,
  1 AS need
FROM page ORDER BY pack";

impl Reader {
    /// All rows of `pack` that are owed to peers and have a place.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn group(&mut self, pack: PackNo) -> Result<Vec<PagedRow>, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&format!(
            "SELECT {OWED}, {PACK} FROM owed o JOIN pack p ON p.no = o.pack
             WHERE o.pack = ?1 AND o.place IS NOT NULL"
        ))?;
        let mut rows = query.query([pack.0 as i64])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            match (read_owed(row, 0), read_pack(row, OWED_WIDTH)) {
                (Ok(stored), Ok(pack)) => found.push(PagedRow {
                    except: except_of(&snapshot, &stored.row)?,
                    row: stored.row,
                    info: pack.info,
                    met: false,
                }),
                _ => self.damaged += 1,
            }
        }
        Ok(found)
    }

    /// Looks at `limit` rows of `peer` above pack `after` that have a place and are
    /// not settled: with `standby` those that stand by, answering the packs that are
    /// met or of which too few deliveries are active; without it those that are
    /// active, answering the packs of which others stand by. Answers where the next
    /// page begins, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn look_through(
        &mut self,
        peer: NodeNo,
        standby: bool,
        after: PackNo,
        limit: usize,
    ) -> Result<(Vec<PackNo>, Option<PackNo>), ReadError> {
        let sql = if standby { STANDBY } else { ACTIVE };
        let mut query = self.conn.prepare_cached(sql)?;
        let mut rows = query.query((peer.0, after.0 as i64, limit as i64))?;
        let (mut packs, mut last, mut seen) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            let number = |at| column::<i64>(row, at).ok();
            let (Some(pack), Some(acked), Some(live), Some(need)) =
                (number(0), number(1), number(2), number(3))
            else {
                continue;
            };
            (last, seen) = (Some(PackNo(pack as u64)), seen + 1);
            if acked >= need || acked + live < need {
                packs.push(PackNo(pack as u64));
            }
        }
        Ok((packs, last.filter(|_| seen == limit)))
    }

    /// How many of the peers of `pack` must have it; `None`: all of them.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn need(&self, pack: PackNo) -> Result<Option<u16>, ReadError> {
        let mut query = self.conn.prepare_cached(
            "SELECT place >> 16 FROM owed WHERE pack = ?1 AND place IS NOT NULL LIMIT 1",
        )?;
        let need = query.query_row([pack.0 as i64], |row| row.get(0));
        Ok(need.optional()?)
    }
}
