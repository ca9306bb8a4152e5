//! A group of changes becomes rows, inside one transaction.
//!
//! Rows of what is owed are set to what the *last* change of the group says, and
//! written once: a pack that is put, sent and acknowledged within one group costs
//! one row. Counters move with the rows and are written once a group. A change
//! that speaks of a pack which is not here is counted and skipped.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::LedgerResult;
use super::counters::{
    Counters, Deltas, Home, STATES, Total, book_key, bump, bump_depth, note_pins, pins_key,
    total_key, unsettled_key,
};
use super::place::{PackRow, Place, write_pack};
use super::retire::home;
use super::rows::{Stored, Sum, outcome_code, part_code, write_owed};
use super::sums::{self, int, text};
use super::{meta, set_meta};
use crate::change::{AttemptRow, Change, Depth, Due, KeyRow, OwedRow, Part, ReceiptRow};
use crate::delivery::StateName;
use crate::id::{LaneName, LaneNo, LedgerId, NodeId, NodeNo, PackNo, ReceiptNo};

/// What a group came to, once it is durable.
#[derive(Default)]
pub(super) struct Applied {
    /// What the counters move by.
    pub(super) deltas: Deltas,
    /// The greatest pack number among the new ones.
    pub(super) last_pack: PackNo,
    /// The greatest receipt number among the new ones.
    pub(super) last_receipt: ReceiptNo,
    /// Rows of what is owed that were written or removed.
    pub(super) rows: u64,
    /// Changes that spoke of a pack which is not here.
    pub(super) orphans: u64,
}

/// Applies `packs`, placed already, and `changes`, in order.
pub(super) fn apply<'a>(
    conn: &Connection,
    counters: &Counters,
    packs: &[PackRow],
    changes: impl Iterator<Item = &'a Change>,
) -> LedgerResult<Applied> {
    let mut group = Group {
        conn,
        fresh: BTreeMap::new(),
        done: Applied::default(),
    };
    for pack in packs {
        group.pack(pack)?;
    }
    let mut owed: BTreeMap<Due, Option<&OwedRow>> = BTreeMap::new();
    let mut heard: BTreeMap<(LedgerId, LaneNo), PackNo> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Pack { .. } => {}
            Change::Owed(row) => drop(owed.insert(row.due, Some(row))),
            Change::Gone(due) => drop(owed.insert(*due, None)),
            Change::Book {
                peer,
                lane,
                entry,
                by,
            } => {
                bump(&mut group.done.deltas, book_key(*peer, *lane, *entry), *by);
            }
            Change::Heard(ledger, lane, pack) => drop(heard.insert((*ledger, *lane), *pack)),
            Change::Attempt(row) => group.attempt(row)?,
            Change::Receipt(row) => group.receipt(row)?,
            Change::Settled(peer, no) => group.settled(*peer, *no)?,
            Change::Key(row) => group.key(row)?,
            Change::Partial(row) => super::partial::write(conn, row)?,
            Change::PartialGone(no) => super::partial::remove(conn, *no)?,
            Change::Set(setting, value) => super::settings::write(conn, *setting, *value)?,
            Change::Metered(row) => super::meters::write(conn, *row)?,
            Change::Audit(record) => super::audit::append(conn, record)?,
            Change::PruneAudit(upto) => super::audit::prune(conn, *upto)?,
            Change::Spooled(row) => super::spooled::write(conn, row)?,
            Change::Unspooled(segment) => super::spooled::remove(conn, *segment)?,
            Change::Node(no, name) => write_node(conn, *no, name)?,
            Change::Lane(no, name) => write_lane(conn, *no, name)?,
        }
    }
    for (due, row) in owed {
        if row.is_none() {
            group.purged(due)?;
        }
        group.owed(
            due,
            row.map(|row| Stored {
                row: row.clone(),
                lease: None,
            }),
        )?;
    }
    for ((ledger, lane), pack) in heard {
        let row = [int(ledger.0 as i64), int(lane.0.into()), int(pack.0 as i64)];
        sums::set(conn, sums::HEARD, &row)?;
    }
    counters.write(conn, &group.done.deltas)?;
    Ok(group.done)
}

/// A transaction in the making, for the group and for the inbox.
pub(super) struct Group<'c> {
    /// Inside a transaction.
    pub(super) conn: &'c Connection,
    /// Packs this transaction has brought.
    pub(super) fresh: BTreeMap<PackNo, Home>,
    /// What it has come to.
    pub(super) done: Applied,
}

/// What a row of `owed` said before.
struct Before {
    state: StateName,
    lane: LaneNo,
    depth: Depth,
}

