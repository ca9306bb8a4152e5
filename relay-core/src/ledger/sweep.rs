//! Retention: what is kept for a while and no longer asked for.
//!
//! Settled packs after `keep_acked`, arrivals after `keep_confirmed`, both above
//! `keep_acked_rows`, the bytes of what
//! expired after `keep_expired`, marks after `keep_known`, keys after `keep_keys`. A call does a bounded batch and says
//! whether there is more; with nothing due it writes nothing.

use std::time::Duration;

use super::counters::{Deltas, Total, bump, total_key};
use super::error::LedgerError;
use super::place::{PACK, PACK_WIDTH};
use super::retire::{Leaving, leaving};
use super::unsettled::Unsettled;
use super::{Ledger, LedgerResult};
use crate::id::{NodeNo, PackNo};
use crate::time::Unix;

/// What one call let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Settled packs.
    pub packs: u64,
    /// Packs whose bytes were given up: all that is left of them had expired.
    pub given_up: u64,
    /// Marks.
    pub marks: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Pages given back to the file system, at most.
    pub pages: u64,
    /// Whether another call would find more.
    pub more: bool,
}

/// Whom arrivals are owed to, as rows say it.
const LOCAL: u32 = NodeNo::LOCAL.0;
/// Rows of each kind looked at in one call.
const BATCH: usize = 512;
/// Free pages kept in the database for what comes next.
const KEEP_PAGES: u64 = 256;

