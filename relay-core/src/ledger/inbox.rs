//! The inbox: take, confirm, refuse.
//!
//! A segment that arrived for a local consumer is a row owed to
//! [`NodeNo::LOCAL`]: scheduled is *ready*, with a lease *leased*, acked is
//! *confirmed*, deadletter is *refused*. A lease that has run out is ready again.
//! A pack taken or confirmed whole is one row; members that part ways get rows of
//! their own, which are folded into one again when the last is confirmed. Every
//! answer is durable when it is given.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::apply::{Applied, Group};
use super::bodies::Bodies;
use super::counters::{book_key, bump};
use super::error::{LedgerError, ReadError};
use super::known::packs_of;
use super::rows::{OWED, OWED_WIDTH, PACK, PackRow, Stored, read_owed, read_pack};
use super::{Ledger, LedgerResult};
use crate::change::{Book, Due, OwedRow, Part};
use crate::delivery::{Cause, State};
use crate::id::{LaneNo, NodeNo, PackNo, SegmentId};
use crate::pack::Table;
use crate::segment::{Digest, Meta, Topic};
use crate::time::Unix;

/// Which items are asked for; the default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxFilter {
    /// Of this origin only.
    pub origin: Option<NodeNo>,
    /// In this lane only.
    pub lane: Option<LaneNo>,
    /// Of this topic only, or one below it.
    pub topic: Option<Topic>,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxState {
    /// Free to be taken.
    Ready,
    /// Given to a consumer, until then.
    Leased {
        /// When it is ready again.
        until: Unix,
    },
    /// A consumer has said that it is done with it.
    Confirmed,
    /// A consumer could not use it.
    Refused,
}

/// One segment in the inbox, without its bytes: they are
/// `length` bytes at `offset` of the bodies of `pack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxItem {
    /// Its id.
    pub id: SegmentId,
    /// The digest of its body.
    pub digest: Digest,
    /// How long its body is.
    pub length: u64,
    /// What travels with it.
    pub meta: Meta,
    /// Where it entered.
    pub origin: NodeNo,
    /// The lane it came in.
    pub lane: LaneNo,
    /// Relays it passed.
    pub hops: u8,
    /// When it arrived here.
    pub received: Unix,
    /// When it stops being worth something.
    pub expires: Option<Unix>,
    /// The pack it lies in.
    pub pack: PackNo,
    /// Which member of it.
    pub member: u16,
    /// Where its body begins among the bodies.
    pub offset: u64,
    /// Where it stands.
    pub state: InboxState,
}

/// What became of one id that was confirmed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// It was ready or leased, and is settled by this call.
    Confirmed,
    /// It was settled before.
    Already,
    /// No such id is in the inbox.
    Unknown,
}

/// Items one call takes at most.
const TAKE: usize = 4096;
/// Packs one call looks at in each lane; a topic that lies deeper is not found.
const SCAN: usize = 4096;
/// Rows read at once.
const PAGE: usize = 128;
/// Leases given back in one call.
const LEASES: usize = 4096;

impl Ledger {
    /// Leases at most `max` ready items until `until`, oldest first within a lane.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn take(
        &mut self,
        filter: &InboxFilter,
        max: usize,
        until: Unix,
        now: Unix,
    ) -> LedgerResult<Vec<InboxItem>> {
        let lanes: BTreeSet<LaneNo> = self
            .depths()
            .into_iter()
            .filter(|(peer, lane, _, depth)| {
                *peer == NodeNo::LOCAL
                    && depth.parcels > 0
                    && filter.lane.is_none_or(|wanted| wanted == *lane)
            })
            .map(|(_, lane, _, _)| lane)
            .collect();
        if lanes.is_empty() || max == 0 {
            return Ok(Vec::new());
        }
        self.change_inbox(|inbox| {
            inbox.give_back(now)?;
            let mut taken = Vec::new();
            for lane in lanes {
                inbox.take_lane(filter, lane, (until, now), max.min(TAKE), &mut taken)?;
            }
            Ok(taken)
        })
    }

    /// Settles items for good: their bytes may go.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn confirm(&mut self, ids: &[SegmentId], now: Unix) -> LedgerResult<Vec<ConfirmOutcome>> {
        self.change_inbox(|inbox| inbox.settle(ids, State::Acked, Book::Acked, now))
    }

    /// Parks items that no consumer can use: they and their bytes stay.
    ///
    /// # Errors
    /// [`LedgerError`] as for [`Ledger::commit`].
    pub fn refuse(&mut self, ids: &[SegmentId], now: Unix) -> LedgerResult<Vec<ConfirmOutcome>> {
        let parked = State::Deadletter {
            cause: Cause::Rejected,
        };
        self.change_inbox(|inbox| inbox.settle(ids, parked, Book::Deadletter, now))
    }

    fn change_inbox<T>(
        &mut self,
        work: impl FnOnce(&mut Inbox<'_>) -> LedgerResult<T>,
    ) -> LedgerResult<T> {
        self.alive()?;
        let result = self.inbox_transaction(work);
        self.guard(result)
    }

    fn inbox_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Inbox<'_>) -> LedgerResult<T>,
    ) -> LedgerResult<T> {
        self.make_wal_room(TAKE as u64 / 8)?;
        self.bound_database()?;
        let transaction = self.conn.unchecked_transaction()?;
        let group = Group {
            conn: &transaction,
            fresh: BTreeMap::new(),
            done: Applied::default(),
        };
        let mut inbox = Inbox {
            group,
            bodies: &mut self.bodies,
            damaged: 0,
        };
        let answer = work(&mut inbox)?;
        let Inbox { group, damaged, .. } = inbox;
        let done = group.done;
        if done.rows > 0 {
            self.counters.write(&transaction, &done.deltas)?;
            transaction
                .commit()
                .map_err(LedgerError::unknown("commit inbox"))?;
            self.counters.merge(&done.deltas);
        } else {
            drop(transaction);
        }
        self.damaged += damaged;
        self.measure()?;
        Ok(answer)
    }
}

struct Inbox<'a> {
    group: Group<'a>,
    bodies: &'a mut Bodies,
    damaged: u64,
}

impl Inbox<'_> {
    /// Leases that have run out are ready again.
    fn give_back(&mut self, now: Unix) -> LedgerResult<()> {
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

    fn take_lane(
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

    fn settle(
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
         WHERE o.peer = 0 AND o.lane = ?1 AND o.state IN (0, 2) AND o.lease IS NULL
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

/// Member `n` of `pack` as an item.
pub(super) fn item(pack: &PackRow, table: &Table, n: u16, state: InboxState) -> InboxItem {
    let member = table.members()[usize::from(n)];
    InboxItem {
        id: member.id,
        digest: member.digest,
        length: member.length,
        // The table was checked when it was parsed.
        meta: table.meta(usize::from(n)).unwrap_or_default(),
        origin: pack.info.origin,
        lane: pack.info.lane,
        hops: pack.info.hops,
        received: pack.info.created,
        expires: pack.info.expires,
        pack: pack.no,
        member: n,
        offset: member.offset,
        state,
    }
}

/// Whether the topic asked for is this one, or above it.
pub(super) fn topic_matches(filter: &InboxFilter, meta: &Meta) -> bool {
    let Some(wanted) = &filter.topic else {
        return true;
    };
    let found = meta.topic.as_ref().map_or("", Topic::as_str);
    let below = found.strip_prefix(wanted.as_str());
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