impl Group<'_> {
    fn pack(&mut self, pack: &PackRow) -> LedgerResult<()> {
        write_pack(self.conn, pack)?;
        if matches!(pack.place, Place::Payload { .. }) {
            note_pins(self.conn, pack.no)?;
        }
        self.fresh.insert(pack.no, home(pack));
        self.done.last_pack = self.done.last_pack.max(pack.no);
        bump(&mut self.done.deltas, total_key(Total::Packs), 1);
        Ok(())
    }

    /// Sets the row of `due` to `new`, or removes it.
    pub(super) fn owed(&mut self, due: Due, new: Option<Stored>) -> LedgerResult<()> {
        let Some((home, before)) = self.before(due)? else {
            self.done.orphans += 1;
            return Ok(());
        };
        self.done.rows += 1;
        let mut pins = 0;
        if let Some(before) = &before {
            let place = (due.peer, before.lane, before.state);
            bump_depth(&mut self.done.deltas, place, before.depth, -1);
            pins -= i64::from(before.state != StateName::Acked);
        }
        match &new {
            Some(stored) => {
                let row = &stored.row;
                let state = row.state.name();
                let depth = Depth {
                    parcels: 1,
                    count: row.count.into(),
                    bytes: row.bytes,
                };
                bump_depth(&mut self.done.deltas, (due.peer, row.lane, state), depth, 1);
                pins += i64::from(state != StateName::Acked);
                write_owed(self.conn, stored, before.is_some())?;
            }
            None => {
                self.conn
                    .prepare_cached("DELETE FROM owed WHERE pack = ?1 AND part = ?2 AND peer = ?3")?
                    .execute((due.pack.0 as i64, part_code(due.part), due.peer.0))?;
            }
        }
        bump(&mut self.done.deltas, pins_key(home), pins);
        Ok(())
    }

    /// Where the pack lies and what its row for this due says; `None` without a
    /// pack.
    fn before(&self, due: Due) -> LedgerResult<Option<(Home, Option<Before>)>> {
        if let Some(home) = self.fresh.get(&due.pack) {
            return Ok(Some((*home, None)));
        }
        let mut query = self.conn.prepare_cached(
            "SELECT p.file, o.state, o.lane, o.count, o.bytes FROM pack p
             LEFT JOIN owed o ON o.pack = p.no AND o.part = ?2 AND o.peer = ?3 WHERE p.no = ?1",
        )?;
        let key = (due.pack.0 as i64, part_code(due.part), due.peer.0);
        let found = query.query_row(key, |row| {
            let home = row
                .get::<_, Option<u32>>(0)?
                .map_or(Home::Payload(due.pack), Home::Log);
            let Some(state) = row.get::<_, Option<u8>>(1)? else {
                return Ok((home, None));
            };
            let depth = Depth {
                parcels: 1,
                count: row.get::<_, u32>(3)?.into(),
                bytes: row.get::<_, i64>(4)? as u64,
            };
            let state = STATES[usize::from(state) % STATES.len()];
            Ok((
                home,
                Some(Before {
                    state,
                    lane: LaneNo(row.get(2)?),
                    depth,
                }),
            ))
        });
        Ok(found.optional()?)
    }

    /// A member is removed for good, with its history: the rest of its pack must
    /// not speak for it again.
    fn purged(&self, due: Due) -> LedgerResult<()> {
        if let Part::Member(member) = due.part
            && self.before(due)?.is_some()
        {
            self.conn
                .prepare_cached("DELETE FROM attempt WHERE pack = ?1 AND part = ?2 AND peer = ?3")?
                .execute((due.pack.0 as i64, member, due.peer.0))?;
            let row = [
                int(due.pack.0 as i64),
                int(due.peer.0.into()),
                int(member.into()),
            ];
            sums::set(self.conn, sums::GONE, &row)?;
        }
        Ok(())
    }

    fn attempt(&mut self, row: &AttemptRow) -> LedgerResult<()> {
        if !self.fresh.contains_key(&row.due.pack) {
            let mut query = self
                .conn
                .prepare_cached("SELECT 1 FROM pack WHERE no = ?1")?;
            if !query.exists([row.due.pack.0 as i64])? {
                self.done.orphans += 1;
                return Ok(());
            }
        }
        write_attempt(self.conn, row)?;
        Ok(())
    }

    fn receipt(&mut self, row: &ReceiptRow) -> LedgerResult<()> {
        let known = self
            .conn
            .prepare_cached("SELECT 1 FROM receipt WHERE no = ?1")?
            .exists([row.no.0 as i64])?;
        let refused = encode_refused(row);
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO receipt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                row.no.0 as i64,
                row.peer.0,
                row.sent.ledger.0 as i64,
                row.sent.pack.0 as i64,
                part_code(row.sent.part),
                row.table.0,
                row.count,
                refused,
                row.pack.0 as i64,
                receipt_sum(row, refused.as_deref()),
            ])?;
        self.done.last_receipt = self.done.last_receipt.max(row.no);
        bump(
            &mut self.done.deltas,
            unsettled_key(row.peer),
            i64::from(!known),
        );
        Ok(())
    }

    fn settled(&mut self, peer: NodeNo, no: ReceiptNo) -> LedgerResult<()> {
        let greatest: Option<i64> = self
            .conn
            .prepare_cached("SELECT max(no) FROM receipt")?
            .query_row([], |row| row.get(0))?;
        let gone = self
            .conn
            .prepare_cached("DELETE FROM receipt WHERE peer = ?1 AND no <= ?2")?
            .execute((peer.0, no.0 as i64))?;
        bump(&mut self.done.deltas, unsettled_key(peer), -(gone as i64));
        if let Some(greatest) = greatest.filter(|greatest| *greatest as u64 <= no.0) {
            // Numbers are never given twice, even when no row is left to tell.
            let known = meta(self.conn, "last_receipt")?.unwrap_or(0);
            set_meta(self.conn, "last_receipt", greatest.max(known))?;
        }
        Ok(())
    }

    fn key(&mut self, row: &KeyRow) -> LedgerResult<()> {
        let known = self
            .conn
            .prepare_cached("SELECT 1 FROM put_key WHERE uid = ?1 AND key = ?2")?
            .exists((row.name.uid, &row.name.key))?;
        let targets: Vec<u8> = row
            .targets
            .iter()
            .flat_map(|no| no.0.to_le_bytes())
            .collect();
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO put_key VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                row.name.uid,
                row.name.key,
                row.id.0,
                row.digest.0,
                targets,
                row.at.0 as i64,
                key_sum(row, &targets),
            ])?;
        bump(
            &mut self.done.deltas,
            total_key(Total::Keys),
            i64::from(!known),
        );
        Ok(())
    }
}

