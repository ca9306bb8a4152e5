//! What opening does before anything else: the boot epoch, and ABANDONED.
//!
//! Every attempt that an earlier run left open is closed as `ABANDONED`; its
//! delivery is scheduled again, marked rescued, its budget untouched
//! (semantics 4). One transaction, found by the index of what is in flight, so
//! that it takes as long as there were attempts, however much waits.

use rusqlite::{Connection, Row};

use super::apply::write_attempt;
use super::care::Care;
use super::counters::{Counters, Deltas, bump_depth};
use super::error::LedgerError;
use super::rows::{OWED, Stored, part_code, read_owed, write_owed};
use super::{LedgerResult, meta, set_meta};
use crate::age::Stamp;
use crate::audit::{AuditEvent, AuditRecord};
use crate::change::{Depth, Due, Part, close_attempt};
use crate::delivery::{Outcome, State, StateName};
use crate::id::{BootEpoch, LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo};
use crate::time::{Now, Unix};

/// What recovery found.
#[derive(Default)]
pub(super) struct Recovered {
    /// The epoch that begins.
    pub(super) epoch: BootEpoch,
    /// Deliveries returned.
    pub(super) rescued: u64,
    /// Rows that could not be read.
    pub(super) damaged: u64,
}

/// Rows held in memory at once.
const BATCH: usize = 1024;

/// Begins an epoch.
pub(super) fn run(
    conn: &mut Connection,
    counters: &mut Counters,
    now: Now,
    stamp: Option<Stamp>,
    care: &Care,
) -> LedgerResult<Recovered> {
    let epoch = meta(conn, "epoch")?.unwrap_or(0) + 1;
    let mut found = Recovered {
        epoch: BootEpoch(epoch as u64),
        ..Recovered::default()
    };
    let mut deltas = Deltas::new();
    let change = conn.transaction()?;
    set_meta(&change, "epoch", epoch)?;
    if let Some(stamp) = stamp {
        super::age::write(&change, stamp)?;
    }
    let mut after = (0, i64::MIN, 0);
    loop {
        let (rows, last) = open_rows(&change, after, &mut found.damaged)?;
        for stored in rows {
            found.rescued += u64::from(stored.row.count);
            give_back(&change, stored, now.unix, &mut deltas)?;
        }
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    counters.write(&change, &deltas)?;
    let record = |event, kind| AuditRecord::own(now.wall, event, kind, found.epoch.0.to_string());
    super::audit::append(&change, &record(AuditEvent::SystemStarted, "boot_epoch"))?;
    for record in care.records(now.wall) {
        super::audit::append(&change, &record)?;
    }
    let recovered = record(AuditEvent::RecoveryCompleted, "boot_epoch");
    super::audit::append(&change, &recovered.with("rescued", found.rescued))?;
    change
        .commit()
        .map_err(LedgerError::commit("commit recovery"))?;
    counters.merge(&deltas);
    Ok(found)
}

type Key = (i64, i64, u32);

fn open_rows(
    conn: &Connection,
    after: Key,
    damaged: &mut u64,
) -> LedgerResult<(Vec<Stored>, Option<Key>)> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {OWED} FROM owed o INDEXED BY owed_inflight
         WHERE state = 1 AND (pack, part, peer) > (?1, ?2, ?3)
         ORDER BY pack, part, peer LIMIT {BATCH}"
    ))?;
    let mut rows = query.query(after)?;
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        last = Some((row.get(0)?, row.get(1)?, row.get(2)?));
        match read_owed(row, 0) {
            Ok(stored) => found.push(stored),
            Err(_) => *damaged += 1,
        }
    }
    Ok((found, last))
}

fn give_back(
    conn: &Connection,
    mut stored: Stored,
    now: Unix,
    deltas: &mut Deltas,
) -> rusqlite::Result<()> {
    let row = &mut stored.row;
    if let Some(history) = close_attempt(row, now, Outcome::Abandoned) {
        write_attempt(conn, &history)?;
    }
    row.state = State::Scheduled;
    row.rescued = true;
    row.updated = now;
    let depth = Depth {
        parcels: 1,
        count: row.count.into(),
        bytes: row.bytes,
    };
    bump_depth(
        deltas,
        (row.due.peer, row.lane, StateName::Inflight),
        depth,
        -1,
    );
    bump_depth(
        deltas,
        (row.due.peer, row.lane, StateName::Scheduled),
        depth,
        1,
    );
    write_owed(conn, &stored, true)
}

/// Numbered nodes, in order.
pub(super) fn nodes(conn: &Connection) -> LedgerResult<Vec<(NodeNo, NodeId)>> {
    named(conn, "SELECT no, name FROM node ORDER BY no", |no, name| {
        Some((NodeNo(u32::try_from(no).ok()?), name.parse().ok()?))
    })
}

/// Numbered lanes, in order.
pub(super) fn lanes(conn: &Connection) -> LedgerResult<Vec<(LaneNo, LaneName)>> {
    named(conn, "SELECT no, name FROM lane ORDER BY no", |no, name| {
        Some((LaneNo(u16::try_from(no).ok()?), name.parse().ok()?))
    })
}

fn named<T>(
    conn: &Connection,
    sql: &str,
    read: impl Fn(i64, String) -> Option<T>,
) -> LedgerResult<Vec<T>> {
    let mut query = conn.prepare(sql)?;
    let rows = query.query_map([], |row: &Row<'_>| Ok(read(row.get(0)?, row.get(1)?)))?;
    let found: Vec<Option<T>> = rows.collect::<Result<_, _>>()?;
    found
        .into_iter()
        .collect::<Option<_>>()
        .ok_or(LedgerError::Unreadable("a numbered name"))
}

/// The highest pack number stored from each ledger in each lane.
pub(super) fn heard(conn: &Connection) -> LedgerResult<Vec<(LedgerId, LaneNo, PackNo)>> {
    let mut query = conn.prepare("SELECT ledger, lane, pack FROM heard ORDER BY ledger, lane")?;
    let rows = query.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(|n| n as u64);
        Ok((
            LedgerId(number(0)?),
            LaneNo(row.get(1)?),
            PackNo(number(2)?),
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The columns that name a [`Due`].
pub(super) fn due_key(due: Due) -> (i64, i64, u32) {
    (due.pack.0 as i64, part_code(due.part), due.peer.0)
}

/// The key a page begins after.
pub(super) const fn after_key(after: Option<(PackNo, Part)>) -> (i64, i64) {
    match after {
        None => (0, i64::MIN),
        Some((pack, part)) => (pack.0 as i64, part_code(part)),
    }
}

/// How many rows are stuck, and when the first waiting one expires.
pub(super) fn overdue(conn: &Connection) -> LedgerResult<(u64, Option<Unix>)> {
    let stuck: i64 = conn
        .prepare("SELECT count(*) FROM owed INDEXED BY owed_stuck WHERE flags >= 8 AND state = 2")?
        .query_row([], |row| row.get(0))?;
    let expires: Option<i64> = conn
        .prepare(
            "SELECT min(expires) FROM owed INDEXED BY owed_expiring
             WHERE expires IS NOT NULL AND state IN (0, 2) AND peer > 0",
        )?
        .query_row([], |row| row.get(0))?;
    Ok((stuck as u64, expires.map(|at| Unix(at as u64))))
}
