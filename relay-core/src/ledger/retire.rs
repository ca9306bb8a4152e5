//! Letting settled packs go: their rows, then the place they took.
//!
//! Only packs that no row pins are retired. The ids of arrivals move to a mark,
//! for as long as their receipt is unsettled or `keep_known` asks. A log file is
//! free once the commit that removed its last row is durable; a payload file is
//! unlinked after it.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::counters::{Deltas, Home, STATES, Total, bump, bump_depth, pins_key, total_key};
use super::error::LedgerError;
use super::held::Held;
use super::place::{IN_FILE, PACK, PackRow, Place, read_pack};
use super::sums::{self, int};
use super::unsettled::Unsettled;
use super::{Ledger, LedgerResult, set_meta};
use crate::change::Depth;
use crate::delivery::StateName;
use crate::id::{LaneNo, NodeNo, PackNo};
use crate::time::Unix;

/// Packs retired in one transaction, so that the WAL stays small.
const BATCH: usize = 512;
/// Pages a batch may write: the rows of a batch lie side by side.
const BATCH_PAGES: u64 = 256;

/// A pack about to go; its row may be damaged.
pub(super) struct Leaving {
    /// Its number.
    pub(super) no: PackNo,
    /// Its row, if it can be read.
    pub(super) row: Option<PackRow>,
}

impl Ledger {
    /// Retires the packs of the oldest log file that nothing pins; the file is
    /// free afterwards. `false` if every file is pinned or in use.
    pub(super) fn retire_oldest_log(&mut self, now: Unix) -> LedgerResult<bool> {
        let order = self.log.settled_order();
        let free = order
            .into_iter()
            .find(|(no, _)| self.counters.pins(Home::Log(*no)) == 0);
        let Some((no, held)) = free else {
            return Ok(false);
        };
        self.retire_log(no, held, now)?;
        Ok(true)
    }

    /// Retires the packs of a log file that nothing pins.
    pub(super) fn retire_log(&mut self, no: u32, held: Held, now: Unix) -> LedgerResult<()> {
        self.synced(|ledger| {
            loop {
                let packs = in_file(&ledger.conn, no, held)?;
                let last = packs.len() < BATCH;
                ledger.retire(&packs, last.then_some(no), now)?;
                if last {
                    break;
                }
            }
            ledger.log.release(no)
        })
    }

    /// Retires the oldest payload file that nothing pins. `false` if there is none.
    pub(super) fn retire_oldest_payload(&mut self, now: Unix) -> LedgerResult<bool> {
        let free = self.counters.payloads().find(|(_, pins)| *pins == 0);
        let Some((no, _)) = free else {
            return Ok(false);
        };
        let packs = numbered(&self.conn, no)?;
        self.synced(|ledger| ledger.retire(&packs, None, now))?;
        self.counters.forget_payload(no);
        Ok(true)
    }

    /// Removes the rows of `packs`, and the row of log file `file` with its last.
    pub(super) fn retire(
        &mut self,
        packs: &[Leaving],
        file: Option<u32>,
        now: Unix,
    ) -> LedgerResult<()> {
        self.make_wal_room(BATCH_PAGES)?;
        self.bound_database()?;
        let unsettled = self.unsettled_packs(packs)?;
        let mut deltas = Deltas::new();
        let change = self.conn.unchecked_transaction()?;
        for pack in packs {
            if let Some(row) = &pack.row {
                let wanted = unsettled.has(pack.no) || !self.options.keep_known.is_zero();
                if wanted && row.info.origin != NodeNo::LOCAL {
                    match self.bodies.table(row) {
                        Ok(table) => mark(&change, row, table.members(), now, &mut deltas)?,
                        Err(_) => self.damaged += 1,
                    }
                }
            }
            remove_rows(&change, pack, &mut deltas)?;
        }
        if let Some(no) = file {
            change
                .prepare_cached("DELETE FROM log_file WHERE no = ?1")?
                .execute([no])?;
        }
        set_meta(&change, "last_pack", self.last_pack.0 as i64)?;
        self.counters.write(&change, &deltas)?;
        change
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        self.counters.merge(&deltas);
        self.unlink(packs)?;
        self.measure()
    }

    fn unlink(&mut self, packs: &[Leaving]) -> LedgerResult<()> {
        for pack in packs {
            if let Some(PackRow {
                place: Place::Payload { name, .. },
                info,
                ..
            }) = &pack.row
            {
                self.payloads.remove(name, info.bytes)?;
            }
            let row = pack.row.as_ref();
            if row.is_some_and(|row| matches!(home(row), Home::Payload(_))) {
                self.counters.forget_payload(pack.no);
            }
        }
        Ok(())
    }

