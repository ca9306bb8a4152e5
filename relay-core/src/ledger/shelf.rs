//! The inbox inside one transaction: leases given and ended, packs parted and
//! folded.
//!
//! A row is moved as a whole where it can be; where only some of its members
//! move, they get rows of their own and the rest keeps its state and lease.

mod leases;

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::LedgerResult;
use super::apply::Group;
use super::bodies::Bodies;
use super::counters::{book_key, bump};
use super::error::ReadError;
use super::inbox::{ConfirmOutcome, InboxFilter, InboxItem, InboxState, item, topic_matches};
use super::known::packs_of;
use super::place::{PACK, PackRow, read_pack};
use super::rows::{OWED, OWED_WIDTH, Stored, read_owed};
use crate::change::{Book, Due, OwedRow, Part};
use crate::delivery::State;
use crate::id::{LaneNo, NodeNo, PackNo, SegmentId};
use crate::pack::Table;
use crate::time::Unix;

/// Packs one call looks at in each lane; a topic that lies deeper is not found.
const SCAN: usize = 4096;
/// Rows read at once.
const PAGE: usize = 128;
/// Leases given back in one call.
const LEASES: usize = 4096;

/// The inbox, changing.
pub(super) struct Shelf<'a> {
    /// The transaction.
    pub(super) group: Group<'a>,
    /// Where tables are read.
    pub(super) bodies: &'a mut Bodies,
    /// Rows and tables that could not be read.
    pub(super) damaged: u64,
}

impl Shelf<'_> {
    /// Leases that have run out are ready again.
    pub(super) fn give_back(&mut self, now: Unix) -> LedgerResult<()> {
        let conn = self.group.conn;
        let rows = stored(
            conn,
            &format!(
                "SELECT {OWED} FROM owed o INDEXED BY owed_leased
                 WHERE o.lease IS NOT NULL AND o.lease <= ?1 ORDER BY o.lease LIMIT {LEASES}"
            ),
            [now.0 as i64],
            &mut self.damaged,
        )?;
        for mut stored in rows {
            stored.lease = None;
            stored.row.updated = now;
            self.group.owed(stored.row.due, Some(stored))?;
        }
        Ok(())
    }

    /// Leases ready members of one lane until `taken` holds `max`.
    pub(super) fn take_lane(
        &mut self,
        filter: &InboxFilter,
        lane: LaneNo,
        (until, now): (Unix, Unix),
        max: usize,
        taken: &mut Vec<InboxItem>,
    ) -> LedgerResult<()> {
        let (mut after, mut looked) = ((0, i64::MIN), 0);
        while taken.len() < max && looked < SCAN {
            let rows = ready(
                self.group.conn,
                lane,
                filter.origin,
                after,
                &mut self.damaged,
            )?;
            let Some((last, _)) = rows.last() else { break };
            after = super::recovery::after_key(Some((last.due.pack, last.due.part)));
            looked += rows.len();
            for (row, pack) in rows {
                if taken.len() < max {
                    self.take_row(filter, row, &pack, (until, now), max, taken)?;
                }
            }
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        filter: &InboxFilter,
        row: OwedRow,
        pack: &PackRow,
        (until, now): (Unix, Unix),
        max: usize,
        taken: &mut Vec<InboxItem>,
    ) -> LedgerResult<()> {
        let Some(table) = self.table(pack)? else {
            return Ok(());
        };
        let spoken = members_of(self.group.conn, &row, table.members().len())?;
        let state = InboxState::Leased { until };
        let mut chosen = Vec::new();
        for member in &spoken {
            if taken.len() == max {
                break;
            }
            let item = item(pack, &table, *member, state);
            if topic_matches(filter, &item.meta) {
                taken.push(item);
                chosen.push(*member);
            }
        }
        self.part(
            Stored { row, lease: None },
            &table,
            &spoken,
            &chosen,
            |row| {
                row.updated = now;
                Some(until)
            },
        )
    }

    /// Sets `chosen` among the members a row speaks for apart: all of them in
    /// place, some of them as rows of their own. Answers with the new lease.
    fn part(
        &mut self,
        Stored {
            mut row,
            lease: rest,
        }: Stored,
        table: &Table,
        spoken: &[u16],
        chosen: &[u16],
        change: impl Fn(&mut OwedRow) -> Option<Unix>,
    ) -> LedgerResult<()> {
        if chosen.is_empty() {
            return Ok(());
        }
        if chosen.len() == spoken.len() {
            let lease = change(&mut row);
            return self.group.owed(row.due, Some(Stored { row, lease }));
        }
        for member in chosen {
            let bytes = table.members()[usize::from(*member)].length;
            let due = Due {
                part: Part::Member(*member),
                ..row.due
            };
            let mut own = OwedRow {
                due,
                count: 1,
                bytes,
                ..row.clone()
            };
            row.count = row.count.saturating_sub(1);
            row.bytes = row.bytes.saturating_sub(bytes);
            let lease = change(&mut own);
            self.group.owed(due, Some(Stored { row: own, lease }))?;
        }
        self.group.owed(row.due, Some(Stored { row, lease: rest }))
    }

    /// Moves every id that is open to a terminal state, and the books with it.
    pub(super) fn settle(
        &mut self,
        ids: &[SegmentId],
        state: State,
        book: Book,
        now: Unix,
    ) -> LedgerResult<Vec<ConfirmOutcome>> {
        let mut outcomes: BTreeMap<SegmentId, ConfirmOutcome> = ids
            .iter()
            .map(|id| (*id, ConfirmOutcome::Unknown))
            .collect();
        let sorted: Vec<SegmentId> = outcomes.keys().copied().collect();
        for no in packs_of(self.group.conn, &sorted)? {
            self.settle_pack(no, state, book, now, &mut outcomes)?;
        }
        Ok(ids.iter().map(|id| outcomes[id]).collect())
    }

    fn settle_pack(
        &mut self,
        no: PackNo,
        state: State,
        book: Book,
        now: Unix,
        outcomes: &mut BTreeMap<SegmentId, ConfirmOutcome>,
    ) -> LedgerResult<()> {
        let conn = self.group.conn;
        let rows = local_rows(conn, no, &mut self.damaged)?;
        if rows.is_empty() {
            return Ok(());
        }
        let Some(pack) = pack_row(conn, no)? else {
            return Ok(());
        };
        let Some(table) = self.table(&pack)? else {
            return Ok(());
        };
        let mut count = 0;
        for stored in rows {
            let spoken = members_of(conn, &stored.row, table.members().len())?;
            let open = !stored.row.state.name().is_terminal();
            let mut chosen = Vec::new();
            for member in &spoken {
                let id = table.members()[usize::from(*member)].id;
                let Some(outcome) = outcomes.get_mut(&id) else {
                    continue;
                };
                *outcome = if open {
                    ConfirmOutcome::Confirmed
                } else {
                    ConfirmOutcome::Already
                };
                chosen.push(*member);
            }
            if open {
                count += chosen.len() as i64;
                self.part(stored, &table, &spoken, &chosen, |row| {
                    (row.state, row.updated) = (state, now);
                    None
                })?;
            }
        }
        let lane = pack.info.lane;
        bump(
            &mut self.group.done.deltas,
            book_key(NodeNo::LOCAL, lane, book),
            count,
        );
        if count > 0 {
            self.fold(&pack, now)
        } else {
            Ok(())
        }
    }

    /// When every member is confirmed, one row says so again.
    fn fold(&mut self, pack: &PackRow, now: Unix) -> LedgerResult<()> {
        let rows = local_rows(self.group.conn, pack.no, &mut self.damaged)?;
        let all = rows.iter().all(|stored| stored.row.state == State::Acked);
        let Some(first) = rows.first().filter(|_| all && rows.len() > 1) else {
            return Ok(());
        };
        let due = Due {
            peer: NodeNo::LOCAL,
            pack: pack.no,
            part: Part::Rest,
        };
        let info = &pack.info;
        let whole = OwedRow {
            due,
            count: info.count,
            bytes: info.bytes,
            updated: now,
            ..first.row.clone()
        };
        for stored in &rows {
            self.group.owed(stored.row.due, None)?;
        }
        self.group.owed(
            due,
            Some(Stored {
                row: whole,
                lease: None,
            }),
        )
    }

    /// The table of a pack; one that cannot be read is counted.
    fn table(&mut self, pack: &PackRow) -> LedgerResult<Option<Table>> {
        match self.bodies.table(pack) {
            Ok(table) => Ok(Some(table)),
            Err(ReadError::Sql(error)) => Err(error.into()),
            Err(ReadError::Missing | ReadError::Corrupt(_) | ReadError::Io { .. }) => {
                self.damaged += 1;
                Ok(None)
            }
        }
    }
}

