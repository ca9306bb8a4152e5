//! Giving up the bytes of what expired: its record stays in the deadletter and says
//! so, and what held its bytes is free for others (semantics 8).
//!
//! A pack goes when each of its rows is acked, or was parked as `expired` for
//! `keep_expired`; whatever else is owed of it keeps the bytes. Its table moves into
//! its row, so that its ids are still found and listed. A log file that held it is used
//! again by the ordinary rule, a payload file is unlinked.

use rusqlite::Connection;

use super::counters::{Deltas, Home, bump, pins_key};
use super::error::LedgerError;
use super::place::{PackRow, Place, write_pack};
use super::retire::{home, numbered};
use super::rows::{OWED, Stored, read_owed, write_owed};
use super::{Ledger, LedgerResult};
use crate::delivery::{Cause, State};
use crate::id::{NodeNo, PackNo};
use crate::time::Unix;

/// Parked rows looked at in one call.
const BATCH: usize = 512;
/// Pages a pack may write: its row with the table, and rows that lie side by side.
const PAGES: u64 = 64;

impl Ledger {
    /// Gives up the bytes of a batch of packs that expired long enough ago; answers how
    /// many packs, and whether another call may find more. The search goes round.
    pub(super) fn give_up_expired(&mut self, now: Unix) -> LedgerResult<(u64, bool)> {
        let keep = self.options.keep_expired.as_millis() as u64;
        let oldest = Unix(now.0.saturating_sub(keep));
        let (packs, looked) = self.parked_packs()?;
        let mut given_up = 0;
        for no in packs {
            if let Some(rows) = expired(&self.conn, no, oldest)? {
                given_up += u64::from(self.give_up(no, rows)?);
            }
        }
        Ok((given_up, looked == BATCH))
    }

    /// The packs of the next parked rows, ascending.
    fn parked_packs(&mut self) -> LedgerResult<(Vec<PackNo>, usize)> {
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT pack FROM owed INDEXED BY owed_parked
             WHERE state = 4 AND pack > ?1 ORDER BY pack, part, peer LIMIT {BATCH}"
        ))?;
        let rows = query.query_map([self.expired_after.0 as i64], |row| row.get::<_, i64>(0))?;
        let found: Vec<i64> = rows.collect::<Result<_, _>>()?;
        let looked = found.len();
        let mut packs: Vec<PackNo> = found.into_iter().map(|no| PackNo(no as u64)).collect();
        packs.dedup();
        let last = packs.last().filter(|_| looked == BATCH);
        self.expired_after = last.copied().unwrap_or_default();
        Ok((packs, looked))
    }

    /// One pack in one transaction; `false` if its table cannot be read.
    fn give_up(&mut self, no: PackNo, rows: Vec<Stored>) -> LedgerResult<bool> {
        let found = numbered(&self.conn, no)?.pop();
        let Some(pack) = found.and_then(|leaving| leaving.row) else {
            return Ok(false);
        };
        let Ok(table) = self.bodies.table(&pack) else {
            self.damaged += 1;
            return Ok(false);
        };
        self.make_wal_room(PAGES)?;
        self.bound_database()?;
        let left = PackRow {
            place: Place::GivenUp(table.bytes().clone()),
            ..pack.clone()
        };
        let (before, after, pins) = (home(&pack), home(&left), rows.len() as i64);
        let mut deltas = Deltas::new();
        if let Home::Log(_) = before {
            bump(&mut deltas, pins_key(before), -pins);
            bump(&mut deltas, pins_key(after), pins);
        }
        let change = self.conn.unchecked_transaction()?;
        for mut stored in rows {
            stored.row.evicted = true;
            write_owed(&change, &stored, true)?;
        }
        write_pack(&change, &left)?;
        self.counters.write(&change, &deltas)?;
        change
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        self.counters.merge(&deltas);
        if let Place::Payload { name, .. } = &pack.place {
            self.payloads.remove(name, pack.info.bytes)?;
            self.counters.forget_length(no);
        }
        Ok(true)
    }
}

/// The rows of a pack that are to say that its bytes are given up; `None` while some
/// row keeps them, or if none is left to say so.
fn expired(conn: &Connection, no: PackNo, oldest: Unix) -> LedgerResult<Option<Vec<Stored>>> {
    let sql = format!("SELECT {OWED} FROM owed o WHERE o.pack = ?1");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query([no.0 as i64])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(stored) = read_owed(row, 0) else {
            return Ok(None);
        };
        let row = &stored.row;
        match row.state {
            State::Acked => {}
            State::Deadletter {
                cause: Cause::Expired,
            } if row.due.peer != NodeNo::LOCAL && row.updated <= oldest => {
                if !row.evicted {
                    found.push(stored);
                }
            }
            State::Scheduled
            | State::Inflight
            | State::Failed { .. }
            | State::Deadletter { .. } => {
                return Ok(None);
            }
        }
    }
    Ok((!found.is_empty()).then_some(found))
}