/// Writes a row of the attempt history.
pub(super) fn write_attempt(conn: &Connection, row: &AttemptRow) -> rusqlite::Result<()> {
    let Some((ended, outcome)) = row.attempt.ended else {
        return Ok(());
    };
    let columns = [
        int(row.due.pack.0 as i64),
        int(part_code(row.due.part)),
        int(row.due.peer.0.into()),
        int(row.attempt.number.into()),
        int(row.attempt.epoch.0 as i64),
        int(row.attempt.started.0 as i64),
        int(ended.0 as i64),
        int(outcome_code(outcome)),
        int(row.sent as i64),
        row.error.as_deref().map_or(ValueRef::Null, text),
    ];
    sums::set(conn, sums::ATTEMPT, &columns)
}

/// Sets the name of a node, twice.
pub(super) fn write_node(conn: &Connection, no: NodeNo, name: &NodeId) -> rusqlite::Result<()> {
    let (no, name) = (int(no.0.into()), text(name.as_str()));
    sums::set(conn, sums::NODE, &[no, name])?;
    sums::set(conn, sums::NAMED, &[int(0), no, name])
}

/// Sets the name of a lane, twice.
fn write_lane(conn: &Connection, no: LaneNo, name: &LaneName) -> rusqlite::Result<()> {
    let (no, name) = (int(no.0.into()), text(name.as_str()));
    sums::set(conn, sums::LANE, &[no, name])?;
    sums::set(conn, sums::NAMED, &[int(1), no, name])
}

fn encode_refused(row: &ReceiptRow) -> Option<Vec<u8>> {
    let encoded = || postcard::to_stdvec(&row.refused).expect("refusals are plain words");
    (!row.refused.is_empty()).then(encoded)
}

/// The checksum of a receipt's row.
pub(super) fn receipt_sum(row: &ReceiptRow, refused: Option<&[u8]>) -> i64 {
    Sum::default()
        .num(row.no.0 as i64)
        .num(i64::from(row.peer.0))
        .num(row.sent.ledger.0 as i64)
        .num(row.sent.pack.0 as i64)
        .num(part_code(row.sent.part))
        .bytes(&row.table.0)
        .num(i64::from(row.count))
        .bytes(refused.unwrap_or_default())
        .num(row.pack.0 as i64)
        .end()
}

/// The checksum of a key's row.
pub(super) fn key_sum(row: &KeyRow, targets: &[u8]) -> i64 {
    Sum::default()
        .num(i64::from(row.name.uid))
        .bytes(row.name.key.as_bytes())
        .bytes(&row.id.0)
        .bytes(&row.digest.0)
        .bytes(targets)
        .num(row.at.0 as i64)
        .end()
}
