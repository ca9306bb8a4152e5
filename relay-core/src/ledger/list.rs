//! Listings for people: segments, deliveries, the inbox.
//!
//! Every call is bounded in rows given and in rows looked at; `next` says where to
//! go on. Packs are walked by their numbers, which is the order in which they
//! came: segments and deliveries newest first, the inbox oldest first, as it is
//! taken.

use rusqlite::Connection;

use super::bodies::Bodies;
use super::counters::Counters;
use super::error::ReadError;
use super::inbox::{InboxFilter, InboxItem, InboxState, item, topic_matches};
use super::place::{PACK, PackRow, read_pack};
use super::reader::{Read, Reader};
use super::recovery::due_key;
use super::rows::{OWED, OWED_WIDTH, Stored, read_owed};
use super::shelf::members_of;
use super::walk::{Order, deliveries_sql};
use crate::change::{Book, Depth, Due, OwedRow};
use crate::delivery::{Cause, State, StateName};
use crate::id::{LaneNo, NodeNo, PackNo};
use crate::time::Unix;

/// Which deliveries are asked for; the default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// To this peer only.
    pub peer: Option<NodeNo>,
    /// Whatever is not owed to the inbox.
    pub remote: bool,
    /// In this lane only.
    pub lane: Option<LaneNo>,
    /// In this state only.
    pub state: Option<StateName>,
    /// Parked for this cause only.
    pub cause: Option<Cause>,
    /// Last changed before this only.
    pub updated_before: Option<Unix>,
    /// Segments of at least so many bytes only.
    pub least: Option<u64>,
    /// Segments of at most so many bytes only.
    pub most: Option<u64>,
    /// Of this origin or topic only; its lane is looked at too.
    pub segment: InboxFilter,
}

impl DeliveryFilter {
    /// Whether members of one row may differ in what this asks for.
    pub(super) const fn tells_members_apart(&self) -> bool {
        self.least.is_some() || self.most.is_some() || self.segment.topic.is_some()
    }

    /// Whether it asks for this member, as far as members differ.
    pub(super) fn wants_member(&self, item: &InboxItem) -> bool {
        self.least.is_none_or(|least| least <= item.length)
            && self.most.is_none_or(|most| item.length <= most)
            && topic_matches(&self.segment, &item.meta)
    }
}

/// A segment with one of its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The segment; its state is the inbox's only where `row` is.
    pub segment: InboxItem,
    /// The row that speaks for it.
    pub row: OwedRow,
}

/// A segment with all its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// The segment.
    pub segment: InboxItem,
    /// To whom, and where each stands.
    pub deliveries: Vec<OwedRow>,
}

/// Where a listing goes on: beyond this member of this row.
pub type Place = (Due, u16);

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T, P = Place> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<P>,
}

/// The books, and what stands where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Columns per peer and lane.
    pub books: Vec<(NodeNo, LaneNo, Book, i64)>,
    /// Rows, deliveries and bytes per peer, lane and state.
    pub depths: Vec<(NodeNo, LaneNo, StateName, Depth)>,
}

/// Rows looked at in one call.
pub(super) const SCAN: usize = 16_384;

impl Reader {
    /// Deliveries beyond `after`, newest first.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn deliveries(
        &mut self,
        filter: &DeliveryFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Listing<DeliveryRow>, ReadError> {
        self.walk(filter, Order::NewestFirst, after, limit)
    }

    /// Deliveries beyond `after`, by pack, part, peer and member, either way.
    pub(super) fn walk(
        &mut self,
        filter: &DeliveryFilter,
        order: Order,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Listing<DeliveryRow>, ReadError> {
        let snapshot = self.conn.unchecked_transaction()?;
        let mut query = snapshot.prepare_cached(&deliveries_sql(filter, order))?;
        let start = match order {
            Order::OldestFirst => (0, i64::MIN, 0),
            Order::NewestFirst => (i64::MAX, i64::MAX, i64::MAX),
        };
        let key = after.map_or(start, |(due, _)| {
            let (pack, part, peer) = due_key(due);
            (pack, part, i64::from(peer))
        });
        let mut rows = query.query(key)?;
        let mut listing = Listing {
            rows: Vec::new(),
            next: None,
        };
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            let (Ok(stored), Ok(pack)) = (read_owed(row, 0), read_pack(row, OWED_WIDTH)) else {
                self.damaged += 1;
                continue;
            };
            looked += 1;
            let due = stored.row.due;
            let from = after
                .filter(|(last, _)| *last == due)
                .map(|(_, member)| member);
            if wanted(filter, &stored.row, &pack) {
                let Some(mut all) = members(
                    &snapshot,
                    &mut self.bodies,
                    &mut self.damaged,
                    &stored,
                    &pack,
                )?
                else {
                    continue;
                };
                if order == Order::NewestFirst {
                    all.reverse();
                }
                for segment in all {
                    if from.is_some_and(|from| !order.is_beyond(segment.member, from))
                        || !filter.wants_member(&segment)
                    {
                        continue;
                    }
                    if listing.rows.len() == limit {
                        return Ok(listing);
                    }
                    listing.next = Some((due, segment.member));
                    listing.rows.push(DeliveryRow {
                        segment,
                        row: stored.row.clone(),
                    });
                }
            }
            if looked == SCAN {
                listing.next = Some((due, order.last_member()));
                return Ok(listing);
            }
        }
        listing.next = None;
        Ok(listing)
    }

