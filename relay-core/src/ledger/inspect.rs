//! One segment in full: its deliveries, and the history of each.

use rusqlite::Connection;

use super::error::ReadError;
use super::inbox::InboxItem;
use super::known::packs_between;
use super::list::{SCAN, SegmentRow};
use super::reader::{Read, Reader};
use super::rows::{column, outcome, part, part_code};
use crate::change::{AttemptRow, Due, OwedRow, Part};
use crate::delivery::Attempt;
use crate::id::{BootEpoch, SegmentPrefix};
use crate::time::Unix;

/// A segment, its deliveries, and the history of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The segment.
    pub segment: InboxItem,
    /// Each delivery with its closed attempts, oldest first; an attempt that
    /// ended `ACKED` stands in the row alone.
    pub deliveries: Vec<(OwedRow, Vec<AttemptRow>)>,
}

impl Reader {
    /// Every segment whose id begins so, in full; at most `limit`, so that two
    /// tell that a prefix is ambiguous.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn inspect(
        &mut self,
        prefix: SegmentPrefix,
        limit: usize,
    ) -> Result<Vec<Inspection>, ReadError> {
        let mut found = Vec::new();
        for no in packs_between(&self.conn, prefix, SCAN)? {
            let Some(pack) = self.pack(no)? else { continue };
            for row in self.expand(&pack)? {
                if found.len() == limit {
                    return Ok(found);
                }
                if prefix.low <= row.segment.id && row.segment.id <= prefix.high {
                    found.push(self.history(row)?);
                }
            }
        }
        Ok(found)
    }

    fn history(&mut self, row: SegmentRow) -> Read<Inspection> {
        let member = row.segment.member;
        let mut deliveries = Vec::with_capacity(row.deliveries.len());
        for owed in row.deliveries {
            let attempts = attempts(&self.conn, owed.due, member, &mut self.damaged)?;
            deliveries.push((owed, attempts));
        }
        Ok(Inspection {
            segment: row.segment,
            deliveries,
        })
    }
}

/// Closed attempts for a member: its own, and those of the pack while it was
/// among the rest.
fn attempts(conn: &Connection, due: Due, member: u16, damaged: &mut u64) -> Read<Vec<AttemptRow>> {
    let mut query = conn.prepare_cached(
        "SELECT part, number, epoch, started, ended, outcome, sent, error FROM attempt
         WHERE pack = ?1 AND part IN (-1, ?2) AND peer = ?3 ORDER BY number, part",
    )?;
    let own = part_code(Part::Member(member));
    let mut rows = query.query((due.pack.0 as i64, own, due.peer.0))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let read = || {
            let number = |at| column::<i64>(row, at).map(|n| n as u64);
            Ok::<_, super::rows::Damaged>(AttemptRow {
                due: Due {
                    part: part(column(row, 0)?)?,
                    ..due
                },
                attempt: Attempt {
                    number: column(row, 1)?,
                    epoch: BootEpoch(number(2)?),
                    started: Unix(number(3)?),
                    ended: Some((Unix(number(4)?), outcome(column(row, 5)?)?)),
                },
                sent: number(6)?,
                error: column(row, 7)?,
            })
        };
        match read() {
            Ok(attempt) => found.push(attempt),
            Err(_) => *damaged += 1,
        }
    }
    Ok(found)
}
