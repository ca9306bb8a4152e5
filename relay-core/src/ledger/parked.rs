//! Finding what an order is about: parked deliveries row by row, and arrivals that
//! are free to be taken.
//!
//! A row that speaks for many members is given as one, unless the filter tells its
//! members apart. Every call is bounded in rows given and in rows looked at.

use super::error::ReadError;
use super::inbox::{InboxFilter, InboxItem, InboxState};
use super::list::{DeliveryFilter, DeliveryRow, Listing, Place, SCAN, members, wanted};
use super::place::read_pack;
use super::reader::Reader;
use super::recovery::due_key;
use super::rows::{OWED_WIDTH, read_owed};
use super::walk::{Order, deliveries_sql};
use crate::change::{Due, Part};
use crate::delivery::{Cause, State, StateName};
use crate::id::{NodeNo, PackNo};
use crate::limits::PACK_MEMBERS;
use crate::time::Unix;

/// Deadlettered deliveries that share a row, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Which.
    pub due: Due,
    /// The length of the member, where it is one.
    pub length: u64,
    /// How many deliveries.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why they are parked.
    pub cause: Cause,
}

impl Reader {
    /// Deadlettered deliveries to peers beyond `after`, newest first; the filter's own
    /// state is not looked at. `limit` counts what is given, not members.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn parked(
        &mut self,
        filter: &DeliveryFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Listing<Parked>, ReadError> {
        let filter = DeliveryFilter {
            state: Some(StateName::Deadletter),
            remote: true,
            ..filter.clone()
        };
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&deliveries_sql(&filter, Order::NewestFirst))?;
        let key = after.map_or((i64::MAX, i64::MAX, i64::MAX), |(due, _)| {
            let (pack, part, peer) = due_key(due);
            (pack, part, i64::from(peer))
        });
        let mut found = query.query(key)?;
        let mut rows = Vec::new();
        let mut looked = 0;
        while let Some(row) = found.next()? {
            let (Ok(stored), Ok(pack)) = (read_owed(row, 0), read_pack(row, OWED_WIDTH)) else {
                self.damaged += 1;
                continue;
            };
            looked += 1;
            let owed = &stored.row;
            let State::Deadletter { cause } = owed.state else {
                continue;
            };
            let before = after.is_some_and(|(last, _)| last == owed.due);
            if !before && wanted(&filter, owed, &pack) {
                let whole = Parked {
                    due: owed.due,
                    length: owed.bytes,
                    count: u64::from(owed.count),
                    bytes: owed.bytes,
                    cause,
                };
                if filter.tells_members_apart() {
                    let all = members(
                        &snapshot,
                        &mut self.bodies,
                        &mut self.damaged,
                        &stored,
                        &pack,
                    )?
                    .unwrap_or_default();
                    let count = all.len();
                    let fit: Vec<_> = all
                        .iter()
                        .filter(|item| filter.wants_member(item))
                        .collect();
                    if fit.len() == count && count > 0 {
                        rows.push(whole);
                    } else {
                        rows.extend(fit.into_iter().map(|item| single(owed.due, item, cause)));
                    }
                } else {
                    rows.push(whole);
                }
            }
            if rows.len() >= limit || looked == SCAN {
                let next = Some((owed.due, 0));
                return Ok(Listing { rows, next });
            }
        }
        Ok(Listing { rows, next: None })
    }

    /// Items of the inbox beyond `after`, oldest first.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn inbox(
        &mut self,
        filter: &InboxFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Listing<InboxItem>, ReadError> {
        let Listing { rows, next } = self.inbox_rows(filter, after, limit)?;
        Ok(Listing {
            rows: rows.into_iter().map(|row| row.segment).collect(),
            next,
        })
    }

    /// The same with the row that speaks for each.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn inbox_rows(
        &mut self,
        filter: &InboxFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Listing<DeliveryRow>, ReadError> {
        let filter = DeliveryFilter {
            peer: Some(NodeNo::LOCAL),
            segment: filter.clone(),
            ..DeliveryFilter::default()
        };
        self.walk(&filter, Order::OldestFirst, after, limit)
    }

    /// Items of the inbox beyond `after`, in the order in which they came, whatever has
    /// become of them since; each is given once, though its row may be split meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn arrived(
        &mut self,
        filter: &InboxFilter,
        after: Option<(PackNo, u16)>,
        limit: usize,
    ) -> Result<Vec<InboxItem>, ReadError> {
        // From the first row of the pack in which the last one was: rows of a pack are
        // not in the order of its members.
        let mut place = after.map(|(pack, _)| {
            let before = Due {
                peer: NodeNo::LOCAL,
                pack: PackNo(pack.0.saturating_sub(1)),
                part: Part::Member(u16::MAX),
            };
            (before, u16::MAX)
        });
        let mut items: Vec<InboxItem> = Vec::new();
        loop {
            let listing = self.inbox_rows(filter, place, limit + PACK_MEMBERS as usize)?;
            let beyond =
                |item: &InboxItem| after.is_none_or(|last| (item.pack, item.member) > last);
            let found = listing.rows.into_iter().map(|row| row.segment);
            items.extend(found.filter(beyond));
            items.sort_unstable_by_key(|item| (item.pack, item.member));
            let last = items.last().map(|item| item.pack);
            if listing.next.is_some() && items.first().map(|item| item.pack) != last {
                // The last pack may not be there to its end.
                items.retain(|item| Some(item.pack) != last);
            }
            if !items.is_empty() || listing.next.is_none() {
                items.truncate(limit);
                return Ok(items);
            }
            place = listing.next;
        }
    }

    /// Items of the inbox that a take at `now` would find, oldest first.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn ready(
        &mut self,
        filter: &InboxFilter,
        now: Unix,
        limit: usize,
    ) -> Result<Vec<InboxItem>, ReadError> {
        let filter = DeliveryFilter {
            peer: Some(NodeNo::LOCAL),
            state: Some(StateName::Scheduled),
            segment: filter.clone(),
            ..DeliveryFilter::default()
        };
        let (mut after, mut ready) = (None, Vec::new());
        loop {
            let listing = self.walk(&filter, Order::OldestFirst, after, SCAN)?;
            let free = |state: InboxState| match state {
                InboxState::Ready => true,
                InboxState::Leased { until } => until <= now,
                InboxState::Confirmed | InboxState::Refused => false,
            };
            let items = listing.rows.into_iter().map(|row| row.segment);
            ready.extend(items.filter(|item| free(item.state)));
            if ready.len() >= limit || listing.next.is_none() {
                ready.truncate(limit);
                return Ok(ready);
            }
            after = listing.next;
        }
    }

    /// Whether the inbox has anything ready to be taken, as of `now`: two looks into
    /// indexes, however much is owed.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn any_ready(&self, now: Unix) -> Result<bool, ReadError> {
        let mut query = self.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM owed INDEXED BY owed_waiting
               WHERE peer = 0 AND state IN (0, 2) AND lease IS NULL AND flags < 2)
             OR EXISTS (SELECT 1 FROM owed INDEXED BY owed_leased
               WHERE lease IS NOT NULL AND lease <= ?1)",
        )?;
        Ok(query.query_row([now.0 as i64], |row| row.get(0))?)
    }
}

/// One member as a target of its own; a member that is alone in its row already is that row.
fn single(due: Due, item: &InboxItem, cause: Cause) -> Parked {
    Parked {
        due: Due {
            part: Part::Member(item.member),
            ..due
        },
        length: item.length,
        count: 1,
        bytes: item.length,
        cause,
    }
}
