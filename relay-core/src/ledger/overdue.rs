//! Names of rows that something is to be done about though nothing happened: what
//! has expired, and what is stuck before a full deadletter. Each is found by an
//! index of its own, a few at a time.

use super::error::ReadError;
use super::reader::Reader;
use super::recovery::due_key;
use super::rows::{Damaged, column, part};
use crate::change::Due;
use crate::id::{NodeNo, PackNo};
use crate::time::Unix;

/// Waiting rows that are no longer worth sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// When each expired, and its name.
    pub dues: Vec<(Unix, Due)>,
    /// The first moment after the one asked about.
    pub next: Option<Unix>,
}

impl Reader {
    /// Waiting rows that are not worth sending at `by`, by the moment and the name,
    /// above `after`; and the first moment after `by`.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn expired(
        &mut self,
        by: Unix,
        after: Option<(Unix, Due)>,
        limit: usize,
    ) -> Result<Expired, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(
            "SELECT expires, pack, part, peer FROM owed INDEXED BY owed_expiring
             WHERE expires IS NOT NULL AND state IN (0, 2) AND peer > 0 AND expires <= ?1
               AND (expires, pack, part, peer) > (?2, ?3, ?4, ?5)
             ORDER BY expires, pack, part, peer LIMIT ?6",
        )?;
        let (at, (pack, part, peer)) = after.map_or((0, (0, i64::MIN, 0)), |(at, due)| {
            (at.0 as i64, due_key(due))
        });
        let mut rows = query.query((by.0 as i64, at, pack, part, peer, limit as i64))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            match named(row, 1) {
                Ok(due) => found.push((Unix(row.get::<_, i64>(0)? as u64), due)),
                Err(_) => self.damaged += 1,
            }
        }
        let next: Option<i64> = snapshot
            .prepare_cached(
                "SELECT min(expires) FROM owed INDEXED BY owed_expiring
                 WHERE expires IS NOT NULL AND state IN (0, 2) AND peer > 0 AND expires > ?1",
            )?
            .query_row([by.0 as i64], |row| row.get(0))?;
        Ok(Expired {
            dues: found,
            next: next.map(|at| Unix(at as u64)),
        })
    }

    /// Rows that are stuck, by (pack, part, peer) above `after`.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn stuck(&mut self, after: Option<Due>, limit: usize) -> Result<Vec<Due>, ReadError> {
        let mut query = self.conn.prepare_cached(
            "SELECT pack, part, peer FROM owed INDEXED BY owed_stuck
             WHERE flags >= 8 AND state = 2 AND (pack, part, peer) > (?1, ?2, ?3)
             ORDER BY pack, part, peer LIMIT ?4",
        )?;
        let (pack, part, peer) = after.map_or((0, i64::MIN, 0), due_key);
        let mut rows = query.query((pack, part, peer, limit as i64))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            match named(row, 0) {
                Ok(due) => found.push(due),
                Err(_) => self.damaged += 1,
            }
        }
        Ok(found)
    }
}

/// The name of a row from the columns pack, part and peer that begin at `at`.
fn named(row: &rusqlite::Row<'_>, at: usize) -> Result<Due, Damaged> {
    Ok(Due {
        pack: PackNo(column::<i64>(row, at)? as u64),
        part: part(column(row, at + 1)?)?,
        peer: NodeNo(column(row, at + 2)?),
    })
}
