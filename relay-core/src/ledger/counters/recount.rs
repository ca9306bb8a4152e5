//! Counting anew, after damage, what can be counted from rows.

use rusqlite::Connection;

use super::{
    Column, Counters, DEPTH, Deltas, Home, STATES, TOTAL, Total, bump, depth_key, pins_key,
    total_key, unsettled_key,
};
use crate::id::{LaneNo, NodeNo};

/// Everything that rows can be counted for, counted anew after damage.
pub(in crate::ledger) struct Recount(Deltas);

impl Recount {
    /// Forgets what was counted; the books and the clocks stay.
    pub(in crate::ledger) fn begin(conn: &Connection) -> rusqlite::Result<Self> {
        conn.execute(
            "DELETE FROM counter WHERE kind BETWEEN ?1 AND ?2",
            (DEPTH, TOTAL),
        )?;
        Ok(Self(Deltas::new()))
    }

    /// Rows, members and bytes of one (peer, lane, state).
    pub(in crate::ledger) fn depth(
        &mut self,
        (peer, lane, state): (NodeNo, LaneNo, u8),
        sums: [i64; 3],
    ) {
        let state = STATES[usize::from(state) % STATES.len()];
        let columns = [Column::Parcels, Column::Count, Column::Bytes];
        for (column, sum) in columns.into_iter().zip(sums) {
            bump(&mut self.0, depth_key(peer, lane, state, column), sum);
        }
    }

    /// Rows that keep the bytes at `home`.
    pub(in crate::ledger) fn pins(&mut self, home: Home, rows: i64) {
        bump(&mut self.0, pins_key(home), rows);
    }

    /// Receipts of a peer.
    pub(in crate::ledger) fn unsettled(&mut self, peer: NodeNo, rows: i64) {
        bump(&mut self.0, unsettled_key(peer), rows);
    }

    /// Keys, marks, bytes of marks, packs.
    pub(in crate::ledger) fn totals(&mut self, counts: [i64; 4]) {
        let totals = [Total::Keys, Total::Marks, Total::MarkBytes, Total::Packs];
        for (total, count) in totals.into_iter().zip(counts) {
            bump(&mut self.0, total_key(total), count);
        }
    }

    /// Writes what was counted.
    pub(in crate::ledger) fn end(self, conn: &Connection) -> rusqlite::Result<()> {
        Counters::default().write(conn, &self.0)
    }
}