    /// Which of `packs` hold something whose receipt is not settled.
    fn unsettled_packs(&self, packs: &[Leaving]) -> LedgerResult<Unsettled> {
        let numbers = || packs.iter().map(|pack| pack.no);
        let all = (
            numbers().min().unwrap_or_default(),
            numbers().max().unwrap_or_default(),
        );
        Ok(Unsettled::within(&self.conn, all)?)
    }
}

fn in_file(conn: &Connection, file: u32, held: Held) -> LedgerResult<Vec<Leaving>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {PACK} FROM pack p WHERE {IN_FILE} LIMIT {BATCH}"
    ))?;
    let rows = query.query_map(held.range(file), leaving)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The pack of one number, if its row is there.
pub(super) fn numbered(conn: &Connection, no: PackNo) -> LedgerResult<Vec<Leaving>> {
    let mut query = conn.prepare_cached(&format!("SELECT {PACK} FROM pack p WHERE p.no = ?1"))?;
    let rows = query.query_map([no.0 as i64], leaving)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reads a row that begins with the columns [`PACK`].
pub(super) fn leaving(row: &rusqlite::Row<'_>) -> rusqlite::Result<Leaving> {
    Ok(Leaving {
        no: PackNo(row.get::<_, i64>(0)? as u64),
        row: read_pack(row, 0).ok(),
    })
}

/// Keeps the ids and digests of a pack whose bytes go.
fn mark(
    conn: &Connection,
    pack: &PackRow,
    members: &[crate::pack::Member],
    now: Unix,
    deltas: &mut Deltas,
) -> LedgerResult<()> {
    let mut ids = Vec::with_capacity(members.len() * 48);
    for member in members {
        ids.extend_from_slice(&member.id.0);
        ids.extend_from_slice(&member.digest.0);
    }
    let info = &pack.info;
    let row = [
        int(pack.no.0 as i64),
        int(info.origin.0.into()),
        ValueRef::Blob(&info.first.0),
        ValueRef::Blob(&info.last.0),
        ValueRef::Blob(&ids),
        int(now.0 as i64),
    ];
    sums::set(conn, sums::MARK, &row)?;
    bump(deltas, total_key(Total::Marks), 1);
    bump(deltas, total_key(Total::MarkBytes), ids.len() as i64);
    Ok(())
}

fn remove_rows(conn: &Connection, pack: &Leaving, deltas: &mut Deltas) -> LedgerResult<()> {
    let no = pack.no.0 as i64;
    let mut query =
        conn.prepare_cached("SELECT peer, lane, state, count, bytes FROM owed WHERE pack = ?1")?;
    let mut rows = query.query([no])?;
    while let Some(row) = rows.next()? {
        let state = STATES[row.get::<_, u8>(2)? as usize % STATES.len()];
        let depth = Depth {
            parcels: 1,
            count: row.get::<_, u32>(3)?.into(),
            bytes: row.get::<_, i64>(4)? as u64,
        };
        bump_depth(
            deltas,
            (NodeNo(row.get(0)?), LaneNo(row.get(1)?), state),
            depth,
            -1,
        );
        if let (true, Some(row)) = (state != StateName::Acked, &pack.row) {
            bump(deltas, pins_key(home(row)), -1);
        }
    }
    drop(rows);
    conn.prepare_cached("DELETE FROM owed WHERE pack = ?1")?
        .execute([no])?;
    conn.prepare_cached("DELETE FROM attempt WHERE pack = ?1")?
        .execute([no])?;
    conn.prepare_cached("DELETE FROM gone WHERE pack = ?1")?
        .execute([no])?;
    conn.prepare_cached("DELETE FROM pack WHERE no = ?1")?
        .execute([no])?;
    if let Some(row) = &pack.row {
        super::counters::forget_pins(conn, home(row))?;
    }
    bump(deltas, total_key(Total::Packs), -1);
    Ok(())
}

/// What keeping a pack's bytes depends on.
pub(super) const fn home(pack: &PackRow) -> Home {
    match &pack.place {
        Place::Log { file, .. } => Home::Log(*file),
        Place::Payload { .. } | Place::GivenUp(_) => Home::Payload(pack.no),
    }
}