impl Ledger {
    /// Lets a batch of what is too old or too much go, as of `now`.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn sweep(&mut self, now: Unix) -> LedgerResult<Swept> {
        self.alive()?;
        let result = self.sweep_batch(now);
        self.guard(result)
    }

    fn sweep_batch(&mut self, now: Unix) -> LedgerResult<Swept> {
        let mut swept = Swept::default();
        let (packs, looked) = self.settled_packs(now)?;
        if !packs.is_empty() {
            self.synced(|ledger| ledger.retire(&packs, None, now))?;
        }
        swept.packs = packs.len() as u64;
        swept.more |= looked == BATCH;
        let (given_up, more) = self.synced(|ledger| ledger.give_up_expired(now))?;
        swept.given_up = given_up;
        swept.more |= more;
        self.sweep_keys(now, &mut swept)?;
        self.sweep_marks(now, &mut swept)?;
        if self.size.free > 2 * KEEP_PAGES {
            swept.pages = (self.size.free - KEEP_PAGES).min(BATCH as u64);
            let sql = format!("PRAGMA incremental_vacuum({})", swept.pages);
            self.make_wal_room(2 * BATCH as u64)?;
            self.conn.execute_batch(&sql)?;
            swept.more = true;
        }
        self.measure()?;
        Ok(swept)
    }

    /// The next settled packs that are too old, or too many, and how many packs
    /// were looked at. The search goes round, a batch with each call.
    fn settled_packs(&mut self, now: Unix) -> LedgerResult<(Vec<Leaving>, usize)> {
        let before = |keep: Duration| now.0.saturating_sub(keep.as_millis() as u64);
        let sent = before(self.options.keep_acked);
        let confirmed = before(self.options.keep_confirmed);
        let excess = self
            .counters
            .acked_parcels()
            .saturating_sub(self.options.keep_acked_rows) as usize;
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {PACK},
               (SELECT max(updated) FROM owed o WHERE o.pack = p.no AND o.peer != {LOCAL}),
               (SELECT max(updated) FROM owed o WHERE o.pack = p.no AND o.peer = {LOCAL}),
               (SELECT count(*) FROM owed o WHERE o.pack = p.no AND o.state != 3)
             FROM pack p WHERE p.no > ?1 ORDER BY p.no LIMIT {BATCH}"
        ))?;
        let mut rows = query.query([self.sweep_after.0 as i64])?;
        let (mut found, mut looked) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            looked += 1;
            self.sweep_after = PackNo(row.get::<_, i64>(0)? as u64);
            let is_old = |at: Option<i64>, oldest| at.is_none_or(|at| (at as u64) <= oldest);
            let old =
                is_old(row.get(PACK_WIDTH)?, sent) && is_old(row.get(PACK_WIDTH + 1)?, confirmed);
            let pinned: i64 = row.get(PACK_WIDTH + 2)?;
            if pinned == 0 && (old || found.len() < excess) {
                found.push(leaving(row)?);
            }
        }
        if looked < BATCH {
            self.sweep_after = PackNo(0);
        }
        Ok((found, looked))
    }

    fn sweep_keys(&mut self, now: Unix, swept: &mut Swept) -> LedgerResult<()> {
        let oldest = now
            .0
            .saturating_sub(self.options.keep_keys.as_millis() as u64);
        let held = self.counters.total(Total::Keys);
        let excess = held
            .saturating_sub(self.options.keep_keys_rows)
            .min(BATCH as u64);
        let due: i64 = self
            .conn
            .prepare_cached(&format!(
                "SELECT count(*) FROM (SELECT 1 FROM put_key WHERE at <= ?1 LIMIT {BATCH})"
            ))?
            .query_row([oldest as i64], |row| row.get(0))?;
        let go = excess.max(due as u64);
        if go == 0 {
            return Ok(());
        }
        swept.keys = self.shrink(
            "DELETE FROM put_key WHERE (uid, key) IN
               (SELECT uid, key FROM put_key ORDER BY at LIMIT ?1)",
            go,
        )?;
        swept.more |= go == BATCH as u64;
        Ok(())
    }

    /// Removes `go` keys in one transaction; answers how many went.
    fn shrink(&mut self, sql: &str, go: u64) -> LedgerResult<u64> {
        self.make_wal_room(2 * go)?;
        let change = self.conn.unchecked_transaction()?;
        let gone = change.prepare_cached(sql)?.execute([go as i64])? as u64;
        let mut deltas = Deltas::new();
        bump(&mut deltas, total_key(Total::Keys), -(gone as i64));
        self.counters.write(&change, &deltas)?;
        change
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        self.counters.merge(&deltas);
        Ok(gone)
    }

    /// Marks go oldest first when they are too old, too many, or take more than
    /// a 32nd of the ceiling; those whose receipt is not settled stay.
    fn sweep_marks(&mut self, now: Unix, swept: &mut Swept) -> LedgerResult<()> {
        let oldest = now
            .0
            .saturating_sub(self.options.keep_known.as_millis() as u64);
        let mut excess = self
            .counters
            .total(Total::Marks)
            .saturating_sub(self.options.keep_known_packs);
        let bytes = self.counters.total(Total::MarkBytes);
        let mut over = bytes.saturating_sub(self.options.max_bytes / 32);
        let unsettled = Unsettled::within(&self.conn, (PackNo(0), PackNo(i64::MAX as u64)))?;
        let mut gone: Vec<(i64, u64)> = Vec::new();
        {
            let mut query = self
                .conn
                .prepare_cached("SELECT pack, at, length(ids) FROM mark ORDER BY pack")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (pack, at): (i64, i64) = (row.get(0)?, row.get(1)?);
                let length = row.get::<_, i64>(2)? as u64;
                if at as u64 > oldest && excess == 0 && over == 0 || gone.len() == BATCH {
                    break;
                }
                if !unsettled.has(PackNo(pack as u64)) {
                    gone.push((pack, length));
                    excess = excess.saturating_sub(1);
                    over = over.saturating_sub(length);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.make_wal_room(4 * gone.len() as u64)?;
        let change = self.conn.unchecked_transaction()?;
        let mut deltas = Deltas::new();
        for (pack, length) in &gone {
            change
                .prepare_cached("DELETE FROM mark WHERE pack = ?1")?
                .execute([pack])?;
            bump(&mut deltas, total_key(Total::Marks), -1);
            bump(&mut deltas, total_key(Total::MarkBytes), -(*length as i64));
        }
        self.counters.write(&change, &deltas)?;
        change
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        self.counters.merge(&deltas);
        swept.marks = gone.len() as u64;
        swept.more |= gone.len() == BATCH;
        Ok(())
    }
}
