//! Leases made longer or given back, by whoever holds them.

use std::collections::BTreeSet;

use super::{Shelf, local_rows, members_of, pack_row};
use crate::id::SegmentId;
use crate::ledger::LedgerResult;
use crate::ledger::known::packs_of;
use crate::time::Unix;

impl Shelf<'_> {
    /// The leases of those of `ids` that are open end at `until`.
    pub(in crate::ledger) fn lease(
        &mut self,
        ids: &[SegmentId],
        until: Unix,
        now: Unix,
    ) -> LedgerResult<()> {
        let wanted: BTreeSet<SegmentId> = ids.iter().copied().collect();
        let sorted: Vec<SegmentId> = wanted.iter().copied().collect();
        let conn = self.group.conn;
        for no in packs_of(conn, &sorted)? {
            let rows = local_rows(conn, no, &mut self.damaged)?;
            let Some(pack) = pack_row(conn, no)? else {
                continue;
            };
            let Some(table) = self.table(&pack)? else {
                continue;
            };
            let open = |stored: &super::Stored| !stored.row.state.name().is_terminal();
            for stored in rows.into_iter().filter(open) {
                let spoken = members_of(conn, &stored.row, table.members().len())?;
                let is_wanted =
                    |member: &u16| wanted.contains(&table.members()[usize::from(*member)].id);
                let chosen: Vec<u16> = spoken.iter().copied().filter(is_wanted).collect();
                self.part(stored, &table, &spoken, &chosen, |row| {
                    row.updated = now;
                    Some(until)
                })?;
            }
        }
        Ok(())
    }
}
