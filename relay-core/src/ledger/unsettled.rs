//! Packs that arrived and whose receipt their sender has not settled: what is known
//! of their ids outlasts them (semantics 2.5).
//!
//! What arrived as one pack may have been filed as several, one for each way it goes
//! on. Their numbers follow each other and are no more than its members, so a receipt
//! speaks for as many numbers from its own on. That may be more than were used, and
//! then something is kept for longer than it must be.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::id::PackNo;

/// Numbers of packs, in stretches from the first to the last.
pub(super) struct Unsettled(BTreeMap<u64, u64>);

impl Unsettled {
    /// Those among the numbers from `first` to `last`.
    pub(super) fn within(
        conn: &Connection,
        (first, last): (PackNo, PackNo),
    ) -> rusqlite::Result<Self> {
        // At most `limits.unsettled` rows a peer, so a scan is short.
        let mut query = conn.prepare_cached(
            "SELECT pack, pack + max(count, 1) - 1 FROM receipt
             WHERE pack <= ?2 AND pack + max(count, 1) > ?1 ORDER BY pack",
        )?;
        let stretch = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows = query.query_map((first.0 as i64, last.0 as i64), stretch)?;
        let (mut found, mut held) = (BTreeMap::new(), None::<(i64, i64)>);
        for row in rows {
            let (from, to): (i64, i64) = row?;
            held = match held {
                Some((start, end)) if from <= end => Some((start, end.max(to))),
                _ => Some((from, to)),
            };
            if let Some((start, end)) = held {
                found.insert(start as u64, end as u64);
            }
        }
        Ok(Self(found))
    }

    /// Whether a pack is among them.
    pub(super) fn has(&self, pack: PackNo) -> bool {
        let before = self.0.range(..=pack.0).next_back();
        before.is_some_and(|(_, end)| pack.0 <= *end)
    }
}