    /// Segments beyond `after`, newest first, each with all its deliveries; the
    /// filter asks for those of which at least one delivery matches.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn segments(
        &mut self,
        filter: &DeliveryFilter,
        after: Option<(PackNo, u16)>,
        limit: usize,
    ) -> Result<Listing<SegmentRow, (PackNo, u16)>, ReadError> {
        let (mut rows, mut next) = (Vec::new(), after);
        let mut from = after.map_or(i64::MAX, |(pack, _)| pack.0 as i64);
        for _ in 0..SCAN {
            let Some(pack) = self.next_pack(from)? else {
                return Ok(Listing { rows, next: None });
            };
            from = pack.no.0 as i64 - 1;
            for row in self.expand(&pack)?.into_iter().rev() {
                let member = (pack.no, row.segment.member);
                let matches = |owed: &OwedRow| wanted(filter, owed, &pack);
                if after.is_some_and(|after| member >= after)
                    || !row.deliveries.iter().any(matches)
                    || !filter.wants_member(&row.segment)
                {
                    continue;
                }
                if rows.len() == limit {
                    return Ok(Listing { rows, next });
                }
                next = Some(member);
                rows.push(row);
            }
            if rows.len() < limit {
                next = Some((pack.no, 0));
            }
        }
        Ok(Listing { rows, next })
    }

    /// The books, per peer and lane.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn books(&self) -> Result<Vec<(NodeNo, LaneNo, Book, i64)>, ReadError> {
        Ok(self.tally()?.books)
    }

    /// What stands where.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn depths(&self) -> Result<Vec<(NodeNo, LaneNo, StateName, Depth)>, ReadError> {
        Ok(self.tally()?.depths)
    }

    /// The books, per peer and lane, and what stands where: both of one moment, so
    /// that they can be held against each other.
    ///
    /// # Errors
    /// [`ReadError::Sql`].
    pub fn tally(&self) -> Result<Tally, ReadError> {
        let counters = Counters::load(&self.conn)?;
        Ok(Tally {
            books: counters.books(),
            depths: counters.depths(),
        })
    }

    fn next_pack(&mut self, from: i64) -> Read<Option<PackRow>> {
        let mut query = self.conn.prepare_cached(&format!(
            "SELECT {PACK} FROM pack p WHERE p.no <= ?1 ORDER BY p.no DESC"
        ))?;
        let mut rows = query.query([from])?;
        while let Some(row) = rows.next()? {
            match read_pack(row, 0) {
                Ok(pack) => return Ok(Some(pack)),
                Err(_) => self.damaged += 1,
            }
        }
        Ok(None)
    }

    /// The members of a pack, each with the rows that speak for it.
    pub(super) fn expand(&mut self, pack: &PackRow) -> Read<Vec<SegmentRow>> {
        let mut rows = Vec::new();
        {
            let mut query = self
                .conn
                .prepare_cached(&format!("SELECT {OWED} FROM owed o WHERE o.pack = ?1"))?;
            let mut found = query.query([pack.no.0 as i64])?;
            while let Some(row) = found.next()? {
                match read_owed(row, 0) {
                    Ok(stored) => rows.push(stored),
                    Err(_) => self.damaged += 1,
                }
            }
        }
        let mut segments: Vec<SegmentRow> = Vec::new();
        for stored in rows {
            let all = members(
                &self.conn,
                &mut self.bodies,
                &mut self.damaged,
                &stored,
                pack,
            )?;
            for segment in all.into_iter().flatten() {
                let known = segments
                    .iter_mut()
                    .find(|row| row.segment.member == segment.member);
                match known {
                    Some(known) => known.deliveries.push(stored.row.clone()),
                    None => {
                        segments.push(SegmentRow {
                            segment,
                            deliveries: vec![stored.row.clone()],
                        });
                    }
                }
            }
        }
        segments.sort_unstable_by_key(|row| row.segment.member);
        Ok(segments)
    }
}

pub(super) fn wanted(filter: &DeliveryFilter, row: &OwedRow, pack: &PackRow) -> bool {
    let cause = match row.state {
        State::Deadletter { cause } => Some(cause),
        State::Scheduled | State::Inflight | State::Failed { .. } | State::Acked => None,
    };
    filter.peer.is_none_or(|peer| peer == row.due.peer)
        && (!filter.remote || row.due.peer != NodeNo::LOCAL)
        && filter.lane.is_none_or(|lane| lane == row.lane)
        && filter.segment.lane.is_none_or(|lane| lane == row.lane)
        && filter
            .segment
            .origin
            .is_none_or(|origin| origin == pack.info.origin)
        && filter.state.is_none_or(|state| state == row.state.name())
        && filter.cause.is_none_or(|wanted| Some(wanted) == cause)
        && filter
            .updated_before
            .is_none_or(|before| row.updated < before)
}

/// The members a row speaks for; `None` if the table cannot be read.
pub(super) fn members(
    conn: &Connection,
    bodies: &mut Bodies,
    damaged: &mut u64,
    stored: &Stored,
    pack: &PackRow,
) -> Read<Option<Vec<InboxItem>>> {
    let Ok(table) = bodies.table(pack) else {
        *damaged += 1;
        return Ok(None);
    };
    let spoken = members_of(conn, &stored.row, table.members().len())?;
    let state = inbox_state(stored);
    Ok(Some(
        spoken
            .into_iter()
            .map(|n| item(pack, &table, n, state))
            .collect(),
    ))
}

fn inbox_state(stored: &Stored) -> InboxState {
    match (stored.row.state, stored.lease) {
        (State::Acked, _) => InboxState::Confirmed,
        (State::Deadletter { .. }, _) => InboxState::Refused,
        (State::Scheduled | State::Inflight | State::Failed { .. }, Some(until)) => {
            InboxState::Leased { until }
        }
        (State::Scheduled | State::Inflight | State::Failed { .. }, None) => InboxState::Ready,
    }
}
