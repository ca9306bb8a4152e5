//! How much no page of work shows: what is held, stands by, or is stuck.

use rusqlite::Connection;

use super::counters::STATES;
use super::error::ReadError;
use super::reader::Reader;
use super::rows::{HELD, STANDBY, STUCK};
use crate::change::{Depth, Shelved};
use crate::delivery::WaitingOn;
use crate::id::{LaneNo, NodeNo};

impl Reader {
    /// What no page of work shows, summed. Reads every such row, and no other.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn shelved(&self) -> Result<Vec<Shelved>, ReadError> {
        Ok(sums(&self.conn)?)
    }
}

/// What no page of work shows, summed by peer, lane, state and reason.
pub(super) fn sums(conn: &Connection) -> rusqlite::Result<Vec<Shelved>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT peer, lane, state, CASE WHEN flags & {HELD} THEN {HELD}
             WHEN flags & {STANDBY} THEN {STANDBY} ELSE {STUCK} END AS reason,
           count(*), sum(count), sum(bytes)
         FROM owed INDEXED BY owed_shelved
         WHERE flags >= 2 AND state IN (0, 2) GROUP BY 1, 2, 3, 4"
    ))?;
    let rows = query.query_map([], |row| {
        let reason: i64 = row.get(3)?;
        let number = |column| -> rusqlite::Result<u64> {
            let found: i64 = row.get(column)?;
            Ok(u64::try_from(found).unwrap_or(0))
        };
        Ok(Shelved {
            peer: NodeNo(row.get(0)?),
            lane: LaneNo(row.get(1)?),
            state: STATES[usize::from(row.get::<_, u8>(2)?) % STATES.len()],
            on: match reason {
                HELD => WaitingOn::Held,
                STANDBY => WaitingOn::Standby,
                _ => WaitingOn::DeadletterFull,
            },
            depth: Depth {
                parcels: number(4)?,
                count: number(5)?,
                bytes: number(6)?,
            },
        })
    })?;
    rows.collect()
}