fn stored(
    conn: &Connection,
    sql: &str,
    key: impl rusqlite::Params,
    damaged: &mut u64,
) -> rusqlite::Result<Vec<Stored>> {
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query(key)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match read_owed(row, 0) {
            Ok(stored) => found.push(stored),
            Err(_) => *damaged += 1,
        }
    }
    Ok(found)
}

fn local_rows(conn: &Connection, pack: PackNo, damaged: &mut u64) -> rusqlite::Result<Vec<Stored>> {
    let sql =
        format!("SELECT {OWED} FROM owed o WHERE o.pack = ?1 AND o.peer = 0 ORDER BY o.part DESC");
    stored(conn, &sql, [pack.0 as i64], damaged)
}

fn pack_row(conn: &Connection, no: PackNo) -> LedgerResult<Option<PackRow>> {
    Ok(super::retire::numbered(conn, no)?
        .pop()
        .and_then(|leaving| leaving.row))
}

/// Ready rows of a lane above `after`, with their packs.
fn ready(
    conn: &Connection,
    lane: LaneNo,
    origin: Option<NodeNo>,
    after: (i64, i64),
    damaged: &mut u64,
) -> rusqlite::Result<Vec<(OwedRow, PackRow)>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {OWED}, {PACK} FROM owed o INDEXED BY owed_waiting JOIN pack p ON p.no = o.pack
         WHERE o.peer = 0 AND o.lane = ?1 AND o.state IN (0, 2) AND o.lease IS NULL AND o.flags < 2
           AND (o.pack, o.part) > (?2, ?3) AND (?4 IS NULL OR p.origin = ?4)
         ORDER BY o.pack, o.part LIMIT {PAGE}"
    ))?;
    let mut rows = query.query((lane.0, after.0, after.1, origin.map(|origin| origin.0)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match (read_owed(row, 0), read_pack(row, OWED_WIDTH)) {
            (Ok(stored), Ok(pack)) => found.push((stored.row, pack)),
            _ => *damaged += 1,
        }
    }
    Ok(found)
}

/// The members a row speaks for, ascending.
pub(super) fn members_of(
    conn: &Connection,
    row: &OwedRow,
    count: usize,
) -> rusqlite::Result<Vec<u16>> {
    match row.due.part {
        Part::Member(member) if usize::from(member) < count => Ok(vec![member]),
        Part::Member(_) => Ok(Vec::new()),
        Part::Rest => {
            let except = super::reader::except(conn, row.due.pack, row.due.peer)?;
            Ok((0..count as u16)
                .filter(|n| except.binary_search(n).is_err())
                .collect())
        }
    }
}
