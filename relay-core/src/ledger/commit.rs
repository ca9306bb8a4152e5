//! One group: append packs, sync the log, one SQLite transaction.
//!
//! The order is the promise: a row names bytes only after they are synced, and
//! the caller hears of the group only after COMMIT. An item whose packs find no
//! room is refused as a whole, before anything of it is written to a row;
//! everything else in the group is applied.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::apply::{Applied, apply};
use super::error::LedgerError;
use super::payload::Payloads;
use super::place::{PackRow, Place};
use super::room::CHANGE_BYTES;
use super::schema::PAGE;
use super::{Durability, Ledger, LedgerResult};
use crate::change::Change;
use crate::event::Space;
use crate::id::{PackNo, StagedId, Ticket};
use crate::segment::PackInfo;
use crate::time::Unix;

/// Bytes the shell holds for a pack that has no place yet.
#[derive(Clone, Debug)]
pub enum Staged {
    /// Table and bodies, contiguous.
    Memory(Bytes),
    /// The table, and the name of a file in the payload folder that holds the
    /// body, fsynced, its name too.
    File {
        /// The table.
        table: Bytes,
        /// The name.
        name: String,
    },
}

/// What a group did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Packs stored.
    pub packs: u64,
    /// Bytes of packs stored, tables included.
    pub bytes: u64,
    /// Rows of what is owed that were written or removed.
    pub rows: u64,
    /// Changes that spoke of a pack which is not here, and were skipped.
    pub orphans: u64,
}

/// The answer to a group; what it does not refuse is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Items that found no room; nothing of them is kept.
    pub refused: Vec<Ticket>,
    /// How full the ledger is.
    pub space: Space,
    /// What was done.
    pub stats: GroupStats,
}

/// Packs of the group that have a place, and who may keep them.
#[derive(Default)]
struct Placed {
    packs: Vec<PackRow>,
    refused: BTreeSet<Ticket>,
    bytes: u64,
    /// Rows the group will add to the database, in bytes.
    rows: u64,
    /// Payload files the ledger wrote itself.
    written: Vec<(String, u64)>,
    /// Payload files the shell wrote, with their lengths, and who brought them.
    staged: Vec<(Ticket, String, u64)>,
}

type Items<'a> = &'a [(Ticket, Vec<Change>)];

impl Ledger {
    /// Makes a group durable, in the order of its items. `staged` is asked once
    /// for the bytes of each new pack.
    ///
    /// # Errors
    /// [`LedgerError::Unstaged`], [`LedgerError::StagedLength`] and what
    /// [is full](LedgerError::is_full) leave the ledger as it was. After any other error it takes nothing more; after
    /// [`LedgerError::OutcomeUnknown`] the next open decides from disk.
    pub fn commit(
        &mut self,
        items: &[(Ticket, Vec<Change>)],
        staged: &mut dyn FnMut(StagedId) -> Option<Staged>,
        now: Unix,
    ) -> LedgerResult<Report> {
        self.alive()?;
        let result = self.commit_group(items, staged, now);
        self.guard(result)
    }

    fn commit_group(
        &mut self,
        items: Items<'_>,
        staged: &mut dyn FnMut(StagedId) -> Option<Staged>,
        now: Unix,
    ) -> LedgerResult<Report> {
        let mut placed = Placed::default();
        let written = match self.disk_is_full() {
            // Room is for what brings nothing.
            true => {
                self.refuse_packs(items, staged, &mut placed);
                Ok(())
            }
            false => self
                .place(items, staged, now, &mut placed)
                .and_then(|()| self.log.flush()),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                self.on_no_room(&error)?;
                self.refuse_packs(items, staged, &mut placed);
            }
            Err(error) => {
                self.drop_written(&mut placed, 0);
                return Err(error);
            }
        }
        if self.options.durability == Durability::Synced {
            self.log.sync()?;
        }
        let applied = match self.transact(items, &placed) {
            Err(error) if error.is_full() => {
                self.on_no_room(&error)?;
                self.refuse_packs(items, staged, &mut placed);
                self.free_a_little(now)?;
                self.transact(items, &placed)?
            }
            other => other?,
        };
        self.settle_memory(&applied, items, &placed)
            .map_err(LedgerError::after_commit)?;
        self.drop_refused(&placed);
        Ok(Report {
            refused: placed.refused.into_iter().collect(),
            space: self.measured_space(),
            stats: GroupStats {
                packs: placed.packs.len() as u64,
                bytes: placed.bytes,
                rows: applied.rows,
                orphans: applied.orphans,
            },
        })
    }

    /// Rows that bring no pack are never refused, and may use up what the ceiling leaves:
    /// what is settled goes for them, a step at each try.
    fn free_a_little(&mut self, now: Unix) -> LedgerResult<()> {
        if self.disk_is_full() || self.drop_spare()? {
            return Ok(());
        }
        let mut freed = self.retire_oldest_log(now);
        if matches!(freed, Ok(false)) {
            freed = self.retire_oldest_payload(now);
        }
        match freed {
            Err(error) if !error.is_full() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Files of refused items are named by nobody: they go, and so does their room.
    fn drop_refused(&mut self, placed: &Placed) {
        for (ticket, name, length) in &placed.staged {
            // That of a partial row goes with its row.
            if placed.refused.contains(ticket) && !self.partials.holds(name) {
                self.payloads.discard(name);
                self.unreserve(*length);
            }
        }
    }

    /// Files the ledger itself wrote for packs that are refused, from the `first` on.
    fn drop_written(&mut self, placed: &mut Placed, first: usize) {
        for (name, length) in placed.written.drain(first..) {
            self.payloads.discard(&name);
            self.unreserve(length);
        }
    }

    /// Finds a place for every pack; items that find none are refused.
    fn place(
        &mut self,
        items: Items<'_>,
        staged: &mut dyn FnMut(StagedId) -> Option<Staged>,
        now: Unix,
        placed: &mut Placed,
    ) -> LedgerResult<()> {
        for (ticket, changes) in items {
            let before = (placed.packs.len(), placed.rows, placed.bytes);
            let written = placed.written.len();
            let mut kept = true;
            for change in changes {
                if let Change::Pack {
                    no,
                    staged: id,
                    info,
                } = change
                {
                    let bytes = staged(*id).ok_or(LedgerError::Unstaged(*id))?;
                    check_length(*id, &bytes, info)?;
                    if let Staged::File { name, .. } = &bytes {
                        placed.staged.push((*ticket, name.clone(), info.bytes));
                    }
                    kept = kept && self.place_one(*no, info, bytes, changes.len(), now, placed)?;
                }
            }
            if !kept {
                placed.packs.truncate(before.0);
                (placed.rows, placed.bytes) = (before.1, before.2);
                self.drop_written(placed, written);
                placed.refused.insert(*ticket);
            }
        }
        Ok(())
    }

    fn place_one(
        &mut self,
        no: PackNo,
        info: &PackInfo,
        bytes: Staged,
        changes: usize,
        now: Unix,
        placed: &mut Placed,
    ) -> LedgerResult<bool> {
        if no <= self.last_pack && self.has_pack(no)? {
            // A change applied twice is applied once.
            return Ok(true);
        }
        self.placed_upto = self.placed_upto.max(no);
        placed.rows += changes as u64 * CHANGE_BYTES;
        if !self.make_row_room(placed.rows, now)? {
            return Ok(false);
        }
        let place = match bytes {
            Staged::Memory(all) if all.len() as u64 <= self.log.longest() => {
                if !self.make_log_room(no, all.len() as u64, now)? {
                    return Ok(false);
                }
                self.log.append(no, &all)?
            }
            Staged::Memory(all) => {
                let body = all.slice(info.table_len as usize..);
                if !self.reserve(info.bytes, now)? {
                    return Ok(false);
                }
                let name = Payloads::own_name(no);
                placed.written.push((name.clone(), info.bytes));
                self.payloads.write(&name, &body)?;
                Place::Payload {
                    name,
                    table: all.slice(..info.table_len as usize),
                }
            }
            Staged::File { table, name } => {
                let missing = info.bytes.saturating_sub(self.reserved);
                if missing > 0 && !self.partials.holds(&name) && !self.reserve(missing, now)? {
                    return Ok(false);
                }
                Place::Payload { name, table }
            }
        };
        placed.bytes += info.length();
        placed.packs.push(PackRow {
            no,
            info: info.clone(),
            place,
        });
        Ok(true)
    }

    fn has_pack(&self, no: PackNo) -> LedgerResult<bool> {
        let mut query = self
            .conn
            .prepare_cached("SELECT 1 FROM pack WHERE no = ?1")?;
        Ok(query.exists([no.0 as i64])?)
    }

    /// The disk itself is full: every item that brings a pack is refused.
    fn refuse_packs(
        &mut self,
        items: Items<'_>,
        staged: &mut dyn FnMut(StagedId) -> Option<Staged>,
        placed: &mut Placed,
    ) {
        for (ticket, change) in items
            .iter()
            .flat_map(|(t, all)| all.iter().map(move |c| (t, c)))
        {
            if let Change::Pack {
                staged: id, info, ..
            } = change
                && let Some(Staged::File { name, .. }) = staged(*id)
                && !placed.staged.iter().any(|(_, known, _)| *known == name)
            {
                placed.staged.push((*ticket, name, info.bytes));
            }
        }
        let brings = |changes: &[Change]| changes.iter().any(|c| matches!(c, Change::Pack { .. }));
        let full = items.iter().filter(|(_, changes)| brings(changes));
        placed.refused.extend(full.map(|(ticket, _)| *ticket));
        self.drop_written(placed, 0);
        placed.packs.clear();
        placed.bytes = 0;
    }

    fn transact(&mut self, items: Items<'_>, placed: &Placed) -> LedgerResult<Applied> {
        let changes = kept(items, placed).count();
        self.make_wal_room(64 + changes as u64 * CHANGE_BYTES / PAGE)?;
        self.bound_database()?;
        let transaction = self.conn.unchecked_transaction()?;
        let all = kept(items, placed);
        let applied = apply(&transaction, &self.counters, &placed.packs, all)?;
        self.log.write_rows(&transaction)?;
        if let Some(stamp) = self.stamp {
            super::age::write(&transaction, stamp)?;
        }
        transaction
            .commit()
            .map_err(LedgerError::commit("commit ledger"))?;
        Ok(applied)
    }

    /// Memory follows what has become durable.
    fn settle_memory(
        &mut self,
        applied: &Applied,
        items: Items<'_>,
        placed: &Placed,
    ) -> LedgerResult<()> {
        self.counters.merge(&applied.deltas);
        self.log.committed();
        self.last_pack = self.last_pack.max(applied.last_pack);
        self.last_receipt = self.last_receipt.max(applied.last_receipt);
        let begun = self.partials.begun(kept(items, placed));
        self.unreserve(begun);
        for pack in &placed.packs {
            if let Place::Payload { name, .. } = &pack.place {
                self.counters.note_payload(pack.no, pack.info.bytes);
                self.payloads.adopted(pack.info.bytes);
                if !self.partials.holds(name) {
                    self.unreserve(pack.info.bytes);
                }
            }
        }
        let is_adopted = |file: &str| {
            placed
                .packs
                .iter()
                .any(|pack| matches!(&pack.place, Place::Payload { name, .. } if name == file))
        };
        let ended = kept(items, placed);
        self.partials.ended(ended, is_adopted, &self.payloads);
        self.measure()?;
        self.fill_ahead(placed.bytes)
    }
}

/// The changes of the group that are not refused, in order.
fn kept<'a>(items: Items<'a>, placed: &'a Placed) -> impl Iterator<Item = &'a Change> {
    items
        .iter()
        .filter(|(ticket, _)| !placed.refused.contains(ticket))
        .flat_map(|(_, changes)| changes)
}

fn check_length(staged: StagedId, bytes: &Staged, info: &PackInfo) -> LedgerResult<()> {
    let (found, wanted) = match bytes {
        Staged::Memory(all) => (all.len() as u64, info.length()),
        Staged::File { table, .. } => (table.len() as u64, u64::from(info.table_len)),
    };
    if found == wanted {
        Ok(())
    } else {
        Err(LedgerError::StagedLength {
            staged,
            found,
            wanted,
        })
    }
}
